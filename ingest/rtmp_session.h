/* One RTMP connection's protocol, without its socket: bytes in, bytes out into a buffer, and calls to a publisher
 * (publisher.h) between them. No I/O, no clock (`now_us` is the loop's), so tests and the fuzzer drive it.
 *
 *   create -> input ... input -> destroy
 *
 * After each call the user sends what is in rtmp_session_output, and closes the connection when rtmp_session_closing is
 * true and that is sent. `on_change` tells that both are to be looked at again though nothing was put in; it comes from
 * the loop, never from inside a call. While a claim is being decided what comes in is held, and
 * rtmp_session_wants_input says no. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

struct ingest;
struct rtmp_session;

/* How it ended, for logs and counters. */
enum rtmp_end {
    RTMP_END_NONE,        /* not by either side: the server stops */
    RTMP_END_BYE,         /* the publisher said goodbye and left */
    RTMP_END_LOST,        /* the connection broke off while publishing */
    RTMP_END_GONE,        /* it left without ever publishing */
    RTMP_END_PROTOCOL,    /* the peer breaks the protocol or a limit of it */
    RTMP_END_NOT_READING, /* the peer doesn't read our replies */
    RTMP_END_LATE,        /* no publish within the handshake time */
    RTMP_END_SILENT,      /* nothing came from it for too long */
    RTMP_END_BAD_NAME,    /* refused, as enum publish_result */
    RTMP_END_DENIED,
    RTMP_END_BUSY,
    RTMP_END_FULL,
    RTMP_END_CUT,
    RTMP_END_UNSUPPORTED, /* codecs */
    RTMP_END_PLAY,        /* wanted to play */
    RTMP_END_PUBLISHER,   /* the publisher was lost: taken over, cut, unusable media */
    RTMP_END_COUNT,
};

struct rtmp_session_settings {
    struct ingest *ingest;
    const char *peer;             /* copied */
    int64_t handshake_timeout_us; /* until a publish is granted */
    int64_t silence_timeout_us;
    size_t memory_max; /* of unfinished messages, and of what is held while a claim is decided */
    size_t unpublished_memory_max; /* the same before the first publish is granted: from anybody */
    uint64_t seed;                 /* see rtmp_handshake_reply */
    void (*on_change)(void *ctx);
    void *ctx;
};

struct rtmp_session *rtmp_session_create(const struct rtmp_session_settings *settings, int64_t now_us);
/* Takes bytes as they come in; with `len` 0, goes on with what was held. */
void rtmp_session_input(struct rtmp_session *session, const uint8_t *data, size_t len, int64_t now_us);
/* The peer closed its side, or the connection broke. */
void rtmp_session_input_end(struct rtmp_session *session);
/* What lies below can't be used: the session ends as one whose peer breaks the protocol. `why` is copied. */
void rtmp_session_fail(struct rtmp_session *session, const char *why);
/* To be called now and then: notices timeouts. */
void rtmp_session_check(struct rtmp_session *session, int64_t now_us);
/* Asks the publisher, once, to connect anew: to the app at `url` ("rtmp://host:port"), or where it did when that is NULL. Media
 * are taken as before, until it leaves. False: nothing is published, the peer didn't say that it can do that, or it was asked before. */
bool rtmp_session_ask_reconnect(struct rtmp_session *session, const char *url);
/* Closes the publisher if there is one. NULL is allowed. */
void rtmp_session_destroy(struct rtmp_session *session);

struct buf *rtmp_session_output(struct rtmp_session *session); /* the user consumes it */
bool rtmp_session_wants_input(const struct rtmp_session *session);
bool rtmp_session_closing(const struct rtmp_session *session);
bool rtmp_session_connected(const struct rtmp_session *session); /* has said `connect` */
bool rtmp_session_publishing(const struct rtmp_session *session);
bool rtmp_session_reconnecting(const struct rtmp_session *session); /* asked to, and still publishing */
bool rtmp_session_published(const struct rtmp_session *session); /* a publish was granted, now or before */

enum rtmp_end rtmp_session_end(const struct rtmp_session *session); /* once it is closing */
const char *rtmp_session_why(const struct rtmp_session *session);   /* in words; "" when there are none */
const char *rtmp_session_app(const struct rtmp_session *session);
const char *rtmp_session_name(const struct rtmp_session *session);    /* without its key; "" before publish */
const char *rtmp_session_encoder(const struct rtmp_session *session); /* what the peer calls itself; may be "" */
uint64_t rtmp_session_bytes(const struct rtmp_session *session);      /* received */
const char *rtmp_end_name(enum rtmp_end end);                         /* "bad_name" */
