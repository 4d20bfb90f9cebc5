/* The TLS transport on one end of a pair of sockets, OpenSSL's client on the other, in turns on one thread: nothing waits. The client sees
 * ciphertext first, so that records can be counted. What fails here fails the test. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "common/http/tls.h"
#include "common/http/tls_transport.h"
#include "tests/unit/tls_fixture.h"

/* From set_up until tear_down, which cmocka is given for a group of tests. */
extern char dir[];                /* of certificates; empty in the end */
extern struct fixture_pair first; /* for first.test */
extern struct tls_tickets *tickets;
extern struct tls_scratch scratch; /* of all servers' ends; without a batch, unless a test gives it one */
extern SSL_CTX *client_ctx;

int set_up(void **state);
int tear_down(void **state);

struct tls_context *make(const struct fixture_pair *const *pairs, size_t count);
struct tls_context *make_one(void); /* of `first` */

struct peer {
    int fd; /* the client's */
    struct transport server;
    SSL *ssl;
    BIO *in, *out; /* ciphertext to and from the client */
    uint8_t head[5];
    size_t head_len, rest;                /* of the record that is passing */
    unsigned records, full, data_records; /* that came; of full length; of application data */
    bool ended;
};

void peer_open(struct peer *p, struct tls_context *context);
void peer_close(struct peer *p);

/* Until both are done, or one has failed: what recv said last. `ret_done`: the client's handshake is complete. */
ssize_t shake(struct peer *p, bool *ret_done);
void peer_shake(struct peer *p); /* must be done; records are counted from here on */

bool peer_receive(struct peer *p); /* some ciphertext; false: there is none, or the end */
void peer_send(struct peer *p);
void peer_say(struct peer *p, const char *text);
size_t peer_hear(struct peer *p, uint8_t *out, size_t room); /* what the client has, read until there is no more */

ssize_t send_all(struct peer *p, const struct iovec *iov, int count); /* by the server; as much as it takes */
void expect_read(struct peer *p, const char *text);                   /* by the server, and just this */
void expect_echo(struct peer *p);                                     /* a word each way */

/* Of the line of all metrics that begins with it. */
int64_t metric_value(const char *line);
