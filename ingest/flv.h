/* The headers of FLV audio and video tags (Video File Format Specification 10.1, annex E.4), as they stand at the front
 * of RTMP's media messages, and the tags within an aggregate message. Pure; what is returned points into the input.
 *
 * H.264 and AAC. Other codecs, and all of Enhanced RTMP's headers, are told apart by name, so that a publisher can be
 * told what is wrong. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flv_what {
    FLV_NOTHING, /* nothing to be done: commands, end of sequence, silence */
    FLV_CONFIG,  /* avcC, AudioSpecificConfig */
    FLV_FRAME,   /* one access unit */
};

struct flv_media {
    enum flv_what what;
    bool independent;       /* what the publisher calls a key frame; audio: always */
    int32_t composition_ms; /* pts - dts; audio: 0 */
    const uint8_t *data;
    size_t len;
};

/* 0; -EBADMSG: malformed; -ENOTSUP: another codec, and *ret_codec (static text) says which. */
int flv_video_parse(const uint8_t *data, size_t len, struct flv_media *ret_media, const char **ret_codec);
int flv_audio_parse(const uint8_t *data, size_t len, struct flv_media *ret_media, const char **ret_codec);

struct flv_tag {
    uint8_t type; /* as RTMP's message types: 8 audio, 9 video, 18 data */
    uint32_t timestamp_ms;
    const uint8_t *data;
    size_t len;
};

/* Takes the tag at the front of what is left of an aggregate's body. 1: a tag; 0: the end; -EBADMSG. */
int flv_tag_next(const uint8_t **data, size_t *len, struct flv_tag *ret_tag);
