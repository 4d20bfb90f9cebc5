#include "ingest/ladder.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/base/list.h"
#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/base/metrics.h"

enum {
    MESSAGES_MAX = 8192,
    NICENESS = 2,
    LATE_US = LADDER_LATE_MS * 1000,
    LATE_FOR_US = 1000000, /* so long, before a rung is dropped: what was held up on its way comes all at once */
    SETTLE_US = 2000000,   /* between two drops, and at first */
    RETRY_US = 1000,       /* the loop doesn't take messages */
};

/* A source frame on its way to the thread, or the wish to drain. */
struct job {
    struct list link;
    bool drain;
    struct transcode_slot slot;
    int64_t pushed_us;
    size_t len;
    uint8_t data[];
};

/* On its way to the loop. */
struct message {
    enum { MESSAGE_READY, MESSAGE_FRAME, MESSAGE_DROPPED, MESSAGE_DRAINED } kind;
    const char *why;
    struct transcode_frame frame;
    uint8_t data[]; /* of the frame; outputs */
};

struct ladder {
    struct loop *loop;
    struct ladder_events events;
    void *ctx;
    struct mailbox *box;
    struct loop_timer *reaper;
    bool calling, dead;
    uint32_t running; /* rungs */
    pthread_t thread;
    /* the thread's, from creation on */
    struct transcode_settings settings;
    uint8_t *config, *key;
    char encoder[64], preset[32];
    size_t key_len;
    struct transcode *transcode;
    bool told_closed[RUNGS_MAX];
    int64_t late_since_us; /* 0: it isn't late */
    int64_t settled_us;    /* no rung is dropped before; 0: nothing came yet */
    uint64_t busy_before_us[RUNGS_MAX];
    uint64_t repeated;
    /* both threads' */
    atomic_bool stopping;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t filled;
    struct list jobs;
    size_t job_count, job_bytes;
    bool overrun; /* more waited than may */
};

static struct metric metrics[] = {
    {"weir_ladder_running", NULL,
     "Ladders: one a publisher whose picture is transcoded, or one a rung that runs on demand.", METRIC_GAUGE, 0},
    {"weir_ladder_rungs_running", NULL, "Rungs that are transcoded now.", METRIC_GAUGE, 0},
    {"weir_ladder_frames_total", NULL, "Frames encoded, of all rungs.", METRIC_COUNTER, 0},
    {"weir_ladder_frames_repeated_total", NULL,
     "Source frames that could not be decoded: the picture before stands in for them.", METRIC_COUNTER, 0},
    {"weir_ladder_rungs_dropped_total", NULL,
     "Rungs given up because the machine can't keep up, or their encoder failed.", METRIC_COUNTER, 0},
    {"weir_ladder_busy_seconds_total", NULL, "Time that scaling and encoding took, all rungs.", METRIC_SECONDS, 0},
};
enum { M_RUNNING, M_RUNGS, M_FRAMES, M_REPEATED, M_DROPPED, M_BUSY };

void ladder_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static int64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void *must(void *allocated) {
    if (!allocated)
        abort();
    return allocated;
}

/* --- the thread: to the loop --- */

static void post(struct ladder *ladder, struct message *message) {
    while (mailbox_post(ladder->box, message)) {
        if (atomic_load(&ladder->stopping)) {
            free(message);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = RETRY_US * 1000}, NULL);
    }
}

static struct message *new_message(int kind, const char *why, const void *data, size_t len) {
    struct message *message = must(malloc(sizeof *message + len));
    *message = (struct message){.kind = kind, .why = why};
    if (len)
        memcpy(message->data, data, len);
    return message;
}

static void on_emit(void *ctx, const struct transcode_frame *frame) {
    struct message *message = new_message(MESSAGE_FRAME, NULL, frame->data, frame->len);
    message->frame = *frame;
    post(ctx, message);
}

static void post_dropped(struct ladder *ladder, uint32_t rung, const char *why) {
    struct message *message = new_message(MESSAGE_DROPPED, why, NULL, 0);
    message->frame.rung = rung;
    ladder->told_closed[rung] = true;
    post(ladder, message);
}

/* --- the thread: keeping up --- */

static void drop(struct ladder *ladder, uint32_t rung, const char *why) {
    transcode_close(ladder->transcode, rung);
    post_dropped(ladder, rung, why);
}

/* The one that took most time since the last drop. */
static void drop_costliest(struct ladder *ladder, int64_t now) {
    uint32_t costliest = RUNGS_MAX;
    uint64_t most_us = 0;
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++) {
        uint64_t busy_us = transcode_busy_us(ladder->transcode, i) - ladder->busy_before_us[i];
        ladder->busy_before_us[i] += busy_us;
        if (!transcode_closed(ladder->transcode, i) && (costliest == RUNGS_MAX || busy_us > most_us)) {
            costliest = i;
            most_us = busy_us;
        }
    }
    ladder->settled_us = now + SETTLE_US;
    ladder->late_since_us = 0;
    if (costliest < RUNGS_MAX)
        drop(ladder, costliest, "the machine can't keep up");
}

static void keep_up(struct ladder *ladder, const struct job *job) {
    int64_t now = now_us();
    if (!ladder->settled_us)
        ladder->settled_us = now + SETTLE_US; /* what was collected while it began comes first */
    if (now - job->pushed_us < LATE_US)
        ladder->late_since_us = 0;
    else if (!ladder->late_since_us)
        ladder->late_since_us = now;
    else if (now - ladder->late_since_us >= LATE_FOR_US && now >= ladder->settled_us)
        drop_costliest(ladder, now);
}

static void drop_all(struct ladder *ladder) {
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++)
        if (!transcode_closed(ladder->transcode, i))
            drop(ladder, i, "the machine can't keep up");
}

/* --- the thread: its work --- */

static bool begin(struct ladder *ladder) {
    const char *why = NULL;
    bool ok =
        !transcode_create(&ladder->settings, ladder->key, ladder->key_len, on_emit, ladder, &ladder->transcode, &why);
    struct transcode_output outputs[RUNGS_MAX] = {0};
    for (uint32_t i = 0; ok && i < ladder->settings.rung_count; i++)
        outputs[i] = *transcode_output(ladder->transcode, i);
    post(ladder, new_message(MESSAGE_READY, ok ? NULL : why, outputs, sizeof outputs));
    return ok;
}

/* NULL: the end. */
static struct job *take_job(struct ladder *ladder, bool *ret_overrun) {
    struct job *job = NULL;
    pthread_mutex_lock(&ladder->lock);
    while (list_empty(&ladder->jobs) && !atomic_load(&ladder->stopping))
        pthread_cond_wait(&ladder->filled, &ladder->lock);
    if (!atomic_load(&ladder->stopping)) {
        job = list_entry(ladder->jobs.next, struct job, link);
        list_remove(&job->link);
        ladder->job_count--;
        ladder->job_bytes -= job->len;
    }
    *ret_overrun = ladder->overrun;
    pthread_mutex_unlock(&ladder->lock);
    return job;
}

static void tell_closed(struct ladder *ladder) {
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++)
        if (transcode_closed(ladder->transcode, i) && !ladder->told_closed[i])
            post_dropped(ladder, i, "the encoder failed");
}

static bool all_closed(const struct ladder *ladder) {
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++)
        if (!transcode_closed(ladder->transcode, i))
            return false;
    return true;
}

static void do_job(struct ladder *ladder, const struct job *job) {
    uint64_t before_us = 0, after_us = 0;
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++)
        before_us += transcode_busy_us(ladder->transcode, i);
    if (!job->drain && !all_closed(ladder))
        keep_up(ladder, job);
    if (job->drain)
        transcode_drain(ladder->transcode);
    else if (!all_closed(ladder))
        transcode_frame(ladder->transcode, &job->slot, job->data, job->len);
    tell_closed(ladder);
    if (job->drain)
        post(ladder, new_message(MESSAGE_DRAINED, NULL, NULL, 0));
    for (uint32_t i = 0; i < ladder->settings.rung_count; i++)
        after_us += transcode_busy_us(ladder->transcode, i);
    metric_add(&metrics[M_BUSY], (int64_t)(after_us - before_us));
    metric_add(&metrics[M_REPEATED], (int64_t)(transcode_repeated(ladder->transcode) - ladder->repeated));
    ladder->repeated = transcode_repeated(ladder->transcode);
}

static void *run(void *ctx) {
    struct ladder *ladder = ctx;
    struct job *job;
    bool overrun;
    pthread_setname_np(pthread_self(), "weir-ladder");
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICENESS); /* of this thread alone */
    if (!begin(ladder))
        return NULL;
    while ((job = take_job(ladder, &overrun))) {
        if (overrun)
            drop_all(ladder);
        do_job(ladder, job);
        free(job);
    }
    return NULL;
}

/* --- the loop --- */

static void set_running(struct ladder *ladder, uint32_t rungs) {
    metric_add(&metrics[M_RUNGS], (int64_t)rungs - ladder->running);
    ladder->running = rungs;
}

static void deliver(struct ladder *ladder, const struct message *message) {
    struct transcode_frame frame = message->frame;
    const struct ladder_events *events = &ladder->events;
    switch (message->kind) {
    case MESSAGE_READY:
        events->on_ready(ladder->ctx, (const void *)message->data, message->why);
        break;
    case MESSAGE_FRAME:
        frame.data = message->data;
        metric_add(&metrics[M_FRAMES], 1);
        events->on_frame(ladder->ctx, &frame);
        break;
    case MESSAGE_DROPPED:
        metric_add(&metrics[M_DROPPED], 1);
        set_running(ladder, ladder->running - 1);
        events->on_dropped(ladder->ctx, frame.rung, message->why);
        break;
    case MESSAGE_DRAINED:
        events->on_drained(ladder->ctx);
        break;
    }
}

static void on_message(void *ctx, void *message) {
    struct ladder *ladder = ctx;
    if (!ladder->dead) {
        ladder->calling = true;
        deliver(ladder, message);
        ladder->calling = false;
    }
    free(message);
}

static void reap(void *ctx) {
    struct ladder *ladder = ctx;
    mailbox_destroy(ladder->box);
    loop_timer_destroy(ladder->reaper);
    while (!list_empty(&ladder->jobs)) {
        struct job *job = list_entry(ladder->jobs.next, struct job, link);
        list_remove(&job->link);
        free(job);
    }
    transcode_destroy(ladder->transcode);
    pthread_cond_destroy(&ladder->filled);
    pthread_mutex_destroy(&ladder->lock);
    free(ladder->config);
    free(ladder->key);
    free(ladder);
}

static void *copy(const void *data, size_t len) {
    return memcpy(must(malloc(len ? len : 1)), data, len);
}

static void start_thread(struct ladder *ladder) {
    sigset_t all, before; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&ladder->thread, NULL, run, ladder);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        abort();
}

struct ladder *ladder_create(struct loop *loop, const struct transcode_settings *settings, const uint8_t *key,
                             size_t len, const struct ladder_events *events, void *ctx) {
    struct ladder *ladder = must(calloc(1, sizeof *ladder));
    ladder->loop = loop;
    ladder->events = *events;
    ladder->ctx = ctx;
    ladder->box = mailbox_create(loop, MESSAGES_MAX, on_message, free, ladder);
    ladder->reaper = loop_timer_create(loop, reap, ladder);
    ladder->settings = *settings;
    ladder->settings.config = ladder->config = copy(settings->config, settings->config_len);
    strncpy(ladder->encoder, settings->encoder, sizeof ladder->encoder - 1);
    strncpy(ladder->preset, settings->preset, sizeof ladder->preset - 1);
    ladder->settings.encoder = ladder->encoder;
    ladder->settings.preset = ladder->preset;
    ladder->key = copy(key, len);
    ladder->key_len = len;
    list_init(&ladder->jobs);
    pthread_mutex_init(&ladder->lock, NULL);
    pthread_cond_init(&ladder->filled, NULL);
    metric_add(&metrics[M_RUNNING], 1);
    set_running(ladder, settings->rung_count);
    start_thread(ladder);
    return ladder;
}

static void add_job(struct ladder *ladder, struct job *job) {
    pthread_mutex_lock(&ladder->lock);
    list_append(&ladder->jobs, &job->link);
    ladder->job_count++;
    ladder->job_bytes += job->len;
    pthread_cond_signal(&ladder->filled);
    pthread_mutex_unlock(&ladder->lock);
}

static bool has_room(struct ladder *ladder, size_t len) {
    pthread_mutex_lock(&ladder->lock);
    ladder->overrun |= ladder->job_count >= LADDER_FRAMES_MAX || ladder->job_bytes + len > LADDER_BYTES_MAX;
    bool room = !ladder->overrun;
    pthread_mutex_unlock(&ladder->lock);
    return room;
}

void ladder_push(struct ladder *ladder, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    if (!has_room(ladder, len))
        return;
    struct job *job = must(malloc(sizeof *job + len));
    *job = (struct job){.slot = *slot, .pushed_us = now_us(), .len = len};
    memcpy(job->data, data, len);
    add_job(ladder, job);
}

void ladder_drain(struct ladder *ladder) {
    struct job *job = must(calloc(1, sizeof *job));
    job->drain = true;
    add_job(ladder, job);
}

void ladder_destroy(struct ladder *ladder) {
    if (!ladder)
        return;
    pthread_mutex_lock(&ladder->lock);
    atomic_store(&ladder->stopping, true);
    pthread_cond_signal(&ladder->filled);
    pthread_mutex_unlock(&ladder->lock);
    pthread_join(ladder->thread, NULL);
    metric_add(&metrics[M_RUNNING], -1);
    set_running(ladder, 0);
    ladder->dead = true;
    if (ladder->calling)
        loop_timer_set(ladder->reaper, 0); /* its mailbox is in use */
    else
        reap(ladder);
}
