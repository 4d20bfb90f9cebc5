/* The streams that this node fetches itself (ingest/source.h), as they are configured: always, or while somebody asks for them. Those are
 * asked of it by the hub, as its source; what isn't among them, of the hub's source before, which is upstream. On the main loop. */
#pragma once
#include <stdbool.h>

#include "ingest/source.h"

struct buf;
struct conf;
struct hub;
struct ingest;
struct origin;
struct sources;
struct srt_server;

/* Whether all URLs are right; else `errors` gets a line "weir.yaml:5: …" for each that isn't. `name` stands for the file. */
bool sources_check(const struct conf *conf, const char *name, struct buf *errors);
/* Whether any of them calls an SRT listener. */
bool sources_want_srt(const struct conf *conf);

/* NULL: there are none. The hub's source is set by then, or never. `srt` may be NULL where sources_want_srt says no. All outlive it, the ingest
 * role until sources_stop. */
struct sources *sources_create(const struct conf *conf, struct hub *hub, struct origin *origin, struct ingest *ingest, struct srt_server *srt);
/* All are fetched no more, and none is looked for. NULL is allowed, here and below. */
void sources_stop(struct sources *sources);
/* When the hub's clients are gone. */
void sources_destroy(struct sources *sources);

struct sources_view {
    struct source_view source;
    bool on_demand;
};
void sources_each(const struct sources *sources, void (*fn)(void *ctx, const struct sources_view *view), void *ctx);
