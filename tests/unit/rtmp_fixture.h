/* What RTMP's tests share: a client's bytes, written chunk by chunk, so that each header's form is the test's choice.
 */
#pragma once
#include <stdint.h>
#include <string.h>

#include "common/base/buf.h"

static inline void wire_put(struct buf *wire, uint64_t value, int bytes) {
    uint8_t p[8];
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        p[i] = (uint8_t)value;
    buf_append(wire, p, (size_t)bytes);
}

static inline void wire_basic(struct buf *wire, int fmt, uint32_t csid) {
    if (csid < 64) {
        wire_put(wire, (uint64_t)fmt << 6 | csid, 1);
    } else if (csid < 320) {
        wire_put(wire, (uint64_t)fmt << 6, 1);
        wire_put(wire, csid - 64, 1);
    } else {
        wire_put(wire, (uint64_t)fmt << 6 | 1, 1);
        wire_put(wire, (csid - 64) & 0xFF, 1);
        wire_put(wire, (csid - 64) >> 8, 1);
    }
}

/* A header of form `fmt`; `time` is the field, absolute or delta. What the form leaves out is ignored. For fmt 3 `time`
 * is only written when it is extended. */
static inline void wire_head(struct buf *wire, int fmt, uint32_t csid, uint32_t time, uint32_t len, uint8_t type,
                             uint32_t stream_id) {
    wire_basic(wire, fmt, csid);
    if (fmt < 3)
        wire_put(wire, time < 0xFFFFFF ? time : 0xFFFFFF, 3);
    if (fmt < 2) {
        wire_put(wire, len, 3);
        wire_put(wire, type, 1);
    }
    if (fmt < 1)
        for (int i = 0; i < 4; i++)
            wire_put(wire, stream_id >> 8 * i & 0xFF, 1);
    if (time >= 0xFFFFFF)
        wire_put(wire, time, 4);
}

/* A whole message: a header of form `fmt`, then fmt 3 after every `chunk_size` bytes. */
static inline void wire_message(struct buf *wire, uint32_t chunk_size, int fmt, uint32_t csid, uint32_t time,
                                uint8_t type, uint32_t stream_id, const void *body, size_t len) {
    wire_head(wire, fmt, csid, time, (uint32_t)len, type, stream_id);
    for (size_t off = 0; off < len;) {
        if (off)
            wire_head(wire, 3, csid, time, 0, 0, 0);
        size_t n = len - off < chunk_size ? len - off : chunk_size;
        buf_append(wire, (const uint8_t *)body + off, n);
        off += n;
    }
}
