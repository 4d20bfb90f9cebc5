/* Brings streams to origins elsewhere, all of them at once (docs/feed.md). To publishers it is the authority on their streams: a claim
 * asks every origin, and what they grant is put together; what is written goes into this node's own store, its window, and from there
 * to each origin by feeds of its own. So an origin that is slow, full or down delays nobody; when it comes back it is brought what it
 * lacks and the window still has.
 *
 * A claim is granted when an origin grants it and none says that somebody else writes the stream. It is lost when an origin says that
 * a later writer has the stream (its epoch is higher), whatever the others say; or that its operator has cut the broadcast, which then
 * is over at all of them, and its name refused here, too.
 *
 * It stands by when one of them says so, and may be taken when all say so that it stands by at; it is taken from all of them at once. When
 * one of them says that another has taken the stream it is asked for anew, to stand by. One loop, the hub's. */
#pragma once
#include <stddef.h>

#include "common/http/client.h"
#include "common/media/writer.h"

struct hub;
struct loop;
struct pushes;

struct pushes_settings {
    const char *node;     /* this one's name; outlives the pushes, as do the URLs */
    char *const *origins; /* "https://origin-a:8444" */
    size_t origin_count;  /* at most PUSH_ORIGINS_MAX */
    struct http_client_config client;
};
enum { PUSH_ORIGINS_MAX = 8 };

/* `local`: the authority over the hub's store. */
struct pushes *pushes_create(struct loop *loop, struct hub *hub, const struct writer_port *local, const struct pushes_settings *settings);
/* All claims are released; what is still under way to origins is cut off. NULL is allowed. */
void pushes_destroy(struct pushes *pushes);
struct writer_port pushes_port(struct pushes *pushes);
void pushes_metrics_register(void);
