import json

import numpy as np
import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.classes import confusion
from espnet2_secap.report.classification import (
    MEASURES,
    NONE,
    _measured,
    classified,
    markdown,
    read_classes_json,
)

TRUE = ["angry"] * 6 + ["happy"] * 3 + ["sad"] * 3
SAID = ["angry"] * 4 + ["happy", None] + ["happy"] * 2 + ["angry"] + ["calm", "sad", "sad"]


def test_values_and_intervals():
    found = classified(TRUE, SAID)
    assert found.values["WA"] == pytest.approx(100 * 8 / 12) and found.values["UA"] == pytest.approx(100 * 2 / 3)
    for name in MEASURES:
        low, high = found.intervals[name]
        assert 0 <= low < found.values[name] < high <= 100
    wide = found.intervals["WA"][1] - found.intervals["WA"][0]
    more = classified(TRUE * 25, SAID * 25).intervals["WA"]
    assert (more[1] - more[0]) == pytest.approx(wide / 5, rel=0.2)  # 25 times the utterances
    assert classified(TRUE, TRUE).intervals["UA"] == (100, 100)


def test_resamples_are_measured_as_the_set_itself():
    table = confusion(TRUE, SAID)
    pairs = sorted(table.counts, key=str)
    sampled = _measured(pairs, np.array([[table.counts[pair] for pair in pairs]]))
    for name, measure in MEASURES.items():
        assert sampled[name][0] == pytest.approx(measure(table))


def test_tables():
    found = classified(TRUE, SAID)
    text = markdown([("ser", found), ("all|right", classified(TRUE, TRUE))])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["`ser`", "12", "66.67"] == next(row for row in rows if row[0] == "`ser`")[:3]
    assert ["", "angry", "happy", "sad", "calm", NONE] in rows and ["", "angry", "happy", "sad"] in rows
    assert ["angry", "4", "1", "0", "0", "1"] in rows and ["sad", "0", "0", "2", "1", "0"] in rows
    assert "`all\\|right`" in text
    content = found.as_json()
    assert content["utterances"] == 12 and content["confusion"]["counts"][0] == [4, 1, 0, 0, 1]


def test_what_was_written_is_read_again(tmp_path):
    path, found = tmp_path / "classes.json", classified(TRUE, SAID)
    content = {"system": "ser", **found.as_json()}
    path.write_text(json.dumps(content))
    system, again = read_classes_json(path)
    assert (system, again.as_json()) == ("ser", found.as_json())
    no_counts = {**content["confusion"], "counts": []}
    for bad in ([], {}, {**content, "system": 3}, {**content, "confusion": no_counts}, {**content, "confusion": None}):
        path.write_text(json.dumps(bad))
        with pytest.raises(SecError, match="is no classes.json of sec_classify"):
            read_classes_json(path)
