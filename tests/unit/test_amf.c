#include "ingest/amf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/base/buf.h"

static struct buf wire;

static int setup(void **state) {
    (void)state;
    buf_init(&wire, 1 << 20);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_finish(&wire);
    return 0;
}

/* A reader of exactly these bytes, in memory of their size. */
static struct amf_reader reader_of(const void *data, size_t len) {
    struct amf_reader reader;
    buf_clear(&wire);
    buf_append(&wire, data, len);
    amf_reader_init(&reader, buf_head(&wire), len);
    return reader;
}

static void assert_malformed(const void *data, size_t len) {
    struct amf_value value;
    struct amf_reader reader = reader_of(data, len);
    assert_int_equal(amf_read(&reader, &value), -EBADMSG);
    assert_int_equal(amf_read(&reader, &value), -ENODATA);
}

static void written_values_read_back(void **state) {
    (void)state;
    struct amf_value value, property;
    struct amf_reader reader;
    double number;
    amf_write_string(&wire, "connect");
    amf_write_number(&wire, -1.5);
    amf_write_object_begin(&wire);
    amf_write_name(&wire, "app");
    amf_write_string(&wire, "live");
    amf_write_name(&wire, "caps");
    amf_write_number(&wire, 239);
    amf_write_object_end(&wire);
    amf_write_null(&wire);
    amf_reader_init(&reader, buf_head(&wire), buf_len(&wire));
    assert_int_equal(amf_read_string(&reader, &value), 0);
    assert_true(amf_is_string(&value, "connect"));
    assert_false(amf_is_string(&value, "connec"));
    assert_int_equal(amf_read_number(&reader, &number), 0);
    assert_true(number == -1.5);
    assert_int_equal(amf_read(&reader, &value), 0);
    assert_true(amf_object_find(&value, "app", &property) && amf_is_string(&property, "live"));
    assert_true(amf_object_find(&value, "caps", &property) && property.number == 239);
    assert_false(amf_object_find(&value, "none", &property));
    assert_int_equal(amf_read(&reader, &value), 0);
    assert_int_equal(value.type, AMF_NULL);
    assert_int_equal(amf_read(&reader, &value), -ENODATA);
}

static void every_type_is_read_or_passed_over(void **state) {
    (void)state;
    static const uint8_t bytes[] = {
        1,  1,                                                        /* true */
        6,                                                            /* undefined */
        7,  0,    9,                                                  /* reference */
        8,  0,    0,    0,   9, 0,   1,   'a', 2, 0, 1, 'x', 0, 0, 9, /* ECMA array, its count wrong */
        10, 0,    0,    0,   2, 5,   1,   0,                          /* strict array of null and false */
        11, 0x40, 0x24, 0,   0, 0,   0,   0,   0, 0, 0,               /* date 10 */
        12, 0,    0,    0,   2, 'l', 's',                             /* long string */
        13,                                                           /* unsupported */
        16, 0,    1,    'C', 0, 1,   'b', 1,   1, 0, 0, 9,            /* typed object */
    };
    static const enum amf_type types[] = {AMF_BOOLEAN, AMF_NULL,   AMF_NULL, AMF_OBJECT, AMF_ARRAY,
                                          AMF_DATE,    AMF_STRING, AMF_NULL, AMF_OBJECT};
    struct amf_reader reader = reader_of(bytes, sizeof bytes);
    struct amf_value value, property;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(amf_read(&reader, &value), 0);
        assert_int_equal(value.type, types[i]);
        if (i == 3)
            assert_true(amf_object_find(&value, "a", &property) && amf_is_string(&property, "x"));
        if (i == 5)
            assert_true(value.number == 10);
        if (i == 8)
            assert_true(amf_object_find(&value, "b", &property) && property.boolean);
    }
    assert_int_equal(amf_read(&reader, &value), -ENODATA);
}

static void every_truncation_is_malformed(void **state) {
    (void)state;
    static const uint8_t bytes[] = {8, 0, 0,   0, 1, 0, 1, 'a', 3, 0, 1, 'b', 12, 0, 0, 0, 2, 'l', 's',
                                    0, 1, 'c', 0, 1, 2, 3, 4,   5, 6, 7, 8,   0,  0, 9, 0, 0, 9};
    struct amf_value value;
    struct amf_reader reader = reader_of(bytes, sizeof bytes);
    assert_int_equal(amf_read(&reader, &value), 0);
    for (size_t len = 1; len < sizeof bytes; len++)
        assert_malformed(bytes, len);
}

static void lengths_beyond_the_end_are_malformed(void **state) {
    (void)state;
    assert_malformed("\2\xff\xff"
                     "abc",
                     6);
    assert_malformed("\14\xff\xff\xff\xff"
                     "abc",
                     8);
    assert_malformed("\12\xff\xff\xff\xff\5\5", 7);
    assert_malformed("\3\xff\xff"
                     "a",
                     4);
}

static void amf3_and_unknown_markers_are_malformed(void **state) {
    (void)state;
    assert_malformed("\x11\4\1", 3);
    assert_malformed("\4", 1);
    assert_malformed("\xff", 1);
    assert_malformed("\x09", 1);
}

static size_t nest(uint8_t *out, uint32_t depth) {
    size_t n = 0;
    for (uint32_t i = 0; i < depth; i++) {
        memcpy(out + n, "\3\0\1k", 4);
        n += 4;
    }
    out[n++] = 5;
    for (uint32_t i = 0; i < depth; i++) {
        memcpy(out + n, "\0\0\x09", 3);
        n += 3;
    }
    return n;
}

static void depth_is_limited(void **state) {
    (void)state;
    uint8_t bytes[7 * 64 + 1];
    struct amf_value value;
    size_t len = nest(bytes, AMF_DEPTH_MAX);
    struct amf_reader reader = reader_of(bytes, len);
    assert_int_equal(amf_read(&reader, &value), 0);
    len = nest(bytes, AMF_DEPTH_MAX + 1);
    assert_malformed(bytes, len);
    assert_malformed(bytes, nest(bytes, 60));
    for (size_t i = 0; i < 60; i++) /* strict arrays of one */
        memcpy(bytes + 5 * i, "\12\0\0\0\1", 5);
    assert_malformed(bytes, 300);
}

static void properties_are_counted_over_all_values(void **state) {
    (void)state;
    struct amf_value value;
    struct amf_reader reader;
    for (int object = 0; object < 2; object++) {
        amf_write_object_begin(&wire);
        for (int i = 0; i < AMF_PROPERTIES_MAX / 2 + object; i++) {
            amf_write_name(&wire, "p");
            amf_write_null(&wire);
        }
        amf_write_object_end(&wire);
    }
    amf_reader_init(&reader, buf_head(&wire), buf_len(&wire));
    assert_int_equal(amf_read(&reader, &value), 0);
    assert_int_equal(amf_read(&reader, &value), -EBADMSG);
}

static void strings_are_copied_only_when_they_fit(void **state) {
    (void)state;
    char out[5] = "keep";
    struct amf_value value = {.type = AMF_STRING, .data = (const uint8_t *)"abcde", .len = 5};
    assert_false(amf_copy_string(&value, out, sizeof out));
    value.len = 4;
    value.data = (const uint8_t *)"a\0cd";
    assert_false(amf_copy_string(&value, out, sizeof out));
    assert_string_equal(out, "keep");
    value.data = (const uint8_t *)"abcd";
    assert_true(amf_copy_string(&value, out, sizeof out));
    assert_string_equal(out, "abcd");
    value.type = AMF_NUMBER;
    assert_false(amf_copy_string(&value, out, sizeof out));
}

static void wrong_types_are_refused(void **state) {
    (void)state;
    struct amf_value value;
    double number = 7;
    struct amf_reader reader = reader_of("\5\2\0\1x", 5);
    assert_int_equal(amf_read_string(&reader, &value), -EBADMSG);
    assert_int_equal(amf_read_number(&reader, &number), -EBADMSG);
    assert_true(number == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_values_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(every_type_is_read_or_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_beyond_the_end_are_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(amf3_and_unknown_markers_are_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(properties_are_counted_over_all_values, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_copied_only_when_they_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_types_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
