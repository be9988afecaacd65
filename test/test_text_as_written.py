"""Text as people write it, in every text file that the package reads: the same content, or one line that says why not.

A table of all readers, each with a file that it accepts; byte order marks, line ends, blanks and other encodings come
from here. Whoever adds a reader adds a line to READERS.
"""

import json

import pytest

from espnet2_secap.data.io import (
    read_captions,
    read_kaldi,
    read_lengths,
    read_shapes,
    read_yaml,
)
from espnet2_secap.data.labels import read_emotion_map
from espnet2_secap.data.text_file import read_lines, read_names, read_table, read_text
from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.words import load_words
from espnet2_secap.report.collect import Score, _read_meta, _read_metrics
from espnet2_secap.report.curves import read_curves
from espnet2_secap.report.goals import read_goals
from espnet2_secap.report.resample import _read_scores
from espnet2_secap.text.prompts import read_prompts


def hypotheses(path):
    return read_caption_file(path, system=True)


def scores(path):
    ids, values = _read_scores(Score("x", "test", {}, folder=path.parent))
    return ids, {name: table.tolist() for name, table in values.items()}


# name -> reader, name of its file, content with letters outside ASCII where they can be
READERS = {
    "wav.scp, text, utt2emo": (read_kaldi, "text", "a 你好\nb é x\n"),
    "captions": (read_captions, "captions", 'a ["很高兴", "x"]\nb ["é"]\n'),
    "utt2num_samples": (read_lengths, "utt2num_samples", "a 1\nb 2\n"),
    "speech_shape": (read_shapes, "shape", "a 1,8\nb 2,8\n"),
    "emotion map": (read_emotion_map, "map", "高兴 happy\nb c\n"),
    "list of ids": (read_names, "ids", "a\nb x\n"),
    "prompts": (read_prompts, "prompts", "描述情感\nHow é?\n"),
    "configuration": (read_yaml, "conf.yaml", "a: 你好\nb: 2\n"),
    "words": (load_words, "words.json", '{"emotion": {"happy": ["高兴"]}}\n'),
    "goals": (read_goals, "goals.json", '{"x": {"test": {"cider": [">=", 1]}}}\n'),
    "score.json, probe.json": (_read_metrics, "score.json", '{"cider": {"mean": 1, "std": 0, "n": 1}}\n'),
    "score_meta.json": (lambda p: _read_meta(p.with_name("score.json")), "score_meta.json", '{"note": "é"}\n'),
    "scores.tsv": (scores, "scores.tsv", "id\tcandidate\tcider\né\t1\t2.0\nb\t1\t3.0\n"),
    "curves.tsv": (read_curves, "curves.tsv", "epoch\tsplit\tkey\tvalue\n1\ttrain\tloss\t2.0\n2\ttrain\tloss\t1.5\n"),
    "scored captions": (hypotheses, "hyp", 'a ["很高兴", "x"]\nb ["é"]\n'),
    "scored Kaldi text": (hypotheses, "hyp", "a 很高兴\nb é x\n"),
    "scored JSON": (hypotheses, "hyp", '{"a": "很高兴",\n"b": ["é", "x"]}\n'),
    "scored JSON lines": (hypotheses, "hyp", '{"a": "很高兴"}\n{"id": "b", "captions": ["é", "x"]}\n'),
    "scored result.txt": (hypotheses, "hyp", "file: a.wav\norigin: x\nresult: 很高兴\n\nfile: b.wav\nresult: é\n"),
}
# A table of a data directory is read by ESPnet, kaldiio and Kaldi too: what they would read otherwise is refused.
STRICT = {"wav.scp, text, utt2emo", "captions", "utt2num_samples", "speech_shape"}
VARIANTS = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CRLF and byte order mark": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
}


@pytest.fixture(params=READERS)
def reader(request, tmp_path):
    read, name, content = READERS[request.param]

    def of(data: bytes):
        (tmp_path / name).write_bytes(data)
        return read(tmp_path / name)

    return request.param, of, content


@pytest.mark.parametrize("variant", VARIANTS)
def test_byte_order_marks_and_line_ends_change_nothing_or_are_refused(reader, variant):
    name, of, content = reader
    plain = of(content.encode())
    assert plain
    if name in STRICT and variant != "no last line end":
        with pytest.raises(SecError, match="^[^\n]*(byte order mark|CRLF|control character)[^\n]*$"):
            of(VARIANTS[variant](content))
    else:
        assert of(VARIANTS[variant](content)) == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_one_line(reader, encoding):
    _, of, content = reader
    with pytest.raises(SecError, match=r"^[^\n]*(UTF-16 or UTF-32, must be UTF-8|expected epoch|score x again)[^\n]*$"):
        of(content.encode(encoding))


def test_bytes_that_are_no_utf8_are_one_line(reader):
    _, of, content = reader
    with pytest.raises(SecError, match=r"^[^\n]*(not UTF-8|expected epoch|score x again)[^\n]*$"):
        of(content.encode() + b"\xff\xfe\xfd\n")


def test_only_line_ends_end_a_line(tmp_path):
    """U+2028, U+0085 and others, at which Python's splitlines cuts, are part of a value and of a prompt."""
    odd = "x\u2028y\u0085z"
    path = tmp_path / "file"
    path.write_text(f"a {odd}\nb q\n", encoding="utf-8")
    assert read_kaldi(path) == {"a": odd, "b": "q"} and hypotheses(path) == {"a": [odd], "b": ["q"]}
    assert read_prompts(path) == [f"a {odd}", "b q"] == read_lines(path) and read_names(path) == ["a", "b"]
    assert read_table(path) == [[f"a {odd}"], ["b q"]] and read_text(path) == f"a {odd}\nb q\n"
    path.write_text(json.dumps({"a": odd}, ensure_ascii=False) + "\n" + json.dumps({"b": odd}, ensure_ascii=False))
    assert hypotheses(path) == {"a": [odd], "b": [odd]}


GOOD = {"a": ["an angry voice", "b's"], "b": ["a sad voice"]}


@pytest.mark.parametrize(
    "content",
    [
        'a [ "an angry voice" , "b\'s" ]\nb [ "a sad voice" ]\n',
        'a\t["an angry voice", "b\'s"]\nb\t["a sad voice"]\n',
        'a \t ["an angry voice","b\'s"]  \nb ["a sad voice"]\t\n',
        'a [\t"an angry voice", "b\\u0027s"]\nb ["a sad voice" ]\n',
    ],
)
def test_captions_with_blanks_are_the_same_for_both_readers(tmp_path, content):
    (tmp_path / "captions").write_text(content)
    assert read_captions(tmp_path / "captions") == GOOD == hypotheses(tmp_path / "captions")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("['an angry voice']", "a list as Python prints it"),
        ("""['an angry voice', "b's"]""", "a list as Python prints it"),
        ("""["b's", 'an angry voice']""", "a list as Python prints it"),
        ("[ 'an angry voice' ]", "a list as Python prints it"),
        ("[“an angry voice”]", "its brackets or quotes are not the ASCII ones"),
        ('【"an angry voice"】', "its brackets or quotes are not the ASCII ones"),
        ('［"an angry voice"］', "its brackets or quotes are not the ASCII ones"),
        ('["an angry voice", “b”]', "its brackets or quotes are not the ASCII ones"),
        ('["an angry voice",]', "is not JSON"),
        ('["an angry voice"', "is not JSON"),
        ("[]", "has no caption"),
        ("[ ]", "has no caption"),
    ],
)
def test_a_list_that_is_no_json_is_never_a_sentence(tmp_path, value, said):
    (tmp_path / "captions").write_text(f"a {value}\nb {value}\n", encoding="utf-8")
    for read in (read_captions, hypotheses):
        with pytest.raises(SecError, match=rf"captions:1: a: [^\n]*{said}"):
            read(tmp_path / "captions")
    (tmp_path / "captions.json").write_text(json.dumps({"a": value, "b": "x"}), encoding="utf-8")
    with pytest.raises(SecError, match=f"a: .*{said}"):
        hypotheses(tmp_path / "captions.json")


def test_a_sentence_with_brackets_or_quotes_is_a_sentence(tmp_path):
    sentences = ["[笑] 好", "【平静】的语气", '"yes", he says', "'t is calm", "[laughs] no", "“好”，她说"]
    (tmp_path / "hyp").write_text("".join(f"u{at} {one}\n" for at, one in enumerate(sentences)), encoding="utf-8")
    assert [one for (one,) in hypotheses(tmp_path / "hyp").values()] == sentences


def test_captions_that_all_stand_in_quotes_are_refused(tmp_path):
    for quote in "\"'":
        (tmp_path / "hyp").write_text(f"a {quote}an angry voice{quote}\nb {quote}a sad voice{quote}\n")
        with pytest.raises(SecError, match="hyp:1: a: stands in quotes, as every caption here"):
            hypotheses(tmp_path / "hyp")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,caption\na,an angry voice\nb,a sad voice\n", "looks like CSV with a header"),
        ("a,an angry voice\nb,a sad voice\n", "looks like CSV"),
        ("id\tcaption\na\tan angry voice\n", "looks like TSV with a header"),
        ("a an angry voice\n\nb a sad voice\n", ":2: has no id (blank line"),
        ("# captions\na an angry voice\n", ":1: #: is a comment"),
        ("a an angry voice\na a sad voice\n", ":2: a: the id is there twice"),
        ("a\u3000an angry voice\nb a sad voice\n", "U+3000 IDEOGRAPHIC SPACE"),
        ("a\u00a0an angry voice\nb a sad voice\n", "U+00A0 NO-BREAK SPACE"),
        ("a\u200b an angry voice\nb a sad voice\n", "U+200B ZERO WIDTH SPACE"),
        ("a x\n\ufeffb y\n", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("a x\0y\nb z\n", ":1: a: holds a control character"),
    ],
)
def test_what_is_no_kaldi_text_is_named_by_both_readers(tmp_path, content, said):
    (tmp_path / "file").write_bytes(content.encode())
    for read in (read_kaldi, hypotheses):
        with pytest.raises(SecError, match="^[^\n]*$") as err:
            read(tmp_path / "file")
        assert said in str(err.value)


def test_json_lines_are_no_kaldi_table(tmp_path):
    (tmp_path / "captions").write_text('{"id": "a", "captions": ["x"]}\n{"id": "b", "captions": ["y"]}\n')
    with pytest.raises(SecError, match="captions: looks like JSON"):
        read_captions(tmp_path / "captions")
    assert hypotheses(tmp_path / "captions") == {"a": ["x"], "b": ["y"]}


@pytest.mark.parametrize("caption", ["", " ", "\u3000", "\u200b", "\ufeff\u200b", "\\ud800"])
def test_human_captions_without_a_visible_character_are_refused(tmp_path, caption):
    (tmp_path / "captions").write_text(f'a ["x", "{caption}"]\n', encoding="utf-8")
    for read in (read_captions, lambda path: read_caption_file(path, system=False)):
        with pytest.raises(SecError, match="captions:1: a: has (an empty caption|half a surrogate pair)"):
            read(tmp_path / "captions")
