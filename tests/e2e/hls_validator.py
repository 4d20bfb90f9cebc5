"""Judges Low-Latency HLS by the checklist in docs/hls.md: runs the checks over what hls_recorder brought home, and reports by
number. Pure: no network, no clock.
"""
from collections import Counter, defaultdict

import hls_checks_media  # noqa: F401 (registers its checks)
import hls_checks_probe  # noqa: F401 (registers its checks)
import hls_fmp4
from hls_checks_playlist import media_on_the_same_authority, version_suffices
from hls_playlist import parse
from hls_recording import CROSS, MEDIA, MULTI, PAIR, PROBE, STATIC


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
