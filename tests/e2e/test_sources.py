"""Streams that a node fetches itself, from real servers, encoders and files."""

import os
import subprocess

import pytest

import harness

FETCH = harness.WEIR_BIN.parent / "ingest/fetch/weir-fetch"
SIZE = "320x180"
ENCODE = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "30", "-b:v", "300k", "-c:a", "aac"]
PICTURE = ["-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a clip.mp4"
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", *PICTURE, "-t", "1.2", *ENCODE, path], check=True)
    return path


def times_of(path):
    """Decoding times in seconds of each stream of a transport stream."""
    command = ["ffprobe", "-loglevel", "error", "-show_entries", "packet=stream_index,dts_time", "-of", "csv=p=0", path]
    times = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split():
        stream, dts = line.split(",")[:2]
        times.setdefault(stream, []).append(float(dts))
    return times


def test_a_file_is_played_in_a_loop_in_real_time(clip, tmp_path):
    """By the fetcher alone: what it writes goes on over the clip's end without a break, at a clip's pace."""
    out = tmp_path / "out.ts"
    with open(out, "wb") as file:
        fetch = subprocess.Popen([FETCH, "--loop", "clip"], env={"WEIR_FETCH_URL": f"file:{clip}"}, stdout=subprocess.PIPE)
        begun = harness.time.monotonic()
        while sum(map(len, times_of(out).values() if out.stat().st_size else [])) < 300:
            file.write(os.read(fetch.stdout.fileno(), 65536))
            file.flush()
        took = harness.time.monotonic() - begun
    fetch.kill()
    fetch.wait()
    times = times_of(out)
    assert len(times) == 2
    for dts in times.values():
        steps = [b - a for a, b in zip(dts, dts[1:])]
        assert min(steps) > 0 and max(steps) < 0.08, steps
        assert dts[-1] - dts[0] > 1.5 * 1.2 and took > dts[-1] - dts[0] - 0.5
