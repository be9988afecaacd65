"""Formatting data/<set> into dump/raw/<set>: checked mono audio of one sampling rate, by parallel jobs, then joined.

A job writes its audio files one by one, each complete or not at all, and notes each in its journal. A killed job is
run again and takes over the audio files that are finished. Joining refuses to go on where a job has not finished.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.cli_types import option
from espnet2_secap.data.audio import (
    LONGEST,
    SHORTEST,
    UP_TO,
    BadAudio,
    Header,
    check_heard,
    check_length,
    decode,
    is_made_from,
    made_samples,
    read_header,
    write_audio,
)
from espnet2_secap.data.io import atomic_write, file_name, make_dir, write_kaldi
from espnet2_secap.data.parts import NO_LENGTH
from espnet2_secap.data.pieces import PIPED, Recordings, cut
from espnet2_secap.data.pipe import run_command, stamp
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.segments import Segment
from espnet2_secap.data.task import Task, about_labels, about_text, copy_tables, read_task
from espnet2_secap.data.validate import MISSING_TEXT
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.jobs import Journal, fingerprint, gather, part_of, run_again
from espnet2_secap.progress import progress

NAMED = 3  # ids named in a message; the list has all
NAME = "format"  # of the journals
FOLDER_UTTS = 1000  # audio files in one folder
PART = re.compile(r"\.tmp\.\d+$")  # of atomic_write


@dataclass
class FormatOptions:
    """What to format and how: the options of sec_format_audio."""

    data_dir: str = option("folder to read, such as data/train")
    output_dir: str = option("folder to write, such as dump/raw/train")
    role: str = option(
        "use of the set; in train and valid unusable recordings and those outside the duration limits are left out, "
        "in test unusable ones are an error and the limits do not apply",
        choices=("train", "valid", "test"),
    )
    fs: int = option("sampling rate to write, in Hz", 16000)
    audio_format: str = option("format to write; both hold 16 bits", "wav", choices=("wav", "flac"))
    min_wav_duration: float = option("shortest utterance kept, in seconds", 0.1)
    max_wav_duration: float = option("longest utterance kept, in seconds", 30.0)
    nj: int = option("number of jobs", 1)
    skip_bad_test: bool = option("leave unusable test utterances out, with a warning", False)
    allow_pipes: bool = option(
        "run the commands that wav.scp holds in place of files (`sox x.mp3 -t wav - |`): they can do anything, so "
        "only if you trust the data directory",
        False,
    )
    pipe_seconds: float = option("time limit of each of these commands, in seconds", 300.0)
    missing_text: str = option(
        "utterances that text has without words, or lacks: empty keeps them as nothing said, skip leaves them out of "
        "train and valid, error refuses the set",
        "empty",
        choices=MISSING_TEXT,
    )
    emotion_map: str | None = option(
        "file of lines `label label`: in utt2emo and emo2utt the second takes the place of the first", None
    )

    def check(self) -> None:
        """Raise a SecError if an option is out of range."""
        if self.fs < 8000:
            raise SecError(f"--fs {self.fs}: must be 8000 Hz or more, such as 16000")
        if self.nj < 1:
            raise SecError(f"--nj {self.nj}: must be 1 or more")
        if not self.pipe_seconds > 0:
            raise SecError(f"--pipe_seconds {self.pipe_seconds}: must be more than 0 seconds")
        if not 0 <= self.min_wav_duration < self.max_wav_duration:
            raise SecError(
                f"--min_wav_duration {self.min_wav_duration} --max_wav_duration {self.max_wav_duration}: must be "
                "seconds with 0 <= min < max"
            )
        if self.max_wav_duration > LONGEST:
            raise SecError(f"--max_wav_duration {self.max_wav_duration}: must be at most {LONGEST:.0f} s")

    def task(self) -> Task:
        """Check the data directory and read what is to be done; a SecError says what is bad."""
        return read_task(self.data_dir, self.allow_pipes, self.missing_text, self.emotion_map)

    def made_from(self, task: Task) -> str:
        """A fingerprint of all that decides what is written, but for the content of recordings and copied files."""
        limits = [self.min_wav_duration, self.max_wav_duration]
        return fingerprint([task.content(), self.role, self.fs, self.audio_format, *limits, self.missing_text])

    def places(self, task: Task) -> dict[str, str]:
        """id -> where its audio is written: the same for any number of jobs, since features are made from these."""
        data = Path(self.output_dir) / "data"
        return {
            utt_id: str(data / f"format.{number // FOLDER_UTTS + 1}" / f"{file_name(utt_id)}.{self.audio_format}")
            for number, utt_id in enumerate(task.sources)
        }


def format_job(options: FormatOptions, job: int) -> None:
    """Format the utterances of one job (1 to nj).

    Raises:
        SecError: the data directory is bad. Unusable recordings are no error here: the journal has the reason.
        OSError: no space, no permission.
    """
    task = options.task()
    ids, places = part_of(list(task.sources), options.nj, job), options.places(task)
    # Nothing is taken over: `format_utterance` knows finished audio, and unusable recordings may have been replaced.
    journal = Journal(options.output_dir, NAME, job, options.nj, options.made_from(task), ids, resume=False)
    _prepare_folders([Path(places[utt_id]) for utt_id in ids])
    recordings = Recordings(options.fs, options.pipe_seconds)
    for utt_id in progress(ids, len(ids), f"format {options.data_dir} {job}/{options.nj}"):
        source, target = task.sources[utt_id], Path(places[utt_id])
        try:
            earlier = journal.earlier.get(utt_id, {}).get("notes", ())
            if utt_id in task.wordless and options.missing_text == "skip" and options.role != "test":
                raise BadAudio("has no transcription; --missing_text empty keeps it")
            if task.segments is None:
                samples, notes = format_utterance(source, target, options, earlier)
            else:
                samples, notes = format_segment(source, task.segments[utt_id], target, options, recordings, earlier)
            journal.add(utt_id, {"samples": samples, "notes": notes})
        except BadAudio as err:
            journal.add(utt_id, {"bad": f"{_named(source)}: {err}"})


def format_utterance(
    source: str, target: Path, options: FormatOptions, earlier: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """Format one recording, or keep the audio that an earlier run made from it, with that run's notes (`earlier`).

    Returns:
        number of samples at `options.fs`; notes (averaged to mono, upsampled, clipped, what its header gets wrong).

    Raises:
        BadAudio: why it cannot be used.
    """
    if is_command(source):
        return _format_piped(source, target, options, earlier)
    header = read_header(source)
    _check_length(header, options)
    samples, notes = is_made_from(target, source, header, options.fs), header.notes(options.fs)
    if samples is not None:
        notes += [note for note in earlier if note not in notes]
    else:
        samples, more = _write(source, header, target, options, os.stat(source).st_mtime_ns)
        notes += more
    if samples < SHORTEST * options.fs - 1:
        raise BadAudio(f"is too short: {samples} samples at {options.fs} Hz; leave it out")
    return samples, notes


def format_segment(
    source: str,
    segment: Segment,
    target: Path,
    options: FormatOptions,
    recordings: Recordings,
    earlier: Sequence[str] = (),
) -> tuple[int, list[str]]:
    """`format_utterance` for a part of a recording."""
    notes = [*recordings.notes(source), "cut from recordings by segments"]
    changed = None if is_command(source) else os.stat(source).st_mtime_ns
    made_by = stamp(f"{source} {changed} {segment.start} {segment.end}")
    samples, pcm = made_samples(target, made_by, options.fs), None
    if samples is None:
        decoded = recordings.read(source)
        pcm = check_heard(cut(decoded.pcm, options.fs, segment))
        samples, earlier = len(pcm), decoded.notes
    notes += [note for note in earlier if note not in notes]
    _check_length(Header(samples, options.fs, 1), options)
    if pcm is not None:
        write_audio(target, pcm, options.fs, made_by)
    return samples, notes


def _format_piped(command: str, target: Path, options: FormatOptions, earlier: Sequence[str]) -> tuple[int, list[str]]:
    """The same for a recording that a command makes; the command runs again only if its text has changed."""
    samples = made_samples(target, stamp(command), options.fs)
    if samples is not None:
        _check_length(Header(samples, options.fs, 1), options)
        return samples, list(earlier) or [PIPED]
    content = run_command(command, options.pipe_seconds)
    header = read_header(content)
    _check_length(header, options)
    samples, notes = _write(content, header, target, options, stamp(command))
    return samples, [PIPED, *(note for note in header.notes(options.fs) if note != NO_LENGTH), *notes]


def _write(
    source: str | bytes, header: Header, target: Path, options: FormatOptions, mtime_ns: int
) -> tuple[int, list[str]]:
    """Decode a recording and write it; its samples, and notes on decoding."""
    decoded = decode(source, options.fs, header)
    if abs(len(decoded.pcm) / options.fs - header.seconds) > 0.01:  # seconds; the header said another length
        _check_length(Header(len(decoded.pcm), options.fs, 1), options)
    write_audio(target, decoded.pcm, options.fs, mtime_ns)
    return len(decoded.pcm), decoded.notes


def _check_length(header: Header, options: FormatOptions) -> None:
    if options.role == "test":
        check_length(header)
    else:
        check_length(header, options.min_wav_duration, options.max_wav_duration)


def _named(source: str) -> str:
    """A recording's path, or its command, for bad_utts.tsv; no `: ` in it, which stands before the reason."""
    source = shorten(source, 200) if is_command(source) else source
    return source.replace(": ", ":")


def combine(options: FormatOptions) -> str:
    """Join the lists of all jobs, and copy the other files of the data directory for the utterances kept.

    Returns:
        summary: what was kept, left out and noted.

    Raises:
        SecError: a job has not finished, no utterance is left, or a test utterance cannot be used.
    """
    data_dir, output_dir, task = Path(options.data_dir), Path(options.output_dir), options.task()
    _, jobs = gather(output_dir, NAME, options.nj, 2, options.made_from(task))
    results = {utt_id: result for of_job in jobs.values() for utt_id, result in of_job.items()}
    bad = {utt_id: result["bad"] for utt_id, result in results.items() if "bad" in result}
    scp = {utt: path for utt, path in options.places(task).items() if utt not in bad}
    lost = {
        job: path for job, ids in jobs.items() for utt in ids if utt in scp and not os.path.isfile(path := scp[utt])
    }
    if lost:
        raise run_again(output_dir, 2, options.nj, {job: f"{path} was removed" for job, path in lost.items()})
    _write_bad(output_dir / "bad_utts.tsv", bad)
    _refuse(options, scp, bad)
    copy_tables(data_dir, output_dir, scp, task.emotions)
    num_samples = {utt_id: results[utt_id]["samples"] for utt_id in scp}
    write_kaldi(output_dir / "utt2num_samples", num_samples)
    write_kaldi(output_dir / "wav.scp", scp)
    _remove_orphans(output_dir, scp.values())
    summary = _summary(options, num_samples, [note for utt_id in scp for note in results[utt_id]["notes"]], bad)
    return "\n".join([summary, *about_text(task, scp), *about_labels(data_dir, output_dir, task)])


def _refuse(options: FormatOptions, scp: dict[str, str], bad: dict[str, str]) -> None:
    where = Path(options.output_dir) / "bad_utts.tsv"
    ids = sorted(bad)
    named = ids and f"{ids[0]}: {bad[ids[0]]}" + "".join(f"; {utt_id}" for utt_id in ids[1:NAMED])
    if len(ids) > NAMED:
        named += f"; and {len(ids) - NAMED} more"
    if not scp:
        raise SecError(f"{options.data_dir}: no utterance can be used ({named}); all are listed in {where}")
    if bad and options.role == "test" and not options.skip_bad_test:
        raise SecError(
            f"{options.data_dir}: {len(bad)} of {len(scp) + len(bad)} test utterances cannot be used ({named});"
            f" fix them (all are listed in {where}), or leave them out with --skip_bad_test true (in a recipe:"
            ' --format_args "--skip_bad_test true")'
        )


def _summary(options: FormatOptions, num_samples: dict[str, int], notes: list[str], bad: dict[str, str]) -> str:
    hours = sum(num_samples.values()) / options.fs / 3600
    lines = [f"{options.output_dir}: {len(num_samples)} utterances, {hours:.2f} h at {options.fs} Hz"]
    if bad:
        warning = "warning: " if options.role == "test" else ""
        kinds = Counter(_kind(reason.split(": ", 1)[1]) for reason in bad.values())
        told = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        lines.append(f"{warning}{len(bad)} left out ({told}), see {options.output_dir}/bad_utts.tsv")
    largest: dict[str, str] = {}  # of notes that say how much
    for kind, _, share in (note.partition(UP_TO) for note in notes):
        largest[kind] = max(largest.get(kind, ""), share, key=lambda text: float(text.split("%")[0] or 0))
    for kind, count in Counter(note.partition(UP_TO)[0] for note in notes).most_common():
        lines.append(f"note: {count} {kind}{UP_TO * bool(largest[kind])}{largest[kind]}")
    return "\n".join(lines)


def _kind(reason: str) -> str:
    """The part of a reason that others of its kind share."""
    return re.sub(r" up to [\d.e+]+", "", reason.split(":")[0].split(";")[0])


def _write_bad(path: Path, bad: dict[str, str]) -> None:
    with atomic_write(path) as stream:
        stream.writelines(f"{utt_id}\t{' '.join(bad[utt_id].split())}\n" for utt_id in sorted(bad))


def _prepare_folders(files: Sequence[Path]) -> None:
    """Make the folders of these files, and remove what a killed run left of them; other jobs write there, too."""
    mine: dict[Path, set[str]] = defaultdict(set)
    for path in files:
        mine[path.parent].add(path.name)
    for folder, names in mine.items():
        for path in make_dir(folder).iterdir():
            if PART.search(path.name) and PART.sub("", path.name) in names:
                path.unlink(missing_ok=True)


def _remove_orphans(output_dir: Path, used: Iterable[str]) -> None:
    """Remove audio of earlier runs (of another list or format) that wav.scp does not name."""
    keep = {Path(path).parts[-2:] for path in used}
    for path in (output_dir / "data").glob("format.*/*"):
        if path.parent.is_symlink():  # what lies beyond is not of this dump
            continue
        if path.parts[-2:] not in keep and (path.suffix in (".wav", ".flac") or PART.search(path.name)):
            path.unlink(missing_ok=True)
