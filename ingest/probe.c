#include "ingest/probe.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/timeline.h"

enum {
    VIDEO_FRAMES_SURE = 3,     /* when a nominal rate is announced and they agree with it */
    VIDEO_FRAMES_MEASURE = 12, /* when it must be measured */
    AUDIO_FRAMES = 3,
    MISSING_TRACK_US = 1000000, /* so long an announced track, or one that has shown its configuration, is waited for */
    ALONE_US = 300000,          /* so long a second one that nobody announced */
    MEASURE_US = 800000,
    HOPELESS_US = 15000000,
};

static const uint32_t nominal_rates[] = {5000,  7500,  10000, 12500, 15000, 20000, 23976, 24000,  25000,
                                         29970, 30000, 48000, 50000, 59940, 60000, 90000, 100000, 120000};

static struct probe_track *find(struct probe *probe, enum track_kind kind, uint8_t number) {
    for (uint32_t i = 0; i < probe->track_count; i++)
        if (probe->tracks[i].kind == kind && probe->tracks[i].number == number)
            return &probe->tracks[i];
    return NULL;
}

const struct probe_track *probe_track(const struct probe *probe, enum track_kind kind, uint8_t number) {
    return find((struct probe *)(uintptr_t)probe, kind, number);
}

const struct publisher_frame *probe_first(const struct probe *probe, enum track_kind kind, uint8_t number) {
    for (uint32_t i = 0; i < probe->count; i++)
        if (probe->frames[i].frame.kind == kind && probe->frames[i].frame.track == number)
            return &probe->frames[i].frame;
    return NULL;
}

static struct probe_track *find_or_add(struct probe *probe, const struct publisher_frame *frame, int64_t now_us) {
    struct probe_track *track = find(probe, frame->kind, frame->track);
    if (track || probe->track_count == TRACKS_MAX || (frame->kind == TRACK_VIDEO && !frame->independent))
        return track;
    track = &probe->tracks[probe->track_count++];
    *track = (struct probe_track){.kind = frame->kind,
                                  .number = frame->track,
                                  .start_dts_us = frame->dts_us,
                                  .arrived_us = now_us};
    return track;
}

static struct probe_frame *next_slot(struct probe *probe) {
    enum { FRAMES_MIN = 16 };
    if (probe->count == probe->cap) {
        probe->cap = probe->cap ? 2 * probe->cap : FRAMES_MIN;
        probe->frames = realloc(probe->frames, probe->cap * sizeof *probe->frames);
        if (!probe->frames)
            abort();
    }
    return &probe->frames[probe->count++];
}

void probe_push(struct probe *probe, const struct publisher_frame *frame, int64_t now_us) {
    if (probe->count == PROBE_FRAMES_MAX || probe->bytes + frame->len > PROBE_BYTES_MAX)
        probe_reset(probe); /* nothing came of it: begin again */
    struct probe_track *track = find_or_add(probe, frame, now_us);
    if (!track)
        return;
    if (!probe->count)
        probe->first_arrived_us = now_us;
    struct probe_frame *held = next_slot(probe);
    held->frame = *frame;
    held->arrived_us = now_us;
    uint8_t *copy = malloc(frame->len ? frame->len : 1);
    if (!copy)
        abort();
    memcpy(copy, frame->data, frame->len);
    held->frame.data = copy;
    probe->bytes += frame->len;
    track->count++;
    track->end_dts_us = frame->dts_us;
    track->reorders |= frame->pts_us > frame->dts_us;
}

static bool is_of(const struct probe_frame *held, const struct probe_track *track) {
    return held->frame.kind == track->kind && held->frame.track == track->number;
}

static bool near_us(int64_t a_us, int64_t b_us) {
    return llabs(a_us - b_us) <= 1500;
}

/* Do the collected frames keep to `rate_milli`, as far as milliseconds, RTMP's, tell? Each frame may be off by the
 * rounding. Behind the first, whole frames may be missing: leading pictures of an open GOP that is joined (`gap`). */
static bool keeps_to(const struct probe *probe, const struct probe_track *track, uint32_t rate_milli, bool gap) {
    int64_t from_us = track->start_dts_us;
    uint32_t n = 0;
    for (uint32_t i = 0, seen = 0; i < probe->count; i++) {
        if (!is_of(&probe->frames[i], track))
            continue;
        int64_t since_us = probe->frames[i].frame.dts_us - from_us;
        if (gap && seen == 1 && since_us > 0 && since_us < MEASURE_US)
            n = (uint32_t)((since_us * rate_milli + 500000000) / 1000000000);
        if (!near_us(since_us, (int64_t)n * 1000000000 / rate_milli))
            return false;
        n++;
        seen++;
    }
    return !gap || track->count > VIDEO_FRAMES_SURE;
}

static uint32_t measure(const struct probe_track *track) {
    int64_t span_us = track->end_dts_us - track->start_dts_us;
    uint64_t rate_milli = span_us > 0 ? (track->count - 1) * 1000000000ull / (uint64_t)span_us : 0;
    return rate_milli >= TIMELINE_RATE_MILLI_MIN && rate_milli <= TIMELINE_RATE_MILLI_MAX ? (uint32_t)rate_milli : 0;
}

static uint32_t nominal_match(const struct probe *probe, const struct probe_track *track) {
    enum { RATES = sizeof nominal_rates / sizeof *nominal_rates };
    for (uint32_t i = 0; i < 2 * RATES; i++)
        if (keeps_to(probe, track, nominal_rates[i % RATES], i >= RATES))
            return nominal_rates[i % RATES];
    return 0;
}

static uint32_t announced_match(const struct probe *probe, const struct probe_track *track, double metadata,
                                uint32_t config_rate_milli) {
    uint32_t rates[] = {metadata >= 1 && metadata <= 240 ? (uint32_t)(metadata * 1000 + 0.5) : 0, config_rate_milli};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t rate = rates[i % 2];
        if (rate >= 1000 && rate <= TIMELINE_RATE_MILLI_MAX && keeps_to(probe, track, rate, i >= 2))
            return rate;
    }
    return 0;
}

static bool video_ready(struct probe *probe, struct probe_track *track, double metadata_rate,
                        uint32_t config_rate_milli, int64_t waited_us) {
    if (track->count < 2 || (track->count < VIDEO_FRAMES_SURE && waited_us < MEASURE_US))
        return false;
    track->rate_milli = announced_match(probe, track, metadata_rate, config_rate_milli);
    if (track->rate_milli)
        return true;
    if (track->count < VIDEO_FRAMES_MEASURE && waited_us < MEASURE_US)
        return false;
    track->rate_milli = nominal_match(probe, track);
    if (!track->rate_milli)
        track->rate_milli = measure(track); /* good enough to plan parts; the timeline finds that it isn't a grid */
    return true;
}

/* All video of which there is something, and all of which there should be. What is missing is waited for when the rest
 * is ready. */
static bool videos_ready(struct probe *probe, const struct probe_known *known, int64_t waited_us) {
    uint32_t ready = 0, missing = 0;
    for (uint32_t i = 0; i < known->track_count; i++) {
        const struct probe_known_track *k = &known->tracks[i];
        if (k->kind != TRACK_VIDEO)
            continue;
        struct probe_track *track = find(probe, TRACK_VIDEO, k->number);
        if (track && video_ready(probe, track, known->metadata_rate, k->rate_milli, waited_us))
            ready++;
        else
            missing++;
    }
    return ready && (!missing || waited_us >= MISSING_TRACK_US);
}

/* By the clock or by the media's own time, whichever is more: a burst of media need not be waited out. */
static int64_t waited(const struct probe *probe, int64_t now_us) {
    int64_t media_us = probe->frames[probe->count - 1].frame.dts_us - probe->frames[0].frame.dts_us;
    int64_t clock_us = now_us - probe->first_arrived_us;
    return media_us > clock_us ? media_us : clock_us;
}

struct tally {
    uint32_t configured, begun; /* tracks with a configuration; those of them of which there is a frame */
    uint32_t frames;
};

static struct tally tally(const struct probe *probe, const struct probe_known *known, enum track_kind kind) {
    struct tally tally = {0};
    for (uint32_t i = 0; i < known->track_count; i++) {
        if (known->tracks[i].kind != kind)
            continue;
        const struct probe_track *track = probe_track(probe, kind, known->tracks[i].number);
        tally.configured++;
        tally.begun += track != NULL;
        tally.frames += track ? track->count : 0;
    }
    return tally;
}

/* Whether all tracks of a kind have come that are to be expected. */
static bool settled(uint32_t come, uint32_t told, bool announced, bool announced_all) {
    return come ? come >= told : announced_all && !announced;
}

enum probe_verdict probe_check(struct probe *probe, const struct probe_known *known, int64_t now_us) {
    if (!probe->count)
        return PROBE_MORE;
    int64_t waited_us = waited(probe, now_us);
    bool late = now_us - probe->first_arrived_us > HOPELESS_US;
    struct tally video = tally(probe, known, TRACK_VIDEO), audio = tally(probe, known, TRACK_AUDIO);
    bool told = (video.configured && video.configured < known->video_tracks) ||
                (audio.configured && audio.configured < known->audio_tracks);
    bool both = known->video_announced && known->audio_announced;
    if (video.configured && !video.begun)
        return late ? PROBE_HOPELESS : PROBE_MORE; /* waiting for an independent frame */
    bool all = settled(video.configured, known->video_tracks, known->video_announced, known->announced_all) &&
               settled(audio.configured, known->audio_tracks, known->audio_announced, known->announced_all);
    if (!all && waited_us < (both || told ? MISSING_TRACK_US : ALONE_US))
        return PROBE_MORE;
    if (video.configured)
        return videos_ready(probe, known, waited_us) ? PROBE_READY : PROBE_MORE;
    if (audio.configured && known->video_announced && waited_us < MISSING_TRACK_US)
        return PROBE_MORE;
    return audio.configured && audio.frames >= AUDIO_FRAMES ? PROBE_READY : late ? PROBE_HOPELESS : PROBE_MORE;
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
    free(probe->frames);
    probe->frames = NULL;
    probe->count = probe->taken = probe->cap = probe->track_count = 0;
    probe->bytes = 0;
}

void probe_trim(struct probe *probe, int64_t from_dts_us) {
    struct probe before = *probe;
    struct publisher_frame frame;
    int64_t arrived_us;
    *probe = (struct probe){0};
    while (probe_take(&before, &frame, &arrived_us)) {
        if (frame.dts_us >= from_dts_us)
            probe_push(probe, &frame, arrived_us);
        probe_taken(&before);
    }
    probe_reset(&before);
}
