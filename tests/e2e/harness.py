"""A weir process of one's own, its log, its HTTP, ports for it, and waiting without sleeping blindly.

Nothing here knows pytest: the benches use it too. Every wait has a deadline, and says what it waited for when it fails.
"""

import errno
import fcntl
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIR_BIN = Path(os.environ.get("WEIR_BIN", ROOT / "build/weir")).resolve()
# The instruments are built beside the binary, unless another build (say, one without sanitizers) is named.
INSTRUMENTS = Path(os.environ.get("WEIR_INSTRUMENTS", WEIR_BIN.parent / "tests/instruments")).resolve()

START_DEADLINE_S = 20
STOP_DEADLINE_S = 15  # a sanitizer looks for leaks at the end
SANITIZER = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:|Assertion .* failed")
LOG_FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def wait_for(predicate, deadline_s, what=None, every_s=0.05):
    """Calls `predicate` until it gives something true, and returns that. Fails after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"waited {deadline_s} s in vain for {what or predicate}; last answer: {value!r}")
        time.sleep(every_s)


PORT_FIRST, PORT_LAST = 10000, 65535


def is_free(port):
    """For a listener with an address and for one without."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "")):
        try:
            with socket.socket(family) as one:
                one.bind((host, port))
        except OSError as error:  # there may be no IPv6
            if error.errno == errno.EADDRINUSE:
                return False
    return True


class Ports:
    """For listeners whose port must be known before they are there, or stay theirs while they are not. None is of those that the kernel
    gives to connections and to listeners on port 0. Each is given once, and to one process as long as that lives: it locks the port's
    byte of a file that all share.
    """

    def __init__(self):
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self._untried = [port for port in range(PORT_FIRST, PORT_LAST + 1) if not low <= port <= high]
        random.shuffle(self._untried)
        self._locks = open(Path(tempfile.gettempdir(), f"weir-test-ports-{os.getuid()}"), "wb")
        self._guard = threading.Lock()

    def take(self):
        with self._guard:
            while self._untried:
                port = self._untried.pop()
                if self._claim(port) and is_free(port):
                    return port
        raise AssertionError("no port is left from 10000 on that isn't in ip_local_port_range")

    def _claim(self, port):
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            return True
        except BlockingIOError:
            return False


_ports = Ports()


def free_port():
    """Of Ports."""
    return _ports.take()


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    elapsed_s: float

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


def http_request(address, path, method="GET", headers=None, body=None, timeout_s=10):
    """One request on a connection of its own. The body comes as it was sent: nothing is decompressed or followed."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    started = time.monotonic()
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read(), time.monotonic() - started)
    finally:
        connection.close()


def parse_logfmt(line):
    return {key: json.loads(value) if value.startswith('"') else value for key, value in LOG_FIELD.findall(line)}


class Log:
    """Collects a process's stderr on a thread; wait() gives the first line, past or coming, whose fields match."""

    def __init__(self, stream):
        self.lines = []
        self.closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for raw in stream:
                with self._changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    @property
    def text(self):
        return "\n".join(self.lines)

    def find(self, event, after=0, **fields):
        """Field dictionaries of the lines with this event and these fields, from line number `after` on."""
        wanted = {"event": event, **{key: str(value) for key, value in fields.items()}}
        parsed = (parse_logfmt(line) for line in self.lines[after:])
        return [line for line in parsed if wanted.items() <= line.items()]

    def wait(self, event, deadline_s=20, after=0, **fields):
        end = time.monotonic() + deadline_s
        with self._changed:
            while not (found := self.find(event, after, **fields)):
                left = end - time.monotonic()
                if left <= 0 or self.closed:
                    why = "the process ended" if self.closed else f"{deadline_s} s went by"
                    raise AssertionError(f"no event={event} {fields} in the log, and {why}:\n{self.text[-4000:]}")
                self._changed.wait(left)
        return found[0]

    def join(self, deadline_s=5):
        self._thread.join(deadline_s)


def merge(base, changes):
    """`changes` laid over `base`, mapping by mapping; a value of None takes a key away."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


ALL_ROLES = {
    "http": {"listen": ["127.0.0.1:0"]},
    "admin": {"listen": "127.0.0.1:0"},
    "ingest": {"rtmp": {"listen": ["127.0.0.1:0"]}},
    "origin": {"grace_s": 10},
    "relay": {},
    "live": {"segment_ms": 2000, "part_ms": 200},
}


@dataclass
class Node:
    """A running weir with a configuration of its own and ports that the system chose.

    `http`, `https`, `admin`, `rtmp`, `rtmps` and `srt` are "address:port". `config` is laid over ALL_ROLES; JSON is YAML too, so that is
    how it is written down.
    """

    folder: Path
    config: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    http: str = ""
    https: str = ""
    admin: str = ""
    rtmp: str = ""
    rtmps: str = ""
    srt: str = ""

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "weir.yaml"
        self.write_config(path)
        self.process = subprocess.Popen(
            [WEIR_BIN, "-c", path], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **self.env}
        )
        self.log = Log(self.process.stderr)
        try:
            self.log.wait("ready", START_DEADLINE_S)
        except BaseException:
            self.kill()
            raise
        for line in self.log.find("listen"):
            setattr(self, line["kind"], line["address"])
        return self

    def write_config(self, path):
        path.write_text(json.dumps(self.whole_config(), indent=2))

    def whole_config(self):
        return merge(ALL_ROLES, self.config)

    def stop(self):
        """SIGTERM; returns the seconds that it took. Fails on any exit but 0 and on a sanitizer's report."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # for its stack in the core, when somebody collects them
            self.kill()
            raise AssertionError(f"weir was still there {STOP_DEADLINE_S} s after SIGTERM:\n{self.log.text[-4000:]}")
        took_s = time.monotonic() - started
        self.log.join()
        assert status == 0, f"weir ended with {status}:\n{self.log.text[-8000:]}"
        self.check_log()
        return took_s

    def check_log(self):
        reports = [line for line in self.log.lines if SANITIZER.search(line)]
        assert not reports, f"sanitizer reports: {reports}\n{self.log.text[-8000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.join()

    @property
    def alive(self):
        return self.process.poll() is None

    # --- addresses

    def push_url(self, name, key=None):
        return f"rtmp://{self.rtmp}/{name}" + (f"?key={key}" if key else "")

    def srt_url(self, stream_id, **options):
        """For ffmpeg, with libsrt's options: passphrase, pbkeylen, latency (µs)."""
        return f"srt://{self.srt}?streamid={stream_id}" + "".join(f"&{name}={value}" for name, value in options.items())

    def url(self, path):
        return f"http://{self.http}{path}"

    def tls_url(self, path):
        return f"https://{self.https}{path}"

    # --- HTTP

    def get(self, path, **options):
        return http_request(self.http, path, **options)

    def admin_get(self, path, **options):
        return http_request(self.admin, path, **options)

    def streams(self):
        """/api/v1/streams as a dictionary by name."""
        return {stream["name"]: stream for stream in self.admin_get("/api/v1/streams").json()["streams"]}

    def state(self, name):
        return self.streams().get(name, {}).get("state")

    def metric(self, name):
        """The value of one sample, named with its labels as it is printed: weir_streams{state="live"}."""
        for line in self.admin_get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    # --- waiting

    def wait_live(self, name, deadline_s=30):
        """Until viewers can open the stream; gives its multivariant playlist."""
        path = f"/{name}/index.m3u8"

        def playable():
            answer = self.get(path)
            return answer.status == 200 and answer.text

        return wait_for(playable, deadline_s, f"{path} to answer 200")

    def wait_segment(self, name, variant="v0a0", deadline_s=40):
        """Until the first segment is whole: players that don't know parts see nothing, and give up, before."""
        self.wait_live(name, deadline_s)
        path = f"/{name}/{variant}.m3u8"
        wait_for(lambda: "#EXTINF" in self.get(path).text, deadline_s, f"a segment in {path}")

    def wait_state(self, name, state, deadline_s=30):
        wait_for(lambda: self.state(name) == state, deadline_s, f"{name} to be {state}")
