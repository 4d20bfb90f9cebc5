"""A ladder behind a line whose rate changes, and the page that plays it: what tests/e2e/test_abr.py asserts and tests/bench/abr measures.

The stream is a picture with a clock at 2.5 Mb/s with rungs of 500 and 30 kb/s and sound of 32 kb/s: with all that is around them some 640 and
125 kb/s. Times are seconds since the line's rate changed.
"""

import time
from base64 import b64encode
from contextlib import contextmanager

import harness
import publishers
import viewer
from impair import Impair

STREAM = "live/abr"
SOURCE = {"size": "640x360", "fps": 25, "gop_s": 1, "kbps": 2500, "noise": 24, "audio_kbps": 32}
LADDER = ["live/* 270:500 180:30"]
HEIGHTS = [180, 270, 360]
QUEUE_MS = 200  # in front of the line, as mobile networks have
PHASES = [(5000, 15), (800, 15), (150, 20), (5000, 20)]  # kb/s, seconds


@contextmanager
def ladder(folder, stream=STREAM, **source):
    node = harness.Node(folder / "weir", {"ingest": {"ladder": LADDER, "ladder_preset": "ultrafast"}}).start()
    publisher = publishers.ClockPublisher(node.push_url(stream), folder / "log", **{**SOURCE, **source})
    try:
        node.wait_segment(stream)
        harness.wait_for(lambda: node.get(f"/{stream}/v2a0.m3u8").text.count("#EXTINF") >= 3, 20, "three segments of the lowest rung")
        yield node
    finally:
        publisher.stop()
        node.stop()


PLAIN_PAGE = """<!doctype html><meta charset=utf-8><video id=video muted autoplay playsinline></video><script src=/hls.js></script>
<script>
const video = document.getElementById('video'), hls = new Hls();
hls.loadSource('/%s/index.m3u8');
hls.attachMedia(video);
hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
window.weir = { stats: () => ({ level: hls.currentLevel, loading: hls.loadLevel, height: video.videoHeight, bandwidth: hls.bandwidthEstimate, latency: hls.latency,
  rate: video.playbackRate, buffer: video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0 }) };
</script>"""


# What hls.js does and what is in hand then: window.events gathers it.
EVENTS_SCRIPT = """(() => {
  window.events = [];
  const { trigger } = Hls.prototype, video = document.querySelector('video');
  const ms = (piece) => { const { start, first, end } = piece.stats.loading; return `${Math.round(first - start)}+${Math.round(end - first)} ms`; };
  const name = ({ frag, part }) => `${frag.level}:${frag.sn}${part ? `.${part.index}${part.independent ? '*' : ''}` : ''}`;
  const texts = {
    hlsFragLoading: name,
    hlsFragLoaded: (data) => `${name(data)} ${(data.part ?? data.frag).stats.loaded} bytes ${ms(data.part ?? data.frag)}`,
    hlsFragLoadEmergencyAborted: (data) => `${name(data)} at ${data.stats.loaded} bytes`,
    hlsFragBuffered: name,
    hlsLevelLoading: ({ level, deliveryDirectives: asked }) => `${level} for ${asked?.msn}.${asked?.part}`,
    hlsLevelLoaded: ({ level, details, stats }) => `${level} to ${details.lastPartSn}.${details.lastPartIndex} ${ms({ stats })}`,
    hlsBufferFlushing: ({ startOffset, endOffset, type }) => `${type} ${startOffset} ${endOffset}`,
    hlsError: (data) => `${data.details} ${data.error?.message ?? ''}`,
  };
  const ranges = () => Array.from({ length: video.buffered.length }, (_, i) => `${video.buffered.start(i).toFixed(2)}-${video.buffered.end(i).toFixed(2)}`).join(' ');
  Hls.prototype.trigger = function (event, data) {
    if (texts[event]) events.push([performance.now(), event.slice(3), texts[event](data), video.currentTime.toFixed(2), ranges()]);
    return trigger.call(this, event, data);
  };
  video.addEventListener('waiting', () => events.push([performance.now(), 'waiting', '', video.currentTime.toFixed(2), ranges()]));
})()"""


class Line:
    """A bad line to a node, changed as it goes; says what the page said meanwhile."""

    def __init__(self, node):
        self.impair = Impair(node.http)
        self.impair.both(queue_ms=QUEUE_MS)

    def url(self, path):
        return f"http://{self.impair.address}{path}"

    def rate(self, kbps):
        self.impair.down(rate_kbps=kbps)

    def watch(self, page, kbps, seconds):
        """[(seconds since the rate changed, what the page says)], ten times a second."""
        self.rate(kbps)
        start, samples = time.monotonic(), []
        while time.monotonic() - start < seconds:
            samples.append((round(time.monotonic() - start, 2), page.evaluate("window.weir.stats()")))
            time.sleep(0.1)  # how often it is looked at; nothing is waited for
        return samples

    def close(self):
        self.impair.close()


def first(samples, height):
    """When the picture was of this height from then on; None: it wasn't in the end."""
    other = max((at for at, stats in samples if stats["height"] != height), default=-1.0)
    return next((at for at, _ in samples if at > other), None)


def median(values):
    values = sorted(value for value in values if value is not None)
    return values[len(values) // 2] if values else None


def count_frames(page):
    """How many have been decoded, and the number in the one that was shown last."""
    return page.evaluate("[document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames, window.weirProbe.report(0).last_number]")


def play(page, line):
    """Through all rates: a list of samples for each, and how many frames were never decoded from the first change of the rate on; a few more or
    fewer are only decoded ahead then."""
    before = line.watch(page, *PHASES[0])
    decoded, number = count_frames(page)
    rest = [line.watch(page, kbps, seconds) for kbps, seconds in PHASES[1:]]
    decoded_then, number_then = count_frames(page)
    return [before, *rest], (number_then - number) - (decoded_then - decoded)


def open_plain_page(line):
    """hls.js as it comes; its page is put in the way of the node's."""
    page = viewer.Viewer("about:blank")
    script = (harness.ROOT / "relay/page/node_modules/hls.js/dist/hls.min.js").read_bytes()
    for path, kind, body in (("/plain", "text/html", (PLAIN_PAGE % STREAM).encode()), ("/hls.js", "text/javascript", script)):
        page._do("route", url=line.url(path), status=200, headers={"Content-Type": kind}, base64=b64encode(body).decode())
    page._do("goto", url=line.url("/plain"))
    return page


def open_page(line, kind):
    line.impair.down(rate_kbps=PHASES[0][0])
    page = viewer.Viewer(line.url(f"/{STREAM}/")) if kind == "weir" else open_plain_page(line)
    harness.wait_for(lambda: page.evaluate("!!window.weir"), 15, "the page's program")
    return page


def figures(page, phases, undecoded):
    report = page.report()
    return {"stall_ms": report["stall_ms"], "stalls": report["stalls"], "gaps": report["gaps"], "lowest_s": first(phases[2], HEIGHTS[0]),
            "top_again_s": first(phases[3], HEIGHTS[-1]), "latency_s": [median(stats["latency"] for _, stats in samples) for samples in phases],
            "least_buffer_s": [min(stats["buffer"] for _, stats in samples) for samples in phases],
            "heights": [median(stats["height"] for _, stats in samples) for samples in phases], "first_frame_ms": report["first_frame_ms"],
            "undecoded": undecoded, "missed": report["missed"], "repeated": report["repeated"], "glass_ms": report["latency_ms"], "errors": report["errors"]}


def run(node, kind, trace=False):
    line = Line(node)
    page = open_page(line, kind)
    try:
        if trace:
            page.evaluate(EVENTS_SCRIPT)
        phases, undecoded = play(page, line)
        result = figures(page, phases, undecoded)
        if trace:
            for at, event, text, time_s, ranges in page.evaluate("events"):
                print(f"{at / 1000:8.3f} {event:22} {text:44} at {time_s} of {ranges}")
            for (kbps, _), samples in zip(PHASES, phases):
                for at, s in samples[::3]:
                    print(f"{kbps:5} {at:6.2f} shown={s['height']} level={s['level']} loads={s.get('loaded', s.get('loading'))} margin={s.get('margin')} buffer={s['buffer']} latency={s['latency']} "
                          f"target={s.get('target')} rate={s['rate']} bw={s['bandwidth'] and round(s['bandwidth'] / 1000)}")
        return result
    finally:
        page.close()
        line.close()
