"""FLAC files and Ogg streams: one behind the other, and with a number of samples that is not that in the header."""

import struct
from typing import BinaryIO

from espnet2_secap.data.parts import JOINED, LESS, MORE, NO_LENGTH, BadAudio, Found, Part, find, read_at

STREAMINFO = b"fLaC\x00\x00\x00\x22"  # what a FLAC file begins with (bit 7 of the fifth byte: no other block follows)
LAST = b"fLaC\x80\x00\x00\x22"
SEARCHED = (1 << 15, 1 << 18)  # bytes at the end in which the last frame is looked for: most are in the first
BLOCK_SIZES = {1: 192, **{n: 576 << (n - 2) for n in range(2, 6)}, **{n: 256 << (n - 8) for n in range(8, 16)}}
OPEN = "without an end of the Ogg stream, as a programme that was stopped leaves it"
LOST = "with pages missing in an Ogg stream"
SKIPPED = "with other bytes in an Ogg stream, passed over"


def _crc_table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value >> (bits - 1) else value << 1) & ((1 << bits) - 1)
        table.append(value)
    return table


CRC8, CRC16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


def crc8(content: bytes) -> int:
    """Of a frame's header."""
    value = 0
    for byte in content:
        value = CRC8[value ^ byte]
    return value


def crc16(content: bytes) -> int:
    """Of a whole frame; 0 where its last two bytes are right."""
    value = 0
    for byte in content:
        value = (value << 8 & 0xFF00) ^ CRC16[value >> 8 ^ byte]
    return value


def flac_parts(stream: BinaryIO, start: int, size: int) -> Found:
    """Find the FLAC files in a file: how many samples each has is read from its last frame.

    Args:
        stream: the file's content.
        start: where the first begins.
        size: where to stop.

    Raises:
        BadAudio: one is cut short.
    """
    starts, at = [start], start
    while (at := _next_flac(stream, at + 4, size)) >= 0:
        starts.append(at)
    found, plain = Found(), len(starts) == 1
    for begin, end in zip(starts, [*starts[1:], size], strict=True):
        info = read_at(stream, begin, 42)
        if len(info) < 42:
            raise BadAudio("is cut short: no FLAC header; copy it again")
        packed = int.from_bytes(info[18:26], "big")
        said, most, rate = packed & (1 << 36) - 1, int.from_bytes(info[10:12], "big"), packed >> 44
        block_size = most if info[8:10] == info[10:12] else 0
        samples, whole = last_sample(stream, begin + 42, end, block_size, said)
        if samples is None and said and end - begin > SEARCHED[-1]:
            samples, whole = said, True  # other bytes lie behind it; decoding tells whether all is there
        if samples is None:
            raise BadAudio("is cut short: no FLAC frame in it; copy it again")
        if said == 0:
            found.note(NO_LENGTH)
        elif samples > said:
            found.note(LESS)
        elif samples < said and not whole:
            raise BadAudio(f"is cut short: {samples} of the {said} samples in its header; copy it again")
        elif samples < said:
            found.note(MORE)
        if said != samples:
            plain = False
            info = info[:18] + ((packed >> 36 << 36) | samples).to_bytes(8, "big") + info[26:]
        if rate:
            found.parts.append(Part([info, (begin + 42, end)], samples))
    if len(starts) > 1:
        found.note(JOINED)
    if plain:
        found.parts = []
    return found


def _next_flac(stream: BinaryIO, start: int, size: int) -> int:
    while (start := find(stream, b"fLaC", start, size)) >= 0:
        if read_at(stream, start, 8) in (STREAMINFO, LAST):
            return start
        start += 4
    return -1


def last_sample(stream: BinaryIO, start: int, end: int, block_size: int, said: int) -> tuple[int | None, bool]:
    """Samples up to the end of the last FLAC frame, None where there is none; whether that frame is whole.

    Args:
        stream: the file's content.
        start: the first byte behind the header.
        end: of the file or of this one in it.
        block_size: samples of a frame where all have as many, else 0.
        said: samples by the header. A frame that ends there is taken without a look at its checksum.
    """
    for most in SEARCHED:
        begin = max(start, end - most)
        content = read_at(stream, begin, end - begin)
        at, frames = len(content), []
        while (at := max(content.rfind(sync, 0, at + 1) for sync in (b"\xff\xf8", b"\xff\xf9"))) >= 0:
            header = _frame_header(content[at : at + 16])
            if header is None or (header[0] and not block_size):
                continue
            first = header[1] * block_size if header[0] else header[1]
            last = first + header[2]
            if last == said or _is_whole(content[at:]):
                return last, True
            frames.append((first, last))
    ends = {last for _, last in frames} | {0}
    return max((last for first, last in frames if first in ends), default=None), False  # others are there by chance


def _frame_header(header: bytes) -> tuple[bool, int, int] | None:
    """Whether blocks are of one size, the number of this frame or of its first sample, and its samples."""
    if len(header) < 7 or header[1] not in (0xF8, 0xF9) or header[3] & 1 or header[3] >> 4 > 10:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    if size_code == 0 or rate_code == 15 or header[4] == 0xFF:
        return None
    lead = header[4]
    more = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1  # as in UTF-8
    at = 5 + more
    if lead >= 0x80 and (more == 0 or any(byte & 0xC0 != 0x80 for byte in header[5:at])):
        return None
    number = lead if not more else lead & (1 << (6 - more)) - 1
    for byte in header[5:at]:
        number = number << 6 | byte & 0x3F
    if size_code in (6, 7):
        width = size_code - 5
        samples = int.from_bytes(header[at : at + width], "big") + 1
        at += width
    else:
        samples = BLOCK_SIZES[size_code]
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(header) <= at or crc8(header[:at]) != header[at]:
        return None
    return header[1] == 0xF8, number, samples


def _is_whole(content: bytes) -> bool:
    """Whether a frame ends where the content does, or before a tag."""
    if content[-128:-125] == b"TAG":
        content = content[:-128]
    return crc16(content) == 0


def ogg_parts(stream: BinaryIO, size: int) -> Found:
    """Find the links of a chained Ogg stream; libsndfile reads the first of them.

    Raises:
        BadAudio: it ends within a page.
    """
    found, at, links, skipped = Found(), 0, [], False
    pages: dict[int, int] = {}  # serial number -> number of its last page
    ended, begins = True, True
    while (at := find(stream, b"OggS", at, size)) >= 0:
        header = read_at(stream, at, 27)
        table = read_at(stream, at + 27, header[26]) if len(header) == 27 else b""
        end = at + 27 + len(table) + sum(table)
        if len(header) < 27 or len(table) < header[26] or end > size:
            raise BadAudio("is cut short: its last Ogg page is incomplete; copy it again")
        flags, serial, number = header[5], *struct.unpack("<II", header[14:22])
        if flags & 2:  # a stream begins; those of one link begin together
            if not begins:
                links.append([at, end])
                pages = {}
            elif not links:
                links.append([at, end])
        elif number != pages.get(serial, number - 1) + 1:
            found.note(LOST)
        begins, ended = bool(flags & 2), bool(flags & 4)
        pages[serial] = number
        if links:
            skipped |= at != links[-1][1] and links[-1][0] != at
            links[-1][1] = end
        at = end
    if not links:
        raise BadAudio("is not audio: no beginning of an Ogg stream in it; copy it again")
    if not ended:
        found.note(OPEN)
    if skipped:
        found.note(SKIPPED)
    if len(links) > 1:
        found.note(JOINED)
    if len(links) > 1 or links[0] != [0, size]:
        found.parts = [Part([tuple(link)]) for link in links]
    return found
