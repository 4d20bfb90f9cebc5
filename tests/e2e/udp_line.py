"""A line for datagrams that loses some of them, in front of an address: what impair is for connections.

    with UdpLine("127.0.0.1:8890", loss=0.05, delay_ms=20) as line:
        caller.connect(line.address)

Each way has its own delay and its own losses, which the seed decides; or each so many-th of SRT's datagrams with data is lost on its way
there, and nothing else, so that what a loss does doesn't hang on chance. One caller at a time.
"""

import heapq
import random
import select
import socket
import threading
import time

DATAGRAM_BYTES = 2048
SRT_CONTROL = 0x80  # of a datagram's first byte


class UdpLine:
    def __init__(self, target, loss=0.0, delay_ms=0.0, seed=1, lose_nth=0):
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._loss, self._delay_s = loss, delay_ms / 1000
        self._random = random.Random(seed)
        self._lose_nth, self._data = lose_nth, 0
        self._front, self._back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._front.bind(("127.0.0.1", 0))
        self._back.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._front.getsockname()[1]
        self.passed = self.lost = 0
        self._caller = None
        self._queue = []  # (due, number, socket, datagram, towards the caller)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _loses(self, datagram, down):
        if not self._lose_nth:
            return self._random.random() < self._loss
        is_data = not down and not datagram[0] & SRT_CONTROL
        self._data += is_data
        return is_data and self._data % self._lose_nth == 0

    def _take(self, source):
        datagram, sender = source.recvfrom(DATAGRAM_BYTES)
        down = source is self._back
        if not down:
            self._caller = sender
        if self._loses(datagram, down):
            self.lost += 1
            return
        self.passed += 1
        heapq.heappush(self._queue, (time.monotonic() + self._delay_s, self.passed, datagram, down))

    def _pass_due(self):
        while self._queue and self._queue[0][0] <= time.monotonic():
            _, _, datagram, down = heapq.heappop(self._queue)
            if down:
                self._front.sendto(datagram, self._caller)
            else:
                self._back.sendto(datagram, self._target)

    def _run(self):
        while not self._over.is_set():
            wait = max(0, self._queue[0][0] - time.monotonic()) if self._queue else 0.1
            for source in select.select([self._front, self._back], [], [], wait)[0]:
                self._take(source)
            self._pass_due()

    def close(self):
        self._over.set()
        self._thread.join()
        self._front.close()
        self._back.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
