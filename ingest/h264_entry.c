#include "ingest/h264_entry.h"

#include "ingest/bits.h"
#include "ingest/h264.h"
#include "ingest/nal.h"

enum {
    SEI_RECOVERY_POINT = 6,
    HEAD_BYTES = 8, /* of what is read: first_mb_in_slice and slice_type, or recovery_frame_cnt */
};

/* §7.3.2.3.1: each 255 stands for itself and more. */
static uint32_t read_number(struct nal_reader *reader) {
    uint32_t sum = 0;
    uint8_t byte;
    do {
        byte = nal_read_byte(reader);
        sum += byte;
    } while (byte == 255 && sum < UINT16_MAX);
    return sum;
}

static struct bits head_bits(struct nal_reader *reader, uint8_t head[HEAD_BYTES], uint32_t most) {
    uint32_t n = 0;
    while (n < HEAD_BYTES && n < most && reader->len)
        head[n++] = nal_read_byte(reader);
    return bits_of(head, n);
}

static bool sei_recovers(struct nal_reader reader) {
    uint8_t head[HEAD_BYTES];
    while (!reader.end && reader.len > 1) { /* the last byte is the trailing bits */
        uint32_t type = read_number(&reader), size = read_number(&reader);
        if (type == SEI_RECOVERY_POINT) {
            struct bits bits = head_bits(&reader, head, size);
            return bits_ue(&bits, UINT16_MAX) == 0 && !bits.bad;
        }
        for (uint32_t i = 0; i < size && !reader.end; i++)
            nal_read_byte(&reader);
    }
    return false;
}

/* All slices of a picture must be intra. What begins at its first macroblock again is the second field of a frame. */
static void add_slice(struct h264_entry *entry, struct nal_reader reader) {
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
    struct nal_reader reader = {.data = nal + 1, .len = len - 1};
    switch (nal[0] & 0x1f) {
    case H264_NAL_IDR:
        entry->idr = true;
        break;
    case H264_NAL_SEI:
        entry->recovers = entry->recovers || sei_recovers(reader);
        break;
    case H264_NAL_SLICE:
        add_slice(entry, reader);
        break;
    default:
        break;
    }
}
