/* A publisher's ladder from its beginning to its end: which rungs there are, when they are ready to be announced, and that all of them is
 * there before the stream goes on with other tracks, or ends. ladder.h does the work.
 *
 *   NONE ─ladder_run_prepare─► STARTING ► READY ─ladder_run_begin─► RUNNING ─ladder_run_drain─► DRAINING ► NONE
 *
 * STARTING and DRAINING end by themselves (on_settled), the latest after LADDER_START_MS and LADDER_DRAIN_MS.
 *
 * A rung that was dropped stays away until the publisher comes anew. One loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/ladder.h"
#include "ingest/on_demand.h"
#include "ingest/packager.h"

struct ingest_settings;
struct loop;
struct loop_timer;

enum { LADDER_START_MS = 3000, LADDER_DRAIN_MS = 1000 };
enum ladder_run_state { LADDER_NONE, LADDER_STARTING, LADDER_READY, LADDER_RUNNING, LADDER_DRAINING };

struct ladder_run_port {
    void *ctx;
    void (*on_settled)(void *ctx);
    void (*on_frame)(void *ctx, const struct transcode_frame *frame);
    void (*on_dropped)(void *ctx); /* the stream is to be announced without it */
    void (*on_here)(void *ctx, uint32_t rung, bool here, uint64_t msn); /* on demand: see on_demand.h */
};

struct ladder_run_rung {
    uint32_t number; /* it is v1, v2 …: the same whichever others are dropped */
    uint32_t every;  /* of the source's pictures it has each, each second … */
    struct codec_info codec;
    struct transcode_output output;
};

struct ladder_run {
    struct loop *loop;
    const struct ingest_settings *settings;
    const char *stream;
    struct ladder_run_port port;
    enum ladder_run_state state;
    struct ladder *ladder; /* on demand: until it is known what rungs are */
    struct on_demand *demand; /* NULL: rungs run always */
    struct transcode_settings transcoded; /* while STARTING on demand; its configuration is `config` */
    uint8_t *config;
    struct loop_timer *timer;
    bool described; /* while STARTING: it is ready */
    const char *why; /* likewise: it is not */
    bool hopeless;   /* it could not be begun */
    bool on_demand;  /* they are to run on demand */
    uint32_t dropped; /* mask of numbers */
    uint32_t count; /* of rungs; from READY to DRAINING */
    struct ladder_run_rung rungs[RUNGS_MAX];
};

void ladder_run_init(struct ladder_run *run, struct loop *loop, const struct ingest_settings *settings, const char *stream,
                     const struct ladder_run_port *port);
/* Before it is prepared: whether rungs run on demand. The setting must say how long. */
void ladder_run_set_on_demand(struct ladder_run *run, bool on_demand);
void ladder_run_finish(struct ladder_run *run);
/* It starts or drains: on_settled will come. */
bool ladder_run_busy(const struct ladder_run *run);
/* Whether the stream can be opened now, with `count` rungs; if not, on_settled comes. `source`: what is to be transcoded, its rungs are set
 * here; NULL: nothing is. `key`: its first independent frame. */
bool ladder_run_prepare(struct ladder_run *run, const struct transcode_settings *source, const uint8_t *key, size_t len);
/* Puts them behind the picture, which is the first of `count` sources. Their times are its own, so they seem to reorder as it does. Returns
 * how many they are: none where there is no room. */
uint32_t ladder_run_add(const struct ladder_run *run, struct packager_source sources[TRACKS_MAX], uint32_t count);
/* The stream was opened with these rungs: frames follow. */
void ladder_run_begin(struct ladder_run *run);
/* `asked`: tracks that anybody asks for, where rungs run on demand; else NULL. */
void ladder_run_push(struct ladder_run *run, const struct transcode_slot *slot, const uint8_t *data, size_t len, const struct track_names *asked);
/* No more frames follow. False: there is nothing to be waited for. */
bool ladder_run_drain(struct ladder_run *run);
/* Ends it at once, whatever is under way. */
void ladder_run_stop(struct ladder_run *run);
