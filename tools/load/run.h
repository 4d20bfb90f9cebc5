/* One run of weir-load: what all kinds of viewers share, and what a kind is. A run begins its viewers over the ramp,
 * waits until all are up, says `ready`, lets them settle, measures, and reports. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/load/client.h"
#include "tools/load/stats.h"

enum { RUN_PATH_MAX = 320, RUN_TIMEOUT_US = 20000000, RUN_RETRY_US = 1000000 };

struct run {
    struct loop *loop;
    struct client_server server;
    char base[128];        /* path of the stream: "/live/show" */
    const char *variant;   /* "v0a0" */
    int64_t live_hold_us;  /* how far behind its newest chunk a continuous viewer begins to play */
    uint32_t rounds, ahead; /* of --blocked: how often, and how many parts ahead of the playlist */
    bool measuring;
    /* Counted while measuring. */
    uint64_t requests, bytes, errors_status, errors_lost;
};

/* A kind of viewers. `ctx` is what create returns. */
struct viewer_kind {
    const char *option, *help; /* --option N */
    void *(*create)(struct run *run, uint32_t count);
    void (*begin)(void *ctx, uint32_t index);    /* one viewer starts */
    bool (*up)(void *ctx);                       /* all that have begun are settled; NULL: always */
    void (*measure)(void *ctx);                  /* measuring begins; may be NULL */
    bool (*finished)(void *ctx);                 /* the run may end before its time; NULL: it may not */
    void (*sweep)(void *ctx, int64_t now_us);    /* once a second */
    void (*report)(void *ctx, FILE *out, int64_t now_us); /* its JSON object */
    void (*destroy)(void *ctx);
};
extern const struct viewer_kind viewer_ll, viewer_hls, viewer_live, viewer_blocked, viewer_idle, viewer_probe;

/* Viewers of media: what is reported of them. */
struct media_stats {
    uint64_t items; /* parts, segments or chunks */
    uint64_t skips; /* media that a viewer had to leave out */
    struct histogram delay, startup;
};
/* `playout(ctx, i)` gives the buffer of viewer i. */
void media_report(FILE *out, const struct media_stats *stats, const char *items, uint32_t viewers,
                  struct playout *(*playout)(void *ctx, uint32_t index), void *ctx, int64_t now_us);
/* "name": {"p50": …} in milliseconds. */
void histogram_report(FILE *out, const char *name, const struct histogram *histogram);

/* Counts an answer; true for 200. */
bool run_count(struct run *run, int status);
static inline void run_count_bytes(struct run *run, size_t len) {
    if (run->measuring)
        run->bytes += len;
}
static inline void run_count_lost(struct run *run) {
    run->errors_lost++; /* outside of measuring, too: none is expected */
}
void *load_alloc(size_t size); /* zeroed; aborts when there is none */
