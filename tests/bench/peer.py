"""nginx with its RTMP module as the peer: takes RTMP, serves HLS and a bare hls.js page from one folder."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import harness  # noqa: E402

CONFIG = """
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
rtmp {{ server {{ listen 127.0.0.1:{rtmp}; chunk_size 4096;
  application live {{ live on; hls on; hls_path {folder}/hls; hls_fragment 2s; hls_playlist_length 30s; }} }} }}
http {{ access_log off; types {{ text/html html; text/javascript js; application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{http}; root {folder}; }} }}
"""

PAGE = """<!doctype html><meta charset=utf-8><video id=video muted autoplay playsinline></video><script src=hls.js></script>
<script>const hls = new Hls({}); hls.loadSource('hls/clock.m3u8'); hls.attachMedia(document.getElementById('video'));
hls.on(Hls.Events.MANIFEST_PARSED, () => document.getElementById('video').play());</script>
"""


class NginxRtmp:
    """Serves until stop(). `rtmp` and `http` are "address:port"."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o755)  # the workers run as another user
        folder.chmod(0o777)
        (folder / "hls").mkdir(exist_ok=True)
        (folder / "hls").chmod(0o777)
        (folder / "index.html").write_text(PAGE)
        (folder / "hls.js").write_bytes((ROOT / "relay/page/node_modules/hls.js/dist/hls.min.js").read_bytes())
        rtmp, http = harness.free_port(), harness.free_port()
        self.folder, self.rtmp, self.http = folder, f"127.0.0.1:{rtmp}", f"127.0.0.1:{http}"
        (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, rtmp=rtmp, http=http))
        self.process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
        harness.wait_for(self.workers, 10, "nginx's worker")

    def workers(self):
        """Process ids of the workers: those that do the work."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def push_url(self, name):
        return f"rtmp://{self.rtmp}/live/{name}"

    def has_playlist(self, name, segments=1):
        path = self.folder / f"hls/{name}.m3u8"
        return path.exists() and path.read_text().count("#EXTINF") >= segments

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def cpu_seconds(pids):
    """User and system time of these processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def memory_bytes(pid):
    """Resident anonymous memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)
