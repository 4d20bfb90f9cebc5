/* What the hub asks for is a source's or upstream's, with sources that only note what is wanted of them. */
#include "sources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/media/hub.h"
#include "conf/conf.h"
#include "media_fixture.h"
#include "origin/origin.h"

/* --- sources --- */

struct source {
    char stream[STREAM_NAME_LEN];
    bool started;
    enum source_state state; /* once it is started */
    void (*on_failed)(void *ctx, struct source *source);
    void *ctx;
};

static struct source made[4];
static size_t made_count;

struct source *source_create(struct ingest *ingest, const struct source_settings *settings,
                             void (*on_failed)(void *ctx, struct source *source), void *ctx) {
    struct source *source = &made[made_count++];
    (void)ingest;
    *source = (struct source){.state = SOURCE_CONNECTING, .on_failed = on_failed, .ctx = ctx};
    snprintf(source->stream, sizeof source->stream, "%s", settings->stream);
    return source;
}

void source_start(struct source *source) {
    source->started = true;
}

void source_stop(struct source *source) {
    source->started = false;
}

void source_destroy(struct source *source) {
    source->started = false;
}

struct source_view source_view(const struct source *source) {
    return (struct source_view){.stream = source->stream, .state = source->started ? source->state : SOURCE_IDLE};
}

/* --- upstream, and the hub --- */

static struct world {
    struct loop *loop;
    struct hub *hub;
    struct origin *origin;
    struct conf *conf;
    struct sources *sources;
    struct hub_source front; /* what the hub asks */
    char asked[64], asked_tracks[64], unasked[64];
} world;

static bool upstream_want(void *ctx, const char *stream, const char *hops, const struct track_names *tracks) {
    assert_ptr_equal(ctx, &world);
    assert_string_equal(hops, "a,b");
    assert_int_equal(tracks->count, 1);
    snprintf(world.asked, sizeof world.asked, "%s", stream);
    return true;
}

static void upstream_want_tracks(void *ctx, const char *stream, const struct track_names *tracks) {
    (void)ctx, (void)tracks;
    snprintf(world.asked_tracks, sizeof world.asked_tracks, "%s", stream);
}

static void upstream_unwant(void *ctx, const char *stream) {
    (void)ctx;
    snprintf(world.unasked, sizeof world.unasked, "%s", stream);
}

static struct conf *configured(const char *sources) {
    char text[512];
    struct buf errors;
    buf_init(&errors, 4096);
    snprintf(text, sizeof text, "ingest:\n  sources:\n%s\norigin: {}\nfeed: {listen: ['127.0.0.1:1']}\n", sources);
    struct conf *conf = conf_parse("f", text, strlen(text), &errors);
    assert_non_null(conf);
    buf_finish(&errors);
    return conf;
}

static void begin(bool has_upstream) {
    static const struct store_settings store = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    const struct hub_source upstream = {&world, upstream_want, upstream_want_tracks, upstream_unwant};
    world = (struct world){.loop = loop_create()};
    made_count = 0;
    world.hub = hub_create(world.loop, &store);
    world.origin = origin_create(world.loop, world.hub, &(struct origin_settings){.grace_ms = 10000});
    if (has_upstream)
        hub_set_source(world.hub, &upstream);
    world.conf = configured("  - live/always http://h/x\n  - live/asked http://h/y on-demand");
    world.sources = sources_create(world.conf, world.hub, world.origin, NULL, NULL);
    world.front = hub_set_source(world.hub, &(struct hub_source){0});
}

static void end(void) {
    sources_destroy(world.sources);
    conf_destroy(world.conf);
    origin_destroy(world.origin);
    hub_destroy(world.hub);
    loop_destroy(world.loop);
}

static bool want(const char *stream) {
    const struct track_names tracks = track_names_of("v0");
    return world.front.want(world.front.ctx, stream, "a,b", &tracks);
}

static void unwant(const char *stream) {
    world.front.unwant(world.front.ctx, stream);
}

/* --- tests --- */

static void what_is_on_demand_is_asked_here_and_all_else_upstream(void **state) {
    (void)state;
    const struct track_names tracks = {0};
    begin(true);
    assert_true(made[0].started);
    assert_false(made[1].started);
    assert_true(want("live/asked"));
    assert_true(made[1].started);
    world.front.want_tracks(world.front.ctx, "live/asked", &tracks);
    unwant("live/asked");
    assert_false(made[1].started);
    assert_string_equal(world.asked, "");
    assert_string_equal(world.asked_tracks, "");
    assert_string_equal(world.unasked, "");
    assert_true(want("live/other"));
    world.front.want_tracks(world.front.ctx, "live/other", &tracks);
    unwant("live/other");
    assert_string_equal(world.asked, "live/other");
    assert_string_equal(world.asked_tracks, "live/other");
    assert_string_equal(world.unasked, "live/other");
    assert_true(want("live/always")); /* it is here by itself, or perhaps elsewhere */
    assert_string_equal(world.asked, "live/always");
    assert_true(made[0].started);
    sources_stop(world.sources);
    want("live/asked");
    assert_string_equal(world.asked, "live/asked");
    end();
}

static void without_upstream_there_is_nothing_else(void **state) {
    (void)state;
    begin(false);
    assert_false(want("live/other"));
    world.front.want_tracks(world.front.ctx, "live/other", &(struct track_names){0});
    unwant("live/other");
    assert_true(want("live/asked"));
    end();
}

static void one_that_failed_a_moment_ago_is_not_tried_for_each_who_asks(void **state) {
    (void)state;
    begin(true);
    assert_true(want("live/asked"));
    made[1].on_failed(made[1].ctx, &made[1]); /* before anything of it was seen */
    assert_false(made[1].started);
    made[1].state = SOURCE_WAITING;
    assert_false(want("live/asked"));
    assert_false(made[1].started);
    end();
}

static void one_that_breaks_off_goes_on_while_it_is_wanted(void **state) {
    (void)state;
    begin(true);
    assert_true(want("live/asked"));
    assert_int_equal(hub_write(world.hub, fixture_open("live/asked", 1, 1)), 0);
    made[1].on_failed(made[1].ctx, &made[1]);
    assert_true(made[1].started);
    end();
}

static void an_unwanted_stream_goes_unless_it_is_somebody_elses(void **state) {
    (void)state;
    begin(true);
    assert_true(want("live/asked"));
    assert_int_equal(hub_write(world.hub, fixture_open("live/asked", 1, 1)), 0);
    unwant("live/asked");
    assert_non_null(store_find(hub_store(world.hub), "live/asked"));
    struct record *record = record_create(RECORD_STATE, "live/asked", 1);
    record->state.state = STREAM_ENDED;
    assert_int_equal(hub_write(world.hub, record), 0);
    assert_true(want("live/asked"));
    unwant("live/asked");
    assert_null(store_find(hub_store(world.hub), "live/asked"));
    end();
}

static void urls_that_are_wrong_are_told_with_their_lines(void **state) {
    (void)state;
    struct conf *conf =
        configured("  - live/a ftp://user:secret@h/x\n  - live/b http://h/y\n  - live/c srt://1.2.3.4:5?latency=1\n"
                   "  - feed/d http://h/y\n  - live/e file:/etc/passwd");
    struct buf errors;
    buf_init(&errors, 4096);
    assert_false(sources_check(conf, "f", &errors));
    buf_append(&errors, "", 1);
    assert_string_equal(
        (const char *)buf_head(&errors),
        "f:3: ingest.sources: the URL of \"live/a\" begins with none of srt://, rtmp://, rtmps://, http://, https://\n"
        "f:5: ingest.sources: the URL of \"live/c\" has a latency that is not 20 to 8000 (ms)\n"
        "f:6: ingest.sources: \"feed/d\" can't be a stream's name\n"
        "f:7: ingest.sources: the URL of \"live/e\" begins with none of srt://, rtmp://, rtmps://, http://, "
        "https://\n");
    assert_true(sources_want_srt(conf) == false);
    conf_destroy(conf);
    conf = configured("  - live/c srt://1.2.3.4:5");
    buf_clear(&errors);
    assert_true(sources_check(conf, "f", &errors));
    assert_true(sources_want_srt(conf));
    conf_destroy(conf);
    buf_finish(&errors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_on_demand_is_asked_here_and_all_else_upstream),
        cmocka_unit_test(without_upstream_there_is_nothing_else),
        cmocka_unit_test(one_that_failed_a_moment_ago_is_not_tried_for_each_who_asks),
        cmocka_unit_test(one_that_breaks_off_goes_on_while_it_is_wanted),
        cmocka_unit_test(an_unwanted_stream_goes_unless_it_is_somebody_elses),
        cmocka_unit_test(urls_that_are_wrong_are_told_with_their_lines),
    };
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
