/* Boxes. Numbers inside a box are read through a small bounded reader that remembers having run out, so that a parser
 * reads all of its fields and checks once. */
#include "common/media/cmaf.h"

#include <errno.h>
#include <string.h>

enum {
    FTYP = CMAF_TYPE('f', 't', 'y', 'p'),
    MDAT = CMAF_TYPE('m', 'd', 'a', 't'),
    MFHD = CMAF_TYPE('m', 'f', 'h', 'd'),
    MOOF = CMAF_TYPE('m', 'o', 'o', 'f'),
    MOOV = CMAF_TYPE('m', 'o', 'o', 'v'),
    MVEX = CMAF_TYPE('m', 'v', 'e', 'x'),
    MVHD = CMAF_TYPE('m', 'v', 'h', 'd'),
    PRFT = CMAF_TYPE('p', 'r', 'f', 't'),
    TFDT = CMAF_TYPE('t', 'f', 'd', 't'),
    TFHD = CMAF_TYPE('t', 'f', 'h', 'd'),
    TKHD = CMAF_TYPE('t', 'k', 'h', 'd'),
    TRAF = CMAF_TYPE('t', 'r', 'a', 'f'),
    TRAK = CMAF_TYPE('t', 'r', 'a', 'k'),
    TREX = CMAF_TYPE('t', 'r', 'e', 'x'),
    TRUN = CMAF_TYPE('t', 'r', 'u', 'n'),
};

enum { /* §8.8.7 */
       TFHD_BASE_DATA_OFFSET = 0x1,
       TFHD_DESCRIPTION = 0x2,
       TFHD_DURATION = 0x8,
       TFHD_SIZE = 0x10,
       TFHD_FLAGS = 0x20,
       TFHD_BASE_IS_MOOF = 0x20000,
};

enum { /* §8.8.8 */
       TRUN_DATA_OFFSET = 0x1,
       TRUN_FIRST_FLAGS = 0x4,
       TRUN_DURATION = 0x100,
       TRUN_SIZE = 0x200,
       TRUN_FLAGS = 0x400,
       TRUN_CTS = 0x800,
};

enum { BOX_HEADER = 8, JOIN_MAX = 8, NEXT_TRACK_ID_BYTES = 4 };

struct reader {
    const uint8_t *data;
    size_t len;
    bool bad;
};

static uint32_t read_u32(struct reader *reader) {
    if (reader->len < 4) {
        reader->bad = true;
        reader->len = 0;
        return 0;
    }
    const uint8_t *p = reader->data;
    reader->data += 4;
    reader->len -= 4;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t read_u64(struct reader *reader) {
    uint64_t high = read_u32(reader);
    return high << 32 | read_u32(reader);
}

static struct reader reader_of(const struct cmaf_box *box) {
    return (struct reader){.data = box->data, .len = box->len};
}

static void wr32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* --- boxes --- */

int cmaf_box_next(const uint8_t **data, size_t *len, struct cmaf_box *ret_box) {
    if (*len == 0)
        return 0;
    struct reader reader = {.data = *data, .len = *len};
    uint64_t total = read_u32(&reader);
    uint32_t type = read_u32(&reader);
    if (total == 1)
        total = read_u64(&reader);
    size_t header = *len - reader.len;
    if (reader.bad || total < header || total > *len)
        return -EBADMSG;
    *ret_box = (struct cmaf_box){
        .type = type, .data = reader.data, .len = (size_t)total - header, .start = *data, .total = (size_t)total};
    *data += total;
    *len -= (size_t)total;
    return 1;
}

int cmaf_box_find(const uint8_t *data, size_t len, uint32_t type, struct cmaf_box *ret_box) {
    struct cmaf_box box;
    int rc;
    while ((rc = cmaf_box_next(&data, &len, &box)) > 0)
        if (box.type == type) {
            *ret_box = box;
            return 1;
        }
    return rc;
}

static bool find_in(const struct cmaf_box *parent, uint32_t type, struct cmaf_box *ret_box) {
    return cmaf_box_find(parent->data, parent->len, type, ret_box) > 0;
}

/* The only child of that type; every box around it must be whole, too. */
static bool find_only(const struct cmaf_box *parent, uint32_t type, struct cmaf_box *ret_box) {
    const uint8_t *data = parent->data;
    size_t len = parent->len;
    struct cmaf_box box, only = {0};
    int rc, found = 0;
    while ((rc = cmaf_box_next(&data, &len, &box)) > 0)
        if (box.type == type) {
            only = box;
            found++;
        }
    if (rc != 0 || found != 1)
        return false;
    *ret_box = only;
    return true;
}

/* --- chunks --- */

struct defaults {
    bool has_duration, has_size;
    uint32_t duration, size, flags;
};

static bool parse_prft(const struct cmaf_box *box, struct cmaf_chunk *chunk, uint32_t *ret_track_id) {
    struct reader reader = reader_of(box);
    uint32_t version = read_u32(&reader) >> 24;
    *ret_track_id = read_u32(&reader);
    chunk->prft_ntp = read_u64(&reader);
    uint64_t media_ts = version ? read_u64(&reader) : read_u32(&reader);
    chunk->prft_media_ts = (int64_t)media_ts;
    chunk->has_prft = true;
    return !reader.bad && media_ts <= INT64_MAX;
}

static bool parse_tfhd(const struct cmaf_box *box, struct cmaf_chunk *chunk, struct defaults *defaults) {
    struct reader reader = reader_of(box);
    uint32_t flags = read_u32(&reader);
    chunk->track_id = read_u32(&reader);
    if (!(flags & TFHD_BASE_IS_MOOF) || flags & TFHD_BASE_DATA_OFFSET)
        return false;
    if (flags & TFHD_DESCRIPTION)
        read_u32(&reader);
    *defaults = (struct defaults){.has_duration = flags & TFHD_DURATION, .has_size = flags & TFHD_SIZE};
    defaults->duration = defaults->has_duration ? read_u32(&reader) : 0;
    defaults->size = defaults->has_size ? read_u32(&reader) : 0;
    defaults->flags = flags & TFHD_FLAGS ? read_u32(&reader) : 0;
    return !reader.bad && chunk->track_id > 0;
}

static bool parse_tfdt(const struct cmaf_box *box, struct cmaf_chunk *chunk) {
    struct reader reader = reader_of(box);
    uint32_t version = read_u32(&reader) >> 24;
    uint64_t tfdt_ts = version ? read_u64(&reader) : read_u32(&reader);
    chunk->tfdt_ts = (int64_t)tfdt_ts;
    return !reader.bad && tfdt_ts <= INT64_MAX / 2; /* so that its end can be told, too */
}

static int64_t read_cts(struct reader *reader, bool is_signed) {
    uint32_t value = read_u32(reader);
    return is_signed ? (int32_t)value : (int64_t)value;
}

static void read_sample(struct reader *reader, uint32_t trun_flags, const struct defaults *defaults, bool signed_cts,
                        bool first, struct cmaf_chunk *chunk) {
    chunk->duration_ts += trun_flags & TRUN_DURATION ? read_u32(reader) : defaults->duration;
    uint32_t size = trun_flags & TRUN_SIZE ? read_u32(reader) : defaults->size;
    chunk->payload_bytes += size;
    if (first)
        chunk->first_sample_bytes = size;
    uint32_t flags = trun_flags & TRUN_FLAGS ? read_u32(reader) : defaults->flags;
    int64_t cts_ts = trun_flags & TRUN_CTS ? read_cts(reader, signed_cts) : 0;
    if (first && !(trun_flags & TRUN_FIRST_FLAGS))
        chunk->first_sample_flags = flags;
    if (first || cts_ts < chunk->cts_min_ts)
        chunk->cts_min_ts = cts_ts;
    if (first || cts_ts > chunk->cts_max_ts)
        chunk->cts_max_ts = cts_ts;
}

/* Leaves in payload_bytes what the samples add up to. */
static bool parse_trun(const struct cmaf_box *box, const struct defaults *defaults, size_t data_offset,
                       struct cmaf_chunk *chunk) {
    struct reader reader = reader_of(box);
    uint32_t head = read_u32(&reader), flags = head & 0xffffff;
    chunk->sample_count = read_u32(&reader);
    if (chunk->sample_count < 1 || chunk->sample_count > CMAF_SAMPLES_MAX || !(flags & TRUN_DATA_OFFSET) ||
        read_u32(&reader) != data_offset)
        return false;
    if (!(flags & TRUN_DURATION || defaults->has_duration) || !(flags & TRUN_SIZE || defaults->has_size))
        return false;
    if (flags & TRUN_FIRST_FLAGS)
        chunk->first_sample_flags = read_u32(&reader);
    for (uint32_t i = 0; i < chunk->sample_count; i++)
        read_sample(&reader, flags, defaults, head >> 24 != 0, i == 0, chunk);
    return !reader.bad;
}

static bool parse_moof(const struct cmaf_box *moof, struct cmaf_chunk *chunk) {
    struct cmaf_box mfhd, traf, tfhd, tfdt, trun;
    struct defaults defaults;
    if (!find_only(moof, MFHD, &mfhd) || !find_only(moof, TRAF, &traf) || !find_only(&traf, TFHD, &tfhd) ||
        !find_only(&traf, TFDT, &tfdt) || !find_only(&traf, TRUN, &trun))
        return false;
    struct reader reader = reader_of(&mfhd);
    read_u32(&reader);
    chunk->sequence_number = read_u32(&reader);
    return !reader.bad && parse_tfhd(&tfhd, chunk, &defaults) && parse_tfdt(&tfdt, chunk) &&
           parse_trun(&trun, &defaults, moof->total + BOX_HEADER, chunk);
}

int cmaf_chunk_parse(const uint8_t *data, size_t len, struct cmaf_chunk *ret_chunk) {
    struct cmaf_chunk chunk = {0};
    struct cmaf_box box;
    uint32_t prft_track_id = 0;
    if (cmaf_box_next(&data, &len, &box) <= 0)
        return -EBADMSG;
    if (box.type == PRFT && (!parse_prft(&box, &chunk, &prft_track_id) || cmaf_box_next(&data, &len, &box) <= 0))
        return -EBADMSG;
    if (box.type != MOOF || !parse_moof(&box, &chunk) || (chunk.has_prft && prft_track_id != chunk.track_id))
        return -EBADMSG;
    if (cmaf_box_next(&data, &len, &box) <= 0 || box.type != MDAT || box.total != box.len + BOX_HEADER)
        return -EBADMSG;
    if (len > 0 || box.len != chunk.payload_bytes)
        return -EBADMSG;
    *ret_chunk = chunk;
    return 0;
}

/* --- init segments --- */

struct init {
    struct cmaf_box ftyp, mvhd, trak, trex;
    uint32_t track_id;
};

/* In version 1, the three times before the track id have 64 bits, two of them. */
static bool parse_track_id(const struct cmaf_box *trak, uint32_t *ret_track_id) {
    struct cmaf_box tkhd;
    if (!find_in(trak, TKHD, &tkhd))
        return false;
    struct reader reader = reader_of(&tkhd);
    bool wide = read_u32(&reader) >> 24 != 0;
    for (int i = 0; i < (wide ? 4 : 2); i++)
        read_u32(&reader);
    *ret_track_id = read_u32(&reader);
    return !reader.bad && *ret_track_id > 0 && *ret_track_id < UINT32_MAX;
}

static bool parse_init(const struct blob *blob, struct init *init) {
    const struct cmaf_box file = {.data = blob->data, .len = blob->len};
    struct cmaf_box moov, mvex;
    if (blob->len > CMAF_INIT_MAX || !find_only(&file, FTYP, &init->ftyp) || !find_only(&file, MOOV, &moov))
        return false;
    if (!find_only(&moov, MVHD, &init->mvhd) || !find_only(&moov, TRAK, &init->trak) || !find_only(&moov, MVEX, &mvex))
        return false;
    struct reader trex = {0};
    if (find_only(&mvex, TREX, &init->trex))
        trex = reader_of(&init->trex);
    read_u32(&trex);
    return parse_track_id(&init->trak, &init->track_id) && read_u32(&trex) == init->track_id && !trex.bad &&
           init->mvhd.len >= NEXT_TRACK_ID_BYTES;
}

static bool parse_inits(const struct blob *const *blobs, size_t count, struct init inits[JOIN_MAX]) {
    if (count < 1 || count > JOIN_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!parse_init(blobs[i], &inits[i]))
            return false;
        for (size_t j = 0; j < i; j++)
            if (inits[j].track_id == inits[i].track_id)
                return false;
    }
    return true;
}

static uint8_t *put_header(uint8_t *p, size_t total, uint32_t type) {
    wr32(p, (uint32_t)total);
    wr32(p + 4, type);
    return p + BOX_HEADER;
}

static uint8_t *put_box(uint8_t *p, const struct cmaf_box *box) {
    memcpy(p, box->start, box->total);
    return p + box->total;
}

struct blob *cmaf_init_join(const struct blob *const *blobs, size_t count) {
    struct init inits[JOIN_MAX];
    if (!parse_inits(blobs, count, inits))
        return NULL;
    size_t mvex = BOX_HEADER, moov = BOX_HEADER + inits[0].mvhd.total;
    uint32_t last_track_id = 0;
    for (size_t i = 0; i < count; i++) {
        mvex += inits[i].trex.total;
        moov += inits[i].trak.total;
        if (inits[i].track_id > last_track_id)
            last_track_id = inits[i].track_id;
    }
    moov += mvex;
    struct blob *joined = blob_create(inits[0].ftyp.total + moov);
    uint8_t *p = put_box(joined->data, &inits[0].ftyp);
    p = put_header(p, moov, MOOV);
    p = put_box(p, &inits[0].mvhd);
    wr32(p - NEXT_TRACK_ID_BYTES, last_track_id + 1); /* the last field of mvhd */
    for (size_t i = 0; i < count; i++)
        p = put_box(p, &inits[i].trak);
    p = put_header(p, mvex, MVEX);
    for (size_t i = 0; i < count; i++)
        p = put_box(p, &inits[i].trex);
    return joined;
}
