"""Preference pairs: make them, read and write other tools' layouts, check them, say what they are made of."""

import argparse
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser, add_dataclass_arguments, checked_defaults, from_args, of, str2bool
from espnet2_secap.data.candidates import forbidden_ids, ids_of
from espnet2_secap.data.conf import read_extended
from espnet2_secap.data.io import atomic_write, read_kaldi
from espnet2_secap.data.preference_formats import FORMATS, LAYOUTS, export_pairs, import_pairs
from espnet2_secap.data.preferences import TYPES, Expected, Pair, read_pairs, scan_pairs, write_pairs
from espnet2_secap.errors import SecError, cli
from espnet2_secap.inference.pairs import (
    BEST,
    PAIRS,
    PairFiles,
    PairMaker,
    PairOptions,
    combine_pairs,
    make_pairs,
    told,
)
from espnet2_secap.metric.language import language
from espnet2_secap.metric.words import load_words
from espnet2_secap.report.pairs import pairs_report
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.values import Count, Place


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_pairs."""
    parser = Parser(
        prog="sec_pairs",
        description=__doc__,
        epilog='A pair is a line {"id", "prompt", "chosen", "rejected", "type", "source", "margin"}; type: factuality,'
        " faithfulness or quality; source: sampled, rule or file. See docs/aligncap.md.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _make_options(_verb(verbs, "make", "rank candidates of the training set, and make pairs of them and by rule"))
    _import_options(_verb(verbs, "import", "read pairs in the layout of trl, LLaMA-Factory, ms-swift or EmoPrefer"))
    _export_options(_verb(verbs, "export", "write pairs in such a layout"))
    _check_options(_verb(verbs, "check", "list every line that is no good pair of the training set"))
    _report_options(_verb(verbs, "report", "counts, lengths, margins, attributes"))
    return parser


def _verb(verbs, name: str, what: str) -> argparse.ArgumentParser:
    form = argparse.ArgumentDefaultsHelpFormatter
    return verbs.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".", formatter_class=form)


def _expected_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data_dir", type=of(Place | None), help="training set: ids that it lacks are refused")
    verb.add_argument(
        "--not_in", nargs="+", default=[], metavar="DIR", help="validation and test sets: their ids are refused"
    )


def _make_options(verb: argparse.ArgumentParser) -> None:
    verb.epilog = (
        "Writes OUTPUT_DIR/pairs.jsonl, captions (the best candidate of each utterance, for training on the best of n),"
        " and pairs_meta.json. With --nj N, run jobs 1..N with --job and then once with --combine true. Repeat the"
        " command to resume an interrupted job; the pairs are the same for any N."
    )
    verb.add_argument(
        "--candidates",
        type=of(Place | None),
        help="candidates.jsonl of a decoding of the training set, or its folder; none: pairs by --rules only",
    )
    verb.add_argument("--data_dir", required=True, help="training set: ids, labels (utt2emo, ...), text")
    verb.add_argument(
        "--captions",
        type=of(Place | None),
        help="its captions, or those of a part of it; those of DATA_DIR if none. Utterances without captions are ranked"
        " by labels and by the similarity of their candidates",
    )
    verb.add_argument(
        "--not_in", nargs="+", default=[], metavar="DIR", help="validation and test sets: their ids are refused"
    )
    verb.add_argument("--output_dir", required=True, help="where to write")
    verb.add_argument("--config", type=of(Place | None), help="YAML file of the options below, such as conf/pairs.yaml")
    add_dataclass_arguments(verb.add_argument_group("ranking and pairs (also in --config)"), PairOptions)
    verb.add_argument("--nj", type=of(Count), default=1, help="number of jobs that share the set")
    verb.add_argument("--job", type=of(Count | None), help="which of them this is, from 1; none: all of it, combined")
    verb.add_argument("--combine", type=str2bool, default=False, help="join the jobs' outputs instead of ranking")


def _import_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--input", required=True, help="the file: JSON, JSON lines or CSV")
    verb.add_argument("--output", required=True, help="JSON lines to write")
    verb.add_argument("--format", choices=FORMATS, help="its layout; told by the content if none")
    verb.add_argument("--lang", default="zh", help="language of the captions")
    verb.add_argument("--prompt", help="instruction of rows that have none; the first one of --lang if none")
    verb.add_argument("--type", choices=TYPES, default="quality", help="of pairs that do not say it")
    verb.add_argument("--id_field", help="field with the id; id, utt_id, name, ... or the audio file's name if none")
    _expected_options(verb)


def _export_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--pairs", required=True, nargs="+", metavar="FILE", help="pairs, JSON lines")
    verb.add_argument("--output", required=True, help="file to write")
    verb.add_argument("--format", choices=LAYOUTS, default="trl", help="the layout")
    verb.add_argument(
        "--audio_dir", help="data directory with wav.scp: the recordings are named in `audios`, for multimodal models"
    )


def _check_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--pairs", required=True, nargs="+", metavar="FILE", help="pairs, JSON lines")
    verb.add_argument("--lang", help="language of the captions; any if none")
    _expected_options(verb)


def _report_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--pairs", required=True, nargs="+", metavar="FILE", help="pairs, JSON lines")
    verb.add_argument("--lang", default="zh", help="language of the captions: whose words --words is by default")
    verb.add_argument("--words", type=of(Place | None), help="zh, en, ja or a JSON file; those of --lang if none")
    verb.add_argument("--output", type=of(Place | None), help="Markdown file to write besides")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line over --config over defaults; an unknown key of the file is an error."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if getattr(args, "config", None):
        verb = next(one for one in parser._actions if one.dest == "verb").choices[args.verb]
        verb.set_defaults(**checked_defaults(verb, read_extended(args.config), args.config))
        args = parser.parse_args(argv)
    return args


def expected_of(args: argparse.Namespace, lang: str | None) -> Expected:
    """What pairs must fit by --data_dir, --not_in and --lang."""
    if lang:
        language(lang)
    ids = dict.fromkeys(ids_of(args.data_dir)) if args.data_dir else None
    return Expected(ids, args.data_dir or "", forbidden_ids(args.not_in), lang)


def read_all(files: list[str]) -> list[Pair]:
    """The pairs of several files."""
    return [pair for file in files for pair in read_pairs(file)]


def make(args: argparse.Namespace) -> None:
    """Rank, or combine."""
    alone = args.job is None and not args.combine
    if alone:
        args.job = args.nj = 1
    if not args.combine:
        options = from_args(PairOptions, args)
        if args.candidates is None and not options.rules:
            raise SecError("--candidates: is missing; give candidates.jsonl of the training set, or --rules")
        files = PairFiles(args.candidates, args.data_dir, args.captions, args.not_in)
        maker = PairMaker(files, options)
        for note in maker.notes.values():
            print(f"sec_pairs: warning: {note}", file=sys.stderr)
        make_pairs(maker, args.output_dir, args.job, args.nj)
    if args.combine or alone:
        count, counts = combine_pairs(args.output_dir, args.nj)
        print(f"{args.output_dir}/{PAIRS}: {count} pairs" + (f"; {told(counts)}" if counts else ""))
        if (Path(args.output_dir) / BEST).is_file():
            print(f"{args.output_dir}/{BEST}: the best candidates")


def import_(args: argparse.Namespace) -> None:
    """Read another tool's layout; nothing is written where a row is wrong."""
    prompt = args.prompt or read_prompts(language(args.lang).prompts)[0]
    expected = expected_of(args, args.lang)
    found = import_pairs(args.input, args.format, prompt, args.type, args.id_field, expected)
    _refuse(found.problems, "correct or remove these rows, then import again")
    write_pairs(args.output, found.pairs)
    ties = f"; {found.ties} ties were left out" if found.ties else ""
    print(f"{args.output}: {len(found.pairs)} pairs from {found.format}{ties}")


def export(args: argparse.Namespace) -> None:
    """Write another tool's layout."""
    audio = read_kaldi(Path(args.audio_dir) / "wav.scp") if args.audio_dir else None
    count = export_pairs(args.output, read_all(args.pairs), args.format, audio)
    print(f"{args.output}: {count} pairs as {args.format}")


def check(args: argparse.Namespace) -> None:
    """List what is wrong."""
    expected, problems, count = expected_of(args, args.lang), [], 0
    for file in args.pairs:
        pairs, found = scan_pairs(file, expected)
        problems += found
        count += len(pairs)
    _refuse(problems, f"{count} pairs are good")
    print(f"{count} pairs are good")


def _refuse(problems: list[str], last: str) -> None:
    """Print all problems and end with an error, if there are any."""
    for line in problems:
        print(f"sec_pairs: {line}", file=sys.stderr)
    if problems:
        raise SecError(f"{len(problems)} problem(s), listed above; {last}")


def report(args: argparse.Namespace) -> None:
    """Print, and write, what the pairs are made of."""
    words = load_words(args.words or language(args.lang).words)
    lines = pairs_report(read_all(args.pairs), words)
    if args.output:
        with atomic_write(args.output) as stream:
            stream.writelines(f"{line}\n" for line in lines)
    print("\n".join(lines))


@cli
def main(argv: list[str] | None = None) -> None:
    """Do what the verb says."""
    args = parse(argv)
    {"make": make, "import": import_, "export": export, "check": check, "report": report}[args.verb](args)


if __name__ == "__main__":
    main()
