/* Which rungs a stream's ladder has: the setting ingest.ladder. Pure.
 *
 * An entry is a pattern and its rungs, "live/a* 480:1200 240@15:150:veryfast" or "live/show auto". A rung is HEIGHT@FPS:KBPS:PRESET: the
 * height of the picture (of its shorter side), how many pictures a second it has at most, kilobits a second, and x264's preset; FPS and
 * PRESET may be left out. "none" is a ladder without rungs, for streams that a wider pattern would give one.
 *
 * A rung has each picture of the source, or each second, fourth or eighth: its rate is the source's, halved until it isn't above FPS. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    RUNGS_MAX = 5,
    RUNG_HEIGHT_MIN = 90,
    RUNG_HEIGHT_MAX = 2160,
    RUNG_KBPS_MIN = 30,
    RUNG_KBPS_MAX = 50000,
    RUNG_FPS_MIN = 5,
    RUNG_FPS_MAX = 120,
    RUNG_EVERY_MAX = 8,
};

struct rung {
    uint16_t height;
    uint32_t kbps;
    uint16_t fps;       /* as it is configured; 0: the source's */
    uint8_t every;      /* it has each, each second … of the source's pictures; 0: each */
    const char *preset; /* of libx264; NULL: as ladders have it. Static text */
};

/* The ladder of that stream, whose picture's shorter side is `short_side`: rungs that are not below it are left out. `rate_milli`: the
 * picture's frames per 1000 s; 0: unknown, and none are left out then. The entry counts that names the stream most closely. Returns
 * their number, highest first. */
uint32_t rungs_choose(char *const *entries, uint32_t entry_count, const char *stream, uint32_t short_side, uint32_t rate_milli,
                      struct rung rungs[RUNGS_MAX]);
/* Whether the stream has a ladder at all. */
bool rungs_wanted(char *const *entries, uint32_t entry_count, const char *stream);
