"""Viewers that verify continuity: whatever happens to the nodes behind theirs, they must see every chunk, once, in order, in time.

    watch = LiveWatch(node.http, "live/x")       live.mp4, one response, over HTTP/1.1; or
    watch = PartWatch(node.http, "live/x")       LL-HLS: blocking reloads, each part asked for as it is hinted
    watch.wait_media(3)                          … something happens to a node … watch.wait_media(5)
    report = watch.finish().report(reference)    `reference`: the finished watch of the same stream from another node
    report.check(max_gap_s=1.5)

A viewer never comes back by itself: a response that ends early, or an answer that isn't 200 (503 is asked again), is a fault.
For long spans: of each chunk only its times and a hash of its samples are kept.
"""

import hashlib
import queue
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urljoin

import harness
import hls_fmp4
from hls_playlist import parse, unquote
from hls_recorder import Client, next_part
from live_reader import NTP_UNIX_S, LiveReader

# Durations are floors where times are off the frame rate's grid: so much isn't a hole.
ROUNDING_S = 0.002
RETRY_S = 0.1
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Seen:
    """A chunk: `digest` is of its samples, their durations, flags and composition offsets; `captured_s` by its prft."""

    track: int
    tfdt: int
    duration: int
    received_s: float
    captured_s: float | None
    digest: bytes

    @property
    def end(self):
        return self.tfdt + self.duration


def digest_of(fragment):
    sums = hashlib.sha256()
    for sample in fragment.samples:
        sums.update(f"{sample.duration} {sample.flags} {sample.cts} {sample.size} ".encode())
        sums.update(sample.data)
    return sums.digest()


def chunks_of(data, init, received_s):
    """Those of a chunk, a part or a segment."""
    captured = [int.from_bytes(data[at + 8:at + 16], "big") / 2**32 - NTP_UNIX_S
                for kind, at, _ in hls_fmp4.boxes(data) if kind == b"prft"]
    fragments = hls_fmp4.parse_fragments(data, init)
    if len(captured) != len(fragments):
        captured = [None] * len(fragments)
    return [Seen(f.track_id, f.tfdt, f.duration, received_s, at, digest_of(f)) for f, at in zip(fragments, captured)]


def by_track(seen):
    tracks = defaultdict(list)
    for chunk in seen:
        tracks[chunk.track].append(chunk)
    return tracks


# --- the verdict


@dataclass
class Report:
    """`longest_gap_s` is the longest time, of any track, in which none of its chunks came, up to the end of the watch."""

    chunks: dict = field(default_factory=dict)  # by track
    compared: int = 0
    startup_s: float | None = None  # from the request to the first chunk
    longest_gap_s: float = 0.0
    longest_part_gap_s: float | None = None  # the same between parts, of whatever tracks
    longest_lag_s: float | None = None  # capture to receipt, of what was captured since the request
    faults: list = field(default_factory=list)
    lost: list = field(default_factory=list)  # (track, from, to) in ticks
    repeated: list = field(default_factory=list)  # (track, tfdt)
    backward: list = field(default_factory=list)
    different: list = field(default_factory=list)  # other samples than the reference has, or none there

    @property
    def all_faults(self):
        told = [f"{name}: {place}" for name in ("lost", "repeated", "backward", "different") for place in getattr(self, name)]
        return self.faults + told

    def __str__(self):
        lag = "none" if self.longest_lag_s is None else f"{self.longest_lag_s:.3f} s"
        return (f"{self.chunks} chunks, {self.compared} compared, longest gap {self.longest_gap_s:.3f} s, longest lag {lag}, "
                f"{len(self.all_faults)} faults")

    def check(self, max_gap_s=None):
        print(self)
        faults = self.all_faults
        assert not faults, f"{self}\n" + "\n".join(faults[:FAULTS_SHOWN])
        assert max_gap_s is None or self.longest_gap_s <= max_gap_s, f"{self}; {max_gap_s} s are allowed"


def judge_order(report, track, chunks, rounding):
    known, end = set(), chunks[0].tfdt
    for chunk in chunks:
        if chunk.tfdt in known:
            report.repeated.append((track, chunk.tfdt))
        elif chunk.tfdt < end - rounding:
            report.backward.append((track, chunk.tfdt))
        elif chunk.tfdt > end + rounding:
            report.lost.append((track, end, chunk.tfdt))
        known.add(chunk.tfdt)
        end = max(end, chunk.end)


def longest_gap(times):
    return max(after - before for before, after in pairwise(times))


def judge_equality(report, track, chunks, reference):
    """Where both watched, each chunk must be in the reference, the same."""
    there = {chunk.tfdt: chunk for chunk in reference}
    first, last = min(there), max(there)
    for chunk in chunks:
        if not first <= chunk.tfdt <= last:
            continue
        other = there.get(chunk.tfdt)
        report.compared += 1
        if other is None or (other.duration, other.digest) != (chunk.duration, chunk.digest):
            report.different.append((track, chunk.tfdt))


class Watch:
    """What both kinds have in common. `seen` grows until finish(); `init` is parsed; `over` is why nothing more will come."""

    def __init__(self):
        self.seen = []
        self.reached_s = {}  # by track, in media time
        self.init = None
        self.faults = []
        self.started_s = time.time()
        self.finished_s = None

    over = None

    def see(self, chunks):
        if self.finished_s:
            return
        self.seen.extend(chunks)
        for chunk in chunks:
            self.reached_s[chunk.track] = chunk.end / self.timescale(chunk.track)

    def timescale(self, track):
        return self.init.tracks[track].timescale

    def wait_media(self, seconds, deadline_s=None, since=None):
        """Until so much more came of each track, from now or from what `reached_s` was. Fails at once when no more will."""
        begin = dict(self.reached_s if since is None else since)

        def came():
            assert not self.over, f"the viewer's stream is over: {self.over}; {self.faults}"
            for track, at in list(self.reached_s.items()):
                begin.setdefault(track, at)
            return self.init and all(self.reached_s.get(track, 0) - begin.get(track, 0) >= seconds for track in self.init.tracks)

        harness.wait_for(came, deadline_s or seconds + 10, f"{seconds} s more of media")
        return self

    def report(self, reference=None, rounding_s=ROUNDING_S):
        assert self.finished_s, "it is still watching"
        report = Report(faults=list(self.faults))
        if not self.seen:
            report.faults.append("nothing came")
            return report
        report.startup_s = self.seen[0].received_s - self.started_s
        lags = [c.received_s - c.captured_s for c in self.seen if c.captured_s and c.captured_s > self.started_s]
        report.longest_lag_s = max(lags, default=None)
        others = by_track(reference.seen) if reference else {}
        for track, chunks in by_track(self.seen).items():
            report.chunks[track] = len(chunks)
            report.longest_gap_s = max(report.longest_gap_s, longest_gap([*(c.received_s for c in chunks), self.finished_s]))
            judge_order(report, track, chunks, rounding_s * self.timescale(track))
            if track in others:
                judge_equality(report, track, chunks, others[track])
        if missing := self.init.tracks.keys() - report.chunks.keys():
            report.faults.append(f"nothing of tracks {sorted(missing)}")
        if reference and not report.compared:
            report.faults.append("nothing in common with the reference")
        return report


# --- live.mp4


class WatchReader(LiveReader):
    def __init__(self, watch, *arguments, **options):
        self._watch = watch
        super().__init__(*arguments, **options)

    def take_chunk(self, chunk):
        watch = self._watch
        watch.init = watch.init or hls_fmp4.parse_init(self.init)
        watch.see(chunks_of(chunk.data, watch.init, chunk.received_s))


class LiveWatch(Watch):
    def __init__(self, address, stream, variant="v0a0", **options):
        super().__init__()
        self._reader = WatchReader(self, address, f"/{stream}/{variant}/live.mp4", **options)

    @property
    def over(self):
        return "the response has ended" if self._reader.ended else self._reader.error and repr(self._reader.error)

    def finish(self):
        self.finished_s = time.time()
        if self.over:
            self.faults.append(f"early end: {self.over}")
        self._reader.close()
        return self


# --- LL-HLS


def number_of(uri):
    """Of a part or a segment: what all nodes call the same."""
    match = re.search(r"(\d+)\.m4s$", uri)
    return int(match[1]) if match else None


class PartWatch(Watch):
    """`parts` are (number, seconds, when it came) of all that were fetched, in order."""

    def __init__(self, address, stream, variant="v0a0"):
        super().__init__()
        self.parts = []
        self.over = None
        self._address, self._path = address, f"/{stream}/{variant}.m3u8"
        self._wanted, self._asked_for, self._listed = queue.Queue(), set(), {}
        self._media_sequence = 0
        self._map_uri = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guard, args=(role,), daemon=True) for role in (self._reload, self._fetch)]
        for thread in self._threads:
            thread.start()

    def _guard(self, role):
        try:
            role()
        except Exception as error:  # told to whoever waits
            self.over = self.over or f"{role.__name__.strip('_')}: {error!r}"
        self._stop.set()
        self._wanted.put(None)

    def _get(self, client, path):
        """The answer that isn't 503, or None when that is told too late."""
        while (answer := client.get(path)).status == 503:
            if self._stop.wait(RETRY_S):
                return None
        return answer

    # --- the playlist

    def _reload(self):
        client, asked = Client(self._address), None
        while not self._stop.is_set():
            query = f"?_HLS_msn={asked[0]}&_HLS_part={asked[1]}" if asked else ""
            answer = self._get(client, self._path + query)
            if answer is None:
                return
            assert answer.status == 200, f"{self._path}{query}: {answer.status}"
            playlist = parse(answer.body)
            self._judge(playlist, asked)
            self._want(playlist)
            if playlist.endlist:
                self.over = "the playlist has ended"
                return
            asked = next_part(playlist)

    def _judge(self, playlist, asked):
        if asked and next_part(playlist) <= asked and not playlist.endlist:
            self.faults.append(f"a reload for {asked} was answered with {playlist.last}")
        if playlist.media_sequence < self._media_sequence:
            self.faults.append(f"media sequence {playlist.media_sequence} after {self._media_sequence}")
        self._media_sequence = max(self._media_sequence, playlist.media_sequence)
        for segment in playlist.segments:
            if number_of(segment.uri) != segment.msn:
                self.faults.append(f"segment {segment.msn} is called {segment.uri}")
        uris = [part.uri for segment in playlist.all_segments for part in segment.parts]
        numbers = [number_of(uri) for uri in [*uris, *(unquote(hint["URI"]) for hint in playlist.hints)]]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            self.faults.append(f"part numbers in a playlist: {numbers}")
        self._judge_places(playlist)

    def _judge_places(self, playlist):
        """A part stays where it was listed first."""
        for segment in playlist.all_segments:
            for index, part in enumerate(segment.parts):
                place = (segment.msn, index, part.printed)
                if self._listed.setdefault(part.uri, place) != place:
                    self.faults.append(f"{part.uri} is at {place}, was at {self._listed[part.uri]}")

    def _want(self, playlist):
        """What isn't asked for yet, in order; of the first playlist the newest part and what is hinted."""
        parts = [part for segment in playlist.all_segments for part in segment.parts]
        if not self._asked_for:
            self._asked_for.update(part.uri for part in parts[:-1])
        for uri in [part.uri for part in parts] + [unquote(hint["URI"]) for hint in playlist.hints]:
            if uri not in self._asked_for:
                self._asked_for.add(uri)
                self._wanted.put((uri, playlist.all_segments[-1].map_uri))

    # --- parts

    def _fetch(self):
        client = Client(self._address)
        while item := self._wanted.get():
            uri, map_uri = item
            self._use_map(client, map_uri)
            answer = self._get(client, urljoin(self._path, uri))
            if answer is None:
                return
            if answer.status == 200:
                self._take(uri, answer)
            elif not self._is_abandoned(uri):
                raise AssertionError(f"{uri}: {answer.status}")

    def _is_abandoned(self, uri):
        """Hinted, but the stream ended without it."""
        return uri not in self._listed and self._stop.wait(1) and self.over

    def _use_map(self, client, uri):
        if uri == self._map_uri:
            return
        if self._map_uri:
            self.faults.append(f"the init is {uri}, was {self._map_uri}")
        answer = client.get(urljoin(self._path, uri))
        assert answer.status == 200, f"{uri}: {answer.status}"
        self._map_uri, self.init = uri, hls_fmp4.parse_init(answer.body)

    def _take(self, uri, answer):
        received_s = time.time()
        chunks = chunks_of(answer.body, self.init, received_s)
        number = number_of(uri)
        if self.parts and number != self.parts[-1][0] + 1:
            self.faults.append(f"part {number} after {self.parts[-1][0]}")
        lead = next(iter(self.init.tracks.values()))
        duration = sum(chunk.duration for chunk in chunks if chunk.track == lead.id) / lead.timescale
        if not self.finished_s:
            self.parts.append((number, duration, received_s))
        self.see(chunks)

    def finish(self):
        self.finished_s = time.time()
        if self.over:
            self.faults.append(f"early end: {self.over}")
        self._stop.set()
        self._wanted.put(None)
        return self

    def report(self, *arguments, **options):
        report = super().report(*arguments, **options)
        if self.parts:
            report.longest_part_gap_s = longest_gap([*(at for _, _, at in self.parts), self.finished_s])
        return report
