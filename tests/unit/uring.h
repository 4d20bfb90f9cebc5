/* Suites of the HTTP server run twice: each connection sending by itself, and with TEST_IO_URING set all by one batch a turn. */
#pragma once
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/http/server.h"

enum { TEST_SKIPPED = 77 }; /* as meson wants it */

static inline void *use_uring(void *server) {
    return http_server_use_uring(server) < 0 ? server : NULL;
}

/* By a thread of its own: the end of a ring interrupts the system calls of whoever made it, and the tests' clients don't expect that. */
static inline void use_uring_if_asked(struct http_server *server) {
    pthread_t thread;
    void *failed = NULL;
    if (!getenv("TEST_IO_URING"))
        return;
    if (pthread_create(&thread, NULL, use_uring, server) || pthread_join(thread, &failed) || failed) {
        puts("this kernel has no io_uring for us");
        exit(TEST_SKIPPED);
    }
}
