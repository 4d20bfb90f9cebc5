/* One track's CMAF muxer: frames in, init segment and chunks out. The only place that includes libavformat.
 *
 * The caller has sanitised timing (timeline.h): within a track, dts_ts of a frame >= dts_ts + duration_ts of the frame
 * before. mux_chunk checks it and refuses with -EINVAL rather than let libavformat guess (it would drop pts). It
 * refuses, too, what libavformat can't do exactly: a jump of more than 2^30 ticks (3.3 h of video) needs a new muxer.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"
#include "common/media/record.h"
#include "ingest/codec.h"

enum { MUX_CONFIG_MAX = 4096 }; /* bytes of a configuration */

struct mux;

struct mux_frame {
    int64_t dts_ts, pts_ts; /* track timescale since the Unix epoch; pts >= dts */
    uint32_t duration_ts;   /* > 0, never more than the distance to the next frame's dts */
    bool independent;
    const uint8_t *data;
    size_t len;
};

/* `info` gives kind, track_id, timescale, width, height, sample_rate, channels; `config` is what codec.h says (validated by
 * the caller). On success *ret_init is the init segment (ftyp + moov, no duration), the caller's reference. 0 or
 * negative errno. */
int mux_create(const struct track_info *info, enum codec codec, const uint8_t *config, size_t config_len,
               struct mux **ret_mux, struct blob **ret_init);
/* One chunk of 1..192 frames. `capture_us` (UTC) goes into its prft box (only when > 0). *ret_body is the slice from
 * prft (or moof) to the end of mdat, inside a blob laid out as "[h1 chunk size]\r\n" body "\r\n"; the caller's
 * reference. 0 or negative errno. */
int mux_chunk(struct mux *mux, const struct mux_frame *frames, size_t count, int64_t capture_us,
              struct slice *ret_body);
/* libavformat failed on a chunk half-way: it takes no more. */
bool mux_broken(const struct mux *mux);
/* NULL is allowed. */
void mux_destroy(struct mux *mux);
