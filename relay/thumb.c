/* All state is the thread's: workers post asks to it and it posts them back, answered. */
#include "relay/thumb.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "relay/thumb_image.h"

enum {
    CLIENT_ASKS_MAX = 1024, /* under way, a client */
    ASKS_MAX = 4096,        /* that the thread hasn't looked at yet */
    QUEUE_MAX = 256,        /* to be made */
    KEPT_MAX = 3072,        /* streams times widths */
    LATE_US = 4000000,      /* who has waited so long is better off with another try */
    SHARE = 20,             /* one that took a second is kept for twenty */
    SWEEP_US = 5000000,
    NICENESS = 10,
    FAILURE_LINES_PER_S = 1,
    KEY_LEN = STREAM_NAME_LEN + 16,
};

struct thumb_ask {
    struct list link; /* the thread's */
    struct thumbs_client *client;
    char stream[STREAM_NAME_LEN];
    uint32_t width;
    struct blob *init;
    struct slice chunk; /* with a reference */
    char etag[THUMB_ETAG_LEN];
    /* The answer. */
    struct blob *jpeg;
    uint32_t fresh_s;
    /* The client's; NULL: cancelled. */
    thumb_fn *fn;
    void *ctx;
};

struct thumbs_client {
    struct thumbs *thumbs;
    struct mailbox *answers;
    uint32_t asking;
};

/* Of a stream and a width: in the queue with those who wait for it, or made, or known not to be possible. */
struct thumb {
    struct list queued, waiting;
    bool is_queued;
    char etag[THUMB_ETAG_LEN];
    struct blob *jpeg;
    int64_t since_us; /* in the queue */
    int64_t until_us; /* kept */
};

struct thumbs {
    struct loop *loop;
    struct mailbox *asks;
    struct loop_timer *work, *sweep;
    struct map *kept;
    struct list queue;
    uint32_t queue_len;
    int64_t interval_us;
    pthread_t thread;
    bool runs;
};

#define TOTAL                                                                                                          \
    "Thumbnails asked for: made; given again within the interval; of key frames that can't be decoded; not made in "   \
    "time."
static struct metric metrics[] = {
    {"weir_thumbs_total", "result=\"made\"", TOTAL, METRIC_COUNTER, 0},
    {"weir_thumbs_total", "result=\"kept\"", TOTAL, METRIC_COUNTER, 0},
    {"weir_thumbs_total", "result=\"failed\"", TOTAL, METRIC_COUNTER, 0},
    {"weir_thumbs_total", "result=\"busy\"", TOTAL, METRIC_COUNTER, 0},
    {"weir_thumbs_cpu_seconds_total", NULL, "CPU time that thumbnails took to be made.", METRIC_SECONDS, 0},
};
enum { M_MADE, M_KEPT, M_FAILED, M_BUSY, M_CPU };

void thumbs_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- asks --- */

static void ask_free(void *message) {
    struct thumb_ask *ask = message;
    blob_unref(ask->init);
    blob_unref(ask->chunk.blob);
    blob_unref(ask->jpeg);
    free(ask);
}

static void on_answer(void *ctx, void *message) {
    struct thumbs_client *client = ctx;
    struct thumb_ask *ask = message;
    client->asking--;
    if (ask->fn)
        ask->fn(ask->ctx, &(struct thumb_answer){.jpeg = ask->jpeg, .etag = ask->etag, .fresh_s = ask->fresh_s});
    ask_free(ask);
}

struct thumb_ask *thumbs_ask(struct thumbs_client *client, const struct thumb_source *source, thumb_fn *fn, void *ctx) {
    const struct record_chunk *chunk = &source->chunk->chunk;
    if (client->asking >= CLIENT_ASKS_MAX)
        return NULL;
    struct thumb_ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        abort();
    *ask = (struct thumb_ask){.client = client, .width = source->width, .chunk = chunk->body, .fn = fn, .ctx = ctx};
    snprintf(ask->stream, sizeof ask->stream, "%s", source->stream);
    snprintf(ask->etag, sizeof ask->etag, "\"t-%" PRIu64 "-%" PRIu64 "-%u-%u-%u\"", source->chunk->epoch, chunk->msn,
             chunk->track, chunk->number, source->width);
    ask->init = blob_ref((struct blob *)source->init);
    blob_ref(ask->chunk.blob);
    if (mailbox_post(client->thumbs->asks, ask)) {
        ask_free(ask);
        return NULL;
    }
    client->asking++;
    return ask;
}

void thumb_ask_cancel(struct thumb_ask *ask) {
    ask->fn = NULL;
}

/* To the client, which has room for all that it asks. */
static void ask_answer(struct thumb_ask *ask, struct blob *jpeg, const char *etag, int64_t fresh_us) {
    ask->jpeg = jpeg ? blob_ref(jpeg) : NULL;
    if (etag != ask->etag)
        memcpy(ask->etag, etag, sizeof ask->etag);
    ask->fresh_s = fresh_us > 0 ? (uint32_t)(fresh_us / 1000000) : 0;
    if (mailbox_post(ask->client->answers, ask))
        abort();
}

static void ask_turn_away(struct thumb_ask *ask) {
    metric_add(&metrics[M_BUSY], 1);
    ask_answer(ask, NULL, ask->etag, 0);
}

/* --- thumbnails --- */

static void thumb_free(struct thumb *thumb) {
    list_each(link, &thumb->waiting) ask_free(list_entry(link, struct thumb_ask, link));
    blob_unref(thumb->jpeg);
    free(thumb);
}

static void give(struct thumbs *thumbs, struct thumb *thumb, struct thumb_ask *ask) {
    ask_answer(ask, thumb->jpeg, thumb->etag, thumb->until_us - loop_now_us(thumbs->loop));
}

static void sweep_one(void *ctx, const char *key, void *value) {
    struct thumbs *thumbs = ctx;
    struct thumb *thumb = value;
    if (thumb->is_queued || loop_now_us(thumbs->loop) < thumb->until_us)
        return;
    map_remove(thumbs->kept, key);
    thumb_free(thumb);
}

static void on_sweep(void *ctx) {
    struct thumbs *thumbs = ctx;
    map_each(thumbs->kept, sweep_one, thumbs);
    loop_timer_set(thumbs->sweep, SWEEP_US);
}

/* --- making --- */

static int64_t cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void log_failure(const struct thumb_ask *ask, int rc) {
    static struct log_limit limit;
    uint32_t suppressed;
    if (log_limit_pass(&limit, FAILURE_LINES_PER_S, &suppressed))
        log_warn("thumb_failed", "stream", LOG_STR(ask->stream), "error", LOG_STR(strerror(-rc)),
                 LOG_SUPPRESSED(suppressed));
}

/* Of what the first of those who wait came with. */
static void thumb_make(struct thumbs *thumbs, struct thumb *thumb) {
    const struct thumb_ask *ask = list_entry(thumb->waiting.next, struct thumb_ask, link);
    int64_t before_us = cpu_us();
    blob_unref(thumb->jpeg);
    thumb->jpeg = NULL;
    int rc = thumb_image_make(ask->init, &ask->chunk, ask->width, &thumb->jpeg);
    int64_t took_us = cpu_us() - before_us;
    metric_add(&metrics[M_CPU], took_us);
    metric_add(&metrics[rc ? M_FAILED : M_MADE], 1);
    if (rc)
        log_failure(ask, rc);
    memcpy(thumb->etag, ask->etag, sizeof thumb->etag);
    int64_t keep_us = took_us * SHARE > thumbs->interval_us ? took_us * SHARE : thumbs->interval_us;
    thumb->until_us = loop_now_us(thumbs->loop) + keep_us;
}

static void thumb_give_all(struct thumbs *thumbs, struct thumb *thumb) {
    bool first = true;
    list_each(link, &thumb->waiting) {
        list_remove(link);
        if (!first)
            metric_add(&metrics[M_KEPT], 1);
        first = false;
        give(thumbs, thumb, list_entry(link, struct thumb_ask, link));
    }
}

static void thumb_turn_all_away(struct thumb *thumb) {
    list_each(link, &thumb->waiting) {
        list_remove(link);
        ask_turn_away(list_entry(link, struct thumb_ask, link));
    }
}

/* One a turn of the loop, so that who asks for one that is kept waits for one at most. */
static void on_work(void *ctx) {
    struct thumbs *thumbs = ctx;
    if (list_empty(&thumbs->queue))
        return;
    struct thumb *thumb = list_entry(thumbs->queue.next, struct thumb, queued);
    list_remove(&thumb->queued);
    thumb->is_queued = false;
    thumbs->queue_len--;
    if (loop_now_us(thumbs->loop) - thumb->since_us > LATE_US) {
        thumb_turn_all_away(thumb);
    } else {
        thumb_make(thumbs, thumb);
        thumb_give_all(thumbs, thumb);
    }
    loop_timer_set(thumbs->work, 0);
}

static struct thumb *thumb_find(struct thumbs *thumbs, const struct thumb_ask *ask) {
    char key[KEY_LEN];
    snprintf(key, sizeof key, "%s?%u", ask->stream, ask->width);
    struct thumb *thumb = map_get(thumbs->kept, key);
    if (thumb || map_count(thumbs->kept) >= KEPT_MAX)
        return thumb;
    thumb = calloc(1, sizeof *thumb);
    if (!thumb)
        abort();
    list_init(&thumb->queued);
    list_init(&thumb->waiting);
    map_set(thumbs->kept, key, thumb);
    return thumb;
}

static void enqueue(struct thumbs *thumbs, struct thumb *thumb) {
    thumb->is_queued = true;
    thumb->since_us = loop_now_us(thumbs->loop);
    list_append(&thumbs->queue, &thumb->queued);
    thumbs->queue_len++;
    loop_timer_set(thumbs->work, 0);
}

static void on_ask(void *ctx, void *message) {
    struct thumbs *thumbs = ctx;
    struct thumb_ask *ask = message;
    struct thumb *thumb = thumb_find(thumbs, ask);
    if (thumb && !thumb->is_queued && loop_now_us(thumbs->loop) < thumb->until_us) {
        metric_add(&metrics[M_KEPT], 1);
        give(thumbs, thumb, ask);
    } else if (!thumb || (!thumb->is_queued && thumbs->queue_len >= QUEUE_MAX)) {
        ask_turn_away(ask);
    } else {
        list_init(&ask->link);
        list_append(&thumb->waiting, &ask->link);
        if (!thumb->is_queued)
            enqueue(thumbs, thumb);
    }
}

/* --- life cycle --- */

static void *run(void *ctx) {
    struct thumbs *thumbs = ctx;
    setpriority(PRIO_PROCESS, 0, NICENESS); /* of this thread, on Linux: viewers go first */
    loop_run(thumbs->loop);
    return NULL;
}

struct thumbs *thumbs_create(int64_t interval_us) {
    struct thumbs *thumbs = calloc(1, sizeof *thumbs);
    sigset_t all, before; /* signals are the main thread's */
    if (!thumbs)
        abort();
    thumbs->interval_us = interval_us;
    thumbs->loop = loop_create();
    thumbs->kept = map_create();
    list_init(&thumbs->queue);
    thumbs->asks = mailbox_create(thumbs->loop, ASKS_MAX, on_ask, ask_free, thumbs);
    thumbs->work = loop_timer_create(thumbs->loop, on_work, thumbs);
    thumbs->sweep = loop_timer_create(thumbs->loop, on_sweep, thumbs);
    loop_timer_set(thumbs->sweep, SWEEP_US);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thumbs->thread, NULL, run, thumbs))
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    thumbs->runs = true;
    return thumbs;
}

void thumbs_stop(struct thumbs *thumbs) {
    if (!thumbs || !thumbs->runs)
        return;
    loop_stop(thumbs->loop);
    pthread_join(thumbs->thread, NULL);
    thumbs->runs = false;
}

static void free_one(void *ctx, const char *key, void *value) {
    (void)ctx, (void)key;
    thumb_free(value);
}

void thumbs_destroy(struct thumbs *thumbs) {
    if (!thumbs)
        return;
    thumbs_stop(thumbs);
    mailbox_destroy(thumbs->asks);
    loop_timer_destroy(thumbs->work);
    loop_timer_destroy(thumbs->sweep);
    map_each(thumbs->kept, free_one, NULL);
    map_destroy(thumbs->kept);
    loop_destroy(thumbs->loop);
    free(thumbs);
}

struct thumbs_client *thumbs_client_create(struct thumbs *thumbs, struct loop *loop) {
    struct thumbs_client *client = calloc(1, sizeof *client);
    if (!client)
        abort();
    client->thumbs = thumbs;
    client->answers = mailbox_create(loop, CLIENT_ASKS_MAX, on_answer, ask_free, client);
    return client;
}

void thumbs_client_destroy(struct thumbs_client *client) {
    if (!client)
        return;
    mailbox_destroy(client->answers);
    free(client);
}
