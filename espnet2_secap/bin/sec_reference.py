"""Reference log-probabilities of preference pairs, by the model that preference optimisation starts from."""

import argparse
from typing import Annotated

from espnet2_secap.cli_types import Parser, of, str2bool
from espnet2_secap.data.transcripts import MISSING_TEXT
from espnet2_secap.errors import cli
from espnet2_secap.values import Count, Place, Range, Seed


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_reference."""
    parser = Parser(
        prog="sec_reference",
        description=__doc__,
        epilog="Writes OUTPUT_DIR/pairs.train with shape.train, for sec_train --model prefer as data name pairs and as"
        " shape file, with --held_out also pairs.valid and shape.valid, and reference.json: what they were made from."
        " With --nj N, run jobs 1..N with --job and then once with --combine true. Repeat the command to resume an"
        " interrupted job.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--pairs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="Preference pairs, JSON lines as sec_pairs writes them",
    )
    add("--data_dir", required=True, help="Folder of their utterances with feats.scp, or wav.scp of a model of audio")
    add(
        "--sec_model_file",
        type=of(Place),
        required=True,
        help="The reference: a trained captioning model, or its folder; training starts from it by --init_model",
    )
    add("--output_dir", required=True, help="Where to write; the references of another model need another folder")
    add(
        "--held_out",
        type=of(Annotated[float, Range(least=0, below=1)]),
        default=0.0,
        help="Share of the utterances with pairs that is drawn for validation (pairs.valid)",
    )
    add("--seed", type=of(Seed), default=0, help="Of this draw")
    add(
        "--text_file",
        type=of(Place | None),
        help="For a model that reads the transcription: lines `id text`; DATA_DIR/text if none",
    )
    add("--missing_text", choices=MISSING_TEXT, default="error", help="Utterances without one: see sec_inference")
    add(
        "--clues_file",
        type=of(Place | None),
        help="For a model that reads clues: lines `id [clue, ...]` of sec_clues; the training reads the same file",
    )
    add("--batch_size", type=of(Count), default=16, help="Utterances, and pairs, that are computed together")
    add("--device", default="cpu", help="cpu, cuda or cuda:N")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="Of the decoder, instead of its configuration's")
    add("--nj", type=of(Count), default=1, help="Number of jobs that share the pairs")
    add("--job", type=of(Count | None), help="Which of them this is, from 1; none: all of it, combined")
    add("--combine", type=str2bool, default=False, metavar="true|false", help="Join what the jobs have made")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Compute, or combine."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.inference.reference import Job, combine, run_job

    alone = args.job is None and not args.combine
    job = Job(
        pairs=tuple(args.pairs),
        data_dir=args.data_dir,
        model_file=args.sec_model_file,
        output_dir=args.output_dir,
        text_file=args.text_file,
        missing_text=args.missing_text,
        clues_file=args.clues_file,
        held_out=args.held_out,
        seed=args.seed,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        job=1 if alone else args.job or 1,
        nj=1 if alone else args.nj,
    )
    if not args.combine:
        run_job(job)
    if args.combine or alone:
        found = ", ".join(f"{count} {name}" for name, count in combine(job).items())
        print(f"{args.output_dir}: reference log-probabilities of {found}")


if __name__ == "__main__":
    main()
