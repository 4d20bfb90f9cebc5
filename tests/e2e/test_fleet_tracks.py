"""Only tracks that somebody watches cross the links: one joins when somebody asks for it, wherever the stream is by then, and is let go
when nobody has for a while.
"""

import contextlib

import harness
import pytest
from continuity import LiveWatch, PartWatch
from fleet_scene import TIMELINES, TRACKS, Scene
from hls_playlist import parse
from hls_session import Session

STREAM = "live/tracks"
LINGER_S = 2
JOINED_S = 1.5  # from the question for a track that isn't there to its first chunk: what was missed has to come, too
RECEIVED = "weir_http_client_received_bytes_total"


@pytest.fixture
def scene(fleet, tmp_path):
    """Two origins, a shield, an edge behind it."""
    linger = {"relay": {"linger_s": LINGER_S}}
    with contextlib.closing(Scene(fleet, STREAM, tmp_path)) as scene:
        scene.shield = fleet.relay("shield", upstreams=scene.origins, config=linger)
        scene.edge = fleet.relay("edge", upstreams=[scene.shield], config=linger)
        yield scene


def wait_tracks(scene, count, deadline_s=5):
    """Until so many cross each of the two links."""
    def cross():
        given = [sum(origin.metric(TRACKS) for origin in scene.origins), scene.shield.metric(TRACKS)]
        return given == [count, count] == [relay.metric("weir_pull_tracks") for relay in (scene.shield, scene.edge)]

    harness.wait_for(cross, deadline_s, f"{count} tracks to cross")


def playlist(scene, variant):
    answer = scene.edge.get(f"/{STREAM}/{variant}.m3u8")
    assert answer.status == 200
    return parse(answer.body)


def bytes_during(node, watch, media_s):
    before = node.metric(RECEIVED)
    watch.wait_media(media_s)
    return node.metric(RECEIVED) - before


def test_sound_alone_crosses_for_who_listens_and_the_picture_joins_and_leaves(scene):
    listener = LiveWatch(scene.edge.http, STREAM, "a0")
    listener.wait_media(1)
    wait_tracks(scene, 1)
    assert sum(origin.metric(TIMELINES) for origin in scene.origins) == 2
    of_sound = bytes_during(scene.edge, listener, 10) / 5

    viewers = [LiveWatch(scene.edge.http, STREAM), PartWatch(scene.edge.http, STREAM)]
    for viewer in viewers:
        viewer.wait_media(2)
    wait_tracks(scene, 2)
    of_all = bytes_during(scene.edge, viewers[0], 2)
    print(f"in 2 s: {of_sound:.0f} bytes of sound, {of_all:.0f} of all")
    assert of_sound < 0.5 * of_all
    sound, with_picture = playlist(scene, "a0"), playlist(scene, "v0a0")
    assert sound.media_sequence < with_picture.media_sequence, "listed from where the track joined"
    assert with_picture.last >= sound.last

    reports = [viewer.finish().report() for viewer in reversed(viewers)][::-1]
    for report in reports:
        report.check(max_gap_s=0.5)
        assert report.startup_s < JOINED_S, f"{report.startup_s:.3f} s"
    wait_tracks(scene, 1, LINGER_S * 2 + 5)
    listener.wait_media(1)

    again = PartWatch(scene.edge.http, STREAM)
    again.wait_media(2)
    wait_tracks(scene, 2)
    again.finish().report().check(max_gap_s=0.5)
    listener.finish().report().check(max_gap_s=0.5)


def test_rate_of_a_track_that_is_not_here_is_told(scene):
    listener = LiveWatch(scene.edge.http, STREAM, "a0")
    listener.wait_media(3)
    wait_tracks(scene, 1)
    listed, at_origin = (parse(node.get(f"/{STREAM}/index.m3u8").body).variants for node in (scene.edge, scene.shield))
    for (here, uri), (there, _) in zip(listed, at_origin, strict=True):
        assert int(here["AVERAGE-BANDWIDTH"]) == pytest.approx(int(there["AVERAGE-BANDWIDTH"]), rel=0.15), uri
    listener.finish().report().check()


RULES = (11, 12, 14, 15, 17, 26, 28, 38, 40, 41, 42, 43, 45, 46, 51, 52, 57, 60, 66, 72, 100, 103, 108, 122, 123, 127, 141)


def test_variant_that_joined_is_served_by_the_rules(scene):
    listener = LiveWatch(scene.edge.http, STREAM, "a0")
    listener.wait_media(8)
    session = Session(scene.edge, STREAM)
    session.wait_listed(12)
    scene.publisher.stop()
    session.finish()
    report = session.judge()
    print(report)
    for number in RULES:
        report.require(number)
    assert not any(report.failures.values())


def test_track_is_taken_from_another_upstream_when_its_own_dies(scene):
    relay = scene.fleet.relay("relay", upstreams=scene.origins, config={"relay": {"linger_s": LINGER_S}})
    listener = LiveWatch(relay.http, STREAM, "a0")
    listener.wait_media(3)
    viewer = PartWatch(relay.http, STREAM)
    viewer.wait_media(1)
    scene.used_by(relay).kill()
    viewer.wait_media(2)
    for watch in (viewer, listener):
        watch.finish().report().check(max_gap_s=0.5)


def test_a_thumbnail_brings_the_picture_for_as_long_as_it_is_asked_for(scene):
    """To an edge where nobody watches."""
    answer = scene.edge.get(f"/{STREAM}/thumb.jpg")
    assert answer.status == 200 and answer.body[:3] == b"\xff\xd8\xff"
    wait_tracks(scene, 1)
    wait_tracks(scene, 0, LINGER_S * 2 + 5)
    assert scene.edge.get("/live/nobody/thumb.jpg").status == 404
