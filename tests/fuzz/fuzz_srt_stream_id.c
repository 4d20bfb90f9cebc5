/* Stream ids as a caller sends them: what is taken names a stream, and its strings end. */
#include "ingest/srt_stream_id.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct srt_stream_id id;
    char *text = malloc(size ? size : 1); /* of its very size, so that nothing beyond is read unseen */
    if (size)
        memcpy(text, data, size);
    if (srt_stream_id_parse(text, size, &id) == SRT_STREAM_ID_OK) {
        char joined[STREAM_NAME_LEN];
        if (!name_ok(id.stream) || !name_join(joined, id.app, id.name) || strcmp(joined, id.stream) != 0)
            abort();
        if (strlen(id.key) > size || strnlen(id.join.label, JOIN_LABEL_LEN) == JOIN_LABEL_LEN)
            abort();
        if ((id.join.kind == JOIN_NONE) != !id.join.label[0])
            abort();
    }
    free(text);
    return 0;
}
