/* What a stream is: the first frames are held back until it is known which tracks there are, the frame rate and whether
 * pictures are reordered, all of which must stand in the init segment and playlists from the first byte. As a rule that
 * takes three video frames. Pure but for memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/publisher.h"

enum { PROBE_FRAMES_MAX = 256, PROBE_BYTES_MAX = 8 << 20 };

struct probe_frame {
    struct publisher_frame frame; /* data is owned */
    int64_t arrived_us;
};

struct probe {
    struct probe_frame frames[PROBE_FRAMES_MAX];
    uint32_t count, taken;
    size_t bytes;
    uint32_t video_count, audio_count; /* collected; video from the first independent frame on */
    bool b_frames;
    int64_t first_arrived_us;
    uint32_t rate_milli;
};

struct probe_known {
    bool video_config, audio_config, video_announced, audio_announced;
    bool announced_all; /* what isn't announced won't come */
    double metadata_rate;
    uint32_t sps_rate_milli;
};

enum probe_verdict { PROBE_MORE, PROBE_READY, PROBE_HOPELESS };

/* Takes a copy. Video before the first independent frame is left out. */
void probe_push(struct probe *probe, const struct publisher_frame *frame, int64_t now_us);
enum probe_verdict probe_check(struct probe *probe, const struct probe_known *known, int64_t now_us);
/* After PROBE_READY. Frames per 1000 s: the nominal rate that the frames keep to, 0 when they keep to none. */
uint32_t probe_rate_milli(const struct probe *probe);
/* The leading track's first frame: its time on the publisher's clock, and when it arrived (UTC). */
int64_t probe_start_dts_us(const struct probe *probe, bool has_video);
int64_t probe_start_us(const struct probe *probe, bool has_video);
/* The frames, one after the other; `ret_frame` is valid until probe_taken. */
bool probe_take(struct probe *probe, struct publisher_frame *ret_frame, int64_t *ret_arrived_us);
void probe_taken(struct probe *probe);
void probe_reset(struct probe *probe);
