/* Whether media come as they are made. A publisher that was silent often sends at once what it has kept meanwhile: media from the past, with
 * which nothing should begin that has its own place in time. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct pace {
    int64_t since_us, since_dts_us; /* where it was looked at anew; 0: never */
    int64_t last_us, last_dts_us;
};

/* A frame of one track, in order of decoding: its time on the publisher's clock, and when it came. */
void pace_note(struct pace *pace, int64_t dts_us, int64_t now_us);
/* They have for half a second, and without a pause as long. */
bool pace_steady(const struct pace *pace);
