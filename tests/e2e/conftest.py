"""Fixtures of the end-to-end tests. Run them by `pytest tests/e2e`; WEIR_BIN names the binary (default build/weir).

weir          a node with all roles and the default settings (see harness.ALL_ROLES), for this test alone
shared_weir   the same for all tests of a module, which keep apart by their streams' names: for tests that only publish,
              ask and play
start_weir    start_weir({"origin": {"grace_s": 2}}, env={…}) starts a node with other settings, as often as wanted
fleet         an empty fleet.Fleet: nodes by role, on loopback
shared_fleet  the same for all tests of a module
netns_fleet   the same as `fleet`, each node in a network namespace of its own; skipped where those can't be made
stream        a name for a stream that no other test uses: "live/test-publish-and-play-30"
publish       publish(url, **options) starts an ffmpeg publisher (publishers.Publisher) and stops it after the test
publish_clock the same for the instrument that draws the clock into the picture (publishers.ClockPublisher)
page_server   the address of a server of this folder's files: of pages elsewhere than the stream
open_page     open_page(url, **options) opens the page in Chromium (viewer.Viewer) and closes it after the test

A node is told to stop after the test, and the test fails when it doesn't end by itself with status 0 or when a sanitizer
has something to say. What the node logged is printed with a failing test.
"""

import functools
import http.server
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fleet as fleets
import harness
import netns
import publishers
import viewer

CONTINUITY_S = int(os.environ.get("WEIR_CONTINUITY_S", "40"))
LONG = ("test_page.py", "test_shields.py", "test_srt.py", "test_publish_play.py", "test_enhanced_rtmp.py", "test_live.py", "test_hls_rates.py",
        "test_fleet_tracks.py")


@pytest.hookimpl(tryfirst=True)  # before marks are chosen by
def pytest_collection_modifyitems(items):
    """What opens a page is alone. The files that take longest come first: none is to be left at the end, when there is nothing to run beside it."""
    for item in items:
        if "open_page" in item.fixturenames:
            item.add_marker("alone")
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: it is timed to a tenth of a second, or needs the whole machine, as a browser does, and runs beside nothing else")
    config.addinivalue_line("markers", "timed: to a fraction of a second; runs beside one other at most")
    if not harness.WEIR_BIN.exists():
        pytest.exit(f"no binary at {harness.WEIR_BIN}: build it, or name it by WEIR_BIN", returncode=2)


@pytest.fixture(scope="session")
def instruments():
    """The folder of the built instruments."""
    return harness.INSTRUMENTS


def print_log(node):
    print(f"--- log of weir {node.config}\n{node.log.text[-20000:]}", file=sys.stderr)


@pytest.fixture
def start_weir(tmp_path):
    nodes = []

    def start(config=None, env=None):
        node = harness.Node(tmp_path / f"weir-{len(nodes)}", config or {}, env or {})
        nodes.append(node)
        return node.start()

    yield start
    finish_nodes(nodes)


def stop_node(node):
    """What is wrong with how it ended, or None."""
    try:
        if node.process.returncode is None:
            node.stop()
        node.check_log()
    except AssertionError as problem:
        return str(problem)


def finish_nodes(nodes):
    """All are stopped, at the same time, whatever one of them has to say."""
    started = [node for node in nodes if hasattr(node, "process")]
    with ThreadPoolExecutor(max(1, len(started))) as threads:
        problems = [problem for problem in threads.map(stop_node, started) if problem]
    for node in started:
        print_log(node)
    assert not problems, "\n".join(problems)


@pytest.fixture
def weir(start_weir):
    return start_weir()


@pytest.fixture(scope="module")
def shared_weir(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"))
    yield node.start()
    finish_nodes([node])


def fleet_in(folder, namespaces):
    fleet = fleets.Fleet(folder, namespaces)
    try:
        yield fleet
        finish_nodes(fleet.nodes)
    finally:
        fleet.close()


@pytest.fixture
def fleet(tmp_path):
    yield from fleet_in(tmp_path, False)


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory):
    yield from fleet_in(tmp_path_factory.mktemp("fleet"), False)


@pytest.fixture
def netns_fleet(tmp_path):
    if not netns.available():
        pytest.skip("no network namespaces: needs root")
    yield from fleet_in(tmp_path, True)


@pytest.fixture
def stream(request):
    return "live/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().replace("_", "-")).strip("-")


@pytest.fixture
def publish(tmp_path):
    yield from publishers_of(publishers.Publisher, tmp_path)


@pytest.fixture
def publish_clock(tmp_path):
    yield from publishers_of(publishers.ClockPublisher, tmp_path)


def publishers_of(kind, folder: Path):
    started = []

    def start(url, **options):
        publisher = kind(url, folder / f"{kind.__name__.lower()}-{len(started)}.log", **options)
        started.append(publisher)
        return publisher

    yield start
    for publisher in started:
        publisher.stop()
        print(f"--- {publisher.url}: log of the publisher\n{publisher.log_text[-4000:]}", file=sys.stderr)


@pytest.fixture(scope="session", autouse=True)
def one_browser():
    yield
    viewer.close_browser()


@pytest.fixture
def open_page():
    pages = []

    def start(url, **options):
        page = viewer.Viewer(url, **options)
        pages.append(page)
        return page

    yield start
    for page in pages:
        page.close()


class Pages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def page_server():
    """Serves the folder of the tests: a page elsewhere than the stream, as a seller's would be."""
    handler = functools.partial(Pages, directory=str(Path(__file__).parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
