"""A picture that is transcoded: rungs are cut as it is, whole, and change without a gap. One broadcast for all."""

import re
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

import abr_scene
import harness
import players
import publishers
from hls_playlist import parse
from hls_session import Session

STREAM = "live/ladder"
SOURCE = {"size": "640x360", "fps": 30, "gop_s": 1, "kbps": 800, "noise": 4}
BUFFERED = "((b) => [...Array(b.length).keys()].map((i) => [b.start(i), b.end(i)]))(document.querySelector('video').buffered)"
RUNGS = {"v1a0": "480x270", "v2a0": "320x180"}  # the second one has each second picture

DECODED_AHEAD = 6  # frames that may be waiting to be shown; there were as many more or fewer at the beginning

pytestmark = pytest.mark.alone  # a machine that has too much else to do drops rungs, as it should


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    config = {"origin": {"grace_s": 1}, "ingest": {"ladder": ["live/* 270:400 180@15:200"], "ladder_preset": "ultrafast"}}
    node = harness.Node(folder / "weir", config).start()
    publisher = publishers.ClockPublisher(node.push_url(STREAM), folder / "log", **SOURCE)
    try:
        node.wait_segment(STREAM)
        harness.wait_for(lambda: parse(node.get(f"/{STREAM}/v2a0.m3u8").body).segments[2:], 20, "three segments")
        yield node
    finally:
        publisher.stop()
        node.stop()
    node.check_log()


def playlist(node, variant):
    answer = node.get(f"/{STREAM}/{variant}.m3u8")
    assert answer.status == 200
    return parse(answer.body)


def test_the_multivariant_playlist_leads_to_each_rung(node):
    text = node.get(f"/{STREAM}/index.m3u8").text
    found = re.findall(r"#EXT-X-STREAM-INF:BANDWIDTH=(\d+).*?(?:RESOLUTION=(\S+?),)?(?:FRAME-RATE=([\d.]+),)?CLOSED.*\n(\S+)", text)
    assert [entry[1:] for entry in found] == [("640x360", "30.000", "v0a0.m3u8"), ("480x270", "30.000", "v1a0.m3u8"),
                                              ("320x180", "15.000", "v2a0.m3u8"), ("", "", "a0.m3u8"), ("", "", "a1.m3u8")]
    rates = [int(entry[0]) for entry in found]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 64000
    for rung, size in RUNGS.items():
        picture = players.probe(node.url(f"/{STREAM}/{rung}.m3u8"))["streams"][0]
        assert (picture["codec_name"], f"{picture['width']}x{picture['height']}") == ("h264", size)
        assert picture["has_b_frames"] == 0 and picture["pix_fmt"] == "yuv420p"


def test_rungs_are_cut_as_the_picture_is(node):
    source, *rungs = (playlist(node, variant) for variant in ("v0a0", *RUNGS))
    for rung in rungs:
        known = {segment.msn: segment for segment in source.all_segments}
        for segment in rung.segments:
            if segment.msn not in known or known[segment.msn].duration is None:
                continue
            like = known[segment.msn]
            assert (segment.duration, segment.pdt) == (like.duration, like.pdt)
            if segment.parts and like.parts:
                assert [(p.duration, p.independent) for p in segment.parts] == [(p.duration, p.independent) for p in like.parts]
        assert abs(rung.all_segments[-1].msn - source.all_segments[-1].msn) <= 1
        assert rung.part_target == source.part_target and not rung.problems


def test_the_checklist_holds_for_all_of_them(node, publish_clock):
    publisher = publish_clock(node.push_url("live/checked"), seconds=12, **SOURCE)
    session = Session(node, "live/checked", media_of=("v0a0", "v1a0", "v2a0", "a0"))
    publisher.wait(30)
    session.note_multivariant()
    session.finish()
    verdict = session.judge()
    print(verdict)
    for number in (40, 51, 57, 59, 60, 61, 62, 100, 106, 107, 108, 111, 127, 130, 131, 132, 133, 134, 142, 143):
        verdict.require(number)


def test_every_picture_comes_in_order(node):
    def check(rung):
        return players.check_with_ffmpeg(node.url(f"/{STREAM}/{rung}.m3u8"), RUNGS[rung], seconds=10)

    with ThreadPoolExecutor() as threads:
        for every, report in enumerate(threads.map(check, RUNGS), 1):
            assert report["frames"] > 200 // every, report
            assert report["missing"] == (every - 1) * (report["frames"] - 1), report
            assert not any(report[fault] for fault in ("duplicate", "reordered", "unreadable")), report


def test_a_rung_on_demand_runs_while_it_is_watched(fleet, tmp_path):
    """Two nodes away from where it is made, and nothing of that passes for a failure on any of them."""
    origin = fleet.origin()
    ingest = fleet.ingest(origins=[origin], config={"ingest": {"ladder": ["live/* 90:100"], "ladder_preset": "ultrafast",
                                                               "ladder_on_demand_s": 1}})
    relay = fleet.relay(upstreams=[origin], config={"relay": {"linger_s": 1}})

    def wait_running(count):
        harness.wait_for(lambda: ingest.metric("weir_ladder_rungs_running") == count, 30, f"{count} rungs to run")

    publisher = publishers.ClockPublisher(ingest.push_url(STREAM), tmp_path / "log", size="320x180", fps=15, gop_s=1, kbps=300)
    try:
        relay.wait_segment(STREAM)
        for _ in range(2):
            text = relay.get(f"/{STREAM}/index.m3u8").text
            wait_running(0)
            found = re.search(r"BANDWIDTH=(\d+),AVERAGE-BANDWIDTH=\d+,CODECS=\"(avc1\.\w+),.*RESOLUTION=160x90.*\nv1a0", text)
            assert found and int(found[1]) > 100000
            relay.wait_segment(STREAM, "v1a0")
            picture = players.probe(relay.url(f"/{STREAM}/v1a0.m3u8"))["streams"][0]
            assert (picture["width"], picture["height"]) == (160, 90)
            wait_running(1)
            rung = playlist(relay, "v1a0")
            assert rung.segments and not rung.problems
        wait_running(0)
        assert ingest.metric("weir_push_failures_total") == 0
        assert not relay.log.find("link_failed") and not relay.log.find("pull_leave")
    finally:
        publisher.stop()


def change_rung(page, level, height):
    page.select("#quality", str(level))
    harness.wait_for(lambda: page.evaluate("document.querySelector('video').videoHeight") == height, 20, f"{height} lines")
    page.wait_frames(30)
    ranges = page.evaluate(BUFFERED)
    assert len(ranges) == 1, ranges


def test_the_page_changes_rungs_without_a_gap(node, open_page):
    """By the menu: from one picture to the next, each decoded once; nothing that was loaded is loaded again."""
    page = open_page(node.url(f"/{STREAM}/"))
    page.wait_state("playing")
    change_rung(page, 1, 270)
    decoded, number = abr_scene.count_frames(page)
    for level, height in ((2, 360), (1, 270), (2, 360)):
        change_rung(page, level, height)
    decoded_then, number_then = abr_scene.count_frames(page)
    assert decoded_then - decoded == pytest.approx(number_then - number, abs=DECODED_AHEAD)
    change_rung(page, 0, 180)
    report = page.report()
    assert report["reordered"] == report["repeated"] == report["unreadable"] == 0 and not report["errors"], report


def test_shaka_player_plays_it(node, open_page, page_server):
    page = open_page(f"{page_server}/shaka.html?{urllib.parse.urlencode({'url': node.url(f'/{STREAM}/index.m3u8')})}")
    page.wait_frames(150, deadline_s=30)
    assert {180, 270, 360} <= set(page.evaluate("window.heights()")) and page.evaluate("window.shown()") in (180, 270, 360)
    report = page.report(warm_s=2)
    assert page.evaluate("window.failed") is None
    assert report["unreadable"] == report["reordered"] == 0 and not report["errors"], report


def test_gstreamer_plays_it(node):
    report = players.check_with_gstreamer(node.url(f"/{STREAM}/index.m3u8"), SOURCE["size"], seconds=12)
    assert report["frames"] > 100, report
    assert not any(report[fault] for fault in ("duplicate", "reordered", "unreadable")), report
