/* How a writer (an ingest session) reaches the authority on its stream: claim it, write records, let it go. The origin implements it in
 * its process, and ingest/push.c for origins elsewhere. All calls and callbacks are on one loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/record.h"

enum claim_result {
    CLAIM_GRANTED,
    CLAIM_BUSY,  /* somebody else publishes it and is not silent */
    CLAIM_FULL,  /* a limit on streams or memory is reached: not for who continues a stream */
    CLAIM_FENCED,      /* of a claim that goes on: a later writer has written since */
    CLAIM_CUT,         /* the operator has ended the broadcast: its name is refused for a while */
    CLAIM_UNREACHABLE, /* the authority can't be asked */
};

struct claim_grant {
    uint64_t epoch;
    uint64_t last_epoch; /* of the writer before, of whom there is something; 0: none */
    uint64_t next_msn, next_part; /* numbers to go on with */
    int64_t not_before_us;  /* media time must not start earlier: the stream's end so far; 0 when new */
    bool resumes;           /* continues a stream that viewers have: its first segment is a discontinuity */
    uint32_t target_duration_ms, part_target_us; /* when it resumes: must be kept; else 0 */
    uint32_t init_versions; /* versions start above this */
    uint32_t discontinuity_sequence; /* discontinuities so far */
};

/* Why a claim is gone. */
struct claim_loss {
    const char *why; /* fit for a log and for the publisher */
    bool cut;        /* the operator has ended the broadcast, which is over; its name is not to be taken again for `refuse_s` */
    uint32_t refuse_s;
};
enum { CLAIM_REFUSE_MAX_S = 86400 };

struct writer_port {
    void *ctx;
    /* Calls `on_result` once, later (never from inside the call); `grant` is NULL unless granted and valid during the
     * call only. `on_lost` (any time after the grant) says that the claim is gone: another writer took the stream over,
     * or the origin refuses it, or the operator has cut it; never from inside the writer's own call; the writer closes its publisher
     * and calls nothing more for this epoch. `epoch`: 0, or that of a claim which goes on, over another connection or after the authority has lost all; then it is
     * granted unless a later one has written.
     * Returns a handle for write, touch and release. `peer` is for logs. */
    void *(*claim)(void *ctx, const char *stream, const char *peer, uint64_t epoch,
                   void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant),
                   void (*on_lost)(void *owner, const struct claim_loss *loss), void *owner);
    /* Takes over the record's reference. 0; -ESTALE after the claim was lost, which this very record may have caused: it
     * was more memory than the stream may have. Else what is wrong with the record. */
    int (*write)(void *ctx, void *claim, struct record *record);
    /* Media comes, although there is nothing to write yet: the writer is not silent. */
    void (*touch)(void *ctx, void *claim);
    /* Ends the claim: granted (`clean`: the publisher said goodbye; else the connection was lost; both wait for the grace
     * time) or still pending. The handle is gone afterwards. */
    void (*release)(void *ctx, void *claim, bool clean);
};
