#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

static void iso_format(void **state) {
    (void)state;
    char out[CLOCK_ISO_LEN];
    assert_string_equal(clock_format_iso(out, 0), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format_iso(out, 1795532645678999), "2026-11-24T15:04:05.678Z");
    assert_string_equal(clock_format_iso(out, 951782399999000), "2000-02-28T23:59:59.999Z");
    assert_string_equal(clock_format_iso(out, 951782400000000), "2000-02-29T00:00:00.000Z");
}

static void iso_format_before_1970_rounds_down(void **state) {
    (void)state;
    char out[CLOCK_ISO_LEN];
    assert_string_equal(clock_format_iso(out, -1), "1969-12-31T23:59:59.999Z");
    assert_string_equal(clock_format_iso(out, -1000000), "1969-12-31T23:59:59.000Z");
}

static void monotonic_never_goes_back(void **state) {
    (void)state;
    int64_t last = clock_mono_us();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_us();
        assert_true(now >= last);
        last = now;
    }
}

static void utc_follows_the_monotonic_clock(void **state) {
    (void)state;
    int64_t at_zero = clock_utc_from_mono_us(0);
    assert_int_equal(clock_utc_from_mono_us(1234567) - at_zero, 1234567);
    int64_t before = clock_mono_us();
    int64_t utc = clock_utc_us();
    assert_in_range(utc - at_zero, before, clock_mono_us());
}

static void utc_is_the_time_of_day(void **state) {
    (void)state;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t off = clock_utc_us() - ((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
    assert_true(off > -5000000 && off < 5000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iso_format),
        cmocka_unit_test(iso_format_before_1970_rounds_down),
        cmocka_unit_test(monotonic_never_goes_back),
        cmocka_unit_test(utc_follows_the_monotonic_clock),
        cmocka_unit_test(utc_is_the_time_of_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
