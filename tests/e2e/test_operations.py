"""What operators see: the command line, starting and stopping, health, metrics, the list of streams; and HTTP's refusals."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import harness


def run_weir(*arguments):
    return subprocess.run([harness.WEIR_BIN, *arguments], capture_output=True, text=True, timeout=20)


def check(tmp_path, text):
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    return run_weir("-t", "-c", path), path


# --- command line


def test_version_and_help():
    version = run_weir("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "weir")
    assert len(version.stdout.split()[1].split(".")) == 3
    usage = run_weir("--help")
    assert usage.returncode == 0 and usage.stdout.startswith("usage: weir") and not usage.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["unexpected"], ["-c"]])
def test_a_wrong_command_line_prints_the_usage(arguments):
    done = run_weir(*arguments)
    assert done.returncode == 2
    assert "usage: weir" in done.stderr and not done.stdout


def test_a_good_configuration_passes_the_check(tmp_path):
    done, _ = check(tmp_path, json.dumps(harness.ALL_ROLES))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("text, line, words", [
    ("live:\n  part_ms: 99999\n", 2, ["live.part_ms", "99999", "from 50 to 2000"]),
    ("live:\n  sgment_ms: 2000\n", 2, ["sgment_ms", "segment_ms"]),
    ("relay: {}\n\nnonsense: 1\n", 3, ["nonsense"]),
    ("log: {level: loud}\n", 1, ["log.level", "debug, info, warn, error"]),
    ('admin: {listen: "nowhere"}\n', 1, ["admin.listen", "127.0.0.1:8081"]),
    ("http: {listen: [oops\n", 2, ["YAML"]),
])
def test_a_bad_configuration_is_told_by_line(tmp_path, text, line, words):
    done, path = check(tmp_path, text)
    assert done.returncode == 1
    told = [told for told in done.stderr.splitlines() if told.startswith(f"{path}:{line}: ")]
    assert told, done.stderr
    for word in words:
        assert word in told[0]


def test_a_missing_configuration_is_told():
    done = run_weir("-t", "-c", "/nonexistent/weir.yaml")
    assert done.returncode == 1
    assert "/nonexistent/weir.yaml" in done.stderr and "No such file" in done.stderr


@pytest.mark.parametrize("kind, taken", [("admin", lambda node: {"admin": {"listen": node.admin}}),
                                         ("http", lambda node: {"http": {"listen": [node.http]}})])
def test_an_address_in_use_ends_the_start(tmp_path, weir, kind, taken):
    path = tmp_path / "weir.yaml"
    path.write_text(json.dumps(harness.merge(harness.ALL_ROLES, taken(weir))))
    done = run_weir("-c", path)
    assert done.returncode == 1
    failed = next(line for line in map(harness.parse_logfmt, done.stderr.splitlines()) if line["event"] == "listen_failed")
    assert failed["kind"] == kind and "in use" in failed["error"]


# --- starting and stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_quickly_with_publishers_and_viewers(weir, publish, stream, number):
    publish(weir.push_url(stream))
    weir.wait_segment(stream)
    held = socket.create_connection(weir.http.split(":"))  # a blocking reload, far ahead
    held.sendall(f"GET /{stream}/v0a0.m3u8?_HLS_msn={weir.streams()[stream]['msn'] + 2} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    harness.wait_for(lambda: weir.metric("weir_relay_requests_held"), 5, "the request to be held")
    weir.process.send_signal(number)
    assert weir.process.wait(harness.STOP_DEADLINE_S) == 0
    weir.log.join()
    assert weir.log.find("stopping") and weir.log.find("stopped")
    held.close()


def test_stopping_takes_less_than_two_seconds(weir):
    assert weir.stop() < 2


def test_systemd_is_told_of_start_watchdog_and_stop(tmp_path, start_weir):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = str(tmp_path / "notify")
        notify.bind(path)
        notify.settimeout(10)
        weir = start_weir(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
        messages = [notify.recv(4096).decode() for _ in range(4)]
        assert "READY=1" in messages[0]
        assert [message for message in messages if "WATCHDOG=1" in message]
        weir.stop()
        while "STOPPING=1" not in messages[-1]:
            messages.append(notify.recv(4096).decode())


def test_only_the_roles_that_are_named_run(start_weir):
    weir = start_weir({"ingest": None, "http": None, "relay": None})
    assert {line["kind"] for line in weir.log.find("listen")} == {"admin"}
    assert weir.admin_get("/readyz").status == 200


# --- installing


def install_sample(folder, tools=None):
    """Runs conf/install-sample; `tools` are commands that stand in for the system's, by name."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, script in (tools or {}).items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    source = Path(__file__).resolve().parents[2]
    env = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "MESON_SOURCE_ROOT": str(source),
        "MESON_INSTALL_DESTDIR_PREFIX": str(folder / "usr"),
        "DESTDIR": str(folder),
    }
    done = subprocess.run([source / "conf/install-sample", "/etc/weir"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return folder / "etc/weir/weir.yaml"


def mode(path):
    return path.stat().st_mode & 0o777


def test_installed_configuration_is_for_its_owner_without_the_group(tmp_path):
    path = install_sample(tmp_path, {"getent": "exit 2"})
    assert mode(path) == 0o600
    assert run_weir("-t", "-c", path).returncode == 0


def test_installed_configuration_is_for_the_group_of_the_service(tmp_path):
    tools = {"id": "echo 0", "getent": '[ "$*" = "group weir" ]', "chgrp": f'echo "$@" >{tmp_path}/chgrp'}
    path = install_sample(tmp_path, tools)
    assert mode(path) == 0o640
    assert (tmp_path / "chgrp").read_text().split() == ["weir", str(path)]


def test_installing_again_leaves_the_configuration_alone(tmp_path):
    path = install_sample(tmp_path)
    path.write_text("origin: {}\n")
    path.chmod(0o604)
    install_sample(tmp_path, {"id": "echo 0", "getent": "exit 0", "chgrp": "exit 1"})
    assert path.read_text() == "origin: {}\n" and mode(path) == 0o604


# --- the operator's listener


def test_health_and_readiness(weir):
    assert weir.admin_get("/healthz").status == 200
    assert weir.admin_get("/readyz").status == 200


def test_metrics_are_prometheus_text(weir, publish, stream):
    publish(weir.push_url(stream))
    weir.wait_segment(stream)
    answer = weir.admin_get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr.decode()
    assert weir.metric('weir_streams{state="live"}') == 1
    assert weir.metric("weir_ingest_publishers") == 1
    assert weir.metric('weir_ingest_frames_total{kind="video"}') > 30
    assert 0 < weir.metric(f'weir_stream_bytes{{stream="{stream}"}}') <= weir.metric("weir_store_bytes")  # asked in this order: it grows


def test_every_metric_is_described(weir):
    lines = weir.admin_get("/metrics").text.splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# HELP")}
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    sampled = {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")}
    assert sampled <= described == typed


def test_the_api_tells_of_streams(weir, publish, stream):
    assert weir.streams() == {}
    publish(weir.push_url(stream), fps="25", size="320x180")
    weir.wait_segment(stream)
    told = weir.streams()[stream]
    assert told["state"] == "live"
    assert told["bytes"] > 0 and told["epoch"] > 0 and told["msn"] > 0 and told["part"] > 0
    assert told["publisher"]["peer"].startswith("127.0.0.1:")
    video, audio = told["tracks"]
    assert (video["name"], video["kind"], video["width"], video["height"]) == ("v0", "video", 320, 180)
    assert video["frame_rate"] == pytest.approx(25, abs=0.01)
    assert video["codecs"].startswith("avc1.")
    assert (audio["name"], audio["codecs"], audio["sample_rate"], audio["channels"]) == ("a0", "mp4a.40.2", 48000, 2)


def test_the_list_of_streams_is_on_the_operators_listener_only(weir, publish, stream):
    publish(weir.push_url(stream))
    weir.wait_live(stream)
    assert stream in weir.admin_get("/").text
    for path in ("/", "/metrics", "/healthz", "/readyz", "/api/v1/streams"):
        assert weir.get(path).status == 404


# --- HTTP's refusals


def raw_exchange(address, request):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before everything was sent
        return connection.recv(65536).split(b"\r\n", 1)[0].decode()


@pytest.mark.parametrize("path", [
    "/live/nobody/index.m3u8", "/live/nobody/v0a0.m3u8", "/live/nobody/v0a0/1.m4s", "/live/nobody/v0a0/p1.m4s",
    "/live/nobody/v0a0/init-1.mp4", "/nothing", "/a/b/c/d/e/f",
])
def test_what_is_not_there_is_404_at_once(shared_weir, path):
    answer = shared_weir.get(path)
    assert answer.status == 404
    assert answer.elapsed_s < 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_405(shared_weir, method):
    for ask in (shared_weir.get, shared_weir.admin_get):
        answer = ask("/live/x/index.m3u8", method=method)
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"] and "HEAD" in answer.headers["Allow"]


def test_unknown_methods_are_501(shared_weir):
    assert shared_weir.get("/live/x/index.m3u8", method="BREW").status == 501


def test_a_path_out_of_the_root_is_400(shared_weir):
    assert shared_weir.get("/live/../etc/passwd").status == 400


def test_too_long_a_line_is_414(shared_weir):
    assert shared_weir.get("/live/x/" + "a" * 20000).status == 414


def test_too_large_a_head_is_431(shared_weir):
    assert shared_weir.get("/live/x/index.m3u8", headers={"X-Large": "a" * 20000}).status == 431
    many = {f"X-Field-{i}": "1" for i in range(500)}
    assert shared_weir.get("/live/x/index.m3u8", headers=many).status == 431


def test_too_large_a_body_is_413(shared_weir):
    request = b"GET /live/x/index.m3u8 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    assert raw_exchange(shared_weir.http, request).startswith("HTTP/1.1 413")


@pytest.mark.parametrize("request_text", [
    "GET\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
])
def test_what_is_not_http_is_400(shared_weir, request_text):
    assert raw_exchange(shared_weir.http, request_text.encode("latin-1")).startswith("HTTP/1.1 400")


def test_an_rtmp_client_on_the_http_port_and_the_other_way_round(shared_weir):
    raw_exchange(shared_weir.http, b"\x03" + os.urandom(1536))
    host, port = shared_weir.rtmp.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(2000))
        while connection.recv(65536):
            pass  # until it is closed
    assert shared_weir.admin_get("/healthz").status == 200
