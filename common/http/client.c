/* The HTTP client: libcurl's multi interface on our loop.
 *
 * libcurl calls back from within its own calls, where its handles may be neither added nor removed. So users are called
 * from there only for what they may answer by a word (head, data, a source's next); `end` runs when libcurl has
 * returned (settle), and what a user cancels meanwhile is taken from libcurl then.
 *
 * libcurl says often what it watches a socket for: a body that is resumed has it wait for room, and no more once it is
 * out. Only what it says last in a turn is passed on to the kernel, which is nothing new, as a rule.
 *
 * A body that is resumed waits for the next turn, so that one call has libcurl look at all that were.
 *
 * Which connection an HTTP/2 fetch goes over is libcurl's choice, but not when one is made: while connections are being
 * made it doesn't see them, and would make one a fetch; and one without TLS it can only begin with the prior knowledge
 * that HTTP/2 is spoken, and only go on with without (7.88 begins it once more, curl's #10634). So the fetches to an
 * origin are placed one after the other (struct origin). Each is first to find a connection with room; when libcurl
 * would open one instead (on_open) it is told no, and the fetch leads: it is given to libcurl once more, and does open
 * one. The next is placed when its request is about to go out (on_placed). */
#include "common/http/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"

enum {
    HEAD_BYTES_MAX = 64 * 1024, /* of a response, with its 1xx and trailers */
    HEAD_LINES_MAX = 130,       /* 128 fields, a status line and the end */
    RECEIVE_BYTES = 64 * 1024,
    STATUS_REFUSED = 300, /* and above: nothing that a stream would come with */
};

const struct http_client_config http_client_config_default = {
    .streams_max = 100,
    .connect_timeout_ms = 5000,
    .response_timeout_ms = 10000,
};

/* --- metrics --- */

enum {
    METRIC_OPEN,
    METRIC_OK,
    METRIC_STATUS,
    METRIC_TIMEOUT,
    METRIC_FAILED,
    METRIC_CANCELLED,
    METRIC_CONNECTIONS,
    METRIC_RECEIVED,
    METRIC_SENT,
    METRICS
};
#define REQUESTS "Requests to other servers that are over, by how they ended"
static struct metric metrics[METRICS] = {
    [METRIC_OPEN] = {"weir_http_client_requests_open", NULL, "Requests to other servers under way", METRIC_GAUGE, 0},
    [METRIC_OK] = {"weir_http_client_requests_total", "result=\"ok\"", REQUESTS, METRIC_COUNTER, 0},
    [METRIC_STATUS] = {"weir_http_client_requests_total", "result=\"status\"", REQUESTS, METRIC_COUNTER, 0},
    [METRIC_TIMEOUT] = {"weir_http_client_requests_total", "result=\"timeout\"", REQUESTS, METRIC_COUNTER, 0},
    [METRIC_FAILED] = {"weir_http_client_requests_total", "result=\"failed\"", REQUESTS, METRIC_COUNTER, 0},
    [METRIC_CANCELLED] = {"weir_http_client_requests_total", "result=\"cancelled\"", REQUESTS, METRIC_COUNTER, 0},
    [METRIC_CONNECTIONS] = {"weir_http_client_connections_total", NULL, "Connections made to other servers",
                            METRIC_COUNTER, 0},
    [METRIC_RECEIVED] = {"weir_http_client_received_bytes_total", NULL,
                         "Bytes of bodies that other servers answered with", METRIC_COUNTER, 0},
    [METRIC_SENT] = {"weir_http_client_sent_bytes_total", NULL, "Bytes of bodies pulled for other servers",
                     METRIC_COUNTER, 0},
};

void http_client_metrics_register(void) {
    metrics_register(metrics, METRICS);
}

/* --- */

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct http_client_config config; /* its strings are ours */
    char *authorization;              /* a header's line, or NULL */
    struct loop_timer *timeout;       /* libcurl's */
    struct loop_timer *turn;          /* due while `resumed` has entries */
    struct list fetches;              /* http_fetch.link: those that nobody cancelled */
    struct list cancelled;            /* http_fetch.link: while libcurl was on the stack */
    struct list resumed;              /* http_fetch.resumed */
    struct list dried;                /* http_fetch.dried */
    struct list halved;               /* http_fetch.halved */
    struct list changed;              /* watch.changed */
    struct list origins;              /* origin.link */
    bool inside;                      /* libcurl is on the stack */
};

/* A socket of libcurl's. */
struct watch {
    struct http_client *client;
    struct loop_io *io; /* NULL while armed for nothing */
    int fd, wanted, armed;
    struct list changed; /* in the client's while wanted and armed may differ, or alone */
};

/* Exists while a fetch to it is being placed or waits for that. */
struct origin {
    struct list link;
    struct list line;           /* http_fetch.line: whose turn it isn't */
    struct http_fetch *placing; /* HTTP/2: libcurl has it, and it hasn't a connection yet; NULL only until place_next */
    size_t len;
    char name[]; /* scheme and authority */
};

enum fetch_state {
    FETCH_WAITS,     /* for the final response's head */
    FETCH_RECEIVES,  /* its body */
    FETCH_ENDS,      /* `end` is running */
    FETCH_CANCELLED, /* no more calls */
};

struct http_fetch {
    struct list link;
    struct list resumed;   /* in the client's while libcurl is to go on with its body, or alone */
    struct list dried;     /* in the client's when libcurl took bytes of its body and would wait for room, or alone */
    struct list halved;    /* in the client's when its response has ended and its body hasn't, or alone */
    struct list line;      /* in its origin's, or alone */
    struct origin *origin; /* while it is being placed, or in the line */
    struct http_client *client;
    CURL *easy;
    enum fetch_state state;
    void (*head)(void *ctx, int status);
    void (*data)(void *ctx, const uint8_t *data, size_t len);
    void (*end)(void *ctx, int error, const char *text);
    void *ctx;
    struct http_source source;
    struct slice held; /* of the source, what libcurl had no room for; with a reference between its calls */
    bool owns_held, drained;
    bool dry; /* it said HTTP_SOURCE_WAIT, and nobody resumed it */
    bool tls, leads, refused, placed;
    int fd; /* over HTTP/1.1, the connection's */
    int64_t start_us, first_byte_us;
    struct loop_timer *late; /* or NULL */
    struct curl_slist *headers;
    bool collects;
    struct buf collected;
    unsigned head_bytes, head_lines;
    int error; /* ours, told instead of libcurl's; 0: none */
    char text[96], curl_text[CURL_ERROR_SIZE];
};

/* libcurl puts the RST_STREAM of a fetch that is over too soon by, and sends it with the connection's next words. If
 * nobody is left to cause such, the connection is closed instead. */
static void expect_no_end(struct http_fetch *fetch) {
    curl_easy_setopt(fetch->easy, CURLOPT_FORBID_REUSE, 1L);
}

/* Has libcurl give up the fetch when the callback returns what it takes for a failure. */
__attribute__((format(printf, 3, 4))) static void give_up(struct http_fetch *fetch, int error, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(fetch->text, sizeof fetch->text, fmt, args);
    va_end(args);
    fetch->error = error;
    expect_no_end(fetch);
}

/* --- sockets --- */

static void on_ready(void *ctx, int events);

static void arm(struct watch *watch) {
    list_remove(&watch->changed);
    if (watch->armed == watch->wanted)
        return;
    loop_io_destroy(watch->io);
    watch->io = NULL;
    if (watch->wanted)
        watch->io = loop_io_create_level(watch->client->loop, watch->fd, watch->wanted, on_ready, watch);
    watch->armed = watch->wanted;
}

static void arm_changed(struct http_client *client) {
    while (!list_empty(&client->changed))
        arm(list_entry(client->changed.next, struct watch, changed));
}

static struct watch *watch_create(struct http_client *client, int fd) {
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        abort();
    watch->client = client;
    watch->fd = fd;
    list_init(&watch->changed);
    curl_multi_assign(client->multi, fd, watch);
    return watch;
}

/* At once, since the descriptor is about to be closed. */
static void watch_destroy(struct watch *watch) {
    if (!watch)
        return;
    list_remove(&watch->changed);
    loop_io_destroy(watch->io);
    free(watch);
}

/* Over HTTP/1.1, a socket that isn't read any more has given all of the response: that is how libcurl tells, which goes
 * on with the body for as long as that lasts. */
static void note_socket(struct http_client *client, struct http_fetch *fetch, int fd, int what) {
    if (what != CURL_POLL_REMOVE)
        fetch->fd = fd;
    if (what & CURL_POLL_IN)
        return;
    if (fetch->source.next && fetch->state == FETCH_RECEIVES && !fetch->drained && list_empty(&fetch->halved))
        list_append(&client->halved, &fetch->halved);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx) {
    struct http_client *client = ctx;
    struct watch *watch = socket_ctx;
    struct http_fetch *fetch;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch);
    if (fetch) /* else it's libcurl's own, for what is idle */
        note_socket(client, fetch, fd, what);
    if (what == CURL_POLL_REMOVE) {
        watch_destroy(watch);
        return 0;
    }
    if (!watch)
        watch = watch_create(client, fd);
    watch->wanted = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    if (list_empty(&watch->changed))
        list_append(&client->changed, &watch->changed);
    return 0;
}

/* A peer that is gone is found by the kernel: what is sent to it isn't acknowledged, or probes aren't. Little is queued
 * there that a source might still leave out. */
static void set_socket_options(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 10},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 25000},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 128 * 1024},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    struct http_fetch *fetch = ctx;
    (void)purpose;
    fetch->refused = !fetch->leads;
    if (fetch->refused)
        return CURL_SOCKET_BAD;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    set_socket_options(fd);
    metric_add(&metrics[METRIC_CONNECTIONS], 1);
    return fd;
}

/* --- placing fetches on connections --- */

static void start(struct http_fetch *fetch, bool leads) {
    bool http1 = fetch->client->config.http1;
    long version = http1        ? CURL_HTTP_VERSION_1_1
                   : fetch->tls ? CURL_HTTP_VERSION_2TLS
                   : leads      ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                : CURL_HTTP_VERSION_2_0;
    fetch->leads = leads || http1;
    fetch->refused = fetch->placed = false;
    curl_easy_setopt(fetch->easy, CURLOPT_HTTP_VERSION, version);
    curl_easy_setopt(fetch->easy, CURLOPT_FRESH_CONNECT, leads ? 1L : 0L);
    if (curl_multi_add_handle(fetch->client->multi, fetch->easy) != CURLM_OK)
        abort();
}

static struct origin *find_origin(struct http_client *client, const char *url) {
    const char *authority = strstr(url, "://");
    size_t len = authority ? (size_t)(authority + 3 - url) + strcspn(authority + 3, "/?#") : strlen(url);
    list_each(it, &client->origins) {
        struct origin *origin = list_entry(it, struct origin, link);
        if (origin->len == len && memcmp(origin->name, url, len) == 0)
            return origin;
    }
    struct origin *origin = malloc(sizeof *origin + len);
    if (!origin)
        abort();
    *origin = (struct origin){.len = len};
    memcpy(origin->name, url, len);
    list_init(&origin->line);
    list_append(&client->origins, &origin->link);
    return origin;
}

/* Starts those whose turn it is: libcurl mustn't be on the stack. */
static void place_next(struct http_client *client) {
    list_each(it, &client->origins) {
        struct origin *origin = list_entry(it, struct origin, link);
        while (!origin->placing && !list_empty(&origin->line)) {
            struct http_fetch *fetch = list_entry(origin->line.next, struct http_fetch, line);
            list_remove(&fetch->line);
            if (client->config.http1)
                fetch->origin = NULL;
            else
                origin->placing = fetch;
            start(fetch, false);
        }
        if (!origin->placing) {
            list_remove(&origin->link);
            free(origin);
        }
    }
}

static void place(struct http_fetch *fetch, const char *url) {
    fetch->origin = find_origin(fetch->client, url);
    list_append(&fetch->origin->line, &fetch->line);
    if (!fetch->client->inside)
        place_next(fetch->client);
}

/* Its place in the line, or at the front, is free. */
static void step_aside(struct http_fetch *fetch) {
    list_remove(&fetch->line);
    if (fetch->origin && fetch->origin->placing == fetch)
        fetch->origin->placing = NULL;
    fetch->origin = NULL;
}

/* A request is about to be sent. */
static int on_placed(void *ctx, char *ip, char *local_ip, int port, int local_port) {
    struct http_fetch *fetch = ctx;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    fetch->placed = true;
    step_aside(fetch);
    return CURL_PREREQFUNC_OK;
}

/* libcurl found no connection with room, or lost the one that it had found. */
static void lead(struct http_fetch *fetch) {
    char *url = NULL;
    curl_multi_remove_handle(fetch->client->multi, fetch->easy);
    curl_easy_getinfo(fetch->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (fetch->origin)
        start(fetch, true);
    else
        place(fetch, url);
}

/* --- bodies of requests --- */

static void let_go(struct http_fetch *fetch) {
    if (fetch->owns_held)
        blob_unref(fetch->held.blob);
    fetch->owns_held = false;
    fetch->held.len = 0;
}

/* Has `held` hold something. 0, or what on_read returns when it has nothing else to return. */
static size_t pull(struct http_fetch *fetch) {
    let_go(fetch);
    if (fetch->dry)
        return CURL_READFUNC_PAUSE;
    int n = fetch->source.next(fetch->source.ctx, &fetch->held, 1);
    fetch->owns_held = n == 1 && !(fetch->source.flags & HTTP_SOURCE_LENDS);
    fetch->drained = n == 0;
    fetch->dry = n == HTTP_SOURCE_WAIT;
    if (fetch->state == FETCH_CANCELLED) { /* by the source */
        let_go(fetch);
        return CURL_READFUNC_ABORT;
    }
    if (n == HTTP_SOURCE_WAIT)
        return CURL_READFUNC_PAUSE;
    if (n == HTTP_SOURCE_ERROR)
        give_up(fetch, -ECANCELED, "its source failed");
    return n == HTTP_SOURCE_ERROR ? CURL_READFUNC_ABORT : 0;
}

static size_t on_read(char *out, size_t size, size_t n, void *ctx) {
    struct http_fetch *fetch = ctx;
    size_t len = 0, room = size * n, none = 0;
    if (fetch->state == FETCH_CANCELLED)
        return CURL_READFUNC_ABORT;
    while (len < room && none == 0 && !fetch->drained) {
        if (fetch->held.len == 0)
            none = pull(fetch);
        size_t take = fetch->held.len < room - len ? fetch->held.len : room - len;
        if (take == 0)
            continue;
        memcpy(out + len, fetch->held.blob->data + fetch->held.off, take);
        fetch->held.off += take;
        fetch->held.len -= take;
        len += take;
    }
    if (fetch->held.len > 0 && !fetch->owns_held) { /* lent until now */
        blob_ref(fetch->held.blob);
        fetch->owns_held = true;
    }
    metric_add(&metrics[METRIC_SENT], (int64_t)len);
    if (len > 0 && fetch->dry && fetch->client->config.http1 && list_empty(&fetch->dried))
        list_append(&fetch->client->dried, &fetch->dried);
    return len > 0 && none != CURL_READFUNC_ABORT ? len : none;
}

static void finish_source(struct http_fetch *fetch) {
    let_go(fetch);
    if (fetch->source.finish)
        fetch->source.finish(fetch->source.ctx);
    fetch->source.finish = NULL;
}

/* --- responses --- */

static void note_first_byte(struct http_fetch *fetch) {
    if (fetch->first_byte_us)
        return;
    fetch->first_byte_us = loop_now_us(fetch->client->loop) - fetch->start_us;
    if (fetch->late)
        loop_timer_cancel(fetch->late);
}

/* False: that's all. */
static bool take_head(struct http_fetch *fetch) {
    long status = 0;
    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return true;
    fetch->state = FETCH_RECEIVES;
    if (fetch->head)
        fetch->head(fetch->ctx, (int)status);
    if (fetch->state == FETCH_CANCELLED)
        return false;
    if (status < STATUS_REFUSED || fetch->collects)
        return true;
    give_up(fetch, -EREMOTEIO, "answered %ld", status);
    return false;
}

/* Of each line of heads and trailers. */
static size_t on_header(char *line, size_t size, size_t n, void *ctx) {
    struct http_fetch *fetch = ctx;
    if (fetch->state == FETCH_CANCELLED)
        return CURL_WRITEFUNC_ERROR;
    note_first_byte(fetch);
    fetch->head_bytes += (unsigned)(size * n);
    if (fetch->head_bytes > HEAD_BYTES_MAX || ++fetch->head_lines > HEAD_LINES_MAX) {
        give_up(fetch, -EMSGSIZE, "the response's head is too long");
        return CURL_WRITEFUNC_ERROR;
    }
    bool ended = fetch->state == FETCH_WAITS && size * n <= 2 && (*line == '\r' || *line == '\n');
    return !ended || take_head(fetch) ? size * n : CURL_WRITEFUNC_ERROR;
}

static size_t on_data(char *data, size_t size, size_t n, void *ctx) {
    struct http_fetch *fetch = ctx;
    if (fetch->state == FETCH_CANCELLED)
        return CURL_WRITEFUNC_ERROR;
    metric_add(&metrics[METRIC_RECEIVED], (int64_t)(size * n));
    if (fetch->collects) {
        if (buf_append(&fetch->collected, data, size * n) == 0)
            return size * n;
        give_up(fetch, -EMSGSIZE, "the response's body is too long");
        return CURL_WRITEFUNC_ERROR;
    }
    if (fetch->data)
        fetch->data(fetch->ctx, (const uint8_t *)data, size * n);
    return fetch->state == FETCH_CANCELLED ? CURL_WRITEFUNC_ERROR : size * n;
}

/* --- ends --- */

static void count_end(int metric) {
    metric_add(&metrics[metric], 1);
    metric_add(&metrics[METRIC_OPEN], -1);
}

static int metric_of(int error) {
    return error == 0            ? METRIC_OK
           : error == -EREMOTEIO ? METRIC_STATUS
           : error == -ETIMEDOUT ? METRIC_TIMEOUT
                                 : METRIC_FAILED;
}

static void fetch_destroy(struct http_fetch *fetch) {
    list_remove(&fetch->link);
    curl_easy_cleanup(fetch->easy);
    curl_slist_free_all(fetch->headers);
    buf_finish(&fetch->collected);
    free(fetch);
}

/* Users are gone from here on: what is left is libcurl's. */
static void leave(struct http_fetch *fetch, enum fetch_state state) {
    fetch->state = state;
    list_remove(&fetch->link);
    list_remove(&fetch->resumed);
    list_remove(&fetch->dried);
    list_remove(&fetch->halved);
    step_aside(fetch);
    loop_timer_destroy(fetch->late);
    fetch->late = NULL;
    finish_source(fetch);
}

static void end(struct http_fetch *fetch, int error, const char *text) {
    curl_multi_remove_handle(fetch->client->multi, fetch->easy);
    leave(fetch, FETCH_ENDS);
    count_end(metric_of(error));
    if (error == 0 && fetch->collects && fetch->data)
        fetch->data(fetch->ctx, buf_head(&fetch->collected), buf_len(&fetch->collected));
    if (fetch->state == FETCH_ENDS)
        fetch->end(fetch->ctx, error, text);
    fetch_destroy(fetch);
}

static int connect_error(const struct http_fetch *fetch) {
    long error = 0;
    curl_easy_getinfo(fetch->easy, CURLINFO_OS_ERRNO, &error);
    return error > 0 ? (int)-error : -ECONNREFUSED;
}

static int error_of(const struct http_fetch *fetch, CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
        return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
        return connect_error(fetch);
    case CURLE_URL_MALFORMAT:
        return -EINVAL;
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 is one */
        return fetch->placed ? -EPROTO : -EINVAL;
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
        return -ECONNRESET;
    default:
        return -EPROTO;
    }
}

/* A host that can't be reached can't be by those who wait for their turn to try either. */
static void conclude(struct http_fetch *fetch, CURLcode code) {
    char text[CURL_ERROR_SIZE];
    struct list line;
    int error = fetch->error ? fetch->error : error_of(fetch, code);
    const char *why = fetch->error ? fetch->text : *fetch->curl_text ? fetch->curl_text : curl_easy_strerror(code);
    snprintf(text, sizeof text, "%s", why);
    list_init(&line);
    if (fetch->origin && code != CURLE_OK && !fetch->error)
        list_append_all(&line, &fetch->origin->line);
    list_each(it, &line) list_entry(it, struct http_fetch, line)->origin = NULL;
    end(fetch, error, text);
    while (!list_empty(&line))
        end(list_entry(line.next, struct http_fetch, line), error, text);
}

static void end_halved(struct http_client *client) {
    while (!list_empty(&client->halved)) {
        struct http_fetch *fetch = list_entry(client->halved.next, struct http_fetch, halved);
        give_up(fetch, -ECONNRESET, "the response ended before the body");
        conclude(fetch, CURLE_OK);
    }
}

static void drop_cancelled(struct http_client *client) {
    while (!list_empty(&client->cancelled)) {
        struct http_fetch *fetch = list_entry(client->cancelled.next, struct http_fetch, link);
        curl_multi_remove_handle(client->multi, fetch->easy);
        fetch_destroy(fetch);
    }
}

/* What waited for libcurl to return. */
static void settle(struct http_client *client) {
    CURLMsg *message;
    int left;
    drop_cancelled(client);
    while ((message = curl_multi_info_read(client->multi, &left))) {
        struct http_fetch *fetch;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &fetch);
        if (fetch->refused)
            lead(fetch);
        else
            conclude(fetch, message->data.result);
    }
    end_halved(client);
    place_next(client);
    arm_changed(client);
}

/* libcurl goes on asking a source for more when there is room for it, and is told to wait only then. Without going
 * through the loop for that, and with nothing changed for the kernel, a chunk of a body costs half as much. Over HTTP/2
 * it would look at all streams. */
static void act(struct http_client *client, curl_socket_t fd, int events) {
    int running;
    client->inside = true;
    curl_multi_socket_action(client->multi, fd, events, &running);
    while (!list_empty(&client->dried)) {
        struct http_fetch *fetch = list_entry(client->dried.next, struct http_fetch, dried);
        list_remove(&fetch->dried);
        curl_multi_socket_action(client->multi, fetch->fd, CURL_CSELECT_OUT, &running);
    }
    client->inside = false;
    settle(client);
}

static void on_ready(void *ctx, int events) {
    struct watch *watch = ctx;
    int curl_events = (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    act(watch->client, watch->fd, curl_events);
}

static void on_timeout(void *ctx) {
    act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout_set(CURLM *multi, long delay_ms, void *ctx) {
    struct http_client *client = ctx;
    (void)multi;
    if (delay_ms < 0)
        loop_timer_cancel(client->timeout);
    else
        loop_timer_set(client->timeout, delay_ms * INT64_C(1000));
    return 0;
}

static void on_late(void *ctx) {
    struct http_fetch *fetch = ctx;
    struct http_client *client = fetch->client;
    give_up(fetch, -ETIMEDOUT, "no response within %u ms", client->config.response_timeout_ms);
    conclude(fetch, CURLE_OK);
    settle(client);
}

static void on_turn(void *ctx) {
    struct http_client *client = ctx;
    client->inside = true;
    while (!list_empty(&client->resumed)) {
        struct http_fetch *fetch = list_entry(client->resumed.next, struct http_fetch, resumed);
        list_remove(&fetch->resumed);
        curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
    }
    act(client, CURL_SOCKET_TIMEOUT, 0);
}

/* --- clients --- */

static void init_libcurl(void) {
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
        abort();
}

static char *copy(const char *text) {
    char *result = text ? strdup(text) : NULL;
    if (text && !result)
        abort();
    return result;
}

static char *authorization(const char *token) {
    char *line = NULL;
    if (token && asprintf(&line, "Authorization: Bearer %s", token) < 0)
        abort();
    return line;
}

struct http_client *http_client_create(struct loop *loop, const struct http_client_config *config) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_libcurl);
    struct http_client *client = calloc(1, sizeof *client);
    if (!client || !(client->multi = curl_multi_init()))
        abort();
    client->loop = loop;
    client->config = *config;
    client->config.ca_file = copy(config->ca_file);
    client->config.cert_file = copy(config->cert_file);
    client->config.key_file = copy(config->key_file);
    client->config.token = NULL;
    client->authorization = authorization(config->token);
    client->timeout = loop_timer_create(loop, on_timeout, client);
    client->turn = loop_timer_create(loop, on_turn, client);
    list_init(&client->fetches);
    list_init(&client->cancelled);
    list_init(&client->resumed);
    list_init(&client->dried);
    list_init(&client->halved);
    list_init(&client->changed);
    list_init(&client->origins);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)config->streams_max);
    return client;
}

void http_client_destroy(struct http_client *client) {
    if (!client)
        return;
    while (!list_empty(&client->fetches))
        http_fetch_cancel(list_entry(client->fetches.next, struct http_fetch, link));
    curl_multi_cleanup(client->multi);
    place_next(client); /* nobody: the origins go */
    loop_timer_destroy(client->timeout);
    loop_timer_destroy(client->turn);
    free((char *)client->config.ca_file);
    free((char *)client->config.cert_file);
    free((char *)client->config.key_file);
    free(client->authorization);
    free(client);
}

/* --- fetches --- */

static void add_line(struct http_fetch *fetch, const char *line) {
    struct curl_slist *headers = curl_slist_append(fetch->headers, line);
    if (!headers)
        abort();
    fetch->headers = headers;
}

static void add_headers(struct http_fetch *fetch, const struct http_fetch_options *options) {
    if (fetch->client->authorization)
        add_line(fetch, fetch->client->authorization);
    add_line(fetch, "Expect:");       /* no 100-continue, which would cost a round trip */
    add_line(fetch, "Content-Type:"); /* none that libcurl makes up */
    for (size_t i = 0; i < options->header_count; i++) {
        char *line;
        if (asprintf(&line, "%s: %s", options->headers[i].name, options->headers[i].value) < 0)
            abort();
        add_line(fetch, line);
        free(line);
    }
    curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->headers);
}

static void set_body(struct http_fetch *fetch, const struct http_fetch_options *options) {
    CURL *easy = fetch->easy;
    if (fetch->source.next) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "POST");
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, fetch);
    } else if (options->body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_len);
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, options->body);
    }
}

/* The passphrase is given so that OpenSSL doesn't ask the terminal for one. Of those whom the system trusts only the
 * file is taken: it is kept for a while, a folder beside it would have all be read anew at each connect. */
static void set_tls(CURL *easy, const struct http_client_config *config) {
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 600L);
    if (config->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
    if (config->cert_file) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_file);
        curl_easy_setopt(easy, CURLOPT_KEYPASSWD, "");
    }
}

/* Without QUICK_EXIT the end of a fetch would wait for the thread that looks up its server's name. */
static void set_connection(struct http_fetch *fetch) {
    CURL *easy = fetch->easy;
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)fetch->client->config.connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_placed);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
}

static void set_response(CURL *easy, struct http_fetch *fetch) {
    curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->curl_text);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
}

static struct http_fetch *fetch_create(struct http_client *client, const struct http_fetch_options *options) {
    struct http_fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch || !(fetch->easy = curl_easy_init()))
        abort();
    fetch->client = client;
    fetch->head = options->head;
    fetch->data = options->data;
    fetch->end = options->end;
    fetch->ctx = options->ctx;
    fetch->source = options->source;
    fetch->collects = options->collect_bytes > 0;
    buf_init(&fetch->collected, options->collect_bytes);
    fetch->tls = strncasecmp(options->url, "https:", 6) == 0;
    list_init(&fetch->resumed);
    list_init(&fetch->dried);
    list_init(&fetch->halved);
    list_init(&fetch->line);
    list_append(&client->fetches, &fetch->link);
    return fetch;
}

struct http_fetch *http_client_fetch(struct http_client *client, const struct http_fetch_options *options) {
    struct http_fetch *fetch = fetch_create(client, options);
    curl_easy_setopt(fetch->easy, CURLOPT_URL, options->url);
    curl_easy_setopt(fetch->easy, CURLOPT_USERAGENT, "weir");
    set_connection(fetch);
    set_tls(fetch->easy, &client->config);
    set_response(fetch->easy, fetch);
    set_body(fetch, options);
    add_headers(fetch, options);
    fetch->start_us = loop_now_us(client->loop);
    if (client->config.response_timeout_ms) {
        fetch->late = loop_timer_create(client->loop, on_late, fetch);
        loop_timer_set(fetch->late, client->config.response_timeout_ms * INT64_C(1000));
    }
    metric_add(&metrics[METRIC_OPEN], 1);
    place(fetch, options->url);
    return fetch;
}

void http_fetch_resume(struct http_fetch *fetch) {
    struct http_client *client = fetch->client;
    if (fetch->state >= FETCH_ENDS)
        return;
    fetch->dry = false;
    if (list_empty(&client->resumed))
        loop_timer_set(client->turn, 0);
    if (list_empty(&fetch->resumed))
        list_append(&client->resumed, &fetch->resumed);
}

void http_fetch_cancel(struct http_fetch *fetch) {
    struct http_client *client = fetch->client;
    if (fetch->state >= FETCH_ENDS) {
        fetch->state = FETCH_CANCELLED;
        return;
    }
    leave(fetch, FETCH_CANCELLED);
    expect_no_end(fetch);
    count_end(METRIC_CANCELLED);
    if (client->inside) {
        list_append(&client->cancelled, &fetch->link);
        return;
    }
    curl_multi_remove_handle(client->multi, fetch->easy);
    fetch_destroy(fetch);
    place_next(client);
    arm_changed(client);
}

const char *http_fetch_header(const struct http_fetch *fetch, const char *name) {
    struct curl_header *header;
    CURLHcode code = curl_easy_header(fetch->easy, name, 0, CURLH_HEADER, -1, &header);
    return code == CURLHE_OK ? header->value : NULL;
}

struct http_fetch_times http_fetch_times(const struct http_fetch *fetch) {
    curl_off_t found_us = 0, connected_us = 0;
    long connects = 0;
    curl_easy_getinfo(fetch->easy, CURLINFO_NAMELOOKUP_TIME_T, &found_us);
    curl_easy_getinfo(fetch->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
    curl_easy_getinfo(fetch->easy, CURLINFO_NUM_CONNECTS, &connects);
    return (struct http_fetch_times){connects && connected_us > found_us ? connected_us - found_us : 0,
                                     fetch->first_byte_us};
}
