"""Judges Low-Latency HLS by the checklist in docs/hls.md. Pure: it looks at what hls_recorder brought home.

A check is a generator of (ok, evidence) under one number. One that yields nothing had nothing to look at, and the number
stays "not tested": never a pass. Checks come in six kinds, by what they look at:

    STATIC   one media playlist             PAIR    a media playlist and its next version
    MULTI    one multivariant playlist      MEDIA   a recording of one rendition: playlists, objects, their times
    PROBE    answers to single requests     CROSS   all renditions of a stream, recorded at the same time
"""
import gzip
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from urllib.parse import urljoin

import hls_fmp4
from hls_playlist import BEFORE_PARTS, Playlist, parse, parse_date, unquote

STATIC, PAIR, MULTI, MEDIA, PROBE, CROSS = [], [], [], [], [], []
PRINTED = Fraction(1, 100000)  # playlists print at least five decimals
# What a shared test machine may add to an interval. The server's own share is measured by the benches.
JITTER_S = 0.15
AT_ONCE_S = 0.1  # an answer that did not wait for media


def check(kind, number):
    def register(fn):
        fn.number = number
        kind.append(fn)
        return fn
    return register


class Report:
    def __init__(self):
        self.passes, self.failures = Counter(), defaultdict(list)

    def judge(self, number, ok, evidence):
        if ok:
            self.passes[number] += 1
        else:
            self.failures[number].append(str(evidence))

    def run(self, checks, *args):
        for fn in checks:
            try:
                for ok, evidence in fn(*args):
                    self.judge(fn.number, ok, f"{fn.__name__}: {evidence}")
            except hls_fmp4.Mp4Error as error:
                self.judge(fn.number, False, f"{fn.__name__}: {error}")

    def status(self, number):
        return "fail" if self.failures[number] else "pass" if self.passes[number] else "not tested"

    def require(self, number):
        """For tests: passed, and was looked at."""
        failures = self.failures[number]
        assert not failures, f"LL-{number:03}: {len(failures)} × failed, first: " + "\n  ".join(failures[:5])
        assert self.passes[number], f"LL-{number:03}: not tested, there was nothing to judge"

    def __str__(self):
        numbers = sorted(set(self.passes) | {n for n, f in self.failures.items() if f})
        return "\n".join(f"LL-{n:03} {self.status(n)} ({self.passes[n]} × good) {' | '.join(self.failures[n][:2])}"
                         for n in numbers)


# --- what the recorder brings ---------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: dict  # names in lower case
    body: bytes = b""
    sent: float = 0.0  # monotonic seconds: request out, headers in, first and last byte of the body in
    head: float = 0.0
    first: float = 0.0
    last: float = 0.0

    @property
    def took(self):
        return self.last - self.sent

    @property
    def max_age(self):
        match = re.search(r"max-age=(\d+)", self.headers.get("cache-control", ""))
        return int(match.group(1)) if match else None


@dataclass
class Sample:
    at: float
    answer: Answer
    playlist: Playlist
    asked: tuple | None = None  # (msn, part) of the blocking reload


@dataclass
class Recording:
    url: str
    samples: list[Sample] = field(default_factory=list)
    objects: dict[str, Answer] = field(default_factory=dict)  # by URI as listed
    hinted: set[str] = field(default_factory=set)  # of those, asked for while only hinted
    retained: list[tuple[int, str, Answer]] = field(default_factory=list)  # number, what, answer after removal
    bodies: dict[tuple, set] = field(default_factory=lambda: defaultdict(set))  # newest part -> texts that readers saw

    @cached_property
    def segments(self):
        """Every segment ever listed, by msn, each with all the parts that were ever listed of it."""
        found = {}
        for sample in self.samples:
            for s in sample.playlist.all_segments:
                known = found.get(s.msn)
                parts = known.parts if known and len(known.parts) > len(s.parts) else s.parts
                found[s.msn] = replace(s, parts=parts)
        return found

    @cached_property
    def inits(self):
        return {uri: hls_fmp4.parse_init(self.objects[uri].body)
                for uri in {s.map_uri for s in self.segments.values()} if uri in self.objects}

    def fragments(self, uri, map_uri):
        answer = self.objects.get(uri)
        if not answer or answer.status != 200 or map_uri not in self.inits:
            return None
        return hls_fmp4.parse_fragments(answer.body, self.inits[map_uri])

    @cached_property
    def parts(self):
        """(segment, part, fragments) of every part that was fetched, in order."""
        return [(s, p, fragments) for s in self.ordered for p in s.parts
                if (fragments := self.fragments(p.uri, s.map_uri)) is not None]

    @property
    def ordered(self):
        return [self.segments[msn] for msn in sorted(self.segments)]

    @property
    def last_playlist(self):
        return self.samples[-1].playlist

    def lead(self, map_uri):
        """The track whose durations the playlist shows."""
        tracks = self.inits[map_uri].tracks.values()
        return next((t for t in tracks if t.handler == "vide"), next(iter(tracks)))


def of_track(fragments, track):
    return [f for f in fragments if f.track_id == track.id]


def seconds(fragments, track):
    return Fraction(sum(f.duration for f in of_track(fragments, track)), track.timescale)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


# --- one media playlist ---------------------------------------------------------------------------------------------

ALWAYS = (2, 3, 4, 5, 7, 8, 27)  # the reader looks at these in every playlist


def judge_form(report, playlist):
    """What the reader complained about, and passes for what it looked at."""
    broken = {number for number, _ in playlist.problems}
    for number, text in playlist.problems:
        report.judge(number, False, text)
    looked = set(ALWAYS)
    if any(s.parts for s in playlist.all_segments):
        looked |= {39, 45}
    if any(s.gap for s in playlist.all_segments):
        looked.add(110)
    if playlist.discontinuity_sequence is not None:
        looked.add(106)
    if not playlist.multivariant:
        looked.add(14)
    for number in looked - broken:
        report.judge(number, True, "")


def version_needed(p):
    if p.skipped:
        return 9
    if any(s.map_here for s in p.all_segments):
        return 6
    return 3 if any("." in line for s in p.segments for line in s.lines if line.startswith("#EXTINF")) else 1


@check(STATIC, 5)
def version_suffices(p):
    yield (p.version or 1) >= version_needed(p), f"EXT-X-VERSION {p.version}, needed {version_needed(p)}"


@check(STATIC, 6)
def version_no_greater(p):
    if not p.variants:
        yield (p.version or 1) <= max(6, version_needed(p)), f"EXT-X-VERSION {p.version}, needed {version_needed(p)}"


@check(STATIC, 10)
def target_duration_present(p):
    yield p.target_duration >= 1, f"EXT-X-TARGETDURATION {p.target_duration}"


@check(STATIC, 11)
def extinf_within_target(p):
    for s in p.segments:
        yield int(s.duration + Fraction(1, 2)) <= p.target_duration, f"{s.uri}: EXTINF {float(s.duration)}"


@check(STATIC, 16)
def parts_listed_at_the_end_only(p):
    with_parts = [bool(s.parts) for s in p.all_segments]
    if any(with_parts):
        yield all(with_parts[with_parts.index(True):]), f"segments with parts: {with_parts}"


@check(STATIC, 24)
def no_playlist_type(p):
    yield p.playlist_type is None, f"EXT-X-PLAYLIST-TYPE:{p.playlist_type}"


@check(STATIC, 25)
def endlist_closes(p):
    if p.endlist:
        yield not p.hints and not p.open, f"with ENDLIST: {len(p.hints)} hints, open segment {p.open and p.open.msn}"


@check(STATIC, 30)
def parts_have_part_inf(p):
    if any(s.parts for s in p.all_segments):
        yield p.part_target is not None, "EXT-X-PART without EXT-X-PART-INF"


def control(p, name):
    value = (p.server_control or {}).get(name)
    return Fraction(value) if value and re.fullmatch(r"\d+(\.\d+)?", value) else None


@check(STATIC, 31)
def part_inf_has_hold_back(p):
    if p.part_target is not None:
        yield control(p, "PART-HOLD-BACK") is not None, p.server_control_line


@check(STATIC, 32)
def part_hold_back_two_parts(p):
    if p.part_target is not None and (held := control(p, "PART-HOLD-BACK")) is not None:
        yield held >= 2 * p.part_target, f"PART-HOLD-BACK {float(held)}, PART-TARGET {float(p.part_target)}"


@check(STATIC, 33)
def part_hold_back_three_parts(p):
    if p.part_target is not None and (held := control(p, "PART-HOLD-BACK")) is not None:
        yield held >= 3 * p.part_target, f"PART-HOLD-BACK {float(held)}, PART-TARGET {float(p.part_target)}"


@check(STATIC, 34)
def hold_back_three_targets(p):
    if p.server_control is not None and (held := control(p, "HOLD-BACK")) is not None:
        yield held >= 3 * p.target_duration, f"HOLD-BACK {float(held)}"


@check(STATIC, 35)
def skip_boundary_six_targets(p):
    if (boundary := control(p, "CAN-SKIP-UNTIL")) is not None:
        yield boundary >= 6 * p.target_duration, f"CAN-SKIP-UNTIL {float(boundary)}"


@check(STATIC, 36)
def skip_dateranges_with_skip_until(p):
    if p.server_control is not None:
        yield "CAN-SKIP-DATERANGES" not in p.server_control or "CAN-SKIP-UNTIL" in p.server_control, p.server_control_line


@check(STATIC, 40)
def part_within_target(p):
    for s in p.all_segments:
        for part in s.parts if p.part_target is not None else ():
            yield part.duration <= p.part_target, f"{part.uri}: {part.printed} > {float(p.part_target)}"


@check(STATIC, 41)
def part_not_too_short(p):
    """Judged when the next part, or the end of the segment, is known."""
    for s in p.all_segments:
        for part, following in zip(s.parts, s.parts[1:]) if p.part_target is not None else ():
            allowed = part.independent or part.gap or following.gap
            yield allowed or part.duration >= Fraction(85, 100) * p.part_target, \
                f"{part.uri}: {part.printed} of {float(p.part_target)}"


@check(STATIC, 46)
def parts_sum_to_extinf(p):
    for s in p.segments:
        if s.parts:
            total = sum(part.duration for part in s.parts)
            yield abs(total - s.duration) <= PRINTED * (len(s.parts) + 1), f"{s.uri}: {float(total)}, EXTINF {float(s.duration)}"


@check(STATIC, 47)
def old_parts_removed(p):
    behind = Fraction(0)
    for s in reversed(p.all_segments):
        if s.parts:
            yield behind <= 3 * p.target_duration, f"msn {s.msn}: parts {float(behind)} s from the end"
        behind += s.length


@check(STATIC, 49)
def next_part_hinted(p):
    if not p.endlist and any(s.parts for s in p.all_segments):
        yield any(h.get("TYPE") == "PART" for h in p.hints), "no EXT-X-PRELOAD-HINT:TYPE=PART"


@check(STATIC, 50)
def one_hint_a_type(p):
    if p.hints:
        yield max(Counter(h.get("TYPE") for h in p.hints).values()) == 1, p.hints


@check(STATIC, 58)
def report_uri_relative(p):
    for r in p.reports:
        uri = unquote(r.get("URI", '""'))
        yield bool(uri) and not re.match(r"[a-z]+:|/", uri), uri


@check(STATIC, 59)
def report_complete(p):
    for r in p.reports:
        yield "LAST-MSN" in r and "LAST-PART" in r, r


@check(STATIC, 66)
def durations_printed_exactly(p):
    for s in p.all_segments:
        for part in s.parts:
            yield len(part.printed.partition(".")[2]) >= 5, f"{part.uri}: DURATION={part.printed}"


@check(STATIC, 94)
def media_on_the_same_authority(p):
    uris = [uri for s in p.all_segments for uri in (s.uri, s.map_uri, *(part.uri for part in s.parts)) if uri]
    for uri in uris + [uri for _, uri in p.variants]:
        yield not re.match(r"[a-z]+:|//", uri), uri


@check(STATIC, 100)
def date_on_every_segment(p):
    for s in p.all_segments:
        yield s.pdt is not None, f"msn {s.msn} has no PROGRAM-DATE-TIME"


@check(STATIC, 101)
def date_with_zone_and_ms(p):
    for s in p.all_segments:
        if s.pdt:
            yield parse_date(s.pdt) is not None and bool(re.search(r"T\d\d:\d\d:\d\d\.\d{3}", s.pdt)), s.pdt


@check(STATIC, 102)
def date_after_discontinuity(p):
    for s in p.all_segments:
        if s.discontinuity:
            yield s.pdt is not None, f"msn {s.msn}"


@check(STATIC, 103)
def dates_continue(p):
    for before, after in zip(p.segments, p.all_segments[1:]):
        if before.pdt and after.pdt and not after.discontinuity:
            gap = parse_date(after.pdt) - parse_date(before.pdt) - float(before.duration)
            yield abs(gap) < 1, f"msn {after.msn}: {gap:.3f} s between the dates"


@check(STATIC, 106)
def discontinuity_sequence_present(p):
    if any(s.discontinuity for s in p.all_segments):
        yield p.discontinuity_sequence is not None, "a discontinuity, and no EXT-X-DISCONTINUITY-SEQUENCE"


@check(STATIC, 112)
def start_outside_hold_back(p):
    if p.start and not p.endlist:
        offset = Fraction(p.start.get("TIME-OFFSET", "0"))
        yield offset >= 0 or -offset >= 3 * p.target_duration, p.start


@check(STATIC, 121)
def every_segment_has_map(p):
    if not p.skipped:
        for s in p.all_segments:
            yield bool(s.map_uri), f"msn {s.msn} has no EXT-X-MAP"


# --- a playlist and its next version --------------------------------------------------------------------------------


@check(PAIR, 12)
def target_duration_constant(a, b):
    yield a.target_duration == b.target_duration, f"{a.target_duration} -> {b.target_duration}"


@check(PAIR, 14)
def media_sequence_never_falls(a, b):
    yield b.media_sequence >= a.media_sequence, f"{a.media_sequence} -> {b.media_sequence}"


@check(PAIR, 15)
def uri_of_msn_constant(a, b):
    known = {s.msn: s.uri for s in a.segments}
    for s in b.segments:
        if s.msn in known:
            yield s.uri == known[s.msn], f"msn {s.msn}: {known[s.msn]} -> {s.uri}"


@check(PAIR, 16)
def removed_from_the_front(a, b):
    kept = {s.msn for s in b.all_segments}
    gone = [s.msn for s in a.all_segments if s.msn not in kept]
    yield all(msn < b.media_sequence for msn in gone), f"gone: {gone}, now from {b.media_sequence}"


@check(PAIR, 17)
def only_permitted_changes(a, b):
    yield a.header_lines == b.header_lines, f"{a.header_lines} -> {b.header_lines}"
    yield not a.endlist or a.text == b.text, "a change after ENDLIST"
    after = {s.msn: s for s in b.all_segments}
    for s in a.all_segments:
        t = after.get(s.msn)
        if t is None:
            yield s.msn < b.media_sequence, f"msn {s.msn} vanished"
        elif s.duration is not None:
            # The first listed segment repeats the EXT-X-MAP that it inherited before.
            strip = [line for line in s.lines if not line.startswith("#EXT-X-MAP")]
            yield strip == [line for line in t.lines if not line.startswith("#EXT-X-MAP")], f"{s.lines} -> {t.lines}"
            yield t.parts in ([], s.parts), f"msn {s.msn}: parts of a whole segment changed"
        else:
            yield t.parts[:len(s.parts)] == s.parts or not t.parts, f"msn {s.msn}: listed parts changed"
            head = [line for line in s.lines if line[1:].split(":")[0] in BEFORE_PARTS - {"EXT-X-MAP"}]
            yield all(line in t.lines for line in head), f"msn {s.msn}: {head} -> {t.lines}"


@check(PAIR, 18)
def three_targets_left(a, b):
    if b.media_sequence > a.media_sequence:
        yield b.duration >= 3 * b.target_duration, f"{float(b.duration)} s left"


@check(PAIR, 38)
def low_latency_constants(a, b):
    yield (a.part_target, a.server_control_line) == (b.part_target, b.server_control_line), \
        f"{a.part_target} {a.server_control_line} -> {b.part_target} {b.server_control_line}"


@check(PAIR, 106)
def discontinuity_sequence_counts_removals(a, b):
    numbers = {s.msn: s.discontinuity_number for s in a.all_segments}
    for s in b.all_segments:
        if s.msn in numbers:
            yield s.discontinuity_number == numbers[s.msn], f"msn {s.msn}: {numbers[s.msn]} -> {s.discontinuity_number}"
            break


# --- a multivariant playlist ----------------------------------------------------------------------------------------


@check(MULTI, 132)
def codecs_present(m):
    for attributes, uri in m.variants:
        yield "CODECS" in attributes, uri


@check(MULTI, 133)
def resolution_and_rate_present(m):
    for attributes, uri in m.variants:
        if re.search(r"avc|hvc|av01", attributes.get("CODECS", "")):
            yield "RESOLUTION" in attributes and "FRAME-RATE" in attributes, f"{uri}: {attributes}"


@check(MULTI, 134)
def video_range_sdr(m):
    """H.264 by RTMP carries no HDR here, and an absent attribute means SDR."""
    for attributes, uri in m.variants:
        yield attributes.get("VIDEO-RANGE", "SDR") == "SDR", uri


@check(MULTI, 135)
def groups_exist(m):
    groups = {(g.get("TYPE"), g.get("GROUP-ID")) for g in m.media}
    for attributes, uri in m.variants:
        for kind in ("AUDIO", "VIDEO", "SUBTITLES"):
            if kind in attributes:
                yield (kind, attributes[kind]) in groups, f"{uri}: {kind}={attributes[kind]}"


@check(MULTI, 136)
def renditions_complete(m):
    groups = defaultdict(list)
    for g in m.media:
        groups[g.get("TYPE"), g.get("GROUP-ID")].append(g)
        yield g.get("DEFAULT") != "YES" or g.get("AUTOSELECT") != "NO", g
    for members in groups.values():
        names = [g.get("NAME") for g in members]
        yield len(set(names)) == len(names) and sum(g.get("DEFAULT") == "YES" for g in members) <= 1, names


@check(MULTI, 138)
def audio_has_channels(m):
    for g in m.media:
        if g.get("TYPE") == "AUDIO":
            yield "CHANNELS" in g, g


@check(MULTI, 140)
def captions_none_everywhere(m):
    values = {attributes.get("CLOSED-CAPTIONS") for attributes, _ in m.variants}
    if m.variants:
        yield "NONE" not in values or values == {"NONE"}, values


@check(MULTI, 141)
def independent_segments_not_claimed(m):
    yield not m.independent_segments, "EXT-X-INDEPENDENT-SEGMENTS, though GOPs longer than the target are cut"


@check(MULTI, 142)
def lowest_rung_is_audio(m):
    if len(m.variants) > 1:
        attributes, uri = m.variants[-1]
        yield "RESOLUTION" not in attributes and re.fullmatch(r'"mp4a[^,]*"', attributes.get("CODECS", "")), f"{uri}: {attributes}"


# --- a recording of one rendition -----------------------------------------------------------------------------------


def appearances(recording, of):
    """When each of the things that `of` finds in a playlist was first seen; not those of the first playlist."""
    seen = {}
    for sample in recording.samples:
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
        if s.uri in r.objects and s.parts and all(p.uri in r.objects for p in s.parts):
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


# --- answers to single requests: hls_recorder.PROBES names them -------------------------------------------------------


def asked(probes, *names):
    return [(name, probes[name]) for name in names if name in probes]


def is_now(answer, status):
    return answer.status == status and answer.took < AT_ONCE_S


@check(PROBE, 9)
def playlists_compressed(q):
    for name, answer in asked(q, "gzip"):
        yield answer.headers.get("content-encoding") == "gzip", answer.headers
        yield parse(gzip.decompress(answer.body)).problems == [], "the compressed playlist can't be read"


@check(PROBE, 54)
def unknown_is_404(q):
    for name, answer in asked(q, "unknown_part", "unknown_segment", "unknown_init", "unknown_variant", "unknown_stream"):
        yield is_now(answer, 404), f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 71)
def msn_alone_answered_at_its_first_part(q):
    for name, answer in asked(q, "next_segment"):
        p = parse(answer.body)
        msn = int(answer.headers["x-asked-msn"])
        yield answer.status == 200 and p.last[0] >= msn and (p.open is not None), f"asked {msn}, got {p.last}"


@check(PROBE, 70)
def msn_alone_waits_for_its_segment(q):
    """LL-071 is the deviation from the letter: its first part is enough. Nothing of it is not."""
    for name, answer in asked(q, "next_segment"):
        yield answer.status == 200 and parse(answer.body).last[0] >= int(answer.headers["x-asked-msn"]), parse(answer.body).last


@check(PROBE, 73)
def part_past_the_end_is_the_next_segments_first(q):
    for name, answer in asked(q, "past_final"):
        msn = int(answer.headers["x-asked-msn"])
        yield answer.status == 200 and parse(answer.body).last >= (msn + 1, 0), f"asked past the end of {msn}: {answer.status}"


@check(PROBE, 74)
def old_msn_answered_at_once(q):
    for name, answer in asked(q, "msn_present", "msn_long_gone"):
        yield is_now(answer, 200), f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 75)
def msn_too_far_refused(q):
    for name, answer in asked(q, "msn_ahead"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 76)
def part_too_far_refused(q):
    for name, answer in asked(q, "part_ahead"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 77)
def part_alone_refused(q):
    for name, answer in asked(q, "part_alone"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 78)
def blocked_too_long_is_503(q):
    for name, answer in asked(q, "silence"):
        target = int(answer.headers["x-target-duration"])
        yield answer.status == 503 and 3 * target - 0.5 <= answer.took <= 3 * target + 2, \
            f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 79)
def ended_ignores_directives(q):
    for name, answer in asked(q, "ended_msn", "ended_skip"):
        p = parse(answer.body)
        yield is_now(answer, 200) and p.endlist and not p.skipped, f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 79)
def end_releases_the_blocked(q):
    for name, answer in asked(q, "blocked_at_end"):
        yield answer.status == 200 and parse(answer.body).endlist, f"{answer.status}"


def delta_and_full(q):
    if "delta" in q and "delta_full" in q:
        delta, full = parse(q["delta"].body), parse(q["delta_full"].body)
        if delta.last == full.last and delta.media_sequence == full.media_sequence:
            yield delta, full


@check(PROBE, 80)
def skip_gives_a_delta(q):
    for delta, full in delta_and_full(q):
        if full.duration > 6 * full.target_duration + 2 * full.target_duration:
            yield delta.skipped > 0, f"no EXT-X-SKIP, though {float(full.duration)} s are listed"


@check(PROBE, 81)
def delta_keeps_the_boundary(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            kept = sum(s.duration for s in full.segments[delta.skipped:])
            yield kept >= control(full, "CAN-SKIP-UNTIL"), f"{float(kept)} s kept"


@check(PROBE, 82)
def delta_merges_to_the_full(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            merged = [s.lines for s in full.segments[:delta.skipped] + delta.segments]
            yield [line for s in merged for line in s if "EXT-X-MAP" not in line] == \
                  [line for s in full.segments for line in s.lines if "EXT-X-MAP" not in line], "merge differs from the full playlist"
            yield delta.discontinuity_sequence == full.discontinuity_sequence, "discontinuity sequences differ"
            yield [s.parts for s in delta.all_segments] == [s.parts for s in full.all_segments[delta.skipped:]], "parts differ"


@check(PROBE, 84)
def delta_keeps_other_tags(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            strip = [line for line in full.header_lines if "VERSION" not in line]
            yield [line for line in delta.header_lines if "VERSION" not in line] == strip, delta.header_lines
            yield (delta.hints, len(delta.reports)) == (full.hints, len(full.reports)), "hints or reports are missing"


@check(PROBE, 85)
def queries_idempotent(q):
    for name, answer in asked(q, "unknown_query", "permuted"):
        yield is_now(answer, 200), f"{name}: {answer.status} after {answer.took:.3f} s"


def caching(q, names, wanted):
    for name, answer in asked(q, *names):
        yield answer.max_age is not None and answer.max_age in wanted, f"{name}: {answer.headers.get('cache-control')}"


@check(PROBE, 86)
def blocking_answers_cached(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("blocked", "msn_present"), (6 * target,))
    yield from caching(q, ("msn_ahead", "part_ahead", "silence"), (4 * target,))


@check(PROBE, 87)
def plain_answers_cached_briefly(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("plain", "gzip", "multivariant"), (max(1, target // 2),))
    yield from caching(q, ("unknown_variant", "unknown_stream"), range(target + 1))


@check(PROBE, 88)
def missing_media_cached_briefly(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("unknown_part", "unknown_segment"), range(target + 1))


@check(PROBE, 89)
def lifetimes_said(q):
    for name, answer in asked(q, *q):
        if name != "options":
            yield "cache-control" in answer.headers, f"{name} has no Cache-Control"


@check(PROBE, 90)
def age_exposed_and_not_invented(q):
    for name, answer in asked(q, "plain"):
        yield "age" not in answer.headers, answer.headers.get("age")
        yield "age" in answer.headers.get("access-control-expose-headers", "").lower(), answer.headers
        yield answer.headers.get("access-control-allow-origin") == "*", answer.headers


@check(PROBE, 95)
def ranges_answered(q):
    for name, answer in asked(q, "range"):
        whole = q["range_whole"].body
        yield answer.status == 206 and answer.body == whole[10:20], f"{answer.status}, {len(answer.body)} bytes"
        yield answer.headers.get("content-range") == f"bytes 10-19/{len(whole)}", answer.headers.get("content-range")
    for name, answer in asked(q, "range_open"):  # RFC 8673, the way of LL-055
        yield answer.status == 206 and answer.body == q["range_whole"].body, f"{answer.status}, {len(answer.body)} bytes"


# --- all renditions of a stream -----------------------------------------------------------------------------------------
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
    for attributes, uri in m.variants:
        if uri in rs:
            r = rs[uri]
            yield attributes, uri, r, r.last_playlist


@check(CROSS, 130)
def bandwidth_covers_the_peak(m, rs):
    for attributes, uri, r, playlist in judged_variants(m, rs):
        runs, _ = rates(r, playlist)
        if runs:
            yield int(attributes["BANDWIDTH"]) >= max(runs), f"{uri}: {attributes['BANDWIDTH']}, measured {max(runs):.0f}"


@check(CROSS, 131)
def average_bandwidth_true(m, rs):
    for attributes, uri, r, playlist in judged_variants(m, rs):
        _, average = rates(r, playlist)
        if average and "AVERAGE-BANDWIDTH" in attributes:
            said = int(attributes["AVERAGE-BANDWIDTH"])
            yield abs(said - average) <= 0.1 * average, f"{uri}: {said}, measured {average:.0f}"


@check(CROSS, 132)
def codecs_match_the_init(m, rs):
    for attributes, uri, r, _ in judged_variants(m, rs):
        init = r.inits.get(r.ordered[-1].map_uri)
        if init:
            said = sorted(unquote(attributes.get("CODECS", '""')).lower().split(","))
            yield said == sorted(t.codecs.lower() for t in init.tracks.values()), f"{uri}: {said}"


@check(CROSS, 133)
def resolution_matches_the_init(m, rs):
    for attributes, uri, r, _ in judged_variants(m, rs):
        init = r.inits.get(r.ordered[-1].map_uri)
        for t in init.tracks.values() if init else ():
            if t.handler == "vide":
                yield attributes.get("RESOLUTION") == f"{t.width}x{t.height}", f"{uri}: {attributes.get('RESOLUTION')}"


# --- all of it ----------------------------------------------------------------------------------------------------------


def judge_playlist(report, playlist):
    judge_form(report, playlist)
    report.run(MULTI if playlist.multivariant else STATIC, playlist)
    if playlist.multivariant:
        report.run([version_suffices, media_on_the_same_authority], playlist)


def judge_recording(report, recording):
    playlists = [sample.playlist for sample in recording.samples]
    for playlist in playlists:
        judge_playlist(report, playlist)
    for a, b in zip(playlists, playlists[1:]):
        report.run(PAIR, a, b)
    report.run(MEDIA, recording)


def judge(recordings, multivariants, probes):
    """recordings: by URI; multivariants: bodies, oldest first; probes: by name -> Report"""
    report = Report()
    for recording in recordings.values():
        judge_recording(report, recording)
    parsed = [parse(body) for body in multivariants]
    for playlist in parsed:
        judge_playlist(report, playlist)
    if parsed:
        report.run(CROSS, parsed[-1], recordings)
    if probes:
        report.run(PROBE, probes)
        for name in ("delta", "delta_full", "blocked", "plain"):
            if name in probes and probes[name].status == 200:
                judge_playlist(report, parse(probes[name].body))
    return report
