/* Listeners and what holds for all connections together: limits, deadlines, draining.
 *
 * Deadlines cost no timer: every connection stands in the list of its state, oldest first, and one sweep looks at the
 * front of each list whose state has a time limit. It runs every second, or more often where a limit is shorter. */
#include "common/http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/address.h"
#include "common/base/clock.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/http/internal.h"
#include "common/http/tls.h"

enum {
    ACCEPT_BATCH = 64, /* per listener and turn; the rest wait, and get the next turn */
    BACKLOG = 4096,    /* the kernel cuts it to net.core.somaxconn */
    SWEEP_MS = 1000,
    SWEEP_MIN_MS = 10,
};

const struct http_limits http_limits_default = {
    .connections_max = 16384,
    .connections_per_address = 1024,
    .line_bytes_max = 8192,
    .head_bytes_max = 16384,
    .headers_max = 100,
    .body_bytes_max = 65536,
    .header_timeout_ms = 10000,
    .idle_timeout_ms = 60000,
    .stall_timeout_ms = 15000,
};

#define REFUSED  "Connections refused, by the limit that was reached; `proxy`: no PROXY header from a proxy"
#define TIMEOUT  "Connections ended by a deadline: the request's head, idling, or a stalled response"
#define REQUESTS "Responses, by class of status"
struct metric http_metrics[HTTP_METRICS] = {
    [HTTP_METRIC_CONNECTIONS] = {"weir_http_connections", NULL, "Open HTTP connections", METRIC_GAUGE, 0},
    [HTTP_METRIC_CONNECTIONS_TOTAL] = {"weir_http_connections_total", NULL, "HTTP connections accepted", METRIC_COUNTER,
                                       0},
    [HTTP_METRIC_REQUESTS_2XX] = {"weir_http_requests_total", "code=\"2xx\"", REQUESTS, METRIC_COUNTER, 0},
    [HTTP_METRIC_REQUESTS_3XX] = {"weir_http_requests_total", "code=\"3xx\"", REQUESTS, METRIC_COUNTER, 0},
    [HTTP_METRIC_REQUESTS_4XX] = {"weir_http_requests_total", "code=\"4xx\"", REQUESTS, METRIC_COUNTER, 0},
    [HTTP_METRIC_REQUESTS_5XX] = {"weir_http_requests_total", "code=\"5xx\"", REQUESTS, METRIC_COUNTER, 0},
    [HTTP_METRIC_BYTES_SENT] = {"weir_http_bytes_sent_total", NULL, "Bytes of HTTP responses handed to the kernel",
                                METRIC_COUNTER, 0},
    [HTTP_METRIC_REFUSED_CONNECTIONS] = {"weir_http_refused_total", "reason=\"connections\"", REFUSED, METRIC_COUNTER,
                                         0},
    [HTTP_METRIC_REFUSED_ADDRESS] = {"weir_http_refused_total", "reason=\"address\"", REFUSED, METRIC_COUNTER, 0},
    [HTTP_METRIC_REFUSED_DESCRIPTORS] = {"weir_http_refused_total", "reason=\"descriptors\"", REFUSED, METRIC_COUNTER,
                                         0},
    [HTTP_METRIC_REFUSED_PROXY] = {"weir_http_refused_total", "reason=\"proxy\"", REFUSED, METRIC_COUNTER, 0},
    [HTTP_METRIC_EVICTED] = {"weir_http_evicted_total", NULL,
                             "Idle connections closed for new ones, at the limit of connections or descriptors",
                             METRIC_COUNTER, 0},
    [HTTP_METRIC_TIMEOUT_HEADER] = {"weir_http_timeouts_total", "reason=\"header\"", TIMEOUT, METRIC_COUNTER, 0},
    [HTTP_METRIC_TIMEOUT_IDLE] = {"weir_http_timeouts_total", "reason=\"idle\"", TIMEOUT, METRIC_COUNTER, 0},
    [HTTP_METRIC_TIMEOUT_STALL] = {"weir_http_timeouts_total", "reason=\"stall\"", TIMEOUT, METRIC_COUNTER, 0},
    [HTTP_METRIC_ABORTED] = {"weir_http_aborted_total", NULL,
                             "Requests whose connection was lost before their response was out", METRIC_COUNTER, 0},
};

struct http_totals http_totals(void) {
    return (struct http_totals){.connections = atomic_load(&http_metrics[HTTP_METRIC_CONNECTIONS].value),
                                .bytes_sent = atomic_load(&http_metrics[HTTP_METRIC_BYTES_SENT].value)};
}

void http_metrics_register(void) {
    transport_tls_metrics_register();
    metrics_register(http_metrics, HTTP_METRICS);
}

struct listener {
    struct list link;
    struct http_server *server;
    int fd;
    bool tls;
    struct loop_io *io; /* NULL: paused until the next sweep, for want of descriptors */
};

/* Connections of one address, or one IPv6 /64; exists while there are any. */
struct http_address {
    uint32_t count;
    char key[ADDRESS_KEY_LEN];
};

/* --- limits --- */

bool http_server_trusts(const struct http_server *server, const struct sockaddr_in6 *peer) {
    for (size_t i = 0; i < server->trusted_count; i++)
        if (address_in_range((const struct sockaddr *)peer, &server->trusted[i]))
            return true;
    return false;
}

/* Closes the connection that has been idle for longest. False: none is idle. */
static bool evict_idle(struct http_server *server) {
    struct list *idle = &server->conns[CONN_IDLE];
    if (list_empty(idle))
        return false;
    http_count(HTTP_METRIC_EVICTED, 1);
    http_conn_destroy(list_entry(idle->next, struct http_conn, link));
    return true;
}

/* Counts a connection of this address, or NULL: there are too many. Proxies are many clients. */
static struct http_address *claim_address(struct http_server *server, const struct sockaddr_in6 *peer) {
    char key[ADDRESS_KEY_LEN];
    address_key((const struct sockaddr *)peer, key);
    struct http_address *address = map_get(server->addresses, key);
    if (address && address->count >= server->limits.connections_per_address && !http_server_trusts(server, peer)) {
        http_count(HTTP_METRIC_REFUSED_ADDRESS, 1);
        return NULL;
    }
    if (!address) {
        address = calloc(1, sizeof *address);
        if (!address)
            abort();
        strcpy(address->key, key);
        map_set(server->addresses, key, address);
    }
    address->count++;
    return address;
}

static void release_address(struct http_server *server, struct http_address *address) {
    if (--address->count == 0) {
        map_remove(server->addresses, address->key);
        free(address);
    }
}

/* A place under the limits, or NULL. */
static struct http_address *claim_place(struct http_server *server, const struct sockaddr_in6 *peer) {
    if (server->count >= server->limits.connections_max && !evict_idle(server)) {
        http_count(HTTP_METRIC_REFUSED_CONNECTIONS, 1);
        return NULL;
    }
    struct http_address *address = claim_address(server, peer);
    if (!address)
        return NULL;
    server->count++;
    http_count(HTTP_METRIC_CONNECTIONS, 1);
    http_count(HTTP_METRIC_CONNECTIONS_TOTAL, 1);
    return address;
}

bool http_server_move(struct http_conn *conn) {
    struct http_address *address = claim_address(conn->server, &conn->peer);
    if (!address)
        return false;
    release_address(conn->server, conn->address);
    conn->address = address;
    return true;
}

void http_server_release(struct http_server *server, struct http_address *address) {
    if (!address) {
        server->refused_count--;
        return;
    }
    server->count--;
    http_count(HTTP_METRIC_CONNECTIONS, -1);
    release_address(server, address);
}

/* --- listeners --- */

static void to_mapped(const struct sockaddr_storage *from, struct sockaddr_in6 *to) {
    if (from->ss_family == AF_INET6) {
        memcpy(to, from, sizeof *to);
        return;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)from;
    *to = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = in->sin_port};
    to->sin6_addr.s6_addr[10] = to->sin6_addr.s6_addr[11] = 0xff;
    memcpy(to->sin6_addr.s6_addr + 12, &in->sin_addr, 4);
}

/* Over TLS a word of refusal would cost a handshake, which is what a server at its limit doesn't have. */
static void welcome(struct listener *listener, int fd, const struct sockaddr_storage *from) {
    struct http_server *server = listener->server;
    struct sockaddr_in6 peer;
    to_mapped(from, &peer);
    struct http_address *address = claim_place(server, &peer);
    if (!address && (listener->tls || server->refused_count >= HTTP_REFUSED_MAX)) {
        close(fd);
        return;
    }
    struct http_conn *conn = http_conn_create(server, fd, &peer, address, listener->tls ? server->tls : NULL);
    if (!address) {
        server->refused_count++;
        http_conn_refuse(conn, 503);
    }
}

static void on_accept(void *ctx, int events) {
    struct listener *listener = ctx;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(listener, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (evict_idle(listener->server))
                continue;
            http_count(HTTP_METRIC_REFUSED_DESCRIPTORS, 1);
            loop_io_destroy(listener->io); /* what waits in the backlog would call us in every turn */
            listener->io = NULL;
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* any other error is of one connection, which is gone */
    }
}

/* Accepted sockets inherit the TCP options. */
static int set_options(const struct http_server *server, int fd, int family) {
    int on = 1, off = 0, lowat = HTTP_UNSENT_MIN;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat) < 0)
        return -errno;
    if (server->congestion[0]) /* the kernel may not have it, or not for us: no reason not to start */
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, server->congestion, (socklen_t)strlen(server->congestion));
    return 0;
}

static int share_port(int fd) {
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) < 0 ? -errno : 0;
}

static int bind_to(int fd, const struct sockaddr_storage *address, socklen_t len) {
    return bind(fd, (const struct sockaddr *)address, len) < 0 ? -errno : 0;
}

/* A descriptor, or negative errno. Who doesn't join shares its port only once it has it for itself: else a second
 * process of the same user would take half of the connections of the first. */
static int open_listener(const struct http_server *server, const struct sockaddr_storage *address, socklen_t len,
                         bool joins) {
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = set_options(server, fd, address->ss_family);
    if (r == 0)
        r = joins ? share_port(fd) : bind_to(fd, address, len);
    if (r == 0)
        r = joins ? bind_to(fd, address, len) : share_port(fd);
    if (r == 0 && listen(fd, BACKLOG) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

static uint16_t local_port(int fd) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static void resume_listener(struct listener *listener) {
    if (!listener->io)
        listener->io = loop_io_create_level(listener->server->loop, listener->fd, LOOP_READ, on_accept, listener);
}

static void destroy_listener(struct listener *listener) {
    list_remove(&listener->link);
    loop_io_destroy(listener->io);
    close(listener->fd);
    free(listener);
}

static int listen_on(struct http_server *server, const char *address, bool joins, bool tls, uint16_t *ret_port) {
    struct sockaddr_storage parsed;
    socklen_t len;
    int r = address_parse(address, &parsed, &len);
    if (r < 0)
        return r;
    int fd = open_listener(server, &parsed, len, joins);
    if (fd < 0)
        return fd;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        abort();
    listener->server = server;
    listener->fd = fd;
    listener->tls = tls;
    list_append(&server->listeners, &listener->link);
    resume_listener(listener);
    if (ret_port)
        *ret_port = local_port(fd);
    return 0;
}

int http_server_listen(struct http_server *server, const char *address, bool joins, uint16_t *ret_port) {
    return listen_on(server, address, joins, false, ret_port);
}

int http_server_listen_tls(struct http_server *server, const char *address, bool joins, uint16_t *ret_port) {
    return server->tls ? listen_on(server, address, joins, true, ret_port) : -EINVAL;
}

void http_server_set_congestion(struct http_server *server, const char *name) {
    snprintf(server->congestion, sizeof server->congestion, "%s", name);
}

/* --- TLS --- */

void http_server_set_tls(struct http_server *server, struct tls_context *context) {
    if (!server->tls_scratch && !(server->tls_scratch = calloc(1, sizeof *server->tls_scratch)))
        abort();
    server->tls_scratch->batch = server->batch;
    tls_context_unref(server->tls);
    server->tls = tls_context_ref(context);
}

void http_server_on_tls_failure(struct http_server *server, http_tls_failure_fn *fn, void *ctx) {
    server->on_tls_failure = fn;
    server->tls_failure_ctx = ctx;
}

bool http_server_may_handshake(struct http_server *server) {
    int64_t now_us = loop_now_us(server->loop); /* the same throughout a turn */
    if (server->handshakes_us != now_us)
        server->handshakes = 0;
    server->handshakes_us = now_us;
    return server->handshakes++ < HTTP_TURN_HANDSHAKES;
}

/* --- deadlines --- */

static void expire(struct http_conn *conn) {
    switch (conn->state) {
    case CONN_RECEIVING:
        http_count(HTTP_METRIC_TIMEOUT_HEADER, 1);
        if (conn->transport.alpn == TRANSPORT_ALPN_PENDING)
            break;
        http_conn_refuse(conn, 408);
        return;
    case CONN_IDLE:
        http_count(HTTP_METRIC_TIMEOUT_IDLE, 1);
        break;
    case CONN_SENDING:
        http_count(HTTP_METRIC_TIMEOUT_STALL, 1);
        conn->broken = true;
        break;
    default:
        break;
    }
    http_conn_destroy(conn);
}

static void sweep_state(struct http_server *server, enum conn_state state, uint32_t timeout_ms) {
    struct list *conns = &server->conns[state];
    int64_t before_us = loop_now_us(server->loop) - (int64_t)timeout_ms * 1000;
    while (!list_empty(conns)) {
        struct http_conn *conn = list_entry(conns->next, struct http_conn, link);
        if (conn->since_us > before_us)
            return;
        expire(conn);
    }
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static int64_t sweep_interval_us(const struct http_limits *limits) {
    uint32_t ms = smaller(limits->header_timeout_ms, smaller(limits->idle_timeout_ms, limits->stall_timeout_ms)) / 4;
    ms = smaller(ms, SWEEP_MS);
    return (ms > SWEEP_MIN_MS ? ms : SWEEP_MIN_MS) * INT64_C(1000);
}

static void on_sweep(void *ctx) {
    struct http_server *server = ctx;
    sweep_state(server, CONN_RECEIVING, server->limits.header_timeout_ms);
    sweep_state(server, CONN_IDLE, server->limits.idle_timeout_ms);
    sweep_state(server, CONN_SENDING, server->limits.stall_timeout_ms);
    sweep_state(server, CONN_LINGER, HTTP_LINGER_MS);
    list_each(it, &server->listeners) resume_listener(list_entry(it, struct listener, link));
    loop_timer_set(server->sweep, sweep_interval_us(&server->limits));
}

/* --- deferred ends of requests --- */

void http_server_defer(struct http_server *server) {
    if (!server->turn_ends && !loop_timer_armed(server->deferred))
        loop_timer_set(server->deferred, 0);
}

static void on_deferred(void *ctx) {
    struct http_server *server = ctx;
    struct list *done = &server->conns[CONN_DONE];
    while (!list_empty(done)) /* a turn takes a connection out of this state */
        http_conn_run(list_entry(done->next, struct http_conn, link));
}

/* --- sends of many connections at once --- */

/* Requests that were pipelined behind those whose responses are out have one more go; what follows has the next turn.
 */
static void on_turn_end(void *ctx) {
    struct http_server *server = ctx;
    if (send_batch_empty(server->batch))
        return;
    server->turn_ends = true;
    send_batch_submit(server->batch);
    server->turn_ends = false;
    on_deferred(server);
    send_batch_submit(server->batch);
}

int http_server_use_uring(struct http_server *server) {
    if (!server->batch)
        server->batch = send_batch_create();
    if (!server->batch)
        return -errno;
    if (server->tls_scratch)
        server->tls_scratch->batch = server->batch;
    loop_on_turn_end(server->loop, on_turn_end, server);
    return 0;
}

/* --- life --- */

const char *http_server_date(struct http_server *server) {
    int64_t now_s = clock_utc_us() / 1000000;
    if (now_s != server->date_s)
        http_date_format(server->date, now_s);
    server->date_s = now_s;
    return server->date;
}

struct http_server *http_server_create(struct loop *loop, const struct http_limits *limits, http_handler_fn *handler,
                                       void *ctx) {
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        abort();
    server->loop = loop;
    server->limits = *limits;
    server->limits.head_bytes_max = smaller(limits->head_bytes_max, H1_HEAD_BYTES_MAX);
    server->handler = handler;
    server->ctx = ctx;
    list_init(&server->listeners);
    for (int i = 0; i < CONN_STATES; i++)
        list_init(&server->conns[i]);
    server->addresses = map_create();
    server->deferred = loop_timer_create(loop, on_deferred, server);
    server->sweep = loop_timer_create(loop, on_sweep, server);
    loop_timer_set(server->sweep, sweep_interval_us(&server->limits));
    return server;
}

void http_server_stream_bodies(struct http_server *server, http_streams_fn *fn) {
    server->streams = fn;
}

void http_server_trust(struct http_server *server, const struct address_range *ranges, size_t count,
                       bool proxy_protocol) {
    server->trusted = ranges;
    server->trusted_count = count;
    server->proxy_protocol = proxy_protocol;
}

uint32_t http_server_connections(const struct http_server *server) {
    return server->count;
}

static void close_listeners(struct http_server *server) {
    while (!list_empty(&server->listeners))
        destroy_listener(list_entry(server->listeners.next, struct listener, link));
}

static void drain(struct http_conn *conn) {
    bool silent = conn->state == CONN_RECEIVING && !conn->req && conn->tail_len == 0 && !conn->running;
    if (conn->protocol && conn->protocol->drain)
        conn->protocol->drain(conn);
    else if (conn->state == CONN_IDLE || silent) /* silent: connected, and has said nothing */
        http_conn_destroy(conn);
}

void http_server_drain(struct http_server *server) {
    server->draining = true;
    close_listeners(server);
    for (int state = 0; state < CONN_STATES; state++)
        list_each(it, &server->conns[state]) drain(list_entry(it, struct http_conn, link));
}

void http_server_destroy(struct http_server *server) {
    if (!server)
        return;
    close_listeners(server);
    if (server->batch) {
        send_batch_submit(server->batch);
        loop_on_turn_end(server->loop, NULL, NULL);
    }
    for (int i = 0; i < CONN_STATES; i++)
        while (!list_empty(&server->conns[i]))
            http_conn_destroy(list_entry(server->conns[i].next, struct http_conn, link));
    loop_timer_destroy(server->sweep);
    loop_timer_destroy(server->deferred);
    map_destroy(server->addresses);
    tls_context_unref(server->tls);
    free(server->tls_scratch);
    send_batch_destroy(server->batch);
    free(server->h2_out_spare);
    free(server);
}
