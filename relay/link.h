/* One upstream's feeds of one stream: its timeline, and those of its tracks that are opened. It reads them and tells; what to make of it
 * is its user's (pull.c). The hub's loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/assembler.h"
#include "relay/upstream.h"

struct link;
struct loop;

enum link_failure {
    LINK_UNKNOWN, /* 404: it has no such stream */
    LINK_GONE,    /* 410: what was asked for has left its window */
    LINK_LOOP,    /* 508: it would take the stream from us */
    LINK_BROKEN,  /* anything else */
};

struct link_events {
    /* Not for beats and what is unknown. Nonzero: the link has failed by it (`failed` is told). */
    int (*line)(void *ctx, struct link *link, const struct feed_line *line);
    int (*chunk)(void *ctx, struct link *link, const char *track, const struct feed_box *box, struct slice body);
    /* Once, in a later turn of the loop than what caused it, and nothing after it. */
    void (*failed)(void *ctx, struct link *link, enum link_failure failure, const char *why);
};

struct link_settings {
    const char *stream, *hops; /* `hops`: value of the header, this node included */
    const struct track_names *tracks; /* that are going to be opened, so that the upstream has them by then; NULL: none */
    uint64_t from_msn;         /* 0: with `back_ms` of what there is */
    uint32_t back_ms;
};
struct link *link_create(struct loop *loop, struct upstream *upstream, const struct link_settings *settings, const struct link_events *events, void *ctx);
/* From inside its events only from `failed`; the same goes for closing tracks. NULL is allowed. */
void link_destroy(struct link *link);

/* Opens the track from that chunk on; once it is open, nothing. */
void link_open_track(struct link *link, const char *track, uint64_t msn, uint32_t number);
bool link_has_tracks(const struct link *link);
void link_close_tracks(struct link *link);
/* Closes those that are not among these. */
void link_keep_tracks(struct link *link, const struct track_names *tracks);
struct upstream *link_upstream(const struct link *link);
/* Monotonic time of the last byte of the timeline, or of its request. */
int64_t link_heard_us(const struct link *link);

void links_metrics_register(void);
