/* What waits in a lane is limited, in frames and in bytes. */
#include "ingest/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

enum { GOP = 10, LARGE = 4 << 20 };

static uint8_t *large;

/* The n-th of a picture with a key frame each GOP-th time. */
static bool push(struct lane *lane, int64_t n, size_t len) {
    return lane_push(lane,
                     &(struct lane_frame){.stamp.dts_us = n, .independent = n % GOP == 0, .data = large, .len = len});
}

static size_t held_bytes(const struct lane *lane) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < lane->count; i++)
        bytes += lane_at(lane, i)->len;
    return bytes;
}

static void what_is_too_much_goes_up_to_the_next_independent_frame(void **state) {
    (void)state;
    struct lane lane = {.timescale = 90000};
    for (int64_t n = 0; n < LANE_FRAMES_MAX; n++)
        assert_true(push(&lane, n, 100));
    assert_false(push(&lane, LANE_FRAMES_MAX, 100));
    assert_int_equal(lane_first(&lane)->stamp.dts_us, GOP);
    assert_int_equal(lane.count, LANE_FRAMES_MAX + 1 - GOP);
    lane_reset(&lane);
}

static void bytes_are_limited_too(void **state) {
    (void)state;
    struct lane lane = {.timescale = 90000};
    for (int64_t n = 0; n < 100; n++) {
        push(&lane, n, n % GOP ? 1 << 20 : LARGE);
        assert_true(held_bytes(&lane) <= LANE_BYTES_MAX);
        assert_int_equal(lane.bytes, held_bytes(&lane));
        assert_true(lane.count > 0);
    }
    lane_pop(&lane, lane.count);
    assert_int_equal(lane.bytes, 0);
    for (int64_t n = 0; n < 4; n++)
        assert_true(push(&lane, n, LARGE));
    assert_int_equal(lane_excess(&lane, 1), 4); /* no other independent frame is there */
    assert_int_equal(lane_excess(&lane, 0), 0);
    lane_reset(&lane);
    assert_int_equal(lane.bytes, 0);
}

int main(void) {
    large = calloc(1, LARGE);
    if (!large)
        abort();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_too_much_goes_up_to_the_next_independent_frame),
        cmocka_unit_test(bytes_are_limited_too),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(large);
    return rc;
}
