#include "ingest/address_counts.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/map.h"

struct address_counts {
    pthread_mutex_t lock;
    uint32_t max;
    struct map *held; /* uint32_t by address, of those that have any */
};

struct address_counts *address_counts_create(uint32_t max) {
    struct address_counts *counts = calloc(1, sizeof *counts);
    if (!counts)
        abort();
    pthread_mutex_init(&counts->lock, NULL);
    counts->max = max;
    counts->held = map_create();
    return counts;
}

static void free_count(void *ctx, const char *key, void *count) {
    (void)ctx, (void)key;
    free(count);
}

void address_counts_destroy(struct address_counts *counts) {
    if (!counts)
        return;
    map_each(counts->held, free_count, NULL);
    map_destroy(counts->held);
    pthread_mutex_destroy(&counts->lock);
    free(counts);
}

bool address_counts_full(struct address_counts *counts, const char *key) {
    pthread_mutex_lock(&counts->lock);
    const uint32_t *count = map_get(counts->held, key);
    bool full = count && *count >= counts->max;
    pthread_mutex_unlock(&counts->lock);
    return full;
}

bool address_counts_add(struct address_counts *counts, const char *key) {
    pthread_mutex_lock(&counts->lock);
    uint32_t *count = map_get(counts->held, key);
    if (!count) {
        count = calloc(1, sizeof *count);
        if (!count)
            abort();
        map_set(counts->held, key, count);
    }
    bool room = *count < counts->max;
    *count += room;
    pthread_mutex_unlock(&counts->lock);
    return room;
}

void address_counts_remove(struct address_counts *counts, const char *key) {
    pthread_mutex_lock(&counts->lock);
    uint32_t *count = map_get(counts->held, key);
    assert(count && *count > 0);
    if (--*count == 0)
        free(map_remove(counts->held, key));
    pthread_mutex_unlock(&counts->lock);
}
