#include "common/http/send_batch.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct entry {
    send_batch_fn *fn;
    void *ctx;
    int fd;
    size_t offered;
    ssize_t sent;
    struct msghdr msg;
    struct iovec items[SEND_BATCH_ITEMS];
};

struct send_batch {
    struct io_uring ring;
    unsigned count;
    struct entry entries[SEND_BATCH_MAX];
};

/* There are kernels that have the ring, but not these operations. */
static bool can_send(struct io_uring *ring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool can = probe && io_uring_opcode_supported(probe, IORING_OP_SEND) &&
               io_uring_opcode_supported(probe, IORING_OP_SENDMSG);
    io_uring_free_probe(probe);
    return can;
}

struct send_batch *send_batch_create(void) {
    struct send_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        abort();
    int r = io_uring_queue_init(SEND_BATCH_MAX, &batch->ring, 0);
    if (r < 0) {
        free(batch);
        errno = -r;
        return NULL;
    }
    if (!can_send(&batch->ring)) {
        send_batch_destroy(batch);
        errno = ENOSYS;
        return NULL;
    }
    return batch;
}

void send_batch_destroy(struct send_batch *batch) {
    if (!batch)
        return;
    io_uring_queue_exit(&batch->ring);
    free(batch);
}

void send_batch_add(struct send_batch *batch, int fd, const struct iovec *items, int count, send_batch_fn *fn,
                    void *ctx) {
    if (batch->count == SEND_BATCH_MAX)
        send_batch_submit(batch);
    struct entry *entry = &batch->entries[batch->count++];
    *entry = (struct entry){.fn = fn, .ctx = ctx, .fd = fd};
    for (int i = 0; i < count; i++) {
        entry->items[i] = items[i];
        entry->offered += items[i].iov_len;
    }
    entry->msg.msg_iov = entry->items;
    entry->msg.msg_iovlen = (size_t)count;
}

static void queue(struct send_batch *batch) {
    for (unsigned i = 0; i < batch->count; i++) {
        const struct entry *entry = &batch->entries[i];
        struct io_uring_sqe *sqe = io_uring_get_sqe(&batch->ring); /* as many as entries, and none in use */
        if (entry->msg.msg_iovlen == 1)
            io_uring_prep_send(sqe, entry->fd, entry->items->iov_base, entry->offered, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            io_uring_prep_sendmsg(sqe, entry->fd, &entry->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        io_uring_sqe_set_data64(sqe, i);
    }
}

static unsigned take_results(struct send_batch *batch) {
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&batch->ring, head, cqe) {
        batch->entries[io_uring_cqe_get_data64(cqe)].sent = cqe->res;
        count++;
    }
    io_uring_cq_advance(&batch->ring, count);
    return count;
}

bool send_batch_empty(const struct send_batch *batch) {
    return batch->count == 0;
}

static void submit(struct send_batch *batch) {
    unsigned left = batch->count;
    queue(batch);
    while (left > 0) {
        int r = io_uring_submit_and_wait(&batch->ring, left);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            abort(); /* an argument that no kernel takes: a bug */
        left -= take_results(batch);
    }
}

/* The ring costs more than it saves. */
static void send_one(struct entry *entry) {
    do
        entry->sent = sendmsg(entry->fd, &entry->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (entry->sent < 0 && errno == EINTR);
    if (entry->sent < 0)
        entry->sent = -errno;
}

void send_batch_submit(struct send_batch *batch) {
    if (batch->count == 1)
        send_one(&batch->entries[0]);
    else
        submit(batch);
    for (unsigned i = 0; i < batch->count; i++)
        batch->entries[i].fn(batch->entries[i].ctx, batch->entries[i].offered, batch->entries[i].sent);
    batch->count = 0;
}
