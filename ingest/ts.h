/* MPEG transport stream demuxer (ISO/IEC 13818-1): bytes in, in whatever portions; out come the programme's tracks and the
 * payloads of their PES packets: H.264 and HEVC in Annex B, AAC in ADTS, Opus behind control headers. Pure and bounded. What is malformed is passed over and
 * counted, never an error.
 *
 * A PES packet is given as soon as it is known to be complete, because what waits for the next one is a frame late:
 *  - by its length, if it has one (video mostly has none);
 *  - by stuffing in an adaptation field: a packet is filled up when the payload ends. Some muxers stuff elsewhere, too, so
 *    that is believed only after it was seen to be right, and no more once it was wrong;
 *  - else when the next one begins.
 *
 * What was hit by loss is not given; the next of its track that is says so (`after_loss`). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"
#include "ingest/ts_tables.h"

enum { TS_HZ = 90000, TS_VIDEO_PES_MAX = 4 << 20, TS_AUDIO_PES_MAX = 6 + UINT16_MAX };

enum ts_what {
    TS_PROGRAMME, /* the programme was found, has other tracks now, or is gone */
    TS_PES,
};

struct ts_event {
    enum ts_what what;
    /* TS_PROGRAMME */
    bool gone; /* another may be found */
    struct ts_stream video; /* pid 0: there is none */
    struct ts_stream audio[TS_AUDIO_MAX];
    uint32_t audio_count, audio_left_out;
    uint8_t ignored[TS_IGNORED_MAX], ignored_count; /* stream types that are not taken; each is told once */
    /* TS_PES */
    enum track_kind kind;
    uint8_t track; /* audio: its place in the programme */
    enum codec codec;
    bool after_loss, has_time;
    bool full;              /* its packet was as long as one that has a length can be: what is in it may go on in the next */
    int64_t dts_ts, pts_ts; /* 90 kHz, unwrapped; tracks share one clock */
    const uint8_t *data;    /* until the next call */
    size_t len;
};

struct ts_counters {
    uint64_t packets, skipped_bytes; /* skipped: to get in step */
    uint64_t bad_packets;            /* damaged, scrambled or malformed */
    uint64_t losses;                 /* places where packets of a track are missing */
    uint64_t pes, pes_dropped;       /* dropped: incomplete, malformed or too long */
    uint64_t pes_cut;                /* given too soon, because of stuffing in mid-payload */
};

struct ts;
struct ts *ts_create(void);
void ts_destroy(struct ts *ts); /* NULL is allowed */

/* 1: *ret_event is set; to be called again with what is left. 0: all is used up. */
int ts_read(struct ts *ts, const uint8_t *data, size_t len, size_t *ret_used, struct ts_event *ret_event);
/* Bytes are missing here. */
void ts_gap(struct ts *ts);

const struct ts_counters *ts_counters(const struct ts *ts);
uint64_t ts_bad_sections(const struct ts *ts);
