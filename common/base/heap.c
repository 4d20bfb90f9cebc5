/* Two-level segregated fit (Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems", 2004), one
 * per region: free blocks are kept by size in classes, a power of two and thirty-seconds of it; a block is taken from
 * the smallest class all of whose blocks are large enough, and what is left over is split off. Neighbours that are free
 * are joined at once: sizes are as various as frames are, and what is freed lies together.
 *
 * A region:  [header | block | block | ... ]
 * A block:   [size of the one before, own size and state | payload; while free, links of its class] */
#include "common/base/heap.h"

#include <assert.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h> /* its macros are nothing in builds without AddressSanitizer */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGN = 16,
    MIN_LOG2 = 6, /* the smallest block is 64 bytes */
    MAX_LOG2 = 25,
    ROWS = MAX_LOG2 - MIN_LOG2 + 1,
    COLUMN_LOG2 = 5,
    COLUMNS = 1 << COLUMN_LOG2,
    NO_CLASS = -1,
};

struct block {
    size_t before; /* bytes of the block before; 0: none */
    size_t bytes : 63, used : 1;
    /* free blocks only */
    struct block *next, *prev;
};

enum { BLOCK_HEAD = offsetof(struct block, next), BLOCK_MIN = 1 << MIN_LOG2 };

struct region {
    uint32_t index;         /* in heap.regions */
    uint32_t rows;          /* bit r: a class of row r has blocks */
    uint32_t columns[ROWS]; /* bit c of [r]: class (r, c) has */
    struct block *free[ROWS][COLUMNS];
    _Alignas(ALIGN) uint8_t blocks[];
};

struct heap {
    pthread_mutex_t lock;
    struct region **regions; /* in the order in which they are filled */
    int8_t *rows;            /* of each, the highest that has free blocks, or NO_CLASS: what is looked through */
    uint32_t count, cap;
    struct region *spare; /* the one that is empty, or NULL */
};

enum { REGION_ROOM = HEAP_REGION_BYTES - offsetof(struct region, blocks) };

static_assert(sizeof(struct block) <= BLOCK_MIN, "a free block holds its links");
static_assert(HEAP_REGION_BYTES == 1 << MAX_LOG2, "the last row is for a whole region");

/* --- blocks and classes --- */

/* NULL: it is the region's last. */
static struct block *after(struct block *block) {
    uintptr_t end = (uintptr_t)block + block->bytes;
    return end % HEAP_REGION_BYTES ? (struct block *)end : NULL;
}

static struct block *before(struct block *block) {
    return block->before ? (struct block *)((uint8_t *)block - block->before) : NULL;
}

static void tell_next(struct block *block) {
    struct block *next = after(block);
    if (next)
        next->before = block->bytes;
}

static int log2_of(size_t bytes) {
    return 63 - __builtin_clzll(bytes);
}

static void class_of(size_t bytes, int *ret_row, int *ret_column) {
    int log2 = log2_of(bytes);
    *ret_row = log2 - MIN_LOG2;
    *ret_column = (int)(bytes >> (log2 - COLUMN_LOG2)) & (COLUMNS - 1);
}

static void set_highest_row(struct heap *heap, const struct region *region) {
    heap->rows[region->index] = (int8_t)(region->rows ? 31 - __builtin_clz(region->rows) : NO_CLASS);
}

static void add_free(struct heap *heap, struct region *region, struct block *block) {
    int row, column;
    class_of(block->bytes, &row, &column);
    struct block **first = &region->free[row][column];
    block->used = 0;
    block->prev = NULL;
    block->next = *first;
    if (*first)
        (*first)->prev = block;
    *first = block;
    region->columns[row] |= 1u << column;
    region->rows |= 1u << row;
    set_highest_row(heap, region);
    ASAN_POISON_MEMORY_REGION(block + 1, block->bytes - sizeof *block);
}

static void remove_free(struct heap *heap, struct region *region, struct block *block) {
    int row, column;
    class_of(block->bytes, &row, &column);
    if (block->next)
        block->next->prev = block->prev;
    if (block->prev) {
        block->prev->next = block->next;
        return;
    }
    region->free[row][column] = block->next;
    if (block->next)
        return;
    region->columns[row] &= ~(1u << column);
    if (!region->columns[row])
        region->rows &= ~(1u << row);
    set_highest_row(heap, region);
}

/* A free block of at least `bytes`, or NULL. */
static struct block *find_free(const struct region *region, size_t bytes) {
    int row, column;
    class_of(bytes + (((size_t)1 << (log2_of(bytes) - COLUMN_LOG2)) - 1), &row,
             &column); /* of which all are large enough */
    unsigned columns = region->columns[row] & ~0u << column;
    if (!columns) {
        unsigned rows = row + 1 < ROWS ? region->rows & ~0u << (row + 1) : 0;
        if (!rows)
            return NULL;
        row = __builtin_ctz(rows);
        columns = region->columns[row];
    }
    return region->free[row][__builtin_ctz(columns)];
}

/* --- regions --- */

static struct region *region_of(const void *memory) {
    return (struct region *)((uintptr_t)memory & ~(uintptr_t)(HEAP_REGION_BYTES - 1));
}

/* Aligned to its size, so that a block finds its region. */
static void *map_region(void) {
    size_t bytes = HEAP_REGION_BYTES;
    uint8_t *memory = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    size_t ahead = (bytes - ((uintptr_t)memory & (bytes - 1))) & (bytes - 1);
    if (ahead)
        munmap(memory, ahead);
    munmap(memory + ahead + bytes, bytes - ahead);
    madvise(memory + ahead, bytes, MADV_HUGEPAGE); /* where it can't be, small pages do */
    return memory + ahead;
}

static void unmap_region(struct region *region) {
    ASAN_UNPOISON_MEMORY_REGION(region, HEAP_REGION_BYTES);
    munmap(region, HEAP_REGION_BYTES);
}

static void grow(struct heap *heap) {
    if (heap->count < heap->cap)
        return;
    heap->cap = heap->cap ? 2 * heap->cap : 8;
    heap->regions = realloc(heap->regions, heap->cap * sizeof *heap->regions);
    heap->rows = realloc(heap->rows, heap->cap);
    if (!heap->regions || !heap->rows)
        abort();
}

static struct region *add_region(struct heap *heap) {
    struct region *region = map_region();
    if (!region)
        return NULL;
    grow(heap);
    region->index = heap->count++;
    heap->regions[region->index] = region;
    struct block *block = (struct block *)region->blocks;
    block->bytes = REGION_ROOM;
    add_free(heap, region, block);
    return region;
}

static void remove_region(struct heap *heap, struct region *region) {
    uint32_t behind = --heap->count - region->index;
    memmove(&heap->regions[region->index], &heap->regions[region->index + 1], behind * sizeof *heap->regions);
    memmove(&heap->rows[region->index], &heap->rows[region->index + 1], behind);
    for (uint32_t i = region->index; i < heap->count; i++)
        heap->regions[i]->index = i;
    unmap_region(region);
}

static bool is_empty(struct region *region) {
    const struct block *first = (struct block *)region->blocks;
    return !first->used && first->bytes == REGION_ROOM;
}

/* --- allocation --- */

static struct block *take(struct heap *heap, size_t bytes) {
    int row = log2_of(bytes) - MIN_LOG2;
    for (uint32_t i = 0; i < heap->count; i++) {
        struct block *block = heap->rows[i] >= row ? find_free(heap->regions[i], bytes) : NULL;
        if (block)
            return block;
    }
    struct region *region = add_region(heap);
    return region ? find_free(region, bytes) : NULL;
}

static void split(struct heap *heap, struct region *region, struct block *block, size_t bytes) {
    size_t left = block->bytes - bytes;
    if (left < BLOCK_MIN)
        return;
    block->bytes = bytes;
    struct block *rest = after(block);
    rest->before = bytes;
    rest->bytes = left;
    tell_next(rest);
    add_free(heap, region, rest);
}

void *heap_alloc(struct heap *heap, size_t size) {
    if (size > HEAP_ALLOC_MAX)
        return NULL;
    size_t bytes = (BLOCK_HEAD + size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (bytes < BLOCK_MIN)
        bytes = BLOCK_MIN;
    pthread_mutex_lock(&heap->lock);
    struct block *block = take(heap, bytes);
    if (block) {
        struct region *region = region_of(block);
        remove_free(heap, region, block);
        size_t with_next_head = bytes + sizeof(struct block);
        ASAN_UNPOISON_MEMORY_REGION(block, with_next_head < block->bytes ? with_next_head : block->bytes);
        split(heap, region, block, bytes);
        ASAN_POISON_MEMORY_REGION((uint8_t *)block + BLOCK_HEAD + size, block->bytes - BLOCK_HEAD - size);
        block->used = 1;
        if (heap->spare == region)
            heap->spare = NULL;
    }
    pthread_mutex_unlock(&heap->lock);
    return block ? (uint8_t *)block + BLOCK_HEAD : NULL;
}

/* With its free neighbours. */
static struct block *join(struct heap *heap, struct region *region, struct block *block) {
    struct block *next = after(block), *previous = before(block);
    if (next && !next->used) {
        remove_free(heap, region, next);
        block->bytes += next->bytes;
    }
    if (previous && !previous->used) {
        remove_free(heap, region, previous);
        previous->bytes += block->bytes;
        block = previous;
    }
    tell_next(block);
    return block;
}

/* One that is empty is spared while others are in use, else one chunk more or less could have it mapped over and over.
 */
static void give_back(struct heap *heap, struct region *region) {
    if (!is_empty(region))
        return;
    if (heap->spare)
        remove_region(heap, region);
    else
        heap->spare = region;
    if (heap->count == 1 && heap->spare) {
        remove_region(heap, heap->spare);
        heap->spare = NULL;
    }
}

void heap_free(struct heap *heap, void *memory) {
    if (!memory)
        return;
    struct block *block = (struct block *)((uint8_t *)memory - BLOCK_HEAD);
    struct region *region = region_of(block);
    pthread_mutex_lock(&heap->lock);
    assert(block->used);
    ASAN_UNPOISON_MEMORY_REGION(block, sizeof *block);
    add_free(heap, region, join(heap, region, block));
    give_back(heap, region);
    pthread_mutex_unlock(&heap->lock);
}

size_t heap_mapped(struct heap *heap) {
    pthread_mutex_lock(&heap->lock);
    size_t bytes = (size_t)heap->count * HEAP_REGION_BYTES;
    pthread_mutex_unlock(&heap->lock);
    return bytes;
}

struct heap *heap_create(void) {
    struct heap *heap = calloc(1, sizeof *heap);
    if (!heap)
        abort();
    pthread_mutex_init(&heap->lock, NULL);
    return heap;
}

void heap_destroy(struct heap *heap) {
    if (!heap)
        return;
    for (uint32_t i = 0; i < heap->count; i++)
        unmap_region(heap->regions[i]);
    pthread_mutex_destroy(&heap->lock);
    free(heap->regions);
    free(heap->rows);
    free(heap);
}
