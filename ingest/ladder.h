/* A ladder: the rungs of one publisher's picture, transcoded (transcode.h) in a thread of its own. Frames go in and rungs' frames come back
 * on the loop, both in order; there is no lock on the way of the picture that is passed through, and nothing waits for a rung.
 *
 *   ladder_create   the thread decodes the key frame that it is given, opens encoders, and says what they are: on_ready
 *   ladder_push     each source frame; on_frame for each rung that runs
 *   ladder_drain    after the last one: all that is under way comes, then on_drained; ladder_push may go on with an independent frame
 *   ladder_destroy  at any time; nothing is called after it, and nothing waits for the thread, which ends when it is through with the picture of
 *                   one rung, or the opening of one encoder, that it is at
 *   ladders_wait    at the loop's end
 *
 * A machine that can't keep up loses rungs, never time: when frames wait for longer than LADDER_LATE_MS over a second, the rung that takes
 * most of the thread's time is dropped, and one more each two seconds until they don't. A dropped rung does not come back in this ladder.
 *
 * The thread runs at a lower priority than the loop and the workers, where that is allowed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/transcode.h"

struct ladder;
struct loop;

enum { LADDER_LATE_MS = 500, LADDER_FRAMES_MAX = 512, LADDER_BYTES_MAX = 32 << 20, LADDERS_ENDING_MAX = 16 };

struct ladder_events {
    /* Once. `why` (static text) if not NULL: there are no rungs, and only ladder_destroy may follow. */
    void (*on_ready)(void *ctx, const struct transcode_output *outputs, const char *why);
    void (*on_frame)(void *ctx, const struct transcode_frame *frame);
    /* No frame of it comes any more. `why` is static text. */
    void (*on_dropped)(void *ctx, uint32_t rung, const char *why);
    void (*on_drained)(void *ctx);
};

/* `settings` and `key` are copied. The callbacks come on the loop's thread, never from inside a call; ladder_destroy may be called within
 * them. While LADDERS_ENDING_MAX threads of destroyed ladders haven't ended the new one's doesn't begin. All ladders of a process are of one
 * thread. */
struct ladder *ladder_create(struct loop *loop, const struct transcode_settings *settings, const uint8_t *key, size_t len,
                             const struct ladder_events *events, void *ctx);
/* Takes a copy. More waiting than LADDER_FRAMES_MAX or LADDER_BYTES_MAX drops all rungs. */
void ladder_push(struct ladder *ladder, const struct transcode_slot *slot, const uint8_t *data, size_t len);
void ladder_drain(struct ladder *ladder);
/* Returns at once; what the thread still holds is given back by the loop when it has ended. NULL is allowed. */
void ladder_destroy(struct ladder *ladder);
/* Waits for the threads of this loop's ladders, all of which must have been destroyed, and gives back what is left of them. */
void ladders_wait(struct loop *loop);
void ladder_metrics_register(void);
