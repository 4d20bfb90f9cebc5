"""Publishers whose ingest node dies or is cut off, origins that disagree, are away or slow: who may write a stream, and what is kept of it.
"""

import contextlib

import harness
import pytest
from continuity import LiveWatch
from fleet_scene import RECOVERY_S, Scene
from hls_playlist import parse

CUT_OFF = "weir_push_cut_off_total"
BROUGHT = "weir_push_targets"  # origins that are being brought a stream
SILENT_S = 3  # who writes nothing for so long may be taken over


@pytest.fixture
def scene_of(tmp_path, stream):
    """scene_of(fleet, …) makes a Scene, whose publisher ends with the test."""
    with contextlib.ExitStack() as ends:
        def make(fleet, **options):
            return ends.enter_context(contextlib.closing(Scene(fleet, stream, tmp_path, **options)))

        yield make


def playlist(node, stream):
    answer = node.get(f"/{stream}/v0a0.m3u8")
    return parse(answer.body) if answer.status == 200 else None


def wait_published(ingest, stream, publisher, deadline_s=10):
    """True: it has the stream. False: it was sent away."""
    def decided():
        return ingest.log.find("publish_start", stream=stream) or not publisher.alive

    harness.wait_for(decided, deadline_s, "the publisher to be let publish or sent away")
    return publisher.alive


# --- ingest nodes


def test_ingest_killed_publisher_returns_elsewhere(fleet, publish, scene_of, stream):
    scene = scene_of(fleet)
    other = fleet.ingest("other", origins=scene.origins)
    relay = fleet.relay(upstreams=scene.origins)
    relay.wait_segment(stream)
    scene.ingest.kill()
    before = playlist(relay, stream)
    again = publish(other.push_url(stream))
    assert wait_published(other, stream, again)

    def goes_on():
        now = playlist(relay, stream)
        return now if now and now.segments and any(s.discontinuity for s in now.all_segments) and now.segments[-1].discontinuity else None

    after = harness.wait_for(goes_on, 10, "a segment of the second publisher")
    assert after.media_sequence >= before.media_sequence
