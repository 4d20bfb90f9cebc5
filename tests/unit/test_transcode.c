#include "ingest/transcode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "picture_fixture.h"

enum { RUNGS = 2 };

struct scene {
    struct source source;
    struct transcode *transcode;
    struct rung_reader readers[RUNGS_MAX];
};

static void on_emit(void *ctx, const struct transcode_frame *frame) {
    struct scene *scene = ctx;
    rung_reader_take(&scene->readers[frame->rung], frame);
}

static void begin(struct scene *scene, const struct rung *rungs, uint32_t count, uint32_t pictures) {
    const char *why;
    source_make(&scene->source, pictures);
    struct transcode_settings settings = source_settings(&scene->source);
    settings.rung_count = count;
    memcpy(settings.rungs, rungs, count * sizeof *rungs);
    assert_int_equal(transcode_create(&settings, scene->source.frames[0].data, scene->source.frames[0].len, on_emit,
                                      scene, &scene->transcode, &why),
                     0);
    for (uint32_t i = 0; i < count; i++)
        rung_reader_open(&scene->readers[i], transcode_output(scene->transcode, i));
}

static void give(struct scene *scene, uint32_t i) {
    const struct source_frame *frame = &scene->source.frames[i];
    transcode_frame(scene->transcode, &frame->slot, frame->data, frame->len);
}

static void end(struct scene *scene) {
    transcode_destroy(scene->transcode);
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        rung_reader_close(&scene->readers[i]);
    source_free(&scene->source);
}

/* Slots are the source's, and so are the times of pictures, sorted; key frames are where the source's are. */
static void check_times(const struct scene *scene, uint32_t rung, uint32_t count) {
    const struct rung_reader *r = &scene->readers[rung];
    assert_int_equal(r->count, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct transcode_slot *slot = &scene->source.frames[i].slot;
        const struct picture_out *out = &r->pictures[i];
        assert_int_equal(out->dts_ts, slot->dts_ts);
        assert_int_equal(out->independent, slot->independent);
        assert_int_equal(out->slot.numbers[rung], i);
        assert_true(out->pts_ts >= out->dts_ts);
        assert_true(!i || out->pts_ts > r->pictures[i - 1].pts_ts);
        if (slot->independent)
            assert_int_equal(out->pts_ts, slot->pts_ts);
    }
}

static void check_numbers(const struct scene *scene, uint32_t rung, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(scene->readers[rung].pictures[i].number, i);
}

static const struct rung two[RUNGS] = {{180, 400}, {90, 100}};

static void transcode_all(enum codec codec, int b_frames, uint32_t pictures) {
    struct scene scene = {.source = {.codec = codec, .width = 480, .height = 270, .gop = 25, .b_frames = b_frames}};
    begin(&scene, two, RUNGS, pictures);
    for (uint32_t i = 0; i < pictures; i++) {
        give(&scene, i);
        for (uint32_t r = 0; r < RUNGS && !b_frames; r++)
            assert_int_equal(scene.readers[r].count, i + 1); /* nothing waits */
    }
    transcode_drain(scene.transcode);
    for (uint32_t r = 0; r < RUNGS; r++) {
        check_times(&scene, r, pictures);
        check_numbers(&scene, r, pictures);
    }
    assert_int_equal(transcode_repeated(scene.transcode), 0);
    end(&scene);
}

static void each_source_frame_comes_out_once_a_rung(void **state) {
    (void)state;
    transcode_all(CODEC_H264, 0, 90);
}

static void with_b_frames_pictures_come_in_the_order_in_which_they_are_shown(void **state) {
    (void)state;
    transcode_all(CODEC_H264, 2, 90);
}

/* As the packager has it: each second picture, counted from key frames. */
static void halve(struct source *source, uint32_t rung, uint32_t ends) {
    for (uint32_t i = 0, since = 0, number = 0; i < source->count; i++) {
        struct transcode_slot *slot = &source->frames[i].slot;
        since = slot->independent || i == ends ? 0 : since + 1;
        if (since % 2)
            slot->rungs &= ~(1u << rung);
        else
            slot->numbers[rung] = number++;
    }
}

/* Pictures of half the rate follow each other without a gap, in the order in which they are shown, wherever a part
 * ends. */
static void transcode_half(int gop, int b_frames, uint32_t ends, uint32_t want) {
    struct scene scene = {
        .source = {.codec = CODEC_H264, .width = 480, .height = 270, .gop = gop, .b_frames = b_frames}};
    enum { PICTURES = 61 };
    begin(&scene, (struct rung[]){{180, 400}, {.height = 90, .kbps = 150, .every = 2}}, RUNGS, PICTURES);
    halve(&scene.source, 1, ends);
    const struct rung_reader *r = &scene.readers[1];
    for (uint32_t i = 0; i < PICTURES; i++) {
        give(&scene, i);
        bool settled = i && !(scene.source.frames[i].slot.rungs & 2); /* both halves have been there */
        if (!b_frames && settled)
            assert_int_equal(r->pictures[r->count - 1].slot.numbers[1], scene.source.frames[i - 1].slot.numbers[1]);
    }
    transcode_drain(scene.transcode);
    check_times(&scene, 0, PICTURES);
    check_numbers(&scene, 0, PICTURES);
    assert_int_equal(r->count, want);
    int64_t end_ts = scene.source.frames[0].slot.dts_ts;
    uint32_t n = 0;
    for (uint32_t i = 0; i < PICTURES; i++) {
        const struct transcode_slot *slot = &scene.source.frames[i].slot;
        if (!(slot->rungs & 2))
            continue;
        const struct picture_out *out = &r->pictures[n];
        assert_int_equal(out->dts_ts, slot->dts_ts);
        assert_int_equal(out->dts_ts, end_ts);
        assert_int_equal(out->independent, slot->independent);
        assert_int_equal(out->slot.numbers[1], n++);
        assert_int_equal(out->number, i);
        end_ts += out->slot.duration_ts;
    }
    assert_int_equal(end_ts, scene.source.frames[PICTURES - 1].slot.dts_ts + FRAME_TS);
    end(&scene);
}

static void a_rung_of_half_the_rate_has_each_second_picture(void **state) {
    (void)state;
    transcode_half(30, 0, 0, 31);
    transcode_half(15, 0, 0, 33); /* key frames at odd ones, too: 8 + 8 + 8 + 8 + 1 */
    transcode_half(60, 0, 7, 32); /* a part ends before its time */
    transcode_half(30, 2, 0, 31);
}

static void hevc_is_a_source(void **state) {
    (void)state;
    transcode_all(CODEC_HEVC, 0, 30);
    transcode_all(CODEC_HEVC, 2, 60);
}

static void vp9_is_a_source(void **state) {
    (void)state;
    transcode_all(CODEC_VP9, 0, 30);
}

static void av1_is_a_source(void **state) {
    (void)state;
    transcode_all(CODEC_AV1, 0, 10);
}

static void it_goes_on_after_a_drain(void **state) {
    (void)state;
    struct scene scene = {.source = {.codec = CODEC_H264, .width = 320, .height = 180, .gop = 10, .b_frames = 2}};
    begin(&scene, (struct rung[]){{90, 100}}, 1, 40);
    for (uint32_t i = 0; i < 40; i++) {
        if (i == 20)
            transcode_drain(scene.transcode);
        if (i == 20)
            assert_int_equal(scene.readers[0].count, 20);
        give(&scene, i);
    }
    transcode_drain(scene.transcode);
    check_times(&scene, 0, 40);
    check_numbers(&scene, 0, 40);
    end(&scene);
}

/* What can't be decoded is stood in for, each frame at its time, and from the next key frame on all is as before. */
static void damage_is_bridged_until_the_next_key_frame(void **state) {
    (void)state;
    struct scene scene = {.source = {.codec = CODEC_H264, .width = 320, .height = 180, .gop = 20, .b_frames = 0}};
    begin(&scene, (struct rung[]){{90, 100}}, 1, 60);
    for (uint32_t i = 0; i < 60; i++) {
        struct source_frame *frame = &scene.source.frames[i];
        if (i == 27) /* lengths that add up, and no picture within */
            memset(frame->data + 4, 0x41, frame->len - 4);
        give(&scene, i);
        assert_int_equal(scene.readers[0].count, i + 1); /* at once */
    }
    transcode_drain(scene.transcode);
    check_times(&scene, 0, 60);
    const struct picture_out *out = scene.readers[0].pictures;
    for (uint32_t i = 0; i < 27; i++)
        assert_int_equal(out[i].number, i);
    for (uint32_t i = 40; i < 60; i++)
        assert_int_equal(out[i].number, i);
    for (uint32_t i = 27; i < 40; i++)
        assert_int_equal(out[i].number, 26);
    assert_int_equal(transcode_repeated(scene.transcode), 13);
    end(&scene);
}

/* A decoder may say nothing at all. */
static void a_frame_without_a_picture_comes_out_too(void **state) {
    (void)state;
    static const uint8_t delimiter[] = {0, 0, 0, 2, 0x09, 0xf0};
    struct scene scene = {.source = {.codec = CODEC_H264, .width = 320, .height = 180, .gop = 20, .b_frames = 0}};
    begin(&scene, (struct rung[]){{90, 100}}, 1, 30);
    for (uint32_t i = 0; i < 30; i++) {
        struct source_frame *frame = &scene.source.frames[i];
        if (i == 10 || i == 29)
            memcpy(frame->data, delimiter, frame->len = sizeof delimiter);
        give(&scene, i);
    }
    transcode_drain(scene.transcode);
    check_times(&scene, 0, 30);
    assert_true(transcode_repeated(scene.transcode) >= 2);
    end(&scene);
}

static void a_key_frame_that_is_damaged_is_bridged_too(void **state) {
    (void)state;
    struct scene scene = {.source = {.codec = CODEC_H264, .width = 320, .height = 180, .gop = 20, .b_frames = 2}};
    begin(&scene, (struct rung[]){{90, 100}}, 1, 60);
    for (uint32_t i = 0; i < 60; i++) {
        struct source_frame *frame = &scene.source.frames[i];
        if (i == 20)
            memset(frame->data + 4, 0x65, frame->len - 4);
        give(&scene, i);
    }
    transcode_drain(scene.transcode);
    check_times(&scene, 0, 60);
    for (uint32_t i = 40; i < 60; i++)
        assert_int_equal(scene.readers[0].pictures[i].number, i);
    end(&scene);
}

/* Frames whose lengths add up and whose slices are anything. Pictures may be, too, but not how many there are, and
 * when. */
static void whatever_is_in_frames_each_comes_out_once(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct scene scene = {.source = {.codec = CODEC_H264, .width = 160, .height = 96, .gop = 15}};
        scene.source.b_frames = seed % 2 ? 2 : 0;
        begin(&scene, (struct rung[]){{48, 60}}, 1, 90);
        srand(seed);
        for (uint32_t i = 0; i < 90; i++) {
            struct source_frame *frame = &scene.source.frames[i];
            for (int n = rand() % 4 ? 0 : rand() % 20; n > 0; n--)
                frame->data[4 + (size_t)rand() % (frame->len - 4)] ^= (uint8_t)(1 << rand() % 8);
            give(&scene, i);
        }
        transcode_drain(scene.transcode);
        assert_false(transcode_closed(scene.transcode, 0));
        const struct rung_reader *r = &scene.readers[0];
        assert_int_equal(r->count, 90);
        for (uint32_t i = 0; i < 90; i++) {
            assert_int_equal(r->pictures[i].dts_ts, scene.source.frames[i].slot.dts_ts);
            assert_int_equal(r->pictures[i].independent, scene.source.frames[i].slot.independent);
            assert_true(!i || r->pictures[i].pts_ts > r->pictures[i - 1].pts_ts);
        }
        end(&scene);
    }
}

static void check_size(int width, int height, uint16_t rung, uint16_t want_width, uint16_t want_height) {
    struct scene scene = {.source = {.codec = CODEC_H264, .width = width, .height = height, .gop = 25}};
    begin(&scene, (struct rung[]){{rung, 200}}, 1, 2);
    const struct transcode_output *output = transcode_output(scene.transcode, 0);
    struct codec_info info;
    const char *why;
    assert_int_equal(codec_describe(CODEC_H264, output->config, output->config_len, &info, &why), 0);
    assert_int_equal(info.width, want_width);
    assert_int_equal(info.height, want_height);
    assert_int_equal(output->width, want_width);
    assert_true(info.has_reorder_hints);
    end(&scene);
}

static void a_height_is_that_of_the_shorter_side(void **state) {
    (void)state;
    check_size(640, 360, 180, 320, 180);
    check_size(360, 640, 180, 180, 320);
    check_size(640, 360, 100, 178, 100);
    check_size(854, 480, 240, 428, 240);
}

static void colours_and_aspect_are_the_sources(void **state) {
    (void)state;
    struct scene scene = {.source = {.codec = CODEC_H264,
                                     .width = 360,
                                     .height = 288,
                                     .gop = 25,
                                     .range = AVCOL_RANGE_JPEG,
                                     .aspect = {16, 15}}};
    begin(&scene, (struct rung[]){{144, 300}}, 1, 4);
    for (uint32_t i = 0; i < 4; i++)
        give(&scene, i);
    const AVFrame *picture = scene.readers[0].frame;
    assert_int_equal(picture->color_range, AVCOL_RANGE_JPEG);
    assert_int_equal(picture->colorspace, AVCOL_SPC_SMPTE170M);
    assert_int_equal(picture->sample_aspect_ratio.num, 16);
    assert_int_equal(picture->sample_aspect_ratio.den, 15);
    assert_true(picture->data[0][picture->linesize[0] * 70 + 20] > 245); /* white stays white: bit 0 of 3 */
    end(&scene);
}

static void check_range(enum codec codec, enum AVColorTransferCharacteristic transfer, enum video_range want) {
    struct scene scene = {.source = {.codec = codec, .width = 320, .height = 180, .gop = 25, .transfer = transfer}};
    struct codec_info info;
    const char *why;
    begin(&scene, (struct rung[]){{90, 200}}, 1, 2);
    const struct transcode_output *output = transcode_output(scene.transcode, 0);
    assert_int_equal(codec_describe(codec, scene.source.config, scene.source.config_len, &info, &why), 0);
    assert_int_equal(info.range, want);
    assert_int_equal(codec_describe(CODEC_H264, output->config, output->config_len, &info, &why), 0);
    assert_int_equal(info.range, want);
    end(&scene);
}

static void a_rungs_dynamic_range_is_the_sources(void **state) {
    (void)state;
    check_range(CODEC_H264, AVCOL_TRC_UNSPECIFIED, VIDEO_SDR);
    check_range(CODEC_H264, AVCOL_TRC_BT709, VIDEO_SDR);
    check_range(CODEC_H264, AVCOL_TRC_SMPTE2084, VIDEO_PQ);
    check_range(CODEC_HEVC, AVCOL_TRC_SMPTE2084, VIDEO_PQ);
    check_range(CODEC_HEVC, AVCOL_TRC_ARIB_STD_B67, VIDEO_HLG);
}

static void a_rung_that_is_closed_leaves_the_others(void **state) {
    (void)state;
    struct scene scene = {.source = {.codec = CODEC_H264, .width = 480, .height = 270, .gop = 25}};
    begin(&scene, two, RUNGS, 30);
    for (uint32_t i = 0; i < 30; i++) {
        if (i == 10)
            transcode_close(scene.transcode, 0);
        give(&scene, i);
    }
    assert_true(transcode_closed(scene.transcode, 0));
    assert_int_equal(scene.readers[0].count, 10);
    check_times(&scene, 1, 30);
    assert_true(transcode_busy_us(scene.transcode, 1) > 0);
    end(&scene);
}

static void what_cannot_be_begun_with_is_refused(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 180, .gop = 25};
    const char *why;
    struct transcode *transcode;
    source_make(&source, 2);
    struct transcode_settings settings = source_settings(&source);
    settings.rung_count = 1;
    settings.rungs[0] = (struct rung){90, 100};
    settings.encoder = "no-such-encoder";
    assert_int_equal(transcode_create(&settings, source.frames[0].data, source.frames[0].len, on_emit, NULL, &transcode,
                                      &why),
                     -EINVAL);
    assert_string_equal(why, "the encoder can't be opened");
    settings.encoder = "libx264";
    assert_int_equal(transcode_create(&settings, (const uint8_t *)"\0\0\0\4eabc", 8, on_emit, NULL, &transcode, &why),
                     -EINVAL);
    assert_string_equal(why, "the source's first picture can't be decoded");
    source_free(&source);
}

const char *__lsan_default_suppressions(void); /* what encodes the tests' sources leaks */
const char *__lsan_default_suppressions(void) {
    return "leak:libx265";
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_source_frame_comes_out_once_a_rung),
        cmocka_unit_test(with_b_frames_pictures_come_in_the_order_in_which_they_are_shown),
        cmocka_unit_test(a_rung_of_half_the_rate_has_each_second_picture),
        cmocka_unit_test(hevc_is_a_source),
        cmocka_unit_test(vp9_is_a_source),
        cmocka_unit_test(av1_is_a_source),
        cmocka_unit_test(it_goes_on_after_a_drain),
        cmocka_unit_test(damage_is_bridged_until_the_next_key_frame),
        cmocka_unit_test(a_frame_without_a_picture_comes_out_too),
        cmocka_unit_test(a_key_frame_that_is_damaged_is_bridged_too),
        cmocka_unit_test(whatever_is_in_frames_each_comes_out_once),
        cmocka_unit_test(a_height_is_that_of_the_shorter_side),
        cmocka_unit_test(colours_and_aspect_are_the_sources),
        cmocka_unit_test(a_rungs_dynamic_range_is_the_sources),
        cmocka_unit_test(a_rung_that_is_closed_leaves_the_others),
        cmocka_unit_test(what_cannot_be_begun_with_is_refused),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
