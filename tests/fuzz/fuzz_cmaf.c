/* Bytes as a chunk and as an init segment. A joined init joins again to the same size, and never with itself: its track
 * ids are taken. */
#include <stdlib.h>

#include "common/media/cmaf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct cmaf_chunk chunk;
    if (!cmaf_chunk_parse(data, size, &chunk) && (chunk.payload_bytes > size || chunk.tfdt_ts < 0))
        abort();
    struct blob *init = blob_create_copy(data, size);
    struct blob *joined = cmaf_init_join((const struct blob *const[]){init}, 1);
    if (joined) {
        struct blob *again = cmaf_init_join((const struct blob *const[]){joined}, 1);
        if (!again || again->len != joined->len || cmaf_init_join((const struct blob *const[]){init, joined}, 2))
            abort();
        blob_unref(again);
    }
    blob_unref(joined);
    blob_unref(init);
    return 0;
}
