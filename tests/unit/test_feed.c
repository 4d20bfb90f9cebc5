#include "common/media/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/base/buf.h"

static const struct feed_box chunk_box = {.kind = FEED_CHUNK,
                                          .length = 5,
                                          .epoch = 0x0102030405060708,
                                          .msn = 0x1112131415161718,
                                          .number = 0x21222324,
                                          .duration_ts = 3000,
                                          .capture_us = 1790000000123456};

/* The bytes of docs/feed.md. */
static const uint8_t chunk_bytes[FEED_BOX_BYTES] = {0,    0,    0,    64,   'u',  'u',  'i',  'd', /* box */
                                                    0x77, 0x65, 0x69, 0x72, 0xf5, 0x1d, 0x4c, 0x0e,
                                                    0x9b, 0x3a, 0x52, 0xd1, 0x6e, 0x08, 0xc4, 0x27, /* type */
                                                    1,    2,    0,    0,    0,    0,    0,    5,
                                                    1,    2,    3,    4,    5,    6,    7,    8, /* .. epoch */
                                                    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
                                                    0x21, 0x22, 0x23, 0x24, 0,    0,    0x0b, 0xb8, /* .. duration */
                                                    0x00, 0x06, 0x5b, 0xfe, 0xda, 0x27, 0xc2, 0x40};

static void box_has_the_bytes_of_the_document(void **state) {
    uint8_t bytes[FEED_BOX_BYTES];
    (void)state;
    feed_box_write(bytes, &chunk_box);
    assert_memory_equal(bytes, chunk_bytes, sizeof bytes);
    struct feed_box box;
    assert_int_equal(feed_box_parse(chunk_bytes, &box), 0);
    assert_memory_equal(&box, &chunk_box, sizeof box);
}

static void assert_refused(const struct feed_box *box, size_t at, uint8_t value) {
    uint8_t bytes[FEED_BOX_BYTES];
    struct feed_box ret;
    feed_box_write(bytes, box);
    if (at)
        bytes[at] = value;
    assert_int_equal(feed_box_parse(bytes, &ret), -EBADMSG);
}

static void box_of_anything_else_is_refused(void **state) {
    (void)state;
    assert_refused(&chunk_box, 3, 65);  /* another size */
    assert_refused(&chunk_box, 7, 'x'); /* another box */
    assert_refused(&chunk_box, 12, 0);  /* somebody else's uuid */
    assert_refused(&chunk_box, 24, 2);  /* another version */
    assert_refused(&chunk_box, 25, 3);  /* another kind */
}

static void impossible_values_are_refused(void **state) {
    (void)state;
    struct feed_box box = chunk_box;
    box.length = 0;
    assert_refused(&box, 0, 0);
    box.length = FEED_CHUNK_MAX + 1;
    assert_refused(&box, 0, 0);
    box = chunk_box;
    box.capture_us = -1;
    assert_refused(&box, 0, 0);
    box = (struct feed_box){.kind = FEED_INIT, .length = (1 << 20) + 1};
    assert_refused(&box, 0, 0);
}

/* --- reading --- */

struct seen {
    struct buf text;
    int result;
};

static int on_item(void *ctx, const struct feed_box *box, struct slice body) {
    struct seen *seen = ctx;
    buf_printf(&seen->text, "%d %u %.*s;", box->kind, box->number, (int)body.len,
               (const char *)body.blob->data + body.off);
    assert_memory_equal(body.blob->data + body.off + body.len, "\r\n", 2); /* as continuous viewers need it */
    return seen->result;
}

static size_t two_items(uint8_t *out) {
    const struct feed_box init = {.kind = FEED_INIT, .length = 4, .epoch = 1, .init_version = 1};
    feed_box_write(out, &init);
    memcpy(out + FEED_BOX_BYTES, "init", 4);
    feed_box_write(out + FEED_BOX_BYTES + 4, &chunk_box);
    memcpy(out + 2 * FEED_BOX_BYTES + 4, "chunk", 5);
    return 2 * FEED_BOX_BYTES + 9;
}

static void items_are_read_however_bytes_come(void **state) {
    uint8_t bytes[256];
    size_t len = two_items(bytes);
    (void)state;
    for (size_t run = 1; run <= len; run++) {
        struct seen seen = {0};
        buf_init(&seen.text, 4096);
        struct feed_reader *reader = feed_reader_create(on_item, &seen);
        for (size_t at = 0; at < len; at += run)
            assert_int_equal(feed_reader_push(reader, bytes + at, at + run < len ? run : len - at), 0);
        buf_append(&seen.text, "", 1);
        assert_string_equal((const char *)buf_head(&seen.text), "1 0 init;2 555885348 chunk;");
        feed_reader_destroy(reader);
        buf_finish(&seen.text);
    }
}

static void reading_ends_where_its_user_or_the_bytes_say(void **state) {
    uint8_t bytes[256];
    size_t len = two_items(bytes);
    struct seen seen = {.result = -EPIPE};
    (void)state;
    buf_init(&seen.text, 4096);
    struct feed_reader *reader = feed_reader_create(on_item, &seen);
    assert_int_equal(feed_reader_push(reader, bytes, len), -EPIPE);
    feed_reader_destroy(reader);
    reader = feed_reader_create(on_item, &seen);
    assert_int_equal(feed_reader_push(reader, bytes, FEED_BOX_BYTES + 2), 0); /* and is destroyed half-way */
    feed_reader_destroy(reader);
    reader = feed_reader_create(on_item, &seen);
    bytes[24] = 9;
    assert_int_equal(feed_reader_push(reader, bytes, len), -EBADMSG);
    feed_reader_destroy(reader);
    buf_finish(&seen.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(box_has_the_bytes_of_the_document),
        cmocka_unit_test(box_of_anything_else_is_refused),
        cmocka_unit_test(impossible_values_are_refused),
        cmocka_unit_test(items_are_read_however_bytes_come),
        cmocka_unit_test(reading_ends_where_its_user_or_the_bytes_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
