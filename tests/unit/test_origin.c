#include "origin/origin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/media/hub.h"
#include "media_fixture.h"

static const char *const name = "live/show";

enum { TOLD_MAX = 16 };

struct writer {
    struct world *world;
    enum claim_rank rank;
    const char *stream;
    uint64_t goes_on; /* the epoch of a claim that does */
    void *claim;
    enum claim_result result;
    struct claim_grant grant;
    int results, losses, cuts;
    enum claim_result told[TOLD_MAX];
    uint32_t told_count;
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
    writer->told[writer->told_count++ % TOLD_MAX] = result;
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

static struct world *begin_ranked(const struct store_settings *store, uint32_t grace_ms, uint32_t silent_ms,
                                  uint32_t takeover_ms) {
    struct world *world = calloc(1, sizeof *world);
    world->loop = loop_create();
    world->hub = hub_create(world->loop, store);
    world->origin = origin_create(world->loop, world->hub, &(struct origin_settings){grace_ms, silent_ms, takeover_ms});
    world->port = origin_port(world->origin);
    world->poll_timer = loop_timer_create(world->loop, on_poll, world);
    return world;
}

static struct world *begin_with(const struct store_settings *store, uint32_t grace_ms, uint32_t silent_ms) {
    return begin_ranked(store, grace_ms, silent_ms, silent_ms);
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

static void claim_for(struct world *world, struct writer *writer, const char *stream, uint64_t epoch,
                      enum claim_rank rank, bool stands_by) {
    *writer = (struct writer){.world = world, .rank = rank, .stream = stream, .goes_on = epoch};
    writer->claim = world->port.claim(world->port.ctx, &(struct claim_request){.stream = stream,
                                                                               .peer = "192.0.2.1:9",
                                                                               .rank = rank,
                                                                               .epoch = epoch,
                                                                               .stands_by = stands_by,
                                                                               .on_result = on_result,
                                                                               .on_lost = on_lost,
                                                                               .owner = writer});
    assert_int_equal(writer->results, 0);
    loop_run(world->loop);
}

static void claim_with(struct world *world, struct writer *writer, const char *stream, uint64_t epoch) {
    claim_for(world, writer, stream, epoch, CLAIM_PRIMARY, false);
}

static void claim_ranked(struct world *world, struct writer *writer, enum claim_rank rank) {
    claim_for(world, writer, name, 0, rank, false);
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

/* --- ranks --- */

static const struct store_settings roomy = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
enum { NEVER_MS = 3600000, SOON_MS = 30 };

static void touch(struct writer *writer) {
    writer->world->port.touch(writer->world->port.ctx, writer->claim);
}

/* Until it is told something; media comes meanwhile. */
static enum claim_result await_word(struct writer *writer) {
    int before = writer->results;
    while (writer->results == before) {
        touch(writer);
        one_turn(writer->world);
    }
    return writer->result;
}

static enum claim_result take(struct writer *writer) {
    writer->world->port.take(writer->world->port.ctx, writer->claim);
    return await_word(writer);
}

static void write_next_part(struct writer *writer) {
    writer->grant.next_part++;
    writer->grant.next_msn++;
    fixture_write_part(writer->stream, writer->grant.epoch, writer->grant.next_part, writer->grant.next_msn, 0, 0,
                       write_one, writer);
}

static void backup_stands_by_and_takes_over_from_a_silent_publisher(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, SOON_MS);
    struct writer a, b;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    int64_t written_us = loop_now_us(world->loop);
    claim_ranked(world, &b, CLAIM_BACKUP);
    assert_int_equal(b.result, CLAIM_STANDBY);
    assert_int_equal(await_word(&b), CLAIM_VACANT);
    assert_in_range(loop_now_us(world->loop) - written_us, SOON_MS * 1000, UINT64_MAX);
    assert_int_equal(take(&b), CLAIM_GRANTED);
    assert_true(b.grant.epoch > a.grant.epoch && b.grant.resumes);
    assert_int_equal(b.grant.next_msn, a.grant.next_msn + 1);
    assert_int_equal(await_word(&a), CLAIM_OUTRANKS); /* it may have it back */
    struct record *late = fixture_chunk(name, a.grant.epoch, 0, a.grant.next_msn + 1, 1, 10);
    assert_int_equal(world->port.write(world->port.ctx, a.claim, late), -ESTALE);
    write_first_part(&b);
    assert_int_equal(a.losses + b.losses, 0);
    release(&a);
    release(&b);
    end(world);
}

static void publisher_that_is_back_takes_its_stream_from_a_backup_that_writes(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, b, again;
    claim_ranked(world, &b, CLAIM_BACKUP);
    assert_int_equal(b.result, CLAIM_GRANTED);
    write_first_part(&b);
    claim_ranked(world, &a, CLAIM_PRIMARY);
    assert_int_equal(a.result, CLAIM_OUTRANKS);
    write_next_part(&b);
    assert_int_equal(take(&a), CLAIM_GRANTED);
    assert_int_equal(await_word(&b), CLAIM_STANDBY);
    write_first_part(&a);
    assert_int_equal(take(&b), CLAIM_STANDBY); /* not while the other writes */
    claim_ranked(world, &again, CLAIM_PRIMARY);
    assert_int_equal(again.result, CLAIM_BUSY); /* as ever, among equals */
    release(&again);
    release(&a);
    release(&b);
    end(world);
}

static void writer_that_is_done_leaves_the_stream_at_once(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, b;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &b, CLAIM_BACKUP);
    world->port.release(world->port.ctx, a.claim, true);
    assert_int_equal(await_word(&b), CLAIM_VACANT);
    assert_int_equal(take(&b), CLAIM_GRANTED);
    assert_true(b.grant.resumes);
    release(&b);
    end(world);
}

/* Its connection broke; it may be back in a moment, with its epoch. */
static void writer_that_may_come_back_has_the_time_of_silence(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, b, back;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &b, CLAIM_BACKUP);
    world->port.release(world->port.ctx, a.claim, false);
    one_turn(world);
    assert_int_equal(b.results, 1);
    assert_int_equal(take(&b), CLAIM_STANDBY);
    claim_with(world, &back, name, a.grant.epoch);
    assert_int_equal(back.result, CLAIM_GRANTED);
    assert_int_equal(back.grant.epoch, a.grant.epoch);
    release(&back);
    release(&b);
    end(world);
}

static void writer_that_comes_back_too_late_stands_by(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, SOON_MS);
    struct writer a, b, back;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &b, CLAIM_BACKUP);
    world->port.release(world->port.ctx, a.claim, false);
    while (b.result != CLAIM_VACANT)
        await_word(&b);
    assert_int_equal(take(&b), CLAIM_GRANTED);
    write_first_part(&b);
    claim_with(world, &back, name, a.grant.epoch);
    while (back.result == CLAIM_STANDBY || back.result == CLAIM_VACANT)
        await_word(&back);
    assert_int_equal(back.result, CLAIM_OUTRANKS);
    touch(&back);
    assert_int_equal(take(&back), CLAIM_GRANTED);
    assert_true(back.grant.epoch > b.grant.epoch);
    release(&back);
    release(&b);
    end(world);
}

static void vacant_stream_is_offered_to_the_best_first_and_then_to_others(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, slate, first, second;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &slate, CLAIM_SLATE);
    claim_ranked(world, &first, CLAIM_BACKUP);
    claim_ranked(world, &second, CLAIM_BACKUP);
    world->port.release(world->port.ctx, a.claim, true);
    assert_int_equal(await_word(&first), CLAIM_VACANT);
    assert_int_equal(second.result, CLAIM_STANDBY);
    assert_int_equal(slate.result, CLAIM_STANDBY);
    int64_t offered_us = loop_now_us(world->loop);
    assert_int_equal(await_word(&second), CLAIM_VACANT); /* the first has no media in hand, it seems */
    assert_true(loop_now_us(world->loop) - offered_us > 200000);
    assert_int_equal(slate.result, CLAIM_STANDBY);
    assert_int_equal(take(&second), CLAIM_GRANTED);
    assert_int_equal(take(&first), CLAIM_STANDBY);
    release(&first);
    world->port.release(world->port.ctx, second.claim, true);
    while (slate.result != CLAIM_VACANT)
        await_word(&slate);
    release(&slate);
    end(world);
}

/* It would only be silent, too. */
static void vacant_stream_is_not_offered_to_one_without_media(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, SOON_MS);
    struct writer a, first, second;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &first, CLAIM_BACKUP);
    claim_ranked(world, &second, CLAIM_BACKUP);
    int64_t from_us = loop_now_us(world->loop);
    while (loop_now_us(world->loop) - from_us < 3 * SOON_MS * 1000) {
        touch(&a);
        touch(&second);
        one_turn(world);
    }
    while (second.result != CLAIM_VACANT) {
        touch(&second);
        one_turn(world);
    }
    assert_int_equal(first.result, CLAIM_STANDBY);
    release(&a);
    release(&first);
    release(&second);
    end(world);
}

static void publisher_that_stands_by_keeps_its_place_while_it_is_heard(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, SOON_MS, NEVER_MS);
    struct writer a, b, other;
    claim_ranked(world, &b, CLAIM_BACKUP);
    write_first_part(&b);
    claim_ranked(world, &a, CLAIM_PRIMARY);
    touch(&a);
    claim_ranked(world, &other, CLAIM_PRIMARY);
    assert_int_equal(other.result, CLAIM_BUSY);
    release(&other);
    int64_t from_us = loop_now_us(world->loop);
    while (loop_now_us(world->loop) - from_us <= SOON_MS * 1000)
        one_turn(world);
    claim_ranked(world, &other, CLAIM_PRIMARY);
    assert_int_equal(other.result, CLAIM_OUTRANKS);
    one_turn(world);
    assert_int_equal(a.losses, 1);
    release(&a);
    release(&other);
    release(&b);
    end(world);
}

static void those_who_stand_by_are_bounded(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, waiting[8], more;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    for (int i = 0; i < 8; i++) {
        claim_ranked(world, &waiting[i], CLAIM_BACKUP);
        assert_int_equal(waiting[i].result, CLAIM_STANDBY);
    }
    claim_ranked(world, &more, CLAIM_BACKUP);
    assert_int_equal(more.result, CLAIM_BUSY);
    release(&more);
    for (int i = 0; i < 8; i++)
        release(&waiting[i]);
    release(&a);
    end(world);
}

/* Whoever goes on with a later epoch is granted the stream, and who had it stands by: as often as may be. */
static void those_who_had_the_stream_are_bounded_too(void **state) {
    (void)state;
    enum { COUNT = 16, STAND_MAX = 8 };
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer writers[COUNT];
    int standing = 0, lost = 0;
    for (int i = 0; i < COUNT; i++) {
        claim_for(world, &writers[i], name, (uint64_t)i + 1, CLAIM_BACKUP, false);
        while (!writers[i].results)
            loop_run(world->loop);
        assert_int_equal(writers[i].result, CLAIM_GRANTED);
    }
    one_turn(world);
    assert_int_equal(origin_cut(world->origin, name, 60), 0);
    for (int i = 0; i < COUNT; i++) {
        standing += writers[i].cuts;
        lost += writers[i].losses - writers[i].cuts;
        release(&writers[i]);
    }
    assert_int_equal(standing, STAND_MAX + 1);
    assert_int_equal(lost, COUNT - STAND_MAX - 1);
    end(world);
}

static void claim_that_is_to_stand_by_isnt_granted_what_nobody_has(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer b;
    claim_for(world, &b, name, 0, CLAIM_BACKUP, true);
    assert_int_equal(b.result, CLAIM_VACANT);
    assert_int_equal(take(&b), CLAIM_GRANTED);
    assert_false(b.grant.resumes);
    release(&b);
    claim_for(world, &b, name, 0, CLAIM_BACKUP, true);
    release(&b); /* nothing is left of it */
    end(world);
}

static void stream_ends_though_somebody_stands_by_without_media(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, SOON_MS, NEVER_MS, NEVER_MS);
    struct writer a, b;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &b, CLAIM_BACKUP);
    world->port.release(world->port.ctx, a.claim, true);
    assert_int_equal(await_word(&b), CLAIM_VACANT);
    await_state(world, STREAM_ENDED);
    assert_int_equal(b.losses, 0);
    assert_int_equal(take(&b), CLAIM_GRANTED);
    assert_false(b.grant.resumes);
    write_first_part(&b);
    release(&b);
    end(world);
}

static void cut_broadcast_is_over_for_those_who_stand_by(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, b;
    claim_ranked(world, &a, CLAIM_PRIMARY);
    write_first_part(&a);
    claim_ranked(world, &b, CLAIM_BACKUP);
    assert_int_equal(origin_cut(world->origin, name, 60), 0);
    assert_int_equal(a.cuts, 1);
    assert_int_equal(b.cuts, 1);
    release(&a);
    release(&b);
    end(world);
}

struct seen {
    char text[128];
};

static void note_claim(void *ctx, const struct origin_claim *claim) {
    struct seen *seen = ctx;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof seen->text - len, "%s%s ", claim->writes ? "*" : "",
             claim_rank_name(claim->rank));
}

static void claims_are_shown(void **state) {
    (void)state;
    struct world *world = begin_ranked(&roomy, NEVER_MS, NEVER_MS, NEVER_MS);
    struct writer a, b, c;
    struct seen seen = {""};
    claim_ranked(world, &b, CLAIM_BACKUP);
    claim_ranked(world, &c, CLAIM_SLATE);
    claim_ranked(world, &a, CLAIM_PRIMARY);
    origin_each_claim(world->origin, name, note_claim, &seen);
    assert_string_equal(seen.text, "*backup primary slate ");
    release(&a);
    release(&b);
    release(&c);
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
        cmocka_unit_test(backup_stands_by_and_takes_over_from_a_silent_publisher),
        cmocka_unit_test(publisher_that_is_back_takes_its_stream_from_a_backup_that_writes),
        cmocka_unit_test(writer_that_is_done_leaves_the_stream_at_once),
        cmocka_unit_test(writer_that_may_come_back_has_the_time_of_silence),
        cmocka_unit_test(writer_that_comes_back_too_late_stands_by),
        cmocka_unit_test(vacant_stream_is_offered_to_the_best_first_and_then_to_others),
        cmocka_unit_test(vacant_stream_is_not_offered_to_one_without_media),
        cmocka_unit_test(publisher_that_stands_by_keeps_its_place_while_it_is_heard),
        cmocka_unit_test(those_who_stand_by_are_bounded),
        cmocka_unit_test(those_who_had_the_stream_are_bounded_too),
        cmocka_unit_test(claim_that_is_to_stand_by_isnt_granted_what_nobody_has),
        cmocka_unit_test(stream_ends_though_somebody_stands_by_without_media),
        cmocka_unit_test(cut_broadcast_is_over_for_those_who_stand_by),
        cmocka_unit_test(claims_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
