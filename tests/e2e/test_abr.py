"""A line that carries less and less, then more again: the page changes rungs in time and plays on. tests/bench/abr has the figures."""

import pytest

import abr_scene
import harness

STALLS_S = 2  # all together; none where the machine has time, 7 to 12 when hls.js chooses

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with abr_scene.ladder(tmp_path_factory.mktemp("abr")) as node:
        yield node
    node.check_log()


@pytest.fixture
def line(node):
    line = abr_scene.Line(node)
    yield line
    line.close()


def wait_for_rung(page, *heights):
    """Until the picture is of one of these heights; what was loaded before has been shown by then."""
    harness.wait_for(lambda: page.evaluate("document.querySelector('video').videoHeight") in heights, 30, f"one of {heights} lines")


def test_the_page_goes_down_and_up_again_with_the_line(line, open_page):
    line.rate(5000)
    page = open_page(line.url(f"/{abr_scene.STREAM}/"))
    page.wait_state("playing", deadline_s=30)
    wait_for_rung(page, 360)
    page.wait_frames(5 * 25, deadline_s=30)
    stalled = page.stats()["stallSeconds"]
    line.rate(800)
    wait_for_rung(page, 270, 180)
    page.wait_frames(3 * 25, deadline_s=30)
    line.rate(150)
    wait_for_rung(page, 180)
    page.wait_frames(5 * 25, deadline_s=30)
    assert page.stats()["margin"] > 1 and page.stats()["bandwidth"] < 300_000
    assert "180p (auto: 0." in page.evaluate("document.querySelector('#quality').options[0].text")
    line.rate(5000)
    wait_for_rung(page, 360)
    stalled = page.stats()["stallSeconds"] - stalled
    assert stalled < STALLS_S
    report = page.report()
    assert report["reordered"] == 0 and not report["errors"], report
    assert page.evaluate("document.querySelector('video').buffered.length") == 1
