#include "ingest/timeline.h"

#include <stdlib.h>
#include <string.h>

enum {
    GRID_TOLERANCE_TS = 135,              /* 1.5 ms: both the anchor and the frame were rounded to milliseconds */
    GRID_FAR_TS = 10 * TIMELINE_VIDEO_HZ, /* from what was before: nothing is gained by going on with the grid */
    NTSC_TOLERANCE = 5000,                /* a rate given as 23.98 is 24000/1001, too */
    OFF_GRID_MAX = 8,                     /* then the nominal rate is not believed any more */
    ON_GRID_AGAIN = 30,                   /* until so many in a row keep to it */
    STEP_AGREE = 4,                       /* so many pictures in a row behind are a clock that was put back */
    STEP_MIN_MS = 50,                     /* less is caught up with */
    SUSPECT_MS = 100,        /* forward, while no time has gone by: believed when the next picture says the same */
    AHEAD_MAX_US = 10000000, /* of the clock, by holes: then a hole is none */
    AUDIO_TOLERANCE_MS = 50,
    LATE_MS = 10000, /* behind the picture, at the start: no encoder sends it so late */
    EARLY_MS = 2500, /* before it; also, more than that can't wait for its picture */
    AGREE = 25,      /* so many frames in a row elsewhere are no mistake */
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
    timeline->start_us = max64(now_us, not_before_us);
    timeline->base_us = timeline->start_us - first_us;
    timeline->block_end_us = now_us + DRIFT_BLOCK_US;
    timeline->block_min_us = timeline->before_min_us = INT64_MAX;
    timeline->drift_us = now_us < not_before_us ? now_us - not_before_us : 0;
    for (uint32_t i = 0; i < timeline->track_count; i++) {
        struct timeline_track *track = &timeline->tracks[i];
        track->started = false;
        track->astray = track->delta_count = track->behind = 0;
        if (!track->end_ts) /* what was sent behind its picture may come from before that */
            track->end_ts = ticks(not_before_us, track->hz);
    }
    timeline->doubted = false;
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

struct grid {
    int64_t num, den; /* ticks a frame */
};

/* Exact for rates such as 30000/1001 given in thousandths (29970 stands for 29.97003). */
static struct grid grid_of(const struct timeline_track *video) {
    int64_t rate = video->rate_milli, whole = (rate + 999) / 1000;
    if (rate % 1000 && llabs(rate * 1001 - whole * 1000000) <= NTSC_TOLERANCE) /* 23976, 29970, 119880: N × 1000/1001 */
        return (struct grid){TIMELINE_VIDEO_HZ * INT64_C(1001), whole * 1000};
    return (struct grid){TIMELINE_VIDEO_HZ * INT64_C(1000), rate};
}

/* The n-th tick of the grid. */
static int64_t grid_ts(const struct timeline_track *video, int64_t n) {
    struct grid grid = grid_of(video);
    return n * grid.num / grid.den;
}

/* `ts` is at most hours. */
static int64_t grid_nearest(const struct timeline_track *video, int64_t ts) {
    struct grid grid = grid_of(video);
    int64_t n = ts * grid.den / grid.num; /* or the one after it, or, as ticks are rounded down, the one after that */
    for (int i = 0; i < 2 && llabs(grid_ts(video, n + 1) - ts) < llabs(grid_ts(video, n) - ts); i++)
        n++;
    return n;
}

static void grid_anchor(struct timeline_track *video, int64_t ts) {
    video->anchor_ts = ts;
}

/* Moves `raw` onto the grid if it is close to a point not yet used. */
static bool grid_snap(struct timeline_track *video, int64_t raw, int64_t *ret_ts) {
    if (!video->rate_milli || raw < video->anchor_ts - GRID_TOLERANCE_TS ||
        raw > max64(video->anchor_ts, video->end_ts) + GRID_FAR_TS)
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
    if (!on_grid || offset_ts > GRID_FAR_TS)
        return offset_ts;
    int64_t n = grid_nearest(video, offset_ts);
    return llabs(grid_ts(video, n) - offset_ts) <= GRID_TOLERANCE_TS ? grid_ts(video, n) : offset_ts;
}

/* A frame that does not keep to the rate. Many make it doubtful, and it is given up until many in a row keep to it. */
static void off_grid(struct timeline_track *video, int64_t raw, bool fits) {
    if (!fits) {
        grid_anchor(video, raw);
        video->on_grid = 0;
        video->off_grid += !video->given_up;
    } else if (++video->on_grid >= ON_GRID_AGAIN) {
        video->given_up = false;
        video->off_grid = 0;
    }
    if (video->off_grid > OFF_GRID_MAX)
        video->given_up = true;
}

static void video_place(struct timeline *timeline, struct timeline_track *video, int64_t raw, int64_t offset_ts,
                        struct timeline_time *ret_time) {
    if (!video->started)
        grid_anchor(video, raw = max64(raw, video->end_ts));
    int64_t dts = raw;
    bool fits = grid_snap(video, raw, &dts), on_grid = fits && !video->given_up;
    if (!on_grid) {
        dts = max64(raw, video->end_ts);
        timeline->moved += dts != raw;
        off_grid(video, raw, fits);
    } else if (video->off_grid && !(video->delta_count % 256)) {
        video->off_grid--;
    }
    ret_time->dts_ts = dts;
    ret_time->duration_ts = video_duration(video, dts, on_grid);
    if (dts > raw && !on_grid) /* what comes next catches up */
        ret_time->duration_ts = ret_time->duration_ts / 2 + 1;
    ret_time->exact = on_grid;
    ret_time->pts_ts = dts + video_offset(video, offset_ts + (raw - dts), on_grid);
    video->end_ts = dts + ret_time->duration_ts;
    video->started = true;
}

/* --- beside a leading picture --- */

static int64_t ms_ts(const struct timeline_track *track, int64_t ms) {
    return track->hz * ms / 1000;
}

/* Where the leading picture ends, or is to begin, in ticks of another track. */
static int64_t picture_ts(const struct timeline *timeline, const struct timeline_track *track) {
    const struct timeline_track *lead = &timeline->tracks[0];
    return ticks(lead->started ? timeline_us(lead->end_ts, TIMELINE_VIDEO_HZ) : timeline->start_us, track->hz);
}

/* Whether a track beside a picture stands where neither what came before nor the picture would have it. */
static bool astray(const struct timeline *timeline, const struct timeline_track *track, int64_t raw) {
    const struct timeline_track *lead = &timeline->tracks[0];
    if (track == lead || lead->kind != TRACK_VIDEO)
        return false;
    int64_t late = picture_ts(timeline, track) - raw;
    if (!track->started)
        return late > ms_ts(track, LATE_MS) || -late > ms_ts(track, EARLY_MS);
    return llabs(late) > ms_ts(track, JUMP_MS) && llabs(raw - track->end_ts) > ms_ts(track, JUMP_MS);
}

/* A single frame astray is a mistake of the encoder's. When many in a row agree with each other, its clock of that
 * track has jumped: it goes on beside the picture. True when this one is to be dropped. */
static bool refuse(struct timeline *timeline, struct timeline_track *track, int64_t *raw, uint32_t duration_ts) {
    bool agrees = track->astray && llabs(*raw - track->astray_ts) < ms_ts(track, AGREE_MS);
    bool apart = agrees && llabs(picture_ts(timeline, track) - *raw) > ms_ts(track, JUMP_MS);
    if (!astray(timeline, track, *raw) && !apart) {
        track->astray = 0;
        return false;
    }
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
    if (audio->end_ts - raw > tolerance) {
        timeline->dropped++;
        return TIMELINE_DROP; /* more samples than time: one too many; or from before the stream's end */
    }
    if (!audio->started)
        audio->end_ts = max64(raw, audio->end_ts);
    else if (raw - audio->end_ts > tolerance)
        audio->end_ts = raw; /* frames are missing */
    audio->started = true;
    *ret_time = (struct timeline_time){audio->end_ts, audio->end_ts, samples, true};
    audio->end_ts += samples;
    return TIMELINE_OK;
}

/* --- both --- */

static int64_t least_late_us(const struct timeline *timeline) {
    return timeline->block_min_us < timeline->before_min_us ? timeline->block_min_us : timeline->before_min_us;
}

/* How late the mapping has become; true when it is off by so much that it must be made anew. Media that is ahead of the
 * clock stays there: its time can't go back. */
static bool drift_note(struct timeline *timeline, int64_t media_us, int64_t now_us) {
    int64_t late = now_us - media_us;
    if (late < timeline->block_min_us)
        timeline->block_min_us = late;
    if (now_us < timeline->block_end_us)
        return false;
    int64_t least = least_late_us(timeline);
    timeline->before_min_us = timeline->block_min_us;
    timeline->block_min_us = INT64_MAX;
    timeline->block_end_us = now_us + DRIFT_BLOCK_US;
    if (llabs(least - timeline->drift_us) > DRIFT_STEP_US)
        timeline->drift_us = least;
    return timeline->drift_us > DRIFT_MAX_US;
}

/* The leading track's clock was put on, or back, by so much that the stream can't go on with it. A second or more is a
 * hole only if the time went by. */
static bool jumped(const struct timeline *timeline, const struct timeline_track *track, int64_t step_us,
                   int64_t early_us, int64_t ahead_us) {
    if (!track->started)
        return false;
    return step_us > max64(timeline->hole_max_ms, JUMP_MS) * 1000 || step_us < -JUMP_MS * INT64_C(1000) ||
           (step_us > JUMP_MS * INT64_C(1000) && early_us > JUMP_MS * INT64_C(1000)) ||
           (step_us > SUSPECT_MS * INT64_C(1000) && ahead_us > AHEAD_MAX_US);
}

/* Somewhere else, while no time has gone by: a mistake, unless the next frame has it, too. By more than a second it is
 * believed of a picture that decoding can begin with: so that a discontinuity does. */
static bool doubtful(struct timeline *timeline, const struct timeline_track *track, int64_t step_us, int64_t early_us,
                     bool begins) {
    bool back = step_us < -JUMP_MS * INT64_C(1000), far = back || step_us > JUMP_MS * INT64_C(1000);
    bool forward = step_us > SUSPECT_MS * INT64_C(1000) && early_us > STEP_MIN_MS * INT64_C(1000);
    bool doubt = track->started && !timeline->doubted && (forward || back) && !(far && begins);
    timeline->doubted = doubt;
    return doubt;
}

/* A little back, several frames in a row: the leading track's clock was put back. Its mapping is moved so that the
 * stream goes on where it is, and the other track with it. */
static int64_t put_on(struct timeline *timeline, struct timeline_track *track, int64_t raw, int64_t step_us) {
    int64_t behind_us = track->started ? timeline_us(track->end_ts - raw, track->hz) : 0;
    track->behind = step_us > 0 && behind_us > STEP_MIN_MS * INT64_C(1000) ? track->behind + 1 : 0;
    if (track->behind < STEP_AGREE)
        return raw;
    track->behind = 0;
    timeline->base_us += behind_us;
    return track->end_ts;
}

/* What is wrong with the clock that all tracks share shows in the leading one. True for a break. */
static bool lead(struct timeline *timeline, const struct timeline_track *track, int64_t *dts_us, int64_t *pts_us,
                 bool begins, int64_t now_us) {
    int64_t step_us = *dts_us - track->last_raw_us, late_us = now_us - timeline->base_us - *dts_us;
    int64_t early_us = least_late_us(timeline) == INT64_MAX ? 0 : least_late_us(timeline) - late_us;
    if (doubtful(timeline, track, step_us, early_us, begins)) {
        int64_t shift_us = timeline_us(track->end_ts, track->hz) - timeline->base_us - *dts_us;
        *dts_us += shift_us;
        *pts_us += shift_us;
        return false;
    }
    bool drifted = drift_note(timeline, timeline->base_us + *dts_us, now_us);
    if (!jumped(timeline, track, step_us, early_us, -late_us) && !drifted)
        return false;
    timeline_map(timeline, *dts_us, now_us, timeline_end_us(timeline));
    return true;
}

enum timeline_verdict timeline_frame(struct timeline *timeline, uint32_t index, const struct timeline_stamp *stamp,
                                     int64_t now_us, struct timeline_time *ret_time) {
    struct timeline_track *track = &timeline->tracks[index];
    int64_t dts_us = stamp->dts_us, pts_us = stamp->pts_us;
    bool broke = !index && lead(timeline, track, &dts_us, &pts_us, stamp->begins, now_us);
    int64_t raw = ticks(timeline->base_us + dts_us, track->hz) + track->shift_ts, step_us = dts_us - track->last_raw_us;
    bool audio = track->kind == TRACK_AUDIO;
    if (!index)
        raw = put_on(timeline, track, raw, step_us);
    if (refuse(timeline, track, &raw, audio ? stamp->samples : shortest_delta(track))) {
        timeline->dropped++;
        return TIMELINE_DROP;
    }
    track->last_raw_us = dts_us;
    if (audio) {
        enum timeline_verdict verdict = audio_place(timeline, track, raw, stamp->samples, ret_time);
        if (verdict == TIMELINE_DROP)
            return verdict;
    } else {
        if (track->started && !broke)
            note_delta(track, ticks(step_us, TIMELINE_VIDEO_HZ));
        video_place(timeline, track, raw, ticks(pts_us - dts_us, TIMELINE_VIDEO_HZ), ret_time);
    }
    return broke ? TIMELINE_BREAK : TIMELINE_OK;
}
