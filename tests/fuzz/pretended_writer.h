/* A writer's authority that grants when it is told to, and hands the records to a store, which must take every one of them: whatever comes
 * in, what goes out follows from what was before. */
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
};

static void *pretended_claim(void *ctx, const char *stream, const char *peer, uint64_t epoch,
                             void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant),
                             void (*on_lost)(void *owner, const struct claim_loss *loss), void *owner) {
    struct pretended_writer *writer = ctx;
    (void)stream, (void)peer, (void)on_lost, (void)epoch;
    writer->on_result = on_result;
    writer->owner = owner;
    return writer;
}

static int pretended_write(void *ctx, void *claim, struct record *record) {
    struct pretended_writer *writer = ctx;
    (void)claim;
    int rc = store_apply(writer->store, record, writer->now_us);
    record_unref(record);
    if (rc && rc != -ENOSPC)
        abort();
    return rc;
}

static void pretended_touch(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void pretended_release(void *ctx, void *claim, bool clean) {
    (void)ctx, (void)claim, (void)clean;
}

static inline struct writer_port pretended_port(struct pretended_writer *writer) {
    return (struct writer_port){writer, pretended_claim, pretended_write, pretended_touch, pretended_release};
}
