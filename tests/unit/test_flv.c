#include "ingest/flv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static struct flv_reader reader;
static struct flv_media media;

static int next(void) {
    memset(&media, 0xee, sizeof media);
    return flv_media_next(&reader, &media);
}

/* The first media of a message. */
static int video(const void *data, size_t len) {
    flv_reader_init(&reader, TRACK_VIDEO, data, len);
    return next();
}

static int audio(const void *data, size_t len) {
    flv_reader_init(&reader, TRACK_AUDIO, data, len);
    return next();
}

/* A literal, without its zero. */
#define BYTES(text) (text), sizeof(text) - 1

static void assert_media(enum flv_what what, enum codec codec, uint8_t track, const char *data) {
    assert_int_equal(media.what, what);
    assert_int_equal(media.codec, codec);
    assert_int_equal(media.track, track);
    assert_int_equal(media.len, strlen(data));
    assert_memory_equal(media.data, data, media.len);
}

static void assert_unsupported(int rc, const char *name) {
    assert_int_equal(rc, 1);
    assert_int_equal(media.what, FLV_UNSUPPORTED);
    assert_string_equal(media.codec_name, name);
    assert_int_equal(next(), 0);
}

/* --- legacy --- */

static void video_configuration_and_frames(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x17\0\0\0\0\1\x64")), 1);
    assert_media(FLV_CONFIG, CODEC_H264, 0, "\1\x64");
    assert_int_equal(next(), 0);
    assert_int_equal(video(BYTES("\x17\1\0\0\x53NAL")), 1);
    assert_media(FLV_FRAME, CODEC_H264, 0, "NAL");
    assert_true(media.independent);
    assert_int_equal(media.composition_ms, 83);
    assert_int_equal(media.offset_ns, 0);
    assert_int_equal(video(BYTES("\x27\1\xff\xff\xfdNAL")), 1);
    assert_false(media.independent);
    assert_int_equal(media.composition_ms, -3);
}

static void hevc_as_codec_12(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x1c\0\0\0\0\1\x21")), 1);
    assert_media(FLV_CONFIG, CODEC_HEVC, 0, "\1\x21");
    assert_int_equal(video(BYTES("\x2c\1\0\0\x21NAL")), 1);
    assert_media(FLV_FRAME, CODEC_HEVC, 0, "NAL");
    assert_false(media.independent);
    assert_int_equal(media.composition_ms, 33);
}

static void audio_configuration_and_frames(void **state) {
    (void)state;
    assert_int_equal(audio(BYTES("\xaf\0\x11\x90\x56\xe5\0")), 1); /* OBS */
    assert_int_equal(media.what, FLV_CONFIG);
    assert_int_equal(media.codec, CODEC_AAC);
    assert_int_equal(media.len, 5);
    assert_int_equal(audio(BYTES("\xaf\1\x21")), 1);
    assert_media(FLV_FRAME, CODEC_AAC, 0, "\x21");
    assert_true(media.independent);
    assert_int_equal(media.composition_ms, 0);
    assert_int_equal(next(), 0);
}

static void what_carries_nothing_is_nothing(void **state) {
    (void)state;
    assert_int_equal(video("", 0), 0);
    assert_int_equal(video(BYTES("\x17\2\0\0\0")), 0); /* end of sequence: an unpublish follows */
    assert_int_equal(video(BYTES("\x17\2")), 0);
    assert_int_equal(video(BYTES("\x27\1\0\0\0")), 0);
    assert_int_equal(video(BYTES("\x52\0")), 0); /* a command frame, whatever its codec */
    assert_int_equal(audio("", 0), 0);
    assert_int_equal(audio(BYTES("\xaf\1")), 0);
    assert_int_equal(audio(BYTES("\xaf\0")),
                     0); /* ffmpeg's first, of AAC that it copies out of ADTS: the right one follows */
}

static void truncated_headers_are_malformed(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x17")), -EBADMSG);
    assert_int_equal(next(), 0);
    assert_int_equal(video(BYTES("\x17\0\0\0")), -EBADMSG);
    assert_int_equal(video(BYTES("\x17\0\0\0\0")), -EBADMSG);
    assert_int_equal(video(BYTES("\x17\1\0\0")), -EBADMSG);
    assert_int_equal(audio(BYTES("\xaf")), -EBADMSG);
    assert_int_equal(audio(BYTES("\xaf\2\1")), -EBADMSG);
}

static void other_codecs_are_named(void **state) {
    (void)state;
    assert_unsupported(video(BYTES("\x12\1\0\0\0")), "Sorenson H.263");
    assert_unsupported(video(BYTES("\x1d\1\0\0\0")), "AV1 as codec 13");
    assert_unsupported(video(BYTES("\x1f")), "unknown video");
    assert_unsupported(audio(BYTES("\x2f\0")), "MP3");
    assert_unsupported(audio(BYTES("\xd0")), "unknown audio");
}

/* --- Enhanced RTMP: layouts as in the specification's tables "Extended VideoTagHeader" and "Extended AudioTagHeader"
 * --- */

static void enhanced_configurations(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum codec codec;
        const char *config;
    } cases[] = {
        {BYTES("\x90"
               "avc1\1\x64"),
         CODEC_H264, "\1\x64"},
        {BYTES("\x90hvc1\1\x21"), CODEC_HEVC, "\1\x21"},
        {BYTES("\x90"
               "av01\x81\x04"),
         CODEC_AV1, "\x81\x04"},
        {BYTES("\x90vp09\1\x1f\x80\2\2\2\1\1"), CODEC_VP9, "\1\x1f\x80\2\2\2\1\1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(video(cases[i].bytes, cases[i].len), 1);
        assert_media(FLV_CONFIG, cases[i].codec, 0, cases[i].config);
        assert_int_equal(next(), 0);
    }
    assert_int_equal(audio(BYTES("\x90mp4a\x11\x90")), 1);
    assert_media(FLV_CONFIG, CODEC_AAC, 0, "\x11\x90");
    assert_int_equal(audio(BYTES("\x90OpusOpusHead")), 1);
    assert_media(FLV_CONFIG, CODEC_OPUS, 0, "OpusHead");
}

static void vpcc_may_have_its_box_version(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x90vp09\1\0\0\0\0\x1f\x80\2\2\2\0\0")), 1);
    assert_int_equal(media.len, 8);
    assert_memory_equal(media.data, "\0\x1f\x80\2\2\2\0\0", 8);
}

static void flac_configuration_is_its_streaminfo(void **state) {
    (void)state;
    uint8_t tag[5 + 4 + 4 + 34 + 3] = "\x90"
                                      "fLaCfLaC\x80\0\0\x22stream";
    assert_int_equal(audio(tag, 5 + 4 + 4 + 34), 1);
    assert_int_equal(media.codec, CODEC_FLAC);
    assert_ptr_equal(media.data, tag + 13);
    assert_int_equal(media.len, 34);
    tag[9] = 0; /* not the last block: another follows */
    assert_int_equal(audio(tag, sizeof tag), 1);
    assert_int_equal(media.len, 34);
    assert_int_equal(audio(tag, 5 + 4 + 4 + 33), -EBADMSG);
    tag[9] = 4; /* a comment */
    assert_int_equal(audio(tag, 5 + 4 + 4 + 34), -EBADMSG);
}

static void enhanced_frames(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x91hvc1\xff\xff\xfeNAL")), 1); /* CodedFrames: SI24 */
    assert_media(FLV_FRAME, CODEC_HEVC, 0, "NAL");
    assert_true(media.independent);
    assert_int_equal(media.composition_ms, -2);
    assert_int_equal(video(BYTES("\xa1"
                                 "avc1\0\0\x21NAL")),
                     1);
    assert_media(FLV_FRAME, CODEC_H264, 0, "NAL");
    assert_false(media.independent);
    assert_int_equal(media.composition_ms, 33);
    assert_int_equal(video(BYTES("\xa3"
                                 "avc1NAL")),
                     1); /* CodedFramesX: none */
    assert_media(FLV_FRAME, CODEC_H264, 0, "NAL");
    assert_int_equal(media.composition_ms, 0);
    assert_int_equal(video(BYTES("\x91"
                                 "av01\x12\0OBU")),
                     1); /* no composition time; a temporal delimiter that isn't wanted */
    assert_media(FLV_FRAME, CODEC_AV1, 0, "OBU");
    assert_int_equal(video(BYTES("\xa1vp09frame")), 1);
    assert_media(FLV_FRAME, CODEC_VP9, 0, "frame");
    assert_int_equal(audio(BYTES("\x91Opuspacket")), 1);
    assert_media(FLV_FRAME, CODEC_OPUS, 0, "packet");
    assert_true(media.independent);
    assert_int_equal(audio(BYTES("\x91"
                                 "fLaC\xff\xf8")),
                     1);
    assert_media(FLV_FRAME, CODEC_FLAC, 0, "\xff\xf8");
}

static void enhanced_end_of_sequence(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x92hvc1")), 1);
    assert_int_equal(media.what, FLV_END);
    assert_int_equal(next(), 0);
    assert_int_equal(audio(BYTES("\x95\2Opus\3")), 1); /* multitrack, of track 3 */
    assert_int_equal(media.what, FLV_END);
    assert_int_equal(media.track, 3);
}

static void enhanced_packets_that_say_nothing(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x94hvc1\2\0\x09"
                                 "colorInfo")),
                     0); /* Metadata */
    assert_int_equal(video(BYTES("\xd4hvc1\2\0\x09"
                                 "colorInfo")),
                     0); /* …whatever the frame type */
    assert_int_equal(video(BYTES("\x95"
                                 "av01\x80\4")),
                     0);                                       /* MPEG2TSSequenceStart */
    assert_int_equal(video(BYTES("\xd1\0")), 0);               /* a command: StartSeek */
    assert_int_equal(video(BYTES("\x9f????")), 0);             /* reserved */
    assert_int_equal(audio(BYTES("\x94Opus\1\2\0\0\0\3")), 0); /* MultichannelConfig */
    assert_int_equal(audio(BYTES("\x91Opus")), 0);             /* silence */
    assert_int_equal(audio(BYTES("\x90mp4a")), 0);
    assert_int_equal(video(BYTES("\x91hvc1\0\0\0")), 0);
    assert_int_equal(video(BYTES("\x96\4hvc1\1meta")), 0); /* Metadata of a track */
}

static void enhanced_codecs_that_are_not_carried_are_named(void **state) {
    (void)state;
    assert_unsupported(video(BYTES("\x90vvc1\1")), "VVC");
    assert_unsupported(video(BYTES("\x90vp08\1")), "VP8");
    assert_unsupported(video(BYTES("\x91"
                                   "Opus\1")),
                       "Opus");
    assert_unsupported(video(BYTES("\x90hev1\1")), "hev1");
    assert_unsupported(video(BYTES("\x90\xff\0\1\2\1")), "unknown video");
    assert_unsupported(audio(BYTES("\x90.mp3")), "MP3");
    assert_unsupported(audio(BYTES("\x91"
                                   "ac-3\x0b\x77")),
                       "AC-3");
    assert_unsupported(audio(BYTES("\x91"
                                   "ec-3\x0b\x77")),
                       "E-AC-3");
    assert_unsupported(audio(BYTES("\x90hvc1\1")), "hvc1");
}

static void modifiers(void **state) {
    (void)state;
    /* 7 = ModEx, size 3, offset 500000, type 0 | CodedFramesX */
    assert_int_equal(video(BYTES("\x97\2\x07\xa1\x20\3hvc1NAL")), 1);
    assert_media(FLV_FRAME, CODEC_HEVC, 0, "NAL");
    assert_int_equal(media.offset_ns, 500000);
    assert_true(media.independent);
    /* an unknown one, then the offset, then a track's frame */
    assert_int_equal(audio(BYTES("\x97\1??\x57\2\0\0\x64\5\1Opus\2x")), 1);
    assert_media(FLV_FRAME, CODEC_OPUS, 2, "x");
    assert_int_equal(media.offset_ns, 100);
    /* as much as the three bytes hold: no more than a millisecond */
    assert_int_equal(video(BYTES("\x97\2\xff\xff\xff\3hvc1NAL")), 1);
    assert_int_equal(media.offset_ns, 999999);
    /* 256 bytes and more have a size of two bytes */
    uint8_t tag[1 + 3 + 300 + 1 + 4 + 3] = "\x97\xff\1\x2b";
    memcpy(tag + 4 + 300, "\x13hvc1NAL", 8);
    assert_int_equal(video(tag, sizeof tag), 1);
    assert_media(FLV_FRAME, CODEC_HEVC, 0, "NAL");
    assert_int_equal(media.offset_ns, 0);
}

static void modifiers_that_are_malformed(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x97")), -EBADMSG);
    assert_int_equal(video(BYTES("\x97\2\0\0\1")), -EBADMSG); /* no packet type */
    assert_int_equal(video(BYTES("\x97\xff\1")), -EBADMSG);
    assert_int_equal(video(BYTES("\x97\xff\xff\xff????")), -EBADMSG);
    assert_int_equal(video(BYTES("\x97\1\0\0\3hvc1NAL")), -EBADMSG); /* too short an offset */
}

static void one_track(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x96\0"
                                 "avc1\1\1\x64")),
                     1);
    assert_media(FLV_CONFIG, CODEC_H264, 1, "\1\x64");
    assert_int_equal(next(), 0);
    assert_int_equal(video(BYTES("\xa6\1"
                                 "avc1\2\0\0\x21NAL")),
                     1);
    assert_media(FLV_FRAME, CODEC_H264, 2, "NAL");
    assert_false(media.independent);
    assert_int_equal(media.composition_ms, 33);
    assert_int_equal(audio(BYTES("\x95\1mp4a\xff"
                                 "aac")),
                     1);
    assert_media(FLV_FRAME, CODEC_AAC, 255, "aac");
}

static void many_tracks(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x96\x11"
                                 "hvc1\0\0\0\6\0\0\x0aOne\1\0\0\3\0\0\0\2\0\0\5\0\0\0"
                                 "23")),
                     1);
    assert_media(FLV_FRAME, CODEC_HEVC, 0, "One");
    assert_int_equal(media.composition_ms, 10);
    assert_int_equal(next(), 1); /* track 1 has nothing */
    assert_media(FLV_FRAME, CODEC_HEVC, 2, "23");
    assert_true(media.independent);
    assert_int_equal(next(), 0);
}

static void many_tracks_of_many_codecs(void **state) {
    (void)state;
    assert_int_equal(audio(BYTES("\x95\x20mp4a\0\0\0\2\x11\x90"
                                 "ac-3\1\0\0\0Opus\2\0\0\4Opus")),
                     1);
    assert_media(FLV_CONFIG, CODEC_AAC, 0, "\x11\x90");
    assert_int_equal(next(), 1);
    assert_int_equal(media.what, FLV_UNSUPPORTED);
    assert_int_equal(media.track, 1);
    assert_int_equal(next(), 1);
    assert_media(FLV_CONFIG, CODEC_OPUS, 2, "Opus");
    assert_int_equal(next(), 0);
}

static void multitrack_that_is_malformed(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x96")), -EBADMSG);
    assert_int_equal(video(BYTES("\x96\x06hvc1\1")), -EBADMSG);     /* within itself */
    assert_int_equal(video(BYTES("\x96\x07\2\0\0\1\3")), -EBADMSG); /* a modifier within */
    assert_int_equal(video(BYTES("\x96\x31hvc1\1")), -EBADMSG);     /* reserved: nobody knows what follows */
    assert_int_equal(video(BYTES("\x96\1hvc")), -EBADMSG);
    assert_int_equal(video(BYTES("\x96\1hvc1")), -EBADMSG); /* no number */
    assert_int_equal(video(BYTES("\x96\x13hvc1\0\0\0\4NAL")), -EBADMSG);
    assert_int_equal(video(BYTES("\x96\x13hvc1\0\0\0\3NAL\1\0")), 1);
    assert_int_equal(next(), -EBADMSG); /* the second has no size */
    assert_int_equal(next(), 0);
    assert_int_equal(audio(BYTES("\x95\x21Opus\0\0\0\1xOp")), 1);
    assert_int_equal(next(), -EBADMSG);
}

static void enhanced_headers_that_are_malformed(void **state) {
    (void)state;
    assert_int_equal(video(BYTES("\x90hvc")), -EBADMSG);
    assert_int_equal(video(BYTES("\x90hvc1")), -EBADMSG); /* an empty configuration */
    assert_int_equal(video(BYTES("\x91hvc1\0\0")), -EBADMSG);
    assert_int_equal(audio(BYTES("\x91")), -EBADMSG);
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
        cmocka_unit_test(video_configuration_and_frames),
        cmocka_unit_test(hevc_as_codec_12),
        cmocka_unit_test(audio_configuration_and_frames),
        cmocka_unit_test(what_carries_nothing_is_nothing),
        cmocka_unit_test(truncated_headers_are_malformed),
        cmocka_unit_test(other_codecs_are_named),
        cmocka_unit_test(enhanced_configurations),
        cmocka_unit_test(vpcc_may_have_its_box_version),
        cmocka_unit_test(flac_configuration_is_its_streaminfo),
        cmocka_unit_test(enhanced_frames),
        cmocka_unit_test(enhanced_end_of_sequence),
        cmocka_unit_test(enhanced_packets_that_say_nothing),
        cmocka_unit_test(enhanced_codecs_that_are_not_carried_are_named),
        cmocka_unit_test(modifiers),
        cmocka_unit_test(modifiers_that_are_malformed),
        cmocka_unit_test(one_track),
        cmocka_unit_test(many_tracks),
        cmocka_unit_test(many_tracks_of_many_codecs),
        cmocka_unit_test(multitrack_that_is_malformed),
        cmocka_unit_test(enhanced_headers_that_are_malformed),
        cmocka_unit_test(aggregate_gives_its_tags),
        cmocka_unit_test(aggregate_tag_beyond_the_end_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
