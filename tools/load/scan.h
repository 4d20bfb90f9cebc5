/* Reads a fragmented MP4 as it comes, in pieces of any size, and says what a viewer measures: when each chunk was
 * captured, its media time, and that it is whole. Keeps no media; of a movie header only what it looks for. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCAN_TRACKS_MAX = 8 };

struct scan_chunk {
    bool lead;           /* of the first track of the init */
    int64_t capture_us;  /* UTC, of prft; 0 when there was none */
    int64_t media_us;    /* likewise; 0 when no init was seen */
};

struct scan {
    void (*on_chunk)(void *ctx, const struct scan_chunk *chunk); /* its mdat has ended */
    void *ctx;
    uint8_t kept[32]; /* a box's header, or the start of its content */
    uint8_t kept_len, wanted;
    uint8_t state;
    bool broken;        /* not boxes: nothing is said any more */
    uint32_t type;      /* of the box that is being read */
    uint64_t remaining; /* of its content */
    uint32_t track_id; /* of tkhd */
    uint8_t tracks;
    struct {
        uint32_t id, timescale;
    } track[SCAN_TRACKS_MAX];
    uint32_t prft_track;
    uint64_t prft_ntp, prft_media_ts;
};

void scan_init(struct scan *scan, void (*on_chunk)(void *ctx, const struct scan_chunk *chunk), void *ctx);
/* Begins a new object; what an init said is kept. */
void scan_restart(struct scan *scan);
void scan_feed(struct scan *scan, const uint8_t *data, size_t len);
