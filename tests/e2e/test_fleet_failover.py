"""An upstream in use fails in every way that it can, and viewers two relays away notice nothing but a moment's silence.

One fleet for most: two origins; a relay with both behind it and one that reaches them through bad networks; behind each an edge, and
one behind both. What a test breaks is mended before the next.
"""

import contextlib
import time
from datetime import datetime

import harness
import pytest
from conftest import fleet_in
from continuity import LiveWatch, longest_gap
from fleet_scene import AFTER_S, FAILOVER_S, RECOVERY_S, TRACKS, Scene, failovers

pytestmark = pytest.mark.alone

STREAM = "live/failover"
PAGE_WARM_S = 2
RELAYS = 2  # that take it from origins
OUTAGE_S = 3  # with no origin at all: as long as nodes wait before they ask again
FRAME_S, SOUND_S = 1 / 30, 0.107  # a chunk of each
SEAMLESS_S = 0.3  # between parts of 0.2 s
FAR_MS = 250  # one way: as much again, twice, is what a change costs that is not begun before the end
LEFT_S, STOP_S = 2, 5  # until a node has stopped: that everybody has left; that somebody does not leave


@pytest.fixture(scope="module")
def whole(shared_fleet, tmp_path_factory):
    scene = Scene(shared_fleet, STREAM, tmp_path_factory.mktemp("publisher"))
    scene.lines = [shared_fleet.impair(origin, "feed") for origin in scene.origins]
    scene.relay = shared_fleet.relay("relay", upstreams=scene.origins)
    scene.crossing = shared_fleet.relay("crossing", upstreams=scene.lines)
    scene.edge = shared_fleet.relay("edge", upstreams=[scene.relay])
    scene.edge_across = shared_fleet.relay("edge-across", upstreams=[scene.crossing])
    scene.edge_of_both = shared_fleet.relay("edge-of-both", upstreams=[scene.relay, scene.crossing])
    yield scene
    scene.close()


@pytest.fixture(scope="module", autouse=True)
def returning(tmp_path_factory):
    """A fleet of its own, whose relay has left the better of its origins, which has come back. That takes long: it is begun first."""
    folder = tmp_path_factory.mktemp("returning")
    for fleet in fleet_in(folder, False):
        with contextlib.closing(Scene(fleet, STREAM, folder)) as scene:
            near, far = scene.origins
            upstreams = [f"http://{near.addresses['feed']}", f"http://{far.addresses['feed']} 3000"]
            relay = fleet.relay(upstreams=scene.origins, config={"relay": {"upstreams": upstreams}})
            relay.wait_live(STREAM)
            scene.wait_relays(1)
            near.kill()
            relay.log.wait("pull_from", stream=STREAM, upstream=f"http://{far.addresses['feed']}")
            near.restart()
            scene.wait_brought()
            mark = len(relay.log.lines)
            scene.wait_relays(1)
            yield near, far, relay, scene.watch(relay), mark, time.time()


@pytest.fixture
def scene(whole):
    """With everything as it should be."""
    for line in whole.lines:
        line.clear()
    for node in whole.fleet.nodes:
        if node.alive:
            node.thaw()
        else:
            node.restart()
    whole.wait_brought()
    for edge in (whole.edge, whole.edge_across, whole.edge_of_both):
        edge.wait_live(STREAM)
        harness.wait_for(lambda e=edge: part_of(e) >= part_of(whole.ingest) - 2, RECOVERY_S, f"{edge.name} to have the newest")
    whole.wait_relays(RELAYS)
    return whole


def part_of(node):
    return node.streams()[STREAM]["part"]


def test_origin_killed(scene):
    watched, broken = scene.watch(scene.edge), failovers(scene.relay, "broken")
    scene.used_by(scene.relay).kill()
    print(watched.check())
    assert failovers(scene.relay, "broken") == broken + 1


def test_origin_frozen(scene):
    watched, late = scene.watch(scene.edge), failovers(scene.relay, "late")
    frozen = scene.used_by(scene.relay)
    frozen.freeze()
    print(watched.check())
    assert failovers(scene.relay, "late") == late + 1 and scene.used_by(scene.relay) is not frozen


@pytest.mark.parametrize("trouble", [
    {"delay_ms": 400, "jitter_ms": 100},
    {"loss": 0.5, "loss_ms": 300},
    {"rate_kbps": 200},
], ids=["delay", "loss", "rate"])
def test_origin_slow(scene, trouble):
    watched, late = scene.watch(scene.edge_across), failovers(scene.crossing, "late")
    slow = scene.used_by(scene.crossing)
    slow.down(**trouble)
    harness.wait_for(lambda: failovers(scene.crossing, "late") > late, 10, "the relay to change")
    print(watched.check())
    assert scene.used_by(scene.crossing) is not slow


def test_both_origins_killed_at_once(scene):
    """They have forgotten everything. What comes meanwhile is at the ingest node, and viewers get all of it."""
    watched = scene.watch(scene.edge)
    for origin in scene.origins:
        origin.kill()
    for origin in scene.origins:
        origin.restart()
    print(watched.check(max_gap_s=OUTAGE_S, after_s=AFTER_S + OUTAGE_S))


def test_both_origins_restarted_one_after_the_other(scene):
    watched = scene.watch(scene.edge)
    for origin in scene.origins:
        origin.restart()
        scene.wait_brought()
        scene.wait_relays(RELAYS)
    print(watched.check())


def test_relay_restarted(scene):
    """Viewers of the other one notice nothing; its own can come back at once."""
    beside, own = scene.watch(scene.edge_across), LiveWatch(scene.relay.http, STREAM)
    own.wait_media(AFTER_S)
    scene.relay.restart()
    harness.wait_for(lambda: own.over, 5, "its viewers to be told")
    scene.relay.wait_live(STREAM, 3)
    again = scene.watch(scene.relay)
    again.check()
    print(beside.check(max_gap_s=2 * SOUND_S + 0.1, after_s=0))


def test_relay_killed_with_another_for_the_second_tier(scene):
    watched = scene.watch(scene.edge_of_both)
    scene.used_by(scene.edge_of_both).kill()
    print(watched.check())
    assert failovers(scene.edge_of_both, "broken") >= 1


# --- nodes that are stopped in order


def check_left(scene, relay, edge):
    """The node in use by `relay` is stopped: it is left before it goes, and nobody is without media for longer than always."""
    watched, stopped = scene.watch(edge), scene.used_by(relay)
    before = {reason: failovers(relay, reason) for reason in ("drain", "broken", "late")}
    took_s = stopped.stop()
    print(took_s, watched.check(max_gap_s=SEAMLESS_S))
    after = {reason: failovers(relay, reason) for reason in before}
    assert after == {**before, "drain": before["drain"] + 1} and scene.used_by(relay) is not stopped
    return stopped, took_s


def test_origin_that_stops_is_left_before_it_goes(scene):
    mark, failed = len(scene.ingest.log.lines), scene.ingest.metric("weir_push_failures_total")
    stopped, took_s = check_left(scene, scene.relay, scene.edge)
    assert took_s < LEFT_S
    origin = f"http://{scene.ingest.address_of(stopped)}"
    scene.ingest.log.wait("push_end", after=mark, origin=origin)
    assert scene.ingest.log.find("push_drain", mark, origin=origin)
    assert not scene.ingest.log.find("push_failed", mark) and scene.ingest.metric("weir_push_failures_total") == failed
    stopped.start()
    scene.wait_brought()  # by the usual retry


def test_relay_that_stops_is_left_before_it_goes(scene):
    _, took_s = check_left(scene, scene.edge_of_both, scene.edge_of_both)
    assert LEFT_S < took_s < STOP_S, "it has waited for the edge that has nobody else"


def test_distant_origin_that_stops_is_left_without_a_pause(scene):
    """Whose end one would hear of only after a while, and be given what comes next by another after a while more."""
    for line in scene.lines:
        line.down(delay_ms=FAR_MS)
        line.up(delay_ms=FAR_MS)
    origin_of = dict(zip(scene.lines, scene.origins))
    watched, drained, broken = scene.watch(scene.edge_across), failovers(scene.crossing, "drain"), failovers(scene.crossing, "broken")
    origin_of[scene.used_by(scene.crossing)].stop()
    print(watched.check(max_gap_s=FAILOVER_S))
    assert (failovers(scene.crossing, "drain"), failovers(scene.crossing, "broken")) == (drained + 1, broken)


def test_origins_restarted_one_after_the_other_are_not_noticed(scene):
    watched, before = scene.watch(scene.edge), failovers(scene.relay, "broken")
    for origin in scene.origins:
        origin.restart()
        scene.wait_brought()
        scene.wait_relays(RELAYS)
    print(watched.check(max_gap_s=SEAMLESS_S))
    assert failovers(scene.relay, "broken") == before


def longest_of(watch, track):
    return longest_gap([chunk.received_s for chunk in watch.seen if chunk.track == track])


def gap_at(watch, at_s):
    """The longest of any track within a second of that time."""
    near = [chunk for chunk in watch.seen if abs(chunk.received_s - at_s) < 1]
    return max(longest_gap([chunk.received_s for chunk in near if chunk.track == track]) for track in (1, 101))


def test_race(scene):
    """From both at once: when one dies there is nothing to change, and next to nothing to wait for."""
    relay = scene.fleet.relay("racing", upstreams=scene.origins, config={"relay": {"race": [STREAM]}})
    relay.wait_live(STREAM)
    harness.wait_for(lambda: sum(origin.metric(TRACKS) for origin in scene.origins) == 2 * RELAYS + 4, RECOVERY_S, "two tracks from each")
    watched = scene.watch(relay)
    known = relay.metric('weir_pull_chunks_total{known="yes"}')
    assert known > 30, "each chunk comes twice"
    scene.used_by(relay).kill()
    watched.wait(AFTER_S)
    video, sound = (longest_of(watched.live, track) for track in (1, 101))
    print(f"longest gap: picture {video:.3f} s, sound {sound:.3f} s")
    assert video < FRAME_S + 0.1 and sound < SOUND_S + 0.1
    watched.check(max_gap_s=0.2 + 0.1, after_s=0)
    scene.fleet.retire(relay)


def test_page_plays_over_a_killed_origin(scene, publish_clock, open_page):
    """The player of LL-HLS in a browser: no frame is late enough to be a stall."""
    clock = "live/clock"
    publish_clock(scene.ingest.push_url(clock), size="320x180", kbps=300, noise=8)
    scene.edge.wait_segment(clock)
    page = open_page(scene.edge.url(f"/{clock}/"))
    page.wait_state("playing")
    page.wait_frames(30 * PAGE_WARM_S, deadline_s=20)
    scene.used_by(scene.relay, clock).kill()
    page.wait_frames(90)
    report = page.report(warm_s=PAGE_WARM_S)
    print({key: report[key] for key in ("latency_ms", "stalls_after_warm", "gaps", "missed")})
    assert failovers(scene.relay, "broken") >= 1 and page.state == "playing"
    assert report["stalls_after_warm"] == 0, report["gaps"]
    assert report["reordered"] == 0 and not report["errors"]


# --- with fleets of their own


def test_origin_partitioned(netns_fleet, stream, tmp_path):
    """Between the relay and the origin in use: its connections stand, and nothing passes."""
    fleet = netns_fleet
    with contextlib.closing(Scene(fleet, stream, tmp_path)) as scene:
        relay = fleet.relay("relay", upstreams=scene.origins)
        edge = fleet.relay("edge", upstreams=[relay])
        edge.wait_live(stream)
        scene.wait_relays(1)
        watched, lost = scene.watch(edge), scene.used_by(relay)
        fleet.cut(relay, lost)
        print(watched.check(after_s=4))  # the silent one is given up meanwhile
        assert failovers(relay, "late") == 1
        assert relay.log.find("link_failed", why="silent", upstream=f"http://{relay.address_of(lost)}")


def test_better_path_is_returned_to_only_after_a_while(returning):
    """When it has been better for 10 to 15 seconds, and without a gap."""
    near, far, relay, watched, mark, since_s = returning
    relay.log.wait("pull_from", 17, mark, upstream=f"http://{near.addresses['feed']}")
    changes = relay.log.find("pull_from", mark)
    changed_s = datetime.fromisoformat(changes[0]["ts"]).timestamp()
    watched.check(max_gap_s=None)  # while other tests went on
    gap_s = max(gap_at(watch, changed_s) for watch in (watched.live, watched.parts))
    print(f"after {changed_s - since_s:.1f} s, with a gap of {gap_s:.3f} s")
    assert 9 < changed_s - since_s < 16 and len(changes) == 1 and failovers(relay, "better") == 1
    assert gap_s < FAILOVER_S
