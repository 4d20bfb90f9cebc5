/* Segments of one open record lie together in the stream, their numbers rise by one, and all but the newest are frozen:
 * that is what moving on from one to the next relies on. */
#include "common/media/cursor.h"

#include <string.h>

static const struct track_info *track_of(const struct cursor *cursor, uint32_t track) {
    return &cursor->open->open.tracks[track];
}

static int64_t to_us(int64_t ts, uint32_t timescale) {
    return ts / timescale * 1000000 + ts % timescale * 1000000 / timescale;
}

static int64_t start_us(const struct cursor *cursor, const struct record *chunk) {
    return to_us(chunk->chunk.dts_ts, track_of(cursor, chunk->chunk.track)->timescale);
}

static int64_t end_us(const struct cursor *cursor, const struct record *chunk) {
    return to_us(chunk->chunk.dts_ts + chunk->chunk.duration_ts, track_of(cursor, chunk->chunk.track)->timescale);
}

static bool independent(const struct cursor *cursor, const struct record *chunk) {
    return chunk->chunk.flags & CHUNK_INDEPENDENT || track_of(cursor, chunk->chunk.track)->kind == TRACK_AUDIO;
}

static bool before(struct cursor_place a, struct cursor_place b) {
    return a.msn < b.msn || (a.msn == b.msn && a.number < b.number);
}

static struct cursor_place place_of(const struct record *chunk) {
    return (struct cursor_place){chunk->chunk.msn, chunk->chunk.number};
}

/* --- where chunks are --- */

/* The newest chunk of a track, among those of the cursor's open record, for which `fn` is true; it is not asked for
 * chunks before `from`. */
static const struct record *find_back(const struct cursor *cursor, const struct stream *stream, uint32_t track,
                                      struct cursor_place from,
                                      bool (*fn)(const struct cursor *cursor, const struct record *chunk, int64_t us),
                                      int64_t us) {
    for (uint32_t i = stream->segment_count; i > 0; i--) {
        const struct segment *segment = stream->segments[i - 1];
        const struct chunk_list *chunks = &segment->chunks[track];
        if (segment->open != cursor->open)
            continue;
        for (uint32_t k = chunks->count; k > 0; k--) {
            if (before(place_of(chunks->items[k - 1]), from))
                return NULL;
            if (fn(cursor, chunks->items[k - 1], us))
                return chunks->items[k - 1];
        }
    }
    return NULL;
}

static bool is_any(const struct cursor *cursor, const struct record *chunk, int64_t us) {
    (void)cursor, (void)chunk, (void)us;
    return true;
}

static bool is_independent(const struct cursor *cursor, const struct record *chunk, int64_t us) {
    (void)us;
    return independent(cursor, chunk);
}

/* One that can be begun with, to be in time with what begins at `us`. */
static bool is_beside(const struct cursor *cursor, const struct record *chunk, int64_t us) {
    return independent(cursor, chunk) && start_us(cursor, chunk) <= us;
}

/* The segment with that number; `ret_gone`: it was there once. */
static uint32_t find_segment(const struct stream *stream, uint64_t msn, bool *ret_gone) {
    uint32_t i = stream->segment_count;
    while (i > 0 && stream->segments[i - 1]->msn > msn)
        i--;
    bool found = i > 0 && stream->segments[i - 1]->msn == msn;
    *ret_gone = !found && i < stream->segment_count;
    return found ? i - 1 : stream->segment_count;
}

/* The chunk that a track has next, or NULL: none yet. Moves its place on to the segment that it is in. */
static const struct record *peek(struct cursor *cursor, const struct stream *stream, uint32_t track, bool *ret_gone) {
    struct cursor_place *place = &cursor->places[track];
    uint32_t i = find_segment(stream, place->msn, ret_gone);
    for (; i < stream->segment_count && stream->segments[i]->open == cursor->open; i++) {
        const struct segment *segment = stream->segments[i];
        if (segment->msn != place->msn)
            *place = (struct cursor_place){segment->msn, 0};
        if (place->number < segment->chunks[track].count)
            return segment->chunks[track].items[place->number];
        if (!segment_whole(segment, 1u << track)) { /* the rest is yet to come, if it does */
            *ret_gone = !(segment->carried & 1u << track) && i + 1 < stream->segment_count;
            return NULL;
        }
    }
    return NULL;
}

/* --- where to begin --- */

static void place_beside(struct cursor *cursor, const struct stream *stream, uint32_t track, int64_t us) {
    const struct cursor_place from = cursor->places[track];
    const struct record *chunk = find_back(cursor, stream, track, from, is_beside, us);
    if (!chunk)
        return; /* all are later: it stays where it was */
    cursor->places[track] = place_of(chunk);
    if (end_us(cursor, chunk) <= us)
        cursor->places[track].number++;
}

/* To the newest independent chunk, if there is one from `from` on. */
static bool go_to_newest(struct cursor *cursor, const struct stream *stream, struct cursor_place from) {
    const struct record *chunk = find_back(cursor, stream, cursor->lead, from, is_independent, 0);
    if (!chunk)
        return false;
    cursor->places[cursor->lead] = place_of(chunk);
    for (uint32_t t = 0; t < cursor->open->open.track_count; t++)
        if (cursor->mask & 1u << t && t != cursor->lead)
            place_beside(cursor, stream, t, start_us(cursor, chunk));
    return true;
}

/* All tracks to the first chunks that are there. */
static void go_to_oldest(struct cursor *cursor, const struct stream *stream) {
    uint32_t i = 0;
    while (i < stream->segment_count && stream->segments[i]->open != cursor->open)
        i++;
    for (uint32_t t = 0; t < TRACKS_MAX && i < stream->segment_count; t++) {
        const struct cursor_place oldest = {stream->segments[i]->msn, 0};
        if (before(cursor->places[t], oldest))
            cursor->places[t] = oldest;
    }
}

static bool seek(struct cursor *cursor, const struct stream *stream) {
    go_to_oldest(cursor, stream);
    cursor->seeking = !go_to_newest(cursor, stream, cursor->places[cursor->lead]);
    return !cursor->seeking;
}

bool cursor_init(struct cursor *cursor, const struct stream *stream, uint32_t mask, int64_t max_lag_us) {
    memset(cursor, 0, sizeof *cursor);
    cursor->open = stream->open;
    cursor->mask = mask;
    cursor->lead = variant_lead(&stream->open->open, mask);
    cursor->max_lag_us = max_lag_us;
    if (!seek(cursor, stream)) {
        cursor->open = NULL;
        return false;
    }
    record_ref(cursor->open);
    return true;
}

void cursor_finish(struct cursor *cursor) {
    record_unref(cursor->open);
    cursor->open = NULL;
}

/* --- reading --- */

static bool lags(const struct cursor *cursor, const struct stream *stream, const struct record *next) {
    const struct record *newest =
        find_back(cursor, stream, cursor->lead, (struct cursor_place){0}, is_any, 0); /* the first it looks at */
    return newest && start_us(cursor, newest) - start_us(cursor, next) > cursor->max_lag_us;
}

/* Moves on a reader that is too late. `next`: what the leading track has next. */
static void keep_up(struct cursor *cursor, const struct stream *stream, const struct record *next) {
    struct cursor_place ahead = cursor->places[cursor->lead];
    ahead.number++;
    if (next && lags(cursor, stream, next) && go_to_newest(cursor, stream, ahead))
        cursor->jumps[CURSOR_JUMP_LAG]++;
}

static bool any_gone(struct cursor *cursor, const struct stream *stream) {
    bool gone = false;
    for (uint32_t t = 0; t < cursor->open->open.track_count && !gone; t++)
        if (cursor->mask & 1u << t)
            peek(cursor, stream, t, &gone);
    return gone;
}

/* Of what the tracks have next, that which is decoded first. */
static const struct record *earliest(struct cursor *cursor, const struct stream *stream) {
    const struct record *found = NULL;
    bool gone;
    for (uint32_t t = 0; t < cursor->open->open.track_count; t++) {
        const struct record *chunk = cursor->mask & 1u << t ? peek(cursor, stream, t, &gone) : NULL;
        if (chunk && (!found || start_us(cursor, chunk) < start_us(cursor, found)))
            found = chunk;
    }
    return found;
}

enum cursor_result cursor_next(struct cursor *cursor, const struct stream *stream, const struct record **ret_chunk) {
    bool over = stream->open != cursor->open || stream->state == STREAM_ENDED, gone;
    if (!cursor->seeking && any_gone(cursor, stream)) {
        cursor->jumps[CURSOR_JUMP_WINDOW]++;
        cursor->seeking = true;
    }
    if (cursor->seeking && !seek(cursor, stream))
        return over ? CURSOR_END : CURSOR_WAIT;
    keep_up(cursor, stream, peek(cursor, stream, cursor->lead, &gone));
    const struct record *chunk = earliest(cursor, stream);
    if (!chunk)
        return over ? CURSOR_END : CURSOR_WAIT;
    cursor->places[chunk->chunk.track].number++;
    *ret_chunk = chunk;
    return CURSOR_CHUNK;
}
