"""Broadcasters whose clocks are wrong (faulty_publisher), all on one node at once: viewers have one stream each that goes on,
with discontinuities only where a large fault was made, and every frame of it can be decoded.
"""
import subprocess
from concurrent.futures import ThreadPoolExecutor

import harness
import pytest
from conftest import finish_nodes
from faulty_publisher import FAULTS, HOUR, Material, RtmpPublisher, Splice, SrtPublisher
from hls_recording import of_track
from hls_session import Session

SECONDS = 12
TS_HZ = 90000
SRT = {"ts_wrap": 0, "ts_jump_back": 1}  # and their discontinuities
OTHERS = {"open_gop": 0, "new_size": 1}
DISCONTINUITIES = {**{name: fault.discontinuities for name, fault in FAULTS.items()}, **OTHERS, **SRT}
GAPS_S = {name: fault.longest_gap_s for name, fault in FAULTS.items()}
RULES = (11, 12, 14, 15, 16, 17, 21, 38, 40, 42, 51, 104, 120, 122, 123, 126)
WHERE_THERE_IS_ONE = (105, 108)  # a new init, another rendition


def publish_rtmp(node, material, folder):
    plain = material("flv")
    for name, fault in FAULTS.items():
        plain.to(RtmpPublisher(node.rtmp, f"faulty/{name}", fault()))
    splice = Splice(plain.to(RtmpPublisher(node.rtmp, "faulty/new_size")))
    plain.receivers[-1] = splice.first
    larger = material("flv", size="192x108")
    larger.to(splice.second)
    open_gop = material("flv", bframes=2, x264="open-gop=1:scenecut=0")
    open_gop.to(RtmpPublisher(node.rtmp, "faulty/open_gop"))
    return [splice.publisher]


def publish_srt(node, material, folder):
    """One clock wraps after some seconds (ffmpeg's begins at 1.4 s), one goes back by an hour."""
    plain = material("mpegts")
    shifts = {"ts_wrap": lambda ticks: (1 << 33) - 5 * TS_HZ,
              "ts_jump_back": lambda ticks: 2 * HOUR * 90 - (HOUR * 90 if ticks > 6 * TS_HZ else 0)}
    return [plain.to(SrtPublisher(node.srt_url(f"publish/faulty/{name}"), folder / f"{name}.log", shift))
            for name, shift in shifts.items()]


def watch(node, materials, spliced):
    """All of them, from their beginnings to their ends."""
    for made in materials:
        made.start()
    with ThreadPoolExecutor(len(DISCONTINUITIES)) as pool:
        started = pool.map(lambda name: Session(node, f"faulty/{name}", media_of=("v0a0", "v0")), DISCONTINUITIES)
        watched = dict(zip(DISCONTINUITIES, started))
    for made in materials:
        made.wait(SECONDS + 20)
    for publisher in spliced:
        publisher.close()
    for session in watched.values():
        session.finish()
    return watched


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    node = harness.Node(folder / "weir", {"origin": {"grace_s": 1}, "ingest": {"srt": {"listen": ["127.0.0.1:0"]}}}).start()
    materials, senders = [], []

    def material(container, **options):
        materials.append(Material(container, folder / f"ffmpeg-{len(materials)}.log", SECONDS, **options))
        return materials[-1]

    try:
        spliced = publish_rtmp(node, material, folder)
        senders += publish_srt(node, material, folder)
        yield watch(node, materials, spliced)
        assert node.metric("weir_rtmp_protocol_errors_total") == 0
    finally:
        for made in [*materials, *senders]:
            made.stop()
        finish_nodes([node])


@pytest.fixture(scope="module")
def verdicts(sessions):
    return {name: session.judge() for name, session in sessions.items()}


def files_of(recording, folder, name):
    """What a player puts together: for each init all media up to the next."""
    made = {}
    for s in recording.ordered:
        media = b"".join(recording.objects[p.uri].body for p in s.parts)
        made.setdefault(s.map_uri, recording.objects[s.map_uri].body)
        made[s.map_uri] += media
    for number, data in enumerate(made.values()):
        path = folder / f"{name}-{number}.mp4"
        path.write_bytes(data)
        yield path


@pytest.mark.parametrize("name", DISCONTINUITIES)
def test_playlists_keep_the_rules(verdicts, name):
    for number in RULES:
        verdicts[name].require(number)
    for number in WHERE_THERE_IS_ONE:
        assert verdicts[name].status(number) != "fail", verdicts[name]


@pytest.mark.parametrize("name", DISCONTINUITIES)
def test_only_large_faults_are_discontinuities(sessions, name):
    assert sum(s.discontinuity for s in sessions[name].main.ordered) == DISCONTINUITIES[name]


@pytest.mark.parametrize("name", DISCONTINUITIES)
def test_times_go_on(sessions, name):
    """Of each track, from part to part: never back, and no hole longer than the fault makes, but at a discontinuity."""
    recording, ends = sessions[name].main, {}
    before, going_on = None, set()
    for s, part, fragments in recording.parts:
        if s.discontinuity and s is not before:
            going_on = set()
        before = s
        for f in fragments:
            track = recording.inits[s.map_uri].tracks[f.track_id]
            gap_s = f.tfdt / track.timescale - ends.get(track.handler, f.tfdt / track.timescale)
            assert gap_s >= -0.001, f"{part.uri}: {track.handler} goes back by {-gap_s:.3f} s"
            if track.handler in going_on:
                assert gap_s <= GAPS_S.get(name, 0.06), f"{part.uri}: {track.handler} goes on {gap_s:.3f} s later"
            going_on.add(track.handler)
            ends[track.handler] = (f.tfdt + f.duration) / track.timescale
    assert max(ends.values()) - min(ends.values()) < 0.3, f"sound and picture end apart: {ends}"


@pytest.mark.parametrize("name", DISCONTINUITIES)
def test_segments_keep_being_cut(sessions, name):
    """There is one each two seconds: none is lost, and no fault makes a crowd of small ones."""
    whole = [s for s in sessions[name].main.ordered if s.uri]
    assert SECONDS / 2 - 2 <= len(whole) <= SECONDS / 2 + 3 + DISCONTINUITIES[name], [float(s.duration) for s in whole]


@pytest.mark.parametrize("name", DISCONTINUITIES)
def test_all_pictures_are_there(sessions, name):
    """From when it was first seen on; that they go on without holes test_times_go_on says."""
    recording = sessions[name].main
    pictures = sum(len(f.samples) for s, part, fragments in recording.parts for f in of_track(fragments, recording.lead(s.map_uri)))
    assert 25 * SECONDS / 2 <= pictures <= 25 * (SECONDS + 2)  # the two of a splice begin apart


def test_every_frame_is_decoded(sessions, tmp_path):
    """All at once: what ffmpeg has to say names the file."""
    paths = [path for name in sessions for path in files_of(sessions[name].main, tmp_path, name)]
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "error", *(word for path in paths for word in ("-i", path)),
               *(word for number in range(len(paths)) for word in ("-map", number)),
               "-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_open_gops_begin_segments(sessions):
    """x264 sends one IDR picture; every other segment begins with a recovery point."""
    assert all(part.independent for s in sessions["open_gop"].main.ordered if s.uri for part in s.parts[:1])
