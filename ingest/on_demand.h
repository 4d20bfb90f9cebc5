/* Rungs that run only while somebody asks for them: each has a ladder (ladder.h) of its own while it does, and so a decoder. What an asleep rung
 * costs is the source's access units since the segment before the one under way: whoever asks for it gets it from there on, as fast as they are
 * transcoded, so that there is a whole segment to begin with and the switch leaves no hole. A rung stops where a segment begins, at the first
 * beginning after nobody has asked for it for the time that is set.
 *
 * One loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/ladder.h"

struct loop;
struct on_demand;

enum { ON_DEMAND_FRAMES_MAX = 400, ON_DEMAND_BYTES_MAX = 16 << 20 }; /* kept; of key frames further apart than that, rungs begin at the next */

/* All on the loop; on_demand_destroy may be called within them but for on_here with `here`. Rungs are told by their index. */
struct on_demand_port {
    void *ctx;
    /* From the segment `msn` on all of its pictures will come; or (not `here`) none will, and none is under way. */
    void (*on_here)(void *ctx, uint32_t rung, bool here, uint64_t msn);
    void (*on_frame)(void *ctx, const struct transcode_frame *frame);
    /* It can't go on, and won't be begun again. `why` is static text. */
    void (*on_dropped)(void *ctx, uint32_t rung, const char *why);
    void (*on_drained)(void *ctx); /* after on_demand_drain */
};

/* All of `settings` is copied. `outputs`: what its rungs were announced as. */
struct on_demand *on_demand_create(struct loop *loop, const struct transcode_settings *settings, const struct transcode_output *outputs,
                                   int64_t linger_us, const struct on_demand_port *port);
/* NULL is allowed. */
void on_demand_destroy(struct on_demand *demand);
/* Each source frame, and which rungs are asked for, as a mask. */
void on_demand_push(struct on_demand *demand, const struct transcode_slot *slot, const uint8_t *data, size_t len, uint32_t asked);
/* No more frames follow. False: nothing is under way. */
bool on_demand_drain(struct on_demand *demand);
