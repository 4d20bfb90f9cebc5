#include "ingest/flv.h"

#include <errno.h>
#include <string.h>

enum {
    LEGACY_AVC = 7,
    LEGACY_HEVC = 12, /* in no specification, but what many encoders and services have agreed on */
    FORMAT_ENHANCED = 9,
    FORMAT_AAC = 10,
    FRAME_KEY = 1,
    FRAME_GENERATED_KEY = 4,
    FRAME_COMMAND = 5,
    TAG_HEAD = 11,
    TAG_TRAILER = 4, /* "previous tag size" */
    NANOSECONDS_MAX = 999999,
    STREAMINFO_LEN = 34,
    BLOCK_HEAD = 4, /* of a FLAC metadata block */
    VPCC_LEN = 8,
    BOX_VERSION_LEN = 4, /* with flags */
};

struct flv_codec {
    char fourcc[5];
    enum track_kind kind;
    bool carried;
    bool composed; /* CodedFrames begin with a composition time */
    enum codec codec;
    const char *name;
};

static const struct flv_codec codecs[] = {
    {"avc1", TRACK_VIDEO, true, true, CODEC_H264, "H.264"},
    {"hvc1", TRACK_VIDEO, true, true, CODEC_HEVC, "HEVC"},
    {"av01", TRACK_VIDEO, true, false, CODEC_AV1, "AV1"},
    {"vp09", TRACK_VIDEO, true, false, CODEC_VP9, "VP9"},
    {"mp4a", TRACK_AUDIO, true, false, CODEC_AAC, "AAC"},
    {"Opus", TRACK_AUDIO, true, false, CODEC_OPUS, "Opus"},
    {"fLaC", TRACK_AUDIO, true, false, CODEC_FLAC, "FLAC"},
    {"vp08", TRACK_VIDEO, .name = "VP8"},
    {"vvc1", TRACK_VIDEO, .name = "VVC"},
    {".mp3", TRACK_AUDIO, .name = "MP3"},
    {"ac-3", TRACK_AUDIO, .name = "AC-3"},
    {"ec-3", TRACK_AUDIO, .name = "E-AC-3"},
};
enum { AT_H264 = 0, AT_HEVC = 1, AT_AAC = 4 };
static const struct flv_codec unknown_codecs[] = {[TRACK_VIDEO] = {"", TRACK_VIDEO, .name = "unknown video"},
                                                  [TRACK_AUDIO] = {"", TRACK_AUDIO, .name = "unknown audio"}};

static uint32_t get24(const uint8_t *p) {
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* The next `len` bytes, or NULL when there are fewer. */
static const uint8_t *take(struct flv_reader *reader, size_t len) {
    const uint8_t *p = reader->pos;
    if ((size_t)(reader->end - p) < len)
        return NULL;
    reader->pos += len;
    return p;
}

static bool is_key(uint8_t frame_type) {
    return frame_type == FRAME_KEY || frame_type == FRAME_GENERATED_KEY;
}

static int give(struct flv_reader *reader, struct flv_media *ret_media, enum flv_what what,
                const struct flv_codec *codec) {
    *ret_media = (struct flv_media){.what = what,
                                    .codec = codec->codec,
                                    .codec_name = codec->name,
                                    .independent = reader->kind == TRACK_AUDIO || is_key(reader->frame_type),
                                    .offset_ns = reader->offset_ns};
    return 1;
}

static int give_data(struct flv_reader *reader, struct flv_media *ret_media, enum flv_what what,
                     const struct flv_codec *codec, const uint8_t *data, size_t len) {
    give(reader, ret_media, what, codec);
    ret_media->data = data;
    ret_media->len = len;
    return 1;
}

/* --- legacy tags --- */

static int give_unsupported(struct flv_reader *reader, struct flv_media *ret_media, const char *name) {
    const struct flv_codec codec = {.name = name ? name : unknown_codecs[reader->kind].name};
    return give(reader, ret_media, FLV_UNSUPPORTED, &codec);
}

static const char *video_name(uint8_t codec) {
    static const char *const names[16] = {[2] = "Sorenson H.263", [3] = "Screen video",   [4] = "VP6",
                                          [5] = "VP6 with alpha", [6] = "Screen video 2", [13] = "AV1 as codec 13"};
    return names[codec];
}

static const char *audio_name(uint8_t format) {
    static const char *const names[16] = {
        [0] = "PCM",          [1] = "ADPCM",      [2] = "MP3",        [3] = "PCM",
        [4] = "Nellymoser",   [5] = "Nellymoser", [6] = "Nellymoser", [7] = "G.711 A-law",
        [8] = "G.711 mu-law", [11] = "Speex",     [14] = "MP3"};
    return names[format];
}

/* AVCPacketType and what follows. An access unit without bytes is nothing, wherever the tag ends. */
static int legacy_picture(struct flv_reader *reader, const struct flv_codec *codec, struct flv_media *ret_media) {
    enum { CONFIG, UNIT };
    const uint8_t *data = reader->pos;
    size_t len = (size_t)(reader->end - data);
    if (len < 1)
        return -EBADMSG;
    if (data[0] > UNIT)
        return 0;
    if (len < 4)
        return -EBADMSG;
    if (len == 4)
        return data[0] == CONFIG ? -EBADMSG : 0;
    give_data(reader, ret_media, data[0] == CONFIG ? FLV_CONFIG : FLV_FRAME, codec, data + 4, len - 4);
    ret_media->composition_ms = (int32_t)(get24(data + 1) << 8) >> 8; /* SI24 */
    return 1;
}

static int legacy_video(struct flv_reader *reader, uint8_t first, struct flv_media *ret_media) {
    reader->frame_type = first >> 4;
    if (reader->frame_type == FRAME_COMMAND)
        return 0;
    if ((first & 0x0F) == LEGACY_AVC)
        return legacy_picture(reader, &codecs[AT_H264], ret_media);
    if ((first & 0x0F) == LEGACY_HEVC)
        return legacy_picture(reader, &codecs[AT_HEVC], ret_media);
    return give_unsupported(reader, ret_media, video_name(first & 0x0F));
}

static int legacy_audio(struct flv_reader *reader, uint8_t first, struct flv_media *ret_media) {
    enum { CONFIG, RAW };
    if (first >> 4 != FORMAT_AAC)
        return give_unsupported(reader, ret_media, audio_name(first >> 4));
    const uint8_t *type = take(reader, 1);
    if (!type || *type > RAW)
        return -EBADMSG;
    size_t len = (size_t)(reader->end - reader->pos);
    if (!len)
        return 0; /* also a configuration: ffmpeg sends one that is empty before it knows what it copies from ADTS */
    return give_data(reader, ret_media, *type == CONFIG ? FLV_CONFIG : FLV_FRAME, &codecs[AT_AAC], reader->pos, len);
}

/* --- Enhanced RTMP: what stands before the tracks --- */

enum packet { PACKET_OTHER, PACKET_START, PACKET_FRAMES, PACKET_FRAMES_X, PACKET_END, PACKET_MULTITRACK, PACKET_MODEX };
enum { ONE_TRACK, MANY_TRACKS, MANY_TRACKS_MANY_CODECS, NO_MULTITRACK };

static uint8_t packet_of(enum track_kind kind, uint8_t nibble) {
    static const uint8_t packets[2][16] = {
        [TRACK_VIDEO] = {PACKET_START, PACKET_FRAMES, PACKET_END, PACKET_FRAMES_X, [6] = PACKET_MULTITRACK,
                         PACKET_MODEX},
        [TRACK_AUDIO] = {PACKET_START, PACKET_FRAMES, PACKET_END, [5] = PACKET_MULTITRACK, [7] = PACKET_MODEX},
    };
    return packets[kind][nibble & 0x0F];
}

/* One modifier and the packet type behind it. Those that nobody knows are passed over. */
static int read_modifier(struct flv_reader *reader) {
    enum { TIMESTAMP_OFFSET_NANO = 0, LONG_SIZE = 256 };
    const uint8_t *p = take(reader, 1), *data;
    if (!p)
        return -EBADMSG;
    size_t size = (size_t)p[0] + 1;
    if (size == LONG_SIZE) {
        if (!(p = take(reader, 2)))
            return -EBADMSG;
        size = (size_t)(p[0] << 8 | p[1]) + 1;
    }
    if (!(data = take(reader, size)) || !(p = take(reader, 1)))
        return -EBADMSG;
    if (p[0] >> 4 == TIMESTAMP_OFFSET_NANO) {
        if (size < 3)
            return -EBADMSG;
        uint32_t offset_ns = get24(data);
        reader->offset_ns = offset_ns <= NANOSECONDS_MAX ? offset_ns : NANOSECONDS_MAX;
    }
    reader->packet = packet_of(reader->kind, p[0]);
    return 0;
}

static int read_fourcc(struct flv_reader *reader) {
    const uint8_t *fourcc = take(reader, 4);
    if (!fourcc)
        return -EBADMSG;
    memcpy(reader->fourcc, fourcc, 4);
    reader->codec = &unknown_codecs[reader->kind];
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (codecs[i].kind == reader->kind && !memcmp(fourcc, codecs[i].fourcc, 4))
            reader->codec = &codecs[i];
    return 0;
}

static int read_multitrack(struct flv_reader *reader) {
    const uint8_t *p = take(reader, 1);
    if (!p || p[0] >> 4 > MANY_TRACKS_MANY_CODECS)
        return -EBADMSG;
    reader->multitrack = p[0] >> 4;
    reader->packet = packet_of(reader->kind, p[0]);
    if (reader->packet == PACKET_MULTITRACK || reader->packet == PACKET_MODEX)
        return -EBADMSG;
    return reader->multitrack == MANY_TRACKS_MANY_CODECS ? 0 : read_fourcc(reader);
}

/* Up to the first track. */
static int read_head(struct flv_reader *reader, uint8_t first) {
    reader->packet = packet_of(reader->kind, first);
    while (reader->packet == PACKET_MODEX)
        if (read_modifier(reader))
            return -EBADMSG;
    bool command = reader->kind == TRACK_VIDEO && reader->frame_type == FRAME_COMMAND;
    int rc = 0;
    if (!command && reader->packet == PACKET_MULTITRACK)
        rc = read_multitrack(reader);
    else if (!command && reader->packet != PACKET_OTHER)
        rc = read_fourcc(reader);
    reader->done = command || reader->packet == PACKET_OTHER;
    return rc;
}

/* --- Enhanced RTMP: tracks --- */

/* "fLaC" and the STREAMINFO block with its head, or what is left of that. */
static bool trim_flac(const uint8_t **data, size_t *len) {
    static const uint8_t head[] = {0, 0, STREAMINFO_LEN};
    if (*len >= 4 && !memcmp(*data, "fLaC", 4)) {
        *data += 4;
        *len -= 4;
    }
    if (*len >= BLOCK_HEAD + STREAMINFO_LEN && !((*data)[0] & 0x7F) && !memcmp(*data + 1, head, sizeof head)) {
        *data += BLOCK_HEAD;
        *len = STREAMINFO_LEN; /* other blocks may follow */
    }
    return *len == STREAMINFO_LEN;
}

/* The record of the box vpcC. Some leave in the box's version, 1, and flags, 0: a record with these bytes would have a
 * bit depth of 0. */
static void trim_vpcc(const uint8_t **data, size_t *len) {
    static const uint8_t version[BOX_VERSION_LEN] = {1};
    if (*len >= BOX_VERSION_LEN + VPCC_LEN && !memcmp(*data, version, sizeof version)) {
        *data += BOX_VERSION_LEN;
        *len -= BOX_VERSION_LEN;
    }
}

/* A temporal unit's delimiter says what the message does. */
static void trim_delimiter(const uint8_t **data, size_t *len) {
    enum { HEAD_MASK = 0xFE, DELIMITER_WITH_SIZE = 2 << 3 | 2 };
    if (*len >= 2 && ((*data)[0] & HEAD_MASK) == DELIMITER_WITH_SIZE && (*data)[1] == 0) {
        *data += 2;
        *len -= 2;
    }
}

static int give_config(struct flv_reader *reader, struct flv_media *ret_media, const uint8_t *data, size_t len) {
    if (!len)
        return reader->kind == TRACK_VIDEO ? -EBADMSG : 0; /* see legacy_audio */
    if (reader->codec->codec == CODEC_FLAC && !trim_flac(&data, &len))
        return -EBADMSG;
    if (reader->codec->codec == CODEC_VP9)
        trim_vpcc(&data, &len);
    return give_data(reader, ret_media, FLV_CONFIG, reader->codec, data, len);
}

static int give_frame(struct flv_reader *reader, struct flv_media *ret_media, const uint8_t *data, size_t len) {
    int32_t composition_ms = 0;
    if (reader->packet == PACKET_FRAMES && reader->codec->composed) {
        if (len < 3)
            return -EBADMSG;
        composition_ms = (int32_t)(get24(data) << 8) >> 8; /* SI24 */
        data += 3;
        len -= 3;
    }
    if (reader->codec->codec == CODEC_AV1)
        trim_delimiter(&data, &len);
    if (!len)
        return 0;
    give_data(reader, ret_media, FLV_FRAME, reader->codec, data, len);
    ret_media->composition_ms = composition_ms;
    return 1;
}

static bool is_printable(const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return len > 0;
}

/* One track's body. 0: nothing. */
static int give_track(struct flv_reader *reader, struct flv_media *ret_media, const uint8_t *data, size_t len) {
    if (!reader->codec->carried) {
        give(reader, ret_media, FLV_UNSUPPORTED, reader->codec);
        if (reader->codec == &unknown_codecs[reader->kind] && is_printable(reader->fourcc))
            ret_media->codec_name = reader->fourcc;
        return 1;
    }
    switch (reader->packet) {
    case PACKET_START:
        return give_config(reader, ret_media, data, len);
    case PACKET_FRAMES:
    case PACKET_FRAMES_X:
        return give_frame(reader, ret_media, data, len);
    case PACKET_END:
        return give(reader, ret_media, FLV_END, reader->codec);
    default:
        return 0;
    }
}

static int next_track(struct flv_reader *reader, struct flv_media *ret_media) {
    size_t size;
    const uint8_t *p, *data;
    uint8_t track = 0;
    if (reader->multitrack == MANY_TRACKS_MANY_CODECS && read_fourcc(reader))
        return -EBADMSG;
    if (reader->multitrack != NO_MULTITRACK) {
        if (!(p = take(reader, 1)))
            return -EBADMSG;
        track = p[0];
    }
    bool many = reader->multitrack == MANY_TRACKS || reader->multitrack == MANY_TRACKS_MANY_CODECS;
    if (many && !(p = take(reader, 3)))
        return -EBADMSG;
    size = many ? get24(p) : (size_t)(reader->end - reader->pos);
    if (!(data = take(reader, size)))
        return -EBADMSG;
    reader->done = reader->pos == reader->end; /* always, unless there are many */
    int rc = give_track(reader, ret_media, data, size);
    if (rc > 0)
        ret_media->track = track;
    return rc;
}

/* --- a message --- */

void flv_reader_init(struct flv_reader *reader, enum track_kind kind, const uint8_t *data, size_t len) {
    *reader = (struct flv_reader){.pos = data, .end = data + len, .kind = kind, .multitrack = NO_MULTITRACK};
}

static int begin(struct flv_reader *reader, struct flv_media *ret_media) {
    const uint8_t *first = take(reader, 1);
    reader->begun = reader->done = true;
    if (!first)
        return 0; /* silence */
    bool enhanced = reader->kind == TRACK_VIDEO ? *first & 0x80 : *first >> 4 == FORMAT_ENHANCED;
    if (!enhanced)
        return reader->kind == TRACK_VIDEO ? legacy_video(reader, *first, ret_media)
                                           : legacy_audio(reader, *first, ret_media);
    reader->frame_type = *first >> 4 & 7;
    reader->done = false;
    return read_head(reader, *first);
}

int flv_media_next(struct flv_reader *reader, struct flv_media *ret_media) {
    int rc = reader->begun ? 0 : begin(reader, ret_media);
    while (!rc && !reader->done)
        rc = next_track(reader, ret_media);
    if (rc < 0)
        reader->begun = reader->done = true;
    return rc;
}

/* --- aggregates (RTMP 1.0 §7.1.6) --- */

int flv_tag_next(const uint8_t **data, size_t *len, struct flv_tag *ret_tag) {
    const uint8_t *p = *data;
    if (!*len)
        return 0;
    if (*len < TAG_HEAD)
        return -EBADMSG;
    size_t body = get24(p + 1), left = *len - TAG_HEAD;
    if (left < body)
        return -EBADMSG;
    *ret_tag = (struct flv_tag){.type = p[0],
                                .timestamp_ms = (uint32_t)p[7] << 24 | get24(p + 4),
                                .data = p + TAG_HEAD,
                                .len = body};
    left -= body;
    left -= left < TAG_TRAILER ? left : TAG_TRAILER; /* some leave out the last one */
    *data = p + (*len - left);
    *len = left;
    return 1;
}
