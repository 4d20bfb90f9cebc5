#include "common/http/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/http/server.h"

static void path_decoded(void **state) {
    (void)state;
    static const struct {
        const char *raw, *path;
    } cases[] = {
        {"/", "/"},       {"/live/show/", "/live/show/"}, {"/a%20b/%c3%A9", "/a b/\xc3\xa9"},
        {"/...", "/..."}, {"/.a/a.", "/.a/a."},           {"/%25", "/%"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        assert_int_equal(http_path_normalize(cases[i].raw, strlen(cases[i].raw), out, sizeof out), 0);
        assert_string_equal(out, cases[i].path);
    }
}

static void path_refused(void **state) {
    (void)state;
    static const char *const cases[] = {"",        "a",    "//",       "/a//b",   "/.",     "/..",   "/./a", "/a/..",
                                        "/a/../b", "/%2e", "/%2E%2e/", "/.%2e/x", "/a%2fb", "/%2F",  "/%00", "/a%0a",
                                        "/%7f",    "/%",   "/%4",      "/%zz",    "/%4g",   "/a\\b", "/%5c", "/a//"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        if (http_path_normalize(cases[i], strlen(cases[i]), out, sizeof out) != -EINVAL)
            fail_msg("accepted: %s", cases[i]);
    }
}

static void path_too_long_for_buffer(void **state) {
    (void)state;
    char out[4];
    assert_int_equal(http_path_normalize("/abc", 4, out, sizeof out), -ENOBUFS);
    assert_int_equal(http_path_normalize("/ab", 3, out, sizeof out), 0);
}

static void query_values(void **state) {
    (void)state;
    char out[8];
    const char *query = "a=1&_HLS_msn=42&b=x%26y&empty=&bare&long=123456789&bad=%4&nul=%00&a=2";
    assert_true(http_query_get(query, "_HLS_msn", out, sizeof out));
    assert_string_equal(out, "42");
    assert_true(http_query_get(query, "a", out, sizeof out));
    assert_string_equal(out, "1");
    assert_true(http_query_get(query, "b", out, sizeof out));
    assert_string_equal(out, "x&y");
    assert_true(http_query_get(query, "empty", out, sizeof out));
    assert_string_equal(out, "");
    assert_true(http_query_get(query, "bare", out, sizeof out));
    assert_string_equal(out, "");
    assert_false(http_query_get(query, "long", out, sizeof out));
    assert_false(http_query_get(query, "bad", out, sizeof out));
    assert_false(http_query_get(query, "nul", out, sizeof out));
    assert_false(http_query_get(query, "HLS_msn", out, sizeof out));
    assert_false(http_query_get(query, "", out, sizeof out));
    assert_false(http_query_get("", "a", out, sizeof out));
    assert_false(http_query_get("&&=&", "a", out, sizeof out));
}

static void gzip_accepted(void **state) {
    (void)state;
    static const struct {
        const char *value;
        bool gzip;
    } cases[] = {
        {NULL, false},
        {"", false},
        {"gzip", true},
        {"GZIP", true},
        {"deflate, gzip;q=1.0, *;q=0.5", true},
        {"br,gzip", true},
        {"x-gzip", true},
        {"gzip;q=0", false},
        {"gzip; q=0.000", false},
        {"gzip ;Q=0 , *", false},
        {"gzip;q=0.001", true},
        {"*", true},
        {"*;q=0", false},
        {"*;q=0, gzip", true},
        {"identity", false},
        {"gzipped", false},
        {",,", false},
        {"gzip;", true},
        {"gzip;q=", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (http_accepts_gzip(cases[i].value) != cases[i].gzip)
            fail_msg("%s", cases[i].value);
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *value;
        uint64_t size;
        enum http_range_result result;
        uint64_t first, last;
    } cases[] = {
        {"bytes=0-0", 10, HTTP_RANGE_VALID, 0, 0},
        {"bytes=2-5", 10, HTTP_RANGE_VALID, 2, 5},
        {"Bytes=2-", 10, HTTP_RANGE_VALID, 2, 9},
        {"bytes=2-9007199254740991", 10, HTTP_RANGE_VALID, 2, 9},
        {"bytes=9-10", 10, HTTP_RANGE_VALID, 9, 9},
        {"bytes=-3", 10, HTTP_RANGE_VALID, 7, 9},
        {"bytes=-30", 10, HTTP_RANGE_VALID, 0, 9},
        {"bytes=0-99999999999999999999999999", 10, HTTP_RANGE_VALID, 0, 9},
        {"bytes=10-", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999-", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-5", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-2", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=0-1,3-4", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=-", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=a-b", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=1", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes= 1-2", 10, HTTP_RANGE_NONE, 0, 0},
        {"bytes=+1-2", 10, HTTP_RANGE_NONE, 0, 0},
        {"seconds=1-2", 10, HTTP_RANGE_NONE, 0, 0},
        {"", 10, HTTP_RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_range range = {0, 0};
        if (http_range_parse(cases[i].value, cases[i].size, &range) != cases[i].result ||
            range.first != cases[i].first || range.last != cases[i].last)
            fail_msg("%s of %d: %d-%d", cases[i].value, (int)cases[i].size, (int)range.first, (int)range.last);
    }
}

static void etags(void **state) {
    (void)state;
    assert_true(http_etag_matches("\"a\"", "\"a\""));
    assert_true(http_etag_matches("\"b\", W/\"a\"", "\"a\""));
    assert_true(http_etag_matches("\"a\"", "W/\"a\""));
    assert_true(http_etag_matches(" * ", "\"a\""));
    assert_false(http_etag_matches("\"ab\"", "\"a\""));
    assert_false(http_etag_matches("a", "\"a\""));
    assert_false(http_etag_matches("", "\"a\""));
    assert_false(http_etag_matches(",", "\"a\""));
}

static void dates(void **state) {
    (void)state;
    char out[HTTP_DATE_LEN];
    assert_string_equal(http_date_format(out, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_decoded), cmocka_unit_test(path_refused),  cmocka_unit_test(path_too_long_for_buffer),
        cmocka_unit_test(query_values), cmocka_unit_test(gzip_accepted), cmocka_unit_test(ranges),
        cmocka_unit_test(etags),        cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
