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


class Viewer:
    """One page. `size` is that of its window: "320x640". `insecure`: whoever has signed the certificate."""

    def __init__(self, url, size="800x600", insecure=False):
        self.process = subprocess.Popen(
            ["node", str(SCRIPT), "--drive", "--size", size, *["--insecure"] * insecure, url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer(OPEN_DEADLINE_S)

    def _read(self):
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _answer(self, deadline_s):
        try:
            line = self._answers.get(timeout=deadline_s)
        except queue.Empty:
            raise AssertionError(f"the browser says nothing for {deadline_s} s") from None
        assert line is not None, "the browser is gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["ok"]

    def _do(self, command, **arguments):
        print(json.dumps({"do": command, **arguments}), file=self.process.stdin, flush=True)
        return self._answer(ANSWER_DEADLINE_S)

    def close(self):
        if self.process.poll() is None:
            try:
                print('{"do": "close"}', file=self.process.stdin, flush=True)
                self.process.wait(10)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                print("viewer: had to be killed", file=sys.stderr)
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()

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
