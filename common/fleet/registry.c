#include "common/fleet/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/fleet/etcd.h"

enum { TICK_US = 1000000, LOAD_US = 2000000, PREFIX_LEN = 80 };

/* A stream that some nodes hold. */
struct held {
    uint32_t count;
    struct registry_holder *holders;
};

struct registry {
    struct loop *loop;
    struct registry_settings settings;
    char prefix[PREFIX_LEN]; /* with the slash */
    struct etcd *etcd;
    bool up, announced;
    bool missing;           /* something is, or may be */
    struct fleet_load told; /* the load that is registered */
    int64_t told_us;
    struct map *nodes, *streams; /* registry_node by name, held by stream */
    struct map *own;             /* holdings by stream */
    struct loop_timer *tick, *news;
};

static int64_t now(const struct registry *registry) {
    return loop_now_us(registry->loop);
}

static void changed(struct registry *registry) {
    if (!loop_timer_armed(registry->news))
        loop_timer_set(registry->news, 0);
}

/* What vanished is looked after from here on. */
static int64_t miss(struct registry *registry) {
    registry->missing = true;
    return now(registry);
}

static void on_news(void *ctx) {
    struct registry *registry = ctx;
    if (registry->settings.changed)
        registry->settings.changed(registry->settings.ctx);
}

/* --- what this node writes --- */

static char *node_key(const struct registry *registry, char key[ETCD_KEY_LEN]) {
    snprintf(key, ETCD_KEY_LEN, "%snodes/%s", registry->prefix, registry->settings.node);
    return key;
}

static char *stream_key(const struct registry *registry, const char *stream, char key[ETCD_KEY_LEN]) {
    snprintf(key, ETCD_KEY_LEN, "%sstreams/%s/%s", registry->prefix, stream, registry->settings.node);
    return key;
}

static void fill(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text ? text : "");
}

static void write_node(struct registry *registry) {
    const struct registry_settings *settings = &registry->settings;
    struct fleet_node node = {.roles = settings->roles, .load = registry->told, .capacity = settings->capacity};
    char key[ETCD_KEY_LEN];
    fill(node.region, sizeof node.region, settings->region);
    fill(node.version, sizeof node.version, settings->version);
    fill(node.feed_url, sizeof node.feed_url, settings->feed_url);
    fill(node.http_url, sizeof node.http_url, settings->http_url);
    char *text = fleet_node_write(&node);
    etcd_set(registry->etcd, node_key(registry, key), text);
    free(text);
}

static struct fleet_load load_of(const struct registry *registry) {
    struct fleet_load load = {0};
    if (registry->settings.load)
        registry->settings.load(registry->settings.ctx, &load);
    return load;
}

/* By more than a tenth. */
static bool notable(uint64_t before, uint64_t after) {
    uint64_t larger = before > after ? before : after;
    return (larger - (before > after ? after : before)) * 10 > larger;
}

static void refresh_load(struct registry *registry) {
    if (!registry->announced || now(registry) - registry->told_us < LOAD_US)
        return;
    const struct fleet_load load = load_of(registry), *told = &registry->told;
    registry->told_us = now(registry);
    if (!notable(told->viewers, load.viewers) && !notable(told->egress_kbps, load.egress_kbps) &&
        !notable(told->streams, load.streams))
        return;
    registry->told = load;
    write_node(registry);
}

static void write_holding(struct registry *registry, const char *stream, const struct fleet_holding *holding) {
    char key[ETCD_KEY_LEN];
    char *text = fleet_holding_write(holding);
    etcd_set(registry->etcd, stream_key(registry, stream, key), text);
    free(text);
}

void registry_announce(struct registry *registry) {
    if (!registry)
        return;
    registry->announced = true;
    registry->told = load_of(registry);
    registry->told_us = now(registry);
    write_node(registry);
}

void registry_hold(struct registry *registry, const char *stream, uint64_t epoch) {
    if (!registry)
        return;
    struct fleet_holding *holding = map_get(registry->own, stream);
    if (!holding && map_count(registry->own) >= REGISTRY_STREAMS_MAX)
        return;
    if (!holding) {
        holding = calloc(1, sizeof *holding);
        if (!holding)
            abort();
        fill(holding->feed_url, sizeof holding->feed_url, registry->settings.feed_url);
        clock_format_iso(holding->since, clock_utc_us());
        map_set(registry->own, stream, holding);
    } else if (holding->epoch == epoch) {
        return;
    }
    holding->epoch = epoch;
    write_holding(registry, stream, holding);
}

void registry_let_go(struct registry *registry, const char *stream) {
    char key[ETCD_KEY_LEN];
    struct fleet_holding *holding = registry ? map_remove(registry->own, stream) : NULL;
    if (!holding)
        return;
    free(holding);
    etcd_unset(registry->etcd, stream_key(registry, stream, key));
}

void registry_leave(struct registry *registry) {
    if (registry)
        etcd_leave(registry->etcd);
}

/* --- the table: nodes --- */

static struct registry_node *add_node(struct registry *registry, const char *name) {
    struct registry_node *node = map_get(registry->nodes, name);
    if (node || map_count(registry->nodes) >= REGISTRY_NODES_MAX)
        return node;
    node = calloc(1, sizeof *node);
    if (!node)
        abort();
    fill(node->name, sizeof node->name, name);
    map_set(registry->nodes, name, node);
    return node;
}

/* Another node that has our name, and isn't one with our configuration that ended a moment ago. */
static void check_name(const struct registry *registry, const struct fleet_node *node) {
    static struct log_limit limit;
    const char *feed_url = registry->settings.feed_url, *http_url = registry->settings.http_url;
    uint32_t suppressed;
    bool ours = node->roles == registry->settings.roles && !strcmp(node->feed_url, feed_url ? feed_url : "") &&
                !strcmp(node->http_url, http_url ? http_url : "");
    if (registry->up && registry->announced && !ours && log_limit_pass(&limit, 1, &suppressed))
        log_error("fleet_name_taken", "name", LOG_STR(registry->settings.node), "note",
                  LOG_STR("another node of the fleet has it, too: set `node`"), LOG_SUPPRESSED(suppressed));
}

/* What can't be read is as if it weren't there, in time: a node of a later version may write it. */
static void take_node(struct registry *registry, const char *name, const struct etcd_entry *entry) {
    struct fleet_node value;
    struct registry_node *node = map_get(registry->nodes, name);
    if (!entry->value) {
        if (node && !node->missing_us) {
            node->missing_us = miss(registry);
            changed(registry);
        }
        return;
    }
    if (fleet_node_parse(entry->value, entry->value_len, &value) || !(node = add_node(registry, name)))
        return;
    if (!strcmp(name, registry->settings.node))
        check_name(registry, &value);
    node->node = value;
    node->missing_us = 0;
    node->seen = true;
    changed(registry);
}

/* --- the table: streams --- */

static struct registry_holder *find_holder(struct held *held, const char *node) {
    for (uint32_t i = 0; held && i < held->count; i++)
        if (!strcmp(held->holders[i].node, node))
            return &held->holders[i];
    return NULL;
}

static struct registry_holder *add_holder(struct registry *registry, const char *stream, const char *node) {
    struct held *held = map_get(registry->streams, stream);
    struct registry_holder *holder = find_holder(held, node);
    bool full = held ? held->count == REGISTRY_HOLDERS_MAX : map_count(registry->streams) >= REGISTRY_STREAMS_MAX;
    if (holder || full)
        return holder;
    if (!held) {
        held = calloc(1, sizeof *held);
        if (!held)
            abort();
        map_set(registry->streams, stream, held);
    }
    held->holders = realloc(held->holders, (held->count + 1) * sizeof *held->holders);
    if (!held->holders)
        abort();
    holder = &held->holders[held->count++];
    *holder = (struct registry_holder){0};
    fill(holder->node, sizeof holder->node, node);
    return holder;
}

static void drop_holder(struct registry *registry, const char *stream, struct registry_holder *holder) {
    struct held *held = map_get(registry->streams, stream);
    *holder = held->holders[--held->count];
    if (held->count)
        return;
    map_remove(registry->streams, stream);
    free(held->holders);
    free(held);
}

/* Of a node that is there it was taken back; else it has gone with its node, which etcd tells of first. */
static void take_back(struct registry *registry, const char *stream, const char *name) {
    struct registry_holder *holder = find_holder(map_get(registry->streams, stream), name);
    const struct registry_node *node = map_get(registry->nodes, name);
    if (!holder)
        return;
    if (node && !node->missing_us)
        drop_holder(registry, stream, holder);
    else if (!holder->missing_us)
        holder->missing_us = miss(registry);
}

static void take_stream(struct registry *registry, const char *stream, const char *name,
                        const struct etcd_entry *entry) {
    struct fleet_holding value;
    struct registry_holder *holder;
    char key[ETCD_KEY_LEN];
    if (!entry->value) {
        take_back(registry, stream, name);
        return;
    }
    if (!strcmp(name, registry->settings.node) && !map_get(registry->own, stream)) {
        etcd_unset(registry->etcd, stream_key(registry, stream, key)); /* of an earlier run of this node */
        return;
    }
    if (fleet_holding_parse(entry->value, entry->value_len, &value) || !(holder = add_holder(registry, stream, name)))
        return;
    holder->holding = value;
    holder->missing_us = 0;
    holder->seen = true;
}

static void on_entry(void *ctx, const struct etcd_entry *entry) {
    struct registry *registry = ctx;
    char stream[FLEET_STREAM_LEN], node[FLEET_NAME_LEN];
    size_t len = strlen(registry->prefix);
    enum fleet_key key = strncmp(entry->key, registry->prefix, len) != 0
                             ? FLEET_KEY_OTHER
                             : fleet_key_parse(entry->key + len, stream, node);
    if (key == FLEET_KEY_NODE)
        take_node(registry, node, entry);
    else if (key == FLEET_KEY_STREAM)
        take_stream(registry, stream, node, entry);
}

/* --- readings: what isn't seen is missing --- */

static void unsee_node(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    ((struct registry_node *)value)->seen = false;
}

static void unsee_held(void *ctx, const char *stream, void *value) {
    struct held *held = value;
    (void)ctx, (void)stream;
    for (uint32_t i = 0; i < held->count; i++)
        held->holders[i].seen = false;
}

static void on_begin(void *ctx) {
    struct registry *registry = ctx;
    map_each(registry->nodes, unsee_node, NULL);
    map_each(registry->streams, unsee_held, NULL);
}

/* The time that a node has to come back begins anew: while etcd was away it could not. */
static void note_missing_node(void *ctx, const char *name, void *value) {
    struct registry_node *node = value;
    (void)name;
    if (!node->seen)
        node->missing_us = miss(ctx);
}

static void note_missing_held(void *ctx, const char *stream, void *value) {
    struct held *held = value;
    (void)stream;
    for (uint32_t i = 0; i < held->count; i++)
        if (!held->holders[i].seen)
            held->holders[i].missing_us = miss(ctx);
}

static void on_complete(void *ctx) {
    struct registry *registry = ctx;
    map_each(registry->nodes, note_missing_node, registry);
    map_each(registry->streams, note_missing_held, registry);
}

static bool overdue(struct registry *registry, int64_t missing_us) {
    bool over = missing_us && now(registry) - missing_us > (int64_t)registry->settings.ttl_s * 1000000;
    if (missing_us && !over)
        registry->missing = true;
    return over;
}

static void drop_node(void *ctx, const char *name, void *value) {
    struct registry *registry = ctx;
    struct registry_node *node = value;
    if (!overdue(registry, node->missing_us))
        return;
    log_info("fleet_node_gone", "name", LOG_STR(name));
    free(map_remove(registry->nodes, name));
    changed(registry);
}

static void drop_holders(void *ctx, const char *stream, void *value) {
    struct registry *registry = ctx;
    struct held *held = value;
    for (uint32_t i = held->count; i > 0; i--)
        if (overdue(registry, held->holders[i - 1].missing_us))
            drop_holder(registry, stream, &held->holders[i - 1]);
}

static void on_tick(void *ctx) {
    struct registry *registry = ctx;
    loop_timer_set(registry->tick, TICK_US);
    refresh_load(registry);
    if (!registry->up || !registry->missing)
        return;
    registry->missing = false;
    map_each(registry->nodes, drop_node, registry);
    map_each(registry->streams, drop_holders, registry);
}

static void on_state(void *ctx, bool up, const char *url, const char *why) {
    struct registry *registry = ctx;
    registry->up = up;
    if (up)
        log_info("fleet_registry_up", "etcd", LOG_STR(url), "nodes", LOG_INT(map_count(registry->nodes)), "streams",
                 LOG_INT(map_count(registry->streams)));
    else
        log_warn("fleet_registry_down", "etcd", LOG_STR(url), "why", LOG_STR(why));
}

/* --- asking --- */

struct each_node {
    void (*fn)(void *ctx, const struct registry_node *node);
    void *ctx;
};

static void give_node(void *ctx, const char *name, void *value) {
    const struct each_node *each = ctx;
    (void)name;
    each->fn(each->ctx, value);
}

void registry_each_node(struct registry *registry, void (*fn)(void *ctx, const struct registry_node *node), void *ctx) {
    if (registry)
        map_each(registry->nodes, give_node, &(struct each_node){fn, ctx});
}

struct each_stream {
    void (*fn)(void *ctx, const char *stream, const struct registry_holder *holders, size_t count);
    void *ctx;
};

static void give_stream(void *ctx, const char *stream, void *value) {
    const struct each_stream *each = ctx;
    const struct held *held = value;
    each->fn(each->ctx, stream, held->holders, held->count);
}

void registry_each_stream(struct registry *registry,
                          void (*fn)(void *ctx, const char *stream, const struct registry_holder *holders,
                                     size_t count),
                          void *ctx) {
    if (registry)
        map_each(registry->streams, give_stream, &(struct each_stream){fn, ctx});
}

bool registry_holds(const struct registry *registry, const char *stream, const char *feed_url) {
    const struct held *held = registry ? map_get(registry->streams, stream) : NULL;
    uint64_t latest = 0, here = 0;
    for (uint32_t i = 0; held && i < held->count; i++) {
        const struct fleet_holding *holding = &held->holders[i].holding;
        if (holding->epoch > latest)
            latest = holding->epoch;
        if (holding->epoch > here && !strcmp(holding->feed_url, feed_url))
            here = holding->epoch;
    }
    return here && here == latest;
}

bool registry_up(const struct registry *registry) {
    return registry && registry->up;
}

double registry_age_s(const struct registry *registry) {
    return registry ? etcd_age_s(registry->etcd) : 0;
}

static void collect(void *ctx, struct buf *out) {
    const struct registry *registry = ctx;
    metrics_family(out, "weir_fleet_registry_up", "Whether the fleet's registry (etcd) can be read and written.",
                   METRIC_GAUGE);
    metrics_sample(out, "weir_fleet_registry_up", NULL, registry->up);
    metrics_family(out, "weir_fleet_registry_age_seconds", "Since the fleet's registry last said something.",
                   METRIC_GAUGE);
    metrics_sample(out, "weir_fleet_registry_age_seconds", NULL, registry_age_s(registry));
    metrics_family(out, "weir_fleet_nodes", "Nodes of the fleet that are known, this one included.", METRIC_GAUGE);
    metrics_sample(out, "weir_fleet_nodes", NULL, (double)map_count(registry->nodes));
    metrics_family(out, "weir_fleet_streams", "Streams that origins of the fleet hold.", METRIC_GAUGE);
    metrics_sample(out, "weir_fleet_streams", NULL, (double)map_count(registry->streams));
}

/* --- life --- */

struct registry *registry_create(struct loop *loop, const struct registry_settings *settings) {
    struct registry *registry = calloc(1, sizeof *registry);
    if (!registry)
        abort();
    *registry = (struct registry){.loop = loop, .settings = *settings};
    snprintf(registry->prefix, sizeof registry->prefix, "%s/", settings->prefix);
    registry->nodes = map_create();
    registry->streams = map_create();
    registry->own = map_create();
    registry->tick = loop_timer_create(loop, on_tick, registry);
    registry->news = loop_timer_create(loop, on_news, registry);
    const struct etcd_settings etcd = {.urls = settings->etcd,
                                       .url_count = settings->etcd_count,
                                       .prefix = registry->prefix,
                                       .ttl_s = settings->ttl_s,
                                       .client = settings->client};
    const struct etcd_events events = {.begin = on_begin,
                                       .entry = on_entry,
                                       .complete = on_complete,
                                       .state = on_state};
    registry->etcd = etcd_create(loop, &etcd, &events, registry);
    loop_timer_set(registry->tick, TICK_US);
    metrics_register_collector(collect, registry);
    return registry;
}

static void free_value(void *ctx, const char *key, void *value) {
    (void)ctx, (void)key;
    free(value);
}

static void free_held(void *ctx, const char *stream, void *value) {
    struct held *held = value;
    (void)ctx, (void)stream;
    free(held->holders);
    free(held);
}

void registry_destroy(struct registry *registry) {
    if (!registry)
        return;
    etcd_destroy(registry->etcd);
    map_each(registry->nodes, free_value, NULL);
    map_each(registry->streams, free_held, NULL);
    map_each(registry->own, free_value, NULL);
    map_destroy(registry->nodes);
    map_destroy(registry->streams);
    map_destroy(registry->own);
    loop_timer_destroy(registry->tick);
    loop_timer_destroy(registry->news);
    free(registry);
}
