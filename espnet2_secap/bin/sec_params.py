"""Tell how many parameters a configuration trains and has, part by part; needs no weights."""

import argparse

from espnet2_secap.cli_types import Parser
from espnet2_secap.data.conf import read_extended
from espnet2_secap.errors import cli
from espnet2_secap.values import checked


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(
        description=__doc__,
        epilog="conf/align_large.yaml and conf/caption_large.yaml of egs2/emospeech give the sizes of SECap's Table 1.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="Configuration of either training stage")
    parser.add_argument(
        "--upstream",
        default="TencentGameMate/chinese-hubert-large",
        help="Speech encoder's folder or hub name, where the configuration takes stored features of it",
    )
    parser.add_argument(
        "--text_encoder",
        default="shibing624/text2vec-base-chinese",
        help="Text encoder's folder or hub name, where the configuration has none",
    )
    return parser


def defaults() -> dict:
    """The choice and the empty configuration of every kind of part, as sec_train has them."""
    from espnet2_secap.tasks.parts import KINDS

    return {name: kind.default for name, kind in KINDS.items()} | {f"{name}_conf": {} for name in KINDS}


@cli
def main(argv=None) -> None:
    """Print the table."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.tasks.params import parts_of, table

    conf = read_extended(args.config)
    known = defaults()
    if "text_encoder" not in conf:
        known["text_encoder"] = "bert"
    for key in [key for key, value in known.items() if isinstance(value, dict) and key in conf]:
        conf[key] = checked(f"{args.config}: {key}", conf[key] or {}, dict)
    print(table(parts_of(argparse.Namespace(**(known | conf)), args.upstream, args.text_encoder)))


if __name__ == "__main__":
    main()
