/* Nodes of a fleet on one loop, for tests of what joins them: each has its own hub, and real HTTP servers on loopback. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/http/server.h"
#include "common/media/hub.h"

struct node {
    struct loop *loop;
    const char *name;
    struct hub *hub;
    struct store *replica;
    struct hub_client *client;
    struct follows *follows;
    struct feeds *feeds;
    struct http_server *http; /* gives feeds */
    uint16_t port;
    char url[64];
    int64_t asked_us; /* when it got its first request; 0: none */
};

/* `key`: that who asks must bear; NULL: none. */
void node_begin(struct node *node, struct loop *loop, const char *name, const char *key);
/* Its listener and its connections are gone at once, as when its process is killed. */
void node_kill(struct node *node);
/* It listens on its port again. */
void node_revive(struct node *node, const char *key);
void node_end(struct node *node);
/* One part, or a whole segment, of feed_fixture.h's stream, through the hub. */
void node_write_part(struct node *node, const char *stream, uint64_t epoch, uint64_t msn, uint32_t index, bool last);
void node_write_segment(struct node *node, const char *stream, uint64_t epoch, uint64_t msn);
void node_open(struct node *node, const char *stream, uint64_t epoch);
void node_state(struct node *node, const char *stream, uint64_t epoch, enum stream_state state);

/* Runs the loop until `fn` is true; false after ten seconds. */
bool await(struct loop *loop, bool (*fn)(void *ctx), void *ctx);
