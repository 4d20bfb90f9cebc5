#include "common/http/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tests/unit/loopback.h"
#include "tests/unit/uring.h"

/* Request bodies that the handler takes as they come, over HTTP/1; over HTTP/2 in test_h2.c. Server and client in one
 * thread. */

enum { DEADLINE_S = 10 };

struct world {
    struct loop *loop;
    struct loop_timer *turn;
    struct http_server *server;
    int fd;
    struct http_request *req;
    size_t received, hold_at, replies_given, replies_wanted;
    uint64_t sum;
    bool ended, held;
    int handled, closes;
    char text[4096]; /* that the client has read */
    size_t text_len;
};

static bool on_body(void *ctx, const uint8_t *data, size_t len) {
    struct world *w = ctx;
    w->ended |= len == 0;
    for (size_t i = 0; i < len; i++)
        w->sum = w->sum * 31 + data[i];
    w->received += len;
    w->held = w->hold_at && w->received >= w->hold_at;
    return !w->held;
}

static void on_close(void *ctx) {
    struct world *w = ctx;
    w->closes++;
    w->req = NULL;
}

static int next_reply(void *ctx, struct slice *slices, int max) {
    struct world *w = ctx;
    (void)max;
    if (w->replies_given == w->replies_wanted)
        return HTTP_SOURCE_WAIT;
    w->replies_given++;
    slices[0] = (struct slice){blob_create_copy("reply\n", 6), 0, 6};
    return 1;
}

static void respond(struct http_request *req, const char *text) {
    struct slice slice = {blob_create_copy(text, strlen(text)), 0, strlen(text)};
    http_respond_slices(req, 200, NULL, 0, &slice, 1, false);
    blob_unref(slice.blob);
}

static void on_request(void *ctx, struct http_request *req) {
    struct world *w = ctx;
    w->handled++;
    http_request_on_close(req, on_close, w);
    if (strcmp(http_request_path(req), "/stream") && strcmp(http_request_path(req), "/duplex")) {
        respond(req, "plain");
        return;
    }
    w->req = req;
    http_request_on_body(req, on_body, w);
    if (!strcmp(http_request_path(req), "/duplex"))
        http_respond(req, &(struct http_response){.status = 200, .length = -1, .source = {next_reply, NULL, w}});
}

static bool streams(void *ctx, const struct http_request *req) {
    (void)ctx;
    return strcmp(http_request_path(req), "/collect") != 0;
}

static void on_turn(void *ctx) {
    loop_stop(((struct world *)ctx)->loop);
}

static void turn(struct world *w) {
    loop_timer_set(w->turn, 1000);
    loop_run(w->loop);
    ssize_t n = recv(w->fd, w->text + w->text_len, sizeof w->text - 1 - w->text_len, 0);
    w->text_len += n > 0 ? (size_t)n : 0;
    w->text[w->text_len] = '\0';
}

#define until(w, condition)                                                                                            \
    do {                                                                                                               \
        for (int64_t end_us = clock_mono_us() + DEADLINE_S * INT64_C(1000000); !(condition);) {                        \
            assert_true(clock_mono_us() < end_us);                                                                     \
            turn(w);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void say(struct world *w, const char *text) {
    assert_int_equal(send(w->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static struct world *begin(void) {
    struct world *w = calloc(1, sizeof *w);
    uint16_t port;
    w->loop = loop_create();
    w->turn = loop_timer_create(w->loop, on_turn, w);
    w->server = http_server_create(w->loop, &http_limits_default, on_request, w);
    use_uring_if_asked(w->server);
    http_server_stream_bodies(w->server, streams);
    assert_int_equal(http_server_listen(w->server, "127.0.0.1:0", false, &port), 0);
    w->fd = connect_to(port, 0);
    fcntl(w->fd, F_SETFL, O_NONBLOCK);
    return w;
}

static void end(struct world *w) {
    http_server_destroy(w->server);
    assert_int_equal(w->closes, w->handled);
    loop_timer_destroy(w->turn);
    loop_destroy(w->loop);
    close(w->fd);
    free(w);
}

static void body_is_given_as_it_comes(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    until(w, w->received == 3);
    say(w, "lo\r\n1\r\n!\r\n");
    until(w, w->received == 6);
    assert_false(w->ended);
    say(w, "0\r\n\r\n");
    until(w, w->ended);
    respond(w->req, "thanks");
    until(w, strstr(w->text, "thanks"));
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"); /* the connection goes on */
    w->ended = false;
    until(w, w->ended);
    assert_int_equal(w->received, 8);
    end(w);
}

static void bodies_of_other_requests_are_collected(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /collect HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    turn(w);
    assert_int_equal(w->handled, 0);
    say(w, "lo");
    until(w, strstr(w->text, "plain"));
    assert_int_equal(w->received, 0);
    end(w);
}

static void request_without_a_body_ends_at_once_and_keeps_its_connection(void **state) {
    (void)state;
    struct world *w = begin();
    for (int i = 1; i <= 2; i++) {
        say(w, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
        until(w, w->closes == i);
    }
    end(w);
}

static void client_that_waits_is_told_to_continue(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    until(w, strstr(w->text, "100 Continue"));
    say(w, "hello");
    until(w, w->ended);
    end(w);
}

/* 20 MB into a handler that holds after the first bytes: the rest stays with the client until it goes on. */
static void held_body_stays_with_the_client(void **state) {
    (void)state;
    enum { BYTES = 20 << 20 };
    struct world *w = begin();
    uint8_t *data = malloc(BYTES);
    uint64_t sum = 0;
    for (size_t i = 0; i < BYTES; i++)
        sum = sum * 31 + (data[i] = (uint8_t)(i * 7));
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 20971520\r\n\r\n");
    w->hold_at = 1;
    size_t sent = 0;
    for (int stuck = 0; stuck < 50;) {
        ssize_t n = send(w->fd, data + sent, BYTES - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        turn(w);
    }
    assert_true(sent < BYTES && w->received <= 65536 && w->held);
    w->hold_at = 0;
    http_request_read(w->req);
    while (sent < BYTES) {
        ssize_t n = send(w->fd, data + sent, BYTES - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        turn(w);
    }
    until(w, w->ended);
    free(data);
    assert_true(w->received == BYTES && w->sum == sum);
    end(w);
}

static void response_flows_while_the_body_does(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /duplex HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    until(w, strstr(w->text, "200 OK"));
    for (size_t i = 1; i <= 5; i++) {
        say(w, "3\r\nabc\r\n");
        until(w, w->received == 3 * i);
        w->text_len = 0;
        w->replies_wanted = i;
        http_request_resume(w->req);
        until(w, strstr(w->text, "reply"));
    }
    end(w);
}

static void body_that_nobody_waits_for_closes_the_connection(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc");
    until(w, strstr(w->text, "plain"));
    until(w, recv(w->fd, w->text, 1, 0) == 0);
    end(w);
}

static void broken_chunk_ends_the_request(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello");
    until(w, w->received == 5);
    say(w, "xx");
    until(w, w->closes == 1);
    assert_false(w->ended);
    end(w);
}

static void client_that_goes_in_mid_body_ends_the_request(void **state) {
    (void)state;
    struct world *w = begin();
    say(w, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello");
    until(w, w->received == 5);
    shutdown(w->fd, SHUT_RDWR);
    until(w, w->closes == 1);
    assert_false(w->ended);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_is_given_as_it_comes),
        cmocka_unit_test(bodies_of_other_requests_are_collected),
        cmocka_unit_test(request_without_a_body_ends_at_once_and_keeps_its_connection),
        cmocka_unit_test(client_that_waits_is_told_to_continue),
        cmocka_unit_test(held_body_stays_with_the_client),
        cmocka_unit_test(response_flows_while_the_body_does),
        cmocka_unit_test(body_that_nobody_waits_for_closes_the_connection),
        cmocka_unit_test(broken_chunk_ends_the_request),
        cmocka_unit_test(client_that_goes_in_mid_body_ends_the_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
