#include "ingest/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FRAME_US = 40000 };

static const int64_t start_us = 1790000000ll * 1000000;

/* `count` frames from number `from` on, one each `every_us`, from `*at_us` on. */
static void frames(struct pace *pace, int64_t from, int64_t count, int64_t every_us, int64_t *at_us) {
    for (int64_t n = from; n < from + count; n++, *at_us += every_us)
        pace_note(pace, n * FRAME_US, *at_us);
}

static void media_as_they_are_made_are_steady_after_half_a_second(void **state) {
    (void)state;
    struct pace pace = {0};
    int64_t at_us = start_us;
    assert_false(pace_steady(&pace));
    frames(&pace, 1000, 13, FRAME_US, &at_us);
    assert_false(pace_steady(&pace));
    frames(&pace, 1013, 1, FRAME_US, &at_us);
    assert_true(pace_steady(&pace));
}

static void what_was_kept_is_not_steady_however_long_it_is(void **state) {
    (void)state;
    struct pace pace = {0};
    int64_t at_us = start_us;
    frames(&pace, 0, 14, FRAME_US, &at_us);
    at_us += 5000000;
    frames(&pace, 14, 125, 8000, &at_us); /* a second for five */
    assert_false(pace_steady(&pace));
    frames(&pace, 139, 20, FRAME_US, &at_us);
    assert_true(pace_steady(&pace));
}

static void pause_begins_anew(void **state) {
    (void)state;
    struct pace pace = {0};
    int64_t at_us = start_us;
    frames(&pace, 0, 20, FRAME_US, &at_us);
    at_us += 600000;
    frames(&pace, 35, 1, FRAME_US, &at_us);
    assert_false(pace_steady(&pace));
}

static void jump_begins_anew(void **state) {
    (void)state;
    struct pace pace = {0};
    int64_t at_us = start_us;
    frames(&pace, 1000, 20, FRAME_US, &at_us);
    frames(&pace, 0, 1, FRAME_US, &at_us);
    assert_false(pace_steady(&pace));
    frames(&pace, 1, 20, FRAME_US, &at_us);
    assert_true(pace_steady(&pace));
}

/* A link that shakes holds frames up and brings them together. */
static void jitter_is_steady(void **state) {
    (void)state;
    struct pace pace = {0};
    for (int64_t n = 0; n < 50; n++)
        pace_note(&pace, n * FRAME_US, start_us + (n / 4 * 4 + 3) * FRAME_US);
    assert_true(pace_steady(&pace));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(media_as_they_are_made_are_steady_after_half_a_second),
        cmocka_unit_test(what_was_kept_is_not_steady_however_long_it_is),
        cmocka_unit_test(pause_begins_anew),
        cmocka_unit_test(jump_begins_anew),
        cmocka_unit_test(jitter_is_steady),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
