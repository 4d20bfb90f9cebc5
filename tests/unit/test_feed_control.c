#include "common/media/feed_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

static const char line[] =
    "{\"granted\":{\"session\":\"5f00\",\"epoch\":1790000000123456,\"last_epoch\":1790000000000000,\"next_msn\":"
    "109000000,\"next_part\":2180000000,"
    "\"not_before_us\":7,\"resumes\":true,\"target_duration_ms\":2000,\"part_target_us\":213334,\"init_versions\":3,"
    "\"discontinuity_sequence\":2,\"from\":109000007,\"asks\":true,\"tracks\":{\"v0\":[109000007,12],\"a0\":[109000007,"
    "3]}}}";

static void assert_written_as_read(const char *text, struct feed_control *control) {
    struct buf out;
    buf_init(&out, FEED_CONTROL_MAX);
    assert_int_equal(feed_control_parse(text, strlen(text), control), 0);
    assert_int_equal(feed_control_write(&out, control), 0);
    assert_int_equal(buf_len(&out), strlen(text) + 1);
    assert_memory_equal(buf_head(&out), text, strlen(text));
    buf_finish(&out);
}

static void grant_is_written_as_it_was_read(void **state) {
    struct feed_control control;
    (void)state;
    assert_written_as_read(line, &control);
    assert_int_equal(control.kind, FEED_CONTROL_GRANTED);
    assert_int_equal(control.granted.grant.epoch, 1790000000123456);
    assert_true(control.granted.grant.resumes);
    assert_int_equal(control.granted.track_count, 2);
    assert_true(control.granted.asks);
    assert_string_equal(control.granted.tracks[1].track, "a0");
    assert_int_equal(control.granted.tracks[1].number, 3);
}

static void standing_by_is_written_as_it_was_read(void **state) {
    struct feed_control control;
    (void)state;
    assert_written_as_read("{\"standby\":{\"stream\":\"busy\"}}", &control);
    assert_int_equal(control.kind, FEED_CONTROL_STANDBY);
    assert_int_equal(control.standing, CLAIM_STANDBY);
    assert_written_as_read("{\"standby\":{\"stream\":\"outranked\"}}", &control);
    assert_int_equal(control.standing, CLAIM_OUTRANKS);
    assert_written_as_read("{\"standby\":{\"stream\":\"vacant\"}}", &control);
    assert_int_equal(control.standing, CLAIM_VACANT);
    assert_int_equal(feed_control_parse("{\"standby\":{\"stream\":\"mine\"}}", 27, &control), -EBADMSG);
    assert_int_equal(feed_control_parse("{\"standby\":{}}", 14, &control), -EBADMSG);
}

static void cut_beat_and_drain_are_written_as_they_were_read(void **state) {
    struct feed_control control;
    (void)state;
    assert_written_as_read("{\"cut\":{\"refuse_s\":86400}}", &control);
    assert_int_equal(control.kind, FEED_CONTROL_CUT);
    assert_int_equal(control.refuse_s, 86400);
    assert_written_as_read("{\"beat\":{}}", &control);
    assert_int_equal(control.kind, FEED_CONTROL_BEAT);
    assert_written_as_read("{\"drain\":{}}", &control);
    assert_int_equal(control.kind, FEED_CONTROL_DRAIN);
}

static int parse(const char *text, struct feed_control *control) {
    return feed_control_parse(text, strlen(text), control);
}

static void tracks_that_are_asked_for_are_written_as_they_were_read(void **state) {
    struct feed_control control;
    (void)state;
    assert_written_as_read("{\"asked\":{\"tracks\":[\"v1\",\"v12\"]}}", &control);
    assert_int_equal(control.kind, FEED_CONTROL_ASKED);
    assert_int_equal(control.asked.count, 2);
    assert_string_equal(control.asked.items[1], "v12");
    assert_written_as_read("{\"asked\":{\"tracks\":[]}}", &control);
    assert_int_equal(control.asked.count, 0);
    assert_int_equal(parse("{\"asked\":{}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"asked\":{\"tracks\":\"v1\"}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"asked\":{\"tracks\":[1]}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"asked\":{\"tracks\":[\"v1v2\"]}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"asked\":{\"tracks\":[\"v1234567\"]}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"asked\":{\"tracks\":[\"v1\",\"v1\",\"v1\",\"v1\",\"v1\",\"v1\",\"v1\",\"v1\",\"v1\","
                           "\"v1\",\"v1\"]}}",
                           &control),
                     -EBADMSG);
}

static void an_older_origin_does_not_say_what_is_asked_for(void **state) {
    char text[1024];
    const char *at = strstr(line, "\"asks\":true,");
    struct feed_control control;
    (void)state;
    snprintf(text, sizeof text, "%.*s%s", (int)(at - line), line, at + strlen("\"asks\":true,"));
    assert_int_equal(parse(text, &control), 0);
    assert_false(control.granted.asks);
}

static void what_a_newer_origin_says_is_passed_over(void **state) {
    struct feed_control control;
    (void)state;
    assert_int_equal(parse("{\"news\":{\"x\":1}}", &control), 0);
    assert_int_equal(control.kind, FEED_CONTROL_UNKNOWN);
    assert_int_equal(parse("{\"cut\":{\"refuse_s\":5,\"news\":7}}", &control), 0);
    assert_int_equal(control.refuse_s, 5);
}

static void what_is_no_line_is_refused(void **state) {
    struct feed_control control;
    (void)state;
    assert_int_equal(parse("[]", &control), -EBADMSG);
    assert_int_equal(parse("", &control), -EBADMSG);
    assert_int_equal(parse("{\"cut\":{}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"cut\":60}", &control), -EBADMSG);
    assert_int_equal(parse("{\"cut\":{\"refuse_s\":-1}}", &control), -EBADMSG);
    assert_int_equal(parse("{\"cut\":{\"refuse_s\":86401}}", &control), -EBADMSG);
}

static void assert_bad(const char *what, const char *by) {
    char text[1024];
    const char *at = strstr(line, what);
    struct feed_control control;
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - line), line, by, at + strlen(what));
    if (parse(text, &control) != -EBADMSG)
        fail_msg("was taken: %s", text);
}

static void impossible_grants_are_refused(void **state) {
    (void)state;
    assert_bad("1790000000123456", "0");
    assert_bad("\"next_msn\":109000000", "\"next_msn\":-1");
    assert_bad("5f00", "5f00&x=y");
    assert_bad("5f00", "0123456789abcdef0123456789abcdef0");
    assert_bad("\"v0\":[109000007,12]", "\"v0\":[109000007]");
    assert_bad("\"v0\":[109000007,12]", "\"v0\":[109000007,-12]");
    assert_bad("\"v0\"", "\"video\"");
    assert_bad("\"from\":109000007,", "");
    assert_bad("\"resumes\":true", "\"resumes\":1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grant_is_written_as_it_was_read),
        cmocka_unit_test(standing_by_is_written_as_it_was_read),
        cmocka_unit_test(tracks_that_are_asked_for_are_written_as_they_were_read),
        cmocka_unit_test(an_older_origin_does_not_say_what_is_asked_for),
        cmocka_unit_test(cut_beat_and_drain_are_written_as_they_were_read),
        cmocka_unit_test(what_a_newer_origin_says_is_passed_over),
        cmocka_unit_test(what_is_no_line_is_refused),
        cmocka_unit_test(impossible_grants_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
