/* Connections: their deadlines and limits, where they come in, what the kernel is told of them, and that all are given
 * back. */
#include "common/http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/internal.h"
#include "tests/unit/server_fixture.h"

static void header_deadline_is_absolute(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.header_timeout_ms = 300;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(&f->node, 0), *silent = dial(&f->node, 0), *body = dial(&f->node, 0);
    say(body, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    say(c, "GET / HTTP/1.1\r\n");
    struct pollfd pfd = {c->fd, POLLIN, 0};
    for (int i = 0; i < 200 && poll(&pfd, 1, 30) == 0; i++)
        say(c, "X"); /* a byte now and then doesn't extend it */
    expect_status(c, 408);
    expect_status(silent, 408);
    expect_status(body, 408);
    assert_int_equal(atomic_load(&f->handled), 0);
    hang_up(c);
    hang_up(silent);
    hang_up(body);
    stop(f);
}

static void idle_connection_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.idle_timeout_ms = 100;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    expect_end(c);
    hang_up(c);
    stop(f);
}

static void expect_refusal(struct fixture *f) {
    struct client *c = dial_silently(&f->node, 0);
    struct response r;
    if (tls) { /* not worth a handshake */
        assert_int_equal(SSL_do_handshake(c->ssl), -1);
    } else {
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
        assert_int_equal(r.status, 503);
        assert_non_null(strstr(r.head, "\r\nRetry-After: "));
        drop(c, r.body_len);
        expect_end(c);
    }
    hang_up(c);
}

/* 0: closed without a word. */
static int try_hello(struct fixture *f) {
    struct client *c = dial_silently(&f->node, 0);
    struct response r = {0};
    if (!tls || SSL_do_handshake(c->ssl) == 1) {
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
    }
    hang_up(c);
    return r.status;
}

static void too_many(uint32_t in_all, uint32_t per_address) {
    struct http_limits limits = http_limits_default;
    limits.connections_max = in_all;
    limits.connections_per_address = per_address;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *a = dial(&f->node, 0), *b = dial(&f->node, 0);
    struct client *both[] = {a, b};
    for (int i = 0; i < 2; i++) { /* neither is idle, or it would make room */
        say(both[i], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(both[i], 200);
        say(both[i], "POST /hello HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        hear_at_least(both[i], 12);
    }
    expect_refusal(f);
    hang_up(a); /* makes room */
    int status;
    do /* the place is free once the server has seen the end */
        status = try_hello(f);
    while (status == 503 || status == 0);
    assert_int_equal(status, 200);
    hang_up(b);
    stop(f);
}

static void limit_in_all(void **state) {
    (void)state;
    too_many(2, 10);
}

static void limit_per_address(void **state) {
    (void)state;
    too_many(10, 2);
}

static void out_of_descriptors_waits_for_some(void **state) {
    (void)state;
    struct fixture *f = start();
    struct rlimit before, tight;
    int lowest = dup(f->closed); /* the client's socket takes it, and leaves none for the server's end */
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = (struct rlimit){(rlim_t)lowest + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int64_t refused = atomic_load(&http_metrics[HTTP_METRIC_REFUSED_DESCRIPTORS].value);
    struct client *c = dial_silently(&f->node, 0);
    while (atomic_load(&http_metrics[HTTP_METRIC_REFUSED_DESCRIPTORS].value) == refused)
        sched_yield();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(c, 200);
    hang_up(c);
    stop(f);
}

static void drain_lets_responses_finish(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *idle = dial(&f->node, 0), *parked = dial(&f->node, 0), *silent = dial(&f->node, 0),
                  *c = dial(&f->node, 0);
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(idle, 200);
    say(parked, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 2)
        sched_yield();
    say(c, "GET /release HTTP/1.1\r\n" HOST "\r\n"); /* a first parked one is released before the drain: kept alive */
    expect_status(c, 200);
    expect_status(parked, 200);
    say(parked, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 4)
        sched_yield();
    say(c, "GET /drain HTTP/1.1\r\n" HOST "\r\nGET /release HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "draining");
    expect_end(c);
    expect_end(idle);
    expect_end(silent);
    hang_up(c);
    hang_up(idle);
    hang_up(silent);
    hang_up(parked);
    for (int i = 0; i < 5; i++)
        wait_closed(f);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f->node.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    close(fd);
    stop(f);
}

static void dual_stack_peer(void **state) {
    (void)state;
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    if (probe < 0)
        skip();
    close(probe);
    struct fixture *f = start_with(&http_limits_default, "[::]:0");
    struct client *c = dial(&f->node, 0);
    struct response r;
    say(c, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_non_null(memmem(r.body, r.body_len, "|127.0.0.1:", 11));
    hang_up(c);
    stop(f);
}

static void listen_errors(void **state) {
    (void)state;
    struct fixture *f = start();
    static const char *const bad[] = {
        "",        "127.0.0.1", "localhost:80", "127.0.0.1:",     "127.0.0.1:65536", "127.0.0.1:8a",
        "[::1:80", "::1:80",    "[::1]80",      "[127.0.0.1]:80", "127.0.0.1:-1",    ":80"};
    struct loop *loop = loop_create();
    struct http_server *server = http_server_create(loop, &http_limits_default, on_request, f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_server_listen(server, bad[i], false, NULL) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", f->node.port);
    assert_int_equal(http_server_listen(server, taken, false, NULL), -EADDRINUSE);
    http_server_destroy(server);
    loop_destroy(loop);
    stop(f);
}

static void address_is_shared_with_who_joins_only(void **state) {
    (void)state;
    struct loop *loop = loop_create();
    struct http_server *a = http_server_create(loop, &http_limits_default, on_request, NULL);
    struct http_server *b = http_server_create(loop, &http_limits_default, on_request, NULL);
    struct http_server *stranger = http_server_create(loop, &http_limits_default, on_request, NULL);
    uint16_t port, same;
    char address[32];
    assert_int_equal(http_server_listen(a, "127.0.0.1:0", false, &port), 0);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(http_server_listen(b, address, true, &same), 0);
    assert_int_equal(port, same);
    assert_int_equal(http_server_listen(stranger, address, false, NULL), -EADDRINUSE);
    http_server_destroy(stranger);
    http_server_destroy(a);
    http_server_destroy(b);
    loop_destroy(loop);
}

/* Accepted sockets are ours, in this very process: find the one whose peer the client is. */
static int find_accepted(const struct client *c) {
    struct sockaddr_in mine, peer;
    socklen_t len = sizeof mine;
    getsockname(c->fd, (struct sockaddr *)&mine, &len);
    for (int fd = 3; fd < 256; fd++) {
        len = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
            peer.sin_port == mine.sin_port)
            return fd;
    }
    return -1;
}

static void accepted_sockets_have_tcp_options(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(c, 200);
    int fd = find_accepted(c), nodelay = 0, lowat = 0;
    socklen_t len = sizeof(int);
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, &len), 0);
    assert_int_equal(nodelay, 1);
    assert_int_equal(lowat, 128 * 1024);
    hang_up(c);
    stop(f);
}

static int unsent_max(const struct client *c) {
    int lowat = 0;
    socklen_t len = sizeof lowat;
    assert_int_equal(getsockopt(find_accepted(c), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, &len), 0);
    return lowat;
}

static void kernel_holds_what_the_link_takes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(&f->node, 16384);
    struct response r;
    for (int i = 0; i < 100 && (i == 0 || unsent_max(c) < HTTP_UNSENT_MAX); i++) {
        say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        hear_head(c, &r);
        hear_at_least(c, BIG);
        drop(c, BIG);
    }
    assert_int_equal(unsent_max(c), HTTP_UNSENT_MAX);
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    while (c->len < BIG &&
           unsent_max(c) == HTTP_UNSENT_MAX) { /* a MB/s or two: half of the most takes longer than 80 ms */
        hear_at_least(c, c->len + 16384 < BIG ? c->len + 16384 : BIG);
        poll(NULL, 0, 20);
    }
    assert_int_equal(unsent_max(c), HTTP_UNSENT_MIN);
    hang_up(c);
    stop(f);
}

static void congestion_control_where_the_kernel_has_it(void **state) {
    (void)state;
    static const char *const names[] = {"nonexistent", "reno"};
    for (int i = 0; i < 2; i++) {
        char name[HTTP_CONGESTION_LEN] = "";
        socklen_t len = sizeof name;
        congestion = names[i];
        struct fixture *f = start();
        struct client *c = dial(&f->node, 0);
        congestion = NULL;
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(c, 200);
        assert_int_equal(getsockopt(find_accepted(c), IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
        if (i == 1)
            assert_string_equal(name, "reno");
        hang_up(c);
        stop(f);
    }
}

static void idle_connection_is_small(void **state) {
    (void)state;
    assert_true(sizeof(struct http_conn) <= 256); /* and its loop_io; no buffer while it is idle */
}

static void metrics_are_rendered(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (!tls) /* once a process */
        http_metrics_register();
    metrics_render(&out);
    assert_int_equal(buf_append(&out, "", 1), 0);
    const char *text = (const char *)buf_head(&out);
    assert_non_null(strstr(text, "weir_http_connections 0\n")); /* all tests gave theirs back */
    assert_non_null(strstr(text, "weir_http_requests_total{code=\"2xx\"} "));
    assert_null(strstr(text, "weir_http_requests_total{code=\"2xx\"} 0\n"));
    assert_null(strstr(text, "weir_http_refused_total{reason=\"address\"} 0\n"));
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_deadline_is_absolute),
        cmocka_unit_test(idle_connection_is_closed),
        cmocka_unit_test(limit_in_all),
        cmocka_unit_test(limit_per_address),
        cmocka_unit_test(out_of_descriptors_waits_for_some),
        cmocka_unit_test(drain_lets_responses_finish),
        cmocka_unit_test(dual_stack_peer),
        cmocka_unit_test(listen_errors),
        cmocka_unit_test(address_is_shared_with_who_joins_only),
        cmocka_unit_test(accepted_sockets_have_tcp_options),
        cmocka_unit_test(kernel_holds_what_the_link_takes),
        cmocka_unit_test(congestion_control_where_the_kernel_has_it),
        cmocka_unit_test(idle_connection_is_small),
        cmocka_unit_test(metrics_are_rendered),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client's OpenSSL */
    int failed = cmocka_run_group_tests_name("over TCP", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("over TLS", tests, start_tls, stop_tls);
}
