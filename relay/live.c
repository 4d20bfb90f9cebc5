#include "relay/live.h"

#include <stdlib.h>

#include "common/base/metrics.h"
#include "common/media/cursor.h"
#include "relay/render.h"

struct live {
    int64_t max_lag_us;
    uint32_t readers, readers_max;
};

/* One response. It is in its stream's list from the answer to `finish`. */
struct live_reader {
    struct reader reader;
    struct live *live;
    struct http_request *req;
    struct slice init; /* with a reference */
    bool begun;        /* the init is given */
    struct cursor cursor;
};

#define JUMPS                                                                                                          \
    "Continuous viewers moved on to the newest independent chunk: they lagged, or the window had left them behind."
static struct metric metrics[] = {
    {"weir_live_readers", NULL, "Continuous viewers.", METRIC_GAUGE, 0},
    {"weir_live_chunks_total", NULL, "Chunks given to continuous viewers.", METRIC_COUNTER, 0},
    {"weir_live_bytes_total", NULL, "Bytes of these chunks.", METRIC_COUNTER, 0},
    {"weir_live_jumps_total", "reason=\"lag\"", JUMPS, METRIC_COUNTER, 0},
    {"weir_live_jumps_total", "reason=\"window\"", JUMPS, METRIC_COUNTER, 0},
};
enum { M_READERS, M_CHUNKS, M_BYTES, M_JUMPS };

void live_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

struct live *live_create(int64_t max_lag_us, uint32_t readers_max) {
    struct live *live = calloc(1, sizeof *live);
    if (!live)
        abort();
    live->max_lag_us = max_lag_us;
    live->readers_max = readers_max;
    return live;
}

void live_destroy(struct live *live) {
    free(live);
}

bool live_full(const struct live *live) {
    return live->readers >= live->readers_max;
}

/* --- the body --- */

static void count_jumps(struct cursor *cursor) {
    for (int i = 0; i < CURSOR_JUMPS; i++) {
        if (cursor->jumps[i])
            metric_add(&metrics[M_JUMPS + i], cursor->jumps[i]);
        cursor->jumps[i] = 0;
    }
}

static int next_chunks(struct live_reader *live, struct slice *slices, int max) {
    const struct record *chunk;
    enum cursor_result result = CURSOR_END;
    int64_t bytes = 0;
    int n = 0;
    if (live->cursor.open == live->reader.stream->open)
        live->reader.stream->asked |= live->cursor.mask;
    while (n < max && (result = cursor_next(&live->cursor, live->reader.stream, &chunk)) == CURSOR_CHUNK) {
        slices[n++] = chunk->chunk.body;
        bytes += (int64_t)chunk->chunk.body.len;
    }
    count_jumps(&live->cursor);
    if (!n)
        return result == CURSOR_WAIT ? HTTP_SOURCE_WAIT : 0;
    metric_add(&metrics[M_CHUNKS], n);
    metric_add(&metrics[M_BYTES], bytes);
    return n;
}

static int on_next(void *ctx, struct slice *slices, int max) {
    struct live_reader *live = ctx;
    if (!live->reader.stream)
        return 0;
    if (live->begun)
        return next_chunks(live, slices, max);
    live->begun = true;
    slices[0] = live->init;
    return 1;
}

static void on_finish(void *ctx) {
    struct live_reader *live = ctx;
    reader_cancel(&live->reader);
    cursor_finish(&live->cursor);
    blob_unref(live->init.blob);
    live->live->readers--;
    metric_add(&metrics[M_READERS], -1);
    free(live);
}

static void on_chunks(struct reader *reader) {
    struct live_reader *live = list_entry(reader, struct live_reader, reader);
    http_request_resume(live->req);
}

/* --- the answer --- */

static struct live_reader *reader_create(struct live *live, struct http_request *req, struct stream *stream,
                                         const char *variant, uint32_t mask) {
    struct cursor cursor;
    if (!cursor_init(&cursor, stream, mask, live->max_lag_us))
        return NULL;
    struct slice init = render_init(stream, variant, stream->open->open.tracks[cursor.lead].init_version);
    if (!init.blob) {
        cursor_finish(&cursor);
        return NULL;
    }
    struct live_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        abort();
    *reader = (struct live_reader){.reader.fn = on_chunks, .live = live, .req = req, .init = init, .cursor = cursor};
    blob_ref(init.blob);
    stream_read(stream, &reader->reader);
    live->readers++;
    metric_add(&metrics[M_READERS], 1);
    return reader;
}

bool live_respond(struct live *live, struct http_request *req, struct stream *stream, const char *variant,
                  uint32_t mask, const struct http_header *headers, size_t header_count) {
    struct live_reader *reader = reader_create(live, req, stream, variant, mask);
    if (!reader)
        return false;
    struct http_source source = {.next = on_next,
                                 .finish = on_finish,
                                 .ctx = reader,
                                 .flags = HTTP_SOURCE_LENDS | HTTP_SOURCE_FRAMED | HTTP_SOURCE_LIVE};
    http_respond(req,
                 &(struct http_response){
                     .status = 200, .headers = headers, .header_count = header_count, .length = -1, .source = source});
    return true;
}
