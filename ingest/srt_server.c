#include "ingest/srt_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "ingest/address_counts.h"
#include "ingest/ingest.h"
#include "ingest/ts_session.h"

enum {
    LOGS_PER_S = 20, /* of refusals, which strangers can cause */
    WHY_LEN = 96,
};

const struct srt_server_settings srt_server_settings_default = {
    .latency_ms = 120,
    .connections_max = 256,
    .connections_per_address = 16,
    .silent_ms = 3000,
    .silence_timeout_ms = 10000,
    .queue_bytes_max = 4 << 20,
    .queue_full_ms = 3000,
};

struct srt_server {
    struct loop *loop;
    struct ingest *ingest;
    struct srt_port *port;
    struct address_counts *addresses;
    struct list connections;
    struct log_limit refusal_lines; /* any thread */
};

struct srt_caller {
    struct connection *connection;
    struct srt_call_events events;
    void *ctx;
    bool hung_up;
};

struct connection {
    struct list link;
    struct srt_caller *caller; /* of a call, which has no session; else NULL */
    struct srt_server *server;
    struct srt_link *srt;
    struct ts_session *session;
    int64_t opened_us;
    bool second;              /* another had its stream when it came, and still has */
    enum srt_refusal refused; /* when the claim failed */
    char why[WHY_LEN];        /* the publisher is lost, in words */
};

static struct metric metrics[] = {
    {"weir_srt_connections", NULL, "SRT connections open.", METRIC_GAUGE, 0},
    {"weir_srt_connections_total", NULL, "SRT connections accepted.", METRIC_COUNTER, 0},
    {"weir_srt_received_bytes_total", NULL, "Bytes received by SRT, of payload.", METRIC_COUNTER, 0},
    {"weir_srt_gaps_total", NULL, "Places where packets of SRT were missing in what was delivered.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"bye\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"lost\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"silent\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"slow\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"publisher\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_closed_total", "end=\"refused\"", "SRT connections closed.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"bad_stream_id\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"no_key\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"full\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"address\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"wrong_key\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"mode\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"busy\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"type\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"unreachable\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"stopping\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"cut\"", "SRT publishers refused.", METRIC_COUNTER, 0},
    {"weir_srt_refused_total", "reason=\"handshake\"", "SRT publishers refused.", METRIC_COUNTER, 0},
};
enum {
    M_CONNECTIONS,
    M_ACCEPTED,
    M_BYTES,
    M_GAPS,
    M_BYE,                                           /* from here on as enum srt_end */
    M_REFUSED = M_BYE + SRT_END_COUNT - SRT_END_BYE, /* from here on as enum srt_refusal */
};
_Static_assert(sizeof metrics / sizeof *metrics == M_REFUSED + SRT_REFUSAL_COUNT - SRT_REFUSED_BAD_ID,
               "a metric for every end and refusal");

void srt_server_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
    srt_port_metrics_register();
}

static void count_refusal(enum srt_refusal refusal) {
    metric_add(&metrics[M_REFUSED + refusal - SRT_REFUSED_BAD_ID], 1);
}

/* --- a connection's session --- */

static enum srt_refusal refusal_of(enum publish_result result) {
    switch (result) {
    case PUBLISH_OK:
        return SRT_ADMITTED;
    case PUBLISH_BUSY:
        return SRT_REFUSED_BUSY;
    case PUBLISH_DENIED:
        return SRT_REFUSED_WRONG_KEY;
    case PUBLISH_UNREACHABLE:
        return SRT_REFUSED_UNREACHABLE;
    case PUBLISH_FULL:
        return SRT_REFUSED_FULL;
    case PUBLISH_CUT:
        return SRT_REFUSED_CUT;
    default:
        return SRT_REFUSED_BAD_ID;
    }
}

/* The session stays until the link is closed, which is in a moment; it is given nothing more. */
static void on_result(void *ctx, enum publish_result result) {
    struct connection *connection = ctx;
    connection->refused = refusal_of(result);
    if (connection->refused != SRT_ADMITTED)
        srt_link_close(connection->srt);
}

static void on_lost(void *ctx, const char *why) {
    struct connection *connection = ctx;
    snprintf(connection->why, sizeof connection->why, "%s", why);
    srt_link_close(connection->srt);
}

static const struct ts_session_events session_events = {on_result, on_lost};

/* --- links --- */

/* Another connection of the same stream that doesn't join it, or NULL. */
static struct connection *other_of(const struct connection *connection) {
    const char *stream = srt_link_info(connection->srt)->id.stream;
    list_each(it, &connection->server->connections) {
        struct connection *other = list_entry(it, struct connection, link);
        bool joins = srt_link_info(other->srt)->id.join.kind != JOIN_NONE;
        if (other != connection && !joins && strcmp(srt_link_info(other->srt)->id.stream, stream) == 0)
            return other;
    }
    return NULL;
}

static void open_session(struct connection *connection) {
    const struct srt_link_info *info = srt_link_info(connection->srt);
    char name[STREAM_NAME_LEN + sizeof "?backup=1&key=&audio=" + SRT_STREAM_ID_MAX + JOIN_LABEL_LEN];
    char join[sizeof "audio=" + JOIN_LABEL_LEN];
    join_request_print(&info->id.join, join, sizeof join);
    snprintf(name, sizeof name, "%s?%s%s%s%s%s", info->id.name, info->id.key[0] ? "key=" : "", info->id.key,
             info->id.backup ? "&backup=1" : "", join[0] ? "&" : "", join);
    connection->session =
        ts_session_create(connection->server->ingest, info->id.app, name, info->peer, &session_events, connection);
}

static struct connection *connection_create(struct srt_server *server) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        abort();
    connection->server = server;
    list_init(&connection->link);
    return connection;
}

static void on_open(void *ctx, struct srt_link *srt) {
    struct srt_server *server = ctx;
    const struct srt_link_info *info = srt_link_info(srt);
    struct connection *connection = srt_link_called(srt) ? srt_link_user(srt) : connection_create(server);
    connection->srt = srt;
    connection->opened_us = loop_now_us(server->loop);
    if (!connection->caller)
        open_session(connection);
    connection->second = info->id.join.kind == JOIN_NONE && other_of(connection);
    list_append(&server->connections, &connection->link);
    srt_link_set_user(srt, connection);
    metric_add(&metrics[M_CONNECTIONS], 1);
    metric_add(&metrics[M_ACCEPTED], !connection->caller);
    log_info("srt_connect", "peer", LOG_STR(info->peer), "app", LOG_STR(info->id.app), "name", LOG_STR(info->id.name),
             "version", LOG_STR(info->version), "latency_ms", LOG_INT(info->latency_ms), "aes",
             LOG_INT(info->key_bits));
}

static void on_data(void *ctx, struct srt_link *srt, const uint8_t *data, size_t len) {
    const struct connection *connection = srt_link_user(srt);
    (void)ctx;
    metric_add(&metrics[M_BYTES], (int64_t)len);
    if (!connection->caller)
        ts_session_input(connection->session, data, len);
    else if (!connection->caller->hung_up)
        connection->caller->events.on_data(connection->caller->ctx, data, len);
}

static void on_gap(void *ctx, struct srt_link *srt) {
    const struct connection *connection = srt_link_user(srt);
    (void)ctx;
    metric_add(&metrics[M_GAPS], 1);
    if (!connection->caller)
        ts_session_gap(connection->session);
    else if (!connection->caller->hung_up)
        connection->caller->events.on_gap(connection->caller->ctx);
}

static void log_close(const struct connection *connection, enum srt_end end) {
    const struct srt_link_info *info = srt_link_info(connection->srt);
    struct srt_stats stats = srt_link_stats(connection->srt);
    bool refused = connection->refused != SRT_ADMITTED, hung_up = connection->caller && connection->caller->hung_up;
    bool trouble = end != SRT_END_BYE && end != SRT_END_NONE && !hung_up;
    int64_t age_us = loop_now_us(connection->server->loop) - connection->opened_us;
    const char *how = refused                             ? srt_refusal_name(connection->refused)
                      : end == SRT_END_CLOSED && !hung_up ? "publisher"
                                                          : srt_end_name(end);
    log_event(trouble ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, refused ? "srt_refused" : "srt_close", "peer",
              LOG_STR(info->peer), "app", LOG_STR(info->id.app), "name", LOG_STR(info->id.name), "end", LOG_STR(how),
              "why", LOG_STR(connection->why), "bytes", LOG_INT(stats.bytes), "ms", LOG_INT(age_us / 1000), "rtt_ms",
              LOG_FLOAT(stats.rtt_ms), "lost", LOG_INT(stats.lost), "retransmitted", LOG_INT(stats.retransmitted),
              "dropped", LOG_INT(stats.dropped), (const char *)0);
}

static void caller_end(struct srt_caller *caller, struct srt_link *srt, enum srt_end end) {
    static const char *const whys[SRT_END_COUNT] = {
        [SRT_END_NONE] = "the node stops",           [SRT_END_BYE] = "the listener has ended it",
        [SRT_END_LOST] = "the connection was lost",  [SRT_END_SILENT] = "the listener sends nothing",
        [SRT_END_SLOW] = "more comes than is taken", [SRT_END_CLOSED] = "hung up"};
    if (!caller->hung_up)
        caller->events.on_end(caller->ctx, end == SRT_END_REFUSED ? srt_link_refusal(srt) : whys[end]);
    free(caller);
}

/* Who called logs it. */
static void on_call_refused(struct connection *connection, struct srt_link *srt) {
    metric_add(&metrics[M_BYE + SRT_END_REFUSED - SRT_END_BYE], 1);
    caller_end(connection->caller, srt, SRT_END_REFUSED);
    free(connection);
}

static void on_close(void *ctx, struct srt_link *srt, enum srt_end end) {
    struct connection *connection = srt_link_user(srt);
    (void)ctx;
    if (end == SRT_END_REFUSED) {
        on_call_refused(connection, srt);
        return;
    }
    log_close(connection, end);
    if (connection->refused != SRT_ADMITTED)
        count_refusal(connection->refused);
    else if (end != SRT_END_NONE)
        metric_add(&metrics[M_BYE + end - SRT_END_BYE], 1);
    metric_add(&metrics[M_CONNECTIONS], -1);
    ts_session_destroy(connection->session, end == SRT_END_BYE);
    if (connection->caller)
        caller_end(connection->caller, srt, end);
    struct connection *other = connection->second ? NULL : other_of(connection);
    if (other)
        other->second = false;
    list_remove(&connection->link);
    free(connection);
}

/* --- calls --- */

struct srt_caller *srt_server_call(struct srt_server *server, const struct srt_call *call,
                                   const struct srt_call_events *events, void *ctx) {
    struct connection *connection = connection_create(server);
    struct srt_caller *caller = connection->caller = malloc(sizeof *caller);
    if (!caller)
        abort();
    *caller = (struct srt_caller){.connection = connection, .events = *events, .ctx = ctx};
    connection->srt = srt_port_call(server->port, call, connection);
    if (connection->srt)
        return caller;
    free(caller);
    free(connection);
    return NULL;
}

void srt_server_hang_up(struct srt_caller *caller) {
    if (!caller || caller->hung_up)
        return;
    caller->hung_up = true;
    srt_link_close(caller->connection->srt);
}

/* On any thread. */
static void on_refused(void *ctx, const char *peer, const struct srt_stream_id *id, enum srt_refusal refusal) {
    struct srt_server *server = ctx;
    const char *why =
        refusal == SRT_REFUSED_HANDSHAKE ? "passphrase wrong, missing or not wanted, or SRT too old" : NULL;
    uint32_t suppressed;
    count_refusal(refusal);
    if (log_limit_pass(&server->refusal_lines, LOGS_PER_S, &suppressed))
        log_warn("srt_refused", "peer", LOG_STR(peer), "app", LOG_STR(id ? id->app : NULL), "name",
                 LOG_STR(id ? id->name : NULL), "end", LOG_STR(srt_refusal_name(refusal)), "code",
                 LOG_INT(srt_refusal_code(refusal)), "why", LOG_STR(why), LOG_SUPPRESSED(suppressed));
}

/* --- life --- */

struct srt_server *srt_server_create(struct loop *loop, struct ingest *ingest,
                                     const struct srt_server_settings *settings) {
    static const struct srt_port_events events = {on_open, on_data, on_gap, on_close, on_refused};
    struct srt_server *server = calloc(1, sizeof *server);
    if (!server)
        abort();
    server->loop = loop;
    server->ingest = ingest;
    server->addresses = address_counts_create(settings->connections_per_address);
    list_init(&server->connections);
    const struct srt_port_settings port = {.rules = {.publish_keys = ingest->settings.publish_keys,
                                                     .publish_key_count = ingest->settings.publish_key_count,
                                                     .passphrases = settings->passphrases,
                                                     .passphrase_count = settings->passphrase_count,
                                                     .rung_suffixes = ingest->settings.rung_suffixes,
                                                     .rung_suffix_count = ingest->settings.rung_suffix_count,
                                                     .live = ingest->live,
                                                     .addresses = server->addresses,
                                                     .silent_us = settings->silent_ms * INT64_C(1000)},
                                           .latency_ms = settings->latency_ms,
                                           .connections_max = settings->connections_max,
                                           .key_bytes = settings->key_bytes,
                                           .silence_timeout_ms = settings->silence_timeout_ms,
                                           .queue_bytes_max = settings->queue_bytes_max,
                                           .queue_full_ms = settings->queue_full_ms};
    server->port = srt_port_create(loop, &port, &events, server);
    return server;
}

int srt_server_listen(struct srt_server *server, const char *address, uint16_t *ret_port) {
    return srt_port_listen(server->port, address, ret_port);
}

int srt_server_start(struct srt_server *server) {
    return srt_port_start(server->port);
}

void srt_server_destroy(struct srt_server *server) {
    if (!server)
        return;
    srt_port_destroy(server->port);
    address_counts_destroy(server->addresses);
    free(server);
}

void srt_server_each(struct srt_server *server, void (*fn)(void *ctx, const struct srt_view *view), void *ctx) {
    list_each(it, &server->connections) {
        const struct connection *connection = list_entry(it, struct connection, link);
        const struct srt_view view = {.info = srt_link_info(connection->srt),
                                      .stats = srt_link_stats(connection->srt),
                                      .since_us = connection->opened_us,
                                      .second = connection->second};
        fn(ctx, &view);
    }
}
