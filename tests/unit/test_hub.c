#include "common/media/hub.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "media_fixture.h"
#include "tests/unit/turns.h"

/* The hub on this thread's loop, a client with its replica on another's. */

static const char *const name = "live/show";

struct world {
    struct loop *hub_loop, *client_loop;
    struct hub *hub;
    struct hub_client *client;
    struct store *replica;
    struct loop_timer *step_timer, *client_timer;
    pthread_t thread;
    /* client's thread */
    int known, unknown;
    void (*on_answered)(struct world *world);
    struct waiter waiter;
    uint64_t seen_part;
    /* hub's thread */
    uint64_t part, parts;
    int rc;
};

static const struct store_settings settings = {.window_us = 14000000, .bytes_max = 64 << 20, .streams_max = 4};

static void write_record(void *ctx, struct record *record) {
    struct world *world = ctx;
    int rc = hub_write(world->hub, record);
    if (rc)
        world->rc = rc;
}

static void stop_all(struct world *world) {
    loop_stop(world->client_loop);
    loop_stop(world->hub_loop);
}

static void on_answer(void *ctx, const char *stream, bool known) {
    struct world *world = ctx;
    assert_string_equal(stream, name);
    world->known += known;
    world->unknown += !known;
    world->on_answered(world);
}

static void *run_client(void *ctx) {
    loop_run(((struct world *)ctx)->client_loop);
    return NULL;
}

static void follow(void *ctx) {
    hub_client_follow(((struct world *)ctx)->client, name, NULL, NULL);
}

static struct world *begin(void (*on_answered)(struct world *world)) {
    struct world *world = calloc(1, sizeof *world);
    world->hub_loop = loop_create();
    world->client_loop = loop_create();
    world->hub = hub_create(world->hub_loop, &settings);
    world->replica = store_create(&settings);
    world->client = hub_client_create(world->hub, world->client_loop, world->replica, on_answer, world);
    world->client_timer = loop_timer_create(world->client_loop, follow, world);
    loop_timer_set(world->client_timer, 0);
    world->on_answered = on_answered;
    world->part = 500;
    return world;
}

static void run(struct world *world) {
    assert_int_equal(pthread_create(&world->thread, NULL, run_client, world), 0);
    loop_run(world->hub_loop);
    pthread_join(world->thread, NULL);
}

static void end(struct world *world) {
    loop_timer_destroy(world->client_timer);
    loop_timer_destroy(world->step_timer);
    hub_client_destroy(world->client);
    hub_destroy(world->hub);
    store_destroy(world->replica);
    loop_destroy(world->client_loop);
    loop_destroy(world->hub_loop);
    free(world);
}

static void next_part(struct world *world) {
    uint64_t n = world->part++ - 500;
    fixture_write_part(name, FIXTURE_EPOCH, 500 + n, 100 + n / FIXTURE_PARTS, (uint32_t)(n % FIXTURE_PARTS), 0,
                       write_record, world);
}

static void unknown_stream_is_answered_so(void **state) {
    (void)state;
    struct world *world = begin(stop_all);
    run(world);
    assert_int_equal(world->unknown, 1);
    assert_null(store_find(world->replica, name));
    end(world);
}

static void follower_gets_what_there_is(void **state) {
    (void)state;
    struct world *world = begin(stop_all);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    for (int i = 0; i < 25; i++)
        next_part(world);
    run(world);
    assert_int_equal(world->known, 1);
    assert_int_equal(store_find(world->replica, name)->next_part, 525);
    assert_int_equal(world->rc, 0);
    end(world);
}

/* --- what comes afterwards --- */

static void wait_next(struct world *world, struct stream *stream);

static void on_part(struct waiter *waiter, struct stream *stream, bool timed_out) {
    struct world *world = list_entry(waiter, struct world, waiter);
    assert_false(timed_out);
    assert_true(waiter->number < stream->next_part);
    world->seen_part = stream->next_part - 1;
    if (stream->next_part == 500 + world->parts)
        stop_all(world);
    else
        wait_next(world, stream);
}

static void wait_next(struct world *world, struct stream *stream) {
    world->waiter =
        (struct waiter){.what = WAIT_PART, .number = stream->next_part, .deadline_us = INT64_MAX, .fn = on_part};
    stream_wait(stream, &world->waiter);
}

static void wait_first(struct world *world) {
    if (!list_empty(&store_find(world->replica, name)->waiters))
        return; /* a second snapshot: who waited, waits on */
    wait_next(world, store_find(world->replica, name));
}

static void write_some(void *ctx) {
    struct world *world = ctx;
    for (int i = 0; i < 3 && world->part < 500 + world->parts; i++)
        next_part(world);
    loop_timer_set(world->step_timer, 0);
}

static void parts_arrive_on_the_other_thread_in_order(void **state) {
    (void)state;
    struct world *world = begin(wait_first);
    world->parts = 300;
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    next_part(world);
    world->step_timer = loop_timer_create(world->hub_loop, write_some, world);
    loop_timer_set(world->step_timer, 1000);
    run(world);
    assert_int_equal(world->seen_part, 799);
    assert_int_equal(world->rc, 0);
    end(world);
}

/* --- a client that doesn't keep up --- */

static void flood(void *ctx) {
    struct world *world = ctx;
    /* More batches than the mailbox holds, each flushed alone, before the client's thread starts. */
    if (world->part < 500 + world->parts - 1) {
        next_part(world);
        loop_timer_set(world->step_timer, 0);
    } else if (!world->thread) {
        pthread_create(&world->thread, NULL, run_client, world);
        loop_timer_set(world->step_timer, 200000);
    } else {
        next_part(world); /* the last word, after the resynchronisation */
    }
}

static void overflown_client_is_sent_the_stream_anew(void **state) {
    (void)state;
    struct world *world = begin(wait_first);
    world->parts = 1500;
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    next_part(world);
    hub_client_follow(world->client, name, NULL, NULL); /* as if the thread had run: it has not started */
    world->step_timer = loop_timer_create(world->hub_loop, flood, world);
    loop_timer_set(world->step_timer, 10000);
    loop_run(world->hub_loop);
    pthread_join(world->thread, NULL);
    assert_int_equal(world->seen_part, 500 + world->parts - 1);
    end(world);
}

static void refused_record_is_not_passed_on(void **state) {
    (void)state;
    struct world *world = begin(stop_all);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    next_part(world);
    write_record(world, fixture_part(name, FIXTURE_EPOCH, 400, 100, 1, 0));
    assert_true(world->rc < 0);
    run(world);
    assert_int_equal(store_find(world->replica, name)->next_part, 501);
    end(world);
}

/* --- both loops by turns, on this thread: each step has a known place between the others --- */

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

static void answered(struct world *world) {
    (void)world;
}

static void settle_both(struct world *world) {
    for (int i = 0; i < 3; i++) {
        settle(world->client_loop);
        settle(world->hub_loop);
    }
    settle(world->client_loop);
}

/* With timers of up to a second in it. */
static void await_count(struct world *world, const int *count, int wanted) {
    for (int64_t until_us = loop_now_us(world->hub_loop) + 10000000; *count < wanted;) {
        settle_both(world);
        assert_true(loop_now_us(world->hub_loop) < until_us);
    }
}

static struct world *begin_following(int parts) {
    struct world *world = begin(answered);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    for (int i = 0; i < parts; i++)
        next_part(world);
    settle_both(world);
    assert_int_equal(world->known, 1);
    return world;
}

/* Memory is the hub's: what it frees, workers must not keep, or its limit is none. */
static void copy_keeps_removed_segments_no_longer_than_the_hub(void **state) {
    (void)state;
    struct world *world = begin_following(12 * FIXTURE_PARTS);
    struct stream *stream = store_find(hub_store(world->hub), name), *copy = store_find(world->replica, name);
    assert_true(stream->first_listed > 2);
    assert_int_equal(copy->first_listed, stream->first_listed);
    for (uint32_t i = 0; i < stream->first_listed; i++)
        assert_int_equal(copy->segments[i]->removed_us, stream->segments[i]->removed_us);
    assert_int_equal(store_bytes(world->replica), store_bytes(hub_store(world->hub)));
    end(world);
}

static void copy_that_a_record_does_not_fit_is_sent_anew(void **state) {
    (void)state;
    struct world *world = begin_following(3);
    long lost = metric_value("\nweir_hub_copies_lost_total ");
    store_remove(world->replica, store_find(world->replica, name)); /* something went wrong */
    next_part(world);
    settle_both(world);
    assert_int_equal(world->known, 1); /* asked for a moment ago: not at once, so never in a tight loop */
    next_part(world);
    await_count(world, &world->known, 2);
    next_part(world);
    settle_both(world);
    assert_int_equal(store_find(world->replica, name)->next_part, 506);
    assert_int_equal(metric_value("\nweir_hub_copies_lost_total "), lost + 1);
    end(world);
}

static void copy_that_can_not_be_made_is_dropped(void **state) {
    (void)state;
    struct world *world = begin(answered);
    hub_client_destroy(world->client);
    store_destroy(world->replica);
    world->replica = store_create(&(struct store_settings){.window_us = 14000000, .bytes_max = 20000});
    world->client = hub_client_create(world->hub, world->client_loop, world->replica, on_answer, world);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    for (int i = 0; i < 4; i++)
        next_part(world);
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    assert_null(store_find(world->replica, name));
    next_part(world);
    settle_both(world);
    assert_int_equal(world->known + world->unknown, 1);
    assert_null(store_find(world->replica, name));
    end(world);
}

static void what_was_under_way_when_it_was_unfollowed_makes_no_copy(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    write_record(world, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    settle(world->hub_loop);
    hub_client_unfollow(world->client, name);
    settle_both(world);
    assert_null(store_find(world->replica, name));
    hub_client_follow(world->client, name, NULL, NULL);
    settle(world->hub_loop); /* a snapshot is under way, too */
    hub_client_unfollow(world->client, name);
    settle_both(world);
    assert_null(store_find(world->replica, name));
    assert_int_equal(world->known, 1);
    end(world);
}

/* The client's loop stands still until its mailbox is more than full. */
static void overflow_client(struct world *world) {
    long overflows = metric_value("\nweir_hub_overflows_total{box=\"worker\"} ");
    while (metric_value("\nweir_hub_overflows_total{box=\"worker\"} ") == overflows) {
        next_part(world);
        settle(world->hub_loop);
    }
}

static void overflow_and_resync_are_counted(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    long resyncs = metric_value("\nweir_hub_resyncs_total ");
    overflow_client(world);
    await_count(world, &world->known, 2);
    assert_int_equal(metric_value("\nweir_hub_resyncs_total "), resyncs + 1);
    assert_int_equal(store_find(world->replica, name)->next_part, world->part);
    end(world);
}

/* The hub looks for streams that are gone once a second: here while it can't say so. */
static void stream_that_is_gone_while_the_mailbox_is_full_is_told_afterwards(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    overflow_client(world);
    store_remove(hub_store(world->hub), store_find(hub_store(world->hub), name)); /* as it does with time */
    for (int64_t until_us = loop_now_us(world->hub_loop) + 1200000; loop_now_us(world->hub_loop) < until_us;)
        settle(world->hub_loop);
    await_count(world, &world->unknown, 1);
    assert_null(store_find(world->replica, name));
    end(world);
}

static void healthy_clients_do_not_wait_for_one_that_is_full(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    struct store *replica = store_create(&settings);
    struct world other = {.on_answered = answered};
    struct hub_client *client = hub_client_create(world->hub, world->hub_loop, replica, on_answer, &other);
    hub_client_follow(client, name, NULL, NULL);
    overflow_client(world);
    next_part(world);
    settle(world->hub_loop);
    assert_int_equal(store_find(replica, name)->next_part, world->part);
    hub_client_destroy(client);
    store_destroy(replica);
    end(world);
}

static void removed_stream_is_gone_for_who_follows_it(void **state) {
    (void)state;
    struct world *world = begin_following(3);
    next_part(world); /* under way */
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    assert_int_equal(store_bytes(hub_store(world->hub)), 0);
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    assert_null(store_find(world->replica, name));
    end(world);
}

/* --- reading the hub's own store --- */

enum { CROWD = 150 };

struct listener {
    struct reader reader;
    struct world *world;
    int woken;
    bool writes; /* a part, once */
};

static int woken; /* of all listeners, in all */

static void on_chunks(struct reader *reader) {
    struct listener *listener = list_entry(reader, struct listener, reader);
    listener->woken++;
    woken++;
    if (listener->writes)
        next_part(listener->world);
    listener->writes = false;
}

static struct world *begin_listening(struct listener *listeners, int count) {
    struct world *world = begin(answered);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    woken = 0;
    for (int i = 0; i < count; i++) {
        listeners[i] = (struct listener){.reader.fn = on_chunks, .world = world};
        stream_read(store_find(hub_store(world->hub), name), &listeners[i].reader);
    }
    return world;
}

static void reader_of_the_hubs_store_is_woken_once_a_turn(void **state) {
    (void)state;
    struct listener listener;
    struct world *world = begin_listening(&listener, 1);
    settle(world->hub_loop);
    assert_int_equal(woken, 0); /* nothing was due while nobody read */
    next_part(world);
    next_part(world);
    assert_int_equal(woken, 0);
    settle(world->hub_loop);
    assert_int_equal(woken, 1);
    settle(world->hub_loop);
    assert_int_equal(woken, 1);
    listener.writes = true;
    next_part(world);
    settle(world->hub_loop);
    assert_int_equal(woken, 3); /* again for what it wrote itself */
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    assert_null(listener.reader.stream);
    end(world);
}

static void on_turn_of_crowd(void *ctx) {
    struct world *world = ctx;
    world->seen_part = (uint64_t)woken; /* after the first turn */
    loop_stop(world->hub_loop);
}

static void crowd_at_the_hubs_store_is_woken_in_several_turns(void **state) {
    (void)state;
    static struct listener listeners[CROWD];
    struct world *world = begin_listening(listeners, CROWD);
    next_part(world);
    world->step_timer = loop_timer_create(world->hub_loop, on_turn_of_crowd, world);
    loop_timer_set(world->step_timer, 0);
    loop_run(world->hub_loop);
    assert_in_range(world->seen_part, 1, CROWD - 1);
    settle(world->hub_loop);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(listeners[i].woken, 1);
    end(world);
}

static void on_hub_waited(struct waiter *waiter, struct stream *stream, bool timed_out) {
    struct world *world = list_entry(waiter, struct world, waiter);
    assert_false(timed_out);
    world->seen_part = stream->next_part - 1;
}

static void waiter_at_the_hubs_store_is_woken(void **state) {
    (void)state;
    struct world *world = begin_listening(NULL, 0);
    world->waiter = (struct waiter){.what = WAIT_PART, .number = 501, .deadline_us = INT64_MAX, .fn = on_hub_waited};
    stream_wait(store_find(hub_store(world->hub), name), &world->waiter);
    next_part(world);
    settle(world->hub_loop);
    assert_int_equal(world->seen_part, 0);
    next_part(world);
    settle(world->hub_loop);
    assert_int_equal(world->seen_part, 501);
    end(world);
}

/* --- streams that are not here --- */

/* What the source was asked, and what it answers. */
struct source {
    struct world *world;
    bool answer;
    int wants, unwants;
    char hops[HUB_HOPS_LEN];
    bool removes; /* the stream, when it's unwanted */
    struct track_names tracks;
    int changes; /* of these */
};

static bool on_want(void *ctx, const char *stream, const char *hops, const struct track_names *tracks) {
    struct source *source = ctx;
    assert_string_equal(stream, name);
    assert_int_equal(source->wants - source->unwants, 0); /* what was wanted has ended before */
    strcpy(source->hops, hops);
    source->tracks = *tracks;
    source->wants += source->answer;
    return source->answer;
}

static void on_want_tracks(void *ctx, const char *stream, const struct track_names *tracks) {
    struct source *source = ctx;
    assert_string_equal(stream, name);
    source->tracks = *tracks;
    source->changes++;
}

static void on_unwant(void *ctx, const char *stream) {
    struct source *source = ctx;
    assert_string_equal(stream, name);
    source->unwants++;
    struct stream *found = store_find(hub_store(source->world->hub), name);
    if (source->removes && found)
        hub_remove(source->world->hub, found);
}

/* It is being looked for. */
static struct world *begin_looking(struct source *source) {
    struct world *world = begin(answered);
    *source = (struct source){.world = world, .answer = true};
    hub_set_source(world->hub, &(struct hub_source){.ctx = source, .want = on_want, .unwant = on_unwant});
    settle_both(world);
    assert_int_equal(source->wants, 1);
    assert_int_equal(world->known + world->unknown, 0);
    assert_int_equal(hub_followers(world->hub, name), 1);
    return world;
}

static void begin_stream(struct world *world) {
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    next_part(world);
    settle_both(world);
    assert_int_equal(world->rc, 0);
}

/* Another client, of the hub's own loop. */
struct neighbour {
    struct world answers;
    struct store *replica;
    struct hub_client *client;
};

static void neighbour_come(struct neighbour *neighbour, struct world *world) {
    *neighbour = (struct neighbour){.answers.on_answered = answered, .replica = store_create(&settings)};
    neighbour->client =
        hub_client_create(world->hub, world->hub_loop, neighbour->replica, on_answer, &neighbour->answers);
    hub_client_follow(neighbour->client, name, NULL, NULL);
    settle_both(world);
}

static void neighbour_go(struct neighbour *neighbour) {
    hub_client_destroy(neighbour->client);
    store_destroy(neighbour->replica);
}

static void stream_that_is_looked_for_is_told_when_its_open_record_is_there(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    struct neighbour neighbour;
    neighbour_come(&neighbour, world);
    hub_client_follow(world->client, name, NULL, NULL); /* as is done while there is no answer */
    settle_both(world);
    assert_int_equal(source.wants, 1);
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    settle_both(world);
    assert_int_equal(world->known, 1);
    assert_int_equal(neighbour.answers.known, 1);
    next_part(world);
    settle_both(world);
    assert_int_equal(store_find(world->replica, name)->next_part, 501);
    assert_int_equal(store_find(neighbour.replica, name)->next_part, 501);
    neighbour_go(&neighbour);
    end(world);
    assert_int_equal(source.unwants, 1);
}

static void assert_asks_for(const struct source *source, const char *tracks) {
    const struct track_names wanted = track_names_of(tracks);
    assert_true(track_names_same(&source->tracks, &wanted));
}

static void tracks_are_those_that_any_client_asks_for(void **state) {
    (void)state;
    struct world *world = begin(answered);
    struct source source = {.world = world, .answer = true};
    struct neighbour neighbour;
    const struct track_names sound = track_names_of("a0"), picture = track_names_of("v0"), none = {0};
    hub_set_source(world->hub, &(struct hub_source){.ctx = &source,
                                                    .want = on_want,
                                                    .want_tracks = on_want_tracks,
                                                    .unwant = on_unwant});
    settle_both(world);
    assert_asks_for(&source, "");
    hub_client_follow(world->client, name, NULL, &sound);
    settle_both(world);
    assert_asks_for(&source, "a0");
    assert_int_equal(source.wants, 1);
    source.changes = 0;
    neighbour_come(&neighbour, world); /* who asks for none */
    assert_int_equal(source.changes, 0);
    begin_stream(world);
    hub_client_want_tracks(neighbour.client, name, &picture);
    settle_both(world);
    assert_asks_for(&source, "v0a0");
    hub_client_want_tracks(neighbour.client, name, &picture);
    settle_both(world);
    assert_int_equal(source.changes, 1);
    hub_client_want_tracks(world->client, name, &none);
    settle_both(world);
    assert_asks_for(&source, "v0");
    hub_client_unfollow(neighbour.client, name);
    settle_both(world);
    assert_asks_for(&source, "");
    neighbour_go(&neighbour);
    end(world);
}

static void absent_stream_is_gone_for_all_who_wait(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    struct neighbour neighbour;
    neighbour_come(&neighbour, world);
    hub_absent(world->hub, name);
    hub_absent(world->hub, name); /* nobody asks any more */
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    assert_int_equal(neighbour.answers.unknown, 1);
    assert_int_equal(hub_followers(world->hub, name), 0);
    neighbour_go(&neighbour);
    assert_int_equal(source.unwants, 0);
    hub_client_follow(world->client, name, NULL, NULL);
    source.wants = 0; /* it has ended */
    settle_both(world);
    assert_int_equal(source.wants, 1);
    end(world);
}

static void source_that_knows_of_no_such_stream_is_believed(void **state) {
    (void)state;
    struct source source = {.answer = false};
    struct world *world = begin(answered);
    hub_set_source(world->hub, &(struct hub_source){.ctx = &source, .want = on_want, .unwant = on_unwant});
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    end(world);
    assert_int_equal(source.unwants, 0);
}

static void source_is_not_asked_for_a_stream_that_is_here(void **state) {
    (void)state;
    struct source source = {.answer = true};
    struct world *world = begin(answered);
    hub_set_source(world->hub, &(struct hub_source){.ctx = &source, .want = on_want, .unwant = on_unwant});
    begin_stream(world);
    assert_int_equal(world->known, 1);
    end(world);
    assert_int_equal(source.wants, 0);
}

static void source_is_told_where_the_question_came_through(void **state) {
    (void)state;
    struct source source = {.answer = false};
    struct world *world = begin(answered);
    hub_set_source(world->hub, &(struct hub_source){.ctx = &source, .want = on_want, .unwant = on_unwant});
    settle_both(world);
    assert_string_equal(source.hops, "");
    char hops[HUB_HOPS_LEN] = "edge-2,edge-1,";
    memset(hops + strlen(hops), 'x', sizeof hops - 1 - strlen(hops));
    hops[sizeof hops - 1] = '\0';
    hub_client_follow(world->client, name, hops, NULL);
    settle_both(world);
    assert_string_equal(source.hops, hops);
    end(world);
}

static void stream_is_unwanted_with_its_last_follower(void **state) {
    (void)state;
    for (int there = 0; there < 2; there++) {
        struct source source;
        struct world *world = begin_looking(&source);
        struct neighbour neighbour;
        neighbour_come(&neighbour, world);
        source.removes = true;
        if (there)
            begin_stream(world);
        neighbour_go(&neighbour);
        assert_int_equal(source.unwants, 0);
        hub_client_unfollow(world->client, name);
        settle_both(world);
        assert_int_equal(source.unwants, 1);
        assert_null(store_find(hub_store(world->hub), name));
        hub_client_unfollow(world->client, name);
        settle_both(world);
        assert_int_equal(source.unwants, 1);
        end(world);
        assert_int_equal(source.unwants, 1);
    }
}

static void removed_stream_is_unwanted_but_not_from_inside(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    begin_stream(world);
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    assert_int_equal(source.unwants, 0);
    settle_both(world);
    assert_int_equal(source.unwants, 1);
    assert_int_equal(world->unknown, 1);
    hub_client_follow(world->client, name, NULL, NULL);
    settle_both(world);
    assert_int_equal(source.wants, 2);
    hub_absent(world->hub, name);
    settle_both(world);
    assert_int_equal(world->unknown, 2);
    end(world);
    assert_int_equal(source.unwants, 1);
}

/* A client's wish may be before the end of the turn. */
static void removed_stream_is_unwanted_before_it_is_wanted_again(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    begin_stream(world);
    hub_client_follow(world->client, name, NULL, NULL); /* it lies in the mailbox; on_want checks the order */
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    settle_both(world);
    assert_int_equal(source.wants, 2);
    assert_int_equal(source.unwants, 1);
    end(world);
    assert_int_equal(source.unwants, 2);
}

static void absent_is_the_end_also_of_a_removed_stream(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    begin_stream(world);
    hub_remove(world->hub, store_find(hub_store(world->hub), name));
    hub_absent(world->hub, name);
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    end(world);
    assert_int_equal(source.unwants, 0);
}

static void stream_that_is_here_stays_when_there_is_no_more_of_it(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    begin_stream(world);
    hub_absent(world->hub, name);
    settle_both(world);
    assert_int_equal(world->known, 1);
    assert_int_equal(world->unknown, 0);
    end(world);
    assert_int_equal(source.unwants, 0);
}

static void expired_stream_is_unwanted(void **state) {
    (void)state;
    struct source source;
    struct world *world = begin_looking(&source);
    begin_stream(world);
    store_remove(hub_store(world->hub), store_find(hub_store(world->hub), name)); /* as it does with time */
    await_count(world, &source.unwants, 1);
    settle_both(world);
    assert_int_equal(world->unknown, 1);
    end(world);
    assert_int_equal(source.unwants, 1);
}

static void full_client_is_not_told_that_a_stream_is_gone_that_is_looked_for(void **state) {
    (void)state;
    struct world *world = begin(answered);
    long overflows = metric_value("\nweir_hub_overflows_total{box=\"worker\"} ");
    while (metric_value("\nweir_hub_overflows_total{box=\"worker\"} ") == overflows) {
        hub_client_follow(world->client, name, NULL, NULL); /* each is answered: gone */
        settle(world->hub_loop);
    }
    struct source source = {.world = world, .answer = true};
    hub_set_source(world->hub, &(struct hub_source){.ctx = &source, .want = on_want, .unwant = on_unwant});
    hub_client_follow(world->client, name, NULL, NULL);
    settle(world->hub_loop);
    assert_int_equal(source.wants, 1);
    long resyncs = metric_value("\nweir_hub_resyncs_total ");
    for (int i = 0; i < 4; i++)
        settle(world->client_loop); /* there is room again */
    int unknown = world->unknown;
    while (metric_value("\nweir_hub_resyncs_total ") == resyncs)
        settle_both(world);
    assert_int_equal(world->unknown, unknown);
    hub_client_follow(world->client, name, NULL, NULL); /* the last answer to an earlier question ended that */
    settle_both(world);
    begin_stream(world);
    assert_int_equal(world->known, 1);
    end(world);
}

/* Else the source would bring what nobody has. */
static void unfollowing_is_heard_in_the_end_when_the_hub_was_full(void **state) {
    (void)state;
    struct world *world = begin_following(1);
    long overflows = metric_value("\nweir_hub_overflows_total{box=\"hub\"} ");
    while (metric_value("\nweir_hub_overflows_total{box=\"hub\"} ") == overflows)
        hub_client_unfollow(world->client, "live/other");
    hub_client_unfollow(world->client, name);
    for (int64_t until_us = loop_now_us(world->hub_loop) + 10000000; hub_followers(world->hub, name);) {
        next_part(world);
        settle_both(world);
        assert_true(loop_now_us(world->hub_loop) < until_us);
    }
    end(world);
}

int main(void) {
    hub_metrics_register();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_stream_is_answered_so),
        cmocka_unit_test(follower_gets_what_there_is),
        cmocka_unit_test(parts_arrive_on_the_other_thread_in_order),
        cmocka_unit_test(overflown_client_is_sent_the_stream_anew),
        cmocka_unit_test(refused_record_is_not_passed_on),
        cmocka_unit_test(copy_keeps_removed_segments_no_longer_than_the_hub),
        cmocka_unit_test(copy_that_a_record_does_not_fit_is_sent_anew),
        cmocka_unit_test(copy_that_can_not_be_made_is_dropped),
        cmocka_unit_test(what_was_under_way_when_it_was_unfollowed_makes_no_copy),
        cmocka_unit_test(overflow_and_resync_are_counted),
        cmocka_unit_test(stream_that_is_gone_while_the_mailbox_is_full_is_told_afterwards),
        cmocka_unit_test(healthy_clients_do_not_wait_for_one_that_is_full),
        cmocka_unit_test(removed_stream_is_gone_for_who_follows_it),
        cmocka_unit_test(reader_of_the_hubs_store_is_woken_once_a_turn),
        cmocka_unit_test(crowd_at_the_hubs_store_is_woken_in_several_turns),
        cmocka_unit_test(waiter_at_the_hubs_store_is_woken),
        cmocka_unit_test(stream_that_is_looked_for_is_told_when_its_open_record_is_there),
        cmocka_unit_test(tracks_are_those_that_any_client_asks_for),
        cmocka_unit_test(absent_stream_is_gone_for_all_who_wait),
        cmocka_unit_test(source_that_knows_of_no_such_stream_is_believed),
        cmocka_unit_test(source_is_not_asked_for_a_stream_that_is_here),
        cmocka_unit_test(source_is_told_where_the_question_came_through),
        cmocka_unit_test(stream_is_unwanted_with_its_last_follower),
        cmocka_unit_test(removed_stream_is_unwanted_but_not_from_inside),
        cmocka_unit_test(removed_stream_is_unwanted_before_it_is_wanted_again),
        cmocka_unit_test(absent_is_the_end_also_of_a_removed_stream),
        cmocka_unit_test(stream_that_is_here_stays_when_there_is_no_more_of_it),
        cmocka_unit_test(expired_stream_is_unwanted),
        cmocka_unit_test(full_client_is_not_told_that_a_stream_is_gone_that_is_looked_for),
        cmocka_unit_test(unfollowing_is_heard_in_the_end_when_the_hub_was_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
