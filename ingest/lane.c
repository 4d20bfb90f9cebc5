#include "ingest/lane.h"

#include <stdlib.h>
#include <string.h>

enum { LANE_FRAMES_MIN = 8 }; /* doubled until it is LANE_FRAMES_MAX */

static struct lane_frame *at(const struct lane *lane, uint32_t i) {
    return &lane->frames[(lane->first + i) % lane->cap];
}

static void pop(struct lane *lane, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        free(at(lane, i)->data);
        at(lane, i)->data = NULL;
    }
    if (count)
        lane->first = (lane->first + count) % lane->cap;
    lane->count -= count;
}

/* Most lanes hold a few frames, or none. */
static void grow(struct lane *lane) {
    uint32_t cap = lane->cap ? 2 * lane->cap : LANE_FRAMES_MIN;
    struct lane_frame *frames = calloc(cap, sizeof *frames);
    if (!frames)
        abort();
    for (uint32_t i = 0; i < lane->count; i++)
        frames[i] = *at(lane, i);
    free(lane->frames);
    lane->frames = frames;
    lane->first = 0;
    lane->cap = cap;
}

bool lane_push(struct lane *lane, const struct timeline_time *time, bool independent, int64_t capture_us,
               const uint8_t *data, size_t len) {
    bool room = lane->count < LANE_FRAMES_MAX;
    if (!room)
        pop(lane, 1);
    else if (lane->count == lane->cap)
        grow(lane);
    struct lane_frame *frame = at(lane, lane->count++);
    *frame = (struct lane_frame){.time = *time, .independent = independent, .capture_us = capture_us, .len = len};
    frame->data = malloc(len ? len : 1);
    if (!frame->data)
        abort();
    memcpy(frame->data, data, len);
    return room;
}

uint32_t lane_waiting(const struct lane *lane, int64_t end_us, uint32_t *ret_duration_us) {
    uint64_t duration_ts = 0;
    uint32_t n = 0;
    for (; n < lane->count; n++) {
        const struct lane_frame *frame = at(lane, n);
        if (timeline_us(frame->time.dts_ts, lane->info.timescale) >= end_us)
            break;
        duration_ts += frame->time.duration_ts;
    }
    *ret_duration_us = (uint32_t)(duration_ts * 1000000 / lane->info.timescale);
    return n;
}

static struct record *make_record(struct lane *lane, const struct mux_frame *frames, uint32_t count, int64_t capture_us,
                                  const char *stream, uint64_t epoch, uint8_t track, uint64_t msn) {
    struct slice body;
    if (mux_chunk(lane->mux, frames, count, capture_us, &body)) {
        lane->refused++;
        return NULL;
    }
    lane->refused = 0;
    struct record *record = record_create(RECORD_CHUNK, stream, epoch);
    const struct mux_frame *last = &frames[count - 1];
    record->chunk =
        (struct record_chunk){.track = track,
                              .flags = frames[0].independent ? CHUNK_INDEPENDENT : 0,
                              .msn = msn,
                              .number = lane->chunk_number++,
                              .duration_ts = (uint32_t)(last->dts_ts + last->duration_ts - frames[0].dts_ts),
                              .dts_ts = frames[0].dts_ts,
                              .capture_us = capture_us,
                              .body = body};
    lane->part_chunks++;
    lane->part_frames += count;
    lane->part_bytes += (uint32_t)body.len;
    for (uint32_t i = 0; i < count; i++)
        lane->part_duration_ts += frames[i].duration_ts;
    return record;
}

struct record *lane_direct_chunk(struct lane *lane, const struct timeline_time *time, bool independent,
                                 int64_t capture_us, const uint8_t *data, size_t len, const char *stream,
                                 uint64_t epoch, uint8_t track, uint64_t msn) {
    struct mux_frame frame = {time->dts_ts, time->pts_ts, time->duration_ts, independent, data, len};
    return make_record(lane, &frame, 1, capture_us, stream, epoch, track, msn);
}

struct record *lane_take_chunk(struct lane *lane, uint32_t count, const char *stream, uint64_t epoch, uint8_t track,
                               uint64_t msn) {
    struct mux_frame frames[LANE_FRAMES_MAX] = {0};
    if (!count || count > lane->count)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct lane_frame *f = at(lane, i);
        frames[i] =
            (struct mux_frame){f->time.dts_ts, f->time.pts_ts, f->time.duration_ts, f->independent, f->data, f->len};
    }
    struct record *record = make_record(lane, frames, count, at(lane, 0)->capture_us, stream, epoch, track, msn);
    pop(lane, count);
    return record;
}

void lane_drop(struct lane *lane, int64_t end_us) {
    uint32_t duration_us;
    pop(lane, lane_waiting(lane, end_us, &duration_us));
}

void lane_reset(struct lane *lane) {
    pop(lane, lane->count);
    free(lane->frames);
    lane->frames = NULL;
    lane->first = lane->cap = 0;
    mux_destroy(lane->mux);
    lane->mux = NULL;
    lane->chunk_number = lane->part_chunks = lane->part_frames = lane->part_bytes = lane->refused = 0;
    lane->part_duration_ts = 0;
}
