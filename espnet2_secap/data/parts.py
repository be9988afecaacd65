"""The recordings in a sound file: which of its bytes libsndfile is given, and with what header.

Headers are not believed (see riff.py, mpeg.py, xiph.py): a file may hold more or less than its header says, or several
recordings one behind the other. A header that lies is replaced for libsndfile, a file that is whole is left as it is.

A file counts as cut short, and is refused, where more than `MISSING_SECONDS` of sound and `MISSING_BYTES` are missing
and nothing else in the file says that it is whole: a size of the whole container that is right, a last frame that ends
with the file. Less than that is a header that counts itself, or rounds up.
"""

import io
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

from espnet2_secap.errors import SecError

MISSING_BYTES = 512
MISSING_SECONDS = 0.1
NO_LENGTH = "without a length in the header, read to the end"
MORE = "with more in the header than there is, read to the end"
LESS = "with less in the header than there is, read to the end"
JOINED = "of several recordings in one file, read one after the other"


class BadAudio(SecError):
    """A recording that cannot be used. The message says what is wrong and what to do, without the path."""


@dataclass
class Part:
    """One recording in a sound file.

    Args:
        spans: what libsndfile is given, in order: bytes, or the first byte of the file and the one behind the last.
        samples: per channel, where they were counted; as libsndfile says where None.
    """

    spans: list[bytes | tuple[int, int]]
    samples: int | None = None


@dataclass
class Found:
    """What was found in a sound file: its recordings, none where libsndfile can read the file as it is; and notes on
    what its header got wrong."""

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


class View(io.RawIOBase):
    """A file that is made of spans of another one and of bytes.

    Args:
        stream: the other one; closed with this one.
        spans: of a `Part`.
    """

    def __init__(self, stream: BinaryIO, spans: list[bytes | tuple[int, int]]):
        super().__init__()
        self.stream, self.spans, self.at = stream, spans, 0
        sizes = [len(span) if isinstance(span, bytes) else span[1] - span[0] for span in spans]
        self.starts = [0, *accumulate(sizes)]

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.starts[-1]}[whence])
        return self.at

    def tell(self) -> int:
        """As any file."""
        return self.at

    def readinto(self, buffer) -> int:
        """Fill the buffer, but for the end of the file."""
        view, done = memoryview(buffer), 0
        while done < len(view) and self.at < self.starts[-1]:
            number = bisect_right(self.starts, self.at) - 1
            offset, span = self.at - self.starts[number], self.spans[number]
            count = min(len(view) - done, self.starts[number + 1] - self.at)
            if isinstance(span, bytes):
                block = span[offset : offset + count]
            else:
                self.stream.seek(span[0] + offset)
                block = self.stream.read(count)
            if not block:
                break
            view[done : done + len(block)] = block
            done += len(block)
            self.at += len(block)
        return done

    def close(self) -> None:
        """Close the other one, too."""
        self.stream.close()
        super().close()


def read_at(stream: BinaryIO, start: int, count: int) -> bytes:
    """`count` bytes from `start` on, or what is there of them."""
    stream.seek(start)
    return stream.read(count)


def find(stream: BinaryIO, wanted: bytes, start: int, stop: int, block: int = 1 << 16) -> int:
    """Where `wanted` is first found between two places of a file; -1 where it is not."""
    overlap = len(wanted) - 1
    while start < stop:
        content = read_at(stream, start, min(block + overlap, stop - start))
        at = content.find(wanted)
        if at >= 0:
            return start + at
        if len(content) <= overlap:
            return -1
        start += len(content) - overlap
    return -1


def is_cut_short(missing: int, bytes_per_second: float) -> bool:
    """Whether so many missing bytes are lost sound, rather than an error of the header."""
    return missing > max(MISSING_BYTES, MISSING_SECONDS * bytes_per_second)
