#include "ingest/push.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/peer.h"
#include "common/media/feed_control.h"
#include "common/media/feed_out.h"
#include "common/media/hub.h"
#include "common/media/refusals.h"

enum {
    ASK_US = 3000000,     /* origins have so long to answer a claim */
    ASK_MORE_US = 300000, /* and once one has granted it, the others so long */
    SWEEP_US = 500000,
    TOUCH_US = 200000,   /* origins are told no more often that media comes */
    SILENT_US = 4000000, /* an origin that says nothing for so long, not even a beat, is dead */
    RETRY_MIN_US = 100000,
    RETRY_MAX_US = 2000000,
    FINISH_US = 2000000, /* what is left of a released stream has so long to go out */
    URL_LEN = 640,
    STATUS_CUT = 410, /* ends a broadcast, so it is none that something in between answers by itself */
};

struct origin_node {
    const char *url;
    struct http_peer peer;
};

struct pushes {
    struct loop *loop;
    struct hub *hub;
    struct writer_port local;
    struct pushes_settings settings;
    struct origin_node origins[PUSH_ORIGINS_MAX];
    struct list list;
    struct refusals *refusals; /* of what an origin's operator has cut */
    struct loop_timer *sweep;
};

enum target_state {
    ASKING,   /* it has been asked for the stream, first or again, or told that it is to be taken */
    STANDING, /* this one stands by there */
    GRANTED,  /* it has granted a claim that is not decided yet */
    BRINGING, /* feeds go there */
    RESTING,  /* it failed; it will be asked again */
    REFUSED,  /* of a claim that is not decided: it said no */
};

/* A track on its way to an origin. */
struct track_push {
    struct target *target;
    struct http_peer_fetch fetch;
    struct track_out out; /* its track is "": free */
};

/* One origin of one stream. */
struct target {
    struct push *push;
    struct origin_node *origin;
    enum target_state state;
    enum claim_result refusal;
    struct http_peer_fetch fetch; /* the timeline's */
    int status;                   /* STATUS_CUT also when the control stream says so */
    struct buf control;           /* the beginning of a line */
    struct feed_granted granted;
    struct timeline_out timeline;
    struct track_push tracks[TRACK_NAMES_MAX]; /* of the tracks that the stream has or has had since */
    struct reader reader;
    uint64_t begin_msn;
    uint32_t failures;
    bool beat_due, touch_due, take_due;
    enum claim_result standing; /* of one where this stands by */
    struct track_names asked;   /* of the tracks that are made on demand, as it says */
    int64_t heard_us;
    struct loop_timer *timer; /* to ask again; or, `broken`, to clear up */
    bool broken;
    bool drains; /* it has said that it is about to stop */
};

struct push {
    struct list link;
    struct pushes *pushes;
    char stream[STREAM_NAME_LEN], peer[64];
    struct claim_request asked; /* without the strings */
    void *local;                /* claim on this node's own store */
    bool decided;               /* `on_result` was called, or is when the local claim answers */
    bool granted, lost, released;
    bool stands_by;  /* it has been told so, and hasn't been granted since */
    bool superseded; /* that is due to be told */
    bool took;       /* it stood by before it was granted: what its node has of the stream is of another run */
    enum claim_result standing; /* what it was told last */
    int64_t touched_us;
    bool cut; /* by an origin's operator: it is over, or was not begun */
    struct claim_grant grant;
    int64_t answered_us;      /* when the first origin granted, or had it stand by */
    struct loop_timer *timer; /* the claim's decision; later the end */
    struct target targets[PUSH_ORIGINS_MAX];
};

static struct metric metrics[] = {
    {"weir_push_targets", NULL, "Streams being brought to origins, one an origin.", METRIC_GAUGE, 0},
    {"weir_push_failures_total", NULL, "Times that bringing a stream to an origin broke off.", METRIC_COUNTER, 0},
    {"weir_push_cut_off_total", NULL, "Times that an origin was so slow that the window left it behind.",
     METRIC_COUNTER, 0},
    {"weir_push_sent_bytes_total", NULL, "Bytes brought to origins.", METRIC_COUNTER, 0},
    {"weir_push_cut_total", NULL, "Broadcasts ended because an origin's operator has cut them.", METRIC_COUNTER, 0},
};
enum { M_TARGETS, M_FAILURES, M_CUT_OFF, M_BYTES, M_CUT };

void pushes_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static int64_t now(const struct push *push) {
    return loop_now_us(push->pushes->loop);
}

static struct stream *stream_of(const struct push *push) {
    return store_find(hub_store(push->pushes->hub), push->stream);
}

static void target_set(struct target *target, enum target_state state) {
    metric_add(&metrics[M_TARGETS], (state == BRINGING) - (target->state == BRINGING));
    target->state = state;
}

/* --- bodies --- */

static int count(const struct target *target, int n, const struct slice *slices) {
    for (int i = 0; i < n; i++)
        metric_add(&metrics[M_BYTES], (int64_t)slices[i].len);
    if (n == -ESTALE)
        metric_add(&metrics[M_CUT_OFF], 1);
    if (n > 0)
        return n;
    return n == -ESTALE ? HTTP_SOURCE_ERROR : target->push->released ? 0 : HTTP_SOURCE_WAIT;
}

/* Something that isn't the stream's is to be said. */
static bool next_word(struct target *target, struct slice *slice) {
    bool ready = target->state == BRINGING || target->state == STANDING || target->take_due;
    if (ready && target->take_due)
        *slice = timeline_out_take();
    else if (ready && target->touch_due)
        *slice = timeline_out_touch();
    else if (ready && target->beat_due)
        *slice = timeline_out_beat();
    else
        return false;
    return true;
}

static int next_lines(void *ctx, struct slice *slices, int max) {
    struct target *target = ctx;
    struct stream *stream = target->state == BRINGING ? stream_of(target->push) : NULL;
    int n = stream ? timeline_out_slices(&target->timeline, stream, slices, max) : -EAGAIN;
    if (n == -EAGAIN && next_word(target, &slices[0])) {
        n = 1;
        target->take_due = false;
    }
    if (n > 0)
        target->beat_due = target->touch_due = false;
    return count(target, n, slices);
}

static int next_pieces(void *ctx, struct slice *slices, int max) {
    struct track_push *track = ctx;
    struct stream *stream = stream_of(track->target->push);
    return count(track->target, stream ? track_out_slices(&track->out, stream, slices, max) : -EAGAIN, slices);
}

/* --- a target's fetches --- */

static void target_break(struct target *target) {
    target->broken = true;
    loop_timer_set(target->timer, 0);
}

static void on_track_end(void *ctx, int error, const char *text) {
    struct track_push *track = ctx;
    struct target *target = track->target;
    http_peer_ended(&target->origin->peer, &track->fetch);
    if (target->push->released && !error)
        return;
    log_debug("push_track_ended", "stream", LOG_STR(target->push->stream), "why", LOG_STR(error ? text : "answered"));
    target_break(target);
}

static void open_track(struct target *target, struct track_push *track, const char *name) {
    char url[URL_LEN];
    const struct push *push = target->push;
    uint64_t msn = target->begin_msn;
    uint32_t number = 0;
    for (uint32_t i = 0; i < target->granted.track_count; i++)
        if (!strcmp(target->granted.tracks[i].track, name)) {
            msn = target->granted.tracks[i].msn;
            number = target->granted.tracks[i].number;
        }
    track->target = target;
    track_out_init(&track->out, name, msn, number);
    snprintf(url, sizeof url, "%s/feed/%s/%s?session=%s", target->origin->url, push->stream, name,
             target->granted.session);
    track->fetch = http_peer_fetch(&target->origin->peer,
                                   &(struct http_fetch_options){.url = url,
                                                                .source = {.next = next_pieces, .ctx = track},
                                                                .end = on_track_end,
                                                                .ctx = track});
}

static struct track_push *track_find(struct target *target, const char *name) {
    for (int i = 0; i < TRACK_NAMES_MAX; i++)
        if (!strcmp(target->tracks[i].out.track, name))
            return &target->tracks[i];
    return NULL;
}

static void open_tracks(struct target *target) {
    const struct stream *stream = stream_of(target->push);
    const struct record_open *open = stream && stream->open ? &stream->open->open : NULL;
    for (uint32_t i = 0; open && i < open->track_count; i++) {
        struct track_push *unused = track_find(target, "");
        if (!track_find(target, open->tracks[i].name) && unused)
            open_track(target, unused, open->tracks[i].name);
    }
}

static void resume_all(struct target *target) {
    if (target->fetch.fetch)
        http_fetch_resume(target->fetch.fetch);
    for (int i = 0; i < TRACK_NAMES_MAX; i++)
        if (target->tracks[i].fetch.fetch)
            http_fetch_resume(target->tracks[i].fetch.fetch);
}

static void on_news(struct reader *reader) {
    struct target *target = list_entry(reader, struct target, reader);
    open_tracks(target);
    resume_all(target);
}

static void close_feeds(struct target *target) {
    http_peer_cancel(&target->origin->peer, &target->fetch);
    timeline_out_finish(&target->timeline);
    for (int i = 0; i < TRACK_NAMES_MAX; i++) {
        http_peer_cancel(&target->origin->peer, &target->tracks[i].fetch);
        track_out_finish(&target->tracks[i].out);
        target->tracks[i] = (struct track_push){0};
    }
    reader_cancel(&target->reader);
    buf_clear(&target->control);
    target->take_due = target->touch_due = target->beat_due = false;
    target->asked = (struct track_names){0};
}

/* Its stream is in the store, or will be: reads along from then on. */
static void attach(struct target *target) {
    struct stream *stream = stream_of(target->push);
    if (target->state != BRINGING || !stream || !list_empty(&target->reader.link))
        return;
    stream_read(stream, &target->reader);
    open_tracks(target);
    resume_all(target);
}

static void bring(struct target *target) {
    const struct stream *stream = stream_of(target->push);
    target->begin_msn = target->granted.from_msn;
    if (!target->begin_msn && !target->push->took && stream && stream->first_listed < stream->segment_count)
        target->begin_msn = stream->segments[stream->first_listed]->msn;
    if (!target->begin_msn)
        target->begin_msn = target->push->grant.next_msn;
    timeline_out_init(&target->timeline, target->push->pushes->settings.node, target->begin_msn);
    target_set(target, BRINGING);
    log_info("push_start", "stream", LOG_STR(target->push->stream), "origin", LOG_STR(target->origin->url), "from",
             LOG_INT(target->begin_msn));
    attach(target);
    resume_all(target);
}

/* --- asking --- */

static void judge(struct push *push);
static void supersede(struct push *push);
static void tell_standing(struct push *push);

static void on_granted(struct target *target) {
    struct push *push = target->push;
    if (target->state != ASKING)
        return;
    if (push->granted) {
        bring(target);
        return;
    }
    target_set(target, GRANTED);
    if (!push->answered_us)
        push->answered_us = now(push);
    judge(push);
}

/* It was the stream's already: what comes next is as if it had been refused. */
static void on_cut(struct target *target, uint32_t refuse_s) {
    struct pushes *pushes = target->push->pushes;
    int64_t now_us = loop_now_us(pushes->loop);
    refusals_set(pushes->refusals, target->push->stream, now_us + (int64_t)refuse_s * 1000000, now_us);
    target->status = STATUS_CUT;
    target_break(target);
}

/* It is another's by now, or not yet this one's. */
static void on_standby(struct target *target, enum claim_result how) {
    struct push *push = target->push;
    target->standing = how;
    if (push->granted) {
        supersede(push);
        return;
    }
    if (target->state != ASKING && target->state != STANDING)
        return;
    target->failures = 0;
    target_set(target, STANDING);
    if (!push->answered_us)
        push->answered_us = now(push);
    judge(push);
}

static void on_said(struct target *target, const struct feed_control *control) {
    if (control->kind == FEED_CONTROL_STANDBY) {
        on_standby(target, control->standing);
    } else if (control->kind == FEED_CONTROL_GRANTED) {
        target->granted = control->granted;
        on_granted(target);
    } else if (control->kind == FEED_CONTROL_CUT) {
        on_cut(target, control->refuse_s);
    } else if (control->kind == FEED_CONTROL_ASKED) {
        target->asked = control->asked;
    } else if (control->kind == FEED_CONTROL_DRAIN) {
        target->drains = true;
        log_info("push_drain", "stream", LOG_STR(target->push->stream), "origin", LOG_STR(target->origin->url));
    } else {
        target->failures = 0; /* a beat: it lasts */
    }
}

static void on_control(void *ctx, const uint8_t *data, size_t len) {
    struct target *target = ctx;
    const uint8_t *end;
    target->heard_us = now(target->push);
    if (target->broken || buf_append(&target->control, data, len)) {
        target_break(target);
        return;
    }
    while (!target->broken && (end = memchr(buf_head(&target->control), '\n', buf_len(&target->control)))) {
        size_t n = (size_t)(end - buf_head(&target->control));
        struct feed_control control;
        int rc = feed_control_parse((const char *)buf_head(&target->control), n, &control);
        buf_consume(&target->control, n + 1);
        if (rc)
            target_break(target);
        else
            on_said(target, &control);
        if (!buf_len(&target->control))
            return;
    }
}

static void on_head(void *ctx, int status) {
    struct target *target = ctx;
    target->status = status;
    target->heard_us = now(target->push);
}

static void lose(struct push *push, const struct claim_loss *loss) {
    if (push->lost || push->released || !(push->granted || push->stands_by))
        return;
    push->lost = true;
    push->asked.on_lost(push->asked.owner, loss);
}

/* One origin's operator has cut the broadcast: it is over at all. They hear it when the publisher lets go. */
static void end_broadcast(struct push *push, const struct target *target) {
    const struct writer_port *local = &push->pushes->local;
    const struct stream *stream = push->lost || !push->local ? NULL : stream_of(push);
    if (push->cut || push->released || !(push->local || push->stands_by))
        return;
    log_warn("push_cut", "stream", LOG_STR(push->stream), "origin", LOG_STR(target->origin->url));
    metric_add(&metrics[M_CUT], 1);
    if (stream && stream->open) {
        struct record *record = record_create(RECORD_STATE, push->stream, stream->epoch);
        record->state.state = STREAM_ENDED;
        local->write(local->ctx, push->local, record);
    }
    push->cut = true;
    lose(push, &(struct claim_loss){.why = "cut by the operator", .cut = true});
}

static int64_t retry_us(const struct target *target) {
    int64_t us = (int64_t)RETRY_MIN_US << (target->failures < 5 ? target->failures : 5);
    us = us < RETRY_MAX_US ? us : RETRY_MAX_US;
    return us + (int64_t)((double)us / 2 * ((double)rand() / RAND_MAX));
}

static void rest(struct target *target) {
    close_feeds(target);
    target->broken = false;
    target_set(target, RESTING);
    loop_timer_set(target->timer, retry_us(target));
    target->failures++;
}

/* The bringing, or the question, has come to an end that is no success. */
static void target_failed(struct target *target, const char *why) {
    struct push *push = target->push;
    bool fenced = target->status == 409;
    if (push->decided && target->status == STATUS_CUT) {
        rest(target);
        end_broadcast(push, target);
        return;
    }
    if (target->state == BRINGING && target->drains) {
        log_info("push_end", "stream", LOG_STR(push->stream), "origin", LOG_STR(target->origin->url), "why",
                 LOG_STR("the origin has stopped, as it said"));
    } else if (target->state == BRINGING || (push->granted && !target->failures)) {
        metric_add(&metrics[M_FAILURES], 1);
        log_warn("push_failed", "stream", LOG_STR(push->stream), "origin", LOG_STR(target->origin->url), "why",
                 LOG_STR(why));
    }
    if (push->decided) {
        bool busy = push->stands_by && target->status == 423;
        rest(target);
        if (fenced || busy)
            lose(push, &(struct claim_loss){.why = fenced ? "a later writer has the stream"
                                                          : "taken over by another publisher"});
        else if (push->stands_by)
            tell_standing(push); /* of the others */
        return;
    }
    if (target->status != 423)
        log_warn("push_refused", "stream", LOG_STR(push->stream), "origin", LOG_STR(target->origin->url), "why",
                 LOG_STR(why));
    close_feeds(target);
    target->refusal = target->status == 423          ? CLAIM_BUSY
                      : target->status == 503        ? CLAIM_FULL
                      : target->status == STATUS_CUT ? CLAIM_CUT
                                                     : CLAIM_UNREACHABLE;
    target_set(target, REFUSED);
    judge(push);
}

static void push_step_end(struct push *push);
static void on_end(void *ctx, int error, const char *text) {
    struct target *target = ctx;
    http_peer_ended(&target->origin->peer, &target->fetch);
    if (target->push->released)
        push_step_end(target->push);
    else
        target_failed(target, error ? text : "the origin has ended it");
}

/* Whether it is only to be granted when it is taken. So origins that disagree on who has a stream don't grant it while
 * others hear a publisher. One that is to be the publisher is granted at once what nobody has. */
static bool stands_by(const struct push *push) {
    return !push->granted && (push->stands_by || push->asked.rank != CLAIM_PRIMARY || push->asked.stands_by);
}

static void ask(struct target *target) {
    struct push *push = target->push;
    const struct stream *stream = push->granted ? stream_of(push) : NULL;
    char url[URL_LEN], place[96] = "";
    if (stream && stream->first_listed < stream->segment_count)
        snprintf(place, sizeof place, "&epoch=%" PRIu64 "&first=%" PRIu64, stream->epoch,
                 stream->segments[stream->first_listed]->msn);
    else if (push->granted)
        snprintf(place, sizeof place, "&epoch=%" PRIu64, push->grant.epoch);
    snprintf(url, sizeof url, "%s/feed/%s?peer=%s&rank=%s%s%s", target->origin->url, push->stream, push->peer,
             claim_rank_name(push->asked.rank), stands_by(push) ? "&standby=1" : "", place);
    target_set(target, ASKING);
    target->status = 0;
    target->broken = target->drains = false;
    target->heard_us = now(push);
    target->fetch = http_peer_fetch(&target->origin->peer,
                                    &(struct http_fetch_options){.url = url,
                                                                 .source = {.next = next_lines, .ctx = target},
                                                                 .head = on_head,
                                                                 .data = on_control,
                                                                 .end = on_end,
                                                                 .ctx = target});
}

static void on_target_timer(void *ctx) {
    struct target *target = ctx;
    if (target->broken)
        target_failed(target, target->status == STATUS_CUT ? "cut by the operator"
                                                           : "malformed control, or a track has broken off");
    else if (target->state == RESTING)
        ask(target);
}

/* --- deciding a claim --- */

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* It grants out of nothing: its numbers are the time's, which run ahead of a stream's. */
static bool knows_nothing(const struct claim_grant *grant) {
    return !grant->resumes && !grant->init_versions;
}

/* What goes on from everybody: the highest numbers and the latest time; of two that disagree on how a stream is cut,
 * the one whose writer was the later. Who knows nothing of the stream has no say in its numbers when others do. */
static void merge(struct claim_grant *into, const struct claim_grant *grant) {
    if (grant->resumes && (!into->resumes || grant->last_epoch > into->last_epoch)) {
        into->target_duration_ms = grant->target_duration_ms;
        into->part_target_us = grant->part_target_us;
    }
    if (grant->resumes)
        into->last_epoch = larger(into->last_epoch, grant->last_epoch);
    if (knows_nothing(into) && !knows_nothing(grant))
        into->next_msn = into->next_part = 0;
    if (knows_nothing(into) || !knows_nothing(grant)) {
        into->next_msn = larger(into->next_msn, grant->next_msn);
        into->next_part = larger(into->next_part, grant->next_part);
    }
    into->epoch = larger(into->epoch, grant->epoch);
    into->not_before_us = (int64_t)larger((uint64_t)into->not_before_us, (uint64_t)grant->not_before_us);
    into->resumes |= grant->resumes;
    into->init_versions = (uint32_t)larger(into->init_versions, grant->init_versions);
    into->discontinuity_sequence = (uint32_t)larger(into->discontinuity_sequence, grant->discontinuity_sequence);
}

static void on_local_result(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct push *push = owner;
    if (push->granted) {
        supersede(push); /* by another of this node's publishers */
        return;
    }
    result = push->cut ? CLAIM_CUT : result; /* meanwhile */
    if (result != CLAIM_GRANTED) {
        push->asked.on_result(push->asked.owner, claim_stands_by(result) ? CLAIM_BUSY : result, NULL);
        return;
    }
    merge(&push->grant, grant);
    push->granted = true;
    push->took = push->stands_by;
    push->stands_by = false;
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        struct target *target = &push->targets[i];
        if (target->state == GRANTED)
            bring(target);
        else if (target->state == REFUSED)
            rest(target);
    }
    push->asked.on_result(push->asked.owner, CLAIM_GRANTED, &push->grant);
}

static void on_local_lost(void *owner, const struct claim_loss *loss) {
    lose(owner, loss);
}

/* What the origins say of a claim that stands by: the least that any of them allows. */
static enum claim_result standing_of(const struct push *push) {
    bool any = false, outranks = false;
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        const struct target *target = &push->targets[i];
        if (target->state == STANDING && target->standing == CLAIM_STANDBY)
            return CLAIM_STANDBY;
        any |= target->state == STANDING;
        outranks |= target->state == STANDING && target->standing == CLAIM_OUTRANKS;
    }
    return !any ? CLAIM_STANDBY : outranks ? CLAIM_OUTRANKS : CLAIM_VACANT;
}

static void tell_standing(struct push *push) {
    enum claim_result standing = standing_of(push);
    if (push->released || push->lost || standing == push->standing)
        return;
    push->standing = standing;
    push->asked.on_result(push->asked.owner, standing, NULL);
}

/* What one of them has granted meanwhile it gets back, for others hear somebody else; and whoever can't be asked, or
 * has no room, is asked again and again. */
static void stand_by(struct push *push) {
    push->decided = push->stands_by = true;
    push->standing = CLAIM_GRANTED;
    loop_timer_cancel(push->timer);
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++)
        if (push->targets[i].state != STANDING && push->targets[i].state != RESTING)
            rest(&push->targets[i]);
    tell_standing(push);
}

static void claim_local(struct push *push) {
    const struct writer_port *local = &push->pushes->local;
    const struct claim_request request = {.stream = push->stream,
                                          .peer = push->peer,
                                          .rank = push->asked.rank,
                                          .takes = true,
                                          .on_result = on_local_result,
                                          .on_lost = on_local_lost,
                                          .owner = push};
    push->local = local->claim(local->ctx, &request);
}

static void settle(struct push *push, enum claim_result result) {
    if (claim_stands_by(result)) {
        stand_by(push);
        return;
    }
    push->decided = true;
    loop_timer_cancel(push->timer);
    if (result == CLAIM_GRANTED) {
        push->grant = (struct claim_grant){0};
        for (size_t i = 0; i < push->pushes->settings.origin_count; i++)
            if (push->targets[i].state == GRANTED)
                merge(&push->grant, &push->targets[i].granted.grant);
        claim_local(push);
        return;
    }
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++)
        close_feeds(&push->targets[i]);
    if (push->stands_by)
        lose(push, &(struct claim_loss){.why = result == CLAIM_CUT ? "cut by the operator"
                                                                   : "taken over by another publisher",
                                        .cut = result == CLAIM_CUT});
    else
        push->asked.on_result(push->asked.owner, result, NULL);
}

/* Decides when all have answered, or time is up. */
static void judge(struct push *push) {
    uint32_t asking = 0, granted = 0, busy = 0, full = 0, cut = 0, standing = 0;
    if (push->decided) {
        if (push->stands_by)
            tell_standing(push);
        return;
    }
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        const struct target *target = &push->targets[i];
        asking += target->state == ASKING;
        granted += target->state == GRANTED;
        standing += target->state == STANDING;
        busy += target->state == REFUSED && target->refusal == CLAIM_BUSY;
        full += target->state == REFUSED && target->refusal == CLAIM_FULL;
        cut += target->state == REFUSED && target->refusal == CLAIM_CUT;
    }
    if (cut)
        settle(push, CLAIM_CUT);
    else if (busy)
        settle(push, CLAIM_BUSY);
    else if (!asking)
        settle(push, standing ? CLAIM_STANDBY : granted ? CLAIM_GRANTED : full ? CLAIM_FULL : CLAIM_UNREACHABLE);
    else if (granted || standing)
        loop_timer_set(push->timer, push->answered_us + ASK_MORE_US - now(push));
}

/* Asks all of them anew. */
static void ask_all(struct push *push) {
    push->decided = false;
    push->answered_us = 0;
    loop_timer_set(push->timer, ASK_US);
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++)
        ask(&push->targets[i]);
}

/* In a turn of its own, for a target, or the local claim, may be in a callback. The stream is another's. What this one
 * has written since is void. */
static void supersede(struct push *push) {
    if (push->superseded || push->released || push->lost || push->cut)
        return;
    push->superseded = true;
    loop_timer_set(push->timer, 0);
}

static void on_superseded(struct push *push) {
    const struct writer_port *local = &push->pushes->local;
    push->superseded = push->granted = false;
    push->stands_by = true;
    local->release(local->ctx, push->local, true);
    push->local = NULL;
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        loop_timer_cancel(push->targets[i].timer);
        close_feeds(&push->targets[i]);
        push->targets[i].failures = 0;
        target_set(&push->targets[i], REFUSED);
    }
    push->standing = CLAIM_STANDBY;
    ask_all(push);
    push->asked.on_result(push->asked.owner, CLAIM_STANDBY, NULL);
}

/* --- the end --- */

static void push_destroy(struct push *push) {
    list_remove(&push->link);
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        struct target *target = &push->targets[i];
        close_feeds(target);
        target_set(target, REFUSED);
        buf_finish(&target->control);
        loop_timer_destroy(target->timer);
    }
    loop_timer_destroy(push->timer);
    free(push);
}

static bool under_way(const struct push *push) {
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++)
        if (push->targets[i].state == BRINGING && push->targets[i].fetch.fetch)
            return true;
    return false;
}

/* In a turn of its own: a target may be in a callback. */
static void push_step_end(struct push *push) {
    if (!under_way(push))
        loop_timer_set(push->timer, 0);
}

static void on_push_timer(void *ctx) {
    struct push *push = ctx;
    uint32_t granted = 0, standing = 0;
    if (push->released) {
        push_destroy(push);
        return;
    }
    if (push->superseded) {
        on_superseded(push);
        return;
    }
    for (size_t i = 0; i < push->pushes->settings.origin_count; i++) {
        granted += push->targets[i].state == GRANTED;
        standing += push->targets[i].state == STANDING;
    }
    settle(push, push->cut                     ? CLAIM_CUT
                 : standing || push->stands_by ? CLAIM_STANDBY
                 : granted                     ? CLAIM_GRANTED
                                               : CLAIM_UNREACHABLE);
}

/* --- the port --- */

/* What stands in URLs as it is; others are left out: the peer is for logs. */
static void copy_plain(char *out, size_t size, const char *text) {
    size_t n = 0;
    for (; *text && n + 1 < size; text++)
        if ((*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') || strchr(".:[]-", *text))
            out[n++] = *text;
    out[n] = 0;
}

static void *port_claim(void *ctx, const struct claim_request *request) {
    struct pushes *pushes = ctx;
    struct push *push = calloc(1, sizeof *push);
    if (!push)
        abort();
    *push = (struct push){.pushes = pushes, .asked = *request}; /* its epoch is none: publishers begin */
    push->asked.stream = push->asked.peer = NULL;
    snprintf(push->stream, sizeof push->stream, "%s", request->stream);
    copy_plain(push->peer, sizeof push->peer, request->peer);
    push->timer = loop_timer_create(pushes->loop, on_push_timer, push);
    push->cut = refusals_left_us(pushes->refusals, push->stream, now(push)) > 0;
    loop_timer_set(push->timer, push->cut ? 0 : ASK_US);
    list_append(&pushes->list, &push->link);
    for (size_t i = 0; i < pushes->settings.origin_count; i++) {
        struct target *target = &push->targets[i];
        *target = (struct target){.push = push, .origin = &pushes->origins[i], .state = REFUSED, .reader.fn = on_news};
        list_init(&target->reader.link);
        buf_init(&target->control, FEED_CONTROL_MAX);
        target->timer = loop_timer_create(pushes->loop, on_target_timer, target);
        if (!push->cut)
            ask(target);
    }
    return push;
}

static int port_write(void *ctx, void *handle, struct record *record) {
    struct pushes *pushes = ctx;
    struct push *push = handle;
    bool open = record->type == RECORD_OPEN;
    if (push->cut || !push->local) {
        record_unref(record);
        return -ESTALE;
    }
    int rc = pushes->local.write(pushes->local.ctx, push->local, record);
    if (!rc && open)
        for (size_t i = 0; i < pushes->settings.origin_count; i++)
            attach(&push->targets[i]);
    return rc;
}

static void port_touch(void *ctx, void *handle) {
    struct pushes *pushes = ctx;
    struct push *push = handle;
    if (push->local)
        pushes->local.touch(pushes->local.ctx, push->local);
    if (now(push) - push->touched_us < TOUCH_US)
        return;
    push->touched_us = now(push);
    for (size_t i = 0; i < pushes->settings.origin_count; i++) {
        push->targets[i].touch_due = true;
        if (push->targets[i].fetch.fetch)
            http_fetch_resume(push->targets[i].fetch.fetch);
    }
}

/* Of all that it stands by at, or of none. */
static void port_take(void *ctx, void *handle) {
    struct pushes *pushes = ctx;
    struct push *push = handle;
    if (!push->stands_by || !push->decided || push->lost || standing_of(push) == CLAIM_STANDBY)
        return;
    push->decided = false;
    push->answered_us = 0;
    loop_timer_set(push->timer, ASK_US);
    for (size_t i = 0; i < pushes->settings.origin_count; i++) {
        struct target *target = &push->targets[i];
        if (target->state != STANDING)
            continue;
        target_set(target, ASKING);
        target->take_due = true;
        http_fetch_resume(target->fetch.fetch);
    }
}

static void add_names(struct track_names *names, const struct track_names *more) {
    for (uint32_t i = 0; i < more->count; i++)
        track_names_add(names, more->items[i]);
}

/* By viewers of this node, or of any origin. Of one that doesn't say, anybody may ask for anything. */
static struct track_names port_asked(void *ctx, void *handle) {
    const struct pushes *pushes = ctx;
    const struct push *push = handle;
    const struct stream *stream = push->local ? stream_of(push) : NULL;
    struct track_names asked = {0};
    if (push->local && pushes->local.asked)
        asked = pushes->local.asked(pushes->local.ctx, push->local);
    for (size_t i = 0; i < pushes->settings.origin_count; i++) {
        const struct target *target = &push->targets[i];
        add_names(&asked, &target->asked);
        bool says = target->state != BRINGING || target->granted.asks;
        for (uint32_t t = 0; !says && stream && stream->open && t < stream->open->open.track_count; t++)
            track_names_add(&asked, stream->open->open.tracks[t].name);
    }
    return asked;
}

static void port_release(void *ctx, void *handle, bool clean) {
    struct pushes *pushes = ctx;
    struct push *push = handle;
    if (push->local)
        pushes->local.release(pushes->local.ctx, push->local, clean);
    push->local = NULL;
    push->released = push->decided = true;
    for (size_t i = 0; i < pushes->settings.origin_count; i++) {
        if (push->targets[i].state == BRINGING)
            resume_all(&push->targets[i]); /* what is left, and then the end */
        else
            close_feeds(&push->targets[i]);
        loop_timer_cancel(push->targets[i].timer);
    }
    loop_timer_set(push->timer, under_way(push) ? FINISH_US : 0);
}

struct writer_port pushes_port(struct pushes *pushes) {
    return (struct writer_port){.ctx = pushes,
                                .claim = port_claim,
                                .write = port_write,
                                .touch = port_touch,
                                .release = port_release,
                                .take = port_take,
                                .asked = port_asked};
}

/* --- life cycle --- */

static void sweep_target(struct target *target) {
    if (target->state != BRINGING && target->state != STANDING)
        return;
    if (now(target->push) - target->heard_us > SILENT_US) {
        http_peer_renew(&target->origin->peer);
        target_failed(target, "silent");
        return;
    }
    target->beat_due = true;
    if (target->fetch.fetch)
        http_fetch_resume(target->fetch.fetch);
}

static void on_sweep(void *ctx) {
    struct pushes *pushes = ctx;
    list_each(it, &pushes->list) {
        struct push *push = list_entry(it, struct push, link);
        for (size_t i = 0; i < pushes->settings.origin_count && !push->released; i++)
            sweep_target(&push->targets[i]);
    }
    loop_timer_set(pushes->sweep, SWEEP_US);
}

struct pushes *pushes_create(struct loop *loop, struct hub *hub, const struct writer_port *local,
                             const struct pushes_settings *settings) {
    struct pushes *pushes = calloc(1, sizeof *pushes);
    if (!pushes)
        abort();
    *pushes = (struct pushes){.loop = loop, .hub = hub, .local = *local, .settings = *settings};
    pushes->refusals = refusals_create();
    list_init(&pushes->list);
    for (size_t i = 0; i < settings->origin_count; i++) {
        pushes->origins[i].url = settings->origins[i];
        http_peer_init(&pushes->origins[i].peer, loop, &settings->client);
    }
    pushes->sweep = loop_timer_create(loop, on_sweep, pushes);
    loop_timer_set(pushes->sweep, SWEEP_US);
    return pushes;
}

void pushes_destroy(struct pushes *pushes) {
    if (!pushes)
        return;
    while (!list_empty(&pushes->list))
        push_destroy(list_entry(pushes->list.next, struct push, link));
    for (size_t i = 0; i < pushes->settings.origin_count; i++)
        http_peer_finish(&pushes->origins[i].peer);
    loop_timer_destroy(pushes->sweep);
    refusals_destroy(pushes->refusals);
    free(pushes);
}
