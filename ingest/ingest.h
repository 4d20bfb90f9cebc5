/* The ingest role: what all publishers share. One loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/media/writer.h"

struct live_names;
struct loop;
struct loop_timer;
struct subtitles;

struct ingest_settings {
    uint32_t segment_ms, part_ms; /* wishes; what a stream gets is fixed when it starts */
    uint32_t chunk_ms;            /* 0: one video frame a chunk */
    uint32_t stall_ms;            /* silence after which the stream goes on with a discontinuity */
    char *const *publish_keys;    /* see common/auth/publish_key.h; must outlive the role */
    uint32_t publish_key_count;
    char *const *backups; /* "app/name app/other": who publishes the other is the stream's backup; must outlive the role */
    uint32_t backup_count;
    char *const *rung_suffixes; /* a name that ends with one is a rung of what comes before; likewise */
    uint32_t rung_suffix_count;
    char *const *ladder; /* see rungs.h; likewise, and so must be the names */
    uint32_t ladder_count;
    char *const *subtitles; /* see subtitles.h; likewise */
    uint32_t subtitle_count;
    const char *ladder_preset, *ladder_encoder;
    uint32_t ladder_on_demand_ms; /* 0: rungs run always */
    uint32_t ladder_audio_kbps; /* of the sound for who can't have a picture; 0: none */
};

struct ingest {
    struct loop *loop;
    struct ingest_settings settings;
    struct writer_port port;
    struct list publishers, joins; /* joins: pushes that join a publisher's stream */
    /* Told when a publisher's media is the stream's from now on, and when it isn't any more. It must not call publishers. NULL: nobody cares. */
    void (*on_air)(void *ctx, const char *stream, enum claim_rank rank, bool is);
    void *on_air_ctx;
    struct subtitles *subtitles;
    struct live_names *live; /* the names that they hold */
    struct loop_timer *sweep_timer;
};

struct ingest *ingest_create(struct loop *loop, const struct ingest_settings *settings, const struct writer_port *port);
/* All publishers must be closed; the port must still be there. NULL is allowed. */
void ingest_destroy(struct ingest *ingest);
void ingest_metrics_register(void);
