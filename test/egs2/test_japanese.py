"""Kind 15: a Japanese corpus through all stages, a mini LM included; only --lang says what language it is."""

import json
import subprocess

import numpy as np
import pytest
import soundfile as sf
import yaml
from recipe import SMALL_BRIDGE, SMALL_PARTS, run

VOICES = {  # emotion, rate, volume -> a caption that names them
    ("angry", "fast", "loud"): [
        "怒りを込めて、大きな声で早口に話している。",
        "苛立った口調で、話す速度は速く、声が大きい。",
    ],
    ("sad", "slow", "quiet"): [
        "悲しそうに、小さな声でゆっくり話している。",
        "寂しげな様子で、話す速度は遅く、声は小さい。",
    ],
}
DATA_SH = """#!/bin/sh
set -e
for name in train valid test; do utils/validate_data_dir.sh data/$name --require captions text utt2emo; done
exec python3 local/pretrain_llm.py --train_set data/train --config conf/pretrain.yaml --output pretrained/llama \\
    --prompts "${SEC_PROMPTS}"
"""


def make_set(folder, size, rng):
    """Tones whose level and length tell the emotion."""
    folder.mkdir(parents=True)
    tables = {name: {} for name in ("wav.scp", "captions", "text", "utt2spk", "utt2emo", "utt2rate", "utt2volume")}
    for at in range(size):
        labels = list(VOICES)[at % 2]
        utt, level, seconds = f"{folder.name}{at:02}", (0.5, 0.1)[at % 2], (0.5, 0.8)[at % 2]
        wave = np.sin(np.arange(int(16000 * seconds)) * rng.uniform(0.05, 0.1)) + 0.1 * rng.standard_normal(
            int(16000 * seconds)
        )
        sf.write(folder / f"{utt}.wav", level * wave, 16000)
        values = (
            f"data/{folder.name}/{utt}.wav",
            json.dumps(VOICES[labels], ensure_ascii=False),
            "こんにちは",
            "話者",
            *labels,
        )
        for table, value in zip(tables.values(), values, strict=True):
            table[utt] = value
    for name, table in tables.items():
        (folder / name).write_text("".join(f"{utt} {value}\n" for utt, value in table.items()), encoding="utf-8")


@pytest.mark.recipe
@pytest.mark.slow(47)
def test_kind_15_a_japanese_corpus_through_all_stages(repo, tmp_path):
    subprocess.run([repo / "egs2/TEMPLATE/sec1/setup.sh", tmp_path / "corpus"], check=True, stdout=subprocess.DEVNULL)
    folder = tmp_path / "corpus" / "sec1"
    (folder / "local" / "data.sh").write_text(DATA_SH)
    rng = np.random.default_rng(0)
    for name, size in (("train", 8), ("valid", 4), ("test", 4)):
        make_set(folder / "data" / name, size, rng)
    small = {"bridge_conf": SMALL_BRIDGE, "max_epoch": 1}
    align = small | {"text_encoder_conf": {"path": "pretrained/llama", "embedding_size": 32}}
    align["sampler_conf"] = {"num_categories": 2, "per_category": 2}
    for name, wanted in (("align", align), ("caption", small)):
        path = folder / "conf" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | wanted))
    (folder / "conf" / "pretrain.yaml").write_text(yaml.safe_dump(SMALL_PARTS))
    decoding = "--num_candidates 1 --keep 0 --max_length 8"
    options = "--upstream fbank --inference_model latest.pth --nj 1 --shuffled_audio false --probe false".split()
    done = run(folder, "--lang", "ja", "--inference_args", decoding, "--upstream_path", "", *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "METEOR and SPICE" in done.stderr and "left out" in done.stderr
    config = yaml.safe_load((folder / "exp/sec_caption_fbank/config.yaml").read_text())
    assert config["prompts"] == "ja"
    results = json.loads((folder / "exp/results.json").read_text())
    frequent = {name: value["mean"] for name, value in results["frequent_caption"]["test"].items()}
    assert "meteor" not in frequent and frequent["bleu_1"] > 50
    assert [frequent[f"{name}_recall"] for name in ("emotion", "rate", "volume")] == [50, 50, 50]
    meta = json.loads((folder / "exp/sec_caption_fbank/decode/test/score_meta.json").read_text())
    assert (meta["lang"], meta["segment"], meta["words"]) == ("ja", "char", "ja")
