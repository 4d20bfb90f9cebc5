#include "common/media/feed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/media/cmaf.h"

/* box size, "uuid", our type, version, kind, two bytes of zero, then the fields in their order: 64 bytes */
enum { TYPE_AT = 4, UUID_AT = 8, VERSION_AT = 24, KIND_AT = 25, FIELDS_AT = 28 };

static const uint8_t our_uuid[16] = {0x77, 0x65, 0x69, 0x72, 0xf5, 0x1d, 0x4c, 0x0e,
                                     0x9b, 0x3a, 0x52, 0xd1, 0x6e, 0x08, 0xc4, 0x27};

struct feed_reader {
    feed_item_fn *fn;
    void *ctx;
    uint8_t head[FEED_BOX_BYTES];
    size_t head_len; /* of the box under way; all of it: `box` and `body` are valid */
    struct feed_box box;
    struct slice body;
    size_t filled; /* bytes of `body` */
};

/* --- the box --- */

static uint8_t *put(uint8_t *p, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--)
        *p++ = (uint8_t)(value >> (8 * i));
    return p;
}

static uint64_t take(const uint8_t **p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | *(*p)++;
    return value;
}

void feed_box_write(uint8_t out[FEED_BOX_BYTES], const struct feed_box *box) {
    memset(out, 0, FEED_BOX_BYTES);
    put(out, FEED_BOX_BYTES, 4);
    memcpy(out + TYPE_AT, "uuid", 4);
    memcpy(out + UUID_AT, our_uuid, sizeof our_uuid);
    out[VERSION_AT] = FEED_VERSION;
    out[KIND_AT] = (uint8_t)box->kind;
    uint8_t *p = put(out + FIELDS_AT, box->length, 4);
    p = put(p, box->epoch, 8);
    p = put(p, box->msn, 8);
    p = put(p, box->number, 4);
    p = put(p, box->duration_ts, 4);
    put(p, (uint64_t)box->capture_us, 8);
}

static bool plausible(const struct feed_box *box) {
    if (box->kind == FEED_INIT)
        return box->length > 0 && box->length <= CMAF_INIT_MAX && box->init_version <= UINT32_MAX;
    return box->kind == FEED_CHUNK && box->length > 0 && box->length <= FEED_CHUNK_MAX && box->msn < INT64_MAX &&
           box->capture_us >= 0;
}

int feed_box_parse(const uint8_t data[FEED_BOX_BYTES], struct feed_box *ret_box) {
    static const uint8_t head[] = {0, 0, 0, FEED_BOX_BYTES, 'u', 'u', 'i', 'd'};
    if (memcmp(data, head, sizeof head) != 0 || memcmp(data + UUID_AT, our_uuid, sizeof our_uuid) != 0 ||
        data[VERSION_AT] != FEED_VERSION)
        return -EBADMSG;
    const uint8_t *p = data + FIELDS_AT;
    struct feed_box box = {.kind = data[KIND_AT]};
    box.length = (uint32_t)take(&p, 4);
    box.epoch = take(&p, 8);
    box.msn = take(&p, 8);
    box.number = (uint32_t)take(&p, 4);
    box.duration_ts = (uint32_t)take(&p, 4);
    box.capture_us = (int64_t)take(&p, 8);
    if (!plausible(&box))
        return -EBADMSG;
    *ret_box = box;
    return 0;
}

/* --- reading --- */

struct feed_reader *feed_reader_create(feed_item_fn *fn, void *ctx) {
    struct feed_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        abort();
    reader->fn = fn;
    reader->ctx = ctx;
    return reader;
}

void feed_reader_destroy(struct feed_reader *reader) {
    if (!reader)
        return;
    blob_unref(reader->body.blob);
    free(reader);
}

static int begin_body(struct feed_reader *reader) {
    int rc = feed_box_parse(reader->head, &reader->box);
    if (rc)
        return rc;
    reader->body = blob_create_framed(reader->box.length, reader->box.kind == FEED_CHUNK);
    reader->filled = 0;
    return 0;
}

static int finish_body(struct feed_reader *reader) {
    struct slice body = reader->body;
    reader->body = (struct slice){0};
    reader->head_len = 0;
    int rc = reader->fn(reader->ctx, &reader->box, body);
    blob_unref(body.blob);
    return rc;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* What `len` bytes at most add to the box, or to what follows it. */
static int push_some(struct feed_reader *reader, const uint8_t *data, size_t len, size_t *ret_used) {
    if (!reader->body.blob) {
        *ret_used = smaller(len, FEED_BOX_BYTES - reader->head_len);
        memcpy(reader->head + reader->head_len, data, *ret_used);
        reader->head_len += *ret_used;
        return reader->head_len == FEED_BOX_BYTES ? begin_body(reader) : 0;
    }
    *ret_used = smaller(len, reader->body.len - reader->filled);
    memcpy(reader->body.blob->data + reader->body.off + reader->filled, data, *ret_used);
    reader->filled += *ret_used;
    return reader->filled == reader->body.len ? finish_body(reader) : 0;
}

int feed_reader_push(struct feed_reader *reader, const uint8_t *data, size_t len) {
    while (len > 0) {
        size_t used;
        int rc = push_some(reader, data, len, &used);
        if (rc)
            return rc;
        data += used;
        len -= used;
    }
    return 0;
}
