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

static void tracks_are_read_from_a_variant(void **state) {
    (void)state;
    static const char *const bad[] = {"v", "0", "v0x", "V0", "v123", "v0a0v1a1v2a2v3a3v4a4v5", "../v0", "v0 "};
    struct track_names names = track_names_of("v0a12");
    assert_int_equal(names.count, 2);
    assert_string_equal(names.items[0], "v0");
    assert_string_equal(names.items[1], "a12");
    assert_int_equal(track_names_of("v0v0").count, 1);
    assert_int_equal(track_names_of("").count, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(track_names_of(bad[i]).count, 0);
}

static void sets_of_tracks_have_no_order(void **state) {
    (void)state;
    struct track_names one = track_names_of("v0a0"), other = track_names_of("a0v0");
    assert_true(track_names_same(&one, &other));
    assert_true(track_names_have(&one, "a0") && !track_names_have(&one, "a1"));
    track_names_add(&other, "a1");
    assert_false(track_names_same(&one, &other) || track_names_same(&other, &one));
    for (char i = '0'; i <= '9'; i++)
        track_names_add(&other, (char[4]){'v', i});
    assert_int_equal(other.count, TRACKS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_names_are_joined),
        cmocka_unit_test(dots_slashes_and_odd_bytes_are_refused),
        cmocka_unit_test(paths_of_our_own_are_refused_as_apps),
        cmocka_unit_test(stream_of_the_api_is_told_by_its_path),
        cmocka_unit_test(sixty_four_bytes_are_the_limit),
        cmocka_unit_test(tracks_are_read_from_a_variant),
        cmocka_unit_test(sets_of_tracks_have_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
