/* A relay that takes streams from two upstream nodes, over real connections. What failures do to viewers is tested end
 * to end. */
#include "relay/pull.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "relay/feed.h"
#include "relay/upstream.h"
#include "tests/unit/feed_fixture.h"
#include "tests/unit/fleet_fixture.h"

enum { EPOCH = 5, FIRST = 100 };
static const char name[] = "live/show";

static const struct track_names both_tracks = {2, {"v0", "a0"}};

struct world {
    struct loop *loop;
    struct node one, two; /* upstream */
    struct hub *hub;      /* the relay's */
    struct store *replica;
    struct hub_client *client;
    struct upstreams *upstreams;
    struct pulls *pulls;
    int known, unknown;      /* answers */
    const struct node *like; /* the relay should have what this one has */
};

static void on_answer(void *ctx, const char *stream, bool known) {
    struct world *world = ctx;
    assert_string_equal(stream, name);
    if (known)
        world->known++;
    else
        world->unknown++;
}

static void begin_with(struct world *world, const char *key, const char *our_key, char *const *race,
                       size_t race_count) {
    static const struct store_settings settings = {.window_us = 30000000};
    struct http_client_config config = http_client_config_default;
    const struct pulls_settings pulls = {.node = "relay",
                                         .late_us = 100000,
                                         .grace_us = 300000,
                                         .back_ms = 600,
                                         .streams_max = 4,
                                         .race = race,
                                         .race_count = race_count};
    signal(SIGPIPE, SIG_IGN);
    *world = (struct world){.loop = loop_create()};
    node_begin(&world->one, world->loop, "one", key);
    node_begin(&world->two, world->loop, "two", key);
    world->hub = hub_create(world->loop, &settings);
    world->replica = store_create(&settings);
    config.token = our_key;
    world->upstreams = upstreams_create(world->loop, &config);
    upstreams_add(world->upstreams, world->one.url);
    upstreams_add(world->upstreams, world->two.url);
    world->upstreams->items[1].score.cost_ms = 5; /* the second is second */
    world->pulls = pulls_create(world->hub, world->upstreams, &pulls);
    world->client = hub_client_create(world->hub, world->loop, world->replica, on_answer, world);
}

static void begin(struct world *world) {
    begin_with(world, NULL, NULL, NULL, 0);
}

static void end(struct world *world) {
    hub_client_destroy(world->client);
    pulls_destroy(world->pulls);
    upstreams_destroy(world->upstreams);
    store_destroy(world->replica);
    hub_destroy(world->hub);
    node_end(&world->one);
    node_end(&world->two);
    loop_destroy(world->loop);
}

static void write_both(struct world *world, void (*fn)(struct node *, const char *, uint64_t, uint64_t), uint64_t msn) {
    fn(&world->one, name, EPOCH, msn);
    fn(&world->two, name, EPOCH, msn);
}

static void open_both(struct world *world) {
    node_open(&world->one, name, EPOCH);
    node_open(&world->two, name, EPOCH);
}

static uint64_t place(const struct stream *stream) {
    const struct segment *last = stream ? stream_last_segment(stream, 0) : NULL;
    return last ? last->msn * 100 + last->published : 0;
}

static bool caught_up(void *ctx) {
    const struct world *world = ctx;
    return place(store_find(world->replica, name)) == place(store_find(hub_store(world->like->hub), name));
}

static void await_like(struct world *world, const struct node *node) {
    world->like = node;
    assert_true(await(world->loop, caught_up, world));
}

/* With a segment that both upstream nodes have, taken from the first. */
static void begin_following(struct world *world) {
    begin(world);
    open_both(world);
    write_both(world, node_write_segment, FIRST);
    hub_client_follow(world->client, name, NULL, &both_tracks);
    await_like(world, &world->one);
}

static bool two_stands_by(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->two.replica, name);
    return stream && stream_wanted(stream);
}

static bool answered(void *ctx) {
    const struct world *world = ctx;
    return world->known + world->unknown > 0;
}

static void stream_is_taken_from_the_better_one(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    open_both(&world);
    for (uint64_t msn = FIRST; msn < FIRST + 8; msn++)
        write_both(&world, node_write_segment, msn);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.one);
    assert_true(world.known > 0);
    const struct stream *stream = store_find(world.replica, name);
    assert_int_equal(stream->segments[0]->msn, FIRST + 5); /* 600 ms before the end are three segments of 267 ms */
    assert_true(await(world.loop, two_stands_by, &world));
    assert_string_equal(stream->path->path.nodes[0], "one");
    write_both(&world, node_write_segment, FIRST + 8);
    await_like(&world, &world.one);
    end(&world);
}

static void other_one_is_used_when_it_dies(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    node_write_part(&world.one, name, EPOCH, FIRST + 1, 0, false);
    await_like(&world, &world.one); /* in the middle of a segment, which the other one doesn't have yet */
    node_kill(&world.one);
    node_write_segment(&world.two, name, EPOCH, FIRST + 1);
    await_like(&world, &world.two);
    const struct stream *stream = store_find(world.replica, name);
    assert_int_equal(stream_last_segment(stream, 0)->msn, FIRST + 1);
    assert_int_equal(stream->segments[stream->segment_count - 1]->chunks[0].count, 8); /* none twice, none missing */
    assert_string_equal(stream->path->path.nodes[0], "two");
    node_revive(&world.one, NULL);
    end(&world);
}

static void other_one_is_used_when_it_falls_behind(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    node_write_segment(&world.two, name, EPOCH, FIRST + 1); /* and nothing more at one */
    await_like(&world, &world.two);
    assert_string_equal(store_find(world.replica, name)->path->path.nodes[0], "two");
    end(&world);
}

static bool comes_from(const struct world *world, const char *node) {
    const struct stream *stream = store_find(world->replica, name);
    return stream && stream->path && !strcmp(stream->path->path.nodes[0], node);
}

static bool has_left_one(void *ctx) {
    const struct world *world = ctx;
    return comes_from(world, "two") && !world->upstreams->items[0].links;
}

static bool caught_up_or_left_one(void *ctx) {
    return caught_up(ctx) || has_left_one(ctx);
}

static void assert_no_gap(const struct world *world) {
    const struct stream *stream = store_find(world->replica, name);
    for (uint32_t i = 1; i < stream->segment_count; i++)
        assert_int_equal(stream->segments[i]->msn, stream->segments[i - 1]->msn + 1);
    for (uint32_t i = 1; i + 1 < stream->segment_count; i++)
        assert_int_equal(stream->segments[i]->chunks[0].count, 8);
}

/* Whatever it still gives is first, and it is not gone back to, although it stands. */
static void one_that_is_about_to_stop_is_left_at_once(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    assert_true(comes_from(&world, "one"));
    world.one.asked_us = 0;
    feeds_drain(world.one.feeds);
    for (uint32_t i = 0; i < 40; i++) {
        node_write_part(&world.one, name, EPOCH, FIRST + 1 + i / 4, i % 4, i % 4 == 3);
        world.like = &world.one;
        assert_true(await(world.loop, caught_up_or_left_one, &world));
        node_write_part(&world.two, name, EPOCH, FIRST + 1 + i / 4, i % 4, i % 4 == 3);
        await_like(&world, &world.two);
        if (has_left_one(&world))
            break;
        assert_true(i < 39);
    }
    assert_int_equal(world.one.asked_us, 0);
    assert_no_gap(&world);
    end(&world);
}

static bool is_video(const struct record *record) {
    return record->type == RECORD_CHUNK && record->chunk.track == 0;
}

static void write_video(void *ctx, struct record *record) {
    const struct node *node = ctx;
    if (is_video(record))
        assert_int_equal(hub_write(node->hub, record), 0);
    else
        record_unref(record);
}

static void write_rest(void *ctx, struct record *record) {
    const struct node *node = ctx;
    if (is_video(record))
        record_unref(record);
    else
        assert_int_equal(hub_write(node->hub, record), 0);
}

static void one_that_is_about_to_stop_gives_until_the_other_gives_all_tracks(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    feeds_drain(world.one.feeds);
    for (uint32_t i = 0; i < 12; i++) {
        node_write_part(&world.one, name, EPOCH, FIRST + 1 + i / 4, i % 4, i % 4 == 3);
        if (i == 0)
            fixture_each_of_part(name, EPOCH, FIRST + 1, 0, false, write_video, &world.two);
        await_like(&world, &world.one);
    }
    assert_true(comes_from(&world, "two"));
    assert_int_equal(world.upstreams->items[0].links, 1);
    fixture_each_of_part(name, EPOCH, FIRST + 1, 0, false, write_rest, &world.two);
    assert_true(await(world.loop, has_left_one, &world));
    end(&world);
}

static void one_that_is_about_to_stop_is_not_left_for_one_that_is_behind(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    node_write_segment(&world.one, name, EPOCH, FIRST + 1);
    await_like(&world, &world.one);
    feeds_drain(world.one.feeds);
    for (uint64_t msn = FIRST + 2; msn < FIRST + 5; msn++) {
        node_write_segment(&world.one, name, EPOCH, msn);
        await_like(&world, &world.one);
        assert_true(comes_from(&world, "one"));
    }
    for (uint64_t msn = FIRST + 1; msn < FIRST + 5; msn++)
        node_write_segment(&world.two, name, EPOCH, msn);
    for (uint64_t msn = FIRST + 5; !has_left_one(&world); msn++) {
        assert_true(msn < FIRST + 400);
        write_both(&world, node_write_segment, msn);
        await_like(&world, &world.two);
    }
    assert_no_gap(&world);
    end(&world);
}

static void one_that_is_about_to_stop_gives_until_another_is_there(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    node_kill(&world.two);
    feeds_drain(world.one.feeds);
    write_both(&world, node_write_segment, FIRST + 1);
    await_like(&world, &world.one);
    assert_true(comes_from(&world, "one"));
    node_revive(&world.two, NULL);
    for (uint64_t msn = FIRST + 2; !has_left_one(&world); msn++) {
        assert_true(msn < FIRST + 400);
        write_both(&world, node_write_segment, msn);
        await_like(&world, &world.two);
    }
    assert_no_gap(&world);
    end(&world);
}

static void one_that_is_about_to_stop_is_not_begun_with(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    open_both(&world);
    write_both(&world, node_write_segment, FIRST);
    feeds_drain(world.one.feeds);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.two);
    assert_true(comes_from(&world, "two"));
    assert_null(store_find(world.one.replica, name));
    end(&world);
}

static void only_one_stays_however_late(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    node_kill(&world.two);
    write_both(&world, node_write_segment, FIRST + 1);
    await_like(&world, &world.one);
    assert_string_equal(store_find(world.replica, name)->path->path.nodes[0], "one");
    node_revive(&world.two, NULL);
    end(&world);
}

static void race_takes_whichever_is_first(void **state) {
    struct world world;
    char pattern[] = "live/*", *race[] = {pattern};
    (void)state;
    begin_with(&world, NULL, NULL, race, 1);
    open_both(&world);
    write_both(&world, node_write_segment, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.one);
    assert_true(await(world.loop, two_stands_by, &world));
    for (uint64_t msn = FIRST + 1; msn < FIRST + 6; msn++) { /* now this one is first, now the other */
        struct node *first = msn % 2 ? &world.two : &world.one, *second = msn % 2 ? &world.one : &world.two;
        node_write_segment(first, name, EPOCH, msn);
        await_like(&world, first);
        node_write_segment(second, name, EPOCH, msn);
    }
    end(&world);
}

static bool one_stands_by(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->one.replica, name);
    return stream && stream_wanted(stream);
}

static void shield_is_preferred_and_what_is_none_stands_by(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    world.upstreams->items[1].shield = true; /* the worse one */
    open_both(&world);
    write_both(&world, node_write_segment, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.two);
    assert_string_equal(store_find(world.replica, name)->path->path.nodes[0], "two");
    assert_true(await(world.loop, one_stands_by, &world));
    node_kill(&world.two);
    node_write_segment(&world.one, name, EPOCH, FIRST + 1);
    await_like(&world, &world.one);
    assert_string_equal(store_find(world.replica, name)->path->path.nodes[0], "one");
    node_revive(&world.two, NULL);
    end(&world);
}

static bool comes_from_one(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->replica, name);
    return stream && stream->path && !strcmp(stream->path->path.nodes[0], "one");
}

static bool comes_from_two(void *ctx) {
    const struct world *world = ctx;
    return !strcmp(store_find(world->replica, name)->path->path.nodes[0], "two");
}

static bool comes_from_the_shield(void *ctx) {
    const struct world *world = ctx;
    return !strcmp(store_find(world->replica, name)->path->path.nodes[0], "shield");
}

/* As by nodes that remember for a moment that there is no such stream: the best one is the last to have it. */
static void stream_that_begins_elsewhere_is_with_its_shield_in_seconds(void **state) {
    struct world world;
    struct node shield;
    (void)state;
    begin(&world);
    node_begin(&shield, world.loop, "shield", NULL);
    upstreams_add_shield(world.upstreams, shield.url);
    world.upstreams->items[0].score.cost_ms = 1000;
    node_open(&world.one, name, EPOCH);
    node_write_segment(&world.one, name, EPOCH, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    assert_true(await(world.loop, comes_from_one, &world));
    node_open(&world.two, name, EPOCH);
    node_write_segment(&world.two, name, EPOCH, FIRST);
    assert_true(await(world.loop, comes_from_two, &world));
    node_open(&shield, name, EPOCH);
    node_write_segment(&shield, name, EPOCH, FIRST);
    assert_true(await(world.loop, comes_from_the_shield, &world));
    node_end(&shield);
    end(&world);
}

static void unknown_stream_is_answered_and_asked_for_once(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    assert_true(await(world.loop, answered, &world));
    assert_int_equal(world.unknown, 1);
    open_both(&world); /* too late: that it isn't there is remembered for a moment */
    world.unknown = 0;
    hub_client_follow(world.client, name, NULL, &both_tracks);
    assert_true(await(world.loop, answered, &world));
    assert_int_equal(world.unknown, 1);
    end(&world);
}

static void stream_is_found_where_it_is(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    node_open(&world.two, name, EPOCH);
    node_write_segment(&world.two, name, EPOCH, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.two);
    end(&world);
}

static void without_the_key_there_is_nothing(void **state) {
    struct world world;
    (void)state;
    begin_with(&world, "a-key-of-the-fleet", "another-key", NULL, 0);
    open_both(&world);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    assert_true(await(world.loop, answered, &world));
    assert_int_equal(world.unknown, 1);
    end(&world);
    begin_with(&world, "a-key-of-the-fleet", "a-key-of-the-fleet", NULL, 0);
    open_both(&world);
    write_both(&world, node_write_segment, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.one);
    end(&world);
}

static bool nobody_asks(void *ctx) {
    const struct world *world = ctx;
    return !hub_followers(world->one.hub, name) && !hub_followers(world->two.hub, name);
}

static void nothing_is_taken_that_nobody_wants(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    hub_client_unfollow(world.client, name);
    assert_true(await(world.loop, nobody_asks, &world));
    assert_null(store_find(hub_store(world.hub), name));
    end(&world);
}

static void later_writer_is_followed_whoever_has_him(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    node_open(&world.two, name, EPOCH + 1); /* the two have been cut apart */
    node_write_segment(&world.two, name, EPOCH + 1, FIRST + 1);
    node_write_segment(&world.one, name, EPOCH, FIRST + 1);
    await_like(&world, &world.two);
    assert_int_equal(store_find(world.replica, name)->epoch, EPOCH + 1);
    node_write_segment(&world.one, name, EPOCH, FIRST + 2);
    node_write_segment(&world.two, name, EPOCH + 1, FIRST + 2);
    await_like(&world, &world.two);
    assert_int_equal(store_find(world.replica, name)->epoch, EPOCH + 1);
    end(&world);
}

static bool ended(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->replica, name);
    return stream && stream->state == STREAM_ENDED;
}

static void end_of_the_stream_arrives(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    node_state(&world.one, name, EPOCH, STREAM_ENDED);
    node_state(&world.two, name, EPOCH, STREAM_ENDED);
    assert_true(await(world.loop, ended, &world));
    end(&world);
}

static void stream_that_all_have_forgotten_ends(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    hub_remove(world.one.hub, store_find(hub_store(world.one.hub), name));
    hub_remove(world.two.hub, store_find(hub_store(world.two.hub), name));
    assert_true(await(world.loop, ended, &world));
    end(&world);
}

static void what_has_left_the_window_is_passed_over(void **state) {
    struct world world;
    (void)state;
    begin_following(&world);
    node_kill(&world.one);
    node_kill(&world.two);
    hub_remove(world.one.hub, store_find(hub_store(world.one.hub), name));
    hub_remove(world.two.hub, store_find(hub_store(world.two.hub), name));
    open_both(&world); /* they have begun anew, far behind the place that is asked for */
    write_both(&world, node_write_segment, FIRST + 50);
    node_revive(&world.one, NULL);
    node_revive(&world.two, NULL);
    await_like(&world, &world.one);
    const struct stream *stream = store_find(world.replica, name);
    assert_int_equal(stream->segments[stream->first_listed]->msn, FIRST + 50);
    end(&world);
}

static bool two_holds(void *ctx, const char *stream, const char *url) {
    const struct world *world = ctx;
    return !strcmp(stream, name) && !strcmp(url, world->two.url);
}

static void search_begins_with_who_is_known_to_hold_the_stream(void **state) {
    struct world world;
    (void)state;
    begin(&world);
    upstreams_set_holds(world.upstreams, two_holds, &world);
    node_open(&world.two, name, EPOCH);
    node_write_segment(&world.two, name, EPOCH, FIRST);
    hub_client_follow(world.client, name, NULL, &both_tracks);
    await_like(&world, &world.two);
    assert_true(!world.one.asked_us || world.one.asked_us > world.two.asked_us);
    end(&world);
}

/* --- tracks --- */

static void ask_for(struct world *world, const char *variant) {
    const struct track_names tracks = track_names_of(variant);
    hub_client_want_tracks(world->client, name, &tracks);
}

/* What `like` has is here of the two tracks; of sound alone, the same. */
static bool has_both(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->replica, name);
    const struct segment *last = stream ? stream_last_segment(stream, 3) : NULL;
    const struct segment *there = stream_last_segment(store_find(hub_store(world->like->hub), name), 0);
    return last && last->msn == there->msn && segment_parts(last, 3) == there->published;
}

static uint32_t pictures(const struct world *world, uint64_t msn) {
    return stream_segment(store_find(world->replica, name), msn)->chunks[0].count;
}

static void begin_with_sound(struct world *world) {
    const struct track_names sound = track_names_of("a0");
    begin(world);
    open_both(world);
    for (uint64_t msn = FIRST; msn < FIRST + 8; msn++)
        write_both(world, node_write_segment, msn);
    hub_client_follow(world->client, name, NULL, &sound);
    await_like(world, &world->one);
}

static bool sound_alone_is_read(void *ctx) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->one.replica, name);
    return stream && stream->here == 3 && store_find(world->replica, name)->here == 2;
}

static void only_tracks_that_are_asked_for_are_taken(void **state) {
    struct world world;
    (void)state;
    begin_with_sound(&world);
    assert_true(sound_alone_is_read(&world));
    assert_int_equal(pictures(&world, FIRST + 7), 0);
    node_write_segment(&world.one, name, EPOCH, FIRST + 8);
    await_like(&world, &world.one);
    assert_int_equal(pictures(&world, FIRST + 8), 0);
    end(&world);
}

static bool is_let_go(void *ctx) {
    const struct world *world = ctx;
    return store_find(world->replica, name)->here == 2;
}

static void track_joins_in_mid_window_and_again(void **state) {
    struct world world;
    (void)state;
    begin_with_sound(&world);
    for (uint64_t msn = FIRST + 8; msn < FIRST + 14; msn++)
        write_both(&world, node_write_segment, msn);
    node_write_part(&world.one, name, EPOCH, FIRST + 14, 0, false);
    await_like(&world, &world.one);
    ask_for(&world, "v0a0");
    assert_true(await(world.loop, has_both, &world));
    assert_int_equal(pictures(&world, FIRST + 10), 0);
    assert_int_equal(pictures(&world, FIRST + 11), 8); /* 600 ms back, as when a stream begins */
    ask_for(&world, "a0");
    assert_true(await(world.loop, is_let_go, &world));
    node_write_part(&world.one, name, EPOCH, FIRST + 14, 1, false);
    await_like(&world, &world.one);
    assert_int_equal(pictures(&world, FIRST + 14), 0); /* of a segment that isn't whole nothing is kept */
    ask_for(&world, "v0a0");
    assert_true(await(world.loop, has_both, &world));
    assert_int_equal(pictures(&world, FIRST + 14), 4);
    end(&world);
}

static void track_joins_at_the_other_one_when_the_first_dies(void **state) {
    struct world world;
    (void)state;
    begin_with_sound(&world);
    assert_true(await(world.loop, two_stands_by, &world));
    ask_for(&world, "v0a0");
    node_kill(&world.one);
    node_write_segment(&world.two, name, EPOCH, FIRST + 8);
    world.like = &world.two;
    assert_true(await(world.loop, has_both, &world));
    end(&world);
}

/* --- a track that is made on demand --- */

static void write_to(void *ctx, struct record *record) {
    assert_int_equal(hub_write(((const struct node *)ctx)->hub, record), 0);
}

static void write_silent(struct world *world, uint64_t msn) {
    fixture_each_without_sound(name, EPOCH, msn, write_to, &world->one);
    fixture_each_without_sound(name, EPOCH, msn, write_to, &world->two);
}

static void make_sound(struct node *node, uint64_t msn) {
    write_to(node, fixture_made(name, EPOCH, true, msn));
    fixture_each_of_sound(name, EPOCH, msn, write_to, node);
}

static void begin_silent(struct world *world) {
    begin(world);
    write_to(&world->one, fixture_open_on_demand(name, EPOCH));
    write_to(&world->two, fixture_open_on_demand(name, EPOCH));
    write_silent(world, FIRST);
    hub_client_follow(world->client, name, NULL, &both_tracks);
    await_like(world, &world->one);
    assert_true(await(world->loop, two_stands_by, world));
}

static bool sound_is_asked_at_one(void *ctx) {
    const struct world *world = ctx;
    const struct track_names names = hub_tracks_asked(world->one.hub, name);
    return track_names_have(&names, "a0");
}

static bool sound_is_not_asked_at_one(void *ctx) {
    return !sound_is_asked_at_one(ctx);
}

/* It is asked for from the node before for as long as it is here, and what is there comes. */
static void what_is_made_on_demand_is_asked_for_upstream(void **state) {
    struct world world;
    (void)state;
    begin_silent(&world);
    assert_true(await(world.loop, sound_is_asked_at_one, &world));
    ask_for(&world, "v0");
    for (uint64_t msn = FIRST + 1; !sound_is_not_asked_at_one(&world); msn++) {
        assert_true(msn < FIRST + 400);
        write_silent(&world, msn);
        await_like(&world, &world.one);
    }
    end(&world);
}

/* For longer than any window, and then the node is another: nothing is gone that anybody was to have. */
static void what_sleeps_is_no_failure(void **state) {
    struct world world;
    (void)state;
    begin_silent(&world);
    make_sound(&world.one, FIRST);
    make_sound(&world.two, FIRST);
    assert_true(await(world.loop, has_both, &world));
    write_to(&world.one, fixture_made(name, EPOCH, false, 0));
    write_to(&world.two, fixture_made(name, EPOCH, false, 0));
    for (uint64_t msn = FIRST + 1; msn < FIRST + 150; msn++) {
        write_silent(&world, msn);
        await_like(&world, &world.one);
    }
    assert_true(comes_from(&world, "one"));
    const struct stream *stream = store_find(world.replica, name);
    const struct record *open = stream->open;
    store_expire(world.one.replica, loop_now_us(world.loop) + 3600 * INT64_C(1000000));
    store_expire(world.two.replica, loop_now_us(world.loop) + 3600 * INT64_C(1000000));
    assert_null(stream_segment(store_find(world.two.replica, name), FIRST));
    node_kill(&world.one);
    fixture_each_without_sound(name, EPOCH, FIRST + 150, write_to, &world.two);
    await_like(&world, &world.two);
    make_sound(&world.two, FIRST + 150);
    assert_true(await(world.loop, has_both, &world));
    assert_ptr_equal(stream->open, open); /* it was not begun anew */
    assert_no_gap(&world);
    node_revive(&world.one, NULL);
    end(&world);
}

/* The one after it gives all that there is to give. */
static void one_that_is_about_to_stop_is_left_though_a_track_sleeps(void **state) {
    struct world world;
    (void)state;
    begin_silent(&world);
    feeds_drain(world.one.feeds);
    for (uint64_t msn = FIRST + 1; !has_left_one(&world); msn++) {
        assert_true(msn < FIRST + 40);
        write_silent(&world, msn);
        await_like(&world, &world.two);
    }
    assert_no_gap(&world);
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_taken_from_the_better_one),
        cmocka_unit_test(other_one_is_used_when_it_dies),
        cmocka_unit_test(other_one_is_used_when_it_falls_behind),
        cmocka_unit_test(one_that_is_about_to_stop_is_left_at_once),
        cmocka_unit_test(one_that_is_about_to_stop_gives_until_the_other_gives_all_tracks),
        cmocka_unit_test(one_that_is_about_to_stop_is_not_left_for_one_that_is_behind),
        cmocka_unit_test(one_that_is_about_to_stop_gives_until_another_is_there),
        cmocka_unit_test(one_that_is_about_to_stop_is_not_begun_with),
        cmocka_unit_test(only_one_stays_however_late),
        cmocka_unit_test(race_takes_whichever_is_first),
        cmocka_unit_test(shield_is_preferred_and_what_is_none_stands_by),
        cmocka_unit_test(stream_that_begins_elsewhere_is_with_its_shield_in_seconds),
        cmocka_unit_test(unknown_stream_is_answered_and_asked_for_once),
        cmocka_unit_test(stream_is_found_where_it_is),
        cmocka_unit_test(without_the_key_there_is_nothing),
        cmocka_unit_test(nothing_is_taken_that_nobody_wants),
        cmocka_unit_test(later_writer_is_followed_whoever_has_him),
        cmocka_unit_test(end_of_the_stream_arrives),
        cmocka_unit_test(stream_that_all_have_forgotten_ends),
        cmocka_unit_test(what_has_left_the_window_is_passed_over),
        cmocka_unit_test(search_begins_with_who_is_known_to_hold_the_stream),
        cmocka_unit_test(only_tracks_that_are_asked_for_are_taken),
        cmocka_unit_test(track_joins_in_mid_window_and_again),
        cmocka_unit_test(track_joins_at_the_other_one_when_the_first_dies),
        cmocka_unit_test(what_is_made_on_demand_is_asked_for_upstream),
        cmocka_unit_test(what_sleeps_is_no_failure),
        cmocka_unit_test(one_that_is_about_to_stop_is_left_though_a_track_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
