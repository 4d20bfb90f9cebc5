/* UTC anchored to the monotonic clock, so that an NTP step cannot make two chunks change places in time. The price is
 * that a long-lived process does not follow later corrections of the wall clock. */
#include "common/base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_once_t anchor_once = PTHREAD_ONCE_INIT;
static int64_t utc_minus_mono_us;

static int64_t read_us(clockid_t id) {
    struct timespec ts;
    if (clock_gettime(id, &ts) < 0)
        abort();
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void set_anchor(void) {
    utc_minus_mono_us = read_us(CLOCK_REALTIME) - read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_utc_us(void) {
    return clock_utc_from_mono_us(clock_mono_us());
}

int64_t clock_utc_from_mono_us(int64_t mono_us) {
    pthread_once(&anchor_once, set_anchor);
    return mono_us + utc_minus_mono_us;
}

char *clock_format_iso(char out[CLOCK_ISO_LEN], int64_t utc_us) {
    int64_t ms = utc_us / 1000 - (utc_us % 1000 < 0); /* rounds down, also before 1970 */
    time_t seconds = ms / 1000 - (ms % 1000 < 0);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        abort();
    size_t len = strftime(out, CLOCK_ISO_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, CLOCK_ISO_LEN - len, ".%03dZ", (int)(ms - (int64_t)seconds * 1000));
    return out;
}
