/* Delivery directives in a playlist's query (RFC 8216bis §6.2.5). Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hls_query {
    bool blocking; /* _HLS_msn is there */
    uint64_t msn;
    uint32_t part; /* 0 when _HLS_part is absent: answered at the segment's first part, which is what players expect */
    bool skip;     /* _HLS_skip=YES or v2 */
};

/* Unknown parameters are ignored, any order is fine. 0, or -EINVAL with *ret_why (static text). */
int hls_query_parse(const char *query, struct hls_query *ret_query, const char **ret_why);
