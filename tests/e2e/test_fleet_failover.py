"""An upstream in use fails in every way that it can, and viewers two relays away notice nothing but a moment's silence.

One fleet for most: two origins; a relay with both behind it and one that reaches them through bad networks; behind each an edge, and
one behind both. What a test breaks is mended before the next.
"""

import fleet as fleets
import pytest
from fleet_scene import AFTER_S, FAILOVER_S, Scene, failovers

import harness
from continuity import LiveWatch, longest_gap

STREAM = "live/failover"
RELAYS = 2  # that take it from origins
OUTAGE_S = 3  # with no origin at all: as long as nodes wait before they ask again
FRAME_S, SOUND_S = 1 / 30, 0.107  # a chunk of each


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
    whole.wait_relays(RELAYS)
    return whole


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
