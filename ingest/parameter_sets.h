/* The parameter sets that come within a byte stream of H.264 or HEVC, and the configuration record (avcC, hvcC: ISO/IEC 14496-15 §5.3.3,
 * §8.3.3) made of them. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/codec.h"
#include "ingest/nal.h"

enum {
    PARAMETER_SETS_MAX = 16,
    PARAMETER_SET_MAX = 2048, /* HEVC's with scaling lists have up to 1200 bytes */
    PARAMETER_SETS_CONFIG_MAX = 4096,
};

enum parameter_set_kind { SET_NONE, SET_VPS, SET_SPS, SET_PPS };

struct parameter_set {
    enum parameter_set_kind kind;
    uint32_t id, parent; /* parent: of the set that it refers to; an H.264 SPS is its own */
    bool fresh;          /* it came with this access unit */
    uint16_t len;
    uint8_t data[PARAMETER_SET_MAX];
};

struct parameter_sets {
    enum codec codec; /* CODEC_H264 or CODEC_HEVC */
    struct parameter_set sets[PARAMETER_SETS_MAX]; /* that came so far */
    uint32_t count;
    uint8_t config[PARAMETER_SETS_CONFIG_MAX]; /* of the latest key picture that brought other sets; NAL unit lengths of 4 bytes */
    size_t config_len;                         /* 0: none yet */
    uint64_t bad; /* malformed, or more than there is room for */
};

void parameter_sets_init(struct parameter_sets *sets, enum codec codec);

enum parameter_set_kind parameter_set_kind(enum codec codec, const struct nal *nal);
/* An access unit begins. */
void parameter_sets_begin(struct parameter_sets *sets);
/* Takes a NAL unit that is one. */
void parameter_sets_take(struct parameter_sets *sets, const struct nal *nal);
/* All sets of an access unit with a key picture were taken. True when `config` became another. */
bool parameter_sets_renew(struct parameter_sets *sets);
/* Whether `config` has this very set. */
bool parameter_sets_has(const struct parameter_sets *sets, const struct nal *nal);
