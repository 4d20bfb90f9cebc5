"""tools/fleet-demo: what it prints can be done, and nothing is left of it."""

import os
import re
import signal
from pathlib import Path

import pytest

import harness
from test_quickstart import BUILD_DEADLINE_S, alive_in_session, quickstart, wait_said  # noqa: F401 (a fixture)

FLEET_DEMO = harness.ROOT / "tools/fleet-demo"
NODES = ["origin-a", "origin-b", "ingest", "shield-a", "shield-b", "edge-1", "edge-2", "edge-3"]


@pytest.fixture
def demo(quickstart, tmp_path):  # noqa: F811
    process = quickstart("--no-install", script=FLEET_DEMO, env={"TMPDIR": str(tmp_path)})
    wait_said(process, r"Stop +Ctrl-C\n", BUILD_DEADLINE_S)
    return process


def newest_part(edge):
    """A number that grows while the edge's picture goes on; None: there is none yet."""
    answer = harness.http_request(edge, "/live/demo/v0a0.m3u8")
    parts = re.findall(r'#EXT-X-PART:.*URI="v0a0/p(\d+)\.m4s"', answer.text) if answer.status == 200 else []
    return int(parts[-1]) if parts else None


def goes_on(edge, by=15):
    """By so many parts of 200 ms: more than is anywhere on its way."""
    first = harness.wait_for(lambda: newest_part(edge), 30, f"media at {edge}")
    harness.wait_for(lambda: newest_part(edge) >= first + by, 30, f"the picture at {edge} to go on")


def test_the_pictures_go_on_without_the_origin_that_was_killed(demo, tmp_path):
    text = demo.said.text
    edges = re.findall(r"Watch at edge-\d +http://(\S+)/live/demo/", text)
    nodes = {name: (int(pid), admin) for name, pid, admin in re.findall(r"^ +(\S+) +pid (\d+) +http://(\S+)/ ", text, re.M)}
    assert len(edges) == 3 and list(nodes) == NODES
    for _, admin in nodes.values():
        assert "weir_streams" in harness.http_request(admin, "/metrics").text
    assert b"<video" in harness.http_request(edges[0], "/live/demo/").body
    for edge in edges:
        goes_on(edge, 1)

    victim = int(re.search(r"kill -9 (\d+) +\(origin-a;", text)[1])
    assert victim == nodes["origin-a"][0]
    os.kill(victim, signal.SIGKILL)
    wait_said(demo, "origin-a has ended", 5)
    for edge in edges:
        goes_on(edge)

    os.killpg(demo.pid, signal.SIGINT)
    harness.wait_for(lambda: not alive_in_session(demo.pid), 15, "all its processes to be gone")
    assert list(Path(tmp_path).iterdir()) == [], "files are left"


def test_it_can_be_killed_and_leaves_nothing(demo, tmp_path):
    demo.terminate()
    harness.wait_for(lambda: not alive_in_session(demo.pid), 15, "all its processes to be gone")
    assert list(Path(tmp_path).iterdir()) == [], "files are left"
