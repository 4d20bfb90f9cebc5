/* Slates, over a source and a port that only note what is asked of them. */
#include "ingest/slate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/media/writer.h"
#include "ingest/ingest.h"
#include "ingest/source.h"

/* --- the source that there is --- */

struct source {
    bool plays;
    char stream[64], url[SOURCE_URL_MAX + 1];
};
static struct source *source;
static int sources;

struct source *source_create(struct ingest *ingest, const struct source_settings *settings,
                             void (*on_failed)(void *ctx, struct source *failed), void *ctx) {
    (void)ingest, (void)on_failed, (void)ctx;
    assert_true(settings->slate && settings->loops);
    source = calloc(1, sizeof *source);
    snprintf(source->stream, sizeof source->stream, "%s", settings->stream);
    snprintf(source->url, sizeof source->url, "%s", settings->url.text);
    sources++;
    return source;
}

void source_start(struct source *of) {
    of->plays = true;
}

void source_stop(struct source *of) {
    of->plays = false;
}

void source_destroy(struct source *of) {
    free(of);
    source = NULL;
    sources--;
}

/* --- the world --- */

static struct {
    struct loop *loop;
    struct ingest *ingest;
    struct slates *slates;
    struct claim_request request;
    int claims;
} world;

static void *port_claim(void *ctx, const struct claim_request *request) {
    (void)ctx;
    assert_int_equal(request->rank, CLAIM_SLATE);
    assert_true(request->stands_by);
    world.request = *request;
    world.claims++;
    return &world;
}

static void port_touch(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void port_release(void *ctx, void *claim, bool clean) {
    (void)ctx, (void)claim, (void)clean;
    world.claims--;
}

static int begin_for(uint32_t limit_s) {
    static char *const clips[] = {"live/show /clips/one.mp4", "live/* /clips/all others.mp4"};
    const struct writer_port port = {.claim = port_claim, .touch = port_touch, .release = port_release};
    world.loop = loop_create();
    world.ingest = ingest_create(world.loop, &(struct ingest_settings){.stall_ms = 2000}, &port);
    world.slates = slates_create(world.ingest, &(struct slates_settings){clips, 2, limit_s});
    return 0;
}

static int begin(void **state) {
    (void)state;
    return begin_for(3600);
}

static int begin_short(void **state) {
    (void)state;
    return begin_for(0);
}

static int end(void **state) {
    (void)state;
    slates_destroy(world.slates);
    assert_int_equal(sources, 0);
    assert_int_equal(world.claims, 0);
    ingest_destroy(world.ingest);
    loop_destroy(world.loop);
    return 0;
}

static void on_stop(void *ctx) {
    loop_stop(ctx);
}

static void turn(void) {
    struct loop_timer *timer = loop_timer_create(world.loop, on_stop, world.loop);
    for (int i = 0; i < 3; i++) {
        loop_timer_set(timer, 0);
        loop_run(world.loop);
    }
    loop_timer_destroy(timer);
}

static void air(const char *stream, enum claim_rank rank, bool is) {
    world.ingest->on_air(world.ingest->on_air_ctx, stream, rank, is);
    turn();
}

static void tell(enum claim_result result) {
    world.request.on_result(world.request.owner, result, NULL);
    turn();
}

/* A publisher came, and nobody publishes any more. */
static void begin_playing(void) {
    air("live/show", CLAIM_PRIMARY, true);
    tell(CLAIM_STANDBY);
    air("live/show", CLAIM_PRIMARY, false);
    tell(CLAIM_VACANT);
    air("live/show", CLAIM_SLATE, true);
}

/* --- tests --- */

static void clip_is_played_once_nobody_publishes(void **state) {
    (void)state;
    air("live/show", CLAIM_PRIMARY, true);
    assert_int_equal(world.claims, 1);
    tell(CLAIM_STANDBY);
    air("live/show", CLAIM_PRIMARY, false); /* a backup may have it, here or elsewhere */
    assert_false(source->plays);
    tell(CLAIM_VACANT);
    assert_true(source->plays);
    assert_string_equal(source->stream, "live/show");
    assert_string_equal(source->url, "file:/clips/one.mp4");
    assert_int_equal(world.claims, 0); /* the clip's own publisher has one */
}

static void clip_gives_way_and_is_ready_again(void **state) {
    (void)state;
    begin_playing();
    assert_true(source->plays);
    air("live/show", CLAIM_PRIMARY, true);
    air("live/show", CLAIM_SLATE, false);
    assert_false(source->plays);
    assert_int_equal(world.claims, 1);
    tell(CLAIM_STANDBY);
    tell(CLAIM_VACANT);
    assert_true(source->plays);
}

static void clip_ends_when_its_time_is_over(void **state) {
    (void)state;
    begin_playing();
    assert_int_equal(sources, 0); /* no seconds were allowed */
    assert_int_equal(world.claims, 0);
    air("live/show", CLAIM_PRIMARY, true);
    assert_int_equal(world.claims, 1);
}

static void streams_have_the_first_clip_that_matches(void **state) {
    (void)state;
    air("live/other", CLAIM_BACKUP, true);
    assert_string_equal(source->url, "file:/clips/all others.mp4");
}

static void others_have_none(void **state) {
    (void)state;
    air("radio/show", CLAIM_PRIMARY, true);
    air("live/show", CLAIM_SLATE, true);
    assert_int_equal(sources, 0);
    assert_int_equal(world.claims, 0);
}

static void there_are_only_so_many(void **state) {
    char name[32];
    (void)state;
    for (int i = 0; i < SLATES_MAX + 5; i++) {
        snprintf(name, sizeof name, "live/n%d", i);
        air(name, CLAIM_PRIMARY, true);
    }
    assert_int_equal(sources, SLATES_MAX);
}

static void refused_claim_is_the_end(void **state) {
    (void)state;
    air("live/show", CLAIM_PRIMARY, true);
    tell(CLAIM_BUSY); /* another node's slate waits already */
    assert_int_equal(sources, 0);
    air("live/show", CLAIM_PRIMARY, true);
    world.request.on_lost(world.request.owner, &(struct claim_loss){.why = "cut by the operator", .cut = true});
    turn();
    assert_int_equal(sources, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(clip_is_played_once_nobody_publishes, begin, end),
        cmocka_unit_test_setup_teardown(clip_gives_way_and_is_ready_again, begin, end),
        cmocka_unit_test_setup_teardown(clip_ends_when_its_time_is_over, begin_short, end),
        cmocka_unit_test_setup_teardown(streams_have_the_first_clip_that_matches, begin, end),
        cmocka_unit_test_setup_teardown(others_have_none, begin, end),
        cmocka_unit_test_setup_teardown(there_are_only_so_many, begin, end),
        cmocka_unit_test_setup_teardown(refused_claim_is_the_end, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
