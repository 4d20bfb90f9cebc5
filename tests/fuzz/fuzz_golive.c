/* Bytes as what OBS posts, and, up to the first NUL, as the name that it asked by. Who is let in gets a rendition and
 * somewhere to push. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "ingest/golive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char *keys[] = {"live/*:secret"};
    char host[64] = "";
    const uint8_t *end = memchr(data, 0, size < sizeof host ? size : sizeof host);
    size_t len = end ? (size_t)(end - data) : 0;
    memcpy(host, data, len);
    const struct golive_settings settings = {.publish_keys = keys, .publish_key_count = 1};
    const struct golive_where where = {.host = end ? host : "live.example", .rtmp_port = 1935, .rtmps_port = 1936};
    struct golive_outcome outcome;
    struct buf out;
    buf_init(&out, GOLIVE_ANSWER_MAX);
    const uint8_t *body = end ? end + 1 : data;
    int rc = golive_answer(&settings, &where, body, size - (size_t)(body - data), &out, &outcome);
    if (!rc && (out.overflow || !buf_len(&out) || (!outcome.why && (outcome.rungs < 1 || !outcome.stream[0]))))
        abort();
    buf_finish(&out);
    return 0;
}
