#include "ingest/lane.h"

#include <stdlib.h>
#include <string.h>

enum { LANE_FRAMES_MIN = 8 }; /* doubled until it is LANE_FRAMES_MAX */

static struct lane_frame *at(const struct lane *lane, uint32_t i) {
    return &lane->frames[(lane->first + i) % lane->cap];
}

const struct lane_frame *lane_at(const struct lane *lane, uint32_t i) {
    return at(lane, i);
}

const struct lane_frame *lane_first(const struct lane *lane) {
    return lane->count ? at(lane, 0) : NULL;
}

void lane_pop(struct lane *lane, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        lane->bytes -= at(lane, i)->len;
        free((void *)(uintptr_t)at(lane, i)->data);
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

uint32_t lane_excess(const struct lane *lane, size_t len) {
    size_t bytes = lane->bytes;
    uint32_t n = 0;
    while (n < lane->count && (lane->count - n >= LANE_FRAMES_MAX || bytes + len > LANE_BYTES_MAX))
        bytes -= at(lane, n++)->len;
    while (n > 0 && n < lane->count && !at(lane, n)->independent)
        n++;
    return n;
}

bool lane_push(struct lane *lane, const struct lane_frame *frame) {
    uint32_t excess = lane_excess(lane, frame->len);
    uint8_t *copy = malloc(frame->len ? frame->len : 1);
    if (!copy)
        abort();
    memcpy(copy, frame->data, frame->len);
    lane_pop(lane, excess);
    if (lane->count == lane->cap)
        grow(lane);
    struct lane_frame *held = at(lane, lane->count++);
    *held = *frame;
    held->data = copy;
    lane->bytes += frame->len;
    return !excess;
}

uint32_t lane_waiting(const struct lane *lane, int64_t end_us, uint32_t *ret_duration_us) {
    uint64_t duration_ts = 0;
    uint32_t n = 0;
    for (; n < lane->count; n++) {
        const struct lane_frame *frame = at(lane, n);
        if (timeline_us(frame->time.dts_ts, lane->timescale) >= end_us)
            break;
        duration_ts += frame->time.duration_ts;
    }
    *ret_duration_us = (uint32_t)(duration_ts * 1000000 / lane->timescale);
    return n;
}

uint32_t lane_fitting(const struct lane *lane, uint32_t count, uint64_t room_ts) {
    uint64_t duration_ts = 0;
    uint32_t n = 0;
    while (n < count && (duration_ts += at(lane, n)->time.duration_ts) <= room_ts)
        n++;
    return n;
}

static struct record *make_record(struct lane *lane, const struct mux_frame *frames, uint32_t count, int64_t capture_us,
                                  const struct lane_place *place) {
    struct slice body;
    if (mux_chunk(lane->mux, frames, count, capture_us, &body)) {
        lane->refused++;
        return NULL;
    }
    lane->refused = 0;
    struct record *record = record_create(RECORD_CHUNK, place->stream, place->epoch);
    const struct mux_frame *last = &frames[count - 1];
    record->chunk =
        (struct record_chunk){.track = place->track,
                              .flags = frames[0].independent ? CHUNK_INDEPENDENT : 0,
                              .msn = place->msn,
                              .number = lane->chunk_number++,
                              .duration_ts = (uint32_t)(last->dts_ts + last->duration_ts - frames[0].dts_ts),
                              .dts_ts = frames[0].dts_ts,
                              .capture_us = capture_us,
                              .body = body};
    lane->part_chunks++;
    lane->part_bytes += (uint32_t)body.len;
    lane->part_independent |= frames[0].independent;
    for (uint32_t i = 0; i < count; i++)
        lane->part_duration_ts += frames[i].duration_ts;
    return record;
}

static struct mux_frame mux_frame_of(const struct lane_frame *f) {
    return (struct mux_frame){f->time.dts_ts, f->time.pts_ts, f->time.duration_ts, f->independent, f->data, f->len};
}

struct record *lane_direct_chunk(struct lane *lane, const struct lane_frame *frame, const struct lane_place *place) {
    struct mux_frame muxed = mux_frame_of(frame);
    return make_record(lane, &muxed, 1, frame->capture_us, place);
}

struct record *lane_take_chunk(struct lane *lane, uint32_t count, const struct lane_place *place) {
    struct mux_frame frames[LANE_FRAMES_MAX] = {0};
    if (!count || count > lane->count)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        frames[i] = mux_frame_of(at(lane, i));
    struct record *record = make_record(lane, frames, count, at(lane, 0)->capture_us, place);
    lane_pop(lane, count);
    return record;
}

void lane_drop(struct lane *lane, int64_t end_us) {
    uint32_t duration_us;
    lane_pop(lane, lane_waiting(lane, end_us, &duration_us));
}

void lane_reset(struct lane *lane) {
    lane_pop(lane, lane->count);
    free(lane->frames);
    mux_destroy(lane->mux);
    *lane = (struct lane){.timescale = lane->timescale};
}
