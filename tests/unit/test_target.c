#include "relay/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_kind_of_path_is_known(void **state) {
    (void)state;
    static const struct {
        const char *path;
        enum target_kind kind;
        uint64_t number;
    } cases[] = {
        {"/live/show/", TARGET_PAGE, 0},
        {"/live/show", TARGET_PAGE_SLASH, 0},
        {"/live/show/hls.js", TARGET_ASSET, 0},
        {"/live/show/thumb.jpg", TARGET_THUMB, 0},
        {"/live/show/index.m3u8", TARGET_MULTIVARIANT, 0},
        {"/live/show/v0a0.m3u8", TARGET_MEDIA, 0},
        {"/live/show/v0a0/init-3.mp4", TARGET_INIT, 3},
        {"/live/show/v0a0/119000.m4s", TARGET_SEGMENT, 119000},
        {"/live/show/v0a0/p2380000.m4s", TARGET_PART, 2380000},
        {"/live/show/v0a0/live.mp4", TARGET_LIVE, 0},
        {"/live/show/s0/119000.vtt", TARGET_SEGMENT, 119000},
        {"/live/show/s0/p2380000.vtt", TARGET_PART, 2380000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target target = target_parse(cases[i].path);
        assert_int_equal(target.kind, cases[i].kind);
        assert_int_equal(target.number, cases[i].number);
        assert_string_equal(target.stream, "live/show");
    }
    assert_string_equal(target_parse("/live/show/v0a0/p1.m4s").variant, "v0a0");
    assert_true(target_parse("/live/show/s0/p1.vtt").text && target_parse("/live/show/s0/1.vtt").text);
    assert_false(target_parse("/live/show/v0a0/p1.m4s").text);
}

static void anything_else_is_nothing(void **state) {
    (void)state;
    static const char *const paths[] = {"/",
                                        "/live",
                                        "/live/",
                                        "/t/show/",
                                        "/live/show/v0a0/",
                                        "/live/show/v0a0/p.m4s",
                                        "/live/show/s0/p01.vtt",
                                        "/live/show/s0/init-1.vtt",
                                        "/live/show/v0a0/p01.m4s",
                                        "/live/show/v0a0/1.m4s.bak",
                                        "/live/show/v0a0/x/1.m4s",
                                        "/live/show/v0a0/init-.mp4",
                                        "/live/show/v0a0/live.mp4/",
                                        "/live/show/v0a0/live.m4s",
                                        "/live/show/v0a0/99999999999999999999.m4s"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(target_parse(paths[i]).kind, TARGET_NONE);
}

static uint8_t urgency(const char *path) {
    struct target target = target_parse(path);
    return target_urgency(&target);
}

static void playlists_come_before_media_and_low_rungs_before_high_ones(void **state) {
    (void)state;
    assert_true(urgency("/live/show/index.m3u8") < urgency("/live/show/v0a0/init-1.mp4"));
    assert_int_equal(urgency("/live/show/index.m3u8"), urgency("/live/show/v0a0.m3u8"));
    assert_true(urgency("/live/show/v0a0/init-1.mp4") < urgency("/live/show/a0/p1.m4s"));
    assert_true(urgency("/live/show/a0/p1.m4s") < urgency("/live/show/v1a0/1.m4s"));
    assert_true(urgency("/live/show/v1a0/1.m4s") < urgency("/live/show/v0a0/live.mp4"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_path_is_known),
        cmocka_unit_test(anything_else_is_nothing),
        cmocka_unit_test(playlists_come_before_media_and_low_rungs_before_high_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
