"""What a resumed training was made from is checked: options, data, start models, seeds; moved and older folders."""

import json
import shutil

import kaldiio
import numpy as np
import pytest
import tiny_training
import torch
import yaml
from tiny_training import ALL, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.errors import SecError
from espnet2_secap.tasks import made_from
from espnet2_secap.tasks.sec import SECTask


@pytest.fixture(scope="module")
def recipe(tiny_llama, tmp_path_factory):
    """A folder with data, an LM, statistics, a start model, and a model that was trained with all of them."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "data").mkdir()
    make_corpus(folder / "data")
    shutil.copytree(tiny_llama, folder / "llama")
    statistics(folder / "stats.npz")
    conf = tiny_training.align_conf(str(folder / "llama")) | {"max_epoch": 1}
    write(folder / "align.yaml", conf)
    sec_train.main(arguments(folder, output="start"))
    sec_train.main(arguments(folder, *start(folder)))
    return folder


def statistics(path, mean=3.0):
    np.savez(path, count=10, sum=np.full(6, 10 * mean), sum_square=np.full(6, 130.0))


def start(folder) -> list[str]:
    normalize = ["--normalize", "global_mvn", "--normalize_conf", f"stats_file={folder}/stats.npz"]
    return ["--init_model", f"{folder}/start/valid.loss.best.pth:bridge,text_encoder", *normalize]


def arguments(folder, *options, output="exp") -> list[str]:
    return [*command(folder / "data", folder / output, str(folder / "align.yaml"), ALL), *options]


@pytest.fixture
def copy(recipe, tmp_path):
    """The recipe moved to another place: with other paths, the same content."""
    folder = shutil.copytree(recipe, tmp_path / "moved", symlinks=True)
    text = (folder / "align.yaml").read_text().replace(str(recipe), str(folder))
    (folder / "align.yaml").write_text(text)
    scp = folder / "data" / "feats.scp"
    scp.write_text(scp.read_text().replace(str(recipe), str(folder)))
    return folder


def state_of(folder) -> dict:
    return {path.name: path.read_bytes() for path in (folder / "exp").iterdir() if path.is_file()}


def new_features(folder):
    feats = dict(kaldiio.load_scp(str(folder / "data" / "feats.scp")))
    feats["u3"] = feats["u3"] + np.float32(1e-3)
    kaldiio.save_ark(f"{folder}/data/feats.ark", feats, scp=f"{folder}/data/feats.scp")


def new_start(folder):
    path = folder / "start" / "1epoch.pth"
    state = torch.load(path, weights_only=True)
    state["bridge.queries"] += 1e-3
    torch.save(state, path)


def new_lm(folder):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "llama" / "model.safetensors")
    state["model.norm.weight"] = state["model.norm.weight"] * 1.5
    save_file(state, folder / "llama" / "model.safetensors", metadata={"format": "pt"})


def line_of(file, old, new):
    def change(folder):
        path = folder / "data" / file
        assert old in path.read_text(encoding="utf-8")
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "options, change, message",
    [
        (["--model_conf", "margin=0.9"], None, "model_conf.margin: 0.2 -> 0.9"),
        (["--model_conf", "estimator_size=4"], None, "model_conf.estimator_size: 8 -> 4"),
        (["--optim_conf", "lr=0.5"], None, "optim_conf.lr: 0.001 -> 0.5"),
        (["--seed", "7"], None, "seed: 0 -> 7"),
        (["--accum_grad", "2"], None, "accum_grad: 1 -> 2"),
        (["--use_amp", "true"], None, "use_amp: false -> true"),
        (["--scheduler", "warmuplr"], None, "scheduler: not given -> warmuplr"),
        (["--best_model_criterion", "train,loss,min"], None, "best_model_criterion"),
        ([], line_of("captions", "语速较快", "语速较慢"), "train caption: other content"),
        ([], line_of("text", "三点", "四点"), "valid text: other content"),
        ([], line_of("utt2emo", "u2 calm", "u2 sad"), "train emotion: other content"),
        ([], line_of("shape", "u1 6,6", "u1 7,6"), "train shape_file: other content"),
        ([], new_features, "train speech: other content"),
        ([], new_start, "init_model: other content"),
        (["--init_model", "start"], None, "init_model parts: bridge,text_encoder -> not given"),
        ([], new_lm, "text_encoder_conf.path: other content"),
        ([], lambda folder: statistics(folder / "stats.npz", mean=2.0), "normalize_conf.stats_file: other content"),
    ],
)
def test_a_model_is_not_trained_on_with_something_else(copy, capsys, options, change, message):
    given = [*start(copy), *options]
    if options[:1] == ["--init_model"]:
        given = [*start(copy)[2:], "--init_model", f"{copy}/start/valid.loss.best.pth"]
    if change:
        change(copy)
    before = state_of(copy)
    with pytest.raises(SystemExit) as end:
        sec_train.main(arguments(copy, *given, "--max_epoch", "2"))
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert message in line and "train with another --sec_tag, or remove the folder" in line
    assert "max_epoch" not in line, "that may change"
    assert state_of(copy) == before, "config.yaml and the weights are as they were"


def test_what_may_change_on_the_way_goes_through_is_told_and_is_in_config_yaml(copy, capsys):
    free = ["--max_epoch", "2", "--num_workers", "1", "--log_interval", "1", "--patience", "9"]
    free += ["--keep_nbest_models", "2", "--checkpoint_interval", "5", "--max_cache_size", "1MB"]
    sec_train.main(arguments(copy, *start(copy), *free))
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sec_train: note:")]
    assert "max_epoch: 1 -> 2" in note and "patience: not given -> 9" in note and "output_dir" not in note
    assert yaml.safe_load((copy / "exp" / "config.yaml").read_text())["max_epoch"] == 2
    assert (copy / "exp" / "2epoch.pth").exists()
    sec_train.main(arguments(copy, *start(copy), *free))  # it has ended: nothing to say
    assert "note:" not in capsys.readouterr().err


def test_a_default_that_is_written_out_is_no_change(copy):
    before = state_of(copy)["1epoch.pth"]
    sec_train.main(arguments(copy, *start(copy), "--model_conf", "margin=0.2", "--bridge_conf", "dropout=0.1"))
    assert state_of(copy)["1epoch.pth"] == before


def test_the_same_content_from_other_files_is_the_same(copy, capsys):
    """Another number of jobs, another folder, stage 2 and 3 run again; then the start model is removed."""
    feats = dict(kaldiio.load_scp(str(copy / "data" / "feats.scp")))
    (copy / "data").rename(copy / "old")
    shutil.copytree(copy / "old", copy / "data")
    for name, utts in (("1", sorted(feats)[:3]), ("2", sorted(feats)[3:])):
        kaldiio.save_ark(f"{copy}/data/{name}.ark", {u: feats[u] for u in utts}, scp=f"{copy}/data/{name}.scp")
    (copy / "data" / "feats.scp").write_text("".join((copy / "data" / f"{n}.scp").read_text() for n in "12"))
    lines = (copy / "data" / "captions").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "data" / "captions").write_text("".join(lines[::-1]), encoding="utf-8")
    statistics(copy / "stats.npz")
    shutil.rmtree(copy / "old")
    sec_train.main(arguments(copy, *start(copy)))
    shutil.rmtree(copy / "start")
    sec_train.main(arguments(copy, *start(copy)))
    assert "error: " not in capsys.readouterr().err


def test_an_older_folder_is_compared_with_its_config_yaml(copy, capsys):
    (copy / "exp" / "made_from.json").unlink()
    with pytest.raises(SystemExit):
        sec_train.main(arguments(copy, *start(copy), "--model_conf", "estimator_size=4"))
    told = capsys.readouterr().err
    assert "model_conf.estimator_size: 8 -> 4" in told and "its data is not" in told
    sec_train.main(arguments(copy, *start(copy)))
    assert "error: " not in capsys.readouterr().err and (copy / "exp" / "made_from.json").exists()
    (copy / "exp" / "made_from.json").write_text("{")
    with pytest.raises(SystemExit):
        sec_train.main(arguments(copy, *start(copy)))
    assert "made_from.json: is broken" in capsys.readouterr().err


def test_before_the_first_checkpoint_options_may_change(copy):
    for path in (copy / "exp").glob("*.pth"):
        path.unlink()
    sec_train.main(arguments(copy, *start(copy), "--model_conf", "margin=0.9"))
    assert yaml.safe_load((copy / "exp" / "config.yaml").read_text())["model_conf"]["margin"] == 0.9


def test_files_that_have_not_changed_are_not_read_again(copy, monkeypatch):
    args = SECTask.get_parser().parse_args(arguments(copy, *start(copy)))
    first = made_from.made_from(args)
    for name in ("features_digest", "table_digest", "digest_of"):
        monkeypatch.setattr(made_from, name, None)
    assert made_from.made_from(args, first) == first
    assert json.loads(json.dumps(first)) == first


def test_recordings_and_folders_count_by_content(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").write_bytes(b"sound")
        (tmp_path / name / "config.json").write_text("{}")
        for other in ("README.md", "training_args.bin", "flax_model.msgpack"):
            (tmp_path / name / other).write_text(name)
        (tmp_path / f"{name}.scp").write_text(f"a {tmp_path}/{name}/a.wav\n")
    one, two = (made_from.audio_digest(f"{tmp_path}/{name}.scp") for name in ("one", "two"))
    assert one == two and one[1] == 1
    assert made_from.digest_of(f"{tmp_path}/one") == made_from.digest_of(f"{tmp_path}/two")
    (tmp_path / "two" / "a.wav").write_bytes(b"Sound")
    assert made_from.audio_digest(f"{tmp_path}/two.scp") != one
    (tmp_path / "two" / "config.json").write_text("[]")
    assert made_from.digest_of(f"{tmp_path}/one") != made_from.digest_of(f"{tmp_path}/two")
    (tmp_path / "two" / "a.wav").unlink()
    with pytest.raises(SecError, match="a.wav: No such file"):
        made_from.audio_digest(f"{tmp_path}/two.scp")


def test_statistics_that_are_not_finite_are_refused(tmp_path):
    np.savez(tmp_path / "stats.npz", count=3, sum=np.array([1.0, np.nan]), sum_square=np.ones(2))
    with pytest.raises(SecError, match="stats.npz: statistics that are not finite"):
        made_from.digest_of(f"{tmp_path}/stats.npz")
