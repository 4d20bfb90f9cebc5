/* What tests of HTTP share: a server on loopback whose loop has a thread of its own, and a client that waits for what it expects, over TCP
 * or, between start_tls and stop_tls, over TLS. What fails here fails the test. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#include "common/http/server.h"

enum { CLIENT_BYTES = 4 << 20 };

#define HOST "Host: test\r\n"

/* Of the round over TLS; NULL in the plain one. A server that is to speak it is given it by its test. */
extern struct tls_context *tls;

/* For cmocka: before and after a group of tests. */
int start_tls(void **state);
int stop_tls(void **state);

/* --- a server --- */

struct node {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    uint16_t port; /* for the test to set, by listening */
};

/* A loop and a server, with io_uring if asked. The test has it listen before it runs. */
void node_init(struct node *node, const struct http_limits *limits, void (*on_request)(void *ctx, struct http_request *req), void *ctx);
void node_run(struct node *node);
void node_halt(struct node *node);   /* ends the thread only; it may run again */
void node_finish(struct node *node); /* and the rest */

/* --- a client --- */

struct client {
    int fd;
    SSL *ssl; /* NULL without TLS */
    size_t len;
    char data[CLIENT_BYTES]; /* heard and not dropped yet; a 0 follows */
};

struct response {
    int status;
    char head[4096];
    char *body; /* within the client's buffer, until the next read */
    size_t body_len;
};

/* Each word is waited for, for WAIT_MS at most; a receive buffer of 0 is the kernel's choice. */
struct client *dial(const struct node *node, int receive_buffer);
struct client *dial_silently(const struct node *node, int receive_buffer); /* only TCP's connection; TLS follows with the first word */
void hang_up(struct client *c);
void end_output(struct client *c);
void say(struct client *c, const char *text);

/* 1, or 0 at the end of the stream, or -1 when it was reset (or, with TLS, not ended by close_notify). */
int hear(struct client *c);
void hear_at_least(struct client *c, size_t len);
void drop(struct client *c, size_t len);

/* Reads a head off the stream. */
void hear_head(struct client *c, struct response *r);

/* Reads one whole response with Content-Length (for HEAD: without the body). The body stays at the front of the client's buffer; drop it
 * before the next one. */
void hear_response(struct client *c, struct response *r, bool head_only);

void expect_body(struct client *c, const char *head_has, int status, const char *body);
void expect_status(struct client *c, int status);
void expect_end(struct client *c);
