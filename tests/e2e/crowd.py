"""A crowd of clients that are broken or mean no good, against one node: `crowd.py HTTP HTTPS RTMP STREAM SECONDS`, a process of its own.

CLIENTS threads take one misdeed after the other, from the address SOURCE, until the time is over. Every misdeed is one connection
(or a bounded few), never waits longer than PATIENCE_S for an answer, and says what it minds about that: a smuggled request that
was answered, a broken frame that was not refused. Those of HTTP come in clear text and over TLS. At the end one line of JSON: {"done": {misdeed: times}, "minded": [text, …]}.
"""

import itertools
import json
import os
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time

CLIENTS = 32
SOURCE = "127.0.0.2"
PATIENCE_S = 1.0
MISDEEDS_MAX = 20000


def tls_context(protocol):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Of HTTP/2 (RFC 9113 §4.1)."""
    return (len(payload) if length is None else length).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def field(name, value):
    """A header field for HPACK, as literals without an index."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def fields(path, *more):
    return b"\x82\x87" + field(b":path", path) + field(b":authority", b"x") + b"".join(field(*pair) for pair in more)


class Crowd:
    def __init__(self, http, https, rtmp, stream):
        self.http, self.https, self.rtmp, self.stream = http, https, rtmp, stream
        self.contexts = {protocol: tls_context(protocol) for protocol in ("http/1.1", "h2")}

    def dial(self, address):
        host, port = address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), PATIENCE_S, (SOURCE, 0))

    def dial_http(self, protocol="http/1.1"):
        """In clear text, or over TLS."""
        if random.random() < 0.5:
            return self.dial(self.http)
        return self.contexts[protocol].wrap_socket(self.dial(self.https))

    # --- how a connection ends

    @staticmethod
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    @staticmethod
    def hear_out(connection):
        """What comes until it is closed, or nothing comes any more."""
        heard = b""
        try:
            while data := connection.recv(65536):
                heard += data
        except OSError:
            pass
        connection.close()
        return heard

    # --- HTTP

    def say_http(self, data):
        connection = self.dial_http()
        connection.sendall(data)
        return self.hear_out(connection)

    def get(self, path):
        return f"GET /{self.stream}/{path} HTTP/1.1\r\nHost: x\r\n".encode()

    def http_garbage(self):
        self.say_http(os.urandom(random.randrange(1, 30000)))

    def http_tls_hello(self):
        self.say_http(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500))

    def http_half_a_head(self):
        connection = self.dial_http()
        connection.sendall(self.get("index.m3u8")[:random.randrange(1, 40)])
        if random.random() < 0.5:
            self.reset(connection)
        else:
            connection.close()

    def http_half_open(self):
        """Its end is never heard of; ours is, after a while."""
        connection = self.dial_http()
        if random.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
        self.hear_out(connection)

    def http_slow_head(self):
        connection = self.dial_http()
        for byte in self.get("index.m3u8")[:30]:
            connection.sendall(bytes([byte]))
            time.sleep(PATIENCE_S / 20)
        self.reset(connection)

    def http_endless_head(self):
        self.say_http(self.get("index.m3u8") + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(20000)))

    def http_endless_line(self):
        self.say_http(b"GET /" + b"a" * 100000)

    def http_huge_chunk(self):
        size = random.choice([b"ffffffffffffffff", b"7fffffffffffffff", b"10000000000000001", b"-1", b"0x10", b"fffff"])
        self.say_http(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + bytes(100000))

    def http_huge_length(self):
        length = random.choice([b"99999999999999999999", b"18446744073709551615", b"-5", b"1e9", b"4294967296"])
        self.say_http(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n" + bytes(100000))

    def http_smuggling(self):
        """A second request in what is a body for one reading of the first. It must not be answered."""
        first = random.choice([
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", b"Content-Length: +0\r\n\r\n", b"Content-Length: 0,0\n\r\n\r\n",
            b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0;a=\n\r\n\r\n"])
        heard = self.say_http(b"POST /first HTTP/1.1\r\nHost: x\r\n" + first + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        statuses = [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]]
        if statuses not in ([], [b"400"], [b"501"], [b"503"]):  # 503: too many of us; none: we were too impatient
            return f"{first!r} was answered {statuses}"

    def http_reset_in_the_answer(self):
        connection = self.dial_http()
        connection.sendall((self.get("v0a0.m3u8") + b"\r\n") * 20 + self.get("") + b"\r\n")
        connection.recv(100)
        self.reset(connection)

    def http_never_reads(self):
        connection = self.dial_http()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            connection.sendall((self.get("v0a0.m3u8") + b"\r\n") * 3000)
            time.sleep(PATIENCE_S)
        finally:
            self.reset(connection)

    def http_held_and_gone(self):
        hint = re.search(rb'PRELOAD-HINT:.*URI="([^"]+)"', self.say_http(self.get("v0a0.m3u8") + b"Connection: close\r\n\r\n"))
        connections = [self.dial_http() for _ in range(5 if hint else 0)]
        for connection in connections:
            connection.sendall((self.get(hint[1].decode()) + b"\r\n") * 3)
        for connection in connections:
            self.reset(connection)

    # --- TLS

    def hello(self):
        read, written = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self.contexts["h2"].wrap_bio(read, written).do_handshake()
        except ssl.SSLWantReadError:
            return written.read()

    def say_https(self, data, end):
        connection = self.dial(self.https)
        connection.sendall(data)
        end(connection)

    def tls_half_a_hello(self):
        self.say_https(self.hello()[:random.randrange(1, 200)], random.choice([self.reset, self.hear_out, socket.socket.close]))

    def tls_slow_hello(self):
        connection = self.dial(self.https)
        for byte in self.hello()[:20]:
            connection.sendall(bytes([byte]))
            time.sleep(PATIENCE_S / 20)
        self.reset(connection)

    def tls_garbage(self):
        hello = random.choice([b"", self.hello()])
        self.say_https(hello + os.urandom(random.randrange(1, 30000)), self.hear_out)

    def tls_many_hellos(self):
        self.say_https(self.hello() * 50, self.hear_out)

    def tls_broken_hello(self):
        hello = bytearray(self.hello())
        for _ in range(5):
            hello[random.randrange(5, len(hello))] = random.randrange(256)
        self.say_https(bytes(hello), self.hear_out)

    def tls_broken_record(self):
        """After a handshake that was good."""
        connection = self.contexts["http/1.1"].wrap_socket(self.dial(self.https))
        connection.sendall(self.get("index.m3u8") + b"\r\n")
        os.write(connection.fileno(), random.choice([b"\x17\x03\x03\x00\x40", b"\x15\x03\x03\x00\x02"]) + os.urandom(64))
        self.hear_out(connection)

    # --- HTTP/2

    def say_h2(self, data, settings=b"", end=None):
        """And what comes back, as kinds of frames; None for the end of the connection."""
        connection = self.dial_http("h2")
        try:
            connection.sendall(PREFACE + frame(SETTINGS, payload=settings) + data)
        except OSError:
            pass  # it was enough already
        if end:
            return end(connection)
        heard, kinds = b"", []
        try:
            while data := connection.recv(65536):
                heard += data
            kinds = [None]
        except TimeoutError:
            pass
        except OSError:
            kinds = [None]
        connection.close()
        while len(heard) >= 9:
            kinds.append(heard[3])
            heard = heard[9 + int.from_bytes(heard[:3], "big"):]
        return kinds

    def request(self, stream, path="v0a0.m3u8", flags=END_STREAM | END_HEADERS):
        return frame(HEADERS, flags, stream, fields(f"/{self.stream}/{path}".encode()))

    def h2_rapid_reset(self):
        path = random.choice(["v0a0.m3u8", "", "v0a0.m3u8?_HLS_msn=1&_HLS_part=0"])
        self.say_h2(b"".join(self.request(i, path) + frame(RST_STREAM, 0, i, struct.pack(">I", 8)) for i in range(1, 2001, 2)))

    def h2_flood(self):
        flood = random.choice([frame(PING, payload=bytes(8)), frame(SETTINGS, payload=bytes([0, 3, 0, 0, 0, 9])), frame(SETTINGS),
                               frame(PRIORITY, 0, 3, bytes(5)), frame(WINDOW_UPDATE, 0, 0, bytes([0, 0, 0, 1])), frame(0x10, payload=bytes(4) + b"u=1"),
                               frame(0x77, payload=bytes(100))])
        self.say_h2(flood * 5000)

    def h2_endless_head(self):
        more = frame(CONTINUATION, 0, 1, field(b"x", b"y" * 100) * 100)
        kinds = self.say_h2(self.request(1, flags=END_STREAM) + more * 300)
        if not {None, GOAWAY} & set(kinds):
            return f"an endless head was not refused: {kinds}"

    def h2_bad_frame(self):
        bad = random.choice([
            frame(DATA, 0, 0, b"x"), frame(DATA, 0, 1, b"x"), frame(HEADERS, 5, 2, fields(b"/")), frame(HEADERS, 5, 0, fields(b"/")),
            frame(HEADERS, 5, 1, b"\xff" * 50), frame(RST_STREAM, 0, 1, bytes(4)), frame(RST_STREAM, 0, 0, bytes(4)), frame(SETTINGS, payload=bytes(5)),
            frame(SETTINGS, payload=bytes([0, 4, 0x80, 0, 0, 0])), frame(SETTINGS, payload=bytes([0, 5, 0, 0, 0, 1])), frame(PING, payload=bytes(7)),
            frame(WINDOW_UPDATE, 0, 0, bytes(4)), frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, frame(CONTINUATION, 4, 1, b""),
            frame(PUSH_PROMISE, 4, 1, bytes(4) + fields(b"/")), frame(DATA, 0, 0, length=0xffffff)])
        kinds = self.say_h2(bad)
        if not {None, GOAWAY} & set(kinds):
            return f"{bad[:40]!r} was not refused: {kinds}"

    def h2_bad_fields(self):
        """What would be smuggled into HTTP/1.1, and what says a thing twice."""
        more = random.choice([(b"transfer-encoding", b"chunked"), (b"connection", b"close"), (b"X-Upper", b"1"), (b"x", b"a\r\nb: c"), (b"x", b"a\x00"),
                              (b":path", b"/again"), (b":status", b"200"), (b"content-length", b"7"), (b"te", b"gzip")])
        kinds = self.say_h2(frame(HEADERS, END_STREAM | END_HEADERS, 1, fields(b"/healthz", more)))
        if HEADERS in kinds and RST_STREAM not in kinds and GOAWAY not in kinds:
            return f"{more} was answered: {kinds}"

    def h2_closed_window(self):
        closed = bytes([0, 4, 0, 0, 0, 0])
        requests = b"".join(self.request(i, "") for i in range(1, 101, 2))

        def wait_and_reset(connection):
            time.sleep(PATIENCE_S)
            self.reset(connection)

        self.say_h2(requests + frame(WINDOW_UPDATE, 0, 1, bytes([0, 0, 0, 1])) * 100, closed, wait_and_reset)

    def h2_held_and_gone(self):
        held = b"".join(self.request(i, f"v0a0/live.mp4?{i}") for i in range(1, 21, 2))
        gone = b"".join(frame(RST_STREAM, 0, i, bytes(4)) for i in range(1, 21, 4))
        self.say_h2(held + gone, end=random.choice([self.reset, self.hear_out]))

    def h2_half_a_frame(self):
        data = self.request(1)
        self.say_h2(data[:random.randrange(1, len(data))], end=random.choice([self.reset, self.hear_out, socket.socket.close]))

    def h2_garbage(self):
        self.say_h2(os.urandom(20000))

    # --- RTMP

    def say_rtmp(self, data, end=None):
        connection = self.dial(self.rtmp)
        try:
            connection.sendall(data)
        except OSError:
            pass  # it was enough already
        (end or self.hear_out)(connection)

    HANDSHAKE = b"\x03" + bytes(8) + bytes(range(256)) * 5 + bytes(248) + bytes(1536)  # C0, C1, and a C2

    @staticmethod
    def chunk(kind, payload, length=None, number=3, message_stream=0):
        head = bytes([number]) + bytes(3) + (len(payload) if length is None else length).to_bytes(3, "big") + bytes([kind])
        pieces = [payload[i:i + 128] for i in range(0, len(payload), 128)] or [b""]
        return head + struct.pack("<I", message_stream) + bytes([0xc0 | number]).join(pieces)

    @staticmethod
    def string(text):
        return b"\x02" + struct.pack(">H", len(text)) + text.encode()

    @staticmethod
    def number(value):
        return b"\x00" + struct.pack(">d", value)

    def connect(self):
        app = b"\x03\x00\x03app" + self.string(self.stream.split("/")[0]) + b"\x00\x00\x09"
        return self.chunk(20, self.string("connect") + self.number(1) + app)

    def publish(self, name):
        return (self.connect() + self.chunk(20, self.string("createStream") + self.number(2) + b"\x05")
                + self.chunk(20, self.string("publish") + self.number(3) + b"\x05" + self.string(name) + self.string("live"),
                             message_stream=1))

    def rtmp_half_a_handshake(self):
        self.say_rtmp(self.HANDSHAKE[:random.randrange(1, 3072)], random.choice([None, self.reset]))

    def rtmp_garbage(self):
        self.say_rtmp(random.choice([b"", b"\x03", self.HANDSHAKE]) + os.urandom(20000))

    def rtmp_silence(self):
        self.say_rtmp(random.choice([b"", self.HANDSHAKE, self.HANDSHAKE + self.connect()]))

    def rtmp_slow_handshake(self):
        connection = self.dial(self.rtmp)
        for byte in self.HANDSHAKE[:20]:
            connection.sendall(bytes([byte]))
            time.sleep(PATIENCE_S / 20)
        self.reset(connection)

    def rtmp_huge_message(self):
        self.say_rtmp(self.HANDSHAKE + self.chunk(9, bytes(100000), length=0xffffff))

    def rtmp_huge_chunk_size(self):
        sizes = [0, 0x7fffffff, 0xffffffff, 1]
        self.say_rtmp(self.HANDSHAKE + b"".join(self.chunk(1, struct.pack(">I", size), number=2) for size in sizes)
                      + self.chunk(20, bytes(50000), length=0xffffff))

    def rtmp_many_chunk_streams(self):
        begun = (b"\x01" + struct.pack("<H", i) + bytes(3) + b"\x00\xff\xff\x14" + bytes(4) + bytes(128) for i in range(2000))
        self.say_rtmp(self.HANDSHAKE + b"".join(begun))

    def rtmp_deep_amf(self):
        self.say_rtmp(self.HANDSHAKE + self.chunk(20, self.string("connect") + self.number(1) + b"\x03\x00\x01a" * 10000))

    def rtmp_name_in_use(self):
        self.say_rtmp(self.HANDSHAKE + self.publish(self.stream.split("/")[1]))

    def rtmp_broken_media(self):
        name = f"broken{random.randrange(50)}"
        tags = b"".join(self.chunk(kind, bytes([first, random.choice([0, 1])]) + os.urandom(random.randrange(0, 400)), message_stream=1)
                        for kind, first in [(9, 0x17), (8, 0xaf), (9, 0x27), (18, 0x02)] * 10)
        self.say_rtmp(self.HANDSHAKE + self.publish(name) + tags, random.choice([None, self.reset]))


def run(crowd, seconds):
    misdeeds = [getattr(crowd, name) for name in dir(crowd) if name.startswith(("http_", "tls_", "h2_", "rtmp_"))]
    done, minded, lock = {misdeed.__name__: 0 for misdeed in misdeeds}, [], threading.Lock()
    turns = itertools.count()
    end = time.monotonic() + seconds

    def client():
        while time.monotonic() < end and (turn := next(turns)) < MISDEEDS_MAX:
            misdeed = misdeeds[turn % len(misdeeds)]
            try:
                text = misdeed()
            except OSError:
                text = None  # refused, closed, reset: what they deserve
            with lock:
                done[misdeed.__name__] += 1
                if text and len(minded) < 20:
                    minded.append(text)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"done": done, "minded": minded}


if __name__ == "__main__":
    os.nice(10)  # what is looked for is what they do to the node, not what they take of a small machine
    print(json.dumps(run(Crowd(*sys.argv[1:5]), float(sys.argv[5]))))
