#include "relay/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mailbox.h"
#include "common/http/tls.h"
#include "common/media/hub.h"
#include "relay/follow.h"
#include "relay/render.h"
#include "relay/viewer.h"

enum { COMMANDS_MAX = 16, TLS_LINES_PER_S = 5, REQUESTS_WAITING_MAX = 20000, LIVE_READERS_MAX = 20000 };

struct worker {
    struct loop *loop;
    struct store *replica;
    struct hub_client *client;
    struct follows *follows;
    struct steer *steer;
    struct viewers *viewers;
    struct worker_route route;
    struct feeds *feeds;
    struct http_server *http, *feed_http; /* of viewers; of other nodes */
    struct mailbox *commands;
    pthread_t thread;
    bool started;
    struct log_limit tls_lines;
};

/* New certificates, or new peers, or, without any, the end of accepting connections. */
struct command {
    enum worker_listener listener;
    struct tls_context *context; /* references */
    struct blob *peers;
};

static struct http_server *server_of(const struct worker *worker, enum worker_listener listener) {
    return listener == WORKER_FEED || listener == WORKER_FEED_TLS ? worker->feed_http : worker->http;
}

static void on_command_dropped(void *message) {
    struct command *command = message;
    tls_context_unref(command->context);
    blob_unref(command->peers);
    free(command);
}

static void on_command(void *ctx, void *message) {
    struct worker *worker = ctx;
    struct command *command = message;
    if (command->context) {
        http_server_set_tls(server_of(worker, command->listener), command->context);
    } else if (command->peers) {
        steer_set_peers(worker->steer, (const char *)command->peers->data, command->peers->len);
    } else {
        http_server_drain(worker->http);
        feeds_drain(worker->feeds);
    }
    on_command_dropped(command);
}

static int command_post(struct worker *worker, struct command command) {
    struct command *message = malloc(sizeof *message);
    if (!message)
        abort();
    *message = command;
    int rc = mailbox_post(worker->commands, message);
    if (rc)
        on_command_dropped(message);
    return rc;
}

static void on_tls_failure(void *ctx, const char *peer, const char *reason) {
    struct worker *worker = ctx;
    uint32_t suppressed;
    if (log_enabled(LOG_LEVEL_DEBUG) && log_limit_pass(&worker->tls_lines, TLS_LINES_PER_S, &suppressed))
        log_debug("tls_failed", "peer", LOG_STR(peer), "why", LOG_STR(reason), "suppressed", LOG_INT(suppressed));
}

static void on_answer(void *ctx, const char *stream, bool known) {
    struct worker *worker = ctx;
    follows_answer(worker->follows, stream, known);
}

static void on_request(void *ctx, struct http_request *req) {
    const struct worker *worker = ctx;
    const struct worker_route *route = &worker->route;
    if (route->path && strcmp(http_request_path(req), route->path) == 0)
        route->handle(route->ctx, req);
    else
        viewers_handle(worker->viewers, req);
}

struct worker *worker_create(struct hub *hub, const struct worker_settings *settings) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        abort();
    struct store_settings store = {.window_us = settings->window_us, .cache_free = render_cache_free};
    worker->route = settings->route;
    worker->loop = loop_create();
    worker->replica = store_create(&store);
    worker->commands = mailbox_create(worker->loop, COMMANDS_MAX, on_command, on_command_dropped, worker);
    worker->client = hub_client_create(hub, worker->loop, worker->replica, on_answer, worker);
    if (!worker->client) {
        worker_destroy(worker);
        return NULL;
    }
    worker->steer = steer_create(&settings->steer);
    const struct viewers_settings viewers = {.muxed = settings->muxed,
                                             .waiting_max = REQUESTS_WAITING_MAX,
                                             .live_readers_max = LIVE_READERS_MAX,
                                             .max_lag_us = settings->max_lag_us,
                                             .steer = worker->steer,
                                             .load = settings->load,
                                             .thumbs = settings->thumbs};
    worker->follows = follows_create(worker->loop, worker->replica, worker->client, settings->idle_us);
    worker->viewers = viewers_create(worker->loop, worker->follows, &viewers);
    worker->http = http_server_create(worker->loop, &settings->http, on_request, worker);
    http_server_on_tls_failure(worker->http, on_tls_failure, worker);
    worker->feeds = feeds_create(worker->loop, worker->follows, &settings->feeds);
    worker->feed_http = http_server_create(worker->loop, &settings->http, feeds_handle, worker->feeds);
    http_server_on_tls_failure(worker->feed_http, on_tls_failure, worker);
    http_server_trust(worker->http, settings->trusted_proxies, settings->trusted_proxy_count, settings->proxy_protocol);
    if (settings->congestion)
        http_server_set_congestion(worker->http, settings->congestion);
    int rc = settings->uring ? http_server_use_uring(worker->http) : 0;
    if (rc)
        log_info("no_io_uring", "why", LOG_STR(strerror(-rc)));
    return worker;
}

int worker_listen(struct worker *worker, enum worker_listener listener, const char *address, bool joins,
                  uint16_t *ret_port) {
    bool tls = listener == WORKER_HTTPS || listener == WORKER_FEED_TLS;
    struct http_server *server = server_of(worker, listener);
    return tls ? http_server_listen_tls(server, address, joins, ret_port)
               : http_server_listen(server, address, joins, ret_port);
}

int worker_set_tls(struct worker *worker, enum worker_listener listener, struct tls_context *context) {
    if (worker->started)
        return command_post(worker, (struct command){.listener = listener, .context = tls_context_ref(context)});
    http_server_set_tls(server_of(worker, listener), context);
    return 0;
}

int worker_set_peers(struct worker *worker, struct blob *urls) {
    return command_post(worker, (struct command){.peers = blob_ref(urls)});
}

static void *run(void *ctx) {
    struct worker *worker = ctx;
    loop_run(worker->loop);
    return NULL;
}

int worker_start(struct worker *worker) {
    sigset_t all, before; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    worker->started = !rc;
    return -rc;
}

void worker_drain(struct worker *worker) {
    command_post(worker, (struct command){0});
}

void worker_destroy(struct worker *worker) {
    if (!worker)
        return;
    if (worker->started) {
        loop_stop(worker->loop);
        pthread_join(worker->thread, NULL);
    }
    http_server_destroy(worker->http);
    http_server_destroy(worker->feed_http);
    feeds_destroy(worker->feeds);
    viewers_destroy(worker->viewers);
    steer_destroy(worker->steer);
    follows_destroy(worker->follows);
    hub_client_destroy(worker->client);
    mailbox_destroy(worker->commands);
    store_destroy(worker->replica);
    loop_destroy(worker->loop);
    free(worker);
}
