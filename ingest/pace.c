#include "ingest/pace.h"

enum {
    STEADY_US = 500000,
    PAUSE_US = 500000,
    AHEAD_US = 200000, /* of the clock, since it was looked at anew: what was kept comes in a burst */
};

void pace_note(struct pace *pace, int64_t dts_us, int64_t now_us) {
    bool paused = now_us - pace->last_us > PAUSE_US, jumps = dts_us < pace->last_dts_us;
    bool ahead = dts_us - pace->since_dts_us > now_us - pace->since_us + AHEAD_US;
    if (!pace->since_us || paused || jumps || ahead) {
        pace->since_us = now_us;
        pace->since_dts_us = dts_us;
    }
    pace->last_us = now_us;
    pace->last_dts_us = dts_us;
}

bool pace_steady(const struct pace *pace) {
    return pace->since_us && pace->last_us - pace->since_us >= STEADY_US;
}
