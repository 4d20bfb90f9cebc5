"""The player page in headless Chromium, driven through tests/instruments/viewer.mjs."""

import json
import queue
import subprocess
import sys
import threading

import harness

SCRIPT = harness.ROOT / "tests/instruments/viewer.mjs"
OPEN_DEADLINE_S = 30
ANSWER_DEADLINE_S = 20


class Browser:
    """A Chromium, which pages share: to start one takes a machine of two cores for seconds, in which pages that play stand still."""

    def __init__(self):
        self.process = subprocess.Popen(["node", str(SCRIPT), "--drive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answers = queue.Queue()
        self._asking = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, deadline_s, **command):
        with self._asking:
            print(json.dumps(command), file=self.process.stdin, flush=True)
            try:
                line = self._answers.get(timeout=deadline_s)
            except queue.Empty:
                self.process.kill()  # what it may still say answers another question
                raise AssertionError(f"the browser says nothing for {deadline_s} s") from None
        assert line is not None, "the browser is gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["ok"]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            print("viewer: had to be killed", file=sys.stderr)
            self.process.kill()
            self.process.wait()


_browser = None


def browser():
    """The one that is running, or a new one."""
    global _browser
    if _browser is None or _browser.process.poll() is not None:
        _browser = Browser()
    return _browser


def close_browser():
    if _browser is not None:
        _browser.close()


class Viewer:
    """One page, with a cache, settings and connections of its own. `size` is that of its window: "320x640". `insecure`: whoever has signed
    the certificate."""

    def __init__(self, url, size="800x600", insecure=False):
        self._browser = browser()
        self._page = self._browser.ask(OPEN_DEADLINE_S, do="open", url=url, size=size, insecure=insecure)

    def _do(self, command, **arguments):
        return self._browser.ask(ANSWER_DEADLINE_S, do=command, page=self._page, **arguments)

    def close(self):
        if self._browser.process.poll() is None:
            self._do("close")

    # --- what it does

    def evaluate(self, script):
        return self._do("evaluate", script=script)

    def offline(self):
        self._do("network", offline=True)

    def online(self, kbps=None):
        self._do("network", kbps=kbps)

    def screenshot(self, path):
        self._do("screenshot", path=str(path))

    def click(self, selector):
        self._do("click", selector=selector)

    def press(self, key):
        self._do("press", key=key)

    def select(self, selector, value):
        self._do("select", selector=selector, value=value)

    def resize(self, width, height):
        self._do("resize", width=width, height=height)

    def color_scheme(self, name):
        self._do("media", colorScheme=name)

    # --- what it shows

    def report(self, warm_s=0):
        """See viewer_probe.js: first_frame_ms, frames, latency_ms, stalls, missed, errors, …"""
        return self._do("report", warm=warm_s)

    @property
    def state(self):
        return self.evaluate("window.weir?.state ?? null")

    def stats(self):
        return self.evaluate("window.weir.stats()")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def wait_state(self, *states, deadline_s=15):
        harness.wait_for(lambda: self.state in states, deadline_s, f"the page to be {' or '.join(states)}")

    def wait_frames(self, count, deadline_s=15):
        """Until `count` more frames were shown than now."""
        wanted = self.report()["frames"] + count
        harness.wait_for(lambda: self.report()["frames"] >= wanted, deadline_s, f"{count} more frames")
