#include "ingest/join_clock.h"

#include <stdlib.h>

enum {
    BLOCK_US = 10000000,
    JUMP_US = 1000000,     /* of a clock, while no time went by: what was measured is void */
    SHARED_US = 1000000,   /* stamped alike: encoders and ways may differ by that */
    PARTED_US = 5000000,   /* they were, and are no more */
    DRIFT_STEP_US = 60000, /* less is noise */
};

static int64_t least(const struct join_lateness *lateness) {
    return lateness->block_us < lateness->before_us ? lateness->block_us : lateness->before_us;
}

void join_lateness_note(struct join_lateness *lateness, int64_t dts_us, int64_t now_us) {
    int64_t late_us = now_us - dts_us;
    bool jumped = lateness->started && (dts_us < lateness->last_us - JUMP_US || late_us < least(lateness) - JUMP_US);
    if (!lateness->started || jumped)
        *lateness = (struct join_lateness){true, dts_us, now_us + BLOCK_US, late_us, INT64_MAX};
    if (now_us >= lateness->block_end_us) {
        lateness->before_us = lateness->block_us;
        lateness->block_us = late_us;
        lateness->block_end_us = now_us + BLOCK_US;
    }
    if (late_us < lateness->block_us)
        lateness->block_us = late_us;
    lateness->last_us = dts_us;
}

void join_clock_begin(struct join_clock *clock, const struct join_lateness *lead, int64_t now_us) {
    int64_t shift_us = least(&clock->own) - least(lead);
    clock->begun = true;
    clock->shared = llabs(shift_us) < SHARED_US;
    clock->shift_us = clock->shared ? 0 : shift_us;
    clock->looked_us = now_us;
}

bool join_clock_follow(struct join_clock *clock, const struct join_lateness *lead, int64_t now_us) {
    int64_t shift_us = least(&clock->own) - least(lead), change_us = llabs(shift_us - clock->shift_us);
    bool jumped = change_us > PARTED_US, due = now_us - clock->looked_us >= BLOCK_US;
    if (!jumped && (clock->shared || !due || change_us < DRIFT_STEP_US))
        return false;
    clock->looked_us = now_us;
    clock->shared = false;
    clock->shift_us = shift_us;
    return jumped;
}
