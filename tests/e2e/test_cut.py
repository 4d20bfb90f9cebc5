"""An operator ends a broadcast: its viewers see that it is over, its publisher is told and closed, its name is refused for a while."""

import contextlib

import harness
import pytest
from continuity import LiveWatch
from fleet_scene import Scene
from hls_playlist import parse

CUT = "cut by the operator"
CLOSED_S = 5  # until the publisher has noticed
ENDED_S = 5


def cut(node, stream, query="", **options):
    return node.admin_get(f"/api/v1/streams/{stream}{query}", method="DELETE", **options)


def wait_over(node, stream):
    def over():
        return "#EXT-X-ENDLIST" in node.get(f"/{stream}/v0a0.m3u8").text

    harness.wait_for(over, ENDED_S, "the playlist to end")


def assert_refused(node, publisher, stream):
    assert publisher.wait(CLOSED_S) != 0 and CUT in publisher.log_text
    node.log.wait("rtmp_refused", end="cut", name=stream.split("/")[1])
    assert node.metric('weir_rtmp_refused_total{reason="cut"}') >= 1


def test_operator_cuts_a_broadcast(weir, publish, stream):
    publisher = publish(weir.push_url(stream))
    weir.wait_segment(stream)
    viewer = LiveWatch(weir.http, stream).wait_media(0.5)
    answer = cut(weir, stream, "?refuse_s=3600")
    assert (answer.status, answer.json()) == (200, {"cut": stream, "refuse_s": 3600})
    wait_over(weir, stream)
    harness.wait_for(lambda: viewer.over, ENDED_S, "the continuous viewer to be told")
    viewer.finish()
    assert publisher.wait(CLOSED_S) != 0 and CUT in publisher.log_text
    told = weir.log.wait("stream_cut", stream=stream)
    assert (told["refuse_s"], told["peer"].split(":")[0]) == ("3600", "127.0.0.1")
    assert weir.log.wait("publish_end", stream=stream)["why"] == CUT
    assert weir.metric("weir_origin_cut_total") == 1
    assert_refused(weir, publish(weir.push_url(stream)), stream)
    other = publish(weir.push_url(f"{stream}-2"))
    weir.wait_live(f"{stream}-2")
    assert other.alive and weir.state(stream) == "ended"


def test_cut_name_is_taken_again_after_its_time(weir, publish, stream):
    publish(weir.push_url(stream))
    weir.wait_segment(stream)
    before = parse(weir.get(f"/{stream}/v0a0.m3u8").body)
    assert cut(weir, stream, "?refuse_s=2").status == 200

    def taken():
        publisher = publish(weir.push_url(stream))
        harness.wait_for(lambda: not publisher.alive or weir.state(stream) == "live", CLOSED_S, "a decision")
        return publisher.alive

    assert not taken(), "too early"
    harness.wait_for(taken, 10, "the name to be taken again")
    weir.wait_segment(stream)
    after = parse(weir.get(f"/{stream}/v0a0.m3u8").body)
    assert after.segments[0].msn > before.segments[-1].msn and "#EXT-X-ENDLIST" not in after.text


def test_what_is_not_a_cut_is_refused(weir, publish, stream):
    publish(weir.push_url(stream))
    weir.wait_live(stream)
    assert cut(weir, "live/nobody").status == 404
    for query in ("?refuse_s=86401", "?refuse_s=-1", "?refuse_s=", "?refuse_s=1.5", "?refuse_s=99999999999999999999"):
        assert cut(weir, stream, query).status == 400, query
    assert cut(weir, f"{stream}/more").status == 405
    for method in ("POST", "PUT"):
        answer = weir.admin_get(f"/api/v1/streams/{stream}", method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, DELETE")
    assert weir.get(f"/api/v1/streams/{stream}", method="DELETE").status == 405, "not on the viewers' listener"
    assert weir.state(stream) == "live"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8081"])
def test_web_pages_cannot_cut(weir, publish, stream, origin):
    """Not with the browser's leave, which is not given to a page of elsewhere, nor without: DNS rebinding makes it the same host's."""
    publish(weir.push_url(stream))
    weir.wait_live(stream)
    headers = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    preflight = weir.admin_get(f"/api/v1/streams/{stream}", method="OPTIONS", headers=headers)
    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control-")]
    assert cut(weir, stream, headers={"Origin": origin}).status == 403
    assert weir.state(stream) == "live"


# --- a fleet


@pytest.fixture
def scene(fleet, tmp_path, stream):
    with contextlib.closing(Scene(fleet, stream, tmp_path)) as scene:
        yield scene


def test_broadcast_that_one_origin_cuts_is_over_everywhere(fleet, scene, publish, stream):
    near, far = scene.origins
    relays = [fleet.relay(f"of-{origin.name}", upstreams=[origin]) for origin in scene.origins]
    for relay in relays:
        relay.wait_segment(stream)
    for node in (scene.ingest, relays[0]):
        assert cut(node, stream).status == 409, "it is no origin"
    answer = cut(near, stream)
    assert (answer.status, answer.json()["refuse_s"]) == (200, 60)
    assert scene.publisher.wait(CLOSED_S) != 0 and CUT in scene.publisher.log_text
    for node in (near, far, scene.ingest):
        node.wait_state(stream, "ended", ENDED_S)  # much sooner than by the time of grace
    for relay in relays:
        wait_over(relay, stream)
    scene.ingest.log.wait("push_cut", stream=stream)
    assert scene.ingest.metric("weir_push_cut_total") == 1 and far.metric("weir_origin_cut_total") == 0
    assert not scene.ingest.log.find("push_failed") and not near.log.find("intake_failed") and not far.log.find("intake_failed")
    assert near.metric("weir_intake_failed_total") == 0
    assert_refused(scene.ingest, publish(scene.ingest.push_url(stream)), stream)


def test_ingest_node_refuses_a_cut_name_itself(fleet, scene, publish, stream):
    near, far = scene.origins
    other = fleet.ingest("other", origins=scene.origins)
    assert cut(near, stream, "?refuse_s=600").status == 200
    assert scene.publisher.wait(CLOSED_S) != 0
    assert_refused(other, publish(other.push_url(stream)), stream)  # the origin does
    assert near.metric('weir_intake_sessions_total{result="cut"}') == 1
    near.kill()  # and with it who was told
    assert_refused(scene.ingest, publish(scene.ingest.push_url(stream)), stream)
    assert far.state(stream) == "ended"
