/* SRT ingest: a ts_session for each caller that srt_port lets in, its log lines and counters; and calls for who wants media from a
 * listener. On the loop's thread. */
#pragma once
#include <stdint.h>

#include "ingest/srt_port.h"

struct ingest;
struct loop;
struct srt_server;

struct srt_server_settings {
    uint32_t latency_ms, connections_max;
    uint32_t connections_per_address; /* see address_key */
    uint32_t key_bytes;         /* of AES: 16, 24, 32; 0: the caller's choice */
    char *const *passphrases;   /* see ingest/srt_admission.h; must outlive the server */
    uint32_t passphrase_count;
    uint32_t silent_ms;          /* a publisher may be taken over of whom nothing came for so long: as the origin has it */
    uint32_t silence_timeout_ms; /* a caller that sends nothing for so long is closed */
    uint32_t queue_bytes_max;    /* of one link, between threads */
    uint32_t queue_full_ms;      /* a link whose queue is full for so long is closed */
};
extern const struct srt_server_settings srt_server_settings_default;

/* The ingest role's publish keys count. */
struct srt_server *srt_server_create(struct loop *loop, struct ingest *ingest, const struct srt_server_settings *settings);
/* As srt_port's; without a listener it only calls. */
int srt_server_listen(struct srt_server *server, const char *address, uint16_t *ret_port);
int srt_server_start(struct srt_server *server);
/* Links are closed, their publishers as not clean, and calls end. NULL is allowed. */
void srt_server_destroy(struct srt_server *server);
void srt_server_metrics_register(void);

/* What a listener sends that was called. From the loop. */
struct srt_call_events {
    void (*on_data)(void *ctx, const uint8_t *data, size_t len);
    void (*on_gap)(void *ctx);
    /* Once, the last. `why` is fit for a log. */
    void (*on_end)(void *ctx, const char *why);
};
struct srt_caller;
/* Calls (srt_port_call). NULL: there are too many. */
struct srt_caller *srt_server_call(struct srt_server *server, const struct srt_call *call, const struct srt_call_events *events, void *ctx);
/* Nothing more of it comes. Not after on_end, nor in another of its events. NULL is allowed. */
void srt_server_hang_up(struct srt_caller *caller);

/* A link as it is shown. */
struct srt_view {
    const struct srt_link_info *info;
    struct srt_stats stats;
    int64_t since_us; /* loop's clock */
    bool second;      /* there is another of the same stream, which was there before */
};
/* All that are open. */
void srt_server_each(struct srt_server *server, void (*fn)(void *ctx, const struct srt_view *view), void *ctx);
