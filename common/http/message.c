#include "common/http/message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/http/server.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that `*at` begins with, escaped or not, and moves on; -1 for a broken escape. */
static int decode_byte(const char **at, const char *end) {
    const char *p = *at;
    if (*p != '%') {
        *at = p + 1;
        return (unsigned char)*p;
    }
    if (end - p < 3)
        return -1;
    int high = hex_value(p[1]), low = hex_value(p[2]);
    *at = p + 3;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Whether the decoded segment may stand in a path. The last one may be empty ("/live/show/"). */
static bool segment_ok(const char *segment, size_t len, bool last) {
    bool dots = (len == 1 && segment[0] == '.') || (len == 2 && segment[0] == '.' && segment[1] == '.');
    return !dots && (len > 0 || last);
}

int http_path_normalize(const char *raw, size_t len, char *out, size_t size) {
    const char *end = raw + len;
    size_t n = 0, segment = 1;
    if (len == 0 || raw[0] != '/')
        return -EINVAL;
    while (raw < end) {
        bool slash = *raw == '/';
        int c = decode_byte(&raw, end);
        if (c < 0x20 || c == 0x7f || c == '\\' || (c == '/' && !slash))
            return -EINVAL;
        if (n + 1 >= size)
            return -ENOBUFS;
        if (slash && n > 0) {
            if (!segment_ok(out + segment, n - segment, false))
                return -EINVAL;
            segment = n + 1;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return segment_ok(out + segment, n - segment, true) ? 0 : -EINVAL;
}

static bool decode_value(const char *p, const char *end, char *out, size_t size) {
    size_t n = 0;
    while (p < end) {
        int c = decode_byte(&p, end);
        if (c <= 0 || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

bool http_query_get(const char *query, const char *key, char *out, size_t size) {
    size_t key_len = strlen(key);
    for (const char *pair = query; size > 0 && *pair; pair += *pair == '&') {
        const char *end = strchrnul(pair, '&');
        const char *equals = memchr(pair, '=', (size_t)(end - pair));
        const char *name_end = equals ? equals : end;
        if ((size_t)(name_end - pair) == key_len && memcmp(pair, key, key_len) == 0)
            return decode_value(equals ? equals + 1 : end, end, out, size);
        pair = end;
    }
    return false;
}

/* --- lists: the next element without blanks around it; false at the end --- */

static bool next_element(const char **at, char separator, const char **ret_start, const char **ret_end) {
    if (!*at)
        return false;
    const char *start = *at, *end = strchrnul(start, separator);
    *at = *end ? end + 1 : NULL;
    start += strspn(start, " \t");
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *ret_start = start < end ? start : end;
    *ret_end = end;
    return true;
}

static bool is_word(const char *start, const char *end, const char *word) {
    return (size_t)(end - start) == strlen(word) && strncasecmp(start, word, strlen(word)) == 0;
}

/* Whether the parameters of an element hold a weight of zero ("q=0", "q=0.000"). */
static bool weight_is_zero(const char *p, const char *end) {
    while (p < end) {
        p += strspn(p, "; \t");
        if (end - p > 2 && (*p == 'q' || *p == 'Q') && p[1] == '=') {
            p += 2;
            return p + strspn(p, "0.") >= end || strchr("; \t", p[strspn(p, "0.")]);
        }
        while (p < end && *p != ';')
            p++;
    }
    return false;
}

bool http_accepts_gzip(const char *accept_encoding) {
    const char *start, *end;
    bool any = false;
    for (const char *at = accept_encoding; next_element(&at, ',', &start, &end);) {
        const char *name_end = start + strcspn(start, "; \t,");
        if (name_end > end)
            name_end = end;
        bool accepted = !weight_is_zero(name_end, end);
        if (is_word(start, name_end, "gzip") || is_word(start, name_end, "x-gzip"))
            return accepted;
        if (is_word(start, name_end, "*"))
            any = accepted;
    }
    return any;
}

/* --- ranges --- */

/* Digits at `*at`, saturating; false when there are none. */
static bool parse_position(const char **at, uint64_t *ret_n) {
    const char *p = *at;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        n = n > UINT64_MAX / 10 - 1 ? UINT64_MAX : n * 10 + (uint64_t)(*p - '0');
    bool found = p > *at;
    *at = p;
    *ret_n = n;
    return found;
}

enum http_range_result http_range_parse(const char *value, uint64_t size, struct http_range *ret_range) {
    uint64_t first, last;
    if (strncasecmp(value, "bytes=", 6) != 0)
        return HTTP_RANGE_NONE;
    const char *p = value + 6;
    bool has_first = parse_position(&p, &first);
    if (*p++ != '-')
        return HTTP_RANGE_NONE;
    bool has_last = parse_position(&p, &last);
    if (*p || (!has_first && !has_last) || (has_first && has_last && first > last))
        return HTTP_RANGE_NONE;
    if (!has_first) /* the last `last` bytes; of none, that begins past the end */
        first = last < size ? size - last : 0;
    if (first >= size)
        return HTTP_RANGE_UNSATISFIABLE;
    ret_range->first = first;
    ret_range->last = has_first && has_last && last < size ? last : size - 1;
    return HTTP_RANGE_VALID;
}

bool http_etag_matches(const char *if_none_match, const char *etag) {
    const char *start, *end;
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    for (const char *at = if_none_match; next_element(&at, ',', &start, &end);) {
        if (is_word(start, end, "*"))
            return true;
        if (strncmp(start, "W/", 2) == 0)
            start += 2;
        if (start < end && (size_t)(end - start) == strlen(etag) && memcmp(start, etag, strlen(etag)) == 0)
            return true;
    }
    return false;
}

const char *http_status_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {508, "Loop Detected"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

char *http_date_format(char out[HTTP_DATE_LEN], int64_t utc_s) {
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)utc_s;
    struct tm tm;
    gmtime_r(&t, &tm); /* not strftime: its names follow the locale */
    snprintf(out, HTTP_DATE_LEN, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
             (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return out;
}
