/* Where viewers may go instead: other relays that serve the same streams under the same names. Players that know HLS Content Steering
 * (draft-pantos-hls-rfc8216bis §7) are told by its manifest, again and again, and change by themselves, also when this relay fails them;
 * others can only be sent there when they begin (302). Pure. One a worker. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/load.h"

struct buf;
struct steer;

enum { STEER_PEERS_MAX = 16, STEER_URL_LEN = 256, STEER_ID_LEN = 64 };

struct steer_settings {
    const char *node;         /* this relay's name, which is its pathway's; outlives the steer */
    char *const *peers;       /* "https://edge-2.example:8443"; copied. With this one's scheme and port, which steering can't change */
    size_t peer_count;
    bool redirect;            /* new viewers are sent to peers when this node is over its limit */
};
struct steer *steer_create(const struct steer_settings *settings);
/* NULL is allowed. */
void steer_destroy(struct steer *steer);
/* Others from now on: `urls` has one a line; copied. Those beyond STEER_PEERS_MAX are left out. */
void steer_set_peers(struct steer *steer, const char *urls, size_t len);

/* The pathway's name for playlists; NULL: there is nowhere to go, so nothing is said of it. */
const char *steer_pathway(const struct steer *steer);
/* The steering manifest. `seed` spreads viewers over peers. */
void steer_manifest(const struct steer *steer, enum load_level level, uint32_t seed, struct buf *out);

/* Appends a space and the URL of each, as a Content-Security-Policy lists sources. */
void steer_sources(const struct steer *steer, struct buf *out);

enum steer_verdict {
    STEER_SERVE,
    STEER_REDIRECT, /* to steer_peer */
    STEER_REFUSE,
};
/* What is to become of a new viewer. `moved`: it was sent here by another, and is sent on to nobody. */
enum steer_verdict steer_judge(const struct steer *steer, enum load_level level, bool moved);
const char *steer_peer(const struct steer *steer, uint32_t seed);
