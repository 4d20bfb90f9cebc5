"""The harness of fleets: nodes that die, freeze and come back, networks that are cut in silence, and nothing left behind.

With nodes of all roles: what fleets of several roles do has tests of its own.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import fleet as fleets
import harness
import netns
import pytest
from continuity import LiveWatch

SILENCE_S = 0.3
DEADLINE_S = 5

needs_namespaces = pytest.mark.skipif(not netns.available(), reason="no network namespaces: needs root")


def dial(address, timeout_s=DEADLINE_S):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout_s)


def is_deaf(address):
    """Who connects gets no answer, no refusal either."""
    try:
        dial(address, SILENCE_S).close()
        return False
    except TimeoutError:
        return True


def is_silent(end):
    end.settimeout(SILENCE_S)
    try:
        end.recv(1, socket.MSG_PEEK)
        return False
    except TimeoutError:
        return True
    finally:
        end.settimeout(DEADLINE_S)


# --- nodes


def test_a_node_that_was_killed_comes_back_on_the_same_ports(fleet, publish, stream):
    node = fleet.all_in_one(config={"relay": {"max_lag_ms": 1000}})
    before = node.addresses
    assert before.keys() == {"http", "rtmp", "admin"} and node.http == before["http"]
    publish(node.push_url(stream))
    node.wait_live(stream)
    assert node.api("streams")["streams"][0]["name"] == stream
    node.kill()
    with pytest.raises(ConnectionRefusedError):
        dial(node.http)
    node.restart()
    assert node.addresses == before and node.streams() == {}
    publish(node.push_url(stream))
    node.wait_live(stream)
    node.restart()
    assert node.addresses == before


def test_a_frozen_node_does_not_answer_until_it_is_thawed(fleet):
    node = fleet.all_in_one()
    node.freeze()
    with pytest.raises(TimeoutError):
        node.admin_get("/readyz", timeout_s=SILENCE_S)
    node.thaw()
    assert node.admin_get("/readyz").status == 200
    node.freeze()  # what is frozen is stopped nevertheless


def test_roles_are_configured_with_the_nodes_and_lines_behind_them(fleet):
    """Of nodes that are not started."""
    def node(role, behind=(), config=None):
        return fleets.FleetNode(fleet.folder, role, role, behind, config or {}, {}, None)

    near, far = node("origin"), node("origin")
    near.addresses = {"origin": "127.0.0.1:1001", "feed": "127.0.0.1:1002"}
    far.addresses = {"origin": "127.0.0.1:2001", "feed": "127.0.0.1:2002"}
    line = fleet.impair(far, "feed")
    urls = {"http://127.0.0.1:1001", "http://127.0.0.1:2001"}
    assert set(node("ingest", [near, far]).whole_config()["ingest"]["origins"]) == urls
    relay = node("relay", [near, line], {"relay": {"max_lag_ms": 700}}).whole_config()
    assert relay["relay"] == {"upstreams": ["http://127.0.0.1:1002", f"http://{line.address}"], "max_lag_ms": 700}
    assert near.whole_config()["feed"] == {"listen": ["127.0.0.1:1002"]}, "where it was before"
    assert {c["auth"]["feed"]["key"] for c in (relay, near.whole_config())} == {fleets.FEED_KEY}


# --- ports


def test_a_port_is_given_to_one_process_only():
    """Of two that try all ports in the same order, at the same time."""
    script = ("import random; random.seed(1); import harness; print('ready', flush=True); input();"
              "print(*(harness.free_port() for _ in range(500)), flush=True); input()")
    askers = [subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [asker.stdout.readline() for asker in askers] == ["ready\n"] * 2
    for asker in askers:
        print(file=asker.stdin, flush=True)
    given = [[int(port) for port in asker.stdout.readline().split()] for asker in askers]
    for asker in askers:
        asker.communicate("\n")
    assert [len(set(ports)) for ports in given] == [500, 500] and not set(given[0]) & set(given[1])
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in sum(given, []) if low <= port <= high]


@pytest.mark.parametrize("address", [("127.0.0.1", socket.AF_INET), ("", socket.AF_INET), ("::", socket.AF_INET6)], ids=["here", "all", "ipv6"])
def test_a_port_where_somebody_listens_is_not_free(address):
    host, family = address
    port = harness.free_port()
    with socket.create_server((host, port), family=family):
        assert not harness.is_free(port)
    assert harness.is_free(port)


# --- networks


@pytest.fixture
def net():
    net = netns.Net()
    yield net
    net.close()


@needs_namespaces
def test_a_cut_is_silence_and_what_was_sent_meanwhile_comes_after_it(net):
    a, b, c = (net.place(name) for name in "abc")
    with b.inside():
        listener = socket.create_server((b.address, 0))
    address = f"{b.address}:{listener.getsockname()[1]}"
    with a.inside():
        client = dial(address)
    server = listener.accept()[0]
    net.cut(a, b)
    client.sendall(b"up")
    server.sendall(b"down")
    assert is_silent(client) and is_silent(server)
    with a.inside():
        assert is_deaf(address)
    with c.inside():
        dial(address).close()
    net.heal(a, b)
    assert (server.recv(2), client.recv(4)) == (b"up", b"down")
    with a.inside():
        dial(address).close()
    for end in (client, server, listener):
        end.close()


@needs_namespaces
def test_a_cut_can_be_one_way(net):
    a, b = net.place("a"), net.place("b")
    with a.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((a.address, 5000))
    with b.inside():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((b.address, 5000))
    net.cut_one_way(a, b)
    sender.sendto(b"x", receiver.getsockname())
    receiver.sendto(b"x", sender.getsockname())
    sender.settimeout(DEADLINE_S)
    assert sender.recv(1) == b"x" and is_silent(receiver)
    for end in (sender, receiver):
        end.close()


@needs_namespaces
def test_who_is_unplugged_hears_nobody_until_plugged(net):
    a = net.place("a")
    with a.inside():
        listener = socket.create_server((a.address, 0))
    address = f"{a.address}:{listener.getsockname()[1]}"
    net.enter()
    client = dial(address)
    net.unplug(a)
    assert is_deaf(address)
    b = net.place("b")
    with b.inside():
        assert is_deaf(address)
    net.plug(a)
    dial(address).close()
    net.leave()
    with pytest.raises(OSError):
        dial(address, SILENCE_S)  # from outside
    for end in (client, listener):
        end.close()


@needs_namespaces
def test_nets_do_not_meet_and_leave_nothing_behind():
    first, second = netns.Net(), netns.Net()
    with first.place("a").inside():
        listener = socket.create_server((first.places[0].address, 0))
    with second.place("a").inside(), pytest.raises(ConnectionRefusedError):
        dial(f"{first.places[0].address}:{listener.getsockname()[1]}")
    with second.places[0].inside():
        left = subprocess.Popen(["sleep", "600"])
    assert first.hub.address not in netns.ip("address"), "of the machine that tests run on"
    for net in (first, second):
        assert list(netns.NAMES.glob(f"{net.name}-*"))
        net.close()
        assert not list(netns.NAMES.glob(f"{net.name}-*"))
    assert left.wait(DEADLINE_S) == -signal.SIGKILL
    listener.close()


@needs_namespaces
def test_what_a_killed_run_left_is_removed_by_the_next():
    script = "import netns, os; net = netns.Net(); net.place('a'); print(net.name, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=harness.ROOT / "tests/e2e", capture_output=True, text=True)
    name = done.stdout.strip()
    assert len(list(netns.NAMES.glob(f"{name}-*"))) == 2
    netns.Net().close()
    assert not list(netns.NAMES.glob(f"{name}-*"))


# --- both


@needs_namespaces
def test_a_viewer_in_one_namespace_of_a_stream_from_another(netns_fleet, publish, stream):
    fleet = netns_fleet
    node = fleet.all_in_one("node")
    studio, home = fleet.place("studio"), fleet.place("home")
    with studio.inside():
        publish(node.push_url(stream))
    node.wait_segment(stream)
    line = fleet.impair(node, "http", at=home)
    with home.inside():
        direct, impaired = LiveWatch(node.http, stream), LiveWatch(line.address, stream)
    beside = LiveWatch(node.http, stream)
    for watch in (direct, impaired, beside):
        watch.wait_media(0.5)
    assert node.http.startswith(node.place.address) and node.api("streams")["streams"]
    peer = node.streams()[stream]["publisher"]["peer"]
    assert peer.startswith(studio.address + ":")

    fleet.cut(home, node)
    beside.wait_media(1)
    fleet.heal(home, node)
    reports = [watch.wait_media(1).finish().report() for watch in (direct, impaired, beside)]
    for report in reports:
        report.check(max_gap_s=3)
    assert reports[0].longest_gap_s > 0.9 and reports[1].longest_gap_s > 0.9 and reports[2].longest_gap_s < 0.6

    fleet.unplug(node)
    assert is_deaf(node.http)
    assert node.admin_get("/readyz").status == 200, "operators are inside"
    fleet.plug(node)
    assert node.get(f"/{stream}/index.m3u8").status == 200


@needs_namespaces
def test_a_fleet_leaves_nothing_behind_when_a_node_does_not_start(tmp_path):
    where = os.readlink("/proc/thread-self/ns/net")
    fleet = fleets.Fleet(tmp_path, namespaces=True)
    try:
        assert os.readlink("/proc/thread-self/ns/net") != where
        with pytest.raises(AssertionError):
            fleet.all_in_one(config={"nonsense": 1})
        node = fleet.all_in_one("other")
        fleet.impair(node, "http")
    finally:
        fleet.close()
    assert os.readlink("/proc/thread-self/ns/net") == where
    assert not node.alive and not list(netns.NAMES.glob(f"{fleet.net.name}-*"))
