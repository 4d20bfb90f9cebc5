#include "common/media/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/map.h"

struct store {
    struct store_settings settings;
    struct map *streams;
    struct list dirty; /* streams that changed since store_wake */
    struct list fresh; /* streams whose readers are to be woken */
    size_t bytes;
};

/* --- life cycle --- */

struct store *store_create(const struct store_settings *settings) {
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        abort();
    store->settings = *settings;
    store->streams = map_create();
    list_init(&store->dirty);
    list_init(&store->fresh);
    return store;
}

static void remove_one(void *ctx, const char *key, void *value) {
    (void)key;
    store_remove(ctx, value);
}

void store_destroy(struct store *store) {
    if (!store)
        return;
    map_each(store->streams, remove_one, store);
    map_destroy(store->streams);
    free(store);
}

static struct stream *stream_create(struct store *store, const char *name, int64_t now_us) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        abort();
    strcpy(stream->name, name);
    stream->created_us = stream->changed_us = now_us;
    list_init(&stream->waiters);
    list_init(&stream->dirty_link);
    list_init(&stream->readers);
    list_init(&stream->due);
    list_init(&stream->fresh_link);
    map_set(store->streams, name, stream);
    return stream;
}

static void segment_destroy(struct segment *segment) {
    for (uint32_t i = 0; i < segment->part_count; i++)
        record_unref(segment->parts[i].record);
    free(segment->parts);
    for (uint32_t t = 0; t < TRACKS_MAX; t++) {
        for (uint32_t i = 0; i < segment->chunks[t].count; i++)
            record_unref(segment->chunks[t].items[i]);
        free(segment->chunks[t].items);
    }
    record_unref(segment->open);
    free(segment);
}

static void stream_empty(struct store *store, struct stream *stream) {
    for (uint32_t i = 0; i < stream->segment_count; i++)
        segment_destroy(stream->segments[i]);
    free(stream->segments);
    store->bytes -= stream->bytes;
    record_unref(stream->open);
    record_unref(stream->path);
    if (stream->cache && store->settings.cache_free)
        store->settings.cache_free(stream->cache);
}

void store_clear(struct store *store, struct stream *stream) {
    stream_empty(store, stream);
    stream->segments = NULL;
    stream->open = stream->path = NULL;
    stream->cache = NULL;
    stream->state = STREAM_LIVE;
    stream->here = stream->joining = 0;
    stream->epoch = stream->next_part = stream->bytes = 0;
    stream->segment_count = stream->segment_cap = stream->first_listed = stream->init_versions = 0;
}

static void readers_lose(struct stream *stream) {
    list_append_all(&stream->due, &stream->readers);
    while (!list_empty(&stream->due)) {
        struct reader *reader = list_entry(stream->due.next, struct reader, link);
        list_remove(&reader->link);
        reader->stream = NULL;
        reader->fn(reader);
    }
}

void store_remove(struct store *store, struct stream *stream) {
    stream->state = STREAM_ENDED;
    list_each(it, &stream->waiters) {
        struct waiter *waiter = list_entry(it, struct waiter, link);
        list_remove(&waiter->link);
        waiter->fn(waiter, stream, false);
    }
    readers_lose(stream);
    list_remove(&stream->dirty_link);
    list_remove(&stream->fresh_link);
    map_remove(store->streams, stream->name);
    stream_empty(store, stream);
    free(stream);
}

struct stream *store_find(const struct store *store, const char *name) {
    return map_get(store->streams, name);
}

size_t store_bytes(const struct store *store) {
    return store->bytes;
}

uint32_t store_count(const struct store *store) {
    return (uint32_t)map_count(store->streams);
}

const struct store_settings *store_limits(const struct store *store) {
    return &store->settings;
}

struct each_call {
    void (*fn)(void *ctx, struct stream *stream);
    void *ctx;
};

static void each_one(void *ctx, const char *key, void *value) {
    struct each_call *call = ctx;
    (void)key;
    call->fn(call->ctx, value);
}

void store_each(struct store *store, void (*fn)(void *ctx, struct stream *stream), void *ctx) {
    struct each_call call = {fn, ctx};
    map_each(store->streams, each_one, &call);
}

/* --- the window --- */

static int64_t segment_duration_us(const struct segment *segment) {
    const struct record_open *open = &segment->open->open;
    uint32_t lead = variant_lead(open, ~0u);
    return (int64_t)(segment->duration_ts[lead] * 1000000 / open->tracks[lead].timescale);
}

static struct segment *newest(const struct stream *stream) {
    return stream->segment_count ? stream->segments[stream->segment_count - 1] : NULL;
}

/* Takes segments off the playlist's front while what stays is still a whole window. */
static void window_advance(const struct store *store, struct stream *stream, int64_t now_us) {
    int64_t total = 0;
    for (uint32_t i = stream->first_listed; i < stream->segment_count; i++)
        total += segment_duration_us(stream->segments[i]);
    while (stream->first_listed + 1 < stream->segment_count) {
        struct segment *first = stream->segments[stream->first_listed];
        total -= segment_duration_us(first);
        if (total < store->settings.window_us)
            break;
        first->removed_us = now_us;
        stream->first_listed++;
    }
}

/* Frees the oldest `count` segments, which are not listed. */
static void segments_free(struct store *store, struct stream *stream, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        stream->bytes -= stream->segments[i]->bytes;
        store->bytes -= stream->segments[i]->bytes;
        segment_destroy(stream->segments[i]);
    }
    stream->segment_count -= count;
    stream->first_listed -= count;
    memmove(stream->segments, stream->segments + count, stream->segment_count * sizeof *stream->segments);
}

/* A removed segment stays for its own duration and that of the longest playlist it was in (RFC 8216bis §6.2.2). */
static void retention_expire(struct store *store, struct stream *stream, int64_t now_us) {
    uint32_t n = 0;
    while (n < stream->first_listed) {
        const struct segment *segment = stream->segments[n];
        int64_t keep_us = 2 * segment_duration_us(segment) + store->settings.window_us;
        if (now_us - segment->removed_us < keep_us)
            break;
        n++;
    }
    if (n)
        segments_free(store, stream, n);
}

struct expire_call {
    struct store *store;
    int64_t now_us;
};

static void expire_one(void *ctx, struct stream *stream) {
    struct expire_call *call = ctx;
    retention_expire(call->store, stream, call->now_us);
    if (stream->state == STREAM_ENDED && call->now_us - stream->changed_us > 2 * call->store->settings.window_us)
        store_remove(call->store, stream);
}

void store_expire(struct store *store, int64_t now_us) {
    struct expire_call call = {store, now_us};
    store_each(store, expire_one, &call);
}

/* --- applying records --- */

static void stream_changed(struct store *store, struct stream *stream, int64_t now_us) {
    stream->version++;
    stream->changed_us = now_us;
    if (list_empty(&stream->dirty_link))
        list_append(&store->dirty, &stream->dirty_link);
}

/* Readers have something to read, or an end to see. */
static void readers_due(struct store *store, struct stream *stream) {
    stream->fresh = true;
    if (list_empty(&stream->fresh_link))
        list_append(&store->fresh, &stream->fresh_link);
}

/* Memory that a chunk keeps: its bytes, and what it takes to keep them. Limits and figures are about this. */
static size_t chunk_bytes(const struct record *record) {
    enum { MALLOC_HEADERS = 2 * 16 };
    return record->chunk.body.blob->len + sizeof(struct blob) + record_size(RECORD_CHUNK) + sizeof(struct record *) +
           MALLOC_HEADERS;
}

/* Whether there is one more part of which all is here of that track. */
static bool track_advance(struct segment *segment, uint32_t track) {
    uint32_t before = segment->whole[track];
    for (; segment->whole[track] < segment->part_count; segment->whole[track]++) {
        const struct part *part = &segment->parts[segment->whole[track]];
        if (part->first_chunk[track] + part->record->part.tracks[track].chunks > segment->chunks[track].count)
            break;
    }
    return segment->whole[track] > before;
}

static void chunks_drop(struct store *store, struct stream *stream, struct segment *segment, uint32_t track) {
    struct chunk_list *list = &segment->chunks[track];
    for (; list->count; list->count--) {
        struct record *record = list->items[list->count - 1];
        size_t bytes = chunk_bytes(record);
        segment->bytes -= bytes;
        stream->bytes -= bytes;
        store->bytes -= bytes;
        record_unref(record);
    }
    segment->whole[track] = 0;
    track_advance(segment, track); /* parts in which there is nothing of it */
}

/* What was not whole of a track that is left, or behind when its time is over, won't be. */
static void track_forget(struct store *store, struct stream *stream, uint32_t track) {
    for (uint32_t i = stream->segment_count; i > 0 && stream->segments[i - 1]->open == stream->open; i--) {
        struct segment *segment = stream->segments[i - 1];
        if (segment_whole(segment, 1u << track))
            continue;
        segment->carried &= ~(1u << track);
        chunks_drop(store, stream, segment, track);
    }
}

static int apply_open(struct store *store, struct stream *stream, struct record *record, int64_t now_us) {
    const struct record_open *open = &record->open;
    if (open->track_count < 1 || open->track_count > TRACKS_MAX || !open->target_duration_ms || !open->part_target_us)
        return -EINVAL;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (!open->tracks[i].timescale || !open->tracks[i].init)
            return -EINVAL;
    if (stream && stream->open &&
        (stream->open->open.target_duration_ms != open->target_duration_ms ||
         stream->open->open.part_target_us != open->part_target_us) &&
        stream->state != STREAM_ENDED)
        return -EINVAL;
    if (!stream) {
        if (store->settings.streams_max && store_count(store) >= store->settings.streams_max)
            return -ENOSPC;
        stream = stream_create(store, record->stream, now_us);
    }
    if (stream->state == STREAM_ENDED && stream->open && record->epoch > stream->epoch) {
        /* A new broadcast under an old name: what was listed before is over. */
        stream->first_listed = stream->segment_count;
        for (uint32_t i = 0; i < stream->segment_count; i++) {
            stream->segments[i]->previous = true;
            if (!stream->segments[i]->removed_us)
                stream->segments[i]->removed_us = now_us;
        }
        stream->created_us = now_us;
    }
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        if (stream->joining & 1u << t)
            track_forget(store, stream, t);
    record_unref(stream->open);
    stream->open = record_ref(record);
    uint32_t had = ((1u << open->track_count) - 1) & ~open->absent;
    stream->here = had & ~open->late;
    stream->joining = had & open->late;
    stream->asked = 0;
    stream->epoch = record->epoch;
    stream->state = STREAM_LIVE;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (open->tracks[i].init_version > stream->init_versions)
            stream->init_versions = open->tracks[i].init_version;
    readers_due(store, stream);
    stream_changed(store, stream, now_us);
    return 0;
}

static void *grow(void *items, uint32_t *cap, uint32_t count, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? *cap * 2 : 8;
    items = realloc(items, *cap * size);
    if (!items)
        abort();
    return items;
}

static struct segment *segment_append(struct stream *stream, uint64_t msn) {
    struct segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        abort();
    segment->msn = msn;
    segment->open = record_ref(stream->open);
    segment->carried = stream->here | stream->joining;
    stream->segments = grow(stream->segments, &stream->segment_cap, stream->segment_count, sizeof *stream->segments);
    stream->segments[stream->segment_count++] = segment;
    return segment;
}

/* What a lost writer left of a segment without finishing any part of it was never seen: its number is used again. */
static void drop_unseen(struct store *store, struct stream *stream) {
    struct segment *last = newest(stream);
    if (!last || last->published || last->open == stream->open)
        return;
    stream->bytes -= last->bytes;
    store->bytes -= last->bytes;
    stream->segment_count--;
    if (stream->first_listed > stream->segment_count)
        stream->first_listed = stream->segment_count;
    segment_destroy(last);
}

static void segment_complete(struct store *store, struct stream *stream, struct segment *segment, int64_t now_us) {
    segment->complete = true;
    window_advance(store, stream, now_us);
    retention_expire(store, stream, now_us);
    stream_changed(store, stream, now_us);
}

/* Numbers before the newest segment are missing: what comes before them can't be listed together with it. */
static void window_restart(struct store *store, struct stream *stream, int64_t now_us) {
    while (stream->first_listed + 1 < stream->segment_count)
        stream->segments[stream->first_listed++]->removed_us = now_us;
    stream_changed(store, stream, now_us);
}

/* The segment that a record of this msn belongs to: the newest, or a new one, which completes the one before: whether a
 * segment ends shows, as a rule, only with the first frame after it. */
static struct segment *segment_for(struct store *store, struct stream *stream, uint64_t msn, int64_t now_us) {
    drop_unseen(store, stream);
    struct segment *last = newest(stream);
    if (last && last->msn == msn)
        return last->complete || last->open != stream->open ? NULL : last;
    if (last && (msn < last->msn || (msn > last->msn + 1 && last->open == stream->open)))
        return NULL;
    if (last && last->open == stream->open && !last->complete &&
        (!last->part_count || last->published < last->part_count))
        return NULL;
    struct segment *segment = segment_append(stream, msn);
    if (last && msn > last->msn + 1)
        window_restart(store, stream, now_us);
    if (last && !last->complete)
        segment_complete(store, stream, last, now_us);
    return segment;
}

static uint32_t first_unassigned(const struct segment *segment, uint32_t track) {
    if (!segment->part_count)
        return 0;
    const struct part *part = &segment->parts[segment->part_count - 1];
    return part->first_chunk[track] + part->record->part.tracks[track].chunks;
}

static bool next_part_whole(const struct stream *stream, const struct segment *segment) {
    for (uint32_t t = 0; t < segment->open->open.track_count; t++)
        if (stream->here & 1u << t && segment->whole[t] <= segment->published)
            return false;
    return true;
}

/* Publishes parts in order, as far as their chunks are here. */
static void publish_parts(struct store *store, struct stream *stream, struct segment *segment, int64_t now_us) {
    while (segment->published < segment->part_count && next_part_whole(stream, segment)) {
        const struct record_part *part = &segment->parts[segment->published++].record->part;
        for (uint32_t t = 0; t < segment->open->open.track_count; t++)
            segment->duration_ts[t] += part->tracks[t].duration_ts;
        stream->next_part = part->number + 1;
        readers_due(store, stream); /* timelines */
        stream_changed(store, stream, now_us);
        if (part->flags & PART_LAST)
            segment_complete(store, stream, segment, now_us);
    }
}

static bool over(size_t bytes, size_t max) {
    return max && bytes > max;
}

/* Chunks of a track that is behind may be of any segment. */
static struct segment *segment_for_chunk(struct store *store, struct stream *stream, const struct record_chunk *chunk,
                                         int64_t now_us) {
    struct segment *segment = NULL;
    if (stream->joining & 1u << chunk->track)
        segment = stream_segment(stream, chunk->msn);
    if (segment && segment->complete && chunk->number >= first_unassigned(segment, chunk->track))
        return NULL;
    if (!segment || segment->open != stream->open)
        segment = segment_for(store, stream, chunk->msn, now_us);
    return segment && segment->carried & 1u << chunk->track ? segment : NULL;
}

static int apply_chunk(struct store *store, struct stream *stream, struct record *record, int64_t now_us) {
    const struct record_chunk *chunk = &record->chunk;
    if (chunk->track >= stream->open->open.track_count)
        return -EINVAL;
    struct segment *segment = segment_for_chunk(store, stream, chunk, now_us);
    if (!segment)
        return -EINVAL;
    struct chunk_list *list = &segment->chunks[chunk->track];
    if (chunk->number != list->count)
        return -EINVAL;
    size_t bytes = chunk_bytes(record);
    if (list->count >= SEGMENT_CHUNKS_MAX || over(stream->bytes + bytes, store->settings.stream_bytes_max))
        return -ENOSPC;
    if (over(store->bytes + bytes, store->settings.bytes_max))
        return -ENOMEM;
    list->items = grow(list->items, &list->cap, list->count, sizeof *list->items);
    list->items[list->count++] = record_ref(record);
    segment->bytes += bytes;
    stream->bytes += bytes;
    store->bytes += bytes;
    readers_due(store, stream);
    if (track_advance(segment, chunk->track) && stream->joining & 1u << chunk->track)
        stream_changed(store, stream, now_us);
    publish_parts(store, stream, segment, now_us);
    return 0;
}

static int apply_part(struct store *store, struct stream *stream, struct record *record, int64_t now_us) {
    const struct record_part *part = &record->part;
    struct segment *segment = segment_for(store, stream, part->msn, now_us);
    if (!segment || part->index != segment->part_count)
        return -EINVAL;
    if (segment->part_count >= SEGMENT_PARTS_MAX)
        return -ENOSPC;
    const struct segment *before = segment;
    if (!segment->part_count && stream->segment_count > 1)
        before = stream->segments[stream->segment_count - 2];
    if (before->part_count && part->number <= before->parts[before->part_count - 1].record->part.number)
        return -EINVAL;
    if (!part->index) {
        segment->discontinuity = part->flags & PART_DISCONTINUITY;
        segment->discontinuity_sequence = part->discontinuity_sequence;
        segment->wall_us = part->wall_us;
        segment->start_us = part->start_us;
    }
    struct part added = {.record = record_ref(record)};
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        added.first_chunk[t] = first_unassigned(segment, t);
    segment->parts = grow(segment->parts, &segment->part_cap, segment->part_count, sizeof *segment->parts);
    segment->parts[segment->part_count++] = added;
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        track_advance(segment, t);
    publish_parts(store, stream, segment, now_us);
    return 0;
}

static void apply_state(struct store *store, struct stream *stream, enum stream_state state, int64_t now_us) {
    stream->state = state;
    if (state == STREAM_ENDED) {
        struct segment *last = newest(stream);
        if (last)
            last->complete = true;
    }
    readers_due(store, stream);
    stream_changed(store, stream, now_us);
}

/* From that segment on its chunks come, from the first. */
static void track_join(struct store *store, struct stream *stream, uint32_t track, uint64_t msn) {
    for (uint32_t i = stream->segment_count; i > 0 && stream->segments[i - 1]->open == stream->open; i--) {
        struct segment *segment = stream->segments[i - 1];
        if (segment->msn < msn)
            return;
        segment->carried |= 1u << track;
        chunks_drop(store, stream, segment, track);
    }
}

static int apply_track(struct store *store, struct stream *stream, const struct record_track *track, int64_t now_us) {
    if (track->track >= stream->open->open.track_count)
        return -EINVAL;
    uint32_t bit = 1u << track->track;
    stream->here &= ~bit;
    stream->joining &= ~bit;
    if (track->presence != TRACK_HERE)
        track_forget(store, stream, track->track);
    if (track->presence == TRACK_JOINING)
        track_join(store, stream, track->track, track->msn);
    bool waited_for = track->presence == TRACK_HERE && !(stream->open->open.late & bit);
    stream->here |= waited_for ? bit : 0;
    stream->joining |= track->presence != TRACK_ABSENT && !waited_for ? bit : 0;
    struct segment *last = newest(stream);
    if (last && last->open == stream->open)
        publish_parts(store, stream, last, now_us);
    readers_due(store, stream);
    stream_changed(store, stream, now_us);
    return 0;
}

static int apply_path(struct store *store, struct stream *stream, struct record *record) {
    if (record->path.count > PATH_NODES_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < record->path.count; i++)
        if (!memchr(record->path.nodes[i], '\0', NODE_NAME_LEN))
            return -EINVAL;
    record_unref(stream->path);
    stream->path = record_ref(record);
    readers_due(store, stream);
    return 0;
}

int store_apply(struct store *store, struct record *record, int64_t now_us) {
    struct stream *stream = store_find(store, record->stream);
    if (stream && record->epoch < stream->epoch)
        return -ESTALE;
    if (record->type == RECORD_OPEN)
        return apply_open(store, stream, record, now_us);
    if (!stream || !stream->open)
        return -ENOENT;
    if (record->epoch != stream->epoch)
        return -EINVAL;
    switch (record->type) {
    case RECORD_CHUNK:
        return apply_chunk(store, stream, record, now_us);
    case RECORD_PART:
        return apply_part(store, stream, record, now_us);
    case RECORD_PATH:
        return apply_path(store, stream, record);
    case RECORD_TRACK:
        return apply_track(store, stream, &record->track, now_us);
    default:
        apply_state(store, stream, record->state.state, now_us);
        return 0;
    }
}

/* --- reading --- */

uint32_t segment_parts(const struct segment *segment, uint32_t mask) {
    uint32_t parts = mask & ~segment->carried ? 0 : segment->published;
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        if (mask & 1u << t && segment->whole[t] < parts)
            parts = segment->whole[t];
    return parts;
}

bool segment_whole(const struct segment *segment, uint32_t mask) {
    return segment->complete && !(mask & ~segment->carried) && segment_parts(segment, mask) == segment->published;
}

static uint32_t parts_of(const struct stream *stream, const struct segment *segment, uint32_t mask) {
    return segment_parts(segment, variant_within(&segment->open->open, &stream->open->open, mask));
}

struct segment *stream_last_segment(const struct stream *stream, uint32_t mask) {
    for (uint32_t i = stream->segment_count; i > stream->first_listed; i--)
        if (parts_of(stream, stream->segments[i - 1], mask))
            return stream->segments[i - 1];
    return NULL;
}

struct segment *stream_segment(const struct stream *stream, uint64_t msn) {
    for (uint32_t i = stream->segment_count; i > 0; i--)
        if (stream->segments[i - 1]->msn == msn)
            return stream->segments[i - 1];
    return NULL;
}

struct part *stream_part(const struct stream *stream, uint64_t number, struct segment **ret_segment) {
    for (uint32_t i = stream->segment_count; i > 0; i--) {
        struct segment *segment = stream->segments[i - 1];
        if (!segment->published || number < segment->parts[0].record->part.number)
            continue;
        uint64_t index = number - segment->parts[0].record->part.number; /* consecutive within a segment */
        if (index >= segment->published)
            return NULL;
        *ret_segment = segment;
        return &segment->parts[index];
    }
    return NULL;
}

bool stream_has_part(const struct stream *stream, uint32_t mask, uint64_t msn, uint32_t index) {
    const struct segment *last = stream_last_segment(stream, mask);
    return last && (msn < last->msn || (msn == last->msn && index < parts_of(stream, last, mask)));
}

uint64_t stream_next_part(const struct stream *stream, uint32_t mask) {
    const struct segment *last = mask ? stream_last_segment(stream, mask) : NULL;
    if (!mask)
        return stream->next_part;
    return last ? last->parts[parts_of(stream, last, mask) - 1].record->part.number + 1 : 0;
}

/* Chunks before parts: a part that is the segment's last closes it to chunks that no part counts. */
static void replay_segment(const struct segment *segment, void (*fn)(void *ctx, struct record *record), void *ctx) {
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        for (uint32_t i = 0; i < segment->chunks[t].count; i++)
            fn(ctx, segment->chunks[t].items[i]);
    for (uint32_t p = 0; p < segment->part_count; p++)
        fn(ctx, segment->parts[p].record);
}

static void replay_end(const struct record *open, void (*fn)(void *ctx, struct record *record), void *ctx) {
    struct record *record = record_create(RECORD_STATE, open->stream, open->epoch);
    record->state.state = STREAM_ENDED;
    fn(ctx, record);
    record_unref(record);
}

/* The nodes are the same when the writer is another one. */
static void replay_path(const struct stream *stream, void (*fn)(void *ctx, struct record *record), void *ctx) {
    if (!stream->path)
        return;
    struct record *record = record_create(RECORD_PATH, stream->name, stream->epoch);
    record->path = stream->path->path;
    fn(ctx, record);
    record_unref(record);
}

/* Which tracks are here while a stream is replayed. */
struct presences {
    enum track_presence items[TRACKS_MAX];
};

static void presences_begin(struct presences *presences, const struct record_open *open) {
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        presences->items[t] = open->absent & 1u << t ? TRACK_ABSENT : open->late & 1u << t ? TRACK_JOINING : TRACK_HERE;
}

/* As masks over `open`'s tracks; what it is that already is not told. */
static void replay_presences(struct presences *presences, const struct record *open, uint32_t here, uint32_t joining,
                             uint64_t msn, void (*fn)(void *ctx, struct record *record), void *ctx) {
    for (uint32_t t = 0; t < open->open.track_count; t++) {
        enum track_presence presence = here & 1u << t ? TRACK_HERE : joining & 1u << t ? TRACK_JOINING : TRACK_ABSENT;
        if (presence == presences->items[t])
            continue;
        struct record *record = record_create(RECORD_TRACK, open->stream, open->epoch);
        record->track = (struct record_track){.track = (uint8_t)t, .presence = presence, .msn = msn};
        presences->items[t] = presence;
        fn(ctx, record);
        record_unref(record);
    }
}

/* Of tracks that are here now, all is here that parts counted since they are. In earlier ones parts don't wait for
 * anything. */
static void replay_segment_presences(struct presences *presences, const struct stream *stream,
                                     const struct segment *segment, void (*fn)(void *ctx, struct record *record),
                                     void *ctx) {
    bool all = segment->carried == (1u << segment->open->open.track_count) - 1 && !segment->open->open.absent;
    uint32_t here = segment->open == stream->open ? stream->here & segment->carried : all ? segment->carried : 0;
    replay_presences(presences, segment->open, here & ~segment->open->open.late, segment->carried, segment->msn, fn,
                     ctx);
}

void stream_replay(const struct stream *stream, void (*fn)(void *ctx, struct record *record), void *ctx) {
    struct record *open = NULL;
    struct presences presences;
    bool previous = false; /* what was replayed so far is of an ended broadcast */
    for (uint32_t i = 0; i <= stream->segment_count; i++) {
        const struct segment *segment = i < stream->segment_count ? stream->segments[i] : NULL;
        struct record *next = segment ? segment->open : stream->open;
        if (previous && next->epoch != open->epoch)
            replay_end(open, fn, ctx);
        if (next != open) {
            fn(ctx, next);
            presences_begin(&presences, &next->open);
        }
        if (next != open && next == stream->open)
            replay_path(stream, fn, ctx);
        open = next;
        if (!segment)
            break;
        previous = segment->previous;
        replay_segment_presences(&presences, stream, segment, fn, ctx);
        replay_segment(segment, fn, ctx);
    }
    const struct segment *last = newest(stream);
    replay_presences(&presences, stream->open, stream->here, stream->joining, last ? last->msn + 1 : 0, fn, ctx);
}

/* --- variants --- */

static uint32_t text_mask(const struct record_open *open, uint32_t mask) {
    uint32_t text = 0;
    for (uint32_t i = 0; i < open->track_count; i++)
        text |= open->tracks[i].kind == TRACK_TEXT ? mask & 1u << i : 0;
    return text;
}

uint32_t variant_parse(const struct record_open *open, const char *name, size_t len) {
    uint32_t mask = 0;
    size_t pos = 0;
    for (uint32_t i = 0; i < open->track_count && pos < len; i++) {
        size_t n = strlen(open->tracks[i].name);
        if (n <= len - pos && !memcmp(name + pos, open->tracks[i].name, n)) {
            mask |= 1u << i;
            pos += n;
        }
    }
    return pos == len && (!text_mask(open, mask) || !(mask & (mask - 1))) ? mask : 0;
}

uint32_t variant_within(const struct record_open *open, const struct record_open *now, uint32_t mask) {
    if (open == now || !mask)
        return mask;
    uint32_t found = 0;
    for (uint32_t i = 0; i < now->track_count; i++)
        for (uint32_t k = 0; mask & 1u << i && k < open->track_count; k++)
            if (!strcmp(open->tracks[k].name, now->tracks[i].name))
                found |= 1u << k;
    return found ? found : text_mask(now, mask) ? VARIANT_NOWHERE : 1u;
}

uint32_t variant_find(const struct record_open *open, const struct record_open *now, const char *name) {
    uint32_t mask = variant_parse(now, name, strlen(name));
    return mask ? variant_within(open, now, mask) : variant_parse(open, name, strlen(name));
}

char *variant_name(char out[4 * TRACKS_MAX + 1], const struct record_open *open, uint32_t mask) {
    out[0] = 0;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (mask & 1u << i)
            strcat(out, open->tracks[i].name);
    return out;
}

uint32_t variant_lead(const struct record_open *open, uint32_t mask) {
    uint32_t lead = open->track_count;
    for (uint32_t i = 0; i < open->track_count; i++) {
        if (!(mask & 1u << i))
            continue;
        if (open->tracks[i].kind == TRACK_VIDEO)
            return i;
        if (lead == open->track_count)
            lead = i;
    }
    return lead;
}

/* --- waiting --- */

void stream_wait(struct stream *stream, struct waiter *waiter) {
    list_append(&stream->waiters, &waiter->link);
}

void waiter_cancel(struct waiter *waiter) {
    list_remove(&waiter->link);
}

bool waiter_ready(const struct waiter *waiter, const struct stream *stream) {
    if (stream->state == STREAM_ENDED)
        return true;
    if (stream->open && waiter->mask >> stream->open->open.track_count)
        return true; /* there are other tracks now */
    if (waiter->what == WAIT_PART)
        return waiter->number < stream_next_part(stream, waiter->mask);
    return stream_has_part(stream, waiter->mask, waiter->number, waiter->index);
}

/* Behind the others: one crowd starves nobody. It may be in the list again, when one of those who were woken wrote. */
static void queue_again(struct list *queue, struct list *link) {
    list_remove(link);
    list_append(queue, link);
}

static bool wake_waiters_of(struct stream *stream, uint32_t *max) {
    list_each(it, &stream->waiters) {
        struct waiter *waiter = list_entry(it, struct waiter, link);
        if (!waiter_ready(waiter, stream))
            continue;
        if (!*max)
            return true;
        (*max)--;
        list_remove(&waiter->link);
        waiter->fn(waiter, stream, false);
    }
    return false;
}

static bool wake_waiters(struct store *store, uint32_t max) {
    while (!list_empty(&store->dirty)) {
        struct stream *stream = list_entry(store->dirty.next, struct stream, dirty_link);
        list_remove(&stream->dirty_link);
        if (wake_waiters_of(stream, &max)) {
            queue_again(&store->dirty, &stream->dirty_link);
            return true;
        }
    }
    return false;
}

/* --- reading along --- */

void stream_read(struct stream *stream, struct reader *reader) {
    reader->stream = stream;
    list_append(&stream->readers, &reader->link);
}

void reader_cancel(struct reader *reader) {
    list_remove(&reader->link);
}

bool stream_wanted(const struct stream *stream) {
    return !list_empty(&stream->waiters) || !list_empty(&stream->readers) || !list_empty(&stream->due);
}

static void round_begin(struct stream *stream) {
    enum { ROTATION = 64 };
    stream->fresh = false;
    list_append_all(&stream->due, &stream->readers);
    for (int i = 0; i < ROTATION && !list_empty(&stream->due); i++) {
        struct list *first = stream->due.next;
        list_remove(first);
        list_append(&stream->due, first);
    }
}

static void wake_readers_of(struct stream *stream, uint32_t *max) {
    if (list_empty(&stream->due) && stream->fresh)
        round_begin(stream);
    for (; *max && !list_empty(&stream->due); --*max) {
        struct reader *reader = list_entry(stream->due.next, struct reader, link);
        list_remove(&reader->link);
        list_append(&stream->readers, &reader->link);
        reader->fn(reader);
    }
}

static bool wake_readers(struct store *store, uint32_t max) {
    while (max && !list_empty(&store->fresh)) {
        struct stream *stream = list_entry(store->fresh.next, struct stream, fresh_link);
        list_remove(&stream->fresh_link);
        wake_readers_of(stream, &max);
        if (stream->fresh || !list_empty(&stream->due))
            queue_again(&store->fresh, &stream->fresh_link);
    }
    return !list_empty(&store->fresh);
}

bool store_wake(struct store *store, uint32_t max) {
    bool readers = wake_readers(store, max);
    return wake_waiters(store, max) || readers;
}

/* --- deadlines --- */

struct time_out_call {
    int64_t now_us;
};

static void time_out_one(void *ctx, struct stream *stream) {
    const struct time_out_call *call = ctx;
    list_each(it, &stream->waiters) {
        struct waiter *waiter = list_entry(it, struct waiter, link);
        if (waiter->deadline_us > call->now_us)
            return;
        list_remove(&waiter->link);
        waiter->fn(waiter, stream, true);
    }
}

void store_time_out(struct store *store, int64_t now_us) {
    struct time_out_call call = {now_us};
    store_each(store, time_out_one, &call);
}
