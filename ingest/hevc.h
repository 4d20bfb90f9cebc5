/* HEVC configuration: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3) and SPS (ITU-T H.265 §7.3.2.2, Annex E). Pure parsers of
 * strangers' bytes: bounded, no allocation. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/nal.h"

enum {
    HEVC_NAL_VPS = 32,
    HEVC_NAL_SPS = 33,
    HEVC_NAL_PPS = 34,
    HEVC_NAL_HEADER = 2, /* bytes */
    HEVC_PTL_LEN = 12,   /* general profile, tier, level: as in the SPS, so in hvcC */
};

struct hevc_sps {
    uint8_t ptl[HEVC_PTL_LEN];
    uint8_t vps_id, sub_layers; /* 1..7 */
    bool temporal_id_nested;
    uint32_t id;
    uint8_t chroma_format, luma_depth, chroma_depth; /* depths in bits */
    uint16_t width, height;                          /* after cropping */
    uint32_t fps_milli;                              /* from VUI timing, 0 when absent */
    uint8_t transfer;                                /* characteristics, from VUI; 2 unspecified */
};

struct hevc_config {
    uint8_t ptl[HEVC_PTL_LEN]; /* of the record */
    uint8_t nal_length_size;   /* 1, 2 or 4 */
    uint16_t width, height;
    uint32_t fps_milli;
    uint8_t transfer;
};

static inline uint8_t hevc_nal_type(const uint8_t *nal) {
    return nal[0] >> 1 & 0x3f;
}
/* A picture at which decoding can begin: IDR, CRA, BLA and what is reserved for such. */
static inline bool hevc_is_irap(uint8_t type) {
    return type >= 16 && type <= 23;
}

/* NULL, or what is wrong (static text). */
const char *hevc_sps_parse(const struct nal *nal, struct hevc_sps *ret_sps);
/* 0, or -EBADMSG with *ret_why (static text) when not usable (a parameter set is missing, sizes out of range 16..8192, truncated …). */
int hevc_config_parse(const uint8_t *hvcc, size_t len, struct hevc_config *ret_config, const char **ret_why);
/* Writes the hvcC of an hvc1 sample entry into `out`: nothing but parameter sets, and all of them are in it. The length, -ENOBUFS or
 * -EBADMSG. */
int hevc_config_for_init(const uint8_t *hvcc, size_t len, uint8_t *out, size_t size);
/* "hvc1.…" (ISO/IEC 14496-15 Annex E.3), at most 41 bytes with its end. */
void hevc_codecs(const uint8_t ptl[HEVC_PTL_LEN], char *out, size_t size);
/* Whether an access unit is well formed (lengths add up), and whether decoding can begin with it. */
bool hevc_access_unit_ok(const uint8_t *data, size_t len, uint8_t nal_length_size, bool *ret_irap);
