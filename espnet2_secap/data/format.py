"""From data/<set> to dump/raw/<set>: checked mono audio of one sampling rate, made by several jobs, then joined.

A job writes its audio files one by one, each whole or not at all, and its lists at the end; a job that was killed
is run again and takes over the files that are finished. Joining refuses to go on where a job's lists are missing.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    named_os_errors,
    read_captions,
    read_kaldi,
    write_captions,
    write_kaldi,
)
from espnet2_secap.data.pipe import run_command, stamp
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.validate import INVERSE, require_good_data_dir, utterance_files
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.jobs import part_of
from espnet2_secap.progress import progress

NAMED = 3  # ids named in a message; the list has all
OURS = ("wav.scp", "utt2num_samples")
PART = re.compile(r"\.tmp\.\d+$")  # of atomic_write


@dataclass
class FormatOptions:
    """What to format and how.

    Args:
        data_dir: data/<set>, checked first.
        output_dir: dump/raw/<set>.
        role: "train" or "valid" (bad utterances are left out) or "test" (they are an error).
        fs: sampling rate of the output in Hz.
        audio_format: "wav" or "flac".
        min_wav_duration, max_wav_duration: limits in seconds, for train and valid.
        nj: number of jobs.
        skip_bad_test: leave bad test utterances out, with a warning.
        allow_pipes: run the commands of wav.scp (`sox x.mp3 -t wav - |`); otherwise they are an error.
        pipe_seconds: how long each of them may take.
    """

    data_dir: str
    output_dir: str
    role: str
    fs: int = 16000
    audio_format: str = "wav"
    min_wav_duration: float = 0.1
    max_wav_duration: float = 30.0
    nj: int = 1
    skip_bad_test: bool = False
    allow_pipes: bool = False
    pipe_seconds: float = 300.0

    def job_file(self, job: int, name: str) -> Path:
        """List `name` of a job."""
        return Path(self.output_dir) / ".jobs" / f"{job}.{name}"


def format_job(options: FormatOptions, job: int) -> None:
    """Format the utterances of one job (1 to nj) and write its lists.

    Raises:
        SecError: the data directory is bad. Bad recordings are no error here: they are listed.
        OSError: no space, no permission.
    """
    require_good_data_dir(options.data_dir, allow_pipes=options.allow_pipes)
    wavs = read_kaldi(Path(options.data_dir) / "wav.scp")
    ids = part_of(list(wavs), options.nj, job)
    audio_dir = make_dir(Path(options.output_dir) / "data" / f"format.{job}")
    make_dir(options.job_file(job, "wav.scp").parent)
    for name in (*OURS, "notes", "bad"):  # what an earlier run said is no longer so
        with named_os_errors(options.job_file(job, name)):
            options.job_file(job, name).unlink(missing_ok=True)
    _remove_parts(audio_dir)
    scp, num_samples, notes, bad = {}, {}, {}, {}
    for utt_id in progress(ids, len(ids), f"format {options.data_dir} {job}/{options.nj}"):
        target = audio_dir / f"{utt_id}.{options.audio_format}"
        try:
            num_samples[utt_id], said = format_utterance(wavs[utt_id], target, options)
        except BadAudio as err:
            bad[utt_id] = f"{_named(wavs[utt_id])}: {err}"
            continue
        scp[utt_id] = str(target)
        if said:
            notes[utt_id] = ", ".join(said)
    write_kaldi(options.job_file(job, "notes"), notes)
    write_kaldi(options.job_file(job, "utt2num_samples"), num_samples)
    _write_bad(options.job_file(job, "bad"), bad)
    write_kaldi(options.job_file(job, "wav.scp"), scp)


def format_utterance(source: str, target: Path, options: FormatOptions) -> tuple[int, list[str]]:
    """Format one recording, or take over what an earlier run made of it.

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
    """The same for a recording that a command makes; it is run again only where its text has changed."""
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
        what was kept, left out and noted, for a person to read.

    Raises:
        SecError: a job is missing, nothing is left, or a test utterance is bad.
    """
    require_good_data_dir(options.data_dir, allow_pipes=options.allow_pipes)
    data_dir, output_dir = Path(options.data_dir), Path(options.output_dir)
    wavs = read_kaldi(data_dir / "wav.scp")
    scp, num_samples, notes, bad = {}, {}, {}, {}
    for job in range(1, options.nj + 1):
        found_scp, found_bad = _of_job(options, job, part_of(list(wavs), options.nj, job))
        scp.update(found_scp)
        bad.update(found_bad)
        num_samples.update(_read_list(options.job_file(job, "utt2num_samples"), " "))
        notes.update(_read_list(options.job_file(job, "notes"), " "))
    _write_bad(output_dir / "bad_utts.tsv", bad)
    _refuse(options, scp, bad)
    _copy_tables(data_dir, output_dir, scp)
    write_kaldi(output_dir / "utt2num_samples", num_samples)
    write_kaldi(output_dir / "wav.scp", scp)
    _remove_orphans(output_dir, scp.values())
    return _summary(options, num_samples, notes, bad)


def _of_job(options: FormatOptions, job: int, ids: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """A job's wav.scp and its bad utterances, after making sure that together they are its part."""
    again = f"run job {job} of stage 2 again"
    path = options.job_file(job, "wav.scp")
    if not path.is_file():
        raise SecError(f"{path}: is missing, job {job} of {options.nj} did not end well; see its log and {again}")
    scp, bad = _read_list(path, " "), _read_list(options.job_file(job, "bad"), "\t")
    if sorted([*scp, *bad]) != sorted(ids):
        raise SecError(f"{path}: is not of this wav.scp and --nj {options.nj}; run all jobs of stage 2 again")
    for utt_id, audio in scp.items():
        if not os.path.isfile(audio):
            raise SecError(f"{audio}: audio of {utt_id} is gone; {again}")
        if not audio.endswith(f".{options.audio_format}"):
            raise SecError(f"{path}: is not of --audio_format {options.audio_format}; run all jobs again")
    return scp, bad


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
            f" mend them (all are listed in {where}) or give --skip_bad_test true"
        )


def _copy_tables(data_dir: Path, output_dir: Path, keep: dict[str, str]) -> None:
    """Copy every file with a line per utterance, and the inverse ones; remove those that data_dir lacks."""
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


def _summary(options: FormatOptions, num_samples: dict, notes: dict, bad: dict) -> str:
    hours = sum(map(int, num_samples.values())) / options.fs / 3600
    lines = [f"{options.output_dir}: {len(num_samples)} utterances, {hours:.2f} h at {options.fs} Hz"]
    if bad:
        warning = "warning: " if options.role == "test" else ""
        kinds = Counter(reason.split(": ", 1)[1].split(":")[0].split(";")[0] for reason in bad.values())
        told = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        lines.append(f"{warning}{len(bad)} left out ({told}), see {options.output_dir}/bad_utts.tsv")
    for note, count in Counter(one for said in notes.values() for one in said.split(", ")).most_common():
        lines.append(f"note: {count} {note}")
    return "\n".join(lines)


def _read_list(path: Path, separator: str) -> dict[str, str]:
    """A list that we wrote ourselves; it may be empty."""
    with path.open(encoding="utf-8") as stream:
        return dict(line.rstrip("\n").split(separator, 1) for line in stream)


def _write_bad(path: Path, bad: dict[str, str]) -> None:
    with atomic_write(path) as stream:
        stream.writelines(f"{utt_id}\t{' '.join(bad[utt_id].split())}\n" for utt_id in sorted(bad))


def _remove_parts(folder: Path) -> None:
    """Remove what a killed run left half-written."""
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


def check_options(options: FormatOptions) -> None:
    """Raise a SecError where an option makes no sense."""
    if options.fs < 8000:
        raise SecError(f"--fs {options.fs}: wants Hz, 8000 or more, such as 16000")
    if options.nj < 1:
        raise SecError(f"--nj {options.nj}: wants 1 or more")
    if not options.pipe_seconds > 0:
        raise SecError(f"--pipe_seconds {options.pipe_seconds}: wants seconds, more than 0")
    if not 0 <= options.min_wav_duration < options.max_wav_duration:
        raise SecError(
            f"--min_wav_duration {options.min_wav_duration} --max_wav_duration {options.max_wav_duration}:"
            " want seconds, 0 <= min < max"
        )
    if options.max_wav_duration > LONGEST:
        raise SecError(f"--max_wav_duration {options.max_wav_duration}: at most {LONGEST:.0f} s can be taken")
