/* gzip (RFC 1952) for response bodies. The only place that includes zlib. */
#pragma once
#include "common/base/blob.h"

/* A new blob with the compressed bytes. */
struct blob *gzip_blob(const struct blob *plain);
