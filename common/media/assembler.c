#include "common/media/assembler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/media/cmaf.h"

enum {
    WAITING_BYTES_MAX = 32 << 20, /* of chunks whose segment has not begun */
    WAITING_MAX = 16384,          /* of them, and of events, each */
    ASLEEP_SEGMENTS = 3,          /* so many have begun, and nothing came of a track that is made on demand */
};

static const uint32_t done = UINT32_MAX; /* a number that none comes after: see assembler_restart */

/* First in, first out. */
struct queue {
    void *items; /* of `size` bytes each */
    size_t size;
    uint32_t first, count, cap;
};

struct event {
    enum feed_line_kind kind;
    struct record *record; /* NULL: a segment begins */
    uint64_t msn;          /* of the segment */
};

struct held {
    struct record *record; /* a chunk; its `track` is set when it is written */
    uint32_t track_id;
};

struct track_in {
    char name[4];
    enum track_presence presence; /* in the tracks that were written */
    uint64_t joined_msn;          /* joining: the segment that came last, or the one before where it begins */
    struct queue chunks;
    bool begun;
    uint64_t epoch, msn; /* of the chunk that came last */
    uint32_t number;     /* the one that comes next */
    uint32_t written;    /* chunks of the segment under way */
    uint32_t counted;    /* of them, counted by parts */
    uint32_t silent;     /* segments that have begun since the chunk that came last */
};

struct assembler {
    char stream[STREAM_NAME_LEN];
    assembler_write_fn *write;
    void *ctx;
    struct queue events;
    struct track_in tracks[TRACK_NAMES_MAX]; /* also those that the stream has had: their place in its feeds is kept */
    uint32_t track_count;
    bool selects; /* only those in `taken` */
    struct track_names taken;
    size_t bytes;        /* of chunks that wait */
    struct record *open; /* as last told */
    bool open_due;       /* the next one is written whatever it says */
    bool told;           /* a segment was */
    uint64_t epoch, msn; /* the timeline's place: the segment last told */
    uint32_t parts;      /* of it, told */
    /* what was written */
    struct record *written_open;
    uint64_t first_msn, written_msn; /* segments of these tracks; the one under way */
    bool in_segment;
    enum stream_state state;
};

/* --- queues --- */

static void *queue_at(const struct queue *queue, uint32_t i) {
    return (char *)queue->items + (size_t)((queue->first + i) % queue->cap) * queue->size;
}

static void *queue_add(struct queue *queue) {
    if (queue->count == queue->cap) {
        struct queue larger = {.size = queue->size, .count = queue->count, .cap = queue->cap ? 2 * queue->cap : 8};
        larger.items = malloc(larger.cap * larger.size);
        if (!larger.items)
            abort();
        for (uint32_t i = 0; i < queue->count; i++)
            memcpy(queue_at(&larger, i), queue_at(queue, i), queue->size);
        free(queue->items);
        *queue = larger;
    }
    return queue_at(queue, queue->count++);
}

static void queue_pop(struct queue *queue) {
    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
}

/* --- life cycle --- */

struct assembler *assembler_create(const char *stream, assembler_write_fn *write, void *ctx) {
    struct assembler *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    strcpy(a->stream, stream);
    a->write = write;
    a->ctx = ctx;
    a->events.size = sizeof(struct event);
    for (uint32_t i = 0; i < TRACK_NAMES_MAX; i++)
        a->tracks[i].chunks.size = sizeof(struct held);
    return a;
}

static void forget_chunks(struct assembler *a, struct queue *chunks) {
    for (; chunks->count; queue_pop(chunks)) {
        struct record *record = ((struct held *)queue_at(chunks, 0))->record;
        a->bytes -= record->chunk.body.len;
        record_unref(record);
    }
}

static void forget_waiting(struct assembler *a) {
    for (; a->events.count; queue_pop(&a->events))
        record_unref(((struct event *)queue_at(&a->events, 0))->record);
    for (uint32_t i = 0; i < a->track_count; i++)
        forget_chunks(a, &a->tracks[i].chunks);
}

void assembler_destroy(struct assembler *a) {
    if (!a)
        return;
    forget_waiting(a);
    free(a->events.items);
    for (uint32_t i = 0; i < TRACK_NAMES_MAX; i++)
        free(a->tracks[i].chunks.items);
    record_unref(a->open);
    record_unref(a->written_open);
    free(a);
}

/* --- out --- */

static int write_record(struct assembler *a, struct record *record) {
    return a->write(a->ctx, record);
}

/* The place of a track in the tracks that were written; TRACKS_MAX: it isn't one of them. */
static uint32_t index_of(const struct assembler *a, const char *name) {
    uint32_t count = a->written_open ? a->written_open->open.track_count : 0;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(a->written_open->open.tracks[i].name, name))
            return i;
    return TRACKS_MAX;
}

static bool is_late(const struct assembler *a, uint32_t index) {
    return index < TRACKS_MAX && a->written_open->open.late & 1u << index;
}

/* A late track that is made only while somebody asks for it: joins with its first chunk, each time, and is absent again
 * when nothing has come for a while. Who brings it doesn't say. */
static bool is_on_demand(const struct assembler *a, uint32_t index) {
    return is_late(a, index) && a->written_open->open.tracks[index].on_demand;
}

/* <0, 0, >0: the chunk is of an earlier segment than the one under way, of it, of a later one. */
static int place_of(const struct assembler *a, const struct record *chunk) {
    if (!a->written_open)
        return 1;
    if (chunk->epoch != a->written_open->epoch)
        return chunk->epoch < a->written_open->epoch ? -1 : 1;
    if (!a->in_segment || chunk->chunk.msn > a->written_msn)
        return 1;
    return chunk->chunk.msn < a->written_msn ? -1 : 0;
}

static int write_presence(struct assembler *a, struct track_in *track, enum track_presence presence, uint64_t msn) {
    uint32_t index = index_of(a, track->name);
    track->presence = presence;
    if (index == TRACKS_MAX)
        return 0;
    struct record *record = record_create(RECORD_TRACK, a->stream, a->written_open->epoch);
    record->track = (struct record_track){.track = (uint8_t)index, .presence = presence, .msn = msn};
    return write_record(a, record);
}

/* `late`: of an earlier segment than the one under way. */
static int write_chunk(struct assembler *a, struct track_in *track, const struct held *held, uint32_t index,
                       bool late) {
    const struct track_info *info = &a->written_open->open.tracks[index];
    struct record *record = held->record;
    if (held->track_id != info->track_id || (!late && record->chunk.number != track->written)) {
        record_unref(record);
        return -EBADMSG;
    }
    track->written += !late;
    record->chunk.track = (uint8_t)index;
    int rc = write_record(a, record);
    bool caught_up =
        track->presence == TRACK_JOINING && !late && !is_late(a, index) && track->written >= track->counted;
    return !rc && caught_up ? write_presence(a, track, TRACK_HERE, a->written_msn) : rc;
}

/* A source may have the track from a later segment on than was asked for. */
static int go_on_joining(struct assembler *a, struct track_in *track, uint64_t msn) {
    bool skips = track->presence == TRACK_JOINING && msn > track->joined_msn + 1;
    track->joined_msn = msn;
    return skips ? write_presence(a, track, TRACK_JOINING, msn) : 0;
}

/* Of a track that is made on demand, and was not: it is again, if that is a segment's first. False: it is no use. */
static bool wake(struct assembler *a, struct track_in *track, const struct record *record, int *ret_rc) {
    if (track->presence != TRACK_ABSENT || !is_on_demand(a, index_of(a, track->name)))
        return true;
    if (record->epoch != a->written_open->epoch || record->chunk.number || record->chunk.msn < a->first_msn)
        return false;
    track->joined_msn = record->chunk.msn;
    *ret_rc = write_presence(a, track, TRACK_JOINING, record->chunk.msn);
    return !*ret_rc;
}

/* Writes the first that waits, or drops it. False: it has to wait. */
static bool flush_one(struct assembler *a, struct track_in *track, int *ret_rc) {
    if (!track->chunks.count)
        return false;
    struct held held = *(struct held *)queue_at(&track->chunks, 0);
    int place = place_of(a, held.record);
    if (place > 0)
        return false;
    queue_pop(&track->chunks);
    a->bytes -= held.record->chunk.body.len;
    if (!wake(a, track, held.record, ret_rc)) {
        record_unref(held.record);
        return true;
    }
    bool late = place < 0 && track->presence == TRACK_JOINING && held.record->epoch == a->written_open->epoch;
    uint32_t index = place < 0 && !late ? TRACKS_MAX : index_of(a, track->name);
    if (index == TRACKS_MAX) {
        record_unref(held.record);
        return true;
    }
    *ret_rc = go_on_joining(a, track, held.record->chunk.msn);
    if (*ret_rc)
        record_unref(held.record);
    else
        *ret_rc = write_chunk(a, track, &held, index, late);
    return true;
}

static struct track_in *track_find(struct assembler *a, const char *name) {
    for (uint32_t i = 0; i < a->track_count; i++)
        if (!strcmp(a->tracks[i].name, name))
            return &a->tracks[i];
    return NULL;
}

static struct track_in *track_get(struct assembler *a, const char *name) {
    struct track_in *track = track_find(a, name);
    if (track || a->track_count == TRACK_NAMES_MAX)
        return track;
    track = &a->tracks[a->track_count++];
    strncpy(track->name, name, sizeof track->name - 1);
    track->presence = assembler_takes(a, name) ? TRACK_HERE : TRACK_ABSENT;
    return track;
}

static bool part_whole(struct assembler *a, const struct record_part *part) {
    const struct record_open *open = &a->written_open->open;
    for (uint32_t i = 0; i < open->track_count; i++) {
        const struct track_in *track = track_get(a, open->tracks[i].name);
        bool lacks = !track || track->written < track->counted + part->tracks[i].chunks;
        bool waits = !track || track->presence == TRACK_HERE;
        if (part->tracks[i].chunks && lacks && waits)
            return false;
    }
    return true;
}

static void count_part(struct assembler *a, const struct record_part *part) {
    const struct record_open *open = &a->written_open->open;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (part->tracks[i].chunks)
            track_get(a, open->tracks[i].name)->counted += part->tracks[i].chunks;
}

/* With other tracks, those that are taken are here from the beginning. */
static void begin_tracks(struct assembler *a, struct record_open *open) {
    for (uint32_t i = 0; i < open->track_count; i++) {
        const char *name = open->tracks[i].name;
        struct track_in *track = track_get(a, name);
        bool absent = !assembler_takes(a, name) || is_on_demand(a, i);
        if (track) {
            track->presence = absent ? TRACK_ABSENT : open->late & 1u << i ? TRACK_JOINING : TRACK_HERE;
            track->silent = 0;
        }
        if (absent)
            open->absent |= 1u << i;
    }
}

static int begin_segment(struct assembler *a, uint64_t msn) {
    int rc = 0;
    a->first_msn = a->in_segment ? a->first_msn : msn;
    a->written_msn = msn;
    a->in_segment = true;
    for (uint32_t i = 0; i < a->track_count && !rc; i++) {
        struct track_in *track = &a->tracks[i];
        track->written = track->counted = 0;
        track->silent += track->silent < ASLEEP_SEGMENTS;
        if (track->silent == ASLEEP_SEGMENTS && !track->chunks.count && track->presence == TRACK_JOINING &&
            is_on_demand(a, index_of(a, track->name)))
            rc = write_presence(a, track, TRACK_ABSENT, 0);
    }
    return rc;
}

static int write_event(struct assembler *a, const struct event *event) {
    switch (event->kind) {
    case FEED_LINE_SEGMENT:
        return begin_segment(a, event->msn);
    case FEED_LINE_OPEN:
        record_unref(a->written_open);
        a->written_open = record_ref(event->record);
        a->in_segment = false;
        a->state = STREAM_LIVE;
        begin_tracks(a, &event->record->open);
        break;
    case FEED_LINE_PART:
        count_part(a, &event->record->part);
        break;
    default:
        a->state = event->record->state.state;
        break;
    }
    return write_record(a, event->record);
}

static bool next_event(struct assembler *a, int *ret_rc) {
    if (!a->events.count)
        return false;
    struct event event = *(struct event *)queue_at(&a->events, 0);
    if (event.kind == FEED_LINE_PART && !part_whole(a, &event.record->part))
        return false;
    queue_pop(&a->events);
    *ret_rc = write_event(a, &event);
    return true;
}

/* Writes all that need not wait any more. */
static int pump(struct assembler *a) {
    int rc = 0;
    bool more = true;
    while (more && !rc) {
        more = false;
        for (uint32_t i = 0; i < a->track_count && !rc; i++)
            while (!rc && flush_one(a, &a->tracks[i], &rc))
                more = true;
        while (!rc && next_event(a, &rc))
            more = true;
    }
    return rc;
}

/* --- in: the timeline --- */

static int add_event(struct assembler *a, const struct feed_line *line) {
    if (a->events.count >= WAITING_MAX)
        return -ENOBUFS;
    struct event *event = queue_add(&a->events);
    *event = (struct event){line->kind, line->record ? record_ref(line->record) : NULL, line->msn};
    int rc = pump(a);
    return rc ? rc : ASSEMBLER_TAKEN;
}

static int take_open(struct assembler *a, const struct feed_line *line) {
    struct record *record = line->record;
    if (a->open && record->epoch + a->open_due <= a->open->epoch)
        return ASSEMBLER_KNOWN;
    record_unref(a->open);
    a->open = record_ref(record);
    a->open_due = false;
    return add_event(a, line);
}

static int take_segment(struct assembler *a, const struct feed_line *line) {
    if (!a->open || a->open_due || line->epoch > a->open->epoch)
        return -EBADMSG; /* its tracks come first */
    if (line->epoch < a->open->epoch || (a->told && line->epoch == a->epoch && line->msn <= a->msn))
        return ASSEMBLER_KNOWN;
    if (a->told && line->epoch == a->epoch && line->msn != a->msn + 1 && a->parts != done)
        return -ENODATA;
    a->told = true;
    a->epoch = line->epoch;
    a->msn = line->msn;
    a->parts = 0;
    return add_event(a, line);
}

static int take_part(struct assembler *a, const struct feed_line *line) {
    const struct record *record = line->record;
    const struct record_part *part = &record->part;
    if (!a->told)
        return ASSEMBLER_KNOWN;
    if (record->epoch != a->epoch || part->msn != a->msn)
        return record->epoch < a->epoch || (record->epoch == a->epoch && part->msn < a->msn) ? ASSEMBLER_KNOWN
                                                                                             : -ENODATA;
    if (part->index != a->parts)
        return part->index < a->parts ? ASSEMBLER_KNOWN : -ENODATA;
    a->parts++;
    return add_event(a, line);
}

static int take_state(struct assembler *a, const struct feed_line *line) {
    if (!a->open || line->record->epoch != a->open->epoch ||
        (!a->events.count && a->state == line->record->state.state))
        return ASSEMBLER_KNOWN;
    return add_event(a, line);
}

int assembler_line(struct assembler *a, const struct feed_line *line) {
    switch (line->kind) {
    case FEED_LINE_OPEN:
        return take_open(a, line);
    case FEED_LINE_SEGMENT:
        return take_segment(a, line);
    case FEED_LINE_PART:
        return take_part(a, line);
    case FEED_LINE_STATE:
        return take_state(a, line);
    default:
        return ASSEMBLER_KNOWN;
    }
}

/* --- in: chunks --- */

/* TAKEN: it is the next one. */
static int follows(const struct track_in *track, const struct feed_box *box) {
    if (!track->begun)
        return ASSEMBLER_TAKEN;
    if (box->epoch == track->epoch && box->msn == track->msn)
        return box->number == track->number  ? ASSEMBLER_TAKEN
               : box->number < track->number ? ASSEMBLER_KNOWN
                                             : -ENODATA;
    if (box->epoch < track->epoch || (box->epoch == track->epoch && box->msn < track->msn))
        return ASSEMBLER_KNOWN;
    return box->number == 0 ? ASSEMBLER_TAKEN : -ENODATA;
}

static struct record *make_chunk(const struct assembler *a, const struct feed_box *box, struct slice body,
                                 const struct cmaf_chunk *parsed) {
    struct record *record = record_create(RECORD_CHUNK, a->stream, box->epoch);
    record->chunk = (struct record_chunk){.flags = cmaf_chunk_is_sync(parsed) ? CHUNK_INDEPENDENT : 0,
                                          .msn = box->msn,
                                          .number = box->number,
                                          .duration_ts = box->duration_ts,
                                          .dts_ts = parsed->tfdt_ts,
                                          .capture_us = box->capture_us,
                                          .body = body};
    blob_ref(body.blob);
    return record;
}

int assembler_chunk(struct assembler *a, const char *name, const struct feed_box *box, struct slice body) {
    if (!assembler_takes(a, name) || (a->written_open && box->epoch < a->written_open->epoch))
        return ASSEMBLER_KNOWN;
    struct track_in *track = track_get(a, name);
    int rc = track ? follows(track, box) : -ENOBUFS;
    if (rc != ASSEMBLER_TAKEN)
        return rc;
    struct cmaf_chunk parsed;
    if (cmaf_chunk_parse(body.blob->data + body.off, body.len, &parsed))
        return -EBADMSG;
    if (track->chunks.count >= WAITING_MAX || a->bytes + body.len > WAITING_BYTES_MAX)
        return -ENOBUFS;
    struct held *held = queue_add(&track->chunks);
    *held = (struct held){make_chunk(a, box, body, &parsed), parsed.track_id};
    a->bytes += body.len;
    track->begun = true;
    track->epoch = box->epoch;
    track->msn = box->msn;
    track->number = box->number + 1;
    track->silent = 0;
    rc = pump(a);
    return rc ? rc : ASSEMBLER_TAKEN;
}

/* --- which tracks --- */

bool assembler_takes(const struct assembler *a, const char *name) {
    return !a->selects || track_names_have(&a->taken, name);
}

static int leave(struct assembler *a, struct track_in *track) {
    forget_chunks(a, &track->chunks);
    return track->presence == TRACK_ABSENT ? 0 : write_presence(a, track, TRACK_ABSENT, 0);
}

static int join(struct assembler *a, struct track_in *track, assembler_from_fn *from) {
    uint32_t index = index_of(a, track->name);
    bool late = is_late(a, index), on_demand = is_on_demand(a, index);
    if (!a->in_segment)
        return on_demand ? 0 : write_presence(a, track, late ? TRACK_JOINING : TRACK_HERE, 0);
    uint64_t msn = from(a->ctx, track->name);
    msn = msn ? msn : a->written_msn;
    track->begun = true;
    track->joined_msn = msn - 1;
    track->epoch = a->written_open->epoch;
    track->msn = msn;
    track->number = 0;
    track->written = track->silent = 0;
    return on_demand ? 0 : write_presence(a, track, msn > a->written_msn && !late ? TRACK_HERE : TRACK_JOINING, msn);
}

int assembler_take(struct assembler *a, const struct track_names *tracks, assembler_from_fn *from) {
    int rc = 0;
    struct track_names before = a->taken;
    bool all = !a->selects;
    a->selects = true;
    a->taken = *tracks;
    for (uint32_t i = 0; i < a->track_count && !rc; i++) {
        struct track_in *track = &a->tracks[i];
        bool taken = track_names_have(tracks, track->name), was = all || track_names_have(&before, track->name);
        if (!a->written_open)
            track->presence = taken ? TRACK_HERE : TRACK_ABSENT;
        else if (!taken && was)
            rc = leave(a, track);
        else if (taken && !was)
            rc = join(a, track, from);
    }
    return rc ? rc : pump(a);
}

/* --- starting anew, and where it is --- */

void assembler_restart(struct assembler *a) {
    forget_waiting(a);
    a->open_due = true;
    a->told = a->written_open;
    a->epoch = a->written_open ? a->written_open->epoch : 0;
    a->msn = a->written_msn;
    a->parts = done;
    for (uint32_t i = 0; i < a->track_count; i++) {
        a->tracks[i].begun = a->told;
        a->tracks[i].epoch = a->epoch;
        a->tracks[i].msn = a->msn;
        a->tracks[i].number = done;
    }
}

const struct record_open *assembler_tracks(const struct assembler *a) {
    return a->open ? &a->open->open : NULL;
}

bool assembler_segment(const struct assembler *a, uint64_t *ret_epoch, uint64_t *ret_msn) {
    if (!a->told || a->parts == done)
        return false;
    *ret_epoch = a->epoch;
    *ret_msn = a->msn;
    return true;
}

bool assembler_sleeps(const struct assembler *a, const char *name) {
    const struct track_in *track = track_find((struct assembler *)a, name);
    return track && track->presence == TRACK_ABSENT && assembler_takes(a, name) && is_on_demand(a, index_of(a, name));
}

bool assembler_next(const struct assembler *a, const char *name, uint64_t *ret_msn, uint32_t *ret_number) {
    const struct track_in *track = track_find((struct assembler *)a, name);
    if (a->in_segment && assembler_sleeps(a, name) && track->silent == ASLEEP_SEGMENTS) {
        *ret_msn = a->written_msn; /* where it was has left windows, or is about to */
        *ret_number = 0;
        return true;
    }
    if (!track || !track->begun || track->number == done)
        return false;
    if (a->written_open && track->epoch < a->written_open->epoch)
        return false; /* that writer's are void */
    *ret_msn = track->msn;
    *ret_number = track->number;
    return true;
}

bool assembler_waits(const struct assembler *a) {
    return a->events.count > 0;
}
