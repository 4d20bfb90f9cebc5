#include "common/media/hub.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/base/map.h"
#include "common/base/metrics.h"

enum {
    INBOX_MAX = 65536,     /* wishes of clients */
    CLIENT_BOX_MAX = 1024, /* batches under way to one client */
    CLIENTS_MAX = 256,
    WAKE_BATCH = 64,  /* waiters and readers woken a turn, so that one crowd doesn't hold up everybody else */
    BATCH_MAX = 1024, /* records */
    EXPIRE_INTERVAL_US = 1000000,
    RESYNC_INTERVAL_US = 50000,
    ASK_AGAIN_US = 1000000, /* a stream that is out of step is asked for so often at most */
    LOGS_PER_S = 1,
};

/* What goes to a client. */
struct batch {
    enum { BATCH_RECORDS, BATCH_SNAPSHOT, BATCH_GONE } kind;
    char stream[STREAM_NAME_LEN]; /* snapshot, gone */
    uint32_t count, cap;
    struct record **records;
    /* Snapshot: when its segments that are no longer listed left the window, oldest first; all threads have one clock.
     */
    int64_t *removed_us;
    uint32_t removed_count;
};

/* What comes from a client. */
struct wish {
    struct hub_client *client;
    enum { WISH_FOLLOW, WISH_TRACKS, WISH_UNFOLLOW } kind;
    char stream[STREAM_NAME_LEN];
    struct track_names tracks; /* follow, tracks */
    char hops[];               /* follow */
};

/* A stream that a client follows, as its own thread sees it. */
struct copy {
    bool in_step;     /* records are applied; else they are passed over until a snapshot comes */
    int64_t asked_us; /* when the hub was last asked for it */
    char hops[HUB_HOPS_LEN];
    struct track_names tracks;
};

/* A stream that the source looks for, or brings. */
struct want {
    char stream[STREAM_NAME_LEN];
    bool found;                /* it is in the store, or was */
    struct list removed_link;  /* in hub.removed */
    struct track_names tracks; /* as the source was told */
};

struct hub_client {
    struct hub *hub;
    /* hub's thread */
    /* By name, of gone streams until it was told so; of a stream that is looked for, it is told when it's there. The
     * tracks that it asks for (struct track_names). */
    struct map *followed;
    struct batch *pending; /* records of this turn */
    bool overflowed;       /* the mailbox was full: all of `followed` is to be sent anew, and nothing else until then */
    /* client's thread */
    struct store *replica;
    struct map *copies;
    struct mailbox *box;
    struct loop_timer *wake_timer, *expire_timer;
    struct loop *loop;
    hub_client_fn *on_answer;
    void *ctx;
};

struct hub {
    struct loop *loop;
    struct store *store;
    struct mailbox *inbox;
    struct loop_timer *flush_timer, *resync_timer, *expire_timer;
    struct hub_source source;
    struct map *wants;   /* by the stream's name */
    struct list removed; /* those whose stream has left the store: to be ended in the next turn */
    struct hub_client *clients[CLIENTS_MAX];
    uint32_t client_count;
    bool wake; /* something came for readers or waiters of the store */
};

static struct metric metrics[] = {
    {"weir_hub_copies_lost_total", NULL, "Workers' copies of streams that a record did not fit: sent anew.",
     METRIC_COUNTER, 0},
    {"weir_hub_overflows_total", "box=\"worker\"", "Times that a mailbox was full, by whose.", METRIC_COUNTER, 0},
    {"weir_hub_overflows_total", "box=\"hub\"", "Times that a mailbox was full, by whose.", METRIC_COUNTER, 0},
    {"weir_hub_resyncs_total", NULL, "Streams sent to a worker anew after its mailbox had been full.", METRIC_COUNTER,
     0},
};
enum { M_COPIES_LOST, M_OVERFLOWS_CLIENT, M_OVERFLOWS_HUB, M_RESYNCS };

void hub_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- batches --- */

static struct batch *batch_create(int kind, const char *stream) {
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        abort();
    batch->kind = kind;
    if (stream)
        strcpy(batch->stream, stream);
    return batch;
}

static void batch_add(void *ctx, struct record *record) {
    struct batch *batch = ctx;
    if (batch->count == batch->cap) {
        batch->cap = batch->cap ? batch->cap * 2 : 8;
        batch->records = realloc(batch->records, batch->cap * sizeof *batch->records);
        if (!batch->records)
            abort();
    }
    batch->records[batch->count++] = record_ref(record);
}

static void batch_destroy(void *message) {
    struct batch *batch = message;
    if (!batch)
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        record_unref(batch->records[i]);
    free(batch->records);
    free(batch->removed_us);
    free(batch);
}

/* --- hub to client --- */

static void overflow(int metric, const char *box) {
    static struct log_limit limit;
    uint32_t suppressed;
    metric_add(&metrics[metric], 1);
    if (log_limit_pass(&limit, LOGS_PER_S, &suppressed))
        log_warn("mailbox_overflow", "box", LOG_STR(box), "suppressed", LOG_INT(suppressed));
}

static void client_overflow(struct hub_client *client) {
    overflow(M_OVERFLOWS_CLIENT, "worker");
    client->overflowed = true;
    if (!loop_timer_armed(client->hub->resync_timer))
        loop_timer_set(client->hub->resync_timer, RESYNC_INTERVAL_US);
}

static bool client_post(struct hub_client *client, struct batch *batch) {
    if (!mailbox_post(client->box, batch))
        return true;
    batch_destroy(batch);
    client_overflow(client);
    return false;
}

static void client_flush(struct hub_client *client) {
    struct batch *batch = client->pending;
    client->pending = NULL;
    if (batch)
        client_post(client, batch);
}

static void batch_add_removals(struct batch *batch, const struct stream *stream) {
    if (!stream->first_listed)
        return;
    batch->removed_count = stream->first_listed;
    batch->removed_us = malloc(batch->removed_count * sizeof *batch->removed_us);
    if (!batch->removed_us)
        abort();
    for (uint32_t i = 0; i < batch->removed_count; i++)
        batch->removed_us[i] = stream->segments[i]->removed_us;
}

static void client_send_snapshot(struct hub_client *client, const struct stream *stream) {
    struct batch *batch = batch_create(BATCH_SNAPSHOT, stream->name);
    stream_replay(stream, batch_add, batch);
    batch_add_removals(batch, stream);
    if (stream->state != STREAM_LIVE) {
        struct record *state = record_create(RECORD_STATE, stream->name, stream->epoch);
        state->state.state = stream->state;
        batch_add(batch, state);
        record_unref(state);
    }
    client_post(client, batch);
}

static bool is_open(const struct hub *hub, const char *name) {
    const struct stream *stream = store_find(hub->store, name);
    return stream && stream->open;
}

static bool is_looked_for(const struct hub *hub, const char *name) {
    const struct want *want = map_get(hub->wants, name);
    return want && !want->found;
}

/* How the stream is now, or that there is none, which also ends following it. When the mailbox is full, after that.
 * When it is looked for, nothing yet. */
static void client_tell(struct hub_client *client, const char *name) {
    const struct stream *stream = store_find(client->hub->store, name);
    client_flush(client);
    if (client->overflowed)
        return;
    if (stream && stream->open)
        client_send_snapshot(client, stream);
    else if (!is_looked_for(client->hub, name) && client_post(client, batch_create(BATCH_GONE, name)))
        free(map_remove(client->followed, name));
}

static void tell_followers(struct hub *hub, const char *name) {
    for (uint32_t i = 0; i < hub->client_count; i++)
        if (map_get(hub->clients[i]->followed, name))
            client_tell(hub->clients[i], name);
}

static void resync_one(void *ctx, const char *name, void *value) {
    (void)value;
    client_tell(ctx, name);
}

static void client_resync(struct hub_client *client) {
    size_t streams = map_count(client->followed);
    client->overflowed = false;
    map_each(client->followed, resync_one, client);
    if (client->overflowed)
        return; /* it is still full */
    metric_add(&metrics[M_RESYNCS], (int64_t)streams);
    log_warn("worker_resync", "streams", LOG_INT(streams));
}

static void on_resync(void *ctx) {
    struct hub *hub = ctx;
    for (uint32_t i = 0; i < hub->client_count; i++)
        if (hub->clients[i]->overflowed)
            client_resync(hub->clients[i]);
}

/* --- the source --- */

static void flush_due(struct hub *hub) {
    if (!loop_timer_armed(hub->flush_timer))
        loop_timer_set(hub->flush_timer, 0);
}

static void want_destroy(struct hub *hub, struct want *want) {
    map_remove(hub->wants, want->stream);
    list_remove(&want->removed_link);
    free(want);
}

static void want_end(struct hub *hub, struct want *want) {
    char name[STREAM_NAME_LEN];
    strcpy(name, want->stream);
    want_destroy(hub, want);
    hub->source.unwant(hub->source.ctx, name);
}

static void want_end_unfollowed(struct hub *hub, const char *name) {
    struct want *want = map_get(hub->wants, name);
    if (want && !hub_followers(hub, name))
        want_end(hub, want);
}

static void want_end_removed(struct hub *hub, const char *name) {
    struct want *want = map_get(hub->wants, name);
    if (want && !list_empty(&want->removed_link))
        want_end(hub, want);
}

/* Its stream has left the store. Whoever removed it may be the source. */
static void want_removed(struct hub *hub, struct want *want) {
    if (!list_empty(&want->removed_link))
        return;
    list_append(&hub->removed, &want->removed_link);
    flush_due(hub);
}

/* Those that any client asks for. */
struct track_names hub_tracks_asked(const struct hub *hub, const char *name) {
    struct track_names all = {0};
    for (uint32_t i = 0; i < hub->client_count; i++) {
        const struct track_names *tracks = map_get(hub->clients[i]->followed, name);
        for (uint32_t t = 0; tracks && t < tracks->count; t++)
            track_names_add(&all, tracks->items[t]);
    }
    return all;
}

static void want_tracks(struct hub *hub, const char *name) {
    struct want *want = map_get(hub->wants, name);
    if (!want)
        return;
    struct track_names tracks = hub_tracks_asked(hub, name);
    if (track_names_same(&tracks, &want->tracks))
        return;
    want->tracks = tracks;
    hub->source.want_tracks(hub->source.ctx, name, &tracks);
}

static void source_ask(struct hub *hub, const char *name, const char *hops) {
    struct track_names tracks = hub_tracks_asked(hub, name);
    if (!hub->source.want || map_get(hub->wants, name) || !hub->source.want(hub->source.ctx, name, hops, &tracks))
        return;
    struct want *want = calloc(1, sizeof *want);
    if (!want)
        abort();
    strcpy(want->stream, name);
    want->tracks = tracks;
    list_init(&want->removed_link);
    map_set(hub->wants, name, want);
}

struct hub_source hub_set_source(struct hub *hub, const struct hub_source *source) {
    struct hub_source before = hub->source;
    hub->source = *source;
    return before;
}

void hub_absent(struct hub *hub, const char *stream) {
    struct want *want = map_get(hub->wants, stream);
    if (!want)
        return;
    want_destroy(hub, want);
    if (!is_open(hub, stream))
        tell_followers(hub, stream);
}

/* --- writing --- */

static void wake(struct hub *hub) {
    if (!hub->wake)
        return;
    hub->wake = false; /* until one of those who are woken writes */
    if (!store_wake(hub->store, WAKE_BATCH))
        return;
    hub->wake = true;
    flush_due(hub);
}

static void on_flush(void *ctx) {
    struct hub *hub = ctx;
    for (uint32_t i = 0; i < hub->client_count; i++)
        client_flush(hub->clients[i]);
    wake(hub);
    while (!list_empty(&hub->removed))
        want_end(hub, list_entry(hub->removed.next, struct want, removed_link));
}

/* The stream is there: who follows it has waited for that. */
static void stream_begun(struct hub *hub, const char *name) {
    struct want *want = map_get(hub->wants, name);
    if (want)
        want->found = true;
    tell_followers(hub, name);
}

static void forward(struct hub *hub, struct record *record) {
    for (uint32_t i = 0; i < hub->client_count; i++) {
        struct hub_client *client = hub->clients[i];
        if (client->overflowed || !map_get(client->followed, record->stream))
            continue;
        if (!client->pending)
            client->pending = batch_create(BATCH_RECORDS, NULL);
        batch_add(client->pending, record);
        if (client->pending->count >= BATCH_MAX)
            client_flush(client);
        else
            flush_due(hub);
    }
}

static void wake_due(struct hub *hub, const char *name) {
    if (!stream_wanted(store_find(hub->store, name)))
        return;
    hub->wake = true;
    flush_due(hub);
}

int hub_write(struct hub *hub, struct record *record) {
    bool first = record->type == RECORD_OPEN && !is_open(hub, record->stream);
    int rc = store_apply(hub->store, record, loop_now_us(hub->loop));
    if (!rc && first)
        stream_begun(hub, record->stream);
    else if (!rc)
        forward(hub, record);
    if (!rc)
        wake_due(hub, record->stream);
    record_unref(record);
    return rc;
}

void hub_remove(struct hub *hub, struct stream *stream) {
    char name[STREAM_NAME_LEN];
    strcpy(name, stream->name);
    store_remove(hub->store, stream);
    struct want *want = map_get(hub->wants, name);
    if (want)
        want_removed(hub, want);
    tell_followers(hub, name);
}

uint32_t hub_followers(const struct hub *hub, const char *stream) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < hub->client_count; i++)
        count += map_get(hub->clients[i]->followed, stream) != NULL;
    return count;
}

/* --- client to hub --- */

static void follow(struct hub_client *client, const struct wish *wish) {
    struct track_names *tracks = map_get(client->followed, wish->stream);
    if (!tracks) {
        tracks = malloc(sizeof *tracks);
        if (!tracks)
            abort();
        map_set(client->followed, wish->stream, tracks);
    }
    *tracks = wish->tracks;
    want_end_removed(client->hub, wish->stream);
    want_tracks(client->hub, wish->stream);
    if (!is_open(client->hub, wish->stream))
        source_ask(client->hub, wish->stream, wish->hops);
    client_tell(client, wish->stream);
}

static void follow_tracks(struct hub_client *client, const struct wish *wish) {
    struct track_names *tracks = map_get(client->followed, wish->stream);
    if (!tracks)
        return; /* it is over, and the client is about to be told */
    *tracks = wish->tracks;
    want_tracks(client->hub, wish->stream);
}

static void unfollow(struct hub_client *client, const char *name) {
    struct track_names *tracks = map_remove(client->followed, name);
    if (!tracks)
        return;
    free(tracks);
    want_end_unfollowed(client->hub, name);
    want_tracks(client->hub, name);
}

static void on_wish(void *ctx, void *message) {
    struct wish *wish = message;
    (void)ctx;
    if (wish->kind == WISH_FOLLOW)
        follow(wish->client, wish);
    else if (wish->kind == WISH_TRACKS)
        follow_tracks(wish->client, wish);
    else
        unfollow(wish->client, wish->stream);
    free(wish);
}

/* `copy`: for what is asked for; NULL with WISH_UNFOLLOW. */
static void wish_post(struct hub_client *client, int kind, const char *stream, const struct copy *copy) {
    const char *hops = copy ? copy->hops : "";
    struct wish *wish = calloc(1, sizeof *wish + strlen(hops) + 1);
    if (!wish)
        abort();
    wish->client = client;
    wish->kind = kind;
    if (copy)
        wish->tracks = copy->tracks;
    strcpy(wish->stream, stream);
    strcpy(wish->hops, hops);
    if (mailbox_post(client->hub->inbox, wish)) {
        overflow(M_OVERFLOWS_HUB, "hub");
        free(wish); /* a stream is asked for again by on_client_expire; one that comes in vain is refused again */
    }
}

static void copy_ask(struct hub_client *client, const char *stream, struct copy *copy) {
    copy->asked_us = loop_now_us(client->loop);
    wish_post(client, WISH_FOLLOW, stream, copy);
}

void hub_client_follow(struct hub_client *client, const char *stream, const char *hops,
                       const struct track_names *tracks) {
    struct copy *copy = map_get(client->copies, stream);
    if (!copy) {
        copy = calloc(1, sizeof *copy);
        if (!copy)
            abort();
        map_set(client->copies, stream, copy);
    }
    hops = hops ? hops : "";
    assert(strlen(hops) < sizeof copy->hops);
    strcpy(copy->hops, hops);
    copy->tracks = tracks ? *tracks : (struct track_names){0};
    copy_ask(client, stream, copy);
}

void hub_client_want_tracks(struct hub_client *client, const char *stream, const struct track_names *tracks) {
    struct copy *copy = map_get(client->copies, stream);
    if (!copy)
        return;
    copy->tracks = *tracks;
    wish_post(client, WISH_TRACKS, stream, copy);
}

static void copy_drop(struct hub_client *client, const char *name) {
    struct stream *stream = store_find(client->replica, name);
    free(map_remove(client->copies, name));
    if (stream)
        store_remove(client->replica, stream);
}

void hub_client_unfollow(struct hub_client *client, const char *stream) {
    copy_drop(client, stream);
    wish_post(client, WISH_UNFOLLOW, stream, NULL);
}

/* --- client's loop --- */

static void on_wake(void *ctx) {
    struct hub_client *client = ctx;
    if (store_wake(client->replica, WAKE_BATCH))
        loop_timer_set(client->wake_timer, 0);
}

static void copy_lost(const char *stream, int rc) {
    static struct log_limit limit;
    uint32_t suppressed;
    metric_add(&metrics[M_COPIES_LOST], 1);
    if (log_limit_pass(&limit, LOGS_PER_S, &suppressed))
        log_error("copy_lost", "stream", LOG_STR(stream), "error", LOG_STR(strerror(-rc)), "suppressed",
                  LOG_INT(suppressed));
}

/* The hub has checked them: they fit. If one doesn't, the copy is not what it should be, and is asked for anew; viewers
 * keep what it has until then. */
static void apply_records(struct hub_client *client, const struct batch *batch) {
    int64_t now_us = loop_now_us(client->loop);
    const char *stray = NULL;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct record *record = batch->records[i];
        struct copy *copy = map_get(client->copies, record->stream);
        if (!copy)
            stray = record->stream;
        int rc = copy && copy->in_step ? store_apply(client->replica, record, now_us) : 0;
        if (!rc)
            continue;
        copy->in_step = false;
        copy_lost(record->stream, rc);
        if (now_us - copy->asked_us >= ASK_AGAIN_US) /* else on_client_expire does */
            copy_ask(client, record->stream, copy);
    }
    if (stray)
        wish_post(client, WISH_UNFOLLOW, stray,
                  NULL); /* not wanted any more; the hub may not have been told, its mailbox full */
}

/* The stream anew; who waits for it, or reads along, goes on. */
static int apply_snapshot(struct hub_client *client, const struct batch *batch) {
    struct stream *stream = store_find(client->replica, batch->stream);
    if (stream)
        store_clear(client->replica, stream);
    int rc = 0;
    for (uint32_t i = 0; i < batch->count && !rc; i++)
        rc = store_apply(client->replica, batch->records[i], loop_now_us(client->loop));
    stream = store_find(client->replica, batch->stream);
    if (rc || !stream) {
        if (stream)
            store_clear(client->replica, stream); /* nobody is told that half a copy is all there was */
        return rc ? rc : -ENOENT;
    }
    for (uint32_t i = 0; i < batch->removed_count && i < stream->first_listed; i++)
        stream->segments[i]->removed_us = batch->removed_us[i];
    return 0;
}

static void on_snapshot(struct hub_client *client, const struct batch *batch) {
    struct copy *copy = map_get(client->copies, batch->stream);
    if (!copy) {
        wish_post(client, WISH_UNFOLLOW, batch->stream, NULL); /* not wanted any more; an answer to an earlier wish */
        return;
    }
    int rc = apply_snapshot(client, batch);
    copy->in_step = !rc;
    if (rc) {
        copy_lost(batch->stream, rc);
        hub_client_unfollow(client, batch->stream); /* whoever asks for it next has it sent again */
    }
    client->on_answer(client->ctx, batch->stream, !rc);
}

static void on_gone(struct hub_client *client, const struct batch *batch) {
    copy_drop(client, batch->stream);
    client->on_answer(client->ctx, batch->stream, false);
}

static void on_batch(void *ctx, void *message) {
    struct hub_client *client = ctx;
    struct batch *batch = message;
    if (batch->kind == BATCH_RECORDS)
        apply_records(client, batch);
    else if (batch->kind == BATCH_SNAPSHOT)
        on_snapshot(client, batch);
    else
        on_gone(client, batch);
    batch_destroy(batch);
    if (!loop_timer_armed(client->wake_timer))
        loop_timer_set(client->wake_timer, 0);
}

static void ask_again(void *ctx, const char *stream, void *value) {
    struct hub_client *client = ctx;
    struct copy *copy = value;
    if (!copy->in_step && loop_now_us(client->loop) - copy->asked_us >= ASK_AGAIN_US)
        copy_ask(client, stream, copy);
}

static void on_client_expire(void *ctx) {
    struct hub_client *client = ctx;
    store_expire(client->replica, loop_now_us(client->loop));
    map_each(client->copies, ask_again, client);
    loop_timer_set(client->expire_timer, EXPIRE_INTERVAL_US);
}

/* --- life cycle --- */

static void forget_expired(void *ctx, const char *name, void *value) {
    struct hub_client *client = ctx;
    (void)value;
    if (!store_find(client->hub->store, name))
        client_tell(client, name);
}

static void want_expire(void *ctx, const char *name, void *value) {
    struct hub *hub = ctx;
    struct want *want = value;
    if (want->found && !store_find(hub->store, name))
        want_removed(hub, want);
}

static void on_expire(void *ctx) {
    struct hub *hub = ctx;
    store_expire(hub->store, loop_now_us(hub->loop));
    map_each(hub->wants, want_expire, hub);
    for (uint32_t i = 0; i < hub->client_count; i++)
        map_each(hub->clients[i]->followed, forget_expired, hub->clients[i]);
    loop_timer_set(hub->expire_timer, EXPIRE_INTERVAL_US);
}

struct hub *hub_create(struct loop *loop, const struct store_settings *settings) {
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        abort();
    hub->loop = loop;
    hub->store = store_create(settings);
    hub->wants = map_create();
    list_init(&hub->removed);
    hub->inbox = mailbox_create(loop, INBOX_MAX, on_wish, free, hub);
    hub->flush_timer = loop_timer_create(loop, on_flush, hub);
    hub->resync_timer = loop_timer_create(loop, on_resync, hub);
    hub->expire_timer = loop_timer_create(loop, on_expire, hub);
    loop_timer_set(hub->expire_timer, EXPIRE_INTERVAL_US);
    return hub;
}

static void destroy_want(void *ctx, const char *name, void *value) {
    (void)name;
    want_destroy(ctx, value);
}

void hub_destroy(struct hub *hub) {
    if (!hub)
        return;
    mailbox_destroy(hub->inbox);
    map_each(hub->wants, destroy_want, hub);
    map_destroy(hub->wants);
    loop_timer_destroy(hub->flush_timer);
    loop_timer_destroy(hub->resync_timer);
    loop_timer_destroy(hub->expire_timer);
    store_destroy(hub->store);
    free(hub);
}

struct store *hub_store(struct hub *hub) {
    return hub->store;
}

struct hub_client *hub_client_create(struct hub *hub, struct loop *loop, struct store *replica,
                                     hub_client_fn *on_answer, void *ctx) {
    if (hub->client_count == CLIENTS_MAX)
        return NULL;
    struct hub_client *client = calloc(1, sizeof *client);
    if (!client)
        abort();
    *client = (struct hub_client){.hub = hub, .loop = loop, .replica = replica, .on_answer = on_answer, .ctx = ctx};
    client->followed = map_create();
    client->copies = map_create();
    client->box = mailbox_create(loop, CLIENT_BOX_MAX, on_batch, batch_destroy, client);
    client->wake_timer = loop_timer_create(loop, on_wake, client);
    client->expire_timer = loop_timer_create(loop, on_client_expire, client);
    loop_timer_set(client->expire_timer, EXPIRE_INTERVAL_US);
    hub->clients[hub->client_count++] = client;
    return client;
}

static void end_unfollowed(void *ctx, const char *name, void *value) {
    free(value);
    want_end_unfollowed(ctx, name);
    want_tracks(ctx, name);
}

static void destroy_copy(void *ctx, const char *stream, void *value) {
    (void)ctx, (void)stream;
    free(value);
}

void hub_client_destroy(struct hub_client *client) {
    if (!client)
        return;
    struct hub *hub = client->hub;
    for (uint32_t i = 0; i < hub->client_count; i++)
        if (hub->clients[i] == client)
            hub->clients[i] = hub->clients[--hub->client_count];
    map_each(client->followed, end_unfollowed, hub);
    mailbox_destroy(client->box);
    loop_timer_destroy(client->wake_timer);
    loop_timer_destroy(client->expire_timer);
    batch_destroy(client->pending);
    map_destroy(client->followed);
    map_each(client->copies, destroy_copy, NULL);
    map_destroy(client->copies);
    free(client);
}
