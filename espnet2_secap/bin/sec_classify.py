"""Speech emotion recognition: categories by a pretrained model, or by captions, and how well they are recognised."""

import argparse
from pathlib import Path
from typing import Annotated

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import atomic_write, make_dir, read_kaldi, write_json, write_kaldi
from espnet2_secap.data.labels import read_emotion_map
from espnet2_secap.errors import SecError, cli, few, listed
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.words import load_words, named
from espnet2_secap.values import Range


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_classify."""
    parser = Parser(
        prog="sec_classify",
        description="Classify the recordings of a data directory by a model of speech emotion recognition (--model), or"
        " captions by the first emotion that they name (--captions), and compare the categories with utt2emo.",
        epilog="Writes OUTPUT/utt2emo (categories), with --model OUTPUT/probabilities.tsv, and, where the data"
        " directory has utt2emo, OUTPUT/classes.json and OUTPUT/RESULTS.md: unweighted accuracy (UA), weighted accuracy"
        " (WA), macro F1, their 95%% intervals, and the confusion matrix, beside those of other runs (--beside)."
        " `sec_baseline --kind label` makes captions of utt2emo.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model",
        help="folder or hub name of an audio classification model of transformers, or of one with the head of"
        " xmj2002/hubert-base-ch-speech-emotion-recognition",
    )
    what.add_argument("--captions", help="captions of a system, the first of each utterance counts")
    parser.add_argument("--data_dir", required=True, help="data directory: wav.scp, and utt2emo where it is known")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--label_map", help="lines `label category`: the model's labels in the words of the corpus")
    parser.add_argument(
        "--labels", nargs="+", default=[], help="names of the model's classes, where config.json has none"
    )
    parser.add_argument(
        "--seconds",
        type=of(Annotated[float, Range(above=0)]),
        help="cut or pad recordings to this length; 6 for the model above, as its released code does",
    )
    parser.add_argument(
        "--words", default="zh", help="words that name emotions: zh, en, ja or a JSON file (default: zh)"
    )
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="FILE", help="classes.json of other runs: rows of the same table"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Classify, compare, write."""
    args = get_parser().parse_args(argv)
    categories = load_words(args.words).get("emotion")
    if categories is None:
        raise SecError(f"--words {args.words}: has no attribute emotion; give another words file")
    names = read_emotion_map(args.label_map) if args.label_map else {}
    others = _others(args.beside)
    truth_file = Path(args.data_dir) / "utt2emo"
    truth = read_kaldi(truth_file) if truth_file.is_file() else {}
    truth = {utt: _category(label, names, categories) for utt, label in truth.items()}
    if others and not truth:
        raise SecError(f"--beside: {truth_file}: no such file, so there is nothing to compare; add it or omit --beside")
    output = Path(args.output)
    if args.captions:
        captions = read_caption_file(args.captions, system=True)
        found = {utt: next(iter(named(texts[0], categories)), None) for utt, texts in captions.items()}
        system = "/".join(Path(args.captions).parts[-3:])
        if foreign := sorted(set(truth.values()) - categories.keys()):
            print(
                f"note: {truth_file}: {listed(foreign)}: no emotion of --words {args.words}, so no caption can name it;"
                " give --label_map with lines `label category`"
            )
    else:
        known = {*categories, *truth.values()}
        found, system = _by_model(args, names, categories, known, output), f"{args.model}"
    make_dir(output)
    write_kaldi(output / "utt2emo", {utt: category for utt, category in found.items() if category is not None})
    unnamed = sum(category is None for category in found.values())
    print(f"{output}/utt2emo: {len(found)} utterances" + (f", {unnamed} of them without an emotion" if unnamed else ""))
    if truth:
        _compare(system, found, truth, others, args.data_dir, output)


def _others(paths: list[str]) -> list:
    from espnet2_secap.report.classification import read_classes_json

    return [read_classes_json(path) for path in paths]


def _by_model(args: argparse.Namespace, names: dict[str, str], categories, known: set[str], output: Path):
    """Utterance -> category."""
    from espnet2_secap.devices import check_device
    from espnet2_secap.inference.classify import SpeechClassifier, mapped

    check_device(args.device)
    paths = read_kaldi(Path(args.data_dir) / "wav.scp")
    model = SpeechClassifier(args.model, args.labels, args.seconds, args.device)
    names = mapped(model.labels, names, args.label_map) if names else {label: label for label in model.labels}
    names = {label: _category(category, {}, categories) for label, category in names.items()}
    if foreign := sorted(set(names.values()) - known):
        where = f"--label_map {args.label_map}" if args.label_map else f"--model {args.model}: labels"
        raise SecError(
            f"{where}: {listed(foreign, most=50)}: no emotion of --words {args.words} or of utt2emo; give --label_map"
            f" with lines `label category` (categories: {few(list(categories), most=30)})"
        )
    found = dict(model.classify(paths))
    make_dir(output)
    with atomic_write(output / "probabilities.tsv") as file:
        print("id", *model.labels, sep="\t", file=file)
        for utt, values in found.items():
            print(utt, *(f"{value:.6f}" for value in values), sep="\t", file=file)
    return {utt: names[model.labels[int(values.argmax())]] for utt, values in found.items()}


def _category(label: str, names: dict[str, str], categories) -> str:
    """A label of utt2emo in the same words as the predictions."""
    if label in categories:
        return label
    return names.get(label) or next(iter(named(label, categories)), label)


def _compare(system: str, found: dict, truth: dict, others: list, data_dir: str, output: Path) -> None:
    from espnet2_secap.report.classification import MEASURES, classified, markdown

    both = sorted(found.keys() & truth)
    if not both:
        raise SecError(f"{data_dir}/utt2emo: has none of the utterances ({few(sorted(found))}); give their labels")
    if left := sorted(found.keys() - truth):
        print(f"note: {len(left)} utterances have no label in {data_dir}/utt2emo ({few(left)}): they are left out")
    result = classified([truth[utt] for utt in both], [found[utt] for utt in both])
    write_json(output / "classes.json", {"system": system, **result.as_json()})
    with atomic_write(output / "RESULTS.md") as file:
        file.write(markdown([(system, result), *others]))
    for name in MEASURES:
        low, high = result.intervals[name]
        print(f"  {name:9} {result.values[name]:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
