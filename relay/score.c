#include "relay/score.h"

#include <math.h>

enum { RTT_UNKNOWN_MS = 20, FAILURE_MS = 500, FAILURES_MAX = 20, HALF_LIFE_US = 10000000, BETTER_MS = 10 };

void score_init(struct score *score, uint32_t cost_ms) {
    *score = (struct score){.cost_ms = cost_ms, .rtt_ms = -1};
}

static double smooth(double before, double now) {
    return before + (now - before) / 8;
}

void score_rtt(struct score *score, int64_t rtt_us) {
    double ms = (double)rtt_us / 1000;
    score->rtt_ms = score->rtt_ms < 0 ? ms : smooth(score->rtt_ms, ms);
}

void score_delay(struct score *score, int64_t delay_us) {
    score->delay_ms = smooth(score->delay_ms, (double)delay_us / 1000);
}

static double failures(const struct score *score, int64_t now_us) {
    return score->failures * exp2(-(double)(now_us - score->failures_us) / HALF_LIFE_US);
}

void score_failure(struct score *score, int64_t now_us) {
    double before = failures(score, now_us);
    score->failures = before < FAILURES_MAX ? before + 1 : before;
    score->failures_us = now_us;
}

double score_ms(const struct score *score, int64_t now_us) {
    double rtt_ms = score->rtt_ms < 0 ? RTT_UNKNOWN_MS : score->rtt_ms;
    return score->cost_ms + rtt_ms / 2 + score->delay_ms + FAILURE_MS * failures(score, now_us);
}

bool score_better(double candidate_ms, double in_use_ms) {
    return candidate_ms < in_use_ms * 0.8 && candidate_ms + BETTER_MS < in_use_ms;
}
