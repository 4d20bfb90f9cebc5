/* Advice to a broadcaster: what can be seen of how he sends, and what he should change. Fed with every frame that is used, it measures
 * over the last seconds and once a second judges what it measured. Pure; embedded in its publisher, and a few operations a frame.
 *
 * A finding comes when its value has been bad for some seconds and goes when it has been good for longer (or well below what made it come),
 * so that it changes seldom and can be logged. What belongs to one track is measured of the lowest of its kind (the default one). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"

enum advice_code {
    ADVICE_KEYFRAME_INTERVAL,  /* s */
    ADVICE_KEYFRAME_IRREGULAR, /* s between the longest and the shortest of the last intervals */
    ADVICE_B_FRAMES,           /* ms that a picture is shown after it is decoded, at most */
    ADVICE_JITTER,             /* ms of lateness that 95 % of frames stay below, a steady growth left out */
    ADVICE_BITRATE_SWINGS,     /* the bitrate of the busiest three seconds against the mean of thirty */
    ADVICE_UPLINK,             /* ms that media arrives later than it did within the last minute */
    ADVICE_AUDIO_MISSING,      /* s */
    ADVICE_FRAME_RATE,         /* % of pictures that don't come one interval after the one before */
    ADVICE_AV_OFFSET,          /* ms that sound is stamped ahead (-: behind) of the picture which it arrives with */
    ADVICE_TIMESTAMPS,         /* frames moved or dropped in thirty seconds, to repair their times */
    ADVICE_MISALIGNED,         /* pictures beside the leading one whose key frames are elsewhere */
    ADVICE_COUNT
};

enum advice_level { ADVICE_NONE, ADVICE_HINT, ADVICE_WARN };

struct advice_frame {
    enum track_kind kind;
    uint8_t track;
    bool independent;
    uint32_t bytes;
    int64_t dts_us, pts_us, arrived_us; /* the publisher's clock, twice; any clock that goes on steadily */
};

struct advice_finding {
    enum advice_code code;
    enum advice_level level; /* ADVICE_NONE: it is over */
    double value;            /* as of the last second */
};

enum {
    ADVICE_BUCKETS = 10,     /* of three seconds */
    ADVICE_FLOORS = 6,       /* of ten seconds */
    ADVICE_BINS = 24,        /* of jitter */
    ADVICE_KEY_GAPS = 6,
};

/* Lateness: by which clock and how far back is unknown, so it counts only against the least of the last minute. */
struct advice_clock {
    bool started;
    uint8_t track;
    int64_t dts_us, late_us; /* of the last frame */
    int64_t slot;            /* of ten seconds, that `floors` has last */
    int64_t floors[ADVICE_FLOORS], floor_us;
};

struct advice_bucket {
    uint64_t bytes;          /* of all tracks, */
    int64_t media_us;        /* in so much media time */
    int64_t late_us;         /* the least */
    uint32_t frames, uneven; /* pictures */
    uint32_t reorder_us;     /* pts - dts, the most */
    uint32_t repairs;
};

struct advice_state {
    uint8_t level, told; /* enum advice_level */
    uint8_t bad_s, good_s;
    double value;
};

/* Private. */
struct advice {
    struct advice_clock video, audio;
    bool started;
    int64_t started_us, judged_us, bucket_us;
    struct advice_bucket buckets[ADVICE_BUCKETS]; /* [0] is under way */
    uint32_t bucket_count;
    int64_t base_us, based_us; /* what jitter counts from, and as of when */
    uint16_t bins[2][ADVICE_BINS]; /* of jitter: of the five seconds under way, and those before */
    int64_t bins_us;
    int64_t key_us;           /* dts of the last independent picture */
    uint32_t key_gaps_ms[ADVICE_KEY_GAPS], key_gap_count;
    uint32_t step_us, odd_steps; /* between pictures, usually; how many in a row have differed */
    uint64_t repaired;
    uint32_t misaligned;
    struct advice_state states[ADVICE_COUNT];
};

void advice_init(struct advice *advice);
/* True, once a second: it was judged, so there may be changes. */
bool advice_frame(struct advice *advice, const struct advice_frame *frame);
/* How many frames the publisher's timeline has moved or dropped so far; less than before: it began anew. */
void advice_repairs(struct advice *advice, uint64_t repaired);
/* Of how many pictures beside the leading one key frames are elsewhere. */
void advice_misaligned(struct advice *advice, uint32_t pictures);
/* A finding that has come, become worse or gone since this was asked last; false: none (any more). */
bool advice_next_change(struct advice *advice, struct advice_finding *ret_finding);
/* False: there is nothing to say about it. */
bool advice_get(const struct advice *advice, enum advice_code code, struct advice_finding *ret_finding);

const char *advice_code_name(enum advice_code code); /* "keyframe_interval" */
const char *advice_unit(enum advice_code code);      /* "s", "ms", "%", "x", "frames", "tracks" */
const char *advice_text(enum advice_code code);      /* what to change, in OBS's words */
const char *advice_level_name(enum advice_level level);
