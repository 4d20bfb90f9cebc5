#include "ingest/timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static const int64_t epoch_us = 1790000000ll * 1000000;

struct run {
    struct timeline timeline;
    int64_t before_end_ts;
};

static struct run begin(uint32_t rate_milli) {
    struct run run = {0};
    timeline_init(&run.timeline, 2000);
    timeline_add_video(&run.timeline, rate_milli);
    timeline_add_audio(&run.timeline, 48000);
    timeline_map(&run.timeline, 0, epoch_us, 0);
    return run;
}

/* In milliseconds, as RTMP has them. */
static enum timeline_verdict place(struct timeline *timeline, enum track_kind kind, int64_t dts_ms, int64_t pts_ms,
                                   int64_t now_us, struct timeline_time *ret_time) {
    const struct timeline_stamp stamp = {dts_ms * 1000, pts_ms * 1000, 1024};
    return timeline_frame(timeline, kind == TRACK_VIDEO ? 0 : 1, &stamp, now_us, ret_time);
}

/* Frames at `fps`, rounded to milliseconds as FLV has them: on an exact grid, nothing over-declared, no drift. */
static void check_rate(double fps, uint32_t rate_milli) {
    struct run run = begin(rate_milli);
    int64_t first_ts = 0;
    for (int n = 0; n < 20000; n++) {
        double true_s = n / fps;
        struct timeline_time time;
        int64_t ms = (int64_t)(true_s * 1000 + 0.5);
        assert_int_equal(place(&run.timeline, TRACK_VIDEO, ms, ms, epoch_us + ms * 1000, &time), TIMELINE_OK);
        if (!n)
            first_ts = time.dts_ts;
        assert_true(time.dts_ts >= run.before_end_ts);
        assert_true(llabs(time.dts_ts - first_ts - (int64_t)(true_s * 90000)) <= 2);
        if (n)
            assert_int_equal(time.dts_ts, run.before_end_ts); /* whole: no gap of a tick */
        run.before_end_ts = time.dts_ts + time.duration_ts;
    }
    assert_int_equal(run.timeline.moved, 0);
}

static void usual_rates_lie_on_an_exact_grid(void **state) {
    (void)state;
    check_rate(30, 30000);
    check_rate(25, 25000);
    check_rate(24, 24000);
    check_rate(50, 50000);
    check_rate(60, 60000);
    check_rate(30000 / 1001., 29970);
    check_rate(24000 / 1001., 23976);
    check_rate(60000 / 1001., 59940);
    check_rate(120000 / 1001., 119880);
    check_rate(24000 / 1001., 23980); /* as some round it */
    check_rate(12.5, 12500);
    check_rate(7.5, 7500);
}

static void variable_rate_keeps_its_times_and_never_over_declares(void **state) {
    (void)state;
    struct run run = begin(30000);
    srand(1);
    int64_t ms = 0;
    for (int n = 0; n < 5000; n++) {
        struct timeline_time time;
        ms += 20 + rand() % 40;
        place(&run.timeline, TRACK_VIDEO, ms, ms, epoch_us + ms * 1000, &time);
        assert_true(time.dts_ts >= run.before_end_ts && time.duration_ts > 0);
        assert_true(llabs(time.dts_ts - (epoch_us / 1000 + ms) * 90) < 90 * 40);
        run.before_end_ts = time.dts_ts + time.duration_ts;
    }
}

static void reordered_pictures_get_exact_offsets(void **state) {
    (void)state;
    struct run run = begin(30000);
    static const int offsets_ms[] = {67, 167, 67, 0, 33};
    static const int offset_frames[] = {2, 5, 2, 0, 1};
    for (int n = 0; n < 500; n++) {
        struct timeline_time time;
        int64_t ms = (n * 1000 + 15) / 30;
        place(&run.timeline, TRACK_VIDEO, ms, ms + offsets_ms[n % 5], epoch_us + ms * 1000, &time);
        assert_int_equal(time.pts_ts - time.dts_ts, 3000 * offset_frames[n % 5]);
    }
}

static void equal_and_backward_times_are_moved_forward(void **state) {
    (void)state;
    struct run run = begin(0);
    static const int64_t times_ms[] = {0, 33, 33, 20, 67, 66, 100};
    for (size_t i = 0; i < sizeof times_ms / sizeof *times_ms; i++) {
        struct timeline_time time;
        place(&run.timeline, TRACK_VIDEO, times_ms[i], times_ms[i], epoch_us + times_ms[i] * 1000, &time);
        assert_true(time.dts_ts >= run.before_end_ts);
        assert_true(time.pts_ts >= time.dts_ts);
        run.before_end_ts = time.dts_ts + time.duration_ts;
    }
    assert_true(run.timeline.moved > 0);
}

static void audio_runs_on_its_sample_grid(void **state) {
    (void)state;
    struct run run = begin(30000);
    int64_t before_ts = 0;
    for (int n = 0; n < 20000; n++) {
        struct timeline_time time;
        int64_t ms = (int64_t)(n * 1024 / 48.0);
        assert_int_equal(place(&run.timeline, TRACK_AUDIO, ms, ms, epoch_us + ms * 1000, &time), TIMELINE_OK);
        if (n)
            assert_int_equal(time.dts_ts, before_ts + 1024);
        before_ts = time.dts_ts;
    }
}

static void missing_audio_leaves_a_gap_and_surplus_is_dropped(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time a, b;
    place(&run.timeline, TRACK_AUDIO, 0, 0, epoch_us, &a);
    place(&run.timeline, TRACK_AUDIO, 500, 500, epoch_us + 500000, &b);
    assert_int_equal(b.dts_ts - a.dts_ts, 24000);
    int dropped = 0;
    for (int i = 0; i < 10; i++) /* ten frames in no time */
        dropped += place(&run.timeline, TRACK_AUDIO, 521, 521, epoch_us + 521000, &b) == TIMELINE_DROP;
    assert_in_range(dropped, 6, 8);
    assert_true(b.dts_ts - a.dts_ts <= 24000 + 4 * 1024);
}

static void jump_maps_the_clock_anew(void **state) {
    (void)state;
    static const int64_t jumps_us[] = {3600000000, 0};
    struct run run = begin(30000);
    struct timeline_time before, after;
    place(&run.timeline, TRACK_VIDEO, 1000, 1000, epoch_us + 1000000, &before);
    for (int64_t i = 0; i < 2; i++) {
        const struct timeline_stamp stamp = {jumps_us[i], jumps_us[i], .begins = true};
        int64_t now_us = epoch_us + 1000000 + (i + 1) * 33333;
        assert_int_equal(timeline_frame(&run.timeline, 0, &stamp, now_us, &after), TIMELINE_BREAK);
        assert_true(after.dts_ts > before.dts_ts && after.dts_ts - before.dts_ts < 90000);
        before = after;
    }
}

/* Where decoding can't begin. */
static void second_frame_elsewhere_maps_the_clock_anew(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time time;
    for (int64_t n = 0; n < 10; n++) {
        int64_t ms = (n * 1000 + 15) / 30, said_ms = ms + (n >= 5 ? 3600000 : 0);
        enum timeline_verdict verdict =
            place(&run.timeline, TRACK_VIDEO, said_ms, said_ms, epoch_us + ms * 1000, &time);
        assert_int_equal(verdict, n == 6 ? TIMELINE_BREAK : TIMELINE_OK);
        assert_true(llabs(timeline_us(time.dts_ts, 90000) - epoch_us - ms * 1000) < 2000);
    }
}

static void one_time_far_away_is_put_where_it_was_expected(void **state) {
    (void)state;
    static const int64_t wrong_ms[] = {3600000, -3600000, 3000, -1500};
    struct run run = begin(30000);
    struct timeline_time time;
    for (int64_t n = 0; n < 120; n++) {
        int64_t ms = (n * 1000 + 15) / 30;
        int64_t said_ms = n % 30 == 20 ? ms + wrong_ms[n / 30] : ms;
        enum timeline_verdict verdict =
            place(&run.timeline, TRACK_VIDEO, said_ms, said_ms, epoch_us + ms * 1000, &time);
        assert_int_equal(verdict, TIMELINE_OK);
        assert_true(llabs(timeline_us(time.dts_ts, 90000) - epoch_us - ms * 1000) < 2000);
    }
}

static void media_never_starts_before_the_stream_s_end(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time time;
    timeline_map(&run.timeline, 0, epoch_us, epoch_us + 3000000);
    place(&run.timeline, TRACK_VIDEO, 0, 0, epoch_us, &time);
    assert_true(timeline_us(time.dts_ts, 90000) >= epoch_us + 3000000);
    assert_int_equal(timeline_drift_us(&run.timeline), -3000000); /* capture times stay true */
    /* nor does sound that was sent behind its picture */
    for (int64_t ms = -500; ms < 100; ms += 20)
        if (place(&run.timeline, TRACK_AUDIO, ms, ms, epoch_us, &time) != TIMELINE_DROP)
            assert_true(timeline_us(time.dts_ts, 48000) >= epoch_us + 3000000);
}

static void slow_clock_shows_in_capture_times_only_and_then_is_mapped_anew(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time time;
    int breaks = 0;
    int64_t seen_us = 0;
    for (int n = 0; n < 30 * 3000; n++) { /* 50 minutes, losing 1 ms a second */
        int64_t ms = n * 100 / 3, arrived_us = epoch_us + ms * 1001;
        breaks += place(&run.timeline, TRACK_VIDEO, ms, ms, arrived_us, &time) == TIMELINE_BREAK;
        if (llabs(timeline_drift_us(&run.timeline)) > seen_us)
            seen_us = llabs(timeline_drift_us(&run.timeline));
    }
    assert_true(seen_us > 500000);
    assert_in_range(breaks, 1, 3);
}

/* A relay that sends its last three seconds at once when it connects: the media is ahead of the clock and stays there.
 */
static void burst_at_the_start_is_no_discontinuity(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time time;
    for (int n = 0; n < 30 * 120; n++) {
        int64_t ms = n * 100 / 3, arrived_us = epoch_us + (ms > 3000 ? (ms - 3000) * 1000 : 0);
        assert_int_equal(place(&run.timeline, TRACK_VIDEO, ms, ms, arrived_us, &time), TIMELINE_OK);
    }
    assert_int_equal(timeline_drift_us(&run.timeline), -3000000);
}

static void hole_up_to_the_stall_limit_is_no_discontinuity(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time before, after;
    place(&run.timeline, TRACK_VIDEO, 0, 0, epoch_us, &before);
    assert_int_equal(place(&run.timeline, TRACK_VIDEO, 1990, 1990, epoch_us + 1990000, &after), TIMELINE_OK);
    assert_in_range(after.dts_ts - before.dts_ts, 1988 * 90, 1992 * 90);
    assert_int_equal(place(&run.timeline, TRACK_VIDEO, 4010, 4010, epoch_us + 4010000, &after), TIMELINE_BREAK);
}

/* Sound at 48 kHz and pictures at 25/s up to `ms`; the sound's own clock is off by `off_ms`. Returns how many frames of
 * sound were dropped; ret_apart_ms: how far sound and picture are apart in the end. */
static int both(struct run *run, int64_t from_ms, int64_t ms, int64_t off_ms, int64_t *ret_apart_ms) {
    struct timeline_time v = {0}, a = {0};
    int dropped = 0;
    for (int64_t n = from_ms * 48 / 1024; n * 1024 / 48 < ms; n++) {
        int64_t at = n * 1024 / 48, picture = at / 40 * 40;
        if (at - picture < 1024 / 48)
            place(&run->timeline, TRACK_VIDEO, picture, picture, epoch_us + at * 1000, &v);
        dropped +=
            place(&run->timeline, TRACK_AUDIO, at + off_ms, at + off_ms, epoch_us + at * 1000, &a) == TIMELINE_DROP;
    }
    *ret_apart_ms = llabs(v.dts_ts / 90 - a.dts_ts / 48);
    return dropped;
}

static void one_bad_time_of_sound_costs_one_frame(void **state) {
    (void)state;
    struct run run = begin(25000);
    struct timeline_time time;
    int64_t apart_ms;
    assert_int_equal(both(&run, 0, 2000, 0, &apart_ms), 0);
    assert_int_equal(place(&run.timeline, TRACK_AUDIO, 62000, 62000, epoch_us + 2000000, &time), TIMELINE_DROP);
    assert_int_equal(both(&run, 2000, 4000, 0, &apart_ms), 0);
    assert_true(apart_ms < 70);
}

static void sound_that_jumps_alone_goes_on_beside_the_picture(void **state) {
    (void)state;
    static const int64_t jumps_ms[] = {60000, -20000, 3000000, -1500};
    struct run run = begin(25000);
    int64_t apart_ms;
    both(&run, 0, 30000, 0, &apart_ms);
    for (int i = 0; i < 4; i++) {
        int dropped = both(&run, 30000 + i * 4000, 34000 + i * 4000, jumps_ms[i], &apart_ms);
        assert_in_range(dropped, 1, 40);
        assert_true(apart_ms < 150);
    }
}

static void sound_after_a_silence_of_its_own_is_in_its_place(void **state) {
    (void)state;
    struct run run = begin(25000);
    struct timeline_time time;
    int64_t apart_ms;
    both(&run, 0, 2000, 0, &apart_ms);
    for (int64_t ms = 2000; ms < 9000; ms += 40)
        place(&run.timeline, TRACK_VIDEO, ms, ms, epoch_us + ms * 1000, &time);
    assert_int_equal(both(&run, 9000, 11000, 0, &apart_ms), 0);
    assert_true(apart_ms < 70);
}

static void absurd_rate_is_none(void **state) {
    (void)state;
    struct run run = begin(119000000);
    struct timeline_time time;
    for (int n = 0; n < 100; n++)
        assert_int_equal(place(&run.timeline, TRACK_VIDEO, 1, 1, epoch_us, &time), TIMELINE_OK);
}

static enum timeline_verdict place_us(struct timeline *timeline, uint32_t track, int64_t us,
                                      struct timeline_time *ret_time) {
    const struct timeline_stamp stamp = {us, us, 1024};
    return timeline_frame(timeline, track, &stamp, epoch_us + 40000, ret_time);
}

/* Steps through the grid up to there would take for ever, its arithmetic would overflow. */
static void grid_does_not_reach_far_away(void **state) {
    (void)state;
    struct timeline timeline;
    struct timeline_time time;
    timeline_init(&timeline, 2000);
    timeline_add_audio(&timeline, 48000);
    timeline_add_video(&timeline, 239362); /* 375.9995 ticks a frame */
    timeline_map(&timeline, 0, epoch_us, 0);
    assert_int_equal(place_us(&timeline, 1, 0, &time), TIMELINE_OK);
    assert_true(time.exact);
    int64_t begin_ts = time.dts_ts;
    assert_int_equal(place_us(&timeline, 1, 9000000, &time), TIMELINE_OK);
    assert_true(time.exact && llabs(time.dts_ts - begin_ts - 9 * 90000) <= 376 / 2);
    assert_int_equal(place_us(&timeline, 1, INT64_C(10000000000000000), &time), TIMELINE_OK);
    assert_false(time.exact);
}

/* The frames of a second picture may be there before the leading one's first. */
static void frame_far_from_where_the_picture_is_to_begin_is_dropped(void **state) {
    (void)state;
    struct timeline timeline;
    struct timeline_time time;
    timeline_init(&timeline, 2000);
    timeline_add_video(&timeline, 25000);
    timeline_add_video(&timeline, 25000);
    timeline_map(&timeline, 0, epoch_us, 0);
    assert_int_equal(place_us(&timeline, 1, -400000, &time), TIMELINE_OK);
    assert_int_equal(place_us(&timeline, 1, INT64_C(10000000000000000), &time), TIMELINE_DROP);
    assert_int_equal(place_us(&timeline, 1, -60000000, &time), TIMELINE_DROP);
    assert_int_equal(place_us(&timeline, 1, -360000, &time), TIMELINE_OK);
    assert_true(time.dts_ts == (epoch_us - 360000) / 100 * 9);
    assert_int_equal(place_us(&timeline, 0, 0, &time), TIMELINE_OK);
    assert_true(time.dts_ts == epoch_us / 100 * 9);
}

static void queue_on_the_way_is_not_drift(void **state) {
    (void)state;
    struct run run = begin(30000);
    struct timeline_time time;
    for (int n = 0; n < 30 * 60; n++) {
        int64_t ms = n * 100 / 3, late_us = n % 300 > 200 ? 1500000 : 0; /* late for a third of each ten seconds */
        assert_int_equal(place(&run.timeline, TRACK_VIDEO, ms, ms, epoch_us + ms * 1000 + late_us, &time), TIMELINE_OK);
    }
    assert_int_equal(timeline_drift_us(&run.timeline), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_rates_lie_on_an_exact_grid),
        cmocka_unit_test(variable_rate_keeps_its_times_and_never_over_declares),
        cmocka_unit_test(reordered_pictures_get_exact_offsets),
        cmocka_unit_test(equal_and_backward_times_are_moved_forward),
        cmocka_unit_test(audio_runs_on_its_sample_grid),
        cmocka_unit_test(missing_audio_leaves_a_gap_and_surplus_is_dropped),
        cmocka_unit_test(jump_maps_the_clock_anew),
        cmocka_unit_test(second_frame_elsewhere_maps_the_clock_anew),
        cmocka_unit_test(one_time_far_away_is_put_where_it_was_expected),
        cmocka_unit_test(media_never_starts_before_the_stream_s_end),
        cmocka_unit_test(slow_clock_shows_in_capture_times_only_and_then_is_mapped_anew),
        cmocka_unit_test(burst_at_the_start_is_no_discontinuity),
        cmocka_unit_test(hole_up_to_the_stall_limit_is_no_discontinuity),
        cmocka_unit_test(one_bad_time_of_sound_costs_one_frame),
        cmocka_unit_test(sound_that_jumps_alone_goes_on_beside_the_picture),
        cmocka_unit_test(sound_after_a_silence_of_its_own_is_in_its_place),
        cmocka_unit_test(absurd_rate_is_none),
        cmocka_unit_test(grid_does_not_reach_far_away),
        cmocka_unit_test(frame_far_from_where_the_picture_is_to_begin_is_dropped),
        cmocka_unit_test(queue_on_the_way_is_not_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
