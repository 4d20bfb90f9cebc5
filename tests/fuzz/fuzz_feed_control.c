/* Bytes as a line of the control stream. What is taken is written again as a line that says the same. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/feed_control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed_granted granted, again;
    struct buf out;
    if (feed_granted_parse((const char *)data, size, &granted))
        return 0;
    buf_init(&out, FEED_CONTROL_MAX);
    if (feed_granted_write(&out, &granted) || feed_granted_parse((const char *)buf_head(&out), buf_len(&out), &again) ||
        again.from_msn != granted.from_msn || again.track_count != granted.track_count ||
        strcmp(again.session, granted.session) != 0)
        abort();
    buf_finish(&out);
    return 0;
}
