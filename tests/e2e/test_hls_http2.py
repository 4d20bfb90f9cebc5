"""The rules about single answers (docs/hls.md) once more, over HTTP/2 and TLS, by curl. The tests only read the verdicts on one round of
questions.
"""
import subprocess

import harness
import pytest
from conftest import finish_nodes
from hls_recorder import TIMEOUT_S, Prober
from hls_recording import PROBE, Answer
from hls_validator import judge
from publishers import Publisher
from test_tls import make_certificate, tls_config

STREAM = "live/over-http2"
LISTED = 9  # segments: more than the skip boundary
ASKED_ELSEWHERE = {53, 78, 79}  # questions that Prober.run doesn't ask: about the end of a stream, and of a wait
TIMES = "%{stderr}%{http_version} %{time_pretransfer} %{time_starttransfer} %{time_total}"


class CurlClient:
    """hls_recorder.Client's `get`. Times begin when the connection stands."""

    def __init__(self, node, certificate):
        self.node, self.certificate = node, certificate

    def get(self, path, headers=None, method="GET"):
        fields = [word for name, value in (headers or {}).items() for word in ("-H", f"{name}: {value}")]
        done = subprocess.run(["curl", "--silent", "--http2", "--cacert", self.certificate, "--include", "--write-out", TIMES, "--max-time",
                               str(TIMEOUT_S), "-X", method, *fields, self.node.tls_url(path)], capture_output=True, timeout=TIMEOUT_S + 5)
        assert done.returncode == 0, f"{path}: curl says {done.returncode}"
        version, *times = done.stderr.decode().split()
        assert version == "2"
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        names = dict(line.split(": ", 1) for line in lines)
        sent, first, last = map(float, times)
        return Answer(int(status.split()[1]), {k.lower(): v for k, v in names.items()}, body, sent, first, first, last)


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir")
    certificate = make_certificate(folder, "server", ["localhost", "127.0.0.1"])
    node = harness.Node(folder, tls_config()).start()
    publisher = Publisher(node.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log", gop_s=2, seconds=120)
    harness.wait_for(lambda: node.get(f"/{STREAM}/v0a0.m3u8").body.count(b"#EXTINF") >= LISTED, 40, f"{LISTED} segments")
    prober = Prober(node.http, STREAM, "v0a0")
    prober.client = CurlClient(node, certificate)
    report = judge({}, [], prober.run())
    print(report)
    yield report
    publisher.drop()
    finish_nodes([node])


@pytest.mark.parametrize("number", sorted({fn.number for fn in PROBE} - ASKED_ELSEWHERE))
def test_rule_over_http2(verdict, number):
    verdict.require(number)
