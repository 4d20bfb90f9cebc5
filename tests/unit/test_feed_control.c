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
    "{\"granted\":{\"session\":\"5f00\",\"epoch\":1790000000123456,\"next_msn\":109000000,\"next_part\":2180000000,"
    "\"not_before_us\":7,\"resumes\":true,\"target_duration_ms\":2000,\"part_target_us\":213334,\"init_versions\":3,"
    "\"discontinuity_sequence\":2,\"from\":109000007,\"tracks\":{\"v0\":[109000007,12],\"a0\":[109000007,3]}}}";

static void grant_is_written_as_it_was_read(void **state) {
    struct feed_granted granted;
    struct buf out;
    (void)state;
    buf_init(&out, FEED_CONTROL_MAX);
    assert_int_equal(feed_granted_parse(line, strlen(line), &granted), 0);
    assert_int_equal(granted.grant.epoch, 1790000000123456);
    assert_true(granted.grant.resumes);
    assert_int_equal(granted.track_count, 2);
    assert_string_equal(granted.tracks[1].track, "a0");
    assert_int_equal(granted.tracks[1].number, 3);
    assert_int_equal(feed_granted_write(&out, &granted), 0);
    assert_int_equal(buf_len(&out), strlen(line) + 1);
    assert_memory_equal(buf_head(&out), line, strlen(line));
    buf_finish(&out);
}

static void other_lines_are_told_apart(void **state) {
    struct feed_granted granted;
    (void)state;
    assert_int_equal(feed_granted_parse("{\"beat\":{}}", 11, &granted), -ENOMSG);
    assert_int_equal(feed_granted_parse("[]", 2, &granted), -EBADMSG);
    assert_int_equal(feed_granted_parse("", 0, &granted), -EBADMSG);
}

static void assert_bad(const char *what, const char *by) {
    char text[1024];
    const char *at = strstr(line, what);
    struct feed_granted granted;
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - line), line, by, at + strlen(what));
    if (feed_granted_parse(text, strlen(text), &granted) != -EBADMSG)
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
    assert_bad("true", "1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grant_is_written_as_it_was_read),
        cmocka_unit_test(other_lines_are_told_apart),
        cmocka_unit_test(impossible_grants_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
