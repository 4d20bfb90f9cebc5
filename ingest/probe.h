/* What a stream is: the first frames are held back until it is known which tracks there are, their frame rates and whether
 * pictures are reordered, all of which must stand in the init segment and playlists from the first byte. As a rule that
 * takes three video frames. Pure but for memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/publisher.h"

enum { PROBE_FRAMES_MAX = 1024, PROBE_BYTES_MAX = 16 << 20 };

struct probe_frame {
    struct publisher_frame frame; /* data is owned */
    int64_t arrived_us;
};

/* What was collected of a track; of video from its first independent frame on. */
struct probe_track {
    enum track_kind kind;
    uint8_t number;
    uint32_t count;
    bool reorders;
    int64_t start_dts_us, end_dts_us; /* first and last frame, on the publisher's clock */
    int64_t arrived_us;               /* the first one (UTC) */
    uint32_t rate_milli;              /* after PROBE_READY, video: frames per 1000 s; 0: they keep to no rate */
};

struct probe {
    struct probe_frame *frames;
    uint32_t count, taken, cap;
    size_t bytes;
    uint32_t track_count;
    struct probe_track tracks[TRACKS_MAX];
    int64_t first_arrived_us;
};

/* A track whose configuration was seen. */
struct probe_known_track {
    enum track_kind kind;
    uint8_t number;
    uint32_t rate_milli; /* as its configuration says; 0 unknown */
};

struct probe_known {
    uint32_t track_count;
    struct probe_known_track tracks[TRACKS_MAX];
    bool video_announced, audio_announced;
    bool announced_all; /* what isn't announced won't come */
    uint32_t video_tracks, audio_tracks; /* how many are announced; 0: not told */
    double metadata_rate;
};

enum probe_verdict { PROBE_MORE, PROBE_READY, PROBE_HOPELESS };

/* Takes a copy. Video before a track's first independent frame is left out, and so is what is of more than TRACKS_MAX tracks. */
void probe_push(struct probe *probe, const struct publisher_frame *frame, int64_t now_us);
/* READY: all known tracks of which there is something can be begun with. Of those of which there is nothing, video was waited for in vain. */
enum probe_verdict probe_check(struct probe *probe, const struct probe_known *known, int64_t now_us);
/* NULL: there is nothing of it. */
const struct probe_track *probe_track(const struct probe *probe, enum track_kind kind, uint8_t number);
/* Its first frame; NULL: likewise. Valid until the probe changes. */
const struct publisher_frame *probe_first(const struct probe *probe, enum track_kind kind, uint8_t number);
/* The frames, one after the other; `ret_frame` is valid until probe_taken. */
bool probe_take(struct probe *probe, struct publisher_frame *ret_frame, int64_t *ret_arrived_us);
void probe_taken(struct probe *probe);
/* Leaves out what is before that time, on the publisher's clock. */
void probe_trim(struct probe *probe, int64_t from_dts_us);
void probe_reset(struct probe *probe);
