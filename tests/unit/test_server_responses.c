/* What is answered: bodies of slices, whole, in part or left out, and heads. */
#include "common/http/server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/server_fixture.h"

static void head_has_no_body(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "HEAD /hello HTTP/1.1\r\n" HOST "\r\nHEAD /missing HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST
           "\r\n");
    hear_response(c, &r, true);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "\r\nContent-Length: 12\r\n"));
    hear_response(c, &r, true);
    assert_int_equal(r.status, 404);
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1); /* of /stream */
    hang_up(c);
    stop(f);
}

static void ranges(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=3-6\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 3-6/12\r\n", 206, "lo w");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=-3\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 9-11/12\r\n", 206, "ld\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=6-9007199254740991\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 6-11/12\r\n", 206, "world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes */12\r\n", 416, "416 Range Not Satisfiable\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n");
    expect_body(c, "\r\nAccess-Control-Allow-Origin: *\r\n", 416, "416 Range Not Satisfiable\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1,3-4\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1\r\nIf-Range: \"v0\"\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n\r\n");
    expect_body(c, NULL, 206, "he");
    hang_up(c);
    stop(f);
}

static void not_modified(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v0\", W/\"v1\"\r\nRange: bytes=0-1\r\n\r\n");
    hear_head(c, &r);
    assert_int_equal(r.status, 304);
    assert_non_null(strstr(r.head, "\r\nETag: \"v1\"\r\n"));
    assert_null(strcasestr(r.head, "\r\nContent-"));
    say(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v0\"\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    hang_up(c);
    stop(f);
}

static void big_body_intact(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    for (int i = 0; i < 3; i++) {
        say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
        assert_int_equal(r.body_len, BIG);
        assert_memory_equal(r.body, f->big->data, BIG);
        drop(c, BIG);
        wait_closed(f);
    }
    hang_up(c);
    stop(f);
}

static void expect_lifetime(struct client *c, const char *request, int status, const char *lifetime) {
    struct response r;
    char line[64];
    say(c, request);
    hear_response(c, &r, false);
    assert_int_equal(r.status, status);
    snprintf(line, sizeof line, "\r\nCache-Control: %s\r\n", lifetime);
    const char *first = strstr(r.head, "\r\nCache-Control:");
    if (!strstr(r.head, line) || strstr(first + 1, "\r\nCache-Control:"))
        fail_msg("not %s, once: %s", lifetime, r.head);
    drop(c, r.body_len);
}

static void lifetimes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n", 200, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=3-6\r\n\r\n", 206, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v1\"\r\n\r\n", 304, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n", 416, "no-store");
    expect_lifetime(c, "GET /missing HTTP/1.1\r\n" HOST "\r\n", 404, "no-store");
    expect_lifetime(c, "GET /split HTTP/1.1\r\n" HOST "\r\n", 500, "no-store");
    expect_lifetime(c, "GET /x y HTTP/1.1\r\n" HOST "\r\n", 400, "no-store");
    hang_up(c);
    stop(f);
}

static void response_splitting_refused(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "GET /split HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_int_equal(r.status, 500);
    assert_null(strstr(r.head, "Y: b"));
    hang_up(c);
    stop(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_has_no_body), cmocka_unit_test(ranges),    cmocka_unit_test(not_modified),
        cmocka_unit_test(big_body_intact),  cmocka_unit_test(lifetimes), cmocka_unit_test(response_splitting_refused),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client's OpenSSL */
    int failed = cmocka_run_group_tests_name("over TCP", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("over TLS", tests, start_tls, stop_tls);
}
