/* A continuous reader's place in a stream, for a set of tracks: which chunk it is to have next. It begins with the newest
 * independent chunk of its leading track (variant_lead) and what the other tracks have from that time on, and then gives every
 * chunk there is: those of a track in order, those of different tracks by decoding time as far as they are there. Nothing
 * is held back for a track that is late.
 *
 * Who falls behind is moved on. When the leading track's next chunk is more than the limit behind its newest, in media time,
 * the cursor jumps to the newest independent chunk, provided that this lies ahead: a limit shorter than the distance of
 * independent frames holds to within that distance. It also jumps when the chunks it stood at are gone from the store.
 * It never goes back.
 *
 * A reader has one init segment: other tracks, a new init, another writer (all come with a new open record) are the end of
 * what it can have. A discontinuity without them is only a leap of media time, as a jump is.
 *
 * A place is kept by numbers, so it survives a copy of the stream that is made anew. One thread; pure but for the reference. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/store.h"

enum cursor_result {
    CURSOR_CHUNK, /* here it is */
    CURSOR_WAIT,  /* nothing for now */
    CURSOR_END,   /* and there won't be */
};

enum cursor_jump { CURSOR_JUMP_LAG, CURSOR_JUMP_WINDOW, CURSOR_JUMPS };

struct cursor_place {
    uint64_t msn;
    uint32_t number; /* of the chunk that comes next, or will */
};

struct cursor {
    struct record *open; /* a reference; NULL: nothing was found to begin with yet */
    uint32_t mask, lead;
    bool seeking; /* for an independent chunk: at the beginning, and when all that it knew is gone */
    int64_t max_lag_us;
    uint32_t jumps[CURSOR_JUMPS]; /* since the start */
    struct cursor_place places[TRACKS_MAX];
};

/* `mask`: tracks of the stream's open record. False: there is no independent chunk to begin with; nothing was taken. */
bool cursor_init(struct cursor *cursor, const struct stream *stream, uint32_t mask, int64_t max_lag_us);
void cursor_finish(struct cursor *cursor);
/* `ret_chunk`: the store's reference, valid until something is applied to it, or expires. */
enum cursor_result cursor_next(struct cursor *cursor, const struct stream *stream, const struct record **ret_chunk);
