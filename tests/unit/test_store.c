#include "common/media/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "media_fixture.h"

static const char *const name = "live/show";

static struct store *make_store(void) {
    const struct store_settings settings = {.window_us = 14000000, .bytes_max = 64 << 20, .streams_max = 4};
    return store_create(&settings);
}

struct target {
    struct store *store;
    int64_t now_us;
    int rc; /* of the last */
};

static void apply(void *ctx, struct record *record) {
    struct target *target = ctx;
    target->rc = store_apply(target->store, record, target->now_us);
    record_unref(record);
}

/* `segments` whole ones, then `parts` of another. */
static struct stream *fill(struct target *target, uint64_t msn, uint64_t part, uint32_t segments, uint32_t parts) {
    for (uint32_t s = 0; s <= segments; s++)
        for (uint32_t i = 0; i < (s < segments ? FIXTURE_PARTS : parts); i++) {
            target->now_us += 200000;
            fixture_write_part(name, FIXTURE_EPOCH, part++, msn + s, i, 0, apply, target);
            assert_int_equal(target->rc, 0);
        }
    return store_find(target->store, name);
}

static struct target opened(void) {
    struct target target = {.store = make_store(), .now_us = 1000000};
    apply(&target, fixture_open(name, FIXTURE_EPOCH, 1));
    assert_int_equal(target.rc, 0);
    return target;
}

static void part_is_published_with_its_last_chunk(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = store_find(t.store, name);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 1, 100, 0, 10));
    for (uint32_t i = 0; i < 5; i++)
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, i, 10));
    apply(&t, fixture_part(name, FIXTURE_EPOCH, 500, 100, 0, 0)); /* says six video chunks: one is under way */
    assert_int_equal(t.rc, 0);
    assert_null(stream_last_segment(stream, 0));
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 5, 10));
    assert_non_null(stream_last_segment(stream, 0));
    struct segment *segment;
    struct part *part = stream_part(stream, 500, &segment);
    assert_non_null(part);
    assert_int_equal(segment->msn, 100);
    assert_null(stream_part(stream, 501, &segment));
    store_destroy(t.store);
}

static void first_frame_of_the_next_segment_completes_one(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, FIXTURE_PARTS);
    assert_false(stream_segment(stream, 100)->complete);
    uint64_t version = stream->version;
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 101, 0, 10));
    assert_int_equal(t.rc, 0);
    assert_true(stream_segment(stream, 100)->complete);
    assert_true(stream->version > version);
    assert_true(stream_has_part(stream, 0, 100, 9));
    assert_false(stream_has_part(stream, 0, 100, 10)); /* part 0 of 101 stands for it, once it is there (LL-073) */
    assert_false(stream_has_part(stream, 0, 101, 0));
    store_destroy(t.store);
}

static void numbers_that_do_not_follow_are_refused(void **state) {
    (void)state;
    struct target t = opened();
    fill(&t, 100, 500, 1, 2);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 103, 0, 10)); /* a segment is missing */
    assert_int_equal(t.rc, -EINVAL);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 0, 10)); /* over already */
    assert_int_equal(t.rc, -EINVAL);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 101, 77, 10)); /* chunks are missing */
    assert_int_equal(t.rc, -EINVAL);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 5, 101, 0, 10)); /* no such track */
    assert_int_equal(t.rc, -EINVAL);
    apply(&t, fixture_part(name, FIXTURE_EPOCH, 400, 101, 2, 0)); /* part numbers never go back */
    assert_int_equal(t.rc, -EINVAL);
    apply(&t, fixture_part(name, FIXTURE_EPOCH - 1, 600, 101, 2, 0));
    assert_int_equal(t.rc, -ESTALE);
    apply(&t, fixture_part("live/other", FIXTURE_EPOCH, 600, 101, 2, 0));
    assert_int_equal(t.rc, -ENOENT);
    store_destroy(t.store);
}

static void window_keeps_its_length_and_removed_segments_stay_a_while(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 12, 1);
    uint32_t listed = stream->segment_count - stream->first_listed;
    assert_in_range(listed, 8, 9);                /* at least 14 s of whole segments of 2 s, and the one under way */
    assert_non_null(stream_segment(stream, 100)); /* LL-022: still to be had */
    stream = fill(&t, 112, 621 + 0, 0, 0);
    int64_t removed_us = stream_segment(stream, 100)->removed_us;
    assert_true(removed_us > 0);
    store_expire(t.store, removed_us + 2 * 2000000 + 14000000 - 1);
    assert_non_null(stream_segment(stream, 100));
    store_expire(t.store, removed_us + 2 * 2000000 + 14000000);
    assert_null(stream_segment(stream, 100));
    assert_int_equal(store_bytes(t.store), stream->bytes);
    store_destroy(t.store);
}

static void limits_on_streams_and_bytes_hold(void **state) {
    (void)state;
    const struct store_settings settings = {.window_us = 14000000, .bytes_max = 5000, .streams_max = 1};
    struct target t = {.store = store_create(&settings)};
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    apply(&t, fixture_open("live/two", FIXTURE_EPOCH, 1));
    assert_int_equal(t.rc, -ENOSPC);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 0, 4000));
    assert_int_equal(t.rc, 0);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 1, 2000));
    assert_int_equal(t.rc, -ENOMEM);
    store_destroy(t.store);
}

static void stream_over_its_limit_leaves_the_others_theirs(void **state) {
    (void)state;
    const struct store_settings settings = {.window_us = 14000000, .bytes_max = 10000, .stream_bytes_max = 5000};
    struct target t = {.store = store_create(&settings)};
    apply(&t, fixture_open("live/large", FIXTURE_EPOCH, 1));
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    apply(&t, fixture_chunk("live/large", FIXTURE_EPOCH, 0, 100, 0, 4000));
    apply(&t, fixture_chunk("live/large", FIXTURE_EPOCH, 0, 100, 1, 2000));
    assert_int_equal(t.rc, -ENOSPC);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 0, 4000));
    assert_int_equal(t.rc, 0);
    store_destroy(t.store);
}

static void store_without_limits_takes_everything(void **state) {
    (void)state;
    struct target t = {.store = store_create(&(struct store_settings){.window_us = 14000000})};
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    assert_int_equal(t.rc, 0);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 0, 4000));
    assert_int_equal(t.rc, 0);
    store_destroy(t.store);
}

static void returning_writer_goes_on_where_the_lost_one_stopped(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 3);
    apply(&t,
          fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 18, 10)); /* the last words of a lost writer: no part has them */
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    assert_int_equal(t.rc, 0);
    fixture_write_part(name, FIXTURE_EPOCH + 1, 503, 101, 0, PART_DISCONTINUITY, apply, &t);
    assert_int_equal(t.rc, 0);
    assert_true(stream_segment(stream, 100)->complete);
    assert_true(stream_segment(stream, 101)->discontinuity);
    assert_int_equal(stream->next_part, 504);
    store_destroy(t.store);
}

static void segment_of_which_nothing_was_published_gives_its_number_back(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 1, 0);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 101, 0, 10));
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    fixture_write_part(name, FIXTURE_EPOCH + 1, 510, 101, 0, 0, apply, &t);
    assert_int_equal(t.rc, 0);
    assert_int_equal(stream->segment_count, 2);
    store_destroy(t.store);
}

static void new_broadcast_under_an_ended_name_starts_an_empty_window(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 2, 0);
    struct record *ended = record_create(RECORD_STATE, name, FIXTURE_EPOCH);
    ended->state.state = STREAM_ENDED;
    apply(&t, ended);
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    assert_null(stream_last_segment(stream, 0)); /* nothing to play yet */
    fixture_write_part(name, FIXTURE_EPOCH + 1, 900, 200, 0, 0, apply, &t);
    assert_int_equal(t.rc, 0);
    assert_int_equal(stream->segment_count - stream->first_listed, 1);
    assert_non_null(stream_segment(stream, 100));
    store_destroy(t.store);
}

/* --- media that this node never had --- */

static void assert_listed_alone(const struct stream *stream, uint64_t msn) {
    assert_int_equal(stream->first_listed, stream->segment_count - 1);
    assert_int_equal(stream->segments[stream->first_listed]->msn, msn);
    for (uint32_t i = 0; i < stream->first_listed; i++)
        assert_true(stream->segments[i]->complete && stream->segments[i]->removed_us);
}

static void gap_in_the_numbers_leaves_what_was_before_unlisted(void **state) {
    (void)state;
    for (uint32_t parts = 3; parts <= FIXTURE_PARTS; parts += FIXTURE_PARTS - 3) {
        struct target t = opened();
        struct stream *stream = fill(&t, 100, 500, 2, parts);
        apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
        uint64_t version = stream->version;
        int64_t now_us = t.now_us += 1000000;
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 1, 108, 0, 400));
        assert_int_equal(t.rc, 0);
        assert_listed_alone(stream, 108);
        assert_true(stream->version > version);
        assert_null(stream_last_segment(stream, 0)); /* nothing to play yet */
        assert_false(stream_has_part(stream, 0, 100, 0));
        assert_non_null(stream_segment(stream, 102)); /* still to be had */
        for (uint32_t i = 0; i < 6; i++)
            apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 108, i, 1000));
        apply(&t, fixture_part(name, FIXTURE_EPOCH, 900, 108, 0, 0));
        assert_int_equal(stream_last_segment(stream, 0)->msn, 108);
        assert_listed_alone(stream, 108);
        store_expire(t.store, now_us + 3 * 2000000 + 14000000);
        assert_int_equal(stream->segment_count, 1);
        store_destroy(t.store);
    }
}

static void numbers_that_follow_stay_listed_under_another_open_record(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 3, 0);
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    fixture_write_part(name, FIXTURE_EPOCH, 900, 103, 0, 0, apply, &t);
    assert_int_equal(stream->first_listed, 0);
    store_destroy(t.store);
}

/* What a lost writer left unseen gives its number back; if the next one does not use it, it is a gap. */
static void number_that_was_given_back_and_not_used_is_a_gap(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 3, 0);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 103, 0, 10));
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    uint64_t version = stream->version;
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, 0, 104, 0, 10));
    assert_int_equal(t.rc, 0);
    assert_listed_alone(stream, 104);
    assert_true(stream->version > version);
    store_destroy(t.store);
}

/* A writer lost right after a gap, before anybody saw of its media: the window is empty until the next. */
static void gap_after_a_gap_of_which_nothing_was_seen(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 2, 0);
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 110, 0, 10));
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 101, 0, 10)); /* refused */
    assert_int_equal(t.rc, -EINVAL);
    assert_int_equal(stream->first_listed, stream->segment_count);
    assert_null(stream_last_segment(stream, 0));
    store_expire(t.store, t.now_us);
    fixture_write_part(name, FIXTURE_EPOCH, 900, 120, 0, 0, apply, &t);
    assert_int_equal(t.rc, 0);
    assert_listed_alone(stream, 120);
    store_destroy(t.store);
}

/* --- waiting --- */

struct held {
    struct waiter waiter;
    int released, timed_out;
};

static void on_waited(struct waiter *waiter, struct stream *stream, bool timed_out) {
    (void)stream;
    struct held *held = list_entry(waiter, struct held, waiter);
    held->released++;
    held->timed_out += timed_out;
}

static struct held hold(enum wait_for what, uint64_t number, uint32_t index, int64_t deadline_us) {
    return (struct held){
        .waiter = {.what = what, .number = number, .index = index, .deadline_us = deadline_us, .fn = on_waited}};
}

static void waiters_are_released_by_what_they_wait_for(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 2);
    struct held playlist = hold(WAIT_PLAYLIST, 100, 2, INT64_MAX), part = hold(WAIT_PART, 503, 0, INT64_MAX);
    stream_wait(stream, &playlist.waiter);
    stream_wait(stream, &part.waiter);
    fixture_write_part(name, FIXTURE_EPOCH, 502, 100, 2, 0, apply, &t);
    assert_int_equal(playlist.released, 0); /* never from inside store_apply */
    assert_false(store_wake(t.store, 10));
    assert_int_equal(playlist.released, 1);
    assert_int_equal(part.released, 0);
    fixture_write_part(name, FIXTURE_EPOCH, 503, 100, 3, 0, apply, &t);
    store_wake(t.store, 10);
    assert_int_equal(part.released, 1);
    store_destroy(t.store);
}

static void crowd_is_released_in_batches(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    struct held crowd[10];
    for (int i = 0; i < 10; i++) {
        crowd[i] = hold(WAIT_PLAYLIST, 100, 1, INT64_MAX);
        stream_wait(stream, &crowd[i].waiter);
    }
    fixture_write_part(name, FIXTURE_EPOCH, 501, 100, 1, 0, apply, &t);
    assert_true(store_wake(t.store, 4));
    assert_int_equal(crowd[3].released, 1);
    assert_int_equal(crowd[4].released, 0);
    assert_true(store_wake(t.store, 4));
    assert_false(store_wake(t.store, 4));
    assert_int_equal(crowd[9].released, 1);
    store_destroy(t.store);
}

static void deadline_and_end_release_too(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    struct held early = hold(WAIT_PART, 900, 0, 5), late = hold(WAIT_PART, 900, 0, 9);
    stream_wait(stream, &early.waiter);
    stream_wait(stream, &late.waiter);
    store_time_out(t.store, 5);
    assert_int_equal(early.timed_out, 1);
    assert_int_equal(late.released, 0);
    struct record *ended = record_create(RECORD_STATE, name, FIXTURE_EPOCH);
    ended->state.state = STREAM_ENDED;
    apply(&t, ended);
    store_wake(t.store, 10);
    assert_int_equal(late.released, 1);
    assert_int_equal(late.timed_out, 0);
    store_destroy(t.store);
}

/* --- reading along --- */

enum { CROWD = 150 };
struct crowd {
    struct reader readers[CROWD];
    struct crowd_member {
        int woken, order; /* how often; which of the round it was */
    } members[CROWD];
    int order;
};
static struct crowd crowd;

static void on_chunks(struct reader *reader) {
    struct crowd_member *member = &crowd.members[reader - crowd.readers];
    member->woken++;
    member->order = crowd.order++;
}

static void gather(struct stream *stream) {
    crowd = (struct crowd){0};
    for (int i = 0; i < CROWD; i++) {
        crowd.readers[i].fn = on_chunks;
        stream_read(stream, &crowd.readers[i]);
    }
}

/* Everybody was woken that often. */
static void assert_woken(int times) {
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(crowd.members[i].woken, times);
}

static void readers_are_woken_once_for_all_that_came(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    while (store_wake(t.store, 64))
        ;
    assert_false(stream_wanted(stream));
    gather(stream);
    assert_true(stream_wanted(stream));
    assert_false(store_wake(t.store, 64)); /* nothing came since they came */
    assert_woken(0);
    fixture_write_part(name, FIXTURE_EPOCH, 501, 100, 1, 0, apply, &t);
    assert_woken(0); /* never from inside store_apply */
    assert_true(store_wake(t.store, 64));
    assert_int_equal(crowd.order, 64);
    assert_true(store_wake(t.store, 64));
    assert_false(store_wake(t.store, 64));
    assert_woken(1);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 12, 10)); /* one chunk, of no part yet */
    while (store_wake(t.store, 64))
        ;
    assert_woken(2);
    store_destroy(t.store);
}

static void round_of_readers_ends_before_the_next_begins(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    store_wake(t.store, 64);
    gather(stream);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 6, 10));
    store_wake(t.store, 64);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 7, 10));
    assert_true(store_wake(t.store, 64));
    assert_true(store_wake(t.store, 22));
    assert_woken(1); /* those of the first slice were not before the last */
    assert_true(store_wake(t.store, 64));
    assert_true(store_wake(t.store, 64));
    assert_false(store_wake(t.store, 64));
    assert_woken(2);
    store_destroy(t.store);
}

static void rounds_begin_with_other_readers(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    store_wake(t.store, 64);
    gather(stream);
    int last = -1;
    for (uint32_t round = 0; round < 3; round++) {
        crowd.order = 0;
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 6 + round, 10));
        while (store_wake(t.store, 64))
            ;
        assert_int_not_equal(crowd.members[0].order, last);
        last = crowd.members[0].order;
    }
    store_destroy(t.store);
}

static void crowd_of_readers_does_not_hold_up_those_of_another_stream(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    apply(&t, fixture_open("live/other", FIXTURE_EPOCH, 1));
    store_wake(t.store, 64);
    gather(stream);
    struct reader *one = &crowd.readers[CROWD - 1];
    reader_cancel(one);
    stream_read(store_find(t.store, "live/other"), one);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 6, 10));
    apply(&t, fixture_chunk("live/other", FIXTURE_EPOCH, 0, 100, 0, 10));
    store_wake(t.store, 64);
    assert_int_equal(crowd.members[CROWD - 1].woken, 0);
    store_wake(t.store, 64);
    assert_int_equal(crowd.members[CROWD - 1].woken, 1);
    store_destroy(t.store);
}

static void on_chunks_cancel_next(struct reader *reader) {
    on_chunks(reader);
    reader_cancel(reader);
    reader_cancel(reader + 1);
}

static void readers_may_leave_while_others_are_woken(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    store_wake(t.store, 64);
    gather(stream);
    for (int i = 0; i < CROWD - 1; i++)
        crowd.readers[i].fn = on_chunks_cancel_next;
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, 6, 10));
    while (store_wake(t.store, 64))
        ;
    assert_int_equal(crowd.order, CROWD / 2);
    assert_false(stream_wanted(stream));
    store_destroy(t.store);
}

static void readers_see_new_tracks_the_end_and_the_stream_gone(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    store_wake(t.store, 64);
    gather(stream);
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    while (store_wake(t.store, 64))
        ;
    assert_woken(1);
    struct record *ended = record_create(RECORD_STATE, name, FIXTURE_EPOCH + 1);
    ended->state.state = STREAM_ENDED;
    apply(&t, ended);
    while (store_wake(t.store, 64))
        ;
    assert_woken(2);
    assert_ptr_equal(crowd.readers[0].stream, stream);
    store_remove(t.store, stream);
    assert_woken(3);
    assert_null(crowd.readers[0].stream);
    reader_cancel(&crowd.readers[0]);
    store_destroy(t.store);
}

static void replay(void *ctx, struct record *record) {
    struct target *copy = ctx;
    assert_int_equal(store_apply(copy->store, record, copy->now_us), 0);
}

static void replay_rebuilds_the_same_stream(void **state) {
    (void)state;
    struct target t = opened(), copy = {.store = make_store(), .now_us = 5};
    struct stream *stream = fill(&t, 100, 500, 3, 4);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 103, 24, 10)); /* of a part that isn't closed */
    stream_replay(stream, replay, &copy);
    struct stream *other = store_find(copy.store, name);
    assert_int_equal(other->segment_count, stream->segment_count);
    assert_int_equal(other->next_part, stream->next_part);
    assert_int_equal(other->bytes, stream->bytes);
    assert_int_equal(other->segments[3]->chunks[0].count, stream->segments[3]->chunks[0].count);
    assert_ptr_equal(other->segments[3]->chunks[0].items[24], stream->segments[3]->chunks[0].items[24]);
    store_destroy(t.store);
    store_destroy(copy.store);
}

static void replay_has_the_same_gap(void **state) {
    (void)state;
    struct target t = opened(), copy = {.store = make_store(), .now_us = 5};
    struct stream *stream = fill(&t, 100, 500, 2, 3);
    for (int with_part = 0; with_part < 2; with_part++) {
        apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
        fixture_write_part(name, FIXTURE_EPOCH, 900 + 10 * (unsigned)with_part, 110 + 10 * (unsigned)with_part, 0, 0,
                           apply, &t);
        assert_int_equal(t.rc, 0);
        stream_replay(stream, replay, &copy);
        struct stream *other = store_find(copy.store, name);
        assert_int_equal(other->segment_count, stream->segment_count);
        assert_listed_alone(other, 110 + 10 * (unsigned)with_part);
        store_remove(copy.store, other);
    }
    store_destroy(t.store);
    store_destroy(copy.store);
}

static struct record *path_through(uint64_t epoch, const char *nearest, const char *next) {
    struct record *record = record_create(RECORD_PATH, name, epoch);
    record->path.count = 2;
    strcpy(record->path.nodes[0], nearest);
    strcpy(record->path.nodes[1], next);
    return record;
}

static void path_is_kept_and_told_to_readers_only(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 1);
    while (store_wake(t.store, 64))
        ;
    gather(stream);
    assert_null(stream->path);
    uint64_t version = stream->version;
    apply(&t, path_through(FIXTURE_EPOCH, "relay-1", "origin"));
    apply(&t, path_through(FIXTURE_EPOCH, "relay-2", "origin"));
    assert_int_equal(t.rc, 0);
    assert_string_equal(stream->path->path.nodes[0], "relay-2");
    assert_int_equal(stream->version, version);
    assert_int_equal(stream->state, STREAM_LIVE);
    while (store_wake(t.store, 64))
        ;
    assert_woken(1);
    struct record *bad = path_through(FIXTURE_EPOCH, "relay-3", "origin");
    bad->path.count = PATH_NODES_MAX + 1;
    apply(&t, bad);
    assert_int_equal(t.rc, -EINVAL);
    bad = path_through(FIXTURE_EPOCH, "relay-3", "origin");
    memset(bad->path.nodes[1], 'x', NODE_NAME_LEN);
    apply(&t, bad);
    assert_int_equal(t.rc, -EINVAL);
    assert_string_equal(stream->path->path.nodes[0], "relay-2");
    store_clear(t.store, stream);
    assert_null(stream->path);
    store_destroy(t.store);
}

static void replay_has_the_path_of_an_earlier_writer(void **state) {
    (void)state;
    struct target t = opened(), copy = {.store = make_store(), .now_us = 5};
    struct stream *stream = fill(&t, 100, 500, 1, 2);
    apply(&t, path_through(FIXTURE_EPOCH, "relay-1", "origin"));
    for (int other_epoch = 0; other_epoch < 2; other_epoch++) {
        if (other_epoch)
            apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
        stream_replay(stream, replay, &copy);
        struct stream *other = store_find(copy.store, name);
        assert_int_equal(other->path->path.count, 2);
        assert_string_equal(other->path->path.nodes[1], "origin");
        assert_int_equal(other->next_part, stream->next_part);
        store_remove(copy.store, other);
    }
    store_destroy(t.store);
    store_destroy(copy.store);
}

static void end_broadcast(struct target *t, uint64_t epoch) {
    struct record *ended = record_create(RECORD_STATE, name, epoch);
    ended->state.state = STREAM_ENDED;
    apply(t, ended);
    assert_int_equal(t->rc, 0);
}

/* LL-029: a worker that follows anew has the segments of the broadcasts before, too. */
static void replay_has_what_is_kept_of_earlier_broadcasts(void **state) {
    (void)state;
    struct target t = opened(), copy = {.store = make_store(), .now_us = 5};
    fill(&t, 100, 500, 2, 0);
    end_broadcast(&t, FIXTURE_EPOCH);
    struct record *open = fixture_open(name, FIXTURE_EPOCH + 1, 2);
    open->open.part_target_us = 200000; /* a new broadcast may have other ones */
    apply(&t, open);
    assert_int_equal(t.rc, 0);
    fixture_write_part(name, FIXTURE_EPOCH + 1, 900, 200, 0, 0, apply, &t);
    end_broadcast(&t, FIXTURE_EPOCH + 1);
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 2, 3));
    for (int with_part = 0; with_part < 2; with_part++) {
        if (with_part)
            fixture_write_part(name, FIXTURE_EPOCH + 2, 1900, 300, 0, 0, apply, &t);
        struct stream *stream = store_find(t.store, name);
        stream_replay(stream, replay, &copy);
        struct stream *other = store_find(copy.store, name);
        assert_int_equal(other->segment_count, stream->segment_count);
        assert_int_equal(other->first_listed, stream->first_listed);
        assert_int_equal(other->state, STREAM_LIVE);
        assert_true(stream_segment(other, 100)->previous && stream_segment(other, 200)->previous);
        assert_int_equal(stream_segment(other, 101)->published, FIXTURE_PARTS);
        assert_true(!with_part == !stream_last_segment(other, 0));
        store_remove(copy.store, other);
    }
    store_destroy(t.store);
    store_destroy(copy.store);
}

/* What no part of a closed segment counts is of no use, but must not make the stream impossible to copy. */
static void replay_copes_with_chunks_that_no_part_counts(void **state) {
    (void)state;
    struct target t = opened(), copy = {.store = make_store(), .now_us = 5};
    for (uint32_t i = 0; i < 7; i++)
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 0, 100, i, 10));
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 1, 100, 0, 10));
    apply(&t, fixture_part(name, FIXTURE_EPOCH, 500, 100, 0, PART_LAST));
    assert_int_equal(t.rc, 0);
    stream_replay(store_find(t.store, name), replay, &copy);
    assert_true(stream_segment(store_find(copy.store, name), 100)->complete);
    assert_int_equal(store_bytes(copy.store), store_bytes(t.store));
    store_destroy(t.store);
    store_destroy(copy.store);
}

/* The multivariant playlist shows them before any part does. */
static void other_tracks_are_a_new_version(void **state) {
    (void)state;
    struct target t = opened();
    struct stream *stream = fill(&t, 100, 500, 0, 2);
    uint64_t version = stream->version;
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 2));
    assert_true(stream->version > version);
    store_destroy(t.store);
}

static void variants_are_named_by_their_tracks(void **state) {
    (void)state;
    struct record *record = fixture_open(name, 1, 1);
    char out[4 * TRACKS_MAX + 1];
    assert_int_equal(variant_parse(&record->open, "v0a0", 4), 3);
    assert_int_equal(variant_parse(&record->open, "a0", 2), 2);
    assert_int_equal(variant_parse(&record->open, "a0v0", 4), 0);
    assert_int_equal(variant_parse(&record->open, "v0a0x", 5), 0);
    assert_int_equal(variant_parse(&record->open, "", 0), 0);
    assert_string_equal(variant_name(out, &record->open, 3), "v0a0");
    assert_int_equal(variant_lead(&record->open, 3), 0);
    assert_int_equal(variant_lead(&record->open, 2), 1);
    record_unref(record);
}

static void variant_of_other_tracks_is_what_there_was_of_it(void **state) {
    (void)state;
    struct record *both = fixture_open(name, 1, 1), *video = fixture_open(name, 2, 2),
                  *audio = fixture_open(name, 3, 3);
    video->open.track_count = audio->open.track_count = 1;
    blob_unref(video->open.tracks[1].init);
    blob_unref(audio->open.tracks[0].init);
    audio->open.tracks[0] = audio->open.tracks[1];
    assert_int_equal(variant_find(&both->open, &both->open, "v0a0"), 3);
    assert_int_equal(variant_find(&video->open, &both->open, "v0a0"), 1);
    assert_int_equal(variant_find(&audio->open, &both->open, "v0a0"), 1);
    assert_int_equal(variant_find(&audio->open, &both->open, "a0"), 1);
    assert_int_equal(variant_find(&video->open, &both->open, "a0"), 1); /* nothing of it: then what there was */
    assert_int_equal(variant_find(&both->open, &audio->open, "a0"), 2);
    assert_int_equal(variant_find(&both->open, &video->open, "v0a0"), 3); /* not listed any more, still loaded */
    assert_int_equal(variant_find(&video->open, &video->open, "v0a0"), 0);
    assert_int_equal(variant_find(&both->open, &both->open, "v9"), 0);
    record_unref(both);
    record_unref(video);
    record_unref(audio);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(part_is_published_with_its_last_chunk),
        cmocka_unit_test(first_frame_of_the_next_segment_completes_one),
        cmocka_unit_test(numbers_that_do_not_follow_are_refused),
        cmocka_unit_test(window_keeps_its_length_and_removed_segments_stay_a_while),
        cmocka_unit_test(limits_on_streams_and_bytes_hold),
        cmocka_unit_test(stream_over_its_limit_leaves_the_others_theirs),
        cmocka_unit_test(store_without_limits_takes_everything),
        cmocka_unit_test(returning_writer_goes_on_where_the_lost_one_stopped),
        cmocka_unit_test(segment_of_which_nothing_was_published_gives_its_number_back),
        cmocka_unit_test(new_broadcast_under_an_ended_name_starts_an_empty_window),
        cmocka_unit_test(gap_in_the_numbers_leaves_what_was_before_unlisted),
        cmocka_unit_test(numbers_that_follow_stay_listed_under_another_open_record),
        cmocka_unit_test(number_that_was_given_back_and_not_used_is_a_gap),
        cmocka_unit_test(gap_after_a_gap_of_which_nothing_was_seen),
        cmocka_unit_test(waiters_are_released_by_what_they_wait_for),
        cmocka_unit_test(crowd_is_released_in_batches),
        cmocka_unit_test(deadline_and_end_release_too),
        cmocka_unit_test(readers_are_woken_once_for_all_that_came),
        cmocka_unit_test(round_of_readers_ends_before_the_next_begins),
        cmocka_unit_test(rounds_begin_with_other_readers),
        cmocka_unit_test(crowd_of_readers_does_not_hold_up_those_of_another_stream),
        cmocka_unit_test(readers_may_leave_while_others_are_woken),
        cmocka_unit_test(readers_see_new_tracks_the_end_and_the_stream_gone),
        cmocka_unit_test(replay_rebuilds_the_same_stream),
        cmocka_unit_test(replay_has_the_same_gap),
        cmocka_unit_test(path_is_kept_and_told_to_readers_only),
        cmocka_unit_test(replay_has_the_path_of_an_earlier_writer),
        cmocka_unit_test(replay_has_what_is_kept_of_earlier_broadcasts),
        cmocka_unit_test(replay_copes_with_chunks_that_no_part_counts),
        cmocka_unit_test(other_tracks_are_a_new_version),
        cmocka_unit_test(variants_are_named_by_their_tracks),
        cmocka_unit_test(variant_of_other_tracks_is_what_there_was_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
