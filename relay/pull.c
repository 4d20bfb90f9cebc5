#include "relay/pull.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/base/pattern.h"
#include "common/media/feed_out.h"
#include "common/media/hub.h"
#include "relay/choice.h"
#include "relay/link.h"

enum {
    SIDES = 2,
    HEDGE_US = 300000, /* the first one asked has not answered: another is asked, too */
    TICK_US = 50000,
    SILENT_US = 3000000,       /* a timeline that says nothing for so long, not even a beat, is dead */
    BETTER_US = 10000000,      /* a better path must have been better for so long, and up to half as long again */
    HOME_US = 1000000,         /* the same at first, with shields: where a stream has begun is chance */
    FIRST_US = 10000000,       /* how long that is: its way home may have several steps */
    DRAIN_US = 5000000,        /* an upstream that stops is not gone back to for so long */
    UNREACHABLE_US = 60000000, /* with no upstream to be reached for so long, a stream is over */
    ABSENT_US = 1000000,       /* how long it is remembered that nobody has a stream */
    ABSENT_MAX = 4096,
    WARN_US = 10000000, /* between complaints about an upstream that has let nothing be found */
};

/* A part's place. */
struct place {
    uint64_t epoch, msn;
    uint32_t index;
};

/* One link of a stream, and what it has told. */
struct side {
    struct link *link;           /* NULL: there is none */
    uint32_t upstream;           /* index */
    bool up;                     /* it has told of tracks */
    bool delivered;              /* chunks, since it is in use */
    bool drains;                 /* its node is about to stop */
    uint32_t gave;               /* tracks, as bits in their order, of which chunks came since it is in use */
    struct record *state, *path; /* latest; references */
    struct place told;
};

struct pull {
    struct pulls *pulls;
    char stream[STREAM_NAME_LEN], hops[HUB_HOPS_LEN + NODE_NAME_LEN];
    struct assembler *assembler;
    struct side sides[SIDES];
    int active; /* side in use, or -1 */
    bool race;
    bool found; /* the hub has it */
    bool fresh; /* links begin with a way back, not at a place */
    bool begin_due;
    struct track_names tracks; /* that are asked for */
    bool tracks_due;           /* others than are taken */
    uint64_t begin_msn;        /* where tracks begin that have no place yet */
    int refused;               /* what the hub said of a record */
    struct place newest;       /* part that any side has told of */
    struct place before;       /* the one before */
    int64_t newest_us;         /* when first */
    int64_t used_us;           /* since when some link has been, or 0 */
    int64_t since_us;          /* of the search; later, since when no side is up, or 0 */
    int64_t waits_us;          /* since when a closed part is not whole, or 0 */
    int64_t better_us;         /* since when the other side is better, or 0 */
    int64_t spare_us;          /* since when there is a better one to stand by, or 0 */
    int64_t jitter_us;
    struct loop_timer *work, *late; /* `late`: when what waits has waited for too long */
    struct choice choice;
};

struct pulls {
    struct loop *loop;
    struct hub *hub;
    struct upstreams *upstreams;
    struct pulls_settings settings;
    struct map *streams; /* pulls by name */
    struct map *absent;  /* names that nobody has */
    struct loop_timer *tick;
};

static struct metric metrics[] = {
    {"weir_pull_streams", NULL, "Streams taken from upstream.", METRIC_GAUGE, 0},
    {"weir_pull_searches_total", "result=\"found\"", "Streams looked for upstream.", METRIC_COUNTER, 0},
    {"weir_pull_searches_total", "result=\"absent\"", "Streams looked for upstream.", METRIC_COUNTER, 0},
    {"weir_pull_searches_total", "result=\"cached\"", "Streams looked for upstream.", METRIC_COUNTER, 0},
    {"weir_pull_failovers_total", "reason=\"broken\"", "Changes of the upstream that a stream is taken from.",
     METRIC_COUNTER, 0},
    {"weir_pull_failovers_total", "reason=\"late\"", "Changes of the upstream that a stream is taken from.",
     METRIC_COUNTER, 0},
    {"weir_pull_failovers_total", "reason=\"better\"", "Changes of the upstream that a stream is taken from.",
     METRIC_COUNTER, 0},
    {"weir_pull_failovers_total", "reason=\"drain\"", "Changes of the upstream that a stream is taken from.",
     METRIC_COUNTER, 0},
    {"weir_pull_gaps_total", NULL, "Times that media was missing which no upstream had any more.", METRIC_COUNTER, 0},
    {"weir_pull_chunks_total", "known=\"no\"", "Chunks from upstream.", METRIC_COUNTER, 0},
    {"weir_pull_chunks_total", "known=\"yes\"", "Chunks from upstream.", METRIC_COUNTER, 0},
};
enum { M_STREAMS, M_FOUND, M_ABSENT, M_CACHED, M_BROKEN, M_LATE, M_BETTER, M_DRAIN, M_GAPS, M_NEW, M_KNOWN };

void pulls_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
    links_metrics_register();
}

static void decide(struct pull *pull);

static int64_t now(const struct pull *pull) {
    return loop_now_us(pull->pulls->loop);
}

static void work_soon(struct pull *pull) {
    loop_timer_set(pull->work, 0);
}

static struct upstream *upstream_of(const struct pull *pull, const struct side *side) {
    return &pull->pulls->upstreams->items[side->upstream];
}

static int compare(const struct place *a, const struct place *b) {
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->msn != b->msn)
        return a->msn < b->msn ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* --- what links tell --- */

static struct side *side_of(struct pull *pull, const struct link *link) {
    return &pull->sides[link == pull->sides[1].link];
}

static bool in_use(const struct pull *pull, const struct side *side) {
    return pull->active == side - pull->sides;
}

static void keep(struct record **place, struct record *record) {
    record_unref(*place);
    *place = record_ref(record);
}

static void note_result(struct pull *pull, int rc) {
    bool write_failed = rc == -ESTALE || rc == -ENOSPC || rc == -ENOMEM || rc == -EINVAL || rc == -ENOENT;
    if (write_failed)
        pull->refused = rc;
    work_soon(pull);
}

static int on_write(void *ctx, struct record *record) {
    struct pull *pull = ctx;
    if (record->type == RECORD_OPEN && !pull->found) {
        pull->found = true;
        metric_add(&metrics[M_FOUND], 1);
    }
    return hub_write(pull->pulls->hub, record);
}

static bool goes_round(const struct pull *pull, const struct record_path *path) {
    for (uint32_t i = 0; i < path->count; i++)
        if (!strcmp(path->nodes[i], pull->pulls->settings.node))
            return true;
    return path->count == PATH_NODES_MAX;
}

static void write_path(const struct pull *pull, const struct record *path) {
    const struct stream *stream = store_find(hub_store(pull->pulls->hub), pull->stream);
    if (!path || !stream)
        return;
    struct record *record = record_create(RECORD_PATH, pull->stream, stream->epoch);
    record->path = path->path;
    hub_write(pull->pulls->hub, record);
}

static int take_path(struct pull *pull, struct side *side, const struct feed_line *line) {
    if (goes_round(pull, &line->record->path))
        return -ELOOP;
    keep(&side->path, line->record);
    if (in_use(pull, side))
        write_path(pull, side->path);
    return 0;
}

/* After everything that comes, for a part is late by the time that it waits, not by how often it is looked at. */
static void note_waits(struct pull *pull) {
    if (!assembler_waits(pull->assembler)) {
        pull->waits_us = 0;
    } else if (!pull->waits_us) {
        pull->waits_us = now(pull);
        loop_timer_set(pull->late, pull->pulls->settings.late_us);
    }
}

static void note_part(struct pull *pull, struct side *side, const struct record *record) {
    const struct place place = {record->epoch, record->part.msn, record->part.index};
    int order = compare(&place, &pull->newest);
    side->told = place;
    if (order > 0) {
        pull->before = pull->newest;
        pull->newest = place;
        pull->newest_us = now(pull);
    }
    if (order >= 0)
        score_delay(&upstream_of(pull, side)->score, now(pull) - pull->newest_us);
}

static int take_event(struct pull *pull, struct side *side, const struct feed_line *line) {
    int rc = assembler_line(pull->assembler, line);
    note_waits(pull);
    if (line->kind == FEED_LINE_OPEN && rc == ASSEMBLER_TAKEN)
        pull->begin_due = true;
    if (line->kind == FEED_LINE_SEGMENT && rc == ASSEMBLER_TAKEN && pull->begin_due) {
        pull->begin_due = pull->fresh = false;
        pull->begin_msn = line->msn;
    }
    if (line->kind == FEED_LINE_PART)
        note_part(pull, side, line->record);
    if (rc < 0 || line->kind != FEED_LINE_PART)
        note_result(pull, rc);
    return rc < 0 ? rc : 0;
}

static int take_drain(struct pull *pull, struct side *side) {
    side->drains = true;
    upstream_of(pull, side)->drains_until_us = now(pull) + DRAIN_US;
    work_soon(pull);
    return 0;
}

static int on_line(void *ctx, struct link *link, const struct feed_line *line) {
    struct pull *pull = ctx;
    struct side *side = side_of(pull, link);
    switch (line->kind) {
    case FEED_LINE_HELLO:
        return 0;
    case FEED_LINE_DRAIN:
        return take_drain(pull, side);
    case FEED_LINE_PATH:
        return take_path(pull, side, line);
    case FEED_LINE_STATE:
        keep(&side->state, line->record);
        return in_use(pull, side) ? take_event(pull, side, line) : 0;
    case FEED_LINE_OPEN:
        side->up = true;
        choice_answered(&pull->choice, side->upstream);
        return take_event(pull, side, line);
    default:
        return take_event(pull, side, line);
    }
}

static void note_given(struct pull *pull, struct side *side, const char *track) {
    const struct record_open *open = assembler_tracks(pull->assembler);
    for (uint32_t i = 0; open && i < open->track_count; i++)
        if (!(side->gave & 1u << i) && !strcmp(open->tracks[i].name, track)) {
            side->gave |= 1u << i;
            work_soon(pull);
        }
}

/* Whether what was in use before isn't needed any more, not even for one of the tracks. */
static bool gives_all(const struct pull *pull, const struct side *side) {
    const struct record_open *open = assembler_tracks(pull->assembler);
    for (uint32_t i = 0; open && i < open->track_count; i++)
        if (!(side->gave & 1u << i) && assembler_takes(pull->assembler, open->tracks[i].name) &&
            !assembler_sleeps(pull->assembler, open->tracks[i].name))
            return false;
    return open;
}

static int on_chunk(void *ctx, struct link *link, const char *track, const struct feed_box *box, struct slice body) {
    struct pull *pull = ctx;
    struct side *side = side_of(pull, link);
    int rc = assembler_chunk(pull->assembler, track, box, body);
    note_waits(pull);
    if (rc < 0) {
        note_result(pull, rc);
        return rc;
    }
    metric_add(&metrics[rc == ASSEMBLER_TAKEN ? M_NEW : M_KNOWN], 1);
    if (in_use(pull, side))
        note_given(pull, side, track);
    if (rc == ASSEMBLER_TAKEN && in_use(pull, side) && !side->delivered) {
        side->delivered = true;
        work_soon(pull); /* the one before it isn't needed any more */
    }
    return 0;
}

/* --- links --- */

static void side_clear(struct pull *pull, struct side *side) {
    if (in_use(pull, side))
        pull->active = -1;
    link_destroy(side->link);
    record_unref(side->state);
    record_unref(side->path);
    *side = (struct side){0};
}

static void start_over(struct pull *pull) {
    metric_add(&metrics[M_GAPS], 1);
    log_warn("pull_gap", "stream", LOG_STR(pull->stream));
    assembler_restart(pull->assembler);
    pull->fresh = pull->begin_due = true;
    pull->newest = pull->before = (struct place){0};
}

/* An upstream that can't be asked, or refuses to be, shows with streams that are not found: any number of them. */
static enum log_level failure_level(const struct pull *pull, const struct side *side, enum link_failure failure) {
    struct upstream *upstream = upstream_of(pull, side);
    if (pull->found)
        return in_use(pull, side) || !choice_has_failed(&pull->choice, side->upstream) ? LOG_LEVEL_INFO
                                                                                       : LOG_LEVEL_DEBUG;
    if (failure != LINK_BROKEN || (upstream->warned_us && now(pull) - upstream->warned_us < WARN_US))
        return LOG_LEVEL_DEBUG;
    upstream->warned_us = now(pull);
    return LOG_LEVEL_WARN;
}

static void on_failed(void *ctx, struct link *link, enum link_failure failure, const char *why) {
    struct pull *pull = ctx;
    struct side *side = side_of(pull, link);
    bool was_used = in_use(pull, side), alone = !pull->sides[side == pull->sides].up;
    struct upstream *upstream = upstream_of(pull, side);
    log_event(failure_level(pull, side, failure), "link_failed", "stream", LOG_STR(pull->stream), "upstream",
              LOG_STR(upstream->url), "in_use", LOG_INT(was_used), "why", LOG_STR(why), (const char *)0);
    if (failure == LINK_BROKEN && !side->drains)
        score_failure(&upstream->score, now(pull));
    choice_failed(&pull->choice, side->upstream, failure, now(pull));
    side_clear(pull, side);
    if (failure == LINK_GONE && (was_used || alone))
        start_over(pull);
    decide(pull);
}

static int upstream_index(const struct side *side) {
    return side->link ? (int)side->upstream : -1;
}

/* Of the two sides, that which is in use stays, whatever the other one will be. */
static struct choice_wanted wanted(const struct pull *pull) {
    const struct side *stays = &pull->sides[pull->active >= 0 ? pull->active : !pull->sides[0].link];
    const struct side *beside = &pull->sides[stays == pull->sides];
    return (struct choice_wanted){.stream = pull->stream,
                                  .found = pull->found,
                                  .race = pull->race,
                                  .any_link = stays->link || beside->link,
                                  .now_us = now(pull),
                                  .in_use = upstream_index(stays),
                                  .beside = upstream_index(beside)};
}

static bool start_link(struct pull *pull) {
    static const struct link_events events = {.line = on_line, .chunk = on_chunk, .failed = on_failed};
    const struct choice_wanted one = wanted(pull);
    int upstream = choice_best(&pull->choice, &one);
    bool first = !pull->sides[0].link && !pull->sides[1].link;
    struct side *side = pull->sides[0].link ? &pull->sides[1] : &pull->sides[0];
    if (upstream < 0 || side->link)
        return false;
    uint64_t epoch, msn = 0;
    if (!pull->fresh)
        assembler_segment(pull->assembler, &epoch, &msn);
    const struct link_settings settings = {.stream = pull->stream,
                                           .hops = pull->hops,
                                           .tracks = first || pull->race ? &pull->tracks : NULL,
                                           .from_msn = msn,
                                           .back_ms = pull->pulls->settings.back_ms};
    choice_asked(&pull->choice, (uint32_t)upstream);
    *side = (struct side){.upstream = (uint32_t)upstream};
    side->link = link_create(pull->pulls->loop, &pull->pulls->upstreams->items[upstream], &settings, &events, pull);
    return true;
}

static void open_tracks(struct pull *pull, struct side *side) {
    const struct record_open *open = assembler_tracks(pull->assembler);
    uint64_t epoch, msn;
    if (!open || pull->begin_due || !assembler_segment(pull->assembler, &epoch, &msn))
        return;
    for (uint32_t i = 0; i < open->track_count; i++) {
        uint32_t number = 0;
        if (!assembler_takes(pull->assembler, open->tracks[i].name))
            continue;
        if (!assembler_next(pull->assembler, open->tracks[i].name, &msn, &number))
            msn = pull->begin_msn;
        link_open_track(side->link, open->tracks[i].name, msn, number);
    }
}

static void use(struct pull *pull, struct side *side) {
    pull->active = (int)(side - pull->sides);
    pull->waits_us = pull->better_us = pull->spare_us = pull->since_us = 0;
    if (!pull->used_us)
        pull->used_us = now(pull);
    bool first = now(pull) - pull->used_us < FIRST_US && upstreams_have_shields(pull->pulls->upstreams);
    pull->jitter_us = choice_jittered(first ? HOME_US : BETTER_US);
    side->delivered = false;
    side->gave = 0;
    write_path(pull, side->path);
    if (side->state &&
        assembler_line(pull->assembler, &(struct feed_line){.kind = FEED_LINE_STATE, .record = side->state}) < 0)
        work_soon(pull);
    log_info("pull_from", "stream", LOG_STR(pull->stream), "upstream", LOG_STR(upstream_of(pull, side)->url));
    open_tracks(pull, side);
}

/* --- which tracks --- */

/* As far back as a stream from upstream begins, a track does that is asked for later: with the first segment there, of
 * the tracks that the stream has now, that isn't whole. */
static uint64_t join_msn(void *ctx, const char *track) {
    const struct pull *pull = ctx;
    const struct stream *stream = store_find(hub_store(pull->pulls->hub), pull->stream);
    uint64_t msn = timeline_out_back(stream, (int64_t)pull->pulls->settings.back_ms * 1000);
    uint32_t mask = variant_parse(&stream->open->open, track, strlen(track));
    for (uint32_t i = 0; i < stream->segment_count; i++) {
        const struct segment *segment = stream->segments[i];
        bool before = segment->open != stream->open || segment->msn < msn;
        if (!before && !segment_whole(segment, mask))
            return segment->msn;
        msn = before ? msn : segment->msn + 1;
    }
    return msn;
}

static void take_tracks(struct pull *pull) {
    if (!pull->tracks_due)
        return;
    pull->tracks_due = false;
    int rc = assembler_take(pull->assembler, &pull->tracks, join_msn);
    note_waits(pull);
    if (rc < 0)
        note_result(pull, rc);
    for (int i = 0; i < SIDES; i++)
        if (pull->sides[i].link)
            link_keep_tracks(pull->sides[i].link, &pull->tracks);
}

/* --- which one --- */

static struct side *other(struct pull *pull) {
    return &pull->sides[pull->active == 0];
}

static bool stands_by(struct pull *pull) {
    return pull->active >= 0 && other(pull)->link && other(pull)->up;
}

static void fail_over(struct pull *pull, int metric, const char *why) {
    struct side *before = &pull->sides[pull->active];
    metric_add(&metrics[metric], 1);
    log_info("pull_leave", "stream", LOG_STR(pull->stream), "upstream", LOG_STR(upstream_of(pull, before)->url), "why",
             LOG_STR(why));
    use(pull, other(pull));
}

/* A part that the other side has told of too has not been whole here for too long. A shield has time to do the same
 * before. */
static void check_late(struct pull *pull) {
    bool shield = upstream_of(pull, &pull->sides[pull->active])->shield;
    int64_t late_us = pull->pulls->settings.late_us * (shield ? 2 : 1);
    if (!pull->waits_us || now(pull) - pull->waits_us < late_us || !stands_by(pull) ||
        compare(&other(pull)->told, &pull->newest) < 0)
        return;
    score_failure(&upstream_of(pull, &pull->sides[pull->active])->score, now(pull));
    fail_over(pull, M_LATE, "late");
}

static void check_better(struct pull *pull) {
    /* Another one on the way, a shield, may be a part behind. */
    if (!stands_by(pull) || compare(&other(pull)->told, &pull->before) < 0 ||
        !choice_better(&pull->choice, other(pull)->upstream, pull->sides[pull->active].upstream, now(pull))) {
        pull->better_us = 0;
        return;
    }
    if (!pull->better_us)
        pull->better_us = now(pull);
    if (now(pull) - pull->better_us >= pull->jitter_us)
        fail_over(pull, M_BETTER, "a better path");
}

/* With shields there is another to stand by when a failover is over, or a shield is back: where the stream belongs, or,
 * beside the shield that has it, none. */
static void check_stand_by(struct pull *pull) {
    const struct choice_wanted one = wanted(pull);
    struct choice *choice = &pull->choice;
    int best = upstreams_have_shields(pull->pulls->upstreams) && stands_by(pull) ? choice_best(choice, &one) : -1;
    if (best < 0 || !score_better(choice_cost_ms(choice, (uint32_t)best, &one),
                                  choice_cost_ms(choice, other(pull)->upstream, &one))) {
        pull->spare_us = 0;
        return;
    }
    if (!pull->spare_us)
        pull->spare_us = now(pull);
    int64_t wait_us =
        upstream_of(pull, other(pull))->shield ? HOME_US : pull->jitter_us; /* it takes the stream for nothing */
    if (now(pull) - pull->spare_us < wait_us)
        return;
    pull->spare_us = 0;
    side_clear(pull, other(pull));
}

/* Its connections stand, and nothing comes. */
static void check_silence(struct pull *pull) {
    for (int i = 0; i < SIDES; i++) {
        struct side *side = &pull->sides[i];
        if (!side->link || now(pull) - link_heard_us(side->link) < SILENT_US)
            continue;
        http_peer_renew(&upstream_of(pull, side)->peer);
        on_failed(pull, side->link, LINK_BROKEN, "silent");
        return; /* that has decided what next */
    }
}

static void end_stream(struct pull *pull) {
    const struct stream *stream = store_find(hub_store(pull->pulls->hub), pull->stream);
    if (!stream || stream->state == STREAM_ENDED)
        return;
    struct record *record = record_create(RECORD_STATE, pull->stream, stream->epoch);
    record->state.state = STREAM_ENDED;
    log_info("pull_end", "stream", LOG_STR(pull->stream), "why", LOG_STR("no upstream has it any more"));
    hub_write(pull->pulls->hub, record);
}

static bool any_up(const struct pull *pull) {
    return pull->sides[0].up || pull->sides[1].up;
}

static void check_end(struct pull *pull) {
    if (any_up(pull))
        return;
    if (!pull->since_us)
        pull->since_us = now(pull);
    if (now(pull) - pull->since_us >
        (choice_any_unknown(&pull->choice) ? pull->pulls->settings.grace_us : UNREACHABLE_US))
        end_stream(pull);
}

/* --- life of a pull --- */

static void pull_destroy(struct pull *pull) {
    map_remove(pull->pulls->streams, pull->stream);
    metric_add(&metrics[M_STREAMS], -1);
    for (int i = 0; i < SIDES; i++)
        side_clear(pull, &pull->sides[i]);
    assembler_destroy(pull->assembler);
    loop_timer_destroy(pull->work);
    loop_timer_destroy(pull->late);
    free(pull);
}

static void remember_absent(struct pulls *pulls, const char *stream) {
    int64_t *until_us = map_count(pulls->absent) < ABSENT_MAX ? malloc(sizeof *until_us) : NULL;
    if (!until_us)
        return;
    *until_us = loop_now_us(pulls->loop) + ABSENT_US;
    free(map_remove(pulls->absent, stream));
    map_set(pulls->absent, stream, until_us);
}

/* Nobody has it. The pull is gone. */
static void give_up(struct pull *pull) {
    struct pulls *pulls = pull->pulls;
    char stream[STREAM_NAME_LEN];
    strcpy(stream, pull->stream);
    metric_add(&metrics[M_ABSENT], 1);
    remember_absent(pulls, stream);
    pull_destroy(pull);
    hub_absent(pulls->hub, stream);
}

/* The hub refuses what comes: there is no room, or somebody here writes the stream. The pull is gone. */
static void give_in(struct pull *pull) {
    struct pulls *pulls = pull->pulls;
    char name[STREAM_NAME_LEN];
    strcpy(name, pull->stream);
    log_warn("pull_refused", "stream", LOG_STR(name), "error", LOG_STR(strerror(-pull->refused)));
    bool ours = pull->refused != -ESTALE;
    remember_absent(pulls, name);
    pull_destroy(pull);
    struct stream *stream = ours ? store_find(hub_store(pulls->hub), name) : NULL;
    if (stream)
        hub_remove(pulls->hub, stream);
    hub_absent(pulls->hub, name);
}

static void choose(struct pull *pull) {
    for (int i = 0; i < SIDES && pull->active < 0; i++)
        if (pull->sides[i].link && pull->sides[i].up) {
            metric_add(&metrics[M_BROKEN], pull->used_us != 0); /* else it is the first */
            use(pull, &pull->sides[i]);
        }
    if (pull->active < 0)
        return;
    open_tracks(pull, &pull->sides[pull->active]);
    if (!stands_by(pull))
        return;
    if (pull->race)
        open_tracks(pull, other(pull));
    else if (pull->sides[pull->active].delivered && !other(pull)->drains && link_has_tracks(other(pull)->link))
        link_close_tracks(other(pull)->link);
}

/* Sees to it that there are links. */
static void connect(struct pull *pull) {
    bool hedge = pull->found || now(pull) - pull->since_us >= HEDGE_US;
    int links = !!pull->sides[0].link + !!pull->sides[1].link;
    if (links == 0)
        links += start_link(pull);
    if (links == 1 && hedge)
        start_link(pull);
}

/* What is about to stop is left at once, but for what is behind itself, and kept until that gives
 * all tracks. */
static void leave_draining(struct pull *pull) {
    if (pull->active < 0)
        return;
    if (pull->sides[pull->active].drains && stands_by(pull) && !other(pull)->drains &&
        compare(&other(pull)->told, &pull->before) >= 0)
        fail_over(pull, M_DRAIN, "drain");
    if (other(pull)->drains && gives_all(pull, &pull->sides[pull->active]))
        side_clear(pull, other(pull));
}

static void decide(struct pull *pull) {
    take_tracks(pull);
    if (pull->refused) {
        give_in(pull);
        return;
    }
    choose(pull);
    leave_draining(pull);
    connect(pull);
    if (!pull->found && !pull->sides[0].link && !pull->sides[1].link)
        give_up(pull);
}

static void on_late(void *ctx) {
    struct pull *pull = ctx;
    if (pull->active >= 0)
        check_late(pull);
}

static void on_work(void *ctx) {
    decide(ctx);
}

static void tick_one(void *ctx, const char *name, void *value) {
    struct pull *pull = value;
    (void)ctx, (void)name;
    if (pull->active >= 0) {
        check_late(pull);
        check_better(pull);
        check_stand_by(pull);
    } else if (pull->found) {
        check_end(pull);
    }
    work_soon(pull);
}

static void silence_one(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    check_silence(value);
}

static void forget_absent(void *ctx, const char *name, void *value) {
    struct pulls *pulls = ctx;
    const int64_t *until_us = value;
    if (loop_now_us(pulls->loop) >= *until_us)
        free(map_remove(pulls->absent, name));
}

static void on_tick(void *ctx) {
    struct pulls *pulls = ctx;
    map_each(pulls->streams, tick_one, pulls);
    map_each(pulls->streams, silence_one, pulls);
    map_each(pulls->absent, forget_absent, pulls);
    loop_timer_set(pulls->tick, TICK_US);
}

/* --- the hub's source --- */

static bool races(const struct pulls_settings *settings, const char *stream) {
    for (size_t i = 0; i < settings->race_count; i++)
        if (pattern_closeness(settings->race[i], strlen(settings->race[i]), stream))
            return true;
    return false;
}

static bool on_want(void *ctx, const char *stream, const char *hops, const struct track_names *tracks) {
    struct pulls *pulls = ctx;
    if (map_get(pulls->absent, stream)) {
        metric_add(&metrics[M_CACHED], 1);
        return false;
    }
    if (map_count(pulls->streams) >= pulls->settings.streams_max)
        return false;
    struct pull *pull = calloc(1, sizeof *pull);
    if (!pull)
        abort();
    pull->pulls = pulls;
    strcpy(pull->stream, stream);
    snprintf(pull->hops, sizeof pull->hops, "%s%s%s", hops, *hops ? "," : "", pulls->settings.node);
    pull->active = -1;
    pull->fresh = pull->begin_due = pull->tracks_due = true;
    pull->tracks = *tracks;
    pull->race = races(&pulls->settings, stream);
    choice_init(&pull->choice, pulls->upstreams, stream);
    pull->since_us = loop_now_us(pulls->loop);
    pull->assembler = assembler_create(stream, on_write, pull);
    pull->work = loop_timer_create(pulls->loop, on_work, pull);
    pull->late = loop_timer_create(pulls->loop, on_late, pull);
    map_set(pulls->streams, stream, pull);
    metric_add(&metrics[M_STREAMS], 1);
    work_soon(pull);
    return true;
}

static void on_want_tracks(void *ctx, const char *name, const struct track_names *tracks) {
    struct pulls *pulls = ctx;
    struct pull *pull = map_get(pulls->streams, name);
    if (!pull)
        return;
    pull->tracks = *tracks;
    pull->tracks_due = true;
    work_soon(pull);
}

static void on_unwant(void *ctx, const char *name) {
    struct pulls *pulls = ctx;
    struct pull *pull = map_get(pulls->streams, name);
    if (!pull)
        return;
    bool found = pull->found;
    pull_destroy(pull);
    struct stream *stream = found ? store_find(hub_store(pulls->hub), name) : NULL;
    if (stream)
        hub_remove(pulls->hub, stream);
}

struct pulls *pulls_create(struct hub *hub, struct upstreams *upstreams, const struct pulls_settings *settings) {
    struct pulls *pulls = calloc(1, sizeof *pulls);
    if (!pulls)
        abort();
    *pulls = (struct pulls){.loop = upstreams->loop,
                            .hub = hub,
                            .upstreams = upstreams,
                            .settings = *settings,
                            .streams = map_create(),
                            .absent = map_create()};
    pulls->tick = loop_timer_create(pulls->loop, on_tick, pulls);
    loop_timer_set(pulls->tick, TICK_US);
    const struct hub_source source = {.ctx = pulls,
                                      .want = on_want,
                                      .want_tracks = on_want_tracks,
                                      .unwant = on_unwant};
    hub_set_source(hub, &source);
    return pulls;
}

static void destroy_pull(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    pull_destroy(value);
}

static void destroy_absent(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    free(value);
}

void pulls_destroy(struct pulls *pulls) {
    if (!pulls)
        return;
    map_each(pulls->streams, destroy_pull, NULL);
    map_each(pulls->absent, destroy_absent, NULL);
    map_destroy(pulls->streams);
    map_destroy(pulls->absent);
    loop_timer_destroy(pulls->tick);
    free(pulls);
}
