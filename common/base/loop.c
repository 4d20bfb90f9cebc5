/* The event loop over libevent.
 *
 * A turn is one poll and the callbacks that it made ready: loop_run asks libevent for one turn at a time, and that is
 * where the cached time is forgotten. An event that is activated from within a callback would run in the same turn
 * (libevent drains its queue until it is empty), so a busy connection could keep the others from being polled:
 * activations therefore wait in a list of our own, behind a timer that is due in the next turn.
 *
 * libevent's own clock is the coarse one, up to a tick behind ours: while other events keep the loop turning, a timer
 * can come early by that much, and is put back. */
#include "common/base/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/list.h"

struct loop {
    struct event_base *base;
    struct event wake;     /* the eventfd that interrupts the poll when another thread stops the loop */
    struct event flush;    /* due at once while `activated` has entries */
    struct list activated; /* loop_io.link */
    int64_t now_us;        /* 0 until somebody asks for it in this turn */
    unsigned handles;      /* not yet destroyed */
    int wake_fd;
    bool running;
    atomic_bool stop;
    loop_fn *turn_end; /* or NULL */
    void *turn_end_ctx;
};

struct loop_io {
    struct loop *loop;
    struct event event;
    struct list link; /* in loop.activated, or alone */
    int activated;    /* events to report with it */
    loop_io_fn *fn;
    void *ctx;
};

struct loop_timer {
    struct loop *loop;
    struct event event;
    int64_t due_us;
    loop_fn *fn;
    void *ctx;
};

struct loop_signal {
    struct loop *loop;
    struct event event;
    loop_fn *fn;
    void *ctx;
};

static _Noreturn void die(const char *what) {
    perror(what);
    abort();
}

static void *new_handle(struct loop *loop, size_t size) {
    void *handle = calloc(1, size);
    if (!handle)
        die("loop handle");
    loop->handles++;
    return handle;
}

static void free_handle(struct loop *loop, struct event *event, void *handle) {
    event_del(event);
    loop->handles--;
    free(handle);
}

static struct event_base *new_base(void) {
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void drain_wake(struct loop *loop) {
    eventfd_t count;
    eventfd_read(loop->wake_fd, &count);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    drain_wake(ctx);
}

static void run_io(struct loop_io *io, int events) {
    events |= io->activated;
    io->activated = 0;
    list_remove(&io->link);
    io->fn(io->ctx, events);
}

static void on_flush(evutil_socket_t fd, short what, void *ctx) {
    struct loop *loop = ctx;
    struct list due;
    (void)fd;
    (void)what;
    if (list_empty(&loop->activated))
        return;
    /* Those activated by these callbacks go to the next turn; those destroyed by them leave `due` by themselves. */
    list_insert_before(&loop->activated, &due);
    list_remove(&loop->activated);
    while (!list_empty(&due))
        run_io(list_entry(due.next, struct loop_io, link), 0);
}

struct loop *loop_create(void) {
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        die("loop");
    list_init(&loop->activated);
    atomic_init(&loop->stop, false);
    loop->base = new_base();
    if (!loop->base)
        die("loop: event_base");
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        die("loop: eventfd");
    event_assign(&loop->wake, loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    event_assign(&loop->flush, loop->base, -1, 0, on_flush, loop);
    if (event_add(&loop->wake, NULL) < 0)
        die("loop: wake");
    return loop;
}

void loop_destroy(struct loop *loop) {
    if (!loop)
        return;
    assert(loop->handles == 0 && !loop->running);
    event_del(&loop->flush);
    event_del(&loop->wake);
    event_base_free(loop->base);
    close(loop->wake_fd);
    free(loop);
}

void loop_run(struct loop *loop) {
    loop->running = true;
    while (!atomic_load(&loop->stop)) {
        loop->now_us = 0;
        if (event_base_loop(loop->base, EVLOOP_ONCE) < 0)
            die("loop: poll");
        if (loop->turn_end)
            loop->turn_end(loop->turn_end_ctx);
    }
    loop->running = false;
    atomic_store(&loop->stop, false);
    drain_wake(loop);
}

void loop_on_turn_end(struct loop *loop, loop_fn *fn, void *ctx) {
    loop->turn_end = fn;
    loop->turn_end_ctx = ctx;
}

void loop_stop(struct loop *loop) {
    atomic_store(&loop->stop, true);
    if (eventfd_write(loop->wake_fd, 1) < 0)
        die("loop: stop");
}

int64_t loop_now_us(struct loop *loop) {
    if (!loop->running)
        return clock_mono_us();
    if (loop->now_us == 0)
        loop->now_us = clock_mono_us();
    return loop->now_us;
}

static void on_io(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    run_io(ctx, (what & EV_READ ? LOOP_READ : 0) | (what & EV_WRITE ? LOOP_WRITE : 0));
}

static struct loop_io *new_io(struct loop *loop, int fd, short what, loop_io_fn *fn, void *ctx) {
    struct loop_io *io = new_handle(loop, sizeof(*io));
    io->loop = loop;
    io->fn = fn;
    io->ctx = ctx;
    list_init(&io->link);
    event_assign(&io->event, loop->base, fd, what, on_io, io);
    if (event_add(&io->event, NULL) < 0)
        die("loop: watch");
    return io;
}

struct loop_io *loop_io_create(struct loop *loop, int fd, loop_io_fn *fn, void *ctx) {
    return new_io(loop, fd, EV_ET | EV_READ | EV_WRITE | EV_PERSIST, fn, ctx);
}

struct loop_io *loop_io_create_level(struct loop *loop, int fd, int events, loop_io_fn *fn, void *ctx) {
    int what = (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0);
    return new_io(loop, fd, (short)(what | EV_PERSIST), fn, ctx);
}

static void add_timeout(struct event *event, int64_t delay_us) {
    struct timeval tv = {.tv_sec = delay_us / 1000000, .tv_usec = delay_us % 1000000};
    if (event_add(event, &tv) < 0)
        die("loop: timer");
}

void loop_io_activate(struct loop_io *io, int events) {
    io->activated |= events;
    if (!list_empty(&io->link))
        return;
    if (list_empty(&io->loop->activated))
        add_timeout(&io->loop->flush, 0);
    list_append(&io->loop->activated, &io->link);
}

void loop_io_destroy(struct loop_io *io) {
    if (!io)
        return;
    list_remove(&io->link);
    free_handle(io->loop, &io->event, io);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    struct loop_timer *timer = ctx;
    int64_t early_us = timer->due_us - loop_now_us(timer->loop);
    (void)fd;
    (void)what;
    if (early_us > 0)
        add_timeout(&timer->event, early_us);
    else
        timer->fn(timer->ctx);
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_fn *fn, void *ctx) {
    struct loop_timer *timer = new_handle(loop, sizeof(*timer));
    timer->loop = loop;
    timer->fn = fn;
    timer->ctx = ctx;
    event_assign(&timer->event, loop->base, -1, 0, on_timer, timer);
    return timer;
}

void loop_timer_set(struct loop_timer *timer, int64_t delay_us) {
    if (delay_us < 0)
        delay_us = 0;
    timer->due_us = loop_now_us(timer->loop) + delay_us;
    add_timeout(&timer->event, delay_us);
}

void loop_timer_cancel(struct loop_timer *timer) {
    event_del(&timer->event);
}

bool loop_timer_armed(const struct loop_timer *timer) {
    return event_pending(&timer->event, EV_TIMEOUT, NULL);
}

void loop_timer_destroy(struct loop_timer *timer) {
    if (timer)
        free_handle(timer->loop, &timer->event, timer);
}

static void on_signal(evutil_socket_t signo, short what, void *ctx) {
    struct loop_signal *sig = ctx;
    (void)signo;
    (void)what;
    sig->fn(sig->ctx);
}

struct loop_signal *loop_signal_create(struct loop *loop, int signo, loop_fn *fn, void *ctx) {
    struct loop_signal *sig = new_handle(loop, sizeof(*sig));
    sig->loop = loop;
    sig->fn = fn;
    sig->ctx = ctx;
    event_assign(&sig->event, loop->base, signo, EV_SIGNAL | EV_PERSIST, on_signal, sig);
    if (event_add(&sig->event, NULL) < 0)
        die("loop: signal");
    return sig;
}

void loop_signal_destroy(struct loop_signal *sig) {
    if (sig)
        free_handle(sig->loop, &sig->event, sig);
}
