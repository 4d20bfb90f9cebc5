"""The fleet's registry, with a real etcd: nodes find each other, and streams; and go on without it."""

import time

import pytest

import etcd as etcds
from continuity import LiveWatch
from harness import free_port, merge, wait_for
from impair import Impair

pytestmark = pytest.mark.skipif(not etcds.BINARY, reason="no etcd: tools/setup test installs it")

TTL_S = 2  # and as long again until a node that is gone is forgotten
DEADLINE_S = 15
AT_ONCE_S = 1  # less than it takes to find that etcd takes no writes, and to read it anew


@pytest.fixture
def etcd(tmp_path):
    server = etcds.Etcd(tmp_path / "etcd")
    yield server.start()
    server.close()


class Registered:
    """Starts nodes that are in the registry at `url`."""

    def __init__(self, fleet, urls):
        self.fleet, self.urls = fleet, urls

    def _config(self, name):
        port = free_port()
        return {"feed": {"listen": [f"127.0.0.1:{port}"]}, "region": "here",
                "fleet": {"etcd": self.urls, "ttl_s": TTL_S, "feed_url": f"http://127.0.0.1:{port}", "http_url": f"http://{name}.example:80"}}

    def origin(self, name="origin"):
        return self.fleet.origin(name, config=self._config(name))

    def relay(self, name="relay"):
        return self.fleet.relay(name, upstreams=[], config=self._config(name))

    def ingest(self, origins):
        return self.fleet.ingest(origins=origins, config={"fleet": {"etcd": self.urls, "ttl_s": TTL_S}})


@pytest.fixture
def registered(fleet, etcd):
    return Registered(fleet, [etcd.url])


def known(node, missing=False):
    """Names of the nodes that it knows of."""
    return {other["name"] for other in node.api("fleet")["nodes"] if missing or not other["missing"]}


def knows(node, *names):
    wait_for(lambda: known(node) == set(names), DEADLINE_S, f"{node.name} to know {names}")


def holders(node, stream):
    return {holder["node"] for holder in node.api("fleet")["streams"].get(stream, []) if not holder["missing"]}


def is_up(node, up=True, deadline_s=DEADLINE_S):
    wait_for(lambda: node.metric("weir_fleet_registry_up") == up, deadline_s, f"{node.name} to have the registry: {up}")


def live_through(registered, publish, stream):
    """A publisher, its origin, and a relay that found it; a viewer plays."""
    origin, relay = registered.origin(), registered.relay()
    ingest = registered.ingest([origin])
    publish(ingest.push_url(stream))
    relay.wait_live(stream)
    for node in (origin, relay):
        is_up(node)
    return origin, relay, LiveWatch(relay.http, stream).wait_media(1)


def test_nodes_find_each_other(registered, etcd):
    origin, relay = registered.origin(), registered.relay()
    ingest = registered.ingest([origin])
    for node in (origin, relay, ingest):
        knows(node, "origin", "relay", "ingest")
        is_up(node)
        assert node.metric("weir_fleet_nodes") == 3
        node.log.wait("fleet_registry_up")
    by_name = {node["name"]: node for node in ingest.api("fleet")["nodes"]}
    assert by_name["origin"]["roles"] == ["origin"] and by_name["relay"]["roles"] == ["relay"]
    assert by_name["origin"]["feed_url"] == f"http://{origin.addresses['feed']}"
    assert by_name["relay"]["http_url"] == "http://relay.example:80" and by_name["ingest"]["http_url"] is None
    assert by_name["relay"]["region"] == "here" and by_name["relay"]["capacity"]["viewers"] > 0
    assert set(etcd.keys("weir/")) == {"weir/nodes/origin", "weir/nodes/relay", "weir/nodes/ingest"}


def test_fleets_of_other_prefixes_are_not_seen(fleet, registered, etcd):
    origin = registered.origin()
    other = fleet.origin("other", config={"fleet": {"etcd": [etcd.url], "prefix": "weirs"}})
    knows(other, "other")
    knows(origin, "origin")


def test_a_node_without_a_registry_says_so(fleet):
    node = fleet.origin()
    assert node.admin_get("/api/v1/fleet").status == 404
    assert node.metric("weir_fleet_registry_up") is None


def test_stream_found_by_registry(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)
    other = registered.origin("other")
    wait_for(lambda: holders(relay, stream) == {"origin"}, DEADLINE_S, "the relay to know who holds it")
    epoch = origin.streams()[stream]["epoch"]
    assert etcd.keys("weir/streams/")[f"weir/streams/{stream}/origin"]["epoch"] == epoch
    late = registered.relay("late")
    knows(late, "origin", "other", "relay", "late", "ingest")
    wait_for(lambda: holders(late, stream) == {"origin"}, DEADLINE_S, "the late relay to know who holds it")
    late.wait_live(stream)
    assert late.log.wait("pull_from", stream=stream)["upstream"] == f"http://{origin.addresses['feed']}"
    # The other one was asked only then, for it to stand by: a refusal in the search itself is no news to log.
    late.log.wait("link_failed", stream=stream, upstream=f"http://{other.addresses['feed']}", in_use=0)
    watch.wait_media(1).finish().report().check(max_gap_s=1)


def test_a_stream_that_ends_is_taken_out(fleet, registered, publish, stream, etcd):
    config = registered._config("origin")
    origin = fleet.origin("origin", config={**config, "origin": {"grace_s": 1}})
    publisher = publish(registered.ingest([origin]).push_url(stream))
    wait_for(lambda: holders(origin, stream) == {"origin"}, DEADLINE_S, "the stream to be registered")
    publisher.stop()
    wait_for(lambda: not etcd.keys("weir/streams/"), DEADLINE_S, "the stream to be taken out")
    wait_for(lambda: stream not in origin.api("fleet")["streams"], DEADLINE_S, "the table to lack it")


def test_load_is_told(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)

    def told():
        load = etcd.keys("weir/nodes/")["weir/nodes/relay"]["load"]
        return load["viewers"] > 0 and load["egress_kbps"] > 0 and load["streams"] == 1

    wait_for(told, DEADLINE_S, "the relay's load to be told")
    watch.finish()


def test_etcd_down(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)
    etcd.kill()
    for node in (origin, relay):
        is_up(node, False)
        node.log.wait("fleet_registry_down")
    time.sleep(2 * TTL_S + 1)  # longer than anything is kept that is missing
    assert known(relay) == {"origin", "relay", "ingest"} and holders(relay, stream) == {"origin"}
    assert relay.metric("weir_fleet_registry_age_seconds") > 2 * TTL_S
    watch.wait_media(1)
    LiveWatch(relay.http, stream).wait_media(1).finish().report().check(max_gap_s=1)
    etcd.start()
    for node in (origin, relay):
        is_up(node)
        assert node.metric("weir_fleet_registry_age_seconds") < 2
        assert len(node.log.find("fleet_registry_down")) == 1
    wait_for(lambda: len(etcd.keys("weir/nodes/")) == 3, DEADLINE_S, "all to be registered")
    time.sleep(TTL_S + 2)
    assert known(relay) == {"origin", "relay", "ingest"} and holders(relay, stream) == {"origin"}
    watch.wait_media(1).finish().report().check(max_gap_s=1)


def test_a_node_that_starts_without_etcd_plays_what_it_has(fleet, publish, stream):
    nowhere = f"http://127.0.0.1:{free_port()}"
    node = fleet.all_in_one(config={"fleet": {"etcd": [nowhere]}})
    publish(node.push_url(stream))
    node.wait_live(stream)
    assert node.metric("weir_fleet_registry_up") == 0
    assert len(node.log.find("fleet_registry_down", etcd=nowhere)) == 1


def test_etcd_that_does_not_answer(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)
    etcd.freeze()
    is_up(relay, False)
    assert known(relay) == {"origin", "relay", "ingest"}
    watch.wait_media(2)
    etcd.thaw()
    is_up(relay)
    wait_for(lambda: len(etcd.keys("weir/nodes/")) == 3, DEADLINE_S, "all to be registered")
    watch.wait_media(TTL_S + 1).finish().report().check(max_gap_s=1)
    assert known(relay) == {"origin", "relay", "ingest"}


def test_etcd_that_takes_no_writes(registered, publish, stream, etcd):
    origin = registered.origin()
    is_up(origin)
    etcd.refuse_writes(True)
    publish(registered.ingest([origin]).push_url(stream))
    origin.log.wait("fleet_registry_down")
    time.sleep(TTL_S + 2)
    assert len(origin.log.find("fleet_registry_down")) == 1 and "fleet_registry_up" not in origin.log.text.split("fleet_registry_down")[1]
    assert "weir/nodes/origin" in etcd.keys("weir/"), "its lease is kept alive"
    etcd.refuse_writes(False)
    is_up(origin)
    wait_for(lambda: etcd.keys("weir/streams/"), DEADLINE_S, "the stream to be registered")


def test_etcd_slow(fleet, etcd, publish, stream):
    with Impair(etcd.address) as line:
        line.both(delay_ms=150, jitter_ms=50)
        registered = Registered(fleet, [line.url])
        origin, relay, watch = live_through(registered, publish, stream)
        line.both(delay_ms=300)  # a keep-alive takes 0.6 s of a lease of 2 s
        watch.wait_media(3 * TTL_S)
        assert not relay.log.find("fleet_registry_down")
        line.stall()
        is_up(relay, False)
        watch.wait_media(2 * TTL_S)
        assert known(relay) == {"origin", "relay", "ingest"} and holders(relay, stream) == {"origin"}
        line.clear()
        is_up(relay)
        wait_for(lambda: holders(relay, stream) == {"origin"}, DEADLINE_S, "the stream to be registered again")
        watch.wait_media(1).finish().report().check(max_gap_s=1)


def test_etcd_wiped(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)
    before = etcd.keys("weir/streams/")
    etcd.wipe()
    wait_for(lambda: len(etcd.keys("weir/nodes/")) == 3, DEADLINE_S, "all to be registered again")
    wait_for(lambda: etcd.keys("weir/streams/") == before, DEADLINE_S, "the stream to be, too")
    is_up(relay)
    end = time.monotonic() + TTL_S + 2
    while time.monotonic() < end:
        assert known(relay, missing=True) == {"origin", "relay", "ingest"}
        time.sleep(0.1)
    assert known(relay) == {"origin", "relay", "ingest"} and holders(relay, stream) == {"origin"}
    watch.wait_media(1).finish().report().check(max_gap_s=1)


def test_a_node_that_dies_while_etcd_is_wiped_is_dropped(registered, etcd):
    origin, relay = registered.origin(), registered.relay()
    knows(relay, "origin", "relay")
    etcd.kill()
    origin.kill()
    time.sleep(2 * TTL_S + 1)
    assert known(relay) == {"origin", "relay"}
    etcd.wipe()
    wait_for(lambda: known(relay, missing=True) == {"relay"}, DEADLINE_S, "the dead node to be dropped")


def steered_to(relay):
    """Hosts of the relays that its players are told of."""
    clones = relay.get("/live/any/steering.json").json()["PATHWAY-CLONES"]
    return [clone["URI-REPLACEMENT"]["HOST"] for clone in clones]


def test_relays_of_a_region_are_steered_to(registered, publish, stream):
    """Players are told of the other relay of the region, and not of one elsewhere; and when it has gone, of none."""
    origin, relay, _ = live_through(registered, publish, stream)
    near = registered.relay("near")
    registered.fleet.relay("far", upstreams=[], config=merge(registered._config("far"), {"region": "elsewhere"}))

    knows(relay, "origin", "relay", "near", "far", "ingest")
    wait_for(lambda: steered_to(relay) == ["near.example"], DEADLINE_S, "the relay to steer to its neighbour alone")
    assert "CONTENT-STEERING" in relay.get(f"/{stream}/index.m3u8").text
    near.kill()
    wait_for(lambda: steered_to(relay) == [], DEADLINE_S, "the relay to know that it has gone")
    assert "CONTENT-STEERING" not in relay.get(f"/{stream}/index.m3u8").text


def test_a_node_that_vanishes_is_told_of_at_once(registered, etcd):
    """Not with what another node says next, and not when it is given up: meanwhile nobody can write, so that nobody says anything."""
    relay, near = registered.relay(), registered.relay("near")
    wait_for(lambda: steered_to(relay) == ["near.example"], DEADLINE_S, "the relay to steer to its neighbour")
    near.kill()
    etcd.refuse_writes(True)
    etcd.delete("weir/nodes/near")
    wait_for(lambda: steered_to(relay) == [], AT_ONCE_S, "the relay to steer to it no more")


def test_node_gone_lease_expires(registered, publish, stream, etcd):
    first, second = registered.origin("first"), registered.origin("second")
    relay = registered.relay()
    publish(registered.ingest([first, second]).push_url(stream))
    wait_for(lambda: holders(relay, stream) == {"first", "second"}, DEADLINE_S, "both to hold it")
    relay.wait_live(stream)
    watch = LiveWatch(relay.http, stream).wait_media(1)
    first.kill()
    killed = time.monotonic()
    wait_for(lambda: known(relay) == {"second", "relay", "ingest"}, DEADLINE_S, "its lease to run out")
    assert time.monotonic() - killed < TTL_S + 3
    wait_for(lambda: known(relay, missing=True) == {"second", "relay", "ingest"}, DEADLINE_S, "it to be dropped")
    assert holders(relay, stream) == {"second"}
    assert f'weir_upstream_score_ms{{upstream="http://{first.addresses["feed"]}"}}' not in relay.admin_get("/metrics").text
    watch.wait_media(1).finish().report().check(max_gap_s=2)


def test_a_node_that_stops_leaves_at_once_and_may_come_back(registered, etcd):
    origin, relay = registered.origin(), registered.relay()
    knows(relay, "origin", "relay")
    origin.stop()
    assert set(etcd.keys("weir/nodes/")) == {"weir/nodes/relay"}
    origin.start()
    knows(relay, "origin", "relay")


def test_what_an_earlier_run_left_is_taken_out(registered, publish, stream, etcd):
    origin, relay, watch = live_through(registered, publish, stream)
    watch.finish()
    for node in registered.fleet.nodes:
        if node.role == "ingest":
            node.stop()
    origin.kill()
    origin.restart()
    wait_for(lambda: not etcd.keys("weir/streams/"), DEADLINE_S, "the stream to be taken out")


def test_what_others_delete_is_written_again(registered, etcd):
    origin = registered.origin()
    knows(origin, "origin")
    etcd.delete("weir/nodes/origin")
    wait_for(lambda: etcd.keys("weir/nodes/"), DEADLINE_S, "it to be back")
    knows(origin, "origin")


def test_two_nodes_of_one_name_are_told_of(registered, fleet):
    first = registered.origin("twin")
    is_up(first)
    second = fleet.relay("other", upstreams=[], config={**registered._config("twin"), "node": "twin"})
    for node in (first, second):
        node.log.wait("fleet_name_taken", DEADLINE_S, name="twin")


def test_next_server_when_one_fails(fleet, etcd):
    nowhere = f"http://127.0.0.1:{free_port()}"
    node = Registered(fleet, [nowhere, etcd.url]).origin()
    is_up(node)
    assert node.log.wait("fleet_registry_up")["etcd"] == etcd.url


def test_a_watch_of_what_is_compacted_reads_anew(fleet, etcd):
    with Impair(etcd.address) as line:
        near, far = Registered(fleet, [etcd.url]), Registered(fleet, [line.url])
        relay = far.relay()
        is_up(relay)
        line.partition()
        is_up(relay, False)
        near.origin()
        wait_for(lambda: "weir/nodes/origin" in etcd.keys("weir/nodes/"), DEADLINE_S, "the origin to register")
        etcd.compact()
        line.heal()
        knows(relay, "origin", "relay")


def test_a_large_fleet_is_read_in_pages(fleet, etcd):
    lease = etcd.call("lease/grant", TTL=600)["ID"]
    puts = [{"request_put": {"key": etcds.encode(f"weir/streams/live/s{i}/other"), "lease": lease, "value": etcds.encode(
        f'{{"epoch":{i + 1},"feed_url":"http://127.0.0.1:1","since":""}}')}} for i in range(3000)]
    for i in range(0, len(puts), 100):
        etcd.call("kv/txn", success=puts[i:i + 100])
    etcd.call("kv/put", key=etcds.encode("weir/nodes/junk"), value=etcds.encode("x" * 100000))
    etcd.call("kv/put", key=etcds.encode("weir/else"), value=etcds.encode("\x00"))
    node = Registered(fleet, [etcd.url]).origin()
    is_up(node)
    assert node.metric("weir_fleet_streams") == 3000 and node.metric("weir_fleet_nodes") == 1
    etcd.call("lease/revoke", ID=lease)
    wait_for(lambda: node.metric("weir_fleet_streams") == 0, DEADLINE_S, "all to be dropped")
