/* HTTP/2 (RFC 9113) on a connection, by nghttp2: the only file that includes it.
 *
 * A stream is made when its HEADERS begin, becomes a request when they are complete, is handed to the handler when its
 * body is, and closes when both sides have ended it or one has reset it. Closed streams wait in `done` for the
 * connection's turn, where their requests end.
 *
 * Output: nghttp2 decides which frame comes next (by window and priority) and writes it into an `h2_out`, a list of
 * pieces: frame heads and small frames are copied into it, DATA refers to the blobs. One such list at a time goes to
 * the transport in one gathered write; it exists only while there is something to send. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <nghttp2/nghttp2.h>

#include "common/base/loop.h"
#include "common/http/internal.h"

enum {
    STREAMS_MAX = 100,        /* open at a time */
    DATA_FRAME_BYTES = 16375, /* with its head one TLS record of 16384 bytes */
    SLICES_MAX = 32,          /* of a stream: pulled and not sent */
    OUT_PIECES = 128,
    OUT_COPIED_BYTES = 8192,
    OUT_BYTES = 48 * 1024,      /* nghttp2 is asked for more when so much is gone: more would fill a long queue, cold */
    OUT_LIVE_BYTES = 32 * 1024, /* likewise while there is a source of HTTP_SOURCE_LIVE */
    CONNECTION_WINDOW = 1 << 20, /* of uploads: one that is held stops no others */
    SETTINGS_IN_MAX = 32,        /* entries of one SETTINGS frame */
    ACKS_OUT_MAX = 200,          /* of PING and SETTINGS, waiting: beyond, it is a flood */
    ANSWERED_GRACE_US = 100000,  /* from a response's end until the rest of its request's body is refused */
    RESETS_BURST = 1000, /* streams that a client may reset at once, and a second: seeking players reset a lot */
    RESETS_PER_SECOND = 50,
    CONTINUATIONS_MAX = 8,
};

/* Frames on their way out. */
struct h2_out {
    unsigned first, count;
    size_t bytes, copied;
    struct iovec pieces[OUT_PIECES];
    struct blob *blobs[OUT_PIECES]; /* what the piece points into, or NULL: `data` */
    uint8_t data[OUT_COPIED_BYTES];
};

/* What a response has still to send. */
struct h2_body {
    struct http_source source;
    int64_t remaining; /* bytes that the source still owes; -1: not known */
    bool ended;        /* the source has given all */
    unsigned first, count;
    size_t bytes; /* in `slices` */
    struct slice slices[SLICES_MAX];
};

struct h2_stream {
    struct list link; /* in `streams` or `done` of its session */
    struct h2_session *session;
    int32_t id;
    enum http_method method;
    int refusal; /* a status to answer with, whatever the request is */
    unsigned field_count;
    struct http_request *req; /* NULL until its HEADERS are complete */
    struct h2_body *body;
    int64_t moved_us; /* when bytes of the response last went out */
    bool handed, closed, received, answered, waiting;
};

struct h2_session {
    struct http_conn *conn;
    nghttp2_session *ng;
    struct list streams, done;
    /* Of the request whose HEADERS are coming, never two at a time: */
    struct buf fields;   /* name NUL value NUL … */
    struct buf target;   /* ":path" NUL */
    struct h2_out *out;  /* NULL: nothing is on its way */
    uint32_t responding; /* streams with a response that isn't all out */
    uint32_t live;       /* of these with a source of HTTP_SOURCE_LIVE */
    int64_t answered_us; /* when a response last ended before its request's body did */
    bool draining;
};

/* --- output --- */

static struct h2_out *out_of(struct h2_session *session) {
    struct http_server *server = session->conn->server;
    if (!session->out) {
        session->out = server->h2_out_spare ? server->h2_out_spare : malloc(sizeof *session->out);
        server->h2_out_spare = NULL;
        if (!session->out)
            abort();
        session->out->first = session->out->count = 0;
        session->out->bytes = session->out->copied = 0;
    }
    return session->out;
}

static size_t out_max(const struct h2_session *session) {
    return session->live ? OUT_LIVE_BYTES : OUT_BYTES;
}

static bool out_full(const struct h2_session *session, const struct h2_out *out) {
    return out->bytes >= out_max(session) || out->first + out->count + 2 > OUT_PIECES;
}

static void out_push(struct h2_out *out, const void *data, size_t len, struct blob *blob) {
    unsigned i = out->first + out->count++;
    out->pieces[i] = (struct iovec){(void *)data, len};
    out->blobs[i] = blob;
    out->bytes += len;
}

static void out_copy(struct h2_out *out, const uint8_t *data, size_t len) {
    uint8_t *at = out->data + out->copied;
    memcpy(at, data, len);
    out->copied += len;
    unsigned last = out->first + out->count - 1;
    if (out->count && !out->blobs[last] && (uint8_t *)out->pieces[last].iov_base + out->pieces[last].iov_len == at) {
        out->pieces[last].iov_len += len;
        out->bytes += len;
    } else {
        out_push(out, at, len, NULL);
    }
}

static void out_sent(struct h2_out *out, size_t sent) {
    out->bytes -= sent;
    while (sent > 0) {
        struct iovec *piece = &out->pieces[out->first];
        if (sent < piece->iov_len) {
            piece->iov_base = (char *)piece->iov_base + sent;
            piece->iov_len -= sent;
            return;
        }
        sent -= piece->iov_len;
        blob_unref(out->blobs[out->first++]);
        out->count--;
    }
}

static void out_drop(struct h2_session *session) {
    struct h2_out *out = session->out;
    for (; out && out->count; out->count--)
        blob_unref(out->blobs[out->first++]);
    struct http_server *server = session->conn->server;
    if (server->h2_out_spare)
        free(out);
    else
        server->h2_out_spare = out;
    session->out = NULL;
}

/* nghttp2 has a frame, DATA excepted. */
static ssize_t on_send(nghttp2_session *ng, const uint8_t *data, size_t len, int flags, void *ctx) {
    struct h2_out *out = out_of(ctx);
    size_t room = OUT_COPIED_BYTES - out->copied;
    (void)ng, (void)flags;
    if (out_full(ctx, out) || room == 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (len > room)
        len = room;
    out_copy(out, data, len);
    return (ssize_t)len;
}

/* --- bodies --- */

static void count_live(struct h2_session *session, int change) {
    bool before = session->live;
    session->live += (uint32_t)change;
    bool ends = !session->conn->h2; /* and with it the connection, or at least all output */
    if (before != (session->live > 0) && !ends)
        http_conn_set_live(session->conn, !before);
}

static void body_free(struct h2_stream *stream) {
    struct h2_body *body = stream->body;
    if (!body)
        return;
    stream->body = NULL;
    stream->session->responding--;
    if (body->source.flags & HTTP_SOURCE_LIVE)
        count_live(stream->session, -1);
    while (body->count) {
        blob_unref(body->slices[body->first++].blob);
        body->count--;
    }
    if (body->source.finish)
        body->source.finish(body->source.ctx);
    free(body);
}

/* Pulls until there are `want` bytes, or no more for now. False: the source has failed. */
static bool body_fill(struct h2_body *body, size_t want) {
    struct slice pulled[SLICES_MAX];
    if (body->count == 0)
        body->first = 0;
    while (!body->ended && body->bytes < want && body->first + body->count < SLICES_MAX) {
        int room = body->source.flags & HTTP_SOURCE_LIVE ? 1 : (int)(SLICES_MAX - body->first - body->count);
        int n = body->source.next(body->source.ctx, pulled, room);
        if (n == HTTP_SOURCE_WAIT)
            return true;
        if (n < 0 || n > room)
            return false;
        body->ended = n == 0;
        for (int i = 0; i < n; i++) {
            body->slices[body->first + body->count++] = pulled[i];
            if (body->source.flags & HTTP_SOURCE_LENDS)
                blob_ref(pulled[i].blob);
            body->bytes += pulled[i].len;
            body->remaining -= body->remaining < 0 ? 0 : (int64_t)pulled[i].len;
        }
    }
    return true;
}

/* nghttp2 asks how much of the body the next DATA frame has. */
static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *data, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *ctx) {
    struct h2_stream *stream = source->ptr;
    struct h2_body *body = stream->body;
    (void)ng, (void)id, (void)data, (void)ctx;
    int64_t before = body->remaining;
    if (!body_fill(body, len) || (before >= 0 && body->remaining < 0) || (body->ended && body->remaining > 0))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    body->ended |= body->remaining == 0;
    if (body->bytes == 0 && !body->ended) {
        stream->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = body->bytes < len ? body->bytes : len;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY | (body->ended && n == body->bytes ? NGHTTP2_DATA_FLAG_EOF : 0);
    return (ssize_t)n;
}

/* … and to send it. All of it or nothing: a frame that didn't fit comes again. */
static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *ctx) {
    enum { HEAD_BYTES = 9 };
    struct h2_stream *stream = source->ptr;
    struct h2_session *session = ctx;
    struct h2_body *body = stream->body;
    struct h2_out *out = out_of(session);
    unsigned pieces = 1;
    (void)ng, (void)frame;
    for (size_t left = len, i = body->first; left > 0; pieces++, i++)
        left -= body->slices[i].len < left ? body->slices[i].len : left;
    if (out->bytes >= out_max(session) || out->first + out->count + pieces > OUT_PIECES ||
        out->copied + HEAD_BYTES > OUT_COPIED_BYTES)
        return NGHTTP2_ERR_WOULDBLOCK;
    out_copy(out, head, HEAD_BYTES);
    body->bytes -= len;
    while (len > 0) {
        struct slice *slice = &body->slices[body->first];
        size_t n = slice->len < len ? slice->len : len;
        bool whole = n == slice->len;
        out_push(out, slice->blob->data + slice->off, n, whole ? slice->blob : blob_ref(slice->blob));
        slice->off += n;
        slice->len -= n;
        body->first += whole;
        body->count -= whole;
        len -= n;
    }
    stream->moved_us = loop_now_us(session->conn->server->loop);
    return 0;
}

static ssize_t on_read_length(nghttp2_session *ng, uint8_t type, int32_t id, int32_t session_window,
                              int32_t stream_window, uint32_t frame_max, void *ctx) {
    (void)ng, (void)type, (void)id, (void)session_window, (void)stream_window, (void)ctx;
    return frame_max < DATA_FRAME_BYTES ? (ssize_t)frame_max : DATA_FRAME_BYTES;
}

/* --- streams --- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *ctx) {
    struct h2_session *session = ctx;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        abort();
    stream->session = session;
    stream->id = frame->hd.stream_id;
    buf_clear(&session->fields);
    buf_clear(&session->target);
    list_append(&session->streams, &stream->link);
    nghttp2_session_set_stream_user_data(ng, stream->id, stream);
    return 0;
}

static enum http_method find_method(const char *name) {
    static const char *const names[] = {[HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
                                        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};
    for (size_t i = HTTP_GET; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return (enum http_method)i;
    return 0;
}

static void take_field(struct h2_stream *stream, const char *name, size_t name_len, const char *value,
                       size_t value_len) {
    struct h2_session *session = stream->session;
    const struct http_limits *limits = &session->conn->server->limits;
    if (strcmp(name, ":method") == 0) {
        stream->method = find_method(value);
        stream->refusal = stream->method ? stream->refusal : 501;
    } else if (strcmp(name, ":authority") == 0) { /* RFC 9113 §8.3.1: stands for Host */
        take_field(stream, "host", strlen("host"), value, value_len);
    } else if (strcmp(name, ":path") == 0) {
        if (value_len > limits->line_bytes_max)
            stream->refusal = 414;
        else
            buf_append(&session->target, value, value_len + 1);
    } else if (name[0] != ':') {
        if (++stream->field_count > limits->headers_max || buf_append(&session->fields, name, name_len + 1) ||
            buf_append(&session->fields, value, value_len + 1))
            stream->refusal = 431;
    }
}

/* nghttp2 has checked names and values (RFC 9113 §8.2); both end in NUL, which cannot be within. */
static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx) {
    struct h2_stream *stream = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)flags, (void)ctx;
    if (stream && !stream->req && !stream->refusal) /* trailers are dropped */
        take_field(stream, (const char *)name, name_len, (const char *)value, value_len);
    return 0;
}

static void init_head(struct h2_session *session) {
    const struct http_limits *limits = &session->conn->server->limits;
    buf_init(&session->fields, limits->head_bytes_max);
    buf_init(&session->target, (size_t)limits->line_bytes_max + 1);
}

static void finish_head(struct h2_session *session) {
    buf_finish(&session->fields);
    buf_finish(&session->target);
}

static void make_request(struct h2_stream *stream) {
    struct h2_session *session = stream->session;
    struct http_conn *conn = session->conn;
    const char *fields = (const char *)buf_head(&session->fields), *target = (const char *)buf_head(&session->target);
    int r = stream->refusal;
    if (!r)
        r = http_request_create_h2(conn, stream->method, buf_len(&session->target) ? target : "", fields,
                                   buf_len(&session->fields), stream->field_count, &stream->req);
    if (r) {
        stream->refusal = r;
        http_request_create_h2(conn, HTTP_GET, "/", NULL, 0, 0, &stream->req);
    }
    stream->req->stream = stream;
}

/* The request is complete, or refused, or its body is taken as it comes. */
static void hand_over(struct h2_stream *stream) {
    struct http_server *server = stream->session->conn->server;
    if (stream->handed)
        return;
    stream->handed = true;
    if (stream->refusal)
        http_respond_error(stream->req, stream->refusal, NULL, NULL, 0);
    else
        server->handler(server->ctx, stream->req);
}

static void say_continue(struct h2_stream *stream) {
    nghttp2_nv status = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, NGHTTP2_NV_FLAG_NONE};
    if (!stream->req->responded)
        nghttp2_submit_headers(stream->session->ng, NGHTTP2_FLAG_NONE, stream->id, NULL, &status, 1, NULL);
}

/* The body's end, unless what came before it is still held. */
static void give_end(struct h2_stream *stream) {
    struct http_request *req = stream->req;
    if (!req->streams || req->held || req->received || buf_len(&req->body) > 0)
        return;
    req->received = true;
    http_request_give_body(req, NULL, 0);
}

/* What was held goes on, and opens the client's window again. */
static void give_held(struct h2_stream *stream) {
    struct http_request *req = stream->req;
    if (!req || !req->streams || req->held || stream->closed)
        return;
    size_t len = buf_len(&req->body);
    if (len > 0) {
        http_request_give_body(req, buf_head(&req->body), len);
        buf_consume(&req->body, len);
        nghttp2_session_consume(stream->session->ng, stream->id, len);
    }
    if (stream->received)
        give_end(stream);
}

static bool expects_continue(const struct http_request *req) {
    const char *expect = http_request_header(req, "expect");
    return expect && strcmp(expect, "100-continue") == 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *ctx) {
    struct h2_stream *stream = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)ctx;
    if (!stream || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (!stream->req)
        make_request(stream);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        stream->received = true;
    if (stream->received || stream->refusal || stream->req->streams)
        hand_over(stream);
    if (stream->received)
        give_end(stream);
    else if (!stream->refusal && frame->hd.type == NGHTTP2_HEADERS && expects_continue(stream->req))
        say_continue(stream);
    return 0;
}

/* The rest of a body whose response is out isn't wanted (RFC 9113 §8.1). But the client has a moment to read the
 * response first: some that find both in one read forget it over the other (libcurl 7.88). */
static void drop_data(struct h2_session *session, int32_t id, size_t len) {
    nghttp2_session_consume(session->ng, id, len);
    if (loop_now_us(session->conn->server->loop) - session->answered_us >= ANSWERED_GRACE_US)
        nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *ctx) {
    struct h2_stream *stream = nghttp2_session_get_stream_user_data(ng, id);
    (void)flags;
    if (!stream) {
        drop_data(ctx, id, len);
        return 0;
    }
    if (stream->req && stream->req->streams && stream->req->held)
        return buf_append(&stream->req->body, data, len) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    nghttp2_session_consume(ng, id, len);
    if (stream->req && stream->req->streams)
        http_request_give_body(stream->req, data, len);
    if (!stream->req || stream->handed)
        return 0;
    if (buf_append(&stream->req->body, data, len) < 0) {
        stream->refusal = 413;
        hand_over(stream);
    }
    return 0;
}

/* nghttp2 keeps the stream for as long as it isn't closed both ways. */
static void stream_done(struct h2_stream *stream) {
    nghttp2_session_set_stream_user_data(stream->session->ng, stream->id, NULL);
    stream->closed = true;
    list_remove(&stream->link);
    list_append(&stream->session->done, &stream->link);
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error, void *ctx) {
    struct h2_stream *stream = nghttp2_session_get_stream_user_data(ng, id);
    (void)error, (void)ctx;
    if (stream)
        stream_done(stream);
    return 0;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *ctx) {
    struct h2_stream *stream = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    struct h2_session *session = ctx;
    bool body = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!stream || !body || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    stream->answered = true;
    if (!stream->received) {
        session->answered_us = loop_now_us(session->conn->server->loop);
        stream_done(stream);
    }
    return 0;
}

static void stream_destroy(struct h2_stream *stream) {
    if (stream->handed && !stream->answered)
        http_count(HTTP_METRIC_ABORTED, 1);
    list_remove(&stream->link);
    body_free(stream);
    http_request_destroy(stream->req);
    free(stream);
}

static void reap(struct h2_session *session) {
    while (!list_empty(&session->done))
        stream_destroy(list_entry(session->done.next, struct h2_stream, link));
}

/* --- memory --- */

/* nghttp2 keeps a buffer of 16 KB for each session, of which DATA that isn't copied needs a few bytes. Fresh pages cost
 * nothing until they are written to: with them an idle connection takes 12 KB less than from a heap that has been used.
 */
struct block {
    _Alignas(16) size_t size; /* of what follows */
    bool mapped;
};

enum { MAPPED_BYTES = 12 * 1024 };

static void *mem_alloc(size_t size, void *ctx) {
    struct block *block;
    bool mapped = size >= MAPPED_BYTES;
    (void)ctx;
    if (mapped) {
        block = mmap(NULL, sizeof *block + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            return NULL;
    } else if (!(block = malloc(sizeof *block + size))) {
        return NULL;
    }
    block->size = size;
    block->mapped = mapped;
    return block + 1;
}

static void mem_free(void *p, void *ctx) {
    struct block *block = p ? (struct block *)p - 1 : NULL;
    (void)ctx;
    if (block && block->mapped)
        munmap(block, sizeof *block + block->size);
    else
        free(block);
}

static void *mem_calloc(size_t count, size_t size, void *ctx) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *p = mem_alloc(bytes, ctx);
    if (p && bytes < MAPPED_BYTES)
        memset(p, 0, bytes);
    return p;
}

static void *mem_realloc(void *p, size_t size, void *ctx) {
    void *moved = mem_alloc(size, ctx);
    size_t before = p ? ((struct block *)p - 1)->size : 0;
    if (!moved)
        return NULL;
    if (before)
        memcpy(moved, p, before < size ? before : size);
    mem_free(p, ctx);
    return moved;
}

/* --- the session --- */

static nghttp2_option *make_options(void) {
    nghttp2_option *option;
    if (nghttp2_option_new(&option))
        abort();
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_settings(option, SETTINGS_IN_MAX);
    nghttp2_option_set_max_outbound_ack(option, ACKS_OUT_MAX);
    nghttp2_option_set_stream_reset_rate_limit(option, RESETS_BURST, RESETS_PER_SECOND);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    return option;
}

static nghttp2_session_callbacks *make_callbacks(void) {
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks))
        abort();
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, on_read_length);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    return callbacks;
}

static void start(struct http_conn *conn) {
    struct h2_session *session = calloc(1, sizeof *session);
    nghttp2_option *option = make_options();
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_mem mem = {NULL, mem_alloc, mem_free, mem_calloc, mem_realloc};
    if (!session || nghttp2_session_server_new3(&session->ng, callbacks, session, option, &mem))
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    session->conn = conn;
    init_head(session);
    list_init(&session->streams);
    list_init(&session->done);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, conn->server->limits.head_bytes_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}, /* RFC 9218 instead */
    };
    nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
    conn->h2 = session;
}

static void h2_finish(struct http_conn *conn) {
    struct h2_session *session = conn->h2;
    if (!session)
        return;
    conn->h2 = NULL;
    while (!list_empty(&session->streams)) {
        struct h2_stream *stream = list_entry(session->streams.next, struct h2_stream, link);
        stream->closed = true;
        stream_destroy(stream);
    }
    reap(session);
    nghttp2_session_del(session->ng);
    out_drop(session);
    finish_head(session);
    free(session);
}

/* --- sending --- */

/* Has nghttp2 write frames and sends them, at most HTTP_TURN_BYTES. */
static enum http_out_result pump(struct http_conn *conn) {
    struct h2_session *session = conn->h2;
    size_t sent_in_all = 0;
    for (;;) {
        while (session->out && session->out->count) {
            struct h2_out *out = session->out;
            if (sent_in_all >= HTTP_TURN_BYTES)
                return HTTP_OUT_YIELD;
            size_t offered = out->bytes;
            ssize_t sent = conn->transport.ops->sendv(&conn->transport, out->pieces + out->first, (int)out->count);
            if (sent < 0)
                return sent == -EAGAIN ? HTTP_OUT_BLOCKED : HTTP_OUT_FAILED;
            out_sent(out, (size_t)sent);
            sent_in_all += (size_t)sent;
            http_count(HTTP_METRIC_BYTES_SENT, sent);
            if ((size_t)sent < offered)
                return HTTP_OUT_BLOCKED;
        }
        if (session->out)
            session->out->first = session->out->copied = 0;
        if (nghttp2_session_send(session->ng))
            return HTTP_OUT_FAILED;
        if (!session->out || !session->out->count)
            break;
    }
    out_drop(session);
    return conn->transport.ops->flush(&conn->transport) == -EAGAIN ? HTTP_OUT_BLOCKED : HTTP_OUT_DONE;
}

/* When the response that has waited longest for the peer's window last moved; INT64_MAX: none waits. */
static int64_t stalled_since_us(const struct h2_session *session) {
    int64_t since_us = INT64_MAX;
    list_each(it, &session->streams) {
        const struct h2_stream *stream = list_entry(it, struct h2_stream, link);
        if (stream->body && !stream->waiting && stream->moved_us < since_us)
            since_us = stream->moved_us;
    }
    return since_us;
}

static bool any_handed(const struct h2_session *session) {
    list_each(it, &session->streams) if (list_entry(it, struct h2_stream, link)->handed) return true;
    return false;
}

/* The state that follows from what the session waits for. */
static void settle(struct http_conn *conn, enum http_out_result result) {
    struct h2_session *session = conn->h2;
    enum conn_state state = CONN_IDLE;
    int64_t since_us = INT64_MAX;
    if (result == HTTP_OUT_BLOCKED || result == HTTP_OUT_YIELD) {
        conn->writable = false;
        state = CONN_SENDING;
        if (result == HTTP_OUT_YIELD)
            loop_io_activate(conn->io, LOOP_WRITE);
    } else if (session->responding && (since_us = stalled_since_us(session)) != INT64_MAX) {
        state = CONN_SENDING;
    } else if (!list_empty(&session->streams)) {
        state = any_handed(session) ? CONN_HANDLED : CONN_RECEIVING;
    } else { /* idle ones keep no memory that they need not */
        finish_head(session);
        init_head(session);
    }
    bool goes_on = state == conn->state && (state == CONN_RECEIVING || result == HTTP_OUT_BLOCKED);
    if (!list_empty(&session->done))
        http_conn_set_state(conn, CONN_DONE);
    else if (!goes_on)
        http_conn_set_state(conn, state);
    if (since_us != INT64_MAX)
        conn->since_us = since_us;
}

/* After the user has done something outside of the connection's turn. */
static void move_on(struct http_conn *conn) {
    if (conn->running || conn->state == CONN_LINGER)
        return;
    enum http_out_result result = pump(conn);
    if (result == HTTP_OUT_FAILED) {
        conn->broken = true;
        http_conn_set_state(conn, CONN_DONE);
    } else {
        settle(conn, result);
    }
}

enum { NV_MAX = 40 };

static void add_nv_len(nghttp2_nv *nv, size_t *count, const char *name, size_t name_len, const char *value) {
    nv[(*count)++] = (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, name_len, strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void add_nv(nghttp2_nv *nv, size_t *count, const char *name, const char *value) {
    add_nv_len(nv, count, name, strlen(name), value);
}

static void submit(struct h2_stream *stream, const struct http_response *response, bool has_body) {
    char status[HTTP_NUMBER_LEN], length[HTTP_NUMBER_LEN];
    nghttp2_nv nv[NV_MAX];
    char names[HTTP_RESPONSE_HEAD_MAX], *name = names;
    size_t count = 0;
    add_nv(nv, &count, ":status", http_number_text(response->status, status));
    add_nv(nv, &count, "date", http_server_date(stream->session->conn->server));
    for (size_t i = 0; i < response->header_count && count < NV_MAX - 1; i++) {
        char *lower = name; /* RFC 9113 §8.2 */
        for (const char *from = response->headers[i].name; *from; from++)
            *name++ = (char)(*from >= 'A' && *from <= 'Z' ? *from + 32 : *from);
        add_nv_len(nv, &count, lower, (size_t)(name - lower), response->headers[i].value);
    }
    if (response->length >= 0 && response->status != 204 && response->status != 304) {
        add_nv(nv, &count, "content-length", http_number_text(response->length, length));
    }
    if (stream->req->urgency != HTTP_URGENCY_CLIENTS) {
        nghttp2_extpri priority = {.urgency = stream->req->urgency, .inc = 0};
        nghttp2_session_change_extpri_stream_priority(stream->session->ng, stream->id, &priority, 1);
    }
    nghttp2_data_provider provider = {{.ptr = stream}, on_read};
    nghttp2_submit_response(stream->session->ng, stream->id, nv, count, has_body ? &provider : NULL);
}

static void h2_respond(struct http_request *req, const struct http_response *response, bool has_body) {
    struct h2_stream *stream = req->stream;
    struct h2_body *body = malloc(sizeof *body);
    if (!body)
        abort();
    body->source = response->source;
    body->remaining = response->length;
    body->ended = false;
    body->first = body->count = 0;
    body->bytes = 0;
    stream->body = body;
    stream->moved_us = loop_now_us(req->conn->server->loop);
    stream->session->responding++;
    if (body->source.flags & HTTP_SOURCE_LIVE)
        count_live(stream->session, 1);
    has_body = has_body && response->length != 0;
    if (!stream->closed)
        submit(stream, response, has_body);
    if (!has_body || stream->closed)
        body_free(stream);
    move_on(req->conn);
}

static void h2_resume(struct http_request *req) {
    struct h2_stream *stream = req->stream;
    if (!stream->waiting || stream->closed)
        return;
    stream->waiting = false;
    stream->moved_us = loop_now_us(req->conn->server->loop);
    nghttp2_session_resume_data(stream->session->ng, stream->id);
    move_on(req->conn);
}

/* --- turns --- */

static enum conn_step h2_run(struct http_conn *conn) {
    if (conn->broken)
        return CONN_CLOSE;
    if (!conn->h2)
        start(conn);
    struct h2_session *session = conn->h2;
    reap(session);
    list_each(it, &session->streams) give_held(list_entry(it, struct h2_stream, link));
    size_t len = http_conn_input_len(conn);
    if (len > 0) {
        ssize_t used = nghttp2_session_mem_recv(session->ng, http_conn_input(conn), len);
        if (used < 0)
            return CONN_CLOSE;
        http_conn_consume(conn, (size_t)used);
    }
    enum http_out_result result = pump(conn);
    if (result == HTTP_OUT_FAILED)
        return CONN_CLOSE;
    if (!nghttp2_session_want_read(session->ng) && !nghttp2_session_want_write(session->ng) && !session->out) {
        h2_finish(conn);
        http_conn_linger(conn, NULL, 0);
        return CONN_AGAIN;
    }
    if (len > 0 && !list_empty(&session->streams))
        conn->readable = true; /* the client's end may have come with what it said last, and nothing else would tell */
    if (conn->readable) {
        int more = http_conn_read(conn);
        if (more != 0)
            return more > 0 ? CONN_AGAIN : CONN_CLOSE;
    }
    settle(conn, result);
    return conn->state == CONN_DONE ? CONN_AGAIN : CONN_STOP;
}

static void h2_drain(struct http_conn *conn) {
    struct h2_session *session = conn->h2;
    if (!session || session->draining)
        return;
    session->draining = true;
    nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session->ng),
                          NGHTTP2_NO_ERROR, NULL, 0);
    move_on(conn);
}

static size_t h2_refuse(struct http_conn *conn, int status, char *out) {
    (void)out;
    if (!conn->h2)
        return 0;
    http_count_response(status);
    nghttp2_session_terminate_session(conn->h2->ng, status == 408 ? NGHTTP2_NO_ERROR : NGHTTP2_ENHANCE_YOUR_CALM);
    pump(conn);
    return 0;
}

const struct http_protocol http_protocol_h2 = {.run = h2_run,
                                               .respond = h2_respond,
                                               .resume = h2_resume,
                                               .drain = h2_drain,
                                               .refuse = h2_refuse,
                                               .finish = h2_finish};
