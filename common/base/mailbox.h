/* A bounded queue of pointers from many threads to one loop. A post wakes the loop only when the queue was empty, so a
 * burst costs one wake-up. Delivered in order, in batches of at most 256 a turn, on the receiving loop. */
#pragma once
#include <stddef.h>

struct loop;
struct mailbox;

/* `on_message` takes over each message; `on_drop` (any thread; may be NULL) frees those left at destruction. */
struct mailbox *mailbox_create(struct loop *loop, size_t max, void (*on_message)(void *ctx, void *message),
                               void (*on_drop)(void *message), void *ctx);
/* On the loop's thread, when no other thread posts any more, and not from on_message. NULL is allowed. */
void mailbox_destroy(struct mailbox *box);
/* Any thread. 0, or -ENOBUFS when full: the message stays the caller's. */
int mailbox_post(struct mailbox *box, void *message);
