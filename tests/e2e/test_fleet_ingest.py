"""Publishers whose ingest node dies or is cut off, and origins that disagree, are away, or slow: who may write a stream, and what is
kept of it.
"""

import contextlib

import harness
import pytest
from continuity import LiveWatch, PartWatch
from fleet_scene import FAILOVER_S, RECOVERY_S, Scene, Watched
from hls_playlist import parse
from publishers import Publisher

pytestmark = pytest.mark.timed

BROUGHT = "weir_push_targets"  # origins that are being brought a stream
CUT_OFF = "weir_push_cut_off_total"
BUSY = "Somebody else is publishing under this name"
SILENT_S = 3  # who writes nothing for so long may be taken over
SLOW_S = 2.5  # much less than the slow origin is behind, more than the other tests make of it meanwhile
DECIDED_S = 10
UNDELAYED_S = 0.8  # what a busy machine may make of the 0.23 s that it is on an idle one


@pytest.fixture
def scene_of(tmp_path, stream):
    """scene_of(fleet, …) makes a Scene, whose publisher ends with the test."""
    with contextlib.ExitStack() as ends:
        yield lambda fleet, **options: ends.enter_context(contextlib.closing(Scene(fleet, stream, tmp_path, **options)))


def playlist_of(node, stream):
    return parse(node.get(f"/{stream}/v0a0.m3u8").body)


def is_let_publish(ingest, stream, publisher):
    harness.wait_for(lambda: ingest.log.find("publish_start", stream=stream) or not publisher.alive, DECIDED_S, "a decision")
    return publisher.alive


def wait_returned(relay, stream):
    """Until a segment of another publisher is whole."""
    def returned():
        playlist = playlist_of(relay, stream)
        return any(s.discontinuity and s.uri for s in playlist.segments) and playlist

    return harness.wait_for(returned, 10, "a segment behind a discontinuity")


# --- ingest nodes


def test_ingest_killed_publisher_returns_elsewhere(fleet, publish, scene_of, stream):
    scene = scene_of(fleet)
    other = fleet.ingest("other", origins=scene.origins)
    relay = fleet.relay(upstreams=scene.origins)
    relay.wait_segment(stream)
    watch = PartWatch(relay.http, stream).wait_media(1)
    epoch, before = relay.streams()[stream]["epoch"], playlist_of(relay, stream)
    scene.ingest.kill()
    assert scene.publisher.wait(DECIDED_S) != 0, "it must notice"
    assert is_let_publish(other, stream, publish(other.push_url(stream)))
    after = wait_returned(relay, stream)
    shown = {s.msn: s for s in after.all_segments}
    assert before.segments[-1].msn in shown, "what was before is there still"
    assert list(shown) == list(range(min(shown), min(shown) + len(shown)))
    assert [s.discontinuity for s in after.all_segments].count(True) == 1
    for node in (relay, *scene.origins):
        assert node.streams()[stream]["epoch"] > epoch and node.streams()[stream]["state"] == "live"
    watch.finish()
    numbers = [number for number, _, _ in watch.parts]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the viewer's parts go on"
    assert not [fault for fault in watch.faults if not fault.startswith("the init is")]


def test_old_writer_fenced(netns_fleet, publish, scene_of, stream):
    """It comes back from behind a partition, with media that it took meanwhile, and finds that there has been another since."""
    fleet = netns_fleet
    scene = scene_of(fleet)
    other = fleet.ingest("other", origins=scene.origins)
    relay = fleet.relay(upstreams=scene.origins)
    relay.wait_live(stream)
    for origin in scene.origins:
        fleet.cut(scene.ingest, origin)
    first = publish(other.push_url(stream))
    assert not is_let_publish(other, stream, first) and BUSY in first.log_text, "it is not silent yet"

    def takes_over():
        return is_let_publish(other, stream, publish(other.push_url(stream), size="256x144"))

    harness.wait_for(takes_over, SILENT_S + DECIDED_S, "another publisher to be let in")
    epoch = harness.wait_for(lambda: other.streams().get(stream), 5, "its stream")["epoch"]
    maps = {s.map_uri for s in playlist_of(relay, stream).segments}
    harness.wait_for(lambda: playlist_of(relay, stream).all_segments[-1].map_uri not in maps, 5, "the relay to have it")
    watch = PartWatch(relay.http, stream).wait_media(1)
    assert scene.publisher.alive and scene.ingest.state(stream) == "live"
    for origin in scene.origins:
        fleet.heal(scene.ingest, origin)
    scene.publisher.wait(DECIDED_S)
    scene.ingest.log.wait("publish_end", stream=stream)
    report = watch.wait_media(1).finish().report()
    report.check(FAILOVER_S)
    for node in (relay, *scene.origins):
        entry = node.streams()[stream]
        assert (entry["epoch"], entry["tracks"][0]["width"]) == (epoch, 256)
    sizes = [s.map_uri for s in playlist_of(relay, stream).all_segments]
    assert len(set(sizes)) <= 2 and sizes == sorted(sizes), "the first publisher has shown up again"


def test_origin_disagrees(netns_fleet, publish, scene_of, stream):
    """To one of them the writer is long silent; the other one hears it, and that decides."""
    fleet = netns_fleet
    scene = scene_of(fleet)
    near, far = scene.origins
    other = fleet.ingest("other", origins=scene.origins)
    relay = fleet.relay(upstreams=scene.origins)
    watched = scene.watch(relay)
    fleet.cut(scene.ingest, far)
    far.log.wait("intake_failed", 10, stream=stream, why="silent")
    publisher = publish(other.push_url(stream))
    assert publisher.wait(DECIDED_S) != 0 and BUSY in publisher.log_text
    assert not other.log.find("publish_start")
    fleet.heal(scene.ingest, far)
    harness.wait_for(lambda: scene.ingest.metric(BROUGHT) == 2, RECOVERY_S, "the stream to be brought to both")
    harness.wait_for(lambda: near.streams()[stream]["msn"] == far.streams()[stream]["msn"], RECOVERY_S, "the other to have it all")
    watched.check(after_s=0.5)


# --- origins


def test_no_origin_reachable(fleet, publish, stream):
    origin = fleet.origin()
    ingest = fleet.ingest(origins=[origin])
    origin.kill()
    publisher = publish(ingest.push_url(stream))
    assert publisher.wait(DECIDED_S) != 0
    assert not ingest.log.find("publish_start") and not ingest.streams()
    origin.restart()
    publish(ingest.push_url(stream))
    harness.wait_for(lambda: origin.state(stream) == "live", DECIDED_S, "it to be let publish now")


def test_no_origin_answers(netns_fleet, publish, stream):
    fleet = netns_fleet
    origin = fleet.origin()
    ingest = fleet.ingest(origins=[origin])
    fleet.cut(ingest, origin)
    publisher = publish(ingest.push_url(stream))
    assert publisher.wait(DECIDED_S) != 0
    assert not ingest.log.find("publish_start") and not ingest.streams()


def test_one_origin_down_at_first(fleet, publish, stream):
    """Nobody waits for it, and when it comes it is brought the window."""
    near, far = fleet.origin("near"), fleet.origin("far")
    ingest = fleet.ingest(origins=[near, far])
    far.kill()
    publish(ingest.push_url(stream))
    relays = [fleet.relay(f"of-{origin.name}", upstreams=[origin]) for origin in (near, far)]
    relays[0].wait_segment(stream)
    first = playlist_of(relays[0], stream)
    watch = LiveWatch(relays[0].http, stream).wait_media(0.5)
    far.restart()
    relays[1].wait_live(stream, RECOVERY_S)
    after = LiveWatch(relays[1].http, stream).wait_media(1).finish()
    after.report(watch.finish()).check()
    watch.report().check(UNDELAYED_S)
    assert playlist_of(relays[1], stream).segments[0].msn == first.segments[0].msn


@pytest.fixture(scope="module", autouse=True)
def slow(shared_fleet, tmp_path_factory):
    """An origin that can't take as much as there is. Until the window has left it behind takes long: it is begun first."""
    name, fleet = "live/slow", shared_fleet
    near, far = fleet.origin("near"), fleet.origin("far")
    line = fleet.impair(far, "origin")
    ingest = fleet.ingest(origins=[near, line], config={"live": {"segment_ms": 1000, "window_s": 7}})
    line.up(rate_kbps=100)
    publisher = Publisher(ingest.push_url(name), tmp_path_factory.mktemp("publisher") / "log", kbps=2000)
    watched = Watched(fleet.relay(upstreams=[near]), name)
    yield name, near, far, line, ingest, publisher, watched
    publisher.stop()


def test_origin_slow_to_take(slow):
    """It delays neither the publisher nor the other origin. When what it has next is gone it is cut off, and begins anew."""
    name, near, far, line, ingest, publisher, watched = slow
    harness.wait_for(lambda: ingest.metric(CUT_OFF), RECOVERY_S, "the slow one to be cut off")
    line.clear()
    watched.check(SLOW_S, after_s=0.5)
    assert watched.live.report().longest_lag_s < SLOW_S and publisher.alive
    harness.wait_for(lambda: far.streams().get(name, {}).get("part") == near.streams()[name]["part"], RECOVERY_S, "both to have it")
