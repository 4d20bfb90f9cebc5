#include "common/http/peer.h"

#include <stdlib.h>

#include "common/base/loop.h"

/* Its client is destroyed in a turn of its own: the end of its last fetch may be told by the client itself. */
struct http_peer_retired {
    struct http_peer_retired *next;
    struct http_peer *peer;
    struct http_client *client;
    uint32_t fetches;
    struct loop_timer *timer;
};

void http_peer_init(struct http_peer *peer, struct loop *loop, const struct http_client_config *config) {
    *peer = (struct http_peer){.loop = loop, .config = *config, .client = http_client_create(loop, config)};
}

static void retired_destroy(struct http_peer_retired *retired) {
    struct http_peer_retired **at = &retired->peer->retired;
    while (*at != retired)
        at = &(*at)->next;
    *at = retired->next;
    http_client_destroy(retired->client);
    loop_timer_destroy(retired->timer);
    free(retired);
}

void http_peer_finish(struct http_peer *peer) {
    while (peer->retired)
        retired_destroy(peer->retired);
    http_client_destroy(peer->client);
}

struct http_peer_fetch http_peer_fetch(struct http_peer *peer, const struct http_fetch_options *options) {
    peer->fetches++;
    return (struct http_peer_fetch){http_client_fetch(peer->client, options), peer->client};
}

void http_peer_ended(struct http_peer *peer, struct http_peer_fetch *fetch) {
    struct http_peer_retired *retired = peer->retired;
    fetch->fetch = NULL;
    if (fetch->client == peer->client) {
        peer->fetches--;
        return;
    }
    while (retired->client != fetch->client)
        retired = retired->next;
    if (--retired->fetches == 0)
        loop_timer_set(retired->timer, 0);
}

void http_peer_cancel(struct http_peer *peer, struct http_peer_fetch *fetch) {
    if (!fetch->fetch)
        return;
    http_fetch_cancel(fetch->fetch);
    http_peer_ended(peer, fetch);
}

static void on_idle(void *ctx) {
    retired_destroy(ctx);
}

void http_peer_renew(struct http_peer *peer) {
    struct http_peer_retired *retired = calloc(1, sizeof *retired);
    if (!retired)
        abort();
    *retired = (struct http_peer_retired){.next = peer->retired,
                                          .peer = peer,
                                          .client = peer->client,
                                          .fetches = peer->fetches};
    retired->timer = loop_timer_create(peer->loop, on_idle, retired);
    if (!retired->fetches)
        loop_timer_set(retired->timer, 0);
    peer->retired = retired;
    peer->client = http_client_create(peer->loop, &peer->config);
    peer->fetches = 0;
}
