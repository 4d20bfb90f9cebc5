#include "ingest/hevc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ingest/bits.h"
#include "ingest/codec.h"

enum {
    SPS_MAX = 2048, /* bytes, unescaped; real ones have 30 to 100, with scaling lists up to 1200 */
    HVCC_HEAD = 23, /* bytes to the first array */
    ARRAY_HEAD = 3, /* type and count */
    SUB_LAYERS_MAX = 7,
    SHORT_TERM_SETS_MAX = 64,
    SETS_COMPLETE = 0x80, /* array_completeness */
};

/* --- SPS --- */

/* §7.3.3, behind the general part. */
static void skip_sub_layers(struct bits *bits, uint32_t count) {
    bool profile[SUB_LAYERS_MAX], level[SUB_LAYERS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        profile[i] = bits_flag(bits);
        level[i] = bits_flag(bits);
    }
    for (uint32_t i = count; count && i < 8; i++)
        bits_skip(bits, 2);
    for (uint32_t i = 0; i < count; i++) {
        for (int n = 0; profile[i] && n < 11; n++)
            bits_skip(bits, 8);
        if (level[i])
            bits_skip(bits, 8);
    }
}

static void read_size(struct bits *bits, struct hevc_sps *sps) {
    sps->chroma_format = (uint8_t)bits_ue(bits, 3);
    if (sps->chroma_format == 3)
        bits_skip(bits, 1); /* separate planes: cropping counts in pixels either way */
    uint32_t width = bits_ue(bits, UINT16_MAX), height = bits_ue(bits, UINT16_MAX);
    uint32_t unit_x = sps->chroma_format == 1 || sps->chroma_format == 2 ? 2 : 1;
    uint32_t unit_y = sps->chroma_format == 1 ? 2 : 1, crop_width = 0, crop_height = 0;
    if (bits_flag(bits)) {
        crop_width = bits_ue(bits, CODEC_SIZE_MAX);
        crop_width = (crop_width + bits_ue(bits, CODEC_SIZE_MAX)) * unit_x;
        crop_height = bits_ue(bits, CODEC_SIZE_MAX);
        crop_height = (crop_height + bits_ue(bits, CODEC_SIZE_MAX)) * unit_y;
    }
    sps->width = (uint16_t)(width > crop_width ? width - crop_width : 0);
    sps->height = (uint16_t)(height > crop_height ? height - crop_height : 0);
}

/* §7.3.4 */
static void skip_scaling_lists(struct bits *bits) {
    for (unsigned size = 0; size < 4; size++)
        for (unsigned matrix = 0; matrix < 6 && !bits->bad; matrix += size == 3 ? 3 : 1) {
            if (!bits_flag(bits)) {
                bits_ue(bits, 5);
                continue;
            }
            if (size > 1)
                bits_se(bits);
            for (unsigned i = 0; i < (size ? 64 : 16); i++)
                bits_se(bits);
        }
}

/* §7.3.7. Returns how many pictures it has; `before` is that of the set before. A delta that comes out as 0 would not
 * count, which no encoder makes. */
static uint32_t skip_short_term_set(struct bits *bits, bool first, uint32_t before) {
    uint32_t count = 0;
    if (!first && bits_flag(bits)) { /* told by its difference to the one before */
        bits_skip(bits, 1);
        bits_ue(bits, 32767);
        for (uint32_t i = 0; i <= before; i++)
            count += bits_flag(bits) || bits_flag(bits); /* used, or else not used but kept */
        return count;
    }
    count = bits_ue(bits, 16);
    count += bits_ue(bits, 16);
    for (uint32_t i = 0; i < count; i++) {
        bits_ue(bits, 32767);
        bits_skip(bits, 1);
    }
    return count;
}

static void skip_reference_sets(struct bits *bits, uint32_t poc_bits) {
    uint32_t sets = bits_ue(bits, SHORT_TERM_SETS_MAX), count = 0;
    for (uint32_t i = 0; i < sets && !bits->bad; i++)
        count = skip_short_term_set(bits, i == 0, count);
    if (!bits_flag(bits))
        return;
    for (uint32_t left = bits_ue(bits, 32); left > 0; left--)
        bits_skip(bits, poc_bits + 1);
}

/* From the bit depths to the VUI. */
static void skip_coding_tools(struct bits *bits, struct hevc_sps *sps) {
    sps->luma_depth = (uint8_t)(8 + bits_ue(bits, 8));
    sps->chroma_depth = (uint8_t)(8 + bits_ue(bits, 8));
    uint32_t poc_bits = 4 + bits_ue(bits, 12);
    for (uint32_t left = bits_flag(bits) ? sps->sub_layers : 1; left > 0; left--)
        for (int i = 0; i < 3; i++)
            bits_ue(bits, UINT32_MAX - 1);
    for (int i = 0; i < 6; i++)
        bits_ue(bits, 32); /* sizes of blocks */
    if (bits_flag(bits) && bits_flag(bits))
        skip_scaling_lists(bits);
    bits_skip(bits, 2);
    if (bits_flag(bits)) { /* PCM */
        bits_skip(bits, 8);
        bits_ue(bits, 8);
        bits_ue(bits, 8);
        bits_skip(bits, 1);
    }
    skip_reference_sets(bits, poc_bits);
    bits_skip(bits, 2);
}

/* Returns the transfer characteristics. */
static uint8_t read_picture_description(struct bits *bits) {
    uint8_t transfer = nal_read_look(bits);
    for (int i = bits_flag(bits) ? 2 : 0; i > 0; i--)
        bits_ue(bits, 5); /* chroma location */
    bits_skip(bits, 3);
    for (int i = bits_flag(bits) ? 4 : 0; i > 0; i--)
        bits_ue(bits, UINT16_MAX); /* default display window */
    return transfer;
}

/* §E.2.1. Rates that nobody films at stand for "variable": 0. */
static uint32_t read_fps_milli(struct bits *bits) {
    if (!bits_flag(bits))
        return 0;
    uint64_t units = bits_read(bits, 32), scale = bits_read(bits, 32);
    uint64_t fps_milli = units ? (scale * 1000 + units / 2) / units : 0;
    return !bits->bad && fps_milli <= CODEC_FPS_MILLI_MAX ? (uint32_t)fps_milli : 0;
}

const char *hevc_sps_parse(const struct nal *nal, struct hevc_sps *ret_sps) {
    uint8_t rbsp[SPS_MAX];
    struct hevc_sps sps = {.transfer = NAL_TRANSFER_UNSPECIFIED};
    size_t len = nal_unescape(nal, rbsp, sizeof rbsp);
    if (!len)
        return "SPS is too long";
    struct bits bits = bits_of(rbsp, len);
    bits_skip(&bits, 8 * HEVC_NAL_HEADER);
    sps.vps_id = (uint8_t)bits_read(&bits, 4);
    sps.sub_layers = (uint8_t)(1 + bits_read(&bits, 3));
    sps.temporal_id_nested = bits_flag(&bits);
    for (int i = 0; i < HEVC_PTL_LEN; i++)
        sps.ptl[i] = (uint8_t)bits_read(&bits, 8);
    if (hevc_nal_type(rbsp) != HEVC_NAL_SPS || sps.sub_layers > SUB_LAYERS_MAX)
        return "hvcC holds something else in place of an SPS";
    skip_sub_layers(&bits, sps.sub_layers - 1u);
    sps.id = bits_ue(&bits, 15);
    read_size(&bits, &sps);
    skip_coding_tools(&bits, &sps);
    if (bits.bad)
        return "SPS is truncated or out of range";
    if (bits_flag(&bits)) { /* what is wrong in there concerns look and rate alone */
        sps.transfer = read_picture_description(&bits);
        sps.fps_milli = read_fps_milli(&bits);
    }
    bool size_ok = sps.width >= CODEC_SIZE_MIN && sps.width <= CODEC_SIZE_MAX && sps.height >= CODEC_SIZE_MIN &&
                   sps.height <= CODEC_SIZE_MAX;
    if (!size_ok)
        return "picture size is out of range (16 to 8192)";
    *ret_sps = sps;
    return NULL;
}

/* --- hvcC --- */

struct array {
    uint8_t type;
    uint16_t count;
    const uint8_t *data; /* NAL units with lengths of 2 bytes */
    size_t len;
};

/* False: it is cut off. */
static bool next_array(const uint8_t **data, size_t *left, struct array *ret_array) {
    if (*left < ARRAY_HEAD)
        return false;
    struct array array = {.type = **data & 0x3f, .count = (uint16_t)((*data)[1] << 8 | (*data)[2])};
    *data += ARRAY_HEAD;
    *left -= ARRAY_HEAD;
    array.data = *data;
    for (uint32_t i = 0; i < array.count; i++) {
        struct nal nal;
        if (!nal_next(data, left, 2, &nal))
            return false;
        if (nal.len < HEVC_NAL_HEADER || hevc_nal_type(nal.data) != array.type)
            return false;
    }
    array.len = (size_t)(*data - array.data);
    *ret_array = array;
    return true;
}

static bool is_parameter_set(uint8_t type) {
    return type >= HEVC_NAL_VPS && type <= HEVC_NAL_PPS;
}

static const char *check_spss(const struct array *array, bool first, struct hevc_config *config) {
    const uint8_t *data = array->data;
    size_t left = array->len;
    struct nal nal;
    while (nal_next(&data, &left, 2, &nal)) {
        struct hevc_sps sps;
        const char *why = hevc_sps_parse(&nal, &sps);
        if (why)
            return why;
        if (first) {
            config->width = sps.width;
            config->height = sps.height;
            config->fps_milli = sps.fps_milli;
            config->transfer = sps.transfer;
        }
        first = false;
    }
    return NULL;
}

static const char *parse_hvcc(const uint8_t *hvcc, size_t len, struct hevc_config *config) {
    uint32_t counts[3] = {0}; /* of VPS, SPS, PPS */
    if (len < HVCC_HEAD || hvcc[0] != 1)
        return "not an HEVCDecoderConfigurationRecord";
    memcpy(config->ptl, hvcc + 1, sizeof config->ptl);
    config->nal_length_size = (hvcc[21] & 3) + 1;
    if (config->nal_length_size == 3)
        return "hvcC has NAL unit lengths of 3 bytes";
    const uint8_t *data = hvcc + HVCC_HEAD;
    size_t left = len - HVCC_HEAD;
    for (unsigned arrays = hvcc[HVCC_HEAD - 1]; arrays > 0; arrays--) {
        struct array array;
        if (!next_array(&data, &left, &array))
            return "hvcC is truncated, or holds something else in place of a parameter set";
        const char *why = array.type == HEVC_NAL_SPS ? check_spss(&array, !counts[1], config) : NULL;
        if (why)
            return why;
        if (is_parameter_set(array.type))
            counts[array.type - HEVC_NAL_VPS] += array.count;
    }
    return counts[0] && counts[1] && counts[2] ? NULL : "hvcC lacks a VPS, an SPS or a PPS";
}

int hevc_config_parse(const uint8_t *hvcc, size_t len, struct hevc_config *ret_config, const char **ret_why) {
    struct hevc_config config = {0};
    const char *why = parse_hvcc(hvcc, len, &config);
    if (why) {
        *ret_why = why;
        return -EBADMSG;
    }
    *ret_config = config;
    return 0;
}

int hevc_config_for_init(const uint8_t *hvcc, size_t len, uint8_t *out, size_t size) {
    if (len < HVCC_HEAD)
        return -EBADMSG;
    if (size < HVCC_HEAD)
        return -ENOBUFS;
    memcpy(out, hvcc, HVCC_HEAD);
    const uint8_t *data = hvcc + HVCC_HEAD;
    size_t left = len - HVCC_HEAD, n = HVCC_HEAD;
    uint8_t kept = 0;
    for (unsigned arrays = hvcc[HVCC_HEAD - 1]; arrays > 0; arrays--) {
        struct array array;
        if (!next_array(&data, &left, &array))
            return -EBADMSG;
        if (!is_parameter_set(array.type)) /* x265 has its command line there, of two kilobytes */
            continue;
        if (ARRAY_HEAD + array.len > size - n)
            return -ENOBUFS;
        const uint8_t head[ARRAY_HEAD] = {SETS_COMPLETE | array.type, (uint8_t)(array.count >> 8),
                                          (uint8_t)array.count};
        memcpy(out + n, head, ARRAY_HEAD);
        memcpy(out + n + ARRAY_HEAD, array.data, array.len);
        n += ARRAY_HEAD + array.len;
        kept++;
    }
    out[HVCC_HEAD - 1] = kept;
    return (int)n;
}

static uint32_t reversed(const uint8_t flags[4]) {
    uint32_t value = 0;
    for (unsigned i = 0; i < 32; i++)
        value |= (uint32_t)(flags[i / 8] >> (7 - i % 8) & 1) << i;
    return value;
}

void hevc_codecs(const uint8_t ptl[HEVC_PTL_LEN], char *out, size_t size) {
    static const char spaces[][2] = {"", "A", "B", "C"};
    enum { CONSTRAINTS = 5, LEVEL = 11 };
    bool high_tier = ptl[0] & 0x20;
    int n = snprintf(out, size, "hvc1.%s%u.%X.%c%u", spaces[ptl[0] >> 6], ptl[0] & 0x1fu, reversed(ptl + 1),
                     high_tier ? 'H' : 'L', ptl[LEVEL]);
    int last = LEVEL - 1;
    while (last >= CONSTRAINTS && !ptl[last])
        last--;
    for (int i = CONSTRAINTS; i <= last && n > 0 && (size_t)n < size; i++)
        n += snprintf(out + n, size - (size_t)n, ".%X", ptl[i]);
}

/* --- access units --- */

bool hevc_access_unit_ok(const uint8_t *data, size_t len, uint8_t nal_length_size, bool *ret_irap) {
    bool irap = false;
    if (!len || (nal_length_size != 1 && nal_length_size != 2 && nal_length_size != 4))
        return false;
    while (len > 0) {
        struct nal nal;
        if (!nal_next(&data, &len, nal_length_size, &nal) || nal.len < HEVC_NAL_HEADER)
            return false;
        irap = irap || hevc_is_irap(hevc_nal_type(nal.data));
    }
    *ret_irap = irap;
    return true;
}
