#include "ingest/aac.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int parse_hex(const char *text, struct aac_config *ret_config) {
    size_t len = strlen(text) / 2;
    uint8_t *data = malloc(len ? len : 1); /* exactly as large, so that ASan sees one byte too far */
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)strtoul((char[]){text[2 * i], text[2 * i + 1], 0}, NULL, 16);
    const char *why = NULL;
    int rc = aac_config_parse(data, len, ret_config, &why);
    assert_true(rc == 0 || (rc == -EBADMSG && why));
    free(data);
    return rc;
}

static void check(const char *text, struct aac_config want) {
    struct aac_config got;
    assert_int_equal(parse_hex(text, &got), 0);
    assert_int_equal(got.object_type, want.object_type);
    assert_int_equal(got.core_rate, want.core_rate);
    assert_int_equal(got.sample_rate, want.sample_rate);
    assert_int_equal(got.channels, want.channels);
    assert_int_equal(got.frame_samples, want.frame_samples);
}

static void lc_as_obs_and_ffmpeg_send_it(void **state) {
    (void)state;
    check("1190", (struct aac_config){2, 48000, 48000, 2, 1024});
    check("1210", (struct aac_config){2, 44100, 44100, 2, 1024});
    check("1588", (struct aac_config){2, 8000, 8000, 1, 1024});
    check("119056e500", (struct aac_config){2, 48000, 48000, 2, 1024}); /* "and no SBR" */
    check("118856e500", (struct aac_config){2, 48000, 48000, 1, 1024});
    check("11b056e500", (struct aac_config){2, 48000, 48000, 6, 1024});
    check("11b856e500", (struct aac_config){2, 48000, 48000, 8, 1024});
}

static void odd_layouts_come_as_program_config(void **state) {
    (void)state;
    check("118004c848002000c4400d4c61766335392e33372e31303056e500", (struct aac_config){2, 48000, 48000, 7, 1024});
    check("118004c848002008c8200d4c61766335392e33372e31303056e500", (struct aac_config){2, 48000, 48000, 8, 1024});
    check("118004c4010020000d4c61766335392e33372e31303056e500", (struct aac_config){2, 48000, 48000, 3, 1024});
}

static void he_aac_signalled_in_front(void **state) {
    (void)state;
    check("2b920800", (struct aac_config){5, 22050, 44100, 2, 2048});
    check("eb098800", (struct aac_config){29, 24000, 48000, 2, 2048}); /* mono core, parametric stereo */
}

static void he_aac_signalled_behind(void **state) {
    (void)state;
    check("131056e598", (struct aac_config){5, 24000, 48000, 2, 2048});
    check("130856e59d4880", (struct aac_config){29, 24000, 48000, 2, 2048});
}

static void explicit_rates_and_short_frames(void **state) {
    (void)state;
    check("17805dc010", (struct aac_config){2, 48000, 48000, 2, 1024}); /* 48000 spelt out in 24 bits */
    check("1194", (struct aac_config){2, 48000, 48000, 2, 960});
    check("2b920a00", (struct aac_config){5, 22050, 44100, 2, 1920});
}

static void padding_behind_is_no_matter(void **state) {
    (void)state;
    check("119000000000000000000000", (struct aac_config){2, 48000, 48000, 2, 1024});
    check("1190ffffffffffff", (struct aac_config){2, 48000, 48000, 2, 1024});
}

static void what_browsers_cannot_play_is_refused(void **state) {
    (void)state;
    static const char *const configs[] = {
        "0990",       /* AAC Main */
        "2190",       /* AAC LTP */
        "f8e85000",   /* ER AAC ELD */
        "1690",       /* reserved rate index 13 */
        "178003e810", /* 2000 Hz */
        "11c0",       /* channel configuration 8 */
        "2b958800",   /* SBR at 8 kHz over 22050 */
    };
    struct aac_config config;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        assert_int_equal(parse_hex(configs[i], &config), -EBADMSG);
}

static void truncated_is_refused(void **state) {
    (void)state;
    struct aac_config config;
    assert_int_equal(parse_hex("", &config), -EBADMSG);
    assert_int_equal(parse_hex("2b9208", &config), -EBADMSG); /* by one bit */
    assert_int_equal(parse_hex("11", &config), -EBADMSG);
    assert_int_equal(parse_hex("2b92", &config), -EBADMSG);
    assert_int_equal(parse_hex("17805dc0", &config), -EBADMSG);
    char pce[] = "118004c4010020000d4c61766335392e33372e313030";
    for (size_t len = strlen(pce) - 2; len > 0; len -= 2) {
        pce[len] = '\0';
        assert_int_equal(parse_hex(pce, &config), -EBADMSG);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lc_as_obs_and_ffmpeg_send_it),
        cmocka_unit_test(odd_layouts_come_as_program_config),
        cmocka_unit_test(he_aac_signalled_in_front),
        cmocka_unit_test(he_aac_signalled_behind),
        cmocka_unit_test(explicit_rates_and_short_frames),
        cmocka_unit_test(padding_behind_is_no_matter),
        cmocka_unit_test(what_browsers_cannot_play_is_refused),
        cmocka_unit_test(truncated_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
