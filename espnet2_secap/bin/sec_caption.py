"""Caption recordings with a trained model: files of any format, folders of files, or a Kaldi wav.scp."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated

from espnet2_secap.cli_types import Parser, add_dataclass_arguments, checked_defaults, from_args, of
from espnet2_secap.data.conf import read_extended
from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.sources import Recording, find_recordings
from espnet2_secap.decoder.options import Candidates, ClueOptions, DecodingOptions, SetOptions
from espnet2_secap.errors import SecError, cli, shorten
from espnet2_secap.inference.caption_output import Captioned, Journal, fingerprint, kind_of, printable, write_output
from espnet2_secap.progress import progress
from espnet2_secap.tasks.experiment import find_model, read_config
from espnet2_secap.text.roles import condition_of, reads_text
from espnet2_secap.values import Place, Range, Seed

# Of sec_inference's options: those of one search, but for the number of candidates, and these. --config takes them all.
CLUES = tuple(field.name for field in fields(ClueOptions))
ALSO_HERE = ("batch_size", "dtype", "prompt", "device", *CLUES)
HERE = {*(field.name for field in fields(DecodingOptions)), *ALSO_HERE} - {"num_candidates"}
NOT_HERE = tuple(field.name for field in fields(SetOptions) if field.name not in HERE)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(
        description=__doc__,
        epilog="Prints `id caption`, one line per candidate, in the order of the input. Recordings of more than"
        " --max_seconds are cut at silence; their pieces have ids with start and end in hundredths of a second"
        " (id-0001230-0004560). A recording that cannot be read is named on stderr with the reason; the others are"
        " captioned, and the exit status is 1. Formats that libsndfile cannot read (m4a, wma, amr, video) need ffmpeg."
        " With --output, repeat the command to resume an interrupted run or to caption recordings that were added:"
        " only what is missing is captioned. For this OUTPUT.journal is kept; remove both to begin anew.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("recordings", nargs="+", metavar="FILE_OR_FOLDER_OR_SCP", help="What to caption")
    parser.add_argument("--model", required=True, help="Folder of a trained model (exp/sec_caption_*), or a model file")
    parser.add_argument("--output", help="File to write: .jsonl, .csv, .tsv, or no ending for Kaldi's `captions`")
    parser.add_argument(
        "--candidates",
        type=of(Candidates),
        help="Captions per recording, best first; 1, or as --config has it, if none",
    )
    parser.add_argument(
        "--config",
        help="YAML file of decoding options, any that sec_inference takes (conf/decode.yaml); those given here go"
        " first. With `candidates: training` run this in the recipe's folder, where the training set is",
    )
    parser.add_argument(
        "--max_seconds",
        type=of(Annotated[float, Range(above=0.5)]),
        help="Longest piece; that of the longest training utterance if none",
    )
    parser.add_argument(
        "--text_file",
        type=of(Place | None),
        help="Transcriptions, for a model that reads them (model_conf condition): lines `id text`, for each recording,"
        " or for each piece of a long one; an id alone where nothing is said",
    )
    parser.add_argument(
        "--clues",
        type=of(Place | None),
        help="For a model that reads clues: predicted (by its head), retrieved (of the nearest training utterances; run"
        " this in the recipe's folder), or the words for all recordings, such as 'sad, slow'; none if none",
    )
    parser.add_argument("--seed", type=of(Seed), default=0, help="Of sampling")
    add_dataclass_arguments(parser.add_argument_group("decoding"), SetOptions, skip=(*NOT_HERE, "clues"))
    return parser


def parse(argv=None) -> tuple[argparse.Namespace, dict]:
    """The command line over --config over defaults, and what only --config can say.

    Raises:
        SecError: the file cannot be read, or has an unknown key or a wrong value.
    """
    parser = get_parser()
    args = parser.parse_args(argv)
    if not args.config:
        return args, {}
    every = Parser()
    add_dataclass_arguments(every, SetOptions)
    conf = checked_defaults(every, read_extended(args.config), args.config)
    here = HERE | {"seed"}
    parser.set_defaults(**{name: value for name, value in conf.items() if name in here})
    return parser.parse_args(argv), {name: value for name, value in conf.items() if name not in here}


def decoding_options(args: argparse.Namespace, further: dict) -> SetOptions:
    """The decoding options, with a beam that is wide enough for the candidates.

    Args:
        args: parsed arguments.
        further: options that only --config can give. Where candidates are chosen among (keep), --candidates is the
            number that is chosen; else it is the number that is searched for.

    Raises:
        SecError: a value out of range.
    """
    number, keep = args.candidates, further.get("keep", 0)
    searched = further.get("num_candidates", 1) if keep else number or further.get("num_candidates", 1)
    if searched > 1 and not args.sampling:
        args.beam_size = max(args.beam_size, searched)
    options = from_args(SetOptions, args, skip=NOT_HERE)
    given = further | {"num_candidates": searched, "keep": number or keep if keep else 0}
    return dataclasses.replace(options, **given, seed=args.seed)


@cli
def main(argv=None) -> None:
    """Caption; what is wrong with the command, its inputs or its output is said before the model is loaded."""
    args, further = parse(argv)
    try:
        _main(args, further)
    except KeyboardInterrupt:
        again = "; repeat the same command to resume" if args.output else ""
        print(f"\nsec_caption: interrupted{again}", file=sys.stderr)
        sys.exit(130)


def _main(args: argparse.Namespace, further: dict) -> None:
    from espnet2_secap.inference.caption_files import FileCaptioner, readable
    from espnet2_secap.inference.clues import CluePlan

    options = decoding_options(args, further)
    if args.max_seconds is not None and not args.max_seconds > 0.5:
        raise SecError(f"--max_seconds {args.max_seconds:g}: must be above 0.5")
    if args.output:
        kind_of(args.output)
    recordings, notes = find_recordings(args.recordings)
    for note in notes:
        _tell(f"note: {note}")
    texts, sources = _texts(args), _sources(args.model, options)
    clues = CluePlan(options, find_model(args.model)[0])
    named = [*(sources.made_from() if sources else ()), *([] if texts is None else [texts]), *clues.made_from()]
    journal = Journal(args.output, fingerprint(args.model, options, args.max_seconds, named))
    if journal.replaced:
        _tell(f"note: {args.output}: was made with another model or other options; captioning all recordings again")
    failures: list[Recording] = []

    def failed(recording: Recording, why: str) -> None:
        failures.append(recording)
        _tell(f"warning: {shorten(recording.path, 500)}: {why}")

    def noted(recording: Recording, note: str) -> None:
        _tell(f"note: {shorten(recording.path, 500)}: {note}")

    try:
        good = readable(recordings, failed)
        captioner = FileCaptioner(
            _loader(args, options, sources), journal, options.batch_size, args.max_seconds, args.seed, noted, texts
        )
        results = progress(captioner.run(good, failed), total=len(good), desc="captioning recordings")
        rows = _print_in_order(results, args.output) if good else []
        if args.output and rows:
            write_output(args.output, rows)
            _tell(f"{len(rows)} captioned: {args.output}")
    finally:
        journal.close()
    if failures:
        raise SecError(
            f"{len(failures)} of {len(recordings)} recordings could not be captioned; see the warnings above"
        )


def _print_in_order(results, output: str | None) -> list[Captioned]:
    """Print captions in the order of the input as soon as all before them are there; return them in this order."""
    rows, waiting = [], {}
    printed = 0
    for place, captioned in results:
        waiting[place] = captioned
        while printed in waiting:
            for row in waiting.pop(printed):
                rows.append(row)
                for one in row.candidates:
                    _print(f"{row.id} {printable(one['text'])}", output)
            printed += 1
    return rows


def _print(line: str, output: str | None) -> None:
    try:
        if sys.stdout.isatty() and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.write(line)  # above the progress bar
        else:
            print(line, flush=True)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if output is None:
            sys.exit(0)


def _tell(message: str) -> None:
    print(f"sec_caption: {message}", file=sys.stderr, flush=True)


def _texts(args: argparse.Namespace) -> dict[str, str] | None:
    """The transcriptions of a model that reads them, told before it is loaded; None of one that reads none."""
    condition = condition_of(vars(read_config(find_model(args.model)[0], {})).get("model_conf"))
    if not reads_text(condition):
        if args.text_file:
            raise SecError(
                f"--text_file {args.text_file}: the model reads no transcription (condition {', '.join(condition)});"
                " leave it out"
            )
        return None
    if not args.text_file:
        raise SecError(
            f"{args.model}: the model reads the transcription (condition {', '.join(condition)}); give --text_file"
            " FILE, lines `id text`"
        )
    return read_kaldi(args.text_file, may_be_empty=True)


def _sources(model: str, options: SetOptions):
    """What the options name beside the model, checked before it is loaded; None for those of one search."""
    if not options.keep:
        return None
    from espnet2_secap.inference.search import Sources

    return Sources(options, find_model(model)[0])


def _loader(args: argparse.Namespace, options: SetOptions, sources) -> Callable:
    def load():
        from espnet2_secap.inference.speech2caption import Speech2Caption

        given = {"device": options.device, "dtype": options.dtype, "prompt": options.prompt}
        model = Speech2Caption.from_pretrained(args.model, **given, options=options, clues=options)
        if sources is None:
            return model
        from espnet2_secap.inference.search import Search, SearchCaptioner

        return SearchCaptioner(Search(model, options, sources))

    return load


if __name__ == "__main__":
    main()
