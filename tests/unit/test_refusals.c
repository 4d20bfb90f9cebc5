#include "common/media/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

static const char name[] = "live/show";

static void name_is_refused_until_its_time(void **state) {
    struct refusals *refusals = refusals_create();
    (void)state;
    assert_int_equal(refusals_left_us(refusals, name, 5), 0);
    refusals_set(refusals, name, 100, 5);
    assert_int_equal(refusals_left_us(refusals, name, 40), 60);
    assert_int_equal(refusals_left_us(refusals, "live/other", 40), 0);
    assert_int_equal(refusals_left_us(refusals, name, 100), 0);
    refusals_destroy(refusals);
}

static void last_word_holds(void **state) {
    struct refusals *refusals = refusals_create();
    (void)state;
    refusals_set(refusals, name, 100, 5);
    refusals_set(refusals, name, 50, 6);
    assert_int_equal(refusals_left_us(refusals, name, 40), 10);
    refusals_set(refusals, name, 40, 40);
    assert_int_equal(refusals_left_us(refusals, name, 40), 0);
    assert_int_equal(refusals_count(refusals), 0);
    refusals_destroy(refusals);
}

static const char *nth(char text[16], int n) {
    snprintf(text, 16, "live/%d", n);
    return text;
}

static void names_are_bounded(void **state) {
    struct refusals *refusals = refusals_create();
    char text[16];
    (void)state;
    for (int n = 0; n < REFUSALS_MAX + 2; n++)
        refusals_set(refusals, nth(text, n), 1000 + n, 0);
    assert_int_equal(refusals_count(refusals), REFUSALS_MAX);
    assert_int_equal(refusals_left_us(refusals, nth(text, 1), 0), 0);
    assert_int_equal(refusals_left_us(refusals, nth(text, 2), 0), 1002);
    assert_int_equal(refusals_left_us(refusals, nth(text, REFUSALS_MAX + 1), 0), 1001 + REFUSALS_MAX);
    refusals_destroy(refusals);
}

static void expired_names_are_forgotten(void **state) {
    struct refusals *refusals = refusals_create();
    char text[16];
    (void)state;
    for (int n = 0; n < 10; n++)
        refusals_set(refusals, nth(text, n), 1000 + n, 0);
    refusals_set(refusals, name, 2000, 1008);
    assert_int_equal(refusals_count(refusals), 2);
    refusals_destroy(refusals);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_is_refused_until_its_time),
        cmocka_unit_test(last_word_holds),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(expired_names_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
