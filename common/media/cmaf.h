/* ISO base media file format, as far as anybody but the muxer needs it: walking boxes, reading what a chunk says of
 * itself, and making the init segment of a variant from those of its tracks. Pure: bytes in, a value or -EBADMSG out;
 * every length is checked, whoever sent it. ISO/IEC 14496-12 §4.2 and §8, ISO/IEC 23000-19. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"

enum {
    CMAF_INIT_MAX = 1024 * 1024, /* bytes of one init segment */
    CMAF_SAMPLES_MAX = 4096,     /* samples of a chunk */
};

#define CMAF_TYPE(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

struct cmaf_box {
    uint32_t type;       /* CMAF_TYPE('m', 'o', 'o', 'f') */
    const uint8_t *data; /* what follows the header */
    size_t len;
    const uint8_t *start; /* of the whole box, header included */
    size_t total;
};

/* The box at *data; moves *data and *len past it. 1, 0 at the end, or -EBADMSG. A box of size 0 ("to the end of the
 * file") is refused: nothing that lives has an end. */
int cmaf_box_next(const uint8_t **data, size_t *len, struct cmaf_box *ret_box);
/* The first box of that type among the boxes in `data`. 1, 0 when there is none, or -EBADMSG. */
int cmaf_box_find(const uint8_t *data, size_t len, uint32_t type, struct cmaf_box *ret_box);

struct cmaf_chunk {
    uint32_t sequence_number, track_id;
    int64_t tfdt_ts;
    uint64_t duration_ts; /* sum of the samples' */
    uint32_t sample_count;
    uint32_t first_sample_flags;
    uint32_t first_sample_bytes;
    int64_t cts_min_ts, cts_max_ts; /* composition offsets */
    size_t payload_bytes;           /* of mdat */
    bool has_prft;
    uint64_t prft_ntp;     /* 32.32 fixed point, seconds since 1900; valid when has_prft */
    int64_t prft_media_ts; /* likewise */
};

/* Whether the first sample can be decoded alone: sample_is_non_sync_sample is not set. */
static inline bool cmaf_chunk_is_sync(const struct cmaf_chunk *chunk) {
    return !(chunk->first_sample_flags & 0x10000);
}

/* A chunk: prft or none, one moof with one traf and one trun, one mdat that holds exactly the samples; durations and
 * sizes are explicit and offsets are relative to the moof, so that it plays wherever it is put. 0 or -EBADMSG. */
int cmaf_chunk_parse(const uint8_t *data, size_t len, struct cmaf_chunk *ret_chunk);

/* One init segment for several tracks, from those of single tracks: the first one's ftyp and mvhd, every track, one
 * mvex. Also takes one. NULL when one of them is malformed, or two have the same track id. */
struct blob *cmaf_init_join(const struct blob *const *inits, size_t count);
