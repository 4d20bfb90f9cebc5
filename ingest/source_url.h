/* URLs that weir fetches streams from: what is in them, and how they are shown to people, which is without secrets. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ingest/srt_stream_id.h"

enum source_scheme { SOURCE_SRT, SOURCE_RTMP, SOURCE_RTMPS, SOURCE_HTTP, SOURCE_HTTPS, SOURCE_FILE };

enum {
    SOURCE_URL_MAX = 1024, /* bytes */
    SOURCE_HOST_MAX = 253,
    SOURCE_SHOWN_LEN = 256, /* with the terminating zero */
    SOURCE_LATENCY_MS = 120,
};

struct source_url {
    enum source_scheme scheme;
    char text[SOURCE_URL_MAX + 1];
    char shown[SOURCE_SHOWN_LEN]; /* without user, password and query: "https://example.org/live.m3u8?" */
    char host[SOURCE_HOST_MAX + 1]; /* of an IPv6 address, without its brackets; "" of a file */
    uint16_t port;
    /* SRT's, from the query, percent-decoded */
    struct {
        char stream_id[SRT_STREAM_ID_MAX + 1]; /* "": none */
        char passphrase[80];                   /* "": none */
        uint32_t key_bytes;                    /* 16, 24, 32; 0: the listener's choice */
        uint32_t latency_ms;
    } srt;
};

/* 0, or -EINVAL with *ret_why: what is wrong, fit to stand behind "it" (static text). */
int source_url_parse(const char *text, struct source_url *ret_url, const char **ret_why);

/* A line that somebody else wrote, in place: of each URL in it what is shown. Never longer than before. */
void source_url_scrub(char *line);
