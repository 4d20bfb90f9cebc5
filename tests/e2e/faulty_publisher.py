"""Publishers whose clocks are wrong. ffmpeg encodes once, in real time; what comes of it is rewritten on the way, for each fault anew:
FLV's tags, pushed by an RTMP client of our own, and MPEG-TS's packets, pushed by srt-live-transmit.

    material = Material("flv", log_path)
    faulty = RtmpPublisher("127.0.0.1:1935", "live/show", FAULTS["jump_back"]())
    material.to(faulty)
    material.run()                       # until ffmpeg ends

A fault is a callable object: it takes a Tag and gives those that are sent in its place.
"""
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass, replace

AUDIO, VIDEO, DATA = 8, 9, 18
SECOND, HOUR = 1000, 3600_000
TS_PACKET = 188


@dataclass
class Tag:
    kind: int
    time_ms: int
    body: bytes

    @property
    def is_config(self):
        return self.kind != DATA and self.body[1] == 0

    @property
    def is_key(self):
        return self.kind == VIDEO and self.body[0] >> 4 == 1


class Material:
    """One ffmpeg, and whoever is given what it makes; `run` returns at its end, `start` does it on a thread."""

    def __init__(self, container, log_path, seconds=12, size="160x90", bframes=0, x264="scenecut=0"):
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-f", "lavfi", "-i",
                   f"testsrc2=size={size}:rate=25", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
                   "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", bframes,
                   "-x264-params", f"threads=1:rc-lookahead=0:sync-lookahead=0:{x264}", "-c:a", "aac", "-b:a", "64k", "-ac", "2",
                   "-t", seconds, "-flush_packets", "1", "-muxdelay", "0", "-f", container, "pipe:1"]
        self.container, self.receivers = container, []
        self._log = open(log_path, "wb")
        self._command = [str(word) for word in command]

    def to(self, receiver):
        self.receivers.append(receiver)
        return receiver

    def start(self):
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def _read(self):
        items = flv_tags(self.process.stdout) if self.container == "flv" else ts_packets(self.process.stdout)
        for item in items:
            for receiver in self.receivers:
                receiver.take(item)

    def wait(self, deadline_s):
        self.thread.join(deadline_s)
        assert not self.thread.is_alive(), f"still sending after {deadline_s} s"
        for receiver in self.receivers:
            receiver.close()

    def stop(self):
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()
        self._log.close()


def flv_tags(stream):
    stream.read(13)
    while len(head := stream.read(11)) == 11:
        size = int.from_bytes(head[1:4], "big")
        time_ms = int.from_bytes(head[7:8] + head[4:7], "big")
        body = stream.read(size)
        stream.read(4)
        if size:
            yield Tag(head[0], time_ms, body)


def ts_packets(stream):
    while len(packet := stream.read(TS_PACKET)) == TS_PACKET:
        yield packet


# --- faults of RTMP --------------------------------------------------------------------------------------------------


class Fault:
    """Nothing is wrong."""
    discontinuities = 0
    longest_gap_s = 0.06  # between two frames of a track

    def __init__(self):
        self.pictures, self.before_ms = 0, 0

    def __call__(self, tag):
        if tag.kind == DATA or tag.is_config:
            return [tag]
        if tag.kind == VIDEO:
            self.pictures += 1
        wrong = replace(tag, time_ms=self.time(tag))
        if tag.kind == VIDEO:
            self.before_ms = wrong.time_ms
        return [wrong]

    def time(self, tag):
        return tag.time_ms


class Equal(Fault):
    """Now and then a picture has its predecessor's time."""

    def time(self, tag):
        return self.before_ms if tag.kind == VIDEO and self.pictures % 40 == 0 else tag.time_ms


class Backward(Fault):
    """… or one of 300 ms before."""

    def time(self, tag):
        return self.before_ms - 300 if tag.kind == VIDEO and self.pictures % 50 == 0 else tag.time_ms


class Step(Fault):
    """All times are off by `step_ms` from `at_ms` on, and by twice as much four seconds later, if `again`."""
    at_ms, step_ms, again = 4 * SECOND, 0, False

    def time(self, tag):
        steps = (tag.time_ms >= self.at_ms) + (self.again and tag.time_ms >= self.at_ms + 4 * SECOND)
        return tag.time_ms + steps * self.step_ms


class StepBack(Step):
    step_ms, again = -600, True
    longest_gap_s = 0.35  # the sound of the pictures that it takes to believe it


class StepForward(Step):
    step_ms, again = 600, True
    longest_gap_s = 0.75


class JumpBack(Step):
    step_ms, discontinuities = -HOUR, 1


class JumpForward(Step):
    step_ms, discontinuities = HOUR, 1


class Wrap(Step):
    """32 bits of milliseconds are over after four seconds."""
    at_ms, step_ms = 0, (1 << 32) - 4 * SECOND


class SoundBase(Fault):
    """The sound's clock is an hour behind."""

    def time(self, tag):
        return tag.time_ms + (HOUR if tag.kind == VIDEO else 0)


class SoundMissing(Fault):
    """For two seconds."""
    longest_gap_s = 2.1

    def __call__(self, tag):
        away = tag.kind == AUDIO and 4 * SECOND <= tag.time_ms < 6 * SECOND
        return [] if away else super().__call__(tag)


class LateSound(Fault):
    """It begins after five seconds, and with its configuration."""
    discontinuities = 1

    def __init__(self):
        super().__init__()
        self.config = None

    def __call__(self, tag):
        if tag.kind != AUDIO:
            return super().__call__(tag)
        if tag.is_config:
            self.config = tag
            return []
        if tag.time_ms < 5 * SECOND:
            return []
        config, self.config = self.config, None
        return ([replace(config, time_ms=tag.time_ms)] if config else []) + super().__call__(tag)


class Offsets(Fault):
    """Pictures to be shown before they are decoded, or two hours later."""

    def __call__(self, tag):
        [tag] = super().__call__(tag)
        if tag.kind == VIDEO and not tag.is_config and self.pictures % 30 == 0:
            wrong = -40 if self.pictures % 60 else 2 * HOUR
            tag = replace(tag, body=tag.body[:2] + (wrong & 0xFFFFFF).to_bytes(3, "big") + tag.body[5:])
        return [tag]


FAULTS = {"equal": Equal, "backward": Backward, "step_back": StepBack, "step_forward": StepForward, "jump_back": JumpBack,
          "jump_forward": JumpForward, "wrap": Wrap, "sound_base": SoundBase, "sound_missing": SoundMissing, "late_sound": LateSound,
          "offsets": Offsets}


class Splice:
    """Two materials in one broadcast: the second takes over with its first key picture after `at_ms`, and its configuration."""

    def __init__(self, publisher, at_ms=6 * SECOND):
        self.publisher, self.at_ms = publisher, at_ms
        self.over, self.configs = False, {}
        self.first, self.second = SpliceEnd(self._first), SpliceEnd(self._second)

    def _first(self, tag):
        if not self.over:
            self.publisher.take(tag)

    def _second(self, tag):
        if tag.kind != DATA and tag.is_config:
            self.configs[tag.kind] = tag
        elif not self.over and tag.is_key and tag.time_ms >= self.at_ms:
            self.over = True
            for config in self.configs.values():
                self.publisher.take(replace(config, time_ms=tag.time_ms))
        if self.over:
            self.publisher.take(tag)


class SpliceEnd:
    def __init__(self, take):
        self.take = take

    def close(self):
        pass


# --- RTMP ------------------------------------------------------------------------------------------------------------


def amf(*values):
    return b"".join(amf_value(value) for value in values)


def amf_value(value):
    if value is None:
        return b"\5"
    if isinstance(value, str):
        return struct.pack(">BH", 2, len(value)) + value.encode()
    if isinstance(value, dict):
        items = (struct.pack(">H", len(key)) + key.encode() + amf_value(item) for key, item in value.items())
        return b"\3" + b"".join(items) + b"\0\0\x09"
    return struct.pack(">Bd", 0, value)


class RtmpPublisher:
    CHUNK = 65536

    def __init__(self, address, stream, fault=None):
        self.fault = fault or Fault()
        app, name = stream.split("/", 1)
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.socket.sendall(b"\3" + bytes(1536))
        self._receive(1 + 1536 + 1536)
        self.socket.sendall(bytes(1536))
        self._message(2, 1, 0, 0, struct.pack(">I", self.CHUNK))
        self._message(3, 20, 0, 0, amf("connect", 1, {"app": app, "type": "nonprivate", "tcUrl": f"rtmp://{address}/{app}"}))
        self._message(3, 20, 0, 0, amf("createStream", 2, None))
        self._message(4, 20, 1, 0, amf("publish", 3, None, name, "live"))
        threading.Thread(target=self._drain, daemon=True).start()
        self.lost = None

    def _receive(self, size):
        while size:
            got = self.socket.recv(size)
            assert got, "closed in the handshake"
            size -= len(got)

    def _drain(self):
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass

    def _message(self, csid, kind, stream_id, time_ms, body):
        time_ms &= 0xFFFFFFFF
        extended = struct.pack(">I", time_ms) if time_ms >= 0xFFFFFF else b""
        head = struct.pack(">B", csid) + min(time_ms, 0xFFFFFF).to_bytes(3, "big") + len(body).to_bytes(3, "big") + \
            bytes([kind]) + struct.pack("<I", stream_id) + extended
        rest = [bytes([0xC0 | csid]) + extended + body[at:at + self.CHUNK] for at in range(self.CHUNK, len(body), self.CHUNK)]
        self.socket.sendall(head + body[:self.CHUNK] + b"".join(rest))

    def take(self, tag):
        """What it is that ended the connection stands in `lost`; the others go on."""
        if self.lost:
            return
        try:
            for wrong in self.fault(tag):
                self._message(4, wrong.kind, 1, wrong.time_ms, wrong.body)
        except OSError as error:
            self.lost = error

    def close(self):
        if not self.lost:
            self._message(3, 20, 0, 0, amf("deleteStream", 4, None, 1))
        self.socket.close()


# --- MPEG-TS ---------------------------------------------------------------------------------------------------------


def ticks_of(stamp):
    """The five bytes of a PTS or DTS (ISO/IEC 13818-1 §2.4.3.6)."""
    return (stamp[0] >> 1 & 7) << 30 | stamp[1] << 22 | stamp[2] >> 1 << 15 | stamp[3] << 7 | stamp[4] >> 1


def shifted_stamp(stamp, by):
    ticks = (ticks_of(stamp) + by) % (1 << 33)
    return bytes([stamp[0] & 0xF1 | ticks >> 29 & 0x0E, ticks >> 22 & 0xFF, ticks >> 14 & 0xFE | 1, ticks >> 7 & 0xFF,
                  ticks << 1 & 0xFE | 1])


def stamps_of(packet):
    """Where PTS and DTS are in it."""
    at = 5 + packet[4] if packet[3] & 0x20 else 4
    if not (packet[1] & 0x40 and packet[3] & 0x10 and packet[at:at + 3] == b"\0\0\1" and packet[at + 3] >= 0xC0):
        return []
    return [at + 9 + 5 * i for i in range({2: 1, 3: 2}.get(packet[at + 7] >> 6, 0))]


def shifted_packet(packet, by):
    """PCR, PTS and DTS `by` ticks of 90 kHz later."""
    packet = bytearray(packet)
    if packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10:
        base = ((int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7) + by) % (1 << 33)
        packet[6:10] = (base >> 1).to_bytes(4, "big")
        packet[10] = packet[10] & 0x7F | (base & 1) << 7
    for at in stamps_of(packet):
        packet[at:at + 5] = shifted_stamp(packet[at:at + 5], by)
    return bytes(packet)


class SrtPublisher:
    """`shift(ticks)`: by how many ticks of 90 kHz the time of what ffmpeg stamped with so many is wrong."""

    def __init__(self, url, log_path, shift):
        self.shift, self.count, self.ticks, self.lost = shift, 0, 0, None
        self._log = open(log_path, "wb")
        self.process = subprocess.Popen(["srt-live-transmit", "-q", "-chunk:1316", "file://con", url], stdin=subprocess.PIPE,
                                        stdout=self._log, stderr=self._log)

    def take(self, packet):
        self.count += 1
        for at in stamps_of(packet):
            self.ticks = ticks_of(packet[at:at + 5])
        try:
            self.process.stdin.write(shifted_packet(packet, self.shift(self.ticks)))
            if self.count % 7 == 0:
                self.process.stdin.flush()
        except OSError as error:
            self.lost = error

    def close(self):
        """srt-live-transmit goes on at the end of its input."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.process.terminate()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self._log.close()
