#include "tests/unit/server_fixture.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/http/internal.h"
#include "tests/unit/loopback.h"

const char *congestion;

static void on_close(void *ctx) {
    struct fixture *f = ctx;
    eventfd_write(f->closed, 1);
}

static void on_finish(void *ctx) {
    struct fixture *f = ctx;
    atomic_fetch_add(&f->finished, 1);
}

static int next_stream(void *ctx, struct slice *slices, int max) {
    struct fixture *f = ctx;
    if (f->stream_pos == 3)
        return 0;
    if (f->stream_pos == f->streamed || max < 1)
        return HTTP_SOURCE_WAIT;
    f->stream_pos++;
    slices[0] = (struct slice){blob_ref(f->hello), 0, f->hello->len};
    return 1;
}

static int next_frame(void *ctx, struct slice *slices, int max) {
    struct fixture *f = ctx;
    if (!f->frame.blob || max < 1)
        return f->framed_ends ? 0 : HTTP_SOURCE_WAIT;
    slices[0] = f->frame;
    f->frame.blob = NULL;
    return 1;
}

static int next_counted(void *ctx, struct slice *slices, int max) {
    struct fixture *f = ctx;
    (void)max;
    atomic_fetch_add(&f->pulls, 1);
    slices[0] = (struct slice){blob_ref(f->big), 0, 65536};
    return 1;
}

static int next_short(void *ctx, struct slice *slices, int max) {
    struct fixture *f = ctx;
    (void)max;
    if (atomic_fetch_add(&f->pulls, 1))
        return 0;
    slices[0] = (struct slice){blob_ref(f->hello), 0, f->hello->len};
    return 1;
}

static void answer(struct http_request *req, const char *text) {
    struct slice slice = {blob_create_copy(text, strlen(text)), 0, strlen(text)};
    struct http_header header = {"X-Handler", "yes"};
    http_respond_slices(req, 200, &header, 1, &slice, 1, false);
    blob_unref(slice.blob);
}

static void answer_hello(struct http_request *req, struct fixture *f) {
    struct http_header headers[] = {{"ETag", "\"v1\""},
                                    {"Content-Type", "text/plain"},
                                    {"Access-Control-Allow-Origin", "*"},
                                    {"Cache-Control", "max-age=7"}};
    struct slice slices[2] = {{f->hello, 0, 5}, {f->hello, 5, f->hello->len - 5}};
    http_respond_slices(req, 200, headers, 4, slices, 2, true);
}

static void answer_source(struct http_request *req, struct fixture *f, int64_t length,
                          int (*next)(void *ctx, struct slice *slices, int max)) {
    http_respond(req, &(struct http_response){.status = 200, .length = length, .source = {next, on_finish, f, 0}});
}

static void answer_facts(struct http_request *req) {
    char text[512];
    size_t len;
    const uint8_t *body = http_request_body(req, &len);
    const char *header = http_request_header(req, "x-test");
    snprintf(text, sizeof text, "%d|%s|%s|%s|%s|%.*s", (int)http_request_method(req), http_request_path(req),
             http_request_query(req), header ? header : "(none)", http_request_peer(req), (int)len, (const char *)body);
    answer(req, text);
}

/* Says how much the kernel may hold for the connection of /framed. */
static void answer_unsent_max(struct http_request *req, struct http_request *of) {
    char text[64];
    int max = 0;
    socklen_t len = sizeof max;
    getsockopt(of->conn->transport.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &max, &len);
    snprintf(text, sizeof text, "%d", max);
    answer(req, text);
}

/* Lends /framed as many bytes as the query says, and takes them back. Says how many references the server kept. */
static void answer_frame(struct http_request *req, struct fixture *f) {
    char text[64];
    size_t len = (size_t)strtoul(http_request_query(req), NULL, 10);
    f->frame = http_slice_framed(f->big->data, len);
    struct blob *blob = f->frame.blob;
    f->framed_ends = len == 3;
    http_request_resume(f->streaming);
    snprintf(text, sizeof text, "%u%s", atomic_load(&blob->refs) - 1, f->frame.blob ? " not asked for" : "");
    f->frame.blob = NULL;
    blob_unref(blob);
    answer(req, text);
}

static void release(struct fixture *f) {
    for (int i = 0; i < f->parked_count; i++)
        answer(f->parked[i], "released");
    f->parked_count = 0;
}

void on_request(void *ctx, struct http_request *req) {
    struct fixture *f = ctx;
    const char *path = http_request_path(req);
    atomic_fetch_add(&f->handled, 1);
    http_request_on_close(req, on_close, f);
    if (strcmp(path, "/hello") == 0) {
        answer_hello(req, f);
    } else if (strcmp(path, "/big") == 0) {
        struct slice slice = {f->big, 0, f->big->len};
        http_respond_slices(req, 200, NULL, 0, &slice, 1, true);
    } else if (strcmp(path, "/park") == 0) {
        f->parked[f->parked_count++] = req;
    } else if (strcmp(path, "/release") == 0) {
        release(f);
        answer(req, "done");
    } else if (strcmp(path, "/hold") == 0) { /* the loop, while more comes for it */
        sem_post(&f->held);
        sem_wait(&f->holds);
        answer(req, "held");
    } else if (strcmp(path, "/stream") == 0) {
        f->streaming = req;
        answer_source(req, f, -1, next_stream);
    } else if (strcmp(path, "/more") == 0) {
        f->streamed++;
        http_request_resume(f->streaming);
        answer(req, "done");
    } else if (strcmp(path, "/framed") == 0) {
        f->streaming = req;
        struct http_source source = {next_frame, on_finish, f,
                                     HTTP_SOURCE_LENDS | HTTP_SOURCE_FRAMED | HTTP_SOURCE_LIVE};
        http_respond(req, &(struct http_response){.status = 200, .length = -1, .source = source});
    } else if (strcmp(path, "/frame") == 0) {
        answer_frame(req, f);
    } else if (strcmp(path, "/unsent") == 0) {
        answer_unsent_max(req, f->streaming);
    } else if (strcmp(path, "/counted") == 0) {
        answer_source(req, f, INT64_C(1) << 30, next_counted);
    } else if (strcmp(path, "/short") == 0) {
        answer_source(req, f, 1000, next_short);
    } else if (strcmp(path, "/split") == 0) {
        struct http_header header = {"X", "a\r\nY: b"};
        http_respond_error(req, 404, NULL, &header, 1);
    } else if (strcmp(path, "/drain") == 0) {
        http_server_drain(f->node.server);
        answer(req, "draining");
    } else if (strcmp(path, "/missing") == 0) {
        http_respond_error(req, 404, "no such thing", NULL, 0);
    } else {
        answer_facts(req);
    }
}

struct fixture *start_with(const struct http_limits *limits, const char *address) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->closed = eventfd(0, EFD_SEMAPHORE);
    sem_init(&f->holds, 0, 0);
    sem_init(&f->held, 0, 0);
    f->hello = blob_create_copy("hello world\n", 12);
    f->big = blob_create(BIG);
    for (size_t i = 0; i < BIG; i++)
        f->big->data[i] = (uint8_t)(i * 2654435761u >> 24);
    node_init(&f->node, limits, on_request, f);
    if (congestion)
        http_server_set_congestion(f->node.server, congestion);
    if (tls) {
        http_server_set_tls(f->node.server, tls);
        assert_int_equal(http_server_listen_tls(f->node.server, address, false, &f->node.port), 0);
    } else {
        assert_int_equal(http_server_listen(f->node.server, address, false, &f->node.port), 0);
    }
    node_run(&f->node);
    return f;
}

struct fixture *start(void) {
    return start_with(&http_limits_default, "127.0.0.1:0");
}

void stop(struct fixture *f) {
    node_finish(&f->node);
    assert_int_equal(atomic_load(&http_metrics[HTTP_METRIC_CONNECTIONS].value), 0);
    blob_unref(f->hello);
    blob_unref(f->big);
    close(f->closed);
    free(f);
}

void wait_closed(struct fixture *f) {
    struct pollfd pfd = {f->closed, POLLIN, 0};
    eventfd_t n;
    assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
    assert_int_equal(eventfd_read(f->closed, &n), 0);
}
