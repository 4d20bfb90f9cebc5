/* Opus: its identification header (RFC 7845 §5.1), and how long a packet is (RFC 6716 §3.1). Its clock is 48 kHz, whatever was encoded. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OPUS_HZ = 48000, OPUS_SAMPLES_MAX = 5760 /* a packet: 120 ms */, OPUS_HEAD_MAX = 21 + 8 };

struct opus_config {
    uint8_t channels;  /* 1..8 */
    uint16_t pre_skip; /* samples that a decoder needs to get going */
};

/* 0; -EBADMSG (malformed) or -ENOTSUP (channels without meaning: mapping families other than 0 and 1) with *ret_why (static text). */
int opus_config_parse(const uint8_t *head, size_t len, struct opus_config *ret_config, const char **ret_why);
/* Samples that a packet decodes to, 120..5760. 0: it is malformed. */
uint32_t opus_packet_samples(const uint8_t *data, size_t len);
/* An identification header for 1 to 8 channels in the order that family 1 has. Returns its length. */
size_t opus_head_make(uint8_t channels, uint16_t pre_skip, uint8_t out[OPUS_HEAD_MAX]);
