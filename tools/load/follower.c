/* Viewers of the continuous stream, one connection each. Every chunk's delay is counted when its last byte has come.
 * What is played is reckoned by the media times of the first track: a viewer begins `live_hold_us` behind the newest
 * chunk, once the burst that a stream begins with is over. */
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tools/load/run.h"
#include "tools/load/scan.h"

enum {
    BURST_US = 100000,
    JUMP_US = 1000000, /* media time that leaps so far was left out by the server */
};

struct followers {
    struct run *run;
    uint32_t count, begun, up;
    struct follower *items;
    struct media_stats stats;
    char path[RUN_PATH_MAX];
};

struct follower {
    struct followers *all;
    struct client client;
    struct loop_timer *retry;
    struct scan scan;
    int64_t begun_us, first_us; /* `first_us`: the first chunk came; 0: none yet */
    int64_t media_us, step_us;  /* of the newest chunk, and its distance to the one before */
    struct playout playout;
};

static void on_first(struct follower *follower, int64_t now_us) {
    follower->first_us = now_us;
    follower->all->up++;
    histogram_add(&follower->all->stats.startup, now_us - follower->begun_us);
}

static void play(struct follower *follower, const struct scan_chunk *chunk, int64_t now_us) {
    int64_t step_us = chunk->media_us - follower->media_us;
    if (follower->media_us && step_us > JUMP_US) {
        follower->all->stats.skips++;
        playout_jump(&follower->playout, step_us - follower->step_us);
    } else if (follower->media_us && step_us > 0) {
        follower->step_us = step_us;
    }
    follower->media_us = chunk->media_us;
    int64_t end_us = chunk->media_us + follower->step_us;
    playout_extend(&follower->playout, now_us, end_us);
    if (!follower->playout.playing && now_us - follower->first_us >= BURST_US)
        playout_start(&follower->playout, now_us, end_us - follower->all->run->live_hold_us);
}

static void on_chunk(void *ctx, const struct scan_chunk *chunk) {
    struct follower *follower = ctx;
    struct followers *all = follower->all;
    int64_t now_us = loop_now_us(all->run->loop);
    if (!follower->first_us)
        on_first(follower, now_us);
    if (all->run->measuring) {
        all->stats.items++;
        if (chunk->capture_us)
            histogram_add(&all->stats.delay, clock_utc_us() - chunk->capture_us);
    }
    if (chunk->lead && chunk->media_us)
        play(follower, chunk, now_us);
}

static void on_body(void *ctx, const uint8_t *data, size_t len) {
    struct follower *follower = ctx;
    run_count_bytes(follower->all->run, len);
    if (follower->client.status == 200)
        scan_feed(&follower->scan, data, len);
}

static void ask(void *ctx) {
    struct follower *follower = ctx;
    scan_restart(&follower->scan);
    client_get(&follower->client, follower->all->path);
}

static void on_end(void *ctx, int status) {
    struct follower *follower = ctx;
    run_count(follower->all->run, status);
    loop_timer_set(follower->retry, RUN_RETRY_US);
}

static void on_lost(void *ctx) {
    struct follower *follower = ctx;
    run_count_lost(follower->all->run);
    loop_timer_set(follower->retry, RUN_RETRY_US);
}

/* --- life --- */

static void *create(struct run *run, uint32_t count) {
    struct followers *all = load_alloc(sizeof *all);
    *all = (struct followers){.run = run, .count = count};
    all->items = load_alloc(count * sizeof *all->items);
    snprintf(all->path, sizeof all->path, "%s/%s/live.mp4", run->base, run->variant);
    return all;
}

static void begin(void *ctx, uint32_t index) {
    static const struct client_events events = {on_body, on_end, on_lost};
    struct followers *all = ctx;
    struct follower *follower = &all->items[index];
    follower->all = all;
    follower->begun_us = loop_now_us(all->run->loop);
    follower->retry = loop_timer_create(all->run->loop, ask, follower);
    client_init(&follower->client, &all->run->server, &events, follower);
    scan_init(&follower->scan, on_chunk, follower);
    all->begun++;
    ask(follower);
}

static bool up(void *ctx) {
    const struct followers *all = ctx;
    return all->up == all->begun;
}

static void sweep(void *ctx, int64_t now_us) {
    struct followers *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++)
        client_check(&all->items[i].client, now_us, RUN_TIMEOUT_US);
}

static struct playout *playout_of(void *ctx, uint32_t index) {
    struct followers *all = ctx;
    return &all->items[index].playout;
}

static void measure(void *ctx) {
    struct followers *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++)
        playout_forget(&all->items[i].playout);
    all->stats.skips = 0;
}

static void report(void *ctx, FILE *out, int64_t now_us) {
    struct followers *all = ctx;
    media_report(out, &all->stats, "chunks", all->begun, playout_of, all, now_us);
}

static void destroy(void *ctx) {
    struct followers *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++) {
        client_close(&all->items[i].client);
        loop_timer_destroy(all->items[i].retry);
    }
    free(all->items);
    free(all);
}

const struct viewer_kind viewer_live = {.option = "live",
                                        .help = "viewers of the continuous stream, VARIANT/live.mp4",
                                        .create = create,
                                        .begin = begin,
                                        .up = up,
                                        .measure = measure,
                                        .sweep = sweep,
                                        .report = report,
                                        .destroy = destroy};
