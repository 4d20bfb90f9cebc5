#include "ingest/codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ingest/aac.h"
#include "ingest/av1.h"
#include "ingest/flac.h"
#include "ingest/h264.h"
#include "ingest/hevc.h"
#include "ingest/opus.h"
#include "ingest/vp9.h"

enum { PROFILE_BASELINE = 66 };

const char *codec_name(enum codec codec) {
    static const char *const names[] = {
        [CODEC_H264] = "H.264", [CODEC_HEVC] = "HEVC", [CODEC_AV1] = "AV1",  [CODEC_VP9] = "VP9",
        [CODEC_AAC] = "AAC",    [CODEC_OPUS] = "Opus", [CODEC_FLAC] = "FLAC"};
    return names[codec];
}

/* Transfer characteristics, ITU-T H.273 §8.2. */
static enum video_range range_of(uint8_t transfer) {
    enum { PQ = 16, HLG = 18 };
    return transfer == PQ ? VIDEO_PQ : transfer == HLG ? VIDEO_HLG : VIDEO_SDR;
}

static int describe_h264(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct h264_config h264;
    int rc = h264_config_parse(config, len, &h264, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_VIDEO,
                                .width = h264.width,
                                .height = h264.height,
                                .range = range_of(h264.transfer),
                                .fps_milli = h264.fps_milli,
                                .nal_length_size = h264.nal_length_size,
                                .has_reorder_hints = h264.has_reorder_hints};
    snprintf(info->codecs, sizeof info->codecs, "avc1.%02x%02x%02x", h264.profile, h264.constraints, h264.level);
    return 0;
}

static int describe_hevc(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct hevc_config hevc;
    int rc = hevc_config_parse(config, len, &hevc, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_VIDEO,
                                .width = hevc.width,
                                .height = hevc.height,
                                .range = range_of(hevc.transfer),
                                .fps_milli = hevc.fps_milli,
                                .nal_length_size = hevc.nal_length_size};
    hevc_codecs(hevc.ptl, info->codecs, sizeof info->codecs);
    return 0;
}

static int describe_av1(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct av1_config av1;
    int rc = av1_config_parse(config, len, &av1, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_VIDEO,
                                .width = av1.width,
                                .height = av1.height,
                                .range = range_of(av1.transfer),
                                .fps_milli = av1.fps_milli};
    av1_codecs(&av1, info->codecs, sizeof info->codecs);
    return 0;
}

static int describe_vp9(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct vp9_config vp9;
    int rc = vp9_config_parse(config, len, &vp9, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_VIDEO, .range = range_of(vp9.transfer)};
    vp9_codecs(&vp9, info->codecs, sizeof info->codecs);
    return 0;
}

static int describe_aac(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct aac_config aac;
    int rc = aac_config_parse(config, len, &aac, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_AUDIO,
                                .sample_rate = aac.sample_rate,
                                .channels = aac.channels,
                                .frame_samples = aac.frame_samples};
    snprintf(info->codecs, sizeof info->codecs, "mp4a.40.%u", aac.object_type);
    return 0;
}

static int describe_opus(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    enum { FRAME_USUAL = 960 };
    struct opus_config opus;
    int rc = opus_config_parse(config, len, &opus, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_AUDIO,
                                .codecs = "opus",
                                .sample_rate = OPUS_HZ,
                                .channels = opus.channels,
                                .frame_samples = FRAME_USUAL};
    return 0;
}

static int describe_flac(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct flac_config flac;
    int rc = flac_config_parse(config, len, &flac, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_AUDIO,
                                .codecs = "fLaC",
                                .sample_rate = flac.sample_rate,
                                .channels = flac.channels,
                                .frame_samples = flac.block_size};
    return 0;
}

int codec_describe(enum codec codec, const uint8_t *config, size_t len, struct codec_info *ret_info,
                   const char **ret_why) {
    static int (*const describe[])(const uint8_t *, size_t, struct codec_info *, const char **) = {
        [CODEC_H264] = describe_h264, [CODEC_HEVC] = describe_hevc, [CODEC_AV1] = describe_av1,
        [CODEC_VP9] = describe_vp9,   [CODEC_AAC] = describe_aac,   [CODEC_OPUS] = describe_opus,
        [CODEC_FLAC] = describe_flac};
    struct codec_info info;
    int rc = describe[codec](config, len, &info, ret_why);
    if (rc)
        return rc;
    info.codec = codec;
    *ret_info = info;
    return 0;
}

bool codec_frame_ok(const struct codec_info *info, const uint8_t *data, size_t len, bool *independent) {
    struct vp9_frame vp9;
    switch (info->codec) {
    case CODEC_H264:
        return h264_access_unit_ok(data, len, info->nal_length_size, independent);
    case CODEC_HEVC:
        return hevc_access_unit_ok(data, len, info->nal_length_size, independent);
    case CODEC_AV1:
        return av1_unit_ok(data, len, independent, NULL);
    case CODEC_VP9:
        if (!vp9_frame_parse(data, len, &vp9))
            return false;
        *independent = vp9.key;
        return true;
    case CODEC_AAC:
        if (aac_frame_is_adts(data, len))
            return false;
        break;
    case CODEC_OPUS:
    case CODEC_FLAC:
        break;
    }
    *independent = true;
    return codec_frame_samples(info, data, len) > 0;
}

bool codec_info_renew(struct codec_info *info, const uint8_t *data, size_t len) {
    struct vp9_frame vp9;
    if (info->codec != CODEC_VP9 || !vp9_frame_parse(data, len, &vp9) || !vp9.key ||
        (vp9.width == info->width && vp9.height == info->height))
        return false;
    info->width = vp9.width;
    info->height = vp9.height;
    return true;
}

uint32_t codec_frame_samples(const struct codec_info *info, const uint8_t *data, size_t len) {
    if (info->codec == CODEC_OPUS)
        return opus_packet_samples(data, len);
    if (info->codec == CODEC_FLAC)
        return flac_frame_samples(data, len);
    return len ? info->frame_samples : 0;
}

int codec_init_config(const struct codec_info *info, const uint8_t *config, size_t len, bool reorders, uint8_t *out,
                      size_t size) {
    if (info->codec == CODEC_H264 && !reorders && !info->has_reorder_hints && len > 1 &&
        config[1] != PROFILE_BASELINE) {
        int hinted = h264_config_add_reorder_hints(config, len, out, size);
        if (hinted > 0)
            return hinted;
    }
    if (info->codec == CODEC_HEVC)
        return hevc_config_for_init(config, len, out, size);
    if (len > size)
        return -ENOBUFS;
    memcpy(out, config, len);
    return (int)len;
}
