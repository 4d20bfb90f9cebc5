/* How good an upstream is, in milliseconds that it makes a stream late: half its round trip, what it was behind others of late, what
 * it costs by configuration, and a penalty for each failure that fades. Less is better. Pure: time is passed in (microseconds). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct score {
    double cost_ms;
    double rtt_ms;   /* smoothed; below 0: not measured yet */
    double delay_ms; /* of closed parts behind the first to tell of them; smoothed */
    double failures; /* fading */
    int64_t failures_us; /* as of when */
};

void score_init(struct score *score, uint32_t cost_ms);
void score_rtt(struct score *score, int64_t rtt_us);
void score_delay(struct score *score, int64_t delay_us);
void score_failure(struct score *score, int64_t now_us);
double score_ms(const struct score *score, int64_t now_us);
/* Whether a path of that score is so much better than one in use that it is worth going over to: by a fifth, and 10 ms. */
bool score_better(double candidate_ms, double in_use_ms);
