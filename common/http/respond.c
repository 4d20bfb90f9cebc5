/* Answers: what is to be said, whatever the protocol that says it: conditions, ranges, errors. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/http/internal.h"

enum {
    OWN_HEADERS_BYTES = 512, /* room in a head for the status line and what the server adds */
    HEADERS_MAX = 32,        /* of a response with slices; more is a bug of the caller */
};

void http_text_add(struct http_text *text, const char *s) {
    size_t len = strlen(s);
    if (len > text->size - text->len) {
        text->bad = true;
        return;
    }
    memcpy(text->p + text->len, s, len);
    text->len += len;
}

char *http_number_text(int64_t n, char out[HTTP_NUMBER_LEN]) {
    char *p = out + HTTP_NUMBER_LEN;
    uint64_t rest = n < 0 ? -(uint64_t)n : (uint64_t)n;
    *--p = '\0';
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (n < 0)
        *--p = '-';
    return p;
}

void http_text_add_number(struct http_text *text, int64_t n) {
    char digits[HTTP_NUMBER_LEN];
    http_text_add(text, http_number_text(n, digits));
}

void http_text_add_status(struct http_text *text, struct http_server *server, int status) {
    http_text_add(text, "HTTP/1.1 ");
    http_text_add_number(text, status);
    http_text_add(text, " ");
    http_text_add(text, http_status_reason(status));
    http_text_add(text, "\r\nDate: ");
    http_text_add(text, http_server_date(server));
    http_text_add(text, "\r\n");
}

/* The length of a value, or SIZE_MAX: one with a line break in it would split the response. */
static size_t value_len(const char *value) {
    const unsigned char *c = (const unsigned char *)value;
    for (; *c; c++)
        if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
            return SIZE_MAX;
    return (size_t)(c - (const unsigned char *)value);
}

/* Whether the headers fit into a head and hold no control characters. */
static bool headers_ok(const struct http_response *response) {
    size_t bytes = OWN_HEADERS_BYTES;
    for (size_t i = 0; i < response->header_count; i++) {
        const struct http_header *header = &response->headers[i];
        size_t len = value_len(header->value);
        if (len > HTTP_RESPONSE_HEAD_MAX)
            return false;
        bytes += strlen(header->name) + len + strlen(": \r\n");
    }
    return bytes <= HTTP_RESPONSE_HEAD_MAX;
}

/* `name` in lower case. */
static const char *find_header(const struct http_header *headers, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if ((headers[i].name[0] | 0x20) == name[0] && strcasecmp(headers[i].name, name) == 0)
            return headers[i].value;
    return NULL;
}

void http_count_response(int status) {
    http_count(HTTP_METRIC_REQUESTS_2XX + (status >= 300) + (status >= 400) + (status >= 500), 1);
}

void http_respond(struct http_request *req, const struct http_response *response) {
    struct http_response failure = {.status = 500,
                                    .source = {.finish = response->source.finish, .ctx = response->source.ctx}};
    assert(!req->responded && response->header_count <= HEADERS_MAX + 2);
    if (!headers_ok(response))
        response = &failure;
    struct http_header all[HEADERS_MAX + 3];
    struct http_response stored = *response;
    if (!find_header(response->headers, response->header_count, "cache-control")) { /* nobody is to guess */
        for (size_t i = 0; i < response->header_count; i++)
            all[i] = response->headers[i];
        all[stored.header_count++] = (struct http_header){"Cache-Control", "no-store"};
        stored.headers = all;
        response = &stored;
    }
    bool has_body = req->method != HTTP_HEAD && response->status != 204 && response->status != 304;
    http_count_response(response->status);
    req->responded = true;
    req->conn->protocol->respond(req, response, has_body && response->source.next);
}

void http_request_resume(struct http_request *req) {
    if (req->responded)
        req->conn->protocol->resume(req);
}

/* --- bodies made of slices --- */

struct slice http_slice_framed(const void *data, size_t len) {
    struct slice slice = blob_create_framed(len, false);
    memcpy(slice.blob->data + slice.off, data, len);
    return slice;
}

struct slice_list {
    size_t pos, count;
    struct slice slices[];
};

static int next_slices(void *ctx, struct slice *slices, int max) {
    struct slice_list *list = ctx;
    int n = 0;
    while (n < max && list->pos < list->count)
        slices[n++] = list->slices[list->pos++];
    return n;
}

static void finish_slices(void *ctx) {
    struct slice_list *list = ctx;
    while (list->pos < list->count)
        blob_unref(list->slices[list->pos++].blob);
    free(list);
}

/* The part of `slices` from `first`, `len` bytes long, with references of its own. */
static struct http_source slices_source(const struct slice *slices, size_t count, uint64_t first, uint64_t len) {
    struct slice_list *list = malloc(sizeof *list + count * sizeof *slices);
    if (!list)
        abort();
    list->pos = list->count = 0;
    for (size_t i = 0; i < count && len > 0; i++) {
        struct slice s = slices[i];
        size_t skip = first < s.len ? (size_t)first : s.len;
        first -= skip;
        s.off += skip;
        s.len -= skip;
        if (s.len > len)
            s.len = (size_t)len;
        len -= s.len;
        if (s.len == 0)
            continue;
        blob_ref(s.blob);
        list->slices[list->count++] = s;
    }
    struct http_source source = {.next = next_slices, .finish = finish_slices, .ctx = list};
    source.slices = (unsigned)list->count;
    return source;
}

static bool describes_body(const char *name) {
    return strncasecmp(name, "content-", 8) == 0;
}

/* 304 repeats the headers of the 200 but for those that describe the body it doesn't have (RFC 9110 §15.4.5). */
static void respond_not_modified(struct http_request *req, const struct http_header *headers, size_t header_count) {
    struct http_header kept[HEADERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < header_count; i++)
        if (!describes_body(headers[i].name))
            kept[count++] = headers[i];
    http_respond(req, &(struct http_response){.status = 304, .headers = kept, .header_count = count});
}

/* 416 isn't about the body either, nor to be kept in caches as that is. */
static void respond_unsatisfiable(struct http_request *req, const struct http_response *response) {
    struct http_header kept[HEADERS_MAX + 1];
    char content_range[40];
    size_t count = 0;
    for (size_t i = 0; i < response->header_count; i++) {
        const char *name = response->headers[i].name;
        if (!describes_body(name) && strcasecmp(name, "cache-control") != 0 && strcasecmp(name, "etag") != 0)
            kept[count++] = response->headers[i];
    }
    snprintf(content_range, sizeof content_range, "bytes */%lld", (long long)response->length);
    kept[count++] = (struct http_header){"Content-Range", content_range};
    http_respond_error(req, 416, NULL, kept, count);
}

static bool not_modified(const struct http_request *req, const struct http_header *headers, size_t count) {
    const char *condition = http_request_header(req, "if-none-match");
    const char *etag = condition ? find_header(headers, count, "etag") : NULL;
    return etag && (req->method == HTTP_GET || req->method == HTTP_HEAD) && http_etag_matches(condition, etag);
}

/* If-Range holds a range back unless it names exactly this, strongly (RFC 9110 §13.1.5); dates we never send. */
static bool range_applies(const struct http_request *req, const char *etag) {
    const char *condition = http_request_header(req, "if-range");
    return req->method == HTTP_GET && (!condition || (etag && etag[0] == '"' && strcmp(condition, etag) == 0));
}

static enum http_range_result find_range(const struct http_request *req, const struct http_response *response,
                                         struct http_range *ret_range) {
    const char *value = http_request_header(req, "range");
    if (!value || !range_applies(req, find_header(response->headers, response->header_count, "etag")))
        return HTTP_RANGE_NONE;
    return http_range_parse(value, (uint64_t)response->length, ret_range);
}

static void respond_ranges(struct http_request *req, struct http_response *response, const struct slice *slices,
                           size_t slice_count) {
    struct http_header headers[HEADERS_MAX + 2];
    char content_range[72];
    uint64_t size = (uint64_t)response->length;
    struct http_range range = {0, size - 1};
    enum http_range_result result = find_range(req, response, &range);
    if (result == HTTP_RANGE_UNSATISFIABLE) {
        respond_unsatisfiable(req, response);
        return;
    }
    size_t count = 0;
    for (; count < response->header_count; count++)
        headers[count] = response->headers[count];
    headers[count++] = (struct http_header){"Accept-Ranges", "bytes"};
    if (result == HTTP_RANGE_VALID) {
        snprintf(content_range, sizeof content_range, "bytes %llu-%llu/%llu", (unsigned long long)range.first,
                 (unsigned long long)range.last, (unsigned long long)size);
        headers[count++] = (struct http_header){"Content-Range", content_range};
        response->status = 206;
    }
    response->headers = headers;
    response->header_count = count;
    response->length = (int64_t)(range.last - range.first + 1);
    response->source = slices_source(slices, slice_count, range.first, (uint64_t)response->length);
    http_respond(req, response);
}

void http_respond_slices(struct http_request *req, int status, const struct http_header *headers, size_t header_count,
                         const struct slice *slices, size_t slice_count, bool ranges) {
    struct http_response response = {.status = status, .headers = headers, .header_count = header_count};
    assert(header_count <= HEADERS_MAX);
    for (size_t i = 0; i < slice_count; i++)
        response.length += (int64_t)slices[i].len;
    if (status == 200 && not_modified(req, headers, header_count)) {
        respond_not_modified(req, headers, header_count);
        return;
    }
    if (status == 200 && ranges) {
        respond_ranges(req, &response, slices, slice_count);
        return;
    }
    response.source = slices_source(slices, slice_count, 0, (uint64_t)response.length);
    http_respond(req, &response);
}

static size_t error_text(int status, const char *detail, char *out, size_t size) {
    int len = snprintf(out, size, "%d %s%s%s\n", status, http_status_reason(status), detail ? ": " : "",
                       detail ? detail : "");
    return len < (int)size ? (size_t)len : size - 1;
}

void http_respond_error(struct http_request *req, int status, const char *detail, const struct http_header *headers,
                        size_t header_count) {
    struct http_header all[HEADERS_MAX];
    char body[512];
    size_t len = error_text(status, detail, body, sizeof body), count = 0;
    assert(header_count < HEADERS_MAX);
    for (; count < header_count; count++)
        all[count] = headers[count];
    all[count++] = (struct http_header){"Content-Type", "text/plain; charset=utf-8"};
    struct slice slice = {.blob = blob_create_copy(body, len), .len = len};
    http_respond_slices(req, status, all, count, &slice, 1, false);
    blob_unref(slice.blob);
}

size_t http_refusal_write(struct http_server *server, int status, char *out, size_t size) {
    char body[128];
    struct http_text text = {.p = out, .size = size};
    size_t len = error_text(status, NULL, body, sizeof body);
    http_text_add_status(&text, server, status);
    if (status == 503)
        http_text_add(&text, "Retry-After: 5\r\n");
    http_text_add(&text, "Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    http_text_add_number(&text, (int64_t)len);
    http_text_add(&text, "\r\nConnection: close\r\n\r\n");
    http_text_add(&text, body);
    http_count_response(status);
    return text.len;
}
