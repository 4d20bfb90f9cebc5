/* The server that test_server_*.c ask. What its handler does is chosen by the path; what happens to requests is told by an eventfd, so that
 * the tests wait for events, not for time. */
#pragma once
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/blob.h"
#include "tests/unit/http_fixture.h"

enum { BIG = 3 * 1024 * 1024, PARKED_MAX = 8 };

extern const char *congestion; /* for servers to come, or NULL */

struct fixture {
    struct node node;
    struct blob *hello, *big;
    struct http_request *parked[PARKED_MAX], *streaming;
    int parked_count;
    int streamed; /* chunks of /stream that may go out */
    int stream_pos;
    struct slice frame; /* what /framed gives next; no blob: nothing */
    bool framed_ends;
    int closed;        /* eventfd: on_close calls */
    sem_t holds, held; /* of /hold */
    atomic_int finished, pulls, handled;
};

void on_request(void *ctx, struct http_request *req);

/* Over TLS between start_tls and stop_tls. */
struct fixture *start(void);
struct fixture *start_with(const struct http_limits *limits, const char *address);
void stop(struct fixture *f); /* no connection may be left */

void wait_closed(struct fixture *f);
