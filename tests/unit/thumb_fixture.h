/* Real key frames, out of the corpus of the fuzz target. "h264": of 352x288 pixels, each 12:11, so that 384x288 are shown; red on the left,
 * blue on the right. */
#pragma once
#include <stdint.h>
#include <stdio.h>

#include "common/base/blob.h"

struct thumb_sample {
    struct blob *init;
    struct slice chunk;
};

/* The working directory is the source root. */
static inline struct thumb_sample thumb_sample_load(const char *name) {
    uint8_t data[1 << 16];
    char path[64];
    snprintf(path, sizeof path, "tests/fuzz/corpus/thumb/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    size_t len = (size_t)data[0] << 8 | data[1];
    assert_true(size > len + 2);
    struct blob *chunk = blob_create_copy(data + 2 + len, size - 2 - len);
    return (struct thumb_sample){blob_create_copy(data + 2, len), {chunk, 0, chunk->len}};
}

static inline void thumb_sample_free(struct thumb_sample *sample) {
    blob_unref(sample->init);
    blob_unref(sample->chunk.blob);
}
