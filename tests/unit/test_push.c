/* Ingest nodes that bring a stream to two origins, over real connections (push.c and origin/intake.c). */
#include "ingest/push.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "common/http/server.h"
#include "common/media/hub.h"
#include "origin/intake.h"
#include "origin/origin.h"
#include "tests/unit/feed_fixture.h"
#include "tests/unit/fleet_fixture.h"

enum { ORIGINS = 2, GRACE_MS = 60000, PARTS = 4 /* of a segment */ };
static const uint64_t hour_us = 3600000000;
static const char name[] = "live/show";
static const struct store_settings store_settings = {.window_us = 30000000};

/* A node that is an authority: an origin, or an ingest node over its own window. */
struct authority {
    struct hub *hub;
    struct origin *origin;
    struct intake *intake;
    struct http_server *http; /* NULL: it is down */
    uint16_t port;
    char url[64];
};

struct writer {
    struct world *world;
    struct authority node;
    struct pushes *pushes;
    struct writer_port port;
    enum claim_rank rank;
    void *claim;
    bool answered;
    enum claim_result result;
    struct claim_grant grant;
    int lost, cuts;
};

struct world {
    struct loop *loop;
    uint32_t silent_ms, takeover_ms;
    struct authority origins[ORIGINS];
    char *urls[ORIGINS];
    struct writer a, b;
    const struct authority *checked, *like;
};

static void authority_begin(struct world *world, struct authority *node) {
    node->hub = hub_create(world->loop, &store_settings);
    node->origin = origin_create(world->loop, node->hub,
                                 &(struct origin_settings){GRACE_MS, world->silent_ms, world->takeover_ms});
    const struct writer_port port = origin_port(node->origin);
    node->intake = intake_create(world->loop, node->hub, &port, &(struct intake_settings){NULL});
}

static void authority_listen(struct world *world, struct authority *node) {
    char address[32];
    node->http = http_server_create(world->loop, &http_limits_default, intake_handle, node->intake);
    http_server_stream_bodies(node->http, intake_streams);
    snprintf(address, sizeof address, "127.0.0.1:%u", node->port);
    assert_int_equal(http_server_listen(node->http, address, false, &node->port), 0);
    snprintf(node->url, sizeof node->url, "http://127.0.0.1:%u", node->port);
}

static void authority_end(struct authority *node) {
    http_server_destroy(node->http);
    intake_destroy(node->intake);
    origin_destroy(node->origin);
    hub_destroy(node->hub);
    node->http = NULL;
}

/* Its process is killed and started again: all is lost. */
static void authority_restart(struct world *world, struct authority *node) {
    authority_end(node);
    authority_begin(world, node);
    authority_listen(world, node);
}

static void writer_begin(struct world *world, struct writer *writer) {
    *writer = (struct writer){.world = world, .rank = CLAIM_PRIMARY};
    authority_begin(world, &writer->node);
    const struct writer_port local = origin_port(writer->node.origin);
    const struct pushes_settings settings = {.node = "ingest",
                                             .origins = world->urls,
                                             .origin_count = ORIGINS,
                                             .client = http_client_config_default};
    writer->pushes = pushes_create(world->loop, writer->node.hub, &local, &settings);
    writer->port = pushes_port(writer->pushes);
}

/* If it has a claim. */
static void release(struct writer *writer) {
    if (writer->claim)
        writer->port.release(writer->port.ctx, writer->claim, true);
    writer->claim = NULL;
}

static void writer_end(struct writer *writer) {
    release(writer);
    pushes_destroy(writer->pushes);
    authority_end(&writer->node);
}

static int begin_ranked(void **state, uint32_t silent_ms, uint32_t takeover_ms) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    *state = world;
    world->loop = loop_create();
    world->silent_ms = silent_ms;
    world->takeover_ms = takeover_ms;
    for (int i = 0; i < ORIGINS; i++) {
        authority_begin(world, &world->origins[i]);
        authority_listen(world, &world->origins[i]);
        world->urls[i] = world->origins[i].url;
    }
    writer_begin(world, &world->a);
    writer_begin(world, &world->b);
    return 0;
}

static int begin_with(void **state, uint32_t silent_ms) {
    return begin_ranked(state, silent_ms, 60000);
}

static int begin(void **state) {
    return begin_with(state, 3000);
}

/* Whoever stands by takes over after a moment. */
static int begin_attentive(void **state) {
    return begin_ranked(state, 3000, 700);
}

/* Who doesn't write is silent at once. */
static int begin_impatient(void **state) {
    return begin_with(state, 0);
}

static int end(void **state) {
    struct world *world = *state;
    writer_end(&world->a);
    writer_end(&world->b);
    for (int i = 0; i < ORIGINS; i++)
        authority_end(&world->origins[i]);
    loop_destroy(world->loop);
    free(world);
    return 0;
}

/* --- writers --- */

static void on_result(void *owner, enum claim_result result, const struct claim_grant *grant) {
    struct writer *writer = owner;
    writer->answered = true;
    writer->result = result;
    if (grant)
        writer->grant = *grant;
}

static void on_lost(void *owner, const struct claim_loss *loss) {
    struct writer *writer = owner;
    assert_true(loss->why[0]);
    writer->cuts += loss->cut;
    writer->lost++;
}

static bool answered(void *ctx) {
    return ((struct writer *)ctx)->answered;
}

static enum claim_result claim_to_go_on(struct writer *writer, uint64_t epoch) {
    writer->answered = false;
    writer->claim = writer->port.claim(writer->port.ctx, &(struct claim_request){.stream = name,
                                                                                 .peer = "192.0.2.1:9",
                                                                                 .rank = writer->rank,
                                                                                 .epoch = epoch,
                                                                                 .on_result = on_result,
                                                                                 .on_lost = on_lost,
                                                                                 .owner = writer});
    assert_true(await(writer->world->loop, answered, writer));
    return writer->result;
}

static enum claim_result claim(struct writer *writer) {
    return claim_to_go_on(writer, 0);
}

static void write_record(void *ctx, struct record *record) {
    struct writer *writer = ctx;
    assert_int_equal(writer->port.write(writer->port.ctx, writer->claim, record), 0);
}

static void open_stream(struct writer *writer) {
    write_record(writer, fixture_open(name, writer->grant.epoch, writer->grant.init_versions + 1));
}

/* Of segment `n`, from part `from` on. */
static void write_parts(struct writer *writer, uint64_t n, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++)
        fixture_each_of_part(name, writer->grant.epoch, writer->grant.next_msn + n, i, i == PARTS - 1, write_record,
                             writer);
}

static void write_segment(struct writer *writer, uint64_t n) {
    write_parts(writer, n, 0, PARTS);
}

/* --- what has arrived --- */

static uint64_t place(const struct authority *node) {
    const struct stream *stream = store_find(hub_store(node->hub), name);
    const struct segment *last = stream ? stream_last_segment(stream, 0) : NULL;
    return last ? last->msn * 100 + last->published : 0;
}

static bool alike(void *ctx) {
    const struct world *world = ctx;
    return place(world->checked) == place(world->like);
}

static void await_like(struct world *world, const struct authority *node, const struct authority *like) {
    world->checked = node;
    world->like = like;
    assert_true(await(world->loop, alike, world));
}

static void await_both(struct writer *writer) {
    for (int i = 0; i < ORIGINS; i++)
        await_like(writer->world, &writer->world->origins[i], &writer->node);
}

/* It is granted the stream, and both origins have a segment of it. */
static void begin_bringing(struct writer *writer) {
    assert_int_equal(claim(writer), CLAIM_GRANTED);
    open_stream(writer);
    write_segment(writer, 0);
    await_both(writer);
}

/* --- tests --- */

static void stream_is_brought_to_all_origins(void **state) {
    struct world *world = *state;
    assert_int_equal(claim(&world->a), CLAIM_GRANTED);
    open_stream(&world->a);
    for (uint64_t n = 0; n < 3; n++)
        write_segment(&world->a, n);
    await_both(&world->a);
    for (int i = 0; i < ORIGINS; i++) {
        const struct stream *stream = store_find(hub_store(world->origins[i].hub), name);
        assert_int_equal(stream->epoch, world->a.grant.epoch);
        assert_int_equal(stream->segment_count, 3);
        assert_string_equal(origin_publisher(world->origins[i].origin, name), "192.0.2.1:9");
    }
}

static bool both_away(void *ctx) {
    const struct world *world = ctx;
    bool away = true;
    for (int i = 0; i < ORIGINS; i++)
        away &= store_find(hub_store(world->origins[i].hub), name)->state == STREAM_AWAY &&
                !origin_publisher(world->origins[i].origin, name);
    return away;
}

static void released_stream_is_brought_to_its_end(void **state) {
    struct world *world = *state;
    claim(&world->a);
    open_stream(&world->a);
    for (uint64_t n = 0; n < 3; n++)
        write_segment(&world->a, n);
    release(&world->a); /* before anything has been sent */
    await_both(&world->a);
    assert_true(await(world->loop, both_away, world));
}

static void origin_that_is_down_is_left_out_and_brought_the_window_later(void **state) {
    struct world *world = *state;
    authority_end(&world->origins[1]);
    assert_int_equal(claim(&world->a), CLAIM_GRANTED);
    open_stream(&world->a);
    write_segment(&world->a, 0);
    await_like(world, &world->origins[0], &world->a.node);
    authority_begin(world, &world->origins[1]);
    authority_listen(world, &world->origins[1]);
    write_segment(&world->a, 1);
    await_both(&world->a);
    assert_int_equal(store_find(hub_store(world->origins[1].hub), name)->segment_count, 2);
}

static void origin_that_lost_all_is_brought_the_window_again(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    write_parts(&world->a, 1, 0, 1);
    authority_restart(world, &world->origins[0]);
    write_parts(&world->a, 1, 1, PARTS);
    await_both(&world->a);
    const struct stream *stream = store_find(hub_store(world->origins[0].hub), name);
    assert_int_equal(stream->segment_count, 2);
    assert_int_equal(stream->epoch, world->a.grant.epoch);
    assert_int_equal(world->a.lost, 0);
}

/* The connections break; origin and ingest node stand. */
static void bringing_goes_on_where_it_broke_off(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    write_parts(&world->a, 1, 0, 1);
    await_both(&world->a);
    struct authority *node = &world->origins[0];
    http_server_destroy(node->http);
    authority_listen(world, node);
    write_parts(&world->a, 1, 1, PARTS);
    await_both(&world->a);
    assert_int_equal(store_find(hub_store(node->hub), name)->segment_count, 2);
}

static void nobody_is_granted_what_no_origin_takes(void **state) {
    struct world *world = *state;
    authority_end(&world->origins[0]);
    authority_end(&world->origins[1]);
    assert_int_equal(claim(&world->a), CLAIM_UNREACHABLE);
    release(&world->a);
    for (int i = 0; i < ORIGINS; i++)
        authority_begin(world, &world->origins[i]);
}

static void stream_that_one_origin_hears_is_busy(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    assert_int_equal(claim(&world->b), CLAIM_BUSY);
    release(&world->b);
    assert_int_equal(world->a.lost, 0);
    write_segment(&world->a, 1);
    await_both(&world->a);
}

static bool a_is_lost(void *ctx) {
    return ((struct world *)ctx)->a.lost > 0;
}

static void old_writer_is_fenced(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    assert_int_equal(claim(&world->b), CLAIM_GRANTED);
    assert_true(world->b.grant.epoch > world->a.grant.epoch);
    assert_true(world->b.grant.resumes);
    assert_int_equal(world->b.grant.next_msn, world->a.grant.next_msn + 1);
    open_stream(&world->b);
    write_segment(&world->b, 0);
    assert_true(await(world->loop, a_is_lost, world));
    await_both(&world->b);
    for (int i = 0; i < ORIGINS; i++)
        assert_int_equal(store_find(hub_store(world->origins[i].hub), name)->epoch, world->b.grant.epoch);
}

/* The origin, and no other, has the stream, `segments` long; its writer has gone. */
static void leave_at(struct world *world, int origin, uint64_t epoch, uint32_t target_duration_ms, uint32_t segments) {
    struct writer writer = {.world = world, .port = origin_port(world->origins[origin].origin)};
    assert_int_equal(claim_to_go_on(&writer, epoch), CLAIM_GRANTED);
    struct record *open = fixture_open(name, epoch, 1);
    open->open.target_duration_ms = target_duration_ms;
    open->open.part_target_us = target_duration_ms * 100;
    write_record(&writer, open);
    for (uint32_t n = 0; n < segments; n++)
        write_segment(&writer, n);
    release(&writer);
}

/* Numbers go on from the highest. */
static void expect_cut_of_later_writer(struct world *world, int later) {
    uint64_t later_epoch = (uint64_t)clock_utc_us() - hour_us, earlier_epoch = later_epoch - hour_us;
    leave_at(world, later, later_epoch, 3000, 1);
    leave_at(world, 1 - later, earlier_epoch, 4000, 3);
    assert_int_equal(claim(&world->a), CLAIM_GRANTED);
    const struct claim_grant *grant = &world->a.grant;
    assert_true(grant->resumes);
    assert_true(grant->epoch > later_epoch);
    assert_int_equal(grant->target_duration_ms, 3000);
    assert_int_equal(grant->part_target_us, 300000);
    const struct stream *longer = store_find(hub_store(world->origins[1 - later].hub), name);
    assert_int_equal(grant->next_msn, stream_last_segment(longer, 0)->msn + 1);
}

static void origins_that_disagree_cut_like_the_later_writer_at_the_first(void **state) {
    expect_cut_of_later_writer(*state, 0);
}

static void origins_that_disagree_cut_like_the_later_writer_at_the_second(void **state) {
    expect_cut_of_later_writer(*state, 1);
}

/* --- the operator --- */

static enum stream_state state_at(const struct authority *node) {
    return store_find(hub_store(node->hub), name)->state;
}

static bool ended_at_all(void *ctx) {
    const struct world *world = ctx;
    return state_at(&world->origins[0]) == STREAM_ENDED && state_at(&world->origins[1]) == STREAM_ENDED &&
           state_at(&world->a.node) == STREAM_ENDED;
}

/* With a segment that all have, which the first origin's operator has cut. */
static void begin_cut(struct world *world, uint32_t refuse_s) {
    begin_bringing(&world->a);
    assert_int_equal(origin_cut(world->origins[0].origin, name, refuse_s), 0);
    assert_int_equal(state_at(&world->origins[0]), STREAM_ENDED);
    assert_true(await(world->loop, a_is_lost, world));
}

static void broadcast_that_one_origin_cuts_ends_at_all(void **state) {
    struct world *world = *state;
    begin_cut(world, 60);
    assert_int_equal(world->a.cuts, 1);
    struct record *late = fixture_real_chunk(name, world->a.grant.epoch, 0, world->a.grant.next_msn + 1, 0, 0);
    assert_int_equal(world->a.port.write(world->a.port.ctx, world->a.claim, late), -ESTALE);
    release(&world->a);
    assert_true(await(world->loop, ended_at_all, world));
    assert_int_equal(world->a.lost, 1);
}

static void name_that_was_cut_is_refused_by_ingest_node_and_origin(void **state) {
    struct world *world = *state;
    begin_cut(world, 60);
    release(&world->a);
    assert_true(await(world->loop, ended_at_all, world));
    assert_int_equal(claim(&world->b), CLAIM_CUT); /* by the origin that was told */
    release(&world->b);
    authority_restart(world, &world->origins[0]);
    assert_int_equal(claim(&world->a), CLAIM_CUT); /* by this node, which remembers it */
    release(&world->a);
    assert_int_equal(claim(&world->b), CLAIM_GRANTED); /* neither knows of it any more */
    release(&world->b);
}

static void cut_name_that_is_not_refused_is_taken_again(void **state) {
    struct world *world = *state;
    begin_cut(world, 0);
    release(&world->a);
    assert_true(await(world->loop, ended_at_all, world));
    uint64_t before = world->a.grant.next_msn;
    assert_int_equal(claim(&world->a), CLAIM_GRANTED);
    assert_false(world->a.grant.resumes);
    assert_true(world->a.grant.next_msn > before);
    open_stream(&world->a);
    write_segment(&world->a, 0);
    await_both(&world->a);
    assert_int_equal(state_at(&world->origins[1]), STREAM_LIVE);
    release(&world->a);
}

/* Its connection was broken when the operator spoke: it hears it when it asks again. */
static void broadcast_that_was_cut_meanwhile_ends_at_all(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    struct authority *node = &world->origins[0];
    http_server_destroy(node->http);
    assert_int_equal(origin_cut(node->origin, name, 60), 0);
    authority_listen(world, node);
    assert_true(await(world->loop, a_is_lost, world));
    assert_int_equal(world->a.cuts, 1);
    release(&world->a);
    assert_true(await(world->loop, ended_at_all, world));
}

/* --- an origin that stops --- */

static void origin_that_stops_is_brought_the_stream_for_as_long_as_it_stands(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    intake_drain(world->origins[0].intake);
    write_segment(&world->a, 1);
    await_both(&world->a);
    authority_restart(world, &world->origins[0]);
    write_segment(&world->a, 2);
    await_both(&world->a);
    assert_int_equal(world->a.lost, 0);
    release(&world->a);
}

static void origin_that_stops_takes_no_other_stream(void **state) {
    struct world *world = *state;
    intake_drain(world->origins[0].intake);
    assert_int_equal(claim(&world->a), CLAIM_GRANTED);
    open_stream(&world->a);
    write_segment(&world->a, 0);
    await_like(world, &world->origins[1], &world->a.node);
    assert_null(store_find(hub_store(world->origins[0].hub), name));
    release(&world->a);
}

/* --- standing by --- */

struct word {
    const struct writer *writer;
    enum claim_result result;
};

/* Media comes meanwhile. */
static bool told(void *ctx) {
    const struct word *word = ctx;
    word->writer->port.touch(word->writer->port.ctx, word->writer->claim);
    return word->writer->result == word->result;
}

static void await_word(struct writer *writer, enum claim_result result) {
    struct word word = {writer, result};
    assert_true(await(writer->world->loop, told, &word));
}

static void take(struct writer *writer) {
    writer->port.take(writer->port.ctx, writer->claim);
    await_word(writer, CLAIM_GRANTED);
}

static void backup_on_another_node_takes_over_and_gives_back(void **state) {
    struct world *world = *state;
    world->b.rank = CLAIM_BACKUP;
    begin_bringing(&world->a);
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    release(&world->a);
    await_word(&world->b, CLAIM_VACANT);
    take(&world->b);
    assert_true(world->b.grant.resumes && world->b.grant.epoch > world->a.grant.epoch);
    assert_int_equal(world->b.grant.next_msn, world->a.grant.next_msn + 1);
    open_stream(&world->b);
    write_segment(&world->b, 0);
    await_both(&world->b);
    assert_int_equal(claim(&world->a), CLAIM_OUTRANKS);
    write_segment(&world->b, 1); /* it goes on until the stream is taken */
    await_both(&world->b);
    take(&world->a);
    assert_int_equal(world->a.grant.next_msn, world->b.grant.next_msn + 2);
    await_word(&world->b, CLAIM_STANDBY);
    open_stream(&world->a);
    write_segment(&world->a, 0);
    await_both(&world->a);
    release(&world->a);
    await_word(&world->b, CLAIM_VACANT);
    take(&world->b);
    open_stream(&world->b);
    write_segment(&world->b, 0);
    await_both(&world->b);
    assert_int_equal(world->a.lost + world->b.lost, 0);
}

/* Both bring through one node's window. */
static void backup_on_the_same_node_takes_over_and_gives_back(void **state) {
    struct world *world = *state;
    struct writer *a = &world->a, c = {.world = world, .rank = CLAIM_BACKUP, .port = world->a.port};
    begin_bringing(a);
    assert_int_equal(claim(&c), CLAIM_STANDBY);
    await_word(&c, CLAIM_VACANT); /* the other falls silent */
    take(&c);
    open_stream(&c);
    write_segment(&c, 0);
    await_both(a);
    await_word(a, CLAIM_OUTRANKS);
    take(a);
    assert_true(a->grant.epoch > c.grant.epoch);
    open_stream(a);
    write_segment(a, 0);
    await_both(a);
    for (int i = 0; i < ORIGINS; i++)
        assert_int_equal(store_find(hub_store(world->origins[i].hub), name)->epoch, a->grant.epoch);
    assert_int_equal(a->lost + c.lost, 0);
    release(&c);
}

static void backup_takes_over_from_nobody_whom_an_origin_hears(void **state) {
    struct world *world = *state;
    struct writer other = {.world = world, .rank = CLAIM_PRIMARY, .port = origin_port(world->origins[1].origin)};
    assert_int_equal(claim(&other), CLAIM_GRANTED);
    open_stream(&other);
    world->b.rank = CLAIM_BACKUP;
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    world->b.port.take(world->b.port.ctx, world->b.claim);
    release(&other);
    await_word(&world->b, CLAIM_VACANT);
    take(&world->b);
    assert_null(origin_publisher(world->a.node.origin, name));
    for (int i = 0; i < ORIGINS; i++)
        assert_non_null(origin_publisher(world->origins[i].origin, name));
}

struct touching {
    struct world *world;
    int64_t until_us;
};

static bool touched_for_long(void *ctx) {
    struct touching *touching = ctx;
    const struct writer *a = &touching->world->a;
    a->port.touch(a->port.ctx, a->claim);
    return loop_now_us(touching->world->loop) > touching->until_us;
}

/* The origins hear that media comes, though nothing is written: it is being looked at. */
static void who_is_only_touched_is_not_silent_to_origins(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    world->b.rank = CLAIM_BACKUP;
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    struct touching touching = {world, loop_now_us(world->loop) + 1500000};
    assert_true(await(world->loop, touched_for_long, &touching));
    assert_int_equal(world->b.result, CLAIM_STANDBY);
    await_word(&world->b, CLAIM_VACANT);
}

static void count_claim(void *ctx, const struct origin_claim *claimed) {
    uint32_t *count = ctx;
    *count += !claimed->writes;
}

static bool nobody_stands_by(void *ctx) {
    const struct world *world = ctx;
    uint32_t count = 0;
    for (int i = 0; i < ORIGINS; i++)
        origin_each_claim(world->origins[i].origin, name, count_claim, &count);
    return !count;
}

static void claim_that_stood_by_is_forgotten(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    world->b.rank = CLAIM_BACKUP;
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    assert_false(nobody_stands_by(world));
    release(&world->b);
    assert_true(await(world->loop, nobody_stands_by, world));
}

static bool b_is_cut(void *ctx) {
    return ((struct world *)ctx)->b.cuts > 0;
}

static void cut_reaches_those_who_stand_by(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    world->b.rank = CLAIM_BACKUP;
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    assert_int_equal(origin_cut(world->origins[0].origin, name, 60), 0);
    assert_true(await(world->loop, b_is_cut, world));
}

/* It goes on asking: what it asks may be gone by then. */
static bool granted_when_asked(void *ctx) {
    struct writer *writer = ctx;
    bool granted = writer->result == CLAIM_GRANTED;
    if (!granted)
        writer->port.take(writer->port.ctx, writer->claim);
    return granted;
}

static void origins_that_come_back_are_stood_by_at_again(void **state) {
    struct world *world = *state;
    begin_bringing(&world->a);
    world->b.rank = CLAIM_BACKUP;
    assert_int_equal(claim(&world->b), CLAIM_STANDBY);
    release(&world->a);
    await_word(&world->b, CLAIM_VACANT);
    for (int i = 0; i < ORIGINS; i++)
        authority_restart(world, &world->origins[i]);
    assert_true(await(world->loop, granted_when_asked, &world->b));
    open_stream(&world->b);
    write_segment(&world->b, 0);
    await_like(world, &world->origins[0], &world->b.node);
}

static void claim_may_be_dropped_before_it_is_answered(void **state) {
    struct world *world = *state;
    world->a.claim = world->a.port.claim(world->a.port.ctx, &(struct claim_request){.stream = name,
                                                                                    .peer = "x",
                                                                                    .rank = CLAIM_PRIMARY,
                                                                                    .on_result = on_result,
                                                                                    .on_lost = on_lost,
                                                                                    .owner = &world->a});
    release(&world->a);
    assert_int_equal(claim(&world->b), CLAIM_GRANTED);
    assert_false(world->a.answered);
}

/* --- tracks that are made on demand --- */

static void write_silent(struct writer *writer, uint64_t n) {
    fixture_each_without_sound(name, writer->grant.epoch, writer->grant.next_msn + n, write_record, writer);
}

static void begin_silent(struct writer *writer) {
    assert_int_equal(claim(writer), CLAIM_GRANTED);
    write_record(writer, fixture_open_on_demand(name, writer->grant.epoch));
    write_silent(writer, 0);
    await_both(writer);
}

/* Whoever follows the stream at a node. */
struct follower {
    struct store *replica;
    struct hub_client *client;
};

static void on_answer(void *ctx, const char *stream, bool known) {
    (void)ctx, (void)stream, (void)known;
}

static bool is_followed(void *ctx) {
    const struct world *world = ctx;
    return hub_followers(world->checked->hub, name) > 0;
}

static struct follower follow(struct world *world, const struct authority *node, const char *variant) {
    const struct track_names tracks = track_names_of(variant);
    struct follower follower = {.replica = store_create(&store_settings)};
    follower.client = hub_client_create(node->hub, world->loop, follower.replica, on_answer, NULL);
    hub_client_follow(follower.client, name, NULL, &tracks);
    world->checked = node;
    assert_true(await(world->loop, is_followed, world));
    return follower;
}

static void unfollow(const struct follower *follower) {
    hub_client_destroy(follower->client);
    store_destroy(follower->replica);
}

static bool is_asked(const struct writer *writer, const char *track) {
    const struct track_names names = writer->port.asked(writer->port.ctx, writer->claim);
    return track_names_have(&names, track);
}

static bool sound_is_asked(void *ctx) {
    return is_asked(ctx, "a0");
}

static bool sound_is_not_asked(void *ctx) {
    return !is_asked(ctx, "a0");
}

static void what_is_asked_for_at_any_origin_is_made(void **state) {
    struct world *world = *state;
    begin_silent(&world->a);
    assert_false(is_asked(&world->a, "a0"));
    const struct follower two = follow(world, &world->origins[1], "a0");
    assert_true(await(world->loop, sound_is_asked, &world->a));
    const struct follower one = follow(world, &world->origins[0], "v0a0");
    assert_false(is_asked(&world->a, "v0")); /* it always is, and so nobody needs to say */
    unfollow(&one);
    write_silent(&world->a, 1);
    await_both(&world->a);
    assert_true(is_asked(&world->a, "a0"));
    unfollow(&two);
    assert_true(await(world->loop, sound_is_not_asked, &world->a));
    const struct follower here = follow(world, &world->a.node, "a0");
    assert_true(await(world->loop, sound_is_asked, &world->a));
    unfollow(&here);
    assert_false(is_asked(&world->a, "a0"));
}

/* What it has said is void with its connection. */
static void who_asked_at_an_origin_that_is_gone_asks_no_more(void **state) {
    struct world *world = *state;
    begin_silent(&world->a);
    const struct follower one = follow(world, &world->origins[0], "a0");
    assert_true(await(world->loop, sound_is_asked, &world->a));
    unfollow(&one);
    authority_end(&world->origins[0]);
    assert_true(await(world->loop, sound_is_not_asked, &world->a));
    authority_begin(world, &world->origins[0]);
    authority_listen(world, &world->origins[0]);
    write_silent(&world->a, 1);
    await_both(&world->a);
    const struct follower again = follow(world, &world->origins[0], "a0");
    assert_true(await(world->loop, sound_is_asked, &world->a));
    unfollow(&again);
}

/* It is as if all were asked for. */
static void an_older_origin_does_not_say_what_is_asked_for(void **state) {
    struct world *world = *state;
    struct authority *node = &world->origins[1];
    struct writer_port port = origin_port(node->origin);
    port.asked = NULL;
    intake_destroy(node->intake);
    http_server_destroy(node->http);
    node->intake = intake_create(world->loop, node->hub, &port, &(struct intake_settings){NULL});
    authority_listen(world, node);
    begin_silent(&world->a);
    assert_true(is_asked(&world->a, "a0"));
    authority_end(node);
    assert_true(await(world->loop, sound_is_not_asked, &world->a));
    authority_begin(world, node);
    authority_listen(world, node);
}

/* Its last place has left the window when the connection breaks, which is no reason to begin anew. */
static void what_sleeps_does_not_hold_up_a_bringing_that_goes_on(void **state) {
    struct world *world = *state;
    begin_silent(&world->a);
    write_record(&world->a, fixture_made(name, world->a.grant.epoch, true, world->a.grant.next_msn));
    fixture_each_of_sound(name, world->a.grant.epoch, world->a.grant.next_msn, write_record, &world->a);
    write_record(&world->a, fixture_made(name, world->a.grant.epoch, false, 0));
    for (uint64_t n = 1; n < 150; n++)
        write_silent(&world->a, n);
    await_both(&world->a);
    const struct stream *stream = store_find(hub_store(world->origins[0].hub), name);
    assert_true(stream->first_listed > 0);
    const struct record *open = stream->open;
    http_server_destroy(world->origins[0].http);
    authority_listen(world, &world->origins[0]);
    write_silent(&world->a, 150);
    await_both(&world->a);
    assert_ptr_equal(stream->open, open);
    uint64_t msn = world->a.grant.next_msn + 150;
    write_record(&world->a, fixture_made(name, world->a.grant.epoch, true, msn));
    fixture_each_of_sound(name, world->a.grant.epoch, msn, write_record, &world->a);
    write_silent(&world->a, 151);
    await_both(&world->a);
    assert_true(segment_whole(stream_segment(stream, msn), 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stream_is_brought_to_all_origins, begin, end),
        cmocka_unit_test_setup_teardown(released_stream_is_brought_to_its_end, begin, end),
        cmocka_unit_test_setup_teardown(origin_that_is_down_is_left_out_and_brought_the_window_later, begin, end),
        cmocka_unit_test_setup_teardown(origin_that_lost_all_is_brought_the_window_again, begin, end),
        cmocka_unit_test_setup_teardown(bringing_goes_on_where_it_broke_off, begin, end),
        cmocka_unit_test_setup_teardown(nobody_is_granted_what_no_origin_takes, begin, end),
        cmocka_unit_test_setup_teardown(stream_that_one_origin_hears_is_busy, begin, end),
        cmocka_unit_test_setup_teardown(old_writer_is_fenced, begin_impatient, end),
        cmocka_unit_test_setup_teardown(origins_that_disagree_cut_like_the_later_writer_at_the_first, begin, end),
        cmocka_unit_test_setup_teardown(origins_that_disagree_cut_like_the_later_writer_at_the_second, begin, end),
        cmocka_unit_test_setup_teardown(broadcast_that_one_origin_cuts_ends_at_all, begin, end),
        cmocka_unit_test_setup_teardown(name_that_was_cut_is_refused_by_ingest_node_and_origin, begin, end),
        cmocka_unit_test_setup_teardown(cut_name_that_is_not_refused_is_taken_again, begin, end),
        cmocka_unit_test_setup_teardown(broadcast_that_was_cut_meanwhile_ends_at_all, begin, end),
        cmocka_unit_test_setup_teardown(origin_that_stops_is_brought_the_stream_for_as_long_as_it_stands, begin, end),
        cmocka_unit_test_setup_teardown(origin_that_stops_takes_no_other_stream, begin, end),
        cmocka_unit_test_setup_teardown(claim_may_be_dropped_before_it_is_answered, begin, end),
        cmocka_unit_test_setup_teardown(backup_on_another_node_takes_over_and_gives_back, begin, end),
        cmocka_unit_test_setup_teardown(backup_on_the_same_node_takes_over_and_gives_back, begin_attentive, end),
        cmocka_unit_test_setup_teardown(backup_takes_over_from_nobody_whom_an_origin_hears, begin, end),
        cmocka_unit_test_setup_teardown(who_is_only_touched_is_not_silent_to_origins, begin_attentive, end),
        cmocka_unit_test_setup_teardown(claim_that_stood_by_is_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(cut_reaches_those_who_stand_by, begin, end),
        cmocka_unit_test_setup_teardown(origins_that_come_back_are_stood_by_at_again, begin, end),
        cmocka_unit_test_setup_teardown(what_is_asked_for_at_any_origin_is_made, begin, end),
        cmocka_unit_test_setup_teardown(who_asked_at_an_origin_that_is_gone_asks_no_more, begin, end),
        cmocka_unit_test_setup_teardown(an_older_origin_does_not_say_what_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(what_sleeps_does_not_hold_up_a_bringing_that_goes_on, begin, end),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
