"""Check everything that a run of sec.sh will need, before its first stage."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from espnet2_secap.cli_types import Parser, from_args, of
from espnet2_secap.data.io import read_kaldi
from espnet2_secap.decoder.options import TRAINING
from espnet2_secap.errors import SecError, cli
from espnet2_secap.tasks.check import Findings, check_recipe, chosen_stages
from espnet2_secap.tasks.check_transcripts import check_texts
from espnet2_secap.tasks.recipe import Recipe
from espnet2_secap.values import Count


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_check."""
    parser = Parser(
        prog="sec_check",
        description=f"{__doc__} It reads options, configurations and lists of files, lists all problems, one line each,"
        " and exits with status 1 if there is any; notes are no problems. utils/sec_functions.sh calls it.",
    )
    parser.add_argument("options", nargs="+", metavar="NAME=VALUE", help="the options of sec.sh, all of them")
    parser.add_argument(
        "--again",
        type=of(Count),
        metavar="STAGE",
        help="check once more, from this stage on, what the stage before it has made, which has ended well",
    )
    parser.add_argument(
        "--show",
        choices=["condition"],
        help="check nothing, and print what the decoder reads of an utterance (model_conf condition), of stages 5 and 6"
        " if one of them is run, else of the trained model",
    )
    return parser


def raising(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser; what it refuses is a SecError, and the process goes on."""

    def error(message: str):
        raise SecError(message)

    def leave(status: int = 0, message: str | None = None):
        raise SecError(message or "holds --help; leave it out")

    parser.error, parser.exit, parser.print_help = error, leave, lambda *args: None
    return parser


def check_formatting(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Stage 2: the options of sec_format_audio."""
    if 2 in stages:
        from espnet2_secap.bin import sec_format_audio

        words = ["--data_dir", "data", "--output_dir", "dump", "--role", "test"]
        for name in ("fs", "audio_format", "min_wav_duration", "max_wav_duration"):
            words += [f"--{name}", getattr(recipe, name)]
        words += ["--missing_text", recipe.missing_text or "empty"]
        with found.of("stage 2: "):
            args = raising(sec_format_audio.get_parser()).parse_args([*words, *recipe.arguments("format_args")])
            from_args(sec_format_audio.FormatOptions, args).check()


def check_features(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Stage 3: the options of sec_extract_feats, its encoder, and whose weights it takes."""
    if 3 not in stages:
        return
    from espnet2_secap.bin import sec_extract_feats
    from espnet2_secap.encoder.descriptors import DescriptorEncoder
    from espnet2_secap.tasks.check_training import MODEL, check_there
    from espnet2_secap.tasks.parts import CHOICES, all_within

    words = ["--sets", "train", "--output", "dump", "--encoder", recipe.encoder, "--dtype", recipe.feats_dtype]
    words += ["--batch_seconds", recipe.batch_seconds]
    if recipe.encoder == "s3prl":
        words += ["--upstream", recipe.upstream, "--layer", recipe.upstream_layer]
        words += ["--upstream_path", recipe.upstream_path] if recipe.upstream_path else []
    encoders = []
    with found.of("stage 3: "):
        args = raising(sec_extract_feats.get_parser()).parse_args([*words, *recipe.arguments("extract_args")])
        encoder, conf = sec_extract_feats.encoder_of(args)
        encoders = all_within("encoder", encoder, conf)
    if encoders:
        with found.of("stage 3: "):
            CHOICES["encoder"].check(encoder, conf)
    for name, conf in encoders:
        with found.of("stage 3: "):
            if name == "s3prl":
                _check_upstream(conf, 1 in stages)
            elif name == "clap" and "path" in conf and (1 not in stages or Path(conf["path"]).is_absolute()):
                check_there("encoder_conf path", conf["path"], MODEL)
            elif issubclass(CHOICES["encoder"].get_class(name), DescriptorEncoder):
                CHOICES["encoder"].get_class(name).load_package()
    used = any(name == "s3prl" or conf.get("path") == recipe.upstream_path for name, conf in encoders)
    if recipe.encoder == "s3prl" and recipe.upstream_path and encoders and not used:
        found.notes.append(f"--upstream_path {recipe.upstream_path}: is not used by --upstream {recipe.upstream}")


def _check_upstream(conf: Mapping, made_by_stage_1: bool) -> None:
    """The layer, name and weights of an upstream of S3PRL."""
    from espnet2_secap.encoder.s3prl import check_layer
    from espnet2_secap.encoder.upstream import hub_folder
    from espnet2_secap.tasks.check_training import MODEL, check_there

    upstream, path = str(conf.get("upstream")), conf.get("path")
    check_layer(conf.get("layer", "last"))
    hub_folder(upstream)
    if upstream.startswith("hf_"):
        if not path:
            raise SecError(f"--upstream {upstream}: needs --upstream_path, a folder or a model hub's name")
        if not made_by_stage_1 or Path(path).is_absolute():
            check_there("--upstream_path", path, MODEL)


def check_decoding(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Stage 7: the options of sec_inference."""
    if 7 not in stages:
        return
    from espnet2_secap.bin import sec_inference
    from espnet2_secap.inference.agreement import read_agreement
    from espnet2_secap.tasks.check_training import TEXT_MODEL, check_there

    if not Path(recipe.inference_config).is_file():
        found.problems.append(f"--inference_config {recipe.inference_config}: no such configuration; check the path")
        return
    words = ["--config", recipe.inference_config, "--data_dir", "d", "--output_dir", "o"]
    words += ["--words", recipe.words or recipe.lang]
    with found.of(f"stage 7, {recipe.inference_config}: "):
        parser = raising(sec_inference.get_parser())
        args = sec_inference.parse([*words, *recipe.arguments("inference_args")], parser)
        options = from_args(sec_inference.SetOptions, args)
        read_agreement(options)
        for name in ("similarity_model", "judge") if options.keep else ():
            if getattr(options, name):
                check_there(name, getattr(options, name), TEXT_MODEL)
        _check_candidates(recipe, stages, options)


def _check_candidates(recipe: Recipe, stages: Sequence[int], options) -> None:
    """The captions and the training utterances that decoding chooses by, as far as they are there by now."""
    file = options.candidates
    if file not in (None, TRAINING) and not Path(file).is_file() and not {1, 2} & set(stages):
        raise SecError(f"candidates: {file}: no such captions file; check the path, or give `{TRAINING}`")
    captions = Path(recipe.dumpdir, "raw", recipe.trained_set, "captions")
    if options.posterior_prior and not recipe.folds and not {1, 2} & set(stages) and captions.is_file():
        count = len(read_kaldi(captions))
        if options.posterior_prior > count:
            raise SecError(
                f"posterior_prior: {options.posterior_prior} of {count} training utterances ({captions}); give at most"
                f" {count}"
            )


def check_scoring(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Stage 8: the options of sec_score and sec_report."""
    if 8 not in stages:
        return
    from espnet2_secap.bin import sec_score
    from espnet2_secap.metric.abs_metric import MetricUnavailable
    from espnet2_secap.metric.java import find_java
    from espnet2_secap.metric.registry import attribute_of, find_metric
    from espnet2_secap.report.goals import ROWS, is_row, read_goals
    from espnet2_secap.report.quoted import quotable

    words = ["--ref", "r", "--hyp", "h", "--output", "o", "--lang", recipe.lang]
    for name in ("segment", "words"):
        words += [f"--{name}", getattr(recipe, name)] if getattr(recipe, name) else []
    with found.of("stage 8: "):
        args = raising(sec_score.get_parser()).parse_args([*words, *recipe.arguments("score_args")])
        names, attributes = sec_score.choices(args)
        for name in names:
            attribute = attribute_of(name)
            if attribute and attribute not in attributes:
                found.notes.append(f"stage 8: {name}: {args.words} has no attribute {attribute!r}, so it will be n/a")
            if name in sec_score.MODELS and not getattr(args, name):
                found.notes.append(f'stage 8: {name} needs a model, --score_args "... --{name} MODEL", or will be n/a')
        try:
            if {"meteor", "spice", "spider"} & set(names) or args.segment == "ptb":
                find_java()
        except MetricUnavailable as err:
            if args.segment == "ptb":
                raise SecError(f"--segment ptb: {err}; install it, or give --segment char_word") from None
            found.notes.append(f"stage 8: METEOR and SPICE: {err}; they will be n/a")
    if recipe.goals:
        with found.of():
            for goal in read_goals(recipe.goals):
                with found.of(f"{recipe.goals}: {goal.system}: {goal.dset}: "):
                    find_metric(goal.metric)
                    if goal.row and not is_row(goal.row) and not Path(recipe.expdir, goal.row).is_dir():
                        raise SecError(f"{goal.metric}: {goal}: there is no row or system {goal.row!r}; {ROWS}")
    if recipe.quote and recipe.quote not in quotable():
        found.problems.append(f"--quote {recipe.quote}: expected {' or '.join(quotable())}")


def check_trainings(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Stages 5 and 6; see tasks/check_training.py."""
    if {5, 6} & set(stages):
        from espnet2_secap.tasks import check_training

        check_training.check_trainings(recipe, stages, found)


CHECKS: tuple[Callable, ...] = (
    check_formatting,
    check_features,
    check_trainings,
    check_texts,
    check_decoding,
    check_scoring,
)


@cli
def main(argv: list[str] | None = None) -> None:
    """Check; print problems and notes."""
    args = get_parser().parse_args(argv)
    recipe = Recipe.of(args.options)
    if args.show:
        stages = chosen_stages(recipe, Findings())
        print(*recipe.condition(trained=not {5, 6} & set(stages)))
        return
    if "torch" not in sys.modules:
        from espnet2_secap.lazy import without_torch

        without_torch()
    if args.again:
        recipe.has_ended(args.again - 1)
        recipe.options["stage"] = str(max(args.again, int(recipe.stage)))
    found = check_recipe(recipe, CHECKS)
    for note in [] if args.again else found.notes:
        print(note if note.startswith("warning: ") else f"note: {note}", file=sys.stderr)
    for problem in found.problems:
        line = "".join(char if char.isprintable() else "?" for char in problem)
        print(f"sec.sh: error: {line}", file=sys.stderr)
    if len(found.problems) > 1:
        none = f"stages {args.again} to {recipe.stop_stage} were not run" if args.again else "no stage was run"
        print(f"sec.sh: {len(found.problems)} problems, listed above; {none}", file=sys.stderr)
    if found.problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
