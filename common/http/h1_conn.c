/* HTTP/1.x on a connection: receive a head and its body, hand the request to the handler, send what it answers, begin
 * again. One function a state. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/http/internal.h"

/* --- receiving a request: H1_DONE, H1_MORE, or the status to refuse it with --- */

static int take_head(struct http_conn *conn) {
    struct h1_head head;
    if (http_conn_input_len(conn) == 0)
        return H1_MORE;
    int r = h1_head_parse(http_conn_input(conn), http_conn_input_len(conn), &conn->server->limits, &head);
    if (r != H1_DONE)
        return r;
    r = http_request_create(conn, http_conn_input(conn), &head, &conn->req);
    http_conn_consume(conn, head.size);
    if (r == H1_DONE && !conn->req->streams && head.content_length > conn->server->limits.body_bytes_max)
        return 413;
    return r;
}

/* A run of the body: collected, or given on. False: it is too long. */
static bool take_run(struct http_request *req, const uint8_t *data, size_t len) {
    if (len > 0 && req->streams)
        http_request_give_body(req, data, len);
    return len == 0 || req->streams || buf_append(&req->body, data, len) == 0;
}

static int take_length(struct http_request *req) {
    struct http_conn *conn = req->conn;
    size_t len = http_conn_input_len(conn);
    size_t n = len < req->body_remaining ? len : (size_t)req->body_remaining;
    if (!take_run(req, http_conn_input(conn), n))
        return 413;
    http_conn_consume(conn, n);
    req->body_remaining -= n;
    return req->body_remaining == 0 ? H1_DONE : H1_MORE;
}

static int take_chunks(struct http_request *req) {
    struct http_conn *conn = req->conn;
    int r = H1_MORE;
    while (r == H1_MORE && http_conn_input_len(conn) > 0 && !req->held) {
        size_t used, run, run_len;
        const uint8_t *input = http_conn_input(conn);
        r = h1_chunked_next(&req->decoder, input, http_conn_input_len(conn), &used, &run, &run_len);
        if (!take_run(req, input + run, run_len))
            return 413;
        http_conn_consume(conn, used);
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
    if (req->streams)
        return H1_DONE;
    r = req->chunked ? take_chunks(req) : take_length(req);
    if (r == H1_MORE && req->expect_continue && buf_len(&req->body) == 0)
        return say_continue(req);
    return r;
}

static void hand_over(struct http_conn *conn) {
    conn->handled++;
    http_conn_set_state(conn, CONN_HANDLED);
    conn->server->handler(conn->server->ctx, conn->req);
    if (conn->state == CONN_HANDLED && !conn->gathered)
        conn->readable = true; /* look for an end of stream that may have come with the request */
}

/* The body of a request that is with the handler. H1_MORE: not all of it has come, or it is held. */
static int give_body(struct http_request *req) {
    if (!req->streams || req->received || req->held)
        return req->held ? H1_MORE : H1_DONE;
    int r = req->chunked ? take_chunks(req) : take_length(req);
    if (r == H1_MORE && req->expect_continue && !req->responded)
        return say_continue(req);
    if (r != H1_DONE || req->held)
        return r == H1_DONE ? H1_MORE : r;
    req->received = true;
    http_request_give_body(req, NULL, 0);
    return H1_DONE;
}

/* --- sending --- */

/* What follows from how sending went. */
static void settle(struct http_conn *conn, enum http_out_result result, size_t sent) {
    http_count(HTTP_METRIC_BYTES_SENT, (int64_t)sent);
    switch (result) {
    case HTTP_OUT_DONE:
        http_conn_set_state(conn, CONN_DONE);
        break;
    case HTTP_OUT_WAIT:
        if (conn->state != CONN_HANDLED) /* its list has no order: nobody's place need be touched */
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

static void pump(struct http_conn *conn) {
    size_t sent;
    enum http_out_result result = http_out_pump(conn->req->out, &conn->transport, HTTP_TURN_BYTES, &sent);
    settle(conn, result, sent);
}

static void on_sent(void *ctx, size_t offered, ssize_t sent) {
    struct http_conn *conn = ctx;
    size_t taken = sent > 0 ? (size_t)sent : 0;
    enum http_out_result result = http_out_took(conn->req->out, offered, taken);
    conn->gathered = false;
    if (sent < 0 && sent != -EAGAIN)
        result = HTTP_OUT_FAILED;
    if (result != HTTP_OUT_YIELD) {
        settle(conn, result, taken);
        return;
    }
    http_count(HTTP_METRIC_BYTES_SENT, (int64_t)taken);
    pump(conn);
}

/* Has it sent at the end of the loop's turn, together with what others have. */
static void gather(struct http_conn *conn) {
    struct http_server *server = conn->server;
    struct iovec items[SEND_BATCH_ITEMS];
    int count;
    enum http_out_result result = http_out_offer(conn->req->out, items, SEND_BATCH_ITEMS, &count);
    if (result != HTTP_OUT_YIELD) {
        settle(conn, result, 0);
        return;
    }
    conn->gathered = true;
    send_batch_add(server->batch, conn->transport.fd, items, count, on_sent, conn);
}

static void send_response(struct http_conn *conn) {
    if (conn->gathered)
        http_out_more(conn->req->out);
    else if (conn->server->batch && !conn->transport.tls && !conn->req->streams)
        gather(conn);
    else
        pump(conn);
}

static void add_framing(struct http_text *text, int status, enum http_framing framing, int64_t length) {
    if (status == 204 || status == 304)
        return;
    if (length >= 0) {
        http_text_add(text, "Content-Length: ");
        http_text_add_number(text, length);
        http_text_add(text, "\r\n");
    } else if (framing != HTTP_FRAMING_CLOSE) {
        http_text_add(text, "Transfer-Encoding: chunked\r\n");
    }
}

static void add_field(struct http_text *text, const struct http_header *header) {
    size_t name = strlen(header->name), value = strlen(header->value);
    if (name + value + 4 > text->size - text->len) {
        text->bad = true;
        return;
    }
    char *p = text->p + text->len;
    memcpy(p, header->name, name);
    memcpy(p + name, ": ", 2);
    memcpy(p + name + 2, header->value, value);
    memcpy(p + name + 2 + value, "\r\n", 2);
    text->len += name + value + 4;
}

static void write_head(struct http_text *text, struct http_request *req, const struct http_response *response,
                       enum http_framing framing) {
    http_text_add_status(text, req->conn->server, response->status);
    for (size_t i = 0; i < response->header_count; i++)
        add_field(text, &response->headers[i]);
    add_framing(text, response->status, framing, response->length);
    if (req->conn->close)
        http_text_add(text, "Connection: close\r\n");
    else if (req->minor == 0)
        http_text_add(text, "Connection: keep-alive\r\n");
    http_text_add(text, "\r\n");
}

static enum http_framing choose_framing(const struct http_request *req, int64_t length) {
    if (length >= 0)
        return HTTP_FRAMING_LENGTH;
    return req->minor == 1 ? HTTP_FRAMING_CHUNKED : HTTP_FRAMING_CLOSE;
}

static void h1_respond(struct http_request *req, const struct http_response *response, bool has_body) {
    struct http_conn *conn = req->conn;
    char head[HTTP_RESPONSE_HEAD_MAX];
    struct http_text text = {.p = head, .size = sizeof head};
    enum http_framing framing = choose_framing(req, response->length);
    conn->close |= !req->keep_alive || conn->server->draining || (has_body && framing == HTTP_FRAMING_CLOSE);
    write_head(&text, req, response, framing);
    req->out =
        http_out_create(head, text.len, &response->source, has_body ? framing : HTTP_FRAMING_NONE, response->length);
    req->live = has_body && response->source.flags & HTTP_SOURCE_LIVE;
    if (req->live)
        http_conn_set_live(conn, true);
    send_response(conn);
}

static void h1_resume(struct http_request *req) {
    if (req->out && req->conn->state == CONN_HANDLED)
        send_response(req->conn);
}

/* --- the states --- */

static void end_request(struct http_conn *conn) {
    struct http_request *req = conn->req;
    conn->req = NULL;
    http_request_destroy(req);
}

static size_t h1_refuse(struct http_conn *conn, int status, char *out) {
    return http_refusal_write(conn->server, status, out, HTTP_WORDS_MAX);
}

static enum conn_step step_receive(struct http_conn *conn) {
    if (conn->handled >= HTTP_TURN_REQUESTS) {
        loop_io_activate(conn->io, LOOP_READ);
        return CONN_STOP;
    }
    int r = take_request(conn);
    if (r == H1_DONE) {
        hand_over(conn);
        return CONN_AGAIN;
    }
    if (r != H1_MORE) {
        http_conn_refuse(conn, r);
        return CONN_AGAIN;
    }
    int more = conn->readable ? http_conn_read(conn) : 0;
    if (more != 0)
        return more > 0 ? CONN_AGAIN : CONN_CLOSE;
    if (conn->state == CONN_IDLE && (conn->req || http_conn_input_len(conn) > 0))
        http_conn_set_state(conn, CONN_RECEIVING);
    return CONN_STOP;
}

/* While a request is parked, input is its body, if that is wanted as it comes; else it is only watched for the peer's
 * end, and what it pipelines is kept, up to a limit. */
static enum conn_step step_input(struct http_conn *conn) {
    enum conn_state state = conn->state;
    if (conn->gathered)
        return CONN_STOP;
    for (;;) {
        int r = give_body(conn->req);
        if (conn->state != state)
            return CONN_AGAIN; /* it was answered */
        if (r > H1_MORE) {     /* what comes can't be read any more */
            conn->broken = true;
            return CONN_CLOSE;
        }
        if (!conn->readable || http_conn_input_len(conn) >= conn->server->limits.head_bytes_max)
            return CONN_STOP;
        int more = http_conn_read(conn);
        if (more < 0)
            return CONN_CLOSE;
        if (more > 0)
            conn->readable = true;
    }
}

static enum conn_step step_sending(struct http_conn *conn) {
    if (!conn->writable)
        return conn->req->streams ? step_input(conn) : CONN_STOP;
    pump(conn);
    return CONN_AGAIN;
}

static enum conn_step step_done(struct http_conn *conn) {
    if (conn->broken)
        return CONN_CLOSE;
    const struct http_request *req = conn->req;
    bool rest = req->streams && !req->received && (req->chunked || req->body_remaining > 0);
    if (conn->req->live)
        http_conn_set_live(conn, false);
    end_request(conn);
    if (conn->close || conn->server->draining || rest)
        http_conn_linger(conn, NULL, 0);
    else
        http_conn_set_state(conn, CONN_IDLE);
    return CONN_AGAIN;
}

static enum conn_step h1_run(struct http_conn *conn) {
    static enum conn_step (*const steps[])(struct http_conn * conn) = {
        [CONN_IDLE] = step_receive,    [CONN_RECEIVING] = step_receive, [CONN_HANDLED] = step_input,
        [CONN_SENDING] = step_sending, [CONN_DONE] = step_done,
    };
    return steps[conn->state](conn);
}

static void h1_finish(struct http_conn *conn) {
    if (conn->req && conn->req->responded + (conn->state == CONN_HANDLED))
        http_count(HTTP_METRIC_ABORTED, 1);
    end_request(conn);
}

const struct http_protocol http_protocol_h1 = {
    .run = h1_run, .respond = h1_respond, .resume = h1_resume, .refuse = h1_refuse, .finish = h1_finish};
