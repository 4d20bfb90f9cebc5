#include "relay/thumb_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>
#include <stdlib.h>
#include <string.h>

#include "common/media/cmaf.h"
#include "ingest/mux.h"
#include "tests/unit/codec_samples.h"
#include "tests/unit/thumb_fixture.h"

/* --- JPEGs, read by libavcodec --- */

static AVFrame *read_jpeg(const struct blob *jpeg) {
    AVCodecContext *decoder = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_MJPEG));
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    assert_int_equal(avcodec_open2(decoder, NULL, NULL), 0);
    assert_int_equal(av_new_packet(packet, (int)jpeg->len), 0);
    memcpy(packet->data, jpeg->data, jpeg->len);
    assert_int_equal(avcodec_send_packet(decoder, packet), 0);
    assert_int_equal(avcodec_receive_frame(decoder, frame), 0);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    return frame;
}

static void expect_jpeg(const struct blob *jpeg, int width, int height) {
    AVFrame *frame = read_jpeg(jpeg);
    assert_int_equal(frame->width, width);
    assert_int_equal(frame->height, height);
    av_frame_free(&frame);
}

static void expect_size(uint32_t wanted, int width, int height) {
    struct thumb_sample sample = thumb_sample_load("h264");
    struct blob *jpeg = NULL;
    assert_int_equal(thumb_image_make(sample.init, &sample.chunk, wanted, &jpeg), 0);
    expect_jpeg(jpeg, width, height);
    blob_unref(jpeg);
    thumb_sample_free(&sample);
}

static void as_wide_as_asked_and_never_wider_than_the_source(void **state) {
    (void)state;
    expect_size(160, 160, 120); /* as it is shown: 384x288 */
    expect_size(320, 320, 240);
    expect_size(640, 352, 264);
}

static void expect_near(int value, int wanted) {
    if (abs(value - wanted) > 4)
        fail_msg("%d instead of %d", value, wanted);
}

/* JFIF's colours: BT.601 in full range. */
static void colours_are_kept(void **state) {
    (void)state;
    struct thumb_sample sample = thumb_sample_load("h264");
    struct blob *jpeg = NULL;
    assert_int_equal(thumb_image_make(sample.init, &sample.chunk, 160, &jpeg), 0);
    AVFrame *frame = read_jpeg(jpeg);
    const uint8_t *luma = frame->data[0] + 60 * frame->linesize[0], *blue = frame->data[1] + 30 * frame->linesize[1],
                  *red = frame->data[2] + 30 * frame->linesize[2];
    expect_near(luma[40], 76);
    expect_near(red[20], 255);
    expect_near(luma[120], 29);
    expect_near(blue[60], 255);
    av_frame_free(&frame);
    blob_unref(jpeg);
    thumb_sample_free(&sample);
}

/* --- other codecs, muxed by ours --- */

static struct thumb_sample muxed(const struct codec_sample *sample, uint16_t *ret_height) {
    struct codec_info codec;
    struct thumb_sample made = {0};
    struct mux *mux = NULL;
    const char *why;
    uint8_t config[1024];
    assert_int_equal(codec_describe(sample->codec, sample->config.data, sample->config.len, &codec, &why), 0);
    codec_info_renew(&codec, sample->frames[0].data, sample->frames[0].len);
    struct track_info info = {
        .kind = TRACK_VIDEO, .track_id = 1, .timescale = 90000, .width = codec.width, .height = codec.height};
    int len = codec_init_config(&codec, sample->config.data, sample->config.len, false, config, sizeof config);
    assert_int_equal(mux_create(&info, sample->codec, config, (size_t)len, &mux, &made.init), 0);
    const struct mux_frame frame = {0, 0, 3600, true, sample->frames[0].data, sample->frames[0].len};
    assert_int_equal(mux_chunk(mux, &frame, 1, 0, &made.chunk), 0);
    mux_destroy(mux);
    *ret_height = codec.height;
    return made;
}

static void every_codec_that_is_carried(void **state) {
    (void)state;
    static const struct codec_sample *const samples[] = {&sample_hevc,    &sample_hevc10,  &sample_av1,
                                                         &sample_av1_hdr, &sample_av1_svt, &sample_vp9,
                                                         &sample_vp9_444};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        uint16_t height;
        struct thumb_sample sample = muxed(samples[i], &height);
        struct blob *jpeg = NULL;
        assert_int_equal(thumb_image_make(sample.init, &sample.chunk, 320, &jpeg), 0);
        expect_jpeg(jpeg, 64, height);
        blob_unref(jpeg);
        thumb_sample_free(&sample);
    }
}

/* --- what can't be decoded --- */

static void expect_failure(const struct thumb_sample *sample, int rc) {
    struct blob *jpeg = NULL;
    assert_int_equal(thumb_image_make(sample->init, &sample->chunk, 320, &jpeg), rc);
    assert_null(jpeg);
}

static void replace(struct blob *blob, const char *what, const char *by) {
    uint8_t *at = memmem(blob->data, blob->len, what, strlen(what));
    assert_non_null(at);
    memcpy(at, by, strlen(by));
}

static void broken_boxes_are_refused(void **state) {
    (void)state;
    struct thumb_sample sample = thumb_sample_load("h264");
    sample.chunk.len--;
    expect_failure(&sample, -EBADMSG);
    sample.chunk.len++;
    replace(sample.init, "avcC", "free");
    expect_failure(&sample, -EBADMSG);
    replace(sample.init, "avc1", "mp4v");
    expect_failure(&sample, -ENOTSUP);
    replace(sample.init, "stbl", "free");
    expect_failure(&sample, -EBADMSG);
    thumb_sample_free(&sample);
}

static void a_frame_of_noise_is_refused(void **state) {
    (void)state;
    struct thumb_sample sample = thumb_sample_load("h264");
    uint8_t *mdat = memmem(sample.chunk.blob->data, sample.chunk.blob->len, "mdat", 4);
    memset(mdat + 8, 0xa5, (size_t)(sample.chunk.blob->data + sample.chunk.blob->len - mdat) - 8);
    expect_failure(&sample, -EBADMSG);
    thumb_sample_free(&sample);
}

/* A kilobyte of AV1 that is a picture of 8192x4320. */
static void a_picture_beyond_the_limit_is_refused(void **state) {
    (void)state;
    struct thumb_sample sample = thumb_sample_load("av1_8k");
    expect_failure(&sample, -EBADMSG);
    thumb_sample_free(&sample);
}

static void a_chunk_beyond_the_limit_is_refused(void **state) {
    (void)state;
    struct thumb_sample sample = thumb_sample_load("h264");
    blob_unref(sample.chunk.blob);
    sample.chunk = (struct slice){blob_create(THUMB_CHUNK_MAX + 1), 0, THUMB_CHUNK_MAX + 1};
    expect_failure(&sample, -EFBIG);
    thumb_sample_free(&sample);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_wide_as_asked_and_never_wider_than_the_source),
        cmocka_unit_test(colours_are_kept),
        cmocka_unit_test(every_codec_that_is_carried),
        cmocka_unit_test(broken_boxes_are_refused),
        cmocka_unit_test(a_frame_of_noise_is_refused),
        cmocka_unit_test(a_picture_beyond_the_limit_is_refused),
        cmocka_unit_test(a_chunk_beyond_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
