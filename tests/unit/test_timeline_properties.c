/* What holds of every timeline, whatever a publisher's clock does (time_faults.h): over thousands of random streams. */
#include "ingest/timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "time_faults.h"

static const int64_t epoch_us = 1790000000ll * 1000000;

enum {
    HOLE_MAX_MS = 2000,
    BEFORE_US = 5000000,     /* of a healthy stream, then a fault */
    HEALTHY_US = 2500000,    /* so long after a fault all is as it should be */
    SYNC_US = 50000,         /* that sound and picture may be further apart than they were */
    BESIDE_US = 200000,      /* … where the sound had to be put beside the picture */
    AHEAD_MAX_US = 1100000,  /* of the clock: a step's worth */
    AHEAD_ANY_US = 12000000, /* however many there are */
};

struct track {
    uint32_t hz, frames, dropped;
    int64_t end_ts;   /* as declared */
    int64_t shift_us; /* media time minus true time, of the latest frame that is right */
    bool placed;
};

struct run {
    uint32_t seed;
    const char *fault;
    struct fault_source source;
    struct timeline timeline;
    bool begun, healthy; /* healthy: long enough after the fault */
    int64_t start_us, fault_us, healthy_us;
    struct track tracks[2]; /* by kind */
    struct track following; /* another picture, at half the rate, on the same clock */
    bool follows;
    uint32_t breaks, unsteady; /* unsteady: frames of a healthy stream that don't follow exactly */
    int64_t ahead_us;
};

static uint32_t failures;

static void expect(const struct run *run, bool holds, const char *what) {
    const struct fault_source *s = &run->source;
    if (holds || ++failures > 30)
        return;
    print_error(
        "not %s: seed %u, %u/%u fps%s, %u Hz of %u, B %u, unit %u, jitter %lld, fault %s of %lld us; frames %u+%u, "
        "breaks %u, unsteady %u, dropped %u+%u, apart %lld, ahead %lld\n",
        what, run->seed, s->rate.frames, s->rate.per_s, s->variable ? " variable" : "", s->sound.hz, s->sound.samples,
        s->b_frames, s->unit_us, (long long)s->jitter_us, run->fault, (long long)s->size_us, run->tracks[0].frames,
        run->tracks[1].frames, run->breaks, run->unsteady, run->tracks[0].dropped, run->tracks[1].dropped,
        (long long)(run->tracks[0].shift_us - run->tracks[1].shift_us), (long long)run->ahead_us);
}

#define EXPECT(run, what) expect(run, what, #what)

static struct run begin(uint32_t seed, enum fault fault) {
    struct run run = {.seed = seed, .fault = fault_names[fault], .healthy_us = INT64_MAX};
    fault_source_init(&run.source, seed);
    return run;
}

static void init(struct run *run) {
    const struct fault_source *s = &run->source;
    timeline_init(&run->timeline, HOLE_MAX_MS);
    if (s->has_video)
        timeline_add_video(&run->timeline, s->variable ? 0 : s->rate.milli);
    if (s->has_audio)
        timeline_add_audio(&run->timeline, s->sound.hz);
    if (run->follows)
        timeline_add_video(&run->timeline, s->rate.milli / 2);
    run->tracks[TRACK_VIDEO].hz = TIMELINE_VIDEO_HZ;
    run->tracks[TRACK_AUDIO].hz = s->sound.hz;
}

static void placed(struct run *run, const struct fault_frame *frame, const struct timeline_time *time) {
    struct track *track = &run->tracks[frame->kind];
    bool whole = frame->kind == TRACK_AUDIO || (time->exact && !run->source.variable);
    EXPECT(run, time->duration_ts > 0);
    EXPECT(run, !track->placed || time->dts_ts >= track->end_ts);
    EXPECT(run, time->pts_ts >= time->dts_ts);
    if (run->healthy && !run->source.variable && (!whole || time->dts_ts != track->end_ts))
        run->unsteady++;
    track->placed = true;
    track->end_ts = time->dts_ts + time->duration_ts;
    int64_t media_us = timeline_us(time->dts_ts, track->hz) - epoch_us;
    if (!frame->faulty)
        track->shift_us = media_us - fault_drifted(&run->source, frame->true_us);
    if (media_us - frame->arrived_us > run->ahead_us)
        run->ahead_us = media_us - frame->arrived_us;
}

/* The same picture once more. */
static void follow(struct run *run, const struct fault_frame *frame, const struct timeline_stamp *stamp) {
    struct track *track = &run->following;
    struct timeline_time time;
    if (timeline_frame(&run->timeline, 2, stamp, epoch_us + frame->arrived_us, &time) != TIMELINE_OK) {
        track->dropped++;
        return;
    }
    EXPECT(run, time.duration_ts > 0 && time.dts_ts >= track->end_ts && time.pts_ts >= time.dts_ts);
    track->end_ts = time.dts_ts + time.duration_ts;
    track->shift_us =
        timeline_us(time.dts_ts, TIMELINE_VIDEO_HZ) - epoch_us - fault_drifted(&run->source, frame->true_us);
}

/* One frame. Nothing is fed before the first picture, as the publisher does it. */
static void step(struct run *run) {
    bool under_way = run->source.fault != FAULT_NONE;
    struct fault_frame frame;
    struct timeline_time time;
    fault_next(&run->source, &frame);
    if (under_way && run->source.fault == FAULT_NONE)
        run->healthy_us = frame.true_us + HEALTHY_US;
    run->healthy = frame.true_us >= run->healthy_us && run->source.fault == FAULT_NONE;
    bool leads = frame.kind == TRACK_VIDEO || !run->source.has_video;
    if (!run->begun && !leads)
        return;
    if (!run->begun)
        timeline_map(&run->timeline, frame.dts_us, epoch_us + frame.arrived_us, 0);
    run->begun = true;
    struct track *track = &run->tracks[frame.kind];
    track->frames++;
    const struct timeline_stamp stamp = {frame.dts_us, frame.pts_us, run->source.sound.samples};
    enum timeline_verdict verdict = timeline_frame(&run->timeline, !leads, &stamp, epoch_us + frame.arrived_us, &time);
    run->breaks += verdict == TIMELINE_BREAK;
    track->dropped += verdict == TIMELINE_DROP;
    run->unsteady += run->healthy && verdict != TIMELINE_OK;
    if (verdict != TIMELINE_DROP)
        placed(run, &frame, &time);
    if (run->follows && frame.kind == TRACK_VIDEO && frame.number % 2 == 0)
        follow(run, &frame, &stamp);
}

static void until(struct run *run, int64_t us) {
    while (run->source.last_arrived_us < us)
        step(run);
}

static int64_t apart(const struct run *run) {
    if (!run->source.has_video || !run->source.has_audio)
        return 0;
    return run->tracks[TRACK_VIDEO].shift_us - run->tracks[TRACK_AUDIO].shift_us;
}

static bool large(enum fault fault) {
    return fault > FAULT_SMALL_END;
}

/* How long a fault lasts, on the publisher's own clock. */
static int64_t lasts_us(const struct fault_source *source, enum fault fault) {
    bool by_time = fault == FAULT_SOUND_MISSING || fault == FAULT_SHORT_SILENCE || fault == FAULT_PICTURE_MISSING;
    return by_time ? source->size_us : source->left * 50000;
}

static void one_fault(struct run *run, enum fault fault) {
    init(run);
    until(run, BEFORE_US);
    int64_t before_us = apart(run);
    EXPECT(run, llabs(before_us) <= SYNC_US);
    fault_begin(&run->source, fault, BEFORE_US);
    until(run, BEFORE_US + lasts_us(&run->source, fault) + HEALTHY_US + 3000000);
    EXPECT(run, run->source.fault == FAULT_NONE);
    EXPECT(run, run->breaks == large(fault));
    EXPECT(run, run->unsteady == 0);
    EXPECT(run, llabs(apart(run) - before_us) <= (fault == FAULT_SOUND_STEP ? BESIDE_US : SYNC_US));
    EXPECT(run, run->ahead_us <= AHEAD_MAX_US);
    EXPECT(run, run->tracks[TRACK_VIDEO].dropped == 0);
}

static void each_fault_is_repaired(void **state) {
    (void)state;
    failures = 0;
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < 300; seed++) {
            struct run run = begin(seed, fault);
            one_fault(&run, fault);
        }
    assert_int_equal(failures, 0);
}

static void each_fault_of_a_variable_rate_is_repaired(void **state) {
    (void)state;
    failures = 0;
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < 100; seed++) {
            struct run run = begin(seed, fault);
            run.source.variable = true;
            one_fault(&run, fault);
        }
    assert_int_equal(failures, 0);
}

/* A second picture keeps beside the first, whatever befalls the clock that they have in common. */
static void each_fault_leaves_pictures_together(void **state) {
    (void)state;
    failures = 0;
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < 100; seed++) {
            struct run run = begin(seed, fault);
            run.follows = true;
            one_fault(&run, fault);
            EXPECT(&run, llabs(run.following.shift_us - run.tracks[TRACK_VIDEO].shift_us) <= 2 * SYNC_US);
            EXPECT(&run, run.following.dropped <= 60);
        }
    assert_int_equal(failures, 0);
}

/* The picture alone, and the sound alone: the clock's own faults. */
static void each_fault_of_one_track_is_repaired(void **state) {
    static const enum fault faults[] = {FAULT_STEP_BACK, FAULT_STEP_FORWARD, FAULT_SHORT_SILENCE, FAULT_JUMP_BACK,
                                        FAULT_JUMP_FORWARD};
    (void)state;
    failures = 0;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (uint32_t seed = 0; seed < 300; seed++) {
            struct run run = begin(seed, faults[i]);
            run.source.has_video = seed % 2;
            run.source.has_audio = !run.source.has_video;
            one_fault(&run, faults[i]);
        }
    assert_int_equal(failures, 0);
}

/* All faults, any number of times, now and then before the last one is repaired. */
static void any_faults_leave_a_healthy_stream(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 400; seed++) {
        struct run run = begin(seed, FAULT_NONE);
        run.fault = "any";
        run.source.variable = seed % 4 == 3;
        init(&run);
        uint32_t larges = 0;
        bool sound_jumped = false;
        int64_t at_us = BEFORE_US;
        for (int i = 0; i < 20; i++) {
            enum fault fault = 1 + fault_random(&run.source, FAULT_COUNT - 1);
            if (fault == FAULT_SMALL_END)
                continue;
            fault_begin(&run.source, fault, at_us);
            while (run.source.fault != FAULT_NONE)
                step(&run);
            larges += large(fault);
            sound_jumped |= fault == FAULT_SOUND_STEP;
            at_us = run.source.last_arrived_us + fault_between(&run.source, 0, 8000000);
        }
        run.unsteady = 0;
        run.healthy_us = run.source.last_arrived_us + 2 * HEALTHY_US;
        until(&run, run.healthy_us + 4000000);
        EXPECT(&run, run.breaks <= larges + 2);
        EXPECT(&run, run.unsteady == 0);
        EXPECT(&run,
               llabs(apart(&run)) <= (sound_jumped ? 1000000 : 0) + BESIDE_US); /* less than a jump is its own affair */
        EXPECT(&run, run.ahead_us <= AHEAD_ANY_US);
    }
    assert_int_equal(failures, 0);
}

/* Bases that disagree from the start on by more than any encoder's delay. */
static void sound_on_a_clock_of_its_own_goes_beside_the_picture(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct run run = begin(seed, FAULT_NONE);
        run.source.sound_off_us = fault_between(&run.source, seed % 2 ? 2700 : 10500, seed % 4 < 2 ? 20000 : 16000000) *
                                  (seed % 2 ? 1000 : -1000);
        init(&run);
        run.healthy_us = HEALTHY_US;
        until(&run, 10000000);
        EXPECT(&run, run.breaks == 0);
        EXPECT(&run, run.unsteady == 0);
        EXPECT(&run, llabs(apart(&run)) <= BESIDE_US);
    }
    assert_int_equal(failures, 0);
}

/* Clocks that are off by up to a thousandth, for an hour: what is slow is mapped anew each time that a second is lost;
 * what is fast is ahead, by no more than that. */
static void drifting_clocks_stay_near_the_hour(void **state) {
    static const int32_t ppm[] = {-1000, -200, -50, 50, 200, 1000};
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 6; seed++) {
        struct run run = begin(seed, FAULT_NONE);
        run.source.drift_ppm = ppm[seed];
        run.fault = "drift";
        init(&run);
        until(&run, 3600000000);
        int64_t drift_us = 3600 * (int64_t)ppm[seed];
        uint32_t least = drift_us < 0 ? (uint32_t)(-drift_us / 1200000) : 0,
                 most = drift_us < 0 ? (uint32_t)(-drift_us / 1000000) : 0;
        EXPECT(&run, run.breaks >= least && run.breaks <= most);
        EXPECT(&run, run.ahead_us <= (drift_us > 0 ? drift_us : 0) + AHEAD_MAX_US);
        EXPECT(&run, llabs(apart(&run)) <= SYNC_US);
    }
    assert_int_equal(failures, 0);
}

/* At every nominal rate, by either clock: all durations are exact, none is left out, and after hours the sum is off by
 * less than a frame. */
static void clean_streams_lose_nothing_in_hours(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t i = 0; i < 2 * sizeof fault_rates / sizeof *fault_rates; i++) {
        struct run run = begin(i, FAULT_NONE);
        run.source.rate = fault_rates[i / 2];
        run.source.unit_us = i % 2 ? 1000 : 11;
        run.fault = "clean";
        run.healthy_us = 0;
        init(&run);
        until(&run, 200000);
        int64_t video_us = run.tracks[TRACK_VIDEO].shift_us, audio_us = run.tracks[TRACK_AUDIO].shift_us;
        run.unsteady = 0; /* a track's first frame has no predecessor */
        until(&run, 3600000000);
        EXPECT(&run, run.unsteady == 0 && run.breaks == 0);
        EXPECT(&run, run.timeline.moved == 0);
        EXPECT(&run, llabs(run.tracks[TRACK_VIDEO].shift_us - video_us) < 1000);
        EXPECT(&run, llabs(run.tracks[TRACK_AUDIO].shift_us - audio_us) < 1000);
    }
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_is_repaired),
        cmocka_unit_test(each_fault_of_a_variable_rate_is_repaired),
        cmocka_unit_test(each_fault_of_one_track_is_repaired),
        cmocka_unit_test(each_fault_leaves_pictures_together),
        cmocka_unit_test(any_faults_leave_a_healthy_stream),
        cmocka_unit_test(sound_on_a_clock_of_its_own_goes_beside_the_picture),
        cmocka_unit_test(drifting_clocks_stay_near_the_hour),
        cmocka_unit_test(clean_streams_lose_nothing_in_hours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
