#include "ingest/probe.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/timeline.h"

enum {
    VIDEO_FRAMES_SURE = 3,     /* when a nominal rate is announced and they agree with it */
    VIDEO_FRAMES_MEASURE = 12, /* when it must be measured */
    AUDIO_FRAMES = 3,
    MISSING_TRACK_US = 1000000, /* so long an announced track, or a second one, is waited for */
    ALONE_US = 300000,          /* so long a second one that nobody announced */
    MEASURE_US = 800000,
    HOPELESS_US = 15000000,
};

static const uint32_t nominal_rates[] = {5000,  7500,  10000, 12500, 15000, 20000, 23976, 24000,  25000,
                                         29970, 30000, 48000, 50000, 59940, 60000, 90000, 100000, 120000};

void probe_push(struct probe *probe, const struct publisher_frame *frame, int64_t now_us) {
    if (frame->kind == TRACK_VIDEO && !probe->video_count && !frame->independent)
        return;
    if (probe->count == PROBE_FRAMES_MAX || probe->bytes + frame->len > PROBE_BYTES_MAX)
        probe_reset(probe); /* nothing came of it: begin again */
    if (!probe->count)
        probe->first_arrived_us = now_us;
    struct probe_frame *held = &probe->frames[probe->count++];
    held->frame = *frame;
    held->arrived_us = now_us;
    uint8_t *copy = malloc(frame->len ? frame->len : 1);
    if (!copy)
        abort();
    memcpy(copy, frame->data, frame->len);
    held->frame.data = copy;
    probe->bytes += frame->len;
    if (frame->kind == TRACK_VIDEO) {
        probe->video_count++;
        probe->b_frames |= frame->pts_us > frame->dts_us;
    } else {
        probe->audio_count++;
    }
}

static const struct probe_frame *find(const struct probe *probe, enum track_kind kind, bool last) {
    const struct probe_frame *found = NULL;
    for (uint32_t i = 0; i < probe->count && (last || !found); i++)
        if (probe->frames[i].frame.kind == kind)
            found = &probe->frames[i];
    return found;
}

/* Do the collected frames keep to `rate_milli`, as far as milliseconds, RTMP's, tell? Each frame may be off by the
 * rounding. */
static bool keeps_to(const struct probe *probe, uint32_t rate_milli) {
    int64_t first_us = find(probe, TRACK_VIDEO, false)->frame.dts_us;
    uint32_t n = 0;
    for (uint32_t i = 0; i < probe->count; i++) {
        if (probe->frames[i].frame.kind != TRACK_VIDEO)
            continue;
        int64_t expected_us = (int64_t)n++ * 1000000000 / rate_milli;
        if (llabs(probe->frames[i].frame.dts_us - first_us - expected_us) > 1500)
            return false;
    }
    return true;
}

static uint32_t measure(const struct probe *probe) {
    int64_t span_us = find(probe, TRACK_VIDEO, true)->frame.dts_us - find(probe, TRACK_VIDEO, false)->frame.dts_us;
    uint64_t rate_milli = span_us > 0 ? (probe->video_count - 1) * 1000000000ull / (uint64_t)span_us : 0;
    return rate_milli >= TIMELINE_RATE_MILLI_MIN && rate_milli <= TIMELINE_RATE_MILLI_MAX ? (uint32_t)rate_milli : 0;
}

static uint32_t nominal_match(const struct probe *probe) {
    for (uint32_t i = 0; i < sizeof nominal_rates / sizeof *nominal_rates; i++)
        if (keeps_to(probe, nominal_rates[i]))
            return nominal_rates[i];
    return 0;
}

static uint32_t announced_match(const struct probe *probe, const struct probe_known *known) {
    double metadata = known->metadata_rate;
    uint32_t rates[] = {metadata >= 1 && metadata <= 240 ? (uint32_t)(metadata * 1000 + 0.5) : 0,
                        known->sps_rate_milli};
    for (uint32_t i = 0; i < 2; i++)
        if (rates[i] >= 1000 && rates[i] <= TIMELINE_RATE_MILLI_MAX && keeps_to(probe, rates[i]))
            return rates[i];
    return 0;
}

static bool video_ready(struct probe *probe, const struct probe_known *known, int64_t waited_us) {
    if (probe->video_count < 2 || (probe->video_count < VIDEO_FRAMES_SURE && waited_us < MEASURE_US))
        return false;
    probe->rate_milli = announced_match(probe, known);
    if (probe->rate_milli)
        return true;
    if (probe->video_count < VIDEO_FRAMES_MEASURE && waited_us < MEASURE_US)
        return false;
    probe->rate_milli = nominal_match(probe);
    if (!probe->rate_milli)
        probe->rate_milli = measure(probe); /* good enough to plan parts; the timeline finds that it isn't a grid */
    return true;
}

/* By the clock or by the media's own time, whichever is more: a burst of media need not be waited out. */
static int64_t waited(const struct probe *probe, int64_t now_us) {
    int64_t media_us = probe->frames[probe->count - 1].frame.dts_us - probe->frames[0].frame.dts_us;
    int64_t clock_us = now_us - probe->first_arrived_us;
    return media_us > clock_us ? media_us : clock_us;
}

enum probe_verdict probe_check(struct probe *probe, const struct probe_known *known, int64_t now_us) {
    if (!probe->count)
        return PROBE_MORE;
    int64_t waited_us = waited(probe, now_us);
    int64_t patience_us = known->video_announced && known->audio_announced ? MISSING_TRACK_US : ALONE_US;
    bool video = known->video_config && probe->video_count, audio = known->audio_config;
    if (known->video_config && !probe->video_count)
        return now_us - probe->first_arrived_us > HOPELESS_US ? PROBE_HOPELESS
                                                              : PROBE_MORE; /* waiting for an independent frame */
    bool video_settled = video || (known->announced_all && !known->video_announced);
    bool audio_settled = audio || (known->announced_all && !known->audio_announced);
    if (!(video_settled && audio_settled) && waited_us < patience_us)
        return PROBE_MORE;
    if (video)
        return video_ready(probe, known, waited_us) ? PROBE_READY : PROBE_MORE;
    if (audio && known->video_announced && waited_us < MISSING_TRACK_US)
        return PROBE_MORE;
    return audio && probe->audio_count >= AUDIO_FRAMES      ? PROBE_READY
           : now_us - probe->first_arrived_us > HOPELESS_US ? PROBE_HOPELESS
                                                            : PROBE_MORE;
}

uint32_t probe_rate_milli(const struct probe *probe) {
    return probe->rate_milli;
}

int64_t probe_start_dts_us(const struct probe *probe, bool has_video) {
    return find(probe, has_video ? TRACK_VIDEO : TRACK_AUDIO, false)->frame.dts_us;
}

int64_t probe_start_us(const struct probe *probe, bool has_video) {
    return find(probe, has_video ? TRACK_VIDEO : TRACK_AUDIO, false)->arrived_us;
}

bool probe_take(struct probe *probe, struct publisher_frame *ret_frame, int64_t *ret_arrived_us) {
    if (probe->taken == probe->count)
        return false;
    *ret_frame = probe->frames[probe->taken].frame;
    *ret_arrived_us = probe->frames[probe->taken].arrived_us;
    return true;
}

void probe_taken(struct probe *probe) {
    struct probe_frame *held = &probe->frames[probe->taken++];
    free((void *)(uintptr_t)held->frame.data);
    held->frame.data = NULL;
}

void probe_reset(struct probe *probe) {
    while (probe->taken < probe->count)
        probe_taken(probe);
    probe->count = probe->taken = probe->video_count = probe->audio_count = 0;
    probe->bytes = 0;
    probe->b_frames = false;
}
