#include "ingest/flac.h"

#include <errno.h>
#include <stdbool.h>

#include "ingest/bits.h"

enum {
    BLOCK_MIN = 16, /* samples */
    BLOCK_MAX_MS = 120,
    RATE_MIN = 8000,
    RATE_MAX = 96000,
    BITS_MIN = 4,
    SYNC = 0x3ffe, /* 14 bits */
};

int flac_config_parse(const uint8_t *streaminfo, size_t len, struct flac_config *ret_config, const char **ret_why) {
    struct bits bits = bits_of(streaminfo, len);
    struct flac_config config = {0};
    *ret_why = "not a FLAC STREAMINFO";
    if (len != FLAC_CONFIG_LEN)
        return -EBADMSG;
    uint32_t least = bits_read(&bits, 16);
    config.block_size = bits_read(&bits, 16);
    bits_skip(&bits, 24); /* sizes of frames */
    bits_skip(&bits, 24);
    config.sample_rate = bits_read(&bits, 20);
    config.channels = (uint8_t)(1 + bits_read(&bits, 3));
    config.bits = (uint8_t)(1 + bits_read(&bits, 5));
    if (least < BLOCK_MIN || config.block_size < least || config.bits < BITS_MIN)
        return -EBADMSG;
    *ret_why = "FLAC sampling rate is not supported (8 to 96 kHz)";
    if (config.sample_rate < RATE_MIN || config.sample_rate > RATE_MAX)
        return -ENOTSUP;
    *ret_why = "FLAC with blocks of varying size is not supported";
    if (least != config.block_size)
        return -ENOTSUP;
    *ret_why = "FLAC blocks are longer than 120 ms";
    if (config.block_size > config.sample_rate / 1000 * BLOCK_MAX_MS)
        return -ENOTSUP;
    *ret_config = config;
    return 0;
}

/* §9.1.5: as UTF-8, of up to 7 bytes. */
static void skip_coded_number(struct bits *bits) {
    uint32_t first = bits_read(bits, 8);
    unsigned more = first < 0x80 ? 0 : first < 0xc0 || first == 0xff ? 8 : (unsigned)__builtin_clz(~(first << 24)) - 1;
    bits->bad |= more > 6;
    for (; more > 0 && !bits->bad; more--)
        bits->bad |= bits_read(bits, 8) >> 6 != 2;
}

/* §9.1.8 */
static uint8_t crc8(const uint8_t *data, size_t len) {
    uint8_t crc = 0;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (uint8_t)(crc << 1 ^ (crc & 0x80 ? 0x07 : 0));
    }
    return crc;
}

/* §9.1.1; `code` is 6 or 7 where the size follows. */
static uint32_t block_size_of(uint32_t code, struct bits *bits) {
    if (code == 6)
        return 1 + bits_read(bits, 8);
    if (code == 7)
        return 1 + bits_read(bits, 16);
    return code == 0 ? 0 : code == 1 ? 192 : code < 6 ? 144u << code : 1u << code;
}

uint32_t flac_frame_samples(const uint8_t *data, size_t len) {
    struct bits bits = bits_of(data, len < 20 ? len : 20);
    bool synced = bits_read(&bits, 14) == SYNC;
    bits_skip(&bits, 2); /* reserved; whether block sizes vary */
    uint32_t block = bits_read(&bits, 4), rate = bits_read(&bits, 4);
    bits_skip(&bits, 8); /* channels, bits a sample */
    skip_coded_number(&bits);
    uint32_t samples = block_size_of(block, &bits);
    bits_skip(&bits, rate == 12 ? 8 : rate == 13 || rate == 14 ? 16 : 0);
    size_t head = bits.pos / 8;
    uint32_t crc = bits_read(&bits, 8);
    return !synced || bits.bad || crc8(data, head) != crc ? 0 : samples;
}
