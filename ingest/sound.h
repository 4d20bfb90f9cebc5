/* Sound transcoded: one track decoded and, for each output, mixed, resampled and encoded as AAC-LC. With transcode.c and mux.c the only
 * place that includes FFmpeg's libraries. It is done within the call: a frame takes some tenths of a millisecond.
 *
 * Each output frame has the time at which its first sample is heard in the source: what the encoder puts before the first one (priming)
 * is left out, and what its and the resampler's looking ahead costs is lateness, never a shift. Time is the source's: a hole in its times
 * is one in the outputs'.
 *
 * One thread at a time. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ingest/codec.h"

enum { SOUND_OUTPUTS_MAX = 2, SOUND_CONFIG_MAX = 64 };

struct sound;

struct sound_wish {
    uint32_t kbps, sample_rate;
    uint8_t channels; /* 1 or 2 */
};

struct sound_output {
    struct codec_info codec;
    uint8_t config[SOUND_CONFIG_MAX]; /* AudioSpecificConfig */
    size_t config_len;
};

struct sound_frame {
    uint32_t output;
    int64_t dts_us;     /* on the source's clock */
    int64_t capture_us; /* as that of the source's frame that it begins in */
    const uint8_t *data; /* raw AAC; valid during the call */
    size_t len;
};
typedef void sound_emit_fn(void *ctx, const struct sound_frame *frame);

/* 0, or -EINVAL: there is no decoder, or no encoder, for that. `count` is at most SOUND_OUTPUTS_MAX. */
int sound_create(const struct codec_info *source, const uint8_t *config, size_t config_len, const struct sound_wish *wishes, uint32_t count,
                 sound_emit_fn *emit, void *ctx, struct sound **ret_sound);
/* NULL is allowed. */
void sound_destroy(struct sound *sound);
const struct sound_output *sound_output(const struct sound *sound, uint32_t output);
/* The next frame; what can't be decoded is a hole. Emits what it completes. */
void sound_push(struct sound *sound, const uint8_t *data, size_t len, int64_t dts_us, int64_t capture_us);
