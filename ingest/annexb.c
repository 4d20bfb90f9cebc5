#include "ingest/annexb.h"

#include <errno.h>

#include "ingest/h264.h"
#include "ingest/h264_entry.h"
#include "ingest/hevc.h"

enum {
    PREFIX = 3, /* 00 00 01; a zero before it is the end of what was before */
    LENGTH_SIZE = 4,
};

void annexb_init(struct annexb *annexb, enum codec codec) {
    parameter_sets_init(&annexb->sets, codec);
    buf_init(&annexb->unit, ANNEXB_UNIT_MAX);
}

void annexb_finish(struct annexb *annexb) {
    buf_finish(&annexb->unit);
}

/* --- NAL units --- */

/* Where the next start code begins; `len` when there is none. */
static size_t find_prefix(const uint8_t *data, size_t len) {
    size_t i = 0;
    while (i + PREFIX <= len) {
        if (data[i + 2] > 1)
            i += 3;
        else if (!data[i] && !data[i + 1] && data[i + 2] == 1)
            return i;
        else
            i++;
    }
    return len;
}

bool annexb_nal_next(const uint8_t **data, size_t *len, struct nal *ret_nal) {
    for (;;) {
        size_t begin = find_prefix(*data, *len);
        if (begin == *len)
            return false;
        *data += begin + PREFIX;
        *len -= begin + PREFIX;
        size_t next = find_prefix(*data, *len), end = next;
        while (end && !(*data)[end - 1])
            end--; /* no NAL unit ends with a zero */
        *ret_nal = (struct nal){*data, end};
        *data += next;
        *len -= next;
        if (end)
            return true;
    }
}

/* --- what a NAL unit is --- */

enum what {
    SLICE,         /* of a picture */
    SLICE_KEY,     /* likewise, at which decoding can begin */
    SLICE_SKIPPED, /* likewise, of one that refers to what was before the key picture */
    PARAMETER_SET,
    LEFT_OUT,
    OTHER,
};

/* ITU-T H.264 table 7-1 */
static enum what what_h264(const struct nal *nal) {
    uint8_t type = nal->data[0] & 0x1f;
    if (type >= H264_NAL_SLICE && type <= H264_NAL_IDR)
        return type == H264_NAL_IDR ? SLICE_KEY : SLICE;
    return type >= H264_NAL_DELIMITER && type <= H264_NAL_FILLER ? LEFT_OUT
                                                                 : OTHER; /* ends of sequence and stream between them */
}

/* ITU-T H.265 table 7-1 */
static enum what what_hevc(const struct nal *nal) {
    enum { RASL_N = 8, RASL_R = 9, VCL_LAST = 31, DELIMITER = 35, FILLER = 38 };
    if (nal->len < HEVC_NAL_HEADER || nal->data[0] & 1 || nal->data[1] >> 3)
        return LEFT_OUT; /* another layer */
    uint8_t type = hevc_nal_type(nal->data);
    if (type <= VCL_LAST)
        return hevc_is_irap(type) ? SLICE_KEY : type == RASL_N || type == RASL_R ? SLICE_SKIPPED : SLICE;
    return type >= DELIMITER && type <= FILLER ? LEFT_OUT : OTHER;
}

static enum what what_of(const struct annexb *annexb, const struct nal *nal) {
    enum codec codec = annexb->sets.codec;
    enum what what = codec == CODEC_HEVC ? what_hevc(nal) : what_h264(nal);
    return what == OTHER && parameter_set_kind(codec, nal) ? PARAMETER_SET : what;
}

/* --- access units --- */

/* Takes the parameter sets. False when there is no NAL unit at all. */
static bool look(struct annexb *annexb, const uint8_t *data, size_t len, struct annexb_unit *unit) {
    struct nal nal;
    struct h264_entry entry = {0};
    bool any = false, hevc = annexb->sets.codec == CODEC_HEVC;
    parameter_sets_begin(&annexb->sets);
    for (; annexb_nal_next(&data, &len, &nal); any = true) {
        enum what what = what_of(annexb, &nal);
        if (what == PARAMETER_SET)
            parameter_sets_take(&annexb->sets, &nal);
        unit->key |= hevc && what == SLICE_KEY;
        if (!hevc)
            h264_entry_add(&entry, nal.data, nal.len);
        unit->skipped |= what == SLICE_SKIPPED;
    }
    unit->key |= h264_entry_here(&entry);
    return any;
}

static int put_nal(struct buf *out, const struct nal *nal) {
    const uint8_t len[LENGTH_SIZE] = {(uint8_t)(nal->len >> 24), (uint8_t)(nal->len >> 16), (uint8_t)(nal->len >> 8),
                                      (uint8_t)nal->len};
    int rc = buf_append(out, len, sizeof len);
    return rc ? rc : buf_append(out, nal->data, nal->len);
}

int annexb_read(struct annexb *annexb, const uint8_t *data, size_t len, struct annexb_unit *ret_unit) {
    struct nal nal;
    bool picture = false;
    *ret_unit = (struct annexb_unit){0};
    buf_clear(&annexb->unit);
    if (!look(annexb, data, len, ret_unit))
        return -EBADMSG;
    if (ret_unit->key)
        ret_unit->config_changed = parameter_sets_renew(&annexb->sets);
    while (annexb_nal_next(&data, &len, &nal)) {
        enum what what = what_of(annexb, &nal);
        picture |= what <= SLICE_SKIPPED;
        if (what == LEFT_OUT || (what == PARAMETER_SET && parameter_sets_has(&annexb->sets, &nal)))
            continue;
        if (put_nal(&annexb->unit, &nal))
            return -ENOBUFS;
    }
    if (picture) {
        ret_unit->data = buf_head(&annexb->unit);
        ret_unit->len = buf_len(&annexb->unit);
    }
    return 0;
}
