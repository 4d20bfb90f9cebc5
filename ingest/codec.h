/* Codecs that weir carries, and what their configuration says. Pure.
 *
 * A configuration is avcC, hvcC, av1C, vpcC (the record, without the box's version and flags), AudioSpecificConfig, OpusHead or FLAC's
 * STREAMINFO block (34 bytes). A frame is an access unit of length-prefixed NAL units, the OBUs of a temporal unit without temporal delimiter, a VP9
 * superframe, a raw AAC frame, an Opus packet or a FLAC frame. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"

enum {
    CODEC_SIZE_MIN = 16, /* of pictures: pixels */
    CODEC_SIZE_MAX = 8192,
    CODEC_FPS_MILLI_MAX = 300000, /* what announces more is not believed */
};

enum codec { CODEC_H264, CODEC_HEVC, CODEC_AV1, CODEC_VP9, CODEC_AAC, CODEC_OPUS, CODEC_FLAC };

struct codec_info {
    enum codec codec;
    enum track_kind kind;
    char codecs[CODECS_LEN];        /* RFC 6381 */
    uint16_t width, height;         /* video; VP9: 0 until a frame says, see codec_info_renew */
    enum video_range range;         /* video: by its transfer characteristics */
    uint32_t fps_milli;             /* video: announced by the configuration; 0 unknown */
    uint8_t nal_length_size;        /* H.264, HEVC */
    bool has_reorder_hints;         /* H.264: see h264.h */
    uint32_t sample_rate, channels; /* audio */
    uint32_t frame_samples;         /* audio: samples a frame at sample_rate; Opus: 960 until frames say otherwise; FLAC: the block size, of all but the last */
};

/* 0, or -EBADMSG (malformed, out of range) or -ENOTSUP (a codec, or a use of it, that isn't carried) with *ret_why (static text, fit
 * for the publisher). */
int codec_describe(enum codec codec, const uint8_t *config, size_t len, struct codec_info *ret_info, const char **ret_why);

/* Whether a frame is well formed as far as can be told without decoding. `independent`: in, what the publisher says; out, what is so. */
bool codec_frame_ok(const struct codec_info *info, const uint8_t *data, size_t len, bool *independent);

/* VP9's configuration doesn't say how large pictures are, key frames do: a frame that codec_frame_ok found independent is shown to this
 * before the track's init is made. True when *info became another (a size that changes is another init, as a configuration that does).
 * Other codecs' frames say nothing new. */
bool codec_info_renew(struct codec_info *info, const uint8_t *data, size_t len);

/* Samples of an audio frame at info's sample_rate (Opus, FLAC: from its header; AAC: info's). 0: malformed. */
uint32_t codec_frame_samples(const struct codec_info *info, const uint8_t *data, size_t len);

/* What goes into the init segment: the configuration, or one in its place that says that pictures are never reordered.
 * `config` has passed codec_describe. Returns the length, -ENOBUFS or -EBADMSG. */
int codec_init_config(const struct codec_info *info, const uint8_t *config, size_t len, bool reorders, uint8_t *out, size_t size);

/* "H.264", "HEVC", … for logs. */
const char *codec_name(enum codec codec);
