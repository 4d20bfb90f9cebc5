#include "ingest/sound_run.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "ingest/ingest.h"
#include "ingest/sound.h"

enum {
    HZ = 48000,
    HZ_CD = 44100,
    LC_SAMPLES = 1024, /* of a frame; with SBR there are 2048 */
    KBPS_CHANNEL = 64, /* where the publisher's own is replaced */
};

struct sound_run {
    struct sound *sound;
    struct packager *packager;
    bool replaces, low;
    uint32_t index[SOUND_OUTPUTS_MAX]; /* in the packager, by output */
};

static bool rate_ok(const struct codec_info *codec) {
    return codec->sample_rate == HZ || codec->sample_rate == HZ_CD;
}

static bool all_can_play(const struct codec_info *codec) {
    return codec->codec == CODEC_AAC && rate_ok(codec) && codec->channels <= 2 && codec->frame_samples == LC_SAMPLES;
}

static void on_emit(void *ctx, const struct sound_frame *frame) {
    struct sound_run *run = ctx;
    const struct codec_info *codec = &sound_output(run->sound, frame->output)->codec;
    const struct lane_frame lane_frame = {.stamp = {frame->dts_us, frame->dts_us, codec->frame_samples, true},
                                          .independent = true,
                                          .capture_us = frame->capture_us,
                                          .len = frame->len,
                                          .data = frame->data};
    packager_frame(run->packager, run->index[frame->output], &lane_frame);
}

struct sound_run *sound_run_create(const struct ingest_settings *settings, const char *stream,
                                   const struct packager_source *source, bool low) {
    const struct codec_info *codec = source->codec;
    bool replaces = !all_can_play(codec);
    struct sound_wish wishes[SOUND_OUTPUTS_MAX];
    uint32_t count = 0, rate = rate_ok(codec) ? codec->sample_rate : HZ;
    uint8_t channels = codec->channels == 1 ? 1 : 2;
    low &= settings->ladder_audio_kbps > 0;
    if (replaces)
        wishes[count++] = (struct sound_wish){(uint32_t)channels * KBPS_CHANNEL, rate, channels};
    if (low)
        wishes[count++] = (struct sound_wish){settings->ladder_audio_kbps, rate, 1};
    if (!count)
        return NULL;
    struct sound_run *run = calloc(1, sizeof *run);
    if (!run)
        abort();
    run->replaces = replaces;
    run->low = low;
    if (!sound_create(codec, source->config, source->config_len, wishes, count, on_emit, run, &run->sound))
        return run;
    log_warn("sound_failed", "stream", LOG_STR(stream), "codec", LOG_STR(codec->codecs), "why",
             LOG_STR("there is no decoder or encoder for it"));
    free(run);
    return NULL;
}

void sound_run_destroy(struct sound_run *run) {
    if (!run)
        return;
    sound_destroy(run->sound);
    free(run);
}

bool sound_run_replaces(const struct sound_run *run) {
    return run && run->replaces;
}

static void set_source(struct packager_source *source, const struct sound_output *output) {
    source->codec = &output->codec;
    source->config = output->config;
    source->config_len = output->config_len;
}

bool sound_run_sources(const struct sound_run *run, struct packager_source *source, struct packager_source *ret_low) {
    *ret_low = *source;
    ret_low->low = true;
    if (run->low)
        set_source(ret_low, sound_output(run->sound, run->replaces));
    if (run->replaces)
        set_source(source, sound_output(run->sound, 0));
    return run->low;
}

void sound_run_begin(struct sound_run *run, struct packager *packager, uint32_t index, uint32_t low_index) {
    run->packager = packager;
    run->index[0] = run->replaces ? index : low_index;
    run->index[1] = low_index;
}

void sound_run_push(struct sound_run *run, const struct lane_frame *frame) {
    sound_push(run->sound, frame->data, frame->len, frame->stamp.dts_us, frame->capture_us);
}
