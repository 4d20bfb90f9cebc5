/* The sending side of one HTTP/1.1 response: the head, then a body pulled from its source only as fast as the socket
 * takes it, framed by length, in chunks, or by the end of the connection. Knows nothing of requests. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/http/server.h"

struct http_out;
struct transport;

enum http_framing {
    HTTP_FRAMING_NONE,    /* no body is sent (HEAD, 304 …): the source is only finished */
    HTTP_FRAMING_LENGTH,  /* exactly `length` bytes; a source that gives more or fewer fails */
    HTTP_FRAMING_CHUNKED, /* RFC 9112 §7.1 */
    HTTP_FRAMING_CLOSE,   /* until the connection ends */
};

enum http_out_result {
    HTTP_OUT_DONE,    /* all is with the kernel */
    HTTP_OUT_BLOCKED, /* the socket is full */
    HTTP_OUT_WAIT,    /* the source has nothing for now */
    HTTP_OUT_YIELD,   /* `budget` is used up, there is more */
    HTTP_OUT_FAILED,  /* the connection is of no more use */
};

/* `head` is copied; `source` is taken over. */
struct http_out *http_out_create(const char *head, size_t head_len, const struct http_source *source,
                                 enum http_framing framing, int64_t length);
/* Sends at most `budget` bytes. Calls the source's `next`. `ret_sent` counts what went out, whatever the result. */
enum http_out_result http_out_pump(struct http_out *out, struct transport *transport, size_t budget, size_t *ret_sent);
/* The same in two steps, for whoever sends by other means than a transport, and no more than the first `max` items at a time.
 * HTTP_OUT_YIELD: `items` is to be sent, and http_out_took to be called before anything else; other results as above. */
enum http_out_result http_out_offer(struct http_out *out, struct iovec *items, int max, int *ret_count);
/* `sent` of the `offered` bytes are with the kernel. HTTP_OUT_YIELD: there is, or may be, more. */
enum http_out_result http_out_took(struct http_out *out, size_t offered, size_t sent);
/* The source has more, after it was asked by http_out_offer. */
void http_out_more(struct http_out *out);
/* Drops what is queued and calls the source's `finish`. NULL is allowed. */
void http_out_destroy(struct http_out *out);
