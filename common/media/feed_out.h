/* Feeds out of a store: what a subscriber of a stream's timeline, or of one of its tracks, is to have next. A subscriber costs a place,
 * not a queue: who is so slow that the store has freed what comes next is at an end, and begins anew. Used for what other nodes ask
 * for, and for what ingest sends to origins. Pure but for references; one thread, the store's.
 *
 * Places are kept by numbers, so that they survive a copy of the stream that is made anew. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/feed.h"
#include "common/media/store.h"

struct buf;

enum feed_out_result {
    FEED_OUT_MORE,
    FEED_OUT_WAIT, /* nothing for now */
    FEED_OUT_LOST, /* what comes next is gone from the store */
};

/* --- the timeline --- */
struct timeline_out {
    const char *node; /* who speaks; must outlive this */
    bool greeted;
    struct record *path, *open;  /* last told; references */
    struct record *segment_open; /* of the segment under way; likewise */
    uint64_t from_msn, msn;      /* where it goes on when no segment is under way; the one that is */
    uint32_t parts;             /* of it, told */
    bool in_segment, state_told;
    enum stream_state state;
    uint64_t state_epoch;
};
/* From the segment `from_msn` on, or where the first one after it begins; 0: all that is listed. */
void timeline_out_init(struct timeline_out *out, const char *node, uint64_t from_msn);
void timeline_out_finish(struct timeline_out *out);
/* Appends lines, whole ones, as long as they stay below about `bytes`. */
enum feed_out_result timeline_out_next(struct timeline_out *out, const struct stream *stream, struct buf *lines, size_t bytes);
/* The newest segment from which at least `back_us` of media are there, and which a player can begin with; 0: none yet. */
uint64_t timeline_out_back(const struct stream *stream, int64_t back_us);

/* --- a track --- */
struct track_out {
    char track[4];
    struct record *open; /* of the segment under way; a reference, NULL before the first */
    uint32_t index;      /* the track within it */
    bool init_sent;
    uint64_t init_epoch;
    uint32_t init_version; /* last sent */
    uint64_t msn;
    uint32_t number; /* the chunk that comes next */
    bool begun;      /* one was given */
    struct slice owed; /* what the box that was given last stands before; a reference */
};
/* From that chunk on; from the first one of a segment on, or as soon after it as the track is here. `msn` 0: from the newest segment that
 * begins with an independent chunk. */
void track_out_init(struct track_out *out, const char *track, uint64_t msn, uint32_t number);
void track_out_finish(struct track_out *out);
struct feed_piece {
    struct feed_box box;
    struct slice body; /* the store's reference, valid until something is applied to it, or expires */
};
enum feed_out_result track_out_next(struct track_out *out, const struct stream *stream, struct feed_piece *ret_piece);

/* --- as the bytes of a body: up to `max` slices, each with a reference and laid out as blob_create_framed has it. Their number, or
 * -EAGAIN: nothing for now; -ESTALE: what comes next is gone from the store --- */
int timeline_out_slices(struct timeline_out *out, const struct stream *stream, struct slice *slices, int max);
int track_out_slices(struct track_out *out, const struct stream *stream, struct slice *slices, int max);
/* A beat, as the body of a timeline; and that the node is about to stop, which is no timeline's first line. */
struct slice timeline_out_beat(void);
struct slice timeline_out_drain(void);
/* What a node says that brings a stream, or stands by to. */
struct slice timeline_out_touch(void);
struct slice timeline_out_take(void);
