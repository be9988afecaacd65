"""A random model, features to caption with it, and sec_inference as tests call it."""

import json

import numpy as np
import pytest
import yaml
from tiny_training import random_model

from espnet2_secap.bin import sec_inference


@pytest.fixture(scope="session")
def model_file(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    return random_model(folder, {"encoder": "stored", "encoder_conf": {"input_size": 6}}, tiny_llama)


@pytest.fixture(scope="session")
def feats(tmp_path_factory):
    import kaldiio

    folder = tmp_path_factory.mktemp("feats")
    rng = np.random.default_rng(0)
    data = {f"u{i}": 3 * rng.standard_normal((4 + 3 * i, 6)).astype(np.float32) for i in range(7)}
    kaldiio.save_ark(str(folder / "f.ark"), data, scp=str(folder / "feats.scp"))
    (folder / "utt2num_frames").write_text("".join(f"{utt} {len(x)}\n" for utt, x in data.items()))
    return folder


def decode(model_file, feats, output, *options) -> list[dict]:
    files = ["--sec_model_file", str(model_file), "--data_dir", str(feats), "--output_dir", str(output)]
    sec_inference.main([*files, "--max_length", "8", *options])
    return [json.loads(line) for line in (output / "candidates.jsonl").read_text().splitlines()]


def name_data(folder, data: list) -> None:
    """Let the config.yaml of a model in `folder` name `data` as that of its training."""
    conf = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    conf["train_data_path_and_name_and_type"] = data
    (folder / "config.yaml").write_text(yaml.safe_dump(conf), encoding="utf-8")
