#include "ingest/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint8_t bytes[4] = {1, 2, 3, 4};

static void push(struct probe *probe, enum track_kind kind, int64_t dts_ms, int64_t offset_ms, bool independent) {
    struct publisher_frame frame = {kind,        0,     dts_ms * 1000, (dts_ms + offset_ms) * 1000,
                                    independent, bytes, sizeof bytes};
    probe_push(probe, &frame, dts_ms * 1000 + 5);
}

#define VIDEO_CONFIG .track_count = 1, .tracks = {{.kind = TRACK_VIDEO}}
#define AUDIO_CONFIG .track_count = 1, .tracks = {{.kind = TRACK_AUDIO}}

static const struct probe_known both = {.track_count = 2,
                                        .tracks = {{.kind = TRACK_VIDEO}, {.kind = TRACK_AUDIO}},
                                        .video_announced = true,
                                        .audio_announced = true,
                                        .metadata_rate = 30};

static struct probe probe; /* large */

static int reset(void **state) {
    (void)state;
    probe_reset(&probe);
    return 0;
}

static void announced_rate_needs_three_frames(void **state) {
    (void)state;
    push(&probe, TRACK_VIDEO, 0, 0, true);
    push(&probe, TRACK_VIDEO, 33, 0, false);
    assert_int_equal(probe_check(&probe, &both, 33005), PROBE_MORE);
    push(&probe, TRACK_VIDEO, 67, 0, false);
    assert_int_equal(probe_check(&probe, &both, 67005), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->rate_milli, 30000);
    assert_false(probe_track(&probe, TRACK_VIDEO, 0)->reorders);
}

static void wrong_announcement_is_found_out(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(probe_check(&probe, &both, i * 40000), PROBE_MORE);
        push(&probe, TRACK_VIDEO, i * 40, 0, i == 0);
    }
    assert_int_equal(probe_check(&probe, &both, 480000), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->rate_milli, 25000);
}

/* An open GOP that was joined: its leading pictures are left out. */
static void gap_behind_the_first_picture_does_not_hide_the_rate(void **state) {
    (void)state;
    struct probe_known known = {VIDEO_CONFIG, .video_announced = true, .announced_all = true};
    known.tracks[0].rate_milli = 60000;
    push(&probe, TRACK_VIDEO, 0, 0, true);
    for (int i = 3; i < 6; i++) {
        assert_int_equal(probe_check(&probe, &known, 0), PROBE_MORE);
        push(&probe, TRACK_VIDEO, (i * 1000 + 30) / 60, 0, false);
    }
    assert_int_equal(probe_check(&probe, &known, 0), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->rate_milli, 60000);
    probe_reset(&probe);
    known.tracks[0].rate_milli = 0;
    push(&probe, TRACK_VIDEO, 0, 0, true);
    for (int i = 4; i < 15; i++)
        push(&probe, TRACK_VIDEO, i * 20, 0, false);
    assert_int_equal(probe_check(&probe, &known, 0), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->rate_milli, 50000);
}

/* A rate that nothing could be divided by is none. */
static void frames_in_no_time_have_no_rate(void **state) {
    (void)state;
    struct probe_known known = {VIDEO_CONFIG, .video_announced = true};
    for (int i = 0; i < 120; i++)
        push(&probe, TRACK_VIDEO, i / 60, 0, i == 0);
    assert_int_equal(probe_check(&probe, &known, 1000000), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->rate_milli, 0);
}

static void video_starts_with_an_independent_frame(void **state) {
    (void)state;
    push(&probe, TRACK_VIDEO, 0, 0, false);
    push(&probe, TRACK_AUDIO, 10, 0, true);
    push(&probe, TRACK_VIDEO, 33, 67, true);
    push(&probe, TRACK_VIDEO, 67, 67, false);
    push(&probe, TRACK_VIDEO, 100, 67, false);
    assert_int_equal(probe_check(&probe, &both, 100005), PROBE_READY);
    assert_int_equal(probe_track(&probe, TRACK_VIDEO, 0)->start_dts_us, 33000);
    assert_true(probe_track(&probe, TRACK_VIDEO, 0)->reorders);
}

static void announced_track_is_waited_for_but_not_for_ever(void **state) {
    (void)state;
    struct probe_known late = both;
    late.track_count = 1;
    for (int i = 0; i < 40; i++) {
        push(&probe, TRACK_VIDEO, i * 1000 / 30, 0, i == 0);
        enum probe_verdict verdict = probe_check(&probe, &late, i * 1000000 / 30);
        assert_int_equal(verdict, i * 1000 / 30 < 1000 ? PROBE_MORE : PROBE_READY);
    }
}

static void audio_alone_is_a_stream(void **state) {
    (void)state;
    struct probe_known audio = {AUDIO_CONFIG, .audio_announced = true};
    for (int i = 0; i < 5; i++)
        push(&probe, TRACK_AUDIO, i * 21, 0, true);
    assert_int_equal(probe_check(&probe, &audio, 100000), PROBE_MORE); /* video may come yet */
    assert_int_equal(probe_check(&probe, &audio, 400000), PROBE_READY);
}

static void track_that_will_not_come_is_not_waited_for(void **state) {
    (void)state;
    struct probe_known video = {VIDEO_CONFIG, .video_announced = true, .announced_all = true, .metadata_rate = 30};
    for (int i = 0; i < 3; i++)
        push(&probe, TRACK_VIDEO, i * 1000 / 30, 0, i == 0);
    assert_int_equal(probe_check(&probe, &video, 67005), PROBE_READY);
    probe_reset(&probe);
    struct probe_known audio = {AUDIO_CONFIG, .audio_announced = true, .announced_all = true};
    for (int i = 0; i < 3; i++)
        push(&probe, TRACK_AUDIO, i * 21, 0, true);
    assert_int_equal(probe_check(&probe, &audio, 42005), PROBE_READY);
}

static void no_configuration_for_long_is_hopeless(void **state) {
    (void)state;
    struct probe_known none = {0};
    push(&probe, TRACK_AUDIO, 0, 0, true);
    assert_int_equal(probe_check(&probe, &none, 5000000), PROBE_MORE);
    assert_int_equal(probe_check(&probe, &none, 16000000), PROBE_HOPELESS);
}

static void frames_come_out_as_they_went_in(void **state) {
    (void)state;
    push(&probe, TRACK_AUDIO, 1, 0, true);
    push(&probe, TRACK_VIDEO, 2, 3, true);
    struct publisher_frame frame;
    int64_t arrived_us;
    assert_true(probe_take(&probe, &frame, &arrived_us));
    assert_int_equal(frame.dts_us, 1000);
    probe_taken(&probe);
    assert_true(probe_take(&probe, &frame, &arrived_us));
    assert_int_equal(frame.pts_us, 5000);
    assert_int_equal(arrived_us, 2005);
    assert_memory_equal(frame.data, bytes, sizeof bytes);
    probe_taken(&probe);
    assert_false(probe_take(&probe, &frame, &arrived_us));
}

static void endless_probe_is_bounded(void **state) {
    (void)state;
    for (int i = 0; i < 3 * PROBE_FRAMES_MAX; i++)
        push(&probe, TRACK_AUDIO, i, 0, true);
    assert_true(probe.count <= PROBE_FRAMES_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(announced_rate_needs_three_frames, reset),
        cmocka_unit_test_teardown(wrong_announcement_is_found_out, reset),
        cmocka_unit_test_teardown(gap_behind_the_first_picture_does_not_hide_the_rate, reset),
        cmocka_unit_test_teardown(frames_in_no_time_have_no_rate, reset),
        cmocka_unit_test_teardown(video_starts_with_an_independent_frame, reset),
        cmocka_unit_test_teardown(announced_track_is_waited_for_but_not_for_ever, reset),
        cmocka_unit_test_teardown(track_that_will_not_come_is_not_waited_for, reset),
        cmocka_unit_test_teardown(audio_alone_is_a_stream, reset),
        cmocka_unit_test_teardown(no_configuration_for_long_is_hopeless, reset),
        cmocka_unit_test_teardown(frames_come_out_as_they_went_in, reset),
        cmocka_unit_test_teardown(endless_probe_is_bounded, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
