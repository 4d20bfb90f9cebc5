/* FLAC: STREAMINFO (RFC 9639 §8.2) and frame headers (§9.1). Streams of one block size alone: samples of frames are counted by it. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { FLAC_CONFIG_LEN = 34 };

struct flac_config {
    uint32_t sample_rate; /* Hz */
    uint8_t channels, bits;
    uint32_t block_size; /* samples a frame, but for the last */
};

/* 0; -EBADMSG (malformed) or -ENOTSUP (varying block sizes, blocks of more than 120 ms, rates beyond 8 to 96 kHz) with *ret_why (static
 * text). */
int flac_config_parse(const uint8_t *streaminfo, size_t len, struct flac_config *ret_config, const char **ret_why);
/* Samples of a frame. 0: it doesn't begin with the header of one. */
uint32_t flac_frame_samples(const uint8_t *data, size_t len);
