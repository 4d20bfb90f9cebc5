/* The nodes that this one may take streams from, and how good each has been: those of the configuration, and those that were found since
 * (common/fleet). One that isn't found any more keeps its place, for links may refer to it, but isn't begun with; when none does, its
 * place may become another's, in a new `generation`. The hub's loop. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
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
    bool found; /* not of the configuration */
    bool gone;
    int64_t drains_until_us; /* it has said that it is about to stop: not begun with before; or 0 */
    uint32_t links; /* that refer to it */
    uint32_t generation;
};

struct upstreams {
    struct loop *loop;
    struct http_client_config config;
    uint32_t count;
    struct upstream items[UPSTREAMS_MAX];
    bool (*holds)(void *ctx, const char *stream, const char *url);
    void *holds_ctx;
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
/* Those that are to be there beside the configured ones, as of now; at most UPSTREAMS_MAX. Gives how many of them there is no place for. */
size_t upstreams_set_found(struct upstreams *upstreams, const char *const *urls, size_t count);
/* Who knows which upstreams hold a stream: a search begins with them. */
void upstreams_set_holds(struct upstreams *upstreams, bool (*holds)(void *ctx, const char *stream, const char *url), void *ctx);
bool upstreams_hold(const struct upstreams *upstreams, uint32_t i, const char *stream);
/* Their scores as metrics. Once. */
void upstreams_watch(struct upstreams *upstreams);
