#include "ingest/annexb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/h264.h"
#include "tests/unit/codec_samples.h"

/* x264's: 1280×720 Main, 640×360 High; and PPSs that refer to them (pps 0 and sps 0; pps 1 and sps 0). */
#define SPS      "674d401fd9005005bb011000000300100000030320f18324"
#define SPS_HIGH "6764001eacb201405ff2a0"
#define PPS      "68ebc3cb20"
#define PPS_1    "685bc3cb20"
#define SC4      "00000001"
#define SC3      "000001"
#define IDR      "6588840000030102"
#define SLICE    "419a0001"

struct bytes {
    size_t len;
    uint8_t data[8192];
};

static struct bytes hex(const char *text) {
    struct bytes bytes = {0};
    for (; text[0] && text[1]; text += 2)
        bytes.data[bytes.len++] = (uint8_t)strtoul((char[]){text[0], text[1], 0}, NULL, 16);
    return bytes;
}

static struct annexb_unit read_unit(struct annexb *annexb, const char *text) {
    struct bytes bytes = hex(text);
    struct annexb_unit unit;
    uint8_t *exact = malloc(bytes.len ? bytes.len : 1);
    memcpy(exact, bytes.data, bytes.len);
    assert_int_equal(annexb_read(annexb, exact, bytes.len, &unit), 0);
    free(exact);
    return unit;
}

static void check_unit(const struct annexb_unit *unit, const char *text) {
    struct bytes want = hex(text);
    assert_int_equal(unit->len, want.len);
    if (want.len)
        assert_memory_equal(unit->data, want.data, want.len);
}

static void check_config(const struct annexb *annexb, const char *text) {
    struct bytes want = hex(text);
    assert_int_equal(annexb->sets.config_len, want.len);
    assert_memory_equal(annexb->sets.config, want.data, want.len);
}

static void start_codes_become_lengths(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    struct annexb_unit unit =
        read_unit(&annexb, SC4 "09f0" SC4 "67" SC3 "0601ff80" SC3 SLICE "0000" SC3 "410000030180");
    check_unit(&unit, "00000001"
                      "67"
                      "00000004"
                      "0601ff80"
                      "00000004" SLICE "00000006"
                      "410000030180");
    assert_false(unit.key);
    assert_int_equal(annexb.sets.bad, 1);
    annexb_finish(&annexb);
}

static void configuration_is_made_of_the_sets(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    struct annexb_unit unit = read_unit(&annexb, SC4 "0910" SC4 SPS SC4 PPS SC3 "06052f80" SC3 IDR);
    assert_true(unit.key && unit.config_changed);
    check_config(&annexb, "014d401fffe10018" SPS "010005" PPS);
    check_unit(&unit, "00000004"
                      "06052f80"
                      "00000008" IDR);
    unit = read_unit(&annexb, SC4 "0910" SC4 SPS SC4 PPS SC3 IDR);
    assert_false(unit.config_changed);
    check_unit(&unit, "00000008" IDR);
    annexb_finish(&annexb);
}

static void high_profile_tells_its_chroma(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    read_unit(&annexb, SC4 SPS_HIGH SC4 PPS SC4 IDR);
    check_config(&annexb, "0164001effe1000b" SPS_HIGH "010005" PPS "fdf8f800");
    struct h264_config config;
    const char *why;
    assert_int_equal(h264_config_parse(annexb.sets.config, annexb.sets.config_len, &config, &why), 0);
    assert_int_equal(config.width, 640);
    annexb_finish(&annexb);
}

static void other_sps_begins_anew(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    read_unit(&annexb, SC4 SPS SC4 PPS SC4 PPS_1 SC4 IDR);
    check_config(&annexb, "014d401fffe10018" SPS "020005" PPS "0005" PPS_1);
    struct annexb_unit unit = read_unit(&annexb, SC4 SPS_HIGH SC4 PPS SC4 IDR);
    assert_true(unit.config_changed);
    check_config(&annexb, "0164001effe1000b" SPS_HIGH "020005" PPS "0005" PPS_1 "fdf8f800");
    /* another id: what refers to the old one goes, too */
    unit = read_unit(&annexb, SC4 "674d401f50" SC4 "68ad" SC4 IDR);
    assert_true(unit.config_changed);
    check_config(&annexb, "014d401fffe10005"
                          "674d401f50"
                          "010002"
                          "68ad");
    annexb_finish(&annexb);
}

/* A configuration that changed before an IDR picture would cost the pictures up to it. */
static void set_between_idr_pictures_stays_in_its_unit(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    read_unit(&annexb, SC4 SPS SC4 PPS SC4 IDR);
    struct annexb_unit unit = read_unit(&annexb, SC4 PPS_1 SC4 PPS SC4 SLICE);
    assert_false(unit.config_changed);
    check_unit(&unit, "00000005" PPS_1 "00000004" SLICE);
    unit = read_unit(&annexb, SC4 SPS SC4 PPS SC4 IDR);
    assert_true(unit.config_changed);
    unit = read_unit(&annexb, SC4 PPS_1 SC4 SLICE);
    check_unit(&unit, "00000004" SLICE);
    annexb_finish(&annexb);
}

static void sets_alone_are_no_picture(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    struct annexb_unit unit = read_unit(&annexb, SC4 SPS SC4 PPS);
    assert_int_equal(unit.len, 0);
    unit = read_unit(&annexb, SC4 IDR);
    assert_true(unit.config_changed && unit.len > 0); /* they count all the same */
    annexb_finish(&annexb);
}

static void what_is_no_byte_stream_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "00", "000001", "00000001", "0000000100000001", "6588840000", "000002"};
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct bytes bytes = hex(texts[i]);
        struct annexb_unit unit;
        assert_int_equal(annexb_read(&annexb, bytes.data, bytes.len, &unit), -EBADMSG);
    }
    annexb_finish(&annexb);
}

static void more_sets_than_there_is_room_for_are_left_out(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    char text[40 * 32] = SC4 SPS;
    for (unsigned id = 0; id < 30; id++) { /* ue(id) in 9 bits, then sps 0 */
        char pps[32];
        unsigned code = (id + 1) << 7 | 1 << 6, zeros = 31 - (unsigned)__builtin_clz(id + 1);
        unsigned bits = code << (16 - 7 - 2 * zeros - 1) & 0xffff;
        snprintf(pps, sizeof pps, SC4 "68%04xcb", bits);
        strcat(text, pps);
    }
    strcat(text, SC4 IDR);
    read_unit(&annexb, text);
    assert_int_equal(annexb.sets.count, PARAMETER_SETS_MAX);
    assert_int_equal(annexb.sets.bad, 31 - PARAMETER_SETS_MAX);
    struct h264_config config;
    const char *why;
    assert_int_equal(h264_config_parse(annexb.sets.config, annexb.sets.config_len, &config, &why), 0);
    annexb_finish(&annexb);
}

/* 16 of the first configuration, of which nothing is left then. */
static void full_table_takes_another_configuration(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_H264);
    char text[40 * 32] = SC4 SPS;
    for (unsigned id = 0; id < PARAMETER_SETS_MAX - 1; id++) {
        char pps[32];
        unsigned code = (id + 1) << 7 | 1 << 6, zeros = 31 - (unsigned)__builtin_clz(id + 1);
        snprintf(pps, sizeof pps, SC4 "68%04xcb", code << (16 - 7 - 2 * zeros - 1) & 0xffff);
        strcat(text, pps);
    }
    strcat(text, SC4 IDR);
    read_unit(&annexb, text);
    assert_int_equal(annexb.sets.count, PARAMETER_SETS_MAX);
    struct annexb_unit unit = read_unit(&annexb, SC4 "674d401f50" SC4 "68ad" SC4 IDR); /* SPS 1, PPS 0 of it */
    assert_true(unit.config_changed);
    check_config(&annexb, "014d401fffe10005"
                          "674d401f50"
                          "010002"
                          "68ad");
    unit = read_unit(&annexb, text);
    assert_true(unit.config_changed);
    assert_int_equal(annexb.sets.count, PARAMETER_SETS_MAX);
    unit = read_unit(&annexb, SC4 "674d401f50" SC4 "680aa8" SC4 IDR); /* SPS 1, PPS 20 of it */
    assert_true(unit.config_changed);
    check_config(&annexb, "014d401fffe10005"
                          "674d401f50"
                          "010003"
                          "680aa8");
    assert_int_equal(annexb.sets.bad, 0);
    annexb_finish(&annexb);
}

/* --- HEVC --- */

static void append(struct bytes *bytes, const void *data, size_t len) {
    static const uint8_t start[] = {0, 0, 0, 1};
    memcpy(bytes->data + bytes->len, start, 4);
    memcpy(bytes->data + bytes->len + 4, data, len);
    bytes->len += 4 + len;
}

/* The parameter sets of an hvcC that has one of each. */
static void append_sets(struct bytes *bytes, const struct codec_sample *sample) {
    const uint8_t *config = sample->config.data;
    for (size_t pos = 23 + 3, len; pos < sample->config.len; pos += 2 + len + 3) {
        len = (size_t)(config[pos] << 8 | config[pos + 1]);
        append(bytes, config + pos + 2, len);
    }
}

static void append_picture(struct bytes *bytes, const struct codec_sample *sample, int n) {
    append(bytes, sample->frames[n].data + 4, sample->frames[n].len - 4);
}

static struct annexb_unit read_bytes(struct annexb *annexb, const struct bytes *bytes) {
    struct annexb_unit unit;
    uint8_t *exact = malloc(bytes->len);
    memcpy(exact, bytes->data, bytes->len);
    assert_int_equal(annexb_read(annexb, exact, bytes->len, &unit), 0);
    free(exact);
    return unit;
}

static void hevc_configuration_is_made_of_the_sets(void **state) {
    (void)state;
    static const struct codec_sample *const samples[] = {&sample_hevc, &sample_hevc10};
    for (int i = 0; i < 2; i++) {
        struct annexb annexb;
        annexb_init(&annexb, CODEC_HEVC);
        struct bytes bytes = {0};
        append(&bytes, "\x46\x01\x10", 3); /* delimiter */
        append_sets(&bytes, samples[i]);
        append(&bytes, "\x4e\x01\x05\x80", 4); /* SEI */
        append_picture(&bytes, samples[i], 0);
        struct annexb_unit unit = read_bytes(&annexb, &bytes);
        assert_true(unit.key && unit.config_changed);
        assert_int_equal(annexb.sets.config_len, samples[i]->config.len); /* FFmpeg makes the same */
        assert_memory_equal(annexb.sets.config, samples[i]->config.data, samples[i]->config.len);
        assert_int_equal(unit.len, 8 + samples[i]->frames[0].len);
        assert_memory_equal(unit.data + 8, samples[i]->frames[0].data, samples[i]->frames[0].len);
        unit = read_bytes(&annexb, &bytes);
        assert_false(unit.config_changed);
        bytes.len = 0;
        append_picture(&bytes, &sample_hevc, 1);
        unit = read_bytes(&annexb, &bytes);
        assert_true(!unit.key && unit.len == sample_hevc.frames[1].len);
        annexb_finish(&annexb);
    }
}

static void hevc_sets_that_change_are_noticed(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_HEVC);
    struct bytes bytes = {0};
    append_sets(&bytes, &sample_hevc);
    append_picture(&bytes, &sample_hevc, 0);
    read_bytes(&annexb, &bytes);
    bytes.len = 0;
    append_sets(&bytes, &sample_hevc10);
    append_picture(&bytes, &sample_hevc10, 1); /* CRA */
    struct annexb_unit unit = read_bytes(&annexb, &bytes);
    assert_true(unit.key && unit.config_changed);
    assert_memory_equal(annexb.sets.config, sample_hevc10.config.data, sample_hevc10.config.len);
    annexb_finish(&annexb);
}

static void hevc_leading_pictures_and_layers(void **state) {
    (void)state;
    struct annexb annexb;
    annexb_init(&annexb, CODEC_HEVC);
    struct bytes bytes = {0};
    append(&bytes, "\x12\x01\x80", 3); /* RASL_R */
    assert_true(read_bytes(&annexb, &bytes).skipped);
    bytes.len = 0;
    append(&bytes, "\x0e\x01\x80", 3); /* RADL_R */
    assert_false(read_bytes(&annexb, &bytes).skipped);
    append(&bytes, "\x02\x09\x80", 3); /* of layer 1 */
    append(&bytes, "\x02", 1);         /* no whole header */
    append(&bytes, "\x44\x01", 2);     /* a PPS without anything */
    assert_int_equal(read_bytes(&annexb, &bytes).len, 4 + 3 + 4 + 2);
    assert_int_equal(annexb.sets.bad, 1);
    annexb_finish(&annexb);
}

/* With lists for each size of transform, as long as they get. */
static void hevc_set_with_scaling_lists_is_taken(void **state) {
    (void)state;
    uint8_t pps[1200] = {0x44, 0x01, 0xc1};
    memset(pps + 3, 0x55, sizeof pps - 3);
    struct annexb annexb;
    annexb_init(&annexb, CODEC_HEVC);
    struct bytes bytes = {0};
    append_sets(&bytes, &sample_hevc);
    append(&bytes, pps, sizeof pps); /* in the place of the sample's */
    append_picture(&bytes, &sample_hevc, 0);
    struct annexb_unit unit = read_bytes(&annexb, &bytes);
    assert_true(unit.config_changed);
    assert_int_equal(annexb.sets.bad, 0);
    assert_true(annexb.sets.config_len > sizeof pps);
    assert_memory_equal(annexb.sets.config + annexb.sets.config_len - sizeof pps, pps, sizeof pps);
    annexb_finish(&annexb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_codes_become_lengths),
        cmocka_unit_test(configuration_is_made_of_the_sets),
        cmocka_unit_test(high_profile_tells_its_chroma),
        cmocka_unit_test(other_sps_begins_anew),
        cmocka_unit_test(set_between_idr_pictures_stays_in_its_unit),
        cmocka_unit_test(sets_alone_are_no_picture),
        cmocka_unit_test(what_is_no_byte_stream_is_refused),
        cmocka_unit_test(more_sets_than_there_is_room_for_are_left_out),
        cmocka_unit_test(full_table_takes_another_configuration),
        cmocka_unit_test(hevc_configuration_is_made_of_the_sets),
        cmocka_unit_test(hevc_sets_that_change_are_noticed),
        cmocka_unit_test(hevc_leading_pictures_and_layers),
        cmocka_unit_test(hevc_set_with_scaling_lists_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
