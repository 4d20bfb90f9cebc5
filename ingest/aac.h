/* AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1). Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aac_config {
    uint8_t object_type;   /* 2 LC, 5 HE-AAC (explicit SBR), 29 HE-AACv2 */
    uint32_t core_rate;    /* Hz, of the AAC core */
    uint32_t sample_rate;  /* Hz, after SBR */
    uint8_t channels;      /* 1..8 */
    uint32_t frame_samples; /* samples a frame at sample_rate: 1024, or 2048 with SBR (960, 1920) */
};

enum { AAC_RATES = 13 };

/* Hz, by samplingFrequencyIndex (table 1.18), which ADTS has, too. */
extern const uint32_t aac_rates[AAC_RATES];

/* 0, or -EBADMSG with *ret_why (static text). */
int aac_config_parse(const uint8_t *asc, size_t len, struct aac_config *ret_config, const char **ret_why);
/* Whether a frame begins as those of ADTS do (§1.A.2.2), and raw ones never. */
bool aac_frame_is_adts(const uint8_t *data, size_t len);
