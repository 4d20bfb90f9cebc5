/* A lane: one track of a publisher on its way into chunks. Frames that wait for their chunk are held here, in order, and
 * leave as one chunk record. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"
#include "ingest/mux.h"
#include "ingest/timeline.h"

enum { LANE_FRAMES_MAX = 128, LANE_BYTES_MAX = 16 << 20 };

struct lane_frame {
    struct timeline_stamp stamp; /* as it came */
    struct timeline_time time;   /* where it was put */
    bool independent;
    int64_t capture_us;
    size_t len;
    const uint8_t *data;
};

/* Where a chunk record belongs. */
struct lane_place {
    const char *stream;
    uint64_t epoch, msn;
    uint8_t track;
};

struct lane {
    uint32_t timescale;
    struct mux *mux; /* owned; NULL: frames only wait */
    struct lane_frame *frames; /* ring; their data is owned */
    uint32_t first, count, cap;
    size_t bytes; /* of the frames that wait */
    /* of the segment and part under way */
    uint32_t chunk_number, part_chunks, part_bytes;
    bool part_independent; /* a chunk of the part begins with an independent frame */
    uint64_t part_duration_ts;
    uint32_t refused; /* chunks in a row that the muxer did not take */
};

/* How many frames must go from the front so that one of `len` bytes has room: then the next is an independent one, or none is left. */
uint32_t lane_excess(const struct lane *lane, size_t len);
/* Takes a copy of the frame and its data. When full the oldest are dropped (false), see lane_excess. */
bool lane_push(struct lane *lane, const struct lane_frame *frame);
/* NULL: none is waiting. Valid until the lane is changed. */
const struct lane_frame *lane_first(const struct lane *lane);
/* The i-th of `count` waiting frames. */
const struct lane_frame *lane_at(const struct lane *lane, uint32_t i);
/* Drops the first `count` waiting frames. */
void lane_pop(struct lane *lane, uint32_t count);
/* How many waiting frames begin before `end_us` (UTC), and how long they are together. */
uint32_t lane_waiting(const struct lane *lane, int64_t end_us, uint32_t *ret_duration_us);
/* How many of the first `count` waiting frames are together no longer than `room_ts`. */
uint32_t lane_fitting(const struct lane *lane, uint32_t count, uint64_t room_ts);
/* Makes one chunk record of the first `count` waiting frames. NULL when the muxer refuses them (they are gone then). */
struct record *lane_take_chunk(struct lane *lane, uint32_t count, const struct lane_place *place);
/* The same for one frame that need not be copied first; nothing may be waiting. */
struct record *lane_direct_chunk(struct lane *lane, const struct lane_frame *frame, const struct lane_place *place);
/* Drops waiting frames that begin before `end_us`. */
void lane_drop(struct lane *lane, int64_t end_us);
/* Frames and muxer go, and so does what was of the part under way. */
void lane_reset(struct lane *lane);
