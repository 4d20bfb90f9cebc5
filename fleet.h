/* This node in the fleet's registry (common/fleet): what it says of itself, and the origins that it finds there as upstreams. On the main
 * loop. */
#pragma once
#include <stdint.h>

struct conf;
struct fleet;
struct http_client_config;
struct hub;
struct load;
struct loop;
struct origin;
struct registry;
struct upstreams;

struct fleet_parts {
    const struct conf *conf;
    struct hub *hub;
    struct origin *origin;
    const struct load *load;
    const struct http_client_config *client; /* for etcd; copied */
    const char *version;
    uint64_t viewers_max; /* that this node can take */
};
/* What `parts` refers to outlives it. NULL: the configuration names no registry. */
struct fleet *fleet_create(struct loop *loop, const struct fleet_parts *parts);
/* NULL is allowed, here and below. */
void fleet_destroy(struct fleet *fleet);
/* Origins of the fleet are upstreams from now on. */
void fleet_find_upstreams(struct fleet *fleet, struct upstreams *upstreams);
/* This node can be asked from now on; from now on it can't. */
void fleet_announce(struct fleet *fleet);
void fleet_leave(struct fleet *fleet);
struct registry *fleet_registry(const struct fleet *fleet);
