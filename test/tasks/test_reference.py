"""Preference optimisation from a captioning model by the programs, and references that a training may not use."""

import json
import math
import os
import shutil
import signal

import pytest
import torch
from tiny_pairs import command, curves, make_pairs, prefer_conf, prepare, refer
from tiny_training import CAPTION, write

from espnet2_secap.bin import sec_inference, sec_train
from espnet2_secap.errors import SecError
from espnet2_secap.tasks import reference


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("pairs")
    prepare(folder, tiny_llama)
    refer(folder)
    return folder


@pytest.fixture(scope="module")
def trained(place, tiny_llama):
    """Eight epochs without an interruption."""
    conf = prefer_conf(tiny_llama, beta=0.5) | {"max_epoch": 8, "checkpoint_interval": 0.0}
    conf = write(place / "prefer.yaml", conf)
    sec_train.main(command(place, place / "exp", conf))
    return place / "exp", conf


def test_the_margin_rises_and_the_loss_falls_on_the_pairs_it_saw(trained):
    found = curves(trained[0])
    of = {name: [found[epoch, "valid", name] for epoch in range(1, 9)] for name in ("loss", "margin", "accuracy")}
    assert of["loss"][0] < math.log(2) and all(a > b for a, b in zip(of["loss"], of["loss"][1:], strict=False))
    assert all(a < b for a, b in zip(of["margin"], of["margin"][1:], strict=False)) and of["margin"][-1] > 1.0
    assert of["accuracy"][-1] == 1.0
    assert found[8, "valid", "rewards_chosen"] > 0 > found[8, "valid", "rewards_rejected"]
    assert found[8, "valid", "kl"] == pytest.approx(found[8, "valid", "rewards_chosen"] / 0.5, rel=1e-4)


def test_at_step_0_policy_and_reference_agree(place, tiny_llama, tmp_path):
    """With a learning rate of next to nothing; the batches are others than those of the reference."""
    conf = prefer_conf(tiny_llama) | {"max_epoch": 1, "optim_conf": {"lr": 1e-12}}
    sec_train.main(command(place, tmp_path / "exp", write(tmp_path / "prefer.yaml", conf)))
    for split in ("train", "valid"):
        found = {key[2]: value for key, value in curves(tmp_path / "exp").items() if key[1] == split}
        assert abs(found["margin"]) < 1e-5 and abs(found["kl"]) < 1e-4
        assert found["loss"] == pytest.approx(math.log(2), abs=1e-5)


class _Kill(BaseException):
    pass


@pytest.mark.parametrize(("step", "how"), [(4, "crash"), (9, "SIGTERM")])
def test_killed_and_resumed_it_ends_the_same(place, trained, tmp_path, step, how):
    left = [step]

    def hook(module, args):
        if type(module).__name__ == "PreferModel":
            left[0] -= 1
            if left[0] == 0:
                if how == "crash":
                    raise _Kill
                os.kill(os.getpid(), signal.SIGTERM)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    with pytest.raises((_Kill, SystemExit)):
        sec_train.main(command(place, tmp_path / "exp", trained[1]))
    handle.remove()
    sec_train.main(command(place, tmp_path / "exp", trained[1]))
    one, other = (
        {k: v for k, v in curves(exp).items() if "time" not in k[2]} for exp in (trained[0], tmp_path / "exp")
    )
    assert one == other
    states = [torch.load(exp / "8epoch.pth", weights_only=True) for exp in (trained[0], tmp_path / "exp")]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_trained_model_captions(place, trained, tmp_path):
    args = ["--sec_model_file", str(trained[0] / "valid.loss.best.pth"), "--data_dir", str(place)]
    sec_inference.main([*args, "--output_dir", str(tmp_path), "--max_length", "5"])
    assert len((tmp_path / "captions").read_text().splitlines()) == 8


def test_with_the_second_task_of_the_start_model(tmp_path, tiny_llama):
    """Its vectors are part of what the LM reads, so policy and reference both need it."""
    model = {"attributes_weight": 1.0, "attributes_prompt": True}
    prepare(tmp_path, tiny_llama, {"model_conf": model}, captions=["语速较快，高兴", "语速缓慢，悲伤"])
    refer(tmp_path)
    conf = prefer_conf(tiny_llama, **model) | {"max_epoch": 1, "optim_conf": {"lr": 1e-12}}
    sec_train.main(command(tmp_path, tmp_path / "exp", write(tmp_path / "prefer.yaml", conf), names=[CAPTION]))
    found = curves(tmp_path / "exp")
    assert abs(found[1, "valid", "margin"]) < 1e-5 and (1, "valid", "attributes_accuracy") in found
    plain = write(tmp_path / "plain.yaml", prefer_conf(tiny_llama))
    with pytest.raises(SystemExit):
        sec_train.main(command(tmp_path, tmp_path / "other", plain))


def fails(capsys, argv) -> str:
    with pytest.raises(SystemExit) as end:
        sec_train.main(argv)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert end.value.code == 1 and len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def copied(place, tmp_path):
    folder = tmp_path / "place"
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns("exp"))
    return folder


def conf_of(folder, llama, **model) -> str:
    return write(folder / "own.yaml", prefer_conf(llama, **model) | {"max_epoch": 1})


def test_references_of_another_model_are_refused(copied, tiny_llama, capsys):
    path = copied / "start/valid.loss.best.pth"
    torch.save({key: value + 0.1 for key, value in torch.load(path, weights_only=True).items()}, path)
    said = fails(capsys, command(copied, copied / "exp", conf_of(copied, tiny_llama)))
    assert f"{copied}/reference/pairs.train: its references are of another model than this training starts from" in said
    assert "run sec_reference with this one, into another folder" in said
    assert not (copied / "exp").exists() or not list((copied / "exp").glob("*.pth"))


def test_references_behind_other_text_or_of_other_speech_are_refused(copied, tiny_llama, capsys):
    names = [("text", "text", "text")]
    conf = conf_of(copied, tiny_llama, condition=["transcript", "queries"])
    said = fails(capsys, command(copied, copied / "exp", conf, names=names))
    assert "of a model that reads something else (condition, attributes_prompt, template)" in said
    import kaldiio

    feats = {utt: one + 1 for utt, one in kaldiio.load_scp(str(copied / "feats.scp")).items()}
    kaldiio.save_ark(str(copied / "feats.ark"), feats, scp=str(copied / "feats.scp"))
    said = fails(capsys, command(copied, copied / "exp", conf_of(copied, tiny_llama)))
    assert "its references are of other speech features than" in said


def test_a_set_that_has_the_utterances_with_pairs_alone_is_as_good(copied, tiny_llama):
    """aligncap.sh trains on such a set."""
    lines = (copied / "feats.scp").read_text().splitlines(keepends=True)
    (copied / "feats.scp").write_text("".join(lines[:6]))
    sec_train.main(command(copied, copied / "exp", conf_of(copied, tiny_llama)))
    assert (copied / "exp/1epoch.pth").is_file()


def test_what_utterances_are_read_as_counts_wherever_they_are(tmp_path):
    files = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files[name] = {"text": str(tmp_path / name / "text")}
    (tmp_path / "one/text").write_text("u1 a\nu2\nu3 c\n")
    (tmp_path / "two/text").write_text("u1 a\n")
    assert reference.of_data(files["one"], ["u1", "u2"]) == reference.of_data(files["two"], ["u2", "u1"])
    assert reference.of_data(files["one"], ["u1", "u3"]) != reference.of_data(files["two"], ["u1", "u3"])
    (tmp_path / "feats.scp").write_text("u1 no.ark:3\n")
    with pytest.raises(SecError, match="feats.scp: has no line for u2; give the speech of the utterances with pairs"):
        reference.of_data({"speech": str(tmp_path / "feats.scp")}, ["u1", "u2"])
    with pytest.raises(SecError, match="feats.scp: .*run stages 2 and 3 again"):
        reference.of_data({"speech": str(tmp_path / "feats.scp")}, ["u1"])


def test_a_changed_or_strange_file_of_pairs_is_refused(copied, tiny_llama, capsys):
    argv = command(copied, copied / "exp", conf_of(copied, tiny_llama))
    path = copied / "reference/pairs.train"
    whole = path.read_text()
    path.write_text(whole.replace('"chosen_reference": -', '"chosen_reference": -1', 1))
    assert "pairs.train: has been changed since its references were computed" in fails(capsys, argv)
    path.write_text(whole)
    record = copied / "reference" / reference.NAME
    content = record.read_text()
    record.write_text(content[:-20])
    assert "reference.json: is broken" in fails(capsys, argv)
    record.unlink()
    assert "has no reference.json beside it" in fails(capsys, argv)
    record.write_text(content)
    shutil.copy(copied / "shape", copied / "reference/shape.train")
    said = fails(capsys, argv)
    assert "pairs.train: has no line for u6, u7 of the training set; give the shape file that sec_reference has" in said


def test_pairs_as_sec_pairs_writes_them_have_no_references(copied, tiny_llama, capsys):
    rows = [json.loads(line) for line in open(make_pairs(copied / "some.jsonl", ["u0"]), encoding="utf-8")]
    (copied / "reference/pairs.train").write_text(f"u0 {json.dumps(rows)}\n")
    (copied / "reference/shape.train").write_text("u0 5,6\n")
    said = fails(capsys, command(copied, copied / "exp", conf_of(copied, tiny_llama)))
    assert "pairs.train: u0: has pairs without chosen_reference and rejected_reference" in said


def test_the_start_model_is_the_reference_or_an_error(copied, tiny_llama, capsys):
    argv = command(copied, copied / "exp", conf_of(copied, tiny_llama))
    at = argv.index("--init_model")
    said = fails(capsys, argv[:at] + argv[at + 2 :])
    start = json.loads((copied / "reference/reference.json").read_text())["made_from"]["model_file"]
    assert "--init_model: model: prefer starts from the one model" in said and f"give --init_model {start}" in said
    two = [*argv[: at + 2], argv[at + 1] + ":bridge", *argv[at + 2 :]]
    assert "starts from the one model that the references" in fails(capsys, two)
    without = [at for at, one in enumerate(argv) if one.endswith(",pairs,text")]
    argv = [one for at, one in enumerate(argv) if at not in without and at + 1 not in without]
    said = fails(capsys, argv)
    assert "--model prefer needs pairs of the train set (data name 'pairs'); make it with sec_reference" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model_conf", "beta=0"], "beta 0: must be above 0"),
        (
            ["--model_conf", "preference_loss=simpo"],
            "'simpo': must be one of sigmoid, ipo, hinge, robust, sigmoid_norm",
        ),
        (["--model_conf", "label_smoothing=0.5"], "label_smoothing 0.5: must be"),
        (["--model_conf", "bta=0.1"], "unknown key 'bta'"),
        (["--specaug", "specaug", "--specaug_conf", "time_mask_width_ratio_range=0.1"], "draw nothing; leave it out"),
        (["--best_model_criterion", "valid,ppl,min"], "valid ppl: there is no such value"),
    ],
)
def test_options_of_the_loss_are_checked(place, tmp_path, tiny_llama, capsys, options, said):
    argv = command(place, tmp_path / "exp", write(tmp_path / "prefer.yaml", prefer_conf(tiny_llama)), *options)
    assert said in fails(capsys, argv)


def test_what_differs_is_in_words():
    record = {"model": "a", "pairs": "b", "dtype": "c"}
    assert reference.differing(record, record) == []
    assert reference.differing(record, {"model": "x", "pairs": "y"}) == ["another model", "other pairs"]
    assert reference.differing({"model": "a"}, {"speech": "b"}) == []
