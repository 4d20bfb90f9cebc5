#include "common/media/vtt.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/cmaf.h"

enum {
    MOOF_BYTES = 100,
    MDAT_HEAD = 8,
    TFHD_BASE_IS_MOOF = 0x020000,
    TRUN_FLAGS = 0x000701, /* data offset; durations, sizes and flags of samples */
    SYNC_SAMPLE = 0x02000000,
};

int64_t vtt_anchor_us(int64_t segment_start_us) {
    int64_t us = segment_start_us - VTT_PAST_S * INT64_C(1000000);
    return us > 0 ? us - us % 1000 : 0;
}

/* --- chunks --- */

static uint8_t *put32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        *p++ = (uint8_t)(value >> (24 - 8 * i));
    return p;
}

static uint8_t *put_box(uint8_t *p, uint32_t bytes, const char type[4]) {
    p = put32(p, bytes);
    memcpy(p, type, 4);
    return p + 4;
}

struct slice vtt_chunk_create(uint32_t track_id, int64_t tfdt_ts, uint32_t duration_ts, const void *text, size_t len) {
    struct slice slice = blob_create_framed(MOOF_BYTES + MDAT_HEAD + len, true);
    uint8_t *p = slice.blob->data + slice.off;
    p = put_box(p, MOOF_BYTES, "moof");
    p = put32(put32(put_box(p, 16, "mfhd"), 0), 1);
    p = put_box(p, 76, "traf");
    p = put32(put32(put_box(p, 16, "tfhd"), TFHD_BASE_IS_MOOF), track_id);
    p = put32(put_box(p, 20, "tfdt"), 1u << 24);
    p = put32(put32(p, (uint32_t)((uint64_t)tfdt_ts >> 32)), (uint32_t)tfdt_ts);
    p = put32(put32(put32(put_box(p, 32, "trun"), TRUN_FLAGS), 1), MOOF_BYTES + MDAT_HEAD);
    p = put32(put32(put32(p, duration_ts), (uint32_t)len), SYNC_SAMPLE);
    p = put_box(p, (uint32_t)(MDAT_HEAD + len), "mdat");
    memcpy(p, text, len);
    return slice;
}

struct blob *vtt_init_create(void) {
    uint8_t ftyp[20];
    uint8_t *p = put_box(ftyp, sizeof ftyp, "ftyp");
    p = put32(p, CMAF_TYPE('c', 'm', 'f', '2'));
    put32(put32(p, 0), CMAF_TYPE('w', 'v', 't', 't'));
    return blob_create_copy(ftyp, sizeof ftyp);
}

/* --- files --- */

void vtt_file_begin(struct buf *out, int64_t anchor_us) {
    uint64_t ticks = (uint64_t)anchor_us / 100 * 9;
    buf_printf(out, "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:%" PRIu64 ",LOCAL:00:00:00.000\n\n",
               ticks & ((UINT64_C(1) << 33) - 1));
}

static void add_block(struct buf *out, const uint8_t *block, size_t len) {
    const uint8_t *file = buf_head(out), *found = file;
    size_t left = buf_len(out);
    /* It is there if it stands between two empty lines. */
    while (left && (found = memmem(found, left, block, len)) && (found < file + 2 || memcmp(found - 2, "\n\n", 2) != 0))
        left = buf_len(out) - (size_t)(++found - file);
    if (!found || !left)
        buf_append(out, block, len);
}

void vtt_file_add(struct buf *out, const uint8_t *chunk, size_t len) {
    struct cmaf_box mdat;
    if (cmaf_box_find(chunk, len, CMAF_TYPE('m', 'd', 'a', 't'), &mdat) <= 0)
        return;
    const uint8_t *p = mdat.data, *end = p + mdat.len, *gap;
    for (; (gap = memmem(p, (size_t)(end - p), "\n\n", 2)); p = gap + 2)
        add_block(out, p, (size_t)(gap + 2 - p));
}
