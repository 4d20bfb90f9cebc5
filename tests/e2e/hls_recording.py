"""What hls_recorder brings home and the checks look at: answers, samples of playlists, recordings of a rendition; and how
checks are told apart.

A check is a generator of (ok, evidence) under one number of docs/hls.md. One that yields nothing had nothing to look at, and
the number stays "not tested": never a pass. Checks come in six kinds, by what they look at:

    STATIC   one media playlist             PAIR    a media playlist and its next version
    MULTI    one multivariant playlist      MEDIA   a recording of one rendition: playlists, objects, their times
    PROBE    answers to single requests     CROSS   all renditions of a stream, recorded at the same time
"""
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

import hls_fmp4
from hls_playlist import Playlist

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
    abandoned: dict[str, Answer] = field(default_factory=dict)  # hinted, never listed
    retained: list[tuple[int, str, Answer]] = field(default_factory=list)  # number, what, answer after removal
    bodies: dict[tuple, set] = field(default_factory=lambda: defaultdict(set))  # Playlist.state -> texts that readers saw

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
