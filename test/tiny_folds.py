"""A recipe folder after stage 2, lists only, for tests of cross-validation, and what stage 7 writes in its folds."""

import json
import re
from pathlib import Path

from espnet2_secap.data.io import write_captions, write_kaldi

REPO = Path(__file__).resolve().parent.parent
SETS = {"train": 14, "valid": 5, "test": 5}
EMOTIONS = ("angry", "calm", "sad")
SYSTEM = "sec_caption_x/decode"


def options(**others: str) -> list[str]:
    """The options of sec.sh as sec_folds gets them, NAME=VALUE."""
    text = (REPO / "egs2/TEMPLATE/sec1/sec.sh").read_text().split("# General", 1)[1].split("help_message=", 1)[0]
    found = {name: value.strip('"') for name, value in re.findall(r'^([a-z_]+)=("[^"]*"|\S*)', text, re.MULTILINE)}
    found |= {"feats_type": "raw", "feats_tag": "raw", "feats_dir": "dump/raw", "feats_scp": "wav.scp", "folds": "3"}
    found |= {"align_exp": "exp/sec_align_x", "sec_exp": "exp/sec_caption_x", "sec_stats_dir": "exp/sec_stats_x"}
    found |= {"decode_dir": f"exp/{SYSTEM}"} | others
    return [f"{name}={value}" for name, value in found.items()]


def make_recipe(folder: Path, labels: str = "utt2emo") -> Path:
    """dump/raw of three sets: 24 recordings of 6 speakers and 3 emotions; the test set's are in the file `labels`."""
    at = 0
    for dset, size in SETS.items():
        raw = folder / "dump/raw" / dset
        raw.mkdir(parents=True)
        ids = [f"s{(at + i) % 6}-{at + i:02}" for i in range(size)]
        emotions = {utt: EMOTIONS[(at + i) // 6 % 3] for i, utt in enumerate(ids)}
        write_kaldi(raw / "wav.scp", {utt: f"dump/raw/{dset}/data/{utt}.wav" for utt in ids})
        write_kaldi(raw / "utt2spk", {utt: utt.split("-")[0] for utt in ids})
        write_kaldi(raw / "utt2num_samples", dict.fromkeys(ids, 16000))
        write_kaldi(raw / (labels if dset == "test" else "utt2emo"), emotions)
        write_captions(raw / "captions", {utt: [f"a voice that is {emotions[utt]}"] for utt in ids})
        at += size
    (folder / "conf").mkdir()
    (folder / "conf/goals.json").write_text("{}")
    (folder / "conf/caption.yaml").write_text("max_epoch: 1\n")
    (folder / "sec.sh").write_text("#!/bin/sh\n")
    for name in ("hubert", "llama"):
        (folder / "pretrained" / name).mkdir(parents=True)
    return folder


def decode(folds: Path, number: int, system: str = SYSTEM) -> None:
    """Captions of every fold's test set."""
    for fold in range(1, number + 1):
        ids = [line.split()[0] for line in (folds / f"{fold}/dump/raw/test/captions").read_text().splitlines()]
        output = folds / f"{fold}/exp/{system}/test"
        output.mkdir(parents=True, exist_ok=True)
        write_captions(output / "captions", {utt: [f"fold {fold}, a voice"] for utt in ids})
        rows = [{"id": utt, "candidates": [{"text": f"fold {fold}, a voice"}], "kept": 1} for utt in ids]
        (output / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
