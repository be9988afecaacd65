"""Every program with its output on a disk that is full: it says so, what was there stays whole, and space is enough.

The disk is a tmpfs of 2 MB, which only root can mount.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def disk(tmp_path):
    """A folder that is a disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs, to have a disk that is full")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, free: int = 0) -> Path:
    """Write a file that leaves `free` bytes (rounded down to pages of 4096)."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() - free // 4096 * 4096))
    return filler


def contents(disk: Path) -> dict[str, bytes]:
    """Every file but the filler."""
    return {str(p.relative_to(disk)): p.read_bytes() for p in disk.rglob("*") if p.is_file() and p.name != "filler"}


def refused(main, args, capsys) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(map(str, args)))
    err = capsys.readouterr().err
    assert end.value.code == 1
    lines = [line for line in err.splitlines() if "error: " in line]
    assert len(lines) == 1 and "Traceback" not in err, err[-2000:]
    assert "No space left on device; free some space" in lines[0], lines
    return lines[0]


def full_then_free(disk, main, before_args, args, capsys, free=0, gone=("filler",)) -> None:
    """Run; run with other options on the full disk; run those again with space: as if the disk had never been full."""
    run = lambda args: main(list(map(str, args)))  # noqa: E731
    run(before_args)
    before = contents(disk)
    filler = fill(disk, free)
    refused(main, args, capsys)
    after = contents(disk)
    lost = [name for name in before if after.get(name) != before[name]]
    assert not [name for name in lost if not name.endswith(gone)], "what was there before is whole"
    assert not [name for name in lost if name in after], "or gone, but not half"
    assert not [name for name in after if ".tmp." in name], "no part is left"
    filler.unlink()
    run(args)
    ended = contents(disk)
    shutil.rmtree(disk / "out")
    run(before_args)
    run(args)
    assert ended == contents(disk), "as without the full disk"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four utterances: data directory, audio as stage 2 leaves it, features, captions of a system."""
    import kaldiio

    folder = tmp_path_factory.mktemp("corpus")
    (folder / "raw" / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = [f"u{i}" for i in range(4)]
    for utt in ids:
        sf.write(folder / f"{utt}.wav", rng.standard_normal(8000) * 0.1, 16000)
    tables = {
        "wav.scp": {utt: folder / f"{utt}.wav" for utt in ids},
        "utt2num_samples": dict.fromkeys(ids, 8000),
        "captions": {utt: f'["她很高兴{utt}", "悲伤"]' for utt in ids},
        "utt2emo": {utt: "happy" if utt < "u2" else "sad" for utt in ids},
    }
    for name, table in tables.items():
        lines = "".join(f"{utt} {value}\n" for utt, value in table.items())
        (folder / "raw" / "train" / name).write_text(lines, encoding="utf-8")
    (folder / "feats").mkdir()
    feats = {utt: rng.standard_normal((5, 6)).astype(np.float32) for utt in ids}
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "feats" / "feats.scp"))
    (folder / "feats" / "utt2num_frames").write_text("".join(f"{utt} 5\n" for utt in ids))
    (folder / "feats" / "config.json").write_text('{"num_layers": 1, "dim": 6}')
    (folder / "shape").write_text("".join(f"{utt} 5,6\n" for utt in ids))
    (folder / "hyp").write_text("".join(f'{utt} ["高兴"]\n' for utt in ids), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def train_args(corpus, tiny_llama, tmp_path_factory):
    conf = dict(
        model="caption", encoder="stored", bridge="linear", optim="adamw", optim_conf={"lr": 1e-3}, max_epoch=1,
        keep_nbest_models=1, best_model_criterion=[["valid", "loss", "min"]], num_att_plot=0, use_matplotlib=False,
        use_tensorboard=False, num_workers=0, batch_type="sorted", batch_size=4, valid_batch_size=4,
        decoder_conf={"path": tiny_llama},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("conf") / "caption.yaml"
    path.write_text(yaml.safe_dump(conf))
    args = ["--config", path, "--resume", "true"]
    for split in ("train", "valid"):
        args += [f"--{split}_shape_file", corpus / "shape"]
        args += [f"--{split}_data_path_and_name_and_type", f"{corpus}/feats/feats.scp,speech,kaldi_ark"]
        args += [f"--{split}_data_path_and_name_and_type", f"{corpus}/raw/train/captions,caption,text"]
    return args


@pytest.fixture(scope="module")
def model(train_args, tmp_path_factory):
    from espnet2_secap.bin.sec_train import main

    exp = tmp_path_factory.mktemp("exp") / "sec_x"
    main(list(map(str, [*train_args, "--output_dir", exp])))
    return exp / "valid.loss.best.pth"


def test_extract_feats(disk, corpus, capsys):
    from espnet2_secap.bin.sec_extract_feats import main

    def run(args):
        main(args)
        main([*args, "--combine", "true"])

    args = ["--dumpdir", corpus, "--sets", "train", "--output", disk / "out", "--upstream", "fbank"]
    # The parts of other settings go first: their arks could not be told from new ones.
    old = ("feats.1.json", "feats.scp", "utt2num_frames", "config.json")
    full_then_free(disk, run, args, [*args, "--dtype", "float16"], capsys, gone=old)


def test_collect_stats(disk, corpus, capsys):
    from espnet2_secap.bin.sec_collect_stats import main

    args = ["--dir", corpus / "feats", "--output", disk / "out" / "speech_shape"]
    full_then_free(disk, main, args, [*args, "--feats_stats", disk / "out" / "stats.npz"], capsys)


def test_baseline(disk, corpus, capsys):
    from espnet2_secap.bin.sec_baseline import main

    captions = corpus / "raw/train/captions"
    args = ["--train_captions", captions, "--ids", captions, "--output", disk / "out", "--kind"]
    full_then_free(disk, main, [*args, "random"], [*args, "frequent"], capsys)


def test_score(disk, corpus, capsys):
    from espnet2_secap.bin.sec_score import main

    args = ["--ref", corpus / "raw/train/captions", "--hyp", corpus / "hyp", "--output", disk / "out" / "score.json"]
    full_then_free(disk, main, [*args, "--metrics", "bleu_1"], [*args, "--metrics", "cider", "bleu_1"], capsys)


@pytest.mark.parametrize("free", [0, 4096, 12000, 24000])
def test_report(disk, corpus, capsys, free):
    """Wherever among its files the space ends: Markdown, LaTeX, HTML, JSON, the picture."""
    from espnet2_secap.bin.sec_report import main
    from espnet2_secap.bin.sec_score import main as score

    folder = corpus / f"exp{free}" / "sec_a" / "test"
    ref, hyp = corpus / "raw/train/captions", corpus / "hyp"
    score(list(map(str, ["--ref", ref, "--hyp", hyp, "--output", folder / "score.json", "--metrics", "bleu_1"])))
    (folder.parent / "curves.tsv").write_text("1\ttrain\tloss\t1\n")
    os.makedirs(disk / "out")
    shutil.copytree(corpus / f"exp{free}", disk / "out" / "exp")
    args = ["--expdir", disk / "out" / "exp"]
    main(list(map(str, args)))
    before = contents(disk)
    filler = fill(disk, free)
    refused(main, [*args, "--examples", "1", "--embed_audio", "0"], capsys)
    after = contents(disk)
    assert before.keys() == after.keys()
    assert all(content and (content == before[name] or name.startswith("out/exp/")) for name, content in after.items())
    filler.unlink()
    main(list(map(str, [*args, "--examples", "1", "--embed_audio", "0"])))


def test_decoding(disk, corpus, model, capsys):
    from espnet2_secap.bin.sec_inference import main

    args = ["--sec_model_file", model, "--data_dir", corpus / "feats", "--output_dir", disk / "out"]
    args += ["--max_length", "8", "--shuffled_audio_dir", disk / "out" / "shuffled"]
    full_then_free(disk, main, args, [*args, "--sampling", "true"], capsys)


def test_probe(disk, corpus, model, capsys):
    from espnet2_secap.bin.sec_probe import main

    os.makedirs(disk / "out")
    for name in ("config.yaml", "valid.loss.best.pth"):
        shutil.copy(model.parent / name, disk / "out" / name)
    sets = ["--train_dir", corpus / "feats", "--test_dirs", corpus / "feats"]
    args = ["--model_files", disk / "out/valid.loss.best.pth", *sets, "--label_dirs", *[corpus / "raw/train"] * 2]
    filler = fill(disk)
    refused(main, args, capsys)
    assert not (disk / "out/probe.json").exists() and not list(disk.rglob("*.tmp.*"))
    filler.unlink()
    main(list(map(str, args)))
    assert (disk / "out/probe.json").is_file()


@pytest.mark.parametrize("free", [0, 8192, 20000])
def test_training(disk, train_args, capsys, free):
    from espnet2_secap.bin.sec_train import main

    args = [*train_args, "--output_dir", disk / "out"]
    main(list(map(str, args)))
    before = contents(disk)
    filler = fill(disk, free)
    refused(main, [*args, "--max_epoch", "3"], capsys)
    after = contents(disk)
    changed = [name for name in before if after.get(name) != before[name]]
    assert set(changed) <= {"out/config.yaml", "out/made_from.json"}, "where there was space for the new one"
    config, earlier = (yaml.safe_load(files["out/config.yaml"]) for files in (after, before))
    assert config | {"max_epoch": 0} == earlier | {"max_epoch": 0}
    record, earlier = (json.loads(files["out/made_from.json"]) for files in (after, before))
    assert record["files"] == earlier["files"]
    assert not [name for name in after if ".tmp." in name]
    filler.unlink()
    main(list(map(str, [*args, "--max_epoch", "3"])))
    assert (disk / "out/3epoch.pth").exists()


@pytest.mark.parametrize("free", [0, 100000, 300000])
def test_import_of_the_released_checkpoint(disk, repo, capsys, free):
    from espnet2_secap.bin.sec_import_secap import main

    tiny = repo / "test" / "fixtures" / "secap_tiny_synthetic"
    parts = {"hubert": "hubert", "llm": "llama", "text_encoder": "text2vec"}
    args = [part for name, folder in parts.items() for part in (f"--{name}", tiny / "weights" / folder)]
    args += ["--checkpoint", tiny / "model.ckpt", "--output", disk / "out"]
    filler = fill(disk, free)
    refused(main, args, capsys)
    assert not (disk / "out/config.yaml").exists(), "no experiment yet"
    filler.unlink()
    disk.joinpath("out").exists() and shutil.rmtree(disk / "out")
    main(list(map(str, args)))
    assert (disk / "out/config.yaml").is_file()


def local(name: str, recipe: str = "mini_emospeech"):
    """The main of a recipe's program, which finds its neighbours as if it were started there."""
    folder = REPO / "egs2" / recipe / "sec1" / "local"

    def main(argv: list[str]) -> None:
        sys.path.insert(0, str(folder))
        try:
            runpy.run_path(str(folder / f"{name}.py"), run_name=name)["main"](argv)
        finally:
            sys.path.remove(str(folder))

    return main


def test_emospeech_data(disk, tmp_path, capsys):
    import json

    dataset = tmp_path / "dataset"
    (dataset / "wav").mkdir(parents=True)
    ids = [f"tx_emotion_00203{i:06d}" for i in range(40)]
    for utt in ids:
        (dataset / "wav" / f"{utt}.wav").write_bytes(b"RIFF")
    (dataset / "fid2captions.json").write_text(json.dumps(dict.fromkeys(ids, "她很高兴")))
    args = ["--corpus", tmp_path, "--output", disk / "out"]
    full_then_free(disk, local("data_prep", "emospeech"), args, [*args, "--seed", "1"], capsys)


def test_mini_corpus(disk):
    local_dir = REPO / "egs2/mini_emospeech/sec1/local"
    words = REPO / "egs2/mini_emospeech/sec1/conf/words.json"
    args = [sys.executable, local_dir / "synthesize.py", "--output", disk / "out", "--words", words]
    args += [text for name in ("train", "valid", "test") for text in (f"--n_{name}", "2")]
    subprocess.run(args, check=True, capture_output=True)
    before = contents(disk)
    filler = fill(disk)
    done = subprocess.run([*args, "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("error: ") == 1
    assert contents(disk) == before
    filler.unlink()
    subprocess.run([*args, "--seed", "1"], check=True, capture_output=True)
    assert len(contents(disk)) == len(before)  # each set's voices are drawn by the seed, and with them the names


@pytest.mark.parametrize("free", [0, 8192])
@pytest.mark.parametrize("part", ["hubert", "llm"])
def test_mini_parts(disk, corpus, tmp_path, capsys, part, free):
    """What transformers and safetensors write themselves."""
    conf = (
        "hubert: {steps: 1, conv_dim: [8, 8], hidden_size: 16, intermediate_size: 16,"
        " num_hidden_layers: 1, num_attention_heads: 2, num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2,"
        " clusters: [2, 2, 2], crop_seconds: 0.3, batch_seconds: 1.0}\n"
        "llm: {steps: 1, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2,"
        " batch_tokens: 100, merges: 5}\n"
    )
    for name, text in (("a", conf), ("b", conf.replace("steps: 1", "steps: 2"))):
        (tmp_path / f"{name}.yaml").write_text(text)
    args = ["--train_set", corpus / "raw/train", "--output", disk / "out", "--config"]
    main = local(f"pretrain_{part}")
    main(list(map(str, [*args, tmp_path / "a.yaml"])))
    before = contents(disk)
    filler = fill(disk, free)
    refused(main, [*args, tmp_path / "b.yaml"], capsys)
    assert {name: content for name, content in contents(disk).items() if name.startswith("out/")} == before
    filler.unlink()
    main(list(map(str, [*args, tmp_path / "b.yaml"])))
    ended = contents(disk)
    assert ended.keys() == before.keys() and ended["out/pretrain.json"] != before["out/pretrain.json"]
