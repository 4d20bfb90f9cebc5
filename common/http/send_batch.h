/* Sends on many sockets with one system call, by io_uring, where the kernel has it and lets us. Nothing waits: every send is
 * tried at once, as by MSG_DONTWAIT, and all results are there when the call returns. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct send_batch;

enum { SEND_BATCH_MAX = 64, SEND_BATCH_ITEMS = 8 };

/* `sent`: bytes taken of those `offered`, or a negative errno; -EAGAIN: the socket is full. */
typedef void send_batch_fn(void *ctx, size_t offered, ssize_t sent);

/* NULL: the kernel has no io_uring, or not for us; errno says why. */
struct send_batch *send_batch_create(void);
/* It is empty. NULL is allowed. */
void send_batch_destroy(struct send_batch *batch);
/* `items`, at most SEND_BATCH_ITEMS, are copied; what they point to stays until `fn` is called. When the batch is full it is
 * submitted first. */
void send_batch_add(struct send_batch *batch, int fd, const struct iovec *items, int count, send_batch_fn *fn, void *ctx);
bool send_batch_empty(const struct send_batch *batch);
/* Sends all and calls each one's function, in the order in which they were added; these must not add any. */
void send_batch_submit(struct send_batch *batch);
