/* A transport stream as a broadcaster sends it: demuxer, access units, publisher, over a port that hands the records to
 * a store, which must take every one of them. The input's head is four bytes: what to do with the rest, how large the
 * portions are that it comes in, and after which of them a gap is (0: none). Then packets.
 *
 * A fuzzer finds no CRC and seldom 188: as far as the head says so, each packet gets its sync byte, each table its CRC,
 * and tables of one programme come first. What is demuxed must not depend on the portions. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/media/store.h"
#include "ingest/adts.h"
#include "ingest/annexb.h"
#include "ingest/ingest.h"
#include "ingest/opus_ts.h"
#include "ingest/ts.h"
#include "ingest/ts_session.h"

#include "../unit/ts_fixture.h"
#include "pretended_writer.h"

enum { MEND_SYNC = 1, MEND_CRC = 2, TABLES_FIRST = 4, HEAD = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- input --- */

/* Of the section that begins in a packet, if it ends there, too. */
static void mend_crc(uint8_t *data) {
    struct ts_packet packet;
    if (!ts_packet_parse(data, &packet) || !packet.starts || !packet.len || packet.len < 4u + packet.payload[0])
        return;
    uint8_t *section = (uint8_t *)(uintptr_t)packet.payload + 1 + packet.payload[0];
    size_t left = (size_t)(data + TS_PACKET - section), len = 3 + ((section[1] & 0x0fu) << 8 | section[2]);
    if (len > left || len < 7 || !(section[1] & 0x80))
        return;
    uint32_t crc = ts_mux_crc(section, len - 4);
    for (int i = 0; i < 4; i++)
        section[len - 4 + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void mend(uint8_t *data, size_t len, uint8_t how) {
    for (; len >= TS_PACKET; data += TS_PACKET, len -= TS_PACKET) {
        uint16_t pid = (uint16_t)((data[1] & 0x1f) << 8 | data[2]);
        if (how & MEND_SYNC)
            data[0] = TS_SYNC;
        if (how & MEND_CRC && (pid == 0 || pid >= MUX_PMT_PID))
            mend_crc(data);
    }
}

static void prepare(struct ts_mux *mux, const uint8_t *data, size_t size) {
    ts_mux_init(mux);
    if (data[0] & TABLES_FIRST)
        ts_mux_tables(mux);
    buf_append(&mux->out, data + HEAD, size - HEAD);
    if (buf_len(&mux->out))
        mend(buf_head(&mux->out), buf_len(&mux->out), data[0]);
}

/* --- demuxer --- */

static uint32_t hash_add(uint32_t hash, const void *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * 16777619;
    return hash;
}

static void check_unit(struct annexb *annexb, const struct ts_event *event) {
    struct annexb_unit unit;
    struct codec_info info = {.codec = event->codec, .nal_length_size = 4};
    const char *why;
    bool key;
    if (annexb->sets.codec != event->codec) {
        annexb_finish(annexb);
        annexb_init(annexb, event->codec);
    }
    if (annexb_read(annexb, event->data, event->len, &unit))
        return;
    if (unit.len && (!codec_frame_ok(&info, unit.data, unit.len, &key) || key != unit.key))
        abort();
    if (unit.config_changed)
        (void)codec_describe(event->codec, annexb->sets.config, annexb->sets.config_len, &info, &why);
}

static void check_packets(const struct ts_event *event) {
    const uint8_t *data = event->data;
    size_t len = event->len;
    struct opus_unit unit;
    while (opus_ts_next(&data, &len, &unit) > 0)
        if (unit.data < event->data || unit.data + unit.len > event->data + event->len)
            abort();
}

static void check_frames(struct adts *adts, const struct ts_event *event) {
    struct adts_frame frame;
    if (event->after_loss)
        adts_gap(adts);
    if (adts_push(adts, event->data, event->len, event->has_time, event->pts_ts))
        return;
    while (adts_next(adts, &frame))
        if (!frame.len || frame.len > 8191)
            abort();
}

static uint32_t demux(const uint8_t *data, size_t len, size_t portion) {
    struct ts *ts = ts_create();
    struct annexb annexb;
    struct adts adts;
    uint32_t hash = 2166136261;
    annexb_init(&annexb, CODEC_H264);
    adts_init(&adts);
    while (len) {
        size_t n = portion < len ? portion : len, used, pos = 0;
        struct ts_event event;
        for (; ts_read(ts, data + pos, n - pos, &used, &event); pos += used) {
            if (event.kind == TRACK_VIDEO && event.what == TS_PES)
                check_unit(&annexb, &event);
            else if (event.what == TS_PES && event.codec == CODEC_OPUS)
                check_packets(&event);
            else if (event.what == TS_PES && !event.track)
                check_frames(&adts, &event);
            hash = hash_add(hash, event.data, event.len);
            hash = hash_add(hash, &event.dts_ts, sizeof event.dts_ts);
        }
        data += n;
        len -= n;
    }
    hash = hash_add(hash, ts_counters(ts), sizeof(struct ts_counters));
    adts_finish(&adts);
    annexb_finish(&annexb);
    ts_destroy(ts);
    return hash;
}

/* --- session --- */

static void on_result(void *ctx, enum publish_result result) {
    (void)ctx, (void)result;
}

static void on_lost(void *ctx, const char *why) {
    (void)ctx, (void)why;
}

static void publish(const uint8_t *data, size_t len, size_t portion, uint8_t gap_after) {
    static const struct store_settings store = {.window_us = 14000000, .bytes_max = 8 << 20, .streams_max = 1};
    static const struct ingest_settings settings = {.segment_ms = 2000, .part_ms = 200, .stall_ms = 2000};
    static const struct ts_session_events events = {on_result, on_lost};
    static const struct claim_grant grant = {.epoch = 9, .next_msn = 100, .next_part = 500};
    struct loop *loop = loop_create();
    struct pretended_writer writer = {.store = store_create(&store), .now_us = 1};
    struct writer_port port = pretended_port(&writer);
    struct ingest *ingest = ingest_create(loop, &settings, &port);
    struct ts_session *session = ts_session_create(ingest, "live", "show", "192.0.2.1:5", &events, NULL);
    for (uint32_t i = 1; len; i++) {
        size_t n = portion < len ? portion : len;
        ts_session_input(session, data, n);
        if (i == 2)
            writer.on_result(writer.owner, CLAIM_GRANTED, &grant);
        if (i == gap_after)
            ts_session_gap(session);
        data += n;
        len -= n;
    }
    ts_session_destroy(session, true);
    ingest_destroy(ingest);
    store_destroy(writer.store);
    loop_destroy(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEAD)
        return 0;
    struct ts_mux mux;
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    prepare(&mux, data, size);
    size_t len = buf_len(&mux.out), portion = 1 + (size_t)(data[1] | data[2] << 8);
    if (len) {
        if (demux(buf_head(&mux.out), len, len) != demux(buf_head(&mux.out), len, portion))
            abort();
        publish(buf_head(&mux.out), len, portion < 100 ? 100 : portion, data[3]);
    }
    buf_finish(&mux.out);
    return 0;
}
