/* Configurations and frames of all codecs. The input: a byte for the codec, two for the configuration's length, the
 * configuration, a frame. What is described must be described the same from what goes into the init. */
#include <stdlib.h>
#include <string.h>

#include "ingest/codec.h"

enum { CODECS = CODEC_FLAC + 1, HEAD = 3, OUT_MAX = 1 << 17 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_init(const struct codec_info *info, const uint8_t *config, size_t len) {
    static uint8_t out[OUT_MAX];
    struct codec_info again;
    const char *why;
    int n = codec_init_config(info, config, len, false, out, sizeof out);
    if (n <= 0 || codec_describe(info->codec, out, (size_t)n, &again, &why))
        abort();
    if (strcmp(again.codecs, info->codecs) != 0 || again.width != info->width || again.height != info->height ||
        again.sample_rate != info->sample_rate || again.channels != info->channels)
        abort();
}

static void check_frame(struct codec_info *info, const uint8_t *data, size_t len) {
    bool independent = false;
    if (!codec_frame_ok(info, data, len, &independent))
        return;
    if (info->kind == TRACK_AUDIO && (!independent || !codec_frame_samples(info, data, len)))
        abort();
    codec_info_renew(info, data, len);
    if (info->codec == CODEC_VP9 && independent && (info->width < 16 || info->height < 16))
        abort();
}

/* Apart, so that reading past the end shows. */
static uint8_t *copy(const uint8_t *data, size_t len) {
    uint8_t *copied = malloc(len ? len : 1);
    if (!copied)
        abort();
    memcpy(copied, data, len);
    return copied;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct codec_info info;
    const char *why = NULL;
    if (size < HEAD)
        return 0;
    enum codec codec = data[0] % CODECS;
    size_t len = (size_t)(data[1] << 8 | data[2]), left = size - HEAD;
    len = len < left ? len : left;
    uint8_t *config = copy(data + HEAD, len), *frame = copy(data + HEAD + len, left - len);
    if (!codec_describe(codec, config, len, &info, &why)) {
        check_init(&info, config, len);
        check_frame(&info, frame, left - len);
    } else if (!why) {
        abort();
    }
    free(config);
    free(frame);
    return 0;
}
