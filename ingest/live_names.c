#include "ingest/live_names.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base/map.h"

struct live_names {
    pthread_mutex_t lock;
    struct map *holders; /* by stream */
};

struct holder {
    const void *owner;
    int64_t heard_us;
};

struct live_names *live_names_create(void) {
    struct live_names *names = calloc(1, sizeof *names);
    if (!names)
        abort();
    pthread_mutex_init(&names->lock, NULL);
    names->holders = map_create();
    return names;
}

static void free_holder(void *ctx, const char *stream, void *holder) {
    (void)ctx, (void)stream;
    free(holder);
}

void live_names_destroy(struct live_names *names) {
    if (!names)
        return;
    map_each(names->holders, free_holder, NULL);
    map_destroy(names->holders);
    pthread_mutex_destroy(&names->lock);
    free(names);
}

void live_names_hold(struct live_names *names, const char *stream, const void *owner, int64_t heard_us) {
    pthread_mutex_lock(&names->lock);
    struct holder *holder = map_get(names->holders, stream);
    if (!holder) {
        holder = calloc(1, sizeof *holder);
        if (!holder)
            abort();
        map_set(names->holders, stream, holder);
    }
    *holder = (struct holder){owner, heard_us};
    pthread_mutex_unlock(&names->lock);
}

void live_names_release(struct live_names *names, const char *stream, const void *owner) {
    pthread_mutex_lock(&names->lock);
    struct holder *holder = map_get(names->holders, stream);
    if (holder && holder->owner == owner)
        free(map_remove(names->holders, stream));
    pthread_mutex_unlock(&names->lock);
}

bool live_names_busy(struct live_names *names, const char *stream, int64_t since_us) {
    pthread_mutex_lock(&names->lock);
    const struct holder *holder = map_get(names->holders, stream);
    bool busy = holder && holder->heard_us > since_us;
    pthread_mutex_unlock(&names->lock);
    return busy;
}
