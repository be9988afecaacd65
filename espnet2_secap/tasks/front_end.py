"""From a waveform to what a model was trained on: config.yaml tells it, and so the model can caption audio."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import good_lines, read_shapes
from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.feats.extract import encode
from espnet2_secap.tasks.parts import CHOICES


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
    longest = _longest(args)
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
    """See that the first recording of each wav.scp has the sampling rate that the encoder takes.

    Raises:
        SecError: it has another.
    """
    import soundfile

    for path in scps:
        _, utt, wav = good_lines(path)[0]
        try:
            rate = soundfile.info(wav).samplerate
        except (soundfile.LibsndfileError, OSError):
            continue  # the reader says what is wrong with it
        if rate != sampling_rate:
            raise SecError(
                f"{path}: {utt}: is sampled at {rate} Hz, the encoder takes {sampling_rate} Hz;"
                f" run stage 2 again with --fs {sampling_rate}"
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
        return [one.half().float() for one in feats] if self.half else feats
