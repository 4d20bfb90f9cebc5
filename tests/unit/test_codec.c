/* What codecs' configurations and frames say, on those that encoders make. */
#include "ingest/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static const uint8_t avcc[] = {
    0x01, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0x00, 0x09, 0x67, 0x4d, 0x40, 0x1f, 0xd9,
    0x00, 0x50, 0x05, 0xb9, 0x01, 0x00, 0x05, 0x68, 0xeb, 0xc3, 0xcb, 0x20}; /* x264, 1280x720 */
static const uint8_t asc[] = {0x11, 0x90};

static struct codec_info describe(enum codec codec, const uint8_t *config, size_t len) {
    struct codec_info info;
    const char *why = NULL;
    int rc = codec_describe(codec, config, len, &info, &why);
    if (rc)
        fail_msg("%s", why);
    assert_int_equal(info.codec, codec);
    return info;
}

static void h264(void **state) {
    (void)state;
    struct codec_info info = describe(CODEC_H264, avcc, sizeof avcc);
    assert_int_equal(info.kind, TRACK_VIDEO);
    assert_string_equal(info.codecs, "avc1.4d401f");
    assert_int_equal(info.width, 1280);
    assert_int_equal(info.height, 720);
    static const uint8_t idr[] = {0, 0, 0, 2, 0x65, 0x88}, other[] = {0, 0, 0, 2, 0x41, 0x88};
    bool independent = false;
    assert_true(codec_frame_ok(&info, idr, sizeof idr, &independent) && independent);
    assert_true(codec_frame_ok(&info, other, sizeof other, &independent) && !independent);
    assert_false(codec_frame_ok(&info, idr, 5, &independent));
    assert_false(codec_frame_ok(&info, idr, 0, &independent));
}

static void h264_init_promises_no_reordering(void **state) {
    (void)state;
    struct codec_info info = describe(CODEC_H264, avcc, sizeof avcc);
    uint8_t out[256];
    assert_false(info.has_reorder_hints);
    int len = codec_init_config(&info, avcc, sizeof avcc, false, out, sizeof out);
    assert_true(len > (int)sizeof avcc);
    assert_true(describe(CODEC_H264, out, (size_t)len).has_reorder_hints);
    assert_int_equal(codec_init_config(&info, avcc, sizeof avcc, true, out, sizeof out), sizeof avcc);
    assert_memory_equal(out, avcc, sizeof avcc);
    assert_int_equal(codec_init_config(&info, avcc, sizeof avcc, true, out, sizeof avcc - 1), -ENOBUFS);
}

static void aac(void **state) {
    (void)state;
    struct codec_info info = describe(CODEC_AAC, asc, sizeof asc);
    assert_int_equal(info.kind, TRACK_AUDIO);
    assert_string_equal(info.codecs, "mp4a.40.2");
    assert_int_equal(info.sample_rate, 48000);
    assert_int_equal(info.channels, 2);
    static const uint8_t frame[] = {0x21, 0x10};
    bool independent = false;
    assert_true(codec_frame_ok(&info, frame, sizeof frame, &independent) && independent);
    assert_int_equal(codec_frame_samples(&info, frame, sizeof frame), 1024);
    assert_int_equal(codec_frame_samples(&info, frame, 0), 0);
}

static void what_is_wrong_is_told(void **state) {
    (void)state;
    struct codec_info info;
    const char *why = NULL;
    assert_int_equal(codec_describe(CODEC_H264, avcc, 7, &info, &why), -EBADMSG);
    assert_non_null(why);
    why = NULL;
    assert_int_equal(codec_describe(CODEC_AAC, asc, 0, &info, &why), -EBADMSG);
    assert_non_null(why);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h264),
        cmocka_unit_test(h264_init_promises_no_reordering),
        cmocka_unit_test(aac),
        cmocka_unit_test(what_is_wrong_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
