"""Checks of answers to single requests; hls_recorder.Prober names them (see hls_recording for what a check is)."""
import gzip

from hls_checks_playlist import control
from hls_playlist import parse
from hls_recording import AT_ONCE_S, PROBE, check


def asked(probes, *names):
    return [(name, probes[name]) for name in names if name in probes]


def is_now(answer, status):
    return answer.status == status and answer.took < AT_ONCE_S


@check(PROBE, 9)
def playlists_compressed(q):
    for name, answer in asked(q, "gzip"):
        yield answer.headers.get("content-encoding") == "gzip", answer.headers
        yield parse(gzip.decompress(answer.body)).problems == [], "the compressed playlist can't be read"


@check(PROBE, 54)
def unknown_is_404(q):
    for name, answer in asked(q, "unknown_part", "unknown_segment", "unknown_init", "unknown_variant", "unknown_stream"):
        yield is_now(answer, 404), f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 71)
def msn_alone_answered_at_its_first_part(q):
    for name, answer in asked(q, "next_segment"):
        p = parse(answer.body)
        msn = int(answer.headers["x-asked-msn"])
        yield answer.status == 200 and p.last[0] >= msn and (p.open is not None), f"asked {msn}, got {p.last}"


@check(PROBE, 70)
def msn_alone_waits_for_its_segment(q):
    """LL-071 is the deviation from the letter: its first part is enough. Nothing of it is not."""
    for name, answer in asked(q, "next_segment"):
        yield answer.status == 200 and parse(answer.body).last[0] >= int(answer.headers["x-asked-msn"]), parse(answer.body).last


@check(PROBE, 73)
def part_past_the_end_is_the_next_segments_first(q):
    for name, answer in asked(q, "past_final"):
        msn = int(answer.headers["x-asked-msn"])
        yield answer.status == 200 and parse(answer.body).last >= (msn + 1, 0), f"asked past the end of {msn}: {answer.status}"


@check(PROBE, 74)
def old_msn_answered_at_once(q):
    for name, answer in asked(q, "msn_present", "msn_long_gone"):
        yield is_now(answer, 200), f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 75)
def msn_too_far_refused(q):
    for name, answer in asked(q, "msn_ahead"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 76)
def part_too_far_refused(q):
    for name, answer in asked(q, "part_ahead"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 77)
def part_alone_refused(q):
    for name, answer in asked(q, "part_alone"):
        yield is_now(answer, 400), f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 78)
def blocked_too_long_is_503(q):
    for name, answer in asked(q, "silence"):
        target = int(answer.headers["x-target-duration"])
        yield answer.status == 503 and 3 * target - 0.5 <= answer.took <= 3 * target + 2, \
            f"{answer.status} after {answer.took:.3f} s"


@check(PROBE, 79)
def ended_ignores_directives(q):
    for name, answer in asked(q, "ended_msn", "ended_skip"):
        p = parse(answer.body)
        yield is_now(answer, 200) and p.endlist and not p.skipped, f"{name}: {answer.status} after {answer.took:.3f} s"


@check(PROBE, 79)
def end_releases_the_blocked(q):
    for name, answer in asked(q, "blocked_at_end"):
        yield answer.status == 200 and parse(answer.body).endlist, f"{answer.status}"


def delta_and_full(q):
    if "delta" in q and "delta_full" in q:
        delta, full = parse(q["delta"].body), parse(q["delta_full"].body)
        if delta.hints == full.hints:  # the same state, however they count
            yield delta, full


@check(PROBE, 80)
def skip_gives_a_delta(q):
    for delta, full in delta_and_full(q):
        if sum(s.duration for s in full.segments[1:]) > control(full, "CAN-SKIP-UNTIL"):
            yield delta.skipped > 0, f"no EXT-X-SKIP, though {float(full.duration)} s are listed"


@check(PROBE, 81)
def delta_keeps_the_boundary(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            kept = sum(s.duration for s in full.segments[delta.skipped:])
            yield kept >= control(full, "CAN-SKIP-UNTIL"), f"{float(kept)} s kept"


@check(PROBE, 82)
def delta_merges_to_the_full(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            merged = [s.lines for s in full.segments[:delta.skipped] + delta.segments]
            yield [line for s in merged for line in s if "EXT-X-MAP" not in line] == \
                  [line for s in full.segments for line in s.lines if "EXT-X-MAP" not in line], "merge differs from the full playlist"
            yield delta.discontinuity_sequence == full.discontinuity_sequence, "discontinuity sequences differ"
            yield [s.parts for s in delta.all_segments] == [s.parts for s in full.all_segments[delta.skipped:]], "parts differ"


@check(PROBE, 84)
def delta_keeps_other_tags(q):
    for delta, full in delta_and_full(q):
        if delta.skipped:
            strip = [line for line in full.header_lines if "VERSION" not in line]
            yield [line for line in delta.header_lines if "VERSION" not in line] == strip, delta.header_lines
            yield (delta.hints, len(delta.reports)) == (full.hints, len(full.reports)), "hints or reports are missing"


@check(PROBE, 85)
def queries_idempotent(q):
    for name, answer in asked(q, "unknown_query", "permuted"):
        yield is_now(answer, 200), f"{name}: {answer.status} after {answer.took:.3f} s"


def caching(q, names, wanted):
    for name, answer in asked(q, *names):
        yield answer.max_age is not None and answer.max_age in wanted, f"{name}: {answer.headers.get('cache-control')}"


@check(PROBE, 86)
def blocking_answers_cached(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("blocked", "msn_present"), (6 * target,))
    yield from caching(q, ("msn_ahead", "part_ahead", "silence"), (4 * target,))


@check(PROBE, 87)
def plain_answers_cached_briefly(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("plain", "gzip", "multivariant"), (max(1, target // 2),))
    yield from caching(q, ("unknown_variant", "unknown_stream"), range(target + 1))


@check(PROBE, 88)
def missing_media_cached_briefly(q):
    target = parse(q["plain"].body).target_duration
    yield from caching(q, ("unknown_part", "unknown_segment"), range(target + 1))


@check(PROBE, 89)
def lifetimes_said(q):
    for name, answer in asked(q, *q):
        yield "cache-control" in answer.headers, f"{name} has no Cache-Control"


@check(PROBE, 90)
def age_exposed_and_not_invented(q):
    for name, answer in asked(q, "plain"):
        yield "age" not in answer.headers, answer.headers.get("age")
        yield "age" in answer.headers.get("access-control-expose-headers", "").lower(), answer.headers
        yield answer.headers.get("access-control-allow-origin") == "*", answer.headers


@check(PROBE, 95)
def ranges_answered(q):
    for name, answer in asked(q, "range"):
        whole = q["range_whole"].body
        yield answer.status == 206 and answer.body == whole[10:20], f"{answer.status}, {len(answer.body)} bytes"
        yield answer.headers.get("content-range") == f"bytes 10-19/{len(whole)}", answer.headers.get("content-range")
    for name, answer in asked(q, "range_open"):  # RFC 8673, the way of LL-055
        yield answer.status == 206 and answer.body == q["range_whole"].body, f"{answer.status}, {len(answer.body)} bytes"
