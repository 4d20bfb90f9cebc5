/* Boxes written here by hand, so that each can be broken in its own way; what the real muxer makes is read in
 * test_mux.c. */
#include "common/media/cmaf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 4096 };

struct bytes {
    size_t len;
    uint8_t data[BYTES_MAX];
};

static void put32(struct bytes *bytes, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes->data[bytes->len++] = (uint8_t)(value >> shift);
}

static void put64(struct bytes *bytes, uint64_t value) {
    put32(bytes, (uint32_t)(value >> 32));
    put32(bytes, (uint32_t)value);
}

/* Where its size goes, for end_box. */
static size_t begin_box(struct bytes *bytes, const char *type) {
    size_t at = bytes->len;
    put32(bytes, 0);
    memcpy(bytes->data + bytes->len, type, 4);
    bytes->len += 4;
    return at;
}

static void end_box(struct bytes *bytes, size_t at) {
    struct bytes size = {0};
    put32(&size, (uint32_t)(bytes->len - at));
    memcpy(bytes->data + at, size.data, 4);
}

static void put_full_box(struct bytes *bytes, const char *type, uint32_t count, const uint32_t *words) {
    size_t at = begin_box(bytes, type);
    for (uint32_t i = 0; i < count; i++)
        put32(bytes, words[i]);
    end_box(bytes, at);
}

#define PUT(bytes, type, ...)                                                                                          \
    put_full_box(bytes, type, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (const uint32_t[]){__VA_ARGS__})

/* --- a chunk: three samples of 10, 20 and 30 bytes --- */

struct recipe {
    bool no_prft, two_trafs, two_truns, no_tfdt, no_mfhd, no_default_duration;
    uint32_t prft_track_id, tfhd_flags, sample_count, data_offset_error, mdat_bytes;
    uint64_t tfdt;
};

static const struct recipe good = {
    .prft_track_id = 7, .tfhd_flags = 0x20028, .sample_count = 3, .mdat_bytes = 60, .tfdt = 0x9285045f8000};

static void put_trun(struct bytes *bytes, const struct recipe *recipe, uint32_t moof_bytes) {
    size_t at = begin_box(bytes, "trun");
    put32(bytes, 0x01000a05); /* version 1: data offset, first flags, sizes, composition offsets */
    put32(bytes, recipe->sample_count);
    put32(bytes, moof_bytes + 8 + recipe->data_offset_error);
    put32(bytes, 0x02000000);
    for (uint32_t i = 0; i < 3; i++) {
        put32(bytes, 10 * (i + 1));
        put32(bytes, i == 2 ? (uint32_t)-500 : 1000 * i);
    }
    end_box(bytes, at);
}

static void put_traf(struct bytes *bytes, const struct recipe *recipe, uint32_t moof_bytes) {
    size_t at = begin_box(bytes, "traf");
    if (recipe->no_default_duration)
        PUT(bytes, "tfhd", 0x20020, 7, 0x01010000);
    else
        PUT(bytes, "tfhd", recipe->tfhd_flags, 7, 3000, 0x01010000);
    if (!recipe->no_tfdt)
        PUT(bytes, "tfdt", 0x01000000, (uint32_t)(recipe->tfdt >> 32), (uint32_t)recipe->tfdt);
    put_trun(bytes, recipe, moof_bytes);
    if (recipe->two_truns)
        put_trun(bytes, recipe, moof_bytes);
    end_box(bytes, at);
}

static void put_moof(struct bytes *bytes, const struct recipe *recipe, uint32_t moof_bytes) {
    size_t at = begin_box(bytes, "moof");
    if (!recipe->no_mfhd)
        PUT(bytes, "mfhd", 0, 42);
    put_traf(bytes, recipe, moof_bytes);
    if (recipe->two_trafs)
        put_traf(bytes, recipe, moof_bytes);
    end_box(bytes, at);
}

static struct bytes make_chunk(const struct recipe *recipe) {
    struct bytes bytes = {0}, measure = {0};
    put_moof(&measure, recipe, 0);
    if (!recipe->no_prft) {
        size_t at = begin_box(&bytes, "prft");
        put32(&bytes, 0x01000018);
        put32(&bytes, recipe->prft_track_id);
        put64(&bytes, 0xe000000080000000);
        put64(&bytes, recipe->tfdt);
        end_box(&bytes, at);
    }
    put_moof(&bytes, recipe, (uint32_t)measure.len);
    size_t at = begin_box(&bytes, "mdat");
    bytes.len += recipe->mdat_bytes;
    end_box(&bytes, at);
    return bytes;
}

static int parse(const struct bytes *bytes, struct cmaf_chunk *ret_chunk) {
    uint8_t *exact = malloc(bytes->len ? bytes->len : 1); /* so that ASan sees one byte too far */
    memcpy(exact, bytes->data, bytes->len);
    int rc = cmaf_chunk_parse(exact, bytes->len, ret_chunk);
    free(exact);
    return rc;
}

static void chunk_is_read(void **state) {
    (void)state;
    struct bytes bytes = make_chunk(&good);
    struct cmaf_chunk chunk;
    assert_int_equal(parse(&bytes, &chunk), 0);
    assert_int_equal(chunk.sequence_number, 42);
    assert_int_equal(chunk.track_id, 7);
    assert_int_equal(chunk.tfdt_ts, 0x9285045f8000);
    assert_int_equal(chunk.duration_ts, 9000);
    assert_int_equal(chunk.sample_count, 3);
    assert_int_equal(chunk.first_sample_flags, 0x02000000);
    assert_true(cmaf_chunk_is_sync(&chunk));
    assert_int_equal(chunk.cts_min_ts, -500);
    assert_int_equal(chunk.cts_max_ts, 1000);
    assert_int_equal(chunk.payload_bytes, 60);
    assert_int_equal(chunk.first_sample_bytes, 10);
    assert_true(chunk.has_prft);
    assert_true(chunk.prft_ntp == 0xe000000080000000);
    assert_int_equal(chunk.prft_media_ts, 0x9285045f8000);
}

static void chunk_without_prft_is_read(void **state) {
    (void)state;
    struct recipe recipe = good;
    recipe.no_prft = true;
    struct bytes bytes = make_chunk(&recipe);
    struct cmaf_chunk chunk;
    assert_int_equal(parse(&bytes, &chunk), 0);
    assert_false(chunk.has_prft);
}

static void chunk_truncated_anywhere_is_refused(void **state) {
    (void)state;
    struct bytes bytes = make_chunk(&good);
    struct cmaf_chunk chunk;
    while (bytes.len-- > 0)
        assert_int_equal(parse(&bytes, &chunk), -EBADMSG);
}

static void check_refused(const struct recipe *recipe) {
    struct bytes bytes = make_chunk(recipe);
    struct cmaf_chunk chunk = {.track_id = 99};
    assert_int_equal(parse(&bytes, &chunk), -EBADMSG);
    assert_int_equal(chunk.track_id, 99); /* outputs stay untouched */
}

static void chunk_that_does_not_add_up_is_refused(void **state) {
    (void)state;
    struct recipe recipe;
    recipe = good, recipe.mdat_bytes = 59;
    check_refused(&recipe);
    recipe = good, recipe.mdat_bytes = 61;
    check_refused(&recipe);
    recipe = good, recipe.data_offset_error = 1;
    check_refused(&recipe);
    recipe = good, recipe.sample_count = 0;
    check_refused(&recipe);
    recipe = good, recipe.sample_count = 4;
    check_refused(&recipe);
    recipe = good, recipe.sample_count = UINT32_MAX;
    check_refused(&recipe);
    recipe = good, recipe.prft_track_id = 8;
    check_refused(&recipe);
    recipe = good, recipe.tfdt = UINT64_MAX;
    check_refused(&recipe);
}

static void chunk_that_depends_on_its_place_or_init_is_refused(void **state) {
    (void)state;
    struct recipe recipe;
    recipe = good, recipe.tfhd_flags = 0x28; /* offsets from the file's beginning */
    check_refused(&recipe);
    recipe = good, recipe.no_default_duration = true; /* trex would have it */
    check_refused(&recipe);
    recipe = good, recipe.no_tfdt = true;
    check_refused(&recipe);
}

static void chunk_with_more_or_less_than_one_track_is_refused(void **state) {
    (void)state;
    struct recipe recipe;
    recipe = good, recipe.two_trafs = true;
    check_refused(&recipe);
    recipe = good, recipe.two_truns = true;
    check_refused(&recipe);
    recipe = good, recipe.no_mfhd = true;
    check_refused(&recipe);
    struct bytes bytes = make_chunk(&good), twice = bytes;
    memcpy(twice.data + bytes.len, bytes.data, bytes.len);
    twice.len = 2 * bytes.len;
    struct cmaf_chunk chunk;
    assert_int_equal(parse(&twice, &chunk), -EBADMSG);
}

/* --- boxes --- */

static int walk(const uint8_t *data, size_t len, int *ret_count) {
    struct cmaf_box box;
    int rc;
    *ret_count = 0;
    while ((rc = cmaf_box_next(&data, &len, &box)) > 0)
        ++*ret_count;
    return rc;
}

static void boxes_are_walked(void **state) {
    (void)state;
    static const uint8_t two[] = {0, 0, 0, 9, 'f', 'r', 'e', 'e', 1, 0, 0, 0, 8, 's', 'k', 'i', 'p'};
    static const uint8_t wide[] = {0, 0, 0, 1, 'm', 'd', 'a', 't', 0, 0, 0, 0, 0, 0, 0, 17, 5};
    const uint8_t *data = wide;
    size_t len = sizeof wide;
    int count;
    struct cmaf_box box;
    assert_int_equal(walk(two, sizeof two, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(cmaf_box_find(two, sizeof two, CMAF_TYPE('s', 'k', 'i', 'p'), &box), 1);
    assert_int_equal(box.len, 0);
    assert_int_equal(cmaf_box_find(two, sizeof two, CMAF_TYPE('m', 'o', 'o', 'v'), &box), 0);
    assert_int_equal(cmaf_box_next(&data, &len, &box), 1);
    assert_int_equal(box.len, 1);
    assert_int_equal(box.total, 17);
    assert_int_equal(box.data[0], 5);
    assert_int_equal(len, 0);
}

static void sizes_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const uint8_t zero[] = {0, 0, 0, 0, 'm', 'd', 'a', 't'}; /* to the end of the file */
    static const uint8_t small[] = {0, 0, 0, 7, 'm', 'd', 'a', 't'};
    static const uint8_t large[] = {0, 0, 0, 9, 'm', 'd', 'a', 't'};
    static const uint8_t wide_small[] = {0, 0, 0, 1, 'm', 'd', 'a', 't', 0, 0, 0, 0, 0, 0, 0, 15};
    static const uint8_t wide_huge[] = {0, 0, 0, 1, 'm', 'd', 'a', 't', 255, 255, 255, 255, 255, 255, 255, 255};
    int count;
    assert_int_equal(walk(zero, sizeof zero, &count), -EBADMSG);
    assert_int_equal(walk(small, sizeof small, &count), -EBADMSG);
    assert_int_equal(walk(large, sizeof large, &count), -EBADMSG);
    assert_int_equal(walk(wide_small, sizeof wide_small, &count), -EBADMSG);
    assert_int_equal(walk(wide_huge, sizeof wide_huge, &count), -EBADMSG);
    assert_int_equal(walk(wide_huge, 12, &count), -EBADMSG);
    assert_int_equal(walk(small, 4, &count), -EBADMSG);
}

/* --- init segments --- */

static struct blob *make_init(uint32_t track_id, uint32_t trex_track_id, bool wide_tkhd) {
    struct bytes bytes = {0};
    PUT(&bytes, "ftyp", 0x69736f35, 0x200 + track_id);
    size_t moov = begin_box(&bytes, "moov");
    PUT(&bytes, "mvhd", 0, 0, 0, 1000, 0, 0x5a5a5a5a, 2);
    size_t trak = begin_box(&bytes, "trak");
    if (wide_tkhd)
        PUT(&bytes, "tkhd", 0x01000003, 0, 0, 0, 0, track_id, 0, 0, 0);
    else
        PUT(&bytes, "tkhd", 3, 0, 0, track_id, 0, 0);
    end_box(&bytes, trak);
    size_t mvex = begin_box(&bytes, "mvex");
    PUT(&bytes, "trex", 0, trex_track_id, 1, 0, 0, 0);
    end_box(&bytes, mvex);
    PUT(&bytes, "udta", 0);
    end_box(&bytes, moov);
    return blob_create_copy(bytes.data, bytes.len);
}

static size_t count_boxes(const struct cmaf_box *parent, uint32_t type) {
    const uint8_t *data = parent->data;
    size_t len = parent->len, count = 0;
    struct cmaf_box box;
    while (cmaf_box_next(&data, &len, &box) > 0)
        count += box.type == type;
    return count;
}

static void inits_of_tracks_become_one(void **state) {
    (void)state;
    struct blob *video = make_init(1, 1, false), *audio = make_init(5, 5, true), *other = make_init(3, 3, false);
    struct blob *joined = cmaf_init_join((const struct blob *const[]){video, audio, other}, 3);
    assert_non_null(joined);
    assert_memory_equal(joined->data, video->data, 16); /* ftyp of the first */
    struct cmaf_box moov, mvhd, mvex;
    assert_int_equal(cmaf_box_find(joined->data, joined->len, CMAF_TYPE('m', 'o', 'o', 'v'), &moov), 1);
    assert_int_equal(moov.total + 16, joined->len);
    assert_int_equal(count_boxes(&moov, CMAF_TYPE('t', 'r', 'a', 'k')), 3);
    assert_int_equal(count_boxes(&moov, CMAF_TYPE('m', 'v', 'h', 'd')), 1);
    assert_int_equal(count_boxes(&moov, CMAF_TYPE('m', 'v', 'e', 'x')), 1);
    assert_int_equal(cmaf_box_find(moov.data, moov.len, CMAF_TYPE('m', 'v', 'e', 'x'), &mvex), 1);
    assert_int_equal(count_boxes(&mvex, CMAF_TYPE('t', 'r', 'e', 'x')), 3);
    assert_int_equal(cmaf_box_find(moov.data, moov.len, CMAF_TYPE('m', 'v', 'h', 'd'), &mvhd), 1);
    assert_memory_equal(mvhd.data + mvhd.len - 8, "\x5a\x5a\x5a\x5a\0\0\0\6", 8); /* next_track_ID */
    blob_unref(joined);
    joined = cmaf_init_join((const struct blob *const[]){audio}, 1);
    assert_non_null(joined);
    blob_unref(joined);
    blob_unref(video);
    blob_unref(audio);
    blob_unref(other);
}

static void inits_that_cannot_be_joined_are_refused(void **state) {
    (void)state;
    struct blob *one = make_init(1, 1, false), *same = make_init(1, 1, false), *mismatch = make_init(2, 3, false);
    struct blob *zero = make_init(0, 0, false), *last = make_init(UINT32_MAX, UINT32_MAX, false);
    const struct blob *const nine[9] = {one, one, one, one, one, one, one, one, one};
    assert_null(cmaf_init_join(nine, 0));
    assert_null(cmaf_init_join(nine, 9));
    assert_null(cmaf_init_join((const struct blob *const[]){one, same}, 2));
    assert_null(cmaf_init_join((const struct blob *const[]){one, mismatch}, 2));
    assert_null(cmaf_init_join((const struct blob *const[]){zero}, 1));
    assert_null(cmaf_init_join((const struct blob *const[]){last}, 1)); /* there is no next id */
    for (size_t len = 0; len < one->len; len++) {
        struct blob *cut = blob_create_copy(one->data, len);
        assert_null(cmaf_init_join((const struct blob *const[]){cut}, 1));
        blob_unref(cut);
    }
    blob_unref(one);
    blob_unref(same);
    blob_unref(mismatch);
    blob_unref(zero);
    blob_unref(last);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_is_read),
        cmocka_unit_test(chunk_without_prft_is_read),
        cmocka_unit_test(chunk_truncated_anywhere_is_refused),
        cmocka_unit_test(chunk_that_does_not_add_up_is_refused),
        cmocka_unit_test(chunk_that_depends_on_its_place_or_init_is_refused),
        cmocka_unit_test(chunk_with_more_or_less_than_one_track_is_refused),
        cmocka_unit_test(boxes_are_walked),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(inits_of_tracks_become_one),
        cmocka_unit_test(inits_that_cannot_be_joined_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
