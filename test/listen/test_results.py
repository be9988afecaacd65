import json

import pytest
from listening import design_of, simulate

from espnet2_secap.listen.analyse import Limits, analysed
from espnet2_secap.listen.results import plot, write_ratings

SYSTEMS = ("human", "$ours_#1|", "标签<b>")
MEANS = dict(zip(SYSTEMS, (4.2, 3.4, 2.2), strict=True))


@pytest.fixture(scope="module")
def results():
    design = design_of(10, SYSTEMS, catch=3)
    sheets = [simulate(design, at, MEANS) for at in range(5)]
    sheets[4] = simulate(design, 4, {name: 6 - mean for name, mean in MEANS.items()})
    return analysed(design, sheets, Limits())


def test_markdown_latex_and_text(results):
    text = results.markdown("sec_listen analyse --folder x", "a.png")
    titles = [line for line in text.split("\n") if line.startswith("## ")]
    assert titles == [
        "## Mean opinion scores, all listeners", "## Pairs of systems, all listeners",
        "## Mean opinion scores, without flagged listeners", "## Pairs of systems, without flagged listeners",
        "## Listeners",
    ]  # fmt: skip
    assert "![Mean opinion scores" in text and "(a.png)" in text and results.design.id in text
    assert "t over all ratings, as papers draw them" in text and "Krippendorff's alpha: ordinal " in text
    assert "1 of 5 listeners are flagged." in text and "correlates -" in text
    assert text.count("**") % 2 == 0 and "| `human` | **" in text
    assert r"\$ours\_\#1\textbar{}" in results.latex() and results.latex().count(r"\begin{tabular}") == 5
    assert "$ours_#1|" in results.text()


def test_numbers_are_json_with_names(results):
    found = json.loads(json.dumps(results.numbers(), allow_nan=False))
    assert found["design"] == results.design.id and list(found["all_listeners"]["mos"]) == list(SYSTEMS)
    assert found["all_listeners"]["listeners"] == 5 and found["without_flagged_listeners"]["listeners"] == 4
    pair = found["without_flagged_listeners"]["pairs"][1]
    assert (pair["first"], pair["second"]) == ("human", "标签<b>") and pair["difference"] > 1


def test_every_rating_is_in_the_table(results, tmp_path):
    write_ratings(results, tmp_path / "r.tsv")
    header, *rows = [line.split("\t") for line in (tmp_path / "r.tsv").read_text(encoding="utf-8").splitlines()]
    assert header == ["listener", "group", "utterance", "system", "score"] and len(rows) == 5 * 10 * 3
    own = [int(row[4]) for row in rows if row[3] == "human"]
    assert sum(own) / len(own) == pytest.approx(results.parts["all listeners"].mos[0].mean)


def test_plot_is_a_picture(results, tmp_path):
    from PIL import Image

    plot(results, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG" and picture.width > 400 and len(picture.convert("L").getcolors(256)) > 20
