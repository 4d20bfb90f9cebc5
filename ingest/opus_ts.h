/* Opus in MPEG-TS ("Opus in MPEG-TS", ETSI TS 101 154 Annex and the draft that FFmpeg, GStreamer and OBS follow): a stream of private data
 * (type 0x06) with the registration "Opus"; each packet comes behind a control header with its length. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct opus_unit {
    const uint8_t *data;
    size_t len;
    uint32_t samples; /* at 48 kHz, those to be left out included */
};

/* Takes the access unit at the front of what a PES packet holds. 1: there was one; 0: nothing is left; -EBADMSG: malformed, and so is all that
 * follows. */
int opus_ts_next(const uint8_t **data, size_t *len, struct opus_unit *ret_unit);
/* Channels of a channel_config_code of the extension descriptor: 1 to 8; 0 for those that aren't carried (two mono sounds, mappings of one's own). */
uint8_t opus_ts_channels(uint8_t channel_config_code);
