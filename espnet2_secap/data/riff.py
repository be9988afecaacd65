"""Containers that tell the size of their sound in front of it: WAV (RIFF, RIFX, RF64, BW64), Wave64, AIFF, CAF, AU and
NIST. It is wrong where a program was killed, wrote to a pipe or counted its own header; so what is in the file decides.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from espnet2_secap.data.parts import (
    JOINED,
    LESS,
    MISSING_BYTES,
    MORE,
    NO_LENGTH,
    BadAudio,
    Found,
    Part,
    is_cut_short,
    read_at,
)
from espnet2_secap.data.wav_format import repaired, sizes

STREAMED = 0x7FFF0000  # from here on a 32-bit length means "written to a pipe, length unknown"
MAX_CHUNKS = 1000  # in front of the sound; real files have a handful
SEARCHED = 1 << 20  # bytes that are searched for the sound's chunk behind one of a wrong length
TAIL = 1 << 16  # bytes at the end in which chunks behind sound of unknown length are looked for
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_WAVE = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
W64_FMT, W64_DATA = (name + W64_WAVE[4:] for name in (b"fmt ", b"data"))
KNOWN = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"inst", b"PEAK", b"fact", b"JUNK", b"afsp",
         b"_PMX", b"axml", b"cart", b"acid", b"ANNO", b"NAME", b"AUTH", b"COMT", b"MARK", b"APPL", b"COMM", b"PAD ",
         b"info", b"free", b"strg", b"mark", b"plst", b"LGWV", b"DISP")  # fmt: skip
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")  # of other formats, behind the sound
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff", b".snd", b"NIST_1A", W64_RIFF)
MP3_IN_WAV = (0x50, 0x55)  # format tags


@dataclass(frozen=True)
class Kind:
    """How a container is written: its chunks' headers, the chunk of the sound and those that describe it."""

    name: str
    first: int  # place of the first chunk
    header: str  # struct format: id, size
    sound: bytes
    needed: tuple[bytes, ...]
    lead: int = 0  # bytes of the sound's chunk before the sound
    counts_header: bool = False  # a chunk's size counts its header
    align: int = 2

    def chunk(self, stream: BinaryIO, at: int) -> tuple[bytes, int, int] | None:
        """id, place of the body and its size; None where no chunk can be."""
        length = struct.calcsize(self.header)
        content = read_at(stream, at, length)
        if len(content) < length:
            return None
        name, size = struct.unpack(self.header, content)
        return name, at + length, size - length if self.counts_header else size


WAV = Kind("WAV", 12, "<4sI", b"data", (b"fmt ",))
RIFX = Kind("WAV", 12, ">4sI", b"data", (b"fmt ",))
AIFF = Kind("AIFF", 12, ">4sI", b"SSND", (b"FVER", b"COMM"), lead=8)
W64 = Kind("Wave64", 40, "<16sq", W64_DATA, (W64_FMT,), counts_header=True, align=8)
CAF = Kind("CAF", 8, ">4sq", b"data", (b"desc",), lead=4, align=1)


@dataclass
class Layout:
    """Where a container's sound lies, and what its header says."""

    begin: int
    data: int  # first byte of sound
    said: int | None  # bytes of sound; None: length unknown
    end: int | None  # first byte behind the container by its own size; None: unknown
    head: Callable[[int], bytes]  # a header for so many bytes of sound
    kind: Kind | None  # None: no chunks
    step: int = 1  # bytes of one sample of all channels
    bytes_per_second: float = 0.0
    must_replace: bool = False  # libsndfile cannot read the header as it is
    notes: list[str] = field(default_factory=list)
    mp3: bool = False


def riff_parts(stream: BinaryIO, size: int, start: int = 0) -> Found | None:
    """Find the recordings of a container of this module.

    Args:
        stream: the file's content.
        size: of it in bytes.
        start: where the container begins.

    Returns:
        what was found; None where it is no such container.

    Raises:
        BadAudio: no sound in it, or it is cut short.
    """
    found, at, changed = Found(), start, False
    while at is not None:
        layout = _layout(stream, at, size)
        if layout is None:
            if at == start:
                return None
            break
        if layout.mp3:
            from espnet2_secap.data.mpeg import mpeg_parts

            return mpeg_parts(stream, layout.data, size)
        for note in layout.notes:
            found.note(note)
        stop, more, at = _extent(stream, layout, size, found)
        spans = [(layout.data, stop), *more]
        if more:
            found.note(JOINED)
        changed |= layout.must_replace or bool(more) or at is not None or layout.begin > 0
        changed |= layout.said == 0 or (layout.said is not None and layout.data + layout.said < stop)
        changed |= layout.said is None and (layout.kind is not None or stop < size)
        for start, end in spans:
            if end > start:
                found.parts.append(Part([layout.head(end - start), (start, end)]))
    if len(found.parts) > 1:
        found.note(JOINED)
    if not changed:
        found.parts = []
    elif not found.parts:
        raise BadAudio("has no samples; record or copy it again")
    return found


def _layout(stream: BinaryIO, at: int, size: int) -> Layout | None:
    start = read_at(stream, at, 40)
    magic, form = start[:4], start[8:12]
    if magic in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE":
        return _chunked(stream, at, size, WAV, struct.unpack("<I", start[4:8])[0])
    if magic == b"RIFX" and form == b"WAVE":
        return _chunked(stream, at, size, RIFX, struct.unpack(">I", start[4:8])[0])
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _chunked(stream, at, size, AIFF, struct.unpack(">I", start[4:8])[0])
    if magic == b"caff":
        return _chunked(stream, at, size, CAF, None)
    if start[:16] == W64_RIFF and start[24:40] == W64_WAVE:
        return _chunked(stream, at, size, W64, struct.unpack("<q", start[16:24])[0] - 8)
    if magic in (b".snd", b"dns.") and len(start) >= 24:
        return _au(stream, at, "<" if magic == b"dns." else ">")
    if start[:8] == b"NIST_1A\n":
        return _nist(stream, at)
    return None


def _chunked(stream: BinaryIO, begin: int, size: int, kind: Kind, outer: int | None) -> Layout | None:
    """Walk over the chunks in front of the sound."""
    at, before, chunks, notes = begin + kind.first, begin, {}, []
    for _ in range(MAX_CHUNKS):
        chunk = kind.chunk(stream, at)
        if chunk is None:
            break
        name, body, length = chunk
        if name == kind.sound:
            break
        if not _is_name(name) or length < 0 or body + length > size:
            found = _search(stream, kind, before if not _is_name(name) else at, size)
            if found is None or found == at:
                chunk = None if _is_name(name) else chunk
                break
            notes.append("with a chunk of a wrong length before the sound")
            at = found
            continue
        if name in kind.needed or name == b"ds64":
            chunks[name] = read_at(stream, body, length)
        before, at = at, _next(stream, kind, body + length, length)
        if at < body + length + length % kind.align:
            notes.append("with a chunk of an odd length that is not filled up")
    if chunk is None:
        raise BadAudio("is cut short: no data chunk; copy it again")
    if chunk[0] != kind.sound:
        raise BadAudio("is not audio: no data chunk in it; copy it again")
    name, body, said = chunk
    data, said = body + kind.lead, said - kind.lead
    if b"ds64" in chunks and len(chunks[b"ds64"]) >= 16 and said == 0xFFFFFFFF:
        outer, said = struct.unpack("<QQ", chunks[b"ds64"][:16])
        said = None if said == 0 and size > data else said
    elif kind in (WAV, RIFX, AIFF) and said >= STREAMED - kind.lead and said > size - data:
        said = None
    elif said < 0:
        said = None
    end = None if not outer or outer >= STREAMED else begin + 8 + outer
    if kind is not WAV and not set(kind.needed) & chunks.keys():  # AIFF's may stand behind the sound
        return None
    return _described(Layout(begin, data, said, end, lambda count: b"", kind, notes=notes), chunks, stream)


def _described(layout: Layout, chunks: dict[bytes, bytes], stream: BinaryIO) -> Layout:
    """Fill in what the describing chunk says."""
    kind, plain = layout.kind, False
    layout.must_replace = bool(layout.notes)
    if kind in (WAV, RIFX, W64):
        order = kind.header[0]
        name = kind.needed[0]
        fmt, notes = repaired(chunks.get(name, b""), order)
        layout.must_replace |= fmt != chunks.get(name, fmt)
        layout.notes += notes
        chunks = {name: fmt}
        layout.step, layout.bytes_per_second = sizes(fmt, order)
        layout.mp3 = kind is WAV and int.from_bytes(fmt[:2], "little") in MP3_IN_WAV
    elif kind is AIFF and len(chunks[b"COMM"]) >= 18:
        channels, _, bits, exponent, mantissa = struct.unpack(">HIHHQ", chunks[b"COMM"][:18])
        rate = mantissa * 2.0 ** min(exponent - 16383 - 63, 0)  # Hz, an 80-bit float
        coding = chunks[b"COMM"][18:22] or b"NONE"
        width = 1 if coding.lower() in (b"ulaw", b"alaw") else -(-bits // 8)
        plain = coding in (b"NONE", b"twos", b"sowt", b"in24", b"in32") or coding.lower()[:2] in (b"fl", b"ul", b"al")
        layout.step, layout.bytes_per_second = max(1, channels * width), channels * width * rate if plain else 0.0
    elif kind is CAF and len(chunks.get(b"desc", b"")) >= 32:
        rate, packet, frames = struct.unpack(">d8xII", chunks[b"desc"][:24])
        rate = rate if 0 < rate < 1e6 else 0.0
        layout.step, layout.bytes_per_second = max(1, packet), packet * rate / frames if frames else 0.0

    def head(count: int) -> bytes:
        described = b""
        for name, body in chunks.items():
            if name == b"COMM" and plain:  # it counts samples
                body = body[:2] + struct.pack(">I", min(count // layout.step, 0xFFFFFFFF)) + body[6:]
            if name in kind.needed:
                described += _packed(kind, name, len(body)) + body + bytes(-len(body) % kind.align)
        sound = _packed(kind, kind.sound, count + kind.lead) + bytes(kind.lead)
        size = min(len(described) + len(sound) + count + kind.first - 8, 0xFFFFFFFF)
        start = read_at(stream, layout.begin, kind.first)
        if kind is W64:
            start = start[:16] + struct.pack("<q", size + 8) + start[24:]
        elif kind is not CAF:
            magic = b"RIFF" if start[:4] in (b"RF64", b"BW64") else start[:4]
            start = magic + struct.pack(kind.header[0] + "I", size) + start[8:]
        return start + described + sound

    layout.head = head
    return layout


def _packed(kind: Kind, name: bytes, size: int) -> bytes:
    size += struct.calcsize(kind.header) if kind.counts_header else 0
    return struct.pack(kind.header, name, size if kind.header[-1] == "q" else min(size, 0xFFFFFFFF))


def _au(stream: BinaryIO, begin: int, order: str) -> Layout:
    offset, said, coding, rate, channels = struct.unpack(order + "5I", read_at(stream, begin + 4, 20))
    start = read_at(stream, begin, min(offset, SEARCHED))
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(coding, 1)

    def head(count: int) -> bytes:
        return start[:8] + struct.pack(order + "I", min(count, 0xFFFFFFFF)) + start[12:]

    said = None if said == 0xFFFFFFFF else said
    step = max(1, width * channels)
    return Layout(begin, begin + offset, said, None, head, None, step, width * channels * rate)


def _nist(stream: BinaryIO, begin: int) -> Layout:
    start = read_at(stream, begin, 1024)
    if b"shorten" in start:
        raise BadAudio("is a NIST file compressed by shorten, which is not read; convert it to WAV (sph2pipe)")
    told = dict(re.findall(rb"^(\w+) -(?:[ir]|s\d+) ([\d.]+)\s*$", start, re.M))
    offset = int(start[8:16]) if start[8:16].strip().isdigit() else 1024
    channels, width = (int(float(told.get(key, one))) for key, one in ((b"channel_count", 1), (b"sample_n_bytes", 2)))
    step = max(1, channels * width)
    said = int(float(told[b"sample_count"])) * step if b"sample_count" in told else None
    start = read_at(stream, begin, offset)
    rate = float(told.get(b"sample_rate", 0))
    return Layout(begin, begin + offset, said, None, lambda count: start, None, step, step * rate)


def _extent(stream: BinaryIO, layout: Layout, size: int, found: Found) -> tuple[int, list[tuple[int, int]], int | None]:
    """The end of the sound; sound in further chunks; where another container begins."""
    there = size - layout.data
    behind = layout.said is not None and _behind(stream, layout, layout.data + layout.said, size)
    if layout.said is None or (layout.said == 0 and there > 0 and not behind):
        if there > 0:
            found.note(NO_LENGTH)
        return _without_tail(stream, layout, size), [], None
    if layout.said > there:
        missing = layout.said - there
        whole = layout.end is not None and abs(layout.end - size) <= 1
        if there <= 0 or (is_cut_short(missing, layout.bytes_per_second) and not whole):
            raise BadAudio(f"is cut short: {max(0, there)} of the {layout.said} bytes in its header; copy it again")
        found.note(MORE)
        return size, [], None
    stop = layout.data + layout.said
    if behind:
        return stop, *behind
    found.note(LESS)
    return _without_tail(stream, layout, size), [], None


def _behind(stream: BinaryIO, layout: Layout, stop: int, size: int) -> tuple[list[tuple[int, int]], int | None] | None:
    """What follows the sound at `stop`: sound of further chunks, the next container; None where the sound goes on."""
    if size - stop < min(layout.step, 8) or size <= stop:
        return [], None
    align = layout.kind.align if layout.kind else 1
    padded = stop + -(layout.said + (layout.kind.lead if layout.kind else 0)) % align
    for at in dict.fromkeys((padded, stop, stop + 1)):
        start = read_at(stream, at, 16)
        if start.startswith(MAGICS):
            return [], at
        if start.startswith(TAGS):
            return [], None
        if start.startswith((b"fLaC", b"OggS")):
            raise BadAudio("holds a recording of another format behind its own; make two files of it")
        chain = layout.kind and _chain(stream, layout.kind, at, size)
        if chain:
            return chain
    return ([], None) if _is_no_sound(stream, stop, size) else None


def _chain(stream: BinaryIO, kind: Kind, at: int, size: int) -> tuple[list[tuple[int, int]], int | None] | None:
    """Chunks from `at` to the end of the file or to another container; None where there are none."""
    sound, seen = [], 0
    while size - at >= 8 and seen < MAX_CHUNKS:
        if read_at(stream, at, 16).startswith(MAGICS):
            return sound, at
        chunk = kind.chunk(stream, at)
        if chunk is None or not _is_name(chunk[0]) or chunk[2] < 0:
            return (sound, None) if seen and _is_no_sound(stream, at, size) else None
        name, body, length = chunk
        if name == kind.sound:
            sound.append((body + kind.lead, min(size, body + length)))
        elif body + length > size + 1 and name[:4] not in KNOWN:
            return None
        seen += 1
        at = _next(stream, kind, body + length, length)
    return sound, None


def _is_no_sound(stream: BinaryIO, start: int, stop: int) -> bool:
    """Whether all of it is zeros, as in a file whose room was set aside before, or begins as text."""
    block = read_at(stream, start, 4096)
    if block and not re.search(rb"[^\t\n\r -~]", block):
        return True
    while start < stop:
        block = read_at(stream, start, min(1 << 20, stop - start))
        if not block or block.strip(b"\0"):
            return not block
        start += len(block)
    return True


def _without_tail(stream: BinaryIO, layout: Layout, size: int) -> int:
    """The end of sound of unknown length: before the chunks that end with the file."""
    if layout.kind not in (WAV, RIFX, AIFF):
        return size
    start = max(layout.data, size - TAIL)
    for found in re.finditer(b"|".join(map(re.escape, KNOWN)), read_at(stream, start, size - start)):
        at = start + found.start()
        if _ends_with_file(stream, layout.kind, at, size):
            return at
    return size


def _ends_with_file(stream: BinaryIO, kind: Kind, at: int, size: int) -> bool:
    while at < size:
        chunk = kind.chunk(stream, at)
        if chunk is None or not _is_name(chunk[0]):
            return False
        at = chunk[1] + chunk[2]
        at += at < size and chunk[2] % 2
    return at == size


def _next(stream: BinaryIO, kind: Kind, end: int, length: int) -> int:
    """Where the chunk behind one of this length, which ends at `end`, begins: some programs leave the padding out."""
    padded = end + -length % kind.align
    if padded != end and kind.align == 2:
        name = read_at(stream, padded, 4)
        if len(name) == 4 and not _is_name(name) and _is_name(read_at(stream, end, 4)):
            return end
    return padded


def _search(stream: BinaryIO, kind: Kind, at: int, size: int) -> int | None:
    """The chunk of the sound behind a chunk of a wrong length."""
    content = read_at(stream, at, min(SEARCHED, size - at))
    for found in re.finditer(re.escape(kind.sound), content):
        chunk = kind.chunk(stream, at + found.start())
        if chunk and (chunk[1] + chunk[2] <= size + MISSING_BYTES or chunk[2] >= STREAMED):
            return at + found.start()
    return None


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name[:4]) and not name.startswith(b" ")
