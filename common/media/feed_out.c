#include "common/media/feed_out.h"

#include <errno.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/feed_line.h"

enum { LINES_RUN = 64 << 10 }; /* bytes of lines given at a time */

static const struct segment *oldest(const struct stream *stream) {
    return stream->segment_count ? stream->segments[0] : NULL;
}

/* The first segment whose number is `msn` or more. */
static const struct segment *segment_from(const struct stream *stream, uint64_t msn) {
    const struct segment *found = NULL;
    for (uint32_t i = stream->segment_count; i > 0 && stream->segments[i - 1]->msn >= msn; i--)
        found = stream->segments[i - 1];
    return found;
}

/* Its first chunk tells, or, if this node doesn't have that, its first part. */
static bool begins_independent(const struct segment *segment) {
    uint32_t lead = variant_lead(&segment->open->open, ~0u);
    const struct chunk_list *chunks = &segment->chunks[lead];
    if (chunks->count)
        return chunks->items[0]->chunk.flags & CHUNK_INDEPENDENT;
    return segment->published && segment->parts[0].record->part.flags & PART_INDEPENDENT;
}

/* --- the timeline --- */

void timeline_out_init(struct timeline_out *out, const char *node, uint64_t from_msn) {
    *out = (struct timeline_out){.node = node, .from_msn = from_msn};
}

void timeline_out_finish(struct timeline_out *out) {
    record_unref(out->open);
    record_unref(out->segment_open);
    record_unref(out->path);
    out->open = out->segment_open = out->path = NULL;
}

static int64_t segment_us(const struct segment *segment) {
    const struct record_open *open = &segment->open->open;
    uint32_t lead = variant_lead(open, ~0u);
    return (int64_t)(segment->duration_ts[lead] * 1000000 / open->tracks[lead].timescale);
}

uint64_t timeline_out_back(const struct stream *stream, int64_t back_us) {
    int64_t us = 0;
    uint64_t msn = 0;
    for (uint32_t i = stream->segment_count; i > stream->first_listed && us < back_us; i--) {
        const struct segment *segment = stream->segments[i - 1];
        us += segment_us(segment);
        if (begins_independent(segment) || !msn)
            msn = segment->msn;
    }
    return msn;
}

static void hold(struct record **place, struct record *record) {
    struct record *before = *place;
    *place = record ? record_ref(record) : NULL;
    record_unref(before);
}

static bool tell_hello(struct timeline_out *out, struct buf *lines) {
    struct feed_line line = {.kind = FEED_LINE_HELLO, .version = FEED_VERSION};
    strncpy(line.node, out->node, sizeof line.node - 1);
    return !feed_line_write(lines, &line);
}

/* The speaker itself comes first. A path that is too long to tell is cut: the loop it would close is longer still. */
static bool tell_path(const struct timeline_out *out, const struct stream *stream, struct buf *lines) {
    struct record *record = record_create(RECORD_PATH, stream->name, 0);
    struct record_path *path = &record->path;
    strncpy(path->nodes[path->count++], out->node, NODE_NAME_LEN - 1);
    for (uint32_t i = 0; stream->path && i < stream->path->path.count && path->count < PATH_NODES_MAX; i++)
        strcpy(path->nodes[path->count++], stream->path->path.nodes[i]);
    bool ok = !feed_line_write(lines, &(struct feed_line){.kind = FEED_LINE_PATH, .record = record});
    record_unref(record);
    return ok;
}

static bool tell_record(enum feed_line_kind kind, struct record *record, struct buf *lines) {
    return !feed_line_write(lines, &(struct feed_line){.kind = kind, .record = record});
}

static bool tell_segment(struct timeline_out *out, const struct segment *segment, struct buf *lines) {
    const struct feed_line line = {.kind = FEED_LINE_SEGMENT, .epoch = segment->open->epoch, .msn = segment->msn};
    hold(&out->segment_open, segment->open);
    out->msn = segment->msn;
    out->parts = 0;
    out->in_segment = true;
    return !feed_line_write(lines, &line);
}

static bool tell_state(struct timeline_out *out, const struct stream *stream, struct buf *lines) {
    struct record *record = record_create(RECORD_STATE, stream->name, stream->epoch);
    record->state.state = stream->state;
    bool ok = tell_record(FEED_LINE_STATE, record, lines);
    record_unref(record);
    out->state = stream->state;
    out->state_epoch = stream->epoch;
    out->state_told = true;
    return ok;
}

/* The segment under way, or the next one; NULL: there is none yet. `ret_lost`: it is gone. */
static const struct segment *timeline_segment(const struct timeline_out *out, const struct stream *stream,
                                              bool *ret_lost) {
    if (!out->in_segment) {
        const struct segment *first =
            stream->first_listed < stream->segment_count ? stream->segments[stream->first_listed] : NULL;
        return out->from_msn ? segment_from(stream, out->from_msn) : first;
    }
    const struct segment *segment = segment_from(stream, out->msn);
    *ret_lost = !segment || (segment->msn != out->msn && oldest(stream) == segment);
    return segment;
}

/* What comes before the parts of a segment that was not begun yet. */
static bool tell_begin(struct timeline_out *out, const struct segment *segment, struct buf *lines) {
    if (segment->open == out->open)
        return tell_segment(out, segment, lines);
    hold(&out->open, segment->open);
    out->in_segment = false;
    out->from_msn = segment->msn;
    return tell_record(FEED_LINE_OPEN, out->open, lines);
}

/* One line of this segment, or of the next. False: there is none. Another writer may use a lost one's number again:
 * then the segment is another. */
static bool tell_within(struct timeline_out *out, const struct stream *stream, const struct segment *segment,
                        struct buf *lines, bool *ret_ok) {
    if (!out->in_segment || segment->msn != out->msn || segment->open != out->segment_open) {
        *ret_ok = tell_begin(out, segment, lines);
        return true;
    }
    if (out->parts < segment->published) {
        *ret_ok = tell_record(FEED_LINE_PART, segment->parts[out->parts++].record, lines);
        return true;
    }
    const struct segment *next = segment_from(stream, segment->msn + 1);
    return next && tell_within(out, stream, next, lines, ret_ok);
}

/* What is told when all segments are. */
static bool tell_rest(struct timeline_out *out, const struct stream *stream, struct buf *lines, bool *ret_ok) {
    if (stream->open != out->open) {
        hold(&out->open, stream->open);
        *ret_ok = tell_record(FEED_LINE_OPEN, out->open, lines);
        return true;
    }
    if (!out->state_told || out->state != stream->state || out->state_epoch != stream->epoch) {
        *ret_ok = tell_state(out, stream, lines);
        return true;
    }
    return false;
}

static enum feed_out_result tell_next(struct timeline_out *out, const struct stream *stream, struct buf *lines) {
    bool ok = true, lost = false;
    if (!out->greeted) {
        out->greeted = true;
        hold(&out->path, stream->path);
        return tell_hello(out, lines) && tell_path(out, stream, lines) ? FEED_OUT_MORE : FEED_OUT_LOST;
    }
    if (stream->path != out->path) {
        hold(&out->path, stream->path);
        return tell_path(out, stream, lines) ? FEED_OUT_MORE : FEED_OUT_LOST;
    }
    const struct segment *segment = timeline_segment(out, stream, &lost);
    if (lost)
        return FEED_OUT_LOST;
    if (!(segment && tell_within(out, stream, segment, lines, &ok)) && !tell_rest(out, stream, lines, &ok))
        return FEED_OUT_WAIT;
    return ok ? FEED_OUT_MORE : FEED_OUT_LOST;
}

enum feed_out_result timeline_out_next(struct timeline_out *out, const struct stream *stream, struct buf *lines,
                                       size_t bytes) {
    size_t before = buf_len(lines);
    enum feed_out_result result = FEED_OUT_WAIT;
    while (stream->open && buf_len(lines) - before < bytes && (result = tell_next(out, stream, lines)) == FEED_OUT_MORE)
        ;
    return result == FEED_OUT_WAIT && buf_len(lines) > before ? FEED_OUT_MORE : result;
}

/* --- a track --- */

void track_out_init(struct track_out *out, const char *track, uint64_t msn, uint32_t number) {
    *out = (struct track_out){.msn = msn, .number = number};
    strncpy(out->track, track, sizeof out->track - 1);
}

void track_out_finish(struct track_out *out) {
    record_unref(out->open);
    blob_unref(out->owed.blob);
    out->open = NULL;
    out->owed = (struct slice){0};
}

/* TRACKS_MAX: it isn't one of them. */
static uint32_t track_index(const struct record *open, const char *name) {
    for (uint32_t i = 0; i < open->open.track_count; i++)
        if (!strcmp(open->open.tracks[i].name, name))
            return i;
    return TRACKS_MAX;
}

static bool find_track(struct track_out *out) {
    out->index = track_index(out->open, out->track);
    return out->index < TRACKS_MAX;
}

static bool begin(struct track_out *out, const struct stream *stream) {
    for (uint32_t i = stream->segment_count; i > stream->first_listed && !out->msn; i--)
        if (begins_independent(stream->segments[i - 1]))
            out->msn = stream->segments[i - 1]->msn;
    return out->msn;
}

/* `segment` is the one to go on with. Another writer's begins at its own first chunk, whatever had its number before.
 */
static void enter(struct track_out *out, const struct segment *segment) {
    if (segment->msn != out->msn || (out->open && segment->open != out->open))
        out->number = 0;
    out->msn = segment->msn;
    if (segment->open != out->open)
        hold(&out->open, segment->open);
}

static struct feed_piece init_piece(struct track_out *out) {
    const struct track_info *track = &out->open->open.tracks[out->index];
    out->init_sent = true;
    out->init_epoch = out->open->epoch;
    out->init_version = track->init_version;
    return (struct feed_piece){{.kind = FEED_INIT,
                                .length = (uint32_t)track->init->len,
                                .epoch = out->open->epoch,
                                .init_version = track->init_version},
                               {track->init, 0, track->init->len}};
}

static struct feed_piece chunk_piece(const struct record *record) {
    const struct record_chunk *chunk = &record->chunk;
    return (struct feed_piece){{.kind = FEED_CHUNK,
                                .length = (uint32_t)chunk->body.len,
                                .epoch = record->epoch,
                                .msn = chunk->msn,
                                .number = chunk->number,
                                .duration_ts = chunk->duration_ts,
                                .capture_us = chunk->capture_us},
                               chunk->body};
}

/* Whether more of the track may yet come into this segment. */
static bool unfinished(const struct track_out *out, const struct segment *segment) {
    return out->index < out->open->open.track_count && !segment_whole(segment, 1u << out->index);
}

/* The next chunk of the segment, with the init before it when that is another. False: it has no more. */
static bool piece_within(struct track_out *out, const struct segment *segment, struct feed_piece *ret_piece) {
    if (!find_track(out))
        return false;
    if (!out->init_sent || out->init_epoch != out->open->epoch ||
        out->init_version != out->open->open.tracks[out->index].init_version) {
        *ret_piece = init_piece(out);
        return true;
    }
    const struct chunk_list *chunks = &segment->chunks[out->index];
    if (out->number >= chunks->count)
        return false;
    *ret_piece = chunk_piece(chunks->items[out->number++]);
    out->begun = true;
    return true;
}

/* It is made only while somebody asks for it. So there may be nothing of it for any time, which is no loss. */
static bool is_on_demand(const struct track_out *out) {
    const struct record_open *open = out->open ? &out->open->open : NULL;
    return open && out->index < open->track_count && open->tracks[out->index].on_demand;
}

/* Whether this node has the track from a later segment on. If not, it is about to come: somebody asks for it. */
static bool here_later(const struct track_out *out, const struct stream *stream, const struct segment *segment) {
    while ((segment = segment_from(stream, segment->msn + 1)) && (segment->open == out->open || is_on_demand(out))) {
        uint32_t index = track_index(segment->open, out->track);
        if (index < TRACKS_MAX && segment->carried & 1u << index)
            return true;
    }
    return false;
}

enum feed_out_result track_out_next(struct track_out *out, const struct stream *stream, struct feed_piece *ret_piece) {
    if (!begin(out, stream))
        return FEED_OUT_WAIT;
    const struct segment *segment = segment_from(stream, out->msn);
    if (!segment)
        return FEED_OUT_WAIT;
    if (segment->msn != out->msn && segment == oldest(stream) && !is_on_demand(out))
        return FEED_OUT_LOST;
    for (; segment; segment = segment_from(stream, segment->msn + 1)) {
        enter(out, segment);
        if (piece_within(out, segment, ret_piece))
            return FEED_OUT_MORE;
        if (!unfinished(out, segment))
            continue;
        if (segment->carried & 1u << out->index || !here_later(out, stream, segment))
            return FEED_OUT_WAIT;
        if ((out->begun || out->number) && !is_on_demand(out))
            return FEED_OUT_LOST;
    }
    return FEED_OUT_WAIT;
}

/* --- bodies --- */

static struct slice framed(const void *data, size_t len) {
    struct slice slice = blob_create_framed(len, false);
    memcpy(slice.blob->data + slice.off, data, len);
    return slice;
}

static int error_of(enum feed_out_result result) {
    return result == FEED_OUT_LOST ? -ESTALE : -EAGAIN;
}

int timeline_out_slices(struct timeline_out *out, const struct stream *stream, struct slice *slices, int max) {
    struct buf lines;
    (void)max; /* is at least one */
    buf_init(&lines, LINES_RUN + FEED_LINE_MAX);
    enum feed_out_result result = timeline_out_next(out, stream, &lines, LINES_RUN);
    if (result == FEED_OUT_MORE)
        slices[0] = framed(buf_head(&lines), buf_len(&lines));
    buf_finish(&lines);
    return result == FEED_OUT_MORE ? 1 : error_of(result);
}

struct slice timeline_out_beat(void) {
    static const char beat[] = "{\"beat\":{}}\n";
    return framed(beat, sizeof beat - 1);
}

struct slice timeline_out_drain(void) {
    static const char drain[] = "{\"drain\":{}}\n";
    return framed(drain, sizeof drain - 1);
}

struct slice timeline_out_touch(void) {
    static const char touch[] = "{\"touch\":{}}\n";
    return framed(touch, sizeof touch - 1);
}

struct slice timeline_out_take(void) {
    static const char take[] = "{\"take\":{}}\n";
    return framed(take, sizeof take - 1);
}

/* An init segment's blob is no HTTP/1.1 chunk, a chunk's is. */
static struct slice give_box(struct track_out *out, const struct feed_piece *piece) {
    uint8_t box[FEED_BOX_BYTES];
    feed_box_write(box, &piece->box);
    if (piece->box.kind == FEED_INIT) {
        out->owed = framed(piece->body.blob->data, piece->body.len);
    } else {
        out->owed = piece->body;
        blob_ref(out->owed.blob);
    }
    return framed(box, sizeof box);
}

int track_out_slices(struct track_out *out, const struct stream *stream, struct slice *slices, int max) {
    enum feed_out_result result = FEED_OUT_MORE;
    struct feed_piece piece;
    int n = 0;
    while (n < max) {
        if (out->owed.blob) {
            slices[n++] = out->owed;
            out->owed = (struct slice){0};
        } else if ((result = track_out_next(out, stream, &piece)) == FEED_OUT_MORE) {
            slices[n++] = give_box(out, &piece);
        } else {
            break;
        }
    }
    return n ? n : error_of(result);
}
