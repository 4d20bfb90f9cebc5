#include "ingest/ladder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "common/base/loop.h"
#include "picture_fixture.h"

enum { DEADLINE_US = 20000000, RUNGS = 2 };

struct scene {
    struct loop *loop;
    struct loop_timer *deadline, *pace;
    struct source source;
    struct transcode_settings settings;
    struct ladder *ladder;
    struct rung_reader readers[RUNGS_MAX];
    bool ready, drained, destroy_when_drained;
    char why[64], dropped_why[64];
    uint32_t dropped; /* mask of rungs */
    uint32_t frames[RUNGS_MAX];
    uint32_t pushed, repeat; /* of the source; how often it is pushed as a whole */
    int64_t interval_us;
    atomic_int slow_rung, slow_ms;
    bool read_pictures;
};

static void on_deadline(void *ctx) {
    (void)ctx;
    fail_msg("nothing came");
}

static void on_ready(void *ctx, const struct transcode_output *outputs, const char *why) {
    struct scene *scene = ctx;
    scene->ready = true;
    snprintf(scene->why, sizeof scene->why, "%s", why ? why : "");
    for (uint32_t i = 0; !why && i < scene->settings.rung_count; i++)
        rung_reader_open(&scene->readers[i], &outputs[i]);
    loop_stop(scene->loop);
}

static void on_frame(void *ctx, const struct transcode_frame *frame) {
    struct scene *scene = ctx;
    assert_false(scene->drained);
    assert_false(scene->dropped & 1u << frame->rung);
    scene->frames[frame->rung]++;
    if (scene->read_pictures)
        rung_reader_take(&scene->readers[frame->rung], frame);
}

static void on_dropped(void *ctx, uint32_t rung, const char *why) {
    struct scene *scene = ctx;
    assert_false(scene->dropped & 1u << rung);
    scene->dropped |= 1u << rung;
    snprintf(scene->dropped_why, sizeof scene->dropped_why, "%s", why);
}

static void on_drained(void *ctx) {
    struct scene *scene = ctx;
    scene->drained = true;
    if (scene->destroy_when_drained) {
        ladder_destroy(scene->ladder);
        scene->ladder = NULL;
    }
    loop_stop(scene->loop);
}

static const struct ladder_events events = {on_ready, on_frame, on_dropped, on_drained};

static void on_encode(void *ctx, uint32_t rung) {
    struct scene *scene = ctx;
    if ((int)rung == atomic_load(&scene->slow_rung))
        nanosleep(&(struct timespec){.tv_nsec = atomic_load(&scene->slow_ms) * 1000000L}, NULL);
}

static void push_next(struct scene *scene) {
    const struct source_frame *frame = &scene->source.frames[scene->pushed % scene->source.count];
    struct transcode_slot slot = frame->slot;
    int64_t shift_ts = (int64_t)(scene->pushed / scene->source.count) * scene->source.count * FRAME_TS;
    slot.dts_ts += shift_ts;
    slot.pts_ts += shift_ts;
    for (int i = 0; i < RUNGS; i++)
        slot.numbers[i] = scene->pushed;
    scene->pushed++;
    ladder_push(scene->ladder, &slot, frame->data, frame->len);
}

/* A publisher's pace. */
static void on_pace(void *ctx) {
    struct scene *scene = ctx;
    push_next(scene);
    if (scene->pushed < scene->source.count * scene->repeat)
        loop_timer_set(scene->pace, scene->interval_us);
    else
        ladder_drain(scene->ladder);
}

static void begin(struct scene *scene, uint32_t pictures) {
    atomic_init(&scene->slow_rung, -1);
    source_make(&scene->source, pictures);
    scene->settings = source_settings(&scene->source);
    scene->settings.rung_count = RUNGS;
    scene->settings.rungs[0] = (struct rung){120, 300};
    scene->settings.rungs[1] = (struct rung){90, 100};
    scene->settings.on_encode = on_encode;
    scene->settings.on_encode_ctx = scene;
    scene->loop = loop_create();
    scene->deadline = loop_timer_create(scene->loop, on_deadline, scene);
    scene->pace = loop_timer_create(scene->loop, on_pace, scene);
    loop_timer_set(scene->deadline, DEADLINE_US);
}

static void start(struct scene *scene) {
    scene->ladder = ladder_create(scene->loop, &scene->settings, scene->source.frames[0].data,
                                  scene->source.frames[0].len, &events, scene);
    loop_run(scene->loop);
    assert_true(scene->ready);
}

static void end(struct scene *scene) {
    ladder_destroy(scene->ladder);
    loop_timer_destroy(scene->deadline);
    loop_timer_destroy(scene->pace);
    loop_destroy(scene->loop);
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        rung_reader_close(&scene->readers[i]);
    source_free(&scene->source);
}

static struct scene *new_scene(int b_frames) {
    struct scene *scene = calloc(1, sizeof *scene);
    scene->source = (struct source){.codec = CODEC_H264, .width = 320, .height = 180, .gop = 15, .b_frames = b_frames};
    return scene;
}

static void what_is_pushed_comes_back_in_each_rung(void **state) {
    (void)state;
    struct scene *scene = new_scene(2);
    begin(scene, 60);
    scene->read_pictures = true;
    start(scene);
    assert_string_equal(scene->why, "");
    while (scene->pushed < 60)
        push_next(scene);
    ladder_drain(scene->ladder);
    loop_run(scene->loop);
    assert_true(scene->drained);
    assert_int_equal(scene->dropped, 0);
    for (uint32_t r = 0; r < RUNGS; r++) {
        assert_int_equal(scene->readers[r].count, 60);
        for (uint32_t i = 0; i < 60; i++) {
            assert_int_equal(scene->readers[r].pictures[i].number, i);
            assert_int_equal(scene->readers[r].pictures[i].slot.numbers[r], i);
        }
    }
    end(scene);
    free(scene);
}

static void a_ladder_that_cannot_begin_says_why(void **state) {
    (void)state;
    struct scene *scene = new_scene(0);
    begin(scene, 2);
    scene->settings.encoder = "no-such-encoder";
    start(scene);
    assert_string_equal(scene->why, "the encoder can't be opened");
    push_next(scene); /* does no harm */
    end(scene);
    free(scene);
}

static void it_may_be_destroyed_at_work_and_within_its_own_call(void **state) {
    (void)state;
    struct scene *scene = new_scene(0);
    begin(scene, 60);
    scene->destroy_when_drained = true;
    start(scene);
    while (scene->pushed < 60)
        push_next(scene);
    ladder_drain(scene->ladder);
    loop_run(scene->loop);
    assert_null(scene->ladder);
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        rung_reader_close(&scene->readers[i]);
    scene->pushed = 0;
    scene->ready = false;
    start(scene);
    while (scene->pushed < 60)
        push_next(scene);
    end(scene);
    free(scene);
}

/* 60 pictures a second, one rung of which takes 40 ms: that one goes, and the other goes on. */
static void overload_drops_the_costliest_rung_and_holds_up_nobody(void **state) {
    (void)state;
    struct scene *scene = new_scene(0);
    begin(scene, 60);
    scene->repeat = 4;
    scene->interval_us = 16000;
    atomic_store(&scene->slow_rung, 1);
    atomic_store(&scene->slow_ms, 40);
    start(scene);
    loop_timer_set(scene->pace, 0);
    loop_run(scene->loop);
    assert_true(scene->drained);
    assert_int_equal(scene->dropped, 1u << 1);
    assert_string_equal(scene->dropped_why, "the machine can't keep up");
    assert_int_equal(scene->frames[0], 240);
    assert_true(scene->frames[1] < 240);
    end(scene);
    free(scene);
}

/* What a network held up comes all at once; that isn't a machine that can't keep up. */
static void a_burst_drops_nothing(void **state) {
    (void)state;
    struct scene *scene = new_scene(0);
    begin(scene, 30);
    atomic_store(&scene->slow_rung, 0);
    atomic_store(&scene->slow_ms, 25);
    start(scene);
    while (scene->pushed < 30)
        push_next(scene);
    ladder_drain(scene->ladder);
    loop_run(scene->loop);
    assert_int_equal(scene->dropped, 0);
    assert_int_equal(scene->frames[0], 30);
    end(scene);
    free(scene);
}

static void more_than_may_wait_drops_all(void **state) {
    (void)state;
    struct scene *scene = new_scene(0);
    begin(scene, 60);
    atomic_store(&scene->slow_rung, 0);
    atomic_store(&scene->slow_ms, 200);
    start(scene);
    while (scene->pushed < LADDER_FRAMES_MAX + 60)
        push_next(scene);
    ladder_drain(scene->ladder);
    loop_run(scene->loop);
    assert_int_equal(scene->dropped, 3);
    end(scene);
    free(scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pushed_comes_back_in_each_rung),
        cmocka_unit_test(a_ladder_that_cannot_begin_says_why),
        cmocka_unit_test(it_may_be_destroyed_at_work_and_within_its_own_call),
        cmocka_unit_test(overload_drops_the_costliest_rung_and_holds_up_nobody),
        cmocka_unit_test(a_burst_drops_nothing),
        cmocka_unit_test(more_than_may_wait_drops_all),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
