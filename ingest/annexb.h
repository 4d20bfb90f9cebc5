/* H.264 as a byte stream (ITU-T H.264 Annex B), as MPEG-TS carries it, made into what the rest of the pipeline takes: access
 * units with the length prefixes of ISO/IEC 14496-15, and an AVCDecoderConfigurationRecord made of the parameter sets within.
 * Pure but for memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

enum { ANNEXB_SETS_MAX = 16, ANNEXB_SET_MAX = 512, ANNEXB_CONFIG_MAX = 2048, ANNEXB_UNIT_MAX = 8 << 20 };

struct annexb_set {
    uint8_t type; /* of the NAL unit: SPS or PPS */
    uint32_t id, sps_id; /* an SPS is its own */
    bool fresh;   /* it came with this access unit */
    uint16_t len;
    uint8_t data[ANNEXB_SET_MAX];
};

struct annexb {
    struct annexb_set sets[ANNEXB_SETS_MAX]; /* that came so far */
    uint32_t set_count;
    uint8_t config[ANNEXB_CONFIG_MAX]; /* avcC, of the latest IDR picture that brought other sets */
    size_t config_len;                 /* 0: none yet */
    struct buf unit;
    uint64_t bad_sets; /* malformed, or more than there is room for */
};

struct annexb_unit {
    bool idr; /* or the like, see h264_entry.h: decoding can begin with it */
    bool config_changed;
    const uint8_t *data; /* with lengths of 4 bytes; until the next call. len 0: there is no picture in it */
    size_t len;
};

void annexb_init(struct annexb *annexb);
void annexb_finish(struct annexb *annexb);

/* One access unit. Left out are delimiters, fillers, ends of sequence, and parameter sets that `config` has; others, such as
 * a PPS that changes between two IDR pictures, stay in. 0; -EBADMSG: no start code in it; -ENOBUFS: too large. */
int annexb_read(struct annexb *annexb, const uint8_t *data, size_t len, struct annexb_unit *ret_unit);

struct annexb_nal {
    const uint8_t *data; /* at its header */
    size_t len;
};
/* Takes the NAL unit at the front of what is left. False: there is none. */
bool annexb_nal_next(const uint8_t **data, size_t *len, struct annexb_nal *ret_nal);
