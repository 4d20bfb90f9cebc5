#include "ingest/vp9.h"

#include <errno.h>
#include <stdio.h>

#include "ingest/bits.h"
#include "ingest/codec.h"

enum {
    LEVEL_UNKNOWN = 0,
    LEVEL_ASSUMED = 41, /* what 1080p60 needs */
    CHROMA_COLOCATED = 1,
    SYNC_CODE = 0x498342,
    SPACE_RGB = 7,
};

int vp9_config_parse(const uint8_t *vpcc, size_t len, struct vp9_config *ret_config, const char **ret_why) {
    struct bits bits = bits_of(vpcc, len < VP9_CONFIG_LEN ? len : VP9_CONFIG_LEN);
    struct vp9_config config = {0};
    config.profile = (uint8_t)bits_read(&bits, 8);
    config.level = (uint8_t)bits_read(&bits, 8);
    config.bit_depth = (uint8_t)bits_read(&bits, 4);
    config.chroma = (uint8_t)bits_read(&bits, 3);
    config.full_range = bits_flag(&bits);
    config.primaries = (uint8_t)bits_read(&bits, 8);
    config.transfer = (uint8_t)bits_read(&bits, 8);
    config.matrix = (uint8_t)bits_read(&bits, 8);
    bits_skip(&bits, 16);
    *ret_why = "vpcC is truncated";
    if (bits.bad)
        return -EBADMSG;
    *ret_why = "vpcC is out of range";
    bool deep = config.bit_depth == 10 || config.bit_depth == 12;
    if (config.profile > 3 || config.chroma > 3 || (config.profile >= 2 ? !deep : config.bit_depth != 8))
        return -EBADMSG;
    if (config.level == LEVEL_UNKNOWN)
        config.level = LEVEL_ASSUMED;
    *ret_config = config;
    return 0;
}

/* 2 is "unspecified". */
static bool is_usual(uint8_t colour) {
    return colour <= 2;
}

void vp9_codecs(const struct vp9_config *config, char *out, size_t size) {
    int n = snprintf(out, size, "vp09.%02u.%02u.%02u", config->profile, config->level, config->bit_depth);
    bool usual = config->chroma <= CHROMA_COLOCATED && is_usual(config->primaries) && is_usual(config->transfer) &&
                 is_usual(config->matrix) && !config->full_range;
    if (usual || n < 0 || (size_t)n >= size)
        return;
    snprintf(out + n, size - (size_t)n, ".%02u.%02u.%02u.%02u.%02u", config->chroma, config->primaries,
             config->transfer, config->matrix, config->full_range);
}

/* §6.2.2. False: it can't be. */
static bool skip_colour(struct bits *bits, uint32_t profile) {
    bool odd_profile = profile & 1; /* may have other subsampling than 4:2:0 */
    if (profile >= 2)
        bits_skip(bits, 1);
    if (bits_read(bits, 3) == SPACE_RGB) {
        if (!odd_profile)
            return false;
        bits_skip(bits, 1);
        return true;
    }
    bits_skip(bits, 1);
    if (odd_profile)
        bits_skip(bits, 3);
    return true;
}

bool vp9_frame_parse(const uint8_t *data, size_t len, struct vp9_frame *ret_frame) {
    struct bits bits = bits_of(data, len < 32 ? len : 32);
    *ret_frame = (struct vp9_frame){0};
    if (bits_read(&bits, 2) != 2)
        return false;
    uint32_t profile = bits_read(&bits, 1);
    profile |= bits_read(&bits, 1) << 1;
    if (profile == 3 && bits_flag(&bits))
        return false;
    bool existing = bits_flag(&bits);
    if (existing)
        return !bits.bad;
    bool inter = bits_flag(&bits);
    bits_skip(&bits, 2);
    if (inter)
        return !bits.bad;
    if (bits_read(&bits, 24) != SYNC_CODE || !skip_colour(&bits, profile))
        return false;
    uint32_t width = 1 + bits_read(&bits, 16), height = 1 + bits_read(&bits, 16);
    if (bits.bad || width < CODEC_SIZE_MIN || width > CODEC_SIZE_MAX || height < CODEC_SIZE_MIN ||
        height > CODEC_SIZE_MAX)
        return false;
    *ret_frame = (struct vp9_frame){.key = true, .width = (uint16_t)width, .height = (uint16_t)height};
    return true;
}
