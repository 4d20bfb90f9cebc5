#include "ingest/packager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/media/vtt.h"
#include "ingest/ingest.h"
#include "ingest/subtitles.h"

enum {
    AUDIO_CHUNK_US = 90000, /* about 100 ms: 4 or 5 AAC frames at 48 kHz */
    VIDEO_TRACK_ID = 1,
    AUDIO_TRACK_ID = 101,
    TEXT_TRACK_ID = 201,
    TEXT_MAX = 128 << 10,        /* bytes of a part's cues */
    REFUSED_MAX = 100,           /* chunks in a row */
    SAME_US = 2000,              /* times of two tracks that are one: both were rounded to milliseconds */
    PATIENCE_US = 50000,         /* so long following pictures are waited for, */
    JOINED_PATIENCE_US = 250000, /* and those of other pushes, which have ways of their own */
    HELD_MAX = 32,               /* leading pictures */
    CATCH_UP_PICTURES = 4,       /* a rung is always behind by so many */
    LEAD_MAX_US = 2000000,       /* presentation after decoding: more is a mistake of somebody's */
};

static void on_patience(void *ctx);

void packager_init(struct packager *p, struct loop *loop, const struct ingest_settings *settings, const char *stream,
                   const struct packager_port *port) {
    *p = (struct packager){.settings = settings, .port = *port, .stream = stream};
    p->held.timescale = TIMELINE_VIDEO_HZ;
    p->patience = loop_timer_create(loop, on_patience, p);
}

void packager_grant(struct packager *p, const struct claim_grant *grant) {
    p->grant = *grant;
    p->msn = grant->next_msn;
    p->part_number = grant->next_part;
    p->init_version = grant->init_versions;
    p->discontinuity = grant->resumes;
    p->discontinuity_sequence = grant->discontinuity_sequence;
    p->part_target_us = grant->part_target_us;
    p->target_ms = grant->target_duration_ms ? grant->target_duration_ms : p->settings->segment_ms;
}

static void close_lanes(struct packager *p) {
    for (uint32_t i = 0; i < p->track_count; i++)
        lane_reset(&p->tracks[i].lane);
    lane_reset(&p->held);
    p->track_count = p->video_count = p->rung_count = p->text_count = 0;
    p->end_due = false;
    loop_timer_cancel(p->patience);
}

void packager_finish(struct packager *p) {
    close_lanes(p);
    loop_timer_destroy(p->patience);
}

/* --- writing --- */

void packager_state(struct packager *p, enum stream_state state) {
    if (!p->opened)
        return;
    struct record *record = record_create(RECORD_STATE, p->stream, p->grant.epoch);
    record->state.state = state;
    p->port.write(p->port.ctx, record);
}

static struct lane_place place_of(const struct packager *p, const struct packager_track *track) {
    return (struct lane_place){p->stream, p->grant.epoch, p->msn, (uint8_t)(track - p->tracks)};
}

static void write_chunk(struct packager *p, const struct packager_track *track, struct record *record) {
    if (!record) {
        p->counters.dropped++;
        if (mux_broken(track->lane.mux) || track->lane.refused > REFUSED_MAX)
            p->port.refuse(p->port.ctx, (uint32_t)(track - p->tracks), "media that can't be muxed");
        return;
    }
    p->segment_used = true;
    p->port.write(p->port.ctx, record);
}

static void write_waiting(struct packager *p, struct packager_track *track, uint32_t count) {
    struct lane_place place = place_of(p, track);
    if (count)
        write_chunk(p, track, lane_take_chunk(&track->lane, count, &place));
}

static bool has_video(const struct packager *p) {
    return p->video_count > 0;
}

/* The first track of sound beside the leading track. */
static uint32_t first_sound(const struct packager *p) {
    return has_video(p) ? p->video_count + p->rung_count : 1;
}

/* Behind the last track of sound. */
static uint32_t sound_end(const struct packager *p) {
    return p->track_count - p->text_count;
}

static bool is_rung(const struct packager *p, uint32_t track) {
    return track >= p->video_count && track < p->video_count + p->rung_count;
}

/* --- sound --- */

static uint64_t most_ts(const struct packager *p, uint32_t hz) {
    return (uint64_t)p->part_target_us * hz / 1000000;
}

/* Parts were planned for shorter frames than that (Opus may change): it runs over the part's end, and is counted to the
 * next one there. */
static bool is_long(const struct packager_track *track, const struct lane_frame *frame) {
    return frame->time.duration_ts > (uint64_t)track->frame_us * track->lane.timescale / 1000000 + 1;
}

/* What begins before `end_us`, if it is `least_us` long, and the part has room for it: late sound goes on into the next
 * part rather than over PART-TARGET. */
static void flush_audio(struct packager *p, struct packager_track *track, int64_t end_us, uint32_t least_us) {
    struct lane *lane = &track->lane;
    uint32_t duration_us, count = lane_waiting(lane, end_us, &duration_us);
    if (!count || duration_us < least_us)
        return;
    uint64_t most = most_ts(p, lane->timescale);
    uint64_t room = most > lane->part_duration_ts ? most - lane->part_duration_ts : 0;
    uint32_t fitting = lane_fitting(lane, count, room);
    if (room && fitting < count && is_long(track, lane_at(lane, fitting)))
        fitting++;
    write_waiting(p, track, fitting);
}

static void flush_sound(struct packager *p, int64_t end_us, uint32_t least_us) {
    for (uint32_t i = first_sound(p); i < sound_end(p); i++)
        flush_audio(p, &p->tracks[i], end_us, least_us);
}

/* Of the leading track: pictures, or sound alone. */
static void flush_lead(struct packager *p) {
    struct packager_track *lead = &p->tracks[0];
    if (has_video(p))
        write_waiting(p, lead, lead->lane.count);
    else
        flush_audio(p, lead, INT64_MAX, 0);
}

/* --- following pictures --- */

/* Times of it and of the leading track are the same if they differ by that. */
static int64_t slack_us(const struct packager *p, const struct packager_track *track) {
    uint32_t lead_us = p->tracks[0].frame_us, least_us = track->frame_us < lead_us ? track->frame_us : lead_us;
    return track->joined && least_us / 2 > SAME_US ? least_us / 2 : SAME_US;
}

/* The leading track's decoding time of what is shown together with it. */
static int64_t shown_with(const struct packager *p, const struct packager_track *track, int64_t dts_ts) {
    return timeline_us(dts_ts, TIMELINE_VIDEO_HZ) + track->lead_us - p->tracks[0].lead_us;
}

static void tell_alignment(const struct packager *p, const struct packager_track *track) {
    char name[4];
    snprintf(name, sizeof name, "v%u", (unsigned)(track - p->tracks) % 10);
    if (track->misaligned)
        log_warn("track_misaligned", "stream", LOG_STR(p->stream), "track", LOG_STR(name));
    else
        log_info("track_aligned", "stream", LOG_STR(p->stream), "track", LOG_STR(name));
}

/* The first picture at a cut, or after it: can a player go on from the leading track with it? Not when it comes so late
 * that others are before it in the segment. */
static void judge(struct packager *p, struct packager_track *track, const struct lane_frame *frame) {
    int64_t slack = slack_us(p, track), pts_us = timeline_us(frame->time.pts_ts, TIMELINE_VIDEO_HZ);
    if (track->judged == p->cut.number || shown_with(p, track, frame->time.dts_ts) < p->cut.dts_us - slack)
        return;
    bool misaligned =
        !frame->independent || llabs(pts_us - p->cut.pts_us) > slack || (track->joined && track->lane.chunk_number);
    bool changed = misaligned != track->misaligned;
    track->judged = p->cut.number;
    track->misaligned = misaligned;
    p->counters.misaligned += misaligned;
    if (changed)
        tell_alignment(p, track);
}

uint32_t packager_misaligned(const struct packager *p) {
    uint32_t count = 0;
    for (uint32_t i = 1; i < p->video_count; i++)
        count += p->tracks[i].misaligned;
    return count;
}

static void write_following(struct packager *p, struct packager_track *track, const struct lane_frame *frame) {
    struct lane_place place = place_of(p, track);
    judge(p, track, frame);
    write_chunk(p, track, lane_direct_chunk(&track->lane, frame, &place));
}

static void drain(struct packager *p, struct packager_track *track, int64_t end_us) {
    const struct lane_frame *frame;
    while ((frame = lane_first(&track->lane)) && shown_with(p, track, frame->time.dts_ts) < end_us) {
        write_following(p, track, frame);
        lane_pop(&track->lane, 1);
    }
}

/* Writes what is shown before `end_us`; only within a part, or nobody would count it. */
static void follow(struct packager *p, int64_t end_us) {
    for (uint32_t i = 1; i < p->video_count && p->segmenter.in_part; i++)
        drain(p, &p->tracks[i], end_us - slack_us(p, &p->tracks[i]));
}

/* Whether a picture that is shown before `end_us` has yet to come, and is not too late to be waited for. */
static bool behind(const struct packager *p, int64_t end_us) {
    for (uint32_t i = 1; i < p->video_count; i++) {
        const struct packager_track *track = &p->tracks[i];
        uint32_t least_us = track->frame_us < p->tracks[0].frame_us ? track->frame_us : p->tracks[0].frame_us;
        if (track->reached_us < end_us - least_us / 2 &&
            track->reached_us >= end_us - p->patience_us - (int64_t)track->frame_us)
            return true;
    }
    return false;
}

static void drop_waiting(struct packager *p, struct packager_track *track, uint32_t count) {
    p->counters.dropped += count;
    track->awaits_independent |= count > 0;
    lane_pop(&track->lane, count);
}

/* What was shown before the first leading picture, and what can't be decoded without that. */
static void begin_following(struct packager *p, int64_t start_us) {
    for (uint32_t i = 1; i < p->video_count; i++) {
        struct packager_track *track = &p->tracks[i];
        const struct lane_frame *frame;
        int64_t first_us = start_us - slack_us(p, track);
        while ((frame = lane_first(&track->lane)) && (shown_with(p, track, frame->time.dts_ts) < first_us ||
                                                      (track->awaits_independent && !frame->independent)))
            drop_waiting(p, track, 1);
        track->awaits_independent &= !frame;
    }
}

/* --- parts and segments --- */

static uint32_t lead_duration_ts(const struct packager *p) {
    const struct segmenter *s = &p->segmenter;
    uint32_t hz = has_video(p) ? TIMELINE_VIDEO_HZ : p->tracks[0].lane.timescale;
    uint64_t ts = ((uint64_t)(s->end_us - s->part_start_us) * hz + 500000) / 1000000;
    uint64_t most = most_ts(p, hz); /* over a hole; media time says where the next part is */
    return (uint32_t)(ts < most ? ts : most);
}

/* All pictures last as long as the leading ones; sound is exact, whole frames on the sample grid. */
static void part_track(const struct packager *p, struct record_part_track *out, struct packager_track *track,
                       uint32_t lead_ts) {
    struct lane *lane = &track->lane;
    uint64_t most = most_ts(p, lane->timescale);
    uint64_t own_ts = lane->part_duration_ts < most ? lane->part_duration_ts : most;
    bool video = track->kind == TRACK_VIDEO;
    *out = (struct record_part_track){lane->part_chunks, video ? lead_ts : (uint32_t)own_ts, lane->part_bytes,
                                      lane->part_independent};
    lane->part_chunks = lane->part_bytes = 0;
    lane->part_duration_ts -= video ? lane->part_duration_ts : own_ts;
    lane->part_independent = false;
}

/* Its chunks will come: one a picture that it has. */
static void part_rung(struct record_part_track *out, struct packager_track *track, uint32_t lead_ts, bool independent) {
    *out = (struct record_part_track){track->part_pictures, lead_ts, track->lane.part_bytes, independent};
    track->lane.part_bytes = track->part_pictures = 0;
}

/* --- subtitles --- */

/* What shows in the part that ends: pictures of it are shown as much later as they are decoded. */
static void write_text(struct packager *p, struct packager_track *track, uint32_t language, uint32_t lead_ts) {
    int64_t start_us = p->segmenter.part_start_us, end_us = p->segmenter.end_us + p->tracks[0].lead_us;
    int64_t drift_us = timeline_drift_us(&p->timeline);
    struct lane *lane = &track->lane;
    struct record *record = record_create(RECORD_CHUNK, p->stream, p->grant.epoch);
    struct buf text;
    buf_init(&text, TEXT_MAX);
    subtitled_print(p->subtitles, language, start_us, end_us, p->anchor_us, drift_us, &text);
    record->chunk = (struct record_chunk){.track = (uint8_t)(track - p->tracks),
                                          .flags = CHUNK_INDEPENDENT,
                                          .msn = p->msn,
                                          .number = lane->chunk_number++,
                                          .duration_ts = lead_ts,
                                          .dts_ts = start_us / 1000000 * lane->timescale +
                                                    start_us % 1000000 * lane->timescale / 1000000,
                                          .capture_us = start_us + drift_us};
    record->chunk.body =
        vtt_chunk_create(TEXT_TRACK_ID + language, record->chunk.dts_ts, lead_ts, buf_head(&text), buf_len(&text));
    buf_finish(&text);
    lane->part_chunks++;
    lane->part_bytes += (uint32_t)record->chunk.body.len;
    lane->part_independent = true;
    lane->part_duration_ts += lead_ts;
    write_chunk(p, track, record);
}

static void write_texts(struct packager *p, uint32_t lead_ts) {
    if (!p->part_index)
        p->anchor_us = vtt_anchor_us(p->segmenter.part_start_us);
    for (uint32_t i = 0; i < p->text_count; i++)
        write_text(p, &p->tracks[sound_end(p) + i], i, lead_ts);
}

/* `audio_us`: where the sound beside the leading track ends; UTC. */
static void close_part(struct packager *p, bool last, int64_t audio_us) {
    flush_lead(p);
    flush_sound(p, audio_us, 0);
    uint32_t lead_ts = lead_duration_ts(p);
    write_texts(p, lead_ts);
    struct record *record = record_create(RECORD_PART, p->stream, p->grant.epoch);
    struct record_part *part = &record->part;
    part->number = p->part_number++;
    part->msn = p->msn;
    part->index = p->part_index++;
    part->flags = (p->tracks[0].lane.part_independent ? PART_INDEPENDENT : 0) | (last ? PART_LAST : 0) |
                  (p->discontinuity && !part->index ? PART_DISCONTINUITY : 0);
    if (part->flags & PART_DISCONTINUITY)
        p->discontinuity_sequence++;
    part->discontinuity_sequence = p->discontinuity_sequence;
    part->start_us = p->segmenter.part_start_us;
    part->wall_us = part->start_us + timeline_drift_us(&p->timeline);
    for (uint32_t i = 0; i < p->track_count; i++)
        if (is_rung(p, i))
            part_rung(&part->tracks[i], &p->tracks[i], lead_ts, part->flags & PART_INDEPENDENT);
        else
            part_track(p, &part->tracks[i], &p->tracks[i], lead_ts);
    p->part_pictures = 0;
    p->segment_used = true;
    p->port.write(p->port.ctx, record);
}

/* Pictures are counted anew. */
static void reset_pictures(struct packager *p) {
    p->part_pictures = 0;
    for (uint32_t i = 0; i < p->track_count; i++)
        p->tracks[i].pictures = p->tracks[i].part_pictures = 0;
}

static void next_segment(struct packager *p) {
    if (!p->segment_used)
        return;
    if (p->part_index) { /* else nobody saw it and the number stays */
        p->msn++;
        p->discontinuity = false;
    }
    p->part_index = 0;
    p->segment_used = false;
    reset_pictures(p);
    for (uint32_t i = 0; i < p->track_count; i++)
        p->tracks[i].lane.chunk_number = 0;
}

static void end_with(struct packager *p, int what, int64_t audio_us) {
    if (what & SEGMENTER_END_PART)
        close_part(p, what & SEGMENTER_END_SEGMENT, audio_us);
    if (what & SEGMENTER_END_SEGMENT)
        next_segment(p);
    segmenter_end(&p->segmenter, what);
}

/* Ends it with its last picture. The sound beside that picture may not have come yet: the next part's. */
static void end(struct packager *p, int what) {
    p->end_due = false;
    end_with(p, what, p->lead_dts_us);
}

/* Ends it because of the frame that comes next: the sound before that is here. */
static void end_before(struct packager *p, int what) {
    end_with(p, what, p->segmenter.end_us);
}

/* --- the leading picture --- */

static uint32_t duration_us(const struct lane_frame *frame) {
    return (uint32_t)((uint64_t)frame->time.duration_ts * 1000000 / TIMELINE_VIDEO_HZ);
}

static bool ends_segment(const struct packager *p, const struct lane_frame *frame) {
    struct segmenter s = p->segmenter;
    return segmenter_before(&s, timeline_us(frame->time.dts_ts, TIMELINE_VIDEO_HZ), duration_us(frame),
                            frame->independent) &
           SEGMENTER_END_SEGMENT;
}

static bool must_wait(const struct packager *p, const struct lane_frame *frame) {
    return p->segmenter.in_part && behind(p, timeline_us(frame->time.dts_ts, TIMELINE_VIDEO_HZ)) &&
           ends_segment(p, frame);
}

/* What ends before it. */
static void make_way(struct packager *p, const struct lane_frame *frame) {
    int64_t dts_us = timeline_us(frame->time.dts_ts, TIMELINE_VIDEO_HZ);
    int what;
    follow(p, dts_us);
    if (p->end_due && !ends_segment(p, frame))
        end(p, SEGMENTER_END_PART);
    p->end_due = false;
    while (sound_end(p) > 1 + p->rung_count && (what = segmenter_hole(&p->segmenter, dts_us)))
        end_before(p, what); /* the others go on */
    end_before(p, segmenter_before(&p->segmenter, dts_us, duration_us(frame), frame->independent));
}

static void note_lead(struct packager_track *track, const struct lane_frame *frame) {
    if (!frame->independent)
        return;
    int64_t lead_us = timeline_us(frame->time.pts_ts - frame->time.dts_ts, TIMELINE_VIDEO_HZ);
    track->lead_us = lead_us < LEAD_MAX_US ? lead_us : 0;
}

static void write_lead(struct packager *p, const struct lane_frame *frame) {
    struct packager_track *lead = &p->tracks[0];
    struct lane_place place = place_of(p, lead);
    uint32_t chunk_us = p->settings->chunk_ms * 1000, waiting_us;
    lane_waiting(&lead->lane, INT64_MAX, &waiting_us);
    if (frame->independent || lane_excess(&lead->lane, frame->len))
        flush_lead(p); /* a chunk starts with it, so that viewers can join there */
    if (chunk_us <= duration_us(frame)) {
        write_chunk(p, lead, lane_direct_chunk(&lead->lane, frame, &place));
        return;
    }
    lane_push(&lead->lane, frame);
    if (waiting_us + 2 * duration_us(frame) > chunk_us)
        flush_lead(p);
}

/* Rungs are made of it. */
static void hand_on(struct packager *p, const struct lane_frame *frame) {
    struct packager_place place = {p->grant.epoch, p->msn, 0, {0}};
    bool fresh = frame->independent || !p->part_pictures;
    p->part_pictures++;
    for (uint32_t i = 0; i < p->rung_count; i++) {
        struct packager_track *track = &p->tracks[p->video_count + i];
        if (!fresh && ++track->since < track->every)
            continue;
        track->since = 0;
        track->part_pictures++;
        place.rungs |= 1u << i;
        place.numbers[i] = track->pictures++;
    }
    if (p->rung_count)
        p->port.led(p->port.ctx, frame, &place);
}

static void place_lead(struct packager *p, const struct lane_frame *frame) {
    int64_t dts_us = timeline_us(frame->time.dts_ts, TIMELINE_VIDEO_HZ);
    make_way(p, frame);
    note_lead(&p->tracks[0], frame);
    if (!p->lead_dts_us) {
        for (uint32_t i = first_sound(p); i < sound_end(p); i++) /* what came before the first picture */
            lane_drop(&p->tracks[i].lane, dts_us - p->tracks[i].frame_us);
        begin_following(p, dts_us);
    }
    if (!p->segmenter.in_segment && frame->independent)
        p->cut = (struct packager_cut){dts_us, timeline_us(frame->time.pts_ts, TIMELINE_VIDEO_HZ), p->cut.number + 1};
    p->lead_dts_us = dts_us;
    p->lead_end_us = dts_us + duration_us(frame);
    p->tracks[0].frame_us = duration_us(frame);
    flush_sound(p, dts_us, AUDIO_CHUNK_US);
    write_lead(p, frame);
    hand_on(p, frame);
    int what = segmenter_add(&p->segmenter, dts_us, duration_us(frame), frame->independent, frame->time.exact);
    follow(p, p->lead_end_us);
    p->end_due = what && behind(p, p->lead_end_us);
    if (p->end_due)
        loop_timer_set(p->patience, p->patience_us);
    else
        end(p, what);
}

/* Those that were held go on; `all`, or as far as the next segment's end. */
static void release(struct packager *p, bool all) {
    const struct lane_frame *frame = lane_first(&p->held);
    while (frame) {
        place_lead(p, frame);
        lane_pop(&p->held, 1);
        frame = lane_first(&p->held);
        if (frame && !all && must_wait(p, frame)) {
            loop_timer_set(p->patience, p->patience_us);
            return;
        }
    }
}

static void lead_video(struct packager *p, const struct lane_frame *frame) {
    if (lane_excess(&p->held, frame->len))
        release(p, true);
    const struct lane_frame *first = lane_first(&p->held);
    if (!first && !must_wait(p, frame)) {
        place_lead(p, frame);
        return;
    }
    lane_push(&p->held, frame);
    first = lane_first(&p->held);
    int64_t waited_us = timeline_us(frame->time.dts_ts - first->time.dts_ts, TIMELINE_VIDEO_HZ);
    if (p->held.count == 1)
        loop_timer_set(p->patience, p->patience_us);
    else if (waited_us > p->patience_us || p->held.count >= HELD_MAX)
        release(p, false);
}

static void on_patience(void *ctx) {
    struct packager *p = ctx;
    if (p->held.count)
        release(p, false);
    else if (p->end_due)
        end(p, SEGMENTER_END_PART);
}

/* --- the others --- */

/* It may be far ahead of the leading track, which seems to be silent. */
static void make_room_for(struct packager *p, struct packager_track *track, const struct lane_frame *frame) {
    bool awaits = track->awaits_independent;
    drop_waiting(p, track, lane_excess(&track->lane, frame->len));
    if (track->lane.count) /* by an independent one first */
        track->awaits_independent = awaits;
}

static void follow_video(struct packager *p, struct packager_track *track, const struct lane_frame *frame) {
    make_room_for(p, track, frame);
    if (track->awaits_independent && !frame->independent) {
        p->counters.dropped++;
        return;
    }
    track->awaits_independent = false;
    note_lead(track, frame);
    int64_t shown_us = shown_with(p, track, frame->time.dts_ts);
    const struct lane_frame *held = lane_first(&p->held);
    int64_t open_us = held ? timeline_us(held->time.dts_ts, TIMELINE_VIDEO_HZ) : p->lead_end_us;
    track->frame_us = duration_us(frame);
    track->reached_us = shown_us + track->frame_us;
    if (p->segmenter.in_part && !track->lane.count && shown_us < open_us - slack_us(p, track))
        write_following(p, track, frame);
    else
        lane_push(&track->lane, frame);
    follow(p, open_us);
    if (held && !must_wait(p, held))
        release(p, false);
    else if (!held && p->end_due && !behind(p, p->lead_end_us))
        end(p, SEGMENTER_END_PART);
}

static void lead_audio(struct packager *p, struct packager_track *track, const struct lane_frame *frame) {
    uint32_t hz = track->lane.timescale;
    int64_t dts_us = timeline_us(frame->time.dts_ts, hz);
    uint32_t frame_us = (uint32_t)(((uint64_t)frame->time.duration_ts * 1000000 + hz - 1) / hz);
    end_before(p, segmenter_before(&p->segmenter, dts_us, frame_us, true));
    p->lead_dts_us = dts_us;
    flush_sound(p, dts_us, AUDIO_CHUNK_US);
    lane_push(&track->lane, frame);
    flush_audio(p, track, INT64_MAX, AUDIO_CHUNK_US);
    end(p, segmenter_add(&p->segmenter, dts_us, frame_us, true, true));
}

/* --- rungs --- */

bool packager_is_rung(const struct packager *p, const struct record *record) {
    return record->type == RECORD_CHUNK && is_rung(p, record->chunk.track);
}

void packager_rung_here(struct packager *p, uint32_t rung, bool here, uint64_t msn) {
    if (rung >= p->rung_count)
        return;
    struct record *record = record_create(RECORD_TRACK, p->stream, p->grant.epoch);
    record->track = (struct record_track){.track = (uint8_t)(p->video_count + rung),
                                          .presence = here ? TRACK_JOINING : TRACK_ABSENT,
                                          .msn = msn};
    p->tracks[p->video_count + rung].behind = here;
    p->port.write(p->port.ctx, record);
}

/* What it has made up for is not counted with the part under way: it would seem to have many times its rate. */
static void count_rung(const struct packager *p, struct packager_track *track, const struct packager_place *place,
                       uint32_t bytes_before) {
    uint32_t number = place->numbers[track - p->tracks - p->video_count];
    track->behind &= place->msn != p->msn || number + CATCH_UP_PICTURES < track->pictures;
    if (track->behind)
        track->lane.part_bytes = bytes_before;
}

void packager_rung(struct packager *p, uint32_t rung, const struct packager_place *place,
                   const struct lane_frame *frame) {
    if (place->epoch != p->grant.epoch || rung >= p->rung_count)
        return;
    struct packager_track *track = &p->tracks[p->video_count + rung];
    const struct lane_place at = {p->stream, place->epoch, place->msn, (uint8_t)(track - p->tracks)};
    track->lane.chunk_number = place->numbers[rung];
    uint32_t bytes_before = track->lane.part_bytes;
    struct record *record = lane_direct_chunk(&track->lane, frame, &at);
    count_rung(p, track, place, bytes_before);
    if (record)
        p->port.write(p->port.ctx, record);
    else
        p->counters.dropped++;
}

void packager_frame(struct packager *p, uint32_t index, const struct lane_frame *frame) {
    struct packager_track *track = &p->tracks[index];
    struct lane_frame placed = *frame;
    enum timeline_verdict verdict = timeline_frame(&p->timeline, index, &frame->stamp, frame->capture_us, &placed.time);
    if (verdict == TIMELINE_DROP) {
        p->counters.dropped++;
        track->awaits_independent = track->kind == TRACK_VIDEO && index;
        return;
    }
    if (verdict == TIMELINE_BREAK)
        packager_break(p);
    if (index && track->kind == TRACK_VIDEO)
        follow_video(p, track, &placed);
    else if (index)
        lane_push(&track->lane, &placed);
    else if (track->kind == TRACK_VIDEO)
        lead_video(p, &placed);
    else
        lead_audio(p, track, &placed);
}

void packager_break(struct packager *p) {
    release(p, true);
    follow(p, p->lead_end_us);
    if (p->segmenter.in_part)
        end(p, SEGMENTER_END_PART | SEGMENTER_END_SEGMENT);
    else
        next_segment(p);
    for (uint32_t i = 1; i < sound_end(p) && has_video(p); i++) /* stayed over: it belongs before the break */
        if (is_rung(p, i))
            continue;
        else if (i < p->video_count)
            drop_waiting(p, &p->tracks[i], p->tracks[i].lane.count);
        else
            lane_drop(&p->tracks[i].lane, p->lead_dts_us);
    segmenter_break(&p->segmenter);
    if (p->opened && !p->discontinuity) {
        p->discontinuity = true;
        p->counters.discontinuities++;
    }
}

void packager_abandon(struct packager *p) {
    close_lanes(p);
    segmenter_break(&p->segmenter);
    p->opened = p->segment_used = false;
    p->part_index = p->part_pictures = 0;
}

/* --- opening --- */

/* `number`: in the name, and in the id. */
static void describe(struct track_info *info, const struct packager_source *source, uint32_t number) {
    const struct codec_info *codec = source->codec;
    bool video = codec->kind == TRACK_VIDEO;
    *info = (struct track_info){.kind = codec->kind,
                                .track_id = (video ? VIDEO_TRACK_ID : AUDIO_TRACK_ID) + number,
                                .timescale = video ? TIMELINE_VIDEO_HZ : codec->sample_rate,
                                .width = codec->width,
                                .height = codec->height,
                                .range = codec->range,
                                .low = source->low,
                                .peak_bps = source->peak_bps,
                                .frame_rate_milli = source->rate_milli,
                                .on_demand = source->on_demand,
                                .sample_rate = codec->sample_rate,
                                .channels = codec->channels};
    snprintf(info->name, sizeof info->name, "%c%u", video ? 'v' : 'a', number % 10);
    snprintf(info->codecs, sizeof info->codecs, "%s", codec->codecs);
    snprintf(info->language, sizeof info->language, "%s", source->language);
}

static uint32_t frame_us_of(const struct packager_source *source) {
    const struct codec_info *codec = source->codec;
    if (codec->kind == TRACK_VIDEO)
        return source->rate_milli ? (uint32_t)(1000000000ull / source->rate_milli) : 33333;
    uint32_t samples = codec->frame_samples ? codec->frame_samples : 1;
    return (uint32_t)(((uint64_t)samples * 1000000 + codec->sample_rate - 1) / codec->sample_rate);
}

static int create_mux(const struct packager_source *source, struct track_info *info, struct mux **ret_mux) {
    uint8_t config[MUX_CONFIG_MAX];
    int n =
        codec_init_config(source->codec, source->config, source->config_len, source->reorders, config, sizeof config);
    return n > 0 ? mux_create(info, source->codec->codec, config, (size_t)n, ret_mux, &info->init)
                 : mux_create(info, source->codec->codec, source->config, source->config_len, ret_mux, &info->init);
}

bool packager_takes(const struct packager_source *source) {
    struct track_info info;
    struct mux *mux;
    describe(&info, source, 0);
    if (create_mux(source, &info, &mux))
        return false;
    blob_unref(info.init);
    mux_destroy(mux);
    return true;
}

static int open_track(struct packager *p, const struct packager_source *source, struct track_info *info) {
    struct packager_track *track = &p->tracks[p->track_count];
    bool video = source->codec->kind == TRACK_VIDEO;
    *track =
        (struct packager_track){.kind = source->codec->kind, .frame_us = frame_us_of(source), .every = source->every};
    describe(info, source,
             source->rung ? source->rung
             : video      ? p->video_count
                          : p->track_count - p->video_count - p->rung_count);
    info->init_version = p->init_version;
    int rc = create_mux(source, info, &track->lane.mux);
    if (rc)
        return rc;
    track->lane.timescale = info->timescale;
    track->judged = p->cut.number;
    track->joined = track->awaits_independent = video && source->joined;
    if (track->joined)
        p->patience_us = JOINED_PATIENCE_US;
    p->track_count++;
    p->video_count += video && !source->rung;
    p->rung_count += source->rung > 0;
    if (video)
        timeline_add_video(&p->timeline, source->rate_milli);
    else
        timeline_add_audio(&p->timeline, info->timescale);
    return 0;
}

/* As many languages as there is room for. */
static void open_texts(struct packager *p, struct record_open *open) {
    uint32_t hz = has_video(p) ? TIMELINE_VIDEO_HZ : p->tracks[0].lane.timescale;
    uint32_t count = subtitled_count(p->subtitles);
    for (uint32_t i = 0; i < count && p->track_count < TRACKS_MAX; i++) {
        struct track_info *info = &open->tracks[open->track_count++];
        *info = (struct track_info){.kind = TRACK_TEXT,
                                    .track_id = TEXT_TRACK_ID + i,
                                    .timescale = hz,
                                    .codecs = "wvtt",
                                    .init_version = p->init_version,
                                    .init = vtt_init_create()};
        subtitled_describe(p->subtitles, i, info);
        p->tracks[p->track_count++] = (struct packager_track){.kind = TRACK_TEXT, .lane.timescale = hz};
        p->text_count++;
    }
}

/* Frames of pictures beside the leading ones are whole in parts, too, where their rate is a fraction of its. */
static uint32_t unit_us(const struct packager *p) {
    uint32_t lead_us = p->tracks[0].frame_us, unit = lead_us;
    for (uint32_t i = 1; i < p->video_count + p->rung_count; i++) {
        uint32_t frame_us = p->tracks[i].frame_us, times = (frame_us + lead_us / 2) / lead_us;
        if (frame_us > unit && llabs((int64_t)frame_us - (int64_t)times * lead_us) < lead_us / 50)
            unit = times * lead_us;
    }
    return unit <= p->settings->part_ms * 1000 ? unit : lead_us;
}

/* Sound of whichever frames keeps up with the parts. */
static void make_room(struct packager *p, struct segmenter_plan *plan) {
    for (uint32_t i = first_sound(p); i < sound_end(p); i++) {
        uint32_t frame_us = p->tracks[i].frame_us, frames = (plan->part_us - SAME_US + frame_us - 1) / frame_us;
        if (sound_end(p) - p->video_count - p->rung_count > 1 && plan->part_target_us < frames * frame_us)
            plan->part_target_us = frames * frame_us + 1;
    }
}

static void plan_parts(struct packager *p) {
    uint32_t frame_us = has_video(p) ? unit_us(p) : p->tracks[0].frame_us, beside_us = 0;
    for (uint32_t i = first_sound(p); i < sound_end(p) && has_video(p); i++)
        beside_us = p->tracks[i].frame_us > beside_us ? p->tracks[i].frame_us : beside_us;
    struct segmenter_plan plan;
    if (p->part_target_us) {
        plan = segmenter_plan_within(p->part_target_us, frame_us);
    } else {
        plan = segmenter_plan(p->settings->part_ms * 1000, frame_us, beside_us);
        make_room(p, &plan);
    }
    p->part_target_us = plan.part_target_us;
    segmenter_init(&p->segmenter, &plan, p->target_ms, !has_video(p));
}

int packager_open(struct packager *p, const struct packager_source *sources, uint32_t count, int64_t dts_us,
                  int64_t now_us) {
    int64_t end_us = p->opened ? timeline_end_us(&p->timeline) : p->grant.not_before_us;
    close_lanes(p);
    p->init_version++;
    p->patience_us = PATIENCE_US;
    if (p->opened)
        p->grant
            .epoch++; /* what has other tracks has an epoch of its own, so that no chunk's place can stand for two */
    timeline_init(&p->timeline, p->settings->stall_ms);
    struct record *record = record_create(RECORD_OPEN, p->stream, p->grant.epoch);
    for (uint32_t i = 0; i < count; i++)
        if (open_track(p, &sources[i], &record->open.tracks[record->open.track_count++])) {
            record_unref(record);
            return -EINVAL;
        }
    open_texts(p, &record->open);
    for (uint32_t i = 0; i < p->rung_count; i++) {
        uint32_t bit = 1u << (p->video_count + i);
        record->open.late |= bit;
        record->open.absent |= record->open.tracks[p->video_count + i].on_demand ? bit : 0;
    }
    plan_parts(p);
    record->open.target_duration_ms = p->target_ms;
    record->open.part_target_us = p->part_target_us;
    timeline_map(&p->timeline, dts_us, now_us, end_us);
    p->lead_dts_us = p->lead_end_us = 0;
    p->part_pictures = 0;
    p->opened = true;
    p->port.write(p->port.ctx, record);
    return 0;
}
