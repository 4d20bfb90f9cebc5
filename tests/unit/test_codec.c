/* What codecs' configurations and frames say, on those that encoders make. */
#include "ingest/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/av1.h"
#include "ingest/flac.h"
#include "ingest/hevc.h"
#include "ingest/opus.h"
#include "ingest/vp9.h"
#include "tests/unit/codec_samples.h"

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

/* --- what encoders make --- */

static const struct codec_sample *const samples[] = {&sample_hevc,    &sample_hevc10,  &sample_av1,
                                                     &sample_av1_hdr, &sample_av1_svt, &sample_vp9,
                                                     &sample_vp9_444, &sample_opus,    &sample_opus_surround,
                                                     &sample_flac};
enum { SAMPLES = sizeof samples / sizeof *samples };

static struct codec_info describe_sample(const struct codec_sample *sample) {
    struct codec_info info = describe(sample->codec, sample->config.data, sample->config.len);
    if (!info.width)
        codec_info_renew(&info, sample->frames[0].data, sample->frames[0].len);
    return info;
}

static void encoders_configurations(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        struct codec_info info = describe_sample(samples[i]);
        assert_string_equal(info.codecs, samples[i]->codecs);
        assert_true(strlen(codec_name(info.codec)) >= 3);
        if (info.kind == TRACK_AUDIO) {
            assert_int_equal(info.sample_rate, 48000);
            assert_int_equal(info.channels, samples[i] == &sample_opus_surround ? 6 : 2);
        } else {
            assert_int_equal(info.width, 64);
            assert_int_equal(info.height, samples[i] == &sample_av1_svt ? 64 : 48);
            bool is_hdr = samples[i] == &sample_av1_hdr || samples[i] == &sample_hevc10;
            assert_int_equal(info.range, is_hdr ? VIDEO_PQ : VIDEO_SDR);
        }
    }
}

static void encoders_frames(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        struct codec_info info = describe_sample(samples[i]);
        for (int n = 0; n < 3; n++) {
            const struct sample_bytes *frame = &samples[i]->frames[n];
            bool independent = n % 2; /* the publisher may be wrong */
            assert_true(codec_frame_ok(&info, frame->data, frame->len, &independent));
            assert_int_equal(independent,
                             n == 0 || info.kind == TRACK_AUDIO || (samples[i] == &sample_hevc10 && n == 1));
            assert_false(codec_frame_ok(&info, frame->data, 0, &independent));
        }
    }
}

/* No part of a configuration is enough, and none is read past its end. */
static void cut_off_configurations_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        for (size_t len = 0; len < samples[i]->config.len; len++) {
            struct codec_info info;
            const char *why = NULL;
            uint8_t *exact = malloc(len ? len : 1);
            assert_non_null(exact);
            memcpy(exact, samples[i]->config.data, len);
            if (!codec_describe(samples[i]->codec, exact, len, &info, &why))
                fail_msg("%s of %zu bytes", codec_name(samples[i]->codec), len);
            assert_non_null(why);
            free(exact);
        }
    }
}

static void cut_off_frames(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        struct codec_info info = describe_sample(samples[i]);
        const struct sample_bytes *frame = &samples[i]->frames[0];
        bool has_lengths = info.kind == TRACK_VIDEO && info.codec != CODEC_VP9; /* within */
        for (size_t len = 1; len < frame->len; len++) {
            uint8_t *exact = malloc(len);
            bool independent;
            assert_non_null(exact);
            memcpy(exact, frame->data, len);
            bool ok = codec_frame_ok(&info, exact, len, &independent);
            if (has_lengths)
                assert_true(!ok || !independent); /* AV1's sequence header is whole by itself, but no picture */
            free(exact);
        }
    }
}

/* --- HEVC --- */

static void hevc_frame_rate_and_tiers(void **state) {
    (void)state;
    assert_int_equal(describe_sample(&sample_hevc).fps_milli, 25000);
    char codecs[CODECS_LEN];
    static const uint8_t main_high[HEVC_PTL_LEN] = {0x21, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93};
    hevc_codecs(main_high, codecs, sizeof codecs);
    assert_string_equal(codecs, "hvc1.1.6.H93.B0");
    static const uint8_t all[HEVC_PTL_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    hevc_codecs(all, codecs, sizeof codecs); /* the longest */
    assert_string_equal(codecs, "hvc1.C31.FFFFFFFF.H255.FF.FF.FF.FF.FF.FF");
    static const uint8_t none[HEVC_PTL_LEN] = {0x01, 0x60, [11] = 120};
    hevc_codecs(none, codecs, sizeof codecs);
    assert_string_equal(codecs, "hvc1.1.6.L120");
}

/* x265 writes its command line into hvcC, as SEI; FFmpeg leaves array_completeness 0. */
static void hevc_init_has_complete_parameter_sets_alone(void **state) {
    (void)state;
    static const uint8_t sei[] = {0x27, 0, 1, 0, 4, 0x4e, 0x01, 0x05, 0x80};
    uint8_t config[512], out[512];
    size_t len = sample_hevc.config.len;
    memcpy(config, sample_hevc.config.data, len);
    memcpy(config + len, sei, sizeof sei);
    config[22]++;
    config[23] &= 0x3f;
    struct codec_info info = describe(CODEC_HEVC, config, len + sizeof sei);
    int n = codec_init_config(&info, config, len + sizeof sei, true, out, sizeof out);
    assert_int_equal(n, len);
    assert_int_equal(out[22], 3);
    assert_int_equal(out[23], 0x80 | HEVC_NAL_VPS);
    describe(CODEC_HEVC, out, (size_t)n);
    assert_int_equal(codec_init_config(&info, config, len + sizeof sei, true, out, len - 1), -ENOBUFS);
}

static void hevc_irap_pictures_are_independent(void **state) {
    (void)state;
    struct codec_info info = describe_sample(&sample_hevc);
    static const struct {
        uint8_t type;
        bool irap;
    } types[] = {{1, false}, {9, false}, {15, false}, {16, true}, {19, true},
                 {20, true}, {21, true}, {24, false}, {33, false}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const uint8_t unit[] = {0, 0, 0, 3, 0x4e, 1, 5, 0, 0, 0, 3, (uint8_t)(types[i].type << 1), 1, 0x80};
        bool independent;
        assert_true(codec_frame_ok(&info, unit, sizeof unit, &independent));
        assert_int_equal(independent, types[i].irap);
    }
    static const uint8_t headless[] = {0, 0, 0, 1, 0x26};
    bool independent;
    assert_false(codec_frame_ok(&info, headless, sizeof headless, &independent));
}

/* --- AV1 --- */

static void av1_delimiters_are_no_part_of_a_sample(void **state) {
    (void)state;
    uint8_t unit[128] = {0x12, 0x00}; /* as encoders begin a temporal unit */
    const struct sample_bytes *frame = &sample_av1.frames[0];
    memcpy(unit + 2, frame->data, frame->len);
    bool key;
    size_t len;
    assert_true(av1_unit_ok(unit, 2 + frame->len, &key, &len));
    assert_true(key);
    assert_int_equal(len, frame->len);
    assert_false(av1_unit_ok(unit, 2, &key, &len)); /* nothing would be left */
    unit[0] |= 0x80;
    assert_false(av1_unit_ok(unit, 2 + frame->len, &key, &len));
}

static void av1_key_frame_without_sequence_header_is_not_independent(void **state) {
    (void)state;
    const struct sample_bytes *frame = &sample_av1.frames[0];
    bool key;
    assert_int_equal(frame->data[0], 0x0a);
    assert_true(av1_unit_ok(frame->data + 12, frame->len - 12, &key, NULL));
    assert_false(key);
    uint8_t hidden[64];
    memcpy(hidden, frame->data, frame->len);
    hidden[14] &= 0xef; /* show_frame */
    assert_true(av1_unit_ok(hidden, frame->len, &key, NULL));
    assert_false(key);
}

static void av1_last_obu_may_have_no_size(void **state) {
    (void)state;
    static const uint8_t unit[] = {0x30, 0x30, 0x80}; /* a frame to the end */
    bool key;
    size_t len;
    assert_true(av1_unit_ok(unit, sizeof unit, &key, &len));
    assert_int_equal(len, sizeof unit);
}

/* --- VP9 --- */

static void vp9_size_comes_with_key_frames(void **state) {
    (void)state;
    struct codec_info info = describe(CODEC_VP9, sample_vp9.config.data, sample_vp9.config.len);
    assert_int_equal(info.width, 0);
    assert_false(codec_info_renew(&info, sample_vp9.frames[1].data, sample_vp9.frames[1].len));
    assert_true(codec_info_renew(&info, sample_vp9.frames[0].data, sample_vp9.frames[0].len));
    assert_int_equal(info.width, 64);
    assert_int_equal(info.height, 48);
    assert_false(codec_info_renew(&info, sample_vp9.frames[0].data, sample_vp9.frames[0].len)); /* the same again */
    info = describe_sample(&sample_hevc);
    assert_false(codec_info_renew(&info, sample_vp9.frames[0].data, sample_vp9.frames[0].len));
}

static void vp9_level_unknown_is_assumed(void **state) {
    (void)state;
    static const uint8_t config[] = {0, 0, 0x82, 2, 2, 2, 0, 0}, deep[] = {2, 31, 0xa2, 9, 16, 9, 0, 0};
    assert_string_equal(describe(CODEC_VP9, config, sizeof config).codecs, "vp09.00.41.08");
    assert_string_equal(describe(CODEC_VP9, deep, sizeof deep).codecs, "vp09.02.31.10.01.09.16.09.00");
}

/* --- Opus, FLAC --- */

static void opus_packets_tell_their_length(void **state) {
    (void)state;
    static const struct {
        uint8_t packet[2];
        size_t len;
        uint32_t samples;
    } packets[] = {
        {{0x00}, 1, 480},
        {{0x18}, 1, 2880}, /* SILK: 10 and 60 ms */
        {{0x60}, 1, 480},
        {{0x68}, 1, 960}, /* hybrid */
        {{0x80}, 1, 120},
        {{0xf8}, 1, 960}, /* CELT: 2.5 and 20 ms */
        {{0xf9}, 1, 1920},
        {{0xf9, 0}, 2, 0}, /* two of the same size can't share an odd number */
        {{0xfa, 0}, 2, 1920},
        {{0xfa}, 1, 0}, /* two */
        {{0xfb, 6}, 2, 5760},
        {{0xfb, 7}, 2, 0}, /* 120 ms; more there can't be */
        {{0xfb, 0x80 | 3}, 2, 2880},
        {{0xfb, 0}, 2, 0},
        {{0xfb}, 1, 0},
        {{0}, 0, 0},
    };
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++)
        assert_int_equal(opus_packet_samples(packets[i].packet, packets[i].len), packets[i].samples);
}

static void opus_heads(void **state) {
    (void)state;
    uint8_t head[OPUS_HEAD_MAX];
    for (uint8_t channels = 1; channels <= 8; channels++) {
        size_t len = opus_head_make(channels, 312, head);
        assert_int_equal(describe(CODEC_OPUS, head, len).channels, channels);
        assert_int_equal(len, channels <= 2 ? 19 : 21 + channels);
    }
    size_t len = opus_head_make(6, 312, head);
    assert_int_equal(len, sample_opus_surround.config.len); /* libopus has the same */
    assert_memory_equal(head, sample_opus_surround.config.data, len);
    struct codec_info info;
    const char *why;
    head[18] = 255;
    assert_int_equal(codec_describe(CODEC_OPUS, head, len, &info, &why), -ENOTSUP);
}

static void flac_limits(void **state) {
    (void)state;
    struct codec_info info;
    const char *why;
    uint8_t config[FLAC_CONFIG_LEN];
    memcpy(config, sample_flac.config.data, sizeof config);
    assert_int_equal(describe(CODEC_FLAC, config, sizeof config).frame_samples, 4608);
    config[0] = 0x10; /* blocks of 4096 to 4608 samples */
    assert_int_equal(codec_describe(CODEC_FLAC, config, sizeof config, &info, &why), -ENOTSUP);
    config[0] = config[2] = 0x40; /* 16384 */
    config[1] = config[3] = 0;
    assert_int_equal(codec_describe(CODEC_FLAC, config, sizeof config, &info, &why), -ENOTSUP);
    info = describe_sample(&sample_flac);
    uint8_t frame[32];
    memcpy(frame, sample_flac.frames[0].data, sample_flac.frames[0].len);
    assert_int_equal(codec_frame_samples(&info, frame, sample_flac.frames[0].len), 4608);
    frame[4]++; /* the CRC is over it */
    assert_int_equal(codec_frame_samples(&info, frame, sample_flac.frames[0].len), 0);
    static const uint8_t last[] = {0xff, 0xf8, 0x7a, 0x08, 0x02, 0x01, 0x7f, 0x7e}; /* shorter: its size is spelt out */
    assert_int_equal(codec_frame_samples(&info, last, sizeof last), 384);
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
        cmocka_unit_test(encoders_configurations),
        cmocka_unit_test(encoders_frames),
        cmocka_unit_test(cut_off_configurations_are_refused),
        cmocka_unit_test(cut_off_frames),
        cmocka_unit_test(hevc_frame_rate_and_tiers),
        cmocka_unit_test(hevc_init_has_complete_parameter_sets_alone),
        cmocka_unit_test(hevc_irap_pictures_are_independent),
        cmocka_unit_test(av1_delimiters_are_no_part_of_a_sample),
        cmocka_unit_test(av1_key_frame_without_sequence_header_is_not_independent),
        cmocka_unit_test(av1_last_obu_may_have_no_size),
        cmocka_unit_test(vp9_size_comes_with_key_frames),
        cmocka_unit_test(vp9_level_unknown_is_assumed),
        cmocka_unit_test(opus_packets_tell_their_length),
        cmocka_unit_test(opus_heads),
        cmocka_unit_test(flac_limits),
        cmocka_unit_test(what_is_wrong_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
