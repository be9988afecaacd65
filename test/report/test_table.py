import pytest

from espnet2_secap.report.table import Cell, Table, one_line, width


def test_markdown_shows_what_a_caption_says():
    table = Table(["id", "caption"], [[Cell("a|b", code=True), Cell("很*高兴*|<b>\n下一行`")]])
    assert table.markdown().splitlines()[2] == "| `a\\|b` | 很\\*高兴\\*\\|&lt;b&gt; 下一行\\` |"


def test_markdown_of_numbers_bold_and_notes():
    table = Table(["system", "BLEU"], [[Cell("x", note="(1)"), Cell("1.50", bold=True)]], {1})
    assert table.markdown() == "| system | BLEU |\n| --- | ---: |\n| x (1) | **1.50** |\n"


def test_text_lines_up_under_chinese():
    table = Table(["名", "n"], [[Cell("高兴"), Cell("5")], [Cell("ab"), Cell("10", note="(1)")]], {1})
    assert table.text().splitlines() == ["名         n", "----  ------", "高兴       5", "ab    10 (1)"]
    assert {width(line) for line in table.text().splitlines()} == {12}


@pytest.mark.parametrize("text, columns", [("ab", 2), ("高兴", 4), ("，", 2), ("e\u0301", 1), ("", 0)])
def test_width(text, columns):
    assert width(text) == columns


def test_one_line_keeps_no_control_characters():
    assert one_line(" a\tb\r\nc\x1b[31m\x00 ") == "a b c[31m"
