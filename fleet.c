#include "fleet.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/blob.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/fleet/registry.h"
#include "common/media/hub.h"
#include "conf/conf.h"
#include "origin/origin.h"
#include "relay/load.h"
#include "relay/upstream.h"

enum { PEERS_BYTES_MAX = 64 << 10 };

struct fleet {
    struct fleet_parts parts;
    struct registry *registry;
    struct upstreams *upstreams;               /* NULL: it takes no streams */
    int (*give)(void *ctx, struct blob *urls); /* NULL: it has no viewers */
    void *give_ctx;
    struct blob *peers; /* as given last; NULL: they weren't */
};

/* --- what it says --- */

static void measure_load(void *ctx, struct fleet_load *out) {
    const struct fleet *fleet = ctx;
    struct load_figures figures = load_figures(fleet->parts.load);
    out->viewers = figures.viewers;
    out->egress_kbps = figures.egress_kbps;
    out->streams = store_count(hub_store(fleet->parts.hub));
}

static void on_origin_stream(void *ctx, const char *stream, uint64_t epoch) {
    struct fleet *fleet = ctx;
    if (epoch)
        registry_hold(fleet->registry, stream, epoch);
    else
        registry_let_go(fleet->registry, stream);
}

/* --- what it finds --- */

struct found {
    const char *node; /* this one */
    const char *urls[UPSTREAMS_MAX];
    size_t count, left_out;
};

static void find_origin(void *ctx, const struct registry_node *other) {
    struct found *found = ctx;
    if (!(other->node.roles & FLEET_ORIGIN) || !other->node.feed_url[0] || !strcmp(other->name, found->node))
        return;
    if (found->count < UPSTREAMS_MAX)
        found->urls[found->count++] = other->node.feed_url;
    else
        found->left_out++;
}

/* A relay that viewers may go to: near, there, and with a tenth of its room left. */
static bool has_room(const struct registry_node *other) {
    const struct fleet_node *node = &other->node;
    return !other->missing_us && (!node->capacity.viewers || node->load.viewers < node->capacity.viewers / 10 * 9);
}

struct peers {
    const struct conf *conf;
    struct buf urls;
};

static void find_peer(void *ctx, const struct registry_node *other) {
    struct peers *peers = ctx;
    const char *region = peers->conf->region ? peers->conf->region : "";
    if (other->node.roles & FLEET_RELAY && other->node.http_url[0] && !strcmp(other->node.region, region) &&
        strcmp(other->name, peers->conf->node) != 0 && has_room(other))
        buf_printf(&peers->urls, "%s\n", other->node.http_url);
}

static bool given(const struct fleet *fleet, const struct buf *urls) {
    size_t len = fleet->peers ? fleet->peers->len : 0;
    return len == buf_len(urls) && (!len || memcmp(fleet->peers->data, buf_head(urls), len) == 0);
}

static void find_peers(struct fleet *fleet) {
    struct peers peers = {.conf = fleet->parts.conf};
    buf_init(&peers.urls, PEERS_BYTES_MAX);
    for (size_t i = 0; i < peers.conf->relay.peers.count; i++)
        buf_printf(&peers.urls, "%s\n", peers.conf->relay.peers.items[i]);
    registry_each_node(fleet->registry, find_peer, &peers);
    if (!given(fleet, &peers.urls)) {
        blob_unref(fleet->peers);
        fleet->peers = buf_to_blob(&peers.urls);
        if (fleet->give(fleet->give_ctx, fleet->peers)) {
            blob_unref(fleet->peers);
            fleet->peers = NULL;
        }
    }
    buf_finish(&peers.urls);
}

void fleet_find_peers(struct fleet *fleet, int (*give)(void *ctx, struct blob *urls), void *ctx) {
    if (!fleet)
        return;
    fleet->give = give;
    fleet->give_ctx = ctx;
}

static void find_upstreams(struct fleet *fleet) {
    static struct log_limit limit;
    struct found found = {.node = fleet->parts.conf->node};
    uint32_t suppressed;
    registry_each_node(fleet->registry, find_origin, &found);
    found.left_out += upstreams_set_found(fleet->upstreams, found.urls, found.count);
    if (found.left_out && log_limit_pass(&limit, 1, &suppressed))
        log_warn("fleet_too_large", "origins_left_out", LOG_INT(found.left_out), LOG_SUPPRESSED(suppressed));
}

static void on_change(void *ctx) {
    struct fleet *fleet = ctx;
    if (fleet->upstreams)
        find_upstreams(fleet);
    if (fleet->give)
        find_peers(fleet);
}

static bool holds(void *ctx, const char *stream, const char *url) {
    return registry_holds(((struct fleet *)ctx)->registry, stream, url);
}

void fleet_find_upstreams(struct fleet *fleet, struct upstreams *upstreams) {
    if (!fleet)
        return;
    fleet->upstreams = upstreams;
    upstreams_set_holds(upstreams, holds, fleet);
}

/* --- life cycle --- */

static uint32_t roles_of(const struct conf *conf) {
    return (conf->ingest_on ? FLEET_INGEST : 0) | (conf->origin_on ? FLEET_ORIGIN : 0) |
           (conf->relay_on ? FLEET_RELAY : 0);
}

struct fleet *fleet_create(struct loop *loop, const struct fleet_parts *parts) {
    const struct conf *conf = parts->conf;
    if (!conf->fleet.etcd.count)
        return NULL;
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        abort();
    fleet->parts = *parts;
    const struct registry_settings settings = {.node = conf->node,
                                               .region = conf->region,
                                               .feed_url = conf->fleet.feed_url,
                                               .http_url = conf->fleet.http_url,
                                               .version = parts->version,
                                               .roles = roles_of(conf),
                                               .capacity = {.viewers = parts->viewers_max,
                                                            .streams = conf->limits.streams_max},
                                               .prefix = conf->fleet.prefix,
                                               .etcd = conf->fleet.etcd.items,
                                               .etcd_count = conf->fleet.etcd.count,
                                               .ttl_s = conf->fleet.ttl_s,
                                               .client = *parts->client,
                                               .load = measure_load,
                                               .changed = on_change,
                                               .ctx = fleet};
    fleet->registry = registry_create(loop, &settings);
    if (conf->origin_on)
        origin_on_stream(parts->origin, on_origin_stream, fleet);
    return fleet;
}

void fleet_destroy(struct fleet *fleet) {
    if (!fleet)
        return;
    registry_destroy(fleet->registry);
    blob_unref(fleet->peers);
    free(fleet);
}

void fleet_announce(struct fleet *fleet) {
    if (fleet)
        registry_announce(fleet->registry);
}

void fleet_leave(struct fleet *fleet) {
    if (fleet)
        registry_leave(fleet->registry);
}

struct registry *fleet_registry(const struct fleet *fleet) {
    return fleet ? fleet->registry : NULL;
}
