/* Streams for other nodes, on one worker: GET /feed/{app}/{stream}, the timeline, and /feed/{app}/{stream}/{track} (docs/feed.md).
 * Responses don't end before the stream does. A subscriber costs a place in the worker's copy, not a queue; who is so slow that
 * the copy has left its place behind is cut off, and has to begin anew. */
#pragma once
#include <stdint.h>

struct feeds;
struct follows;
struct http_request;
struct loop;

struct feeds_settings {
    const char *node;       /* this one's name, unique in the fleet; outlives the feeds */
    const char *key;        /* that who asks must bear; NULL: none. Likewise */
    uint32_t responses_max; /* at a time; one more is answered 503 */
};
struct feeds *feeds_create(struct loop *loop, struct follows *follows, const struct feeds_settings *settings);
/* The HTTP server is gone by then. NULL is allowed. */
void feeds_destroy(struct feeds *feeds);
/* This node is about to stop: who takes a stream is told, and nobody is given another timeline. What is being given goes on. */
void feeds_drain(struct feeds *feeds);
/* Feeds that the process gives, timelines and tracks. Any thread. */
int64_t feeds_given(void);
/* http_handler_fn. */
void feeds_handle(void *ctx, struct http_request *req);
void feeds_metrics_register(void);
