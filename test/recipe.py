"""A recipe folder of the smallest useful size, for tests and tools/benchmark_kills.py."""

import os
import shutil
import subprocess
from pathlib import Path

import yaml

SMALL_BRIDGE = dict(num_queries=2, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, encoder_width=32)
SMALL_HUBERT = {
    "conv_dim": [16, 8],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "clusters": [8, 4, 4],
    "batch_seconds": 4.0,
}
SMALL_PARTS = {
    "hubert": SMALL_HUBERT | {"steps": 2, "threads": 1},
    "llm": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "steps": 2,
        "batch_tokens": 100,
        "threads": 1,
    },
    "clap": {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "projection_dim": 16,
        "steps": 2,
        "batch_size": 4,
        "threads": 1,
    },
    "bart": {
        "d_model": 32,
        "ffn_dim": 64,
        "layers": 1,
        "attention_heads": 2,
        "steps": 2,
        "batch_size": 4,
        "threads": 1,
    },
    "text_encoder": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "steps": 2, "batch_size": 4},
}
SMALL_CORPUS = "--n_train 36 --n_valid 12 --n_test 12"
CALL = ["./run.sh", "--nj", "2", "--train_threads", "1", "--train_nproc", "1", "--inference_nj", "1"]


def recipe_folder(repo: Path, corpus: str, folder: Path) -> Path:
    """A copy of a recipe as setup.sh would lay it out elsewhere, with small configurations."""
    source = repo / "egs2" / corpus / "sec1"
    for name in ("run.sh", "cmd.sh", "db.sh"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    for name in ("sec.sh", "path.sh", "utils", "local"):
        (folder / name).symlink_to((source / name).resolve())
    shutil.copytree(source / "conf", folder / "conf")
    for name in ("align", "caption"):
        conf = yaml.safe_load((folder / "conf" / f"{name}.yaml").read_text())
        conf["bridge_conf"] |= SMALL_BRIDGE
        conf |= {"max_epoch": 3, "checkpoint_interval": 0.0}  # a checkpoint after each step, for the tests that kill
        conf["text_encoder_conf"]["embedding_size"] = 32
        if name == "align":
            conf["sampler_conf"] = {"num_categories": 2, "per_category": 4}
        (folder / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(conf))
    decode = yaml.safe_load((folder / "conf" / "decode.yaml").read_text())
    decode |= {"batch_size": 4, "max_length": 16}  # such a model never ends a caption
    (folder / "conf" / "decode.yaml").write_text(yaml.safe_dump(decode))
    (folder / "conf" / "pretrain.yaml").write_text(yaml.safe_dump(SMALL_PARTS))
    return folder


def run(folder: Path, *options: str, environment: dict | None = None) -> subprocess.CompletedProcess:
    """Run it with these options, to its end."""
    return subprocess.run(
        [*CALL, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=900,
    )
