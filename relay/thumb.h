/* Thumbnails: the latest key frame of a stream as a JPEG, for all workers of a node. They are made on one thread of their own, one after
 * the other, when somebody asks; the last of each stream and width is kept for the interval and given to all who ask
 * meanwhile, as is the fact that there is none because a key frame can't be decoded. Who asks while one is being made waits
 * for it. One that took long is kept for longer, so that no stream has more than a twentieth of the thread.
 *
 * The order of ends: thumbs_stop, then the clients, then thumbs_destroy. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/record.h"

struct loop;
struct thumb_ask;
struct thumbs;
struct thumbs_client;

enum { THUMB_ETAG_LEN = 96 };

/* The thread runs from here on. Pictures are kept for `interval_us`. */
struct thumbs *thumbs_create(int64_t interval_us);
/* No more are made, and no more answers come. NULL is allowed, here and below. */
void thumbs_stop(struct thumbs *thumbs);
void thumbs_destroy(struct thumbs *thumbs);

/* For those on one loop. */
struct thumbs_client *thumbs_client_create(struct thumbs *thumbs, struct loop *loop);
void thumbs_client_destroy(struct thumbs_client *client);

struct thumb_answer {
    struct blob *jpeg; /* valid during the call; NULL: not now */
    const char *etag;  /* strong, with its quotes */
    uint32_t fresh_s;  /* seconds for which there will be no other answer */
};
typedef void thumb_fn(void *ctx, const struct thumb_answer *answer);

struct thumb_source {
    const char *stream;
    uint32_t width;             /* of the JPEG, at most: thumb_image_make */
    const struct blob *init;    /* of the track alone */
    const struct record *chunk; /* one of it that begins with a key frame */
};
/* References are taken. `fn` is called later, never from here, on the client's loop; the ask is over then. NULL: too many ask. */
struct thumb_ask *thumbs_ask(struct thumbs_client *client, const struct thumb_source *source, thumb_fn *fn, void *ctx);
/* `fn` is not called. */
void thumb_ask_cancel(struct thumb_ask *ask);

void thumbs_metrics_register(void);
