/* How a writer (an ingest session) reaches the authority on its stream: claim it, write records, let it go. The origin implements it in
 * its process, and ingest/push.c for origins elsewhere. All calls and callbacks are on one loop.
 *
 * Several may claim one stream, with ranks: one writes, others stand by. A claim that stands by hears whether it may be taken, and takes it
 * when it has media in hand that can be begun with; whoever wrote then stands by itself. So what changes is who writes, and no connection:
 *
 *   claim ─► pending ─┬─► granted ◄─────────────── take ──┐
 *                     │      └── another one takes it ──► stands by: STANDBY, OUTRANKS, VACANT, as often as that changes
 *                     └─────────────────────────────────►  */
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
    /* It stands by. */
    CLAIM_STANDBY,  /* somebody else writes */
    CLAIM_OUTRANKS, /* likewise, of a lower rank: take it at the next independent frame */
    CLAIM_VACANT,   /* nobody does, or who did has been silent for too long: take it at once */
};
static inline bool claim_stands_by(enum claim_result result) { return result >= CLAIM_STANDBY; }

/* Whose media a stream is to have: that of the highest rank that has any. */
enum claim_rank {
    CLAIM_SLATE,  /* the operator's clip */
    CLAIM_BACKUP,
    CLAIM_PRIMARY,
    CLAIM_RANKS,
};
const char *claim_rank_name(enum claim_rank rank); /* "backup" */
/* False: there is none of that name. */
bool claim_rank_parse(const char *name, enum claim_rank *ret_rank);

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

struct claim_request {
    const char *stream, *peer; /* copied; `peer` is for logs */
    enum claim_rank rank;
    /* 0, or that of a claim which goes on, over another connection or after the authority has lost all; then it is granted unless a later
     * one has written, or, if one of another rank has, stands by. */
    uint64_t epoch;
    bool stands_by; /* it is not to be granted but by `take` */
    bool takes;     /* it is to be granted whoever of another rank has it: that was decided elsewhere */
    /* Once, later (never from inside the call), and again and again for a claim that stands by, or has to from now on; `grant` is NULL
     * unless granted, and valid during the call only. */
    void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant);
    /* Any time after the grant, or while it stands by: the claim is gone: another writer took the stream over for good, or the origin refuses
     * it, or the operator has cut it; never from inside the writer's own call; the writer closes its publisher and calls nothing more. */
    void (*on_lost)(void *owner, const struct claim_loss *loss);
    void *owner;
};

struct writer_port {
    void *ctx;
    /* Returns a handle for the other calls. */
    void *(*claim)(void *ctx, const struct claim_request *request);
    /* Takes over the record's reference. 0; -ESTALE while it stands by, or after the claim was lost, which this very record may have
     * caused: it was more memory than the stream may have. Else what is wrong with the record. */
    int (*write)(void *ctx, void *claim, struct record *record);
    /* Media comes, although there is nothing to write yet, or it is not for this one to write: the writer is not silent. */
    void (*touch)(void *ctx, void *claim);
    /* Ends the claim: granted (`clean`: the writer is done with it, and whoever stands by may take it at once; else the connection to it was
     * lost, and it may go on over another; either way the stream waits for the grace time) or not. The handle is gone afterwards. */
    void (*release)(void *ctx, void *claim, bool clean);
    /* Of a claim that stands by, and may be taken: there is an independent frame in hand. Answered by `on_result`: CLAIM_GRANTED, or how it
     * stands by now. */
    void (*take)(void *ctx, void *claim);
    /* The tracks that anybody asks for now. NULL: that isn't known. */
    struct track_names (*asked)(void *ctx, void *claim);
};
