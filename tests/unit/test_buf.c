#include "common/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/base/blob.h"

static void assert_content(const struct buf *buf, const char *expected) {
    assert_int_equal(buf_len(buf), strlen(expected));
    assert_memory_equal(buf_head(buf), expected, strlen(expected));
}

static void append_and_consume(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    assert_null(buf_head(&buf));
    assert_int_equal(buf_append(&buf, "hello ", 6), 0);
    assert_int_equal(buf_append_str(&buf, "world"), 0);
    assert_content(&buf, "hello world");
    buf_consume(&buf, 6);
    assert_content(&buf, "world");
    buf_finish(&buf);
}

static void append_to_the_maximum_and_one_more(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 8);
    assert_int_equal(buf_append(&buf, "12345678", 8), 0);
    assert_false(buf.overflow);
    assert_int_equal(buf_append(&buf, "9", 1), -ENOBUFS);
    assert_true(buf.overflow);
    assert_content(&buf, "12345678");
    buf_consume(&buf, 4);
    assert_int_equal(buf_append(&buf, "abcd", 4), 0);
    assert_content(&buf, "5678abcd");
    assert_true(buf.overflow); /* it stays until the buffer is cleared */
    buf_clear(&buf);
    assert_false(buf.overflow);
    buf_finish(&buf);
}

static void a_huge_length_is_an_overflow(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 16);
    assert_int_equal(buf_append(&buf, "x", 1), 0);
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.overflow);
    buf_finish(&buf);
}

static void printf_grows_and_fills_exactly(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 300);
    for (int i = 0; i < 30; i++)
        assert_int_equal(buf_printf(&buf, "%010d", i), 0);
    assert_int_equal(buf_len(&buf), 300);
    assert_memory_equal(buf_head(&buf) + 290, "0000000029", 10);
    assert_int_equal(buf_printf(&buf, "%s", ""), 0);
    assert_int_equal(buf_printf(&buf, "%c", 'x'), -ENOBUFS);
    assert_true(buf.overflow);
    assert_int_equal(buf_len(&buf), 300);
    buf_finish(&buf);
}

static void reserve_then_commit_less(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    uint8_t *room = buf_reserve(&buf, 500);
    assert_non_null(room);
    memcpy(room, "abc", 3);
    buf_commit(&buf, 3);
    assert_content(&buf, "abc");
    buf_finish(&buf);
}

/* A pipe of bytes through a small buffer: every path of growing and moving, checked against a counter. */
static void stream_through_keeps_order(void **state) {
    (void)state;
    struct buf buf;
    uint8_t next_in = 0, next_out = 0;
    buf_init(&buf, 1000);
    for (unsigned round = 0; round < 5000; round++) {
        size_t in = round * 37 % 400, out = round * 53 % 400;
        uint8_t *room = in <= 1000 - buf_len(&buf) ? buf_reserve(&buf, in) : NULL;
        for (size_t i = 0; room && i < in; i++)
            room[i] = next_in++;
        if (room)
            buf_commit(&buf, in);
        for (; out > 0 && buf_len(&buf) > 0; out--) {
            assert_int_equal(*buf_head(&buf), next_out++);
            buf_consume(&buf, 1);
        }
        assert_true(buf.cap <= 1000);
    }
    assert_false(buf.overflow);
    buf_finish(&buf);
}

static void large_memory_goes_back_when_empty(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    assert_non_null(buf_reserve(&buf, 50000));
    buf_commit(&buf, 50000);
    buf_consume(&buf, 49999);
    assert_true(buf.cap >= 50000);
    buf_consume(&buf, 1);
    assert_int_equal(buf.cap, 0);
    assert_int_equal(buf_append_str(&buf, "again"), 0);
    buf_consume(&buf, 5);
    assert_true(buf.cap > 0);
    buf_finish(&buf);
}

static void to_blob_copies(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    buf_append_str(&buf, "xplaylist");
    buf_consume(&buf, 1);
    struct blob *blob = buf_to_blob(&buf);
    assert_content(&buf, "playlist");
    buf_finish(&buf);
    assert_int_equal(blob->len, 8);
    assert_memory_equal(blob->data, "playlist", 8);
    blob_unref(blob);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_and_consume),
        cmocka_unit_test(append_to_the_maximum_and_one_more),
        cmocka_unit_test(a_huge_length_is_an_overflow),
        cmocka_unit_test(printf_grows_and_fills_exactly),
        cmocka_unit_test(reserve_then_commit_less),
        cmocka_unit_test(stream_through_keeps_order),
        cmocka_unit_test(large_memory_goes_back_when_empty),
        cmocka_unit_test(to_blob_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
