/* A connection's life: open (its session speaks) -> closing (the session has said its last; that is sent) -> lingering
 * (our side is shut; what the peer still sends is read and dropped, since closing with unread input makes TCP throw
 * away the very reply that says what was wrong) -> gone.
 *
 * All connections read into one buffer: a session uses or copies what it is given.
 *
 * TLS is a transport (common/http/transport.h) and shows only during its handshake, which any event may drive on. The
 * steps of handshakes are limited in each turn of the loop: one costs up to a millisecond, and all publishers come back
 * at once.
 *
 * Anybody may connect, so what a connection may take is little until it is granted a publish, in number (a place among
 * the newcomers of its address) and in memory; else one stranger could keep all broadcasters out. */
#include "ingest/rtmp_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/address.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/http/tls.h"
#include "common/http/tls_transport.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_session.h"

enum {
    SCRATCH_BYTES = 256 << 10,
    READS_MAX = 4,      /* a turn and connection, then the others have theirs */
    ACCEPTS_MAX = 64,   /* likewise */
    HANDSHAKES_MAX = 4, /* steps of TLS handshakes a turn */
    SWEEP_US = 250000,
    CLOSE_US = 2000000,        /* for the last reply and the lingering */
    SEND_BYTES_MAX = 64 << 10, /* replies in the kernel, which would let a peer that doesn't read pin 4 MB */
    LINGER_BYTES_MAX = 8 << 20,
    BACKLOG = 512,
    LOGS_PER_S = 20, /* of each kind that strangers can cause */
};

const struct rtmp_limits rtmp_limits_default = {
    .connections_max = 1000,
    .unpublished_per_address = 16,
    .handshake_timeout_ms = 10000,
    .silence_timeout_ms = 10000,
    .connection_bytes_max = 8 << 20,
    .unpublished_bytes_max = 64 << 10,
};

struct rtmp_server {
    struct loop *loop;
    struct ingest *ingest;
    struct rtmp_limits limits;
    struct list listeners, connections;
    struct map *newcomers; /* struct newcomers by address */
    uint32_t count;
    bool draining;
    const char *reconnect_url; /* NULL: where they are */
    uint64_t seed;
    uint8_t *scratch;
    struct tls_context *tls; /* for new connections; NULL: none */
    struct tls_scratch *tls_scratch;
    int64_t handshakes_us; /* the turn in which there were `handshakes` */
    uint32_t handshakes;
    struct loop_timer *sweep_timer;
    struct log_limit connect_lines, close_lines, refusal_lines; /* of strangers */
};

struct listener {
    struct list link;
    struct rtmp_server *server;
    int fd;
    bool tls;
    struct loop_io *io; /* NULL: paused, for want of descriptors or memory, until the next sweep */
};

/* Connections of one address that were never granted a publish; exists while there are any. */
struct newcomers {
    uint32_t count;
    char key[ADDRESS_KEY_LEN];
};

struct connection {
    struct list link;
    struct rtmp_server *server;
    struct newcomers *newcomers; /* NULL: has published */
    struct transport transport;
    uint8_t first; /* byte that came, where TLS was awaited; 0: none yet */
    struct loop_io *io;
    struct rtmp_session *session; /* NULL: lingering */
    bool changed;                 /* the session wants to go on */
    bool broken;                  /* the peer is gone: nothing can be sent */
    bool announced;               /* rtmp_connect is logged */
    int64_t accepted_us;
    int64_t close_by_us; /* 0: not closing */
    size_t lingered_bytes;
    char peer[ADDRESS_TEXT_LEN];
};

static struct metric metrics[] = {
    {"weir_rtmp_connections", NULL, "RTMP connections open.", METRIC_GAUGE, 0},
    {"weir_rtmp_connections_total", NULL, "RTMP connections accepted.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"connections_max\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"address\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"bad_name\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"denied\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"busy\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"full\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"cut\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"unsupported_codec\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_refused_total", "reason=\"play\"", "RTMP publishers refused.", METRIC_COUNTER, 0},
    {"weir_rtmp_timeouts_total", "reason=\"handshake\"", "RTMP connections closed for being late.", METRIC_COUNTER, 0},
    {"weir_rtmp_timeouts_total", "reason=\"silence\"", "RTMP connections closed for being late.", METRIC_COUNTER, 0},
    {"weir_rtmp_protocol_errors_total", NULL, "RTMP connections closed for what the peer sent, or didn't read.",
     METRIC_COUNTER, 0},
    {"weir_rtmp_received_bytes_total", NULL, "Bytes received by RTMP.", METRIC_COUNTER, 0},
    {"weir_rtmp_reconnect_requests_total", NULL, "RTMP publishers asked to connect anew, since the node stops.",
     METRIC_COUNTER, 0},
};
enum {
    M_CONNECTIONS,
    M_ACCEPTED,
    M_REFUSED_CONNECTIONS,
    M_REFUSED_ADDRESS,
    M_REFUSED_BAD_NAME,
    M_REFUSED_DENIED,
    M_REFUSED_BUSY,
    M_REFUSED_FULL,
    M_REFUSED_CUT,
    M_REFUSED_UNSUPPORTED,
    M_REFUSED_PLAY,
    M_TIMEOUT_HANDSHAKE,
    M_TIMEOUT_SILENCE,
    M_PROTOCOL_ERRORS,
    M_BYTES,
    M_RECONNECTS,
};

void rtmp_server_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- newcomers --- */

/* NULL: the address has as many as it may. */
static struct newcomers *newcomers_join(struct rtmp_server *server, const struct sockaddr_storage *address) {
    char key[ADDRESS_KEY_LEN];
    address_key((const struct sockaddr *)address, key);
    struct newcomers *newcomers = map_get(server->newcomers, key);
    if (!newcomers) {
        newcomers = calloc(1, sizeof *newcomers);
        if (!newcomers)
            abort();
        memcpy(newcomers->key, key, sizeof key);
        map_set(server->newcomers, key, newcomers);
    }
    if (newcomers->count >= server->limits.unpublished_per_address)
        return NULL;
    newcomers->count++;
    return newcomers;
}

static void newcomers_leave(struct connection *connection) {
    struct newcomers *newcomers = connection->newcomers;
    connection->newcomers = NULL;
    if (newcomers && --newcomers->count == 0)
        free(map_remove(connection->server->newcomers, newcomers->key));
}

/* --- how connections end --- */

static const struct outcome {
    const char *event;
    enum log_level level;
    int metric; /* 0: none */
} outcomes[RTMP_END_COUNT] = {
    [RTMP_END_NONE] = {"rtmp_close", LOG_LEVEL_INFO, 0},
    [RTMP_END_BYE] = {"rtmp_close", LOG_LEVEL_INFO, 0},
    [RTMP_END_LOST] = {"rtmp_close", LOG_LEVEL_INFO, 0},
    [RTMP_END_GONE] = {"rtmp_close", LOG_LEVEL_INFO, 0},
    [RTMP_END_PROTOCOL] = {"rtmp_protocol_error", LOG_LEVEL_WARN, M_PROTOCOL_ERRORS},
    [RTMP_END_NOT_READING] = {"rtmp_protocol_error", LOG_LEVEL_WARN, M_PROTOCOL_ERRORS},
    [RTMP_END_LATE] = {"rtmp_close", LOG_LEVEL_INFO, M_TIMEOUT_HANDSHAKE},
    [RTMP_END_SILENT] = {"rtmp_close", LOG_LEVEL_WARN, M_TIMEOUT_SILENCE},
    [RTMP_END_BAD_NAME] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_BAD_NAME},
    [RTMP_END_DENIED] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_DENIED},
    [RTMP_END_BUSY] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_BUSY},
    [RTMP_END_FULL] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_FULL},
    [RTMP_END_CUT] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_CUT},
    [RTMP_END_UNSUPPORTED] = {"rtmp_refused", LOG_LEVEL_WARN, M_REFUSED_UNSUPPORTED},
    [RTMP_END_PLAY] = {"rtmp_refused", LOG_LEVEL_INFO, M_REFUSED_PLAY},
    [RTMP_END_PUBLISHER] = {"rtmp_close", LOG_LEVEL_WARN, 0},
};

static void log_close(const struct connection *connection, const struct outcome *outcome, uint32_t suppressed) {
    const struct rtmp_session *session = connection->session;
    int64_t age_us = loop_now_us(connection->server->loop) - connection->accepted_us;
    log_event(outcome->level, outcome->event, "peer", LOG_STR(connection->peer), "app",
              LOG_STR(rtmp_session_app(session)), "name", LOG_STR(rtmp_session_name(session)), "encoder",
              LOG_STR(rtmp_session_encoder(session)), "end", LOG_STR(rtmp_end_name(rtmp_session_end(session))), "why",
              LOG_STR(rtmp_session_why(session)), "bytes", LOG_INT(rtmp_session_bytes(session)), "ms",
              LOG_INT(age_us / 1000), LOG_SUPPRESSED(suppressed), (const char *)0);
}

static void session_finish(struct connection *connection) {
    if (!connection->session)
        return;
    const struct outcome *outcome = &outcomes[rtmp_session_end(connection->session)];
    if (outcome->metric)
        metric_add(&metrics[outcome->metric], 1);
    uint32_t suppressed = 0;
    if (rtmp_session_published(connection->session) ||
        log_limit_pass(&connection->server->close_lines, LOGS_PER_S, &suppressed))
        log_close(connection, outcome, suppressed);
    rtmp_session_destroy(connection->session);
    connection->session = NULL;
}

static void connection_destroy(struct connection *connection) {
    session_finish(connection);
    newcomers_leave(connection);
    loop_io_destroy(connection->io);
    connection->transport.ops->close(&connection->transport, false);
    list_remove(&connection->link);
    connection->server->count--;
    metric_add(&metrics[M_CONNECTIONS], -1);
    free(connection);
}

/* --- a connection --- */

static void send_output(struct connection *connection) {
    struct buf *out = rtmp_session_output(connection->session);
    while (buf_len(out) && !connection->broken) {
        struct iovec iov = {buf_head(out), buf_len(out)};
        ssize_t n = connection->transport.ops->sendv(&connection->transport, &iov, 1);
        if (n >= 0)
            buf_consume(out, (size_t)n);
        else if (n == -EAGAIN)
            return;
        else
            connection->broken = true;
    }
}

static void announce(struct connection *connection) {
    const struct rtmp_session *session = connection->session;
    uint32_t suppressed;
    if (connection->announced || !rtmp_session_connected(session))
        return;
    connection->announced = true;
    if (!log_limit_pass(&connection->server->connect_lines, LOGS_PER_S, &suppressed))
        return;
    log_info("rtmp_connect", "peer", LOG_STR(connection->peer), "app", LOG_STR(rtmp_session_app(session)), "encoder",
             LOG_STR(rtmp_session_encoder(session)), LOG_SUPPRESSED(suppressed));
}

static void linger(struct connection *connection) {
    session_finish(connection);
    connection->transport.ops->shutdown(&connection->transport);
    loop_io_activate(connection->io, LOOP_READ);
}

/* After anything that may have changed the session. The connection may be gone afterwards. */
static void connection_update(struct connection *connection) {
    struct rtmp_session *session = connection->session;
    if (rtmp_session_published(session))
        newcomers_leave(connection);
    announce(connection);
    if (connection->server->draining && rtmp_session_ask_reconnect(session, connection->server->reconnect_url))
        metric_add(&metrics[M_RECONNECTS], 1);
    send_output(connection);
    if (connection->broken)
        rtmp_session_input_end(session);
    if (!rtmp_session_closing(session))
        return;
    if (!connection->close_by_us)
        connection->close_by_us = loop_now_us(connection->server->loop) + CLOSE_US;
    if (connection->broken)
        connection_destroy(connection);
    else if (!buf_len(rtmp_session_output(session)))
        linger(connection);
}

static bool publishing(const struct connection *connection) {
    return connection->session && rtmp_session_publishing(connection->session);
}

/* Acknowledges at once while the peer asks and waits: Nagle's algorithm at its end would hold back each small command
 * for the 40 ms of a delayed acknowledgement. */
static void acknowledge_now(const struct connection *connection) {
    int on = 1;
    if (connection->session && !publishing(connection))
        setsockopt(connection->transport.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* --- TLS handshakes --- */

static bool shaking_hands(const struct connection *connection) {
    return connection->transport.alpn == TRANSPORT_ALPN_PENDING;
}

/* Whether one may go on in this turn of the loop; counts it if so. */
static bool may_shake_hands(struct rtmp_server *server) {
    int64_t now_us = loop_now_us(server->loop);
    if (server->handshakes_us != now_us)
        server->handshakes = 0;
    server->handshakes_us = now_us;
    return server->handshakes++ < HANDSHAKES_MAX;
}

static void peek_first(struct connection *connection) {
    if (shaking_hands(connection) && !connection->first)
        recv(connection->transport.fd, &connection->first, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* Who takes the wrong one of two ports should find it in the log, in words. */
static void tell_handshake_failure(struct connection *connection) {
    const char *reason = transport_tls_failure(&connection->transport);
    char why[128];
    if (!reason || !connection->session)
        return;
    if (connection->first == RTMP_HANDSHAKE_VERSION)
        snprintf(why, sizeof why, "plain RTMP on a port for TLS: rtmps:// belongs here");
    else
        snprintf(why, sizeof why, "TLS handshake: %s", reason);
    rtmp_session_fail(connection->session, why);
}

/* What a session may have to hold while a claim is decided, it can. */
static size_t read_bytes_max(const struct connection *connection) {
    size_t max = connection->newcomers ? connection->server->limits.unpublished_bytes_max : SCRATCH_BYTES;
    return max < SCRATCH_BYTES ? max : SCRATCH_BYTES;
}

/* One read. False when there is no more now, or never; both show later. */
static bool read_once(struct connection *connection) {
    struct rtmp_server *server = connection->server;
    size_t max = read_bytes_max(connection);
    peek_first(connection);
    ssize_t n = connection->transport.ops->recv(&connection->transport, server->scratch, max);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        connection->broken = true; /* a publisher that shuts one side has left */
        tell_handshake_failure(connection);
        return false;
    }
    metric_add(&metrics[M_BYTES], n);
    acknowledge_now(connection);
    if (connection->session)
        rtmp_session_input(connection->session, server->scratch, (size_t)n, loop_now_us(server->loop));
    else if ((connection->lingered_bytes += (size_t)n) > LINGER_BYTES_MAX)
        connection->broken = true;
    /* A publisher's read that did not fill the buffer has emptied the socket: the next byte brings an event. Only an
     * end of stream may have come with it, for which the sweep looks. That halves the system calls of a publisher. */
    return !connection->broken && !(publishing(connection) && (size_t)n < max);
}

static bool wants_input(const struct connection *connection) {
    return !connection->session || rtmp_session_wants_input(connection->session);
}

static void read_input(struct connection *connection) {
    for (int i = 0; wants_input(connection); i++) {
        if (i == READS_MAX || (shaking_hands(connection) && !may_shake_hands(connection->server))) {
            loop_io_activate(connection->io, LOOP_READ);
            return;
        }
        if (!read_once(connection))
            return;
    }
}

/* Ciphertext that the socket did not take. */
static void flush_held(struct connection *connection) {
    int rc = connection->transport.ops->flush(&connection->transport);
    if (rc < 0 && rc != -EAGAIN)
        connection->broken = true;
}

static void on_io(void *ctx, int events) {
    struct connection *connection = ctx;
    if (connection->changed && connection->session) {
        connection->changed = false;
        rtmp_session_input(connection->session, NULL, 0, loop_now_us(connection->server->loop));
        events |= LOOP_READ; /* what came while the session wanted none */
    }
    if (shaking_hands(connection))
        events |= LOOP_READ;
    if (connection->transport.held)
        flush_held(connection);
    if (events & LOOP_READ)
        read_input(connection);
    if (connection->session)
        connection_update(connection);
    else if (connection->broken)
        connection_destroy(connection);
}

static void on_session_change(void *ctx) {
    struct connection *connection = ctx;
    connection->changed = true;
    loop_io_activate(connection->io, LOOP_READ);
}

static void connection_create(struct rtmp_server *server, int fd, bool tls, struct newcomers *newcomers,
                              const char *peer) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        abort();
    connection->server = server;
    if (tls)
        transport_init_tls(&connection->transport, fd, server->tls, server->tls_scratch);
    else
        transport_init_plain(&connection->transport, fd);
    connection->newcomers = newcomers;
    connection->accepted_us = loop_now_us(server->loop);
    snprintf(connection->peer, sizeof connection->peer, "%s", peer);
    struct rtmp_session_settings settings = {.ingest = server->ingest,
                                             .peer = peer,
                                             .handshake_timeout_us =
                                                 server->limits.handshake_timeout_ms * INT64_C(1000),
                                             .silence_timeout_us = server->limits.silence_timeout_ms * INT64_C(1000),
                                             .memory_max = server->limits.connection_bytes_max,
                                             .unpublished_memory_max = server->limits.unpublished_bytes_max,
                                             .seed = server->seed++,
                                             .on_change = on_session_change,
                                             .ctx = connection};
    connection->session = rtmp_session_create(&settings, connection->accepted_us);
    connection->io = loop_io_create(server->loop, fd, on_io, connection);
    list_append(&server->connections, &connection->link);
    server->count++;
    metric_add(&metrics[M_CONNECTIONS], 1);
    metric_add(&metrics[M_ACCEPTED], 1);
}

/* --- timeouts --- */

static void listener_resume(struct listener *listener);

static void sweep_connection(struct connection *connection, int64_t now_us) {
    if (connection->close_by_us && now_us > connection->close_by_us) {
        connection_destroy(connection);
    } else if (connection->session) {
        if (publishing(connection))
            loop_io_activate(connection->io, LOOP_READ); /* see read_once */
        rtmp_session_check(connection->session, now_us);
        connection_update(connection);
    }
}

static void on_sweep(void *ctx) {
    struct rtmp_server *server = ctx;
    int64_t now_us = loop_now_us(server->loop);
    list_each(it, &server->connections) sweep_connection(list_entry(it, struct connection, link), now_us);
    list_each(it, &server->listeners) listener_resume(list_entry(it, struct listener, link));
    loop_timer_set(server->sweep_timer, SWEEP_US);
}

/* --- listeners --- */

static void refuse(struct rtmp_server *server, int fd, const char *peer, int metric, const char *why) {
    uint32_t suppressed;
    close(fd);
    metric_add(&metrics[metric], 1);
    if (log_limit_pass(&server->refusal_lines, LOGS_PER_S, &suppressed))
        log_warn("rtmp_refused", "peer", LOG_STR(peer), "end", LOG_STR(why), LOG_SUPPRESSED(suppressed));
}

static void accepted(const struct listener *listener, int fd, const struct sockaddr_storage *address) {
    struct rtmp_server *server = listener->server;
    char peer[ADDRESS_TEXT_LEN];
    address_text(address, peer);
    if (server->count >= server->limits.connections_max) {
        refuse(server, fd, peer, M_REFUSED_CONNECTIONS, "connections_max");
        return;
    }
    struct newcomers *newcomers = newcomers_join(server, address);
    if (!newcomers) {
        refuse(server, fd, peer, M_REFUSED_ADDRESS, "unpublished_per_address");
        return;
    }
    int on = 1, send_max = SEND_BYTES_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_max, sizeof send_max);
    connection_create(server, fd, listener->tls, newcomers, peer);
}

static void on_acceptable(void *ctx, int events) {
    struct listener *listener = ctx;
    (void)events;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(listener, fd, &address);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            loop_io_destroy(listener->io); /* it would be called again and again */
            listener->io = NULL;
            log_error("rtmp_accept", "why", LOG_STR(strerror(errno)));
            return;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void listener_resume(struct listener *listener) {
    if (!listener->io)
        listener->io = loop_io_create_level(listener->server->loop, listener->fd, LOOP_READ, on_acceptable, listener);
}

static void listener_destroy(struct listener *listener) {
    loop_io_destroy(listener->io);
    close(listener->fd);
    list_remove(&listener->link);
    free(listener);
}

static int bind_and_listen(int fd, const struct sockaddr_storage *address, socklen_t len) {
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return bind(fd, (const struct sockaddr *)address, len) || listen(fd, BACKLOG) ? -errno : 0;
}

static int open_socket(const char *text, int *ret_fd) {
    struct sockaddr_storage address;
    socklen_t len;
    int rc = address_parse(text, &address, &len);
    if (rc)
        return rc;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rc = fd < 0 ? -errno : bind_and_listen(fd, &address, len);
    if (rc && fd >= 0)
        close(fd);
    else if (!rc)
        *ret_fd = fd;
    return rc;
}

static uint16_t port_of(int fd) {
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    return address_port(&address);
}

static int listen_on(struct rtmp_server *server, const char *address, bool tls, uint16_t *ret_port) {
    int fd, rc = open_socket(address, &fd);
    if (rc)
        return rc;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        abort();
    listener->server = server;
    listener->fd = fd;
    listener->tls = tls;
    listener_resume(listener);
    list_append(&server->listeners, &listener->link);
    if (ret_port)
        *ret_port = port_of(fd);
    return 0;
}

int rtmp_server_listen(struct rtmp_server *server, const char *address, uint16_t *ret_port) {
    return listen_on(server, address, false, ret_port);
}

int rtmp_server_listen_tls(struct rtmp_server *server, const char *address, uint16_t *ret_port) {
    return server->tls ? listen_on(server, address, true, ret_port) : -EINVAL;
}

/* --- stopping --- */

void rtmp_server_drain(struct rtmp_server *server, const char *url) {
    server->draining = true;
    server->reconnect_url = url;
    list_each(it, &server->listeners) listener_destroy(list_entry(it, struct listener, link));
    list_each(it, &server->connections) {
        struct connection *connection = list_entry(it, struct connection, link);
        if (connection->session)
            connection_update(connection);
    }
}

uint32_t rtmp_server_leaving(const struct rtmp_server *server) {
    uint32_t count = 0;
    list_each(it, &server->connections) {
        const struct connection *connection = list_entry(it, struct connection, link);
        count += connection->session && rtmp_session_reconnecting(connection->session);
    }
    return count;
}

/* --- life --- */

void rtmp_server_set_tls(struct rtmp_server *server, struct tls_context *context) {
    if (!server->tls_scratch && !(server->tls_scratch = calloc(1, sizeof *server->tls_scratch)))
        abort();
    tls_context_unref(server->tls);
    server->tls = tls_context_ref(context);
}

struct rtmp_server *rtmp_server_create(struct loop *loop, struct ingest *ingest, const struct rtmp_limits *limits) {
    struct rtmp_server *server = calloc(1, sizeof *server);
    if (!server || !(server->scratch = malloc(SCRATCH_BYTES)))
        abort();
    server->loop = loop;
    server->ingest = ingest;
    server->limits = *limits;
    list_init(&server->listeners);
    list_init(&server->connections);
    server->newcomers = map_create();
    if (getrandom(&server->seed, sizeof server->seed, GRND_NONBLOCK) < 0)
        server->seed = (uint64_t)loop_now_us(loop);
    server->sweep_timer = loop_timer_create(loop, on_sweep, server);
    loop_timer_set(server->sweep_timer, SWEEP_US);
    return server;
}

uint32_t rtmp_server_connections(const struct rtmp_server *server) {
    return server->count;
}

void rtmp_server_destroy(struct rtmp_server *server) {
    if (!server)
        return;
    list_each(it, &server->listeners) listener_destroy(list_entry(it, struct listener, link));
    list_each(it, &server->connections) connection_destroy(list_entry(it, struct connection, link));
    loop_timer_destroy(server->sweep_timer);
    map_destroy(server->newcomers);
    tls_context_unref(server->tls);
    free(server->tls_scratch);
    free(server->scratch);
    free(server);
}
