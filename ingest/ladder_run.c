#include "ingest/ladder_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "ingest/ingest.h"

static void on_timer(void *ctx);

void ladder_run_init(struct ladder_run *run, struct loop *loop, const struct ingest_settings *settings,
                     const char *stream, const struct ladder_run_port *port) {
    *run = (struct ladder_run){.loop = loop, .settings = settings, .stream = stream, .port = *port};
    run->timer = loop_timer_create(loop, on_timer, run);
}

void ladder_run_set_on_demand(struct ladder_run *run, bool on_demand) {
    run->on_demand = on_demand;
}

void ladder_run_stop(struct ladder_run *run) {
    ladder_destroy(run->ladder);
    on_demand_destroy(run->demand);
    free(run->config);
    run->ladder = NULL;
    run->demand = NULL;
    run->config = NULL;
    run->count = 0;
    run->state = LADDER_NONE;
    loop_timer_cancel(run->timer);
}

void ladder_run_finish(struct ladder_run *run) {
    ladder_run_stop(run);
    loop_timer_destroy(run->timer);
    run->timer = NULL;
}

/* --- what the ladder says --- */

static bool describe(struct ladder_run *run, const struct transcode_output *outputs) {
    const char *why;
    for (uint32_t i = 0; i < run->count; i++) {
        struct ladder_run_rung *rung = &run->rungs[i];
        rung->output = outputs[i];
        if (codec_describe(CODEC_H264, rung->output.config, rung->output.config_len, &rung->codec, &why))
            return false;
    }
    return true;
}

static void tell_start(const struct ladder_run *run) {
    char rungs[128] = "";
    for (uint32_t i = 0; i < run->count; i++)
        snprintf(rungs + strlen(rungs), sizeof rungs - strlen(rungs), "%sv%u=%ux%u", i ? " " : "", run->rungs[i].number,
                 run->rungs[i].output.width, run->rungs[i].output.height);
    log_info("ladder_start", "stream", LOG_STR(run->stream), "rungs", LOG_STR(rungs));
}

static void tell_rung(const struct ladder_run *run, const char *event, uint32_t rung) {
    char name[4];
    snprintf(name, sizeof name, "v%u", run->rungs[rung].number % 10);
    log_info(event, "stream", LOG_STR(run->stream), "rung", LOG_STR(name), "height",
             LOG_INT(run->rungs[rung].output.height));
}

static void on_here(void *ctx, uint32_t rung, bool here, uint64_t msn) {
    struct ladder_run *run = ctx;
    tell_rung(run, here ? "ladder_rung_start" : "ladder_rung_stop", rung);
    run->port.on_here(run->port.ctx, rung, here, msn);
}

static void on_frame(void *ctx, const struct transcode_frame *frame);
static void on_dropped(void *ctx, uint32_t rung, const char *why);
static void on_drained(void *ctx);

/* It is known what they are: now they sleep. */
static void sleep_until_asked(struct ladder_run *run) {
    struct transcode_output outputs[RUNGS_MAX] = {0};
    const struct on_demand_port port = {run, on_here, on_frame, on_dropped, on_drained};
    for (uint32_t i = 0; i < run->count; i++)
        outputs[i] = run->rungs[i].output;
    ladder_destroy(run->ladder);
    run->ladder = NULL;
    run->transcoded.config = run->config;
    run->demand = on_demand_create(run->loop, &run->transcoded, outputs,
                                   run->settings->ladder_on_demand_ms * INT64_C(1000), &port);
}

/* What it was waited for has come, or has not in time. That is settled here, not where the ladder says so, which is no
 * place to destroy it. */
static void on_timer(void *ctx) {
    struct ladder_run *run = ctx;
    if (run->state == LADDER_DRAINING) {
        ladder_run_stop(run);
    } else if (run->described) {
        run->state = LADDER_READY;
        if (run->on_demand)
            sleep_until_asked(run);
        tell_start(run);
    } else {
        log_warn("ladder_failed", "stream", LOG_STR(run->stream), "why", LOG_STR(run->why));
        run->hopeless = true;
        ladder_run_stop(run);
    }
    run->port.on_settled(run->port.ctx);
}

static void on_ready(void *ctx, const struct transcode_output *outputs, const char *why) {
    struct ladder_run *run = ctx;
    run->described = !why && describe(run, outputs);
    run->why = why ? why : "the encoder's configuration can't be used";
    loop_timer_set(run->timer, 0);
}

static void on_frame(void *ctx, const struct transcode_frame *frame) {
    struct ladder_run *run = ctx;
    run->port.on_frame(run->port.ctx, frame);
}

static void on_dropped(void *ctx, uint32_t rung, const char *why) {
    struct ladder_run *run = ctx;
    char name[4];
    snprintf(name, sizeof name, "v%u", run->rungs[rung].number % 10);
    log_warn("ladder_rung_dropped", "stream", LOG_STR(run->stream), "rung", LOG_STR(name), "height",
             LOG_INT(run->rungs[rung].output.height), "why", LOG_STR(why));
    run->dropped |= 1u << run->rungs[rung].number;
    run->port.on_dropped(run->port.ctx);
}

static void on_drained(void *ctx) {
    struct ladder_run *run = ctx;
    loop_timer_set(run->timer, 0);
}

/* --- its steps --- */

/* Those that there are to be. */
static void choose(struct ladder_run *run, struct transcode_settings *settings) {
    const struct codec_info *source = &settings->source;
    struct rung rungs[RUNGS_MAX];
    uint32_t count =
        rungs_choose(run->settings->ladder, run->settings->ladder_count, run->stream,
                     source->width < source->height ? source->width : source->height, settings->rate_milli, rungs);
    settings->rung_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (run->dropped & 1u << (i + 1))
            continue;
        run->rungs[settings->rung_count].number = i + 1;
        run->rungs[settings->rung_count].every = rungs[i].every;
        settings->rungs[settings->rung_count++] = rungs[i];
    }
    run->count = settings->rung_count;
}

static void start(struct ladder_run *run, const struct transcode_settings *source, const uint8_t *key, size_t len) {
    static const struct ladder_events events = {on_ready, on_frame, on_dropped, on_drained};
    struct transcode_settings settings = *source;
    settings.encoder = run->settings->ladder_encoder;
    settings.preset = run->settings->ladder_preset;
    choose(run, &settings);
    if (!settings.rung_count)
        return;
    run->transcoded = settings;
    run->config = malloc(settings.config_len + 1);
    if (!run->config)
        abort();
    memcpy(run->config, settings.config, settings.config_len);
    run->ladder = ladder_create(run->loop, &settings, key, len, &events, run);
    run->state = LADDER_STARTING;
    run->described = false;
    run->why = "it took too long to begin";
    loop_timer_set(run->timer, LADDER_START_MS * INT64_C(1000));
}

bool ladder_run_busy(const struct ladder_run *run) {
    return run->state == LADDER_STARTING || run->state == LADDER_DRAINING;
}

bool ladder_run_prepare(struct ladder_run *run, const struct transcode_settings *source, const uint8_t *key,
                        size_t len) {
    if (!source)
        ladder_run_stop(run);
    else if (run->state == LADDER_NONE && !run->hopeless)
        start(run, source, key, len);
    return !ladder_run_busy(run);
}

/* Each picture is a chunk, with boxes of its own. */
static uint32_t peak_bps(const struct ladder_run_rung *rung, uint32_t rate_milli) {
    enum { BOXES_BITS = 150 * 8, RATE_MILLI = 30000 /* where it isn't known */ };
    return rung->output.peak_bps + (uint32_t)((uint64_t)BOXES_BITS * (rate_milli ? rate_milli : RATE_MILLI) / 1000);
}

uint32_t ladder_run_add(const struct ladder_run *run, struct packager_source sources[TRACKS_MAX], uint32_t count) {
    if (count + run->count > TRACKS_MAX)
        return 0;
    if (run->count)
        memmove(sources + 1 + run->count, sources + 1, (count - 1) * sizeof *sources);
    for (uint32_t i = 0; i < run->count; i++) {
        const struct ladder_run_rung *rung = &run->rungs[i];
        sources[1 + i] = (struct packager_source){.codec = &rung->codec,
                                                  .config = rung->output.config,
                                                  .config_len = rung->output.config_len,
                                                  .language = "",
                                                  .reorders = sources[0].reorders,
                                                  .rate_milli = sources[0].rate_milli / rung->every,
                                                  .every = rung->every,
                                                  .peak_bps = peak_bps(rung, sources[0].rate_milli / rung->every),
                                                  .on_demand = run->demand,
                                                  .rung = rung->number};
    }
    return run->count;
}

void ladder_run_begin(struct ladder_run *run) {
    if (run->state == LADDER_READY)
        run->state = LADDER_RUNNING;
}

static uint32_t mask_of(const struct ladder_run *run, const struct track_names *asked) {
    uint32_t mask = 0;
    for (uint32_t i = 0; asked && i < run->count; i++) {
        char name[4];
        snprintf(name, sizeof name, "v%u", run->rungs[i].number % 10);
        mask |= track_names_have(asked, name) ? 1u << i : 0;
    }
    return mask;
}

void ladder_run_push(struct ladder_run *run, const struct transcode_slot *slot, const uint8_t *data, size_t len,
                     const struct track_names *asked) {
    if (run->state == LADDER_RUNNING && run->demand)
        on_demand_push(run->demand, slot, data, len, mask_of(run, asked));
    else if (run->state == LADDER_RUNNING)
        ladder_push(run->ladder, slot, data, len);
}

bool ladder_run_drain(struct ladder_run *run) {
    if (run->state == LADDER_RUNNING) {
        bool under_way = !run->demand || on_demand_drain(run->demand);
        if (!under_way) {
            ladder_run_stop(run);
            return false;
        }
        run->state = LADDER_DRAINING;
        if (!run->demand)
            ladder_drain(run->ladder);
        loop_timer_set(run->timer, LADDER_DRAIN_MS * INT64_C(1000));
    }
    return run->state == LADDER_DRAINING;
}
