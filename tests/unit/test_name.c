#include "common/media/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void ordinary_names_are_joined(void **state) {
    (void)state;
    char out[STREAM_NAME_LEN];
    assert_true(name_join(out, "live", "show-1_a.b~c"));
    assert_string_equal(out, "live/show-1_a.b~c");
    assert_true(name_ok(out));
}

static void dots_slashes_and_odd_bytes_are_refused(void **state) {
    (void)state;
    char out[STREAM_NAME_LEN] = "before";
    static const char *const bad[] = {"", ".", "..", "a/b", "a b", "a%20", "\xc3\xa4", "a\n", "a\"b", "<b>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(name_join(out, "live", bad[i]));
        assert_false(name_join(out, bad[i], "show"));
    }
    assert_string_equal(out, "before");
}

static void paths_of_our_own_are_refused_as_apps(void **state) {
    (void)state;
    char out[STREAM_NAME_LEN];
    assert_false(name_join(out, "t", "x"));
    assert_false(name_join(out, "feed", "x"));
    assert_false(name_ok("api/v1"));
    assert_true(name_join(out, "live", "t"));
}

static void stream_of_the_api_is_told_by_its_path(void **state) {
    (void)state;
    char stream[STREAM_NAME_LEN] = "before";
    static const char *const bad[] = {"/api/v1/streams",         "/api/v1/streams/",         "/api/v1/streams/live",
                                      "/api/v1/streams/live/",   "/api/v1/streams/live/a/b", "/api/v1/streams/api/a",
                                      "/api/v1/streams/live/a b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(api_stream_parse(bad[i], stream));
    assert_string_equal(stream, "before");
    assert_true(api_stream_parse("/api/v1/streams/live/show", stream));
    assert_string_equal(stream, "live/show");
}

static void sixty_four_bytes_are_the_limit(void **state) {
    (void)state;
    char out[STREAM_NAME_LEN], name[66];
    memset(name, 'x', sizeof name);
    name[64] = 0;
    assert_true(name_join(out, name, name));
    name[64] = 'x';
    name[65] = 0;
    assert_false(name_join(out, "live", name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_names_are_joined),
        cmocka_unit_test(dots_slashes_and_odd_bytes_are_refused),
        cmocka_unit_test(paths_of_our_own_are_refused_as_apps),
        cmocka_unit_test(stream_of_the_api_is_told_by_its_path),
        cmocka_unit_test(sixty_four_bytes_are_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
