"""A healthy stream, 30 fps with a key frame every 2 s and 48 kHz AAC, watched from its first part to ENDLIST: every rule of
docs/hls.md that such a stream can show. The tests only read the verdicts on one shared recording.
"""
import time

import harness
import pytest
from conftest import finish_nodes
from hls_recorder import RETAIN_MARGIN_S, Client
from hls_session import END_S, Session
from publishers import Publisher

# So short that segments leave it and outlive their removal while we watch; longer than the skip boundary of 12 s.
WINDOW_S, SECONDS = 18, 28
STREAM = "live/hls"


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    node = harness.Node(tmp_path_factory.mktemp("weir"), {"live": {"window_s": WINDOW_S}, "origin": {"grace_s": 2}}).start()
    publisher = Publisher(node.push_url(STREAM), tmp_path_factory.mktemp("publisher") / "log", gop_s=2, seconds=SECONDS)
    session = Session(node, STREAM, plain_reader=True)
    session.main.retained += ended_stream_once_more(node, tmp_path_factory.mktemp("brief"))
    session.wait_listed(WINDOW_S)
    session.prober.run()
    session.note_multivariant()
    publisher.wait(SECONDS + 15)
    session.note_multivariant()
    session.prober.probes["blocked_at_end"] = blocked_until_the_end(session)
    session.finish()
    session.prober.ended()
    yield session
    publisher.drop()
    finish_nodes([node])


def ended_stream_once_more(node, folder):
    """Segments of another, brief stream, when it has been over for nearly as long as its playlist lasts (LL-029)."""
    publisher = Publisher(node.push_url("live/brief"), folder / "log", gop_s=2, seconds=4)
    brief = Session(node, "live/brief", media_of=())
    publisher.wait(20)
    brief.finish()
    over, playlist = brief.main.samples[-1].at, brief.main.last_playlist
    until = over + float(playlist.duration) - RETAIN_MARGIN_S
    harness.wait_for(lambda: time.monotonic() >= until, END_S, "the end of the time that ended segments must stay")
    client = Client(node.http)
    found = [(29, s.uri, client.get(f"/live/brief/{s.uri}")) for s in playlist.segments]
    publisher.drop()
    return found


def blocked_until_the_end(session):
    """Asks for the part that never comes; the grace time is shorter than the deadline of held requests."""
    client = Client(session.node.http)
    while True:
        msn, part = session.first.playlist.last
        answer = client.get(f"{session.first.path}?_HLS_msn={msn}&_HLS_part={(part or 0) + 1}")
        if answer.took > 1 or b"#EXT-X-ENDLIST" in answer.body:
            return answer


@pytest.fixture(scope="module")
def verdict(watched):
    report = watched.judge()
    print(report)
    return report


def test_ll_001_playlists_have_the_media_type(verdict):
    verdict.require(1)


def test_ll_002_playlists_are_clean_utf8(verdict):
    verdict.require(2)


def test_ll_003_first_line_is_extm3u(verdict):
    verdict.require(3)


def test_ll_004_no_mix_of_playlist_kinds(verdict):
    verdict.require(4)


def test_ll_005_version_suffices(verdict):
    verdict.require(5)


def test_ll_006_version_no_greater_than_needed(verdict):
    verdict.require(6)


def test_ll_007_attribute_lists_are_strict(verdict):
    verdict.require(7)


def test_ll_008_each_media_playlist_tag_once(verdict):
    verdict.require(8)


def test_ll_009_playlists_gzipped_when_accepted(verdict):
    verdict.require(9)


def test_ll_010_target_duration_present(verdict):
    verdict.require(10)


def test_ll_011_extinf_rounds_within_target(verdict):
    verdict.require(11)


def test_ll_012_target_duration_never_changes(verdict):
    verdict.require(12)


def test_ll_013_target_duration_same_everywhere(verdict):
    verdict.require(13)


def test_ll_014_media_sequence_counts_removals(verdict):
    verdict.require(14)


def test_ll_015_uri_of_a_number_never_changes(verdict):
    verdict.require(15)


def test_ll_016_removals_from_the_front_only(verdict):
    verdict.require(16)


def test_ll_017_only_permitted_changes(verdict):
    verdict.require(17)


def test_ll_018_three_targets_stay_listed(verdict):
    verdict.require(18)


def test_ll_019_segments_come_in_time(verdict):
    verdict.require(19)


def test_ll_020_parts_come_in_time(verdict):
    verdict.require(20)


def test_ll_021_everything_listed_is_there(verdict):
    verdict.require(21)


def test_ll_022_removed_segments_stay_downloadable(verdict):
    verdict.require(22)


def test_ll_024_no_playlist_type(verdict):
    verdict.require(24)


def test_ll_025_endlist_ends_it(verdict):
    verdict.require(25)


def test_ll_026_extinf_accumulates_no_error(verdict):
    verdict.require(26)


def test_ll_027_readers_see_whole_and_same_versions(verdict):
    verdict.require(27)


def test_ll_028_timestamps_continue(verdict):
    verdict.require(28)


def test_ll_029_ended_segments_stay_downloadable(verdict):
    verdict.require(29)


def test_ll_030_parts_have_part_inf(verdict):
    verdict.require(30)


def test_ll_031_part_inf_has_part_hold_back(verdict):
    verdict.require(31)


def test_ll_032_part_hold_back_two_part_targets(verdict):
    verdict.require(32)


def test_ll_033_part_hold_back_three_part_targets(verdict):
    verdict.require(33)


def test_ll_034_hold_back_three_targets(verdict):
    verdict.require(34)


def test_ll_035_skip_boundary_six_targets(verdict):
    verdict.require(35)


def test_ll_036_skip_dateranges_only_with_skip(verdict):
    verdict.require(36)


def test_ll_037_server_control_same_everywhere(verdict):
    verdict.require(37)


def test_ll_038_low_latency_constants_never_change(verdict):
    verdict.require(38)


def test_ll_039_parts_have_uri_and_duration(verdict):
    verdict.require(39)


def test_ll_040_parts_within_part_target(verdict):
    verdict.require(40)


def test_ll_041_parts_not_too_short(verdict):
    verdict.require(41)


def test_ll_042_independent_parts_flagged(verdict):
    verdict.require(42)


def test_ll_043_flagged_parts_are_independent(verdict):
    verdict.require(43)


def test_ll_045_segment_tags_before_its_parts(verdict):
    verdict.require(45)


def test_ll_046_parts_add_up_to_their_segment(verdict):
    verdict.require(46)


def test_ll_047_old_parts_no_longer_listed(verdict):
    verdict.require(47)


def test_ll_048_removed_parts_stay_downloadable(verdict):
    verdict.require(48)


def test_ll_049_next_part_hinted(verdict):
    verdict.require(49)


def test_ll_050_one_hint_a_type(verdict):
    verdict.require(50)


def test_ll_051_hinted_uri_is_listed_next(verdict):
    verdict.require(51)


def test_ll_052_hinted_part_held_until_whole(verdict):
    verdict.require(52)


def test_ll_053_parts_sent_at_full_speed(verdict):
    verdict.require(53)


def test_ll_054_unknown_and_abandoned_are_404(verdict):
    verdict.require(54)


def test_ll_057_reports_of_all_other_renditions(verdict):
    verdict.require(57)


def test_ll_058_report_uris_relative_and_exact(verdict):
    verdict.require(58)


def test_ll_059_reports_have_msn_and_part(verdict):
    verdict.require(59)


def test_ll_060_reports_are_fresh(verdict):
    verdict.require(60)


def test_ll_061_segments_hold_an_independent_frame(verdict):
    verdict.require(61)


def test_ll_062_renditions_updated_together(verdict):
    verdict.require(62)


def test_ll_064_audio_has_parts_and_the_same_target(verdict):
    verdict.require(64)


def test_ll_066_durations_printed_exactly(verdict):
    verdict.require(66)


def test_ll_070_reload_blocks_until_the_segment(verdict):
    verdict.require(70)


def test_ll_071_reload_by_msn_alone_answered_at_its_first_part(verdict):
    verdict.require(71)


def test_ll_072_reload_blocks_until_the_part(verdict):
    verdict.require(72)


def test_ll_073_part_past_the_end_means_the_next_segment(verdict):
    verdict.require(73)


def test_ll_074_old_msn_answered_at_once(verdict):
    verdict.require(74)


def test_ll_075_msn_too_far_ahead_refused(verdict):
    verdict.require(75)


def test_ll_076_part_too_far_ahead_refused(verdict):
    verdict.require(76)


def test_ll_077_part_without_msn_refused(verdict):
    verdict.require(77)


def test_ll_079_directives_ignored_after_endlist(verdict):
    verdict.require(79)


def test_ll_080_skip_gives_a_delta(verdict):
    verdict.require(80)


def test_ll_081_delta_keeps_the_skip_boundary(verdict):
    verdict.require(81)


def test_ll_082_delta_merges_to_the_full_playlist(verdict):
    verdict.require(82)


def test_ll_084_delta_keeps_all_other_tags(verdict):
    verdict.require(84)


def test_ll_085_unknown_queries_ignored_any_order(verdict):
    verdict.require(85)


def test_ll_086_blocking_answers_cached_six_targets(verdict):
    verdict.require(86)


def test_ll_087_plain_answers_cached_half_a_target(verdict):
    verdict.require(87)


def test_ll_088_media_cached_long_errors_briefly(verdict):
    verdict.require(88)


def test_ll_089_every_answer_says_its_lifetime(verdict):
    verdict.require(89)


def test_ll_090_age_exposed_never_invented(verdict):
    verdict.require(90)


def test_ll_094_all_uris_on_one_authority(verdict):
    verdict.require(94)


def test_ll_095_ranges_answered(verdict):
    verdict.require(95)


def test_ll_100_dates_everywhere_and_alike(verdict):
    verdict.require(100)


def test_ll_101_dates_with_zone_and_milliseconds(verdict):
    verdict.require(101)


def test_ll_103_dates_map_unambiguously(verdict):
    verdict.require(103)


def test_ll_107_discontinuity_numbers_same_everywhere(verdict):
    verdict.require(107)


def test_ll_108_same_content_same_timestamps(verdict):
    verdict.require(108)


def test_ll_111_content_in_all_renditions(verdict):
    verdict.require(111)


def test_ll_120_init_without_duration_or_samples(verdict):
    verdict.require(120)


def test_ll_121_every_segment_has_a_map(verdict):
    verdict.require(121)


def test_ll_122_fragments_relative_to_their_moof(verdict):
    verdict.require(122)


def test_ll_123_track_ids_known_to_the_init(verdict):
    verdict.require(123)


def test_ll_124_segments_start_with_an_idr(verdict):
    verdict.require(124)


def test_ll_126_parts_are_bytes_of_their_segment(verdict):
    verdict.require(126)


def test_ll_127_part_durations_are_their_samples(verdict):
    verdict.require(127)


def test_ll_130_bandwidth_covers_the_peak(verdict):
    verdict.require(130)


def test_ll_131_average_bandwidth_true(verdict):
    verdict.require(131)


def test_ll_132_codecs_match_the_init(verdict):
    verdict.require(132)


def test_ll_133_resolution_and_frame_rate_true(verdict):
    verdict.require(133)


def test_ll_134_video_range_is_sdr(verdict):
    verdict.require(134)


def test_ll_140_captions_none_everywhere(verdict):
    verdict.require(140)


def test_ll_141_independent_segments_not_claimed(verdict):
    verdict.require(141)


def test_ll_142_lowest_rung_is_audio_alone(verdict):
    verdict.require(142)


def test_ll_143_variants_share_their_sound(verdict):
    verdict.require(143)


@pytest.mark.parametrize("number", (144, 145, 146, 147))
def test_ll_144_to_147_no_stable_ids_variables_session_data_or_keys(verdict, number):
    verdict.require(number)
