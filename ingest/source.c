#include "ingest/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/address.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/media/name.h"
#include "ingest/backoff.h"
#include "ingest/fetch.h"
#include "ingest/ingest.h"
#include "ingest/srt_server.h"
#include "ingest/ts_session.h"

enum {
    LINES_PER_S = 5,          /* of what a fetcher says */
    PROVEN_US = 10 * 1000000, /* media for so long: the next failure is a new one */
};

struct source {
    struct ingest *ingest;
    char stream[STREAM_NAME_LEN];
    struct source_settings settings;
    void (*on_failed)(void *ctx, struct source *source);
    void *ctx;
    enum source_state state;
    int64_t since_us;
    bool wanted;
    struct fetch *fetch; /* either */
    struct srt_caller *caller;
    struct ts_session *session; /* from its first byte on */
    struct loop_timer *retry;
    struct backoff backoff;
    bool failed;      /* and has not been tried again since */
    int64_t again_us; /* when it may be */
    uint64_t restarts;
    char said[SOURCE_WHY_LEN]; /* last, in this attempt */
    char error[SOURCE_WHY_LEN];
    bool error_logged; /* and nothing was live since */
    struct log_limit lines;
};

static struct metric metrics[] = {
    {"weir_source_failures_total", NULL, "Attempts to fetch a stream that failed, or broke off.", METRIC_COUNTER, 0},
    {"weir_source_received_bytes_total", NULL, "Bytes of MPEG-TS that sources brought.", METRIC_COUNTER, 0},
};
enum { M_FAILURES, M_BYTES };

void source_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

const char *source_state_name(enum source_state state) {
    static const char *const names[] = {"idle", "connecting", "live", "waiting"};
    return names[state];
}

static void set_state(struct source *source, enum source_state state) {
    source->state = state;
    source->since_us = loop_now_us(source->ingest->loop);
}

/* --- failure --- */

static void let_go(struct source *source, bool clean) {
    fetch_destroy(source->fetch);
    source->fetch = NULL;
    srt_server_hang_up(source->caller);
    source->caller = NULL;
    ts_session_destroy(source->session, clean);
    source->session = NULL;
}

/* The same reason again and again is one line. */
static void log_failure(struct source *source, const char *why, int64_t delay_us) {
    bool known = source->error_logged && strcmp(source->error, why) == 0;
    snprintf(source->error, sizeof source->error, "%s", why);
    source->error_logged = true;
    log_event(known ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "source_failed", "stream", LOG_STR(source->stream), "url",
              LOG_STR(source->settings.url.shown), "why", LOG_STR(source->error), "again_ms", LOG_INT(delay_us / 1000),
              (const char *)0);
}

/* `why` may be the source's own text. */
static void fail(struct source *source, const char *why, bool hopeless) {
    uint32_t random = 0;
    struct loop *loop = source->ingest->loop;
    char reason[SOURCE_WHY_LEN];
    snprintf(reason, sizeof reason, "%s", why);
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = 0;
    if (source->state == SOURCE_LIVE && loop_now_us(loop) - source->since_us > PROVEN_US)
        backoff_succeed(&source->backoff);
    if (hopeless)
        backoff_give_up(&source->backoff);
    int64_t delay_us = backoff_fail(&source->backoff, random);
    metric_add(&metrics[M_FAILURES], 1);
    log_failure(source, reason, delay_us);
    let_go(source, false);
    set_state(source, SOURCE_WAITING);
    source->failed = true;
    source->again_us = loop_now_us(loop) + delay_us;
    loop_timer_set(source->retry, delay_us);
    if (source->on_failed)
        source->on_failed(source->ctx, source);
}

/* --- what comes --- */

static void on_result(void *ctx, enum publish_result result) {
    static const char *const refusals[] = {[PUBLISH_BAD_NAME] = "that can't be a stream's name",
                                           [PUBLISH_DENIED] = "not allowed",
                                           [PUBLISH_BUSY] = "somebody else publishes under that name",
                                           [PUBLISH_FULL] = "a limit on streams or memory is reached",
                                           [PUBLISH_UNREACHABLE] = "no origin can be reached",
                                           [PUBLISH_CUT] = "the operator has ended a broadcast under that name"};
    struct source *source = ctx;
    if (result != PUBLISH_OK) {
        fail(source, refusals[result], false);
        return;
    }
    set_state(source, SOURCE_LIVE);
    source->error_logged = false;
    log_info("source_live", "stream", LOG_STR(source->stream), "url", LOG_STR(source->settings.url.shown));
}

static void on_lost(void *ctx, const char *why) {
    fail(ctx, why, false);
}

static void on_data(void *ctx, const uint8_t *data, size_t len) {
    static const struct ts_session_events events = {on_result, on_lost};
    struct source *source = ctx;
    metric_add(&metrics[M_BYTES], (int64_t)len);
    if (!source->session)
        source->session =
            ts_session_create_own(source->ingest, source->stream, source->settings.slate ? CLAIM_SLATE : CLAIM_PRIMARY,
                                  source->settings.url.shown, &events, source);
    ts_session_input(source->session, data, len);
}

/* --- by a process --- */

static void on_says(void *ctx, const char *line) {
    struct source *source = ctx;
    uint32_t suppressed;
    char whole[FETCH_LINE_MAX + 1];
    snprintf(whole, sizeof whole, "%s", line);
    source_url_scrub(whole); /* cut before, a URL might lack what tells that its beginning is a password */
    snprintf(source->said, sizeof source->said, "%.*s", (int)sizeof source->said - 1, whole);
    if (log_limit_pass(&source->lines, LINES_PER_S, &suppressed))
        log_info("source_says", "stream", LOG_STR(source->stream), "says", LOG_STR(source->said),
                 LOG_SUPPRESSED(suppressed));
}

static void on_fetch_end(void *ctx, enum fetch_end end, const char *why) {
    struct source *source = ctx;
    bool itself = end == FETCH_ENDED || end == FETCH_FAILED || end == FETCH_UNUSABLE;
    fail(source, itself && source->said[0] ? source->said : why, end == FETCH_UNUSABLE);
}

static void begin_fetch(struct source *source) {
    static const struct fetch_events events = {on_data, on_says, on_fetch_end};
    const struct source_settings *settings = &source->settings;
    int64_t silence_us = settings->silence_us ? settings->silence_us : FETCH_SILENCE_US;
    if (!settings->fetcher) {
        fail(source, "weir-fetch is not where it was installed", true);
        return;
    }
    source->fetch = fetch_start(source->ingest->loop, settings->fetcher, settings->url.text, source->stream,
                                settings->loops, silence_us, &events, source);
    if (!source->fetch)
        fail(source, "the fetcher can't be started", false);
}

/* --- by a call --- */

static void on_gap(void *ctx) {
    struct source *source = ctx;
    if (source->session)
        ts_session_gap(source->session);
}

static void on_call_end(void *ctx, const char *why) {
    struct source *source = ctx;
    source->caller = NULL;
    fail(source, why, false);
}

static void begin_call(struct source *source) {
    static const struct srt_call_events events = {on_data, on_gap, on_call_end};
    const struct source_url *url = &source->settings.url;
    struct srt_call call = {.key_bytes = url->srt.key_bytes, .latency_ms = url->srt.latency_ms};
    char address[SOURCE_HOST_MAX + 16];
    socklen_t len;
    snprintf(address, sizeof address, strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host, url->port);
    if (address_parse(address, &call.address, &len)) {
        fail(source, "srt:// needs an IP address", true);
        return;
    }
    snprintf(call.stream, sizeof call.stream, "%s", source->stream);
    snprintf(call.stream_id, sizeof call.stream_id, "%s", url->srt.stream_id);
    snprintf(call.passphrase, sizeof call.passphrase, "%s", url->srt.passphrase);
    source->caller = srt_server_call(source->settings.srt, &call, &events, source);
    if (!source->caller)
        fail(source, "there are too many calls", false);
}

/* --- life --- */

static void on_attempt(void *ctx) {
    struct source *source = ctx;
    source->restarts += source->failed;
    source->failed = false;
    source->said[0] = 0;
    set_state(source, SOURCE_CONNECTING);
    if (source->settings.url.scheme == SOURCE_SRT)
        begin_call(source);
    else
        begin_fetch(source);
}

void source_start(struct source *source) {
    if (source->wanted)
        return;
    source->wanted = true;
    int64_t wait_us = source->failed ? source->again_us - loop_now_us(source->ingest->loop) : 0;
    set_state(source, wait_us > 0 ? SOURCE_WAITING : SOURCE_CONNECTING);
    loop_timer_set(source->retry, wait_us);
}

void source_stop(struct source *source) {
    if (!source->wanted)
        return;
    source->wanted = false;
    loop_timer_cancel(source->retry);
    let_go(source, true);
    set_state(source, SOURCE_IDLE);
}

struct source *source_create(struct ingest *ingest, const struct source_settings *settings,
                             void (*on_failed)(void *ctx, struct source *source), void *ctx) {
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        abort();
    source->ingest = ingest;
    source->settings = *settings;
    source->on_failed = on_failed;
    source->ctx = ctx;
    snprintf(source->stream, sizeof source->stream, "%s", settings->stream);
    source->retry = loop_timer_create(ingest->loop, on_attempt, source);
    set_state(source, SOURCE_IDLE);
    return source;
}

void source_destroy(struct source *source) {
    if (!source)
        return;
    source_stop(source);
    loop_timer_destroy(source->retry);
    free(source);
}

struct source_view source_view(const struct source *source) {
    return (struct source_view){.stream = source->stream,
                                .url = source->settings.url.shown,
                                .state = source->state,
                                .error = source->error,
                                .restarts = source->restarts,
                                .since_us = source->since_us};
}
