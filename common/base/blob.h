/* A blob is a run of bytes that never changes once it is shared: chunks, init segments, rendered playlists, page assets.
 * Reference counted with an atomic counter, so a blob may be held by several threads at once; whoever drops the last
 * reference frees it, on that thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
    atomic_uint refs;
    bool held;      /* see blob_create_held */
    size_t len;     /* bytes */
    uint8_t data[]; /* writable only by the creator, before the first hand-over */
};

/* A part of a blob. Does not own a reference unless its holder says so. */
struct slice {
    struct blob *blob;
    size_t off, len;
};

/* New blob of `len` uninitialised bytes with one reference. Aborts when memory is exhausted; bound `len` first. */
struct blob *blob_create(size_t len);
/* The same for what is held for long and in great amounts: chunks. Its memory is apart from everything else (heap.h). */
struct blob *blob_create_held(size_t len);
/* Room for `len` bytes within a new blob that is an HTTP/1.1 chunk (RFC 9112 §7.1) around them, size line before and CRLF after, so
 * that it can be sent as it is or as the slice. The slice has the one reference. `held`: as blob_create_held. */
struct slice blob_create_framed(size_t len, bool held);
/* New blob that holds a copy of `data`. */
struct blob *blob_create_copy(const void *data, size_t len);
/* Another reference to the same blob; returns its argument. */
struct blob *blob_ref(struct blob *blob);
/* Drops a reference. NULL is allowed. */
void blob_unref(struct blob *blob);
