"""Formatting data/<set> into dump/raw/<set>: checked mono audio of one sampling rate, by parallel jobs, then joined.

A job writes its audio files one by one, each complete or not at all, and notes each in its journal. A killed job is
run again and takes over the audio files that are finished. Joining refuses to go on where a job has not finished.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.cli_types import option
from espnet2_secap.data.audio import (
    LONGEST,
    SHORTEST,
    BadAudio,
    Header,
    check_length,
    is_made_from,
    made_samples,
    read_audio,
    read_header,
    write_audio,
)
from espnet2_secap.data.io import (
    atomic_write,
    invert,
    make_dir,
    read_captions,
    read_kaldi,
    write_captions,
    write_kaldi,
)
from espnet2_secap.data.pipe import run_command, stamp
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.validate import INVERSE, require_good_data_dir, utterance_files
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.jobs import Journal, fingerprint, gather, part_of, run_again
from espnet2_secap.progress import progress

NAMED = 3  # ids named in a message; the list has all
OURS = ("wav.scp", "utt2num_samples")
NAME = "format"  # of the journals
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

    def made_from(self, wavs: dict[str, str]) -> str:
        """A fingerprint of all that decides which audio is written, but for the recordings' content."""
        limits = [self.min_wav_duration, self.max_wav_duration]
        return fingerprint([wavs, self.role, self.fs, self.audio_format, *limits])

    def audio(self, job: int, utt_id: str) -> str:
        """Where a job writes an utterance."""
        return str(Path(self.output_dir) / "data" / f"format.{job}" / f"{utt_id}.{self.audio_format}")


def format_job(options: FormatOptions, job: int) -> None:
    """Format the utterances of one job (1 to nj).

    Raises:
        SecError: the data directory is bad. Unusable recordings are no error here: the journal has the reason.
        OSError: no space, no permission.
    """
    require_good_data_dir(options.data_dir, allow_pipes=options.allow_pipes)
    wavs = read_kaldi(Path(options.data_dir) / "wav.scp")
    ids = part_of(list(wavs), options.nj, job)
    audio_dir = make_dir(Path(options.output_dir) / "data" / f"format.{job}")
    # Nothing is taken over: `format_utterance` knows finished audio, and unusable recordings may have been replaced.
    journal = Journal(options.output_dir, NAME, job, options.nj, options.made_from(wavs), ids, resume=False)
    _remove_parts(audio_dir)
    for utt_id in progress(ids, len(ids), f"format {options.data_dir} {job}/{options.nj}"):
        try:
            samples, notes = format_utterance(wavs[utt_id], Path(options.audio(job, utt_id)), options)
            journal.add(utt_id, {"samples": samples, "notes": notes})
        except BadAudio as err:
            journal.add(utt_id, {"bad": f"{_named(wavs[utt_id])}: {err}"})


def format_utterance(source: str, target: Path, options: FormatOptions) -> tuple[int, list[str]]:
    """Format one recording, or keep the audio that an earlier run made from it.

    Returns:
        number of samples at `options.fs`; notes (averaged to mono, upsampled).

    Raises:
        BadAudio: why it cannot be used.
    """
    if is_command(source):
        return _format_piped(source, target, options), ["made by commands"]
    header = read_header(source)
    _check_length(header, options)
    samples = is_made_from(target, source, header, options.fs)
    if samples is None:
        pcm = read_audio(source, options.fs, header)
        write_audio(target, pcm, options.fs, os.stat(source).st_mtime_ns)
        samples = len(pcm)
    if samples < SHORTEST * options.fs - 1:
        raise BadAudio(f"is too short: {samples} samples at {options.fs} Hz; leave it out")
    return samples, header.notes(options.fs)


def _format_piped(command: str, target: Path, options: FormatOptions) -> int:
    """The same for a recording that a command makes; the command runs again only if its text has changed."""
    samples = made_samples(target, stamp(command), options.fs)
    if samples is not None:
        _check_length(Header(samples, options.fs, 1), options)
        return samples
    content = run_command(command, options.pipe_seconds)
    header = read_header(content)
    _check_length(header, options)
    pcm = read_audio(content, options.fs, header)
    write_audio(target, pcm, options.fs, stamp(command))
    return len(pcm)


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
    require_good_data_dir(options.data_dir, allow_pipes=options.allow_pipes)
    data_dir, output_dir = Path(options.data_dir), Path(options.output_dir)
    made_from = options.made_from(read_kaldi(data_dir / "wav.scp"))
    _, jobs = gather(output_dir, NAME, options.nj, 2, made_from)
    results = {utt_id: result for of_job in jobs.values() for utt_id, result in of_job.items()}
    bad = {utt_id: result["bad"] for utt_id, result in results.items() if "bad" in result}
    scp = {utt: options.audio(job, utt) for job, of_job in jobs.items() for utt in of_job if utt not in bad}
    lost = {
        job: path for job, ids in jobs.items() for utt in ids if utt in scp and not os.path.isfile(path := scp[utt])
    }
    if lost:
        raise run_again(output_dir, 2, options.nj, {job: f"{path} was removed" for job, path in lost.items()})
    _write_bad(output_dir / "bad_utts.tsv", bad)
    _refuse(options, scp, bad)
    _copy_tables(data_dir, output_dir, scp)
    num_samples = {utt_id: results[utt_id]["samples"] for utt_id in scp}
    write_kaldi(output_dir / "utt2num_samples", num_samples)
    write_kaldi(output_dir / "wav.scp", scp)
    _remove_orphans(output_dir, scp.values())
    return _summary(options, num_samples, [note for utt_id in scp for note in results[utt_id]["notes"]], bad)


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


def _copy_tables(data_dir: Path, output_dir: Path, keep: dict[str, str]) -> None:
    """Copy every file with a line per utterance, and their inverses; remove those that data_dir lacks."""
    names = [name for name in utterance_files(data_dir) if name not in OURS]
    inverse = [INVERSE[name] for name in names if name in INVERSE and (data_dir / INVERSE[name]).is_file()]
    for name in utterance_files(output_dir) + list(INVERSE.values()):
        if name not in (*names, *inverse, *OURS):
            (output_dir / name).unlink(missing_ok=True)
    for name in names:
        if name == "captions":
            write_captions(output_dir / name, _only(read_captions(data_dir / name), keep))
            continue
        table = _only(read_kaldi(data_dir / name), keep)
        write_kaldi(output_dir / name, table)
        if name in INVERSE and INVERSE[name] in inverse:
            write_kaldi(output_dir / INVERSE[name], invert(table))


def _only(table: dict, keep: dict) -> dict:
    return {utt_id: value for utt_id, value in table.items() if utt_id in keep}


def _summary(options: FormatOptions, num_samples: dict[str, int], notes: list[str], bad: dict[str, str]) -> str:
    hours = sum(num_samples.values()) / options.fs / 3600
    lines = [f"{options.output_dir}: {len(num_samples)} utterances, {hours:.2f} h at {options.fs} Hz"]
    if bad:
        warning = "warning: " if options.role == "test" else ""
        kinds = Counter(reason.split(": ", 1)[1].split(":")[0].split(";")[0] for reason in bad.values())
        told = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        lines.append(f"{warning}{len(bad)} left out ({told}), see {options.output_dir}/bad_utts.tsv")
    for note, count in Counter(notes).most_common():
        lines.append(f"note: {count} {note}")
    return "\n".join(lines)


def _write_bad(path: Path, bad: dict[str, str]) -> None:
    with atomic_write(path) as stream:
        stream.writelines(f"{utt_id}\t{' '.join(bad[utt_id].split())}\n" for utt_id in sorted(bad))


def _remove_parts(folder: Path) -> None:
    """Remove incomplete files of a killed run."""
    for path in folder.iterdir():
        if PART.search(path.name):
            path.unlink(missing_ok=True)


def _remove_orphans(output_dir: Path, used: Iterable[str]) -> None:
    """Remove audio of earlier runs (with another nj or format) that wav.scp does not name."""
    keep = {Path(path).parts[-2:] for path in used}
    for path in (output_dir / "data").glob("format.*/*"):
        if path.parent.is_symlink():  # what lies beyond is not of this dump
            continue
        if path.parts[-2:] not in keep and (path.suffix in (".wav", ".flac") or PART.search(path.name)):
            path.unlink(missing_ok=True)
