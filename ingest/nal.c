#include "ingest/nal.h"

#include <errno.h>

bool nal_next(const uint8_t **data, size_t *left, unsigned size, struct nal *ret_nal) {
    size_t len = 0;
    if (*left < size)
        return false;
    for (unsigned i = 0; i < size; i++)
        len = len << 8 | (*data)[i];
    if (len < 1 || len > *left - size)
        return false;
    *ret_nal = (struct nal){*data + size, len};
    *data += size + len;
    *left -= size + len;
    return true;
}

uint8_t nal_read_look(struct bits *bits) {
    enum { EXTENDED_SAR = 255 };
    uint8_t transfer = NAL_TRANSFER_UNSPECIFIED;
    if (bits_flag(bits) && bits_read(bits, 8) == EXTENDED_SAR)
        bits_skip(bits, 32);
    if (bits_flag(bits))
        bits_skip(bits, 1); /* overscan */
    if (bits_flag(bits)) {  /* video signal type */
        bits_skip(bits, 4);
        if (bits_flag(bits)) {
            bits_skip(bits, 8); /* primaries */
            transfer = (uint8_t)bits_read(bits, 8);
            bits_skip(bits, 8); /* matrix */
        }
    }
    return transfer;
}

size_t nal_unescape(const struct nal *nal, uint8_t *out, size_t size) {
    size_t n = 0;
    unsigned zeros = 0;
    for (size_t i = 0; i < nal->len; i++) {
        uint8_t byte = nal->data[i];
        if (zeros >= 2 && byte == 3) {
            zeros = 0;
            continue;
        }
        if (n == size)
            return 0;
        zeros = byte ? 0 : zeros + 1;
        out[n++] = byte;
    }
    return n;
}

int nal_escape(const uint8_t *rbsp, size_t len, uint8_t *out, size_t size) {
    size_t n = 0;
    unsigned zeros = 0;
    for (size_t i = 0; i < len; i++) {
        bool prevent = zeros >= 2 && rbsp[i] <= 3;
        if (size - n < (prevent ? 2u : 1u))
            return -ENOBUFS;
        if (prevent) {
            out[n++] = 3;
            zeros = 0;
        }
        zeros = rbsp[i] ? 0 : zeros + 1;
        out[n++] = rbsp[i];
    }
    return (int)n;
}
