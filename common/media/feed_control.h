/* What an origin says to the node that brings it a stream: JSON lines, down in the response to the timeline (docs/feed.md). Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/media/writer.h"

struct buf;

enum { FEED_SESSION_LEN = 33, FEED_CONTROL_MAX = 16 << 10 }; /* bytes of a line */

/* The stream is the writer's; the first line. */
struct feed_granted {
    char session[FEED_SESSION_LEN]; /* names this bringing: tracks belong to it */
    struct claim_grant grant;
    uint64_t from_msn; /* what the timeline is to begin with; 0: all there is */
    uint32_t track_count;
    struct feed_from {
        char track[4];
        uint64_t msn;
        uint32_t number;
    } tracks[TRACKS_MAX]; /* where tracks go on; others begin with the timeline */
};

/* Appends the line and its newline. 0 or -ENOBUFS. */
int feed_granted_write(struct buf *out, const struct feed_granted *granted);
/* 0, -EBADMSG, or -ENOMSG: it says something else. */
int feed_granted_parse(const char *text, size_t len, struct feed_granted *ret_granted);
