/* Bytes as a line of the control stream. What is taken is written again as a line that says the same. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/feed_control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed_control control, again;
    struct buf out;
    if (feed_control_parse((const char *)data, size, &control) || control.kind == FEED_CONTROL_UNKNOWN)
        return 0;
    buf_init(&out, FEED_CONTROL_MAX);
    if (feed_control_write(&out, &control) || feed_control_parse((const char *)buf_head(&out), buf_len(&out), &again) ||
        again.kind != control.kind || again.granted.from_msn != control.granted.from_msn ||
        again.granted.track_count != control.granted.track_count ||
        strcmp(again.granted.session, control.granted.session) != 0 || again.refuse_s != control.refuse_s ||
        again.granted.asks != control.granted.asks || !track_names_same(&again.asked, &control.asked))
        abort();
    buf_finish(&out);
    return 0;
}
