"""Machines on a network of their own, as network namespaces on a bridge. For root only; of iproute2 nothing else is needed.

    net = Net()
    studio, home = net.place("studio"), net.place("home")       10.77.0.1, 10.77.0.2
    with home.inside():                                         of this thread: sockets, threads and processes made here are there
        reader = LiveReader(f"{studio.address}:8080", …)
    net.cut(studio, home)                                       silence between these two; heal() ends it
    net.close()

The bridge is in a namespace, too (`net.hub`, 10.77.0.254), so that nothing of it is seen outside and any number of Nets can be there
at a time. Between enter() and leave() this thread, and what it starts, is in the hub.

Silence is a matter of addresses: every place knows the others' hardware addresses by heart, and who is cut off is sent to one
that nobody has. So there is never an error to be seen: no ICMP, no failed ARP, and the connections' ends stay as they are.

Namespaces are called weir-PID-…: those of a process that is gone are removed when the next Net is made.
"""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import subprocess
from pathlib import Path

CLONE_NEWNET = 0x40000000
NAMES = Path("/run/netns")
PLACES_MAX = 40
HUB = 254

_libc = ctypes.CDLL(None, use_errno=True)
_count = itertools.count()


def available():
    return subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0


def address_of(number):
    return f"10.77.0.{number}"


def hardware_of(number):
    return f"02:00:0a:4d:00:{number:02x}"


def nobody(number):
    return f"02:00:0a:4d:ff:{number:02x}"


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {words}: {done.stderr}"
    return done.stdout


def ip_batch(namespace, lines):
    done = subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, f"ip -n {namespace}: {lines}: {done.stderr}"


def set_namespace(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_current():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


@contextlib.contextmanager
def inside(namespace):
    before, there = open_current(), os.open(NAMES / namespace, os.O_RDONLY)
    try:
        set_namespace(there)
        yield
    finally:
        set_namespace(before)
        os.close(before)
        os.close(there)


def remove_namespace(name):
    """And whoever is left in it, but not us: a thread of ours may still be there."""
    for pid in map(int, ip("netns", "pids", name).split()):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    ip("netns", "del", name)


def remove_stale():
    for path in NAMES.glob("weir-*"):
        owner = re.match(r"weir-(\d+)-", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            with contextlib.suppress(AssertionError):  # another test run may be at it
                remove_namespace(path.name)


class Place:
    """A machine: `address` is its own, `device` that of its interface."""

    def __init__(self, net, name, number, device):
        self.name, self.number, self.device = name, number, device
        self.namespace = f"{net.name}-{name}"
        self.address = address_of(number)
        ip("netns", "add", self.namespace)

    def inside(self):
        return inside(self.namespace)

    def set_up(self):
        """When its device is there."""
        others = [number for number in (*range(1, PLACES_MAX + 1), HUB) if number != self.number]
        ip_batch(self.namespace, [
            "link set lo up",
            f"link set {self.device} address {hardware_of(self.number)} up",
            f"address add {self.address}/24 dev {self.device}",
            *(self._way(number, hardware_of(number)) for number in others),
        ])

    def _way(self, number, hardware):
        return f"neighbor replace {address_of(number)} lladdr {hardware} dev {self.device} nud permanent"

    def lose(self, other):
        """What it sends to the other gets nowhere."""
        ip_batch(self.namespace, [self._way(other.number, nobody(other.number))])

    def find(self, other):
        ip_batch(self.namespace, [self._way(other.number, hardware_of(other.number))])


class Net:
    def __init__(self):
        remove_stale()
        self.name = f"weir-{os.getpid()}-{next(_count)}"
        self.places = []
        self._before = None
        self.hub = Place(self, "hub", HUB, "bridge")
        try:
            ip("-n", self.hub.namespace, "link", "add", "bridge", "type", "bridge")
            self.hub.set_up()
        except BaseException:
            self.close()
            raise

    def place(self, name):
        number = len(self.places) + 1
        assert number <= PLACES_MAX
        place = Place(self, name, number, "eth0")
        self.places.append(place)
        ip("-n", self.hub.namespace, "link", "add", self._port(place), "type", "veth", "peer", "name", "eth0", "netns", place.namespace)
        ip("-n", self.hub.namespace, "link", "set", self._port(place), "master", "bridge", "up")
        place.set_up()
        return place

    @staticmethod
    def _port(place):
        return f"port{place.number}"

    # --- where this thread is

    def enter(self):
        self._before = open_current()
        with open(NAMES / self.hub.namespace) as there:
            set_namespace(there.fileno())

    def leave(self):
        if self._before is not None:
            set_namespace(self._before)
            os.close(self._before)
            self._before = None

    # --- cables

    def cut(self, a, b):
        """Nothing passes between these two, either way, and nobody is told."""
        a.lose(b)
        b.lose(a)

    def cut_one_way(self, sender, receiver):
        sender.lose(receiver)

    def heal(self, a, b):
        a.find(b)
        b.find(a)

    def unplug(self, place):
        """From everybody. Its interface doesn't notice."""
        ip("-n", self.hub.namespace, "link", "set", self._port(place), "nomaster")

    def plug(self, place):
        ip("-n", self.hub.namespace, "link", "set", self._port(place), "master", "bridge")

    def close(self):
        """Whatever is there: also after a failure half-way."""
        self.leave()
        for place in [*self.places, self.hub]:
            if (NAMES / place.namespace).exists():
                remove_namespace(place.namespace)
