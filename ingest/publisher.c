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
#include "ingest/aac.h"
#include "ingest/h264.h"
#include "ingest/ingest.h"
#include "ingest/lane.h"
#include "ingest/live_names.h"
#include "ingest/pace.h"
#include "ingest/probe.h"
#include "ingest/segmenter.h"
#include "ingest/timeline.h"

/* A publisher's life:
 *
 *   CLAIMING  publisher_open .. the authority's answer
 *   STANDING  by, while another publishes the stream. What it is is found out as in PROBING; then the probe holds the
 * media since the last independent frame, so that it can be taken over with a picture at once PROBING   media is
 * collected until it is known what the stream is: codecs, frame rate, B-frames (probe.h) LIVE      frames become
 * chunks, parts, segments LOST      on_lost is due or done; everything is ignored until publisher_close
 *
 * A change that needs a new init segment (codec configuration, a track more, B-frames where none were promised) goes
 * through PROBING again, and the stream goes on with a discontinuity. From PROBING and LIVE it may go back to STANDING.
 */
enum state { CLAIMING, STANDING, PROBING, LIVE, LOST };

enum {
    AUDIO_CHUNK_US = 90000, /* about 100 ms: 4 or 5 AAC frames at 48 kHz */
    VIDEO_TRACK_ID = 1,
    AUDIO_TRACK_ID = 101,
    BAD_FRAMES_MAX = 100,   /* in a row, of which none can be used: this isn't H.264, or not AAC */
    AHEAD_MAX_US = 2000000, /* a takeover doesn't begin with media that are so much older than the end of the stream */
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
    struct claim_grant grant;
    enum claim_rank rank;
    enum claim_result standing; /* how it stands by */
    bool accepted;              /* by the authority, to write or to stand by */
    bool taking;                /* it has asked for the stream that it stands by for */
    bool known;                 /* what is in the probe was found out before: rate, reordering, tracks */
    struct pace pace;           /* of the leading track, while it stands by */
    struct probe probe;
    struct publisher_metadata metadata;
    struct lane video, audio;  /* config_len says whether there is such a track */
    bool has_video, has_audio; /* of the open record */
    struct h264_config h264;
    struct aac_config aac;
    bool b_frames, reinit; /* reinit: probe again at the next independent frame */
    struct timeline timeline;
    struct segmenter segmenter;
    uint32_t part_target_us, target_ms;
    uint32_t audio_frames_max; /* in a part */
    uint64_t msn, part_number;
    uint32_t part_index, init_version, discontinuity_sequence;
    bool opened;        /* an open record was written */
    bool discontinuity; /* the next segment begins with one */
    bool segment_used;  /* the segment `msn` has a part or a chunk */
    bool part_independent, stalled;
    int64_t video_dts_us;  /* of the last video frame: audio is cut there */
    int64_t last_media_us; /* loop's clock */
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
    {"weir_ingest_stalls_total", NULL, "Times that a publisher was silent for longer than the stall limit.",
     METRIC_COUNTER, 0},
    {"weir_ingest_standby", NULL, "Publishers that stand by while another publishes their stream.", METRIC_GAUGE, 0},
};
enum { M_PUBLISHERS, M_VIDEO, M_AUDIO, M_DROPPED, M_DISCONTINUITIES, M_STALLS, M_STANDBY };

void ingest_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void on_tell(void *ctx) {
    struct publisher *pub = ctx;
    if (pub->why[0])
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

/* Splits "show?key=abc&backup=1" into the name, the key ("" when absent, or longer than any key may be), and the rank.
 */
static void split_query(const char *full, char *name, size_t name_size, char *key, size_t key_size,
                        enum claim_rank *ret_rank) {
    size_t n = strcspn(full, "?");
    snprintf(name, name_size, "%.*s", (int)(n < name_size ? n : name_size), full);
    key[0] = 0;
    *ret_rank = CLAIM_PRIMARY;
    for (const char *p = full + n; *p;) {
        p++;
        size_t len = strcspn(p, "&");
        if (len > 4 && !strncmp(p, "key=", 4) && len - 4 < key_size)
            snprintf(key, key_size, "%.*s", (int)(len - 4), p + 4);
        if (len == 8 && !strncmp(p, "backup=1", 8))
            *ret_rank = CLAIM_BACKUP;
        p += len;
    }
}

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
static void take_if_may(struct publisher *pub, bool independent);
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
    pub->grant = *grant;
    pub->msn = grant->next_msn;
    pub->part_number = grant->next_part;
    pub->init_version = grant->init_versions;
    pub->discontinuity = grant->resumes;
    pub->discontinuity_sequence = grant->discontinuity_sequence;
    pub->part_target_us = grant->part_target_us;
    pub->target_ms = grant->target_duration_ms ? grant->target_duration_ms : pub->ingest->settings.segment_ms;
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
    pub->result = result_of(result);
    if (pub->result != PUBLISH_OK) {
        pub->events.on_result(pub->ctx, pub->result);
        return;
    }
    pub->taking = false;
    if (claim_stands_by(result)) {
        stand_by(pub, result);
        take_if_may(pub, false);
    } else if (pub->accepted)
        go_on_air(pub, grant);
    else
        begin_run(pub, grant);
    if (!pub->accepted)
        accept(pub);
}

static void on_claim_lost(void *owner, const struct claim_loss *loss) {
    lose(owner, loss->why);
}

static struct publisher *create(struct ingest *ingest, const char *peer, const struct publisher_events *events,
                                void *ctx) {
    struct publisher *pub = calloc(1, sizeof *pub);
    if (!pub)
        abort();
    pub->ingest = ingest;
    pub->events = *events;
    pub->ctx = ctx;
    snprintf(pub->peer, sizeof pub->peer, "%s", peer);
    pub->tell_timer = loop_timer_create(ingest->loop, on_tell, pub);
    list_append(&ingest->publishers, &pub->link);
    return pub;
}

static void claim(struct publisher *pub) {
    const struct writer_port *port = &pub->ingest->port;
    pub->claim = port->claim(port->ctx, &(struct claim_request){.stream = pub->stream,
                                                                .peer = pub->peer,
                                                                .rank = pub->rank,
                                                                .on_result = on_claimed,
                                                                .on_lost = on_claim_lost,
                                                                .owner = pub});
}

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *full, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    struct publisher *pub = create(ingest, peer, events, ctx);
    char name[STREAM_NAME_LEN], key[PUBLISH_KEY_MAX + 1];
    split_query(full, name, sizeof name, key, sizeof key, &pub->rank);
    const struct ingest_settings *settings = &ingest->settings;
    if (!name_join(pub->stream, app, name))
        pub->result = PUBLISH_BAD_NAME;
    else if (!publish_key_admits(settings->publish_keys, settings->publish_key_count, pub->stream, key))
        pub->result = PUBLISH_DENIED;
    else {
        resolve_pair(pub);
        claim(pub);
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

/* --- writing --- */

static void write_record(struct publisher *pub, struct record *record) {
    int rc = pub->ingest->port.write(pub->ingest->port.ctx, pub->claim, record);
    if (rc == -ENOSPC)
        lose(pub, "this node's memory for live media is full");
    else if (rc && rc != -ESTALE)
        lose(pub, "internal error: record refused");
}

static void write_state(struct publisher *pub, enum stream_state state) {
    if (!pub->opened)
        return;
    struct record *record = record_create(RECORD_STATE, pub->stream, pub->grant.epoch);
    record->state.state = state;
    write_record(pub, record);
}

static void write_chunk(struct publisher *pub, const struct lane *lane, struct record *record) {
    if (!record) {
        metric_add(&metrics[M_DROPPED], 1);
        if (mux_broken(lane->mux) || lane->refused > BAD_FRAMES_MAX)
            lose(pub, "media that can't be muxed");
        return;
    }
    pub->segment_used = true;
    if (record->chunk.track == 0 && record->chunk.flags & CHUNK_INDEPENDENT)
        pub->part_independent = true;
    write_record(pub, record);
}

static uint8_t audio_track(const struct publisher *pub) {
    return pub->has_video ? 1 : 0;
}

/* --- audio chunks --- */

static void flush_audio(struct publisher *pub, int64_t end_us, uint32_t least_us) {
    if (!pub->has_audio)
        return;
    uint32_t duration_us, count = lane_waiting(&pub->audio, end_us, &duration_us);
    uint32_t room = pub->audio_frames_max > pub->audio.part_frames ? pub->audio_frames_max - pub->audio.part_frames : 0;
    if (count > room)
        count = room; /* late audio goes on into the next part rather than over PART-TARGET */
    if (count && duration_us >= least_us)
        write_chunk(pub, &pub->audio,
                    lane_take_chunk(&pub->audio, count, pub->stream, pub->grant.epoch, audio_track(pub), pub->msn));
}

static void flush_video(struct publisher *pub) {
    if (pub->video.count)
        write_chunk(pub, &pub->video,
                    lane_take_chunk(&pub->video, pub->video.count, pub->stream, pub->grant.epoch, 0, pub->msn));
}

/* --- parts and segments --- */

static uint32_t lead_duration_ts(const struct publisher *pub) {
    const struct segmenter *s = &pub->segmenter;
    uint32_t hz = pub->has_video ? TIMELINE_VIDEO_HZ : pub->audio.info.timescale;
    uint64_t ts = ((uint64_t)(s->end_us - s->part_start_us) * hz + 500000) / 1000000;
    uint64_t most_ts =
        (uint64_t)pub->part_target_us * hz / 1000000; /* over a hole; media time says where the next part is */
    return (uint32_t)(ts < most_ts ? ts : most_ts);
}

static void part_track(struct record_part_track *out, struct lane *lane, uint32_t duration_ts) {
    *out = (struct record_part_track){lane->part_chunks, duration_ts, lane->part_bytes};
    lane->part_chunks = lane->part_frames = lane->part_bytes = 0;
    lane->part_duration_ts = 0;
}

/* `audio_us`: where its sound ends; UTC. */
static void close_part(struct publisher *pub, bool last, int64_t audio_us) {
    flush_video(pub);
    flush_audio(pub, pub->has_video ? audio_us : INT64_MAX, 0);
    struct record *record = record_create(RECORD_PART, pub->stream, pub->grant.epoch);
    struct record_part *part = &record->part;
    part->number = pub->part_number++;
    part->msn = pub->msn;
    part->index = pub->part_index++;
    part->flags = (pub->part_independent ? PART_INDEPENDENT : 0) | (last ? PART_LAST : 0) |
                  (pub->discontinuity && !part->index ? PART_DISCONTINUITY : 0);
    if (part->flags & PART_DISCONTINUITY)
        pub->discontinuity_sequence++;
    part->discontinuity_sequence = pub->discontinuity_sequence;
    part->start_us = pub->segmenter.part_start_us;
    part->wall_us = part->start_us + timeline_drift_us(&pub->timeline);
    uint32_t lead_ts = lead_duration_ts(pub);
    if (pub->has_video)
        part_track(&part->tracks[0], &pub->video, lead_ts);
    if (pub->has_audio) /* audio alone is exact: whole frames on the sample grid */
        part_track(&part->tracks[audio_track(pub)], &pub->audio, (uint32_t)pub->audio.part_duration_ts);
    pub->part_independent = false;
    pub->segment_used = true;
    write_record(pub, record);
}

static void next_segment(struct publisher *pub) {
    if (!pub->segment_used)
        return;
    if (pub->part_index) { /* else nobody saw it and the number stays */
        pub->msn++;
        pub->discontinuity = false;
    }
    pub->part_index = 0;
    pub->segment_used = false;
    pub->video.chunk_number = pub->audio.chunk_number = 0;
}

static void end_with(struct publisher *pub, int what, int64_t audio_us) {
    if (what & SEGMENTER_END_PART)
        close_part(pub, what & SEGMENTER_END_SEGMENT, audio_us);
    if (what & SEGMENTER_END_SEGMENT)
        next_segment(pub);
    segmenter_end(&pub->segmenter, what);
}

/* Ends it with its last picture. The sound beside that picture may not have come yet: the next part's. */
static void end(struct publisher *pub, int what) {
    end_with(pub, what, pub->video_dts_us);
}

/* Ends it because of the frame that comes next: the sound before that is here. */
static void end_before(struct publisher *pub, int what) {
    end_with(pub, what, pub->segmenter.end_us);
}

/* Ends the segment under way; what comes next is a discontinuity. */
static void break_off(struct publisher *pub) {
    if (pub->segmenter.in_part)
        end(pub, SEGMENTER_END_PART | SEGMENTER_END_SEGMENT);
    else
        next_segment(pub);
    if (pub->has_video && pub->has_audio)
        lane_drop(&pub->audio, pub->video_dts_us); /* stayed over: it belongs before the break */
    segmenter_break(&pub->segmenter);
    if (pub->opened && !pub->discontinuity) {
        pub->discontinuity = true;
        metric_add(&metrics[M_DISCONTINUITIES], 1);
    }
}

/* --- starting --- */

static int start_video(struct publisher *pub, struct record_open *open) {
    struct lane *lane = &pub->video;
    uint8_t hinted[LANE_CONFIG_MAX];
    const uint8_t *config = lane->config;
    int len = (int)lane->config_len;
    if (!pub->b_frames && !pub->h264.has_reorder_hints && pub->h264.profile != 66) {
        int n = h264_config_add_reorder_hints(lane->config, lane->config_len, hinted, sizeof hinted);
        if (n > 0) {
            config = hinted;
            len = n;
        }
    }
    lane->info = (struct track_info){.name = "v0",
                                     .kind = TRACK_VIDEO,
                                     .track_id = VIDEO_TRACK_ID,
                                     .timescale = TIMELINE_VIDEO_HZ,
                                     .width = pub->h264.width,
                                     .height = pub->h264.height,
                                     .frame_rate_milli = probe_rate_milli(&pub->probe),
                                     .init_version = pub->init_version};
    snprintf(lane->info.codecs, CODECS_LEN, "avc1.%02x%02x%02x", pub->h264.profile, pub->h264.constraints,
             pub->h264.level);
    int rc = mux_create(&lane->info, CODEC_H264, config, (size_t)len, &lane->mux, &lane->info.init);
    if (!rc)
        open->tracks[open->track_count++] = lane->info; /* the record takes the reference to init */
    return rc;
}

static int start_audio(struct publisher *pub, struct record_open *open) {
    struct lane *lane = &pub->audio;
    lane->info = (struct track_info){.name = "a0",
                                     .kind = TRACK_AUDIO,
                                     .track_id = AUDIO_TRACK_ID,
                                     .timescale = pub->aac.sample_rate,
                                     .sample_rate = pub->aac.sample_rate,
                                     .channels = pub->aac.channels,
                                     .init_version = pub->init_version};
    snprintf(lane->info.codecs, CODECS_LEN, "mp4a.40.%u", pub->aac.object_type);
    int rc = mux_create(&lane->info, CODEC_AAC, lane->config, lane->config_len, &lane->mux, &lane->info.init);
    if (!rc)
        open->tracks[open->track_count++] = lane->info;
    return rc;
}

static uint32_t audio_frame_us(const struct publisher *pub) {
    return (uint32_t)(((uint64_t)pub->aac.frame_samples * 1000000 + pub->aac.sample_rate - 1) / pub->aac.sample_rate);
}

static void plan_parts(struct publisher *pub, bool audio_only, uint32_t rate_milli) {
    uint32_t frame_us = audio_only ? audio_frame_us(pub) : rate_milli ? (uint32_t)(1000000000ull / rate_milli) : 33333;
    uint32_t beside_us = pub->has_audio && !audio_only ? audio_frame_us(pub) : 0;
    struct segmenter_plan plan = pub->part_target_us
                                     ? segmenter_plan_within(pub->part_target_us, frame_us)
                                     : segmenter_plan(pub->ingest->settings.part_ms * 1000, frame_us, beside_us);
    pub->part_target_us = plan.part_target_us;
    segmenter_init(&pub->segmenter, &plan, pub->target_ms, audio_only);
    pub->audio_frames_max = pub->has_audio ? plan.part_target_us / audio_frame_us(pub) : 0;
    if (pub->has_audio && !pub->audio_frames_max)
        pub->audio_frames_max = 1;
}

static void live_frame(struct publisher *pub, const struct publisher_frame *frame, int64_t now_us);

/* The probe knows what the stream is: opens it and goes on with what was collected. */
static void start(struct publisher *pub) {
    lane_reset(&pub->video);
    lane_reset(&pub->audio);
    pub->has_video = pub->video.config_len > 0;
    pub->has_audio = pub->audio.config_len > 0;
    pub->b_frames |= pub->probe.b_frames;
    pub->init_version++;
    if (pub->opened)
        pub->grant
            .epoch++; /* what has other tracks has an epoch of its own, so that no chunk's place can stand for two */
    struct record *record = record_create(RECORD_OPEN, pub->stream, pub->grant.epoch);
    if ((pub->has_video && start_video(pub, &record->open)) || (pub->has_audio && start_audio(pub, &record->open))) {
        record_unref(record);
        lose(pub, "codec configuration not usable");
        return;
    }
    uint32_t rate_milli = pub->has_video ? probe_rate_milli(&pub->probe) : 0;
    plan_parts(pub, !pub->has_video, rate_milli);
    record->open.target_duration_ms = pub->target_ms;
    record->open.part_target_us = pub->part_target_us;
    int64_t end_us = pub->opened ? timeline_end_us(&pub->timeline) : pub->grant.not_before_us;
    timeline_init(&pub->timeline, pub->has_video, rate_milli, pub->aac.sample_rate, pub->aac.frame_samples,
                  pub->ingest->settings.stall_ms);
    timeline_map(&pub->timeline, probe_start_dts_us(&pub->probe, pub->has_video),
                 probe_start_us(&pub->probe, pub->has_video), end_us);
    pub->video_dts_us = 0;
    pub->opened = pub->known = true;
    set_state(pub, LIVE);
    pub->reinit = pub->stalled = false;
    write_record(pub, record);
    int64_t from_us = probe_start_dts_us(&pub->probe, pub->has_video);
    struct publisher_frame frame;
    int64_t arrived_us;
    while (pub->state == LIVE && probe_take(&pub->probe, &frame, &arrived_us)) {
        if (frame.dts_us >= from_us)
            live_frame(pub, &frame, arrived_us);
        probe_taken(&pub->probe);
    }
    probe_reset(&pub->probe);
}

static void restart(struct publisher *pub) {
    break_off(pub);
    probe_reset(&pub->probe);
    pub->known = false;
    set_state(pub, PROBING);
}

static enum probe_verdict probe_judge(struct publisher *pub, int64_t now_us) {
    struct probe_known known = {.video_config = pub->video.config_len > 0,
                                .audio_config = pub->audio.config_len > 0,
                                .video_announced = pub->metadata.has_video,
                                .audio_announced = pub->metadata.has_audio,
                                .announced_all = pub->metadata.complete,
                                .metadata_rate = pub->metadata.frame_rate,
                                .sps_rate_milli = pub->h264.fps_milli};
    return probe_check(&pub->probe, &known, now_us);
}

static void probe_step(struct publisher *pub, int64_t now_us) {
    switch (probe_judge(pub, now_us)) {
    case PROBE_READY:
        start(pub);
        break;
    case PROBE_HOPELESS:
        lose(pub, "no usable H.264 or AAC came");
        break;
    case PROBE_MORE:
        break;
    }
}

/* --- standing by --- */

static enum track_kind leading(const struct publisher *pub) {
    return pub->video.config_len ? TRACK_VIDEO : TRACK_AUDIO;
}

/* Media that can be begun with are in the probe. */
static bool in_hand(const struct publisher *pub) {
    return leading(pub) == TRACK_VIDEO ? pub->probe.video_count : pub->probe.audio_count;
}

/* Another publishes the stream, or may. What was under way here is void. */
static void stand_by(struct publisher *pub, enum claim_result standing) {
    pub->standing = standing;
    if (pub->state == STANDING)
        return;
    log_info("publish_standby", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "rank",
             LOG_STR(claim_rank_name(pub->rank)));
    lane_reset(&pub->video);
    lane_reset(&pub->audio);
    if (pub->state == PROBING && !pub->known)
        probe_reset(&pub->probe);
    pub->pace = (struct pace){0};
    pub->opened = pub->stalled = pub->reinit = false;
    set_state(pub, STANDING);
}

/* Takes the stream if it may: at once when nobody publishes; from somebody who does at an independent frame, when media
 * come as they are made. */
static void take_if_may(struct publisher *pub, bool independent) {
    bool back = pub->standing == CLAIM_OUTRANKS && independent && pace_steady(&pub->pace);
    if (pub->taking || !pub->known || !in_hand(pub) || !(back || pub->standing == CLAIM_VACANT))
        return;
    pub->taking = true;
    pub->ingest->port.take(pub->ingest->port.ctx, pub->claim);
}

static void find_out(struct publisher *pub, int64_t now_us) {
    enum probe_verdict verdict = probe_judge(pub, now_us);
    if (verdict == PROBE_HOPELESS)
        lose(pub, "no usable H.264 or AAC came");
    if (verdict != PROBE_READY)
        return;
    pub->known = true;
    pub->b_frames |= pub->probe.b_frames;
}

static void standing_frame(struct publisher *pub, const struct publisher_frame *frame) {
    bool leads = frame->kind == leading(pub), begins = leads && frame->independent;
    int64_t now_us = clock_utc_us();
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    if (begins && pub->known)
        probe_reset(&pub->probe);
    probe_push(&pub->probe, frame, now_us);
    if (leads)
        pace_note(&pub->pace, frame->dts_us, now_us);
    if (!pub->known)
        find_out(pub, now_us);
    take_if_may(pub, begins);
}

/* It has taken the stream: goes on with what is in hand, if that isn't too old. */
static void go_on_air(struct publisher *pub, const struct claim_grant *grant) {
    begin_run(pub, grant);
    pub->part_index = 0;
    pub->segment_used = pub->part_independent = false;
    pub->video.chunk_number = pub->audio.chunk_number = 0;
    segmenter_break(&pub->segmenter);
    bool video = leading(pub) == TRACK_VIDEO;
    if (in_hand(pub) && grant->not_before_us - probe_start_us(&pub->probe, video) > AHEAD_MAX_US)
        probe_reset(&pub->probe);
    if (pub->known && in_hand(pub))
        start(pub);
}

/* --- media in --- */

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    pub->metadata = *metadata;
}

static bool takes_media(const struct publisher *pub) {
    return pub->state == STANDING || pub->state == PROBING || pub->state == LIVE;
}

static void set_config(struct publisher *pub, struct lane *lane, const uint8_t *data, size_t len) {
    bool same = len == lane->config_len && !memcmp(lane->config, data, len);
    memcpy(lane->config, data, len);
    lane->config_len = len;
    if (same)
        return;
    if (pub->state == LIVE)
        restart(pub);
    else if (pub->known)
        probe_reset(&pub->probe);
    pub->known = false;
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    const uint8_t *data = config->data;
    size_t len = config->len;
    const char *why = "too long";
    if (!takes_media(pub) || config->track)
        return;
    if (config->codec == CODEC_H264) {
        struct h264_config h264;
        if (len > LANE_CONFIG_MAX || h264_config_parse(data, len, &h264, &why)) {
            lose(pub, why);
            return;
        }
        pub->h264 = h264;
        set_config(pub, &pub->video, data, len);
    } else if (config->codec == CODEC_AAC) {
        struct aac_config aac;
        if (len > LANE_CONFIG_MAX || aac_config_parse(data, len, &aac, &why)) {
            lose(pub, why);
            return;
        }
        bool same = len == pub->audio.config_len && !memcmp(pub->audio.config, data, len);
        if (!same && pub->state == LIVE) {
            restart(pub);
        }
        pub->aac = aac;
        set_config(pub, &pub->audio, data, len);
    }
}

static void live_video(struct publisher *pub, const struct publisher_frame *frame, const struct timeline_time *time,
                       int64_t now_us) {
    int64_t dts_us = timeline_us(time->dts_ts, TIMELINE_VIDEO_HZ);
    uint32_t duration_us = (uint32_t)((uint64_t)time->duration_ts * 1000000 / TIMELINE_VIDEO_HZ);
    int what;
    while (pub->has_audio && (what = segmenter_hole(&pub->segmenter, dts_us)))
        end_before(pub, what); /* the sound goes on */
    end_before(pub, segmenter_before(&pub->segmenter, dts_us, duration_us, frame->independent));
    if (!pub->video_dts_us && pub->has_audio)
        lane_drop(&pub->audio, dts_us - audio_frame_us(pub)); /* what came before the first picture */
    pub->video_dts_us = dts_us;
    flush_audio(pub, dts_us, AUDIO_CHUNK_US);
    uint32_t waiting_us;
    lane_waiting(&pub->video, INT64_MAX, &waiting_us);
    if (frame->independent)
        flush_video(pub); /* a chunk starts with it, so that viewers can join there */
    uint32_t chunk_us = pub->ingest->settings.chunk_ms * 1000;
    if (chunk_us > duration_us) {
        lane_push(&pub->video, time, frame->independent, now_us, frame->data, frame->len);
        if (waiting_us + 2 * duration_us > chunk_us)
            flush_video(pub);
    } else {
        write_chunk(pub, &pub->video,
                    lane_direct_chunk(&pub->video, time, frame->independent, now_us, frame->data, frame->len,
                                      pub->stream, pub->grant.epoch, 0, pub->msn));
    }
    end(pub, segmenter_add(&pub->segmenter, dts_us, duration_us, frame->independent, time->exact));
}

static void live_audio(struct publisher *pub, const struct publisher_frame *frame, const struct timeline_time *time,
                       int64_t now_us) {
    if (pub->has_video) {
        lane_push(&pub->audio, time, true, now_us, frame->data, frame->len);
        return;
    }
    int64_t dts_us = timeline_us(time->dts_ts, pub->audio.info.timescale);
    end_before(pub, segmenter_before(&pub->segmenter, dts_us, audio_frame_us(pub), true));
    lane_push(&pub->audio, time, true, now_us, frame->data, frame->len);
    flush_audio(pub, INT64_MAX, AUDIO_CHUNK_US);
    end(pub, segmenter_add(&pub->segmenter, dts_us, audio_frame_us(pub), true, true));
}

static void live_frame(struct publisher *pub, const struct publisher_frame *frame, int64_t now_us) {
    bool leads = frame->kind == TRACK_VIDEO || !pub->has_video;
    if ((frame->kind == TRACK_VIDEO && !pub->has_video) || (frame->kind == TRACK_AUDIO && !pub->has_audio))
        return;
    struct timeline_time time;
    enum timeline_verdict verdict =
        timeline_frame(&pub->timeline, frame->kind, frame->dts_us, frame->pts_us, now_us, &time);
    if (verdict == TIMELINE_DROP) {
        metric_add(&metrics[M_DROPPED], 1);
        return;
    }
    if (leads && (verdict == TIMELINE_BREAK || pub->stalled))
        break_off(pub);
    if (leads && pub->stalled) {
        pub->stalled = false;
        write_state(pub, STREAM_LIVE);
    }
    if (frame->kind == TRACK_VIDEO)
        live_video(pub, frame, &time, now_us);
    else
        live_audio(pub, frame, &time, now_us);
}

/* Whether the frame is what it says; `ret_independent` by what is in it. */
static bool frame_ok(struct publisher *pub, const struct publisher_frame *frame, bool *ret_independent) {
    *ret_independent = true;
    if (!frame->len)
        return false;
    if (frame->kind == TRACK_AUDIO)
        return pub->audio.config_len > 0;
    if (!pub->video.config_len || frame->pts_us < frame->dts_us)
        return false;
    return h264_access_unit_ok(frame->data, frame->len, pub->h264.nal_length_size, ret_independent);
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    if (!takes_media(pub) || frame->track)
        return;
    struct publisher_frame checked = *frame;
    metric_add(&metrics[frame->kind == TRACK_VIDEO ? M_VIDEO : M_AUDIO], 1);
    if (!frame_ok(pub, frame, &checked.independent)) {
        metric_add(&metrics[M_DROPPED], 1);
        if (++pub->bad_frames > BAD_FRAMES_MAX)
            lose(pub, "malformed media");
        return;
    }
    pub->bad_frames = 0;
    if (frame->kind == TRACK_VIDEO || !pub->video.config_len)
        pub->last_media_us = loop_now_us(pub->ingest->loop);
    if (frame->kind == TRACK_VIDEO && frame->pts_us > frame->dts_us && !pub->b_frames && pub->state == LIVE)
        pub->b_frames = pub->reinit = true; /* decoders were promised none */
    if (pub->state == LIVE && pub->reinit && frame->kind == TRACK_VIDEO && checked.independent)
        restart(pub);
    if (pub->state == STANDING) {
        standing_frame(pub, &checked);
        return;
    }
    int64_t now_us = clock_utc_us();
    if (pub->state == LIVE) {
        live_frame(pub, &checked, now_us);
        return;
    }
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    probe_push(&pub->probe, &checked, now_us);
    if (pub->known && in_hand(pub))
        start(pub);
    else
        probe_step(pub, now_us);
}

/* --- time and end --- */

static void sweep(struct publisher *pub, int64_t now_us) {
    if (takes_media(pub))
        hold_name(pub);
    if (pub->state == STANDING && pub->probe.count && !pub->known)
        find_out(pub, clock_utc_us());
    if (pub->state == PROBING && pub->probe.count)
        probe_step(pub, clock_utc_us());
    if ((pub->state != LIVE && pub->state != PROBING) || !pub->opened || pub->stalled ||
        now_us - pub->last_media_us < (int64_t)pub->ingest->settings.stall_ms * 1000)
        return;
    pub->stalled = true;
    metric_add(&metrics[M_STALLS], 1);
    log_warn("publish_stalled", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer));
    write_state(pub, STREAM_STALLED);
}

void publishers_sweep(struct ingest *ingest, int64_t now_us) {
    list_each(it, &ingest->publishers) sweep(list_entry(it, struct publisher, link), now_us);
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t track) {
    (void)pub, (void)kind, (void)track;
}

void publisher_close(struct publisher *pub, bool clean) {
    if (!pub)
        return;
    if (pub->claim) {
        if (pub->state == LIVE)
            break_off(pub);
        if (pub->accepted) {
            metric_add(&metrics[M_PUBLISHERS], -1);
            log_info("publish_end", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "clean", LOG_INT(clean),
                     "why", LOG_STR(pub->why[0] ? pub->why : NULL));
        }
        pub->ingest->port.release(pub->ingest->port.ctx, pub->claim,
                                  true); /* however it went, it won't be back as this one */
    }
    set_state(pub, LOST);
    live_names_release(pub->ingest->live, pub->stream, pub);
    list_remove(&pub->link);
    loop_timer_destroy(pub->tell_timer);
    lane_reset(&pub->video);
    lane_reset(&pub->audio);
    probe_reset(&pub->probe);
    free(pub);
}
