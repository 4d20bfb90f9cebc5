/* AudioSpecificConfig. SBR is signalled in two ways: in front, as the object type (5, or 29 with PS), or behind the
 * core's configuration for the sake of old decoders. Both mean that frames come out at `sample_rate`. SBR that is not
 * signalled at all can't be seen here: such a stream is taken for what it says, AAC-LC at the core's rate, and its
 * timing is the same. */
#include "ingest/aac.h"

#include <errno.h>

#include "ingest/bits.h"

enum {
    LC = 2,
    SBR = 5,
    PS = 29,
    ESCAPE = 31,
    SYNC_SBR = 0x2b7, /* 11 bits each, §1.6.6.1 */
    SYNC_PS = 0x548,
    RATE_MIN = 7350,
    RATE_MAX = 96000,
};

static uint8_t read_object_type(struct bits *bits) {
    uint32_t type = bits_read(bits, 5);
    return (uint8_t)(type == ESCAPE ? 32 + bits_read(bits, 6) : type);
}

const uint32_t aac_rates[AAC_RATES] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                       22050, 16000, 12000, 11025, 8000,  7350};

/* 0 when it is none that we take. */
static uint32_t read_rate(struct bits *bits) {
    uint32_t index = bits_read(bits, 4);
    uint32_t rate = index == 15 ? bits_read(bits, 24) : index < AAC_RATES ? aac_rates[index] : 0;
    return rate >= RATE_MIN && rate <= RATE_MAX ? rate : 0;
}

/* ISO/IEC 14496-3 table 1.19; 0 stands in the stream for "see the program config element", in the table for "none". */
static uint8_t channels_of(uint32_t channel_configuration) {
    static const uint8_t channels[16] = {[1] = 1, 2, 3, 4, 5, 6, 8, [11] = 7, 8, [14] = 8};
    return channels[channel_configuration & 15];
}

static uint32_t read_elements(struct bits *bits, uint32_t count) {
    uint32_t channels = 0;
    for (uint32_t i = 0; i < count; i++) {
        channels += bits_flag(bits) ? 2 : 1; /* is a pair */
        bits_skip(bits, 4);
    }
    return channels;
}

static void skip_mixdown(struct bits *bits, unsigned len) {
    if (bits_flag(bits))
        bits_skip(bits, len);
}

/* §4.4.1.1, table 4.2. Returns the number of channels. */
static uint32_t read_program_config(struct bits *bits) {
    bits_skip(bits, 4 + 2 + 4); /* tag, object type, rate: those of the core again */
    uint32_t front = bits_read(bits, 4), side = bits_read(bits, 4), back = bits_read(bits, 4);
    uint32_t lfe = bits_read(bits, 2), data = bits_read(bits, 3), coupling = bits_read(bits, 4);
    skip_mixdown(bits, 4);
    skip_mixdown(bits, 4);
    skip_mixdown(bits, 3);
    uint32_t channels = read_elements(bits, front + side + back) + lfe;
    for (uint32_t i = 0; i < lfe + data; i++)
        bits_skip(bits, 4);
    for (uint32_t i = 0; i < coupling; i++)
        bits_skip(bits, 5);
    bits_skip(bits, (8 - bits->pos % 8) % 8);
    for (uint32_t comment = bits_read(bits, 8); comment > 0; comment--)
        bits_skip(bits, 8);
    return channels;
}

/* GASpecificConfig, §4.4.1 table 4.1, of an AAC-LC core. */
static void read_core(struct bits *bits, uint32_t channel_configuration, struct aac_config *config) {
    config->frame_samples = bits_flag(bits) ? 960 : 1024;
    if (bits_flag(bits))
        bits_skip(bits, 14); /* delay of the core coder */
    bits_skip(bits, 1);      /* extensionFlag: nothing follows for LC */
    uint32_t channels = channel_configuration ? channels_of(channel_configuration) : read_program_config(bits);
    config->channels = channels <= 8 ? (uint8_t)channels : 0;
}

/* The signalling behind. What is not there, or not that, is no error: encoders pad. */
static void read_trailing_sbr(struct bits *bits, struct aac_config *config) {
    if (bits_left(bits) < 16 || bits_read(bits, 11) != SYNC_SBR || read_object_type(bits) != SBR ||
        bits_left(bits) < 5 || !bits_flag(bits))
        return;
    config->object_type = SBR;
    config->sample_rate = read_rate(bits);
    if (bits_left(bits) >= 12 && bits_read(bits, 11) == SYNC_PS && bits_flag(bits))
        config->object_type = PS;
}

static const char *check(const struct bits *bits, const struct aac_config *config) {
    if (bits->bad)
        return "AudioSpecificConfig is truncated";
    if (!config->core_rate || !config->sample_rate)
        return "AAC sampling rate is out of range";
    if (config->sample_rate != config->core_rate && config->sample_rate != config->core_rate * 2)
        return "SBR sampling rate is not that of the core or twice that";
    return config->channels ? NULL : "AAC channel layout is not supported";
}

static const char *parse(struct bits *bits, struct aac_config *config) {
    uint8_t type = config->object_type = read_object_type(bits);
    config->core_rate = config->sample_rate = read_rate(bits);
    uint32_t channel_configuration = bits_read(bits, 4);
    if (type == SBR || type == PS) {
        config->sample_rate = read_rate(bits);
        type = read_object_type(bits);
    }
    if (!bits->bad && type != LC)
        return "AAC object type is neither LC nor HE-AAC";
    read_core(bits, channel_configuration, config);
    if (config->object_type == LC)
        read_trailing_sbr(bits, config);
    if (config->object_type == PS && config->channels == 1)
        config->channels = 2; /* that is what parametric stereo is for */
    return check(bits, config);
}

int aac_config_parse(const uint8_t *asc, size_t len, struct aac_config *ret_config, const char **ret_why) {
    struct bits bits = bits_of(asc, len < 1024 ? len : 1024); /* none is nearly as long */
    struct aac_config config = {0};
    const char *why = parse(&bits, &config);
    if (why) {
        *ret_why = why;
        return -EBADMSG;
    }
    config.frame_samples *= config.sample_rate / config.core_rate;
    *ret_config = config;
    return 0;
}

bool aac_frame_is_adts(const uint8_t *data, size_t len) {
    return len > 1 && data[0] == 0xff && (data[1] & 0xf0) == 0xf0;
}
