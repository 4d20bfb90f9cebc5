#include "common/base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"

/* What a test needs: a loop that gives up after a while, and a pair of connected sockets. */
struct fixture {
    struct loop *loop;
    struct loop_timer *deadline, *timer, *other;
    struct loop_io *io;
    struct loop_signal *sig;
    pthread_t stopper;
    int near, far;
    int calls, events;
    int64_t seen_us;
    bool timed_out;
};

static void on_deadline(void *ctx) {
    struct fixture *f = ctx;
    f->timed_out = true;
    loop_stop(f->loop);
}

static int setup(void **state) {
    static struct fixture f;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    f = (struct fixture){.loop = loop_create(), .near = fds[0], .far = fds[1]};
    f.deadline = loop_timer_create(f.loop, on_deadline, &f);
    loop_timer_set(f.deadline, 20000000);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    loop_io_destroy(f->io);
    loop_timer_destroy(f->timer);
    loop_timer_destroy(f->other);
    loop_signal_destroy(f->sig);
    loop_timer_destroy(f->deadline);
    loop_destroy(f->loop);
    close(f->near);
    close(f->far);
    return f->timed_out ? -1 : 0;
}

static void stop(void *ctx) {
    struct fixture *f = ctx;
    f->calls++;
    loop_stop(f->loop);
}

/* Runs the loop for one turn, or until the callbacks stop it. */
static void run_a_turn(struct fixture *f) {
    if (!f->other)
        f->other = loop_timer_create(f->loop, stop, f);
    loop_timer_set(f->other, 0);
    loop_run(f->loop);
}

static void stop_before_run_returns_at_once(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, stop, f);
    loop_timer_set(f->timer, 0);
    loop_stop(f->loop);
    loop_run(f->loop);
    assert_int_equal(f->calls, 0);
    loop_run(f->loop); /* the stop was used up */
    assert_int_equal(f->calls, 1);
}

static void *stop_from_thread(void *loop) {
    loop_stop(loop);
    return NULL;
}

static void start_stopper(void *ctx) {
    struct fixture *f = ctx;
    assert_int_equal(pthread_create(&f->stopper, NULL, stop_from_thread, f->loop), 0);
}

static void stop_from_another_thread(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, start_stopper, f);
    loop_timer_set(f->timer, 0);
    loop_run(f->loop);
    pthread_join(f->stopper, NULL);
    assert_false(f->timed_out);
}

static void count_io(void *ctx, int events) {
    struct fixture *f = ctx;
    f->calls++;
    f->events |= events;
}

static void edge_is_reported_once(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create(f->loop, f->near, count_io, f);
    assert_int_equal(write(f->far, "x", 1), 1);
    run_a_turn(f);
    assert_int_equal(f->events, LOOP_READ | LOOP_WRITE);
    f->events = 0;
    run_a_turn(f);
    assert_int_equal(f->events, 0); /* unread, yet no new edge */
    assert_int_equal(write(f->far, "y", 1), 1);
    run_a_turn(f);
    assert_true(f->events & LOOP_READ);
}

static void level_is_reported_until_read(void **state) {
    struct fixture *f = *state;
    char bytes[8];
    f->io = loop_io_create_level(f->loop, f->near, LOOP_READ, count_io, f);
    run_a_turn(f);
    assert_int_equal(f->events, 0);
    assert_int_equal(write(f->far, "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        f->events = 0;
        run_a_turn(f);
        assert_int_equal(f->events, LOOP_READ);
    }
    assert_int_equal(read(f->near, bytes, sizeof(bytes)), 1);
    f->events = 0;
    run_a_turn(f);
    assert_int_equal(f->events, 0);
}

static void level_of_writing_is_reported_until_full(void **state) {
    struct fixture *f = *state;
    char bytes[4096] = {0};
    for (int reads = 0; reads <= 1; reads++) {
        f->io = loop_io_create_level(f->loop, f->near, LOOP_WRITE | (reads ? LOOP_READ : 0), count_io, f);
        for (int i = 0; i < 3; i++) {
            f->events = 0;
            run_a_turn(f);
            assert_int_equal(f->events, LOOP_WRITE | (reads ? LOOP_READ : 0));
            if (!reads)
                assert_int_equal(write(f->far, "x", 1), 1); /* not asked for */
        }
        loop_io_destroy(f->io);
    }
    f->io = loop_io_create_level(f->loop, f->near, LOOP_WRITE, count_io, f);
    while (write(f->near, bytes, sizeof(bytes)) > 0)
        ;
    f->events = 0;
    run_a_turn(f);
    assert_int_equal(f->events, 0);
}

static void hang_up_is_readable(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create(f->loop, f->near, count_io, f);
    run_a_turn(f);
    f->events = 0;
    shutdown(f->far, SHUT_RDWR);
    run_a_turn(f);
    assert_true(f->events & LOOP_READ);
}

static void activate_again(void *ctx, int events) {
    struct fixture *f = ctx;
    f->calls++;
    f->events = events;
    loop_io_activate(f->io, LOOP_WRITE);
}

static void activation_waits_for_the_next_turn(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create_level(f->loop, f->near, LOOP_READ, activate_again, f);
    loop_io_activate(f->io, LOOP_READ);
    assert_int_equal(f->calls, 0); /* never from inside the arming call */
    run_a_turn(f);
    assert_int_equal(f->events, LOOP_READ);
    for (int i = 1; i <= 10; i++) {
        f->calls = 0;
        run_a_turn(f); /* one call of ours, one of the stopping timer: the loop polled in between */
        assert_int_equal(f->calls, 2);
        assert_int_equal(f->events, LOOP_WRITE);
    }
}

static void activations_add_up(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create_level(f->loop, f->near, LOOP_READ, count_io, f);
    loop_io_activate(f->io, LOOP_READ);
    loop_io_activate(f->io, LOOP_WRITE);
    run_a_turn(f);
    assert_int_equal(f->events, LOOP_READ | LOOP_WRITE);
    assert_int_equal(f->calls, 2);
}

static void destroy_own_io(void *ctx, int events) {
    struct fixture *f = ctx;
    (void)events;
    f->calls++;
    loop_io_activate(f->io, LOOP_READ); /* must not come back to haunt */
    loop_io_destroy(f->io);
    f->io = NULL;
}

static void io_destroyed_in_its_own_callback(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create(f->loop, f->near, destroy_own_io, f);
    run_a_turn(f);
    run_a_turn(f);
    assert_null(f->io);
    f->io = loop_io_create(f->loop, f->near, destroy_own_io, f);
    loop_io_activate(f->io, LOOP_READ);
    run_a_turn(f);
    run_a_turn(f);
    assert_null(f->io);
}

struct pair {
    struct loop_io *a, *b;
    int calls;
};

static void destroy_both(void *ctx, int events) {
    struct pair *pair = ctx;
    (void)events;
    pair->calls++;
    loop_io_destroy(pair->a);
    loop_io_destroy(pair->b);
}

static void io_destroyed_by_another_that_is_ready_too(void **state) {
    struct fixture *f = *state;
    for (int activate = 0; activate <= 1; activate++) {
        struct pair pair = {0};
        pair.a = loop_io_create(f->loop, f->near, destroy_both, &pair);
        pair.b = loop_io_create(f->loop, f->far, destroy_both, &pair);
        if (activate) {
            loop_io_activate(pair.a, LOOP_READ);
            loop_io_activate(pair.b, LOOP_READ);
        }
        run_a_turn(f);
        run_a_turn(f);
        assert_int_equal(pair.calls, 1);
    }
}

static void on_timer(void *ctx) {
    struct fixture *f = ctx;
    f->seen_us = clock_mono_us();
    stop(f);
}

static void let_clock_pass(int64_t us) {
    int64_t until_us = clock_mono_us() + us;
    while (clock_mono_us() < until_us)
        ;
}

/* A busy loop looks at its timers all the time, and libevent's clock lags behind by up to a tick: begin between ticks.
 */
static void timer_is_never_early(void **state) {
    struct fixture *f = *state;
    f->io = loop_io_create_level(f->loop, f->near, LOOP_READ, activate_again, f);
    loop_io_activate(f->io, LOOP_READ);
    f->timer = loop_timer_create(f->loop, on_timer, f);
    assert_false(loop_timer_armed(f->timer));
    for (int64_t delay_us = 500; delay_us < 12000; delay_us += 1700) {
        let_clock_pass(2500);
        int64_t start_us = clock_mono_us();
        loop_timer_set(f->timer, delay_us);
        assert_true(loop_timer_armed(f->timer));
        loop_run(f->loop);
        assert_true(f->seen_us >= start_us + delay_us);
        assert_false(loop_timer_armed(f->timer));
    }
}

static void timer_cancelled_or_rearmed(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, on_timer, f);
    loop_timer_set(f->timer, 0);
    loop_timer_cancel(f->timer);
    assert_false(loop_timer_armed(f->timer));
    run_a_turn(f);
    assert_int_equal(f->seen_us, 0);
    loop_timer_set(f->timer, 3600000000);
    loop_timer_set(f->timer, -5); /* what is overdue is due now */
    loop_run(f->loop);
    assert_true(f->seen_us > 0);
}

static void rearm_thrice(void *ctx) {
    struct fixture *f = ctx;
    assert_false(loop_timer_armed(f->timer));
    if (++f->calls == 3)
        loop_stop(f->loop);
    else
        loop_timer_set(f->timer, 0);
}

static void timer_rearmed_in_its_own_callback(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, rearm_thrice, f);
    loop_timer_set(f->timer, 0);
    loop_run(f->loop);
    assert_int_equal(f->calls, 3);
}

static void destroy_own_timer(void *ctx) {
    struct fixture *f = ctx;
    loop_timer_set(f->timer, 0);
    loop_timer_destroy(f->timer);
    f->timer = NULL;
}

static void timer_destroyed_in_its_own_callback(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, destroy_own_timer, f);
    loop_timer_set(f->timer, 0);
    run_a_turn(f);
    run_a_turn(f);
    assert_null(f->timer);
}

static void watch_time_stand_still(void *ctx) {
    struct fixture *f = ctx;
    int64_t now_us = loop_now_us(f->loop);
    let_clock_pass(50);
    assert_int_equal(loop_now_us(f->loop), now_us);
    if (f->calls++ > 0) {
        assert_true(now_us >= f->seen_us + 50);
        loop_stop(f->loop);
    }
    f->seen_us = now_us;
    loop_timer_set(f->timer, 0);
}

static void time_stands_still_within_a_turn(void **state) {
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, watch_time_stand_still, f);
    loop_timer_set(f->timer, 0);
    loop_run(f->loop);
    assert_int_equal(f->calls, 2);
    assert_true(loop_now_us(f->loop) >= f->seen_us + 50);
}

static void destroy_own_signal(void *ctx) {
    struct fixture *f = ctx;
    loop_signal_destroy(f->sig);
    f->sig = NULL;
    stop(f);
}

static void signal_runs_on_the_loop(void **state) {
    struct fixture *f = *state;
    f->sig = loop_signal_create(f->loop, SIGUSR1, stop, f);
    for (int i = 1; i <= 2; i++) {
        raise(SIGUSR1);
        loop_run(f->loop);
        assert_int_equal(f->calls, i);
    }
    loop_signal_destroy(f->sig);
    f->sig = loop_signal_create(f->loop, SIGUSR2, destroy_own_signal, f);
    raise(SIGUSR2);
    loop_run(f->loop);
    assert_int_equal(f->calls, 3);
}

static void count_call(void *ctx) {
    struct fixture *f = ctx;
    f->calls++;
}

static void see_turn_end(void *ctx) {
    struct fixture *f = ctx;
    if (f->calls == 0)
        return; /* a turn before they are due */
    f->seen_us = f->calls;
    loop_stop(f->loop);
}

static void turn_ends_when_all_of_it_has_run(void **state) {
    struct fixture *f = *state;
    loop_on_turn_end(f->loop, see_turn_end, f);
    f->timer = loop_timer_create(f->loop, count_call, f);
    f->other = loop_timer_create(f->loop, count_call, f);
    loop_timer_set(f->timer, 0);
    loop_timer_set(f->other, 0);
    loop_run(f->loop);
    assert_int_equal(f->seen_us, 2);
    loop_on_turn_end(f->loop, NULL, NULL);
}

static void destroy_null_is_allowed(void **state) {
    (void)state;
    loop_destroy(NULL);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(stop_before_run_returns_at_once),
        LOOP_TEST(stop_from_another_thread),
        LOOP_TEST(edge_is_reported_once),
        LOOP_TEST(level_is_reported_until_read),
        LOOP_TEST(level_of_writing_is_reported_until_full),
        LOOP_TEST(hang_up_is_readable),
        LOOP_TEST(activation_waits_for_the_next_turn),
        LOOP_TEST(activations_add_up),
        LOOP_TEST(io_destroyed_in_its_own_callback),
        LOOP_TEST(io_destroyed_by_another_that_is_ready_too),
        LOOP_TEST(timer_is_never_early),
        LOOP_TEST(timer_cancelled_or_rearmed),
        LOOP_TEST(timer_rearmed_in_its_own_callback),
        LOOP_TEST(timer_destroyed_in_its_own_callback),
        LOOP_TEST(time_stands_still_within_a_turn),
        LOOP_TEST(signal_runs_on_the_loop),
        LOOP_TEST(turn_ends_when_all_of_it_has_run),
        cmocka_unit_test(destroy_null_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
