#include "ingest/flv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static struct flv_media media;
static const char *codec;

static int video(const void *data, size_t len) {
    codec = NULL;
    return flv_video_parse(data, len, &media, &codec);
}

static int audio(const void *data, size_t len) {
    codec = NULL;
    return flv_audio_parse(data, len, &media, &codec);
}

static void video_configuration_and_frames(void **state) {
    (void)state;
    assert_int_equal(video("\x17\0\0\0\0\1\x64", 7), 0);
    assert_int_equal(media.what, FLV_CONFIG);
    assert_int_equal(media.len, 2);
    assert_int_equal(media.data[1], 0x64);
    assert_int_equal(video("\x17\1\0\0\x53NAL", 8), 0);
    assert_int_equal(media.what, FLV_FRAME);
    assert_true(media.independent);
    assert_int_equal(media.composition_ms, 83);
    assert_memory_equal(media.data, "NAL", 3);
    assert_int_equal(video("\x27\1\xff\xff\xfdNAL", 8), 0);
    assert_false(media.independent);
    assert_int_equal(media.composition_ms, -3);
}

static void audio_configuration_and_frames(void **state) {
    (void)state;
    assert_int_equal(audio("\xaf\0\x11\x90\x56\xe5\0", 7), 0); /* OBS */
    assert_int_equal(media.what, FLV_CONFIG);
    assert_int_equal(media.len, 5);
    assert_int_equal(audio("\xaf\1\x21", 3), 0);
    assert_int_equal(media.what, FLV_FRAME);
    assert_true(media.independent);
    assert_int_equal(media.composition_ms, 0);
    assert_int_equal(media.data[0], 0x21);
}

static void what_carries_nothing_is_nothing(void **state) {
    (void)state;
    assert_int_equal(video("", 0), 0);
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(video("\x17\2\0\0\0", 5), 0); /* end of sequence */
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(video("\x17\2", 2), 0);
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(video("\x27\1\0\0\0", 5), 0);
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(video("\x52\0", 2), 0); /* a command frame, whatever its codec */
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(audio("", 0), 0);
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(audio("\xaf\1", 2), 0);
    assert_int_equal(media.what, FLV_NOTHING);
    assert_int_equal(audio("\xaf\0", 2),
                     0); /* ffmpeg's first, of AAC that it copies out of ADTS: the right one follows */
    assert_int_equal(media.what, FLV_NOTHING);
}

static void truncated_headers_are_malformed(void **state) {
    (void)state;
    assert_int_equal(video("\x17", 1), -EBADMSG);
    assert_int_equal(video("\x17\0\0\0", 4), -EBADMSG);
    assert_int_equal(video("\x17\0\0\0\0", 5), -EBADMSG);
    assert_int_equal(video("\x17\1\0\0", 4), -EBADMSG);
    assert_int_equal(audio("\xaf", 1), -EBADMSG);
    assert_int_equal(audio("\xaf\2\1", 3), -EBADMSG);
}

static void other_codecs_are_named(void **state) {
    (void)state;
    assert_int_equal(video("\x12\1\0\0\0", 5), -ENOTSUP);
    assert_string_equal(codec, "Sorenson H.263");
    assert_int_equal(video("\x1c\1\0\0\0", 5), -ENOTSUP);
    assert_string_equal(codec, "HEVC as codec 12");
    assert_int_equal(video("\x1f", 1), -ENOTSUP);
    assert_string_equal(codec, "unknown video");
    assert_int_equal(audio("\x2f\0", 2), -ENOTSUP);
    assert_string_equal(codec, "MP3");
    assert_int_equal(audio("\xd0", 1), -ENOTSUP);
    assert_string_equal(codec, "unknown audio");
}

static void enhanced_rtmp_is_named(void **state) {
    (void)state;
    assert_int_equal(video("\x90hvc1\1", 6), -ENOTSUP);
    assert_string_equal(codec, "HEVC (enhanced RTMP)");
    assert_int_equal(video("\x91"
                           "av01",
                           5),
                     -ENOTSUP);
    assert_string_equal(codec, "AV1 (enhanced RTMP)");
    assert_int_equal(video("\x90hvc", 4), -ENOTSUP);
    assert_string_equal(codec, "enhanced RTMP video");
    assert_int_equal(audio("\x90Opus", 5), -ENOTSUP);
    assert_string_equal(codec, "Opus (enhanced RTMP)");
    assert_int_equal(audio("\x95\1mp4a", 6), -ENOTSUP); /* multitrack: the code stands elsewhere */
    assert_string_equal(codec, "enhanced RTMP audio");
}

static void aggregate_gives_its_tags(void **state) {
    (void)state;
    static const uint8_t bytes[] = {8,  0, 0, 2, 0, 1, 0, 2, 0, 0,  0, 'a', 'b', 0, 0,  0, 13, /* time 2000100 hex */
                                    18, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0, 0,   0,   0, 11, 9, 0,
                                    0,  1, 0, 0, 9, 0, 0, 0, 0, 'v'}; /* without the last trailer */
    const uint8_t *data = bytes;
    size_t len = sizeof bytes;
    struct flv_tag tag;
    assert_int_equal(flv_tag_next(&data, &len, &tag), 1);
    assert_int_equal(tag.type, 8);
    assert_int_equal(tag.timestamp_ms, 0x2000100);
    assert_int_equal(tag.len, 2);
    assert_memory_equal(tag.data, "ab", 2);
    assert_int_equal(flv_tag_next(&data, &len, &tag), 1);
    assert_int_equal(tag.type, 18);
    assert_int_equal(tag.len, 0);
    assert_int_equal(flv_tag_next(&data, &len, &tag), 1);
    assert_int_equal(tag.timestamp_ms, 9);
    assert_memory_equal(tag.data, "v", 1);
    assert_int_equal(flv_tag_next(&data, &len, &tag), 0);
}

static void aggregate_tag_beyond_the_end_is_malformed(void **state) {
    (void)state;
    const uint8_t *data = (const uint8_t *)"\x09\xff\xff\xff\0\0\0\0\0\0\0v";
    size_t len = 12;
    struct flv_tag tag;
    assert_int_equal(flv_tag_next(&data, &len, &tag), -EBADMSG);
    len = 10;
    assert_int_equal(flv_tag_next(&data, &len, &tag), -EBADMSG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(video_configuration_and_frames),  cmocka_unit_test(audio_configuration_and_frames),
        cmocka_unit_test(what_carries_nothing_is_nothing), cmocka_unit_test(truncated_headers_are_malformed),
        cmocka_unit_test(other_codecs_are_named),          cmocka_unit_test(enhanced_rtmp_is_named),
        cmocka_unit_test(aggregate_gives_its_tags),        cmocka_unit_test(aggregate_tag_beyond_the_end_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
