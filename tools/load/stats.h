/* What a load run counts: distributions of times, the player's buffer, and what the server's process cost. Pure but for
 * cpu_of_process. Times are microseconds. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A distribution of times in 32 steps an octave: no value is off by more than 3 %. Start from {0}. */
enum { HISTOGRAM_STEPS = 32, HISTOGRAM_OCTAVES = 36 };
struct histogram {
    uint64_t counts[HISTOGRAM_STEPS * HISTOGRAM_OCTAVES];
    uint64_t total;
    int64_t max_us;
};
/* Negative values count as 0: clocks of two machines. */
void histogram_add(struct histogram *histogram, int64_t us);
/* The value that `share` (0 to 1) of all don't exceed; 0 when there are none. */
int64_t histogram_quantile(const struct histogram *histogram, double share);

/* A player's buffer: plays at 1x from when it is started, stalls when it runs dry, goes on with the next media. Start
 * from {0}. Positions are media time of any origin. */
enum { PLAYOUT_STALL_MIN_US = 20000 }; /* shorter ones nobody sees; they do shift the rest */
struct playout {
    bool playing;
    int64_t started_us; /* wall time at which `position_us` would have been played without pauses */
    int64_t position_us, end_us;
    uint32_t stalls;
    int64_t stalled_us;
};
void playout_start(struct playout *playout, int64_t now_us, int64_t position_us);
/* Media up to `end_us` is there now. */
void playout_extend(struct playout *playout, int64_t now_us, int64_t end_us);
/* The viewer's position jumps forward, over what isn't to come any more. */
void playout_jump(struct playout *playout, int64_t by_us);
/* Stalls are counted from now on. */
void playout_forget(struct playout *playout);
/* Counts a stall that lasts still. */
void playout_end(struct playout *playout, int64_t now_us);

/* User and system time of all threads of a process of this machine so far, in ns; -1 when it can't be read. */
int64_t cpu_of_process(int pid);
