"""The registry of parts. A new model, encoder, bridge or decoder is one file and one line in PARTS.

A part's class is imported when it is asked for. What a configuration may set is what the class's constructor takes,
but for what the task itself gives (`given`).
"""

import argparse
import importlib
import inspect
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from espnet2_secap.errors import SecError


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
        given=("encoder", "normalize", "specaug", "bridge", "decoder", "text_encoder", "template"),
    ),
}
PARTS = (  # kind, name in configurations, module:class
    ("encoder", "s3prl", "espnet2_secap.encoder.s3prl:S3PRLEncoder"),
    ("encoder", "stored", "espnet2_secap.encoder.stored:StoredEncoder"),
    ("normalize", "global_mvn", "espnet2.layers.global_mvn:GlobalMVN"),
    ("normalize", "utterance_mvn", "espnet2.layers.utterance_mvn:UtteranceMVN"),
    ("specaug", "specaug", "espnet2.asr.specaug.specaug:SpecAug"),
    ("specaug", "noise", "espnet2_secap.augment.noise:FeatsNoise"),
    ("bridge", "qformer", "espnet2_secap.bridge.qformer:QFormer"),
    ("bridge", "linear", "espnet2_secap.bridge.linear:LinearBridge"),
    ("decoder", "causal_lm", "espnet2_secap.decoder.causal_lm:CausalLMDecoder"),
    ("text_encoder", "bert", "espnet2_secap.text.text_encoder:BertTextEncoder"),
    ("text_encoder", "embedding", "espnet2_secap.text.text_encoder:TokenEmbedding"),
    ("model", "align", "espnet2_secap.model.align:AlignModel"),
    ("model", "caption", "espnet2_secap.model.caption:CaptionModel"),
)
OPTIONAL = ("normalize", "specaug")  # parts that any model takes


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

    def check(self, name: str | None, conf: Mapping) -> None:
        """Every key must be known, and the required ones there, before anything is loaded.

        Raises:
            SecError: which key is unknown or missing.
        """
        part = self.get_class(name)
        parameters = inspect.signature(part.__init__).parameters
        known = {key for key in parameters if key != "self"} - set(self.kind.given)
        check_keys(f"{self.name}_conf of {self.name}: {name}", conf, known)
        for key in sorted(known - set(conf) - set(getattr(part, "from_data", ()))):
            if parameters[key].default is inspect.Parameter.empty:
                raise SecError(f"{self.name}_conf of {self.name}: {name}: {key!r} is missing")

    def build(self, name: str, conf: Mapping, **given):
        """The part, of its configuration and of those of `given` that its constructor takes.

        Raises:
            SecError: what the part says of its configuration.
        """
        part = self.get_class(name)
        parameters = inspect.signature(part.__init__).parameters
        try:
            return part(**{**conf, **{key: value for key, value in given.items() if key in parameters}})
        except SecError:
            raise
        except FileNotFoundError as err:  # global_mvn's statistics
            raise SecError(
                f"{self.name}_conf: {err.filename}: no such file; run stage 4 with --feats_normalize {name}"
            ) from err
        except ValueError as err:  # a library's; the traceback in the log tells where
            logging.error(f"{self.name}: {name} cannot be built", exc_info=err)
            raise SecError(f"{self.name}_conf of {self.name}: {name}: {' '.join(str(err).split())}") from err


def check_keys(where: str, conf: Mapping, known: Iterable[str]) -> None:
    """Raise a SecError that names the keys of `conf` that are not known."""
    known = sorted(known)
    unknown = sorted(set(conf) - set(known))
    if unknown:
        raise SecError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known: {', '.join(known)}")


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
