/* Sources whose fetchers are shell scripts, with a session that only notes what it is given: what a child can do to its
 * parent. */
#include "ingest/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "ingest/ingest.h"
#include "ingest/ts_session.h"

enum { DEADLINE_US = 20000000, TICK_US = 2000, KEPT = 4096 };

/* --- a session --- */

static struct ts_session {
    struct ts_session_events events;
    void *ctx;
    bool open, clean;
    uint32_t opened, gaps;
    size_t bytes;
    char stream[64], peer[64], kept[KEPT + 1];
} session;

struct ts_session *ts_session_create(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                     const struct ts_session_events *events, void *ctx) {
    (void)ingest, (void)app, (void)name, (void)peer, (void)events, (void)ctx;
    fail_msg("a source needs no key");
    return NULL;
}

struct ts_session *ts_session_create_own(struct ingest *ingest, const char *stream, enum claim_rank rank,
                                         const char *peer, const struct ts_session_events *events, void *ctx) {
    (void)ingest;
    assert_int_equal(rank, CLAIM_PRIMARY);
    assert_false(session.open);
    session.events = *events;
    session.ctx = ctx;
    session.open = true;
    session.opened++;
    session.bytes = 0;
    snprintf(session.stream, sizeof session.stream, "%s", stream);
    snprintf(session.peer, sizeof session.peer, "%s", peer);
    return &session;
}

void ts_session_input(struct ts_session *to, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len && to->bytes + i < KEPT; i++)
        to->kept[to->bytes + i] = (char)data[i];
    to->bytes += len;
    to->kept[to->bytes < KEPT ? to->bytes : KEPT] = 0;
}

void ts_session_gap(struct ts_session *to) {
    to->gaps++;
}

void ts_session_destroy(struct ts_session *of, bool clean) {
    if (!of)
        return;
    of->open = false;
    of->clean = clean;
}

/* --- the world --- */

static struct world {
    struct loop *loop;
    struct loop_timer *tick;
    struct ingest *ingest;
    struct source *source;
    uint32_t failures;
    bool (*until)(void);
    int64_t deadline_us;
    char program[64];
} world;

static void on_tick(void *ctx) {
    (void)ctx;
    if (world.until()) {
        loop_stop(world.loop);
        return;
    }
    if (loop_now_us(world.loop) > world.deadline_us)
        fail_msg("it didn't happen in time");
    loop_timer_set(world.tick, TICK_US);
}

static void run_until(bool (*until)(void)) {
    world.until = until;
    world.deadline_us = loop_now_us(world.loop) + DEADLINE_US;
    loop_timer_set(world.tick, 0);
    loop_run(world.loop);
}

static void on_failed(void *ctx, struct source *source) {
    (void)ctx, (void)source;
    world.failures++;
}

static void write_script(const char *script) {
    int fd = open(world.program, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_true(fd >= 0);
    dprintf(fd, "#!/bin/sh\n%s\n", script);
    close(fd);
}

static void begin(const char *script, int64_t silence_us) {
    const char *why;
    world = (struct world){.loop = loop_create()};
    session = (struct ts_session){0};
    snprintf(world.program, sizeof world.program, "/tmp/test-source-%d", getpid());
    write_script(script);
    world.tick = loop_timer_create(world.loop, on_tick, NULL);
    world.ingest = ingest_create(world.loop, &(struct ingest_settings){0}, &(struct writer_port){0});
    struct source_settings settings = {.stream = "live/cam", .fetcher = world.program, .silence_us = silence_us};
    assert_int_equal(source_url_parse("https://user:pw@example.org/x?token=secret", &settings.url, &why), 0);
    world.source = source_create(world.ingest, &settings, on_failed, NULL);
    assert_int_equal(source_view(world.source).state, SOURCE_IDLE);
}

static void end(void) {
    source_destroy(world.source);
    assert_false(session.open);
    ingest_destroy(world.ingest);
    loop_timer_destroy(world.tick);
    loop_destroy(world.loop);
    unlink(world.program);
}

static bool comes(void) {
    return session.bytes > 0;
}

static bool has_failed(void) {
    return source_view(world.source).state == SOURCE_WAITING;
}

static bool has_failed_twice(void) {
    return world.failures == 2;
}

static bool is_live(void) {
    return source_view(world.source).state == SOURCE_LIVE;
}

static bool much_came(void) {
    return session.bytes > 4 << 20;
}

static const char *error(void) {
    return source_view(world.source).error;
}

/* --- tests --- */

static void media_become_a_stream(void **state) {
    (void)state;
    begin("printf media; exec sleep 60", 0);
    source_start(world.source);
    run_until(comes);
    assert_string_equal(session.stream, "live/cam");
    assert_string_equal(session.peer, "https://example.org/x?");
    assert_string_equal(session.kept, "media");
    assert_int_equal(source_view(world.source).state, SOURCE_CONNECTING); /* until it may be published */
    session.events.on_result(session.ctx, PUBLISH_OK);
    assert_int_equal(source_view(world.source).state, SOURCE_LIVE);
    source_stop(world.source);
    assert_false(session.open);
    assert_true(session.clean);
    assert_int_equal(source_view(world.source).state, SOURCE_IDLE);
    assert_int_equal(world.failures, 0);
    end();
}

/* The URL, and nothing else of ours: no variable, no open file, no argument with a secret. */
static void the_child_gets_only_what_it_needs(void **state) {
    (void)state;
    setenv("TEST_SECRET", "1", 1);
    int extra = open("/dev/null", O_RDONLY); /* without close-on-exec */
    begin("/usr/bin/env; echo args $*; echo fds $(ls /proc/$$/fd | tr '\\n' ' '); exec sleep 60", 0);
    source_start(world.source);
    do
        run_until(comes);
    while (!strstr(session.kept, "fds 0"));
    assert_non_null(strstr(session.kept, "WEIR_FETCH_URL=https://user:pw@example.org/x?token=secret\n"));
    assert_non_null(strstr(session.kept, "\nargs live/cam\n"));
    assert_null(strstr(session.kept, "TEST_SECRET"));
    char fds[64];
    snprintf(fds, sizeof fds, " %d ", extra);
    assert_null(strstr(strstr(session.kept, "fds "), fds));
    close(extra);
    end();
}

static void a_child_that_fails_is_started_again(void **state) {
    (void)state;
    begin("echo 'no: http://u:p@h/x?y' >&2; exit 1", 0);
    source_start(world.source);
    run_until(has_failed);
    assert_string_equal(error(), "no: http://h/x?");
    assert_int_equal(source_view(world.source).restarts, 0);
    int64_t failed_us = loop_now_us(world.loop);
    run_until(has_failed_twice);
    assert_true(loop_now_us(world.loop) - failed_us > 700000);
    assert_int_equal(source_view(world.source).restarts, 1);
    assert_int_equal(session.opened, 0);
    end();
}

static void a_child_that_crashes_takes_nobody_along(void **state) {
    (void)state;
    begin("printf media; echo almost >&2; kill -SEGV $$", 0);
    source_start(world.source);
    run_until(has_failed);
    assert_non_null(strstr(error(), "signal 11"));
    assert_int_equal(session.opened, 1);
    assert_false(session.open);
    assert_false(session.clean);
    end();
}

static void a_child_that_hangs_is_killed(void **state) {
    (void)state;
    begin("printf media; trap '' TERM; sleep 60 & wait", 300000);
    source_start(world.source);
    run_until(has_failed);
    assert_non_null(strstr(error(), "nothing came for"));
    end();
}

static void what_a_child_says_is_cut_into_lines(void **state) {
    (void)state;
    begin("i=0; while [ $i -lt 200 ]; do printf '%s' 0123456789; i=$((i+1)); done >&2; "
          "printf '\\nmiddle\\n\\001\\377x' >&2; exit 1",
          0);
    source_start(world.source);
    run_until(has_failed);
    assert_string_equal(error(), "??x");
    end();
}

static void a_child_without_end_holds_up_nobody(void **state) {
    (void)state;
    begin("exec cat /dev/zero", 0);
    source_start(world.source);
    run_until(much_came); /* the tick comes in between */
    assert_true(session.bytes < 64 << 20);
    end();
}

static void media_that_cant_be_carried_are_tried_seldom(void **state) {
    (void)state;
    begin("echo 'mp2 cannot be carried' >&2; exit 2", 0);
    source_start(world.source);
    run_until(has_failed);
    assert_string_equal(error(), "mp2 cannot be carried");
    source_stop(world.source);
    source_start(world.source); /* no way around the wait */
    assert_int_equal(source_view(world.source).state, SOURCE_WAITING);
    end();
}

static void a_fetcher_that_isnt_there_is_a_failure(void **state) {
    (void)state;
    begin("exit 0", 0);
    unlink(world.program);
    source_start(world.source);
    run_until(has_failed);
    assert_string_equal(error(), "the fetcher can't be started");
    end();
}

static void a_name_that_is_taken_is_waited_for(void **state) {
    (void)state;
    begin("printf media; exec sleep 60", 0);
    source_start(world.source);
    run_until(comes);
    session.events.on_result(session.ctx, PUBLISH_BUSY);
    assert_true(has_failed());
    assert_false(session.open);
    assert_string_equal(error(), "somebody else publishes under that name");
    session.bytes = 0;
    run_until(comes);
    session.events.on_result(session.ctx, PUBLISH_OK);
    assert_true(is_live());
    session.events.on_lost(session.ctx, "taken over by another publisher");
    assert_true(has_failed());
    assert_int_equal(world.failures, 2);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(media_become_a_stream),
        cmocka_unit_test(the_child_gets_only_what_it_needs),
        cmocka_unit_test(a_child_that_fails_is_started_again),
        cmocka_unit_test(a_child_that_crashes_takes_nobody_along),
        cmocka_unit_test(a_child_that_hangs_is_killed),
        cmocka_unit_test(what_a_child_says_is_cut_into_lines),
        cmocka_unit_test(a_child_without_end_holds_up_nobody),
        cmocka_unit_test(media_that_cant_be_carried_are_tried_seldom),
        cmocka_unit_test(a_fetcher_that_isnt_there_is_a_failure),
        cmocka_unit_test(a_name_that_is_taken_is_waited_for),
    };
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
