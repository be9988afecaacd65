import pytest

from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.listens import interval_table, listening
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.write import Report

REFERENCES = {"a": ["很高兴"], "b": ["悲伤难过"], "c": ["愤怒"], "d": ["平静"]}
RIGHT = dict(REFERENCES)
HALF = {"a": ["很高兴"], "b": ["悲伤"], "c": ["平静"], "d": ["愤怒"]}
WRONG = {"a": ["悲伤"], "b": ["高兴"], "c": ["平静"], "d": ["愤怒"]}
METRICS = ["rouge_l", "emotion_recall", "emotion_hallucination", "distinct_1"]


@pytest.fixture
def heard(scored, tmp_path):
    """Emotion recall: sec_x hears all (shuffled none, nearest half), sec_y as much as its shuffled self."""
    for system, captions in (
        ("sec_x/decode", RIGHT),
        ("sec_x/decode_shuffled_audio", WRONG),
        ("sec_x/decode_nearest_caption", HALF),
        ("sec_y/decode", HALF),
        ("sec_y/decode_shuffled_audio", HALF),
        ("random_caption", WRONG),
    ):
        scored(system, captions, REFERENCES, METRICS)
    return tmp_path / "exp"


def rows_of(exp):
    found = listening(find_scores(exp), Resampled())
    header = [(name, at) for at, name in enumerate(found.table.header)]
    assert [name for name, _ in header][:3] == ["system", "metric", "value"]
    rows = {(row[0].text, row[1].text): row for row in found.table.rows}
    return rows, found.notes


def test_each_metric_against_shuffled_audio_and_nearest_caption(heard):
    rows, _ = rows_of(heard)
    emotion = [cell.text for cell in rows["sec_x/decode", "emotion recall"]]
    assert emotion[2:8] == ["100.00", "100.00 to 100.00", "0.00", "+100.00", "+100.00 to +100.00", "listens"]
    assert emotion[8:] == ["50.00", "+50.00", "+0.00 to +100.00"]  # two of four: 0 to 100 in resamples of four
    deaf = [cell.text for cell in rows["sec_y/decode", "emotion recall"]]
    assert deaf[4:] == ["50.00", "+0.00", "+0.00 to +0.00", "not above shuffled_audio", "-", "-", "-"]
    assert [metric for system, metric in rows if system == "sec_x/decode"] == [
        "emotion recall", "emotion hallucination", "ROUGE-L",
    ]  # fmt: skip
    assert not any(system.endswith("audio") or system == "random_caption" for system, _ in rows)


def test_less_is_better_for_hallucination(heard):
    rows, notes = rows_of(heard)
    row = rows["sec_x/decode", "emotion hallucination"]
    assert [row[at].text for at in (2, 4, 5, 7)] == ["0.00", "100.00", "-100.00", "listens"]
    assert rows["sec_y/decode", "emotion hallucination"][7].text == "not below shuffled_audio"
    assert "sec_y/decode: emotion hallucination: not below shuffled_audio" in notes


def test_in_words(heard, scored):
    _, notes = rows_of(heard)
    assert "sec_x/decode: listens by every metric" in notes
    unsure = "above nearest_caption, but the interval of the difference includes 0"
    assert (
        f"sec_x/decode: emotion recall: {unsure}" in notes
        or f"sec_x/decode: emotion recall, ROUGE-L: {unsure}" in notes
    )
    assert "sec_y/decode: emotion recall, ROUGE-L: not above shuffled_audio" in notes
    scored("sec_y/decode_nearest_caption", HALF, REFERENCES, METRICS)
    _, notes = rows_of(heard)
    assert any(
        note.startswith("sec_y/decode: emotion recall, ROUGE-L: not above nearest_caption: a trained model that is not")
        for note in notes
    )


def test_verdicts_are_green_and_red_and_bold(heard):
    rows, _ = rows_of(heard)
    good, bad = rows["sec_x/decode", "emotion recall"][7], rows["sec_y/decode", "emotion recall"][7]
    assert (good.tone, good.bold, bad.tone, bad.bold) == ("good", False, "bad", True)
    table = listening(find_scores(heard), Resampled()).table
    assert '<td class="text good">listens</td>' in table.html()
    assert '<td class="text bad"><b>not above shuffled_audio</b></td>' in table.html()
    assert (
        "| **not above shuffled\\_audio** |" in table.markdown()
        or "| **not above shuffled_audio** |" in table.markdown()
    )


def test_it_is_the_first_table_of_a_set(heard):
    report = Report(find_scores(heard), "sec_report")
    for text, first, then in [
        (report.markdown(), "## Does it listen? test (4 utterances), per cent\n", "## test (4 utterances), per cent"),
        (report.text(), "Does it listen? test (4 utterances), per cent\n", "\ntest (4 utterances), per cent"),
        (report.latex(), r"\label{tab:test-listens}", r"\label{tab:test}"),
    ]:
        assert -1 < text.find(first) < text.find(then)
    assert report.latex().count(r"\begin{tabular}") == report.latex().count(r"\end{table}") == 2


def test_intervals_of_every_system_are_in_the_markdown(heard):
    scores = find_scores(heard)
    table = interval_table(scores, Resampled())
    assert table.header == ["system", "ROUGE-L", "emotion recall", "emotion hallucination"]
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(cells) == [score.system for score in scores]
    assert cells["sec_y/decode"][1:] == ["0.00 to 100.00", "0.00 to 100.00"]
    assert cells["random_caption"][1:] == ["0.00 to 0.00", "100.00 to 100.00"]
    text = Report(scores, "sec_report").markdown()
    assert (
        "### 95% intervals of test" in text and "| `random_caption` | " in text and "10000 bootstrap resamples" in text
    )


def test_what_cannot_be_compared_says_why(heard):
    (heard / "sec_y/decode_shuffled_audio/test/scores.tsv").unlink()
    rows, notes = rows_of(heard)
    assert {system for system, _ in rows} == {"sec_x/decode"}
    (note,) = [note for note in notes if note.startswith("sec_y/decode: cannot be compared with shuffled_audio: ")]
    assert "scores.tsv: has no values per utterance" in note and note in Report(find_scores(heard), "x").text()


def test_without_shuffled_audio_there_is_no_such_table(scored, tmp_path):
    scored("sec_x/decode", RIGHT, REFERENCES, METRICS)
    scored("random_caption", WRONG, REFERENCES, METRICS)
    assert listening(find_scores(tmp_path / "exp"), Resampled()) is None
    assert "listen?" not in Report(find_scores(tmp_path / "exp"), "sec_report").markdown()


def test_a_metric_of_another_version_is_left_out(heard):
    for file in heard.glob("sec_x/*/test/score.json"):
        file.write_text(file.read_text().replace('"distinct_1"', '"loudness"'))
        table = file.with_name("scores.tsv")
        table.write_text(table.read_text().replace("distinct_1", "loudness"))
    rows, notes = rows_of(heard)
    assert ("sec_x/decode", "emotion recall") in rows and not any("loudness" in note for note in notes)
