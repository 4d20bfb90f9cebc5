/* The request parser, the chunked decoder and the readers of single fields. Beyond not crashing: spans stay inside the
 * head, a path that was normalised has no second meaning left, and how the bytes were cut doesn't change what a body
 * is. */
#include <stdlib.h>
#include <string.h>

#include "common/http/h1.h"
#include "common/http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void check_span(const struct h1_head *head, struct h1_span span) {
    check((size_t)span.off + span.len < head->size);
}

static void fuzz_path(const char *raw, size_t len) {
    char *path = malloc(len + 1);
    check(path != NULL);
    if (http_path_normalize(raw, len, path, len + 1) == 0)
        check(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") && strlen(path) <= len);
    free(path);
}

static void fuzz_value(const uint8_t *data, size_t len) {
    char *text = malloc(len + 1), out[16];
    struct http_range range;
    check(text != NULL);
    memcpy(text, data, len);
    text[len] = '\0';
    http_accepts_gzip(text);
    http_query_get(text, "a", out, sizeof out);
    http_etag_matches(text, "\"a\"");
    if (http_range_parse(text, 1000, &range) == HTTP_RANGE_VALID)
        check(range.first <= range.last && range.last < 1000);
    free(text);
}

static void fuzz_head(const uint8_t *data, size_t size) {
    struct h1_head head;
    int r = h1_head_parse(data, size, &http_limits_default, &head);
    if (r != H1_DONE) {
        check(r == H1_MORE || (r >= 400 && r < 600));
        return;
    }
    check(head.size <= size && head.method != 0 && !(head.chunked && head.content_length));
    check_span(&head, head.path);
    check_span(&head, head.query);
    fuzz_path((const char *)data + head.path.off, head.path.len);
    fuzz_value(data + head.query.off, head.query.len);
    for (unsigned i = 0; i < head.field_count; i++) {
        check_span(&head, head.fields[i].name);
        check_span(&head, head.fields[i].value);
        fuzz_value(data + head.fields[i].value.off, head.fields[i].value.len);
    }
}

/* Decodes in pieces; a sum over the body tells whether two ways of cutting agree. */
static int decode(const uint8_t *data, size_t size, size_t step, uint64_t *ret_sum, size_t *ret_used) {
    struct h1_chunked chunked = {0};
    int r = H1_MORE;
    size_t pos = 0;
    uint64_t sum = 0;
    while (pos < size && r == H1_MORE) {
        size_t used, run, run_len, piece = size - pos < step ? size - pos : step;
        r = h1_chunked_next(&chunked, data + pos, piece, &used, &run, &run_len);
        check(used > 0 && used <= piece && run + run_len <= used);
        for (size_t i = 0; i < run_len; i++)
            sum = sum * 31 + data[pos + run + i];
        pos += used;
    }
    *ret_sum = sum;
    *ret_used = pos;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t whole, pieces;
    size_t whole_used, pieces_used;
    fuzz_head(data, size);
    fuzz_value(data, size);
    int r = decode(data, size, size, &whole, &whole_used);
    check(decode(data, size, 1, &pieces, &pieces_used) == r && pieces == whole && pieces_used == whole_used);
    return 0;
}
