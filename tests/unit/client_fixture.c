#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/metrics.h"
#include "tests/unit/loopback.h"
#include "tests/unit/tls_fixture.h"

enum { TEST_MS = 20000 }; /* 150 handshakes at once take seconds under a sanitizer on a busy machine */

bool http1, over_tls;

char client_dir[] = "/tmp/weir-test-XXXXXX";
struct fixture_pair server_pair, other_pair;
static struct tls_tickets *tickets;

/* --- turns --- */

static void on_turn_end(void *ctx) {
    struct world *w = ctx;
    loop_stop(w->loop);
}

void turn(struct world *w) {
    loop_run(w->loop);
    if (!loop_timer_armed(w->deadline))
        fail_msg("waited in vain");
}

static void on_deadline(void *ctx) {
    (void)ctx;
}

/* --- the server's side --- */

static int next_reply(void *ctx, struct slice *slices, int max) {
    struct reply *reply = ctx;
    (void)max;
    if (buf_len(&reply->queue) > 0) {
        struct blob *blob = buf_to_blob(&reply->queue);
        buf_clear(&reply->queue);
        slices[0] = (struct slice){blob, 0, blob->len};
        return 1;
    }
    return reply->broken ? HTTP_SOURCE_ERROR : reply->ended ? 0 : HTTP_SOURCE_WAIT;
}

static void on_reply_closed(void *ctx) {
    struct reply *reply = ctx;
    struct world *w = reply->world;
    for (int i = 0; i < w->reply_count; i++)
        if (w->replies[i] == reply)
            w->replies[i] = w->replies[--w->reply_count];
    buf_finish(&reply->queue);
    free(reply);
}

static struct reply *reply_create(struct world *w, struct http_request *req) {
    struct reply *reply = calloc(1, sizeof *reply);
    reply->world = w;
    reply->req = req;
    buf_init(&reply->queue, 8 * BIG);
    assert_true(w->reply_count < REPLIES_MAX);
    w->replies[w->reply_count++] = reply;
    http_request_on_close(req, on_reply_closed, reply);
    return reply;
}

static void reply_begin(struct reply *reply) {
    reply->begun = true;
    http_respond(reply->req,
                 &(struct http_response){.status = 200, .length = -1, .source = {next_reply, NULL, reply, 0, 1}});
}

void reply_say(struct reply *reply, const char *text) {
    assert_int_equal(buf_append_str(&reply->queue, text), 0);
    if (reply->begun)
        http_request_resume(reply->req);
}

void reply_end(struct reply *reply) {
    reply->ended = true;
    http_request_resume(reply->req);
}

/* The server finds out that nobody reads a response any more when it has more of it. */
void until_known(struct world *w, int count) {
    while (w->reply_count > count) {
        for (int i = 0; i < w->reply_count; i++)
            reply_say(w->replies[i], "word");
        turn(w);
    }
}

static bool on_body(void *ctx, const uint8_t *data, size_t len) {
    struct reply *reply = ctx;
    reply->ended |= len == 0;
    assert_int_equal(buf_append(&reply->queue, data, len), 0);
    http_request_resume(reply->req);
    return true;
}

static bool drop_body(void *ctx, const uint8_t *data, size_t len) {
    (void)ctx, (void)data, (void)len;
    return true;
}

static const char *or_none(const char *value) {
    return value ? value : "-";
}

static void answer_facts(struct http_request *req) {
    char text[512];
    size_t len;
    const uint8_t *body = http_request_body(req, &len);
    const char *names[] = {"authorization", "content-type", "x-test"}, *values[3];
    for (int i = 0; i < 3; i++)
        values[i] = or_none(http_request_header(req, names[i]));
    snprintf(text, sizeof text, "%d %s|%s|%s|%s?%s|%.*s", (int)http_request_method(req), values[0], values[1],
             values[2], http_request_path(req), http_request_query(req), (int)len, (const char *)body);
    http_respond_error(req, 200, text, NULL, 0);
}

static void answer_busy(struct http_request *req) {
    struct http_header header = {"Retry-After", "7"};
    http_respond_error(req, 503, "too many", &header, 1);
}

static void on_request(void *ctx, struct http_request *req) {
    struct world *w = ctx;
    const char *path = http_request_path(req);
    assert_null(http_request_header(req, "expect"));
    if (strcmp(path, "/busy") == 0) {
        if (http_request_method(req) == HTTP_POST)
            http_request_on_body(req, drop_body, NULL);
        answer_busy(req);
        return;
    }
    if (strncmp(path, "/facts", 6) == 0) {
        answer_facts(req);
        return;
    }
    struct reply *reply = reply_create(w, req);
    if (strcmp(path, "/echo") == 0)
        http_request_on_body(req, on_body, reply);
    if (strcmp(path, "/silent") != 0)
        reply_begin(reply);
}

static bool streams(void *ctx, const struct http_request *req) {
    const char *path = http_request_path(req);
    (void)ctx;
    return http_request_method(req) == HTTP_POST && (strcmp(path, "/echo") == 0 || strcmp(path, "/busy") == 0);
}

struct tls_context *make_context(const struct fixture_pair *pair) {
    struct tls_error error;
    struct tls_context *context =
        tls_context_create(&(struct tls_pair){pair->cert, pair->key}, 1, tickets, false, &error);
    assert_non_null(context);
    return context;
}

void set_tls(struct world *w, struct tls_context *context) {
    http_server_set_tls(w->server, context);
    tls_context_unref(context);
}

static void world_listen(struct world *w) {
    int (*listen_by)(struct http_server *, const char *, bool, uint16_t *) = http_server_listen;
    if (over_tls) {
        set_tls(w, make_context(&server_pair));
        listen_by = http_server_listen_tls;
    }
    assert_int_equal(listen_by(w->server, "127.0.0.1:0", false, &w->port), 0);
}

int world_begin(void **state) {
    struct http_limits limits = http_limits_default;
    limits.connections_per_address = limits.connections_max = 1000;
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->raw_fd = w->raw_conn = -1;
    w->loop = loop_create();
    loop_on_turn_end(w->loop, on_turn_end, w);
    w->deadline = loop_timer_create(w->loop, on_deadline, w);
    loop_timer_set(w->deadline, TEST_MS * INT64_C(1000));
    w->server = http_server_create(w->loop, &limits, on_request, w);
    http_server_stream_bodies(w->server, streams);
    w->config = http_client_config_default;
    w->config.http1 = http1;
    w->config.ca_file = server_pair.cert;
    world_listen(w);
    *state = w;
    return 0;
}

static void raw_stop(struct world *w) {
    loop_io_destroy(w->raw_io);
    if (w->raw_fd >= 0)
        close(w->raw_fd);
    if (w->raw_conn >= 0)
        close(w->raw_conn);
    w->raw_io = NULL;
    w->raw_fd = w->raw_conn = -1;
}

int world_end(void **state) {
    struct world *w = *state;
    client_drop(w);
    http_server_destroy(w->server);
    raw_stop(w);
    loop_timer_destroy(w->deadline);
    loop_destroy(w->loop);
    free(w);
    return 0;
}

static void on_raw(void *ctx, int events) {
    struct world *w = ctx;
    (void)events;
    w->raw_conn = accept(w->raw_fd, NULL, NULL);
    assert_true(w->raw_conn >= 0);
    size_t len = strlen(w->raw_words);
    assert_int_equal(send(w->raw_conn, w->raw_words, len, MSG_NOSIGNAL), (ssize_t)len);
}

void raw_start(struct world *w, const char *words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    raw_stop(w);
    w->raw_words = words;
    w->raw_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->raw_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(w->raw_fd, 8), 0);
    assert_int_equal(getsockname(w->raw_fd, (struct sockaddr *)&address, &len), 0);
    w->port = ntohs(address.sin_port);
    w->raw_io = loop_io_create_level(w->loop, w->raw_fd, LOOP_READ, on_raw, w);
}

/* --- the client's side --- */

static void act_when(struct seen *s, int when) {
    if (s->begins_at == when && !s->begun)
        s->begun = fetch(s->world, "/facts");
    struct seen *victim = s->victim ? s->victim : s;
    if ((int)s->cancels != when || !victim->fetch)
        return;
    http_fetch_cancel(victim->fetch);
    victim->fetch = NULL;
}

static void on_head(void *ctx, int status) {
    struct seen *s = ctx;
    assert_int_equal(s->ends + s->heads++, 0);
    s->status = status;
    const char *value = http_fetch_header(s->fetch, "retry-after");
    snprintf(s->retry_after, sizeof s->retry_after, "%s", or_none(value));
    act_when(s, AT_HEAD);
}

static void on_data(void *ctx, const uint8_t *data, size_t len) {
    struct seen *s = ctx;
    assert_int_equal(s->heads, 1);
    assert_int_equal(s->ends, 0);
    s->runs++;
    if (len > BIG - s->len)
        len = BIG - s->len;
    if (len > 0)
        memcpy(s->data + s->len, data, len);
    s->len += len;
    s->data[s->len] = '\0';
    act_when(s, AT_DATA);
}

static void on_end(void *ctx, int error, const char *text) {
    struct seen *s = ctx;
    assert_int_equal(s->ends++, 0);
    s->error = error;
    snprintf(s->text, sizeof s->text, "%s", text);
    s->times = http_fetch_times(s->fetch);
    act_when(s, AT_END);
    s->fetch = NULL;
}

struct seen *seen_create(struct world *w) {
    struct seen *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->world = w;
    return s;
}

void fetch_with(struct seen *s, const char *path, struct http_fetch_options options) {
    struct world *w = s->world;
    char url[128];
    if (!w->client)
        w->client = http_client_create(w->loop, &w->config);
    snprintf(url, sizeof url, "http%s://127.0.0.1:%d%s", over_tls ? "s" : "", w->port, path);
    options.url = strstr(path, "://") ? path : url;
    options.head = on_head;
    options.data = on_data;
    options.end = on_end;
    options.ctx = s;
    s->fetch = http_client_fetch(w->client, &options);
}

struct seen *fetch(struct world *w, const char *path) {
    struct seen *s = seen_create(w);
    fetch_with(s, path, (struct http_fetch_options){0});
    return s;
}

void expect_end(struct seen *s, int error, const char *text) {
    until(s->world, s->ends);
    if (s->error != error || !strstr(s->text, text))
        fail_msg("%d %s, not %d %s", s->error, s->text, error, text);
    free(s);
}

static int next_piece(void *ctx, struct slice *slices, int max) {
    struct feed *feed = ctx;
    assert_int_equal(feed->finished, 0);
    assert_true(max >= 1);
    feed->asked++;
    act_when(feed->seen, AT_NEXT);
    if (!feed->blob)
        return feed->broken ? HTTP_SOURCE_ERROR : feed->over ? 0 : HTTP_SOURCE_WAIT;
    slices[0] = (struct slice){feed->blob, 1, feed->blob->len - 1};
    if (!feed->lends)
        feed->blob = NULL;
    return 1;
}

/* One that lends has to take care of it until it is asked for the next. */
static int next_lent(void *ctx, struct slice *slices, int max) {
    static struct blob *lent;
    struct feed *feed = ctx;
    int n = next_piece(ctx, slices, max);
    blob_unref(lent);
    lent = n == 1 ? feed->blob : NULL;
    if (n == 1)
        feed->blob = NULL;
    return n;
}

static void on_finish(void *ctx) {
    struct feed *feed = ctx;
    feed->finished++;
    blob_unref(feed->blob);
    feed->blob = NULL;
}

static struct http_source source_of(struct feed *feed) {
    return (struct http_source){feed->lends ? next_lent : next_piece, on_finish, feed,
                                feed->lends ? HTTP_SOURCE_LENDS : 0, 1};
}

void give(struct feed *feed, const void *data, size_t len) {
    assert_null(feed->blob);
    feed->blob = blob_create(len + 1);
    memcpy(feed->blob->data + 1, data, len);
    http_fetch_resume(feed->seen->fetch);
}

void feed_end(struct feed *feed) {
    feed->over = true;
    http_fetch_resume(feed->seen->fetch);
}

struct feed *feed_anew(struct world *w) {
    w->feed = (struct feed){0};
    return &w->feed;
}

void upload_with(struct seen *s, const char *path, struct feed *feed) {
    feed->seen = s;
    fetch_with(s, path, (struct http_fetch_options){.source = source_of(feed)});
}

struct seen *upload(struct world *w, const char *path, struct feed *feed) {
    struct seen *s = seen_create(w);
    upload_with(s, path, feed);
    return s;
}

void client_drop(struct world *w) {
    http_client_destroy(w->client);
    w->client = NULL;
}

/* --- rounds --- */

static int64_t open_requests(void) {
    static const char name[] = "\nweir_http_client_requests_open ";
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    buf_append(&out, "", 1);
    const char *at = strstr((const char *)buf_head(&out), name);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(name), NULL, 10);
    buf_finish(&out);
    return value;
}

static int round_begins(void **state) {
    (void)state;
    printf("--- HTTP/%s%s\n", http1 ? "1.1" : "2", over_tls ? " over TLS" : "");
    return 0;
}

static int round_ends(void **state) {
    (void)state;
    return open_requests() == 0 ? 0 : -1;
}

int in_all_rounds(int (*run)(int (*begins)(void **state), int (*ends)(void **state))) {
    int failed = 0;
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* nobody asks for it */
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    http_client_metrics_register();
    if (!mkdtemp(client_dir))
        return 1;
    fixture_make_pair(client_dir, "server", "IP:127.0.0.1", 1, 0, "server", &server_pair);
    fixture_make_pair(client_dir, "other", "DNS:other.test", 1, 0, "other", &other_pair);
    tickets = tls_tickets_create();
    for (int round = 0; round < 4; round++) {
        over_tls = round >= 2;
        http1 = round % 2 == 0;
        failed += run(round_begins, round_ends);
    }
    tls_tickets_unref(tickets);
    fixture_remove_pair(&server_pair);
    fixture_remove_pair(&other_pair);
    rmdir(client_dir);
    return failed;
}
