/* A whole HTTP/2 connection, its handler and its bodies, over a transport that gives the input in pieces and takes the
 * output now and then. First byte: the size of the pieces, and whether the socket is often full; then frames, before
 * which the preface is put. HTTP/1 goes the same way when the second byte says so. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/loop.h"
#include "common/http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct world {
    const uint8_t *data;
    size_t len, piece;
    unsigned sends, full_every;
    struct http_request *parked;
    int handled, closed, pulls;
    struct blob *text;
};
static struct world *world; /* the transport has no room for it */

static ssize_t fake_recv(struct transport *transport, void *data, size_t len) {
    (void)transport;
    size_t n = world->len < world->piece ? world->len : world->piece;
    if (n > len)
        n = len;
    if (n == 0)
        return 0;
    memcpy(data, world->data, n);
    world->data += n;
    world->len -= n;
    return (ssize_t)n;
}

static ssize_t fake_sendv(struct transport *transport, const struct iovec *iov, int count) {
    ssize_t bytes = 0;
    (void)transport;
    if (world->full_every && ++world->sends % world->full_every == 0)
        return -EAGAIN;
    for (int i = 0; i < count; i++)
        bytes += (ssize_t)iov[i].iov_len;
    return bytes;
}

static int fake_flush(struct transport *transport) {
    (void)transport;
    return 0;
}

static void fake_shutdown(struct transport *transport) {
    (void)transport;
}

static const struct transport_ops *plain;
static void fake_close(struct transport *transport, bool abort) {
    plain->close(transport, abort);
}

static void on_close(void *ctx) {
    (void)ctx;
    world->closed++;
}

static int next(void *ctx, struct slice *slices, int max) {
    (void)ctx, (void)max;
    if (++world->pulls % 5 == 0)
        return world->pulls % 2 ? 0 : HTTP_SOURCE_WAIT;
    slices[0] = (struct slice){blob_ref(world->text), 0, world->text->len};
    return 1;
}

static bool on_body(void *ctx, const uint8_t *data, size_t len) {
    (void)ctx;
    return len == 0 || data[0] != 'h';
}

static void on_request(void *ctx, struct http_request *req) {
    const char *path = http_request_path(req);
    (void)ctx;
    world->handled++;
    http_request_on_close(req, on_close, NULL);
    http_request_on_body(req, on_body, NULL);
    http_request_set_urgency(req, (uint8_t)(strlen(path) % 8));
    if (path[1] == 'p')
        return; /* parked for ever */
    if (path[1] == 's')
        http_respond(req, &(struct http_response){.status = 200, .length = -1, .source = {.next = next}});
    else
        http_respond_slices(req, 200, NULL, 0, &(struct slice){world->text, 0, world->text->len}, 1, true);
}

static bool streams(void *ctx, const struct http_request *req) {
    (void)ctx;
    return http_request_path(req)[1] == 'b';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct transport_ops ops = {fake_recv, fake_sendv, fake_flush, fake_shutdown, fake_close};
    if (size < 2)
        return 0;
    size_t before = data[1] & 1 ? 0 : sizeof preface - 1, len = before + size - 2;
    uint8_t *input = malloc(len ? len : 1);
    memcpy(input, preface, before);
    memcpy(input + before, data + 2, size - 2);
    struct world w = {.data = input,
                      .len = len,
                      .piece = (data[0] & 63) + 1u,
                      .full_every = data[0] >> 6,
                      .text = blob_create_copy("some text that is sent", 22)};
    world = &w;
    struct loop *loop = loop_create();
    struct http_server *server = http_server_create(loop, &http_limits_default, on_request, NULL);
    http_server_stream_bodies(server, streams);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
        abort();
    struct sockaddr_in6 peer = {.sin6_family = AF_INET6};
    server->refused_count = 1; /* how a connection without a counted address is counted */
    struct http_conn *conn = http_conn_create(server, fds[0], &peer, NULL, NULL);
    plain = conn->transport.ops;
    conn->transport.ops = &ops;
    for (int turns = 0; turns < 20000 && server->refused_count; turns++) {
        conn->readable = conn->writable = true;
        http_conn_run(conn);
    }
    http_server_destroy(server);
    if (w.closed != w.handled || w.text->refs != 1)
        abort(); /* every request ends once, and nothing holds on to what was sent */
    loop_destroy(loop);
    close(fds[1]);
    blob_unref(w.text);
    free(input);
    return 0;
}
