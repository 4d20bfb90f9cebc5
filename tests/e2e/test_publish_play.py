"""From a publisher to players that decode everything: no frame is lost, shown twice or out of order, and sound has no gaps.

All broadcasts of the continuity tests go on at the same time on one node, each with a player that follows it live from its
first frame to its end; the tests then look at what each saw. WEIR_CONTINUITY_S says for how long (60 s, if it does not).
"""

import concurrent.futures
import re

import pytest

import conftest
import harness
import players
import publishers

SIZE = "320x180"
COMMON = {"size": SIZE, "kbps": 300, "noise": 8}

# One publisher each. 8.3 s is OBS's default distance of key frames, more than a segment's target.
BROADCASTS = {
    "24": {"fps": "24"},
    "23-976": {"fps": "24000/1001"},
    "25": {"fps": "25"},
    "29-97": {"fps": "30000/1001"},
    "30": {"fps": "30"},
    "50": {"fps": "50"},
    "60": {"fps": "60"},
    "variable": {"fps": "variable"},
    "aac-44100": {"fps": "30", "sample_rate": "44100"},
    "b-frames": {"fps": "30", "bframes": "2"},
    "b-frames-29-97-long-gop": {"fps": "30000/1001", "bframes": "2", "gop_s": "8.3"},
    "no-sound": {"fps": "30", "audio": "none"},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    # The whole broadcast stays in the window, and ends when its publisher says goodbye.
    config = {"live": {"window_s": 10 + 2 * conftest.CONTINUITY_S}, "origin": {"grace_s": 0}}
    node = harness.Node(tmp_path_factory.mktemp("weir"), config)
    yield node.start()
    conftest.finish_nodes([node])


def broadcast(node, name, options, log_path):
    """One broadcast, watched from beginning to end; gives what the player and, after the end, ffprobe saw."""
    publisher = publishers.ClockPublisher(
        node.push_url(f"live/{name}"), log_path, seconds=conftest.CONTINUITY_S, **COMMON, **options)
    try:
        variant = "v0" if options.get("audio") == "none" else "v0a0"
        node.wait_segment(f"live/{name}", variant)
        url = node.url(f"/live/{name}/{variant}.m3u8")
        seen = players.check_with_ffmpeg(url, SIZE, conftest.CONTINUITY_S + 40)
        assert publisher.wait(20) == 0, publisher.log_text
        seen["published"] = int(re.search(r"clocksource: frames=(\d+)", publisher.log_text)[1])
        seen["packets"] = players.probe(url, "-live_start_index", "0", "-show_packets")["packets"]
    finally:
        publisher.drop()
    return seen


@pytest.fixture(scope="module")
def broadcasts(node, tmp_path_factory):
    folder = tmp_path_factory.mktemp("publishers")
    with concurrent.futures.ThreadPoolExecutor(len(BROADCASTS)) as pool:
        return {name: pool.submit(broadcast, node, name, options, folder / f"{name}.log")
                for name, options in BROADCASTS.items()}


@pytest.mark.parametrize("name", BROADCASTS)
def test_every_frame_arrives_once_and_in_order(broadcasts, name):
    seen = broadcasts[name].result()
    faults = {kind: seen[kind] for kind in ("missing", "duplicate", "reordered", "unreadable")}
    assert not any(faults.values()), f"{faults}: {seen['faults']}\n{seen['log']}"
    assert (seen["first"], seen["frames"]) == (0, seen["published"]), seen["log"]


@pytest.mark.parametrize("name", [name for name in BROADCASTS if name != "no-sound"])
def test_sound_has_no_gaps(broadcasts, name):
    """AAC frames follow each other at exactly 1024 samples, and last as long as the picture."""
    seen = broadcasts[name].result()
    sound = [packet for packet in seen["packets"] if packet["codec_type"] == "audio"]
    rate = int(BROADCASTS[name].get("sample_rate", 48000))
    steps = {round((float(b["pts_time"]) - float(a["pts_time"])) * rate) for a, b in zip(sound, sound[1:])}
    assert steps == {1024}
    assert len(sound) * 1024 / rate == pytest.approx(conftest.CONTINUITY_S, abs=0.5)


@pytest.mark.parametrize("name", BROADCASTS)
def test_frames_keep_their_distances(broadcasts, name):
    """What is shown keeps the publisher's pace: to the millisecond that RTMP can tell."""
    seen = broadcasts[name].result()
    times = sorted(float(packet["pts_time"]) for packet in seen["packets"] if packet["codec_type"] == "video")
    if BROADCASTS[name]["fps"] == "variable":
        expected = [1 / 60, 1 / 20]
    else:
        expected = [1 / publishers.float_rate(BROADCASTS[name]["fps"])] * 2
    steps = [b - a for a, b in zip(times, times[1:])]
    assert expected[0] - 0.0025 < min(steps) and max(steps) < expected[1] + 0.0025


# --- other players


@pytest.fixture(scope="module")
def clock_stream(shared_weir, tmp_path_factory):
    """A broadcast that goes on, on the node with default settings."""
    publisher = publishers.ClockPublisher(
        shared_weir.push_url("live/clock"), tmp_path_factory.mktemp("publisher") / "log", **COMMON)
    shared_weir.wait_segment("live/clock")
    yield "live/clock"
    publisher.stop()


def test_ffprobe_tells_codecs_size_and_rates(shared_weir, clock_stream):
    streams = players.probe(shared_weir.url(f"/{clock_stream}/index.m3u8"))["streams"]
    video = next(stream for stream in streams if stream["codec_type"] == "video")
    audio = next(stream for stream in streams if stream["codec_type"] == "audio")
    assert (video["codec_name"], video["width"], video["height"]) == ("h264", 320, 180)
    assert video["avg_frame_rate"] == "30/1"
    assert (audio["codec_name"], audio["sample_rate"], audio["channels"]) == ("aac", "48000", 2)


def test_ffprobe_opens_a_stream_that_has_just_begun(shared_weir, stream, publish_clock):
    """It gives up on a playlist without segments; so the first playlist is held until there is one."""
    publish_clock(shared_weir.push_url(stream), **COMMON)
    shared_weir.wait_live(stream)
    young = shared_weir.get(f"/{stream}/v0a0.m3u8?_HLS_msn=0")  # who blocks knows parts, and is not held
    assert young.status == 200 and "#EXTINF" not in young.text, young.text
    streams = players.probe(shared_weir.url(f"/{stream}/index.m3u8"))["streams"]
    assert {stream["codec_name"] for stream in streams} == {"h264", "aac"}


def test_ffprobe_finds_only_sound_in_the_audio_variant(shared_weir, clock_stream):
    streams = players.probe(shared_weir.url(f"/{clock_stream}/a0.m3u8"))["streams"]
    assert [stream["codec_name"] for stream in streams] == ["aac"]


@pytest.fixture(scope="module")
def plays(shared_weir, clock_stream):
    """What two players see of it, at the same time."""
    url = shared_weir.url(f"/{clock_stream}/index.m3u8")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return {"ffmpeg": pool.submit(players.check_with_ffmpeg, url, SIZE, seconds=10),
                "gstreamer": pool.submit(players.check_with_gstreamer, url, SIZE, seconds=12)}


def test_ffmpeg_plays_the_multivariant_playlist(plays):
    seen = plays["ffmpeg"].result()
    assert seen["frames"] > 100
    assert not (seen["missing"] or seen["duplicate"] or seen["reordered"] or seen["unreadable"]), seen


def test_gstreamer_plays_the_multivariant_playlist(plays):
    seen = plays["gstreamer"].result()
    assert seen["frames"] > 100, seen["log"]
    assert not (seen["missing"] or seen["duplicate"] or seen["reordered"] or seen["unreadable"]), seen
