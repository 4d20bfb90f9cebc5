/* Records: what a feed is made of (design: docs/architecture.md). A writer makes them, the hub numbers and checks them,
 * every subscriber applies them to its own store. A record is immutable once written and reference counted with an atomic
 * counter; one copy serves all threads.
 *
 * Time is UTC: `_us` values are microseconds, `_ts` values ticks of the track's timescale, both since the Unix epoch. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/blob.h"
#include "common/base/language_names.h"
#include "common/media/name.h"

enum { CODECS_LEN = 48, NODE_NAME_LEN = 64, PATH_NODES_MAX = 8 };

enum track_kind {
    TRACK_VIDEO,
    TRACK_AUDIO,
    TRACK_TEXT, /* subtitles (common/media/vtt.h): one chunk a part, always */
};
enum video_range { VIDEO_SDR, VIDEO_HLG, VIDEO_PQ };

struct track_info {
    char name[4]; /* "v0", "a0", "s0" */
    enum track_kind kind;
    uint32_t track_id;      /* in moov and moof; unique in the stream */
    uint32_t timescale;     /* ticks a second */
    char codecs[CODECS_LEN]; /* RFC 6381, for CODECS= */
    char language[LANGUAGE_LEN]; /* BCP 47; "" unknown */
    char label[LABEL_LEN]; /* what players call it, without quotes and control characters; "" unknown */
    uint16_t width, height; /* video */
    uint32_t frame_rate_milli; /* video: frames per 1000 s, 29970; 0 unknown */
    enum video_range range;    /* video */
    uint32_t peak_bps; /* transcoded: what it has at most by what its encoder keeps to, bits a second, boxes and all; 0: it can only be measured */
    bool on_demand; /* it is made only while somebody asks for it */
    uint32_t sample_rate, channels; /* audio */
    bool low; /* audio: of a low rate, for the lowest variant, and no choice of its own beside the first audio track */
    uint32_t init_version;  /* the n of init-n.mp4: grows by one whenever `init` changes */
    struct blob *init;      /* ftyp + moov of this track alone; the record holds the reference */
};

enum record_type {
    RECORD_OPEN,  /* the tracks from here on; first record of an epoch, which is over when a track changes */
    RECORD_CHUNK, /* one moof+mdat of one track */
    RECORD_PART,  /* a part is closed */
    RECORD_STATE, /* live, stalled, away, ended */
    RECORD_PATH,  /* the nodes that the stream comes through; no part of the stream itself */
    RECORD_TRACK, /* whether this node has a track; likewise */
};

enum track_presence {
    TRACK_HERE,    /* parts wait for its chunks */
    TRACK_JOINING, /* its chunks come, but parts don't wait: they are behind, until they have caught up; a late track's always are */
    TRACK_ABSENT,  /* of new segments there are none */
};

enum stream_state {
    STREAM_LIVE,
    STREAM_STALLED, /* connected, but silent for longer than the stall limit */
    STREAM_AWAY,    /* the publisher is gone and may come back within the grace time */
    STREAM_ENDED,   /* over: ENDLIST */
};

enum {
    CHUNK_INDEPENDENT = 1, /* begins with a frame that can be decoded alone */
};

enum {
    PART_INDEPENDENT = 1,   /* the first track has an independent frame in it (audio-only streams: always) */
    PART_LAST = 2,          /* last of its segment */
    PART_DISCONTINUITY = 4, /* first of a segment that begins with EXT-X-DISCONTINUITY */
};

struct record_open {
    uint32_t target_duration_ms; /* the same for the life of a stream */
    uint32_t part_target_us;     /* likewise */
    uint32_t track_count;
    struct track_info tracks[TRACKS_MAX];
    uint32_t absent; /* mask of tracks that this node does not have when it begins; the others are here */
    uint32_t late;   /* mask of tracks whose chunks come after the parts that count them: nothing waits for them, anywhere */
};

struct record_chunk {
    uint8_t track;   /* index into the open record's tracks */
    uint8_t flags;   /* CHUNK_* */
    uint64_t msn;    /* segment that it belongs to */
    uint32_t number; /* within the track and the segment, from 0 */
    uint32_t duration_ts;
    int64_t dts_ts;  /* = tfdt */
    int64_t capture_us; /* UTC when its first frame reached us */
    struct slice body;  /* prft? moof mdat; the record holds the reference. The blob around it also has the h1 chunk
                           size line before and CRLF after, for continuous viewers */
};

struct record_part_track {
    uint32_t chunks;      /* chunks of this track in the part, consecutive after those of the part before */
    uint32_t duration_ts; /* from the part's start to its end in this track's own samples, as playlists print it */
    uint32_t bytes;       /* of these chunks' bodies: rates are told by nodes that don't have them, too. Of a late track: of those that came
                             since the part before */
    bool independent;     /* one of them begins with a frame that can be decoded alone */
};

struct record_part {
    uint64_t number, msn;
    uint32_t index; /* within its segment, from 0 */
    uint32_t flags; /* PART_* */
    int64_t start_us; /* media time of its first sample */
    int64_t wall_us;  /* capture time of its first sample, for PROGRAM-DATE-TIME */
    uint32_t discontinuity_sequence; /* discontinuities of the stream so far, its own segment's included */
    struct record_part_track tracks[TRACKS_MAX];
};

struct record_path {
    uint32_t count;
    char nodes[PATH_NODES_MAX][NODE_NAME_LEN]; /* nearest first */
};

struct record_track {
    uint8_t track;
    enum track_presence presence;
    uint64_t msn; /* joining: the first segment of which its chunks come, all of them */
};

struct record {
    atomic_uint refs;
    enum record_type type;
    uint64_t epoch;
    const char *stream; /* "app/name", in the same allocation */
    union { /* allocated no larger than the type needs: there are dozens of chunk records a second and stream */
        struct record_open open;
        struct record_chunk chunk;
        struct record_part part;
        struct record_path path;
        struct record_track track;
        struct {
            enum stream_state state;
        } state;
    };
};

/* A zeroed record with one reference. */
struct record *record_create(enum record_type type, const char *stream, uint64_t epoch);
/* Bytes of a record of that type, its stream's name left out. */
size_t record_size(enum record_type type);
struct record *record_ref(struct record *record);
/* NULL is allowed; the last reference drops the blobs within. */
void record_unref(struct record *record);
const char *video_range_name(enum video_range range); /* as playlists have it: "PQ" */
const char *stream_state_name(enum stream_state state);
