"""Watches a live stream as a low-latency player does, and writes down everything for hls_validator to judge.

A RenditionRecorder runs three threads for one media playlist: one reloads it (blocking), one asks for what the preload hint
names before it exists, one fetches everything else and, later, what has been removed. A PlainReader polls beside it like a
player without low latency. Prober asks the single questions: directives in order and out of order, unknown things, ranges.
"""
import gzip
import heapq
import http.client
import queue
import re
import threading
import time
from urllib.parse import urljoin, urlsplit

from hls_playlist import parse, unquote
from hls_recording import Answer, Recording, Sample

TIMEOUT_S = 15
POLL_S = 0.07
RETAIN_MARGIN_S = 0.3  # so much before it may vanish, a removed thing is asked for once more


class Client:
    """One keep-alive connection, timed. Not for several threads."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def get(self, path, headers=None, method="GET"):
        fresh = self.connection is None
        try:
            return self.ask(method, path, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError):
            self.close()
            if fresh:
                raise
            return self.ask(method, path, headers or {})  # an idle connection may be closed at any time

    def ask(self, method, path, headers):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)
        sent = time.monotonic()
        self.connection.request(method, path, headers=headers)
        response = self.connection.getresponse()
        head = time.monotonic()
        body = response.read(1)
        first = time.monotonic()
        body += response.read()
        if response.will_close:
            self.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body, sent, head, first,
                      time.monotonic())

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def next_part(playlist):
    """(msn, part) of what isn't listed yet: what a blocking reload asks for."""
    newest = playlist.all_segments[-1]
    return (newest.msn + 1, 0) if newest.uri else (newest.msn, len(newest.parts))


class RenditionRecorder:
    def __init__(self, address, path, fetch_media=True):
        self.path, self.address, self.fetch_media = path, address, fetch_media
        self.recording = Recording(f"http://{address}{path}")
        self.stop = threading.Event()
        self.error = None
        self.hints, self.wanted = queue.Queue(), queue.Queue()
        self.known, self.listed, self.longest = set(), {}, 0.0
        roles = (self.reload, self.follow_hints, self.fetch) if fetch_media else (self.reload,)
        self.threads = [threading.Thread(target=self.guard, args=(role,), daemon=True) for role in roles]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def guard(self, role):
        try:
            role()
        except Exception as error:  # what a thread dies of is the test's to report
            self.error = self.error or error
            self.finish()

    def finish(self):
        self.stop.set()
        self.hints.put(None)
        self.wanted.put((0, None))

    def join(self, deadline_s):
        """Until the stream has ended and everything is fetched."""
        end = time.monotonic() + deadline_s
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        alive = any(thread.is_alive() for thread in self.threads)
        self.stop.set()
        if self.error:
            raise self.error
        assert not alive, f"{self.path}: no end after {deadline_s} s, newest part {self.recording.last_playlist.last}"
        self.set_abandoned_apart()
        return self.recording

    def set_abandoned_apart(self):
        """What was hinted and never listed: the part that the end of the stream left unmade (LL-054)."""
        for uri in self.recording.hinted - self.known:
            self.recording.hinted.remove(uri)
            self.recording.abandoned[uri] = self.recording.objects.pop(uri)

    @property
    def playlist(self):
        """The newest, None before the first."""
        return self.recording.samples[-1].playlist if self.recording.samples else None

    def uri_path(self, uri):
        return urlsplit(urljoin(self.recording.url, uri)).path

    # --- the playlist

    def reload(self):
        client, asked = Client(self.address), None
        while not self.stop.is_set():
            query = f"?_HLS_msn={asked[0]}&_HLS_part={asked[1]}" if asked else ""
            answer = client.get(self.path + query)
            if answer.status == 503:
                continue
            assert answer.status == 200, f"{self.path}{query}: {answer.status} {answer.body[:200]!r}"
            playlist = parse(answer.body)
            self.recording.samples.append(Sample(answer.last, answer, playlist, asked))
            self.recording.bodies[playlist.state].add(playlist.text)
            self.notice(playlist)
            if playlist.endlist:
                break
            asked = next_part(playlist)
        self.finish()

    def notice(self, playlist):
        """Queues what is new, and what must stay although it went."""
        for hint in playlist.hints:
            self.hints.put(unquote(hint["URI"]))
        now = time.monotonic()
        self.longest = max(self.longest, float(playlist.duration))
        listed = {}
        for s in playlist.all_segments:
            for uri in [s.map_uri, *(p.uri for p in s.parts)] + ([s.uri] if s.uri else []):
                if uri and uri not in self.known:
                    self.known.add(uri)
                    self.wanted.put((now, uri))
            if s.uri:
                first_seen = self.listed[s.uri][1] if s.uri in self.listed else now
                listed[s.uri] = (22, first_seen, float(s.duration))
            if s.parts:
                listed[s.parts[0].uri] = (48, now, 3.0 * playlist.target_duration)
        for uri in self.listed.keys() - listed.keys():
            number, seen, keep = self.listed[uri]
            due = seen + keep + self.longest if number == 22 else now + keep
            self.wanted.put((due - RETAIN_MARGIN_S, (number, uri)))
        self.listed = listed

    # --- media

    def follow_hints(self):
        client, asked = Client(self.address), set()
        while (uri := self.hints.get()) is not None:
            if uri in asked or not self.hints.empty():
                continue  # late: a newer hint is there, the fetcher takes this part
            asked.add(uri)
            answer = client.get(self.uri_path(uri))
            while answer.status == 503 and not self.stop.is_set():  # silence
                answer = client.get(self.uri_path(uri))
            self.recording.objects[uri] = answer
            self.recording.hinted.add(uri)

    def fetch(self):
        """In order of time: now for what is new, later for what was removed. At the end only what is due."""
        client, heap, count, over = Client(self.address), [], 0, False
        while heap or not over:
            wait = max(0.0, heap[0][0] - time.monotonic()) if heap else None
            if over and heap and wait > 0:
                heap = [item for item in heap if not isinstance(item[2], tuple)]
                continue
            try:
                due, uri = self.wanted.get(timeout=wait) if not over else (None, None)
                over = over or uri is None
                if uri is not None:
                    heapq.heappush(heap, (due, count, uri))
                    count += 1
                    continue
            except queue.Empty:
                pass
            if heap and heap[0][0] <= time.monotonic():
                self.fetch_one(client, heapq.heappop(heap)[2])

    def fetch_one(self, client, uri):
        if isinstance(uri, tuple):
            self.recording.retained.append((uri[0], uri[1], client.get(self.uri_path(uri[1]))))
        elif uri not in self.recording.objects:
            self.recording.objects.setdefault(uri, client.get(self.uri_path(uri)))


class PlainReader(threading.Thread):
    """Polls the playlist with gzip: what it reads must agree with what the recorder reads at the same part (LL-027)."""

    def __init__(self, recorder):
        super().__init__(daemon=True)
        self.recorder, self.error = recorder, None
        self.bodies = []
        self.start()

    def run(self):
        client = Client(self.recorder.address)
        while not self.recorder.stop.wait(POLL_S):
            try:
                answer = client.get(self.recorder.path, {"Accept-Encoding": "gzip"})
                text = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
            except (OSError, http.client.HTTPException) as error:
                self.error = error
                return
            self.bodies.append(parse(text))

    def merge(self):
        """After the end, into the recording."""
        self.join()
        if self.error:
            raise self.error
        for playlist in self.bodies:
            self.recorder.recording.bodies[playlist.state].add(playlist.text)


class Prober:
    """Asks everything once, while the stream is live; answers by name in `probes`. Questions about "now" are asked on one
    connection, right after the playlist that they are about, again when that has changed meanwhile."""

    def __init__(self, address, stream, variant):
        self.address, self.base, self.variant = address, f"/{stream}", variant
        self.path = f"{self.base}/{variant}.m3u8"
        self.client = Client(address)
        self.probes = {}

    def ask(self, name, path=None, headers=None, method="GET", **notes):
        answer = self.client.get(path or self.path, headers, method)
        answer.headers.update({key.replace("_", "-"): str(value) for key, value in notes.items()})
        self.probes[name] = answer
        return answer

    def query(self, name, text, **notes):
        return self.ask(name, f"{self.path}?{text}", **notes)

    def now(self):
        return parse(self.client.get(self.path).body)

    def run(self):
        self.ask("plain")
        self.ask("gzip", headers={"Accept-Encoding": "gzip"})
        self.ask("multivariant", f"{self.base}/index.m3u8")
        self.directives()
        self.blocking()
        self.unknown()
        self.media()
        self.ask("options", method="OPTIONS")
        self.ask("redirect", self.base)
        return self.probes

    def directives(self):
        self.part_ahead()
        p = self.now()
        msn, part = p.last
        self.query("msn_present", f"_HLS_msn={p.segments[-1].msn}")
        self.query("msn_long_gone", "_HLS_msn=1&_HLS_part=3")
        self.query("msn_ahead", f"_HLS_msn={msn + 4}")
        self.query("part_alone", "_HLS_part=1")
        self.query("unknown_query", "weather=fine&_HLS_no_such=1")
        self.query("permuted", f"weather=fine&_HLS_skip=YES&_HLS_part=0&_HLS_msn={p.segments[-1].msn}")

    def part_ahead(self):
        """Of the segment under way, as long as it is."""
        while True:
            p = self.now()
            msn, part = p.last
            self.query("part_ahead", f"_HLS_msn={msn}&_HLS_part={(part or 0) + int(3 / float(p.part_target)) + 20}")
            if self.now().last[0] == msn:
                return

    def blocking(self):
        p = self.now()
        msn, part = p.last
        self.query("blocked", f"_HLS_msn={msn}&_HLS_part={(part or 0) + 1}")
        whole = self.now().segments[-1]
        self.query("past_final", f"_HLS_msn={whole.msn}&_HLS_part={len(whole.parts) + 2}", x_asked_msn=whole.msn)
        msn = self.now().last[0] + 1
        self.query("next_segment", f"_HLS_msn={msn}", x_asked_msn=msn)
        self.delta()

    def delta(self):
        """Until no part came between the two: then they show the same state."""
        for _ in range(20):
            full, delta = self.ask("delta_full"), self.query("delta", "_HLS_skip=YES")
            if parse(full.body).last == parse(delta.body).last:
                return
        raise AssertionError("a new part between any two requests")

    def unknown(self):
        folder = f"{self.base}/{self.variant}"
        part = int(re.search(r"(\d+)\.m4s", unquote(self.now().hints[0]["URI"])).group(1))
        self.ask("unknown_part", f"{folder}/p{part + 100000}.m4s")
        self.ask("unknown_segment", f"{folder}/{self.now().last[0] + 5}.m4s")
        self.ask("unknown_init", f"{folder}/init-99999.mp4")
        self.ask("unknown_variant", f"{self.base}/v7a7.m3u8")
        self.ask("unknown_stream", "/live/nobody-publishes-this/index.m3u8")

    def media(self):
        uri = f"{self.base}/{self.now().segments[-1].uri}"
        self.ask("range_whole", uri)
        self.ask("range", uri, {"Range": "bytes=10-19"})
        self.ask("range_open", uri, {"Range": "bytes=0-9007199254740991"})

    def ended(self):
        p = self.now()
        self.query("ended_msn", f"_HLS_msn={p.last[0] + 1000}&_HLS_part=1000")
        self.query("ended_skip", "_HLS_skip=YES")
        return self.probes
