"""From a waveform to what a model was trained on: config.yaml tells it, and so the model can caption audio."""

import argparse
import inspect
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import good_lines, read_shapes
from espnet2_secap.data.text_file import read_json
from espnet2_secap.data.utterances import Utterances, scp_of
from espnet2_secap.errors import SecError
from espnet2_secap.feats.extract import encode
from espnet2_secap.model.checkpoint import split_source
from espnet2_secap.tasks.experiment import located, start_config
from espnet2_secap.tasks.parts import CHOICES, kinds_of, nested_parts

LOOKED_AT = 1000  # recordings of a set whose sampling rate is looked at, spread over it


def stored_front_end(data_path: str | Path) -> dict:
    """The front-end of stored features, from config.json beside a feats.scp; {} where there is none.

    Raises:
        SecError: the file is there, but broken.
    """
    path = Path(data_path).parent / "config.json"
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
        return {key: content[key] for key in ("encoder", "encoder_conf", "sampling_rate", "frame_shift", "dtype")}
    except KeyError:  # KeyError: features of another program
        return {}
    except (ValueError, TypeError) as err:
        raise SecError(f"{path}: broken ({err}); run stage 3 again, it writes this file") from err


def describe(args: argparse.Namespace, encoder: torch.nn.Module) -> dict:
    """What config.yaml says of the front-end: encoder, encoder_conf, sampling_rate, frame_shift (samples), dtype of
    stored features, and the longest training utterance in seconds.

    Args:
        args: of the training.
        encoder: the built encoder.

    Raises:
        SecError: training and validation set have features of different front-ends.
    """
    speech = {
        split: [path for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type", []) if name == "speech"]
        for split in ("train", "valid")
    }
    longest = _longest(args)
    if encoder.sampling_rate is not None:
        found = {
            "encoder": args.encoder,
            "encoder_conf": dict(args.encoder_conf),
            "sampling_rate": encoder.sampling_rate,
            "frame_shift": encoder.frame_shift,
            "dtype": "float32",
        }
        check_rates([path for paths in speech.values() for path in paths], encoder.sampling_rate)
        steps_per_second = encoder.sampling_rate
        if encoder.max_samples is not None and longest > encoder.max_samples:
            logging.warning(
                f"training set: utterances have up to {longest / steps_per_second:.1f} s, of which encoder:"
                f" {args.encoder} reads the first {encoder.max_samples / steps_per_second:g} s"
            )
            longest = encoder.max_samples
    else:
        sets = {path: stored_front_end(path) for paths in speech.values() for path in paths}
        found = next(iter(sets.values()), {})
        for path, other in sets.items():
            if other != found:
                first = next(iter(sets))
                raise SecError(
                    f"{path}: its features are of another front-end than those of {first} (config.json beside them);"
                    " run stage 3 again for all sets"
                )
        steps_per_second = found["sampling_rate"] / found["frame_shift"] if found else None
    if found and longest:
        found = found | {"max_seconds": round(longest / steps_per_second, 2)}
    return found


def _longest(args: argparse.Namespace) -> int:
    """Steps of the longest training utterance; 0 where there is no shape file."""
    shapes = getattr(args, "train_shape_file", None)
    if not shapes:
        return 0
    return max(shape[0] for shape in read_shapes(shapes[0]).values())


def check_rates(scps: Iterable[str | Path], sampling_rate: int) -> None:
    """See that the recordings of each wav.scp have the sampling rate that the encoder takes: all, or `LOOKED_AT`.

    Raises:
        SecError: one has another.
    """
    import soundfile

    for path in scps:
        lines = good_lines(path)
        for _, utt, wav in lines[:: -(-len(lines) // LOOKED_AT) or 1]:
            try:
                rate = soundfile.info(wav).samplerate
            except (soundfile.LibsndfileError, OSError):
                continue  # the reader says what is wrong with it
            if rate != sampling_rate:
                raise SecError(
                    f"{path}: {utt}: is sampled at {rate} Hz, the encoder takes {sampling_rate} Hz;"
                    f" run stage 2 again with --fs {sampling_rate}"
                )


def differences(here: dict, there: dict) -> list[str]:
    """Keys in which two front-ends differ, of those that both have; but for the length of what was seen.

    An encoder's options that are left out have their defaults; paths are compared by what they lead to.
    """
    one, other = _complete(here), _complete(there)
    return [key for key in one if key in other and key != "max_seconds" and one[key] != other[key]]


def _complete(conf: dict) -> dict:
    if "encoder_conf" not in conf:
        return conf
    return conf | {"encoder_conf": _with_defaults(conf["encoder"], conf["encoder_conf"])}


def _with_defaults(name: str, conf: dict, kind: str = "encoder") -> dict:
    part = CHOICES[kind].get_class(name)
    parameters = inspect.signature(part.__init__).parameters.values()
    full = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty} | conf
    for key, inner in nested_parts(part, full).items():
        full[key] = {one: _with_defaults(name, its) | {"encoder": name} for one, (_, name, its) in inner.items()}
    if isinstance(full.get("path"), str):
        full["path"] = os.path.realpath(os.path.expanduser(full["path"]))
    if str(full.get("layer")).isdigit():
        full["layer"] = int(full["layer"])
    return full


def check_input(data_dir: str | Path, utterances: Utterances, encoder: torch.nn.Module, front_end: dict) -> None:
    """See that a folder of dumped audio or features holds what a trained model takes.

    Args:
        data_dir: dump/raw/<set> or dump/<tag>/<set>.
        utterances: its reader.
        encoder: the model's.
        front_end: of its config.yaml.

    Raises:
        SecError: it holds features for audio or the reverse, audio of another sampling rate, features of another
            front-end.
    """
    if utterances.raw != (encoder.sampling_rate is not None):
        kind = "audio" if utterances.raw else "stored features"
        other = "stored features (dump/<tag>/<set>)" if utterances.raw else "audio (dump/raw/<set>)"
        raise SecError(f"{data_dir}: holds {kind}, the model takes {other}")
    if utterances.raw:
        check_rates([scp_of(data_dir)], encoder.sampling_rate)
        utterances.fs = encoder.sampling_rate
        return
    here = located(stored_front_end(scp_of(data_dir)), Path(data_dir))  # its paths are those of the recipe
    for key in differences(here, front_end):
        raise SecError(
            f"{data_dir}: its features have {key} {here[key]}, the model was trained with {front_end[key]};"
            " run stage 3 with the model's front-end (its config.yaml)"
        )


def check_start(source: str, front_end: dict) -> None:
    """See that a model file to start from was trained on what is trained on now.

    Args:
        source: of --init_model. Parts that hear nothing (decoder, projection) may come from anywhere.
        front_end: what is trained on now; nothing is compared where it or that of the other is not known.

    Raises:
        SecError: in which keys the front-ends differ.
    """
    if not front_end or (config := start_config(source, "bridge", "encoder")) is None:
        return
    there = config.get("front_end") or {}
    if "encoder_conf" in front_end and there.get("encoder_conf", {}).get("freeze", True):
        # A pretrained encoder that is trained from now on begins with the features of the frozen one.
        conf = {key: value for key, value in front_end["encoder_conf"].items() if key != "freeze"}
        front_end = front_end | {"encoder_conf": conf}
    for key in differences(front_end, there):
        if key != "dtype":  # of the same features, rounded
            raise SecError(
                f"--init_model {source}: was trained on features with {key} {there[key]}, these have {front_end[key]};"
                " start from a model of the same features, or give the parts to start from, such as"
                f" {split_source(source)[0]}:projection"
            )


def check_text_start(source: str, args: argparse.Namespace) -> None:
    """See that a model that reads text through a bridge starts from one whose text came from the same text encoder.

    Args:
        source: of --init_model; nothing is compared where its bridge is not taken, or its configuration is not there.
        args: of the task.

    Raises:
        SecError: in which key they differ.
    """
    if "text_encoder" not in kinds_of(args) or (there := start_config(source, "bridge")) is None:
        return
    model = CHOICES["model"].targets.get(there.get("model")) and CHOICES["model"].get_class(there["model"])
    if not model or "text_encoder" not in model.parts_of(there.get("model_conf") or {}):
        return
    one, other = (
        {"text_encoder": name, **_with_defaults(name, conf["text_encoder_conf"] or {}, "text_encoder")}
        for conf in (vars(args), there)
        for name in [conf["text_encoder"]]
    )
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            raise SecError(
                f"--init_model {source}: its text encoder has {key} {other.get(key)}, this one {one.get(key)}; the"
                " T-Embedding needs the first stage's: give text_encoder and text_encoder_conf as its configuration"
                " has them"
            )


def set_input_size(args: argparse.Namespace) -> None:
    """Fill in the width of stored features, from the first line of the shape file; it stays in config.yaml."""
    if args.encoder != "stored" or "input_size" in args.encoder_conf:
        return
    if not args.train_shape_file:
        raise SecError("encoder_conf: input_size is missing, and there is no --train_shape_file to read it from")
    shape = next(iter(read_shapes(args.train_shape_file[0]).values()))
    if len(shape) != 2:
        raise SecError(f"{args.train_shape_file[0]}: shapes of raw audio; encoder: stored needs features of stage 3")
    args.encoder_conf["input_size"] = shape[1]


class FrontEnd:
    """Turns waveforms into what the model takes: themselves, or the features that stage 3 would store.

    Args:
        conf: `front_end` of config.yaml.
        encoder: the model's own.
        where: experiment, for messages.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: config.yaml does not say how the features were made.
    """

    def __init__(self, conf: dict, encoder: torch.nn.Module, where: str | Path, device: str):
        self.extractor, self.device = None, device
        self.half = conf.get("dtype") == "float16"
        if encoder.sampling_rate is None:
            if not conf:
                raise SecError(
                    f"{where}: its config.yaml does not say how its features were made (front_end), so it captions"
                    " stored features only; train it with features of stage 3"
                )
            self.extractor = CHOICES["encoder"].build(conf["encoder"], conf["encoder_conf"]).to(device).eval()
        taker = self.extractor or encoder
        self.sampling_rate, self.min_samples = taker.sampling_rate, taker.min_samples
        self.max_seconds = conf.get("max_seconds")

    def __call__(self, waves: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Waveforms (samples,) at `sampling_rate` -> per utterance (samples,) or (T, D), on the CPU.

        Raises:
            SecError: one is too short.
        """
        waves = [torch.as_tensor(wave, dtype=torch.float32) for wave in waves]
        shortest = min(len(wave) for wave in waves)
        if shortest < self.min_samples:
            raise SecError(f"audio of {shortest} samples is too short, the encoder needs {self.min_samples}")
        if self.extractor is None:
            return waves
        feats = [torch.from_numpy(one) for one in encode(waves, self.extractor, self.device)]
        if not self.half:
            return feats
        feats = [one.half().float() for one in feats]  # as stage 3 stored them
        if not all(one.isfinite().all() for one in feats):
            raise SecError(
                "this audio's features are too large for float16, in which the model's were stored; train it with"
                " --feats_dtype float32"
            )
        return feats
