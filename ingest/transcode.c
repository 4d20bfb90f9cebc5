#include "ingest/transcode.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ingest/annexb.h"

enum {
    HZ = 90000,
    PENDING_MAX = 64,
    REORDER_UNANNOUNCED = 2, /* pictures that B-frames are taken to need where the SPS doesn't say */
    SLACK = 2,               /* source frames that a decoder may be behind beyond its reordering */
    PIXELS_MAX = 8192 * 8192,
    NAL_IDR_PREFIX = 4,
};

struct rung_encoder {
    struct transcode_output output;
    AVCodecContext *encoder; /* NULL: closed */
    struct SwsContext *scaler;
    AVFrame *picture;
    struct transcode_slot slots[PENDING_MAX]; /* given to the encoder; first in, first out */
    uint32_t slot_first, slot_count;
    uint32_t covered; /* source frames that the last one stands for so far; 0: it is settled how long it lasts */
    uint8_t *held;    /* that one as it is encoded; NULL: it isn't yet */
    size_t held_len;
    uint64_t busy_us;
};

struct transcode {
    struct transcode_settings settings;
    transcode_emit_fn *emit;
    void *ctx;
    AVCodecContext *decoder;
    AVPacket *packet, *encoded;
    AVFrame *decoded, *latest; /* latest: the picture that was encoded last */
    /* Source frames whose picture has not come out: slots in the order of decoding, and the times of pictures in that
     * of presentation. */
    struct transcode_slot slots[PENDING_MAX];
    int64_t shown[PENDING_MAX];
    uint32_t pending;
    int64_t base_ts;  /* the encoders' time 0 */
    int64_t last_pts; /* of the picture that was encoded last */
    bool skipping;    /* until the next independent frame */
    uint64_t repeated;
    struct rung_encoder rungs[RUNGS_MAX];
    uint8_t *unit; /* an access unit as it is emitted */
    size_t unit_size;
};

static void *must(void *allocated) {
    if (!allocated)
        abort();
    return allocated;
}

static uint64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* --- the decoder --- */

static enum AVCodecID id_of(enum codec codec) {
    switch (codec) {
    case CODEC_H264:
        return AV_CODEC_ID_H264;
    case CODEC_HEVC:
        return AV_CODEC_ID_HEVC;
    case CODEC_AV1:
        return AV_CODEC_ID_AV1;
    case CODEC_VP9:
        return AV_CODEC_ID_VP9;
    default:
        return AV_CODEC_ID_NONE;
    }
}

static int open_decoder(struct transcode *t) {
    const struct transcode_settings *s = &t->settings;
    const AVCodec *codec = avcodec_find_decoder(id_of(s->source.codec));
    if (!codec)
        return -EINVAL;
    AVCodecContext *d = t->decoder = must(avcodec_alloc_context3(codec));
    if (s->source.codec != CODEC_VP9) { /* its record says nothing that frames don't */
        d->extradata = must(av_mallocz(s->config_len + AV_INPUT_BUFFER_PADDING_SIZE));
        memcpy(d->extradata, s->config, s->config_len);
        d->extradata_size = (int)s->config_len;
    }
    d->pkt_timebase = (AVRational){1, HZ};
    d->thread_count = 1; /* each more holds back a frame */
    d->max_pixels = PIXELS_MAX;
    if (s->source.codec == CODEC_AV1)
        d->flags |= AV_CODEC_FLAG_LOW_DELAY;
    if (s->source.codec == CODEC_H264 && s->reorders && !s->source.has_reorder_hints)
        d->has_b_frames = REORDER_UNANNOUNCED;
    return avcodec_open2(d, codec, NULL) < 0 ? -EINVAL : 0;
}

static int send_packet(struct transcode *t, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    if (len > INT_MAX - AV_INPUT_BUFFER_PADDING_SIZE || av_new_packet(t->packet, (int)len) < 0)
        return -EINVAL;
    memcpy(t->packet->data, data, len);
    t->packet->pts = slot ? slot->pts_ts : 0;
    t->packet->dts = slot ? slot->dts_ts : 0;
    t->packet->flags = !slot || slot->independent ? AV_PKT_FLAG_KEY : 0;
    int rc = avcodec_send_packet(t->decoder, t->packet);
    av_packet_unref(t->packet);
    return rc;
}

/* The first picture, as decoding it alone gives it. */
static int peek_picture(struct transcode *t, const uint8_t *key, size_t len) {
    if (send_packet(t, NULL, key, len) < 0)
        return -EINVAL;
    avcodec_send_packet(t->decoder, NULL);
    int rc = avcodec_receive_frame(t->decoder, t->latest);
    avcodec_flush_buffers(t->decoder);
    return rc < 0 || t->latest->width < 2 || t->latest->height < 2 ? -EINVAL : 0;
}

/* --- the encoders --- */

/* Where a source doesn't say what its colours are players go by its size, which is another in a rung. */
static enum AVColorSpace matrix_of(const AVFrame *picture) {
    if (picture->colorspace != AVCOL_SPC_UNSPECIFIED && picture->colorspace != AVCOL_SPC_RGB)
        return picture->colorspace;
    return picture->height >= 720 || picture->width >= 1280 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
}

static bool is_full_range(const AVFrame *picture) {
    return picture->color_range == AVCOL_RANGE_JPEG || picture->format == AV_PIX_FMT_YUVJ420P ||
           picture->format == AV_PIX_FMT_YUVJ422P || picture->format == AV_PIX_FMT_YUVJ444P;
}

static void set_colours(AVCodecContext *e, const AVFrame *picture) {
    e->color_range = is_full_range(picture) ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    e->colorspace = matrix_of(picture);
    e->color_primaries = picture->color_primaries;
    e->color_trc = picture->color_trc;
    e->chroma_sample_location = picture->chroma_location;
    e->sample_aspect_ratio = picture->sample_aspect_ratio;
}

static int even(int64_t numerator, int64_t denominator) {
    int64_t half = (numerator + denominator) / (2 * denominator);
    return (int)(half < 1 ? 2 : 2 * half);
}

static void set_size(AVCodecContext *e, const AVFrame *picture, uint16_t height) {
    int shorter = picture->width < picture->height ? picture->width : picture->height;
    e->width = even((int64_t)picture->width * height, shorter);
    e->height = even((int64_t)picture->height * height, shorter);
}

static enum AVPixelFormat format_of(const AVCodec *codec) {
    for (const enum AVPixelFormat *f = codec->pix_fmts; f && *f != AV_PIX_FMT_NONE; f++)
        if (*f == AV_PIX_FMT_NV12 && codec->pix_fmts[0] != AV_PIX_FMT_YUV420P && strcmp(codec->name, "libx264"))
            return AV_PIX_FMT_NV12;
    return AV_PIX_FMT_YUV420P;
}

static int every_of(const struct rung *rung) {
    return rung->every ? rung->every : 1;
}

/* No picture waits for another, and key frames are where they are asked for and nowhere else. Options that an encoder
 * doesn't have are passed over. */
static void set_options(const struct transcode_settings *s, AVCodecContext *e, const struct rung *rung) {
    e->time_base = (AVRational){1, HZ};
    e->framerate = (AVRational){(int)(s->rate_milli ? s->rate_milli : 30000), 1000 * every_of(rung)};
    e->bit_rate = rung->kbps * INT64_C(1000);
    e->rc_max_rate = e->bit_rate + e->bit_rate / 5;
    e->rc_buffer_size = (int)e->bit_rate;
    e->max_b_frames = 0;
    e->gop_size = INT_MAX / 2;
    e->thread_count = 1;
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    bool x264 = !strcmp(e->codec->name, "libx264");
    if (x264) {
        av_opt_set(e->priv_data, "preset", rung->preset ? rung->preset : s->preset, 0);
        av_opt_set(e->priv_data, "tune", "zerolatency", 0);
        av_opt_set(e->priv_data, "x264-params", "scenecut=0:keyint=infinite", 0);
    }
    av_opt_set_int(e->priv_data, "forced-idr", 1, 0);
    av_opt_set_int(e->priv_data, "zerolatency", 1, 0);
    av_opt_set_int(e->priv_data, "delay", 0, 0);
}

static const uint8_t *nals(const uint8_t *data, size_t len, uint8_t type, struct nal *ret_nal) {
    while (annexb_nal_next(&data, &len, ret_nal))
        if (ret_nal->len && (ret_nal->data[0] & 0x1f) == type)
            return ret_nal->data;
    return NULL;
}

/* avcC (ISO/IEC 14496-15 §5.3.3.1.2) of the parameter sets that the encoder gave when it was opened. */
static int make_config(const AVCodecContext *e, struct transcode_output *output) {
    enum { SPS = 7, PPS = 8, HEAD = 6, BETWEEN = 3 };
    struct nal sps, pps;
    if (!e->extradata || !nals(e->extradata, (size_t)e->extradata_size, SPS, &sps) ||
        !nals(e->extradata, (size_t)e->extradata_size, PPS, &pps) || sps.len < 4 ||
        HEAD + 2 + sps.len + BETWEEN + pps.len + 4 > TRANSCODE_CONFIG_MAX)
        return -EINVAL;
    uint8_t *out = output->config;
    const uint8_t head[] = {
        1, sps.data[1], sps.data[2], sps.data[3], 0xff, 0xe1, (uint8_t)(sps.len >> 8), (uint8_t)sps.len};
    memcpy(out, head, sizeof head);
    out += sizeof head;
    memcpy(out, sps.data, sps.len);
    out += sps.len;
    *out++ = 1;
    *out++ = (uint8_t)(pps.len >> 8);
    *out++ = (uint8_t)pps.len;
    memcpy(out, pps.data, pps.len);
    out += pps.len;
    if (sps.data[1] >= 100) { /* High profiles: 4:2:0, 8 bits, no extensions */
        const uint8_t tail[] = {0xfd, 0xf8, 0xf8, 0};
        memcpy(out, tail, sizeof tail);
        out += sizeof tail;
    }
    output->config_len = (size_t)(out - output->config);
    output->peak_bps = (uint32_t)e->rc_max_rate;
    output->width = (uint16_t)e->width;
    output->height = (uint16_t)e->height;
    return 0;
}

static const AVCodec *find_encoder(const char *name) {
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    return codec && codec->id == AV_CODEC_ID_H264 ? codec : NULL;
}

bool transcode_has_encoder(const char *name) {
    return find_encoder(name);
}

static int open_rung(struct transcode *t, uint32_t i) {
    struct rung_encoder *r = &t->rungs[i];
    const AVCodec *codec = find_encoder(t->settings.encoder);
    if (!codec)
        return -EINVAL;
    AVCodecContext *e = r->encoder = must(avcodec_alloc_context3(codec));
    set_size(e, t->latest, t->settings.rungs[i].height);
    set_colours(e, t->latest);
    e->pix_fmt = format_of(codec);
    set_options(&t->settings, e, &t->settings.rungs[i]);
    if (avcodec_open2(e, codec, NULL) < 0 || make_config(e, &r->output))
        return -EINVAL;
    r->picture = must(av_frame_alloc());
    r->picture->format = e->pix_fmt;
    r->picture->width = e->width;
    r->picture->height = e->height;
    return av_frame_get_buffer(r->picture, 0) < 0 ? -EINVAL : 0;
}

void transcode_close(struct transcode *t, uint32_t i) {
    struct rung_encoder *r = &t->rungs[i];
    avcodec_free_context(&r->encoder);
    sws_freeContext(r->scaler);
    r->scaler = NULL;
    av_frame_free(&r->picture);
    r->slot_count = r->covered = 0;
    free(r->held);
    r->held = NULL;
}

bool transcode_closed(const struct transcode *t, uint32_t i) {
    return !t->rungs[i].encoder;
}

/* --- life --- */

int transcode_create(const struct transcode_settings *settings, const uint8_t *key, size_t len, transcode_emit_fn *emit,
                     void *ctx, struct transcode **ret_transcode, const char **ret_why) {
    struct transcode *t = must(calloc(1, sizeof *t));
    av_log_set_level(AV_LOG_QUIET); /* what matters comes back as an error */
    t->settings = *settings;
    t->emit = emit;
    t->ctx = ctx;
    t->last_pts = INT64_MIN;
    t->packet = must(av_packet_alloc());
    t->encoded = must(av_packet_alloc());
    t->decoded = must(av_frame_alloc());
    t->latest = must(av_frame_alloc());
    *ret_why = "the source's first picture can't be decoded";
    if (open_decoder(t) || peek_picture(t, key, len))
        goto fail;
    *ret_why = "the encoder can't be opened";
    for (uint32_t i = 0; i < settings->rung_count; i++)
        if (open_rung(t, i))
            goto fail;
    t->settings.config = NULL;
    t->settings.encoder = t->settings.preset = NULL;
    *ret_transcode = t;
    return 0;
fail:
    transcode_destroy(t);
    return -EINVAL;
}

void transcode_destroy(struct transcode *t) {
    if (!t)
        return;
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        transcode_close(t, i);
    avcodec_free_context(&t->decoder);
    av_packet_free(&t->packet);
    av_packet_free(&t->encoded);
    av_frame_free(&t->decoded);
    av_frame_free(&t->latest);
    free(t->unit);
    free(t);
}

const struct transcode_output *transcode_output(const struct transcode *t, uint32_t i) {
    return &t->rungs[i].output;
}

uint64_t transcode_busy_us(const struct transcode *t, uint32_t i) {
    return t->rungs[i].busy_us;
}

uint64_t transcode_repeated(const struct transcode *t) {
    return t->repeated;
}

/* --- pictures out --- */

/* Slices alone: the rest is in the configuration, or of no use. */
static size_t make_unit(struct transcode *t, const AVPacket *packet) {
    enum { SLICE = 1, IDR = 5 };
    const uint8_t *data = packet->data;
    size_t len = (size_t)packet->size, out = 0;
    struct nal nal;
    if (t->unit_size < 2 * len + NAL_IDR_PREFIX) { /* a start code may be one byte shorter than a length */
        free(t->unit);
        t->unit_size = 2 * len + NAL_IDR_PREFIX;
        t->unit = must(malloc(t->unit_size));
    }
    while (annexb_nal_next(&data, &len, &nal)) {
        uint8_t type = nal.len ? nal.data[0] & 0x1f : 0;
        if (type < SLICE || type > IDR)
            continue;
        const uint8_t length[] = {(uint8_t)(nal.len >> 24), (uint8_t)(nal.len >> 16), (uint8_t)(nal.len >> 8),
                                  (uint8_t)nal.len};
        memcpy(t->unit + out, length, sizeof length);
        memcpy(t->unit + out + sizeof length, nal.data, nal.len);
        out += sizeof length + nal.len;
    }
    return out;
}

static void emit_first(struct transcode *t, uint32_t i, const uint8_t *data, size_t len) {
    struct rung_encoder *r = &t->rungs[i];
    const struct transcode_frame frame = {.rung = i, .slot = r->slots[r->slot_first], .data = data, .len = len};
    r->slot_first = (r->slot_first + 1) % PENDING_MAX;
    r->slot_count--;
    t->emit(t->ctx, &frame);
}

static bool emit_packet(struct transcode *t, uint32_t i) {
    struct rung_encoder *r = &t->rungs[i];
    if (!r->slot_count || r->held)
        return false;
    size_t len = make_unit(t, t->encoded);
    if (!len || (r->slots[r->slot_first].independent && !(t->encoded->flags & AV_PKT_FLAG_KEY)))
        return false;
    if (r->slot_count > 1 || !r->covered) {
        emit_first(t, i, t->unit, len);
    } else {
        r->held = memcpy(must(malloc(len)), t->unit, len);
        r->held_len = len;
    }
    return true;
}

/* How long the last picture lasts is settled. */
static void settle(struct transcode *t, uint32_t i) {
    struct rung_encoder *r = &t->rungs[i];
    r->covered = 0;
    if (r->held)
        emit_first(t, i, r->held, r->held_len);
    free(r->held);
    r->held = NULL;
}

static void count(struct transcode *t, uint32_t i) {
    if (++t->rungs[i].covered >= (uint32_t)every_of(&t->settings.rungs[i]))
        settle(t, i);
}

/* The last picture goes on being shown. */
static void prolong(struct transcode *t, uint32_t i, const struct transcode_slot *slot) {
    struct rung_encoder *r = &t->rungs[i];
    if (!r->covered)
        return;
    r->slots[(r->slot_first + r->slot_count - 1) % PENDING_MAX].duration_ts += slot->duration_ts;
    count(t, i);
}

/* NULL: to the end. False: the encoder has failed. */
static bool encode(struct transcode *t, uint32_t i, const AVFrame *picture) {
    struct rung_encoder *r = &t->rungs[i];
    if (avcodec_send_frame(r->encoder, picture) < 0)
        return false;
    int rc;
    while (!(rc = avcodec_receive_packet(r->encoder, t->encoded))) {
        bool ok = emit_packet(t, i);
        av_packet_unref(t->encoded);
        if (!ok)
            return false;
    }
    return rc == AVERROR(EAGAIN) || rc == AVERROR_EOF;
}

static bool scale(struct rung_encoder *r, const AVFrame *source) {
    bool had = r->scaler;
    struct SwsContext *before = r->scaler;
    r->scaler = sws_getCachedContext(r->scaler, source->width, source->height, source->format, r->picture->width,
                                     r->picture->height, r->picture->format, SWS_BILINEAR, NULL, NULL, NULL);
    if (!r->scaler || av_frame_make_writable(r->picture) < 0)
        return false;
    if (!had || r->scaler != before) { /* of one matrix and range on both sides */
        const int *matrix = sws_getCoefficients((int)matrix_of(source));
        int full = is_full_range(source);
        sws_setColorspaceDetails(r->scaler, matrix, full, matrix, full, 0, 1 << 16, 1 << 16);
    }
    return sws_scale(r->scaler, (const uint8_t *const *)source->data, source->linesize, 0, source->height,
                     r->picture->data, r->picture->linesize) > 0;
}

static bool encode_rung(struct transcode *t, uint32_t i, const struct transcode_slot *slot) {
    struct rung_encoder *r = &t->rungs[i];
    if (t->settings.on_encode)
        t->settings.on_encode(t->settings.on_encode_ctx, i);
    if (r->slot_count == PENDING_MAX || !scale(r, t->latest))
        return false;
    settle(t, i);
    r->slots[(r->slot_first + r->slot_count++) % PENDING_MAX] = *slot;
    count(t, i);
    r->picture->pts = slot->pts_ts - t->base_ts;
    r->picture->pict_type = slot->independent ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    return encode(t, i, r->picture);
}

/* The latest picture, in the slot that is next. The smallest rung first: it is there soonest. */
static void show(struct transcode *t) {
    struct transcode_slot slot = t->slots[0];
    slot.pts_ts = t->shown[0];
    if (slot.pts_ts <= t->last_pts)
        slot.pts_ts = t->last_pts + 1;
    if (slot.pts_ts < slot.dts_ts)
        slot.pts_ts = slot.dts_ts;
    t->last_pts = slot.pts_ts;
    t->pending--;
    memmove(t->slots, t->slots + 1, t->pending * sizeof *t->slots);
    memmove(t->shown, t->shown + 1, t->pending * sizeof *t->shown);
    for (uint32_t i = t->settings.rung_count; i-- > 0;) {
        if (transcode_closed(t, i))
            continue;
        if (!(slot.rungs & 1u << i)) {
            prolong(t, i, &slot);
            continue;
        }
        uint64_t before_us = now_us();
        bool ok = encode_rung(t, i, &slot);
        t->rungs[i].busy_us += now_us() - before_us;
        if (!ok)
            transcode_close(t, i);
    }
}

static void repeat(struct transcode *t, uint32_t keep) {
    for (; t->pending > keep; t->repeated++)
        show(t);
}

static bool awaited(const struct transcode *t, int64_t pts) {
    for (uint32_t i = 0; i < t->pending; i++)
        if (t->shown[i] == pts)
            return true;
    return false;
}

/* Pictures that should have come before it are lost. One that comes after its time is of no use. */
static int take_pictures(struct transcode *t) {
    int rc;
    while (!(rc = avcodec_receive_frame(t->decoder, t->decoded))) {
        if (awaited(t, t->decoded->pts)) {
            for (; t->shown[0] != t->decoded->pts; t->repeated++)
                show(t);
            av_frame_unref(t->latest);
            av_frame_move_ref(t->latest, t->decoded);
            show(t);
        }
        av_frame_unref(t->decoded);
    }
    return rc == AVERROR(EAGAIN) || rc == AVERROR_EOF ? 0 : rc;
}

/* --- frames in --- */

static void await_picture(struct transcode *t, const struct transcode_slot *slot) {
    uint32_t k = t->pending;
    for (; k > 0 && t->shown[k - 1] > slot->pts_ts; k--)
        t->shown[k] = t->shown[k - 1];
    t->shown[k] = slot->pts_ts;
    t->slots[t->pending++] = *slot;
}

/* What is under way in the decoder is lost, and nothing can be decoded until an independent frame comes. */
static void lose_sync(struct transcode *t) {
    t->skipping = true;
    avcodec_flush_buffers(t->decoder);
}

void transcode_frame(struct transcode *t, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    if (t->last_pts == INT64_MIN && !t->pending)
        t->base_ts = slot->dts_ts;
    await_picture(t, slot);
    t->skipping &= !slot->independent;
    if (!t->skipping && (send_packet(t, slot, data, len) < 0 || take_pictures(t) < 0))
        lose_sync(t);
    uint32_t behind = t->skipping ? 0 : (uint32_t)t->decoder->has_b_frames + SLACK;
    repeat(t, behind < PENDING_MAX - 1 ? behind : PENDING_MAX - 1);
}

void transcode_drain(struct transcode *t) {
    if (!t->skipping) {
        avcodec_send_packet(t->decoder, NULL);
        take_pictures(t);
        lose_sync(t);
    }
    repeat(t, 0);
    for (uint32_t i = 0; i < t->settings.rung_count; i++) {
        if (transcode_closed(t, i))
            continue;
        settle(t, i);
        if (t->rungs[i].slot_count && !encode(t, i, NULL))
            transcode_close(t, i);
    }
}
