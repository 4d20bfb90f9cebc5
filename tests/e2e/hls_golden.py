"""A made-up stream that breaks no rule, as hls_recorder would have brought it home: the ground on which
test_validator_selftest breaks one rule at a time.

30 fps in segments of 2 s, ten parts each; one audio sample a part, because nothing here decodes. Real boxes, real playlists.
"""
import gzip
import struct
from datetime import datetime, timezone

from hls_playlist import parse
from hls_recording import Answer, Recording, Sample

TARGET, PARTS, PART_S, FIRST_MSN, WINDOW = 2, 10, 0.2, 100, 8
EPOCH = 1_700_000_000
FIRST_PART, LAST_PART = 79, 125  # versions that were seen, by the number of their newest part; the last one ends the stream
HEADERS = {"content-type": "application/vnd.apple.mpegurl", "cache-control": "max-age=12"}


def box(kind, *payload):
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind, version, flags, *payload):
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def track_box(number, handler, timescale, entry, width=0, height=0):
    tkhd = full(b"tkhd", 0, 3, struct.pack(">5I", 0, 0, number, 0, 0), bytes(52), struct.pack(">2I", width << 16, height << 16))
    mdhd = full(b"mdhd", 0, 0, struct.pack(">4I", 0, 0, timescale, 0), bytes(4))
    hdlr = full(b"hdlr", 0, 0, bytes(4), handler, bytes(13))
    dinf = box(b"dinf", full(b"dref", 0, 0, struct.pack(">I", 1), full(b"url ", 0, 1)))
    stbl = box(b"stbl", full(b"stsd", 0, 0, struct.pack(">I", 1), entry), full(b"stsz", 0, 0, bytes(8)))
    return box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, box(b"minf", dinf, stbl)))


AVC1 = box(b"avc1", bytes(78), box(b"avcC", bytes([1, 0x42, 0xC0, 0x0D])))
ES = bytes([3, 21, 0, 0, 0, 4, 16, 0x40, *bytes(12), 5, 2, 0x11, 0x90])
MP4A = box(b"mp4a", bytes(16), struct.pack(">H", 2), bytes(10), full(b"esds", 0, 0, ES))
VIDEO = (1, b"vide", 90000, AVC1, 320, 180)
AUDIO = (2, b"soun", 48000, MP4A)


def make_init(variant):
    tracks = [VIDEO, AUDIO] if "v0" in variant else [AUDIO]
    trex = [full(b"trex", 0, 0, struct.pack(">5I", t[0], 1, 0, 0, 0)) for t in tracks]
    return box(b"ftyp", b"iso5\0\0\2\0iso6mp41") + box(
        b"moov", full(b"mvhd", 0, 0, bytes(96)), *(track_box(*t) for t in tracks), box(b"mvex", *trex))


def fragment(track, tfdt, samples):
    """`samples`: (duration, flags, bytes)"""
    runs = b"".join(struct.pack(">3I", duration, len(data), flags) for duration, flags, data in samples)

    def moof(size):
        return box(b"moof", full(b"mfhd", 0, 0, bytes(4)), box(
            b"traf", full(b"tfhd", 0, 0x20000, struct.pack(">I", track)), full(b"tfdt", 1, 0, struct.pack(">Q", tfdt)),
            full(b"trun", 0, 0x701, struct.pack(">2I", len(samples), size + 8), runs)))
    return moof(len(moof(0))) + box(b"mdat", *(data for _, _, data in samples))


def make_part(variant, part):
    out = b""
    if "v0" in variant:
        for i in range(6):
            key = part % PARTS == 0 and i == 0
            nal = struct.pack(">IB", 400, 0x65 if key else 0x41) + bytes(399)
            out += fragment(1, (EPOCH * 30 + part * 6 + i) * 3000, [(3000, 0x2000000 if key else 0x1010000, nal)])
    return out + fragment(2, (EPOCH * 5 + part) * 9600, [(9600, 0x2000000, bytes(300))])


def iso(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def make_playlist(variant, newest, endlist=False, skip=0):
    """As of part `newest`, parts counted from the first segment on."""
    whole = (newest + 1) // PARTS
    first = max(0, whole - WINDOW)
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{9 if skip else 6}", f"#EXT-X-TARGETDURATION:{TARGET}",
             "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,PART-HOLD-BACK=0.660,HOLD-BACK=6.0",
             "#EXT-X-PART-INF:PART-TARGET=0.220000", f"#EXT-X-MEDIA-SEQUENCE:{FIRST_MSN + first}",
             "#EXT-X-DISCONTINUITY-SEQUENCE:0"]
    if skip:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skip}")
    for n in range(first + skip, (newest // PARTS) + 1):
        if n == first:
            lines.append(f'#EXT-X-MAP:URI="{variant}/init-1.mp4"')
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{iso(EPOCH + n * TARGET)}")
        for part in range(n * PARTS, min(newest, n * PARTS + PARTS - 1) + 1) if n > whole - 4 else ():
            independent = ",INDEPENDENT=YES" if part % PARTS == 0 or "v0" not in variant else ""
            lines.append(f'#EXT-X-PART:DURATION=0.200000{independent},URI="{variant}/p{part}.m4s"')
        if n < whole or endlist:
            seconds = (min(newest, n * PARTS + PARTS - 1) - n * PARTS + 1) * PART_S
            lines += [f"#EXTINF:{seconds:.6f},", f"{variant}/{FIRST_MSN + n}.m4s"]
    if endlist:
        lines.append("#EXT-X-ENDLIST")
    else:
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{variant}/p{newest + 1}.m4s"')
        other = "a0" if "v0" in variant else "v0a0"
        lines.append(f'#EXT-X-RENDITION-REPORT:URI="{other}.m3u8",LAST-MSN={FIRST_MSN + newest // PARTS},LAST-PART={newest % PARTS}')
    return "\n".join(lines) + "\n"


def make_sample(variant, newest, text=None):
    at = newest * PART_S
    text = text or make_playlist(variant, newest, newest == LAST_PART)
    asked = (FIRST_MSN + newest // PARTS, newest % PARTS) if newest > FIRST_PART else None
    return Sample(at, Answer(200, dict(HEADERS), text.encode(), at - PART_S, at, at, at), parse(text), asked)


def make_recording(variant):
    recording = Recording(f"http://127.0.0.1/live/x/{variant}.m3u8")
    media = {"cache-control": "max-age=3600, immutable"}
    recording.objects[f"{variant}/init-1.mp4"] = Answer(200, media, make_init(variant))
    for part in range(LAST_PART + 1):
        at = part * PART_S
        uri, body = f"{variant}/p{part}.m4s", make_part(variant, part)
        if part > FIRST_PART - 4 * PARTS:
            recording.objects[uri] = Answer(200, media, body, at - PART_S, at, at, at + 0.001)
        segment = recording.objects.setdefault(f"{variant}/{FIRST_MSN + part // PARTS}.m4s", Answer(200, media, b""))
        segment.body += body
        if part > FIRST_PART:
            recording.hinted.add(uri)
    recording.samples = [make_sample(variant, newest) for newest in range(FIRST_PART, LAST_PART + 1)]
    for sample in recording.samples:
        recording.bodies[sample.playlist.state].add(sample.playlist.text)
    recording.retained = [(number, what, Answer(200, media)) for number, what in (
        (22, f"{variant}/100.m4s"), (29, f"{variant}/112.m4s"), (48, f"{variant}/p50.m4s"))]
    recording.abandoned = {f"{variant}/p{LAST_PART + 1}.m4s": Answer(404, {"cache-control": "max-age=2"})}
    return recording


def make_multivariant():
    video, audio = 8 * len(make_part("v0a0", 1)) * 5 + 40, 8 * len(make_part("a0", 1)) * 5
    return (f'#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:BANDWIDTH={video * 21 // 20},AVERAGE-BANDWIDTH={video},'
            'CODECS="avc1.42c00d,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE\nv0a0.m3u8\n'
            f'#EXT-X-STREAM-INF:BANDWIDTH={audio * 21 // 20},AVERAGE-BANDWIDTH={audio},CODECS="mp4a.40.2",CLOSED-CAPTIONS=NONE\n'
            "a0.m3u8\n").encode()


def answer(status, max_age, body=b"", took=0.01, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"cache-control": f"max-age={max_age}", **named}, body, 0.0, took, took, took)


def make_probes():
    now, msn = make_playlist("v0a0", 115).encode(), FIRST_MSN + 11
    media = bytes(range(50))
    cors = {"access_control_allow_origin": "*", "access_control_expose_headers": "Age, Date, ETag"}
    return {
        "plain": answer(200, 1, now, **cors), "multivariant": answer(200, 1, make_multivariant()),
        "gzip": answer(200, 1, gzip.compress(now), content_encoding="gzip"),
        "msn_present": answer(200, 12, now), "msn_long_gone": answer(200, 12, now),
        "msn_ahead": answer(400, 8), "part_ahead": answer(400, 8), "part_alone": answer(400, 1),
        "unknown_query": answer(200, 1, now), "permuted": answer(200, 12, now), "blocked": answer(200, 12, now, 0.2),
        "past_final": answer(200, 12, make_playlist("v0a0", 110).encode(), 0.2, x_asked_msn="110"),
        "next_segment": answer(200, 12, make_playlist("v0a0", 110).encode(), 0.2, x_asked_msn=str(msn)),
        "delta_full": answer(200, 1, now), "delta": answer(200, 1, make_playlist("v0a0", 115, skip=1).encode()),
        "unknown_part": answer(404, 2), "unknown_segment": answer(404, 2), "unknown_init": answer(404, 2),
        "unknown_variant": answer(404, 2), "unknown_stream": answer(404, 1),
        "range_whole": answer(200, 3600, media), "range_open": answer(206, 3600, media),
        "range": answer(206, 3600, media[10:20], content_range="bytes 10-19/50"),
        "options": answer(204, 86400), "redirect": answer(301, 3600, location="live/"),
        "silence": answer(503, 8, took=6.1, x_target_duration="2"),
        "ended_msn": answer(200, 1, make_playlist("v0a0", 115, True).encode()),
        "ended_skip": answer(200, 1, make_playlist("v0a0", 115, True).encode()),
        "blocked_at_end": answer(200, 1, make_playlist("v0a0", 115, True).encode(), 3),
    }
