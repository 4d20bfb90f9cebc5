/* A connection's life: receive a head and its body, hand the request to the handler, send what it answers, begin again.
 * http_conn_run goes from state to state as long as there is something to do; one function a state.
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

enum step {
    STEP_AGAIN, /* the state may have changed: go on */
    STEP_STOP,  /* nothing more can be done in this turn */
    STEP_CLOSE, /* the connection is over */
};

void http_conn_set_state(struct http_conn *conn, enum conn_state state) {
    list_remove(&conn->link);
    list_append(&conn->server->conns[state], &conn->link);
    conn->state = state;
    conn->since_us = loop_now_us(conn->server->loop);
    if (state == CONN_DONE && !conn->running)
        http_server_defer(conn->server);
}

/* --- input --- */

static size_t input_len(const struct http_conn *conn) {
    return conn->server->in_end - conn->server->in_pos;
}

static uint8_t *input(const struct http_conn *conn) {
    return conn->server->scratch + conn->server->in_pos;
}

static void load_input(struct http_conn *conn) {
    conn->server->in_pos = 0;
    conn->server->in_end = conn->tail_len;
    if (conn->tail_len)
        memcpy(conn->server->scratch, conn->tail, conn->tail_len);
}

static void store_input(struct http_conn *conn) {
    size_t len = input_len(conn);
    if (len != conn->tail_len) {
        free(conn->tail);
        conn->tail = len ? malloc(len) : NULL;
        if (len && !conn->tail)
            abort();
        conn->tail_len = (uint32_t)len;
    }
    if (len)
        memcpy(conn->tail, input(conn), len);
}

/* 1: bytes have come; 0: none for now; -1: the peer has closed, or is lost. */
static int read_more(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (server->in_pos > 0) {
        memmove(server->scratch, input(conn), input_len(conn));
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

/* --- receiving a request: H1_DONE, H1_MORE, or the status to refuse it with --- */

static int take_head(struct http_conn *conn) {
    struct h1_head head;
    if (input_len(conn) == 0)
        return H1_MORE;
    int r = h1_head_parse(input(conn), input_len(conn), &conn->server->limits, &head);
    if (r != H1_DONE)
        return r;
    r = http_request_create(conn, input(conn), &head, &conn->req);
    conn->server->in_pos += head.size;
    return r;
}

static int take_length(struct http_request *req) {
    struct http_conn *conn = req->conn;
    size_t n = input_len(conn) < req->body_remaining ? input_len(conn) : (size_t)req->body_remaining;
    if (n > 0 && buf_append(&req->body, input(conn), n) < 0)
        return 413;
    conn->server->in_pos += n;
    req->body_remaining -= n;
    return req->body_remaining == 0 ? H1_DONE : H1_MORE;
}

static int take_chunks(struct http_request *req) {
    struct http_conn *conn = req->conn;
    int r = H1_MORE;
    while (r == H1_MORE && input_len(conn) > 0) {
        size_t used, run, run_len;
        r = h1_chunked_next(&req->decoder, input(conn), input_len(conn), &used, &run, &run_len);
        if (run_len > 0 && buf_append(&req->body, input(conn) + run, run_len) < 0)
            return 413;
        conn->server->in_pos += used;
    }
    return r;
}

/* The client waits for our word before it sends the body (RFC 9110 §10.1.1). A socket too full for these few bytes
 * belongs to a client that doesn't read. */
static int say_continue(struct http_request *req) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct transport *transport = &req->conn->transport;
    struct iovec iov = {(void *)text, sizeof text - 1};
    req->expect_continue = false;
    if (transport->ops->sendv(transport, &iov, 1) != (ssize_t)iov.iov_len)
        return 408;
    http_count(HTTP_METRIC_BYTES_SENT, (int64_t)iov.iov_len);
    return H1_MORE;
}

static int take_request(struct http_conn *conn) {
    int r = conn->req ? H1_DONE : take_head(conn);
    if (r != H1_DONE)
        return r;
    struct http_request *req = conn->req;
    r = req->chunked ? take_chunks(req) : take_length(req);
    if (r == H1_MORE && req->expect_continue && buf_len(&req->body) == 0)
        return say_continue(req);
    return r;
}

static void hand_over(struct http_conn *conn) {
    conn->handled++;
    http_conn_set_state(conn, CONN_HANDLED);
    conn->server->handler(conn->server->ctx, conn->req);
    if (conn->state == CONN_HANDLED)
        conn->readable = true; /* look for an end of stream that may have come with the request */
}

void http_conn_refuse(struct http_conn *conn, int status) {
    char text[1024];
    size_t len = http_refusal_write(conn->server, status, text, sizeof text);
    struct iovec iov = {text, len};
    ssize_t sent = conn->transport.ops->sendv(&conn->transport, &iov, 1);
    if (sent > 0)
        http_count(HTTP_METRIC_BYTES_SENT, sent);
    http_request_destroy(conn->req);
    conn->req = NULL;
    conn->transport.ops->shutdown(&conn->transport);
    conn->readable = true;
    http_conn_set_state(conn, CONN_LINGER);
}

/* --- the states --- */

static enum step step_receive(struct http_conn *conn) {
    if (conn->handled >= HTTP_TURN_REQUESTS) {
        loop_io_activate(conn->io, LOOP_READ);
        return STEP_STOP;
    }
    int r = take_request(conn);
    if (r == H1_DONE) {
        hand_over(conn);
        return STEP_AGAIN;
    }
    if (r != H1_MORE) {
        http_conn_refuse(conn, r);
        return STEP_AGAIN;
    }
    int more = conn->readable ? read_more(conn) : 0;
    if (more != 0)
        return more > 0 ? STEP_AGAIN : STEP_CLOSE;
    if (conn->state == CONN_IDLE && (conn->req || input_len(conn) > 0))
        http_conn_set_state(conn, CONN_RECEIVING);
    return STEP_STOP;
}

/* While a request is parked, input is only watched for the peer's end; what it pipelines is kept, up to a limit. */
static enum step step_handled(struct http_conn *conn) {
    while (conn->readable && input_len(conn) < conn->server->limits.head_bytes_max) {
        int more = read_more(conn);
        if (more < 0)
            return STEP_CLOSE;
        if (more > 0)
            conn->readable = true;
    }
    return STEP_STOP;
}

static enum step step_sending(struct http_conn *conn) {
    if (!conn->writable)
        return STEP_STOP;
    http_conn_pump(conn);
    return STEP_AGAIN;
}

static enum step step_done(struct http_conn *conn) {
    struct http_request *req = conn->req;
    if (conn->broken)
        return STEP_CLOSE;
    conn->req = NULL;
    http_request_destroy(req);
    if (!conn->close && !conn->server->draining) {
        http_conn_set_state(conn, CONN_IDLE);
        return STEP_AGAIN;
    }
    conn->transport.ops->shutdown(&conn->transport);
    conn->readable = true;
    http_conn_set_state(conn, CONN_LINGER);
    return STEP_AGAIN;
}

static enum step step_linger(struct http_conn *conn) {
    struct http_server *server = conn->server;
    while (conn->readable && conn->lingered < HTTP_LINGER_BYTES) {
        server->in_pos = server->in_end = 0;
        int more = read_more(conn);
        if (more < 0)
            return STEP_CLOSE;
        if (more > 0)
            conn->readable = true;
        conn->lingered += (uint32_t)input_len(conn);
    }
    server->in_pos = server->in_end = 0;
    return conn->lingered < HTTP_LINGER_BYTES ? STEP_STOP : STEP_CLOSE;
}

void http_conn_run(struct http_conn *conn) {
    static enum step (*const steps[CONN_STATES])(struct http_conn * conn) = {
        [CONN_IDLE] = step_receive,    [CONN_RECEIVING] = step_receive, [CONN_HANDLED] = step_handled,
        [CONN_SENDING] = step_sending, [CONN_DONE] = step_done,         [CONN_LINGER] = step_linger,
    };
    enum step step;
    conn->running = true;
    conn->handled = 0;
    load_input(conn);
    do
        step = steps[conn->state](conn);
    while (step == STEP_AGAIN);
    store_input(conn);
    conn->running = false;
    if (step == STEP_CLOSE)
        http_conn_destroy(conn);
}

void http_conn_pump(struct http_conn *conn) {
    size_t sent;
    enum http_out_result result = http_out_pump(conn->req->out, &conn->transport, HTTP_TURN_BYTES, &sent);
    http_count(HTTP_METRIC_BYTES_SENT, (int64_t)sent);
    switch (result) {
    case HTTP_OUT_DONE:
        http_conn_set_state(conn, CONN_DONE);
        break;
    case HTTP_OUT_WAIT:
        http_conn_set_state(conn, CONN_HANDLED);
        break;
    case HTTP_OUT_BLOCKED:
        conn->writable = false;
        if (sent > 0 || conn->state != CONN_SENDING)
            http_conn_set_state(conn, CONN_SENDING);
        break;
    case HTTP_OUT_YIELD:
        conn->writable = false;
        http_conn_set_state(conn, CONN_SENDING);
        loop_io_activate(conn->io, LOOP_WRITE); /* the socket isn't full, so no edge will come */
        break;
    case HTTP_OUT_FAILED:
        conn->broken = true;
        http_conn_set_state(conn, CONN_DONE);
        break;
    }
}

static void on_io(void *ctx, int events) {
    struct http_conn *conn = ctx;
    conn->readable |= (events & LOOP_READ) != 0;
    conn->writable |= (events & LOOP_WRITE) != 0;
    http_conn_run(conn);
}

struct http_conn *http_conn_create(struct http_server *server, int fd, const struct sockaddr_in6 *peer,
                                   struct http_address *address) {
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        abort();
    conn->server = server;
    conn->address = address;
    conn->peer = *peer;
    list_init(&conn->link);
    transport_init_plain(&conn->transport, fd);
    conn->io = loop_io_create(server->loop, fd, on_io, conn);
    http_conn_set_state(conn, CONN_RECEIVING);
    return conn;
}

void http_conn_destroy(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (conn->req && conn->state != CONN_RECEIVING)
        http_count(HTTP_METRIC_ABORTED, 1);
    list_remove(&conn->link);
    loop_io_destroy(conn->io);
    conn->transport.ops->close(&conn->transport, conn->broken);
    http_server_release(server, conn->address);
    http_request_destroy(conn->req);
    free(conn->tail);
    free(conn);
}
