/* A track's feed on the wire (docs/feed.md): fragmented MP4 that plays, in which a small box of ours stands before each init segment
 * and each chunk and says what MP4 has no place for. Players skip it. This is the codec: pure, bytes in and values out. What a
 * chunk says of itself (its time, whether it is independent) is read from the chunk, never from the box. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"

enum {
    FEED_VERSION = 1,
    FEED_BOX_BYTES = 64,
    FEED_CHUNK_MAX = 8 << 20, /* bytes of one chunk */
};

enum feed_kind { FEED_INIT = 1, FEED_CHUNK = 2 };

/* The box. Of an init segment only `epoch`, `init_version` and `length` mean something. */
struct feed_box {
    enum feed_kind kind;
    uint32_t length; /* bytes of the init segment or chunk that follows */
    uint64_t epoch;
    union {
        uint64_t msn;
        uint64_t init_version;
    };
    uint32_t number; /* of the chunk within track and segment, from 0 */
    uint32_t duration_ts;
    int64_t capture_us; /* UTC when its first frame reached the ingest node */
};

void feed_box_write(uint8_t out[FEED_BOX_BYTES], const struct feed_box *box);
/* 0, or -EBADMSG: that is no such box, of another version, or its values are impossible. */
int feed_box_parse(const uint8_t data[FEED_BOX_BYTES], struct feed_box *ret_box);

/* --- reading a track as its bytes come --- */
struct feed_reader;

/* A box and what followed it, whole. `body` has its blob laid out as a chunk's (struct record_chunk); the reference is the reader's:
 * take one of your own. 0, or negative errno, which ends the reading. */
typedef int feed_item_fn(void *ctx, const struct feed_box *box, struct slice body);

struct feed_reader *feed_reader_create(feed_item_fn *fn, void *ctx);
/* NULL is allowed. */
void feed_reader_destroy(struct feed_reader *reader);
/* The next bytes of the body. 0, -EBADMSG, or what `fn` returned; after an error nothing more may be read. */
int feed_reader_push(struct feed_reader *reader, const uint8_t *data, size_t len);
