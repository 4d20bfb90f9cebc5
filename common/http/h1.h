/* HTTP/1.x requests from bytes (RFC 9112): a parser of heads and a decoder of chunked bodies. Pure: bytes in; a value,
 * "need more", or the status to refuse the request with. Deliberately stricter than most: whatever two parsers could
 * read differently (bare LF, folded lines, blanks before a colon, two lengths, unknown codings) is refused, because
 * that is what request smuggling is made of. After any refusal the connection must be closed: where the next request
 * would begin is not known. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/server.h"

/* What the functions below return; anything else is an HTTP status: 400, 413, 414, 431, 501, 505. */
enum { H1_DONE = 0, H1_MORE = 1 };

enum {
    H1_FIELDS_MAX = 128, /* hard limits; those of struct http_limits may be lower */
    H1_HEAD_BYTES_MAX = 32768,
    H1_EXTENSION_BYTES_MAX = 256, /* of one chunk */
    H1_TRAILER_BYTES_MAX = 8192,
};

struct h1_span {
    uint16_t off, len; /* within the bytes that were parsed */
};
struct h1_field {
    struct h1_span name, value; /* value without blanks around it */
};
struct h1_head {
    size_t size; /* bytes that the head takes, with its empty line; the body follows */
    enum http_method method;
    uint8_t minor;              /* HTTP/1.minor */
    struct h1_span path, query; /* raw; query without '?', of length 0 when absent. Path "*" only with OPTIONS. */
    uint64_t content_length;
    bool chunked;
    bool keep_alive; /* RFC 9112 §9.3, from version and Connection */
    bool expect_continue;
    uint16_t field_count;
    struct h1_field fields[H1_FIELDS_MAX];
};

/* Parses the head at the start of `data`. Called again with more bytes it starts over: by the limit of a head that
 * costs less than receiving the bytes one by one does. `ret_head` is valid only for H1_DONE. */
int h1_head_parse(const uint8_t *data, size_t len, const struct http_limits *limits, struct h1_head *ret_head);

/* RFC 9112 §7.1. Extensions and trailers are checked, counted and dropped. Start from {0}. */
struct h1_chunked {
    uint8_t state;
    uint8_t digits;
    uint32_t skipped;   /* bytes of the extension or of the trailers so far */
    uint64_t remaining; /* bytes of the chunk that are still to come */
};
/* Takes bytes until a run of body has been found, the body ends (H1_DONE) or `data` does (H1_MORE). `ret_used` is how
 * many were taken; the run (maybe of length 0) is data[*ret_run .. *ret_run + *ret_run_len]. Call until all are used.
 */
int h1_chunked_next(struct h1_chunked *chunked, const uint8_t *data, size_t len, size_t *ret_used, size_t *ret_run,
                    size_t *ret_run_len);
