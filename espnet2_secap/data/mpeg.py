"""MP3 files, frame by frame: libsndfile reads as many samples as the first frame (Xing, Info, VBRI) says, and guesses
where there is none; tags, other bytes and a second recording end its reading or move its guess.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from espnet2_secap.data.parts import JOINED, LESS, MISSING_SECONDS, MORE, BadAudio, Found, Part, read_at

BIT_RATES = {  # kbit/s by MPEG version (1, else 2) and layer; index 0 (free) and 15 are none
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz by version bits
SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff]", re.S)
FEWEST = 4  # frames in a row that are not there by chance
BLOCK = 1 << 16  # bytes that are searched at a time
SEARCHED = 1 << 17  # bytes, beside tags, in which the first frame is looked for
SKIPPED = "with other bytes between the frames of an MP3, passed over"
GUESSED = "MP3 of variable bit rate without a length, whose frames were counted"


@dataclass(frozen=True)
class Frame:
    """One frame's header: what it says, and its size in bytes."""

    version: int  # as in the header: 3 for MPEG-1, 2 for MPEG-2, 0 for MPEG-2.5
    layer: int
    rate: int  # Hz
    mono: bool
    bit_rate: int  # kbit/s
    size: int

    @property
    def samples(self) -> int:
        """Samples per channel."""
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version != 3 else 1152

    @property
    def side(self) -> int:
        """Bytes of header and side information, behind which Xing or Info may stand (layer 3)."""
        return 4 + ((17 if self.mono else 32) if self.version == 3 else (9 if self.mono else 17))

    def like(self, other: "Frame") -> bool:
        """Whether both may be of one recording."""
        return (self.version, self.layer, self.rate, self.mono) == (other.version, other.layer, other.rate, other.mono)


def frame_of(header: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None where none does (free bit rates are not known)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_index in (0, 15) or rate_index == 3:
        return None
    rate = RATES[version][rate_index]
    bit_rate = BIT_RATES[1 if version == 3 else 2, layer][bit_index]
    if layer == 1:
        size = (12000 * bit_rate // rate + padding) * 4
    else:
        size = (72000 if layer == 3 and version != 3 else 144000) * bit_rate // rate + padding
    return Frame(version, layer, rate, header[3] >> 6 == 3, bit_rate, size)


def is_mpeg(start: bytes) -> bool:
    """Whether a file that begins so may be MP3: with a frame, or a tag in front of it."""
    return start[:3] == b"ID3" or frame_of(start[:4]) is not None


@dataclass
class Stream:
    """Frames of one recording: spans of the file, and how many frames there are in them."""

    first: Frame
    info: bytes | None  # a first frame without sound, which says how many follow
    place: int  # of that frame, or of the first one
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    bit_rates: set[int] = field(default_factory=set)
    is_cut: bool = False  # the file ends within a frame

    @property
    def said(self) -> int | None:
        """Frames that `info` says."""
        if self.info is None:
            return None
        at = self.first.side + 4 if self.info[36:40] != b"VBRI" else None
        if at is None:
            return int.from_bytes(self.info[50:54], "big")
        flags = int.from_bytes(self.info[at : at + 4], "big")
        return int.from_bytes(self.info[at + 4 : at + 8], "big") if flags & 1 else None

    @property
    def said_bytes(self) -> int | None:
        """Bytes from the info frame to the end of the recording, by the info frame."""
        if self.info is None or self.info[36:40] == b"VBRI":
            return None
        at = self.first.side + 4
        flags = int.from_bytes(self.info[at : at + 4], "big")
        return int.from_bytes(self.info[at + 8 : at + 12], "big") if flags & 3 == 3 else None

    def part(self) -> Part:
        """The recording with a first frame that says how many follow; what it says of silence at both ends is kept."""
        at = self.first.side
        if self.first.layer != 3:  # nothing else is needed: all of these have frames of one size
            return Part(list(self.spans))
        if self.info is not None and self.info[at : at + 4] in (b"Xing", b"Info"):
            info = bytearray(self.info)
        else:
            header = bytearray(empty_header(self.first))
            info = header + bytes(frame_of(bytes(header)).size - 4)
            info[at : at + 4] = b"Info"
        flags = int.from_bytes(info[at + 4 : at + 8], "big") | 1
        if not int.from_bytes(info[at + 4 : at + 8], "big") & 1 and flags != 1:  # no room for the number of frames
            flags = 1
            info[at + 8 :] = bytes(len(info) - at - 8)
        info[at + 4 : at + 12] = struct.pack(">II", flags, self.frames)
        if flags & 2:
            info[at + 12 : at + 16] = struct.pack(">I", len(info) + sum(end - start for start, end in self.spans))
        return Part([bytes(info), *self.spans])


def empty_header(frame: Frame) -> bytes:
    """A header for a frame of the same kind that has room for an Info frame, without a checksum."""
    for index in range(1, 15):
        header = bytes([
            0xFF,
            0xE0 | frame.version << 3 | (4 - frame.layer) << 1 | 1,
            index << 4 | RATES[frame.version].index(frame.rate) << 2,
            0xC0 if frame.mono else 0x00,
        ])  # fmt: skip
        if frame_of(header).size >= frame.side + 160:
            return header
    raise AssertionError(frame)


def mpeg_parts(stream: BinaryIO, start: int, size: int) -> Found | None:
    """Find the recordings of an MP3 file.

    Args:
        stream: the file's content.
        start: where to begin.
        size: where to stop.

    Returns:
        what was found; None where it is no MP3: neither does it begin with frames (tags may stand before them), nor is
        most of it frames.

    Raises:
        BadAudio: it is cut short.
    """
    streams, gaps = _streams(stream, start, size)
    sound = sum(end - begin for one in streams for begin, end in one.spans)
    if not streams or (gaps[0].size and sound < sum(gap.other for gap in gaps)):
        return None
    found, plain = Found(), len(streams) == 1 and start == 0 and not any(gap.size for gap in gaps[:-1])
    for one in streams:
        plain &= _compare(one, found) and len(one.spans) == 1
    if len(streams) > 1:
        found.note(JOINED)
    if any(gap.other for gap in gaps[:-1]):
        found.note(SKIPPED)
    if not plain:
        found.parts = [one.part() for one in streams if one.frames]
    return found


def _compare(one: Stream, found: Found) -> bool:
    """Compare what the info frame says with what is there; whether libsndfile reads it right.

    Raises:
        BadAudio: it is cut short.
    """
    said = one.said
    if one.first.layer != 3:
        return True
    if said is None:
        if len(one.bit_rates) > 1:
            found.note(GUESSED)
        return False
    missing = said - one.frames
    if missing <= 0:
        if missing < -1:  # some count the info frame
            found.note(LESS)
        return missing == 0
    there = one.spans[-1][1] - one.place if one.spans else 0
    whole = one.said_bytes is not None and one.said_bytes <= there + one.first.size
    if not whole and missing > max(1, MISSING_SECONDS * one.first.rate / one.first.samples):
        raise BadAudio(f"is cut short: {one.frames} of the {said} frames in its header; copy it again")
    if missing > 1 or one.is_cut:
        found.note(MORE)
    return False


@dataclass
class Gap:
    """Bytes that are passed over, beside tags: how many, and how many of them are more than filling (zeros)."""

    size: int = 0
    other: int = 0


def _streams(stream: BinaryIO, start: int, size: int) -> tuple[list[Stream], list[Gap]]:
    """All recordings, and what was passed over: before the first frame, between frames, behind the last."""
    streams: list[Stream] = []
    at, gaps = start, []
    while True:
        at, gap = _next_run(stream, at, size, size if streams else SEARCHED)
        gaps.append(gap)
        if at is None:
            return streams, gaps
        at = _run(stream, at, size, streams)


def _run(stream: BinaryIO, at: int, size: int, streams: list[Stream]) -> int:
    """Take the frames from `at` on, each right behind the one before; the place behind the last one."""
    begin = at
    while at + 4 <= size:
        frame = frame_of(read_at(stream, at, 4))
        if frame is None or at + frame.size > size:
            if frame is not None and streams:
                streams[-1].is_cut = streams[-1].first.like(frame)
            break
        content = read_at(stream, at, min(frame.size, 200)) if frame.layer == 3 else b""
        silent = content[frame.side : frame.side + 4] in (b"Xing", b"Info") or content[36:40] == b"VBRI"
        other = streams and not streams[-1].first.like(frame)
        if silent or not streams or other:
            _close(streams, begin, at)
            info = read_at(stream, at, frame.size) if silent else None
            streams.append(Stream(frame, info, at))
            begin = at + frame.size if silent else at
        if not silent:
            streams[-1].frames += 1
            streams[-1].bit_rates.add(frame.bit_rate)
        at += frame.size
    _close(streams, begin, at)
    return at


def _close(streams: list[Stream], begin: int, end: int) -> None:
    if streams and end > begin:
        streams[-1].spans.append((begin, end))


def _next_run(stream: BinaryIO, at: int, size: int, most: int) -> tuple[int | None, Gap]:
    """Where the next frames begin, behind tags and at most `most` other bytes; and what was passed over."""
    gap = Gap()
    while at + 4 <= size and most > 0:
        start = read_at(stream, at, 10)
        if start[:3] == b"ID3" and len(start) == 10:
            length = sum((byte & 0x7F) << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
            at += 10 + length + (10 if start[5] & 0x10 else 0)
            continue
        if start[:3] == b"TAG":
            at += 128
            continue
        if start[:8] == b"APETAGEX":
            head = read_at(stream, at, 32)
            at += 32 + (int.from_bytes(head[12:16], "little") if int.from_bytes(head[20:24], "little") >> 29 & 1 else 0)
            continue
        if _is_run(stream, at, size):
            return at, gap
        block = read_at(stream, at, BLOCK)
        found = next((m.start() for m in SYNC.finditer(block, 1) if _is_run(stream, at + m.start(), size)), None)
        tag = min((p for p in (block.find(b"ID3", 1), block.find(b"TAG", 1)) if p >= 0), default=None)
        if tag is not None and (found is None or tag < found):
            found = tag
        gap.size += len(block[:found])
        gap.other += len(block[:found].strip(b"\0"))
        if found is not None:
            at += found
        elif len(block) < BLOCK:
            return None, gap
        else:
            at += BLOCK - 3
        most -= len(block)
    return None, gap


def _is_run(stream: BinaryIO, at: int, size: int) -> bool:
    """Whether frames of one kind begin here, up to the file's end or `FEWEST` of them."""
    first = None
    for number in range(FEWEST):
        if number and at + 4 > size:
            return True
        frame = frame_of(read_at(stream, at, 4))
        if frame is None or (first is not None and not first.like(frame)):
            return number > 1 and read_at(stream, at, 3) in (b"TAG", b"ID3", b"APE")
        first = first or frame
        at += frame.size
        if at > size:
            return number > 0
    return True
