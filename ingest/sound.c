#include "ingest/sound.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/audio_fifo.h>
#include <libavutil/channel_layout.h>
#include <libswresample/swresample.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARKS_MAX = 64,          /* an encoder is behind by some 3000 samples; Opus's shortest packets have 120 */
    SAMPLES_MAX = 16 * 8192, /* waiting for the encoder; more is what nobody sends */
};

/* Where in an output a source frame begins, and when. */
struct mark {
    int64_t sample, dts_us, capture_us;
};

struct encoder {
    struct sound_output output;
    AVCodecContext *codec;
    SwrContext *resampler; /* NULL: the source's format isn't known yet */
    AVAudioFifo *fifo;
    AVFrame *frame;
    int64_t given;           /* samples given to the encoder */
    int64_t taken, taken_at; /* samples of the source since the resampler was made, and the output's then */
    struct mark marks[MARKS_MAX];
    uint32_t mark_count;
};

struct sound {
    sound_emit_fn *emit;
    void *ctx;
    AVCodecContext *decoder;
    AVPacket *packet;
    AVFrame *decoded;
    AVChannelLayout layout; /* of what was decoded last */
    int format, rate;       /* likewise */
    uint32_t count;
    struct encoder encoders[SOUND_OUTPUTS_MAX];
};

static void *must(void *allocated) {
    if (!allocated)
        abort();
    return allocated;
}

/* --- life --- */

static enum AVCodecID id_of(enum codec codec) {
    return codec == CODEC_AAC    ? AV_CODEC_ID_AAC
           : codec == CODEC_OPUS ? AV_CODEC_ID_OPUS
           : codec == CODEC_FLAC ? AV_CODEC_ID_FLAC
                                 : AV_CODEC_ID_NONE;
}

static int open_decoder(struct sound *sound, const struct codec_info *source, const uint8_t *config, size_t len) {
    const AVCodec *codec = avcodec_find_decoder(id_of(source->codec));
    if (!codec)
        return -EINVAL;
    AVCodecContext *d = sound->decoder = must(avcodec_alloc_context3(codec));
    d->extradata = must(av_mallocz(len + AV_INPUT_BUFFER_PADDING_SIZE));
    memcpy(d->extradata, config, len);
    d->extradata_size = (int)len;
    d->sample_rate = (int)source->sample_rate;
    av_channel_layout_default(&d->ch_layout, (int)source->channels);
    d->thread_count = 1;
    d->pkt_timebase = (AVRational){1, 1000000};
    return avcodec_open2(d, codec, NULL) < 0 ? -EINVAL : 0;
}

static int open_encoder(struct encoder *encoder, const struct sound_wish *wish) {
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_AAC);
    struct sound_output *output = &encoder->output;
    const char *why;
    if (!codec)
        return -EINVAL;
    AVCodecContext *e = encoder->codec = must(avcodec_alloc_context3(codec));
    e->bit_rate = wish->kbps * INT64_C(1000);
    e->sample_rate = (int)wish->sample_rate;
    e->sample_fmt = AV_SAMPLE_FMT_FLTP;
    e->time_base = (AVRational){1, e->sample_rate};
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    av_channel_layout_default(&e->ch_layout, wish->channels);
    if (avcodec_open2(e, codec, NULL) < 0 || e->extradata_size > SOUND_CONFIG_MAX)
        return -EINVAL;
    output->config_len = (size_t)e->extradata_size;
    memcpy(output->config, e->extradata, output->config_len);
    if (codec_describe(CODEC_AAC, output->config, output->config_len, &output->codec, &why))
        return -EINVAL;
    encoder->fifo = must(av_audio_fifo_alloc(e->sample_fmt, wish->channels, 4 * e->frame_size));
    encoder->frame = must(av_frame_alloc());
    encoder->frame->format = e->sample_fmt;
    encoder->frame->sample_rate = e->sample_rate;
    encoder->frame->nb_samples = e->frame_size;
    av_channel_layout_copy(&encoder->frame->ch_layout, &e->ch_layout);
    return av_frame_get_buffer(encoder->frame, 0) < 0 ? -EINVAL : 0;
}

int sound_create(const struct codec_info *source, const uint8_t *config, size_t config_len,
                 const struct sound_wish *wishes, uint32_t count, sound_emit_fn *emit, void *ctx,
                 struct sound **ret_sound) {
    struct sound *sound = must(calloc(1, sizeof *sound));
    av_log_set_level(AV_LOG_QUIET); /* what matters comes back as an error */
    sound->emit = emit;
    sound->ctx = ctx;
    sound->packet = must(av_packet_alloc());
    sound->decoded = must(av_frame_alloc());
    int rc = open_decoder(sound, source, config, config_len);
    for (sound->count = 0; !rc && sound->count < count; sound->count++)
        rc = open_encoder(&sound->encoders[sound->count], &wishes[sound->count]);
    if (rc)
        sound_destroy(sound);
    else
        *ret_sound = sound;
    return rc;
}

void sound_destroy(struct sound *sound) {
    if (!sound)
        return;
    for (uint32_t i = 0; i < SOUND_OUTPUTS_MAX; i++) {
        struct encoder *encoder = &sound->encoders[i];
        avcodec_free_context(&encoder->codec);
        swr_free(&encoder->resampler);
        av_audio_fifo_free(encoder->fifo);
        av_frame_free(&encoder->frame);
    }
    avcodec_free_context(&sound->decoder);
    av_packet_free(&sound->packet);
    av_frame_free(&sound->decoded);
    av_channel_layout_uninit(&sound->layout);
    free(sound);
}

const struct sound_output *sound_output(const struct sound *sound, uint32_t output) {
    return &sound->encoders[output].output;
}

/* --- encoding --- */

static int64_t us_of(const struct encoder *encoder, int64_t samples) {
    return samples * 1000000 / encoder->codec->sample_rate;
}

/* The source's frame in which that sample is; those before it are of no use any more. */
static const struct mark *mark_of(struct encoder *encoder, int64_t sample) {
    uint32_t first = 0;
    while (first + 1 < encoder->mark_count && encoder->marks[first + 1].sample <= sample)
        first++;
    encoder->mark_count -= first;
    memmove(encoder->marks, encoder->marks + first, encoder->mark_count * sizeof *encoder->marks);
    return &encoder->marks[0];
}

static void emit(struct sound *sound, uint32_t i) {
    struct encoder *encoder = &sound->encoders[i];
    const AVPacket *packet = sound->packet;
    if (packet->pts < 0 || packet->size <= 0) /* priming */
        return;
    const struct mark *mark = mark_of(encoder, packet->pts);
    const struct sound_frame frame = {.output = i,
                                      .dts_us = mark->dts_us + us_of(encoder, packet->pts - mark->sample),
                                      .capture_us = mark->capture_us,
                                      .data = packet->data,
                                      .len = (size_t)packet->size};
    sound->emit(sound->ctx, &frame);
}

static void encode_waiting(struct sound *sound, uint32_t i) {
    struct encoder *encoder = &sound->encoders[i];
    int samples = encoder->codec->frame_size;
    while (av_audio_fifo_size(encoder->fifo) >= samples) {
        AVFrame *frame = encoder->frame;
        if (av_frame_make_writable(frame) < 0 ||
            av_audio_fifo_read(encoder->fifo, (void **)frame->data, samples) != samples)
            return;
        frame->pts = encoder->given;
        encoder->given += samples;
        if (avcodec_send_frame(encoder->codec, frame) < 0)
            return;
        while (!avcodec_receive_packet(encoder->codec, sound->packet)) {
            emit(sound, i);
            av_packet_unref(sound->packet);
        }
    }
}

/* --- resampling --- */

static int make_resampler(struct encoder *encoder, AVFrame *source) {
    AVCodecContext *e = encoder->codec;
    swr_free(&encoder->resampler);
    encoder->taken = 0;
    encoder->taken_at = encoder->given + av_audio_fifo_size(encoder->fifo);
    return swr_alloc_set_opts2(&encoder->resampler, &e->ch_layout, e->sample_fmt, e->sample_rate, &source->ch_layout,
                               source->format, source->sample_rate, 0, NULL) < 0 ||
                   swr_init(encoder->resampler) < 0
               ? -EINVAL
               : 0;
}

static void add_mark(struct encoder *encoder, const AVFrame *source, int64_t dts_us, int64_t capture_us) {
    if (encoder->mark_count == MARKS_MAX)
        memmove(encoder->marks, encoder->marks + 1, --encoder->mark_count * sizeof *encoder->marks);
    int64_t since = av_rescale(encoder->taken, encoder->codec->sample_rate, source->sample_rate);
    encoder->marks[encoder->mark_count++] = (struct mark){encoder->taken_at + since, dts_us, capture_us};
    encoder->taken += source->nb_samples;
}

static void resample(struct encoder *encoder, const AVFrame *source) {
    uint8_t *out[2] = {NULL, NULL};
    AVCodecContext *e = encoder->codec;
    int most = swr_get_out_samples(encoder->resampler, source->nb_samples), line;
    if (most <= 0 || most + av_audio_fifo_size(encoder->fifo) > SAMPLES_MAX ||
        av_samples_alloc(out, &line, e->ch_layout.nb_channels, most, e->sample_fmt, 0) < 0)
        return;
    int n =
        swr_convert(encoder->resampler, out, most, (const uint8_t **)(void *)source->extended_data, source->nb_samples);
    if (n > 0 && av_audio_fifo_write(encoder->fifo, (void **)out, n) < n)
        abort();
    av_freep(&out[0]);
}

/* --- decoding --- */

static bool is_new_format(struct sound *sound) {
    const AVFrame *f = sound->decoded;
    if (sound->format == f->format && sound->rate == f->sample_rate &&
        !av_channel_layout_compare(&sound->layout, &f->ch_layout))
        return false;
    sound->format = f->format;
    sound->rate = f->sample_rate;
    av_channel_layout_copy(&sound->layout, &f->ch_layout);
    return true;
}

static void take_decoded(struct sound *sound, int64_t dts_us, int64_t capture_us) {
    bool renew = is_new_format(sound);
    for (uint32_t i = 0; i < sound->count; i++) {
        struct encoder *encoder = &sound->encoders[i];
        if ((renew || !encoder->resampler) && make_resampler(encoder, sound->decoded))
            swr_free(&encoder->resampler);
        if (!encoder->resampler)
            continue;
        add_mark(encoder, sound->decoded, dts_us, capture_us);
        resample(encoder, sound->decoded);
        encode_waiting(sound, i);
    }
}

void sound_push(struct sound *sound, const uint8_t *data, size_t len, int64_t dts_us, int64_t capture_us) {
    if (len > INT_MAX - AV_INPUT_BUFFER_PADDING_SIZE || av_new_packet(sound->packet, (int)len) < 0)
        return;
    memcpy(sound->packet->data, data, len);
    sound->packet->pts = dts_us;
    int rc = avcodec_send_packet(sound->decoder, sound->packet);
    av_packet_unref(sound->packet);
    while (rc >= 0 && !(rc = avcodec_receive_frame(sound->decoder, sound->decoded))) {
        bool told = sound->decoded->pts != AV_NOPTS_VALUE; /* of Opus's first packet the beginning is left out */
        if (sound->decoded->nb_samples > 0 && sound->decoded->sample_rate > 0)
            take_decoded(sound, told ? sound->decoded->pts : dts_us, capture_us);
        av_frame_unref(sound->decoded);
    }
}
