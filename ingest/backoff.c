#include "ingest/backoff.h"

int64_t backoff_fail(struct backoff *backoff, uint32_t random) {
    int64_t delay_us = backoff->next_us ? backoff->next_us : BACKOFF_FIRST_US;
    backoff->next_us = delay_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : delay_us * 2;
    return delay_us - delay_us / 4 * (random % 1024) / 1024;
}
