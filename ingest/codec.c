#include "ingest/codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ingest/aac.h"
#include "ingest/h264.h"

enum { PROFILE_BASELINE = 66 };

const char *codec_name(enum codec codec) {
    static const char *const names[] = {
        [CODEC_H264] = "H.264", [CODEC_HEVC] = "HEVC", [CODEC_AV1] = "AV1",  [CODEC_VP9] = "VP9",
        [CODEC_AAC] = "AAC",    [CODEC_OPUS] = "Opus", [CODEC_FLAC] = "FLAC"};
    return names[codec];
}

static int describe_h264(const uint8_t *config, size_t len, struct codec_info *info, const char **ret_why) {
    struct h264_config h264;
    int rc = h264_config_parse(config, len, &h264, ret_why);
    if (rc)
        return rc;
    *info = (struct codec_info){.kind = TRACK_VIDEO,
                                .width = h264.width,
                                .height = h264.height,
                                .fps_milli = h264.fps_milli,
                                .nal_length_size = h264.nal_length_size,
                                .has_reorder_hints = h264.has_reorder_hints};
    snprintf(info->codecs, sizeof info->codecs, "avc1.%02x%02x%02x", h264.profile, h264.constraints, h264.level);
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

int codec_describe(enum codec codec, const uint8_t *config, size_t len, struct codec_info *ret_info,
                   const char **ret_why) {
    struct codec_info info;
    int rc = -ENOTSUP;
    *ret_why = "codec is not supported";
    if (codec == CODEC_H264)
        rc = describe_h264(config, len, &info, ret_why);
    else if (codec == CODEC_AAC)
        rc = describe_aac(config, len, &info, ret_why);
    if (rc)
        return rc;
    info.codec = codec;
    *ret_info = info;
    return 0;
}

bool codec_frame_ok(const struct codec_info *info, const uint8_t *data, size_t len, bool *independent) {
    if (!len)
        return false;
    if (info->kind == TRACK_AUDIO) {
        *independent = true;
        return true;
    }
    return h264_access_unit_ok(data, len, info->nal_length_size, independent);
}

uint32_t codec_frame_samples(const struct codec_info *info, const uint8_t *data, size_t len) {
    (void)data;
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
    if (len > size)
        return -ENOBUFS;
    memcpy(out, config, len);
    return (int)len;
}
