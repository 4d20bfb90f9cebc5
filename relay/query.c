#include "relay/query.h"

#include <errno.h>
#include <string.h>

#include "common/http/server.h"

enum { VALUE_LEN = 24 };

static bool parse_number(const char *text, uint64_t max, uint64_t *ret) {
    uint64_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > max / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret = value;
    return value <= max;
}

/* Whether the key is there at all, even with a value too long to be one. */
static bool has_key(const char *query, const char *key) {
    size_t len = strlen(key);
    for (const char *p = query; *p; p += strcspn(p, "&"), p += *p == '&')
        if (!strncmp(p, key, len) && (p[len] == '=' || p[len] == '&' || !p[len]))
            return true;
    return false;
}

static int number_param(const char *query, const char *key, uint64_t max, bool *ret_there, uint64_t *ret) {
    char text[VALUE_LEN];
    *ret_there = has_key(query, key);
    if (!*ret_there)
        return 0;
    return http_query_get(query, key, text, sizeof text) && parse_number(text, max, ret) ? 0 : -EINVAL;
}

int hls_query_parse(const char *query, struct hls_query *ret_query, const char **ret_why) {
    struct hls_query q = {0};
    bool has_part = false;
    uint64_t part = 0;
    char skip[VALUE_LEN];
    if (number_param(query, "_HLS_msn", INT64_MAX, &q.blocking, &q.msn)) {
        *ret_why = "_HLS_msn is not a decimal number";
        return -EINVAL;
    }
    if (number_param(query, "_HLS_part", UINT32_MAX - 1, &has_part, &part)) {
        *ret_why = "_HLS_part is not a decimal number";
        return -EINVAL;
    }
    if (has_part && !q.blocking) {
        *ret_why = "_HLS_part needs _HLS_msn";
        return -EINVAL;
    }
    q.part = (uint32_t)part;
    q.skip = http_query_get(query, "_HLS_skip", skip, sizeof skip) && (!strcmp(skip, "YES") || !strcmp(skip, "v2"));
    *ret_query = q;
    return 0;
}
