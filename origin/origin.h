/* The origin role: the authority on streams. It grants claims to writers (and epochs with them), keeps numbers running over
 * publishers that come and go, waits for a publisher to come back, and ends the stream when none does. Of several that claim one stream
 * it lets the highest rank write that has media, and offers the stream to those that stand by when the writer falls silent. What it accepts
 * goes into the hub. A writer whose stream grows over its limit of memory loses its claim; when the memory of all streams is full,
 * the largest of them is removed, whoever writes. One loop, the hub's. */
#pragma once
#include <stdint.h>

#include "common/media/writer.h"

struct hub;
struct loop;
struct origin;

struct origin_settings {
    uint32_t grace_ms;  /* how long a stream waits for its publisher */
    uint32_t silent_ms; /* a writer that has written nothing for so long may be taken over by another that comes */
    uint32_t takeover_ms; /* and after so long by one that stands by */
};

struct origin *origin_create(struct loop *loop, struct hub *hub, const struct origin_settings *settings);
/* All claims must be released. NULL is allowed. */
void origin_destroy(struct origin *origin);
/* What writers in this process use. */
struct writer_port origin_port(struct origin *origin);
/* Told of each stream that is written here: at once when it begins, also anew (with its epoch), and when it is over (epoch 0). The
 * function must not call the origin or the hub. Before there are claims. */
void origin_on_stream(struct origin *origin, void (*fn)(void *ctx, const char *stream, uint64_t epoch), void *ctx);
/* The operator ends the broadcast: it is over for viewers, its writer loses its claim at once, and its name is refused for so long (0: not
 * at all, which also lets in a name that is refused). 0, or -ENOENT: there is no such broadcast, and the name isn't refused either. From no
 * call of a writer's. */
int origin_cut(struct origin *origin, const char *stream, uint32_t refuse_s);
/* Whoever wrote the stream has left for good: it ends now, not with the grace time. Nothing happens while somebody writes it. */
void origin_end(struct origin *origin, const char *stream);
/* Address of the stream's publisher, or NULL while there is none. */
const char *origin_publisher(const struct origin *origin, const char *stream);
/* Who writes it, and then who stands by, the best first. */
struct origin_claim {
    const char *peer;
    enum claim_rank rank;
    bool writes;
};
void origin_each_claim(const struct origin *origin, const char *stream,
                       void (*fn)(void *ctx, const struct origin_claim *claim), void *ctx);
void origin_metrics_register(void);
