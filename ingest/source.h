/* A stream that this node fetches itself and publishes under a name of its own, without a key: from an RTMP or HTTP server, or a file, by a
 * process (fetch.h); from an SRT listener by calling it. What comes is MPEG-TS, into a ts_session. It goes on until it is stopped:
 * whatever fails is tried again, ever more slowly (backoff.h), also when somebody else has the name.
 *
 *   source_create -> source_start -> source_stop -> ... -> source_destroy
 *
 * One loop, the ingest role's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/source_url.h"

struct ingest;
struct source;
struct srt_server;

enum source_state {
    SOURCE_IDLE,       /* nobody wants it */
    SOURCE_CONNECTING, /* until media come, and may be published */
    SOURCE_LIVE,
    SOURCE_WAITING, /* it failed, and is tried again later */
};
const char *source_state_name(enum source_state state);

enum { SOURCE_WHY_LEN = 256 };

struct source_settings {
    const char *stream; /* "app/name" */
    struct source_url url;
    bool slate;             /* it is published while nobody else is (common/media/writer.h) */
    bool loops;             /* a file: when it ends it begins again, its times going on */
    const char *fetcher;    /* weir-fetch; outlives the source. NULL: only SRT works */
    struct srt_server *srt; /* for SRT only */
    int64_t silence_us;     /* for tests; 0: FETCH_SILENCE_US */
};
/* Stopped. `on_failed` (NULL is allowed) says that an attempt has failed, from the loop; within it the source may be stopped, not destroyed. */
struct source *source_create(struct ingest *ingest, const struct source_settings *settings, void (*on_failed)(void *ctx, struct source *source),
                             void *ctx);
/* Begins; nothing happens when it has begun. After a failure it still waits. */
void source_start(struct source *source);
/* The publisher goes, as one that has said goodbye. Not from inside an event of the fetch or the session. */
void source_stop(struct source *source);
/* NULL is allowed. */
void source_destroy(struct source *source);
void source_metrics_register(void);

struct source_view {
    const char *stream, *url; /* as it is shown */
    enum source_state state;
    const char *error; /* why it failed last; "": it never did */
    uint64_t restarts; /* attempts that followed a failure */
    int64_t since_us;  /* loop's clock: of the state */
};
struct source_view source_view(const struct source *source);
