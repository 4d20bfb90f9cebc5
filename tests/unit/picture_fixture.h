/* Numbered pictures, encoded as a broadcaster would, and read back. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>

#include "ingest/annexb.h"
#include "ingest/codec.h"
#include "ingest/transcode.h"

enum { PICTURE_BITS = 10, PICTURES_MAX = 400, FRAME_TS = 3000 };

struct source_frame {
    struct transcode_slot slot;
    uint8_t *data;
    size_t len;
};

struct source {
    enum codec codec;
    int width, height, b_frames, gop;
    uint8_t config[2048];
    size_t config_len;
    uint32_t count;
    struct source_frame frames[PICTURES_MAX];
    int64_t origin_ts;
    enum AVColorRange range;
    enum AVColorTransferCharacteristic transfer; /* 0: unspecified */
    AVRational aspect;
};

/* Columns of black and white, a bit each. */
static inline void picture_draw(AVFrame *f, uint32_t number) {
    int full = f->color_range == AVCOL_RANGE_JPEG;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++)
            f->data[0][y * f->linesize[0] + x] = number >> (x * PICTURE_BITS / f->width) & 1 ? (full ? 255 : 235) : (full ? 0 : 16);
    for (int plane = 1; plane < 3; plane++)
        for (int y = 0; y < f->height / 2; y++)
            memset(f->data[plane] + y * f->linesize[plane], 128, (size_t)f->width / 2);
}

static inline uint32_t picture_read(const AVFrame *f) {
    uint32_t number = 0;
    for (int bit = 0; bit < PICTURE_BITS; bit++)
        if (f->data[0][f->height / 2 * f->linesize[0] + (2 * bit + 1) * f->width / (2 * PICTURE_BITS)] > 128)
            number |= 1u << bit;
    return number;
}

static inline size_t source_lengths(const uint8_t *data, size_t len, uint8_t *out, int codec) {
    struct nal nal;
    size_t n = 0;
    while (annexb_nal_next(&data, &len, &nal)) {
        int type = codec == CODEC_HEVC ? nal.data[0] >> 1 & 0x3f : nal.data[0] & 0x1f;
        if (codec == CODEC_HEVC ? type >= 32 : type < 1 || type > 5)
            continue;
        out[n++] = (uint8_t)(nal.len >> 24), out[n++] = (uint8_t)(nal.len >> 16), out[n++] = (uint8_t)(nal.len >> 8), out[n++] = (uint8_t)nal.len;
        memcpy(out + n, nal.data, nal.len);
        n += nal.len;
    }
    return n;
}

static inline void source_put_set(struct source *s, const struct nal *nal) {
    uint8_t *out = s->config + s->config_len;
    out[0] = (uint8_t)(nal->len >> 8), out[1] = (uint8_t)nal->len;
    memcpy(out + 2, nal->data, nal->len);
    s->config_len += 2 + nal->len;
}

static inline void source_make_config(struct source *s, const AVCodecContext *e) {
    const uint8_t *data = e->extradata;
    size_t len = (size_t)e->extradata_size;
    struct nal nal;
    if (s->codec == CODEC_HEVC) {
        s->config[0] = 1, s->config[21] = 0xff, s->config[22] = 0, s->config_len = 23;
        while (annexb_nal_next(&data, &len, &nal)) {
            uint8_t type = nal.data[0] >> 1 & 0x3f;
            if (type < 32 || type > 34)
                continue;
            const uint8_t head[] = {(uint8_t)(0x80 | type), 0, 1};
            memcpy(s->config + s->config_len, head, sizeof head);
            s->config_len += sizeof head;
            s->config[22]++;
            source_put_set(s, &nal);
        }
        return;
    }
    if (s->codec != CODEC_H264)
        return;
    for (int type = 7; type <= 8; type++) {
        data = e->extradata, len = (size_t)e->extradata_size;
        while (annexb_nal_next(&data, &len, &nal)) {
            if ((nal.data[0] & 0x1f) != type)
                continue;
            const uint8_t head[] = {1, nal.data[1], nal.data[2], nal.data[3], 0xff, 0xe1};
            if (type == 7)
                memcpy(s->config, head, s->config_len = sizeof head);
            else
                s->config[s->config_len++] = 1;
            source_put_set(s, &nal);
        }
    }
}

static inline void source_take(struct source *s, AVCodecContext *e, const AVFrame *f, int64_t delay_ts) {
    AVPacket *p = av_packet_alloc();
    if (avcodec_send_frame(e, f) < 0)
        abort();
    while (!avcodec_receive_packet(e, p)) {
        struct source_frame *frame = &s->frames[s->count];
        frame->slot = (struct transcode_slot){.dts_ts = s->origin_ts + (int64_t)s->count * FRAME_TS,
                                              .pts_ts = p->pts + delay_ts,
                                              .duration_ts = FRAME_TS,
                                              .independent = p->flags & AV_PKT_FLAG_KEY,
                                              .rungs = UINT32_MAX,
                                              .msn = 7};
        for (int i = 0; i < RUNGS_MAX; i++)
            frame->slot.numbers[i] = s->count;
        frame->data = malloc(2 * (size_t)p->size + 16);
        frame->len = (size_t)p->size;
        if (s->codec == CODEC_H264 || s->codec == CODEC_HEVC)
            frame->len = source_lengths(p->data, (size_t)p->size, frame->data, s->codec);
        else
            memcpy(frame->data, p->data, frame->len);
        s->count++;
        av_packet_unref(p);
    }
    av_packet_free(&p);
}

/* Pictures 0 to n - 1. Width, height, b_frames, gop, and what else is to be other than usual must be set. */
static inline void source_make(struct source *s, uint32_t n) {
    static const char *const encoders[] = {[CODEC_H264] = "libx264", [CODEC_HEVC] = "libx265", [CODEC_VP9] = "libvpx-vp9", [CODEC_AV1] = "libaom-av1"};
    const AVCodec *codec = avcodec_find_encoder_by_name(encoders[s->codec]);
    AVCodecContext *e = avcodec_alloc_context3(codec);
    s->origin_ts = s->origin_ts ? s->origin_ts : INT64_C(161100000000000);
    e->width = s->width, e->height = s->height;
    e->pix_fmt = AV_PIX_FMT_YUV420P;
    e->time_base = (AVRational){1, 90000};
    e->framerate = (AVRational){30, 1};
    e->gop_size = s->gop;
    e->max_b_frames = s->b_frames;
    e->thread_count = 1;
    e->color_range = s->range;
    e->color_trc = s->transfer ? s->transfer : AVCOL_TRC_UNSPECIFIED;
    e->sample_aspect_ratio = s->aspect;
    e->bit_rate = 2000000;
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_CLOSED_GOP;
    av_opt_set(e->priv_data, "preset", "ultrafast", 0);
    av_opt_set(e->priv_data, "deadline", "realtime", 0);
    av_opt_set_int(e->priv_data, "cpu-used", 8, 0);
    av_opt_set_int(e->priv_data, "lag-in-frames", 0, 0);
    if (s->b_frames)
        av_opt_set(e->priv_data, s->codec == CODEC_HEVC ? "x265-params" : "x264-params", s->codec == CODEC_HEVC ? "log-level=none:b-adapt=0:open-gop=0:scenecut=0:bframes=2" : "b-adapt=0:scenecut=0", 0);
    else
        av_opt_set(e->priv_data, s->codec == CODEC_HEVC ? "x265-params" : "x264-params", s->codec == CODEC_HEVC ? "log-level=none:scenecut=0:bframes=0" : "scenecut=0", 0);
    if (avcodec_open2(e, codec, NULL) < 0)
        abort();
    source_make_config(s, e);
    AVFrame *f = av_frame_alloc();
    f->format = e->pix_fmt, f->width = e->width, f->height = e->height, f->color_range = s->range, f->color_trc = e->color_trc;
    if (av_frame_get_buffer(f, 0) < 0)
        abort();
    int64_t delay_ts = s->b_frames ? 2 * FRAME_TS : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (av_frame_make_writable(f) < 0)
            abort();
        picture_draw(f, i);
        f->pts = s->origin_ts + (int64_t)i * FRAME_TS;
        source_take(s, e, f, delay_ts);
    }
    source_take(s, e, NULL, delay_ts);
    if (s->count != n)
        abort();
    av_frame_free(&f);
    avcodec_free_context(&e);
}

static inline void source_free(struct source *s) {
    for (uint32_t i = 0; i < s->count; i++)
        free(s->frames[i].data);
}

static inline struct transcode_settings source_settings(const struct source *s) {
    return (struct transcode_settings){.source = {.codec = s->codec,
                                                  .kind = TRACK_VIDEO,
                                                  .width = (uint16_t)s->width,
                                                  .height = (uint16_t)s->height,
                                                  .nal_length_size = 4,
                                                  .has_reorder_hints = true},
                                       .config = s->config,
                                       .config_len = s->config_len,
                                       .reorders = s->b_frames,
                                       .rate_milli = 30000,
                                       .encoder = "libx264",
                                       .preset = "ultrafast"};
}

/* What came out of a rung. */
struct picture_out {
    int64_t dts_ts, pts_ts;
    bool independent;
    uint32_t number; /* in the picture */
    struct transcode_slot slot;
};

struct rung_reader {
    AVCodecContext *decoder;
    uint32_t count;
    struct picture_out pictures[PICTURES_MAX];
    AVFrame *frame;
};

static inline void rung_reader_open(struct rung_reader *r, const struct transcode_output *output) {
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    *r = (struct rung_reader){.decoder = avcodec_alloc_context3(codec), .frame = av_frame_alloc()};
    r->decoder->extradata = av_mallocz(output->config_len + AV_INPUT_BUFFER_PADDING_SIZE);
    memcpy(r->decoder->extradata, output->config, output->config_len);
    r->decoder->extradata_size = (int)output->config_len;
    r->decoder->thread_count = 1;
    r->decoder->err_recognition = AV_EF_EXPLODE;
    if (avcodec_open2(r->decoder, codec, NULL) < 0)
        abort();
}

static inline void rung_reader_take(struct rung_reader *r, const struct transcode_frame *frame) {
    AVPacket *p = av_packet_alloc();
    if (av_new_packet(p, (int)frame->len) < 0)
        abort();
    memcpy(p->data, frame->data, frame->len);
    struct picture_out *out = &r->pictures[r->count++];
    *out = (struct picture_out){frame->slot.dts_ts, frame->slot.pts_ts, frame->slot.independent, 0, frame->slot};
    if (avcodec_send_packet(r->decoder, p) < 0 || avcodec_receive_frame(r->decoder, r->frame) < 0)
        abort(); /* each can be decoded at once */
    out->number = picture_read(r->frame);
    if (frame->slot.independent != !!(r->frame->key_frame))
        abort();
    av_packet_free(&p);
}

static inline void rung_reader_close(struct rung_reader *r) {
    avcodec_free_context(&r->decoder);
    av_frame_free(&r->frame);
}
