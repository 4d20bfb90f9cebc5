/* Shared immutable bytes. The release on each drop and the acquire before the free make every holder's reads happen
 * before the memory goes back. */
#include "common/base/blob.h"

#include <stdlib.h>
#include <string.h>

struct blob *blob_create(size_t len) {
    if (len > SIZE_MAX - sizeof(struct blob))
        abort();
    struct blob *blob = malloc(sizeof(*blob) + len);
    if (!blob)
        abort();
    atomic_init(&blob->refs, 1);
    blob->len = len;
    return blob;
}

struct blob *blob_create_copy(const void *data, size_t len) {
    struct blob *blob = blob_create(len);
    if (len > 0)
        memcpy(blob->data, data, len);
    return blob;
}

struct blob *blob_ref(struct blob *blob) {
    /* Relaxed: whoever refs already holds a reference, so the blob cannot vanish meanwhile. */
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void blob_unref(struct blob *blob) {
    if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(blob);
}
