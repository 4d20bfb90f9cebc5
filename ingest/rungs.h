/* Which rungs a stream's ladder has: the setting ingest.ladder. Pure.
 *
 * An entry is a pattern and its rungs, "live/a* 480:1200 240:150" or "live/show auto": the height of the picture (of its shorter side) and
 * kilobits a second. "none" is a ladder without rungs, for streams that a wider pattern would give one. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    RUNGS_MAX = 5,
    RUNG_HEIGHT_MIN = 90,
    RUNG_HEIGHT_MAX = 2160,
    RUNG_KBPS_MIN = 30,
    RUNG_KBPS_MAX = 50000,
};

struct rung {
    uint16_t height;
    uint32_t kbps;
};

/* The ladder of that stream, whose picture's shorter side is `short_side`: rungs that are not below it are left out. The entry counts
 * that names the stream most closely. Returns their number, highest first. */
uint32_t rungs_choose(char *const *entries, uint32_t entry_count, const char *stream, uint32_t short_side, struct rung rungs[RUNGS_MAX]);
/* Whether the stream has a ladder at all. */
bool rungs_wanted(char *const *entries, uint32_t entry_count, const char *stream);
