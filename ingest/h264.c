/* H.264 configuration. A parameter set is unescaped into a buffer of fixed size, then read as bits. Reading notes where
 * in it the optional tail begins, so that adding the reorder hints copies the bits before that place as they are, and
 * nothing in between is ever written again. */
#include "ingest/h264.h"

#include <errno.h>
#include <string.h>

#include "ingest/bits.h"
#include "ingest/codec.h"
#include "ingest/h264_entry.h"
#include "ingest/nal.h"

enum {
    SPS_MAX = 1024, /* bytes, unescaped; real ones have 20 to 100 */
    HINTS_MAX = 16, /* bytes that the hints can add */
    AVCC_HEAD = 6,  /* bytes before the first SPS */
};

struct sps {
    uint32_t max_num_ref_frames;
    uint32_t width, height; /* after cropping */
    uint32_t fps_milli;
    bool has_vui, has_restriction;
    uint32_t max_num_reorder_frames;
    uint8_t transfer;
    size_t hints_pos; /* bit of vui_parameters_present_flag, or of bitstream_restriction_flag when there is a VUI */
};

/* --- SPS --- */

static void skip_scaling_list(struct bits *bits, unsigned size) {
    int32_t last = 8, next = 8;
    for (unsigned i = 0; i < size && next != 0; i++) { /* once 0, the rest is as the last, and not in the stream */
        int32_t delta = bits_se(bits);
        if (delta < -128 || delta > 127)
            bits->bad = true;
        next = bits->bad ? 0 : (last + delta + 256) % 256;
        last = next;
    }
}

static bool has_chroma_fields(uint32_t profile) {
    static const uint8_t profiles[] = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135};
    return memchr(profiles, (int)profile, sizeof profiles) != NULL;
}

/* What the high profiles have. Returns ChromaArrayType. */
static uint32_t read_chroma(struct bits *bits) {
    uint32_t chroma_format = bits_ue(bits, 3);
    bool separate_planes = chroma_format == 3 && bits_flag(bits);
    bits_ue(bits, 6); /* bit depths */
    bits_ue(bits, 6);
    bits_skip(bits, 1);
    if (bits_flag(bits))
        for (unsigned i = 0; i < (chroma_format == 3 ? 12 : 8); i++)
            if (bits_flag(bits))
                skip_scaling_list(bits, i < 6 ? 16 : 64);
    return separate_planes ? 0 : chroma_format;
}

static void skip_order_count(struct bits *bits) {
    uint32_t type = bits_ue(bits, 2);
    if (type == 0)
        bits_ue(bits, 12);
    if (type != 1)
        return;
    bits_skip(bits, 1);
    bits_se(bits);
    bits_se(bits);
    for (uint32_t count = bits_ue(bits, 255); count > 0; count--)
        bits_se(bits);
}

static void read_size(struct bits *bits, uint32_t chroma_array_type, struct sps *sps) {
    uint32_t width = (bits_ue(bits, CODEC_SIZE_MAX / 16) + 1) * 16;
    uint32_t map_units = bits_ue(bits, CODEC_SIZE_MAX / 16) + 1;
    bool frames_only = bits_flag(bits);
    if (!frames_only)
        bits_skip(bits, 1);
    bits_skip(bits, 1);
    uint32_t height = map_units * 16 * (frames_only ? 1 : 2);
    uint32_t crop_x = chroma_array_type == 1 || chroma_array_type == 2 ? 2 : 1;
    uint32_t crop_y = (chroma_array_type == 1 ? 2 : 1) * (frames_only ? 1 : 2);
    uint32_t crop_width = 0, crop_height = 0;
    if (bits_flag(bits)) {
        crop_width = bits_ue(bits, CODEC_SIZE_MAX);
        crop_width = (crop_width + bits_ue(bits, CODEC_SIZE_MAX)) * crop_x;
        crop_height = bits_ue(bits, CODEC_SIZE_MAX);
        crop_height = (crop_height + bits_ue(bits, CODEC_SIZE_MAX)) * crop_y;
    }
    sps->width = width > crop_width ? width - crop_width : 0;
    sps->height = height > crop_height ? height - crop_height : 0;
}

/* §E.1.2 */
static void skip_hrd(struct bits *bits) {
    uint32_t count = bits_ue(bits, 31) + 1;
    bits_skip(bits, 8);
    for (uint32_t i = 0; i < count; i++) {
        bits_ue(bits, UINT32_MAX - 1);
        bits_ue(bits, UINT32_MAX - 1);
        bits_skip(bits, 1);
    }
    bits_skip(bits, 20);
}

/* Rates that nobody films at stand for "variable": 0. */
static uint32_t read_fps_milli(struct bits *bits) {
    uint64_t units = bits_read(bits, 32), scale = bits_read(bits, 32);
    bits_skip(bits, 1);
    uint64_t fps_milli = units ? (scale * 1000 + units) / (units * 2) : 0; /* a frame is two ticks */
    return fps_milli <= CODEC_FPS_MILLI_MAX ? (uint32_t)fps_milli : 0;
}

/* Returns the transfer characteristics. */
static uint8_t read_picture_description(struct bits *bits) {
    uint8_t transfer = nal_read_look(bits);
    if (bits_flag(bits)) { /* chroma location */
        bits_ue(bits, 5);
        bits_ue(bits, 5);
    }
    return transfer;
}

/* §E.1.1 */
static void read_vui(struct bits *bits, struct sps *sps) {
    sps->transfer = read_picture_description(bits);
    if (bits_flag(bits))
        sps->fps_milli = read_fps_milli(bits);
    bool nal_hrd = bits_flag(bits);
    if (nal_hrd)
        skip_hrd(bits);
    bool vcl_hrd = bits_flag(bits);
    if (vcl_hrd)
        skip_hrd(bits);
    if (nal_hrd || vcl_hrd)
        bits_skip(bits, 1);
    bits_skip(bits, 1); /* pic_struct_present */
    sps->hints_pos = bits->pos;
    sps->has_restriction = bits_flag(bits);
    if (!sps->has_restriction)
        return;
    bits_skip(bits, 1);
    bits_ue(bits, 16);
    bits_ue(bits, 16);
    bits_ue(bits, 32);
    bits_ue(bits, 32);
    sps->max_num_reorder_frames = bits_ue(bits, 16);
    bits_ue(bits, 16);
}

/* `rbsp` begins with the NAL unit's header. */
static const char *parse_sps(const uint8_t *rbsp, size_t len, struct sps *sps) {
    struct bits bits = bits_of(rbsp, len);
    *sps = (struct sps){.transfer = NAL_TRANSFER_UNSPECIFIED};
    if ((bits_read(&bits, 8) & 0x1f) != H264_NAL_SPS)
        return "avcC holds something else in place of an SPS";
    uint32_t profile = bits_read(&bits, 8);
    bits_skip(&bits, 16);
    bits_ue(&bits, 31);
    uint32_t chroma_array_type = has_chroma_fields(profile) ? read_chroma(&bits) : 1;
    bits_ue(&bits, 12);
    skip_order_count(&bits);
    sps->max_num_ref_frames = bits_ue(&bits, 16);
    bits_skip(&bits, 1);
    read_size(&bits, chroma_array_type, sps);
    sps->hints_pos = bits.pos;
    sps->has_vui = bits_flag(&bits);
    if (sps->has_vui)
        read_vui(&bits, sps);
    if (bits.bad)
        return "SPS is truncated or out of range";
    bool size_ok = sps->width >= CODEC_SIZE_MIN && sps->width <= CODEC_SIZE_MAX && sps->height >= CODEC_SIZE_MIN &&
                   sps->height <= CODEC_SIZE_MAX;
    return size_ok ? NULL : "picture size is out of range (16 to 8192)";
}

/* --- avcC --- */

static const char *parse_sps_list(const uint8_t **data, size_t *left, unsigned count, struct sps *ret_first) {
    uint8_t rbsp[SPS_MAX];
    for (unsigned i = 0; i < count; i++) {
        struct nal nal;
        if (!nal_next(data, left, 2, &nal))
            return "avcC is truncated";
        size_t len = nal_unescape(&nal, rbsp, sizeof rbsp);
        struct sps sps;
        const char *why = len ? parse_sps(rbsp, len, &sps) : "SPS is too long";
        if (why)
            return why;
        if (i == 0)
            *ret_first = sps;
    }
    return count ? NULL : "avcC has no SPS";
}

static const char *check_pps_list(const uint8_t *data, size_t left) {
    unsigned count = left ? data[0] : 0;
    if (!count)
        return "avcC has no PPS";
    data++;
    left--;
    for (; count > 0; count--) {
        struct nal nal;
        if (!nal_next(&data, &left, 2, &nal))
            return "avcC is truncated";
        if ((nal.data[0] & 0x1f) != H264_NAL_PPS)
            return "avcC holds something else in place of a PPS";
    }
    return NULL;
}

static const char *parse_avcc(const uint8_t *avcc, size_t len, struct h264_config *config) {
    if (len < AVCC_HEAD || avcc[0] != 1)
        return "not an AVCDecoderConfigurationRecord";
    unsigned nal_length_size = (avcc[4] & 3u) + 1;
    if (nal_length_size == 3)
        return "avcC has NAL unit lengths of 3 bytes";
    const uint8_t *data = avcc + AVCC_HEAD;
    size_t left = len - AVCC_HEAD;
    struct sps sps;
    const char *why = parse_sps_list(&data, &left, avcc[5] & 0x1f, &sps);
    if (!why)
        why = check_pps_list(data, left);
    if (why)
        return why;
    *config = (struct h264_config){.profile = avcc[1],
                                   .constraints = avcc[2],
                                   .level = avcc[3],
                                   .nal_length_size = (uint8_t)nal_length_size,
                                   .width = (uint16_t)sps.width,
                                   .height = (uint16_t)sps.height,
                                   .fps_milli = sps.fps_milli,
                                   .has_reorder_hints = sps.has_restriction,
                                   .max_num_reorder_frames = (uint8_t)sps.max_num_reorder_frames,
                                   .transfer = sps.transfer};
    return NULL;
}

int h264_config_parse(const uint8_t *avcc, size_t len, struct h264_config *ret_config, const char **ret_why) {
    const char *why = parse_avcc(avcc, len, ret_config);
    if (!why)
        return 0;
    *ret_why = why;
    return -EBADMSG;
}

/* --- adding reorder hints --- */

struct bit_writer {
    uint8_t *data; /* zeroed, and large enough for SPS_MAX and the hints */
    size_t pos;    /* bits */
};

static void put_bits(struct bit_writer *writer, uint32_t value, unsigned count) {
    for (; count > 0; count--, writer->pos++)
        if (value >> (count - 1) & 1)
            writer->data[writer->pos / 8] |= (uint8_t)(0x80 >> writer->pos % 8);
}

static void put_ue(struct bit_writer *writer, uint32_t value) {
    unsigned len = 32 - (unsigned)__builtin_clz(value + 1); /* values here are small */
    put_bits(writer, value + 1, 2 * len - 1);
}

static void copy_bits(struct bit_writer *writer, const uint8_t *data, size_t count) {
    struct bits bits = {.data = data, .len = count};
    while (bits_left(&bits) >= 8)
        put_bits(writer, bits_read(&bits, 8), 8);
    unsigned rest = (unsigned)bits_left(&bits);
    put_bits(writer, bits_read(&bits, rest), rest);
}

/* From vui_parameters_present_flag or bitstream_restriction_flag to the end. Apart from the two that matter, all values
 * are those that decoders infer when there is no restriction (§E.2.1), so nothing else changes. */
static void put_hints(struct bit_writer *writer, const struct sps *sps) {
    if (!sps->has_vui)
        put_bits(writer, 1 << 8, 9); /* there is a VUI, and in it none of the eight things before the restriction */
    put_bits(writer, 3, 2);          /* a restriction; motion vectors over picture boundaries */
    put_ue(writer, 2);               /* max_bytes_per_pic_denom */
    put_ue(writer, 1);               /* max_bits_per_mb_denom */
    put_ue(writer, 15);              /* log2_max_mv_length */
    put_ue(writer, 15);
    put_ue(writer, 0); /* max_num_reorder_frames */
    put_ue(writer, sps->max_num_ref_frames);
    put_bits(writer, 1, 1); /* rbsp_stop_one_bit */
}

/* One SPS with hints. The length, or a negative errno. */
static int rewrite_sps(const struct nal *nal, uint8_t *out, size_t size) {
    uint8_t old[SPS_MAX], new[SPS_MAX + HINTS_MAX] = {0};
    struct sps sps;
    size_t len = nal_unescape(nal, old, sizeof old);
    if (!len || parse_sps(old, len, &sps))
        return -EBADMSG;
    if (sps.has_restriction) {
        if (nal->len > size)
            return -ENOBUFS;
        memcpy(out, nal->data, nal->len);
        return (int)nal->len;
    }
    struct bit_writer writer = {.data = new};
    copy_bits(&writer, old, sps.hints_pos);
    put_hints(&writer, &sps);
    return nal_escape(new, (writer.pos + 7) / 8, out, size);
}

int h264_config_add_reorder_hints(const uint8_t *avcc, size_t len, uint8_t *out, size_t size) {
    if (len < AVCC_HEAD)
        return -EBADMSG;
    if (size < AVCC_HEAD)
        return -ENOBUFS;
    memcpy(out, avcc, AVCC_HEAD);
    const uint8_t *data = avcc + AVCC_HEAD;
    size_t left = len - AVCC_HEAD, n = AVCC_HEAD;
    for (unsigned count = avcc[5] & 0x1f; count > 0; count--) {
        struct nal nal;
        if (!nal_next(&data, &left, 2, &nal))
            return -EBADMSG;
        if (size - n < 2)
            return -ENOBUFS;
        int sps_len = rewrite_sps(&nal, out + n + 2, size - n - 2);
        if (sps_len < 0)
            return sps_len;
        out[n] = (uint8_t)(sps_len >> 8);
        out[n + 1] = (uint8_t)sps_len;
        n += 2 + (size_t)sps_len;
    }
    if (left > size - n)
        return -ENOBUFS;
    memcpy(out + n, data, left);
    return (int)(n + left);
}

/* --- access units --- */

bool h264_access_unit_ok(const uint8_t *data, size_t len, uint8_t nal_length_size, bool *ret_independent) {
    struct h264_entry entry = {0};
    if (!len || (nal_length_size != 1 && nal_length_size != 2 && nal_length_size != 4))
        return false;
    while (len > 0) {
        struct nal nal;
        if (!nal_next(&data, &len, nal_length_size, &nal))
            return false;
        h264_entry_add(&entry, nal.data, nal.len);
    }
    *ret_independent = h264_entry_here(&entry);
    return true;
}
