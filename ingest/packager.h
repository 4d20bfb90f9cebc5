/* From a publisher's frames to records: a stream's tracks on one clock (timeline.h), cut into parts and segments (segmenter.h), each in chunks
 * of its own (lane.h).
 *
 * The first track leads: it alone decides where parts and segments end. Sound follows by decoding time, in chunks of about 90 ms. Other
 * pictures follow one chunk a frame, and by the time at which they are shown, for each encoder reorders as it likes. A following
 * picture belongs to the part of the leading one that it is shown with; what comes ahead of that waits for it in its lane.
 *
 * A part ends with its last leading picture, once the following ones beside it are there; they are waited for until the next leading picture
 * comes, and where a segment ends for 50 ms longer, or 250 ms where they come by connections of their own. What comes later goes into the next part. Who is later than that is not waited for.
 *
 * Rungs are transcoded from the leading picture, frame by frame (ladder.h), and cut as that is: a part counts as many chunks of them as it has
 * leading pictures, and they come when they are encoded, after the part as a rule (record_open.late). A rung of a lower rate has each second
 * picture, or fewer, counted from the last independent one and from where a part begins: it has one wherever there may be a cut.
 *
 * Subtitles are cut as the leading track is: where a part ends, each language has one chunk, of the cues that show in it (subtitles.h).
 *
 * One loop. Nothing is called back but what packager_port has, from within the calls and from a timer; after `refuse` calls do no harm. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/writer.h"
#include "ingest/codec.h"
#include "ingest/lane.h"
#include "ingest/rungs.h"
#include "ingest/segmenter.h"
#include "ingest/timeline.h"

struct ingest_settings;
struct loop;
struct subtitled;

/* Where a leading picture was put. */
struct packager_place {
    uint64_t epoch, msn;
    uint32_t rungs;              /* mask of those that have a picture of their own in its place */
    uint32_t numbers[RUNGS_MAX]; /* of these pictures of that segment, from 0 */
};

struct packager_port {
    void *ctx;
    void (*write)(void *ctx, struct record *record); /* takes over the reference */
    void (*refuse)(void *ctx, uint32_t index, const char *why); /* a track, in the order of packager_open, can't go on; again and again */
    void (*led)(void *ctx, const struct lane_frame *frame, const struct packager_place *place); /* a leading picture, where there are rungs */
};

struct packager_counters {
    uint64_t dropped;         /* frames that could not be placed */
    uint64_t discontinuities;
    uint64_t misaligned;      /* segments' beginnings at which a following video track had no independent frame */
};

struct packager_track {
    struct lane lane;
    enum track_kind kind;
    uint32_t frame_us; /* how long a frame is */
    /* video */
    int64_t lead_us;    /* presentation after decoding, of the last independent frame: times of tracks are compared with it */
    int64_t reached_us; /* following: where its last frame ends, in the leading track's decoding time */
    uint32_t judged;    /* following: the cut at which alignment was last looked at */
    bool misaligned;
    bool joined;        /* following: on a clock that may be another's by half a frame, and a connection of its own */
    bool behind;        /* a rung that has been begun in the past, and makes up for it */
    bool awaits_independent; /* something was lost: what follows can't be decoded until then */
    /* rungs */
    uint32_t every;                   /* of the leading pictures it has each, each second … */
    uint32_t since;                   /* leading pictures since its last one */
    uint32_t pictures, part_pictures; /* of the segment and the part under way */
};

/* A beginning of a segment with an independent frame of the leading track. */
struct packager_cut {
    int64_t dts_us, pts_us;
    uint32_t number;
};

struct packager {
    const struct ingest_settings *settings;
    struct packager_port port;
    const char *stream;
    struct claim_grant grant; /* its epoch grows with each packager_open but the first */
    struct packager_counters counters;
    struct timeline timeline;
    struct segmenter segmenter;
    uint32_t track_count, video_count, rung_count; /* video comes first, then its rungs */
    uint32_t text_count; /* subtitles come last */
    struct subtitled *subtitles; /* NULL: none. Set before packager_open */
    int64_t anchor_us;           /* of cues in the segment under way (common/media/vtt.h) */
    struct packager_track tracks[TRACKS_MAX];
    uint32_t part_target_us, target_ms;
    uint32_t patience_us; /* so long following pictures are waited for where a segment ends */
    uint64_t msn, part_number;
    uint32_t part_index, init_version, discontinuity_sequence;
    uint32_t part_pictures; /* leading ones of the part under way */
    bool opened;        /* an open record was written */
    bool discontinuity; /* the next segment begins with one */
    bool segment_used;  /* the segment `msn` has a part or a chunk */
    int64_t lead_dts_us, lead_end_us; /* of the last leading frame; 0: none yet */
    struct packager_cut cut;
    bool end_due;     /* the part is over but for following pictures */
    struct lane held; /* leading pictures from where a segment ends, until it has */
    struct loop_timer *patience;
};

/* What a stream consists of. */
struct packager_source {
    const struct codec_info *codec;
    const uint8_t *config;
    size_t config_len;
    const char *language;
    bool reorders;
    bool joined;         /* it comes by a push of its own */
    uint32_t rate_milli; /* video: as probe.h has it */
    bool low;            /* sound: of a low rate */
    uint32_t peak_bps;   /* transcoded: what it has at most, boxes and all */
    uint32_t every;      /* transcoded: it has each, each second … of the leading pictures; 0: each */
    uint32_t rung;       /* transcoded: its number, which is its name's: v1, v2 …; 0: the publisher's own */
    bool on_demand;      /* transcoded: it isn't there until packager_rung_here says so */
};

void packager_init(struct packager *packager, struct loop *loop, const struct ingest_settings *settings, const char *stream,
                   const struct packager_port *port);
/* Before the first packager_open, and after packager_abandon. */
void packager_grant(struct packager *packager, const struct claim_grant *grant);
/* Whether a track of it can be opened: its configuration can be used. */
bool packager_takes(const struct packager_source *source);
/* Begins with these tracks, video first, the leading one at the front, then rungs, if it is the only one; what was under way must have been broken off. Its first frame, at
 * `dts_us` of the publisher's clock, arrived at `now_us` (UTC). 0, or -EINVAL: a configuration can't be used. */
int packager_open(struct packager *packager, const struct packager_source *sources, uint32_t count, int64_t dts_us, int64_t now_us);
/* `index`: of the track, in the order of packager_open. `frame->time` is set here. */
void packager_frame(struct packager *packager, uint32_t index, const struct lane_frame *frame);
/* A rung's picture, for the place and the times of the leading one that it is in the place of; in order. */
void packager_rung(struct packager *packager, uint32_t rung, const struct packager_place *place, const struct lane_frame *frame);
/* A rung that runs on demand: its pictures come, from the segment `msn` on, all of them; or none of them any more. */
void packager_rung_here(struct packager *packager, uint32_t rung, bool here, uint64_t msn);
/* How many pictures beside the leading one had their last key frame elsewhere. */
uint32_t packager_misaligned(const struct packager *packager);
/* Whether a record is a rung's: that it is refused harms nobody else. */
bool packager_is_rung(const struct packager *packager, const struct record *record);
/* Ends the segment under way; what comes next is a discontinuity. */
void packager_break(struct packager *packager);
/* What was under way is void, and isn't ended: another writes the stream from here on. */
void packager_abandon(struct packager *packager);
void packager_state(struct packager *packager, enum stream_state state);
void packager_finish(struct packager *packager);
