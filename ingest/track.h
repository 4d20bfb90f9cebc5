/* What a publisher's tracks are: what was announced of each, what is known of it by now, and which of them a stream is to consist of. No
 * times and no clock: those are the packager's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/codec.h"
#include "ingest/lane.h"
#include "ingest/packager.h"
#include "ingest/probe.h"
#include "ingest/publisher.h"

enum {
    TRACK_CONFIG_MAX = MUX_CONFIG_MAX, /* x265 writes its command line into hvcC, 2.3 KB; the init is made without */
    TRACK_NOWHERE = TRACKS_MAX,
};

struct sound_run;

/* One whose configuration was seen. */
struct track {
    struct codec_info codec;
    uint8_t number;
    char language[LANGUAGE_LEN];
    uint32_t index;  /* in the packager; TRACK_NOWHERE: it is no part of the stream (yet) */
    uint32_t missed; /* times in a row that a stream was opened without it because nothing came of it */
    bool reorders, silent, ended;
    bool unusable;       /* it can't be muxed: left out until its configuration is another */
    uint32_t bad_frames; /* in a row */
    bool joined; /* another push's (join.h): it never leads, and nothing waits for it */
    uint32_t rate_milli; /* video: as was found out last */
    bool changed;        /* what comes is not of the configuration that the stream was opened with */
    struct sound_run *sound; /* what is made of it in the stream; NULL: it goes on as it is */
    struct lane spare;   /* its latest frames while it is no part of the stream */
    uint32_t config_len;
    uint8_t *config; /* as it came; owned */
};

struct tracks {
    struct track *items[TRACKS_MAX];
    uint32_t count;
    const char *stream, *peer; /* for logs */
    uint64_t refused[2];       /* by kind: numbers about which a line was logged */
};

void tracks_init(struct tracks *tracks, const char *stream, const char *peer);
void tracks_finish(struct tracks *tracks);

/* NULL: there is none; there are as many as may be. */
struct track *tracks_find(const struct tracks *tracks, enum track_kind kind, uint8_t number);
struct track *tracks_add(struct tracks *tracks, enum track_kind kind, uint8_t number);
void tracks_remove_ended(struct tracks *tracks);
/* It is left out, which is said once. */
void tracks_refuse(struct tracks *tracks, enum track_kind kind, uint8_t number, const char *why);
bool tracks_refused(const struct tracks *tracks, enum track_kind kind, uint8_t number);

/* Of the publisher's own. */
bool tracks_have_video(const struct tracks *tracks);
/* The one that leads when a stream is opened with what there is: the largest picture; then sound. NULL: there is none yet. */
struct track *tracks_leading(const struct tracks *tracks);
/* Whether the probe has something to begin with of each picture. */
bool tracks_in_hand(const struct tracks *tracks, const struct probe *probe);
/* Those that the probe is to wait for. */
void tracks_tell(const struct tracks *tracks, struct probe_known *known);
/* Those that a stream is to consist of, in order, by what the probe has, and those that have joined; all are taken out of the one before. Returns
 * how many. */
uint32_t tracks_choose(struct tracks *tracks, const struct probe *probe, struct track *chosen[TRACKS_MAX]);
/* None is part of a stream any more. */
void tracks_take_out(struct tracks *tracks);

bool track_is_configured(const struct track *track, const struct publisher_config *config);
void track_configure(struct track *track, const struct publisher_config *config, const struct codec_info *codec);
/* So often looked for in vain that it isn't any more. */
bool track_is_given_up(const struct track *track);
/* Whether the frame is what it says; its offset is repaired, and `independent` set by what is in it. */
bool track_check(const struct track *track, struct publisher_frame *frame);
/* What Opus does with each frame only frames tell. */
void track_learn(struct track *track, const struct publisher_frame *frame);
/* What the probe found out. */
void track_find_out(struct track *track, const struct probe *probe);
/* `known`: what was found out before counts, not what the probe has. */
struct packager_source track_source(struct track *track, const struct probe *probe, bool known);
/* As the packager takes it; it refers to the frame's bytes. */
struct lane_frame track_lane_frame(const struct track *track, const struct publisher_frame *frame, int64_t now_us);
/* Where in the lane of such a track decoding can begin at `from_us` of the publisher's clock, or after; its length: nowhere (yet). */
uint32_t track_begin(const struct track *track, int64_t from_us);
/* Of one that is no part of the stream: the latest that it could begin with is kept. False: this one wasn't. */
bool track_spare(struct track *track, const struct publisher_frame *frame, int64_t now_us);
/* What waits in the packager's lane is kept. */
void track_keep(struct track *track, const struct lane *lane);
/* What is in the lane goes to the probe. */
void track_carry(const struct track *track, const struct lane *lane, struct probe *probe);
