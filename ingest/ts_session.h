/* One broadcaster's MPEG transport stream into a publisher (publisher.h), whatever brings its bytes: what rtmp_session is for
 * RTMP, without a protocol to answer in. No I/O; it claims the stream, demuxes (ts.h), makes access units of what comes out
 * (annexb.h, adts.h, opus_ts.h) and hands them on: the programme's picture and up to TS_AUDIO_MAX sounds, numbered by their place in its table.
 * After a loss video is left out up to the next key picture. A picture that doesn't fit into a PES packet that has a length goes on in
 * those without a time behind it.
 *
 *   create -> input, gap ... -> destroy
 *
 * One loop. Events come from the loop, never from inside a call; the session may be destroyed in them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/publisher.h"

struct ingest;
struct ts_session;

enum { TS_SESSION_HELD_MAX = 8 << 20 };

struct ts_session_events {
    /* Once. After anything but PUBLISH_OK only ts_session_destroy may follow. */
    void (*on_result)(void *ctx, enum publish_result result);
    /* It must go: taken over, or not media that can be used. `why` is fit for a log. Call ts_session_destroy. */
    void (*on_lost)(void *ctx, const char *why);
};

/* `name` may carry the key as a query, as publisher_open's. Strings are copied. */
struct ts_session *ts_session_create(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                     const struct ts_session_events *events, void *ctx);
/* Of what this node fetches itself (publisher_open_own). */
struct ts_session *ts_session_create_own(struct ingest *ingest, const char *stream, enum claim_rank rank, const char *peer, const struct ts_session_events *events,
                                         void *ctx);
/* Bytes as they come, in any portions. What comes before the result is held up to TS_SESSION_HELD_MAX; then the oldest
 * is dropped. */
void ts_session_input(struct ts_session *session, const uint8_t *data, size_t len);
/* Datagrams are missing here. */
void ts_session_gap(struct ts_session *session);
/* Closes the publisher. `clean`: the peer said goodbye. NULL is allowed. */
void ts_session_destroy(struct ts_session *session, bool clean);

void ts_session_metrics_register(void);
