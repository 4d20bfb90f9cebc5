#include "relay/score.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { S = 1000000 };

static double ms_of(const struct score *score, int64_t now_us) {
    return score_ms(score, now_us);
}

static void shorter_way_is_better(void **state) {
    struct score near, far;
    (void)state;
    score_init(&near, 0);
    score_init(&far, 0);
    score_rtt(&near, 20000);
    score_rtt(&far, 200000);
    assert_true(score_better(ms_of(&near, 0), ms_of(&far, 0)));
    assert_false(score_better(ms_of(&far, 0), ms_of(&near, 0)));
}

static void configured_cost_counts_as_way(void **state) {
    struct score near, dear;
    (void)state;
    score_init(&near, 0);
    score_init(&dear, 40);
    assert_true(score_better(ms_of(&near, 0), ms_of(&dear, 0)));
}

static void small_differences_are_not_worth_a_change(void **state) {
    (void)state;
    assert_false(score_better(95, 100)); /* less than a fifth */
    assert_false(score_better(1, 10));   /* less than 10 ms */
    assert_true(score_better(70, 100));
}

static void failures_weigh_and_fade(void **state) {
    struct score score;
    (void)state;
    score_init(&score, 0);
    double before = ms_of(&score, 0);
    score_failure(&score, 0);
    assert_true(ms_of(&score, 0) > before + 400);
    assert_true(ms_of(&score, 10 * S) < before + 300);
    assert_true(ms_of(&score, 120 * S) < before + 1);
    for (int i = 0; i < 1000; i++)
        score_failure(&score, 0);
    assert_true(ms_of(&score, 0) < 20000); /* and are not piled up for ever */
}

static void delay_is_smoothed(void **state) {
    struct score score;
    (void)state;
    score_init(&score, 0);
    double before = ms_of(&score, 0);
    score_delay(&score, 800000);
    double once = ms_of(&score, 0);
    assert_true(once > before + 50 && once < before + 150);
    for (int i = 0; i < 50; i++)
        score_delay(&score, 800000);
    assert_true(ms_of(&score, 0) > before + 790);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shorter_way_is_better),
        cmocka_unit_test(configured_cost_counts_as_way),
        cmocka_unit_test(small_differences_are_not_worth_a_change),
        cmocka_unit_test(failures_weigh_and_fade),
        cmocka_unit_test(delay_is_smoothed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
