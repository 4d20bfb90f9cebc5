"""A backup publisher: it takes over when the stream's publisher falls silent or is gone, and gives the stream back. The two are told apart by
the size of their pictures.
"""

import subprocess
from itertools import pairwise

import harness
import pytest
from continuity import PartWatch
from hls_playlist import parse

pytestmark = pytest.mark.timed

PRIMARY, BACKUP, SLATE = (320, "320x180"), (256, "256x144"), (192, "192x108")  # width; size
PAUSE_S = 1.5  # the longest that a viewer may be without media: a second of silence, and what a machine may add that does much else
SWITCHED_S = 10


def width(node, stream):
    return node.streams()[stream]["tracks"][0]["width"]


def wait_width(node, stream, wanted):
    harness.wait_for(lambda: width(node, stream) == wanted[0], SWITCHED_S, f"the picture of {wanted[1]}")


def wait_standby(node, stream, rank):
    def stands_by():
        entry = node.streams()[stream]
        return [claim["rank"] for claim in entry["standby"]] == [rank] and entry["publisher"]

    return harness.wait_for(stands_by, SWITCHED_S, f"a {rank} to stand by")


def takeovers(node):
    return [node.metric(f'weir_origin_takeovers_total{{reason="{reason}"}}') for reason in ("silence", "gone", "back")]


def longest_pause(watch):
    return max(after[2] - before[2] for before, after in pairwise(watch.parts))


def check(watch):
    """Parts' numbers go on, and none is missing; only the init changes, and the time jumps, where somebody else takes over."""
    watch.finish()
    numbers = [number for number, _, _ in watch.parts]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not [fault for fault in watch.faults if not fault.startswith("the init is")]


def check_decodes(node, stream):
    """What the playlist lists, in runs of one init each."""
    playlist = parse(node.get(f"/{stream}/v0a0.m3u8").body)
    runs = {}
    for segment in playlist.segments:
        if segment.uri:
            runs.setdefault(segment.map_uri, []).append(segment.uri)
    assert len(runs) > 1
    for init, uris in runs.items():
        media = b"".join(node.get(f"/{stream}/{uri}").body for uri in (init, *uris))
        done = subprocess.run(["ffmpeg", "-v", "error", "-xerror", "-i", "-", "-f", "null", "-"], input=media, capture_output=True, timeout=30)
        assert done.returncode == 0 and not done.stderr, done.stderr


def switch(node, stream, watch, first, kill):
    """The publisher falls silent, is heard again, and is gone."""
    watch.wait_media(1)
    first.freeze()
    wait_width(node, stream, BACKUP)
    watch.wait_media(1)
    first.thaw()
    wait_width(node, stream, PRIMARY)
    watch.wait_media(2)
    kill()
    wait_width(node, stream, BACKUP)
    watch.wait_media(2)


def test_backup_takes_over_and_gives_back(shared_weir, publish, open_page, stream):
    node = shared_weir
    before = takeovers(node)
    first = publish(node.push_url(stream), size=PRIMARY[1])
    node.wait_segment(stream)
    second = publish(node.push_url(stream) + "?backup=1", size=BACKUP[1])
    assert wait_standby(node, stream, "backup")["rank"] == "primary"
    page = open_page(node.url(f"/{stream}/"))
    page.wait_state("playing")
    page.wait_frames(30)
    watch = PartWatch(node.http, stream).wait_media(1)
    switch(node, stream, watch, first, first.drop)
    report = page.report(warm_s=1)
    print(report["gaps"], longest_pause(watch))
    assert page.state == "playing" and all(gap["ms"] <= PAUSE_S * 1000 for gap in report["gaps"]), report
    assert longest_pause(watch) < PAUSE_S
    check(watch)
    check_decodes(node, stream)
    assert second.alive
    assert [now - then for now, then in zip(takeovers(node), before)] == [1, 1, 1]


def test_backup_on_another_node_of_the_fleet(fleet, publish, stream):
    origins = [fleet.origin("near"), fleet.origin("far")]
    ingests = [fleet.ingest(name, origins=origins) for name in ("one", "other")]
    relay = fleet.relay(upstreams=origins)
    first = publish(ingests[0].push_url(stream), size=PRIMARY[1])
    relay.wait_segment(stream)
    second = publish(ingests[1].push_url(stream) + "?backup=1", size=BACKUP[1])
    for origin in origins:
        wait_standby(origin, stream, "backup")
    watch = PartWatch(relay.http, stream)
    switch(relay, stream, watch, first, ingests[0].kill)
    print(longest_pause(watch))
    assert longest_pause(watch) < PAUSE_S
    check(watch)
    check_decodes(relay, stream)
    assert second.alive and not ingests[1].log.find("publish_end")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "back soon.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={SLATE[1]}:rate=25", "-f", "lavfi", "-i", "sine", "-t", "2",
                    "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", path], check=True)
    return path


def test_slate_is_shown_while_nobody_publishes(start_weir, publish, clip, stream):
    node = start_weir({"ingest": {"slate": [f"live/* {clip}"], "slate_s": 6}, "origin": {"grace_s": 5}})
    first = publish(node.push_url(stream), size=PRIMARY[1])
    node.wait_segment(stream)
    watch = PartWatch(node.http, stream).wait_media(1)
    first.drop()
    wait_width(node, stream, SLATE)
    watch.wait_media(3)  # longer than the clip
    second = publish(node.push_url(stream), size=BACKUP[1])
    wait_width(node, stream, BACKUP)
    node.log.wait("slate_end", stream=stream, why="somebody publishes")
    watch.wait_media(1)
    check(watch)
    mark = len(node.log.lines)
    second.stop()
    wait_width(node, stream, SLATE)
    node.log.wait("slate_end", 15, mark, stream=stream, why="it has played for as long as it may")
    node.log.wait("stream_end", 15, mark, stream=stream)
