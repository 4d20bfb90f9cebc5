#include "tests/unit/http_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/base/loop.h"
#include "common/http/tls.h"
#include "tests/unit/loopback.h"
#include "tests/unit/tls_fixture.h"
#include "tests/unit/uring.h"

struct tls_context *tls;
static SSL_CTX *client_ctx;

/* --- the server's side --- */

void node_init(struct node *node, const struct http_limits *limits,
               void (*on_request)(void *ctx, struct http_request *req), void *ctx) {
    node->loop = loop_create();
    node->server = http_server_create(node->loop, limits, on_request, ctx);
    use_uring_if_asked(node->server);
}

static void *run_loop(void *ctx) {
    loop_run(ctx);
    return NULL;
}

void node_run(struct node *node) {
    assert_int_equal(pthread_create(&node->thread, NULL, run_loop, node->loop), 0);
}

void node_halt(struct node *node) {
    loop_stop(node->loop);
    pthread_join(node->thread, NULL);
}

void node_finish(struct node *node) {
    node_halt(node);
    http_server_destroy(node->server);
    loop_destroy(node->loop);
}

int start_tls(void **state) {
    (void)state;
    char dir[] = "/tmp/weir-test-XXXXXX";
    struct fixture_pair pair;
    struct tls_error error;
    assert_non_null(mkdtemp(dir));
    fixture_make_pair(dir, "server", "DNS:test", 1, 0, "test", &pair);
    struct tls_tickets *tickets = tls_tickets_create();
    tls = tls_context_create(&(struct tls_pair){pair.cert, pair.key}, 1, tickets, false, &error);
    assert_non_null(tls);
    tls_tickets_unref(tickets);
    fixture_remove_pair(&pair);
    rmdir(dir);
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)"\x08http/1.1", 9);
    return 0;
}

int stop_tls(void **state) {
    (void)state;
    tls_context_unref(tls);
    SSL_CTX_free(client_ctx);
    return 0;
}

/* --- the client's side --- */

struct client *dial_silently(const struct node *node, int receive_buffer) {
    struct client *c = malloc(sizeof *c);
    assert_non_null(c);
    c->len = 0;
    c->fd = connect_to(node->port, receive_buffer);
    c->ssl = tls ? SSL_new(client_ctx) : NULL;
    if (c->ssl) {
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
    }
    return c;
}

struct client *dial(const struct node *node, int receive_buffer) {
    struct client *c = dial_silently(node, receive_buffer);
    if (c->ssl)
        assert_int_equal(SSL_do_handshake(c->ssl), 1);
    return c;
}

void hang_up(struct client *c) {
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

void end_output(struct client *c) {
    if (c->ssl)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}

void say(struct client *c, const char *text) {
    if (c->ssl)
        assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), (int)strlen(text));
    else
        assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static ssize_t hear_tls(struct client *c, void *data, size_t len) {
    ERR_clear_error();
    int n = SSL_read(c->ssl, data, (int)len), error = SSL_get_error(c->ssl, n);
    errno = error == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
    return n > 0 ? n : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

int hear(struct client *c) {
    assert_true(c->len < sizeof c->data - 1);
    size_t room = sizeof c->data - 1 - c->len;
    ssize_t n = c->ssl ? hear_tls(c, c->data + c->len, room) : recv(c->fd, c->data + c->len, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail_msg("nothing heard in time; have: %.*s", c->len > 300 ? 300 : (int)c->len, c->data);
    if (n < 0)
        return -1;
    c->len += (size_t)n;
    c->data[c->len] = '\0';
    return n > 0;
}

void hear_at_least(struct client *c, size_t len) {
    while (c->len < len)
        if (hear(c) != 1)
            fail_msg("closed after %zu of %zu bytes", c->len, len);
}

void drop(struct client *c, size_t len) {
    memmove(c->data, c->data + len, c->len - len + 1);
    c->len -= len;
}

void hear_head(struct client *c, struct response *r) {
    hear_at_least(c, 1);
    char *end;
    while (!(end = memmem(c->data, c->len, "\r\n\r\n", 4)))
        hear_at_least(c, c->len + 1);
    size_t len = (size_t)(end - c->data) + 4;
    assert_true(len < sizeof r->head);
    memcpy(r->head, c->data, len);
    r->head[len] = '\0';
    assert_int_equal(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    if (r->status >= 200 && !strstr(r->head, "\r\nCache-Control: ")) /* every answer says its lifetime */
        fail_msg("no lifetime: %s", r->head);
    drop(c, len);
}

void hear_response(struct client *c, struct response *r, bool head_only) {
    hear_head(c, r);
    const char *length = strstr(r->head, "\r\nContent-Length: ");
    r->body_len = length && !head_only ? strtoul(length + 18, NULL, 10) : 0;
    hear_at_least(c, r->body_len);
    r->body = c->data;
}

void expect_body(struct client *c, const char *head_has, int status, const char *body) {
    struct response r;
    hear_response(c, &r, false);
    assert_int_equal(r.status, status);
    if (head_has && !strstr(r.head, head_has))
        fail_msg("no %s in: %s", head_has, r.head);
    if (r.body_len != strlen(body) || memcmp(r.body, body, r.body_len) != 0)
        fail_msg("%.*s, not %s", (int)r.body_len, r.body, body);
    drop(c, r.body_len);
}

void expect_status(struct client *c, int status) {
    struct response r;
    hear_response(c, &r, false);
    if (r.status != status)
        fail_msg("%d, not %d", r.status, status);
    drop(c, r.body_len);
}

void expect_end(struct client *c) {
    int r = hear(c);
    if (r > 0)
        fail_msg("more came: %.*s", (int)c->len, c->data);
    assert_int_equal(r, 0);
}
