#include "ingest/ts_tables.h"

#include <string.h>

#include "ingest/opus_ts.h"

enum {
    TABLE_PAT = 0,
    TABLE_PMT = 2,
    SECTION_HEAD = 3, /* to the end of section_length */
    SECTION_LONG = 8, /* to the end of last_section_number */
    CRC_LEN = 4,
    STUFFING = 0xff,
};

static uint16_t get16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t get_pid(const uint8_t *p) {
    return get16(p) & 0x1fff;
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Annex A: CRC-32 without reflection. Over a section with its CRC it is 0. */
static uint32_t crc32_of(const uint8_t *data, size_t len) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= (uint32_t)data[i] << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc & 0x80000000 ? 0x04c11db7 : 0);
    }
    return crc;
}

/* --- PMT --- */

static void note_ignored(struct ts_programme *programme, uint8_t type) {
    bool noted = memchr(programme->ignored, type, programme->ignored_count);
    if (!noted && programme->ignored_count < TS_IGNORED_MAX)
        programme->ignored[programme->ignored_count++] = type;
}

static bool is_registered(const uint8_t *data, size_t len, const char format[4]) {
    return len >= 4 && !memcmp(data, format, 4);
}

/* §2.6: what descriptors say of a stream. */
static void read_descriptors(struct ts_stream *stream, const uint8_t *data, size_t len, bool *ret_opus) {
    enum { REGISTRATION = 0x05, LANGUAGE = 0x0a, EXTENSION = 0x7f, EXTENSION_OPUS = 0x80 };
    *ret_opus = false;
    while (len >= 2 && data[1] <= len - 2) {
        const uint8_t *body = data + 2;
        uint8_t body_len = data[1];
        if (data[0] == REGISTRATION)
            *ret_opus |= is_registered(body, body_len, "Opus");
        if (data[0] == LANGUAGE && body_len >= 4 && !stream->language[0])
            memcpy(stream->language, body, sizeof stream->language);
        if (data[0] == EXTENSION && body_len >= 2 && body[0] == EXTENSION_OPUS)
            stream->opus_channels = opus_ts_channels(body[1]);
        data = body + body_len;
        len -= 2u + body_len;
    }
}

/* False: it is none that we take. */
static bool find_codec(struct ts_stream *stream, uint8_t type, bool opus) {
    if (type == TS_TYPE_PRIVATE && opus && stream->opus_channels)
        stream->codec = CODEC_OPUS;
    else if (type == TS_TYPE_H264)
        stream->codec = CODEC_H264;
    else if (type == TS_TYPE_HEVC)
        stream->codec = CODEC_HEVC;
    else if (type == TS_TYPE_AAC)
        stream->codec = CODEC_AAC;
    else
        return false;
    return true;
}

static bool has_pid(const struct ts_programme *programme, uint16_t pid) {
    bool found = programme->video.pid == pid;
    for (uint32_t i = 0; i < programme->audio_count; i++)
        found |= programme->audio[i].pid == pid;
    return found;
}

static void read_stream(struct ts_programme *programme, uint8_t type, uint16_t pid, const uint8_t *descriptors,
                        size_t len) {
    struct ts_stream stream = {.pid = pid};
    bool opus;
    read_descriptors(&stream, descriptors, len, &opus);
    if (!find_codec(&stream, type, opus)) {
        note_ignored(programme, type);
        return;
    }
    if (pid < TS_PID_FIRST || pid == TS_PID_NULL || has_pid(programme, pid))
        return;
    if (stream.codec == CODEC_H264 || stream.codec == CODEC_HEVC)
        programme->video = programme->video.pid ? programme->video : stream;
    else if (programme->audio_count < TS_AUDIO_MAX)
        programme->audio[programme->audio_count++] = stream;
    else
        programme->audio_left_out++;
}

static bool read_streams(struct ts_programme *programme, const uint8_t *data, size_t len) {
    enum { ENTRY = 5 };
    size_t info_len = len >= 4 ? get16(data + 2) & 0x0fff : 0, pos = 4 + info_len;
    if (pos > len)
        return false;
    programme->video = (struct ts_stream){0};
    programme->audio_count = programme->audio_left_out = programme->ignored_count = 0;
    while (len - pos >= ENTRY) {
        info_len = get16(data + pos + 3) & 0x0fff;
        if (info_len > len - pos - ENTRY)
            return true; /* what was before that is good */
        read_stream(programme, data[pos], get_pid(data + pos + 1), data + pos + ENTRY, info_len);
        pos += ENTRY + info_len;
    }
    return true;
}

static struct ts_programme *find(struct ts_tables *tables, uint16_t number) {
    for (uint32_t i = 0; i < tables->count; i++)
        if (tables->programmes[i].number == number)
            return &tables->programmes[i];
    return NULL;
}

/* The first, once all had their turn: so they had when one comes again. */
static struct ts_programme *without_video(struct ts_tables *tables, const struct ts_programme *heard) {
    struct ts_programme *first = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < tables->count; i++) {
        if (!tables->programmes[i].heard)
            continue;
        count++;
        first = first ? first : &tables->programmes[i];
    }
    return count == tables->count || heard->heard > 1 ? first : NULL;
}

static bool choose(struct ts_tables *tables, struct ts_programme *heard, bool changed) {
    struct ts_programme *before = tables->chosen;
    if (before == heard)
        return changed;
    if (heard->video.pid && (!before || !before->video.pid))
        tables->chosen = heard;
    else if (!before)
        tables->chosen = without_video(tables, heard);
    return tables->chosen != before;
}

static bool on_pmt(struct ts_tables *tables, const uint8_t *section, size_t len) {
    struct ts_programme *programme = find(tables, get16(section + 3));
    if (!programme)
        return false;
    uint32_t crc = get32(section + len - CRC_LEN);
    bool changed = !programme->heard || crc != programme->crc;
    if (changed && !read_streams(programme, section + SECTION_LONG, len - SECTION_LONG - CRC_LEN)) {
        tables->bad_sections++;
        return false;
    }
    programme->heard += programme->heard < UINT32_MAX;
    programme->crc = crc;
    return choose(tables, programme, changed);
}

/* --- PAT --- */

/* What it lists now. The chosen programme stays as it is until its PMT comes, if it is still there. */
static bool on_pat(struct ts_tables *tables, const uint8_t *section, size_t len) {
    enum { ENTRY = 4 };
    uint32_t crc = get32(section + len - CRC_LEN);
    if (section[6] || (tables->has_pat && crc == tables->pat_crc)) /* a table of one section is all that we look at */
        return false;
    bool chosen = tables->chosen;
    struct ts_programme kept = chosen ? *tables->chosen : (struct ts_programme){0};
    tables->has_pat = true;
    tables->pat_crc = crc;
    tables->count = 0;
    tables->chosen = NULL;
    for (size_t pos = SECTION_LONG; pos + ENTRY <= len - CRC_LEN && tables->count < TS_PROGRAMMES_MAX; pos += ENTRY) {
        uint16_t number = get16(section + pos), pid = get_pid(section + pos + 2);
        if (!number || pid < TS_PID_FIRST || pid == TS_PID_NULL || find(tables, number))
            continue; /* number 0 is the network's table */
        struct ts_programme *programme = &tables->programmes[tables->count++];
        *programme = (struct ts_programme){.number = number, .pid = pid};
        if (chosen && number == kept.number && pid == kept.pid) {
            *programme = kept;
            tables->chosen = programme;
        }
    }
    return chosen && !tables->chosen;
}

/* --- sections --- */

static bool on_section(struct ts_tables *tables, uint8_t table, const uint8_t *section, size_t len) {
    bool is_long = section[1] & 0x80, current = len >= SECTION_LONG && section[5] & 1;
    if (section[0] != table || !is_long)
        return false; /* private tables may share a PID */
    if (len < SECTION_LONG + CRC_LEN || crc32_of(section, len)) {
        tables->bad_sections++;
        return false;
    }
    if (!current)
        return false;
    return table == TABLE_PAT ? on_pat(tables, section, len) : on_pmt(tables, section, len);
}

/* How long the section will be, as far as is known. */
static size_t section_len(const struct ts_section *section) {
    return section->len < SECTION_HEAD ? SECTION_HEAD : SECTION_HEAD + (get16(section->data + 1) & 0x0fffu);
}

/* Returns how many bytes belong to the section; all of them if it is too long. */
static size_t section_add(struct ts_tables *tables, struct ts_section *section, const uint8_t *data, size_t len) {
    size_t used = 0;
    while (used < len && section->len < section_len(section)) {
        if (section_len(section) > TS_SECTION_MAX) {
            section->open = false;
            tables->bad_sections++;
            return len;
        }
        size_t n = section_len(section) - section->len;
        n = n < len - used ? n : len - used;
        memcpy(section->data + section->len, data + used, n);
        section->len += n;
        used += n;
    }
    return used;
}

static bool section_done(struct ts_tables *tables, struct ts_section *section, uint8_t table) {
    if (!section->open || section->len < section_len(section))
        return false;
    section->open = false;
    return on_section(tables, table, section->data, section->len);
}

static bool section_packet(struct ts_tables *tables, struct ts_section *section, uint8_t table,
                           const struct ts_packet *packet) {
    const uint8_t *data = packet->payload;
    size_t len = packet->len, first = packet->starts ? data[0] : len; /* bytes of a section begun before */
    bool changed = false;
    data += packet->starts;
    len -= packet->starts;
    if (first > len) {
        section->open = false;
        tables->bad_sections++;
        return false;
    }
    if (section->open) {
        section_add(tables, section, data, first);
        changed = section_done(tables, section, table);
    }
    data += first;
    len -= first;
    while (packet->starts && len && data[0] != STUFFING) {
        section->open = true;
        section->len = 0;
        size_t used = section_add(tables, section, data, len);
        data += used;
        len -= used;
        changed |= section_done(tables, section, table);
    }
    return changed;
}

static struct ts_section *find_section(struct ts_tables *tables, uint16_t pid) {
    if (pid == 0)
        return &tables->pat;
    for (uint32_t i = 0; i < tables->count; i++)
        if (tables->programmes[i].pid == pid)
            return &tables->programmes[i].section;
    return NULL;
}

bool ts_tables_take(struct ts_tables *tables, const struct ts_packet *packet) {
    struct ts_section *section = packet->len ? find_section(tables, packet->pid) : NULL;
    if (!section)
        return false;
    switch (ts_counter_check(&section->counter, packet)) {
    case TS_REPEATED:
        return false;
    case TS_BROKEN:
        section->open = false;
        break;
    case TS_CONTINUES:
        break;
    }
    return section_packet(tables, section, packet->pid ? TABLE_PMT : TABLE_PAT, packet);
}

void ts_tables_gap(struct ts_tables *tables) {
    tables->pat.open = false;
    for (uint32_t i = 0; i < tables->count; i++)
        tables->programmes[i].section.open = false;
}

const char *ts_type_name(uint8_t stream_type) {
    static const char *const names[256] = {
        [0x01] = "MPEG-1 video", [0x02] = "MPEG-2 video", [0x03] = "MPEG-1 audio", [0x04] = "MPEG-2 audio",
        [0x06] = "private data", [0x11] = "AAC in LATM",  [0x10] = "MPEG-4 video", [0x15] = "timed metadata",
        [0x20] = "MVC",          [0x21] = "JPEG 2000",    [0x24] = "HEVC",         [0x32] = "JPEG XS",
        [0x33] = "VVC",          [0x81] = "AC-3",         [0x86] = "SCTE-35",      [0x87] = "E-AC-3",
        [0xd1] = "Dirac",        [0xea] = "VC-1",
    };
    return names[stream_type] ? names[stream_type] : "a track";
}
