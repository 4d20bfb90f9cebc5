/* H.264 and HEVC as byte streams (ITU-T H.264 and H.265 Annex B), as MPEG-TS carries them, made into what the rest of the pipeline takes:
 * access units with the length prefixes of ISO/IEC 14496-15, and a configuration record made of the parameter sets within
 * (parameter_sets.h). Pure but for memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "ingest/parameter_sets.h"

enum { ANNEXB_UNIT_MAX = 8 << 20 };

struct annexb {
    struct parameter_sets sets;
    struct buf unit;
};

struct annexb_unit {
    bool key;     /* decoding can begin with it: H.264: see h264_entry.h; HEVC: IRAP */
    bool skipped; /* HEVC: a picture that can't be decoded when decoding began with the key picture before it (RASL) */
    bool config_changed;
    const uint8_t *data; /* with lengths of 4 bytes; until the next call. len 0: there is no picture in it */
    size_t len;
};

/* `codec`: CODEC_H264 or CODEC_HEVC. */
void annexb_init(struct annexb *annexb, enum codec codec);
void annexb_finish(struct annexb *annexb);

/* One access unit. Left out are delimiters, fillers, ends of sequence and of stream, HEVC's other layers, and parameter sets that the
 * configuration has; others, such as a PPS that changes between two key pictures, stay in. 0; -EBADMSG: no NAL unit in it; -ENOBUFS: too
 * large. */
int annexb_read(struct annexb *annexb, const uint8_t *data, size_t len, struct annexb_unit *ret_unit);

/* Takes the NAL unit at the front of what is left. False: there is none. */
bool annexb_nal_next(const uint8_t **data, size_t *len, struct nal *ret_nal);
