/* A writer's authority that grants when it is told to, takes the stream away and grants it anew, and hands the records to a store, which
 * must take every one of them: whatever comes in, what goes out follows from what was before. */
#pragma once
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/media/store.h"
#include "common/media/writer.h"

struct pretended_writer {
    struct store *store;
    int64_t now_us;
    void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant);
    void *owner;
    uint64_t epoch;       /* the highest so far */
    int64_t end_us;       /* of the media written */
    bool stands, asked;   /* nothing is granted; the publisher has asked for the stream */
};

static void *pretended_claim(void *ctx, const struct claim_request *request) {
    struct pretended_writer *writer = ctx;
    writer->on_result = request->on_result;
    writer->owner = request->owner;
    return writer;
}

static void pretended_note_end(struct pretended_writer *writer, const struct record *record) {
    const struct stream *stream = store_find(writer->store, record->stream);
    const struct record_chunk *chunk = &record->chunk;
    uint32_t hz = stream->open->open.tracks[chunk->track].timescale;
    int64_t end_ts = chunk->dts_ts + chunk->duration_ts, end_us = end_ts / hz * 1000000 + end_ts % hz * 1000000 / hz;
    if (end_us > writer->end_us)
        writer->end_us = end_us;
}

static int pretended_write(void *ctx, void *claim, struct record *record) {
    struct pretended_writer *writer = ctx;
    (void)claim;
    int rc = writer->stands ? -ESTALE : store_apply(writer->store, record, writer->now_us);
    if (!rc && record->type == RECORD_CHUNK)
        pretended_note_end(writer, record);
    if (record->epoch > writer->epoch)
        writer->epoch = record->epoch;
    record_unref(record);
    if (rc && rc != -ENOSPC && rc != -ESTALE)
        abort();
    return rc;
}

static void pretended_touch(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void pretended_release(void *ctx, void *claim, bool clean) {
    (void)ctx, (void)claim, (void)clean;
}

static void pretended_take(void *ctx, void *claim) {
    struct pretended_writer *writer = ctx;
    (void)claim;
    writer->asked = true;
}

static inline struct writer_port pretended_port(struct pretended_writer *writer) {
    return (struct writer_port){writer, pretended_claim, pretended_write, pretended_touch, pretended_release, pretended_take};
}

/* `standing`: busy, outranked or vacant. */
static inline void pretended_stand_by(struct pretended_writer *writer, enum claim_result standing) {
    writer->stands = true;
    writer->asked = false;
    writer->on_result(writer->owner, standing, NULL);
}

/* If it stands by and has asked for the stream. */
static inline void pretended_grant_again(struct pretended_writer *writer, const char *name) {
    const struct stream *stream = store_find(writer->store, name);
    const struct segment *last = stream ? stream_last_segment(stream, 0) : NULL;
    struct claim_grant grant = {.epoch = ++writer->epoch, .next_msn = 100, .next_part = 500};
    if (!writer->stands || !writer->asked)
        return;
    if (stream && stream->open) {
        grant.resumes = true;
        grant.not_before_us = writer->end_us;
        grant.init_versions = stream->init_versions;
        grant.target_duration_ms = stream->open->open.target_duration_ms;
        grant.part_target_us = stream->open->open.part_target_us;
    }
    if (last) {
        grant.next_msn = last->published ? last->msn + 1 : last->msn;
        grant.next_part = stream->next_part ? stream->next_part : grant.next_part;
    }
    writer->stands = writer->asked = false;
    writer->on_result(writer->owner, CLAIM_GRANTED, &grant);
}
