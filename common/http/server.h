/* An HTTP server on one loop: listeners, connections, requests, responses. Protocol-blind for its handler, which never
 * learns the version. HTTP/1.1 (RFC 9112) by common/http/h1.c and HTTP/2 (RFC 9113) over a transport vtable: plain TCP
 * or TLS.
 *
 * A request lives from the handler's call until its response is wholly sent or its connection is lost; then `on_close`
 * runs, once, and the request is gone. A handler answers at once or later (parked), by exactly one http_respond.
 * Requests that a client pipelines are handled one after the other.
 *
 * Bodies are pulled: the server asks the source for slices when the socket has room, and sends them with one gathered
 * write; nothing is copied. Everything here belongs to the loop's thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"

struct loop;
struct http_server;
struct http_request;
struct tls_context;

enum http_method { HTTP_GET = 1, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS };

struct http_limits {
    uint32_t connections_max;        /* in all; one more takes the place of the longest idle, or is answered 503 and closed */
    uint32_t connections_per_address; /* IPv6 by /64; likewise 503 */
    uint32_t line_bytes_max;         /* request line: 414 */
    uint32_t head_bytes_max;         /* whole head: 431 */
    uint32_t headers_max;            /* number of fields: 431 */
    uint64_t body_bytes_max;         /* request body: 413 */
    uint32_t header_timeout_ms;      /* absolute, from the request's first byte (or from accept): 408 and close */
    uint32_t idle_timeout_ms;        /* keep-alive without a request */
    uint32_t stall_timeout_ms;       /* a response of which no byte is accepted for so long is aborted */
};
extern const struct http_limits http_limits_default;

typedef void http_handler_fn(void *ctx, struct http_request *req);

struct http_server *http_server_create(struct loop *loop, const struct http_limits *limits, http_handler_fn *handler, void *ctx);
/* Adds a listener: "[::]:8080" (dual stack), "127.0.0.1:8081". One that `joins` shares the address with a server of another loop
 * of this process that listens there; the kernel spreads connections over them (SO_REUSEPORT). -EADDRINUSE: somebody else does.
 * `ret_port` (may be NULL) gets the port, which matters for port 0. 0 or negative errno. */
int http_server_listen(struct http_server *server, const char *address, bool joins, uint16_t *ret_port);
/* Says of which requests the handler takes the body as it comes, instead of being called when all of it is here; asked when a
 * request's head is. Before any request; NULL: of none. */
typedef bool http_streams_fn(void *ctx, const struct http_request *req);
void http_server_stream_bodies(struct http_server *server, http_streams_fn *fn);
/* The same for TLS (RFC 2818), which takes http_server_set_tls first. HTTP/2 is offered by ALPN. */
int http_server_listen_tls(struct http_server *server, const char *address, bool joins, uint16_t *ret_port);
/* For connections to come; those that are there keep what they have. A reference is taken. */
void http_server_set_tls(struct http_server *server, struct tls_context *context);
/* Told of handshakes that fail for what the peer sent; `fn` must not call the server. Strangers cause these at will. */
typedef void http_tls_failure_fn(void *ctx, const char *peer, const char *reason);
void http_server_on_tls_failure(struct http_server *server, http_tls_failure_fn *fn, void *ctx);
/* TCP's congestion control ("bbr") on listeners to come, where the kernel has it and lets us; else its default stays. */
enum { HTTP_CONGESTION_LEN = 16 };
void http_server_set_congestion(struct http_server *server, const char *name);
/* What is to be sent over HTTP/1.1 or TLS in a turn of the loop goes out at its end, for all connections by one system call. Takes the
 * loop's loop_on_turn_end. 0, or negative errno where the kernel has no io_uring for us. */
int http_server_use_uring(struct http_server *server);
/* Proxies whose word about their clients is taken: X-Forwarded-For on their requests (http_request_peer), and with
 * `proxy_protocol` the header that each of their connections must begin with (proxy.h), before TLS. The limit per address holds
 * for clients that are named by such a header, not for the proxies themselves. `ranges` must outlive the server. */
struct address_range;
void http_server_trust(struct http_server *server, const struct address_range *ranges, size_t count, bool proxy_protocol);
/* No new connections; idle ones close, others after their response ("Connection: close"). */
void http_server_drain(struct http_server *server);
uint32_t http_server_connections(const struct http_server *server);
/* Closes everything; on_close of open requests runs. Not from within a callback of this server. NULL is allowed. */
void http_server_destroy(struct http_server *server);
/* Registers the metrics of all HTTP servers of the process. Once, before threads start. */
void http_metrics_register(void);
/* Of all of them: open connections, and bytes sent so far. Any thread. */
struct http_totals {
    int64_t connections, bytes_sent;
};
struct http_totals http_totals(void);

/* --- request: strings live as long as the request --- */
enum http_method http_request_method(const struct http_request *req);
/* Percent-decoded, normalised absolute path (no "//", no dot segments: such are answered 400 before any handler). */
const char *http_request_path(const struct http_request *req);
/* Raw query without '?', "" when absent. */
const char *http_request_query(const struct http_request *req);
/* Field value by lower-case name (the first, if repeated), or NULL. */
const char *http_request_header(const struct http_request *req, const char *name);
/* The client, as far as trusted proxies tell: "192.0.2.7:5121"; port 0 where it came by X-Forwarded-For. */
const char *http_request_peer(const struct http_request *req);
struct loop *http_request_loop(const struct http_request *req);
/* The whole request body, "" when none (small: at most limits.body_bytes_max, collected before the handler runs). */
const uint8_t *http_request_body(const struct http_request *req, size_t *ret_len);
void http_request_on_close(struct http_request *req, void (*fn)(void *ctx), void *ctx);
/* In the handler, of a request whose body is taken as it comes: `fn` is given run after run of it, and `len` 0 at its end. It
 * returns false to be given no more until http_request_read; what the client sends meanwhile stays with the client, but for a
 * window of at most 64 KiB. The response may begin, and end, before the body does; then the rest of it is dropped. There is no
 * limit on the body's length and no deadline: both are the handler's. */
void http_request_on_body(struct http_request *req, bool (*fn)(void *ctx, const uint8_t *data, size_t len), void *ctx);
/* Goes on with a body that was held, in a later turn of the loop. */
void http_request_read(struct http_request *req);
/* Which of a client's responses goes first when all can't (RFC 9218: 0 is the most urgent, 7 the least); overrides what the
 * client wished. Before http_respond. HTTP/1 sends one after the other anyway. */
void http_request_set_urgency(struct http_request *req, uint8_t urgency);

/* --- response --- */
enum { HTTP_SOURCE_WAIT = -1, HTTP_SOURCE_ERROR = -2 };
enum { /* flags of a source */
    /* Slices come without references: they are valid until the server's call returns from which `next` was called. The
     * server takes its own of what it cannot send at once: none, as a rule. */
    HTTP_SOURCE_LENDS = 1,
    /* Each slice stands in its blob as the content of the one HTTP/1.1 chunk (RFC 9112 §7.1) that the blob is: its size line
     * before it, CRLF after it. Where bodies are sent in such chunks the blob goes out as it is, else the slice. */
    HTTP_SOURCE_FRAMED = 2,
    /* What it gives is wanted at once or not at all, and it can leave out what is late. So it is asked only shortly before
     * there is room, for little at a time, and little is queued in the kernel. */
    HTTP_SOURCE_LIVE = 4,
};
/* A slice with one reference for such a source: a copy of `data` in a blob that is an HTTP/1.1 chunk. */
struct slice http_slice_framed(const void *data, size_t len);
/* Where a body comes from. `next` fills up to `max` slices (each with one reference, given to the server) and returns
 * their number; 0 means the end; HTTP_SOURCE_WAIT means not now: http_request_resume when there is more;
 * HTTP_SOURCE_ERROR aborts the connection. `finish` runs once, whatever happened; `next` is never called after it. */
struct http_source {
    int (*next)(void *ctx, struct slice *slices, int max);
    void (*finish)(void *ctx);
    void *ctx;
    unsigned flags;  /* HTTP_SOURCE_* */
    unsigned slices; /* how many it gives, about; 0: unknown, or many. Memory is laid out for it */
};

struct http_header {
    const char *name, *value;
};
struct http_response {
    int status;
    /* Copied. Content-Length, Connection, Date are the server's own, and Cache-Control: no-store unless one is given. */
    const struct http_header *headers;
    size_t header_count;
    int64_t length; /* bytes of the body, or -1 when not known (chunked, or close for HTTP/1.0) */
    struct http_source source; /* all NULL: no body */
};
/* Answers. For HEAD the body is left out and `finish` still runs. */
void http_respond(struct http_request *req, const struct http_response *response);
void http_request_resume(struct http_request *req);

/* Answers with a gather list: `slices` is copied, each with its own reference taken. A Range header on a 200 of GET is
 * honoured (206, 416) when `ranges` is set, a matching If-None-Match gives 304 when the headers carry an ETag. */
void http_respond_slices(struct http_request *req, int status, const struct http_header *headers, size_t header_count,
                         const struct slice *slices, size_t slice_count, bool ranges);
/* Answers with a short text body made from `status` and `detail` (may be NULL). */
void http_respond_error(struct http_request *req, int status, const char *detail, const struct http_header *headers, size_t header_count);

/* Value of `key` in a query string, percent-decoded into `out`; false when absent, or too long for `size`. */
bool http_query_get(const char *query, const char *key, char *out, size_t size);
/* Whether an Accept-Encoding value admits gzip (RFC 9110 §12.5.3); NULL is no. */
bool http_accepts_gzip(const char *accept_encoding);
