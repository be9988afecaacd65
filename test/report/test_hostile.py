"""Names, captions and commands that are markup: the report shows them and is none the worse for it."""

import json
import re
from html.parser import HTMLParser

import pytest

from espnet2_secap.bin.sec_report import main

MARKUP = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "```\n<script>alert(1)</script>",
    "`<b>`",
    r"\input{/etc/passwd} $\badmath{$ % & # ^^5cinput",
    "a|b|c",
    "![x](http://example.org/x.png) [y](javascript:alert(1))",
    "--> <!-- data -->",
    "\u202e\x1b[31m\u2028\x00",
    "$(touch evil) `touch evil`",
]
NAMES = ["sec_<b>$x^{", "sec_a|b", "sec_`c`", r"sec_\input{x}", "sec_![x](y)", "sec_%_&"]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]


@pytest.fixture
def expdir(tmp_path, monkeypatch):
    """Systems, sets, metrics, commands, probes, curves and captions, every one of them hostile."""
    monkeypatch.chdir(tmp_path)
    ids = ["<u>", "a|b", "`c`", "$(d)"]
    (tmp_path / "ref").write_text("".join(f"{utt} {json.dumps(MARKUP)}\n" for utt in ids))
    (tmp_path / "wav.scp").write_text(
        "<u> /etc/passwd\na|b touch evil |\n`c` ../../../../etc/passwd\n$(d) javascript:x\n"
    )
    for at, name in enumerate(NAMES):
        folder = tmp_path / "exp" / name / "decode" / ("<i>set</i>" if at % 2 else "test`|")
        folder.mkdir(parents=True)
        value = {"mean": 1.0, "std": 0.0, "n": 1, "values": [1.0]}
        missing = {"mean": None, "reason": MARKUP[at]}
        (folder / "score.json").write_text(
            json.dumps({"cider": value, f"<i>{at}</i>_recall": value, "meteor": missing})
        )
        meta = {"ref": str(tmp_path / "ref"), "hyp": "captions", "command": MARKUP[at], "segment": MARKUP[-1 - at]}
        (folder / "score_meta.json").write_text(json.dumps(meta | {"note": MARKUP[at], "utterances": MARKUP[0]}))
        (folder / "captions").write_text("".join(f"{utt} {json.dumps(MARKUP)}\n" for utt in ids))
        (tmp_path / "exp" / name / "curves.tsv").write_text(f"epoch\tsplit\tkey\tvalue\n1\ttrain\t$x^{{{at}\t1\n")
        probe = {"accuracy": 0.5, "chance": MARKUP[0], "n": MARKUP[1]}
        none = {"accuracy": None, "chance": None, "n": 0, "reason": MARKUP[0]}
        probes = {"system": MARKUP[at], "set": MARKUP[1], "emotion": probe, "sentence": none}
        (tmp_path / "exp" / name / "probe.json").write_text(json.dumps(probes))
    return tmp_path / "exp"


def test_report(expdir, capsys):
    main(["--expdir", str(expdir), "--embed_audio", "1"])
    assert "\x1b" not in capsys.readouterr().out
    html = (expdir / "RESULTS.html").read_text(encoding="utf-8")
    found = Tags(html)
    assert found.tags.count("script") == 2 and found.tags.count("img") == 1, "ours: the data, the script, the curves"
    assert not {"i", "u"} & set(found.tags) and "onerror" not in found.attributes
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])
    rows = [row for one in data.values() for row in one["utterances"]]
    assert rows and all(row["references"] == MARKUP for row in rows)
    assert {row["audio"] for row in rows if row["id"] in ("a|b", "$(d)")} == {None}, "no file"
    assert not any(row["audio"] and row["audio"].startswith(("data:", "javascript")) for row in rows)

    markdown = (expdir / "RESULTS.md").read_text(encoding="utf-8")
    text = re.sub(r"^(`{3,})sh\n.*?^\1$", "", markdown, flags=re.M | re.S)  # the block of commands
    assert "<script" in markdown and "touch evil" in markdown, "it is shown"
    text = re.sub(r"(?<!\\)`[^`\n]*`", "", text)  # code
    assert not re.search(r"<\w|</\w|<!--", text)
    assert not re.search(r"(?<!\\)\]\((?!images/)", text), "no link, no image but the curves"
    for line in text.splitlines():
        assert not line.startswith(("#", "|")) or "\x1b" not in line

    latex = (expdir / "RESULTS.tex").read_text(encoding="utf-8")
    assert not re.search(r"\\(input|badmath)", latex)
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert not (expdir.parent / "evil").exists()


def test_comparison(expdir):
    pair = [f"{name}/decode" for name in NAMES[:3:2]]
    for name in NAMES[:3:2]:
        meta = next((expdir / name).rglob("score_meta.json"))
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"segment": "char", "words": "zh"}))
    with pytest.raises(SystemExit):  # there is nothing to resample; names are shown on one line
        main(["--expdir", str(expdir), "--compare", *pair])
