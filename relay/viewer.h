/* What viewers ask for, on one worker: the page, playlists, init segments, segments, parts, all of it as one response, and
 * thumbnails.
 * Requests for a stream that the worker doesn't follow yet wait for the hub's answer (relay/follow.h); blocking reloads and hinted
 * parts wait in the replica. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/playlist.h"

struct follows;
struct http_request;
struct load;
struct loop;
struct steer;
struct thumbs;
struct viewers;

struct viewers_settings {
    enum playlist_muxed muxed;
    uint32_t waiting_max;      /* requests that wait at a time; one more is answered 503 */
    uint32_t live_readers_max; /* continuous viewers; likewise (HTTP/2 has several a connection) */
    int64_t max_lag_us;        /* a continuous viewer further behind is moved on */
    const struct steer *steer; /* outlives the viewers, as does `load`; its peers may change in between */
    const struct load *load;
    struct thumbs *thumbs; /* NULL: there are none; stopped before the viewers end */
};
struct viewers *viewers_create(struct loop *loop, struct follows *follows, const struct viewers_settings *settings);
/* The HTTP server is gone by then, and with it all requests. NULL is allowed. */
void viewers_destroy(struct viewers *viewers);
/* http_handler_fn. */
void viewers_handle(void *ctx, struct http_request *req);
void viewers_metrics_register(void);
