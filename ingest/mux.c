/* One track's CMAF muxer: libavformat's mov muxer, held to what live streaming needs. It is one muxer per track, and a
 * chunk is whatever was written between two flushes.
 *
 * What is surprising about that muxer, and what is done here about each:
 *  - A chunk's first dts is taken from the durations so far, not from the packet, unless the discontinuity flag is
 *    set. So it is set again before every chunk: tfdt is then exactly our absolute time, and no error adds up.
 *  - A dts that it doesn't like costs the packet its pts (or aborts the process), so check_frames() refuses it first.
 *  - Without skip_trailer it remembers every fragment for ever. `cmaf` and negative cts offsets shift ffmpeg's readers,
 *    an edit list shifts everybody: neither is used, cts offsets are positive.
 *  - It keeps its own prft to milliseconds and allocates for it; ours is 32 bytes and is written here.
 *
 * A chunk's bytes go from libavformat's 4 KiB straight into their blob: the moof comes first and says how long it is,
 * the rest is known, so the blob is made to measure at the first write. */
#include "ingest/mux.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavcodec/packet.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "ingest/aac.h"
#include "ingest/av1.h"
#include "ingest/flac.h"
#include "ingest/vp9.h"

enum {
    AVIO_BYTES = 4096, /* sizes of boxes are set afterwards, within this buffer: what has them must fit into it, so: */
    INIT_BYTES = 1024, /* without the configuration, which makes the buffer larger if need be */
    FRAMES_MAX = 192,  /* a chunk */
    PAYLOAD_MAX = 64 * 1024 * 1024, /* likewise, bytes */
    SPAN_MAX_S = 60,             /* a frame's duration and cts offset, and the distance between two frames of a chunk */
    JUMP_MAX_TS = INT32_MAX / 2, /* between chunks: libavformat takes none past INT_MAX, whatever the flag says */
    PRFT_BYTES = 32,
    PRFT_FLAGS = 24, /* ISO/IEC 14496-12 §8.16.5: the time is when the media was handed over */
    MDAT_HEADER_BYTES = 8,
};

#define DTS_MAX      (INT64_C(1) << 56)   /* far past every clock, far below every overflow */
#define NTP_UNIX_S   UINT64_C(2208988800) /* seconds from 1900 to 1970 */
#define FLAGS_OPTION "movflags"

struct mux {
    AVFormatContext *format;
    AVPacket *packet; /* reused */
    enum codec codec;
    uint32_t track_id, timescale;
    int64_t flags;   /* movflags, with frag_discont */
    int64_t end_ts;  /* dts + duration of the last frame so far */
    bool broken;     /* libavformat failed half-way through a chunk */
    struct buf init; /* where bytes go until the header is written */
    bool header_written;
    /* the chunk under way */
    struct blob *blob;
    size_t prefix_bytes, body_bytes, filled; /* of the blob; filled counts from its start */
    size_t payload_bytes;
    int64_t capture_us, first_pts_ts;
};

static uint32_t rd32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *wr32(uint8_t *p, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
        *p++ = (uint8_t)(value >> shift);
    return p;
}

static uint8_t *wr64(uint8_t *p, uint64_t value) {
    return wr32(wr32(p, (uint32_t)(value >> 32)), (uint32_t)value);
}

/* --- where libavformat's bytes go --- */

/* ISO/IEC 14496-12 §8.16.5, version 1. The NTP era wraps in 2036, as the format has it. */
static void write_prft(uint8_t *p, const struct mux *mux) {
    uint64_t us = (uint64_t)mux->capture_us;
    uint64_t ntp = (us / 1000000 + NTP_UNIX_S) << 32 | ((us % 1000000) << 32) / 1000000;
    p = wr32(p, PRFT_BYTES);
    memcpy(p, "prft", 4);
    p = wr32(p + 4, UINT32_C(1) << 24 | PRFT_FLAGS);
    p = wr32(p, mux->track_id);
    p = wr64(p, ntp);
    wr64(p, (uint64_t)mux->first_pts_ts);
}

/* `data` is the beginning of the moof. */
static int begin_blob(struct mux *mux, const uint8_t *data, size_t len) {
    if (len < 8 || memcmp(data + 4, "moof", 4) != 0)
        return -EIO;
    size_t prft = mux->capture_us > 0 ? PRFT_BYTES : 0;
    mux->body_bytes = prft + rd32(data) + MDAT_HEADER_BYTES + mux->payload_bytes;
    struct slice body = blob_create_framed(mux->body_bytes, true);
    mux->blob = body.blob;
    mux->prefix_bytes = body.off;
    if (prft)
        write_prft(mux->blob->data + mux->prefix_bytes, mux);
    mux->filled = mux->prefix_bytes + prft;
    return 0;
}

static int append_chunk(struct mux *mux, const uint8_t *data, size_t len) {
    int rc = mux->blob ? 0 : begin_blob(mux, data, len);
    if (rc)
        return rc;
    if (len > mux->prefix_bytes + mux->body_bytes - mux->filled)
        return -EIO;
    memcpy(mux->blob->data + mux->filled, data, len);
    mux->filled += len;
    return 0;
}

static int on_write(void *opaque, uint8_t *data, int len) {
    struct mux *mux = opaque;
    int rc = mux->header_written ? append_chunk(mux, data, (size_t)len) : buf_append(&mux->init, data, (size_t)len);
    return rc ? rc : len; /* AVERROR codes are negative errno here */
}

/* --- making one --- */

static void silence_libav(void) {
    av_log_set_level(AV_LOG_QUIET); /* what matters comes back as an error */
}

static const enum AVCodecID av_codecs[] = {
    [CODEC_H264] = AV_CODEC_ID_H264, [CODEC_HEVC] = AV_CODEC_ID_HEVC, [CODEC_AV1] = AV_CODEC_ID_AV1,
    [CODEC_VP9] = AV_CODEC_ID_VP9,   [CODEC_AAC] = AV_CODEC_ID_AAC,   [CODEC_OPUS] = AV_CODEC_ID_OPUS,
    [CODEC_FLAC] = AV_CODEC_ID_FLAC};

/* libavformat writes vpcC anew, from what a decoder would have told it. */
static void describe_vp9(AVCodecParameters *par, const struct vp9_config *vp9) {
    static const enum AVPixelFormat formats[3][4] = {
        {AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV444P},
        {AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV422P10, AV_PIX_FMT_YUV444P10},
        {AV_PIX_FMT_YUV420P12, AV_PIX_FMT_YUV420P12, AV_PIX_FMT_YUV422P12, AV_PIX_FMT_YUV444P12}};
    par->format = formats[(vp9->bit_depth - 8) / 2][vp9->chroma];
    par->profile = vp9->profile;
    par->level = vp9->level;
    par->chroma_location = vp9->chroma == 1 ? AVCHROMA_LOC_TOPLEFT : AVCHROMA_LOC_LEFT;
    par->color_range = vp9->full_range ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    par->color_primaries = vp9->primaries;
    par->color_trc = vp9->transfer;
    par->color_space = vp9->matrix;
}

static int set_parameters(AVStream *stream, const struct track_info *info, enum codec codec, const uint8_t *config,
                          size_t config_len) {
    AVCodecParameters *par = stream->codecpar;
    struct vp9_config vp9;
    const char *why;
    par->codec_id = av_codecs[codec];
    if (codec == CODEC_HEVC)
        par->codec_tag = MKTAG('h', 'v', 'c', '1'); /* parameter sets are in the init alone, not hev1 */
    if (codec == CODEC_VP9 && vp9_config_parse(config, config_len, &vp9, &why))
        return -EINVAL;
    if (codec == CODEC_VP9)
        describe_vp9(par, &vp9);
    if (info->kind == TRACK_VIDEO) {
        par->codec_type = AVMEDIA_TYPE_VIDEO;
        par->width = info->width;
        par->height = info->height;
    } else {
        par->codec_type = AVMEDIA_TYPE_AUDIO;
        par->sample_rate = (int)info->sample_rate;
        av_channel_layout_default(&par->ch_layout, (int)info->channels);
    }
    par->extradata = av_mallocz(config_len + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!par->extradata)
        return -ENOMEM;
    memcpy(par->extradata, config, config_len);
    par->extradata_size = (int)config_len;
    stream->id = (int)info->track_id;
    stream->time_base = (AVRational){1, (int)info->timescale};
    return 0;
}

static int open_output(struct mux *mux) {
    uint8_t *buffer = av_malloc(mux->init.max);
    if (!buffer)
        return -ENOMEM;
    AVIOContext *io = avio_alloc_context(buffer, (int)mux->init.max, 1, mux, NULL, on_write, NULL);
    if (!io) {
        av_free(buffer);
        return -ENOMEM;
    }
    io->seekable = 0;
    mux->format->pb = io;
    mux->format->flags |= AVFMT_FLAG_BITEXACT;
    mux->format->avoid_negative_ts = 0; /* disabled: 0 shifts nothing */
    mux->format->strict_std_compliance =
        FF_COMPLIANCE_EXPERIMENTAL; /* FLAC in MP4 was so, when this libavformat was new */
    return 0;
}

/* Writes ftyp and moov, and checks that the muxer took the times as they are. */
static int write_header(struct mux *mux) {
    AVDictionary *options = NULL;
    av_dict_set(&options, FLAGS_OPTION, "+frag_custom+empty_moov+default_base_moof+skip_trailer+frag_discont", 0);
    av_dict_set(&options, "use_editlist", "0", 0);
    av_dict_set(&options, "use_stream_ids_as_track_ids", "1", 0);
    av_dict_set_int(&options, "video_track_timescale", mux->timescale, 0);
    int rc = avformat_write_header(mux->format, &options);
    bool all_known = av_dict_count(options) == 0; /* what the muxer doesn't know stays behind */
    av_dict_free(&options);
    if (rc < 0)
        return rc;
    avio_flush(mux->format->pb);
    mux->header_written = true;
    AVRational base = mux->format->streams[0]->time_base;
    if (!all_known || base.num != 1 || base.den != (int)mux->timescale || mux->init.overflow)
        return -EINVAL;
    return av_opt_get_int(mux->format->priv_data, FLAGS_OPTION, 0, &mux->flags);
}

static int start(struct mux *mux, const struct track_info *info, enum codec codec, const uint8_t *config,
                 size_t config_len) {
    mux->packet = av_packet_alloc();
    if (!mux->packet)
        return -ENOMEM;
    int rc = avformat_alloc_output_context2(&mux->format, NULL, "mp4", NULL);
    if (rc < 0)
        return rc;
    AVStream *stream = avformat_new_stream(mux->format, NULL);
    rc = stream ? set_parameters(stream, info, codec, config, config_len) : -ENOMEM;
    if (!rc)
        rc = open_output(mux);
    return rc ? rc : write_header(mux);
}

/* Of AAC without its configuration the muxer would make an init that no player takes, and wouldn't say so; H.264 and
 * HEVC that aren't in their records' form it would take for byte streams. */
static bool config_ok(enum codec codec, const uint8_t *config, size_t config_len) {
    if (config_len < 2 || config_len > MUX_CONFIG_MAX)
        return false;
    switch (codec) {
    case CODEC_H264:
    case CODEC_HEVC:
        return config[0] == 1;
    case CODEC_AV1:
        return config[0] == 0x81;
    case CODEC_VP9:
        return config_len >= VP9_CONFIG_LEN;
    case CODEC_AAC:
        return true;
    case CODEC_OPUS:
        return !memcmp(config, "Opus", config_len < 4 ? config_len : 4);
    case CODEC_FLAC:
        return config_len == FLAC_CONFIG_LEN;
    }
    return false;
}

static bool info_ok(const struct track_info *info, enum codec codec) {
    if (info->track_id < 1 || info->track_id > INT32_MAX - 1 || info->timescale < 1 || info->timescale > 1000000)
        return false;
    if ((info->kind == TRACK_VIDEO) != (codec <= CODEC_VP9))
        return false;
    if (info->kind == TRACK_VIDEO) /* below 10000, the muxer would raise the timescale */
        return info->timescale >= 10000 && info->width > 0 && info->height > 0;
    return info->sample_rate == info->timescale && info->channels >= 1 && info->channels <= 8;
}

int mux_create(const struct track_info *info, enum codec codec, const uint8_t *config, size_t config_len,
               struct mux **ret_mux, struct blob **ret_init) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, silence_libav);
    if (!info_ok(info, codec) || !config_ok(codec, config, config_len))
        return -EINVAL;
    struct mux *mux = calloc(1, sizeof *mux);
    if (!mux)
        abort();
    mux->codec = codec;
    mux->track_id = info->track_id;
    mux->timescale = info->timescale;
    buf_init(&mux->init, config_len + INIT_BYTES > AVIO_BYTES ? config_len + INIT_BYTES : AVIO_BYTES);
    int rc = start(mux, info, codec, config, config_len);
    if (rc) {
        mux_destroy(mux);
        return rc;
    }
    *ret_init = buf_to_blob(&mux->init);
    buf_finish(&mux->init);
    *ret_mux = mux;
    return 0;
}

bool mux_broken(const struct mux *mux) {
    return mux->broken;
}

void mux_destroy(struct mux *mux) {
    if (!mux)
        return;
    if (mux->format && mux->format->pb) {
        av_freep(&mux->format->pb->buffer);
        avio_context_free(&mux->format->pb);
    }
    avformat_free_context(mux->format); /* frees a half-written chunk, too; there is no trailer to write */
    av_packet_free(&mux->packet);
    buf_finish(&mux->init);
    blob_unref(mux->blob);
    free(mux);
}

/* --- chunks --- */

/* How many bytes of a frame libavformat puts into the mdat; 0: it can't be muxed. */
static size_t payload_len(const struct mux *mux, const struct mux_frame *frame) {
    bool key;
    size_t len = frame->len;
    if (!frame->data || !len)
        return 0;
    if (mux->codec == CODEC_AV1)
        return av1_unit_ok(frame->data, frame->len, &key, &len) ? len : 0;
    if (mux->codec == CODEC_AAC && aac_frame_is_adts(frame->data, len))
        return 0; /* it would fail half-way */
    return len;
}

static bool timing_ok(const struct mux *mux, const struct mux_frame *frame) {
    int64_t span_max = (int64_t)mux->timescale * SPAN_MAX_S;
    return frame->dts_ts >= 0 && frame->dts_ts <= DTS_MAX && frame->pts_ts >= frame->dts_ts &&
           frame->pts_ts <= DTS_MAX + span_max && frame->pts_ts - frame->dts_ts <= span_max && frame->duration_ts > 0 &&
           frame->duration_ts <= span_max;
}

/* Also sums up the payload. */
static int check_frames(struct mux *mux, const struct mux_frame *frames, size_t count) {
    int64_t end_ts = mux->end_ts;
    mux->payload_bytes = 0;
    if (count < 1 || count > FRAMES_MAX || (end_ts > 0 && frames[0].dts_ts > end_ts + JUMP_MAX_TS))
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!timing_ok(mux, &frames[i]) || frames[i].dts_ts < end_ts)
            return -EINVAL;
        size_t len = payload_len(mux, &frames[i]);
        if (!len || len > PAYLOAD_MAX - mux->payload_bytes)
            return -EINVAL;
        if (i > 0 && frames[i].dts_ts - end_ts > (int64_t)mux->timescale * SPAN_MAX_S)
            return -EINVAL;
        mux->payload_bytes += len;
        end_ts = frames[i].dts_ts + frames[i].duration_ts;
    }
    return 0;
}

static int write_frame(struct mux *mux, const struct mux_frame *frame) {
    AVPacket *packet = mux->packet;
    packet->data =
        (uint8_t *)(uintptr_t)frame->data; /* without an owner it is only read, and only until this returns */
    packet->size = (int)frame->len;
    packet->dts = frame->dts_ts;
    packet->pts = frame->pts_ts;
    packet->duration = frame->duration_ts;
    packet->flags = frame->independent ? AV_PKT_FLAG_KEY : 0;
    return av_write_frame(mux->format, packet);
}

static int write_frames(struct mux *mux, const struct mux_frame *frames, size_t count) {
    int rc = av_opt_set_int(mux->format->priv_data, FLAGS_OPTION, mux->flags, 0);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = write_frame(mux, &frames[i]);
    if (rc >= 0)
        rc = av_write_frame(mux->format, NULL); /* the flush: moof and mdat come out */
    if (rc < 0)
        return rc;
    avio_flush(mux->format->pb);
    if (mux->format->pb->error)
        return mux->format->pb->error;
    bool whole = mux->blob && mux->filled == mux->prefix_bytes + mux->body_bytes;
    return whole ? 0 : -EIO;
}

int mux_chunk(struct mux *mux, const struct mux_frame *frames, size_t count, int64_t capture_us,
              struct slice *ret_body) {
    int rc = mux->broken ? -EIO : check_frames(mux, frames, count);
    if (rc)
        return rc;
    mux->capture_us = capture_us;
    mux->first_pts_ts = frames[0].pts_ts;
    rc = write_frames(mux, frames, count);
    if (rc) {
        mux->broken = true;
        blob_unref(mux->blob);
        mux->blob = NULL;
        return rc;
    }
    mux->end_ts = frames[count - 1].dts_ts + frames[count - 1].duration_ts;
    *ret_body = (struct slice){mux->blob, mux->prefix_bytes, mux->body_bytes};
    mux->blob = NULL;
    return 0;
}
