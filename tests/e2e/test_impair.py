"""The instrument that makes networks bad: each impairment is as it says, measured between two sockets."""

import hashlib
import os
import socket
import struct
import threading
import time

import harness
import pytest
from impair import Impair

DEADLINE_S = 10
SILENCE_S = 0.15  # that nothing comes is believed after this
SLACK_S = 0.1  # what a busy machine may add to a time


@pytest.fixture
def ends():
    """ends() gives the two ends of a new connection through a proxy, and the proxy: client, server, line."""
    opened = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE_S)
    line = Impair(f"127.0.0.1:{listener.getsockname()[1]}")

    def connect():
        client = dial(line)
        server, _ = listener.accept()
        server.settimeout(DEADLINE_S)
        opened.extend([client, server])
        return client, server, line

    yield connect
    for end in [listener, *opened]:
        end.close()
    line.close()


def dial(line, timeout_s=DEADLINE_S):
    host, port = line.address.split(":")
    return socket.create_connection((host, int(port)), timeout_s)


def receive(end, size):
    data = b""
    while len(data) < size:
        more = end.recv(min(1 << 20, size - len(data)))
        assert more, "it ended early"
        data += more
    return data


def pass_on(source, sink, data=b"x"):
    """Seconds that `data` takes from one end to the other."""
    started = time.monotonic()
    source.sendall(data)
    assert receive(sink, len(data)) == data
    return time.monotonic() - started


def is_silent(end):
    end.settimeout(SILENCE_S)
    try:
        end.recv(1, socket.MSG_PEEK)
        return False
    except TimeoutError:
        return True
    finally:
        end.settimeout(DEADLINE_S)


def is_reset(end):
    try:
        end.recv(1)
        return False
    except ConnectionResetError:
        return True


def test_without_impairment_all_passes_both_ways_fast(ends):
    client, server, line = ends()
    data = os.urandom(16 << 20)
    for source, sink in [(client, server), (server, client)]:
        got = hashlib.sha256()
        sender = threading.Thread(target=lambda: (source.sendall(data), source.shutdown(socket.SHUT_WR)))
        started = time.monotonic()
        sender.start()
        while piece := sink.recv(1 << 20):
            got.update(piece)
        took_s = time.monotonic() - started
        sender.join()
        print(f"{len(data) * 8 / took_s / 1e6:.0f} Mb/s")
        assert got.digest() == hashlib.sha256(data).digest()
        assert len(data) * 8 / took_s > 300e6
    harness.wait_for(lambda: line.stats()["connections"] == 0, DEADLINE_S, "the connection to be over")
    assert line.stats()["up"]["bytes"] == line.stats()["down"]["bytes"] == len(data)


def test_delay_is_each_ways_own_and_can_be_changed(ends):
    client, server, line = ends()
    line.up(delay_ms=220)
    line.down(delay_ms=110)
    assert 0.220 <= pass_on(client, server) < 0.220 + SLACK_S
    assert 0.110 <= pass_on(server, client) < 0.110 + SLACK_S
    line.up(delay_ms=0)
    assert pass_on(client, server) < SLACK_S


def test_delay_costs_no_throughput(ends):
    """Three tenths of a second of 100 Mb/s are under way at a time."""
    client, server, line = ends()
    line.up(delay_ms=300)
    data = os.urandom(4 << 20)
    sender = threading.Thread(target=client.sendall, args=(data,))
    started = time.monotonic()
    sender.start()
    assert receive(server, len(data)) == data
    assert time.monotonic() - started < 0.300 + 0.300
    sender.join()


def test_jitter_spreads_and_keeps_order(ends):
    client, server, line = ends()
    line.up(delay_ms=10, jitter_ms=30)
    took = [pass_on(client, server) for _ in range(20)]
    assert min(took) >= 0.010 and max(took) < 0.040 + SLACK_S
    assert max(took) - min(took) > 0.010
    numbers = struct.pack(">500H", *range(500))
    for at in range(0, len(numbers), 2):
        client.send(numbers[at:at + 2])
    assert receive(server, len(numbers)) == numbers


def test_rate_is_of_all_connections_together(ends):
    first, second = ends(), ends()
    first[2].up(rate_kbps=8000)
    data = bytes(200_000)
    started = time.monotonic()
    senders = [threading.Thread(target=client.sendall, args=(data,)) for client, _, _ in (first, second)]
    for sender in senders:
        sender.start()
    for _, server, _ in (first, second):
        receive(server, len(data))
    took_s = time.monotonic() - started
    for sender in senders:
        sender.join()
    assert 0.38 < took_s < 0.40 + SLACK_S  # 3.2 Mbit
    assert pass_on(first[1], first[0], data) < 0.1, "the other way is as it was"


def test_a_slow_line_holds_its_sender_up(ends):
    """What waits in front of it is bounded: a twentieth of a second, and the buffers of two sockets."""
    client, _, line = ends()
    line.up(rate_kbps=1000)
    client.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(64 << 20))
    assert line.stats()["up"]["queued"] < 50_000


def test_loss_is_a_pause_of_a_segment_and_of_those_behind_it(ends):
    client, server, line = ends()
    line.up(loss=0.1, loss_ms=150)
    took = [pass_on(client, server) for _ in range(40)]
    lost = line.stats()["up"]["lost"]
    assert 1 <= lost <= 10
    assert sum(time_s >= 0.150 for time_s in took) == lost
    line.up(loss=1)
    started = time.monotonic()
    client.sendall(b"lost")
    harness.wait_for(lambda: line.stats()["up"]["queued"], DEADLINE_S, every_s=0.001)
    line.up(loss=0)
    client.sendall(b"behind")
    assert receive(server, 10) == b"lostbehind"
    assert 0.150 <= time.monotonic() - started < 0.150 + SLACK_S


def test_stall_holds_all_back_and_lets_it_go(ends):
    client, server, line = ends()
    line.stall()
    client.sendall(b"up")
    server.sendall(b"down")
    assert is_silent(server) and is_silent(client)
    other, other_server, _ = ends()
    other.sendall(b"other")
    assert is_silent(other_server)
    line.go_on()
    assert (receive(server, 2), receive(client, 4), receive(other_server, 5)) == (b"up", b"down", b"other")


def test_stall_can_be_of_one_way(ends):
    client, server, line = ends()
    line.down(stall=1)
    assert pass_on(client, server) < SLACK_S
    server.sendall(b"x")
    assert is_silent(client)


def test_partition_is_silence_also_for_who_connects(ends):
    client, server, line = ends()
    line.partition()
    client.sendall(b"x")
    assert is_silent(server)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            dial(line, SILENCE_S)
    server.shutdown(socket.SHUT_WR)  # not even that is heard
    assert is_silent(client)
    line.heal()
    assert (server.recv(1), client.recv(1)) == (b"x", b"")
    client, server, _ = ends()
    assert pass_on(client, server) < SLACK_S
    assert line.stats()["accepted"] == 2


def test_reset_meets_both_ends_of_all(ends):
    connections = [ends() for _ in range(3)]
    connections[0][2].both(delay_ms=1000)
    connections[0][2].reset()
    assert all(is_reset(end) for connection in connections for end in connection[:2])
    assert connections[0][2].stats()["connections"] == 0


def test_refusal_leaves_connections_and_ends_on_the_same_port(ends):
    client, server, line = ends()
    line.refuse()
    with pytest.raises(ConnectionRefusedError):
        dial(line)
    assert pass_on(client, server) < SLACK_S
    line.admit()
    client, server, _ = ends()
    assert pass_on(server, client) < SLACK_S


def test_an_end_that_resets_is_passed_on_as_late_as_data(ends):
    client, server, line = ends()
    line.up(delay_ms=100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    started = time.monotonic()
    client.close()
    assert is_reset(server)
    assert time.monotonic() - started >= 0.1


def test_a_target_that_refuses_shows_as_a_reset():
    with Impair(f"127.0.0.1:{harness.free_port()}") as line, pytest.raises(ConnectionResetError):
        dial(line).recv(1)


def test_nonsense_is_refused(ends):
    _, _, line = ends()
    for settings in [{"dely_ms": 1}, {"delay_ms": "soon"}, {"delay_ms": -1}]:
        with pytest.raises(AssertionError, match="error"):
            line.up(**settings)
    assert pass_on(*ends()[:2]) < SLACK_S
