/* What is transcoded is heard when its source is: clicks, found again in what comes out. */
#include "ingest/sound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SECONDS = 3, CLICKS = 2, FRAMES_MAX = 3000, BASE_US = 7000000, SAMPLE_US = 24 };
static const double click_s[CLICKS] = {0.7, 2.1};

struct packet {
    uint8_t *data;
    size_t len;
    int64_t dts_us;
};

struct tape { /* frames of one track, and what they sound like */
    AVCodecContext *decoder;
    struct packet packets[FRAMES_MAX];
    uint32_t count;
    double energy[CLICKS], moment[CLICKS]; /* around each click, and when its middle is, weighted by it */
};

struct source {
    struct codec_info info;
    uint8_t config[256];
    size_t config_len;
    int rate;
    struct tape tape;
};

struct scene {
    struct source source;
    struct sound *sound;
    struct tape outputs[SOUND_OUTPUTS_MAX];
};

/* --- hearing --- */

static void hear(struct tape *tape, const AVFrame *f, int64_t dts_us) {
    bool planar = f->format == AV_SAMPLE_FMT_FLTP || f->format == AV_SAMPLE_FMT_S16P;
    bool whole = f->format == AV_SAMPLE_FMT_S16P || f->format == AV_SAMPLE_FMT_S16;
    int step = planar ? 1 : f->ch_layout.nb_channels;
    for (int i = 0; i < f->nb_samples; i++) {
        double s = (double)(dts_us - BASE_US) / 1e6 + (double)i / f->sample_rate;
        double v = whole ? ((const int16_t *)(const void *)f->data[0])[i * step] / 32768.0
                         : ((const float *)(const void *)f->data[0])[i * step];
        for (int k = 0; k < CLICKS; k++)
            if (fabs(s - click_s[k]) < 0.05) {
                tape->energy[k] += v * v;
                tape->moment[k] += v * v * s;
            }
    }
}

static void tape_open(struct tape *tape, enum AVCodecID id, const uint8_t *config, size_t len, int rate, int channels) {
    const AVCodec *codec = avcodec_find_decoder(id);
    AVCodecContext *d = tape->decoder = avcodec_alloc_context3(codec);
    d->extradata = av_mallocz(len + AV_INPUT_BUFFER_PADDING_SIZE);
    memcpy(d->extradata, config, len);
    d->extradata_size = (int)len;
    d->sample_rate = rate;
    av_channel_layout_default(&d->ch_layout, channels);
    if (avcodec_open2(d, codec, NULL) < 0)
        abort();
}

static void tape_add(struct tape *tape, const uint8_t *data, size_t len, int64_t dts_us) {
    struct packet *packet = &tape->packets[tape->count++];
    *packet = (struct packet){malloc(len), len, dts_us};
    memcpy(packet->data, data, len);
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    if (av_new_packet(p, (int)len) < 0)
        abort();
    memcpy(p->data, data, len);
    assert_true(avcodec_send_packet(tape->decoder, p) >= 0);
    while (!avcodec_receive_frame(tape->decoder, f)) {
        hear(tape, f, dts_us);
        dts_us += f->nb_samples * INT64_C(1000000) / f->sample_rate;
    }
    av_packet_free(&p);
    av_frame_free(&f);
}

static void tape_free(struct tape *tape) {
    avcodec_free_context(&tape->decoder);
    for (uint32_t i = 0; i < tape->count; i++)
        free(tape->packets[i].data);
}

/* --- sources --- */

/* A burst of 5 ms of 1 kHz in all channels, and nothing else. */
static double sample_at(double s) {
    for (int k = 0; k < CLICKS; k++)
        if (fabs(s - click_s[k]) < 0.0025)
            return 0.8 * sin(2 * M_PI * 1000 * s);
    return 0;
}

static void fill(AVFrame *f, int64_t at) {
    bool whole = f->format == AV_SAMPLE_FMT_S16;
    int channels = f->ch_layout.nb_channels;
    for (int i = 0; i < f->nb_samples; i++)
        for (int c = 0; c < channels; c++) {
            double v = sample_at((double)(at + i) / f->sample_rate);
            if (whole)
                ((int16_t *)(void *)f->data[0])[i * channels + c] = (int16_t)(v * 32767);
            else
                ((float *)(void *)f->data[c])[i] = (float)v;
        }
}

static void source_take(struct source *source, AVCodecContext *e, const AVFrame *f, int64_t *ret_samples) {
    AVPacket *p = av_packet_alloc();
    if (avcodec_send_frame(e, f) < 0)
        abort();
    while (!avcodec_receive_packet(e, p)) {
        int64_t dts_us = BASE_US + *ret_samples * 1000000 / source->info.sample_rate;
        *ret_samples += codec_frame_samples(&source->info, p->data, (size_t)p->size);
        tape_add(&source->tape, p->data, (size_t)p->size, dts_us);
        av_packet_unref(p);
    }
    av_packet_free(&p);
}

static void source_make(struct source *source, enum codec codec, int rate, int channels) {
    static const char *const names[] = {[CODEC_AAC] = "aac", [CODEC_OPUS] = "libopus", [CODEC_FLAC] = "flac"};
    const AVCodec *encoder = avcodec_find_encoder_by_name(names[codec]);
    AVCodecContext *e = avcodec_alloc_context3(encoder);
    e->sample_rate = rate;
    e->sample_fmt = codec == CODEC_AAC ? AV_SAMPLE_FMT_FLTP : AV_SAMPLE_FMT_S16;
    e->bit_rate = 96000 * channels;
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    av_channel_layout_default(&e->ch_layout, channels);
    if (avcodec_open2(e, encoder, NULL) < 0)
        abort();
    const char *why = "";
    memcpy(source->config, e->extradata, source->config_len = (size_t)e->extradata_size);
    if (codec_describe(codec, source->config, source->config_len, &source->info, &why))
        fail_msg("%s", why);
    tape_open(&source->tape, encoder->id, source->config, source->config_len, rate, channels);
    AVFrame *f = av_frame_alloc();
    f->format = e->sample_fmt, f->sample_rate = rate, f->nb_samples = e->frame_size;
    av_channel_layout_copy(&f->ch_layout, &e->ch_layout);
    if (av_frame_get_buffer(f, 0) < 0)
        abort();
    int64_t samples = 0;
    for (int64_t at = 0; at < (int64_t)SECONDS * rate; at += f->nb_samples) {
        if (av_frame_make_writable(f) < 0)
            abort();
        fill(f, at);
        f->pts = at;
        source_take(source, e, f, &samples);
    }
    av_frame_free(&f);
    avcodec_free_context(&e);
}

/* --- scenes --- */

static void on_emit(void *ctx, const struct sound_frame *frame) {
    struct scene *scene = ctx;
    assert_true(frame->capture_us >= frame->dts_us - 200000 && frame->capture_us <= frame->dts_us + 1);
    tape_add(&scene->outputs[frame->output], frame->data, frame->len, frame->dts_us);
}

static struct scene *begin(enum codec codec, int rate, int channels, const struct sound_wish *wishes, uint32_t count) {
    struct scene *scene = calloc(1, sizeof *scene);
    source_make(&scene->source, codec, rate, channels);
    assert_int_equal(sound_create(&scene->source.info, scene->source.config, scene->source.config_len, wishes, count,
                                  on_emit, scene, &scene->sound),
                     0);
    for (uint32_t i = 0; i < count; i++) {
        const struct sound_output *output = sound_output(scene->sound, i);
        assert_string_equal(output->codec.codecs, "mp4a.40.2");
        assert_int_equal(output->codec.sample_rate, wishes[i].sample_rate);
        assert_int_equal(output->codec.channels, wishes[i].channels);
        tape_open(&scene->outputs[i], AV_CODEC_ID_AAC, output->config, output->config_len, (int)wishes[i].sample_rate,
                  wishes[i].channels);
    }
    return scene;
}

static void give(struct scene *scene, uint32_t i) {
    const struct packet *packet = &scene->source.tape.packets[i];
    sound_push(scene->sound, packet->data, packet->len, packet->dts_us, packet->dts_us);
}

static void end(struct scene *scene) {
    sound_destroy(scene->sound);
    tape_free(&scene->source.tape);
    for (int i = 0; i < SOUND_OUTPUTS_MAX; i++)
        tape_free(&scene->outputs[i]);
    free(scene);
}

static double middle(const struct tape *tape, int click) {
    assert_true(tape->energy[click] > 0.1);
    return tape->moment[click] / tape->energy[click];
}

static void check_clicks(const struct scene *scene, uint32_t output) {
    for (int k = 0; k < CLICKS; k++) {
        double want = middle(&scene->source.tape, k), got = middle(&scene->outputs[output], k);
        if (fabs(want - got) > 0.001)
            fail_msg("click %d: %.4f s, should be %.4f", k, got, want);
    }
}

/* Each follows the one before, and the last is not far behind. */
static void check_times(const struct scene *scene, uint32_t output) {
    const struct tape *tape = &scene->outputs[output], *source = &scene->source.tape;
    int64_t frame_us = INT64_C(1024000000) / sound_output(scene->sound, output)->codec.sample_rate;
    int64_t late_us = tape->packets[0].dts_us - source->packets[0].dts_us;
    assert_true(late_us >= 0 && late_us < 7000); /* Opus's first 6.5 ms are not meant to be heard */
    for (uint32_t i = 1; i < tape->count; i++) {
        int64_t step_us = tape->packets[i].dts_us - tape->packets[i - 1].dts_us;
        if (llabs(step_us - frame_us) > SAMPLE_US)
            fail_msg("frame %u comes %lld us after the one before", i, (long long)step_us);
    }
    assert_true(source->packets[source->count - 1].dts_us - tape->packets[tape->count - 1].dts_us < 100000);
}

static void check_rate(const struct tape *tape, uint32_t kbps) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < tape->count; i++)
        bytes += tape->packets[i].len;
    assert_true(bytes * 8 / SECONDS < kbps * 1100);
}

static void transcode(enum codec codec, int rate, int channels) {
    int out_rate = rate == 44100 ? 44100 : 48000;
    const struct sound_wish wishes[] = {{128, (uint32_t)out_rate, 2}, {40, (uint32_t)out_rate, 1}};
    struct scene *scene = begin(codec, rate, channels, wishes, 2);
    for (uint32_t i = 0; i < scene->source.tape.count; i++)
        give(scene, i);
    for (uint32_t i = 0; i < 2; i++) {
        check_clicks(scene, i);
        check_times(scene, i);
        check_rate(&scene->outputs[i], wishes[i].kbps);
    }
    end(scene);
}

static void aac_is_heard_when_it_was(void **state) {
    (void)state;
    transcode(CODEC_AAC, 48000, 2);
    transcode(CODEC_AAC, 44100, 1);
    transcode(CODEC_AAC, 48000, 6);
}

static void other_rates_are_resampled(void **state) {
    (void)state;
    transcode(CODEC_AAC, 96000, 2);
    transcode(CODEC_AAC, 22050, 2);
}

static void opus_and_flac_are_sources(void **state) {
    (void)state;
    transcode(CODEC_OPUS, 48000, 2);
    transcode(CODEC_FLAC, 48000, 2);
}

/* What is missing of the source, or can't be decoded, is missing there, and what comes behind it is at its time. */
static void a_hole_stays_one(void **state) {
    (void)state;
    const struct sound_wish wish = {40, 48000, 1};
    struct scene *scene = begin(CODEC_AAC, 48000, 2, &wish, 1);
    for (uint32_t i = 0; i < scene->source.tape.count; i++)
        if (i < 50 || i >= 70)
            give(scene, i);
        else if (i == 60)
            sound_push(scene->sound, (const uint8_t *)"\xff\xff\xff\xff", 4, scene->source.tape.packets[i].dts_us, 0);
    check_clicks(scene, 0);
    uint32_t holes = 0;
    const struct packet *packets = scene->outputs[0].packets;
    for (uint32_t i = 1; i < scene->outputs[0].count; i++)
        holes += packets[i].dts_us - packets[i - 1].dts_us > 300000;
    assert_int_equal(holes, 1);
    end(scene);
}

static void what_cannot_be_begun_is_refused(void **state) {
    (void)state;
    struct sound *sound;
    const struct codec_info picture = {.codec = CODEC_H264, .kind = TRACK_VIDEO};
    const struct codec_info aac = {.codec = CODEC_AAC, .kind = TRACK_AUDIO, .sample_rate = 48000, .channels = 2};
    const struct sound_wish wish = {40, 48000, 1}, odd = {40, 12345, 1};
    assert_int_equal(sound_create(&picture, NULL, 0, &wish, 1, on_emit, NULL, &sound), -EINVAL);
    assert_int_equal(sound_create(&aac, (const uint8_t *)"\x11\x90", 2, &odd, 1, on_emit, NULL, &sound), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aac_is_heard_when_it_was),        cmocka_unit_test(other_rates_are_resampled),
        cmocka_unit_test(opus_and_flac_are_sources),       cmocka_unit_test(a_hole_stays_one),
        cmocka_unit_test(what_cannot_be_begun_is_refused),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
