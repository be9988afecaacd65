"""Make an experiment of the released SECap checkpoint, which sec_inference and further training take."""

import argparse

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.errors import cli
from espnet2_secap.values import Count


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(
        description=__doc__,
        epilog="Then: ./run.sh --stage 7 --feats_type raw --sec_exp exp/sec_secap_published"
        " --inference_model valid.loss.best.pth. The checkpoint is yaoxunxu/SECaps' model.ckpt; the folders are"
        " chinese-hubert-large, chinese-llama-7b-merged and text2vec-base-chinese, or what stands in for them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="model.ckpt of the released code")
    parser.add_argument("--hubert", required=True, help="HuBERT's folder or hub name")
    parser.add_argument("--llm", required=True, help="LLaMA's folder or hub name, with tokenizer.model")
    parser.add_argument("--text_encoder", required=True, help="Text BERT's folder or hub name")
    parser.add_argument("--output", required=True, help="Experiment folder to make, such as exp/sec_secap_published")
    parser.add_argument(
        "--num_heads", type=of(Count), help="Attention heads of the Q-Former; the text encoder's if none"
    )
    return parser


@cli
def main(argv=None) -> None:
    """Import, and say which sizes were found."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.publish.import_secap import import_published

    sizes = import_published(args.checkpoint, args.hubert, args.llm, args.text_encoder, args.output, args.num_heads)
    print(f"{args.output}: Q-Former with {', '.join(f'{name} {value}' for name, value in sizes.items())}")


if __name__ == "__main__":
    main()
