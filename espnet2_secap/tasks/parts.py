"""The registry of parts. A new model, encoder, bridge or decoder is one file and one line in PARTS.

A part's class is imported when it is asked for. What a configuration may set is what the class's constructor takes,
but for what the task itself gives (`given`).
"""

import argparse
import importlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.text.roles import QUERIES
from espnet2_secap.values import ORDERED, Count, Natural, Place, Positive, Share, check_conf, checked, parameters_of


@dataclass(frozen=True)
class Kind:
    """A kind of part: the class that all of them extend, the default, and constructor arguments that the task gives."""

    interface: str
    default: str | None = None
    given: tuple[str, ...] = ()


KINDS = {
    "encoder": Kind("espnet2_secap.encoder.abs_encoder:AbsEncoder", "stored"),
    "normalize": Kind("espnet2.layers.abs_normalize:AbsNormalize"),
    "specaug": Kind("espnet2.asr.specaug.abs_specaug:AbsSpecAug"),
    "bridge": Kind("espnet2_secap.bridge.abs_bridge:AbsBridge", "qformer", given=("input_size", "text_size")),
    "decoder": Kind("espnet2_secap.decoder.abs_decoder:AbsDecoder", "causal_lm"),
    "text_encoder": Kind("espnet2_secap.text.text_encoder:AbsTextEncoder", "embedding"),
    "model": Kind(
        "espnet2_secap.model.abs_model:AbsSECModel",
        "caption",
        given=("encoder", "normalize", "specaug", "bridge", "decoder", "text_encoder", "template", "attributes"),
    ),
}
PARTS = (  # kind, name in configurations, module:class
    ("encoder", "s3prl", "espnet2_secap.encoder.s3prl:S3PRLEncoder"),
    ("encoder", "acoustic", "espnet2_secap.encoder.acoustic:AcousticEncoder"),
    ("encoder", "clap", "espnet2_secap.encoder.clap:ClapEncoder"),
    ("encoder", "joined", "espnet2_secap.encoder.joined:JoinedEncoder"),
    ("encoder", "opensmile", "espnet2_secap.encoder.opensmile:OpenSmileEncoder"),
    ("encoder", "stored", "espnet2_secap.encoder.stored:StoredEncoder"),
    ("normalize", "global_mvn", "espnet2.layers.global_mvn:GlobalMVN"),
    ("normalize", "utterance_mvn", "espnet2.layers.utterance_mvn:UtteranceMVN"),
    ("specaug", "specaug", "espnet2.asr.specaug.specaug:SpecAug"),
    ("specaug", "noise", "espnet2_secap.augment.noise:FeatsNoise"),
    ("bridge", "qformer", "espnet2_secap.bridge.qformer:QFormer"),
    ("bridge", "linear", "espnet2_secap.bridge.linear:LinearBridge"),
    ("decoder", "causal_lm", "espnet2_secap.decoder.causal_lm:CausalLMDecoder"),
    ("decoder", "seq2seq", "espnet2_secap.decoder.seq2seq:Seq2SeqDecoder"),
    ("text_encoder", "bert", "espnet2_secap.text.text_encoder:BertTextEncoder"),
    ("text_encoder", "embedding", "espnet2_secap.text.text_encoder:TokenEmbedding"),
    ("model", "align", "espnet2_secap.model.align:AlignModel"),
    ("model", "caption", "espnet2_secap.model.caption:CaptionModel"),
    ("model", "distill", "espnet2_secap.model.distill:DistillModel"),
    ("model", "prefer", "espnet2_secap.model.prefer:PreferModel"),
)
OPTIONAL = ("normalize", "specaug")  # parts that any model takes
# What ESPnet's own parts take, where their annotations do not tell the range.
LIBRARY = {
    "espnet2.layers.global_mvn:GlobalMVN": {"stats_file": Place, "eps": Positive},
    "espnet2.layers.utterance_mvn:UtteranceMVN": {"eps": Positive},
    "espnet2.asr.specaug.specaug:SpecAug": {
        "time_warp_window": Count,
        "time_warp_mode": Literal["nearest", "linear", "bilinear", "bicubic", "trilinear"],
        "freq_mask_width_range": Count | Annotated[tuple[Natural, Natural], ORDERED],
        "num_freq_mask": Natural,
        "time_mask_width_range": Count | Annotated[tuple[Natural, Natural], ORDERED] | None,
        "time_mask_width_ratio_range": Share | Annotated[tuple[Share, Share], ORDERED] | None,
        "num_time_mask": Natural,
    },
}
# Errors of a library that refuses its arguments.
REFUSALS = (ValueError, TypeError, AssertionError, RuntimeError, LookupError, ArithmeticError, NotImplementedError)


class Choices:
    """The parts of one kind; has the face of ESPnet's ClassChoices."""

    def __init__(self, name: str, kind: Kind, targets: Mapping[str, str]):
        self.name = name
        self.kind = kind
        self.targets = dict(targets)
        self.default = kind.default
        self.optional = kind.default is None

    def choices(self) -> tuple[str | None, ...]:
        """All names."""
        return (*self.targets, *((None,) if self.optional else ()))

    def get_class(self, name: str | None) -> type | None:
        """The class of a name.

        Raises:
            SecError: no such part.
        """
        if name is None and self.optional:
            return None
        if name not in self.targets:
            raise SecError(f"{self.name}: {name!r}, expected one of {', '.join(self.targets)}")
        return _checked_class(self.targets[name], self.kind.interface)

    def add_arguments(self, parser: argparse._ActionsContainer) -> None:
        """`--NAME` and `--NAME_conf`."""
        from espnet2.utils.nested_dict_action import NestedDictAction
        from espnet2.utils.types import str_or_none

        parser.add_argument(
            f"--{self.name}", type=str_or_none, default=self.default, help=f"One of {', '.join(self.targets)}"
        )
        parser.add_argument(
            f"--{self.name}_conf",
            action=NestedDictAction,
            default={},
            metavar="KEY=VALUE",
            help=f"Constructor arguments of --{self.name}",
        )

    def check(self, name: str | None, conf: Mapping) -> dict:
        """Every key must be known, of the declared type and range, and the required ones there, before anything is
        loaded.

        Returns:
            the configuration, with values as they are declared (2 for 2.0).

        Raises:
            SecError: which key is unknown or missing, or which value is wrong and what is allowed.
        """
        part = self.get_class(name)
        where, hints = f"{self.name}_conf of {self.name}: {name}", LIBRARY.get(self.targets[name])
        conf = check_conf(where, part, conf, self.kind.given, hints, getattr(part, "from_data", ()))
        for key, inner in nested_parts(part, conf).items():
            conf[key] = {one: choices.check(name, its) for one, (choices, name, its) in inner.items()}
            for one, (choices, name, _) in inner.items():
                conf[key][one][choices.name] = name
        return conf

    def build(self, name: str, conf: Mapping, **given):
        """The part, of its configuration and of those of `given` that its constructor takes.

        Raises:
            SecError: what the part says of its configuration.
        """
        part = self.get_class(name)
        parameters = parameters_of(part)
        conf = self.check(name, {key: value for key, value in conf.items() if key not in self.kind.given})
        for key, inner in nested_parts(part, conf).items():
            conf[key] = {one: choices.build(name, its) for one, (choices, name, its) in inner.items()}
        try:
            return part(**{**conf, **{key: value for key, value in given.items() if key in parameters}})
        except SecError:
            raise
        except FileNotFoundError as err:  # global_mvn's statistics
            raise SecError(
                f"{self.name}_conf: {err.filename}: no such file; run stage 4 with --feats_normalize {name}"
            ) from err
        except REFUSALS as err:  # a library's; the traceback in the log tells where
            logging.error(f"{self.name}: {name} cannot be built", exc_info=err)
            reason = " ".join(str(err).split()) or type(err).__name__
            raise SecError(f"{self.name}_conf of {self.name}: {name}: {shorten(reason, 500)}") from err


def nested_parts(part: type, conf: Mapping) -> dict[str, dict[str, tuple[Choices, str, dict]]]:
    """The parts that a part is made of, as its class declares in `nested`: argument -> kind.

    Args:
        part: a class of the registry.
        conf: its configuration; such an argument is name -> configuration with the key KIND, where the name is not the
            registry's.

    Returns:
        argument -> name -> its choices, its name in the registry, its configuration.

    Raises:
        SecError: a configuration that is none.
    """
    found: dict[str, dict[str, tuple[Choices, str, dict]]] = {}
    for key, kind in getattr(part, "nested", {}).items():
        found[key] = {}
        for one, its in checked(f"{kind}_conf: {key}", conf.get(key, {}), dict).items():
            where = f"{kind}_conf: {key}: {one}"
            its = dict(checked(where, {} if its is None else its, dict))
            found[key][one] = (CHOICES[kind], checked(f"{where}: {kind}", its.pop(kind, one), str), its)
    return found


def all_within(kind: str, name: str, conf: Mapping) -> list[tuple[str, dict]]:
    """Name and configuration of a part, or of those that it is made of.

    Raises:
        SecError: no such part; a configuration that is none.
    """
    nested = nested_parts(CHOICES[kind].get_class(name), conf)
    if not nested:
        return [(name, dict(conf))]
    inner = [one for parts in nested.values() for one in parts.values()]
    return [found for choices, other, its in inner for found in all_within(choices.name, other, its)]


def registry(kinds: Mapping[str, Kind], parts: Iterable[tuple[str, str, str]]) -> dict[str, Choices]:
    """The choices of each kind.

    Raises:
        SecError: a part of no kind, or one that is declared twice.
    """
    targets: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for kind, name, target in parts:
        if kind not in targets:
            raise SecError(f"tasks/parts.py: {kind} {name!r}: no such kind; expected one of {', '.join(kinds)}")
        if name in targets[kind]:
            raise SecError(
                f"tasks/parts.py: {kind} {name!r} is declared twice: {targets[kind][name]} and {target}; rename one"
            )
        targets[kind][name] = target
    return {name: Choices(name, kind, targets[name]) for name, kind in kinds.items()}


def optional_kinds(args: argparse.Namespace) -> list[str]:
    """The optional kinds of part that a configuration uses."""
    return [kind for kind in OPTIONAL if getattr(args, kind) is not None]


def kinds_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The kinds of part that a configuration uses, the model first."""
    parts = CHOICES["model"].get_class(args.model).parts_of(args.model_conf)
    return ("model", *parts, *(optional_kinds(args) if "encoder" in parts else ()))


def hears(args: argparse.Namespace) -> bool:
    """Whether speech reaches the model of a configuration."""
    makes = CHOICES["model"].get_class(args.model).makes_of(args.model_conf)
    return QUERIES in makes or not makes


def check_part(args: argparse.Namespace, kind: str) -> None:
    """Check the configuration of one kind of part, and put in place what its values stand for; see `Choices.check`."""
    setattr(args, f"{kind}_conf", CHOICES[kind].check(getattr(args, kind), getattr(args, f"{kind}_conf")))


@cache
def _checked_class(target: str, interface: str) -> type:
    part, base = _load(target), _load(interface)
    if not issubclass(part, base):
        raise SecError(f"tasks/parts.py: {target} does not extend {interface}")
    return part


def _load(target: str) -> type:
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


CHOICES = registry(KINDS, PARTS)
