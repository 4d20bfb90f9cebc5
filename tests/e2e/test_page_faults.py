"""The player page when something is amiss: the server refuses or is busy, the browser can't, won't or does it another way, hls.js
doesn't load; and the page worked by keyboard alone, on the smallest screen, in both colour schemes.
"""

import base64
import re

import harness
import publishers
import pytest
import viewer

pytestmark = pytest.mark.alone

PLAYER = harness.ROOT / "relay/page/player.js"
INDEX = "**/index.m3u8"
STREAM = "live/faults"


class Page(viewer.Viewer):
    """A page into whose way things can be put before it is opened."""

    def __init__(self, url, size="800x600"):
        super().__init__("about:blank", size=size)
        self.url = url

    def stub(self, script):
        self._do("init", script=script)

    def route(self, url, **answer):
        self._do("route", url=url, **answer)

    def unroute(self, url):
        self._do("unroute", url=url)

    def open(self):
        self._do("goto", url=self.url)
        return self

    def wait_headline(self, text, deadline_s=10):
        harness.wait_for(lambda: text in self.text("#headline"), deadline_s, f"the page to say {text!r}")


@pytest.fixture(scope="module")
def live(shared_weir, tmp_path_factory):
    """A broadcast for all tests here, as nothing happens to it; gives its page's address."""
    publisher = publishers.ClockPublisher(shared_weir.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log",
                                          size="320x180", kbps=300, noise=8)
    shared_weir.wait_segment(STREAM)
    yield shared_weir.url(f"/{STREAM}/")
    publisher.stop()


@pytest.fixture
def page(live):
    page = Page(live)
    yield page
    page.close()


VIDEO = "document.querySelector('video')"


def expect(page, script, what):
    harness.wait_for(lambda: page.evaluate(script), 10, what)


def is_visible(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').checkVisibility()")


# --- the server


def test_a_busy_server_is_waited_for(page):
    page.route(INDEX, status=503, headers={"Retry-After": "1"})
    page.open().wait_state("busy")
    page.wait_headline("The server is busy, trying again…")
    assert page.evaluate("document.querySelector('#notice').classList.contains('busy')"), "no spinner"
    page.unroute(INDEX)
    page.wait_state("playing", deadline_s=15)
    page.wait_frames(30)
    assert not page.text("#notice").strip()


def test_a_refusal_is_told_and_not_asked_again_at_once(page):
    page.route(INDEX, status=403)
    page.open().wait_state("refused")
    page.wait_headline("This link does not open the stream")
    assert "Ask for a new one" in page.text("#detail")
    page.unroute(INDEX)
    page.evaluate("dispatchEvent(new Event('online'))")  # another network may make a difference: ask now
    page.wait_state("playing", deadline_s=15)


def test_hls_js_that_does_not_load_is_asked_for_again(page):
    page.route("**/*.js")
    page.open().wait_state("lost")
    page.wait_headline("Connection lost, trying again…")
    page.unroute("**/*.js")
    page.wait_state("playing", deadline_s=15)
    page.wait_frames(30)


# --- the browser

WITHOUT_MEDIA_SOURCE = "delete window.MediaSource; delete window.ManagedMediaSource; delete window.WebKitMediaSource;"


def can_play(answer):
    return f"HTMLMediaElement.prototype.canPlayType = (type) => type.includes('mpegurl') ? '{answer}' : 'probably';"


@pytest.mark.parametrize("lacking", [
    WITHOUT_MEDIA_SOURCE + can_play(""),
    "MediaSource.isTypeSupported = () => false;" + can_play(""),
    # The pair that hls.js asks about for a start is there, nothing else.
    "MediaSource.isTypeSupported = (type) => type === 'video/mp4;codecs=avc1.42E01E,mp4a.40.2';" + can_play(""),
], ids=["media-source", "codecs", "this-streams-codecs"])
def test_a_browser_that_cannot_is_told_so(page, lacking):
    page.stub(lacking)
    page.open().wait_state("unsupported")
    page.wait_headline("This browser cannot play the stream")
    assert not is_visible(page, "#big-play")


def test_sound_that_a_browser_lacks_is_named(page):
    page.stub("MediaSource.isTypeSupported = (type) => type.includes('avc1');" + can_play(""))
    page.open().wait_state("unsupported")
    assert "Its sound is AAC" in page.text("#detail")


def test_without_media_source_the_browser_plays_itself(page):
    """Chromium can, too. When that fails for a time, the element is given the address again."""
    page.stub(WITHOUT_MEDIA_SOURCE)
    page.route(INDEX, type="media")
    page.open()
    harness.wait_for(lambda: page.evaluate(f"{VIDEO}.error !== null"), 10, "the element to fail")
    page.unroute(INDEX)
    page.wait_state("playing", deadline_s=15)
    page.wait_frames(30)
    stats = page.stats()
    assert stats["engine"] == "native" and stats["width"] == 320 and stats["rate"] == 1
    assert page.evaluate(f"{VIDEO}.src").endswith(f"/{STREAM}/index.m3u8")
    press_pause(page, "k")
    assert not is_visible(page, "#quality")


@pytest.mark.parametrize("way", ["click", "key"])
def test_a_browser_that_wants_a_tap_first_gets_it(page, way):
    page.stub("""const play = HTMLMediaElement.prototype.play;
        let tapped = false;
        for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, () => { tapped = true; }, true);
        HTMLMediaElement.prototype.play = function () {
          return tapped ? play.call(this) : Promise.reject(new DOMException('not yet', 'NotAllowedError'));
        };""")
    page.open().wait_state("blocked")
    page.wait_headline("Ready to play")
    assert is_visible(page, "#big-play")
    page.click("#big-play") if way == "click" else page.press("k")
    page.wait_state("playing")
    page.wait_frames(30)
    assert not is_visible(page, "#big-play")


# --- menus of what the playlist has

RICH = """#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="de",LANGUAGE="de",URI="words.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=6000000,CODECS="hvc1.1.6.L120.B0,mp4a.40.2",RESOLUTION=1920x1080,SUBTITLES="s"
v0a0.m3u8?high
#EXT-X-STREAM-INF:BANDWIDTH=600000,CODECS="avc1.4d400d,mp4a.40.2",RESOLUTION=320x180,SUBTITLES="s"
v0a0.m3u8
"""
WORDS = "[...document.querySelector('video').textTracks].map((track) => [track.language, track.mode])"


def options(page, selector):
    return page.evaluate(f"[...document.querySelector('{selector}').options].map((one) => [one.value, one.text, one.disabled])")


def test_menus_have_subtitles_and_say_what_is_not_for_this_browser(live):
    page = Page(live, size="320x568")
    try:
        page.route(INDEX, status=200, base64=base64.b64encode(RICH.encode()).decode())
        page.open().wait_state("playing")
        assert options(page, "#quality")[1:] == [["0", "180p · 0.6 Mb/s", False],
                                                 ["no-0", "1080p · 6.0 Mb/s · HEVC (H.265) (not in this browser)", True]]
        assert not is_visible(page, "#sound")
        assert options(page, "#subtitles") == [["", "No subtitles", False], ["de de", "Deutsch", False]]
        assert ["de", "showing"] not in page.evaluate(WORDS)
        page.press("c")
        expect(page, f"({WORDS}).some(([language, mode]) => language === 'de' && mode === 'showing')", "subtitles by c")
        expect(page, "performance.getEntriesByName(new URL('words.m3u8', location.href).href).length > 0", "their playlist to be asked for")
        page.select("#subtitles", "")
        expect(page, f"!({WORDS}).some(([, mode]) => mode === 'showing')", "none by the menu")
        assert page.evaluate(MISPLACED) == []
    finally:
        page.close()


# --- the keyboard


STATS_SHOWN = "!document.querySelector('#stats').hidden"


def press_pause(page, key):
    page.press(key)
    page.wait_state("paused")
    page.press(key)
    page.wait_state("playing")


def press_mute(page, key):
    page.press(key)
    expect(page, f"!{VIDEO}.muted", "sound")
    page.press(key)
    expect(page, f"{VIDEO}.muted", "silence")


def press_full(page, key):
    page.press(key)
    expect(page, "document.fullscreenElement?.id === 'player'", "full screen")
    page.press(key)
    expect(page, "document.fullscreenElement === null", "the window again")


def press_live(page, key):
    page.press(" ")
    page.wait_state("paused")
    expect(page, "document.querySelector('#go-live').checkVisibility()", "the way back to be offered")
    page.press(key)
    page.wait_state("playing")
    expect(page, "weir.stats().following && weir.stats().latency < 2", "the live edge")


def press_stats(page, key):
    page.press(key)
    expect(page, STATS_SHOWN, "statistics")
    page.press(key)
    expect(page, f"!({STATS_SHOWN})", "no statistics")


def press_words(page, key):
    """This stream has none; one that has is in a test above."""
    page.press(key)
    assert page.stats()["words"] is None and not is_visible(page, "#subtitles")


def press_up(page, key):
    page.press(key)
    expect(page, f"!{VIDEO}.muted && Math.abs({VIDEO}.volume - 0.05) < 0.001", "a little sound")
    page.press(key)
    expect(page, f"Math.abs({VIDEO}.volume - 0.1) < 0.001", "more sound")


def press_down(page, key):
    page.evaluate(f"{VIDEO}.muted = false; {VIDEO}.volume = 0.08")
    page.press(key)
    expect(page, f"!{VIDEO}.muted && Math.abs({VIDEO}.volume - 0.03) < 0.001", "less sound")
    page.press(key)
    expect(page, f"{VIDEO}.muted", "none")


PRESS = {" ": press_pause, "k": press_pause, "m": press_mute, "f": press_full, "l": press_live, "i": press_stats,
         "c": press_words, "ArrowUp": press_up, "ArrowDown": press_down}


def test_every_key_of_the_page_is_tried_below():
    table = re.search(r"^const KEYS = \{\n(.*?)^\};", PLAYER.read_text(), re.M | re.S)[1]
    assert [key.strip("'") for key in re.findall(r"^  ('.+?'|\w+):", table, re.M)] == list(PRESS)


def test_every_key_does_what_it_should(page):
    page.open().wait_state("playing")
    for key, press in PRESS.items():
        press(page, key)
    press_stats(page, "I")  # with caps lock


def test_keys_leave_alone_what_is_not_theirs(page):
    page.open().wait_state("playing")
    page.press("Control+i")
    page.press("Alt+m")
    for selector, key in (("#quality", "ArrowDown"), ("#info", " ")):
        page.evaluate(f"document.querySelector('{selector}').focus()")
        page.press(key)
    expect(page, STATS_SHOWN, "the button that has the focus to be pressed, once")
    assert page.evaluate(f"{VIDEO}.muted && {VIDEO}.volume === 1") and page.state == "playing"


# --- the smallest screen, and colours

# Pairs of what can be pressed that share more than a pixel's edge; what stands outside; what is too small for a finger.
MISPLACED = """(() => {
  const boxes = [...document.querySelectorAll('button, select, input, [tabindex="0"]')]
    .filter((element) => element.checkVisibility()).map((element) => [element.id, element.getBoundingClientRect()]);
  const wrong = [];
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`scrolls to ${document.documentElement.scrollWidth}`);
  boxes.forEach(([id, a], i) => {
    if (a.left < 0 || a.right > innerWidth + 0.5 || a.top < 0) wrong.push(`${id} is outside`);
    if (a.height < 43.5 && id !== 'stats') wrong.push(`${id} is ${a.height} high`);
    for (const [other, b] of boxes.slice(i + 1)) {
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (width > 1 && height > 1) wrong.push(`${id} and ${other} overlap`);
    }
  });
  return wrong;
})()"""


@pytest.fixture(scope="module")
def small(live):
    page = Page(live, size="320x568")
    try:
        page.open().wait_state("playing")
        expect(page, "document.querySelector('#unmute').checkVisibility()", "sound to be offered")
        yield page
    finally:
        page.close()


@pytest.mark.parametrize("width, height", [(320, 568), (568, 320), (320, 256), (320, 800)])
def test_controls_do_not_overlap_on_a_small_screen(small, width, height):
    page = small
    page.resize(width, height)
    expect(page, f"innerWidth === {width} && innerHeight === {height}", "the window to have its size")
    assert page.evaluate(MISPLACED) == [], "playing"
    page.press("i")
    assert page.evaluate(MISPLACED) == [], "with statistics"
    page.press("i")
    page.press("k")
    expect(page, "document.querySelector('#go-live').checkVisibility()", "the way back to be offered")
    assert page.evaluate(MISPLACED) == [], "paused"
    page.press("l")
    page.wait_state("playing")


def luminance(colour):
    digits = colour.strip().lstrip("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    return sum(share * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
               for share, c in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_both_colour_schemes_can_be_read(page):
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what shows where the focus is."""
    page.open().wait_state("playing")
    backs = []
    for scheme in ("light", "dark"):
        page.color_scheme(scheme)
        names = ("back", "surface", "text", "quiet", "accent", "live")
        colours = {name: page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')") for name in names}
        for front, back, least in (("text", "back", 4.5), ("text", "surface", 4.5), ("quiet", "surface", 4.5), ("live", "surface", 4.5),
                                   ("quiet", "back", 4.5), ("accent", "surface", 3), ("accent", "back", 3)):
            assert contrast(colours[front], colours[back]) >= least, f"{scheme}: {front} on {back}"
        backs.append(luminance(colours["back"]))
    assert backs[0] > 0.5 > 0.1 > backs[1]
