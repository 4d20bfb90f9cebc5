#include "ingest/h264_entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One unit; its bytes are where a sanitizer sees each that is read beyond them. */
static void add(struct h264_entry *entry, const char *bytes, size_t len) {
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, bytes, len);
    h264_entry_add(entry, exact, len);
    free(exact);
}

#define ADD(entry, bytes) add(entry, bytes, sizeof(bytes) - 1)

/* A recovery point as x264 writes it for open GOPs: type 6, one byte: ue 0, exact_match 1, broken_link 0, slice group
 * 0. */
#define RECOVERY       "\x06\x06\x01\xc4\x80"
#define RECOVERY_LATER "\x06\x06\x02\x04\x44\x80" /* recovery_frame_cnt 16: intra refresh */
#define TIMING         "\x06\x01\x01\x24\x80"
#define INTRA          "\x41\x88\x82\x00" /* first_mb 0, slice_type 7 */

#define INTER       "\x41\x9a\x24\x6c" /* slice_type 5 */
#define INTER_LOWER "\x41\x04\x26\x44" /* first_mb 32, slice_type 5 */

static void idr_picture_is_one(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, "\x65\x88\x84\x00");
    assert_true(h264_entry_here(&entry));
}

static void intra_picture_at_a_recovery_point_is_one(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, TIMING);
    ADD(&entry, RECOVERY);
    ADD(&entry, INTRA);
    assert_true(h264_entry_here(&entry));
}

static void intra_picture_alone_is_none(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, TIMING);
    ADD(&entry, INTRA);
    assert_false(h264_entry_here(&entry));
}

static void predicted_picture_at_a_recovery_point_is_none(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, RECOVERY);
    ADD(&entry, INTER);
    assert_false(h264_entry_here(&entry));
    entry = (struct h264_entry){0};
    ADD(&entry, RECOVERY);
    ADD(&entry, INTRA);
    ADD(&entry, INTER_LOWER); /* its second slice */
    assert_false(h264_entry_here(&entry));
}

/* Interlaced video: what is coded as two fields is intra in the first one only. */
static void intra_field_with_a_predicted_one_is_one(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, RECOVERY);
    ADD(&entry, INTRA);
    ADD(&entry, INTER);
    ADD(&entry, INTER_LOWER);
    assert_true(h264_entry_here(&entry));
    entry = (struct h264_entry){0};
    ADD(&entry, RECOVERY);
    ADD(&entry, INTER);
    ADD(&entry, INTRA);
    assert_false(h264_entry_here(&entry));
}

static void gradual_refresh_is_none(void **state) {
    (void)state;
    struct h264_entry entry = {0};
    ADD(&entry, RECOVERY_LATER);
    ADD(&entry, INTRA);
    assert_false(h264_entry_here(&entry));
}

/* A message of 300 bytes with emulation prevention in it, then the recovery point, in one unit. */
static void recovery_point_behind_another_message_is_found(void **state) {
    (void)state;
    uint8_t unit[400] = {6, 5, 255, 45};
    size_t len = 4;
    for (int i = 0; i < 100; i++, len += 3)
        memset(unit + len, 0x55, 3);
    memcpy(unit + 20, "\0\0\3", 3); /* one byte more in the unit than in the message */
    unit[len++] = 0x55;
    memcpy(unit + len, "\x06\x01\xc4\x80", 4);
    struct h264_entry entry = {0};
    add(&entry, (const char *)unit, len + 4);
    ADD(&entry, INTRA);
    assert_true(h264_entry_here(&entry));
}

static void damaged_messages_are_none(void **state) {
    (void)state;
    static const char *const units[] = {
        "\x06", "\x06\x06", "\x06\x06\x01", "\x06\xff\xff\xff\xff", "\x06\x05\xff\xff\x06", "\x06\x06\xff\x01"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct h264_entry entry = {0};
        add(&entry, units[i], strlen(units[i]));
        ADD(&entry, INTRA);
        ADD(&entry, "\x41");
        assert_false(h264_entry_here(&entry));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idr_picture_is_one),
        cmocka_unit_test(intra_picture_at_a_recovery_point_is_one),
        cmocka_unit_test(intra_picture_alone_is_none),
        cmocka_unit_test(predicted_picture_at_a_recovery_point_is_none),
        cmocka_unit_test(intra_field_with_a_predicted_one_is_one),
        cmocka_unit_test(gradual_refresh_is_none),
        cmocka_unit_test(recovery_point_behind_another_message_is_found),
        cmocka_unit_test(damaged_messages_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
