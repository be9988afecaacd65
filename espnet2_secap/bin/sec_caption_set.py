"""Make a training set in which some utterances keep their captions; the others have given ones, or are left out."""

import argparse
from pathlib import Path

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.caption_sets import choose_captioned, join_captions, write_caption_set
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.text_file import read_names
from espnet2_secap.errors import SecError, cli, few
from espnet2_secap.metric.wrong_captions import wrong_captions
from espnet2_secap.values import Seed, Share


def get_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = Parser(
        description=__doc__,
        epilog="The new set is made beside each folder: --folders dump/raw/train dump/hubert/train --name few makes"
        " dump/raw/few and dump/hubert/few, to be trained on by ./run.sh --train_set few.",
    )
    parser.add_argument(
        "--folders", nargs="+", required=True, help="the set's folders, that with the captions first: dump/raw/SET"
    )
    parser.add_argument("--name", required=True, help="of the new set")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--caption_fraction",
        type=of(Share),
        default=1.0,
        help="of each category of utt2emo, the share of utterances that keep their captions (default: 1)",
    )
    which.add_argument("--utt_list", help="file whose lines begin with the ids of those that keep their captions")
    parser.add_argument(
        "--captions",
        help="captions of the others, such as a teacher's (`captions` of a decoding); without, they are left out",
    )
    parser.add_argument(
        "--wrong_captions",
        type=of(Share),
        default=0.0,
        help="of their own captions, the share in which a word is swapped for a wrong one, as careless annotators would"
        " do (default: 0)",
    )
    parser.add_argument("--words", default="zh", help="for --wrong_captions: zh, en, ja or a JSON file (default: zh)")
    parser.add_argument("--seed", type=of(Seed), default=0, help="of the draw (default: 0)")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Choose, join and write."""
    args = get_parser().parse_args(argv)
    if "/" in args.name or args.name in ("", ".", ".."):
        raise SecError(f"--name {args.name!r}: must be the name of a set, without /")
    first = Path(args.folders[0])
    captions = read_captions(first / "captions")
    if args.utt_list:
        kept = list(dict.fromkeys(read_names(args.utt_list)))
        if unknown := [utt for utt in kept if utt not in captions]:
            raise SecError(f"{args.utt_list}: {len(unknown)} ids are not in {first} ({few(unknown)}); correct them")
    else:
        classes = read_kaldi(first / "utt2emo") if (first / "utt2emo").is_file() else {}
        kept = choose_captioned(list(captions), classes, args.caption_fraction, args.seed)
    others = read_captions(args.captions) if args.captions else {}
    if args.wrong_captions:
        own = {utt: captions[utt] for utt in kept}
        changed, count = wrong_captions(own, args.wrong_captions, args.words, args.seed)
        captions |= changed
        print(f"{count} of {sum(map(len, own.values()))} captions say something wrong now")
    found = join_captions(captions, set(kept), others)
    if not found:
        raise SecError(f"{first}: no utterance is left; give more captions")
    for folder in args.folders:
        output = write_caption_set(folder, args.name, found)
        print(f"{output}: {len(found)} utterances, {len(set(kept) & found.keys())} with their own captions")


if __name__ == "__main__":
    main()
