#include "ingest/segmenter.h"

#include <stddef.h>

enum {
    TOLERANCE_US = 2000, /* rounding of milliseconds at both ends of a part */
    PART_MIN_US = 50000,
    CUT_TOLERANCE = 50, /* fractions of the target: so little more than it is no overrun */
    OVERRUN = 5,        /* and so much is allowed for an independent frame that is due */
};

static uint32_t ceil_to(uint32_t us, uint32_t unit_us) {
    return (us + unit_us - 1) / unit_us * unit_us;
}

/* Parts of `frames` frames: what would the other track make of them? */
static struct segmenter_plan plan_of(uint32_t frames, uint32_t frame_us, uint32_t audio_frame_us) {
    struct segmenter_plan plan = {.part_us = frames * frame_us + TOLERANCE_US};
    uint32_t audio_us = audio_frame_us ? ceil_to(frames * frame_us, audio_frame_us) + 1 : 0;
    plan.part_target_us = audio_us > plan.part_us ? audio_us : plan.part_us;
    return plan;
}

struct segmenter_plan segmenter_plan(uint32_t wish_us, uint32_t frame_us, uint32_t audio_frame_us) {
    uint32_t middle = (wish_us + frame_us / 2) / frame_us;
    if (middle < 1)
        middle = 1;
    for (uint32_t distance = 0; distance < middle + 8; distance++) {
        for (int side = -1; side <= 1; side += 2) {
            if (side > 0 && !distance)
                continue;
            int64_t frames = (int64_t)middle + side * (int64_t)distance;
            if (frames < 1 || (frames > 1 && frames * frame_us < PART_MIN_US))
                continue;
            struct segmenter_plan plan = plan_of((uint32_t)frames, frame_us, audio_frame_us);
            if ((uint64_t)frames * frame_us * 100 >= (uint64_t)plan.part_target_us * 85)
                return plan;
        }
    }
    return plan_of(middle, frame_us, audio_frame_us);
}

struct segmenter_plan segmenter_plan_within(uint32_t part_target_us, uint32_t frame_us) {
    uint32_t frames = part_target_us / frame_us;
    struct segmenter_plan plan = {.part_target_us = part_target_us};
    plan.part_us = frames ? frames * frame_us + TOLERANCE_US : part_target_us;
    if (plan.part_us > part_target_us)
        plan.part_us = part_target_us;
    return plan;
}

void segmenter_init(struct segmenter *segmenter, const struct segmenter_plan *plan, uint32_t target_ms,
                    bool every_independent) {
    *segmenter = (struct segmenter){.part_us = plan->part_us,
                                    .target_us = target_ms * 1000,
                                    .every_independent = every_independent};
}

/* Ends at an independent frame: now, or will the next one be soon enough? */
static bool cut_here(const struct segmenter *s, int64_t dts_us) {
    if (s->every_independent)
        return !s->in_part && dts_us - s->segment_us + s->part_us > s->target_us + 2 * TOLERANCE_US;
    if (!s->began_independent)
        return true;
    int64_t interval_us = s->independent_us ? dts_us - s->independent_us : s->target_us;
    return dts_us - s->segment_us + interval_us > s->target_us + s->target_us / CUT_TOLERANCE;
}

/* Ends at the target although no independent frame has come, unless one is due so soon that EXTINF, which rounds to
 * whole seconds (RFC 8216bis §4.4.3.1), still keeps to the target. */
static bool cut_anyway(const struct segmenter *s, int64_t dts_us, uint32_t duration_us) {
    int64_t end_us = dts_us + duration_us - s->segment_us, limit_us = s->target_us + s->target_us / OVERRUN;
    if (end_us <= s->target_us + TOLERANCE_US)
        return false;
    int64_t due_us = s->interval_us ? s->independent_us + s->interval_us : 0;
    bool due = due_us > dts_us - TOLERANCE_US && due_us - s->segment_us <= limit_us;
    return !due || end_us > limit_us;
}

/* The part under way lasts until `until_us`, or for as long as a part may. */
static void reach(struct segmenter *s, int64_t until_us) {
    int64_t most_us = s->part_start_us + s->part_us;
    if (until_us > most_us)
        until_us = most_us;
    if (s->end_us < until_us)
        s->end_us = until_us;
}

/* A part, and a segment, unless one is under way. */
static void begin(struct segmenter *s, int64_t start_us, bool independent) {
    if (!s->in_segment) {
        s->in_segment = true;
        s->segment_us = start_us;
        s->began_independent = independent;
    }
    if (!s->in_part) {
        s->in_part = true;
        s->part_start_us = start_us;
    }
}

static bool full(const struct segmenter *s, int64_t end_us) {
    return end_us - s->part_start_us > s->part_us - (s->exact ? 0 : TOLERANCE_US);
}

int segmenter_before(struct segmenter *s, int64_t dts_us, uint32_t duration_us, bool independent) {
    if (!s->in_segment)
        return 0;
    int what = 0;
    if (independent ? cut_here(s, dts_us) : cut_anyway(s, dts_us, duration_us))
        what = SEGMENTER_END_SEGMENT | (s->in_part ? SEGMENTER_END_PART : 0);
    else if (s->in_part && full(s, s->exact ? dts_us + duration_us : dts_us))
        what = SEGMENTER_END_PART;
    if (what & SEGMENTER_END_PART)
        reach(s, dts_us);
    return what;
}

int segmenter_hole(struct segmenter *s, int64_t dts_us) {
    if (!s->end_us || dts_us - (s->in_part ? s->part_start_us + s->part_us : s->end_us) < s->part_us)
        return 0;
    if (!s->in_part) {
        if (s->in_segment && cut_anyway(s, s->end_us, s->part_us))
            return SEGMENTER_END_SEGMENT;
        begin(s, s->end_us, false);
    }
    reach(s, dts_us);
    return SEGMENTER_END_PART;
}

int segmenter_add(struct segmenter *s, int64_t dts_us, uint32_t duration_us, bool independent, bool exact) {
    /* A hole that the part has room for is counted in, so that durations add up to media time. */
    bool near = s->end_us && dts_us - s->end_us < s->part_us;
    int64_t start_us = near ? s->end_us : dts_us;
    begin(s, start_us, independent);
    if (independent) {
        if (s->independent_us)
            s->interval_us = dts_us - s->independent_us;
        s->independent_us = dts_us;
    }
    s->exact = exact;
    s->end_us = dts_us + duration_us;
    if (!full(s, s->end_us + (exact ? duration_us : 0)))
        return 0;
    if (!exact) /* it may last longer than is known; nothing else can begin within the part */
        s->end_us = s->part_start_us + s->part_us;
    return SEGMENTER_END_PART;
}

void segmenter_end(struct segmenter *s, int what) {
    if (what & (SEGMENTER_END_PART | SEGMENTER_END_SEGMENT))
        s->in_part = false;
    if (what & SEGMENTER_END_SEGMENT)
        s->in_segment = false;
}

void segmenter_break(struct segmenter *s) {
    segmenter_end(s, SEGMENTER_END_SEGMENT);
    s->end_us = s->independent_us = 0;
}
