/* Bytes as the lines of a timeline, into an assembler and a store, of which now one track is taken and now both. What
 * is taken is written again as a line that says the same; what the store has can be copied. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/assembler.h"
#include "common/media/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct assembler *assembler;
    struct store *store;
    uint32_t lines;
};

static int on_write(void *ctx, struct record *record) {
    struct world *world = ctx;
    int rc = store_apply(world->store, record, 0);
    record_unref(record);
    return rc;
}

static uint64_t from(void *ctx, const char *track) {
    const struct world *world = ctx;
    const struct stream *stream = store_find(world->store, "a/b");
    return stream && stream->segment_count && *track == 'v' ? stream->segments[0]->msn : 0;
}

static void replay(void *ctx, struct record *record) {
    if (store_apply(ctx, record, 0))
        abort();
}

static void check_copy(const struct world *world) {
    const struct store_settings settings = {.window_us = 10000000};
    struct store *copy = store_create(&settings);
    const struct stream *stream = store_find(world->store, "a/b");
    if (stream && stream->open)
        stream_replay(stream, replay, copy);
    store_destroy(copy);
}

static int on_line(void *ctx, const struct feed_line *line) {
    static const struct track_names sound = {1, {"a0"}}, both = {2, {"v0", "a0"}};
    struct world *world = ctx;
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
    assembler_line(world->assembler, line);
    if (++world->lines % 3 == 0)
        assembler_take(world->assembler, world->lines % 2 ? &sound : &both, from);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct store_settings settings = {.window_us = 10000000, .bytes_max = 1 << 20, .streams_max = 1};
    struct world world = {.store = store_create(&settings)};
    world.assembler = assembler_create("a/b", on_write, &world);
    struct feed_lines *lines = feed_lines_create("a/b", on_line, &world);
    feed_lines_push(lines, data, size);
    feed_lines_destroy(lines);
    check_copy(&world);
    assembler_destroy(world.assembler);
    store_destroy(world.store);
    return 0;
}
