/* Players of HLS: plain, and low-latency as hls.js does it (playlist by blocking reload, delta updates once one is
 * known, parts, and the preload hint asked for before it is there). Two connections each: playlists on one, media on
 * the other.
 *
 * Media time is counted from the first object that is loaded, by the durations that playlists state. A player begins at
 * the last independent object before the hold-back, and plays from the hold-back. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tools/load/manifest.h"
#include "tools/load/run.h"
#include "tools/load/scan.h"

enum { QUEUE_MAX = 32 }; /* objects listed and not yet loaded; the oldest are left out */

enum hint_state {
    HINT_NONE,
    HINT_WANTED, /* listed; not asked for yet */
    HINT_LOADING,
    HINT_LOADED, /* before a playlist said how long it lasts */
};

struct players {
    struct run *run;
    bool low_latency;
    uint32_t count, begun, up;
    struct player *items;
    struct media_stats stats;
};

struct player {
    struct players *all;
    struct client lists, media;
    struct loop_timer *timer; /* the next request of a playlist */
    int64_t begun_us, asked_us;
    /* playlists */
    uint64_t had_msn; /* of the playlist before: what came next */
    uint32_t had_part;
    struct manifest manifest;
    char list_path[RUN_PATH_MAX]; /* the first that the multivariant playlist names */
    bool list_known, started;
    uint64_t next_msn; /* the first object that was not listed before */
    uint32_t next_part;
    char map[MANIFEST_URI_MAX], hint[MANIFEST_URI_MAX];
    bool map_due;
    enum hint_state hint_state;
    int64_t hint_loaded_us;
    /* media */
    uint32_t first, queued;
    struct manifest_item queue[QUEUE_MAX];
    bool loading_map, loading_hint;
    int64_t loading_us; /* duration of what is being loaded */
    struct scan scan;
    int64_t newest_capture_us;
    int64_t play_from_us, loaded_us; /* media time */
    struct playout playout;
};

static void next_media(struct player *player);

/* --- the buffer --- */

static void buffered(struct player *player, int64_t now_us, int64_t duration_us) {
    struct players *all = player->all;
    player->loaded_us += duration_us;
    playout_extend(&player->playout, now_us, player->loaded_us);
    if (player->playout.playing || player->loaded_us <= player->play_from_us)
        return;
    playout_start(&player->playout, now_us, player->play_from_us);
    histogram_add(&all->stats.startup, now_us - player->begun_us);
    all->up++;
}

/* --- what playlists list --- */

static void enqueue(struct player *player, const struct manifest_item *item) {
    if (player->queued == QUEUE_MAX) {
        player->first = (player->first + 1) % QUEUE_MAX;
        player->queued--;
        player->all->stats.skips += player->started;
    }
    player->queue[(player->first + player->queued++) % QUEUE_MAX] = *item;
}

static bool is_hint(struct player *player, const struct manifest_item *part) {
    return player->hint_state != HINT_NONE && !strcmp(player->hint, part->uri);
}

/* What was hinted is listed now: its duration is known. False when it has yet to be loaded like any other. */
static bool hint_listed(struct player *player, const struct manifest_item *part) {
    enum hint_state state = player->hint_state;
    player->hint_state = HINT_NONE;
    if (state == HINT_LOADING)
        player->loading_us = part->duration_us;
    else if (state == HINT_LOADED)
        buffered(player, player->hint_loaded_us, part->duration_us);
    return state != HINT_WANTED;
}

static void on_part(void *ctx, const struct manifest_item *part) {
    struct player *player = ctx;
    bool known = part->msn < player->next_msn || (part->msn == player->next_msn && part->part < player->next_part);
    if (known || !player->all->low_latency)
        return;
    player->next_msn = part->msn;
    player->next_part = part->part + 1;
    if (!is_hint(player, part) || !hint_listed(player, part))
        enqueue(player, part);
}

static void on_segment(void *ctx, const struct manifest_item *segment) {
    struct player *player = ctx;
    if (segment->msn < player->next_msn)
        return;
    bool whole = !player->all->low_latency || segment->part == 0; /* its parts aren't listed any more */
    bool partly = segment->msn == player->next_msn && player->next_part > 0;
    if (whole && !partly) {
        struct manifest_item item = *segment;
        item.independent = true;
        enqueue(player, &item);
    } else if (whole) {
        player->all->stats.skips++;
    }
    player->next_msn = segment->msn + 1;
    player->next_part = 0;
}

static void on_variant(void *ctx, const char *uri) {
    struct player *player = ctx;
    if (!player->list_path[0])
        snprintf(player->list_path, sizeof player->list_path, "%s/%s", player->all->run->base, uri);
}

/* Drops what lies before the start of playing. */
static void choose_start(struct player *player) {
    const struct manifest *manifest = &player->manifest;
    int64_t hold_us = player->all->low_latency && manifest->part_hold_back_us ? manifest->part_hold_back_us
                      : manifest->hold_back_us                                ? manifest->hold_back_us
                                                                              : 3 * manifest->target_us;
    int64_t total_us = 0, at_us = 0, start_us = 0;
    uint32_t start = 0;
    for (uint32_t i = 0; i < player->queued; i++)
        total_us += player->queue[(player->first + i) % QUEUE_MAX].duration_us;
    int64_t wanted_us = total_us > hold_us ? total_us - hold_us : 0;
    for (uint32_t i = 0; i < player->queued && at_us <= wanted_us; i++) {
        const struct manifest_item *item = &player->queue[(player->first + i) % QUEUE_MAX];
        if (item->independent) {
            start = i;
            start_us = at_us;
        }
        at_us += item->duration_us;
    }
    player->first = (player->first + start) % QUEUE_MAX;
    player->queued -= start;
    player->play_from_us = wanted_us - start_us;
    player->started = player->queued > 0;
}

/* --- playlists --- */

static void request_list(struct player *player, const char *path) {
    player->asked_us = loop_now_us(player->all->run->loop);
    player->had_msn = player->manifest.msn;
    player->had_part = player->manifest.part;
    manifest_begin(&player->manifest);
    client_get(&player->lists, path);
}

static void reload(struct player *player) {
    char path[RUN_PATH_MAX + 80];
    bool blocking = player->started && player->all->low_latency && player->manifest.can_block;
    if (!player->list_known)
        snprintf(path, sizeof path, "%s/index.m3u8", player->all->run->base);
    else if (blocking)
        snprintf(path, sizeof path, "%s?_HLS_msn=%" PRIu64 "&_HLS_part=%u%s", player->list_path, player->manifest.msn,
                 player->manifest.part, player->manifest.can_skip ? "&_HLS_skip=YES" : "");
    else
        snprintf(path, sizeof path, "%s", player->list_path);
    request_list(player, path);
}

static void on_timer(void *ctx) {
    struct player *player = ctx;
    if (!client_busy(&player->lists))
        reload(player);
}

/* When the playlist is asked for again: at once when the server holds the request, else after half a target duration.
 */
static void schedule_reload(struct player *player, bool news) {
    const struct manifest *manifest = &player->manifest;
    if (manifest->ended)
        return;
    if (player->all->low_latency && manifest->can_block && player->started && news) {
        reload(player);
        return;
    }
    int64_t every_us = manifest->target_us ? manifest->target_us / 2 : RUN_RETRY_US;
    loop_timer_set(player->timer, player->asked_us + every_us - loop_now_us(player->all->run->loop));
}

static void on_media_playlist(struct player *player) {
    const struct manifest *manifest = &player->manifest;
    bool news = manifest->msn != player->had_msn || manifest->part != player->had_part;
    if (!player->started)
        choose_start(player);
    if (manifest->map[0] && strcmp(manifest->map, player->map)) {
        strcpy(player->map, manifest->map);
        player->map_due = true;
    }
    if (player->all->low_latency && manifest->hint[0] && strcmp(manifest->hint, player->hint)) {
        strcpy(player->hint, manifest->hint);
        player->hint_state = HINT_WANTED;
    }
    next_media(player);
    schedule_reload(player, news);
}

static void on_list_body(void *ctx, const uint8_t *data, size_t len) {
    struct player *player = ctx;
    run_count_bytes(player->all->run, len);
    if (player->lists.status == 200)
        manifest_feed(&player->manifest, data, len);
}

static void on_list_end(void *ctx, int status) {
    struct player *player = ctx;
    bool multivariant = !player->list_known;
    bool ok = run_count(player->all->run, status);
    if (ok)
        manifest_end(&player->manifest);
    if (!ok || !player->manifest.valid)
        loop_timer_set(player->timer, RUN_RETRY_US);
    else if (!multivariant)
        on_media_playlist(player);
    else if ((player->list_known = player->list_path[0]))
        reload(player);
    else
        loop_timer_set(player->timer, RUN_RETRY_US);
}

static void on_list_lost(void *ctx) {
    struct player *player = ctx;
    run_count_lost(player->all->run);
    loop_timer_set(player->timer, RUN_RETRY_US);
}

/* --- media --- */

/* URIs in a media playlist are relative to its folder. */
static void load(struct player *player, const char *uri, int64_t duration_us) {
    char path[RUN_PATH_MAX + MANIFEST_URI_MAX];
    const char *slash = strrchr(player->list_path, '/');
    snprintf(path, sizeof path, "%.*s%s", uri[0] == '/' ? 0 : (int)(slash + 1 - player->list_path), player->list_path,
             uri);
    player->loading_us = duration_us;
    player->newest_capture_us = 0;
    scan_restart(&player->scan);
    client_get(&player->media, path);
}

static void next_media(struct player *player) {
    if (client_busy(&player->media) || !player->started)
        return;
    player->loading_map = player->loading_hint = false;
    if (player->map_due) {
        player->map_due = false;
        player->loading_map = true;
        load(player, player->map, 0);
    } else if (player->queued > 0) {
        const struct manifest_item *item = &player->queue[player->first];
        player->first = (player->first + 1) % QUEUE_MAX;
        player->queued--;
        load(player, item->uri, item->duration_us);
    } else if (player->hint_state == HINT_WANTED) {
        player->hint_state = HINT_LOADING;
        player->loading_hint = true;
        load(player, player->hint, 0);
    }
}

static void on_chunk(void *ctx, const struct scan_chunk *chunk) {
    struct player *player = ctx;
    if (chunk->capture_us > player->newest_capture_us)
        player->newest_capture_us = chunk->capture_us;
}

static void on_media_body(void *ctx, const uint8_t *data, size_t len) {
    struct player *player = ctx;
    run_count_bytes(player->all->run, len);
    if (player->media.status == 200)
        scan_feed(&player->scan, data, len);
}

static void on_object(struct player *player) {
    struct players *all = player->all;
    int64_t now_us = clock_mono_us();
    if (all->run->measuring && player->playout.playing) {
        all->stats.items++;
        if (player->newest_capture_us)
            histogram_add(&all->stats.delay, clock_utc_us() - player->newest_capture_us);
    }
    if (player->loading_hint && player->hint_state == HINT_LOADING) {
        player->hint_state = HINT_LOADED;
        player->hint_loaded_us = now_us;
    } else {
        buffered(player, now_us, player->loading_us);
    }
}

static void on_media_end(void *ctx, int status) {
    struct player *player = ctx;
    if (!run_count(player->all->run, status)) {
        player->all->stats.skips++;
        player->hint_state = player->loading_hint ? HINT_NONE : player->hint_state;
    } else if (!player->loading_map) {
        on_object(player);
    }
    next_media(player);
}

static void on_media_lost(void *ctx) {
    struct player *player = ctx;
    run_count_lost(player->all->run);
    player->all->stats.skips++;
    player->hint_state = player->loading_hint ? HINT_NONE : player->hint_state;
    player->map_due |= player->loading_map;
    /* Goes on with the next playlist. */
}

/* --- life --- */

static void *create(struct run *run, uint32_t count, bool low_latency) {
    struct players *all = load_alloc(sizeof *all);
    *all = (struct players){.run = run, .low_latency = low_latency, .count = count};
    all->items = load_alloc(count * sizeof *all->items);
    return all;
}

static void *ll_create(struct run *run, uint32_t count) {
    return create(run, count, true);
}

static void *hls_create(struct run *run, uint32_t count) {
    return create(run, count, false);
}

static void begin(void *ctx, uint32_t index) {
    static const struct client_events lists = {on_list_body, on_list_end, on_list_lost};
    static const struct client_events media = {on_media_body, on_media_end, on_media_lost};
    struct players *all = ctx;
    struct player *player = &all->items[index];
    player->all = all;
    player->begun_us = loop_now_us(all->run->loop);
    player->manifest = (struct manifest){on_variant, on_part, on_segment, .ctx = player};
    client_init(&player->lists, &all->run->server, &lists, player);
    client_init(&player->media, &all->run->server, &media, player);
    scan_init(&player->scan, on_chunk, player);
    player->timer = loop_timer_create(all->run->loop, on_timer, player);
    all->begun++;
    reload(player);
}

static bool up(void *ctx) {
    const struct players *all = ctx;
    return all->up == all->begun;
}

static void sweep(void *ctx, int64_t now_us) {
    struct players *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++) {
        client_check(&all->items[i].lists, now_us, RUN_TIMEOUT_US);
        client_check(&all->items[i].media, now_us, RUN_TIMEOUT_US);
    }
}

static struct playout *playout_of(void *ctx, uint32_t index) {
    struct players *all = ctx;
    return &all->items[index].playout;
}

static void measure(void *ctx) {
    struct players *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++)
        playout_forget(&all->items[i].playout);
    all->stats.skips = 0;
}

static void report(void *ctx, FILE *out, int64_t now_us) {
    struct players *all = ctx;
    media_report(out, &all->stats, all->low_latency ? "parts" : "segments", all->begun, playout_of, all, now_us);
}

static void destroy(void *ctx) {
    struct players *all = ctx;
    for (uint32_t i = 0; i < all->begun; i++) {
        client_close(&all->items[i].lists);
        client_close(&all->items[i].media);
        loop_timer_destroy(all->items[i].timer);
    }
    free(all->items);
    free(all);
}

const struct viewer_kind viewer_ll = {.option = "ll",
                                      .help = "viewers of Low-Latency HLS, as hls.js is one",
                                      .create = ll_create,
                                      .begin = begin,
                                      .up = up,
                                      .measure = measure,
                                      .sweep = sweep,
                                      .report = report,
                                      .destroy = destroy};
const struct viewer_kind viewer_hls = {.option = "hls",
                                       .help = "viewers of HLS who know no parts",
                                       .create = hls_create,
                                       .begin = begin,
                                       .up = up,
                                       .measure = measure,
                                       .sweep = sweep,
                                       .report = report,
                                       .destroy = destroy};
