"""Streams that a node fetches itself, from real servers, encoders and files."""

import os
import subprocess
import time
from urllib.parse import quote

import pytest

import conftest
import harness
from continuity import LiveWatch

FETCH = harness.WEIR_BIN.parent / "ingest/fetch/weir-fetch"
SIZE = "320x180"
ENCODE = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "30", "-b:v", "300k", "-c:a", "aac"]
PICTURE = ["-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a clip.mp4"
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", *PICTURE, "-t", "1.2", *ENCODE, path], check=True)
    return path


def times_of(path):
    """Decoding times in seconds of each stream of a transport stream."""
    command = ["ffprobe", "-loglevel", "error", "-show_entries", "packet=stream_index,dts_time", "-of", "csv=p=0", path]
    times = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split():
        stream, dts = line.split(",")[:2]
        times.setdefault(stream, []).append(float(dts))
    return times


def test_a_file_is_played_in_a_loop_in_real_time(clip, tmp_path):
    """By the fetcher alone: what it writes goes on over the clip's end without a break, at a clip's pace."""
    out = tmp_path / "out.ts"
    with open(out, "wb") as file:
        fetch = subprocess.Popen([FETCH, "--loop", "clip"], env={"WEIR_FETCH_URL": f"file:{clip}"}, stdout=subprocess.PIPE)
        begun = time.monotonic()
        while sum(map(len, times_of(out).values() if out.stat().st_size else [])) < 300:
            file.write(os.read(fetch.stdout.fileno(), 65536))
            file.flush()
        took = time.monotonic() - begun
    fetch.terminate()  # that is told to all processes of a service: it goes when the node does, or its pipe
    assert os.read(fetch.stdout.fileno(), 65536)
    fetch.stdout.close()
    assert fetch.wait(10) == 0
    times = times_of(out)
    assert len(times) == 2
    for dts in times.values():
        steps = [b - a for a, b in zip(dts, dts[1:])]
        assert min(steps) > 0 and max(steps) < 0.08, steps
        assert dts[-1] - dts[0] > 1.5 * 1.2 and took > dts[-1] - dts[0] - 0.5


# --- a node that fetches from nginx, from an encoder that listens, and from files by HTTP


NGINX = """
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
rtmp {{ server {{ listen 127.0.0.1:{rtmp}; application live {{ live on; hls on; hls_path {folder}/hls; hls_fragment 1s; hls_playlist_length 8s; }} }} }}
http {{ access_log {folder}/access.log; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{http}; root {folder}; }} }}
"""
PASSPHRASE = "a passphrase of one's own"


class Nginx:
    """What is pushed to `push_url` is played by RTMP, and as HLS; `fetched(path)` counts what was asked of it."""

    def __init__(self, folder):
        (folder / "hls").mkdir(parents=True)
        rtmp, http = harness.free_port(), harness.free_port()
        self.folder, self.push_url = folder, f"rtmp://127.0.0.1:{rtmp}/live/cam"
        self.hls, self.root = f"http://user:pw@127.0.0.1:{http}/hls/cam.m3u8?token=secret", f"http://127.0.0.1:{http}"
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, rtmp=rtmp, http=http, user="user root;" if os.getuid() == 0 else ""))
        self.process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
        harness.wait_for(lambda: not harness.is_free(rtmp) and not harness.is_free(http), 10, "nginx to listen")

    def fetched(self, path):
        return (self.folder / "access.log").read_text().count(f"GET {path}")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Scene:
    """A node with a source of each kind, an encoder that pushes to nginx, and a port for one that is called."""

    def __init__(self, folder, clip):
        self.nginx = Nginx(folder / "nginx")
        self.push = subprocess.Popen(["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-re", *PICTURE[:4], "-re", *PICTURE[4:], *ENCODE,
                                      "-f", "flv", self.nginx.push_url])
        self.srt = harness.free_port()
        self.start_encoder()
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", clip, "-c:v", "mpeg4", "-an", folder / "nginx/old.mp4"], check=True)
        harness.wait_for(lambda: (self.nginx.folder / "hls/cam.m3u8").exists(), 20, "nginx's playlist")
        self.node = harness.Node(folder / "weir", {
            "ingest": {"sources": [
                f"live/rtmp {self.nginx.push_url}",
                f"live/hls {self.nginx.hls} on-demand",
                f"live/srt srt://127.0.0.1:{self.srt}?streamid=%23!::r=cam,m=request&passphrase={quote(PASSPHRASE)}&latency=100",
                f"live/old {self.nginx.root}/old.mp4",
                f"live/none {self.nginx.root}/none.m3u8 on-demand",
            ]},
            "auth": {"publish": {"keys": ["nobody-has-it"]}},
            "origin": {"grace_s": 5},
            "relay": {"linger_s": 1},
        })

    def source(self, name):
        return {one["stream"]: one for one in self.node.admin_get("/api/v1/sources").json()["sources"]}[name]

    def wait_source(self, name, state, deadline_s=20):
        return harness.wait_for(lambda: (one := self.source(name))["state"] == state and one, deadline_s, f"{name} to be {state}")

    def wait_resumed(self, name):
        path = f"/{name}/v0a0.m3u8"
        harness.wait_for(lambda: "#EXT-X-DISCONTINUITY\n" in self.node.get(path).text, 15, f"media of the next fetch of {name}")

    def start_encoder(self):
        """It listens for who fetches from it."""
        url = f"srt://127.0.0.1:{self.srt}?mode=listener&passphrase={PASSPHRASE.replace(' ', '+')}"
        words = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-re", *PICTURE[:4], "-re", *PICTURE[4:], *ENCODE, "-f", "mpegts", url]
        self.encoder = subprocess.Popen(words)

    def stop(self):
        for process in (self.push, self.encoder):
            process.kill()
            process.wait()
        self.nginx.stop()


@pytest.fixture(scope="module")
def scene(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp("sources")
    scene = Scene(folder, clip)
    try:
        scene.node.start()
        yield scene
        conftest.finish_nodes([scene.node])
    finally:
        scene.stop()


def test_rtmp_is_fetched_as_long_as_the_node_runs(scene):
    node = scene.node
    node.wait_live("live/rtmp")
    LiveWatch(node.http, "live/rtmp").wait_media(3).finish().report().check(max_gap_s=1)
    source = scene.wait_source("live/rtmp", "live")
    assert (source["mode"], source["url"], source["error"], source["restarts"]) == ("always", scene.nginx.push_url, None, 0)
    assert node.metric('weir_source_state{stream="live/rtmp",state="live"}') == 1
    assert node.metric('weir_source_restarts_total{stream="live/rtmp"}') == 0
    assert node.streams()["live/rtmp"]["publisher"]["peer"] == scene.nginx.push_url


def test_a_fetcher_that_dies_is_replaced_and_the_stream_goes_on(scene):
    node = scene.node
    node.wait_segment("live/rtmp")
    since, restarts, begin = node.streams()["live/rtmp"]["since"], scene.source("live/rtmp")["restarts"], len(node.log.lines)
    subprocess.run(["pkill", "-KILL", "-P", str(node.process.pid), "-x", "-f", ".*weir-fetch live/rtmp"], check=True)
    failed = node.log.wait("source_failed", after=begin, stream="live/rtmp")
    assert "signal 9" in failed["why"]
    scene.wait_resumed("live/rtmp")
    assert node.streams()["live/rtmp"]["since"] == since and scene.source("live/rtmp")["restarts"] == restarts + 1


def test_hls_is_fetched_while_somebody_asks_for_it(scene):
    node = scene.node
    assert scene.source("live/hls")["state"] == "idle" and not scene.nginx.fetched("/hls/cam.m3u8")
    assert "live/hls" not in node.streams()
    node.wait_live("live/hls")
    LiveWatch(node.http, "live/hls").wait_media(3).finish().report().check(max_gap_s=1)
    source = scene.source("live/hls")
    assert source["state"] == "live" and source["mode"] == "on-demand"
    assert "pw" not in source["url"] and "secret" not in source["url"]
    scene.wait_source("live/hls", "idle")
    harness.wait_for(lambda: "live/hls" not in node.streams(), 5, "the stream to be gone")
    node.wait_live("live/hls")  # and once more


def test_what_isnt_there_is_nothing_to_wait_for(scene):
    node = scene.node
    assert node.get("/live/none/index.m3u8", timeout_s=20).status == 404
    failed = node.log.wait("source_failed", stream="live/none")
    assert "404" in failed["why"] and scene.source("live/none")["state"] == "idle"


def test_media_that_cant_be_carried_are_told(scene):
    source = scene.wait_source("live/old", "waiting")
    assert source["error"] == "mpeg4 can't be carried, H.264, HEVC, AAC and Opus can"
    assert int(scene.node.log.wait("source_failed", stream="live/old")["again_ms"]) > 20000


def test_an_encoder_is_called_and_called_again(scene):
    node = scene.node
    node.wait_live("live/srt")
    LiveWatch(node.http, "live/srt").wait_media(2).finish().report().check(max_gap_s=1)
    link = {one["stream"]: one for one in node.admin_get("/api/v1/links").json()["links"]}["live/srt"]
    assert link["aes"] == 128 and link["peer"] == f"127.0.0.1:{scene.srt}"
    scene.encoder.terminate()
    scene.encoder.wait(10)
    assert scene.wait_source("live/srt", "waiting")["error"] == "the listener has ended it"
    scene.start_encoder()
    scene.wait_resumed("live/srt")
    assert scene.source("live/srt")["restarts"] >= 1


def test_secrets_are_not_told(scene):
    text = scene.node.log.text + scene.node.admin_get("/api/v1/sources").text
    for secret in ("pw@", "token=", quote(PASSPHRASE), "nobody-has-it"):
        assert secret not in text
