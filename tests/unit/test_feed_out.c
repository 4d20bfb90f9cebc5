/* Where feeds begin, and where they end; what is on them is test_assembler.c's. */
#include "common/media/feed_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/feed_fixture.h"

enum { EPOCH = 5, FIRST = 100, SEGMENTS = 40 }; /* of 267 ms; the window holds 8 of them, and frees what is older */
static const char name[] = "live/show";

static int setup(void **state) {
    const struct store_settings settings = {.window_us = 2000000};
    struct store *store = store_create(&settings);
    fixture_apply(store, fixture_open(name, EPOCH, 1));
    for (uint64_t msn = FIRST; msn < FIRST + SEGMENTS; msn++)
        fixture_real_segment(store, name, EPOCH, msn);
    *state = store;
    return 0;
}

static int teardown(void **state) {
    store_destroy(*state);
    return 0;
}

static void track_begins_with_the_newest_independent_chunk(void **state) {
    struct stream *stream = store_find(*state, name);
    struct track_out out;
    struct feed_piece piece;
    fixture_real_part(*state, name, EPOCH, FIRST + SEGMENTS, 0, false);
    track_out_init(&out, "v0", 0, 0);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.kind, FEED_INIT);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.kind, FEED_CHUNK);
    assert_int_equal(piece.box.msn, FIRST + SEGMENTS);
    assert_int_equal(piece.box.number, 0);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.number, 1);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT);
    track_out_finish(&out);
}

static void track_goes_on_where_it_is_told(void **state) {
    struct stream *stream = store_find(*state, name);
    struct track_out out;
    struct feed_piece piece;
    track_out_init(&out, "a0", FIRST + SEGMENTS - 1, 2);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.kind, FEED_INIT); /* always first: it plays */
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.msn, FIRST + SEGMENTS - 1);
    assert_int_equal(piece.box.number, 2);
    track_out_finish(&out);
}

static void place_that_is_gone_is_lost(void **state) {
    struct stream *stream = store_find(*state, name);
    struct track_out track;
    struct timeline_out timeline;
    struct feed_piece piece;
    struct buf lines;
    buf_init(&lines, 1 << 20);
    uint64_t oldest = stream->segments[0]->msn;
    track_out_init(&track, "v0", oldest, 0);
    assert_int_equal(track_out_next(&track, stream, &piece), FEED_OUT_MORE);
    timeline_out_init(&timeline, "one", oldest);
    assert_int_equal(timeline_out_next(&timeline, stream, &lines, 1), FEED_OUT_MORE);
    while (timeline.msn != oldest)
        assert_int_equal(timeline_out_next(&timeline, stream, &lines, 1), FEED_OUT_MORE);
    store_expire(*state, 3600 * INT64_C(1000000));
    assert_true(stream->segments[0]->msn > oldest);
    assert_int_equal(track_out_next(&track, stream, &piece), FEED_OUT_LOST);
    assert_int_equal(timeline_out_next(&timeline, stream, &lines, 1 << 20), FEED_OUT_LOST);
    track_out_finish(&track);
    timeline_out_finish(&timeline);
    buf_finish(&lines);
}

static void write_silent(struct store *store, uint64_t epoch, uint64_t msn) {
    fixture_each_without_sound(name, epoch, msn, fixture_apply_to, store);
}

static void assert_sound_from(struct track_out *out, const struct stream *stream, uint64_t msn) {
    struct feed_piece piece;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(track_out_next(out, stream, &piece), FEED_OUT_MORE);
        assert_int_equal(piece.box.kind, FEED_CHUNK);
        assert_int_equal(piece.box.msn, msn);
        assert_int_equal(piece.box.number, i);
    }
    assert_int_equal(track_out_next(out, stream, &piece), FEED_OUT_WAIT);
}

static void make_sound(struct store *store, uint64_t epoch, uint64_t msn) {
    fixture_apply(store, fixture_made(name, epoch, true, msn));
    fixture_each_of_sound(name, epoch, msn, fixture_apply_to, store);
}

/* However long nobody asks for it, and whatever has left the window meanwhile. */
static void what_is_made_on_demand_is_waited_for(void **state) {
    struct store *store = *state;
    struct stream *stream = store_find(store, name);
    struct track_out out;
    struct feed_piece piece;
    uint64_t msn = FIRST + SEGMENTS;
    fixture_apply(store, fixture_open_on_demand(name, EPOCH + 1));
    track_out_init(&out, "a0", msn, 0);
    write_silent(store, EPOCH + 1, msn);
    write_silent(store, EPOCH + 1, msn + 1);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.kind, FEED_INIT);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT);
    make_sound(store, EPOCH + 1, msn + 1);
    assert_sound_from(&out, stream, msn + 1);
    fixture_apply(store, fixture_made(name, EPOCH + 1, false, 0));
    write_silent(store, EPOCH + 1, msn + 2);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT); /* in that one */
    for (uint64_t i = 3; i < 40; i++)
        write_silent(store, EPOCH + 1, msn + i);
    store_expire(store, 3600 * INT64_C(1000000));
    assert_true(stream->segments[0]->msn > msn + 2);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT);
    make_sound(store, EPOCH + 1, msn + 39);
    assert_sound_from(&out, stream, msn + 39);
    fixture_apply(store, fixture_made(name, EPOCH + 1, false, 0));
    write_silent(store, EPOCH + 1, msn + 40);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT);
    fixture_apply(store, fixture_open_on_demand(name, EPOCH + 2));
    write_silent(store, EPOCH + 2, msn + 41);
    make_sound(store, EPOCH + 2, msn + 41);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    assert_int_equal(piece.box.kind, FEED_INIT);
    assert_sound_from(&out, stream, msn + 41);
    track_out_finish(&out);
}

static void place_that_is_yet_to_come_is_waited_for(void **state) {
    struct stream *stream = store_find(*state, name);
    struct track_out out;
    struct feed_piece piece;
    track_out_init(&out, "v0", FIRST + SEGMENTS, 0);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_WAIT);
    fixture_real_part(*state, name, EPOCH, FIRST + SEGMENTS, 0, false);
    assert_int_equal(track_out_next(&out, stream, &piece), FEED_OUT_MORE);
    track_out_finish(&out);
}

static void timeline_begins_with_what_is_listed_and_is_told_in_runs(void **state) {
    struct stream *stream = store_find(*state, name);
    struct timeline_out out;
    struct buf lines;
    buf_init(&lines, 1 << 20);
    timeline_out_init(&out, "one", 0);
    assert_int_equal(timeline_out_next(&out, stream, &lines, 1), FEED_OUT_MORE);
    assert_memory_equal(buf_head(&lines), "{\"hello\":{\"version\":1,\"node\":\"one\"}}\n{\"path\":[\"one\"]}\n", 54);
    buf_clear(&lines);
    while (!out.in_segment)
        assert_int_equal(timeline_out_next(&out, stream, &lines, 1), FEED_OUT_MORE);
    assert_int_equal(out.msn, stream->segments[stream->first_listed]->msn);
    assert_int_equal(timeline_out_next(&out, stream, &lines, 1 << 20), FEED_OUT_MORE);
    assert_int_equal(timeline_out_next(&out, stream, &lines, 1 << 20), FEED_OUT_WAIT);
    timeline_out_finish(&out);
    buf_finish(&lines);
}

static void way_back_is_whole_segments_that_can_be_begun_with(void **state) {
    struct stream *stream = store_find(*state, name);
    assert_int_equal(timeline_out_back(stream, 1), FIRST + SEGMENTS - 1);
    assert_int_equal(timeline_out_back(stream, 266664), FIRST + SEGMENTS - 1);
    assert_int_equal(timeline_out_back(stream, 300000), FIRST + SEGMENTS - 2);
    assert_int_equal(timeline_out_back(stream, 3600 * INT64_C(1000000)), stream->segments[stream->first_listed]->msn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(track_begins_with_the_newest_independent_chunk),
        TEST(track_goes_on_where_it_is_told),
        TEST(place_that_is_gone_is_lost),
        TEST(what_is_made_on_demand_is_waited_for),
        TEST(place_that_is_yet_to_come_is_waited_for),
        TEST(timeline_begins_with_what_is_listed_and_is_told_in_runs),
        TEST(way_back_is_whole_segments_that_can_be_begun_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
