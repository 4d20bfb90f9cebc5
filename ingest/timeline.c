#include "ingest/timeline.h"

#include <stdlib.h>
#include <string.h>

enum {
    GRID_TOLERANCE_TS = 135, /* 1.5 ms: both the anchor and the frame were rounded to milliseconds */
    OFF_GRID_MAX = 8,        /* then the nominal rate is not believed any more */
    AUDIO_TOLERANCE_MS = 50,
    FAR_MS = 10000, /* from the picture, at the start: no encoder sends it so early or late */
    AGREE = 25,     /* so many frames in a row elsewhere are no mistake */
    AGREE_MS = 50,
    JUMP_MS = 1000,
    DRIFT_BLOCK_US = 10000000,
    DRIFT_STEP_US = 50000,   /* smaller changes are noise */
    DRIFT_MAX_US = 1000000,  /* more: map anew */
    DURATION_MARGIN_TS = 90, /* a declared duration stays so much below the shortest recent one */
    DURATION_MAX_TS = 2 * TIMELINE_VIDEO_HZ,
};

void timeline_init(struct timeline *timeline, uint32_t hole_max_ms) {
    *timeline = (struct timeline){.hole_max_ms = hole_max_ms};
}

void timeline_add_video(struct timeline *timeline, uint32_t rate_milli) {
    bool usable = rate_milli >= TIMELINE_RATE_MILLI_MIN && rate_milli <= TIMELINE_RATE_MILLI_MAX;
    timeline->tracks[timeline->track_count++] =
        (struct timeline_track){.kind = TRACK_VIDEO, .hz = TIMELINE_VIDEO_HZ, .rate_milli = usable ? rate_milli : 0};
}

void timeline_add_audio(struct timeline *timeline, uint32_t sample_rate) {
    timeline->tracks[timeline->track_count++] = (struct timeline_track){.kind = TRACK_AUDIO, .hz = sample_rate};
}

static int64_t ticks(int64_t us, uint32_t hz) {
    return us / 1000000 * hz + (us % 1000000 * hz + 500000) / 1000000;
}

static int64_t max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

void timeline_map(struct timeline *timeline, int64_t first_us, int64_t now_us, int64_t not_before_us) {
    timeline->base_us = max64(now_us, not_before_us) - first_us;
    timeline->block_end_us = now_us + DRIFT_BLOCK_US;
    timeline->block_min_us = timeline->before_min_us = INT64_MAX;
    timeline->drift_us = now_us < not_before_us ? now_us - not_before_us : 0;
    for (uint32_t i = 0; i < timeline->track_count; i++) {
        timeline->tracks[i].started = false;
        timeline->tracks[i].astray = timeline->tracks[i].delta_count = 0;
    }
}

int64_t timeline_end_us(const struct timeline *timeline) {
    int64_t end_us = 0;
    for (uint32_t i = 0; i < timeline->track_count; i++)
        end_us = max64(end_us, timeline_us(timeline->tracks[i].end_ts, timeline->tracks[i].hz));
    return end_us;
}

int64_t timeline_drift_us(const struct timeline *timeline) {
    return timeline->drift_us;
}

/* --- video --- */

/* The n-th tick of the grid, exact for rates such as 30000/1001 given in thousandths (29970 stands for 29.97003). */
static int64_t grid_ts(const struct timeline_track *video, int64_t n) {
    int64_t rate = video->rate_milli;
    if (rate > 2000 && rate % 1000 && (rate + 30) / 1000 * 1000 - rate <= 60) { /* 23976, 29970, 59940: N × 1000/1001 */
        int64_t whole = (rate + 60) / 1000;
        return n * TIMELINE_VIDEO_HZ * 1001 / (whole * 1000);
    }
    return n * TIMELINE_VIDEO_HZ * 1000 / rate;
}

static int64_t grid_nearest(const struct timeline_track *video, int64_t ts) {
    int64_t frame = grid_ts(video, 1);
    int64_t n = (ts + frame / 2) / frame;
    /* frame is rounded down: look around the first guess */
    while (n > 0 && llabs(grid_ts(video, n - 1) - ts) <= llabs(grid_ts(video, n) - ts))
        n--;
    while (llabs(grid_ts(video, n + 1) - ts) < llabs(grid_ts(video, n) - ts))
        n++;
    return n;
}

static void grid_anchor(struct timeline_track *video, int64_t ts) {
    video->anchor_ts = ts;
}

/* Moves `raw` onto the grid if it is close to a point not yet used. */
static bool grid_snap(struct timeline_track *video, int64_t raw, int64_t *ret_ts) {
    if (!video->rate_milli || raw < video->anchor_ts - GRID_TOLERANCE_TS)
        return false;
    int64_t n = grid_nearest(video, max64(raw - video->anchor_ts, 0));
    int64_t ts = video->anchor_ts + grid_ts(video, n);
    if (llabs(ts - raw) > GRID_TOLERANCE_TS || (video->started && ts < video->end_ts))
        return false;
    if (n > 100000) /* keep numbers small; on a point, so nothing shifts but the rounding of one tick */
        grid_anchor(video, ts);
    *ret_ts = ts;
    return true;
}

static void note_delta(struct timeline_track *video, int64_t delta_ts) {
    if (delta_ts > 0 && delta_ts < DURATION_MAX_TS)
        video->deltas[video->delta_count++ % TIMELINE_DELTAS] = (uint32_t)delta_ts;
}

static uint32_t shortest_delta(const struct timeline_track *video) {
    uint32_t n = video->delta_count < TIMELINE_DELTAS ? video->delta_count : TIMELINE_DELTAS, shortest = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!shortest || video->deltas[i] < shortest)
            shortest = video->deltas[i];
    return shortest;
}

/* A duration that the next frame will not undercut: exact on the grid, else a floor. */
static uint32_t video_duration(const struct timeline_track *video, int64_t dts_ts, bool on_grid) {
    if (on_grid) {
        int64_t n = grid_nearest(video, dts_ts - video->anchor_ts);
        return (uint32_t)(grid_ts(video, n + 1) - grid_ts(video, n));
    }
    uint32_t shortest = shortest_delta(video);
    if (!shortest)
        shortest = TIMELINE_VIDEO_HZ / 60;
    return shortest > 2 * DURATION_MARGIN_TS ? shortest - DURATION_MARGIN_TS : shortest / 2 + 1;
}

/* Composition offset, on the grid where it is close to it. */
static int64_t video_offset(const struct timeline_track *video, int64_t offset_ts, bool on_grid) {
    if (offset_ts <= 0)
        return 0;
    if (!on_grid)
        return offset_ts;
    int64_t n = grid_nearest(video, offset_ts);
    return llabs(grid_ts(video, n) - offset_ts) <= GRID_TOLERANCE_TS ? grid_ts(video, n) : offset_ts;
}

static void video_place(struct timeline *timeline, struct timeline_track *video, int64_t raw, int64_t offset_ts,
                        struct timeline_time *ret_time) {
    if (!video->started)
        grid_anchor(video, raw = max64(raw, video->end_ts));
    int64_t dts = raw;
    bool on_grid = grid_snap(video, raw, &dts);
    if (!on_grid) {
        dts = max64(raw, video->end_ts);
        timeline->moved += dts != raw;
        grid_anchor(video, dts);
        if (video->rate_milli && ++video->off_grid > OFF_GRID_MAX)
            video->rate_milli = 0;
    } else if (video->off_grid && !(video->delta_count % 256)) {
        video->off_grid--;
    }
    ret_time->dts_ts = dts;
    ret_time->duration_ts = video_duration(video, dts, on_grid);
    ret_time->exact = on_grid;
    ret_time->pts_ts = dts + video_offset(video, offset_ts + (raw - dts), on_grid);
    video->end_ts = dts + ret_time->duration_ts;
    video->started = true;
}

/* --- beside a leading picture --- */

static int64_t ms_ts(const struct timeline_track *track, int64_t ms) {
    return track->hz * ms / 1000;
}

/* Where the leading picture ends, in ticks of another track. */
static int64_t picture_ts(const struct timeline *timeline, const struct timeline_track *track) {
    return ticks(timeline_us(timeline->tracks[0].end_ts, TIMELINE_VIDEO_HZ), track->hz);
}

/* Whether a track beside a picture stands where neither what came before nor the picture would have it. */
static bool astray(const struct timeline *timeline, const struct timeline_track *track, int64_t raw) {
    const struct timeline_track *lead = &timeline->tracks[0];
    if (track == lead || lead->kind != TRACK_VIDEO || !lead->started)
        return false;
    int64_t picture = picture_ts(timeline, track);
    if (!track->started)
        return llabs(raw - picture) > ms_ts(track, FAR_MS);
    return llabs(raw - picture) > ms_ts(track, JUMP_MS) && llabs(raw - track->end_ts) > ms_ts(track, JUMP_MS);
}

/* A single frame astray is a mistake of the encoder's. When many in a row agree with each other, its clock of that
 * track has jumped: it goes on beside the picture. True when this one is to be dropped. */
static bool refuse(struct timeline *timeline, struct timeline_track *track, int64_t *raw, uint32_t duration_ts) {
    if (!astray(timeline, track, *raw)) {
        track->astray = 0;
        return false;
    }
    bool agrees = track->astray && llabs(*raw - track->astray_ts) < ms_ts(track, AGREE_MS);
    track->astray = agrees ? track->astray + 1 : 1;
    track->astray_ts = *raw + duration_ts;
    if (track->astray < AGREE)
        return true;
    int64_t beside = max64(picture_ts(timeline, track), track->end_ts);
    track->shift_ts += beside - *raw;
    *raw = beside;
    track->astray = 0;
    return false;
}

/* --- audio --- */

static enum timeline_verdict audio_place(struct timeline *timeline, struct timeline_track *audio, int64_t raw,
                                         uint32_t samples, struct timeline_time *ret_time) {
    int64_t tolerance = ms_ts(audio, AUDIO_TOLERANCE_MS);
    if (!audio->started)
        audio->end_ts = max64(raw, audio->end_ts);
    else if (raw - audio->end_ts > tolerance)
        audio->end_ts = raw; /* frames are missing */
    else if (audio->end_ts - raw > tolerance) {
        timeline->dropped++;
        return TIMELINE_DROP; /* more samples than time: one too many */
    }
    audio->started = true;
    *ret_time = (struct timeline_time){audio->end_ts, audio->end_ts, samples, true};
    audio->end_ts += samples;
    return TIMELINE_OK;
}

/* --- both --- */

/* How late the mapping has become; true when it is off by so much that it must be made anew. Media that is ahead of the
 * clock stays there: its time can't go back. */
static bool drift_note(struct timeline *timeline, int64_t media_us, int64_t now_us) {
    int64_t late = now_us - media_us;
    if (late < timeline->block_min_us)
        timeline->block_min_us = late;
    if (now_us < timeline->block_end_us)
        return false;
    int64_t least = timeline->block_min_us < timeline->before_min_us ? timeline->block_min_us : timeline->before_min_us;
    timeline->before_min_us = timeline->block_min_us;
    timeline->block_min_us = INT64_MAX;
    timeline->block_end_us = now_us + DRIFT_BLOCK_US;
    if (llabs(least - timeline->drift_us) > DRIFT_STEP_US)
        timeline->drift_us = least;
    return timeline->drift_us > DRIFT_MAX_US;
}

static bool jumped(const struct timeline *timeline, const struct timeline_track *track, int64_t dts_us) {
    int64_t step_us = dts_us - track->last_raw_us;
    return track->started &&
           (step_us > max64(timeline->hole_max_ms, JUMP_MS) * 1000 || step_us < -JUMP_MS * INT64_C(1000));
}

enum timeline_verdict timeline_frame(struct timeline *timeline, uint32_t index, const struct timeline_stamp *stamp,
                                     int64_t now_us, struct timeline_time *ret_time) {
    struct timeline_track *track = &timeline->tracks[index];
    bool broke = false;
    if (!index) {
        bool drifted = drift_note(timeline, timeline->base_us + stamp->dts_us, now_us);
        broke = jumped(timeline, track, stamp->dts_us) || drifted;
        if (broke)
            timeline_map(timeline, stamp->dts_us, now_us, timeline_end_us(timeline));
    }
    int64_t raw = ticks(timeline->base_us + stamp->dts_us, track->hz) + track->shift_ts;
    int64_t step_ts = ticks(stamp->dts_us - track->last_raw_us, track->hz);
    bool audio = track->kind == TRACK_AUDIO;
    if (refuse(timeline, track, &raw, audio ? stamp->samples : shortest_delta(track))) {
        timeline->dropped++;
        return TIMELINE_DROP;
    }
    if (audio) {
        enum timeline_verdict verdict = audio_place(timeline, track, raw, stamp->samples, ret_time);
        if (verdict == TIMELINE_DROP)
            return verdict;
    } else {
        if (track->started && !broke)
            note_delta(track, step_ts);
        video_place(timeline, track, raw, ticks(stamp->pts_us - stamp->dts_us, TIMELINE_VIDEO_HZ), ret_time);
    }
    track->last_raw_us = stamp->dts_us;
    return broke ? TIMELINE_BREAK : TIMELINE_OK;
}
