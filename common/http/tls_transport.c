/* A handshake is driven by recv until it is complete; from then on recv and sendv carry bytes.
 *
 * OpenSSL writes through a BIO of ours into the loop's scratch room, and every call here that may make it write ends
 * with that room emptied: sent, or kept as the connection's held bytes. Its own socket BIO would cost a write(2) per
 * record. Only it can switch on kTLS, though, so where the kernel has that the handshake runs on it, and ours takes
 * over if nothing came of it. */
#include "common/http/tls_transport.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/base/metrics.h"
#include "common/http/send_batch.h"
#include "common/http/tls.h"

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct tls_scratch *scratch;
    struct transport *transport;
    uint8_t *held; /* ciphertext that the socket hasn't taken: transport->held bytes from `held_off` */
    uint32_t held_off;
    uint32_t send_max; /* TLS_SEND_MIN to TLS_SEND_MAX, by what the socket took last */
    bool ktls;         /* the kernel encrypts */
    bool batched;      /* what is held is on its way, by the batch */
    bool drained;      /* a read came back short in this call: there is no more for now */
    bool ended;        /* the peer's end of stream was read */
    bool failed;       /* OpenSSL must not be asked for anything any more */
    bool shut;         /* the socket's output is to end when nothing is held back any more */
    const char *failure;
};

enum tls_metric {
    TLS_METRIC_HANDSHAKES_12,
    TLS_METRIC_HANDSHAKES_13,
    TLS_METRIC_RESUMED,
    TLS_METRIC_FAILED_PROTOCOL,
    TLS_METRIC_FAILED_ALERT,
    TLS_METRIC_FAILED_ABANDONED,
    TLS_METRIC_KTLS,
    TLS_METRICS
};
#define HANDSHAKES "TLS handshakes completed, by version"
#define FAILED                                                                                                         \
    "TLS handshakes that failed: what came was no TLS of ours, the client objected, or it went or fell silent"
static struct metric metrics[TLS_METRICS] = {
    [TLS_METRIC_HANDSHAKES_12] = {"weir_tls_handshakes_total", "version=\"1.2\"", HANDSHAKES, METRIC_COUNTER, 0},
    [TLS_METRIC_HANDSHAKES_13] = {"weir_tls_handshakes_total", "version=\"1.3\"", HANDSHAKES, METRIC_COUNTER, 0},
    [TLS_METRIC_RESUMED] = {"weir_tls_resumed_total", NULL, "TLS handshakes that resumed a session by its ticket",
                            METRIC_COUNTER, 0},
    [TLS_METRIC_FAILED_PROTOCOL] = {"weir_tls_failures_total", "reason=\"protocol\"", FAILED, METRIC_COUNTER, 0},
    [TLS_METRIC_FAILED_ALERT] = {"weir_tls_failures_total", "reason=\"alert\"", FAILED, METRIC_COUNTER, 0},
    [TLS_METRIC_FAILED_ABANDONED] = {"weir_tls_failures_total", "reason=\"abandoned\"", FAILED, METRIC_COUNTER, 0},
    [TLS_METRIC_KTLS] = {"weir_tls_ktls_total", NULL, "TLS connections that the kernel encrypts", METRIC_COUNTER, 0},
};

static void count(enum tls_metric metric) {
    metric_add(&metrics[metric], 1);
}

void transport_tls_metrics_register(void) {
    metrics_register(metrics, TLS_METRICS);
}

/* --- held bytes --- */

static ssize_t send_bytes(int fd, const void *data, size_t len) {
    ssize_t n;
    do
        n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* So many of the held bytes are with the kernel. */
static void let_go(struct transport *transport, size_t sent) {
    struct tls *tls = transport->tls;
    tls->held_off += (uint32_t)sent;
    transport->held -= (uint32_t)sent;
    if (transport->held)
        return;
    free(tls->held);
    tls->held = NULL;
    tls->held_off = 0;
    if (tls->shut)
        shutdown(transport->fd, SHUT_WR);
}

static int tls_flush(struct transport *transport) {
    struct tls *tls = transport->tls;
    while (transport->held && !tls->batched) {
        ssize_t n = send_bytes(transport->fd, tls->held + tls->held_off, transport->held);
        if (n < 0)
            return (int)n;
        let_go(transport, (size_t)n);
    }
    return 0;
}

static void hold(struct transport *transport, const uint8_t *data, size_t len) {
    struct tls *tls = transport->tls;
    uint8_t *held = malloc(transport->held + len);
    if (!held)
        abort();
    if (transport->held)
        memcpy(held, tls->held + tls->held_off, transport->held);
    memcpy(held + transport->held, data, len);
    free(tls->held);
    tls->held = held;
    tls->held_off = 0;
    transport->held += (uint32_t)len;
}

/* An error shows when the rest is sent, or something read. */
static void on_sent(void *ctx, size_t offered, ssize_t sent) {
    struct transport *transport = ctx;
    transport->tls->batched = false;
    if (sent < (ssize_t)offered)
        transport->tls->send_max = TLS_SEND_MIN;
    if (sent > 0)
        let_go(transport, (size_t)sent);
}

static void hold_for_batch(struct transport *transport, size_t len) {
    struct tls *tls = transport->tls;
    hold(transport, tls->scratch->records, len);
    tls->batched = true;
    struct iovec item = {tls->held, len};
    send_batch_add(tls->scratch->batch, transport->fd, &item, 1, on_sent, transport);
}

/* What was said before must be with the kernel, or be held. */
static void end_batched(struct transport *transport) {
    if (transport->tls->batched)
        send_batch_submit(transport->tls->scratch->batch);
}

static void fit_send_max(struct tls *tls, size_t sent, size_t offered) {
    if (sent < offered)
        tls->send_max = TLS_SEND_MIN;
    else if (offered >= tls->send_max && tls->send_max < TLS_SEND_MAX)
        tls->send_max *= 2;
}

/* Empties the scratch room: 0, or -EAGAIN when some of it is held back now, or another negative errno. */
static int send_scratch(struct transport *transport) {
    struct tls_scratch *scratch = transport->tls->scratch;
    size_t len = scratch->len;
    scratch->len = 0;
    if (len == 0)
        return transport->held && !transport->tls->batched ? -EAGAIN : 0;
    end_batched(transport);
    if (scratch->batch && !transport->held && len <= TLS_BATCH_BYTES && transport->alpn != TRANSPORT_ALPN_PENDING) {
        hold_for_batch(transport, len);
        return 0;
    }
    ssize_t n = transport->held ? -EAGAIN : send_bytes(transport->fd, scratch->records, len);
    if (n < 0 && n != -EAGAIN)
        return (int)n;
    size_t sent = n > 0 ? (size_t)n : 0;
    fit_send_max(transport->tls, sent, len);
    if (sent == len)
        return 0;
    hold(transport, scratch->records + sent, len - sent);
    return -EAGAIN;
}

/* --- OpenSSL's way to the socket --- */

static int on_bio_write(BIO *bio, const char *data, int len) {
    struct tls *tls = BIO_get_data(bio);
    struct tls_scratch *scratch = tls->scratch;
    BIO_clear_retry_flags(bio);
    if (tls->transport->held + scratch->len + (size_t)len > TLS_HELD_MAX) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(scratch->records + scratch->len, data, (size_t)len);
    scratch->len += (size_t)len;
    return len;
}

/* OpenSSL asks for as much as it has room for, so a short read has emptied the socket. */
static int on_bio_read(BIO *bio, char *data, int len) {
    struct tls *tls = BIO_get_data(bio);
    ssize_t n = -1;
    BIO_clear_retry_flags(bio);
    if (!tls->drained) {
        do
            n = recv(tls->transport->fd, data, (size_t)len, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        tls->ended = n == 0;
        tls->drained = n < len;
        if (n < 0 && errno != EAGAIN)
            return -1;
    }
    if (n < 0)
        BIO_set_retry_read(bio);
    return (int)n;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    const struct tls *tls = BIO_get_data(bio);
    (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : command == BIO_CTRL_EOF ? tls->ended : 0;
}

static BIO_METHOD *method;

static void make_method(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir");
    if (!method || !BIO_meth_set_write(method, on_bio_write) || !BIO_meth_set_read(method, on_bio_read) ||
        !BIO_meth_set_ctrl(method, on_bio_ctrl))
        abort();
}

static void use_own_bio(struct tls *tls) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = BIO_new(method);
    if (!bio)
        abort();
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
}

/* --- handshake --- */

/* People type "http://host:8443" and deserve an answer. Whether HTTP is spoken within TLS here isn't known. */
static void answer_plain_http(const struct transport *transport) {
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 38\r\n"
                               "Connection: close\r\n\r\nThis port speaks TLS (as HTTPS does).\n";
    send_bytes(transport->fd, text, sizeof text - 1);
}

/* Somebody who only looks whether the port is open has not. */
static bool begun(const struct tls *tls) {
    return BIO_number_read(SSL_get_rbio(tls->ssl)) > 0;
}

static int fail_handshake(struct transport *transport, int error) {
    struct tls *tls = transport->tls;
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);
    tls->failed = true;
    if (error != SSL_ERROR_SSL) /* the connection was lost; counted by tls_close */
        return -ECONNRESET;
    tls->failure = text ? text : "unknown error";
    if (reason == SSL_R_HTTP_REQUEST)
        answer_plain_http(transport);
    count(reason >= SSL_AD_REASON_OFFSET ? TLS_METRIC_FAILED_ALERT : TLS_METRIC_FAILED_PROTOCOL);
    return -EPROTO;
}

static enum transport_alpn chosen_protocol(const SSL *ssl) {
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == 2 ? TRANSPORT_ALPN_H2 : len ? TRANSPORT_ALPN_H1 : TRANSPORT_ALPN_NONE;
}

static void establish(struct transport *transport) {
    struct tls *tls = transport->tls;
    transport->alpn = chosen_protocol(tls->ssl);
    count(SSL_version(tls->ssl) == TLS1_3_VERSION ? TLS_METRIC_HANDSHAKES_13 : TLS_METRIC_HANDSHAKES_12);
    if (SSL_session_reused(tls->ssl))
        count(TLS_METRIC_RESUMED);
    if (!tls_context_ktls(tls->context))
        return;
    tls->ktls = BIO_get_ktls_send(SSL_get_wbio(tls->ssl));
    if (tls->ktls)
        count(TLS_METRIC_KTLS);
    else
        use_own_bio(tls);
}

static int handshake(struct transport *transport) {
    struct tls *tls = transport->tls;
    for (;;) {
        ERR_clear_error();
        int done = SSL_do_handshake(tls->ssl);
        int error = SSL_get_error(tls->ssl, done);
        bool wrote = tls->scratch->len > 0;
        int r = send_scratch(transport);
        if (r < 0 && r != -EAGAIN)
            return r;
        if (done == 1)
            break;
        if (error == SSL_ERROR_WANT_WRITE && wrote && r == 0)
            continue; /* a flight that is longer than the scratch room */
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return fail_handshake(transport, error);
        return -EAGAIN;
    }
    establish(transport);
    return 0;
}

const char *transport_tls_failure(const struct transport *transport) {
    return transport->tls && transport->alpn == TRANSPORT_ALPN_PENDING ? transport->tls->failure : NULL;
}

/* --- input --- */

/* What a read that gave nothing means. */
static ssize_t classify(struct tls *tls, int error) {
    if (error == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    tls->failed = true; /* SSL_ERROR_WANT_WRITE too: it makes us say more than it reads */
    return -EPROTO;
}

static ssize_t tls_recv(struct transport *transport, void *data, size_t len) {
    struct tls *tls = transport->tls;
    size_t got = 0;
    ssize_t r = 0;
    if (tls->failed)
        return -EPROTO;
    tls->drained = false;
    if (transport->alpn == TRANSPORT_ALPN_PENDING && (r = handshake(transport)) < 0)
        return r;
    ERR_clear_error();
    while (got < len) {
        int n = SSL_read(tls->ssl, (char *)data + got, (int)(len - got < INT_MAX ? len - got : INT_MAX));
        if (n <= 0) {
            r = classify(tls, SSL_get_error(tls->ssl, n));
            break;
        }
        got += (size_t)n;
    }
    int sent = send_scratch(transport);
    if (sent < 0 && sent != -EAGAIN)
        return sent;
    return got > 0 ? (ssize_t)got : r;
}

/* --- output --- */

struct cursor {
    const struct iovec *iov;
    int count;
    size_t off; /* in the first of them */
};

static const uint8_t *cursor_at(const struct cursor *in, size_t *ret_len) {
    *ret_len = in->iov->iov_len - in->off;
    return (const uint8_t *)in->iov->iov_base + in->off;
}

static void cursor_advance(struct cursor *in, size_t len) {
    in->off += len;
    while (in->count > 0 && in->off == in->iov->iov_len) {
        in->iov++;
        in->count--;
        in->off = 0;
    }
}

/* The next record's plaintext: in place if it lies in one piece, else copied together. */
static const uint8_t *next_record(struct cursor *in, uint8_t *room, size_t *ret_len) {
    size_t len, filled = 0;
    const uint8_t *data = cursor_at(in, &len);
    if (len >= TLS_RECORD_BYTES || in->count == 1) {
        *ret_len = len < TLS_RECORD_BYTES ? len : TLS_RECORD_BYTES;
        cursor_advance(in, *ret_len);
        return data;
    }
    while (in->count > 0 && filled < TLS_RECORD_BYTES) {
        data = cursor_at(in, &len);
        if (len > TLS_RECORD_BYTES - filled)
            len = TLS_RECORD_BYTES - filled;
        memcpy(room + filled, data, len);
        filled += len;
        cursor_advance(in, len);
    }
    *ret_len = filled;
    return room;
}

/* One record, or more if the peer wants them shorter (RFC 6066 §4). False: TLS is broken. */
static bool encrypt(struct tls *tls, const uint8_t *data, size_t len) {
    while (len > 0) {
        ERR_clear_error();
        int n = SSL_write(tls->ssl, data, (int)len);
        if (n <= 0) {
            tls->failed = true;
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* Fills the scratch room: the plaintext bytes that went into it, or negative errno. */
static ssize_t encrypt_some(struct tls *tls, struct cursor *in) {
    size_t taken = 0, len;
    while (in->count > 0 && taken + TLS_RECORD_BYTES <= tls->send_max &&
           tls->scratch->len + TLS_RECORD_ROOM <= sizeof tls->scratch->records) {
        const uint8_t *data = next_record(in, tls->scratch->plain, &len);
        if (!encrypt(tls, data, len)) {
            tls->scratch->len = 0;
            return -EPROTO;
        }
        taken += len;
    }
    return (ssize_t)taken;
}

static ssize_t tls_sendv(struct transport *transport, const struct iovec *iov, int count) {
    struct tls *tls = transport->tls;
    struct cursor in = {iov, count, 0};
    ssize_t taken = 0;
    if (transport->alpn == TRANSPORT_ALPN_PENDING || tls->failed)
        return -ENOTCONN;
    if (tls->ktls)
        return transport_sendv_plain(transport, iov, count);
    end_batched(transport); /* what follows needs all of the room */
    int r = tls_flush(transport);
    cursor_advance(&in, 0); /* past empty pieces */
    while (r == 0 && in.count > 0) {
        ssize_t n = encrypt_some(tls, &in);
        if (n < 0)
            return n;
        taken += n;
        r = send_scratch(transport);
    }
    return r < 0 && (taken == 0 || r != -EAGAIN) ? r : taken;
}

/* --- ends --- */

static void say_goodbye(struct transport *transport) {
    struct tls *tls = transport->tls;
    if (transport->alpn == TRANSPORT_ALPN_PENDING || tls->failed)
        return;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    send_scratch(transport);
}

static void tls_shutdown(struct transport *transport) {
    say_goodbye(transport);
    end_batched(transport);
    transport->tls->shut = true;
    if (transport->held)
        tls_flush(transport);
    else
        shutdown(transport->fd, SHUT_WR);
}

static void tls_close(struct transport *transport, bool abort) {
    struct tls *tls = transport->tls;
    if (transport->alpn == TRANSPORT_ALPN_PENDING && begun(tls) && !tls->failure)
        count(TLS_METRIC_FAILED_ABANDONED);
    if (!abort && !tls->shut)
        say_goodbye(transport);
    end_batched(transport);
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    free(tls->held);
    free(tls);
    transport_close_plain(transport, abort);
}

void transport_init_tls(struct transport *transport, int fd, struct tls_context *context, struct tls_scratch *scratch) {
    static const struct transport_ops ops = {tls_recv, tls_sendv, tls_flush, tls_shutdown, tls_close};
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        abort();
    *tls = (struct tls){.ssl = tls_context_accept(context),
                        .context = tls_context_ref(context),
                        .scratch = scratch,
                        .send_max = TLS_SEND_FIRST,
                        .transport = transport};
    *transport = (struct transport){.ops = &ops, .fd = fd, .alpn = TRANSPORT_ALPN_PENDING, .tls = tls};
    if (!tls_context_ktls(context))
        use_own_bio(tls);
    else if (!SSL_set_fd(tls->ssl, fd))
        abort();
}
