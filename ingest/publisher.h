/* A publisher: one broadcast as it comes in, whatever protocol carries it. A protocol session (rtmp_session.c, later srt.c)
 * opens one, hands it codec configuration and frames, and closes it. It checks the stream key, claims the stream at the
 * authority, then repairs timestamps, segments, muxes and writes (timeline.c, segmenter.c, mux.c).
 *
 * One loop; nothing here calls its user back from inside the user's call. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"
#include "common/media/writer.h"
#include "ingest/codec.h"

struct advice;
struct ingest;
struct publisher;

enum publish_result {
    PUBLISH_OK,
    PUBLISH_BAD_NAME, /* the name cannot be a stream's */
    PUBLISH_DENIED,   /* wrong or missing stream key */
    PUBLISH_BUSY,     /* somebody else is live under that name */
    PUBLISH_FULL,     /* a limit is reached */
    PUBLISH_UNREACHABLE, /* no origin can be reached */
    PUBLISH_CUT, /* the operator has ended a broadcast under that name a short while ago */
};

struct publisher_events {
    /* Once, never from inside publisher_open. After anything but PUBLISH_OK only publisher_close may follow. */
    void (*on_result)(void *ctx, enum publish_result result);
    /* The publisher must go: taken over, cut by the operator, unusable media (`why` is fit for a log and for the peer). Call publisher_close. */
    void (*on_lost)(void *ctx, const char *why);
};

/* `name` may carry a query as OBS's stream key field does: "show?key=KEY&backup=1", the stream key, and that this is the stream's backup
 * publisher, which stands by while there is another (common/media/writer.h); so is who publishes under a name that is configured as
 * another's backup. To the publisher nothing of that shows. Nor that it joins the stream of another push: "show?rung=low", "show?audio=de",
 * or a name that ends with one of the settings' suffixes (join.h). Strings are copied. */
struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                 const struct publisher_events *events, void *ctx);
/* What this node fetches itself: it needs no key. `stream`: "app/name". */
struct publisher *publisher_open_own(struct ingest *ingest, const char *stream, enum claim_rank rank, const char *peer, const struct publisher_events *events,
                                     void *ctx);

/* What the publisher says of itself before media (onMetaData); zeros where unknown. It is a hint, never trusted. */
struct publisher_metadata {
    double frame_rate;
    bool has_video, has_audio;
    bool complete; /* there are no tracks but those, so none is waited for */
    uint8_t video_tracks, audio_tracks; /* how many there are; 0: not told */
    char encoder[64];
};
void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata);

/* A track is named by its kind and the number that the publisher gives it: 0 is the default one (E-RTMP's trackId; MPEG-TS: the order
 * within the programme). */
struct publisher_config {
    enum codec codec;
    uint8_t track;
    const uint8_t *data; /* see codec_describe; copied */
    size_t len;
    char language[LANGUAGE_LEN]; /* BCP 47, such as "en"; "" unknown */
};
/* May come again, for a track that is there as for others. */
void publisher_config(struct publisher *pub, const struct publisher_config *config);

/* One access unit: H.264 and HEVC with length prefixes as their configuration says; AV1: the OBUs of a temporal unit without its delimiter;
 * VP9: a superframe; one raw AAC frame; an Opus packet; a FLAC frame. Times in microseconds on the publisher's own clock, already
 * unwrapped to 64 bits by the session; pts = dts for audio. The bytes are copied when needed. */
struct publisher_frame {
    enum track_kind kind;
    uint8_t track;
    int64_t dts_us, pts_us;
    bool independent; /* can be decoded alone, as far as the publisher says; audio: always */
    const uint8_t *data;
    size_t len;
};
void publisher_frame(struct publisher *pub, const struct publisher_frame *frame);

/* The publisher ends a track (E-RTMP's SequenceEnd, an MPEG-TS programme without it): the stream goes on without it. */
void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t track);

/* What the stream's publisher on this node is advised (ingest/advice.h); NULL: it has none. Until the loop's next turn. */
const struct advice *publisher_advice(const struct ingest *ingest, const char *stream);

/* Whether a publisher on this node writes the stream, or is about to. */
bool publisher_is_on_air(const struct ingest *ingest, const char *stream);
/* The stream is to have other subtitles (subtitles.h): from its next independent frame on. */
void publisher_subtitles_changed(struct ingest *ingest, const char *stream);

/* `clean`: the peer said goodbye. `pub` is gone, and nothing is called any more (though what is transcoded of its last pictures is still
 * written). NULL is allowed. */
void publisher_close(struct publisher *pub, bool clean);

/* Those that are closed and still have rungs to write end at once. */
void publishers_finish(struct ingest *ingest);

/* For the role's timer: notices who has fallen silent. `now_us` is the loop's. */
void publishers_sweep(struct ingest *ingest, int64_t now_us);
