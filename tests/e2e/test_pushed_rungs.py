"""A ladder that the broadcaster encodes himself: several pushes that are one stream, and an interpreter's. One broadcast for all."""

import re

import harness
import players
import publishers
import pytest
import viewer
from hls_playlist import parse

STREAM = "live/pushed"
RUNGS = {"v0": "640x360", "v1": "320x180", "v2": "160x90"}  # v2: another encoder, with key frames elsewhere


def video(label, size, gop):
    return ["-map", label, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-s", size,
            "-g", gop, "-keyint_min", gop, "-sc_threshold", 0, "-b:v", "300k"]


def encoder(log_path, *outputs):
    """One ffmpeg: a test picture for each picture that is pushed, and a tone."""
    pictures = sum("-c:v" in output for output in outputs)
    split = f"[1:v]split={pictures}" + "".join(f"[p{i}]" for i in range(pictures))
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
               "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-filter_complex", split]
    for output in outputs:
        command += output
    return publishers.PublisherProcess(None, log_path, command)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pushed")
    config = {"ingest": {"srt": {"listen": ["127.0.0.1:0"]}, "rung_suffixes": ["_low"]}}
    node = harness.Node(folder / "weir", config).start()
    sound = ["-map", "0:a", "-c:a", "aac", "-b:a", "64k"]
    flv = ["-flush_packets", 1, "-f", "flv"]
    started = [
        encoder(folder / "one", [*video("[p0]", "320x180", 30), *sound, *flv, node.push_url(f"{STREAM}_low")],
                [*video("[p1]", "640x360", 30), *sound, *flv, node.push_url(STREAM)]),
        encoder(folder / "other", [*video("[p0]", "160x90", 47), *flv, node.push_url(f"{STREAM}?rung=odd")],
                [*sound, "-flush_packets", 1, "-f", "mpegts", node.srt_url(f"{STREAM}?audio=de")])]
    try:
        harness.wait_for(lambda: all(name in node.get(f"/{STREAM}/index.m3u8").text for name in ("v2.m3u8", "a1.m3u8")), 30, "all of them")
        node.log.wait("track_misaligned", 30)
        harness.wait_for(lambda: playlist(node, "v2").segments[2:] and playlist(node, "v1").segments[2:], 30, "three segments of rungs")
        yield node
    finally:
        for publisher in started:
            publisher.stop()
        node.stop()
    node.check_log()


def playlist(node, variant):
    return parse(node.get(f"/{STREAM}/{variant}.m3u8").body)


def test_all_of_it_is_one_stream(node):
    text = node.get(f"/{STREAM}/index.m3u8").text
    sizes = dict(re.findall(r"RESOLUTION=(\S+?),.*\n(v\d)\.m3u8", text))
    assert {track: size for size, track in sizes.items()} == RUNGS, text
    assert [language or None for language in re.findall(r"TYPE=AUDIO.*?(?:LANGUAGE=\"(\w+)\".*)?URI", text)] == [None, "de"], text
    assert node.metric('weir_ingest_joined{kind="rung"}') == 2 and node.metric('weir_ingest_joined{kind="audio"}') == 1
    for track, size in RUNGS.items():
        picture = players.probe(node.url(f"/{STREAM}/{track}.m3u8"))["streams"][0]
        assert (picture["codec_name"], f"{picture['width']}x{picture['height']}") == ("h264", size)
    for track in ("a0", "a1"):
        assert players.probe(node.url(f"/{STREAM}/{track}.m3u8"))["streams"][0]["codec_name"] == "aac"


def test_one_encoders_rungs_are_cut_alike_and_others_are_what_they_are(node):
    assert node.log.wait("publish_join", label="low")["clock"] == "shared"
    assert node.log.wait("track_misaligned")["track"] == "v2"
    source, low, odd = (playlist(node, track) for track in RUNGS)
    known = {segment.msn: segment for segment in source.segments if segment.parts}
    compared = 0
    for segment in low.segments:
        if segment.msn in known and segment.parts:
            assert [(p.duration, p.independent) for p in segment.parts] == [(p.duration, p.independent) for p in known[segment.msn].parts]
            compared += 1
    assert compared >= 2
    assert not all(segment.parts[0].independent for segment in odd.segments if segment.parts)
    advice = harness.wait_for(lambda: [a for a in node.admin_get(f"/api/v1/streams/{STREAM}").json()["advice"] if a["code"] == "misaligned"],
                              20, "the advice")
    assert advice[0]["value"] == 1 and node.metric("weir_ingest_misaligned_total") > 0


def test_the_page_plays_each(node):
    page = viewer.Viewer(node.url(f"/{STREAM}/"))
    try:
        page.wait_state("playing")
        for level, height in ((1, 180), (2, 360), (0, 90)):
            page.select("#quality", str(level))
            harness.wait_for(lambda height=height: page.evaluate("document.querySelector('video').videoHeight") == height, 20,
                             f"{height} lines")
        assert not page.report()["errors"]
    finally:
        page.close()
