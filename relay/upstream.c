#include "relay/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "relay/rendezvous.h"

/* The first two differ by what a failure outweighs at once, and so do those from a fallback by what takes several. */
enum { SECOND_MS = 50, FURTHER_MS = 1000, FALLBACK_MS = 2000 };

struct upstreams *upstreams_create(struct loop *loop, const struct http_client_config *config) {
    struct upstreams *upstreams = calloc(1, sizeof *upstreams);
    if (!upstreams)
        abort();
    upstreams->loop = loop;
    upstreams->config = *config;
    return upstreams;
}

void upstreams_destroy(struct upstreams *upstreams) {
    if (!upstreams)
        return;
    for (uint32_t i = 0; i < upstreams->count; i++)
        http_peer_finish(&upstreams->items[i].peer);
    free(upstreams);
}

static void place(struct upstreams *upstreams, struct upstream *upstream, const char *url, size_t len,
                  uint32_t cost_ms) {
    snprintf(upstream->url, sizeof upstream->url, "%.*s", (int)len, url);
    score_init(&upstream->score, cost_ms);
    http_peer_init(&upstream->peer, upstreams->loop, &upstreams->config);
}

int upstreams_add(struct upstreams *upstreams, const char *text) {
    if (upstreams->count == UPSTREAMS_MAX)
        return -ENOSPC;
    size_t len = strcspn(text, " ");
    place(upstreams, &upstreams->items[upstreams->count++], text, len,
          text[len] ? (uint32_t)strtoul(text + len, NULL, 10) : 0);
    return 0;
}

/* --- shields --- */

int upstreams_add_shield(struct upstreams *upstreams, const char *text) {
    int rc = upstreams_add(upstreams, text);
    if (!rc)
        upstreams->items[upstreams->count - 1].shield = true;
    return rc;
}

bool upstreams_have_shields(const struct upstreams *upstreams) {
    for (uint32_t i = 0; i < upstreams->count; i++)
        if (upstreams->items[i].shield)
            return true;
    return false;
}

void upstreams_prefer(const struct upstreams *upstreams, const char *stream, uint32_t ret_ms[UPSTREAMS_MAX]) {
    const char *shields[UPSTREAMS_MAX];
    uint32_t count = 0, seen = 0;
    for (uint32_t i = 0; i < upstreams->count; i++)
        if (upstreams->items[i].shield)
            shields[count++] = upstreams->items[i].url;
    for (uint32_t i = 0; i < UPSTREAMS_MAX; i++)
        ret_ms[i] = count ? FALLBACK_MS : 0; /* also of those that are found later */
    for (uint32_t i = 0; i < upstreams->count; i++) {
        if (!upstreams->items[i].shield)
            continue;
        uint32_t rank = rendezvous_rank(stream, shields, count, seen++);
        ret_ms[i] = rank == 0 ? 0 : rank == 1 ? SECOND_MS : FURTHER_MS;
    }
}

/* --- those that are found --- */

static struct upstream *find(struct upstreams *upstreams, const char *url) {
    for (uint32_t i = 0; i < upstreams->count; i++)
        if (!strcmp(upstreams->items[i].url, url))
            return &upstreams->items[i];
    return NULL;
}

/* A place that nobody refers to; NULL: there is none. */
static struct upstream *find_free(struct upstreams *upstreams) {
    if (upstreams->count < UPSTREAMS_MAX)
        return &upstreams->items[upstreams->count++];
    for (uint32_t i = 0; i < upstreams->count; i++) {
        struct upstream *upstream = &upstreams->items[i];
        if (!upstream->gone || upstream->links)
            continue;
        http_peer_finish(&upstream->peer);
        *upstream = (struct upstream){.generation = upstream->generation + 1};
        return upstream;
    }
    return NULL;
}

static bool listed(const char *url, const char *const *urls, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(url, urls[i]))
            return true;
    return false;
}

size_t upstreams_set_found(struct upstreams *upstreams, const char *const *urls, size_t count) {
    size_t left_out = 0;
    for (uint32_t i = 0; i < upstreams->count; i++)
        upstreams->items[i].gone = upstreams->items[i].found && !listed(upstreams->items[i].url, urls, count);
    for (size_t i = 0; i < count; i++) {
        struct upstream *upstream = find(upstreams, urls[i]) ? NULL : find_free(upstreams);
        if (upstream) {
            place(upstreams, upstream, urls[i], strlen(urls[i]), 0);
            upstream->found = true;
        } else if (!find(upstreams, urls[i])) {
            left_out++;
        }
    }
    return left_out;
}

void upstreams_set_holds(struct upstreams *upstreams, bool (*holds)(void *ctx, const char *stream, const char *url),
                         void *ctx) {
    upstreams->holds = holds;
    upstreams->holds_ctx = ctx;
}

bool upstreams_hold(const struct upstreams *upstreams, uint32_t i, const char *stream) {
    return upstreams->holds && upstreams->holds(upstreams->holds_ctx, stream, upstreams->items[i].url);
}

static void collect(void *ctx, struct buf *out) {
    const struct upstreams *upstreams = ctx;
    metrics_family(out, "weir_upstream_score_ms", "How good an upstream is: less is better.", METRIC_GAUGE);
    for (uint32_t i = 0; i < upstreams->count; i++) {
        char url[2 * UPSTREAM_URL_LEN], labels[2 * UPSTREAM_URL_LEN + 16];
        if (upstreams->items[i].gone)
            continue;
        metrics_escape(url, sizeof url, upstreams->items[i].url);
        snprintf(labels, sizeof labels, "upstream=\"%s\"", url);
        metrics_sample(out, "weir_upstream_score_ms", labels, score_ms(&upstreams->items[i].score, clock_mono_us()));
    }
}

void upstreams_watch(struct upstreams *upstreams) {
    metrics_register_collector(collect, upstreams);
}
