/* A bounded reader of bits, most significant first, for codec configurations. Reading past the end, or a value past its
 * maximum, gives 0 and sets `bad`, which stays set: a parser reads on and checks once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
    const uint8_t *data;
    size_t len; /* bits */
    size_t pos;
    bool bad;
};

static inline struct bits bits_of(const uint8_t *data, size_t len_bytes) {
    return (struct bits){.data = data, .len = len_bytes * 8};
}

static inline size_t bits_left(const struct bits *bits) {
    return bits->len - bits->pos;
}

/* `count` is 0..32. */
static inline uint32_t bits_read(struct bits *bits, unsigned count) {
    uint64_t value = 0;
    if (count > bits_left(bits)) {
        bits->bad = true;
        bits->pos = bits->len;
        return 0;
    }
    for (; count > 0; count--, bits->pos++)
        value = value << 1 | (bits->data[bits->pos / 8] >> (7 - bits->pos % 8) & 1);
    return (uint32_t)value;
}

static inline bool bits_flag(struct bits *bits) {
    return bits_read(bits, 1) == 1;
}

static inline void bits_skip(struct bits *bits, unsigned count) {
    (void)bits_read(bits, count);
}

/* ue(v) of ITU-T H.264 §9.1. */
static inline uint32_t bits_ue(struct bits *bits, uint32_t max) {
    unsigned zeros = 0;
    while (!bits->bad && zeros <= 32 && !bits_flag(bits))
        zeros++;
    if (zeros > 31)
        bits->bad = true;
    if (bits->bad)
        return 0;
    uint32_t value = (UINT32_C(1) << zeros) - 1 + bits_read(bits, zeros);
    if (value > max)
        bits->bad = true;
    return bits->bad ? 0 : value;
}

/* se(v) of ITU-T H.264 §9.1.1. */
static inline int32_t bits_se(struct bits *bits) {
    uint32_t code = bits_ue(bits, UINT32_MAX - 1);
    return code & 1 ? (int32_t)(code / 2 + 1) : -(int32_t)(code / 2);
}
