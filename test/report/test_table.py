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


ROWS = [
    [Cell("sec_a/50%", code=True, note="(1)"), Cell("1.50 ±0.25", bold=True)],
    [Cell("SECap #6", note="†"), Cell("-")],
]
QUOTED = Table(["system", "R&D"], ROWS, {1}, quoted=1)


def test_latex():
    assert QUOTED.latex().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"system & R\&D \\",
        r"\midrule",
        r"\texttt{sec\_a/50\%} (1) & \textbf{1.50 $\pm$0.25} \\",
        r"\midrule",
        r"SECap \#6 $^\dagger$ & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("~^$_", r"\textasciitilde{}\textasciicircum{}\$\_"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("[5pt] *", "{[}5pt{]} {*}"),  # behind \\\\ it would be its option
        ("悲\n伤\x00", "悲 伤"),
    ],
)
def test_latex_takes_nothing_for_a_command(text, escaped):
    assert Cell(text).latex() == escaped


def test_html():
    assert QUOTED.html() == (
        "<table>\n"
        '<thead><tr><th scope="col" class="text">system</th><th scope="col" class="number">R&amp;D</th></tr></thead>\n'
        "<tbody>\n"
        '<tr><th scope="row"><code>sec_a/50%</code> <small>(1)</small></th>'
        '<td class="number"><b>1.50 ±0.25</b></td></tr>\n'
        "</tbody>\n"
        '<tbody class="quoted">\n'
        '<tr><th scope="row">SECap #6 <small>†</small></th><td class="number">-</td></tr>\n'
        "</tbody>\n"
        "</table>\n"
    )
    assert Cell("<script>\"'&", note="<i>").html() == "&lt;script&gt;&quot;&#x27;&amp; <small>&lt;i&gt;</small>"
    assert "quoted" not in Table(["a"], [[Cell("b")]]).html()


def test_a_line_above_what_is_quoted():
    assert [line.split()[0] for line in QUOTED.text().splitlines()] == [
        "system",
        "-" * 13,
        "sec_a/50%",
        "-" * 13,
        "SECap",
    ]


@pytest.mark.parametrize("text, columns", [("ab", 2), ("高兴", 4), ("，", 2), ("e\u0301", 1), ("", 0)])
def test_width(text, columns):
    assert width(text) == columns


def test_one_line_keeps_no_control_characters():
    assert one_line(" a\tb\r\nc\x1b[31m\x00 ") == "a b c[31m"


def test_tones_are_classes_of_html_only():
    table = Table(["a", "b"], [[Cell("x"), Cell("listens", tone="good")], [Cell("y"), Cell("1", tone="bad")]], {1})
    assert '<td class="number good">listens</td>' in table.html() and '<td class="number bad">1</td>' in table.html()
    assert "good" not in table.markdown() + table.latex() + table.text()
