/* What is asked, one after another and at once: a connection from its first request to its last. */
#include "common/http/server.h"

#include <sched.h>
#include <semaphore.h>
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

static void keep_alive_and_request_facts(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "POST /a%20b?q=1 HTTP/1.1\r\n" HOST "X-Test: one \r\nX-TEST: two\r\nContent-Length: 4\r\n\r\nbody");
    hear_response(c, &r, false);
    c->data[r.body_len] = '\0';
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "\r\nDate: "));
    assert_non_null(strstr(r.head, "\r\nX-Handler: yes\r\n"));
    assert_null(strstr(r.head, "\r\nConnection:"));
    assert_non_null(strstr(c->data, "3|/a b|q=1|one|127.0.0.1:"));
    assert_non_null(strstr(c->data, "|body"));
    drop(c, r.body_len);
    wait_closed(f);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nAccept-Ranges: bytes\r\n", 200, "hello world\n");
    wait_closed(f);
    hang_up(c);
    stop(f);
}

static void body_in_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "PUT /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\n");
    say(c, "de\r\n0\r\nT: x\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_memory_equal(r.body + r.body_len - 6, "|abcde", 6);
    drop(c, r.body_len);
    expect_body(c, NULL, 200, "hello world\n");
    hang_up(c);
    stop(f);
}

static void pipelined_in_order(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    enum { N = 500 };
    for (int i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof text, "GET /n?%d HTTP/1.1\r\n" HOST "\r\n", i);
        say(c, text);
    }
    for (int i = 0; i < N; i++) {
        struct response r;
        char expected[32];
        hear_response(c, &r, false);
        snprintf(expected, sizeof expected, "1|/n|%d|", i);
        assert_memory_equal(r.body, expected, strlen(expected));
        drop(c, r.body_len);
    }
    hang_up(c);
    stop(f);
}

static void client_goes_in_the_turn_in_which_it_is_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0), *holder = dial(&f->node, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    say(holder, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    sem_wait(&f->held);
    say(other, "GET /release HTTP/1.1\r\n" HOST "\r\n");
    end_output(c); /* seen in the same turn, after the release */
    sem_post(&f->holds);
    expect_body(other, NULL, 200, "done");
    expect_body(holder, NULL, 200, "held");
    expect_body(c, NULL, 200, "released");
    hang_up(c);
    hang_up(other);
    hang_up(holder);
    stop(f);
}

static void pipelined_behind_a_parked_one(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\nGET /mis");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    say(c, "sing HTTP/1.1\r\n" HOST "\r\n");
    say(other, "GET /release HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "done");
    expect_body(c, NULL, 200, "released");
    expect_body(c, NULL, 200, "hello world\n");
    expect_body(c, "text/plain", 404, "404 Not Found: no such thing\n");
    for (int i = 0; i < 4; i++)
        wait_closed(f);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void parked_client_disconnects(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    hang_up(c);
    wait_closed(f);
    f->parked_count = 0;
    stop(f);
}

static void parked_client_disconnects_at_once(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    hang_up(c); /* the end of stream may come with the request, in one edge */
    wait_closed(f);
    stop(f);
}

static void parked_when_server_ends(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    node_halt(&f->node);
    http_server_destroy(f->node.server);
    f->node.server = NULL;
    wait_closed(f);
    node_run(&f->node);
    hang_up(c);
    stop(f);
}

/* One of these refusals finds the socket full by the responses before it: it must come nonetheless, and then the end.
 */
static void last_words_to_a_slow_reader(void **state) {
    (void)state;
    static const char request[] = "GET /big HTTP/1.1\r\n" HOST "Range: bytes=0-15999\r\n\r\n";
    struct fixture *f = start();
    struct client *other = dial(&f->node, 0);
    for (int n = 1; n < 24; n++) {
        struct client *c = dial(&f->node, 4096);
        char text[24 * sizeof request + 32] = "";
        int base = atomic_load(&f->handled), before, after = -1;
        for (int i = 0; i < n; i++)
            strcat(text, request);
        say(c, strcat(text, "GET / HTTP/1.1\n\n"));
        do { /* until no more are handled, since c doesn't read */
            before = after;
            say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
            expect_status(other, 200);
            after = atomic_load(&f->handled) - ++base;
        } while (after != before);
        for (int i = 0; i < n; i++)
            expect_status(c, 206);
        expect_status(c, 400);
        expect_end(c);
        hang_up(c);
    }
    hang_up(other);
    stop(f);
}

static void http_1_0(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect_body(c, "\r\nConnection: keep-alive\r\n", 200, "hello world\n");
    say(c, "GET /hello HTTP/1.0\r\n\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "hello world\n");
    expect_end(c);
    hang_up(c);
    c = dial(&f->node, 0);
    struct response r;
    f->streamed = 3;
    say(c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    hear_head(c, &r);
    assert_null(strstr(r.head, "Transfer-Encoding"));
    assert_non_null(strstr(r.head, "\r\nConnection: close\r\n"));
    while (hear(c) == 1)
        ;
    assert_string_equal(c->data, "hello world\nhello world\nhello world\n");
    hang_up(c);
    stop(f);
}

static void connection_close_asked_for(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "hello world\n");
    expect_end(c);
    assert_int_equal(atomic_load(&f->handled), 1);
    hang_up(c);
    stop(f);
}

static void half_closed_client_is_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    end_output(c);
    struct response r;
    hear_response(c, &r, false);
    assert_memory_equal(r.body, f->big->data, BIG);
    hang_up(c);
    stop(f);
}

static void continue_before_body(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    hear_head(c, &r);
    assert_int_equal(r.status, 100);
    say(c, "abc");
    hear_response(c, &r, false);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body + r.body_len - 4, "|abc", 4);
    drop(c, r.body_len);
    say(c, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"); /* doesn't wait */
    expect_status(c, 200);
    hang_up(c);
    stop(f);
}

static void refusals_close(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.line_bytes_max = 100;
    limits.head_bytes_max = 300;
    limits.body_bytes_max = 10;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    char long_line[256], long_head[512];
    snprintf(long_line, sizeof long_line, "GET /%0150d HTTP/1.1\r\n" HOST "\r\n", 0);
    snprintf(long_head, sizeof long_head, "GET / HTTP/1.1\r\n" HOST "X: %0300d\r\n\r\n", 0);
    const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET /a/../b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a%2fb HTTP/1.1\r\n" HOST "\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
        {long_line, 414},
        {long_head, 431},
        {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"GET / HTTP/3.0\r\n" HOST "\r\n", 505},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client *c = dial(&f->node, 0);
        struct response r;
        say(c, cases[i].text);
        hear_response(c, &r, false);
        if (r.status != cases[i].status)
            fail_msg("%d, not %d: %s", r.status, cases[i].status, cases[i].text);
        assert_non_null(strstr(r.head, "\r\nConnection: close\r\n"));
        drop(c, r.body_len);
        expect_end(c);
        hang_up(c);
    }
    assert_int_equal(atomic_load(&f->handled), 0);
    stop(f);
}

static void refused_client_may_go_on_sending(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0), *other = dial(&f->node, 0);
    say(c, "POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    expect_status(c, 413);
    expect_end(c);
    for (int i = 0; i < 10; i++) { /* a closed socket would answer with an RST, which can destroy the 413 on its way */
        say(c, "some of the body");
        say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(other, 200);
    }
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void pipelined_before_a_bad_one_are_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\n\n");
    expect_body(c, NULL, 200, "hello world\n");
    expect_status(c, 400);
    expect_end(c);
    hang_up(c);
    stop(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_alive_and_request_facts),
        cmocka_unit_test(body_in_chunks),
        cmocka_unit_test(pipelined_in_order),
        cmocka_unit_test(client_goes_in_the_turn_in_which_it_is_answered),
        cmocka_unit_test(pipelined_behind_a_parked_one),
        cmocka_unit_test(parked_client_disconnects),
        cmocka_unit_test(parked_client_disconnects_at_once),
        cmocka_unit_test(parked_when_server_ends),
        cmocka_unit_test(last_words_to_a_slow_reader),
        cmocka_unit_test(http_1_0),
        cmocka_unit_test(connection_close_asked_for),
        cmocka_unit_test(half_closed_client_is_answered),
        cmocka_unit_test(continue_before_body),
        cmocka_unit_test(refusals_close),
        cmocka_unit_test(refused_client_may_go_on_sending),
        cmocka_unit_test(pipelined_before_a_bad_one_are_answered),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client's OpenSSL */
    int failed = cmocka_run_group_tests_name("over TCP", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("over TLS", tests, start_tls, stop_tls);
}
