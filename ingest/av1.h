/* AV1 configuration and temporal units: AV1CodecConfigurationRecord ("AV1 Codec ISO Media File Format Binding" §2.3), OBUs and the sequence
 * header (AV1 bitstream specification §5.3 to §5.5). Pure parsers of strangers' bytes: bounded, no allocation. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct av1_config {
    uint8_t profile, level, tier, bit_depth; /* level: seq_level_idx */
    bool monochrome;
    uint8_t subsampling_x, subsampling_y, chroma_position;
    bool has_colour; /* else the three are 2, unspecified */
    uint8_t primaries, transfer, matrix;
    bool full_range;
    uint16_t width, height; /* the largest of the sequence */
    uint32_t fps_milli;     /* when all frames are equally far apart, else 0 */
};

/* 0, or -EBADMSG with *ret_why (static text) when not usable (no sequence header, sizes out of range 16..8192, truncated …). */
int av1_config_parse(const uint8_t *av1c, size_t len, struct av1_config *ret_config, const char **ret_why);
/* "av01.…" (§5 of the binding), at most 34 bytes with its end: colours only where they aren't what is assumed without. */
void av1_codecs(const struct av1_config *config, char *out, size_t size);
/* Whether a temporal unit is well formed (sizes add up), and whether decoding can begin with it: a sequence header, and a key frame that is
 * shown. `ret_sample_len` (NULL is allowed): what is left in a sample when delimiters, padding and the like are left out, as libavformat
 * does. */
bool av1_unit_ok(const uint8_t *data, size_t len, bool *ret_key, size_t *ret_sample_len);
