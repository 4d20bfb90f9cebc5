/* A push that joins another's stream: a rung of its picture that the broadcaster encodes himself, or another sound, an interpreter's. Its media
 * goes as a further track into the leading push's packager (publisher.c), which is the publisher of that name and rank on this node.
 *
 *   WAITING  for the leading push, for so long; meanwhile it is found out what this one brings, and what came since its last key frame is kept
 *   JOINED   its frames are on the leading push's clock (join_clock.h), and tracks of that
 *   LOST     `lose` was called; everything is ignored
 *
 * Where the leading push ends, so do those that have joined it; where it is lost they wait for it to come back. Where one of these ends its track
 * is kept for some seconds, so that one that comes back at once is no discontinuity to anybody.
 *
 * One loop. `lose` is called from within the calls. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "ingest/join_request.h"
#include "ingest/publisher.h"

enum {
    JOIN_SEATS = 8,          /* pushes that may join one */
    JOIN_TRACK_FIRST = 128,  /* their tracks' numbers in the leading push, by seat */
};

struct join;

/* Of the leading push: what each place stands for. */
struct join_seats {
    struct join_seat {
        struct join_request request; /* JOIN_NONE: free */
        enum track_kind kind;
        int64_t left_us; /* loop's clock; 0: it is taken */
    } items[JOIN_SEATS];
};

struct join_port {
    void *ctx;
    void (*lose)(void *ctx, const char *why);
};

/* NULL, and why in *ret_result: there are too many already, or one of the same label that isn't silent. Strings are copied. */
struct join *join_create(struct ingest *ingest, const char *stream, enum claim_rank rank, const char *peer, const struct join_request *request,
                         const struct join_port *port, enum publish_result *ret_result);
/* NULL is allowed. */
void join_destroy(struct join *join);

/* As publisher.h has them. */
void join_metadata(struct join *join, const struct publisher_metadata *metadata);
void join_config(struct join *join, const struct publisher_config *config);
void join_frame(struct join *join, const struct publisher_frame *frame);
void join_track_end(struct join *join, enum track_kind kind, uint8_t track);
void join_sweep(struct join *join, int64_t now_us);

void join_metrics_register(void);

/* --- for the leading push --- */
/* It is gone for good (`clean`), or lost. */
void joins_lead_gone(struct ingest *ingest, const struct publisher *lead, bool clean);
/* What has come by this number can't be used: the push is lost, if it is still there, and its place is free. */
void joins_refuse(struct ingest *ingest, struct publisher *lead, uint8_t number, const char *why);
/* Whether one is about to join it. */
bool joins_due(const struct ingest *ingest, const struct publisher *lead);
/* A place whose push has been gone for so long that its track is to end; false: none (any more). It is free then. */
bool join_seats_expired(struct join_seats *seats, int64_t now_us, enum track_kind *ret_kind, uint8_t *ret_number);
