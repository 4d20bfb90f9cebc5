#include "relay/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/secret.h"
#include "common/base/list.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/server.h"
#include "common/media/feed_out.h"
#include "common/media/hub.h"
#include "relay/follow.h"

enum {
    BEAT_US = 1000000, /* a timeline that has said nothing for so long says so */
    BACK_MAX_MS = 3600 * 1000,
};

struct feeds {
    struct loop *loop;
    struct follows *follows;
    struct feeds_settings settings;
    uint32_t responses;
    bool draining;
    struct list timelines; /* for beats */
    struct loop_timer *beat_timer;
};

/* A request, and the endless response that it becomes. */
struct response {
    struct feeds *feeds;
    struct http_request *req;
    char stream[STREAM_NAME_LEN], track[4];
    struct track_names tracks;
    struct follow_wait wait;
    struct list beat_link;
    struct reader reader;
    bool answered, silent; /* nothing was said since the last beat was due */
    bool beat_due, drain_due;
    struct timeline_out timeline;
    struct track_out out;
};

static struct metric metrics[] = {
    {"weir_feed_responses", "kind=\"timeline\"", "Feeds that other nodes are being given.", METRIC_GAUGE, 0},
    {"weir_feed_responses", "kind=\"track\"", "Feeds that other nodes are being given.", METRIC_GAUGE, 0},
    {"weir_feed_sent_bytes_total", NULL, "Bytes given to other nodes.", METRIC_COUNTER, 0},
    {"weir_feed_cut_off_total", NULL, "Feeds ended because who read them was too slow.", METRIC_COUNTER, 0},
    {"weir_feed_refused_total", "reason=\"key\"", "Questions of other nodes that were refused.", METRIC_COUNTER, 0},
    {"weir_feed_refused_total", "reason=\"loop\"", "Questions of other nodes that were refused.", METRIC_COUNTER, 0},
};
enum { M_TIMELINES, M_TRACKS, M_BYTES, M_CUT_OFF, M_KEY, M_LOOP };

void feeds_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static bool is_track(const struct response *response) {
    return response->track[0];
}

/* Of the stream's tracks, as they are now: the response's, or for a timeline those that are going to be asked for. */
static uint32_t tracks_asked(const struct response *response, const struct stream *stream) {
    const struct record_open *open = &stream->open->open;
    uint32_t mask = 0;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (track_names_have(&response->tracks, open->tracks[i].name))
            mask |= 1u << i;
    return mask;
}

/* --- bodies --- */

static int count(int n, const struct slice *slices) {
    int64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += (int64_t)slices[i].len;
    metric_add(&metrics[M_BYTES], bytes);
    if (n == -ESTALE)
        metric_add(&metrics[M_CUT_OFF], 1);
    return n > 0 ? n : n == -EAGAIN ? HTTP_SOURCE_WAIT : HTTP_SOURCE_ERROR;
}

static int next_lines(void *ctx, struct slice *slices, int max) {
    struct response *response = ctx;
    if (!response->reader.stream)
        return 0;
    if (response->drain_due && response->timeline.greeted) {
        response->drain_due = false;
        slices[0] = timeline_out_drain();
        return count(1, slices);
    }
    int n = timeline_out_slices(&response->timeline, response->reader.stream, slices, max);
    if (n == -EAGAIN && response->beat_due) {
        slices[0] = timeline_out_beat();
        n = 1;
    }
    if (n > 0)
        response->silent = response->beat_due = false;
    return count(n, slices);
}

static int next_pieces(void *ctx, struct slice *slices, int max) {
    struct response *response = ctx;
    if (!response->reader.stream)
        return 0;
    response->reader.stream->asked |= tracks_asked(response, response->reader.stream);
    return count(track_out_slices(&response->out, response->reader.stream, slices, max), slices);
}

static void on_news(struct reader *reader) {
    http_request_resume(list_entry(reader, struct response, reader)->req);
}

/* --- answers --- */

static void refuse(struct http_request *req, int status, const char *why) {
    const struct http_header headers[] = {{"Cache-Control", "no-store"}, {"WWW-Authenticate", "Bearer"}};
    http_respond_error(req, status, why, headers, status == 401 ? 2 : 1);
}

static bool has_place(const struct stream *stream, uint64_t msn) {
    return !stream->segment_count || msn >= stream->segments[0]->msn;
}

/* Sets up where the response begins. False: it was answered. */
static bool begin(struct response *response, const struct stream *stream) {
    const char *query = http_request_query(response->req);
    char from[48], back[16];
    uint64_t msn = 0, back_ms = 0;
    uint32_t number = 0;
    bool has_from = http_query_get(query, "from", from, sizeof from);
    if (is_track(response) && !has_from &&
        !tracks_asked(response, stream)) { /* a place may be yet to come, and its track */
        refuse(response->req, 404, "the stream has no such track");
        return false;
    }
    if (has_from && !feed_place_parse(from, &msn, &number)) {
        refuse(response->req, 400, "from is MSN or MSN.CHUNK");
        return false;
    }
    if (has_from && !has_place(stream, msn)) {
        refuse(response->req, 410, "the window has left that place");
        return false;
    }
    if (http_query_get(query, "back_ms", back, sizeof back) &&
        (!feed_place_parse(back, &back_ms, &number) || back_ms > BACK_MAX_MS)) {
        refuse(response->req, 400, "back_ms is a number of milliseconds");
        return false;
    }
    if (back_ms && !has_from)
        msn = timeline_out_back(stream, (int64_t)back_ms * 1000);
    if (is_track(response))
        track_out_init(&response->out, response->track, msn, number);
    else
        timeline_out_init(&response->timeline, response->feeds->settings.node, msn);
    return true;
}

static void answer(struct response *response, struct stream *stream) {
    static const struct http_header timeline[] = {{"Content-Type", "application/x-ndjson"},
                                                  {"Cache-Control", "no-store"}};
    static const struct http_header track[] = {{"Content-Type", "video/mp4"}, {"Cache-Control", "no-store"}};
    if (!begin(response, stream))
        return;
    response->answered = true;
    follows_ask(response->feeds->follows, stream, tracks_asked(response, stream));
    response->drain_due = response->feeds->draining;
    stream_read(stream, &response->reader);
    metric_add(&metrics[is_track(response) ? M_TRACKS : M_TIMELINES], 1);
    if (!is_track(response))
        list_append(&response->feeds->timelines, &response->beat_link);
    const struct http_source source = {.next = is_track(response) ? next_pieces : next_lines,
                                       .ctx = response,
                                       .flags = HTTP_SOURCE_FRAMED};
    http_respond(response->req, &(struct http_response){.status = 200,
                                                        .headers = is_track(response) ? track : timeline,
                                                        .header_count = 2,
                                                        .length = -1,
                                                        .source = source});
}

static void on_followed(struct follow_wait *wait, struct stream *stream) {
    struct response *response = list_entry(wait, struct response, wait);
    if (stream)
        answer(response, stream);
    else
        refuse(response->req, 404, "no such stream");
}

static void on_close(void *ctx) {
    struct response *response = ctx;
    follow_wait_cancel(&response->wait);
    if (response->answered) {
        metric_add(&metrics[is_track(response) ? M_TRACKS : M_TIMELINES], -1);
        reader_cancel(&response->reader);
        list_remove(&response->beat_link);
        timeline_out_finish(&response->timeline);
        track_out_finish(&response->out);
    }
    response->feeds->responses--;
    free(response);
}

/* Whether the question has come through this node before. */
static bool comes_round(const char *hops, const char *node) {
    size_t len = strlen(node);
    for (const char *p = hops; *p;) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n == len && memcmp(p, node, n) == 0)
            return true;
        p += n;
    }
    return false;
}

/* False: it was refused. */
static bool admit(const struct feeds *feeds, struct http_request *req, const char *hops) {
    const struct feeds_settings *settings = &feeds->settings;
    if (settings->key && !secret_borne(settings->key, http_request_header(req, "authorization"))) {
        metric_add(&metrics[M_KEY], 1);
        refuse(req, 401, "the fleet's key is missing or another");
    } else if (comes_round(hops, settings->node)) {
        metric_add(&metrics[M_LOOP], 1);
        refuse(req, 508, "the question came through this node before");
    } else if (strlen(hops) >= HUB_HOPS_LEN) {
        refuse(req, 508, "the question came through too many nodes");
    } else if (http_request_method(req) != HTTP_GET) {
        refuse(req, 405, NULL);
    } else if (feeds->responses >= settings->responses_max) {
        refuse(req, 503, "too many feeds");
    } else {
        return true;
    }
    return false;
}

void feeds_handle(void *ctx, struct http_request *req) {
    struct feeds *feeds = ctx;
    const char *hops = http_request_header(req, "weir-hops");
    hops = hops ? hops : "";
    if (!admit(feeds, req, hops))
        return;
    struct response *response = calloc(1, sizeof *response);
    if (!response)
        abort();
    if (!feed_path_parse(http_request_path(req), response->stream, response->track)) {
        free(response);
        refuse(req, 404, "feeds are at /feed/APP/STREAM and /feed/APP/STREAM/TRACK");
        return;
    }
    if (feeds->draining && !is_track(response)) {
        free(response);
        refuse(req, 503, "this node is about to stop");
        return;
    }
    char tracks[4 * TRACKS_MAX + 1];
    if (is_track(response))
        track_names_add(&response->tracks, response->track);
    else if (http_query_get(http_request_query(req), "tracks", tracks, sizeof tracks))
        response->tracks = track_names_of(tracks);
    response->feeds = feeds;
    response->req = req;
    response->reader.fn = on_news;
    response->wait.fn = on_followed;
    list_init(&response->wait.link);
    list_init(&response->beat_link);
    feeds->responses++;
    http_request_on_close(req, on_close, response);
    struct stream *stream = follows_find_for_node(feeds->follows, response->stream);
    if (stream)
        answer(response, stream);
    else
        follows_wait(feeds->follows, response->stream, &response->wait, hops, &response->tracks);
}

/* --- beats --- */

static void on_beat(void *ctx) {
    struct feeds *feeds = ctx;
    list_each(it, &feeds->timelines) {
        struct response *response = list_entry(it, struct response, beat_link);
        response->beat_due = response->silent;
        response->silent = true;
        if (response->beat_due)
            http_request_resume(response->req);
    }
    loop_timer_set(feeds->beat_timer, BEAT_US);
}

/* --- the end --- */

void feeds_drain(struct feeds *feeds) {
    feeds->draining = true;
    list_each(it, &feeds->timelines) {
        struct response *response = list_entry(it, struct response, beat_link);
        response->drain_due = true;
        http_request_resume(response->req);
    }
}

int64_t feeds_given(void) {
    return atomic_load_explicit(&metrics[M_TIMELINES].value, memory_order_relaxed) +
           atomic_load_explicit(&metrics[M_TRACKS].value, memory_order_relaxed);
}

struct feeds *feeds_create(struct loop *loop, struct follows *follows, const struct feeds_settings *settings) {
    struct feeds *feeds = calloc(1, sizeof *feeds);
    if (!feeds)
        abort();
    *feeds = (struct feeds){.loop = loop, .follows = follows, .settings = *settings};
    list_init(&feeds->timelines);
    feeds->beat_timer = loop_timer_create(loop, on_beat, feeds);
    loop_timer_set(feeds->beat_timer, BEAT_US);
    return feeds;
}

void feeds_destroy(struct feeds *feeds) {
    if (!feeds)
        return;
    loop_timer_destroy(feeds->beat_timer);
    free(feeds);
}
