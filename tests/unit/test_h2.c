#include "common/http/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tests/unit/loopback.h"
#include "tests/unit/uring.h"

/* A server and a client, nghttp2's own, in one thread: `until` lets both have their turns until something is so. */

enum { STREAMS = 256, BIG = 300000, DEADLINE_S = 10, PARKED_MAX = 8 };

struct stream {
    int status;
    char header[64]; /* "x-handler" */
    int64_t length;
    uint8_t *body;
    size_t body_len;
    bool closed;
    uint32_t error;
    int order; /* of its first DATA among all streams' */
};

struct world {
    struct loop *loop;
    struct loop_timer *turn;
    struct http_server *server;
    uint16_t port;
    /* the handler's */
    struct blob *hello, *big;
    struct http_request *parked[PARKED_MAX], *streaming, *uploading;
    size_t uploaded, hold_at;
    int parked_count, closes, finishes, pulls, turns_given;
    /* the client's */
    int fd;
    nghttp2_session *ng;
    bool ended, goaway, no_reading;
    uint32_t goaway_error;
    int data_count;
    struct stream streams[STREAMS];
};

/* --- the handler --- */

static void on_close(void *ctx) {
    ((struct world *)ctx)->closes++;
}

static void on_finish(void *ctx) {
    ((struct world *)ctx)->finishes++;
}

/* Gives what it has been given turns for, then waits; ends after five. */
static int next_given(void *ctx, struct slice *slices, int max) {
    struct world *w = ctx;
    (void)max;
    if (w->pulls == 5)
        return 0;
    if (w->pulls == w->turns_given)
        return HTTP_SOURCE_WAIT;
    w->pulls++;
    slices[0] = (struct slice){blob_ref(w->hello), 0, w->hello->len};
    return 1;
}

static int next_endless(void *ctx, struct slice *slices, int max) {
    struct world *w = ctx;
    (void)max;
    w->pulls++;
    slices[0] = (struct slice){blob_ref(w->big), 0, 10000};
    return 1;
}

static int next_broken(void *ctx, struct slice *slices, int max) {
    (void)ctx, (void)slices, (void)max;
    return HTTP_SOURCE_ERROR;
}

static void answer_source(struct world *w, struct http_request *req, int (*next)(void *, struct slice *, int)) {
    if (next == next_given)
        w->streaming = req;
    http_respond(req, &(struct http_response){.status = 200, .length = -1, .source = {next, on_finish, w}});
}

static void answer_text(struct http_request *req, const char *text) {
    struct slice slice = {blob_create_copy(text, strlen(text)), 0, strlen(text)};
    struct http_header header = {"X-Handler", "yes"};
    http_respond_slices(req, 200, &header, 1, &slice, 1, false);
    blob_unref(slice.blob);
}

static void answer_facts(struct http_request *req) {
    char text[512];
    size_t body_len;
    const uint8_t *body = http_request_body(req, &body_len);
    const char *host = http_request_header(req, "host"), *agent = http_request_header(req, "user-agent");
    snprintf(text, sizeof text, "%d %s ? %s agent %s host %s body %.*s", http_request_method(req),
             http_request_path(req), http_request_query(req), agent ? agent : "", host ? host : "", (int)body_len,
             (const char *)body);
    answer_text(req, text);
}

static bool streams_upload(void *ctx, const struct http_request *req) {
    (void)ctx;
    return strcmp(http_request_path(req), "/upload") == 0;
}

static bool on_body(void *ctx, const uint8_t *data, size_t len) {
    struct world *w = ctx;
    (void)data;
    w->uploaded += len;
    if (len == 0)
        answer_text(w->uploading, "uploaded");
    return !w->hold_at || w->uploaded < w->hold_at;
}

static void on_request(void *ctx, struct http_request *req) {
    struct world *w = ctx;
    const char *path = http_request_path(req);
    struct http_header etag = {"ETag", "\"v1\""};
    struct slice hello = {w->hello, 0, w->hello->len}, big = {w->big, 0, BIG};
    http_request_on_close(req, on_close, w);
    if (!strcmp(path, "/hello"))
        http_respond_slices(req, 200, &etag, 1, &hello, 1, true);
    else if (!strcmp(path, "/big"))
        http_respond_slices(req, 200, &etag, 1, &big, 1, true);
    else if (!strcmp(path, "/park") && w->parked_count < PARKED_MAX)
        w->parked[w->parked_count++] = req;
    else if (!strcmp(path, "/never"))
        return;
    else if (!strcmp(path, "/upload")) {
        w->uploading = req;
        http_request_on_body(req, on_body, w);
    } else if (!strcmp(path, "/given"))
        answer_source(w, req, next_given);
    else if (!strcmp(path, "/endless"))
        answer_source(w, req, next_endless);
    else if (!strcmp(path, "/broken"))
        answer_source(w, req, next_broken);
    else if (!strcmp(path, "/urgent")) {
        http_request_set_urgency(req, 1);
        http_respond_slices(req, 200, NULL, 0, &big, 1, false);
    } else if (!strcmp(path, "/later")) {
        http_request_set_urgency(req, 5);
        http_respond_slices(req, 200, NULL, 0, &big, 1, false);
    } else
        answer_facts(req);
}

/* --- the client --- */

static struct stream *stream_of(struct world *w, int32_t id) {
    return &w->streams[(id / 2) % STREAMS];
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx) {
    struct stream *s = stream_of(ctx, frame->hd.stream_id);
    (void)ng, (void)name_len, (void)flags;
    if (!strcmp((const char *)name, ":status"))
        s->status = atoi((const char *)value);
    else if (!strcmp((const char *)name, "x-handler"))
        snprintf(s->header, sizeof s->header, "%.*s", (int)value_len, (const char *)value);
    else if (!strcmp((const char *)name, "content-length"))
        s->length = atoll((const char *)value);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *ctx) {
    struct world *w = ctx;
    struct stream *s = stream_of(w, id);
    (void)ng, (void)flags;
    if (!s->body_len && len)
        s->order = ++w->data_count;
    s->body = realloc(s->body, s->body_len + len + 1);
    memcpy(s->body + s->body_len, data, len);
    s->body_len += len;
    s->body[s->body_len] = '\0';
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error, void *ctx) {
    struct stream *s = stream_of(ctx, id);
    (void)ng;
    s->closed = true;
    s->error = error;
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *ctx) {
    struct world *w = ctx;
    (void)ng;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        w->goaway = true;
        w->goaway_error = frame->goaway.error_code;
    }
    return 0;
}

static void make_client(struct world *w, bool manual_windows) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, manual_windows);
    nghttp2_option_set_peer_max_concurrent_streams(option, STREAMS);
    nghttp2_option_set_max_outbound_ack(option, 100000);
    nghttp2_session_client_new2(&w->ng, callbacks, w, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(w->ng, NGHTTP2_FLAG_NONE, NULL, 0);
}

static void on_turn(void *ctx) {
    loop_stop(((struct world *)ctx)->loop);
}

static void server_turn(struct world *w) {
    loop_timer_set(w->turn, 1000);
    loop_run(w->loop);
}

static void client_turn(struct world *w) {
    uint8_t data[65536];
    const uint8_t *out;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(w->ng, &out)) > 0)
        for (ssize_t sent = 0; sent < n;) {
            ssize_t r = send(w->fd, out + sent, (size_t)(n - sent), MSG_NOSIGNAL);
            if (r < 0 && errno != EAGAIN) {
                w->ended = true;
                return;
            }
            if (r < 0)
                server_turn(w);
            sent += r > 0 ? r : 0;
        }
    while (!w->no_reading && (n = recv(w->fd, data, sizeof data, 0)) != -1) {
        if (n == 0)
            w->ended = true;
        if (n <= 0 || nghttp2_session_mem_recv(w->ng, data, (size_t)n) < 0)
            return;
    }
    w->ended |= !w->no_reading && n == -1 && errno != EAGAIN;
}

#define until(w, condition)                                                                                            \
    do {                                                                                                               \
        for (int64_t end_us = clock_mono_us() + DEADLINE_S * INT64_C(1000000); !(condition);) {                        \
            assert_true(clock_mono_us() < end_us);                                                                     \
            client_turn(w);                                                                                            \
            server_turn(w);                                                                                            \
        }                                                                                                              \
    } while (0)

static int32_t ask_with(struct world *w, const char *method, const char *path, const char *name, const char *value,
                        const nghttp2_data_provider *body) {
    nghttp2_nv nv[] = {{(uint8_t *)":method", (uint8_t *)method, 7, strlen(method), 0},
                       {(uint8_t *)":scheme", (uint8_t *)"http", 7, 4, 0},
                       {(uint8_t *)":authority", (uint8_t *)"localhost", 10, 9, 0},
                       {(uint8_t *)":path", (uint8_t *)path, 5, strlen(path), 0},
                       {(uint8_t *)name, (uint8_t *)value, name ? strlen(name) : 0, name ? strlen(value) : 0, 0}};
    int32_t id = nghttp2_submit_request(w->ng, NULL, nv, name ? 5 : 4, body, NULL);
    assert_true(id > 0);
    struct stream *s = stream_of(w, id);
    free(s->body);
    *s = (struct stream){.length = -1};
    return id;
}

static int32_t ask(struct world *w, const char *path) {
    return ask_with(w, "GET", path, NULL, NULL, NULL);
}

static struct stream *get(struct world *w, const char *path) {
    struct stream *s = stream_of(w, ask(w, path));
    until(w, s->closed);
    return s;
}

/* --- life --- */

static struct world *begin_with(const struct http_limits *limits, bool manual_windows, int receive_buffer) {
    struct world *w = calloc(1, sizeof *w);
    w->loop = loop_create();
    w->turn = loop_timer_create(w->loop, on_turn, w);
    w->server = http_server_create(w->loop, limits, on_request, w);
    use_uring_if_asked(w->server);
    assert_int_equal(http_server_listen(w->server, "127.0.0.1:0", false, &w->port), 0);
    w->hello = blob_create_copy("hello", 5);
    w->big = blob_create(BIG);
    for (size_t i = 0; i < BIG; i++)
        w->big->data[i] = (uint8_t)(i * 7 + i / 251);
    w->fd = connect_to(w->port, receive_buffer);
    fcntl(w->fd, F_SETFL, O_NONBLOCK);
    make_client(w, manual_windows);
    return w;
}

static struct world *begin(void) {
    return begin_with(&http_limits_default, false, 0);
}

static void end(struct world *w) {
    http_server_destroy(w->server);
    loop_timer_destroy(w->turn);
    loop_destroy(w->loop);
    nghttp2_session_del(w->ng);
    close(w->fd);
    for (int i = 0; i < STREAMS; i++)
        free(w->streams[i].body);
    assert_int_equal(w->hello->refs, 1); /* nothing holds on to what was sent */
    assert_int_equal(w->big->refs, 1);
    blob_unref(w->hello);
    blob_unref(w->big);
    free(w);
}

/* --- requests and answers --- */

static void request_facts_are_those_of_http_1(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = stream_of(w, ask_with(w, "GET", "/a%20b/c?x=1&y", "user-agent", "test", NULL));
    until(w, s->closed);
    assert_int_equal(s->status, 200);
    assert_string_equal(s->body, "1 /a b/c ? x=1&y agent test host localhost body ");
    assert_string_equal(s->header, "yes");
    assert_int_equal(s->length, s->body_len);
    end(w);
}

static void head_ranges_and_conditions(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = stream_of(w, ask_with(w, "HEAD", "/big", NULL, NULL, NULL));
    until(w, s->closed);
    assert_true(s->status == 200 && s->length == BIG && s->body_len == 0);
    s = stream_of(w, ask_with(w, "GET", "/big", "range", "bytes=10-19", NULL));
    until(w, s->closed);
    assert_true(s->status == 206 && s->body_len == 10 && !memcmp(s->body, w->big->data + 10, 10));
    s = stream_of(w, ask_with(w, "GET", "/big", "if-none-match", "\"v1\"", NULL));
    until(w, s->closed);
    assert_true(s->status == 304 && s->body_len == 0);
    end(w);
}

static void big_body_is_intact(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = get(w, "/big");
    assert_int_equal(s->body_len, BIG);
    assert_memory_equal(s->body, w->big->data, BIG);
    end(w);
}

static void many_streams_at_once(void **state) {
    (void)state;
    struct world *w = begin();
    for (int round = 0; round < 3; round++) {
        int32_t ids[80];
        for (int i = 0; i < 80; i++)
            ids[i] = ask(w, i % 2 ? "/big" : "/hello");
        for (int i = 0; i < 80; i++) {
            struct stream *s = stream_of(w, ids[i]);
            until(w, s->closed);
            assert_int_equal(s->body_len, i % 2 ? BIG : 5);
        }
    }
    until(w, w->closes == 240);
    end(w);
}

static void parked_request_holds_up_no_other(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *parked = stream_of(w, ask(w, "/park"));
    assert_int_equal(get(w, "/hello")->status, 200);
    assert_int_equal(w->parked_count, 1);
    assert_false(parked->closed);
    answer_text(w->parked[0], "at last");
    until(w, parked->closed);
    assert_string_equal(parked->body, "at last");
    end(w);
}

static void source_waits_and_resumes(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = stream_of(w, ask(w, "/given"));
    until(w, s->status == 200);
    for (int i = 1; i <= 5; i++) {
        w->turns_given = i;
        http_request_resume(w->streaming);
        until(w, s->body_len == 5u * (unsigned)i);
    }
    until(w, s->closed && w->finishes == 1 && w->closes == 1);
    end(w);
}

static void source_that_fails_resets_its_stream_only(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = get(w, "/broken");
    assert_int_equal(s->error, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(get(w, "/hello")->status, 200);
    assert_int_equal(w->finishes, 1);
    end(w);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    struct world *w = begin();
    char *path = malloc(9001), value[4001];
    memset(path, 'a', 9000);
    path[0] = '/';
    path[9000] = '\0';
    memset(value, 'v', 4000);
    value[4000] = '\0';
    assert_int_equal(get(w, "/../x")->status, 400);
    assert_int_equal(get(w, path)->status, 414);
    struct stream *s = stream_of(w, ask_with(w, "BREW", "/hello", NULL, NULL, NULL));
    until(w, s->closed);
    assert_int_equal(s->status, 501);
    nghttp2_nv nv[150] = {{(uint8_t *)":method", (uint8_t *)"GET", 7, 3, 0},
                          {(uint8_t *)":scheme", (uint8_t *)"http", 7, 4, 0},
                          {(uint8_t *)":authority", (uint8_t *)"x", 10, 1, 0},
                          {(uint8_t *)":path", (uint8_t *)"/", 5, 1, 0}};
    for (int i = 4; i < 150; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)"x", (uint8_t *)"y", 1, 1, 0};
    s = stream_of(w, nghttp2_submit_request(w->ng, NULL, nv, 150, NULL, NULL));
    until(w, s->closed);
    assert_int_equal(s->status, 431);
    assert_int_equal(get(w, "/hello")->status, 200); /* the connection goes on */
    free(path);
    end(w);
}

struct upload {
    size_t left;
};

static ssize_t on_upload(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *ctx) {
    struct upload *upload = source->ptr;
    (void)ng, (void)id, (void)ctx;
    if (len > upload->left)
        len = upload->left;
    memset(buf, 'u', len);
    upload->left -= len;
    if (!upload->left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

static void bodies_are_collected_up_to_their_limit(void **state) {
    (void)state;
    struct world *w = begin();
    struct upload small = {5}, large = {10 << 20};
    nghttp2_data_provider body = {{.ptr = &small}, on_upload};
    struct stream *s = stream_of(w, ask_with(w, "POST", "/post", NULL, NULL, &body));
    until(w, s->closed);
    assert_string_equal(s->body, "3 /post ?  agent  host localhost body uuuuu");
    body.source.ptr = &large;
    s = stream_of(w, ask_with(w, "POST", "/post", NULL, NULL, &body));
    until(w, s->closed);
    assert_int_equal(s->status, 413);
    assert_true(large.left > 9 << 20); /* the rest wasn't wanted */
    assert_int_equal(get(w, "/hello")->status, 200);
    end(w);
}

/* A body that the handler takes as it comes, and holds for a while. */
static void body_is_given_as_it_comes_and_can_be_held(void **state) {
    (void)state;
    struct world *w = begin();
    http_server_stream_bodies(w->server, streams_upload);
    struct upload upload = {1 << 20};
    nghttp2_data_provider body = {{.ptr = &upload}, on_upload};
    w->hold_at = 100000;
    struct stream *s = stream_of(w, ask_with(w, "POST", "/upload", NULL, NULL, &body));
    until(w, w->uploaded >= 100000);
    for (int i = 0; i < 20; i++) {
        client_turn(w);
        server_turn(w);
    }
    assert_true(w->uploaded <= 100000 + 16384 && upload.left > (1 << 20) - 250000); /* the rest is with the client */
    assert_int_equal(get(w, "/hello")->status, 200);                                /* no other stream is held */
    w->hold_at = 0;
    http_request_read(w->uploading);
    until(w, s->closed);
    assert_string_equal(s->body, "uploaded");
    assert_int_equal(w->uploaded, 1 << 20);
    end(w);
}

static void urgent_responses_go_first(void **state) {
    (void)state;
    struct world *w = begin_with(&http_limits_default, false, 4096);
    nghttp2_submit_window_update(w->ng, NGHTTP2_FLAG_NONE, 0, 10 << 20);
    client_turn(w);
    int32_t later = ask(w, "/later"), urgent = ask(w, "/urgent");
    until(w, stream_of(w, urgent)->closed && stream_of(w, later)->closed);
    assert_true(stream_of(w, urgent)->order < stream_of(w, later)->order);
    end(w);
}

/* --- flow control and deadlines --- */

static void window_of_the_peer_is_honoured(void **state) {
    (void)state;
    struct world *w = begin_with(&http_limits_default, true, 0);
    struct stream *s = stream_of(w, ask(w, "/endless"));
    until(w, s->body_len == 65535);
    for (int i = 0; i < 20; i++) {
        client_turn(w);
        server_turn(w);
    }
    assert_int_equal(s->body_len, 65535);
    assert_true(w->pulls <= 10); /* what the window lets through, and no more than a frame */
    nghttp2_submit_window_update(w->ng, NGHTTP2_FLAG_NONE, 0, 10000);
    nghttp2_submit_window_update(w->ng, NGHTTP2_FLAG_NONE, 1, 10000);
    until(w, s->body_len == 75535);
    end(w);
    /* on_close and finish have run when the server ended */
}

static void peer_that_opens_no_window_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 100;
    struct world *w = begin_with(&limits, true, 0);
    ask(w, "/endless");
    until(w, w->ended);
    assert_true(w->closes == 1 && w->finishes == 1);
    end(w);
}

static void peer_that_reads_nothing_is_closed_and_holds_little(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 200;
    struct world *w = begin_with(&limits, false, 4096);
    nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 64 << 20};
    nghttp2_submit_settings(w->ng, NGHTTP2_FLAG_NONE, &window, 1);
    nghttp2_submit_window_update(w->ng, NGHTTP2_FLAG_NONE, 0, 64 << 20);
    ask(w, "/endless");
    client_turn(w);
    w->no_reading = true;
    until(w, w->closes == 1);
    assert_true(w->pulls < 1000); /* 10,000 bytes each: what the kernel took, and a batch */
    end(w);
}

static void request_that_is_never_finished_is_timed_out(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.header_timeout_ms = 100;
    struct world *w = begin_with(&limits, false, 0);
    struct upload upload = {1 << 20};
    nghttp2_data_provider body = {{.ptr = &upload}, on_upload};
    ask_with(w, "POST", "/post", NULL, NULL, &body);
    const uint8_t *out;
    ssize_t n = nghttp2_session_mem_send(w->ng, &out); /* preface; then SETTINGS and HEADERS, and no more */
    assert_int_equal(send(w->fd, out, (size_t)n, 0), n);
    for (int i = 0; i < 2; i++) {
        n = nghttp2_session_mem_send(w->ng, &out);
        assert_int_equal(send(w->fd, out, (size_t)n, 0), n);
    }
    uint8_t byte;
    for (int64_t end_us = clock_mono_us() + 5000000; recv(w->fd, &byte, 1, 0) != 0;) {
        assert_true(clock_mono_us() < end_us);
        server_turn(w);
    }
    end(w);
}

static void idle_connection_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.idle_timeout_ms = 100;
    struct world *w = begin_with(&limits, false, 0);
    get(w, "/hello");
    until(w, w->ended);
    end(w);
}

/* --- clients that go --- */

static void reset_of_a_parked_stream_ends_its_request(void **state) {
    (void)state;
    struct world *w = begin();
    int32_t id = ask(w, "/park");
    until(w, w->parked_count == 1);
    nghttp2_submit_rst_stream(w->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    until(w, w->closes == 1);
    assert_int_equal(get(w, "/hello")->status, 200);
    end(w);
}

static void connection_lost_ends_all_requests(void **state) {
    (void)state;
    struct world *w = begin();
    for (int i = 0; i < 3; i++)
        ask(w, "/park");
    ask(w, "/given");
    until(w, w->parked_count == 3 && w->streaming);
    shutdown(w->fd, SHUT_RDWR);
    until(w, w->closes == 4);
    assert_int_equal(w->finishes, 1);
    end(w);
}

/* One read brings both, and no other event follows. */
static void connection_lost_with_its_last_words_ends_all_requests(void **state) {
    const uint8_t *out;
    ssize_t n;
    (void)state;
    struct world *w = begin();
    assert_int_equal(get(w, "/hello")->status, 200);
    ask(w, "/park");
    while ((n = nghttp2_session_mem_send(w->ng, &out)) > 0)
        assert_int_equal(send(w->fd, out, (size_t)n, MSG_NOSIGNAL), n);
    shutdown(w->fd, SHUT_WR);
    until(w, w->closes == 2);
    end(w);
}

static void drain_says_goodbye_and_lets_requests_end(void **state) {
    (void)state;
    struct world *w = begin();
    struct stream *s = stream_of(w, ask(w, "/park"));
    until(w, w->parked_count == 1);
    http_server_drain(w->server);
    until(w, w->goaway);
    assert_int_equal(w->goaway_error, NGHTTP2_NO_ERROR);
    answer_text(w->parked[0], "done");
    until(w, s->closed && w->ended);
    assert_string_equal(s->body, "done");
    end(w);
}

/* --- floods --- */

static void resets_in_masses_end_the_connection(void **state) {
    (void)state;
    struct world *w = begin();
    int n = 0;
    for (; n < 20000 && !w->ended && !w->goaway; n++) {
        int32_t id = ask(w, "/never");
        client_turn(w); /* else nghttp2 drops both: nothing was sent yet */
        nghttp2_submit_rst_stream(w->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        client_turn(w);
        if (n % 50 == 0)
            server_turn(w);
    }
    assert_in_range(n, 1000, 4000);
    end(w);
}

/* Sends `frame` over and over and reads nothing: how many before the server has had enough? */
static int flood(struct world *w, const uint8_t *frame, size_t len, int most) {
    client_turn(w);
    server_turn(w);
    int n = 0;
    for (int full = 0; n < most && full < 300;) {
        ssize_t sent = send(w->fd, frame, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return n;
        full = sent < 0 ? full + 1 : 0;
        n += sent > 0;
        if (sent < 0 || n % 50 == 0)
            server_turn(w);
    }
    return n;
}

static void pings_and_settings_in_masses_end_the_connection(void **state) {
    (void)state;
    static const uint8_t ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0};
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    const uint8_t *frames[] = {ping, settings};
    const size_t lens[] = {sizeof ping, sizeof settings};
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 600000; /* not for that reason */
    for (int i = 0; i < 2; i++) {
        struct world *w = begin_with(&limits, false, 1024);
        assert_in_range(flood(w, frames[i], lens[i], 50000), 100, 40000);
        end(w);
    }
}

static void continuations_in_masses_end_the_connection(void **state) {
    (void)state;
    static const uint8_t headers[] = {0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82}; /* no END_HEADERS */
    static const uint8_t continuation[] = {0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84};
    struct world *w = begin();
    client_turn(w);
    assert_int_equal(send(w->fd, headers, sizeof headers, 0), sizeof headers);
    assert_in_range(flood(w, continuation, sizeof continuation, 100000), 8, 2000);
    end(w);
}

static void garbage_ends_the_connection(void **state) {
    (void)state;
    struct world *w = begin();
    client_turn(w);
    static const char garbage[] = "\0\0\4\10\0\0\0\0\0\0\0\0\0GET / HTTP/1.1\r\n\r\n";
    send(w->fd, garbage, sizeof garbage - 1, 0);
    until(w, w->ended);
    end(w);
}

static void http_1_is_spoken_on_the_same_port(void **state) {
    (void)state;
    struct world *w = begin();
    static const char parts[2][40] = {"P", "OST /x HTTP/1.1\r\nHost: a\r\n\r\n"}; /* begins like the preface */
    char text[1024] = "";
    size_t have = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(send(w->fd, parts[i], strlen(parts[i]), 0) > 0);
        server_turn(w);
    }
    for (int64_t end_us = clock_mono_us() + 5000000; !strstr(text, "body");) {
        assert_true(clock_mono_us() < end_us);
        server_turn(w);
        ssize_t n = recv(w->fd, text + have, sizeof text - 1 - have, 0);
        have += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(text, "HTTP/1.1 200", 12);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_facts_are_those_of_http_1),
        cmocka_unit_test(head_ranges_and_conditions),
        cmocka_unit_test(big_body_is_intact),
        cmocka_unit_test(many_streams_at_once),
        cmocka_unit_test(parked_request_holds_up_no_other),
        cmocka_unit_test(source_waits_and_resumes),
        cmocka_unit_test(source_that_fails_resets_its_stream_only),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(bodies_are_collected_up_to_their_limit),
        cmocka_unit_test(body_is_given_as_it_comes_and_can_be_held),
        cmocka_unit_test(urgent_responses_go_first),
        cmocka_unit_test(window_of_the_peer_is_honoured),
        cmocka_unit_test(peer_that_opens_no_window_is_closed),
        cmocka_unit_test(peer_that_reads_nothing_is_closed_and_holds_little),
        cmocka_unit_test(request_that_is_never_finished_is_timed_out),
        cmocka_unit_test(idle_connection_is_closed),
        cmocka_unit_test(reset_of_a_parked_stream_ends_its_request),
        cmocka_unit_test(connection_lost_ends_all_requests),
        cmocka_unit_test(connection_lost_with_its_last_words_ends_all_requests),
        cmocka_unit_test(drain_says_goodbye_and_lets_requests_end),
        cmocka_unit_test(resets_in_masses_end_the_connection),
        cmocka_unit_test(pings_and_settings_in_masses_end_the_connection),
        cmocka_unit_test(continuations_in_masses_end_the_connection),
        cmocka_unit_test(garbage_ends_the_connection),
        cmocka_unit_test(http_1_is_spoken_on_the_same_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
