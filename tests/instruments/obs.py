#!/usr/bin/env python3
"""OBS Studio without a person: streams a test clip to an RTMP server from a virtual screen, with a home of its own.

    obs.py [--seconds 20] [--size 640x360] [--fps 30] [--kbps 1500] [--key-s 2] [--bframes] rtmp://127.0.0.1:1935/live KEY

Prints what OBS logged about the connection. Exit status: 0 when it streamed until it was told to stop. Tests use class Obs.

OBS is given everything that it would ask a person for on its first start: a profile, a scene collection, the answer that it
has been seen before. Nothing leaves the machine: its check for updates is sent to a closed port by the proxy variables.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OBS_VERSION = 29 << 24  # as OBS counts; it shows its news to those who come from an older one
SCREEN_DEADLINE_S = 10
STREAM_DEADLINE_S = 40
STOP_DEADLINE_S = 15
STOP_KEY = "F9"

GLOBAL_INI = """
[General]
FirstRun=true
LastVersion={version}
EnableAutoUpdates=false
BrowserHWAccel=false
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
ConfirmOnExit=false
[Basic]
Profile=test
ProfileDir=test
SceneCollection=test
SceneCollectionFile=test
ConfigOnNewProfile=false
[BasicWindow]
SysTrayEnabled=false
PreviewEnabled=false
WarnBeforeStartingStream=false
WarnBeforeStoppingStream=false
"""

PROFILE_INI = """
[General]
Name=test
[Video]
BaseCX={width}
BaseCY={height}
OutputCX={width}
OutputCY={height}
FPSType=0
FPSCommon={fps}
[Audio]
SampleRate=48000
ChannelSetup=Stereo
[Output]
Mode=Advanced
Reconnect=false
[AdvOut]
TrackIndex=1
Encoder=obs_x264
Track1Bitrate=128
[Hotkeys]
OBSBasic.StopStreaming={{"bindings":[{{"key":"OBS_KEY_F9"}}]}}
"""


def scene_collection(clip, width, height):
    item = {
        "id": 1, "name": "clip", "visible": True, "align": 5, "bounds_type": 2, "bounds_align": 0,
        "bounds": {"x": float(width), "y": float(height)}, "pos": {"x": 0.0, "y": 0.0}, "scale": {"x": 1.0, "y": 1.0},
    }
    clip_source = {
        "id": "ffmpeg_source", "versioned_id": "ffmpeg_source", "name": "clip", "enabled": True, "mixers": 255, "volume": 1.0,
        "settings": {"is_local_file": True, "local_file": str(clip), "looping": True, "hw_decode": False},
    }
    scene = {
        "id": "scene", "versioned_id": "scene", "name": "scene", "enabled": True, "mixers": 0,
        "settings": {"id_counter": 1, "custom_size": False, "items": [item]},
    }
    return {
        "name": "test", "current_scene": "scene", "current_program_scene": "scene", "scene_order": [{"name": "scene"}],
        "current_transition": "Cut", "transition_duration": 300, "sources": [clip_source, scene],
    }


def make_clip(path, width, height, fps):
    """Ten seconds of a test picture with a tone, cheap to decode."""
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y",
         "-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={fps}:duration=10",
         "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=10",
         "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)],
        check=True, timeout=60)


class Obs:
    """`server` is the address up to the application, `key` what OBS calls the stream key."""

    def __init__(self, server, key, *, size="640x360", fps=30, kbps=1500, key_s=2, bframes=False):
        self.home = Path(tempfile.mkdtemp(prefix="obs-home-"))
        self.log_path = self.home / "obs.log"
        width, height = map(int, size.split("x"))
        self._configure(server, key, width, height, fps, kbps, key_s, bframes)

    def _configure(self, server, key, width, height, fps, kbps, key_s, bframes):
        clip = self.home / "clip.mp4"
        make_clip(clip, width, height, fps)
        config = self.home / ".config/obs-studio"
        profile, scenes = config / "basic/profiles/test", config / "basic/scenes"
        profile.mkdir(parents=True)
        scenes.mkdir(parents=True)
        (self.home / "run").mkdir(mode=0o700)
        encoder = {"bitrate": kbps, "keyint_sec": key_s, "preset": "ultrafast", "profile": "main", "rate_control": "CBR"}
        encoder |= {"x264opts": "bframes=2"} if bframes else {"tune": "zerolatency"}
        service = {"type": "rtmp_custom", "settings": {"server": server, "key": key, "use_auth": False, "bwtest": False}}
        (config / "global.ini").write_text(GLOBAL_INI.format(version=OBS_VERSION))
        (profile / "basic.ini").write_text(PROFILE_INI.format(width=width, height=height, fps=fps))
        (profile / "streamEncoder.json").write_text(json.dumps(encoder))
        (profile / "service.json").write_text(json.dumps(service))
        (scenes / "test.json").write_text(json.dumps(scene_collection(clip, width, height)))

    def start(self):
        """Returns when OBS says that it streams."""
        self.display = self._start_screen()
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"),
            "DISPLAY": self.display, "QT_QPA_PLATFORM": "xcb", "LANG": "C.UTF-8", "LIBGL_ALWAYS_SOFTWARE": "1",
            "LP_NUM_THREADS": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
        }
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["dbus-run-session", "--", "obs", "--multi", "--startstreaming", "--profile", "test",
                 "--collection", "test", "--disable-updater", "--disable-missing-files-check", "--verbose"],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait(lambda: "==== Streaming Start" in self.log, STREAM_DEADLINE_S, "to stream")
        return self

    def _start_screen(self):
        """Xvfb chooses a free display and writes its number to a pipe."""
        read, write = os.pipe()
        with open(self.home / "xvfb.log", "wb") as log:
            self.screen = subprocess.Popen(
                ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
                pass_fds=[write], stdout=log, stderr=log)
        os.close(write)
        with os.fdopen(read) as number:
            return f":{number.readline().strip()}"

    def _wait(self, predicate, deadline_s, what):
        end = time.monotonic() + deadline_s
        while not predicate():
            if time.monotonic() > end or self.process.poll() is not None or self.broken:
                raise AssertionError(f"OBS was expected {what}:\n{self.log[-4000:]}")
            time.sleep(0.1)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def connection_log(self):
        words = r"rtmp stream|Streaming St|dropped|skipped|lagged|Output '"
        lines = [line for line in self.log.splitlines() if re.search(words, line)]
        return "\n".join([*lines, f"exit status of OBS: {self.process.returncode}"])  # None: it runs; negative: killed, by us if it hung

    @property
    def broken(self):
        return re.search(r"Disconnected from|Connection to .* failed|Server (rejected|returned)", self.log)

    def _press(self, what):
        subprocess.run(["xdotool", what, STOP_KEY], env={**os.environ, "DISPLAY": self.display}, check=True, timeout=STOP_DEADLINE_S)

    def stop(self):
        """As a person would, by a hotkey: OBS unpublishes. Then it is killed: what it makes of SIGINT, in the signal's handler, crashes it
        now and then."""
        self._press("keydown")  # and held: OBS looks at the keyboard now and then
        try:
            self._wait(lambda: "==== Streaming Stop" in self.log, STOP_DEADLINE_S, "to stop")
        finally:
            self._press("keyup")
            self.close()
        return "User stopped the stream" in self.log and not self.broken

    def close(self):
        if hasattr(self, "process"):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        if hasattr(self, "screen"):
            self.screen.terminate()
            self.screen.wait()

    def remove_home(self):
        shutil.rmtree(self.home, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--kbps", type=int, default=1500)
    parser.add_argument("--key-s", type=int, default=2, help="0: OBS's default, 250 frames")
    parser.add_argument("--bframes", action="store_true")
    parser.add_argument("server")
    parser.add_argument("key")
    options = vars(parser.parse_args())
    seconds = options.pop("seconds")
    obs = Obs(options.pop("server"), options.pop("key"), **options)
    try:
        obs.start()
        time.sleep(seconds)
        stopped = obs.stop()
        print(obs.connection_log)
        return 0 if stopped else 1
    finally:
        obs.close()
        obs.remove_home()


if __name__ == "__main__":
    sys.exit(main())
