"""Subtitles: cues that are posted show in step with the picture, in each of several languages."""

import json
import re
import time

import pytest

import harness
import hls_fmp4
import publishers
import viewer
from hls_playlist import parse
from hls_validator import Report, judge_playlist

STREAM = "live/subtitles"
CUES = f"/api/v1/streams/{STREAM}/cues"
NEAR_MS = 300  # between a cue's time and that of the picture at which it comes and goes

# What shows of the chosen language whenever that changes, and the clock of the picture then.
WATCH = """(() => {
  window.seen = [];
  const video = document.querySelector('video');
  for (const track of video.textTracks) {
    if (track.language !== 'de') continue;
    track.addEventListener('cuechange', () => window.seen.push([weirProbe.shows(), [...track.activeCues].map((cue) => cue.text)]));
  }
})()"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subtitles")
    node = harness.Node(folder / "weir", {"ingest": {"subtitles": ["live/* de Deutsch", "live/* fr Français"]}}).start()
    publisher = publishers.ClockPublisher(node.push_url(STREAM), folder / "log", size="640x360", kbps=800, noise=8)
    try:
        node.wait_segment(STREAM)
        yield node
    finally:
        publisher.stop()
        node.stop()
    node.check_log()


def post(node, *cues):
    body = "\n".join(json.dumps(cue) for cue in cues)
    answer = harness.http_request(node.admin, CUES, method="POST", body=body)
    assert answer.status == 200, answer.text
    return answer.json()


def now_ms():
    return int(time.time() * 1000)


@pytest.mark.alone
def test_the_page_shows_cues_in_step_with_the_picture(node, tmp_path):
    page = viewer.Viewer(node.url(f"/{STREAM}/"))
    try:
        page.wait_state("playing")
        page.select("#subtitles", "de Deutsch")
        harness.wait_for(lambda: page.evaluate("[...document.querySelector('video').textTracks].some((one) => one.mode === 'showing')"),
                         10, "subtitles to be on")
        page.evaluate(WATCH)
        start = now_ms() + 2500
        text = "Dieses Kleid gibt es in vier Farben."
        assert post(node, {"language": "de", "start": start, "end": start + 2000, "text": text},
                    {"language": "fr", "start": start, "end": start + 2000, "text": "Cette robe"})["taken"] == 2
        harness.wait_for(lambda: page.evaluate("window.seen.length") >= 1, 15, "the cue to show")
        page.screenshot(tmp_path / "cue.png")
        harness.wait_for(lambda: page.evaluate("window.seen.length") >= 2, 15, "the cue to go")
        (came, shown), (went, left) = page.evaluate("window.seen")
        assert (shown, left) == ([text], [])
        assert abs(came - start) < NEAR_MS and abs(went - start - 2000) < NEAR_MS
    finally:
        page.close()


def test_ll_139_subtitles_are_a_group_of_every_variant(node):
    answer, report = node.get(f"/{STREAM}/index.m3u8"), Report()
    judge_playlist(report, parse(answer.body))
    report.require(139)
    lines = answer.text.splitlines()
    members = [line for line in lines if line.startswith("#EXT-X-MEDIA:TYPE=SUBTITLES,")]
    assert [(line.count('LANGUAGE="de",NAME="Deutsch"'), line.count('LANGUAGE="fr",NAME="Français"')) for line in members] == [(1, 0), (0, 1)]
    assert all('GROUP-ID="s"' in line and "AUTOSELECT=YES" in line and 'URI="s' in line for line in members)
    assert all(',SUBTITLES="s"' in line for line in lines if line.startswith("#EXT-X-STREAM-INF"))


def test_ll_172_their_playlist_is_cut_as_the_pictures(node):
    picture, words = (parse(node.get(f"/{STREAM}/{variant}.m3u8").body) for variant in ("v0a0", "s0"))
    assert not words.problems
    for what in ("target_duration", "server_control", "part_target", "discontinuity_sequence"):
        assert getattr(words, what) == getattr(picture, what)
    known = {segment.msn: segment for segment in picture.segments}
    common = [(segment, known[segment.msn]) for segment in words.segments if segment.msn in known]
    assert common
    for segment, other in common:
        assert (segment.duration, segment.pdt) == (other.duration, other.pdt)
        assert [part.printed for part in segment.parts] == [part.printed for part in other.parts]


def test_ll_170_each_file_is_whole_and_has_every_cue_of_its_time(node):
    post(node, {"language": "fr", "end": 5000, "text": "<trois> robes & plus"})
    cue = "&lt;trois&gt; robes &amp; plus\n\n"

    def files():
        playlist = parse(node.get(f"/{STREAM}/s1.m3u8").body)
        uris = [segment.uri for segment in playlist.segments] + [part.uri for segment in playlist.all_segments for part in segment.parts]
        return {uri: node.get(f"/{STREAM}/{uri}") for uri in uris}

    def has_it(found, part):
        return sum(cue in answer.text for uri, answer in found.items() if ("/p" in uri) == part)

    harness.wait_for(lambda: has_it(files(), part=False) >= 2, 20, "two segments with the cue", every_s=0.5)
    found = files()
    assert all(answer.status == 200 and answer.headers["content-type"] == "text/vtt" for answer in found.values())
    head = re.compile(r"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:(\d+),LOCAL:00:00:00\.000\n\n")
    assert all(head.match(answer.text) and answer.text.count(cue) <= 1 for answer in found.values())
    assert has_it(found, part=True) >= 10
    assert any(head.fullmatch(answer.text) for answer in found.values())  # an empty one is its head


def begins(node, segment):
    """When a segment's picture does, in ticks of 1/90000 s, in 33 bits."""
    init = hls_fmp4.parse_init(node.get(f"/{STREAM}/{segment.map_uri}").body)
    first = hls_fmp4.parse_fragments(node.get(f"/{STREAM}/{segment.uri}").body, init)[0]
    return first.tfdt * 90000 // init.tracks[first.track_id].timescale % 2**33


def cue_times(text, words):
    """When a cue of a file shows, in the same; None: it isn't in it."""
    clock = r"(\d+):(\d\d):(\d\d)\.(\d{3})"
    found = re.search(rf"\n{clock} --> {clock}\n{re.escape(words)}\n\n", text)
    if not found:
        return None
    h, m, s, ms = zip(*(map(int, found.groups()[i:i + 4]) for i in (0, 4)))
    anchor = int(re.search(r"MPEGTS:(\d+)", text).group(1))
    return [anchor + ((h[i] * 60 + m[i]) * 60 + s[i]) * 90000 + ms[i] * 90 for i in (0, 1)]


def test_ll_171_173_each_segment_of_its_time_has_a_cue_at_its_time(node):
    start, length, words = now_ms() + 1000, 4500, "Eine lange Zeile"
    post(node, {"language": "de", "start": start, "end": start + length, "text": words})

    def listed():
        picture, text = (parse(node.get(f"/{STREAM}/{variant}.m3u8").body) for variant in ("v0a0", "s0"))
        return picture.segments, {segment.msn: segment for segment in text.segments}

    def shown():
        return [segment.msn for segment in listed()[1].values() if words in node.get(f"/{STREAM}/{segment.uri}").text]

    harness.wait_for(lambda: (found := shown()) and found[-1] < max(listed()[1]), 60, "a segment behind the cue's last", every_s=0.5)
    picture, texts = listed()
    near, having = NEAR_MS * 90, 0
    for segment, after in zip(picture, picture[1:]):
        if segment.msn not in texts:
            continue
        from_ts, to_ts = begins(node, segment), begins(node, after)
        if to_ts < from_ts:
            continue  # 33 bits are over
        times = cue_times(node.get(f"/{STREAM}/{texts[segment.msn].uri}").text, words)
        if times:
            having += 1
            want = start * 90 % 2**33
            assert abs(times[0] - want) < near and times[1] - times[0] == length * 90
            assert times[0] < to_ts + near and times[1] > from_ts - near
        else:
            begin_ts = start * 90 % 2**33
            assert not begin_ts + near < to_ts or not begin_ts + length * 90 - near > from_ts, segment.msn
    assert having >= 2


def test_what_is_wrong_with_cues_is_said(node):
    def refused(body, path=CUES, **options):
        answer = harness.http_request(node.admin, path, method="POST", body=body, **options)
        return answer.status, answer.text

    assert "line 1: that is no JSON" in refused("nonsense")[1]
    assert refused('{"language":"de","start":70000,"end":71000,"text":"x"}')[0] == 400
    assert refused("WEBVTT\n\n00:00.000 --> 00:01.000\nx\n", headers={"Content-Type": "text/vtt"})[0] == 400
    assert refused("x", "/api/v1/streams/live/nobody/cues")[0] == 404
    assert refused("x", headers={"Origin": "https://page.example"})[0] == 403
    assert node.admin_get(CUES).status == 405
    answer = harness.http_request(node.admin, CUES + "?language=de&name=Deutsch", method="POST",
                                  body="WEBVTT\n\n00:00.000 --> 00:01.000\nx\n", headers={"Content-Type": "text/vtt; charset=utf-8"})
    assert answer.json() == {"taken": 1, "late": 0}


def test_they_come_through_origins_and_relays(fleet, publish, stream):
    origin = fleet.origin()
    ingest = fleet.ingest(origins=[origin])
    edge = fleet.relay("edge", upstreams=[fleet.relay("shield", upstreams=[origin])])
    publish(ingest.push_url(stream))
    edge.wait_live(stream)
    body = json.dumps({"language": "de", "start": -1000, "end": 30000, "text": "Guten Tag"})
    assert harness.http_request(ingest.admin, f"/api/v1/streams/{stream}/cues", method="POST", body=body).status == 200
    harness.wait_for(lambda: "TYPE=SUBTITLES" in edge.get(f"/{stream}/index.m3u8").text, 10, "a language to join")
    words = parse(edge.get(f"/{stream}/s0.m3u8").body)
    assert words.segments and not words.problems
    hint = words.hints[0]["URI"].strip('"')
    for uri in (words.segments[-1].uri, hint):
        assert "Guten Tag\n\n" in edge.get(f"/{stream}/{uri}").text
