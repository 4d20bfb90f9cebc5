/* Transcoding: one source decoded, scaled and encoded as H.264 for each rung of a ladder. With mux.c and sound.c the only place that includes
 * FFmpeg's libraries.
 *
 * Each frame of the source comes out once a rung, whatever happens: where the source can't be decoded the picture before is encoded
 * again, so that rungs are cut as the source is, chunk by chunk. A rung of a lower rate has the frames for which `transcode_slot.rungs` says
 * so; each lasts until the next one, and comes out when all that it stands for have been there, or the next one is. Pictures come out in the order in which they are shown, the n-th in the
 * slot of the n-th source frame: it has that frame's decoding time and place and is independent where that is, and is shown when the
 * source's n-th picture is shown. Without B-frames, and at key frames, slot and picture are of the same source frame.
 *
 * The picture's colours (range, matrix, primaries, transfer) and sample aspect are the source's. A rung's height bounds the shorter side, so
 * that "480" is a portrait picture of 480 columns; both sides are rounded to even numbers.
 *
 * Used by one thread at a time. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/codec.h"
#include "ingest/rungs.h"

enum { TRANSCODE_CONFIG_MAX = 512 };

struct transcode;

struct transcode_settings {
    struct codec_info source;
    const uint8_t *config; /* the source's; needed during transcode_create only */
    size_t config_len;
    bool reorders;       /* it has B-frames */
    uint32_t rate_milli; /* frames per 1000 s; 0: unknown */
    const char *encoder; /* as FFmpeg names it: "libx264"; likewise */
    const char *preset;  /* of libx264; likewise */
    struct rung rungs[RUNGS_MAX];
    uint32_t rung_count;
    /* For tests: called before each picture is encoded. May be NULL. */
    void (*on_encode)(void *ctx, uint32_t rung);
    void *on_encode_ctx;
};

struct transcode_output { /* what a rung is */
    uint16_t width, height;
    uint32_t peak_bps; /* what the encoder keeps to, over a second and more */
    size_t config_len;
    uint8_t config[TRANSCODE_CONFIG_MAX]; /* avcC */
};

struct transcode_slot {
    int64_t dts_ts, pts_ts; /* 90 kHz */
    uint32_t duration_ts;
    bool independent;
    uint32_t rungs;      /* mask of those that have a picture in it; an independent one all have */
    uint64_t epoch, msn; /* the rest is the caller's */
    uint32_t numbers[RUNGS_MAX];
    int64_t capture_us;
};

struct transcode_frame {
    uint32_t rung;
    struct transcode_slot slot; /* pts_ts: of the picture that is in it */
    const uint8_t *data;        /* an access unit with lengths of 4 bytes; valid during the call */
    size_t len;
};
typedef void transcode_emit_fn(void *ctx, const struct transcode_frame *frame);

/* Whether FFmpeg has an H.264 encoder of that name. It may still need hardware that isn't there. */
bool transcode_has_encoder(const char *name);

/* `key`: an independent access unit of the source, from which is learnt what it is; it has to be given to transcode_frame again. Takes as
 * long as decoding it, and opening the encoders. 0, or -EINVAL with *ret_why (static text). */
int transcode_create(const struct transcode_settings *settings, const uint8_t *key, size_t len, transcode_emit_fn *emit, void *ctx,
                     struct transcode **ret_transcode, const char **ret_why);
/* NULL is allowed. */
void transcode_destroy(struct transcode *transcode);
const struct transcode_output *transcode_output(const struct transcode *transcode, uint32_t rung);

/* The next source frame, which has passed codec_frame_ok: begins with an independent one. Emits what is encoded by it. */
void transcode_frame(struct transcode *transcode, const struct transcode_slot *slot, const uint8_t *data, size_t len);
/* Emits all that is still under way. Another independent frame may follow. */
void transcode_drain(struct transcode *transcode);

/* A rung's encoder is closed, by transcode_close or because it failed. */
bool transcode_closed(const struct transcode *transcode, uint32_t rung);
void transcode_close(struct transcode *transcode, uint32_t rung);
/* How long scaling and encoding it has taken so far. */
uint64_t transcode_busy_us(const struct transcode *transcode, uint32_t rung);
/* Source frames so far for which the picture before was encoded again. */
uint64_t transcode_repeated(const struct transcode *transcode);
