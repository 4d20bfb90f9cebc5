#include "common/media/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "media_fixture.h"

/* Video at 30/s, a second a segment that begins with an independent frame; audio in chunks of 100 ms. A chunk says what
 * it is ("v100.3"), and what a cursor gives is collected as text. */

static const char *const name = "live/show";
enum { AUDIO_US = 100000, MSN = 100, LAG_US = 1500000 };

struct world {
    struct store *store;
    struct stream *stream;
    uint64_t epoch;
    int64_t frame, sound; /* written */
    struct cursor cursor;
    char text[65536]; /* what the cursor gave */
};

static void apply(struct world *w, struct record *record) {
    assert_int_equal(store_apply(w->store, record, 0), 0);
    record_unref(record);
    w->stream = store_find(w->store, name);
}

static struct world *begin(void) {
    const struct store_settings settings = {.window_us = 2000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->store = store_create(&settings);
    w->epoch = FIXTURE_EPOCH;
    apply(w, fixture_open(name, w->epoch, 1));
    return w;
}

static void end(struct world *w) {
    cursor_finish(&w->cursor);
    store_destroy(w->store);
    free(w);
}

static int64_t frame_us(const struct world *w) {
    return w->frame * 1000000 / 30;
}

/* Segments of a second, closed by a part that has all of them. */
static void close_segment(struct world *w, uint64_t msn) {
    struct record *record = fixture_part(name, w->epoch, 500 + msn, msn, 0, 0);
    const struct segment *segment = stream_segment(w->stream, msn);
    record->part.tracks[0] = (struct record_part_track){segment->chunks[0].count, 90000};
    record->part.tracks[1] = (struct record_part_track){segment->chunks[1].count, 48000};
    apply(w, record);
}

static void picture(struct world *w, bool independent) {
    uint64_t msn = MSN + (uint64_t)w->frame / 30;
    uint32_t number = (uint32_t)(w->frame % 30);
    if (!number && w->frame)
        close_segment(w, msn - 1);
    apply(w, fixture_chunk_at(name, w->epoch, 0, msn, number, frame_us(w), independent ? CHUNK_INDEPENDENT : 0));
    w->frame++;
}

static void sound(struct world *w) {
    uint64_t msn = MSN + (uint64_t)(w->sound / 10);
    apply(w, fixture_chunk_at(name, w->epoch, 1, msn, (uint32_t)(w->sound % 10), w->sound * AUDIO_US, 0));
    w->sound++;
}

static void pictures(struct world *w, int count) {
    for (int i = 0; i < count; i++)
        picture(w, w->frame % 30 == 0);
}

/* Pictures and, as far as it begins before the next picture, their sound; in segment order. */
static void both(struct world *w, int count) {
    for (int i = 0; i < count; i++) {
        pictures(w, 1);
        while (w->sound * AUDIO_US < frame_us(w) && w->sound / 10 == (w->frame - 1) / 30)
            sound(w);
    }
}

static void start(struct world *w, uint32_t mask) {
    assert_true(cursor_init(&w->cursor, w->stream, mask, LAG_US));
}

/* Gives at most `max` chunks; the result that ended it. */
static enum cursor_result take(struct world *w, int max) {
    const struct record *chunk;
    enum cursor_result result = CURSOR_CHUNK;
    w->text[0] = 0;
    for (size_t len = 0; max-- > 0 && (result = cursor_next(&w->cursor, w->stream, &chunk)) == CURSOR_CHUNK;) {
        const char *says = (const char *)chunk->chunk.body.blob->data + chunk->chunk.body.off;
        size_t n = strcspn(says, ".") + 1;
        n += strcspn(says + n, ";");
        memcpy(w->text + len, says, n);
        len += n;
        w->text[len++] = ' ';
        w->text[len] = 0;
    }
    return result;
}

static void starts_at_the_newest_independent_chunk_and_its_sound(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 63); /* the third segment has three */
    start(w, 3);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v102.0 a102.0 v102.1 v102.2 ");
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    both(w, 2);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v102.3 a102.1 v102.4 ");
    end(w);
}

static void sound_that_covers_the_start_is_taken_from_the_segment_before(void **state) {
    (void)state;
    struct world *w = begin();
    /* sound 50 ms late against the pictures: its chunk 9 covers the independent frame at 1 s */
    pictures(w, 30);
    for (uint32_t i = 0; i < 10; i++)
        apply(w, fixture_chunk_at(name, w->epoch, 1, MSN, i, i * AUDIO_US + 50000, 0));
    pictures(w, 2);
    apply(w, fixture_chunk_at(name, w->epoch, 1, MSN + 1, 0, 1050000, 0));
    start(w, 3);
    take(w, 100);
    assert_string_equal(w->text, "a100.9 v101.0 v101.1 a101.0 ");
    end(w);
}

static void sound_before_a_gap_is_not_taken(void **state) {
    (void)state;
    struct world *w = begin();
    pictures(w, 30);
    for (uint32_t i = 0; i < 5; i++)
        apply(w, fixture_chunk_at(name, w->epoch, 1, MSN, i, i * AUDIO_US, 0));
    pictures(w, 2);
    apply(w, fixture_chunk_at(name, w->epoch, 1, MSN + 1, 0, 1020000, 0));
    start(w, 3);
    take(w, 100);
    assert_string_equal(w->text, "v101.0 a101.0 v101.1 ");
    end(w);
}

static void picture_does_not_wait_for_sound(void **state) {
    (void)state;
    struct world *w = begin();
    pictures(w, 5);
    start(w, 3);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v100.0 v100.1 v100.2 v100.3 v100.4 ");
    sound(w);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "a100.0 ");
    end(w);
}

static void only_the_tracks_of_its_variant_are_given(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 12);
    start(w, 1);
    take(w, 3);
    assert_string_equal(w->text, "v100.0 v100.1 v100.2 ");
    end(w);
}

static void sound_alone_starts_at_its_newest_chunk(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 30);
    start(w, 2);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "a100.9 ");
    both(w, 7);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "a101.0 a101.1 a101.2 ");
    end(w);
}

static void nothing_independent_is_nothing_to_start_with(void **state) {
    (void)state;
    struct world *w = begin();
    assert_false(cursor_init(&w->cursor, w->stream, 3, LAG_US));
    picture(w, false);
    sound(w);
    assert_false(cursor_init(&w->cursor, w->stream, 3, LAG_US));
    picture(w, true);
    start(w, 3);
    take(w, 100);
    assert_string_equal(w->text, "a100.0 v100.1 ");
    end(w);
}

static void follows_into_the_next_segment(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 29);
    start(w, 3);
    take(w, 100);
    both(w, 3);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v100.29 v101.0 a101.0 v101.1 ");
    end(w);
}

static void reader_that_lags_jumps_to_the_newest_independent_chunk(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    start(w, 3);
    take(w, 2);
    both(w, 42); /* 1.5 s: the limit, not more */
    take(w, 1);
    assert_string_equal(w->text, "v100.1 ");
    both(w, 30);
    take(w, 4);
    assert_string_equal(w->text, "v102.0 a102.0 v102.1 v102.2 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_LAG], 1);
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_WINDOW], 0);
    end(w);
}

static void lag_within_one_group_of_pictures_is_no_jump(void **state) {
    (void)state;
    struct world *w = begin();
    picture(w, true);
    for (int i = 0; i < 100; i++)
        picture(w, false);
    start(w, 1);
    take(w, 10);
    assert_string_equal(w->text, "v100.0 v100.1 v100.2 v100.3 v100.4 v100.5 v100.6 v100.7 v100.8 v100.9 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_LAG], 0); /* there is nothing ahead to jump to */
    picture(w, true);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v103.11 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_LAG], 1);
    end(w);
}

static void jump_never_takes_sound_back(void **state) {
    (void)state;
    struct world *w = begin();
    pictures(w, 3);
    for (int i = 0; i < 10; i++)
        sound(w);
    start(w, 3);
    w->cursor.max_lag_us = 200000;
    take(w, 100); /* sound up to one second; the pictures are late */
    for (int i = 0; i < 20; i++)
        picture(w, i == 17);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v100.20 v100.21 v100.22 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_LAG], 1);
    end(w);
}

static void reader_left_behind_by_the_window_jumps(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    start(w, 3);
    w->cursor.max_lag_us = INT64_MAX;
    take(w, 2);
    both(w, 300);
    store_expire(w->store, INT64_MAX / 2);
    assert_null(stream_segment(w->stream, MSN));
    assert_int_equal(take(w, 3), CURSOR_CHUNK);
    assert_string_equal(w->text, "v110.0 a110.0 v110.1 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_WINDOW], 1);
    end(w);
}

static void reader_left_behind_waits_for_an_independent_chunk(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    start(w, 1);
    for (int i = 0; i < 300; i++)
        picture(w, false);
    store_expire(w->store, INT64_MAX / 2);
    assert_int_equal(take(w, 3), CURSOR_WAIT);
    picture(w, false);
    assert_int_equal(take(w, 3), CURSOR_WAIT);
    picture(w, true);
    picture(w, false);
    assert_int_equal(take(w, 9), CURSOR_WAIT);
    assert_string_equal(w->text, "v110.6 v110.7 ");
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_WINDOW], 1);
    end(w);
}

static void sparse_track_is_not_taken_for_left_behind(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    start(w, 3);
    take(w, 100);
    for (int i = 0; i < 40; i++) { /* sound has stopped; the reader keeps up */
        pictures(w, 10);
        assert_int_equal(take(w, 100), CURSOR_WAIT);
        store_expire(w->store, INT64_MAX / 2);
    }
    assert_null(stream_segment(w->stream, MSN));
    assert_int_equal(w->cursor.jumps[CURSOR_JUMP_WINDOW] + w->cursor.jumps[CURSOR_JUMP_LAG], 0);
    end(w);
}

static void new_open_record_is_the_end_after_what_there_was(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    start(w, 1);
    take(w, 3);
    close_segment(w, MSN);
    apply(w, fixture_open(name, ++w->epoch, 2));
    apply(w, fixture_chunk_at(name, w->epoch, 0, MSN + 1, 0, 5000000, CHUNK_INDEPENDENT));
    assert_int_equal(take(w, 100), CURSOR_END);
    assert_string_equal(w->text, "v100.3 v100.4 "); /* however far ahead the others are */
    end(w);
}

static void earlier_tracks_are_nothing_to_start_with(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 5);
    close_segment(w, MSN);
    apply(w, fixture_open(name, ++w->epoch, 2));
    apply(w, fixture_chunk_at(name, w->epoch, 0, MSN + 1, 0, 5000000, 0));
    assert_false(cursor_init(&w->cursor, w->stream, 1, LAG_US));
    apply(w, fixture_chunk_at(name, w->epoch, 0, MSN + 1, 1, 5033333, CHUNK_INDEPENDENT));
    start(w, 1);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    assert_string_equal(w->text, "v101.1 ");
    end(w);
}

static void segment_that_nobody_saw_and_whose_number_is_used_again_is_the_end(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 33);
    start(w, 1);
    take(w, 100);
    apply(w, fixture_open(name, ++w->epoch, 2));
    apply(w, fixture_chunk_at(name, w->epoch, 0, MSN + 1, 0, 5000000, CHUNK_INDEPENDENT));
    assert_int_equal(take(w, 100), CURSOR_END);
    end(w);
}

static void ended_stream_is_the_end_after_what_there_was(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 4);
    start(w, 1);
    take(w, 2);
    struct record *ended = record_create(RECORD_STATE, name, w->epoch);
    ended->state.state = STREAM_ENDED;
    apply(w, ended);
    assert_int_equal(take(w, 100), CURSOR_END);
    assert_string_equal(w->text, "v100.2 v100.3 ");
    end(w);
}

static void publisher_that_is_away_is_waited_for(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 2);
    start(w, 1);
    struct record *away = record_create(RECORD_STATE, name, w->epoch);
    away->state.state = STREAM_AWAY;
    apply(w, away);
    assert_int_equal(take(w, 100), CURSOR_WAIT);
    end(w);
}

static void replay(void *ctx, struct record *record) {
    assert_int_equal(store_apply(ctx, record, 0), 0);
}

static void place_holds_in_a_copy_of_the_stream(void **state) {
    (void)state;
    struct world *w = begin();
    both(w, 40);
    start(w, 3);
    take(w, 5);
    const struct store_settings settings = {.window_us = 2000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct store *copy = store_create(&settings);
    stream_replay(w->stream, replay, copy);
    store_destroy(w->store);
    w->store = copy;
    w->stream = store_find(copy, name);
    take(w, 3);
    assert_string_equal(w->text, "a101.1 v101.4 v101.5 ");
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_at_the_newest_independent_chunk_and_its_sound),
        cmocka_unit_test(sound_that_covers_the_start_is_taken_from_the_segment_before),
        cmocka_unit_test(sound_before_a_gap_is_not_taken),
        cmocka_unit_test(picture_does_not_wait_for_sound),
        cmocka_unit_test(only_the_tracks_of_its_variant_are_given),
        cmocka_unit_test(sound_alone_starts_at_its_newest_chunk),
        cmocka_unit_test(nothing_independent_is_nothing_to_start_with),
        cmocka_unit_test(follows_into_the_next_segment),
        cmocka_unit_test(reader_that_lags_jumps_to_the_newest_independent_chunk),
        cmocka_unit_test(lag_within_one_group_of_pictures_is_no_jump),
        cmocka_unit_test(jump_never_takes_sound_back),
        cmocka_unit_test(reader_left_behind_by_the_window_jumps),
        cmocka_unit_test(reader_left_behind_waits_for_an_independent_chunk),
        cmocka_unit_test(sparse_track_is_not_taken_for_left_behind),
        cmocka_unit_test(new_open_record_is_the_end_after_what_there_was),
        cmocka_unit_test(earlier_tracks_are_nothing_to_start_with),
        cmocka_unit_test(segment_that_nobody_saw_and_whose_number_is_used_again_is_the_end),
        cmocka_unit_test(ended_stream_is_the_end_after_what_there_was),
        cmocka_unit_test(publisher_that_is_away_is_waited_for),
        cmocka_unit_test(place_holds_in_a_copy_of_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
