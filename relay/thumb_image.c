#include "relay/thumb_image.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/media/cmaf.h"

enum {
    QUALITY = 4,             /* quantiser scale of FFmpeg's MJPEG, 2 (best) to 31 */
    SAMPLE_ENTRY_BYTES = 78, /* of a VisualSampleEntry before its boxes (ISO/IEC 14496-12 §12.1.3) */
    STSD_BYTES = 8,
    CONFIG_MAX = 1 << 20,
};

/* Of a sample entry: the codec, and the box that its configuration stands in, after so many bytes. */
static const struct entry {
    uint32_t type, config;
    size_t skip;
    enum AVCodecID codec;
} entries[] = {
    {CMAF_TYPE('a', 'v', 'c', '1'), CMAF_TYPE('a', 'v', 'c', 'C'), 0, AV_CODEC_ID_H264},
    {CMAF_TYPE('h', 'v', 'c', '1'), CMAF_TYPE('h', 'v', 'c', 'C'), 0, AV_CODEC_ID_HEVC},
    {CMAF_TYPE('h', 'e', 'v', '1'), CMAF_TYPE('h', 'v', 'c', 'C'), 0, AV_CODEC_ID_HEVC},
    {CMAF_TYPE('a', 'v', '0', '1'), CMAF_TYPE('a', 'v', '1', 'C'), 0, AV_CODEC_ID_AV1},
    {CMAF_TYPE('v', 'p', '0', '9'), CMAF_TYPE('v', 'p', 'c', 'C'), 4, AV_CODEC_ID_VP9}, /* a full box */
};

struct bytes {
    const uint8_t *data;
    size_t len;
};

/* --- what is to be decoded --- */

static bool descend(struct bytes *in, uint32_t type, size_t skip) {
    struct cmaf_box box;
    if (cmaf_box_find(in->data, in->len, type, &box) <= 0 || box.len < skip)
        return false;
    *in = (struct bytes){box.data + skip, box.len - skip};
    return true;
}

/* The first track's first sample entry. */
static int find_config(const struct blob *init, enum AVCodecID *ret_codec, struct bytes *ret_config) {
    static const uint32_t path[] = {CMAF_TYPE('m', 'o', 'o', 'v'), CMAF_TYPE('t', 'r', 'a', 'k'),
                                    CMAF_TYPE('m', 'd', 'i', 'a'), CMAF_TYPE('m', 'i', 'n', 'f'),
                                    CMAF_TYPE('s', 't', 'b', 'l')};
    struct bytes in = {init->data, init->len};
    struct cmaf_box entry;
    for (size_t i = 0; i < sizeof path / sizeof *path; i++)
        if (!descend(&in, path[i], 0))
            return -EBADMSG;
    if (!descend(&in, CMAF_TYPE('s', 't', 's', 'd'), STSD_BYTES) || cmaf_box_next(&in.data, &in.len, &entry) <= 0)
        return -EBADMSG;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (entries[i].type != entry.type)
            continue;
        struct bytes config = {entry.data, entry.len};
        if (config.len < SAMPLE_ENTRY_BYTES)
            return -EBADMSG;
        config.data += SAMPLE_ENTRY_BYTES;
        config.len -= SAMPLE_ENTRY_BYTES;
        if (!descend(&config, entries[i].config, entries[i].skip) || config.len > CONFIG_MAX)
            return -EBADMSG;
        *ret_codec = entries[i].codec;
        *ret_config = config;
        return 0;
    }
    return -ENOTSUP;
}

static int find_sample(const struct slice *chunk, struct bytes *ret_sample) {
    const uint8_t *data = chunk->blob->data + chunk->off;
    struct cmaf_chunk parsed;
    struct cmaf_box mdat;
    if (chunk->len > THUMB_CHUNK_MAX)
        return -EFBIG;
    if (cmaf_chunk_parse(data, chunk->len, &parsed) ||
        cmaf_box_find(data, chunk->len, CMAF_TYPE('m', 'd', 'a', 't'), &mdat) <= 0 ||
        parsed.first_sample_bytes > mdat.len || !parsed.first_sample_bytes)
        return -EBADMSG;
    *ret_sample = (struct bytes){mdat.data, parsed.first_sample_bytes};
    return 0;
}

/* --- decoding --- */

static AVCodecContext *decoder_create(const AVCodec *codec, const struct bytes *config) {
    AVCodecContext *decoder = avcodec_alloc_context3(codec);
    uint8_t *extra = av_mallocz(config->len + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!decoder || !extra)
        abort();
    memcpy(extra, config->data, config->len);
    decoder->extradata = extra;
    decoder->extradata_size = (int)config->len;
    decoder->max_pixels = THUMB_PIXELS_MAX;
    decoder->thread_count = 1; /* the others are for viewers */
    decoder->error_concealment = 0;
    decoder->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT; /* a frame that others may refer past is shown, too */
    if (avcodec_open2(decoder, codec, NULL) < 0)
        avcodec_free_context(&decoder);
    return decoder;
}

/* One sample in, the end after it, one picture out. */
static int run_decoder(AVCodecContext *decoder, const struct bytes *sample, AVFrame *frame) {
    AVPacket *packet = av_packet_alloc();
    if (!packet || av_new_packet(packet, (int)sample->len) < 0)
        abort();
    memcpy(packet->data, sample->data, sample->len);
    packet->flags |= AV_PKT_FLAG_KEY;
    int rc = avcodec_send_packet(decoder, packet);
    av_packet_free(&packet);
    if (rc >= 0)
        rc = avcodec_send_packet(decoder, NULL);
    if (rc >= 0)
        rc = avcodec_receive_frame(decoder, frame);
    if (rc < 0 || frame->width < 1 || frame->height < 1)
        return -EBADMSG;
    return (int64_t)frame->width * frame->height > THUMB_PIXELS_MAX ? -EFBIG : 0;
}

static int decode(enum AVCodecID id, const struct bytes *config, const struct bytes *sample, AVFrame *frame) {
    const AVCodec *codec = avcodec_find_decoder(id);
    if (!codec)
        return -ENOTSUP;
    AVCodecContext *decoder = decoder_create(codec, config);
    int rc = decoder ? run_decoder(decoder, sample, frame) : -EBADMSG;
    avcodec_free_context(&decoder);
    return rc;
}

/* --- scaling --- */

/* Square pixels of the picture as it is shown, as wide as is wanted and never more of them than there are. */
static void fit(const AVFrame *frame, uint32_t width, int *ret_width, int *ret_height) {
    int64_t shown = frame->width, num = frame->sample_aspect_ratio.num, den = frame->sample_aspect_ratio.den;
    if (num > 0 && den > 0 && num < 4 * den && den < 4 * num)
        shown = frame->width * num / den > 0 ? frame->width * num / den : 1;
    int64_t most = shown < frame->width ? shown : frame->width, w = width < most ? width : most;
    int64_t h = (frame->height * w + shown / 2) / shown;
    *ret_width = (int)w;
    *ret_height = (int)(h < 1 ? 1 : h > frame->height ? frame->height : h);
}

static AVFrame *scale(const AVFrame *frame, uint32_t width) {
    AVFrame *scaled = av_frame_alloc();
    if (!scaled)
        abort();
    fit(frame, width, &scaled->width, &scaled->height);
    scaled->format = AV_PIX_FMT_YUVJ420P;
    scaled->color_range = AVCOL_RANGE_JPEG;
    struct SwsContext *sws = sws_getContext(frame->width, frame->height, frame->format, scaled->width, scaled->height,
                                            scaled->format, SWS_BILINEAR, NULL, NULL, NULL);
    bool ok = sws && av_frame_get_buffer(scaled, 0) >= 0;
    if (ok) {
        /* JFIF is BT.601 in full range, whatever the stream has. */
        const int *from = sws_getCoefficients((int)frame->colorspace), *to = sws_getCoefficients(SWS_CS_ITU601);
        sws_setColorspaceDetails(sws, from, frame->color_range == AVCOL_RANGE_JPEG, to, 1, 0, 1 << 16, 1 << 16);
        ok = sws_scale(sws, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, scaled->data,
                       scaled->linesize) == scaled->height;
    }
    sws_freeContext(sws);
    if (!ok)
        av_frame_free(&scaled);
    return scaled;
}

/* --- encoding --- */

static AVCodecContext *encoder_create(const AVFrame *frame) {
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    AVCodecContext *encoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!encoder)
        return NULL;
    encoder->width = frame->width;
    encoder->height = frame->height;
    encoder->pix_fmt = frame->format;
    encoder->color_range = frame->color_range;
    encoder->time_base = (AVRational){1, 1};
    encoder->thread_count = 1;
    encoder->flags |= AV_CODEC_FLAG_QSCALE;
    encoder->global_quality = QUALITY * FF_QP2LAMBDA;
    if (avcodec_open2(encoder, codec, NULL) < 0)
        avcodec_free_context(&encoder);
    return encoder;
}

static int encode(AVFrame *frame, struct blob **ret_jpeg) {
    AVCodecContext *encoder = encoder_create(frame);
    if (!encoder)
        return -ENOTSUP;
    AVPacket *packet = av_packet_alloc();
    if (!packet)
        abort();
    frame->quality = encoder->global_quality;
    int rc = avcodec_send_frame(encoder, frame) < 0 || avcodec_receive_packet(encoder, packet) < 0 ? -EBADMSG : 0;
    if (!rc && packet->size > THUMB_JPEG_MAX)
        rc = -EFBIG;
    if (!rc)
        *ret_jpeg = blob_create_copy(packet->data, (size_t)packet->size);
    av_packet_free(&packet);
    avcodec_free_context(&encoder);
    return rc;
}

int thumb_image_make(const struct blob *init, const struct slice *chunk, uint32_t width, struct blob **ret_jpeg) {
    enum AVCodecID codec;
    struct bytes config, sample;
    int rc = find_config(init, &codec, &config);
    if (!rc)
        rc = find_sample(chunk, &sample);
    if (rc)
        return rc;
    av_log_set_level(AV_LOG_QUIET); /* what matters comes back as an error */
    AVFrame *frame = av_frame_alloc(), *scaled = NULL;
    if (!frame)
        abort();
    rc = decode(codec, &config, &sample, frame);
    if (!rc) {
        scaled = scale(frame, width);
        rc = scaled ? encode(scaled, ret_jpeg) : -EBADMSG;
    }
    av_frame_free(&scaled);
    av_frame_free(&frame);
    return rc;
}
