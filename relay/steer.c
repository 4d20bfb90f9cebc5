#include "relay/steer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

enum { TTL_S = 30, TTL_OVER_S = 10 };

struct peer {
    char url[STEER_URL_LEN], id[STEER_ID_LEN];
};

struct steer {
    const char *node;
    bool redirect;
    size_t peer_count;
    struct peer peers[STEER_PEERS_MAX];
};

static const char *authority_of(const char *url) {
    const char *slashes = strstr(url, "://");
    return slashes ? slashes + 3 : url;
}

static int host_len(const char *url) {
    const char *authority = authority_of(url), *colon = strrchr(authority, ':'), *bracket = strchr(authority, ']');
    return colon && colon > (bracket ? bracket : authority) ? (int)(colon - authority) : (int)strlen(authority);
}

/* A pathway's name is of letters, digits, '.', '-' and '_'. */
static void make_id(char out[STEER_ID_LEN], const char *url) {
    snprintf(out, STEER_ID_LEN, "%s", authority_of(url));
    for (char *p = out; *p; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || strchr(".-_", *p)))
            *p = '_';
}

static void add_peer(struct steer *steer, const char *url, size_t len) {
    if (!len || steer->peer_count == STEER_PEERS_MAX)
        return;
    struct peer *peer = &steer->peers[steer->peer_count++];
    snprintf(peer->url, sizeof peer->url, "%.*s", (int)len, url);
    make_id(peer->id, peer->url);
}

void steer_set_peers(struct steer *steer, const char *urls, size_t len) {
    steer->peer_count = 0;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(urls + at, '\n', len - at);
        size_t n = end ? (size_t)(end - urls) - at : len - at;
        add_peer(steer, urls + at, n);
        at += n + 1;
    }
}

struct steer *steer_create(const struct steer_settings *settings) {
    struct steer *steer = calloc(1, sizeof *steer);
    if (!steer)
        abort();
    *steer = (struct steer){.node = settings->node, .redirect = settings->redirect};
    for (size_t i = 0; i < settings->peer_count; i++)
        add_peer(steer, settings->peers[i], strlen(settings->peers[i]));
    return steer;
}

void steer_destroy(struct steer *steer) {
    free(steer);
}

const char *steer_pathway(const struct steer *steer) {
    return steer->peer_count ? steer->node : NULL;
}

static const struct peer *peer_at(const struct steer *steer, uint32_t seed, size_t i) {
    return &steer->peers[(seed + i) % steer->peer_count];
}

static void print_priority(const struct steer *steer, uint32_t seed, bool away, struct buf *out) {
    buf_append_str(out, "\"PATHWAY-PRIORITY\":[");
    if (!away)
        buf_printf(out, "\"%s\"", steer->node);
    for (size_t i = 0; i < steer->peer_count; i++)
        buf_printf(out, "%s\"%s\"", away && !i ? "" : ",", peer_at(steer, seed, i)->id);
    if (away)
        buf_printf(out, ",\"%s\"", steer->node);
    buf_append_str(out, "]");
}

/* Peers serve the same paths, so each is this pathway under another host: its name alone, for a port can't be replaced.
 */
static void print_clones(const struct steer *steer, struct buf *out) {
    buf_append_str(out, "\"PATHWAY-CLONES\":[");
    for (size_t i = 0; i < steer->peer_count; i++)
        buf_printf(out, "%s{\"BASE-ID\":\"%s\",\"ID\":\"%s\",\"URI-REPLACEMENT\":{\"HOST\":\"%.*s\"}}", i ? "," : "",
                   steer->node, steer->peers[i].id, host_len(steer->peers[i].url), authority_of(steer->peers[i].url));
    buf_append_str(out, "]");
}

void steer_manifest(const struct steer *steer, enum load_level level, uint32_t seed, struct buf *out) {
    bool away = level != LOAD_OK && steer->peer_count;
    buf_printf(out, "{\"VERSION\":1,\"TTL\":%d,", away ? TTL_OVER_S : TTL_S);
    print_priority(steer, seed, away, out);
    buf_append_str(out, ",");
    print_clones(steer, out);
    buf_append_str(out, "}\n");
}

void steer_sources(const struct steer *steer, struct buf *out) {
    for (size_t i = 0; i < steer->peer_count; i++)
        buf_printf(out, " %s", steer->peers[i].url);
}

enum steer_verdict steer_judge(const struct steer *steer, enum load_level level, bool moved) {
    if (level != LOAD_OK && steer->redirect && steer->peer_count && !moved)
        return STEER_REDIRECT;
    return level == LOAD_FULL ? STEER_REFUSE : STEER_SERVE;
}

const char *steer_peer(const struct steer *steer, uint32_t seed) {
    return peer_at(steer, seed, 0)->url;
}
