/* Streams that go from store to store through feeds (feed_fixture.h). What counts is that the second store has what the
 * first has, in whatever order the feeds' bytes come, and from whichever source. */
#include "common/media/assembler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/feed_fixture.h"

enum { EPOCH = 5, FIRST = 100 };
static const char name[] = "live/show";

struct world {
    struct store *a, *b, *to;
    struct assembler *assembler;
};

static int on_write(void *ctx, struct record *record) {
    struct world *world = ctx;
    int rc = store_apply(world->to, record, 0);
    record_unref(record);
    return rc;
}

static int setup(void **state) {
    const struct store_settings settings = {.window_us = 30000000};
    struct world *world = calloc(1, sizeof *world);
    world->a = store_create(&settings);
    world->b = store_create(&settings);
    world->to = store_create(&settings);
    world->assembler = assembler_create(name, on_write, world);
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    assembler_destroy(world->assembler);
    store_destroy(world->a);
    store_destroy(world->b);
    store_destroy(world->to);
    free(world);
    return 0;
}

/* --- what a store has, as text --- */

static void describe(void *ctx, struct record *record) {
    struct buf *out = ctx;
    buf_printf(out, "%d %llu ", record->type, (unsigned long long)record->epoch);
    const struct record_chunk *c = &record->chunk;
    const struct record_part *p = &record->part;
    if (record->type == RECORD_OPEN)
        for (uint32_t i = 0; i < record->open.track_count; i++)
            buf_printf(out, "%s %s %u %.*s ", record->open.tracks[i].name, record->open.tracks[i].codecs,
                       record->open.tracks[i].init_version, (int)record->open.tracks[i].init->len,
                       (const char *)record->open.tracks[i].init->data);
    else if (record->type == RECORD_CHUNK)
        buf_printf(out, "%u %u %llu.%u %u %lld %lld %zu %.*s", c->track, c->flags, (unsigned long long)c->msn,
                   c->number, c->duration_ts, (long long)c->dts_ts, (long long)c->capture_us, c->body.len, 8,
                   (const char *)c->body.blob->data + c->body.off + FRAGMENT_HEAD);
    else if (record->type == RECORD_PART)
        buf_printf(out, "%llu %llu.%u %u %lld %lld %u %u,%u %u,%u", (unsigned long long)p->number,
                   (unsigned long long)p->msn, p->index, p->flags, (long long)p->start_us, (long long)p->wall_us,
                   p->discontinuity_sequence, p->tracks[0].chunks, p->tracks[0].duration_ts, p->tracks[1].chunks,
                   p->tracks[1].duration_ts);
    buf_append_str(out, "\n");
}

static char *contents(struct store *store) {
    struct buf out;
    buf_init(&out, 16 << 20);
    const struct stream *stream = store_find(store, name);
    if (stream) {
        stream_replay(stream, describe, &out);
        buf_printf(&out, "%s %llu\n", stream_state_name(stream->state), (unsigned long long)stream->next_part);
    }
    buf_append(&out, "", 1);
    char *text = strdup((const char *)buf_head(&out));
    buf_finish(&out);
    return text;
}

static void assert_same(struct store *one, struct store *other) {
    char *text = contents(one), *other_text = contents(other);
    assert_string_equal(text, other_text);
    free(text);
    free(other_text);
}

static void write_state(struct store *store, uint64_t epoch, enum stream_state state) {
    struct record *record = record_create(RECORD_STATE, name, epoch);
    record->state.state = state;
    fixture_apply(store, record);
}

/* Two broadcasts' worth: three segments, other tracks, two segments and a bit. */
static void write_show(struct store *store) {
    fixture_apply(store, fixture_open(name, EPOCH, 1));
    for (uint64_t msn = FIRST; msn < FIRST + 3; msn++)
        fixture_real_segment(store, name, EPOCH, msn);
    fixture_apply(store, fixture_open(name, EPOCH + 1, 2));
    for (uint64_t msn = FIRST + 3; msn < FIRST + 5; msn++)
        fixture_real_segment(store, name, EPOCH + 1, msn);
    fixture_real_part(store, name, EPOCH + 1, FIRST + 5, 0, false);
}

/* --- tests --- */

static void arrives_whole_in_any_order_of_bytes(void **state) {
    struct world *world = *state;
    write_show(world->a);
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct wire wire;
        wire_init(&wire, world->a, name, world->assembler);
        wire_from(&wire, FIRST, 0, 0);
        wire_fill(&wire);
        srand(seed);
        for (int idle = 0; idle < 200;)
            idle = wire_pass(&wire, rand() % 3, (size_t)(1 + rand() % 700)) ? 0 : idle + 1;
        assert_int_equal(wire.rc, 0);
        assert_same(world->a, world->to);
        wire_finish(&wire);
        assembler_destroy(world->assembler);
        world->assembler = assembler_create(name, on_write, world);
        store_remove(world->to, store_find(world->to, name));
    }
}

static void chunk_is_written_before_its_part_is_closed(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    fixture_apply(world->a, fixture_real_chunk(name, EPOCH, 0, FIRST, 0, 0));
    wire_pass_all(&wire);
    const struct stream *stream = store_find(world->to, name);
    assert_int_equal(stream->segment_count, 1);
    assert_int_equal(stream->segments[0]->chunks[0].count, 1);
    assert_int_equal(stream->segments[0]->part_count, 0);
    wire_finish(&wire);
}

static void part_waits_for_all_it_counts(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_part(world->a, name, EPOCH, FIRST, 0, false);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_fill(&wire);
    while (wire_pass(&wire, 0, 4096) || wire_pass(&wire, 1, 4096))
        ;
    assert_true(assembler_waits(world->assembler));
    assert_int_equal(store_find(world->to, name)->segments[0]->part_count, 0);
    while (wire_pass(&wire, 2, 4096))
        ;
    assert_false(assembler_waits(world->assembler));
    assert_same(world->a, world->to);
    wire_finish(&wire);
}

static void sources_at_once_whoever_is_first(void **state) {
    struct world *world = *state;
    struct wire one, other;
    write_show(world->a);
    write_show(world->b);
    wire_init(&one, world->a, name, world->assembler);
    wire_init(&other, world->b, name, world->assembler);
    wire_from(&one, FIRST, 0, 0);
    wire_from(&other, FIRST, 0, 0);
    wire_fill(&one);
    wire_fill(&other);
    srand(7);
    for (int idle = 0; idle < 200;)
        idle = wire_pass(rand() % 2 ? &one : &other, rand() % 3, (size_t)(1 + rand() % 700)) ? 0 : idle + 1;
    assert_int_equal(one.rc, 0);
    assert_int_equal(other.rc, 0);
    assert_true(one.known > 10 && other.known > 10); /* each was behind at times */
    assert_same(world->a, world->to);
    wire_finish(&one);
    wire_finish(&other);
}

static void another_source_goes_on_in_mid_segment(void **state) {
    struct world *world = *state;
    struct wire one, other;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    fixture_real_part(world->a, name, EPOCH, FIRST + 1, 0, false);
    wire_init(&one, world->a, name, world->assembler);
    wire_from(&one, FIRST, 0, 0);
    wire_pass_all(&one);
    wire_finish(&one);

    fixture_apply(world->b, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->b, name, EPOCH, FIRST);
    fixture_real_segment(world->b, name, EPOCH, FIRST + 1);
    uint64_t msn;
    uint32_t video, audio;
    assert_true(assembler_next(world->assembler, "v0", &msn, &video));
    assert_int_equal(msn, FIRST + 1);
    assert_int_equal(video, 2);
    assert_true(assembler_next(world->assembler, "a0", &msn, &audio));
    wire_init(&other, world->b, name, world->assembler);
    wire_from(&other, FIRST + 1, video, audio);
    wire_pass_all(&other);
    assert_int_equal(other.rc, 0);
    assert_same(world->b, world->to);
    wire_finish(&other);
}

static void hole_in_a_track_is_an_error(void **state) {
    struct world *world = *state;
    struct wire wire;
    write_show(world->a);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    wire_finish(&wire);
    fixture_real_part(world->a, name, EPOCH + 1, FIRST + 5, 1, false);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST + 5, 3, 1); /* 2 is what comes next */
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, -ENODATA);
    wire_finish(&wire);
}

static void older_writer_is_ignored(void **state) {
    struct world *world = *state;
    struct wire one, other;
    fixture_apply(world->a, fixture_open(name, EPOCH + 9, 1));
    fixture_real_segment(world->a, name, EPOCH + 9, FIRST);
    wire_init(&one, world->a, name, world->assembler);
    wire_from(&one, FIRST, 0, 0);
    wire_pass_all(&one);
    fixture_apply(world->b, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->b, name, EPOCH, FIRST);
    fixture_real_segment(world->b, name, EPOCH, FIRST + 1);
    wire_init(&other, world->b, name, world->assembler);
    wire_from(&other, FIRST, 0, 0);
    wire_pass_all(&other);
    assert_int_equal(other.taken, 0);
    assert_same(world->a, world->to);
    wire_finish(&one);
    wire_finish(&other);
}

static void later_writer_takes_over_and_may_use_an_unseen_number_again(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    fixture_apply(world->a, fixture_real_chunk(name, EPOCH, 0, FIRST + 1, 0, 0)); /* and no part of it */
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    write_state(world->a, EPOCH, STREAM_AWAY);
    fixture_apply(world->a, fixture_open(name, EPOCH + 1, 2));
    wire_pass_all(&wire);
    fixture_real_segment(world->a, name, EPOCH + 1, FIRST + 1);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    assert_same(world->a, world->to);
    wire_finish(&wire);
}

static void state_arrives_behind_what_came_before(void **state) {
    struct world *world = *state;
    struct wire wire;
    write_show(world->a);
    write_state(world->a, EPOCH + 1, STREAM_ENDED);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_fill(&wire);
    while (wire_pass(&wire, 0, 4096))
        ;
    assert_int_equal(store_find(world->to, name)->state, STREAM_LIVE);
    wire_pass_all(&wire);
    assert_same(world->a, world->to);
    wire_finish(&wire);
}

static void starts_anew_behind_a_hole(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    wire_finish(&wire);

    assembler_restart(world->assembler);
    uint64_t epoch, msn;
    uint32_t number;
    assert_false(assembler_segment(world->assembler, &epoch, &msn));
    assert_false(assembler_next(world->assembler, "v0", &msn, &number));
    fixture_apply(world->b, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->b, name, EPOCH, FIRST + 20);
    wire_init(&wire, world->b, name, world->assembler);
    wire_from(&wire, FIRST + 20, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    assert_true(assembler_segment(world->assembler, &epoch, &msn));
    assert_int_equal(msn, FIRST + 20);
    const struct stream *stream = store_find(world->to, name);
    assert_int_equal(stream_last_segment(stream, 0)->msn, FIRST + 20);
    assert_int_equal(stream_last_segment(stream, 0)->published, 4);
    wire_finish(&wire);
}

/* --- not all tracks --- */

static const struct track_names sound = {1, {"a0"}}, picture = {1, {"v0"}}, all = {2, {"v0", "a0"}};

static uint64_t from_second(void *ctx, const char *track) {
    (void)ctx, (void)track;
    return FIRST + 1;
}

static void track_that_is_not_taken_is_not_waited_for(void **state) {
    struct world *world = *state;
    struct wire wire;
    write_show(world->a);
    assert_int_equal(assembler_take(world->assembler, &sound, NULL), 0);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire); /* what comes of the picture is passed over */
    assert_int_equal(wire.rc, 0);
    assert_false(assembler_waits(world->assembler));
    const struct stream *stream = store_find(world->to, name);
    assert_int_equal(stream->here, 2);
    assert_int_equal(stream_last_segment(stream, 0)->msn, FIRST + 5);
    assert_null(stream_last_segment(stream, 1));
    assert_int_equal(stream->segments[0]->chunks[0].count, 0);
    wire_finish(&wire);
}

static bool same_from_second(const struct world *world) {
    const struct stream *to = store_find(world->to, name);
    for (uint64_t msn = FIRST + 1; msn <= to->segments[to->segment_count - 1]->msn; msn++)
        if (segment_parts(stream_segment(to, msn), 3) != stream_segment(store_find(world->a, name), msn)->published)
            return false;
    return true;
}

/* Whatever comes first, the picture or what goes on. */
static void track_that_joins_catches_up(void **state) {
    struct world *world = *state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        struct wire wire;
        uint64_t msn;
        uint32_t number;
        fixture_apply(world->a, fixture_open(name, EPOCH, 1));
        for (uint64_t i = FIRST; i < FIRST + 3; i++)
            fixture_real_segment(world->a, name, EPOCH, i);
        assembler_take(world->assembler, &sound, NULL);
        wire_init(&wire, world->a, name, world->assembler);
        wire_from(&wire, FIRST, 0, 0);
        wire_pass_all(&wire);
        assert_int_equal(assembler_take(world->assembler, &all, from_second), 0);
        assert_int_equal(store_find(world->to, name)->joining, 1);
        assert_true(assembler_next(world->assembler, "v0", &msn, &number));
        assert_true(msn == FIRST + 1 && number == 0);
        track_out_finish(&wire.tracks[0]);
        track_out_init(&wire.tracks[0], "v0", msn, number);
        fixture_real_segment(world->a, name, EPOCH, FIRST + 3);
        for (uint32_t i = 0; i < 3; i++)
            fixture_real_part(world->a, name, EPOCH, FIRST + 4, i, false);
        wire_fill(&wire);
        srand(seed);
        for (int idle = 0; idle < 200;)
            idle = wire_pass(&wire, rand() % 3, (size_t)(1 + rand() % 700)) ? 0 : idle + 1;
        assert_int_equal(wire.rc, 0);
        assert_int_equal(store_find(world->to, name)->here, 3);
        assert_true(same_from_second(world));
        wire_finish(&wire);
        assembler_destroy(world->assembler);
        world->assembler = assembler_create(name, on_write, world);
        store_remove(world->to, store_find(world->to, name));
        store_remove(world->a, store_find(world->a, name));
    }
}

static void track_joins_where_the_source_has_it(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    for (uint64_t i = FIRST; i < FIRST + 4; i++)
        fixture_real_segment(world->a, name, EPOCH, i);
    assembler_take(world->assembler, &sound, NULL);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(assembler_take(world->assembler, &all, from_second), 0);
    track_out_finish(&wire.tracks[0]);
    track_out_init(&wire.tracks[0], "v0", FIRST + 2, 0);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    const struct stream *stream = store_find(world->to, name);
    assert_int_equal(stream->here, 3);
    assert_int_equal(stream_segment(stream, FIRST + 1)->carried, 2);
    assert_true(segment_whole(stream_segment(stream, FIRST + 2), 3));
    wire_finish(&wire);
}

/* The first source fails before it has caught up, and the next one has the track from later on. */
static void track_that_joins_goes_on_where_another_source_has_it(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    for (uint64_t i = FIRST; i < FIRST + 5; i++)
        fixture_real_segment(world->a, name, EPOCH, i);
    assembler_take(world->assembler, &sound, NULL);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(assembler_take(world->assembler, &all, from_second), 0);
    for (uint32_t i = 0; i < 8; i++) {
        struct record *chunk = stream_segment(store_find(world->a, name), FIRST + 1)->chunks[0].items[i];
        const struct feed_box box = {
            .kind = FEED_CHUNK, .epoch = EPOCH, .msn = FIRST + 1, .number = i, .duration_ts = 3000};
        assert_int_equal(assembler_chunk(world->assembler, "v0", &box, chunk->chunk.body), ASSEMBLER_TAKEN);
    }
    track_out_finish(&wire.tracks[0]);
    track_out_init(&wire.tracks[0], "v0", FIRST + 3, 0);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    const struct stream *stream = store_find(world->to, name);
    assert_int_equal(stream->here, 3);
    assert_int_equal(stream_segment(stream, FIRST + 1)->carried, 3); /* it is whole */
    assert_int_equal(stream_segment(stream, FIRST + 2)->carried, 2);
    assert_int_equal(stream_segment(stream, FIRST + 3)->carried, 3);
    wire_finish(&wire);
}

/* --- tracks whose chunks come after the parts that count them --- */

/* Of three segments and a bit. `behind`: what is yet to come of the sound, in parts. */
static void write_late_sound(struct store *store, uint32_t behind) {
    struct record *open = fixture_open(name, EPOCH, 1);
    open->open.late = 2;
    fixture_apply(store, open);
    for (uint32_t part = 0; part < 14 + behind; part++) {
        uint64_t msn = FIRST + part / 4;
        if (part < 14) {
            for (uint32_t i = 0; i < 2; i++)
                fixture_apply(store,
                              fixture_real_chunk(name, EPOCH, 0, msn, part % 4 * 2 + i, part * 66666 + i * 33333));
            struct record *record =
                fixture_part(name, EPOCH, msn * 4 + part % 4, msn, part % 4, part % 4 == 3 ? PART_LAST : 0);
            record->part.tracks[0] = (struct record_part_track){2, 6000};
            record->part.tracks[1] = (struct record_part_track){1, 4800};
            fixture_apply(store, record);
        }
        if (part >= behind)
            fixture_apply(store, fixture_real_chunk(name, EPOCH, 1, FIRST + (part - behind) / 4, (part - behind) % 4,
                                                    (part - behind) * 66666));
    }
}

static void late_track_arrives_whole_and_holds_up_nobody(void **state) {
    struct world *world = *state;
    write_late_sound(world->a, 2);
    for (unsigned seed = 1; seed <= 100; seed++) {
        struct wire wire;
        wire_init(&wire, world->a, name, world->assembler);
        wire_from(&wire, FIRST, 0, 0);
        wire_fill(&wire);
        while (wire_pass(&wire, 0, 1 << 20) || wire_pass(&wire, 1, 1 << 20))
            ; /* all of the picture, none of the sound */
        assert_int_equal(stream_segment(store_find(world->to, name), FIRST + 3)->published, 2);
        assert_int_equal(segment_parts(stream_segment(store_find(world->to, name), FIRST), 2), 0);
        wire_pass_all(&wire);
        assert_int_equal(wire.rc, 0);
        assert_same(world->a, world->to);
        wire_finish(&wire);
        assembler_destroy(world->assembler);
        world->assembler = assembler_create(name, on_write, world);
        store_remove(world->to, store_find(world->to, name));
        srand(seed); /* and now in any order */
        wire_init(&wire, world->a, name, world->assembler);
        wire_from(&wire, FIRST, 0, 0);
        wire_fill(&wire);
        for (int idle = 0; idle < 200;)
            idle = wire_pass(&wire, rand() % 3, (size_t)(1 + rand() % 700)) ? 0 : idle + 1;
        assert_int_equal(wire.rc, 0);
        assert_same(world->a, world->to);
        assert_int_equal(store_find(world->to, name)->here, 1);
        wire_finish(&wire);
        assembler_destroy(world->assembler);
        world->assembler = assembler_create(name, on_write, world);
        store_remove(world->to, store_find(world->to, name));
    }
}

/* Also when it was there for a moment as far as all else. */
static void late_track_that_has_come_is_not_waited_for(void **state) {
    struct world *world = *state;
    struct wire wire;
    write_late_sound(world->a, 0);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_same(world->a, world->to);
    for (uint32_t i = 0; i < 2; i++)
        fixture_apply(world->a, fixture_real_chunk(name, EPOCH, 0, FIRST + 3, 4 + i, 14 * 66666 + i * 33333));
    struct record *record = fixture_part(name, EPOCH, (FIRST + 3) * 4 + 2, FIRST + 3, 2, 0);
    record->part.tracks[0] = (struct record_part_track){2, 6000};
    record->part.tracks[1] = (struct record_part_track){1, 4800};
    fixture_apply(world->a, record);
    wire_pass_all(&wire);
    assert_int_equal(stream_segment(store_find(world->to, name), FIRST + 3)->published, 3);
    assert_int_equal(wire.rc, 0);
    wire_finish(&wire);
}

/* A node that takes it later, in mid-stream. */
static void late_track_joins_and_stays_late(void **state) {
    struct world *world = *state;
    struct wire wire;
    write_late_sound(world->a, 2);
    assert_int_equal(assembler_take(world->assembler, &picture, NULL), 0);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(store_find(world->to, name)->joining, 0);
    assert_int_equal(assembler_take(world->assembler, &all, from_second), 0);
    track_out_finish(&wire.tracks[1]);
    track_out_init(&wire.tracks[1], "a0", FIRST + 1, 0);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    const struct stream *to = store_find(world->to, name);
    assert_int_equal(to->here, 1);
    assert_int_equal(to->joining, 2);
    assert_int_equal(segment_parts(stream_segment(to, FIRST), 2), 0);
    assert_true(segment_whole(stream_segment(to, FIRST + 1), 3));
    assert_true(segment_whole(stream_segment(to, FIRST + 2), 3));
    assert_int_equal(segment_parts(stream_segment(to, FIRST + 3), 1), 2);
    assert_int_equal(segment_parts(stream_segment(to, FIRST + 3), 2), 2);
    wire_finish(&wire);
}

/* --- a track that is made on demand --- */

static void write_silent(struct world *world, uint64_t msn) {
    fixture_each_without_sound(name, EPOCH, msn, fixture_apply_to, world->a);
}

static void make_sound(struct world *world, uint64_t msn) {
    fixture_each_of_sound(name, EPOCH, msn, fixture_apply_to, world->a);
}

static bool whole(const struct world *world, uint64_t msn) {
    return segment_whole(stream_segment(store_find(world->to, name), msn), 3);
}

static void begin_silent(struct world *world, struct wire *wire) {
    fixture_apply(world->a, fixture_open_on_demand(name, EPOCH));
    write_silent(world, FIRST);
    write_silent(world, FIRST + 1);
    wire_init(wire, world->a, name, world->assembler);
    wire_from(wire, FIRST, 0, 0);
    wire_pass_all(wire);
}

/* It joins in the past, each time that it is made, and nobody says so. */
static void track_on_demand_is_there_while_it_is_made(void **state) {
    struct world *world = *state;
    struct wire wire;
    begin_silent(world, &wire);
    const struct stream *to = store_find(world->to, name);
    assert_int_equal(to->here, 1);
    assert_int_equal(to->joining, 0);
    assert_true(assembler_sleeps(world->assembler, "a0"));
    assert_false(assembler_sleeps(world->assembler, "v0"));
    fixture_apply(world->a, fixture_made(name, EPOCH, true, FIRST + 1));
    make_sound(world, FIRST + 1);
    write_silent(world, FIRST + 2);
    make_sound(world, FIRST + 2);
    wire_pass_all(&wire);
    assert_int_equal(to->joining, 2);
    assert_false(assembler_sleeps(world->assembler, "a0"));
    assert_true(!whole(world, FIRST) && whole(world, FIRST + 1) && whole(world, FIRST + 2));
    fixture_apply(world->a, fixture_made(name, EPOCH, false, 0));
    write_silent(world, FIRST + 3);
    write_silent(world, FIRST + 4);
    wire_pass_all(&wire);
    assert_int_equal(to->joining, 2); /* it may only be late */
    write_silent(world, FIRST + 5);
    wire_pass_all(&wire);
    assert_int_equal(to->joining, 0);
    assert_true(whole(world, FIRST + 2) && !(stream_segment(to, FIRST + 3)->carried & 2));
    uint64_t msn;
    uint32_t number;
    assert_true(assembler_next(world->assembler, "a0", &msn, &number)); /* a place that all have */
    assert_true(msn == FIRST + 5 && !number);
    fixture_apply(world->a, fixture_made(name, EPOCH, true, FIRST + 4));
    make_sound(world, FIRST + 4);
    make_sound(world, FIRST + 5);
    wire_pass_all(&wire);
    assert_true(whole(world, FIRST + 4) && whole(world, FIRST + 5) && !whole(world, FIRST + 3));
    assert_int_equal(wire.rc, 0);
    wire_finish(&wire);
}

static int give_sound(struct world *world, uint64_t msn, uint32_t number) {
    struct record *chunk = fixture_real_chunk(name, EPOCH, 1, msn, number, (int64_t)(msn * 4 + number) * 66666);
    const struct feed_box box = {.kind = FEED_CHUNK, .epoch = EPOCH, .msn = msn, .number = number, .duration_ts = 4800};
    int rc = assembler_chunk(world->assembler, "a0", &box, chunk->chunk.body);
    record_unref(chunk);
    return rc;
}

/* The rest of a segment, when it was taken for one that isn't made any more; and what is older than the stream is here.
 */
static void what_cant_be_begun_with_wakes_nothing(void **state) {
    struct world *world = *state;
    struct wire wire;
    begin_silent(world, &wire);
    const struct stream *to = store_find(world->to, name);
    assert_int_equal(give_sound(world, FIRST - 1, 0), ASSEMBLER_TAKEN);
    assert_int_equal(to->joining, 0);
    assert_int_equal(give_sound(world, FIRST + 1, 0), ASSEMBLER_TAKEN);
    assert_int_equal(to->joining, 2);
    for (uint64_t msn = FIRST + 2; msn < FIRST + 5; msn++)
        write_silent(world, msn);
    wire_pass_all(&wire);
    assert_int_equal(to->joining, 0);
    assert_int_equal(give_sound(world, FIRST + 1, 1), ASSEMBLER_TAKEN);
    assert_int_equal(to->joining, 0);
    assert_int_equal(give_sound(world, FIRST + 2, 0), ASSEMBLER_TAKEN);
    assert_int_equal(to->joining, 2);
    wire_finish(&wire);
}

/* Who takes it, and then other tracks too, is given it from where it asked for it. */
static void track_on_demand_is_taken_before_it_is_made(void **state) {
    struct world *world = *state;
    const struct track_names more = {3, {"a0", "v0", "v1"}};
    struct wire wire;
    assert_int_equal(assembler_take(world->assembler, &picture, NULL), 0);
    begin_silent(world, &wire);
    assert_false(assembler_sleeps(world->assembler, "a0")); /* it isn't taken */
    assert_int_equal(give_sound(world, FIRST + 1, 0), ASSEMBLER_KNOWN);
    assert_int_equal(assembler_take(world->assembler, &all, from_second), 0);
    assert_int_equal(store_find(world->to, name)->joining, 0);
    uint64_t msn;
    uint32_t number;
    assert_true(assembler_next(world->assembler, "a0", &msn, &number));
    assert_true(msn == FIRST + 1 && !number);
    assert_int_equal(give_sound(world, FIRST + 3, 0), ASSEMBLER_TAKEN); /* which the timeline hasn't come to */
    assert_int_equal(assembler_take(world->assembler, &more, from_second), 0);
    assert_int_equal(give_sound(world, FIRST + 3, 1), ASSEMBLER_TAKEN);
    write_silent(world, FIRST + 2);
    write_silent(world, FIRST + 3);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    assert_int_equal(segment_parts(stream_segment(store_find(world->to, name), FIRST + 3), 3), 2);
    assert_int_equal(assembler_take(world->assembler, &picture, NULL), 0);
    assert_int_equal(store_find(world->to, name)->joining, 0);
    wire_finish(&wire);
}

static uint64_t from_newest(void *ctx, const char *track) {
    (void)ctx, (void)track;
    return 0;
}

static void track_leaves_in_mid_segment_and_joins_again(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    fixture_real_part(world->a, name, EPOCH, FIRST + 1, 0, false);
    fixture_apply(world->a, fixture_real_chunk(name, EPOCH, 0, FIRST + 1, 2, 0)); /* of the next part */
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(assembler_take(world->assembler, &sound, from_newest), 0);
    assert_int_equal(stream_last_segment(store_find(world->to, name), 1)->msn, FIRST);
    assert_int_equal(assembler_take(world->assembler, &all, from_newest), 0);
    uint64_t msn;
    uint32_t number;
    assert_true(assembler_next(world->assembler, "v0", &msn, &number));
    assert_true(msn == FIRST + 1 && number == 0);
    track_out_finish(&wire.tracks[0]);
    track_out_init(&wire.tracks[0], "v0", msn, number);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    assert_same(world->a, world->to);
    wire_finish(&wire);
}

static void other_tracks_begin_with_all_that_are_taken(void **state) {
    struct world *world = *state;
    struct wire wire;
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    assembler_take(world->assembler, &sound, NULL);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST + 1, 0, 0);
    track_out_finish(&wire.tracks[1]);
    track_out_init(&wire.tracks[1], "a0", FIRST, 0);
    wire_pass_all(&wire);
    assembler_take(world->assembler, &all, from_newest);
    fixture_apply(world->a, fixture_open(name, EPOCH + 1, 2));
    fixture_real_segment(world->a, name, EPOCH + 1, FIRST + 1);
    wire_pass_all(&wire);
    assert_int_equal(wire.rc, 0);
    assert_int_equal(store_find(world->to, name)->here, 3);
    assert_int_equal(stream_last_segment(store_find(world->to, name), 3)->msn, FIRST + 1);
    assert_int_equal(stream_last_segment(store_find(world->to, name), 3)->published, 4);
    wire_finish(&wire);
}

/* What a source says that makes no sense. */
static int line_of(struct assembler *assembler, const char *text) {
    struct feed_line line;
    assert_int_equal(feed_line_parse(text, strlen(text), name, &line), 0);
    int rc = assembler_line(assembler, &line);
    feed_line_finish(&line);
    return rc;
}

static void impossible_events_are_refused(void **state) {
    struct world *world = *state;
    struct wire wire;
    assert_int_equal(line_of(world->assembler, "{\"segment\":{\"epoch\":5,\"msn\":7}}"), -EBADMSG);
    fixture_apply(world->a, fixture_open(name, EPOCH, 1));
    fixture_real_segment(world->a, name, EPOCH, FIRST);
    wire_init(&wire, world->a, name, world->assembler);
    wire_from(&wire, FIRST, 0, 0);
    wire_pass_all(&wire);
    assert_int_equal(line_of(world->assembler, "{\"segment\":{\"epoch\":5,\"msn\":102}}"), -ENODATA);
    assert_int_equal(line_of(world->assembler, "{\"segment\":{\"epoch\":6,\"msn\":101}}"), -EBADMSG);
    assert_int_equal(line_of(world->assembler,
                             "{\"part\":{\"epoch\":5,\"number\":1,\"msn\":100,\"index\":5,\"discontinuity_sequence\":0,"
                             "\"start_us\":0,\"wall_us\":0,\"tracks\":[]}}"),
                     -ENODATA);
    wire_finish(&wire);
}

static void what_waits_has_a_limit(void **state) {
    struct world *world = *state;
    struct slice body = fixture_fragment(1, 0, 3000, true, 1 << 20);
    int rc = 0;
    uint32_t count = 0;
    while (rc == ASSEMBLER_TAKEN && count < 100) {
        const struct feed_box box = {.kind = FEED_CHUNK, .epoch = EPOCH, .msn = FIRST, .number = count++};
        rc = assembler_chunk(world->assembler, "v0", &box, body);
    }
    assert_int_equal(rc, -ENOBUFS);
    assert_int_equal(count, 32); /* MiB */
    blob_unref(body.blob);
}

static void fragment_that_is_none_is_refused(void **state) {
    struct world *world = *state;
    struct slice body = blob_create_framed(40, true);
    memset(body.blob->data + body.off, 'x', body.len);
    const struct feed_box box = {.kind = FEED_CHUNK, .epoch = EPOCH, .msn = FIRST};
    assert_int_equal(assembler_chunk(world->assembler, "v0", &box, body), -EBADMSG);
    blob_unref(body.blob);
}

/* --- more names than a stream has tracks at a time --- */

static int drop_record(void *ctx, struct record *record) {
    (void)ctx;
    record_unref(record);
    return 0;
}

static int open_named(struct assembler *assembler, uint64_t epoch, const char *const names[TRACKS_MAX]) {
    struct record *record = record_create(RECORD_OPEN, name, epoch);
    record->open =
        (struct record_open){.track_count = TRACKS_MAX, .target_duration_ms = 2000, .part_target_us = 200000};
    for (uint32_t i = 0; i < TRACKS_MAX; i++) {
        struct track_info *info = &record->open.tracks[i];
        info->track_id = 1 + i;
        info->timescale = 90000;
        info->init = blob_create_copy("init", 4);
        strcpy(info->name, names[i]);
    }
    int rc = assembler_line(assembler, &(struct feed_line){.kind = FEED_LINE_OPEN, .record = record});
    record_unref(record);
    return rc;
}

static void tracks_may_come_and_go(void **state) {
    static const char *const before[TRACKS_MAX] = {"v0", "v1", "v2", "v3", "v4", "v5", "a0", "s0", "s1", "s2"};
    static const char *const after[TRACKS_MAX] = {"v0", "v1", "a0", "a1", "a2", "a3", "s0", "s1", "s2", "s3"};
    struct assembler *assembler = assembler_create(name, drop_record, NULL);
    (void)state;
    assert_int_equal(open_named(assembler, EPOCH, before), ASSEMBLER_TAKEN);
    assert_int_equal(open_named(assembler, EPOCH + 1, after), ASSEMBLER_TAKEN);
    for (uint32_t i = 0; i < TRACKS_MAX; i++) {
        struct slice body = fixture_fragment(1 + i, 90000, 3000, true, 50);
        const struct feed_box box = {.kind = FEED_CHUNK, .epoch = EPOCH + 1, .msn = FIRST, .duration_ts = 3000};
        assert_int_equal(assembler_chunk(assembler, after[i], &box, body), ASSEMBLER_TAKEN);
        blob_unref(body.blob);
    }
    assembler_destroy(assembler);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(arrives_whole_in_any_order_of_bytes),
        TEST(chunk_is_written_before_its_part_is_closed),
        TEST(part_waits_for_all_it_counts),
        TEST(sources_at_once_whoever_is_first),
        TEST(another_source_goes_on_in_mid_segment),
        TEST(hole_in_a_track_is_an_error),
        TEST(tracks_may_come_and_go),
        TEST(older_writer_is_ignored),
        TEST(later_writer_takes_over_and_may_use_an_unseen_number_again),
        TEST(state_arrives_behind_what_came_before),
        TEST(starts_anew_behind_a_hole),
        TEST(track_that_is_not_taken_is_not_waited_for),
        TEST(late_track_arrives_whole_and_holds_up_nobody),
        TEST(late_track_that_has_come_is_not_waited_for),
        TEST(late_track_joins_and_stays_late),
        TEST(track_on_demand_is_there_while_it_is_made),
        TEST(what_cant_be_begun_with_wakes_nothing),
        TEST(track_on_demand_is_taken_before_it_is_made),
        TEST(track_that_joins_catches_up),
        TEST(track_joins_where_the_source_has_it),
        TEST(track_that_joins_goes_on_where_another_source_has_it),
        TEST(track_leaves_in_mid_segment_and_joins_again),
        TEST(other_tracks_begin_with_all_that_are_taken),
        TEST(impossible_events_are_refused),
        TEST(what_waits_has_a_limit),
        TEST(fragment_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
