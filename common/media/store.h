/* The live store: streams, and for each the segments, parts and chunks that are still served. Fed with records, in the order
 * of the feed; read by whoever serves viewers. Every thread that needs one has its own (the hub's is the authority, the
 * workers' are replicas); all of them hold the same blobs.
 *
 * A part is published once its record is here and every chunk that the record counts; only published parts are seen by the
 * functions below. A segment is listed while it is in the window, then kept unlisted for as long as RFC 8216bis §6.2.2 wants
 * it downloadable, then freed. `version` of a stream grows with each change that a playlist shows.
 *
 * Not every node has all tracks. Parts are published when all tracks that are here (RECORD_TRACK) have their chunks; what there is
 * of a set of tracks, one of which may be absent or behind, is asked for with their mask.
 *
 * Numbers of listed segments are consecutive. When another open record goes on further than that, there is media that this node
 * never had, and all that was before leaves the window at once: it may then be without a published part for a while.
 *
 * One thread. Time is passed in (monotonic microseconds). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/media/record.h"

enum {
    SEGMENT_PARTS_MAX = 1024,
    SEGMENT_CHUNKS_MAX = 16384, /* of one track */
};

struct part {
    struct record *record;
    uint32_t first_chunk[TRACKS_MAX]; /* index into the segment's chunks of that track */
};

struct chunk_list {
    struct record **items;
    uint32_t count, cap;
};

struct segment {
    uint64_t msn;
    struct record *open; /* the tracks that it consists of */
    bool complete, discontinuity;
    bool previous; /* of an ended broadcast under the same name: only kept for those still loading it */
    uint32_t discontinuity_sequence;
    int64_t wall_us;    /* PROGRAM-DATE-TIME */
    int64_t start_us;   /* media time */
    int64_t removed_us; /* when it left the window (monotonic); 0 while listed */
    size_t bytes;
    uint32_t part_count, part_cap; /* published and not yet published */
    uint32_t published;
    struct part *parts;
    struct chunk_list chunks[TRACKS_MAX];
    uint32_t carried;           /* mask of tracks of which chunks are here, or come; of the others there may be some, too */
    uint32_t whole[TRACKS_MAX]; /* parts, from the first on, whose chunks of that track are all here */
    uint64_t duration_ts[TRACKS_MAX]; /* of published parts */
};

struct stream {
    char name[STREAM_NAME_LEN];
    uint64_t epoch;
    enum stream_state state;
    struct record *open;
    struct record *path; /* the latest RECORD_PATH, or NULL: it comes from here */
    uint32_t here, joining; /* masks of the open record's tracks */
    uint32_t asked;         /* likewise: those that were asked for since who looks after that set it to 0 */
    struct segment **segments; /* oldest first */
    uint32_t segment_count, segment_cap;
    uint32_t first_listed; /* index of the first segment of the window; segment_count when that is empty */
    uint64_t next_part;    /* number that the next published part will have */
    uint64_t version;
    size_t bytes;
    int64_t created_us, changed_us; /* monotonic */
    uint32_t init_versions;         /* highest seen */
    struct list waiters;
    struct list dirty_link; /* in the store's list of streams to wake */
    struct list readers, due; /* `due`: those that the round of wake-ups under way has still to come to */
    struct list fresh_link;   /* in the store's list of streams whose readers are to be woken */
    bool fresh;               /* something came since that round began */
    void *cache;            /* the renderer's; freed by store_settings.cache_free */
};

struct store_settings {
    int64_t window_us;    /* listed media: at least so much stays */
    size_t bytes_max;     /* of all streams' chunks; 0: no limit, as for a replica, which holds what its hub holds */
    size_t stream_bytes_max; /* of one stream's; likewise */
    uint32_t streams_max; /* likewise */
    void (*cache_free)(void *cache); /* may be NULL */
};

struct store;

struct store *store_create(const struct store_settings *settings);
/* Waiters must be gone. NULL is allowed. */
void store_destroy(struct store *store);

/* Applies a record (takes its own reference). 0, or
 *   -ESTALE  an epoch lower than the stream's,
 *   -ENOENT  the stream has no open record yet,
 *   -EINVAL  it does not follow from what is there (numbers, tracks),
 *   -ENOSPC  a limit of this stream (bytes, parts or chunks of a segment), or on the number of streams,
 *   -ENOMEM  the limit on the bytes of all streams together. */
int store_apply(struct store *store, struct record *record, int64_t now_us);
/* Frees what need not be served any more, ended streams included. Call it about once a second. */
void store_expire(struct store *store, int64_t now_us);

struct stream *store_find(const struct store *store, const char *name);
/* Its waiters are released and its readers told first (as when it ends). */
void store_remove(struct store *store, struct stream *stream);
/* As if nothing had been applied to it yet; its waiters go on waiting. For what comes next: its open record, or store_remove. */
void store_clear(struct store *store, struct stream *stream);
void store_each(struct store *store, void (*fn)(void *ctx, struct stream *stream), void *ctx);
size_t store_bytes(const struct store *store);
uint32_t store_count(const struct store *store);
const struct store_settings *store_limits(const struct store *store);

/* --- reading a stream ---
 * `mask`: tracks of the stream's open record, all of which are wanted; 0: those that are here, whichever they are. */
/* The newest listed segment that has a published part, or NULL: then there is nothing to play yet. */
struct segment *stream_last_segment(const struct stream *stream, uint32_t mask);
struct segment *stream_segment(const struct stream *stream, uint64_t msn); /* NULL: unknown, or freed */
/* A published part by its number, and its segment. */
struct part *stream_part(const struct stream *stream, uint64_t number, struct segment **ret_segment);
/* Whether that part, or one of a later segment, is published. */
bool stream_has_part(const struct stream *stream, uint32_t mask, uint64_t msn, uint32_t index);
/* The number that comes after the newest part; 0: there is none yet. */
uint64_t stream_next_part(const struct stream *stream, uint32_t mask);
/* Of one segment, with a mask over its own open record: parts that are published, from the first on; whether it is complete with all
 * of them. */
uint32_t segment_parts(const struct segment *segment, uint32_t mask);
bool segment_whole(const struct segment *segment, uint32_t mask);
/* Calls `fn` with every record that makes the same stream of an empty one, in an order in which they can be applied. Those
 * of earlier broadcasts that are still kept come first, each followed by its end. The path is that of the stream's epoch now.
 * `fn` takes its own references. */
void stream_replay(const struct stream *stream, void (*fn)(void *ctx, struct record *record), void *ctx);

/* --- variants: sets of tracks, as bit masks over the open record's tracks --- */
enum { VARIANT_NOWHERE = 1 << TRACKS_MAX }; /* a mask of which no segment has anything */
/* "v0a0" → mask; 0 when it names no tracks of the stream, or subtitles together with others: they are played by themselves. */
uint32_t variant_parse(const struct record_open *open, const char *name, size_t len);
/* The tracks of `open`, a segment's, that a variant plays which is a mask of `now`, the stream's: those of the same names, or
 * the first when an earlier publisher had none of them (of subtitles VARIANT_NOWHERE); none if it plays none. What playlists list and what is answered come from here. */
uint32_t variant_within(const struct record_open *open, const struct record_open *now, uint32_t mask);
/* The same by the variant's name in a URL. A variant that the stream had once may still be asked for. 0: none. */
uint32_t variant_find(const struct record_open *open, const struct record_open *now, const char *name);
char *variant_name(char out[4 * TRACKS_MAX + 1], const struct record_open *open, uint32_t mask);
/* The track whose durations the variant's playlist shows: its video, else its first audio. */
uint32_t variant_lead(const struct record_open *open, uint32_t mask);

/* --- waiting --- */
enum wait_for {
    WAIT_PLAYLIST, /* until part (msn, index) is published, or that of a later segment */
    WAIT_PART,     /* until the part with that number is published */
};
struct waiter {
    struct list link;
    enum wait_for what;
    uint32_t mask; /* of these tracks, as above */
    uint64_t number; /* msn or part number */
    uint32_t index;
    int64_t deadline_us;
    /* Ready, ended or too late (`timed_out`). The waiter is out of the list. */
    void (*fn)(struct waiter *waiter, struct stream *stream, bool timed_out);
};
/* Deadlines of one stream's waiters must not decrease. */
void stream_wait(struct stream *stream, struct waiter *waiter);
void waiter_cancel(struct waiter *waiter);
bool waiter_ready(const struct waiter *waiter, const struct stream *stream);
/* Runs ready waiters of changed streams, at most `max`, and as many readers; true when some are left for another turn.
 * Never called from store_apply, so that a batch of records wakes everybody once. */
bool store_wake(struct store *store, uint32_t max);
/* Runs those whose deadline has passed. */
void store_time_out(struct store *store, int64_t now_us);

/* --- reading along: for those that are to have each chunk as it comes (common/media/cursor.h) --- */
struct reader {
    struct list link;
    struct stream *stream; /* set by stream_read; NULL once the stream is gone */
    /* From store_wake: chunks have come, or a part is published, or there are other tracks, or another state; or the stream is gone. Once for all
     * that came since the last time. Rounds don't overlap and each begins with other readers than the one before, so
     * that nobody is always last. */
    void (*fn)(struct reader *reader);
};
void stream_read(struct stream *stream, struct reader *reader);
/* Also when the stream is gone, and within `fn`. */
void reader_cancel(struct reader *reader);
/* Whether anybody waits for the stream or reads along. */
bool stream_wanted(const struct stream *stream);
