#include "relay/page.h"

#include <string.h>

/* embed.py writes the blobs' headers by these offsets. */
_Static_assert(offsetof(struct blob, refs) == 0 && sizeof(atomic_uint) == 4, "static blobs: reference count");
_Static_assert(offsetof(struct blob, len) == 8 && sizeof(size_t) == 8, "static blobs: length");
_Static_assert(offsetof(struct blob, data) == 16, "static blobs: bytes");

const struct page_asset *page_asset_find(const char *name) {
    for (size_t i = 0; i < page_asset_count; i++) {
        if (strcmp(page_assets[i].name, name) == 0) {
            return &page_assets[i];
        }
    }
    return NULL;
}
