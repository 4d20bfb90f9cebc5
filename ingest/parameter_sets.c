#include "ingest/parameter_sets.h"

#include <string.h>

#include "common/base/buf.h"
#include "ingest/bits.h"
#include "ingest/h264.h"
#include "ingest/hevc.h"

enum {
    LENGTH_SIZE = 4,
    AVCC_LISTS = 5, /* where counts and sets begin */
    HVCC_ARRAYS = 22,
    COMPLETE = 0x80, /* array_completeness: there are no others */
};

void parameter_sets_init(struct parameter_sets *sets, enum codec codec) {
    *sets = (struct parameter_sets){.codec = codec};
}

enum parameter_set_kind parameter_set_kind(enum codec codec, const struct nal *nal) {
    uint8_t type = codec == CODEC_HEVC ? hevc_nal_type(nal->data) : nal->data[0] & 0x1f;
    if (codec == CODEC_HEVC)
        return type == HEVC_NAL_VPS   ? SET_VPS
               : type == HEVC_NAL_SPS ? SET_SPS
               : type == HEVC_NAL_PPS ? SET_PPS
                                      : SET_NONE;
    return type == H264_NAL_SPS ? SET_SPS : type == H264_NAL_PPS ? SET_PPS : SET_NONE;
}

/* --- taking --- */

/* The ids at the front (§7.3.2.1.1, §7.3.2.2): no emulation prevention can come before them, for level_idc is not 0. */
static bool read_h264_ids(const struct nal *nal, struct parameter_set *set) {
    struct bits bits = bits_of(nal->data, nal->len);
    bits_skip(&bits, 8);
    if (set->kind == SET_SPS)
        bits_skip(&bits, 24);
    set->id = bits_ue(&bits, set->kind == SET_SPS ? 31 : 255);
    set->parent = set->kind == SET_SPS ? set->id : bits_ue(&bits, 31);
    return !bits.bad;
}

static bool read_hevc_ids(const struct nal *nal, struct parameter_set *set) {
    struct bits bits = bits_of(nal->data, nal->len);
    struct hevc_sps sps;
    if (set->kind == SET_SPS) {
        if (hevc_sps_parse(nal, &sps))
            return false;
        set->id = sps.id;
        set->parent = sps.vps_id;
        return true;
    }
    bits_skip(&bits, 8 * HEVC_NAL_HEADER);
    set->id = set->kind == SET_VPS ? bits_read(&bits, 4) : bits_ue(&bits, 63);
    set->parent = set->kind == SET_VPS ? set->id : bits_ue(&bits, 15);
    return !bits.bad;
}

static struct parameter_set *find(struct parameter_sets *sets, enum parameter_set_kind kind, uint32_t id) {
    for (uint32_t i = 0; i < sets->count; i++)
        if (sets->sets[i].kind == kind && sets->sets[i].id == id)
            return &sets->sets[i];
    return NULL;
}

void parameter_sets_begin(struct parameter_sets *sets) {
    for (uint32_t i = 0; i < sets->count; i++)
        sets->sets[i].fresh = false;
}

/* Whether it outlives a key picture that comes with what is fresh. */
static bool is_fresh(struct parameter_sets *sets, enum parameter_set_kind kind, uint32_t id) {
    const struct parameter_set *set = find(sets, kind, id);
    return set && set->fresh;
}

static bool stays(struct parameter_sets *sets, const struct parameter_set *set) {
    if (set->kind == SET_SPS)
        return set->fresh;
    if (set->kind == SET_PPS)
        return is_fresh(sets, SET_SPS, set->parent);
    for (uint32_t i = 0; i < sets->count; i++)
        if (sets->sets[i].kind == SET_SPS && sets->sets[i].fresh && sets->sets[i].parent == set->id)
            return true;
    return false;
}

/* For another one. In a full table that of one of the past, when another configuration comes. */
static struct parameter_set *room(struct parameter_sets *sets, const struct parameter_set *other) {
    if (sets->count < PARAMETER_SETS_MAX)
        return &sets->sets[sets->count++];
    if (other->kind == SET_PPS && !is_fresh(sets, SET_SPS, other->parent))
        return NULL;
    for (uint32_t i = 0; i < sets->count; i++)
        if (!sets->sets[i].fresh && !stays(sets, &sets->sets[i]))
            return &sets->sets[i];
    return NULL;
}

void parameter_sets_take(struct parameter_sets *sets, const struct nal *nal) {
    struct parameter_set set = {.kind = parameter_set_kind(sets->codec, nal), .fresh = true, .len = (uint16_t)nal->len};
    struct parameter_set *place = NULL;
    if (nal->len <= PARAMETER_SET_MAX &&
        (sets->codec == CODEC_HEVC ? read_hevc_ids(nal, &set) : read_h264_ids(nal, &set))) {
        place = find(sets, set.kind, set.id);
        if (!place)
            place = room(sets, &set);
    }
    if (!place) {
        sets->bad++;
        return;
    }
    memcpy(set.data, nal->data, nal->len);
    *place = set;
}

/* --- what is of the past --- */

/* A key picture that comes with an SPS begins anew: other SPSs, and what refers to them, are of the past. */
static void forget_old(struct parameter_sets *sets) {
    bool has_sps = false, keep[PARAMETER_SETS_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sets->count; i++) {
        has_sps |= sets->sets[i].kind == SET_SPS && sets->sets[i].fresh;
        keep[i] = stays(sets, &sets->sets[i]);
    }
    if (!has_sps)
        return;
    for (uint32_t i = 0; i < sets->count; i++)
        if (keep[i])
            sets->sets[kept++] = sets->sets[i];
    sets->count = kept;
}

/* --- configuration --- */

static uint8_t count_of(const struct parameter_sets *sets, enum parameter_set_kind kind) {
    uint8_t count = 0;
    for (uint32_t i = 0; i < sets->count; i++)
        count += sets->sets[i].kind == kind;
    return count;
}

static bool put_sets(const struct parameter_sets *sets, enum parameter_set_kind kind, struct buf *out) {
    for (uint32_t i = 0; i < sets->count; i++) {
        const struct parameter_set *set = &sets->sets[i];
        const uint8_t len[] = {(uint8_t)(set->len >> 8), (uint8_t)set->len};
        if (set->kind == kind && (buf_append(out, len, sizeof len) || buf_append(out, set->data, set->len)))
            return false;
    }
    return true;
}

static const struct parameter_set *first_sps(const struct parameter_sets *sets) {
    for (uint32_t i = 0; i < sets->count; i++)
        if (sets->sets[i].kind == SET_SPS && sets->sets[i].len >= 4)
            return &sets->sets[i];
    return NULL;
}

/* All profiles but the oldest repeat three fields of the SPS behind the sets (§5.3.3.1.2). */
static bool put_chroma(const struct parameter_set *sps, struct buf *out) {
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
static bool put_avcc(const struct parameter_sets *sets, struct buf *out) {
    const struct parameter_set *sps = first_sps(sets);
    uint8_t pps_count = count_of(sets, SET_PPS);
    if (!sps || !pps_count)
        return false;
    const uint8_t head[] = {1,
                            sps->data[1],
                            sps->data[2],
                            sps->data[3],
                            0xfc | (LENGTH_SIZE - 1),
                            (uint8_t)(0xe0 | count_of(sets, SET_SPS))};
    return !buf_append(out, head, sizeof head) && put_sets(sets, SET_SPS, out) && !buf_append(out, &pps_count, 1) &&
           put_sets(sets, SET_PPS, out) && put_chroma(sps, out);
}

static bool put_array(const struct parameter_sets *sets, enum parameter_set_kind kind, uint8_t type, struct buf *out) {
    const uint8_t head[] = {COMPLETE | type, 0, count_of(sets, kind)};
    return head[2] && !buf_append(out, head, sizeof head) && put_sets(sets, kind, out);
}

/* §8.3.3.1 */
static bool put_hvcc(const struct parameter_sets *sets, struct buf *out) {
    const struct parameter_set *set = first_sps(sets);
    struct hevc_sps sps;
    if (!set || hevc_sps_parse(&(struct nal){set->data, set->len}, &sps))
        return false;
    uint8_t head[HVCC_ARRAYS + 1] = {1};
    memcpy(head + 1, sps.ptl, HEVC_PTL_LEN);
    head[13] = 0xf0; /* min_spatial_segmentation_idc, parallelismType: unknown */
    head[15] = 0xfc;
    head[16] = 0xfc | sps.chroma_format;
    head[17] = (uint8_t)(0xf8 | (sps.luma_depth - 8));
    head[18] = (uint8_t)(0xf8 | (sps.chroma_depth - 8));
    head[21] = (uint8_t)(sps.sub_layers << 3 | sps.temporal_id_nested << 2 | (LENGTH_SIZE - 1));
    head[22] = 3;
    return !buf_append(out, head, sizeof head) && put_array(sets, SET_VPS, HEVC_NAL_VPS, out) &&
           put_array(sets, SET_SPS, HEVC_NAL_SPS, out) && put_array(sets, SET_PPS, HEVC_NAL_PPS, out);
}

bool parameter_sets_renew(struct parameter_sets *sets) {
    struct buf out;
    forget_old(sets);
    buf_init(&out, PARAMETER_SETS_CONFIG_MAX);
    bool made = sets->codec == CODEC_HEVC ? put_hvcc(sets, &out) : put_avcc(sets, &out);
    size_t len = buf_len(&out);
    bool changed = made && (len != sets->config_len || memcmp(sets->config, buf_head(&out), len) != 0);
    sets->bad += out.overflow;
    if (changed) {
        memcpy(sets->config, buf_head(&out), len);
        sets->config_len = len;
    }
    buf_finish(&out);
    return changed;
}

/* Both records are lists of sets with lengths of two bytes; the heads of the lists differ. */
bool parameter_sets_has(const struct parameter_sets *sets, const struct nal *nal) {
    bool hevc = sets->codec == CODEC_HEVC;
    const uint8_t *config = sets->config;
    size_t pos = hevc ? HVCC_ARRAYS + 1 : AVCC_LISTS;
    for (unsigned list = 0; list < (hevc ? 3 : 2) && pos < sets->config_len; list++) {
        unsigned count = hevc ? config[pos + 2] : config[pos] & 0x1f;
        for (pos += hevc ? 3 : 1; count > 0; count--) {
            size_t len = (size_t)(config[pos] << 8 | config[pos + 1]);
            if (len == nal->len && !memcmp(config + pos + 2, nal->data, len))
                return true;
            pos += 2 + len;
        }
    }
    return false;
}
