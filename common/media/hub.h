/* The hub: the one authoritative store of the process, and the feeds out of it. Writers hand it records on its own loop;
 * it checks and applies them and passes them on to the clients that follow the stream. A client belongs to another loop
 * (a worker's) and keeps a replica there. What crosses threads are batches of record references in mailboxes, one batch a
 * client and turn of the hub's loop. A client whose mailbox overflows, or whose copy a record doesn't fit, is sent the stream
 * anew: it never silently differs. A replica needs no limits: it holds what the hub holds, for no longer. */
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
/* For reading; it changes only by hub_write and with time. */
struct store *hub_store(struct hub *hub);
/* Checks and applies the record (errors of store_apply) and passes it on. Takes over the reference. */
int hub_write(struct hub *hub, struct record *record);
/* Removes the stream and its media at once, live or not, and tells who follows it. */
void hub_remove(struct hub *hub, struct stream *stream);

/* --- client --- */
/* A followed stream is in the replica, or there anew (`known`), or there is no such stream, or no more (`!known`; then it
 * is no longer followed). On the client's loop, after the records were applied. */
typedef void hub_client_fn(void *ctx, const char *stream, bool known);

/* On the hub's thread, before the client's loop runs (or with both on one thread). `replica` is used on `loop` only. */
struct hub_client *hub_client_create(struct hub *hub, struct loop *loop, struct store *replica, hub_client_fn *on_answer, void *ctx);
/* After the client's loop has stopped, on the hub's thread. NULL is allowed. */
void hub_client_destroy(struct hub_client *client);
/* On the client's thread: asks for the stream; on_answer tells (for each call). Unfollowing drops the replica's copy. */
void hub_client_follow(struct hub_client *client, const char *stream);
void hub_client_unfollow(struct hub_client *client, const char *stream);

void hub_metrics_register(void);
