#include "common/http/gzip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LEVEL = 5, GZIP_WINDOW_BITS = 15 + 16, MEMORY_LEVEL = 8 };

struct blob *gzip_blob(const struct blob *plain) {
    z_stream z = {0};
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    size_t bound = deflateBound(&z, plain->len);
    uint8_t *out = malloc(bound);
    if (!out)
        abort();
    z.next_in = (Bytef *)(uintptr_t)plain->data;
    z.avail_in = (uInt)plain->len;
    z.next_out = out;
    z.avail_out = (uInt)bound;
    deflate(&z, Z_FINISH); /* the bound is enough: always Z_STREAM_END */
    struct blob *blob = blob_create_copy(out, z.total_out);
    deflateEnd(&z);
    free(out);
    return blob;
}
