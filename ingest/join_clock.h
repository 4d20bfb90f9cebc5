/* How the clock of a push that joins another's stream stands to that one's. One encoder that feeds several pushes stamps them alike, and then
 * nothing is to be done. Clocks that have nothing to do with each other are compared by when media arrives: what comes together is taken for
 * what was made together, so such pushes are together to within the difference of their ways here, and their drift is made good in
 * steps. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The least lateness of a push's media against its own clock over the last 10 to 20 s: queues on the way don't count. */
struct join_lateness {
    bool started;
    int64_t last_us; /* of its own clock */
    int64_t block_end_us, block_us, before_us;
};

/* `dts_us`: of the push's clock; `now_us`: when that arrived. */
void join_lateness_note(struct join_lateness *lateness, int64_t dts_us, int64_t now_us);

struct join_clock {
    struct join_lateness own;
    bool begun, shared; /* `shared`: both stamp alike */
    int64_t shift_us;   /* to be added for the leading push's clock */
    int64_t looked_us;  /* when drift was last looked at */
};

/* Once there is something of both. */
void join_clock_begin(struct join_clock *clock, const struct join_lateness *lead, int64_t now_us);
/* Now and then; moves the shift of clocks that aren't shared. True: by so much that it is another one. */
bool join_clock_follow(struct join_clock *clock, const struct join_lateness *lead, int64_t now_us);
