"""What nodes ask of each other: each stream once, whoever watches; what is unknown hardly ever; nothing in circles, and nothing without
the fleet's key. And the tools that read feeds.
"""

import contextlib
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import fleet as fleets
import harness
import players
import pytest
from fleet_scene import TIMELINES, TRACKS, Scene, Watched

LOAD = harness.WEIR_BIN.parent / "tools/load/weir-load"
FEEDCAT = harness.WEIR_BIN.parent / "tools/feedcat/weir-feedcat"
STREAM = "live/feeds"
ABSENT_S = 3  # the longest that a viewer waits to be told that there is no such stream
CONNECTIONS = "weir_http_client_connections_total"
RECEIVED = "weir_http_client_received_bytes_total"
BEARER = f"Authorization: Bearer {fleets.FEED_KEY}"


def requests(node):
    """What it has asked of others and heard the end of."""
    results = ("ok", "status", "timeout", "failed", "cancelled")
    return sum(node.metric(f'weir_http_client_requests_total{{result="{result}"}}') for result in results)


def refusals(scene):
    return sum(origin.metric('weir_http_requests_total{code="4xx"}') for origin in scene.origins)


def ask(node, stream):
    """As a viewer: status, seconds."""
    answer = node.get(f"/{stream}/index.m3u8")
    return answer.status, answer.elapsed_s


def feed_url(node, path):
    return f"http://{node.addresses['feed']}/feed/{path}"


@pytest.fixture(scope="module")
def scene(shared_fleet, tmp_path_factory):
    with contextlib.closing(Scene(shared_fleet, STREAM, tmp_path_factory.mktemp("publisher"))) as scene:
        scene.relay = shared_fleet.relay("relay", upstreams=scene.origins, config={"relay": {"linger_s": 2}})
        yield scene


# --- how often


def test_upstream_is_asked_once_whoever_watches(scene):
    """The same connections, feeds and bytes for one viewer as for 500."""
    relay = scene.relay
    watched = scene.watch(relay)
    scene.wait_relays(1)

    def taken(seconds):
        connections, started, before = relay.metric(CONNECTIONS), requests(relay), relay.metric(RECEIVED)
        end = time.monotonic() + seconds
        yield
        harness.wait_for(lambda: time.monotonic() >= end, seconds + 1)
        yield relay.metric(CONNECTIONS) - connections, requests(relay) - started, (relay.metric(RECEIVED) - before) / seconds

    def measure(do=lambda: None):
        measuring = taken(3)
        next(measuring)
        do()
        return next(measuring)

    alone = measure()
    crowd = [subprocess.Popen([LOAD, *kinds, "--seconds", "3", "--warm", "1", relay.url(f"/{STREAM}")], stdout=subprocess.PIPE, text=True)
             for kinds in (["--live", "250"], ["--ll", "250"])]
    harness.wait_for(lambda: relay.metric("weir_http_connections") > 500, 5, "500 viewers")
    crowded = measure()
    told = [viewers.communicate(timeout=20)[0] for viewers in crowd]
    print(alone, crowded, *told)
    watched.check(after_s=0)
    for connections, fetches, _ in (alone, crowded):
        assert connections == 0 and fetches == 0, "nothing is asked anew"
    assert crowded[2] < 1.1 * alone[2], "bytes a second"
    assert [origin.metric(TIMELINES) for origin in scene.origins] == [1, 1]
    assert sum(origin.metric(TRACKS) for origin in scene.origins) == 2


def test_stream_is_let_go_when_nobody_watches(scene):
    relay = scene.relay
    Watched(relay, STREAM).check(after_s=0)
    assert relay.metric("weir_pull_streams") == 1
    harness.wait_for(lambda: relay.metric("weir_pull_streams") == 0, 5, "it to be let go after 2 s")
    harness.wait_for(lambda: sum(origin.metric(name) for origin in scene.origins for name in (TIMELINES, TRACKS)) == 0, 2,
                     "feeds to end")
    assert STREAM not in relay.streams()
    relay.wait_live(STREAM, 2)


def test_unknown_stream_is_asked_for_once_a_second(scene):
    relay, until = scene.relay, time.monotonic() + 2.5
    before, started = refusals(scene), time.monotonic()

    def keep_asking(_):
        answers = []
        while time.monotonic() < until:
            answers.append(ask(relay, "live/nobodys"))
        return answers

    with ThreadPoolExecutor(10) as threads:
        answers = [answer for each in threads.map(keep_asking, range(10)) for answer in each]
    asked, took_s = refusals(scene) - before, time.monotonic() - started
    longest_s = max(seconds for _, seconds in answers)
    print(f"{len(answers)} viewers in {took_s:.2f} s: {asked:.0f} questions, the longest answer {longest_s:.3f} s")
    assert len(answers) > 100 and {status for status, _ in answers} == {404} and longest_s < ABSENT_S
    assert 2 <= asked <= len(scene.origins) * (took_s + 1)


# --- circles


@pytest.fixture
def circle(fleet):
    """Two relays that have each other behind them, and an origin."""
    origin = fleet.origin()
    left = fleet.relay("left", upstreams=[origin])
    right = fleet.relay("right", upstreams=[origin, left])
    left.behind.append(right)
    left.restart()
    return origin, left, right


def test_loop_is_refused(circle):
    """A stream that nobody has is not asked for in circles."""
    _, *relays = circle
    before = sum(map(requests, relays))
    for i in range(5):
        for relay in relays:
            status, took_s = ask(relay, f"live/none-{i}")
            assert status == 404 and took_s < ABSENT_S
    asked = sum(map(requests, relays)) - before
    print(f"10 questions of viewers: {asked:.0f} of nodes")
    assert asked <= 10 * 6
    assert sum(relay.metric('weir_feed_refused_total{reason="loop"}') for relay in relays) >= 1


def test_loop_does_not_keep_a_dead_stream(fleet, circle, publish, stream):
    """The origin dies: each relay could take the stream from the other, which has it from itself."""
    origin, *relays = circle
    ingest = fleet.ingest(origins=[origin])
    publish(ingest.push_url(stream))
    for relay in relays:
        relay.wait_segment(stream)
    origin.kill()
    for relay in relays:
        relay.log.wait("link_failed", 5, stream=stream, upstream=f"http://{origin.addresses['feed']}")
    before, started = sum(map(requests, relays)), time.monotonic()
    unknown = [ask(relay, "live/none") for relay in relays]
    assert {status for status, _ in unknown} == {404} and max(s for _, s in unknown) < ABSENT_S
    parts = [relay.streams()[stream]["part"] for relay in relays]
    harness.wait_for(lambda: time.monotonic() - started > 2, 3)
    asked = (sum(map(requests, relays)) - before) / (time.monotonic() - started)
    print(f"{asked:.1f} questions a second")
    assert asked < 20, "a storm"
    assert [relay.streams()[stream]["part"] for relay in relays] == parts, "where should media come from?"
    origin.restart()
    for relay, part in zip(relays, parts):
        harness.wait_for(lambda: relay.streams()[stream]["part"] > part, 10, "media to come again")
    watched = [Watched(relay, stream) for relay in relays]
    for each in watched:
        each.check(after_s=0.5)


# --- the key


def test_key_missing(scene):
    """No stream, for viewers as little as for who asks by himself; and the log of both sides says why."""
    stranger = scene.fleet.relay("stranger", upstreams=scene.origins, config={"auth": {"feed": {"key": "another-fleets-key"}}})
    status, took_s = ask(stranger, STREAM)
    assert status == 404 and took_s < ABSENT_S
    assert "401" in stranger.log.wait("link_failed", 5, stream=STREAM, level="warn")["why"]
    assert sum(origin.metric('weir_feed_refused_total{reason="key"}') for origin in scene.origins) >= 1
    for headers in ({}, {"Authorization": "Bearer another-fleets-key"}):
        assert harness.http_request(scene.origins[0].addresses["feed"], f"/feed/{STREAM}", headers=headers).status == 401


def test_key_missing_at_an_ingest_node(scene, publish):
    stranger = scene.fleet.ingest("strange-ingest", origins=scene.origins, config={"auth": {"feed": {"key": "another-fleets-key"}}})
    assert publish(stranger.push_url("live/strange")).wait(10) != 0
    assert "live/strange" not in scene.origins[0].streams()
    refused = stranger.log.wait("push_refused", 5, stream="live/strange")
    assert "401" in refused["why"]


# --- tools


def test_ffprobe_opens_a_track(scene):
    for track, codec in (("v0", "h264"), ("a0", "aac")):
        found = players.probe(feed_url(scene.origins[0], f"{STREAM}/{track}"), "-headers", BEARER + "\r\n", "-probesize", "100000",
                              "-analyzeduration", "500000", "-read_intervals", "%+1", "-show_packets")
        assert [s["codec_name"] for s in found["streams"]] == [codec] and len(found["packets"]) > 20
        assert found["packets"][0]["flags"].startswith("K")


def run_feedcat(source, lines):
    """The first lines that it prints."""
    with subprocess.Popen([FEEDCAT, "-k", fleets.FEED_KEY, source], stdout=subprocess.PIPE, text=True) as cat:
        printed = [line for line, _ in zip(cat.stdout, range(lines))]
        cat.kill()
    return printed


def test_feedcat_prints_feeds(scene, tmp_path):
    """Of a node, and of what was saved."""
    origin = scene.origins[0]
    timeline = run_feedcat(feed_url(origin, STREAM), 12)
    kinds = [line.split()[0] for line in timeline]
    assert kinds[0] == "hello" and {"path", "open", "segment", "part"} <= set(kinds), timeline
    assert "v0=avc1" in next(line for line in timeline if line.startswith("open"))
    assert re.search(r" chunks=\d+\(\d+B\),\d+\(\d+B\)$", next(line for line in timeline if line.startswith("part")))
    for track in ("v0", "a0"):
        printed = run_feedcat(feed_url(origin, f"{STREAM}/{track}"), 5)
        assert printed[0].startswith("init") and all(line.startswith("chunk") for line in printed[1:]), printed
    saved = {}
    for name in ("", "/v0"):
        saved[name] = tmp_path / f"saved{name.replace('/', '-')}"
        subprocess.run(["curl", "-s", "--max-time", "1", "-H", BEARER, "-o", saved[name], feed_url(origin, STREAM + name)], check=False)
    assert json.loads(saved[""].read_text().splitlines()[0])["hello"]["node"] == "near"
    assert [line.split()[0] for line in run_feedcat(saved[""], 3)] == kinds[:3]
    assert [line.split()[0] for line in run_feedcat(saved["/v0"], 3)] == ["init", "chunk", "chunk"]
    said = tmp_path / "said"
    said.write_text('{"hello":{"version":1,"node":"near"}}\n{"beat":{}}\n{"drain":{}}\n{"news":{}}\n')
    assert [line.split()[0] for line in run_feedcat(said, 4)] == ["hello", "beat", "drain", "unknown"]
