/* Names that are refused for a while, because the operator has cut their broadcasts. Bounded: when there are too many, the one that
 * would be let in first is. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct refusals;

enum { REFUSALS_MAX = 4096 };

struct refusals *refusals_create(void);
/* NULL is allowed. */
void refusals_destroy(struct refusals *refusals);
/* Until then, whatever was said before; a time that is past lets the name in. */
void refusals_set(struct refusals *refusals, const char *stream, int64_t until_us, int64_t now_us);
/* How long it still is refused; 0: it isn't. */
int64_t refusals_left_us(const struct refusals *refusals, const char *stream, int64_t now_us);
size_t refusals_count(const struct refusals *refusals);
