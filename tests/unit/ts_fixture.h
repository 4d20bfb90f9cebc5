/* What the tests of MPEG-TS share: a multiplexer that is told what to do wrong. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/buf.h"
#include "ingest/ts_packet.h"

enum { MUX_VIDEO_PID = 0x100, MUX_AUDIO_PID = 0x101, MUX_PMT_PID = 0x1000, MUX_MAX = 32 << 20 };

struct ts_mux {
    struct buf out;
    uint8_t counters[0x2000];
};

static inline void ts_mux_init(struct ts_mux *mux) {
    *mux = (struct ts_mux){0};
    buf_init(&mux->out, MUX_MAX);
}

/* One packet with as much of the payload as fits; returns how much that was. `adaptation`: so many bytes of adaptation
 * field beyond what has to be stuffed, a PCR's 7 among them if `pcr`. */
static inline size_t ts_mux_packet(struct ts_mux *mux, uint16_t pid, bool starts, bool pcr, size_t stuffing,
                                   const uint8_t *data, size_t len) {
    uint8_t packet[TS_PACKET];
    memset(packet, 0xff, sizeof packet);
    size_t field = (pcr ? 8 : 0) + stuffing, room = TS_PACKET - 4 - field, n = len < room ? len : room;
    field += room - n;
    packet[0] = TS_SYNC;
    packet[1] = (uint8_t)((starts ? 0x40 : 0) | pid >> 8);
    packet[2] = (uint8_t)pid;
    packet[3] = (uint8_t)((n ? 0x10 : 0) | (field ? 0x20 : 0) | (mux->counters[pid] & 0x0f));
    mux->counters[pid] += n > 0;
    if (field)
        packet[4] = (uint8_t)(field - 1);
    if (field > 1)
        packet[5] = pcr ? 0x10 : 0;
    memcpy(packet + TS_PACKET - n, data, n);
    buf_append(&mux->out, packet, sizeof packet);
    return n;
}

/* --- tables --- */

static inline uint32_t ts_mux_crc(const uint8_t *data, size_t len) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len * 8; i++) {
        bool bit = (data[i / 8] >> (7 - i % 8) & 1) ^ crc >> 31;
        crc = crc << 1 ^ (bit ? 0x04c11db7 : 0);
    }
    return crc;
}

/* `body` is what is between last_section_number and the CRC. */
static inline void ts_mux_section(struct ts_mux *mux, uint16_t pid, uint8_t table, uint16_t id, uint8_t version,
                                  const uint8_t *body, size_t len) {
    uint8_t s[1300] = {0, table}; /* the pointer in front */
    size_t section_len = 5 + len + 4, total = 3 + section_len;
    s[2] = (uint8_t)(0xb0 | section_len >> 8);
    s[3] = (uint8_t)section_len;
    s[4] = (uint8_t)(id >> 8);
    s[5] = (uint8_t)id;
    s[6] = (uint8_t)(0xc1 | version << 1);
    memcpy(s + 9, body, len);
    uint32_t crc = ts_mux_crc(s + 1, total - 4);
    for (int i = 0; i < 4; i++)
        s[1 + total - 4 + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    size_t whole = (1 + total + 183) / 184 * 184; /* the rest is filled with 0xff */
    memset(s + 1 + total, 0xff, whole - 1 - total);
    for (size_t used = 0; used < whole;)
        used += ts_mux_packet(mux, pid, !used, false, 0, s + used, whole - used);
}

/* Programmes 1 to `count`, with PMTs from MUX_PMT_PID on. */
static inline void ts_mux_pat(struct ts_mux *mux, uint8_t version, int count) {
    uint8_t body[64];
    for (int i = 0; i < count; i++) {
        uint16_t pid = (uint16_t)(MUX_PMT_PID + i);
        memcpy(body + i * 4, (uint8_t[]){0, (uint8_t)(i + 1), (uint8_t)(0xe0 | pid >> 8), (uint8_t)pid}, 4);
    }
    ts_mux_section(mux, 0, 0, 1, version, body, (size_t)count * 4);
}

struct ts_mux_stream {
    uint8_t type;
    uint16_t pid;
    const char *descriptors;
    size_t descriptors_len;
};

#define MUX_LANGUAGE(code) "\x0a\4" code "\0"                  /* 6 bytes */
#define MUX_OPUS(channels) "\x05\4Opus\x7f\2\x80" channels /* 10 bytes */

static inline void ts_mux_pmt(struct ts_mux *mux, uint16_t programme, uint8_t version,
                              const struct ts_mux_stream *streams, size_t count) {
    uint8_t body[512] = {0xe1, 0x00, 0xf0, 0};
    size_t len = 4;
    for (size_t i = 0; i < count; i++) {
        const struct ts_mux_stream *stream = &streams[i];
        memcpy(body + len,
               (uint8_t[]){stream->type, (uint8_t)(0xe0 | stream->pid >> 8), (uint8_t)stream->pid, 0xf0,
                           (uint8_t)stream->descriptors_len},
               5);
        if (stream->descriptors_len)
            memcpy(body + len + 5, stream->descriptors, stream->descriptors_len);
        len += 5 + stream->descriptors_len;
    }
    ts_mux_section(mux, (uint16_t)(MUX_PMT_PID + programme - 1), 2, programme, version, body, len);
}

/* PAT and PMT of one programme with H.264 and AAC. */
static inline void ts_mux_tables(struct ts_mux *mux) {
    static const struct ts_mux_stream streams[] = {{0x1b, MUX_VIDEO_PID}, {0x0f, MUX_AUDIO_PID}};
    ts_mux_pat(mux, 0, 1);
    ts_mux_pmt(mux, 1, 0, streams, 2);
}

/* --- PES --- */

struct ts_mux_pes {
    uint16_t pid;
    bool with_length, pcr, no_time, has_dts;
    uint64_t pts_ts, dts_ts;
    const uint8_t *data;
    size_t len;
    size_t stuffing;     /* bytes, in the packet `stuffed_packet` */
    int stuffed_packet;
    int lost_packet;     /* counted from 1 */
};

static inline void ts_mux_stamp(uint8_t *p, uint8_t mark, uint64_t stamp) {
    p[0] = (uint8_t)(mark << 4 | (stamp >> 30 & 7) << 1 | 1);
    p[1] = (uint8_t)(stamp >> 22);
    p[2] = (uint8_t)(stamp >> 15 << 1 | 1);
    p[3] = (uint8_t)(stamp >> 7);
    p[4] = (uint8_t)(stamp << 1 | 1);
}

static inline void ts_mux_pes(struct ts_mux *mux, const struct ts_mux_pes *pes) {
    struct buf bytes;
    buf_init(&bytes, MUX_MAX);
    size_t stamps = pes->no_time ? 0 : pes->has_dts ? 10 : 5, len = 3 + stamps + pes->len;
    uint8_t head[19] = {0, 0, 1, pes->pid == MUX_AUDIO_PID ? 0xc0 : 0xe0};
    if (pes->with_length) {
        head[4] = (uint8_t)(len >> 8);
        head[5] = (uint8_t)len;
    }
    head[6] = 0x80;
    head[7] = pes->no_time ? 0 : pes->has_dts ? 0xc0 : 0x80;
    head[8] = (uint8_t)stamps;
    ts_mux_stamp(head + 9, pes->has_dts ? 3 : 2, pes->pts_ts);
    if (pes->has_dts)
        ts_mux_stamp(head + 14, 1, pes->dts_ts);
    buf_append(&bytes, head, 9 + stamps);
    buf_append(&bytes, pes->data, pes->len);
    int n = 0;
    for (size_t used = 0; used < buf_len(&bytes); n++) {
        size_t before = buf_len(&mux->out);
        used += ts_mux_packet(mux, pes->pid, !used, pes->pcr && !used, n == pes->stuffed_packet ? pes->stuffing : 0,
                              buf_head(&bytes) + used, buf_len(&bytes) - used);
        if (n + 1 == pes->lost_packet)
            mux->out.len = before;
    }
    buf_finish(&bytes);
}
