"""Checks of playlists alone (see hls_recording for what a check is)."""
import re
from collections import Counter, defaultdict
from fractions import Fraction

from hls_playlist import BEFORE_PARTS, parse_date, unquote
from hls_recording import MULTI, PAIR, PRINTED, STATIC, check

# --- one media playlist --------------------------------------------------------------------------------------------


def version_needed(p):
    if p.skipped:
        return 9
    if any(s.map_here for s in p.all_segments):
        return 6
    return 3 if any("." in line for s in p.segments for line in s.lines if line.startswith("#EXTINF")) else 1


@check(STATIC, 5)
def version_suffices(p):
    yield (p.version or 1) >= version_needed(p), f"EXT-X-VERSION {p.version}, needed {version_needed(p)}"


@check(STATIC, 6)
def version_no_greater(p):
    if not p.variants:
        yield (p.version or 1) <= max(6, version_needed(p)), f"EXT-X-VERSION {p.version}, needed {version_needed(p)}"


@check(STATIC, 10)
def target_duration_present(p):
    yield p.target_duration >= 1, f"EXT-X-TARGETDURATION {p.target_duration}"


@check(STATIC, 11)
def extinf_within_target(p):
    for s in p.segments:
        yield int(s.duration + Fraction(1, 2)) <= p.target_duration, f"{s.uri}: EXTINF {float(s.duration)}"


@check(STATIC, 16)
def parts_listed_at_the_end_only(p):
    with_parts = [bool(s.parts) for s in p.all_segments]
    if any(with_parts):
        yield all(with_parts[with_parts.index(True):]), f"segments with parts: {with_parts}"


@check(STATIC, 24)
def no_playlist_type(p):
    yield p.playlist_type is None, f"EXT-X-PLAYLIST-TYPE:{p.playlist_type}"


@check(STATIC, 25)
def endlist_closes(p):
    if p.endlist:
        yield not p.hints and not p.open, f"with ENDLIST: {len(p.hints)} hints, open segment {p.open and p.open.msn}"


@check(STATIC, 30)
def parts_have_part_inf(p):
    if any(s.parts for s in p.all_segments):
        yield p.part_target is not None, "EXT-X-PART without EXT-X-PART-INF"


def control(p, name):
    value = (p.server_control or {}).get(name)
    return Fraction(value) if value and re.fullmatch(r"\d+(\.\d+)?", value) else None


@check(STATIC, 31)
def part_inf_has_hold_back(p):
    if p.part_target is not None:
        yield control(p, "PART-HOLD-BACK") is not None, p.server_control_line


@check(STATIC, 32)
def part_hold_back_two_parts(p):
    if p.part_target is not None and (held := control(p, "PART-HOLD-BACK")) is not None:
        yield held >= 2 * p.part_target, f"PART-HOLD-BACK {float(held)}, PART-TARGET {float(p.part_target)}"


@check(STATIC, 33)
def part_hold_back_three_parts(p):
    if p.part_target is not None and (held := control(p, "PART-HOLD-BACK")) is not None:
        yield held >= 3 * p.part_target, f"PART-HOLD-BACK {float(held)}, PART-TARGET {float(p.part_target)}"


@check(STATIC, 34)
def hold_back_three_targets(p):
    if p.server_control is not None and (held := control(p, "HOLD-BACK")) is not None:
        yield held >= 3 * p.target_duration, f"HOLD-BACK {float(held)}"


@check(STATIC, 35)
def skip_boundary_six_targets(p):
    if (boundary := control(p, "CAN-SKIP-UNTIL")) is not None:
        yield boundary >= 6 * p.target_duration, f"CAN-SKIP-UNTIL {float(boundary)}"


@check(STATIC, 36)
def skip_dateranges_with_skip_until(p):
    if p.server_control is not None:
        yield "CAN-SKIP-DATERANGES" not in p.server_control or "CAN-SKIP-UNTIL" in p.server_control, p.server_control_line


@check(STATIC, 40)
def part_within_target(p):
    for s in p.all_segments:
        for part in s.parts if p.part_target is not None else ():
            yield part.duration <= p.part_target, f"{part.uri}: {part.printed} > {float(p.part_target)}"


@check(STATIC, 41)
def part_not_too_short(p):
    """Judged when the next part, or the end of the segment, is known."""
    for s in p.all_segments:
        for part, following in zip(s.parts, s.parts[1:]) if p.part_target is not None else ():
            allowed = part.independent or part.gap or following.gap
            yield allowed or part.duration >= Fraction(85, 100) * p.part_target, \
                f"{part.uri}: {part.printed} of {float(p.part_target)}"


@check(STATIC, 46)
def parts_sum_to_extinf(p):
    for s in p.segments:
        if s.parts:
            total = sum(part.duration for part in s.parts)
            yield abs(total - s.duration) <= PRINTED * (len(s.parts) + 1), f"{s.uri}: {float(total)}, EXTINF {float(s.duration)}"


@check(STATIC, 47)
def old_parts_removed(p):
    """Unless there is no younger key frame to begin at (docs/hls.md, Long GOPs)."""
    behind, entry = Fraction(0), False
    for s in reversed(p.all_segments):
        if s.parts:
            yield behind <= 3 * p.target_duration or not entry, f"msn {s.msn}: parts {float(behind)} s from the end"
        entry |= any(part.independent for part in s.parts)
        behind += s.length


@check(STATIC, 49)
def next_part_hinted(p):
    if not p.endlist and any(s.parts for s in p.all_segments):
        yield any(h.get("TYPE") == "PART" for h in p.hints), "no EXT-X-PRELOAD-HINT:TYPE=PART"


@check(STATIC, 50)
def one_hint_a_type(p):
    if p.hints:
        yield max(Counter(h.get("TYPE") for h in p.hints).values()) == 1, p.hints


@check(STATIC, 58)
def report_uri_relative(p):
    for r in p.reports:
        uri = unquote(r.get("URI", '""'))
        yield bool(uri) and not re.match(r"[a-z]+:|/", uri), uri


@check(STATIC, 59)
def report_complete(p):
    for r in p.reports:
        yield "LAST-MSN" in r and "LAST-PART" in r, r


@check(STATIC, 66)
def durations_printed_exactly(p):
    for s in p.all_segments:
        for part in s.parts:
            yield len(part.printed.partition(".")[2]) >= 5, f"{part.uri}: DURATION={part.printed}"


@check(STATIC, 94)
def media_on_the_same_authority(p):
    uris = [uri for s in p.all_segments for uri in (s.uri, s.map_uri, *(part.uri for part in s.parts)) if uri]
    for uri in uris + [uri for _, uri in p.variants]:
        yield not re.match(r"[a-z]+:|//", uri), uri


@check(STATIC, 100)
def date_on_every_segment(p):
    for s in p.all_segments:
        yield s.pdt is not None, f"msn {s.msn} has no PROGRAM-DATE-TIME"


@check(STATIC, 101)
def date_with_zone_and_ms(p):
    for s in p.all_segments:
        if s.pdt:
            yield parse_date(s.pdt) is not None and bool(re.search(r"T\d\d:\d\d:\d\d\.\d{3}", s.pdt)), s.pdt


@check(STATIC, 102)
def date_after_discontinuity(p):
    for s in p.all_segments:
        if s.discontinuity:
            yield s.pdt is not None, f"msn {s.msn}"


@check(STATIC, 103)
def dates_continue(p):
    for before, after in zip(p.segments, p.all_segments[1:]):
        if before.pdt and after.pdt and not after.discontinuity:
            gap = parse_date(after.pdt) - parse_date(before.pdt) - float(before.duration)
            yield abs(gap) < 1, f"msn {after.msn}: {gap:.3f} s between the dates"


@check(STATIC, 106)
def discontinuity_sequence_present(p):
    if any(s.discontinuity for s in p.all_segments):
        yield p.discontinuity_sequence is not None, "a discontinuity, and no EXT-X-DISCONTINUITY-SEQUENCE"


@check(STATIC, 112)
def start_outside_hold_back(p):
    if p.start and not p.endlist:
        offset = Fraction(p.start.get("TIME-OFFSET", "0"))
        yield offset >= 0 or -offset >= 3 * p.target_duration, p.start


@check(STATIC, 121)
def every_segment_has_map(p):
    if not p.skipped:
        for s in p.all_segments:
            yield bool(s.map_uri), f"msn {s.msn} has no EXT-X-MAP"


# --- a playlist and its next version -------------------------------------------------------------------------------


@check(PAIR, 12)
def target_duration_constant(a, b):
    yield a.target_duration == b.target_duration, f"{a.target_duration} -> {b.target_duration}"


@check(PAIR, 14)
def media_sequence_never_falls(a, b):
    yield b.media_sequence >= a.media_sequence, f"{a.media_sequence} -> {b.media_sequence}"


@check(PAIR, 15)
def uri_of_msn_constant(a, b):
    known = {s.msn: s.uri for s in a.segments}
    for s in b.segments:
        if s.msn in known:
            yield s.uri == known[s.msn], f"msn {s.msn}: {known[s.msn]} -> {s.uri}"


@check(PAIR, 16)
def removed_from_the_front(a, b):
    kept = {s.msn for s in b.all_segments}
    gone = [s.msn for s in a.all_segments if s.msn not in kept]
    yield all(msn < b.media_sequence for msn in gone), f"gone: {gone}, now from {b.media_sequence}"


@check(PAIR, 17)
def only_permitted_changes(a, b):
    yield a.header_lines == b.header_lines, f"{a.header_lines} -> {b.header_lines}"
    yield not a.endlist or a.text == b.text, "a change after ENDLIST"
    after = {s.msn: s for s in b.all_segments}
    for s in a.all_segments:
        t = after.get(s.msn)
        if t is None:
            yield s.msn < b.media_sequence, f"msn {s.msn} vanished"
        elif s.duration is not None:
            # The first listed segment repeats the EXT-X-MAP that it inherited before.
            strip = [line for line in s.lines if not line.startswith("#EXT-X-MAP")]
            yield strip == [line for line in t.lines if not line.startswith("#EXT-X-MAP")], f"{s.lines} -> {t.lines}"
            yield t.parts in ([], s.parts), f"msn {s.msn}: parts of a whole segment changed"
        else:
            yield t.parts[:len(s.parts)] == s.parts or not t.parts, f"msn {s.msn}: listed parts changed"
            head = [line for line in s.lines if line[1:].split(":")[0] in BEFORE_PARTS - {"EXT-X-MAP"}]
            yield all(line in t.lines for line in head), f"msn {s.msn}: {head} -> {t.lines}"


@check(PAIR, 18)
def three_targets_left(a, b):
    if b.media_sequence > a.media_sequence:
        yield b.duration >= 3 * b.target_duration, f"{float(b.duration)} s left"


@check(PAIR, 38)
def low_latency_constants(a, b):
    yield (a.part_target, a.server_control_line) == (b.part_target, b.server_control_line), \
        f"{a.part_target} {a.server_control_line} -> {b.part_target} {b.server_control_line}"


@check(PAIR, 106)
def discontinuity_sequence_counts_removals(a, b):
    numbers = {s.msn: s.discontinuity_number for s in a.all_segments}
    for s in b.all_segments:
        if s.msn in numbers:
            yield s.discontinuity_number == numbers[s.msn], f"msn {s.msn}: {numbers[s.msn]} -> {s.discontinuity_number}"
            break


# --- a multivariant playlist ---------------------------------------------------------------------------------------


@check(MULTI, 132)
def codecs_present(m):
    for attributes, uri in m.variants:
        yield "CODECS" in attributes, uri


@check(MULTI, 133)
def resolution_and_rate_present(m):
    for attributes, uri in m.variants:
        if re.search(r"avc|hvc|av01", attributes.get("CODECS", "")):
            yield "RESOLUTION" in attributes and "FRAME-RATE" in attributes, f"{uri}: {attributes}"


@check(MULTI, 134)
def video_range_sdr(m):
    """H.264 by RTMP carries no HDR here, and an absent attribute means SDR."""
    for attributes, uri in m.variants:
        yield attributes.get("VIDEO-RANGE", "SDR") == "SDR", uri


@check(MULTI, 135)
def groups_exist(m):
    groups = {(g.get("TYPE"), g.get("GROUP-ID")) for g in m.media}
    for attributes, uri in m.variants:
        for kind in ("AUDIO", "VIDEO", "SUBTITLES"):
            if kind in attributes:
                yield (kind, attributes[kind]) in groups, f"{uri}: {kind}={attributes[kind]}"


@check(MULTI, 136)
def renditions_complete(m):
    groups = defaultdict(list)
    for g in m.media:
        groups[g.get("TYPE"), g.get("GROUP-ID")].append(g)
        yield g.get("DEFAULT") != "YES" or g.get("AUTOSELECT") != "NO", g
    for members in groups.values():
        names = [g.get("NAME") for g in members]
        yield len(set(names)) == len(names) and sum(g.get("DEFAULT") == "YES" for g in members) <= 1, names


@check(MULTI, 137)
def groups_of_a_type_alike(m):
    groups = defaultdict(lambda: defaultdict(list))
    for g in m.media:
        same = {name: value for name, value in g.items() if name not in ("GROUP-ID", "URI", "CHANNELS", "STABLE-RENDITION-ID")}
        groups[g.get("TYPE")][g.get("GROUP-ID")].append(sorted(same.items()))
    for kind, found in groups.items():
        first, *others = (sorted(members) for members in found.values())
        yield all(other == first for other in others), f"{kind}: {dict(found)}"


@check(MULTI, 138)
def audio_has_channels(m):
    for g in m.media:
        if g.get("TYPE") == "AUDIO":
            yield "CHANNELS" in g, g


@check(MULTI, 139)
def members_fit_their_type(m):
    for g in m.media:
        kind = g.get("TYPE")
        yield ("FORCED" not in g or kind == "SUBTITLES") and ("INSTREAM-ID" in g) == (kind == "CLOSED-CAPTIONS"), g
        yield "URI" in g if kind == "SUBTITLES" else "URI" not in g or kind != "CLOSED-CAPTIONS", g


@check(MULTI, 140)
def captions_none_everywhere(m):
    values = {attributes.get("CLOSED-CAPTIONS") for attributes, _ in m.variants}
    if m.variants:
        yield "NONE" not in values or values == {"NONE"}, values


@check(MULTI, 141)
def independent_segments_not_claimed(m):
    yield not m.independent_segments, "EXT-X-INDEPENDENT-SEGMENTS, though GOPs longer than the target are cut"


@check(MULTI, 142)
def lowest_rung_is_audio(m):
    if len(m.variants) > 1:
        attributes, uri = m.variants[-1]
        yield "RESOLUTION" not in attributes and re.fullmatch(r'"mp4a[^,]*"', attributes.get("CODECS", "")), f"{uri}: {attributes}"


@check(MULTI, 144)
def stable_ids_well_formed(m):
    for attributes in [attributes for attributes, _ in m.variants] + m.media:
        ids = [attributes[name] for name in ("STABLE-VARIANT-ID", "STABLE-RENDITION-ID") if name in attributes]
        yield all(re.fullmatch(r'"[A-Za-z0-9+/=.\-_]+"', one) for one in ids), ids


@check(MULTI, 145)
def no_variables(m):
    yield not m.variables, m.variables


@check(STATIC, 146)
def no_variables_imported(p):
    yield not p.variables, p.variables


@check(MULTI, 147)
def no_session_data_or_keys(m):
    yield not m.session, m.session


@check(MULTI, 148)
def steering_names_a_pathway(m):
    used = {attributes.get("PATHWAY-ID", '"."') for attributes, _ in m.variants}
    for tag in m.steering:
        yield len(m.steering) == 1 and "SERVER-URI" in tag and tag.get("PATHWAY-ID", '"."') in used, f"{tag}: {used}"
