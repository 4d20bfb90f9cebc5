#include "ingest/ingest.h"

#include <stdlib.h>

#include "common/base/loop.h"
#include "ingest/ladder.h"
#include "ingest/live_names.h"
#include "ingest/publisher.h"
#include "ingest/subtitles.h"

enum { SWEEP_INTERVAL_US = 200000 };

static void on_sweep(void *ctx) {
    struct ingest *ingest = ctx;
    publishers_sweep(ingest, loop_now_us(ingest->loop));
    loop_timer_set(ingest->sweep_timer, SWEEP_INTERVAL_US);
}

struct ingest *ingest_create(struct loop *loop, const struct ingest_settings *settings,
                             const struct writer_port *port) {
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (!ingest)
        abort();
    ingest->loop = loop;
    ingest->settings = *settings;
    ingest->port = *port;
    list_init(&ingest->publishers);
    list_init(&ingest->joins);
    ingest->subtitles = subtitles_create(settings->subtitles, settings->subtitle_count);
    ingest->live = live_names_create();
    ingest->sweep_timer = loop_timer_create(loop, on_sweep, ingest);
    loop_timer_set(ingest->sweep_timer, SWEEP_INTERVAL_US);
    return ingest;
}

void ingest_destroy(struct ingest *ingest) {
    if (!ingest)
        return;
    publishers_finish(ingest);
    ladders_wait(ingest->loop);
    loop_timer_destroy(ingest->sweep_timer);
    live_names_destroy(ingest->live);
    subtitles_destroy(ingest->subtitles);
    free(ingest);
}
