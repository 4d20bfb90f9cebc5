#include "ingest/slate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/base/pattern.h"
#include "common/media/name.h"
#include "common/media/writer.h"
#include "ingest/fetch.h"
#include "ingest/ingest.h"
#include "ingest/source.h"

/* A slate's life. Only the last two cost a process:
 *
 *   WATCHING  somebody publishes the stream, or has; a claim of ours stands by, to hear when nobody does
 *   STARTING  the clip is being opened
 *   PLAYING   it is published
 *
 * It begins with a publisher of its stream on this node, and ends when it has played for as long as it may. */
enum state { WATCHING, STARTING, PLAYING };

enum {
    TOUCH_US = 200000,
    START_US = 10000000, /* then it is looked at anew whether the clip is still wanted */
};

struct slate {
    struct list link;
    struct slates *slates;
    char stream[STREAM_NAME_LEN];
    enum state state;
    void *claim;    /* while it watches; NULL: it is over */
    bool vacant;    /* nobody publishes */
    bool on_air;    /* the clip is */
    int64_t end_us; /* it plays up to then; 0: it hasn't begun since somebody published */
    struct source *source;
    struct loop_timer *step_timer; /* something has happened; or, while it starts or plays, time is up */
};

struct slates {
    struct ingest *ingest;
    struct slates_settings settings;
    char *fetcher;
    struct list list;
    uint32_t count;
    struct loop_timer *touch_timer;
    struct log_limit lines;
};

static struct metric metrics[] = {
    {"weir_ingest_slates", NULL, "Streams whose slate is being published.", METRIC_GAUGE, 0},
    {"weir_ingest_slates_total", NULL, "Times that a slate was published in a stream's place.", METRIC_COUNTER, 0},
};
enum { M_SLATES, M_PLAYED };

void slates_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static int64_t now(const struct slate *slate) {
    return loop_now_us(slate->slates->ingest->loop);
}

static void set_state(struct slate *slate, enum state state) {
    metric_add(&metrics[M_SLATES], (state == PLAYING) - (slate->state == PLAYING));
    slate->state = state;
}

/* --- watching --- */

static void unwatch(struct slate *slate) {
    const struct writer_port *port = &slate->slates->ingest->port;
    if (slate->claim)
        port->release(port->ctx, slate->claim, true);
    slate->claim = NULL;
}

static void slate_destroy(struct slate *slate) {
    unwatch(slate);
    source_destroy(slate->source);
    set_state(slate, WATCHING);
    loop_timer_destroy(slate->step_timer);
    list_remove(&slate->link);
    slate->slates->count--;
    free(slate);
}

/* One that is refused ends, until somebody publishes again. */
static void on_result(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct slate *slate = owner;
    (void)grant; /* it stands by, so it is never granted */
    slate->vacant = result == CLAIM_VACANT;
    if (result == CLAIM_STANDBY)
        slate->end_us = 0; /* somebody publishes */
    if (!claim_stands_by(result))
        unwatch(slate);
    if (slate->vacant || !slate->claim)
        loop_timer_set(slate->step_timer, 0);
}

static void on_lost(void *owner, const struct claim_loss *loss) {
    struct slate *slate = owner;
    (void)loss;
    unwatch(slate);
    loop_timer_set(slate->step_timer, 0);
}

static void watch(struct slate *slate) {
    const struct writer_port *port = &slate->slates->ingest->port;
    set_state(slate, WATCHING);
    slate->vacant = false;
    loop_timer_cancel(slate->step_timer);
    slate->claim = port->claim(port->ctx, &(struct claim_request){.stream = slate->stream,
                                                                  .peer = "slate",
                                                                  .rank = CLAIM_SLATE,
                                                                  .stands_by = true,
                                                                  .on_result = on_result,
                                                                  .on_lost = on_lost,
                                                                  .owner = slate});
}

/* --- playing --- */

static void start(struct slate *slate) {
    unwatch(slate);
    if (!slate->end_us)
        slate->end_us = now(slate) + slate->slates->settings.limit_s * INT64_C(1000000);
    log_info("slate_start", "stream", LOG_STR(slate->stream));
    set_state(slate, STARTING);
    source_start(slate->source);
    loop_timer_set(slate->step_timer, START_US);
}

static void play(struct slate *slate) {
    int64_t left_us = slate->end_us - now(slate);
    set_state(slate, PLAYING);
    metric_add(&metrics[M_PLAYED], 1);
    loop_timer_set(slate->step_timer, left_us > 0 ? left_us : 0);
}

static void stop(struct slate *slate, const char *why) {
    log_info("slate_end", "stream", LOG_STR(slate->stream), "why", LOG_STR(why));
    source_stop(slate->source);
}

static void on_step(void *ctx) {
    struct slate *slate = ctx;
    bool over = slate->end_us && now(slate) >= slate->end_us;
    if (slate->state == WATCHING && (!slate->claim || over)) {
        slate_destroy(slate);
    } else if (slate->state == WATCHING && slate->vacant) {
        start(slate);
    } else if (slate->state == STARTING && slate->on_air) {
        play(slate);
    } else if (slate->state != WATCHING && over) {
        stop(slate, "it has played for as long as it may");
        slate_destroy(slate);
    } else if (slate->state != WATCHING) {
        stop(slate, slate->state == PLAYING ? "somebody publishes" : "it did not begin");
        watch(slate);
    }
}

/* --- publishers --- */

static const char *clip_of(const struct slates *slates, const char *stream) {
    for (uint32_t i = 0; i < slates->settings.clip_count; i++) {
        const char *clip = slates->settings.clips[i];
        size_t len = strcspn(clip, " ");
        if (pattern_closeness(clip, len, stream))
            return clip + len + 1;
    }
    return NULL;
}

static struct slate *find(const struct slates *slates, const char *stream) {
    list_each(it, &slates->list) {
        struct slate *slate = list_entry(it, struct slate, link);
        if (!strcmp(slate->stream, stream))
            return slate;
    }
    return NULL;
}

static struct slate *slate_create(struct slates *slates, const char *stream, const char *file) {
    char url[SOURCE_URL_MAX + 1];
    const char *why;
    struct source_settings settings = {.stream = stream, .slate = true, .loops = true, .fetcher = slates->fetcher};
    snprintf(url, sizeof url, "file:%s", file);
    if (source_url_parse(url, &settings.url, &why))
        return NULL;
    struct slate *slate = calloc(1, sizeof *slate);
    if (!slate)
        abort();
    slate->slates = slates;
    snprintf(slate->stream, sizeof slate->stream, "%s", stream);
    slate->source = source_create(slates->ingest, &settings, NULL, NULL);
    slate->step_timer = loop_timer_create(slates->ingest->loop, on_step, slate);
    list_append(&slates->list, &slate->link);
    slates->count++;
    return slate;
}

static void tell_none(struct slates *slates, const char *stream, const char *why) {
    uint32_t suppressed;
    if (log_limit_pass(&slates->lines, 1, &suppressed))
        log_warn("slate_none", "stream", LOG_STR(stream), "why", LOG_STR(why), LOG_SUPPRESSED(suppressed));
}

/* Somebody's, not the clip's. */
static void published(struct slates *slates, const char *stream) {
    const char *file = clip_of(slates, stream);
    struct slate *slate = find(slates, stream);
    if (slate) {
        slate->end_us = 0;
        return;
    }
    if (!file)
        return;
    if (slates->count >= SLATES_MAX)
        tell_none(slates, stream, "there are too many");
    else if ((slate = slate_create(slates, stream, file)))
        watch(slate);
    else
        tell_none(slates, stream, "its clip has no URL that can be used");
}

static void on_air(void *ctx, const char *stream, enum claim_rank rank, bool is) {
    struct slates *slates = ctx;
    if (rank != CLAIM_SLATE) {
        if (is)
            published(slates, stream);
        return;
    }
    struct slate *slate = find(slates, stream);
    if (!slate || slate->state == WATCHING || slate->on_air == is)
        return;
    slate->on_air = is;
    loop_timer_set(slate->step_timer, 0);
}

/* --- life --- */

/* They would take the clip if it were needed. */
static void on_touch(void *ctx) {
    struct slates *slates = ctx;
    const struct writer_port *port = &slates->ingest->port;
    list_each(it, &slates->list) {
        const struct slate *slate = list_entry(it, struct slate, link);
        if (slate->claim)
            port->touch(port->ctx, slate->claim);
    }
    loop_timer_set(slates->touch_timer, TOUCH_US);
}

struct slates *slates_create(struct ingest *ingest, const struct slates_settings *settings) {
    struct slates *slates = calloc(1, sizeof *slates);
    if (!slates)
        abort();
    slates->ingest = ingest;
    slates->settings = *settings;
    slates->fetcher = fetch_program();
    list_init(&slates->list);
    slates->touch_timer = loop_timer_create(ingest->loop, on_touch, slates);
    loop_timer_set(slates->touch_timer, TOUCH_US);
    ingest->on_air = on_air;
    ingest->on_air_ctx = slates;
    return slates;
}

void slates_destroy(struct slates *slates) {
    if (!slates)
        return;
    slates->ingest->on_air = NULL;
    while (!list_empty(&slates->list))
        slate_destroy(list_entry(slates->list.next, struct slate, link));
    loop_timer_destroy(slates->touch_timer);
    free(slates->fetcher);
    free(slates);
}
