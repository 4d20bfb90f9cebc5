#!/usr/bin/env python3
"""Calls an SRT listener by libsrt and tells how that answers, which neither ffmpeg nor srt-live-transmit do by number.

    srt_call.py HOST:PORT STREAMID [PASSPHRASE]      prints 0 when it was let in, else the reason (srt_getrejectreason)

A process of its own, since libsrt's threads would stay with whoever called. Tests use call().
"""

import ctypes
import socket
import struct
import subprocess
import sys

SRTO_PASSPHRASE, SRTO_STREAMID = 26, 46  # enum SRT_SOCKOPT
BAD_REQUEST, UNAUTHORIZED, OVERLOAD, FORBIDDEN, BAD_MODE, CONFLICT = 1400, 1401, 1402, 1403, 1405, 1409
BAD_SECRET, UNSECURE = 10, 11


def call(address, stream_id, passphrase=None):
    command = [sys.executable, __file__, address, stream_id, *([passphrase] if passphrase else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def main(address, stream_id, passphrase=""):
    srt = ctypes.CDLL("libsrt-gnutls.so.1.5")
    srt.srt_startup()
    srt.srt_setloglevel(0)
    number = srt.srt_create_socket()
    srt.srt_setsockflag(number, SRTO_STREAMID, stream_id.encode(), len(stream_id.encode()))
    if passphrase:
        srt.srt_setsockflag(number, SRTO_PASSPHRASE, passphrase.encode(), len(passphrase))
    host, port = address.rsplit(":", 1)
    where = struct.pack("=H", socket.AF_INET) + struct.pack(">H", int(port)) + socket.inet_aton(host) + bytes(8)
    refused = srt.srt_connect(number, where, len(where))
    print(srt.srt_getrejectreason(number) if refused else 0)
    srt.srt_close(number)
    srt.srt_cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
