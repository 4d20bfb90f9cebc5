#include "relay/render.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/http/gzip.h"
#include "common/http/server.h"
#include "common/media/cmaf.h"

enum {
    PLAYLIST_BYTES_MAX = 1 << 20,
    PLAYLISTS_MAX = 32, /* more kinds × variants than a stream has; the oldest goes */
    INITS_MAX = 16,
};

struct rendered {
    enum render_kind kind;
    char variant[VARIANT_NAME_LEN];
    uint64_t version; /* of the stream */
    struct blob *plain, *gzip;
};

struct init {
    char variant[VARIANT_NAME_LEN];
    uint32_t version;
    struct slice slice;
};

struct cache {
    struct rendered playlists[PLAYLISTS_MAX];
    struct init inits[INITS_MAX];
    uint32_t next_playlist, next_init;
};

static struct cache *cache_of(struct stream *stream) {
    if (!stream->cache && !(stream->cache = calloc(1, sizeof(struct cache))))
        abort();
    return stream->cache;
}

static void rendered_drop(struct rendered *r) {
    blob_unref(r->plain);
    blob_unref(r->gzip);
    r->plain = r->gzip = NULL;
}

void render_cache_free(void *ctx) {
    struct cache *cache = ctx;
    for (uint32_t i = 0; i < PLAYLISTS_MAX; i++)
        rendered_drop(&cache->playlists[i]);
    for (uint32_t i = 0; i < INITS_MAX; i++)
        blob_unref(cache->inits[i].slice.blob);
    free(cache);
}

static struct rendered *rendered_slot(struct cache *cache, enum render_kind kind, const char *variant) {
    for (uint32_t i = 0; i < PLAYLISTS_MAX; i++) {
        struct rendered *r = &cache->playlists[i];
        if (r->plain && r->kind == kind && !strcmp(r->variant, variant))
            return r;
    }
    struct rendered *r = &cache->playlists[cache->next_playlist++ % PLAYLISTS_MAX];
    rendered_drop(r);
    r->kind = kind;
    strcpy(r->variant, variant);
    return r;
}

static struct blob *make_playlist(struct stream *stream, enum render_kind kind, const char *variant,
                                  enum playlist_muxed muxed, const char *pathway) {
    struct buf text;
    buf_init(&text, PLAYLIST_BYTES_MAX);
    int rc = 0;
    if (kind == RENDER_MULTIVARIANT)
        playlist_multivariant(&text, stream, muxed, pathway);
    else
        rc = playlist_media(&text, stream, variant, kind == RENDER_DELTA, muxed);
    struct blob *blob = rc || text.overflow ? NULL : buf_to_blob(&text);
    buf_finish(&text);
    return blob;
}

struct blob *render_playlist(struct stream *stream, enum render_kind kind, const char *variant,
                             enum playlist_muxed muxed, const char *pathway, bool gzip) {
    struct rendered *r = rendered_slot(cache_of(stream), kind, variant);
    if (!r->plain || r->version != stream->version) {
        rendered_drop(r);
        r->plain = make_playlist(stream, kind, variant, muxed, pathway);
        r->version = stream->version;
    }
    if (gzip && r->plain && !r->gzip)
        r->gzip = gzip_blob(r->plain);
    return gzip ? r->gzip : r->plain;
}

/* The tracks that had this init version for that variant, among those still served. */
static const struct record_open *open_find(const struct stream *stream, const char *variant, uint32_t version,
                                           uint32_t *ret_mask) {
    for (uint32_t i = stream->segment_count + 1; i > 0; i--) {
        const struct record_open *open =
            i > stream->segment_count ? &stream->open->open : &stream->segments[i - 1]->open->open;
        uint32_t mask = variant_find(open, &stream->open->open, variant);
        if (mask && open->tracks[variant_lead(open, mask)].init_version == version) {
            *ret_mask = mask;
            return open;
        }
    }
    return NULL;
}

struct slice render_init(struct stream *stream, const char *variant, uint32_t version) {
    struct cache *cache = cache_of(stream);
    for (uint32_t i = 0; i < INITS_MAX; i++)
        if (cache->inits[i].slice.blob && cache->inits[i].version == version &&
            !strcmp(cache->inits[i].variant, variant))
            return cache->inits[i].slice;
    const struct slice none = {0};
    uint32_t mask;
    const struct record_open *open = open_find(stream, variant, version, &mask);
    if (!open)
        return none;
    const struct blob *inits[TRACKS_MAX];
    size_t count = 0;
    for (uint32_t t = 0; t < open->track_count; t++)
        if (mask & 1u << t)
            inits[count++] = open->tracks[t].init;
    struct blob *joined = cmaf_init_join(inits, count);
    if (!joined)
        return none;
    struct init *slot = &cache->inits[cache->next_init++ % INITS_MAX];
    blob_unref(slot->slice.blob);
    *slot = (struct init){.version = version, .slice = http_slice_framed(joined->data, joined->len)};
    strcpy(slot->variant, variant);
    blob_unref(joined);
    return slot->slice;
}
