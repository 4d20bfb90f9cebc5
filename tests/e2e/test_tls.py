"""Viewers over TLS: HTTP/1.1 and HTTP/2 by ALPN, certificates by name, renewed under viewers' feet, and the page in a browser.
Broadcasters over TLS (RTMPS)."""

import re
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

import harness
from test_operations import check

EXPIRY = 'weir_tls_certificate_expiry_seconds{{name="{name}",file="{file}"}}'


def make_certificate(folder, stem, names, days=30):
    """folder/stem.crt and .key, signed by itself; what is there is replaced."""
    alternative = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
         "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternative}",
         "-keyout", folder / f"{stem}.key", "-out", folder / f"{stem}.crt"],
        check=True, capture_output=True, timeout=30)
    return folder / f"{stem}.crt"


@pytest.fixture
def folder(tmp_path):
    """Where the first node's configuration will be."""
    path = tmp_path / "weir-0"
    path.mkdir()
    return path


@pytest.fixture
def certificate(folder):
    return make_certificate(folder, "server", ["localhost", "127.0.0.1"])


def tls_config(**more):
    return {"http": {"tls": {"listen": ["127.0.0.1:0"], "cert": "server.crt", "key": "server.key", **more}}}


@pytest.fixture
def secure(certificate, start_weir):
    return start_weir(tls_config())


def curl(certificate, *arguments, deadline_s=30):
    """The body, and what `--write-out` says of it: version and status."""
    done = subprocess.run(["curl", "--silent", "--show-error", "--cacert", certificate, "--write-out", "\n%{http_version} %{http_code}",
                           *arguments], capture_output=True, timeout=deadline_s)
    assert done.returncode == 0, done.stderr.decode()
    body, _, what = done.stdout.rpartition(b"\n")
    return body, tuple(what.decode().split())


class Client:
    """HTTP/1.1 over TLS, by hand: one connection, read as slowly as a test likes."""

    def __init__(self, node, certificate, name="localhost", session=None, receive_buffer=None):
        self.context = ssl.create_default_context(cafile=certificate)
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(10)
        host, port = node.https.split(":")
        raw.connect((host, int(port)))
        self.socket = self.context.wrap_socket(raw, server_hostname=name, session=session)
        self.file = self.socket.makefile("rb")

    def ask(self, path):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status = self.file.readline().decode()
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status.split()[1]), int(headers["content-length"])

    def get(self, path):
        status, length = self.ask(path)
        return status, self.file.read(length)

    def serial(self):
        return self.socket.getpeercert()["serialNumber"]

    def close(self):
        self.file.close()
        self.socket.close()


def serial_of(certificate):
    done = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", certificate], check=True, capture_output=True, text=True)
    return done.stdout.strip().partition("=")[2]


def newest(playlist, kind):
    pattern = {"part": r'#EXT-X-PART:.*?URI="([^"]+)"', "segment": r"^(\S*?\d+\.m4s)$", "init": r'#EXT-X-MAP:URI="([^"]+)"'}[kind]
    return re.findall(pattern, playlist, re.M)[-1]


# --- what viewers get


@pytest.mark.parametrize("option, version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_playlists_parts_and_blocking_reload_over_tls(secure, certificate, publish, stream, option, version):
    publish(secure.push_url(stream), size="640x360", kbps=2000)
    secure.wait_segment(stream)

    def get(path, *more):
        body, (got_version, status) = curl(certificate, option, secure.tls_url(path), *more)
        assert got_version == version
        return int(status), body

    status, playlist = get(f"/{stream}/v0a0.m3u8")
    playlist = playlist.decode()
    assert status == 200 and playlist.startswith("#EXTM3U")
    for kind in ("init", "part", "segment"):
        path = f"/{stream}/{newest(playlist, kind)}"
        assert get(path) == (200, secure.get(path).body), kind
    assert get(f"/{stream}/{newest(playlist, 'segment')}", "--range", "100-199")[0] == 206
    msn = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", playlist)[1]) + len(re.findall("#EXTINF", playlist))
    status, held = get(f"/{stream}/v0a0.m3u8?_HLS_msn={msn}&_HLS_part=3")
    assert status == 200 and held.decode() != playlist
    status, page = get(f"/{stream}/")
    assert status == 200 and b"<!doctype html>" in page
    assert secure.metric('weir_tls_handshakes_total{version="1.3"}') >= 7
    assert secure.metric('weir_tls_failures_total{reason="protocol"}') == 0


def test_the_page_plays_over_http2(secure, publish_clock, stream, open_page):
    publish_clock(secure.push_url(stream), size="640x360", kbps=800, noise=8)
    secure.wait_segment(stream)
    page = open_page(secure.tls_url(f"/{stream}/"), insecure=True)
    page.wait_state("playing", deadline_s=25)
    page.wait_frames(240, deadline_s=25)
    protocols = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol)")
    assert len(protocols) > 20 and set(protocols) == {"h2"}
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    report = page.report(warm_s=5)
    assert (report["unreadable"], report["reordered"]) == (0, 0)
    assert not report["errors"]
    assert page.stats()["latency"] < 2
    assert secure.metric('weir_tls_handshakes_total{version="1.3"}') < 4, "one connection carries it all"


def test_plain_http_is_told_that_it_is_the_wrong_port(secure):
    answer = harness.http_request(secure.https, "/")
    assert answer.status == 400 and "HTTPS" in answer.text


def test_only_tls_may_be_listened_on(certificate, start_weir):
    weir = start_weir({"http": {"listen": None, **tls_config()["http"]}})
    assert {line["kind"] for line in weir.log.find("listen")} == {"https", "admin", "rtmp"}
    assert curl(certificate, weir.tls_url("/live/show/"))[1][1] == "200"


def test_certificate_by_name(folder, certificate, start_weir):
    other = make_certificate(folder, "other", ["other.test", "*.wild.test"])
    weir = start_weir(tls_config(cert=["server.crt", str(other)], key=["server.key", "other.key"]))
    for name, expected in [("localhost", certificate), ("other.test", other), ("a.wild.test", other)]:
        client = Client(weir, expected, name)
        assert client.serial() == serial_of(expected)
        client.close()


# --- broadcasters


def test_rtmps_goes_on_across_a_renewal(folder, certificate, start_weir, publish, stream):
    weir = start_weir({"ingest": {"rtmp": {"tls": {"listen": ["127.0.0.1:0"], "cert": "server.crt", "key": "server.key"}}}})
    old = shutil.copy(certificate, folder / "old.crt")
    publisher = publish(f"rtmps://{weir.rtmps}/{stream}", extra=["-tls_verify", "1", "-ca_file", old])
    weir.wait_segment(stream)
    make_certificate(folder, "server", ["localhost", "127.0.0.1"])
    after = len(weir.log.lines)
    weir.process.send_signal(signal.SIGHUP)
    weir.log.wait("tls_certificate", after=after)
    host, port = weir.rtmps.split(":")
    renewed = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    harness.wait_for(lambda: ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)), timeout=10)) == renewed, 10,
                     "the new certificate")
    newest_part = newest(weir.get(f"/{stream}/v0a0.m3u8").text, "part")
    harness.wait_for(lambda: newest(weir.get(f"/{stream}/v0a0.m3u8").text, "part") != newest_part, 10, "media of who was there before")
    publisher.stop()
    assert weir.log.wait("rtmp_close", name=stream.partition("/")[2])["end"] == "bye"


# --- renewal


def test_renewed_under_a_download(folder, certificate, secure, publish, stream):
    publish(secure.push_url(stream), size="640x360", kbps=4000)
    secure.wait_segment(stream)
    path = f"/{stream}/{newest(secure.get(f'/{stream}/v0a0.m3u8').text, 'segment')}"
    whole = secure.get(path).body
    slow = Client(secure, certificate, receive_buffer=4096)
    old = shutil.copy(certificate, folder / "old.crt")
    status, length = slow.ask(path)
    assert (status, length) == (200, len(whole))
    body = slow.file.read(1000)
    curl_h2 = subprocess.Popen(["curl", "--silent", "--http2", "--cacert", old, "--limit-rate", str(len(whole) // 4), secure.tls_url(path)],
                               stdout=subprocess.PIPE)
    harness.wait_for(lambda: secure.metric('weir_tls_handshakes_total{version="1.3"}') >= 2, 10, "curl's connection")

    make_certificate(folder, "server", ["localhost", "127.0.0.1"], days=60)
    expiry = secure.metric(EXPIRY.format(name="localhost", file=certificate))
    after = len(secure.log.lines)
    secure.process.send_signal(signal.SIGHUP)
    secure.log.wait("tls_certificate", after=after, name="localhost")
    assert secure.metric(EXPIRY.format(name="localhost", file=certificate)) == pytest.approx(expiry + 30 * 86400, abs=600)

    def renewed():
        client = Client(secure, certificate)
        client.close()
        return True

    harness.wait_for(renewed, 10, "the new certificate")
    body += slow.file.read(length - len(body))
    assert body == whole
    assert slow.get(path) == (200, whole) and slow.serial() == serial_of(old), "the old connection lives on"
    slow.close()
    assert curl_h2.communicate(timeout=30)[0] == whole
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(secure, old)


def test_renewed_when_the_files_change(folder, certificate, secure):
    before = serial_of(certificate)
    make_certificate(folder, "server", ["localhost", "127.0.0.1"])

    def serial():
        try:
            client = Client(secure, certificate)
        except ssl.SSLCertVerificationError:
            return before
        serial = client.serial()
        client.close()
        return serial

    assert harness.wait_for(lambda: (now := serial()) != before and now, 15, "the new certificate") == serial_of(certificate)


def test_a_bad_renewal_is_refused_and_the_old_one_stays(folder, certificate, secure):
    good = shutil.copy(certificate, folder / "good.crt")
    for spoil in (lambda: certificate.write_text("nonsense\n"), certificate.unlink):
        spoil()
        after = len(secure.log.lines)
        secure.process.send_signal(signal.SIGHUP)
        line = secure.log.wait("tls_refused", after=after)
        assert line["file"] == str(certificate) and line["error"]
        client = Client(secure, good)
        assert client.get("/live/nobody/")[0] == 200
        client.close()
    assert secure.metric(EXPIRY.format(name="localhost", file=certificate)) > 0


def test_sessions_resume_across_workers_and_renewals(folder, certificate, start_weir):
    weir = start_weir({"http": {"workers": 4, **tls_config()["http"]}})
    old = shutil.copy(certificate, folder / "old.crt")
    first = Client(weir, old)
    first.get("/live/nobody/")
    session = first.socket.session
    first.close()
    for round in range(6):
        if round == 3:
            shutil.copy(old, certificate)
            after = len(weir.log.lines)
            weir.process.send_signal(signal.SIGHUP)
            weir.log.wait("tls_certificate", after=after)
        client = Client.__new__(Client)
        client.context = first.context
        host, port = weir.https.split(":")
        client.socket = first.context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname="localhost",
                                                  session=session)
        client.file = client.socket.makefile("rb")
        assert client.get("/live/nobody/")[0] == 200
        assert client.socket.session_reused, round
        session = client.socket.session
        client.close()
    assert weir.metric("weir_tls_resumed_total") == 6


def test_hangup_without_tls_is_harmless(weir):
    weir.process.send_signal(signal.SIGHUP)
    weir.log.wait("reload")
    assert weir.alive and weir.admin_get("/healthz").status == 200


# --- configuration


@pytest.mark.parametrize("spoil, line, words", [
    (lambda folder: (folder / "server.crt").unlink(), 5, ["http.tls.cert", "server.crt", "No such file"]),
    (lambda folder: (folder / "server.key").write_text("nonsense"), 6, ["http.tls.key", "server.key", "a private key in PEM"]),
    (lambda folder: shutil.copy(folder / "other.key", folder / "server.key"), 6, ["server.key", "doesn't belong to", "server.crt"]),
    (lambda folder: (folder / "server.crt").write_text(""), 5, ["http.tls.cert", "server.crt", "a certificate in PEM"]),
])
def test_files_that_are_wrong_are_told_by_line(tmp_path, spoil, line, words):
    make_certificate(tmp_path, "server", ["localhost"])
    make_certificate(tmp_path, "other", ["localhost"])
    text = 'origin: {}\nrelay: {}\nhttp:\n  tls:\n    cert: server.crt\n    key: server.key\n    listen: ["127.0.0.1:0"]\n'
    good, _ = check(tmp_path, text)
    assert (good.returncode, good.stderr) == (0, "")
    spoil(tmp_path)
    done, path = check(tmp_path, text)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:{line}: "), done.stderr
    for word in words:
        assert word in done.stderr
