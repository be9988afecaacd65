"""Caption a set of utterances with a trained model."""

import argparse
from pathlib import Path

from espnet2_secap.cli_types import Parser, add_dataclass_arguments, checked_defaults, from_args, of, str2bool
from espnet2_secap.data.conf import read_extended
from espnet2_secap.data.transcripts import MISSING_TEXT
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.errors import SecError, cli
from espnet2_secap.values import Count, Place


def get_parser() -> argparse.ArgumentParser:
    """Options; `--config FILE` reads decoding options from YAML."""
    parser = Parser(
        description=__doc__,
        epilog="Writes OUTPUT_DIR/captions (the kept candidates per utterance, best first) and candidates.jsonl (with"
        " scores; its first line has all options as its header). With --nj N, run jobs 1..N with --job and then once"
        " with --combine true. Repeat the command to resume an interrupted job; the captions are the same for any N.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--sec_model_file", type=of(Place), help="Model file of the second stage, such as exp/.../valid.loss.best.pth"
    )
    parser.add_argument(
        "--sec_train_config", type=of(Place), help="Its config.yaml; that beside the model file if none"
    )
    parser.add_argument("--data_dir", required=True, help="Folder with feats.scp (or wav.scp for --encoder s3prl)")
    parser.add_argument("--output_dir", required=True, help="Where to write")
    parser.add_argument(
        "--shuffled_audio_dir",
        help="Also give each utterance the captions of another utterance's audio and write them there: what a model"
        " scores that does not listen. A model that reads the transcription too reads the utterance's own, and each"
        " utterance is decoded twice; one that reads no speech has no such row",
    )
    parser.add_argument(
        "--text_file",
        type=of(Place | None),
        help="For a model whose condition reads the transcription: lines `id text` (Kaldi's text), by hand or of a"
        " speech recogniser, of these utterances and any others; DATA_DIR/text if none. Other models do not look at it",
    )
    parser.add_argument(
        "--missing_text",
        choices=MISSING_TEXT,
        default="error",
        help="Utterances without a transcription, for such a model: error names them, empty takes them as nothing said",
    )
    parser.add_argument(
        "--references",
        type=of(Place | None),
        help="For --clues oracle, and to refuse a file of clues that was made from them: captions of these utterances"
        " by people; DATA_DIR/captions, where it is there, if none. Nothing else of decoding looks at them",
    )
    parser.add_argument("--config", help="YAML file of the options below")
    add_dataclass_arguments(parser.add_argument_group("decoding (also in --config)"), SetOptions)
    parser.add_argument("--nj", type=of(Count), default=1, help="Number of jobs that share the set")
    parser.add_argument("--job", type=of(Count | None), help="Which of them this is, from 1; none: all of it, combined")
    parser.add_argument("--combine", type=str2bool, default=False, help="Join the jobs' outputs instead of decoding")
    return parser


def parse(argv=None, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Command line over --config over defaults; an unknown key of the file is an error."""
    parser = parser or get_parser()
    args = parser.parse_args(argv)
    if args.config:
        conf = read_extended(args.config)
        parser.set_defaults(**checked_defaults(parser, conf, args.config))
        args = parser.parse_args(argv)
    return args


@cli
def main(argv=None) -> None:
    """Decode, or combine."""
    args = parse(argv)
    from espnet2_secap.inference.outputs import check_shuffled, combine

    if args.shuffled_audio_dir:  # before anything is decoded
        check_shuffled(args.data_dir)
    alone = args.job is None and not args.combine
    if alone:
        args.job = args.nj = 1
    if not args.combine:
        if not args.sec_model_file:
            raise SecError("--sec_model_file is missing")
        options = from_args(SetOptions, args)
        from espnet2_secap.inference.decode import Job, decode_set

        files = (args.sec_model_file, args.sec_train_config, args.data_dir, args.output_dir)
        text = (args.text_file, args.missing_text)
        job = Job(*files, args.job, args.nj, *text, bool(args.shuffled_audio_dir), args.references)
        decode_set(job, options)
    if args.combine or alone:
        count = combine(args.output_dir, args.data_dir, args.nj, args.shuffled_audio_dir)
        for folder in (args.output_dir, args.shuffled_audio_dir):
            if folder and (Path(folder) / "captions").exists():
                print(f"{count} utterances captioned: {folder}/captions")


if __name__ == "__main__":
    main()
