/* The HTTP client of the project: fetches on one loop, over HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113), in clear text and TLS. Made for
 * responses and for request bodies that never end, at a time in both directions; small requests that are answered whole are the same
 * with `collect_bytes`.
 *
 * All fetches of a client to one host share a connection over HTTP/2; when it has as many as it may, another one is opened. No
 * proxies, no redirects, only http:// and https://, where the server's certificate and name are checked. Nothing is logged.
 *
 * A fetch lives from http_client_fetch until its `end` has run, or until it is cancelled; both give up all that is its own. No
 * function here calls back but for a source's `finish` in a cancel: what is to be told comes in later turns of the loop. Everything
 * here belongs to the loop's thread. The process must ignore SIGPIPE. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/http/server.h" /* http_header, http_source */

struct loop;
struct http_client;
struct http_fetch;

struct http_client_config {
    const char *ca_file;              /* PEM: who vouches for servers; NULL: whom the system trusts */
    const char *cert_file, *key_file; /* PEM, without a passphrase: who we are, for servers that ask; NULL: nobody. Read at each connect */
    const char *token;                /* "Authorization: Bearer TOKEN" with every request; NULL: none */
    bool http1;                       /* HTTP/1.1 only; else HTTP/2: known to be spoken by http://, agreed on by ALPN with https:// */
    uint32_t streams_max;             /* HTTP/2: fetches of a connection, if the server doesn't want fewer (docs/http.md: what they cost) */
    uint32_t connect_timeout_ms;      /* finding the address, TCP and TLS together */
    uint32_t response_timeout_ms;     /* from the beginning until the response's first byte, connecting included; 0: no limit */
};
extern const struct http_client_config http_client_config_default;

/* What `config` refers to is copied. Of files that are no good the fetches tell. */
struct http_client *http_client_create(struct loop *loop, const struct http_client_config *config);
/* Cancels all fetches. Not from within a callback of this client. NULL is allowed. */
void http_client_destroy(struct http_client *client);
/* Registers the metrics of all clients of the process. Once, before threads start. */
void http_client_metrics_register(void);

struct http_fetch_options {
    const char *url;
    const struct http_header *headers; /* of the request; copied. Without CR and LF */
    size_t header_count;
    const void *body; /* one in memory: POST instead of GET; copied */
    size_t body_len;
    /* One that is pulled: POST, too. It is asked when there is room; after HTTP_SOURCE_WAIT not until http_fetch_resume. The response
     * comes while the body goes out. If it ends before the body does, that is an error (-ECONNRESET), which over HTTP/2 is found when the
     * source gives the next bytes. */
    struct http_source source;
    /* More than 0: the response's body is collected, up to so many bytes (more: -EMSGSIZE), and given to `data` in one run when all of it
     * is there, whatever the status. Else a status of 300 and above ends the fetch at once, with -EREMOTEIO. */
    size_t collect_bytes;
    /* Once, of the final response; may be NULL. */
    void (*head)(void *ctx, int status);
    /* The body, run after run, as it comes; may be NULL. It can't be held back. */
    void (*data)(void *ctx, const uint8_t *data, size_t len);
    /* The last call: 0, or negative errno and a text fit for a log. -EREMOTEIO: the status; -ETIMEDOUT; -ECONNRESET: the connection
     * or the stream was lost; -EHOSTUNREACH: the name is unknown; -EPROTO: TLS, or words that aren't HTTP; -EMSGSIZE: the head (64 KiB,
     * 128 fields) or the body is too long; -ECANCELED: by the source; -EINVAL: the URL; others from connect(). */
    void (*end)(void *ctx, int error, const char *text);
    void *ctx;
};
/* Whatever is wrong is told by `end`. */
struct http_fetch *http_client_fetch(struct http_client *client, const struct http_fetch_options *options);
/* Its source has more, or has ended. */
void http_fetch_resume(struct http_fetch *fetch);
/* None of its callbacks runs from here on; its source's `finish` does, in this call. Allowed everywhere, also in its own callbacks. Over
 * HTTP/2 the server is told by the connection's next words, whosever they are. */
void http_fetch_cancel(struct http_fetch *fetch);

/* A field of the response, by its name in any case, from `head` on; NULL: there is none. Valid until the next call for the fetch. */
const char *http_fetch_header(const struct http_fetch *fetch, const char *name);
struct http_fetch_times {
    int64_t connect_us;    /* of TCP alone, so about a round trip; 0: on a connection that was there */
    int64_t first_byte_us; /* of the response, from http_client_fetch on; 0: none yet */
};
struct http_fetch_times http_fetch_times(const struct http_fetch *fetch);
