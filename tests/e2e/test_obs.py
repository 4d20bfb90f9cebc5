"""Real OBS Studio publishes, a real browser plays."""

import struct
import sys
import zlib

import pytest

import harness
from continuity import LiveWatch

sys.path.append(str(harness.ROOT / "tests/instruments"))
import obs  # noqa: E402

pytestmark = pytest.mark.alone


@pytest.fixture
def start_obs():
    started = []

    def start(server, key, **options):
        one = obs.Obs(server, key, **options)
        started.append(one)
        return one.start()

    yield start
    for one in started:
        one.close()
        print(f"--- log of OBS\n{one.connection_log[-4000:]}", file=sys.stderr)
        one.remove_home()


def png_pixels(path):
    """The bytes of an 8-bit PNG's rows, filters undone: enough to tell a picture from none."""
    data = path.read_bytes()
    at, compressed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, _, _, colour = struct.unpack(">IIBB", body[:10])
            channels = {0: 1, 2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            compressed += body
        at += 12 + length
    return unfilter(zlib.decompress(compressed), width * channels, channels)


def unfilter(raw, stride, channels):
    rows, above = [], bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        kind, row = raw[start], bytearray(raw[start + 1:start + 1 + stride])
        for i in range(stride):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            row[i] = (row[i] + (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]) & 255
        rows.append(row)
        above = row
    return rows


def paeth(left, above, corner):
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def test_obs_publishes_and_chromium_plays(weir, start_obs, open_page, tmp_path):
    broadcaster = start_obs(f"rtmp://{weir.rtmp}/live", "obs")
    weir.wait_live("live/obs")
    page = open_page(weir.url("/live/obs/"), size="640x480")
    page.wait_state("playing")
    page.wait_frames(90)
    report = page.report()
    assert (report["width"], report["height"]) == (640, 360)
    assert not report["errors"]

    picture = tmp_path / "obs.png"
    page.screenshot(picture)
    shades = {bytes(row[i:i + 3]) for row in png_pixels(picture)[100:300:10] for i in range(300, 1600, 60)}
    assert len(shades) > 20, "the picture is black, or of few colours"

    weir.wait_segment("live/obs")
    video, audio = weir.streams()["live/obs"]["tracks"]
    assert (video["width"], video["height"], video["frame_rate"]) == (640, 360, pytest.approx(30, abs=0.1))
    assert audio["codecs"] == "mp4a.40.2"
    assert broadcaster.stop(), broadcaster.connection_log
    assert weir.log.wait("publish_end", stream="live/obs")["clean"] == "1"


def test_obs_with_its_default_key_frames_and_b_frames(weir, start_obs, open_page):
    """A key frame every 250 frames: most segments begin without one, and the page still starts and keeps playing."""
    start_obs(f"rtmp://{weir.rtmp}/live", "obs", key_s=0, bframes=True)
    weir.wait_segment("live/obs")
    page = open_page(weir.url("/live/obs/"))
    page.wait_state("playing", deadline_s=25)
    page.wait_frames(150)
    assert not page.report()["errors"]


def test_obs_is_told_when_its_key_is_wrong(start_weir, start_obs):
    weir = start_weir({"auth": {"publish": {"keys": ["right"]}}})
    with pytest.raises(AssertionError):
        start_obs(f"rtmp://{weir.rtmp}/live", "obs?key=wrong")
    assert weir.log.wait("rtmp_refused")["end"] == "denied"
    assert not weir.streams()


@pytest.mark.parametrize("server, key", [
    ("srt://{srt}?streamid=publish/live/obs&latency=200000", ""), ("srt://{srt}?latency=200000", "publish/live/obs"),
], ids=["in-the-url", "as-the-stream-key"])
def test_obs_publishes_by_srt(start_weir, start_obs, server, key):
    weir = start_weir({"ingest": {"srt": {"listen": ["127.0.0.1:0"]}}})
    broadcaster = start_obs(server.format(srt=weir.srt), key)
    weir.wait_live("live/obs", 30)
    LiveWatch(weir.http, "live/obs").wait_media(3).finish().report().check(max_gap_s=2)
    assert weir.log.wait("srt_connect", name="obs")["latency_ms"] == "200"
    broadcaster.stop()  # OBS 29 of Debian crashes when it ends after having pushed SRT, whoever took it
    assert weir.log.wait("srt_close", name="obs")["end"] == "bye"
