/* Real parameter sets are x264's, taken from files that ffmpeg made; those without VUI or without restriction are the
 * same ones with that tail cut off. x264 always writes hints; hardware encoders often don't. */
#include "ingest/h264.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX = 1024 };

struct bytes {
    size_t len;
    uint8_t data[CONFIG_MAX];
};

static struct bytes hex(const char *text) {
    struct bytes bytes = {0};
    for (; text[0] && text[1]; text += 2)
        bytes.data[bytes.len++] = (uint8_t)strtoul((char[]){text[0], text[1], 0}, NULL, 16);
    return bytes;
}

static struct h264_config parse(const struct bytes *avcc) {
    struct h264_config config;
    const char *why = "";
    if (h264_config_parse(avcc->data, avcc->len, &config, &why))
        fail_msg("%s", why);
    return config;
}

static bool refused(const struct bytes *avcc) {
    struct h264_config config;
    const char *why = NULL;
    uint8_t *exact = malloc(avcc->len + 1); /* so that ASan sees one byte too far */
    memcpy(exact, avcc->data, avcc->len);
    exact = realloc(exact, avcc->len ? avcc->len : 1);
    int rc = h264_config_parse(exact, avcc->len, &config, &why);
    free(exact);
    return rc == -EBADMSG && why;
}

static struct bytes hinted(const struct bytes *avcc) {
    struct bytes out = {0};
    int n = h264_config_add_reorder_hints(avcc->data, avcc->len, out.data, sizeof out.data);
    assert_true(n > 0);
    out.len = (size_t)n;
    return out;
}

/* --- building an SPS by hand --- */

struct writer {
    struct bytes rbsp;
    size_t pos; /* bits */
};

static void u(struct writer *writer, unsigned count, uint32_t value) {
    for (; count > 0; count--, writer->pos++)
        if (value >> (count - 1) & 1)
            writer->rbsp.data[writer->pos / 8] |= (uint8_t)(0x80 >> writer->pos % 8);
    writer->rbsp.len = (writer->pos + 7) / 8;
}

static void ue(struct writer *writer, uint32_t value) {
    unsigned len = 0;
    while ((value + 1) >> len)
        len++;
    u(writer, len - 1, 0);
    u(writer, len, value + 1);
}

static void se(struct writer *writer, int32_t value) {
    ue(writer, value > 0 ? (uint32_t)value * 2 - 1 : (uint32_t)-value * 2);
}

static struct writer begin_sps(uint8_t profile) {
    struct writer writer = {0};
    u(&writer, 8, 0x67);
    u(&writer, 8, profile);
    u(&writer, 8, 0);
    u(&writer, 8, 31);
    ue(&writer, 0);
    return writer;
}

/* From log2_max_frame_num to the end; no VUI. */
static void end_sps(struct writer *writer, uint32_t width_mbs, uint32_t height_mbs) {
    ue(writer, 0);
    ue(writer, 2); /* order count type */
    ue(writer, 1); /* reference frames */
    u(writer, 1, 0);
    ue(writer, width_mbs - 1);
    ue(writer, height_mbs - 1);
    u(writer, 2, 3); /* frames only, direct 8x8 */
    u(writer, 1, 0); /* no cropping */
    u(writer, 1, 0); /* no VUI */
    u(writer, 1, 1); /* stop */
}

static void put_escaped(struct bytes *out, const struct bytes *rbsp) {
    size_t len_at = out->len;
    unsigned zeros = 0;
    out->len += 2;
    for (size_t i = 0; i < rbsp->len; i++) {
        if (zeros >= 2 && rbsp->data[i] <= 3) {
            out->data[out->len++] = 3;
            zeros = 0;
        }
        zeros = rbsp->data[i] ? 0 : zeros + 1;
        out->data[out->len++] = rbsp->data[i];
    }
    out->data[len_at] = (uint8_t)((out->len - len_at - 2) >> 8);
    out->data[len_at + 1] = (uint8_t)(out->len - len_at - 2);
}

static struct bytes avcc_of(const struct writer *sps) {
    struct bytes avcc = hex("0164001fffe1");
    put_escaped(&avcc, &sps->rbsp);
    struct bytes tail = hex("01000468ce3c80");
    memcpy(avcc.data + avcc.len, tail.data, tail.len);
    avcc.len += tail.len;
    return avcc;
}

/* --- parsing --- */

static const struct real {
    const char *name, *avcc;
    struct h264_config config;
} reals[] = {
    {"baseline",
     "0142c01effe100196742c01ed900a02ff970110000030001000003003c0f162e4801000568cb83cb20",
     {0x42, 0xc0, 0x1e, 4, 640, 360, 30000, true, 0}},
    {"main without B-frames",
     "014d401fffe10019674d401fd9005005bb011000000300100000030320f183248001000568ebc3cb20",
     {0x4d, 0x40, 0x1f, 4, 1280, 720, 25000, true, 0}},
    {"high with B-frames, cropped to 1080",
     "01640028ffe1001967640028acd940780227e5c04400000fa40003a9803c60c65801000468ee0fcbfdf8f800",
     {0x64, 0x00, 0x28, 4, 1920, 1080, 29970, true, 2}},
    {"HRD, colours, sample aspect ratio, cropped width",
     "0142c01fffe1002a6742c01fda0360f79bffc050006ada808080a0000003002000000f0c08001e848003d09c96500f1832a001000468ce3c8"
     "0",
     {0x42, 0xc0, 0x1f, 4, 854, 480, 60000, true, 0}},
    {"high 10",
     "016e000dffe1001a676e000da6cd941419f9f0110000030001000003003c0f14299601000668ebe3cb22c0fdfafa00",
     {0x6e, 0x00, 0x0d, 4, 320, 180, 30000, true, 2}},
    {"4:4:4, cropped by single pixels",
     "01f4000dffe1001b67f4000d91964054678f8bc044000003000400000300f03c50a92001000668ebc3c44844fff8f800",
     {0xf4, 0x00, 0x0d, 4, 322, 182, 30000, true, 0}},
    {"interlaced",
     "0164001effe100196764001eace402d0936022000003000200000300643e28549001000768fb83cb3002c0fdf8f800",
     {0x64, 0x00, 0x1e, 4, 720, 576, 25000, true, 0}},
    {"without VUI",
     "0164001effe1000b6764001eacb201405ff2a001000768ebc3cb3002c0fdf8f800",
     {0x64, 0x00, 0x1e, 4, 640, 360, 0, false, 0}},
    {"VUI without restriction",
     "0142c01effe100166742c01ed900a02ff970110000030001000003003c0401000568cb83cb20",
     {0x42, 0xc0, 0x1e, 4, 640, 360, 30000, false, 0}},
};

static void check_config(const struct h264_config *got, const struct h264_config *want) {
    assert_int_equal(got->profile, want->profile);
    assert_int_equal(got->constraints, want->constraints);
    assert_int_equal(got->level, want->level);
    assert_int_equal(got->nal_length_size, want->nal_length_size);
    assert_int_equal(got->width, want->width);
    assert_int_equal(got->height, want->height);
    assert_int_equal(got->fps_milli, want->fps_milli);
    assert_int_equal(got->has_reorder_hints, want->has_reorder_hints);
    if (want->has_reorder_hints)
        assert_int_equal(got->max_num_reorder_frames, want->max_num_reorder_frames);
}

static void real_configurations_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        print_message("             %s\n", reals[i].name);
        struct bytes avcc = hex(reals[i].avcc);
        struct h264_config config = parse(&avcc);
        check_config(&config, &reals[i].config);
    }
}

static void scaling_lists_are_passed_over(void **state) {
    (void)state;
    struct writer sps = begin_sps(100);
    ue(&sps, 1); /* 4:2:0 */
    ue(&sps, 0);
    ue(&sps, 0);
    u(&sps, 2, 1); /* a scaling matrix */
    for (int i = 0; i < 8; i++) {
        u(&sps, 1, i != 3);
        for (int j = 0; i != 3 && j < (i < 6 ? 16 : 64); j++) {
            if (i == 5 && j == 2) {
                se(&sps, -10); /* to 0: the list ends here */
                break;
            }
            se(&sps, i == 5 ? 1 : j % 2 ? -7 : 7);
        }
    }
    end_sps(&sps, 80, 45);
    struct bytes avcc = avcc_of(&sps);
    struct h264_config config = parse(&avcc);
    assert_int_equal(config.width, 1280);
    assert_int_equal(config.height, 720);
}

static void order_count_type_1_is_passed_over(void **state) {
    (void)state;
    struct writer sps = begin_sps(77);
    ue(&sps, 4);
    ue(&sps, 1);
    u(&sps, 1, 0);
    se(&sps, -3);
    se(&sps, 2);
    ue(&sps, 3);
    for (int i = -1; i <= 1; i++)
        se(&sps, i * 1000);
    ue(&sps, 1);
    u(&sps, 1, 0);
    ue(&sps, 39);
    ue(&sps, 29);
    u(&sps, 5, 0x19); /* frames only, direct 8x8, no cropping, no VUI, stop */
    struct bytes avcc = avcc_of(&sps);
    struct h264_config config = parse(&avcc);
    assert_int_equal(config.width, 640);
    assert_int_equal(config.height, 480);
}

static void check_size(uint32_t width_mbs, uint32_t height_mbs, bool ok) {
    struct writer sps = begin_sps(66);
    end_sps(&sps, width_mbs, height_mbs);
    struct bytes avcc = avcc_of(&sps);
    assert_int_equal(refused(&avcc), !ok);
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    check_size(1, 1, true);
    check_size(512, 512, true);
    check_size(513, 45, false);
    check_size(80, 513, false);
    check_size(1 << 20, 1 << 20, false);
    check_size(UINT32_C(1) << 30, 45, false);
}

static void cropping_everything_away_is_refused(void **state) {
    (void)state;
    for (uint32_t crop = 636; crop <= 640; crop++) {
        struct writer sps = begin_sps(66);
        ue(&sps, 0);
        ue(&sps, 2);
        ue(&sps, 1);
        u(&sps, 1, 0);
        ue(&sps, 79);
        ue(&sps, 44);
        u(&sps, 3, 7);
        ue(&sps, 0);
        ue(&sps, crop);
        ue(&sps, 0);
        ue(&sps, 0);
        u(&sps, 2, 1);
        struct bytes avcc = avcc_of(&sps);
        assert_true(refused(&avcc)); /* 8, 6, 4, 2 and 0 pixels are left */
    }
}

static void truncated_anywhere_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        struct bytes avcc = hex(reals[i].avcc);
        size_t sps_len = (size_t)(avcc.data[6] << 8 | avcc.data[7]);
        size_t pps_at = 8 + sps_len + 1;
        size_t need = pps_at + 2 + (size_t)(avcc.data[pps_at] << 8 | avcc.data[pps_at + 1]);
        for (avcc.len = 0; avcc.len < need; avcc.len++)
            assert_true(refused(&avcc));
        parse(&avcc); /* what may follow the PPS is not needed */
    }
}

static void sps_cut_short_within_its_length_is_refused(void **state) {
    (void)state;
    for (uint8_t len = 1; len < 0x0a; len++) {
        struct bytes avcc = hex("0142c01fffe1000a6742c01fda0360f79b4001000468ce3c80");
        avcc.data[7] = len;
        memmove(avcc.data + 8 + len, avcc.data + 18, avcc.len - 18);
        avcc.len -= 10u - len;
        assert_true(refused(&avcc));
    }
}

static void malformed_records_are_refused(void **state) {
    (void)state;
    static const char *const records[] = {
        "",
        "0042c01fffe1000a6742c01fda0360f79b4001000468ce3c80", /* version 0 */
        "00000001674d401fd900",                               /* Annex B */
        "0142c01ffee1000a6742c01fda0360f79b4001000468ce3c80", /* lengths of 3 bytes */
        "0142c01fffe001000468ce3c80",                         /* no SPS */
        "0142c01fffe1000a6742c01fda0360f79b4000",             /* no PPS */
        "0142c01fffe1000a6842c01fda0360f79b4001000468ce3c80", /* an SPS that is none */
        "0142c01fffe1000a6742c01fda0360f79b4001000467ce3c80", /* a PPS that is none */
        "0142c01fffe1000001000468ce3c80",                     /* an empty SPS */
        "0142c01fffe1000a6742c01fda0360f79b4001ffff68ce3c80", /* a PPS past the end */
        "0142c01fffe1000a6742c01f00000300000300000001000468ce3c80",
    };
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct bytes avcc = hex(records[i]);
        assert_true(refused(&avcc));
    }
}

/* --- reorder hints --- */

/* The results were worked out by a second implementation. */
static void hints_are_added_bit_for_bit(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        /* without VUI */
        {"0164001effe1000b6764001eacb201405ff2a001000768ebc3cb3002c0fdf8f800",
         "0164001effe100106764001eacb201405ff2c0368201092001000768ebc3cb3002c0fdf8f800"},
        {"0142c01effe1000a6742c01ed900a02ff95001000568cb83cb20",
         "0142c01effe1000f6742c01ed900a02ff9601b4100849001000568cb83cb20"},
        {"014d401fffe10009674d401fd9005005b901000568ebc3cb20",
         "014d401fffe1000e674d401fd9005005ba01b410084901000568ebc3cb20"},
        {"01f4000dffe1000c67f4000d91964054678f8b4001000668ebc3c44844fff8f800",
         "01f4000dffe1001167f4000d91964054678f8b806d0402124001000668ebc3c44844fff8f800"},
        /* VUI without restriction: emulation prevention in it comes off and on again */
        {"0142c01effe100166742c01ed900a02ff970110000030001000003003c0401000568cb83cb20",
         "0142c01effe1001a6742c01ed900a02ff970110000030001000003003c0da080424801000568cb83cb20"},
        {"0142c01fffe100276742c01fda0360f79bffc050006ada808080a0000003002000000f0c08001e848003d09c96500401000468ce3c80",
         "0142c01fffe1002b6742c01fda0360f79bffc050006ada808080a0000003002000000f0c08001e848003d09c96500da08042a00100046"
         "8ce"
         "3c80"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct bytes before = hex(pairs[i][0]), want = hex(pairs[i][1]), got = hinted(&before);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, want.len);
        struct h264_config old = parse(&before), new = parse(&got);
        assert_false(old.has_reorder_hints);
        old.has_reorder_hints = true;
        check_config(&new, &old);
    }
}

static void existing_hints_are_kept(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        struct bytes avcc = hex(reals[i].avcc);
        if (!reals[i].config.has_reorder_hints)
            continue;
        struct bytes got = hinted(&avcc);
        assert_int_equal(got.len, avcc.len);
        assert_memory_equal(got.data, avcc.data, avcc.len);
    }
}

static void every_sps_gets_hints(void **state) {
    (void)state;
    struct writer first = begin_sps(66), second = begin_sps(77);
    end_sps(&first, 80, 45);
    end_sps(&second, 40, 30);
    struct bytes avcc = hex("0142001fffe2"), pps = hex("01000468ce3c80");
    put_escaped(&avcc, &first.rbsp);
    put_escaped(&avcc, &second.rbsp);
    memcpy(avcc.data + avcc.len, pps.data, pps.len);
    avcc.len += pps.len;
    struct bytes got = hinted(&avcc);
    assert_int_equal(parse(&got).width, 1280);
    assert_true(parse(&got).has_reorder_hints);
    struct bytes again = hinted(&got); /* had one of them been left out, it would get them now */
    assert_int_equal(again.len, got.len);
    assert_true(got.len > avcc.len + 2 * 4);
}

/* An SPS whose VUI ends in long runs of zeros: the result must again have no start code in it. */
static void result_has_no_start_code(void **state) {
    (void)state;
    for (uint32_t units = 1; units != 0; units <<= 1) {
        struct writer sps = begin_sps(66);
        end_sps(&sps, 80, 45);
        sps.pos -= 2; /* VUI after all */
        sps.rbsp.data[sps.pos / 8] &= (uint8_t) ~(0xff >> sps.pos % 8);
        if (sps.pos / 8 + 1 < sps.rbsp.len)
            sps.rbsp.data[sps.pos / 8 + 1] = 0;
        u(&sps, 5, 1 << 4);
        u(&sps, 1, 1); /* timing */
        u(&sps, 32, units);
        u(&sps, 32, units);
        u(&sps, 5, 0);
        u(&sps, 1, 1); /* stop: no restriction */
        struct bytes avcc = avcc_of(&sps), got = hinted(&avcc);
        assert_int_equal(parse(&got).fps_milli, 500);
        assert_true(parse(&got).has_reorder_hints);
        for (size_t i = 8; i + 2 < 8u + got.data[7]; i++)
            assert_false(got.data[i] == 0 && got.data[i + 1] == 0 && got.data[i + 2] < 3);
    }
}

static void every_size_too_small_is_reported(void **state) {
    (void)state;
    struct bytes avcc =
        hex("0164001effe100176764001eacb201405ff2e022000003000200000300600801000768ebc3cb3002c0fdf8f800");
    size_t need = hinted(&avcc).len;
    for (size_t size = 0; size <= need; size++) {
        uint8_t *out = malloc(size ? size : 1);
        int n = h264_config_add_reorder_hints(avcc.data, avcc.len, out, size);
        assert_int_equal(n, size < need ? -ENOBUFS : (int)need);
        free(out);
    }
}

/* --- access units --- */

static bool unit_ok(const char *text, uint8_t nal_length_size, bool *ret_idr) {
    struct bytes unit = hex(text);
    return h264_access_unit_ok(unit.data, unit.len, nal_length_size, ret_idr);
}

static void access_units_are_walked(void **state) {
    (void)state;
    bool idr;
    assert_true(unit_ok("00000002"
                        "0930"
                        "00000003"
                        "658884",
                        4, &idr)); /* delimiter, IDR slice */
    assert_true(idr);
    assert_true(unit_ok("00000002"
                        "419a",
                        4, &idr));
    assert_false(idr);
    assert_true(unit_ok("0002"
                        "6588",
                        2, &idr));
    assert_true(idr);
    assert_true(unit_ok("02"
                        "6588"
                        "01"
                        "06",
                        1, &idr));
    assert_true(idr);
    assert_false(unit_ok("", 4, &idr));
    assert_false(unit_ok("000000", 4, &idr));
    assert_false(unit_ok("00000000", 4, &idr));
    assert_false(unit_ok("00000003"
                         "6588",
                         4, &idr));
    assert_false(unit_ok("00000002"
                         "6588"
                         "00",
                         4, &idr));
    assert_false(unit_ok("ffffffff"
                         "6588",
                         4, &idr));
    assert_false(unit_ok("000002"
                         "6588",
                         3, &idr));
    assert_false(unit_ok("6588", 0, &idr));
    assert_false(unit_ok("00000001"
                         "6588",
                         4, &idr)); /* Annex B: lengths don't add up */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_configurations_are_read),
        cmocka_unit_test(scaling_lists_are_passed_over),
        cmocka_unit_test(order_count_type_1_is_passed_over),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(cropping_everything_away_is_refused),
        cmocka_unit_test(truncated_anywhere_is_refused),
        cmocka_unit_test(sps_cut_short_within_its_length_is_refused),
        cmocka_unit_test(malformed_records_are_refused),
        cmocka_unit_test(hints_are_added_bit_for_bit),
        cmocka_unit_test(existing_hints_are_kept),
        cmocka_unit_test(every_sps_gets_hints),
        cmocka_unit_test(result_has_no_start_code),
        cmocka_unit_test(every_size_too_small_is_reported),
        cmocka_unit_test(access_units_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
