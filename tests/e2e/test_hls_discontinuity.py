"""What breaks a stream, one after the other in one broadcast: its publisher falls silent, goes on, loses the connection, and
comes back with another picture. Viewers keep one playlist with two discontinuities; both leave the window while we watch.
And, in broadcasts of their own, publishers that come back with more tracks, or with fewer.
"""
import harness
import pytest
from conftest import finish_nodes
from hls_playlist import parse
from hls_recorder import Client
from hls_session import Session
from publishers import Publisher

WINDOW_S, GRACE_S, TARGET_S = 14, 8, 2
STREAM = "live/broken"


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), {"live": {"window_s": WINDOW_S}, "origin": {"grace_s": GRACE_S}}).start()
    folder = tmp_path_factory.mktemp("publisher")
    first = Publisher(node.push_url(STREAM), folder / "first.log", gop_s=2)
    session = Session(node, STREAM)
    session.wait_listed(5)
    first.freeze()
    session.prober.probes["silence"] = held_until_refused(session)
    session.prober.ask("plain")
    first.thaw()
    session.wait_for(lambda p: any(s.discontinuity for s in p.segments), 20, "media after the silence")
    first.drop()
    second = Publisher(node.push_url(STREAM), folder / "second.log", gop_s=2, size="640x360", sample_rate=44100)
    session.wait_for(lambda p: p.discontinuity_sequence >= 2, 60, "both discontinuities to leave the window")
    second.stop()
    session.finish()
    yield session
    second.drop()
    finish_nodes([node])


def held_until_refused(session):
    client = Client(session.node.http)
    while True:
        msn, part = session.first.playlist.last
        answer = client.get(f"{session.first.path}?_HLS_msn={msn}&_HLS_part={(part or 0) + 1}")
        if answer.status != 200:
            answer.headers["x-target-duration"] = str(TARGET_S)
            return answer


@pytest.fixture(scope="module")
def verdict(watched):
    report = watched.judge()
    print(report)
    return report


@pytest.mark.parametrize("number", (11, 12, 14, 15, 16, 17, 18, 25, 26, 28, 37, 38, 40, 41, 42, 43, 45, 46, 51, 54, 100, 101, 103,
                                    107, 108, 111, 120, 121, 122, 123, 126, 127))
def test_the_same_rules_hold(verdict, number):
    verdict.require(number)


def test_ll_078_held_too_long_is_503(verdict):
    verdict.require(78)


def test_ll_086_errors_after_blocking_cached_four_targets(verdict):
    verdict.require(86)


def test_ll_102_dates_at_discontinuities(verdict):
    verdict.require(102)


def test_ll_104_tracks_change_at_discontinuities_only(watched, verdict):
    verdict.require(104)
    assert len(watched.main.inits) >= 2, "the second publisher's picture has no init of its own"


def test_ll_105_new_map_at_a_discontinuity(verdict):
    verdict.require(105)


def test_ll_106_discontinuity_sequence_counts_removals(watched, verdict):
    verdict.require(106)
    assert watched.main.last_playlist.discontinuity_sequence >= 2


def test_ll_109_silence_is_no_gap(watched):
    """A deviation: what comes late is published late, and nothing is ever announced as lost that was not (docs/hls.md)."""
    for sample in watched.main.samples:
        assert b"GAP" not in sample.answer.body


def test_numbers_never_go_back(watched):
    newest = [sample.playlist.last[0] for sample in watched.main.samples]
    assert newest == sorted(newest)


def test_media_time_never_runs_backwards(watched):
    ends = {}
    recording = watched.main
    for s, part, fragments in recording.parts:
        for f in fragments:
            track = recording.inits[s.map_uri].tracks[f.track_id]
            start = f.tfdt / track.timescale
            assert start >= ends.get(track.handler, 0) - 0.001, f"{part.uri}: {track.handler} goes back"
            ends[track.handler] = start + f.duration / track.timescale


PICTURE, SOUND, BOTH = {"audio": False}, {"video": False}, {}


@pytest.mark.parametrize("before, after", ((PICTURE, BOTH), (SOUND, BOTH), (BOTH, PICTURE), (BOTH, SOUND)),
                         ids=("sound_comes", "picture_comes", "sound_goes", "picture_goes"))
def test_all_that_is_listed_is_there_as_tracks(start_weir, publish, stream, before, after):
    """LL-021 for every variant of the stream as it is afterwards: what each lists is of both publishers."""
    node = start_weir({"origin": {"grace_s": 20}})
    first = publish(node.push_url(stream), **before)
    variant = parse(node.wait_live(stream).encode()).variants[0][1]
    node.wait_segment(stream, variant.removesuffix(".m3u8"))
    mark = len(node.log.lines)
    first.drop()
    node.log.wait("publish_end", after=mark, stream=stream)
    publish(node.push_url(stream), **after)

    def resumed():
        playlist = parse(node.get(f"/{stream}/{variants()[0]}").body)
        return any(s.discontinuity and s.uri for s in playlist.all_segments)

    def variants():
        return [uri for _, uri in parse(node.get(f"/{stream}/index.m3u8").body).variants]

    harness.wait_for(resumed, 20, "a segment of the second publisher")
    assert variants() == {"video": ["a0.m3u8"], "audio": ["v0.m3u8"]}.get(next(iter(after), None), ["v0a0.m3u8", "a0.m3u8"])
    for variant in variants():
        segments = parse(node.get(f"/{stream}/{variant}").body).all_segments
        uris = [uri for s in segments for uri in (s.map_uri, s.uri, *(part.uri for part in s.parts)) if uri]
        assert len({s.map_uri for s in segments}) == 2, "not of both publishers"
        missing = [uri for uri in uris if node.get(f"/{stream}/{uri}").status != 200]
        assert not missing, f"{variant} lists what is not there: {missing}"
