/* A real server on loopback, its loop on a thread of its own, against a client of raw sockets, and once more against
 * the same client over TLS. What the handler does is chosen by the path; what happens to requests is told by an
 * eventfd, so that the tests wait for events, not for time. */
#include "common/http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/internal.h"
#include "common/http/tls.h"
#include "tests/unit/tls_fixture.h"
#include "tests/unit/uring.h"

enum { WAIT_MS = 10000, BIG = 3 * 1024 * 1024, PARKED_MAX = 8 };

/* Of the round over TLS; NULL in the plain one. */
static struct tls_context *tls;
static SSL_CTX *client_ctx;

static const char *congestion; /* for servers to come, or NULL */

struct fixture {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    uint16_t port;
    struct blob *hello, *big;
    struct http_request *parked[PARKED_MAX], *streaming;
    int parked_count;
    int streamed; /* chunks of /stream that may go out */
    int stream_pos;
    struct slice frame; /* what /framed gives next; no blob: nothing */
    bool framed_ends;
    int closed;        /* eventfd: on_close calls */
    sem_t holds, held; /* of /hold */
    atomic_int finished, pulls, handled;
};

/* --- the server's side --- */

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

static void on_request(void *ctx, struct http_request *req) {
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
        http_server_drain(f->server);
        answer(req, "draining");
    } else if (strcmp(path, "/missing") == 0) {
        http_respond_error(req, 404, "no such thing", NULL, 0);
    } else {
        answer_facts(req);
    }
}

static void *run_loop(void *ctx) {
    loop_run(ctx);
    return NULL;
}

static struct fixture *start_with(const struct http_limits *limits, const char *address) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->closed = eventfd(0, EFD_SEMAPHORE);
    sem_init(&f->holds, 0, 0);
    sem_init(&f->held, 0, 0);
    f->hello = blob_create_copy("hello world\n", 12);
    f->big = blob_create(BIG);
    for (size_t i = 0; i < BIG; i++)
        f->big->data[i] = (uint8_t)(i * 2654435761u >> 24);
    f->loop = loop_create();
    f->server = http_server_create(f->loop, limits, on_request, f);
    use_uring_if_asked(f->server);
    if (congestion)
        http_server_set_congestion(f->server, congestion);
    if (tls) {
        http_server_set_tls(f->server, tls);
        assert_int_equal(http_server_listen_tls(f->server, address, false, &f->port), 0);
    } else {
        assert_int_equal(http_server_listen(f->server, address, false, &f->port), 0);
    }
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f->loop), 0);
    return f;
}

static struct fixture *start(void) {
    return start_with(&http_limits_default, "127.0.0.1:0");
}

static void stop(struct fixture *f) {
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    http_server_destroy(f->server);
    loop_destroy(f->loop);
    blob_unref(f->hello);
    blob_unref(f->big);
    close(f->closed);
    free(f);
}

static void wait_closed(struct fixture *f) {
    struct pollfd pfd = {f->closed, POLLIN, 0};
    eventfd_t n;
    assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
    assert_int_equal(eventfd_read(f->closed, &n), 0);
}

/* --- the client's side --- */

struct client {
    int fd;
    SSL *ssl;
    size_t len;
    char data[BIG + 65536];
};

struct response {
    int status;
    char head[4096];
    char *body; /* within the client's buffer, until the next read */
    size_t body_len;
};

/* Only TCP's connection; TLS follows with the first word. */
static struct client *dial_silently(const struct fixture *f, int receive_buffer) {
    struct client *c = malloc(sizeof *c);
    assert_non_null(c);
    c->len = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    struct timeval tv = {WAIT_MS / 1000, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
    c->ssl = tls ? SSL_new(client_ctx) : NULL;
    if (c->ssl) {
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
    }
    return c;
}

static struct client *dial(const struct fixture *f, int receive_buffer) {
    struct client *c = dial_silently(f, receive_buffer);
    if (c->ssl)
        assert_int_equal(SSL_do_handshake(c->ssl), 1);
    return c;
}

static void hang_up(struct client *c) {
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

static void end_output(struct client *c) {
    if (c->ssl)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}

static void say(struct client *c, const char *text) {
    if (c->ssl)
        assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), (int)strlen(text));
    else
        assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static ssize_t hear_tls(struct client *c, void *data, size_t len) {
    ERR_clear_error();
    int n = SSL_read(c->ssl, data, (int)len), error = SSL_get_error(c->ssl, n);
    errno = error == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
    return n > 0 ? n : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* 1, or 0 at the end of the stream, or -1 when it was reset (or, with TLS, not ended by close_notify). */
static int hear(struct client *c) {
    assert_true(c->len < sizeof c->data - 1);
    size_t room = sizeof c->data - 1 - c->len;
    ssize_t n = c->ssl ? hear_tls(c, c->data + c->len, room) : recv(c->fd, c->data + c->len, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail_msg("nothing heard in time; have: %.*s", c->len > 300 ? 300 : (int)c->len, c->data);
    if (n < 0)
        return -1;
    c->len += (size_t)n;
    c->data[c->len] = '\0';
    return n > 0;
}

static void hear_at_least(struct client *c, size_t len) {
    while (c->len < len)
        if (hear(c) != 1)
            fail_msg("closed after %zu of %zu bytes", c->len, len);
}

static void drop(struct client *c, size_t len) {
    memmove(c->data, c->data + len, c->len - len + 1);
    c->len -= len;
}

/* Reads a head off the stream. */
static void hear_head(struct client *c, struct response *r) {
    hear_at_least(c, 1);
    char *end;
    while (!(end = memmem(c->data, c->len, "\r\n\r\n", 4)))
        hear_at_least(c, c->len + 1);
    size_t len = (size_t)(end - c->data) + 4;
    assert_true(len < sizeof r->head);
    memcpy(r->head, c->data, len);
    r->head[len] = '\0';
    assert_int_equal(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    if (r->status >= 200 && !strstr(r->head, "\r\nCache-Control: ")) /* every answer says its lifetime */
        fail_msg("no lifetime: %s", r->head);
    drop(c, len);
}

/* Reads one whole response with Content-Length (for HEAD: without the body). The body stays at the front of the
 * client's buffer; drop it before the next one. */
static void hear_response(struct client *c, struct response *r, bool head_only) {
    hear_head(c, r);
    const char *length = strstr(r->head, "\r\nContent-Length: ");
    r->body_len = length && !head_only ? strtoul(length + 18, NULL, 10) : 0;
    hear_at_least(c, r->body_len);
    r->body = c->data;
}

static void expect_body(struct client *c, const char *head_has, int status, const char *body) {
    struct response r;
    hear_response(c, &r, false);
    assert_int_equal(r.status, status);
    if (head_has && !strstr(r.head, head_has))
        fail_msg("no %s in: %s", head_has, r.head);
    if (r.body_len != strlen(body) || memcmp(r.body, body, r.body_len) != 0)
        fail_msg("%.*s, not %s", (int)r.body_len, r.body, body);
    drop(c, r.body_len);
}

static void expect_status(struct client *c, int status) {
    struct response r;
    hear_response(c, &r, false);
    if (r.status != status)
        fail_msg("%d, not %d", r.status, status);
    drop(c, r.body_len);
}

static void expect_end(struct client *c) {
    int r = hear(c);
    if (r > 0)
        fail_msg("more came: %.*s", (int)c->len, c->data);
    assert_int_equal(r, 0);
}

#define HOST "Host: test\r\n"

/* --- tests --- */

static void keep_alive_and_request_facts(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "POST /a%20b?q=1 HTTP/1.1\r\n" HOST "X-Test: one \r\nX-TEST: two\r\nContent-Length: 4\r\n\r\nbody");
    hear_response(c, &r, false);
    c->data[r.body_len] = '\0';
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "\r\nDate: "));
    assert_non_null(strstr(r.head, "\r\nX-Handler: yes\r\n"));
    assert_null(strstr(r.head, "\r\nConnection:"));
    assert_non_null(strstr(c->data, "3|/a b|q=1|one|127.0.0.1:"));
    assert_non_null(strstr(c->data, "|body"));
    drop(c, r.body_len);
    wait_closed(f);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nAccept-Ranges: bytes\r\n", 200, "hello world\n");
    wait_closed(f);
    hang_up(c);
    stop(f);
}

static void body_in_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "PUT /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\n");
    say(c, "de\r\n0\r\nT: x\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_memory_equal(r.body + r.body_len - 6, "|abcde", 6);
    drop(c, r.body_len);
    expect_body(c, NULL, 200, "hello world\n");
    hang_up(c);
    stop(f);
}

static void pipelined_in_order(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    enum { N = 500 };
    for (int i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof text, "GET /n?%d HTTP/1.1\r\n" HOST "\r\n", i);
        say(c, text);
    }
    for (int i = 0; i < N; i++) {
        struct response r;
        char expected[32];
        hear_response(c, &r, false);
        snprintf(expected, sizeof expected, "1|/n|%d|", i);
        assert_memory_equal(r.body, expected, strlen(expected));
        drop(c, r.body_len);
    }
    hang_up(c);
    stop(f);
}

static void client_goes_in_the_turn_in_which_it_is_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0), *holder = dial(f, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    say(holder, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    sem_wait(&f->held);
    say(other, "GET /release HTTP/1.1\r\n" HOST "\r\n");
    end_output(c); /* seen in the same turn, after the release */
    sem_post(&f->holds);
    expect_body(other, NULL, 200, "done");
    expect_body(holder, NULL, 200, "held");
    expect_body(c, NULL, 200, "released");
    hang_up(c);
    hang_up(other);
    hang_up(holder);
    stop(f);
}

static void pipelined_behind_a_parked_one(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\nGET /mis");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    say(c, "sing HTTP/1.1\r\n" HOST "\r\n");
    say(other, "GET /release HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "done");
    expect_body(c, NULL, 200, "released");
    expect_body(c, NULL, 200, "hello world\n");
    expect_body(c, "text/plain", 404, "404 Not Found: no such thing\n");
    for (int i = 0; i < 4; i++)
        wait_closed(f);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void parked_client_disconnects(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    hang_up(c);
    wait_closed(f);
    f->parked_count = 0;
    stop(f);
}

static void parked_client_disconnects_at_once(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    hang_up(c); /* the end of stream may come with the request, in one edge */
    wait_closed(f);
    stop(f);
}

static void parked_when_server_ends(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 1)
        sched_yield();
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    http_server_destroy(f->server);
    f->server = NULL;
    wait_closed(f);
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f->loop), 0);
    hang_up(c);
    stop(f);
}

static void head_has_no_body(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "HEAD /hello HTTP/1.1\r\n" HOST "\r\nHEAD /missing HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST
           "\r\n");
    hear_response(c, &r, true);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "\r\nContent-Length: 12\r\n"));
    hear_response(c, &r, true);
    assert_int_equal(r.status, 404);
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1); /* of /stream */
    hang_up(c);
    stop(f);
}

static void ranges(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=3-6\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 3-6/12\r\n", 206, "lo w");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=-3\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 9-11/12\r\n", 206, "ld\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=6-9007199254740991\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes 6-11/12\r\n", 206, "world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n");
    expect_body(c, "\r\nContent-Range: bytes */12\r\n", 416, "416 Range Not Satisfiable\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n");
    expect_body(c, "\r\nAccess-Control-Allow-Origin: *\r\n", 416, "416 Range Not Satisfiable\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1,3-4\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1\r\nIf-Range: \"v0\"\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n\r\n");
    expect_body(c, NULL, 206, "he");
    hang_up(c);
    stop(f);
}

static void not_modified(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v0\", W/\"v1\"\r\nRange: bytes=0-1\r\n\r\n");
    hear_head(c, &r);
    assert_int_equal(r.status, 304);
    assert_non_null(strstr(r.head, "\r\nETag: \"v1\"\r\n"));
    assert_null(strcasestr(r.head, "\r\nContent-"));
    say(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v0\"\r\n\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    hang_up(c);
    stop(f);
}

static void big_body_intact(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    for (int i = 0; i < 3; i++) {
        say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
        assert_int_equal(r.body_len, BIG);
        assert_memory_equal(r.body, f->big->data, BIG);
        drop(c, BIG);
        wait_closed(f);
    }
    hang_up(c);
    stop(f);
}

/* One of these refusals finds the socket full by the responses before it: it must come nonetheless, and then the end.
 */
static void last_words_to_a_slow_reader(void **state) {
    (void)state;
    static const char request[] = "GET /big HTTP/1.1\r\n" HOST "Range: bytes=0-15999\r\n\r\n";
    struct fixture *f = start();
    struct client *other = dial(f, 0);
    for (int n = 1; n < 24; n++) {
        struct client *c = dial(f, 4096);
        char text[24 * sizeof request + 32] = "";
        int base = atomic_load(&f->handled), before, after = -1;
        for (int i = 0; i < n; i++)
            strcat(text, request);
        say(c, strcat(text, "GET / HTTP/1.1\n\n"));
        do { /* until no more are handled, since c doesn't read */
            before = after;
            say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
            expect_status(other, 200);
            after = atomic_load(&f->handled) - ++base;
        } while (after != before);
        for (int i = 0; i < n; i++)
            expect_status(c, 206);
        expect_status(c, 400);
        expect_end(c);
        hang_up(c);
    }
    hang_up(other);
    stop(f);
}

static void chunked_source_waits_and_resumes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    struct response r;
    static const char chunk[] = "c\r\nhello world\n\r\n";
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    for (int i = 0; i < 2; i++) {
        say(other, "GET /more HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, "done");
        hear_at_least(c, sizeof chunk - 1);
        assert_string_equal(c->data, chunk); /* and no more */
        drop(c, sizeof chunk - 1);
    }
    say(other, "GET /more HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "done");
    hear_at_least(c, sizeof chunk - 1 + 5);
    assert_string_equal(c->data, "c\r\nhello world\n\r\n0\r\n\r\n");
    drop(c, c->len);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    hang_up(other);
    stop(f);
}

/* References that the server keeps of what was lent: none, or one until the end of the turn. */
static const char *kept(void) {
    return getenv("TEST_IO_URING") && !tls ? "1" : "0";
}

static void framed_slices_go_out_in_their_own_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    struct response r;
    char expected[64];
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    assert_non_null(strstr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
    say(other, "GET /frame?17 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept()); /* sent at once: nothing was kept */
    memcpy(expected, "11\r\n", 4);
    memcpy(expected + 4, f->big->data, 17);
    memcpy(expected + 21, "\r\n", 2);
    hear_at_least(c, 23);
    assert_int_equal(c->len, 23);
    assert_memory_equal(c->data, expected, 23);
    drop(c, 23);
    say(other, "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept());
    hear_at_least(c, 8 + 5);
    assert_memory_equal(c->data, "3\r\n", 3);
    assert_memory_equal(c->data + 3, f->big->data, 3);
    assert_string_equal(c->data + 6, "\r\n0\r\n\r\n");
    drop(c, c->len);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void framed_slices_are_bare_without_chunks(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    struct response r;
    say(c, "GET /framed HTTP/1.0\r\n\r\n");
    hear_head(c, &r);
    for (int i = 0; i < 2; i++) {
        say(other, i ? "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n" : "GET /frame?17 HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, kept());
    }
    hear_at_least(c, 20);
    assert_memory_equal(c->data, f->big->data, 17);
    assert_memory_equal(c->data + 17, f->big->data, 3);
    drop(c, 20);
    expect_end(c);
    hang_up(c);
    hang_up(other);
    stop(f);
}

/* Its memory checker sees whether what is lent is used after it was taken back. */
static void lent_slices_are_kept_while_the_socket_is_full(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 8192), *other = dial(f, 0);
    struct response r;
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    say(other, "GET /frame?3000000 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "1");
    say(other, "GET /frame?3000000 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, "0 not asked for");
    hear_at_least(c, 8 + 3000000 + 2);
    assert_memory_equal(c->data, "2dc6c0\r\n", 8);
    assert_memory_equal(c->data + 8, f->big->data, 3000000);
    hang_up(c);
    wait_closed(f);
    hang_up(other);
    stop(f);
}

static void live_source_has_the_kernel_hold_little(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    struct response r;
    char text[32];
    say(c, "GET /framed HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    snprintf(text, sizeof text, "%d", HTTP_UNSENT_LIVE);
    say(other, "GET /unsent HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, text);
    say(other, "GET /frame?3 HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, kept());
    hear_at_least(c, 13);
    drop(c, 13);
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n"); /* the same connection, another kind of source */
    hear_head(c, &r);
    snprintf(text, sizeof text, "%d", HTTP_UNSENT_MIN);
    say(other, "GET /unsent HTTP/1.1\r\n" HOST "\r\n");
    expect_body(other, NULL, 200, text);
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void waiting_source_loses_its_client(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    hang_up(c);
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    stop(f);
}

static void http_1_0(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect_body(c, "\r\nConnection: keep-alive\r\n", 200, "hello world\n");
    say(c, "GET /hello HTTP/1.0\r\n\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "hello world\n");
    expect_end(c);
    hang_up(c);
    c = dial(f, 0);
    struct response r;
    f->streamed = 3;
    say(c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    hear_head(c, &r);
    assert_null(strstr(r.head, "Transfer-Encoding"));
    assert_non_null(strstr(r.head, "\r\nConnection: close\r\n"));
    while (hear(c) == 1)
        ;
    assert_string_equal(c->data, "hello world\nhello world\nhello world\n");
    hang_up(c);
    stop(f);
}

static void connection_close_asked_for(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "hello world\n");
    expect_end(c);
    assert_int_equal(atomic_load(&f->handled), 1);
    hang_up(c);
    stop(f);
}

static void half_closed_client_is_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    end_output(c);
    struct response r;
    hear_response(c, &r, false);
    assert_memory_equal(r.body, f->big->data, BIG);
    hang_up(c);
    stop(f);
}

static void continue_before_body(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    hear_head(c, &r);
    assert_int_equal(r.status, 100);
    say(c, "abc");
    hear_response(c, &r, false);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body + r.body_len - 4, "|abc", 4);
    drop(c, r.body_len);
    say(c, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"); /* doesn't wait */
    expect_status(c, 200);
    hang_up(c);
    stop(f);
}

static void expect_lifetime(struct client *c, const char *request, int status, const char *lifetime) {
    struct response r;
    char line[64];
    say(c, request);
    hear_response(c, &r, false);
    assert_int_equal(r.status, status);
    snprintf(line, sizeof line, "\r\nCache-Control: %s\r\n", lifetime);
    const char *first = strstr(r.head, "\r\nCache-Control:");
    if (!strstr(r.head, line) || strstr(first + 1, "\r\nCache-Control:"))
        fail_msg("not %s, once: %s", lifetime, r.head);
    drop(c, r.body_len);
}

static void lifetimes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n", 200, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=3-6\r\n\r\n", 206, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "If-None-Match: \"v1\"\r\n\r\n", 304, "max-age=7");
    expect_lifetime(c, "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=12-\r\n\r\n", 416, "no-store");
    expect_lifetime(c, "GET /missing HTTP/1.1\r\n" HOST "\r\n", 404, "no-store");
    expect_lifetime(c, "GET /split HTTP/1.1\r\n" HOST "\r\n", 500, "no-store");
    expect_lifetime(c, "GET /x y HTTP/1.1\r\n" HOST "\r\n", 400, "no-store");
    hang_up(c);
    stop(f);
}

static void refusals_close(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.line_bytes_max = 100;
    limits.head_bytes_max = 300;
    limits.body_bytes_max = 10;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    char long_line[256], long_head[512];
    snprintf(long_line, sizeof long_line, "GET /%0150d HTTP/1.1\r\n" HOST "\r\n", 0);
    snprintf(long_head, sizeof long_head, "GET / HTTP/1.1\r\n" HOST "X: %0300d\r\n\r\n", 0);
    const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET /a/../b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a%2fb HTTP/1.1\r\n" HOST "\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
        {long_line, 414},
        {long_head, 431},
        {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"GET / HTTP/3.0\r\n" HOST "\r\n", 505},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client *c = dial(f, 0);
        struct response r;
        say(c, cases[i].text);
        hear_response(c, &r, false);
        if (r.status != cases[i].status)
            fail_msg("%d, not %d: %s", r.status, cases[i].status, cases[i].text);
        assert_non_null(strstr(r.head, "\r\nConnection: close\r\n"));
        drop(c, r.body_len);
        expect_end(c);
        hang_up(c);
    }
    assert_int_equal(atomic_load(&f->handled), 0);
    stop(f);
}

static void refused_client_may_go_on_sending(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0), *other = dial(f, 0);
    say(c, "POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    expect_status(c, 413);
    expect_end(c);
    for (int i = 0; i < 10; i++) { /* a closed socket would answer with an RST, which can destroy the 413 on its way */
        say(c, "some of the body");
        say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(other, 200);
    }
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void pipelined_before_a_bad_one_are_answered(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\n\n");
    expect_body(c, NULL, 200, "hello world\n");
    expect_status(c, 400);
    expect_end(c);
    hang_up(c);
    stop(f);
}

static void response_splitting_refused(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "GET /split HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_int_equal(r.status, 500);
    assert_null(strstr(r.head, "Y: b"));
    hang_up(c);
    stop(f);
}

static void short_source_aborts(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /short HTTP/1.1\r\n" HOST "\r\n");
    int r;
    while ((r = hear(c)) == 1)
        ;
    assert_int_equal(r, -1); /* reset: not to be taken for a whole response */
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    stop(f);
}

static void stopped_reader_stops_the_source(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 8192), *other = dial(f, 0);
    say(c, "GET /counted HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->pulls) < 1)
        sched_yield();
    int before, after = -1;
    do { /* until a whole exchange on another connection sees no pull */
        before = after;
        say(other, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_body(other, NULL, 200, "hello world\n");
        after = atomic_load(&f->pulls);
    } while (after != before);
    assert_true(after * 65536LL < 32 << 20); /* of 1 GB; the socket's buffers take a few MB at most */
    hang_up(c);
    hang_up(other);
    stop(f);
}

static void stalled_reader_is_aborted(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 200;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(f, 8192);
    say(c, "GET /counted HTTP/1.1\r\n" HOST "\r\n");
    wait_closed(f);
    assert_int_equal(atomic_load(&f->finished), 1);
    hang_up(c);
    stop(f);
}

static void slow_reader_is_not_aborted(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.stall_timeout_ms = 400;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(f, 16384);
    struct response r;
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    size_t want = BIG;
    while (c->len < want) { /* about a second in all: in progress for longer than a stall may last */
        size_t n = want - c->len < 32768 ? want - c->len : 32768;
        hear_at_least(c, c->len + n > want ? want : c->len + n);
        poll(NULL, 0, 10);
    }
    assert_memory_equal(c->data, f->big->data, BIG);
    hang_up(c);
    stop(f);
}

static void header_deadline_is_absolute(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.header_timeout_ms = 300;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(f, 0), *silent = dial(f, 0), *body = dial(f, 0);
    say(body, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    say(c, "GET / HTTP/1.1\r\n");
    struct pollfd pfd = {c->fd, POLLIN, 0};
    for (int i = 0; i < 200 && poll(&pfd, 1, 30) == 0; i++)
        say(c, "X"); /* a byte now and then doesn't extend it */
    expect_status(c, 408);
    expect_status(silent, 408);
    expect_status(body, 408);
    assert_int_equal(atomic_load(&f->handled), 0);
    hang_up(c);
    hang_up(silent);
    hang_up(body);
    stop(f);
}

static void idle_connection_is_closed(void **state) {
    (void)state;
    struct http_limits limits = http_limits_default;
    limits.idle_timeout_ms = 100;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, NULL, 200, "hello world\n");
    expect_end(c);
    hang_up(c);
    stop(f);
}

static void expect_refusal(struct fixture *f) {
    struct client *c = dial_silently(f, 0);
    struct response r;
    if (tls) { /* not worth a handshake */
        assert_int_equal(SSL_do_handshake(c->ssl), -1);
    } else {
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
        assert_int_equal(r.status, 503);
        assert_non_null(strstr(r.head, "\r\nRetry-After: "));
        drop(c, r.body_len);
        expect_end(c);
    }
    hang_up(c);
}

/* 0: closed without a word. */
static int try_hello(struct fixture *f) {
    struct client *c = dial_silently(f, 0);
    struct response r = {0};
    if (!tls || SSL_do_handshake(c->ssl) == 1) {
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        hear_response(c, &r, false);
    }
    hang_up(c);
    return r.status;
}

static void too_many(uint32_t in_all, uint32_t per_address) {
    struct http_limits limits = http_limits_default;
    limits.connections_max = in_all;
    limits.connections_per_address = per_address;
    struct fixture *f = start_with(&limits, "127.0.0.1:0");
    struct client *a = dial(f, 0), *b = dial(f, 0);
    struct client *both[] = {a, b};
    for (int i = 0; i < 2; i++) { /* neither is idle, or it would make room */
        say(both[i], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(both[i], 200);
        say(both[i], "POST /hello HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        hear_at_least(both[i], 12);
    }
    expect_refusal(f);
    hang_up(a); /* makes room */
    int status;
    do /* the place is free once the server has seen the end */
        status = try_hello(f);
    while (status == 503 || status == 0);
    assert_int_equal(status, 200);
    hang_up(b);
    stop(f);
}

static void limit_in_all(void **state) {
    (void)state;
    too_many(2, 10);
}

static void limit_per_address(void **state) {
    (void)state;
    too_many(10, 2);
}

static void out_of_descriptors_waits_for_some(void **state) {
    (void)state;
    struct fixture *f = start();
    struct rlimit before, tight;
    int lowest = dup(f->closed); /* the client's socket takes it, and leaves none for the server's end */
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = (struct rlimit){(rlim_t)lowest + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int64_t refused = atomic_load(&http_metrics[HTTP_METRIC_REFUSED_DESCRIPTORS].value);
    struct client *c = dial_silently(f, 0);
    while (atomic_load(&http_metrics[HTTP_METRIC_REFUSED_DESCRIPTORS].value) == refused)
        sched_yield();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(c, 200);
    hang_up(c);
    stop(f);
}

static void drain_lets_responses_finish(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *idle = dial(f, 0), *parked = dial(f, 0), *silent = dial(f, 0), *c = dial(f, 0);
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(idle, 200);
    say(parked, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 2)
        sched_yield();
    say(c, "GET /release HTTP/1.1\r\n" HOST "\r\n"); /* a first parked one is released before the drain: kept alive */
    expect_status(c, 200);
    expect_status(parked, 200);
    say(parked, "GET /park HTTP/1.1\r\n" HOST "\r\n");
    while (atomic_load(&f->handled) < 4)
        sched_yield();
    say(c, "GET /drain HTTP/1.1\r\n" HOST "\r\nGET /release HTTP/1.1\r\n" HOST "\r\n");
    expect_body(c, "\r\nConnection: close\r\n", 200, "draining");
    expect_end(c);
    expect_end(idle);
    expect_end(silent);
    hang_up(c);
    hang_up(idle);
    hang_up(silent);
    hang_up(parked);
    for (int i = 0; i < 5; i++)
        wait_closed(f);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    close(fd);
    stop(f);
}

static void dual_stack_peer(void **state) {
    (void)state;
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    if (probe < 0)
        skip();
    close(probe);
    struct fixture *f = start_with(&http_limits_default, "[::]:0");
    struct client *c = dial(f, 0);
    struct response r;
    say(c, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    hear_response(c, &r, false);
    assert_non_null(memmem(r.body, r.body_len, "|127.0.0.1:", 11));
    hang_up(c);
    stop(f);
}

static void listen_errors(void **state) {
    (void)state;
    struct fixture *f = start();
    static const char *const bad[] = {
        "",        "127.0.0.1", "localhost:80", "127.0.0.1:",     "127.0.0.1:65536", "127.0.0.1:8a",
        "[::1:80", "::1:80",    "[::1]80",      "[127.0.0.1]:80", "127.0.0.1:-1",    ":80"};
    struct loop *loop = loop_create();
    struct http_server *server = http_server_create(loop, &http_limits_default, on_request, f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_server_listen(server, bad[i], false, NULL) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", f->port);
    assert_int_equal(http_server_listen(server, taken, false, NULL), -EADDRINUSE);
    http_server_destroy(server);
    loop_destroy(loop);
    stop(f);
}

static void address_is_shared_with_who_joins_only(void **state) {
    (void)state;
    struct loop *loop = loop_create();
    struct http_server *a = http_server_create(loop, &http_limits_default, on_request, NULL);
    struct http_server *b = http_server_create(loop, &http_limits_default, on_request, NULL);
    struct http_server *stranger = http_server_create(loop, &http_limits_default, on_request, NULL);
    uint16_t port, same;
    char address[32];
    assert_int_equal(http_server_listen(a, "127.0.0.1:0", false, &port), 0);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(http_server_listen(b, address, true, &same), 0);
    assert_int_equal(port, same);
    assert_int_equal(http_server_listen(stranger, address, false, NULL), -EADDRINUSE);
    http_server_destroy(stranger);
    http_server_destroy(a);
    http_server_destroy(b);
    loop_destroy(loop);
}

/* Accepted sockets are ours, in this very process: find the one whose peer the client is. */
static int find_accepted(const struct client *c) {
    struct sockaddr_in mine, peer;
    socklen_t len = sizeof mine;
    getsockname(c->fd, (struct sockaddr *)&mine, &len);
    for (int fd = 3; fd < 256; fd++) {
        len = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
            peer.sin_port == mine.sin_port)
            return fd;
    }
    return -1;
}

static void accepted_sockets_have_tcp_options(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 0);
    say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    expect_status(c, 200);
    int fd = find_accepted(c), nodelay = 0, lowat = 0;
    socklen_t len = sizeof(int);
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, &len), 0);
    assert_int_equal(nodelay, 1);
    assert_int_equal(lowat, 128 * 1024);
    hang_up(c);
    stop(f);
}

static int unsent_max(const struct client *c) {
    int lowat = 0;
    socklen_t len = sizeof lowat;
    assert_int_equal(getsockopt(find_accepted(c), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, &len), 0);
    return lowat;
}

static void kernel_holds_what_the_link_takes(void **state) {
    (void)state;
    struct fixture *f = start();
    struct client *c = dial(f, 16384);
    struct response r;
    for (int i = 0; i < 100 && (i == 0 || unsent_max(c) < HTTP_UNSENT_MAX); i++) {
        say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        hear_head(c, &r);
        hear_at_least(c, BIG);
        drop(c, BIG);
    }
    assert_int_equal(unsent_max(c), HTTP_UNSENT_MAX);
    say(c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    hear_head(c, &r);
    while (c->len < BIG &&
           unsent_max(c) == HTTP_UNSENT_MAX) { /* a MB/s or two: half of the most takes longer than 80 ms */
        hear_at_least(c, c->len + 16384 < BIG ? c->len + 16384 : BIG);
        poll(NULL, 0, 20);
    }
    assert_int_equal(unsent_max(c), HTTP_UNSENT_MIN);
    hang_up(c);
    stop(f);
}

static void congestion_control_where_the_kernel_has_it(void **state) {
    (void)state;
    static const char *const names[] = {"nonexistent", "reno"};
    for (int i = 0; i < 2; i++) {
        char name[HTTP_CONGESTION_LEN] = "";
        socklen_t len = sizeof name;
        congestion = names[i];
        struct fixture *f = start();
        struct client *c = dial(f, 0);
        congestion = NULL;
        say(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        expect_status(c, 200);
        assert_int_equal(getsockopt(find_accepted(c), IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
        if (i == 1)
            assert_string_equal(name, "reno");
        hang_up(c);
        stop(f);
    }
}

static void idle_connection_is_small(void **state) {
    (void)state;
    assert_true(sizeof(struct http_conn) <= 256); /* and its loop_io; no buffer while it is idle */
}

static void metrics_are_rendered(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (!tls) /* once a process */
        http_metrics_register();
    metrics_render(&out);
    assert_int_equal(buf_append(&out, "", 1), 0);
    const char *text = (const char *)buf_head(&out);
    assert_non_null(strstr(text, "weir_http_connections 0\n")); /* all tests gave theirs back */
    assert_non_null(strstr(text, "weir_http_requests_total{code=\"2xx\"} "));
    assert_null(strstr(text, "weir_http_requests_total{code=\"2xx\"} 0\n"));
    assert_null(strstr(text, "weir_http_refused_total{reason=\"address\"} 0\n"));
    buf_finish(&out);
}

static int start_tls(void **state) {
    (void)state;
    char dir[] = "/tmp/weir-test-XXXXXX";
    struct fixture_pair pair;
    struct tls_error error;
    assert_non_null(mkdtemp(dir));
    fixture_make_pair(dir, "server", "DNS:test", 1, 0, "test", &pair);
    struct tls_tickets *tickets = tls_tickets_create();
    tls = tls_context_create(&(struct tls_pair){pair.cert, pair.key}, 1, tickets, false, &error);
    assert_non_null(tls);
    tls_tickets_unref(tickets);
    fixture_remove_pair(&pair);
    rmdir(dir);
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)"\x08http/1.1", 9);
    return 0;
}

static int stop_tls(void **state) {
    (void)state;
    tls_context_unref(tls);
    SSL_CTX_free(client_ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_alive_and_request_facts),
        cmocka_unit_test(body_in_chunks),
        cmocka_unit_test(pipelined_in_order),
        cmocka_unit_test(client_goes_in_the_turn_in_which_it_is_answered),
        cmocka_unit_test(pipelined_behind_a_parked_one),
        cmocka_unit_test(parked_client_disconnects),
        cmocka_unit_test(parked_client_disconnects_at_once),
        cmocka_unit_test(parked_when_server_ends),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(ranges),
        cmocka_unit_test(not_modified),
        cmocka_unit_test(big_body_intact),
        cmocka_unit_test(last_words_to_a_slow_reader),
        cmocka_unit_test(chunked_source_waits_and_resumes),
        cmocka_unit_test(framed_slices_go_out_in_their_own_chunks),
        cmocka_unit_test(framed_slices_are_bare_without_chunks),
        cmocka_unit_test(lent_slices_are_kept_while_the_socket_is_full),
        cmocka_unit_test(live_source_has_the_kernel_hold_little),
        cmocka_unit_test(waiting_source_loses_its_client),
        cmocka_unit_test(http_1_0),
        cmocka_unit_test(connection_close_asked_for),
        cmocka_unit_test(half_closed_client_is_answered),
        cmocka_unit_test(continue_before_body),
        cmocka_unit_test(lifetimes),
        cmocka_unit_test(refusals_close),
        cmocka_unit_test(refused_client_may_go_on_sending),
        cmocka_unit_test(pipelined_before_a_bad_one_are_answered),
        cmocka_unit_test(response_splitting_refused),
        cmocka_unit_test(short_source_aborts),
        cmocka_unit_test(stopped_reader_stops_the_source),
        cmocka_unit_test(stalled_reader_is_aborted),
        cmocka_unit_test(slow_reader_is_not_aborted),
        cmocka_unit_test(header_deadline_is_absolute),
        cmocka_unit_test(idle_connection_is_closed),
        cmocka_unit_test(limit_in_all),
        cmocka_unit_test(limit_per_address),
        cmocka_unit_test(out_of_descriptors_waits_for_some),
        cmocka_unit_test(drain_lets_responses_finish),
        cmocka_unit_test(dual_stack_peer),
        cmocka_unit_test(listen_errors),
        cmocka_unit_test(address_is_shared_with_who_joins_only),
        cmocka_unit_test(accepted_sockets_have_tcp_options),
        cmocka_unit_test(kernel_holds_what_the_link_takes),
        cmocka_unit_test(congestion_control_where_the_kernel_has_it),
        cmocka_unit_test(idle_connection_is_small),
        cmocka_unit_test(metrics_are_rendered),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client's OpenSSL */
    int failed = cmocka_run_group_tests_name("over TCP", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("over TLS", tests, start_tls, stop_tls);
}
