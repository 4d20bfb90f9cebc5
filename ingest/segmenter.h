/* Where parts and segments end: decided frame by frame on the leading track (video; audio when there is no video). Pure.
 *
 * Parts are a whole number of frames, at most `part_us` of them. Where frames don't keep to a rate, how long one lasts is only
 * known when the next one comes: there a part is the frames that begin within `part_us`, and lasts that long, so that parts
 * are neither short nor do their durations fall behind media time. A segment ends at an independent frame when waiting for the
 * next one would overrun the target, and at the target itself when none has come (encoders with 8 s GOPs); such a segment
 * starts without an independent frame, and ends at the next one, however soon. What is decided here and why: docs/hls.md. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct segmenter_plan {
    uint32_t part_us;        /* parts of the leading track: so much at most */
    uint32_t part_target_us; /* PART-TARGET: the longest part that any track can produce */
};

/* Chooses parts near `wish_us` for frames of `frame_us` and, if there is audio beside video, `audio_frame_us` (else 0), so
 * that no part needs to be shorter than 0.85 of the longest (RFC 8216bis §4.4.4.9). */
struct segmenter_plan segmenter_plan(uint32_t wish_us, uint32_t frame_us, uint32_t audio_frame_us);
/* The plan for a stream that goes on with a PART-TARGET that it already has. */
struct segmenter_plan segmenter_plan_within(uint32_t part_target_us, uint32_t frame_us);

enum {
    SEGMENTER_END_PART = 1,    /* close the part */
    SEGMENTER_END_SEGMENT = 2, /* and the segment with it */
};

struct segmenter {
    uint32_t part_us, target_us;
    bool every_independent;           /* audio: cuts anywhere, so at part boundaries */
    bool in_segment, in_part;
    bool began_independent;           /* the segment */
    int64_t segment_us, part_start_us; /* media time: where they start: at the end of what was before, if that is near */
    int64_t end_us;                   /* of the last frame; 0: nothing before, or a discontinuity */
    int64_t independent_us;           /* last independent frame; 0 none */
    int64_t interval_us;              /* between the last two; 0 unknown */
    bool exact;                       /* the last frame's duration is its own, not the least that it can be */
};

void segmenter_init(struct segmenter *segmenter, const struct segmenter_plan *plan, uint32_t target_ms, bool every_independent);
/* What must end before this frame is added; the part then lasts until the frame begins, as far as a part may. */
int segmenter_before(struct segmenter *segmenter, int64_t dts_us, uint32_t duration_us, bool independent);
/* For streams that have sound for a time without pictures: does a whole part, or more, lie between what was added and a frame at
 * `dts_us`? Then what must end for it; call it again until it says 0, then segmenter_before. */
int segmenter_hole(struct segmenter *segmenter, int64_t dts_us);
/* Adds it; what ends with it (SEGMENTER_END_PART or 0). `duration_us` is the frame's own if `exact`, else the least that it
 * can be. */
int segmenter_add(struct segmenter *segmenter, int64_t dts_us, uint32_t duration_us, bool independent, bool exact);
/* Ends the part (and segment): after segmenter_before or _add said so, or by the caller's own decision. */
void segmenter_end(struct segmenter *segmenter, int what);
/* What comes next doesn't continue what was before. */
void segmenter_break(struct segmenter *segmenter);
