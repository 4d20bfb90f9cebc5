/* Bytes as an init segment and a chunk, of which a thumbnail is to be made: two for the init's length, the init, the
 * chunk. What comes out is a JPEG within its limit, or nothing. */
#include <stdlib.h>

#include "relay/thumb_image.h"

enum { WIDTH = 160 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct blob *jpeg) {
    if (jpeg->len < 4 || jpeg->len > THUMB_JPEG_MAX || jpeg->data[0] != 0xff || jpeg->data[1] != 0xd8)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    size_t len = (size_t)data[0] << 8 | data[1];
    if (len > size - 2)
        return 0;
    struct blob *init = blob_create_copy(data + 2, len), *jpeg = NULL;
    struct blob *chunk = blob_create_copy(data + 2 + len, size - 2 - len);
    const struct slice slice = {chunk, 0, chunk->len};
    if (!thumb_image_make(init, &slice, WIDTH, &jpeg))
        check(jpeg);
    else if (jpeg)
        abort();
    blob_unref(jpeg);
    blob_unref(chunk);
    blob_unref(init);
    return 0;
}
