#include "common/media/refusals.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/map.h"
#include "common/media/name.h"

struct refusals {
    struct map *until_us; /* int64_t by name */
};

struct refusals *refusals_create(void) {
    struct refusals *refusals = calloc(1, sizeof *refusals);
    if (!refusals)
        abort();
    refusals->until_us = map_create();
    return refusals;
}

static void free_one(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    free(value);
}

void refusals_destroy(struct refusals *refusals) {
    if (!refusals)
        return;
    map_each(refusals->until_us, free_one, NULL);
    map_destroy(refusals->until_us);
    free(refusals);
}

struct sweep {
    struct map *until_us;
    int64_t now_us, first_us;
    char first[STREAM_NAME_LEN]; /* to be let in */
};

static void sweep_one(void *ctx, const char *name, void *value) {
    struct sweep *sweep = ctx;
    int64_t until_us = *(int64_t *)value;
    if (until_us <= sweep->now_us) {
        free(map_remove(sweep->until_us, name));
    } else if (!sweep->first[0] || until_us < sweep->first_us) {
        sweep->first_us = until_us;
        strcpy(sweep->first, name);
    }
}

static void make_room(struct refusals *refusals, int64_t now_us) {
    struct sweep sweep = {.until_us = refusals->until_us, .now_us = now_us};
    map_each(refusals->until_us, sweep_one, &sweep);
    if (map_count(refusals->until_us) >= REFUSALS_MAX)
        free(map_remove(refusals->until_us, sweep.first));
}

void refusals_set(struct refusals *refusals, const char *stream, int64_t until_us, int64_t now_us) {
    free(map_remove(refusals->until_us, stream));
    make_room(refusals, now_us);
    if (until_us <= now_us)
        return;
    int64_t *value = malloc(sizeof *value);
    if (!value)
        abort();
    *value = until_us;
    map_set(refusals->until_us, stream, value);
}

int64_t refusals_left_us(const struct refusals *refusals, const char *stream, int64_t now_us) {
    const int64_t *until_us = map_get(refusals->until_us, stream);
    return until_us && *until_us > now_us ? *until_us - now_us : 0;
}

size_t refusals_count(const struct refusals *refusals) {
    return map_count(refusals->until_us);
}
