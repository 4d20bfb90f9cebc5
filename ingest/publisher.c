#include "ingest/publisher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/publish_key.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "ingest/advice.h"
#include "ingest/ingest.h"
#include "ingest/join.h"
#include "ingest/join_clock.h"
#include "ingest/ladder_run.h"
#include "ingest/lead.h"
#include "ingest/live_names.h"
#include "ingest/pace.h"
#include "ingest/packager.h"
#include "ingest/probe.h"
#include "ingest/rungs.h"
#include "ingest/sound_run.h"
#include "ingest/stream_key.h"
#include "ingest/subtitles.h"
#include "ingest/track.h"

/* A publisher's life:
 *
 *   CLAIMING  publisher_open .. the authority's answer
 *   STANDING  by, while another publishes the stream. What it is is found out as in PROBING; then the probe holds the
 *             media since the last independent frame, so that it can be taken over with a picture at once
 *   PROBING   media is collected until it is known what the stream is: codecs, frame rate, B-frames (probe.h)
 *   LIVE      frames become chunks, parts, segments
 *   LOST      on_lost is due or done; everything is ignored until publisher_close
 *
 * Where its picture is transcoded, PROBING ends when the rungs are ready, too, and a publisher that is closed stays
 * until they have come to their end (closing).
 *
 * A change that needs a new init segment (codec configuration, a track more, B-frames where none were promised) goes
 * through PROBING again, and the stream goes on with a discontinuity.
 *
 * From PROBING and LIVE it may go back to STANDING.
 *
 * A push that joins another's stream is none of that: it stays at CLAIMING and is join.c's; what is here for it is at
 * the end, for the publisher that it joins. */
enum state { CLAIMING, STANDING, PROBING, LIVE, LOST };

enum {
    BAD_FRAMES_MAX = 100,   /* in a row, of which none can be used: this isn't what was announced */
    AHEAD_MAX_US = 2000000, /* a takeover doesn't begin with media that are so much older than the end of the stream */
    BESIDE_US = 200000,     /* so long other pictures are waited for beside the leading one */
    FRESH_US = 2 * BESIDE_US, /* an independent frame has only just come */
    JOIN_US = 1000000,        /* so long a stream that begins waits for what is about to join it */
    SLACK_US = 20000,         /* of pushes' clocks */
};

struct publisher {
    struct list link;
    struct ingest *ingest;
    struct publisher_events events;
    void *ctx;
    enum state state;
    char stream[STREAM_NAME_LEN], peer[64];
    enum publish_result result; /* to be told */
    char why[96];               /* why it is lost */
    struct loop_timer *tell_timer;
    void *claim;
    enum claim_rank rank;
    enum claim_result standing; /* how it stands by */
    bool accepted;              /* by the authority, to write or to stand by */
    bool taking;                /* it has asked for the stream that it stands by for */
    bool known;                 /* what is in the probe was found out before: tracks, rates, reordering */
    struct pace pace;           /* of the leading track, while it stands by */
    bool steady;                /* it was, when its latest independent frame came */
    struct probe probe;
    struct publisher_metadata metadata;
    struct tracks tracks;
    struct track *lead; /* of the stream; NULL: none is open */
    bool reinit;        /* probe again at the leading track's next independent frame */
    struct ladder_run ladder;
    bool closing, clean; /* by publisher_close; what its rungs still have comes first */
    struct packager packager;
    struct join *join;             /* it joins another's stream; else NULL, and: */
    struct join_seats seats;       /* of those that join this one */
    struct join_lateness lateness; /* of the leading track */
    struct advice advice;
    struct packager_counters counted; /* in metrics */
    bool stalled;
    int64_t last_media_us, followed_us; /* loop's clock: leading track; other video */
    uint32_t bad_frames;
};

static struct metric metrics[] = {
    {"weir_ingest_publishers", NULL, "Publishers connected and accepted.", METRIC_GAUGE, 0},
    {"weir_ingest_frames_total", "kind=\"video\"", "Frames received.", METRIC_COUNTER, 0},
    {"weir_ingest_frames_total", "kind=\"audio\"", "Frames received.", METRIC_COUNTER, 0},
    {"weir_ingest_frames_dropped_total", NULL, "Frames that were malformed or could not be placed in time.",
     METRIC_COUNTER, 0},
    {"weir_ingest_discontinuities_total", NULL, "Breaks in a publisher's timeline or configuration.", METRIC_COUNTER,
     0},
    {"weir_ingest_misaligned_total", NULL,
     "Segments at whose beginning a publisher's video track had no independent frame although the leading one did.",
     METRIC_COUNTER, 0},
    {"weir_ingest_stalls_total", NULL, "Times that a publisher was silent for longer than the stall limit.",
     METRIC_COUNTER, 0},
    {"weir_ingest_standby", NULL, "Publishers that stand by while another publishes their stream.", METRIC_GAUGE, 0},
};
enum { M_PUBLISHERS, M_VIDEO, M_AUDIO, M_DROPPED, M_DISCONTINUITIES, M_MISALIGNED, M_STALLS, M_STANDBY };

void ingest_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
    join_metrics_register();
}

static void finish(struct publisher *pub);

static void on_tell(void *ctx) {
    struct publisher *pub = ctx;
    if (pub->closing)
        finish(pub);
    else if (pub->why[0])
        pub->events.on_lost(pub->ctx, pub->why);
    else
        pub->events.on_result(pub->ctx, pub->result);
}

static bool airs(enum state state) {
    return state == PROBING || state == LIVE;
}

static void set_state(struct publisher *pub, enum state state) {
    struct ingest *ingest = pub->ingest;
    if (ingest->on_air && airs(state) != airs(pub->state))
        ingest->on_air(ingest->on_air_ctx, pub->stream, pub->rank, airs(state));
    metric_add(&metrics[M_STANDBY], (state == STANDING) - (pub->state == STANDING));
    pub->state = state;
}

static void lose(struct publisher *pub, const char *why) {
    if (pub->state == LOST)
        return;
    set_state(pub, LOST);
    live_names_release(pub->ingest->live, pub->stream, pub);
    snprintf(pub->why, sizeof pub->why, "%s", why);
    loop_timer_set(pub->tell_timer, 0);
}

/* --- opening --- */

/* The name of a pair's backup stands for the other one's stream. */
static void resolve_pair(struct publisher *pub) {
    const struct ingest_settings *settings = &pub->ingest->settings;
    for (uint32_t i = 0; i < settings->backup_count; i++) {
        const char *pair = settings->backups[i], *backup = strchr(pair, ' ') + 1;
        if (strcmp(backup, pub->stream) != 0)
            continue;
        snprintf(pub->stream, sizeof pub->stream, "%.*s", (int)(backup - 1 - pair), pair);
        pub->rank = CLAIM_BACKUP;
        return;
    }
}

static void stand_by(struct publisher *pub, enum claim_result standing);
static void take_if_may(struct publisher *pub);
static void go_on_air(struct publisher *pub, const struct claim_grant *grant);

static enum publish_result result_of(enum claim_result result) {
    return result == CLAIM_GRANTED || claim_stands_by(result) ? PUBLISH_OK
           : result == CLAIM_BUSY                             ? PUBLISH_BUSY
           : result == CLAIM_UNREACHABLE                      ? PUBLISH_UNREACHABLE
           : result == CLAIM_CUT                              ? PUBLISH_CUT
                                                              : PUBLISH_FULL;
}

/* What it publishes from now on, from where the authority says. */
static void begin_run(struct publisher *pub, const struct claim_grant *grant) {
    packager_grant(&pub->packager, grant);
    set_state(pub, PROBING);
    log_info("publish_start", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "rank",
             LOG_STR(claim_rank_name(pub->rank)), "epoch", LOG_INT(grant->epoch), "resumes", LOG_INT(grant->resumes));
}

/* A name that only backups have is free for its publisher. */
static void hold_name(struct publisher *pub) {
    if (pub->rank == CLAIM_PRIMARY)
        live_names_hold(pub->ingest->live, pub->stream, pub, pub->last_media_us);
}

static void accept(struct publisher *pub) {
    pub->accepted = true;
    pub->last_media_us = loop_now_us(pub->ingest->loop);
    hold_name(pub);
    metric_add(&metrics[M_PUBLISHERS], 1);
    pub->events.on_result(pub->ctx, PUBLISH_OK);
}

static void on_claimed(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct publisher *pub = owner;
    if (pub->state == LOST)
        return;
    if (pub->closing) { /* the stream is another's now, or its own anew: what rungs still have is of no use */
        loop_timer_set(pub->tell_timer, 0);
        return;
    }
    pub->result = result_of(result);
    if (pub->result != PUBLISH_OK) {
        pub->events.on_result(pub->ctx, pub->result);
        return;
    }
    pub->taking = false;
    if (claim_stands_by(result)) {
        stand_by(pub, result);
        take_if_may(pub);
    } else if (pub->accepted)
        go_on_air(pub, grant);
    else
        begin_run(pub, grant);
    if (!pub->accepted)
        accept(pub);
}

/* The stream goes on without it from the next key frame on. */
static void on_rung_dropped(void *ctx) {
    struct publisher *pub = ctx;
    pub->reinit = true;
}

static void on_record(void *ctx, struct record *record) {
    struct publisher *pub = ctx;
    bool rung = packager_is_rung(&pub->packager, record);
    if (pub->state == LOST) {
        record_unref(record);
        return;
    }
    int rc = pub->ingest->port.write(pub->ingest->port.ctx, pub->claim, record);
    if (rc == -ENOSPC)
        lose(pub, "this node's memory for live media is full");
    else if (rc == -EINVAL && rung)
        on_rung_dropped(pub);
    else if (rc && rc != -ESTALE)
        lose(pub, "internal error: record refused");
}

/* A leading picture is on its way: rungs are made of it. */
static void on_led(void *ctx, const struct lane_frame *frame, const struct packager_place *place) {
    struct publisher *pub = ctx;
    struct transcode_slot slot = {.dts_ts = frame->time.dts_ts,
                                  .pts_ts = frame->time.pts_ts,
                                  .duration_ts = frame->time.duration_ts,
                                  .independent = frame->independent,
                                  .rungs = place->rungs,
                                  .epoch = place->epoch,
                                  .msn = place->msn,
                                  .capture_us = frame->capture_us};
    memcpy(slot.numbers, place->numbers, sizeof slot.numbers);
    struct track_names asked = {0};
    const struct writer_port *port = &pub->ingest->port;
    if (pub->ladder.demand)
        asked = port->asked(port->ctx, pub->claim);
    ladder_run_push(&pub->ladder, &slot, frame->data, frame->len, &asked);
}

static void on_rung_here(void *ctx, uint32_t rung, bool here, uint64_t msn) {
    struct publisher *pub = ctx;
    packager_rung_here(&pub->packager, rung, here, msn);
}

static void on_rung_frame(void *ctx, const struct transcode_frame *transcoded) {
    struct publisher *pub = ctx;
    const struct transcode_slot *slot = &transcoded->slot;
    struct packager_place place = {.epoch = slot->epoch, .msn = slot->msn};
    memcpy(place.numbers, slot->numbers, sizeof place.numbers);
    const struct lane_frame frame = {.time = {.dts_ts = slot->dts_ts,
                                              .pts_ts = slot->pts_ts,
                                              .duration_ts = slot->duration_ts},
                                     .independent = slot->independent,
                                     .capture_us = slot->capture_us,
                                     .len = transcoded->len,
                                     .data = transcoded->data};
    packager_rung(&pub->packager, transcoded->rung, &place, &frame);
}

static void on_ladder_settled(void *ctx);

static void on_join_lost(void *ctx, const char *why) {
    lose(ctx, why);
}

/* The stream goes on without the track from the next key frame on. */
static void leave_out(struct publisher *pub, struct track *track, const char *why) {
    if (track->ended || track->unusable)
        return;
    pub->reinit |= pub->state == LIVE;
    if (track->joined) {
        track->ended = true;
        joins_refuse(pub->ingest, pub, track->number, why);
    } else {
        track->unusable = true;
        tracks_refuse(&pub->tracks, track->codec.kind, track->number, why);
    }
}

static void on_refused(void *ctx, uint32_t index, const char *why) {
    struct publisher *pub = ctx;
    for (uint32_t i = 0; index && i < pub->tracks.count; i++)
        if (pub->tracks.items[i]->index == index)
            leave_out(pub, pub->tracks.items[i], why);
    if (!index)
        lose(pub, why);
}

static void on_claim_lost(void *owner, const struct claim_loss *loss) {
    lose(owner, loss->why);
}

/* Who comes again is not to find the name taken by what his rungs still have to write. */
static void make_way(struct ingest *ingest, const char *stream) {
    list_each(it, &ingest->publishers) {
        struct publisher *other = list_entry(it, struct publisher, link);
        if (other->closing && !strcmp(other->stream, stream))
            finish(other);
    }
}

static struct publisher *create(struct ingest *ingest, const char *peer, const struct publisher_events *events,
                                void *ctx) {
    struct publisher *pub = calloc(1, sizeof *pub);
    if (!pub)
        abort();
    pub->ingest = ingest;
    advice_init(&pub->advice);
    pub->events = *events;
    pub->ctx = ctx;
    snprintf(pub->peer, sizeof pub->peer, "%s", peer);
    pub->tell_timer = loop_timer_create(ingest->loop, on_tell, pub);
    list_append(&ingest->publishers, &pub->link);
    tracks_init(&pub->tracks, pub->stream, pub->peer);
    const struct packager_port port = {pub, on_record, on_refused, on_led};
    const struct ladder_run_port ladder_port = {pub, on_ladder_settled, on_rung_frame, on_rung_dropped, on_rung_here};
    packager_init(&pub->packager, ingest->loop, &ingest->settings, pub->stream, &port);
    ladder_run_init(&pub->ladder, ingest->loop, &ingest->settings, pub->stream, &ladder_port);
    ladder_run_set_on_demand(&pub->ladder, ingest->settings.ladder_on_demand_ms && ingest->port.asked);
    return pub;
}

static void claim(struct publisher *pub) {
    const struct writer_port *port = &pub->ingest->port;
    make_way(pub->ingest, pub->stream);
    pub->claim = port->claim(port->ctx, &(struct claim_request){.stream = pub->stream,
                                                                .peer = pub->peer,
                                                                .rank = pub->rank,
                                                                .on_result = on_claimed,
                                                                .on_lost = on_claim_lost,
                                                                .owner = pub});
}

/* By the query, else by how the name ends, which is cut off. False: what it asks for can't be. */
static bool read_join(const struct ingest_settings *settings, const char *full, char *name,
                      struct join_request *ret_request) {
    const char *query = full + strcspn(full, "?");
    if (!join_request_parse(query + (*query == '?'), strlen(query + (*query == '?')), ret_request))
        return false;
    if (ret_request->kind == JOIN_NONE)
        join_request_by_name(settings->rung_suffixes, settings->rung_suffix_count, name, ret_request);
    return true;
}

static void join(struct publisher *pub, const struct join_request *request) {
    const struct join_port port = {pub, on_join_lost};
    pub->join = join_create(pub->ingest, pub->stream, pub->rank, pub->peer, request, &port, &pub->result);
}

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *full, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    struct publisher *pub = create(ingest, peer, events, ctx);
    struct join_request request;
    char name[STREAM_NAME_LEN], key[PUBLISH_KEY_MAX + 1];
    bool backup;
    stream_key_split(full, name, sizeof name, key, sizeof key, &backup);
    pub->rank = backup ? CLAIM_BACKUP : CLAIM_PRIMARY;
    const struct ingest_settings *settings = &ingest->settings;
    if (!read_join(settings, full, name, &request) || !name_join(pub->stream, app, name)) {
        pub->result = PUBLISH_BAD_NAME;
    } else if (!publish_key_admits(settings->publish_keys, settings->publish_key_count, pub->stream, key)) {
        pub->result = PUBLISH_DENIED;
    } else {
        resolve_pair(pub);
        if (request.kind == JOIN_NONE)
            claim(pub);
        else
            join(pub, &request);
    }
    if (!pub->claim)
        loop_timer_set(pub->tell_timer, 0);
    return pub;
}

struct publisher *publisher_open_own(struct ingest *ingest, const char *stream, enum claim_rank rank, const char *peer,
                                     const struct publisher_events *events, void *ctx) {
    struct publisher *pub = create(ingest, peer, events, ctx);
    pub->rank = rank;
    if (name_ok(stream))
        snprintf(pub->stream, sizeof pub->stream, "%s", stream);
    else
        pub->result = PUBLISH_BAD_NAME;
    if (pub->result == PUBLISH_OK)
        claim(pub);
    else
        loop_timer_set(pub->tell_timer, 0);
    return pub;
}

/* --- starting --- */

static void add_up(struct publisher *pub) {
    const struct packager_counters *now = &pub->packager.counters, *before = &pub->counted;
    metric_add(&metrics[M_DROPPED], (int64_t)(now->dropped - before->dropped));
    metric_add(&metrics[M_DISCONTINUITIES], (int64_t)(now->discontinuities - before->discontinuities));
    metric_add(&metrics[M_MISALIGNED], (int64_t)(now->misaligned - before->misaligned));
    pub->counted = *now;
}

/* To the packager, or what is made of it. */
static void carry(struct publisher *pub, struct track *track, const struct lane_frame *frame) {
    if (track->sound)
        sound_run_push(track->sound, frame);
    if (!sound_run_replaces(track->sound))
        packager_frame(&pub->packager, track->index, frame);
}

static void live_frame(struct publisher *pub, struct track *track, const struct publisher_frame *frame,
                       int64_t now_us) {
    const struct lane_frame lane_frame = track_lane_frame(track, frame, now_us);
    if (track == pub->lead && pub->stalled) {
        packager_break(&pub->packager);
        pub->stalled = false;
        packager_state(&pub->packager, STREAM_LIVE);
    }
    carry(pub, track, &lane_frame);
}

/* Whether the picture's rungs, if there are to be any, are ready. A broadcaster that sends several pictures has made a
 * ladder himself. */
static bool ladder_ready(struct publisher *pub, const struct packager_source *sources, uint32_t count, uint8_t number) {
    bool alone =
        count && sources[0].codec->kind == TRACK_VIDEO && (count == 1 || sources[1].codec->kind == TRACK_AUDIO);
    const struct publisher_frame *key = alone ? probe_first(&pub->probe, TRACK_VIDEO, number) : NULL;
    if (!key)
        return ladder_run_prepare(&pub->ladder, NULL, NULL, 0);
    const struct transcode_settings settings = {.source = *sources[0].codec,
                                                .config = sources[0].config,
                                                .config_len = sources[0].config_len,
                                                .reorders = sources[0].reorders,
                                                .rate_milli = sources[0].rate_milli};
    return ladder_run_prepare(&pub->ladder, &settings, key->data, key->len);
}

/* What all can play, and for the only sound one of a low rate, which is put behind all. Returns how many there are
 * more. */
static uint32_t prepare_sound(struct publisher *pub, struct track *const *chosen, struct packager_source *sources,
                              uint32_t count, uint32_t rungs) {
    const struct ingest_settings *settings = &pub->ingest->settings;
    uint32_t sounds = 0, more = 0;
    for (uint32_t i = 0; i < count; i++)
        sounds += chosen[i]->codec.kind == TRACK_AUDIO;
    if (sounds == count || !rungs_wanted(settings->ladder, settings->ladder_count, pub->stream))
        return 0;
    for (uint32_t i = count - sounds; i < count; i++) {
        struct packager_source *source = &sources[i + rungs], low;
        bool room = sounds == 1 && count + rungs < TRACKS_MAX;
        struct sound_run *run = chosen[i]->sound = sound_run_create(settings, pub->stream, source, room);
        if (!run)
            continue;
        if (sound_run_sources(run, source, &low))
            sources[count + rungs + more++] = low;
        sound_run_begin(run, &pub->packager, i + rungs, count + rungs);
    }
    return more;
}

/* What was collected goes on its way. Sound before the leading picture is left out. */
static void pour_out(struct publisher *pub, int64_t from_us) {
    struct publisher_frame frame;
    int64_t arrived_us;
    while (pub->state == LIVE && probe_take(&pub->probe, &frame, &arrived_us)) {
        struct track *track = tracks_find(&pub->tracks, frame.kind, frame.track);
        bool beside = frame.kind == TRACK_VIDEO && track != pub->lead;
        if (track && track->index != TRACK_NOWHERE && (beside || frame.dts_us >= from_us))
            live_frame(pub, track, &frame, arrived_us);
        probe_taken(&pub->probe);
    }
    probe_reset(&pub->probe);
}

/* What other pushes have sent since, and first of all, so that it is there beside the leading picture. */
static void pour_joined(struct publisher *pub, int64_t from_us) {
    for (uint32_t i = 0; i < pub->tracks.count && pub->state == LIVE; i++) {
        struct track *track = pub->tracks.items[i];
        if (!track->joined || track->index == TRACK_NOWHERE)
            continue;
        for (uint32_t k = track_begin(track, from_us); k < track->spare.count && pub->state == LIVE; k++)
            carry(pub, track, lane_at(&track->spare, k));
        lane_reset(&track->spare);
    }
}

/* Tracks that are there from the start are no discontinuity later. */
static bool awaits_joins(const struct publisher *pub) {
    const struct probe *probe = &pub->probe;
    int64_t held_us = probe->count ? clock_utc_us() - probe->first_arrived_us : JOIN_US;
    return !pub->packager.opened && !pub->known && held_us < JOIN_US && joins_due(pub->ingest, pub);
}

/* What the stream is to consist of. The leading track is packager_open's to judge. */
static uint32_t choose(struct publisher *pub, struct track *chosen[TRACKS_MAX],
                       struct packager_source sources[TRACKS_MAX]) {
    uint32_t count = tracks_choose(&pub->tracks, &pub->probe, chosen), kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        sources[kept] = track_source(chosen[i], &pub->probe, pub->known);
        if (!i || packager_takes(&sources[kept])) {
            chosen[kept++] = chosen[i];
            continue;
        }
        leave_out(pub, chosen[i], "codec configuration not usable");
        lane_reset(&chosen[i]->spare);
    }
    return kept;
}

/* The probe knows what the stream is: opens it and goes on with what was collected. */
static void start(struct publisher *pub) {
    struct track *chosen[TRACKS_MAX];
    struct packager_source sources[TRACKS_MAX];
    if (ladder_run_busy(&pub->ladder) || awaits_joins(pub))
        return;
    uint32_t count = choose(pub, chosen, sources);
    const struct probe_track *lead = count ? probe_track(&pub->probe, chosen[0]->codec.kind, chosen[0]->number) : NULL;
    if (lead && !ladder_ready(pub, sources, count, chosen[0]->number))
        return;
    uint32_t rungs = lead ? ladder_run_add(&pub->ladder, sources, count) : 0;
    uint32_t sounds = lead ? prepare_sound(pub, chosen, sources, count, rungs) : 0;
    if (!pub->packager.subtitles)
        pub->packager.subtitles = subtitles_hold(pub->ingest->subtitles, pub->stream);
    if (!lead || packager_open(&pub->packager, sources, count + rungs + sounds, lead->start_dts_us, lead->arrived_us)) {
        lose(pub, "codec configuration not usable");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        chosen[i]->index = i ? i + rungs : 0;
        chosen[i]->missed = 0;
        chosen[i]->rate_milli = sources[i].rate_milli;
    }
    ladder_run_begin(&pub->ladder);
    pub->lead = chosen[0];
    pub->known = true;
    set_state(pub, LIVE);
    pub->reinit = pub->stalled = false;
    pub->followed_us = pub->last_media_us;
    pour_joined(pub, probe_first(&pub->probe, chosen[0]->codec.kind, chosen[0]->number)->pts_us - SLACK_US);
    pour_out(pub, lead->start_dts_us);
}

/* To probing. What waits for the leading track, or came of tracks that are no part of the stream, is not lost with it:
 * where a track comes before the leading one, the key frame that it is to begin with has been here already. */
static void restart(struct publisher *pub) {
    probe_reset(&pub->probe);
    for (uint32_t i = 0; i < pub->tracks.count; i++) {
        struct track *track = pub->tracks.items[i];
        bool open = track->index != TRACK_NOWHERE && !track->changed;
        if (open && sound_run_replaces(track->sound))
            continue; /* what waits isn't the publisher's */
        if (track->joined && open)
            track_keep(track, &pub->packager.tracks[track->index].lane);
        else if (!track->joined && track != pub->lead && !track->ended && !track->silent)
            track_carry(track, open ? &pub->packager.tracks[track->index].lane : &track->spare, &pub->probe);
    }
    packager_break(&pub->packager);
    ladder_run_drain(&pub->ladder);
    tracks_take_out(&pub->tracks);
    pub->lead = NULL;
    pub->reinit = pub->known = false;
    set_state(pub, PROBING);
    add_up(pub);
}

static enum probe_verdict probe_judge(struct publisher *pub, int64_t now_us) {
    struct probe_known known = {.video_announced = pub->metadata.has_video,
                                .audio_announced = pub->metadata.has_audio,
                                .announced_all = pub->metadata.complete,
                                .video_tracks = pub->metadata.video_tracks,
                                .audio_tracks = pub->metadata.audio_tracks,
                                .metadata_rate = pub->metadata.frame_rate};
    tracks_tell(&pub->tracks, &known);
    return probe_check(&pub->probe, &known, now_us);
}

static void probe_step(struct publisher *pub, int64_t now_us) {
    switch (probe_judge(pub, now_us)) {
    case PROBE_READY:
        start(pub);
        break;
    case PROBE_HOPELESS:
        lose(pub, "no usable video or audio came");
        break;
    case PROBE_MORE:
        break;
    }
}

/* --- standing by --- */

/* What is in the probe of the track that leads; NULL unless it can be begun with. */
static const struct probe_track *in_hand(const struct publisher *pub) {
    const struct track *lead = tracks_leading(&pub->tracks);
    const struct probe_track *held = lead ? probe_track(&pub->probe, lead->codec.kind, lead->number) : NULL;
    bool waited = held && held->end_dts_us - held->start_dts_us > BESIDE_US;
    return waited || tracks_in_hand(&pub->tracks, &pub->probe) ? held : NULL;
}

/* Another publishes the stream, or may. What was under way here is void. */
static void stand_by(struct publisher *pub, enum claim_result standing) {
    pub->standing = standing;
    if (pub->state == STANDING)
        return;
    log_info("publish_standby", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "rank",
             LOG_STR(claim_rank_name(pub->rank)));
    packager_abandon(&pub->packager);
    ladder_run_stop(&pub->ladder);
    for (uint32_t i = 0; i < pub->tracks.count; i++)
        lane_reset(&pub->tracks.items[i]->spare);
    tracks_take_out(&pub->tracks);
    if (!pub->known)
        probe_reset(&pub->probe);
    pub->lead = NULL;
    pub->pace = (struct pace){0};
    pub->stalled = pub->reinit = pub->steady = false;
    set_state(pub, STANDING);
    add_up(pub);
}

/* Takes the stream if it may: at once when nobody publishes; from somebody who does at an independent frame, when media
 * come as they are made. */
static void take_if_may(struct publisher *pub) {
    const struct probe_track *held = pub->known && !pub->taking ? in_hand(pub) : NULL;
    bool fresh = held && held->end_dts_us - held->start_dts_us <= FRESH_US;
    bool back = pub->standing == CLAIM_OUTRANKS && fresh && pub->steady;
    if (!held || !(back || pub->standing == CLAIM_VACANT))
        return;
    pub->taking = true;
    pub->ingest->port.take(pub->ingest->port.ctx, pub->claim);
}

static void find_out(struct publisher *pub, int64_t now_us) {
    enum probe_verdict verdict = probe_judge(pub, now_us);
    if (verdict == PROBE_HOPELESS)
        lose(pub, "no usable video or audio came");
    if (verdict != PROBE_READY)
        return;
    pub->known = true;
    for (uint32_t i = 0; i < pub->tracks.count; i++)
        track_find_out(pub->tracks.items[i], &pub->probe);
}

static void standing_frame(struct publisher *pub, struct track *track, const struct publisher_frame *frame,
                           int64_t now_us) {
    bool leads = track == tracks_leading(&pub->tracks);
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    track_learn(track, frame);
    if (frame->pts_us > frame->dts_us)
        track->reorders = true;
    if (leads && frame->independent && pub->known)
        probe_trim(&pub->probe, frame->dts_us);
    probe_push(&pub->probe, frame, now_us);
    if (leads)
        pace_note(&pub->pace, frame->dts_us, now_us);
    if (leads && frame->independent)
        pub->steady = pace_steady(&pub->pace);
    if (!pub->known)
        find_out(pub, now_us);
    take_if_may(pub);
}

/* It has taken the stream: goes on with what is in hand, if that isn't too old. */
static void go_on_air(struct publisher *pub, const struct claim_grant *grant) {
    begin_run(pub, grant);
    const struct probe_track *held = in_hand(pub);
    if (held && grant->not_before_us - held->arrived_us > AHEAD_MAX_US)
        probe_reset(&pub->probe);
    if (pub->known && in_hand(pub))
        start(pub);
}

/* Rungs are ready, or have come to their end. */
static void on_ladder_settled(void *ctx) {
    struct publisher *pub = ctx;
    if (pub->closing)
        finish(pub);
    else if (pub->state == PROBING && pub->probe.count)
        probe_step(pub, clock_utc_us());
}

/* --- media in --- */

/* Not another push's that has joined. */
static struct track *own_track(const struct publisher *pub, enum track_kind kind, uint8_t number) {
    struct track *track = tracks_find(&pub->tracks, kind, number);
    return track && !track->joined ? track : NULL;
}

static bool takes_media(const struct publisher *pub) {
    return pub->state == STANDING || pub->state == PROBING || pub->state == LIVE;
}

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    pub->metadata = *metadata;
    if (pub->join)
        join_metadata(pub->join, metadata);
}

/* The stream changes: at once when it can't go on without that, else at the leading picture's next key frame. */
static void change(struct publisher *pub, const struct track *track) {
    if (track == pub->lead || (pub->lead && pub->lead->codec.kind == TRACK_AUDIO))
        restart(pub);
    else
        pub->reinit = true;
}

/* While it stands by: what it has in hand is of another configuration. */
static void forget(struct publisher *pub) {
    if (pub->known)
        probe_reset(&pub->probe);
    pub->known = false;
}

static void set_config(struct publisher *pub, struct track *track, const struct publisher_config *config,
                       const struct codec_info *codec) {
    if (track_is_configured(track, config) && !track->ended)
        return;
    track->ended = track->silent = track->unusable = false;
    track->missed = track->bad_frames = 0;
    if (pub->state == LIVE) {
        track->changed = track->index != TRACK_NOWHERE;
        lane_reset(&track->spare);
        change(pub, track);
    } else {
        forget(pub);
        if (codec->kind == TRACK_VIDEO && !ladder_run_drain(&pub->ladder))
            ladder_run_stop(&pub->ladder); /* it was begun for another */
    }
    track_configure(track, config, codec);
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    const char *why = "codec configuration is too long";
    struct codec_info codec;
    if (pub->join)
        join_config(pub->join, config);
    if (!takes_media(pub))
        return;
    if (config->len > TRACK_CONFIG_MAX || codec_describe(config->codec, config->data, config->len, &codec, &why)) {
        if (config->track)
            tracks_refuse(&pub->tracks, config->codec < CODEC_AAC ? TRACK_VIDEO : TRACK_AUDIO, config->track, why);
        else
            lose(pub, why);
        return;
    }
    struct track *track =
        config->track < JOIN_TRACK_FIRST ? tracks_find(&pub->tracks, codec.kind, config->track) : NULL;
    if (!track && config->track < JOIN_TRACK_FIRST)
        track = tracks_add(&pub->tracks, codec.kind, config->track);
    if (!track)
        tracks_refuse(&pub->tracks, codec.kind, config->track, "there are more tracks than a stream may have");
    else
        set_config(pub, track, config, &codec);
}

static void take_live(struct publisher *pub, struct track *track, const struct publisher_frame *frame, int64_t now_us) {
    bool lead = track == pub->lead;
    if (track->index == TRACK_NOWHERE || track->changed) {
        if (track_is_given_up(track))
            return;
        if (pub->lead->codec.kind == TRACK_AUDIO)
            restart(pub); /* a picture has come */
        else
            pub->reinit |= track_spare(track, frame, now_us);
        return;
    }
    if (frame->pts_us > frame->dts_us && !track->reorders)
        track->reorders = pub->reinit = true; /* decoders were promised that there is none */
    if (lead && pub->reinit && frame->independent) {
        restart(pub);
        return;
    }
    live_frame(pub, track, frame, now_us);
    add_up(pub);
}

static void note_media(struct publisher *pub, const struct track *track, const struct publisher_frame *frame,
                       int64_t now_us) {
    bool leads = pub->lead ? track == pub->lead : track->codec.kind == TRACK_VIDEO || !tracks_have_video(&pub->tracks);
    if (leads)
        pub->last_media_us = loop_now_us(pub->ingest->loop);
    if (track == tracks_leading(&pub->tracks))
        join_lateness_note(&pub->lateness, frame->dts_us, now_us);
    if (!leads && track->codec.kind == TRACK_VIDEO)
        pub->followed_us = loop_now_us(pub->ingest->loop);
}

/* How large VP9's pictures are only key frames tell: another size is another configuration. */
static void renew(struct publisher *pub, struct track *track, const struct publisher_frame *frame) {
    if (!frame->independent || !codec_info_renew(&track->codec, frame->data, frame->len))
        return;
    if (pub->state == STANDING)
        forget(pub);
    if (pub->state != LIVE || track->index == TRACK_NOWHERE)
        return;
    if (!track->changed)
        lane_reset(&track->spare);
    track->changed = true;
    change(pub, track);
}

/* Its words are for the broadcaster; a finding is logged when it comes, becomes worse and goes. */
static void advise(struct publisher *pub, const struct publisher_frame *frame) {
    const struct timeline *timeline = &pub->packager.timeline;
    const struct advice_frame seen = {.kind = frame->kind,
                                      .track = frame->track,
                                      .independent = frame->independent,
                                      .bytes = (uint32_t)frame->len,
                                      .dts_us = frame->dts_us,
                                      .pts_us = frame->pts_us,
                                      .arrived_us = loop_now_us(pub->ingest->loop)};
    struct advice_finding finding;
    advice_repairs(&pub->advice, timeline->dropped + timeline->moved);
    advice_misaligned(&pub->advice, packager_misaligned(&pub->packager));
    if (!advice_frame(&pub->advice, &seen))
        return;
    while (advice_next_change(&pub->advice, &finding))
        log_event(finding.level == ADVICE_WARN ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "advice", "stream",
                  LOG_STR(pub->stream), "code", LOG_STR(advice_code_name(finding.code)), "level",
                  LOG_STR(advice_level_name(finding.level)), "value", LOG_FLOAT(finding.value), "unit",
                  LOG_STR(advice_unit(finding.code)), "note", LOG_STR(finding.level ? advice_text(finding.code) : NULL),
                  (const char *)0);
}

static struct publisher *find_on_air(const struct ingest *ingest, const char *stream) {
    list_each(it, &ingest->publishers) {
        struct publisher *pub = list_entry(it, struct publisher, link);
        if (airs(pub->state) && !pub->closing && !strcmp(pub->stream, stream))
            return pub;
    }
    return NULL;
}

bool publisher_is_on_air(const struct ingest *ingest, const char *stream) {
    return find_on_air(ingest, stream);
}

void publisher_subtitles_changed(struct ingest *ingest, const char *stream) {
    struct publisher *pub = find_on_air(ingest, stream);
    if (pub && pub->state == LIVE)
        pub->reinit = true;
}

const struct advice *publisher_advice(const struct ingest *ingest, const char *stream) {
    list_each(it, &ingest->publishers) {
        const struct publisher *pub = list_entry(it, struct publisher, link);
        if ((pub->state == LIVE || pub->state == PROBING) && !strcmp(pub->stream, stream))
            return &pub->advice;
    }
    return NULL;
}

/* It can't be used. Where nothing can, this isn't what was announced; else the stream goes on without that track. */
static void drop(struct publisher *pub, struct track *track, const struct publisher_frame *frame) {
    const struct track *lead = pub->lead ? pub->lead : tracks_leading(&pub->tracks);
    bool refused = track ? track->unusable : tracks_refused(&pub->tracks, frame->kind, frame->track);
    metric_add(&metrics[M_DROPPED], 1);
    if (refused)
        return;
    if (++pub->bad_frames > BAD_FRAMES_MAX)
        lose(pub, "malformed media");
    else if (track && track != lead && ++track->bad_frames > BAD_FRAMES_MAX)
        leave_out(pub, track, "malformed media");
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    if (!takes_media(pub) && !pub->join)
        return;
    struct publisher_frame checked = *frame;
    struct track *track = own_track(pub, frame->kind, frame->track);
    metric_add(&metrics[frame->kind == TRACK_VIDEO ? M_VIDEO : M_AUDIO], 1);
    if (pub->join) {
        join_frame(pub->join, frame);
        return;
    }
    if (!track || track->unusable || !track_check(track, &checked)) {
        drop(pub, track, frame);
        return;
    }
    pub->bad_frames = track->bad_frames = 0;
    if (track->ended)
        return;
    int64_t now_us = clock_utc_us();
    advise(pub, &checked);
    track->silent = false;
    note_media(pub, track, &checked, now_us);
    renew(pub, track, &checked);
    if (pub->state == LIVE)
        take_live(pub, track, &checked, now_us);
    if (pub->state == STANDING)
        standing_frame(pub, track, &checked, now_us);
    if (pub->state != PROBING)
        return;
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    track_learn(track, &checked);
    probe_push(&pub->probe, &checked, now_us);
    if (pub->known && in_hand(pub))
        start(pub);
    else
        probe_step(pub, now_us);
}

static void end_track(struct publisher *pub, struct track *track) {
    if (!track || track->ended || !takes_media(pub))
        return;
    track->ended = true;
    log_info("track_end", "stream", LOG_STR(pub->stream), "kind",
             LOG_STR(track->codec.kind == TRACK_VIDEO ? "video" : "audio"), "track", LOG_INT(track->number));
    if (pub->state == LIVE) {
        change(pub, track);
        return;
    }
    bool held = pub->state == STANDING && !track->joined; /* it may begin with it */
    tracks_remove_ended(&pub->tracks);
    if (held) {
        probe_reset(&pub->probe);
        pub->known = false;
    }
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t number) {
    if (pub->join)
        join_track_end(pub->join, kind, number);
    else
        end_track(pub, own_track(pub, kind, number));
}

/* --- time and end --- */
/* The leading track is silent while other pictures come: the stream goes on without it. */
static bool go_on_without_lead(struct publisher *pub, int64_t now_us) {
    if (pub->state != LIVE || pub->packager.video_count < 2 ||
        now_us - pub->followed_us >= (int64_t)pub->ingest->settings.stall_ms * 1000)
        return false;
    log_warn("track_silent", "stream", LOG_STR(pub->stream), "kind", LOG_STR("video"), "track",
             LOG_INT(pub->lead->number));
    pub->lead->silent = true;
    restart(pub);
    pub->last_media_us = now_us;
    probe_step(pub, clock_utc_us());
    return true;
}

static void sweep(struct publisher *pub, int64_t now_us) {
    enum track_kind kind;
    uint8_t number;
    if (pub->closing)
        return;
    if (pub->join)
        join_sweep(pub->join, now_us);
    while (join_seats_expired(&pub->seats, now_us, &kind, &number))
        end_track(pub, tracks_find(&pub->tracks, kind, number));
    if (takes_media(pub))
        hold_name(pub);
    if (pub->state == STANDING && pub->probe.count && !pub->known)
        find_out(pub, clock_utc_us());
    if (pub->state == PROBING && pub->probe.count)
        probe_step(pub, clock_utc_us());
    if ((pub->state != LIVE && pub->state != PROBING) || !pub->packager.opened ||
        now_us - pub->last_media_us < (int64_t)pub->ingest->settings.stall_ms * 1000)
        return;
    if (go_on_without_lead(pub, now_us) || pub->stalled)
        return;
    pub->stalled = true;
    metric_add(&metrics[M_STALLS], 1);
    log_warn("publish_stalled", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer));
    packager_state(&pub->packager, STREAM_STALLED);
}

void publishers_sweep(struct ingest *ingest, int64_t now_us) {
    list_each(it, &ingest->publishers) sweep(list_entry(it, struct publisher, link), now_us);
}

static void finish(struct publisher *pub) {
    if (pub->claim) {
        if (pub->accepted) {
            metric_add(&metrics[M_PUBLISHERS], -1);
            log_info("publish_end", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "clean",
                     LOG_INT(pub->clean), "why", LOG_STR(pub->why[0] ? pub->why : NULL));
        }
        pub->ingest->port.release(pub->ingest->port.ctx, pub->claim,
                                  true); /* however it went, this one won't be back */
    }
    set_state(pub, LOST);
    joins_lead_gone(pub->ingest, pub, pub->clean);
    join_destroy(pub->join);
    add_up(pub);
    list_remove(&pub->link);
    loop_timer_destroy(pub->tell_timer);
    tracks_finish(&pub->tracks);
    ladder_run_finish(&pub->ladder);
    subtitled_release(pub->packager.subtitles);
    packager_finish(&pub->packager);
    probe_reset(&pub->probe);
    free(pub);
}

void publisher_close(struct publisher *pub, bool clean) {
    if (!pub)
        return;
    pub->clean = clean;
    joins_lead_gone(pub->ingest, pub, clean);
    if (pub->claim && pub->state == LIVE)
        packager_break(&pub->packager);
    live_names_release(pub->ingest->live, pub->stream, pub);
    pub->closing = pub->claim && pub->state != LOST && ladder_run_drain(&pub->ladder);
    if (!pub->closing)
        finish(pub);
}

void publishers_finish(struct ingest *ingest) {
    while (!list_empty(&ingest->publishers))
        finish(list_entry(ingest->publishers.next, struct publisher, link));
}

/* --- what a publisher is to pushes that join it --- */

struct publisher *lead_find(const struct ingest *ingest, const char *stream, enum claim_rank rank) {
    list_each(it, &ingest->publishers) {
        struct publisher *pub = list_entry(it, struct publisher, link);
        if (takes_media(pub) && !pub->closing && pub->rank == rank && !strcmp(pub->stream, stream))
            return pub;
    }
    return NULL;
}

bool lead_has_picture(const struct publisher *pub) {
    return tracks_have_video(&pub->tracks);
}

const struct join_lateness *lead_lateness(const struct publisher *pub) {
    return &pub->lateness;
}

struct join_seats *lead_seats(struct publisher *pub) {
    return &pub->seats;
}

bool lead_add_track(struct publisher *pub, const struct publisher_config *config, const struct track *like) {
    struct track *track = tracks_find(&pub->tracks, like->codec.kind, config->track);
    if (!track)
        track = tracks_add(&pub->tracks, like->codec.kind, config->track);
    if (!track)
        return false;
    bool same = track->config && track_is_configured(track, config) && !track->ended &&
                track->rate_milli == like->rate_milli && track->reorders == like->reorders &&
                track->codec.width == like->codec.width && track->codec.height == like->codec.height;
    track->joined = true;
    if (same)
        return true;
    track->ended = false;
    track->rate_milli = like->rate_milli;
    track->reorders = like->reorders;
    track->changed = track->index != TRACK_NOWHERE;
    lane_reset(&track->spare);
    track_configure(track, config, &like->codec);
    if (pub->state == LIVE)
        change(pub, track);
    return true;
}

void lead_frame(struct publisher *pub, const struct publisher_frame *frame, int64_t now_us) {
    struct track *track = tracks_find(&pub->tracks, frame->kind, frame->track);
    if (!takes_media(pub) || !track || track->ended)
        return;
    if (pub->state != LIVE || track->index == TRACK_NOWHERE || track->changed) {
        track_spare(track, frame, now_us);
        return;
    }
    if (frame->pts_us > frame->dts_us && !track->reorders)
        track->reorders = pub->reinit = true;
    live_frame(pub, track, frame, now_us);
    add_up(pub);
}
