/* The hub: the one authoritative store of the process, and the feeds out of it. Writers hand it records on its own loop;
 * it checks and applies them and passes them on to the clients that follow the stream. A client belongs to another loop
 * (a worker's) and keeps a replica there. What crosses threads are batches of record references in mailboxes, one batch a
 * client and turn of the hub's loop. A client whose mailbox overflows, or whose copy a record doesn't fit, is sent the stream
 * anew: it never silently differs. A replica needs no limits: it holds what the hub holds, for no longer.
 *
 * A stream that is not here may be elsewhere: a source is asked for it, and brings it by hub_write. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/record.h"
#include "common/media/store.h"

struct hub;
struct hub_client;
struct loop;

/* --- hub: on its loop's thread --- */
struct hub *hub_create(struct loop *loop, const struct store_settings *settings);
/* Clients must be gone. NULL is allowed. */
void hub_destroy(struct hub *hub);
/* For reading; it changes only by hub_write and with time. Its readers and waiters (stream_read, stream_wait) are woken by the loop, once
 * for all that a turn wrote; from there streams must not be removed. Deadlines are the business of who waits (store_time_out). */
struct store *hub_store(struct hub *hub);
/* Checks and applies the record (errors of store_apply) and passes it on. Takes over the reference. */
int hub_write(struct hub *hub, struct record *record);
/* Removes the stream and its media at once, live or not, and tells who follows it. */
void hub_remove(struct hub *hub, struct stream *stream);
/* Clients that follow the stream, there or looked for. */
uint32_t hub_followers(const struct hub *hub, const char *stream);
/* Tracks of it that any client asks for. */
struct track_names hub_tracks_asked(const struct hub *hub, const char *stream);

/* --- source: where streams come from that are not here; on the hub's thread --- */
enum { HUB_HOPS_LEN = 512 }; /* with the terminating zero */

/* A `want` that was answered true ends once, by the hub's `unwant` or by the source's hub_absent; only then is the same stream
 * wanted again. Both functions are called by the hub's loop and by hub_client_destroy, never from inside hub_write, hub_remove
 * or hub_absent. */
struct hub_source {
    void *ctx;
    /* A client follows a stream that the store doesn't have. `hops`: the nodes that the question came through, "" when it began
     * here; `tracks`: those that are asked for, as far as it has them. True: it is looked for; who follows it waits until its open record
     * has been written, or for hub_absent. False: there is none. From inside, the hub must not be told anything (hub_write, hub_absent):
     * that comes later. */
    bool (*want)(void *ctx, const char *stream, const char *hops, const struct track_names *tracks);
    /* Other tracks of a wanted stream are asked for than before: all that are, by any client. Likewise. */
    void (*want_tracks)(void *ctx, const char *stream, const struct track_names *tracks);
    /* Nobody follows it any more, found or not; or it was found and has left the store since, which its followers were told.
     * What the store has of it is the source's to remove (hub_remove, also from here): else the next to follow it finds it
     * there, and the source is not asked. */
    void (*unwant)(void *ctx, const char *stream);
};
/* Copied. Before clients ask. It must outlive the clients. Returns the one before, empty when there was none: whoever comes second asks it
 * for what he hasn't. */
struct hub_source hub_set_source(struct hub *hub, const struct hub_source *source);
/* The source's word on a stream that it was asked for: there is none, or no more of it. Clients that wait are told; a stream that is here
 * stays as it is. Passed over when it isn't wanted. */
void hub_absent(struct hub *hub, const char *stream);

/* --- client --- */
/* A followed stream is in the replica, or there anew (`known`), or there is no such stream, or no more (`!known`; then it
 * is no longer followed). On the client's loop, after the records were applied. */
typedef void hub_client_fn(void *ctx, const char *stream, bool known);

/* On the hub's thread, before the client's loop runs (or with both on one thread). `replica` is used on `loop` only. */
struct hub_client *hub_client_create(struct hub *hub, struct loop *loop, struct store *replica, hub_client_fn *on_answer, void *ctx);
/* After the client's loop has stopped, on the hub's thread. NULL is allowed. */
void hub_client_destroy(struct hub_client *client);
/* On the client's thread: asks for the stream; on_answer tells: for each call, but once for all that were made while it was looked
 * for. `hops` (shorter than HUB_HOPS_LEN; NULL: none): for the source, should it be asked; `tracks` (NULL: none): those that this client
 * asks for. Unfollowing drops the replica's copy. */
void hub_client_follow(struct hub_client *client, const char *stream, const char *hops, const struct track_names *tracks);
/* Of a stream that it follows: these tracks from now on. What is not here of them is brought, and RECORD_TRACK tells. */
void hub_client_want_tracks(struct hub_client *client, const char *stream, const struct track_names *tracks);
void hub_client_unfollow(struct hub_client *client, const char *stream);

void hub_metrics_register(void);
