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
    PLAYLIST_MUXED_AUTO,   /* always with one audio track, never with several */
    PLAYLIST_MUXED_ALWAYS, /* v0a0: one playlist and one request a part; of several audio tracks there is the first */
    PLAYLIST_MUXED_NEVER,  /* v0 with a0 and others as its audio group */
};

enum { PLAYLIST_VARIANTS_MAX = 2 * TRACKS_MAX, VARIANT_NAME_LEN = 4 * TRACKS_MAX + 1 };

/* The media playlists that a stream's multivariant playlist leads to, best first, those of sound alone last: masks of tracks. Returns
 * their number. */
uint32_t playlist_variants(const struct record_open *open, enum playlist_muxed muxed, uint32_t masks[PLAYLIST_VARIANTS_MAX]);

/* The stream must have a published part. `pathway`: the name of where this is, for Content Steering by "steering.json" beside it; NULL:
 * none is offered. */
void playlist_multivariant(struct buf *out, const struct stream *stream, enum playlist_muxed muxed, const char *pathway);

/* `variant` as in the URL. With `skip`, a delta update (EXT-X-SKIP) where there is enough to skip. The stream must have a
 * published part. 0, or -ENOENT when the stream has no such variant. */
int playlist_media(struct buf *out, const struct stream *stream, const char *variant, bool skip, enum playlist_muxed muxed);
