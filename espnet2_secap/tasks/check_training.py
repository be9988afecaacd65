"""What sec.sh checks of stages 5 and 6 when it starts: their configurations, and the files and parts that these name.

The parser, the registry and the models' declarations are the real ones; nothing is built. A process that only checks
calls `lazy.without_torch` first, and imports them in a third of a second.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from espnet2_secap.data.labels import in_classes, read_classes
from espnet2_secap.errors import SecError
from espnet2_secap.metric.language import language
from espnet2_secap.model_folder import check_model_folder, check_tokenizer_folder
from espnet2_secap.tasks.check import Findings, check_labels, data_folder, emotion_map
from espnet2_secap.tasks.recipe import Recipe
from espnet2_secap.tasks.training_data import classes_of

TABLES = {"caption": "captions", "text": "text", "emotion": "utt2emo"}


def check_trainings(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Each of stages 5 and 6 that is chosen."""
    for stage, model in ((5, "align"), (6, "caption")):
        if stage in stages:
            _check_training(recipe, stages, stage, model, found)


def _check_training(recipe: Recipe, stages: Sequence[int], stage: int, model: str, found: Findings) -> None:
    config = getattr(recipe, f"{model}_config")
    if not Path(config).is_file():
        found.problems.append(f"--{model}_config {config}: no such configuration; check the path")
        return
    from espnet2_secap.sampler.nk import NKSampler
    from espnet2_secap.tasks.parts import CHOICES, kinds_of
    from espnet2_secap.tasks.sec import SECTask
    from espnet2_secap.tasks.training_options import check_sampler, checks_of
    from espnet2_secap.text.prompts import read_prompts

    where = f"stage {stage}, {config}: "
    args = None
    with found.of(where):
        args = _parsed(recipe, config, model)
    kinds = None
    if args is not None:
        with found.of(where):
            kinds = kinds_of(args)
    if kinds is None:
        return
    for check in checks_of(args, computes=False):
        with found.of(where):
            check()
    if args.encoder == "stored" and recipe.raw:
        found.problems.append(
            f"{where}encoder: stored reads features, and --feats_type raw gives audio; set encoder: s3prl (or another) "
            "and its encoder_conf"
        )
    _check_rate(recipe, stages, args, where, found)
    model_class = CHOICES["model"].get_class(args.model)
    tables = _tables(recipe, stages)
    if tables:
        for split, files in tables.items():
            further = getattr(args, f"{split}_data_path_and_name_and_type")  # of --caption_args: pairs, clues
            setattr(args, f"{split}_data_path_and_name_and_type", files + further)
        with found.of(where):
            SECTask.check_data(args, model_class)
        train, valid = ({name: path for path, name, _ in files} for files in tables.values())
        renamed, classes = emotion_map(recipe, stages, Findings()), {}
        with found.of(where):
            classes = classes_of(args)
        if "emotion" in model_class.needs(args.model_conf):
            check_labels(train.get("emotion", ""), valid.get("emotion", ""), renamed, found, classes)
        if args.iterator_type == "task" and "emotion" in train:
            with found.of(where):
                labels = in_classes(read_classes(train["emotion"], renamed), classes)
                NKSampler(labels, seed=0, **check_sampler(args.sampler_conf))
    if "instruction" in model_class.texts_of(args.model_conf):
        with found.of(where):
            read_prompts(args.prompts)
        if not recipe.prompts and args.prompts in ("zh", "en", "ja") and recipe.lm_prompts != args.prompts:
            wanted = language(recipe.lang).prompts
            if wanted != args.prompts:
                found.notes.append(
                    f"{where}prompts: {args.prompts}, while --lang is {recipe.lang}; remove that line, or give "
                    f"--prompts {wanted}"
                )
    for option, path, holds in _named_parts(args, kinds[1:]):
        if not (1 in stages and not os.path.isabs(path)):  # stage 1 may make it
            with found.of(where):
                check_there(option, path, holds)
    for source in args.init_model:
        if not os.path.exists(source):
            found.need(source.rpartition(":")[0] or source, stage)
    if args.reference_model and not os.path.exists(args.reference_model):
        found.problems.append(f"{where}reference_model: {args.reference_model}: no such file; check the path")


def _check_rate(recipe: Recipe, stages: Sequence[int], args: argparse.Namespace, where: str, found: Findings) -> None:
    """Stage 2 must write audio at the rate of an encoder that runs in training."""
    from espnet2_secap.tasks.parts import CHOICES

    fs = recipe.options.get("fs")
    if not (recipe.raw and 2 in stages and fs) or args.encoder not in CHOICES["encoder"].targets:
        return
    rate = CHOICES["encoder"].get_class(args.encoder).rate_of(args.encoder_conf)
    if rate is not None and str(rate) != fs:
        found.problems.append(
            f"{where}encoder: {args.encoder} takes audio at {rate} Hz, and stage 2 would write it at {fs} Hz; give"
            f" --fs {rate}"
        )


def _parsed(recipe: Recipe, config: str, model: str) -> argparse.Namespace:
    """The options of sec_train, as sec.sh gives them."""
    from espnet2_secap.tasks.sec import SECTask

    words = ["--config", config, "--output_dir", "exp", *(["--model", model] if model == "align" else [])]
    words += ["--train_shape_file", "train", "--valid_shape_file", "valid"]
    if model == "caption" and recipe.lm_prompts:
        words += ["--prompts", recipe.lm_prompts]
    try:
        args = SECTask.get_parser().parse_args([*words, *recipe.arguments(f"{model}_args")])
    except yaml.YAMLError as err:
        raise SecError(f"not a YAML file: {' '.join(str(err).split())}; fix it") from err
    except SystemExit:
        raise SecError(f"--{model}_args: holds --help or --print_config; leave it out") from None
    if model == "caption" and args.model == "align":
        raise SecError("model: align is of the first stage; give a configuration of captioning")
    return args


def _tables(recipe: Recipe, stages: Sequence[int]) -> dict[str, list[tuple[str, str, str]]] | None:
    """What sec.sh will give as data of each split, where it is known yet."""
    tables = {}
    for split, dset in (("train", recipe.train_set), ("valid", recipe.valid_set)):
        folder = data_folder(recipe, stages, dset)
        if folder is None or not os.path.isfile(f"{folder}/wav.scp"):
            return None
        files = [(f"{folder}/{file}", name, "text") for name, file in TABLES.items()]
        if recipe.train_text_file:
            given = recipe.train_text_file
            files = [(given if name == "text" else path, name, kind) for path, name, kind in files]
        tables[split] = [(f"{folder}/wav.scp", "speech", "sound"), *(one for one in files if os.path.isfile(one[0]))]
    return tables


def _named_parts(args: argparse.Namespace, kinds: Sequence[str]) -> Iterator[tuple[str, str, Sequence[Callable]]]:
    """Of the pretrained parts of these kinds: option, folder or name on the hub, what a folder must hold."""
    from espnet2_secap.tasks.parts import all_within

    for kind in kinds:
        try:
            parts = all_within(kind, getattr(args, kind), getattr(args, f"{kind}_conf"))
        except SecError:  # the check of the configuration tells it
            continue
        for name, conf in parts:
            for key in ("path", "init"):
                if isinstance(conf.get(key), str) and not (key == "init" and args.init_model):
                    yield f"{kind}_conf: {key}", conf[key], HOLDS.get((kind, name), ())


def check_there(option: str, path: str, holds: Sequence[Callable[[Path, str], None]] = ()) -> None:
    """See that a pretrained part is a folder here, or may be one on the model hub.

    Args:
        holds: checks of a folder, of model_folder.py.

    Raises:
        SecError: it is neither, or the hub may not be asked and the model is not in its cache; a folder is not whole.
    """
    from espnet2_secap.pretrained import is_hub_name

    folder = Path(path).expanduser()
    if folder.exists():
        for check in holds if folder.is_dir() else ():
            check(folder, option)
        return
    if not is_hub_name(path):
        raise SecError(f"{option}: {path}: no such folder; make it, or give the right path or a name on the model hub")
    offline = any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in OFFLINE)
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub") / f"models--{path.replace('/', '--')}"
    if offline and not cache.is_dir():
        raise SecError(
            f"{option}: {path}: no such folder, and the model hub is not asked (HF_HUB_OFFLINE); make it, or fetch the "
            f"model into {cache.parent} first"
        )


MODEL, TEXT_MODEL = (check_model_folder,), (check_model_folder, check_tokenizer_folder)
HOLDS = {  # of the parts here; one of a user's own may name a folder of any kind
    ("encoder", "clap"): MODEL,
    ("bridge", "qformer"): MODEL,
    ("decoder", "causal_lm"): TEXT_MODEL,
    ("decoder", "seq2seq"): TEXT_MODEL,
    ("text_encoder", "bert"): TEXT_MODEL,
    ("text_encoder", "embedding"): (check_tokenizer_folder,),
}
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
