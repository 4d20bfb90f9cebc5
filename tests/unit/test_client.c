/* The client against our own server on the same loop, over HTTP/1.1 and HTTP/2, in clear text and TLS, and against
 * sockets that say what no server should. */
#include "common/http/client.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/tls.h"
#include "tests/unit/loopback.h"
#include "tests/unit/tls_fixture.h"

enum { REPLIES_MAX = 160, BIG = 1 << 20 };

/* Of the round: each test runs in all four. */
static bool http1, over_tls;

static char dir[] = "/tmp/weir-test-XXXXXX";
static struct fixture_pair server_pair, other_pair;
static struct tls_tickets *tickets;

struct reply;

struct world {
    struct loop *loop;
    struct loop_timer *deadline;
    struct http_server *server;
    struct http_client *client;
    struct http_client_config config;
    uint16_t port;
    struct reply *replies[REPLIES_MAX];
    int reply_count;
    /* a server that says what it is told to, whatever it is asked */
    int raw_fd, raw_conn;
    struct loop_io *raw_io;
    const char *raw_words;
};

/* --- turns --- */

static void on_turn_end(void *ctx) {
    struct world *w = ctx;
    loop_stop(w->loop);
}

static void turn(struct world *w) {
    loop_run(w->loop);
    if (!loop_timer_armed(w->deadline))
        fail_msg("waited in vain");
}

#define until(w, condition)                                                                                            \
    while (!(condition))                                                                                               \
    turn(w)

static void on_deadline(void *ctx) {
    (void)ctx;
}

/* --- the server's side --- */

/* A response without an end, unless the test says so. */
struct reply {
    struct world *world;
    struct http_request *req;
    struct buf queue;
    bool begun, ended, broken;
};

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

static void reply_say(struct reply *reply, const char *text) {
    assert_int_equal(buf_append_str(&reply->queue, text), 0);
    if (reply->begun)
        http_request_resume(reply->req);
}

/* A server finds out that nobody reads a response any more when it has more of it. */
static void until_known(struct world *w, int count) {
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

static struct tls_context *make_context(const struct fixture_pair *pair) {
    struct tls_error error;
    struct tls_context *context =
        tls_context_create(&(struct tls_pair){pair->cert, pair->key}, 1, tickets, false, &error);
    assert_non_null(context);
    return context;
}

static void world_listen(struct world *w, const struct fixture_pair *pair) {
    int (*listen_by)(struct http_server *, const char *, bool, uint16_t *) = http_server_listen;
    if (over_tls) {
        struct tls_context *context = make_context(pair);
        http_server_set_tls(w->server, context);
        tls_context_unref(context);
        listen_by = http_server_listen_tls;
    }
    assert_int_equal(listen_by(w->server, "127.0.0.1:0", false, &w->port), 0);
}

static void world_init(struct world *w) {
    struct http_limits limits = http_limits_default;
    limits.connections_per_address = limits.connections_max = 1000;
    *w = (struct world){.raw_fd = -1, .raw_conn = -1};
    w->loop = loop_create();
    loop_on_turn_end(w->loop, on_turn_end, w);
    w->deadline = loop_timer_create(w->loop, on_deadline, w);
    loop_timer_set(w->deadline, WAIT_MS * INT64_C(1000));
    w->server = http_server_create(w->loop, &limits, on_request, w);
    http_server_stream_bodies(w->server, streams);
    w->config = http_client_config_default;
    w->config.http1 = http1;
    w->config.ca_file = server_pair.cert;
}

static void world_start(struct world *w) {
    world_init(w);
    world_listen(w, &server_pair);
    w->client = http_client_create(w->loop, &w->config);
}

static void world_finish(struct world *w) {
    http_client_destroy(w->client);
    http_server_destroy(w->server);
    loop_io_destroy(w->raw_io);
    if (w->raw_fd >= 0)
        close(w->raw_fd);
    if (w->raw_conn >= 0)
        close(w->raw_conn);
    loop_timer_destroy(w->deadline);
    loop_destroy(w->loop);
}

static void on_raw(void *ctx, int events) {
    struct world *w = ctx;
    (void)events;
    w->raw_conn = accept(w->raw_fd, NULL, NULL);
    assert_true(w->raw_conn >= 0);
    size_t len = strlen(w->raw_words);
    assert_int_equal(send(w->raw_conn, w->raw_words, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void raw_start(struct world *w, const char *words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    w->raw_words = words;
    w->raw_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->raw_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(w->raw_fd, 8), 0);
    assert_int_equal(getsockname(w->raw_fd, (struct sockaddr *)&address, &len), 0);
    w->port = ntohs(address.sin_port);
    w->raw_io = loop_io_create_level(w->loop, w->raw_fd, LOOP_READ, on_raw, w);
}

/* --- the client's side --- */

/* What a fetch has said, and what it does when it speaks. */
struct seen {
    struct world *world;
    struct http_fetch *fetch;
    int heads, status, runs, ends, error;
    size_t len;
    char data[BIG + 1], text[256], retry_after[16];
    struct http_fetch_times times;
    enum { NEVER, AT_HEAD, AT_DATA, AT_NEXT, AT_END } cancels;
    struct seen *victim; /* NULL: itself */
    int begins_at;       /* likewise: another fetch */
    struct seen *begun;
};

static struct seen *fetch(struct world *w, const char *path);

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

static struct seen *seen_create(struct world *w) {
    struct seen *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->world = w;
    return s;
}

static void fetch_with(struct seen *s, const char *path, struct http_fetch_options options) {
    char url[128];
    snprintf(url, sizeof url, "http%s://127.0.0.1:%d%s", over_tls ? "s" : "", s->world->port, path);
    options.url = strstr(path, "://") ? path : url;
    options.head = on_head;
    options.data = on_data;
    options.end = on_end;
    options.ctx = s;
    s->fetch = http_client_fetch(s->world->client, &options);
}

static struct seen *fetch(struct world *w, const char *path) {
    struct seen *s = seen_create(w);
    fetch_with(s, path, (struct http_fetch_options){0});
    return s;
}

static void expect_end(struct seen *s, int error, const char *text) {
    until(s->world, s->ends);
    if (s->error != error || !strstr(s->text, text))
        fail_msg("%d %s, not %d %s", s->error, s->text, error, text);
    free(s);
}

/* The body of a request. */
struct feed {
    struct seen *seen;
    struct blob *blob; /* the next piece, or NULL */
    bool over, broken, lends;
    int asked, finished;
};

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

static void give(struct feed *feed, const void *data, size_t len) {
    assert_null(feed->blob);
    feed->blob = blob_create(len + 1);
    memcpy(feed->blob->data + 1, data, len);
    http_fetch_resume(feed->seen->fetch);
}

static struct seen *upload(struct world *w, const char *path, struct feed *feed) {
    struct seen *s = seen_create(w);
    feed->seen = s;
    fetch_with(s, path, (struct http_fetch_options){.source = source_of(feed)});
    return s;
}

/* --- fetches --- */

static void endless_response_comes_run_after_run(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/endless");
    assert_int_equal(s->heads + s->ends, 0); /* nothing from within */
    until(&w, s->heads);
    assert_int_equal(s->status, 200);
    assert_string_equal(s->retry_after, "-");
    for (size_t i = 1; i <= 20; i++) {
        reply_say(w.replies[0], "chunk");
        until(&w, s->len == 5 * i);
    }
    assert_int_equal(s->runs, 20);
    w.replies[0]->ended = true;
    http_request_resume(w.replies[0]->req);
    expect_end(s, 0, "");
    world_finish(&w);
}

static void long_runs_come_whole(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/endless");
    until(&w, s->heads);
    for (int i = 0; i < BIG; i++)
        assert_int_equal(buf_append(&w.replies[0]->queue, &(uint8_t){(uint8_t)(i % 251)}, 1), 0);
    w.replies[0]->ended = true;
    http_request_resume(w.replies[0]->req);
    until(&w, s->ends);
    assert_int_equal(s->len, BIG);
    for (int i = 0; i < BIG; i++)
        if ((uint8_t)s->data[i] != i % 251)
            fail_msg("byte %d", i);
    expect_end(s, 0, "");
    world_finish(&w);
}

static void status_ends_it_and_headers_can_be_read(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/busy");
    until(&w, s->ends);
    assert_int_equal(s->status, 503);
    assert_string_equal(s->retry_after, "7");
    assert_int_equal(s->runs, 0);
    expect_end(s, -EREMOTEIO, "answered 503");
    world_finish(&w);
}

static void response_that_breaks_off_is_an_error(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/endless");
    until(&w, s->heads);
    reply_say(w.replies[0], "some");
    until(&w, s->len);
    w.replies[0]->broken = true;
    http_request_resume(w.replies[0]->req);
    expect_end(s, -ECONNRESET, "");
    world_finish(&w);
}

static void server_that_goes_away_is_an_error(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/endless");
    until(&w, s->heads);
    http_server_destroy(w.server);
    w.server = NULL;
    until(&w, s->ends);
    assert_true(s->error == -ECONNRESET || s->error == -EPROTO);
    free(s);
    s = fetch(&w, "/endless");
    expect_end(s, -ECONNREFUSED, "");
    world_finish(&w);
}

static void small_request_is_answered_whole(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct http_header headers[] = {{"Content-Type", "application/json"}, {"X-Test", "yes"}};
    struct seen *s = seen_create(&w);
    fetch_with(s, "/facts/v3/kv/put?a=b",
               (struct http_fetch_options){
                   .headers = headers, .header_count = 2, .body = "{\"key\":0}", .body_len = 9, .collect_bytes = 1000});
    until(&w, s->ends);
    assert_int_equal(s->runs, 1);
    assert_non_null(strstr(s->data, "3 -|application/json|yes|/facts/v3/kv/put?a=b|{\"key\":0}"));
    expect_end(s, 0, "");
    s = seen_create(&w);
    fetch_with(s, "/facts", (struct http_fetch_options){.body = "", .collect_bytes = 1000});
    until(&w, s->ends);
    assert_non_null(strstr(s->data, "3 -|-|-|/facts?|"));
    expect_end(s, 0, "");
    world_finish(&w);
}

static void small_request_gets_the_words_of_an_error(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = seen_create(&w);
    fetch_with(s, "/busy", (struct http_fetch_options){.collect_bytes = 1000});
    until(&w, s->ends);
    assert_int_equal(s->status, 503);
    assert_non_null(strstr(s->data, "too many"));
    expect_end(s, 0, "");
    world_finish(&w);
}

static void more_than_is_collected_is_an_error(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = seen_create(&w);
    fetch_with(s, "/facts", (struct http_fetch_options){.collect_bytes = 5});
    until(&w, s->ends);
    assert_int_equal(s->runs, 0);
    expect_end(s, -EMSGSIZE, "body is too long");
    world_finish(&w);
}

static void token_goes_with_every_request(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_listen(&w, &server_pair);
    w.config.token = "s3cret";
    w.client = http_client_create(w.loop, &w.config);
    struct seen *s = fetch(&w, "/facts");
    until(&w, s->ends);
    assert_non_null(strstr(s->data, "1 Bearer s3cret|"));
    expect_end(s, 0, "");
    world_finish(&w);
}

/* --- bodies of requests --- */

static void expect_duplex(bool lends) {
    struct world w;
    struct feed feed = {.lends = lends};
    world_start(&w);
    struct seen *s = upload(&w, "/echo", &feed);
    assert_int_equal(feed.asked, 0);
    until(&w, s->heads); /* before a byte of the body has gone */
    assert_int_equal(s->status, 200);
    until(&w, feed.asked);
    for (size_t i = 1; i <= 50; i++) {
        give(&feed, "piece", 5);
        until(&w, s->len == 5 * i);
    }
    assert_true(feed.asked <= 101); /* for each piece, and what comes after */
    feed.over = true;
    http_fetch_resume(s->fetch);
    until(&w, s->ends);
    assert_int_equal(feed.finished, 1);
    expect_end(s, 0, "");
    world_finish(&w);
}

static void body_goes_out_while_the_response_comes(void **state) {
    (void)state;
    expect_duplex(false);
    expect_duplex(true);
}

static void expect_long_body(bool lends) {
    struct world w;
    struct feed feed = {.lends = lends};
    char *data = malloc(BIG);
    for (int i = 0; i < BIG; i++)
        data[i] = (char)(i % 249);
    world_start(&w);
    struct seen *s = upload(&w, "/echo", &feed);
    for (int at = 0; at < BIG; at += BIG / 4) { /* more than libcurl takes at a time, and than the server's window */
        give(&feed, data + at, BIG / 4);
        until(&w, !feed.blob);
    }
    feed.over = true;
    http_fetch_resume(s->fetch);
    until(&w, s->ends);
    assert_int_equal(s->len, BIG);
    assert_memory_equal(s->data, data, BIG);
    expect_end(s, 0, "");
    free(data);
    world_finish(&w);
}

static void long_body_goes_out_whole(void **state) {
    (void)state;
    expect_long_body(false);
    expect_long_body(true);
}

static void body_is_refused_by_status(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s = upload(&w, "/busy", &feed);
    until(&w, s->ends);
    assert_int_equal(s->status, 503);
    assert_string_equal(s->retry_after, "7");
    assert_int_equal(feed.finished, 1);
    expect_end(s, -EREMOTEIO, "answered 503");
    world_finish(&w);
}

static void body_that_fails_ends_the_fetch(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s = upload(&w, "/echo", &feed);
    give(&feed, "piece", 5);
    until(&w, s->len == 5);
    feed.broken = true;
    http_fetch_resume(s->fetch);
    until(&w, s->ends);
    assert_int_equal(feed.finished, 1);
    expect_end(s, -ECANCELED, "its source failed");
    until_known(&w, 0); /* and the server knows that this wasn't all */
    world_finish(&w);
}

static void response_that_ends_before_the_body_is_an_error(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s = upload(&w, "/echo", &feed);
    give(&feed, "piece", 5);
    until(&w, s->len == 5);
    w.replies[0]->ended = true;
    http_request_resume(w.replies[0]->req);
    until(&w, w.reply_count == 0);
    while (!s->ends) { /* over HTTP/1.1 it is found without more */
        if (!feed.blob && !http1)
            give(&feed, "piece", 5);
        turn(&w);
    }
    assert_int_equal(feed.finished, 1);
    expect_end(s, -ECONNRESET, "");
    world_finish(&w);
}

static void resume_without_need_is_harmless(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s = upload(&w, "/echo", &feed);
    http_fetch_resume(s->fetch); /* before there is a connection */
    http_fetch_resume(s->fetch);
    until(&w, s->heads);
    http_fetch_resume(s->fetch);
    struct seen *other = fetch(&w, "/endless");
    http_fetch_resume(other->fetch);
    until(&w, other->heads);
    give(&feed, "piece", 5);
    until(&w, s->len == 5);
    free(s);
    free(other);
    world_finish(&w);
}

/* --- connections --- */

static void fetches_share_a_connection(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s[] = {fetch(&w, "/endless"), fetch(&w, "/endless"), upload(&w, "/echo", &feed)};
    until(&w, s[0]->heads && s[1]->heads && s[2]->heads);
    assert_int_equal(http_server_connections(w.server), http1 ? 3 : 1);
    for (int i = 0; i < 3; i++)
        free(s[i]);
    world_finish(&w);
}

static void connection_is_kept_and_measured(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    for (int i = 0; i < 3; i++) {
        struct seen *s = fetch(&w, "/facts");
        until(&w, s->ends);
        assert_true(i == 0 ? s->times.connect_us > 0 : s->times.connect_us == 0);
        assert_true(s->times.first_byte_us >= s->times.connect_us);
        expect_end(s, 0, "");
        assert_int_equal(http_server_connections(w.server), 1);
    }
    world_finish(&w);
}

/* More than the server allows on one connection. */
static void many_at_once(void **state) {
    (void)state;
    enum { N = 150 };
    struct world w;
    struct seen *s[N];
    world_start(&w); /* with 100 to a connection, as the server has it */
    for (int i = 0; i < N; i++)
        s[i] = fetch(&w, "/endless");
    for (int i = 0; i < N; i++)
        until(&w, s[i]->heads);
    assert_int_equal(w.reply_count, N);
    assert_int_equal(http_server_connections(w.server), http1 ? N : 2);
    for (int round = 1; round <= 5; round++) {
        for (int i = 0; i < N; i++)
            reply_say(w.replies[i], "word");
        for (int i = 0; i < N; i++)
            until(&w, s[i]->len == 4 * (size_t)round);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(s[i]->ends, 0);
        http_fetch_cancel(s[i]->fetch);
        free(s[i]);
    }
    until_known(&w, 0);
    world_finish(&w);
}

static void fewer_to_a_connection_if_configured(void **state) {
    (void)state;
    struct world w;
    struct seen *s[9];
    world_init(&w);
    world_listen(&w, &server_pair);
    w.config.streams_max = 3;
    w.client = http_client_create(w.loop, &w.config);
    for (int i = 0; i < 9; i++)
        s[i] = fetch(&w, "/endless");
    for (int i = 0; i < 9; i++)
        until(&w, s[i]->heads);
    assert_int_equal(http_server_connections(w.server), http1 ? 9 : 3);
    for (int i = 0; i < 9; i++)
        free(s[i]);
    world_finish(&w);
}

static void server_that_drains_is_left_alone(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    struct seen *s = fetch(&w, "/facts");
    until(&w, s->ends);
    expect_end(s, 0, "");
    http_server_drain(w.server);
    until(&w, http_server_connections(w.server) == 0);
    s = fetch(&w, "/facts");
    expect_end(s, -ECONNREFUSED, "");
    world_finish(&w);
}

static void host_that_refuses_fails_all_who_wait(void **state) {
    (void)state;
    struct world w;
    struct seen *s[5];
    world_start(&w);
    http_server_destroy(w.server); /* its port is nobody's now */
    w.server = NULL;
    for (int i = 0; i < 5; i++)
        s[i] = fetch(&w, "/facts");
    s[0]->cancels = AT_END;
    s[0]->victim = s[2];
    s[1]->begins_at = AT_END;
    for (int i = 0; i < 5; i++)
        if (i != 2)
            until(&w, s[i]->ends);
    expect_end(s[1]->begun, -ECONNREFUSED, "");
    assert_int_equal(s[2]->ends, 0);
    free(s[2]);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            expect_end(s[i], -ECONNREFUSED, "");
    world_finish(&w);
}

/* --- timeouts --- */

static void response_that_is_late_is_not_waited_for(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_listen(&w, &server_pair);
    w.config.response_timeout_ms = 200;
    w.client = http_client_create(w.loop, &w.config);
    struct seen *in_time = fetch(&w, "/endless"), *late = fetch(&w, "/silent");
    expect_end(late, -ETIMEDOUT, "no response within 200 ms");
    reply_say(w.replies[0], "word");
    until(&w, in_time->len == 4); /* once it has begun there is no limit */
    assert_int_equal(in_time->ends, 0);
    free(in_time);
    world_finish(&w);
}

static void server_that_does_not_shake_hands_is_not_waited_for(void **state) {
    (void)state;
    struct world w;
    char url[64];
    world_init(&w);
    raw_start(&w, "");
    w.config.connect_timeout_ms = 100;
    w.client = http_client_create(w.loop, &w.config);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", w.port);
    struct seen *s = fetch(&w, url);
    expect_end(s, -ETIMEDOUT, "");
    world_finish(&w);
}

/* --- cancelling --- */

static void expect_cancelled(struct world *w, const char *path, int when) {
    struct feed feed = {0};
    struct seen *s = seen_create(w);
    bool uploads = strcmp(path, "/echo") == 0;
    s->cancels = when;
    feed.seen = s;
    fetch_with(s, path, (struct http_fetch_options){.source = uploads ? source_of(&feed) : (struct http_source){0}});
    if (uploads)
        give(&feed, "piece", 5);
    while (s->fetch) {
        if (w->reply_count == 1 && s->heads == 1)
            reply_say(w->replies[0], "word");
        turn(w);
    }
    assert_int_equal(feed.finished, uploads);
    assert_int_equal(s->ends, when == AT_END);
    until_known(w, 0);
    free(s);
}

static void cancelled_in_its_own_callbacks(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    for (int i = 0; i < 2; i++) {
        expect_cancelled(&w, "/endless", AT_HEAD);
        expect_cancelled(&w, "/endless", AT_DATA);
        expect_cancelled(&w, "/echo", AT_HEAD);
        expect_cancelled(&w, "/echo", AT_DATA);
        expect_cancelled(&w, "/echo", AT_NEXT);
        expect_cancelled(&w, "/busy", AT_HEAD);
        expect_cancelled(&w, "/busy", AT_END);
    }
    world_finish(&w);
}

static void cancelled_at_any_moment(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    for (int turns = 0; turns < 12; turns++) {
        struct feed feed = {0};
        struct seen *s = fetch(&w, "/endless"), *up = upload(&w, "/echo", &feed);
        for (int i = 0; i < turns && !s->heads; i++)
            turn(&w);
        http_fetch_cancel(s->fetch);
        http_fetch_cancel(up->fetch);
        assert_int_equal(feed.finished, 1);
        until_known(&w, 0);
        assert_int_equal(s->ends + up->ends, 0);
        free(s);
        free(up);
    }
    world_finish(&w);
}

static void cancelled_by_another(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    for (int when = AT_HEAD; when <= AT_DATA; when++) {
        struct seen *s[] = {fetch(&w, "/endless"), fetch(&w, "/endless")};
        for (int i = 0; i < 2; i++) {
            s[i]->cancels = when;
            s[i]->victim = s[1 - i];
        }
        while (s[0]->fetch && s[1]->fetch) {
            if (s[0]->heads && s[1]->heads && w.reply_count == 2) {
                reply_say(w.replies[0], "word");
                reply_say(w.replies[1], "word");
            }
            turn(&w);
        }
        struct seen *left = s[0]->fetch ? s[0] : s[1];
        left->cancels = NEVER;
        until(&w, left->heads);
        until_known(&w, 1);
        http_fetch_cancel(left->fetch);
        until_known(&w, 0);
        free(s[0]);
        free(s[1]);
    }
    world_finish(&w);
}

static void next_fetch_is_begun_in_a_callback(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    for (int when = AT_HEAD; when <= AT_END; when++) {
        struct feed feed = {0};
        struct seen *s = seen_create(&w);
        feed.seen = s;
        s->begins_at = when;
        fetch_with(s, "/echo", (struct http_fetch_options){.source = source_of(&feed)});
        give(&feed, "piece", 5);
        until(&w, s->len == 5);
        feed.over = true;
        http_fetch_resume(s->fetch);
        until(&w, s->ends && s->begun);
        expect_end(s->begun, 0, "");
        expect_end(s, 0, "");
    }
    world_finish(&w);
}

static void client_that_is_destroyed_cancels_all(void **state) {
    (void)state;
    struct world w;
    struct feed feed = {0};
    world_start(&w);
    struct seen *s[] = {fetch(&w, "/endless"), fetch(&w, "/silent"), upload(&w, "/echo", &feed), NULL};
    until(&w, s[0]->heads && s[2]->heads && w.reply_count == 3);
    s[3] = fetch(&w, "/endless"); /* hasn't begun */
    http_client_destroy(w.client);
    w.client = NULL;
    assert_int_equal(feed.finished, 1);
    until_known(&w, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s[i]->ends, 0);
        free(s[i]);
    }
    http_client_destroy(NULL);
    world_finish(&w);
}

/* --- TLS --- */

static void server_must_be_vouched_for(void **state) {
    (void)state;
    if (!over_tls)
        return;
    static const char *const files[] = {NULL, "other", "/nonexistent"};
    for (int i = 0; i < 3; i++) {
        struct world w;
        world_init(&w);
        world_listen(&w, &server_pair);
        w.config.ca_file = i == 1 ? other_pair.cert : files[i];
        w.client = http_client_create(w.loop, &w.config);
        struct seen *s = fetch(&w, "/facts");
        expect_end(s, -EPROTO, i == 2 ? "/nonexistent" : "certificate");
        world_finish(&w);
    }
}

static void server_must_have_the_name_that_was_asked_for(void **state) {
    (void)state;
    if (!over_tls)
        return;
    struct world w;
    world_init(&w);
    world_listen(&w, &other_pair);
    w.config.ca_file = other_pair.cert;
    w.client = http_client_create(w.loop, &w.config);
    struct seen *s = fetch(&w, "/facts");
    expect_end(s, -EPROTO, "127.0.0.1");
    world_finish(&w);
}

static struct tls_context *make_demanding(void) {
    struct tls_context *context = make_context(&server_pair);
    struct tls_error error;
    assert_int_equal(tls_context_demand(context, other_pair.cert, &error), 0);
    return context;
}

/* `shows` may be NULL. Whether that got it what it asked for. */
static bool is_served(const struct fixture_pair *shows) {
    struct world w;
    struct tls_context *context = make_demanding();
    world_init(&w);
    world_listen(&w, &server_pair);
    http_server_set_tls(w.server, context);
    tls_context_unref(context);
    w.config.cert_file = shows ? shows->cert : NULL;
    w.config.key_file = shows ? shows->key : NULL;
    w.client = http_client_create(w.loop, &w.config);
    struct seen *s = fetch(&w, "/facts");
    until(&w, s->ends);
    bool served = s->error == 0;
    if (!served && s->error != -EPROTO &&
        s->error != -ECONNRESET) /* with TLS 1.3 the refusal comes after the handshake */
        fail_msg("%d %s", s->error, s->text);
    free(s);
    world_finish(&w);
    return served;
}

static void client_shows_who_it_is(void **state) {
    (void)state;
    if (!over_tls)
        return;
    struct fixture_pair missing = other_pair, locked = other_pair;
    strcpy(missing.cert, "/nonexistent");
    snprintf(locked.key, sizeof locked.key, "%s/locked", dir);
    fixture_lock_key(&other_pair, locked.key);
    assert_true(is_served(&other_pair));
    assert_false(is_served(NULL));
    assert_false(is_served(&server_pair));
    assert_false(is_served(&missing));
    assert_false(is_served(&locked)); /* and nobody is asked for the passphrase */
    unlink(locked.key);
}

/* --- what is no good: only in the round of HTTP/1.1 in clear text --- */

static void expect_raw(const char *words, int error, const char *text, int status, const char *data) {
    struct world w;
    world_init(&w);
    raw_start(&w, words);
    w.client = http_client_create(w.loop, &w.config);
    struct seen *s = fetch(&w, "/");
    until(&w, s->ends);
    assert_int_equal(s->status, status);
    assert_string_equal(s->data, data);
    expect_end(s, error, text);
    world_finish(&w);
}

static void words_of_strange_servers(void **state) {
    (void)state;
    char long_head[70000], many[6000] = "HTTP/1.1 200 OK\r\n";
    if (!http1 || over_tls)
        return;
    int len = snprintf(long_head, sizeof long_head, "HTTP/1.1 200 OK\r\nX: ");
    memset(long_head + len, 'x', sizeof long_head - 1 - (size_t)len);
    memcpy(long_head + sizeof long_head - 5, "\r\n\r\n", 5);
    for (int i = 0; i < 300; i++)
        strcat(many, "A: b\r\n");
    expect_raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, "", 200,
               "hi");
    expect_raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", 0, "", 200, "hi");
    expect_raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", -EREMOTEIO, "answered 302", 302, "");
    expect_raw(long_head, -EMSGSIZE, "head is too long", 0, "");
    expect_raw(many, -EMSGSIZE, "head is too long", 0, "");
    expect_raw("SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", -EPROTO, "", 0, "");
    expect_raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", -ECONNRESET, "", 200, "");
}

static void urls_that_are_no_good(void **state) {
    (void)state;
    struct world w;
    world_start(&w);
    const char *const urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "http://[::1/", "gopher://127.0.0.1/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        expect_end(fetch(&w, urls[i]), -EINVAL, "");
    world_finish(&w);
}

/* --- */

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

static int run_round(bool h1, bool with_tls) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_response_comes_run_after_run),
        cmocka_unit_test(long_runs_come_whole),
        cmocka_unit_test(status_ends_it_and_headers_can_be_read),
        cmocka_unit_test(response_that_breaks_off_is_an_error),
        cmocka_unit_test(server_that_goes_away_is_an_error),
        cmocka_unit_test(small_request_is_answered_whole),
        cmocka_unit_test(small_request_gets_the_words_of_an_error),
        cmocka_unit_test(more_than_is_collected_is_an_error),
        cmocka_unit_test(token_goes_with_every_request),
        cmocka_unit_test(body_goes_out_while_the_response_comes),
        cmocka_unit_test(long_body_goes_out_whole),
        cmocka_unit_test(body_is_refused_by_status),
        cmocka_unit_test(body_that_fails_ends_the_fetch),
        cmocka_unit_test(response_that_ends_before_the_body_is_an_error),
        cmocka_unit_test(resume_without_need_is_harmless),
        cmocka_unit_test(fetches_share_a_connection),
        cmocka_unit_test(connection_is_kept_and_measured),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(fewer_to_a_connection_if_configured),
        cmocka_unit_test(host_that_refuses_fails_all_who_wait),
        cmocka_unit_test(server_that_drains_is_left_alone),
        cmocka_unit_test(response_that_is_late_is_not_waited_for),
        cmocka_unit_test(server_that_does_not_shake_hands_is_not_waited_for),
        cmocka_unit_test(cancelled_in_its_own_callbacks),
        cmocka_unit_test(cancelled_at_any_moment),
        cmocka_unit_test(cancelled_by_another),
        cmocka_unit_test(next_fetch_is_begun_in_a_callback),
        cmocka_unit_test(client_that_is_destroyed_cancels_all),
        cmocka_unit_test(server_must_be_vouched_for),
        cmocka_unit_test(server_must_have_the_name_that_was_asked_for),
        cmocka_unit_test(client_shows_who_it_is),
        cmocka_unit_test(words_of_strange_servers),
        cmocka_unit_test(urls_that_are_no_good),
    };
    http1 = h1;
    over_tls = with_tls;
    return cmocka_run_group_tests(tests, round_begins, round_ends);
}

int main(void) {
    int failed = 0;
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* nobody asks for it */
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    http_client_metrics_register();
    if (!mkdtemp(dir))
        return 1;
    fixture_make_pair(dir, "server", "IP:127.0.0.1", 1, 0, "server", &server_pair);
    fixture_make_pair(dir, "other", "DNS:other.test", 1, 0, "other", &other_pair);
    tickets = tls_tickets_create();
    for (int with_tls = 0; with_tls <= 1; with_tls++)
        for (int h1 = 1; h1 >= 0; h1--)
            failed += run_round(h1, with_tls);
    tls_tickets_unref(tickets);
    fixture_remove_pair(&server_pair);
    fixture_remove_pair(&other_pair);
    rmdir(dir);
    return failed;
}
