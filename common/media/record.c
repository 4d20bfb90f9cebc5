#include "common/media/record.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

size_t record_size(enum record_type type) {
    static const size_t payload[] = {
        [RECORD_OPEN] = sizeof(struct record_open), [RECORD_CHUNK] = sizeof(struct record_chunk),
        [RECORD_PART] = sizeof(struct record_part), [RECORD_STATE] = sizeof(enum stream_state),
        [RECORD_PATH] = sizeof(struct record_path), [RECORD_TRACK] = sizeof(struct record_track)};
    return offsetof(struct record, open) + payload[type];
}

struct record *record_create(enum record_type type, const char *stream, uint64_t epoch) {
    size_t size = record_size(type), name_size = strlen(stream) + 1;
    struct record *record = calloc(1, size + name_size);
    if (!record)
        abort();
    atomic_init(&record->refs, 1);
    record->type = type;
    record->epoch = epoch;
    record->stream = memcpy((char *)record + size, stream, name_size);
    return record;
}

struct record *record_ref(struct record *record) {
    atomic_fetch_add_explicit(&record->refs, 1, memory_order_relaxed);
    return record;
}

void record_unref(struct record *record) {
    if (!record || atomic_fetch_sub_explicit(&record->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (record->type == RECORD_CHUNK)
        blob_unref(record->chunk.body.blob);
    if (record->type == RECORD_OPEN)
        for (uint32_t i = 0; i < record->open.track_count; i++)
            blob_unref(record->open.tracks[i].init);
    free(record);
}

const char *video_range_name(enum video_range range) {
    static const char *const names[] = {"SDR", "HLG", "PQ"};
    return names[range];
}

const char *stream_state_name(enum stream_state state) {
    static const char *const names[] = {"live", "stalled", "away", "ended"};
    return names[state];
}
