/* The TLS transport on one end of a pair of sockets, OpenSSL's client on the other, in turns on one thread: nothing
 * waits. The client sees ciphertext first (struct peer), so that records can be counted. What takes a server has one.
 */
#include "common/http/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/internal.h"
#include "common/http/server.h"
#include "common/http/tls_transport.h"
#include "tests/unit/tls_fixture.h"
#include "tests/unit/uring.h"

enum { BIG = 4 << 20, WAIT_MS = 10000, ROUNDS = 100000 };

static char dir[] = "/tmp/weir-test-XXXXXX";
static struct fixture_pair first, second, wild, rsa, first_rsa, weak;
static struct tls_tickets *tickets;
static uint8_t *big;

static struct tls_context *make(const struct fixture_pair *const *pairs, size_t count) {
    struct tls_pair names[TLS_CERTIFICATES_MAX];
    struct tls_error error = {0};
    for (size_t i = 0; i < count; i++)
        names[i] = (struct tls_pair){pairs[i]->cert, pairs[i]->key};
    struct tls_context *context = tls_context_create(names, count, tickets, false, &error);
    if (!context)
        fail_msg("%zu %d %s", error.pair, error.key, error.text);
    return context;
}

static struct tls_context *make_one(void) {
    return make((const struct fixture_pair *[]){&first}, 1);
}

/* --- a peer --- */

struct peer {
    int fd; /* the client's */
    struct transport server;
    SSL *ssl;
    BIO *in, *out; /* ciphertext to and from the client */
    uint8_t head[5];
    size_t head_len, rest;                /* of the record that is passing */
    unsigned records, full, data_records; /* that came; of full length; of application data */
    bool ended;
};

static struct tls_scratch scratch;
static SSL_CTX *client_ctx;

static void peer_open(struct peer *p, struct tls_context *context) {
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

static void peer_close(struct peer *p) {
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

static bool peer_receive(struct peer *p) {
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

static void peer_send(struct peer *p) {
    uint8_t data[65536];
    for (int n; (n = BIO_read(p->out, data, sizeof data)) > 0;)
        assert_int_equal(send(p->fd, data, (size_t)n, MSG_NOSIGNAL), n);
}

/* Until both are done, or one has failed: what recv said last. `ret_done`: the client's handshake is complete. */
static ssize_t shake(struct peer *p, bool *ret_done) {
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

static void peer_shake(struct peer *p) {
    bool done;
    assert_int_equal(shake(p, &done), -EAGAIN);
    if (!done || p->server.alpn == TRANSPORT_ALPN_PENDING)
        fail_msg("no handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
    char nothing[1];
    SSL_read(p->ssl, nothing, 1); /* tickets */
    assert_int_equal(p->server.held, 0);
    p->records = p->full = p->data_records = 0;
}

static void peer_say(struct peer *p, const char *text) {
    assert_int_equal(SSL_write(p->ssl, text, (int)strlen(text)), (int)strlen(text));
    peer_send(p);
}

/* Whether the server reads just this. */
static void expect_read(struct peer *p, const char *text) {
    char data[256];
    assert_int_equal(p->server.ops->recv(&p->server, data, sizeof data), (ssize_t)strlen(text));
    assert_memory_equal(data, text, strlen(text));
}

/* What the client has, read until there is no more. */
static size_t peer_hear(struct peer *p, uint8_t *out, size_t room) {
    size_t len = 0;
    do {
        for (int n; len < room && (n = SSL_read(p->ssl, out + len, (int)(room - len))) > 0;)
            len += (size_t)n;
    } while (peer_receive(p));
    for (int n; len < room && (n = SSL_read(p->ssl, out + len, (int)(room - len))) > 0;)
        len += (size_t)n;
    return len;
}

static ssize_t send_all(struct peer *p, const struct iovec *iov, int count) {
    return p->server.ops->sendv(&p->server, iov, count);
}

static void expect_echo(struct peer *p) {
    uint8_t data[64];
    struct iovec iov = {(void *)"there", 5};
    peer_say(p, "here");
    expect_read(p, "here");
    assert_int_equal(send_all(p, &iov, 1), 5);
    assert_int_equal(peer_hear(p, data, sizeof data), 5);
    assert_memory_equal(data, "there", 5);
}

static void offer(struct peer *p, const char *protocols) {
    SSL_set_alpn_protos(p->ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
}

static void expect_certificate(struct tls_context *context, const char *name, const char *common_name) {
    struct peer p;
    char got[64];
    peer_open(&p, context);
    if (name)
        SSL_set_tlsext_host_name(p.ssl, name);
    peer_shake(&p);
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(p.ssl)), NID_commonName, got, sizeof got);
    if (strcmp(got, common_name) != 0)
        fail_msg("%s for %s, not %s", got, name ? name : "(none)", common_name);
    peer_close(&p);
}

static int64_t metric_value(const char *line) {
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

/* --- contexts --- */

static void expect_error(const char *cert, const char *key, bool of_key, const char *text) {
    struct tls_pair pairs[] = {{first.cert, first.key}, {cert, key}};
    struct tls_error error = {0};
    assert_null(tls_context_create(pairs, 2, tickets, false, &error));
    assert_int_equal(error.pair, 1);
    if (error.key != of_key || !strstr(error.text, text))
        fail_msg("%d %s, not %s", error.key, error.text, text);
}

static void wrong_files_are_refused(void **state) {
    (void)state;
    char empty[64], locked[64], broken[64];
    snprintf(empty, sizeof empty, "%s/empty", dir);
    snprintf(locked, sizeof locked, "%s/locked", dir);
    snprintf(broken, sizeof broken, "%s/broken", dir);
    fclose(fopen(empty, "w"));
    FILE *f = fopen(locked, "w");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    EVP_PKEY_free(key);
    fclose(f);
    f = fopen(broken, "w");
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    expect_error("/nonexistent", second.key, false, "can't be read (No such file or directory)");
    expect_error(dir, second.key, false, "can't be used");
    expect_error(empty, second.key, false, "can't be used (no start line)");
    expect_error(broken, second.key, false, "can't be used");
    expect_error(second.key, second.key, false, "can't be used (no start line)");
    expect_error(second.cert, "/nonexistent", true, "can't be read (No such file or directory)");
    expect_error(second.cert, second.cert, true, "can't be used");
    expect_error(second.cert, locked, true, "without a passphrase would be right"); /* and nobody was asked for it */
    expect_error(second.cert, first.key, true, "doesn't belong to ");
    expect_error(weak.cert, weak.key, false, "is refused by OpenSSL (ee key too small)");
    unlink(empty);
    unlink(locked);
    unlink(broken);
}

static void name_and_expiry_are_told(void **state) {
    (void)state;
    struct tls_context *context = make((const struct fixture_pair *[]){&first, &rsa}, 2);
    assert_int_equal(tls_context_count(context), 2);
    assert_string_equal(tls_context_name(context, 0), "first.test");
    assert_string_equal(tls_context_name(context, 1), "rsa"); /* no names: what it is called */
    assert_true(llabs(tls_context_expiry_s(context, 0) - time(NULL) - 10 * 86400) < 60);
    tls_context_unref(context);
}

static void certificate_by_server_name(void **state) {
    (void)state;
    struct tls_context *context = make((const struct fixture_pair *[]){&first, &wild, &second}, 3);
    expect_certificate(context, NULL, "first");
    expect_certificate(context, "first.test", "first");
    expect_certificate(context, "FIRST.test", "first");
    expect_certificate(context, "second.test", "second");
    expect_certificate(context, "also.second.test", "second");
    expect_certificate(context, "a.wild.test", "wild");
    expect_certificate(context, "exact.wild.test", "second"); /* a wildcard comes after an exact name */
    expect_certificate(context, "a.b.wild.test", "first");    /* it stands for one label */
    expect_certificate(context, "wild.test", "first");
    expect_certificate(context, "elsewhere.test", "first");
    tls_context_unref(context);
}

static void kind_of_key_by_client(void **state) {
    (void)state;
    struct peer p;
    struct tls_context *context = make((const struct fixture_pair *[]){&second, &first, &first_rsa}, 3);
    expect_certificate(context, "first.test", "first");
    peer_open(&p, context);
    SSL_set_tlsext_host_name(p.ssl, "first.test");
    SSL_set_max_proto_version(p.ssl, TLS1_2_VERSION);
    SSL_set_cipher_list(p.ssl, "ECDHE-RSA-AES128-GCM-SHA256");
    peer_shake(&p);
    assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(p.ssl))), EVP_PKEY_RSA);
    peer_close(&p);
    tls_context_unref(context);
}

/* --- handshakes --- */

static void both_versions(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    int64_t before12 = metric_value("\nweir_tls_handshakes_total{version=\"1.2\"} ");
    int64_t before13 = metric_value("\nweir_tls_handshakes_total{version=\"1.3\"} ");
    for (int version = TLS1_1_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer p;
        bool done;
        peer_open(&p, context);
        SSL_set_security_level(p.ssl, 0);
        SSL_set_min_proto_version(p.ssl, version);
        SSL_set_max_proto_version(p.ssl, version);
        if (version == TLS1_1_VERSION) {
            assert_int_equal(shake(&p, &done), -EPROTO);
            assert_string_equal(transport_tls_failure(&p.server), "unsupported protocol");
        } else {
            peer_shake(&p);
            expect_echo(&p);
            assert_null(transport_tls_failure(&p.server));
        }
        peer_close(&p);
    }
    assert_int_equal(metric_value("\nweir_tls_handshakes_total{version=\"1.2\"} "), before12 + 1);
    assert_int_equal(metric_value("\nweir_tls_handshakes_total{version=\"1.3\"} "), before13 + 1);
    tls_context_unref(context);
}

static void protocol_by_alpn(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    const struct {
        const char *offered;
        enum transport_alpn chosen;
    } cases[] = {
        {"\x02h2\x08http/1.1", TRANSPORT_ALPN_H2},
        {"\x08http/1.1\x02h2", TRANSPORT_ALPN_H2},
        {"\x08http/1.1", TRANSPORT_ALPN_H1},
        {"\x02h3\x02h2", TRANSPORT_ALPN_H2},
        {NULL, TRANSPORT_ALPN_NONE},
    };
    struct peer p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peer_open(&p, context);
        if (cases[i].offered)
            offer(&p, cases[i].offered);
        peer_shake(&p);
        assert_int_equal(p.server.alpn, cases[i].chosen);
        peer_close(&p);
    }
    bool done;
    peer_open(&p, context);
    offer(&p, "\x03"
              "ftp");
    assert_int_equal(shake(&p, &done), -EPROTO);
    peer_close(&p);
    tls_context_unref(context);
}

static SSL_SESSION *new_session;

static int on_session(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    SSL_SESSION_free(new_session);
    new_session = session;
    return 1;
}

static bool resumes(struct tls_context *context, int version) {
    struct peer p;
    peer_open(&p, context);
    SSL_set_min_proto_version(p.ssl, version);
    SSL_set_max_proto_version(p.ssl, version);
    SSL_set_tlsext_host_name(p.ssl, "first.test");
    if (new_session)
        SSL_set_session(p.ssl, new_session);
    peer_shake(&p);
    expect_echo(&p);
    bool resumed = SSL_session_reused(p.ssl);
    if (version == TLS1_2_VERSION) /* a renewed one isn't told by the callback */
        on_session(p.ssl, SSL_get1_session(p.ssl));
    SSL_set_shutdown(p.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    peer_close(&p);
    return resumed;
}

static void resumed_across_contexts_until_keys_are_forgotten(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_context *context = make_one();
        int64_t before = metric_value("\nweir_tls_resumed_total ");
        assert_false(resumes(context, version));
        assert_true(resumes(context, version));
        tls_context_unref(context); /* a renewal */
        context = make((const struct fixture_pair *[]){&second, &first}, 2);
        assert_true(resumes(context, version));
        tls_tickets_rotate(tickets);
        assert_true(resumes(context, version)); /* and has a ticket of the new key now */
        tls_tickets_rotate(tickets);
        assert_true(resumes(context, version));
        tls_tickets_rotate(tickets);
        tls_tickets_rotate(tickets);
        assert_false(resumes(context, version));
        assert_int_equal(metric_value("\nweir_tls_resumed_total "), before + 4);
        SSL_SESSION_free(new_session);
        new_session = NULL;
        tls_context_unref(context);
    }
}

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
    /* once it reads again, the next send is the smaller one */
    while (p.server.ops->flush(&p.server) == -EAGAIN)
        assert_true(peer_receive(&p));
    send_all(&p, &iov, 1);
    assert_true(p.server.held <= TLS_SEND_MIN + TLS_SEND_MIN / TLS_RECORD_BYTES * 1024);
    peer_close(&p);
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

/* --- with a server --- */

struct node {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    uint16_t port;
    char reason[64]; /* of the last failure; read when the loop has ended */
};

static void on_request(void *ctx, struct http_request *req) {
    (void)ctx;
    struct slice slice = {blob_create_copy("hello", 5), 0, 5};
    http_respond_slices(req, 200, NULL, 0, &slice, 1, false);
    blob_unref(slice.blob);
}

static void on_failure(void *ctx, const char *peer, const char *reason) {
    struct node *node = ctx;
    assert_ptr_equal(strstr(peer, "127.0.0.1:"), peer);
    snprintf(node->reason, sizeof node->reason, "%s", reason);
}

static void *run(void *ctx) {
    loop_run(ctx);
    return NULL;
}

static void node_start(struct node *node, const struct http_limits *limits) {
    struct tls_context *context = make_one();
    *node = (struct node){.loop = loop_create()};
    node->server = http_server_create(node->loop, limits, on_request, NULL);
    use_uring_if_asked(node->server);
    assert_int_equal(http_server_listen_tls(node->server, "127.0.0.1:0", false, &node->port), -EINVAL);
    http_server_set_tls(node->server, context);
    http_server_on_tls_failure(node->server, on_failure, node);
    tls_context_unref(context);
    assert_int_equal(http_server_listen_tls(node->server, "127.0.0.1:0", false, &node->port), 0);
    assert_int_equal(pthread_create(&node->thread, NULL, run, node->loop), 0);
}

static void node_stop(struct node *node) {
    loop_stop(node->loop);
    pthread_join(node->thread, NULL);
    http_server_destroy(node->server);
    loop_destroy(node->loop);
}

static int dial(const struct node *node) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval tv = {WAIT_MS / 1000, 0};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(node->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void client_that_stalls_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    struct node node;
    struct peer p;
    char data[4096];
    limits.header_timeout_ms = 200;
    node_start(&node, &limits);
    int silent = dial(&node), half = dial(&node), unfinished = dial(&node);
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
    node_stop(&node);
}

static void failure_is_told_with_peer_and_reason(void **state) {
    (void)state;
    struct node node;
    char data[512];
    node_start(&node, &http_limits_default);
    int fd = dial(&node);
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    while (recv(fd, data, sizeof data, 0) > 0)
        ;
    close(fd);
    node_stop(&node);
    assert_string_equal(node.reason, "http request");
}

static SSL *dial_tls(const struct node *node, const char *protocols) {
    SSL *ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, dial(node));
    if (protocols)
        SSL_set_alpn_protos(ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

static void hang_up(SSL *ssl) {
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
    hang_up(ssl);
    node_stop(&node);
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
        hang_up(ssl);
    }
    node_stop(&node);
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
        fds[i] = dial(&node);
    for (int i = 0; i < N; i++)
        assert_int_equal(send(fds[i], hello, (size_t)len, 0), len);
    for (int i = 0; i < N; i++) {
        assert_true(recv(fds[i], data, sizeof data, 0) > 100); /* the server's flight */
        close(fds[i]);
    }
    peer_close(&p);
    tls_context_unref(context);
    node_stop(&node);
}

/* --- */

static int set_up(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    transport_tls_metrics_register();
    assert_non_null(mkdtemp(dir));
    fixture_make_pair(dir, "first", "DNS:first.test", 10, 0, "first", &first);
    fixture_make_pair(dir, "second", "DNS:second.test,DNS:also.second.test,DNS:exact.wild.test", 10, 0, "second",
                      &second);
    fixture_make_pair(dir, "wild", "IP:192.0.2.1,DNS:*.wild.test", 10, 0, "wild", &wild);
    fixture_make_pair(dir, "rsa", NULL, 10, 2048, "rsa", &rsa);
    fixture_make_pair(dir, "first-rsa", "DNS:first.test", 10, 2048, "first-rsa", &first_rsa);
    fixture_make_pair(dir, "weak", "DNS:weak.test", 10, 1024, "weak", &weak);
    tickets = tls_tickets_create();
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(client_ctx, on_session);
    big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 24);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    const struct fixture_pair *const pairs[] = {&first, &second, &wild, &rsa, &first_rsa, &weak};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        fixture_remove_pair(pairs[i]);
    rmdir(dir);
    SSL_SESSION_free(new_session);
    SSL_CTX_free(client_ctx);
    tls_tickets_unref(tickets);
    free(big);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(name_and_expiry_are_told),
        cmocka_unit_test(certificate_by_server_name),
        cmocka_unit_test(kind_of_key_by_client),
        cmocka_unit_test(both_versions),
        cmocka_unit_test(protocol_by_alpn),
        cmocka_unit_test(resumed_across_contexts_until_keys_are_forgotten),
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
        cmocka_unit_test(keys_may_be_updated),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(goodbye_in_both_directions),
        cmocka_unit_test(goodbye_follows_what_is_held),
        cmocka_unit_test(end_without_goodbye_is_an_end),
        cmocka_unit_test(held_bytes_go_out_in_any_state),
        cmocka_unit_test(client_that_stalls_is_closed),
        cmocka_unit_test(failure_is_told_with_peer_and_reason),
        cmocka_unit_test(http2_begins_with_the_servers_settings),
        cmocka_unit_test(without_alpn_the_first_bytes_tell),
        cmocka_unit_test(many_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
