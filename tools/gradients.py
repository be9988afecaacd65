#!/usr/bin/env python3
"""Which way the terms of a loss pull: the gradient of each on training data, and whether it lowers the loss on
validation data.

For each term: its size against that of the first term, the cosine with it, and the cosine with the gradient of the
first term on validation data: near 0, a step along the term changes nothing there; below 0, it makes it worse. All
without dropout, over the weights that are trained.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

import torch  # noqa: E402
from torch.nn.functional import cosine_similarity  # noqa: E402

from espnet2_secap.cli_types import Parser, of  # noqa: E402
from espnet2_secap.data.io import read_yaml  # noqa: E402
from espnet2_secap.errors import SecError, cli  # noqa: E402
from espnet2_secap.tasks.sec import SECTask  # noqa: E402
from espnet2_secap.values import Count  # noqa: E402


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(
        description=__doc__,
        epilog="Example, in the recipe's folder: tools/gradients.py --config exp/sec_distill/config.yaml"
        " --model_file exp/sec_ce/valid.loss.best.pth --terms ce:ce_weight=1,kd_weight=0 kd:ce_weight=0,kd_weight=1",
    )
    parser.add_argument("--config", required=True, help="config.yaml of an experiment; its data are read")
    parser.add_argument("--model_file", required=True, help="weights at which the gradients are taken")
    parser.add_argument(
        "--terms", nargs="+", required=True, metavar="NAME:WEIGHT=VALUE,...", help="weights of model_conf for each term"
    )
    parser.add_argument("--batches", type=of(Count), default=15, help="of training data (default: 15)")
    parser.add_argument("--batch_size", type=of(Count), default=48, help="utterances (default: 48)")
    return parser


def read_term(given: str) -> tuple[str, dict[str, float]]:
    """A term's name and the weights of its loss."""
    name, _, weights = given.partition(":")
    try:
        pairs = (one.split("=") for one in weights.split(","))
        return name, {option: float(value) for option, value in pairs}
    except ValueError as err:
        raise SecError(f"--terms {given}: must be NAME:WEIGHT=VALUE,..., such as kd:ce_weight=0,kd_weight=1") from err


def batches(conf: Mapping, args: argparse.Namespace, split: str, size: int) -> Iterator[dict]:
    """Batches of the data that an experiment was trained on, or validated with."""
    data = [tuple(one) for one in conf[f"{split}_data_path_and_name_and_type"]]
    functions = (SECTask.build_preprocess_fn(args, False), SECTask.build_collate_fn(args, False))
    stream = SECTask.build_streaming_iterator(data, *functions, batch_size=size, num_workers=0, inference=False)
    return (batch for _, batch in stream)


def gradient(model: torch.nn.Module, weights: Mapping[str, float], data: Iterator[dict]) -> tuple[torch.Tensor, float]:
    """The mean gradient of a term over what batches weigh (tokens, utterances), as one vector, and the mean loss.

    Raises:
        SecError: the model has no such weight.
    """
    for name in weights:
        if not (name.endswith("_weight") and isinstance(getattr(model, name, None), (int, float))):
            raise SecError(f"--terms: {type(model).__name__} has no weight {name}")
    before = {name: getattr(model, name) for name in weights}  # what the next term does not name is the experiment's
    vars(model).update(weights)
    trained, total, all_weight = [one for one in model.parameters() if one.requires_grad], 0.0, 0.0
    model.zero_grad()
    for batch in data:
        loss, _, weight = model(**batch)
        (loss * weight).backward()
        total, all_weight = total + (loss * weight).item(), all_weight + weight.item()
    vars(model).update(before)
    flat = [(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in trained]
    return torch.cat(flat) / all_weight, total / all_weight


@cli
def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    args = get_parser().parse_args(argv)
    model, task = SECTask.build_model_from_file(args.config, args.model_file)
    conf, terms = read_yaml(args.config), dict(map(read_term, args.terms))
    found = {
        name: gradient(model, weights, islice(batches(conf, task, "train", args.batch_size), args.batches))
        for name, weights in terms.items()
    }
    first = next(iter(found))
    wanted, valid_loss = gradient(model, terms[first], batches(conf, task, "valid", args.batch_size))
    print(f"{first} of validation: {valid_loss:.4f}")
    print(f"term\tloss\tsize, {first} = 1\tcosine with {first}\tcosine with {first} of validation")
    for name, (one, loss) in found.items():
        cosines = [cosine_similarity(one, other, dim=0).item() for other in (found[first][0], wanted)]
        size = (one.norm() / found[first][0].norm()).item()
        print(name, f"{loss:.4f}", f"{size:.2f}", *(f"{cosine:+.2f}" for cosine in cosines), sep="\t")


if __name__ == "__main__":
    main()
