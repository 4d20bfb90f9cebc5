#include "sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/media/hub.h"
#include "common/media/name.h"
#include "conf/conf.h"
#include "ingest/fetch.h"
#include "origin/origin.h"

struct item {
    struct sources *sources;
    char stream[STREAM_NAME_LEN];
    struct source *source;
    bool on_demand;
    bool wanted; /* by the hub */
};

struct sources {
    struct hub *hub;
    struct origin *origin;
    struct hub_source upstream; /* the hub's source before */
    char *fetcher;
    bool stopped;
    size_t count;
    struct item items[CONF_LIST_MAX];
};

/* --- configuration --- */

struct entry {
    char stream[STREAM_NAME_LEN];
    struct source_url url;
    bool on_demand;
};

/* "app/name URL[ on-demand]", of which the URL alone may be wrong: NULL, or what is. */
static const char *read_entry(const char *text, struct entry *ret_entry) {
    char url[SOURCE_URL_MAX + 2];
    const char *why = NULL;
    size_t name = strcspn(text, " "), len = strcspn(text + name + 1, " ");
    snprintf(ret_entry->stream, sizeof ret_entry->stream, "%.*s", (int)name, text);
    ret_entry->on_demand = text[name + 1 + len];
    snprintf(url, sizeof url, "%.*s", (int)len, text + name + 1);
    if (source_url_parse(url, &ret_entry->url, &why))
        return why;
    return ret_entry->url.scheme == SOURCE_FILE ? "begins with none of srt://, rtmp://, rtmps://, http://, https://"
                                                : NULL;
}

bool sources_check(const struct conf *conf, const char *name, struct buf *errors) {
    const struct conf_list *list = &conf->ingest.sources;
    bool ok = true;
    for (size_t i = 0; i < list->count; i++) {
        struct entry entry;
        const char *why = read_entry(list->items[i], &entry);
        bool named = name_ok(entry.stream);
        if (!named)
            buf_printf(errors, "%s:%" PRIu32 ": ingest.sources: \"%s\" can't be a stream's name\n", name,
                       list->lines[i], entry.stream);
        else if (why)
            buf_printf(errors, "%s:%" PRIu32 ": ingest.sources: the URL of \"%s\" %s\n", name, list->lines[i],
                       entry.stream, why);
        ok = ok && named && !why;
    }
    return ok;
}

bool sources_want_srt(const struct conf *conf) {
    struct entry entry;
    for (size_t i = 0; i < conf->ingest.sources.count; i++)
        if (!read_entry(conf->ingest.sources.items[i], &entry) && entry.url.scheme == SOURCE_SRT)
            return true;
    return false;
}

/* --- as the hub's source --- */

static struct item *find(struct sources *sources, const char *stream) {
    for (size_t i = 0; i < sources->count && !sources->stopped; i++)
        if (sources->items[i].on_demand && strcmp(sources->items[i].stream, stream) == 0)
            return &sources->items[i];
    return NULL;
}

/* One that failed a moment ago isn't tried for each who asks. */
static bool on_want(void *ctx, const char *stream, const char *hops, const struct track_names *tracks) {
    struct sources *sources = ctx;
    struct item *item = find(sources, stream);
    if (!item)
        return sources->upstream.want && sources->upstream.want(sources->upstream.ctx, stream, hops, tracks);
    source_start(item->source);
    item->wanted = source_view(item->source).state != SOURCE_WAITING;
    if (!item->wanted)
        source_stop(item->source);
    return item->wanted;
}

static void on_want_tracks(void *ctx, const char *stream, const struct track_names *tracks) {
    struct sources *sources = ctx;
    if (!find(sources, stream) && sources->upstream.want_tracks)
        sources->upstream.want_tracks(sources->upstream.ctx, stream, tracks);
}

/* The stream goes with its source, so that the next who asks for it finds nothing, and the source is asked; unless it
 * is somebody else's. */
static void on_unwant(void *ctx, const char *name) {
    struct sources *sources = ctx;
    struct item *item = find(sources, name);
    if (!item) {
        if (sources->upstream.unwant)
            sources->upstream.unwant(sources->upstream.ctx, name);
        return;
    }
    item->wanted = false;
    source_stop(item->source);
    origin_end(sources->origin, name);
    struct stream *stream = store_find(hub_store(sources->hub), name);
    if (stream && stream->state == STREAM_ENDED)
        hub_remove(sources->hub, stream);
}

/* Who waits for the stream is told that there is none; who has seen it waits for more. */
static void on_failed(void *ctx, struct source *source) {
    struct item *item = ctx;
    const struct stream *stream = store_find(hub_store(item->sources->hub), item->stream);
    if (!item->wanted || (stream && stream->open))
        return;
    item->wanted = false;
    source_stop(source);
    hub_absent(item->sources->hub, item->stream);
}

/* --- life --- */

static void add(struct sources *sources, const struct entry *entry, struct ingest *ingest, struct srt_server *srt) {
    struct item *item = &sources->items[sources->count++];
    const struct source_settings settings = {.stream = entry->stream,
                                             .url = entry->url,
                                             .fetcher = sources->fetcher,
                                             .srt = srt};
    item->sources = sources;
    item->on_demand = entry->on_demand;
    strcpy(item->stream, entry->stream);
    item->source = source_create(ingest, &settings, on_failed, item);
    if (!item->on_demand)
        source_start(item->source);
}

struct sources *sources_create(const struct conf *conf, struct hub *hub, struct origin *origin, struct ingest *ingest,
                               struct srt_server *srt) {
    const struct conf_list *list = &conf->ingest.sources;
    if (!list->count)
        return NULL;
    struct sources *sources = calloc(1, sizeof *sources);
    if (!sources)
        abort();
    sources->hub = hub;
    sources->origin = origin;
    sources->fetcher = fetch_program();
    if (!sources->fetcher)
        log_warn("no_fetcher", "note", LOG_STR("weir-fetch is not where it was installed: only srt:// works"));
    for (size_t i = 0; i < list->count; i++) {
        struct entry entry;
        if (!read_entry(list->items[i], &entry))
            add(sources, &entry, ingest, srt);
    }
    const struct hub_source source = {.ctx = sources,
                                      .want = on_want,
                                      .want_tracks = on_want_tracks,
                                      .unwant = on_unwant};
    sources->upstream = hub_set_source(hub, &source);
    return sources;
}

void sources_stop(struct sources *sources) {
    if (!sources)
        return;
    sources->stopped = true;
    for (size_t i = 0; i < sources->count; i++)
        source_destroy(sources->items[i].source);
    sources->count = 0;
}

void sources_destroy(struct sources *sources) {
    if (!sources)
        return;
    sources_stop(sources);
    free(sources->fetcher);
    free(sources);
}

void sources_each(const struct sources *sources, void (*fn)(void *ctx, const struct sources_view *view), void *ctx) {
    for (size_t i = 0; sources && i < sources->count; i++) {
        const struct sources_view view = {source_view(sources->items[i].source), sources->items[i].on_demand};
        fn(ctx, &view);
    }
}
