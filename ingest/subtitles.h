/* The subtitles of the streams that are published on this node: which languages each has, and the cues that are still to be shown. They outlive
 * a publisher, so that one who comes back has them from the start. The API adds (subtitles_http.h); a packager takes what shows in a part,
 * when it closes that. One loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/record.h"

struct buf;
struct cue;

enum {
    SUBTITLE_TRACKS_MAX = 4,     /* languages of a stream */
    SUBTITLE_WAITING_MAX = 64,   /* cues of a language that haven't been shown yet */
    SUBTITLE_AT_A_TIME_MAX = 16, /* cues of a language that show at the same time */
    SUBTITLE_AHEAD_S = 60,       /* so early a cue may come */
    SUBTITLE_STREAMS_MAX = 1024,
};

struct subtitles;     /* of a node */
struct subtitled;     /* of a stream */

/* `entries`: "app/pattern LANGUAGE NAME", languages that streams have from the start; they must outlive it. */
struct subtitles *subtitles_create(char *const *entries, uint32_t count);
/* Nobody may hold any more. NULL is allowed. */
void subtitles_destroy(struct subtitles *subtitles);

/* Those of a stream that is about to begin; NULL: it has none. Held until subtitled_release. */
struct subtitled *subtitles_hold(struct subtitles *subtitles, const char *stream);
void subtitled_release(struct subtitled *subtitled);

enum subtitle_verdict {
    SUBTITLE_TAKEN,
    SUBTITLE_NEW,       /* likewise, and its language is new to the stream */
    SUBTITLE_LATE,      /* its time is over: the picture has gone on its way */
    SUBTITLE_EARLY,
    SUBTITLE_CROWDED,   /* as many wait as may, or show at that time */
    SUBTITLE_LANGUAGES, /* as many languages as may be */
};
/* `now_us`: UTC. */
enum subtitle_verdict subtitles_add(struct subtitles *subtitles, const char *stream, const struct cue *cue, int64_t now_us);

/* --- for a packager --- */
uint32_t subtitled_count(const struct subtitled *subtitled);
/* Name, language and label are filled in. */
void subtitled_describe(const struct subtitled *subtitled, uint32_t language, struct track_info *info);
/* The cues of a language that show between two times, media time, as WebVTT blocks whose times count from `anchor_us`; "\n" when there are
 * none. `drift_us`: UTC of the publisher's clock less media time. Those that end before `to_us` are forgotten. */
void subtitled_print(struct subtitled *subtitled, uint32_t language, int64_t from_us, int64_t to_us, int64_t anchor_us, int64_t drift_us,
                     struct buf *out);
