"""Relays that send viewers to each other: by HLS Content Steering, which players follow by themselves, and at once by 302."""

import re
import socket

import harness
import pytest
from fleet_scene import Scene
from hls_playlist import parse, unquote
from hls_validator import Report, judge_playlist

PLAYED_S = 4


@pytest.fixture
def edges(fleet, stream, tmp_path):
    """Two edges that know each other, and a stream."""
    scene = Scene(fleet, stream, tmp_path)
    port = harness.free_port()  # players can't be steered to another
    addresses = [f"127.0.0.{i + 1}:{port}" for i in range(2)]
    nodes = [fleet.relay(f"edge-{i + 1}", upstreams=scene.origins,
                         config={"http": {"listen": [addresses[i]]}, "relay": {"peers": [f"http://{addresses[1 - i]}"]}})
             for i in range(2)]
    for node in nodes:
        node.wait_live(stream)
    yield nodes
    scene.close()


def limited(edge, **relay):
    """The edge again, with that in its section `relay`."""
    edge.config = harness.merge(edge.config, {"relay": relay})
    return edge.restart()


def without_rates(playlist):
    """What is the same on every pathway."""
    own = ("BANDWIDTH", "AVERAGE-BANDWIDTH", "PATHWAY-ID")
    return [({name: value for name, value in attributes.items() if name not in own}, uri) for attributes, uri in playlist.variants], playlist.media


def test_ll_148_149_150_151_viewers_are_told_of_the_other_edge(edges, stream):
    one, two = edges
    playlist, report = parse(one.get(f"/{stream}/index.m3u8").body), Report()
    judge_playlist(report, playlist)
    report.require(148)
    assert [(unquote(tag["SERVER-URI"]), unquote(tag["PATHWAY-ID"])) for tag in playlist.steering] == [("steering.json", "edge-1")]
    for pathway, throughput in (("%22edge-1%22", 100000), ("%22elsewhere%22", 5000000)):
        answer = one.get(f"/{stream}/steering.json?_HLS_pathway={pathway}&_HLS_throughput={throughput}")
        assert answer.headers["content-type"] == "application/json" and answer.headers["cache-control"] == "no-store"
        manifest = answer.json()
        assert manifest["VERSION"] == 1 and 0 < manifest["TTL"] <= 300
        clone, = manifest["PATHWAY-CLONES"]
        assert clone["BASE-ID"] == "edge-1" and clone["URI-REPLACEMENT"] == {"HOST": "127.0.0.2"}
        assert manifest["PATHWAY-PRIORITY"] == ["edge-1", clone["ID"]] and re.fullmatch(r"[A-Za-z0-9._-]+", clone["ID"])
    assert without_rates(parse(two.get(f"/{stream}/index.m3u8").body)) == without_rates(playlist)


def test_player_goes_to_the_other_edge_when_its_own_is_killed(edges, open_page, stream):
    one, two = edges
    page = open_page(one.url(f"/{stream}/"))
    page.wait_state("playing")
    before = two.metric('weir_relay_requests_total{kind="part"}')
    at = page.evaluate("document.querySelector('video').currentTime")
    harness.wait_for(lambda: one.metric('weir_relay_requests_total{kind="steering"}') > 0, 10, "the player to ask where it may go")
    one.kill()
    harness.wait_for(lambda: two.metric('weir_relay_requests_total{kind="part"}') > before + 10, 20, "the player to take parts of the other edge")
    harness.wait_for(lambda: page.evaluate("document.querySelector('video').currentTime") > at + PLAYED_S, 20, "the picture to go on")


def test_edge_that_has_enough_sends_new_viewers_on(edges, stream):
    one, two = edges
    limited(one, viewers_max=1, redirect="on")
    one.wait_live(stream)
    held = [socket.create_connection(one.http.split(":")) for _ in range(3)]
    harness.wait_for(lambda: one.metric("weir_relay_load_level") == 2, 10, "the edge to be full")
    moved = one.get(f"/{stream}/index.m3u8?x=1")
    assert moved.status == 302 and moved.headers["location"] == f"http://{two.addresses['http']}/{stream}/index.m3u8?x=1&_weir_moved=1"
    refused = one.get(f"/{stream}/index.m3u8?_weir_moved=1")
    assert refused.status == 503 and refused.headers["retry-after"]
    assert one.get(f"/{stream}/v0a0.m3u8").status == 200  # who is there already is served
    assert one.get(f"/{stream}/steering.json").json()["PATHWAY-PRIORITY"][-1] == "edge-1"
    for connection in held:
        connection.close()
    harness.wait_for(lambda: one.metric("weir_relay_load_level") == 0, 10, "the edge to have room again")
    assert one.get(f"/{stream}/index.m3u8").status == 200
