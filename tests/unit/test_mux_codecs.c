/* Every codec through the muxer and back: libavformat reads init and chunks, libavcodec decodes what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/cmaf.h"
#include "ingest/mux.h"
#include "tests/unit/codec_samples.h"

enum { VIDEO_HZ = 90000, VIDEO_FRAME_TS = 3600, FRAMES = 3, FILE_MAX = 1 << 16 };

static const int64_t start_ts = INT64_C(1790000000) * VIDEO_HZ;

/* --- made --- */

static struct codec_info describe(const struct codec_sample *sample) {
    struct codec_info info;
    const char *why;
    assert_int_equal(codec_describe(sample->codec, sample->config.data, sample->config.len, &info, &why), 0);
    codec_info_renew(&info, sample->frames[0].data, sample->frames[0].len);
    return info;
}

static struct mux *open_mux(const struct codec_sample *sample, const struct codec_info *codec, struct blob **ret_init) {
    bool video = codec->kind == TRACK_VIDEO;
    struct track_info info = {.kind = codec->kind,
                              .track_id = video ? 1 : 101,
                              .timescale = video ? VIDEO_HZ : codec->sample_rate,
                              .width = codec->width,
                              .height = codec->height,
                              .sample_rate = codec->sample_rate,
                              .channels = codec->channels};
    uint8_t config[1024];
    int len = codec_init_config(codec, sample->config.data, sample->config.len, false, config, sizeof config);
    assert_true(len > 0);
    struct mux *mux = NULL;
    assert_int_equal(mux_create(&info, sample->codec, config, (size_t)len, &mux, ret_init), 0);
    return mux;
}

static struct mux_frame frame_of(const struct codec_sample *sample, const struct codec_info *codec, int n) {
    const struct sample_bytes *bytes = &sample->frames[n];
    uint32_t duration_ts = VIDEO_FRAME_TS;
    bool independent = true;
    assert_true(codec_frame_ok(codec, bytes->data, bytes->len, &independent));
    if (codec->kind == TRACK_AUDIO)
        duration_ts = codec_frame_samples(codec, bytes->data, bytes->len);
    int64_t ts = start_ts + n * (int64_t)duration_ts;
    return (struct mux_frame){ts, ts, duration_ts, independent, bytes->data, bytes->len};
}

static void append_chunk(struct mux *mux, const struct mux_frame *frame, struct buf *out) {
    struct slice body;
    struct cmaf_chunk chunk;
    assert_int_equal(mux_chunk(mux, frame, 1, 0, &body), 0);
    assert_int_equal(cmaf_chunk_parse(body.blob->data + body.off, body.len, &chunk), 0);
    assert_int_equal(chunk.tfdt_ts, frame->dts_ts);
    assert_int_equal(chunk.duration_ts, frame->duration_ts);
    assert_int_equal(cmaf_chunk_is_sync(&chunk), frame->independent);
    assert_int_equal(buf_append(out, body.blob->data + body.off, body.len), 0);
    blob_unref(body.blob);
}

static void make_file(const struct codec_sample *sample, struct buf *out) {
    struct codec_info codec = describe(sample);
    struct blob *init = NULL;
    struct mux *mux = open_mux(sample, &codec, &init);
    buf_init(out, FILE_MAX);
    assert_int_equal(buf_append(out, init->data, init->len), 0);
    for (int i = 0; i < FRAMES; i++) {
        struct mux_frame frame = frame_of(sample, &codec, i);
        append_chunk(mux, &frame, out);
    }
    mux_destroy(mux);
    blob_unref(init);
}

/* --- read --- */

static int on_read(void *opaque, uint8_t *data, int size) {
    struct buf *file = opaque;
    size_t n = buf_len(file) < (size_t)size ? buf_len(file) : (size_t)size;
    if (!n)
        return AVERROR_EOF;
    memcpy(data, buf_head(file), n);
    buf_consume(file, n);
    return (int)n;
}

static AVFormatContext *open_file(struct buf *file) {
    AVFormatContext *format = avformat_alloc_context();
    format->pb = avio_alloc_context(av_malloc(4096), 4096, 0, file, on_read, NULL, NULL);
    assert_int_equal(avformat_open_input(&format, NULL, NULL, NULL), 0);
    assert_int_equal(format->nb_streams, 1);
    return format;
}

static void close_file(AVFormatContext *format) {
    AVIOContext *io = format->pb;
    avformat_close_input(&format);
    av_freep(&io->buffer);
    avio_context_free(&io);
}

static int receive(AVCodecContext *decoder, int width) {
    AVFrame *frame = av_frame_alloc();
    int count = 0;
    while (avcodec_receive_frame(decoder, frame) >= 0) {
        assert_int_equal(frame->width, width);
        count++;
    }
    av_frame_free(&frame);
    return count;
}

static int decode(AVFormatContext *format) {
    AVCodecParameters *par = format->streams[0]->codecpar;
    const AVCodec *codec = avcodec_find_decoder(par->codec_id);
    AVCodecContext *decoder = avcodec_alloc_context3(codec);
    assert_int_equal(avcodec_parameters_to_context(decoder, par), 0);
    decoder->err_recognition = AV_EF_EXPLODE;
    assert_int_equal(avcodec_open2(decoder, codec, NULL), 0);
    AVPacket *packet = av_packet_alloc();
    int count = 0;
    while (av_read_frame(format, packet) >= 0) {
        assert_int_equal(avcodec_send_packet(decoder, packet), 0);
        av_packet_unref(packet);
        count += receive(decoder, par->width);
    }
    avcodec_send_packet(decoder, NULL);
    count += receive(decoder, par->width);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    return count;
}

static void check(const struct codec_sample *sample, enum AVCodecID id, const char *entry, const char *box) {
    struct codec_info codec = describe(sample);
    struct buf file;
    make_file(sample, &file);
    assert_non_null(memmem(buf_head(&file), buf_len(&file), entry, 4));
    assert_non_null(memmem(buf_head(&file), buf_len(&file), box, 4));
    AVFormatContext *format = open_file(&file);
    AVCodecParameters *par = format->streams[0]->codecpar;
    assert_int_equal(par->codec_id, id);
    assert_int_equal(par->width, codec.width);
    assert_int_equal(par->height, codec.height);
    assert_int_equal(par->sample_rate, codec.sample_rate);
    assert_int_equal(par->ch_layout.nb_channels, codec.channels);
    assert_int_equal(decode(format), FRAMES);
    close_file(format);
    buf_finish(&file);
}

static void hevc(void **state) {
    (void)state;
    check(&sample_hevc, AV_CODEC_ID_HEVC, "hvc1", "hvcC");
    check(&sample_hevc10, AV_CODEC_ID_HEVC, "hvc1", "hvcC");
}

static void av1(void **state) {
    (void)state;
    check(&sample_av1, AV_CODEC_ID_AV1, "av01", "av1C");
    check(&sample_av1_hdr, AV_CODEC_ID_AV1, "av01", "av1C");
    check(&sample_av1_svt, AV_CODEC_ID_AV1, "av01", "av1C");
}

static void vp9(void **state) {
    (void)state;
    check(&sample_vp9, AV_CODEC_ID_VP9, "vp09", "vpcC");
    check(&sample_vp9_444, AV_CODEC_ID_VP9, "vp09", "vpcC");
}

static void opus(void **state) {
    (void)state;
    check(&sample_opus, AV_CODEC_ID_OPUS, "Opus", "dOps");
    check(&sample_opus_surround, AV_CODEC_ID_OPUS, "Opus", "dOps");
}

static void flac(void **state) {
    (void)state;
    check(&sample_flac, AV_CODEC_ID_FLAC, "fLaC", "dfLa");
}

/* libavformat makes vpcC from what it is told of the picture; it must say what the publisher's did. */
static void vpcc_is_the_publishers(void **state) {
    (void)state;
    static const uint8_t configs[][8] = {{0, 31, 0x82, 1, 1, 1, 0, 0},
                                         {2, 41, 0xa2, 9, 16, 9, 0, 0},
                                         {2, 41, 0xa3, 9, 16, 9, 0, 0},
                                         {1, 10, 0x86, 2, 2, 2, 0, 0},
                                         {0, 10, 0x80, 2, 2, 2, 0, 0}};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct codec_sample sample = sample_vp9;
        sample.config = (struct sample_bytes){configs[i], sizeof configs[i]};
        struct codec_info codec = describe(&sample);
        struct blob *init = NULL;
        mux_destroy(open_mux(&sample, &codec, &init));
        const uint8_t *box = memmem(init->data, init->len, "vpcC", 4);
        assert_non_null(box);
        assert_memory_equal(box + 8, configs[i], sizeof configs[i]);
        blob_unref(init);
    }
}

/* What senders put into a temporal unit and a sample must not have is left out, without a trace in the lengths. */
static void av1_delimiter_and_padding_are_left_out(void **state) {
    (void)state;
    struct codec_info codec = describe(&sample_av1);
    struct blob *init = NULL;
    struct mux *mux = open_mux(&sample_av1, &codec, &init);
    blob_unref(init);
    struct mux_frame frame = frame_of(&sample_av1, &codec, 0);
    uint8_t unit[128] = {0x12, 0x00, 0x7a, 0x01, 0x80};
    memcpy(unit + 5, frame.data, frame.len);
    size_t want = frame.len;
    frame.data = unit;
    frame.len += 5;
    struct slice body;
    struct cmaf_chunk chunk;
    assert_int_equal(mux_chunk(mux, &frame, 1, 0, &body), 0);
    assert_int_equal(cmaf_chunk_parse(body.blob->data + body.off, body.len, &chunk), 0);
    assert_int_equal(chunk.payload_bytes, want);
    assert_memory_equal(body.blob->data + body.off + body.len - want, unit + 5, want);
    blob_unref(body.blob);
    frame.dts_ts = frame.pts_ts += VIDEO_FRAME_TS;
    frame.len = 5;
    assert_int_equal(mux_chunk(mux, &frame, 1, 0, &body), -EINVAL);
    assert_false(mux_broken(mux));
    mux_destroy(mux);
}

static void configurations_of_another_codec_are_refused(void **state) {
    (void)state;
    static const struct codec_sample *const all[] = {&sample_hevc, &sample_av1, &sample_vp9, &sample_opus,
                                                     &sample_flac};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct codec_info codec = describe(all[i]);
        struct track_info info = {.kind = codec.kind,
                                  .track_id = 1,
                                  .timescale = codec.kind == TRACK_VIDEO ? VIDEO_HZ : 48000,
                                  .width = 64,
                                  .height = 48,
                                  .sample_rate = 48000,
                                  .channels = 2};
        struct mux *mux;
        struct blob *init;
        static const uint8_t other[] = {0, 0, 0, 1, 0x67};
        assert_int_equal(mux_create(&info, all[i]->codec, other, sizeof other, &mux, &init), -EINVAL);
        info.kind = codec.kind == TRACK_VIDEO ? TRACK_AUDIO : TRACK_VIDEO;
        info.timescale = codec.kind == TRACK_VIDEO ? 48000 : VIDEO_HZ;
        assert_int_equal(mux_create(&info, all[i]->codec, all[i]->config.data, all[i]->config.len, &mux, &init),
                         -EINVAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hevc),
        cmocka_unit_test(av1),
        cmocka_unit_test(vp9),
        cmocka_unit_test(opus),
        cmocka_unit_test(flac),
        cmocka_unit_test(vpcc_is_the_publishers),
        cmocka_unit_test(av1_delimiter_and_padding_are_left_out),
        cmocka_unit_test(configurations_of_another_codec_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
