/* The streams that a worker follows, and who waits until the hub has answered. A request whose stream is in the worker's replica
 * is served from there; any other waits here, and the hub is asked for the stream. One that nobody has asked for in a while,
 * that nobody waits for and nobody reads (stream_wanted), is followed no longer. What only nodes have asked for is kept for two seconds at
 * most: they go on reading while their own viewers may come back. So for its tracks: the hub is told which of them have been
 * asked for lately (stream->asked), for a node need not have the others.
 *
 * Used by all that serve from the replica, on its thread. How many may wait is for them to limit. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct follows;
struct hub_client;
struct loop;
struct store;
struct stream;
struct track_names;

struct follow_wait {
    struct list link;
    /* The hub has answered: here it is, or NULL, there is no such stream. The wait is over by then. From here others may be begun and
     * cancelled. */
    void (*fn)(struct follow_wait *wait, struct stream *stream);
};

/* `client`: of the replica; its answers are for follows_answer. From now on the deadlines of the replica's waiters are kept, too. */
struct follows *follows_create(struct loop *loop, struct store *replica, struct hub_client *client, int64_t idle_us);
/* Nobody waits any more. NULL is allowed. */
void follows_destroy(struct follows *follows);

/* The stream, if it is followed and there; it is not idle then. Else NULL: follows_wait. */
struct stream *follows_find(struct follows *follows, const char *name);
/* The same for another node, which reads it from here on or doesn't need it. */
struct stream *follows_find_for_node(struct follows *follows, const char *name);
/* For a stream that follows_find didn't find. `fn` is called later, never from here; `hops` and `tracks` as for hub_client_follow, `hops`
 * of a node; NULL: it is a viewer. */
void follows_wait(struct follows *follows, const char *name, struct follow_wait *wait, const char *hops, const struct track_names *tracks);
/* Tracks of a stream that was found (a mask of its open record's) are asked for: those that aren't here begin to come. Who reads on and on
 * need only set stream->asked now and then. */
void follows_ask(struct follows *follows, struct stream *stream, uint32_t mask);
/* Only while it waits. */
void follow_wait_cancel(struct follow_wait *wait);
/* What the hub says of a stream (hub_client_fn). */
void follows_answer(struct follows *follows, const char *name, bool known);

void follows_metrics_register(void);
