"""The viewers that verify continuity see none of it amiss on one healthy node, and each fault where there is one."""

import copy
import http.server
import re
import threading
from dataclasses import replace

import harness
import publishers
import pytest
from continuity import LiveWatch, PartWatch
from impair import Impair

STREAM = "live/continuity"
VIDEO, AUDIO = 1, 101


@pytest.fixture(scope="module")
def node(shared_weir, tmp_path_factory):
    """With a broadcast to which nothing happens."""
    publisher = publishers.Publisher(shared_weir.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log")
    shared_weir.wait_segment(STREAM)
    yield shared_weir
    publisher.stop()


@pytest.fixture(scope="module")
def watched(node):
    """A watch of each kind, over the same time, that were content."""
    live, parts = LiveWatch(node.http, STREAM), PartWatch(node.http, STREAM)
    parts.wait_media(2)
    live.wait_media(0.5)  # all that the parts have
    return live.finish(), parts.finish()


def test_a_healthy_stream_has_no_faults_and_is_the_same_both_ways(watched):
    live, parts = watched
    for watch, reference in [(live, None), (live, parts), (parts, live)]:
        report = watch.report(reference)
        report.check(max_gap_s=0.6)
        assert report.chunks.keys() == {VIDEO, AUDIO} and min(report.chunks.values()) > 10
        assert 0 < report.startup_s < 1 and report.longest_gap_s > 0.02
    assert parts.report(live).compared >= len(parts.seen) - 5
    assert live.report().longest_lag_s < 0.6
    assert 0.15 < parts.report().longest_part_gap_s < 0.6
    assert len(parts.parts) >= 10 and all(0.15 < seconds < 0.25 for _, seconds, _ in parts.parts)


def tampered(watch, change):
    """The same watch with `change` made to the list of its video chunks."""
    other = copy.copy(watch)
    video = [chunk for chunk in watch.seen if chunk.track == VIDEO]
    change(video)
    other.seen = video + [chunk for chunk in watch.seen if chunk.track != VIDEO]
    return other


def test_each_fault_of_a_track_is_found_once(watched):
    live, parts = watched
    video = [chunk for chunk in live.seen if chunk.track == VIDEO]
    at = video[20].tfdt

    def swap(chunks):
        chunks[20], chunks[21] = chunks[21], chunks[20]

    def tamper(chunks):
        chunks[20] = replace(chunks[20], digest=b"other")

    lost = tampered(live, lambda chunks: chunks.pop(20)).report()
    assert lost.lost == [(VIDEO, at, at + 3000)] and len(lost.all_faults) == 1
    repeated = tampered(live, lambda chunks: chunks.insert(25, chunks[20])).report()
    assert repeated.repeated == [(VIDEO, at)] and len(repeated.all_faults) == 1
    swapped = tampered(live, swap).report()
    assert swapped.backward == [(VIDEO, at)] and swapped.lost == [(VIDEO, at, at + 3000)]
    different = tampered(live, tamper)
    assert not different.report().all_faults
    assert different.report(live).different == [(VIDEO, at)]
    assert tampered(live, lambda chunks: chunks.clear()).report().all_faults == [f"nothing of tracks [{VIDEO}]"]
    with pytest.raises(AssertionError, match="lost: "):
        lost.check()
    later = tampered(live, lambda chunks: chunks.__setitem__(slice(None), [replace(c, tfdt=c.tfdt + 1) for c in chunks]))
    assert len(later.report(parts).different) > 20


def test_a_stall_is_a_gap_and_not_a_fault(node):
    beside = LiveWatch(node.http, STREAM)
    with Impair(node.http) as line:
        watches = [LiveWatch(line.address, STREAM), PartWatch(line.address, STREAM)]
        stuck = LiveWatch(line.address, STREAM)
        for watch in [*watches, stuck]:
            watch.wait_media(0.5)
        line.stall()
        beside.wait_media(0.8)
        assert stuck.finish().report().longest_gap_s > 0.7, "one that hasn't ended counts, too"
        line.go_on()
        for watch in watches:
            report = watch.wait_media(1).finish().report()
            report.check()
            assert 0.7 < report.longest_gap_s < 1.5
            with pytest.raises(AssertionError, match="0.6 s are allowed"):
                report.check(max_gap_s=0.6)
    beside.finish().report().check(max_gap_s=0.6)


def test_an_early_end_is_a_fault(node):
    with Impair(node.http) as line:
        watches = [LiveWatch(line.address, STREAM), PartWatch(line.address, STREAM)]
        for watch in watches:
            watch.wait_media(0.5)
        line.refuse()
        line.reset()
        for watch in watches:
            with pytest.raises(AssertionError, match="is over"):
                watch.wait_media(5)
            assert "early end" in watch.finish().report().all_faults[0]


def test_a_stream_that_ends_in_order_is_told_so_too(start_weir, publish, stream):
    weir = start_weir({"origin": {"grace_s": 0}})
    publisher = publish(weir.push_url(stream))
    weir.wait_live(stream)
    watches = [LiveWatch(weir.http, stream), PartWatch(weir.http, stream)]
    for watch in watches:
        watch.wait_media(0.5)
    publisher.stop()
    for watch in watches:
        harness.wait_for(lambda: watch.over, 10)
    live, parts = [watch.finish() for watch in watches]
    assert live.report(parts).all_faults == ["early end: the response has ended"]
    assert parts.report(live).all_faults == ["early end: the playlist has ended"]


# --- LL-HLS, told wrongly


class Liar(http.server.BaseHTTPRequestHandler):
    """Passes a node's answers on; `lie(path, status, body)` changes them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = self.server.node.get(self.path)
        status, body = self.server.lie(self.path, answer.status, answer.body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def liar(node):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        server.node = node
        server.daemon_threads = True
        server.block_on_close = False
        server.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def other_numbers(pattern, change):
    """In playlists, once four reloads were answered."""
    asked = []

    def lie(path, status, body):
        asked.extend([path] if "_HLS_msn" in path else [])
        if ".m3u8" not in path or len(asked) < 4:
            return status, body
        return status, re.sub(pattern, change, body)

    return lie


def no_parts():
    asked = []

    def lie(path, status, body):
        asked.extend([path] if "/p" in path else [])
        return (404, b"") if len(asked) > 3 and "/p" in path else (status, body)

    return lie


@pytest.mark.parametrize("lie, told", [
    (no_parts(), "404"),
    (other_numbers(rb"MEDIA-SEQUENCE:(\d+)", lambda m: b"MEDIA-SEQUENCE:%d" % (int(m[1]) - 1)), "media sequence"),
    (other_numbers(rb"p(\d+)9\.m4s", rb"p\g<1>8.m4s"), "part numbers"),
    (other_numbers(rb"DURATION=0.2", rb"DURATION=0.3"), "is at"),
    (other_numbers(rb"/(\d+)(\d)\.m4s", rb"/\g<1>\g<2>0.m4s"), "is called"),
    (other_numbers(rb"init-1", rb"init-2"), "the init is"),
], ids=["404", "sequence", "numbers", "places", "segments", "init"])
def test_each_fault_of_playlists_is_found(liar, lie, told):
    liar.lie = lie
    watch = PartWatch(liar.address, STREAM)
    harness.wait_for(lambda: any(told in fault for fault in [*watch.faults, watch.over or ""]), 10, told)
    assert [fault for fault in watch.finish().report().all_faults if told in fault]


def test_a_changed_byte_is_found(liar, node):
    liar.lie = lambda path, status, body: (status, body[:-1] + b"?" if path.endswith("5.m4s") else body)
    live, watch = LiveWatch(node.http, STREAM), PartWatch(liar.address, STREAM)
    watch.wait_media(2.2)
    live.wait_media(0.5)
    report = watch.finish().report(live.finish())
    numbers = [number for number, _, _ in watch.parts]
    assert len(report.different) == sum(number % 10 == 5 for number in numbers) > 0
    assert len(report.all_faults) == len(report.different)


def test_a_reload_that_brings_nothing_new_is_found(liar, node):
    old = node.get(f"/{STREAM}/v0a0.m3u8").body
    liar.lie = lambda path, status, body: (status, old if ".m3u8" in path else body)
    watch = PartWatch(liar.address, STREAM)
    harness.wait_for(lambda: watch.faults, 10)
    assert "a reload for" in watch.finish().report().all_faults[0]
