/* A ring of pointers under a mutex, and an eventfd that is readable while the ring may hold something.
 *
 * Why no wake-up is lost: the eventfd is reset under the lock, and only when the ring has just been emptied; the post
 * that fills it again comes after that in the lock's order and writes the eventfd afterwards. A batch that leaves
 * messages behind leaves the eventfd readable, so the loop comes back in its next turn. */
#include "common/base/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/loop.h"

enum { BATCH_MAX = 256 };

struct mailbox {
    pthread_mutex_t lock; /* over head, count and the ring */
    void **ring;
    size_t max, head, count;
    int wake_fd;
    struct loop_io *wake;
    bool delivering;
    void (*on_message)(void *ctx, void *message);
    void (*on_drop)(void *message);
    void *ctx;
};

static void *take_one(struct mailbox *box) {
    void *message = box->ring[box->head];
    box->head = box->head + 1 == box->max ? 0 : box->head + 1;
    box->count--;
    return message;
}

static size_t take_batch(struct mailbox *box, void *batch[BATCH_MAX]) {
    size_t n = 0;
    eventfd_t wakeups;
    pthread_mutex_lock(&box->lock);
    while (n < BATCH_MAX && box->count > 0)
        batch[n++] = take_one(box);
    if (box->count == 0)
        eventfd_read(box->wake_fd, &wakeups);
    pthread_mutex_unlock(&box->lock);
    return n;
}

static void on_wake(void *ctx, int events) {
    struct mailbox *box = ctx;
    void *batch[BATCH_MAX];
    (void)events;
    size_t n = take_batch(box, batch);
    box->delivering = true;
    for (size_t i = 0; i < n; i++)
        box->on_message(box->ctx, batch[i]);
    box->delivering = false;
}

struct mailbox *mailbox_create(struct loop *loop, size_t max, void (*on_message)(void *ctx, void *message),
                               void (*on_drop)(void *message), void *ctx) {
    struct mailbox *box = calloc(1, sizeof(*box));
    void **ring = calloc(max, sizeof(*ring));
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(max > 0);
    if (!box || !ring || wake_fd < 0)
        abort();
    *box = (struct mailbox){
        .ring = ring, .max = max, .wake_fd = wake_fd, .on_message = on_message, .on_drop = on_drop, .ctx = ctx};
    pthread_mutex_init(&box->lock, NULL);
    box->wake = loop_io_create_level(loop, wake_fd, LOOP_READ, on_wake, box);
    return box;
}

void mailbox_destroy(struct mailbox *box) {
    if (!box)
        return;
    assert(!box->delivering);
    loop_io_destroy(box->wake);
    while (box->count > 0) {
        void *message = take_one(box);
        if (box->on_drop)
            box->on_drop(message);
    }
    close(box->wake_fd);
    pthread_mutex_destroy(&box->lock);
    free(box->ring);
    free(box);
}

int mailbox_post(struct mailbox *box, void *message) {
    pthread_mutex_lock(&box->lock);
    bool full = box->count == box->max, was_empty = box->count == 0;
    if (!full) {
        size_t at = box->head + box->count;
        box->ring[at < box->max ? at : at - box->max] = message;
        box->count++;
    }
    pthread_mutex_unlock(&box->lock);
    if (full)
        return -ENOBUFS;
    if (was_empty && eventfd_write(box->wake_fd, 1) < 0)
        abort();
    return 0;
}
