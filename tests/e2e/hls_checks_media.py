"""Checks of recordings: playlists over time together with the media that they list (see hls_recording)."""
import re
from fractions import Fraction
from urllib.parse import urljoin

import hls_fmp4
from hls_playlist import parse_date, unquote
from hls_recording import CROSS, JITTER_S, MEDIA, PRINTED, check, of_track, percentile, seconds

# --- a recording of one rendition ----------------------------------------------------------------------------------


def appearances(recording, of):
    """When each of the things that `of` finds in a playlist was first seen; not those of the first playlist, nor of the last,
    which ENDLIST closes when nothing comes any more."""
    seen = {}
    for sample in recording.samples:
        if sample.playlist.endlist:
            break
        for key in of(sample.playlist):
            seen.setdefault(key, sample.at)
    start = recording.samples[0].at
    return [at for at in seen.values() if at > start]


def gaps(times):
    return [b - a for a, b in zip(times, times[1:]) if b > a]


@check(MEDIA, 1)
def playlist_media_type(r):
    for sample in r.samples:
        yield sample.answer.headers.get("content-type") in ("application/vnd.apple.mpegurl", "audio/mpegurl"), \
            sample.answer.headers.get("content-type")


@check(MEDIA, 19)
def segments_in_time(r):
    limit = 1.5 * r.last_playlist.target_duration + JITTER_S
    for gap in gaps(appearances(r, lambda p: [s.msn for s in p.segments])):
        yield gap <= limit, f"{gap:.3f} s between two segments"


@check(MEDIA, 20)
def parts_in_time(r):
    found = gaps(appearances(r, lambda p: [part.uri for s in p.all_segments for part in s.parts]))
    if found:
        limit = float(r.last_playlist.part_target) + JITTER_S
        yield percentile(found, 0.95) <= limit, f"95th percentile {percentile(found, 0.95):.3f} s between two parts"


@check(MEDIA, 21)
def everything_listed_is_there(r):
    for uri, answer in r.objects.items():
        yield answer.status == 200, f"{uri}: {answer.status}"


@check(MEDIA, 22)
def removed_segments_stay(r):
    for number, what, answer in r.retained:
        if number == 22:
            yield answer.status == 200, f"{what}: {answer.status}"


@check(MEDIA, 29)
def ended_segments_stay(r):
    for number, what, answer in r.retained:
        if number == 29:
            yield answer.status == 200, f"{what}: {answer.status}"


@check(MEDIA, 48)
def removed_parts_stay(r):
    for number, what, answer in r.retained:
        if number == 48:
            yield answer.status == 200, f"{what}: {answer.status}"


@check(MEDIA, 26)
def extinf_accumulates_no_error(r):
    """Over each run of segments without a discontinuity."""
    run = []
    for s in r.ordered + [None]:
        fragments = s and s.uri and r.fragments(s.uri, s.map_uri)
        if run and (not fragments or s.discontinuity):
            first, last, track = run[0], run[-1], r.lead(run[0][0].map_uri)
            start, end = of_track(first[1], track)[0], of_track(last[1], track)[-1]
            media = Fraction(end.tfdt + end.duration - start.tfdt, track.timescale)
            error = sum(s.duration for s, _ in run) - media
            yield abs(error) < Fraction(1, 1000), f"{len(run)} segments: {float(error):.6f} s off"
            run = []
        if fragments:
            run.append((s, fragments))


@check(MEDIA, 27)
def readers_see_the_same(r):
    for key, texts in r.bodies.items():
        yield len(texts) == 1, f"{len(texts)} different playlists end with {key}"


@check(MEDIA, 28)
def timestamps_continue(r):
    ends, previous = {}, None
    for s, part, fragments in r.parts:
        if s.discontinuity and s is not previous:
            ends = {}
        previous = s
        for f in fragments:
            if f.track_id in ends and f.tfdt is not None:
                yield abs(f.tfdt - ends[f.track_id]) <= 1, f"{part.uri}, track {f.track_id}: {f.tfdt - ends[f.track_id]} ticks"
            ends[f.track_id] = (f.tfdt or 0) + f.duration


def independent(r, segment, fragments):
    track = r.lead(segment.map_uri)
    samples = [sample for f in of_track(fragments, track) for sample in f.samples]
    return any(sample.sync for sample in samples) if track.handler == "vide" else True


@check(MEDIA, 42)
def independent_parts_flagged(r):
    for s, part, fragments in r.parts:
        if independent(r, s, fragments):
            yield part.independent, part.uri


@check(MEDIA, 43)
def flagged_parts_independent(r):
    for s, part, fragments in r.parts:
        if part.independent:
            yield independent(r, s, fragments), part.uri


@check(MEDIA, 43)
def sync_samples_are_idr(r):
    for s, part, fragments in r.parts:
        track = r.lead(s.map_uri)
        for f in of_track(fragments, track) if track.entry.startswith("avc") else ():
            for sample in f.samples:
                yield sample.sync == hls_fmp4.has_idr(sample), f"{part.uri}: sample flags and NAL units disagree"


def whole_segments(r):
    """Segments of which the segment and all parts were fetched."""
    for s in r.ordered:
        if s.parts and all(uri in r.objects and r.objects[uri].status == 200 for uri in (s.uri, *(p.uri for p in s.parts))):
            yield s


@check(MEDIA, 126)
def parts_are_the_segment(r):
    for s in whole_segments(r):
        yield b"".join(r.objects[p.uri].body for p in s.parts) == r.objects[s.uri].body, f"{s.uri} is not its parts"


@check(MEDIA, 46)
def parts_hold_the_segments_samples(r):
    for s in whole_segments(r):
        track = r.lead(s.map_uri)
        total = sum((seconds(r.fragments(p.uri, s.map_uri), track) for p in s.parts), Fraction(0))
        yield abs(total - s.duration) <= PRINTED, f"{s.uri}: samples of its parts {float(total)}, EXTINF {float(s.duration)}"


@check(MEDIA, 51)
def hinted_uri_is_listed_next(r):
    for a, b in zip(r.samples, r.samples[1:]):
        hint = next((unquote(h["URI"]) for h in a.playlist.hints if h.get("TYPE") == "PART"), None)
        before = {p.uri for s in a.playlist.all_segments for p in s.parts}
        new = [p.uri for s in b.playlist.all_segments for p in s.parts if p.uri not in before]
        if hint and new:
            yield new[0] == hint, f"hinted {hint}, listed {new[0]}"


@check(MEDIA, 52)
def hinted_part_held(r):
    for uri in r.hinted:
        yield r.objects[uri].status == 200, f"{uri}: {r.objects[uri].status} to a request for the hint"


@check(MEDIA, 54)
def abandoned_hint_is_404(r):
    for uri, answer in r.abandoned.items():
        yield answer.status == 404, f"{uri}: {answer.status}"


@check(MEDIA, 53)
def parts_sent_whole(r):
    for uri in r.hinted:
        answer = r.objects[uri]
        yield answer.last - answer.head < float(r.last_playlist.part_target) / 2, f"{uri}: {answer.last - answer.head:.3f} s"


@check(MEDIA, 61)
def segments_hold_an_independent_frame(r):
    for s in r.ordered:
        fragments = s.uri and r.fragments(s.uri, s.map_uri)
        if fragments:
            yield independent(r, s, fragments), s.uri


@check(MEDIA, 124)
def segments_start_with_idr(r):
    for s in r.ordered:
        fragments = s.uri and r.fragments(s.uri, s.map_uri)
        if fragments and r.lead(s.map_uri).handler == "vide":
            yield of_track(fragments, r.lead(s.map_uri))[0].samples[0].sync, s.uri


@check(MEDIA, 64)
def lists_parts(r):
    yield any(s.parts for s in r.ordered), f"{r.url} has no EXT-X-PART"


@check(MEDIA, 72)
def reload_blocks_until_part(r):
    for sample in r.samples:
        if sample.asked and sample.answer.status == 200 and not sample.playlist.endlist:
            msn, index = sample.playlist.last
            yield (msn, index if index is not None else 1 << 30) >= sample.asked, f"asked {sample.asked}, got {(msn, index)}"


@check(MEDIA, 88)
def media_cached_long(r):
    for uri, answer in r.objects.items():
        if answer.status == 200:
            least = 6 * r.last_playlist.target_duration
            yield (answer.max_age or 0) >= least, f"{uri}: {answer.headers.get('cache-control')}"


@check(MEDIA, 104)
def tracks_change_at_discontinuities_only(r):
    previous = None
    for s in r.ordered:
        if previous and s.map_uri in r.inits and previous.map_uri in r.inits and not s.discontinuity:
            a, b = r.inits[previous.map_uri], r.inits[s.map_uri]
            yield {(t.id, t.codecs, t.width) for t in a.tracks.values()} == \
                  {(t.id, t.codecs, t.width) for t in b.tracks.values()}, f"msn {s.msn}"
        previous = s


@check(MEDIA, 105)
def new_map_at_discontinuity(r):
    for a, b in zip(r.ordered, r.ordered[1:]):
        if a.map_uri != b.map_uri:
            yield b.discontinuity, f"msn {b.msn}: {a.map_uri} -> {b.map_uri} without EXT-X-DISCONTINUITY"


@check(MEDIA, 120)
def init_is_right(r):
    for uri, init in r.inits.items():
        brands = [brand for brand in init.brands if re.fullmatch(r"iso[6-9]|cmf.", brand)]
        yield bool(brands) and init.order[:2] == ["ftyp", "moov"], f"{uri}: {init.brands} {init.order}"
        yield init.has_mvex and not init.has_mehd and init.mvhd_duration == 0, f"{uri}: mvhd {init.mvhd_duration}"
        for t in init.tracks.values():
            yield t.tkhd_duration == 0 and t.sample_count == 0, f"{uri}: track {t.id} has a duration or samples"


@check(MEDIA, 122)
def fragments_relative_to_moof(r):
    for s, part, fragments in r.parts:
        for f in fragments:
            yield f.tfdt is not None and f.base_is_moof and not f.base_offset, f"{part.uri}: {f.track_id}"
        yield not any(t.external for t in r.inits[s.map_uri].tracks.values()), f"{s.map_uri}: external data"


@check(MEDIA, 123)
def track_ids_known(r):
    for s, part, fragments in r.parts:
        yield {f.track_id for f in fragments} <= set(r.inits[s.map_uri].tracks), f"{part.uri}: {[f.track_id for f in fragments]}"


@check(MEDIA, 127)
def part_duration_is_its_samples(r):
    for s, part, fragments in r.parts:
        track = r.lead(s.map_uri)
        error = seconds(fragments, track) - part.duration
        yield abs(error) <= Fraction(1, track.timescale) + PRINTED, f"{part.uri}: {float(error):.6f} s"
        yield all(f.samples and f.samples[-1].duration for f in fragments), f"{part.uri}: a last sample without duration"


# --- all renditions of a stream ------------------------------------------------------------------------------------


# `m`: the last multivariant playlist while it was live, `rs`: recordings by URI as the multivariant playlist lists them.


def pairs(rs):
    names = sorted(rs)
    return [(rs[a], rs[b]) for i, a in enumerate(names) for b in names[i + 1:]]


@check(CROSS, 13)
def same_target_duration(m, rs):
    for a, b in pairs(rs):
        yield a.last_playlist.target_duration == b.last_playlist.target_duration, f"{a.url}, {b.url}"


@check(CROSS, 37)
def same_server_control(m, rs):
    for a, b in pairs(rs):
        yield a.last_playlist.server_control == b.last_playlist.server_control, \
            f"{a.last_playlist.server_control} and {b.last_playlist.server_control}"


@check(CROSS, 64)
def same_part_target(m, rs):
    for a, b in pairs(rs):
        yield a.last_playlist.part_target == b.last_playlist.part_target, f"{a.url}, {b.url}"


@check(CROSS, 57)
def reports_of_all_others(m, rs):
    wanted = set(rs)
    for name, r in rs.items():
        for sample in r.samples:
            if not sample.playlist.endlist:
                found = [unquote(x.get("URI", '""')) for x in sample.playlist.reports]
                yield sorted(found) == sorted(wanted - {name}), f"{name}: reports of {found}"


@check(CROSS, 58)
def reports_resolve(m, rs):
    known = {r.url for r in rs.values()}
    for r in rs.values():
        for x in r.samples[0].playlist.reports:
            yield urljoin(r.url, unquote(x.get("URI", '""'))) in known, x


@check(CROSS, 60)
def reports_fresh(m, rs):
    """A report is at most one part behind what that rendition's own playlist showed before."""
    for name, r in rs.items():
        for other, o in rs.items():
            if other == name:
                continue
            behind = list(report_lags(r, other, o))
            if behind:
                yield max(behind) <= 1, f"{name} reports {other} up to {max(behind)} parts late"


def report_lags(r, other, o):
    order = {(s.msn, i): n for n, (s, i) in enumerate((s, i) for s in o.ordered for i in range(len(s.parts)))}
    for sample in r.samples:
        own = [x.playlist.last for x in o.samples if x.at <= sample.answer.sent and not x.playlist.endlist]
        for x in sample.playlist.reports:
            reported = (int(x.get("LAST-MSN", -1)), int(x.get("LAST-PART", -1)))
            if unquote(x.get("URI", '""')) == other and own and own[-1] in order:
                yield order[own[-1]] - order.get(reported, order[own[-1]] if reported > own[-1] else -1)


@check(CROSS, 62)
def renditions_updated_together(m, rs):
    for a, b in pairs(rs):
        seen = []
        for r in (a, b):
            times = {}
            for sample in r.samples[1:]:
                times.setdefault(sample.playlist.last, sample.at)
            seen.append(times)
        apart = [abs(seen[0][key] - seen[1][key]) for key in seen[0].keys() & seen[1].keys()]
        if apart:
            limit = float(a.last_playlist.part_target)
            yield percentile(apart, 0.95) <= limit, f"95th percentile {percentile(apart, 0.95):.3f} s apart"


def first_times(r):
    """(msn, track's handler, codecs) -> seconds of its first sample in that segment."""
    found = {}
    for s, _, fragments in r.parts:
        for f in fragments:
            track = r.inits[s.map_uri].tracks.get(f.track_id)
            if track and f.tfdt is not None:
                found.setdefault((s.msn, track.handler), Fraction(f.tfdt, track.timescale))
    return found


@check(CROSS, 100)
def dates_map_alike(m, rs):
    for a, b in pairs(rs):
        for msn in a.segments.keys() & b.segments.keys():
            s, t = a.segments[msn], b.segments[msn]
            if s.pdt and t.pdt:
                yield abs(parse_date(s.pdt) - parse_date(t.pdt)) < 0.04, f"msn {msn}: {s.pdt} and {t.pdt}"


@check(CROSS, 107)
def same_discontinuity_numbers(m, rs):
    for a, b in pairs(rs):
        for msn in a.segments.keys() & b.segments.keys():
            yield a.segments[msn].discontinuity_number == b.segments[msn].discontinuity_number, f"msn {msn}"


@check(CROSS, 108)
def same_content_same_timestamps(m, rs):
    for a, b in pairs(rs):
        x, y = first_times(a), first_times(b)
        for key in x.keys() & y.keys():
            yield x[key] == y[key], f"msn {key[0]}: {float(x[key]):.6f} and {float(y[key]):.6f}"


@check(CROSS, 111)
def content_in_all_renditions(m, rs):
    for a, b in pairs(rs):
        missing = sorted(a.segments.keys() ^ b.segments.keys())
        ends = {min(a.segments), max(a.segments), min(b.segments), max(b.segments)}
        yield all(msn in ends for msn in missing), f"only in one of them: {missing}"


def rates(r, playlist):
    """Bits a second of each listed segment that was fetched and is between 0.5 and 1.5 target durations; bits, seconds."""
    runs, bits, length = [], 0, Fraction(0)
    for s in playlist.segments:
        if s.uri in r.objects and s.duration:
            size = 8 * len(r.objects[s.uri].body)
            bits, length = bits + size, length + s.duration
            if s.duration >= Fraction(playlist.target_duration, 2):
                runs.append(float(size / s.duration))
    return runs, float(bits / length) if length else 0


def judged_variants(m, rs):
    """(attributes, uri, recordings) of each variant: its own and those of its audio group, which players load with it."""
    for attributes, uri in m.variants:
        group = [unquote(g["URI"]) for g in m.media
                 if g.get("TYPE") == "AUDIO" and g.get("GROUP-ID") == attributes.get("AUDIO") and "URI" in g]
        uris = list(dict.fromkeys([uri, *group]))
        if all(u in rs for u in uris):
            yield attributes, uri, [rs[u] for u in uris]


def tracks_now(recordings):
    """Of their newest inits; none when one of those was not fetched."""
    inits = [r.inits.get(r.ordered[-1].map_uri) for r in recordings]
    return [t for init in inits for t in init.tracks.values()] if all(inits) else []


@check(CROSS, 130)
def bandwidth_covers_the_peak(m, rs):
    for attributes, uri, recordings in judged_variants(m, rs):
        runs = [rates(r, r.last_playlist)[0] for r in recordings]
        if all(runs):
            peak = sum(map(max, runs))
            yield int(attributes["BANDWIDTH"]) >= peak, f"{uri}: {attributes['BANDWIDTH']}, measured {peak:.0f}"


@check(CROSS, 131)
def average_bandwidth_true(m, rs):
    for attributes, uri, recordings in judged_variants(m, rs):
        averages = [rates(r, r.last_playlist)[1] for r in recordings]
        if all(averages) and "AVERAGE-BANDWIDTH" in attributes:
            said, average = int(attributes["AVERAGE-BANDWIDTH"]), sum(averages)
            yield abs(said - average) <= 0.1 * average, f"{uri}: {said}, measured {average:.0f}"


@check(CROSS, 132)
def codecs_match_the_init(m, rs):
    for attributes, uri, recordings in judged_variants(m, rs):
        if tracks := tracks_now(recordings):
            said = sorted(unquote(attributes.get("CODECS", '""')).lower().split(","))
            yield said == sorted({t.codecs.lower() for t in tracks}), f"{uri}: {said}"


@check(CROSS, 133)
def resolution_matches_the_init(m, rs):
    for attributes, uri, recordings in judged_variants(m, rs):
        for t in tracks_now(recordings):
            if t.handler == "vide":
                yield attributes.get("RESOLUTION") == f"{t.width}x{t.height}", f"{uri}: {attributes.get('RESOLUTION')}"


def sounds(r):
    """(msn, track's id) -> all its samples in that segment, for whole segments."""
    found = {}
    for s in r.ordered:
        for f in (r.fragments(s.uri, s.map_uri) or []) if s.uri else []:
            if r.inits[s.map_uri].tracks[f.track_id].handler == "soun":
                found[s.msn, f.track_id] = found.get((s.msn, f.track_id), b"") + b"".join(x.data for x in f.samples)
    return found


@check(CROSS, 143)
def variants_share_their_sound(m, rs):
    """Those with a picture have the same track of it, and a track is the same wherever it is muxed in."""
    muxed = {uri: {t.id for init in r.inits.values() for t in init.tracks.values() if t.handler == "soun"}
             for uri, r in rs.items() if any(t.handler == "vide" for init in r.inits.values() for t in init.tracks.values())}
    if len(muxed) > 1:
        yield len({frozenset(ids) for ids in muxed.values()}) == 1, muxed
    for a, b in pairs(rs):
        x, y = sounds(a), sounds(b)
        for key in x.keys() & y.keys():
            yield x[key] == y[key], f"msn {key[0]}: track {key[1]} differs"
