"""A run that was given up does not end like one that was finished: losses, gradients, weights that are not finite."""

import math
import os
import types

import pytest
import tiny_training
import torch
from tiny_training import ALL, CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.errors import SecError
from espnet2_secap.train import divergence


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def confs(tiny_llama, tmp_path_factory):
    """Four training and four validation steps an epoch."""
    folder = tmp_path_factory.mktemp("conf")
    align, caption = tiny_training.align_conf(tiny_llama), tiny_training.caption_conf(tiny_llama)
    align["sampler_conf"] = {"num_categories": 2, "per_category": 1}
    small = {"valid_batch_size": 2, "max_epoch": 2}
    return {
        "align": write(folder / "align.yaml", align | small),
        "caption": write(folder / "caption.yaml", caption | small | {"batch_size": 2}),
    }


def train(corpus, confs, stage, output, *options) -> None:
    names = ALL if stage == "align" else [SPEECH, CAPTION]
    sec_train.main([*command(corpus, output, confs[stage], names), *options])


def failure(capsys, *args) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        train(*args)
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


class Spoil:
    """Within it, the losses of these calls of the model (from 1) are NaN, as a library's fault would make them."""

    def __init__(self, *calls: int):
        self.calls, self.count = calls, 0

    def __call__(self, module, args, output):
        if type(module).__name__ not in ("AlignModel", "CaptionModel"):
            return None
        self.count += 1
        if self.count not in self.calls:
            return None
        loss, stats, weight = output
        return loss * math.nan, stats | {"loss": stats["loss"] * math.nan}, weight

    def __enter__(self):
        self.hook = torch.nn.modules.module.register_module_forward_hook(self)

    def __exit__(self, *error):
        self.hook.remove()


@pytest.mark.parametrize("stage, terms", [("align", ("sccl nan", "mi nan")), ("caption", ("ppl nan",))])
def test_a_training_that_diverges_ends_with_an_error_and_leaves_no_model(corpus, confs, tmp_path, capsys, stage, terms):
    for _ in range(2):  # given again, the command says so again
        line = failure(capsys, corpus, confs, stage, tmp_path / "exp", "--optim_conf", "lr=1.0e+18")
        assert "has diverged in epoch 1, " in line and "(loss nan, " in line and "learning rate 1e+18" in line
        assert all(term in line for term in terms) and "lower the learning rate" in line and "--use_amp false" in line
        assert not list((tmp_path / "exp").glob("*.pth"))
    train(corpus, confs, stage, tmp_path / "exp", "--max_epoch", "1")  # nothing was trained yet: other options may come
    assert os.readlink(tmp_path / "exp" / "valid.loss.best.pth") == "1epoch.pth"


def test_an_epoch_without_a_single_update_is_an_error_that_names_steps_and_utterances(corpus, confs, tmp_path, capsys):
    with Spoil(9, 10, 11, 12):
        line = failure(capsys, corpus, confs, "caption", tmp_path / "exp")
    assert "in epoch 2, step 1 of 4 (loss nan" in line and "in any of the 4 steps of this epoch" in line
    assert "utterances u" in line
    assert os.readlink(tmp_path / "exp" / "latest.pth") == "1epoch.pth", "what was good before is kept"
    train(corpus, confs, "caption", tmp_path / "exp")  # the fault was not the training's: it goes on


def test_so_many_steps_in_a_row_without_an_update_are_an_error(corpus, confs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(divergence, "LIMIT", 2)
    with Spoil(1, 3, 4):
        line = failure(capsys, corpus, confs, "caption", tmp_path / "exp")
    assert "in epoch 1, step 3 of 4" in line and "in 2 steps in a row" in line


def test_a_single_step_without_an_update_is_a_warning_and_mixed_precision_may_have_some(
    corpus, confs, tmp_path, caplog
):
    with Spoil(2):
        train(corpus, confs, "caption", tmp_path / "exp", "--max_epoch", "1")
    (told,) = [record.message for record in caplog.records if "no update" in record.message]
    assert "epoch 1, step 2 of 4 (loss nan" in told and "utterances u" in told
    assert (tmp_path / "exp" / "valid.loss.best.pth").exists()


def test_an_epoch_in_which_mixed_precision_looks_for_its_scale_has_not_diverged(tmp_path, caplog):
    """A corpus of few batches: all steps of the first epoch overflow, and each halves the scale."""
    epoch = types.SimpleNamespace(stats={}, epoch=1)
    options = types.SimpleNamespace(grad_clip=5.0, accum_grad=1)
    for scale in (2.0**16, 1.0):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        assert divergence.lowers_scale(scaler) == (scale > 1)
        watch = divergence.Watch(tmp_path, epoch, [], options, False, scaler)
        watch.skipped, watch.first = 4, "step 1 of 4"
        if scale > 1:
            watch.after_training(4)
            assert "no update in 4 of 4 steps of epoch 1" in caplog.text
        else:
            with pytest.raises(SecError, match="in any of the 4 steps"):
                watch.after_training(4)
    assert not divergence.lowers_scale(None)


def test_terms_that_are_not_finite_are_told_from_those_that_are(corpus, confs, tmp_path, capsys):
    def spoil(module, args):
        if type(module).__name__ == "AlignModel":
            module.estimator.mean[0].weight.data.fill_(math.nan)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(spoil)
    try:
        line = failure(capsys, corpus, confs, "align", tmp_path / "exp")
    finally:
        hook.remove()
    assert "mi nan" in line and "sccl nan" not in line and "in any of the 4 steps" in line


def test_a_validation_that_is_not_finite_is_an_error(corpus, confs, tmp_path, capsys):
    with Spoil(13, 14, 15, 16):
        line = failure(capsys, corpus, confs, "caption", tmp_path / "exp")
    assert "in epoch 2, validation step 1 of 4" in line and "in 4 of 4 steps" in line
    with Spoil(6):
        line = failure(capsys, corpus, confs, "caption", tmp_path / "first")
    assert "in epoch 1, validation step 2 of 4" in line and "in 1 of 4 steps" in line, "no epoch was finite before"


def test_an_epoch_with_a_validation_step_that_is_not_finite_is_never_the_best(corpus, confs, tmp_path, caplog):
    options = ["--max_epoch", "3", "--patience", "9", "--scheduler", "reducelronplateau"]
    with Spoil(14):
        train(corpus, confs, "caption", tmp_path / "exp", *options, "--keep_nbest_models", "3")
    assert any("epoch 2 is never the best" in record.message for record in caplog.records)
    curves = [line.split("\t") for line in (tmp_path / "exp" / "curves.tsv").read_text().splitlines()]
    loss = {epoch: value for epoch, split, key, value in curves if (split, key) == ("valid", "loss")}
    assert loss["2"] == "nan" and float(loss["1"]) > 0 and float(loss["3"]) > 0
    assert os.readlink(tmp_path / "exp" / "valid.loss.best.pth") in ("1epoch.pth", "3epoch.pth")
    assert os.readlink(tmp_path / "exp" / "valid.loss.ave.pth") == "valid.loss.ave_1best.pth", "3 are not finite"


def test_a_folder_that_an_earlier_version_left_diverged_says_so(corpus, confs, tmp_path, capsys):
    train(corpus, confs, "caption", tmp_path / "exp", "--max_epoch", "1")
    path = tmp_path / "exp" / "checkpoint.pth"
    whole = torch.load(path, weights_only=False)
    for change, message in (
        (lambda state: state["reporter"]["stats"][1]["train"].pop("grad_norm"), "train grad_norm of epoch 1 is nan"),
        (lambda state: state["reporter"]["stats"][1]["valid"].update(loss=math.nan), "valid loss of epoch 1 is nan"),
        (lambda state: state["model"]["bridge.queries"].fill_(math.inf), "not finite: bridge.queries"),
    ):
        torch.save(whole, path)
        state = torch.load(path, weights_only=False)
        change(state)
        torch.save(state, path)
        line = failure(capsys, corpus, confs, "caption", tmp_path / "exp", "--max_epoch", "1")
        assert message in line and "has diverged" in line and "another --sec_tag" in line


@pytest.mark.parametrize(
    "options, message",
    [
        (["--accum_grad", "5"], "--accum_grad 5: an epoch has 4 batches only"),
        (["--scheduler", "onecyclelr", "--scheduler_conf", "max_lr=1.0e-3", "--scheduler_conf", "total_steps=7"], "7"),
        (["--scheduler", "reducelronplateau", "--val_scheduler_criterion", "valid", "cider"], "cider: there is no"),
        (["--patience", "1", "--early_stopping_criterion", "valid", "acc", "max"], "there are train.loss"),
        (["--scheduler", "warmup"], "invalid choice: 'warmup'"),
        (["--scheduler", "warmuplr", "--scheduler_conf", "steps=5"], "scheduler_conf of scheduler: warmuplr"),
    ],
)
def test_schedules_and_criteria_that_cannot_be_followed_are_one_line(corpus, confs, tmp_path, capsys, options, message):
    assert message in failure(capsys, corpus, confs, "caption", tmp_path / "exp", *options)


def test_a_schedule_that_lasts_as_long_as_the_training(corpus, confs, tmp_path):
    options = ["--scheduler", "onecyclelr", "--scheduler_conf", "max_lr=1.0e-3", "--scheduler_conf", "total_steps=8"]
    train(corpus, confs, "caption", tmp_path / "exp", *options)
    assert (tmp_path / "exp" / "2epoch.pth").exists()


def test_with_several_processes_the_utterances_of_all_are_named(tmp_path):
    """This process as the only one of a distributed training."""
    from types import SimpleNamespace

    from espnet2.train.reporter import Reporter

    sub = Reporter(1).start_epoch("train")
    sub.register({"loss": torch.tensor(math.nan)}, torch.tensor(2.0))
    sub.next()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    options = SimpleNamespace(accum_grad=1, grad_clip=5.0)

    class Steps(SimpleNamespace):
        def __len__(self):
            return 3

    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/meet", world_size=1, rank=0)
    try:
        watch = divergence.Watch(tmp_path, sub, [optimizer], options, distributed=True)
        watch.after_step(Steps(done=1, utts=["u2", "u1"]))
    finally:
        torch.distributed.destroy_process_group()
    assert watch.first == "epoch 1, step 1 of 4 (loss nan; learning rate 0.5; utterances u1 u2)"
    with pytest.raises(SecError, match="weights are not finite: b"):
        watch.check_weights({"a": torch.ones(2), "b": torch.tensor([math.inf]), "n": torch.tensor([1])})
