/* How many of something each address has, by key (address_key), with a limit on it. Any thread: libsrt's asks while a caller shakes hands. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct address_counts;

struct address_counts *address_counts_create(uint32_t max);
/* NULL is allowed. */
void address_counts_destroy(struct address_counts *counts);
/* Whether the address has as many as it may. */
bool address_counts_full(struct address_counts *counts, const char *key);
/* One more; false, and nothing is counted: it has as many as it may. */
bool address_counts_add(struct address_counts *counts, const char *key);
/* One that was added is gone. */
void address_counts_remove(struct address_counts *counts, const char *key);
