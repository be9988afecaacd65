import re
import subprocess

import pytest

from espnet2_secap.report.collect import find_probes, find_scores
from espnet2_secap.report.goals import goal_table, read_goals
from espnet2_secap.report.quoted import read_quoted
from espnet2_secap.report.table import width
from espnet2_secap.report.write import Report


def test_report_tells_everything(exp):
    (exp / "goals.json").write_text('{"sec_*": {"test": {"cider": [">=", 45.0]}}}')
    goals = goal_table(read_goals(exp / "goals.json"), find_scores(exp))
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


def test_latex_to_read_into_a_paper(exp):
    text = Report(find_scores(exp), "sec_report", quoted=read_quoted("secap")).latex()
    dev, test = text.split("\\begin{table}[t]\n")[1:]
    assert r"\label{tab:dev}" in dev and "quoted" not in dev
    assert r"\caption{Results on test (3 utterances), per cent. n: captions per utterance; mean $\pm$ standard" in test
    assert "Segmentation of the n-gram metrics: char." in test
    assert r"\texttt{sec\_x/decode\_y} (1) & 5 & \textbf{30.00 $\pm$0.50} &" in test
    assert "\\midrule\nHTSAT-BART \\#1 (audio) $^\\dagger$ & - & 32.74 & 3.05 &" in test
    assert r"\footnotesize $^\dagger$ quoted from Xu et al." in test
    assert sorted(re.findall(r"\\begin{(\w+)", text)) == sorted(re.findall(r"\\end{(\w+)", text))
    bare = re.sub(r"\\[{}%&#_$]", "", text)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    rows = [line for line in bare.splitlines() if line.endswith(r" \\")]
    assert {line.count("&") for line in rows} == {2, 10} and len(rows) == 2 + 11


@pytest.mark.needs("pdflatex")
def test_latex_compiles(exp):
    (exp / "sec_x/decode_y").rename(exp / "sec_x/[50%] a&b_#~^{}")
    report = Report(find_scores(exp), "sec_report", quoted=read_quoted("secap"))
    (exp / "RESULTS.tex").write_text(report.latex(), encoding="utf-8")
    (exp / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\n\\begin{document}\\input{RESULTS}\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=exp, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0 and "Overfull" not in done.stdout, done.stdout[-2000:]


def test_printed_tables_line_up(exp):
    lines = Report(find_scores(exp), "sec_report").text().splitlines()
    start = lines.index("test (3 utterances), per cent")
    assert len({width(line) for line in lines[start + 1 : start + 7]}) == 1
    assert "(2) METEOR: no java" in lines and "```sh" not in lines
