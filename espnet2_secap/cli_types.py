"""Argument types shared by the programs."""

import argparse


def str2bool(value: str) -> bool:
    """`true`/`false` (also yes/no, 1/0) as in Kaldi and ESPnet options."""
    table = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return table[value.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}") from None
