/* Shared immutable bytes. The release on each drop and the acquire before the free make every holder's reads happen
 * before the memory goes back. */
#include "common/base/blob.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/heap.h"

static struct heap *held; /* the process's, never destroyed */

static void create_held(void) {
    held = heap_create();
}

static struct blob *init(struct blob *blob, size_t len, bool is_held) {
    if (!blob)
        abort();
    atomic_init(&blob->refs, 1);
    blob->held = is_held;
    blob->len = len;
    return blob;
}

struct blob *blob_create(size_t len) {
    if (len > SIZE_MAX - sizeof(struct blob))
        abort();
    return init(malloc(sizeof(struct blob) + len), len, false);
}

struct blob *blob_create_held(size_t len) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, create_held);
    struct blob *blob = len < HEAP_ALLOC_MAX ? heap_alloc(held, sizeof *blob + len) : NULL;
    return blob ? init(blob, len, true) : blob_create(len);
}

struct slice blob_create_framed(size_t len, bool is_held) {
    char line[24];
    size_t before = (size_t)snprintf(line, sizeof line, "%zx\r\n", len);
    struct blob *blob = is_held ? blob_create_held(before + len + 2) : blob_create(before + len + 2);
    memcpy(blob->data, line, before);
    memcpy(blob->data + before + len, "\r\n", 2);
    return (struct slice){blob, before, len};
}

struct blob *blob_create_copy(const void *data, size_t len) {
    struct blob *blob = blob_create(len);
    if (len > 0)
        memcpy(blob->data, data, len);
    return blob;
}

struct blob *blob_ref(struct blob *blob) {
    /* Relaxed: whoever refs already holds a reference, so the blob cannot vanish meanwhile. */
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void blob_unref(struct blob *blob) {
    if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (blob->held)
        heap_free(held, blob);
    else
        free(blob);
}
