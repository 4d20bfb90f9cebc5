"""Enhanced RTMP from a generator of our own (enhanced_rtmp.py): each codec, several tracks, nanoseconds, what connect says, and leaving when the
node stops. Layouts byte by byte are in tests/unit/test_flv.c.
"""

import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import enhanced_rtmp
import harness
import players
import pytest
from enhanced_rtmp import EnhancedPublisher, Track, encode

FOURCCS = {"avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "fLaC"}
# tracks; what CODECS says of them; what ffprobe calls them
BROADCASTS = {
    "hevc-aac": (("hvc1", "mp4a"), r"hvc1\.1\.\w+\.L\d+(\.\w+)*,mp4a\.40\.2", {"hevc", "aac"}),
    "av1-opus": (("av01", "Opus"), r"av01\.0\.\d\dM\.08\S*,opus", {"av1", "opus"}),
    "vp9-opus": (("vp09", "Opus"), r"vp09\.00\.\d\d\.08\S*,opus", {"vp9", "opus"}),
    "avc-flac": (("avc1", "fLaC"), r"avc1\.42c0\w\w,fLaC", {"h264", "flac"}),
}


@pytest.fixture(scope="module")
def broadcasts(shared_weir):
    """Publishers by name, all at the same time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(encode, sorted(FOURCCS)))
    started = {}
    for name, (fourccs, _, _) in BROADCASTS.items():
        started[name] = EnhancedPublisher(shared_weir.rtmp, f"live/{name}", [Track(encode(fourcc)) for fourcc in fourccs], nano=True,
                                          connect={"fourCcList": ["*"], "capsEx": enhanced_rtmp.MULTI | enhanced_rtmp.NANO})
    yield started
    for publisher in started.values():
        publisher.stop()


def decode(url):
    """What ffmpeg complains of in a second of it."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "error", "-i", url, "-t", "1", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stderr


def test_connect_is_answered(broadcasts):
    properties, information = broadcasts["av1-opus"].answer
    assert information["code"] == "NetConnection.Connect.Success"
    assert set(properties["fourCcList"]) == FOURCCS
    maps = {**properties["videoFourCcInfoMap"], **properties["audioFourCcInfoMap"]}
    assert set(maps) == FOURCCS and set(maps.values()) == {4}  # CanForward
    assert properties["capsEx"] == 15


@pytest.mark.parametrize("name", BROADCASTS)
def test_codecs(broadcasts, shared_weir, name):
    _, codecs, names = BROADCASTS[name]
    multivariant = shared_weir.wait_live(f"live/{name}")
    assert re.search(rf'#EXT-X-STREAM-INF:.*CODECS="{codecs}".*RESOLUTION=320x180.*FRAME-RATE=30.000', multivariant), multivariant
    shared_weir.wait_segment(f"live/{name}")
    url = shared_weir.url(f"/live/{name}/v0a0.m3u8")
    assert {stream["codec_name"] for stream in players.probe(url)["streams"]} == names
    assert not decode(url)
    assert not broadcasts[name].error


def test_the_page_plays_av1_and_opus(broadcasts, shared_weir, open_page):
    shared_weir.wait_segment("live/av1-opus")
    page = open_page(shared_weir.url("/live/av1-opus/"))
    page.wait_state("playing")
    page.wait_frames(60)
    assert not page.report()["errors"]


def test_the_page_says_when_a_browser_lacks_the_codec(broadcasts, shared_weir, open_page):
    """Chromium as Debian builds it doesn't decode HEVC."""
    shared_weir.wait_segment("live/hevc-aac")
    page = open_page(shared_weir.url("/live/hevc-aac/"))
    assert not page.evaluate("MediaSource.isTypeSupported('video/mp4; codecs=\"hvc1.1.6.L93.B0\"')")
    page.wait_state("unsupported")
    assert "HEVC" in page.text("#notice")


def page_has_menus_of(page):
    """…three pictures and two languages; each is to be had."""
    page.wait_state("playing")
    texts = "[...document.querySelector('%s').options].map((option) => option.text)"
    harness.wait_for(lambda: "measured" in page.evaluate(texts % "#quality")[0], 10, "the page to have measured")
    qualities = page.evaluate(texts % "#quality")
    assert re.fullmatch(r"\d+p \(auto: [\d.]+ Mb/s measured\)", qualities[0])
    assert [text.split(" ")[0] for text in qualities[1:]] == ["270p", "180p", "90p", "Audio"], qualities
    assert page.evaluate(texts % "#sound") == ["English", "Deutsch"]
    page.select("#sound", "de de")
    page.select("#quality", "0")
    brought = "performance.getEntriesByType('resource').some((one) => one.name.includes('/a1/'))"
    harness.wait_for(lambda: page.evaluate(brought) and page.stats()["width"] == 160, 15, "the other sound, and the smallest picture")
    page.select("#quality", "audio")
    harness.wait_for(lambda: page.stats()["width"] == 0 and page.state == "playing", 15, "sound alone")
    assert page.stats()["sound"] == "Deutsch"


def test_several_tracks_become_variants_and_renditions(shared_weir, stream, open_page):
    """As OBS sends them, the first of each kind in tags from before Enhanced RTMP; and each second second all pictures in one message."""
    sizes = ("480x270", "320x180", "160x90")
    tracks = [Track(encode("avc1", size=size), number, legacy=number == 0) for number, size in enumerate(sizes)]
    tracks += [Track(encode("mp4a", frequency=440 * (number + 1)), number, legacy=number == 0) for number in range(2)]
    publisher = EnhancedPublisher(shared_weir.rtmp, stream, tracks, many_every=2,
                                  metadata={"language": "en", "audioTrackIdInfoMap": {"1": {"language": "de"}}})
    multivariant = shared_weir.wait_live(stream)
    assert re.findall(r"#EXT-X-STREAM-INF:.*RESOLUTION=([\dx]+).*\n(v\d)\.m3u8", multivariant) == list(zip(sizes, ("v0", "v1", "v2")))
    languages = re.findall(r'#EXT-X-MEDIA:TYPE=AUDIO.*LANGUAGE="(\w+)"', multivariant)
    assert languages == ["en", "de"], multivariant
    shared_weir.wait_segment(stream, "v2")
    for variant, size in zip(("v0", "v1", "v2", "a0", "a1"), (480, 320, 160, None, None)):
        url = shared_weir.url(f"/{stream}/{variant}.m3u8")
        assert [entry.get("width") for entry in players.probe(url)["streams"]] == [size]
        assert not size or not decode(url)
    assert not shared_weir.metric("weir_ingest_misaligned_total")
    page_has_menus_of(open_page(shared_weir.url(f"/{stream}/")))
    publisher.stop()
    assert not publisher.error


def test_publishers_are_asked_to_reconnect_when_the_node_stops(start_weir, stream):
    """…and what they send until they have left has viewers. Who can't be asked isn't waited for."""
    node = start_weir({"ingest": {"rtmp": {"drain_s": 60, "reconnect_url": "rtmp://192.0.2.1:1935"}}})
    tracks = [Track(encode("avc1"), legacy=True), Track(encode("mp4a"), legacy=True)]
    able = EnhancedPublisher(node.rtmp, f"{stream}-a", tracks, connect={"capsEx": enhanced_rtmp.RECONNECT})
    unable = EnhancedPublisher(node.rtmp, f"{stream}-b", tracks)
    node.wait_live(f"{stream}-a")
    node.process.send_signal(signal.SIGTERM)
    assert node.log.wait("stopping")["broadcasters_asked"] == "1"
    harness.wait_for(lambda: len(able.statuses) > 1, 10, "the request")
    assert able.statuses[-1]["code"] == "NetConnection.Connect.ReconnectRequest"
    assert able.statuses[-1]["tcUrl"] == "rtmp://192.0.2.1:1935/live"

    hints = set()

    def parts_come():
        hints.update(re.findall(r"#EXT-X-PRELOAD-HINT:(.*)", node.get(f"/{stream}-a/v0a0.m3u8").text))
        return len(hints) > 3

    harness.wait_for(parts_come, 10, "new parts")
    able.stop()
    assert node.process.wait(harness.STOP_DEADLINE_S) == 0
    assert len(unable.statuses) == 1
    unable.stop(clean=False)
