/* One HTTP/1.1 connection of a viewer, kept alive: one request at a time, its body handed on as it comes, so that a
 * connection holds no buffer. Connects when it is first needed, and again when it was lost. Callbacks run from
 * loop_run, never from within a call; from within them the client may be used for the next request, or closed. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/h1.h"

struct loop;

/* The server, and where connections come from. */
struct client_server {
    struct loop *loop;
    struct sockaddr_storage address;
    socklen_t address_len;
    char host[128];       /* for the Host field */
    uint32_t sources;     /* 127.0.0.1 and so many minus one after it, in turns; 0: the system's choice */
    uint32_t next_source;
    uint32_t connecting;  /* connections that are not yet established */
    uint64_t connections; /* established so far */
};

struct client_events {
    void (*on_body)(void *ctx, const uint8_t *data, size_t len);
    void (*on_end)(void *ctx, int status);
    /* The connection was refused, lost, or says what is not HTTP, while a request was under way. */
    void (*on_lost)(void *ctx);
};

enum client_state {
    CLIENT_CLOSED,
    CLIENT_CONNECTING, /* a request waits */
    CLIENT_READY,      /* connected; no request under way */
    CLIENT_SENDING,    /* the socket took only part of the request */
    CLIENT_HEAD,       /* the response's head is awaited, or arriving */
    CLIENT_BODY,
};

struct client {
    struct client_server *server;
    const struct client_events *events;
    void *ctx;
    struct loop_io *io;
    int fd;
    enum client_state state;
    uint32_t generation; /* of its connection */
    int status;
    bool chunked, until_close, close;
    uint64_t remaining; /* of a body with a length */
    struct h1_chunked decoder;
    int64_t active_us; /* when the request that is under way was made, or bytes of its response last came */
    uint8_t *kept;   /* of a request that is being sent, or of a head that comes in pieces; on the heap */
    uint32_t kept_len;
};

void client_init(struct client *client, struct client_server *server, const struct client_events *events, void *ctx);
/* GET `path`, which begins with '/'. No request may be under way. */
void client_get(struct client *client, const char *path);
/* Closes the connection; a request that is under way is forgotten, without a word. */
void client_close(struct client *client);
/* Loses the connection when a request has been under way for so long without a byte. */
void client_check(struct client *client, int64_t now_us, int64_t timeout_us);
static inline bool client_busy(const struct client *client) {
    return client->state != CLIENT_CLOSED && client->state != CLIENT_READY;
}
