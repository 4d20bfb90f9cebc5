#include "ingest/flv.h"

#include <errno.h>
#include <string.h>

enum {
    CODEC_AVC = 7,
    FORMAT_ENHANCED = 9,
    FORMAT_AAC = 10,
    FRAME_KEY = 1,
    FRAME_COMMAND = 5,
    TAG_HEAD = 11,
    TAG_TRAILER = 4, /* "previous tag size" */
};

struct name {
    const char *fourcc, *text;
};

static uint32_t get24(const uint8_t *p) {
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* --- what else it may be --- */

static const char *enhanced_name(const struct name *names, size_t count, const uint8_t *data, size_t len,
                                 const char *other) {
    for (size_t i = 0; i < count && len >= 5; i++)
        if (!memcmp(data + 1, names[i].fourcc, 4))
            return names[i].text;
    return other;
}

static const char *enhanced_video_name(const uint8_t *data, size_t len) {
    static const struct name names[] = {{"avc1", "H.264 as enhanced RTMP"}, {"hvc1", "HEVC (enhanced RTMP)"},
                                        {"vvc1", "VVC (enhanced RTMP)"},    {"av01", "AV1 (enhanced RTMP)"},
                                        {"vp08", "VP8 (enhanced RTMP)"},    {"vp09", "VP9 (enhanced RTMP)"}};
    return enhanced_name(names, sizeof names / sizeof *names, data, len, "enhanced RTMP video");
}

static const char *enhanced_audio_name(const uint8_t *data, size_t len) {
    static const struct name names[] = {{"mp4a", "AAC as enhanced RTMP"}, {"Opus", "Opus (enhanced RTMP)"},
                                        {"fLaC", "FLAC (enhanced RTMP)"}, {".mp3", "MP3 (enhanced RTMP)"},
                                        {"ac-3", "AC-3 (enhanced RTMP)"}, {"ec-3", "E-AC-3 (enhanced RTMP)"}};
    return enhanced_name(names, sizeof names / sizeof *names, data, len, "enhanced RTMP audio");
}

static const char *video_name(uint8_t codec) {
    static const char *const names[16] = {[2] = "Sorenson H.263", [3] = "Screen video",   [4] = "VP6",
                                          [5] = "VP6 with alpha", [6] = "Screen video 2", [12] = "HEVC as codec 12"};
    return names[codec] ? names[codec] : "unknown video";
}

static const char *audio_name(uint8_t format) {
    static const char *const names[16] = {
        [0] = "PCM",          [1] = "ADPCM",      [2] = "MP3",        [3] = "PCM",
        [4] = "Nellymoser",   [5] = "Nellymoser", [6] = "Nellymoser", [7] = "G.711 A-law",
        [8] = "G.711 mu-law", [11] = "Speex",     [14] = "MP3"};
    return names[format] ? names[format] : "unknown audio";
}

static int unsupported(const char *codec, const char **ret_codec) {
    *ret_codec = codec;
    return -ENOTSUP;
}

/* --- media --- */

/* AVCPacketType and what follows. An access unit without bytes is nothing, wherever the tag ends. */
static int avc_parse(const uint8_t *data, size_t len, struct flv_media *ret_media) {
    enum { CONFIG, UNIT };
    if (len < 2)
        return -EBADMSG;
    if (data[1] > UNIT)
        return 0;
    if (len < 5)
        return -EBADMSG;
    if (len == 5)
        return data[1] == CONFIG ? -EBADMSG : 0;
    ret_media->what = data[1] == CONFIG ? FLV_CONFIG : FLV_FRAME;
    ret_media->independent = data[0] >> 4 == FRAME_KEY;
    ret_media->composition_ms = (int32_t)(get24(data + 2) << 8) >> 8; /* SI24 */
    ret_media->data = data + 5;
    ret_media->len = len - 5;
    return 0;
}

int flv_video_parse(const uint8_t *data, size_t len, struct flv_media *ret_media, const char **ret_codec) {
    *ret_media = (struct flv_media){.what = FLV_NOTHING};
    if (!len)
        return 0;
    if (data[0] & 0x80)
        return unsupported(enhanced_video_name(data, len), ret_codec);
    if (data[0] >> 4 == FRAME_COMMAND)
        return 0;
    if ((data[0] & 0x0F) != CODEC_AVC)
        return unsupported(video_name(data[0] & 0x0F), ret_codec);
    return avc_parse(data, len, ret_media);
}

static int aac_parse(const uint8_t *data, size_t len, struct flv_media *ret_media) {
    enum { CONFIG, RAW };
    if (len < 2 || data[1] > RAW)
        return -EBADMSG;
    if (len == 2)
        return 0; /* also a configuration: ffmpeg sends one that is empty before it knows what it copies from ADTS */
    ret_media->what = data[1] == CONFIG ? FLV_CONFIG : FLV_FRAME;
    ret_media->independent = true;
    ret_media->data = data + 2;
    ret_media->len = len - 2;
    return 0;
}

int flv_audio_parse(const uint8_t *data, size_t len, struct flv_media *ret_media, const char **ret_codec) {
    *ret_media = (struct flv_media){.what = FLV_NOTHING};
    if (!len)
        return 0;
    uint8_t format = data[0] >> 4;
    if (format == FORMAT_ENHANCED)
        return unsupported(enhanced_audio_name(data, len), ret_codec);
    if (format != FORMAT_AAC)
        return unsupported(audio_name(format), ret_codec);
    return aac_parse(data, len, ret_media);
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
