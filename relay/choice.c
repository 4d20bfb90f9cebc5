#include "relay/choice.h"

#include <stdlib.h>

enum {
    RETRY_MIN_US = 100000,
    RETRY_MAX_US = 2000000,
    LOOP_RETRY_US = 5000000,
    HOLDS_MS = 1000000000, /* more than any score */
    TWICE_MS = 4000,       /* cost of a second shield for a stream: more than of what isn't one */
};

void choice_init(struct choice *choice, struct upstreams *upstreams, const char *stream) {
    *choice = (struct choice){.upstreams = upstreams};
    upstreams_prefer(upstreams, stream, choice->preference_ms);
}

int64_t choice_jittered(int64_t us) {
    return us + (int64_t)((double)us / 2 * ((double)rand() / RAND_MAX));
}

/* --- what an upstream costs --- */

static double own_ms(const struct choice *choice, uint32_t upstream, int64_t now_us) {
    return score_ms(&choice->upstreams->items[upstream].score, now_us) + choice->preference_ms[upstream];
}

/* What both are preferred less by doesn't count: origins compare as they do where there are no shields. */
bool choice_better(const struct choice *choice, uint32_t candidate, uint32_t in_use, int64_t now_us) {
    const uint32_t *ms = choice->preference_ms;
    uint32_t shared_ms = ms[candidate] < ms[in_use] ? ms[candidate] : ms[in_use];
    return score_better(own_ms(choice, candidate, now_us) - shared_ms, own_ms(choice, in_use, now_us) - shared_ms);
}

/* A second shield would have to begin with the stream before it could help, so it costs more than what has it, unless
 * it is to take the place of the first. */
double choice_cost_ms(const struct choice *choice, uint32_t upstream, const struct choice_wanted *wanted) {
    const struct upstream *items = choice->upstreams->items;
    bool twice = wanted->in_use >= 0 && items[wanted->in_use].shield && items[upstream].shield && !wanted->race &&
                 !choice_better(choice, upstream, (uint32_t)wanted->in_use, wanted->now_us);
    return own_ms(choice, upstream, wanted->now_us) + (twice ? TWICE_MS : 0);
}

/* --- which one --- */

static bool askable(struct choice *choice, uint32_t upstream, const struct choice_wanted *wanted) {
    const struct upstream *to = &choice->upstreams->items[upstream];
    struct attempt *attempt = &choice->attempts[upstream];
    if (attempt->generation != to->generation)
        *attempt = (struct attempt){.generation = to->generation};
    bool drains = to->drains_until_us > wanted->now_us && wanted->any_link;
    bool taken = (int)upstream == wanted->in_use || (int)upstream == wanted->beside;
    return !to->gone && !drains && !taken && attempt->not_before_us <= wanted->now_us &&
           (wanted->found || !attempt->asked);
}

/* A search begins with those that are known to hold the stream; but a shield takes it for all that ask there. */
static bool promising(const struct choice *choice, uint32_t upstream, const struct choice_wanted *wanted) {
    return !wanted->found && !upstreams_have_shields(choice->upstreams) &&
           upstreams_hold(choice->upstreams, upstream, wanted->stream);
}

int choice_best(struct choice *choice, const struct choice_wanted *wanted) {
    double best_ms = 0;
    int best = -1;
    for (uint32_t i = 0; i < choice->upstreams->count; i++) {
        if (!askable(choice, i, wanted))
            continue;
        double ms = choice_cost_ms(choice, i, wanted) - (promising(choice, i, wanted) ? HOLDS_MS : 0);
        if (best < 0 || ms < best_ms) {
            best = (int)i;
            best_ms = ms;
        }
    }
    return best;
}

/* --- what became of it --- */

void choice_asked(struct choice *choice, uint32_t upstream) {
    choice->attempts[upstream].asked = true;
}

void choice_answered(struct choice *choice, uint32_t upstream) {
    choice->attempts[upstream].failures = 0;
    choice->attempts[upstream].unknown = false;
}

static int64_t retry_us(uint32_t failures, enum link_failure failure) {
    int64_t us = RETRY_MIN_US << (failures < 5 ? failures : 5);
    return failure == LINK_LOOP ? LOOP_RETRY_US : us < RETRY_MAX_US ? us : RETRY_MAX_US;
}

/* What has left its window isn't all that it has: it is asked again at once, for something else. */
void choice_failed(struct choice *choice, uint32_t upstream, enum link_failure failure, int64_t now_us) {
    struct attempt *attempt = &choice->attempts[upstream];
    int64_t us = choice_jittered(retry_us(attempt->failures, failure));
    attempt->failures++;
    attempt->unknown = failure == LINK_UNKNOWN;
    attempt->not_before_us = failure == LINK_GONE ? 0 : now_us + us;
}

bool choice_has_failed(const struct choice *choice, uint32_t upstream) {
    return choice->attempts[upstream].failures;
}

bool choice_any_unknown(const struct choice *choice) {
    for (uint32_t i = 0; i < choice->upstreams->count; i++)
        if (choice->attempts[i].unknown)
            return true;
    return false;
}
