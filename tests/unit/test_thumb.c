#include "relay/thumb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "tests/unit/thumb_fixture.h"

/* The thread is real; who asks is on a loop that runs until all answers are there. */

enum { LONG_US = 1000000000, ASKS = 3 };

struct got {
    struct blob *jpeg;
    char etag[THUMB_ETAG_LEN];
    uint32_t fresh_s;
};

struct world {
    struct thumbs *thumbs;
    struct loop *loop;
    struct thumbs_client *client;
    struct thumb_sample sample;
    uint32_t expected, count;
    struct got got[ASKS];
};

static struct world *begin(int64_t interval_us) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->thumbs = thumbs_create(interval_us);
    world->loop = loop_create();
    world->client = thumbs_client_create(world->thumbs, world->loop);
    world->sample = thumb_sample_load("h264");
    return world;
}

static void forget(struct world *world) {
    for (uint32_t i = 0; i < world->count; i++)
        blob_unref(world->got[i].jpeg);
    world->count = 0;
}

static void end(struct world *world) {
    thumbs_stop(world->thumbs);
    thumbs_client_destroy(world->client);
    thumbs_destroy(world->thumbs);
    loop_destroy(world->loop);
    forget(world);
    thumb_sample_free(&world->sample);
    free(world);
}

static void on_thumb(void *ctx, const struct thumb_answer *answer) {
    struct world *world = ctx;
    struct got *got = &world->got[world->count++];
    got->jpeg = answer->jpeg ? blob_ref(answer->jpeg) : NULL;
    got->fresh_s = answer->fresh_s;
    strcpy(got->etag, answer->etag);
    if (world->count == world->expected)
        loop_stop(world->loop);
}

static struct thumb_ask *ask(struct world *world, const char *stream, uint32_t width, uint64_t msn) {
    struct record *chunk = record_create(RECORD_CHUNK, stream, 7);
    chunk->chunk.msn = msn;
    chunk->chunk.body = world->sample.chunk;
    blob_ref(chunk->chunk.body.blob);
    const struct thumb_source source = {stream, width, world->sample.init, chunk};
    struct thumb_ask *made = thumbs_ask(world->client, &source, on_thumb, world);
    assert_non_null(made);
    record_unref(chunk);
    return made;
}

static void wait_for(struct world *world, uint32_t answers) {
    world->expected = answers;
    loop_run(world->loop);
    assert_int_equal(world->count, answers);
}

static void spoil(struct world *world) {
    memset(world->sample.init->data, 0, world->sample.init->len);
}

static void who_asks_at_a_time_shares_one(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    for (uint64_t msn = 1; msn <= ASKS; msn++)
        ask(world, "live/show", 320, msn);
    wait_for(world, ASKS);
    assert_non_null(world->got[0].jpeg);
    assert_string_equal(world->got[0].etag, "\"t-7-1-0-0-320\"");
    for (int i = 1; i < ASKS; i++) {
        assert_ptr_equal(world->got[i].jpeg, world->got[0].jpeg);
        assert_string_equal(world->got[i].etag, world->got[0].etag);
    }
    end(world);
}

static void it_is_kept_for_the_interval(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    ask(world, "live/show", 320, 1);
    wait_for(world, 1);
    assert_in_range(world->got[0].fresh_s, 990, 1000);
    spoil(world); /* nothing could be made of this */
    ask(world, "live/show", 320, 2);
    wait_for(world, 2);
    assert_ptr_equal(world->got[1].jpeg, world->got[0].jpeg);
    end(world);
}

static void another_is_made_after_it(void **state) {
    (void)state;
    struct world *world = begin(0); /* kept for twenty times what it took */
    ask(world, "live/show", 320, 1);
    wait_for(world, 1);
    char first[THUMB_ETAG_LEN];
    strcpy(first, world->got[0].etag);
    do {
        forget(world);
        ask(world, "live/show", 320, 2);
        wait_for(world, 1);
    } while (strcmp(world->got[0].etag, first) == 0);
    assert_string_equal(world->got[0].etag, "\"t-7-2-0-0-320\"");
    end(world);
}

static void widths_and_streams_are_apart(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    ask(world, "live/show", 160, 1);
    ask(world, "live/show", 320, 1);
    ask(world, "live/other", 160, 1);
    wait_for(world, 3);
    assert_true(world->got[0].jpeg->len < world->got[1].jpeg->len);
    assert_ptr_not_equal(world->got[0].jpeg, world->got[2].jpeg);
    end(world);
}

static void a_failure_is_kept_too(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    struct thumb_sample good = thumb_sample_load("h264");
    spoil(world);
    ask(world, "live/show", 320, 1);
    wait_for(world, 1);
    assert_null(world->got[0].jpeg);
    assert_in_range(world->got[0].fresh_s, 990, 1000);
    memcpy(world->sample.init->data, good.init->data, good.init->len);
    ask(world, "live/show", 320, 2);
    ask(world, "live/other", 320, 2); /* nobody else's */
    wait_for(world, 3);
    assert_null(world->got[1].jpeg);
    assert_non_null(world->got[2].jpeg);
    thumb_sample_free(&good);
    end(world);
}

static void cancelled_ones_are_not_answered(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    thumb_ask_cancel(ask(world, "live/show", 320, 1));
    ask(world, "live/show", 320, 2);
    wait_for(world, 1);
    assert_string_equal(world->got[0].etag, "\"t-7-1-0-0-320\"");
    ask(world, "live/other", 320, 3); /* under way at the end */
    end(world);
}

static void only_so_many_are_under_way(void **state) {
    (void)state;
    struct world *world = begin(LONG_US);
    struct record *chunk = record_create(RECORD_CHUNK, "live/show", 7);
    chunk->chunk.body = world->sample.chunk;
    blob_ref(chunk->chunk.body.blob);
    const struct thumb_source source = {"live/show", 320, world->sample.init, chunk};
    uint32_t asks = 0;
    struct thumb_ask *one;
    while ((one = thumbs_ask(world->client, &source, on_thumb, world))) {
        thumb_ask_cancel(one);
        asks++;
        assert_true(asks < 100000);
    }
    assert_int_equal(asks, 1024);
    record_unref(chunk);
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_at_a_time_shares_one), cmocka_unit_test(it_is_kept_for_the_interval),
        cmocka_unit_test(another_is_made_after_it),      cmocka_unit_test(widths_and_streams_are_apart),
        cmocka_unit_test(a_failure_is_kept_too),         cmocka_unit_test(cancelled_ones_are_not_answered),
        cmocka_unit_test(only_so_many_are_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
