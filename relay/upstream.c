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

int upstreams_add(struct upstreams *upstreams, const char *text) {
    if (upstreams->count == UPSTREAMS_MAX)
        return -ENOSPC;
    struct upstream *upstream = &upstreams->items[upstreams->count++];
    int len = (int)strcspn(text, " ");
    snprintf(upstream->url, sizeof upstream->url, "%.*s", len, text);
    score_init(&upstream->score, text[len] ? (uint32_t)strtoul(text + len, NULL, 10) : 0);
    http_peer_init(&upstream->peer, upstreams->loop, &upstreams->config);
    return 0;
}

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
    for (uint32_t i = 0; i < upstreams->count; i++) {
        ret_ms[i] = count ? FALLBACK_MS : 0;
        if (!upstreams->items[i].shield)
            continue;
        uint32_t rank = rendezvous_rank(stream, shields, count, seen++);
        ret_ms[i] = rank == 0 ? 0 : rank == 1 ? SECOND_MS : FURTHER_MS;
    }
}

static void collect(void *ctx, struct buf *out) {
    const struct upstreams *upstreams = ctx;
    metrics_family(out, "weir_upstream_score_ms", "How good an upstream is: less is better.", METRIC_GAUGE);
    for (uint32_t i = 0; i < upstreams->count; i++) {
        char url[2 * UPSTREAM_URL_LEN], labels[2 * UPSTREAM_URL_LEN + 16];
        metrics_escape(url, sizeof url, upstreams->items[i].url);
        snprintf(labels, sizeof labels, "upstream=\"%s\"", url);
        metrics_sample(out, "weir_upstream_score_ms", labels, score_ms(&upstreams->items[i].score, clock_mono_us()));
    }
}

void upstreams_watch(struct upstreams *upstreams) {
    metrics_register_collector(collect, upstreams);
}
