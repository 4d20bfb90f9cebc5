"""Publishers for tests: ffmpeg with a test picture, and the instrument that draws the clock into the picture.

Both run in a process group of their own, so that a signal meets all of it: stop() says goodbye as a broadcaster does who
clicks "stop", drop() is a power cut, freeze() is a connection that goes silent without closing.
"""

import os
import signal
import subprocess

import harness

STOP_DEADLINE_S = 10


class PublisherProcess:
    def __init__(self, url, log_path, command):
        self.url = url
        self.log_path = log_path
        self._log = open(log_path, "wb")
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "WEIR_INSTRUMENTS": str(harness.INSTRUMENTS)},
        )

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def stop(self):
        """Ends it in an orderly way; returns its exit status."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                pass
        return self.drop()

    def drop(self):
        """Ends it without a word: the kernel closes its connection."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()
        return self.process.returncode

    def freeze(self):
        """It falls silent; its connection stays open."""
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def wait(self, deadline_s):
        """Until it ends by itself; returns its exit status."""
        return self.process.wait(deadline_s)

    @property
    def alive(self):
        return self.process.poll() is None

    @property
    def log_text(self):
        return self.log_path.read_text(errors="replace")


class Publisher(PublisherProcess):
    """ffmpeg, in real time: a test picture with a tone. `extra` goes before the output: ["-bf", "2"]."""

    def __init__(self, url, log_path, *, fps="30", gop_s=1, size="320x180", kbps=300, bframes=0, sample_rate=48000,
                 seconds=600, video=True, audio=True, extra=(), container="flv"):
        frames = round(float_rate(fps) * gop_s)
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats"]
        if video:
            command += ["-re", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}"]
        if audio:
            command += ["-re", "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={sample_rate}"]
        if video:
            command += ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "main", "-pix_fmt", "yuv420p",
                        "-g", frames, "-keyint_min", frames, "-sc_threshold", 0, "-bf", bframes,
                        "-b:v", f"{kbps}k", "-maxrate", f"{kbps}k", "-bufsize", f"{kbps}k"]
            if not bframes:
                command += ["-tune", "zerolatency"]
        if audio:
            command += ["-c:a", "aac", "-b:a", "64k", "-ar", sample_rate, "-ac", 2]
        command += ["-t", seconds, *extra, "-flush_packets", 1, "-f", container, url]
        super().__init__(url, log_path, command)


class ClockPublisher(PublisherProcess):
    """tests/instruments/publish_clock with these options (`fps=25` is `--fps 25`)."""

    def __init__(self, url, log_path, **options):
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        super().__init__(url, log_path, [harness.ROOT / "tests/instruments/publish_clock", *words, url])


def float_rate(fps):
    """Frames a second of "30", "24000/1001" or 29.97."""
    numerator, _, denominator = str(fps).partition("/")
    return float(numerator) / float(denominator or 1)
