import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.hallucinations import hallucination_table, read_hallucinations
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.write import Report

REFERENCES = {"a": ["很高兴，语速很快"], "b": ["悲伤"], "c": ["语气平静"]}
# says all, and errs for a (emotion) and c (emotion, and a rate of which nothing is known)
BOLD = {"a": ["愤怒，语速很快"], "b": ["悲伤，语速很慢"], "c": ["高兴，语速很快"]}
SHY = {"a": ["高兴"], "b": [""], "c": ["她说话"]}
METRICS = ["hallucination_factuality", "coverage", "wrong_share", "hallucination_faithfulness"]


@pytest.fixture
def exp(tmp_path, scored):
    scored("sec_shy", SHY, REFERENCES, METRICS)
    scored("sec_bold", BOLD, REFERENCES, METRICS)
    scored("sec_other", BOLD, REFERENCES, ["rouge_l", "hallucination_factuality"])  # coverage was not asked for
    return tmp_path / "exp"


def test_rates_beside_the_coverage_by_hand(exp):
    table = hallucination_table(find_scores(exp), Resampled())
    assert table.header == [
        "system", "coverage", "95%", "hallucination, factuality", "95%", "wrong of what is named", "95%",
        "hallucination, faithfulness", "95%", "emotion", "empty", "attributes",
    ]  # fmt: skip
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[0] for row in rows] == ["sec_bold", "sec_shy"]  # the higher coverage first
    # bold: 2 of 4 attributes each; 2 of 3 captions err; of a two, of b one, of c one statements are known, 2 wrong
    assert [rows[0][at] for at in (1, 3, 5, 7)] == ["50.00", "66.67", "50.00", "0.00"]
    assert rows[0][9:] == ["66.7", "0.0", "0.0"]
    assert [rows[1][at] for at in (1, 3, 5, 7)] == ["8.33", "0.00", "0.00", "66.67"]
    assert rows[1][9:] == ["0.0", "33.3", "33.3"]
    low, high = map(float, rows[0][4].split(" to "))
    assert low == 0 and high == 100  # of three utterances


def test_the_share_of_wrong_statements_is_resampled_from_its_counts(exp):
    bold = next(score for score in find_scores(exp) if score.system == "sec_bold")
    drawn = Resampled().of(bold).sampled["wrong_share"]
    # a: 1 of 2, b: 0 of 1, c: 1 of 1; a mean of the utterances' values would never be 1/4 of a, b, b: it is 1 of 4
    assert any(abs(value - 25) < 1e-9 for value in drawn) and set(drawn.round(6)) >= {0, 100, 50}


def test_other_attributes_are_those_of_the_scoring(tmp_path, scored):
    scored("sec_x", BOLD, REFERENCES, METRICS, hallucination_attributes=["rate"])
    (score,) = find_scores(tmp_path / "exp")
    drawn = Resampled().of(score).sampled["wrong_share"]
    assert set(drawn[drawn == drawn]) == {0}  # rate is known of a alone, and right; a resample without a has no value


def test_it_stands_in_the_report(exp):
    text = Report(find_scores(exp), "sec_report").markdown()
    assert "## Hallucinations and coverage on test, per cent\n\n| system | coverage | 95% |" in text
    assert (
        hallucination_table([score for score in find_scores(exp) if score.system == "sec_other"], Resampled()) is None
    )


@pytest.mark.parametrize(
    "line",
    ['{"id": "a"}', "[]", "x", '{"id": "a", "candidate": "1", "kind": "", "what": "", "word": ""}'],
)
def test_a_line_of_another_kind_is_an_error(exp, line):
    path = exp / "sec_bold" / "test" / "hallucinations.jsonl"
    path.write_text(path.read_text() + line + "\n")
    score = next(score for score in find_scores(exp) if score.system == "sec_bold")
    with pytest.raises(
        SecError, match=r"hallucinations.jsonl: line 3 was not written by sec_score; score sec_bold again"
    ):
        read_hallucinations(score)


def test_faults_by_utterance(exp):
    found = {score.system: read_hallucinations(score) for score in find_scores(exp)}
    assert {utt: [one["word"] for one in own] for utt, own in found["sec_bold"].items()} == {
        "a": ["愤怒"],
        "c": ["高兴"],
    }
    assert found["sec_other"] == found["sec_bold"]
    (exp / "sec_shy" / "test" / "hallucinations.jsonl").unlink()
    assert read_hallucinations(next(one for one in find_scores(exp) if one.system == "sec_shy")) is None
