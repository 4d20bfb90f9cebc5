#include "ingest/track.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "ingest/sound_run.h"

enum {
    OFFSET_MAX_US = 10000000, /* from decoding to presentation */
    MISSED_MAX = 3,           /* so often a track is looked for in vain, then it is left out */
    VIDEO_TRACKS_MAX = 6,
    AUDIO_TRACKS_MAX = 4,
    REFUSED_BITS = 64,
};

/* --- all of them --- */

void tracks_init(struct tracks *tracks, const char *stream, const char *peer) {
    *tracks = (struct tracks){.stream = stream, .peer = peer};
}

static void remove_at(struct tracks *tracks, uint32_t i) {
    lane_reset(&tracks->items[i]->spare);
    sound_run_destroy(tracks->items[i]->sound);
    free(tracks->items[i]->config);
    free(tracks->items[i]);
    memmove(&tracks->items[i], &tracks->items[i + 1], (--tracks->count - i) * sizeof *tracks->items);
}

void tracks_finish(struct tracks *tracks) {
    while (tracks->count)
        remove_at(tracks, tracks->count - 1);
}

void tracks_remove_ended(struct tracks *tracks) {
    for (uint32_t i = tracks->count; i-- > 0;)
        if (tracks->items[i]->ended)
            remove_at(tracks, i);
}

struct track *tracks_find(const struct tracks *tracks, enum track_kind kind, uint8_t number) {
    for (uint32_t i = 0; i < tracks->count; i++)
        if (tracks->items[i]->number == number && tracks->items[i]->codec.kind == kind)
            return tracks->items[i];
    return NULL;
}

struct track *tracks_add(struct tracks *tracks, enum track_kind kind, uint8_t number) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < tracks->count; i++)
        count += tracks->items[i]->codec.kind == kind;
    if (count == (kind == TRACK_VIDEO ? VIDEO_TRACKS_MAX : AUDIO_TRACKS_MAX))
        return NULL;
    struct track *track = calloc(1, sizeof *track);
    if (!track)
        abort();
    track->index = TRACK_NOWHERE;
    track->number = number;
    track->codec.kind = kind;
    tracks->items[tracks->count++] = track;
    return track;
}

static uint64_t refused_bit(uint8_t number) {
    return UINT64_C(1) << number % REFUSED_BITS;
}

bool tracks_refused(const struct tracks *tracks, enum track_kind kind, uint8_t number) {
    return tracks->refused[kind] & refused_bit(number);
}

void tracks_refuse(struct tracks *tracks, enum track_kind kind, uint8_t number, const char *why) {
    if (!tracks_refused(tracks, kind, number))
        log_warn("publish_track_ignored", "stream", LOG_STR(tracks->stream), "peer", LOG_STR(tracks->peer), "kind",
                 LOG_STR(kind == TRACK_VIDEO ? "video" : "audio"), "track", LOG_INT(number), "why", LOG_STR(why));
    tracks->refused[kind] |= refused_bit(number);
}

/* --- which of them --- */

static bool is_there(const struct track *track) {
    return !track->silent && !track->ended && !track->unusable;
}

static bool is_own_video(const struct track *track) {
    return track->codec.kind == TRACK_VIDEO && !track->joined;
}

bool tracks_have_video(const struct tracks *tracks) {
    for (uint32_t i = 0; i < tracks->count; i++)
        if (is_own_video(tracks->items[i]) && is_there(tracks->items[i]))
            return true;
    return false;
}

/* Whether it goes before the other: the largest picture leads, sound comes after all pictures, and what has joined
 * after the publisher's own. */
static bool goes_before(const struct track *a, const struct track *b) {
    uint32_t a_size = (uint32_t)a->codec.width * a->codec.height, b_size = (uint32_t)b->codec.width * b->codec.height;
    if (a->codec.kind != b->codec.kind)
        return a->codec.kind == TRACK_VIDEO;
    if (a->joined != b->joined)
        return b->joined;
    return a_size != b_size && a->codec.kind == TRACK_VIDEO ? a_size > b_size : a->number < b->number;
}

struct track *tracks_leading(const struct tracks *tracks) {
    struct track *lead = NULL;
    for (uint32_t i = 0; i < tracks->count; i++) {
        struct track *track = tracks->items[i];
        if (is_there(track) && !track->joined && !track_is_given_up(track) && (!lead || goes_before(track, lead)))
            lead = track;
    }
    return lead;
}

bool tracks_in_hand(const struct tracks *tracks, const struct probe *probe) {
    for (uint32_t i = 0; i < tracks->count; i++) {
        const struct track *track = tracks->items[i];
        bool wanted = is_own_video(track) && is_there(track) && !track_is_given_up(track);
        if (wanted && !probe_track(probe, TRACK_VIDEO, track->number))
            return false;
    }
    return true;
}

void tracks_tell(const struct tracks *tracks, struct probe_known *known) {
    for (uint32_t i = 0; i < tracks->count; i++) {
        const struct track *track = tracks->items[i];
        if (!track->silent && !track->joined && !track->unusable && !track_is_given_up(track))
            known->tracks[known->track_count++] =
                (struct probe_known_track){track->codec.kind, track->number, track->codec.fps_milli};
    }
}

static bool can_begin(struct tracks *tracks, const struct probe *probe, struct track *track) {
    if (!is_there(track))
        return false;
    if (track->joined) /* what there is of it is in its lane */
        return track->codec.kind == TRACK_AUDIO || tracks_have_video(tracks);
    if (probe_track(probe, track->codec.kind, track->number))
        return true;
    if (track->codec.kind == TRACK_AUDIO)
        return tracks_have_video(tracks); /* it comes late, and is there from the start */
    track->missed++;
    if (track->missed == MISSED_MAX)
        tracks_refuse(tracks, TRACK_VIDEO, track->number,
                      "no picture to begin with comes beside the others' key frames");
    return false;
}

uint32_t tracks_choose(struct tracks *tracks, const struct probe *probe, struct track *chosen[TRACKS_MAX]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < tracks->count; i++) {
        struct track *track = tracks->items[i];
        track->index = TRACK_NOWHERE;
        if (!track->joined)
            lane_reset(&track->spare);
        if (!can_begin(tracks, probe, track))
            continue;
        uint32_t k = count++;
        for (; k > 0 && goes_before(track, chosen[k - 1]); k--)
            chosen[k] = chosen[k - 1];
        chosen[k] = track;
    }
    return count;
}

void tracks_take_out(struct tracks *tracks) {
    for (uint32_t i = 0; i < tracks->count; i++) {
        tracks->items[i]->index = TRACK_NOWHERE;
        tracks->items[i]->changed = false;
        sound_run_destroy(tracks->items[i]->sound);
        tracks->items[i]->sound = NULL;
    }
    tracks_remove_ended(tracks);
}

/* --- one --- */

bool track_is_given_up(const struct track *track) {
    return track->missed >= MISSED_MAX;
}

bool track_is_configured(const struct track *track, const struct publisher_config *config) {
    return config->codec == track->codec.codec && config->len == track->config_len &&
           !memcmp(track->config, config->data, config->len) && !strcmp(track->language, config->language);
}

void track_configure(struct track *track, const struct publisher_config *config, const struct codec_info *codec) {
    uint8_t *copy = malloc(config->len ? config->len : 1);
    if (!copy)
        abort();
    memcpy(copy, config->data, config->len);
    free(track->config);
    track->codec = *codec;
    track->config = copy;
    track->config_len = (uint32_t)config->len;
    snprintf(track->language, sizeof track->language, "%s", config->language);
}

/* To be shown before it is decoded, or long after: when it is decoded, for want of anything better. */
static void repair_offset(struct publisher_frame *frame) {
    int64_t offset_us = frame->pts_us - frame->dts_us;
    if (offset_us < 0 || offset_us > OFFSET_MAX_US)
        frame->pts_us = frame->dts_us;
}

bool track_check(const struct track *track, struct publisher_frame *frame) {
    if (track->codec.kind == TRACK_AUDIO)
        frame->independent = true;
    if (track->codec.codec == CODEC_AV1 || track->codec.codec == CODEC_VP9)
        frame->dts_us = frame->pts_us; /* they reorder within the frame */
    repair_offset(frame);
    return frame->len && codec_frame_ok(&track->codec, frame->data, frame->len, &frame->independent);
}

void track_learn(struct track *track, const struct publisher_frame *frame) {
    uint32_t samples =
        track->codec.codec == CODEC_OPUS ? codec_frame_samples(&track->codec, frame->data, frame->len) : 0;
    if (samples)
        track->codec.frame_samples = samples;
}

void track_find_out(struct track *track, const struct probe *probe) {
    const struct probe_track *probed = probe_track(probe, track->codec.kind, track->number);
    track->rate_milli = probed ? probed->rate_milli : 0;
    track->reorders |= probed && probed->reorders;
}

struct packager_source track_source(struct track *track, const struct probe *probe, bool known) {
    const struct probe_track *probed = probe_track(probe, track->codec.kind, track->number);
    track->reorders |= probed && probed->reorders;
    return (struct packager_source){.codec = &track->codec,
                                    .config = track->config,
                                    .config_len = track->config_len,
                                    .language = track->language,
                                    .reorders = track->reorders,
                                    .joined = track->joined,
                                    .rate_milli = known || track->joined ? track->rate_milli
                                                  : probed               ? probed->rate_milli
                                                                         : 0};
}

struct lane_frame track_lane_frame(const struct track *track, const struct publisher_frame *frame, int64_t now_us) {
    uint32_t samples = frame->kind == TRACK_AUDIO ? codec_frame_samples(&track->codec, frame->data, frame->len) : 0;
    return (struct lane_frame){.stamp = {frame->dts_us, frame->pts_us, samples, frame->independent},
                               .independent = frame->independent,
                               .capture_us = now_us,
                               .len = frame->len,
                               .data = frame->data};
}

bool track_spare(struct track *track, const struct publisher_frame *frame, int64_t now_us) {
    const struct lane_frame lane_frame = track_lane_frame(track, frame, now_us);
    bool video = track->codec.kind == TRACK_VIDEO;
    if (video)
        lane_pop(&track->spare, frame->independent ? track->spare.count : lane_excess(&track->spare, frame->len));
    if (video && !frame->independent && !track->spare.count)
        return false;
    lane_push(&track->spare, &lane_frame);
    return true;
}

uint32_t track_begin(const struct track *track, int64_t from_us) {
    uint32_t i = 0;
    for (; i < track->spare.count; i++) {
        const struct lane_frame *frame = lane_at(&track->spare, i);
        if (frame->independent && frame->stamp.pts_us >= from_us)
            break;
    }
    return i;
}

void track_keep(struct track *track, const struct lane *lane) {
    for (uint32_t i = 0; i < lane->count; i++)
        lane_push(&track->spare, lane_at(lane, i));
}

void track_carry(const struct track *track, const struct lane *lane, struct probe *probe) {
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct lane_frame *f = lane_at(lane, i);
        struct publisher_frame frame = {.kind = track->codec.kind,
                                        .track = track->number,
                                        .dts_us = f->stamp.dts_us,
                                        .pts_us = f->stamp.pts_us,
                                        .independent = f->independent,
                                        .data = f->data,
                                        .len = f->len};
        probe_push(probe, &frame, f->capture_us);
    }
}
