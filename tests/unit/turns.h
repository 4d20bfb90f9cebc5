/* Loops by turns, on one thread: each step has a known place between the others. */
#pragma once
#include "common/base/loop.h"

struct turns {
    struct loop *loop;
    struct loop_timer *timer;
    int left;
};

static inline void on_turn(void *ctx) {
    struct turns *turns = ctx;
    if (--turns->left)
        loop_timer_set(turns->timer, 0);
    else
        loop_stop(turns->loop);
}

/* Until all that is due on this loop, and what comes of it there, is done. */
static inline void settle(struct loop *loop) {
    struct turns turns = {.loop = loop, .left = 4};
    turns.timer = loop_timer_create(loop, on_turn, &turns);
    loop_timer_set(turns.timer, 0);
    loop_run(loop);
    loop_timer_destroy(turns.timer);
}
