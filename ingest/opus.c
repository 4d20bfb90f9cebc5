#include "ingest/opus.h"

#include <errno.h>
#include <string.h>

enum {
    HEAD_LEN = 19,    /* with mapping family 0, which says nothing more */
    TABLE_HEAD = 21,  /* to the mapping */
    VERSION_MAX = 15, /* §5.1: the high four bits would be another format */
    CHANNELS_MAX = 8,
};

static const char magic[] = "OpusHead";

int opus_config_parse(const uint8_t *head, size_t len, struct opus_config *ret_config, const char **ret_why) {
    *ret_why = "not an OpusHead";
    if (len < HEAD_LEN || memcmp(head, magic, 8) != 0 || head[8] > VERSION_MAX)
        return -EBADMSG;
    uint8_t channels = head[9], family = head[18];
    *ret_why = "Opus channel mapping is neither stereo nor surround";
    if (family > 1)
        return -ENOTSUP;
    *ret_why = "Opus channel mapping is malformed";
    if (!channels || channels > (family ? CHANNELS_MAX : 2))
        return -EBADMSG;
    if (family) {
        if (len < TABLE_HEAD + (size_t)channels)
            return -EBADMSG;
        unsigned streams = head[19], coupled = head[20];
        if (!streams || coupled > streams || streams + coupled > UINT8_MAX)
            return -EBADMSG;
        for (uint8_t i = 0; i < channels; i++)
            if (head[TABLE_HEAD + i] >= streams + coupled && head[TABLE_HEAD + i] != UINT8_MAX)
                return -EBADMSG;
    }
    *ret_config = (struct opus_config){.channels = channels, .pre_skip = (uint16_t)(head[10] | head[11] << 8)};
    return 0;
}

/* §3.1, table 2 */
static uint32_t frame_samples(uint8_t toc) {
    static const uint16_t silk[] = {480, 960, 1920, 2880}, hybrid[] = {480, 960}, celt[] = {120, 240, 480, 960};
    unsigned config = toc >> 3;
    return config < 12 ? silk[config & 3] : config < 16 ? hybrid[config & 1] : celt[config & 3];
}

uint32_t opus_packet_samples(const uint8_t *data, size_t len) {
    uint32_t frames = 1;
    if (!len)
        return 0;
    switch (data[0] & 3) {
    case 1: /* two of the same size */
        frames = len & 1 ? 2 : 0;
        break;
    case 2: /* two, with the length of the first */
        frames = len > 1 ? 2 : 0;
        break;
    case 3: /* as many as it says */
        frames = len > 1 ? data[1] & 0x3f : 0;
        break;
    default:
        break;
    }
    uint32_t samples = frames * frame_samples(data[0]);
    return samples <= OPUS_SAMPLES_MAX ? samples : 0;
}

/* Family 1 couples what is a pair (left and right, and so on), pairs first; §5.1.1.2 orders the channels. */
size_t opus_head_make(uint8_t channels, uint16_t pre_skip, uint8_t out[OPUS_HEAD_MAX]) {
    static const uint8_t pairs[CHANNELS_MAX + 1] = {0, 0, 1, 1, 2, 2, 2, 3, 3};
    static const uint8_t orders[CHANNELS_MAX + 1][CHANNELS_MAX] = {{0},
                                                                   {0},
                                                                   {0, 1},    /* left, right */
                                                                   {0, 2, 1}, /* left, centre, right */
                                                                   {0, 1, 2, 3},
                                                                   {0, 4, 1, 2, 3},
                                                                   {0, 4, 1, 2, 3, 5},
                                                                   {0, 4, 1, 2, 3, 5, 6},
                                                                   {0, 6, 1, 2, 3, 4, 5, 7}};
    memset(out, 0, OPUS_HEAD_MAX);
    memcpy(out, magic, 8);
    out[8] = 1;
    out[9] = channels;
    out[10] = (uint8_t)pre_skip;
    out[11] = (uint8_t)(pre_skip >> 8);
    out[12] = (uint8_t)OPUS_HZ;
    out[13] = (uint8_t)(OPUS_HZ >> 8);
    if (channels <= 2)
        return HEAD_LEN;
    out[18] = 1;
    out[19] = channels - pairs[channels];
    out[20] = pairs[channels];
    memcpy(out + TABLE_HEAD, orders[channels], channels);
    return TABLE_HEAD + (size_t)channels;
}
