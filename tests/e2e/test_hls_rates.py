"""Parts and segments at the frame and sample rates that broadcasters send, all published to one node at once: no part over
PART-TARGET, none under 0.85 of it that mayn't be, segments within the target, samples and playlists in agreement.
"""
import subprocess
from fractions import Fraction

import harness
import pytest
from conftest import finish_nodes
from hls_checks_playlist import parts_sum_to_extinf
from hls_playlist import parse
from hls_recording import of_track
from hls_session import Session
from publishers import Publisher, PublisherProcess

SECONDS = 14
RATES = {
    "24fps": {"fps": "24"},
    "23.976fps": {"fps": "24000/1001"},
    "25fps": {"fps": "25"},
    "29.97fps": {"fps": "30000/1001"},
    "30fps": {"fps": "30"},
    "50fps": {"fps": "50"},
    "60fps": {"fps": "60"},
    "30fps-44.1kHz": {"fps": "30", "sample_rate": 44100},
    "25fps-44.1kHz": {"fps": "25", "sample_rate": 44100},
    "audio-only": {"video": False},
    "video-only": {"audio": False},
    # Every frame stays with a chance of 0.7: intervals of 33 ms and multiples of it.
    "vfr": {"extra": ("-vf", "select=gt(random(1)\\,0.3)", "-fps_mode", "vfr")},
    "he-aac": None,
}
RULES = (11, 17, 38, 42, 43, 51, 66, 126)
CONSTANT_RATE_RULES = (26, 28, 46, 127)  # where samples say how long they are; a variable rate's say the least
HE_AAC_24_48 = bytes([0b00101011, 0b00010001, 0b10001000, 0])  # type 5, core 24 kHz, stereo, 48 kHz, core type 2


def patch_audio_config(flv, config):
    """The same FLV with another AudioSpecificConfig in its AAC sequence header."""
    out, at = bytearray(flv[:13]), 13
    while at + 11 <= len(flv):
        size = int.from_bytes(flv[at + 1:at + 4], "big")
        body = flv[at + 11:at + 11 + size]
        if flv[at] == 8 and body[0] >> 4 == 10 and body[1] == 0:
            body = body[:2] + config
        out += flv[at:at + 1] + len(body).to_bytes(3, "big") + flv[at + 4:at + 11] + body + (11 + len(body)).to_bytes(4, "big")
        at += 11 + size + 4
    return bytes(out)


def publish_he_aac(url, folder):
    """ffmpeg has no HE-AAC encoder. To everything but a decoder HE-AAC is AAC of half the rate whose configuration says that
    frames are 2,048 samples of the full one; so AAC-LC at 24 kHz under such a configuration is made and pushed."""
    made = subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i",
         "sine=frequency=440:sample_rate=24000", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "60",
         "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", "-t", str(SECONDS), "-f", "flv", "-flvflags", "no_duration_filesize",
         "-"], stdout=subprocess.PIPE, check=True).stdout
    path = folder / "he-aac.flv"
    path.write_bytes(patch_audio_config(made, HE_AAC_24_48))
    return PublisherProcess(url, folder / "log", ["ffmpeg", "-v", "info", "-re", "-i", path, "-c", "copy", "-f", "flv", url])


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), {"origin": {"grace_s": 1}}).start()
    publishers, watched = [], {}
    for name, options in RATES.items():
        folder, url = tmp_path_factory.mktemp("publisher"), node.push_url(f"rates/{name}")
        publishers.append(publish_he_aac(url, folder) if options is None else
                          Publisher(url, folder / "log", gop_s=2, seconds=SECONDS, **options))
    for name in RATES:
        watched[name] = Session(node, f"rates/{name}", media_of=("v0a0", "v0", "a0") if name == "audio-only" else ("v0a0", "v0"))
    for publisher in publishers:
        publisher.wait(SECONDS + 20)
    for session in watched.values():
        session.finish()
    yield watched
    for publisher in publishers:
        publisher.drop()
    finish_nodes([node])


@pytest.fixture(scope="module")
def verdicts(sessions):
    return {name: session.judge() for name, session in sessions.items()}


@pytest.mark.parametrize("rate", RATES)
def test_ll_040_parts_within_part_target(verdicts, rate):
    verdicts[rate].require(40)


@pytest.mark.parametrize("rate", RATES)
def test_ll_041_parts_not_too_short(verdicts, rate):
    verdicts[rate].require(41)


def test_ll_026_variable_rate_loses_no_time(sessions):
    """A segment's first frame may begin a little after the segment does, no more than a part's length; nothing adds up."""
    recording = sessions["vfr"].main
    starts, sums, total = [], [], Fraction(0)
    for s in recording.ordered:
        if s.uri:
            track = recording.lead(s.map_uri)
            starts.append(Fraction(of_track(recording.fragments(s.uri, s.map_uri), track)[0].tfdt, track.timescale))
            sums.append(total)
            total += s.duration
    assert len(starts) >= 5
    errors = [start - starts[0] - behind for start, behind in zip(starts, sums)]
    assert max(errors) - min(errors) < recording.last_playlist.part_target, [float(error) for error in errors]


@pytest.mark.parametrize("rate", RATES)
def test_the_same_rules_hold(verdicts, rate):
    for number in RULES:
        verdicts[rate].require(number)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != "vfr"])
def test_durations_and_timestamps_agree(verdicts, rate):
    for number in CONSTANT_RATE_RULES:
        verdicts[rate].require(number)


def test_variable_rate_parts_add_up_to_their_segment(sessions):
    for sample in sessions["vfr"].main.samples:
        for ok, evidence in parts_sum_to_extinf(sample.playlist):
            assert ok, evidence


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != "vfr"])
def test_frame_rate_is_announced(sessions, rate):
    options = RATES[rate] or {"fps": "30"}
    for attributes, uri in parse(sessions[rate].multivariants[0]).variants:
        if "RESOLUTION" in attributes:
            assert abs(float(attributes["FRAME-RATE"]) - float(Fraction(options.get("fps", "30")))) < 0.01, attributes


def test_he_aac_is_announced_as_such(sessions):
    (attributes, _), *_ = parse(sessions["he-aac"].multivariants[0]).variants
    assert "mp4a.40.5" in attributes["CODECS"], attributes
