#include "common/media/record.h"

#include <stdlib.h>
#include <string.h>

struct record *record_create(enum record_type type, const char *stream, uint64_t epoch) {
    struct record *record = calloc(1, sizeof *record);
    if (!record)
        abort();
    atomic_init(&record->refs, 1);
    record->type = type;
    record->epoch = epoch;
    strncpy(record->stream, stream, sizeof record->stream - 1);
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

const char *stream_state_name(enum stream_state state) {
    static const char *const names[] = {"live", "stalled", "away", "ended"};
    return names[state];
}
