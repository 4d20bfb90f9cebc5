"""A continuous viewer: reads a live.mp4 as its bytes come, over HTTP/1.1, and takes it apart into an init and chunks.

It reads no faster than it is told, with a small receive buffer, so that it can be the slow viewer too. A chunk's times are
what its boxes say: `capture_s` is the UTC of its prft, `received_s` that of its last byte here.
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass

NTP_UNIX_S = 2208988800


@dataclass
class Chunk:
    track_id: int
    tfdt: int
    independent: bool
    capture_s: float
    received_s: float
    data: bytes

    @property
    def lag_s(self):
        return self.received_s - self.capture_s


def boxes(data):
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at:at + size]
        at += size


def find(data, *path):
    """The content of the first box at the end of `path`, within the boxes `data`."""
    for kind in path:
        data = next(box[8:] for found, box in boxes(data) if found == kind)
    return data


def make_chunk(prft, moof, data, received_s):
    traf = find(moof, b"moof", b"traf")
    tfdt = find(traf, b"tfdt")
    trun = find(traf, b"trun")
    flags = struct.unpack_from(">I", trun)[0]
    first = struct.unpack_from(">I", trun, 12)[0] if flags & 4 else None
    if first is None:  # per-sample flags, or those of tfhd
        tfhd_flags = struct.unpack_from(">I", find(traf, b"tfhd"))[0]
        first = struct.unpack(">I", find(traf, b"tfhd")[-4:])[0] if tfhd_flags & 0x20 else 0
        if flags & 0x400:
            skip = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 0x100) + 4 * bool(flags & 0x200)
            first = struct.unpack_from(">I", trun, skip)[0]
    ntp = struct.unpack_from(">Q", prft, 16)[0]
    return Chunk(struct.unpack_from(">I", find(traf, b"tfhd"), 4)[0], struct.unpack_from(">Q", tfdt, 4)[0],
                 not first & 0x10000, ntp / 2**32 - NTP_UNIX_S, received_s, data)


class Splitter:
    """Bytes in; an init, then chunks."""

    def __init__(self):
        self.init = b""
        self.chunks = []
        self._data = b""
        self._open = b""  # boxes of the init or chunk under way
        self._prft = self._moof = b""

    def feed(self, data):
        self._data += data
        while len(self._data) >= 8:
            size, kind = struct.unpack_from(">I4s", self._data)
            if len(self._data) < size:
                return
            box, self._data = self._data[:size], self._data[size:]
            self._take(kind, box)

    def _take(self, kind, box):
        self._open += box
        if kind == b"prft":
            self._prft = box
        elif kind == b"moof":
            self._moof = box
        elif kind == b"moov":
            assert not self.init and not self.chunks, "an init in mid-response"
            self.init, self._open = self._open, b""
        elif kind == b"mdat":
            self.take_chunk(make_chunk(self._prft, self._moof, self._open, time.time()))
            self._open = b""

    def take_chunk(self, chunk):
        self.chunks.append(chunk)


class LiveReader(Splitter):
    def __init__(self, address, path, bytes_per_s=None, receive_buffer=None):
        super().__init__()
        self.bytes_per_s = bytes_per_s
        self.ended = False  # orderly: by the last chunk of the body
        self.error = None
        host, port = address.rsplit(":", 1)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(30)
        self._socket.connect((host, int(port)))
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        self._raw = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._read()
        except Exception as error:  # told to whoever waits
            self.error = error

    def _receive(self):
        """As many bytes as may have come by now."""
        size = 65536
        if self.bytes_per_s:
            size = max(1, self.bytes_per_s // 50)
            time.sleep(1 / 50)
        data = self._socket.recv(size)
        if not data:
            raise EOFError("closed")
        self._raw += data

    def _read(self):
        while b"\r\n\r\n" not in self._raw:
            self._receive()
        head, self._raw = self._raw.split(b"\r\n\r\n", 1)
        self.head = head.decode()
        assert self.head.startswith("HTTP/1.1 200 "), self.head
        while True:
            while b"\r\n" not in self._raw:
                self._receive()
            size = int(self._raw.split(b"\r\n", 1)[0], 16)
            start = self._raw.index(b"\r\n") + 2
            while len(self._raw) < start + size + 2:
                self._receive()
            assert self._raw[start + size:start + size + 2] == b"\r\n", "bad framing"
            self.feed(self._raw[start:start + size])
            self._raw = self._raw[start + size + 2:]
            if size == 0:
                self.ended = True
                return

    def video(self, track_id=1):
        assert not self.error, self.error
        return [chunk for chunk in self.chunks if chunk.track_id == track_id]

    def close(self):
        self._socket.close()
