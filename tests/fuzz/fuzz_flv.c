/* First byte: 0 a video tag's body, 1 an audio tag's, else an aggregate. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ingest/flv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(int kind, const uint8_t *data, size_t len) {
    struct flv_media media;
    const char *codec = NULL;
    int rc = kind ? flv_audio_parse(data, len, &media, &codec) : flv_video_parse(data, len, &media, &codec);
    if (!rc && media.what != FLV_NOTHING && (!media.len || media.data + media.len != data + len))
        abort();
}

static void split(const uint8_t *data, size_t len) {
    const uint8_t *end = data + len;
    struct flv_tag tag;
    while (flv_tag_next(&data, &len, &tag) > 0) {
        if (tag.data + tag.len > end || data + len != end)
            abort();
        parse(tag.type == 8, tag.data, tag.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    if (data[0] < 2)
        parse(data[0], data + 1, size - 1);
    else
        split(data + 1, size - 1);
    return 0;
}
