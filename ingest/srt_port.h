/* Where SRT callers come in, and listeners are called: listeners, a thread that takes datagrams, and their way to a loop. The only file that
 * knows libsrt, which has no descriptors to wait for: hence the thread.
 *
 * A link is one caller that was let in, or one call that a listener has taken. On the loop it is opened, then brings bytes and gaps, then is closed, which is the last that is
 * heard of it. Between the thread and the loop there is a queue for each link, of bounded size: when it is full nothing more is taken
 * from libsrt, whose buffer is bounded, too; when it stays full the link is closed. Others don't notice.
 *
 * All functions belong to the loop's thread. One port a process. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/media/name.h"
#include "ingest/srt_admission.h"

struct loop;
struct srt_link;
struct srt_port;

/* Why a link was closed. */
enum srt_end {
    SRT_END_NONE,   /* not by either side: the port is destroyed */
    SRT_END_BYE,    /* the caller said goodbye */
    SRT_END_LOST,   /* nothing came from it any more, not even what keeps a connection alive */
    SRT_END_SILENT, /* it was there, but sent nothing */
    SRT_END_SLOW,   /* its queue was full for too long */
    SRT_END_CLOSED, /* by srt_link_close */
    SRT_END_REFUSED, /* a call that wasn't taken; it was never opened */
    SRT_END_COUNT,
};
const char *srt_end_name(enum srt_end end);

struct srt_stats { /* as of the last half second; packets and bytes since the link was opened */
    double rtt_ms;
    uint32_t buffer_ms; /* what waits in libsrt to be played out, or for what is missing before it */
    uint64_t packets, lost, retransmitted, dropped, belated, undecrypted;
    uint64_t bytes; /* of payload, taken */
};

struct srt_link_info {
    struct srt_stream_id id;
    char peer[64];       /* "192.0.2.7:5121" */
    char version[16];    /* of its SRT: "1.5.1" */
    uint32_t latency_ms; /* agreed on: the larger wish */
    uint32_t key_bits;   /* of AES; 0: not encrypted */
};

struct srt_port_settings {
    struct srt_admission rules; /* what it points to must outlive the port */
    uint32_t latency_ms, connections_max;
    uint32_t key_bytes;          /* wished for, where there is a passphrase: 16, 24, 32; 0: the caller's choice */
    uint32_t silence_timeout_ms; /* see SRT_END_SILENT */
    size_t queue_bytes_max;
    uint32_t queue_full_ms; /* see SRT_END_SLOW */
};

struct srt_port_events {
    void (*on_open)(void *ctx, struct srt_link *link);
    void (*on_data)(void *ctx, struct srt_link *link, const uint8_t *data, size_t len);
    /* Packets that came too late, or not at all, are missing here. */
    void (*on_gap)(void *ctx, struct srt_link *link);
    /* The link is gone when this returns. */
    void (*on_close)(void *ctx, struct srt_link *link, enum srt_end end);
    /* A caller was not let in; `id` is NULL where that could not be read. ON ANY THREAD, and must not wait. */
    void (*on_refused)(void *ctx, const char *peer, const struct srt_stream_id *id, enum srt_refusal refusal);
};

/* A listener that is to be called. */
struct srt_call {
    struct sockaddr_storage address;
    char stream[STREAM_NAME_LEN]; /* what its link is to be named, here */
    char stream_id[SRT_STREAM_ID_MAX + 1]; /* "": none */
    char passphrase[SRT_PASSPHRASE_MAX + 1]; /* "": none */
    uint32_t key_bytes; /* 16, 24, 32; 0: the listener's choice */
    uint32_t latency_ms;
};
enum { SRT_CALLS_MAX = 64 };

struct srt_port *srt_port_create(struct loop *loop, const struct srt_port_settings *settings,
                                 const struct srt_port_events *events, void *ctx);
/* "[::]:8890". `ret_port` may be NULL. 0 or negative errno. */
int srt_port_listen(struct srt_port *port, const char *address, uint16_t *ret_port);
/* When all listen: from here on callers are let in. 0 or negative errno. */
int srt_port_start(struct srt_port *port);
/* Its link is opened, or closed without (SRT_END_REFUSED); from srt_port_start on. `user`: see srt_link_user. NULL: there are SRT_CALLS_MAX. They
 * don't count among connections_max. */
struct srt_link *srt_port_call(struct srt_port *port, const struct srt_call *call, void *user);
/* Closes listeners and links; on_close comes for each from within. NULL is allowed. */
void srt_port_destroy(struct srt_port *port);
void srt_port_metrics_register(void);

const struct srt_link_info *srt_link_info(const struct srt_link *link);
struct srt_stats srt_link_stats(struct srt_link *link);
/* Why a call wasn't taken, once it is closed: the code's name in the standard, "CONFLICT (1409)". */
const char *srt_link_refusal(const struct srt_link *link);
bool srt_link_called(const struct srt_link *link);
/* Nothing more of it comes but on_close, within a moment. */
void srt_link_close(struct srt_link *link);
/* Whatever the user keeps for a link; NULL at first. */
void srt_link_set_user(struct srt_link *link, void *user);
void *srt_link_user(const struct srt_link *link);
