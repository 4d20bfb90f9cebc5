/* A connection: its socket, its input, its state and its turns. What comes in is given to the protocol that its first
 * bytes have chosen.
 *
 * Input lives in the server's scratch buffer during a connection's turn, and what is left of it (part of a request, or
 * pipelined ones behind one that is parked) is kept on the heap from one turn to the next, so that an idle connection
 * has no buffer at all.
 *
 * Edges: a short read counts as "no more", which spares a second recv per request. An end of stream that came with
 * those bytes then goes unnoticed; so where it matters, while a request is parked, one more recv is made. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/loop.h"
#include "common/http/internal.h"
#include "common/http/proxy.h"

void http_conn_set_state(struct http_conn *conn, enum conn_state state) {
    list_remove(&conn->link);
    list_append(&conn->server->conns[state], &conn->link);
    conn->state = state;
    conn->since_us = loop_now_us(conn->server->loop);
    if (state == CONN_DONE && !conn->running)
        http_server_defer(conn->server);
}

/* --- input --- */

static void load_input(struct http_conn *conn) {
    conn->server->in_pos = 0;
    conn->server->in_end = conn->tail_len;
    if (conn->tail_len)
        memcpy(conn->server->scratch, conn->tail, conn->tail_len);
}

static void store_input(struct http_conn *conn) {
    size_t len = http_conn_input_len(conn);
    if (len != conn->tail_len) {
        free(conn->tail);
        conn->tail = len ? malloc(len) : NULL;
        if (len && !conn->tail)
            abort();
        conn->tail_len = (uint32_t)len;
    }
    if (len)
        memcpy(conn->tail, http_conn_input(conn), len);
}

int http_conn_read(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (server->in_pos > 0) {
        memmove(server->scratch, http_conn_input(conn), http_conn_input_len(conn));
        server->in_end -= server->in_pos;
        server->in_pos = 0;
    }
    size_t room = HTTP_SCRATCH_BYTES - server->in_end;
    assert(room > 0);
    ssize_t n = conn->transport.ops->recv(&conn->transport, server->scratch + server->in_end, room);
    if (n == -EAGAIN) {
        conn->readable = false;
        return 0;
    }
    if (n <= 0)
        return -1;
    server->in_end += (size_t)n;
    conn->readable = (size_t)n == room;
    return 1;
}

/* --- protocols --- */

/* A client that knows that we speak HTTP/2 begins with this (RFC 9113 §3.4). */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static const struct http_protocol *choose(const struct http_conn *conn) {
    switch ((enum transport_alpn)conn->transport.alpn) {
    case TRANSPORT_ALPN_PENDING:
        return NULL;
    case TRANSPORT_ALPN_H1:
        return &http_protocol_h1;
    case TRANSPORT_ALPN_H2:
        return &http_protocol_h2;
    case TRANSPORT_ALPN_NONE:
        break;
    }
    size_t len = http_conn_input_len(conn), whole = sizeof preface - 1;
    if (len == 0)
        return NULL;
    if (memcmp(http_conn_input(conn), preface, len < whole ? len : whole) != 0)
        return &http_protocol_h1;
    return len < whole ? NULL : &http_protocol_h2;
}

static void tell_failure(const struct http_conn *conn) {
    const struct http_server *server = conn->server;
    const char *reason = transport_tls_failure(&conn->transport);
    char peer[HTTP_PEER_LEN];
    if (!reason || !server->on_tls_failure)
        return;
    http_peer_format(&conn->peer, peer);
    server->on_tls_failure(server->tls_failure_ctx, peer, reason);
}

/* What a proxy says of its client comes first, before TLS, and is taken out of the socket by itself. */
static enum conn_step step_proxy(struct http_conn *conn) {
    uint8_t data[HTTP_PROXY_HEADER_MAX];
    ssize_t n = recv(conn->transport.fd, data, sizeof data, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return CONN_CLOSE;
    int size = n > 0 ? http_proxy_parse(data, (size_t)n, &conn->peer) : 0;
    if (size == 0 && n < (ssize_t)sizeof data) {
        conn->readable = false;
        return CONN_STOP;
    }
    if (size <= 0 || recv(conn->transport.fd, data, (size_t)size, MSG_DONTWAIT) != size) {
        http_count(HTTP_METRIC_REFUSED_PROXY, 1);
        return CONN_CLOSE;
    }
    conn->awaits_proxy = false;
    conn->trusted = http_server_trusts(conn->server, &conn->peer);
    if (http_server_move(conn))
        return CONN_AGAIN;
    if (conn->transport.alpn == TRANSPORT_ALPN_PENDING)
        return CONN_CLOSE;
    http_conn_refuse(conn, 503);
    return CONN_AGAIN;
}

/* The handshake, if there is one, and the first bytes, if they matter. */
static enum conn_step step_choose(struct http_conn *conn) {
    if (conn->awaits_proxy)
        return conn->readable ? step_proxy(conn) : CONN_STOP;
    if (conn->readable && conn->transport.alpn == TRANSPORT_ALPN_PENDING && !http_server_may_handshake(conn->server)) {
        loop_io_activate(conn->io, LOOP_READ);
        return CONN_STOP;
    }
    while (!(conn->protocol = choose(conn))) {
        if (!conn->readable)
            return CONN_STOP;
        if (http_conn_read(conn) < 0) {
            tell_failure(conn);
            return CONN_CLOSE;
        }
    }
    return CONN_AGAIN;
}

void http_conn_refuse(struct http_conn *conn, int status) {
    const struct http_protocol *protocol = conn->protocol ? conn->protocol : &http_protocol_h1;
    char words[HTTP_WORDS_MAX];
    size_t len = protocol->refuse(conn, status, words);
    protocol->finish(conn);
    http_conn_linger(conn, words, len);
}

/* --- ends --- */

/* False: they can't be. Once they are out there is no more output. */
static bool send_words(struct http_conn *conn) {
    struct iovec iov = {conn->words, conn->words_len};
    ssize_t sent = conn->words_len ? conn->transport.ops->sendv(&conn->transport, &iov, 1) : 0;
    if (sent < 0 && sent != -EAGAIN)
        return false;
    if (sent > 0) {
        http_count(HTTP_METRIC_BYTES_SENT, sent);
        conn->words_len -= (uint32_t)sent;
        memmove(conn->words, conn->words + sent, conn->words_len);
    }
    conn->writable = false;
    if (!conn->words_len) {
        free(conn->words);
        conn->words = NULL;
        conn->transport.ops->shutdown(&conn->transport);
    }
    return true;
}

void http_conn_linger(struct http_conn *conn, const char *text, size_t len) {
    conn->words = malloc(len + 1);
    if (!conn->words)
        abort();
    if (len)
        memcpy(conn->words, text, len);
    conn->words_len = (uint32_t)len;
    send_words(conn);
    conn->readable = true;
    http_conn_set_state(conn, CONN_LINGER);
}

static enum conn_step step_linger(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (conn->words && conn->writable && !send_words(conn))
        return CONN_CLOSE;
    while (conn->readable && conn->lingered < HTTP_LINGER_BYTES) {
        server->in_pos = server->in_end = 0;
        int more = http_conn_read(conn);
        if (more < 0)
            return CONN_CLOSE;
        if (more > 0)
            conn->readable = true;
        conn->lingered += (uint32_t)http_conn_input_len(conn);
    }
    server->in_pos = server->in_end = 0;
    return conn->lingered < HTTP_LINGER_BYTES ? CONN_STOP : CONN_CLOSE;
}

/* --- what the kernel holds --- */

static void set_unsent_max(struct http_conn *conn, uint32_t bytes) {
    if (bytes == conn->unsent_max)
        return;
    conn->unsent_max = bytes;
    transport_set_unsent_max(&conn->transport, (int)bytes);
}

void http_conn_set_live(struct http_conn *conn, bool live) {
    set_unsent_max(conn, live ? HTTP_UNSENT_LIVE : HTTP_UNSENT_MIN);
}

/* The socket is writable: half of what it held is out. */
static void fit_unsent_max(struct http_conn *conn) {
    int64_t took_us = loop_now_us(conn->server->loop) - conn->since_us;
    if (conn->state != CONN_SENDING || conn->unsent_max == HTTP_UNSENT_LIVE)
        return;
    if (took_us < HTTP_UNSENT_FAST_US && conn->unsent_max < HTTP_UNSENT_MAX)
        set_unsent_max(conn, 2 * conn->unsent_max);
    else if (took_us > HTTP_UNSENT_SLOW_US)
        set_unsent_max(conn, HTTP_UNSENT_MIN);
}

/* --- turns --- */

static enum conn_step step(struct http_conn *conn) {
    if (conn->state == CONN_LINGER)
        return step_linger(conn);
    return conn->protocol ? conn->protocol->run(conn) : step_choose(conn);
}

/* What the transport holds back goes first, in any state. False: the connection is lost. */
static bool flush_held(struct http_conn *conn) {
    uint32_t before = conn->transport.held;
    if (before == 0 || !conn->writable)
        return true;
    int r = conn->transport.ops->flush(&conn->transport);
    if (conn->transport.held < before && conn->state == CONN_SENDING)
        http_conn_set_state(conn, CONN_SENDING); /* not stalled */
    return r == 0 || r == -EAGAIN;
}

void http_conn_run(struct http_conn *conn) {
    enum conn_step next = flush_held(conn) ? CONN_AGAIN : CONN_CLOSE;
    conn->running = true;
    conn->handled = 0;
    load_input(conn);
    while (next == CONN_AGAIN)
        next = step(conn);
    store_input(conn);
    conn->running = false;
    if (next == CONN_CLOSE)
        http_conn_destroy(conn);
}

static void on_io(void *ctx, int events) {
    struct http_conn *conn = ctx;
    conn->readable |= (events & LOOP_READ) || conn->transport.alpn == TRANSPORT_ALPN_PENDING;
    conn->writable |= (events & LOOP_WRITE) != 0;
    if (events & LOOP_WRITE)
        fit_unsent_max(conn);
    http_conn_run(conn);
}

/* --- life --- */

struct http_conn *http_conn_create(struct http_server *server, int fd, const struct sockaddr_in6 *peer,
                                   struct http_address *address, struct tls_context *tls) {
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        abort();
    conn->server = server;
    conn->address = address;
    conn->peer = *peer;
    conn->unsent_max = HTTP_UNSENT_MIN; /* the listener's */
    list_init(&conn->link);
    conn->trusted = address && server->trusted_count && http_server_trusts(server, peer);
    conn->awaits_proxy = conn->trusted && server->proxy_protocol;
    if (tls)
        transport_init_tls(&conn->transport, fd, tls, server->tls_scratch);
    else
        transport_init_plain(&conn->transport, fd);
    conn->io = loop_io_create(server->loop, fd, on_io, conn);
    http_conn_set_state(conn, CONN_RECEIVING);
    return conn;
}

void http_conn_destroy(struct http_conn *conn) {
    assert(!conn->gathered);
    list_remove(&conn->link);
    loop_io_destroy(conn->io);
    conn->transport.ops->close(&conn->transport, conn->broken);
    http_server_release(conn->server, conn->address);
    if (conn->protocol)
        conn->protocol->finish(conn);
    free(conn->tail);
    free(conn->words);
    free(conn);
}
