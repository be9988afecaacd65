"""Tables in a paper's layout, and its claims: differences worked out by hand."""

import numpy as np
import pytest

from espnet2_secap.report.paper_tables import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Row,
    Seeds,
    claim_table,
    paper_table,
)

REFERENCES = {f"u{i}": ["一二三四"] for i in range(6)}
RIGHT, HALF, WRONG = "一二三四", "一二五六", "七八九十"  # BLEU-1 by character: 100, 50, 0


@pytest.fixture
def seeds(scored):
    def system(name, seed, captions):
        said = {f"u{i}": [text] for i, text in enumerate(captions)}
        return scored(f"{name}_seed{seed}", said, REFERENCES)

    good = {0: system("good", 0, [RIGHT] * 6), 1: system("good", 1, [RIGHT] * 5 + [HALF])}
    poor = {0: system("poor", 0, [HALF] * 6), 1: system("poor", 1, [HALF] * 4 + [WRONG] * 2)}
    mixed = {0: system("mixed", 0, [RIGHT] * 3 + [WRONG] * 3), 1: system("mixed", 1, [HALF] * 6)}
    return Seeds({"good": good, "poor": poor, "mixed": mixed, "single": {2: system("single", 2, [RIGHT] * 6)}})


def test_values_of_all_seeds_and_their_spread(seeds):
    assert seeds.values("good", "bleu_1") == pytest.approx([100, 1100 / 12])
    assert seeds.values("none", "bleu_1") == seeds.values("good", "cider") == []


def test_a_difference_is_the_mean_over_the_seeds(seeds):
    """Seed 0: 100 - 50; seed 1: 91.67 - 33.33; the mean is 54.17. No resample can bring it to zero: the claim holds."""
    verdict = seeds.difference("good", "poor", "bleu_1")
    assert verdict.difference == pytest.approx((50 + (1100 - 400) / 12) / 2) and verdict.seeds == 2
    assert 0 < verdict.low <= verdict.difference <= verdict.high and verdict.word() == HOLDS
    other = seeds.difference("poor", "good", "bleu_1")
    assert (other.word(), other.low, other.high) == (FAILS, pytest.approx(-verdict.high), pytest.approx(-verdict.low))


def test_an_interval_with_zero_in_it_decides_nothing(seeds):
    """Seed 0: half of the utterances are right and half wrong, against all half right: 50 - 50."""
    verdict = seeds.difference("mixed", "poor", "bleu_1")
    assert verdict.difference == pytest.approx((0 + (50 - 400 / 12)) / 2)
    assert verdict.low < 0 < verdict.high and verdict.word() == UNDECIDED


def test_seeds_widen_the_interval(seeds, scored):
    """Equal utterances in a seed have no interval of their own; between seeds of 0 and 50 points it is 0 to 50."""
    same = dict.fromkeys((0, 1), seeds.scores["poor"][0])
    two = {0: seeds.scores["poor"][0], 1: seeds.scores["single"][2]}
    verdict = Seeds({"a": two, "b": same}).difference("a", "b", "bleu_1")
    assert (verdict.difference, verdict.low, verdict.high) == pytest.approx((25, 0, 50), abs=1e-6)


def test_a_subset_is_scored_by_itself(seeds):
    last = seeds.subset(["u5"])
    assert last.values("good", "bleu_1") == pytest.approx([100, 50])
    assert last.values("mixed", "bleu_1") == pytest.approx([0, 50], abs=1e-6)
    assert last.difference("good", "mixed", "bleu_1").difference == pytest.approx((100 + 0) / 2, abs=1e-6)
    assert seeds.subset(["elsewhere"]).values("good", "bleu_1") == []


def test_what_cannot_be_compared_says_why(seeds):
    assert seeds.difference("good", "none", "bleu_1").reason == "no scores of none"
    assert seeds.difference("good", "single", "bleu_1").reason == "no seed in common"
    assert "CIDEr" in seeds.difference("good", "poor", "cider").reason
    assert seeds.difference("good", "none", "bleu_1").word() == UNDECIDED


def test_layout_of_a_table(seeds):
    rows = [
        Row("none", ["HTSAT"], {"bleu_1": "32.74"}, "this version has no encoder:x"),
        Row("poor", ["#5"], {"bleu_1": "33.62"}),
        Row("good", ["#6"], {"bleu_1": "36.08"}),
    ]
    table, notes = paper_table(["id"], ["bleu_1", "sim1"], rows, seeds, "good", "bleu_1")
    assert table.header == ["id", "seeds", "BLEU-1", "SIM1", "BLEU-1: difference to good (95%)"]
    cells = [[cell.plain() for cell in row] for row in table.rows]
    assert cells[0] == ["HTSAT", "0", "- [32.74]", "-", "-"]
    assert cells[1][:4] == ["#5", "2", "41.67 ±11.79 [33.62]", "-"] and cells[1][4].startswith("-54.17 (")
    assert cells[2] == ["#6", "2", "95.83 ±5.89 [36.08]", "-", "reference"]
    assert notes == ["HTSAT (none): this version has no encoder:x"]
    apart, _ = paper_table(["id"], ["bleu_1"], rows, seeds.subset(["u5"]), "good", "bleu_1")
    assert "[" not in apart.text()  # the paper has no such values


def test_claims_are_lines(seeds):
    claims = [Claim("good is better", "good", "poor"), Claim("poor is better", "poor", "good"), Claim("?", "x", "good")]
    rows = [[cell.plain() for cell in row] for row in claim_table(claims, seeds, "bleu_1").rows]
    assert [row[2] for row in rows] == [HOLDS, FAILS, UNDECIDED]
    assert rows[0][1] == "good > poor" and rows[0][3].startswith("+54.17 (+") and rows[2][3] == "no scores of x"
    assert np.all([row[4] == number for row, number in zip(rows, "220", strict=True)])
