/* The nodes that this one may take streams from, and how good each has been: those of the configuration, and those that were found since
 * (common/fleet). One that isn't found any more keeps its place, for links may refer to it, but isn't begun with; when none does, its
 * place may become another's, in a new `generation`. The hub's loop. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/peer.h"
#include "relay/score.h"

enum { UPSTREAMS_MAX = 64, UPSTREAM_URL_LEN = 256 };

struct upstream {
    char url[UPSTREAM_URL_LEN]; /* "https://origin-a:8443" */
    struct score score;
    struct http_peer peer;
    bool found; /* not of the configuration */
    bool gone;
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
/* Those that are to be there beside the configured ones, as of now; at most UPSTREAMS_MAX. Gives how many of them there is no place for. */
size_t upstreams_set_found(struct upstreams *upstreams, const char *const *urls, size_t count);
/* Who knows which upstreams hold a stream: they are asked before others. */
void upstreams_set_holds(struct upstreams *upstreams, bool (*holds)(void *ctx, const char *stream, const char *url), void *ctx);
/* How good it would be to ask it for the stream, score_ms, or less than any score where it is known to hold it. */
double upstreams_rank(const struct upstreams *upstreams, uint32_t i, const char *stream, int64_t now_us);
/* Their scores as metrics. Once. */
void upstreams_watch(struct upstreams *upstreams);
