#include "relay/follow.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/media/hub.h"

enum {
    SWEEP_INTERVAL_US = 100000,
    ASK_AGAIN_US = 1000000, /* the hub's answer is late: ask again */
    NODE_IDLE_US = 2000000, /* when only nodes have asked: who has lost its connection asks again sooner */
    STILL_US = 1000000,     /* a stream that hasn't changed for so long stands still */
};

/* A track that was asked for. */
struct use {
    char name[4];
    int64_t at_us; /* when last, by the stream's clock */
};

/* A stream that this worker follows, or has asked the hub for. */
struct follow {
    bool known;
    struct list waits; /* until the hub has answered */
    int64_t used_us;
    int64_t idle_us;         /* how long it is kept without use, by who has asked */
    char hops[HUB_HOPS_LEN]; /* of the question under way */
    /* Runs while the stream does. When nothing comes, nobody reads; that is no reason to want it less. */
    int64_t clock_us;
    struct use uses[TRACKS_MAX];
    uint32_t use_count;
    struct track_names told; /* the tracks that the hub was asked for */
    int64_t told_us;
};

struct follows {
    struct loop *loop;
    struct store *replica;
    struct hub_client *client;
    int64_t idle_us;
    struct map *map;
    struct loop_timer *sweep_timer;
};

static struct metric metrics[] = {
    {"weir_relay_streams_followed", NULL, "Streams that workers follow.", METRIC_GAUGE, 0},
};
enum { M_FOLLOWED };

void follows_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- following --- */

static struct follow *follow_create(struct follows *follows, const char *name) {
    struct follow *follow = calloc(1, sizeof *follow);
    if (!follow)
        abort();
    list_init(&follow->waits);
    map_set(follows->map, name, follow);
    metric_add(&metrics[M_FOLLOWED], 1);
    return follow;
}

static void follow_drop(struct follows *follows, const char *name, struct follow *follow) {
    map_remove(follows->map, name);
    metric_add(&metrics[M_FOLLOWED], -1);
    free(follow);
}

static void note_asked(struct follows *follows, struct follow *follow, bool by_node) {
    int64_t idle_us = by_node && follows->idle_us > NODE_IDLE_US ? NODE_IDLE_US : follows->idle_us;
    if (follow->idle_us < idle_us)
        follow->idle_us = idle_us;
    follow->used_us = loop_now_us(follows->loop);
}

struct stream *follows_find(struct follows *follows, const char *name) {
    struct follow *follow = map_get(follows->map, name);
    struct stream *stream = follow && follow->known ? store_find(follows->replica, name) : NULL;
    if (stream)
        note_asked(follows, follow, false);
    return stream;
}

struct stream *follows_find_for_node(struct follows *follows, const char *name) {
    struct follow *follow = map_get(follows->map, name);
    return follow && follow->known ? store_find(follows->replica, name) : NULL;
}

/* --- tracks --- */

static void use_note(struct follow *follow, const char *track) {
    uint32_t i = 0;
    while (i < follow->use_count && strcmp(follow->uses[i].name, track) != 0)
        i++;
    if (i == TRACKS_MAX)
        return;
    if (i == follow->use_count)
        strcpy(follow->uses[follow->use_count++].name, track);
    follow->uses[i].at_us = follow->clock_us;
}

static void uses_note(struct follow *follow, struct stream *stream) {
    for (uint32_t t = 0; stream->asked && t < stream->open->open.track_count; t++)
        if (stream->asked & 1u << t)
            use_note(follow, stream->open->open.tracks[t].name);
    stream->asked = 0;
}

/* Those that are; the others are forgotten. */
static struct track_names tracks_in_use(struct follow *follow) {
    struct track_names names = {0};
    uint32_t count = follow->use_count;
    follow->use_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (follow->clock_us - follow->uses[i].at_us > follow->idle_us)
            continue;
        follow->uses[follow->use_count++] = follow->uses[i];
        track_names_add(&names, follow->uses[i].name);
    }
    return names;
}

/* Whether the hub has had time to see to a track that was asked for, and hasn't. */
static bool unheard(const struct follows *follows, const struct follow *follow, const struct stream *stream) {
    uint32_t had = stream->here | stream->joining;
    for (uint32_t t = 0; t < stream->open->open.track_count; t++)
        if (!(had & 1u << t) && track_names_have(&follow->told, stream->open->open.tracks[t].name))
            return loop_now_us(follows->loop) - follow->told_us > ASK_AGAIN_US;
    return false;
}

static void tracks_tell(struct follows *follows, struct follow *follow, struct stream *stream) {
    uses_note(follow, stream);
    struct track_names names = tracks_in_use(follow);
    if (track_names_same(&names, &follow->told) && !unheard(follows, follow, stream))
        return;
    follow->told = names;
    follow->told_us = loop_now_us(follows->loop);
    hub_client_want_tracks(follows->client, stream->name, &names);
}

void follows_ask(struct follows *follows, struct stream *stream, uint32_t mask) {
    struct follow *follow = map_get(follows->map, stream->name);
    stream->asked |= mask;
    if (follow && mask & ~(stream->here | stream->joining))
        tracks_tell(follows, follow, stream);
}

/* --- waiting --- */

static void follow_begin(struct follows *follows, const char *name, struct follow *follow, const char *hops) {
    follow->known = false;
    strcpy(follow->hops, hops ? hops : "");
    follow->told = tracks_in_use(follow);
    follow->told_us = loop_now_us(follows->loop);
    hub_client_follow(follows->client, name, hops, &follow->told);
}

void follows_wait(struct follows *follows, const char *name, struct follow_wait *wait, const char *hops,
                  const struct track_names *tracks) {
    struct follow *follow = map_get(follows->map, name);
    if (!follow)
        follow = follow_create(follows, name);
    note_asked(follows, follow, hops);
    for (uint32_t i = 0; tracks && i < tracks->count; i++)
        use_note(follow, tracks->items[i]);
    if (follow->known || list_empty(&follow->waits))
        follow_begin(follows, name, follow, hops);
    list_append(&follow->waits, &wait->link);
}

void follow_wait_cancel(struct follow_wait *wait) {
    list_remove(&wait->link);
}

void follows_answer(struct follows *follows, const char *name, bool known) {
    struct follow *follow = map_get(follows->map, name);
    if (!follow)
        return;
    struct stream *stream = known ? store_find(follows->replica, name) : NULL;
    follow->known = stream;
    struct list waits; /* theirs alone: answering one may bring the next of its connection */
    list_init(&waits);
    list_append_all(&waits, &follow->waits);
    if (!stream)
        follow_drop(follows, name, follow);
    while (!list_empty(&waits)) {
        struct follow_wait *wait = list_entry(waits.next, struct follow_wait, link);
        list_remove(&wait->link);
        wait->fn(wait, stream);
    }
}

/* --- time --- */

static void sweep_one(void *ctx, const char *name, void *value) {
    struct follows *follows = ctx;
    struct follow *follow = value;
    struct stream *stream = store_find(follows->replica, name);
    int64_t now_us = loop_now_us(follows->loop);
    if (!list_empty(&follow->waits) && now_us - follow->used_us > ASK_AGAIN_US) {
        follow->used_us = now_us;
        follow->told = tracks_in_use(follow);
        hub_client_follow(follows->client, name, follow->hops, &follow->told);
    }
    if (stream && stream->open && now_us - stream->changed_us < STILL_US)
        follow->clock_us += SWEEP_INTERVAL_US;
    if (follow->known && stream && stream->open)
        tracks_tell(follows, follow, stream);
    if (!list_empty(&follow->waits))
        return;
    if (stream && stream_wanted(stream))
        follow->used_us = now_us;
    if (now_us - follow->used_us <= follow->idle_us)
        return;
    hub_client_unfollow(follows->client, name);
    follow_drop(follows, name, follow);
}

static void on_sweep(void *ctx) {
    struct follows *follows = ctx;
    store_time_out(follows->replica, loop_now_us(follows->loop));
    map_each(follows->map, sweep_one, follows);
    loop_timer_set(follows->sweep_timer, SWEEP_INTERVAL_US);
}

/* --- life cycle --- */

struct follows *follows_create(struct loop *loop, struct store *replica, struct hub_client *client, int64_t idle_us) {
    struct follows *follows = calloc(1, sizeof *follows);
    if (!follows)
        abort();
    *follows =
        (struct follows){.loop = loop, .replica = replica, .client = client, .idle_us = idle_us, .map = map_create()};
    follows->sweep_timer = loop_timer_create(loop, on_sweep, follows);
    loop_timer_set(follows->sweep_timer, SWEEP_INTERVAL_US);
    return follows;
}

static void destroy_one(void *ctx, const char *name, void *value) {
    follow_drop(ctx, name, value);
}

void follows_destroy(struct follows *follows) {
    if (!follows)
        return;
    map_each(follows->map, destroy_one, follows);
    map_destroy(follows->map);
    loop_timer_destroy(follows->sweep_timer);
    free(follows);
}
