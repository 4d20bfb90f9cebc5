/* This node in the fleet's registry (common/fleet): what it says of itself, the origins that it finds there as upstreams, and the relays of
 * its region as peers for its viewers. On the main loop. */
#pragma once
#include <stdint.h>

struct blob;
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
/* Relays of this node's region that have room, and the configured ones: `give` gets their URLs, one a line, whenever they change, and
 * says 0, or that it is to be told again. */
void fleet_find_peers(struct fleet *fleet, int (*give)(void *ctx, struct blob *urls), void *ctx);
/* This node can be asked from now on; from now on it can't. */
void fleet_announce(struct fleet *fleet);
void fleet_leave(struct fleet *fleet);
struct registry *fleet_registry(const struct fleet *fleet);
