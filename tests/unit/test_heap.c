#include "common/base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES = 4000, STEPS = 200000, THREADS = 4, KB = 1 << 10 };

struct piece {
    uint8_t *data;
    size_t len;
    uint8_t fill;
};

static uint32_t next_random(uint32_t *seed) {
    return *seed = *seed * 1664525 + 1013904223;
}

/* Sizes as frames have them: many of a few KB, some of a hundred. */
static size_t random_len(uint32_t *seed) {
    uint32_t max = next_random(seed) >> 28 ? 12 * KB : 120 * KB;
    return (next_random(seed) >> 8) % max;
}

static void piece_take(struct heap *heap, struct piece *piece, uint32_t *seed) {
    piece->len = random_len(seed);
    piece->fill = (uint8_t)(next_random(seed) >> 24);
    piece->data = heap_alloc(heap, piece->len);
    memset(piece->data, piece->fill, piece->len);
}

static bool piece_is_whole(const struct piece *piece) {
    for (size_t i = 0; i < piece->len; i++)
        if (piece->data[i] != piece->fill)
            return false;
    return true;
}

static bool piece_give(struct heap *heap, struct piece *piece) {
    bool whole = piece_is_whole(piece);
    heap_free(heap, piece->data);
    *piece = (struct piece){0};
    return whole;
}

static void takes_any_size_up_to_the_limit(void **state) {
    (void)state;
    struct heap *heap = heap_create();
    for (size_t len = 0; len <= HEAP_ALLOC_MAX; len = len * 3 / 2 + 1) {
        uint8_t *memory = heap_alloc(heap, len);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 0x5a, len);
        heap_free(heap, memory);
    }
    assert_null(heap_alloc(heap, HEAP_ALLOC_MAX + 1));
    heap_free(heap, NULL);
    heap_destroy(heap);
}

/* Nobody's bytes are another's, whatever the order of taking and giving. */
static void pieces_do_not_overlap(void **state) {
    (void)state;
    struct heap *heap = heap_create();
    struct piece *pieces = calloc(PIECES, sizeof *pieces);
    uint32_t seed = 1;
    bool whole = true;
    for (int i = 0; i < STEPS / 10; i++) {
        struct piece *piece = &pieces[next_random(&seed) % PIECES];
        if (piece->data)
            whole = piece_give(heap, piece) && whole;
        else
            piece_take(heap, piece, &seed);
    }
    for (int i = 0; i < PIECES; i++)
        whole = piece_give(heap, &pieces[i]) && whole;
    assert_true(whole);
    assert_int_equal(heap_mapped(heap), 0);
    free(pieces);
    heap_destroy(heap);
}

/* What is free side by side is one: else the largest would not fit where there were only small ones. */
static void neighbours_are_joined(void **state) {
    (void)state;
    struct heap *heap = heap_create();
    enum { SMALL = 1000, COUNT = HEAP_REGION_BYTES / 1100 };
    static void *small[COUNT];
    void *stays = heap_alloc(heap, SMALL);
    for (int i = 0; i < COUNT; i++)
        small[i] = heap_alloc(heap, SMALL);
    assert_int_equal(heap_mapped(heap), HEAP_REGION_BYTES);
    for (int i = 0; i < COUNT; i += 2)
        heap_free(heap, small[i]);
    for (int i = 1; i < COUNT; i += 2)
        heap_free(heap, small[i]);
    void *large[HEAP_REGION_BYTES / HEAP_ALLOC_MAX - 1];
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        large[i] = heap_alloc(heap, HEAP_ALLOC_MAX - KB);
    assert_int_equal(heap_mapped(heap), HEAP_REGION_BYTES);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        heap_free(heap, large[i]);
    heap_free(heap, stays);
    heap_destroy(heap);
}

/* What is held long under a crowd that goes does not keep the crowd's memory, as long as it is replaced. */
static void regions_are_given_back(void **state) {
    (void)state;
    struct heap *heap = heap_create();
    enum { CROWD = 8 * HEAP_REGION_BYTES / (8 * KB), FEW = CROWD / 64 };
    void **held = calloc(CROWD, sizeof *held);
    for (int i = 0; i < CROWD; i++)
        held[i] = heap_alloc(heap, 7 * KB);
    assert_in_range(heap_mapped(heap), 7 * HEAP_REGION_BYTES, 8 * HEAP_REGION_BYTES);
    for (int i = 0; i < CROWD; i++)
        if (i % 64)
            heap_free(heap, held[i]);
    for (int i = 0; i < CROWD; i += 64) { /* the few that stay have their media replaced */
        void *fresh = heap_alloc(heap, 7 * KB);
        heap_free(heap, held[i]);
        held[i] = fresh;
    }
    assert_in_range(heap_mapped(heap), HEAP_REGION_BYTES, 2 * HEAP_REGION_BYTES); /* one is spared */
    for (int i = 0; i < CROWD; i += 64)
        heap_free(heap, held[i]);
    assert_int_equal(heap_mapped(heap), 0);
    free(held);
    heap_destroy(heap);
}

/* Sizes that vary by a tenth, freed in the order in which they were taken: hardly anything is lost between them. */
static void little_is_lost_between(void **state) {
    (void)state;
    struct heap *heap = heap_create();
    enum { HELD = 3 * HEAP_REGION_BYTES / (8 * KB) };
    struct piece *pieces = calloc(HELD, sizeof *pieces);
    uint32_t seed = 7;
    size_t bytes = 0, most = 0;
    for (int i = 0; i < 10 * HELD; i++) {
        struct piece *piece = &pieces[i % HELD];
        bytes -= piece->len;
        heap_free(heap, piece->data);
        piece->len = 8 * KB + (next_random(&seed) >> 8) % KB;
        piece->data = heap_alloc(heap, piece->len);
        bytes += piece->len;
        most = bytes > most ? bytes : most;
    }
    assert_in_range(heap_mapped(heap), most, most + most / 20 + HEAP_REGION_BYTES);
    for (int i = 0; i < HELD; i++)
        heap_free(heap, pieces[i].data);
    free(pieces);
    heap_destroy(heap);
}

/* Each thread takes pieces and frees what the thread before it took. */
struct relay {
    struct heap *heap;
    pthread_mutex_t lock;
    struct piece shelf[64];
    bool whole;
};

static void *run_thread(void *ctx) {
    struct relay *relay = ctx;
    uint32_t seed = (uint32_t)(uintptr_t)&seed;
    for (int i = 0; i < STEPS / 10; i++) {
        struct piece piece;
        piece_take(relay->heap, &piece, &seed);
        pthread_mutex_lock(&relay->lock);
        struct piece *place = &relay->shelf[next_random(&seed) >> 26], before = *place;
        *place = piece;
        pthread_mutex_unlock(&relay->lock);
        if (!piece_give(relay->heap, &before)) {
            pthread_mutex_lock(&relay->lock);
            relay->whole = false;
            pthread_mutex_unlock(&relay->lock);
        }
    }
    return NULL;
}

static void threads_share_it(void **state) {
    (void)state;
    struct relay relay = {.heap = heap_create(), .whole = true};
    pthread_mutex_init(&relay.lock, NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, run_thread, &relay);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < sizeof relay.shelf / sizeof *relay.shelf; i++)
        relay.whole = piece_give(relay.heap, &relay.shelf[i]) && relay.whole;
    assert_true(relay.whole);
    assert_int_equal(heap_mapped(relay.heap), 0);
    pthread_mutex_destroy(&relay.lock);
    heap_destroy(relay.heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_any_size_up_to_the_limit), cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(neighbours_are_joined),          cmocka_unit_test(regions_are_given_back),
        cmocka_unit_test(little_is_lost_between),         cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
