import argparse

import pytest

from espnet2_secap.bin import sec_check
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.check import Findings
from espnet2_secap.tasks.recipe import WORD_END, Recipe

SCORING = dict(lang="en", segment="", words="", score_args="", goals="", quote="")


def scoring(**options):
    found = Findings()
    sec_check.check_scoring(Recipe({**SCORING, **options}), [8], found)
    return found


def test_a_parsers_error_is_one_line():
    with pytest.raises(SecError, match="argument --nj: invalid int value: 'x'"):
        sec_check.raising(_parser()).parse_args(["--nj", "x"])
    with pytest.raises(SecError, match="holds --help"):
        sec_check.raising(_parser()).parse_args(["--help"])


def _parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nj", type=int)
    return parser


def test_metrics_that_will_be_missing_are_told(monkeypatch):
    found = scoring(score_args=WORD_END.join("--metrics bleu_4 sim1 mood_recall meteor".split()))
    assert found.problems == []
    told = "\n".join(found.notes)
    assert "en has no attribute 'mood'" in told and "sim1 needs a model" in told
    monkeypatch.setenv("PATH", "")
    found = scoring(segment="char")
    assert found.problems == [] and any("needs Java" in note for note in found.notes)
    (problem,) = scoring().problems
    assert "--segment ptb: needs Java" in problem and "--segment char_word" in problem
