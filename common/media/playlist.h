/* HLS playlists as pure functions of a stream's state: draft-pantos-hls-rfc8216bis, the multivariant and the media playlist
 * with its low-latency parts. What is decided and why stands in docs/hls.md; numbers LL-nnn are of its checklist.
 *
 * URIs are relative to the playlist: a variant's objects lie in the folder of its name next to it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/store.h"

struct buf;

enum playlist_muxed {
    PLAYLIST_MUXED_AUTO,   /* as always, today: streams have at most one audio track */
    PLAYLIST_MUXED_ALWAYS, /* v0a0: one playlist and one request a part */
    PLAYLIST_MUXED_NEVER,  /* v0 with a0 as its audio group */
};

enum { PLAYLIST_VARIANTS_MAX = 2 * TRACKS_MAX, VARIANT_NAME_LEN = 4 * TRACKS_MAX + 1 };

/* The variants that a stream's multivariant playlist leads to, best first: masks of tracks. Returns their number. */
uint32_t playlist_variants(const struct record_open *open, enum playlist_muxed muxed, uint32_t masks[PLAYLIST_VARIANTS_MAX]);

/* The stream must have a published part. `pathway`: the name of where this is, for Content Steering by "steering.json" beside it; NULL:
 * none is offered. */
void playlist_multivariant(struct buf *out, const struct stream *stream, enum playlist_muxed muxed, const char *pathway);

/* `variant` as in the URL. With `skip`, a delta update (EXT-X-SKIP) where there is enough to skip. The stream must have a
 * published part. 0, or -ENOENT when the stream has no such variant. */
int playlist_media(struct buf *out, const struct stream *stream, const char *variant, bool skip, enum playlist_muxed muxed);
