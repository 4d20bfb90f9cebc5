"""OBS's default: a key frame every 250 frames (8.3 s at 30 fps), with B-frames. Segments are cut at the target all the same, so
most start without an independent frame (docs/hls.md, deviations), and everything else holds.
"""
import harness
import pytest
from conftest import finish_nodes
from hls_recording import of_track
from hls_session import Session
from publishers import Publisher

SECONDS = 22
STREAM = "live/long-gop"


def advised(node):
    """What the broadcaster is told, once it is about both of what he does wrong."""
    answer = node.admin_get(f"/api/v1/streams/{STREAM}")
    advice = {finding["code"]: finding for finding in (answer.json()["advice"] or [])} if answer.status == 200 else {}
    warned = advice.get("keyframe_interval", {}).get("level") == "warn"
    return advice if warned and "b_frames" in advice else None


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), {"origin": {"grace_s": 1}}).start()
    publisher = Publisher(node.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log", gop_s=250 / 30, bframes=3,
                          seconds=SECONDS)
    session = Session(node, STREAM)
    session.advice = harness.wait_for(lambda: advised(node), SECONDS - 5, "advice about key frames and B-frames")
    session.advice_lines = node.log.find("advice")
    publisher.wait(SECONDS + 15)
    session.finish()
    yield session
    publisher.drop()
    finish_nodes([node])


@pytest.fixture(scope="module")
def verdict(watched):
    report = watched.judge()
    print(report)
    return report


@pytest.mark.parametrize("number", (11, 12, 14, 15, 17, 19, 26, 28, 37, 38, 40, 41, 42, 43, 45, 46, 51, 52, 57, 60, 66, 72, 100, 103, 108,
                                    120, 122, 123, 126, 127, 141))
def test_the_same_rules_hold(verdict, number):
    verdict.require(number)


def test_the_broadcaster_is_told(watched):
    interval, b_frames = watched.advice["keyframe_interval"], watched.advice["b_frames"]
    assert 4 < interval["value"] < 9 and interval["unit"] == "s" and "Keyframe Interval" in interval["text"]
    assert 30 < b_frames["value"] < 300 and b_frames["unit"] == "ms" and b_frames["level"] == "hint"
    logged = [(line["code"], line["level"]) for line in watched.advice_lines if line["stream"] == STREAM]
    assert logged.count(("keyframe_interval", "hint")) == 1 and logged.count(("keyframe_interval", "warn")) == 1, logged


def test_there_are_b_frames(watched):
    samples = [sample for _, _, fragments in watched.main.parts for f in fragments for sample in f.samples]
    assert len({sample.cts for sample in samples}) > 2, "no reordering: this is not what OBS sends"


def test_segments_without_independent_frame_say_so(watched):
    """Two in three of these segments start in mid-GOP; no part of theirs is INDEPENDENT."""
    starts = [s.parts[0].independent for s in watched.main.ordered if s.parts]
    assert starts.count(False) > starts.count(True) > 1, starts


def test_key_frame_always_opens_a_segment(watched):
    """…so that players find it: the first frame of the first part, nowhere else."""
    recording = watched.main
    for s in recording.ordered:
        track = recording.lead(s.map_uri)
        for i, part in enumerate(s.parts):
            sync = [sample.sync for f in of_track(recording.fragments(part.uri, s.map_uri), track) for sample in f.samples]
            assert not any(sync[1:]) and (not sync[0] or i == 0), f"{part.uri}: {sync}"
