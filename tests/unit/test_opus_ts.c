#include "ingest/opus_ts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ingest/language.h"

static void packets_of_a_pes(void **state) {
    (void)state;
    static const uint8_t pes[] = {0x7f, 0xe0, 3, 0xfc, 0xff, 0xfe,             /* plain */
                                  0x7f, 0xf8, 1, 0x01, 0x38, 0x00, 0x10, 0xf8, /* with both trims */
                                  0x7f, 0xe4, 1, 3,    0xaa, 0xaa, 0xaa, 0xf8, /* with an extension */
                                  0x7f, 0xe0, 2, 0xf9, 0x00};                  /* two frames of half a byte */
    const uint8_t *data = pes;
    size_t len = sizeof pes;
    struct opus_unit unit;
    assert_int_equal(opus_ts_next(&data, &len, &unit), 1);
    assert_int_equal(unit.len, 3);
    assert_ptr_equal(unit.data, pes + 3);
    assert_int_equal(unit.samples, 960);
    assert_int_equal(opus_ts_next(&data, &len, &unit), 1);
    assert_ptr_equal(unit.data, pes + 13);
    assert_int_equal(unit.len, 1);
    assert_int_equal(opus_ts_next(&data, &len, &unit), 1);
    assert_ptr_equal(unit.data, pes + 21);
    assert_int_equal(opus_ts_next(&data, &len, &unit), -EBADMSG);
    len = 0;
    assert_int_equal(opus_ts_next(&data, &len, &unit), 0);
}

static void long_packets(void **state) {
    (void)state;
    uint8_t pes[4 + 255 + 45] = {0x7f, 0xe0, 255, 45, 0xfc};
    const uint8_t *data = pes;
    size_t len = sizeof pes;
    struct opus_unit unit;
    assert_int_equal(opus_ts_next(&data, &len, &unit), 1);
    assert_int_equal(unit.len, 300);
    assert_int_equal(len, 0);
}

static void malformed(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } all[] = {{{0x7f}, 1},
               {{0x7f, 0xe0}, 2},
               {{0x7f, 0xe0, 255}, 3},
               {{0x7f, 0xe0, 3, 0xfc, 0xff}, 5},
               {{0x7f, 0xc0, 1, 0xf8}, 4}, /* another prefix */
               {{0x7f, 0xf0, 1, 0}, 4},    /* a trim that is cut off */
               {{0x7f, 0xe4, 1}, 3},
               {{0x7f, 0xe4, 1, 9, 0xf8}, 5},
               {{0x7f, 0xe0, 0}, 3}}; /* nothing is no packet */
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const uint8_t *data = all[i].bytes;
        size_t len = all[i].len;
        struct opus_unit unit;
        assert_int_equal(opus_ts_next(&data, &len, &unit), -EBADMSG);
    }
}

static void languages(void **state) {
    (void)state;
    static const struct {
        const char *code, *tag;
    } all[] = {{"deu", "de"}, {"ger", "de"}, {"ENG", "en"}, {"gsw", "gsw"}, {"und", ""},
               {"zxx", ""},   {"e\0n", ""},  {"12a", ""},   {"\xe9nd", ""}, {"\0\0\0", ""}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char tag[LANGUAGE_LEN] = "left over";
        language_tag(all[i].code, tag);
        assert_string_equal(tag, all[i].tag);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_of_a_pes),
        cmocka_unit_test(long_packets),
        cmocka_unit_test(malformed),
        cmocka_unit_test(languages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
