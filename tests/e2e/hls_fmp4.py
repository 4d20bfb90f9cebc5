"""Just enough of ISO BMFF (14496-12) to judge init segments and fragments: what the boxes say, no decoding.

A damaged box raises Mp4Error: a validator has nothing to measure in it.
"""
import struct
from dataclasses import dataclass, field

NON_SYNC = 0x10000  # sample_is_non_sync_sample
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"dinf"}


class Mp4Error(Exception):
    pass


@dataclass
class Track:
    id: int
    handler: str = ""
    timescale: int = 0
    tkhd_duration: int = 0
    width: int = 0
    height: int = 0
    entry: str = ""  # sample entry: avc1, mp4a
    codecs: str = ""  # RFC 6381
    channels: int = 0
    sample_count: int = 0
    external: bool = False  # a data reference to another file
    defaults: tuple = (0, 0, 0)  # trex: duration, size, flags


@dataclass
class Init:
    brands: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    mvhd_duration: int = 0
    has_mvex: bool = False
    has_mehd: bool = False
    tracks: dict[int, Track] = field(default_factory=dict)


@dataclass
class Sample:
    duration: int
    size: int
    flags: int
    cts: int
    data: bytes = b""

    @property
    def sync(self):
        return not self.flags & NON_SYNC


@dataclass
class Fragment:
    track_id: int = 0
    tfdt: int | None = None
    base_is_moof: bool = False
    base_offset: bool = False
    samples: list[Sample] = field(default_factory=list)

    @property
    def duration(self):
        return sum(s.duration for s in self.samples)


def boxes(data, start=0, end=None):
    """(type, start of the payload, end) of the boxes in data[start:end]."""
    end = len(data) if end is None else end
    while start < end:
        if end - start < 8:
            raise Mp4Error(f"{end - start} stray bytes")
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and end - start >= 16:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        if size < head or start + size > end:
            raise Mp4Error(f"box {kind!r} of {size} bytes in {end - start}")
        yield kind, start + head, start + size
        start += size


def walk(data, start=0, end=None, path=()):
    for kind, at, stop in boxes(data, start, end):
        yield path + (kind,), at, stop
        if kind in CONTAINERS:
            yield from walk(data, at, stop, path + (kind,))


def u32(data, at):
    return struct.unpack_from(">I", data, at)[0]


def descriptor(data, at, end, tag):
    """Payload of the first MPEG-4 descriptor with that tag, searched through ES and DecoderConfig."""
    while at < end:
        kind, size, at = data[at], 0, at + 1
        while True:
            byte, at = data[at], at + 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if kind == tag:
            return data[at:at + size]
        skip = {3: 3, 4: 13}.get(kind)
        if skip is not None:
            inner = descriptor(data, at + skip, at + size, tag)
            if inner is not None:
                return inner
        at += size
    return None


def audio_object_type(config):
    value = config[0] >> 3
    if value == 31:
        value = 32 + ((config[0] & 7) << 3 | config[1] >> 5)
    return value


def read_entry(track, data, at, end):
    """stsd's first sample entry."""
    kind, start, stop = next(boxes(data, at + 8, end))
    track.entry = track.codecs = kind.decode("latin-1")
    if kind in (b"avc1", b"avc3"):
        for inner, a, _ in boxes(data, start + 78, stop):
            if inner == b"avcC":
                track.codecs = f"{track.entry}.{data[a + 1:a + 4].hex()}"
    elif kind == b"mp4a":
        track.channels = struct.unpack_from(">H", data, start + 16)[0]
        for inner, a, b in boxes(data, start + 28, stop):
            if inner == b"esds":
                config = descriptor(data, a + 4, b, 5)
                if config:
                    track.codecs = f"mp4a.40.{audio_object_type(config)}"


def parse_init(data):
    init, track = Init(), Track(0)
    for path, at, end in walk(data):
        kind = path[-1]
        if len(path) == 1:
            init.order.append(kind.decode("latin-1"))
        if kind == b"ftyp":
            init.brands = [data[at:at + 4].decode("latin-1")]
            init.brands += [data[i:i + 4].decode("latin-1") for i in range(at + 8, end, 4)]
        elif kind == b"mvhd":
            init.mvhd_duration = struct.unpack_from(">Q", data, at + 24)[0] if data[at] else u32(data, at + 16)
        elif kind == b"mvex":
            init.has_mvex = True
        elif kind == b"mehd":
            init.has_mehd = True
        elif kind == b"trex":
            ids = struct.unpack_from(">5I", data, at + 4)
            if ids[0] in init.tracks:
                init.tracks[ids[0]].defaults = ids[2:]
        elif kind == b"tkhd":
            wide = data[at]
            track = Track(u32(data, at + (20 if wide else 12)))
            track.tkhd_duration = struct.unpack_from(">Q", data, at + 28)[0] if wide else u32(data, at + 20)
            track.width, track.height = u32(data, end - 8) >> 16, u32(data, end - 4) >> 16
            init.tracks[track.id] = track
        elif kind == b"mdhd":
            track.timescale = u32(data, at + (20 if data[at] else 12))
        elif kind == b"hdlr":
            track.handler = data[at + 8:at + 12].decode("latin-1")
        elif kind == b"stsd":
            read_entry(track, data, at, end)
        elif kind in (b"stsz", b"stz2"):
            track.sample_count += u32(data, at + 8)
        elif kind == b"dref":
            track.external |= any(not data[a + 3] & 1 for _, a, _ in boxes(data, at + 8, end))
    return init


def read_trun(fragment, data, at, defaults, moof, position):
    """Returns where the next run's data begins when that run doesn't say so itself."""
    flags, count = u32(data, at) & 0xFFFFFF, u32(data, at + 4)
    version, at, first_flags = data[at], at + 8, None
    if flags & 1:
        position = moof + struct.unpack_from(">i", data, at)[0]
        at += 4
    if flags & 4:
        first_flags, at = u32(data, at), at + 4
    for i in range(count):
        values = list(defaults)
        for bit, index in ((0x100, 0), (0x200, 1), (0x400, 2)):
            if flags & bit:
                values[index], at = u32(data, at), at + 4
        cts = 0
        if flags & 0x800:
            cts, at = struct.unpack_from(">i" if version else ">I", data, at)[0], at + 4
        if i == 0 and first_flags is not None and not flags & 0x400:
            values[2] = first_flags
        if position + values[1] > len(data):
            raise Mp4Error("a sample lies beyond the data")
        fragment.samples.append(Sample(*values, cts, data[position:position + values[1]]))
        position += values[1]
    return position


def read_traf(data, at, end, moof, init):
    fragment, defaults, position = Fragment(), (0, 0, 0), moof
    for kind, a, _ in boxes(data, at, end):
        if kind == b"tfhd":
            flags, fragment.track_id = u32(data, a) & 0xFFFFFF, u32(data, a + 4)
            fragment.base_offset, fragment.base_is_moof = bool(flags & 1), bool(flags & 0x20000)
            track = init.tracks.get(fragment.track_id)
            values, a = list(track.defaults if track else (0, 0, 0)), a + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
            for bit, index in ((8, 0), (0x10, 1), (0x20, 2)):
                if flags & bit:
                    values[index], a = u32(data, a), a + 4
            defaults = tuple(values)
        elif kind == b"tfdt":
            fragment.tfdt = struct.unpack_from(">Q", data, a + 4)[0] if data[a] else u32(data, a + 4)
        elif kind == b"trun":
            position = read_trun(fragment, data, a, defaults, moof, position)
    return fragment


def parse_fragments(data, init):
    """Fragments of a part or segment, in order. Anything but whole moof+mdat pairs (and prft, styp…) is an error."""
    fragments, waiting = [], False
    for kind, at, end in boxes(data):
        if kind == b"moof":
            if waiting:
                raise Mp4Error("moof without mdat")
            fragments += [read_traf(data, a, b, at - 8, init) for k, a, b in boxes(data, at, end) if k == b"traf"]
            waiting = True
        elif kind == b"mdat":
            if not waiting:
                raise Mp4Error("mdat without moof")
            waiting = False
    if waiting:
        raise Mp4Error("moof without mdat")
    return fragments


def has_idr(sample):
    """Whether an AVC sample (4-byte NAL lengths) holds an IDR slice."""
    at = 0
    while at + 5 <= len(sample.data):
        if sample.data[at + 4] & 0x1F == 5:
            return True
        at += 4 + u32(sample.data, at)
    return False
