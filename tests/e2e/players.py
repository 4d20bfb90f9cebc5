"""Players that aren't a browser: ffmpeg, ffprobe and GStreamer, each giving back what it saw of a stream.

check_with_ffmpeg and check_with_gstreamer decode a stream of publish_clock and hand every frame to the instrument framecheck,
whose report they return: {"frames", "first", "last", "missing", "duplicate", "reordered", "unreadable", …}.
"""

import json
import subprocess

import harness


def run_pipeline(player, size, deadline_s, seconds=None):
    """`player | framecheck`. The player ends by itself within `deadline_s`, or is stopped after `seconds`."""
    with subprocess.Popen([str(word) for word in player], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as playing:
        log = harness.Log(playing.stderr)
        checking = subprocess.Popen([harness.INSTRUMENTS / "framecheck", "--size", size], stdin=playing.stdout,
                                    stdout=subprocess.PIPE)
        playing.stdout.close()
        try:
            playing.wait(seconds or deadline_s)
        except subprocess.TimeoutExpired:
            playing.kill()
            assert seconds, f"{player[0]} hasn't ended after {deadline_s} s:\n{log.text[-4000:]}"
        report = json.loads(checking.communicate(timeout=10)[0])
    report["log"] = log.text
    return report


def check_with_ffmpeg(url, size, deadline_s=90, seconds=None):
    """All frames from the first one that the playlist has, until the stream ends."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning", "-nostats", "-threads", 1,
               "-live_start_index", 0, "-i", url, "-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", -1,
               "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"]
    return run_pipeline(command, size, deadline_s, seconds)


def check_with_gstreamer(url, size, deadline_s=60, seconds=None):
    """playbin3 with hlsdemux2, of which it is made sure that it is there; sound is decoded and thrown away. Pictures of all rungs are scaled
    to `size`."""
    width, height = size.split("x")
    subprocess.run(["gst-inspect-1.0", "--exists", "hlsdemux2"], check=True)
    command = ["gst-launch-1.0", "--quiet", "playbin3", f"uri={url}", "audio-sink=fakesink sync=true",
               f"video-sink=videoconvert ! videoscale ! video/x-raw,format=I420,width={width},height={height} ! fdsink fd=1 sync=true"]
    return run_pipeline(command, size, deadline_s, seconds)


def probe(url, *options, deadline_s=30):
    """ffprobe's JSON: streams, and with "-show_packets" packets."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", *options, url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline_s)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
