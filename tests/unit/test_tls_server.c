/* The server over TLS, against clients that do as they should or not. */
#include "common/http/server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/http_fixture.h"
#include "tests/unit/loopback.h"
#include "tests/unit/tls_peer.h"

static char last_reason[64]; /* of a failure; read when the loop has ended */

static void on_request(void *ctx, struct http_request *req) {
    (void)ctx;
    struct slice slice = {blob_create_copy("hello", 5), 0, 5};
    http_respond_slices(req, 200, NULL, 0, &slice, 1, false);
    blob_unref(slice.blob);
}

static void on_failure(void *ctx, const char *peer, const char *reason) {
    (void)ctx;
    assert_ptr_equal(strstr(peer, "127.0.0.1:"), peer);
    snprintf(last_reason, sizeof last_reason, "%s", reason);
}

static void node_start(struct node *node, const struct http_limits *limits) {
    struct tls_context *context = make_one();
    last_reason[0] = '\0';
    node_init(node, limits, on_request, NULL);
    assert_int_equal(http_server_listen_tls(node->server, "127.0.0.1:0", false, &node->port), -EINVAL);
    http_server_set_tls(node->server, context);
    http_server_on_tls_failure(node->server, on_failure, NULL);
    tls_context_unref(context);
    assert_int_equal(http_server_listen_tls(node->server, "127.0.0.1:0", false, &node->port), 0);
    node_run(node);
}

static void client_that_stalls_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    struct node node;
    struct peer p;
    char data[4096];
    limits.header_timeout_ms = 200;
    node_start(&node, &limits);
    int silent = connect_to(node.port, 0), half = connect_to(node.port, 0), unfinished = connect_to(node.port, 0);
    assert_int_equal(send(half, "\x16\x03\x01\x02\x00\x01", 6, 0), 6);
    struct tls_context *context = make_one();
    peer_open(&p, context); /* for the client's first flight */
    SSL_do_handshake(p.ssl);
    int len = BIO_read(p.out, data, sizeof data);
    assert_int_equal(send(unfinished, data, (size_t)len, 0), len);
    assert_true(recv(unfinished, data, sizeof data, 0) > 0);
    assert_int_equal(recv(silent, data, sizeof data, 0), 0);
    assert_int_equal(recv(half, data, sizeof data, 0), 0);
    ssize_t n;
    while ((n = recv(unfinished, data, sizeof data, 0)) > 0)
        ;
    assert_int_equal(n, 0);
    peer_close(&p);
    tls_context_unref(context);
    close(silent);
    close(half);
    close(unfinished);
    node_finish(&node);
}

static void failure_is_told_with_peer_and_reason(void **state) {
    (void)state;
    struct node node;
    char data[512];
    node_start(&node, &http_limits_default);
    int fd = connect_to(node.port, 0);
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    while (recv(fd, data, sizeof data, 0) > 0)
        ;
    close(fd);
    node_finish(&node);
    assert_string_equal(last_reason, "http request");
}

static SSL *dial_tls(const struct node *node, const char *protocols) {
    SSL *ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, connect_to(node->port, 0));
    if (protocols)
        SSL_set_alpn_protos(ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

static void hang_up_tls(SSL *ssl) {
    int fd = SSL_get_fd(ssl);
    SSL_free(ssl);
    close(fd);
}

/* HTTP/2 was agreed on, so the server's SETTINGS come before a byte of the client (RFC 9113 §3.4). */
static void http2_begins_with_the_servers_settings(void **state) {
    (void)state;
    struct node node;
    uint8_t head[9];
    node_start(&node, &http_limits_default);
    SSL *ssl = dial_tls(&node, "\x02h2\x08http/1.1");
    assert_int_equal(SSL_read(ssl, head, 9), 9);
    assert_int_equal(head[3], 4);
    hang_up_tls(ssl);
    node_finish(&node);
}

static void without_alpn_the_first_bytes_tell(void **state) {
    (void)state;
    struct node node;
    static const char *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"};
    node_start(&node, &http_limits_default);
    for (int i = 0; i < 2; i++) {
        uint8_t data[1024];
        SSL *ssl = dial_tls(&node, NULL);
        SSL_write(ssl, words[i], i == 0 ? 27 : 33);
        assert_true(SSL_read(ssl, data, sizeof data) > 9);
        assert_true(i == 0 ? memcmp(data, "HTTP/1.1 200", 12) == 0 : data[3] == 4);
        hang_up_tls(ssl);
    }
    node_finish(&node);
}

/* More than may shake hands in one turn. */
static void many_at_once(void **state) {
    (void)state;
    enum { N = 60 };
    struct node node;
    struct peer p;
    char hello[4096], data[4096];
    int fds[N];
    node_start(&node, &http_limits_default);
    struct tls_context *context = make_one();
    peer_open(&p, context);
    SSL_do_handshake(p.ssl);
    int len = BIO_read(p.out, hello, sizeof hello);
    for (int i = 0; i < N; i++)
        fds[i] = connect_to(node.port, 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(send(fds[i], hello, (size_t)len, 0), len);
    for (int i = 0; i < N; i++) {
        assert_true(recv(fds[i], data, sizeof data, 0) > 100); /* the server's flight */
        close(fds[i]);
    }
    peer_close(&p);
    tls_context_unref(context);
    node_finish(&node);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_that_stalls_is_closed),
        cmocka_unit_test(failure_is_told_with_peer_and_reason),
        cmocka_unit_test(http2_begins_with_the_servers_settings),
        cmocka_unit_test(without_alpn_the_first_bytes_tell),
        cmocka_unit_test(many_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
