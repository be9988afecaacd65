"""Caption a set of utterances with a trained model."""

import argparse

from espnet2_secap.cli_types import str2bool
from espnet2_secap.data.io import read_yaml
from espnet2_secap.errors import SecError, cli


def get_parser() -> argparse.ArgumentParser:
    """Options; `--config FILE` reads decoding options from YAML."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Writes OUTPUT_DIR/captions (the kept candidates per utterance, best first) and candidates.jsonl (with"
        " scores). With --nj N, run jobs 1..N with --job and then once with --combine true. A job that was interrupted"
        " goes on where it was when it is started again; the captions are the same for any N.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--sec_model_file", help="Model file of the second stage, such as exp/.../valid.loss.best.pth")
    parser.add_argument("--sec_train_config", help="Its config.yaml; that beside the model file if none")
    parser.add_argument("--data_dir", required=True, help="Folder with feats.scp (or wav.scp for --encoder s3prl)")
    parser.add_argument("--output_dir", required=True, help="Where to write")
    parser.add_argument(
        "--shuffled_audio_dir",
        help="Also give each utterance the captions of another utterance's audio and write them there: what a model"
        " scores that does not listen",
    )
    parser.add_argument("--config", help="YAML file of the options below")
    group = parser.add_argument_group("decoding (also in --config)")
    group.add_argument("--batch_size", type=int, default=16, help="Utterances decoded together")
    group.add_argument("--beam_size", type=int, default=1, help="1: greedy, or plain sampling")
    group.add_argument("--sampling", type=str2bool, default=False, help="Draw tokens at random")
    group.add_argument("--num_candidates", type=int, default=1, help="Captions per utterance")
    group.add_argument("--keep", type=int, default=0, help="Of these, keep the N most like all of them; 0: keep all")
    group.add_argument(
        "--similarity_model",
        help="For --keep: BERT's folder or hub name, by whose embeddings candidates are alike; by n-grams if none",
    )
    group.add_argument("--min_length", type=int, default=3, help="Tokens, at least")
    group.add_argument("--max_length", type=int, default=50, help="Tokens, at most")
    group.add_argument("--top_k", type=int, default=0, help="Sampling: among the k likeliest tokens; 0: all")
    group.add_argument("--top_p", type=float, default=1.0, help="Sampling: among the likeliest of this probability")
    group.add_argument("--temperature", type=float, default=1.0, help="Sampling: flatter above 1")
    group.add_argument("--repetition_penalty", type=float, default=1.0, help="Against tokens already written, above 1")
    group.add_argument("--no_repeat_ngram_size", type=int, default=0, help="No n-gram of this size twice; 0: allowed")
    group.add_argument("--length_penalty", type=float, default=1.0, help="Beam search: longer above 0, shorter below")
    group.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="Of the decoder's weights; 16 bits on a GPU are twice as fast. As the model's config.yaml has it if none",
    )
    group.add_argument("--prompt", default=None, help="Instruction; the first of the training prompts if none")
    group.add_argument("--seed", type=int, default=0, help="Of the sampling and of --shuffled_audio_dir")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--nj", type=int, default=1, help="Number of jobs that share the set")
    parser.add_argument("--job", type=int, help="Which of them this is, from 1; none: all of it, combined")
    parser.add_argument("--combine", type=str2bool, default=False, help="Join the jobs' outputs instead of decoding")
    return parser


def parse(argv=None) -> argparse.Namespace:
    """Command line over --config over defaults; an unknown key of the file is an error."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.config:
        conf = read_yaml(args.config)
        unknown = sorted(set(conf) - set(vars(args)))
        if unknown:
            raise SecError(f"{args.config}: unknown key {', '.join(unknown)}; see --help for the options")
        parser.set_defaults(**conf)
        args = parser.parse_args(argv)
    return args


@cli
def main(argv=None) -> None:
    """Decode, or combine."""
    args = parse(argv)
    from espnet2_secap.inference.outputs import combine

    alone = args.job is None and not args.combine
    if alone:
        args.job = args.nj = 1
    if not args.combine:
        if not args.sec_model_file:
            raise SecError("--sec_model_file is missing")
        from espnet2_secap.inference.decode import decode_set

        decode_set(args)
    if args.combine or alone:
        count = combine(args.output_dir, args.data_dir, args.nj, args.shuffled_audio_dir)
        for folder in (args.output_dir, args.shuffled_audio_dir):
            if folder:
                print(f"{count} utterances captioned: {folder}/captions")


if __name__ == "__main__":
    main()
