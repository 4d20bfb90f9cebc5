"""`hls: {muxed: never}`: the picture alone, with the sound as its audio group, and sound of a low rate as another. The rules are the
same, and what a variant says of itself includes its group; then a browser and ffprobe put the two together.
"""
import harness
import players
import pytest
from conftest import finish_nodes
from hls_checks_media import first_times
from hls_playlist import parse, unquote
from hls_session import Session
from publishers import ClockPublisher

SECONDS = 16
CONFIG = {"hls": {"muxed": "never"}, "origin": {"grace_s": 1},
          "ingest": {"ladder": ["live/* 2160:9000"]}}  # of no rung that is below the picture, but a ladder: its sound is there
CLOCK = {"size": "640x360", "kbps": 800, "noise": 8, "gop_s": 2}
STREAM = "live/groups"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), CONFIG)
    yield node.start()
    finish_nodes([node])


@pytest.fixture(scope="module")
def watched(node, tmp_path_factory):
    publisher = ClockPublisher(node.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log", seconds=SECONDS, **CLOCK)
    session = Session(node, STREAM, media_of=("v0", "a0"))
    session.wait_listed(6)
    session.prober.run()
    session.note_multivariant()
    publisher.wait(SECONDS + 15)
    session.finish()
    yield session
    publisher.drop()


@pytest.fixture(scope="module")
def verdict(watched):
    report = watched.judge()
    print(report)
    return report


def test_ll_135_groups_that_variants_name_exist(watched, verdict):
    verdict.require(135)
    for body in watched.multivariants:
        (picture, uri), (sound, sound_uri), (low, low_uri) = parse(body).variants
        member, low_member = parse(body).media
        assert (uri, sound_uri, unquote(member["URI"])) == ("v0.m3u8", "a0.m3u8", "a0.m3u8")
        assert picture["AUDIO"] == sound["AUDIO"] == member["GROUP-ID"]
        assert low_uri == unquote(low_member["URI"]) == "a1.m3u8" and low["AUDIO"] == low_member["GROUP-ID"] != member["GROUP-ID"]


def test_ll_136_members_of_a_group_are_told_apart(verdict):
    verdict.require(136)


def test_ll_137_groups_of_a_type_are_alike(verdict):
    verdict.require(137)


def test_ll_138_channels_of_sound_are_told(watched, verdict):
    verdict.require(138)
    assert [unquote(g["CHANNELS"]) for g in parse(watched.multivariants[-1]).media] == ["2", "1"]


@pytest.mark.parametrize("number", (
    1, 5, 6, 7, 9, 11, 12, 13, 14, 15, 17, 19, 20, 26, 28, 31, 33, 37, 38, 40, 41, 42, 43, 45, 46, 51, 52, 53, 54, 57, 58, 60, 62, 64, 66,
    70, 72, 73, 74, 89, 95, 100, 103, 107, 111, 120, 121, 122, 123, 124, 126, 127, 130, 131, 132, 133, 134, 140, 142))
def test_the_same_rules_hold(verdict, number):
    verdict.require(number)


def test_nothing_else_is_broken(verdict):
    assert not {number: found[:2] for number, found in verdict.failures.items() if found}


def test_each_rendition_has_one_track(watched):
    kinds = {uri: {t.handler for init in r.inits.values() for t in init.tracks.values()} for uri, r in watched.recordings.items() if r.inits}
    assert kinds == {"v0.m3u8": {"vide"}, "a0.m3u8": {"soun"}}


def test_picture_and_sound_begin_a_segment_together(watched):
    """To within the longest of a frame and a packet: nothing else tells players how the two belong together."""
    picture, sound = (first_times(watched.recordings[uri]) for uri in ("v0.m3u8", "a0.m3u8"))
    apart = {msn: abs(at - sound[msn, "soun"]) for (msn, _), at in picture.items() if (msn, "soun") in sound}
    assert len(apart) > 5 and max(apart.values()) < 1 / 30 + 1024 / 48000, apart


@pytest.fixture
def live(node, publish_clock, stream):
    publish_clock(node.push_url(stream), **CLOCK)
    node.wait_segment(stream, "v0")
    return node.url(f"/{stream}/")


def test_ffprobe_finds_both(live):
    streams = players.probe(live + "index.m3u8")["streams"]
    assert {"h264", "aac"} == {stream["codec_name"] for stream in streams}


def test_the_page_plays_both(live, open_page):
    page = open_page(live)
    page.wait_state("playing")
    page.wait_frames(150)
    report, stats = page.report(warm_s=2), page.stats()
    assert {name: report[name] for name in ("repeated", "reordered", "unreadable") if report[name]} == {}
    assert not report["errors"] and stats["lastError"] is None
    assert stats["width"] == 640 and 0 < stats["latency"] < 2
    assert page.evaluate("document.querySelector('video').webkitAudioDecodedByteCount") > 10000
    page.select("#quality", "audio")
    harness.wait_for(lambda: page.stats()["quality"] == "audio" and page.stats()["width"] == 0, 15, "sound alone")
    page.select("#quality", "auto")
    harness.wait_for(lambda: page.stats()["width"] == 640, 15, "the picture")
    page.wait_frames(30)
