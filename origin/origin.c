#include "origin/origin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/media/hub.h"
#include "common/media/refusals.h"

/* Numbers begin at the time since 2025-01-01 in these units, so that they grow even when all state is lost. */
enum { MSN_UNIT_US = 500000, PART_UNIT_US = 25000 };
static const int64_t numbers_since_us = 1735689600ll * 1000000;

struct claim {
    struct origin *origin;
    struct broadcast *broadcast; /* NULL: not granted, or lost */
    char stream[STREAM_NAME_LEN], peer[64];
    uint64_t epoch; /* it goes on with that; 0: a new one */
    void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant);
    void (*on_lost)(void *owner, const struct claim_loss *loss);
    void *owner;
    const char *lost_why; /* it is lost: on_lost is due */
    struct loop_timer *timer;
};

/* A stream that somebody writes or has just written. Ends with the grace time. */
struct broadcast {
    struct origin *origin;
    char stream[STREAM_NAME_LEN];
    struct claim *claim; /* the writer, NULL while it is away */
    uint64_t epoch;
    int64_t end_us;     /* media time of what was written */
    int64_t written_us; /* when, by the loop's clock */
    bool opened, ended; /* ended: by its writer */
    struct loop_timer *grace_timer;
};

struct origin {
    struct loop *loop;
    struct hub *hub;
    struct origin_settings settings;
    struct map *broadcasts;
    struct refusals *refusals;                                        /* of what was cut */
    void (*on_stream)(void *ctx, const char *stream, uint64_t epoch); /* NULL: nobody cares */
    void *on_stream_ctx;
};

static struct metric metrics[] = {
    {"weir_origin_oversized_total", NULL, "Writers lost because their stream was over its limit of memory.",
     METRIC_COUNTER, 0},
    {"weir_origin_evicted_total", NULL, "Streams removed because memory was full: the largest at the time.",
     METRIC_COUNTER, 0},
    {"weir_origin_cut_total", NULL, "Broadcasts that the operator has cut here.", METRIC_COUNTER, 0},
};
enum { M_OVERSIZED, M_EVICTED, M_CUT };

void origin_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- broadcasts --- */

static void tell(const struct broadcast *broadcast, uint64_t epoch) {
    const struct origin *origin = broadcast->origin;
    if (origin->on_stream && broadcast->opened)
        origin->on_stream(origin->on_stream_ctx, broadcast->stream, epoch);
}

static void broadcast_destroy(struct broadcast *broadcast) {
    tell(broadcast, 0);
    map_remove(broadcast->origin->broadcasts, broadcast->stream);
    loop_timer_destroy(broadcast->grace_timer);
    free(broadcast);
}

/* What its writer has ended stays so. */
static void write_state(struct broadcast *broadcast, enum stream_state state) {
    if (!broadcast->opened || broadcast->ended)
        return;
    struct record *record = record_create(RECORD_STATE, broadcast->stream, broadcast->epoch);
    record->state.state = state;
    hub_write(broadcast->origin->hub, record);
}

static void on_grace_over(void *ctx) {
    struct broadcast *broadcast = ctx;
    log_info("stream_end", "stream", LOG_STR(broadcast->stream));
    write_state(broadcast, STREAM_ENDED);
    broadcast_destroy(broadcast);
}

static struct broadcast *broadcast_get(struct origin *origin, const char *stream) {
    struct broadcast *broadcast = map_get(origin->broadcasts, stream);
    if (broadcast)
        return broadcast;
    broadcast = calloc(1, sizeof *broadcast);
    if (!broadcast)
        abort();
    broadcast->origin = origin;
    strcpy(broadcast->stream, stream);
    broadcast->grace_timer = loop_timer_create(origin->loop, on_grace_over, broadcast);
    map_set(origin->broadcasts, stream, broadcast);
    return broadcast;
}

/* Its writer has gone. */
static void broadcast_leave(struct broadcast *broadcast) {
    broadcast->claim = NULL;
    write_state(broadcast, STREAM_AWAY);
    int64_t grace_us = (int64_t)broadcast->origin->settings.grace_ms * 1000;
    loop_timer_set(broadcast->grace_timer, broadcast->opened && !broadcast->ended ? grace_us : 0);
}

/* The writer is told in the next turn: it may be in a call of its own, and so may another. */
static void claim_lose(struct claim *claim, const char *why) {
    claim->broadcast = NULL;
    claim->lost_why = why;
    loop_timer_set(claim->timer, 0);
}

/* --- grants --- */

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Of the newest segment that says so: one of which only chunks came doesn't know yet. */
static uint32_t discontinuities(const struct stream *stream) {
    for (uint32_t i = stream->segment_count; i > 0; i--)
        if (stream->segments[i - 1]->part_count)
            return stream->segments[i - 1]->discontinuity_sequence;
    return 0;
}

static struct claim_grant grant_make(const struct broadcast *broadcast, uint64_t epoch) {
    struct stream *stream = store_find(hub_store(broadcast->origin->hub), broadcast->stream);
    int64_t since_us = clock_utc_us() - numbers_since_us;
    struct claim_grant grant = {.epoch = larger((stream ? stream->epoch : 0) + 1, (uint64_t)clock_utc_us()),
                                .next_msn = (uint64_t)(since_us / MSN_UNIT_US),
                                .next_part = (uint64_t)(since_us / PART_UNIT_US)};
    if (epoch)
        grant.epoch = epoch;
    grant.not_before_us = broadcast->end_us;
    if (!stream || !stream->open)
        return grant;
    grant.last_epoch = stream->epoch;
    grant.init_versions = stream->init_versions;
    grant.resumes = stream->state != STREAM_ENDED;
    const struct segment *last = stream->segment_count ? stream->segments[stream->segment_count - 1] : NULL;
    uint64_t next_msn = last ? last->published ? last->msn + 1 : last->msn : 0;
    if (grant.resumes) {
        grant.target_duration_ms = stream->open->open.target_duration_ms;
        grant.part_target_us = stream->open->open.part_target_us;
    }
    if (last) {
        grant.next_msn = grant.resumes ? next_msn : larger(next_msn, grant.next_msn);
        grant.next_part =
            grant.resumes && stream->next_part ? stream->next_part : larger(stream->next_part, grant.next_part);
        grant.discontinuity_sequence = discontinuities(stream);
    }
    return grant;
}

static bool silent(const struct broadcast *broadcast) {
    int64_t quiet_us = loop_now_us(broadcast->origin->loop) - broadcast->written_us;
    return quiet_us > (int64_t)broadcast->origin->settings.silent_ms * 1000;
}

static void take_over(struct broadcast *broadcast, struct claim *claim) {
    struct claim *old = broadcast->claim;
    log_warn("publish_takeover", "stream", LOG_STR(broadcast->stream), "from", LOG_STR(old->peer), "by",
             LOG_STR(claim->peer));
    broadcast->claim = NULL;
    write_state(broadcast, STREAM_AWAY);
    claim_lose(old, "taken over by another publisher");
}

static void count_coming(void *ctx, const char *name, void *value) {
    const struct broadcast *broadcast = value;
    uint32_t *count = ctx;
    if (!broadcast->opened && !store_find(hub_store(broadcast->origin->hub), name))
        ++*count;
}

/* Whether there is no room for another stream: for its name, or for its media, of which the last tenth is left to the
 * streams that are there. Else it would be at the expense of the largest of them. */
static bool full(const struct origin *origin, const char *name) {
    const struct store *store = hub_store(origin->hub);
    const struct store_settings *limits = store_limits(store);
    uint32_t count = store_count(store) + (store_find(store, name) ? 0 : 1); /* an ended one's place is still its own */
    map_each(origin->broadcasts, count_coming, &count);
    return (limits->streams_max && count > limits->streams_max) ||
           (limits->bytes_max && store_bytes(store) > limits->bytes_max / 10 * 9);
}

static uint64_t written_epoch(const struct origin *origin, const char *name) {
    const struct stream *stream = store_find(hub_store(origin->hub), name);
    return stream ? stream->epoch : 0;
}

/* Whether the claim may have the stream of one who has it. Who goes on may, unless it is with a later epoch that the
 * other means to write: that one has only just been granted it, and either writes, or leaves. */
static enum claim_result contest(const struct claim *claim, const struct broadcast *broadcast) {
    if (claim->epoch)
        return broadcast->epoch > claim->epoch ? CLAIM_BUSY : CLAIM_GRANTED;
    return silent(broadcast) ? CLAIM_GRANTED : CLAIM_BUSY;
}

static enum claim_result judge(const struct claim *claim) {
    struct origin *origin = claim->origin;
    const struct broadcast *broadcast = map_get(origin->broadcasts, claim->stream);
    if (refusals_left_us(origin->refusals, claim->stream, loop_now_us(origin->loop)))
        return CLAIM_CUT;
    if (claim->epoch && written_epoch(origin, claim->stream) > claim->epoch)
        return CLAIM_FENCED;
    if (!broadcast && full(origin, claim->stream))
        return CLAIM_FULL;
    return broadcast && broadcast->claim ? contest(claim, broadcast) : CLAIM_GRANTED;
}

static void decide(struct claim *claim) {
    struct origin *origin = claim->origin;
    enum claim_result result = judge(claim);
    if (result != CLAIM_GRANTED) {
        claim->on_result(claim->owner, result, NULL);
        return;
    }
    struct broadcast *broadcast = broadcast_get(origin, claim->stream);
    if (broadcast->claim)
        take_over(broadcast, claim);
    loop_timer_cancel(broadcast->grace_timer);
    struct claim_grant grant = grant_make(broadcast, claim->epoch);
    broadcast->claim = claim;
    broadcast->epoch = grant.epoch;
    broadcast->written_us = loop_now_us(origin->loop);
    claim->broadcast = broadcast;
    claim->on_result(claim->owner, CLAIM_GRANTED, &grant);
}

static void on_claim_timer(void *ctx) {
    struct claim *claim = ctx;
    if (claim->lost_why)
        claim->on_lost(claim->owner, &(struct claim_loss){.why = claim->lost_why});
    else
        decide(claim);
}

/* --- memory --- */

static void note_larger(void *ctx, struct stream *stream) {
    struct stream **largest = ctx;
    if (!*largest || stream->bytes > (*largest)->bytes)
        *largest = stream;
}

/* Memory is full. The largest stream goes at once, live or not, for it has taken most; whoever writes next may have
 * taken little. False: there is none. */
static bool evict_largest(struct origin *origin) {
    struct stream *largest = NULL;
    store_each(hub_store(origin->hub), note_larger, &largest);
    if (!largest)
        return false;
    log_warn("stream_evict", "stream", LOG_STR(largest->name), "bytes", LOG_INT(largest->bytes), "of",
             LOG_INT(store_bytes(hub_store(origin->hub))));
    metric_add(&metrics[M_EVICTED], 1);
    struct broadcast *broadcast = map_get(origin->broadcasts, largest->name);
    if (broadcast && broadcast->claim)
        claim_lose(broadcast->claim, "memory is full, and this stream has taken most of it");
    if (broadcast)
        broadcast_destroy(broadcast);
    hub_remove(origin->hub, largest);
    return true;
}

static void give_up_oversized(struct claim *claim) {
    struct broadcast *broadcast = claim->broadcast;
    log_warn("stream_oversized", "stream", LOG_STR(claim->stream), "peer", LOG_STR(claim->peer));
    metric_add(&metrics[M_OVERSIZED], 1);
    claim_lose(claim, "the stream takes more memory than one may (limits.stream_memory_mb)");
    broadcast_leave(broadcast);
}

/* As hub_write, but makes room when memory is full. -ESTALE: the writer itself had to go. */
static int write_making_room(struct claim *claim, struct record *record) {
    int rc;
    do
        rc = hub_write(claim->origin->hub, record_ref(record));
    while (rc == -ENOMEM && evict_largest(claim->origin) && claim->broadcast);
    if (rc == -ENOSPC)
        give_up_oversized(claim);
    return claim->broadcast ? rc : -ESTALE;
}

/* --- the port --- */

static void *port_claim(void *ctx, const char *stream, const char *peer, uint64_t epoch,
                        void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant),
                        void (*on_lost)(void *owner, const struct claim_loss *loss), void *owner) {
    struct claim *claim = calloc(1, sizeof *claim);
    if (!claim)
        abort();
    claim->origin = ctx;
    claim->epoch = epoch;
    snprintf(claim->stream, sizeof claim->stream, "%s", stream);
    snprintf(claim->peer, sizeof claim->peer, "%s", peer);
    claim->on_result = on_result;
    claim->on_lost = on_lost;
    claim->owner = owner;
    claim->timer = loop_timer_create(claim->origin->loop, on_claim_timer, claim);
    loop_timer_set(claim->timer, 0);
    return claim;
}

static void note_end(struct broadcast *broadcast, const struct record *record) {
    if (record->type != RECORD_CHUNK)
        return;
    const struct stream *stream = store_find(hub_store(broadcast->origin->hub), broadcast->stream);
    uint32_t hz = stream->open->open.tracks[record->chunk.track].timescale;
    int64_t end_ts = record->chunk.dts_ts + record->chunk.duration_ts;
    int64_t end_us = end_ts / hz * 1000000 + end_ts % hz * 1000000 / hz;
    if (end_us > broadcast->end_us)
        broadcast->end_us = end_us;
}

static int port_write(void *ctx, void *handle, struct record *record) {
    struct origin *origin = ctx;
    struct claim *claim = handle;
    if (!claim->broadcast) {
        record_unref(record);
        return -ESTALE;
    }
    if (record->type != RECORD_STATE)
        claim->broadcast->written_us = loop_now_us(origin->loop);
    int rc = write_making_room(claim, record);
    if (!rc) {
        if (record->type == RECORD_OPEN) {
            claim->broadcast->opened = true;
            claim->broadcast->epoch = record->epoch;
            tell(claim->broadcast, record->epoch);
        }
        if (record->type == RECORD_OPEN || record->type == RECORD_STATE)
            claim->broadcast->ended = record->type == RECORD_STATE && record->state.state == STREAM_ENDED;
        note_end(claim->broadcast, record);
    }
    record_unref(record);
    return rc;
}

static void port_touch(void *ctx, void *handle) {
    struct claim *claim = handle;
    (void)ctx;
    if (claim->broadcast)
        claim->broadcast->written_us = loop_now_us(claim->origin->loop);
}

static void port_release(void *ctx, void *handle, bool clean) {
    struct claim *claim = handle;
    (void)ctx, (void)clean; /* OBS says goodbye when its network breaks, too: both get the grace time */
    if (claim->broadcast)
        broadcast_leave(claim->broadcast);
    loop_timer_destroy(claim->timer);
    free(claim);
}

struct writer_port origin_port(struct origin *origin) {
    return (struct writer_port){
        .ctx = origin, .claim = port_claim, .write = port_write, .touch = port_touch, .release = port_release};
}

/* --- the operator --- */

/* The writer is told at once: what it writes before it knows would look like another fault. */
static void broadcast_cut(struct broadcast *broadcast, uint32_t refuse_s) {
    struct claim *claim = broadcast->claim;
    write_state(broadcast, STREAM_ENDED);
    broadcast_destroy(broadcast);
    if (!claim)
        return;
    claim->broadcast = NULL;
    claim->on_lost(claim->owner, &(struct claim_loss){.why = "cut by the operator", .cut = true, .refuse_s = refuse_s});
}

int origin_cut(struct origin *origin, const char *stream, uint32_t refuse_s) {
    struct broadcast *broadcast = map_get(origin->broadcasts, stream);
    int64_t now_us = loop_now_us(origin->loop);
    if (!broadcast && !refusals_left_us(origin->refusals, stream, now_us))
        return -ENOENT;
    const char *peer = broadcast && broadcast->claim ? broadcast->claim->peer : NULL;
    log_warn("stream_cut", "stream", LOG_STR(stream), "peer", LOG_STR(peer), "refuse_s", LOG_INT(refuse_s));
    refusals_set(origin->refusals, stream, now_us + (int64_t)refuse_s * 1000000, now_us);
    metric_add(&metrics[M_CUT], broadcast != NULL);
    if (broadcast)
        broadcast_cut(broadcast, refuse_s);
    return 0;
}

void origin_end(struct origin *origin, const char *stream) {
    struct broadcast *broadcast = map_get(origin->broadcasts, stream);
    if (broadcast && !broadcast->claim)
        on_grace_over(broadcast);
}

/* --- life cycle --- */

struct origin *origin_create(struct loop *loop, struct hub *hub, const struct origin_settings *settings) {
    struct origin *origin = calloc(1, sizeof *origin);
    if (!origin)
        abort();
    *origin = (struct origin){
        .loop = loop, .hub = hub, .settings = *settings, .broadcasts = map_create(), .refusals = refusals_create()};
    return origin;
}

static void destroy_one(void *ctx, const char *key, void *value) {
    (void)ctx, (void)key;
    broadcast_destroy(value);
}

void origin_destroy(struct origin *origin) {
    if (!origin)
        return;
    map_each(origin->broadcasts, destroy_one, NULL);
    map_destroy(origin->broadcasts);
    refusals_destroy(origin->refusals);
    free(origin);
}

void origin_on_stream(struct origin *origin, void (*fn)(void *ctx, const char *stream, uint64_t epoch), void *ctx) {
    origin->on_stream = fn;
    origin->on_stream_ctx = ctx;
}

const char *origin_publisher(const struct origin *origin, const char *stream) {
    const struct broadcast *broadcast = map_get(origin->broadcasts, stream);
    return broadcast && broadcast->claim ? broadcast->claim->peer : NULL;
}
