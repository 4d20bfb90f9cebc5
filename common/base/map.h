/* A hash map from strings to pointers. Keys are copied. Hashing is seeded per process, so that strangers' names cannot be
 * chosen to collide. One thread. */
#pragma once
#include <stddef.h>

struct map;

struct map *map_create(void);
/* Values stay the caller's. NULL is allowed. */
void map_destroy(struct map *map);
void *map_get(const struct map *map, const char *key); /* NULL when absent */
void map_set(struct map *map, const char *key, void *value); /* replaces */
void *map_remove(struct map *map, const char *key); /* returns what was there, or NULL */
size_t map_count(const struct map *map);
/* Calls `fn` for each entry, in no order; `fn` may remove the entry it is given, and no other. */
void map_each(struct map *map, void (*fn)(void *ctx, const char *key, void *value), void *ctx);
