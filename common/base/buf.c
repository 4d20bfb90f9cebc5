/* A bounded byte buffer. The memory holds one byte more than `cap`, so that formatting may write its terminator there
 * without the maximum having to count it. Consumed bytes are reclaimed by moving the rest to the front when that is
 * cheaper than growing, or when the maximum leaves no other way. */
#include "common/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/blob.h"

enum { MIN_CAP = 256, KEEP_CAP = 4096 };

void buf_init(struct buf *buf, size_t max) {
    *buf = (struct buf){.max = max};
}

void buf_finish(struct buf *buf) {
    free(buf->data);
    *buf = (struct buf){0};
}

static int overflow(struct buf *buf) {
    buf->overflow = true;
    return -ENOBUFS;
}

static void move_to_front(struct buf *buf) {
    memmove(buf->data, buf->data + buf->off, buf->len);
    buf->off = 0;
}

static size_t grown_cap(const struct buf *buf, size_t need) {
    size_t cap = buf->cap > buf->max / 2 ? buf->max : buf->cap * 2;
    if (cap < MIN_CAP)
        cap = MIN_CAP;
    if (cap < need)
        cap = need;
    return cap < buf->max ? cap : buf->max;
}

/* `need` is at most the maximum. A fresh block instead of realloc: only the unconsumed bytes are worth copying. */
static void grow(struct buf *buf, size_t need) {
    size_t cap = grown_cap(buf, need);
    if (cap == SIZE_MAX)
        abort();
    uint8_t *data = malloc(cap + 1);
    if (!data)
        abort();
    if (buf->len > 0)
        memcpy(data, buf->data + buf->off, buf->len);
    free(buf->data);
    buf->data = data;
    buf->off = 0;
    buf->cap = cap;
}

uint8_t *buf_reserve(struct buf *buf, size_t len) {
    if (len > buf->max - buf->len) {
        overflow(buf);
        return NULL;
    }
    size_t need = buf->len + len;
    if (!buf->data || need > buf->cap - buf->off) {
        bool fits = buf->data && need <= buf->cap;
        if (fits && (buf->off >= buf->len || buf->cap == buf->max))
            move_to_front(buf);
        else
            grow(buf, need);
    }
    return buf->data + buf->off + buf->len;
}

void buf_commit(struct buf *buf, size_t len) {
    assert(len <= buf->cap - buf->off - buf->len);
    buf->len += len;
}

int buf_append(struct buf *buf, const void *data, size_t len) {
    uint8_t *room = buf_reserve(buf, len);
    if (!room)
        return -ENOBUFS;
    if (len > 0)
        memcpy(room, data, len);
    buf->len += len;
    return 0;
}

int buf_append_str(struct buf *buf, const char *str) {
    return buf_append(buf, str, strlen(str));
}

static int append_format(struct buf *buf, const char *fmt, va_list args, va_list again) {
    size_t room = buf->data ? buf->cap - buf->off - buf->len : 0;
    char *end = buf->data ? (char *)buf->data + buf->off + buf->len : NULL;
    int n = vsnprintf(end, end ? room + 1 : 0, fmt, args);
    if (n < 0)
        return overflow(buf);
    if (!end || (size_t)n > room) {
        end = (char *)buf_reserve(buf, (size_t)n);
        if (!end)
            return -ENOBUFS;
        vsnprintf(end, (size_t)n + 1, fmt, again);
    }
    buf->len += (size_t)n;
    return 0;
}

int buf_printf(struct buf *buf, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int ret = append_format(buf, fmt, args, again);
    va_end(again);
    va_end(args);
    return ret;
}

static void release_if_large(struct buf *buf) {
    buf->off = 0;
    if (buf->cap <= KEEP_CAP)
        return;
    free(buf->data);
    buf->data = NULL;
    buf->cap = 0;
}

void buf_consume(struct buf *buf, size_t len) {
    assert(len <= buf->len);
    buf->off += len;
    buf->len -= len;
    if (buf->len == 0)
        release_if_large(buf);
}

void buf_clear(struct buf *buf) {
    buf_consume(buf, buf->len);
    buf->overflow = false;
}

struct blob *buf_to_blob(const struct buf *buf) {
    return blob_create_copy(buf_head(buf), buf->len);
}
