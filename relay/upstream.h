/* The nodes that this one may take streams from, and how good each has been. The hub's loop. */
#pragma once
#include <stdint.h>

#include "common/http/peer.h"
#include "relay/score.h"

enum { UPSTREAMS_MAX = 64, UPSTREAM_URL_LEN = 256 };

struct upstream {
    char url[UPSTREAM_URL_LEN]; /* "https://origin-a:8443" */
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
/* Their scores as metrics. Once. */
void upstreams_watch(struct upstreams *upstreams);
