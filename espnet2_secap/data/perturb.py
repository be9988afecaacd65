"""Copies of a training set's recordings at another speed, with noise, reverberation or a telephone's band.

What is copied is formatted audio (dump/raw/<set>). Ids and speakers of copies begin with `sp<factor>-`, `noise<dB>-` or
the name of a distortion, as Kaldi's perturb_data_dir_speed.sh has it; utt2uniq tells of which utterance each one is.
A copy keeps captions, transcription and emotion: so speeds should stay close to 1 where captions tell the rate or the
pitch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import soxr

from espnet2_secap.data.audio import BadAudio, made_samples, read_samples, to_mono, to_pcm, write_audio
from espnet2_secap.data.distort import Decibel, Distortion, add_noise, distortions
from espnet2_secap.data.io import bad_id, file_name, make_dir
from espnet2_secap.data.pipe import stamp
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.subsets import DataDir, read_data_dir
from espnet2_secap.errors import SecError
from espnet2_secap.progress import progress
from espnet2_secap.values import Range, checked

Speed = Annotated[float, Range(least=0.5, most=2)]
ORIGIN = "utt2uniq"
OF_ANOTHER_LENGTH = ("utt2dur", "utt2num_frames")  # left out: a copy's would be wrong


@dataclass(frozen=True)
class Perturbation:
    """One kind of copy: `value` is a factor of the speed (kind "sp") or a signal-to-noise ratio in dB ("noise")."""

    kind: str
    value: float

    @property
    def prefix(self) -> str:
        """Of ids and speakers, such as sp0.95- or noise20-."""
        return f"{self.kind}{self.value:g}-"

    def apply(self, mono: np.ndarray, fs: int, key: str) -> np.ndarray:
        """Samples (n,) of full scale 1 -> those of the copy; `key` decides the noise."""
        return change_speed(mono, fs, self.value) if self.kind == "sp" else add_noise(mono, self.value, key)


def change_speed(mono: np.ndarray, fs: int, factor: float) -> np.ndarray:
    """The samples (n,) played `factor` times as fast, about n / factor of them; pitch and formants move along."""
    return soxr.resample(mono, fs * factor, fs)


def perturbations(
    speeds: Sequence[float] = (), ratios: Sequence[float] = (), words: Sequence[str] = ()
) -> list[Perturbation | Distortion]:
    """The copies that options ask for.

    Args:
        speeds: of --speed_perturb.
        ratios: of --noise_snr.
        words: of --augment, as `distortions` reads them.

    Raises:
        SecError: a value out of range, one that is there twice, a speed of 1, an unknown kind of distortion.
    """
    found = [Perturbation("sp", checked("--speed_perturb", one, Speed)) for one in speeds]
    found += [Perturbation("noise", checked("--noise_snr", one, Decibel)) for one in ratios]
    names = [one.prefix for one in found]
    for one in found:
        option = "--speed_perturb" if one.kind == "sp" else "--noise_snr"
        if one == Perturbation("sp", 1.0):
            raise SecError("--speed_perturb 1: is the recording itself, which is always kept; leave it out")
        if names.count(one.prefix) > 1:
            raise SecError(f"{option} {one.value:g}: is there twice; give it once")
    distorted = distortions(words)
    for one in distorted:
        if one.prefix in names:
            raise SecError(f"--augment {one.name}: is there twice, in --noise_snr too; give it once")
    return [*found, *distorted]


def perturb(
    data_dir: str | Path, output_dir: str | Path, kinds: Sequence[Perturbation | Distortion], seed: int = 0
) -> str:
    """Write a data directory with the utterances of another one and their copies; audio that is there is kept.

    Args:
        data_dir: formatted audio, as stage 2 writes it.
        output_dir: copies' audio goes to its data/perturb/.
        kinds: a copy of each utterance for each.
        seed: of what is drawn, which depends on the utterance besides.

    Returns:
        summary.

    Raises:
        SecError: data_dir is not formatted, an id would be too long, a recording cannot be read.
    """
    data, output_dir = read_data_dir(data_dir), Path(output_dir)
    wavs = data.utterances.get("wav.scp", {})
    if not wavs or "segments" in data.utterances or any(map(is_command, wavs.values())):
        raise SecError(f"{data_dir}: is not formatted audio (dump/raw/<set>); run stage 2 first")
    if output_dir.resolve() == Path(data_dir).resolve():
        raise SecError(f"--output_dir {output_dir}: is the folder that is read; choose another one")
    audio_dir = make_dir(output_dir / "data" / "perturb")
    tables = {name: dict(table) for name, table in data.utterances.items() if name not in OF_ANOTHER_LENGTH}
    tables.setdefault("utt2num_samples", {})
    speakers = {name: dict(table) for name, table in data.speakers.items()}
    origin = {utt_id: utt_id for utt_id in wavs}
    for kind in kinds:
        copy = DataDir(tables, {}, data.speakers).subset(wavs).renamed(*[partial(_prefixed, kind.prefix)] * 2)
        for name, table in copy.utterances.items():
            tables[name] |= table
        for name, table in copy.speakers.items():
            speakers[name] |= table
        for utt_id, source in progress(wavs.items(), len(wavs), f"{output_dir} {kind.prefix[:-1]}"):
            new_id = kind.prefix + utt_id
            if (fault := bad_id(new_id)) is not None:
                raise SecError(f"{data_dir}: {utt_id}: its copy's id would be {new_id}: {fault}")
            target = audio_dir / f"{file_name(new_id)}{Path(source).suffix}"
            tables["utt2num_samples"][new_id] = str(_copy(source, target, kind, f"{seed}-{new_id}"))
            tables["wav.scp"][new_id], origin[new_id] = str(target), utt_id
    for utt_id, source in wavs.items():
        tables["utt2num_samples"].setdefault(utt_id, str(len(_read(source)[0])))
    DataDir(tables | {ORIGIN: origin}, {}, speakers, data.inverse).write(output_dir)
    for path in set(audio_dir.iterdir()) - {Path(path) for path in tables["wav.scp"].values()}:
        path.unlink(missing_ok=True)
    kept = ", ".join(kind.prefix[:-1] for kind in kinds)
    return f"{output_dir}: {len(wavs)} utterances and {len(wavs) * len(kinds)} copies ({kept})"


def _prefixed(prefix: str, name: str) -> str:
    return prefix + name


def _read(source: str) -> tuple[np.ndarray, int]:
    try:
        samples, fs = read_samples(source)
        return to_mono(samples), fs
    except BadAudio as err:
        raise SecError(f"{source}: {err}; run stage 2 again") from err


def _copy(source: str, target: Path, kind: Perturbation | Distortion, key: str) -> int:
    """Write a copy unless it is there; its number of samples."""
    mono, fs = _read(source)
    made_by = stamp(f"{key} {Path(source).stat().st_mtime_ns}")
    samples = made_samples(target, made_by, fs)
    if samples is None:
        pcm = to_pcm(kind.apply(mono, fs, key).astype(np.float32))
        write_audio(target, pcm, fs, made_by)
        samples = len(pcm)
    return samples
