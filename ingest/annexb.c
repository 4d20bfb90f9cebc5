#include "ingest/annexb.h"

#include <errno.h>
#include <string.h>

#include "ingest/bits.h"
#include "ingest/h264_entry.h"

enum {
    NAL_SLICE = 1,
    NAL_IDR = 5,
    NAL_SPS = 7,
    NAL_PPS = 8,
    NAL_DELIMITER = 9,
    NAL_END_OF_SEQUENCE = 10,
    NAL_END_OF_STREAM = 11,
    NAL_FILLER = 12,
    PREFIX = 3, /* 00 00 01; a zero before it is the end of what was before */
    LENGTH_SIZE = 4,
};

void annexb_init(struct annexb *annexb) {
    *annexb = (struct annexb){0};
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

bool annexb_nal_next(const uint8_t **data, size_t *len, struct annexb_nal *ret_nal) {
    for (;;) {
        size_t begin = find_prefix(*data, *len);
        if (begin == *len)
            return false;
        *data += begin + PREFIX;
        *len -= begin + PREFIX;
        size_t next = find_prefix(*data, *len), end = next;
        while (end && !(*data)[end - 1])
            end--; /* no NAL unit ends with a zero */
        *ret_nal = (struct annexb_nal){*data, end};
        *data += next;
        *len -= next;
        if (end)
            return true;
    }
}

static uint8_t type_of(const struct annexb_nal *nal) {
    return nal->data[0] & 0x1f;
}

/* --- parameter sets --- */

/* The ids at the front (§7.3.2.1.1, §7.3.2.2): no emulation prevention can come before them, for level_idc is not 0. */
static bool read_ids(const struct annexb_nal *nal, struct annexb_set *set) {
    struct bits bits = bits_of(nal->data, nal->len);
    set->type = type_of(nal);
    bits_skip(&bits, 8);
    if (set->type == NAL_SPS)
        bits_skip(&bits, 24);
    set->id = bits_ue(&bits, set->type == NAL_SPS ? 31 : 255);
    set->sps_id = set->type == NAL_SPS ? set->id : bits_ue(&bits, 31);
    return !bits.bad;
}

static struct annexb_set *find_set(struct annexb *annexb, uint8_t type, uint32_t id) {
    for (uint32_t i = 0; i < annexb->set_count; i++)
        if (annexb->sets[i].type == type && annexb->sets[i].id == id)
            return &annexb->sets[i];
    return annexb->set_count < ANNEXB_SETS_MAX ? &annexb->sets[annexb->set_count++] : NULL;
}

static void take_set(struct annexb *annexb, const struct annexb_nal *nal) {
    struct annexb_set set = {.fresh = true, .len = (uint16_t)nal->len};
    struct annexb_set *place = NULL;
    if (nal->len <= ANNEXB_SET_MAX && read_ids(nal, &set))
        place = find_set(annexb, set.type, set.id);
    if (!place) {
        annexb->bad_sets++;
        return;
    }
    memcpy(set.data, nal->data, nal->len);
    *place = set;
}

static bool is_fresh_sps(const struct annexb *annexb, uint32_t id) {
    for (uint32_t i = 0; i < annexb->set_count; i++)
        if (annexb->sets[i].type == NAL_SPS && annexb->sets[i].id == id)
            return annexb->sets[i].fresh;
    return false;
}

/* An IDR picture that comes with an SPS begins anew: other SPSs, and what refers to them, are of the past. */
static void forget_old_sets(struct annexb *annexb) {
    bool has_sps = false;
    for (uint32_t i = 0; i < annexb->set_count; i++)
        has_sps |= annexb->sets[i].type == NAL_SPS && annexb->sets[i].fresh;
    uint32_t kept = 0;
    bool keep[ANNEXB_SETS_MAX];
    for (uint32_t i = 0; i < annexb->set_count; i++)
        keep[i] = is_fresh_sps(annexb, annexb->sets[i].sps_id);
    for (uint32_t i = 0; has_sps && i < annexb->set_count; i++)
        if (keep[i])
            annexb->sets[kept++] = annexb->sets[i];
    if (has_sps)
        annexb->set_count = kept;
}

/* --- avcC --- */

static uint8_t count_of(const struct annexb *annexb, uint8_t type) {
    uint8_t count = 0;
    for (uint32_t i = 0; i < annexb->set_count; i++)
        count += annexb->sets[i].type == type;
    return count;
}

static bool put_sets(const struct annexb *annexb, uint8_t type, struct buf *out) {
    for (uint32_t i = 0; i < annexb->set_count; i++) {
        const struct annexb_set *set = &annexb->sets[i];
        const uint8_t len[] = {(uint8_t)(set->len >> 8), (uint8_t)set->len};
        if (set->type == type && (buf_append(out, len, sizeof len) || buf_append(out, set->data, set->len)))
            return false;
    }
    return true;
}

static const struct annexb_set *first_sps(const struct annexb *annexb) {
    for (uint32_t i = 0; i < annexb->set_count; i++)
        if (annexb->sets[i].type == NAL_SPS && annexb->sets[i].len >= 4)
            return &annexb->sets[i];
    return NULL;
}

/* All profiles but the oldest repeat three fields of the SPS behind the sets (§5.3.3.1.2). */
static bool put_chroma(const struct annexb_set *sps, struct buf *out) {
    enum { BASELINE = 66, MAIN = 77, EXTENDED = 88 };
    struct bits bits = bits_of(sps->data, sps->len);
    bits_skip(&bits, 8);
    uint32_t profile = bits_read(&bits, 8);
    if (profile == BASELINE || profile == MAIN || profile == EXTENDED)
        return true;
    bits_skip(&bits, 16);
    bits_ue(&bits, 31);
    uint32_t chroma_format = bits_ue(&bits, 3);
    if (chroma_format == 3)
        bits_skip(&bits, 1);
    uint32_t luma_depth = bits_ue(&bits, 6), chroma_depth = bits_ue(&bits, 6);
    const uint8_t tail[] = {(uint8_t)(0xfc | chroma_format), (uint8_t)(0xf8 | luma_depth),
                            (uint8_t)(0xf8 | chroma_depth), 0 /* SPS extensions */};
    return !bits.bad && !buf_append(out, tail, sizeof tail);
}

/* §5.3.3.1 */
static bool put_config(const struct annexb *annexb, struct buf *out) {
    const struct annexb_set *sps = first_sps(annexb);
    uint8_t pps_count = count_of(annexb, NAL_PPS);
    if (!sps || !pps_count)
        return false;
    const uint8_t head[] = {1,
                            sps->data[1],
                            sps->data[2],
                            sps->data[3],
                            0xfc | (LENGTH_SIZE - 1),
                            (uint8_t)(0xe0 | count_of(annexb, NAL_SPS))};
    return !buf_append(out, head, sizeof head) && put_sets(annexb, NAL_SPS, out) && !buf_append(out, &pps_count, 1) &&
           put_sets(annexb, NAL_PPS, out) && put_chroma(sps, out);
}

/* True when it became another. */
static bool renew_config(struct annexb *annexb) {
    struct buf out;
    buf_init(&out, ANNEXB_CONFIG_MAX);
    bool made = put_config(annexb, &out);
    size_t len = buf_len(&out);
    bool changed = made && (len != annexb->config_len || memcmp(annexb->config, buf_head(&out), len) != 0);
    annexb->bad_sets += out.overflow;
    if (changed) {
        memcpy(annexb->config, buf_head(&out), len);
        annexb->config_len = len;
    }
    buf_finish(&out);
    return changed;
}

/* Whether `config` has this very set. */
static bool configured(const struct annexb *annexb, const struct annexb_nal *nal) {
    size_t pos = 5;
    for (int list = 0; list < 2 && pos < annexb->config_len; list++) {
        unsigned count = annexb->config[pos++] & 0x1f;
        for (; count > 0; count--) {
            size_t len = (size_t)(annexb->config[pos] << 8 | annexb->config[pos + 1]);
            if (len == nal->len && !memcmp(annexb->config + pos + 2, nal->data, len))
                return true;
            pos += 2 + len;
        }
    }
    return false;
}

/* --- access units --- */

/* Takes the parameter sets. False when there is no NAL unit at all. */
static bool look(struct annexb *annexb, const uint8_t *data, size_t len, bool *ret_independent) {
    struct annexb_nal nal;
    struct h264_entry entry = {0};
    bool any = false;
    for (uint32_t i = 0; i < annexb->set_count; i++)
        annexb->sets[i].fresh = false;
    for (; annexb_nal_next(&data, &len, &nal); any = true) {
        if (type_of(&nal) == NAL_SPS || type_of(&nal) == NAL_PPS)
            take_set(annexb, &nal);
        h264_entry_add(&entry, nal.data, nal.len);
    }
    *ret_independent = h264_entry_here(&entry);
    return any;
}

static bool left_out(const struct annexb *annexb, const struct annexb_nal *nal) {
    switch (type_of(nal)) {
    case NAL_DELIMITER:
    case NAL_END_OF_SEQUENCE:
    case NAL_END_OF_STREAM:
    case NAL_FILLER:
        return true;
    case NAL_SPS:
    case NAL_PPS:
        return configured(annexb, nal);
    default:
        return false;
    }
}

static int put_nal(struct buf *out, const struct annexb_nal *nal) {
    const uint8_t len[LENGTH_SIZE] = {(uint8_t)(nal->len >> 24), (uint8_t)(nal->len >> 16), (uint8_t)(nal->len >> 8),
                                      (uint8_t)nal->len};
    int rc = buf_append(out, len, sizeof len);
    return rc ? rc : buf_append(out, nal->data, nal->len);
}

int annexb_read(struct annexb *annexb, const uint8_t *data, size_t len, struct annexb_unit *ret_unit) {
    struct annexb_nal nal;
    bool picture = false;
    *ret_unit = (struct annexb_unit){0};
    buf_clear(&annexb->unit);
    if (!look(annexb, data, len, &ret_unit->idr))
        return -EBADMSG;
    if (ret_unit->idr) {
        forget_old_sets(annexb);
        ret_unit->config_changed = renew_config(annexb);
    }
    while (annexb_nal_next(&data, &len, &nal)) {
        picture |= type_of(&nal) >= NAL_SLICE && type_of(&nal) <= NAL_IDR;
        if (!left_out(annexb, &nal) && put_nal(&annexb->unit, &nal))
            return -ENOBUFS;
    }
    if (picture) {
        ret_unit->data = buf_head(&annexb->unit);
        ret_unit->len = buf_len(&annexb->unit);
    }
    return 0;
}
