#include "ingest/subtitles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "ingest/cues.h"

static const int64_t now_us = INT64_C(1790000000000000), S = 1000000;
static struct subtitles *subtitles;

static int set_up(void **state) {
    static char *entries[] = {"live/* de Deutsch", "other/* fr"};
    (void)state;
    subtitles = subtitles_create(entries, 2);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    subtitles_destroy(subtitles);
    return 0;
}

/* Times from now on. */
static enum subtitle_verdict add(const char *language, int64_t start_us, int64_t end_us, const char *text) {
    static struct cue cue;
    cue = (struct cue){.start_us = now_us + start_us, .end_us = now_us + end_us};
    snprintf(cue.language, sizeof cue.language, "%s", language);
    snprintf(cue.text, sizeof cue.text, "%s", text);
    return subtitles_add(subtitles, "live/show", &cue, now_us);
}

/* Of the first language; media time is UTC less `drift_us`. The anchor is a minute ago. */
static const char *print(struct subtitled *subtitled, int64_t from_us, int64_t to_us, int64_t drift_us) {
    static char text[100000];
    struct buf out;
    buf_init(&out, sizeof text - 1);
    subtitled_print(subtitled, 0, now_us + from_us - drift_us, now_us + to_us - drift_us, now_us - 60 * S - drift_us,
                    drift_us, &out);
    memcpy(text, buf_head(&out), buf_len(&out));
    text[buf_len(&out)] = 0;
    buf_finish(&out);
    return text;
}

static void languages_are_there_from_the_start_or_come_with_a_cue(void **state) {
    (void)state;
    struct track_info info = {0};
    struct subtitled *held = subtitles_hold(subtitles, "live/show");
    assert_int_equal(subtitled_count(held), 1);
    assert_int_equal(add("de", 0, S, "x"), SUBTITLE_TAKEN);
    assert_int_equal(add("en", 0, S, "x"), SUBTITLE_NEW);
    assert_int_equal(add("en", 0, S, "x"), SUBTITLE_TAKEN);
    assert_int_equal(subtitled_count(held), 2);
    subtitled_describe(held, 0, &info);
    assert_string_equal(info.name, "s0");
    assert_string_equal(info.language, "de");
    assert_string_equal(info.label, "Deutsch");
    subtitled_describe(held, 1, &info);
    assert_string_equal(info.name, "s1");
    assert_int_equal(add("fr", 0, S, "x"), SUBTITLE_NEW);
    assert_int_equal(add("it", 0, S, "x"), SUBTITLE_NEW);
    assert_int_equal(add("es", 0, S, "x"), SUBTITLE_LANGUAGES);
    assert_null(subtitles_hold(subtitles, "nothing/here"));
    subtitled_release(held);
}

static void a_cue_stands_in_every_part_that_it_shows_in(void **state) {
    (void)state;
    struct subtitled *held = subtitles_hold(subtitles, "live/show");
    add("de", 1 * S, 3 * S, "eins");
    add("de", 2 * S, 2500000, "zwei\nzwei");
    assert_string_equal(print(held, 0, 1 * S, 0), "\n");
    assert_string_equal(print(held, 1 * S, 2 * S, 0), "1\n00:01:01.000 --> 00:01:03.000\neins\n\n");
    assert_string_equal(print(held, 2 * S, 3 * S, 0), "1\n00:01:01.000 --> 00:01:03.000\neins\n\n"
                                                      "2\n00:01:02.000 --> 00:01:02.500\nzwei\nzwei\n\n");
    assert_string_equal(print(held, 3 * S, 4 * S, 0), "\n");
    subtitled_release(held);
}

static void times_are_those_of_the_publishers_clock(void **state) {
    (void)state;
    struct subtitled *held = subtitles_hold(subtitles, "live/show");
    add("de", 1 * S, 2 * S, "eins");
    assert_string_equal(print(held, 1 * S, 2 * S, 400000), "1\n00:01:01.000 --> 00:01:02.000\neins\n\n");
    subtitled_release(held);
}

static void what_comes_late_shows_for_the_rest_of_its_time(void **state) {
    (void)state;
    struct subtitled *held = subtitles_hold(subtitles, "live/show");
    print(held, 0, 2 * S, 0);
    assert_int_equal(add("de", 1 * S, 2 * S, "over"), SUBTITLE_LATE);
    assert_int_equal(add("de", 1 * S, 2 * S + 1, "just"), SUBTITLE_TAKEN);
    assert_non_null(strstr(print(held, 2 * S, 4 * S, 0), "00:01:01.000 --> 00:01:02.000\njust\n\n"));
    assert_int_equal(add("de", 60 * S, 61 * S, "x"), SUBTITLE_TAKEN);
    assert_int_equal(add("de", 60 * S + 1, 61 * S, "x"), SUBTITLE_EARLY);
    subtitled_release(held);
}

static void few_show_at_a_time_and_few_wait(void **state) {
    (void)state;
    for (int i = 0; i < SUBTITLE_AT_A_TIME_MAX; i++)
        assert_int_equal(add("de", 0, S, "x"), SUBTITLE_TAKEN + (i == 0));
    assert_int_equal(add("de", 0, S, "x"), SUBTITLE_CROWDED);
    for (int i = SUBTITLE_AT_A_TIME_MAX; i < SUBTITLE_WAITING_MAX; i++)
        assert_int_equal(add("de", i / 8 * S, (i / 8 + 1) * S, "x"), SUBTITLE_TAKEN);
    assert_int_equal(add("de", 30 * S, 31 * S, "x"), SUBTITLE_CROWDED);
    struct subtitled *held = subtitles_hold(subtitles, "live/show");
    print(held, 0, S, 0); /* those have gone */
    assert_int_equal(add("de", 30 * S, 31 * S, "x"), SUBTITLE_TAKEN);
    subtitled_release(held);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(languages_are_there_from_the_start_or_come_with_a_cue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cue_stands_in_every_part_that_it_shows_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_are_those_of_the_publishers_clock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_late_shows_for_the_rest_of_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_show_at_a_time_and_few_wait, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
