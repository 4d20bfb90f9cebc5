/* A clock that survives a video codec: the number of the frame and the wall clock's milliseconds as black and white
 * cells in the top left of the picture, 20 x 4 of them over half its width and two ninths of its height. Cells are
 * large enough to be read after any encoder that a human would still look at, and a CRC tells when they weren't.
 *
 * The bits, most significant first, row by row from the top left (viewer_probe.js reads the same):
 *   24  frame number, modulo 2^24
 *   40  milliseconds since the Unix epoch, modulo 2^40
 *   16  CRC-16/CCITT-FALSE over the eight bytes before
 *
 * At 1280x720 a cell is 32 x 40 pixels. Width has to be a multiple of 40, height of 18, for cells to have whole pixels.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    CLOCK_COLUMNS = 20,
    CLOCK_ROWS = 4,
    CLOCK_BYTES = CLOCK_COLUMNS * CLOCK_ROWS / 8,
    CLOCK_STAMPED_BYTES = CLOCK_BYTES - 2, /* those that the CRC covers */
    CLOCK_BLACK = 16,
    CLOCK_WHITE = 235,
    CLOCK_THRESHOLD = (CLOCK_BLACK + CLOCK_WHITE) / 2,
};

#define CLOCK_FRAME_MASK 0xFFFFFFu
#define CLOCK_MS_MASK    0xFFFFFFFFFFull

struct clock_stamp {
    uint32_t frame;
    uint64_t ms;
};

static inline int clock_cell_width(int picture_width) {
    return picture_width / 2 / CLOCK_COLUMNS;
}

static inline int clock_cell_height(int picture_height) {
    return picture_height * 2 / 9 / CLOCK_ROWS;
}

static inline uint16_t clock_crc(const uint8_t *bytes, int len) {
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < len; i++) {
        crc ^= (uint16_t)(bytes[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static inline void clock_pack(struct clock_stamp stamp, uint8_t bytes[CLOCK_BYTES]) {
    for (int i = 0; i < 3; i++)
        bytes[i] = (uint8_t)(stamp.frame >> (16 - 8 * i));
    for (int i = 0; i < 5; i++)
        bytes[3 + i] = (uint8_t)(stamp.ms >> (32 - 8 * i));
    uint16_t crc = clock_crc(bytes, CLOCK_STAMPED_BYTES);
    bytes[8] = (uint8_t)(crc >> 8);
    bytes[9] = (uint8_t)crc;
}

/* False when the CRC says that the cells were misread. */
static inline bool clock_unpack(const uint8_t bytes[CLOCK_BYTES], struct clock_stamp *ret_stamp) {
    if (clock_crc(bytes, CLOCK_STAMPED_BYTES) != (bytes[8] << 8 | bytes[9]))
        return false;
    struct clock_stamp stamp = {0};
    for (int i = 0; i < 3; i++)
        stamp.frame = stamp.frame << 8 | bytes[i];
    for (int i = 0; i < 5; i++)
        stamp.ms = stamp.ms << 8 | bytes[3 + i];
    *ret_stamp = stamp;
    return true;
}

/* From the time in a stamp, which has lost its upper bits, to `now_us` of the wall clock. */
static inline double clock_latency_ms(struct clock_stamp stamp, int64_t now_us) {
    int64_t late = (int64_t)(((uint64_t)(now_us / 1000) - stamp.ms) & CLOCK_MS_MASK);
    if (late > (int64_t)(CLOCK_MS_MASK / 2))
        late -= (int64_t)CLOCK_MS_MASK + 1;
    return (double)late + (double)(now_us % 1000) / 1000;
}
