"""How many cases the tests over drawn input (test/fuzz) try, and what they draw.

The suite tries the same cases each time. `SEC_FUZZ=30 pytest test/fuzz` tries thirty times as many, drawn anew.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

MANY = float(os.environ.get("SEC_FUZZ", 1))

NUMBERS = "0 -1 1 2 1.0 1e-4 1e400 nan inf -inf -0 +1 1_000 0x10 99999999999999999999 0.5 -7.5 16k".split()
WORDS = [
    "true",
    "false",
    "no",
    "none",
    "None",
    "null",
    "~",
    "five",
    "2,3",
    "2-3",
    "all",
    "cpu",
    "cuda",
    "cuda:99",
    "auto",
]
ODD = [
    "",
    " ",
    "-",
    "--",
    "a b",
    "é",
    "e\u0301",
    "\u3000",
    "\ufeffa",
    "*",
    "$(date)",
    "`",
    "'",
    '"',
    "%s",
    "{}",
    "[]",
    "[1]",
]
ODD += ["{a: 1}", "a=b", "a=1e-4", "=", "a=", ".", "..", "./none/x", "none.yaml", "\u2028", "\x7f", "x" * 300]
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.sampled_from(ODD),
    st.integers(-(10**6), 10**6).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=8),
)


def cases(number: int):
    """Settings of a test that tries `number` cases in the suite."""
    return settings(
        max_examples=max(1, round(number * MANY)),
        derandomize=MANY == 1,
        database=None,
        phases=[Phase.generate],  # a case that fails is not made smaller: one that hangs would take an hour
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
