/* Bytes as the lines of a timeline, into an assembler. What is taken is written again as a line that says the same. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/assembler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_write(void *ctx, struct record *record) {
    (void)ctx;
    record_unref(record);
    return 0;
}

static int on_line(void *ctx, const struct feed_line *line) {
    struct buf one, other;
    struct feed_line again;
    buf_init(&one, FEED_LINE_MAX);
    buf_init(&other, FEED_LINE_MAX);
    if (line->kind != FEED_LINE_UNKNOWN && !feed_line_write(&one, line)) {
        if (feed_line_parse((const char *)buf_head(&one), buf_len(&one), "a/b", &again) ||
            feed_line_write(&other, &again) || buf_len(&one) != buf_len(&other) ||
            memcmp(buf_head(&one), buf_head(&other), buf_len(&one)) != 0)
            abort();
        feed_line_finish(&again);
    }
    buf_finish(&one);
    buf_finish(&other);
    assembler_line(ctx, line);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct assembler *assembler = assembler_create("a/b", on_write, NULL);
    struct feed_lines *lines = feed_lines_create("a/b", on_line, assembler);
    feed_lines_push(lines, data, size);
    feed_lines_destroy(lines);
    assembler_destroy(assembler);
    return 0;
}
