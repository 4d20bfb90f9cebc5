#include "common/media/hub.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/base/map.h"

enum {
    INBOX_MAX = 65536,     /* wishes of clients */
    CLIENT_BOX_MAX = 1024, /* batches under way to one client */
    CLIENTS_MAX = 256,
    WAKE_BATCH = 256, /* waiters released a turn, so that one crowd doesn't hold up everybody else */
    BATCH_MAX = 1024, /* records */
    EXPIRE_INTERVAL_US = 1000000,
    RESYNC_INTERVAL_US = 50000,
};

/* What goes to a client. */
struct batch {
    enum { BATCH_RECORDS, BATCH_SNAPSHOT, BATCH_GONE } kind;
    char stream[STREAM_NAME_LEN]; /* snapshot, gone */
    uint32_t count, cap;
    struct record **records;
};

/* What comes from a client. */
struct wish {
    struct hub_client *client;
    bool follow;
    char stream[STREAM_NAME_LEN];
};

struct hub_client {
    struct hub *hub;
    /* hub's thread */
    struct map *followed;  /* names; the value is the client itself */
    struct batch *pending; /* records of this turn */
    bool overflowed;       /* the mailbox was full: snapshots are due */
    /* client's thread */
    struct store *replica;
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
    struct loop_timer *flush_timer, *expire_timer;
    struct hub_client *clients[CLIENTS_MAX];
    uint32_t client_count;
};

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
    free(batch);
}

/* --- hub to client --- */

static void client_overflow(struct hub_client *client) {
    client->overflowed = true;
    loop_timer_set(client->hub->flush_timer, RESYNC_INTERVAL_US);
}

static void client_post(struct hub_client *client, struct batch *batch) {
    if (!mailbox_post(client->box, batch))
        return;
    batch_destroy(batch);
    client_overflow(client);
}

static void client_flush(struct hub_client *client) {
    struct batch *batch = client->pending;
    client->pending = NULL;
    if (batch)
        client_post(client, batch);
}

static void client_send_snapshot(struct hub_client *client, const struct stream *stream) {
    struct batch *batch = batch_create(BATCH_SNAPSHOT, stream->name);
    stream_replay(stream, batch_add, batch);
    if (stream->state != STREAM_LIVE) {
        struct record *state = record_create(RECORD_STATE, stream->name, stream->epoch);
        state->state.state = stream->state;
        batch_add(batch, state);
        record_unref(state);
    }
    client_post(client, batch);
}

static void resync_one(void *ctx, const char *name, void *value) {
    struct hub_client *client = ctx;
    (void)value;
    struct stream *stream = store_find(client->hub->store, name);
    if (stream && !client->overflowed)
        client_send_snapshot(client, stream);
}

static void on_flush(void *ctx) {
    struct hub *hub = ctx;
    for (uint32_t i = 0; i < hub->client_count; i++) {
        struct hub_client *client = hub->clients[i];
        if (client->overflowed) {
            batch_destroy(client->pending);
            client->pending = NULL;
            client->overflowed = false;
            map_each(client->followed, resync_one, client);
        } else {
            client_flush(client);
        }
    }
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
        else if (!loop_timer_armed(hub->flush_timer))
            loop_timer_set(hub->flush_timer, 0);
    }
}

int hub_write(struct hub *hub, struct record *record) {
    int rc = store_apply(hub->store, record, loop_now_us(hub->loop));
    if (!rc)
        forward(hub, record);
    record_unref(record);
    return rc;
}

/* --- client to hub --- */

static void client_tell_gone(struct hub_client *client, const char *name) {
    client_flush(client);
    client_post(client, batch_create(BATCH_GONE, name));
}

static void on_wish(void *ctx, void *message) {
    struct hub *hub = ctx;
    struct wish *wish = message;
    struct hub_client *client = wish->client;
    struct stream *stream = store_find(hub->store, wish->stream);
    if (!wish->follow) {
        map_remove(client->followed, wish->stream);
    } else if (!stream || !stream->open) {
        client_tell_gone(client, wish->stream);
    } else {
        map_set(client->followed, wish->stream, client);
        client_flush(client);
        if (!client->overflowed)
            client_send_snapshot(client, stream);
    }
    free(wish);
}

static void wish_post(struct hub_client *client, const char *stream, bool follow) {
    struct wish *wish = calloc(1, sizeof *wish);
    if (!wish)
        abort();
    wish->client = client;
    wish->follow = follow;
    strcpy(wish->stream, stream);
    if (mailbox_post(client->hub->inbox, wish))
        free(wish); /* the asker's own deadline answers instead */
}

void hub_client_follow(struct hub_client *client, const char *stream) {
    wish_post(client, stream, true);
}

void hub_client_unfollow(struct hub_client *client, const char *stream) {
    struct stream *copy = store_find(client->replica, stream);
    if (copy)
        store_remove(client->replica, copy);
    wish_post(client, stream, false);
}

/* --- client's loop --- */

static void on_wake(void *ctx) {
    struct hub_client *client = ctx;
    if (store_wake(client->replica, WAKE_BATCH))
        loop_timer_set(client->wake_timer, 0);
}

static void move_waiters(struct list *to, struct list *from) {
    list_each(it, from) {
        list_remove(it);
        list_append(to, it);
    }
}

static void apply_records(struct hub_client *client, const struct batch *batch) {
    int64_t now_us = loop_now_us(client->loop);
    for (uint32_t i = 0; i < batch->count; i++)
        store_apply(client->replica, batch->records[i],
                    now_us); /* the hub has checked it: it fits, or is there already */
}

/* The stream anew; who waits for it goes on waiting. */
static void apply_snapshot(struct hub_client *client, const struct batch *batch) {
    struct list waiters;
    list_init(&waiters);
    struct stream *old = store_find(client->replica, batch->stream);
    if (old) {
        move_waiters(&waiters, &old->waiters);
        store_remove(client->replica, old);
    }
    apply_records(client, batch); /* an open record comes first: the stream is there again */
    move_waiters(&store_find(client->replica, batch->stream)->waiters, &waiters);
}

static void on_batch(void *ctx, void *message) {
    struct hub_client *client = ctx;
    struct batch *batch = message;
    if (batch->kind == BATCH_RECORDS)
        apply_records(client, batch);
    if (batch->kind == BATCH_SNAPSHOT)
        apply_snapshot(client, batch);
    if (batch->kind == BATCH_GONE) {
        struct stream *stream = store_find(client->replica, batch->stream);
        if (stream)
            store_remove(client->replica, stream);
    }
    if (batch->kind != BATCH_RECORDS)
        client->on_answer(client->ctx, batch->stream, batch->kind == BATCH_SNAPSHOT);
    batch_destroy(batch);
    if (!loop_timer_armed(client->wake_timer))
        loop_timer_set(client->wake_timer, 0);
}

static void on_client_expire(void *ctx) {
    struct hub_client *client = ctx;
    store_expire(client->replica, loop_now_us(client->loop));
    loop_timer_set(client->expire_timer, EXPIRE_INTERVAL_US);
}

/* --- life cycle --- */

static void forget_expired(void *ctx, const char *name, void *value) {
    struct hub_client *client = ctx;
    (void)value;
    if (store_find(client->hub->store, name))
        return;
    client_tell_gone(client, name);
    map_remove(client->followed, name);
}

static void on_expire(void *ctx) {
    struct hub *hub = ctx;
    store_expire(hub->store, loop_now_us(hub->loop));
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
    hub->inbox = mailbox_create(loop, INBOX_MAX, on_wish, free, hub);
    hub->flush_timer = loop_timer_create(loop, on_flush, hub);
    hub->expire_timer = loop_timer_create(loop, on_expire, hub);
    loop_timer_set(hub->expire_timer, EXPIRE_INTERVAL_US);
    return hub;
}

void hub_destroy(struct hub *hub) {
    if (!hub)
        return;
    mailbox_destroy(hub->inbox);
    loop_timer_destroy(hub->flush_timer);
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
    client->box = mailbox_create(loop, CLIENT_BOX_MAX, on_batch, batch_destroy, client);
    client->wake_timer = loop_timer_create(loop, on_wake, client);
    client->expire_timer = loop_timer_create(loop, on_client_expire, client);
    loop_timer_set(client->expire_timer, EXPIRE_INTERVAL_US);
    hub->clients[hub->client_count++] = client;
    return client;
}

void hub_client_destroy(struct hub_client *client) {
    if (!client)
        return;
    struct hub *hub = client->hub;
    for (uint32_t i = 0; i < hub->client_count; i++)
        if (hub->clients[i] == client)
            hub->clients[i] = hub->clients[--hub->client_count];
    mailbox_destroy(client->box);
    loop_timer_destroy(client->wake_timer);
    loop_timer_destroy(client->expire_timer);
    batch_destroy(client->pending);
    map_destroy(client->followed);
    free(client);
}
