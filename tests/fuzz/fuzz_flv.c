/* First byte: 0 a video tag's body, 1 an audio tag's, else an aggregate. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ingest/flv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is given lies within the message, and in its order. */
static void parse(int kind, const uint8_t *data, size_t len) {
    struct flv_reader reader;
    struct flv_media media;
    const uint8_t *from = data;
    flv_reader_init(&reader, kind ? TRACK_AUDIO : TRACK_VIDEO, data, len);
    while (flv_media_next(&reader, &media) > 0) {
        if (!media.codec_name || media.offset_ns > 999999)
            abort();
        if (media.what != FLV_CONFIG && media.what != FLV_FRAME)
            continue;
        if (!media.len || media.data < from || media.data + media.len > data + len)
            abort();
        from = media.data + media.len;
    }
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
