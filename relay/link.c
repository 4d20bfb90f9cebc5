#include "relay/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/media/hub.h"

enum { URL_LEN = UPSTREAM_URL_LEN + STREAM_NAME_LEN + 128 };

/* One fetch: the timeline's, or a track's. */
struct feed {
    struct link *link;
    char track[4]; /* "": the timeline */
    struct http_peer_fetch fetch;
    struct feed_reader *reader; /* a track's */
    enum link_failure failure;  /* what the status says, should it end */
};

struct link {
    struct loop *loop;
    struct upstream *upstream;
    struct link_events events;
    void *ctx;
    char stream[STREAM_NAME_LEN], hops[HUB_HOPS_LEN + NODE_NAME_LEN];
    struct feed timeline, tracks[TRACKS_MAX];
    struct feed_lines *lines;
    bool failed, answered;
    enum link_failure failure;
    char why[128];
    struct loop_timer *fail_timer;
    int64_t heard_us;
};

static struct metric metrics[] = {
    {"weir_pull_tracks", NULL, "Tracks taken from upstream.", METRIC_GAUGE, 0},
};
enum { M_TRACKS };

void links_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void on_fail_timer(void *ctx) {
    struct link *link = ctx;
    link->events.failed(link->ctx, link, link->failure, link->why);
}

static void fail(struct link *link, enum link_failure failure, const char *why) {
    if (link->failed)
        return;
    link->failed = true;
    link->failure = failure;
    snprintf(link->why, sizeof link->why, "%s", why);
    loop_timer_set(link->fail_timer, 0);
}

static const char *why_of(int rc) {
    return rc == -ENODATA   ? "something is missing in the feed"
           : rc == -ENOBUFS ? "its feeds are too far apart"
                            : "malformed feed";
}

/* --- what comes --- */

static int on_line(void *ctx, const struct feed_line *line) {
    struct link *link = ctx;
    if (line->kind == FEED_LINE_BEAT || line->kind == FEED_LINE_UNKNOWN || line->kind >= FEED_LINE_TOUCH)
        return 0;
    if (line->kind == FEED_LINE_HELLO && line->version != FEED_VERSION)
        return -EPROTO;
    int rc = link->events.line(link->ctx, link, line);
    return link->failed ? -ECANCELED : rc;
}

static int on_item(void *ctx, const struct feed_box *box, struct slice body) {
    struct feed *feed = ctx;
    struct link *link = feed->link;
    if (box->kind == FEED_INIT)
        return 0; /* the timeline has it */
    int rc = link->events.chunk(link->ctx, link, feed->track, box, body);
    return link->failed ? -ECANCELED : rc;
}

static void on_data(void *ctx, const uint8_t *data, size_t len) {
    struct feed *feed = ctx;
    struct link *link = feed->link;
    if (link->failed)
        return;
    link->heard_us = loop_now_us(link->loop);
    int rc = feed->reader ? feed_reader_push(feed->reader, data, len) : feed_lines_push(link->lines, data, len);
    if (rc)
        fail(link, LINK_BROKEN, why_of(rc));
}

static void on_head(void *ctx, int status) {
    struct feed *feed = ctx;
    struct link *link = feed->link;
    struct http_fetch_times times = http_fetch_times(feed->fetch.fetch);
    link->heard_us = loop_now_us(link->loop);
    if (status == 200 && times.connect_us > 0)
        score_rtt(&link->upstream->score, times.connect_us);
    else if (status == 200 && feed->reader) /* it is answered at once, on a connection that stands */
        score_rtt(&link->upstream->score, times.first_byte_us);
    feed->failure = status == 404 ? LINK_UNKNOWN : status == 410 ? LINK_GONE : status == 508 ? LINK_LOOP : LINK_BROKEN;
}

static void on_end(void *ctx, int error, const char *text) {
    struct feed *feed = ctx;
    struct link *link = feed->link;
    http_peer_ended(&link->upstream->peer, &feed->fetch);
    fail(link, error == -EREMOTEIO ? feed->failure : LINK_BROKEN, error ? text : "the feed has ended");
}

/* --- fetches --- */

static void open_feed(struct link *link, struct feed *feed, const char *query) {
    char url[URL_LEN];
    const struct http_header hops = {"Weir-Hops", link->hops};
    snprintf(url, sizeof url, "%s/feed/%s%s%s%s", link->upstream->url, link->stream, feed->track[0] ? "/" : "",
             feed->track, query);
    feed->fetch = http_peer_fetch(&link->upstream->peer, &(struct http_fetch_options){.url = url,
                                                                                      .headers = &hops,
                                                                                      .header_count = 1,
                                                                                      .head = on_head,
                                                                                      .data = on_data,
                                                                                      .end = on_end,
                                                                                      .ctx = feed});
}

static void close_feed(struct link *link, struct feed *feed) {
    http_peer_cancel(&link->upstream->peer, &feed->fetch);
    metric_add(&metrics[M_TRACKS], -(feed->reader != NULL));
    feed_reader_destroy(feed->reader);
    *feed = (struct feed){.link = link};
}

struct link *link_create(struct loop *loop, struct upstream *upstream, const struct link_settings *settings,
                         const struct link_events *events, void *ctx) {
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    *link = (struct link){.loop = loop, .upstream = upstream, .events = *events, .ctx = ctx};
    upstream->links++;
    snprintf(link->stream, sizeof link->stream, "%s", settings->stream);
    snprintf(link->hops, sizeof link->hops, "%s", settings->hops);
    link->heard_us = loop_now_us(link->loop);
    link->fail_timer = loop_timer_create(link->loop, on_fail_timer, link);
    link->lines = feed_lines_create(link->stream, on_line, link);
    for (int i = 0; i < TRACKS_MAX; i++)
        link->tracks[i].link = link;
    link->timeline.link = link;
    char query[128] = "?", *end = query + 1;
    if (settings->from_msn)
        end += sprintf(end, "from=%" PRIu64 "&", settings->from_msn);
    else if (settings->back_ms)
        end += sprintf(end, "back_ms=%" PRIu32 "&", settings->back_ms);
    if (settings->tracks && settings->tracks->count) {
        end += sprintf(end, "tracks=");
        for (uint32_t i = 0; i < settings->tracks->count; i++)
            end += sprintf(end, "%s", settings->tracks->items[i]);
        end++;
    }
    end[-1] = 0; /* of "?" or "&" */
    open_feed(link, &link->timeline, query);
    return link;
}

void link_destroy(struct link *link) {
    if (!link)
        return;
    close_feed(link, &link->timeline);
    link_close_tracks(link);
    feed_lines_destroy(link->lines);
    loop_timer_destroy(link->fail_timer);
    link->upstream->links--;
    free(link);
}

void link_open_track(struct link *link, const char *track, uint64_t msn, uint32_t number) {
    struct feed *free_one = NULL;
    for (int i = 0; i < TRACKS_MAX; i++) {
        if (link->tracks[i].reader && !strcmp(link->tracks[i].track, track))
            return;
        if (!link->tracks[i].reader && !free_one)
            free_one = &link->tracks[i];
    }
    if (!free_one || link->failed)
        return;
    char query[64];
    snprintf(query, sizeof query, "?from=%" PRIu64 ".%" PRIu32, msn, number);
    snprintf(free_one->track, sizeof free_one->track, "%s", track);
    free_one->reader = feed_reader_create(on_item, free_one);
    metric_add(&metrics[M_TRACKS], 1);
    open_feed(link, free_one, query);
}

bool link_has_tracks(const struct link *link) {
    for (int i = 0; i < TRACKS_MAX; i++)
        if (link->tracks[i].reader)
            return true;
    return false;
}

void link_close_tracks(struct link *link) {
    const struct track_names none = {0};
    link_keep_tracks(link, &none);
}

void link_keep_tracks(struct link *link, const struct track_names *tracks) {
    for (int i = 0; i < TRACKS_MAX; i++)
        if (!track_names_have(tracks, link->tracks[i].track))
            close_feed(link, &link->tracks[i]);
}

struct upstream *link_upstream(const struct link *link) {
    return link->upstream;
}

int64_t link_heard_us(const struct link *link) {
    return link->heard_us;
}
