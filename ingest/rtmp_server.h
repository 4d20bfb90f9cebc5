/* RTMP listener: accepts publishers, one rtmp_session each, on libevent-driven sockets of the given loop. Also over TLS
 * (RTMPS: RTMP within TLS from the first byte). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct ingest;
struct loop;
struct rtmp_server;
struct tls_context;

struct rtmp_limits {
    uint32_t connections_max;         /* more are closed at once, counted */
    uint32_t unpublished_per_address; /* the same of one address (address_key), of those never granted a publish */
    uint32_t handshake_timeout_ms;    /* from accept to a granted publish, TLS's handshake included */
    uint32_t silence_timeout_ms;      /* a publisher of whom nothing at all is received for so long is closed */
    uint32_t connection_bytes_max;    /* memory of unfinished messages on one connection */
    uint32_t unpublished_bytes_max;   /* the same before its first publish is granted */
};
extern const struct rtmp_limits rtmp_limits_default;

struct rtmp_server *rtmp_server_create(struct loop *loop, struct ingest *ingest, const struct rtmp_limits *limits);
/* "[::]:1935". `ret_port` may be NULL. 0 or negative errno. */
int rtmp_server_listen(struct rtmp_server *server, const char *address, uint16_t *ret_port);
/* For TLS connections to come; those that are there keep theirs. Takes a reference of its own. */
void rtmp_server_set_tls(struct rtmp_server *server, struct tls_context *context);
/* As rtmp_server_listen, over TLS. -EINVAL also without rtmp_server_set_tls before. */
int rtmp_server_listen_tls(struct rtmp_server *server, const char *address, uint16_t *ret_port);
/* The node is about to stop: closes the listeners and asks publishers that can to connect anew, those that are granted later, too. `url`:
 * see rtmp_session_ask_reconnect; it must outlive the server. */
void rtmp_server_drain(struct rtmp_server *server, const char *url);
/* Publishers that were asked and are still here. */
uint32_t rtmp_server_leaving(const struct rtmp_server *server);
uint32_t rtmp_server_connections(const struct rtmp_server *server);
/* Closes listeners and connections; their publishers are closed as not clean. NULL is allowed. */
void rtmp_server_destroy(struct rtmp_server *server);
void rtmp_server_metrics_register(void);
