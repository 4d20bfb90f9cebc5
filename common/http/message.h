/* What HTTP messages mean, apart from any connection: paths, ranges, validators, dates, reasons (RFC 9110). Pure
 * functions over strings, on any thread. http_query_get and http_accepts_gzip, which handlers use too, are declared in
 * server.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Percent-decodes a raw path into `out`. 0, or -EINVAL for what has no single meaning: an empty segment but the last,
 * dot segments, encoded slashes, backslashes, control characters, broken escapes; -ENOBUFS when `size` is too small
 * (`len` + 1 always suffices). */
__attribute__((warn_unused_result)) int http_path_normalize(const char *raw, size_t len, char *out, size_t size);

struct http_range {
    uint64_t first, last; /* both included */
};
enum http_range_result {
    HTTP_RANGE_NONE, /* to be ignored: not one range of bytes, or malformed (RFC 9110 §14.2 allows that) */
    HTTP_RANGE_VALID,
    HTTP_RANGE_UNSATISFIABLE, /* 416 */
};
/* A Range field against a representation of `size` bytes; a last position beyond it is cut to it. */
enum http_range_result http_range_parse(const char *value, uint64_t size, struct http_range *ret_range);

/* Whether an If-None-Match value names `etag` (weak comparison, RFC 9110 §13.1.2). */
bool http_etag_matches(const char *if_none_match, const char *etag);

/* "Not Found"; "Unknown" for a status that we do not send. */
const char *http_status_reason(int status);

enum { HTTP_DATE_LEN = 32 };
/* "Tue, 24 Nov 2026 15:04:05 GMT" (RFC 9110 §5.6.7); returns `out`. */
char *http_date_format(char out[HTTP_DATE_LEN], int64_t utc_s);
