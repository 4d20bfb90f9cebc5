/* An event loop on one thread: descriptors, timers, deferred calls, signals. A thin layer over libevent, the only place
 * that includes it. All functions belong to the loop's own thread, except where a function says otherwise; what comes
 * from other threads comes through a mailbox (mailbox.h).
 *
 * Callbacks run from loop_run, never from inside the call that armed them. Destroying a handle inside its own callback
 * is allowed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

struct loop *loop_create(void);
/* All handles of the loop must have been destroyed. NULL is allowed. */
void loop_destroy(struct loop *loop);
/* One function, to be called at the end of each turn, when all that the poll made ready has run; NULL: none. It must leave behind
 * nothing that the next poll would not wake up for. */
void loop_on_turn_end(struct loop *loop, void (*fn)(void *ctx), void *ctx);
/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* May be called from any thread, and before loop_run (which then returns at once). */
void loop_stop(struct loop *loop);
/* Monotonic microseconds as of this turn of the loop (cheap, cached). */
int64_t loop_now_us(struct loop *loop);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_io_fn(void *ctx, int events);
/* Watches a non-blocking descriptor, EDGE-TRIGGERED for both directions: the callback must read (write) until EAGAIN or
 * arrange for loop_io_activate. The descriptor stays the caller's. */
struct loop_io *loop_io_create(struct loop *loop, int fd, loop_io_fn *fn, void *ctx);
/* The same, LEVEL-TRIGGERED, for a set of LOOP_READ and LOOP_WRITE: the callback runs turn after turn while one of them is possible. */
struct loop_io *loop_io_create_level(struct loop *loop, int fd, int events, loop_io_fn *fn, void *ctx);
/* Has the callback run in the next turn as if `events` had come. */
void loop_io_activate(struct loop_io *io, int events);
void loop_io_destroy(struct loop_io *io);

typedef void loop_fn(void *ctx);
/* A one-shot timer, made disarmed. */
struct loop_timer *loop_timer_create(struct loop *loop, loop_fn *fn, void *ctx);
/* (Re)arms: the callback runs once, `delay_us` from now; 0 means in the next turn (that is how to defer a call). */
void loop_timer_set(struct loop_timer *timer, int64_t delay_us);
void loop_timer_cancel(struct loop_timer *timer);
bool loop_timer_armed(const struct loop_timer *timer);
void loop_timer_destroy(struct loop_timer *timer);

/* Runs the callback on this loop whenever the process gets the signal. Only one loop of a process may watch
 * signals. */
struct loop_signal *loop_signal_create(struct loop *loop, int signo, loop_fn *fn, void *ctx);
void loop_signal_destroy(struct loop_signal *sig);
