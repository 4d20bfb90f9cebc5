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
    bool asks; /* it will say `asked`; an older origin doesn't, so that all may be */
    uint32_t track_count;
    struct feed_from {
        char track[4];
        uint64_t msn;
        uint32_t number;
    } tracks[TRACKS_MAX]; /* where tracks go on; others begin with the timeline */
};

enum feed_control_kind {
    FEED_CONTROL_UNKNOWN, /* a newer origin says something */
    FEED_CONTROL_GRANTED,
    FEED_CONTROL_CUT, /* the operator has ended the broadcast */
    FEED_CONTROL_BEAT,
    FEED_CONTROL_DRAIN, /* the origin is about to stop */
    FEED_CONTROL_STANDBY,
    FEED_CONTROL_ASKED, /* which of the tracks that are made on demand somebody asks for */
};

struct feed_control {
    enum feed_control_kind kind;
    struct feed_granted granted;
    uint32_t refuse_s; /* cut: how long the name is not to be taken again; at most CLAIM_REFUSE_MAX_S */
    enum claim_result standing; /* standby: CLAIM_STANDBY, CLAIM_OUTRANKS or CLAIM_VACANT */
    struct track_names asked; /* asked: all that are, until it says otherwise */
};

/* Appends the line and its newline. 0 or -ENOBUFS. */
int feed_control_write(struct buf *out, const struct feed_control *control);
/* 0 or -EBADMSG. */
int feed_control_parse(const char *text, size_t len, struct feed_control *ret_control);
