#include "relay/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/metrics.h"
#include "common/media/hub.h"
#include "media_fixture.h"
#include "tests/unit/turns.h"

/* The hub's loop and the worker's by turns, on this thread. */

enum { DEADLINE_US = 10000000, IDLE_US = 30000000 };

static const char *const name = "live/show", *const other = "live/other";

static const struct store_settings settings = {.window_us = 14000000, .bytes_max = 64 << 20, .streams_max = 4};

struct world {
    struct loop *hub_loop, *loop;
    struct hub *hub;
    struct store *replica;
    struct hub_client *client;
    struct follows *follows;
    int answers; /* of the hub */
    /* as the hub's source */
    int wants;
    bool want;
    char hops[HUB_HOPS_LEN];
    struct track_names tracks, other_tracks; /* as the source was told last */
    int changes;
};

/* Who waits, and what became of it. */
struct request {
    struct follow_wait wait;
    int known, unknown;
    struct world *world;
    struct request *next; /* which it begins or cancels when it's answered */
};

static void on_answer(void *ctx, const char *stream, bool known) {
    struct world *world = ctx;
    world->answers++;
    follows_answer(world->follows, stream, known);
}

static bool on_want(void *ctx, const char *stream, const char *hops, const struct track_names *tracks) {
    struct world *world = ctx;
    world->wants++;
    *(strcmp(stream, name) ? &world->other_tracks : &world->tracks) = *tracks;
    strcpy(world->hops, hops);
    return world->want;
}

static void on_want_tracks(void *ctx, const char *stream, const struct track_names *tracks) {
    struct world *world = ctx;
    *(strcmp(stream, name) ? &world->other_tracks : &world->tracks) = *tracks;
    world->changes++;
}

static void on_unwant(void *ctx, const char *stream) {
    (void)ctx, (void)stream;
}

static void write_record(void *ctx, struct record *record) {
    assert_int_equal(hub_write(((struct world *)ctx)->hub, record), 0);
}

static struct world *begin(int64_t idle_us) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->hub_loop = loop_create();
    world->loop = loop_create();
    world->hub = hub_create(world->hub_loop, &settings);
    hub_set_source(world->hub, &(struct hub_source){
                                   .ctx = world, .want = on_want, .want_tracks = on_want_tracks, .unwant = on_unwant});
    world->replica = store_create(&settings);
    world->client = hub_client_create(world->hub, world->loop, world->replica, on_answer, world);
    world->follows = follows_create(world->loop, world->replica, world->client, idle_us);
    return world;
}

static void end(struct world *world) {
    follows_destroy(world->follows);
    hub_client_destroy(world->client);
    store_destroy(world->replica);
    hub_destroy(world->hub);
    loop_destroy(world->loop);
    loop_destroy(world->hub_loop);
    free(world);
}

static void write_stream(struct world *world, const char *stream) {
    write_record(world, fixture_open(stream, FIXTURE_EPOCH, 1));
    fixture_write_part(stream, FIXTURE_EPOCH, 500, 100, 0, 0, write_record, world);
}

static void settle_both(struct world *world) {
    for (int i = 0; i < 3; i++) {
        settle(world->loop);
        settle(world->hub_loop);
    }
    settle(world->loop);
}

/* With timers of up to a second in it. */
static void await_count(struct world *world, const int *count, int wanted) {
    for (int64_t until_us = loop_now_us(world->loop) + DEADLINE_US; *count < wanted;) {
        settle_both(world);
        assert_true(loop_now_us(world->loop) < until_us);
    }
}

static void await_unfollowed(struct world *world, const char *stream) {
    for (int64_t until_us = loop_now_us(world->loop) + DEADLINE_US; hub_followers(world->hub, stream);) {
        settle_both(world);
        assert_true(loop_now_us(world->loop) < until_us);
    }
}

static void on_known(struct follow_wait *wait, struct stream *stream) {
    struct request *request = list_entry(wait, struct request, wait);
    request->known += stream != NULL;
    request->unknown += !stream;
}

static void ask(struct world *world, const char *stream, struct request *request) {
    *request = (struct request){.wait.fn = on_known};
    assert_null(follows_find(world->follows, stream));
    follows_wait(world->follows, stream, &request->wait, NULL, NULL);
}

static long metric_value(const char *metric) {
    struct buf out;
    buf_init(&out, 1 << 16);
    metrics_render(&out);
    buf_append(&out, "", 1);
    const char *line = strstr((const char *)buf_head(&out), metric);
    long value = line ? strtol(strchr(line, ' '), NULL, 10) : -1;
    buf_finish(&out);
    return value;
}

static long followed(void) {
    return metric_value("\nweir_relay_streams_followed ");
}

static void request_waits_until_the_hub_has_answered(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request requests[2];
    write_stream(world, name);
    ask(world, name, &requests[0]);
    settle(world->loop);
    ask(world, name, &requests[1]);
    assert_int_equal(requests[0].known, 0);
    settle_both(world);
    assert_int_equal(requests[0].known, 1);
    assert_int_equal(requests[1].known, 1);
    assert_int_equal(world->answers, 1); /* to one question */
    assert_ptr_equal(follows_find(world->follows, name), store_find(world->replica, name));
    assert_int_equal(followed(), 1);
    end(world);
    assert_int_equal(followed(), 0);
}

static void stream_that_there_is_not_is_answered_so_and_asked_for_anew(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request request;
    for (int i = 1; i <= 2; i++) {
        ask(world, name, &request);
        settle_both(world);
        assert_int_equal(request.unknown, 1);
        assert_int_equal(world->wants, i);
        assert_int_equal(followed(), 0);
    }
    end(world);
}

static void stream_that_is_gone_is_asked_for_anew(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request request;
    write_stream(world, name);
    ask(world, name, &request);
    settle_both(world);
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    settle_both(world);
    write_stream(world, name);
    ask(world, name, &request);
    settle_both(world);
    assert_int_equal(request.known, 1);
    end(world);
}

static void cancelled_wait_is_not_answered(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request requests[2];
    write_stream(world, name);
    ask(world, name, &requests[0]);
    ask(world, name, &requests[1]);
    follow_wait_cancel(&requests[0].wait);
    settle_both(world);
    assert_int_equal(requests[0].known, 0);
    assert_int_equal(requests[1].known, 1);
    end(world);
}

static void on_known_cancel_next(struct follow_wait *wait, struct stream *stream) {
    on_known(wait, stream);
    follow_wait_cancel(&list_entry(wait, struct request, wait)->next->wait);
}

static void wait_may_be_cancelled_while_another_is_answered(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request requests[3];
    for (int i = 0; i < 3; i++)
        ask(world, name, &requests[i]);
    requests[0].wait.fn = on_known_cancel_next;
    requests[0].next = &requests[1];
    settle_both(world);
    assert_int_equal(requests[0].unknown, 1);
    assert_int_equal(requests[1].unknown, 0);
    assert_int_equal(requests[2].unknown, 1);
    end(world);
}

static void on_known_ask_again(struct follow_wait *wait, struct stream *stream) {
    struct request *request = list_entry(wait, struct request, wait);
    on_known(wait, stream);
    ask(request->world, name, request->next);
}

/* The next of its connection: it is for the next answer. */
static void request_that_comes_while_another_is_answered_asks_anew(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request request, next = {0};
    ask(world, name, &request);
    request.wait.fn = on_known_ask_again;
    request.world = world;
    request.next = &next;
    settle(world->loop);
    settle(world->hub_loop);
    settle(world->loop);
    assert_int_equal(request.unknown, 1);
    assert_int_equal(next.unknown, 0);
    settle_both(world);
    assert_int_equal(next.unknown, 1);
    assert_int_equal(world->wants, 2);
    end(world);
}

static void hub_that_does_not_answer_is_asked_again_with_the_same_hops(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    struct request request = {.wait.fn = on_known};
    world->want = true;
    follows_wait(world->follows, name, &request.wait, "edge-1", NULL);
    hub_client_unfollow(world->client, name); /* there won't be an answer to that */
    await_count(world, &world->wants, 2);
    assert_string_equal(world->hops, "edge-1");
    write_stream(world, name);
    settle_both(world);
    assert_int_equal(request.known, 1);
    end(world);
}

/* --- what is not used any more --- */

static struct world *begin_following(int64_t idle_us) {
    struct world *world = begin(idle_us);
    struct request requests[2];
    write_stream(world, name);
    write_stream(world, other);
    ask(world, name, &requests[0]);
    ask(world, other, &requests[1]);
    settle_both(world);
    assert_int_equal(requests[0].known + requests[1].known, 2);
    return world;
}

static void idle_stream_is_dropped(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    await_unfollowed(world, name);
    assert_null(follows_find(world->follows, name));
    assert_null(store_find(world->replica, name));
    assert_int_equal(followed(), 0);
    end(world);
}

static struct reader reader;

static void on_chunks(struct reader *one) {
    (void)one;
}

static void on_known_read(struct follow_wait *wait, struct stream *stream) {
    on_known(wait, stream);
    reader.fn = on_chunks;
    stream_read(stream, &reader);
}

/* Both are looked at in one sweep. */
static void stream_that_is_read_is_not_dropped(void **state) {
    (void)state;
    struct world *world = begin(1);
    struct request requests[2];
    write_stream(world, name);
    write_stream(world, other);
    ask(world, name, &requests[0]);
    ask(world, other, &requests[1]);
    requests[0].wait.fn = on_known_read;
    settle_both(world);
    await_unfollowed(world, other);
    assert_int_equal(hub_followers(world->hub, name), 1);
    reader_cancel(&reader);
    await_unfollowed(world, name);
    end(world);
}

static void stream_that_is_asked_for_is_not_dropped(void **state) {
    (void)state;
    struct world *world = begin_following(2000000);
    for (int64_t until_us = loop_now_us(world->loop) + DEADLINE_US; hub_followers(world->hub, other);) {
        assert_non_null(follows_find(world->follows, name));
        settle_both(world);
        assert_true(loop_now_us(world->loop) < until_us);
    }
    assert_int_equal(hub_followers(world->hub, name), 1);
    end(world);
}

static void stream_that_somebody_waits_for_is_not_dropped(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    struct request request;
    world->want = true; /* and doesn't find it */
    ask(world, "live/third", &request);
    await_unfollowed(world, other);
    settle_both(world);
    assert_int_equal(hub_followers(world->hub, "live/third"), 1);
    follow_wait_cancel(&request.wait);
    await_unfollowed(world, "live/third");
    assert_int_equal(request.known + request.unknown, 0);
    end(world);
}

/* A node has viewers of its own to wait for, and reads as long as it does. */
static void stream_that_only_nodes_have_asked_for_is_kept_for_a_moment(void **state) {
    (void)state;
    struct world *world = begin(IDLE_US);
    static const char *const names[] = {"live/left", "live/read", "live/watched"};
    struct request requests[3];
    for (int i = 0; i < 3; i++) {
        requests[i] = (struct request){.wait.fn = i == 1 ? on_known_read : on_known};
        write_stream(world, names[i]);
        follows_wait(world->follows, names[i], &requests[i].wait, "", NULL);
    }
    settle_both(world);
    assert_non_null(follows_find(world->follows, "live/watched")); /* here by a viewer, too */
    await_unfollowed(world, "live/left");
    assert_int_equal(hub_followers(world->hub, "live/read"), 1);
    assert_non_null(follows_find_for_node(world->follows, "live/read"));
    int64_t left_us = loop_now_us(world->loop);
    reader_cancel(&reader);
    await_unfollowed(world, "live/read");
    assert_true(loop_now_us(world->loop) - left_us > 1000000); /* for its connection may have broken */
    assert_null(follows_find_for_node(world->follows, "live/read"));
    assert_int_equal(hub_followers(world->hub, "live/watched"), 1);
    end(world);
}

static int timed_out;

static void on_waited(struct waiter *waiter, struct stream *stream, bool late) {
    (void)waiter, (void)stream;
    timed_out += late;
}

static void deadlines_of_waiters_in_the_replica_are_kept(void **state) {
    (void)state;
    struct world *world = begin_following(IDLE_US);
    struct waiter waiter = {.what = WAIT_PART, .number = 900, .deadline_us = loop_now_us(world->loop), .fn = on_waited};
    stream_wait(store_find(world->replica, name), &waiter);
    await_count(world, &timed_out, 1);
    end(world);
}

/* --- tracks --- */

static bool are(const struct track_names *names, const char *tracks) {
    const struct track_names wanted = track_names_of(tracks);
    return track_names_same(names, &wanted);
}

/* Of a stream from upstream, without its picture. */
static struct world *begin_listening(int64_t idle_us) {
    struct world *world = begin(idle_us);
    const struct track_names sound = track_names_of("a0");
    const char *const streams[] = {name, other};
    struct request requests[2];
    world->want = true;
    for (int i = 0; i < 2; i++) {
        requests[i] = (struct request){.wait.fn = on_known};
        follows_wait(world->follows, streams[i], &requests[i].wait, NULL, &sound);
        settle_both(world);
        struct record *open = fixture_open(streams[i], FIXTURE_EPOCH, 1);
        open->open.absent = 1;
        write_record(world, open);
        settle_both(world);
        assert_int_equal(requests[i].known, 1);
    }
    assert_true(are(&world->tracks, "a0") && are(&world->other_tracks, "a0"));
    return world;
}

/* More of a stream's sound. */
static void go_on(struct world *world, const char *stream, uint32_t index) {
    write_record(world, fixture_chunk(stream, FIXTURE_EPOCH, 1, 100, index, 10));
    write_record(world, fixture_part(stream, FIXTURE_EPOCH, 500 + index, 100, index, 0));
    settle_both(world);
}

static void track_that_is_not_here_is_asked_for_at_once(void **state) {
    (void)state;
    struct world *world = begin_listening(IDLE_US);
    struct stream *stream = follows_find(world->follows, name);
    follows_ask(world->follows, stream, 3);
    settle_both(world);
    assert_true(are(&world->tracks, "v0a0"));
    follows_ask(world->follows, stream, 3);
    settle_both(world);
    assert_int_equal(world->changes, 1);
    end(world);
}

static void hub_is_reminded_of_a_track_that_does_not_come(void **state) {
    (void)state;
    struct world *world = begin_listening(IDLE_US);
    follows_ask(world->follows, follows_find(world->follows, name), 3);
    settle_both(world);
    const struct track_names sound = track_names_of("a0");
    hub_client_want_tracks(world->client, name, &sound); /* as if the question had been lost */
    settle_both(world);
    assert_true(are(&world->tracks, "a0"));
    int wanted = world->changes + 1;
    await_count(world, &world->changes, wanted);
    assert_true(are(&world->tracks, "v0a0"));
    end(world);
}

/* One that goes on loses a track that nobody asks for, one that stands still doesn't: nobody can read it. */
static void track_that_nobody_asks_for_is_let_go(void **state) {
    (void)state;
    struct world *world = begin_listening(1500000);
    uint32_t index = 0;
    follows_ask(world->follows, follows_find(world->follows, name), 3);
    follows_ask(world->follows, follows_find(world->follows, other), 3);
    go_on(world, other, 0);
    for (int64_t until_us = loop_now_us(world->loop) + DEADLINE_US; are(&world->tracks, "v0a0");) {
        struct stream *stream = follows_find(world->follows, name);
        assert_non_null(follows_find(world->follows, other)); /* it is wanted itself */
        stream->asked |= 2;
        if (!index || loop_now_us(world->loop) - stream->changed_us > 100000)
            go_on(world, name, index++);
        settle_both(world);
        assert_true(loop_now_us(world->loop) < until_us);
    }
    assert_true(are(&world->tracks, "a0"));
    assert_true(are(&world->other_tracks, "v0a0"));
    end(world);
}

int main(void) {
    hub_metrics_register();
    follows_metrics_register();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_waits_until_the_hub_has_answered),
        cmocka_unit_test(stream_that_there_is_not_is_answered_so_and_asked_for_anew),
        cmocka_unit_test(stream_that_is_gone_is_asked_for_anew),
        cmocka_unit_test(cancelled_wait_is_not_answered),
        cmocka_unit_test(wait_may_be_cancelled_while_another_is_answered),
        cmocka_unit_test(request_that_comes_while_another_is_answered_asks_anew),
        cmocka_unit_test(hub_that_does_not_answer_is_asked_again_with_the_same_hops),
        cmocka_unit_test(idle_stream_is_dropped),
        cmocka_unit_test(stream_that_is_read_is_not_dropped),
        cmocka_unit_test(stream_that_is_asked_for_is_not_dropped),
        cmocka_unit_test(stream_that_somebody_waits_for_is_not_dropped),
        cmocka_unit_test(stream_that_only_nodes_have_asked_for_is_kept_for_a_moment),
        cmocka_unit_test(deadlines_of_waiters_in_the_replica_are_kept),
        cmocka_unit_test(track_that_is_not_here_is_asked_for_at_once),
        cmocka_unit_test(hub_is_reminded_of_a_track_that_does_not_come),
        cmocka_unit_test(track_that_nobody_asks_for_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
