import json
import re

import pytest

from espnet2_secap.report.audio import Players
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.page import page
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.write import Report
from espnet2_secap.report.zero_shot import zero_shot_table


def value(mean):
    return {"mean": mean, "std": 0.0, "n": 1, "values": [mean]}


def add(exp, system, metrics, dset, **meta):
    folder = exp / system / dset
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps(metrics))
    (folder / "score_meta.json").write_text(json.dumps(meta))


@pytest.fixture
def tested(exp):
    """The system of `exp` on two sets of other corpora too."""
    about = {"train_captions": "dump/raw/train/captions"}
    scores = {"emotion_recall": value(60.0), "cider": value(30.0), "bleu_1": value(1.0)}
    other = {"emotion_recall": value(30.0), "cider": value(10.0)}
    add(exp, "sec_x/decode_y", scores, "male", zero_shot="../o/data/male", utterances=300, **about)
    add(exp, "sec_x/decode_y", other, "english", zero_shot="/e/data/en", utterances=100, **about)
    add(exp, "sec_x/decode_y_shuffled_audio", {"emotion_recall": value(15.0)}, "male", zero_shot="../o/data/male")
    add(exp, "random_caption", {"emotion_recall": value(15.0)}, "male", zero_shot="../o/data/male")
    return exp


def test_own_sets_first_then_the_others_and_their_mean(tested):
    title, table = zero_shot_table(find_scores(tested), Resampled())
    assert title == (
        "Zero-shot: trained on train, tested on sets of other corpora without a step of training, per cent"
    )
    assert table.header == ["system", "set", "data", "utterances", "CIDEr", "emotion recall"]
    rows = [[cell.text for cell in row] for row in table.rows]
    assert {row[0] for row in rows} == {"sec_x/decode_y"}
    assert [row[1:] for row in rows] == [
        ["dev", "(its own corpus)", "-", "40.00", "-"],
        ["test", "(its own corpus)", "3", "50.00", "90.00"],
        ["english", "/e/data/en", "100", "10.00", "30.00"],
        ["male", "../o/data/male", "300", "30.00", "60.00"],
        ["mean", "(all zero-shot sets)", "400", "25.00", "52.50"],  # (10 + 3 * 30) / 4, (30 + 3 * 60) / 4
    ]


def test_it_stands_in_every_form_of_the_report(tested):
    report = Report(find_scores(tested), "sec_report")
    heading = "## Zero-shot: trained on train, tested on sets of other corpora without a step of training, per cent\n"
    assert heading in report.markdown() and "| mean | (all zero-shot sets) | 400 | 25.00 |" in report.markdown()
    assert heading[3:] in report.text() and r"\label{tab:zero-shot}" in report.latex()
    html = page(report, None, Players(tested / "RESULTS.md", 0))
    assert re.search(r"<h2>Zero-shot: .*?</h2>.*?all zero-shot sets", html, re.DOTALL)


def test_without_such_sets_there_is_no_table(exp):
    assert zero_shot_table(find_scores(exp), Resampled()) is None
    assert "Zero-shot" not in Report(find_scores(exp), "sec_report").markdown()


def test_a_set_without_a_metric_leaves_no_mean_of_it(tested):
    add(tested, "sec_x/decode_y", {"cider": value(50.0)}, "noisy", zero_shot="/n", utterances=400)
    _, table = zero_shot_table(find_scores(tested), Resampled())
    assert [cell.text for cell in table.rows[-1]][1:] == ["mean", "(all zero-shot sets)", "800", "37.50", "-"]


def test_intervals_where_the_values_are_known_by_utterance(scored):
    references = {f"u{i}": ["开心"] for i in range(6)}
    captions = {f"u{i}": ["开心" if i < 4 else "难过"] for i in range(6)}
    one = scored("sec_x/decode", captions, references, ("emotion_recall",), dset="male", zero_shot="/m")
    _, table = zero_shot_table([one], Resampled())
    assert re.fullmatch(r"66\.67 \(\d+\.\d\d to \d+\.\d\d\)", table.rows[0][-1].text) and len(table.rows) == 1
