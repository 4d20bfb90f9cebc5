/* What the parts of the HTTP server share. server.c accepts connections, counts them and keeps their deadlines; conn.c
 * turns a connection's bytes into requests, one after the other; request.c makes a request of a parsed head;
 * respond.c writes the answer.
 *
 * Calls of the user's code never nest: a handler, `on_close` and a source's `finish` run only from conn.c's own turn of
 * a connection (http_conn_run), from a sweep, or from the server's end. Only a source's `next` is called from within
 * http_respond and http_request_resume. What ends a request while the user is on the stack is noted by CONN_DONE and
 * happens in the next turn. */
#pragma once
#include <netinet/in.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/metrics.h"
#include "common/http/h1.h"
#include "common/http/message.h"
#include "common/http/out.h"
#include "common/http/server.h"
#include "common/http/transport.h"

enum {
    HTTP_SCRATCH_BYTES = 65536, /* input of the connection whose turn it is */
    HTTP_RESPONSE_HEAD_MAX = 8192,
    HTTP_TURN_BYTES = 256 * 1024,   /* of output, per connection and turn of the loop */
    HTTP_TURN_REQUESTS = 64,        /* likewise */
    HTTP_LINGER_BYTES = 256 * 1024, /* of input after our last word, read so that it isn't lost to an RST */
    HTTP_LINGER_MS = 2000,
    HTTP_REFUSED_MAX = 256, /* connections over the limit that are being told so at a time */
};

enum conn_state {
    CONN_IDLE,      /* kept alive, no byte of a next request; idle_timeout */
    CONN_RECEIVING, /* head or body of a request is arriving, or awaited after accept; header_timeout */
    CONN_HANDLED,   /* the handler, or the source of its response, has the next move; no deadline of ours */
    CONN_SENDING,   /* the socket is full, or other connections have their turn; stall_timeout */
    CONN_DONE,      /* the response is out, or can't be: the request ends in this turn or the next */
    CONN_LINGER,    /* all is said; input is dropped until the peer closes; HTTP_LINGER_MS */
    CONN_STATES
};

struct http_address;

struct http_conn {
    struct http_server *server;
    struct list link; /* in server->conns[state], oldest `since_us` first */
    int64_t since_us; /* when it entered its state; when sending, when bytes last went out */
    enum conn_state state;
    struct transport transport;
    struct loop_io *io;
    struct http_request *req;     /* of which at least the head has come */
    struct http_address *address; /* NULL: refused, and not counted */
    uint8_t *tail;                /* input that is not used yet, between turns */
    uint32_t tail_len;
    uint32_t lingered;        /* bytes dropped while lingering */
    uint16_t handled;         /* requests in this turn */
    bool readable, writable;  /* since the last edge, until EAGAIN or its like */
    bool running;             /* http_conn_run is on the stack */
    bool close;               /* after this response */
    bool broken;              /* to be aborted, not closed */
    struct sockaddr_in6 peer; /* IPv4 as a mapped address */
};

struct http_request {
    struct http_conn *conn;
    enum http_method method;
    uint8_t minor;
    bool keep_alive, expect_continue, chunked;
    uint64_t body_remaining; /* of a body with Content-Length */
    struct h1_chunked decoder;
    struct buf body;
    const char *path, *query;
    struct http_out *out; /* NULL until http_respond */
    void (*on_close)(void *ctx);
    void *on_close_ctx;
    char peer[INET6_ADDRSTRLEN + 10]; /* "" until asked for */
    uint16_t field_count;
    struct http_header fields[]; /* names in lower case; then the text that all these point into */
};

struct http_server {
    struct loop *loop;
    struct http_limits limits;
    http_handler_fn *handler;
    void *ctx;
    struct list listeners;
    struct list conns[CONN_STATES];
    uint32_t count, refused_count;
    bool draining;
    struct map *addresses;
    struct loop_timer *sweep;
    struct loop_timer *deferred; /* armed while connections in CONN_DONE await their turn */
    int64_t date_s;
    char date[HTTP_DATE_LEN];
    size_t in_pos, in_end; /* the unused part of `scratch` */
    uint8_t scratch[HTTP_SCRATCH_BYTES];
};

enum http_metric {
    HTTP_METRIC_CONNECTIONS,
    HTTP_METRIC_CONNECTIONS_TOTAL,
    HTTP_METRIC_REQUESTS_2XX,
    HTTP_METRIC_REQUESTS_3XX,
    HTTP_METRIC_REQUESTS_4XX,
    HTTP_METRIC_REQUESTS_5XX,
    HTTP_METRIC_BYTES_SENT,
    HTTP_METRIC_REFUSED_CONNECTIONS,
    HTTP_METRIC_REFUSED_ADDRESS,
    HTTP_METRIC_REFUSED_DESCRIPTORS,
    HTTP_METRIC_TIMEOUT_HEADER,
    HTTP_METRIC_TIMEOUT_IDLE,
    HTTP_METRIC_TIMEOUT_STALL,
    HTTP_METRIC_ABORTED,
    HTTP_METRICS
};
extern struct metric http_metrics[HTTP_METRICS];
static inline void http_count(enum http_metric metric, int64_t n) {
    metric_add(&http_metrics[metric], n);
}

/* --- server.c --- */
/* Gives back a connection's place under the limits. */
void http_server_release(struct http_server *server, struct http_address *address);
/* Has http_conn_run called for all connections in CONN_DONE, in the next turn. */
void http_server_defer(struct http_server *server);
const char *http_server_date(struct http_server *server);

/* --- conn.c --- */
/* Takes over an accepted socket. `address` NULL: only to be refused. */
struct http_conn *http_conn_create(struct http_server *server, int fd, const struct sockaddr_in6 *peer,
                                   struct http_address *address);
/* Ends an open request first (finish, on_close). */
void http_conn_destroy(struct http_conn *conn);
void http_conn_set_state(struct http_conn *conn, enum conn_state state);
/* Does all that can be done for the connection now; it may be gone afterwards. Never from within a user's call. */
void http_conn_run(struct http_conn *conn);
/* Writes what the response has and the socket takes. */
void http_conn_pump(struct http_conn *conn);
/* Answers a request that no handler saw, and lingers. */
void http_conn_refuse(struct http_conn *conn, int status);

/* --- request.c --- */
/* Copies what a request keeps of its head. H1_DONE, or a status. */
int http_request_create(struct http_conn *conn, const uint8_t *data, const struct h1_head *head,
                        struct http_request **ret_req);
/* Ends it: the source's finish, then on_close. NULL is allowed. */
void http_request_destroy(struct http_request *req);

/* --- respond.c --- */
/* A whole short response that closes the connection; returns its length. */
size_t http_refusal_write(struct http_server *server, int status, char *out, size_t size);
