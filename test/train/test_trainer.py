"""Trainings that are stopped, or crash, at any step end with what an undisturbed one ends with."""

import os
import signal
from pathlib import Path

import pytest
import tiny_training
import torch
from tiny_training import ALL, CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train


class Crash(BaseException):
    """What a kill -9 is in a test of one process."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def small_batches(conf: dict, stage: str) -> dict:
    """Four training and four validation batches an epoch, with dropout."""
    conf["bridge_conf"] = {**conf["bridge_conf"], "dropout": 0.1}
    if stage == "caption":
        conf["batch_size"] = 2
    else:
        conf["sampler_conf"] = {"num_categories": 2, "per_category": 1}
    return {**conf, "max_epoch": 3, "keep_nbest_models": [1, 2], "valid_batch_size": 2, "checkpoint_interval": 0.0}


@pytest.fixture(scope="module")
def confs(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    return {
        "align": write(folder / "align.yaml", small_batches(tiny_training.align_conf(tiny_llama), "align")),
        "caption": write(folder / "caption.yaml", small_batches(tiny_training.caption_conf(tiny_llama), "caption")),
    }


def train(corpus, confs, stage, output, *options) -> None:
    names = ALL if stage == "align" else [SPEECH, CAPTION]
    sec_train.main([*command(corpus, output, confs[stage], names), *options])


def outcome(output: Path) -> dict:
    """Everything that a training leaves, but for times."""
    files = {path.name: torch.load(path, weights_only=True) for path in output.glob("*epoch.pth")}
    files |= {path.name: torch.load(path, weights_only=True) for path in output.glob("valid.*.pth")}
    links = {path.name: os.readlink(path) for path in output.iterdir() if path.is_symlink()}
    lines = (output / "curves.tsv").read_text().splitlines()
    curves = [line for line in lines if "_time" not in line and "\ttime\t" not in line]
    return {"files": files, "links": links, "curves": curves}


def assert_same(one: dict, other: dict) -> None:
    assert one["curves"] == other["curves"] and one["links"] == other["links"]
    assert one["files"].keys() == other["files"].keys()
    for name, state in one["files"].items():
        assert all(torch.equal(value, other["files"][name][key]) for key, value in state.items()), name


@pytest.fixture(scope="module")
def undisturbed(corpus, confs, tmp_path_factory):
    made = {}

    def of(stage, *options):
        key = (stage, *options)
        if key not in made:
            output = tmp_path_factory.mktemp("undisturbed") / stage
            train(corpus, confs, stage, output, *options)
            made[key] = outcome(output)
        return made[key]

    return of


class AtForward:
    """Within it, `action` is done when the model is called for the n-th time."""

    def __init__(self, n: int, action):
        self.left, self.action = n, action

    def __call__(self, module, args):
        if type(module).__name__ in ("AlignModel", "CaptionModel"):
            self.left -= 1
            if self.left == 0:
                self.action()

    def __enter__(self):
        self.hook = torch.nn.modules.module.register_module_forward_pre_hook(self)

    def __exit__(self, *error):
        self.hook.remove()


AGAINST_MEMORISING = (
    *("--model_conf", "{caption_dropout: 0.3, label_smoothing: 0.1, mixup: 0.4, listening: true}"),
    *("--bridge_conf", "statistics=true", "--best_model_criterion", "valid,listening,max"),
)


def crash():
    raise Crash


# An epoch is four training and four validation steps.
@pytest.mark.parametrize(
    "stage, n, options, how",
    [
        ("caption", 1, (), "SIGTERM"),
        ("caption", 3, (), "crash"),
        ("caption", 4, (), "SIGUSR1"),
        ("caption", 6, (), "SIGTERM"),
        ("caption", 8, (), "SIGTERM"),
        ("caption", 11, (), "crash"),
        ("caption", 24, (), "crash"),
        ("caption", 11, ("--num_workers", "2"), "SIGTERM"),
        ("caption", 11, ("--max_cache_size", "1MB"), "crash"),
        ("align", 9, ("--max_cache_size", "1MB", "--num_workers", "1"), "crash"),
        ("caption", 12, ("--accum_grad", "2"), "crash"),
        ("caption", 11, AGAINST_MEMORISING, "crash"),
        ("caption", 11, ("--use_amp", "true"), "crash"),
        ("caption", 11, ("--scheduler", "warmuplr", "--scheduler_conf", "warmup_steps=5"), "crash"),
        ("align", 2, (), "SIGUSR1"),
        ("align", 14, (), "crash"),
    ],
)
@pytest.mark.slow(5)
def test_interrupted_anywhere_it_ends_the_same(corpus, confs, undisturbed, tmp_path, capsys, stage, n, options, how):
    if how == "crash":
        with AtForward(n, crash), pytest.raises(Crash):
            train(corpus, confs, stage, tmp_path / "exp", *options)
    else:
        with AtForward(n, lambda: os.kill(os.getpid(), getattr(signal, how))), pytest.raises(SystemExit) as end:
            train(corpus, confs, stage, tmp_path / "exp", *options)
        assert end.value.code == 99
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sec_train:")]
        assert told == [
            f"sec_train: stopped by {how}: saved {tmp_path}/exp/checkpoint.pth; run the same command again to go on"
        ]
    train(corpus, confs, stage, tmp_path / "exp", *options)
    assert_same(outcome(tmp_path / "exp"), undisturbed(stage, *options))


@pytest.mark.slow(5)
def test_interrupted_at_every_step(corpus, confs, undisturbed, tmp_path):
    """Each run does one more step and is stopped: the training still comes to its end."""
    runs = 0
    while not (tmp_path / "exp" / "curves.tsv").exists():
        with AtForward(1, lambda: os.kill(os.getpid(), signal.SIGTERM)):
            try:
                train(corpus, confs, "caption", tmp_path / "exp", "--valid_batch_size", "8")
            except SystemExit as end:
                assert end.code == 99
        runs += 1
        assert runs < 30
    assert runs > 12, "twelve training steps"
    assert_same(outcome(tmp_path / "exp"), undisturbed("caption", "--valid_batch_size", "8"))


def test_steps_that_are_done_are_not_done_again(corpus, confs, tmp_path):
    with AtForward(3, lambda: os.kill(os.getpid(), signal.SIGTERM)), pytest.raises(SystemExit):
        train(corpus, confs, "caption", tmp_path / "exp")
    forwards = AtForward(-1, None)
    with forwards:
        train(corpus, confs, "caption", tmp_path / "exp")
    assert -1 - forwards.left == 24 - 3


def test_a_cache_changes_nothing(corpus, confs, undisturbed, tmp_path):
    """Captions and prompts are drawn anew in each epoch, also of utterances that are kept in memory."""
    train(corpus, confs, "caption", tmp_path / "exp", "--max_cache_size", "1MB")
    assert_same(outcome(tmp_path / "exp"), undisturbed("caption"))


def test_between_checkpoints_within_an_epoch_there_is_time(corpus, confs, tmp_path):
    """With the usual interval a crash in the first epoch leaves no checkpoint; the epoch is done again."""
    with AtForward(3, crash), pytest.raises(Crash):
        train(corpus, confs, "caption", tmp_path / "exp", "--checkpoint_interval", "600")
    assert not (tmp_path / "exp" / "checkpoint.pth").exists()


def test_the_training_has_ended_already(corpus, confs, undisturbed, tmp_path):
    train(corpus, confs, "caption", tmp_path / "exp")
    with AtForward(1, crash):
        train(corpus, confs, "caption", tmp_path / "exp")
    assert_same(outcome(tmp_path / "exp"), undisturbed("caption"))


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # one bit, somewhere in the tensors
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("fault, message", [(spoil, "is corrupt"), (cut, "is cut short")])
def test_a_broken_checkpoint_gives_way_to_the_previous_one(
    corpus, confs, undisturbed, tmp_path, caplog, fault, message
):
    with AtForward(12, crash), pytest.raises(Crash):
        train(corpus, confs, "caption", tmp_path / "exp")
    fault(tmp_path / "exp" / "checkpoint.pth")
    train(corpus, confs, "caption", tmp_path / "exp")
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any("exp/checkpoint.pth" in line and message in line for line in said)
    assert any("resuming from checkpoint.prev.pth instead" in line for line in said)
    assert_same(outcome(tmp_path / "exp"), undisturbed("caption"))


def test_both_checkpoints_broken(corpus, confs, tmp_path, capsys):
    with AtForward(12, crash), pytest.raises(Crash):
        train(corpus, confs, "caption", tmp_path / "exp")
    for name in ("checkpoint.pth", "checkpoint.prev.pth"):
        cut(tmp_path / "exp" / name)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        train(corpus, confs, "caption", tmp_path / "exp")
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if " error: " in line]
    assert "checkpoint.pth: is cut short" in line and "checkpoint.prev.pth: is cut short" in line
    assert "remove the folder to train from the start" in line


@pytest.mark.slow(5)
def test_patience_stops_early_also_after_an_interruption(corpus, confs, tmp_path):
    options = ["--patience", "1", "--max_epoch", "9", "--optim_conf", "lr=1e-30"]
    train(corpus, confs, "caption", tmp_path / "one", *options)
    assert sorted(path.name for path in (tmp_path / "one").glob("*epoch.pth")) == [
        "1epoch.pth",
        "2epoch.pth",
        "3epoch.pth",
    ]
    with AtForward(18, crash), pytest.raises(Crash):
        train(corpus, confs, "caption", tmp_path / "two", *options)
    train(corpus, confs, "caption", tmp_path / "two", *options)
    assert_same(outcome(tmp_path / "one"), outcome(tmp_path / "two"))
    with AtForward(1, crash):  # it has ended: given again, the command trains no further epoch
        train(corpus, confs, "caption", tmp_path / "two", *options)
    assert_same(outcome(tmp_path / "one"), outcome(tmp_path / "two"))
