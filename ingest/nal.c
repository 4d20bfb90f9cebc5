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

uint8_t nal_read_byte(struct nal_reader *reader) {
    if (reader->len && reader->zeros >= 2 && reader->data[0] == 3) {
        reader->data++;
        reader->len--;
        reader->zeros = 0;
    }
    if (!reader->len) {
        reader->end = true;
        return 0;
    }
    reader->zeros = reader->data[0] ? 0 : reader->zeros + 1;
    reader->len--;
    return *reader->data++;
}

size_t nal_unescape(const struct nal *nal, uint8_t *out, size_t size) {
    struct nal_reader reader = {.data = nal->data, .len = nal->len};
    for (size_t n = 0;; n++) {
        uint8_t byte = nal_read_byte(&reader);
        if (reader.end || n == size)
            return reader.end ? n : 0;
        out[n] = byte;
    }
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
