/* A node that this one fetches from, or brings things to: a client for it alone, which can be changed for a new one when the node has
 * fallen silent although its connections stand. HTTP/2 would put each new fetch on those. On the loop's thread. */
#pragma once
#include "common/http/client.h"

struct http_peer_retired;

struct http_peer {
    struct loop *loop;
    struct http_client_config config;
    struct http_client *client;
    uint32_t fetches; /* under way on `client` */
    struct http_peer_retired *retired; /* clients whose fetches have not ended yet */
};

/* What `config` refers to outlives the peer. */
void http_peer_init(struct http_peer *peer, struct loop *loop, const struct http_client_config *config);
/* All fetches have ended. */
void http_peer_finish(struct http_peer *peer);

struct http_peer_fetch {
    struct http_fetch *fetch; /* NULL: none */
    struct http_client *client;
};
/* For each one http_peer_ended follows, in its `end`, or http_peer_cancel. */
struct http_peer_fetch http_peer_fetch(struct http_peer *peer, const struct http_fetch_options *options);
void http_peer_ended(struct http_peer *peer, struct http_peer_fetch *fetch);
/* One that is NULL is passed over. */
void http_peer_cancel(struct http_peer *peer, struct http_peer_fetch *fetch);
/* Fetches to come use new connections. */
void http_peer_renew(struct http_peer *peer);
