#include "common/base/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static size_t closeness(const char *pattern, const char *name) {
    return pattern_closeness(pattern, strlen(pattern), name);
}

static void names_and_beginnings_of_names(void **state) {
    (void)state;
    assert_true(closeness("live/show", "live/show"));
    assert_false(closeness("live/show", "live/shows"));
    assert_false(closeness("live/shows", "live/show"));
    assert_true(closeness("live/*", "live/show"));
    assert_true(closeness("live/show*", "live/show"));
    assert_false(closeness("live/*", "lives/show"));
    assert_true(closeness("*", "live/show"));
    assert_false(closeness("", "live/show"));
}

static void no_more_of_the_pattern_counts_than_is_said(void **state) {
    (void)state;
    assert_true(pattern_closeness("live/*:a key", strcspn("live/*:a key", ":"), "live/show"));
    assert_false(pattern_closeness("live/sho", 4, "live/sho"));
}

static void the_closest_is_the_name_itself_then_the_longest_beginning(void **state) {
    (void)state;
    assert_true(closeness("live/show", "live/show") > closeness("live/show*", "live/show"));
    assert_true(closeness("live/show*", "live/show") > closeness("live/*", "live/show"));
    assert_true(closeness("live/*", "live/show") > closeness("*", "live/show"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_beginnings_of_names),
        cmocka_unit_test(no_more_of_the_pattern_counts_than_is_said),
        cmocka_unit_test(the_closest_is_the_name_itself_then_the_longest_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
