/* Bytes as a track's feed, in runs whose lengths the first byte sets, into an assembler and a store that have been told
 * of its stream. Now and then the track is left and joined again. */
#include <stdlib.h>
#include <string.h>

#include "common/media/assembler.h"
#include "common/media/feed.h"
#include "common/media/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct assembler *assembler;
    struct store *store;
    uint32_t items;
};

static int on_write(void *ctx, struct record *record) {
    struct world *world = ctx;
    int rc = store_apply(world->store, record, 0);
    record_unref(record);
    return rc;
}

static uint64_t from(void *ctx, const char *track) {
    (void)ctx, (void)track;
    return 100;
}

static int on_item(void *ctx, const struct feed_box *box, struct slice body) {
    static const struct track_names none = {0}, one = {1, {"v0"}};
    struct world *world = ctx;
    uint8_t again[FEED_BOX_BYTES];
    struct feed_box same;
    feed_box_write(again, box);
    if (feed_box_parse(again, &same) || same.length != body.len || same.number != box->number)
        abort();
    if (++world->items % 4 == 0)
        assembler_take(world->assembler, world->items % 8 ? &none : &one, from);
    return box->kind == FEED_CHUNK && assembler_chunk(world->assembler, "v0", box, body) < 0 ? -1 : 0;
}

static void tell(struct assembler *assembler, const char *text) {
    struct feed_line line;
    if (feed_line_parse(text, strlen(text), "a/b", &line) || assembler_line(assembler, &line) < 0)
        abort();
    feed_line_finish(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    const struct store_settings settings = {.window_us = 10000000, .bytes_max = 1 << 20, .streams_max = 1};
    struct world world = {.store = store_create(&settings)};
    struct assembler *assembler = world.assembler = assembler_create("a/b", on_write, &world);
    tell(assembler, "{\"open\":{\"epoch\":5,\"target_duration_ms\":2000,\"part_target_us\":200000,\"tracks\":["
                    "{\"name\":\"v0\",\"kind\":\"video\",\"track_id\":1,\"timescale\":90000,\"codecs\":\"avc1\","
                    "\"init_version\":1,\"init\":\"Vg==\",\"width\":16,\"height\":16,\"frame_rate_milli\":0}]}}");
    tell(assembler, "{\"segment\":{\"epoch\":5,\"msn\":100}}");
    struct feed_reader *reader = feed_reader_create(on_item, &world);
    size_t run = 1 + data[0];
    for (size_t at = 1; at < size && !feed_reader_push(reader, data + at, run < size - at ? run : size - at); at += run)
        ;
    feed_reader_destroy(reader);
    assembler_destroy(assembler);
    store_destroy(world.store);
    return 0;
}
