#include "ingest/segmenter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

/* Runs frames through and collects what comes out. */
struct outcome {
    int parts, segments;
    double part_min_s, part_max_s; /* of parts that neither end a segment nor contain an independent frame */
    double segment_max_s, segment_s[64];
    bool began[64];
};

static void close_part(struct outcome *o, const struct segmenter *s, bool last, bool independent) {
    double seconds = (double)(s->end_us - s->part_start_us) / 1e6;
    o->parts++;
    if (seconds > o->part_max_s)
        o->part_max_s = seconds;
    if (!last && !independent && (!o->part_min_s || seconds < o->part_min_s))
        o->part_min_s = seconds;
}

static struct outcome run(struct segmenter *s, double fps, int frames, int gop) {
    struct outcome o = {0};
    bool independent_part = false;
    for (int n = 0; n < frames; n++) {
        int64_t dts_us = 1000000000 + (int64_t)(n * 1e6 / fps + 0.5);
        uint32_t duration_us = (uint32_t)(1e6 / fps);
        bool independent = n % gop == 0;
        int what = segmenter_before(s, dts_us, duration_us, independent);
        if (what & SEGMENTER_END_PART)
            close_part(&o, s, what & SEGMENTER_END_SEGMENT, independent_part);
        if (what & SEGMENTER_END_SEGMENT) {
            double seconds = (double)(s->end_us - s->segment_us) / 1e6;
            if (seconds > o.segment_max_s)
                o.segment_max_s = seconds;
            if (o.segments < 64) {
                o.segment_s[o.segments] = seconds;
                o.began[o.segments] = s->began_independent;
            }
            o.segments++;
        }
        if (what)
            independent_part = false;
        segmenter_end(s, what);
        independent_part |= independent;
        what = segmenter_add(s, dts_us, duration_us, independent, true);
        if (what & SEGMENTER_END_PART) {
            close_part(&o, s, false, independent_part);
            independent_part = false;
        }
        segmenter_end(s, what);
    }
    return o;
}

static struct segmenter make(double fps, double audio_frame_s, struct segmenter_plan *ret_plan) {
    struct segmenter s;
    *ret_plan = segmenter_plan(200000, (uint32_t)(1e6 / fps), (uint32_t)(audio_frame_s * 1e6));
    segmenter_init(&s, ret_plan, 2000, false);
    return s;
}

/* At every usual rate, beside every usual audio: no part over PART-TARGET, none under 0.85 of it that mayn't be. */
static void parts_keep_to_their_target_at_all_rates(void **state) {
    (void)state;
    static const double rates[] = {23.976, 24, 25, 29.97, 30, 50, 59.94, 60, 15, 10};
    static const double audio_s[] = {0, 1024 / 48000., 1024 / 44100., 2048 / 48000., 2048 / 44100.};
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++)
        for (size_t a = 0; a < sizeof audio_s / sizeof *audio_s; a++) {
            struct segmenter_plan plan;
            struct segmenter s = make(rates[r], audio_s[a], &plan);
            struct outcome o = run(&s, rates[r], (int)(rates[r] * 40), (int)(rates[r] * 2 + 0.5));
            double target_s = plan.part_target_us / 1e6;
            assert_true(o.part_max_s <= target_s);
            assert_true(o.part_min_s >= 0.85 * target_s);
            assert_in_range(plan.part_target_us, 150000, 320000);
        }
}

static void two_second_gops_make_two_second_segments(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    struct outcome o = run(&s, 30, 601, 60);
    assert_int_equal(o.segments, 10);
    assert_true(o.segment_max_s > 1.99 && o.segment_max_s < 2.01);
}

static void short_gops_are_gathered_up_to_the_target(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    struct outcome o = run(&s, 30, 601, 15);
    assert_int_equal(o.segments, 10);
    assert_true(o.began[5]);
}

static void ntsc_gop_a_little_over_the_target_is_not_cut_in_two(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30000 / 1001., 0, &plan);
    struct outcome o = run(&s, 30000 / 1001., 601, 60);
    assert_int_equal(o.segments, 10);
    for (int i = 0; i < 10; i++)
        assert_true(o.began[i]);
}

/* OBS: 250 frames. Cut at the target, and at the independent frame however soon it comes; once the interval is known,
 * the last segment waits for the frame that is due, within what EXTINF's rounding allows. */
static void long_gops_are_cut_at_the_target(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 1024 / 48000., &plan);
    struct outcome o = run(&s, 30, 1501, 250);
    assert_true(o.segment_max_s < 2.4);
    assert_true(o.began[0] && !o.began[1] && !o.began[2] && !o.began[3]);
    assert_true(!o.began[4] && o.segment_s[4] < 0.5);
    assert_true(o.began[5]);
    assert_true(o.segment_s[8] > 2.3 && o.began[9]);
    assert_int_equal(o.segments, 5 + 5 * 4);
}

static void gop_between_target_and_slack_keeps_its_independent_starts(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    struct outcome o = run(&s, 30, 30 * 40, 69); /* 2.3 s: EXTINF rounds to 2 */
    assert_true(o.segment_max_s < 2.5);
    assert_true(o.began[3] && o.began[8] && o.began[12]);
}

static void independent_frames_that_come_late_after_all_are_not_waited_for_for_ever(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    run(&s, 30, 30 * 10, 69);
    struct outcome o = run(&s, 30, 30 * 20, 100000);
    assert_true(o.segment_max_s < 2.5);
}

static void long_frames_make_parts_of_one_frame(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(2, 0, &plan);
    assert_true(plan.part_target_us >= 500000);
    struct outcome o = run(&s, 2, 40, 4);
    assert_true(o.part_max_s <= plan.part_target_us / 1e6);
}

static void hole_that_a_part_has_room_for_is_counted_in(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    int64_t t = 1000000;
    for (int i = 0; i < 6; i++, t += 33333)
        segmenter_end(&s, segmenter_add(&s, t, 33333, i == 0, true));
    int64_t end_us = s.end_us;
    segmenter_add(&s, t + 150000, 33333, false, true); /* four frames were lost */
    assert_int_equal(s.part_start_us, end_us);
}

static void frame_lost_at_the_end_of_a_part_does_not_make_it_short(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 0, &plan);
    for (int i = 0; i < 5; i++)
        assert_int_equal(segmenter_add(&s, 1000000 + i * 33333, 33333, i == 0, true), 0);
    assert_int_equal(segmenter_before(&s, 1200000, 33333, false), SEGMENTER_END_PART);
    assert_int_equal(s.end_us, 1200000);
}

/* Intervals of 20 to 150 ms: every part but a segment's last lasts just as long as parts do, and all of them as long as
 * the media. */
static void parts_of_a_variable_rate_are_whole_and_lose_no_time(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(15, 1024 / 48000., &plan);
    int64_t dts_us = 1000000000, sum_us = 0, start_us = dts_us;
    uint32_t seed = 1;
    int parts = 0;
    for (int n = 0; n < 5000; n++, dts_us += 20000 + seed % 130000) {
        seed = seed * 1103515245 + 12345;
        bool independent = n % 40 == 0;
        for (int step = 0; step < 2; step++) {
            int what = step ? segmenter_add(&s, dts_us, 19000, independent, false)
                            : segmenter_before(&s, dts_us, 19000, independent);
            if (what & SEGMENTER_END_PART) {
                int64_t part_us = s.end_us - s.part_start_us;
                assert_true(part_us <= plan.part_target_us);
                if (!(what & SEGMENTER_END_SEGMENT))
                    assert_true(part_us * 100 >= (int64_t)plan.part_target_us * 85);
                sum_us += part_us;
                parts++;
            }
            segmenter_end(&s, what);
        }
    }
    assert_true(parts > 1000);
    assert_in_range(start_us + sum_us, dts_us - 500000, dts_us);
}

static void hole_in_the_picture_is_parts_of_sound(void **state) {
    (void)state;
    struct segmenter_plan plan;
    struct segmenter s = make(30, 1024 / 48000., &plan);
    segmenter_end(&s, segmenter_add(&s, 1000000, 33333, true, true));
    int parts = 0, segments = 0, what;
    while ((what = segmenter_hole(&s, 1950000))) {
        parts += what & SEGMENTER_END_PART ? 1 : 0;
        segments += what & SEGMENTER_END_SEGMENT ? 1 : 0;
        segmenter_end(&s, what);
    }
    assert_int_equal(parts, 4);
    assert_int_equal(segments, 0);
    segmenter_end(&s, segmenter_before(&s, 1950000, 33333, false));
    int64_t end_us = s.end_us;
    segmenter_add(&s, 1950000, 33333, false, true);
    assert_int_equal(s.part_start_us, end_us); /* what is left of it is counted in */
    assert_in_range(end_us, 1950000 - plan.part_us, 1950000);
    while ((what = segmenter_hole(&s, 1950000 + 2100000))) {
        segments += what & SEGMENTER_END_SEGMENT ? 1 : 0;
        segmenter_end(&s, what);
    }
    assert_int_equal(segments, 1); /* the target holds in holes, too */
}

static void returning_publisher_keeps_the_part_target(void **state) {
    (void)state;
    struct segmenter_plan plan = segmenter_plan_within(213334, 20000); /* 50/s now */
    assert_int_equal(plan.part_target_us, 213334);
    struct segmenter s;
    segmenter_init(&s, &plan, 2000, false);
    struct outcome o = run(&s, 50, 1000, 100);
    assert_true(o.part_max_s <= 0.213334);
}

static void audio_alone_cuts_at_part_boundaries(void **state) {
    (void)state;
    struct segmenter_plan plan = segmenter_plan(200000, 21334, 0);
    struct segmenter s;
    segmenter_init(&s, &plan, 2000, true);
    struct outcome o = run(&s, 48000 / 1024., 1000, 1);
    assert_true(o.segment_max_s <= 2.01 && o.segment_max_s > 1.7);
    assert_true(o.part_max_s <= plan.part_target_us / 1e6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_keep_to_their_target_at_all_rates),
        cmocka_unit_test(two_second_gops_make_two_second_segments),
        cmocka_unit_test(short_gops_are_gathered_up_to_the_target),
        cmocka_unit_test(ntsc_gop_a_little_over_the_target_is_not_cut_in_two),
        cmocka_unit_test(long_gops_are_cut_at_the_target),
        cmocka_unit_test(gop_between_target_and_slack_keeps_its_independent_starts),
        cmocka_unit_test(independent_frames_that_come_late_after_all_are_not_waited_for_for_ever),
        cmocka_unit_test(long_frames_make_parts_of_one_frame),
        cmocka_unit_test(hole_that_a_part_has_room_for_is_counted_in),
        cmocka_unit_test(frame_lost_at_the_end_of_a_part_does_not_make_it_short),
        cmocka_unit_test(parts_of_a_variable_rate_are_whole_and_lose_no_time),
        cmocka_unit_test(hole_in_the_picture_is_parts_of_sound),
        cmocka_unit_test(returning_publisher_keeps_the_part_target),
        cmocka_unit_test(audio_alone_cuts_at_part_boundaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
