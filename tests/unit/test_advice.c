/* A broadcaster who does one thing wrong at a time, and the one thing that he is told. Time is the test's own. */
#include "ingest/advice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { SECOND = 1000000, AUDIO_STEP = 21333, START = 1700000000 };

static struct advice advice;

/* How he sends; zeroed, he does all well. */
struct sender {
    int fps;                                              /* 0: 30 */
    int64_t gop_us;                                       /* 0: 1 s */
    int64_t reorder_us;                                   /* pts - dts of all pictures but key frames */
    int64_t audio_ahead_us;                               /* by which sound is stamped */
    bool no_audio, no_video;                              /* */
    int64_t (*late_us)(int64_t dts_us, uint32_t picture); /* NULL: none is */
    bool (*missing)(uint32_t picture);
    bool (*is_key)(uint32_t picture);
    uint32_t (*bytes)(int64_t dts_us, bool key);
    uint8_t track;
    /* */
    int64_t video_us, audio_us; /* next dts */
    int64_t base_us;            /* of arrival */
    int64_t arrived_us;         /* what came last: nothing overtakes */
    uint32_t picture;
    uint32_t changes;
};

static void give(struct sender *sender, struct advice_frame frame, int64_t late_us) {
    int64_t arrived_us = sender->base_us + late_us;
    frame.arrived_us = sender->arrived_us = arrived_us > sender->arrived_us ? arrived_us : sender->arrived_us;
    frame.track = sender->track;
    struct advice_finding finding;
    bool judged = advice_frame(&advice, &frame);
    while (advice_next_change(&advice, &finding)) {
        assert_true(judged);
        sender->changes++;
    }
}

static void give_picture(struct sender *sender) {
    int64_t step_us = SECOND / (sender->fps ? sender->fps : 30), dts_us = sender->video_us;
    int64_t pictures = (sender->gop_us ? sender->gop_us : SECOND) / step_us;
    uint32_t n = sender->picture++;
    bool key = sender->is_key ? sender->is_key(n) : n % (uint32_t)pictures == 0;
    sender->video_us += step_us;
    if (sender->no_video || (sender->missing && sender->missing(n)))
        return;
    struct advice_frame frame = {.kind = TRACK_VIDEO,
                                 .independent = key,
                                 .bytes = sender->bytes ? sender->bytes(dts_us, key)
                                          : key         ? 40000
                                                        : 8000,
                                 .dts_us = dts_us,
                                 .pts_us = dts_us + (key ? 0 : sender->reorder_us)};
    give(sender, frame, dts_us + (sender->late_us ? sender->late_us(dts_us, n) : 0));
}

static void give_sound(struct sender *sender) {
    int64_t dts_us = sender->audio_us;
    sender->audio_us += AUDIO_STEP;
    if (sender->no_audio)
        return;
    struct advice_frame frame = {.kind = TRACK_AUDIO,
                                 .independent = true,
                                 .bytes = 400,
                                 .dts_us = dts_us + sender->audio_ahead_us,
                                 .pts_us = dts_us + sender->audio_ahead_us};
    give(sender, frame, dts_us + (sender->late_us ? sender->late_us(dts_us, sender->picture) : 0));
}

static void send_for(struct sender *sender, int seconds) {
    int64_t until_us = sender->video_us + (int64_t)seconds * SECOND;
    if (!sender->base_us)
        sender->base_us = (int64_t)START * SECOND;
    while (sender->video_us < until_us)
        if (sender->audio_us < sender->video_us)
            give_sound(sender);
        else
            give_picture(sender);
}

/* Just these codes are found: a bit each. */
static void assert_found(unsigned codes) {
    for (int code = 0; code < ADVICE_COUNT; code++) {
        struct advice_finding finding;
        bool found = advice_get(&advice, (enum advice_code)code, &finding);
        if (found != (codes >> code & 1))
            fail_msg("%s: %d, %g", advice_code_name((enum advice_code)code), found, finding.value);
    }
}

static double value_of(enum advice_code code, enum advice_level level) {
    struct advice_finding finding;
    advice_get(&advice, code, &finding);
    assert_int_equal(finding.level, level);
    return finding.value;
}

#define assert_about(value, least, most) assert_true((value) >= (least) && (value) <= (most))

static int set_up(void **state) {
    (void)state;
    advice_init(&advice);
    return 0;
}

/* --- nothing wrong --- */

static int64_t a_little_late(int64_t dts_us, uint32_t picture) {
    (void)dts_us;
    return (int64_t)(picture * 2654435761u >> 16) % 30000;
}

static int64_t clock_too_slow(int64_t dts_us, uint32_t picture) {
    (void)picture;
    return dts_us / 5000; /* 200 ppm */
}

static void who_sends_well_is_told_nothing(void **state) {
    (void)state;
    static const int rates[] = {24, 25, 30, 50, 60, 120};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        advice_init(&advice);
        struct sender sender = {.fps = rates[i], .gop_us = 2 * SECOND, .late_us = a_little_late};
        send_for(&sender, 120);
        assert_found(0);
        assert_int_equal(sender.changes, 0);
    }
}

static void a_clock_that_drifts_is_no_uplink_that_chokes(void **state) {
    (void)state;
    struct sender sender = {.late_us = clock_too_slow};
    send_for(&sender, 4 * 3600);
    assert_found(0);
    assert_int_equal(sender.changes, 0);
}

static void sound_alone_is_judged_as_sound(void **state) {
    (void)state;
    struct sender sender = {.no_video = true, .late_us = a_little_late};
    send_for(&sender, 60);
    assert_found(0);
}

/* --- one thing wrong --- */

static void key_frames_far_apart(void **state) {
    (void)state;
    struct sender sender = {.gop_us = 8333333};
    send_for(&sender, 60);
    assert_found(1 << ADVICE_KEYFRAME_INTERVAL);
    assert_about(value_of(ADVICE_KEYFRAME_INTERVAL, ADVICE_WARN), 8.2, 8.4);
    assert_int_equal(sender.changes, 2); /* a hint, then a warning */
    sender.gop_us = SECOND;
    send_for(&sender, 30);
    assert_found(0);
    assert_int_equal(sender.changes, 3);
}

static void key_frames_at_three_seconds_are_a_hint(void **state) {
    (void)state;
    struct sender sender = {.gop_us = 3 * SECOND};
    send_for(&sender, 60);
    assert_found(1 << ADVICE_KEYFRAME_INTERVAL);
    value_of(ADVICE_KEYFRAME_INTERVAL, ADVICE_HINT);
}

static bool key_at_scene_cuts(uint32_t picture) {
    return picture % 60 == 0 || picture % 180 == 20 || picture % 300 == 33;
}

static void key_frames_at_odd_times(void **state) {
    (void)state;
    struct sender sender = {.is_key = key_at_scene_cuts};
    send_for(&sender, 60);
    assert_found(1 << ADVICE_KEYFRAME_IRREGULAR);
    sender.is_key = NULL;
    send_for(&sender, 30);
    assert_found(0);
}

static void b_frames(void **state) {
    (void)state;
    struct sender sender = {.reorder_us = 66667};
    send_for(&sender, 20);
    assert_found(1 << ADVICE_B_FRAMES);
    assert_about(value_of(ADVICE_B_FRAMES, ADVICE_HINT), 66, 67);
    sender.reorder_us = 0;
    send_for(&sender, 20);
    assert_found(0);
}

static int64_t in_bursts(int64_t dts_us, uint32_t picture) {
    (void)picture;
    return 300000 - dts_us % 300000; /* what was sent within 0.3 s arrives at once */
}

static void bursts_are_jitter(void **state) {
    (void)state;
    struct sender sender = {.late_us = in_bursts};
    send_for(&sender, 30);
    assert_found(1 << ADVICE_JITTER);
    assert_about(value_of(ADVICE_JITTER, ADVICE_HINT), 200, 400);
    sender.late_us = a_little_late;
    send_for(&sender, 40);
    assert_found(0);
}

static int64_t rare_hiccups(int64_t dts_us, uint32_t picture) {
    (void)picture;
    int64_t into_us = dts_us % (20 * SECOND);
    return into_us < 400000 ? 400000 - into_us : 0;
}

/* One packet that came again isn't worth a word. */
static void a_hiccup_now_and_then_is_no_jitter(void **state) {
    (void)state;
    struct sender sender = {.late_us = rare_hiccups};
    send_for(&sender, 120);
    assert_found(0);
    assert_int_equal(sender.changes, 0);
}

static uint32_t quiet_then_loud(int64_t dts_us, bool key) {
    uint32_t loud = dts_us / SECOND % 20 >= 14 ? 5 : 1;
    return loud * (key ? 40000 : 8000);
}

static void bitrate_that_follows_the_picture(void **state) {
    (void)state;
    struct sender sender = {.bytes = quiet_then_loud};
    send_for(&sender, 90);
    assert_found(1 << ADVICE_BITRATE_SWINGS);
    assert_about(value_of(ADVICE_BITRATE_SWINGS, ADVICE_HINT), 1.8, 3);
    sender.bytes = NULL;
    send_for(&sender, 90);
    assert_found(0);
}

static int64_t ever_later(int64_t dts_us, uint32_t picture) {
    (void)picture;
    int64_t since_us = dts_us - 30 * SECOND; /* from then on the line carries 90 % of what it should */
    return since_us > 0 ? since_us / 9 : 0;
}

static int64_t two_seconds_late(int64_t dts_us, uint32_t picture) {
    (void)dts_us, (void)picture;
    return 2 * SECOND;
}

static void an_uplink_that_chokes(void **state) {
    (void)state;
    struct sender sender = {.late_us = ever_later};
    send_for(&sender, 30);
    assert_found(0);
    send_for(&sender, 20); /* two seconds behind by now */
    assert_found(1 << ADVICE_UPLINK);
    assert_about(value_of(ADVICE_UPLINK, ADVICE_WARN), 1000, 2300);
    sender.late_us = two_seconds_late; /* the broadcaster drops what doesn't go */
    send_for(&sender, 20);
    assert_found(1 << ADVICE_UPLINK);
    sender.late_us = NULL;
    send_for(&sender, 60);
    assert_found(0);
    assert_int_equal(sender.changes, 3);
}

static int64_t queued_at_first(int64_t dts_us, uint32_t picture) {
    (void)picture;
    return dts_us < 4 * SECOND ? 4 * SECOND - dts_us : 0;
}

static void what_was_queued_while_it_connected_is_no_fault(void **state) {
    (void)state;
    struct sender sender = {.late_us = queued_at_first};
    send_for(&sender, 60);
    assert_found(0);
    assert_int_equal(sender.changes, 0);
}

static void no_sound(void **state) {
    (void)state;
    struct sender sender = {.no_audio = true};
    send_for(&sender, 4);
    assert_found(0);
    send_for(&sender, 6);
    assert_found(1 << ADVICE_AUDIO_MISSING);
    sender.no_audio = false;
    sender.audio_us = sender.video_us;
    send_for(&sender, 3);
    assert_found(0);
    sender.no_audio = true; /* and lost again */
    send_for(&sender, 10);
    assert_found(1 << ADVICE_AUDIO_MISSING);
}

static bool every_eighth(uint32_t picture) {
    return picture % 8 == 5;
}

static void pictures_that_are_missing(void **state) {
    (void)state;
    struct sender sender = {.missing = every_eighth};
    send_for(&sender, 60);
    assert_found(1 << ADVICE_FRAME_RATE);
    assert_about(value_of(ADVICE_FRAME_RATE, ADVICE_HINT), 12, 16);
    sender.missing = NULL;
    send_for(&sender, 60);
    assert_found(0);
}

static void another_frame_rate_is_none_that_is_uneven(void **state) {
    (void)state;
    struct sender sender = {.fps = 30};
    send_for(&sender, 30);
    sender.fps = 60;
    send_for(&sender, 60);
    assert_found(0);
    assert_int_equal(sender.changes, 0);
}

static void sound_stamped_elsewhere(void **state) {
    (void)state;
    struct sender sender = {.audio_ahead_us = -700000};
    send_for(&sender, 30);
    assert_found(1 << ADVICE_AV_OFFSET);
    assert_about(value_of(ADVICE_AV_OFFSET, ADVICE_HINT), -740, -660);
    struct sender ahead = {.audio_ahead_us = 1500000};
    advice_init(&advice);
    send_for(&ahead, 30);
    assert_about(value_of(ADVICE_AV_OFFSET, ADVICE_WARN), 1460, 1540);
}

static void times_that_are_repaired(void **state) {
    (void)state;
    struct sender sender = {0};
    for (uint64_t second = 0; second < 30; second++) {
        send_for(&sender, 1);
        advice_repairs(&advice, second);
    }
    assert_found(1 << ADVICE_TIMESTAMPS);
    assert_about(value_of(ADVICE_TIMESTAMPS, ADVICE_HINT), 25, 30);
    advice_repairs(&advice, 0); /* the timeline began anew */
    send_for(&sender, 50);
    assert_found(0);
}

/* --- which clock, and which track --- */

static void a_clock_that_begins_anew_is_measured_anew(void **state) {
    (void)state;
    struct sender sender = {.late_us = a_little_late};
    send_for(&sender, 30);
    sender.base_us -= 3600 * (int64_t)SECOND;
    sender.video_us += 3600 * (int64_t)SECOND;
    sender.audio_us += 3600 * (int64_t)SECOND;
    send_for(&sender, 30);
    sender.base_us += 7200 * (int64_t)SECOND; /* and back */
    sender.video_us -= 7200 * (int64_t)SECOND;
    sender.audio_us -= 7200 * (int64_t)SECOND;
    send_for(&sender, 30);
    assert_found(0);
    assert_int_equal(sender.changes, 0);
}

static void findings_outlive_a_clock(void **state) {
    (void)state;
    struct sender sender = {.gop_us = 5 * SECOND};
    send_for(&sender, 30);
    sender.base_us -= 3600 * (int64_t)SECOND;
    sender.video_us += 3600 * (int64_t)SECOND;
    sender.audio_us += 3600 * (int64_t)SECOND;
    send_for(&sender, 3);
    assert_found(1 << ADVICE_KEYFRAME_INTERVAL);
}

/* The default track says how he sends; others only count as bytes. */
static void other_tracks_are_not_judged(void **state) {
    (void)state;
    struct sender sender = {0}, other = {.track = 1, .gop_us = 10 * SECOND, .reorder_us = 100000, .no_audio = true};
    for (int second = 0; second < 30; second++) {
        send_for(&sender, 1);
        send_for(&other, 1);
    }
    assert_found(0);
    send_for(&other, 40); /* until it is all there is */
    assert_found(1 << ADVICE_KEYFRAME_INTERVAL | 1 << ADVICE_B_FRAMES | 1 << ADVICE_AUDIO_MISSING);
}

/* --- any input --- */

static void nonsense_is_survived(void **state) {
    (void)state;
    uint64_t seed = 1;
    int64_t now_us = 0;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(seed >> 33);
        now_us += r % 7 ? r % 50000 : r;
        int64_t odd = r % 11 == 0 ? (int64_t)(seed >> 8) : r % 13 == 0 ? -(int64_t)(seed >> 8) : now_us;
        struct advice_frame frame = {.kind = r & 8 ? TRACK_VIDEO : TRACK_AUDIO,
                                     .track = r % 3,
                                     .independent = r & 16,
                                     .bytes = r,
                                     .dts_us = odd,
                                     .pts_us = odd + r % 100000,
                                     .arrived_us = now_us};
        advice_frame(&advice, &frame);
        advice_repairs(&advice, seed >> 60);
        struct advice_finding finding;
        while (advice_next_change(&advice, &finding))
            assert_in_range(finding.code, 0, ADVICE_COUNT - 1);
    }
}

static void all_that_is_said_has_words(void **state) {
    (void)state;
    for (int code = 0; code < ADVICE_COUNT; code++) {
        assert_non_null(advice_code_name((enum advice_code)code));
        assert_non_null(advice_unit((enum advice_code)code));
        assert_true(strlen(advice_text((enum advice_code)code)) > 20);
    }
    assert_string_equal(advice_level_name(ADVICE_WARN), "warn");
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(who_sends_well_is_told_nothing),
        TEST(a_clock_that_drifts_is_no_uplink_that_chokes),
        TEST(sound_alone_is_judged_as_sound),
        TEST(key_frames_far_apart),
        TEST(key_frames_at_three_seconds_are_a_hint),
        TEST(key_frames_at_odd_times),
        TEST(b_frames),
        TEST(bursts_are_jitter),
        TEST(a_hiccup_now_and_then_is_no_jitter),
        TEST(bitrate_that_follows_the_picture),
        TEST(an_uplink_that_chokes),
        TEST(what_was_queued_while_it_connected_is_no_fault),
        TEST(no_sound),
        TEST(pictures_that_are_missing),
        TEST(another_frame_rate_is_none_that_is_uneven),
        TEST(sound_stamped_elsewhere),
        TEST(times_that_are_repaired),
        TEST(a_clock_that_begins_anew_is_measured_anew),
        TEST(findings_outlive_a_clock),
        TEST(other_tracks_are_not_judged),
        TEST(nonsense_is_survived),
        TEST(all_that_is_said_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
