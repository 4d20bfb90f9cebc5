/* A real server on loopback and callers of libsrt, on one loop: a test sends and runs the loop until it sees what it
 * waits for, or until a deadline. The sessions are fake ones. */
#include "ingest/srt_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <srt/access_control.h>
#include <srt/srt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "ingest/ingest.h"
#include "ingest/live_names.h"
#include "ingest/ts_session.h"

enum { DEADLINE_US = 20000000, TICK_US = 1000, DATAGRAM = 1316, SESSIONS_MAX = 8, RECORDED_MAX = 1 << 20 };

/* --- sessions --- */

struct ts_session {
    struct ts_session_events events;
    void *ctx;
    char app[64], name[64], peer[64];
    bool open, clean;
    size_t bytes, gap_at; /* gap_at: where in its bytes the first gap was */
    uint32_t gaps;
    uint8_t recorded[RECORDED_MAX];
};

static struct ts_session sessions[SESSIONS_MAX];
static uint32_t session_count, open_sessions;

struct ts_session *ts_session_create(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                     const struct ts_session_events *events, void *ctx) {
    (void)ingest;
    assert_true(session_count < SESSIONS_MAX);
    struct ts_session *session = &sessions[session_count++];
    memset(session, 0, sizeof *session);
    session->events = *events;
    session->ctx = ctx;
    session->open = true;
    snprintf(session->app, sizeof session->app, "%s", app);
    snprintf(session->name, sizeof session->name, "%s", name);
    snprintf(session->peer, sizeof session->peer, "%s", peer);
    open_sessions++;
    return session;
}

void ts_session_input(struct ts_session *session, const uint8_t *data, size_t len) {
    assert_true(session->open);
    if (session->bytes + len <= RECORDED_MAX)
        memcpy(session->recorded + session->bytes, data, len);
    session->bytes += len;
}

void ts_session_gap(struct ts_session *session) {
    assert_true(session->open);
    if (!session->gaps++)
        session->gap_at = session->bytes;
}

void ts_session_destroy(struct ts_session *session, bool clean) {
    if (!session)
        return;
    session->open = false;
    session->clean = clean;
    open_sessions--;
}

void ts_session_metrics_register(void) {}

/* --- the server and its callers --- */

static struct loop *loop;
static struct ingest *ingest;
static struct srt_server *server;
static struct loop_timer *tick;
static uint16_t port;

static bool (*awaited)(void *ctx);
static void *awaited_of;
static int64_t give_up_us;
static bool came;
static void (*on_every_tick)(void);

static void on_tick(void *ctx) {
    (void)ctx;
    if (on_every_tick)
        on_every_tick();
    came = awaited(awaited_of);
    if (came || loop_now_us(loop) > give_up_us)
        loop_stop(loop);
    else
        loop_timer_set(tick, TICK_US);
}

static void run_until(bool (*condition)(void *ctx), void *ctx) {
    awaited = condition;
    awaited_of = ctx;
    give_up_us = clock_mono_us() + DEADLINE_US;
    loop_timer_set(tick, 0);
    loop_run(loop);
    assert_true(came);
}

static struct srt_server_settings settings_with(void) {
    struct srt_server_settings settings = srt_server_settings_default;
    settings.latency_ms = 60;
    return settings;
}

static void start(const struct srt_server_settings *settings) {
    server = srt_server_create(loop, ingest, settings);
    assert_int_equal(srt_server_listen(server, "127.0.0.1:0", &port), 0);
    assert_int_equal(srt_server_start(server), 0);
}

static int set_up(void **state) {
    static const struct writer_port nowhere;
    static char *no_keys;
    (void)state;
    const struct ingest_settings settings = {.publish_keys = &no_keys};
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    loop = loop_create();
    ingest = ingest_create(loop, &settings, &nowhere);
    tick = loop_timer_create(loop, on_tick, NULL);
    session_count = open_sessions = 0;
    on_every_tick = NULL;
    return srt_startup() < 0;
}

static int tear_down(void **state) {
    (void)state;
    srt_server_destroy(server);
    server = NULL;
    assert_int_equal(open_sessions, 0);
    loop_timer_destroy(tick);
    ingest_destroy(ingest);
    loop_destroy(loop);
    return srt_cleanup();
}

struct call {
    const char *id, *passphrase;
    int key_bytes, latency_ms;
    uint16_t port; /* 0: the server's own */
};

static SRTSOCKET dial(const struct call *call) {
    SRTSOCKET socket = srt_create_socket();
    int32_t off = 0, key = call->key_bytes, latency = call->latency_ms ? call->latency_ms : 20;
    srt_setsockflag(socket, SRTO_RCVSYN, &off, sizeof off);
    srt_setsockflag(socket, SRTO_SNDSYN, &off, sizeof off);
    srt_setsockflag(socket, SRTO_LATENCY, &latency, sizeof latency);
    srt_setsockflag(socket, SRTO_STREAMID, call->id, (int)strlen(call->id));
    if (call->passphrase)
        srt_setsockflag(socket, SRTO_PASSPHRASE, call->passphrase, (int)strlen(call->passphrase));
    if (key)
        srt_setsockflag(socket, SRTO_PBKEYLEN, &key, sizeof key);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(call->port ? call->port : port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(srt_connect(socket, (struct sockaddr *)&to, sizeof to), 0);
    return socket;
}

static bool is_decided(void *ctx) {
    SRT_SOCKSTATUS state = srt_getsockstate(*(SRTSOCKET *)ctx);
    return state == SRTS_CONNECTED || state >= SRTS_BROKEN;
}

static bool is_broken(void *ctx) {
    return srt_getsockstate(*(SRTSOCKET *)ctx) >= SRTS_BROKEN;
}

static bool is_count(void *ctx) {
    return session_count == *(uint32_t *)ctx;
}

static bool is_closed(void *ctx) {
    return !((struct ts_session *)ctx)->open;
}

/* Until it is connected and its session is there. */
static SRTSOCKET connect_with(const struct call *call) {
    uint32_t wanted = session_count + 1;
    SRTSOCKET socket = dial(call);
    run_until(is_decided, &socket);
    assert_int_equal(srt_getsockstate(socket), SRTS_CONNECTED);
    run_until(is_count, &wanted);
    return socket;
}

static SRTSOCKET connect_as(const char *id) {
    return connect_with(&(struct call){.id = id});
}

/* What it is refused with; 0: it isn't. */
static int refusal(const struct call *call) {
    SRTSOCKET socket = dial(call);
    run_until(is_decided, &socket);
    int reason = srt_getsockstate(socket) == SRTS_CONNECTED ? 0 : srt_getrejectreason(socket);
    srt_close(socket);
    return reason;
}

static int refusal_of(const char *id) {
    return refusal(&(struct call){.id = id});
}

static void send_datagrams(SRTSOCKET socket, uint32_t first, uint32_t count) {
    char data[DATAGRAM];
    for (uint32_t i = first; i < first + count; i++) {
        memset(data, (int)(i & 255), sizeof data);
        assert_int_equal(srt_sendmsg(socket, data, sizeof data, -1, 1), DATAGRAM);
    }
}

static size_t wanted_bytes;

static bool has_bytes(void *ctx) {
    return ((struct ts_session *)ctx)->bytes >= wanted_bytes;
}

static void wait_bytes(struct ts_session *session, size_t bytes) {
    wanted_bytes = bytes;
    run_until(has_bytes, session);
}

static double metric(const char *line) {
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    buf_append(&out, "", 1);
    const char *at = strstr((const char *)buf_head(&out), line);
    double value = at ? atof(at + strlen(line)) : -1;
    buf_finish(&out);
    return value;
}

struct metric_wait {
    const char *line;
    double least;
};

static bool is_metric(void *ctx) {
    const struct metric_wait *wait = ctx;
    return metric(wait->line) >= wait->least;
}

/* --- tests --- */

static void what_is_sent_arrives_in_order(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    SRTSOCKET caller = connect_as("#!::r=live/show,m=publish,u=secret");
    struct ts_session *session = &sessions[0];
    assert_string_equal(session->app, "live");
    assert_string_equal(session->name, "show?key=secret");
    assert_memory_equal(session->peer, "127.0.0.1:", 10);
    send_datagrams(caller, 0, 300);
    wait_bytes(session, 300 * DATAGRAM);
    for (size_t i = 0; i < 300 * DATAGRAM; i++)
        assert_int_equal(session->recorded[i], i / DATAGRAM & 255);
    assert_int_equal(session->gaps, 0);
    srt_close(caller);
    run_until(is_closed, session);
    assert_true(session->clean);
}

static void callers_are_refused_with_the_standards_codes(void **state) {
    (void)state;
    char *keys[] = {"live/*:secret"};
    ingest->settings.publish_keys = keys;
    ingest->settings.publish_key_count = 1;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    double before = metric("weir_srt_refused_total{reason=\"wrong_key\"} ");
    assert_int_equal(refusal_of("nonsense"), SRT_REJX_BAD_REQUEST);
    assert_int_equal(refusal_of("live/show"), SRT_REJX_UNAUTHORIZED);
    assert_int_equal(refusal_of("live/show?key=wrong"), SRT_REJX_FORBIDDEN);
    assert_int_equal(refusal_of("#!::r=live/show,s=secret"), SRT_REJX_BAD_MODE);
    assert_int_equal(refusal_of("#!::r=live/show,s=secret,m=publish,t=file"), SRT_REJX_NOTSUP_MEDIA);
    live_names_hold(ingest->live, "live/show", &keys, clock_mono_us());
    assert_int_equal(refusal_of("live/show?key=secret"), SRT_REJX_CONFLICT);
    live_names_release(ingest->live, "live/show", &keys);
    assert_int_equal(session_count, 0);
    assert_true(metric("weir_srt_refused_total{reason=\"wrong_key\"} ") == before + 1);
    srt_close(connect_as("live/show?key=secret"));
}

static void more_connections_than_may_be_are_refused(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    settings.connections_max = 1;
    start(&settings);
    SRTSOCKET caller = connect_as("live/one");
    assert_int_equal(refusal_of("live/two"), SRT_REJX_OVERLOAD);
    srt_close(caller);
    run_until(is_closed, &sessions[0]);
    srt_close(connect_as("live/two"));
}

static void more_connections_of_an_address_than_may_be_are_refused(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    settings.connections_per_address = 2;
    start(&settings);
    double before = metric("weir_srt_refused_total{reason=\"address\"} ");
    SRTSOCKET first = connect_as("live/one"), second = connect_as("live/two");
    assert_int_equal(refusal_of("live/three"), SRT_REJX_OVERLOAD);
    assert_true(metric("weir_srt_refused_total{reason=\"address\"} ") == before + 1);
    srt_close(first);
    run_until(is_closed, &sessions[0]);
    srt_close(connect_as("live/three"));
    srt_close(second);
}

static struct srt_link_info first_info;

static void note_info(void *ctx, const struct srt_view *view) {
    (void)ctx;
    first_info = *view->info;
}

static void streams_have_passphrases_of_their_own(void **state) {
    (void)state;
    static char *passphrases[] = {"live/*:of all in live", "live/show:of the show alone"};
    struct srt_server_settings settings = settings_with();
    settings.passphrases = passphrases;
    settings.passphrase_count = 2;
    start(&settings);
    struct metric_wait wrong = {"weir_srt_refused_total{reason=\"handshake\"} ", 0};
    wrong.least = metric(wrong.line) + 3;
    assert_int_equal(refusal(&(struct call){"live/show", "of all in live", 0, 0, 0}), SRT_REJ_BADSECRET);
    assert_int_equal(refusal(&(struct call){"live/show", NULL, 0, 0, 0}), SRT_REJ_UNSECURE);
    assert_int_equal(refusal(&(struct call){"other/show", "of all in live", 0, 0, 0}), SRT_REJ_UNSECURE);
    run_until(is_metric, &wrong);
    assert_int_equal(session_count, 0);
    static const int key_bytes[] = {0, 16, 24, 32};
    for (size_t i = 0; i < 4; i++) {
        SRTSOCKET caller = connect_with(&(struct call){"live/show", "of the show alone", key_bytes[i], 0, 0});
        srt_server_each(server, note_info, NULL);
        assert_int_equal(first_info.key_bits, i ? key_bytes[i] * 8 : 128);
        send_datagrams(caller, 7, 10);
        wait_bytes(&sessions[i], 10 * DATAGRAM);
        assert_int_equal(sessions[i].recorded[DATAGRAM], 8);
        srt_close(caller);
        run_until(is_closed, &sessions[i]);
    }
    srt_close(connect_with(&(struct call){"live/other", "of all in live", 0, 0, 0}));
    srt_close(connect_with(&(struct call){"other/show", NULL, 0, 0, 0}));
    srt_server_each(server, note_info, NULL);
}

static void callers_take_the_length_of_keys_that_is_wished_for(void **state) {
    (void)state;
    static char *passphrases[] = {"for everybody"};
    struct srt_server_settings settings = settings_with();
    settings.passphrases = passphrases;
    settings.passphrase_count = 1;
    settings.key_bytes = 32;
    start(&settings);
    SRTSOCKET caller = connect_with(&(struct call){"live/show", "for everybody", 0, 0, 0});
    srt_server_each(server, note_info, NULL);
    assert_int_equal(first_info.key_bits, 256);
    send_datagrams(caller, 0, 1);
    wait_bytes(&sessions[0], DATAGRAM);
    srt_close(caller);
}

static void the_larger_latency_is_agreed_on(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    settings.latency_ms = 80;
    start(&settings);
    SRTSOCKET caller = connect_with(&(struct call){"live/one", NULL, 0, 20, 0});
    srt_server_each(server, note_info, NULL);
    assert_int_equal(first_info.latency_ms, 80);
    srt_close(caller);
    run_until(is_closed, &sessions[0]);
    caller = connect_with(&(struct call){"live/two", NULL, 0, 300, 0});
    srt_server_each(server, note_info, NULL);
    assert_int_equal(first_info.latency_ms, 300);
    srt_close(caller);
}

static void a_publisher_that_is_lost_takes_its_caller_along(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    SRTSOCKET lost = connect_as("live/one"), other = connect_as("live/two");
    sessions[0].events.on_lost(sessions[0].ctx, "taken over");
    run_until(is_broken, &lost);
    run_until(is_closed, &sessions[0]);
    assert_false(sessions[0].clean);
    send_datagrams(other, 0, 3);
    wait_bytes(&sessions[1], 3 * DATAGRAM);
    srt_close(lost);
    srt_close(other);
}

static void a_claim_that_fails_closes_the_caller(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    double before = metric("weir_srt_refused_total{reason=\"busy\"} ");
    SRTSOCKET caller = connect_as("live/one");
    sessions[0].events.on_result(sessions[0].ctx, PUBLISH_BUSY);
    run_until(is_broken, &caller);
    run_until(is_closed, &sessions[0]);
    assert_true(metric("weir_srt_refused_total{reason=\"busy\"} ") == before + 1);
    srt_close(caller);
}

static void a_silent_caller_is_closed(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    settings.silence_timeout_ms = 700;
    start(&settings);
    SRTSOCKET caller = connect_as("live/one");
    run_until(is_closed, &sessions[0]);
    assert_false(sessions[0].clean);
    srt_close(caller);
}

/* While the loop stands still the queue of one link fills and stays full; the thread closes it, and only it. */
static void a_full_queue_costs_its_own_link_alone(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    settings.queue_bytes_max = 64 << 10;
    settings.queue_full_ms = 200;
    start(&settings);
    struct metric_wait slow = {"weir_srt_closed_total{end=\"slow\"} ", 0};
    slow.least = metric(slow.line) + 1;
    SRTSOCKET greedy = connect_as("live/greedy"), modest = connect_as("live/modest");
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    for (uint32_t i = 0; srt_getsockstate(greedy) == SRTS_CONNECTED; i++) {
        char data[DATAGRAM] = {0};
        assert_true(clock_mono_us() < deadline_us);
        srt_sendmsg(greedy, data, sizeof data, -1, 1); /* not blocking: it may be full */
        if (i % 1000 == 0)
            send_datagrams(modest, 0, 1);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); /* what it is sent with, not what is waited for */
    }
    run_until(is_metric, &slow);
    run_until(is_closed, &sessions[0]);
    assert_true(sessions[0].bytes <= 64 << 10);
    assert_true(sessions[1].open);
    size_t before = sessions[1].bytes;
    send_datagrams(modest, 0, 3);
    wait_bytes(&sessions[1], before + 3 * DATAGRAM);
    srt_close(greedy);
    srt_close(modest);
}

static void open_links_are_closed_with_the_server(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    SRTSOCKET caller = connect_as("live/one");
    srt_server_destroy(server);
    server = NULL;
    assert_false(sessions[0].open);
    assert_false(sessions[0].clean);
    srt_close(caller);
}

static void an_address_in_use_is_told(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    assert_int_equal(bind(fd, (struct sockaddr *)&any, len), 0);
    getsockname(fd, (struct sockaddr *)&any, &len);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(any.sin_port));
    struct srt_server *other = srt_server_create(loop, ingest, &settings);
    assert_int_equal(srt_server_listen(other, address, NULL), -EADDRINUSE);
    assert_int_equal(srt_server_listen(other, "nowhere", NULL), -EINVAL);
    srt_server_destroy(other);
    close(fd);
}

/* --- loss --- */

/* Between a caller and the server: passes all on, but data packets whose number is to be lost, as often as they come.
 */
static int relay = -1;
static uint16_t relay_port;
static struct sockaddr_in relay_caller;
static uint32_t relay_first, relay_lost_from, relay_lost_to; /* numbers, counted from the first */
static bool relay_begun;

static bool is_lost(const uint8_t *packet, size_t len) {
    if (len < 16 || packet[0] & 0x80) /* a control packet */
        return false;
    uint32_t number =
        (uint32_t)packet[0] << 24 | (uint32_t)packet[1] << 16 | (uint32_t)packet[2] << 8 | (uint32_t)packet[3];
    if (!relay_begun)
        relay_first = number;
    relay_begun = true;
    uint32_t at = (number - relay_first) & INT32_MAX;
    return at >= relay_lost_from && at < relay_lost_to;
}

static void relay_pass(void) {
    uint8_t packet[2048];
    struct sockaddr_in from,
        target = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof from;
    ssize_t n;
    while ((n = recvfrom(relay, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&from, &len)) > 0) {
        bool up = from.sin_port != target.sin_port;
        if (up)
            relay_caller = from;
        if (!up || !is_lost(packet, (size_t)n))
            sendto(relay, packet, (size_t)n, 0, (struct sockaddr *)(up ? &target : &relay_caller), sizeof target);
    }
}

static void relay_start(uint32_t lost_from, uint32_t lost_to) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    relay = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(relay, (struct sockaddr *)&any, len), 0);
    getsockname(relay, (struct sockaddr *)&any, &len);
    relay_port = ntohs(any.sin_port);
    relay_lost_from = lost_from;
    relay_lost_to = lost_to;
    relay_begun = false;
    on_every_tick = relay_pass;
}

static struct srt_stats first_stats;

static void note_stats(void *ctx, const struct srt_view *view) {
    (void)ctx;
    first_stats = view->stats;
}

static bool dropped(void *ctx) {
    (void)ctx;
    srt_server_each(server, note_stats, NULL);
    return first_stats.dropped >= 3;
}

static void what_is_lost_for_good_is_a_gap(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    relay_start(10, 13);
    SRTSOCKET caller = connect_with(&(struct call){.id = "live/one", .port = relay_port});
    struct ts_session *session = &sessions[0];
    send_datagrams(caller, 0, 30);
    wait_bytes(session, 27 * DATAGRAM);
    assert_int_equal(session->gaps, 1);
    assert_int_equal(session->gap_at, 10 * DATAGRAM);
    assert_int_equal(session->recorded[10 * DATAGRAM - 1], 9);
    assert_int_equal(session->recorded[10 * DATAGRAM], 13);
    run_until(dropped, NULL);
    assert_int_equal(first_stats.dropped, 3);
    assert_true(first_stats.lost >= 3 && first_stats.rtt_ms > 0);
    srt_close(caller);
    run_until(is_closed, session);
    close(relay);
}

/* Of whom nothing at all is heard any more, not even a goodbye. */
static void a_caller_that_vanishes_is_lost(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    start(&settings);
    relay_start(0, 0);
    SRTSOCKET caller = connect_with(&(struct call){.id = "live/one", .port = relay_port});
    send_datagrams(caller, 0, 3);
    wait_bytes(&sessions[0], 3 * DATAGRAM);
    on_every_tick = NULL;
    run_until(is_closed, &sessions[0]);
    assert_false(sessions[0].clean);
    srt_close(caller);
    close(relay);
}

/* --- calls --- */

static struct called {
    size_t bytes;
    uint8_t last;
    uint32_t ends;
    char why[64];
} called;

static void on_called_data(void *ctx, const uint8_t *data, size_t len) {
    struct called *of = ctx;
    of->bytes += len;
    of->last = data[len - 1];
}

static void on_called_gap(void *ctx) {
    (void)ctx;
}

static void on_called_end(void *ctx, const char *why) {
    struct called *of = ctx;
    of->ends++;
    snprintf(of->why, sizeof of->why, "%s", why);
}

static struct srt_caller *call_port(uint16_t to, const char *stream_id, const char *passphrase) {
    static const struct srt_call_events events = {on_called_data, on_called_gap, on_called_end};
    struct srt_call call = {.stream = "live/enc", .latency_ms = 80};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(to),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memcpy(&call.address, &address, sizeof address);
    snprintf(call.stream_id, sizeof call.stream_id, "%s", stream_id);
    snprintf(call.passphrase, sizeof call.passphrase, "%s", passphrase ? passphrase : "");
    called = (struct called){0};
    return srt_server_call(server, &call, &events, &called);
}

static bool call_ended(void *ctx) {
    (void)ctx;
    return called.ends > 0;
}

static bool call_has_bytes(void *ctx) {
    return called.bytes >= *(size_t *)ctx;
}

/* An encoder that listens: a socket of libsrt's, non-blocking. */
static SRTSOCKET encoder_listen(const char *passphrase, uint16_t *ret_port) {
    SRTSOCKET socket = srt_create_socket();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int32_t off = 0;
    int len = sizeof address;
    srt_setsockflag(socket, SRTO_RCVSYN, &off, sizeof off);
    srt_setsockflag(socket, SRTO_PASSPHRASE, passphrase, (int)strlen(passphrase));
    assert_int_equal(srt_bind(socket, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(srt_listen(socket, 1), 0);
    srt_getsockname(socket, (struct sockaddr *)&address, &len);
    *ret_port = ntohs(address.sin_port);
    return socket;
}

static SRTSOCKET accepted;

static bool is_accepted(void *ctx) {
    accepted = srt_accept(*(SRTSOCKET *)ctx, NULL, NULL);
    return accepted != SRT_INVALID_SOCK;
}

static void a_listener_that_is_called_is_heard(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    uint16_t encoder_port;
    char id[64] = "";
    int len = sizeof id;
    server = srt_server_create(loop, ingest, &settings);
    assert_int_equal(srt_server_start(server), 0);
    SRTSOCKET encoder = encoder_listen("ten of them", &encoder_port);
    assert_non_null(call_port(encoder_port, "#!::r=cam,m=request", "ten of them"));
    run_until(is_accepted, &encoder);
    srt_getsockflag(accepted, SRTO_STREAMID, id, &len);
    assert_string_equal(id, "#!::r=cam,m=request");
    send_datagrams(accepted, 0, 40);
    run_until(call_has_bytes, &(size_t){40 * (size_t)DATAGRAM});
    assert_int_equal(called.last, 39);
    assert_int_equal(session_count, 0);
    srt_server_each(server, note_info, NULL);
    assert_string_equal(first_info.id.stream, "live/enc");
    assert_int_equal(first_info.key_bits, 128);
    assert_true(first_info.latency_ms >= 80);
    srt_close(accepted);
    run_until(call_ended, NULL);
    assert_string_equal(called.why, "the listener has ended it");
    srt_close(encoder);
}

static void a_call_that_isnt_taken_says_why(void **state) {
    (void)state;
    static char *passphrases[] = {"live/secret:of all in live"};
    static const struct {
        const char *id, *passphrase, *why;
    } cases[] = {{"nonsense", NULL, "BAD_REQUEST (1400)"},
                 {"#!::r=live/x,m=request", NULL, "BAD_MODE (1405)"},
                 {"live/secret", "not the right one", "BADSECRET (1010)"},
                 {"live/secret", NULL, "UNSECURE (1011)"}};
    struct srt_server_settings settings = settings_with();
    settings.passphrases = passphrases;
    settings.passphrase_count = 1;
    start(&settings);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        call_port(port, cases[i].id, cases[i].passphrase);
        run_until(call_ended, NULL);
        assert_string_equal(called.why, cases[i].why);
        assert_int_equal(called.bytes, 0);
    }
    double before = metric("weir_srt_closed_total{end=\"refused\"} ");
    srt_server_hang_up(call_port(port, "nonsense", NULL));
    run_until(is_metric, &(struct metric_wait){"weir_srt_closed_total{end=\"refused\"} ", before + 1});
    assert_int_equal(called.ends, 0);
}

/* One that is being set up, and one that nobody has begun. */
static void calls_end_with_the_server(void **state) {
    (void)state;
    struct srt_server_settings settings = settings_with();
    relay_start(0, 0); /* it swallows all that comes */
    on_every_tick = NULL;
    server = srt_server_create(loop, ingest, &settings);
    call_port(relay_port, "x", NULL);
    srt_server_destroy(server);
    assert_int_equal(called.ends, 1);
    server = srt_server_create(loop, ingest, &settings);
    assert_int_equal(srt_server_start(server), 0);
    call_port(relay_port, "x", NULL);
    srt_server_destroy(server);
    server = NULL;
    assert_int_equal(called.ends, 1);
    close(relay);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    srt_server_metrics_register();
    const struct CMUnitTest tests[] = {
        TEST(what_is_sent_arrives_in_order),
        TEST(callers_are_refused_with_the_standards_codes),
        TEST(more_connections_than_may_be_are_refused),
        TEST(more_connections_of_an_address_than_may_be_are_refused),
        TEST(streams_have_passphrases_of_their_own),
        TEST(callers_take_the_length_of_keys_that_is_wished_for),
        TEST(the_larger_latency_is_agreed_on),
        TEST(a_publisher_that_is_lost_takes_its_caller_along),
        TEST(a_claim_that_fails_closes_the_caller),
        TEST(a_silent_caller_is_closed),
        TEST(a_full_queue_costs_its_own_link_alone),
        TEST(open_links_are_closed_with_the_server),
        TEST(an_address_in_use_is_told),
        TEST(what_is_lost_for_good_is_a_gap),
        TEST(a_caller_that_vanishes_is_lost),
        TEST(a_listener_that_is_called_is_heard),
        TEST(a_call_that_isnt_taken_says_why),
        TEST(calls_end_with_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
