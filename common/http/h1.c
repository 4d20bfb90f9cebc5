#include "common/http/h1.h"

#include <string.h>
#include <strings.h>

enum { TOKEN = 1, TARGET = 2, VALUE = 4, HOST = 8, DIGIT = 16 };

/* Which bytes may stand where: field names and methods (RFC 9110 §5.6.2), request targets (visible ASCII but for four
 * that no client leaves unescaped), field values (§5.5), Host (RFC 3986 §3.2), digits. */
static const uint8_t classes[256] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  4,  0,  0,  0,  0,  0,  0,  /* 0x00 */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 0x10 */
    4,  15, 4,  5,  15, 15, 15, 15, 14, 14, 15, 15, 6,  15, 15, 6,  /* 0x20 */
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 14, 4,  14, 4,  6,  /* 0x30 */
    6,  15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 0x40 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 6,  14, 7,  15, /* 0x50 */
    7,  15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 0x60 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6,  7,  6,  15, 0,  /* 0x70 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0x80 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0x90 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xa0 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xb0 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xc0 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xd0 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xe0 */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 0xf0 */
};

static bool all_of(const uint8_t *p, size_t len, uint8_t class) {
    for (size_t i = 0; i < len; i++)
        if (!(classes[p[i]] & class))
            return false;
    return true;
}

static bool equals(const uint8_t *p, size_t len, const char *word) {
    return len == strlen(word) && memcmp(p, word, len) == 0;
}

static bool equals_nocase(const uint8_t *p, size_t len, const char *word) {
    return len == strlen(word) && strncasecmp((const char *)p, word, len) == 0;
}

static bool blank(uint8_t c) {
    return c == ' ' || c == '\t';
}

/* What is known of a head while it is being read. */
struct parse {
    const uint8_t *data;
    size_t len, pos;
    const struct http_limits *limits;
    struct h1_head *head;
    bool has_host, has_length, has_coding, wants_close, wants_keep_alive;
};

static struct h1_span span(const struct parse *parse, const uint8_t *p, size_t len) {
    return (struct h1_span){(uint16_t)(p - parse->data), (uint16_t)len};
}

/* The next line without its CRLF. `max` bytes at most, else `too_long`. */
static int next_line(struct parse *parse, size_t max, int too_long, const uint8_t **ret_line, size_t *ret_len) {
    const uint8_t *start = parse->data + parse->pos;
    size_t avail = parse->len - parse->pos;
    const uint8_t *lf = avail ? memchr(start, '\n', avail) : NULL;
    if (!lf)
        return avail > max + 1 ? too_long : H1_MORE;
    size_t len = (size_t)(lf - start);
    if (len == 0 || lf[-1] != '\r')
        return 400;
    if (len - 1 > max)
        return too_long;
    *ret_line = start;
    *ret_len = len - 1;
    parse->pos += len + 1;
    return H1_DONE;
}

/* --- request line, RFC 9112 §3 --- */

static enum http_method find_method(const uint8_t *p, size_t len) {
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        {"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
        {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (equals(p, len, methods[i].name))
            return methods[i].method;
    return 0;
}

static int parse_version(struct parse *parse, const uint8_t *p, size_t len) {
    if (len != 8 || memcmp(p, "HTTP/", 5) != 0 || !(classes[p[5]] & DIGIT) || p[6] != '.' || !(classes[p[7]] & DIGIT))
        return 400;
    if (p[5] != '1' || p[7] > '1')
        return 505;
    parse->head->minor = (uint8_t)(p[7] - '0');
    return H1_DONE;
}

/* Length of "http://authority" before an absolute-form target's path (RFC 9112 §3.2.2), 0 when there is none. */
static size_t authority_len(const uint8_t *p, size_t len) {
    size_t start = len > 7 && equals_nocase(p, 7, "http://") ? 7 : len > 8 && equals_nocase(p, 8, "https://") ? 8 : 0;
    size_t end = start;
    while (start && end < len && (classes[p[end]] & HOST))
        end++;
    return end > start ? end : 0;
}

static int parse_target(struct parse *parse, const uint8_t *p, size_t len) {
    struct h1_head *head = parse->head;
    if (!all_of(p, len, TARGET))
        return 400;
    size_t skip = authority_len(p, len);
    p += skip;
    len -= skip;
    const uint8_t *mark = len ? memchr(p, '?', len) : NULL;
    size_t path_len = mark ? (size_t)(mark - p) : len;
    bool asterisk = !skip && equals(p, len, "*") && head->method == HTTP_OPTIONS;
    if (!asterisk && !(path_len > 0 ? p[0] == '/' : skip > 0))
        return 400;
    head->path = span(parse, p, path_len);
    if (mark)
        head->query = span(parse, mark + 1, len - path_len - 1);
    return H1_DONE;
}

static int parse_request_line(struct parse *parse) {
    const uint8_t *line;
    size_t len;
    uint32_t max =
        parse->limits->line_bytes_max < H1_HEAD_BYTES_MAX ? parse->limits->line_bytes_max : H1_HEAD_BYTES_MAX;
    int r = next_line(parse, max, 414, &line, &len);
    if (r != H1_DONE)
        return r;
    const uint8_t *end = line + len, *target = memchr(line, ' ', len);
    if (!target || target == line || !all_of(line, (size_t)(target - line), TOKEN))
        return 400;
    target++;
    const uint8_t *version = memchr(target, ' ', (size_t)(end - target));
    if (!version || version == target)
        return 400;
    r = parse_version(parse, version + 1, (size_t)(end - version - 1));
    if (r != H1_DONE)
        return r;
    parse->head->method = find_method(line, (size_t)(target - 1 - line));
    r = parse_target(parse, target, (size_t)(version - target));
    return r == H1_DONE && !parse->head->method ? 501 : r;
}

/* --- fields that decide where a message ends, and what it wants of the connection --- */

static int on_host(struct parse *parse, const uint8_t *value, size_t len) {
    if (parse->has_host || !all_of(value, len, HOST))
        return 400;
    parse->has_host = true;
    return H1_DONE;
}

static int on_content_length(struct parse *parse, const uint8_t *value, size_t len) {
    if (parse->has_length || len == 0 || !all_of(value, len, DIGIT))
        return 400;
    parse->has_length = true;
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n = n > UINT64_MAX / 10 - 1 ? UINT64_MAX : n * 10 + (value[i] - '0'); /* saturates, to be answered 413 */
    parse->head->content_length = n;
    return H1_DONE;
}

static int on_transfer_encoding(struct parse *parse, const uint8_t *value, size_t len) {
    if (parse->has_coding || len == 0)
        return 400;
    parse->has_coding = parse->head->chunked = true;
    return equals_nocase(value, len, "chunked") ? H1_DONE : 501;
}

static int on_connection(struct parse *parse, const uint8_t *value, size_t len) {
    const uint8_t *end = value + len;
    while (value < end) {
        const uint8_t *comma = memchr(value, ',', (size_t)(end - value)), *stop = comma ? comma : end;
        while (value < stop && blank(*value))
            value++;
        const uint8_t *last = stop;
        while (last > value && blank(last[-1]))
            last--;
        parse->wants_close |= equals_nocase(value, (size_t)(last - value), "close");
        parse->wants_keep_alive |= equals_nocase(value, (size_t)(last - value), "keep-alive");
        value = comma ? comma + 1 : end;
    }
    return H1_DONE;
}

static int on_expect(struct parse *parse, const uint8_t *value, size_t len) {
    parse->head->expect_continue |= equals_nocase(value, len, "100-continue");
    return H1_DONE;
}

static int read_known(struct parse *parse, const uint8_t *name, size_t name_len, const uint8_t *value, size_t len) {
    static const struct {
        const char *name;
        int (*read)(struct parse *parse, const uint8_t *value, size_t len);
    } known[] = {
        {"host", on_host},
        {"content-length", on_content_length},
        {"transfer-encoding", on_transfer_encoding},
        {"connection", on_connection},
        {"expect", on_expect},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (equals_nocase(name, name_len, known[i].name))
            return known[i].read(parse, value, len);
    return H1_DONE;
}

static int parse_field(struct parse *parse, const uint8_t *line, size_t len) {
    struct h1_head *head = parse->head;
    if (head->field_count >= H1_FIELDS_MAX || head->field_count >= parse->limits->headers_max)
        return 431;
    const uint8_t *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    if (name_len == 0 || !all_of(line, name_len, TOKEN)) /* a folded line begins with a blank, so fails here too */
        return 400;
    const uint8_t *value = colon + 1, *end = line + len;
    while (value < end && blank(*value))
        value++;
    while (end > value && blank(end[-1]))
        end--;
    size_t value_len = (size_t)(end - value);
    if (!all_of(value, value_len, VALUE))
        return 400;
    head->fields[head->field_count++] = (struct h1_field){span(parse, line, name_len), span(parse, value, value_len)};
    return read_known(parse, line, name_len, value, value_len);
}

/* Rules over several fields: RFC 9112 §3.2 (Host), §6.1 and §6.3 (body length), §9.3 (persistence). */
static int check_head(struct parse *parse) {
    struct h1_head *head = parse->head;
    if (head->minor == 1 && !parse->has_host)
        return 400;
    if (parse->has_coding && (parse->has_length || head->minor == 0))
        return 400;
    if (head->content_length > INT64_MAX)
        return 413;
    head->keep_alive = !parse->wants_close && (head->minor == 1 || parse->wants_keep_alive);
    head->expect_continue &= head->minor == 1;
    return H1_DONE;
}

static int parse_fields(struct parse *parse) {
    size_t max = parse->limits->head_bytes_max < H1_HEAD_BYTES_MAX ? parse->limits->head_bytes_max : H1_HEAD_BYTES_MAX;
    for (;;) {
        const uint8_t *line;
        size_t len;
        if (parse->pos > max)
            return 431;
        int r = next_line(parse, max - parse->pos, 431, &line, &len);
        if (r == H1_DONE && len == 0)
            return check_head(parse);
        if (r == H1_DONE)
            r = parse_field(parse, line, len);
        if (r != H1_DONE)
            return r;
    }
}

int h1_head_parse(const uint8_t *data, size_t len, const struct http_limits *limits, struct h1_head *ret_head) {
    struct parse parse = {.data = data, .len = len, .limits = limits, .head = ret_head};
    memset(ret_head, 0, offsetof(struct h1_head, fields));
    if (len && data[0] == '\r') { /* one empty line before a request is forgiven, RFC 9112 §2.2 */
        if (len < 2)
            return H1_MORE;
        if (data[1] != '\n')
            return 400;
        parse.pos = 2;
    }
    if (len == parse.pos)
        return H1_MORE;
    if (!(classes[data[parse.pos]] & TOKEN)) /* TLS on a plain port would otherwise be waited for until its deadline */
        return 400;
    int r = parse_request_line(&parse);
    if (r == H1_DONE)
        r = parse_fields(&parse);
    ret_head->size = parse.pos;
    return r;
}

/* --- chunked bodies --- */

enum {
    CHUNK_SIZE,      /* hex digits */
    CHUNK_EXTENSION, /* after ';', dropped */
    CHUNK_SIZE_LF,   /* LF of the size line */
    CHUNK_DATA,      /* `remaining` bytes of body */
    CHUNK_DATA_CR,   /* CRLF after them */
    CHUNK_DATA_LF,
    TRAILER_START, /* a trailer field, or the CR of the last line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF, /* LF of a trailer field */
    BODY_LF,    /* the very last byte */
    BODY_END,
};

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int step_size(struct h1_chunked *chunked, uint8_t c) {
    int digit = hex_value(c);
    if (digit >= 0) {
        if (++chunked->digits > 15)
            return 400;
        chunked->remaining = chunked->remaining * 16 + (unsigned)digit;
        return H1_MORE;
    }
    if (chunked->digits == 0 || (c != ';' && c != '\r'))
        return 400;
    chunked->skipped = 0;
    chunked->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    return H1_MORE;
}

/* One byte of a line that is dropped; CR leads to `next`. */
static int step_dropped(struct h1_chunked *chunked, uint8_t c, uint32_t max, uint8_t next) {
    if (c == '\r')
        chunked->state = next;
    else if (!(classes[c] & VALUE) || ++chunked->skipped > max)
        return 400;
    return H1_MORE;
}

static int step_trailer_name(struct h1_chunked *chunked, uint8_t c) {
    if (c == ':' && chunked->state == TRAILER_NAME) {
        chunked->state = TRAILER_VALUE;
        return H1_MORE;
    }
    if (c == '\r' && chunked->state == TRAILER_START) {
        chunked->state = BODY_LF;
        return H1_MORE;
    }
    chunked->state = TRAILER_NAME;
    return (classes[c] & TOKEN) && ++chunked->skipped <= H1_TRAILER_BYTES_MAX ? H1_MORE : 400;
}

static int step_expected(struct h1_chunked *chunked, uint8_t c, uint8_t expected, uint8_t next) {
    chunked->state = next;
    return c == expected ? H1_MORE : 400;
}

static int step_size_lf(struct h1_chunked *chunked, uint8_t c) {
    chunked->skipped = 0;
    chunked->digits = 0;
    return step_expected(chunked, c, '\n', chunked->remaining ? CHUNK_DATA : TRAILER_START);
}

/* One byte of framing, in any state but CHUNK_DATA. */
static int step(struct h1_chunked *chunked, uint8_t c) {
    switch (chunked->state) {
    case CHUNK_SIZE:
        return step_size(chunked, c);
    case CHUNK_EXTENSION:
        return step_dropped(chunked, c, H1_EXTENSION_BYTES_MAX, CHUNK_SIZE_LF);
    case CHUNK_SIZE_LF:
        return step_size_lf(chunked, c);
    case CHUNK_DATA_CR:
        return step_expected(chunked, c, '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        return step_expected(chunked, c, '\n', CHUNK_SIZE);
    case TRAILER_START:
    case TRAILER_NAME:
        return step_trailer_name(chunked, c);
    case TRAILER_VALUE:
        return step_dropped(chunked, c, H1_TRAILER_BYTES_MAX, TRAILER_LF);
    case TRAILER_LF:
        return step_expected(chunked, c, '\n', TRAILER_START);
    case BODY_LF:
        return step_expected(chunked, c, '\n', BODY_END) == H1_MORE ? H1_DONE : 400;
    default:
        return 400;
    }
}

int h1_chunked_next(struct h1_chunked *chunked, const uint8_t *data, size_t len, size_t *ret_used, size_t *ret_run,
                    size_t *ret_run_len) {
    size_t pos = 0;
    int r = H1_MORE;
    *ret_run = *ret_run_len = 0;
    while (pos < len && r == H1_MORE && chunked->state != CHUNK_DATA)
        r = step(chunked, data[pos++]);
    if (pos < len && r == H1_MORE) {
        *ret_run = pos;
        *ret_run_len = len - pos < chunked->remaining ? len - pos : (size_t)chunked->remaining;
        pos += *ret_run_len;
        chunked->remaining -= *ret_run_len;
        if (chunked->remaining == 0)
            chunked->state = CHUNK_DATA_CR;
    }
    *ret_used = pos;
    return r;
}
