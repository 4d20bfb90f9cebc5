/* URL paths as a stranger writes them: viewers', feeds', the operator's. */
#include <stdlib.h>
#include <string.h>

#include "relay/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *path = malloc(size + 2);
    path[0] = '/'; /* the server sees to that */
    memcpy(path + 1, data, size);
    path[size + 1] = 0;
    struct target target = target_parse(path);
    if (target.kind != TARGET_NONE && !name_ok(target.stream))
        abort();
    char stream[STREAM_NAME_LEN], track[4];
    if ((feed_path_parse(path, stream, track) || api_stream_parse(path, stream)) && !name_ok(stream))
        abort();
    free(path);
    return 0;
}
