/* Containers on the way to mdhd (moov, trak, mdia) are entered: their content is read as boxes that follow. Of tkhd,
 * mdhd and prft as many bytes are kept as hold what is looked for; everything else is counted off. */
#include "tools/load/scan.h"

#include <string.h>

#define TYPE(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define NTP_TO_UNIX_S    2208988800u

enum { AT_HEADER, AT_WIDE_HEADER, AT_KEPT, AT_SKIPPED };
enum {
    HEADER_BYTES = 8,
    WIDE_HEADER_BYTES = 16,
    TKHD_BYTES = 24,
    MDHD_BYTES = 24,
    PRFT_BYTES = 20,
    PRFT_WIDE_BYTES = 24
};

static uint32_t u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t u64(const uint8_t *p) {
    return (uint64_t)u32(p) << 32 | u32(p + 4);
}

static void want(struct scan *scan, uint8_t state, uint8_t bytes) {
    scan->state = state;
    scan->wanted = bytes;
}

static void next_box(struct scan *scan) {
    scan->kept_len = 0;
    want(scan, AT_HEADER, HEADER_BYTES);
}

void scan_init(struct scan *scan, void (*on_chunk)(void *ctx, const struct scan_chunk *chunk), void *ctx) {
    *scan = (struct scan){.on_chunk = on_chunk, .ctx = ctx};
    next_box(scan);
}

void scan_restart(struct scan *scan) {
    scan->broken = false;
    scan->prft_ntp = 0;
    next_box(scan);
}

static int64_t utc_of_ntp(uint64_t ntp) {
    return ((int64_t)(ntp >> 32) - NTP_TO_UNIX_S) * 1000000 + (int64_t)((ntp & 0xffffffff) * 1000000 >> 32);
}

static int64_t media_us(const struct scan *scan) {
    for (unsigned i = 0; i < scan->tracks; i++) {
        uint64_t ts = scan->prft_media_ts, scale = scan->track[i].timescale;
        if (scan->track[i].id == scan->prft_track && scale)
            return (int64_t)(ts / scale * 1000000 + ts % scale * 1000000 / scale);
    }
    return 0;
}

static void chunk_done(struct scan *scan) {
    struct scan_chunk chunk = {.lead = true};
    if (scan->prft_ntp) {
        chunk.lead = scan->tracks == 0 || scan->prft_track == scan->track[0].id;
        chunk.capture_us = utc_of_ntp(scan->prft_ntp);
        chunk.media_us = media_us(scan);
    }
    scan->prft_ntp = 0;
    scan->on_chunk(scan->ctx, &chunk);
}

static void box_done(struct scan *scan) {
    if (scan->type == TYPE('m', 'd', 'a', 't'))
        chunk_done(scan);
    next_box(scan);
}

/* The first bytes of the content, with version and flags, of a box that is looked into. */
static void look(struct scan *scan) {
    const uint8_t *p = scan->kept;
    unsigned wide = p[0] == 1;
    if (scan->type == TYPE('t', 'k', 'h', 'd')) {
        scan->track_id = u32(p + (wide ? 20 : 12));
    } else if (scan->type == TYPE('m', 'd', 'h', 'd') && scan->tracks < SCAN_TRACKS_MAX) {
        scan->track[scan->tracks].id = scan->track_id;
        scan->track[scan->tracks++].timescale = u32(p + (wide ? 20 : 12));
    } else if (scan->type == TYPE('p', 'r', 'f', 't')) {
        scan->prft_track = u32(p + 4);
        scan->prft_ntp = u64(p + 8);
        scan->prft_media_ts = wide ? u64(p + 16) : u32(p + 16);
    }
}

static uint8_t bytes_looked_at(uint32_t type) {
    switch (type) {
    case TYPE('t', 'k', 'h', 'd'):
        return TKHD_BYTES;
    case TYPE('m', 'd', 'h', 'd'):
        return MDHD_BYTES;
    case TYPE('p', 'r', 'f', 't'):
        return PRFT_BYTES;
    default:
        return 0;
    }
}

static bool entered(uint32_t type) {
    return type == TYPE('m', 'o', 'o', 'v') || type == TYPE('t', 'r', 'a', 'k') || type == TYPE('m', 'd', 'i', 'a');
}

static void begin_content(struct scan *scan, uint64_t size, unsigned header) {
    uint8_t looked_at = bytes_looked_at(scan->type);
    scan->kept_len = 0;
    if (size < header || size - header < looked_at) {
        scan->broken = true;
        return;
    }
    if (scan->type == TYPE('m', 'o', 'o', 'v'))
        scan->tracks = 0; /* a new init */
    scan->remaining = size - header;
    if (entered(scan->type))
        next_box(scan);
    else if (looked_at == PRFT_BYTES && scan->remaining >= PRFT_WIDE_BYTES)
        want(scan, AT_KEPT, PRFT_WIDE_BYTES);
    else if (looked_at)
        want(scan, AT_KEPT, looked_at);
    else if (scan->remaining)
        scan->state = AT_SKIPPED;
    else
        box_done(scan);
}

/* `wanted` bytes have been kept. */
static void kept(struct scan *scan) {
    uint32_t size = u32(scan->kept);
    switch (scan->state) {
    case AT_HEADER:
        scan->type = u32(scan->kept + 4);
        if (size == 1)
            want(scan, AT_WIDE_HEADER, WIDE_HEADER_BYTES);
        else
            begin_content(scan, size, HEADER_BYTES);
        break;
    case AT_WIDE_HEADER:
        begin_content(scan, u64(scan->kept + HEADER_BYTES), WIDE_HEADER_BYTES);
        break;
    default:
        look(scan);
        scan->remaining -= scan->wanted;
        scan->state = AT_SKIPPED;
        if (scan->remaining == 0)
            box_done(scan);
        break;
    }
}

void scan_feed(struct scan *scan, const uint8_t *data, size_t len) {
    while (len > 0 && !scan->broken) {
        size_t n;
        if (scan->state == AT_SKIPPED) {
            n = len < scan->remaining ? len : (size_t)scan->remaining;
            scan->remaining -= n;
            if (scan->remaining == 0)
                box_done(scan);
        } else {
            n = scan->wanted - scan->kept_len;
            n = len < n ? len : n;
            memcpy(scan->kept + scan->kept_len, data, n);
            scan->kept_len += (uint8_t)n;
            if (scan->kept_len == scan->wanted)
                kept(scan);
        }
        data += n;
        len -= n;
    }
}
