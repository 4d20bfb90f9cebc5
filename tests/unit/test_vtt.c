#include "common/media/vtt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/buf.h"
#include "common/media/cmaf.h"

static void add(struct buf *file, const char *text) {
    struct slice chunk = vtt_chunk_create(201, 1, 1, text, strlen(text));
    vtt_file_add(file, chunk.blob->data + chunk.off, chunk.len);
    blob_unref(chunk.blob);
}

static void assert_file(struct buf *file, const char *text) {
    assert_int_equal(buf_len(file), strlen(text));
    assert_memory_equal(buf_head(file), text, strlen(text));
    buf_finish(file);
}

static void chunk_is_one_sample_that_stands_alone(void **state) {
    (void)state;
    struct slice slice = vtt_chunk_create(202, INT64_C(160000000000001), 18000, "\n", 1);
    struct cmaf_chunk chunk;
    assert_int_equal(cmaf_chunk_parse(slice.blob->data + slice.off, slice.len, &chunk), 0);
    assert_int_equal(chunk.track_id, 202);
    assert_int_equal(chunk.tfdt_ts, INT64_C(160000000000001));
    assert_int_equal(chunk.duration_ts, 18000);
    assert_int_equal(chunk.sample_count, 1);
    assert_int_equal(chunk.payload_bytes, 1);
    assert_true(cmaf_chunk_is_sync(&chunk));
    blob_unref(slice.blob);
}

static void init_is_a_box_that_names_the_format(void **state) {
    (void)state;
    struct blob *init = vtt_init_create();
    struct cmaf_box ftyp;
    assert_int_equal(cmaf_box_find(init->data, init->len, CMAF_TYPE('f', 't', 'y', 'p'), &ftyp), 1);
    assert_int_equal(ftyp.total, init->len);
    assert_memory_equal(ftyp.data + 8, "wvtt", 4);
    blob_unref(init);
}

static void file_has_each_cue_once(void **state) {
    (void)state;
    struct buf file;
    buf_init(&file, VTT_FILE_MAX);
    vtt_file_begin(&file, 0);
    add(&file, "11\n00:00:01.000 --> 00:00:02.000\nx\n\n");
    add(&file, "1\n00:00:01.000 --> 00:00:02.000\nx\n\n11\n00:00:01.000 --> 00:00:02.000\nx\n\n");
    add(&file, "\n");
    add(&file, "1\n00:00:01.000 --> 00:00:02.000\nx\n\n2\n00:00:01.500 --> 00:00:03.000\ny\n\n");
    assert_file(&file, "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n"
                       "11\n00:00:01.000 --> 00:00:02.000\nx\n\n"
                       "1\n00:00:01.000 --> 00:00:02.000\nx\n\n"
                       "2\n00:00:01.500 --> 00:00:03.000\ny\n\n");
}

static void file_without_cues_is_its_head(void **state) {
    (void)state;
    struct buf file;
    int64_t anchor_us = vtt_anchor_us(INT64_C(1790000060123456));
    assert_int_equal(anchor_us, INT64_C(1790000000123000));
    buf_init(&file, VTT_FILE_MAX);
    vtt_file_begin(&file, anchor_us);
    add(&file, "\n");
    /* 161100000011070 modulo 2^33 */
    assert_file(&file, "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:4366672702,LOCAL:00:00:00.000\n\n");
    assert_int_equal(INT64_C(161100000011070) % (INT64_C(1) << 33), 4366672702);
}

static void what_is_no_chunk_adds_nothing(void **state) {
    (void)state;
    struct buf file;
    buf_init(&file, VTT_FILE_MAX);
    vtt_file_add(&file, (const uint8_t *)"WEBVTT\n\n", 8);
    vtt_file_add(&file, (const uint8_t *)"\0\0\0\x10mdat", 8);
    vtt_file_add(&file, (const uint8_t *)"\0\0\0\x0cmdatabc\n", 12); /* a block without its end */
    assert_int_equal(buf_len(&file), 0);
    buf_finish(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_is_one_sample_that_stands_alone),
        cmocka_unit_test(init_is_a_box_that_names_the_format),
        cmocka_unit_test(file_has_each_cue_once),
        cmocka_unit_test(file_without_cues_is_its_head),
        cmocka_unit_test(what_is_no_chunk_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
