"""TABLES.md, .tex and .html."""

from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.table_pages import Section, markdown, page, tex

SECTIONS = [
    Section("Table 4: a < b", Table(["x"], [[Cell("50 %", note="[1.0]")]]), ["a note & more"]),
    Section("empty"),
]


def test_markdown_has_titles_tables_and_notes():
    text = markdown("Tables", "made by", SECTIONS)
    assert text.startswith("# Tables\n\nmade by\n") and "## Table 4: a &lt; b\n\n| x |\n" in text
    assert "| 50 % [1.0] |" in text and "a note & more" in text and text.count("## ") == 2


def test_tex_has_a_float_per_table():
    text = tex("sec_tables", SECTIONS)
    assert text.startswith("% Written by sec_tables") and text.count(r"\begin{table}") == 1
    assert r"50 \% [1.0]" in text or r"50 \% {[}1.0{]}" in text
    assert r"\caption{Table 4: a \textless{} b. a note \& more}" in text


def test_page_is_one_file_without_a_script():
    text = page("Tables", "about <b>", SECTIONS)
    assert "<h2>Table 4: a &lt; b</h2>" in text and "about &lt;b&gt;" in text and "<script" not in text
    assert "default-src 'none'" in text and "src=" not in text.replace("default-src", "").replace("img-src", "")


def test_text_for_a_terminal():
    assert SECTIONS[0].text().splitlines()[0] == "Table 4: a < b" and SECTIONS[1].text() == "empty\n"
