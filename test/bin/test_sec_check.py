import argparse

import pytest

from espnet2_secap.bin import sec_check
from espnet2_secap.errors import SecError
from espnet2_secap.process import made
from espnet2_secap.tasks.check import Findings
from espnet2_secap.tasks.recipe import WORD_END, Recipe

SCORING = dict(lang="en", segment="", words="", score_args="", goals="", quote="")


def scoring(**options):
    found = Findings()
    sec_check.check_scoring(Recipe({**SCORING, **options}), [8], found)
    return found


def test_it_notes_begin_and_end_of_a_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/wav.scp").write_text("a a.wav\n")
    names = "train_set valid_set test_sets".split()
    options = [*(f"{name}=a" for name in names), "dumpdir=dump", "feats_type=raw", "feats_scp=wav.scp"]
    sec_check.main([*options, "--begin", "2"])
    assert made.has_ended("dump/raw/a") is False
    sec_check.main([*options, "--end", "2"])
    assert made.has_ended("dump/raw/a") and made.changed("dump/raw/a", ["data/a/wav.scp"]) == []


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
