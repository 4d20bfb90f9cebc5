/* The front door: reads the command line and the configuration, starts the roles on their loops, waits for the signal
 * to stop. The main thread's loop carries the hub, ingest, origin and the operator's listener; viewers are on workers.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "admin.h"
#include "certificates.h"
#include "common/base/address.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/server.h"
#include "common/media/hub.h"
#include "conf/conf.h"
#include "fleet.h"
#include "ingest/golive_http.h"
#include "ingest/ingest.h"
#include "ingest/ladder.h"
#include "ingest/push.h"
#include "ingest/rtmp_server.h"
#include "ingest/slate.h"
#include "ingest/srt_server.h"
#include "ingest/subtitles_http.h"
#include "ingest/ts_session.h"
#include "origin/intake.h"
#include "origin/origin.h"
#include "relay/feed.h"
#include "relay/load.h"
#include "relay/pull.h"
#include "relay/thumb.h"
#include "relay/upstream.h"
#include "relay/viewer.h"
#include "relay/worker.h"
#include "sources.h"

enum {
    WORKERS_MAX = 64,
    SILENT_MS = 3000,     /* a publisher may be taken over */
    DRAIN_US = 300000,    /* between closing listeners and stopping */
    LEAVE_US = 3000000,   /* other nodes have so long to go on elsewhere */
    LEFT_US = 20000,      /* between looks whether they have */
    MARGIN_US = 10000000, /* for what comes after that */
    FEEDS_MAX = 20000,    /* responses to other nodes, a worker */
    /* HTTP/2 to other nodes: libcurl looks at all fetches of a connection whenever one has something (docs/http.md). */
    STREAMS_A_CONNECTION = 8,
    BACK_MS = 6000, /* of media that a stream from upstream begins with */
    ERRORS_MAX = 64 << 10,
};

struct node {
    const struct conf *conf;
    struct address_range trusted_proxies[CONF_LIST_MAX];
    struct loop *loop;
    struct fleet *fleet; /* NULL: in none */
    struct hub *hub;
    struct origin *origin;
    struct intake *intake; /* streams brought by ingest nodes */
    struct http_server *intake_http;
    struct upstreams *upstreams;
    struct pulls *pulls; /* streams taken from upstream; NULL: there is none */
    struct load *load;
    struct thumbs *thumbs; /* NULL: none are made */
    struct pushes *pushes; /* streams brought to origins elsewhere; NULL: to this one */
    struct ingest *ingest;
    struct rtmp_server *rtmp;
    struct golive *golive;   /* NULL: OBS isn't told what to encode */
    struct srt_server *srt;  /* NULL: it neither listens nor calls */
    struct slates *slates;   /* NULL: none */
    struct sources *sources; /* streams fetched by this node; NULL: none */
    /* viewers', nodes', broadcasters'; NULL: no TLS */
    struct certificates *certificates, *feed_certificates, *rtmp_certificates;
    struct worker *workers[WORKERS_MAX];
    uint32_t worker_count;
    struct admin *admin;
    struct loop_timer *stop_timer, *watchdog_timer;
    uint64_t watchdog_us;
    bool stopping, draining; /* draining: broadcasters have left, the rest goes */
    int64_t stop_us;         /* since when either */
};

/* --- listeners --- */

static void log_listen(const char *kind, const char *address, uint16_t port) {
    char actual[128];
    const char *colon = strrchr(address, ':');
    snprintf(actual, sizeof actual, "%.*s:%u", colon ? (int)(colon - address) : (int)strlen(address), address, port);
    log_info("listen", "kind", LOG_STR(kind), "address", LOG_STR(actual));
}

static bool listened(const char *kind, const char *address, int rc, uint16_t port) {
    if (rc)
        log_error("listen_failed", "kind", LOG_STR(kind), "address", LOG_STR(address), "error", LOG_STR(strerror(-rc)));
    else
        log_listen(kind, address, port);
    return !rc;
}

/* --- other nodes --- */

/* How this node shows itself to others, and whom it takes them for. */
static struct http_client_config client_config(const struct conf *conf) {
    struct http_client_config config = http_client_config_default;
    config.token = conf->auth.feed_key;
    config.streams_max = STREAMS_A_CONNECTION;
    config.ca_file = conf->feed.ca.count ? conf->feed.ca.items[0] : NULL;
    if (conf->feed.tls.cert.count) {
        config.cert_file = conf->feed.tls.cert.items[0];
        config.key_file = conf->feed.tls.key.items[0];
    }
    return config;
}

static uint32_t workers_wanted(const struct conf *conf) {
    long cores = conf->http.workers ? (long)conf->http.workers : sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (uint32_t)cores;
}

/* --- roles --- */

static bool intake_listen(struct node *node, const struct conf_list *addresses, bool tls) {
    for (size_t i = 0; i < addresses->count; i++) {
        uint16_t port = 0;
        int rc = tls ? http_server_listen_tls(node->intake_http, addresses->items[i], false, &port)
                     : http_server_listen(node->intake_http, addresses->items[i], false, &port);
        if (!listened(tls ? "origin-tls" : "origin", addresses->items[i], rc, port))
            return false;
    }
    return true;
}

static bool start_intake(struct node *node) {
    const struct conf *conf = node->conf;
    const struct writer_port port = origin_port(node->origin);
    const struct intake_settings settings = {.key = conf->auth.feed_key};
    node->intake = intake_create(node->loop, node->hub, &port, &settings);
    node->intake_http = http_server_create(node->loop, &http_limits_default, intake_handle, node->intake);
    http_server_stream_bodies(node->intake_http, intake_streams);
    if (node->feed_certificates)
        http_server_set_tls(node->intake_http, certificates_context(node->feed_certificates));
    return intake_listen(node, &conf->origin.listen, false) && intake_listen(node, &conf->origin.tls_listen, true);
}

static struct writer_port ingest_port(struct node *node) {
    const struct conf *conf = node->conf;
    const struct writer_port local = origin_port(node->origin);
    if (!conf->ingest.origins.count)
        return local;
    const struct pushes_settings settings = {.node = conf->node,
                                             .origins = conf->ingest.origins.items,
                                             .origin_count = conf->ingest.origins.count,
                                             .client = client_config(conf)};
    node->pushes = pushes_create(node->loop, node->hub, &local, &settings);
    return pushes_port(node->pushes);
}

static bool start_srt(struct node *node) {
    const struct conf *conf = node->conf;
    static const uint32_t key_bytes[] = {
        [CONF_PBKEYLEN_AUTO] = 0, [CONF_PBKEYLEN_16] = 16, [CONF_PBKEYLEN_24] = 24, [CONF_PBKEYLEN_32] = 32};
    if (!conf->ingest.srt_listen.count && !sources_want_srt(conf))
        return true; /* no threads for nothing */
    struct srt_server_settings settings = srt_server_settings_default;
    settings.latency_ms = conf->ingest.srt_latency_ms;
    settings.connections_max = conf->ingest.srt_connections_max;
    settings.connections_per_address = conf->ingest.srt_connections_per_address;
    settings.key_bytes = key_bytes[conf->ingest.srt_pbkeylen];
    settings.passphrases = conf->ingest.srt_passphrases.items;
    settings.passphrase_count = (uint32_t)conf->ingest.srt_passphrases.count;
    settings.silent_ms = SILENT_MS;
    node->srt = srt_server_create(node->loop, node->ingest, &settings);
    for (size_t i = 0; i < conf->ingest.srt_listen.count; i++) {
        uint16_t port = 0;
        const char *address = conf->ingest.srt_listen.items[i];
        int rc = srt_server_listen(node->srt, address, &port);
        if (!listened("srt", address, rc, port))
            return false;
    }
    admin_show_srt(node->admin, node->srt);
    return srt_server_start(node->srt) == 0;
}

/* Before the workers, who are asked for it. */
static bool start_golive(struct node *node) {
    const struct conf *conf = node->conf;
    const struct conf_list *ladder = &conf->ingest.golive_ladder;
    struct golive_settings settings = {.url = conf->ingest.golive_url,
                                       .publish_keys = conf->auth.publish_keys.items,
                                       .publish_key_count = (uint32_t)conf->auth.publish_keys.count};
    if (!ladder->count)
        return true;
    if (!golive_ladder_parse(ladder->items, ladder->count, &settings))
        return false;
    node->golive = golive_create(&settings);
    return true;
}

static bool rtmp_listen(struct node *node, const struct conf_list *addresses, bool tls) {
    for (size_t i = 0; i < addresses->count; i++) {
        uint16_t port = 0;
        const char *address = addresses->items[i];
        int rc =
            tls ? rtmp_server_listen_tls(node->rtmp, address, &port) : rtmp_server_listen(node->rtmp, address, &port);
        if (!listened(tls ? "rtmps" : "rtmp", address, rc, port))
            return false;
        golive_listens(node->golive, port, tls);
    }
    return true;
}

static void start_slates(struct node *node) {
    const struct conf *conf = node->conf;
    const struct slates_settings settings = {.clips = conf->ingest.slate.items,
                                             .clip_count = (uint32_t)conf->ingest.slate.count,
                                             .limit_s = conf->ingest.slate_s};
    if (settings.clip_count)
        node->slates = slates_create(node->ingest, &settings);
}

static bool start_ingest(struct node *node) {
    const struct conf *conf = node->conf;
    static const char *const presets[] = {
        [CONF_ULTRAFAST] = "ultrafast", [CONF_SUPERFAST] = "superfast", [CONF_VERYFAST] = "veryfast",
        [CONF_FASTER] = "faster",       [CONF_FAST] = "fast",           [CONF_MEDIUM] = "medium"};
    struct ingest_settings settings = {.segment_ms = conf->live.segment_ms,
                                       .part_ms = conf->live.part_ms,
                                       .chunk_ms = conf->live.chunk_ms,
                                       .stall_ms = conf->live.stall_ms,
                                       .publish_keys = conf->auth.publish_keys.items,
                                       .publish_key_count = (uint32_t)conf->auth.publish_keys.count,
                                       .backups = conf->ingest.backups.items,
                                       .backup_count = (uint32_t)conf->ingest.backups.count};
    settings.rung_suffixes = conf->ingest.rung_suffixes.items;
    settings.rung_suffix_count = (uint32_t)conf->ingest.rung_suffixes.count;
    settings.ladder = conf->ingest.ladder.items;
    settings.ladder_count = (uint32_t)conf->ingest.ladder.count;
    settings.subtitles = conf->ingest.subtitles.items;
    settings.subtitle_count = (uint32_t)conf->ingest.subtitles.count;
    settings.ladder_preset = presets[conf->ingest.ladder_preset];
    settings.ladder_encoder = conf->ingest.ladder_encoder;
    settings.ladder_on_demand_ms = conf->ingest.ladder_on_demand_s * 1000;
    settings.ladder_audio_kbps = conf->ingest.ladder_audio_kbps;
    struct writer_port port = ingest_port(node);
    node->ingest = ingest_create(node->loop, &settings, &port);
    admin_show_ingest(node->admin, node->ingest);
    start_slates(node);
    struct rtmp_limits limits = rtmp_limits_default;
    limits.connections_max = conf->ingest.rtmp_connections_max;
    limits.unpublished_per_address = conf->ingest.rtmp_unpublished_per_address;
    node->rtmp = rtmp_server_create(node->loop, node->ingest, &limits);
    if (!settings.publish_key_count)
        log_warn("publish_open", "note", LOG_STR("no auth.publish.keys configured: anybody may publish"));
    if (node->rtmp_certificates)
        rtmp_server_set_tls(node->rtmp, certificates_context(node->rtmp_certificates));
    if (!rtmp_listen(node, &conf->ingest.rtmp_listen, false) ||
        !rtmp_listen(node, &conf->ingest.rtmp_tls.listen, true) || !start_srt(node))
        return false;
    node->sources = sources_create(conf, node->hub, node->origin, node->ingest, node->srt);
    admin_show_sources(node->admin, node->sources);
    return true;
}

/* All workers listen on the same addresses; port 0 is chosen by the first. */
static bool worker_listen_all(struct worker *worker, enum worker_listener listener, const struct conf_list *addresses,
                              uint16_t ports[CONF_LIST_MAX], bool first) {
    static const char *const kinds[] = {
        [WORKER_HTTP] = "http", [WORKER_HTTPS] = "https", [WORKER_FEED] = "feed", [WORKER_FEED_TLS] = "feed-tls"};
    for (size_t i = 0; i < addresses->count; i++) {
        const char *address = addresses->items[i];
        char chosen[160];
        const char *colon = strrchr(address, ':');
        if (!first && colon)
            snprintf(chosen, sizeof chosen, "%.*s:%u", (int)(colon - address), address, ports[i]);
        else
            snprintf(chosen, sizeof chosen, "%s", address);
        int rc = worker_listen(worker, listener, chosen, !first, &ports[i]);
        if (rc ? !listened(kinds[listener], address, rc, 0) : first && !listened(kinds[listener], address, 0, ports[i]))
            return false;
    }
    return true;
}

static int give_to_workers(struct node *node, enum worker_listener listener, struct tls_context *context) {
    int result = 0;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        int rc = worker_set_tls(node->workers[i], listener, context);
        result = rc ? rc : result;
    }
    return result;
}

static int give_peers(void *ctx, struct blob *urls) {
    struct node *node = ctx;
    int result = 0;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        int rc = worker_set_peers(node->workers[i], urls);
        result = rc ? rc : result;
    }
    return result;
}

static int give_certificates(void *ctx, struct tls_context *context) {
    return give_to_workers(ctx, WORKER_HTTPS, context);
}

static int give_feed_certificates(void *ctx, struct tls_context *context) {
    struct node *node = ctx;
    http_server_set_tls(node->intake_http, context);
    return give_to_workers(node, WORKER_FEED_TLS, context);
}

static int give_rtmp_certificates(void *ctx, struct tls_context *context) {
    struct node *node = ctx;
    if (node->rtmp)
        rtmp_server_set_tls(node->rtmp, context);
    return 0;
}

static bool start_upstream(struct node *node) {
    const struct conf *conf = node->conf;
    const struct http_client_config config = client_config(conf);
    if (!conf->relay.upstreams.count && !conf->relay.shields.count && !(node->fleet && conf->relay_on))
        return true;
    node->upstreams = upstreams_create(node->loop, &config);
    for (size_t i = 0; i < conf->relay.upstreams.count; i++)
        if (upstreams_add(node->upstreams, conf->relay.upstreams.items[i]))
            return false;
    for (size_t i = 0; i < conf->relay.shields.count; i++)
        if (upstreams_add_shield(node->upstreams, conf->relay.shields.items[i]))
            return false;
    fleet_find_upstreams(node->fleet, node->upstreams);
    upstreams_watch(node->upstreams);
    const struct pulls_settings settings = {.node = conf->node,
                                            .late_us = (int64_t)conf->relay.late_ms * 1000,
                                            .grace_us = (int64_t)conf->origin.grace_s * 1000000,
                                            .back_ms = BACK_MS,
                                            .streams_max = conf->limits.streams_max,
                                            .race = conf->relay.race.items,
                                            .race_count = conf->relay.race.count};
    node->pulls = pulls_create(node->hub, node->upstreams, &settings);
    return true;
}

static bool start_workers(struct node *node) {
    const struct conf *conf = node->conf;
    struct worker_settings settings = {.http = http_limits_default,
                                       .muxed = (enum playlist_muxed)conf->hls.muxed,
                                       .max_lag_us = (int64_t)conf->relay.max_lag_ms * 1000,
                                       .window_us = (int64_t)conf->live.window_s * 1000000,
                                       .idle_us = (int64_t)conf->relay.linger_s * 1000000,
                                       .feeds = {.node = conf->node,
                                                 .key = conf->auth.feed_key,
                                                 .responses_max = FEEDS_MAX},
                                       .steer = {.node = conf->node,
                                                 .peers = conf->relay.peers.items,
                                                 .peer_count = conf->relay.peers.count,
                                                 .redirect = conf->relay.redirect == CONF_REDIRECT_ON}};
    settings.load = node->load;
    if (conf->relay_on && conf->hls.thumb_s)
        node->thumbs = thumbs_create((int64_t)conf->hls.thumb_s * 1000000);
    settings.thumbs = node->thumbs;
    if (node->golive)
        settings.route = (struct worker_route){GOLIVE_PATH, golive_handle, node->golive};
    settings.http.connections_max = conf->http.connections_max;
    settings.http.connections_per_address = conf->http.connections_per_address;
    settings.congestion = conf->http.congestion;
    settings.uring = conf->http.io_uring == CONF_URING_AUTO;
    for (size_t i = 0; i < conf->http.trusted_proxies.count; i++)
        if (address_range_parse(conf->http.trusted_proxies.items[i], &node->trusted_proxies[i]))
            return false;
    settings.trusted_proxies = node->trusted_proxies;
    settings.trusted_proxy_count = conf->http.trusted_proxies.count;
    settings.proxy_protocol = conf->http.proxy_protocol == CONF_PROXY_PROTOCOL_ON;
    uint16_t ports[WORKER_LISTENERS][CONF_LIST_MAX] = {0};
    uint32_t count = workers_wanted(conf);
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = worker_create(node->hub, &settings);
        if (!worker)
            return false;
        node->workers[node->worker_count++] = worker;
        if (node->certificates)
            worker_set_tls(worker, WORKER_HTTPS, certificates_context(node->certificates));
        if (node->feed_certificates)
            worker_set_tls(worker, WORKER_FEED_TLS, certificates_context(node->feed_certificates));
        if (!worker_listen_all(worker, WORKER_HTTP, &conf->http.listen, ports[WORKER_HTTP], i == 0) ||
            !worker_listen_all(worker, WORKER_HTTPS, &conf->http.tls.listen, ports[WORKER_HTTPS], i == 0) ||
            !worker_listen_all(worker, WORKER_FEED, &conf->feed.listen, ports[WORKER_FEED], i == 0) ||
            !worker_listen_all(worker, WORKER_FEED_TLS, &conf->feed.tls.listen, ports[WORKER_FEED_TLS], i == 0))
            return false;
    }
    for (uint32_t i = 0; i < count; i++)
        if (worker_start(node->workers[i]))
            return false;
    return true;
}

static bool start_admin(struct node *node) {
    const char *address = node->conf->admin.listen;
    node->admin = admin_create(node->loop, node->hub, node->origin, node->conf->origin_on, fleet_registry(node->fleet));
    if (!address)
        return true;
    uint16_t port = 0;
    int rc = admin_listen(node->admin, address, &port);
    return listened("admin", address, rc, port);
}

static bool start_roles(struct node *node) {
    const struct conf *conf = node->conf;
    struct store_settings store = {.window_us = (int64_t)conf->live.window_s * 1000000,
                                   .bytes_max = (size_t)conf->limits.memory_mb << 20,
                                   .stream_bytes_max = (size_t)conf->limits.stream_memory_mb << 20,
                                   .streams_max = conf->limits.streams_max};
    struct origin_settings origin = {.grace_ms = conf->origin.grace_s * 1000,
                                     .silent_ms = SILENT_MS,
                                     .takeover_ms = conf->origin.takeover_ms};
    node->hub = hub_create(node->loop, &store);
    node->origin = origin_create(node->loop, node->hub, &origin);
    node->load = load_create(node->loop, &(struct load_settings){.viewers_max = conf->relay.viewers_max,
                                                                 .egress_mbps_max = conf->relay.egress_mbps_max});
    const struct http_client_config client = client_config(conf);
    const struct fleet_parts parts = {.conf = conf,
                                      .hub = node->hub,
                                      .origin = node->origin,
                                      .load = node->load,
                                      .client = &client,
                                      .version = WEIR_VERSION,
                                      .viewers_max = conf->relay_on
                                                         ? (uint64_t)conf->http.connections_max * workers_wanted(conf)
                                                         : 0};
    node->fleet = fleet_create(node->loop, &parts);
    bool serves = conf->relay_on || conf->feed.listen.count || conf->feed.tls.listen.count;
    bool ok = start_admin(node) && start_upstream(node) && start_golive(node) && (!serves || start_workers(node)) &&
              start_intake(node) && (!conf->ingest_on || start_ingest(node));
    if (ok && conf->relay_on)
        fleet_find_peers(node->fleet, give_peers, node);
    if (ok && node->certificates)
        certificates_watch(node->certificates, node->loop, give_certificates, node);
    if (ok && node->feed_certificates)
        certificates_watch(node->feed_certificates, node->loop, give_feed_certificates, node);
    if (ok && node->rtmp_certificates)
        certificates_watch(node->rtmp_certificates, node->loop, give_rtmp_certificates, node);
    return ok;
}

static void stop_roles(struct node *node) {
    slates_destroy(node->slates);
    sources_stop(node->sources);
    rtmp_server_destroy(node->rtmp);
    srt_server_destroy(node->srt);
    ingest_destroy(node->ingest);
    pushes_destroy(node->pushes);
    http_server_destroy(node->intake_http);
    intake_destroy(node->intake);
    thumbs_stop(node->thumbs);
    for (uint32_t i = 0; i < node->worker_count; i++)
        worker_destroy(node->workers[i]);
    thumbs_destroy(node->thumbs);
    golive_destroy(node->golive);
    sources_destroy(node->sources);
    load_destroy(node->load);
    pulls_destroy(node->pulls);
    upstreams_destroy(node->upstreams);
    admin_destroy(node->admin);
    origin_destroy(node->origin);
    fleet_destroy(node->fleet);
    hub_destroy(node->hub);
}

/* --- running --- */

/* No new viewers, and other nodes are to go elsewhere. */
static void drain(struct node *node) {
    node->draining = true;
    node->stop_us = loop_now_us(node->loop);
    for (uint32_t i = 0; i < node->worker_count; i++)
        worker_drain(node->workers[i]);
    if (node->intake)
        intake_drain(node->intake);
    fleet_leave(node->fleet);
    loop_timer_set(node->stop_timer, DRAIN_US);
}

static void on_stop_timer(void *ctx) {
    struct node *node = ctx;
    int64_t since_us = loop_now_us(node->loop) - node->stop_us;
    bool broadcasters = node->rtmp && rtmp_server_leaving(node->rtmp) > 0;
    if (!node->draining && broadcasters && since_us < (int64_t)node->conf->ingest.rtmp_drain_s * 1000000)
        loop_timer_set(node->stop_timer, LEFT_US);
    else if (!node->draining)
        drain(node);
    else if (feeds_given() && since_us < LEAVE_US)
        loop_timer_set(node->stop_timer, LEFT_US);
    else
        loop_stop(node->loop);
}

/* systemd's patience must last for what may take longest. */
static void tell_stopping(const struct node *node) {
    uint64_t most_us = node->conf->ingest.rtmp_drain_s * UINT64_C(1000000) + LEAVE_US + MARGIN_US;
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, most_us);
}

/* First not ready any more, and broadcasters that can connect to another node do so while all goes on; then no new
 * viewers; then, a moment later and when the nodes that take streams from here have gone elsewhere, the end. */
static void on_stop_signal(void *ctx) {
    struct node *node = ctx;
    if (node->stopping) {
        loop_stop(node->loop);
        return;
    }
    node->stopping = true;
    node->stop_us = loop_now_us(node->loop);
    tell_stopping(node);
    if (node->admin)
        admin_set_ready(node->admin, false);
    if (node->rtmp)
        rtmp_server_drain(node->rtmp, node->conf->ingest.rtmp_reconnect_url);
    log_info("stopping", "broadcasters_asked", LOG_INT(node->rtmp ? rtmp_server_leaving(node->rtmp) : 0));
    on_stop_timer(node);
}

static void on_reload_signal(void *ctx) {
    struct node *node = ctx;
    bool any = node->certificates || node->feed_certificates || node->rtmp_certificates;
    log_info("reload", "note", LOG_STR(any ? "certificates" : "nothing to read again: no TLS"));
    if (node->certificates)
        certificates_reload(node->certificates);
    if (node->feed_certificates)
        certificates_reload(node->feed_certificates);
    if (node->rtmp_certificates)
        certificates_reload(node->rtmp_certificates);
}

static void on_watchdog(void *ctx) {
    struct node *node = ctx;
    sd_notify(0, "WATCHDOG=1");
    loop_timer_set(node->watchdog_timer, (int64_t)(node->watchdog_us / 2));
}

/* The files that a configuration names, as read; NULL where it names none. */
struct files {
    struct certificates *certificates, *feed_certificates, *rtmp_certificates;
};

static void files_finish(struct files *files) {
    certificates_destroy(files->certificates);
    certificates_destroy(files->feed_certificates);
    certificates_destroy(files->rtmp_certificates);
}

static int run(const struct conf *conf, struct files *files) {
    struct node node = {.conf = conf,
                        .loop = loop_create(),
                        .certificates = files->certificates,
                        .feed_certificates = files->feed_certificates,
                        .rtmp_certificates = files->rtmp_certificates};
    signal(SIGPIPE, SIG_IGN);
    struct loop_signal *term = loop_signal_create(node.loop, SIGTERM, on_stop_signal, &node);
    struct loop_signal *interrupt = loop_signal_create(node.loop, SIGINT, on_stop_signal, &node);
    struct loop_signal *reload = loop_signal_create(node.loop, SIGHUP, on_reload_signal, &node);
    node.stop_timer = loop_timer_create(node.loop, on_stop_timer, &node);
    node.watchdog_timer = loop_timer_create(node.loop, on_watchdog, &node);
    bool ok = start_roles(&node);
    if (ok) {
        admin_set_ready(node.admin, true);
        fleet_announce(node.fleet);
        sd_notify(0, "READY=1");
        log_info("ready", "workers", LOG_INT(node.worker_count));
        if (sd_watchdog_enabled(0, &node.watchdog_us) > 0)
            loop_timer_set(node.watchdog_timer, 0);
        loop_run(node.loop);
    }
    stop_roles(&node);
    loop_timer_destroy(node.stop_timer);
    loop_timer_destroy(node.watchdog_timer);
    files_finish(files);
    loop_signal_destroy(reload);
    loop_signal_destroy(term);
    loop_signal_destroy(interrupt);
    loop_destroy(node.loop);
    if (ok)
        log_info("stopped");
    return ok ? 0 : 1;
}

/* --- command line --- */

static const char usage[] = "usage: weir [-c FILE] [-t]\n"
                            "  -c FILE    configuration (YAML); without it all roles run on the default ports:\n"
                            "             RTMP 1935, SRT 8890 (UDP), HTTP 8080, operator's listener 127.0.0.1:8081\n"
                            "  -t         check the configuration and exit: 0, or 1 with what is wrong\n"
                            "  --metrics  print the reference of all metrics (docs/metrics.md)\n"
                            "  --version  print the version\n"
                            "  --help     print this\n";

static bool read_pairs(const struct conf_tls *tls, const struct conf_list *client_ca, const char *section,
                       const char *path, struct buf *errors, struct certificates **ret_certificates) {
    *ret_certificates = tls->cert.count ? certificates_create(tls, client_ca, section, path, errors) : NULL;
    return *ret_certificates || !tls->cert.count;
}

/* Clips can be opened; what is in them shows when they are played. */
static bool find_clips(const struct conf *conf, const char *path, struct buf *errors) {
    const struct conf_list *clips = &conf->ingest.slate;
    bool ok = true;
    for (size_t i = 0; i < clips->count; i++) {
        const char *file = strchr(clips->items[i], ' ') + 1;
        if (access(file, R_OK) == 0)
            continue;
        buf_printf(errors, "%s:%u: ingest.slate: %s can't be read (%s)\n", path, clips->lines[i], file,
                   strerror(errno));
        ok = false;
    }
    return ok;
}

static bool read_files(const struct conf *conf, const char *path, struct buf *errors, struct files *files) {
    static const struct conf_list nobody;
    return read_pairs(&conf->http.tls, &nobody, "http.tls", path, errors, &files->certificates) &&
           read_pairs(&conf->feed.tls, &conf->feed.client_ca, "feed.tls", path, errors, &files->feed_certificates) &&
           read_pairs(&conf->ingest.rtmp_tls, &nobody, "ingest.rtmp.tls", path, errors, &files->rtmp_certificates);
}

/* The configuration, its URLs, and the files that it names: NULL when anything is wrong with one of them. */
static struct conf *read_conf(const char *path, struct files *files) {
    struct buf errors;
    buf_init(&errors, ERRORS_MAX);
    struct conf *conf = path ? conf_load(path, &errors) : conf_create_default();
    if (conf && (!sources_check(conf, path, &errors) || !find_clips(conf, path, &errors) ||
                 !read_files(conf, path, &errors, files))) {
        files_finish(files);
        conf_destroy(conf);
        conf = NULL;
    }
    if (!conf)
        fprintf(stderr, "%.*s", (int)buf_len(&errors), buf_head(&errors) ? (const char *)buf_head(&errors) : "");
    buf_finish(&errors);
    return conf;
}

static void print_metric(void *ctx, const struct metric *metric) {
    const char **before = ctx;
    if (!*before || strcmp(*before, metric->name))
        printf("| `%s` | %s | %s |\n", metric->name, metric_type_name(metric->type), metric->help);
    *before = metric->name;
}

static void print_metrics(void) {
    const char *before = NULL;
    printf(
        "# Metrics\n\nMade from the tables in the code by `weir --metrics`; a test fails when this page is stale.\n\n"
        "Served as Prometheus text at `/metrics` of the operator's listener.\n\n| metric | type | meaning "
        "|\n|---|---|---|\n");
    metrics_each(print_metric, &before);
    printf(
        "| `weir_stream_bytes` | gauge | Bytes of media held for the stream, by `stream`. |\n"
        "| `weir_streams` | gauge | Streams, by `state`. |\n| `weir_store_bytes` | gauge | Bytes of media held in "
        "all. |\n"
        "| `weir_srt_link_rtt_ms` | gauge | Round trip to the broadcaster by SRT, by `stream`. |\n"
        "| `weir_srt_link_buffer_ms` | gauge | Media that wait in SRT's receive buffer, by `stream`. |\n"
        "| `weir_srt_link_latency_ms` | gauge | SRT's latency, as agreed on, by `stream`. |\n"
        "| `weir_srt_link_packets_total` | counter | Packets received by SRT, by `stream`. |\n"
        "| `weir_srt_link_lost_total` | counter | Those that were missing, whether they came later or not. |\n"
        "| `weir_srt_link_retransmitted_total` | counter | Those that came again, or at the second attempt. |\n"
        "| `weir_srt_link_dropped_total` | counter | Those that did not come in time. |\n"
        "| `weir_source_state` | gauge | 1 for the state that a source is in, by `stream` and `state`. |\n"
        "| `weir_source_restarts_total` | counter | Attempts of a source that followed a failure, by `stream`. |\n"
        "| `weir_fleet_registry_up` | gauge | Whether the fleet's registry (etcd) can be read and written. |\n"
        "| `weir_fleet_registry_age_seconds` | gauge | Since the fleet's registry last said something. |\n"
        "| `weir_fleet_nodes` | gauge | Nodes of the fleet that are known, this one included. |\n"
        "| `weir_fleet_streams` | gauge | Streams that origins of the fleet hold. |\n"
        "| `weir_tls_certificate_expiry_seconds` | gauge | When the certificate expires, as Unix time, by `name` and "
        "`file`. |\n");
}

static void register_metrics(void) {
    log_metrics_register();
    http_metrics_register();
    hub_metrics_register();
    origin_metrics_register();
    ingest_metrics_register();
    ladder_metrics_register();
    rtmp_server_metrics_register();
    srt_server_metrics_register();
    golive_metrics_register();
    subtitles_metrics_register();
    ts_session_metrics_register();
    source_metrics_register();
    slates_metrics_register();
    viewers_metrics_register();
    http_client_metrics_register();
    feeds_metrics_register();
    load_metrics_register();
    intake_metrics_register();
    pulls_metrics_register();
    pushes_metrics_register();
}

/* What only FFmpeg knows of a configuration. */
static bool encoder_known(const struct conf *conf) {
    const char *name = conf->ingest.ladder_encoder;
    if (!conf->ingest.ladder.count || transcode_has_encoder(name))
        return true;
    fprintf(stderr,
            "ingest.ladder_encoder is \"%s\", an H.264 encoder that FFmpeg has here (ffmpeg -encoders), such as "
            "\"libx264\", would be right\n",
            name);
    return false;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"version", no_argument, NULL, 'V'},
                                            {"metrics", no_argument, NULL, 'M'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    bool check = false;
    register_metrics();
    for (int option; (option = getopt_long(argc, argv, "c:th", options, NULL)) != -1;) {
        if (option == 'c')
            path = optarg;
        else if (option == 't')
            check = true;
        else if (option == 'M')
            return print_metrics(), 0;
        else if (option == 'V')
            return printf("weir %s\n", WEIR_VERSION) < 0;
        else
            return fputs(usage, option == 'h' ? stdout : stderr) < 0 ? 1 : option == 'h' ? 0 : 2;
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    struct files files = {0};
    struct conf *conf = read_conf(path, &files);
    if (!conf)
        return 1;
    int rc = encoder_known(conf) ? 0 : 1;
    if (rc) {
        files_finish(&files);
    } else if (!check) {
        log_configure((enum log_level)conf->log.level, (enum log_format)conf->log.format);
        log_identify(conf->node, conf->region);
        log_open();
        rc = run(conf, &files);
    } else {
        files_finish(&files);
    }
    conf_destroy(conf);
    return rc;
}
