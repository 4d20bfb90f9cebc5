#include "ingest/h264_entry.h"

#include "ingest/bits.h"

enum {
    NAL_SLICE = 1,
    NAL_IDR = 5,
    NAL_SEI = 6,
    SEI_RECOVERY_POINT = 6,
    HEAD_BYTES = 8, /* of what is read: first_mb_in_slice and slice_type, or recovery_frame_cnt */
};

/* Bytes without emulation prevention (§7.4.1). */
struct reader {
    const uint8_t *data;
    size_t len;
    unsigned zeros;
    bool end;
};

static uint8_t read_byte(struct reader *reader) {
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

/* §7.3.2.3.1: each 255 stands for itself and more. */
static uint32_t read_number(struct reader *reader) {
    uint32_t sum = 0;
    uint8_t byte;
    do {
        byte = read_byte(reader);
        sum += byte;
    } while (byte == 255 && sum < UINT16_MAX);
    return sum;
}

static struct bits head_bits(struct reader *reader, uint8_t head[HEAD_BYTES], uint32_t most) {
    uint32_t n = 0;
    while (n < HEAD_BYTES && n < most && reader->len)
        head[n++] = read_byte(reader);
    return bits_of(head, n);
}

static bool sei_recovers(struct reader reader) {
    uint8_t head[HEAD_BYTES];
    while (!reader.end && reader.len > 1) { /* the last byte is the trailing bits */
        uint32_t type = read_number(&reader), size = read_number(&reader);
        if (type == SEI_RECOVERY_POINT) {
            struct bits bits = head_bits(&reader, head, size);
            return bits_ue(&bits, UINT16_MAX) == 0 && !bits.bad;
        }
        for (uint32_t i = 0; i < size && !reader.end; i++)
            read_byte(&reader);
    }
    return false;
}

/* All slices of a picture must be intra. What begins at its first macroblock again is the second field of a frame. */
static void add_slice(struct h264_entry *entry, struct reader reader) {
    enum { I = 2, SI = 4, TYPES = 5 }; /* §7.4.3 */
    uint8_t head[HEAD_BYTES];
    struct bits bits = head_bits(&reader, head, HEAD_BYTES);
    uint32_t first_mb = bits_ue(&bits, UINT32_MAX - 1), type = bits_ue(&bits, 2 * TYPES - 1) % TYPES;
    bool intra = !bits.bad && (type == I || type == SI);
    entry->second_field |= entry->sliced && !bits.bad && !first_mb;
    if (!entry->second_field)
        entry->intra = (entry->intra || !entry->sliced) && entry->recovers && intra;
    entry->sliced = true;
}

void h264_entry_add(struct h264_entry *entry, const uint8_t *nal, size_t len) {
    if (len < 2)
        return;
    struct reader reader = {.data = nal + 1, .len = len - 1};
    switch (nal[0] & 0x1f) {
    case NAL_IDR:
        entry->idr = true;
        break;
    case NAL_SEI:
        entry->recovers = entry->recovers || sei_recovers(reader);
        break;
    case NAL_SLICE:
        add_slice(entry, reader);
        break;
    default:
        break;
    }
}
