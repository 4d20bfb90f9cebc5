/* AAC in ADTS (ISO/IEC 14496-3 §1.A.2, ISO/IEC 13818-7 §6.2), as MPEG-TS carries it, made into raw frames with times of their
 * own and an AudioSpecificConfig. Frames may begin in one PES packet and end in the next. Pure but for memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

enum { ADTS_CONFIG_LEN = 2, ADTS_HZ = 90000, ADTS_PENDING_MAX = (64 << 10) + (8 << 10) };

struct adts {
    struct buf pending;
    size_t consumed;     /* of it, with the next call */
    bool has_config;
    uint8_t config[ADTS_CONFIG_LEN]; /* AudioSpecificConfig */
    /* a frame's time is that of the last PES packet with one, plus whole frames since: nothing adds up */
    bool has_time, has_next_time;
    int64_t time_ts, next_time_ts;
    uint64_t frames;     /* since `time_ts` */
    size_t next_time_at; /* in `pending`: `next_time_ts` is of the first frame that begins there or later */
    uint64_t skipped_bytes;
    uint64_t dropped;    /* frames without a time, or of a kind that isn't taken; what didn't fit */
};

struct adts_frame {
    bool config_changed;
    int64_t pts_ts; /* 90 kHz */
    const uint8_t *data; /* raw, until the next call */
    size_t len;
};

void adts_init(struct adts *adts);
void adts_finish(struct adts *adts);

/* What a PES packet holds; then adts_next until it says no. -ENOBUFS: too much, all of it is dropped. */
int adts_push(struct adts *adts, const uint8_t *data, size_t len, bool has_time, int64_t pts_ts);
/* The next frame of which the time is known. */
bool adts_next(struct adts *adts, struct adts_frame *ret_frame);
/* Bytes are missing here: an unfinished frame stays so. */
void adts_gap(struct adts *adts);
