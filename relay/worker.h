/* A worker: one thread, one event loop, its own listeners on the viewers' addresses and those for other nodes, its own replica of
 * the streams that these ask for. Workers share nothing but blobs. */
#pragma once
#include <stdint.h>

#include "common/http/server.h"
#include "common/media/playlist.h"
#include "relay/feed.h"
#include "relay/steer.h"

struct blob;
struct hub;
struct thumbs;
struct tls_context;
struct worker;

/* Requests of viewers' listeners for a path are another's: given to its handler (http_handler_fn), on each worker's thread. */
struct worker_route {
    const char *path; /* NULL: none are */
    http_handler_fn *handle;
    void *ctx; /* outlives the workers */
};

struct worker_settings {
    struct http_limits http;
    const char *congestion; /* of TCP; NULL: the kernel's default */
    bool uring; /* where the kernel has it for us */
    const struct address_range *trusted_proxies; /* must outlive the worker */
    size_t trusted_proxy_count;
    bool proxy_protocol;
    enum playlist_muxed muxed;
    int64_t max_lag_us; /* of continuous viewers */
    int64_t window_us;  /* as the hub's */
    int64_t idle_us;    /* a stream that nobody asked for so long is followed no longer */
    struct feeds_settings feeds;
    struct steer_settings steer;
    const struct load *load; /* outlives the workers */
    struct thumbs *thumbs;   /* likewise, but is stopped before they end; NULL: there are none */
    struct worker_route route;
};

/* On the hub's thread; the worker runs from worker_start on. NULL when it can't be made. */
struct worker *worker_create(struct hub *hub, const struct worker_settings *settings);
/* Whom a listener is for, and over what. */
enum worker_listener { WORKER_HTTP, WORKER_HTTPS, WORKER_FEED, WORKER_FEED_TLS, WORKER_LISTENERS };
/* Before worker_start; those with TLS after worker_set_tls. `joins`: another worker listens there already. 0 or negative errno. */
int worker_listen(struct worker *worker, enum worker_listener listener, const char *address, bool joins, uint16_t *ret_port);
/* For the worker's TLS connections to come, those of viewers (WORKER_HTTPS) or of other nodes (WORKER_FEED_TLS); a reference is taken. On
 * the hub's thread. 0, or -ENOBUFS: not now, the worker is behind. */
int worker_set_tls(struct worker *worker, enum worker_listener listener, struct tls_context *context);
/* Other relays that its viewers may go to: URLs, one a line. A reference is taken; else likewise. */
int worker_set_peers(struct worker *worker, struct blob *urls);
int worker_start(struct worker *worker);
/* Any thread: no new connections of viewers, and idle ones close; other nodes are told that this one is about to stop (feeds_drain). */
void worker_drain(struct worker *worker);
/* Stops the thread and frees everything. On the hub's thread. NULL is allowed. */
void worker_destroy(struct worker *worker);
