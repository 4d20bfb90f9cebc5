/* NAL units as H.264 and HEVC share them: with lengths before them (ISO/IEC 14496-15), and emulation prevention (ITU-T H.264 §7.4.1, H.265
 * §7.4.2). Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/bits.h"

struct nal {
    const uint8_t *data; /* at its header */
    size_t len;
};

/* The next NAL unit with a length of `size` bytes before it; `data` and `left` move on. False when it is cut off or empty. */
bool nal_next(const uint8_t **data, size_t *left, unsigned size, struct nal *ret_nal);

enum { NAL_TRANSFER_UNSPECIFIED = 2 };

/* What both kinds of VUI begin with: aspect ratio, overscan, video signal type (H.264 §E.1.1, H.265 §E.2.1). Returns the transfer
 * characteristics (ITU-T H.273). */
uint8_t nal_read_look(struct bits *bits);

/* Bytes without emulation prevention, one by one. */
struct nal_reader {
    const uint8_t *data;
    size_t len;
    unsigned zeros;
    bool end; /* there was none left */
};

/* 0 at the end. */
uint8_t nal_read_byte(struct nal_reader *reader);

/* All of them. Returns the length, 0 when it doesn't fit into `size`. */
size_t nal_unescape(const struct nal *nal, uint8_t *out, size_t size);
/* With them. The length, or -ENOBUFS. */
int nal_escape(const uint8_t *rbsp, size_t len, uint8_t *out, size_t size);
