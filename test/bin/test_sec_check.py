import argparse
import sys

import pytest
from tiny_clap import make_clap

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


def features(**options):
    found = Findings()
    given = dict(encoder="s3prl", feats_dtype="float32", batch_seconds="30", upstream_layer="last", extract_args="")
    sec_check.check_features(Recipe({**given, "upstream_path": "", **options}), [3], found)
    return found


def test_a_clap_model_is_looked_at(tmp_path):
    make_clap(tmp_path / "clap")
    given = dict(upstream="clap", upstream_path=str(tmp_path / "clap"))
    assert features(**given).problems == features(**given).notes == []
    (tmp_path / "clap" / "model.safetensors").unlink()
    assert "clap: has no weights" in features(**given).problems[0]
    assert "no/where/to: no such folder" in features(**given | {"upstream_path": "no/where/to"}).problems[0]
    (problem,) = features(upstream="clap").problems
    assert "encoder: clap: 'path' is missing" in problem


def test_the_encoders_of_upstream_are_checked_each_by_itself(monkeypatch):
    assert features(upstream="acoustic").problems == features(upstream="acoustic+fbank").problems == []
    monkeypatch.setitem(sys.modules, "pyworld", None)
    monkeypatch.setitem(sys.modules, "opensmile", None)
    problems = features(upstream="acoustic+opensmile+fbanks+hf_hubert_custom").problems
    assert len(problems) == 4 and "package pyworld" in problems[0] and "package opensmile" in problems[1]
    assert "S3PRL has no such upstream" in problems[2] and "needs --upstream_path" in problems[3]
    words = WORD_END.join(["--encoder_conf", "encoders=3"])
    assert "encoders 3: must be" in features(upstream="x", encoder="joined", extract_args=words).problems[0]
