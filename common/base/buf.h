/* A growable byte buffer with a maximum, given when it is made. Bytes are appended at the end and consumed from the
 * front. What would exceed the maximum fails with -ENOBUFS and sets `overflow`, which stays set: a writer may append many
 * times and check once. Memory exhaustion aborts (sizes are bounded by the maximum). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob;

struct buf {
    uint8_t *data; /* data + off is the first unconsumed byte; use buf_head() */
    size_t off, len, cap, max;
    bool overflow;
};

void buf_init(struct buf *buf, size_t max);
/* Frees the memory; the buffer may be used again after buf_init. */
void buf_finish(struct buf *buf);

static inline uint8_t *buf_head(const struct buf *buf) { return buf->data ? buf->data + buf->off : NULL; }
static inline size_t buf_len(const struct buf *buf) { return buf->len; } /* unconsumed bytes */

/* Each: 0, or -ENOBUFS (nothing appended). */
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_append_str(struct buf *buf, const char *str);
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for `len` bytes at the end, to be filled by the caller, who then calls buf_commit. NULL on overflow. */
uint8_t *buf_reserve(struct buf *buf, size_t len);
void buf_commit(struct buf *buf, size_t len);
/* Drops `len` bytes from the front; memory is kept unless the buffer is empty and larger than `keep` (4 KiB). */
void buf_consume(struct buf *buf, size_t len);
/* Drops everything and resets `overflow`. */
void buf_clear(struct buf *buf);
/* The content as a new blob (one reference, the caller's); the buffer is left as it was. */
struct blob *buf_to_blob(const struct buf *buf);
