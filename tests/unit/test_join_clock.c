#include "ingest/join_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FRAME_US = 40000 };
static const int64_t epoch_us = 1790000000ll * 1000000;

struct push {
    int64_t base_us;  /* what its clock says at the epoch */
    double rate;      /* its seconds in one */
    int64_t delay_us; /* on its way; every third picture a little more */
};

static void note(struct join_lateness *lateness, const struct push *push, int64_t at_us) {
    int64_t dts_us = push->base_us + (int64_t)((double)at_us * push->rate);
    int64_t queued_us = at_us / FRAME_US % 3 ? 0 : 70000;
    join_lateness_note(lateness, dts_us, epoch_us + at_us + push->delay_us + queued_us);
}

/* Both for so long; follows the clock and returns how often it was another one. */
static int run(struct join_clock *clock, struct join_lateness *lead, const struct push *one, const struct push *other,
               int64_t from_s, int64_t to_s) {
    int jumps = 0;
    for (int64_t at_us = from_s * 1000000; at_us < to_s * 1000000; at_us += FRAME_US) {
        note(lead, one, at_us);
        note(&clock->own, other, at_us);
        if (clock->begun)
            jumps += join_clock_follow(clock, lead, epoch_us + at_us);
    }
    return jumps;
}

static struct join_clock begin(struct join_lateness *lead, const struct push *one, const struct push *other) {
    struct join_clock clock = {0};
    *lead = (struct join_lateness){0};
    run(&clock, lead, one, other, 0, 2);
    join_clock_begin(&clock, lead, epoch_us + 2000000);
    return clock;
}

static void what_one_encoder_stamped_is_left_alone(void **state) {
    (void)state;
    const struct push one = {0, 1, 5000}, other = {0, 1, 900000}; /* its way here is long */
    struct join_lateness lead;
    struct join_clock clock = begin(&lead, &one, &other);
    assert_true(clock.shared);
    assert_int_equal(run(&clock, &lead, &one, &other, 2, 60), 0);
    assert_true(clock.shared && clock.shift_us == 0);
}

static void clocks_of_their_own_are_together_by_arrival(void **state) {
    (void)state;
    const struct push one = {0, 1, 5000}, other = {-3600000000, 1, 25000};
    struct join_lateness lead;
    struct join_clock clock = begin(&lead, &one, &other);
    assert_false(clock.shared);
    assert_int_equal(clock.shift_us, 3600000000 + 20000);
    assert_int_equal(run(&clock, &lead, &one, &other, 2, 60), 0);
    assert_int_equal(clock.shift_us, 3600000000 + 20000);
}

static void drift_is_made_good_in_steps(void **state) {
    (void)state;
    const struct push one = {0, 1, 5000}, other = {7000000000, 1.0002, 5000};
    struct join_lateness lead;
    struct join_clock clock = begin(&lead, &one, &other);
    int64_t before_us = clock.shift_us;
    assert_int_equal(run(&clock, &lead, &one, &other, 2, 3600), 0);
    assert_in_range(before_us - clock.shift_us, 720000 - 80000, 720000 + 20000); /* of 720 ms in an hour */
}

static void a_clock_that_jumps_is_another_one(void **state) {
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        struct push one = {0, 1, 5000}, other = {0, 1, 5000};
        struct join_lateness lead;
        struct join_clock clock = begin(&lead, &one, &other);
        one.base_us = sign * 100000000ll;
        assert_int_equal(run(&clock, &lead, &one, &other, 2, 30), 1);
        assert_false(clock.shared);
        assert_true(llabs(clock.shift_us - one.base_us) < 80000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_encoder_stamped_is_left_alone),
        cmocka_unit_test(clocks_of_their_own_are_together_by_arrival),
        cmocka_unit_test(drift_is_made_good_in_steps),
        cmocka_unit_test(a_clock_that_jumps_is_another_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
