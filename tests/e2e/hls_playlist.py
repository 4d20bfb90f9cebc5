"""A strict reader of HLS playlists (draft-pantos-hls-rfc8216bis).

It never raises on what a server sends: everything that breaks the grammar is collected in `problems` under its number in
docs/hls.md, so that one bad line does not hide the next. What is well-formed but wrong is for hls_validator to judge.
Durations are Fractions of the printed decimals: sums are exact.
"""
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

INT, FLOAT, SIGNED, QUOTED, ENUM, YES, YES_NO, RESOLUTION, HEX = (
    r"\d{1,20}", r"\d+(\.\d+)?", r"-?\d+(\.\d+)?", r'"[^"\r\n]*"', r'[^",\s]+', r"YES", r"YES|NO", r"\d+x\d+",
    r"0[xX][0-9A-Fa-f]+")

# tag -> attribute -> (type, required). Attributes that are not here must be ignored by clients; only their form is checked.
ATTRIBUTES = {
    "EXT-X-SERVER-CONTROL": {
        "CAN-SKIP-UNTIL": (FLOAT, False), "CAN-SKIP-DATERANGES": (YES, False), "HOLD-BACK": (FLOAT, False),
        "PART-HOLD-BACK": (FLOAT, False), "CAN-BLOCK-RELOAD": (YES, False)},
    "EXT-X-PART-INF": {"PART-TARGET": (FLOAT, True)},
    "EXT-X-PART": {
        "URI": (QUOTED, True), "DURATION": (FLOAT, True), "INDEPENDENT": (YES, False), "GAP": (YES, False),
        "BYTERANGE": (QUOTED, False)},
    "EXT-X-PRELOAD-HINT": {
        "TYPE": (r"PART|MAP", True), "URI": (QUOTED, True), "BYTERANGE-START": (INT, False),
        "BYTERANGE-LENGTH": (INT, False)},
    "EXT-X-RENDITION-REPORT": {"URI": (QUOTED, True), "LAST-MSN": (INT, False), "LAST-PART": (INT, False)},
    "EXT-X-SKIP": {"SKIPPED-SEGMENTS": (INT, True), "RECENTLY-REMOVED-DATERANGES": (QUOTED, False)},
    "EXT-X-MAP": {"URI": (QUOTED, True), "BYTERANGE": (QUOTED, False)},
    "EXT-X-START": {"TIME-OFFSET": (SIGNED, True), "PRECISE": (YES_NO, False)},
    "EXT-X-STREAM-INF": {
        "BANDWIDTH": (INT, True), "AVERAGE-BANDWIDTH": (INT, False), "CODECS": (QUOTED, False),
        "RESOLUTION": (RESOLUTION, False), "FRAME-RATE": (FLOAT, False), "VIDEO-RANGE": (r"SDR|HLG|PQ", False),
        "AUDIO": (QUOTED, False), "VIDEO": (QUOTED, False), "SUBTITLES": (QUOTED, False),
        "CLOSED-CAPTIONS": (r'NONE|"[^"\r\n]*"', False), "STABLE-VARIANT-ID": (QUOTED, False), "PATHWAY-ID": (QUOTED, False)},
    "EXT-X-MEDIA": {
        "TYPE": (r"AUDIO|VIDEO|SUBTITLES|CLOSED-CAPTIONS", True), "GROUP-ID": (QUOTED, True), "NAME": (QUOTED, True),
        "URI": (QUOTED, False), "LANGUAGE": (QUOTED, False), "DEFAULT": (YES_NO, False), "AUTOSELECT": (YES_NO, False),
        "FORCED": (YES_NO, False), "CHANNELS": (QUOTED, False), "INSTREAM-ID": (QUOTED, False),
        "STABLE-RENDITION-ID": (QUOTED, False)},
    "EXT-X-CONTENT-STEERING": {"SERVER-URI": (QUOTED, False), "PATHWAY-ID": (QUOTED, False)},
    "EXT-X-DEFINE": {}, "EXT-X-SESSION-DATA": {}, "EXT-X-SESSION-KEY": {},
}
SEGMENT_TAGS = {"EXTINF", "EXT-X-BYTERANGE", "EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-PROGRAM-DATE-TIME",
                "EXT-X-GAP", "EXT-X-BITRATE", "EXT-X-PART"}
MEDIA_TAGS = {"EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-ENDLIST",
              "EXT-X-PLAYLIST-TYPE", "EXT-X-I-FRAMES-ONLY", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"}
UPDATE_TAGS = {"EXT-X-DATERANGE", "EXT-X-SKIP", "EXT-X-PRELOAD-HINT", "EXT-X-RENDITION-REPORT"}
MULTIVARIANT_TAGS = {"EXT-X-MEDIA", "EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-DATA",
                     "EXT-X-SESSION-KEY", "EXT-X-CONTENT-STEERING"}
# A segment's own tags that must stand before its first part (LL-045).
BEFORE_PARTS = {"EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-PROGRAM-DATE-TIME"}


@dataclass
class Part:
    duration: Fraction
    printed: str
    uri: str
    independent: bool
    gap: bool


@dataclass
class Segment:
    msn: int
    duration: Fraction | None = None  # None: still growing, only its parts are there
    uri: str | None = None
    parts: list[Part] = field(default_factory=list)
    pdt: str | None = None
    map_uri: str | None = None
    map_here: bool = False  # its own tag, not inherited
    discontinuity: bool = False
    discontinuity_number: int = 0
    gap: bool = False
    lines: list[str] = field(default_factory=list)  # all but its parts

    @property
    def length(self):
        """Seconds that are listed of it."""
        return self.duration if self.duration is not None else sum((p.duration for p in self.parts), Fraction(0))


@dataclass
class Playlist:
    text: str = ""
    problems: list[tuple[int, str]] = field(default_factory=list)
    version: int | None = None
    multivariant: bool = False
    independent_segments: bool = False
    start: dict | None = None
    # media
    target_duration: int = 0
    server_control: dict | None = None
    server_control_line: str = ""
    part_target: Fraction | None = None
    media_sequence: int = 0
    discontinuity_sequence: int | None = None
    playlist_type: str | None = None
    iframes_only: bool = False
    endlist: bool = False
    skipped: int = 0
    segments: list[Segment] = field(default_factory=list)  # whole ones
    open: Segment | None = None  # the one that grows
    hints: list[dict] = field(default_factory=list)
    reports: list[dict] = field(default_factory=list)
    dateranges: list[str] = field(default_factory=list)
    # multivariant
    variants: list[tuple[dict, str]] = field(default_factory=list)  # attributes, URI
    media: list[dict] = field(default_factory=list)
    steering: list[dict] = field(default_factory=list)
    session: list[dict] = field(default_factory=list)  # data and keys
    # both
    variables: list[dict] = field(default_factory=list)

    @property
    def all_segments(self):
        return self.segments + ([self.open] if self.open else [])

    @property
    def duration(self):
        return sum((s.length for s in self.all_segments), Fraction(0))

    @property
    def last(self):
        """(msn, part) of the newest part; part is None when the newest segment no longer lists its parts."""
        if not self.all_segments:
            return (-1, None)
        newest = self.all_segments[-1]
        return (newest.msn, len(newest.parts) - 1 if newest.parts else None)

    @property
    def state(self):
        """What tells one version of a live playlist from another: a segment may be closed after its last part was listed."""
        return (self.last, self.open is None, self.endlist)

    @property
    def header_lines(self):
        """What must not change over the life of the playlist but the two sequences."""
        names = ("EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-SERVER-CONTROL", "EXT-X-PART-INF", "EXT-X-PLAYLIST-TYPE",
                 "EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-START", "EXT-X-DEFINE")
        return [line for line in self.text.splitlines() if line[1:].split(":")[0] in names]


def unquote(value):
    return value[1:-1] if value is not None and value.startswith('"') else value


def parse_attributes(text, tag, problem):
    """Attribute list -> {name: printed value}, quotes kept. Complains under LL-007 (LL-039 for what EXT-X-PART lacks)."""
    found, at = {}, 0
    pattern = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(,|$)')
    while at < len(text):
        match = pattern.match(text, at)
        if not match or (match.group(3) == "," and match.end() == len(text)):
            problem(7, f"{tag}: bad attribute list at {text[at:at + 40]!r}")
            break
        if match.group(1) in found:
            problem(7, f"{tag}: {match.group(1)} twice")
        found[match.group(1)] = match.group(2)
        at = match.end()
    for name, (kind, required) in ATTRIBUTES.get(tag, {}).items():
        if name not in found:
            if required:
                problem(39 if tag == "EXT-X-PART" else 7, f"{tag}: no {name}")
        elif not re.fullmatch(kind, found[name]):
            problem(7, f"{tag}: {name}={found[name]} has the wrong type")
    return found


def number(text, kind, tag, problem):
    if not re.fullmatch(kind, text):
        problem(7, f"{tag}: {text!r} is not a number of the right type")
        return Fraction(0)
    return Fraction(text)


def decode(body, problem):
    if body.startswith(b"\xef\xbb\xbf"):
        problem(2, "byte order mark")
        body = body[3:]
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        problem(2, f"not UTF-8: {error}")
        text = body.decode("utf-8", "replace")
    if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
        problem(2, "control character")
    if unicodedata.normalize("NFC", text) != text:
        problem(2, "not in normalisation form C")
    return text


class Reader:
    def __init__(self, body):
        self.playlist = Playlist()
        self.text = decode(body, self.problem)
        self.playlist.text = self.text
        self.seen = {}
        self.next_msn = None
        self.segment = None  # under construction
        self.map_uri = None
        self.discontinuities = 0
        self.stream_inf = None

    def problem(self, ll, text):
        self.playlist.problems.append((ll, text))

    def read(self):
        lines = self.text.splitlines()
        if not lines or lines[0] != "#EXTM3U":
            self.problem(3, f"first line is {lines[0] if lines else ''!r}")
        if not self.text.endswith("\n"):
            self.problem(27, "the last line has no end: a truncated body?")
        for line in lines[1:]:
            if line.startswith("#EXT"):
                self.tag(line)
            elif line and not line.startswith("#"):
                self.uri(line)
        self.finish()
        return self.playlist

    def tag(self, line):
        name, _, value = line[1:].partition(":")
        self.seen[name] = self.seen.get(name, 0) + 1
        if name in MEDIA_TAGS | {"EXT-X-SKIP"} and self.seen[name] == 2:
            self.problem(8, f"{name} twice")
        attributes = parse_attributes(value, name, self.problem) if name in ATTRIBUTES else None
        if name in SEGMENT_TAGS:
            self.segment_tag(name, value, attributes, line)
        elif name in MEDIA_TAGS | UPDATE_TAGS:
            self.media_tag(name, value, attributes, line)
        else:
            self.other_tag(name, value, attributes)

    def other_tag(self, name, value, attributes):
        if name == "EXT-X-VERSION":
            if self.playlist.version is not None:
                self.problem(5, "EXT-X-VERSION twice")
            self.playlist.version = int(number(value, INT, name, self.problem))
        elif name == "EXT-X-INDEPENDENT-SEGMENTS":
            self.playlist.independent_segments = True
        elif name == "EXT-X-START":
            self.playlist.start = attributes
        elif name == "EXT-X-STREAM-INF":
            self.stream_inf = attributes
        elif name == "EXT-X-MEDIA":
            self.playlist.media.append(attributes)
        elif name == "EXT-X-CONTENT-STEERING":
            self.playlist.steering.append(attributes)
        elif name in ("EXT-X-SESSION-DATA", "EXT-X-SESSION-KEY"):
            self.playlist.session.append(attributes)
        elif name == "EXT-X-DEFINE":
            self.playlist.variables.append(attributes)

    def media_tag(self, name, value, attributes, line):
        p = self.playlist
        if name == "EXT-X-TARGETDURATION":
            p.target_duration = int(number(value, INT, name, self.problem))
        elif name == "EXT-X-MEDIA-SEQUENCE":
            p.media_sequence = int(number(value, INT, name, self.problem))
            if p.segments or self.segment:
                self.problem(14, "EXT-X-MEDIA-SEQUENCE after a segment")
        elif name == "EXT-X-DISCONTINUITY-SEQUENCE":
            p.discontinuity_sequence = int(number(value, INT, name, self.problem))
            if p.segments or self.segment:
                self.problem(106, "EXT-X-DISCONTINUITY-SEQUENCE after a segment")
        elif name == "EXT-X-ENDLIST":
            p.endlist = True
        elif name == "EXT-X-PLAYLIST-TYPE":
            p.playlist_type = value
        elif name == "EXT-X-I-FRAMES-ONLY":
            p.iframes_only = True
        elif name == "EXT-X-PART-INF":
            p.part_target = number(attributes.get("PART-TARGET", ""), FLOAT, name, self.problem)
        elif name == "EXT-X-SERVER-CONTROL":
            p.server_control = attributes
            p.server_control_line = line
        elif name == "EXT-X-SKIP":
            p.skipped = int(number(attributes.get("SKIPPED-SEGMENTS", ""), INT, name, self.problem))
        elif name == "EXT-X-PRELOAD-HINT":
            p.hints.append(attributes)
        elif name == "EXT-X-RENDITION-REPORT":
            p.reports.append(attributes)
        else:
            p.dateranges.append(line)

    def growing(self):
        if not self.segment:
            if self.next_msn is None:
                self.next_msn = self.playlist.media_sequence + self.playlist.skipped
            self.segment = Segment(self.next_msn, map_uri=self.map_uri)
            self.next_msn += 1
        return self.segment

    def segment_tag(self, name, value, attributes, line):
        segment = self.growing()
        if name == "EXT-X-PART":
            duration = attributes.get("DURATION", "")
            segment.parts.append(Part(number(duration, FLOAT, name, self.problem), duration,
                                      unquote(attributes.get("URI", '""')), "INDEPENDENT" in attributes, "GAP" in attributes))
            return
        segment.lines.append(line)
        if segment.parts and name in BEFORE_PARTS:
            self.problem(45, f"{name} after the first part of its segment")
        if name == "EXTINF":
            segment.duration = number(value.partition(",")[0], FLOAT, name, self.problem)
            if "," not in value:
                self.problem(7, "EXTINF without a comma")
        elif name == "EXT-X-DISCONTINUITY":
            segment.discontinuity = True
            self.discontinuities += 1
        elif name == "EXT-X-MAP":
            self.map_uri = segment.map_uri = unquote(attributes.get("URI", '""'))
            segment.map_here = True
        elif name == "EXT-X-PROGRAM-DATE-TIME":
            segment.pdt = value
        elif name == "EXT-X-GAP":
            segment.gap = True

    def uri(self, line):
        if self.stream_inf is not None:
            self.playlist.variants.append((self.stream_inf, line))
            self.stream_inf = None
            return
        segment = self.growing()
        if segment.duration is None:
            self.problem(110 if segment.gap else 7, f"URI {line} without EXTINF")
            segment.duration = Fraction(0)
        segment.uri = line
        segment.lines.append(line)
        self.close(segment)
        self.playlist.segments.append(segment)
        self.segment = None

    def close(self, segment):
        segment.discontinuity_number = (self.playlist.discontinuity_sequence or 0) + self.discontinuities

    def finish(self):
        p = self.playlist
        if self.segment and self.segment.duration is not None:
            self.problem(110 if self.segment.gap else 46, "EXTINF without a URI")
        if self.segment and self.segment.parts:
            self.close(self.segment)
            p.open = self.segment
        names = set(self.seen)
        p.multivariant = bool(names & MULTIVARIANT_TAGS)
        if p.multivariant and names & (MEDIA_TAGS | SEGMENT_TAGS | UPDATE_TAGS):
            self.problem(4, "tags of multivariant and media playlists mixed")
        if self.stream_inf is not None:
            self.problem(7, "EXT-X-STREAM-INF without a URI")


def parse(body):
    """bytes or str -> Playlist"""
    return Reader(body.encode() if isinstance(body, str) else body).read()


def parse_date(text):
    """PROGRAM-DATE-TIME -> seconds since 1970, or None when it names no time zone."""
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return date.timestamp() if date.tzinfo else None
