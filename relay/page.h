/* The player page and what it needs, built into the binary by relay/page/embed.py: a table of static blobs, each as it
 * is and compressed. Nothing is allocated, and any thread may ask. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/base/blob.h"

/* One coding of an asset. The blob's own reference is never dropped; take more as with any other. */
struct page_body {
    struct slice slice;
    const char *etag; /* strong, with its quotes; the codings have different ones (RFC 9110 §8.8.3) */
};

struct page_asset {
    const char *name; /* the last part of its URL, below /{app}/{stream}/ */
    const char *content_type;
    const char *policy; /* Content-Security-Policy that must go with it, or NULL. It ends with whom the page may ask for media: others that
                           this node names can be added behind */
    bool immutable;     /* its name tells its content: may be kept for a year, never asked for again */
    struct page_body identity, gzip;
};

/* The asset with that name: "index.html" is the page itself. NULL: none. */
const struct page_asset *page_asset_find(const char *name);

/* The generated table. */
extern const struct page_asset page_assets[];
extern const size_t page_asset_count;
