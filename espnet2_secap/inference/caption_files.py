"""Captioning of recordings: read, cut where they are long, batched by length, and resumed after an interruption."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from espnet2_secap.data import audio
from espnet2_secap.data.audio import BadAudio
from espnet2_secap.data.recordings import check_recording, decode_recording, read_recording, to_float
from espnet2_secap.data.silence import cut_at_silence
from espnet2_secap.data.sources import Recording
from espnet2_secap.errors import SecError, few
from espnet2_secap.inference.caption_output import Captioned, Journal
from espnet2_secap.process.jobs import stat_of

LONGEST = 30.0  # seconds of a piece, where the model does not know how long its training utterances were
SHORTEST = 0.3  # seconds of a piece of a long recording
WINDOW = 16  # batches whose recordings are read and sorted together
WINDOW_SECONDS = 1800.0  # of sound that is held in memory at least, before a window ends


class Model(Protocol):
    """What is needed of `Speech2Caption`."""

    fs: int  # sampling rate in Hz
    min_samples: int
    max_seconds: float | None  # longest training utterance

    def caption(self, waves: Sequence[np.ndarray], texts: Sequence[str] | None = None) -> list[list[tuple[str, float]]]:
        """Candidates (caption, score) of each waveform (samples,) float32 with its transcription, best first."""


class Piece(NamedTuple):
    """A piece of a recording, or the whole: id, start and end in samples."""

    id: str
    start: int
    end: int


@dataclass
class Read:
    """A recording that was read, or that the journal knows: its place in the input, pieces, samples."""

    place: int
    recording: Recording
    fs: int
    pieces: list[Piece]
    pcm: np.ndarray | None = None  # (samples,) int16

    def seconds(self) -> float:
        """Length of all pieces."""
        return sum(piece.end - piece.start for piece in self.pieces) / self.fs


def readable(recordings: Sequence[Recording], failed: Callable[[Recording, str], None]) -> list[Recording]:
    """The recordings whose headers are good; `failed` is told the others, with the reason."""
    output = []
    for recording in recordings:
        try:
            check_recording(recording.path)
            output.append(recording)
        except BadAudio as err:
            failed(recording, str(err))
    return output


class FileCaptioner:
    """Captions recordings, and keeps in a journal what is done.

    Recordings are read in windows of 16 batches; within a window the pieces are sorted by length. Windows and batches
    are those of an uninterrupted run also when most of it is in the journal, so the captions are the same.

    Args:
        load: makes the model; called when the first caption is missing.
        journal: what is done.
        batch_size: pieces that are captioned together.
        max_seconds: longest piece; if None the model's longest training utterance, or 30 s where it is unknown.
        seed: of sampling; each batch has a seed of its own.
        noted: is told what a recording's header gets wrong, and what is clipped.
        texts: id of a recording, or of a piece of one -> its transcription, of a model that reads it.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        journal: Journal,
        batch_size: int = 16,
        max_seconds: float | None = None,
        seed: int = 0,
        noted: Callable[[Recording, str], None] = lambda recording, note: None,
        texts: Mapping[str, str] | None = None,
    ):
        self._load, self._model = load, None
        self.journal, self.batch_size, self.max_seconds, self.seed = journal, batch_size, max_seconds, seed
        self.noted, self.texts = noted, texts

    @property
    def model(self) -> Model:
        """The model, loaded when it is needed first."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def run(
        self, recordings: Sequence[Recording], failed: Callable[[Recording, str], None]
    ) -> Iterator[tuple[int, list[Captioned]]]:
        """Caption them all.

        Args:
            recordings: with different ids.
            failed: is told each recording that cannot be used, and why.

        Yields:
            place in `recordings` and its captioned pieces, each as soon as it is complete, none where it failed; the
            order is not that of the input.
        """
        window, pieces, seconds = [], 0, 0.0
        taken = {recording.id: recording for recording in recordings}
        for place, recording in enumerate(recordings):
            try:
                read = self._known(place, recording) or self._read(place, recording, taken)
            except BadAudio as err:
                failed(recording, str(err))
                yield place, []
                continue
            window.append(read)
            pieces += len(read.pieces)
            seconds += read.seconds()
            if pieces >= WINDOW * self.batch_size or seconds >= WINDOW_SECONDS:
                yield from self._caption(window, failed)
                window, pieces, seconds = [], 0, 0.0
        yield from self._caption(window, failed)

    def _known(self, place: int, recording: Recording) -> Read | None:
        """What the journal says of a recording, where its file is as it was then."""
        kept = self.journal.recordings.get(recording.id)
        if kept is None or kept["stamp"] != _stamp(recording.path):
            return None
        return Read(place, recording, kept["fs"], [Piece(*piece) for piece in kept["pieces"]])

    def _read(self, place: int, recording: Recording, taken: dict[str, Recording]) -> Read:
        """Read a recording and cut it."""
        # The journal is this model's: a recording that fails again does not need it loaded.
        fs = next((kept["fs"] for kept in self.journal.recordings.values()), None) or self.model.fs
        stamp = _stamp(recording.path)
        decoded = decode_recording(recording.path, fs)
        pcm = decoded.pcm
        for note in decoded.notes:
            self.noted(recording, note)
        longest = self.max_seconds or self.model.max_seconds or LONGEST
        least = max(self.model.min_samples, round(audio.SHORTEST * fs))
        if len(pcm) < least:
            raise BadAudio(f"is too short: {len(pcm) / fs:.4f} s, the model needs {least / fs:g} s; leave it out")
        bounds = cut_at_silence(pcm, fs, longest, max(SHORTEST, least / fs))
        if not bounds:
            raise BadAudio(f"has no speech that is longer than {max(SHORTEST, least / fs):g} s; leave it out")
        whole = bounds == [(0, len(pcm))]
        pieces = [Piece(recording.id if whole else piece_id(recording.id, a / fs, b / fs), a, b) for a, b in bounds]
        self._check_texts(recording, pieces)
        for piece in pieces:
            if taken.get(piece.id, recording) != recording:
                raise BadAudio(f"its piece would have the id {piece.id} of {taken[piece.id].path}; rename that file")
        self.journal.add_recording(recording.id, stamp, fs, pieces)
        return Read(place, recording, fs, pieces, pcm)

    def _check_texts(self, recording: Recording, pieces: Sequence[Piece]) -> None:
        """See that each piece of a recording has a transcription: of a part the whole's is not the one."""
        lost = [piece.id for piece in pieces if self.texts is not None and piece.id not in self.texts]
        if lost and recording.id in self.texts:
            raise BadAudio(
                f"is cut into {len(pieces)} pieces, and its transcription is that of the whole; raise --max_seconds, or"
                f" give --text_file a line for each ({few(lost)})"
            )
        if lost:
            raise BadAudio(f"--text_file has no line for {few(lost)}; add it, an id alone where nothing is said")

    def _caption(
        self, window: list[Read], failed: Callable[[Recording, str], None]
    ) -> Iterator[tuple[int, list[Captioned]]]:
        """Caption what is missing of a window's recordings, batch by batch."""
        done = self.journal.captions
        work = [(piece, read) for read in window for piece in read.pieces]
        work.sort(key=lambda pair: (pair[0].end - pair[0].start, pair[0].id))
        waiting = {read.place: read for read in window}
        batches = [work[start : start + self.batch_size] for start in range(0, len(work), self.batch_size)]
        for batch in [[], *batches]:  # before the first batch, what the journal has
            missing = []
            for piece, read in batch:
                if piece.id in done or read.place not in waiting:
                    continue
                try:
                    if read.pcm is None:  # an interrupted run had read it
                        read.pcm = read_recording(read.recording.path, read.fs)
                    missing.append((piece, read.pcm))
                except BadAudio as err:
                    failed(read.recording, str(err))
                    del waiting[read.place]
                    yield read.place, []
            if missing:
                self._caption_batch(missing)
            for read in [read for read in waiting.values() if all(piece.id in done for piece in read.pieces)]:
                del waiting[read.place]
                read.pcm = None  # its memory is free now
                yield read.place, [self._captioned(read, piece) for piece in read.pieces]

    def _caption_batch(self, batch: list[tuple[Piece, np.ndarray]]) -> None:
        """Caption pieces of recordings (samples,) int16 and keep the captions."""
        import torch

        model = self.model
        seed = hashlib.sha256(f"{self.seed} {batch[0][0].id}".encode()).digest()
        torch.manual_seed(int.from_bytes(seed[:7], "big"))
        waves = [to_float(pcm[piece.start : piece.end]) for piece, pcm in batch]
        try:
            said = () if self.texts is None else ([self.texts[piece.id] for piece, _ in batch],)
            found = model.caption(waves, *said)
        except torch.OutOfMemoryError as err:
            longest = max(map(len, waves)) / model.fs
            raise SecError(
                f"out of memory at {len(batch)} pieces of up to {longest:.1f} s; lower --batch_size or --max_seconds"
            ) from err
        rows = {
            piece.id: [{"text": one_line(text), "score": round(float(score), 6)} for text, score in candidates]
            for (piece, _), candidates in zip(batch, found, strict=True)
        }
        self.journal.add_captions(rows)

    def _captioned(self, read: Read, piece: Piece) -> Captioned:
        times = (round(piece.start / read.fs, 3), round(piece.end / read.fs, 3))
        return Captioned(piece.id, read.recording.path, *times, self.journal.captions[piece.id])


def one_line(text: str) -> str:
    """A caption without control characters, with single blanks: what a model writes goes into lines and tables."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())


def piece_id(name: str, start: float, end: float) -> str:
    """The id of a piece in Kaldi's manner, `id-0001230-0004560`: start and end in hundredths of a second."""
    return f"{name}-{round(100 * start):07d}-{round(100 * end):07d}"


def _stamp(path: str) -> list[int] | None:
    """Size and time of change of a file; None where it cannot be looked at."""
    try:
        return stat_of(path)[1:]
    except OSError:
        return None
