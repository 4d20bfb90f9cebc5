/* The transport over TLS: failures, records, what it holds, ends. */
#include "common/http/tls_transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/base/loop.h"
#include "common/http/internal.h"
#include "tests/unit/tls_peer.h"

enum { BIG = 4 << 20, ROUNDS = 100000 };

static uint8_t *big;

/* --- handshakes --- */

static void plain_http_is_told(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[512];
    int64_t before = metric_value("\nweir_tls_failures_total{reason=\"protocol\"} ");
    peer_open(&p, context);
    assert_true(send(p.fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0) == 27);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -EPROTO);
    assert_string_equal(transport_tls_failure(&p.server), "http request");
    ssize_t n = recv(p.fd, data, sizeof data - 1, 0);
    assert_true(n > 0);
    data[n] = 0;
    assert_ptr_equal(strstr(data, "HTTP/1.1 400 "), data);
    const char *body = strstr(data, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strtoul(strstr(data, "Content-Length: ") + 16, NULL, 10), strlen(body + 4));
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -EPROTO);
    assert_int_equal(send_all(&p, &(struct iovec){data, 1}, 1), -ENOTCONN);
    peer_close(&p);
    assert_int_equal(metric_value("\nweir_tls_failures_total{reason=\"protocol\"} "), before + 1);
    tls_context_unref(context);
}

static void garbage_is_refused(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    static const char *const cases[] = {
        "\x16\x03\x01\xff\xff............", "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", "\x17\x03\x03\x00\x04....",
        "\x15\x03\x03\x00\x02\x02\x28",     "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    };
    static const size_t lens[] = {17, 10, 9, 7, 10};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p;
        char data[64];
        peer_open(&p, context);
        assert_int_equal(send(p.fd, cases[i], lens[i], 0), (ssize_t)lens[i]);
        ssize_t n = p.server.ops->recv(&p.server, data, sizeof data);
        if (n != -EPROTO || !transport_tls_failure(&p.server))
            fail_msg("case %zu: %zd", i, n);
        peer_close(&p);
    }
    tls_context_unref(context);
}

static void garbage_after_the_handshake_ends_it(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[64];
    peer_open(&p, context);
    peer_shake(&p);
    assert_int_equal(send(p.fd, "\x17\x03\x03\x00\x20................................", 37, 0), 37);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -EPROTO);
    peer_close(&p);
    tls_context_unref(context);
}

static void abandoned_handshakes_are_counted(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[64];
    int64_t before = metric_value("\nweir_tls_failures_total{reason=\"abandoned\"} ");
    peer_open(&p, context); /* only a look at the port */
    shutdown(p.fd, SHUT_WR);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -ECONNRESET);
    assert_null(transport_tls_failure(&p.server));
    peer_close(&p);
    assert_int_equal(metric_value("\nweir_tls_failures_total{reason=\"abandoned\"} "), before);
    peer_open(&p, context);
    SSL_do_handshake(p.ssl);
    peer_send(&p);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -EAGAIN);
    shutdown(p.fd, SHUT_WR);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), -ECONNRESET);
    peer_close(&p);
    assert_int_equal(metric_value("\nweir_tls_failures_total{reason=\"abandoned\"} "), before + 1);
    tls_context_unref(context);
}

static void client_that_objects_is_counted(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    bool done;
    int64_t before = metric_value("\nweir_tls_failures_total{reason=\"alert\"} ");
    peer_open(&p, context);
    SSL_set_verify(p.ssl, SSL_VERIFY_PEER, NULL); /* nobody has signed it */
    assert_int_equal(shake(&p, &done), -EPROTO);
    peer_close(&p);
    assert_int_equal(metric_value("\nweir_tls_failures_total{reason=\"alert\"} "), before + 1);
    tls_context_unref(context);
}

/* --- bytes --- */

static void frames_are_records(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    struct iovec iov[6];
    uint8_t *got = malloc(BIG);
    peer_open(&p, context);
    peer_shake(&p);
    for (int i = 0; i < 6; i += 2) { /* an HTTP/2 DATA frame: its head and what it refers to */
        iov[i] = (struct iovec){big + i, 9};
        iov[i + 1] = (struct iovec){big + 1000 * i, TLS_RECORD_BYTES - 9};
    }
    assert_int_equal(send_all(&p, iov, 6), 3 * TLS_RECORD_BYTES);
    assert_int_equal(peer_hear(&p, got, BIG), 3 * TLS_RECORD_BYTES);
    assert_int_equal(p.records, 3);
    assert_int_equal(p.full, 3);
    for (size_t i = 0, at = 0; i < 6; at += iov[i++].iov_len)
        assert_memory_equal(got + at, iov[i].iov_base, iov[i].iov_len);
    free(got);
    peer_close(&p);
    tls_context_unref(context);
}

static void small_pieces_share_a_record_that_goes_at_once(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    struct iovec iov[] = {{big, 0}, {big, 1}, {big, 0}, {big + 1, 300}, {big + 301, 3000}, {big, 0}};
    uint8_t got[4096];
    peer_open(&p, context);
    peer_shake(&p);
    assert_int_equal(send_all(&p, iov, 6), 3301);
    assert_int_equal(peer_hear(&p, got, sizeof got), 3301);
    assert_memory_equal(got, big, 3301);
    assert_int_equal(p.records, 1);
    assert_int_equal(send_all(&p, iov, 1), 0);
    assert_int_equal(p.server.ops->flush(&p.server), 0);
    peer_close(&p);
    tls_context_unref(context);
}

/* Sends all of `big`; the client reads `sip` bytes of ciphertext a turn, when the server can't go on. */
static void stream_big(struct peer *p, const size_t *lens, size_t lens_count) {
    uint8_t *got = malloc(BIG);
    size_t sent = 0, heard = 0;
    for (unsigned round = 0; heard < BIG; round++) {
        assert_true(round < ROUNDS);
        while (sent < BIG) {
            struct iovec iov[40];
            int count = 0;
            size_t offered = 0;
            for (; count < 40 && sent + offered < BIG; count++) {
                size_t len = lens[(round + (unsigned)count) % lens_count];
                len = len < BIG - sent - offered ? len : BIG - sent - offered;
                iov[count] = (struct iovec){big + sent + offered, len};
                offered += len;
            }
            ssize_t n = send_all(p, iov, count);
            assert_true(n > 0 || n == -EAGAIN);
            assert_true(p->server.held <= TLS_HELD_MAX);
            sent += n > 0 ? (size_t)n : 0;
            if (n < (ssize_t)offered)
                break;
        }
        if (!peer_receive(p))
            assert_int_equal(p->server.ops->flush(&p->server), 0);
        for (int n; (n = SSL_read(p->ssl, got + heard, (int)(BIG - heard))) > 0;)
            heard += (size_t)n;
        int r = p->server.ops->flush(&p->server);
        assert_true(r == 0 || r == -EAGAIN);
    }
    assert_memory_equal(got, big, BIG);
    assert_int_equal(p->server.held, 0);
    free(got);
}

static void big_body_intact_whatever_the_pieces(void **state) {
    (void)state;
    static const size_t blobs[] = {25000, 100000}, odd[] = {1, 16383, 16385, 7, 0, 70000, 9}, whole[] = {BIG};
    struct tls_context *context = make_one();
    for (int i = 0; i < 3; i++) {
        struct peer p;
        peer_open(&p, context);
        if (i == 1)
            SSL_set_max_proto_version(p.ssl, TLS1_2_VERSION);
        peer_shake(&p);
        stream_big(&p, i == 0 ? blobs : i == 1 ? odd : whole, i == 0 ? 2 : i == 1 ? 7 : 1);
        if (i == 2)
            assert_true(p.records <= BIG / TLS_RECORD_BYTES + 1);
        peer_close(&p);
    }
    tls_context_unref(context);
}

static void client_with_short_records(void **state) {
    (void)state;
    static const size_t whole[] = {BIG};
    struct tls_context *context = make_one();
    struct peer p;
    peer_open(&p, context);
    SSL_set_tlsext_max_fragment_length(p.ssl, TLSEXT_max_fragment_length_512);
    peer_shake(&p);
    stream_big(&p, whole, 1);
    assert_true(p.records >= BIG / 512);
    peer_close(&p);
    tls_context_unref(context);
}

static void stopped_reader_holds_little(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    struct iovec iov = {big, BIG};
    enum { SLOW_MAX = 2 * TLS_SEND_MIN };
    uint32_t most = 0;
    ssize_t n;
    peer_open(&p, context);
    peer_shake(&p);
    while ((n = send_all(&p, &iov, 1)) > 0) {
        most = p.server.held > most ? p.server.held : most;
        assert_true(n < BIG);
    }
    assert_int_equal(n, -EAGAIN);
    assert_true(most > 0 && most <= TLS_HELD_MAX);
    assert_int_equal(p.server.ops->flush(&p.server), -EAGAIN);
    uint32_t held = p.server.held;
    for (int i = 0; i < 100; i++) /* nothing more is encrypted while it is full */
        assert_int_equal(send_all(&p, &iov, 1), -EAGAIN);
    assert_int_equal(p.server.held, held);
    /* once it reads again, the next send is the smallest, and at most twice as much follows when that was taken */
    while (p.server.ops->flush(&p.server) == -EAGAIN)
        assert_true(peer_receive(&p));
    send_all(&p, &iov, 1);
    assert_true(p.server.held <= SLOW_MAX + SLOW_MAX / TLS_RECORD_BYTES * 1024);
    peer_close(&p);
    tls_context_unref(context);
}

/* A record that waits for its batch, and as much behind it as is ever encrypted at once. */
static void batched_record_makes_room_for_a_long_send(void **state) {
    (void)state;
    static uint8_t got[BIG];
    struct tls_context *context = make_one();
    struct peer p;
    peer_open(&p, context);
    scratch.batch = send_batch_create();
    if (!scratch.batch || setsockopt(p.server.fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){16 << 20}, sizeof(int)) < 0)
        skip(); /* no io_uring, or not root: the socket must take all */
    peer_shake(&p);
    size_t heard = 0;
    static const size_t lens[] = {TLS_SEND_FIRST, TLS_SEND_MAX, TLS_RECORD_BYTES - 100, TLS_SEND_MAX};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct iovec iov = {big, lens[i]};
        assert_int_equal(send_all(&p, &iov, 1), (ssize_t)lens[i]);
        assert_int_equal(send_batch_empty(scratch.batch), lens[i] > TLS_RECORD_BYTES);
        if (lens[i] > TLS_RECORD_BYTES) {
            heard += peer_hear(&p, got, sizeof got);
            assert_memory_equal(got, big, 100);
        }
    }
    assert_int_equal(heard, TLS_SEND_FIRST + 2 * TLS_SEND_MAX + TLS_RECORD_BYTES - 100);
    peer_close(&p);
    send_batch_destroy(scratch.batch);
    scratch.batch = NULL;
    tls_context_unref(context);
}

static void keys_may_be_updated(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    peer_open(&p, context);
    peer_shake(&p);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        expect_echo(&p);
    }
    peer_close(&p);
    tls_context_unref(context);
}

/* Each attempt is answered by a warning; a client that doesn't read those is lost before they pile up. */
static void renegotiation_is_refused(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[64];
    ssize_t n = -EAGAIN;
    peer_open(&p, context);
    SSL_set_max_proto_version(p.ssl, TLS1_2_VERSION);
    peer_shake(&p);
    SSL_renegotiate(p.ssl);
    SSL_do_handshake(p.ssl);
    peer_send(&p);
    n = p.server.ops->recv(&p.server, data, sizeof data);
    assert_true(n == -EAGAIN || n == -EPROTO);
    peer_receive(&p);
    assert_int_equal(SSL_do_handshake(p.ssl), -1);
    peer_close(&p);
    tls_context_unref(context);
}

/* --- ends --- */

static void goodbye_in_both_directions(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[64];
    peer_open(&p, context);
    peer_shake(&p);
    p.server.ops->shutdown(&p.server);
    while (peer_receive(&p))
        ;
    assert_true(p.ended);
    ERR_clear_error();
    int n = SSL_read(p.ssl, data, sizeof data);
    assert_int_equal(SSL_get_error(p.ssl, n), SSL_ERROR_ZERO_RETURN);
    peer_say(&p, "more"); /* input still comes */
    expect_read(&p, "more");
    SSL_shutdown(p.ssl);
    peer_send(&p);
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), 0);
    peer_close(&p);
    tls_context_unref(context);
}

static void goodbye_follows_what_is_held(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    struct iovec iov = {big, BIG};
    uint8_t *got = malloc(BIG);
    size_t heard = 0;
    peer_open(&p, context);
    peer_shake(&p);
    ssize_t taken = send_all(&p, &iov, 1);
    assert_true(p.server.held > 0);
    p.server.ops->shutdown(&p.server);
    assert_true(p.server.held > 0);
    while (p.server.ops->flush(&p.server) == -EAGAIN)
        heard += peer_hear(&p, got + heard, BIG - heard);
    heard += peer_hear(&p, got + heard, BIG - heard);
    assert_int_equal(heard, taken);
    assert_memory_equal(got, big, heard);
    assert_true(p.ended);
    assert_int_equal(SSL_get_shutdown(p.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    free(got);
    peer_close(&p);
    tls_context_unref(context);
}

static void end_without_goodbye_is_an_end(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    struct peer p;
    char data[64];
    struct iovec iov = {big, 100};
    peer_open(&p, context);
    peer_shake(&p);
    peer_say(&p, "GET");
    shutdown(p.fd, SHUT_WR);
    expect_read(&p, "GET");
    assert_int_equal(p.server.ops->recv(&p.server, data, sizeof data), 0);
    assert_int_equal(send_all(&p, &iov, 1), 100); /* it may still read */
    peer_close(&p);
    tls_context_unref(context);
}

/* --- with a connection --- */

static struct loop *held_loop;

static ssize_t held_recv(struct transport *transport, void *data, size_t len) {
    (void)transport, (void)data, (void)len;
    return -EAGAIN;
}

static int held_flush(struct transport *transport) {
    transport->held = 0;
    loop_stop(held_loop);
    return 0;
}

/* Nothing but a writable edge comes, and no protocol has anything to say. */
static void held_bytes_go_out_in_any_state(void **state) {
    (void)state;
    static const struct transport_ops ops = {.recv = held_recv, .flush = held_flush, .close = transport_close_plain};
    static const enum conn_state states[] = {CONN_IDLE, CONN_RECEIVING, CONN_LINGER, CONN_SENDING};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        held_loop = loop_create();
        struct http_server *server = http_server_create(held_loop, &http_limits_default, NULL, NULL);
        struct http_conn *conn = http_conn_create(server, fds[0], &(struct sockaddr_in6){0}, NULL, NULL);
        server->refused_count++;
        conn->transport.ops = &ops;
        conn->transport.held = 1;
        http_conn_set_state(conn, states[i]);
        conn->since_us = 0;
        loop_io_activate(conn->io, LOOP_WRITE);
        loop_run(held_loop);
        assert_int_equal(conn->transport.held, 0);
        assert_int_equal(conn->state, states[i]);
        assert_int_equal(conn->since_us != 0, states[i] == CONN_SENDING); /* it hasn't stalled */
        http_server_destroy(server);
        loop_destroy(held_loop);
        close(fds[1]);
    }
}

/* --- */

static int set_up_big(void **state) {
    big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 24);
    return set_up(state);
}

static int tear_down_big(void **state) {
    free(big);
    return tear_down(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_http_is_told),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(garbage_after_the_handshake_ends_it),
        cmocka_unit_test(abandoned_handshakes_are_counted),
        cmocka_unit_test(client_that_objects_is_counted),
        cmocka_unit_test(frames_are_records),
        cmocka_unit_test(small_pieces_share_a_record_that_goes_at_once),
        cmocka_unit_test(big_body_intact_whatever_the_pieces),
        cmocka_unit_test(client_with_short_records),
        cmocka_unit_test(stopped_reader_holds_little),
        cmocka_unit_test(batched_record_makes_room_for_a_long_send),
        cmocka_unit_test(keys_may_be_updated),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(goodbye_in_both_directions),
        cmocka_unit_test(goodbye_follows_what_is_held),
        cmocka_unit_test(end_without_goodbye_is_an_end),
        cmocka_unit_test(held_bytes_go_out_in_any_state),
    };
    return cmocka_run_group_tests(tests, set_up_big, tear_down_big);
}
