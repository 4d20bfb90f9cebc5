#include "common/fleet/etcd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/loop.h"
#include "common/base/map.h"

enum {
    OWN_MAX = 200000,
    PAGE_KEYS = 1000, /* of a reading: so many are decoded in one go. etcd counts all that follow for each page */
    PAGE_BYTES_MAX = 4 << 20,
    ANSWER_BYTES_MAX = 64 << 10,
    LINE_BYTES_MAX = 8 << 20, /* of a watch: etcd sends fragments of less than 2 MiB, in base64 */
    TXN_KEYS_MAX = 64,        /* etcd takes 128 */
    REQUEST_BYTES_MAX = 1 << 20,
    RETRY_MIN_US = 100000,
    RETRY_MAX_US = 2000000,
    PATIENCE_MIN_MS = 2000, /* with an answer: half the lease's time, within these */
    PATIENCE_MAX_MS = 5000,
    NOT_FOUND = 5, /* gRPC's */
};

/* A key of ours. */
struct own {
    struct list link;  /* in `dirty` or `sending`, or alone: it is as it should be */
    char *key, *value; /* value NULL: it is to be deleted */
    int64_t revision;  /* that it was written in; 0: not yet */
    bool seen;         /* by the reading under way */
    bool foreign;      /* somebody else has changed it since */
};

enum call { CALL_NONE, CALL_GRANT, CALL_KEEP_ALIVE, CALL_TXN, CALL_REVOKE };

struct etcd {
    struct loop *loop;
    struct http_client *client;
    struct etcd_settings settings;
    struct etcd_events events;
    void *ctx;
    size_t url;                     /* index of the one in use */
    uint32_t failures;              /* in a row */
    bool up, told, failed, leaving; /* told: whether it is up */
    char why[160];                  /* it is down, or failed */
    int64_t heard_us;
    struct buf request;
    struct loop_timer *work, *retry, *keep;

    struct http_fetch *call; /* what is asked now */
    enum call kind;
    struct etcd_answer answer;
    int answer_rc;
    bool served; /* a call was answered since this server is in use */

    int64_t lease; /* 0: none */
    bool keep_due;
    struct map *own;
    struct list dirty, sending; /* own.link */
    bool foreign;               /* one of them may be */
    int64_t awaited;            /* a revision that must be told of, because we wrote it; 0: none */
    int64_t awaited_us;         /* since when */

    struct http_fetch *feed; /* a page of the reading, or the watch */
    bool watching;
    uint32_t page_keys;
    int64_t read_revision; /* as of which is read; 0: nothing has been yet */
    char read_from[ETCD_KEY_LEN + 1];
    int64_t next_revision; /* that the watch goes on with; 0: everything is to be read */
    int64_t line_revision; /* of the newest event that it told */
    struct buf lines;
};

static void work_soon(struct etcd *etcd) {
    loop_timer_set(etcd->work, 0);
}

static void note_why(struct etcd *etcd, const char *why) {
    if (!etcd->why[0])
        snprintf(etcd->why, sizeof etcd->why, "%s", why);
    work_soon(etcd);
}

/* --- what is ours --- */

static void own_destroy(struct etcd *etcd, struct own *own) {
    map_remove(etcd->own, own->key);
    list_remove(&own->link);
    free(own->key);
    free(own->value);
    free(own);
}

static void own_dirty(struct etcd *etcd, struct own *own) {
    list_remove(&own->link);
    list_append(&etcd->dirty, &own->link);
    own->foreign = false;
    work_soon(etcd);
}

static char *copy(const char *text) {
    char *out = text ? strdup(text) : NULL;
    if (text && !out)
        abort();
    return out;
}

static void own_set(struct etcd *etcd, const char *key, const char *value) {
    struct own *own = map_get(etcd->own, key);
    if (!own && map_count(etcd->own) >= OWN_MAX)
        return;
    if (!own) {
        own = calloc(1, sizeof *own);
        if (!own)
            abort();
        own->key = copy(key);
        list_init(&own->link);
        map_set(etcd->own, key, own);
    }
    free(own->value);
    own->value = copy(value);
    own_dirty(etcd, own);
}

void etcd_set(struct etcd *etcd, const char *key, const char *value) {
    own_set(etcd, key, value);
}

void etcd_unset(struct etcd *etcd, const char *key) {
    own_set(etcd, key, NULL);
}

/* What came of a key of ours, in a reading or the watch. One that is being written is looked at when that has been told
 * of. */
static void note_own(struct etcd *etcd, const struct etcd_entry *entry) {
    struct own *own = map_get(etcd->own, entry->key);
    if (!own)
        return;
    own->seen = true;
    if (list_empty(&own->link) && entry->revision > own->revision)
        etcd->foreign = own->foreign = true;
}

static void forget_own(void *ctx, const char *key, void *value) {
    struct own *own = value;
    (void)key;
    own->revision = 0;
    own_dirty(ctx, own);
}

static void unsee_own(void *ctx, const char *key, void *value) {
    (void)ctx, (void)key;
    ((struct own *)value)->seen = false;
}

static void check_seen(void *ctx, const char *key, void *value) {
    struct etcd *etcd = ctx;
    struct own *own = value;
    (void)key;
    if (list_empty(&own->link) && !own->seen && own->revision <= etcd->read_revision)
        own_dirty(etcd, own);
}

static void check_foreign(void *ctx, const char *key, void *value) {
    struct own *own = value;
    (void)key;
    if (own->foreign)
        own_dirty(ctx, own);
}

/* --- when something goes wrong --- */

static void cancel(struct http_fetch **fetch) {
    if (*fetch)
        http_fetch_cancel(*fetch);
    *fetch = NULL;
}

static void close_call(struct etcd *etcd) {
    cancel(&etcd->call);
    etcd->kind = CALL_NONE;
    list_append_all(&etcd->dirty, &etcd->sending);
}

static void close_feed(struct etcd *etcd) {
    cancel(&etcd->feed);
    etcd->watching = false;
    etcd->read_revision = 0;
    etcd->line_revision = 0;
    buf_clear(&etcd->lines);
}

/* This server is no good: on to the next. */
static void fail(struct etcd *etcd, const char *why) {
    close_call(etcd);
    close_feed(etcd);
    etcd->failed = true;
    note_why(etcd, why);
}

/* Whatever etcd had of us, or told us, may be gone. */
static void start_over(struct etcd *etcd, const char *why) {
    fail(etcd, why);
    etcd->lease = 0;
    etcd->next_revision = etcd->awaited = 0;
    map_each(etcd->own, forget_own, etcd);
}

/* --- requests --- */

static struct http_fetch *post(struct etcd *etcd, const char *path, struct http_fetch_options *options) {
    char url[512];
    const struct http_header type = {"Content-Type", "application/json"};
    snprintf(url, sizeof url, "%s%s", etcd->settings.urls[etcd->url], path);
    options->url = url;
    options->headers = &type;
    options->header_count = 1;
    options->body = buf_head(&etcd->request);
    options->body_len = buf_len(&etcd->request);
    options->ctx = etcd;
    return http_client_fetch(etcd->client, options);
}

static void heard(struct etcd *etcd) {
    etcd->heard_us = loop_now_us(etcd->loop);
}

static const char *why_of(int rc, const struct etcd_answer *answer) {
    return rc == -EREMOTEIO ? answer->error : "an answer that isn't etcd's";
}

/* --- calls: the lease, and what is ours --- */

static void take_grant(struct etcd *etcd) {
    if (etcd->answer.lease <= 0 || etcd->answer.ttl_s <= 0) {
        fail(etcd, "no lease is granted");
        return;
    }
    etcd->lease = etcd->answer.lease;
    loop_timer_set(etcd->keep, etcd->answer.ttl_s * 1000000 / 3);
}

static void take_keep_alive(struct etcd *etcd) {
    if (etcd->answer.ttl_s <= 0) {
        start_over(etcd, "the lease is lost");
        return;
    }
    loop_timer_set(etcd->keep, etcd->answer.ttl_s * 1000000 / 3);
}

static void await_revision(struct etcd *etcd, int64_t revision) {
    if (!etcd->awaited)
        etcd->awaited_us = loop_now_us(etcd->loop);
    etcd->awaited = revision >= etcd->next_revision ? revision : 0;
}

/* A deletion of what isn't there makes no event to wait for. */
static void take_txn(struct etcd *etcd) {
    while (!list_empty(&etcd->sending)) {
        struct own *own = list_entry(etcd->sending.next, struct own, link);
        if (!own->value) {
            own_destroy(etcd, own);
            continue;
        }
        list_remove(&own->link);
        own->revision = etcd->answer.revision;
        await_revision(etcd, own->revision);
    }
}

static void take_answer(struct etcd *etcd, enum call kind) {
    heard(etcd);
    etcd->served = true;
    if (kind == CALL_GRANT)
        take_grant(etcd);
    else if (kind == CALL_KEEP_ALIVE)
        take_keep_alive(etcd);
    else if (kind == CALL_TXN)
        take_txn(etcd);
}

static void on_call_data(void *ctx, const uint8_t *data, size_t len) {
    struct etcd *etcd = ctx;
    etcd->answer_rc = etcd_json_answer((const char *)data, len, &etcd->answer, NULL, NULL);
}

static void on_call_end(void *ctx, int error, const char *text) {
    struct etcd *etcd = ctx;
    enum call kind = etcd->kind;
    etcd->call = NULL;
    etcd->kind = CALL_NONE;
    if (error)
        fail(etcd, text);
    else if (etcd->answer_rc == -EREMOTEIO && etcd->answer.code == NOT_FOUND)
        start_over(etcd, "the lease is lost");
    else if (etcd->answer_rc)
        fail(etcd, why_of(etcd->answer_rc, &etcd->answer));
    else
        take_answer(etcd, kind);
    work_soon(etcd);
}

static void write_txn(struct etcd *etcd) {
    etcd_json_txn_begin(&etcd->request);
    for (uint32_t i = 0; i < TXN_KEYS_MAX && !list_empty(&etcd->dirty); i++) {
        struct own *own = list_entry(etcd->dirty.next, struct own, link);
        list_remove(&own->link);
        list_append(&etcd->sending, &own->link);
        etcd_json_txn_add(&etcd->request, i, own->key, own->value, etcd->lease);
    }
    etcd_json_txn_end(&etcd->request);
}

static enum call next_call(const struct etcd *etcd) {
    return etcd->leaving               ? etcd->lease ? CALL_REVOKE : CALL_NONE
           : !etcd->lease              ? CALL_GRANT
           : etcd->keep_due            ? CALL_KEEP_ALIVE
           : !list_empty(&etcd->dirty) ? CALL_TXN
                                       : CALL_NONE;
}

static void start_call(struct etcd *etcd) {
    static const char *const paths[] = {[CALL_GRANT] = "/v3/lease/grant",
                                        [CALL_KEEP_ALIVE] = "/v3/lease/keepalive",
                                        [CALL_TXN] = "/v3/kv/txn",
                                        [CALL_REVOKE] = "/v3/lease/revoke"};
    enum call kind = next_call(etcd);
    if (kind == CALL_NONE)
        return;
    buf_clear(&etcd->request);
    if (kind == CALL_GRANT)
        etcd_json_grant(&etcd->request, etcd->settings.ttl_s);
    else if (kind == CALL_TXN)
        write_txn(etcd);
    else
        etcd_json_lease(&etcd->request, etcd->lease);
    if (kind == CALL_REVOKE)
        etcd->lease = 0;
    etcd->keep_due = false;
    etcd->kind = kind;
    etcd->answer_rc = -EBADMSG;
    etcd->call =
        post(etcd, paths[kind],
             &(struct http_fetch_options){.collect_bytes = ANSWER_BYTES_MAX, .data = on_call_data, .end = on_call_end});
}

/* What we wrote ourselves must come back by the watch: else it is dead, though its connection stands. */
static void on_keep(void *ctx) {
    struct etcd *etcd = ctx;
    etcd->keep_due = true;
    if (etcd->foreign)
        map_each(etcd->own, check_foreign, etcd);
    etcd->foreign = false;
    if (etcd->awaited && etcd->watching && loop_now_us(etcd->loop) - etcd->awaited_us > PATIENCE_MAX_MS * INT64_C(1000))
        fail(etcd, "its watch is silent");
    work_soon(etcd);
}

/* All that happened up to that revision has been told. */
static void reach(struct etcd *etcd, int64_t revision) {
    if (revision >= etcd->next_revision)
        etcd->next_revision = revision + 1;
    if (etcd->awaited < etcd->next_revision)
        etcd->awaited = 0;
}

/* --- the reading --- */

static void on_read_entry(void *ctx, const struct etcd_entry *entry) {
    struct etcd *etcd = ctx;
    note_own(etcd, entry);
    etcd->events.entry(etcd->ctx, entry);
}

static void on_page_data(void *ctx, const uint8_t *data, size_t len) {
    struct etcd *etcd = ctx;
    if (!etcd->read_revision) {
        map_each(etcd->own, unsee_own, NULL);
        etcd->events.begin(etcd->ctx);
    }
    struct etcd_answer answer;
    int rc = etcd_json_answer((const char *)data, len, &answer, on_read_entry, etcd);
    if (!rc && !etcd->read_revision)
        etcd->read_revision = answer.revision;
    if (rc || (answer.more && !answer.last_key[0]) || etcd->read_revision <= 0) {
        fail(etcd, rc ? why_of(rc, &answer) : "it can't be read");
        return;
    }
    heard(etcd);
    snprintf(etcd->read_from, sizeof etcd->read_from, "%s%s", answer.more ? answer.last_key : "",
             answer.more ? "\1" : "");
}

static void end_reading(struct etcd *etcd) {
    map_each(etcd->own, check_seen, etcd);
    reach(etcd, etcd->read_revision);
    etcd->read_revision = 0;
    etcd->events.complete(etcd->ctx);
}

static void on_page_end(void *ctx, int error, const char *text) {
    struct etcd *etcd = ctx;
    etcd->feed = NULL;
    if (error == -EMSGSIZE && etcd->page_keys > 1)
        etcd->page_keys /= 2; /* the same page again, smaller */
    else if (error)
        fail(etcd, text);
    else if (!etcd->read_from[0])
        end_reading(etcd);
    work_soon(etcd);
}

static void start_page(struct etcd *etcd) {
    const char *prefix = etcd->settings.prefix;
    etcd_json_range(&etcd->request, prefix, etcd->read_revision ? etcd->read_from : prefix, etcd->page_keys,
                    etcd->read_revision);
    etcd->feed =
        post(etcd, "/v3/kv/range",
             &(struct http_fetch_options){.collect_bytes = PAGE_BYTES_MAX, .data = on_page_data, .end = on_page_end});
}

/* --- the watch --- */

static void on_watch_entry(void *ctx, const struct etcd_entry *entry) {
    struct etcd *etcd = ctx;
    if (entry->revision > etcd->line_revision)
        etcd->line_revision = entry->revision;
    note_own(etcd, entry);
    etcd->events.entry(etcd->ctx, entry);
}

/* It has begun. A store that hasn't got as far as it had is another one. */
static void take_created(struct etcd *etcd, const struct etcd_answer *answer) {
    if (answer->revision + 1 < etcd->next_revision)
        start_over(etcd, "it has lost what it had");
    else
        etcd->watching = true;
    etcd->awaited_us = loop_now_us(etcd->loop);
}

static void take_cancelled(struct etcd *etcd, const struct etcd_answer *answer) {
    if (!answer->compacted) {
        fail(etcd, answer->error[0] ? answer->error : "its watch was cancelled");
        return;
    }
    close_feed(etcd);
    etcd->next_revision = 0;
}

/* The revision in an answer's head may be ahead of its events, when there are many; a fragment's, of the rest of them.
 */
static void note_revision(struct etcd *etcd, const struct etcd_answer *answer) {
    if (answer->fragment)
        return;
    reach(etcd, etcd->line_revision);
}

static void take_line(struct etcd *etcd, const char *line, size_t len) {
    struct etcd_answer answer;
    int rc = etcd_json_answer(line, len, &answer, on_watch_entry, etcd);
    if (rc) {
        fail(etcd, why_of(rc, &answer));
        return;
    }
    heard(etcd);
    if (answer.cancelled)
        take_cancelled(etcd, &answer);
    else if (answer.created)
        take_created(etcd, &answer);
    else
        note_revision(etcd, &answer);
    work_soon(etcd);
}

static void on_watch_data(void *ctx, const uint8_t *data, size_t len) {
    struct etcd *etcd = ctx;
    if (buf_append(&etcd->lines, data, len)) {
        fail(etcd, "an answer that is too long");
        return;
    }
    size_t looked = buf_len(&etcd->lines) - len; /* no line ends there */
    while (etcd->feed && buf_len(&etcd->lines) > looked) {
        const uint8_t *head = buf_head(&etcd->lines);
        const uint8_t *end = memchr(head + looked, '\n', buf_len(&etcd->lines) - looked);
        if (!end)
            return;
        take_line(etcd, (const char *)head, (size_t)(end - head));
        if (etcd->feed)
            buf_consume(&etcd->lines, (size_t)(end - head) + 1);
        looked = 0;
    }
}

static void on_watch_end(void *ctx, int error, const char *text) {
    struct etcd *etcd = ctx;
    etcd->feed = NULL;
    fail(etcd, error ? text : "its watch has ended");
}

static void start_watch(struct etcd *etcd) {
    etcd_json_watch(&etcd->request, etcd->settings.prefix, etcd->next_revision);
    etcd->feed = post(etcd, "/v3/watch", &(struct http_fetch_options){.data = on_watch_data, .end = on_watch_end});
}

static void start_feed(struct etcd *etcd) {
    buf_clear(&etcd->request);
    if (etcd->next_revision)
        start_watch(etcd);
    else
        start_page(etcd);
}

/* --- all together --- */

static void go_down(struct etcd *etcd) {
    bool news = etcd->up || !etcd->told;
    char why[sizeof etcd->why];
    memcpy(why, etcd->why, sizeof why);
    etcd->why[0] = 0;
    etcd->up = false;
    etcd->told = true;
    if (news)
        etcd->events.state(etcd->ctx, false, etcd->settings.urls[etcd->url], why);
}

static void go_up(struct etcd *etcd) {
    etcd->up = etcd->told = true;
    etcd->failures = 0;
    etcd->events.state(etcd->ctx, true, etcd->settings.urls[etcd->url], "");
}

/* To the next server: all are tried before the pause grows. With jitter, for all nodes may have lost the same one. */
static void move_on(struct etcd *etcd) {
    uint32_t round = etcd->failures++ / (uint32_t)etcd->settings.url_count;
    int64_t pause_us = RETRY_MIN_US << (round < 5 ? round : 5);
    pause_us = pause_us < RETRY_MAX_US ? pause_us : RETRY_MAX_US;
    etcd->url = (etcd->url + 1) % etcd->settings.url_count;
    etcd->failed = etcd->served = false;
    etcd->keep_due = true; /* the first call says whether the lease is still there */
    loop_timer_set(etcd->retry, pause_us / 2 + (int64_t)((double)pause_us / 2 * ((double)rand() / RAND_MAX)));
}

static void on_work(void *ctx) {
    struct etcd *etcd = ctx;
    if (etcd->why[0])
        go_down(etcd);
    if (etcd->failed)
        move_on(etcd);
    if (loop_timer_armed(etcd->retry))
        return;
    if (!etcd->call)
        start_call(etcd);
    if (!etcd->feed && !etcd->leaving)
        start_feed(etcd);
    bool written = list_empty(&etcd->dirty) && list_empty(&etcd->sending) && !etcd->awaited;
    if (!etcd->up && etcd->watching && etcd->served && etcd->lease && written)
        go_up(etcd);
}

void etcd_leave(struct etcd *etcd) {
    etcd->leaving = true;
    close_call(etcd);
    close_feed(etcd);
    work_soon(etcd);
}

double etcd_age_s(const struct etcd *etcd) {
    return (double)(loop_now_us(etcd->loop) - etcd->heard_us) / 1e6;
}

/* --- life --- */

/* Nothing that nodes show each other is etcd's to know. */
static struct http_client_config client_config(const struct etcd_settings *settings) {
    struct http_client_config config = settings->client;
    uint32_t patience_ms = settings->ttl_s * 500;
    patience_ms = patience_ms < PATIENCE_MIN_MS ? PATIENCE_MIN_MS : patience_ms;
    config.token = NULL;
    config.http1 = true;
    config.response_timeout_ms = patience_ms < PATIENCE_MAX_MS ? patience_ms : PATIENCE_MAX_MS;
    config.connect_timeout_ms = config.response_timeout_ms;
    return config;
}

struct etcd *etcd_create(struct loop *loop, const struct etcd_settings *settings, const struct etcd_events *events,
                         void *ctx) {
    struct etcd *etcd = calloc(1, sizeof *etcd);
    if (!etcd)
        abort();
    *etcd = (struct etcd){.loop = loop, .settings = *settings, .events = *events, .ctx = ctx, .page_keys = PAGE_KEYS};
    const struct http_client_config config = client_config(settings);
    etcd->client = http_client_create(loop, &config);
    etcd->own = map_create();
    list_init(&etcd->dirty);
    list_init(&etcd->sending);
    buf_init(&etcd->request, REQUEST_BYTES_MAX);
    buf_init(&etcd->lines, LINE_BYTES_MAX);
    etcd->work = loop_timer_create(loop, on_work, etcd);
    etcd->retry = loop_timer_create(loop, on_work, etcd);
    etcd->keep = loop_timer_create(loop, on_keep, etcd);
    heard(etcd);
    work_soon(etcd);
    return etcd;
}

static void destroy_own(void *ctx, const char *key, void *value) {
    (void)key;
    own_destroy(ctx, value);
}

void etcd_destroy(struct etcd *etcd) {
    if (!etcd)
        return;
    http_client_destroy(etcd->client);
    loop_timer_destroy(etcd->work);
    loop_timer_destroy(etcd->retry);
    loop_timer_destroy(etcd->keep);
    map_each(etcd->own, destroy_own, etcd);
    map_destroy(etcd->own);
    buf_finish(&etcd->request);
    buf_finish(&etcd->lines);
    free(etcd);
}
