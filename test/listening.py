"""Listening tests of tones for tests, and listeners who answer as they are told."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile

from espnet2_secap.bin import sec_listen
from espnet2_secap.data.io import write_captions, write_kaldi
from espnet2_secap.listen.answers import Answer, Sheet, content_of
from espnet2_secap.listen.design import CATCH, Design, Size, make_design, read_design

SYSTEMS = ("human", "ours", "label")
SECONDS = 0.2  # of each recording


def make_corpus(folder: Path, count: int, systems=SYSTEMS) -> tuple[Path, list[str]]:
    """A data directory of tones, and --systems with a captions file of each system."""
    data = folder / "data" / "test"
    data.mkdir(parents=True)
    utts = [f"utt{at:02}" for at in range(count)]
    for at, utt in enumerate(utts):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 20 * at) * np.arange(int(24000 * SECONDS)) / 24000)
        soundfile.write(data / f"{utt}.wav", tone, 24000)
    write_kaldi(data / "wav.scp", {utt: data / f"{utt}.wav" for utt in utts})
    write_kaldi(data / "utt2emo", {utt: ("sad", "happy")[at % 2] for at, utt in enumerate(utts)})
    given = []
    for name in systems:
        path = folder / f"{name}.captions"
        write_captions(path, {utt: [f"caption of {utt} by {len(name)}"] for utt in utts})
        given.append(f"{name}={path}")
    return data, given


def prepare(folder: Path, count: int = 12, systems=SYSTEMS, **options) -> Design:
    """Run sec_listen prepare on tones; FOLDER/test is written."""
    data, given = make_corpus(folder, count, systems)
    options = {"utterances": 6, "lang": "en"} | options
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    output = folder / "test"
    sec_listen.main(["prepare", "--data_dir", str(data), "--systems", *given, "--output", str(output), *words])
    return read_design(output)


def design_of(utterances: int, systems=SYSTEMS, groups: int = 1, per_utterance: int | None = None, **size) -> Design:
    """A design without audio."""
    utts = [f"utt{at:03}" for at in range(utterances + sum(size.values()))]
    captions = {name: {utt: f"{name} {utt}" for utt in utts} for name in systems}
    emotions = {utt: ("sad", "happy")[at % 2] for at, utt in enumerate(utts)}
    dealt = Size(utterances, groups, per_utterance or len(systems), **size)
    return make_design(captions, dict.fromkeys(utts, 2.0), dealt, "en", 0, emotions)


def answer(item: str, score: int, seconds: float = 9.0, at: int = 1) -> Answer:
    """An answer whose steps fit its score."""
    return Answer(item, score > 1, None if score == 1 else score > 2, score, seconds, 1, at)


def simulate(design: Design, listener: int, means: dict[str, float], noise: float = 0.7, **how) -> Sheet:
    """A listener who rates each system around its mean, and catch trials rightly."""
    draw = random.Random(f"{listener}")
    group = listener % len(design.groups) + 1
    sheet = Sheet(f"listener_{listener:03}", group, session=f"session {listener}")
    for name, item in design.asked(group).items():
        value = 1 if item.kind == CATCH else draw.gauss(means[item.system], noise)
        sheet.answers[name] = answer(name, min(5, max(1, round(value))), **how)
    return sheet


def save(sheet: Sheet, design: Design, path: Path) -> Path:
    """The file that the page saves."""
    path.write_text(json.dumps(content_of(sheet, design)), encoding="utf-8")
    return path


@contextmanager
def serving(folder, listeners, stop=signal.SIGTERM, port=0):
    """`sec_listen serve` at a free port; listener -> (group, address of the page)."""
    argv = [sys.executable, "-m", "espnet2_secap.bin.sec_listen", "serve", "--folder", str(folder)]
    with subprocess.Popen(
        [*argv, "--listeners", str(listeners), "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
    ) as process:  # fmt: skip
        try:
            lines = [process.stdout.readline(), process.stdout.readline()]
            assert "Serving at" in lines[1], lines
            rows = [line.split("\t") for line in (folder / "tokens.tsv").read_text().splitlines()[1:]]
            yield {name: (int(group), urlsplit(link)) for name, group, link in rows}
        finally:
            process.send_signal(stop)
            rest = process.stdout.read()
    assert "Traceback" not in rest and "/t/" not in rest, rest
