"""HTTP as caches, pages of other sites and players that seek use it: HEAD, conditions, ranges, CORS, the redirect to the page,
and a lifetime on every answer. What each answer of a live stream holds is the validator's; refusals are test_operations'.
"""

import re
import socket

import pytest

import harness
import players
import publishers

KINDS = ("page", "script", "multivariant", "playlist", "init", "part", "segment")
MEDIA = ("init", "part", "segment")
TAGGED = ("page", "script", *MEDIA)  # those that have an ETag: they stay what they are for as long as they are there
STREAM = "live/http"


@pytest.fixture(scope="module")
def paths(shared_weir, tmp_path_factory):
    """Of everything that a live stream has, by kind."""
    publisher = publishers.Publisher(shared_weir.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log")
    shared_weir.wait_segment(STREAM)
    base = f"/{STREAM}/"
    playlist = shared_weir.get(base + "v0a0.m3u8").text
    yield {
        "page": base,
        "script": base + re.search(r'<script src="\./([^"]+)"', shared_weir.get(base).text)[1],
        "multivariant": base + "index.m3u8",
        "playlist": base + "v0a0.m3u8",
        "init": base + re.search(r'#EXT-X-MAP:URI="([^"]+)"', playlist)[1],
        "part": base + re.search(r'#EXT-X-PART:.*URI="([^"]+)"', playlist)[1],
        "segment": base + re.search(r"^v0a0/\d+\.m4s$", playlist, re.M)[0],
    }
    publisher.stop()


def test_what_is_compared_is_there(shared_weir, paths):
    assert set(paths) == set(KINDS)
    for path in paths.values():
        assert shared_weir.get(path).status == 200, path


def head_and_get(address, path):
    """Both on one connection, to its end: a body after HEAD would stand where the next answer begins."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"
                           f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    first, second, body = received.split(b"\r\n\r\n", 2)
    return first.decode("latin-1").split("\r\n"), second.decode("latin-1").split("\r\n"), body


@pytest.mark.parametrize("kind", KINDS)
def test_head_is_get_without_a_body(shared_weir, paths, kind):
    head, get, body = head_and_get(shared_weir.http, paths[kind])
    assert head[0] == get[0] == "HTTP/1.1 200 OK"
    assert f"Content-Length: {len(body)}" in get and body
    changing = r"Date:|Connection:" + ("|Content-Length:" if kind == "playlist" else "")
    assert [re.match(r"[\w-]+", line)[0] for line in head] + ["Connection"] == [re.match(r"[\w-]+", line)[0] for line in get]
    assert [line for line in head if not re.match(changing, line)] == [line for line in get if not re.match(changing, line)]


@pytest.mark.parametrize("kind", TAGGED)
def test_what_the_client_has_is_not_sent_again(shared_weir, paths, kind):
    first = shared_weir.get(paths[kind])
    for condition in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
        again = shared_weir.get(paths[kind], headers={"If-None-Match": condition})
        assert (again.status, again.body) == (304, b""), condition
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert again.headers["Content-Type"] is None
    changed = shared_weir.get(paths[kind], headers={"If-None-Match": '"something else"'})
    assert (changed.status, changed.body) == (200, first.body)


def test_tags_tell_everything_apart(shared_weir, paths):
    tags = [shared_weir.get(paths[kind]).headers["ETag"] for kind in TAGGED]
    tags.append(shared_weir.get(paths["script"], headers={"Accept-Encoding": "gzip"}).headers["ETag"])
    assert len(set(tags)) == len(tags), tags


@pytest.mark.parametrize("kind", ("multivariant", "playlist"))
def test_playlists_are_always_sent(shared_weir, paths, kind):
    answer = shared_weir.get(paths[kind], headers={"If-None-Match": "*"})
    assert answer.status == 200 and answer.text.startswith("#EXTM3U") and answer.headers["ETag"] is None


@pytest.mark.parametrize("kind", MEDIA)
def test_ranges_of_media(shared_weir, paths, kind):
    whole = shared_weir.get(paths[kind])
    size = len(whole.body)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, first, last in (("0-0", 0, 0), ("10-99", 10, 99), ("-20", size - 20, size - 1), ("100-", 100, size - 1),
                               (f"5-{2 * size}", 5, size - 1)):
        part = shared_weir.get(paths[kind], headers={"Range": f"bytes={asked}"})
        assert (part.status, part.body) == (206, whole.body[first:last + 1]), asked
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["ETag"] == whole.headers["ETag"]
    beyond = shared_weir.get(paths[kind], headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    for headers in ({"Range": "bytes=0-9", "If-Range": '"other"'}, {"Range": "lines=1-2"}):
        assert shared_weir.get(paths[kind], headers=headers).body == whole.body, headers


@pytest.mark.parametrize("kind", ("page", "script", "multivariant", "playlist"))
def test_ranges_of_all_else_are_ignored(shared_weir, paths, kind):
    answer = shared_weir.get(paths[kind], headers={"Range": "bytes=0-9"})
    assert answer.status == 200 and len(answer.body) > 10 and answer.headers["Accept-Ranges"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_pages_of_other_sites_may_ask_and_read(shared_weir, paths, kind):
    """What fetch() with a Range header, and CMCD, need."""
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET",
             "Access-Control-Request-Headers": "range, cmcd-request"}
    preflight = shared_weir.get(paths[kind], method="OPTIONS", headers=asked)
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert {"GET", "HEAD"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"range", "cmcd-request", "cmcd-object", "cmcd-session", "cmcd-status"} <= set(allowed)
    assert int(preflight.headers["Access-Control-Max-Age"]) >= 600
    for path, status in ((paths[kind], 200), (paths[kind] + "x", 404)):
        answer = shared_weir.get(path, headers={"Origin": "https://shop.example"})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
        assert {"Date", "Content-Length", "Content-Range", "ETag"} <= set(
            answer.headers["Access-Control-Expose-Headers"].split(", "))


def test_the_page_without_its_slash_redirects(shared_weir, paths):
    """Relatively, so that it works behind any prefix."""
    answer = shared_weir.get(paths["page"].rstrip("/"))
    assert answer.status == 301
    assert answer.headers["Location"] == "http/"  # resolved against /live/http
    assert shared_weir.get(paths["page"].rstrip("/") + "?key=a%20b&x").headers["Location"] == "http/?key=a%20b&x"
    assert shared_weir.get(paths["page"].rstrip("/") + "?" + "q" * 5000).status == 414


# --- lifetimes


ANSWERS = [  # status, method, what is asked for (a kind, or a path below the stream), headers
    *((200, "GET", kind, {}) for kind in KINDS),
    *((200, "HEAD", kind, {}) for kind in KINDS),
    *((204, "OPTIONS", kind, {}) for kind in KINDS),
    *((405, "POST", kind, {}) for kind in KINDS),
    *((304, "GET", kind, {"If-None-Match": "*"}) for kind in TAGGED),
    *((206, "GET", kind, {"Range": "bytes=1-2"}) for kind in MEDIA),
    *((416, "GET", kind, {"Range": "bytes=99999999-"}) for kind in MEDIA),
    (301, "GET", "", {}), (301, "HEAD", "", {}),
    (404, "GET", "/nothing.js", {}), (404, "GET", "/v9.m3u8", {}), (404, "GET", "/v0a0/1.m4s", {}), (404, "GET", "/v0a0/p1.m4s", {}),
    (404, "GET", "/v0a0/init-77.mp4", {}), (404, "GET", "-not/index.m3u8", {}),
    (400, "GET", "/v0a0.m3u8?_HLS_part=1", {}), (400, "GET", "/v0a0.m3u8?_HLS_msn=999999999999", {}),
    (400, "GET", "/../../etc/passwd", {}), (501, "BREW", "/index.m3u8", {}), (414, "GET", "/" + "a" * 20000, {}),
    (431, "GET", "/index.m3u8", {"X-Large": "a" * 20000}), (413, "GET", "/index.m3u8", {"Content-Length": "99999999"}),
]


def test_every_answer_says_how_long_it_may_be_kept(shared_weir, paths):
    missing = []
    for status, method, what, headers in ANSWERS:
        answer = shared_weir.get(paths.get(what) or f"/{STREAM}{what}", method=method, headers=headers)
        assert answer.status == status, (method, what[:40], headers.keys())
        lifetime = answer.headers.get_all("Cache-Control", [])
        if len(lifetime) != 1 or not re.fullmatch(r"no-store|no-cache|max-age=\d+(, immutable)?", lifetime[0]):
            missing.append((status, method, what[:40], lifetime))
    assert not missing


def test_a_thumbnail_is_the_latest_key_frame(shared_weir, publish_clock, stream, tmp_path):
    """…and within the interval (5 s) the same for all who ask."""
    publish_clock(shared_weir.push_url(stream), size="640x360", kbps=800, noise=8, gop_s=1)
    shared_weir.wait_live(stream)
    path, file = f"/{stream}/thumb.jpg", tmp_path / "thumb.jpg"
    first, again = (shared_weir.get(path + "?w=640") for _ in range(2))
    file.write_bytes(first.body)
    report = players.run_pipeline(["ffmpeg", "-v", "error", "-i", file, "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"], "640x360", 20)
    assert report["frames"] == 1 and not report["unreadable"]
    assert report["latency_ms"]["max"] < 5000 + 1000
    assert again.body == first.body and again.headers["etag"] == first.headers["etag"]
    assert first.headers["content-type"] == "image/jpeg" and first.headers["access-control-allow-origin"] == "*"
    assert 0 <= int(first.headers["cache-control"].removeprefix("max-age=")) <= 5
    file.write_bytes(shared_weir.get(path).body)
    assert [(image["codec_name"], image["width"], image["height"]) for image in players.probe(file)["streams"]] == [("mjpeg", 320, 180)]
    head, get, body = head_and_get(shared_weir.http, path)
    assert head[0] == get[0] == "HTTP/1.1 200 OK" and f"Content-Length: {len(body)}" in head


def test_operators_answers_are_not_kept(shared_weir):
    for method, path, status in (("GET", "/", 200), ("GET", "/metrics", 200), ("GET", "/healthz", 200), ("GET", "/readyz", 200),
                                 ("GET", "/api/v1/streams", 200), ("GET", "/nothing", 404), ("POST", "/", 405)):
        answer = shared_weir.admin_get(path, method=method)
        assert (answer.status, answer.headers.get_all("Cache-Control")) == (status, ["no-store"]), path


def test_one_connection_too_many_is_told_so_and_not_kept(start_weir):
    weir = start_weir({"http": {"connections_per_address": 1, "workers": 1}})
    host, port = weir.http.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as first:
        first.sendall(b"GET /live/x/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(100).startswith(b"HTTP/1.1 200")  # the server has it by now
        answer = weir.get("/live/x/")
        assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
        assert int(answer.headers["Retry-After"]) > 0
        first.shutdown(socket.SHUT_RDWR)
    harness.wait_for(lambda: weir.get("/live/x/").status == 200, 10, "the place to be free again")
