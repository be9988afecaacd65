#!/usr/bin/env python3
"""Make the corpus mini_emospeech: synthetic Mandarin speech of six emotions with captions; or sets of other choices."""

import argparse
import io
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from annotate import captions_for
from espeak import Espeak
from plan import CLEAN, SetPlan, Utterance, draw_planned, draw_set, read_sets

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.distort import distortions
from espnet2_secap.data.io import atomic_write, invert, make_dir, write_captions, write_kaldi
from espnet2_secap.errors import SecError, cli
from espnet2_secap.metric.words import load_words
from espnet2_secap.progress import progress
from espnet2_secap.values import Count, Seed, Share

SAMPLE_RATE = 16000
MARGIN = 0.12  # seconds of room before and after the speech
ROOM_LEVEL = -68.0  # dBFS of the room's noise, the same in every recording
FLOOR = -35.0  # dB: a stretch this far below the loudest one is a pause


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("data"), help="folder for the sets and wav/")
    parser.add_argument("--words", type=Path, default=Path("conf/words.json"), help="what each class is called")
    for name, size in (("train", 1200), ("valid", 100), ("test", 200)):
        parser.add_argument(f"--n_{name}", type=of(Count), default=size, help=f"utterances in the {name} set")
    parser.add_argument("--seed", type=of(Seed), default=0, help="the same seed gives the same bytes")
    parser.add_argument(
        "--emotional_sentences",
        type=of(Share),
        default=0.0,
        help="share of the utterances whose sentence fits their emotion; half of the others contradict it (utt2kind)",
    )
    parser.add_argument(
        "--sets",
        type=Path,
        metavar="FILE",
        help="make the sets of this YAML file instead of train, valid and test: name -> size, voices, sentences,"
        " language, conditions",
    )
    parser.add_argument("--size", type=of(Count), help="utterances in each set of --sets, instead of what it says")
    parser.add_argument("--nj", type=of(Count), default=2, help="parallel processes; no effect on the result")
    return parser


def find_speech(samples: np.ndarray, sample_rate: int) -> tuple[int, int, float]:
    """Where the speech begins and ends (samples), and its level in dBFS over stretches that are no pauses."""
    step = sample_rate // 100
    stretches = samples[: len(samples) // step * step].reshape(-1, step)
    power = (stretches**2).mean(axis=1)
    active = np.flatnonzero(power > power.max() * 10 ** (FLOOR / 10))
    return active[0] * step, (active[-1] + 1) * step, 10 * np.log10(power[active].mean())


def render(utterance: Utterance, seed: int) -> tuple[np.ndarray, float]:
    """Speak one utterance in a quiet room, or where its condition says.

    Returns:
        samples (n,) as int16 at `SAMPLE_RATE`; the speaking rate in characters per second, without the margins.
    """
    with Espeak() as espeak:
        samples = espeak.render(
            utterance.sentence,
            voice=f"{utterance.language}+{utterance.speaker}",
            wpm=utterance.wpm,
            pitch=utterance.pitch_value,
            pitch_range=utterance.range_value,
        )
    samples = soxr.resample(samples, espeak.sample_rate, SAMPLE_RATE)
    begin, end, level = find_speech(samples, SAMPLE_RATE)
    speech = samples[begin:end] * 10 ** ((utterance.level - level) / 20)
    margin = np.zeros(int(MARGIN * SAMPLE_RATE))
    key = int.from_bytes(f"{seed} {utterance.utt_id}".encode(), "little")
    room = np.random.default_rng(key).standard_normal(len(speech) + 2 * len(margin)) * 10 ** (ROOM_LEVEL / 20)
    heard = np.concatenate([margin, speech, margin]) + room
    if utterance.condition != CLEAN:
        (distortion,) = distortions([utterance.condition], "conditions")
        heard = distortion.apply(heard, SAMPLE_RATE, f"{seed} {utterance.utt_id}")
    quantised = np.clip(np.rint(heard * 32768), -32768, 32767).astype(np.int16)
    return quantised, len(utterance.sentence) * SAMPLE_RATE / len(speech)


def _speak(job: tuple[Utterance, int, Path]) -> float:
    utterance, seed, path = job
    samples, rate = render(utterance, seed)
    memory = io.BytesIO()
    soundfile.write(memory, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    if not (path.is_file() and path.read_bytes() == memory.getvalue()):  # else its time of change stays
        with atomic_write(path, "wb", sync=False) as stream:
            stream.write(memory.getbuffer())
    return rate


def make_audio(utterances: list[Utterance], folder: Path, seed: int, nj: int) -> list[float]:
    """Write `folder`/<id>.wav for each utterance; return their speaking rates in characters per second."""
    make_dir(folder)
    jobs = [(utterance, seed, folder / f"{utterance.utt_id}.wav") for utterance in utterances]
    with ProcessPoolExecutor(nj, mp_context=multiprocessing.get_context("fork")) as pool:
        rates = list(progress(pool.map(_speak, jobs, chunksize=4), len(jobs), f"speaking {folder.name}"))
    wanted = {path.name for _, _, path in jobs}
    for path in folder.glob("*_*.wav*"):  # from an earlier run of another size, or one that was killed
        if path.name not in wanted:
            path.unlink()
    return rates


def write_set(folder: Path, utterances: list[Utterance], wav: Path, words: dict, seed: int) -> None:
    """Write the data directory of one set; its audio lies in `wav`."""
    make_dir(folder)

    def column(name: str) -> dict[str, str]:
        return {utterance.utt_id: getattr(utterance, name) for utterance in utterances}

    captions = {
        one.utt_id: captions_for(one, words, random.Random(f"{seed} captions {one.utt_id}")) for one in utterances
    }
    write_kaldi(folder / "text", column("sentence"))
    write_captions(folder / "captions", captions)
    write_kaldi(folder / "utt2spk", column("speaker"))
    write_kaldi(folder / "spk2utt", invert(column("speaker")))
    write_kaldi(folder / "utt2emo", column("emotion"))
    write_kaldi(folder / "emo2utt", invert(column("emotion")))
    for name in ("rate", "volume", "pitch"):
        write_kaldi(folder / f"utt2{name}", column(name))
    write_kaldi(folder / "wav.scp", {one.utt_id: wav.resolve() / f"{one.utt_id}.wav" for one in utterances})


def write_prosody(path: Path, utterances: list[Utterance], rates: list[float]) -> None:
    """Write a table of what was asked of the synthesiser and the speaking rate that came of it."""
    names = ("utt_id", "emotion", "intensity", "rate", "wpm", "volume", "level", "pitch_value", "range_value")
    with atomic_write(path) as stream:
        print(*names, "characters_per_second", sep="\t", file=stream)
        for utterance, rate in zip(utterances, rates, strict=True):
            print(*(getattr(utterance, name) for name in names), f"{rate:.2f}", sep="\t", file=stream)


def plan_sets(args: argparse.Namespace) -> dict[str, list[Utterance]]:
    """name -> utterances of the sets that are asked for.

    Raises:
        SecError: --sets cannot be read, or options that do not belong together.
    """
    if args.sets is None:
        if args.size is not None:
            raise SecError(f"--size {args.size}: is for the sets of --sets FILE; give --n_train, --n_valid, --n_test")
        sizes = {name: getattr(args, f"n_{name}") for name in ("train", "valid", "test")}
        return {name: draw_set(name, size, args.seed, args.emotional_sentences) for name, size in sizes.items()}
    if args.emotional_sentences:
        raise SecError(f"--emotional_sentences {args.emotional_sentences}: is not for the sets of --sets; leave it out")
    plans = read_sets(args.sets)
    sized = {name: replace(one, size=args.size or one.size) for name, one in plans.items()}
    for name, one in sized.items():
        check_voices(f"{args.sets}: {name}", one)
    return {name: draw_planned(name, one, args.seed) for name, one in sized.items()}


def check_voices(where: str, plan: SetPlan) -> None:
    """See that espeak-ng has the language and the voices."""
    with Espeak() as espeak:
        for voice in plan.voices:
            if not voice.isidentifier() or not espeak.has_voice(f"{plan.language}+{voice}"):
                raise SecError(f"{where}: espeak-ng has no voice {plan.language}+{voice}; give another one")


def has_conditions(utterances: list[Utterance]) -> bool:
    """Whether recordings of a set are distorted."""
    return any(one.condition != CLEAN for one in utterances)


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    words = load_words(args.words)
    for name, utterances in plan_sets(args).items():
        wav = args.output / "wav" / name
        rates = make_audio(utterances, wav, args.seed, args.nj)
        write_prosody(args.output / "wav" / f"{name}.tsv", utterances, rates)
        write_set(args.output / name, utterances, wav, words, args.seed)
        optional = {"utt2kind": bool(args.emotional_sentences), "utt2condition": has_conditions(utterances)}
        for file, wanted in optional.items():
            if wanted:
                values = {one.utt_id: getattr(one, file.removeprefix("utt2")) for one in utterances}
                write_kaldi(args.output / name / file, values)
            else:  # of an earlier run
                (args.output / name / file).unlink(missing_ok=True)
        print(f"{args.output / name}: {len(utterances)} utterances")


if __name__ == "__main__":
    main()
