#include "ingest/opus_ts.h"

#include <errno.h>

#include "ingest/opus.h"

enum {
    PREFIX = 0x3ff, /* 11 bits */
    START_TRIM = 0x10,
    END_TRIM = 0x08,
    EXTENSION = 0x04,
    TRIM_LEN = 2,
};

/* The size is all bytes of 255 and the first other. False: it is cut off. */
static bool read_size(const uint8_t *data, size_t len, size_t *pos, size_t *ret_size) {
    size_t size = 0;
    while (*pos < len) {
        uint8_t byte = data[(*pos)++];
        size += byte;
        if (byte < UINT8_MAX) {
            *ret_size = size;
            return true;
        }
    }
    return false;
}

int opus_ts_next(const uint8_t **data, size_t *len, struct opus_unit *ret_unit) {
    const uint8_t *p = *data;
    size_t pos = 2, size;
    if (!*len)
        return 0;
    if (*len < pos || (p[0] << 3 | p[1] >> 5) != PREFIX || !read_size(p, *len, &pos, &size))
        return -EBADMSG;
    pos += (p[1] & START_TRIM ? TRIM_LEN : 0) + (p[1] & END_TRIM ? TRIM_LEN : 0);
    if (p[1] & EXTENSION)
        pos += pos < *len ? 1u + p[pos] : 1u;
    if (pos > *len || size > *len - pos)
        return -EBADMSG;
    struct opus_unit unit = {p + pos, size, opus_packet_samples(p + pos, size)};
    if (!unit.samples)
        return -EBADMSG;
    *data += pos + size;
    *len -= pos + size;
    *ret_unit = unit;
    return 1;
}

uint8_t opus_ts_channels(uint8_t channel_config_code) {
    return channel_config_code <= 8 ? channel_config_code : 0;
}
