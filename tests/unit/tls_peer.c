#include "tests/unit/tls_peer.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/base/buf.h"
#include "common/base/metrics.h"

char dir[] = "/tmp/weir-test-XXXXXX";
struct fixture_pair first;
struct tls_tickets *tickets;
SSL_CTX *client_ctx;
struct tls_scratch scratch;

struct tls_context *make(const struct fixture_pair *const *pairs, size_t count) {
    struct tls_pair names[TLS_CERTIFICATES_MAX];
    struct tls_error error = {0};
    for (size_t i = 0; i < count; i++)
        names[i] = (struct tls_pair){pairs[i]->cert, pairs[i]->key};
    struct tls_context *context = tls_context_create(names, count, tickets, false, &error);
    if (!context)
        fail_msg("%zu %d %s", error.pair, error.key, error.text);
    return context;
}

struct tls_context *make_one(void) {
    return make((const struct fixture_pair *[]){&first}, 1);
}

void peer_open(struct peer *p, struct tls_context *context) {
    int fds[2], small = 65536;
    *p = (struct peer){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    p->fd = fds[0];
    transport_init_tls(&p->server, fds[1], context, &scratch);
    p->ssl = SSL_new(client_ctx);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    SSL_set_connect_state(p->ssl);
}

void peer_close(struct peer *p) {
    p->server.ops->close(&p->server, false);
    SSL_free(p->ssl);
    close(p->fd);
}

static void count_records(struct peer *p, const uint8_t *data, size_t len) {
    while (len > 0) {
        if (p->rest == 0 && p->head_len < 5) {
            p->head[p->head_len++] = *data++;
            len--;
            if (p->head_len < 5)
                continue;
            p->rest = (size_t)(p->head[3] << 8 | p->head[4]);
            p->records++;
            p->data_records += p->head[0] == 23;
            p->full += p->rest >= TLS_RECORD_BYTES;
        }
        size_t n = len < p->rest ? len : p->rest;
        data += n;
        len -= n;
        p->rest -= n;
        if (p->rest == 0)
            p->head_len = 0;
    }
}

bool peer_receive(struct peer *p) {
    uint8_t data[65536];
    ssize_t n = recv(p->fd, data, sizeof data, 0);
    if (n == 0)
        p->ended = true;
    if (n <= 0)
        return false;
    count_records(p, data, (size_t)n);
    assert_int_equal(BIO_write(p->in, data, (int)n), n);
    return true;
}

void peer_send(struct peer *p) {
    uint8_t data[65536];
    for (int n; (n = BIO_read(p->out, data, sizeof data)) > 0;)
        assert_int_equal(send(p->fd, data, (size_t)n, MSG_NOSIGNAL), n);
}

ssize_t shake(struct peer *p, bool *ret_done) {
    ssize_t n = -EAGAIN;
    *ret_done = false;
    for (int i = 0; i < 10 && n == -EAGAIN; i++) {
        char data[16];
        *ret_done |= SSL_do_handshake(p->ssl) == 1;
        peer_send(p);
        n = p->server.ops->recv(&p->server, data, sizeof data);
        while (peer_receive(p))
            ;
    }
    return n;
}

void peer_shake(struct peer *p) {
    bool done;
    assert_int_equal(shake(p, &done), -EAGAIN);
    if (!done || p->server.alpn == TRANSPORT_ALPN_PENDING)
        fail_msg("no handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
    char nothing[1];
    SSL_read(p->ssl, nothing, 1); /* tickets */
    assert_int_equal(p->server.held, 0);
    p->records = p->full = p->data_records = 0;
}

void peer_say(struct peer *p, const char *text) {
    assert_int_equal(SSL_write(p->ssl, text, (int)strlen(text)), (int)strlen(text));
    peer_send(p);
}

void expect_read(struct peer *p, const char *text) {
    char data[256];
    assert_int_equal(p->server.ops->recv(&p->server, data, sizeof data), (ssize_t)strlen(text));
    assert_memory_equal(data, text, strlen(text));
}

size_t peer_hear(struct peer *p, uint8_t *out, size_t room) {
    size_t len = 0;
    do {
        for (int n; len < room && (n = SSL_read(p->ssl, out + len, (int)(room - len))) > 0;)
            len += (size_t)n;
    } while (peer_receive(p));
    for (int n; len < room && (n = SSL_read(p->ssl, out + len, (int)(room - len))) > 0;)
        len += (size_t)n;
    return len;
}

ssize_t send_all(struct peer *p, const struct iovec *iov, int count) {
    return p->server.ops->sendv(&p->server, iov, count);
}

void expect_echo(struct peer *p) {
    uint8_t data[64];
    struct iovec iov = {(void *)"there", 5};
    peer_say(p, "here");
    expect_read(p, "here");
    assert_int_equal(send_all(p, &iov, 1), 5);
    assert_int_equal(peer_hear(p, data, sizeof data), 5);
    assert_memory_equal(data, "there", 5);
}

int64_t metric_value(const char *line) {
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    buf_append(&out, "", 1);
    const char *at = strstr((const char *)buf_head(&out), line);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(line), NULL, 10);
    buf_finish(&out);
    return value;
}

int set_up(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    transport_tls_metrics_register();
    assert_non_null(mkdtemp(dir));
    fixture_make_pair(dir, "first", "DNS:first.test", 10, 0, "first", &first);
    tickets = tls_tickets_create();
    client_ctx = SSL_CTX_new(TLS_client_method());
    return 0;
}

int tear_down(void **state) {
    (void)state;
    fixture_remove_pair(&first);
    rmdir(dir);
    SSL_CTX_free(client_ctx);
    tls_tickets_unref(tickets);
    return 0;
}
