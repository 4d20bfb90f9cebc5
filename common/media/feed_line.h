/* The timeline's feed on the wire (docs/feed.md): JSON lines, one event of a stream each. This is the codec: pure. Lines that a
 * newer node may send and this one doesn't know are no error.
 *
 *   hello    who speaks, and the version of the feed; always the first
 *   path     the nodes that the stream comes through, nearest first, the speaker included
 *   open     the tracks from here on, with their init segments
 *   segment  a segment begins: chunks with its number may follow
 *   part     a part is closed
 *   state    live, stalled, away, ended
 *   beat     nothing has happened for a while
 *   drain    the speaker is about to stop
 *   touch    who brings the stream, or stands by, has media, although there is nothing to be brought
 *   take     who stands by takes the stream */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"

struct buf;

enum {
    FEED_LINE_MAX = 2 << 20, /* bytes: an open line carries up to TRACKS_MAX init segments */
};

enum feed_line_kind {
    FEED_LINE_UNKNOWN,
    FEED_LINE_HELLO,
    FEED_LINE_PATH,
    FEED_LINE_OPEN,
    FEED_LINE_SEGMENT,
    FEED_LINE_PART,
    FEED_LINE_STATE,
    FEED_LINE_BEAT,
    FEED_LINE_DRAIN,
    FEED_LINE_TOUCH,
    FEED_LINE_TAKE,
};

struct feed_line {
    enum feed_line_kind kind;
    struct record *record; /* path, open, part, state; a reference */
    uint64_t epoch, msn;   /* segment */
    uint32_t version;      /* hello */
    char node[NODE_NAME_LEN]; /* hello */
};

/* Appends the line and its newline. 0, or -ENOBUFS. */
int feed_line_write(struct buf *out, const struct feed_line *line);
/* `text` without its newline; records are of `stream`. 0 and a line to finish, or -EBADMSG. */
int feed_line_parse(const char *text, size_t len, const char *stream, struct feed_line *ret_line);
void feed_line_finish(struct feed_line *line);

/* --- reading as bytes come --- */
struct feed_lines; /* the beginning of a line whose end has not come yet */
/* `line` is finished after the call. 0, or negative errno, which ends the reading. */
typedef int feed_line_fn(void *ctx, const struct feed_line *line);

struct feed_lines *feed_lines_create(const char *stream, feed_line_fn *fn, void *ctx);
/* NULL is allowed. */
void feed_lines_destroy(struct feed_lines *lines);
/* 0, -EBADMSG (no line of a feed), -ENOBUFS (a line longer than FEED_LINE_MAX), or what `fn` returned. */
int feed_lines_push(struct feed_lines *lines, const uint8_t *data, size_t len);
