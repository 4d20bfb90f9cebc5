"""Malformed RTMP, HTTP, HTTP/2 and TLS never stall other streams: a healthy one is watched frame by frame while a crowd (crowd.py) does its
worst to the same node. The node is the one with sanitizers when this tree has that build; then it is also the crowd's task to make
them speak.
"""

import concurrent.futures
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import harness
import players
import pytest
from hls_playlist import parse_date
from hls_recorder import RenditionRecorder
from test_tls import make_certificate, tls_config

SIZE = "320x180"
SECONDS, CROWD_S = 22, 9
LATE_MAX_S = 1.0  # beyond what was usual before; a stall of the node is as long as its cause
SANITIZED = harness.ROOT / "build-asan"


@pytest.fixture
def node(tmp_path, start_weir, monkeypatch):
    (tmp_path / "weir-0").mkdir()
    make_certificate(tmp_path / "weir-0", "server", ["localhost"])
    if (SANITIZED / "build.ninja").exists():
        subprocess.run(["ninja", "-C", SANITIZED, "--quiet", "weir"], check=True, stdout=subprocess.DEVNULL, timeout=600)
        monkeypatch.setattr(harness, "WEIR_BIN", SANITIZED / "weir")
    # The crowd has an address of its own and comes to that limit, too.
    http = {"connections_per_address": 20, **tls_config()["http"]}
    return start_weir({"http": http, "live": {"window_s": 2 * SECONDS}, "origin": {"grace_s": 0}})


def lateness(sample):
    """How late its newest part came, but for a constant: arrival against media time."""
    newest = sample.playlist.all_segments[-1]
    return sample.at - float(parse_date(newest.pdt)) - float(newest.length)


@pytest.mark.alone
def test_a_crowd_of_malformed_clients_disturbs_nobody(node, publish_clock, stream):
    publisher = publish_clock(node.push_url(stream), size=SIZE, kbps=300, noise=8, seconds=SECONDS)
    node.wait_segment(stream)
    recorder = RenditionRecorder(node.http, f"/{stream}/v0a0.m3u8").start()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        playing = pool.submit(players.check_with_ffmpeg, node.url(f"/{stream}/v0a0.m3u8"), SIZE, SECONDS + 40)
        harness.wait_for(lambda: len(recorder.recording.samples) > 20, 20, "some calm to compare with")
        calm = len(recorder.recording.samples)
        crowd = subprocess.run([sys.executable, Path(__file__).with_name("crowd.py"), node.http, node.https, node.rtmp, stream,
                                str(CROWD_S)],
                               capture_output=True, text=True, timeout=CROWD_S + 20)
        assert crowd.returncode == 0, crowd.stderr
        assert publisher.alive, f"it ended under the crowd:\n{publisher.log_text}"
        disturbed = len(recorder.recording.samples)
        crowd = json.loads(crowd.stdout)
        assert publisher.wait(SECONDS + 20) == 0, publisher.log_text
        seen = playing.result()
    samples = recorder.join(30).samples

    # They were there, and were dealt with.
    assert not crowd["minded"] and min(crowd["done"].values()) >= 3, crowd
    assert node.metric('weir_http_requests_total{code="4xx"}') > 50
    assert node.metric("weir_rtmp_protocol_errors_total") > 20
    harness.wait_for(lambda: node.metric("weir_http_connections") <= 2 and node.metric("weir_rtmp_connections") == 0, 20,
                     "their connections to be gone")
    assert node.metric("weir_relay_requests_held") == 0

    # And nobody else noticed.
    published = int(re.search(r"clocksource: frames=(\d+)", publisher.log_text)[1])
    assert (seen["first"], seen["frames"]) == (0, published), seen["log"]
    assert not (seen["missing"] or seen["duplicate"] or seen["reordered"] or seen["unreadable"]), seen["faults"]
    usual = statistics.median(map(lateness, samples[:calm]))
    late = [lateness(sample) - usual for sample in samples[calm:disturbed]]
    print(f"parts under the crowd: {len(late)}, late by up to {max(late):.3f} s, median {statistics.median(late):.3f} s; {crowd}")
    assert len(late) > 3 * CROWD_S and max(late) < LATE_MAX_S
