/* How a connection's bytes travel: what a plain socket and, later, TLS have in common. Embedded in its connection;
 * nothing here blocks. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* Bytes read; 0 at the peer's end of stream; -EAGAIN or another negative errno. Fewer bytes than asked for mean
     * that there are no more for now. */
    ssize_t (*recv)(struct transport *transport, void *data, size_t len);
    /* Bytes taken; -EAGAIN or another negative errno. Fewer than offered mean that the socket is full. */
    ssize_t (*sendv)(struct transport *transport, const struct iovec *iov, int count);
    /* Sends what was taken and is still held back: 0 when all is with the kernel, -EAGAIN or another negative errno. */
    int (*flush)(struct transport *transport);
    /* No more output; input still comes. */
    void (*shutdown)(struct transport *transport);
    /* Gives everything back. `abort`: by RST, so that the peer can't take what it got for all, and unsent bytes go. */
    void (*close)(struct transport *transport, bool abort);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
};

/* Takes over a non-blocking TCP socket. */
void transport_init_plain(struct transport *transport, int fd);
/* How many bytes the kernel may hold that it could not send yet; about so many, beyond what is in flight. */
void transport_set_unsent_max(struct transport *transport, int bytes);
