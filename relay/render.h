/* Rendered things of a stream, kept by a worker: playlists once a change, in plain and gzip, and init segments of variants.
 * One cache a stream, owned by the worker's replica (struct stream.cache). */
#pragma once
#include <stdbool.h>

#include "common/media/playlist.h"

enum render_kind { RENDER_MULTIVARIANT, RENDER_MEDIA, RENDER_DELTA };

/* The playlist as it is now (`pathway` as for playlist_multivariant, always the same), not a reference of the caller's: valid until the stream changes. NULL: no such variant. The
 * stream must have something to play. */
struct blob *render_playlist(struct stream *stream, enum render_kind kind, const char *variant, enum playlist_muxed muxed, const char *pathway,
                             bool gzip);
/* The init segment with that version of a variant; likewise. Its blob is also an HTTP/1.1 chunk (http_slice_framed). A NULL
 * blob: none. */
struct slice render_init(struct stream *stream, const char *variant, uint32_t version);
/* For struct store_settings.cache_free. */
void render_cache_free(void *cache);
