/* Wall-clock time that never jumps: UTC read once at start, then advanced by the monotonic clock. Any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_us(void);                    /* CLOCK_MONOTONIC, microseconds */
int64_t clock_utc_us(void);                     /* microseconds since 1970-01-01 UTC, anchored at first use */
int64_t clock_utc_from_mono_us(int64_t mono_us);
/* "2026-11-24T15:04:05.678Z" into `out` (at least 25 bytes); returns `out`. */
#define CLOCK_ISO_LEN 32
char *clock_format_iso(char out[CLOCK_ISO_LEN], int64_t utc_us);
