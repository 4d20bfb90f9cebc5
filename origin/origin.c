#include "origin/origin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/media/hub.h"
#include "common/media/refusals.h"

/* Numbers begin at the time since 2025-01-01 in these units, so that they grow even when all state is lost. */
enum { MSN_UNIT_US = 500000, PART_UNIT_US = 25000 };
static const int64_t numbers_since_us = 1735689600ll * 1000000;

enum {
    STANDBY_MAX = 8, /* claims that stand by, a stream */
    TURN_US =
        300000, /* of those that a vacant stream is offered to each has so long before the next one is asked, too */
    LOOK_MIN_US = 1000,
};

/* What its timer is for. */
enum claim_due {
    DUE_DECISION,
    DUE_TELL, /* how it stands by */
    DUE_TAKE,
    DUE_LOSS,
};

struct claim {
    struct origin *origin;
    struct broadcast *broadcast; /* it writes that; NULL: not granted, or not any more */
    struct broadcast *awaited;   /* it stands by there */
    struct list link;
    char stream[STREAM_NAME_LEN], peer[64];
    struct claim_request asked; /* without the strings */
    bool begun;                 /* it has written since it was granted */
    enum claim_result standing; /* how it stands by; CLAIM_GRANTED: not told yet */
    int64_t heard_us;           /* it stands by: when media came last */
    const char *lost_why;
    enum claim_due due;
    struct loop_timer *timer;
};

/* A stream that somebody writes or has just written, or means to write. Ends with the grace time, or with the last who
 * stands by. */
struct broadcast {
    struct origin *origin;
    char stream[STREAM_NAME_LEN];
    struct claim *claim; /* the writer, NULL while it is away */
    struct list waiting; /* claims that stand by, the best first */
    uint32_t waiting_count;
    bool done;                     /* the last writer won't come back by itself */
    int64_t vacant_us;             /* since when whoever stands by may take it; 0: it isn't so */
    struct loop_timer *look_timer; /* when that has to be looked at */
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
    {"weir_origin_takeovers_total", "reason=\"silence\"", "Times that a publisher which stood by took a stream over.",
     METRIC_COUNTER, 0},
    {"weir_origin_takeovers_total", "reason=\"gone\"", "Times that a publisher which stood by took a stream over.",
     METRIC_COUNTER, 0},
    {"weir_origin_takeovers_total", "reason=\"back\"", "Times that a publisher which stood by took a stream over.",
     METRIC_COUNTER, 0},
};
enum { M_OVERSIZED, M_EVICTED, M_CUT, M_SILENCE, M_GONE, M_BACK };

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
    loop_timer_destroy(broadcast->look_timer);
    free(broadcast);
}

/* It is over. Whoever stands by goes on doing so. */
static void broadcast_end(struct broadcast *broadcast) {
    if (!broadcast->waiting_count) {
        broadcast_destroy(broadcast);
        return;
    }
    tell(broadcast, 0);
    broadcast->opened = broadcast->ended = false;
    broadcast->epoch = 0;
    broadcast->end_us = 0;
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
    broadcast_end(broadcast);
}

static void on_look(void *ctx);

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
    broadcast->look_timer = loop_timer_create(origin->loop, on_look, broadcast);
    broadcast->done = true;
    list_init(&broadcast->waiting);
    map_set(origin->broadcasts, stream, broadcast);
    return broadcast;
}

/* --- standing by --- */

/* In the next turn: its writer may be in a call of its own, and so may another. */
static void claim_set_due(struct claim *claim, enum claim_due due) {
    claim->due = due;
    loop_timer_set(claim->timer, 0);
}

static bool quiet_for(const struct broadcast *broadcast, uint32_t ms) {
    return loop_now_us(broadcast->origin->loop) - broadcast->written_us > (int64_t)ms * 1000;
}

/* How long nothing need have been written until it is whoever's who stands by. A writer that has only just been let in
 * may take longer. */
static uint32_t patience_ms(const struct broadcast *broadcast) {
    const struct origin_settings *settings = &broadcast->origin->settings;
    if (!broadcast->claim)
        return broadcast->done ? 0 : settings->takeover_ms;
    return broadcast->claim->begun ? settings->takeover_ms : settings->silent_ms;
}

static bool vacant(const struct broadcast *broadcast) {
    return (!broadcast->claim && broadcast->done) || quiet_for(broadcast, patience_ms(broadcast));
}

/* Media comes from it. */
static bool alive(const struct claim *claim) {
    int64_t quiet_us = loop_now_us(claim->origin->loop) - claim->heard_us;
    return quiet_us <= (int64_t)claim->origin->settings.takeover_ms * 1000;
}

static bool outranks(const struct claim *claim, const struct broadcast *broadcast) {
    return broadcast->claim && broadcast->claim->asked.rank < claim->asked.rank;
}

static void look_soon(struct broadcast *broadcast) {
    if (broadcast->waiting_count)
        loop_timer_set(broadcast->look_timer, 0);
}

static void stand(struct claim *claim, enum claim_result how) {
    if (how == claim->standing || claim->due == DUE_TAKE)
        return;
    claim->standing = how;
    claim_set_due(claim, DUE_TELL);
}

/* When there will be something else to say. What is vacant is offered to one more after each turn. */
static void look_later(struct broadcast *broadcast) {
    int64_t us = TURN_US;
    if (!broadcast->vacant_us)
        us = broadcast->written_us + (int64_t)patience_ms(broadcast) * 1000 - loop_now_us(broadcast->origin->loop) + 1;
    loop_timer_set(broadcast->look_timer, us > LOOK_MIN_US ? us : LOOK_MIN_US);
}

/* Says to all who stand by how they do. */
static void on_look(void *ctx) {
    struct broadcast *broadcast = ctx;
    int64_t now_us = loop_now_us(broadcast->origin->loop), turns = 0;
    if (!vacant(broadcast))
        broadcast->vacant_us = 0;
    else if (!broadcast->vacant_us)
        broadcast->vacant_us = now_us;
    if (broadcast->vacant_us)
        turns = 1 + (now_us - broadcast->vacant_us) / TURN_US;
    list_each(it, &broadcast->waiting) {
        struct claim *claim = list_entry(it, struct claim, link);
        bool called = turns > 0 && alive(claim);
        turns -= called;
        stand(claim, called ? CLAIM_VACANT : outranks(claim, broadcast) ? CLAIM_OUTRANKS : CLAIM_STANDBY);
    }
    if (broadcast->waiting_count)
        look_later(broadcast);
}

static void stop_waiting(struct claim *claim) {
    struct broadcast *broadcast = claim->awaited;
    claim->awaited = NULL;
    if (!broadcast)
        return;
    list_remove(&claim->link);
    broadcast->waiting_count--;
}

static void wait_for(struct broadcast *broadcast, struct claim *claim, int64_t heard_us) {
    struct list *at = broadcast->waiting.next;
    while (at != &broadcast->waiting && list_entry(at, struct claim, link)->asked.rank >= claim->asked.rank)
        at = at->next;
    list_insert_before(at, &claim->link);
    broadcast->waiting_count++;
    claim->awaited = broadcast;
    claim->standing = CLAIM_GRANTED;
    claim->heard_us = heard_us;
    claim->due = DUE_TELL;
    look_soon(broadcast);
}

/* Its writer has gone. `done`: for good, as far as it knows. */
static void broadcast_leave(struct broadcast *broadcast, bool done) {
    broadcast->claim = NULL;
    broadcast->done = done;
    look_soon(broadcast);
    write_state(broadcast, STREAM_AWAY);
    int64_t grace_us = (int64_t)broadcast->origin->settings.grace_ms * 1000;
    loop_timer_set(broadcast->grace_timer, broadcast->opened && !broadcast->ended ? grace_us : 0);
}

static void claim_lose(struct claim *claim, const char *why) {
    stop_waiting(claim);
    claim->broadcast = NULL;
    claim->lost_why = why;
    claim_set_due(claim, DUE_LOSS);
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
    return quiet_for(broadcast, broadcast->origin->settings.silent_ms);
}

/* Whoever has another rank stands by from now on; who has the same has come back, or is another who has waited for long
 * enough. */
static void take_over(struct broadcast *broadcast, struct claim *claim) {
    struct claim *old = broadcast->claim;
    log_warn("publish_takeover", "stream", LOG_STR(broadcast->stream), "from", LOG_STR(old->peer), "rank",
             LOG_STR(claim_rank_name(old->asked.rank)), "by", LOG_STR(claim->peer), "rank",
             LOG_STR(claim_rank_name(claim->asked.rank)));
    broadcast->claim = NULL;
    write_state(broadcast, STREAM_AWAY);
    if (old->asked.rank == claim->asked.rank && old->asked.rank != CLAIM_BACKUP) {
        claim_lose(old, "taken over by another publisher");
        return;
    }
    if (broadcast->waiting_count == STANDBY_MAX) {
        claim_lose(old, "too many stand by for the stream");
        return;
    }
    old->broadcast = NULL;
    wait_for(broadcast, old, broadcast->written_us);
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
    bool differ = broadcast->claim->asked.rank != claim->asked.rank;
    if (claim->asked.epoch)
        return broadcast->epoch <= claim->asked.epoch ? CLAIM_GRANTED : differ ? CLAIM_STANDBY : CLAIM_BUSY;
    if (differ || claim->asked.rank == CLAIM_BACKUP)
        return CLAIM_STANDBY;
    return silent(broadcast) ? CLAIM_GRANTED : CLAIM_BUSY;
}

/* Another of its rank that stands by, where there may be only one. */
static struct claim *rival(const struct claim *claim, const struct broadcast *broadcast) {
    if (!broadcast || claim->asked.rank == CLAIM_BACKUP)
        return NULL;
    list_each(it, &broadcast->waiting) {
        struct claim *other = list_entry(it, struct claim, link);
        if (other->asked.rank == claim->asked.rank)
            return other;
    }
    return NULL;
}

static bool lively(const struct claim *claim) {
    int64_t quiet_us = loop_now_us(claim->origin->loop) - claim->heard_us;
    return quiet_us <= (int64_t)claim->origin->settings.silent_ms * 1000;
}

static bool somebody_waits(const struct broadcast *broadcast) {
    list_each(it, &broadcast->waiting) if (alive(list_entry(it, struct claim, link))) return true;
    return false;
}

/* Whether a new claim, or one that goes on, has the stream, or stands by. */
static enum claim_result judge_known(const struct claim *claim, const struct broadcast *broadcast) {
    const struct claim *other = rival(claim, broadcast);
    enum claim_result result = CLAIM_GRANTED;
    if (other && lively(other) && !claim->asked.epoch)
        return CLAIM_BUSY;
    if (broadcast->claim)
        result = contest(claim, broadcast);
    else if (!claim->asked.epoch && somebody_waits(broadcast))
        result = CLAIM_STANDBY;
    if (result == CLAIM_GRANTED && claim->asked.stands_by)
        result = CLAIM_STANDBY;
    return result == CLAIM_STANDBY && broadcast->waiting_count == STANDBY_MAX ? CLAIM_BUSY : result;
}

/* Of one that goes on: who has written since is of another rank, and so no reason to go. */
static bool fenced(const struct claim *claim, const struct broadcast *broadcast) {
    bool later = claim->asked.epoch && written_epoch(claim->origin, claim->stream) > claim->asked.epoch;
    return later && !(broadcast && broadcast->claim && broadcast->claim->asked.rank != claim->asked.rank);
}

static enum claim_result decided_elsewhere(const struct claim *claim, const struct broadcast *broadcast) {
    const struct claim *holder = broadcast ? broadcast->claim : NULL;
    bool same = holder && holder->asked.rank == claim->asked.rank && claim->asked.rank != CLAIM_BACKUP;
    return same ? contest(claim, broadcast) : CLAIM_GRANTED;
}

static enum claim_result judge(const struct claim *claim) {
    struct origin *origin = claim->origin;
    const struct broadcast *broadcast = map_get(origin->broadcasts, claim->stream);
    if (refusals_left_us(origin->refusals, claim->stream, loop_now_us(origin->loop)))
        return CLAIM_CUT;
    if (fenced(claim, broadcast))
        return CLAIM_FENCED;
    if (!broadcast && full(origin, claim->stream))
        return CLAIM_FULL;
    if (claim->asked.takes)
        return decided_elsewhere(claim, broadcast);
    if (!broadcast)
        return claim->asked.stands_by ? CLAIM_STANDBY : CLAIM_GRANTED;
    return judge_known(claim, broadcast);
}

static void grant(struct broadcast *broadcast, struct claim *claim) {
    struct origin *origin = claim->origin;
    stop_waiting(claim);
    if (broadcast->claim)
        take_over(broadcast, claim);
    loop_timer_cancel(broadcast->grace_timer);
    struct claim_grant grant = grant_make(broadcast, claim->asked.epoch);
    claim->asked.epoch = 0; /* if it has to stand by one day, it begins anew */
    broadcast->claim = claim;
    broadcast->epoch = grant.epoch;
    broadcast->written_us = loop_now_us(origin->loop);
    broadcast->vacant_us = 0;
    broadcast->done = false;
    claim->broadcast = broadcast;
    claim->begun = false;
    look_soon(broadcast);
    claim->asked.on_result(claim->asked.owner, CLAIM_GRANTED, &grant);
}

static void decide(struct claim *claim) {
    struct origin *origin = claim->origin;
    enum claim_result result = judge(claim);
    if (result != CLAIM_GRANTED && result != CLAIM_STANDBY) {
        claim->asked.on_result(claim->asked.owner, result, NULL);
        return;
    }
    struct broadcast *broadcast = broadcast_get(origin, claim->stream);
    struct claim *other = rival(claim, broadcast);
    if (other)
        claim_lose(other, "taken over by another publisher");
    if (result == CLAIM_GRANTED) {
        grant(broadcast, claim);
        return;
    }
    claim->asked.epoch = 0; /* what it went on with is another's by now */
    wait_for(broadcast, claim, loop_now_us(origin->loop));
}

/* It means to take what it stands by for. Meanwhile somebody else may have, or the writer may be heard again. */
static void try_take(struct claim *claim) {
    struct broadcast *broadcast = claim->awaited;
    bool free = vacant(broadcast);
    claim->due = DUE_TELL;
    if (!free && !outranks(claim, broadcast)) {
        claim->standing = CLAIM_STANDBY;
        claim->asked.on_result(claim->asked.owner, CLAIM_STANDBY, NULL);
        return;
    }
    if (broadcast->opened)
        metric_add(&metrics[!broadcast->claim ? M_GONE : free ? M_SILENCE : M_BACK], 1);
    grant(broadcast, claim);
}

static void on_claim_timer(void *ctx) {
    struct claim *claim = ctx;
    switch (claim->due) {
    case DUE_DECISION:
        decide(claim);
        break;
    case DUE_TELL:
        claim->asked.on_result(claim->asked.owner, claim->standing, NULL);
        break;
    case DUE_TAKE:
        try_take(claim);
        break;
    case DUE_LOSS:
        claim->asked.on_lost(claim->asked.owner, &(struct claim_loss){.why = claim->lost_why});
        break;
    }
}

/* --- memory --- */

static void note_larger(void *ctx, struct stream *stream) {
    struct stream **largest = ctx;
    if (!*largest || stream->bytes > (*largest)->bytes)
        *largest = stream;
}

/* With all who write or stand by. */
static void broadcast_evict(struct broadcast *broadcast, const char *why) {
    if (broadcast->claim)
        claim_lose(broadcast->claim, why);
    while (broadcast->waiting_count)
        claim_lose(list_entry(broadcast->waiting.next, struct claim, link), why);
    broadcast_destroy(broadcast);
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
    if (broadcast)
        broadcast_evict(broadcast, "memory is full, and this stream has taken most of it");
    hub_remove(origin->hub, largest);
    return true;
}

static void give_up_oversized(struct claim *claim) {
    struct broadcast *broadcast = claim->broadcast;
    log_warn("stream_oversized", "stream", LOG_STR(claim->stream), "peer", LOG_STR(claim->peer));
    metric_add(&metrics[M_OVERSIZED], 1);
    claim_lose(claim, "the stream takes more memory than one may (limits.stream_memory_mb)");
    broadcast_leave(broadcast, true);
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

static void *port_claim(void *ctx, const struct claim_request *request) {
    struct claim *claim = calloc(1, sizeof *claim);
    if (!claim)
        abort();
    claim->origin = ctx;
    claim->asked = *request;
    claim->asked.stream = claim->asked.peer = NULL;
    snprintf(claim->stream, sizeof claim->stream, "%s", request->stream);
    snprintf(claim->peer, sizeof claim->peer, "%s", request->peer);
    list_init(&claim->link);
    claim->timer = loop_timer_create(claim->origin->loop, on_claim_timer, claim);
    claim_set_due(claim, DUE_DECISION);
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
    if (record->type != RECORD_STATE) {
        claim->broadcast->written_us = loop_now_us(origin->loop);
        claim->begun = true;
    }
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
    int64_t now_us = loop_now_us(claim->origin->loop);
    if (claim->broadcast)
        claim->broadcast->written_us = now_us;
    if (claim->awaited && claim->awaited->vacant_us && !alive(claim))
        look_soon(claim->awaited); /* it may be offered the stream again */
    claim->heard_us = now_us;
}

static void port_release(void *ctx, void *handle, bool clean) {
    struct claim *claim = handle;
    struct broadcast *awaited = claim->awaited;
    (void)ctx;
    if (claim->broadcast)
        broadcast_leave(claim->broadcast, clean);
    stop_waiting(claim);
    if (awaited && !awaited->claim && !awaited->opened && !awaited->waiting_count)
        broadcast_destroy(awaited);
    loop_timer_destroy(claim->timer);
    free(claim);
}

static void port_take(void *ctx, void *handle) {
    struct claim *claim = handle;
    (void)ctx;
    if (claim->awaited)
        claim_set_due(claim, DUE_TAKE);
}

static struct track_names port_asked(void *ctx, void *handle) {
    const struct origin *origin = ctx;
    const struct claim *claim = handle;
    return hub_tracks_asked(origin->hub, claim->stream);
}

struct writer_port origin_port(struct origin *origin) {
    return (struct writer_port){.ctx = origin,
                                .claim = port_claim,
                                .write = port_write,
                                .touch = port_touch,
                                .release = port_release,
                                .take = port_take,
                                .asked = port_asked};
}

/* --- the operator --- */

static void claim_cut(struct claim *claim, uint32_t refuse_s) {
    stop_waiting(claim);
    claim->broadcast = NULL;
    loop_timer_cancel(claim->timer);
    claim->asked.on_lost(claim->asked.owner,
                         &(struct claim_loss){.why = "cut by the operator", .cut = true, .refuse_s = refuse_s});
}

/* The writer is told at once: what it writes before it knows would look like another fault. And so are those who stand
 * by. */
static void broadcast_cut(struct broadcast *broadcast, uint32_t refuse_s) {
    struct claim *claims[STANDBY_MAX + 2] = {broadcast->claim};
    size_t count = broadcast->claim ? 1 : 0;
    list_each(it, &broadcast->waiting) if (count < sizeof claims / sizeof *claims) claims[count++] =
        list_entry(it, struct claim, link);
    write_state(broadcast, STREAM_ENDED);
    for (size_t i = 0; i < count; i++)
        stop_waiting(claims[i]);
    broadcast_destroy(broadcast);
    for (size_t i = 0; i < count; i++)
        claim_cut(claims[i], refuse_s);
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

void origin_each_claim(const struct origin *origin, const char *stream,
                       void (*fn)(void *ctx, const struct origin_claim *claim), void *ctx) {
    const struct broadcast *broadcast = map_get(origin->broadcasts, stream);
    if (!broadcast)
        return;
    if (broadcast->claim)
        fn(ctx, &(struct origin_claim){broadcast->claim->peer, broadcast->claim->asked.rank, true});
    list_each(it, &broadcast->waiting) {
        const struct claim *claim = list_entry(it, struct claim, link);
        fn(ctx, &(struct origin_claim){claim->peer, claim->asked.rank, false});
    }
}
