/* Chained hashing with SipHash-1-3 (Aumasson and Bernstein), keyed with random bits of this process. The table doubles
 * when there is an entry a bucket and never shrinks: entries come and go around the same number. */
#include "common/base/map.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MIN_BUCKETS = 16 };

struct entry {
    struct entry *next;
    uint64_t hash;
    void *value;
    char key[];
};

struct map {
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t seed[2];

static void set_seed(void) {
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        abort();
}

static uint64_t rotl(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t hash_key(const char *key, size_t len) {
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d, seed[0] ^ 0x6c7967656e657261,
                     seed[1] ^ 0x7465646279746573};
    uint64_t word;
    size_t at = 0;
    for (; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, key + at, sizeof(word));
        sip_word(v, word);
    }
    word = 0;
    memcpy(&word, key + at, len - at);
    sip_word(v, word | (uint64_t)len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct entry **new_buckets(size_t count) {
    struct entry **buckets = calloc(count, sizeof(struct entry *));
    if (!buckets)
        abort();
    return buckets;
}

static struct entry **bucket_of(const struct map *map, uint64_t hash) {
    return &map->buckets[hash & (map->bucket_count - 1)];
}

/* The link that points to the entry with `key`, or to the NULL at the end of its chain. */
static struct entry **find_link(const struct map *map, const char *key, uint64_t hash) {
    struct entry **link = bucket_of(map, hash);
    while (*link && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
        link = &(*link)->next;
    return link;
}

static void grow(struct map *map) {
    struct entry **old = map->buckets;
    size_t old_count = map->bucket_count;
    map->bucket_count = old_count * 2;
    map->buckets = new_buckets(map->bucket_count);
    for (size_t i = 0; i < old_count; i++) {
        for (struct entry *entry = old[i], *next; entry; entry = next) {
            struct entry **bucket = bucket_of(map, entry->hash);
            next = entry->next;
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    free(old);
}

struct map *map_create(void) {
    struct map *map = calloc(1, sizeof(*map));
    if (!map)
        abort();
    pthread_once(&seed_once, set_seed);
    map->bucket_count = MIN_BUCKETS;
    map->buckets = new_buckets(MIN_BUCKETS);
    return map;
}

void map_destroy(struct map *map) {
    if (!map)
        return;
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct entry *entry = map->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    }
    free(map->buckets);
    free(map);
}

void *map_get(const struct map *map, const char *key) {
    struct entry *entry = *find_link(map, key, hash_key(key, strlen(key)));
    return entry ? entry->value : NULL;
}

static struct entry *new_entry(const char *key, size_t len, uint64_t hash) {
    struct entry *entry = malloc(sizeof(*entry) + len + 1);
    if (!entry)
        abort();
    entry->next = NULL;
    entry->hash = hash;
    memcpy(entry->key, key, len + 1);
    return entry;
}

void map_set(struct map *map, const char *key, void *value) {
    size_t len = strlen(key);
    uint64_t hash = hash_key(key, len);
    struct entry **link = find_link(map, key, hash);
    if (*link) {
        (*link)->value = value;
        return;
    }
    *link = new_entry(key, len, hash);
    (*link)->value = value;
    if (++map->count > map->bucket_count)
        grow(map);
}

void *map_remove(struct map *map, const char *key) {
    struct entry **link = find_link(map, key, hash_key(key, strlen(key)));
    struct entry *entry = *link;
    if (!entry)
        return NULL;
    void *value = entry->value;
    *link = entry->next;
    map->count--;
    free(entry);
    return value;
}

size_t map_count(const struct map *map) {
    return map->count;
}

void map_each(struct map *map, void (*fn)(void *ctx, const char *key, void *value), void *ctx) {
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct entry *entry = map->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            fn(ctx, entry->key, entry->value);
        }
    }
}
