/* Timestamp repair: from a publisher's microseconds to media time (UTC ticks) that a muxer can be given. Pure.
 *
 * The publisher's clock is mapped to UTC once, when it starts, and then left alone. Video is put on the exact grid of its
 * frame rate while it keeps to it within the rounding of milliseconds (RTMP's), and otherwise keeps its own times with durations
 * that are never over-declared; audio runs on its sample grid. In both, dts >= dts + duration of the frame before: what
 * breaks that is moved forward or dropped, never passed on (libavformat would lose pts, see ingest/mux.h).
 *
 * All tracks of a publisher are on one clock. The one that was added first leads. When it jumps, back by more than a second or
 * forward by more than the longest hole, or by more than a second while no time went by, the clock is mapped anew: the caller begins
 * a new segment with a discontinuity. A jump that only one frame has, which decoding can't begin with, is a mistake, and the frame is
 * put where it was expected. When it goes back by less the mapping is moved and the stream goes on. What jumps alone
 * beside a leading picture is put beside it. What is repaired how: docs/operations.md. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/record.h"

enum { TIMELINE_VIDEO_HZ = 90000, TIMELINE_DELTAS = 16, TIMELINE_RATE_MILLI_MIN = 500, TIMELINE_RATE_MILLI_MAX = 240000 };

enum timeline_verdict {
    TIMELINE_OK,
    TIMELINE_BREAK, /* use it, but it doesn't continue what was before */
    TIMELINE_DROP,  /* too late to be placed */
};

/* A frame as it came, on the publisher's clock. */
struct timeline_stamp {
    int64_t dts_us, pts_us;
    uint32_t samples; /* audio */
    bool begins;      /* video: decoding can begin with it, so that a clock may well begin anew */
};

struct timeline_time {
    int64_t dts_ts, pts_ts;
    uint32_t duration_ts;
    bool exact; /* duration_ts is: the frame is on the grid. Else it is the least that can be */
};

struct timeline_track {
    enum track_kind kind;
    uint32_t hz;
    bool started;
    int64_t end_ts;       /* dts + duration of the last frame */
    int64_t last_raw_us;
    uint32_t behind;      /* frames in a row, if it leads */
    /* video */
    uint32_t rate_milli;  /* nominal frames per 1000 s; 0: none */
    bool given_up;        /* the rate, until frames keep to it again */
    uint32_t on_grid;     /* meanwhile: frames in a row that did */
    int64_t anchor_ts;    /* a point of the grid */
    uint32_t off_grid;    /* frames that did not fit, lately */
    uint32_t deltas[TIMELINE_DELTAS], delta_count;
    /* those beside a leading picture */
    int64_t shift_ts;     /* from its own clock to the picture's, after a jump of this track alone */
    int64_t astray_ts;    /* where the next frame astray should be */
    uint32_t astray;      /* in a row */
};

struct timeline {
    int64_t base_us;  /* UTC of the publisher's time 0 */
    int64_t start_us; /* UTC of what it was mapped for: where the leading track begins */
    uint32_t hole_max_ms;
    uint32_t track_count;
    struct timeline_track tracks[TRACKS_MAX]; /* the first leads */
    /* how late frames come against the mapping: minimum over blocks of time, so that queues on the way don't count */
    int64_t block_end_us, block_min_us, before_min_us, drift_us;
    bool doubted; /* the leading track's last time; it was put where it was expected */
    uint64_t dropped, moved; /* for metrics */
};

/* Up to `hole_max_ms` (at least a second) between two frames are a hole in the same timeline. Tracks are added then, at most TRACKS_MAX,
 * the leading one first; they are named by their order. */
void timeline_init(struct timeline *timeline, uint32_t hole_max_ms);
/* `rate_milli` 0: unknown or variable. */
void timeline_add_video(struct timeline *timeline, uint32_t rate_milli);
void timeline_add_audio(struct timeline *timeline, uint32_t sample_rate);
/* Maps `first_us` of the publisher to `now_us` (UTC), or to `not_before_us` if that is later. */
void timeline_map(struct timeline *timeline, int64_t first_us, int64_t now_us, int64_t not_before_us);
/* *ret_time is set unless dropped. `now_us`: UTC, when the frame arrived. */
enum timeline_verdict timeline_frame(struct timeline *timeline, uint32_t track, const struct timeline_stamp *stamp, int64_t now_us,
                                     struct timeline_time *ret_time);
/* The end of all tracks so far, UTC. */
int64_t timeline_end_us(const struct timeline *timeline);
/* What to add to media time to get capture time: the publisher's drift, in steps, 0 at first. */
int64_t timeline_drift_us(const struct timeline *timeline);
static inline int64_t timeline_us(int64_t ts, uint32_t hz) {
    return ts / hz * 1000000 + ts % hz * 1000000 / hz;
}
