/* Streams that are not here, taken from upstream: what the hub asks its source for. Each is taken once, however many viewers want it.
 *
 * A stream has up to two links (link.h). One is in use: its timeline and its tracks are taken. The other, to the next best upstream,
 * stands by with its timeline alone, which costs a kilobyte a second and tells at once when the one in use falls behind: a part that it
 * has closed must be whole here within `late_us`. Then, or when the link in use breaks, the one that stands by is used from the next
 * chunk on. When everything is as late, or nothing else is there, what is in use stays. A node that says that it is about to stop is left at once. A stream that races uses both.
 *
 * With shields (upstream.h) a stream is taken from its own shield, and an upstream that is none stands by: a shield would take the stream,
 * too, to be able to. When the shield fails the next takes its place, and what stood by is used until it has the stream. The hub's loop. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct hub;
struct pulls;
struct upstreams;

struct pulls_settings {
    const char *node;  /* this one's name, unique in the fleet; outlives the pulls, as does `race` */
    int64_t late_us;
    int64_t grace_us;  /* a stream that no upstream knows any more ends after this time */
    uint32_t back_ms;  /* of media before now that a stream begins with */
    uint32_t streams_max;
    char *const *race; /* patterns of names, "live/show" or "live/na*" */
    size_t race_count;
};
/* Becomes the hub's source. */
struct pulls *pulls_create(struct hub *hub, struct upstreams *upstreams, const struct pulls_settings *settings);
/* The hub's clients are gone. NULL is allowed. */
void pulls_destroy(struct pulls *pulls);
void pulls_metrics_register(void);
