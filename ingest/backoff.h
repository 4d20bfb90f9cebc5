/* How long to wait before the next attempt: a second at first, twice as long after each failure, half a minute at most. Up to a quarter
 * is taken off by chance, so that those who failed together don't come back together. Pure. */
#pragma once
#include <stdint.h>

enum { BACKOFF_FIRST_US = 1000000, BACKOFF_MAX_US = 30000000 };

struct backoff {
    int64_t next_us; /* 0: BACKOFF_FIRST_US */
};
/* `random`: any number. */
int64_t backoff_fail(struct backoff *backoff, uint32_t random);
/* From here on the longest: it won't get better by itself. */
static inline void backoff_give_up(struct backoff *backoff) { backoff->next_us = BACKOFF_MAX_US; }
static inline void backoff_succeed(struct backoff *backoff) { backoff->next_us = 0; }
