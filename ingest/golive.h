/* OBS's Enhanced Broadcasting ("GoLive"): before it streams, OBS posts what it can do and asks what to encode; the answer is a ladder of
 * renditions, which it pushes as the tracks of one RTMP connection. So viewers get several bitrates with nothing transcoded here.
 *
 * The format is OBS's own (schema 2025-01-25, and 2024-06-04 of before), as its GoLiveApi structures have it. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/name.h"

struct buf;

enum { GOLIVE_RUNGS_MAX = 6, GOLIVE_REQUEST_MAX = 64 << 10, GOLIVE_ANSWER_MAX = 32 << 10, GOLIVE_DEPTH_MAX = 16 };

struct golive_rung {
    uint32_t height; /* of the picture's shorter side */
    uint32_t kbps;
};

struct golive_settings {
    struct golive_rung ladder[GOLIVE_RUNGS_MAX]; /* the largest first */
    uint32_t rung_count;                         /* 0: by what the picture is */
    const char *url; /* where to push: "rtmp://HOST/APP/{stream_key}"; NULL: to the host that is asked, app "live" */
    char *const *publish_keys; /* see common/auth/publish_key.h */
    uint32_t publish_key_count;
};
/* Rungs of the form "1080 6000" (height, kb/s), or "auto" alone. False: they are something else, or more than GOLIVE_RUNGS_MAX. */
bool golive_ladder_parse(char *const *items, size_t count, struct golive_settings *settings);

struct golive_where {
    const char *host;                /* the request's, with a port or without; NULL: unknown */
    uint16_t rtmp_port, rtmps_port; /* 0: none */
};

/* For the log. */
struct golive_outcome {
    char stream[STREAM_NAME_LEN]; /* "" unknown */
    const char *encoder;          /* OBS's name of it; NULL: none was chosen */
    uint32_t rungs;
    const char *why; /* it was refused, in words that are also in the answer; NULL: it was not */
};

/* 0: the answer is on `out` (JSON), be it a refusal, which OBS shows to its user. -EBADMSG: this is no such request, and `why` says so. */
int golive_answer(const struct golive_settings *settings, const struct golive_where *where, const uint8_t *body, size_t len,
                  struct buf *out, struct golive_outcome *ret_outcome);
