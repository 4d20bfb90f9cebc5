/* FLV audio and video tags (Video File Format Specification 10.1, annex E.4; Enhanced RTMP v2, "Enhanced Audio" and "Enhanced
 * Video"), as they stand in RTMP's media messages, and the tags within an aggregate message. Pure; what is returned points into
 * the input.
 *
 * A message of Enhanced RTMP may hold several tracks, so media are read from it one by one. What says nothing to us is passed over:
 * commands, silence, colour metadata, channel maps, MPEG-2 TS descriptors, and types of packets that nobody knows yet. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"
#include "ingest/codec.h"

enum flv_what {
    FLV_CONFIG,      /* what codec_describe takes */
    FLV_FRAME,       /* what publisher_frame takes */
    FLV_END,         /* the track has ended; there are no data */
    FLV_UNSUPPORTED, /* of a codec that weir doesn't carry: only `track` and `codec_name` are of use */
};

struct flv_media {
    enum flv_what what;
    enum codec codec;
    const char *codec_name; /* for the publisher; lives as long as the reader, until the next call */
    uint8_t track;          /* 0: the default one */
    bool independent;       /* what the publisher calls a key frame; audio: always */
    int32_t composition_ms; /* pts - dts; audio: 0 */
    uint32_t offset_ns;     /* by which it is shown later than the message's time says; below a millisecond */
    const uint8_t *data;
    size_t len;
};

/* A place in a message's body. For flv.c alone. */
struct flv_reader {
    const uint8_t *pos, *end;
    enum track_kind kind;
    bool begun, done;
    uint8_t packet, frame_type, multitrack;
    uint32_t offset_ns;
    const struct flv_codec *codec;
    char fourcc[5]; /* of one that nobody knows */
};

void flv_reader_init(struct flv_reader *reader, enum track_kind kind, const uint8_t *data, size_t len);
/* The next media of the message. 1: there is one; 0: the end; -EBADMSG: malformed from here on. */
int flv_media_next(struct flv_reader *reader, struct flv_media *ret_media);

struct flv_tag {
    uint8_t type; /* as RTMP's message types: 8 audio, 9 video, 18 data */
    uint32_t timestamp_ms;
    const uint8_t *data;
    size_t len;
};

/* Takes the tag at the front of what is left of an aggregate's body. 1: a tag; 0: the end; -EBADMSG. */
int flv_tag_next(const uint8_t **data, size_t *len, struct flv_tag *ret_tag);
