/* The operator's clip for streams that nobody publishes any more: when a publisher of this node's has left or is silent, and no backup takes
 * over, the clip is published in its stream's place, in a loop, until somebody publishes again, or for `limit_s`. It is a source
 * (source.h) of the lowest rank (common/media/writer.h). One loop, the ingest role's. */
#pragma once
#include <stdint.h>

struct ingest;
struct slates;

struct slates_settings {
    char *const *clips; /* "app/name FILE", "app/na* FILE"; of two that match a stream the first */
    uint32_t clip_count;
    uint32_t limit_s;
};
enum { SLATES_MAX = 32 /* streams that have one, at once; others go without */ };

/* Before there are publishers. What the settings point to outlives it. */
struct slates *slates_create(struct ingest *ingest, const struct slates_settings *settings);
/* Before the ingest role goes. NULL is allowed. */
void slates_destroy(struct slates *slates);
void slates_metrics_register(void);
