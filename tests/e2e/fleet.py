"""A fleet of nodes, each a process with a configuration by its role: on loopback, or each in a network namespace of its own.

    fleet = Fleet(folder)                        or Fleet(folder, namespaces=True)
    near, far = fleet.origin("near"), fleet.origin("far")
    line = fleet.impair(far, "origin")           a bad network in front of one of its listeners (impair.Impair)
    ingest = fleet.ingest("ingest", origins=[near, line])
    relay = fleet.relay("relay", upstreams=[near, far], config={"relay": {"max_lag_ms": 1000}})
    near.kill()                                  kill -9; freeze() and thaw(); restart() on the same ports
    fleet.cut(far, relay)                        silence between two nodes (namespaces only); heal() ends it
    fleet.close()

A node is a harness.Node: its listeners are attributes by their kind in the log (`relay.http`), metric(), streams(), wait_live() work.
In namespaces this thread is moved into the bridge's until close(), so what a test starts there (publishers, browsers, readers)
reaches all nodes; fleet.place("home") is one more machine for it, `with home.inside():` (see netns.py). Operators' requests are
made from the node's own namespace: they work whatever is cut.
"""

import signal

import harness
from impair import Impair
from netns import Net

FEED_KEY = "fleet-test-feed-key"

# --- what configuration looks like: nothing else here knows its keys. `at(kind)` is where to listen, `urls` of the nodes behind.


def all_config(at, urls):
    return {"http": {"listen": [at("http")]}, "ingest": {"rtmp": {"listen": [at("rtmp")]}}, "origin": {}, "relay": {}}


def ingest_config(at, urls):
    return {"ingest": {"rtmp": {"listen": [at("rtmp")]}, "origins": urls}, "auth": {"feed": {"key": FEED_KEY}}}


def origin_config(at, urls):
    return {"origin": {"listen": [at("origin")]}, "feed": {"listen": [at("feed")]}, "auth": {"feed": {"key": FEED_KEY}}}


def relay_config(at, urls):
    return {"http": {"listen": [at("http")]}, "relay": {"upstreams": urls}, "feed": {"listen": [at("feed")]},
            "auth": {"feed": {"key": FEED_KEY}}}


ROLES = {"all": all_config, "ingest": ingest_config, "origin": origin_config, "relay": relay_config}
LISTENER_FOR = {"ingest": "origin", "relay": "feed"}  # which listener of the nodes behind it a role goes to
LIVE = {"segment_ms": 2000, "part_ms": 200}


def config_of(role, at, urls):
    return {"admin": {"listen": at("admin")}, "live": LIVE, **ROLES[role](at, urls)}


class FleetNode(harness.Node):
    """`behind`: nodes, impair.Impair or "address:port"."""

    def __init__(self, folder, name, role, behind, config, env, place):
        super().__init__(folder, config, env)
        self.name, self.role, self.behind, self.place = name, role, behind, place
        self.addresses = {}  # by kind

    def _at(self, kind):
        if kind not in self.addresses:
            self.addresses[kind] = f"{self.place.address if self.place else '127.0.0.1'}:{harness.free_port()}"
        return self.addresses[kind]

    def whole_config(self):
        urls = [f"http://{self.address_of(node)}" for node in self.behind]
        return harness.merge({"node": self.name, **config_of(self.role, self._at, urls)}, self.config)

    def address_of(self, node):
        if isinstance(node, FleetNode):
            return node.addresses[LISTENER_FOR[self.role]]
        return getattr(node, "address", node)

    def _inside(self, do, *arguments, **options):
        if not self.place:
            return do(*arguments, **options)
        with self.place.inside():
            return do(*arguments, **options)

    def start(self):
        self._inside(super().start)
        self.addresses = {line["kind"]: line["address"] for line in self.log.find("listen")}
        harness.wait_for(lambda: self.admin_get("/readyz").status == 200, harness.START_DEADLINE_S, f"{self.name} to be ready")
        return self

    def restart(self):
        """On the same ports, whether it runs or not."""
        if self.alive:
            self.stop()
        self.check_log()
        return self.start()

    def stop(self):
        self.thaw()
        return super().stop()

    def freeze(self):
        """Its process does nothing any more; its connections stay, and its kernel still makes them."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def admin_get(self, path, **options):
        return self._inside(super().admin_get, path, **options)

    def api(self, path):
        """api("streams") is the JSON of /api/v1/streams."""
        return self.admin_get(f"/api/v1/{path}").json()


class Fleet:
    def __init__(self, folder, namespaces=False):
        self.folder = folder
        self.nodes = []
        self.lines = []
        self.net = Net() if namespaces else None
        if self.net:
            self.net.enter()

    # --- nodes

    def node(self, name, role, behind=(), config=None, env=None):
        """Started, and ready. It is in `nodes` also when it failed to."""
        node = FleetNode(self.folder / name, name, role, list(behind), config or {}, env or {}, self.place(name) if self.net else None)
        self.nodes.append(node)
        return node.start()

    def all_in_one(self, name="all", **options):
        return self.node(name, "all", **options)

    def origin(self, name="origin", **options):
        return self.node(name, "origin", **options)

    def ingest(self, name="ingest", *, origins, **options):
        return self.node(name, "ingest", origins, **options)

    def relay(self, name="relay", *, upstreams, **options):
        return self.node(name, "relay", upstreams, **options)

    def retire(self, node):
        """Stopped, and none of the fleet's any more."""
        node.stop()
        self.nodes.remove(node)

    # --- what is between them

    def place(self, name):
        """A machine without a node. For everything below, too."""
        return self._net().place(name)

    @property
    def hub(self):
        """Where the test itself is."""
        return self._net().hub

    def impair(self, node, kind, at=None):
        """A bad network in front of a node's listener; the proxy runs where the test does, or at a place or node."""
        place = place_of(at) if at else self.hub if self.net else None
        if not place:
            line = Impair(node.addresses[kind])
        else:
            with place.inside():
                line = Impair(node.addresses[kind], f"{place.address}:0")
        self.lines.append(line)
        return line

    def cut(self, a, b):
        """Nothing passes between them, either way, and nobody is told: no reset, no refusal."""
        self._net().cut(place_of(a), place_of(b))

    def cut_one_way(self, sender, receiver):
        self._net().cut_one_way(place_of(sender), place_of(receiver))

    def heal(self, a, b):
        self._net().heal(place_of(a), place_of(b))

    def unplug(self, node):
        """From all others, those that come later too."""
        self._net().unplug(place_of(node))

    def plug(self, node):
        self._net().plug(place_of(node))

    def _net(self):
        assert self.net, "this needs Fleet(…, namespaces=True); on loopback, put an impair() between"
        return self.net

    def close(self):
        """The nodes are not asked to stop: who wants to know that they do has stopped them."""
        for node in self.nodes:
            if hasattr(node, "process") and node.alive:
                node.kill()
        for line in self.lines:
            line.close()
        if self.net:
            self.net.close()


def place_of(thing):
    return getattr(thing, "place", thing)
