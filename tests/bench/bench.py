"""What the benches of serving share: two CPUs, CPU time, streams of exact sizes that stand still or run, nginx as the peer for files.

The server has the first CPU for itself and everything else (clients, publishers, this script) runs on the second. CPU time is that of all
threads of the server's processes, user and system, in ns, from schedstat.
"""

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from peer import harness, memory_bytes  # noqa: F401

SERVER_CPU, CLIENT_CPU = (sorted(os.sched_getaffinity(0)) * 2)[:2]
WEIR_LOAD = harness.INSTRUMENTS.parents[1] / "tools/load/weir-load"
# What a browser's request looks like: its head is part of what a request costs.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Accept": "*/*",
    "Accept-Language": "en-GB,en-US;q=0.9,en;q=0.8",
    "Origin": "https://shop.example.com",
    "Referer": "https://shop.example.com/live/autumn-collection",
    "sec-ch-ua": '"Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
}

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
os.sched_setaffinity(0, {CLIENT_CPU})


def say(text):
    print(text, file=sys.stderr, flush=True)


def pin(pid, cpu=SERVER_CPU):
    """All threads of a process, as they are now."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def cpu_ns(pids):
    return sum(int((task / "schedstat").read_text().split()[0]) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())


def idle_share(pids, seconds=2):
    """CPU time a second of real time that the server takes for itself: the publisher's frames, its timers."""
    before, started = cpu_ns(pids), time.monotonic()
    time.sleep(seconds)  # a measurement's pause, not a wait for an event
    return (cpu_ns(pids) - before) / (time.monotonic() - started)


# --- streams

FILLER_NAL = 12
VIDEO, KEPT_HEADER, BACK_POINTER, NALU_HEADER = 9, 11, 4, 5


def make_clip(path, frame_bytes, fps=30, seconds=4, gop_s=2):
    """A silent FLV whose every frame takes exactly so many bytes (if it can): a still picture, filled up with a filler NAL unit."""
    raw = path.with_suffix(".raw.flv")
    source = ["-f", "lavfi", "-i", f"color=gray:size=64x64:rate={fps}"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(fps * gop_s), "-pix_fmt", "yuv420p",
             "-bsf:v", "filter_units=remove_types=6"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *codec, "-t", str(seconds), "-f", "flv", raw], check=True)
    data = raw.read_bytes()
    out, at = bytearray(data[:9 + BACK_POINTER]), 9 + BACK_POINTER
    while at < len(data):
        size = int.from_bytes(data[at + 1:at + 4], "big")
        header, body = data[at:at + KEPT_HEADER], data[at + KEPT_HEADER:at + KEPT_HEADER + size]
        missing = frame_bytes - (size - NALU_HEADER) - 4
        if header[0] == VIDEO and body[1] == 1 and missing >= 2:
            body += missing.to_bytes(4, "big") + bytes([FILLER_NAL]) + b"\xff" * (missing - 2) + b"\x80"
        out += header[:1] + len(body).to_bytes(3, "big") + header[4:] + body + (len(body) + KEPT_HEADER).to_bytes(4, "big")
        at += KEPT_HEADER + size + BACK_POINTER
    path.write_bytes(out)
    raw.unlink()


class SteadyPublisher:
    """rtmp_load with one stream of such frames: NAME-0."""

    def __init__(self, node, folder, name, frame_bytes, fps=30):
        self.name = f"{name}-0"
        clip = folder / (name.replace("/", "-") + ".flv")
        make_clip(clip, frame_bytes, fps)
        self.process = subprocess.Popen([harness.INSTRUMENTS / "rtmp_load", "--clip", clip, node.push_url(f"{name}-")],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.process.stdout.readline()

    def drop(self):
        """Without a word: the stream is then `away`, and stands still until the grace time is over."""
        self.process.kill()
        self.process.wait()


@contextmanager
def weir(folder, config=None):
    """A node with one worker, on the server's CPU, its limits out of the way."""
    base = {"http": {"workers": 1, "connections_max": 50000, "connections_per_address": 50000},
            "live": {"window_s": 14}, "origin": {"grace_s": 600}}
    node = harness.Node(folder, harness.merge(base, config or {})).start()
    pin(node.process.pid)
    try:
        yield node
    finally:
        node.stop()


def playlist(node, stream, variant="v0"):
    return node.get(f"/{stream}/{variant}.m3u8").text


# --- nginx with files

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 120; keepalive_requests 100000000;
  open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
  types {{ video/mp4 m4s mp4; application/vnd.apple.mpegurl m3u8; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{http} backlog=4096; root {folder}/www; }}
  server {{ listen 127.0.0.1:{h2c} http2 backlog=4096; root {folder}/www; http2_max_requests 100000000; }}
  {tls}
}}
"""
NGINX_TLS = """server {{ listen 127.0.0.1:{tls} ssl http2 backlog=4096; root {folder}/www; ssl_certificate {cert}; ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3; ssl_buffer_size 16k; ssl_session_tickets on; }}"""


@contextmanager
def shared_memory_folder():
    """On tmpfs, and readable by nginx's workers."""
    folder = Path(tempfile.mkdtemp(prefix="weir-bench-", dir="/dev/shm"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def nginx(folder, files, certificate=None):
    """Serves `files` (path → bytes) from tmpfs. Gives its workers' pids and a dictionary of addresses: http, h2c, tls."""
    for path, body in files.items():
        file = folder / "www" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    ports = {name: harness.free_port() for name in ("http", "h2c", "tls")}
    tls = NGINX_TLS.format(folder=folder, tls=ports["tls"], cert=certificate[0], key=certificate[1]) if certificate else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **{**ports, "tls": tls}))
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)

    def workers():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    try:
        harness.wait_for(workers, 10, "nginx's worker")
        for pid in workers():
            pin(pid)
        yield workers(), {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait(10)


# --- TLS, when the binary has it

def make_certificate(folder):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


def tls_config(folder, certificate):
    """What to add to a node's configuration, and its TLS address; or None and why this binary can't."""
    port = harness.free_port()
    config = {"http": {"tls": {"listen": [f"127.0.0.1:{port}"], "cert": str(certificate[0]), "key": str(certificate[1])}}}
    path = folder / "tls.yaml"
    path.write_text(json.dumps(harness.merge(harness.ALL_ROLES, config)))
    check = subprocess.run([harness.WEIR_BIN, "-t", "-c", path], capture_output=True, text=True)
    if check.returncode:
        return None, "this binary has no TLS listener: " + (check.stderr or check.stdout).strip().splitlines()[0]
    return config, f"127.0.0.1:{port}"


# --- clients

def run_wrk(url, seconds, connections):
    """Requests done. Fails when one was not answered 200."""
    words = [word for name, value in BROWSER.items() for word in ("-H", f"{name}: {value}")]
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", *words, url], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return int(re.search(r"(\d+) requests in", out)[1])


def run_h2load(url, requests, connections=16, streams=8):
    words = [word for name, value in BROWSER.items() for word in ("-H", f"{name.lower()}: {value}")]
    out = subprocess.run(["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", *words, url], capture_output=True, text=True,
                         check=True).stdout
    done = int(re.search(r"status codes: (\d+) 2xx", out)[1])
    assert done == requests and "h2" in re.search(r"Application protocol: (\S+)", out)[1], out
    return done


def run_load(url, *options):
    """weir-load's report."""
    out = subprocess.run([WEIR_LOAD, *map(str, options), url], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return json.loads(out[-1])


def median(values):
    return statistics.median(values) if values else None
