"""Broadcasters over SRT: ffmpeg, srt-live-transmit, GStreamer and libsrt itself push, players see it all."""

import math
import re
import subprocess

import pytest

import conftest
import harness
import players
import publishers
import srt_call
from continuity import LiveWatch
from udp_line import UdpLine

SIZE = "320x180"
CLOCK = {"size": SIZE, "kbps": 300, "noise": 8, "format": "mpegts"}
KEY, PASSPHRASE = "the-key", "a passphrase of one's own"
SECONDS, FPS = 8, 30
LATENCY_MS = 120
HELD_FRAMES = 8  # by an encoder with B-frames, until it ends: they go out at once, and nobody waits for them
BUSY_FRAMES = FPS  # so much a busy machine may be behind, and what is behind when the broadcaster closes goes with him
CONFIG = {
    "ingest": {"srt": {"listen": ["127.0.0.1:0"], "passphrases": [f"secret/*:{PASSPHRASE}"]}},
    "origin": {"grace_s": 2},
    "live": {"window_s": 60},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), CONFIG)
    yield node.start()
    conftest.finish_nodes([node])


@pytest.fixture
def push(tmp_path):
    """push(url, **options) starts ffmpeg with a test picture in MPEG-TS, and stops it after the test."""
    started = []

    def start(url, **options):
        started.append(publishers.Publisher(url, tmp_path / f"push-{len(started)}.log", container="mpegts", **options))
        return started[-1]

    yield start
    for publisher in started:
        publisher.stop()
        print(f"--- log of {publisher.url}\n{publisher.log_text[-2000:]}")


@pytest.fixture
def run_sender():
    """run_sender(words…) starts a process that sends, reading what `stdin` says, and kills it after the test."""
    started = []

    def start(*words, stdin=subprocess.DEVNULL, stdout=None):
        started.append(subprocess.Popen([str(word) for word in words], stdin=stdin, stdout=stdout))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def links(node):
    return {link["stream"]: link for link in node.admin_get("/api/v1/links").json()["links"]}


def follow(node, name, url, log_path, seconds=SECONDS, **options):
    """Pushes the clock, plays it from its first frame to its end; gives what the player saw."""
    publisher = publishers.ClockPublisher(url, log_path, seconds=seconds, **{**CLOCK, **options})
    try:
        node.wait_segment(name)
        seen = players.check_with_ffmpeg(node.url(f"/{name}/v0a0.m3u8"), SIZE, seconds + 40)
        assert publisher.wait(20) == 0, publisher.log_text
        seen["published"] = int(re.search(r"clocksource: frames=(\d+)", publisher.log_text)[1])
    finally:
        publisher.drop()
    return seen


def check_whole(seen, latency_ms=LATENCY_MS, held=0):
    """Of the tail any may be missing, with B-frames not only the last: libsrt drops what it had not played out when the broadcaster left.
    `held`: frames that the encoder lets go when it ends."""
    tail = seen["published"] - math.ceil(latency_ms * FPS / 1000) - held - BUSY_FRAMES
    faults = [fault for fault in seen["faults"] if fault["kind"] != "missing" or fault["frame"] < tail]
    assert not faults and not (seen["duplicate"] or seen["reordered"] or seen["unreadable"]), f"{seen['faults']}\n{seen['log']}"
    assert seen["first"] == 0 and tail <= seen["frames"] <= seen["published"], seen


@pytest.mark.parametrize("name, stream_id, srt, options, aes", [
    ("live/plain", "publish/live/plain", {}, {}, 0),
    ("live/b-frames", "#!::r=live/b-frames,m=publish", {}, {"bframes": "2"}, 0),
    ("live/ntsc", "live/ntsc", {"latency": "200000"}, {"fps": "30000/1001", "gop_s": "1"}, 0),
    ("secret/aes-128", "secret/aes-128", {"passphrase": PASSPHRASE}, {}, 128),
    ("secret/aes-256", "secret/aes-256", {"passphrase": PASSPHRASE, "pbkeylen": "32"}, {"bframes": "2"}, 256),
], ids=lambda value: value if isinstance(value, str) and "/" in value and ":" not in value else "")
def test_every_frame_arrives_once_and_in_order(node, tmp_path, name, stream_id, srt, options, aes):
    latency_ms = int(srt.get("latency", LATENCY_MS * 1000)) // 1000
    seen = follow(node, name, node.srt_url(stream_id, **srt), tmp_path / "log", **options)
    check_whole(seen, latency_ms, HELD_FRAMES if "bframes" in options else 0)
    app, _, rest = name.partition("/")
    connected = node.log.wait("srt_connect", app=app, name=rest)
    assert connected["aes"] == str(aes)
    assert connected["latency_ms"] == str(latency_ms)
    assert node.log.wait("srt_close", app=app, name=rest)["end"] == "bye"


def test_ffprobe_tells_what_was_pushed(node, push, stream):
    push(node.srt_url(f"publish/{stream}"), sample_rate=44100)
    node.wait_segment(stream)
    streams = {one["codec_type"]: one for one in players.probe(node.url(f"/{stream}/index.m3u8"))["streams"]}
    assert (streams["video"]["codec_name"], streams["video"]["width"], streams["video"]["avg_frame_rate"]) == ("h264", 320, "30/1")
    assert (streams["audio"]["codec_name"], streams["audio"]["sample_rate"]) == ("aac", "44100")


X265 = "-c:v libx265 -x265-params log-level=error:frame-threads=1:rc-lookahead=3 -c:a libopus"


def test_hevc_and_opus_arrive_whole(node, tmp_path, stream):
    """With B-frames and the encoder's usual open GOPs."""
    options = {"bframes": "2", "gop_s": "1", "extra": X265, "seconds": 5}
    check_whole(follow(node, stream, node.srt_url(f"publish/{stream}"), tmp_path / "log", **options), held=HELD_FRAMES)
    master = node.get(f"/{stream}/index.m3u8").text
    assert re.search(r'CODECS="hvc1\.1\.6\.L\d+[.0-9A-F]*,opus"', master), master
    streams = {one["codec_type"]: one for one in players.probe(node.url(f"/{stream}/index.m3u8"))["streams"]}
    assert (streams["video"]["codec_name"], streams["video"]["codec_tag_string"], streams["video"]["width"]) == ("hevc", "hvc1", 320)
    assert (streams["audio"]["codec_name"], streams["audio"]["channels"]) == ("opus", 2)


def test_each_language_is_a_track(node, push, stream):
    push(node.srt_url(f"publish/{stream}"), extra=["-map", "0:v", "-map", "1:a", "-map", "1:a", "-metadata:s:a:0", "language=eng",
                                                   "-metadata:s:a:1", "language=deu"])
    node.wait_segment(stream)
    master = node.get(f"/{stream}/index.m3u8").text
    sounds = [line for line in master.splitlines() if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO")]
    assert [re.search(r'LANGUAGE="(\w+)"', line)[1] for line in sounds] == ["en", "de"], master
    kinds = [one["codec_type"] for one in players.probe(node.url(f"/{stream}/index.m3u8"))["streams"]]
    assert kinds.count("audio") >= 2 and "video" in kinds


def test_a_link_is_described(node, push, stream):
    push(node.srt_url(f"publish/{stream}", latency=150000))
    node.wait_live(stream)
    link = harness.wait_for(lambda: (one := links(node).get(stream)) and one["packets"]["received"] and one, 10, "statistics")
    assert (link["protocol"], link["latency_ms"], link["aes"]) == ("srt", 150, 0)
    assert link["peer"].startswith("127.0.0.1:") and link["bytes"] > 0 and link["version"]
    assert 0 < link["rtt_ms"] < 100 and 0 <= link["buffer_ms"] < 1000
    assert link["packets"]["lost"] == link["packets"]["dropped"] == 0
    assert node.metric(f'weir_srt_link_latency_ms{{stream="{stream}"}}') == 150
    assert node.metric(f'weir_srt_link_packets_total{{stream="{stream}"}}') > 0
    assert node.metric("weir_srt_connections") >= 1


# --- refusals


def test_the_refused_are_told_why_and_harm_nobody(start_weir, push):
    config = {**CONFIG, "auth": {"publish": {"keys": [f"live/*:{KEY}", f"secret/*:{KEY}"]}}}
    config["ingest"] = {"srt": {**CONFIG["ingest"]["srt"], "connections_max": 2}}
    weir = start_weir(config)
    push(weir.srt_url(f"live/one?key={KEY}"))
    rtmp = publishers.Publisher(weir.push_url("live/other", KEY), weir.folder / "rtmp.log")
    try:
        weir.wait_live("live/one")
        weir.wait_live("live/other")
        watch = LiveWatch(weir.http, "live/one").wait_media(1)
        for stream_id, passphrase, reason in [
            ("nonsense", None, srt_call.BAD_REQUEST),
            (f"#!::r=live/../one,m=publish,u={KEY}", None, srt_call.BAD_REQUEST),
            ("live/new", None, srt_call.UNAUTHORIZED),
            ("live/new?key=wrong", None, srt_call.FORBIDDEN),
            ("#!::r=live/new,m=publish,u=wrong", None, srt_call.FORBIDDEN),
            (f"elsewhere/new?key={KEY}", None, srt_call.FORBIDDEN),
            (f"#!::r=live/one,u={KEY}", None, srt_call.BAD_MODE),
            (f"#!::r=live/one,m=publish,u={KEY}", None, srt_call.CONFLICT),
            (f"live/other?key={KEY}", None, srt_call.CONFLICT),  # by RTMP
            (f"secret/new?key={KEY}", "of somebody else", srt_call.BAD_SECRET),
            (f"secret/new?key={KEY}", None, srt_call.UNSECURE),
            (f"live/new?key={KEY}", PASSPHRASE, srt_call.UNSECURE),
        ]:
            assert srt_call.call(weir.srt, stream_id, passphrase) == reason, stream_id
        assert weir.metric('weir_srt_refused_total{reason="busy"}') == 2
        harness.wait_for(lambda: weir.metric('weir_srt_refused_total{reason="handshake"}') == 3, 5, "refusals of libsrt's to be counted")
        push(weir.srt_url(f"secret/new?key={KEY}", passphrase=PASSPHRASE))
        weir.wait_live("secret/new")
        assert srt_call.call(weir.srt, f"live/third?key={KEY}") == srt_call.OVERLOAD
        watch.wait_media(1)
        watch.finish().report().check(max_gap_s=1)
        assert {one["end"] for one in weir.log.find("srt_refused")} == {
            "bad_stream_id", "no_key", "wrong_key", "mode", "busy", "handshake", "full"}
        assert KEY not in weir.log.text and PASSPHRASE not in weir.log.text
    finally:
        rtmp.stop()


# --- other senders


ENCODER = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate=30",
           "-re", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
           "-pix_fmt", "yuv420p", "-g", "30", "-b:v", "300k", "-c:a", "aac", "-flush_packets", "1", "-f"]


def test_srt_live_transmit_forwards(node, run_sender, stream):
    port = harness.free_port()
    run_sender("srt-live-transmit", "-q", f"udp://127.0.0.1:{port}", node.srt_url(f"publish/{stream}"))
    run_sender(*ENCODER, "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316")
    node.wait_live(stream)
    LiveWatch(node.http, stream).wait_media(3).finish().report().check(max_gap_s=1)


def test_gstreamer_pushes(node, run_sender, stream):
    """Its muxer and its SRT, behind an encoder of ffmpeg's."""
    encoder = run_sender(*ENCODER, "matroska", "pipe:1", stdout=subprocess.PIPE)
    run_sender("gst-launch-1.0", "--quiet", "fdsrc", "!", "matroskademux", "name=media", "mpegtsmux", "name=mux", "alignment=7", "!",
               "srtsink", f"uri=srt://{node.srt}", f"streamid=publish/{stream}", "latency=150",
               "media.", "!", "h264parse", "config-interval=-1", "!", "queue", "!", "mux.", "media.", "!", "aacparse", "!", "queue", "!", "mux.",
               stdin=encoder.stdout)
    encoder.stdout.close()
    node.wait_live(stream)
    assert links(node)[stream]["latency_ms"] == 150
    LiveWatch(node.http, stream).wait_media(3).finish().report().check(max_gap_s=1)
    assert {track["codecs"][:4] for track in node.streams()[stream]["tracks"]} == {"avc1", "mp4a"}


# --- leaving and coming back


def test_a_publisher_that_comes_back_goes_on(node, push, stream):
    app, _, name = stream.partition("/")
    first = push(node.srt_url(f"publish/{stream}"))
    node.wait_segment(stream)
    before = node.streams()[stream]
    first.stop()
    node.log.wait("srt_close", app=app, name=name, end="bye")
    push(node.srt_url(f"publish/{stream}"))
    node.log.wait("publish_start", stream=stream, resumes=1)
    playlist = harness.wait_for(
        lambda: "#EXT-X-DISCONTINUITY\n" in (text := node.get(f"/{stream}/v0a0.m3u8").text) and text, 15, "media of the second")
    assert "#EXT-X-ENDLIST" not in playlist
    after = node.streams()[stream]
    assert after["since"] == before["since"] and after["msn"] >= before["msn"] and after["part"] > before["part"]


def test_a_publisher_that_vanished_is_taken_over_when_silent(node, push, stream):
    """Its link still counts as one, for five seconds: SRT has no connection that a kernel would close."""
    app, _, name = stream.partition("/")
    first = push(node.srt_url(f"publish/{stream}"))
    node.wait_live(stream)
    begin, first_peer = len(node.log.lines), links(node)[stream]["peer"]
    first.drop()
    assert srt_call.call(node.srt, stream) == srt_call.CONFLICT
    harness.wait_for(lambda: srt_call.call(node.srt, stream) == 0, 10, "the name to be free")
    taken = node.log.wait("publish_takeover", after=begin, stream=stream)
    assert taken["from"] == first_peer
    closed = node.log.wait("srt_close", after=begin, peer=first_peer, app=app, name=name)
    assert closed["end"] in ("publisher", "lost")


def test_a_publisher_that_falls_silent_is_lost(node, push, stream):
    app, _, name = stream.partition("/")
    publisher = push(node.srt_url(f"publish/{stream}"))
    node.wait_live(stream)
    publisher.freeze()
    assert node.log.wait("srt_close", app=app, name=name, deadline_s=15)["end"] == "lost"


# --- loss


def test_what_is_lost_on_the_way_is_brought_back(node, tmp_path, stream):
    """A twentieth of all datagrams each way, at a round trip of 40 ms, with a latency of ten of those."""
    with UdpLine(node.srt, loss=0.05, delay_ms=20) as line:
        url = f"srt://{line.address}?streamid=publish/{stream}&latency=400000"
        check_whole(follow(node, stream, url, tmp_path / "log", seconds=12), latency_ms=400 + 20)
        assert line.lost > 20
    closed = node.log.wait("srt_close", name=stream.partition("/")[2])
    assert int(closed["lost"]) > 10 and int(closed["retransmitted"]) > 10 and closed["dropped"] == "0"


@pytest.mark.timed  # a machine that stands still for longer than the latency drops datagrams, too
def test_what_is_lost_for_good_costs_pictures_but_not_the_stream(node, tmp_path, stream):
    """A latency shorter than the round trip: nothing that is lost can come back in time."""
    with UdpLine(node.srt, lose_nth=150, delay_ms=100) as line:
        seen = follow(node, stream, f"srt://{line.address}?streamid=publish/{stream}", tmp_path / "log", seconds=12, gop_s="1")
    closed = node.log.wait("srt_close", name=stream.partition("/")[2])
    assert int(closed["dropped"]) >= line.lost - 1 > 3
    assert seen["missing"] > 0 and not (seen["unreadable"] or seen["reordered"] or seen["duplicate"]), seen
    assert seen["frames"] > seen["published"] / 3
