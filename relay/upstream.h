/* The nodes that this one may take streams from, and how good each has been. The hub's loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/http/peer.h"
#include "relay/score.h"

enum { UPSTREAMS_MAX = 128, UPSTREAM_URL_LEN = 256 }; /* as many as `relay.upstreams` and `relay.shields` may have */

struct upstream {
    char url[UPSTREAM_URL_LEN]; /* "https://origin-a:8443" */
    bool shield;                /* of those that share the streams of a region; the others are for when they fail */
    struct score score;
    struct http_peer peer;
    int64_t warned_us; /* when a failure of it was logged last that stopped a search; or 0 */
};

struct upstreams {
    struct loop *loop;
    struct http_client_config config;
    uint32_t count;
    struct upstream items[UPSTREAMS_MAX];
};

/* What `config` refers to outlives the upstreams. */
struct upstreams *upstreams_create(struct loop *loop, const struct http_client_config *config);
/* All fetches have ended. NULL is allowed. */
void upstreams_destroy(struct upstreams *upstreams);
/* "https://origin-a:8443 40": a URL, and perhaps a cost in ms. 0, or -ENOSPC. */
int upstreams_add(struct upstreams *upstreams, const char *text);
int upstreams_add_shield(struct upstreams *upstreams, const char *text);
bool upstreams_have_shields(const struct upstreams *upstreams);
/* What taking this stream from each costs beside its score, in ms: the shields in an order that all nodes with the same shields have for
 * the stream (rendezvous.h), the others last. Failures cost more, so that it is a preference only. Nothing where there are no shields. */
void upstreams_prefer(const struct upstreams *upstreams, const char *stream, uint32_t ret_ms[UPSTREAMS_MAX]);
/* Their scores as metrics. Once. */
void upstreams_watch(struct upstreams *upstreams);
