#include "ingest/rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void check(char *const *entries, uint32_t count, const char *stream, uint32_t short_side, const char *want) {
    struct rung rungs[RUNGS_MAX];
    char text[128] = "";
    uint32_t n = rungs_choose(entries, count, stream, short_side, rungs);
    for (uint32_t i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u:%u", i ? " " : "", rungs[i].height,
                 rungs[i].kbps);
    assert_string_equal(text, want);
}

static void the_entry_that_names_a_stream_most_closely_counts(void **state) {
    (void)state;
    char *entries[] = {"live/* 480:1200 240:150", "live/show 360:600", "live/cam* none", "* 240:100", "live/cam auto"};
    check(entries, 5, "live/cam", 480, "360:600 240:150"); /* not as what begins so */
    check(entries, 4, "live/other", 720, "480:1200 240:150");
    check(entries, 4, "live/show", 720, "360:600");
    check(entries, 4, "live/show2", 720, "480:1200 240:150");
    check(entries, 4, "live/cam1", 720, "");
    check(entries, 4, "tv/one", 720, "240:100");
    check(entries, 0, "tv/one", 720, "");
    assert_true(rungs_wanted(entries, 4, "live/show"));
    assert_false(rungs_wanted(entries, 4, "live/cam1"));
}

static void rungs_that_are_not_below_the_source_are_left_out(void **state) {
    (void)state;
    char *entries[] = {"* 240:150 1080:4000 480:1200"};
    check(entries, 1, "a/b", 2160, "1080:4000 480:1200 240:150");
    check(entries, 1, "a/b", 1080, "480:1200 240:150");
    check(entries, 1, "a/b", 480, "240:150");
    check(entries, 1, "a/b", 240, "");
}

static void defaults_go_by_the_sources_size(void **state) {
    (void)state;
    char *entries[] = {"live/* auto"};
    check(entries, 1, "live/a", 2160, "1080:5000 720:2800 480:1200 360:600 240:150");
    check(entries, 1, "live/a", 1080, "720:2800 480:1200 360:600 240:150");
    check(entries, 1, "live/a", 720, "480:1200 360:600 240:150");
    check(entries, 1, "live/a", 486, "360:600 240:150"); /* 480 is hardly less */
    check(entries, 1, "live/a", 240, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_entry_that_names_a_stream_most_closely_counts),
        cmocka_unit_test(rungs_that_are_not_below_the_source_are_left_out),
        cmocka_unit_test(defaults_go_by_the_sources_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
