"""The validator must be able to fail: a made-up stream without fault passes every check, and each check is shown at least one
stream that breaks its rule alone. Also keeps docs/hls.md and the tests in agreement. Needs no node.
"""
import copy
import re
from pathlib import Path

import hls_golden as golden
import hls_validator
import pytest
from hls_playlist import parse
from hls_recording import CROSS, MEDIA, MULTI, PAIR, PROBE, STATIC, Answer
from hls_validator import Report, judge_playlist

GOOD = golden.make_playlist("v0a0", 115)
ENDED = golden.make_playlist("v0a0", 115, endlist=True)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/hls.md"


def swap(old, new, count=1):
    """A mutation of text that must find what it mutates."""
    def mutate(text):
        assert old in text, old
        return text.replace(old, new, count)
    return mutate


def failing(report):
    return {number for number, failures in report.failures.items() if failures}


# --- the reader: (number, mutation of the good playlist); None instead of a string where the body is bytes

FORM = [
    (2, lambda t: "\ufeff" + t), (2, swap("#EXTINF", "\x01#EXTINF")), (2, lambda t: t + "#cafe\u0301\n"),
    (2, lambda t: t.encode() + b"#\xff\n"),
    (3, swap("#EXTM3U\n", "\n#EXTM3U\n")), (3, lambda t: ""),
    (4, lambda t: t + "#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n"),
    (5, swap("VERSION:6", "VERSION:5")), (5, swap("#EXT-X-VERSION:6\n", "#EXT-X-VERSION:6\n#EXT-X-VERSION:6\n")),
    (6, swap("VERSION:6", "VERSION:9")),
    (7, swap(",HOLD-BACK", ", HOLD-BACK")), (7, swap("HOLD-BACK=6.0", "HOLD-BACK=6.0,HOLD-BACK=6.0")),
    (7, swap("HOLD-BACK=0.660", 'HOLD-BACK="0.660"')), (7, swap("HOLD-BACK=6.0", "HOLD-BACK=6.0,")),
    (7, swap("#EXTINF:2.000000,", "#EXTINF:2.000000")), (7, swap("TARGETDURATION:2", "TARGETDURATION:2.0")),
    (7, swap("TYPE=PART", "TYPE=WHOLE")), (7, swap("PART-TARGET=0.220000", "OTHER=1")),
    (8, swap("#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-TARGETDURATION:2\n")),
    (14, lambda t: t + "#EXT-X-MEDIA-SEQUENCE:103\n"), (27, lambda t: t[:-20]),
    (39, swap("#EXT-X-PART:DURATION=0.200000,INDEPENDENT=YES,", "#EXT-X-PART:INDEPENDENT=YES,")),
    (39, swap(',URI="v0a0/p81.m4s"', "")),
    (45, swap("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:28.000Z\n#EXTINF", -1)),
    (46, lambda t: t + "#EXTINF:2.0,\n"), (106, lambda t: t + "#EXT-X-DISCONTINUITY-SEQUENCE:0\n"),
    (110, swap("#EXTINF:2.000000,", "#EXT-X-GAP")),
]


@pytest.mark.parametrize("i", range(len(FORM)), ids=[f"LL-{n:03}-{i}" for i, (n, _) in enumerate(FORM)])
def test_the_reader_can_fail(i):
    number, mutate = FORM[i]
    report = Report()
    judge_playlist(report, parse(mutate(GOOD)))
    assert number in failing(report), report


# --- checks by name: what breaks their rule. Values are mutations of what the kind of check is given.

STATIC_FAILS = {
    "version_suffices": swap("VERSION:6", "VERSION:3"),
    "version_no_greater": swap("VERSION:6", "VERSION:7"),
    "target_duration_present": swap("#EXT-X-TARGETDURATION:2\n", ""),
    "extinf_within_target": swap("EXTINF:2.000000", "EXTINF:2.500000"),
    "parts_listed_at_the_end_only": swap("#EXTINF", '#EXT-X-PART:DURATION=2.0,URI="x.m4s"\n#EXTINF'),
    "no_playlist_type": swap("#EXT-X-MAP", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MAP"),
    "endlist_closes": lambda t: t + "#EXT-X-ENDLIST\n",
    "parts_have_part_inf": swap("#EXT-X-PART-INF:PART-TARGET=0.220000\n", ""),
    "part_inf_has_hold_back": swap("PART-HOLD-BACK=0.660,", ""),
    "part_hold_back_two_parts": swap("BACK=0.660", "BACK=0.439"),
    "part_hold_back_three_parts": swap("BACK=0.660", "BACK=0.659"),
    "hold_back_three_targets": swap("HOLD-BACK=6.0", "HOLD-BACK=5.9"),
    "skip_boundary_six_targets": swap("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.9"),
    "skip_dateranges_with_skip_until": swap("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-DATERANGES=YES"),
    "part_within_target": swap("DURATION=0.200000", "DURATION=0.220001"),
    "part_not_too_short": swap('0.200000,URI="v0a0/p83', '0.186999,URI="v0a0/p83'),
    "parts_sum_to_extinf": swap("0.200000", "0.201000"),
    "old_parts_removed": swap("#EXTINF", '#EXT-X-PART:DURATION=2.0,URI="x.m4s"\n#EXTINF'),
    "next_part_hinted": lambda t: re.sub("#EXT-X-PRELOAD.*\n", "", t),
    "one_hint_a_type": lambda t: t + '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="y.m4s"\n',
    "report_uri_relative": swap('REPORT:URI="a0.m3u8"', 'REPORT:URI="/live/x/a0.m3u8"'),
    "report_complete": swap(",LAST-PART=5", ""),
    "durations_printed_exactly": swap("DURATION=0.200000", "DURATION=0.2000"),
    "media_on_the_same_authority": swap("\nv0a0/104.m4s", "\nhttp://elsewhere/104.m4s"),
    "date_on_every_segment": lambda t: re.sub("#EXT-X-PROGRAM.*\n", "", t, count=1),
    "date_with_zone_and_ms": swap("28.000Z", "28Z"),
    "date_after_discontinuity": lambda t: re.sub("#EXT-X-PROGRAM.*\n", "#EXT-X-DISCONTINUITY\n", t, count=1),
    "dates_continue": swap("22:13:30.000Z", "22:13:33.000Z"),
    "discontinuity_sequence_present": lambda t: t.replace("#EXT-X-DISCONTINUITY-SEQUENCE:0\n", "").replace(
        "#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF", 1),
    "start_outside_hold_back": swap("#EXT-X-MAP", "#EXT-X-START:TIME-OFFSET=-5.9\n#EXT-X-MAP"),
    "every_segment_has_map": lambda t: re.sub("#EXT-X-MAP.*\n", "", t),
    "no_variables_imported": swap("#EXT-X-MAP", '#EXT-X-DEFINE:IMPORT="x"\n#EXT-X-MAP'),
}
AFTER = golden.make_playlist("v0a0", 119)  # the next segment is whole, the oldest one leaves
PAIR_FAILS = {
    "target_duration_constant": swap("TARGETDURATION:2", "TARGETDURATION:3"),
    "media_sequence_never_falls": swap("SEQUENCE:104", "SEQUENCE:102"),
    "uri_of_msn_constant": swap("\nv0a0/106.m4s", "\nv0a0/106b.m4s"),
    "removed_from_the_front": swap("#EXT-X-MEDIA-SEQUENCE:104", "#EXT-X-MEDIA-SEQUENCE:103"),
    "only_permitted_changes": swap('0.200000,URI="v0a0/p113', '0.199000,URI="v0a0/p113'),
    "three_targets_left": lambda t: "\n".join(t.split("#EXT-X-PROGRAM")[:1]),
    "low_latency_constants": swap("PART-HOLD-BACK=0.660", "PART-HOLD-BACK=0.661"),
    "discontinuity_sequence_counts_removals": swap("DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"),
}
MULTI_FAILS = {
    "codecs_present": lambda t: re.sub(',CODECS="[^"]*"', "", t, count=1),
    "resolution_and_rate_present": swap(",RESOLUTION=320x180", ""),
    "video_range_sdr": swap(",FRAME", ",VIDEO-RANGE=PQ,FRAME"),
    "groups_exist": swap(",FRAME", ',AUDIO="none",FRAME'),
    "renditions_complete": swap("#EXT-X-STREAM", '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",CHANNELS="2",URI="a0.m3u8"\n' * 2
                                + "#EXT-X-STREAM"),
    "groups_of_a_type_alike": swap("#EXT-X-STREAM", '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",CHANNELS="2",URI="a0.m3u8"\n'
                                   '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="low",NAME="y",CHANNELS="2",URI="a1.m3u8"\n#EXT-X-STREAM'),
    "members_fit_their_type": swap("#EXT-X-STREAM", '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="x"\n#EXT-X-STREAM'),
    "audio_has_channels": swap("#EXT-X-STREAM", '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="a0.m3u8"\n#EXT-X-STREAM'),
    "captions_none_everywhere": swap(",CLOSED-CAPTIONS=NONE", ""),
    "independent_segments_not_claimed": swap("#EXT-X-STREAM", "#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM"),
    "lowest_rung_is_audio": swap('CODECS="mp4a.40.2"', 'CODECS="mp4a.40.2,avc1.42c00d"'),
    "stable_ids_well_formed": swap(",FRAME", ',STABLE-VARIANT-ID="a b",FRAME'),
    "no_variables": swap("#EXT-X-STREAM", '#EXT-X-DEFINE:NAME="x",VALUE="y"\n#EXT-X-STREAM'),
    "no_session_data_or_keys": swap("#EXT-X-STREAM", '#EXT-X-SESSION-DATA:DATA-ID="x",VALUE="y"\n#EXT-X-STREAM'),
    "steering_names_a_pathway": swap("#EXT-X-STREAM", '#EXT-X-CONTENT-STEERING:SERVER-URI="s.json",PATHWAY-ID="x"\n#EXT-X-STREAM'),
}


def status(uri, value):
    def mutate(r):
        r.objects[uri].status = value
    return mutate


def body(uri, mutate_bytes):
    def mutate(r):
        r.objects[uri].body = mutate_bytes(r.objects[uri].body)
    return mutate


def replace_bytes(old, new):
    def mutate(data):
        assert old in data
        return data.replace(old, new, 1)
    return mutate


def playlists(mutate_text):
    """The same mutation in every version."""
    def mutate(r):
        for sample in r.samples:
            sample.playlist = parse(mutate_text(sample.playlist.text))
    return mutate


def late(from_index, by):
    def mutate(r):
        for sample in r.samples[from_index:]:
            sample.at += by
    return mutate


def every_part_late(r):
    for i, sample in enumerate(r.samples):
        sample.at += 0.5 * i


def renamed_map(r):
    r.objects["v0a0/init-2.mp4"] = copy.copy(r.objects["v0a0/init-1.mp4"])
    r.objects["v0a0/init-2.mp4"].body = r.objects["v0a0/init-1.mp4"].body.replace(bytes([1, 0x42, 0xC0]), bytes([1, 0x4D, 0xC0]))
    for sample in r.samples:
        for s in sample.playlist.all_segments:
            s.map_uri = "v0a0/init-2.mp4" if s.msn >= 110 else s.map_uri


def hinted_otherwise(r):
    for sample in r.samples:
        for hint in sample.playlist.hints:
            hint["URI"] = '"v0a0/other.m4s"'


def slow_hint(r):
    r.objects["v0a0/p100.m4s"].last += 0.15


def read_otherwise(r):
    next(iter(r.bodies.values())).add("another text")


def unlisted_parts(r):
    for s in r.segments.values():
        s.parts = []


def asked_for_more(r):
    r.samples[5].asked = (r.samples[5].asked[0], r.samples[5].asked[1] + 1)


def wrong_type(r):
    r.samples[3].answer.headers["content-type"] = "application/x-mpegURL"


def not_cached(r):
    r.objects["v0a0/p100.m4s"].headers = {"cache-control": "max-age=1"}


def gone(number):
    def mutate(r):
        for what in r.retained:
            if what[0] == number:
                what[2].status = 404
    return mutate


def kept_hint(r):
    next(iter(r.abandoned.values())).status = 200


# Size and flags in trun, of all video samples there are.
NON_SYNC, SYNC = (404 << 32 | 0x1010000).to_bytes(8, "big"), (404 << 32 | 0x2000000).to_bytes(8, "big")
MEDIA_FAILS = {
    "playlist_media_type": wrong_type,
    "segments_in_time": late(30, 2.5),
    "parts_in_time": every_part_late,
    "everything_listed_is_there": status("v0a0/p100.m4s", 404),
    "removed_segments_stay": gone(22),
    "ended_segments_stay": gone(29),
    "removed_parts_stay": gone(48),
    "extinf_accumulates_no_error": playlists(swap("EXTINF:2.000000", "EXTINF:2.001000", -1)),
    "readers_see_the_same": read_otherwise,
    "timestamps_continue": lambda r: body("v0a0/p100.m4s", later)(r),
    "independent_parts_flagged": playlists(lambda t: t.replace(",INDEPENDENT=YES", "")),
    "flagged_parts_independent": playlists(lambda t: t.replace('0.200000,URI="v0a0/p101', '0.200000,INDEPENDENT=YES,URI="v0a0/p101')),
    "sync_samples_are_idr": body("v0a0/p101.m4s", replace_bytes(NON_SYNC, SYNC)),
    "parts_are_the_segment": body("v0a0/110.m4s", lambda b: b[:-1] + b"\1"),
    "parts_hold_the_segments_samples": body("v0a0/p101.m4s", replace_bytes((3000).to_bytes(4, "big"), (3900).to_bytes(4, "big"))),
    "hinted_uri_is_listed_next": hinted_otherwise,
    "hinted_part_held": status("v0a0/p100.m4s", 404),
    "abandoned_hint_is_404": kept_hint,
    "parts_sent_whole": slow_hint,
    "segments_hold_an_independent_frame": body("v0a0/110.m4s", replace_bytes(SYNC, NON_SYNC)),
    "segments_start_with_idr": body("v0a0/110.m4s", replace_bytes(SYNC, NON_SYNC)),
    "lists_parts": unlisted_parts,
    "reload_blocks_until_part": asked_for_more,
    "media_cached_long": not_cached,
    "tracks_change_at_discontinuities_only": renamed_map,
    "new_map_at_discontinuity": renamed_map,
    "init_is_right": body("v0a0/init-1.mp4", lambda b: b.replace(b"mvhd" + bytes(20), b"mvhd" + bytes(19) + b"\1")),
    "fragments_relative_to_moof": body("v0a0/p100.m4s", replace_bytes(b"tfhd\0\2\0\0", b"tfhd\0\0\0\0")),
    "track_ids_known": body("v0a0/p100.m4s", replace_bytes(b"tfhd\0\2\0\0\0\0\0\1", b"tfhd\0\2\0\0\0\0\0\7")),
    "part_duration_is_its_samples": playlists(lambda t: t.replace('DURATION=0.200000', 'DURATION=0.200030')),
}
PROBE_FAILS = {
    "playlists_compressed": ("gzip", {"headers": {}}),
    "unknown_is_404": ("unknown_part", {"status": 200}),
    "msn_alone_answered_at_its_first_part": ("next_segment", {"body": golden.make_playlist("v0a0", 109).encode()}),
    "msn_alone_waits_for_its_segment": ("next_segment", {"body": golden.make_playlist("v0a0", 109).encode()}),
    "part_past_the_end_is_the_next_segments_first": ("past_final", {"body": golden.make_playlist("v0a0", 109).encode()}),
    "old_msn_answered_at_once": ("msn_long_gone", {"status": 400}),
    "msn_too_far_refused": ("msn_ahead", {"last": 3.0}),
    "part_too_far_refused": ("part_ahead", {"status": 200}),
    "part_alone_refused": ("part_alone", {"status": 200}),
    "blocked_too_long_is_503": ("silence", {"last": 9.0}),
    "ended_ignores_directives": ("ended_msn", {"status": 400}),
    "end_releases_the_blocked": ("blocked_at_end", {"status": 503}),
    "skip_gives_a_delta": ("delta", {"body": GOOD.encode()}),
    "delta_keeps_the_boundary": ("delta", {"body": golden.make_playlist("v0a0", 115, skip=4).encode()}),
    "delta_merges_to_the_full": ("delta", {"body": golden.make_playlist("v0a0", 115, skip=2).replace(
        "SEGMENTS=2", "SEGMENTS=1").encode()}),
    "delta_keeps_other_tags": ("delta", {"body": re.sub("#EXT-X-REND.*\n", "", golden.make_playlist("v0a0", 115, skip=1)).encode()}),
    "queries_idempotent": ("permuted", {"status": 400}),
    "blocking_answers_cached": ("blocked", {"headers": {"cache-control": "max-age=1"}}),
    "plain_answers_cached_briefly": ("plain", {"headers": {"cache-control": "max-age=6"}}),
    "missing_media_cached_briefly": ("unknown_part", {"headers": {"cache-control": "max-age=60"}}),
    "lifetimes_said": ("options", {"headers": {}}),
    "age_exposed_and_not_invented": ("plain", {"headers": {"age": "0"}}),
    "ranges_answered": ("range", {"body": b"1234567890"}),
}


def main(mutate_recording):
    return lambda m, rs: mutate_recording(rs["v0a0.m3u8"])


def audio(mutate_text):
    return lambda m, rs: playlists(mutate_text)(rs["a0.m3u8"])


def drop_segment(m, rs):
    del rs["a0.m3u8"].segments[105]


def later(data):
    """The first fragment's tfdt 64 ticks off."""
    at = data.index(b"tfdt") + 15
    return data[:at] + bytes([data[at] ^ 64]) + data[at + 1:]


def shift_audio(m, rs):
    for uri, answer in rs["a0.m3u8"].objects.items():
        if "/p" in uri:
            answer.body = later(answer.body)


def other_sound(m, rs):
    answer = rs["a0.m3u8"].objects["a0/110.m4s"]
    answer.body = answer.body[:-1] + b"\1"


def old_reports(m, rs):
    for sample in rs["v0a0.m3u8"].samples:
        for report in sample.playlist.reports:
            report["LAST-MSN"] = "108"


def apart(m, rs):
    late(1, 0.5)(rs["a0.m3u8"])


def variant(**attributes):
    def mutate(m, rs):
        m.variants[0][0].update({name.replace("_", "-"): value for name, value in attributes.items()})
    return mutate


CROSS_FAILS = {
    "same_target_duration": audio(swap("TARGETDURATION:2", "TARGETDURATION:3")),
    "same_server_control": audio(swap("HOLD-BACK=6.0", "HOLD-BACK=7.0")),
    "same_part_target": audio(swap("PART-TARGET=0.220000", "PART-TARGET=0.210000")),
    "reports_of_all_others": main(playlists(lambda t: re.sub("#EXT-X-REND.*\n", "", t))),
    "reports_resolve": main(playlists(lambda t: t.replace('"a0.m3u8"', '"a1.m3u8"'))),
    "reports_fresh": old_reports,
    "renditions_updated_together": apart,
    "dates_map_alike": audio(lambda t: t.replace(".000Z", ".080Z")),
    "same_discontinuity_numbers": audio(lambda t: t.replace("DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1")),
    "same_content_same_timestamps": shift_audio,
    "content_in_all_renditions": drop_segment,
    "bandwidth_covers_the_peak": variant(BANDWIDTH="1000"),
    "average_bandwidth_true": variant(AVERAGE_BANDWIDTH="1000"),
    "codecs_match_the_init": variant(CODECS='"avc1.640028,mp4a.40.2"'),
    "resolution_matches_the_init": variant(RESOLUTION="640x360"),
    "variants_share_their_sound": other_sound,
}


def by_name(checks):
    return {fn.__name__: fn for fn in checks}


def verdict(fn, *args):
    report = Report()
    report.run([fn], *args)
    return report.status(fn.number)


@pytest.fixture(scope="module")
def recordings():
    return {f"{name}.m3u8": golden.make_recording(name) for name in ("v0a0", "a0")}


@pytest.mark.parametrize("kind, fails", [(STATIC, STATIC_FAILS), (PAIR, PAIR_FAILS), (MULTI, MULTI_FAILS), (MEDIA, MEDIA_FAILS),
                                         (PROBE, PROBE_FAILS), (CROSS, CROSS_FAILS)], ids="static pair multi media probe cross".split())
def test_every_check_has_a_failure_below(kind, fails):
    assert sorted(by_name(kind)) == sorted(fails)


@pytest.mark.parametrize("name", STATIC_FAILS)
def test_check_of_a_playlist_can_fail(name):
    fn = by_name(STATIC)[name]
    assert verdict(fn, parse(GOOD)) != "fail"
    assert verdict(fn, parse(STATIC_FAILS[name](GOOD))) == "fail"


@pytest.mark.parametrize("name", PAIR_FAILS)
def test_check_of_two_versions_can_fail(name):
    fn = by_name(PAIR)[name]
    assert verdict(fn, parse(GOOD), parse(AFTER)) == "pass"
    assert verdict(fn, parse(GOOD), parse(PAIR_FAILS[name](AFTER))) == "fail"


@pytest.mark.parametrize("name", MULTI_FAILS)
def test_check_of_a_multivariant_can_fail(name):
    fn, text = by_name(MULTI)[name], golden.make_multivariant().decode()
    assert verdict(fn, parse(text)) != "fail"
    assert verdict(fn, parse(MULTI_FAILS[name](text))) == "fail"


@pytest.mark.parametrize("name", MEDIA_FAILS)
def test_check_of_a_recording_can_fail(name, recordings):
    fn, recording = by_name(MEDIA)[name], copy.deepcopy(recordings["v0a0.m3u8"])
    assert verdict(fn, copy.deepcopy(recording)) != "fail"
    MEDIA_FAILS[name](recording)
    assert verdict(fn, recording) == "fail"


@pytest.mark.parametrize("name", PROBE_FAILS)
def test_check_of_an_answer_can_fail(name):
    fn, probes = by_name(PROBE)[name], golden.make_probes()
    assert verdict(fn, probes) == "pass"
    probe, changes = PROBE_FAILS[name]
    for field, value in changes.items():
        setattr(probes[probe], field, value)
    assert verdict(fn, probes) == "fail"


@pytest.mark.parametrize("name", CROSS_FAILS)
def test_check_of_renditions_can_fail(name, recordings):
    fn, m, rs = by_name(CROSS)[name], parse(golden.make_multivariant()), copy.deepcopy(recordings)
    assert verdict(fn, m, copy.deepcopy(rs)) == "pass"
    CROSS_FAILS[name](m, rs)
    assert verdict(fn, m, rs) == "fail"


GROUP = swap("#EXT-X-STREAM", '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a0",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a0.m3u8"\n'
             "#EXT-X-STREAM")


@pytest.mark.parametrize("name", ["bandwidth_covers_the_peak", "average_bandwidth_true", "codecs_match_the_init"])
def test_an_audio_group_counts_as_part_of_its_variants(name, recordings):
    """The picture's variant says what it is without its group: too little."""
    fn, text = by_name(CROSS)[name], GROUP(golden.make_multivariant().decode())
    assert verdict(fn, parse(text), recordings) == "pass"
    grouped = text.replace(",FRAME", ',AUDIO="a",FRAME').replace("mp4a.40.2", "mp4a.40.5", 1)
    assert verdict(fn, parse(grouped), recordings) == "fail"


def test_faultless_stream_passes(recordings):
    report = hls_validator.judge(recordings, [golden.make_multivariant()], golden.make_probes())
    assert not failing(report), report
    judged = {fn.number for kind in (STATIC, PAIR, MULTI, MEDIA, PROBE, CROSS) for fn in kind}
    untested = {number for number in judged if report.status(number) == "not tested"}
    assert untested == {102, 105, 112, 135, 136, 137, 138, 139, 148}  # no discontinuity, EXT-X-START, groups or steering in it


def test_nothing_to_judge_is_not_a_pass():
    report = Report()
    with pytest.raises(AssertionError, match="not tested"):
        report.require(42)


def test_damaged_media_is_a_failure():
    recording = golden.make_recording("v0a0")
    recording.objects["v0a0/p100.m4s"] = Answer(200, {}, recording.objects["v0a0/p100.m4s"].body[:-5])
    report = Report()
    report.run(MEDIA, recording)
    assert 28 in failing(report)


# --- the document


def test_document_names_tests_that_exist():
    here = Path(__file__).parent
    named = set(re.findall(r"\btest_ll_\w+", DOCUMENT.read_text()))
    there = {name for path in here.glob("test_*.py") for name in re.findall(r"^def (test_ll_\w+)", path.read_text(), re.M)}
    assert named == there, f"only in the document: {sorted(named - there)}; only in tests: {sorted(there - named)}"


def test_document_lists_every_number_once_in_order():
    numbers = [int(n) for n in re.findall(r"^\| LL-(\d{3}) ", DOCUMENT.read_text(), re.M)]
    assert numbers == sorted(set(numbers))
    judged = {fn.number for kind in (STATIC, PAIR, MULTI, MEDIA, PROBE, CROSS) for fn in kind}
    assert judged <= set(numbers), sorted(judged - set(numbers))
