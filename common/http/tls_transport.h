/* TLS as a transport. Plaintext is gathered into full records, records into one send() per 64 to 256 KB; only ciphertext that
 * the socket doesn't take is kept, at most one such send of it. When the kernel encrypts (kTLS), plaintext goes to the
 * socket as on plain TCP. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/http/transport.h"

struct tls_context;

enum {
    TLS_RECORD_BYTES = 16384,           /* of plaintext, at most */
    TLS_RECORD_ROOM = 17 * 1024,        /* a record's plaintext, encrypted, in whatever fragments the peer wants */
    TLS_SEND_MIN = 64 * 1024,           /* of plaintext, encrypted ahead of the socket, after it took only a part of a send; */
    TLS_SEND_FIRST = 128 * 1024,        /* at first; */
    TLS_SEND_MAX = 256 * 1024,          /* and when it took all: twice as much as before, up to so much */
    TLS_BATCH_BYTES = 16 * 1024,        /* of ciphertext: less is copied, to be sent with what others have */
    TLS_HELD_MAX = TLS_SEND_MAX / TLS_RECORD_BYTES * TLS_RECORD_ROOM,
};

struct send_batch;

/* Where the connections of one loop encrypt, one after the other; empty between calls. */
struct tls_scratch {
    struct send_batch *batch; /* takes what is short, to be sent when its owner submits it; NULL: all is sent at once */
    size_t len;
    uint8_t records[TLS_HELD_MAX];
    uint8_t plain[TLS_RECORD_BYTES];
};

/* Takes over a non-blocking TCP socket, and a reference of its own to the context. `scratch` outlives the transport. */
void transport_init_tls(struct transport *transport, int fd, struct tls_context *context, struct tls_scratch *scratch);
/* Why the handshake failed, or NULL; also NULL for a plain transport. Static text. */
const char *transport_tls_failure(const struct transport *transport);

/* Registers the metrics of all TLS connections of the process. Once, before threads start. */
void transport_tls_metrics_register(void);
