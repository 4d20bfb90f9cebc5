/* A folder of etcd, kept in step in both directions: what is there is told as it changes, and what is ours is there, under a lease that
 * makes it vanish some time after we do. Over the v3 JSON gateway (etcd_json.h), with two connections: one for what is asked, one call
 * at a time, and one for the reading and the watch.
 *
 * Servers are tried in turn, without end, with growing pauses. A watch that breaks goes on where it was; everything is read anew (begin,
 * an entry for each key, complete) at first, when the revisions wanted have been compacted, and when the lease is lost or the revisions
 * have gone back, for then etcd may have lost everything. What is ours is written again then, and when somebody else changes it.
 *
 * One loop. Callbacks come from it, never from inside a call; they may call etcd_set and etcd_unset. Nothing is logged. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/fleet/etcd_json.h"
#include "common/http/client.h"

struct etcd;
struct loop;

struct etcd_settings {
    char *const *urls; /* "http://10.0.0.1:2379"; they outlive it, as does the prefix */
    size_t url_count;  /* at least one */
    const char *prefix; /* of keys, "weir/" */
    uint32_t ttl_s;     /* of the lease */
    struct http_client_config client;
};
struct etcd_events {
    /* Everything that is there follows; what is not among it, up to `complete`, is not there any more. A reading that fails begins
     * again without a `complete`. */
    void (*begin)(void *ctx);
    /* With its whole key: there, or changed; value NULL: gone. Also of our own. */
    etcd_entry_fn *entry;
    void (*complete)(void *ctx);
    /* Up: what is told is what is there, and what is ours is written. Down: why. Only changes, and what
     * comes of the first attempt. */
    void (*state)(void *ctx, bool up, const char *url, const char *why);
};
struct etcd *etcd_create(struct loop *loop, const struct etcd_settings *settings, const struct etcd_events *events, void *ctx);
/* The lease stays, for as long as it does. NULL is allowed. */
void etcd_destroy(struct etcd *etcd);

/* From here on the key is ours, and is to have that value (shorter than ETCD_VALUE_MAX). Both are copied. */
void etcd_set(struct etcd *etcd, const char *key, const char *value);
/* It is to be gone, also if it isn't ours. */
void etcd_unset(struct etcd *etcd, const char *key);
/* Everything of ours is to be gone, at once: gives the lease back. The last thing to be asked for. */
void etcd_leave(struct etcd *etcd);

/* Seconds since etcd last said something, since the start if it never did. */
double etcd_age_s(const struct etcd *etcd);
