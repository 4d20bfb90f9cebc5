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

#include "common/base/loop.h"
#include "common/http/internal.h"

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

/* The handshake, if there is one, and the first bytes, if they matter. */
static enum conn_step step_choose(struct http_conn *conn) {
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
    protocol->refuse(conn, status);
    protocol->finish(conn);
    http_conn_linger(conn);
}

/* --- ends --- */

void http_conn_linger(struct http_conn *conn) {
    conn->transport.ops->shutdown(&conn->transport);
    conn->readable = true;
    http_conn_set_state(conn, CONN_LINGER);
}

static enum conn_step step_linger(struct http_conn *conn) {
    struct http_server *server = conn->server;
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
    list_init(&conn->link);
    if (tls)
        transport_init_tls(&conn->transport, fd, tls, server->tls_scratch);
    else
        transport_init_plain(&conn->transport, fd);
    conn->io = loop_io_create(server->loop, fd, on_io, conn);
    http_conn_set_state(conn, CONN_RECEIVING);
    return conn;
}

void http_conn_destroy(struct http_conn *conn) {
    list_remove(&conn->link);
    loop_io_destroy(conn->io);
    conn->transport.ops->close(&conn->transport, conn->broken);
    http_server_release(conn->server, conn->address);
    if (conn->protocol)
        conn->protocol->finish(conn);
    free(conn->tail);
    free(conn);
}
