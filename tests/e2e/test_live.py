"""{variant}/live.mp4: all of a stream as one response, each chunk as it is made."""

import re
import subprocess
import time
import urllib.parse

import pytest

import harness
import live_reader
import players

SIZE = "640x360"
CLOCK = {"size": SIZE, "kbps": 1200, "gop_s": 1, "noise": 8}


@pytest.fixture
def live(weir, publish_clock, stream):
    """A broadcast that can be watched; gives the path of its live.mp4."""
    publish_clock(weir.push_url(stream), **CLOCK)
    weir.wait_live(stream)
    return f"/{stream}/v0a0/live.mp4"


@pytest.fixture
def read(weir):
    readers = []

    def start(path, node=weir, **options):
        readers.append(live_reader.LiveReader(node.http, path, **options))
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


def curl(weir, path, *options, seconds=5):
    """What curl got of the body within that time."""
    done = subprocess.run(["curl", "-sS", "--max-time", str(seconds), *options, weir.url(path)], capture_output=True)
    assert done.returncode in (0, 28), done.stderr
    splitter = live_reader.Splitter()
    splitter.feed(done.stdout)
    return splitter


# --- what it is


def test_headers_say_that_it_is_no_file(weir, live):
    for answer in [weir.get(live, method="HEAD"), weir.get(live, method="HEAD", headers={"Range": "bytes=0-"})]:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Accept-Ranges"] == "none"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Length"] is None
        assert answer.body == b""
    sound = weir.get(live.replace("v0a0", "a0"), method="HEAD")
    assert sound.headers["Content-Type"] == "audio/mp4"


def test_what_is_not_there_is_said_to_be_so(weir, live):
    assert weir.get(live, method="POST").status == 405
    assert weir.get(live.replace("v0a0", "v1a0")).status == 404
    assert weir.get("/live/nobody/v0a0/live.mp4").status == 404
    preflight = weir.get(live, method="OPTIONS")
    assert preflight.status == 204 and "GET" in preflight.headers["Access-Control-Allow-Methods"]


def test_it_brings_each_frame_as_it_comes(live, read):
    reader = read(live)
    harness.wait_for(lambda: len(reader.video()) > 100, 15)
    video = reader.video()
    assert video[0].independent
    steps = {after.tfdt - before.tfdt for before, after in zip(video, video[1:])}
    assert steps == {3000}, "frames are missing or out of order"
    # Past those that were there already: a frame's way from its publisher's arrival to here is no part's length.
    lags = sorted(chunk.lag_s for chunk in video[40:])
    print(f"capture to receipt: p50 {lags[len(lags) // 2] * 1000:.1f} ms, max {lags[-1] * 1000:.1f} ms")
    assert lags[len(lags) // 2] < 0.1


def test_it_is_held_until_a_stream_that_has_just_begun_has_something(weir, publish_clock, stream, read):
    publish_clock(weir.push_url(stream), **CLOCK)
    harness.wait_for(lambda: stream in weir.streams(), 15, every_s=0.002)
    reader = read(f"/{stream}/v0a0/live.mp4")
    harness.wait_for(lambda: len(reader.video()) > 30, 15)
    assert reader.video()[0].independent


def test_h2_and_h1_bring_the_same_bytes(weir, live, read):
    reader = read(live)
    other = curl(weir, live, "--http2-prior-knowledge")
    harness.wait_for(lambda: reader.chunks and reader.chunks[-1].tfdt >= other.chunks[-1].tfdt, 10)
    assert other.init == reader.init and other.init
    for track_id in (1, 101):
        by_tfdt = {chunk.tfdt: chunk.data for chunk in reader.chunks if chunk.track_id == track_id}
        got = [chunk for chunk in other.chunks if chunk.track_id == track_id]
        common = [chunk for chunk in got if chunk.tfdt in by_tfdt]
        assert len(common) > 20 and len(common) >= len(got) - 50
        assert all(chunk.data == by_tfdt[chunk.tfdt] for chunk in common)
        tfdts = [chunk.tfdt for chunk in got]
        assert tfdts == sorted(set(tfdts))


def test_several_of_them_share_an_h2_connection(weir, live):
    """curl's --parallel over one connection: sound alone beside both, and a playlist in between."""
    sound = live.replace("v0a0", "a0")
    urls = [weir.url(path) for path in (live, sound, live.replace("/live.mp4", ".m3u8"))]
    command = ["curl", "-sS", "--parallel", "--parallel-immediate", "--http2-prior-knowledge", "--max-time", "4",
               "-w", "%{url} %{size_download}\\n", *(word for url in urls for word in ("-o", "/dev/null", url))]
    done = subprocess.run(command, capture_output=True, text=True)
    sizes = {line.split()[0].rsplit("/", 2)[-2:][0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert sizes["v0a0"] > 200_000 and sizes["a0"] > 20_000, done.stdout + done.stderr


# --- players


def test_ffmpeg_plays_it_from_an_independent_frame_on_without_loss(weir, live):
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning", "-nostats", "-threads", 1, "-i", weir.url(live),
               "-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", -1, "-pix_fmt", "yuv420p", "-f", "rawvideo",
               "pipe:1"]
    report = players.run_pipeline(command, SIZE, 30, seconds=8)
    assert report["frames"] > 120
    assert report["missing"] == report["duplicate"] == report["reordered"] == report["unreadable"] == 0


def test_ffprobe_sees_times_of_the_clock(weir, live):
    seen = players.probe(weir.url(live), "-read_intervals", "%+2", "-show_packets")
    kinds = {stream["codec_type"]: stream for stream in seen["streams"]}
    assert set(kinds) == {"video", "audio"}
    assert abs(float(kinds["video"]["start_time"]) - time.time()) < 30
    video = [packet for packet in seen["packets"] if packet["codec_type"] == "video"]
    assert "K" in video[0]["flags"]


@pytest.mark.parametrize("variant", ["v0", "v0a0"])
def test_chromium_plays_it_by_raw_mse_near_the_edge(start_weir, publish_clock, stream, open_page, page_server, variant):
    weir = start_weir({"hls": {"muxed": "never"}} if variant == "v0" else None)
    publish_clock(weir.push_url(stream), **CLOCK)
    playlist = weir.wait_live(stream)
    codecs = re.search(r'CODECS="([^"]+)"', playlist)[1]
    if variant == "v0":
        codecs = next(codec for codec in codecs.split(",") if codec.startswith("avc1"))
    query = {"url": weir.url(f"/{stream}/{variant}/live.mp4"), "type": f'video/mp4; codecs="{codecs}"',
             "behind": 0.1 if variant == "v0" else 0.25}
    page = open_page(f"{page_server}/live_mse.html?{urllib.parse.urlencode(query)}")
    page.wait_frames(300, deadline_s=30)
    report = page.report(warm_s=3)
    assert page.evaluate("window.live.error") is None
    print(f"{variant}: glass to glass {report['latency_ms']}, first frame {report['first_frame_ms']} ms, "
          f"stalls {report['stalls_after_warm']}, missed {report['missed']}")
    assert report["unreadable"] == report["reordered"] == 0
    assert report["latency_ms"]["p50"] < 1000
    assert not report["errors"]


# --- those that are slow, and ends


def test_slow_reader_jumps_and_its_lag_stays_bounded(start_weir, publish_clock, stream, read):
    weir = start_weir({"relay": {"max_lag_ms": 1000}})
    publish_clock(weir.push_url(stream), **CLOCK)
    weir.wait_live(stream)
    path = f"/{stream}/v0a0/live.mp4"
    fast = read(path, node=weir)
    slow = read(path, node=weir, bytes_per_s=100_000, receive_buffer=8192)  # of about 165 KB/s
    harness.wait_for(lambda: len(fast.video()) > 25 * 30, 60)
    lags = [chunk.lag_s for chunk in slow.video()[60:]]
    video = slow.video()
    jumps = [after for before, after in zip(video, video[1:]) if after.tfdt - before.tfdt != 3000]
    print(f"slow reader: {len(jumps)} jumps, lag p50 {sorted(lags)[len(lags) // 2]:.2f} s, max {max(lags):.2f} s")
    assert len(jumps) >= 3
    assert all(chunk.independent and chunk.tfdt > video[0].tfdt for chunk in jumps)
    assert weir.metric('weir_live_jumps_total{reason="lag"}') >= len(jumps)
    # max_lag_ms, a distance of independent frames, and what was on its way already
    assert max(lags) < 1.0 + 1.0 + 1.5
    steps = {after.tfdt - before.tfdt for before, after in zip(fast.video(), fast.video()[1:])}
    assert steps == {3000}, "the slow one was felt by the fast one"


def test_reader_that_stands_still_is_dropped(start_weir, publish_clock, stream, read):
    weir = start_weir()
    publish_clock(weir.push_url(stream), **CLOCK)
    weir.wait_live(stream)
    path = f"/{stream}/v0a0/live.mp4"
    read(path, node=weir, bytes_per_s=50, receive_buffer=8192)
    fast = read(path, node=weir)
    harness.wait_for(lambda: weir.metric("weir_live_readers") == 2, 10)
    harness.wait_for(lambda: weir.metric("weir_live_readers") == 1, 40, "the one that stands still to be gone")
    assert weir.metric('weir_http_timeouts_total{reason="stall"}') == 1
    steps = {after.tfdt - before.tfdt for before, after in zip(fast.video(), fast.video()[1:])}
    assert steps == {3000}


def test_publisher_that_comes_back_ends_the_response(weir, publish_clock, stream, read):
    first = publish_clock(weir.push_url(stream), **CLOCK)
    weir.wait_live(stream)
    path = f"/{stream}/v0a0/live.mp4"
    reader = read(path)
    harness.wait_for(lambda: len(reader.video()) > 30, 15)
    first.drop()
    weir.wait_state(stream, "away")
    assert not reader.ended
    publish_clock(weir.push_url(stream), **{**CLOCK, "size": "320x180"})
    harness.wait_for(lambda: reader.ended, 15, "the response to end")
    again = read(path)
    harness.wait_for(lambda: len(again.video()) > 30, 15)
    assert again.init != reader.init
    assert again.video()[0].tfdt > reader.video()[-1].tfdt


def test_stream_that_ends_ends_the_response(start_weir, publish_clock, stream, read):
    weir = start_weir({"origin": {"grace_s": 1}})
    first = publish_clock(weir.push_url(stream), **CLOCK)
    weir.wait_live(stream)
    path = f"/{stream}/v0a0/live.mp4"
    reader = read(path, node=weir)
    harness.wait_for(lambda: len(reader.video()) > 30, 15)
    first.stop()
    harness.wait_for(lambda: reader.ended, 20, "the response to end")
    harness.wait_for(lambda: weir.metric("weir_live_readers") == 0, 5)
    assert weir.get(path).status == 404
