/* Configurations and access units. What parses must also parse after hints were added, and say the same but for them.
 */
#include <errno.h>
#include <stdlib.h>

#include "ingest/h264.h"

enum { OUT_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hinted(const struct h264_config *before, const uint8_t *data, size_t size) {
    static uint8_t out[OUT_MAX];
    struct h264_config after;
    const char *why;
    int n = h264_config_add_reorder_hints(data, size, out, sizeof out);
    if (n == -ENOBUFS && size > OUT_MAX / 2)
        return;
    if (n < 0 || h264_config_parse(out, (size_t)n, &after, &why) || !after.has_reorder_hints)
        abort();
    if (after.width != before->width || after.height != before->height || after.fps_milli != before->fps_milli)
        abort();
    if (before->has_reorder_hints ? after.max_num_reorder_frames != before->max_num_reorder_frames
                                  : after.max_num_reorder_frames != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct h264_config config;
    const char *why = NULL;
    bool idr;
    static const uint8_t sizes[] = {1, 2, 4};
    for (size_t i = 0; i < sizeof sizes; i++)
        h264_access_unit_ok(data, size, sizes[i], &idr);
    if (!h264_config_parse(data, size, &config, &why))
        check_hinted(&config, data, size);
    else if (!why)
        abort();
    return 0;
}
