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
#include "ingest/ingest.h"
#include "ingest/ladder_run.h"
#include "ingest/live_names.h"
#include "ingest/packager.h"
#include "ingest/probe.h"

/* A publisher's life:
 *
 *   CLAIMING  publisher_open .. the authority's answer
 *   PROBING   media is collected until it is known what the stream is: codecs, frame rate, B-frames (probe.h)
 *   LIVE      frames become chunks, parts, segments
 *   LOST      on_lost is due or done; everything is ignored until publisher_close
 *
 * Where its picture is transcoded, PROBING ends when the rungs are ready, too, and a publisher that is closed stays
 * until they have come to their end (closing).
 *
 * A change that needs a new init segment (codec configuration, a track more, B-frames where none were promised) goes
 * through PROBING again, and the stream goes on with a discontinuity. */
enum state { CLAIMING, PROBING, LIVE, LOST };

enum {
    CONFIG_MAX = 2048,
    BAD_FRAMES_MAX = 100, /* in a row, of which none can be used: this isn't what was announced */
    MISSED_MAX = 3,       /* so often a track is looked for in vain, then it is left out */
    VIDEO_TRACKS_MAX = 6,
    AUDIO_TRACKS_MAX = 4,
    REFUSED_BITS = 64, /* tracks of each kind about whose refusal a line was logged */
    NONE = TRACKS_MAX,
};

/* A track whose configuration was seen. */
struct track {
    struct codec_info codec;
    uint8_t number;
    char language[LANGUAGE_LEN];
    uint32_t index;  /* in the packager; NONE: it is no part of the stream (yet) */
    uint32_t missed; /* times in a row that a stream was opened without it because nothing came of it */
    bool reorders, silent, ended;
    bool changed;      /* what comes is not of the configuration that the stream was opened with */
    struct lane spare; /* its latest frames while it is no part of the stream */
    uint32_t config_len;
    uint8_t config[CONFIG_MAX]; /* as it came */
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
    struct probe probe;
    struct publisher_metadata metadata;
    struct track *tracks[TRACKS_MAX];
    uint32_t track_count;
    struct track *lead; /* of the stream; NULL: none is open */
    bool reinit;        /* probe again at the leading track's next independent frame */
    struct ladder_run ladder;
    bool closing, clean; /* by publisher_close; what its rungs still have comes first */
    struct packager packager;
    struct packager_counters counted; /* in metrics */
    bool stalled;
    int64_t last_media_us, followed_us; /* loop's clock: leading track; other video */
    uint32_t bad_frames;
    uint64_t refused[2]; /* by kind: numbers of tracks for which there was no room */
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
};
enum { M_PUBLISHERS, M_VIDEO, M_AUDIO, M_DROPPED, M_DISCONTINUITIES, M_MISALIGNED, M_STALLS };

void ingest_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
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
    packager_grant(&pub->packager, grant);
    pub->state = PROBING;
    pub->last_media_us = loop_now_us(pub->ingest->loop);
    live_names_hold(pub->ingest->live, pub->stream, pub, pub->last_media_us);
    metric_add(&metrics[M_PUBLISHERS], 1);
    log_info("publish_start", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "epoch",
             LOG_INT(grant->epoch), "resumes", LOG_INT(grant->resumes));
    pub->events.on_result(pub->ctx, PUBLISH_OK);
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
    const struct transcode_slot slot = {.dts_ts = frame->time.dts_ts,
                                        .pts_ts = frame->time.pts_ts,
                                        .duration_ts = frame->time.duration_ts,
                                        .independent = frame->independent,
                                        .epoch = place->epoch,
                                        .msn = place->msn,
                                        .number = place->number,
                                        .capture_us = frame->capture_us};
    ladder_run_push(&pub->ladder, &slot, frame->data, frame->len);
}

static void on_rung_frame(void *ctx, const struct transcode_frame *transcoded) {
    struct publisher *pub = ctx;
    const struct transcode_slot *slot = &transcoded->slot;
    const struct packager_place place = {slot->epoch, slot->msn, slot->number};
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

static void on_unusable(void *ctx, const char *why) {
    lose(ctx, why);
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
    const struct packager_port port = {pub, on_record, on_unusable, on_led};
    const struct ladder_run_port ladder_port = {pub, on_ladder_settled, on_rung_frame, on_rung_dropped};
    packager_init(&pub->packager, ingest->loop, &ingest->settings, pub->stream, &port);
    ladder_run_init(&pub->ladder, ingest->loop, &ingest->settings, pub->stream, &ladder_port);
    char name[STREAM_NAME_LEN], key[PUBLISH_KEY_MAX + 1];
    split_key(full, name, sizeof name, key, sizeof key);
    const struct ingest_settings *settings = &ingest->settings;
    if (!name_join(pub->stream, app, name)) {
        pub->result = PUBLISH_BAD_NAME;
    } else if (!publish_key_admits(settings->publish_keys, settings->publish_key_count, pub->stream, key)) {
        pub->result = PUBLISH_DENIED;
    } else {
        make_way(ingest, pub->stream);
        pub->claim = ingest->port.claim(ingest->port.ctx, pub->stream, pub->peer, 0, on_claimed, on_claim_lost, pub);
    }
    if (!pub->claim)
        loop_timer_set(pub->tell_timer, 0);
    return pub;
}

/* --- tracks --- */

static struct track *find_track(const struct publisher *pub, enum track_kind kind, uint8_t number) {
    for (uint32_t i = 0; i < pub->track_count; i++)
        if (pub->tracks[i]->number == number && pub->tracks[i]->codec.kind == kind)
            return pub->tracks[i];
    return NULL;
}

static bool has_video(const struct publisher *pub) {
    for (uint32_t i = 0; i < pub->track_count; i++)
        if (pub->tracks[i]->codec.kind == TRACK_VIDEO && !pub->tracks[i]->ended && !pub->tracks[i]->silent)
            return true;
    return false;
}

static void refuse_track(struct publisher *pub, enum track_kind kind, uint8_t number, const char *why) {
    uint64_t bit = UINT64_C(1) << number % REFUSED_BITS;
    if (!(pub->refused[kind] & bit))
        log_warn("publish_track_ignored", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "kind",
                 LOG_STR(kind == TRACK_VIDEO ? "video" : "audio"), "track", LOG_INT(number), "why", LOG_STR(why));
    pub->refused[kind] |= bit;
}

/* NULL: there are as many as may be. */
static struct track *add_track(struct publisher *pub, enum track_kind kind, uint8_t number) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < pub->track_count; i++)
        count += pub->tracks[i]->codec.kind == kind;
    if (count == (kind == TRACK_VIDEO ? VIDEO_TRACKS_MAX : AUDIO_TRACKS_MAX))
        return NULL;
    struct track *track = calloc(1, sizeof *track);
    if (!track)
        abort();
    track->index = NONE;
    track->number = number;
    track->codec.kind = kind;
    pub->tracks[pub->track_count++] = track;
    return track;
}

static void remove_track(struct publisher *pub, uint32_t i) {
    lane_reset(&pub->tracks[i]->spare);
    free(pub->tracks[i]);
    memmove(&pub->tracks[i], &pub->tracks[i + 1], (--pub->track_count - i) * sizeof *pub->tracks);
}

static void remove_ended(struct publisher *pub) {
    for (uint32_t i = pub->track_count; i-- > 0;)
        if (pub->tracks[i]->ended)
            remove_track(pub, i);
}

/* --- starting --- */

static void add_up(struct publisher *pub) {
    const struct packager_counters *now = &pub->packager.counters, *before = &pub->counted;
    metric_add(&metrics[M_DROPPED], (int64_t)(now->dropped - before->dropped));
    metric_add(&metrics[M_DISCONTINUITIES], (int64_t)(now->discontinuities - before->discontinuities));
    metric_add(&metrics[M_MISALIGNED], (int64_t)(now->misaligned - before->misaligned));
    pub->counted = *now;
}

static uint32_t samples_of(const struct track *track, const struct publisher_frame *frame) {
    return frame->kind == TRACK_AUDIO ? codec_frame_samples(&track->codec, frame->data, frame->len) : 0;
}

static void live_frame(struct publisher *pub, struct track *track, const struct publisher_frame *frame,
                       int64_t now_us) {
    const struct lane_frame lane_frame = {.stamp = {frame->dts_us, frame->pts_us, samples_of(track, frame)},
                                          .independent = frame->independent,
                                          .capture_us = now_us,
                                          .len = frame->len,
                                          .data = frame->data};
    if (track == pub->lead && pub->stalled) {
        packager_break(&pub->packager);
        pub->stalled = false;
        packager_state(&pub->packager, STREAM_LIVE);
    }
    packager_frame(&pub->packager, track->index, &lane_frame);
}

/* Whether it goes before the other: the largest picture leads, and sound comes after all pictures. */
static bool goes_before(const struct track *a, const struct track *b) {
    uint32_t a_size = (uint32_t)a->codec.width * a->codec.height, b_size = (uint32_t)b->codec.width * b->codec.height;
    if (a->codec.kind != b->codec.kind)
        return a->codec.kind == TRACK_VIDEO;
    return a_size != b_size && a->codec.kind == TRACK_VIDEO ? a_size > b_size : a->number < b->number;
}

static bool can_begin(struct publisher *pub, struct track *track) {
    if (track->silent || track->ended)
        return false;
    if (probe_track(&pub->probe, track->codec.kind, track->number))
        return true;
    if (track->codec.kind == TRACK_AUDIO)
        return has_video(pub); /* it comes late, and is there from the start */
    track->missed++;
    if (track->missed == MISSED_MAX)
        refuse_track(pub, TRACK_VIDEO, track->number, "no picture to begin with comes beside the others' key frames");
    return false;
}

/* The tracks that the stream is to consist of, in order. */
static uint32_t choose(struct publisher *pub, struct track *chosen[TRACKS_MAX]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < pub->track_count; i++) {
        struct track *track = pub->tracks[i];
        track->index = NONE;
        lane_reset(&track->spare);
        if (!can_begin(pub, track))
            continue;
        uint32_t k = count++;
        for (; k > 0 && goes_before(track, chosen[k - 1]); k--)
            chosen[k] = chosen[k - 1];
        chosen[k] = track;
    }
    return count;
}

static struct packager_source source_of(const struct publisher *pub, struct track *track) {
    const struct probe_track *probed = probe_track(&pub->probe, track->codec.kind, track->number);
    track->reorders |= probed && probed->reorders;
    return (struct packager_source){.codec = &track->codec,
                                    .config = track->config,
                                    .config_len = track->config_len,
                                    .language = track->language,
                                    .reorders = track->reorders,
                                    .rate_milli = probed ? probed->rate_milli : 0};
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

/* Behind the picture. Their times are its own, so they seem to reorder as it does. Returns how many. */
static uint32_t add_rungs(const struct publisher *pub, struct packager_source sources[TRACKS_MAX], uint32_t count) {
    const struct ladder_run *ladder = &pub->ladder;
    if (count + ladder->count > TRACKS_MAX)
        return 0;
    if (ladder->count)
        memmove(sources + 1 + ladder->count, sources + 1, (count - 1) * sizeof *sources);
    for (uint32_t i = 0; i < ladder->count; i++) {
        const struct ladder_run_rung *rung = &ladder->rungs[i];
        sources[1 + i] = (struct packager_source){.codec = &rung->codec,
                                                  .config = rung->output.config,
                                                  .config_len = rung->output.config_len,
                                                  .language = "",
                                                  .reorders = sources[0].reorders,
                                                  .rate_milli = sources[0].rate_milli,
                                                  .rung = rung->number};
    }
    return ladder->count;
}

/* What was collected goes on its way. Sound before the leading picture is left out. */
static void pour_out(struct publisher *pub, int64_t from_us) {
    struct publisher_frame frame;
    int64_t arrived_us;
    while (pub->state == LIVE && probe_take(&pub->probe, &frame, &arrived_us)) {
        struct track *track = find_track(pub, frame.kind, frame.track);
        bool beside = frame.kind == TRACK_VIDEO && track != pub->lead;
        if (track && track->index != NONE && (beside || frame.dts_us >= from_us))
            live_frame(pub, track, &frame, arrived_us);
        probe_taken(&pub->probe);
    }
    probe_reset(&pub->probe);
}

/* The probe knows what the stream is: opens it and goes on with what was collected. */
static void start(struct publisher *pub) {
    struct track *chosen[TRACKS_MAX];
    struct packager_source sources[TRACKS_MAX];
    if (ladder_run_busy(&pub->ladder))
        return;
    uint32_t count = choose(pub, chosen);
    const struct probe_track *lead = count ? probe_track(&pub->probe, chosen[0]->codec.kind, chosen[0]->number) : NULL;
    for (uint32_t i = 0; i < count; i++)
        sources[i] = source_of(pub, chosen[i]);
    if (lead && !ladder_ready(pub, sources, count, chosen[0]->number))
        return;
    uint32_t rungs = lead ? add_rungs(pub, sources, count) : 0;
    if (!lead || packager_open(&pub->packager, sources, count + rungs, lead->start_dts_us, lead->arrived_us)) {
        lose(pub, "codec configuration not usable");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        chosen[i]->index = i ? i + rungs : 0;
        chosen[i]->missed = 0;
    }
    ladder_run_begin(&pub->ladder);
    pub->lead = chosen[0];
    pub->state = LIVE;
    pub->reinit = pub->stalled = false;
    pub->followed_us = pub->last_media_us;
    pour_out(pub, lead->start_dts_us);
}

static void carry(struct publisher *pub, const struct track *track, const struct lane *lane) {
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct lane_frame *f = lane_at(lane, i);
        struct publisher_frame frame = {.kind = track->codec.kind,
                                        .track = track->number,
                                        .dts_us = f->stamp.dts_us,
                                        .pts_us = f->stamp.pts_us,
                                        .independent = f->independent,
                                        .data = f->data,
                                        .len = f->len};
        probe_push(&pub->probe, &frame, f->capture_us);
    }
}

/* To probing. What waits for the leading track, or came of tracks that are no part of the stream, is not lost with it:
 * where a track comes before the leading one, the key frame that it is to begin with has been here already. */
static void restart(struct publisher *pub) {
    probe_reset(&pub->probe);
    for (uint32_t i = 0; i < pub->track_count; i++) {
        struct track *track = pub->tracks[i];
        bool open = track->index != NONE && !track->changed;
        if (track != pub->lead && !track->ended && !track->silent)
            carry(pub, track, open ? &pub->packager.tracks[track->index].lane : &track->spare);
    }
    packager_break(&pub->packager);
    ladder_run_drain(&pub->ladder);
    for (uint32_t i = 0; i < pub->track_count; i++) {
        pub->tracks[i]->index = NONE;
        pub->tracks[i]->changed = false;
    }
    remove_ended(pub);
    pub->lead = NULL;
    pub->reinit = false;
    pub->state = PROBING;
    add_up(pub);
}

static void probe_step(struct publisher *pub, int64_t now_us) {
    struct probe_known known = {.video_announced = pub->metadata.has_video,
                                .audio_announced = pub->metadata.has_audio,
                                .announced_all = pub->metadata.complete,
                                .video_tracks = pub->metadata.video_tracks,
                                .audio_tracks = pub->metadata.audio_tracks,
                                .metadata_rate = pub->metadata.frame_rate};
    for (uint32_t i = 0; i < pub->track_count; i++) {
        const struct track *track = pub->tracks[i];
        if (!track->silent && track->missed < MISSED_MAX)
            known.tracks[known.track_count++] =
                (struct probe_known_track){track->codec.kind, track->number, track->codec.fps_milli};
    }
    switch (probe_check(&pub->probe, &known, now_us)) {
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

/* Rungs are ready, or have come to their end. */
static void on_ladder_settled(void *ctx) {
    struct publisher *pub = ctx;
    if (pub->closing)
        finish(pub);
    else if (pub->state == PROBING && pub->probe.count)
        probe_step(pub, clock_utc_us());
}

/* --- media in --- */

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    pub->metadata = *metadata;
}

/* The stream changes: at once when it can't go on without that, else at the leading picture's next key frame. */
static void change(struct publisher *pub, const struct track *track) {
    if (track == pub->lead || (pub->lead && pub->lead->codec.kind == TRACK_AUDIO))
        restart(pub);
    else
        pub->reinit = true;
}

static bool is_same(const struct track *track, const struct publisher_config *config) {
    return config->codec == track->codec.codec && config->len == track->config_len &&
           !memcmp(track->config, config->data, config->len) && !strcmp(track->language, config->language);
}

static void set_config(struct publisher *pub, struct track *track, const struct publisher_config *config,
                       const struct codec_info *codec) {
    bool same = is_same(track, config) && !track->ended;
    if (same)
        return;
    track->ended = track->silent = false;
    track->missed = 0;
    if (pub->state == LIVE) {
        track->changed = track->index != NONE;
        lane_reset(&track->spare);
        change(pub, track);
    } else if (codec->kind == TRACK_VIDEO && !ladder_run_drain(&pub->ladder)) {
        ladder_run_stop(&pub->ladder); /* it was begun for another */
    }
    track->codec = *codec;
    memcpy(track->config, config->data, config->len);
    track->config_len = (uint32_t)config->len;
    snprintf(track->language, sizeof track->language, "%s", config->language);
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    const char *why = "codec configuration is too long";
    struct codec_info codec;
    if (pub->state != PROBING && pub->state != LIVE)
        return;
    if (config->len > CONFIG_MAX || codec_describe(config->codec, config->data, config->len, &codec, &why)) {
        if (config->track)
            refuse_track(pub, config->codec < CODEC_AAC ? TRACK_VIDEO : TRACK_AUDIO, config->track, why);
        else
            lose(pub, why);
        return;
    }
    struct track *track = find_track(pub, codec.kind, config->track);
    if (!track)
        track = add_track(pub, codec.kind, config->track);
    if (!track)
        refuse_track(pub, codec.kind, config->track, "there are more tracks than a stream may have");
    else
        set_config(pub, track, config, &codec);
}

/* A track that is no part of the stream: the latest that it could begin with is kept. */
static void spare_frame(struct publisher *pub, struct track *track, const struct publisher_frame *frame,
                        int64_t now_us) {
    const struct lane_frame lane_frame = {.stamp = {frame->dts_us, frame->pts_us, 0},
                                          .independent = frame->independent,
                                          .capture_us = now_us,
                                          .len = frame->len,
                                          .data = frame->data};
    bool video = track->codec.kind == TRACK_VIDEO;
    if (video && (frame->independent || track->spare.count == LANE_FRAMES_MAX))
        lane_pop(&track->spare, track->spare.count);
    if (video && !frame->independent && !track->spare.count)
        return;
    lane_push(&track->spare, &lane_frame);
    pub->reinit = true;
}

static void take_live(struct publisher *pub, struct track *track, const struct publisher_frame *frame, int64_t now_us) {
    bool lead = track == pub->lead;
    if (track->index == NONE || track->changed) {
        if (track->missed >= MISSED_MAX)
            return;
        if (pub->lead->codec.kind == TRACK_AUDIO)
            restart(pub); /* a picture has come */
        else
            spare_frame(pub, track, frame, now_us);
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

static void note_media(struct publisher *pub, const struct track *track) {
    bool leads = pub->lead ? track == pub->lead : track->codec.kind == TRACK_VIDEO || !has_video(pub);
    if (leads)
        pub->last_media_us = loop_now_us(pub->ingest->loop);
    else if (track->codec.kind == TRACK_VIDEO)
        pub->followed_us = loop_now_us(pub->ingest->loop);
}

/* Whether the frame is what it says; `frame->independent` by what is in it. */
static bool frame_ok(const struct track *track, struct publisher_frame *frame) {
    if (track->codec.kind == TRACK_AUDIO)
        frame->independent = true;
    if (track->codec.codec == CODEC_AV1 || track->codec.codec == CODEC_VP9)
        frame->dts_us = frame->pts_us; /* they reorder within the frame */
    if (!frame->len || frame->pts_us < frame->dts_us)
        return false;
    return codec_frame_ok(&track->codec, frame->data, frame->len, &frame->independent);
}

/* How large VP9's pictures are only key frames tell: another size is another configuration. */
static void renew(struct publisher *pub, struct track *track, const struct publisher_frame *frame) {
    if (!frame->independent || !codec_info_renew(&track->codec, frame->data, frame->len) || pub->state != LIVE ||
        track->index == NONE)
        return;
    if (!track->changed)
        lane_reset(&track->spare);
    track->changed = true;
    change(pub, track);
}

/* How long Opus's frames are only frames tell. */
static void learn(struct track *track, const struct publisher_frame *frame) {
    uint32_t samples =
        track->codec.codec == CODEC_OPUS ? codec_frame_samples(&track->codec, frame->data, frame->len) : 0;
    if (samples)
        track->codec.frame_samples = samples;
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    if (pub->state != PROBING && pub->state != LIVE)
        return;
    struct publisher_frame checked = *frame;
    struct track *track = find_track(pub, frame->kind, frame->track);
    metric_add(&metrics[frame->kind == TRACK_VIDEO ? M_VIDEO : M_AUDIO], 1);
    if (!track || !frame_ok(track, &checked)) {
        bool refused = !track && pub->refused[frame->kind] & UINT64_C(1) << frame->track % REFUSED_BITS;
        metric_add(&metrics[M_DROPPED], 1);
        if (!refused && ++pub->bad_frames > BAD_FRAMES_MAX)
            lose(pub, "malformed media");
        return;
    }
    pub->bad_frames = 0;
    if (track->ended)
        return;
    track->silent = false;
    note_media(pub, track);
    renew(pub, track, &checked);
    int64_t now_us = clock_utc_us();
    if (pub->state == LIVE)
        take_live(pub, track, &checked, now_us);
    if (pub->state != PROBING)
        return;
    pub->ingest->port.touch(pub->ingest->port.ctx, pub->claim);
    learn(track, &checked);
    probe_push(&pub->probe, &checked, now_us);
    probe_step(pub, now_us);
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t number) {
    struct track *track = find_track(pub, kind, number);
    if (!track || track->ended || (pub->state != PROBING && pub->state != LIVE))
        return;
    track->ended = true;
    log_info("track_end", "stream", LOG_STR(pub->stream), "kind", LOG_STR(kind == TRACK_VIDEO ? "video" : "audio"),
             "track", LOG_INT(number));
    if (pub->state == LIVE)
        change(pub, track);
    else
        remove_ended(pub);
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
    if (pub->closing)
        return;
    if (pub->state == LIVE || pub->state == PROBING)
        live_names_hold(pub->ingest->live, pub->stream, pub, pub->last_media_us);
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
        if (pub->packager.grant.epoch) {
            metric_add(&metrics[M_PUBLISHERS], -1);
            log_info("publish_end", "stream", LOG_STR(pub->stream), "peer", LOG_STR(pub->peer), "clean",
                     LOG_INT(pub->clean), "why", LOG_STR(pub->why[0] ? pub->why : NULL));
        }
        pub->ingest->port.release(pub->ingest->port.ctx, pub->claim, pub->clean);
    }
    add_up(pub);
    list_remove(&pub->link);
    loop_timer_destroy(pub->tell_timer);
    while (pub->track_count)
        remove_track(pub, pub->track_count - 1);
    ladder_run_finish(&pub->ladder);
    packager_finish(&pub->packager);
    probe_reset(&pub->probe);
    free(pub);
}

void publisher_close(struct publisher *pub, bool clean) {
    if (!pub)
        return;
    pub->clean = clean;
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
