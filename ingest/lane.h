/* A lane: one track of a publisher on its way into chunks. Frames that wait for their chunk are held here, in order, and
 * leave as one chunk record. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"
#include "ingest/mux.h"
#include "ingest/timeline.h"

enum { LANE_CONFIG_MAX = 2048, LANE_FRAMES_MAX = 128 };

struct lane_frame {
    struct timeline_time time;
    bool independent;
    int64_t capture_us;
    size_t len;
    uint8_t *data; /* owned */
};

struct lane {
    struct track_info info;
    uint8_t config[LANE_CONFIG_MAX]; /* avcC or AudioSpecificConfig; as it came */
    size_t config_len;               /* 0: none */
    struct mux *mux;
    struct lane_frame *frames; /* ring */
    uint32_t first, count, cap;
    /* of the segment and part under way */
    uint32_t chunk_number, part_chunks, part_frames, part_bytes;
    uint64_t part_duration_ts;
    uint32_t refused; /* chunks in a row that the muxer did not take */
};

/* Takes a copy of the frame. When full the oldest is dropped (false). */
bool lane_push(struct lane *lane, const struct timeline_time *time, bool independent, int64_t capture_us, const uint8_t *data, size_t len);
/* How many waiting frames begin before `end_us` (UTC), and how long they are together. */
uint32_t lane_waiting(const struct lane *lane, int64_t end_us, uint32_t *ret_duration_us);
/* Makes one chunk record of the first `count` waiting frames. NULL when the muxer refuses them (they are gone then). */
struct record *lane_take_chunk(struct lane *lane, uint32_t count, const char *stream, uint64_t epoch, uint8_t track, uint64_t msn);
/* The same for one frame that need not be copied first; nothing may be waiting. */
struct record *lane_direct_chunk(struct lane *lane, const struct timeline_time *time, bool independent, int64_t capture_us,
                                 const uint8_t *data, size_t len, const char *stream, uint64_t epoch, uint8_t track, uint64_t msn);
/* Drops waiting frames that begin before `end_us`. */
void lane_drop(struct lane *lane, int64_t end_us);
/* Frames and muxer go; the configuration stays. */
void lane_reset(struct lane *lane);
