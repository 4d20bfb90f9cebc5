#include "relay/viewer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/server.h"
#include "common/media/cursor.h"
#include "common/media/store.h"
#include "common/media/vtt.h"
#include "relay/follow.h"
#include "relay/live.h"
#include "relay/page.h"
#include "relay/query.h"
#include "relay/render.h"
#include "relay/steer.h"
#include "relay/target.h"
#include "relay/thumb.h"

enum {
    HEADERS_MAX = 12,
    REDIRECT_QUERY_MAX = 4096,
    STEERING_MAX = 16 << 10,
    POLICY_MAX = 8 << 10,
    FIRST_PART_WAIT_US = 8000000, /* how long a stream that has just started may take to have a part */
    WAIT_TARGETS = 3,             /* a held request is answered 503 after so many target durations (LL-078) */
    AHEAD_SEGMENTS = 2,           /* _HLS_msn may be so far ahead (LL-075) */
    THUMB_WIDTH = 320,
};

struct viewers {
    struct loop *loop;
    struct follows *follows;
    enum playlist_muxed muxed;
    uint32_t waiting, waiting_max; /* parked and held requests */
    struct live *live;
    const struct steer *steer;
    const struct load *load;
    struct thumbs_client *thumbs; /* NULL: there are none */
    uint32_t seed;                /* spreads viewers that are sent elsewhere */
};

/* A request under way: parked until its stream is followed, held at the stream, or just being answered. */
struct viewer {
    struct viewers *viewers;
    struct http_request *req;
    struct target target;
    struct hls_query query;
    struct follow_wait parked_wait;
    struct waiter waiter;
    uint32_t mask; /* of the stream's tracks: the variant's */
    bool parked, held;
    int64_t held_us;         /* since when; 0: it wasn't yet */
    uint32_t width;          /* of a thumbnail */
    struct thumb_ask *thumb; /* NULL: isn't being made */
};

static struct metric metrics[] = {
    {"weir_relay_requests_total", "kind=\"page\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"playlist\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"init\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"segment\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"part\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"live\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"steering\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_requests_total", "kind=\"thumb\"", "Requests of viewers.", METRIC_COUNTER, 0},
    {"weir_relay_turned_away_total", "how=\"redirected\"", "New viewers not served because this node has enough.",
     METRIC_COUNTER, 0},
    {"weir_relay_turned_away_total", "how=\"refused\"", "New viewers not served because this node has enough.",
     METRIC_COUNTER, 0},
    {"weir_relay_requests_held", NULL, "Requests that wait for media.", METRIC_GAUGE, 0},
    {"weir_relay_requests_timed_out_total", NULL, "Held requests answered 503.", METRIC_COUNTER, 0},
};
enum {
    M_PAGE,
    M_PLAYLIST,
    M_INIT,
    M_SEGMENT,
    M_PART,
    M_LIVE,
    M_STEERING,
    M_THUMB,
    M_REDIRECTED,
    M_REFUSED,
    M_HELD,
    M_TIMED_OUT
};

void viewers_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
    follows_metrics_register();
    live_metrics_register();
    thumbs_metrics_register();
}

/* --- answers --- */

struct headers {
    struct http_header items[HEADERS_MAX];
    size_t count;
    char cache_control[64], etag[64];
};

static void headers_add(struct headers *headers, const char *name, const char *value) {
    headers->items[headers->count++] = (struct http_header){name, value};
}

/* What every answer carries, so that pages anywhere may play and measure. */
static void headers_cors(struct headers *headers) {
    headers->count = 0;
    headers_add(headers, "Access-Control-Allow-Origin", "*");
    headers_add(headers, "Access-Control-Expose-Headers", "Age, Date, Content-Length, Content-Range, ETag");
    headers_add(headers, "Timing-Allow-Origin", "*");
    headers_add(headers, "Cross-Origin-Resource-Policy", "cross-origin");
}

static void headers_cache(struct headers *headers, uint32_t seconds, bool immutable) {
    snprintf(headers->cache_control, sizeof headers->cache_control, "max-age=%u%s", seconds,
             immutable ? ", immutable" : "");
    headers_add(headers, "Cache-Control", headers->cache_control);
}

static void fail(struct http_request *req, int status, const char *detail, uint32_t cache_s) {
    struct headers headers;
    headers_cors(&headers);
    headers_cache(&headers, cache_s, false);
    if (status == 405)
        headers_add(&headers, "Allow", "GET, HEAD, OPTIONS");
    if (status == 503)
        headers_add(&headers, "Retry-After", "1");
    http_respond_error(req, status, detail, headers.items, headers.count);
}

static void fail_for(struct http_request *req, const char *detail, uint32_t retry_s) {
    struct headers headers;
    char text[16];
    snprintf(text, sizeof text, "%u", retry_s);
    headers_cors(&headers);
    headers_cache(&headers, retry_s, false);
    headers_add(&headers, "Retry-After", text);
    http_respond_error(req, 503, detail, headers.items, headers.count);
}

static uint32_t target_s(const struct stream *stream) {
    return (stream->open->open.target_duration_ms + 999) / 1000;
}

static void answer_preflight(struct http_request *req) {
    struct headers headers;
    headers_cors(&headers);
    headers_add(&headers, "Access-Control-Allow-Methods", "GET, HEAD, OPTIONS");
    headers_add(&headers, "Access-Control-Allow-Headers",
                "Range, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status, Authorization");
    headers_add(&headers, "Access-Control-Max-Age", "86400");
    headers_cache(&headers, 86400, false);
    http_respond_slices(req, 204, headers.items, headers.count, NULL, 0, false);
}

/* `ret_policy` is a buffer to be finished. */
static void page_policy(const struct viewers *viewers, const char *policy, struct buf *ret_policy) {
    buf_init(ret_policy, POLICY_MAX);
    buf_append_str(ret_policy, policy);
    steer_sources(viewers->steer, ret_policy);
    buf_append(ret_policy, "", 1);
}

static void answer_asset(const struct viewers *viewers, struct http_request *req, const char *name) {
    const struct page_asset *asset = page_asset_find(name);
    if (!asset) {
        fail(req, 404, "no such file", 1);
        return;
    }
    bool gzip = asset->gzip.slice.blob && http_accepts_gzip(http_request_header(req, "accept-encoding"));
    const struct page_body *body = gzip ? &asset->gzip : &asset->identity;
    struct headers headers;
    struct buf policy;
    page_policy(viewers, asset->policy ? asset->policy : "", &policy);
    headers_cors(&headers);
    headers_add(&headers, "Content-Type", asset->content_type);
    headers_add(&headers, "ETag", body->etag);
    headers_add(&headers, "Vary", "Accept-Encoding");
    headers_add(&headers, "X-Content-Type-Options", "nosniff");
    if (gzip)
        headers_add(&headers, "Content-Encoding", "gzip");
    if (asset->immutable)
        headers_cache(&headers, 31536000, true);
    else
        headers_add(&headers, "Cache-Control",
                    "no-cache"); /* it names what belongs to this build; a 304 costs little */
    if (asset->policy)
        headers_add(&headers, "Content-Security-Policy", (const char *)buf_head(&policy));
    http_respond_slices(req, 200, headers.items, headers.count, &body->slice, 1, false);
    buf_finish(&policy);
}

static void answer_redirect(struct http_request *req) {
    struct headers headers;
    char *location;
    const char *name = strrchr(http_request_path(req), '/') + 1, *query = http_request_query(req);
    if (strlen(query) > REDIRECT_QUERY_MAX) {
        fail(req, 414, "the query is too long", 1);
        return;
    }
    if (asprintf(&location, "%s/%s%s", name, *query ? "?" : "", query) < 0) /* relative: right behind any prefix */
        abort();
    headers_cors(&headers);
    headers_add(&headers, "Location", location);
    headers_cache(&headers, 3600, false);
    http_respond_slices(req, 301, headers.items, headers.count, NULL, 0, false);
    free(location);
}

/* --- who is served here --- */

static void answer_steering(struct viewers *viewers, struct http_request *req) {
    struct headers headers;
    struct buf manifest;
    buf_init(&manifest, STEERING_MAX);
    steer_manifest(viewers->steer, load_level(viewers->load), viewers->seed++, &manifest);
    struct slice slice = {.blob = buf_to_blob(&manifest), .len = buf_len(&manifest)};
    headers_cors(&headers);
    headers_add(&headers, "Content-Type", "application/json");
    headers_add(&headers, "Cache-Control", "no-store"); /* it is for this viewer, now */
    metric_add(&metrics[M_STEERING], 1);
    http_respond_slices(req, 200, headers.items, headers.count, &slice, 1, false);
    blob_unref(slice.blob);
    buf_finish(&manifest);
}

#define MOVED "_weir_moved"

static void answer_elsewhere(struct viewers *viewers, struct http_request *req) {
    struct headers headers;
    char *location;
    const char *query = http_request_query(req);
    if (strlen(query) > REDIRECT_QUERY_MAX) {
        fail(req, 414, "the query is too long", 1);
        return;
    }
    if (asprintf(&location, "%s%s?%s%s" MOVED "=1", steer_peer(viewers->steer, viewers->seed++), http_request_path(req),
                 query, *query ? "&" : "") < 0)
        abort();
    headers_cors(&headers);
    headers_add(&headers, "Location", location);
    headers_add(&headers, "Cache-Control", "no-store");
    http_respond_slices(req, 302, headers.items, headers.count, NULL, 0, false);
    free(location);
}

/* Viewers that are here are served whatever there is; of those that come, what is asked for first. False: it was
 * answered. */
static bool admit(struct viewers *viewers, struct http_request *req, enum target_kind kind) {
    char moved[4];
    if (kind != TARGET_PAGE && kind != TARGET_MULTIVARIANT && kind != TARGET_LIVE)
        return true;
    bool was_moved = http_query_get(http_request_query(req), MOVED, moved, sizeof moved);
    switch (steer_judge(viewers->steer, load_level(viewers->load), was_moved)) {
    case STEER_REDIRECT:
        metric_add(&metrics[M_REDIRECTED], 1);
        answer_elsewhere(viewers, req);
        return false;
    case STEER_REFUSE:
        metric_add(&metrics[M_REFUSED], 1);
        fail(req, 503, "this node has all the viewers that it can carry", 0);
        return false;
    default:
        return true;
    }
}

/* --- playlists --- */

static void answer_playlist(struct viewer *viewer, struct stream *stream) {
    const struct target *target = &viewer->target;
    enum render_kind kind = target->kind == TARGET_MULTIVARIANT ? RENDER_MULTIVARIANT
                            : viewer->query.skip                ? RENDER_DELTA
                                                                : RENDER_MEDIA;
    bool gzip = http_accepts_gzip(http_request_header(viewer->req, "accept-encoding"));
    struct blob *blob = render_playlist(stream, kind, target->variant, viewer->viewers->muxed,
                                        steer_pathway(viewer->viewers->steer), gzip);
    if (!blob) {
        fail(viewer->req, 404, "no such variant", target_s(stream));
        return;
    }
    struct headers headers;
    headers_cors(&headers);
    headers_add(&headers, "Content-Type", "application/vnd.apple.mpegurl");
    headers_add(&headers, "Vary", "Accept-Encoding");
    if (gzip)
        headers_add(&headers, "Content-Encoding", "gzip");
    /* LL-086, LL-087. An ended playlist may come alive again under the same name, so it isn't kept long either. */
    bool blocking = viewer->query.blocking && stream->state != STREAM_ENDED;
    headers_cache(&headers, blocking ? 6 * target_s(stream) : target_s(stream) > 1 ? target_s(stream) / 2 : 1, false);
    struct slice slice = {blob, 0, blob->len};
    http_respond_slices(viewer->req, 200, headers.items, headers.count, &slice, 1, false);
}

/* --- media --- */

/* `value` in that base, without a NUL; returns the end. */
static char *put_number(char *out, uint64_t value, unsigned base) {
    char digits[24], *p = digits + sizeof digits;
    do
        *--p = "0123456789abcdef"[value % base];
    while (value /= base);
    size_t len = (size_t)(digits + sizeof digits - p);
    memcpy(out, p, len);
    return out + len;
}

/* "KIND-NUMBER-MASK", in quotes. Written by hand: it is made for every request of media. */
static void media_etag(char *out, const struct target *target, uint32_t mask) {
    *out++ = '"';
    out = put_number(out, target->kind, 10);
    *out++ = '-';
    out = put_number(out, target->number, 10);
    *out++ = '-';
    out = put_number(out, mask, 16);
    *out++ = '"';
    *out = '\0';
}

/* `open`: the tracks that the media is of. */
static void media_type(struct headers *headers, const struct record_open *open, uint32_t mask) {
    static const char *const types[] = {
        [TRACK_VIDEO] = "video/mp4", [TRACK_AUDIO] = "audio/mp4", [TRACK_TEXT] = "text/vtt"};
    headers_cors(headers);
    headers_add(headers, "Content-Type", types[open->tracks[variant_lead(open, mask)].kind]);
}

static void media_headers(struct headers *headers, const struct record_open *open, const struct target *target,
                          uint32_t mask) {
    media_type(headers, open, mask);
    /* A number never stands for anything else again. */
    headers_add(headers, "Cache-Control", "max-age=3600, immutable");
    media_etag(headers->etag, target, mask);
    headers_add(headers, "ETag", headers->etag);
}

struct gather {
    struct slice *items; /* `few`, or more on the heap */
    size_t count, cap;
    struct slice few[64];
};

static void gather_grow(struct gather *gather) {
    struct slice *items = malloc(2 * gather->cap * sizeof *items);
    if (!items)
        abort();
    memcpy(items, gather->items, gather->count * sizeof *items);
    if (gather->items != gather->few)
        free(gather->items);
    gather->items = items;
    gather->cap *= 2;
}

static void gather_chunks(struct gather *gather, const struct segment *segment, uint32_t track, uint32_t from,
                          uint32_t count) {
    for (uint32_t i = from; i < from + count && i < segment->chunks[track].count; i++) {
        if (gather->count == gather->cap)
            gather_grow(gather);
        gather->items[gather->count++] = segment->chunks[track].items[i]->chunk.body;
    }
}

static void gather_part(struct gather *gather, const struct segment *segment, const struct part *part, uint32_t mask) {
    for (uint32_t t = 0; t < segment->open->open.track_count; t++)
        if (mask & 1u << t)
            gather_chunks(gather, segment, t, part->first_chunk[t], part->record->part.tracks[t].chunks);
}

/* One file of all cues in the parts, each once. */
static void answer_text(struct viewer *viewer, const struct segment *segment, uint32_t mask, uint32_t from,
                        uint32_t to) {
    uint32_t track = variant_lead(&segment->open->open, mask);
    struct headers headers;
    struct buf file;
    buf_init(&file, VTT_FILE_MAX);
    vtt_file_begin(&file, vtt_anchor_us(segment->start_us));
    for (uint32_t p = from; p < to; p++) {
        const struct part *part = &segment->parts[p];
        const struct chunk_list *chunks = &segment->chunks[track];
        uint32_t end = part->first_chunk[track] + part->record->part.tracks[track].chunks;
        for (uint32_t i = part->first_chunk[track]; i < end && i < chunks->count; i++) {
            const struct slice *body = &chunks->items[i]->chunk.body;
            vtt_file_add(&file, body->blob->data + body->off, body->len);
        }
    }
    struct slice slice = {.blob = buf_to_blob(&file), .len = buf_len(&file)};
    media_headers(&headers, &segment->open->open, &viewer->target, mask);
    http_respond_slices(viewer->req, 200, headers.items, headers.count, &slice, 1, true);
    blob_unref(slice.blob);
    buf_finish(&file);
}

static void answer_parts(struct viewer *viewer, const struct segment *segment, uint32_t mask, uint32_t from,
                         uint32_t to) {
    if (viewer->target.text) {
        answer_text(viewer, segment, mask, from, to);
        return;
    }
    struct gather gather;
    gather.items = gather.few;
    gather.count = 0;
    gather.cap = sizeof gather.few / sizeof *gather.few;
    for (uint32_t p = from; p < to; p++)
        gather_part(&gather, segment, &segment->parts[p], mask);
    struct headers headers;
    media_headers(&headers, &segment->open->open, &viewer->target, mask);
    http_respond_slices(viewer->req, 200, headers.items, headers.count, gather.items, gather.count, true);
    if (gather.items != gather.few)
        free(gather.items);
}

static bool is_text(const struct record_open *open, uint32_t mask) {
    return mask && open->tracks[variant_lead(open, mask)].kind == TRACK_TEXT;
}

/* The variant's tracks of that segment. 0: there are none, and it was answered. */
static uint32_t tracks_within(struct viewer *viewer, const struct stream *stream, const struct segment *segment) {
    uint32_t mask = variant_find(&segment->open->open, &stream->open->open, viewer->target.variant);
    if (mask != VARIANT_NOWHERE && viewer->target.text != is_text(&segment->open->open, mask))
        mask = 0;
    if (!mask)
        fail(viewer->req, 404, "no such variant", target_s(stream));
    return mask;
}

static void answer_segment(struct viewer *viewer, struct stream *stream) {
    const struct segment *segment = stream_segment(stream, viewer->target.number);
    uint32_t mask = segment ? tracks_within(viewer, stream, segment) : 0;
    if (segment && !mask)
        return;
    if (!segment || !segment->published || !segment_whole(segment, mask))
        fail(viewer->req, 404, "no such segment", target_s(stream));
    else
        answer_parts(viewer, segment, mask, 0, segment->published);
}

static void answer_part(struct viewer *viewer, struct stream *stream) {
    struct segment *segment;
    const struct part *part = stream_part(stream, viewer->target.number, &segment);
    uint32_t mask = part ? tracks_within(viewer, stream, segment) : 0;
    if (part && !mask)
        return;
    uint32_t index = part ? (uint32_t)(part - segment->parts) : 0;
    if (!part || index >= segment_parts(segment, mask))
        fail(viewer->req, 404, "no such part", target_s(stream));
    else
        answer_parts(viewer, segment, mask, index, index + 1);
}

static void answer_init(struct viewer *viewer, struct stream *stream) {
    struct slice slice = {0};
    if (viewer->target.number <= UINT32_MAX && viewer->target.variant[0] != 's')
        slice = render_init(stream, viewer->target.variant, (uint32_t)viewer->target.number);
    if (!slice.blob) {
        fail(viewer->req, 404, "no such init segment", target_s(stream));
        return;
    }
    struct headers headers;
    uint32_t mask = variant_parse(&stream->open->open, viewer->target.variant, strlen(viewer->target.variant));
    media_type(&headers, &stream->open->open, mask ? mask : ~0u);
    /* Unlike segments an init's number may come again after all state was lost, with another broadcast. */
    headers_cache(&headers, 6 * target_s(stream), false);
    snprintf(headers.etag, sizeof headers.etag, "\"i-%" PRIu64 "-%" PRIu64 "-%x\"", stream->epoch,
             viewer->target.number, mask);
    headers_add(&headers, "ETag", headers.etag);
    http_respond_slices(viewer->req, 200, headers.items, headers.count, &slice, 1, true);
}

/* False: there is nothing to begin with. */
static bool answer_live(struct viewer *viewer, struct stream *stream, uint32_t mask) {
    struct headers headers;
    media_type(&headers, &stream->open->open, mask);
    headers_add(&headers, "Cache-Control", "no-store");
    headers_add(&headers, "Accept-Ranges", "none");
    headers_add(&headers, "X-Accel-Buffering", "no"); /* a proxy of nginx's would collect it */
    return live_respond(viewer->viewers->live, viewer->req, stream, viewer->target.variant, mask, headers.items,
                        headers.count);
}

/* --- thumbnails --- */

static void on_thumb(void *ctx, const struct thumb_answer *answer) {
    struct viewer *viewer = ctx;
    struct headers headers;
    viewer->thumb = NULL;
    if (!answer->jpeg) {
        fail_for(viewer->req, "there is no picture now", answer->fresh_s ? answer->fresh_s : 1);
        return;
    }
    headers_cors(&headers);
    headers_add(&headers, "Content-Type", "image/jpeg");
    headers_cache(&headers, answer->fresh_s, false);
    headers_add(&headers, "ETag", answer->etag);
    headers_add(&headers, "X-Content-Type-Options", "nosniff");
    const struct slice slice = {answer->jpeg, 0, answer->jpeg->len};
    http_respond_slices(viewer->req, 200, headers.items, headers.count, &slice, 1, false);
}

/* Of the picture's newest key frame. False: there is none. */
static bool ask_for_thumb(struct viewer *viewer, struct stream *stream) {
    struct cursor cursor;
    const struct record *chunk;
    if (!cursor_init(&cursor, stream, viewer->mask, INT64_MAX))
        return false;
    bool found = cursor_next(&cursor, stream, &chunk) == CURSOR_CHUNK;
    if (found) {
        const struct thumb_source source = {.stream = stream->name,
                                            .width = viewer->width,
                                            .init = cursor.open->open.tracks[cursor.lead].init,
                                            .chunk = chunk};
        viewer->thumb = thumbs_ask(viewer->viewers->thumbs, &source, on_thumb, viewer);
        if (!viewer->thumb)
            fail(viewer->req, 503, "too many requests are waiting", 1);
    }
    cursor_finish(&cursor);
    return found;
}

/* The largest picture of those that are here for others; else of all, which is asked for then. */
static uint32_t thumb_mask(const struct stream *stream) {
    const struct record_open *open = &stream->open->open;
    uint32_t best = 0, best_pixels = 0;
    bool best_here = false;
    for (uint32_t i = 0; i < open->track_count; i++) {
        const struct track_info *track = &open->tracks[i];
        bool here = stream->here & 1u << i;
        uint32_t pixels = (uint32_t)track->width * track->height;
        if (track->kind != TRACK_VIDEO || (best && here < best_here) ||
            (best && here == best_here && pixels <= best_pixels))
            continue;
        best = 1u << i;
        best_pixels = pixels;
        best_here = here;
    }
    return best;
}

/* False: there is none, or no such width. */
static bool thumb_width(struct http_request *req, uint32_t *ret_width) {
    static const uint32_t widths[] = {160, 320, 640};
    char given[8], text[8];
    *ret_width = THUMB_WIDTH;
    if (!http_query_get(http_request_query(req), "w", given, sizeof given))
        return true;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        *ret_width = widths[i];
        snprintf(text, sizeof text, "%u", widths[i]);
        if (!strcmp(given, text))
            return true;
    }
    return false;
}

static void note_tracks(struct viewer *viewer, struct stream *stream);
static const struct segment *coming_segment(const struct viewer *viewer, const struct stream *stream);
static void hold_segment(struct viewer *viewer, struct stream *stream, const struct segment *segment);
static bool waits_for_a_segment(const struct viewer *viewer, const struct stream *stream);
static void hold(struct viewer *viewer, struct stream *stream, enum wait_for what, uint64_t number, uint32_t index);
static void serve_thumb(struct viewer *viewer, struct stream *stream);
static void serve_live(struct viewer *viewer, struct stream *stream);

static void answer(struct viewer *viewer, struct stream *stream) {
    switch (viewer->target.kind) {
    case TARGET_MULTIVARIANT:
    case TARGET_MEDIA:
        answer_playlist(viewer, stream);
        break;
    case TARGET_INIT:
        answer_init(viewer, stream);
        break;
    case TARGET_SEGMENT:
        answer_segment(viewer, stream);
        break;
    case TARGET_LIVE:
        serve_live(viewer, stream);
        break;
    case TARGET_THUMB:
        serve_thumb(viewer, stream);
        break;
    default:
        answer_part(viewer, stream);
        break;
    }
}

/* --- waiting --- */

static void on_waited(struct waiter *waiter, struct stream *stream, bool timed_out) {
    struct viewer *viewer = list_entry(waiter, struct viewer, waiter);
    viewer->held = false;
    viewer->viewers->waiting--;
    metric_add(&metrics[M_HELD], -1);
    if (timed_out) {
        metric_add(&metrics[M_TIMED_OUT], 1);
        fail(viewer->req, 503, "nothing new came in time", 4 * target_s(stream));
    } else if (!stream_last_segment(stream, 0)) {
        fail(viewer->req, 404, "not live", 1);
    } else {
        note_tracks(viewer, stream);
        const struct segment *segment = coming_segment(viewer, stream);
        if (segment)
            hold_segment(viewer, stream, segment); /* it lacks another part */
        else if (waits_for_a_segment(viewer, stream))
            hold(viewer, stream, WAIT_PLAYLIST, stream_last_segment(stream, viewer->mask)->msn + 1, 0);
        else
            answer(viewer, stream);
    }
}

static void hold(struct viewer *viewer, struct stream *stream, enum wait_for what, uint64_t number, uint32_t index) {
    struct viewers *viewers = viewer->viewers;
    if (viewers->waiting >= viewers->waiting_max) {
        fail(viewer->req, 503, "too many requests are waiting", 1);
        return;
    }
    viewers->waiting++;
    metric_add(&metrics[M_HELD], 1);
    viewer->held = true;
    if (!viewer->held_us)
        viewer->held_us = loop_now_us(viewers->loop);
    int64_t wait_us = number ? (int64_t)WAIT_TARGETS * target_s(stream) * 1000000 : FIRST_PART_WAIT_US;
    viewer->waiter = (struct waiter){.what = what,
                                     .mask = viewer->mask,
                                     .number = number,
                                     .index = index,
                                     .deadline_us = loop_now_us(viewers->loop) + wait_us,
                                     .fn = on_waited};
    stream_wait(stream, &viewer->waiter);
}

/* The part that a playlist request names may be at most so far ahead: 3 parts, or 3 / PART-TARGET of them (LL-076). */
static uint32_t advance_limit(const struct stream *stream) {
    uint32_t part_us = stream->open->open.part_target_us;
    return part_us < 1000000 ? 3000000 / part_us : 3;
}

static bool too_far_ahead(const struct stream *stream, const struct hls_query *query, const char **ret_why) {
    const struct segment *last = stream_last_segment(stream, 0);
    *ret_why = "_HLS_msn is too far ahead";
    if (query->msn > last->msn + AHEAD_SEGMENTS)
        return true;
    *ret_why = "_HLS_part is too far ahead";
    uint32_t have = query->msn == last->msn ? last->published : 0;
    return query->msn >= last->msn && query->part > have + advance_limit(stream);
}

/* Most players that know no parts give up on a playlist without a segment (ffmpeg: "Empty segment"): of a stream that
 * has just started, the first playlist comes with its first segment. */
static bool too_young(const struct stream *stream, uint32_t mask) {
    for (uint32_t i = stream->first_listed; i < stream->segment_count; i++) {
        const struct segment *segment = stream->segments[i];
        if (segment_whole(segment, variant_within(&segment->open->open, &stream->open->open, mask)))
            return false;
    }
    return true;
}

/* Likewise of a track that has only just joined the stream. */
static bool waits_for_a_segment(const struct viewer *viewer, const struct stream *stream) {
    return viewer->target.kind == TARGET_MEDIA && !viewer->query.blocking && stream->state != STREAM_ENDED &&
           viewer->mask && stream_last_segment(stream, viewer->mask) && too_young(stream, viewer->mask);
}

/* Whether the tracks are here as far as the stream is. A track that nobody asked for lately is absent, or behind, for a
 * moment: who asks for it waits for that. */
static bool caught_up(const struct stream *stream, uint32_t mask) {
    const struct segment *last = stream_last_segment(stream, 0);
    return stream_has_part(stream, mask, last->msn, last->published - 1);
}

static void hold_until_caught_up(struct viewer *viewer, struct stream *stream) {
    const struct segment *last = stream_last_segment(stream, 0);
    hold(viewer, stream, WAIT_PLAYLIST, last->msn, last->published - 1);
}

static void serve_media_playlist(struct viewer *viewer, struct stream *stream) {
    const struct hls_query *query = &viewer->query;
    const char *why;
    bool ended = stream->state == STREAM_ENDED;
    if (!viewer->mask)
        fail(viewer->req, 404, "no such variant", target_s(stream));
    else if (ended || (query->blocking && stream_has_part(stream, viewer->mask, query->msn, query->part)))
        answer_playlist(viewer, stream);
    else if (query->blocking && too_far_ahead(stream, query, &why))
        fail(viewer->req, 400, why, 4 * target_s(stream));
    else if (query->blocking)
        hold(viewer, stream, WAIT_PLAYLIST, query->msn, query->part);
    else if (!caught_up(stream, viewer->mask))
        hold_until_caught_up(viewer, stream);
    else if (waits_for_a_segment(viewer, stream))
        hold(viewer, stream, WAIT_PLAYLIST, stream_last_segment(stream, viewer->mask)->msn + 1, 0);
    else
        answer_playlist(viewer, stream);
}

/* Held until there is an independent chunk, which is looked for whenever there is another part. */
static void serve_live(struct viewer *viewer, struct stream *stream) {
    struct viewers *viewers = viewer->viewers;
    if (!viewer->mask || is_text(&stream->open->open, viewer->mask))
        fail(viewer->req, 404, "no such variant", target_s(stream));
    else if (stream->state == STREAM_ENDED)
        fail(viewer->req, 404, "not live", 1);
    else if (live_full(viewers->live))
        fail(viewer->req, 503, "too many continuous viewers", 1);
    else if (!caught_up(stream, viewer->mask))
        hold_until_caught_up(viewer, stream);
    else if (answer_live(viewer, stream, viewer->mask))
        return;
    else if (viewer->held_us && loop_now_us(viewers->loop) - viewer->held_us > FIRST_PART_WAIT_US)
        fail(viewer->req, 503, "no independent frame came in time", 1);
    else
        hold(viewer, stream, WAIT_PART, stream->next_part, 0);
}

/* Likewise. */
static void serve_thumb(struct viewer *viewer, struct stream *stream) {
    const struct viewers *viewers = viewer->viewers;
    if (!viewer->mask)
        fail(viewer->req, 404, "the stream has no picture", target_s(stream));
    else if (stream->state == STREAM_ENDED)
        fail(viewer->req, 404, "not live", 1);
    else if (!caught_up(stream, viewer->mask))
        hold_until_caught_up(viewer, stream);
    else if (ask_for_thumb(viewer, stream))
        return;
    else if (viewer->held_us && loop_now_us(viewers->loop) - viewer->held_us > FIRST_PART_WAIT_US)
        fail(viewer->req, 503, "no independent frame came in time", 1);
    else
        hold(viewer, stream, WAIT_PART, stream->next_part, 0);
}

/* The part that comes next (LL-052), or one that is here of other tracks only. Another worker may be ahead by a part,
 * and what it has hinted at be asked for here. */
static bool part_comes(const struct viewer *viewer, const struct stream *stream) {
    uint64_t number = viewer->target.number;
    return viewer->target.kind == TARGET_PART && stream->state != STREAM_ENDED && number <= stream->next_part + 1 &&
           number >= stream_next_part(stream, viewer->mask);
}

/* A segment that is under way (another worker may have its last part already, and have listed it), or is here of other
 * tracks only. */
static const struct segment *coming_segment(const struct viewer *viewer, const struct stream *stream) {
    const struct segment *segment =
        viewer->target.kind == TARGET_SEGMENT ? stream_segment(stream, viewer->target.number) : NULL;
    if (!segment || !viewer->mask || stream->state == STREAM_ENDED ||
        segment_whole(segment, variant_within(&segment->open->open, &stream->open->open, viewer->mask)))
        return NULL;
    bool under_way = !segment->complete && segment == stream->segments[stream->segment_count - 1];
    return under_way || (segment->complete && !caught_up(stream, viewer->mask)) ? segment : NULL;
}

static void hold_segment(struct viewer *viewer, struct stream *stream, const struct segment *segment) {
    if (segment->complete)
        hold_until_caught_up(viewer, stream);
    else
        hold(viewer, stream, WAIT_PLAYLIST, segment->msn, segment->published);
}

static void note_tracks(struct viewer *viewer, struct stream *stream) {
    viewer->mask = viewer->target.kind == TARGET_THUMB
                       ? thumb_mask(stream)
                       : variant_parse(&stream->open->open, viewer->target.variant, strlen(viewer->target.variant));
    if (viewer->mask)
        follows_ask(viewer->viewers->follows, stream, viewer->mask);
}

static void serve(struct viewer *viewer, struct stream *stream) {
    const struct segment *segment;
    note_tracks(viewer, stream);
    if (!stream_last_segment(stream, 0)) {
        if (stream->state == STREAM_ENDED)
            fail(viewer->req, 404, "not live", 1);
        else
            hold(viewer, stream, WAIT_PLAYLIST, 0, 0); /* starting: the first part is on its way */
    } else if (viewer->target.kind == TARGET_MEDIA) {
        serve_media_playlist(viewer, stream);
    } else if (part_comes(viewer, stream)) {
        hold(viewer, stream, WAIT_PART, viewer->target.number, 0);
    } else if ((segment = coming_segment(viewer, stream))) {
        hold_segment(viewer, stream, segment);
    } else {
        answer(viewer, stream);
    }
}

/* --- following --- */

static void on_followed(struct follow_wait *wait, struct stream *stream) {
    struct viewer *viewer = list_entry(wait, struct viewer, parked_wait);
    viewer->parked = false;
    viewer->viewers->waiting--;
    if (stream)
        serve(viewer, stream);
    else
        fail(viewer->req, 404, "not live", 1);
}

static void park(struct viewer *viewer) {
    struct viewers *viewers = viewer->viewers;
    viewer->parked = true;
    viewers->waiting++;
    viewer->parked_wait.fn = on_followed;
    /* Who asks for the multivariant playlist is about to play: most likely what is listed first. */
    const struct track_names tracks = track_names_of(viewer->target.kind == TARGET_MULTIVARIANT ? "v0a0"
                                                     : viewer->target.kind == TARGET_THUMB      ? "v0"
                                                                                           : viewer->target.variant);
    follows_wait(viewers->follows, viewer->target.stream, &viewer->parked_wait, NULL, &tracks);
}

static void on_request_close(void *ctx) {
    struct viewer *viewer = ctx;
    if (viewer->parked) {
        follow_wait_cancel(&viewer->parked_wait);
        viewer->viewers->waiting--;
    }
    if (viewer->thumb)
        thumb_ask_cancel(viewer->thumb);
    if (viewer->held) {
        waiter_cancel(&viewer->waiter);
        viewer->viewers->waiting--;
        metric_add(&metrics[M_HELD], -1);
    }
    free(viewer);
}

static void handle_stream(struct viewers *viewers, struct viewer *viewer) {
    struct stream *stream = follows_find(viewers->follows, viewer->target.stream);
    if (stream)
        serve(viewer, stream);
    else if (viewers->waiting >= viewers->waiting_max)
        fail(viewer->req, 503, "too many requests are waiting", 1);
    else
        park(viewer);
}

static void metric_request(enum target_kind kind) {
    static const int metric_of[] = {[TARGET_MULTIVARIANT] = M_PLAYLIST,
                                    [TARGET_MEDIA] = M_PLAYLIST,
                                    [TARGET_INIT] = M_INIT,
                                    [TARGET_SEGMENT] = M_SEGMENT,
                                    [TARGET_PART] = M_PART,
                                    [TARGET_LIVE] = M_LIVE,
                                    [TARGET_THUMB] = M_THUMB};
    metric_add(&metrics[metric_of[kind]], 1);
}

/* What needs no stream. */
static bool handle_fixed(struct viewers *viewers, struct http_request *req, const struct target *target) {
    enum http_method method = http_request_method(req);
    if (method == HTTP_OPTIONS)
        answer_preflight(req);
    else if (method != HTTP_GET && method != HTTP_HEAD)
        fail(req, 405, NULL, 0);
    else if (target->kind == TARGET_NONE)
        fail(req, 404, NULL, 1);
    else if (target->kind == TARGET_THUMB && !viewers->thumbs)
        fail(req, 404, "no thumbnails are made here", 60);
    else if (target->kind == TARGET_PAGE_SLASH)
        answer_redirect(req);
    else if (!admit(viewers, req, target->kind))
        return true;
    else if (target->kind == TARGET_STEERING)
        answer_steering(viewers, req);
    else if (target->kind == TARGET_PAGE || target->kind == TARGET_ASSET)
        answer_asset(viewers, req, target->kind == TARGET_PAGE ? "index.html" : target->file);
    else
        return false;
    return true;
}

void viewers_handle(void *ctx, struct http_request *req) {
    struct viewers *viewers = ctx;
    struct target target = target_parse(http_request_path(req));
    if (handle_fixed(viewers, req, &target))
        return;
    struct hls_query query = {0};
    const char *why;
    if (target.kind == TARGET_MEDIA && hls_query_parse(http_request_query(req), &query, &why)) {
        fail(req, 400, why, 1);
        return;
    }
    uint32_t width = 0;
    if (target.kind == TARGET_THUMB && !thumb_width(req, &width)) {
        fail(req, 400, "w is 160, 320 or 640", 3600);
        return;
    }
    metric_request(target.kind);
    http_request_set_urgency(req, target_urgency(&target));
    struct viewer *viewer = malloc(sizeof *viewer);
    if (!viewer)
        abort();
    *viewer = (struct viewer){.viewers = viewers, .req = req, .target = target, .query = query, .width = width};
    http_request_on_close(req, on_request_close, viewer);
    handle_stream(viewers, viewer);
}

/* --- life cycle --- */

struct viewers *viewers_create(struct loop *loop, struct follows *follows, const struct viewers_settings *settings) {
    struct viewers *viewers = calloc(1, sizeof *viewers);
    if (!viewers)
        abort();
    *viewers = (struct viewers){.loop = loop,
                                .follows = follows,
                                .muxed = settings->muxed,
                                .waiting_max = settings->waiting_max,
                                .steer = settings->steer,
                                .load = settings->load,
                                .thumbs = settings->thumbs ? thumbs_client_create(settings->thumbs, loop) : NULL,
                                .seed = (uint32_t)rand(),
                                .live = live_create(settings->max_lag_us, settings->live_readers_max)};
    return viewers;
}

void viewers_destroy(struct viewers *viewers) {
    if (!viewers)
        return;
    live_destroy(viewers->live);
    thumbs_client_destroy(viewers->thumbs);
    free(viewers);
}
