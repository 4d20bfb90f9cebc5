/* Delivery directives as a stranger writes them. */
#include <stdlib.h>
#include <string.h>

#include "relay/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *query = malloc(size + 1);
    memcpy(query, data, size);
    query[size] = 0;
    struct hls_query parsed;
    const char *why = NULL;
    if (hls_query_parse(query, &parsed, &why)) {
        if (!why)
            abort();
    } else if (parsed.part && !parsed.blocking) {
        abort();
    }
    free(query);
    return 0;
}
