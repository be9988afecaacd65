"""Values of training options, ESPnet's own and those of libraries, checked before anything is loaded.

ESPnet's parser takes from a YAML file whatever stands there, reads numbers as YAML 1.1 has them, and runs
`--optim_conf "..."` as Python. `as_ours` changes a parser of ESPnet in place: numbers are those of data/conf.py, every
value is checked for type and range, an error is one line.
"""

import argparse
import ast
import copy
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Literal

import humanfriendly
import torch
from espnet2.samplers.build_batch_sampler import BATCH_TYPES
from espnet2.tasks.abs_task import optim_classes, scheduler_classes
from espnet2.train.distributed_utils import DistributedOption, get_num_nodes, resolve_distributed_mode
from espnet2.utils import config_argparse
from espnet2.utils.build_dataclass import build_dataclass
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import int_or_none

from espnet2_secap.cli_types import as_typed, check_args, checked_defaults, of
from espnet2_secap.data.conf import parse_yaml, read_extended
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.lazy import declared
from espnet2_secap.sampler.nk import NKSampler
from espnet2_secap.tasks.parts import CHOICES, REFUSALS, check_part, kinds_of
from espnet2_secap.train.trainer import check_options
from espnet2_secap.values import Amount, Count, Natural, Positive, Range, Seed, check_conf, checked

_PHASE, _MODE = Literal["train", "valid"], Literal["min", "max"]
_CLIP = Annotated[float, Range(above=0, infinite=True)]
HINTS = {  # of ESPnet's options; the others have the type that its parser gives them
    "seed": Seed,
    "ngpu": Natural,
    "num_workers": Natural,
    "num_att_plot": Natural,
    "max_epoch": Count,
    "patience": Natural | None,
    "val_scheduler_criterion": tuple[_PHASE, str],
    "early_stopping_criterion": tuple[_PHASE, str, _MODE],
    "best_model_criterion": list[tuple[_PHASE, str, _MODE]],
    "keep_nbest_models": Count | list[Count],
    "nbest_averaging_interval": Natural,
    "grad_clip": _CLIP,
    "grad_clip_type": _CLIP,
    "accum_grad": Count,
    "log_interval": Count | None,
    "num_iters_per_epoch": Count | None,
    "batch_size": Count,
    "valid_batch_size": Count | None,
    "batch_bins": Count,
    "valid_batch_bins": Count | None,
    "min_batch_size": Count,
    "max_batch_size": Count | None,
    "fold_length": list[Count],
    "max_cache_size": str | Amount,
    "valid_max_cache_size": str | Amount | None,
    "max_cache_fd": Natural,
    "dist_world_size": Count | None,
    "dist_rank": Natural | None,
    "local_rank": Natural | None,
    "dist_master_port": Annotated[int, Range(1, 65535)] | None,
    "init_model": list[str],
    "init_param": list[str],
    "freeze_param": list[str],
    "emotions": list[str] | None,
}
_BETA = Annotated[float, Range(least=0, below=1)]
LIBRARY = {  # arguments of optimisers and schedulers whose range their annotations do not tell
    "lr": Positive,
    "betas": tuple[_BETA, _BETA],
    "eps": Amount,
    "weight_decay": Amount,
    "momentum": _BETA,
    "rho": _BETA,
    "max_lr": Positive | list[Positive],
    "base_lr": Positive | list[Positive],
    "min_lr": Amount | list[Amount],
    "eta_min": Amount,
    "gamma": Positive,
    "warmup_steps": Annotated[float, Range(least=0)],
    "step_size": Count,
    "steps_per_epoch": Count,
    "total_steps": Count,
    "max_steps": Positive,
    "model_size": Positive,
    "first_cycle_steps": Count,
    "T_max": Count,
    "T_0": Count,
    "T_mult": Count,
    "patience": Natural,
    "cooldown": Natural,
    "milestones": list[Count],
}
UNUSED = [("train", "acc", "max"), ("valid", "acc", "max")]  # of ESPnet's best_model_criterion; no model here has them


class SECParser(config_argparse.ArgumentParser):
    """ESPnet's parser with our reading of numbers, checked values, and errors of one line."""

    def parse_known_args(self, args=None, namespace=None):
        """`--config FILE` under the command line; all values as they are declared."""
        parse = super(config_argparse.ArgumentParser, self).parse_known_args
        file = parse(args, namespace)[0].config
        if file is not None:
            self.set_defaults(**self._defaults_of(file))
        parsed, rest = parse(args, namespace)
        check_args(parsed, self, HINTS)
        return parsed, rest

    def _defaults_of(self, file: str) -> dict:
        conf = read_extended(file)
        conf.pop("config", None)
        nested = {action.dest for action in self._actions if isinstance(action, NestedDictAction)}
        conf = {key: {} if key in nested and value is None else value for key, value in conf.items()}
        return checked_defaults(self, conf, file, HINTS | dict.fromkeys(nested, dict))

    def error(self, message: str):
        """One line and not two hundred of usage."""
        raise SecError(f"{as_typed(message)}; see --help for the options")


class _Conf(NestedDictAction):
    """`KEY=VALUE`, `KEY.KEY=VALUE`, or a dictionary as YAML or Python write it; `{}` drops all that is there so far,
    such as keys of a part that is replaced. Nothing is run.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        conf = copy.deepcopy(getattr(namespace, self.dest, None) or {})
        key, sign, value = values.partition("=")
        try:
            if sign and not values.lstrip().startswith("{"):
                inner = conf
                *outer, last = key.strip().split(".")
                for one in outer:
                    inner[one] = inner = inner[one] if isinstance(inner.get(one), dict) else {}
                inner[last] = parse_yaml(value) if value.strip() else value
            else:
                found = _dictionary(values)
                conf = conf | found if found else {}
        except ValueError as err:
            raise argparse.ArgumentError(self, f"{shorten(values)}: must be KEY=VALUE ({err})") from None
        setattr(namespace, self.dest, conf)


def _size(text: str) -> float | None:
    try:
        return None if text.lower() in ("none", "null") else humanfriendly.parse_size(text)
    except humanfriendly.InvalidSize:
        raise argparse.ArgumentTypeError(f"{text}: must be a size, such as 500MB or 2GB") from None


def _dictionary(text: str) -> dict:
    try:
        found = ast.literal_eval(text)  # {'a': True}
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        found = parse_yaml(text)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError("or a dictionary {KEY: VALUE}")
    return found


def as_ours(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same parser as a SECParser; its options for dictionaries read numbers as we do."""
    parser.__class__ = SECParser
    for action in parser._actions:
        if type(action) is NestedDictAction:
            action.__class__ = _Conf
        elif action.dest.endswith("max_cache_size"):
            action.type = _size
        elif action.type in (int, float, int_or_none):
            kind = {int: int, float: float, int_or_none: int | None}[action.type]
            action.type = of(_CLIP if HINTS.get(action.dest) is _CLIP else kind)
    return parser


def check_training(args: argparse.Namespace) -> None:
    """Check all configurations that a training will need, and put in place what their values stand for; loads nothing.

    Args:
        args: of sec_train's parser.

    Raises:
        SecError: which option or key, its value, and what is allowed.
    """
    for check in checks_of(args):
        check()


def checks_of(args: argparse.Namespace, computes: bool = True) -> list[Callable[[], None]]:
    """The checks of `check_training`, each of which may raise a SecError.

    Args:
        args: of sec_train's parser.
        computes: whether this is the process, and the machine, that will train, and PyTorch is more than hollow.
    """
    checks = [
        check_options,
        _check_sampler,
        _check_decay,
        _check_template,
        _check_optim,
        _check_scheduler,
        _check_criteria,
        _check_ways,
    ]
    if computes:
        checks += [try_building, _check_machine]
    parts = [partial(check_part, args, kind) for kind in kinds_of(args)]
    return [*parts, *(partial(check, args) for check in checks)]


def _check_sampler(args: argparse.Namespace) -> None:
    if "task" in (args.iterator_type, args.valid_iterator_type):
        args.sampler_conf = check_sampler(args.sampler_conf)


def _check_decay(args: argparse.Namespace) -> None:
    conf = args.exclude_weight_decay_conf
    args.exclude_weight_decay_conf = check_conf("exclude_weight_decay_conf", _weight_decay, conf)


def _check_template(args: argparse.Namespace) -> None:
    args.template_conf = check_conf("template_conf", _template, args.template_conf)


def _check_optim(args: argparse.Namespace) -> None:
    args.optim_conf = _checked_library("optim", args.optim, optim_classes, args.optim_conf, {"params"})


def _check_scheduler(args: argparse.Namespace) -> None:
    if args.scheduler is not None:
        given = {"optimizer", "last_epoch"}
        args.scheduler_conf = _checked_library(
            "scheduler", args.scheduler, scheduler_classes, args.scheduler_conf, given
        )


def check_sampler(conf: Mapping) -> dict:
    """Check sampler_conf, the arguments of NKSampler.

    Raises:
        SecError: which key, its value, and what is allowed.
    """
    return check_conf("sampler_conf", NKSampler, conf, given=("utt2category", "seed"))


def _weight_decay(bias_weight_decay: bool = False, normalization_weight_decay: bool = False) -> None:
    """The keys of exclude_weight_decay_conf."""


def _template(order: list[str | list[Natural]] = (), end: Natural = 0, ends: list[Natural] = ()) -> None:
    """The keys of template_conf; see text/template.py."""


def _checked_library(kind: str, name: str, classes: Mapping, conf: Mapping, given: Collection[str]) -> dict:
    if name not in classes:
        raise SecError(f"{kind}: {name!r}, expected one of {', '.join(classes)}")
    function = declared(classes[name])
    return conf if function is None else check_conf(f"{kind}_conf of {kind}: {name}", function, conf, given, LIBRARY)


def try_building(args: argparse.Namespace) -> None:
    """Build optimiser and scheduler for one number: what the libraries refuse is known before weights are loaded.

    Raises:
        SecError: what they refuse.
    """
    try:
        what = f"optim_conf of optim: {args.optim}"
        optimizer = optim_classes[args.optim]([torch.nn.Parameter(torch.zeros(1))], **args.optim_conf)
        if args.scheduler is not None:
            what = f"scheduler_conf of scheduler: {args.scheduler}"
            scheduler_classes[args.scheduler](optimizer, **args.scheduler_conf)
            for group in optimizer.param_groups:
                checked(f"{what}: learning rate of the first step", float(group["lr"]), Amount)
    except SecError:
        raise
    except REFUSALS as err:
        raise SecError(f"{what}: {shorten(' '.join(str(err).split()) or type(err).__name__, 300)}") from err


def _check_ways(args: argparse.Namespace) -> None:
    """Refuse what ESPnet's parser takes and its or our training then does not do."""
    for option in ("iterator_type", "valid_iterator_type"):
        if getattr(args, option) not in (None, "sequence", "task"):
            raise SecError(f"--{option} {getattr(args, option)}: is not supported here; it must be sequence or task")
    for split in ("", "valid_"):
        kind = getattr(args, f"{split}batch_type") or args.batch_type
        if (getattr(args, f"{split}iterator_type") or args.iterator_type) != "sequence":
            continue
        if kind not in BATCH_TYPES:
            raise SecError(f"--{split}batch_type {kind}: is not supported here; use one of {', '.join(BATCH_TYPES)}")
        files = getattr(args, f"{split or 'train_'}shape_file")
        if kind == "folded" and len(args.fold_length) != len(files):
            raise SecError(
                f"--{split}batch_type folded: needs --fold_length, as often as there are shape files ({len(files)}); "
                "give it, or use batch_type: sorted"
            )
    if args.optim == "lbfgs":
        raise SecError("--optim lbfgs: needs several losses of a step, which this training does not compute; use adamw")
    if args.save_strategy != "all":
        raise SecError(f"--save_strategy {args.save_strategy}: is not supported here; frozen weights are never saved")
    if args.use_tf32 and args.use_amp:
        raise SecError("--use_tf32 true: cannot be used with --use_amp true; leave one of them out")
    if args.use_wandb and find_spec("wandb") is None:
        raise SecError("--use_wandb true: the package wandb is missing; install it, or leave the option out")


def _check_machine(args: argparse.Namespace) -> None:
    try:
        get_num_nodes(args.dist_world_size, args.dist_launcher)
    except (RuntimeError, ValueError) as err:
        raise SecError(f"--dist_launcher {args.dist_launcher}: {err}; leave it out on one machine") from err
    if args.ngpu > torch.cuda.device_count():
        raise SecError(f"--ngpu {args.ngpu}: this machine has {torch.cuda.device_count()} GPUs that PyTorch can use")


def check_distributed(args: argparse.Namespace) -> None:
    """See that ESPnet's launcher can tell this process's rank, for one process per start.

    Raises:
        SecError: what it lacks.
    """
    tried = argparse.Namespace(**vars(args))
    try:
        resolve_distributed_mode(tried)
        build_dataclass(DistributedOption, tried).init_options()
    except (RuntimeError, ValueError) as err:  # ValueError: a variable of the environment that is no number
        raise SecError(f"--dist_launcher, --dist_*: {' '.join(str(err).split())}") from err


def _check_criteria(args: argparse.Namespace) -> None:
    """See that what the best epochs, early stopping and the scheduler are judged by is measured."""
    model = CHOICES["model"].get_class(args.model)
    measured = vars(model).get("measures")  # its own: a subclass may have more
    criteria = {
        "best_model_criterion": args.best_model_criterion,
        "early_stopping_criterion": [args.early_stopping_criterion],
        "val_scheduler_criterion": [args.val_scheduler_criterion],
    }
    for option, triples in criteria.items():
        for phase, name, *_ in triples:
            known = next((one for one in measured or () if fnmatchcase(name, one)), None)
            if measured and known is None and (phase, name, *_) not in UNUSED:
                raise SecError(
                    f"--{option} {phase} {name}: there is no such value; it must be one of {', '.join(measured)}"
                )
            switch = model.measured_with.get(known)
            if switch and not args.model_conf.get(switch):
                raise SecError(f"--{option} {phase} {name}: is measured only with model_conf {switch}; set it")
