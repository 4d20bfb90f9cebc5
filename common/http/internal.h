/* What the parts of the HTTP server share. server.c accepts connections, counts them and keeps their deadlines; conn.c
 * is what connections have in common: input, states, turns; h1_conn.c and h2.c are the protocols that make requests of
 * a connection's bytes and bytes of responses; request.c is what a request consists of; respond.c finds out what is to
 * be answered.
 *
 * Calls of the user's code never nest: a handler, `on_close` and a source's `finish` run only from a connection's own
 * turn (http_conn_run), from a sweep, or from the server's end. Only a source's `next` is called from within
 * http_respond and http_request_resume. What ends a request while the user is on the stack is noted by CONN_DONE and
 * happens in the next turn. */
#pragma once
#include <netinet/in.h>

#include "common/base/address.h"
#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/metrics.h"
#include "common/http/h1.h"
#include "common/http/message.h"
#include "common/http/out.h"
#include "common/http/send_batch.h"
#include "common/http/server.h"
#include "common/http/tls_transport.h"
#include "common/http/transport.h"

enum {
    HTTP_SCRATCH_BYTES = 65536, /* input of the connection whose turn it is */
    HTTP_RESPONSE_HEAD_MAX = 8192,
    HTTP_TURN_BYTES = 1024 * 1024,  /* of output, per connection and turn of the loop */
    HTTP_TURN_REQUESTS = 64,        /* likewise */
    HTTP_WORDS_MAX = 1024,          /* of a refusal */
    HTTP_LINGER_BYTES = 256 * 1024, /* of input after our last word, read so that it isn't lost to an RST */
    HTTP_LINGER_MS = 2000,
    HTTP_URGENCY_CLIENTS = 255,
    /* What the kernel may hold that is not in flight: some 20 ms of what the peer takes, since all that is asked for later waits
     * behind it, and a reader that stops pins it. */
    HTTP_UNSENT_MIN = 128 * 1024,
    HTTP_UNSENT_MAX = 512 * 1024,
    HTTP_UNSENT_FAST_US = 10000, /* half of it was taken sooner: it may be twice as much */
    HTTP_UNSENT_SLOW_US = 80000, /* later: as little as at first */
    HTTP_UNSENT_LIVE = 16 * 1024, /* while the peer reads a source of HTTP_SOURCE_LIVE */
    HTTP_REFUSED_MAX = 256, /* connections over the limit that are being told so at a time */
    HTTP_TURN_HANDSHAKES = 8, /* steps of TLS handshakes per turn of the loop: up to 1 ms of CPU each */
    HTTP_PEER_LEN = INET6_ADDRSTRLEN + 10,
    HTTP_NUMBER_LEN = 24,
};

enum conn_state {
    CONN_IDLE,      /* kept alive, no byte of a next request; idle_timeout */
    CONN_RECEIVING, /* head or body of a request is arriving, or awaited after accept; header_timeout */
    CONN_HANDLED,   /* the handler, or the source of its response, has the next move; no deadline of ours */
    CONN_SENDING,   /* the socket or the peer's window is full, or other connections have their turn; stall_timeout */
    CONN_DONE,      /* a response is out, or can't be: its request ends in this turn or the next */
    CONN_LINGER,    /* all is said; input is dropped until the peer closes; HTTP_LINGER_MS */
    CONN_STATES
};

enum conn_step {
    CONN_AGAIN, /* the state may have changed: go on */
    CONN_STOP,  /* nothing more can be done in this turn */
    CONN_CLOSE, /* the connection is over */
};

struct http_address;
struct http_conn;
struct h2_out;
struct h2_session;
struct h2_stream;

/* HTTP/1.x or HTTP/2, as a connection's first bytes or its ALPN have chosen. */
struct http_protocol {
    /* Does what the connection's state, not CONN_LINGER, allows. */
    enum conn_step (*run)(struct http_conn *conn);
    /* The head of the response is valid and `framing` fits it. */
    void (*respond)(struct http_request *req, const struct http_response *response, bool has_body);
    /* The source of a response that is under way has more. */
    void (*resume)(struct http_request *req);
    /* Says that no more requests are taken, while those under way go on. NULL: at the end of each response. */
    void (*drain)(struct http_conn *conn);
    /* Says goodbye before a deadline, or a limit, closes the connection; what it has not sent, to be sent last, goes into
     * `out` (HTTP_WORDS_MAX). Returns its length. */
    size_t (*refuse)(struct http_conn *conn, int status, char *out);
    /* Ends all requests and frees what the protocol keeps. */
    void (*finish)(struct http_conn *conn);
};
extern const struct http_protocol http_protocol_h1, http_protocol_h2;

struct http_conn {
    struct http_server *server;
    struct list link; /* in server->conns[state], oldest `since_us` first */
    int64_t since_us; /* when it entered its state; when sending, when bytes last went out */
    enum conn_state state;
    struct transport transport;
    struct loop_io *io;
    const struct http_protocol *protocol;
    struct http_request *req;     /* h1: of which at least the head has come */
    struct h2_session *h2;
    struct http_address *address; /* NULL: refused, and not counted */
    uint8_t *tail;                /* input that is not used yet, between turns */
    uint32_t tail_len;
    uint8_t *words;           /* last ones, that the socket had no room for; while lingering */
    uint32_t words_len;
    uint32_t lingered;        /* bytes dropped while lingering */
    uint32_t unsent_max;      /* HTTP_UNSENT_MIN to HTTP_UNSENT_MAX, or HTTP_UNSENT_LIVE */
    uint16_t handled;         /* requests in this turn */
    bool readable, writable;  /* since the last edge, until EAGAIN or its like */
    bool running;             /* http_conn_run is on the stack */
    bool close;               /* h1: after this response */
    bool broken;              /* to be aborted, not closed */
    bool gathered;            /* in the server's batch of sends */
    bool trusted;             /* the peer is a proxy that we believe */
    bool awaits_proxy;        /* its header comes before anything else */
    struct sockaddr_in6 peer; /* IPv4 as a mapped address */
};

struct http_request {
    struct http_conn *conn;
    enum http_method method;
    bool responded;
    bool streams;  /* its body goes to `on_body` as it comes */
    bool held;     /* `on_body` wants no more for now */
    bool received; /* all of it */
    struct buf body;
    bool (*on_body)(void *ctx, const uint8_t *data, size_t len);
    void *on_body_ctx;
    const char *path, *query;
    /* h1 */
    uint8_t minor;
    bool keep_alive, expect_continue, chunked;
    bool live; /* its response comes from a source of HTTP_SOURCE_LIVE */
    uint64_t body_remaining; /* of a body with Content-Length */
    struct h1_chunked decoder;
    struct http_out *out; /* NULL until http_respond */
    /* h2 */
    struct h2_stream *stream;
    uint8_t urgency; /* HTTP_URGENCY_CLIENTS: as the client wishes */

    void (*on_close)(void *ctx);
    void *on_close_ctx;
    char peer[HTTP_PEER_LEN]; /* "" until asked for */
    uint16_t field_count;
    struct http_header fields[]; /* names in lower case; then the text that all these point into */
};

struct http_server {
    struct loop *loop;
    struct http_limits limits;
    http_handler_fn *handler;
    http_streams_fn *streams;
    void *ctx;
    struct list listeners;
    struct list conns[CONN_STATES];
    uint32_t count, refused_count;
    bool draining;
    bool turn_ends;
    struct send_batch *batch; /* what goes out at the end of the loop's turn; NULL: each connection sends by itself */
    struct map *addresses;
    const struct address_range *trusted;
    size_t trusted_count;
    bool proxy_protocol;
    struct loop_timer *sweep;
    struct loop_timer *deferred; /* armed while connections in CONN_DONE await their turn */
    struct tls_context *tls;     /* for new connections; NULL: none */
    struct tls_scratch *tls_scratch;
    http_tls_failure_fn *on_tls_failure;
    void *tls_failure_ctx;
    int64_t handshakes_us; /* the turn in which there were `handshakes` */
    uint32_t handshakes;
    char congestion[HTTP_CONGESTION_LEN]; /* "": the kernel's default */
    struct h2_out *h2_out_spare; /* memory for the next HTTP/2 connection that has to send something, or NULL */
    int64_t date_s;
    char date[HTTP_DATE_LEN];
    size_t in_pos, in_end; /* the unused part of `scratch` */
    uint8_t scratch[HTTP_SCRATCH_BYTES];
};

/* Text into a fixed buffer; what doesn't fit is noted. */
struct http_text {
    char *p;
    size_t len, size;
    bool bad;
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
    HTTP_METRIC_REFUSED_PROXY,
    HTTP_METRIC_EVICTED,
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
/* The connection's peer turns out to be another: counts it there. False: that address has too many. */
bool http_server_move(struct http_conn *conn);
bool http_server_trusts(const struct http_server *server, const struct sockaddr_in6 *peer);
/* Has http_conn_run called for all connections in CONN_DONE, in the next turn. */
void http_server_defer(struct http_server *server);
const char *http_server_date(struct http_server *server);
/* Whether a handshake may go on in this turn of the loop; counts it if so. */
bool http_server_may_handshake(struct http_server *server);

/* --- conn.c --- */
/* Takes over an accepted socket. `address` NULL: only to be refused. `tls` NULL: plain. */
struct http_conn *http_conn_create(struct http_server *server, int fd, const struct sockaddr_in6 *peer,
                                   struct http_address *address, struct tls_context *tls);
/* Ends open requests first (finish, on_close). */
void http_conn_destroy(struct http_conn *conn);
void http_conn_set_state(struct http_conn *conn, enum conn_state state);
/* Does all that can be done for the connection now; it may be gone afterwards. Never from within a user's call. */
void http_conn_run(struct http_conn *conn);
/* Has the kernel hold little while the peer reads a live source. */
void http_conn_set_live(struct http_conn *conn, bool live);
/* Answers 408 or 503, if the protocol can, and lingers. */
void http_conn_refuse(struct http_conn *conn, int status);
/* No more output than `text`, which may be empty; what comes in is dropped. */
void http_conn_linger(struct http_conn *conn, const char *text, size_t len);

/* Input of the connection whose turn it is. */
static inline size_t http_conn_input_len(const struct http_conn *conn) {
    return conn->server->in_end - conn->server->in_pos;
}
static inline uint8_t *http_conn_input(const struct http_conn *conn) {
    return conn->server->scratch + conn->server->in_pos;
}
static inline void http_conn_consume(const struct http_conn *conn, size_t len) {
    conn->server->in_pos += len;
}
/* 1: bytes have come; 0: none for now; -1: the peer has closed, or is lost. */
int http_conn_read(struct http_conn *conn);

/* --- request.c --- */
/* Copies what a request keeps of its head. H1_DONE, or a status. */
int http_request_create(struct http_conn *conn, const uint8_t *data, const struct h1_head *head,
                        struct http_request **ret_req);
/* The same from a list of `count` names and values, each ended by NUL, and a raw target ("/path?query"). */
int http_request_create_h2(struct http_conn *conn, enum http_method method, const char *target, const char *fields,
                           size_t fields_len, unsigned count, struct http_request **ret_req);
/* Gives `on_body` a run, or with `len` 0 the end; nobody wants it: it is dropped. */
void http_request_give_body(struct http_request *req, const uint8_t *data, size_t len);
/* "192.0.2.7:5121" or "[2001:db8::1]:5121". */
void http_peer_format(const struct sockaddr_in6 *peer, char out[HTTP_PEER_LEN]);
/* Ends it: the source's finish, then on_close. NULL is allowed. */
void http_request_destroy(struct http_request *req);

/* --- respond.c --- */
/* A whole short h1 response that closes the connection; returns its length. */
size_t http_refusal_write(struct http_server *server, int status, char *out, size_t size);
/* The head of an h1 response, up to its empty line. */
void http_text_add(struct http_text *text, const char *s);
void http_text_add_number(struct http_text *text, int64_t n);
/* In decimal, at the end of `out`; returns where it begins. */
char *http_number_text(int64_t n, char out[HTTP_NUMBER_LEN]);
void http_text_add_status(struct http_text *text, struct http_server *server, int status);
void http_count_response(int status);
