"""A publisher of Enhanced RTMP on a plain socket, for what Debian's tools can't send: HEVC, AV1, VP9, Opus, FLAC, several tracks, nanoseconds.

Its media are real: ffmpeg encodes a clip of each track, which is read out of the MP4 file and sent over and over, in real time. Layouts are the
specification's, v2 ("Enhanced Audio", "Enhanced Video", "Enhancing NetConnection connect Command").
"""

import functools
import heapq
import itertools
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

CLIP_S = 2
VIDEO, AUDIO = "video", "audio"
ENCODERS = {
    "avc1": ["libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "main", "-sc_threshold", 0],
    "hvc1": ["libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params",
             "keyint=30:min-keyint=30:scenecut=0:bframes=0:open-gop=0:log-level=error"],
    "av01": ["libaom-av1", "-cpu-used", 8, "-usage", "realtime", "-lag-in-frames", 0],
    "vp09": ["libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-lag-in-frames", 0],
    "mp4a": ["aac"],
    "Opus": ["libopus"],
    "fLaC": ["flac", "-strict", -2],
}
COMPOSED = ("avc1", "hvc1")  # CodedFrames begin with a composition time
START, FRAMES, END, FRAMES_X = 0, 1, 2, 3
MULTITRACK = {VIDEO: 6, AUDIO: 5}
MODEX = 7
ONE_TRACK, MANY_TRACKS = 0, 1
RECONNECT, MULTI, NANO = 1, 2, 4 | 8  # of capsEx


# --- clips


@dataclass
class Sample:
    dts: float  # seconds
    composition: float
    key: bool
    data: bytes


@dataclass
class Clip:
    kind: str
    fourcc: str
    config: bytes  # as a SequenceStart carries it
    samples: list[Sample]
    duration: float


def boxes(data, at, end):
    while at < end:
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, at + 8, at + size
        at += size


def box(data, at, end, *path):
    for name in path:
        at, end = next((begin, stop) for found, begin, stop in boxes(data, at, end) if found == name)
    return data[at:end]


def table(data, layout):
    """A box of version, flags, a count and that many entries."""
    return list(struct.iter_unpack(layout, data[8:8 + struct.unpack_from(">I", data, 4)[0] * struct.calcsize(layout)]))


def config_of(fourcc, stsd):
    """Out of the first sample entry."""
    entry = stsd[8:]
    at, end = 8 + (78 if fourcc in ("avc1", "hvc1", "av01", "vp09") else 28), struct.unpack_from(">I", entry)[0]
    name = {"avc1": b"avcC", "hvc1": b"hvcC", "av01": b"av1C", "vp09": b"vpcC", "mp4a": b"esds", "Opus": b"dOps", "fLaC": b"dfLa"}[fourcc]
    record = box(entry, at, end, name)
    if fourcc == "vp09":
        return record[4:]
    if fourcc == "fLaC":
        return b"fLaC" + record[4:]
    if fourcc == "mp4a":  # DecoderSpecificInfo
        at = record.index(b"\x05\x80\x80\x80") + 4
        return record[at + 1:at + 1 + record[at]]
    if fourcc == "Opus":  # big-endian there, little-endian in an OpusHead (RFC 7845 §5.1)
        _, channels, skip, rate, gain, family = struct.unpack_from(">BBHIhB", record)
        return b"OpusHead" + struct.pack("<BBHIhB", 1, channels, skip, rate, gain, family)
    return record


def read_mp4(kind, fourcc, data):
    stbl = box(data, 0, len(data), b"moov", b"trak", b"mdia", b"minf", b"stbl")
    part = functools.partial(box, stbl, 0, len(stbl))
    names = {name for name, _, _ in boxes(stbl, 0, len(stbl))}
    timescale = struct.unpack_from(">I", box(data, 0, len(data), b"moov", b"trak", b"mdia", b"mdhd"), 12)[0]
    fixed, count = struct.unpack_from(">II", part(b"stsz"), 4)
    sizes = [fixed] * count if fixed else list(struct.unpack_from(f">{count}I", part(b"stsz"), 12))
    deltas = [delta for times, delta in table(part(b"stts"), ">II") for _ in range(times)]
    offsets = [offset for times, offset in table(part(b"ctts"), ">Ii") for _ in range(times)] if b"ctts" in names else [0] * count
    keys = {number for number, in table(part(b"stss"), ">I")} if b"stss" in names else None
    chunks = [offset for offset, in table(part(b"stco"), ">I")]
    runs = table(part(b"stsc"), ">III") + [(len(chunks) + 1, 0, 0)]
    samples, dts = [], 0
    for (first, per_chunk, _), (after, _, _) in zip(runs, runs[1:]):
        for at in chunks[first - 1:after - 1]:
            for _ in range(per_chunk):
                n = len(samples)
                samples.append(Sample(dts / timescale, offsets[n] / timescale, keys is None or n + 1 in keys, data[at:at + sizes[n]]))
                at += sizes[n]
                dts += deltas[n]
    if kind == AUDIO:  # the last frame is a shorter one, or said to be
        dts = samples.pop().dts * timescale
    return Clip(kind, fourcc, config_of(fourcc, part(b"stsd")), samples, dts / timescale)


@functools.lru_cache
def encode(fourcc, size="320x180", frequency=440):
    """A clip of two seconds with a key frame each second; 30 pictures a second, 48000 samples."""
    video = fourcc in ("avc1", "hvc1", "av01", "vp09")
    source = f"testsrc2=size={size}:rate=30" if video else f"sine=frequency={frequency}:sample_rate=48000"
    options = ["-c:v" if video else "-c:a", *ENCODERS[fourcc]]
    options += ["-g", 30, "-keyint_min", 30, "-bf", 0, "-b:v", "300k", "-pix_fmt", "yuv420p"] if video else ["-ac", 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, "-t", CLIP_S, *options, path]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return read_mp4(VIDEO if video else AUDIO, fourcc, path.read_bytes())


# --- messages


def head(kind, packet, fourcc, key=True, track=None, many=False, nanoseconds=None):
    """Up to a track's body; with `many`, up to the first track."""
    first = 0x80 | (1 if key else 2) << 4 if kind == VIDEO else 0x90
    types = [packet] if track is None and not many else [MULTITRACK[kind], (MANY_TRACKS if many else ONE_TRACK) << 4 | packet]
    out = b""
    if nanoseconds is not None:
        out = bytes([first | MODEX, 2]) + nanoseconds.to_bytes(3, "big")
        first = 0  # TimestampOffsetNano, in the upper half
    out += bytes([first | types[0], *types[1:]]) + fourcc.encode()
    return out + (bytes([track]) if track is not None else b"")


def body_of(clip, sample):
    """CodedFrames of H.264 and HEVC have a composition time."""
    time_ms = round(sample.composition * 1000)
    return (time_ms.to_bytes(3, "big", signed=True) if clip.fourcc in COMPOSED else b"") + sample.data


# --- AMF0


def amf(value):
    if value is None:
        return b"\5"
    if isinstance(value, (int, float)):
        return b"\0" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\2" + amf_name(value)
    if isinstance(value, list):
        return b"\x0a" + struct.pack(">I", len(value)) + b"".join(map(amf, value))
    return b"\3" + b"".join(amf_name(name) + amf(inner) for name, inner in value.items()) + b"\0\0\t"


def amf_name(text):
    return struct.pack(">H", len(text)) + text.encode()


def read_amf(data, at=0):
    """A value and where the next begins."""
    mark, at = data[at], at + 1
    if mark == 0:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if mark == 1:
        return bool(data[at]), at + 1
    if mark == 2:
        size = struct.unpack_from(">H", data, at)[0]
        return data[at + 2:at + 2 + size].decode(), at + 2 + size
    if mark == 5:
        return None, at
    if mark == 10:
        values, count = [], struct.unpack_from(">I", data, at)[0]
        at += 4
        for _ in range(count):
            value, at = read_amf(data, at)
            values.append(value)
        return values, at
    assert mark == 3, f"AMF0 type {mark}"
    values = {}
    while data[at:at + 3] != b"\0\0\t":
        size = struct.unpack_from(">H", data, at)[0]
        name = data[at + 2:at + 2 + size].decode()
        values[name], at = read_amf(data, at + 2 + size)
    return values, at + 3


def read_command(data):
    values, at = [], 0
    while at < len(data):
        value, at = read_amf(data, at)
        values.append(value)
    return values


# --- a connection


class Connection:
    CHUNK = 65536

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"\3" + bytes(1536))
        answer = self._exactly(1 + 2 * 1536)
        self.socket.sendall(answer[1:1537])
        self._came, self._chunk, self._partial = b"", 128, {}
        self.send(1, self.CHUNK.to_bytes(4, "big"), csid=2, stream=0)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the server has closed the connection"
            data += more
        return data

    def send(self, kind, body, time_ms=0, csid=4, stream=1):
        time_ms &= 0xFFFFFFFF
        extended = struct.pack(">I", time_ms) if time_ms >= 0xFFFFFF else b""
        out = [bytes([csid]) + min(time_ms, 0xFFFFFF).to_bytes(3, "big") + len(body).to_bytes(3, "big") + bytes([kind])
               + struct.pack("<I", stream) + extended]
        for at in range(0, len(body), self.CHUNK):
            out += [bytes([0xC0 | csid]) + extended] if at else []
            out += [body[at:at + self.CHUNK]]
        self.socket.sendall(b"".join(out))

    def command(self, *values, stream=0):
        self.send(20, b"".join(map(amf, values)), csid=3, stream=stream)

    def receive(self, timeout_s):
        """The next message, (type, body), or None when there is none in that time. EOFError at the end."""
        end = time.monotonic() + timeout_s
        while not (message := self._parse()):
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            finally:
                self.socket.settimeout(10)
            if not more:
                raise EOFError("the server has closed the connection")
            self._came += more
        return message if message[1] is not None else self.receive(timeout_s)

    def _parse(self):
        """The server's chunks: headers of form 0 and 3 on chunk streams below 64. A message that is not whole yet is (type, None)."""
        data = self._came
        if not data:
            return None
        form, csid = data[0] >> 6, data[0] & 63
        at = 12 if form == 0 else 1
        if len(data) < at:
            return None
        if form == 0:
            self._partial[csid] = [data[7], int.from_bytes(data[4:7], "big"), b""]
        kind, size, body = self._partial[csid]
        take = min(self._chunk, size - len(body))
        if len(data) < at + take:
            return None
        body += data[at:at + take]
        self._came = data[at + take:]
        self._partial[csid][2] = body
        if len(body) < size:
            return kind, None
        if kind == 1:
            self._chunk = int.from_bytes(body, "big")
        return kind, body

    def close(self):
        self.socket.close()


@dataclass
class Track:
    """A clip as one of a broadcast's tracks. `legacy`: in tags from before Enhanced RTMP, as OBS sends its first H.264 and AAC tracks."""

    clip: Clip
    number: int = 0
    legacy: bool = False
    multitrack: bool = field(init=False)

    def __post_init__(self):
        self.multitrack = self.number > 0

    @property
    def kind(self):
        return self.clip.kind

    def start(self):
        if self.legacy:
            return (b"\x17\0\0\0\0" if self.kind == VIDEO else b"\xaf\0") + self.clip.config
        return head(self.kind, START, self.clip.fourcc, track=self.number if self.multitrack else None) + self.clip.config

    def frame(self, sample, nanoseconds=None):
        if self.legacy:
            return (bytes([0x17 if sample.key else 0x27, 1]) + b"\0\0\0" if self.kind == VIDEO else b"\xaf\1") + sample.data
        return head(self.kind, FRAMES, self.clip.fourcc, sample.key, self.number if self.multitrack else None,
                    nanoseconds=nanoseconds) + body_of(self.clip, sample)

    def times(self, index):
        """(seconds, index, sample) without end."""
        for turn in itertools.count():
            for sample in self.clip.samples:
                yield turn * self.clip.duration + sample.dts, index, sample


class EnhancedPublisher:
    """Pushes `tracks` to "host:port" as "app/name" in real time, on a thread of its own, from when it is made.

    `connect` is laid over the command object. `nano`: times have nanoseconds. `many_every`: of each so many seconds the last has all video
    tracks of a time in one message. `answer` is what the server said to connect, as (properties, information).
    """

    def __init__(self, address, stream, tracks, *, connect=None, metadata=None, nano=False, many_every=None):
        self.tracks, self.nano, self.many_every = tracks, nano, many_every
        app, _, self.name = stream.partition("/")
        self.connection = Connection(address)
        self.statuses = []  # the information of each onStatus
        self.error = None
        self._stop, self._clean = threading.Event(), True
        self.connection.command("connect", 1, {"app": app, "type": "nonprivate", "tcUrl": f"rtmp://{address}/{app}", **(connect or {})})
        self.answer = self._result(1)
        self.connection.command("createStream", 2, None)
        self._result(2)
        self.connection.command("publish", 3, None, self.name, "live", stream=1)
        while "NetStream.Publish.Start" not in [status["code"] for status in self.statuses]:
            assert self._read(10), "no answer to publish"
        self._begin(metadata or {})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _read(self, timeout_s):
        """One message; the values of a command, () for another one, None without any."""
        message = self.connection.receive(timeout_s)
        if not message or message[0] != 20:
            return message and ("",)
        values = read_command(message[1])
        if values[0] == "onStatus":
            self.statuses.append(values[-1])
        return values

    def _result(self, transaction):
        while values := self._read(10):
            if values[:2] == ["_result", transaction]:
                return values[2:]
            assert values[0] != "_error", values
        raise AssertionError("no answer")

    def _begin(self, metadata):
        codecs = {kind: next((track.clip.fourcc for track in self.tracks if track.kind == kind), None) for kind in (VIDEO, AUDIO)}
        properties = {f"{kind}codecid": int.from_bytes(fourcc.encode(), "big") for kind, fourcc in codecs.items() if fourcc}
        values = ["@setDataFrame", "onMetaData", {**properties, "framerate": 30, "encoder": "enhanced_rtmp.py", **metadata}]
        self.connection.send(18, b"".join(map(amf, values)))
        for track in self.tracks:
            self.connection.send(9 if track.kind == VIDEO else 8, track.start())

    def _messages(self):
        """(seconds, type, body), in order."""
        queue = heapq.merge(*(track.times(number) for number, track in enumerate(self.tracks)), key=lambda entry: entry[:2])
        for (at, kind), group in itertools.groupby(queue, key=lambda entry: (round(entry[0], 6), self.tracks[entry[1]].kind)):
            frames = [(self.tracks[number], sample) for _, number, sample in group]
            many = self.many_every and kind == VIDEO and int(at) % self.many_every == self.many_every - 1
            if many:
                track, sample = frames[0]
                yield at, 9, head(VIDEO, FRAMES, track.clip.fourcc, sample.key, many=True) + b"".join(
                    bytes([track.number]) + len(body := body_of(track.clip, sample)).to_bytes(3, "big") + body for track, sample in frames)
                continue
            nanoseconds = round(at * 1e9) % 1_000_000 if self.nano else None
            for track, sample in frames:
                yield at, 9 if kind == VIDEO else 8, track.frame(sample, nanoseconds)

    def _run(self):
        started = time.monotonic()
        try:
            for at, kind, body in self._messages():
                while (left := started + at - time.monotonic()) > 0 and not self._stop.is_set():
                    self._read(left)
                if self._stop.is_set():
                    break
                self.connection.send(kind, body, int(at * 1000 + 1e-6) if self.nano else round(at * 1000))
            if self._clean:
                self._goodbye()
        except (OSError, EOFError) as error:
            self.error = error
        finally:
            self.connection.close()

    def _goodbye(self):
        for track in self.tracks:
            if not track.legacy:
                self.connection.send(9 if track.kind == VIDEO else 8,
                                     head(track.kind, END, track.clip.fourcc, track=track.number if track.multitrack else None))
        self.connection.command("deleteStream", 4, None, 1)

    def stop(self, clean=True):
        self._clean = clean
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def alive(self):
        return self._thread.is_alive()
