#include "tools/load/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/loop.h"

enum {
    SCRATCH_BYTES = 256 * 1024, /* input of the client whose turn it is */
    TURN_BYTES = 1024 * 1024,   /* of input, per client and turn of the loop */
    HEAD_MAX = 16384,
    REQUEST_MAX = 1024,
};

static uint8_t scratch[SCRATCH_BYTES];

void client_init(struct client *client, struct client_server *server, const struct client_events *events, void *ctx) {
    *client = (struct client){.server = server, .events = events, .ctx = ctx, .fd = -1};
}

static void keep(struct client *client, const void *data, size_t len) {
    uint8_t *kept = realloc(client->kept, client->kept_len + len);
    if (!kept)
        abort();
    memcpy(kept + client->kept_len, data, len);
    client->kept = kept;
    client->kept_len += (uint32_t)len;
}

static void drop_kept(struct client *client) {
    free(client->kept);
    client->kept = NULL;
    client->kept_len = 0;
}

void client_close(struct client *client) {
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->state == CLIENT_CONNECTING)
        client->server->connecting--;
    loop_io_destroy(client->io);
    close(client->fd);
    client->io = NULL;
    client->fd = -1;
    client->state = CLIENT_CLOSED;
    client->generation++;
    drop_kept(client);
}

static void lose(struct client *client) {
    bool busy = client_busy(client);
    client_close(client);
    if (busy)
        client->events->on_lost(client->ctx);
}

/* --- responses --- */

static void end_response(struct client *client) {
    int status = client->status;
    if (client->close || client->until_close)
        client_close(client);
    else
        client->state = CLIENT_READY;
    client->events->on_end(client->ctx, status);
}

static void on_field(struct client *client, const char *name, size_t name_len, const char *value) {
    if (name_len == 14 && !strncasecmp(name, "content-length", 14)) {
        client->remaining = strtoull(value, NULL, 10);
        client->until_close = false;
    } else if (name_len == 17 && !strncasecmp(name, "transfer-encoding", 17)) {
        client->chunked = true;
        client->until_close = false;
    } else if (name_len == 10 && !strncasecmp(name, "connection", 10)) {
        client->close = !strncasecmp(value, "close", 5);
    }
}

/* `head` ends with an empty line. */
static bool parse_head(struct client *client, const char *head, const char *end) {
    int minor, status;
    if (sscanf(head, "HTTP/1.%1d %3d", &minor, &status) != 2)
        return false;
    client->status = status;
    client->chunked = client->close = false;
    client->until_close = true;
    client->remaining = 0;
    client->decoder = (struct h1_chunked){0};
    const char *line = memchr(head, '\n', (size_t)(end - head));
    while (line && ++line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        const char *colon = next ? memchr(line, ':', (size_t)(next - line)) : NULL;
        if (colon)
            on_field(client, line, (size_t)(colon - line), colon + 1 + (colon[1] == ' '));
        line = next;
    }
    if (status == 204 || status == 304)
        client->until_close = client->chunked = false;
    return true;
}

/* Takes what belongs to the head; returns how much, or -1. */
static ssize_t feed_head(struct client *client, const uint8_t *data, size_t len) {
    size_t before = client->kept_len;
    if (before + len > HEAD_MAX)
        len = HEAD_MAX - before;
    if (before > 0) {
        keep(client, data, len);
        data = client->kept;
    }
    const uint8_t *end = memmem(data, before + len, "\r\n\r\n", 4);
    if (!end) {
        if (before == 0)
            keep(client, data, len);
        return client->kept_len < HEAD_MAX ? (ssize_t)len : -1;
    }
    end += 4;
    bool ok = parse_head(client, (const char *)data, (const char *)end);
    ssize_t used = (ssize_t)((size_t)(end - data) - before);
    drop_kept(client);
    client->state = CLIENT_BODY;
    return ok ? used : -1;
}

/* Likewise of the body. */
static ssize_t feed_chunked(struct client *client, const uint8_t *data, size_t len) {
    size_t used, run, run_len;
    int r = h1_chunked_next(&client->decoder, data, len, &used, &run, &run_len);
    if (r != H1_DONE && r != H1_MORE)
        return -1;
    if (run_len > 0)
        client->events->on_body(client->ctx, data + run, run_len);
    if (r == H1_DONE && client->state == CLIENT_BODY)
        end_response(client);
    return (ssize_t)used;
}

static ssize_t feed_length(struct client *client, const uint8_t *data, size_t len) {
    size_t n = client->until_close || len < client->remaining ? len : (size_t)client->remaining;
    client->remaining -= client->until_close ? 0 : n;
    if (n > 0)
        client->events->on_body(client->ctx, data, n);
    if (client->state == CLIENT_BODY && client->remaining == 0 && !client->until_close)
        end_response(client);
    return (ssize_t)n;
}

/* Bytes that no request asked for are refused as well. */
static ssize_t feed_some(struct client *client, const uint8_t *data, size_t len) {
    if (client->state == CLIENT_HEAD) {
        ssize_t used = feed_head(client, data, len);
        bool empty = used >= 0 && client->state == CLIENT_BODY && !client->chunked && !client->until_close &&
                     client->remaining == 0;
        if (empty)
            end_response(client);
        return used;
    }
    if (client->state != CLIENT_BODY)
        return -1;
    return client->chunked ? feed_chunked(client, data, len) : feed_length(client, data, len);
}

static void feed(struct client *client, const uint8_t *data, size_t len) {
    uint32_t generation = client->generation;
    while (len > 0 && client->generation == generation) {
        ssize_t used = feed_some(client, data, len);
        if (used < 0) {
            if (client->generation == generation)
                lose(client);
            return;
        }
        data += used;
        len -= (size_t)used;
    }
}

static void on_closed(struct client *client) {
    if (client->state == CLIENT_BODY && client->until_close)
        end_response(client);
    else
        lose(client);
}

/* A short read has emptied the socket, as edge-triggering allows to conclude; only where the end of the connection is
 * the end of the body it must be seen at once. */
static void receive(struct client *client) {
    uint32_t generation = client->generation;
    size_t taken = 0;
    client->active_us = loop_now_us(client->server->loop);
    while (taken < TURN_BYTES) {
        ssize_t n = recv(client->fd, scratch, sizeof scratch, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            on_closed(client);
            return;
        }
        feed(client, scratch, (size_t)n);
        if (client->generation != generation || ((size_t)n < sizeof scratch && !client->until_close))
            return;
        taken += (size_t)n;
    }
    loop_io_activate(client->io, LOOP_READ);
}

/* --- requests --- */

static void send_kept(struct client *client) {
    ssize_t n = send(client->fd, client->kept, client->kept_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        lose(client);
        return;
    }
    if (n < (ssize_t)client->kept_len) {
        n = n < 0 ? 0 : n;
        client->kept_len -= (uint32_t)n;
        memmove(client->kept, client->kept + n, client->kept_len);
        return;
    }
    drop_kept(client);
    client->state = CLIENT_HEAD;
}

static void on_connected(struct client *client) {
    int error = 0;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error) {
        lose(client);
        return;
    }
    client->server->connecting--;
    client->server->connections++;
    client->state = CLIENT_SENDING;
}

static void on_io(void *ctx, int events) {
    struct client *client = ctx;
    uint32_t generation = client->generation;
    if (client->state == CLIENT_CONNECTING && events & LOOP_WRITE)
        on_connected(client);
    if (client->generation == generation && client->state == CLIENT_SENDING && events & LOOP_WRITE)
        send_kept(client);
    if (client->generation == generation && events & LOOP_READ && client->state != CLIENT_CONNECTING)
        receive(client);
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "weir-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Ports are chosen when connecting, so that each source address has all of them. */
static void choose_source(struct client *client) {
    struct client_server *server = client->server;
    if (server->sources == 0)
        return;
    uint32_t source = server->next_source++ % server->sources;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source)};
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    if (bind(client->fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
}

/* What fails here and isn't the server's word (descriptors, ports) makes the whole run worthless. */
static void start_connection(struct client *client) {
    struct client_server *server = client->server;
    client->fd = socket(server->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (client->fd < 0)
        die("socket");
    choose_source(client);
    int r = connect(client->fd, (struct sockaddr *)&server->address, server->address_len);
    if (r < 0 && errno != EINPROGRESS)
        die("connect");
    server->connecting++;
    client->state = CLIENT_CONNECTING;
    client->io = loop_io_create(server->loop, client->fd, on_io, client);
}

void client_get(struct client *client, const char *path) {
    char text[REQUEST_MAX];
    int len = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-load\r\nAccept: */*\r\n\r\n",
                       path, client->server->host);
    if (len >= (int)sizeof text)
        abort();
    client->active_us = clock_mono_us();
    ssize_t n = 0;
    if (client->state == CLIENT_READY)
        n = send(client->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == len) {
        client->state = CLIENT_HEAD;
        return;
    }
    n = n < 0 ? 0 : n;
    keep(client, text + n, (size_t)(len - n));
    if (client->state == CLIENT_CLOSED) {
        start_connection(client);
        return;
    }
    client->state = CLIENT_SENDING; /* the rest when it can be written; an error shows there */
    loop_io_activate(client->io, LOOP_WRITE);
}

void client_check(struct client *client, int64_t now_us, int64_t timeout_us) {
    if (client_busy(client) && now_us - client->active_us > timeout_us)
        lose(client);
}
