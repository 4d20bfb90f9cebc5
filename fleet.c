#include "fleet.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/fleet/registry.h"
#include "common/media/hub.h"
#include "conf/conf.h"
#include "origin/origin.h"
#include "relay/load.h"
#include "relay/upstream.h"

struct fleet {
    struct fleet_parts parts;
    struct registry *registry;
    struct upstreams *upstreams; /* NULL: it takes no streams */
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

static void on_change(void *ctx) {
    static struct log_limit limit;
    struct fleet *fleet = ctx;
    struct found found = {.node = fleet->parts.conf->node};
    uint32_t suppressed;
    if (!fleet->upstreams)
        return;
    registry_each_node(fleet->registry, find_origin, &found);
    found.left_out += upstreams_set_found(fleet->upstreams, found.urls, found.count);
    if (found.left_out && log_limit_pass(&limit, 1, &suppressed))
        log_warn("fleet_too_large", "origins_left_out", LOG_INT(found.left_out), LOG_SUPPRESSED(suppressed));
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
                                                            .streams = conf->origin.streams_max},
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
