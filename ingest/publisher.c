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
#include "ingest/probe.h"
#include "ingest/segmenter.h"
#include "ingest/timeline.h"

/* A publisher's life:
 *
 *   CLAIMING  publisher_open .. the authority's answer
 *   PROBING   media is collected until it is known what the stream is: codecs, frame rate, B-frames (probe.h)
 *   LIVE      frames become chunks, parts, segments
 *   LOST      on_lost is due or done; everything is ignored until publisher_close
 *
 * A change that needs a new init segment (codec configuration, a track more, B-frames where none were promised) goes
 * through PROBING again, and the stream goes on with a discontinuity. */
enum state { CLAIMING, PROBING, LIVE, LOST };

enum {
    AUDIO_CHUNK_US = 90000, /* about 100 ms: 4 or 5 AAC frames at 48 kHz */
    VIDEO_TRACK_ID = 1,
    AUDIO_TRACK_ID = 101,
    BAD_FRAMES_MAX = 100, /* in a row, of which none can be used: this isn't H.264, or not AAC */
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
};
enum { M_PUBLISHERS, M_VIDEO, M_AUDIO, M_DROPPED, M_DISCONTINUITIES, M_STALLS };

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

static void lose(struct publisher *pub, const char *why) {
    if (pub->state == LOST)
        return;
    pub->state = LOST;
    live_names_release(pub->ingest->live, pub->stream, pub);
    snprintf(pub->why, sizeof pub->why, "%s", why);
    loop_timer_set(pub->tell_timer, 0);
}

/* --- opening --- */

/* Splits "show?key=abc&x=y" into the name and the key ("" when absent, or longer than any key may be). */
static void split_key(const char *full, char *name, size_t name_size, char *key, size_t key_size) {
    size_t n = strcspn(full, "?");
    snprintf(name, name_size, "%.*s", (int)(n < name_size ? n : name_size), full);
    key[0] = 0;
    for (const char *p = full + n; *p;) {
        p++;
        size_t len = strcspn(p, "&");
        if (len > 4 && !strncmp(p, "key=", 4) && len - 4 < key_size)
            snprintf(key, key_size, "%.*s", (int)(len - 4), p + 4);
        p += len;
    }
}

static void on_claimed(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct publisher *pub = owner;
    pub->result = result == CLAIM_GRANTED       ? PUBLISH_OK
                  : result == CLAIM_BUSY        ? PUBLISH_BUSY
                  : result == CLAIM_UNREACHABLE ? PUBLISH_UNREACHABLE
                  : result == CLAIM_CUT         ? PUBLISH_CUT
                                                : PUBLISH_FULL;
    if (result != CLAIM_GRANTED) {
        pub->events.on_result(pub->ctx, pub->result);
        return;
    }
    pub->grant = *grant;
    pub->msn = grant->next_msn;
    pub->part_number = grant->next_part;
    pub->init_version = grant->init_versions;
    pub->discontinuity = grant->resumes;
    pub->discontinuity_sequence = grant->discontinuity_sequence;
    pub->part_target_us = grant->part_target_us;
    pub->target_ms = grant->target_duration_ms ? grant->target_duration_ms : pub->ingest->settings.segment_ms;
    pub->state = PROBING;
    pub->last_media_us = loop_now_us(pub->ingest->loop);
    live_names_hold(pub->ingest->live, pub->stream, pub, pub->last_media_us);
    metric_add(&metrics[M_PUBLISHERS], 1);
    log_info("publish_start", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "epoch",
             LOG_INT(grant->epoch), "resumes", LOG_INT(grant->resumes));
    pub->events.on_result(pub->ctx, PUBLISH_OK);
}

static void on_claim_lost(void *owner, const struct claim_loss *loss) {
    lose(owner, loss->why);
}

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *full, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    struct publisher *pub = calloc(1, sizeof *pub);
    if (!pub)
        abort();
    pub->ingest = ingest;
    pub->events = *events;
    pub->ctx = ctx;
    snprintf(pub->peer, sizeof pub->peer, "%s", peer);
    pub->tell_timer = loop_timer_create(ingest->loop, on_tell, pub);
    list_append(&ingest->publishers, &pub->link);
    char name[STREAM_NAME_LEN], key[PUBLISH_KEY_MAX + 1];
    split_key(full, name, sizeof name, key, sizeof key);
    const struct ingest_settings *settings = &ingest->settings;
    if (!name_join(pub->stream, app, name))
        pub->result = PUBLISH_BAD_NAME;
    else if (!publish_key_admits(settings->publish_keys, settings->publish_key_count, pub->stream, key))
        pub->result = PUBLISH_DENIED;
    else
        pub->claim = ingest->port.claim(ingest->port.ctx, pub->stream, pub->peer, 0, on_claimed, on_claim_lost, pub);
    if (!pub->claim)
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
    pub->opened = true;
    pub->state = LIVE;
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
    pub->state = PROBING;
}

static void probe_step(struct publisher *pub, int64_t now_us) {
    struct probe_known known = {.video_config = pub->video.config_len > 0,
                                .audio_config = pub->audio.config_len > 0,
                                .video_announced = pub->metadata.has_video,
                                .audio_announced = pub->metadata.has_audio,
                                .announced_all = pub->metadata.complete,
                                .metadata_rate = pub->metadata.frame_rate,
                                .sps_rate_milli = pub->h264.fps_milli};
    switch (probe_check(&pub->probe, &known, now_us)) {
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

/* --- media in --- */

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    pub->metadata = *metadata;
}

static void set_config(struct publisher *pub, struct lane *lane, const uint8_t *data, size_t len) {
    bool same = len == lane->config_len && !memcmp(lane->config, data, len);
    memcpy(lane->config, data, len);
    lane->config_len = len;
    if (!same && pub->state == LIVE)
        restart(pub);
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    const uint8_t *data = config->data;
    size_t len = config->len;
    const char *why = "too long";
    if ((pub->state != PROBING && pub->state != LIVE) || config->track)
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
    if ((pub->state != PROBING && pub->state != LIVE) || frame->track)
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
    int64_t now_us = clock_utc_us();
    if (pub->state == LIVE) {
        live_frame(pub, &checked, now_us);
        return;
    }
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    probe_push(&pub->probe, &checked, now_us);
    probe_step(pub, now_us);
}

/* --- time and end --- */

static void sweep(struct publisher *pub, int64_t now_us) {
    if (pub->state == LIVE || pub->state == PROBING)
        live_names_hold(pub->ingest->live, pub->stream, pub, pub->last_media_us);
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
        if (pub->grant.epoch) {
            metric_add(&metrics[M_PUBLISHERS], -1);
            log_info("publish_end", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "clean", LOG_INT(clean),
                     "why", LOG_STR(pub->why[0] ? pub->why : NULL));
        }
        pub->ingest->port.release(pub->ingest->port.ctx, pub->claim, clean);
    }
    live_names_release(pub->ingest->live, pub->stream, pub);
    list_remove(&pub->link);
    loop_timer_destroy(pub->tell_timer);
    lane_reset(&pub->video);
    lane_reset(&pub->audio);
    probe_reset(&pub->probe);
    free(pub);
}
