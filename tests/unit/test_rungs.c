#include "ingest/rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

/* "240/2:150:veryfast": each second picture. */
static void check_at(char *const *entries, uint32_t count, const char *stream, uint32_t short_side, uint32_t rate_milli,
                     const char *want) {
    struct rung rungs[RUNGS_MAX];
    char text[128] = "";
    uint32_t n = rungs_choose(entries, count, stream, short_side, rate_milli, rungs);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u", i ? " " : "", rungs[i].height);
        if (rungs[i].every > 1)
            snprintf(text + strlen(text), sizeof text - strlen(text), "/%u", rungs[i].every);
        snprintf(text + strlen(text), sizeof text - strlen(text), ":%u%s%s", rungs[i].kbps, rungs[i].preset ? ":" : "",
                 rungs[i].preset ? rungs[i].preset : "");
    }
    assert_string_equal(text, want);
}

static void check(char *const *entries, uint32_t count, const char *stream, uint32_t short_side, const char *want) {
    check_at(entries, count, stream, short_side, 0, want);
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

/* No rate, such as what varies, is halved. */
static void rates_are_the_sources_halved_until_they_are_low_enough(void **state) {
    (void)state;
    char *entries[] = {"live/a 480@30:1200:fast 240@15:150:veryfast 120@5:40"};
    check_at(entries, 1, "live/a", 720, 0, "480:1200:fast 240:150:veryfast 120:40");
    check_at(entries, 1, "live/a", 720, 30000, "480:1200:fast 240/2:150:veryfast 120/8:40");
    check_at(entries, 1, "live/a", 720, 29970, "480:1200:fast 240/2:150:veryfast 120/8:40");
    check_at(entries, 1, "live/a", 720, 25000, "480:1200:fast 240/2:150:veryfast 120/8:40");
    check_at(entries, 1, "live/a", 720, 15000, "480:1200:fast 240:150:veryfast 120/4:40");
    check_at(entries, 1, "live/a", 720, 60000, "480/2:1200:fast 240/4:150:veryfast 120/8:40");
}

/* The last rung is for tens of kilobits a second. */
static void the_lowest_default_has_half_of_what_is_25_and_more(void **state) {
    (void)state;
    char *entries[] = {"live/* auto"};
    check_at(entries, 1, "live/a", 480, 24000, "360:600 240:150");
    check_at(entries, 1, "live/a", 480, 25000, "360:600 240/2:150");
    check_at(entries, 1, "live/a", 480, 30000, "360:600 240/2:150");
    check_at(entries, 1, "live/a", 480, 50000, "360:600 240/4:150");
    check_at(entries, 1, "live/a", 480, 60000, "360:600 240/4:150");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_entry_that_names_a_stream_most_closely_counts),
        cmocka_unit_test(rungs_that_are_not_below_the_source_are_left_out),
        cmocka_unit_test(rates_are_the_sources_halved_until_they_are_low_enough),
        cmocka_unit_test(the_lowest_default_has_half_of_what_is_25_and_more),
        cmocka_unit_test(defaults_go_by_the_sources_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
