#include "common/http/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t plain_recv(struct transport *transport, void *data, size_t len) {
    ssize_t n;
    do
        n = recv(transport->fd, data, len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t transport_sendv_plain(struct transport *transport, const struct iovec *iov, int count) {
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    ssize_t n;
    do
        n = count == 1 ? send(transport->fd, iov->iov_base, iov->iov_len, flags) : sendmsg(transport->fd, &msg, flags);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int plain_flush(struct transport *transport) {
    (void)transport;
    return 0;
}

static void plain_shutdown(struct transport *transport) {
    shutdown(transport->fd, SHUT_WR);
}

void transport_close_plain(struct transport *transport, bool abort) {
    if (abort)
        setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 0},
                   sizeof(struct linger));
    close(transport->fd);
}

void transport_init_plain(struct transport *transport, int fd) {
    static const struct transport_ops ops = {plain_recv, transport_sendv_plain, plain_flush, plain_shutdown,
                                             transport_close_plain};
    *transport = (struct transport){.ops = &ops, .fd = fd};
}

void transport_set_unsent_max(struct transport *transport, int bytes) {
    setsockopt(transport->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}
