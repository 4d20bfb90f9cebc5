#include "ingest/av1.h"

#include <errno.h>
#include <stdio.h>

#include "ingest/bits.h"
#include "ingest/codec.h"

enum {
    AV1C_HEAD = 4, /* bytes before the OBUs */
    SELECT = 2,    /* told by each frame */
    UNSPECIFIED = 2,
    LEB128_MAX = 8, /* bytes */
    OBU_SEQUENCE_HEADER = 1,
    OBU_TEMPORAL_DELIMITER = 2,
    OBU_FRAME_HEADER = 3,
    OBU_FRAME = 6,
    OBU_REDUNDANT_FRAME_HEADER = 7,
    OBU_TILE_LIST = 8,
    OBU_PADDING = 15,
};

/* --- OBUs --- */

struct obu {
    uint8_t type;
    const uint8_t *data; /* behind its header */
    size_t len;
    size_t total; /* with its header */
};

/* §4.10.5. Returns how many bytes it has, 0 when it is cut off or too large. */
static size_t read_leb128(const uint8_t *data, size_t len, size_t *ret_value) {
    uint64_t value = 0;
    for (size_t i = 0; i < LEB128_MAX && i < len; i++) {
        value |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if (!(data[i] & 0x80)) {
            *ret_value = (size_t)value;
            return value <= UINT32_MAX ? i + 1 : 0;
        }
    }
    return 0;
}

/* §5.3. One without a size goes to the end of its temporal unit. False when it is cut off or malformed. */
static bool next_obu(const uint8_t **data, size_t *left, struct obu *ret_obu) {
    if (!*left || **data & 0x80) /* the forbidden bit */
        return false;
    uint8_t header = **data;
    size_t head = header & 4 ? 2 : 1; /* an extension */
    if (head > *left)
        return false;
    size_t len = *left - head;
    if (header & 2) {
        size_t bytes = read_leb128(*data + head, *left - head, &len);
        head += bytes;
        if (!bytes || len > *left - head)
            return false;
    }
    *ret_obu = (struct obu){header >> 3 & 15, *data + head, len, head + len};
    *data += head + len;
    *left -= head + len;
    return true;
}

/* --- sequence header (§5.5) --- */

/* uvlc(), §4.10.3: only its use here needs it. */
static uint32_t read_uvlc(struct bits *bits) {
    return bits_ue(bits, UINT32_MAX - 1);
}

/* Returns the length of the buffer delays, 0: there is no decoder model. */
static unsigned read_timing(struct bits *bits, struct av1_config *config) {
    uint64_t units = bits_read(bits, 32), scale = bits_read(bits, 32);
    if (bits_flag(bits)) { /* equal intervals */
        units *= (uint64_t)read_uvlc(bits) + 1;
        uint64_t fps_milli = units ? (scale * 1000 + units / 2) / units : 0;
        config->fps_milli = fps_milli <= CODEC_FPS_MILLI_MAX ? (uint32_t)fps_milli : 0;
    }
    if (!bits_flag(bits))
        return 0;
    unsigned delay_len = 1 + bits_read(bits, 5);
    bits_skip(bits, 32);
    bits_skip(bits, 5 + 5);
    return delay_len;
}

static void read_operating_points(struct bits *bits, struct av1_config *config) {
    unsigned delay_len = bits_flag(bits) ? read_timing(bits, config) : 0;
    bool has_display_delay = bits_flag(bits);
    uint32_t count = 1 + bits_read(bits, 5);
    for (uint32_t i = 0; i < count; i++) {
        bits_skip(bits, 12);
        uint8_t level = (uint8_t)bits_read(bits, 5);
        uint8_t tier = level > 7 && bits_flag(bits);
        if (i == 0) {
            config->level = level;
            config->tier = tier;
        }
        if (delay_len && bits_flag(bits)) {
            bits_skip(bits, delay_len);
            bits_skip(bits, delay_len);
            bits_skip(bits, 1);
        }
        if (has_display_delay && bits_flag(bits))
            bits_skip(bits, 4);
    }
}

static void read_size(struct bits *bits, struct av1_config *config) {
    unsigned width_bits = 1 + bits_read(bits, 4), height_bits = 1 + bits_read(bits, 4);
    uint32_t width = 1 + bits_read(bits, width_bits), height = 1 + bits_read(bits, height_bits);
    config->width = width <= CODEC_SIZE_MAX ? (uint16_t)width : 0;
    config->height = height <= CODEC_SIZE_MAX ? (uint16_t)height : 0;
}

static void skip_tools(struct bits *bits) {
    if (bits_flag(bits))
        bits_skip(bits, 4 + 3); /* frame ids */
    bits_skip(bits, 3);         /* superblocks, filter intra, intra edges */
    bits_skip(bits, 4);
    bool order_hints = bits_flag(bits);
    if (order_hints)
        bits_skip(bits, 2);
    uint32_t screen_content = bits_flag(bits) ? SELECT : bits_read(bits, 1);
    if (screen_content && !bits_flag(bits))
        bits_skip(bits, 1); /* integer motion vectors */
    if (order_hints)
        bits_skip(bits, 3);
    bits_skip(bits, 3); /* superresolution, CDEF, restoration */
}

static void read_subsampling(struct bits *bits, struct av1_config *config) {
    bool x = config->profile != 1, y = config->profile == 0;
    if (config->profile == 2 && config->bit_depth == 12) {
        x = bits_flag(bits);
        y = x && bits_flag(bits);
    }
    config->subsampling_x = x;
    config->subsampling_y = y;
    config->chroma_position = x && y ? (uint8_t)bits_read(bits, 2) : 0;
}

/* §5.5.2 */
static void read_colour(struct bits *bits, struct av1_config *config) {
    enum { BT709 = 1, SRGB = 13, IDENTITY = 0 };
    bool high = bits_flag(bits);
    config->bit_depth = !high ? 8 : config->profile == 2 && bits_flag(bits) ? 12 : 10;
    config->monochrome = config->profile != 1 && bits_flag(bits);
    config->has_colour = bits_flag(bits);
    config->primaries = config->has_colour ? (uint8_t)bits_read(bits, 8) : UNSPECIFIED;
    config->transfer = config->has_colour ? (uint8_t)bits_read(bits, 8) : UNSPECIFIED;
    config->matrix = config->has_colour ? (uint8_t)bits_read(bits, 8) : UNSPECIFIED;
    if (config->monochrome) {
        config->full_range = bits_flag(bits);
        config->subsampling_x = config->subsampling_y = 1;
    } else if (config->primaries == BT709 && config->transfer == SRGB && config->matrix == IDENTITY) {
        config->full_range = true;
    } else {
        config->full_range = bits_flag(bits);
        read_subsampling(bits, config);
    }
}

static const char *parse_sequence(const struct obu *obu, struct av1_config *config) {
    struct bits bits = bits_of(obu->data, obu->len < 256 ? obu->len : 256); /* none is nearly as long */
    config->profile = (uint8_t)bits_read(&bits, 3);
    bits_skip(&bits, 1);
    if (bits_flag(&bits))
        return "AV1 still pictures are no video";
    read_operating_points(&bits, config);
    read_size(&bits, config);
    skip_tools(&bits);
    read_colour(&bits, config);
    if (bits.bad || config->profile > 2)
        return "AV1 sequence header is truncated or out of range";
    bool size_ok = config->width >= CODEC_SIZE_MIN && config->height >= CODEC_SIZE_MIN;
    return size_ok ? NULL : "picture size is out of range (16 to 8192)";
}

int av1_config_parse(const uint8_t *av1c, size_t len, struct av1_config *ret_config, const char **ret_why) {
    struct av1_config config = {0};
    *ret_why = "not an AV1CodecConfigurationRecord";
    if (len < AV1C_HEAD || av1c[0] != 0x81)
        return -EBADMSG;
    const uint8_t *data = av1c + AV1C_HEAD;
    size_t left = len - AV1C_HEAD;
    bool found = false;
    while (left > 0) {
        struct obu obu;
        *ret_why = "av1C is truncated";
        if (!next_obu(&data, &left, &obu))
            return -EBADMSG;
        if (found || obu.type != OBU_SEQUENCE_HEADER)
            continue;
        const char *why = parse_sequence(&obu, &config);
        if (why) {
            *ret_why = why;
            return -EBADMSG;
        }
        found = true;
    }
    if (!found) {
        *ret_why = "av1C has no sequence header";
        return -EBADMSG;
    }
    *ret_config = config;
    return 0;
}

/* Colours that nobody named are taken for those that are assumed. */
void av1_codecs(const struct av1_config *config, char *out, size_t size) {
    int n = snprintf(out, size, "av01.%u.%02u%c.%02u", config->profile, config->level, config->tier ? 'H' : 'M',
                     config->bit_depth);
    bool usual_chroma = !config->monochrome && config->subsampling_x && config->subsampling_y;
    bool usual_colour = !config->has_colour || (config->primaries == 1 && config->transfer == 1 && config->matrix == 1);
    if ((usual_chroma && usual_colour && !config->full_range) || n < 0 || (size_t)n >= size)
        return;
    snprintf(out + n, size - (size_t)n, ".%u.%u%u%u.%02u.%02u.%02u.%u", config->monochrome, config->subsampling_x,
             config->subsampling_y, config->chroma_position, config->has_colour ? config->primaries : 1,
             config->has_colour ? config->transfer : 1, config->has_colour ? config->matrix : 1, config->full_range);
}

/* --- temporal units --- */

/* §5.9.2: show_existing_frame, frame_type, show_frame. */
static bool is_shown_key_frame(const struct obu *obu) {
    enum { KEY_FRAME = 0 };
    struct bits bits = bits_of(obu->data, obu->len < 1 ? 0 : 1);
    bool existing = bits_flag(&bits);
    uint32_t type = bits_read(&bits, 2);
    bool shown = bits_flag(&bits);
    return !bits.bad && !existing && type == KEY_FRAME && shown;
}

static bool left_out(uint8_t type) {
    return type == OBU_TEMPORAL_DELIMITER || type == OBU_REDUNDANT_FRAME_HEADER || type == OBU_TILE_LIST ||
           type == OBU_PADDING;
}

bool av1_unit_ok(const uint8_t *data, size_t len, bool *ret_key, size_t *ret_sample_len) {
    bool has_sequence = false, has_frame = false, key = false;
    size_t sample_len = 0;
    while (len > 0) {
        struct obu obu;
        if (!next_obu(&data, &len, &obu))
            return false;
        has_sequence |= obu.type == OBU_SEQUENCE_HEADER;
        if ((obu.type == OBU_FRAME_HEADER || obu.type == OBU_FRAME) && !has_frame) {
            has_frame = true;
            key = has_sequence && is_shown_key_frame(&obu);
        }
        sample_len += left_out(obu.type) ? 0 : obu.total;
    }
    *ret_key = key;
    if (ret_sample_len)
        *ret_sample_len = sample_len;
    return has_frame && sample_len > 0;
}
