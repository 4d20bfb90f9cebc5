#include "origin/origin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/media/hub.h"
#include "media_fixture.h"

static const char *const name = "live/show";

struct writer {
    struct world *world;
    const char *stream;
    uint64_t goes_on; /* the epoch of a claim that does */
    void *claim;
    enum claim_result result;
    struct claim_grant grant;
    int results, losses, cuts;
};

struct world {
    struct loop *loop;
    struct hub *hub;
    struct origin *origin;
    struct writer_port port;
    struct loop_timer *poll_timer;
    enum stream_state wanted;
    uint64_t part;
};

static void on_result(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct writer *writer = owner;
    writer->results++;
    writer->result = result;
    assert_int_equal(!!grant, result == CLAIM_GRANTED);
    if (grant)
        writer->grant = *grant;
    loop_stop(writer->world->loop);
}

static void on_lost(void *owner, const struct claim_loss *loss) {
    struct writer *writer = owner;
    assert_true(loss->why[0]);
    writer->cuts += loss->cut;
    writer->losses++;
}

/* Until the stream is in the wanted state. */
static void on_poll(void *ctx) {
    struct world *world = ctx;
    const struct stream *stream = store_find(hub_store(world->hub), name);
    if (stream && stream->state == world->wanted)
        loop_stop(world->loop);
    else
        loop_timer_set(world->poll_timer, 5000);
}

static void await_state(struct world *world, enum stream_state state) {
    world->wanted = state;
    loop_timer_set(world->poll_timer, 0);
    loop_run(world->loop);
}

static struct world *begin_with(const struct store_settings *store, uint32_t grace_ms, uint32_t silent_ms) {
    struct world *world = calloc(1, sizeof *world);
    world->loop = loop_create();
    world->hub = hub_create(world->loop, store);
    world->origin = origin_create(world->loop, world->hub, &(struct origin_settings){grace_ms, silent_ms});
    world->port = origin_port(world->origin);
    world->poll_timer = loop_timer_create(world->loop, on_poll, world);
    return world;
}

static struct world *begin(uint32_t grace_ms, uint32_t silent_ms) {
    static const struct store_settings store = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    return begin_with(&store, grace_ms, silent_ms);
}

static void end(struct world *world) {
    origin_destroy(world->origin);
    hub_destroy(world->hub);
    loop_timer_destroy(world->poll_timer);
    loop_destroy(world->loop);
    free(world);
}

static void claim_with(struct world *world, struct writer *writer, const char *stream, uint64_t epoch) {
    *writer = (struct writer){.world = world, .stream = stream, .goes_on = epoch};
    writer->claim =
        world->port.claim(world->port.ctx, stream, "192.0.2.1:9", writer->goes_on, on_result, on_lost, writer);
    assert_int_equal(writer->results, 0);
    loop_run(world->loop);
}

static void claim_as(struct world *world, struct writer *writer, const char *stream) {
    claim_with(world, writer, stream, 0);
}

static void claim(struct world *world, struct writer *writer) {
    claim_as(world, writer, name);
}

static void release(struct writer *writer) {
    writer->world->port.release(writer->world->port.ctx, writer->claim, false);
}

static void write_one(void *ctx, struct record *record) {
    struct writer *writer = ctx;
    assert_int_equal(writer->world->port.write(writer->world->port.ctx, writer->claim, record), 0);
}

/* A whole part as the first of the granted segment. */
static void write_first_part(struct writer *writer) {
    const struct claim_grant *grant = &writer->grant;
    write_one(writer, fixture_open(writer->stream, grant->epoch, grant->init_versions + 1));
    fixture_write_part(writer->stream, grant->epoch, grant->next_part, grant->next_msn, 0,
                       grant->resumes ? PART_DISCONTINUITY : 0, write_one, writer);
}

static void on_stop(void *ctx) {
    loop_stop(ctx);
}

static void one_turn(struct world *world) {
    struct loop_timer *timer = loop_timer_create(world->loop, on_stop, world->loop);
    loop_timer_set(timer, 0);
    loop_run(world->loop);
    loop_timer_destroy(timer);
}

static void new_stream_gets_numbers_from_the_clock(void **state) {
    (void)state;
    struct world *world = begin(50, 1000);
    struct writer a;
    claim(world, &a);
    assert_int_equal(a.result, CLAIM_GRANTED);
    assert_false(a.grant.resumes);
    assert_true(a.grant.next_msn > 110000000 && a.grant.next_part / 20 == a.grant.next_msn);
    release(&a);
    end(world);
}

static void second_writer_is_refused_while_the_first_writes(void **state) {
    (void)state;
    struct world *world = begin(50, 1000);
    struct writer a, b;
    claim(world, &a);
    claim(world, &b);
    assert_int_equal(b.result, CLAIM_BUSY);
    assert_int_equal(a.losses, 0);
    release(&b);
    release(&a);
    end(world);
}

static void silent_writer_is_taken_over(void **state) {
    (void)state;
    struct world *world = begin(5000, 0); /* silent at once */
    struct writer a, b;
    claim(world, &a);
    write_first_part(&a);
    /* a's next segment has begun, but no part of it is closed */
    write_one(&a, fixture_chunk(name, a.grant.epoch, 0, a.grant.next_msn + 1, 0, 10));
    do {
        claim(world, &b);
        if (b.result != CLAIM_GRANTED)
            release(&b);
    } while (b.result != CLAIM_GRANTED); /* until the clock has moved on by a microsecond */
    one_turn(world);
    assert_int_equal(a.losses, 1);
    assert_true(b.grant.epoch > a.grant.epoch);
    assert_true(b.grant.resumes);
    assert_int_equal(b.grant.next_msn, a.grant.next_msn + 1);
    assert_int_equal(b.grant.next_part, a.grant.next_part + 1);
    assert_int_equal(b.grant.init_versions, 1);
    assert_int_equal(b.grant.part_target_us, 213334);
    struct record *late = fixture_chunk(name, a.grant.epoch, 0, a.grant.next_msn + 1, 1, 10);
    assert_int_equal(world->port.write(world->port.ctx, a.claim, late), -ESTALE);
    write_first_part(&b);
    release(&a);
    release(&b);
    end(world);
}

static void discontinuities_are_counted_over_all_writers(void **state) {
    (void)state;
    struct world *world = begin(5000, 1000);
    for (uint32_t n = 0; n < 4; n++) {
        struct writer writer;
        claim(world, &writer);
        assert_int_equal(writer.grant.discontinuity_sequence, n ? n - 1 : 0);
        write_one(&writer, fixture_open(name, writer.grant.epoch, writer.grant.init_versions + 1));
        fixture_write_part(name, writer.grant.epoch, writer.grant.next_part, writer.grant.next_msn, 0, 0, write_one,
                           &writer);
        struct stream *stream = store_find(hub_store(world->hub), name);
        stream->segments[stream->segment_count - 1]->discontinuity_sequence = n; /* as the segmenter would say */
        /* and it is lost in the middle of its next segment */
        write_one(&writer, fixture_chunk(name, writer.grant.epoch, 0, writer.grant.next_msn + 1, 0, 10));
        release(&writer);
    }
    end(world);
}

static void stream_waits_for_its_writer_and_then_ends(void **state) {
    (void)state;
    struct world *world = begin(100, 1000);
    struct writer a, b;
    claim(world, &a);
    write_first_part(&a);
    release(&a);
    await_state(world, STREAM_AWAY);
    claim(world, &b); /* in time */
    assert_true(b.grant.resumes);
    write_first_part(&b);
    release(&b);
    await_state(world, STREAM_ENDED);
    claim(world, &a); /* a new broadcast under the old name */
    assert_false(a.grant.resumes);
    assert_true(a.grant.next_msn > b.grant.next_msn && a.grant.next_part > b.grant.next_part);
    write_first_part(&a);
    release(&a);
    end(world);
}

static void stream_whose_writer_has_left_for_good_ends_at_once(void **state) {
    (void)state;
    struct world *world = begin(60000, 1000);
    struct writer a;
    claim(world, &a);
    write_first_part(&a);
    origin_end(world->origin, name); /* he hasn't */
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_LIVE);
    release(&a);
    origin_end(world->origin, name);
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_ENDED);
    origin_end(world->origin, name); /* there is nothing left to end */
    claim(world, &a);
    assert_int_equal(a.result, CLAIM_GRANTED);
    assert_false(a.grant.resumes);
    release(&a);
    end(world);
}

/* --- the operator --- */

static void cut_broadcast_is_over_at_once(void **state) {
    (void)state;
    struct world *world = begin(50, 1000);
    struct writer a, b;
    claim(world, &a);
    write_first_part(&a);
    assert_int_equal(origin_cut(world->origin, name, 60), 0);
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_ENDED);
    assert_int_equal(a.cuts, 1);
    assert_null(origin_publisher(world->origin, name));
    struct record *late = fixture_chunk(name, a.grant.epoch, 0, a.grant.next_msn + 1, 0, 10);
    assert_int_equal(world->port.write(world->port.ctx, a.claim, late), -ESTALE);
    release(&a);
    claim(world, &b);
    assert_int_equal(b.result, CLAIM_CUT);
    release(&b);
    claim_with(world, &b, name, a.grant.epoch); /* nor may one who goes on */
    assert_int_equal(b.result, CLAIM_CUT);
    release(&b);
    claim_as(world, &b, "live/other");
    assert_int_equal(b.result, CLAIM_GRANTED);
    release(&b);
    end(world);
}

static void operators_last_word_on_a_name_holds(void **state) {
    (void)state;
    struct world *world = begin(50, 1000);
    struct writer a;
    assert_int_equal(origin_cut(world->origin, name, 60), -ENOENT); /* nobody broadcasts under it */
    claim(world, &a);
    write_first_part(&a);
    origin_cut(world->origin, name, 60);
    release(&a);
    assert_int_equal(origin_cut(world->origin, name, 0), 0);
    claim(world, &a);
    assert_int_equal(a.result, CLAIM_GRANTED);
    assert_false(a.grant.resumes);
    release(&a);
    end(world);
}

static void broadcast_without_its_writer_is_cut_too(void **state) {
    (void)state;
    struct world *world = begin(60000, 1000);
    struct writer a;
    claim(world, &a);
    write_first_part(&a);
    release(&a);
    assert_int_equal(origin_cut(world->origin, name, 60), 0);
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_ENDED);
    end(world);
}

static void stream_that_its_writer_ends_does_not_wait_for_him(void **state) {
    (void)state;
    struct world *world = begin(60000, 1000);
    struct writer a;
    claim(world, &a);
    write_first_part(&a);
    struct record *over = record_create(RECORD_STATE, name, a.grant.epoch);
    over->state.state = STREAM_ENDED;
    write_one(&a, over);
    release(&a);
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_ENDED);
    claim(world, &a);
    assert_false(a.grant.resumes);
    release(&a);
    end(world);
}

/* --- claims that go on --- */

static void writer_goes_on_over_another_connection(void **state) {
    (void)state;
    struct world *world = begin(5000, 1000);
    struct writer first, second;
    claim(world, &first);
    write_first_part(&first);
    claim_with(world, &second, name, first.grant.epoch); /* the first one's connection is not known to be lost yet */
    assert_int_equal(second.result, CLAIM_GRANTED);
    assert_int_equal(second.grant.epoch, first.grant.epoch);
    one_turn(world);
    assert_int_equal(first.losses, 1);
    release(&first);
    write_one(&second, fixture_chunk(name, second.grant.epoch, 0, first.grant.next_msn, 6, 10));
    release(&second);
    end(world);
}

static void writer_goes_on_where_all_was_lost(void **state) {
    (void)state;
    struct world *world = begin(5000, 1000);
    struct writer writer;
    claim_with(world, &writer, name, 12345);
    assert_int_equal(writer.result, CLAIM_GRANTED);
    assert_int_equal(writer.grant.epoch, 12345);
    write_first_part(&writer);
    release(&writer);
    end(world);
}

static void old_writer_is_fenced_once_a_later_one_has_written(void **state) {
    (void)state;
    struct world *world = begin(5000, 0);
    struct writer old, later, again;
    claim(world, &old);
    write_first_part(&old);
    do {
        claim(world, &later);
        if (later.result != CLAIM_GRANTED)
            release(&later);
    } while (later.result != CLAIM_GRANTED);
    release(&old);
    claim_with(world, &again, name, old.grant.epoch);
    assert_int_equal(again.result, CLAIM_BUSY); /* the later one has written nothing, and may yet leave */
    release(&again);
    write_first_part(&later);
    claim_with(world, &again, name, old.grant.epoch);
    assert_int_equal(again.result, CLAIM_FENCED);
    release(&again);
    release(&later);
    claim_with(world, &again, name, old.grant.epoch);
    assert_int_equal(again.result, CLAIM_FENCED); /* also when that one has gone */
    release(&again);
    end(world);
}

static void later_epoch_takes_over_one_that_is_not_silent(void **state) {
    (void)state;
    struct world *world = begin(5000, 1000);
    struct writer old, later;
    claim(world, &old);
    write_first_part(&old);
    claim_with(world, &later, name, old.grant.epoch + 1000); /* granted by another origin */
    assert_int_equal(later.result, CLAIM_GRANTED);
    one_turn(world);
    assert_int_equal(old.losses, 1);
    release(&old);
    write_first_part(&later);
    release(&later);
    end(world);
}

/* --- memory --- */

/* Another chunk of the granted segment's next part. */
static int write_chunk(struct writer *writer, uint32_t number, size_t len) {
    const struct claim_grant *grant = &writer->grant;
    struct record *record = fixture_chunk(writer->stream, grant->epoch, 0, grant->next_msn, number, len);
    return writer->world->port.write(writer->world->port.ctx, writer->claim, record);
}

static void stream_over_its_limit_loses_its_writer_alone(void **state) {
    (void)state;
    const struct store_settings store = {.window_us = 30000000, .stream_bytes_max = 30000};
    struct world *world = begin_with(&store, 5000, 1000);
    struct writer large, small;
    claim_as(world, &large, name);
    claim_as(world, &small, "live/small");
    write_first_part(&large);
    write_first_part(&small);
    assert_int_equal(write_chunk(&large, 6, 30000), -ESTALE);
    assert_int_equal(large.losses, 0); /* never from inside its own call */
    one_turn(world);
    assert_int_equal(large.losses, 1);
    assert_int_equal(store_find(hub_store(world->hub), name)->state, STREAM_AWAY);
    assert_null(origin_publisher(world->origin, name));
    assert_int_equal(write_chunk(&small, 6, 10000), 0);
    assert_int_equal(small.losses, 0);
    release(&large);
    release(&small);
    end(world);
}

static void largest_stream_goes_when_memory_is_full_whoever_writes(void **state) {
    (void)state;
    const struct store_settings store = {.window_us = 30000000, .bytes_max = 60000};
    struct world *world = begin_with(&store, 5000, 1000);
    struct writer large, small;
    claim_as(world, &large, name);
    claim_as(world, &small, "live/small");
    write_first_part(&large);
    write_first_part(&small);
    assert_int_equal(write_chunk(&large, 6, 30000), 0);
    assert_int_equal(write_chunk(&small, 6, 20000), 0); /* what doesn't fit any more */
    assert_null(store_find(hub_store(world->hub), name));
    assert_int_equal(large.losses, 0);
    assert_int_equal(write_chunk(&large, 7, 10), -ESTALE);
    one_turn(world);
    assert_int_equal(large.losses, 1);
    assert_int_equal(small.losses, 0);
    release(&large);
    claim_as(world, &large, name); /* it may try again */
    assert_int_equal(large.result, CLAIM_GRANTED);
    write_first_part(&large);
    release(&large);
    release(&small);
    end(world);
}

static void largest_stream_goes_when_its_own_record_is_too_much(void **state) {
    (void)state;
    const struct store_settings store = {.window_us = 30000000, .bytes_max = 60000};
    struct world *world = begin_with(&store, 5000, 1000);
    struct writer large, small;
    claim_as(world, &large, name);
    claim_as(world, &small, "live/small");
    write_first_part(&large);
    write_first_part(&small);
    assert_int_equal(write_chunk(&large, 6, 30000), 0);
    assert_int_equal(write_chunk(&large, 7, 30000), -ESTALE);
    one_turn(world);
    assert_int_equal(large.losses, 1);
    assert_non_null(store_find(hub_store(world->hub), "live/small"));
    release(&large);
    release(&small);
    end(world);
}

/* --- full --- */

static void stream_too_many_is_refused(void **state) {
    (void)state;
    const struct store_settings store = {.window_us = 30000000, .streams_max = 2};
    struct world *world = begin_with(&store, 5000, 1000);
    struct writer a, b, c;
    claim_as(world, &a, name);
    write_first_part(&a);
    claim_as(world, &b, "live/two"); /* has written nothing yet, but has its place */
    claim_as(world, &c, "live/three");
    assert_int_equal(b.result, CLAIM_GRANTED);
    assert_int_equal(c.result, CLAIM_FULL);
    release(&c);
    claim_as(world, &c, name); /* as ever */
    assert_int_equal(c.result, CLAIM_BUSY);
    release(&c);
    release(&a);
    claim_as(world, &a, name); /* who comes back has its place */
    assert_int_equal(a.result, CLAIM_GRANTED);
    release(&b); /* gives it back, for there was no stream */
    one_turn(world);
    claim_as(world, &c, "live/three");
    assert_int_equal(c.result, CLAIM_GRANTED);
    release(&c);
    release(&a);
    end(world);
}

static void new_stream_is_refused_when_memory_is_nearly_full(void **state) {
    (void)state;
    const struct store_settings store = {.window_us = 30000000, .bytes_max = 60000};
    struct world *world = begin_with(&store, 5000, 1000);
    struct writer a, b;
    claim(world, &a);
    write_first_part(&a);
    assert_int_equal(write_chunk(&a, 6, 40000), 0);
    claim_as(world, &b, "live/two");
    assert_int_equal(b.result, CLAIM_GRANTED);
    release(&b);
    assert_int_equal(write_chunk(&a, 7, 7000), 0);
    claim_as(world, &b, "live/two");
    assert_int_equal(b.result, CLAIM_FULL);
    release(&b);
    release(&a);
    claim(world, &a);
    assert_int_equal(a.result, CLAIM_GRANTED);
    release(&a);
    end(world);
}

static void note_told(void *ctx, const char *stream, uint64_t epoch) {
    assert_string_equal(stream, name);
    *(uint64_t *)ctx = epoch;
}

static void streams_that_are_written_are_told_of(void **state) {
    (void)state;
    struct world *world = begin(10, 1000);
    struct writer a;
    uint64_t told = 7;
    origin_on_stream(world->origin, note_told, &told);
    claim(world, &a);
    assert_int_equal(told, 7); /* nothing is written yet */
    release(&a);
    one_turn(world);
    assert_int_equal(told, 7);
    for (int n = 0; n < 2; n++) {
        claim(world, &a);
        write_first_part(&a);
        assert_int_equal(told, a.grant.epoch);
        release(&a);
    }
    await_state(world, STREAM_ENDED);
    assert_int_equal(told, 0);
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_stream_gets_numbers_from_the_clock),
        cmocka_unit_test(second_writer_is_refused_while_the_first_writes),
        cmocka_unit_test(silent_writer_is_taken_over),
        cmocka_unit_test(discontinuities_are_counted_over_all_writers),
        cmocka_unit_test(stream_waits_for_its_writer_and_then_ends),
        cmocka_unit_test(stream_whose_writer_has_left_for_good_ends_at_once),
        cmocka_unit_test(cut_broadcast_is_over_at_once),
        cmocka_unit_test(operators_last_word_on_a_name_holds),
        cmocka_unit_test(broadcast_without_its_writer_is_cut_too),
        cmocka_unit_test(stream_that_its_writer_ends_does_not_wait_for_him),
        cmocka_unit_test(writer_goes_on_over_another_connection),
        cmocka_unit_test(writer_goes_on_where_all_was_lost),
        cmocka_unit_test(old_writer_is_fenced_once_a_later_one_has_written),
        cmocka_unit_test(later_epoch_takes_over_one_that_is_not_silent),
        cmocka_unit_test(stream_over_its_limit_loses_its_writer_alone),
        cmocka_unit_test(largest_stream_goes_when_memory_is_full_whoever_writes),
        cmocka_unit_test(largest_stream_goes_when_its_own_record_is_too_much),
        cmocka_unit_test(stream_too_many_is_refused),
        cmocka_unit_test(new_stream_is_refused_when_memory_is_nearly_full),
        cmocka_unit_test(streams_that_are_written_are_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
