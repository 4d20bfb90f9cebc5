/* A stream of which not all tracks are here: what is published of it, and what of a track that joins later, leaves, and
 * joins again. */
#include "common/media/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "common/media/cursor.h"
#include "common/media/playlist.h"
#include "tests/unit/feed_fixture.h"

enum { EPOCH = 5, FIRST = 100, PARTS = 4, V = 1, A = 2 }; /* masks */
static const char name[] = "live/show";

struct world {
    struct store *store;
    struct stream *stream;
    uint32_t tracks; /* mask of those whose chunks are written */
    bool late;       /* only the chunks: the parts are there */
};

static void apply(void *ctx, struct record *record) {
    struct world *world = ctx;
    bool chunk = record->type == RECORD_CHUNK;
    if (chunk ? !(world->tracks & 1u << record->chunk.track) : record->type == RECORD_PART && world->late) {
        record_unref(record);
        return;
    }
    assert_int_equal(store_apply(world->store, record, 1000), 0);
    record_unref(record);
}

static struct store *make_store(void) {
    const struct store_settings settings = {.window_us = 30000000};
    return store_create(&settings);
}

static void begin(struct world *world, uint32_t absent) {
    struct record *open = fixture_open(name, EPOCH, 1);
    *world = (struct world){.store = make_store(), .tracks = 3 & ~absent};
    open->open.absent = absent;
    fixture_apply(world->store, open);
    world->stream = store_find(world->store, name);
}

static void write_part(struct world *world, uint64_t msn, uint32_t index) {
    fixture_each_of_part(name, EPOCH, msn, index, index == PARTS - 1, apply, world);
}

static void write_segments(struct world *world, uint64_t msn, uint32_t count) {
    for (uint32_t i = 0; i < count * PARTS; i++)
        write_part(world, msn + i / PARTS, i % PARTS);
}

/* What was left out of a track, as it comes later. */
static void write_late(struct world *world, uint32_t track, uint64_t msn, uint32_t count) {
    uint32_t tracks = world->tracks;
    world->late = true;
    world->tracks = track;
    write_segments(world, msn, count);
    world->late = false;
    world->tracks = tracks;
}

static void tell(struct world *world, uint8_t track, enum track_presence presence, uint64_t msn) {
    struct record *record = record_create(RECORD_TRACK, name, EPOCH);
    record->track = (struct record_track){track, presence, msn};
    fixture_apply(world->store, record);
}

static const struct segment *segment(const struct world *world, uint64_t msn) {
    const struct segment *found = stream_segment(world->stream, msn);
    assert_non_null(found);
    return found;
}

static uint64_t last_msn(const struct world *world, uint32_t mask) {
    const struct segment *last = stream_last_segment(world->stream, mask);
    return last ? last->msn : 0;
}

static void parts_wait_for_no_track_that_is_absent(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 2);
    assert_int_equal(last_msn(&world, A), FIRST + 1);
    assert_int_equal(last_msn(&world, 0), FIRST + 1);
    assert_int_equal(last_msn(&world, V), 0);
    assert_int_equal(last_msn(&world, V | A), 0);
    assert_int_equal(stream_next_part(world.stream, A), world.stream->next_part);
    assert_int_equal(stream_next_part(world.stream, V), 0);
    assert_true(stream_has_part(world.stream, A, FIRST + 1, PARTS - 1));
    assert_false(stream_has_part(world.stream, V | A, FIRST, 0));
    assert_true(segment_whole(segment(&world, FIRST), A));
    assert_false(segment_whole(segment(&world, FIRST), V));
    store_destroy(world.store);
}

static void chunks_of_an_absent_track_are_refused(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    struct record *chunk = fixture_real_chunk(name, EPOCH, 0, FIRST, 0, 0);
    assert_int_equal(store_apply(world.store, chunk, 0), -EINVAL);
    record_unref(chunk);
    store_destroy(world.store);
}

static void track_joins_where_it_is_told_and_catches_up(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 3);
    tell(&world, 0, TRACK_JOINING, FIRST + 1);
    uint64_t version = world.stream->version;
    write_late(&world, V, FIRST + 1, 1);
    assert_true(world.stream->version > version);
    assert_int_equal(last_msn(&world, V | A), FIRST + 1);
    assert_int_equal(segment_parts(segment(&world, FIRST), V), 0);
    assert_true(segment_whole(segment(&world, FIRST + 1), V | A));
    write_part(&world, FIRST + 3, 0); /* goes on without it */
    assert_int_equal(last_msn(&world, 0), FIRST + 3);
    write_late(&world, V, FIRST + 2, 1);
    world.tracks = V;
    world.late = true;
    write_part(&world, FIRST + 3, 0);
    tell(&world, 0, TRACK_HERE, FIRST + 3);
    world.late = false;
    assert_true(stream_has_part(world.stream, V | A, FIRST + 3, 0));
    world.tracks = A;
    write_part(&world, FIRST + 3, 1); /* waits for it, from now on */
    assert_int_equal(segment(&world, FIRST + 3)->published, 1);
    world.tracks = V;
    world.late = true;
    write_part(&world, FIRST + 3, 1);
    assert_int_equal(segment(&world, FIRST + 3)->published, 2);
    store_destroy(world.store);
}

static void track_that_joins_later_than_was_said_leaves_no_hole(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 3);
    tell(&world, 0, TRACK_JOINING, FIRST);
    tell(&world, 0, TRACK_JOINING, FIRST + 1);
    assert_int_equal(segment(&world, FIRST)->carried, A);
    assert_int_equal(segment(&world, FIRST + 1)->carried, V | A);
    store_destroy(world.store);
}

static void more_than_a_closed_segment_counts_is_refused(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 2);
    tell(&world, 0, TRACK_JOINING, FIRST);
    write_late(&world, V, FIRST, 1);
    struct record *chunk = fixture_real_chunk(name, EPOCH, 0, FIRST, 2 * PARTS, 0);
    assert_int_equal(store_apply(world.store, chunk, 0), -EINVAL);
    record_unref(chunk);
    store_destroy(world.store);
}

static void track_that_leaves_keeps_what_is_whole(void **state) {
    struct world world;
    (void)state;
    begin(&world, 0);
    write_segments(&world, FIRST, 1);
    write_part(&world, FIRST + 1, 0);
    world.tracks = A;
    write_part(&world, FIRST + 1, 1);
    assert_int_equal(segment(&world, FIRST + 1)->published, 1);
    tell(&world, 0, TRACK_ABSENT, 0);
    assert_int_equal(segment(&world, FIRST + 1)->published, 2); /* it waited for that */
    assert_int_equal(last_msn(&world, V), FIRST);
    assert_int_equal(segment_parts(segment(&world, FIRST + 1), V), 0);
    store_destroy(world.store);
}

static void other_tracks_end_what_was_behind(void **state) {
    struct world world;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 2);
    tell(&world, 0, TRACK_JOINING, FIRST);
    write_late(&world, V, FIRST, 1);
    fixture_apply(world.store, fixture_open(name, EPOCH + 1, 2));
    assert_true(segment(&world, FIRST)->carried & V);
    assert_false(segment(&world, FIRST + 1)->carried & V);
    assert_int_equal(world.stream->here, V | A);
    assert_int_equal(world.stream->joining, 0);
    store_destroy(world.store);
}

static void on_woken(struct waiter *waiter, struct stream *stream, bool timed_out) {
    assert_false(timed_out);
    assert_true(waiter_ready(waiter, stream));
    waiter->deadline_us = 0;
}

static void waiter_waits_for_its_own_tracks(void **state) {
    struct world world;
    struct waiter playlist = {
        .what = WAIT_PLAYLIST, .mask = V | A, .number = FIRST, .index = 1, .deadline_us = 1, .fn = on_woken};
    struct waiter part = {.what = WAIT_PART, .mask = V, .number = FIRST * PARTS, .deadline_us = 1, .fn = on_woken};
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 1);
    stream_wait(world.stream, &playlist);
    stream_wait(world.stream, &part);
    store_wake(world.store, 10);
    assert_true(playlist.deadline_us && part.deadline_us);
    tell(&world, 0, TRACK_JOINING, FIRST);
    world.tracks = V;
    world.late = true;
    write_part(&world, FIRST, 0);
    store_wake(world.store, 10);
    assert_true(playlist.deadline_us && !part.deadline_us);
    write_part(&world, FIRST, 1);
    store_wake(world.store, 10);
    assert_true(!playlist.deadline_us);
    store_destroy(world.store);
}

static int rounds;

static void on_round(struct reader *reader) {
    (void)reader;
    rounds++;
}

/* Whose chunks are elsewhere, too: there is one who tells of it. */
static void readers_are_woken_for_a_part(void **state) {
    struct world world;
    struct reader reader = {.fn = on_round};
    (void)state;
    begin(&world, V | A);
    write_part(&world, FIRST, 0);
    stream_read(world.stream, &reader);
    store_wake(world.store, 10);
    rounds = 0;
    write_part(&world, FIRST, 1);
    store_wake(world.store, 10);
    assert_int_equal(rounds, 1);
    reader_cancel(&reader);
    store_destroy(world.store);
}

/* --- tracks whose chunks come after the parts that count them --- */

static void begin_late(struct world *world, uint32_t late) {
    struct record *open = fixture_open(name, EPOCH, 1);
    *world = (struct world){.store = make_store(), .tracks = 3 & ~late};
    open->open.late = late;
    fixture_apply(world->store, open);
    world->stream = store_find(world->store, name);
}

static void write_late_chunk(struct world *world, uint64_t msn, uint32_t number) {
    fixture_apply(world->store, fixture_real_chunk(name, EPOCH, 1, msn, number, 0));
}

/* The others' parts are published as ever; its own when its chunk is there, in a segment that is over, too. */
static void nothing_waits_for_a_late_track(void **state) {
    struct world world;
    (void)state;
    begin_late(&world, A);
    assert_int_equal(world.stream->here, V);
    write_part(&world, FIRST, 0);
    assert_int_equal(segment(&world, FIRST)->published, 1);
    assert_int_equal(last_msn(&world, A), 0);
    write_late_chunk(&world, FIRST, 0);
    assert_int_equal(segment_parts(segment(&world, FIRST), V | A), 1);
    for (uint32_t i = 1; i < PARTS; i++)
        write_part(&world, FIRST, i);
    write_part(&world, FIRST + 1, 0); /* the next has begun */
    assert_true(segment_whole(segment(&world, FIRST), V));
    assert_false(segment_whole(segment(&world, FIRST), A));
    uint64_t version = world.stream->version;
    for (uint32_t i = 1; i < PARTS; i++)
        write_late_chunk(&world, FIRST, i);
    assert_true(segment_whole(segment(&world, FIRST), V | A));
    assert_true(world.stream->version > version);
    assert_int_equal(segment_parts(segment(&world, FIRST + 1), A), 0);
    write_late_chunk(&world, FIRST + 1, 0);
    assert_true(stream_has_part(world.stream, A, FIRST + 1, 0));
    store_destroy(world.store);
}

/* A part's chunks may come while it is under way, but never more than parts count when a segment is over. */
static void a_late_track_is_no_way_into_a_closed_segment(void **state) {
    struct world world;
    (void)state;
    begin_late(&world, A);
    write_part(&world, FIRST, 0);
    write_late_chunk(&world, FIRST, 0);
    write_late_chunk(&world, FIRST, 1); /* of the part to come */
    for (uint32_t i = 1; i < PARTS; i++)
        write_part(&world, FIRST, i);
    for (uint32_t i = 2; i < PARTS; i++)
        write_late_chunk(&world, FIRST, i);
    struct record *chunk = fixture_real_chunk(name, EPOCH, 1, FIRST, PARTS, 0);
    assert_int_equal(store_apply(world.store, chunk, 0), -EINVAL);
    record_unref(chunk);
    store_destroy(world.store);
}

static void a_late_track_is_never_waited_for_whatever_is_told(void **state) {
    struct world world;
    (void)state;
    begin_late(&world, A);
    write_part(&world, FIRST, 0);
    tell(&world, 1, TRACK_ABSENT, 0);
    assert_int_equal(world.stream->joining, 0);
    tell(&world, 1, TRACK_HERE, FIRST + 1);
    assert_int_equal(world.stream->here, V);
    assert_int_equal(world.stream->joining, A);
    write_part(&world, FIRST, 1);
    assert_int_equal(segment(&world, FIRST)->published, 2);
    store_destroy(world.store);
}

/* --- replay --- */

static void replay(void *ctx, struct record *record) {
    assert_int_equal(store_apply(ctx, record, 1000), 0);
}

static void assert_copy(const struct world *world) {
    struct store *copy = make_store();
    stream_replay(world->stream, replay, copy);
    const struct stream *one = world->stream, *other = store_find(copy, name);
    assert_int_equal(other->here, one->here);
    assert_int_equal(other->joining, one->joining);
    assert_int_equal(other->segment_count, one->segment_count);
    assert_int_equal(store_bytes(copy), store_bytes(world->store));
    for (uint32_t i = 0; i < one->segment_count; i++) {
        const struct segment *a = one->segments[i], *b = other->segments[i];
        assert_int_equal(b->carried, a->carried);
        assert_int_equal(b->complete, a->complete);
        for (uint32_t mask = 0; mask < 4; mask++)
            assert_int_equal(segment_parts(b, mask), segment_parts(a, mask));
    }
    store_destroy(copy);
}

/* Tracks come and go at any time; a copy that is made then is the same. */
static void copy_has_the_same_of_each_track(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 100; seed++) {
        struct world world;
        uint64_t msn = FIRST, behind = 0; /* the segment that the picture is behind with */
        uint32_t index = 0;
        srand(seed);
        begin(&world, rand() % 2 ? V : 0);
        for (int step = 0; step < 60; step++) {
            bool here = world.stream->here & V, joining = world.stream->joining & V;
            int what = rand() % 8;
            if (what == 0 && (here || joining)) {
                tell(&world, 0, TRACK_ABSENT, 0);
                world.tracks = A;
            } else if (what == 1 && !here && !joining && msn > FIRST + 1 &&
                       !segment(&world, msn - 1)->chunks[0].count) {
                behind = msn - 1;
                tell(&world, 0, TRACK_JOINING, behind);
            } else if (joining && what < 6 && behind < msn && segment(&world, behind)->complete) {
                write_late(&world, V, behind++, 1);
                if (behind == msn && !index) {
                    tell(&world, 0, TRACK_HERE, msn);
                    world.tracks = V | A;
                }
            } else {
                write_part(&world, msn, index);
                msn += index == PARTS - 1;
                index = (index + 1) % PARTS;
            }
            assert_copy(&world);
        }
        store_destroy(world.store);
    }
}

static void copy_has_the_same_of_a_late_track(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        struct world world;
        uint32_t parts = 0, chunks = 0;
        srand(seed);
        begin_late(&world, A);
        for (int step = 0; step < 40; step++) {
            if (chunks < parts && rand() % 2) {
                write_late_chunk(&world, FIRST + chunks / PARTS, chunks % PARTS);
                chunks++;
            } else {
                write_part(&world, FIRST + parts / PARTS, parts % PARTS);
                parts++;
            }
            assert_copy(&world);
        }
        store_destroy(world.store);
    }
}

/* --- who reads --- */

static const char *render(const struct world *world, const char *variant) {
    static char text[1 << 16];
    struct buf out;
    buf_init(&out, sizeof text);
    assert_int_equal(playlist_media(&out, world->stream, variant, false, PLAYLIST_MUXED_AUTO), 0);
    buf_append(&out, "", 1);
    memcpy(text, buf_head(&out), buf_len(&out));
    buf_finish(&out);
    return text;
}

static void playlist_begins_where_all_its_tracks_do(void **state) {
    struct world world;
    struct buf out;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 3);
    buf_init(&out, 1 << 16);
    assert_int_equal(playlist_media(&out, world.stream, "v0a0", false, PLAYLIST_MUXED_AUTO), -ENOENT);
    buf_finish(&out);
    tell(&world, 0, TRACK_JOINING, FIRST + 1);
    write_late(&world, V, FIRST + 1, 1);
    const char *text = render(&world, "v0a0");
    assert_non_null(strstr(text, "#EXT-X-MEDIA-SEQUENCE:101\n"));
    assert_null(strstr(text, "102.m4s"));
    assert_non_null(strstr(text, "PRELOAD-HINT:TYPE=PART,URI=\"v0a0/p408.m4s\""));
    assert_non_null(strstr(text, "a0.m3u8\",LAST-MSN=102,LAST-PART=3")); /* where the stream is */
    assert_non_null(strstr(render(&world, "a0"), "#EXT-X-MEDIA-SEQUENCE:100\n"));
    write_late(&world, V, FIRST + 2, 1);
    text = render(&world, "v0a0");
    assert_non_null(strstr(text, "v0a0/101.m4s") && strstr(text, "v0a0/102.m4s") ? text : NULL);
    store_destroy(world.store);
}

static void rates_are_those_of_the_parts(void **state) {
    struct world world;
    struct buf out;
    (void)state;
    begin(&world, V | A);
    write_segments(&world, FIRST, 3);
    buf_init(&out, 1 << 16);
    for (uint32_t p = 0; p < PARTS; p++) /* 800 bytes of picture in 267 ms */
        world.stream->segments[1]->parts[p].record->part.tracks[0].bytes = 200;
    playlist_multivariant(&out, world.stream, PLAYLIST_MUXED_AUTO, NULL);
    buf_append(&out, "", 1);
    assert_non_null(strstr((const char *)buf_head(&out), "AVERAGE-BANDWIDTH=8001,")); /* over three segments */
    buf_finish(&out);
    store_destroy(world.store);
}

static void cursor_waits_for_what_is_behind(void **state) {
    struct world world;
    struct cursor cursor;
    const struct record *chunk;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 2);
    assert_false(cursor_init(&cursor, world.stream, V, 3000000));
    tell(&world, 0, TRACK_JOINING, FIRST);
    world.late = true;
    world.tracks = V;
    write_part(&world, FIRST, 0);
    assert_true(cursor_init(&cursor, world.stream, V, 3000000));
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(cursor_next(&cursor, world.stream, &chunk), CURSOR_CHUNK);
        assert_int_equal(chunk->chunk.number, i);
    }
    assert_int_equal(cursor_next(&cursor, world.stream, &chunk), CURSOR_WAIT); /* not on to the next segment */
    for (uint32_t p = 1; p < PARTS; p++)
        write_part(&world, FIRST, p);
    write_segments(&world, FIRST + 1, 1);
    for (uint32_t i = 2; i < 4 * PARTS; i++) {
        assert_int_equal(cursor_next(&cursor, world.stream, &chunk), CURSOR_CHUNK);
        assert_int_equal(chunk->chunk.msn * 2 * PARTS + chunk->chunk.number, FIRST * 2 * PARTS + i);
    }
    assert_int_equal(cursor.jumps[CURSOR_JUMP_LAG] + cursor.jumps[CURSOR_JUMP_WINDOW], 0);
    cursor_finish(&cursor);
    store_destroy(world.store);
}

static void feed_of_a_track_waits_for_it_and_begins_where_it_joins(void **state) {
    struct world world;
    struct track_out out;
    struct feed_piece piece;
    (void)state;
    begin(&world, V);
    write_segments(&world, FIRST, 3);
    track_out_init(&out, "v0", FIRST + 1, 0);
    assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_MORE); /* init */
    assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_WAIT);
    tell(&world, 0, TRACK_JOINING, FIRST + 1);
    assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_WAIT);
    write_late(&world, V, FIRST + 1, 1);
    for (uint32_t i = 0; i < 2 * PARTS; i++) {
        assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_MORE);
        assert_int_equal(piece.box.number, i);
    }
    assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_WAIT);
    track_out_finish(&out);
    for (uint32_t number = 0; number < 2; number++) {
        track_out_init(&out, "v0", FIRST, number);
        assert_int_equal(track_out_next(&out, world.stream, &piece), FEED_OUT_MORE);
        assert_int_equal(track_out_next(&out, world.stream, &piece), number ? FEED_OUT_LOST : FEED_OUT_MORE);
        assert_true(number || (piece.box.msn == FIRST + 1 && !piece.box.number));
        track_out_finish(&out);
    }
    store_destroy(world.store);
}

static void way_back_is_known_without_the_picture(void **state) {
    struct world world;
    (void)state;
    begin(&world, V | A);
    write_segments(&world, FIRST, 4);
    assert_int_equal(timeline_out_back(world.stream, 300000), FIRST + 2);
    store_destroy(world.store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_wait_for_no_track_that_is_absent),
        cmocka_unit_test(chunks_of_an_absent_track_are_refused),
        cmocka_unit_test(track_joins_where_it_is_told_and_catches_up),
        cmocka_unit_test(track_that_joins_later_than_was_said_leaves_no_hole),
        cmocka_unit_test(more_than_a_closed_segment_counts_is_refused),
        cmocka_unit_test(track_that_leaves_keeps_what_is_whole),
        cmocka_unit_test(other_tracks_end_what_was_behind),
        cmocka_unit_test(waiter_waits_for_its_own_tracks),
        cmocka_unit_test(readers_are_woken_for_a_part),
        cmocka_unit_test(nothing_waits_for_a_late_track),
        cmocka_unit_test(a_late_track_is_no_way_into_a_closed_segment),
        cmocka_unit_test(a_late_track_is_never_waited_for_whatever_is_told),
        cmocka_unit_test(copy_has_the_same_of_a_late_track),
        cmocka_unit_test(copy_has_the_same_of_each_track),
        cmocka_unit_test(playlist_begins_where_all_its_tracks_do),
        cmocka_unit_test(rates_are_those_of_the_parts),
        cmocka_unit_test(cursor_waits_for_what_is_behind),
        cmocka_unit_test(feed_of_a_track_waits_for_it_and_begins_where_it_joins),
        cmocka_unit_test(way_back_is_known_without_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
