#include "common/http/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/http/transport.h"

enum {
    SLICES_MAX = 64, /* pulled and not yet sent */
    MORE_ITEMS = 3,  /* the head, the line before a chunk, the line after it */
    ITEMS_MAX = SLICES_MAX + MORE_ITEMS,
    BATCH_BYTES = 1024 * 1024,    /* a source is not asked for more once it has given so much */
    LIVE_BATCH_BYTES = 32 * 1024, /* likewise one of HTTP_SOURCE_LIVE: what is pulled can't be left out any more */
};

struct http_out {
    struct http_source source;
    enum http_framing framing;
    uint64_t remaining;  /* bytes that the source still owes, of HTTP_FRAMING_LENGTH */
    bool ended;          /* the source has given all */
    bool framed;         /* the queue holds a batch; `chunk_line` is in use */
    bool lent;           /* the queue's blobs are the source's: while it is being sent for the first time */
    bool dry;            /* the source has said, in this pump, that it has no more for now */
    unsigned slices_max; /* at most SLICES_MAX; what a source gives that says how many, since most are few */
    unsigned first, count;
    char chunk_line[24];
    struct item {
        struct iovec data;
        struct blob *blob; /* what it points into, or NULL */
    } items[];             /* slices_max + MORE_ITEMS; behind them the head */
};

static void push(struct http_out *out, const void *data, size_t len, struct blob *blob) {
    struct iovec bytes = {.iov_base = (void *)data, .iov_len = len};
    out->items[out->first + out->count++] = (struct item){bytes, blob};
}

static void pop(struct http_out *out) {
    struct blob *blob = out->items[out->first++].blob;
    if (!out->lent)
        blob_unref(blob);
    if (--out->count == 0) {
        out->first = 0;
        out->framed = false;
    }
}

struct http_out *http_out_create(const char *head, size_t head_len, const struct http_source *source,
                                 enum http_framing framing, int64_t length) {
    unsigned slices_max = source->slices && source->slices < SLICES_MAX ? source->slices : SLICES_MAX;
    struct http_out *out = malloc(sizeof *out + (slices_max + MORE_ITEMS) * sizeof *out->items + head_len);
    if (!out)
        abort();
    out->slices_max = slices_max;
    out->source = *source;
    out->framing = framing;
    out->remaining = length > 0 ? (uint64_t)length : 0;
    out->ended = framing == HTTP_FRAMING_NONE || !source->next || (framing == HTTP_FRAMING_LENGTH && length == 0);
    out->framed = out->lent = out->dry = false;
    out->first = out->count = 0;
    push(out, memcpy(&out->items[slices_max + MORE_ITEMS], head, head_len), head_len, NULL);
    return out;
}

void http_out_destroy(struct http_out *out) {
    if (!out)
        return;
    while (out->count > 0)
        pop(out);
    if (out->source.finish)
        out->source.finish(out->source.ctx);
    free(out);
}

/* Chunks come in their own frames and go out in them. */
static bool in_frames(const struct http_out *out) {
    return out->framing == HTTP_FRAMING_CHUNKED && out->source.flags & HTTP_SOURCE_FRAMED;
}

static size_t queue_slices(struct http_out *out, const struct slice *slices, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        const struct slice *s = &slices[i];
        if (s->len == 0) { /* would end a chunked body */
            if (!out->lent)
                blob_unref(s->blob);
            continue;
        }
        if (in_frames(out))
            push(out, s->blob->data, s->blob->len, s->blob);
        else
            push(out, s->blob->data + s->off, s->len, s->blob);
        bytes += s->len;
    }
    return bytes;
}

/* Pulls one batch into the queue. 0 or -EIO. */
static int pull(struct http_out *out, size_t *ret_bytes) {
    struct slice slices[SLICES_MAX];
    size_t bytes = 0;
    bool live = out->source.flags & HTTP_SOURCE_LIVE;
    int room = (int)out->slices_max, n = 1;
    out->lent = out->source.flags & HTTP_SOURCE_LENDS;
    while (room > 0 && bytes < (live ? LIVE_BATCH_BYTES : BATCH_BYTES) && n > 0) {
        n = out->source.next(out->source.ctx, slices, live ? 1 : room);
        if (n > room || n == HTTP_SOURCE_ERROR)
            return -EIO;
        if (n > 0) {
            bytes += queue_slices(out, slices, n);
            room -= n;
        }
    }
    out->ended = n == 0;
    out->dry = n == HTTP_SOURCE_WAIT;
    *ret_bytes = bytes;
    return 0;
}

static int pull_length(struct http_out *out) {
    size_t bytes;
    if (pull(out, &bytes) < 0 || bytes > out->remaining)
        return -EIO;
    out->remaining -= bytes;
    if (out->ended && out->remaining > 0)
        return -EIO;
    out->ended = out->remaining == 0;
    return 0;
}

/* One batch is one chunk. Its size line stands before it in the queue and is filled in afterwards. */
static int pull_chunk(struct http_out *out) {
    size_t bytes;
    unsigned line = out->count;
    push(out, out->chunk_line, 0, NULL);
    if (pull(out, &bytes) < 0)
        return -EIO;
    int len = 0;
    if (bytes > 0)
        len = snprintf(out->chunk_line, sizeof out->chunk_line, "%zx\r\n", bytes);
    else if (out->ended)
        len = snprintf(out->chunk_line, sizeof out->chunk_line, "0\r\n\r\n");
    if (len == 0)
        out->count--; /* nothing came; the line is the last item */
    else
        out->items[out->first + line].data.iov_len = (size_t)len;
    if (bytes > 0 && out->ended)
        push(out, "\r\n0\r\n\r\n", 7, NULL);
    else if (bytes > 0)
        push(out, "\r\n", 2, NULL);
    return 0;
}

static int pull_framed(struct http_out *out) {
    size_t bytes;
    if (pull(out, &bytes) < 0)
        return -EIO;
    if (out->ended)
        push(out, "0\r\n\r\n", 5, NULL);
    return 0;
}

static int fill(struct http_out *out) {
    int r;
    if (out->framing == HTTP_FRAMING_LENGTH) {
        r = pull_length(out);
    } else if (in_frames(out)) {
        r = pull_framed(out);
    } else if (out->framing == HTTP_FRAMING_CHUNKED) {
        r = pull_chunk(out);
    } else {
        size_t bytes;
        r = pull(out, &bytes);
    }
    out->framed = out->count > 0;
    return r;
}

/* The first of what is queued, at most `max` items and `budget` bytes; returns their number. */
static int list_items(const struct http_out *out, struct iovec *items, int max, size_t budget, size_t *ret_bytes) {
    int count = 0;
    *ret_bytes = 0;
    for (unsigned i = 0; i < out->count && count < max && *ret_bytes < budget; i++) {
        items[count] = out->items[out->first + i].data;
        if (items[count].iov_len > budget - *ret_bytes)
            items[count].iov_len = budget - *ret_bytes;
        *ret_bytes += items[count++].iov_len;
    }
    return count;
}

/* One gathered write of at most `budget` bytes; `ret_offered` is how many were offered. */
static ssize_t send_some(struct http_out *out, struct transport *transport, size_t budget, size_t *ret_offered) {
    struct iovec items[ITEMS_MAX];
    int count = list_items(out, items, ITEMS_MAX, budget, ret_offered);
    return transport->ops->sendv(transport, items, count);
}

static void advance(struct http_out *out, size_t sent) {
    while (sent > 0) {
        struct iovec *item = &out->items[out->first].data;
        if (sent < item->iov_len) {
            item->iov_base = (char *)item->iov_base + sent;
            item->iov_len -= sent;
            return;
        }
        sent -= item->iov_len;
        pop(out);
    }
}

/* What is left of a lent batch is kept. */
static void take_references(struct http_out *out) {
    for (unsigned i = out->first; i < out->first + out->count; i++)
        if (out->items[i].blob)
            blob_ref(out->items[i].blob);
    out->lent = false;
}

static enum http_out_result pump(struct http_out *out, struct transport *transport, size_t budget, size_t *ret_sent) {
    *ret_sent = 0;
    out->dry = false;
    for (;;) {
        if (!out->ended && !out->framed && !out->dry && fill(out) < 0)
            return HTTP_OUT_FAILED;
        if (out->count == 0 && transport->ops->flush(transport) == -EAGAIN)
            return HTTP_OUT_BLOCKED;
        if (out->count == 0)
            return out->ended ? HTTP_OUT_DONE : HTTP_OUT_WAIT;
        if (budget == 0)
            return HTTP_OUT_YIELD;
        size_t offered;
        ssize_t sent = send_some(out, transport, budget, &offered);
        if (sent == -EAGAIN)
            return HTTP_OUT_BLOCKED;
        if (sent < 0)
            return HTTP_OUT_FAILED;
        advance(out, (size_t)sent);
        *ret_sent += (size_t)sent;
        budget -= (size_t)sent;
        if ((size_t)sent < offered)
            return HTTP_OUT_BLOCKED;
    }
}

enum http_out_result http_out_pump(struct http_out *out, struct transport *transport, size_t budget, size_t *ret_sent) {
    enum http_out_result result = pump(out, transport, budget, ret_sent);
    if (out->lent)
        take_references(out);
    return result;
}

enum http_out_result http_out_offer(struct http_out *out, struct iovec *items, int max, int *ret_count) {
    size_t offered;
    out->dry = false;
    if (!out->ended && !out->framed && fill(out) < 0)
        return HTTP_OUT_FAILED;
    if (out->lent)
        take_references(out);
    *ret_count = list_items(out, items, max, SIZE_MAX, &offered);
    if (*ret_count > 0)
        return HTTP_OUT_YIELD;
    return out->ended ? HTTP_OUT_DONE : HTTP_OUT_WAIT;
}

enum http_out_result http_out_took(struct http_out *out, size_t offered, size_t sent) {
    advance(out, sent);
    if (sent < offered)
        return HTTP_OUT_BLOCKED;
    if (out->count > 0 || (!out->ended && !out->dry))
        return HTTP_OUT_YIELD;
    return out->ended ? HTTP_OUT_DONE : HTTP_OUT_WAIT;
}

void http_out_more(struct http_out *out) {
    out->dry = false;
}
