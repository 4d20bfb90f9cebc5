#include "common/media/playlist.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"

/* Segments of these durations stay in a delta update, parts of those are listed (RFC 8216bis §4.4.3.8, §6.2.2). */
enum { SKIP_TARGETS = 6, PARTS_TARGETS = 3, HOLD_BACK_TARGETS = 3, HOLD_BACK_PARTS = 3 };

struct rendering {
    struct buf *out;
    const struct stream *stream;
    const char *variant;
    const struct record_open *open; /* of the stream now */
    uint32_t mask;                  /* the variant's tracks among them */
    uint32_t first, last;           /* indices of the segments that show */
};

static uint32_t own_mask(const struct rendering *r, const struct segment *segment) {
    return variant_within(&segment->open->open, r->open, r->mask);
}

/* --- variants --- */

static uint32_t kind_mask(const struct record_open *open, enum track_kind kind) {
    uint32_t mask = 0;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (open->tracks[i].kind == kind)
            mask |= 1u << i;
    return mask;
}

/* Sound of a low rate. */
static uint32_t low_mask(const struct record_open *open) {
    uint32_t mask = 0;
    for (uint32_t i = 0; i < open->track_count; i++)
        if (open->tracks[i].kind == TRACK_AUDIO && open->tracks[i].low)
            mask |= 1u << i;
    return mask;
}

/* What can be chosen. */
static uint32_t audio_mask(const struct record_open *open) {
    return kind_mask(open, TRACK_AUDIO) & ~low_mask(open);
}

static uint32_t text_mask(const struct record_open *open) {
    return kind_mask(open, TRACK_TEXT);
}

static bool is_text(const struct record_open *open, uint32_t mask) {
    return mask & text_mask(open);
}

static uint32_t first_of(uint32_t mask) {
    return mask & -mask;
}

/* Whether sound has playlists of its own beside the pictures'. */
static bool is_split(const struct record_open *open, enum playlist_muxed muxed) {
    uint32_t audio = audio_mask(open);
    bool several = audio != first_of(audio), only = !kind_mask(open, TRACK_VIDEO);
    return muxed == PLAYLIST_MUXED_NEVER ? audio && (several || !only)
                                         : several && (muxed == PLAYLIST_MUXED_AUTO || only);
}

uint32_t playlist_variants(const struct record_open *open, enum playlist_muxed muxed,
                           uint32_t masks[PLAYLIST_VARIANTS_MAX]) {
    bool split = is_split(open, muxed);
    uint32_t count = 0, audio = audio_mask(open);
    for (uint32_t i = 0; i < open->track_count; i++)
        if (open->tracks[i].kind == TRACK_VIDEO)
            masks[count++] = 1u << i | (split ? 0 : first_of(audio));
    for (uint32_t i = 0; i < open->track_count; i++)
        if (audio & 1u << i && (split || 1u << i == first_of(audio)))
            masks[count++] = 1u << i;
    if (low_mask(open))
        masks[count++] = first_of(low_mask(open));
    for (uint32_t i = 0; i < open->track_count; i++)
        if (text_mask(open) & 1u << i)
            masks[count++] = 1u << i;
    return count;
}

static double segment_seconds(const struct segment *segment, const struct record_open *now, uint32_t mask) {
    const struct record_open *open = &segment->open->open;
    uint32_t lead = variant_lead(open, variant_within(open, now, mask));
    return (double)segment->duration_ts[lead] / open->tracks[lead].timescale;
}

/* --- multivariant --- */

struct bandwidth {
    double peak, average; /* bits a second */
    bool settled;         /* by a whole segment */
};

static uint64_t segment_bytes(const struct segment *segment, uint32_t mask) {
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < segment->published; p++)
        for (uint32_t t = 0; t < TRACKS_MAX; t++)
            if (mask & 1u << t)
                bytes += segment->parts[p].record->part.tracks[t].bytes;
    return bytes;
}

/* Whether parts tell what the segment has of that track. What is transcoded comes behind; what is made on demand was
 * perhaps not made from the segment's beginning to its end, and not in its time. */
static bool is_measured(const struct segment *segment, uint32_t track) {
    const struct track_info *info = &segment->open->open.tracks[track];
    bool any = !info->peak_bps, all = true;
    for (uint32_t p = 0; p < segment->published; p++) {
        const struct record_part_track *part = &segment->parts[p].record->part.tracks[track];
        any |= part->bytes;
        all &= part->bytes || !part->chunks;
    }
    return any && (all || !info->on_demand);
}

static bool all_measured(const struct segment *segment, uint32_t mask) {
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        if (mask & 1u << t && !is_measured(segment, t))
            return false;
    return true;
}

/* By what parts say, so that it is known of tracks that are not here, too. Measured over the window's whole segments; a
 * stream that has none yet is judged by what there is of its first. */
static struct bandwidth bandwidth_measure(const struct stream *stream, uint32_t mask) {
    struct bandwidth result = {0};
    double bits = 0, seconds = 0;
    for (uint32_t i = stream->first_listed; i < stream->segment_count; i++) {
        const struct segment *segment = stream->segments[i];
        uint32_t own = variant_within(&segment->open->open, &stream->open->open, mask);
        double s = own == VARIANT_NOWHERE ? 0 : segment_seconds(segment, &stream->open->open, mask);
        if (s <= 0 || (!segment->complete && bits > 0) || !all_measured(segment, own))
            continue;
        double b = 8.0 * (double)segment_bytes(segment, own);
        result.settled |= segment->complete;
        bits += b;
        seconds += s;
        if (b / s > result.peak && s > 0.5 * stream->open->open.target_duration_ms / 1000.0)
            result.peak = b / s;
    }
    result.average = seconds > 0 ? bits / seconds : 0;
    if (result.peak < result.average)
        result.peak = result.average;
    return result;
}

/* What is transcoded comes behind the source: until it can be measured it counts with what its encoder keeps to, or a
 * player that looks then would take a rung for cheaper than the one below. So does what is made on demand, and isn't.
 */
static struct bandwidth bandwidth_of(const struct stream *stream, uint32_t mask) {
    const struct record_open *open = &stream->open->open;
    struct bandwidth measured = bandwidth_measure(stream, mask);
    uint32_t declared = 0;
    double peak = 0;
    for (uint32_t t = 0; t < open->track_count; t++)
        if (mask & 1u << t && open->tracks[t].peak_bps) {
            declared |= 1u << t;
            peak += open->tracks[t].peak_bps;
        }
    if (!declared || measured.settled)
        return measured;
    struct bandwidth rest = declared == mask ? (struct bandwidth){0} : bandwidth_measure(stream, mask & ~declared);
    measured.peak = rest.peak + peak > measured.peak ? rest.peak + peak : measured.peak;
    measured.average = rest.average + peak > measured.average ? rest.average + peak : measured.average;
    return measured;
}

/* Of a variant with the sound that costs most: any of `group` may be played with it, in the place of its own if it is
 * nothing but sound. */
static struct bandwidth bandwidth_with(const struct stream *stream, uint32_t mask, uint32_t group) {
    struct bandwidth most = {0};
    uint32_t picture = mask & ~group;
    for (uint32_t i = 0; i < TRACKS_MAX; i++) {
        if (!(group & 1u << i))
            continue;
        struct bandwidth one = bandwidth_of(stream, picture | 1u << i);
        most.peak = one.peak > most.peak ? one.peak : most.peak;
        most.average = one.average > most.average ? one.average : most.average;
    }
    return group ? most : bandwidth_of(stream, mask);
}

/* Of the subtitles that cost most: any of them may be shown with a variant. */
static struct bandwidth bandwidth_of_text(const struct stream *stream) {
    struct bandwidth most = {0};
    for (uint32_t i = 0; i < stream->open->open.track_count; i++) {
        if (!is_text(&stream->open->open, 1u << i))
            continue;
        struct bandwidth one = bandwidth_measure(stream, 1u << i);
        most.peak = one.peak > most.peak ? one.peak : most.peak;
        most.average = one.average > most.average ? one.average : most.average;
    }
    return most;
}

/* Each once. */
static void print_codecs(struct buf *out, const struct record_open *open, uint32_t mask) {
    const char *separator = "";
    for (uint32_t i = 0; i < open->track_count; i++) {
        bool again = false;
        for (uint32_t k = 0; k < i; k++)
            again |= mask & 1u << k && !strcmp(open->tracks[k].codecs, open->tracks[i].codecs);
        if (!(mask & 1u << i) || again)
            continue;
        buf_printf(out, "%s%s", separator, open->tracks[i].codecs);
        separator = ",";
    }
}

static const char *group_name(const struct record_open *open, uint32_t group) {
    return group & low_mask(open) ? "low" : "a";
}

static void print_stream_inf(struct buf *out, const struct stream *stream, uint32_t mask, uint32_t group,
                             const char *pathway) {
    const struct record_open *open = &stream->open->open;
    const struct track_info *lead = &open->tracks[variant_lead(open, mask)];
    struct bandwidth bandwidth = bandwidth_with(stream, mask, group), text = bandwidth_of_text(stream);
    char name[VARIANT_NAME_LEN];
    buf_printf(out, "#EXT-X-STREAM-INF:BANDWIDTH=%.0f,AVERAGE-BANDWIDTH=%.0f,CODECS=\"",
               (bandwidth.peak + text.peak) * 1.05 + 1, bandwidth.average + text.average + 1);
    print_codecs(out, open, mask | group | text_mask(open));
    buf_append_str(out, "\"");
    if (lead->kind == TRACK_VIDEO) {
        buf_printf(out, ",RESOLUTION=%ux%u", lead->width, lead->height);
        if (lead->frame_rate_milli)
            buf_printf(out, ",FRAME-RATE=%.3f", lead->frame_rate_milli / 1000.0);
        if (lead->range != VIDEO_SDR) /* which is meant when it is left out */
            buf_printf(out, ",VIDEO-RANGE=%s", video_range_name(lead->range));
    }
    if (group)
        buf_printf(out, ",AUDIO=\"%s\"", group_name(open, group));
    if (text_mask(open))
        buf_append_str(out, ",SUBTITLES=\"s\"");
    if (pathway)
        buf_printf(out, ",PATHWAY-ID=\"%s\"", pathway);
    buf_printf(out, ",CLOSED-CAPTIONS=NONE\n%s.m3u8\n", variant_name(name, open, mask));
}

/* Names are what players show, and each stands once in the group. */
static void print_audio_name(struct buf *out, const struct record_open *open, uint32_t track, uint32_t number) {
    const char *language = open->tracks[track].language;
    bool again = false;
    for (uint32_t i = 0; i < track; i++)
        again |= !strcmp(open->tracks[i].language, language) && open->tracks[i].kind == TRACK_AUDIO &&
                 open->tracks[i].low == open->tracks[track].low;
    if (!language[0])
        buf_printf(out, ",NAME=\"Audio %u\"", number);
    else if (again)
        buf_printf(out, ",LANGUAGE=\"%s\",NAME=\"%s %u\"", language, language, number);
    else
        buf_printf(out, ",LANGUAGE=\"%s\",NAME=\"%s\"", language, language);
}

static void print_audio_group(struct buf *out, const struct record_open *open, uint32_t group) {
    uint32_t number = 0;
    for (uint32_t i = 0; i < open->track_count; i++) {
        if (!(group & 1u << i))
            continue;
        buf_printf(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"%s\"", group_name(open, group));
        print_audio_name(out, open, i, ++number);
        buf_printf(out, ",DEFAULT=%s,AUTOSELECT=YES,CHANNELS=\"%u\",URI=\"%s.m3u8\"\n", number == 1 ? "YES" : "NO",
                   open->tracks[i].channels, open->tracks[i].name);
    }
}

/* The sound that goes with a variant, where it has playlists of its own. */
static uint32_t group_of(const struct record_open *open, uint32_t variant) {
    uint32_t lead = variant_lead(open, variant);
    return open->tracks[lead].low ? 1u << lead : audio_mask(open);
}

/* What it is called when nobody said so. */
static const char *text_name(const struct track_info *track) {
    return track->label[0] ? track->label : track->language[0] ? track->language : track->name;
}

/* None is shown unasked, but by those who wish for its language. */
static void print_text_group(struct buf *out, const struct record_open *open) {
    for (uint32_t i = 0; i < open->track_count; i++) {
        const struct track_info *track = &open->tracks[i];
        bool again = false;
        if (track->kind != TRACK_TEXT)
            continue;
        for (uint32_t k = 0; k < i; k++)
            again |= open->tracks[k].kind == TRACK_TEXT && !strcmp(text_name(&open->tracks[k]), text_name(track));
        buf_append_str(out, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\"");
        if (track->language[0])
            buf_printf(out, ",LANGUAGE=\"%s\"", track->language);
        buf_printf(out, ",NAME=\"%s", text_name(track));
        if (again)
            buf_printf(out, " (%s)", track->name);
        buf_printf(out, "\",DEFAULT=NO,AUTOSELECT=YES,URI=\"%s.m3u8\"\n", track->name);
    }
}

/* Of the sound one playlist is a variant, too, for who wants no picture, and one for who can't have any; the group has
 * the others. */
void playlist_multivariant(struct buf *out, const struct stream *stream, enum playlist_muxed muxed,
                           const char *pathway) {
    const struct record_open *open = &stream->open->open;
    uint32_t masks[PLAYLIST_VARIANTS_MAX];
    uint32_t count = playlist_variants(open, muxed, masks);
    uint32_t audio = audio_mask(open), low = low_mask(open);
    bool split = is_split(open, muxed);
    buf_append_str(out, "#EXTM3U\n#EXT-X-VERSION:6\n");
    if (pathway)
        buf_printf(out, "#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\"%s\"\n", pathway);
    if (split)
        print_audio_group(out, open, audio);
    if (split && low)
        print_audio_group(out, open, first_of(low));
    print_text_group(out, open);
    for (uint32_t i = 0; i < count; i++)
        if (!is_text(open, masks[i]) && (!(masks[i] & audio) || masks[i] & first_of(audio)))
            print_stream_inf(out, stream, masks[i], split ? group_of(open, masks[i]) : 0, pathway);
}

/* --- media --- */

static void print_seconds(struct buf *out, uint64_t ts, uint32_t timescale) {
    uint64_t us = (ts * 1000000) / timescale; /* rounded down: never above PART-TARGET (LL-040, LL-066) */
    buf_printf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void print_header(struct rendering *r, bool skipping) {
    const struct record_open *open = r->open;
    const struct segment *first = r->stream->segments[r->first];
    uint32_t target_s = (open->target_duration_ms + 999) / 1000;
    uint64_t hold_back_ms = ((uint64_t)open->part_target_us * HOLD_BACK_PARTS + 999) / 1000;
    buf_printf(r->out, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%u\n", skipping ? 9 : 6, target_s);
    buf_printf(r->out,
               "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=%u.0,PART-HOLD-BACK=%" PRIu64 ".%03" PRIu64
               ",HOLD-BACK=%u.0\n",
               SKIP_TARGETS * target_s, hold_back_ms / 1000, hold_back_ms % 1000, HOLD_BACK_TARGETS * target_s);
    buf_append_str(r->out, "#EXT-X-PART-INF:PART-TARGET=");
    print_seconds(r->out, open->part_target_us, 1000000);
    buf_printf(r->out, "\n#EXT-X-MEDIA-SEQUENCE:%" PRIu64 "\n#EXT-X-DISCONTINUITY-SEQUENCE:%u\n", first->msn,
               first->discontinuity_sequence - first->discontinuity);
}

/* Listed, whole segments that end further than the skip boundary from the end of the last whole one. */
static uint32_t skippable(const struct rendering *r) {
    double boundary_s = SKIP_TARGETS * ((r->open->target_duration_ms + 999) / 1000);
    double behind_s = 0;
    for (uint32_t i = r->last + 1; i > r->first; i--) {
        const struct segment *segment = r->stream->segments[i - 1];
        if (!segment_whole(segment, own_mask(r, segment)))
            continue;
        if (behind_s > boundary_s)
            return i - r->first;
        behind_s += segment_seconds(segment, r->open, r->mask);
    }
    return 0;
}

/* A part of a time for which the publisher sent nothing of these tracks. */
static bool part_empty(const struct record_part *part, uint32_t mask) {
    for (uint32_t t = 0; t < TRACKS_MAX; t++)
        if (mask & 1u << t && part->tracks[t].chunks)
            return false;
    return true;
}

/* Of media files' names. */
static const char *suffix(const struct rendering *r) {
    return is_text(r->open, r->mask) ? "vtt" : "m4s";
}

static void print_part(struct rendering *r, const struct segment *segment, const struct part *part, uint32_t mask) {
    const struct record_part *p = &part->record->part;
    uint32_t lead = variant_lead(&segment->open->open, mask);
    buf_append_str(r->out, "#EXT-X-PART:DURATION=");
    print_seconds(r->out, p->tracks[lead].duration_ts, segment->open->open.tracks[lead].timescale);
    if (p->tracks[lead].independent || segment->open->open.tracks[lead].kind != TRACK_VIDEO)
        buf_append_str(r->out, ",INDEPENDENT=YES");
    buf_printf(r->out, ",URI=\"%s/p%" PRIu64 ".%s\"%s\n", r->variant, p->number, suffix(r),
               part_empty(p, mask) ? ",GAP=YES" : "");
}

static void print_segment(struct rendering *r, uint32_t i, bool with_parts, bool map) {
    const struct segment *segment = r->stream->segments[i];
    const struct record_open *open = &segment->open->open;
    uint32_t own = own_mask(r, segment), lead = variant_lead(open, own);
    char iso[CLOCK_ISO_LEN];
    if (segment->discontinuity)
        buf_append_str(r->out, "#EXT-X-DISCONTINUITY\n");
    if (map && !is_text(r->open, r->mask))
        buf_printf(r->out, "#EXT-X-MAP:URI=\"%s/init-%u.mp4\"\n", r->variant, open->tracks[lead].init_version);
    buf_printf(r->out, "#EXT-X-PROGRAM-DATE-TIME:%s\n", clock_format_iso(iso, segment->wall_us));
    for (uint32_t p = 0; with_parts && p < segment_parts(segment, own); p++)
        print_part(r, segment, &segment->parts[p], own);
    if (!segment_whole(segment, own))
        return;
    buf_append_str(r->out, "#EXTINF:");
    print_seconds(r->out, segment->duration_ts[lead], open->tracks[lead].timescale);
    buf_printf(r->out, ",\n%s/%" PRIu64 ".%s\n", r->variant, segment->msn, suffix(r));
}

static bool has_independent_part(const struct segment *segment, uint32_t track) {
    for (uint32_t p = 0; p < segment->published; p++)
        if (segment->parts[p].record->part.tracks[track].independent)
            return true;
    return false;
}

/* The first segment whose parts are listed: as far back as three target durations, and further when no key frame is in
 * there, so that a player finds one to begin at. */
static uint32_t first_with_parts(const struct rendering *r) {
    double end_s = 0, parts_s = PARTS_TARGETS * r->open->target_duration_ms / 1000.0;
    bool found = r->open->tracks[variant_lead(r->open, r->mask)].kind != TRACK_VIDEO;
    uint32_t i = r->last + 1;
    for (; i > r->first && (end_s < parts_s || !found); i--) {
        const struct segment *segment = r->stream->segments[i - 1];
        end_s += segment_seconds(segment, r->open, r->mask);
        found |= has_independent_part(segment, variant_lead(&segment->open->open, own_mask(r, segment)));
    }
    return i;
}

static void print_segments(struct rendering *r, uint32_t skipped) {
    uint32_t with_parts = first_with_parts(r);
    uint32_t version = 0;
    for (uint32_t i = r->first; i <= r->last; i++) {
        const struct segment *segment = r->stream->segments[i];
        const struct record_open *open = &segment->open->open;
        uint32_t v = open->tracks[variant_lead(open, own_mask(r, segment))].init_version;
        if (i >= r->first + skipped)
            print_segment(r, i, i >= with_parts, v != version);
        version = v;
    }
}

/* Reports are of where the stream is: what of a variant isn't here yet is brought to who asks for it. */
static void print_edge(struct rendering *r, enum playlist_muxed muxed) {
    const struct segment *last = stream_last_segment(r->stream, 0);
    if (r->stream->state == STREAM_ENDED) {
        buf_append_str(r->out, "#EXT-X-ENDLIST\n");
        return;
    }
    buf_printf(r->out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"%s/p%" PRIu64 ".%s\"\n", r->variant,
               stream_next_part(r->stream, r->mask), suffix(r));
    uint32_t masks[PLAYLIST_VARIANTS_MAX];
    uint32_t count = playlist_variants(r->open, muxed, masks);
    char name[VARIANT_NAME_LEN];
    for (uint32_t i = 0; i < count; i++)
        if (masks[i] != r->mask)
            buf_printf(r->out, "#EXT-X-RENDITION-REPORT:URI=\"%s.m3u8\",LAST-MSN=%" PRIu64 ",LAST-PART=%u\n",
                       variant_name(name, r->open, masks[i]), last->msn, last->published - 1);
}

/* Segments show as far back as all tracks are here without a gap. False: there is none. */
static bool find_segments(struct rendering *r) {
    const struct stream *stream = r->stream;
    const struct segment *last = stream_last_segment(stream, r->mask);
    if (!last)
        return false;
    for (r->last = stream->first_listed; stream->segments[r->last] != last; r->last++)
        ;
    for (r->first = r->last; r->first > stream->first_listed; r->first--) {
        const struct segment *before = stream->segments[r->first - 1];
        if (!segment_whole(before, own_mask(r, before)))
            break;
    }
    return true;
}

int playlist_media(struct buf *out, const struct stream *stream, const char *variant, bool skip,
                   enum playlist_muxed muxed) {
    struct rendering r = {.out = out, .stream = stream, .variant = variant, .open = &stream->open->open};
    r.mask = variant_parse(r.open, variant, strlen(variant));
    if (!r.mask || !find_segments(&r))
        return -ENOENT;
    uint32_t skipped = skip && stream->state != STREAM_ENDED ? skippable(&r) : 0;
    print_header(&r, skipped);
    if (skipped)
        buf_printf(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS=%u\n", skipped);
    print_segments(&r, skipped);
    print_edge(&r, muxed);
    return 0;
}
