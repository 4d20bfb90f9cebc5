/* A stream made by hand for tests of the store, the hub and playlists: video at 30/s in parts of 6 frames, audio of one
 * chunk a part, segments of 10 parts. */
#pragma once
#include <stdio.h>
#include <string.h>

#include "common/media/store.h"

enum { FIXTURE_EPOCH = 7, FIXTURE_PARTS = 10 };
static const int64_t fixture_start_us = 1790000000ll * 1000000;

static inline struct record *fixture_open(const char *stream, uint64_t epoch, uint32_t init_version) {
    struct record *record = record_create(RECORD_OPEN, stream, epoch);
    struct record_open *open = &record->open;
    open->target_duration_ms = 2000;
    open->part_target_us = 213334;
    open->track_count = 2;
    open->tracks[0] = (struct track_info){.name = "v0", .kind = TRACK_VIDEO, .track_id = 1, .timescale = 90000,
                                          .codecs = "avc1.4d401f", .width = 1280, .height = 720, .frame_rate_milli = 30000,
                                          .init_version = init_version, .init = blob_create_copy("V", 1)};
    open->tracks[1] = (struct track_info){.name = "a0", .kind = TRACK_AUDIO, .track_id = 101, .timescale = 48000,
                                          .codecs = "mp4a.40.2", .sample_rate = 48000, .channels = 2,
                                          .init_version = init_version, .init = blob_create_copy("A", 1)};
    return record;
}

static inline struct record *fixture_chunk(const char *stream, uint64_t epoch, uint8_t track, uint64_t msn, uint32_t number, size_t len) {
    struct record *record = record_create(RECORD_CHUNK, stream, epoch);
    struct blob *blob = blob_create(len);
    memset(blob->data, track ? 'a' : 'v', len);
    record->chunk = (struct record_chunk){.track = track, .msn = msn, .number = number, .duration_ts = track ? 9600 : 3000,
                                          .dts_ts = 1, .body = {blob, 0, len}};
    return record;
}

static inline struct record *fixture_part(const char *stream, uint64_t epoch, uint64_t number, uint64_t msn, uint32_t index, uint32_t flags) {
    struct record *record = record_create(RECORD_PART, stream, epoch);
    record->part = (struct record_part){.number = number, .msn = msn, .index = index, .flags = flags};
    record->part.start_us = record->part.wall_us = fixture_start_us + (int64_t)number * 200000;
    record->part.tracks[0] = (struct record_part_track){6, 18000, 6000, flags & PART_INDEPENDENT};
    record->part.tracks[1] = (struct record_part_track){1, 9600, 400, true};
    return record;
}

/* Hands `apply` the records of one part, in feed order. */
static inline void fixture_write_part(const char *stream, uint64_t epoch, uint64_t number, uint64_t msn, uint32_t index, uint32_t flags,
                                      void (*apply)(void *ctx, struct record *record), void *ctx) {
    apply(ctx, fixture_chunk(stream, epoch, 1, msn, index, 400));
    for (uint32_t i = 0; i < 6; i++)
        apply(ctx, fixture_chunk(stream, epoch, 0, msn, index * 6 + i, 1000));
    apply(ctx, fixture_part(stream, epoch, number, msn, index, flags));
}

/* One chunk at a place and a time of its own, in an HTTP/1.1 chunk as the muxer lays it out; `at_us` from the fixture's start. It says
 * what it is: "v100.3;", filled up to 100 bytes. */
static inline struct record *fixture_chunk_at(const char *stream, uint64_t epoch, uint8_t track, uint64_t msn, uint32_t number, int64_t at_us,
                                              uint8_t flags) {
    enum { LEN = 100 }; /* 0x64 */
    struct record *record = record_create(RECORD_CHUNK, stream, epoch);
    struct blob *blob = blob_create(4 + LEN + 2);
    memset(blob->data, '.', blob->len);
    memcpy(blob->data, "64\r\n", 4);
    int n = snprintf((char *)blob->data + 4, LEN, "%c%u.%u;", track ? 'a' : 'v', (unsigned)msn, (unsigned)number);
    blob->data[4 + n] = '.';
    memcpy(blob->data + 4 + LEN, "\r\n", 2);
    int64_t us = fixture_start_us + at_us, hz = track ? 48000 : 90000;
    record->chunk = (struct record_chunk){.track = track, .flags = flags, .msn = msn, .number = number, .duration_ts = track ? 4800 : 3000,
                                          .dts_ts = us / 1000000 * hz + us % 1000000 * hz / 1000000, .body = {blob, 4, LEN}};
    return record;
}
