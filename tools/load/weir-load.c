/* weir-load: viewers by the thousand, to see what a node can do. Reports one line of JSON.
 *
 *   weir-load --ll 500 --seconds 30 http://127.0.0.1:8080/live/show
 *
 * One thread and one loop. Plain HTTP/1.1. A viewer takes a fixed amount of memory, whatever it is sent. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tools/load/run.h"

enum {
    COUNT_MAX = 1000000,
    TICK_US = 10000,
    CONNECTING_MAX = 512,      /* connections that are not established yet, at a time */
    PER_SOURCE = 500,          /* connections from one of the addresses 127.0.0.x */
    UP_DEADLINE_US = 60000000, /* then the run goes on with those that are up */
    SWEEP_TICKS = 100,
};

static const struct viewer_kind *const kinds[] = {&viewer_ll,      &viewer_hls,  &viewer_live,
                                                  &viewer_blocked, &viewer_idle, &viewer_probe};
enum { KINDS = sizeof kinds / sizeof *kinds };

enum phase { BEGINNING, RISING, SETTLING, MEASURING };

struct options {
    uint32_t counts[KINDS];
    double seconds, ramp_s, warm_s;
    int32_t sources; /* -1: chosen by the address */
    int pid;
    bool busy_poll;
    const char *url;
};

struct load {
    struct options options;
    struct run run;
    void *viewers[KINDS];
    uint32_t begun[KINDS];
    enum phase phase;
    int64_t phase_us; /* when it began */
    int64_t cpu_ns;   /* of the server's process, when measuring began */
    uint32_t ticks;
    struct loop_timer *tick, *spin;
};

void *load_alloc(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        abort();
    return memory;
}

bool run_count(struct run *run, int status) {
    if (run->measuring)
        run->requests++;
    if (status != 200)
        run->errors_status++;
    return status == 200;
}

/* --- reports --- */

void histogram_report(FILE *out, const char *name, const struct histogram *histogram) {
    fprintf(out, "\"%s\": {\"p50\": %.2f, \"p95\": %.2f, \"p99\": %.2f, \"max\": %.2f}", name,
            (double)histogram_quantile(histogram, 0.50) / 1000, (double)histogram_quantile(histogram, 0.95) / 1000,
            (double)histogram_quantile(histogram, 0.99) / 1000, (double)histogram->max_us / 1000);
}

void media_report(FILE *out, const struct media_stats *stats, const char *items, uint32_t viewers,
                  struct playout *(*playout)(void *ctx, uint32_t index), void *ctx, int64_t now_us) {
    uint32_t playing = 0, stalled = 0;
    uint64_t stalls = 0;
    int64_t total_us = 0, worst_us = 0;
    for (uint32_t i = 0; i < viewers; i++) {
        struct playout *buffer = playout(ctx, i);
        playout_end(buffer, now_us);
        playing += buffer->playing;
        stalled += buffer->stalls > 0;
        stalls += buffer->stalls;
        total_us += buffer->stalled_us;
        worst_us = buffer->stalled_us > worst_us ? buffer->stalled_us : worst_us;
    }
    fprintf(out, "{\"viewers\": %u, \"playing\": %u, \"%s\": %" PRIu64 ", \"skips\": %" PRIu64 ", ", viewers, playing,
            items, stats->items, stats->skips);
    histogram_report(out, "delay_ms", &stats->delay);
    fputs(", ", out);
    histogram_report(out, "startup_ms", &stats->startup);
    fprintf(out,
            ", \"stalls\": {\"viewers\": %u, \"count\": %" PRIu64 ", \"total_ms\": %.1f, \"worst_viewer_ms\": %.1f}}",
            stalled, stalls, (double)total_us / 1000, (double)worst_us / 1000);
}

static void report(struct load *load) {
    struct run *run = &load->run;
    int64_t now_us = clock_mono_us();
    printf("{\"seconds\": %.2f, \"connections\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"errors\": {\"status\": %" PRIu64 ", \"lost\": %" PRIu64 "}",
           run->measuring ? (double)(now_us - load->phase_us) / 1e6 : 0, run->server.connections, run->requests,
           run->bytes, run->errors_status, run->errors_lost);
    if (load->options.pid)
        printf(", \"server_cpu_us\": %.0f", (double)(cpu_of_process(load->options.pid) - load->cpu_ns) / 1000);
    for (int i = 0; i < KINDS; i++) {
        if (!load->viewers[i])
            continue;
        printf(", \"%s\": ", kinds[i]->option);
        kinds[i]->report(load->viewers[i], stdout, now_us);
    }
    puts("}");
    fflush(stdout);
}

/* --- phases --- */

static void set_phase(struct load *load, enum phase phase) {
    load->phase = phase;
    load->phase_us = clock_mono_us();
}

/* Begins those whose time has come; true when all have begun. */
static bool begin_viewers(struct load *load, int64_t now_us) {
    double share = load->options.ramp_s > 0 ? (double)(now_us - load->phase_us) / 1e6 / load->options.ramp_s : 1;
    bool all = true;
    for (int i = 0; i < KINDS; i++) {
        uint32_t count = load->options.counts[i];
        uint32_t due = share >= 1 ? count : (uint32_t)(share * count);
        while (load->begun[i] < due && load->run.server.connecting < CONNECTING_MAX)
            kinds[i]->begin(load->viewers[i], load->begun[i]++);
        all = all && load->begun[i] == count;
    }
    return all;
}

static bool all_up(const struct load *load) {
    bool up = true;
    for (int i = 0; i < KINDS; i++)
        up = up && (!load->viewers[i] || !kinds[i]->up || kinds[i]->up(load->viewers[i]));
    return up;
}

static bool all_finished(const struct load *load) {
    bool any = false;
    for (int i = 0; i < KINDS; i++) {
        if (!load->viewers[i] || !kinds[i]->finished)
            continue;
        any = true;
        if (!kinds[i]->finished(load->viewers[i]))
            return false;
    }
    return any;
}

static void measure(struct load *load) {
    set_phase(load, MEASURING);
    load->run.measuring = true;
    if (load->options.pid)
        load->cpu_ns = cpu_of_process(load->options.pid);
    for (int i = 0; i < KINDS; i++)
        if (load->viewers[i] && kinds[i]->measure)
            kinds[i]->measure(load->viewers[i]);
}

static void advance(struct load *load, int64_t now_us) {
    int64_t since_us = now_us - load->phase_us;
    switch (load->phase) {
    case BEGINNING:
        if (begin_viewers(load, now_us))
            set_phase(load, RISING);
        break;
    case RISING:
        if (!all_up(load) && since_us < UP_DEADLINE_US)
            break;
        puts(all_up(load) ? "ready" : "late");
        fflush(stdout);
        set_phase(load, SETTLING);
        break;
    case SETTLING:
        if (since_us >= (int64_t)(load->options.warm_s * 1e6))
            measure(load);
        break;
    case MEASURING:
        if (since_us >= (int64_t)(load->options.seconds * 1e6) || all_finished(load))
            loop_stop(load->run.loop);
        break;
    }
}

static void on_tick(void *ctx) {
    struct load *load = ctx;
    int64_t now_us = clock_mono_us();
    advance(load, now_us);
    if (++load->ticks % SWEEP_TICKS == 0)
        for (int i = 0; i < KINDS; i++)
            if (load->viewers[i])
                kinds[i]->sweep(load->viewers[i], now_us);
    loop_timer_set(load->tick, TICK_US);
}

static void on_spin(void *ctx) {
    struct load *load = ctx;
    loop_timer_set(load->spin, 0);
}

static void on_signal(void *ctx) {
    struct load *load = ctx;
    loop_stop(load->run.loop);
}

/* --- the command line --- */

static _Noreturn void usage(void) {
    fputs("usage: weir-load [options] http://HOST:PORT/APP/STREAM\n", stderr);
    for (int i = 0; i < KINDS; i++)
        fprintf(stderr, "  --%-10s N   %s\n", kinds[i]->option, kinds[i]->help);
    fputs("  --seconds    S   how long to measure (10)\n"
          "  --warm       S   how long to let viewers settle before (2)\n"
          "  --ramp       S   over how long they begin (1 a thousand viewers)\n"
          "  --variant    V   for --live and --blocked (v0a0)\n"
          "  --hold-ms    MS  how far behind a --live viewer plays (300)\n"
          "  --rounds     N   of --blocked (5)\n"
          "  --ahead      N   parts ahead of the playlist that --blocked asks for (8)\n"
          "  --sources    N   connect from so many addresses 127.0.0.x (one for each 500 connections to loopback)\n"
          "  --pid        PID report what CPU time this process, the server, took while measuring\n"
          "  --busy-poll      never sleep, so that waking up costs the server nothing\n",
          stderr);
    exit(2);
}

static double number(const char *text, double min, double max) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= min && value <= max)) {
        fprintf(stderr, "weir-load: \"%s\": a number from %g to %g\n", text, min, max);
        exit(2);
    }
    return value;
}

static void set_option(struct load *load, const char *name, const char *value) {
    struct options *options = &load->options;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(name, kinds[i]->option))
            options->counts[i] = (uint32_t)number(value, 0, COUNT_MAX);
    if (!strcmp(name, "seconds"))
        options->seconds = number(value, 0, 1e6);
    else if (!strcmp(name, "warm"))
        options->warm_s = number(value, 0, 1e6);
    else if (!strcmp(name, "ramp"))
        options->ramp_s = number(value, 0, 1e6);
    else if (!strcmp(name, "variant"))
        load->run.variant = value;
    else if (!strcmp(name, "hold-ms"))
        load->run.live_hold_us = (int64_t)(number(value, 0, 60000) * 1000);
    else if (!strcmp(name, "rounds"))
        load->run.rounds = (uint32_t)number(value, 1, 1000);
    else if (!strcmp(name, "ahead"))
        load->run.ahead = (uint32_t)number(value, 0, 1000);
    else if (!strcmp(name, "sources"))
        options->sources = (int32_t)number(value, 0, 60000);
    else if (!strcmp(name, "pid"))
        options->pid = (int)number(value, 1, INT32_MAX);
    else if (!strcmp(name, "busy-poll"))
        options->busy_poll = true;
}

static void parse_options(struct load *load, int argc, char **argv) {
    static const char *const valued[] = {"seconds", "warm",  "ramp",    "variant", "hold-ms",
                                         "rounds",  "ahead", "sources", "pid"};
    struct option names[KINDS + 11] = {0};
    int count = 0, index = 0;
    for (int i = 0; i < KINDS; i++)
        names[count++] = (struct option){kinds[i]->option, required_argument, NULL, 1};
    for (size_t i = 0; i < sizeof valued / sizeof *valued; i++)
        names[count++] = (struct option){valued[i], required_argument, NULL, 1};
    names[count++] = (struct option){"busy-poll", no_argument, NULL, 1};
    for (int r; (r = getopt_long(argc, argv, "", names, &index)) != -1;) {
        if (r != 1)
            usage();
        set_option(load, names[index].name, optarg);
    }
    if (optind != argc - 1)
        usage();
    load->options.url = argv[optind];
}

/* http://HOST:PORT/APP/STREAM, HOST possibly in brackets. */
static void parse_url(struct load *load) {
    struct run *run = &load->run;
    char host[128], port[8] = "80";
    const char *url = load->options.url;
    if (strncmp(url, "http://", 7))
        usage();
    url += 7;
    size_t len = strcspn(url, "/"), base_len = strlen(url + len);
    while (base_len > 0 && url[len + base_len - 1] == '/')
        base_len--;
    if (len == 0 || len >= sizeof host || base_len == 0 || base_len >= sizeof run->base)
        usage();
    memcpy(run->base, url + len, base_len);
    memcpy(host, url, len);
    host[len] = '\0';
    strcpy(run->server.host, host);
    char *colon = strrchr(host, ':'), *name = host;
    if (colon && strlen(colon + 1) < sizeof port && !strchr(colon, ']')) {
        strcpy(port, colon + 1);
        *colon = '\0';
    }
    if (*name == '[') {
        name[strlen(name) - 1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int r = getaddrinfo(name, port, &hints, &found);
    if (r) {
        fprintf(stderr, "weir-load: %s: %s\n", name, gai_strerror(r));
        exit(1);
    }
    memcpy(&run->server.address, found->ai_addr, found->ai_addrlen);
    run->server.address_len = found->ai_addrlen;
    freeaddrinfo(found);
}

static uint32_t total(const struct load *load) {
    uint32_t sum = 0;
    for (int i = 0; i < KINDS; i++)
        sum += kinds[i] == &viewer_probe ? 0 : load->options.counts[i];
    return sum;
}

/* From loopback to loopback one address has too few ports, and a server may limit connections per address. */
static void choose_sources(struct load *load) {
    const struct sockaddr_in *to = (struct sockaddr_in *)&load->run.server.address;
    bool loopback = to->sin_family == AF_INET && ntohl(to->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (load->options.sources >= 0)
        load->run.server.sources = (uint32_t)load->options.sources;
    else if (loopback)
        load->run.server.sources = 1 + total(load) / PER_SOURCE;
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void run(struct load *load) {
    struct loop *loop = load->run.loop;
    struct loop_signal *term = loop_signal_create(loop, SIGTERM, on_signal, load);
    struct loop_signal *interrupt = loop_signal_create(loop, SIGINT, on_signal, load);
    load->tick = loop_timer_create(loop, on_tick, load);
    load->spin = loop_timer_create(loop, on_spin, load);
    for (int i = 0; i < KINDS; i++)
        if (load->options.counts[i])
            load->viewers[i] = kinds[i]->create(&load->run, load->options.counts[i]);
    set_phase(load, BEGINNING);
    loop_timer_set(load->tick, 0);
    if (load->options.busy_poll)
        loop_timer_set(load->spin, 0);
    loop_run(loop);
    report(load);
    for (int i = 0; i < KINDS; i++)
        if (load->viewers[i])
            kinds[i]->destroy(load->viewers[i]);
    loop_timer_destroy(load->tick);
    loop_timer_destroy(load->spin);
    loop_signal_destroy(term);
    loop_signal_destroy(interrupt);
}

/* Exit status: 0 when all answers were as expected. */
int main(int argc, char **argv) {
    static struct load load = {.options = {.seconds = 10, .warm_s = 2, .ramp_s = -1, .sources = -1},
                               .run = {.variant = "v0a0", .live_hold_us = 300000, .rounds = 5, .ahead = 8}};
    parse_options(&load, argc, argv);
    parse_url(&load);
    choose_sources(&load);
    if (load.options.ramp_s < 0)
        load.options.ramp_s = total(&load) / 1000.0;
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    clock_utc_us();
    load.run.loop = load.run.server.loop = loop_create();
    run(&load);
    loop_destroy(load.run.loop);
    return load.run.errors_status || load.run.errors_lost;
}
