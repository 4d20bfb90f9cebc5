/* A heap for what is held in great amounts and for long: media. It lies on huge pages where the kernel has them, because what is freed
 * after half a minute is in no cache and no TLB, and on pages of 4 KiB most of what freeing costs is walking the page tables.
 *
 * Memory is taken in regions and given back when a region is empty. Regions are filled in order, so that those taken last
 * run empty when less is held. Any thread may call any function but heap_destroy. */
#pragma once
#include <stddef.h>

enum {
    HEAP_REGION_BYTES = 32 << 20, /* of address space; a region's pages are backed when first used */
    HEAP_ALLOC_MAX = 4 << 20,
};

struct heap;

struct heap *heap_create(void);
/* All memory of it is gone. NULL is allowed. */
void heap_destroy(struct heap *heap);
/* `size` bytes, aligned to 16, uninitialised. NULL when `size` is more than HEAP_ALLOC_MAX, or memory is exhausted. */
void *heap_alloc(struct heap *heap, size_t size);
/* NULL is allowed. */
void heap_free(struct heap *heap, void *memory);
/* Bytes of address space taken. */
size_t heap_mapped(struct heap *heap);
