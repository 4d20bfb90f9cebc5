/* The configuration of a node: YAML, every setting in one table (conf/schema.c) with its range, default, unit and text.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONF_LIST_MAX = 64 };
struct conf_list {
    size_t count;
    char *items[CONF_LIST_MAX];
    uint32_t lines[CONF_LIST_MAX]; /* where each stands in the file; 0: it is a default */
};

/* Certificates in PEM and their keys, as many of one as of the other; files, by names that open from anywhere that the
 * configuration's own name does. */
struct conf_tls {
    struct conf_list listen, cert, key;
    enum { CONF_KTLS_AUTO, CONF_KTLS_OFF } ktls;
};

struct conf {
    char *node, *region;
    struct {
        struct conf_list listen;
        uint32_t connections_max, connections_per_address, workers; /* workers 0: one a core */
        struct conf_list trusted_proxies;
        enum { CONF_PROXY_PROTOCOL_OFF, CONF_PROXY_PROTOCOL_ON } proxy_protocol;
        char *congestion;                                           /* NULL: the kernel's default */
        enum { CONF_URING_AUTO, CONF_URING_OFF } io_uring;
        struct conf_tls tls;
    } http;
    struct {
        char *listen;
    } admin;
    struct {
        struct conf_list listen;
        struct conf_tls tls;
        struct conf_list ca, client_ca; /* files; none or one of each */
    } feed;
    struct {
        struct conf_list etcd; /* URLs */
        char *prefix, *feed_url, *http_url;
        uint32_t ttl_s;
    } fleet;
    bool ingest_on, origin_on, relay_on;
    struct {
        struct conf_list rtmp_listen;
        struct conf_tls rtmp_tls; /* always CONF_KTLS_OFF */
        uint32_t rtmp_connections_max, rtmp_unpublished_per_address;
        uint32_t rtmp_drain_s;
        char *rtmp_reconnect_url; /* NULL: none */
        struct conf_list srt_listen, srt_passphrases;
        uint32_t srt_latency_ms, srt_connections_max, srt_connections_per_address;
        enum { CONF_PBKEYLEN_AUTO, CONF_PBKEYLEN_16, CONF_PBKEYLEN_24, CONF_PBKEYLEN_32 } srt_pbkeylen;
        struct conf_list golive_ladder; /* "HEIGHT KBPS", or "auto"; empty: OBS isn't told what to encode */
        char *golive_url;               /* NULL: by the request */
        struct conf_list subtitles; /* "app/name de Deutsch", "app/na* de" (ingest/subtitles.h) */
        struct conf_list ladder; /* "app/name 480:1200 240:150", "app/na* auto" (ingest/rungs.h) */
        enum { CONF_ULTRAFAST, CONF_SUPERFAST, CONF_VERYFAST, CONF_FASTER, CONF_FAST, CONF_MEDIUM } ladder_preset;
        char *ladder_encoder;
        uint32_t ladder_on_demand_s; /* 0: rungs run always */
        uint32_t ladder_audio_kbps;
        struct conf_list origins; /* URLs */
        struct conf_list rung_suffixes; /* "_low" */
        struct conf_list backups; /* pairs of streams' names, "app/name app/other" */
        struct conf_list slate;   /* "app/name FILE", "app/na* FILE" */
        uint32_t slate_s;
        struct conf_list sources; /* "app/name URL", perhaps with " on-demand" behind it */
    } ingest;
    struct {
        struct conf_list listen, tls_listen;
        uint32_t grace_s, takeover_ms;
    } origin;
    struct {
        uint32_t max_lag_ms, linger_s, late_ms;
        struct conf_list upstreams; /* URLs, each perhaps with a space and its cost in ms behind it */
        struct conf_list shields;   /* the same */
        struct conf_list race;      /* patterns of streams' names */
        struct conf_list peers;     /* URLs */
        enum { CONF_REDIRECT_OFF, CONF_REDIRECT_ON } redirect;
        uint32_t viewers_max, egress_mbps_max; /* 0: no limit */
    } relay;
    struct {
        uint32_t segment_ms, part_ms, chunk_ms, stall_ms, window_s;
    } live;
    struct {
        uint32_t streams_max;
        uint64_t memory_mb, stream_memory_mb; /* of chunks held in all, and of one stream's */
    } limits;
    struct {
        enum { CONF_MUXED_AUTO, CONF_MUXED_ALWAYS, CONF_MUXED_NEVER } muxed;
        uint32_t thumb_s; /* 0: no thumbnails */
    } hls;
    struct {
        struct conf_list publish_keys; /* "key" for any stream or "app/name:key" for one (glob * at the end allowed) */
        char *feed_key;
    } auth;
    struct {
        enum { CONF_DEBUG, CONF_INFO, CONF_WARN, CONF_ERROR } level;
        enum { CONF_LOGFMT, CONF_JSON } format;
    } log;
};

/* Without a file: all roles on the default ports. */
struct conf *conf_create_default(void);
/* NULL on error, with `file:line: what is wrong, what would be right` lines (at most 20) on `errors`. With a file, only
 * the roles and listeners that it names are on. */
struct buf;
struct conf *conf_load(const char *path, struct buf *errors);
/* The same from memory; `name` stands for the file in messages. Fuzzed. */
struct conf *conf_parse(const char *name, const char *text, size_t len, struct buf *errors);
void conf_destroy(struct conf *conf);
/* The reference of all settings as Markdown (docs/settings.md is made from it, and a test compares). */
void conf_print_reference(struct buf *out);
