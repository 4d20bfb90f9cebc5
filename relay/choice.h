/* Which upstream one stream is taken from: what each costs it beside its score, which have been asked, and when they may be asked again.
 * Pure but for the jitter; time is passed in (monotonic microseconds). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "relay/link.h"
#include "relay/upstream.h"

struct choice {
    struct upstreams *upstreams;
    uint32_t preference_ms[UPSTREAMS_MAX];
    struct attempt {
        int64_t not_before_us;
        uint32_t failures; /* in a row */
        bool asked, unknown;
        uint32_t generation; /* of the upstream that this is about */
    } attempts[UPSTREAMS_MAX];
};

void choice_init(struct choice *choice, struct upstreams *upstreams, const char *stream);

/* `us`, and up to half as long again. */
int64_t choice_jittered(int64_t us);

/* What is looked for. */
struct choice_wanted {
    const char *stream;
    bool found;         /* the stream is: upstreams may be asked again, and who is said to hold it doesn't count */
    bool race;          /* both links take it */
    bool any_link;      /* there is one: an upstream that is about to stop is no help */
    int64_t now_us;
    int in_use, beside; /* upstreams that have a link already: the one that stays, and the other; -1: none */
};
/* The best upstream that may be asked now; -1: none. */
int choice_best(struct choice *choice, const struct choice_wanted *wanted);
/* What an upstream costs, in ms, as a link beside the one that stays. */
double choice_cost_ms(const struct choice *choice, uint32_t upstream, const struct choice_wanted *wanted);
/* Whether to go over to that one. */
bool choice_better(const struct choice *choice, uint32_t candidate, uint32_t in_use, int64_t now_us);

void choice_asked(struct choice *choice, uint32_t upstream);
/* It has the stream. */
void choice_answered(struct choice *choice, uint32_t upstream);
/* It is put off. */
void choice_failed(struct choice *choice, uint32_t upstream, enum link_failure failure, int64_t now_us);
/* Whether it has failed since it answered. */
bool choice_has_failed(const struct choice *choice, uint32_t upstream);
/* Whether any has said that there is no such stream, as its last word. */
bool choice_any_unknown(const struct choice *choice);
