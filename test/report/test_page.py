import base64
import hashlib
import json
import re
from pathlib import Path

from espnet2_secap.report.audio import Players
from espnet2_secap.report.collect import find_probes, find_scores
from espnet2_secap.report.page import page
from espnet2_secap.report.quoted import read_quoted
from espnet2_secap.report.write import Report

REFERENCES = {"a": ["很高兴", "开心"], "b": ["悲伤"]}


def made(exp, quoted=None, picture=None, command="sec_report"):
    report = Report(find_scores(exp), command, find_probes(exp), quoted=quoted)
    return page(report, picture, Players(exp / "RESULTS.html", 0))


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_data_of_the_script(exp):
    data = data_of(made(exp, read_quoted("secap")))
    assert list(data) == ["dev", "test"] and data["dev"]["utterances"] == []
    test = data["test"]
    kinds = [(system["name"], system["kind"]) for system in test["systems"]]
    assert kinds[:4] == [("sec_x/decode_y", "own"), ("sec_x/decode_y_shuffled_audio", "sanity"),
                         ("random_caption", "sanity"), ("frequent_caption", "sanity")]  # fmt: skip
    assert kinds[4] == ("HTSAT-BART #1 (audio)", "quoted") and len(kinds) == 10
    assert {system["kind"] for system in data["dev"]["systems"]} == {"own"}
    assert test["metrics"][:2] == [["bleu_1", "BLEU-1"], ["bleu_4", "BLEU-4"]]
    assert test["systems"][3]["values"] == {"cider": [5.0]}  # METEOR did not run
    assert test["columns"] == ["sec_x/decode_y"]
    assert test["utterances"][0] == {
        "id": "u1",
        "references": ["很高兴", "开心"],
        "captions": [["开心"]],
        "audio": None,
    }


def test_values_have_intervals_where_they_can_be_resampled(scored, tmp_path):
    scored("sec_a", {"a": ["高兴"], "b": ["生气"]}, REFERENCES, ["bleu_1", "rouge_l", "distinct_1"])
    (system,) = data_of(made(tmp_path / "exp"))["test"]["systems"]
    mean, low, high = system["values"]["rouge_l"]
    assert low < mean < high and len(system["values"]["distinct_1"]) == 1


def test_tables_stand_in_the_page(exp):
    text = made(exp, read_quoted("secap"), command="sec_report --goals '<x>'")
    assert "<code>sec_report --goals &#x27;&lt;x&gt;&#x27;</code>" in text
    assert "<h2>test (3 utterances), per cent</h2>" in text and "<h2>Probes of the frozen" in text
    assert '<td class="number"><b>50.00 ±1.25</b></td>' in text
    below = text.split('<tbody class="quoted">')
    assert len(below) == 2 and "SECap #6" in below[1] and "<b>" not in below[1].split("</tbody>")[0]
    assert "Segmentation of the n-gram metrics: char." in text and "quoted from Xu et al." in text
    assert "sec_score --hyp mine" in text and "No recordings were found" in text and "Training" not in text


def test_it_needs_nothing_but_itself(exp):
    text = made(exp, picture=b"\x89PNG")
    assert "<img src='data:image/png;base64,iVBORw==' alt='Training" in text
    addresses = re.findall(r"""\b(?:src|href)=["'](.{5})""", text)
    assert len(addresses) == 2 and set(addresses) == {"data:"}
    assert re.findall(r"https?:[^\s\"']*", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text
    assert "<!-- " not in text


def test_recordings_of_elsewhere_are_named_and_not_in_the_page(scored, tmp_path):
    score = scored("sec_a", {"a": ["高兴"], "b": ["生气"]}, REFERENCES, ["rouge_l"])
    folder = Path(score.meta["ref"]).parent
    for path in (folder / "a.wav", tmp_path / "private.wav"):
        path.write_bytes(b"RIFF")
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\nb {tmp_path}/private.wav\n")
    text = made(tmp_path / "exp")
    rows = data_of(text)["test"]["utterances"]
    assert [row["audio"] for row in rows] == ["../dump/test/a.wav", None] and "private" not in text
    assert "1 recordings are not embedded because they are not in the folder of their wav.scp (b)" in text


def test_captions_cannot_leave_the_data(scored, tmp_path):
    hostile = ["</script><script>alert(1)</script>", "<!-- script -->", "\u2028\u2029", "\ud800", '"\\', "\x00"]
    scored("sec_a", {"a": hostile, "b": hostile}, REFERENCES, ["rouge_l"])
    text = made(tmp_path / "exp")
    text.encode("utf-8")
    assert data_of(text)["test"]["utterances"][0]["captions"] == [hostile]
    assert text.count("</script>") == 2 and "alert" not in text.replace("\\u003cscript>alert(1)\\u003c/script>", "")
    assert not set(text) & {"\u2028", "\u2029", "\x00"}


def test_hallucinations_of_captions_stand_beside_them(scored, tmp_path):
    scored("sec_a", {"a": ["愤怒", "高兴"], "b": ["", "很悲伤"]}, REFERENCES, ["hallucination_factuality"])
    scored("sec_b", {"a": ["愤怒"], "b": ["生气"]}, REFERENCES, ["rouge_l"])  # nobody asked for them
    test = data_of(made(tmp_path / "exp"))["test"]
    assert test["columns"] == ["sec_a", "sec_b"]
    assert [row["faults"] for row in test["utterances"]] == [
        [[[1, "factuality", "emotion", "愤怒", "angry", "happy"]], []],
        [[[1, "faithfulness", "empty", "", "", ""]], []],
    ]
