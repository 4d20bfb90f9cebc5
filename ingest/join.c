#include "ingest/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "ingest/ingest.h"
#include "ingest/join_clock.h"
#include "ingest/lead.h"
#include "ingest/packager.h"
#include "ingest/probe.h"
#include "ingest/track.h"

enum {
    ALONE_MAX_US = 10000000, /* so long a leading push is waited for */
    SILENT_US = 3000000,     /* so long another of the same label was: it is taken over from */
    KEPT_US = 3000000,       /* so long a place is kept */
    BAD_FRAMES_MAX = 100,
};

enum state { WAITING, JOINED, LOST };

struct join {
    struct list link;
    struct ingest *ingest;
    struct join_port port;
    enum state state;
    char stream[STREAM_NAME_LEN], peer[64];
    enum claim_rank rank;
    struct join_request request;
    struct publisher *lead;     /* while joined */
    uint32_t seat;              /* likewise */
    int64_t waits_us, heard_us; /* loop's clock: since when it waits; last frame */
    bool no_picture;            /* there is one to lead, but it has none */
    /* what it brings */
    struct publisher_metadata metadata;
    struct tracks tracks;
    struct probe probe;
    struct track *track; /* that which joins; NULL: it isn't known yet */
    bool begun;          /* the track's frames go on their way: one that decoding can begin with has come */
    struct join_clock clock;
    uint32_t bad_frames;
};

static struct metric metrics[] = {
    {"weir_ingest_joined", "kind=\"rung\"", "Pushes that have joined another's stream.", METRIC_GAUGE, 0},
    {"weir_ingest_joined", "kind=\"audio\"", "Pushes that have joined another's stream.", METRIC_GAUGE, 0},
};

void join_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void count(const struct join *join, int64_t change) {
    metric_add(&metrics[join->request.kind == JOIN_AUDIO], change);
}

static void lose(struct join *join, const char *why);

/* --- places --- */

static bool same_request(const struct join_request *one, const struct join_request *other) {
    return one->kind == other->kind && !strcmp(one->label, other->label);
}

/* That which it had, or a free one; JOIN_SEATS: there is none. */
static uint32_t take_seat(struct join_seats *seats, const struct join_request *request, enum track_kind kind) {
    uint32_t seat = JOIN_SEATS;
    for (uint32_t i = 0; i < JOIN_SEATS; i++) {
        struct join_seat *item = &seats->items[i];
        bool kept = item->left_us && item->kind == kind && same_request(&item->request, request);
        if (kept || (seat == JOIN_SEATS && item->request.kind == JOIN_NONE))
            seat = i;
        if (kept)
            break;
    }
    if (seat < JOIN_SEATS)
        seats->items[seat] = (struct join_seat){*request, kind, 0};
    return seat;
}

bool join_seats_expired(struct join_seats *seats, int64_t now_us, enum track_kind *ret_kind, uint8_t *ret_number) {
    for (uint32_t i = 0; i < JOIN_SEATS; i++) {
        struct join_seat *seat = &seats->items[i];
        if (!seat->left_us || now_us - seat->left_us < KEPT_US)
            continue;
        *ret_kind = seat->kind;
        *ret_number = (uint8_t)(JOIN_TRACK_FIRST + i);
        *seat = (struct join_seat){0};
        return true;
    }
    return false;
}

/* --- joining and leaving --- */

static void leave(struct join *join, bool keep) {
    if (join->state != JOINED)
        return;
    if (keep)
        lead_seats(join->lead)->items[join->seat].left_us = loop_now_us(join->ingest->loop);
    log_info("publish_leave", "stream", LOG_STR(join->stream), "peer", LOG_STR(join->peer), "label",
             LOG_STR(join->request.label));
    join->state = WAITING;
    join->lead = NULL;
    join->begun = join->clock.begun = false;
    join->waits_us = loop_now_us(join->ingest->loop);
    count(join, -1);
}

static void lose(struct join *join, const char *why) {
    if (join->state == LOST)
        return;
    leave(join, true);
    join->state = LOST;
    join->port.lose(join->port.ctx, why);
}

static struct publisher_config config_of(const struct join *join) {
    const struct track *track = join->track;
    struct publisher_config config = {.codec = track->codec.codec,
                                      .track = (uint8_t)(JOIN_TRACK_FIRST + join->seat),
                                      .data = track->config,
                                      .len = track->config_len};
    const char *language = join->request.kind == JOIN_AUDIO ? join->request.label : track->language;
    snprintf(config.language, sizeof config.language, "%.*s", LANGUAGE_LEN - 1, language);
    return config;
}

static void bring_track(struct join *join) {
    const struct publisher_config config = config_of(join);
    if (!lead_add_track(join->lead, &config, join->track))
        lose(join, "there are as many tracks as a stream may have");
}

static void forget(struct join *join) {
    probe_reset(&join->probe);
    join->track = NULL;
    join->begun = false;
}

static void on_clock_of_lead(struct join *join, struct publisher_frame *frame, int64_t now_us) {
    if (join_clock_follow(&join->clock, lead_lateness(join->lead), now_us))
        log_warn("publish_join_clock", "stream", LOG_STR(join->stream), "peer", LOG_STR(join->peer), "label",
                 LOG_STR(join->request.label), "shift_ms", LOG_INT(join->clock.shift_us / 1000));
    frame->dts_us += join->clock.shift_us;
    frame->pts_us += join->clock.shift_us;
}

static void joined_frame(struct join *join, struct publisher_frame *frame, int64_t now_us) {
    join->begun |= frame->independent;
    if (!join->begun)
        return;
    on_clock_of_lead(join, frame, now_us);
    frame->track = (uint8_t)(JOIN_TRACK_FIRST + join->seat);
    lead_frame(join->lead, frame, now_us);
}

/* What was kept since its last key frame. */
static void pour_out(struct join *join) {
    struct publisher_frame frame;
    int64_t arrived_us;
    while (join->state == JOINED && join->track && probe_take(&join->probe, &frame, &arrived_us)) {
        if (frame.kind == join->track->codec.kind && frame.track == join->track->number)
            joined_frame(join, &frame, arrived_us);
        probe_taken(&join->probe);
    }
    probe_reset(&join->probe);
}

/* When it is known what it brings and there is somebody to bring it to. */
static void join_if_may(struct join *join) {
    struct publisher *lead = join->track ? lead_find(join->ingest, join->stream, join->rank) : NULL;
    join->no_picture = lead && join->track->codec.kind == TRACK_VIDEO && !lead_has_picture(lead);
    if (join->state != WAITING || !lead || join->no_picture || !lead_lateness(lead)->started)
        return;
    join->seat = take_seat(lead_seats(lead), &join->request, join->track->codec.kind);
    if (join->seat == JOIN_SEATS) {
        lose(join, "too many pushes have joined this stream");
        return;
    }
    join->lead = lead;
    join->state = JOINED;
    count(join, 1);
    join_clock_begin(&join->clock, lead_lateness(lead), clock_utc_us());
    log_info("publish_join", "stream", LOG_STR(join->stream), "peer", LOG_STR(join->peer), "as",
             LOG_STR(join->request.kind == JOIN_AUDIO ? "audio" : "rung"), "label", LOG_STR(join->request.label),
             "clock", LOG_STR(join->clock.shared ? "shared" : "own"), "shift_ms", LOG_INT(join->clock.shift_us / 1000));
    bring_track(join);
    pour_out(join);
}

/* --- what it brings --- */

static bool wants(const struct join *join, enum track_kind kind) {
    return kind == TRACK_AUDIO || join->request.kind == JOIN_RUNG;
}

static void choose(struct join *join) {
    struct track *track = tracks_leading(&join->tracks);
    if (!track || !probe_track(&join->probe, track->codec.kind, track->number)) {
        lose(join, "no usable video or audio came");
        return;
    }
    track_find_out(track, &join->probe);
    const struct packager_source source = track_source(track, &join->probe, false);
    if (!packager_takes(&source)) {
        lose(join, "codec configuration not usable");
        return;
    }
    join->track = track;
    if (join->state == JOINED && lead_seats(join->lead)->items[join->seat].kind != track->codec.kind)
        leave(join, true); /* the place is for the other kind */
    if (join->state == JOINED) {
        bring_track(join);
        pour_out(join);
    }
    join_if_may(join);
}

static void learn(struct join *join, int64_t now_us) {
    bool picture = join->request.kind == JOIN_RUNG;
    struct probe_known known = {.video_announced = picture && join->metadata.has_video,
                                .audio_announced = join->metadata.has_audio,
                                .announced_all = join->metadata.complete || !picture,
                                .metadata_rate = join->metadata.frame_rate};
    tracks_tell(&join->tracks, &known);
    enum probe_verdict verdict = probe_check(&join->probe, &known, now_us);
    if (verdict == PROBE_READY)
        choose(join);
    else if (verdict == PROBE_HOPELESS)
        lose(join, "no usable video or audio came");
}

void join_metadata(struct join *join, const struct publisher_metadata *metadata) {
    join->metadata = *metadata;
}

void join_config(struct join *join, const struct publisher_config *config) {
    const char *why = "codec configuration is too long";
    struct codec_info codec;
    if (join->state == LOST)
        return;
    if (config->len > TRACK_CONFIG_MAX || codec_describe(config->codec, config->data, config->len, &codec, &why)) {
        lose(join, why);
        return;
    }
    if (!wants(join, codec.kind))
        return;
    struct track *track = tracks_find(&join->tracks, codec.kind, config->track);
    if (!track)
        track = tracks_add(&join->tracks, codec.kind, config->track);
    if (!track || (track_is_configured(track, config) && !track->ended))
        return;
    if (join->track == track || (join->track && join->track->codec.kind == TRACK_AUDIO && codec.kind == TRACK_VIDEO))
        forget(join);
    track_configure(track, config, &codec);
    track->ended = false;
}

void join_track_end(struct join *join, enum track_kind kind, uint8_t number) {
    struct track *track = tracks_find(&join->tracks, kind, number);
    if (join->state == LOST || !track)
        return;
    track->ended = true;
    if (track == join->track) {
        leave(join, true);
        forget(join);
    }
}

/* --- frames --- */

static bool is_usable(struct join *join, const struct track *track, struct publisher_frame *frame) {
    if (track && track_check(track, frame)) {
        join->bad_frames = 0;
        return true;
    }
    if (!track && (join->tracks.count || !wants(join, frame->kind)))
        return false; /* not a track that is looked at */
    if (++join->bad_frames > BAD_FRAMES_MAX)
        lose(join, "malformed media");
    return false;
}

/* There is nobody to bring it to: what it could begin with. */
static void keep(struct join *join, const struct publisher_frame *frame, int64_t now_us) {
    if (frame->kind == TRACK_VIDEO && frame->independent)
        probe_reset(&join->probe);
    probe_push(&join->probe, frame, now_us);
}

/* How large VP9's pictures are only key frames tell. Another size: it is found out as at the beginning. */
static void renew(struct join *join, struct track *track, const struct publisher_frame *frame) {
    bool known = track->codec.width > 0;
    if (frame->independent && codec_info_renew(&track->codec, frame->data, frame->len) && known &&
        (!join->track || track == join->track))
        forget(join);
}

void join_frame(struct join *join, const struct publisher_frame *frame) {
    struct publisher_frame checked = *frame;
    struct track *track = wants(join, frame->kind) ? tracks_find(&join->tracks, frame->kind, frame->track) : NULL;
    int64_t now_us = clock_utc_us();
    join->heard_us = loop_now_us(join->ingest->loop);
    if (join->state == LOST || !is_usable(join, track, &checked) || track->ended)
        return;
    if (!join->track || track == join->track)
        join_lateness_note(&join->clock.own, checked.dts_us, now_us);
    renew(join, track, &checked);
    if (!join->track) {
        track_learn(track, &checked);
        probe_push(&join->probe, &checked, now_us);
        learn(join, now_us);
    } else if (track == join->track && join->state == JOINED) {
        joined_frame(join, &checked, now_us);
    } else if (track == join->track) {
        keep(join, &checked, now_us);
    }
}

/* --- life --- */

static struct join *other_of(const struct ingest *ingest, const char *stream, enum claim_rank rank,
                             const struct join_request *request, uint32_t *ret_count) {
    struct join *same = NULL;
    *ret_count = 0;
    list_each(it, &ingest->joins) {
        struct join *other = list_entry(it, struct join, link);
        if (other->state == LOST || other->rank != rank || strcmp(other->stream, stream) != 0)
            continue;
        ++*ret_count;
        if (same_request(&other->request, request))
            same = other;
    }
    return same;
}

struct join *join_create(struct ingest *ingest, const char *stream, enum claim_rank rank, const char *peer,
                         const struct join_request *request, const struct join_port *port,
                         enum publish_result *ret_result) {
    uint32_t others;
    struct join *other = other_of(ingest, stream, rank, request, &others);
    int64_t now_us = loop_now_us(ingest->loop);
    bool busy = other && now_us - other->heard_us < SILENT_US;
    *ret_result = busy ? PUBLISH_BUSY : !other && others >= JOIN_SEATS ? PUBLISH_FULL : PUBLISH_OK;
    if (*ret_result != PUBLISH_OK)
        return NULL;
    if (other)
        lose(other, "another push has taken its place");
    struct join *join = calloc(1, sizeof *join);
    if (!join)
        abort();
    join->ingest = ingest;
    join->port = *port;
    snprintf(join->stream, sizeof join->stream, "%s", stream);
    snprintf(join->peer, sizeof join->peer, "%s", peer);
    join->rank = rank;
    join->request = *request;
    join->waits_us = join->heard_us = now_us;
    tracks_init(&join->tracks, join->stream, join->peer);
    list_append(&ingest->joins, &join->link);
    return join;
}

void join_destroy(struct join *join) {
    if (!join)
        return;
    leave(join, true);
    list_remove(&join->link);
    tracks_finish(&join->tracks);
    probe_reset(&join->probe);
    free(join);
}

void join_sweep(struct join *join, int64_t now_us) {
    if (join->state != LOST && !join->track && join->probe.count)
        learn(join, clock_utc_us());
    join_if_may(join);
    if (join->state != WAITING || now_us - join->waits_us < ALONE_MAX_US)
        return;
    if (!join->track)
        lose(join, "no usable video or audio came");
    else if (join->no_picture)
        lose(join, "the stream's leading push has no picture that this could be a rung of");
    else
        lose(join, "the stream's leading push isn't on this node: all pushes of a stream must come to the same one");
}

/* --- for the leading push --- */

void joins_lead_gone(struct ingest *ingest, const struct publisher *lead, bool clean) {
    list_each(it, &ingest->joins) {
        struct join *join = list_entry(it, struct join, link);
        if (join->lead != lead)
            continue;
        leave(join, false);
        if (clean)
            lose(join, "the stream's leading push has ended");
    }
}

void joins_refuse(struct ingest *ingest, struct publisher *lead, uint8_t number, const char *why) {
    list_each(it, &ingest->joins) {
        struct join *join = list_entry(it, struct join, link);
        if (join->lead == lead && join->seat + JOIN_TRACK_FIRST == number)
            lose(join, why);
    }
    lead_seats(lead)->items[number - JOIN_TRACK_FIRST] = (struct join_seat){0};
}

bool joins_due(const struct ingest *ingest, const struct publisher *lead) {
    list_each(it, &ingest->joins) {
        const struct join *join = list_entry(it, struct join, link);
        if (join->state == WAITING && lead == lead_find(join->ingest, join->stream, join->rank))
            return true;
    }
    return false;
}
