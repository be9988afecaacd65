"""A file whose unpickling makes a folder: no reader of ours, or of a library that we call, may make it."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
import yaml
from crafted import Evil

from espnet2_secap.errors import SecError
from espnet2_secap.safe_load import pickles_allowed, tensors_only


@pytest.fixture
def evil(tmp_path, marker):
    """A torch file beside tensors of which lies an object that runs code."""
    path = tmp_path / "evil.pth"
    torch.save({"weight": torch.zeros(2, 2), "model": Evil(marker)}, path)
    return path


def said(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1, lines
    return lines[0]


def ends(capsys, main, args, *parts) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(map(str, args)))
    assert end.value.code == 1
    line = said(capsys)
    assert all(str(part) in line for part in parts), line


def test_the_crafted_file_does_run_code(evil, marker):
    torch.load(evil, weights_only=False)
    assert marker.is_dir()
    marker.rmdir()


def test_torch_load_within(evil, marker, tmp_path):
    with tensors_only():
        for options in ({}, {"weights_only": False}, {"pickle_module": pickle}):
            with pytest.raises(SecError, match=f"^{evil}: holds Python objects \\(posix.mkdir\\) besides tensors"):
                torch.load(evil, "cpu", **options)
        with open(evil, "rb") as stream, pytest.raises(SecError, match=f"^{evil}: holds"):
            torch.load(stream)
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil(marker)))
        with pytest.raises(SecError, match="plain.pkl: not a file of tensors, or cut short"):
            torch.load(tmp_path / "plain.pkl", weights_only=False)
        with pytest.raises(FileNotFoundError):
            torch.load(tmp_path / "none.pth")
        with pytest.raises(SecError, match="is code for torch.hub"):
            torch.hub.load(str(tmp_path), "model", source="local")
    with tensors_only(), pickles_allowed(False), tensors_only(), pytest.raises(SecError):
        torch.load(evil, weights_only=False)
    with pickles_allowed(True), tensors_only():
        torch.load(evil, weights_only=False)
    assert marker.is_dir()
    marker.rmdir()


def test_plain_values_are_read(tmp_path):
    values = {"a": torch.ones(2), "b": np.float64(0.5), "c": ["x", 1, None]}
    torch.save(values, tmp_path / "x.pth")
    with tensors_only():
        found = torch.load(tmp_path / "x.pth", weights_only=False)
    assert torch.equal(found["a"], values["a"]) and (found["b"], found["c"]) == (0.5, ["x", 1, None])


@pytest.mark.parametrize("old_format", [False, True])
def test_a_broken_model_file_is_one_clear_error(tmp_path, old_format):
    """Bytes changed or cut off at random: whatever torch makes of it, the error names the file."""
    from espnet2_secap.model.checkpoint import load_state

    path = tmp_path / "model.pth"
    torch.save({"a": torch.arange(3.0)}, path, _use_new_zipfile_serialization=not old_format)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(max(1, len(content)), size=3):
            content[at : at + 1] = bytes([rng.integers(256)])
        path.write_bytes(content)
        try:
            load_state(path)
        except SecError as err:
            refused += 1
            assert str(err).startswith(f"{path}: ") and "\n" not in str(err)
    assert refused > 50


def test_our_own_readers(evil, tmp_path, capsys, marker):
    from espnet2_secap.bin.sec_import_secap import main as import_main
    from espnet2_secap.data.io import read_lengths
    from espnet2_secap.model.checkpoint import load_state

    with pytest.raises(SecError, match=f"^{evil}: not a model file of this project: holds Python objects"):
        load_state(evil)
    options = ["--hubert", tmp_path, "--llm", tmp_path, "--text_encoder", tmp_path, "--output", tmp_path / "out"]
    ends(capsys, import_main, ["--checkpoint", evil, *options], evil, "holds Python objects")
    from espnet2_secap.bin.sec_import_htsat_bart import main as htsat_main

    options = ["--bart", tmp_path, "--output", tmp_path / "out"]
    ends(capsys, htsat_main, ["--checkpoint", evil, *options], evil, "holds Python objects")
    (tmp_path / "conf.yaml").write_text(f"model: !!python/object/apply:os.mkdir [{marker}]\n")
    from espnet2_secap.bin.sec_inference import main as inference_main

    inference = ["--data_dir", tmp_path, "--output_dir", tmp_path / "out", "--config", tmp_path / "conf.yaml"]
    ends(capsys, inference_main, inference, "conf.yaml: not a YAML file")
    with pytest.raises(SecError, match="is not UTF-8|has no|no value"):
        (tmp_path / "utt2num_frames").write_bytes(pickle.dumps(Evil(marker)))
        read_lengths(tmp_path / "utt2num_frames")


TRAINING = dict(
    model="caption", encoder="stored", bridge="linear", optim="adamw", optim_conf={"lr": 1e-3}, max_epoch=2,
    keep_nbest_models=2, best_model_criterion=[["valid", "loss", "min"]], num_att_plot=0, use_matplotlib=False,
    use_tensorboard=False, num_workers=0, batch_type="sorted", batch_size=4, valid_batch_size=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    import kaldiio

    folder = tmp_path_factory.mktemp("corpus")
    feats = {f"u{i}": np.random.default_rng(i).standard_normal((5, 6)).astype(np.float32) for i in range(4)}
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "feats.scp"))
    (folder / "captions").write_text("".join(f'{utt} ["说话人语气平静"]\n' for utt in feats), encoding="utf-8")
    (folder / "shape").write_text("".join(f"{utt} 5,6\n" for utt in feats))
    return folder


@pytest.fixture
def train(corpus, tiny_llama, tmp_path):
    """sec_train on the tiny corpus, with further options."""
    from espnet2_secap.bin.sec_train import main

    path = tmp_path / "caption.yaml"
    path.write_text(yaml.safe_dump({**TRAINING, "decoder_conf": {"path": tiny_llama}}))

    def run(*options, scp=corpus / "feats.scp"):
        args = ["--config", path, "--output_dir", tmp_path / "exp", "--resume", "true"]
        for split in ("train", "valid"):
            args += [f"--{split}_shape_file", corpus / "shape"]
            args += [f"--{split}_data_path_and_name_and_type", f"{scp},speech,kaldi_ark"]
            args += [f"--{split}_data_path_and_name_and_type", f"{corpus}/captions,caption,text"]
        main(list(map(str, [*args, *options])))

    return run


def test_training_starts_and_goes_on_from_tensors_alone(train, evil, tmp_path, capsys):
    exp = tmp_path / "exp"
    ends(capsys, lambda args: train(*args), ["--init_param", evil], evil, "holds Python objects")
    ends(capsys, lambda args: train(*args), ["--init_model", evil], evil, "holds Python objects")
    shutil.rmtree(exp)
    train()
    first = (exp / "1epoch.pth").read_bytes()
    shutil.copy(evil, exp / "1epoch.pth")
    ends(
        capsys, lambda args: train(*args), ["--max_epoch", "3", "--keep_nbest_models", "3"], "1epoch.pth: holds Python"
    )
    (exp / "1epoch.pth").write_bytes(first)
    train("--max_epoch", "4", "--keep_nbest_models", "3")
    assert (exp / "valid.loss.ave_3best.pth").is_file()
    for name in ("checkpoint.pth", "checkpoint.prev.pth"):
        shutil.copy(evil, exp / name)
    ends(capsys, lambda args: train(*args), ["--max_epoch", "5"], "checkpoint.pth", "holds Python objects")


def test_training_reads_no_pipe_and_no_pickle(train, corpus, tmp_path, capsys, marker):
    lines = (corpus / "feats.scp").read_text().splitlines()
    (tmp_path / "evil.ark").write_bytes(b"u PKL" + pickle.dumps(Evil(marker)))
    for entry, what in ((f"mkdir {marker} |", "is a command"), (f"{tmp_path}/evil.ark:2", "holds a pickle")):
        (tmp_path / "feats.scp").write_text("\n".join([*lines[:3], f"u3 {entry}"]) + "\n")
        run = lambda args: train(*args, scp=tmp_path / "feats.scp")  # noqa: E731
        ends(capsys, run, [], f"{tmp_path}/feats.scp:4: u3:", what)


def test_statistics_and_decoding_read_no_pipe_and_no_pickle(corpus, tmp_path, capsys, marker):
    from espnet2_secap.bin.sec_collect_stats import main

    (tmp_path / "evil.ark").write_bytes(b"u PKL" + pickle.dumps(Evil(marker)))
    (tmp_path / "utt2num_frames").write_text("u0 5\n")
    (tmp_path / "config.json").write_text('{"num_layers": 1, "dim": 6}')
    for entry, what in ((f"mkdir {marker} |", "is a command"), (f"{tmp_path}/evil.ark:2", "holds a pickle")):
        (tmp_path / "feats.scp").write_text(f"u0 {entry}\n")
        args = ["--dir", tmp_path, "--output", tmp_path / "shape", "--feats_stats", tmp_path / "stats.npz"]
        ends(capsys, main, args, f"{entry}: u0: {what}")


def test_global_mvn_reads_no_pickle(train, tmp_path, marker, capsys):
    np.savez(tmp_path / "stats.npz", count=np.array([Evil(marker)]), sum=np.ones(6), sum_square=np.ones(6))
    options = ["--normalize", "global_mvn", "--normalize_conf", f"stats_file={tmp_path}/stats.npz"]
    ends(capsys, lambda args: train(*args), options, "allow_pickle=False")


def test_folders_of_transformers(tiny_bert, tmp_path, marker, monkeypatch):
    from espnet2_secap.pretrained import load_pretrained

    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Evil(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(SecError, match="pytorch_model.bin: holds Python objects"):
        load_pretrained("AutoModel", str(folder), "model")
    shutil.copy(f"{tiny_bert}/model.safetensors", folder)
    # code of its own, which a plain from_pretrained asks at the terminal whether to run
    monkeypatch.setattr("builtins.input", lambda *args: "y")
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SecError, match=f"^{folder}: not a transformers folder that AutoModel can load"):
        load_pretrained("AutoModel", str(folder), "model")


def test_folders_of_sentence_transformers(tiny_bert, tmp_path, marker):
    from espnet2_secap.metric.similarity import sentence_transformer

    folder = tmp_path / "st"
    shutil.copytree(tiny_bert, folder)
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Evil: pass\n")
    for kind in ("evil.Evil", "evil_module.Evil", "os.system"):
        (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
        with pytest.raises(SecError, match=f"^--sim2 {folder}: "):
            sentence_transformer(str(folder), "cpu")


@pytest.mark.parametrize("name", ["tera_local", "distiller_local", "wavlm_local", "hubert_local"])
def test_checkpoints_of_s3prl(evil, name, marker):
    """S3PRL itself loads tera and distiller with weights_only=False."""
    from espnet2_secap.encoder.upstream import load_upstream

    with pytest.raises(SecError, match=f"^{evil}: holds Python objects.*allow_pickle true"):
        load_upstream(name, str(evil))
