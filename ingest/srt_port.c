/* Three threads meet here: the loop's, ours, and libsrt's own, on which callers are judged.
 *
 * A link is made by our thread and freed by the loop's. Ours owns it until it has closed its socket and marked it
 * ended; that is the last that it does with it. Between them are the link's queue and its mark of being posted, under
 * the link's lock: a link stands in the mailbox once at most, so that holds all links there can be, and never
 * overflows.
 *
 * What libsrt makes necessary:
 *
 * srt_epoll_uwait waits for SRT's sockets alone; with an eventfd among them it fails. So what the loop wishes is looked
 * for in between, every TICK_MS.
 *
 * A socket that another thread closes brings no event, so only ours closes any.
 *
 * It reports a socket as long as that can be read, so one whose queue is full leaves its set.
 *
 * A call is a link from the beginning, which the loop makes and leaves in `calls` for our thread to begin it. libsrt
 * reports it as writable when it is taken, and as broken when it isn't.
 *
 * Of a caller whose handshake fails after it was judged (a wrong passphrase) we are never told, nor why: those judged
 * are watched until they are accepted or gone. */
#include "ingest/srt_port.h"

#include <errno.h>
#include <pthread.h>
#include <srt/access_control.h>
#include <srt/srt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "common/base/address.h"
#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/base/metrics.h"
#include "ingest/address_counts.h"

enum {
    TICK_MS = 50,
    TICKS_A_STATS = 10,
    EVENTS_MAX = 64,
    LISTENERS_MAX = 64, /* as a list in the configuration has at most */
    BACKLOG = 64,
    DATAGRAM_MAX = 1500,
    BATCH_BYTES = 64 << 10,
    BUCKETS = 256,     /* of links by socket */
    WATCHED_MAX = 256, /* callers between being judged and accepted; of more it isn't told how they failed */
    WATCHED_US = 5000000,
    PACKET_BYTES = 1500,
    /* Half a minute of 3 Mb/s, or five seconds of 20. */
    RECEIVE_PACKETS_MIN = 8192,
    FLOW_PACKETS_MAX = 25600,
    PACKETS_A_MS = 2,     /* 20 Mb/s */
    IDLE_MS = 5000,       /* a caller of whom nothing is heard is lost */
    BYE_WITHIN_MS = 4000, /* one that is gone sooner has said so */
    VERSION_MIN = 0x010300,
    LOGS_PER_S = 5,
};

struct batch {
    struct batch *next;
    size_t len;
    bool gap; /* before it */
    uint8_t data[];
};

struct srt_link {
    struct srt_port *port;
    struct srt_link_info info;
    char address[ADDRESS_KEY_LEN]; /* under which it is counted */
    void *user;

    /* The thread's: */
    struct list link, bucket;
    SRTSOCKET socket;
    int32_t next_sequence; /* -1: none came yet */
    bool paused;           /* the queue is full, epoll doesn't know it */
    int64_t paused_us;
    int64_t arrived_us; /* when packets did last, as of the last look at the statistics */

    struct srt_call *call; /* NULL: it called us */
    bool calling;          /* and has no answer yet */

    /* The loop's: */
    bool opened;

    atomic_bool closing; /* the loop wants no more of it */

    pthread_mutex_t lock; /* over what follows */
    struct batch *first, **last;
    size_t queued; /* bytes, those being delivered among them */
    bool posted, ended;
    enum srt_end end;
    char refusal[48]; /* of a call that wasn't taken */
    struct srt_stats stats;
};

struct watched {
    SRTSOCKET socket;
    int64_t since_us;
    struct srt_stream_id id;
    char peer[ADDRESS_TEXT_LEN];
};

struct srt_port {
    struct loop *loop;
    struct srt_port_settings settings;
    struct srt_port_events events;
    void *ctx;
    struct mailbox *mailbox;
    SRTSOCKET listeners[LISTENERS_MAX];
    size_t listener_count;
    int epoll;
    pthread_t thread;
    bool running;
    atomic_bool stopping;
    atomic_uint count;   /* links, until the loop has let go of them; without calls */
    uint32_t call_count; /* the loop's: calls, likewise */

    /* The thread's: */
    struct list links, buckets[BUCKETS];
    uint8_t staging[BATCH_BYTES];
    uint32_t ticks;

    pthread_mutex_t watch_lock; /* over what follows */
    struct watched watched[WATCHED_MAX];
    size_t watched_count;

    pthread_mutex_t call_lock; /* over what follows */
    struct list calls;         /* to be begun; by `link` */
};

static struct metric metrics[] = {
    {"weir_srt_packets_total", NULL, "Data packets received by SRT, repeated ones among them.", METRIC_COUNTER, 0},
    {"weir_srt_packets_lost_total", NULL, "Packets of SRT that were missing, whether they came later or not.",
     METRIC_COUNTER, 0},
    {"weir_srt_packets_retransmitted_total", NULL, "Packets of SRT that came a second time, or at the second attempt.",
     METRIC_COUNTER, 0},
    {"weir_srt_packets_dropped_total", NULL, "Packets of SRT that did not come in time, and were gone without.",
     METRIC_COUNTER, 0},
    {"weir_srt_packets_belated_total", NULL, "Packets of SRT that came when nobody waited for them any more.",
     METRIC_COUNTER, 0},
    {"weir_srt_packets_undecrypted_total", NULL, "Packets of SRT that could not be decrypted.", METRIC_COUNTER, 0},
};
enum { M_PACKETS, M_LOST, M_RETRANSMITTED, M_DROPPED, M_BELATED, M_UNDECRYPTED };

void srt_port_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

const char *srt_end_name(enum srt_end end) {
    static const char *const names[SRT_END_COUNT] = {"stop", "bye", "lost", "silent", "slow", "closed", "refused"};
    return names[end];
}

/* --- a link, seen from the loop --- */

const struct srt_link_info *srt_link_info(const struct srt_link *link) {
    return &link->info;
}

void srt_link_set_user(struct srt_link *link, void *user) {
    link->user = user;
}

void *srt_link_user(const struct srt_link *link) {
    return link->user;
}

struct srt_stats srt_link_stats(struct srt_link *link) {
    pthread_mutex_lock(&link->lock);
    struct srt_stats stats = link->stats;
    pthread_mutex_unlock(&link->lock);
    return stats;
}

bool srt_link_called(const struct srt_link *link) {
    return link->call;
}

const char *srt_link_refusal(const struct srt_link *link) {
    return link->refusal;
}

void srt_link_close(struct srt_link *link) {
    atomic_store(&link->closing, true);
}

static void deliver(struct srt_link *link, const struct batch *batch) {
    const struct srt_port *port = link->port;
    if (batch->gap && !atomic_load(&link->closing))
        port->events.on_gap(port->ctx, link);
    if (!atomic_load(&link->closing))
        port->events.on_data(port->ctx, link, batch->data, batch->len);
}

static size_t deliver_all(struct srt_link *link, struct batch *batch) {
    size_t bytes = 0;
    while (batch) {
        struct batch *next = batch->next;
        deliver(link, batch);
        bytes += batch->len;
        free(batch);
        batch = next;
    }
    return bytes;
}

static void link_free(struct srt_link *link) {
    if (link->call) {
        link->port->call_count--;
    } else {
        atomic_fetch_sub(&link->port->count, 1);
        address_counts_remove(link->port->settings.rules.addresses, link->address);
    }
    free(link->call);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

static void on_link(void *ctx, void *message) {
    struct srt_port *port = ctx;
    struct srt_link *link = message;
    pthread_mutex_lock(&link->lock);
    struct batch *first = link->first;
    bool ended = link->ended;
    link->first = NULL;
    link->last = &link->first;
    link->posted = false;
    pthread_mutex_unlock(&link->lock);
    bool refused = ended && link->end == SRT_END_REFUSED;
    if (!link->opened && !refused)
        port->events.on_open(port->ctx, link);
    link->opened = true;
    size_t bytes = deliver_all(link, first);
    if (ended) {
        port->events.on_close(port->ctx, link, link->end);
        link_free(link);
        return;
    }
    pthread_mutex_lock(&link->lock);
    link->queued -= bytes;
    pthread_mutex_unlock(&link->lock);
}

/* What the thread posted last, when there is no loop any more. */
static void on_link_left(void *message) {
    struct srt_link *link = message;
    on_link(link->port, link);
}

/* --- a link, seen from the thread --- */

/* With the lock held; gives it back. */
static void post_and_unlock(struct srt_link *link) {
    bool post = !link->posted;
    link->posted = true;
    pthread_mutex_unlock(&link->lock);
    if (post && mailbox_post(link->port->mailbox, link))
        abort(); /* it has room for every link */
}

static struct batch *batch_create(const uint8_t *data, size_t len, bool gap) {
    struct batch *batch = malloc(sizeof *batch + len);
    if (!batch)
        abort();
    *batch = (struct batch){.len = len, .gap = gap};
    memcpy(batch->data, data, len);
    return batch;
}

static void link_give(struct srt_link *link, const uint8_t *data, size_t len, bool gap) {
    if (!len)
        return;
    struct batch *batch = batch_create(data, len, gap);
    pthread_mutex_lock(&link->lock);
    *link->last = batch;
    link->last = &batch->next;
    link->queued += len;
    link->stats.bytes += len;
    post_and_unlock(link);
}

static size_t link_queued(struct srt_link *link) {
    pthread_mutex_lock(&link->lock);
    size_t queued = link->queued;
    pthread_mutex_unlock(&link->lock);
    return queued;
}

static void link_stats(struct srt_link *link, int64_t now_us) {
    SRT_TRACEBSTATS now;
    if (srt_bistats(link->socket, &now, 1, 1))
        return;
    if (now.pktRecv > 0)
        link->arrived_us = now_us;
    metric_add(&metrics[M_PACKETS], now.pktRecv);
    metric_add(&metrics[M_LOST], now.pktRcvLoss);
    metric_add(&metrics[M_RETRANSMITTED], now.pktRcvRetrans);
    metric_add(&metrics[M_DROPPED], now.pktRcvDrop);
    metric_add(&metrics[M_BELATED], now.pktRcvBelated);
    metric_add(&metrics[M_UNDECRYPTED], now.pktRcvUndecrypt);
    pthread_mutex_lock(&link->lock);
    struct srt_stats *stats = &link->stats;
    stats->rtt_ms = now.msRTT;
    stats->buffer_ms = (uint32_t)now.msRcvBuf;
    stats->packets += (uint64_t)now.pktRecv;
    stats->lost += (uint64_t)now.pktRcvLoss;
    stats->retransmitted += (uint64_t)now.pktRcvRetrans;
    stats->dropped += (uint64_t)now.pktRcvDrop;
    stats->belated += (uint64_t)now.pktRcvBelated;
    stats->undecrypted += (uint64_t)now.pktRcvUndecrypt;
    pthread_mutex_unlock(&link->lock);
}

/* The link is the loop's from here on. */
static void link_end(struct srt_link *link, enum srt_end end) {
    srt_close(link->socket);
    list_remove(&link->link);
    list_remove(&link->bucket);
    pthread_mutex_lock(&link->lock);
    link->ended = true;
    link->end = end;
    post_and_unlock(link);
}

static void link_watch(struct srt_link *link) {
    int events = SRT_EPOLL_IN | SRT_EPOLL_ERR;
    srt_epoll_add_usock(link->port->epoll, link->socket, &events);
}

static void link_pause(struct srt_link *link, int64_t now_us) {
    srt_epoll_remove_usock(link->port->epoll, link->socket);
    link->paused = true;
    link->paused_us = now_us;
}

/* libsrt doesn't say why a connection broke. One that fell silent breaks by its own clock; so one of which packets
 * arrived a moment ago was ended by the caller. (When they were delivered tells nothing: that may be seconds after they
 * arrived.) */
static void link_broke(struct srt_link *link, int64_t now_us) {
    link_end(link, now_us - link->arrived_us < BYE_WITHIN_MS * INT64_C(1000) ? SRT_END_BYE : SRT_END_LOST);
}

static bool follows(struct srt_link *link, int32_t sequence) {
    bool next = link->next_sequence < 0 || link->next_sequence == sequence;
    link->next_sequence = (sequence + 1) & INT32_MAX; /* 31 bits */
    return next;
}

/* Takes what there is, until the queue is full. The link may be gone afterwards. */
static void link_read(struct srt_link *link, int64_t now_us) {
    uint8_t *staging = link->port->staging;
    size_t len = 0, room = link->port->settings.queue_bytes_max - link_queued(link);
    bool gap = false, broke = false;
    while (room >= DATAGRAM_MAX) {
        SRT_MSGCTRL control = srt_msgctrl_default;
        int n = srt_recvmsg2(link->socket, (char *)staging + len, DATAGRAM_MAX, &control);
        if (n <= 0) {
            broke = n == 0 || srt_getlasterror(NULL) != SRT_EASYNCRCV;
            break;
        }
        room -= (size_t)n;
        if (!follows(link, control.pktseq)) {
            uint8_t first[DATAGRAM_MAX];
            memcpy(first, staging + len, (size_t)n);
            link_give(link, staging, len, gap);
            memcpy(staging, first, (size_t)n);
            len = 0;
            gap = true;
        }
        len += (size_t)n;
        if (len + DATAGRAM_MAX > BATCH_BYTES) {
            link_give(link, staging, len, gap);
            len = 0;
            gap = false;
        }
    }
    link_give(link, staging, len, gap);
    if (broke)
        link_broke(link, now_us);
    else if (room < DATAGRAM_MAX)
        link_pause(link, now_us);
}

static void link_resume(struct srt_link *link, int64_t now_us) {
    const struct srt_port_settings *settings = &link->port->settings;
    if (link_queued(link) <= settings->queue_bytes_max / 2) {
        link->paused = false;
        link_watch(link);
    } else if (now_us - link->paused_us > settings->queue_full_ms * INT64_C(1000)) {
        link_end(link, SRT_END_SLOW);
    }
}

static void link_tick(struct srt_link *link, int64_t now_us, bool stats) {
    if (link->calling) { /* its socket has a deadline of its own */
        if (atomic_load(&link->closing))
            link_end(link, SRT_END_REFUSED);
        return;
    }
    if (stats)
        link_stats(link, now_us);
    if (atomic_load(&link->closing))
        link_end(link, SRT_END_CLOSED);
    else if (link->paused)
        link_resume(link, now_us);
    else if (now_us - link->arrived_us > link->port->settings.silence_timeout_ms * INT64_C(1000))
        link_end(link, SRT_END_SILENT);
}

/* --- callers who are let in --- */

static void refuse(struct srt_port *port, const char *peer, const struct srt_stream_id *id, enum srt_refusal refusal) {
    port->events.on_refused(port->ctx, peer, id, refusal);
}

static void watch(struct srt_port *port, SRTSOCKET socket, const char *peer, const struct srt_stream_id *id) {
    pthread_mutex_lock(&port->watch_lock);
    if (port->watched_count < WATCHED_MAX) {
        struct watched *watched = &port->watched[port->watched_count++];
        *watched = (struct watched){.socket = socket, .since_us = clock_mono_us(), .id = *id};
        snprintf(watched->peer, sizeof watched->peer, "%s", peer);
    }
    pthread_mutex_unlock(&port->watch_lock);
}

static enum srt_refusal judge(struct srt_port *port, SRTSOCKET socket, const struct sockaddr *address, const char *text,
                              struct srt_stream_id *ret_id) {
    char from[ADDRESS_KEY_LEN];
    address_key(address, from);
    if (atomic_load(&port->stopping))
        return SRT_REFUSED_STOPPING;
    enum srt_refusal refusal =
        srt_admission_judge(&port->settings.rules, from, text, strlen(text), clock_mono_us(), ret_id);
    if (refusal == SRT_ADMITTED && atomic_load(&port->count) >= port->settings.connections_max)
        refusal = SRT_REFUSED_FULL;
    const char *passphrase =
        refusal == SRT_ADMITTED ? srt_admission_passphrase(&port->settings.rules, ret_id->stream) : NULL;
    if (passphrase && srt_setsockflag(socket, SRTO_PASSPHRASE, passphrase, (int)strlen(passphrase)))
        refusal = SRT_REFUSED_HANDSHAKE;
    return refusal;
}

/* On libsrt's thread, within a caller's handshake: nothing may wait. */
static int on_caller(void *ctx, SRTSOCKET socket, int version, const struct sockaddr *address, const char *text) {
    struct srt_port *port = ctx;
    struct srt_stream_id id = {0};
    struct sockaddr_storage peer = {0};
    char peer_text[ADDRESS_TEXT_LEN];
    (void)version;
    memcpy(&peer, address, address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_text(&peer, peer_text);
    enum srt_refusal refusal = judge(port, socket, address, text, &id);
    if (refusal == SRT_ADMITTED) {
        watch(port, socket, peer_text, &id);
        return 0;
    }
    srt_setrejectreason(socket, srt_refusal_code(refusal) ? srt_refusal_code(refusal) : SRT_REJ_RESOURCE);
    refuse(port, peer_text, id.stream[0] ? &id : NULL, refusal);
    return -1;
}

static uint32_t number_of(SRTSOCKET socket, SRT_SOCKOPT option) {
    int32_t value = 0;
    int len = sizeof value;
    return srt_getsockflag(socket, option, &value, &len) || value < 0 ? 0 : (uint32_t)value;
}

static void describe(struct srt_link *link, const struct sockaddr_storage *peer) {
    struct srt_link_info *info = &link->info;
    uint32_t version = number_of(link->socket, SRTO_PEERVERSION);
    address_text(peer, info->peer);
    info->latency_ms = number_of(link->socket, SRTO_RCVLATENCY);
    info->key_bits =
        number_of(link->socket, SRTO_RCVKMSTATE) == SRT_KM_S_SECURED ? number_of(link->socket, SRTO_PBKEYLEN) * 8 : 0;
    snprintf(info->version, sizeof info->version, "%u.%u.%u", version >> 16 & 0xff, version >> 8 & 0xff,
             version & 0xff);
}

static struct list *bucket_of(struct srt_port *port, SRTSOCKET socket) {
    return &port->buckets[(uint32_t)socket % BUCKETS];
}

static struct srt_link *link_new(struct srt_port *port) {
    struct srt_link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    link->port = port;
    link->socket = SRT_INVALID_SOCK;
    link->next_sequence = -1;
    link->last = &link->first;
    pthread_mutex_init(&link->lock, NULL);
    list_init(&link->bucket);
    return link;
}

/* It is counted under `address`. */
static void link_create(struct srt_port *port, SRTSOCKET socket, const struct srt_stream_id *id,
                        const struct sockaddr_storage *peer, const char address[ADDRESS_KEY_LEN], int64_t now_us) {
    struct srt_link *link = link_new(port);
    link->socket = socket;
    link->info.id = *id;
    memcpy(link->address, address, sizeof link->address);
    link->arrived_us = now_us;
    atomic_fetch_add(&port->count, 1);
    describe(link, peer);
    list_append(&port->links, &link->link);
    list_append(bucket_of(port, socket), &link->bucket);
    link_watch(link);
    pthread_mutex_lock(&link->lock);
    post_and_unlock(link);
}

static void unwatch(struct srt_port *port, SRTSOCKET socket) {
    pthread_mutex_lock(&port->watch_lock);
    for (size_t i = 0; i < port->watched_count; i++)
        if (port->watched[i].socket == socket)
            port->watched[i--] = port->watched[--port->watched_count];
    pthread_mutex_unlock(&port->watch_lock);
}

/* Counts one more of the address, or says why not: several may have been let in since there was room for one. */
static enum srt_refusal claim_place(struct srt_port *port, const char *address) {
    if (atomic_load(&port->count) >= port->settings.connections_max)
        return SRT_REFUSED_FULL;
    return address_counts_add(port->settings.rules.addresses, address) ? SRT_ADMITTED : SRT_REFUSED_ADDRESS;
}

static void accept_one(struct srt_port *port, SRTSOCKET socket, const struct sockaddr_storage *peer, int64_t now_us) {
    char text[SRT_STREAM_ID_MAX + 1] = "", address[ADDRESS_KEY_LEN];
    int len = sizeof text;
    struct srt_stream_id id;
    unwatch(port, socket);
    address_key((const struct sockaddr *)peer, address);
    bool known = !srt_getsockflag(socket, SRTO_STREAMID, text, &len) &&
                 srt_stream_id_parse(text, strlen(text), &id) == SRT_STREAM_ID_OK;
    enum srt_refusal refusal = known ? claim_place(port, address) : SRT_REFUSED_HANDSHAKE;
    if (refusal == SRT_ADMITTED) {
        link_create(port, socket, &id, peer, address, now_us);
        return;
    }
    char peer_text[ADDRESS_TEXT_LEN];
    address_text(peer, peer_text);
    srt_close(socket);
    refuse(port, peer_text, known ? &id : NULL, refusal);
}

/* One an event: there is another as long as more wait, and asking once too often is an error to libsrt. */
static void accept_next(struct srt_port *port, SRTSOCKET listener, int64_t now_us) {
    struct sockaddr_storage peer = {0};
    int len = sizeof peer;
    SRTSOCKET socket = srt_accept(listener, (struct sockaddr *)&peer, &len);
    if (socket != SRT_INVALID_SOCK)
        accept_one(port, socket, &peer, now_us);
}

/* --- callers whose handshake failed --- */

static bool failed(SRTSOCKET socket) {
    SRT_SOCKSTATUS state = srt_getsockstate(socket);
    return state == SRTS_BROKEN || state == SRTS_CLOSING || state == SRTS_CLOSED || state == SRTS_NONEXIST;
}

static bool watched_at(struct srt_port *port, size_t at, struct watched *ret_watched) {
    pthread_mutex_lock(&port->watch_lock);
    bool there = at < port->watched_count;
    if (there)
        *ret_watched = port->watched[at];
    pthread_mutex_unlock(&port->watch_lock);
    return there;
}

/* Nothing of libsrt is called with the lock held: on_caller wants it with locks of libsrt's held. */
static void tell_failed(struct srt_port *port, int64_t now_us) {
    struct watched watched;
    for (size_t i = 0; watched_at(port, i, &watched);) {
        bool over = failed(watched.socket);
        if (over)
            refuse(port, watched.peer, &watched.id, SRT_REFUSED_HANDSHAKE);
        if (over || now_us - watched.since_us > WATCHED_US)
            unwatch(port, watched.socket);
        else
            i++;
    }
}

/* --- the thread --- */

static bool set_number(SRTSOCKET socket, SRT_SOCKOPT option, int32_t value) {
    return srt_setsockflag(socket, option, &value, sizeof value) == 0;
}

static bool set_flag(SRTSOCKET socket, SRT_SOCKOPT option, bool value) {
    return srt_setsockflag(socket, option, &value, sizeof value) == 0;
}

/* Before it is bound or connected; callers' sockets inherit them. */
static bool set_options(SRTSOCKET socket, uint32_t latency_ms, uint32_t key_bytes, bool v6) {
    int32_t packets = (int32_t)latency_ms * PACKETS_A_MS + RECEIVE_PACKETS_MIN;
    if (packets > FLOW_PACKETS_MAX)
        packets = FLOW_PACKETS_MAX;
    return set_flag(socket, SRTO_RCVSYN, false) && set_flag(socket, SRTO_TSBPDMODE, true) &&
           set_flag(socket, SRTO_TLPKTDROP, true) && set_flag(socket, SRTO_ENFORCEDENCRYPTION, true) &&
           set_number(socket, SRTO_RCVLATENCY, (int32_t)latency_ms) &&
           set_number(socket, SRTO_PBKEYLEN, (int32_t)key_bytes) && set_number(socket, SRTO_FC, FLOW_PACKETS_MAX) &&
           set_number(socket, SRTO_RCVBUF, packets * (PACKET_BYTES - 28)) &&
           set_number(socket, SRTO_PEERIDLETIMEO, IDLE_MS) && set_number(socket, SRTO_MINVERSION, VERSION_MIN) &&
           (!v6 || set_number(socket, SRTO_IPV6ONLY, 0));
}

/* --- listeners that are called --- */

static const char *reason_name(int reason) {
    static const struct {
        int reason;
        const char *name;
    } names[] = {
        {SRT_REJ_UNKNOWN, "no answer"},
        {SRT_REJ_PEER, "refused by the peer"},
        {SRT_REJ_CLOSE, "the peer is closing"},
        {SRT_REJ_VERSION, "the peer is too old"},
        {SRT_REJ_BADSECRET, "BADSECRET"},
        {SRT_REJ_UNSECURE, "UNSECURE"},
        {SRT_REJ_TIMEOUT, "no answer"},
        {SRT_REJX_BAD_REQUEST, "BAD_REQUEST"},
        {SRT_REJX_UNAUTHORIZED, "UNAUTHORIZED"},
        {SRT_REJX_OVERLOAD, "OVERLOAD"},
        {SRT_REJX_FORBIDDEN, "FORBIDDEN"},
        {SRT_REJX_NOTFOUND, "NOTFOUND"},
        {SRT_REJX_BAD_MODE, "BAD_MODE"},
        {SRT_REJX_UNACCEPTABLE, "UNACCEPTABLE"},
        {SRT_REJX_CONFLICT, "CONFLICT"},
        {SRT_REJX_NOTSUP_MEDIA, "NOTSUP_MEDIA"},
        {SRT_REJX_LOCKED, "LOCKED"},
        {SRT_REJX_FAILED_DEPEND, "FAILED_DEPEND"},
        {SRT_REJX_ISE, "ISE"},
        {SRT_REJX_UNIMPLEMENTED, "UNIMPLEMENTED"},
        {SRT_REJX_GW, "GW"},
        {SRT_REJX_DOWN, "DOWN"},
        {SRT_REJX_VERSION, "VERSION"},
        {SRT_REJX_NOROOM, "NOROOM"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].reason == reason)
            return names[i].name;
    return "refused";
}

static void call_fail(struct srt_link *link, int reason) {
    snprintf(link->refusal, sizeof link->refusal, "%s (%d)", reason_name(reason),
             reason < SRT_REJC_PREDEFINED ? 1000 + reason : reason);
    link_end(link, SRT_END_REFUSED);
}

static bool set_text(SRTSOCKET socket, SRT_SOCKOPT option, const char *text) {
    return !*text || srt_setsockflag(socket, option, text, (int)strlen(text)) == 0;
}

static void call_begin(struct srt_port *port, struct srt_link *link) {
    const struct srt_call *call = link->call;
    const struct sockaddr *address = (const struct sockaddr *)&call->address;
    bool v6 = address->sa_family == AF_INET6;
    int events = SRT_EPOLL_OUT | SRT_EPOLL_ERR;
    link->socket = srt_create_socket();
    list_append(&port->links, &link->link);
    list_append(bucket_of(port, link->socket), &link->bucket);
    if (!set_options(link->socket, call->latency_ms, call->key_bytes, v6) ||
        !set_text(link->socket, SRTO_STREAMID, call->stream_id) ||
        !set_text(link->socket, SRTO_PASSPHRASE, call->passphrase) ||
        srt_epoll_add_usock(port->epoll, link->socket, &events) ||
        srt_connect(link->socket, address, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) == SRT_ERROR)
        call_fail(link, srt_getrejectreason(link->socket));
}

static void begin_calls(struct srt_port *port) {
    struct list due;
    list_init(&due);
    pthread_mutex_lock(&port->call_lock);
    list_append_all(&due, &port->calls);
    pthread_mutex_unlock(&port->call_lock);
    list_each(it, &due) {
        list_remove(it);
        call_begin(port, list_entry(it, struct srt_link, link));
    }
}

static void call_answered(struct srt_link *link, int64_t now_us) {
    SRT_SOCKSTATUS state = srt_getsockstate(link->socket);
    if (state == SRTS_CONNECTING)
        return;
    if (state != SRTS_CONNECTED) {
        call_fail(link, srt_getrejectreason(link->socket));
        return;
    }
    link->calling = false;
    link->arrived_us = now_us;
    describe(link, &link->call->address);
    srt_epoll_remove_usock(link->port->epoll, link->socket);
    link_watch(link);
    pthread_mutex_lock(&link->lock);
    post_and_unlock(link);
}

/* Those that our thread has not begun before it ended. */
static void drop_calls(struct srt_port *port) {
    list_each(it, &port->calls) {
        struct srt_link *link = list_entry(it, struct srt_link, link);
        list_remove(it);
        link_end(link, SRT_END_REFUSED);
    }
}

struct srt_link *srt_port_call(struct srt_port *port, const struct srt_call *call, void *user) {
    if (port->call_count == SRT_CALLS_MAX)
        return NULL;
    struct srt_link *link = link_new(port);
    link->call = malloc(sizeof *link->call);
    if (!link->call)
        abort();
    *link->call = *call;
    link->calling = true;
    link->user = user;
    struct srt_stream_id *id = &link->info.id;
    int app = (int)strcspn(call->stream, "/");
    snprintf(id->stream, sizeof id->stream, "%s", call->stream);
    snprintf(id->app, sizeof id->app, "%.*s", app, call->stream);
    snprintf(id->name, sizeof id->name, "%s", call->stream + app + (call->stream[app] == '/'));
    port->call_count++;
    pthread_mutex_lock(&port->call_lock);
    list_append(&port->calls, &link->link);
    pthread_mutex_unlock(&port->call_lock);
    return link;
}

static struct srt_link *find_link(struct srt_port *port, SRTSOCKET socket) {
    list_each(it, bucket_of(port, socket)) {
        struct srt_link *link = list_entry(it, struct srt_link, bucket);
        if (link->socket == socket)
            return link;
    }
    return NULL;
}

static bool listens(const struct srt_port *port, SRTSOCKET socket) {
    for (size_t i = 0; i < port->listener_count; i++)
        if (port->listeners[i] == socket)
            return true;
    return false;
}

static void on_event(struct srt_port *port, SRTSOCKET socket, int64_t now_us) {
    struct srt_link *link = find_link(port, socket);
    if (link && link->calling)
        call_answered(link, now_us);
    else if (link)
        link_read(link, now_us);
    else if (listens(port, socket))
        accept_next(port, socket, now_us);
    else
        srt_epoll_remove_usock(port->epoll, socket); /* it would be reported again and again */
}

static void tick(struct srt_port *port, int64_t now_us) {
    bool stats = ++port->ticks % TICKS_A_STATS == 0;
    list_each(it, &port->links) link_tick(list_entry(it, struct srt_link, link), now_us, stats);
    tell_failed(port, now_us);
    begin_calls(port);
}

static int wait_for_events(struct srt_port *port, SRT_EPOLL_EVENT events[EVENTS_MAX]) {
    int count = srt_epoll_uwait(port->epoll, events, EVENTS_MAX, TICK_MS);
    if (count < 0) { /* it says at once that it fails */
        const struct timespec pause = {.tv_nsec = TICK_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    return count < EVENTS_MAX ? count : EVENTS_MAX; /* it tells how many there were, of which there may be more */
}

static void *run(void *arg) {
    struct srt_port *port = arg;
    int64_t ticked_us = clock_mono_us();
    while (!atomic_load(&port->stopping)) {
        SRT_EPOLL_EVENT events[EVENTS_MAX];
        int count = wait_for_events(port, events);
        int64_t now_us = clock_mono_us();
        for (int i = 0; i < count; i++)
            on_event(port, events[i].fd, now_us);
        if (now_us - ticked_us < TICK_MS * INT64_C(1000))
            continue;
        ticked_us = now_us;
        tick(port, now_us);
    }
    for (size_t i = 0; i < port->listener_count; i++)
        srt_close(port->listeners[i]);
    begin_calls(port);
    list_each(it, &port->links) {
        struct srt_link *link = list_entry(it, struct srt_link, link);
        link_end(link, link->calling ? SRT_END_REFUSED : SRT_END_NONE);
    }
    return NULL;
}

/* --- listeners --- */

static int last_errno(void) {
    int system_error = 0, error = srt_getlasterror(&system_error);
    return error == SRT_EDUPLISTEN ? -EADDRINUSE : system_error ? -system_error : -EINVAL;
}

static int listen_on(struct srt_port *port, SRTSOCKET socket, const struct sockaddr_storage *address, socklen_t len) {
    if (!set_options(socket, port->settings.latency_ms, port->settings.key_bytes, address->ss_family == AF_INET6) ||
        srt_bind(socket, (const struct sockaddr *)address, (int)len) || srt_listen_callback(socket, on_caller, port) ||
        srt_listen(socket, BACKLOG))
        return last_errno();
    return 0;
}

static uint16_t port_of(SRTSOCKET socket) {
    struct sockaddr_storage address = {0};
    int len = sizeof address;
    srt_getsockname(socket, (struct sockaddr *)&address, &len);
    return address_port(&address);
}

int srt_port_listen(struct srt_port *port, const char *text, uint16_t *ret_port) {
    struct sockaddr_storage address;
    socklen_t len;
    int rc = port->listener_count == LISTENERS_MAX ? -ENOSPC : address_parse(text, &address, &len);
    if (rc)
        return rc;
    SRTSOCKET socket = srt_create_socket();
    rc = socket == SRT_INVALID_SOCK ? last_errno() : listen_on(port, socket, &address, len);
    if (rc) {
        srt_close(socket);
        return rc;
    }
    int events = SRT_EPOLL_IN | SRT_EPOLL_ERR;
    srt_epoll_add_usock(port->epoll, socket, &events);
    port->listeners[port->listener_count++] = socket;
    if (ret_port)
        *ret_port = port_of(socket);
    return 0;
}

/* --- life --- */

static void on_library_log(void *ctx, int level, const char *file, int line, const char *area, const char *message) {
    static struct log_limit limit;
    uint32_t suppressed;
    (void)ctx, (void)level, (void)file, (void)line, (void)area;
    if (log_enabled(LOG_LEVEL_DEBUG) && log_limit_pass(&limit, LOGS_PER_S, &suppressed))
        log_debug("srt_library", "note", LOG_STR(message), LOG_SUPPRESSED(suppressed));
}

static void threads_off(struct srt_port *port) {
    atomic_store(&port->stopping, true);
    if (port->running) {
        pthread_join(port->thread, NULL);
        return;
    }
    drop_calls(port);
    for (size_t i = 0; i < port->listener_count; i++)
        srt_close(port->listeners[i]);
}

struct srt_port *srt_port_create(struct loop *loop, const struct srt_port_settings *settings,
                                 const struct srt_port_events *events, void *ctx) {
    struct srt_port *port = calloc(1, sizeof *port);
    if (!port || srt_startup() < 0)
        abort();
    srt_setloglevel(LOG_ERR);
    srt_setloghandler(NULL, on_library_log);
    port->loop = loop;
    port->settings = *settings;
    port->events = *events;
    port->ctx = ctx;
    list_init(&port->links);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&port->buckets[i]);
    pthread_mutex_init(&port->watch_lock, NULL);
    pthread_mutex_init(&port->call_lock, NULL);
    list_init(&port->calls);
    port->mailbox = mailbox_create(loop, settings->connections_max + SRT_CALLS_MAX, on_link, on_link_left, port);
    port->epoll = srt_epoll_create();
    if (port->epoll < 0)
        abort();
    return port;
}

int srt_port_start(struct srt_port *port) {
    int rc = pthread_create(&port->thread, NULL, run, port);
    port->running = !rc;
    return -rc;
}

void srt_port_destroy(struct srt_port *port) {
    if (!port)
        return;
    threads_off(port);
    srt_epoll_release(port->epoll);
    srt_cleanup();
    mailbox_destroy(port->mailbox);
    pthread_mutex_destroy(&port->watch_lock);
    pthread_mutex_destroy(&port->call_lock);
    free(port);
}
