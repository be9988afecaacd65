"""Every reader of text with files as people break them: what is in the file, or one line that names it.

A file is made of ids and values, then broken: byte order marks, line ends, blanks, lost or doubled lines, other
formats, bytes at random.
"""

import json
import re
import unicodedata

import pytest
import yaml
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st

from espnet2_secap.data.candidates import CandidateFile
from espnet2_secap.data.conf import read_yaml
from espnet2_secap.data.io import read_captions, read_kaldi, read_lengths, read_shapes
from espnet2_secap.data.labels import read_emotion_map
from espnet2_secap.data.preference_formats import import_pairs
from espnet2_secap.data.preferences import read_pairs
from espnet2_secap.data.segments import read_segments
from espnet2_secap.data.text_file import read_json, read_lines, read_table
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.words import load_words
from espnet2_secap.process.stages import read_stages
from espnet2_secap.report.curves import read_curves
from espnet2_secap.report.goals import read_goals
from espnet2_secap.tasks.experiment import read_config
from espnet2_secap.text.prompts import read_prompts

LETTERS = st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufeff")
IDS = st.text(st.sampled_from("abz019_.é好-"), min_size=1, max_size=6).filter(lambda text: text[0] not in "-.")
WORDS = st.text(LETTERS, min_size=1, max_size=6)
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
NUMBERS = st.integers(1, 10**6)


def read_hypotheses(path):
    return read_caption_file(path, system=True)


def read_candidates(path):
    found = CandidateFile(path)
    return list(found.rows(found.ids))


# name -> value of a line; what reads it
TABLES = {
    "kaldi": (WORDS, lambda path: read_kaldi(path)),
    "captions": (st.lists(TEXTS, min_size=1, max_size=2), lambda path: read_captions(path)),
    "lengths": (NUMBERS, lambda path: read_lengths(path)),
    "shapes": (st.tuples(NUMBERS, NUMBERS), lambda path: read_shapes(path)),
    "references": (st.lists(TEXTS, min_size=1, max_size=2), lambda path: read_caption_file(path, system=False)),
    "hypotheses": (st.lists(TEXTS, min_size=1, max_size=2), read_hypotheses),
}


def as_line(utt: str, value) -> str:
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False)
    return f"{utt} {','.join(map(str, value)) if isinstance(value, tuple) else value}"


def _swap(old: str, new: str):
    return lambda data, at: data.replace(old.encode(), new.encode(), 1 + at % 3)


def _at(put: bytes, drop: int = 0):
    def change(data: bytes, at: int) -> bytes:
        at %= len(data) + 1
        return data[:at] + put + data[at + drop :]

    return change


def _line(change):
    def apply(data: bytes, at: int) -> bytes:
        lines = data.split(b"\n")
        at %= len(lines)
        return b"\n".join(change(lines, at))

    return apply


HARMLESS = {  # what people's editors do: the content is the same
    "bom": lambda data, at: b"\xef\xbb\xbf" + data,
    "no last line end": lambda data, at: data.rstrip(b"\n"),
    "tab": lambda data, at: b"\n".join(line.replace(b" ", b"\t", 1) for line in data.split(b"\n")),
    "blanks at the end": lambda data, at: data.replace(b"\n", b"  \n"),
}
HARMFUL = {
    "crlf": lambda data, at: data.replace(b"\n", b"\r\n"),
    "cr": lambda data, at: data.replace(b"\n", b"\r"),
    "utf-16": lambda data, at: data.decode("utf-8", "replace").encode("utf-16"),
    "gb18030": lambda data, at: data.decode("utf-8", "replace").encode("gb18030"),
    "nfd": lambda data, at: unicodedata.normalize("NFD", data.decode("utf-8", "replace")).encode(),
    "cut": lambda data, at: data[: at % (len(data) + 1)],
    "lost byte": _at(b"", 1),
    "zero": _at(b"\0"),
    "line separator": _at("\u2028".encode()),
    "next line": _at("\x85".encode()),
    "ideographic space": _at("\u3000".encode()),
    "no-break space": _at("\xa0".encode()),
    "zero width": _at("\u200b".encode()),
    "bad utf-8": _at(b"\xff\xfe"),
    "line end": _at(b"\n"),
    "quote": _at(b'"'),
    "bracket": _at(b"]"),
    "comma": _at(b", "),
    "line twice": _line(lambda lines, at: [*lines[:at], lines[at], *lines[at:]]),
    "line lost": _line(lambda lines, at: lines[:at] + lines[at + 1 :]),
    "id only": _line(lambda lines, at: [*lines[:at], lines[at].split(b" ")[0], *lines[at + 1 :]]),
    "header": lambda data, at: b"id,caption\n" + data,
    "comment": lambda data, at: b"# made by hand\n" + data,
    "csv": lambda data, at: data.replace(b" ", b","),
    "single quotes": _swap('"', "'"),
    "full-width quotes": _swap('"', "“"),
    "full-width brackets": _swap("[", "【"),
    "blank behind the bracket": _swap('["', '[ "'),
    "nothing": lambda data, at: b"",
    "blanks alone": lambda data, at: b" \n \n",
    "deep": lambda data, at: b"a " + b"[" * 3000,
}
BREAKS = st.lists(st.tuples(st.sampled_from(sorted(HARMFUL)), st.integers(0, 10**4)), min_size=1, max_size=2)


def one_line(path, err: SecError) -> None:
    assert "\n" not in str(err) and str(err).startswith(str(path.parent)), err


@pytest.mark.parametrize("name", TABLES)
def test_what_editors_do_changes_nothing_in(name, tmp_path):
    values, read = TABLES[name]
    path = tmp_path / "file"

    @cases(50)
    @given(st.dictionaries(IDS, values, min_size=1, max_size=4), st.sets(st.sampled_from(sorted(HARMLESS)), max_size=2))
    def try_out(table, edits):
        data = "".join(f"{as_line(utt, table[utt])}\n" for utt in sorted(table)).encode()
        for edit in sorted(edits):
            data = HARMLESS[edit](data, 0)
        path.write_bytes(data)
        try:
            assert read(path) == table
        except SecError as err:  # "id,x y" may be CSV; such ids are not drawn, but values are
            one_line(path, err)
            assert re.search("looks like|byte order mark|in quotes|blanks|zero-width|invisible", str(err)), (err, data)

    try_out()


@pytest.mark.parametrize("name", TABLES)
def test_broken_tables_are_one_line_or_all_that_is_there(name, tmp_path):
    values, read = TABLES[name]
    path = tmp_path / "file"

    @cases(100)
    @given(st.dictionaries(IDS, values, min_size=1, max_size=4), BREAKS)
    def try_out(table, breaks):
        data = "".join(f"{as_line(utt, table[utt])}\n" for utt in sorted(table)).encode()
        for kind, at in breaks:
            data = HARMFUL[kind](data, at)
        path.write_bytes(data)
        try:
            found = read(path)
        except SecError as err:
            return one_line(path, err)
        text = data.decode("utf-8").removeprefix("\ufeff")  # what is not UTF-8 cannot have been read
        lines = [line for line in re.split("\r\n|\n|\r", text) if line.strip()]
        assert len(found) == len(lines), (found, data)  # nothing is lost, nothing made up
        flat = json.dumps(text, ensure_ascii=False) + text
        for utt in found:
            assert utt in text, (utt, data)
        for value in found.values():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                shown = json.dumps(part, ensure_ascii=False)[1:-1] if isinstance(part, str) else str(part)
                assert shown in flat or str(part) in flat, (part, data)

    try_out()


GOALS = {"sec_caption_*": {"test": {"emotion_recall": [">=", 85], "cider": [">=", "2.5 * random_caption"]}}}
GOALS["*"] = {"*": {"rouge_l": [[">", "shuffled_audio + 12"], [">", "shuffled_audio", "interval"]]}}
WORDS_FILE = {"emotion": {"angry": ["愤怒", "生气"], "sad": ["悲伤"]}}
WORDS_FILE["_groups"] = {"emotion": {"two": {"active": ["angry"], "calm": ["sad"]}}}
CONF = {"model": "caption", "decoder_conf": {"path": "llama", "dtype": "float32"}, "lr": 1e-4, "list": [1, [2, "a"]]}
PAIR = {"id": "u1", "prompt": "p", "chosen": "语速快", "rejected": "语速慢", "type": "quality", "source": "file"}
PAIRS = "".join(json.dumps(PAIR | {"id": utt, "margin": 0.5}, ensure_ascii=False) + "\n" for utt in ("u1", "u2"))
CANDIDATE = {"id": "a", "prompt": "p", "candidates": [{"text": "语速快", "score": -0.5}, {"text": "x"}]}
# name -> a good content; what reads it
FILES = {
    "pairs": (PAIRS, read_pairs),
    "pairs of trl": (PAIRS, import_pairs),
    "pairs of EmoPrefer": (
        'name,a1,a2,preference\nu1,"语速快, x",y,a1\nu2,y,z,same\n',
        lambda p: import_pairs(p, prompt="p"),
    ),
    "candidates": (json.dumps(CANDIDATE) + "\n", read_candidates),
    "yaml": (yaml.safe_dump(CONF), read_yaml),
    "config": (yaml.safe_dump(CONF), lambda path: read_config(path, {})),
    "goals": (json.dumps(GOALS), read_goals),
    "words": (json.dumps(WORDS_FILE, ensure_ascii=False), load_words),
    "prompts": ("描述说话人的情绪\nhow does the speaker feel?\n", read_prompts),
    "lines": ("a\nb c\n", read_lines),
    "table": ("a\tb\nc\td\n", read_table),
    "json": (json.dumps({"a": [1, "b"]}), read_json),
    "curves": ("epoch\tsplit\tkey\tvalue\n1\ttrain\tloss\t0.5\n", read_curves),
    "stages": ("r\t1.0\tbegin\t1\tcorpus\nr\t2.0\tend\t0\n", lambda path: read_stages(path, "r")),
    "emotion map": ("Happy happy\nfrustrated angry\n", read_emotion_map),
    "json captions": ('{"a": "x y", "b": ["z"]}', read_hypotheses),
    "json lines": (
        '{"id": "a", "captions": ["x"]}\n{"id": "b", "caption": "y"}\n',
        lambda p: read_caption_file(p, True),
    ),
    "result.txt": ("file:a\norigin: x\nresult: y\nresult2: z\n", read_hypotheses),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_files_are_one_line_or_read(name, tmp_path):
    good, read = FILES[name]
    path = tmp_path / "file"
    path.write_text(good, encoding="utf-8")
    expected = read(path)
    for edit in ("bom", "no last line end") if name != "stages" else ():  # which only we write
        path.write_bytes(HARMLESS[edit](good.encode(), 0))
        assert read(path) == expected, edit

    @cases(40)
    @given(BREAKS)
    def try_out(breaks):
        data = good.encode()
        for kind, at in breaks:
            data = HARMFUL[kind](data, at)
        path.write_bytes(data)
        try:
            read(path)
        except SecError as err:
            assert "\n" not in str(err) and str(path.parent) in str(err), err

    try_out()


@pytest.mark.parametrize("name", ["wav.scp", "captions", "text", "utt2emo", "utt2spk", "spk2utt", "segments"])
def test_a_broken_data_directory_is_listed(name, tmp_path):
    files = {
        "wav.scp": "a a.wav\nb b.wav\n",
        "captions": 'a ["x"]\nb ["y", "z"]\n',
        "text": "a x\nb y z\n",
        "utt2emo": "a sad\nb calm\n",
        "utt2spk": "a s\nb s\n",
        "spk2utt": "s a b\n",
    }
    files |= {"segments": "a a 0 1.5\nb b 0.5 -1\n"} if name == "segments" else {}
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert validate_data_dir(tmp_path) == []

    @cases(40)
    @given(BREAKS)
    def try_out(breaks):
        data = files[name].encode()
        for kind, at in breaks:
            data = HARMFUL[kind](data, at)
        (tmp_path / name).write_bytes(data)
        problems = validate_data_dir(tmp_path)
        assert all("\n" not in line and line.startswith(str(tmp_path)) for line in problems), problems
        if name == "segments":
            try:
                read_segments(tmp_path)
            except SecError as err:
                assert problems, err

    try_out()
