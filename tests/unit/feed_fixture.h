/* A stream made by hand whose chunks are real fragments, as feeds need them, and a wire for it: from one store through the feeds of its
 * timeline and its tracks into an assembler, byte run by byte run. */
#pragma once
#include <string.h>

#include "common/base/buf.h"
#include "common/media/assembler.h"
#include "common/media/feed_out.h"
#include "tests/unit/media_fixture.h"

enum { FRAGMENT_HEAD = 108 }; /* moof, and the head of mdat */

static inline uint8_t *put_word(uint8_t *p, uint32_t word) {
    for (int shift = 24; shift >= 0; shift -= 8)
        *p++ = (uint8_t)(word >> shift);
    return p;
}

/* moof and mdat of one sample, in words. */
static inline struct slice fixture_fragment(uint32_t track_id, int64_t tfdt_ts, uint32_t duration_ts, bool sync, uint32_t payload) {
    struct slice body = blob_create_framed(FRAGMENT_HEAD + payload, true);
    const uint32_t words[] = {100, 0x6d6f6f66,                                                /* moof */
                              16, 0x6d666864, 0, 1,                                           /* mfhd */
                              76, 0x74726166,                                                 /* traf */
                              28, 0x74666864, 0x020038, track_id, duration_ts, payload, sync ? 0x02000000 : 0x01010000,
                              20, 0x74666474, 1u << 24, (uint32_t)(tfdt_ts >> 32), (uint32_t)tfdt_ts,
                              20, 0x7472756e, 1, 1, 108,                                      /* trun */
                              payload + 8, 0x6d646174};                                       /* mdat */
    uint8_t *p = body.blob->data + body.off;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        p = put_word(p, words[i]);
    memset(p, (int)('a' + tfdt_ts % 26), payload);
    return body;
}

static inline struct record *fixture_real_chunk(const char *stream, uint64_t epoch, uint8_t track, uint64_t msn, uint32_t number, int64_t at_us) {
    struct record *record = fixture_chunk_at(stream, epoch, track, msn, number, at_us, track || !number ? CHUNK_INDEPENDENT : 0);
    struct record_chunk *chunk = &record->chunk;
    blob_unref(chunk->body.blob);
    chunk->capture_us = fixture_start_us + at_us;
    chunk->body = fixture_fragment(track ? 101 : 1, chunk->dts_ts, chunk->duration_ts, chunk->flags & CHUNK_INDEPENDENT, 50 + number);
    return record;
}

static inline void fixture_apply(struct store *store, struct record *record) {
    assert_int_equal(store_apply(store, record, 0), 0);
    record_unref(record);
}

/* The records of the `index`th part of a segment of parts of two pictures and one run of sound; number and time follow from msn. */
static inline void fixture_each_of_part(const char *stream, uint64_t epoch, uint64_t msn, uint32_t index, bool last,
                                        void (*apply)(void *ctx, struct record *record), void *ctx) {
    int64_t at_us = (int64_t)(msn * 4 + index) * 66666;
    for (uint32_t i = 0; i < 2; i++)
        apply(ctx, fixture_real_chunk(stream, epoch, 0, msn, index * 2 + i, at_us + (int64_t)i * 33333));
    apply(ctx, fixture_real_chunk(stream, epoch, 1, msn, index, at_us));
    struct record *part = fixture_part(stream, epoch, msn * 4 + index, msn, index, (last ? PART_LAST : 0) | (index ? 0 : PART_INDEPENDENT));
    part->part.tracks[0] = (struct record_part_track){2, 6000};
    part->part.tracks[1] = (struct record_part_track){1, 4800};
    apply(ctx, part);
}

static inline void fixture_apply_to(void *ctx, struct record *record) {
    fixture_apply(ctx, record);
}

static inline void fixture_real_part(struct store *store, const char *stream, uint64_t epoch, uint64_t msn, uint32_t index, bool last) {
    fixture_each_of_part(stream, epoch, msn, index, last, fixture_apply_to, store);
}

static inline void fixture_real_segment(struct store *store, const char *stream, uint64_t epoch, uint64_t msn) {
    for (uint32_t i = 0; i < 4; i++)
        fixture_real_part(store, stream, epoch, msn, i, i == 3);
}

/* The same stream with sound that is made on demand, and isn't yet. */
static inline struct record *fixture_open_on_demand(const char *stream, uint64_t epoch) {
    struct record *record = fixture_open(stream, epoch, 1);
    record->open.late = record->open.absent = 2;
    record->open.tracks[1].on_demand = true;
    return record;
}

/* It is, from the segment `msn` on; or not any more. */
static inline struct record *fixture_made(const char *stream, uint64_t epoch, bool made, uint64_t msn) {
    struct record *record = record_create(RECORD_TRACK, stream, epoch);
    record->track = (struct record_track){.track = 1, .presence = made ? TRACK_JOINING : TRACK_ABSENT, .msn = msn};
    return record;
}

/* A segment without its sound, but for what parts count. */
static inline void fixture_each_without_sound(const char *stream, uint64_t epoch, uint64_t msn, void (*apply)(void *ctx, struct record *record),
                                              void *ctx) {
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t n = 0; n < 2; n++)
            apply(ctx, fixture_real_chunk(stream, epoch, 0, msn, i * 2 + n, (int64_t)(msn * 4 + i) * 66666 + (int64_t)n * 33333));
        struct record *part = fixture_part(stream, epoch, msn * 4 + i, msn, i, (i == 3 ? PART_LAST : 0) | (i ? 0 : PART_INDEPENDENT));
        part->part.tracks[0] = (struct record_part_track){2, 6000};
        part->part.tracks[1] = (struct record_part_track){1, 4800};
        apply(ctx, part);
    }
}

/* Its sound. */
static inline void fixture_each_of_sound(const char *stream, uint64_t epoch, uint64_t msn, void (*apply)(void *ctx, struct record *record), void *ctx) {
    for (uint32_t i = 0; i < 4; i++)
        apply(ctx, fixture_real_chunk(stream, epoch, 1, msn, i, (int64_t)(msn * 4 + i) * 66666));
}

/* --- a wire --- */
enum { WIRE_TRACKS = 2 };
struct wire {
    const struct store *from;
    struct assembler *to;
    const char *stream;
    struct timeline_out timeline;
    struct track_out tracks[WIRE_TRACKS];
    struct feed_lines *lines;
    struct feed_reader *readers[WIRE_TRACKS];
    struct wire_track {
        struct wire *wire;
        const char *name;
    } names[WIRE_TRACKS];
    struct buf bytes[1 + WIRE_TRACKS]; /* under way */
    uint32_t taken, known; /* of what arrived, as the assembler said */
    int rc;                /* its first error */
};

static inline int wire_count(struct wire *wire, int result) {
    wire->taken += result == ASSEMBLER_TAKEN;
    wire->known += result == ASSEMBLER_KNOWN;
    if (result < 0 && !wire->rc)
        wire->rc = result;
    return 0;
}

static inline int wire_on_line(void *ctx, const struct feed_line *line) {
    struct wire *wire = ctx;
    return wire_count(wire, assembler_line(wire->to, line));
}

static inline int wire_on_item(void *ctx, const struct feed_box *box, struct slice body) {
    struct wire_track *track = ctx;
    return box->kind == FEED_INIT ? 0 : wire_count(track->wire, assembler_chunk(track->wire->to, track->name, box, body));
}

static inline void wire_init(struct wire *wire, const struct store *from, const char *stream, struct assembler *to) {
    static const char *const names[WIRE_TRACKS] = {"v0", "a0"};
    *wire = (struct wire){.from = from, .to = to, .stream = stream};
    timeline_out_init(&wire->timeline, "one", 0);
    wire->lines = feed_lines_create(stream, wire_on_line, wire);
    for (int i = 0; i <= WIRE_TRACKS; i++)
        buf_init(&wire->bytes[i], 64 << 20);
    for (int i = 0; i < WIRE_TRACKS; i++) {
        wire->names[i] = (struct wire_track){wire, names[i]};
        wire->readers[i] = feed_reader_create(wire_on_item, &wire->names[i]);
    }
}

/* Where the tracks begin; before the first wire_fill. */
static inline void wire_from(struct wire *wire, uint64_t msn, uint32_t video, uint32_t audio) {
    track_out_init(&wire->tracks[0], "v0", msn, video);
    track_out_init(&wire->tracks[1], "a0", msn, audio);
}

static inline void wire_finish(struct wire *wire) {
    timeline_out_finish(&wire->timeline);
    feed_lines_destroy(wire->lines);
    for (int i = 0; i <= WIRE_TRACKS; i++)
        buf_finish(&wire->bytes[i]);
    for (int i = 0; i < WIRE_TRACKS; i++) {
        track_out_finish(&wire->tracks[i]);
        feed_reader_destroy(wire->readers[i]);
    }
}

/* Puts everything that the store has under way. */
static inline void wire_fill(struct wire *wire) {
    const struct stream *stream = store_find(wire->from, wire->stream);
    struct feed_piece piece;
    while (timeline_out_next(&wire->timeline, stream, &wire->bytes[0], 1 << 20) == FEED_OUT_MORE)
        ;
    for (int i = 0; i < WIRE_TRACKS; i++)
        while (track_out_next(&wire->tracks[i], stream, &piece) == FEED_OUT_MORE) {
            uint8_t box[FEED_BOX_BYTES];
            feed_box_write(box, &piece.box);
            assert_int_equal(buf_append(&wire->bytes[1 + i], box, sizeof box), 0);
            assert_int_equal(buf_append(&wire->bytes[1 + i], piece.body.blob->data + piece.body.off, piece.body.len), 0);
        }
}

/* Up to `len` bytes of the timeline (0) or a track (1, 2) arrive. False: none were under way. */
static inline bool wire_pass(struct wire *wire, int feed, size_t len) {
    struct buf *bytes = &wire->bytes[feed];
    if (!buf_len(bytes))
        return false;
    if (len > buf_len(bytes))
        len = buf_len(bytes);
    int rc = feed ? feed_reader_push(wire->readers[feed - 1], buf_head(bytes), len) : feed_lines_push(wire->lines, buf_head(bytes), len);
    assert_int_equal(rc, 0);
    buf_consume(bytes, len);
    return true;
}

static inline void wire_pass_all(struct wire *wire) {
    wire_fill(wire);
    for (int feed = 0; feed <= WIRE_TRACKS; feed++)
        while (wire_pass(wire, feed, 1 << 20))
            ;
}
