/* Whether decoding can begin with an H.264 access unit: with an IDR picture, or, in open GOPs, with an intra picture that a
 * recovery point SEI names as exact from there on (ITU-T H.264 §D.2.8, recovery_frame_cnt 0). Encoders of broadcasters send
 * IDR pictures seldom, or only once. What is shown before such a picture and decoded after it can't be decoded by who begins
 * there; decoders leave it out. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h264_entry { /* zeroed for each access unit */
    bool idr, recovers, sliced, intra;
    bool second_field; /* it may well refer to the first */
};

/* The next NAL unit, its header included. */
void h264_entry_add(struct h264_entry *entry, const uint8_t *nal, size_t len);

static inline bool h264_entry_here(const struct h264_entry *entry) {
    return entry->idr || (entry->recovers && entry->intra);
}
