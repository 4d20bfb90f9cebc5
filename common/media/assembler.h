/* Puts a stream together again from the feeds that it comes in: its timeline and its tracks, each in order, none in step with the
 * others. Out come records in an order that a store takes: a chunk as soon as its segment has begun, a part once all that it counts has
 * come.
 *
 * Several sources may feed one assembler, one after the other or at the same time. A chunk is what its place says it is (epoch, msn,
 * number), on every node: what has come already is known by it, and what is missing. So whoever is first wins, and a subscriber may
 * change sources in the middle of a stream. A higher epoch is a later writer, and what an earlier one says after it is old.
 *
 * A subscriber need not take all tracks. Parts wait for those that it has; one that it takes later is behind at first, and is waited for
 * once it has caught up. What it has is written, too (RECORD_TRACK). One that is made on demand is only there while it is.
 *
 * One thread; pure but for `write`. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/feed.h"
#include "common/media/feed_line.h"

struct assembler;

/* Takes over the record's reference. 0, or negative errno: it was refused. */
typedef int assembler_write_fn(void *ctx, struct record *record);

struct assembler *assembler_create(const char *stream, assembler_write_fn *write, void *ctx);
/* NULL is allowed. */
void assembler_destroy(struct assembler *assembler);

enum assembler_result { ASSEMBLER_TAKEN, ASSEMBLER_KNOWN /* or older than what has come */ };
/* Each: enum assembler_result, or
 *   -ENODATA  what comes before it is missing,
 *   -EBADMSG  it can't be true,
 *   -ENOBUFS  too much waits for something that doesn't come,
 *   or what `write` said, perhaps of something that came earlier. */
int assembler_line(struct assembler *assembler, const struct feed_line *line);
/* Takes a reference of its own to `body`. */
int assembler_chunk(struct assembler *assembler, const char *track, const struct feed_box *box, struct slice body);

/* The segment that a track begins with which joins: of those told, or later, when nothing is missing; 0: the newest. */
typedef uint64_t assembler_from_fn(void *ctx, const char *track);
/* The tracks that are taken from now on; at first all are. What comes of others is KNOWN. `from`'s `ctx` is that of `write`, and so is
 * what is returned. */
int assembler_take(struct assembler *assembler, const struct track_names *tracks, assembler_from_fn *from);
bool assembler_takes(const struct assembler *assembler, const char *track);

/* What comes next can't be had any more: forgets what waits, and goes on with any later segment. The stream's tracks are written
 * anew then, from which a store knows that numbers may be missing before. */
void assembler_restart(struct assembler *assembler);

/* The tracks as last told; NULL: not yet. */
const struct record_open *assembler_tracks(const struct assembler *assembler);
/* The segment that the timeline has come to; false: to none yet, or not again. */
bool assembler_segment(const struct assembler *assembler, uint64_t *ret_epoch, uint64_t *ret_msn);
/* Whether it is taken, is made on demand, and isn't made now. It joins with its first chunk, and leaves when nothing comes of it any more. */
bool assembler_sleeps(const struct assembler *assembler, const char *track);
/* The chunk that a track has next; false: any, it has none yet, or not again, or none of the writer that is written. */
bool assembler_next(const struct assembler *assembler, const char *track, uint64_t *ret_msn, uint32_t *ret_number);
/* Whether a part is closed of which chunks are missing. */
bool assembler_waits(const struct assembler *assembler);
