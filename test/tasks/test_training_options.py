"""Values of training options are checked for type and range, wherever they come from, before anything is loaded."""

import re
import typing
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
import yaml

from espnet2_secap.data.conf import dump_yaml
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.parts import CHOICES, KINDS, LIBRARY, PARTS
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.tasks.training_options import HINTS, check_training, try_building
from espnet2_secap.values import Range, parameters_of

CONF = {
    "model": "align",
    "encoder": "stored",
    "text_encoder_conf": {"path": "no/such-folder"},  # nothing is loaded
    "iterator_type": "task",
    "sampler_conf": {"num_categories": 2, "per_category": 2},
    "optim": "adamw",
    "optim_conf": {"lr": 1e-3},
}


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch):
    """Within a step of Slurm its launcher would be found."""
    for name in ("SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def parsed(tmp_path, conf: dict | str, *argv):
    path = tmp_path / "train.yaml"
    path.write_text(conf if isinstance(conf, str) else dump_yaml(CONF | conf))
    args = SECTask.get_parser().parse_args(["--config", str(path), *argv])
    check_training(args)
    return args


def refused(tmp_path, conf, *argv) -> str:
    with pytest.raises(SecError) as err:
        parsed(tmp_path, conf, *argv)
    assert "\n" not in str(err.value) and len(str(err.value)) < 700
    return str(err.value)


def test_numbers_as_people_write_them(tmp_path):
    text = yaml.safe_dump(CONF).replace("0.001", "5e-4") + "grad_clip: 1e-1\nmax_epoch: 1e1\nscheduler: warmuplr\n"
    text += "scheduler_conf: {warmup_steps: 1e3}\nmodel_conf: {mi_weight: 1e-1, sccl_weights: [1e0, 1, 1e-1]}\n"
    args = parsed(tmp_path, text + "bridge_conf: {num_queries: 2.0, dropout: 1e-1}\nspecaug_conf:\nbatch_bins: 1e6\n")
    assert args.optim_conf == {"lr": 5e-4} and args.grad_clip == 0.1 and args.max_epoch == 10
    assert args.model_conf == {"mi_weight": 0.1, "sccl_weights": [1.0, 1.0, 0.1]} and args.batch_bins == 10**6
    assert args.bridge_conf == {"num_queries": 2, "dropout": 0.1} and isinstance(args.bridge_conf["num_queries"], int)
    assert args.scheduler_conf == {"warmup_steps": 1000} and args.specaug_conf == {}
    argv = "--optim_conf lr=1e-4 --model_conf mi_weight=1e-1 --grad_clip inf --max_epoch 1e1".split()
    argv += ["--optim_conf", "betas=[0.9, .95]", "--bridge_conf", "{dropout: 1e-1}"]
    args = parsed(tmp_path, {}, *argv, "--sampler_conf", "{'per_category': 3}")
    assert args.optim_conf == {"lr": 1e-4, "betas": [0.9, 0.95]} and args.model_conf == {"mi_weight": 0.1}
    assert args.grad_clip == float("inf") and args.max_epoch == 10 and args.bridge_conf == {"dropout": 0.1}
    assert args.sampler_conf == {"num_categories": 2, "per_category": 3}
    args = parsed(tmp_path, {"bridge_conf": {"num_queries": 2}}, "--bridge_conf", "{}", "--bridge_conf", "dropout=0")
    assert args.bridge_conf == {"dropout": 0}, "what the configuration says of another bridge is dropped"


def test_options_of_one_parser_do_not_reach_the_next():
    SECTask.get_parser().parse_args(["--optim_conf", "{lr: 1}"])
    assert SECTask.get_parser().parse_args([]).optim_conf == {}


CAPTIONING = {"model": "caption", "decoder_conf": {"path": "no/such-folder"}}
BAD = [
    ({"max_epoch": 0}, "max_epoch 0: must be at least 1"),
    ({"max_epoch": "5"}, "max_epoch '5': must be an integer, at least 1"),
    ({"batch_size": -1}, "batch_size -1: must be at least 1"),
    ({"batch_size": [4]}, r"batch_size \[4\]: must be an integer"),
    ({"accum_grad": 0}, "accum_grad 0"),
    ({"num_workers": -1}, "num_workers -1"),
    ({"keep_nbest_models": 0}, "keep_nbest_models 0"),
    ({"patience": -1}, "patience -1"),
    ({"seed": -1}, "seed -1"),
    ({"seed": 2**40}, "seed 1099511627776: must be between 0 and 2147483647"),
    ({"grad_clip": 0}, "grad_clip 0: must be above 0"),
    ({"grad_clip": float("nan")}, "grad_clip nan"),
    ({"use_amp": "yes"}, "use_amp 'yes': must be true or false"),
    ({"batch_type": "sorted_"}, "batch_type 'sorted_': must be one of unsorted, sorted"),
    ({"iterator_type": "tasks"}, "iterator_type 'tasks': must be one of"),
    (
        {"best_model_criterion": [["valid", "los", "min"]]},
        "best_model_criterion valid los: there is no such value; .* loss",
    ),
    (
        {**CAPTIONING, "best_model_criterion": [["valid", "listening", "max"]]},
        "best_model_criterion valid listening: is measured only with model_conf listening; set it",
    ),
    (
        {**CAPTIONING, "best_model_criterion": [["valid", "accuracy_emotion", "max"]]},
        "accuracy_emotion: is measured only with model_conf attributes_weight",
    ),
    ({"best_model_criterion": [["dev", "loss", "min"]]}, "best_model_criterion .*'dev'"),
    ({"val_scheduler_criterion": ["valid", "ppl"]}, "val_scheduler_criterion valid ppl: there is no such value"),
    ({"early_stopping_criterion": ["valid", "loss"]}, "early_stopping_criterion .* a list of 3"),
    ({"max_cache_size": "lots"}, "max_cache_size lots: must be a size"),
    ({"checkpoint_interval": -1}, "checkpoint_interval -1: must be at least 0"),
    ({"optim": "adamww"}, "optim 'adamww': must be one of adam, adamw"),
    ({"optim_conf": {"lr": "1e-4"}}, "optim_conf of optim: adamw: lr '1e-4': must be a number, above 0"),
    ({"optim_conf": {"lr": 0}}, "lr 0: must be above 0"),
    ({"optim_conf": {"lr": float("inf")}}, "lr inf: must be a number"),
    ({"optim_conf": {"learning_rate": 1}}, "optim_conf of optim: adamw: unknown key 'learning_rate'; known: .* lr"),
    ({"optim_conf": {"betas": [0.9, 1.0]}}, "betas .*: must be a list of 2, each at least 0 and below 1"),
    ({"optim_conf": [1]}, "optim_conf .*must be `key: value` lines"),
    ({"scheduler": "steplr"}, "scheduler_conf of scheduler: steplr: 'step_size' is missing"),
    ({"scheduler": "warmuplr", "scheduler_conf": {"warmup_steps": -1}}, "warmup_steps -1: must be at least 0"),
    ({"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.1}}, "onecyclelr: You must define either total_steps"),
    ({"scheduler": "noamlr", "scheduler_conf": {"warmup_steps": 0}}, "scheduler: noamlr: .*division by zero"),
    ({"sampler_conf": {"num_categories": 1, "per_category": 2}}, "sampler_conf: num_categories 1: must be at least 2"),
    ({"sampler_conf": {"num_categories": 2}}, "sampler_conf: 'per_category' is missing"),
    ({"template_conf": {"end": -1}}, "template_conf: end -1: must be at least 0"),
    ({"exclude_weight_decay_conf": {"bias_weight_decay": 1}}, "bias_weight_decay 1: must be true or false"),
    ({"model_conf": {"sccl_weights": [1, 1]}}, "sccl_weights .*a list of 3, each a number"),
    ({"prompts": 5}, "prompts 5: must be text"),
    ({"iterator_type": "chunk"}, "--iterator_type chunk: is not supported here"),
    ({"valid_iterator_type": "sequence", "valid_batch_type": "catbel"}, "--valid_batch_type catbel: is not supported"),
    ({"valid_iterator_type": "sequence", "valid_shape_file": ["x"]}, "--valid_batch_type folded: needs --fold_length"),
    ({"optim": "lbfgs", "optim_conf": {}}, "--optim lbfgs"),
    ({"save_strategy": "adapter_only"}, "--save_strategy adapter_only: is not supported here"),
    ({"use_tf32": True, "use_amp": True}, "--use_tf32 true: cannot be used with --use_amp true"),
    ({"dist_launcher": "slurm"}, "--dist_launcher slurm: "),
    ({"ngpu": 99}, "--ngpu 99: this machine has [0-9]+ GPUs"),
    ({"specaug": "specaug", "specaug_conf": {"freq_mask_width_range": [5, 2]}}, "each above the one before"),
    ("seed: 1\nseed: 2\n", "train.yaml: not a YAML file: line 2: the key 'seed' is there twice"),
    ("- a\n", "train.yaml: not a YAML file of options"),
]


@pytest.mark.parametrize(("conf", "said"), BAD)
def test_values_out_of_type_or_range_are_named_in_one_line(tmp_path, conf, said):
    assert re.search(said, refused(tmp_path, conf))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--max_epoch", "0"], "--max_epoch 0: must be at least 1"),
        (["--max_epoch", "ten"], "--max_epoch 'ten': must be an integer"),
        (["--grad_clip", "nan"], "--grad_clip nan: must be a number, above 0"),
        (["--keep_nbest_models", "0"], "--keep_nbest_models"),
        (["--optim_conf", "lr=["], "--optim_conf lr=.: must be KEY=VALUE"),
        (["--optim_conf", "lr"], "--optim_conf lr: must be KEY=VALUE"),
        (["--optim_conf", "__import__('os').abort()"], "must be KEY=VALUE"),
        (["--optim_conf", "lr=x"], "lr 'x': must be a number, above 0"),
        (["--max_cache_size", "many"], "must be a size"),
        (["--config", "no/such.yaml"], "no/such.yaml: does not exist"),
    ],
)
def test_the_command_line_has_the_same_checks(tmp_path, argv, said):
    assert re.search(said, refused(tmp_path, {}, *argv))


def hint_of(target: str, name: str):
    kind, part, _ = next(one for one in PARTS if one[2] == target)
    return LIBRARY.get(target, {}).get(name) or parameters_of(CHOICES[kind].get_class(part))[name][0]


def wrong(hint) -> list:
    """Values of another type, and values out of range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        outside = []
        for one in args[1:]:
            if isinstance(one, Range):
                outside += [one.least - 1] if one.least is not None else []
                outside += [one.above] if one.above is not None else []
                outside += [one.most + 1] if one.most is not None else []
                outside += [one.below] if one.below is not None else []
        return wrong(args[0]) + outside
    if origin is Literal:
        return ["none of them", 5]
    if origin is not None:  # unions and lists: a dictionary fits none of ours, but for a dictionary itself
        return [[object()], "\0"] if dict in args else [{"a": 1}]
    numbers = {int: ["3", 2.5, True], float: ["1e-4", [1.0], float("nan")]}
    return ({bool: [1, "true"], str: [5, None], dict: [5]} | numbers)[hint]


def every_argument():
    for kind, name, target in PARTS:
        for argument in parameters_of(CHOICES[kind].get_class(name)):
            if argument not in KINDS[kind].given:
                yield kind, name, target, argument


@pytest.mark.parametrize(("kind", "name", "target", "argument"), every_argument())
def test_every_argument_of_every_part_has_a_type_and_a_range(kind, name, target, argument):
    bad = wrong(hint_of(target, argument))
    assert bad
    for value in bad:
        with pytest.raises(SecError) as err:
            CHOICES[kind].check(name, {argument: value})
        message = str(err.value)
        assert message.startswith(f"{kind}_conf of {kind}: {name}: {argument} ") and ": must be " in message
        assert "\n" not in message


@pytest.mark.parametrize("name", sorted(HINTS))
def test_every_number_of_espnets_options_refuses_what_is_no_number(tmp_path, name):
    assert refused(tmp_path, {name: {"a": 1}}).count(name)


def with_adamw(**other):
    return SimpleNamespace(optim="adamw", optim_conf={"lr": 0.1, "weight_decay": 0.01}, **other)


def test_a_schedule_s_options_are_tried_before_anything_is_loaded():
    try_building(with_adamw(scheduler=None, scheduler_conf={}))
    try_building(with_adamw(scheduler="warmuplr", scheduler_conf={"warmup_steps": 5}))
    try_building(with_adamw(scheduler="cycliclr", scheduler_conf={"base_lr": 1e-4, "max_lr": 1e-3}))
    for conf in ({"steps": 5}, {"warmup_steps": "five"}):
        with pytest.raises(SecError, match="scheduler_conf of scheduler: warmuplr"):
            try_building(with_adamw(scheduler="warmuplr", scheduler_conf=conf))
