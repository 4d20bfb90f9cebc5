/* What nodes write about themselves into the registry, below its prefix:
 *
 *   PREFIX/nodes/NODE              {"roles":["origin"],"region":"eu","feed_url":"https://origin-a:8443","http_url":"","version":"1.0",
 *                                   "load":{"viewers":0,"egress_kbps":0,"streams":1},"capacity":{"viewers":20000,"streams":1000}}
 *   PREFIX/streams/APP/NAME/NODE   {"epoch":1790000000123456,"feed_url":"https://origin-a:8443","since":"2026-11-24T15:04:05.678Z"}
 *
 * Pure. What a reader doesn't know it passes over; what is missing is 0 or "". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FLEET_NAME_LEN = 64, /* of nodes and regions, as all of these with the terminating zero */
    FLEET_STREAM_LEN = 130,
    FLEET_URL_LEN = 256,
    FLEET_VERSION_LEN = 32,
    FLEET_SINCE_LEN = 32,
};
enum fleet_role { FLEET_INGEST = 1, FLEET_ORIGIN = 2, FLEET_RELAY = 4 };

struct fleet_load {
    uint64_t viewers, egress_kbps, streams;
};
struct fleet_capacity {
    uint64_t viewers, streams;
};
struct fleet_node {
    uint32_t roles; /* a set of them */
    char region[FLEET_NAME_LEN], version[FLEET_VERSION_LEN];
    char feed_url[FLEET_URL_LEN], http_url[FLEET_URL_LEN]; /* "": not offered */
    struct fleet_load load;
    struct fleet_capacity capacity;
};
struct fleet_holding {
    uint64_t epoch;
    char feed_url[FLEET_URL_LEN], since[FLEET_SINCE_LEN];
};

enum fleet_key { FLEET_KEY_OTHER, FLEET_KEY_NODE, FLEET_KEY_STREAM };
/* A key with the prefix and its slash taken off. `stream` is "app/name", or "" with a node's. */
enum fleet_key fleet_key_parse(const char *key, char stream[FLEET_STREAM_LEN], char node[FLEET_NAME_LEN]);

/* Text for the registry, shorter than ETCD_VALUE_MAX; to be freed. */
char *fleet_node_write(const struct fleet_node *node);
char *fleet_holding_write(const struct fleet_holding *holding);
/* 0 or -EBADMSG. */
int fleet_node_parse(const char *text, size_t len, struct fleet_node *ret_node);
int fleet_holding_parse(const char *text, size_t len, struct fleet_holding *ret_holding);
/* The name of the first role in the set, which is taken out of it; NULL: it is empty. */
const char *fleet_role_next(uint32_t *roles);
