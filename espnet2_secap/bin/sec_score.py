"""Score a system's captions against human captions."""

import argparse
import shlex
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser
from espnet2_secap.devices import check_device
from espnet2_secap.errors import SecError, cli
from espnet2_secap.metric.abs_metric import ATTRIBUTES, Context, MetricUnavailable
from espnet2_secap.metric.caption_file import clues_of_decoding
from espnet2_secap.metric.faithfulness import KINDS
from espnet2_secap.metric.hallucination import listed
from espnet2_secap.metric.language import language
from espnet2_secap.metric.normalize import FORMS
from espnet2_secap.metric.registry import (
    DEFAULT,
    HALLUCINATION,
    WITH_GROUPS,
    WITH_TRAIN,
    attribute_of,
    column_order,
    find_metric,
)
from espnet2_secap.metric.score import (
    read_pairs,
    read_train,
    read_transcripts,
    read_truth,
    score_metrics,
    write_scores,
)
from espnet2_secap.metric.segment import SEGMENTERS, segmenter
from espnet2_secap.metric.words import NO_WORDS, load_words
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.text.prompts import read_prompts

# The metrics that need a model, and its kind.
MODELS = {
    "sim1": "a BERT whose hidden states are averaged",
    "sim2": "a sentence-transformers model",
    "bertscore": "a BERT; MODEL@LAYER selects a layer",
}
# Options of further metrics.
FURTHER = {
    "sbert": "for sbert_sim and fense: folder or hub name of a sentence-transformers model (FENSE:"
    " paraphrase-TinyBERT-L6-v2)",
    "fluency": "for fer, fense and spider_fl: a checkpoint of FENSE's error detector, such as"
    " echecker_clotho_audiocaps_base.ckpt (FILE@FOLDER names the folder of its BERT), or folder or hub name of a"
    " sequence classifier with a label `error`",
    "clap": "for clap_text and clap_audio: folder or hub name of a CLAP",
    "audio_dir": "for clap_audio: data directory with the wav.scp of the recordings",
    "vad": "for emotion_similarity: JSON file, category -> [valence, arousal, dominance]; the package's if none",
    "judge": "for judge, judge_preference and their agreements: folder or hub name of a causal LM",
    "judge_against": "for judge_preference: captions of another system, of which the first candidates are compared",
    "judge_prompt": "for judge: text file of a prompt with {first} and {second}; the package's for --lang if none",
    "judge_choice_prompt": "for judge_preference: text file of a prompt with {reference}, {first} and {second}",
    "judge_cache": "for judge and judge_preference: file that keeps the answers",
}


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_score."""
    parser = Parser(
        prog="sec_score",
        description="Score captions. If the utterances have several candidates, all first candidates are scored as a "
        "set, then all second ones, and so on; mean and standard deviation are over these sets. Values are in per "
        "cent. A metric that cannot run (METEOR without Java) is null in the output, with the reason; if none can, "
        "that is an error.",
        epilog="Formats of --ref and --hyp, detected from the content: captions of a data directory "
        '(id ["caption", ...]), Kaldi text (id caption), JSON ({id: caption or [captions]}), JSON lines '
        '({"id": ..., "captions": ...}), and the result.txt of released SECap (file:, origin:, result:, ...), which '
        "serves as both: its origins are the references, its results the captions.",
    )
    parser.add_argument("--ref", required=True, help="human captions, one or more per utterance; formats: see below")
    parser.add_argument("--hyp", required=True, help="captions of the system, best first")
    parser.add_argument(
        "--output",
        required=True,
        help="score.json to write; scores.tsv (per utterance) and score_meta.json (how they were made) are written to "
        "the same folder, with hallucination metrics also hallucinations.jsonl (which words, against what)",
    )
    parser.add_argument(
        "--lang",
        default="zh",
        metavar="CODE",
        help="language of the captions, such as zh, en, ja, fr: what --segment, --words and --metrics are where they "
        "are not given (default: zh)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help=f"metrics to compute (default: {' '.join(DEFAULT)}; without METEOR, which is English, and recall where "
        "--lang has none of it, and without groups of emotions that --words has not; with --train_captions also "
        f"{' '.join(WITH_TRAIN)}); <attribute>_recall, <attribute>_hallucination, "
        "<attribute>_hallucination_factuality, <attribute>_coverage, <attribute>_accuracy (unweighted, of "
        "the first category named) and <attribute>_wa (weighted) for any attribute of the words file; "
        f"{', '.join(HALLUCINATION)} (factuality also computes coverage), hallucination_faithfulness_<kind> "
        f"({', '.join(KINDS)}); spice, spider "
        "(these take minutes and need `make -C tools spice`); sim1, sim2, bertscore, fer, sbert_sim, fense, spider_fl, "
        "clap_text, clap_audio, judge, judge_agreement, judge_preference, judge_preference_agreement, "
        "emotion_similarity, distinct_1, distinct_2, different_captions, vocabulary, vocabulary_references",
    )
    parser.add_argument(
        "--segment",
        choices=SEGMENTERS,
        help="tokens of the n-gram metrics: char: every character, as in SECap's published scores (default for zh and "
        "ja); char_word: CJK characters one by one, other scripts by word (default for other languages); word: "
        "separated by white space; jieba: Chinese words; ptb: English as in the coco tools, needs Java (default for "
        "en)",
    )
    parser.add_argument(
        "--normalize",
        choices=FORMS,
        default="nfc",
        help="Unicode form of references and captions before they are scored: nfc: é as one or as two code points is "
        "the same (default); nfkc: also full-width and half-width letters, digits and punctuation (，and ,); none: as "
        "they stand",
    )
    parser.add_argument(
        "--words",
        help="words that name an emotion, a speech rate, ...: zh, en, ja, a JSON file in that format, or none "
        "(default: those of --lang)",
    )
    parser.add_argument(
        "--truth_dir",
        help="data directory with utt2emo, utt2rate, ...: the true labels of the audio. Attributes without such a file "
        "use the categories that the references name",
    )
    parser.add_argument(
        "--train_captions",
        metavar="FILE",
        help="captions of the training set, in any of these formats: for cider_unseen (CIDEr of the utterances none of "
        "whose references occurs more than once in FILE) and copies (share of captions that equal one in FILE); in "
        "cross-validation the folder of the folds, folds/10: those of the fold that tests the utterance",
    )
    parser.add_argument(
        "--text_file",
        metavar="FILE",
        help="for hallucination_faithfulness: the spoken words, id and transcription (Kaldi's text; default: text in "
        "--truth_dir, if there is one)",
    )
    parser.add_argument(
        "--prompts",
        metavar="FILE_OR_CODE",
        help="for hallucination_faithfulness: the instructions to the language model that wrote the captions: a text "
        "file, one per line, or zh, en or ja (default: those of --lang)",
    )
    parser.add_argument(
        "--hallucination_attributes",
        nargs="+",
        metavar="NAME",
        default=list(ATTRIBUTES),
        help="attributes of the words file that the hallucination metrics, coverage and wrong_share are about; those "
        f"that it has not are left out (default: {' '.join(ATTRIBUTES)})",
    )
    parser.add_argument(
        "--zero_shot",
        metavar="DIR",
        help="the set is of another corpus than the training set, and this is its data directory: only recorded, for"
        " the report's table of such sets",
    )
    for name, what in MODELS.items():
        parser.add_argument(f"--{name}", metavar="MODEL", help=f"for the metric {name}: folder or hub name of {what}")
    for name, what in FURTHER.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), help=what)
    parser.add_argument("--device", default="cpu", help="where these models run: cpu, cuda or cuda:N (default: cpu)")
    return parser


def choices(args: argparse.Namespace) -> tuple[list[str], dict]:
    """The metrics and the words; what --lang decides is filled in.

    Raises:
        SecError: an unknown language or metric, or a words file that cannot be read.
    """
    chosen = language(args.lang)
    args.segment = args.segment or chosen.segment
    args.words = args.words or chosen.words
    known = None
    if args.metrics is None:
        known = load_words(args.words)
        args.metrics = chosen.metrics(recall=args.words != NO_WORDS) + (WITH_TRAIN if args.train_captions else [])
        args.metrics = [name for name in args.metrics if name not in WITH_GROUPS or attribute_of(name) in known]
    names = column_order(args.metrics)
    for name in names:
        find_metric(name)
    if any(name.endswith("hallucination_factuality") for name in names):
        names = column_order([*names, "coverage"])  # a caption that says less errs less
    return names, load_words(args.words) if known is None else known


def _about_hallucination(names: list[str]) -> list[str]:
    """The metrics that a context with attributes, transcriptions and instructions is made for."""
    return [name for name in names if "hallucination_f" in name or name in HALLUCINATION]


def hallucination_inputs(args: argparse.Namespace, names: list[str]) -> dict:
    """What hallucination_faithfulness needs of the context; nothing is read where it is not computed.

    Raises:
        SecError: the transcriptions or the instructions cannot be read.
    """
    if not _about_hallucination(names):
        return {}
    return {
        "attributes": tuple(args.hallucination_attributes),
        "transcripts": read_transcripts(args.text_file, args.truth_dir),
        "instructions": read_prompts(args.prompts or language(args.lang).prompts),
    }


@cli
def main(argv: list[str] | None = None) -> None:
    """Score, write the files, print one line per metric."""
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    names, words = choices(args)
    pairs = read_pairs(args.ref, args.hyp, args.normalize)
    train = read_train(args.train_captions, args.normalize) if args.train_captions else None
    truth, about_truth = read_truth(args.truth_dir, words, pairs.references) if args.truth_dir else ({}, {})
    notes = [pairs.note] if pairs.note else []
    notes += [note for name, note in about_truth.items() if any(one.startswith(f"{name}_") for one in names)]
    for note in notes:
        print(f"sec_score: warning: {args.hyp}: {note}", file=sys.stderr)
    if Path(args.output).is_dir():
        raise SecError(f"{args.output}: is a folder; give a file, such as {args.output}/score.json")
    check_device(args.device)
    models = {name: getattr(args, name) for name in (*MODELS, *FURTHER) if getattr(args, name)}
    if args.judge:
        models["judge_lang"] = args.lang
    try:
        segment = segmenter(args.segment, pairs.texts())
    except MetricUnavailable as err:
        raise SecError(f"--segment {args.segment}: {err}; choose another segmentation") from None
    context = Context(
        segment, words, truth, models, device=args.device, train=train, **hallucination_inputs(args, names)
    )
    results, tables = score_metrics(pairs, names, context)
    for note in dict.fromkeys(context.notes):
        print(f"sec_score: warning: {args.hyp}: {note}", file=sys.stderr)
        notes.append(note)
    if not tables:
        reasons = dict.fromkeys(str(results[name]["reason"]) for name in names)
        raise SecError(f"{args.hyp}: none of {', '.join(names)} could be computed: {'; '.join(reasons)}")
    made_from = {"ref": args.ref, "hyp": args.hyp}
    made_from |= {"train_captions": args.train_captions} if args.train_captions else {}
    meta = {
        "command": shlex.join(["sec_score", *argv]),
        "lang": args.lang,
        "segment": args.segment,
        "normalize": args.normalize,
        "words": args.words,
        "models": models,
        "device": args.device,
        "truth": {name: "label" if name in truth else "references" for name in words},
        "truth_dir": args.truth_dir or "",
        **({"text_file": args.text_file} if args.text_file else {}),
        **({"hallucination_attributes": args.hallucination_attributes} if _about_hallucination(names) else {}),
        **({"prompts": args.prompts} if args.prompts else {}),
        **made_from,
        "made_from": {name: file_digest(path) for name, path in made_from.items() if not Path(path).is_dir()},
        "utterances": len(pairs.references),
        "candidates": len(pairs.candidates),
        "note": "; ".join(notes),
        **({"clues": clues} if (clues := clues_of_decoding(args.hyp)) else {}),
        **({"zero_shot": args.zero_shot} if args.zero_shot else {}),
    }
    found = listed(context, pairs.references, pairs.candidates) if _about_hallucination(names) else None
    write_scores(args.output, results, tables, pairs, meta, found)
    size = f"{len(pairs.references)} utterances, {len(pairs.candidates)} candidates each"
    form = {"nfc": "", "nfkc": ", captions in NFKC", "none": ", captions as they stand"}[args.normalize]
    print(f"{args.output}: {size}, per cent, segmentation {args.segment}{form}")
    for name in names:
        result = results[name]
        value = f"n/a: {result.get('reason')}" if result["mean"] is None else f"{result['mean']:.2f}"
        print(f"  {name:16} {value}" + (f" ±{result['std']:.2f}" if result.get("n", 1) > 1 else ""))


if __name__ == "__main__":
    main()
