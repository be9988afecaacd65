from espnet2_secap.report.collect import find_probes, find_scores
from espnet2_secap.report.goals import goal_table
from espnet2_secap.report.table import width
from espnet2_secap.report.write import Report


def test_report_tells_everything(exp):
    goals = goal_table(
        [("sec_*", "test", "cider", ">=", 45.0)], {"sec_x/decode_y": {"test": {"cider": {"mean": 50.0}}}}
    )
    report = Report(find_scores(exp), "sec_report --x", find_probes(exp), goals, "images/curves.png", examples=2)
    text = report.markdown()
    wanted = [
        "# Results\n\nWritten by `sec_report --x`",
        "## dev, per cent\n",
        "## test (3 utterances), per cent\n",
        "| `sec_x/decode_y` (1) | 5 | **30.00 ±0.50** |",
        "(2) METEOR: no java  \n",
        "Segmentation of the n-gram metrics: char.",
        "## Goals\n",
        "| met |",
        "## Probes",
        "![training curves](images/curves.png)",
        "## Captions of test",
        "| `u2` | 悲伤\\|难过 | \\*难受\\* |",
        "## Commands\n\n```sh\n",
        "\nsec_score --hyp mine\n",
    ]
    places = [text.find(part) for part in wanted]
    assert -1 not in places and places == sorted(places)
    assert "u3" not in text and text.count("sec_score --hyp") == 2


def test_printed_tables_line_up(exp):
    lines = Report(find_scores(exp), "sec_report").text().splitlines()
    start = lines.index("test (3 utterances), per cent")
    assert len({width(line) for line in lines[start + 1 : start + 7]}) == 1
    assert "(2) METEOR: no java" in lines and "```sh" not in lines
