/* Subtitles on their way from ingest to viewers. A text track has a chunk a part, which is one CMAF sample: the WebVTT blocks of the cues that
 * show in the part, each ended by an empty line, as a string; "\n" when there are none. Their times count from the anchor of the segment
 * that they are in. A viewer is given whole WebVTT files, a part's or a segment's, made of such chunks: draft-pantos-hls-rfc8216bis §3.1.4.
 * Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/base/blob.h"

struct buf;

enum {
    VTT_PAST_S = 60,           /* a cue may have begun so long before its segment */
    VTT_FILE_MAX = 256 << 10,  /* bytes */
};

/* Where times of cues in a segment count from, by when its first part starts (media time). */
int64_t vtt_anchor_us(int64_t segment_start_us);

/* `text` must not be empty. The slice is framed, with one reference (struct record_chunk.body). */
struct slice vtt_chunk_create(uint32_t track_id, int64_t tfdt_ts, uint32_t duration_ts, const void *text, size_t len);
/* An init segment for the record: it names the format, and nobody plays it. One reference. */
struct blob *vtt_init_create(void);

/* The file's head; MPEGTS is the anchor on the clock of tfdt, in 33 bits. */
void vtt_file_begin(struct buf *out, int64_t anchor_us);
/* The cues of a chunk that are not in the file yet. What is no chunk, whoever sent it, adds nothing. */
void vtt_file_add(struct buf *out, const uint8_t *chunk, size_t len);
