/* How a connection's bytes travel: what a plain socket and TLS (tls_transport.h) have in common. Embedded in its
 * connection; nothing here blocks. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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
    /* No more output; input still comes. What is held back still goes out, by flush. */
    void (*shutdown)(struct transport *transport);
    /* Gives everything back. `abort`: by RST, so that the peer can't take what it got for all, and unsent bytes go. */
    void (*close)(struct transport *transport, bool abort);
};

/* The protocol above, as far as the transport knows it (ALPN, RFC 7301). */
enum transport_alpn {
    TRANSPORT_ALPN_NONE,    /* nothing was said: the first bytes tell */
    TRANSPORT_ALPN_PENDING, /* a handshake comes first; `recv` drives it, whatever edge has come */
    TRANSPORT_ALPN_H1,
    TRANSPORT_ALPN_H2,
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    uint32_t held : 24; /* bytes that flush would send */
    uint32_t alpn : 8;
    struct tls *tls; /* NULL: plain */
};

/* Takes over a non-blocking TCP socket. */
void transport_init_plain(struct transport *transport, int fd);
/* How many bytes the kernel may hold that it could not send yet; about so many, beyond what is in flight. */
void transport_set_unsent_max(struct transport *transport, int bytes);
/* Parts of plain TCP that others use. */
ssize_t transport_sendv_plain(struct transport *transport, const struct iovec *iov, int count);
void transport_close_plain(struct transport *transport, bool abort);
