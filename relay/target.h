/* What a viewer's URL path names. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/playlist.h"

enum target_kind {
    TARGET_NONE,         /* nothing of ours */
    TARGET_PAGE,         /* /app/stream/ */
    TARGET_PAGE_SLASH,   /* /app/stream: redirected to the page */
    TARGET_ASSET,        /* /app/stream/FILE: something that the page needs */
    TARGET_MULTIVARIANT, /* /app/stream/index.m3u8 */
    TARGET_MEDIA,        /* /app/stream/VARIANT.m3u8 */
    TARGET_INIT,         /* /app/stream/VARIANT/init-N.mp4 */
    TARGET_SEGMENT,      /* /app/stream/VARIANT/N.m4s, of subtitles N.vtt */
    TARGET_PART,         /* /app/stream/VARIANT/pN.m4s, likewise */
    TARGET_LIVE,         /* /app/stream/VARIANT/live.mp4 */
    TARGET_STEERING,     /* /app/stream/steering.json */
    TARGET_THUMB,        /* /app/stream/thumb.jpg */
};

struct target {
    enum target_kind kind;
    char stream[STREAM_NAME_LEN];
    char variant[VARIANT_NAME_LEN];
    char file[64]; /* asset */
    bool text;     /* part, segment: a .vtt */
    uint64_t number;
};

struct target target_parse(const char *path);
/* How urgent it is among what a viewer asks for at a time (RFC 9218): playlists before media, whatever they wait for; of media, what a
 * viewer with little bandwidth plays before what takes most. */
uint8_t target_urgency(const struct target *target);
