/* The fleet's registry: which nodes there are, and which of them hold which stream. Each node writes about itself into a folder of etcd
 * (fleet_json.h) and keeps a table of everybody's.
 *
 * What is known stays known. While etcd can't be reached the table is as it was; and what vanishes from etcd with its node, for its
 * lease has run out or etcd has lost it, is kept for the time of a lease after a full reading that lacks it (`missing_us`): the node may
 * be well, and only cut off from etcd. What a node takes back itself goes at once.
 *
 * One loop. Logs when etcd is lost and found. */
#pragma once
#include <stddef.h>

#include "common/fleet/fleet_json.h"
#include "common/http/client.h"

struct loop;
struct registry;

enum { REGISTRY_NODES_MAX = 4096, REGISTRY_STREAMS_MAX = 100000, REGISTRY_HOLDERS_MAX = 8 /* of a stream */ };

struct registry_settings {
    const char *node; /* our name, unique in the fleet; all texts outlive the registry */
    const char *region, *feed_url, *http_url, *version; /* NULL: none */
    uint32_t roles;
    struct fleet_capacity capacity;
    const char *prefix; /* "weir" */
    char *const *etcd;  /* URLs */
    size_t etcd_count;
    uint32_t ttl_s;
    struct http_client_config client;
    /* What this node bears; asked every two seconds. NULL: nothing. */
    void (*load)(void *ctx, struct fleet_load *out);
    /* Other nodes came, went, or changed: in a later turn, once for many. NULL: nobody cares. */
    void (*changed)(void *ctx);
    void *ctx;
};
struct registry *registry_create(struct loop *loop, const struct registry_settings *settings);
/* NULL is allowed, here and below. */
void registry_destroy(struct registry *registry);

/* From here on this node is registered. */
void registry_announce(struct registry *registry);
/* This node holds the stream, or doesn't any more. */
void registry_hold(struct registry *registry, const char *stream, uint64_t epoch);
void registry_let_go(struct registry *registry, const char *stream);
/* This node leaves: it is not to be called again but for registry_destroy, a moment later. */
void registry_leave(struct registry *registry);

/* --- the table --- */
struct registry_node {
    char name[FLEET_NAME_LEN];
    struct fleet_node node;
    int64_t missing_us; /* since when it isn't registered, by the loop's clock; 0: it is */
    bool seen;          /* the registry's */
};
struct registry_holder {
    char node[FLEET_NAME_LEN];
    struct fleet_holding holding;
    int64_t missing_us;
    bool seen;
};
void registry_each_node(struct registry *registry, void (*fn)(void *ctx, const struct registry_node *node), void *ctx);
void registry_each_stream(struct registry *registry, void (*fn)(void *ctx, const char *stream, const struct registry_holder *holders, size_t count), void *ctx);
/* Whether a node that gives streams at this URL holds the stream, in its latest epoch. */
bool registry_holds(const struct registry *registry, const char *stream, const char *feed_url);

/* Whether etcd is there, and when it last said something. */
bool registry_up(const struct registry *registry);
double registry_age_s(const struct registry *registry);
