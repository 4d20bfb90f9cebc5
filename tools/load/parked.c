/* Connections that wait: idle ones, and rounds of requests that all wait for the same part of a playlist, to be
 * released together; and beside them a probe, one small request at a time, that feels what others do to the server. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tools/load/manifest.h"
#include "tools/load/run.h"

struct parked {
    struct run *run;
    struct loop_timer *timer;
    uint32_t count, begun, answered;
    bool rounds; /* --blocked */
    struct waiting *items;
    char path[RUN_PATH_MAX];
    /* rounds */
    struct client scout; /* asks how far the playlist is */
    struct manifest manifest;
    uint32_t round, released, early_rounds;
    int64_t first_us, asked_us;    /* of this round: the first answer, the last request */
    struct histogram last, waited; /* first answer to the last, of a round; from the first answer, of a viewer */
};

struct waiting {
    struct parked *parked;
    struct client client;
};

/* --- rounds --- */

static void ask_all(struct parked *parked) {
    char path[RUN_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s?_HLS_msn=%" PRIu64 "&_HLS_part=%u", parked->path, parked->manifest.msn,
             parked->manifest.part + parked->run->ahead);
    parked->released = 0;
    parked->first_us = 0;
    for (uint32_t i = 0; i < parked->begun; i++)
        if (!client_busy(&parked->items[i].client))
            client_get(&parked->items[i].client, path);
    parked->asked_us = clock_mono_us();
}

static void scout(void *ctx) {
    struct parked *parked = ctx;
    manifest_begin(&parked->manifest);
    client_get(&parked->scout, parked->path);
}

static void on_scout_body(void *ctx, const uint8_t *data, size_t len) {
    struct parked *parked = ctx;
    manifest_feed(&parked->manifest, data, len);
}

static void on_scout_end(void *ctx, int status) {
    struct parked *parked = ctx;
    manifest_end(&parked->manifest);
    if (run_count(parked->run, status))
        ask_all(parked);
    else
        loop_timer_set(parked->timer, RUN_RETRY_US);
}

static void on_scout_lost(void *ctx) {
    struct parked *parked = ctx;
    run_count_lost(parked->run);
    loop_timer_set(parked->timer, RUN_RETRY_US);
}

/* A round that began to be answered before all had asked says nothing, and is only counted. */
static void end_round(struct parked *parked) {
    int64_t took_us = clock_mono_us() - parked->first_us;
    if (parked->first_us < parked->asked_us)
        parked->early_rounds++;
    else
        histogram_add(&parked->last, took_us);
    if (++parked->round < parked->run->rounds)
        loop_timer_set(parked->timer, 0);
}

static void on_released(struct parked *parked) {
    int64_t now_us = clock_mono_us();
    if (!parked->first_us)
        parked->first_us = now_us;
    histogram_add(&parked->waited, now_us - parked->first_us);
    if (++parked->released == parked->begun)
        end_round(parked);
}

/* --- connections --- */

static void on_body(void *ctx, const uint8_t *data, size_t len) {
    struct waiting *waiting = ctx;
    (void)data;
    run_count_bytes(waiting->parked->run, len);
}

static void on_end(void *ctx, int status) {
    struct waiting *waiting = ctx;
    struct parked *parked = waiting->parked;
    run_count(parked->run, status);
    if (parked->rounds && parked->run->measuring)
        on_released(parked);
    else
        parked->answered++;
}

static void on_lost(void *ctx) {
    struct waiting *waiting = ctx;
    run_count_lost(waiting->parked->run);
    on_end(ctx, 0);
}

/* --- life --- */

static void *create(struct run *run, uint32_t count, bool rounds) {
    struct parked *parked = load_alloc(sizeof *parked);
    parked->run = run;
    parked->count = count;
    parked->rounds = rounds;
    parked->items = load_alloc(count * sizeof *parked->items);
    parked->timer = loop_timer_create(run->loop, scout, parked);
    if (rounds)
        snprintf(parked->path, sizeof parked->path, "%s/%s.m3u8", run->base, run->variant);
    else
        snprintf(parked->path, sizeof parked->path, "%s/index.m3u8", run->base);
    return parked;
}

static void *blocked_create(struct run *run, uint32_t count) {
    static const struct client_events events = {on_scout_body, on_scout_end, on_scout_lost};
    struct parked *parked = create(run, count, true);
    client_init(&parked->scout, &run->server, &events, parked);
    return parked;
}

static void *idle_create(struct run *run, uint32_t count) {
    return create(run, count, false);
}

static void begin(void *ctx, uint32_t index) {
    static const struct client_events events = {on_body, on_end, on_lost};
    struct parked *parked = ctx;
    struct waiting *waiting = &parked->items[index];
    waiting->parked = parked;
    client_init(&waiting->client, &parked->run->server, &events, waiting);
    parked->begun++;
    client_get(&waiting->client, parked->path);
}

static bool up(void *ctx) {
    const struct parked *parked = ctx;
    return parked->answered == parked->begun;
}

static bool finished(void *ctx) {
    const struct parked *parked = ctx;
    return parked->round >= parked->run->rounds;
}

static void sweep(void *ctx, int64_t now_us) {
    struct parked *parked = ctx;
    for (uint32_t i = 0; i < parked->begun; i++)
        client_check(&parked->items[i].client, now_us, RUN_TIMEOUT_US);
    if (parked->rounds)
        client_check(&parked->scout, now_us, RUN_TIMEOUT_US);
}

static void blocked_report(void *ctx, FILE *out, int64_t now_us) {
    const struct parked *parked = ctx;
    (void)now_us;
    fprintf(out, "{\"viewers\": %u, \"rounds\": %u, \"early_rounds\": %u, ", parked->begun, parked->round,
            parked->early_rounds);
    histogram_report(out, "first_to_last_ms", &parked->last);
    fputs(", ", out);
    histogram_report(out, "after_first_ms", &parked->waited);
    fputc('}', out);
}

static void idle_report(void *ctx, FILE *out, int64_t now_us) {
    const struct parked *parked = ctx;
    (void)now_us;
    fprintf(out, "{\"viewers\": %u, \"answered\": %u}", parked->begun, parked->answered);
}

static void destroy(void *ctx) {
    struct parked *parked = ctx;
    for (uint32_t i = 0; i < parked->begun; i++)
        client_close(&parked->items[i].client);
    if (parked->rounds)
        client_close(&parked->scout);
    loop_timer_destroy(parked->timer);
    free(parked->items);
    free(parked);
}

const struct viewer_kind viewer_blocked = {.option = "blocked",
                                           .help = "requests that wait for the same part of a playlist, in rounds",
                                           .create = blocked_create,
                                           .begin = begin,
                                           .up = up,
                                           .measure = scout,
                                           .finished = finished,
                                           .sweep = sweep,
                                           .report = blocked_report,
                                           .destroy = destroy};
const struct viewer_kind viewer_idle = {.option = "idle",
                                        .help = "connections that ask once and then stay silent",
                                        .create = idle_create,
                                        .begin = begin,
                                        .up = up,
                                        .sweep = sweep,
                                        .report = idle_report,
                                        .destroy = destroy};

/* --- the probe: `count` requests a second, one at a time --- */

struct probe {
    struct run *run;
    struct client client;
    struct loop_timer *timer;
    int64_t every_us, asked_us;
    char path[RUN_PATH_MAX];
    struct histogram answer;
};

static void probe_ask(void *ctx) {
    struct probe *probe = ctx;
    probe->asked_us = clock_mono_us();
    client_get(&probe->client, probe->path);
}

static void probe_again(struct probe *probe) {
    loop_timer_set(probe->timer, probe->every_us);
}

static void on_probe_body(void *ctx, const uint8_t *data, size_t len) {
    struct probe *probe = ctx;
    (void)data;
    run_count_bytes(probe->run, len);
}

static void on_probe_end(void *ctx, int status) {
    struct probe *probe = ctx;
    if (run_count(probe->run, status) && probe->run->measuring)
        histogram_add(&probe->answer, clock_mono_us() - probe->asked_us);
    probe_again(probe);
}

static void on_probe_lost(void *ctx) {
    struct probe *probe = ctx;
    run_count_lost(probe->run);
    probe_again(probe);
}

static void *probe_create(struct run *run, uint32_t count) {
    static const struct client_events events = {on_probe_body, on_probe_end, on_probe_lost};
    struct probe *probe = load_alloc(sizeof *probe);
    probe->run = run;
    probe->every_us = 1000000 / count;
    snprintf(probe->path, sizeof probe->path, "%s/index.m3u8", run->base);
    client_init(&probe->client, &run->server, &events, probe);
    probe->timer = loop_timer_create(run->loop, probe_ask, probe);
    loop_timer_set(probe->timer, 0);
    return probe;
}

static void probe_begin(void *ctx, uint32_t index) {
    (void)ctx;
    (void)index;
}

static void probe_sweep(void *ctx, int64_t now_us) {
    struct probe *probe = ctx;
    client_check(&probe->client, now_us, RUN_TIMEOUT_US);
}

static void probe_report(void *ctx, FILE *out, int64_t now_us) {
    const struct probe *probe = ctx;
    (void)now_us;
    fprintf(out, "{\"requests\": %" PRIu64 ", ", probe->answer.total);
    histogram_report(out, "answer_ms", &probe->answer);
    fputc('}', out);
}

static void probe_destroy(void *ctx) {
    struct probe *probe = ctx;
    client_close(&probe->client);
    loop_timer_destroy(probe->timer);
    free(probe);
}

const struct viewer_kind viewer_probe = {.option = "probe",
                                         .help = "small requests a second beside the others, one at a time",
                                         .create = probe_create,
                                         .begin = probe_begin,
                                         .sweep = probe_sweep,
                                         .report = probe_report,
                                         .destroy = probe_destroy};
