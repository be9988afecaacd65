"""Extract the emotional clues of captions, of labels, or of a decoding, and show how often there are any."""

import argparse

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import read_captions, write_json
from espnet2_secap.errors import SecError, cli
from espnet2_secap.tasks.clue_files import (
    clues_of_captions,
    clues_of_decoding,
    clues_of_labels,
    corpora_table,
    statistics,
    words_table,
)
from espnet2_secap.tasks.clues import clues_by
from espnet2_secap.text.clues import write_clues
from espnet2_secap.values import Natural, Place


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_clues."""
    parser = Parser(
        prog="sec_clues",
        description=__doc__,
        epilog="Prints a line per corpus (clues per caption, per cent of the captions without any, and that name each"
        " attribute), the most frequent words of each attribute, and the clues of the first captions. With --output it"
        ' also writes a clues file, lines `id ["clue", ...]`: for training as the data name "clues", or for'
        " sec_inference --clues FILE, which refuses one that was made from the references of what it decodes.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--captions", nargs="+", metavar="FILE", help="captions files, each a corpus of its own")
    source.add_argument(
        "--labels",
        metavar="DATA_DIR",
        help="data directory without captions: clues for its utt2emo, utt2rate, utt2volume, ...",
    )
    source.add_argument(
        "--decoded",
        metavar="FOLDER",
        help="folder of sec_inference --clues: the clues that the model was given, for preference optimisation of it",
    )
    parser.add_argument(
        "--grammar",
        type=of(Place),
        default="zh",
        help="what a clue is: zh, en, ja, or a JSON file that extends one of these (default: zh)",
    )
    parser.add_argument(
        "--words",
        type=of(Place | None),
        help="words file whose categories are clues: zh, en, ja, none or a JSON file (default: that of the grammar)",
    )
    parser.add_argument(
        "--like",
        metavar="FILE",
        help="for --labels: captions, of the model's training set; a label becomes the word that they say most often"
        " for it, which the model has learned to read (default: the first word of the words file)",
    )
    parser.add_argument("--output", type=of(Place | None), help="clues file to write, of one corpus")
    parser.add_argument(
        "--which",
        choices=("all", "first"),
        default="all",
        help="of several captions of an utterance: write the clues of all, or of the first alone (default: all)",
    )
    parser.add_argument("--statistics", type=of(Place | None), help="JSON file to write with all numbers and words")
    parser.add_argument(
        "--top", type=of(Natural), default=10, help="most frequent words shown of each attribute (default: 10)"
    )
    parser.add_argument(
        "--show", type=of(Natural), default=5, help="captions shown with their clues, of each corpus (default: 5)"
    )
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Show, and write what is asked for."""
    args = get_parser().parse_args(argv)
    if args.output and args.captions and len(args.captions) > 1:
        raise SecError(f"--output {args.output}: takes the clues of one captions file, not of {len(args.captions)}")
    if args.like and not args.labels:
        raise SecError(f"--like {args.like}: is for --labels; leave it out")
    find, found, shown = clues_by(args.grammar, args.words), {}, {}
    if args.like:
        captions = read_captions(args.like).values()
        find = clues_by(args.grammar, args.words, find.usual_words(one for some in captions for one in some))
    if args.labels:
        labelled, notes = clues_of_labels(args.labels, find)
        for note in notes:
            print(f"note: {note}")
        found[args.labels] = statistics(labelled.values())
        clues = {utt: [clue.text for clue in own] for utt, own in labelled.items()}
        shown[args.labels] = [(utt, "(labels)", own) for utt, own in clues.items()]
    if args.decoded:
        clues = clues_of_decoding(args.decoded)
        found[args.decoded] = statistics(find(find.grammar.separator.join(own)) for own in clues.values())
        shown[args.decoded] = [(utt, "(decoding)", own) for utt, own in clues.items()]
    for path in args.captions or ():
        captions = read_captions(path)
        clues = clues_of_captions(captions, find, args.which)
        found[path] = statistics(find(one) for own in captions.values() for one in own)
        shown[path] = [(utt, own[0], find.texts(own[0])) for utt, own in captions.items()]
    print(corpora_table(found).text())
    for corpus, one in found.items():
        print(f"{corpus}\n{words_table(one, args.top).text()}")
        for utt, caption, own in shown[corpus][: args.show]:
            print(f"{utt} {caption}\n  -> {find.grammar.prompt_of(own) or '(none)'}")
    if args.statistics:
        write_json(
            args.statistics, {"grammar": args.grammar, "words": args.words or find.grammar.words, "corpora": found}
        )
    if args.output:
        write_clues(args.output, clues)
        print(f"{args.output}: clues of {len(clues)} utterances")


if __name__ == "__main__":
    main()
