/* Bodies that are drawn from a source: what it gives, lends or frames, and when it waits or is stopped. */
#include "common/http/server.h"

#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/http/internal.h"
#include "tests/unit/server_fixture.h"

static void chunked_source_waits_and_resumes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    struct response r;
    static const char chunk[] = "c\r\nhello world\n\r\n";
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    for (int i = 0; i < 2; i++) {
        say(other, "GET /more HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, "done");
        hear_at_least(c, sizeof chunk - 1);
        assert_string_equal(c->data, chunk); /* and no more */
        drop(c, sizeof chunk - 1);
    }
    say(other, "GET /more HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "done");
    hear_at_least(c, sizeof chunk - 1 + 5);
    assert_string_equal(c->data, "c\r\nhello world\n\r\n0\r\n\r\n");
    drop(c, c->len);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    hang_up(other);
    stop(f);
}

/* References that the server keeps of what was lent: none, or one until the end of the turn. */
static const char *kept(void) {
    return getenv("TEST_IO_URING") && !tls ? "1" : "0";
}

static void framed_slices_go_out_in_their_own_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    struct response r;
    char expected[64];
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    say(other, "GET /frame?17 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept()); /* sent at once: nothing was kept */
    memcpy(expected, "11\r\n", 4);
    memcpy(expected + 4, f->big->data, 17);
    memcpy(expected + 21, "\r\n", 2);
    hear_at_least(c, 23);
    assert_int_equal(c->len, 23);
    assert_memory_equal(c->data, expected, 23);
    drop(c, 23);
    say(other, "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept());
    hear_at_least(c, 8 + 5);
    assert_memory_equal(c->data, "3\r\n", 3);
    assert_memory_equal(c->data + 3, f->big->data, 3);
    assert_string_equal(c->data + 6, "\r\n0\r\n\r\n");
    drop(c, c->len);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void framed_slices_are_bare_without_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    struct response r;
    say(c, "GET /framed HTTP/1.0\r\n\r\n");
    hear_head(c, &r);
    for (int i = 0; i < 2; i++) {
        say(other, i ? "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n" : "GET /frame?17 HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, kept());
    }
    hear_at_least(c, 20);
    assert_memory_equal(c->data, f->big->data, 17);
    assert_memory_equal(c->data + 17, f->big->data, 3);
    drop(c, 20);
    expect_end(c);
    hang_up(c);
    hang_up(other);
    stop(f);
}

/* Its memory checker sees whether what is lent is used after it was taken back. */
static void lent_slices_are_kept_while_the_socket_is_full(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 8192), *other = dial(&f->node, 0);
    struct response r;
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    say(other, "GET /frame?3000000 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "1");
    say(other, "GET /frame?3000000 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "0 not asked for");
    hear_at_least(c, 8 + 3000000 + 2);
    assert_memory_equal(c->data, "2dc6c0\r\n", 8);
    assert_memory_equal(c->data + 8, f->big->data, 3000000);
    hang_up(c);
    wait_closed(f);
    hang_up(other);
    stop(f);
}

static void live_source_has_the_kernel_hold_little(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    struct response r;
    char text[32];
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    snprintf(text, sizeof text, "%d", HTTP_UNSENT_LIVE);
    say(other, "GET /unsent HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, text);
    say(other, "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept());
    hear_at_least(c, 13);
    drop(c, 13);
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n"); /* the same connection, another kind of source */
    hear_head(c, &r);
    snprintf(text, sizeof text, "%d", HTTP_UNSENT_MIN);
    say(other, "GET /unsent HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, text);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void waiting_source_loses_its_client(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    hang_up(c);
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    stop(f);
}

static void short_source_aborts(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /short HTTP/1.1\r\n" HOST "\r\n");
    int r;
    while ((r = hear(c)) == 1)
        ;
    assert_int_equal(r, -1); /* reset: not to be taken for a whole response */
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    stop(f);
}

static void stopped_reader_stops_the_source(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 8192), *other = dial(&f->node, 0);
    say(c, "GET /counted HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->pulls) < 1)
        sched_yield();
    int before, after = -1;
    do { /* until a whole exchange on another connection sees no pull */
        before = after;
        say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, "hello world\n");
        after = atomic_load(&f->pulls);
    } while (after != before);
    assert_true(after * 65536LL < 32 << 20); /* of 1 GB; the socket's buffers take a few MB at most */
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void stalled_reader_is_aborted(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 200;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(&f->node, 8192);
    say(c, "GET /counted HTTP/1.1\r\n" HOST "\r\n");
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    stop(f);
}

static void slow_reader_is_not_aborted(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 400;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(&f->node, 16384);
    struct response r;
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    size_t want = BIG;
    while (c->len < want) { /* about a second in all: in progress for longer than a stall may last */
        size_t n = want - c->len < 32768 ? want - c->len : 32768;
        hear_at_least(c, c->len + n > want ? want : c->len + n);
        poll(NULL, 0, 10);
    }
    assert_memory_equal(c->data, f->big->data, BIG);
    hang_up(c);
    stop(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunked_source_waits_and_resumes),
        cmocka_unit_test(framed_slices_go_out_in_their_own_chunks),
        cmocka_unit_test(framed_slices_are_bare_without_chunks),
        cmocka_unit_test(lent_slices_are_kept_while_the_socket_is_full),
        cmocka_unit_test(live_source_has_the_kernel_hold_little),
        cmocka_unit_test(waiting_source_loses_its_client),
        cmocka_unit_test(short_source_aborts),
        cmocka_unit_test(stopped_reader_stops_the_source),
        cmocka_unit_test(stalled_reader_is_aborted),
        cmocka_unit_test(slow_reader_is_not_aborted),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client's OpenSSL */
    int failed = cmocka_run_group_tests_name("over TCP", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("over TLS", tests, start_tls, stop_tls);
}
