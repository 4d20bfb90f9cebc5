/* A key frame as a JPEG: what stands in an init segment and a chunk of one video track is decoded, scaled and encoded, on the
 * thread that asks. Whatever the bytes are, nothing but this picture fails. The only file of this room that knows libavcodec and
 * libswscale. Pure: no clock, no globals of ours. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"

enum {
    THUMB_PIXELS_MAX = 4096 * 4096, /* of the key frame: bounds memory (60 MB) and time (a few tenths of a second) */
    THUMB_CHUNK_MAX = 8 << 20,      /* bytes */
    THUMB_JPEG_MAX = 1 << 20,       /* bytes */
};

/* `width` is that of the JPEG, in pixels, if the key frame is as wide when it is shown; never wider than that. The chunk's first sample is
 * taken. 0 and a blob with one reference; -EBADMSG: it can't be decoded; -ENOTSUP: no codec that weir carries, or no decoder for
 * it; -EFBIG: beyond the limits above. */
int thumb_image_make(const struct blob *init, const struct slice *chunk, uint32_t width, struct blob **ret_jpeg);
