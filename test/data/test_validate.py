"""A data directory is good, or every bad line in it is listed."""

import pytest

from espnet2_secap.data.validate import Leniency, require_good_data_dir, utterance_files, validate_data_dir
from espnet2_secap.errors import SecError

GOOD = {
    "wav.scp": "a wav/a.wav\nb wav/b.wav\nc my wavs/c.wav\n",
    "text": "a 你好\nb how are you\nc x\n",
    "captions": 'a ["x", "y"]\nb ["x"]\nc ["z"]\n',
    "utt2spk": "a s1\nb s1\nc s2\n",
    "spk2utt": "s1 a b\ns2 c\n",
    "utt2emo": "a sad\nb happy\nc sad\n",
    "emo2utt": "happy b\nsad a c\n",
    "utt2rate": "a fast\nb slow\nc normal\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in GOOD.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_a_good_one_has_no_problems(folder):
    assert validate_data_dir(folder, ["captions", "utt2emo", "emo2utt", "text", "spk2utt"]) == []
    require_good_data_dir(folder)
    assert utterance_files(folder) == ["wav.scp", "text", "captions", "utt2emo", "utt2rate", "utt2spk"]


def test_wav_scp_alone_is_enough(tmp_path):
    (tmp_path / "wav.scp").write_text("a x.wav\n")
    assert validate_data_dir(tmp_path) == []


def test_files_that_are_no_tables_are_not_read(folder):
    (folder / "utt2spk.bak").write_bytes(b"\xff")
    (folder / "notes.txt").write_bytes(b"\xff")
    assert validate_data_dir(folder) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("wav.scp", None, ["wav.scp: does not exist"]),
        ("wav.scp", "", ["wav.scp: is empty"]),
        ("wav.scp", "a x\nc y\nb z\n", ["wav.scp:3: b: not in byte order, it follows c"]),
        ("wav.scp", "a x\nb y\nb z\nc w\n", ["wav.scp:3: b: the id is there twice"]),
        (
            "wav.scp",
            "a x\r\nb y\r\nc z\r\n",
            [f"wav.scp:{n}: {i}: ends with CRLF" for n, i in ((1, "a"), (2, "b"), (3, "c"))],
        ),
        ("wav.scp", "\ufeffa x\nb y\nc z\n", ["wav.scp:1: begins with a byte order mark"]),
        ("wav.scp", "a x\nb sox y.wav -t wav - |\nc z\n", ["wav.scp:2: b: is a command (pipe)"]),
        ("text", "a x\nb y\n", ["text: c: is missing, wav.scp has it in line 3"]),
        ("text", "a x\nb y\nc z\nd w\n", ["text:4: d: is not in wav.scp"]),
        (
            "captions",
            'a ["x"]\nb x\nc []\n',
            ["captions:2: b: is not JSON", "captions:3: c: has no caption"],
        ),
        (
            "captions",
            'a ["x"]\nc ["x", ""]\n',
            ["captions:2: c: has an empty caption", "captions: b: is missing"],
        ),
        ("captions", 'a ["x"]\nb\nc ["x"]\n', ["captions:2: b: has no value"]),
        ("captions", "", ["captions: is empty"]),
        ("utt2rate", "a fast\nb very slow\nc normal\n", ["utt2rate:2: b: has 2 values"]),
        ("spk2utt", "s1 a b\ns2 c b\n", ["spk2utt:2: s2: lists b a second time"]),
        ("spk2utt", "s1 a\ns2 b c\n", ["spk2utt:2: s2: lists b, which utt2spk has under s1"]),
        ("spk2utt", "s1 a\ns2 c\n", ["spk2utt: b: is missing"]),
        ("emo2utt", "sad a c\nhappy b\n", ["emo2utt:2: happy: not in byte order"]),
        (
            "segments",
            "a a 0 1\nb b 1 0.5\nc z 0 -1\n",
            ["segments:2: b: start 1 and end 0.5", "segments:3: c: wav.scp"],
        ),
        ("segments", "a a 0 1\nb b 0 1 A\nc c 0 -1\n", ["segments:2: b: has 4 values"]),
        ("segments", "a a 0 1\nb b -1 1\nc c 0 one\n", ["segments:2: b: start -1", "segments:3: c: 0 one are not"]),
    ],
)
def test_each_bad_line_is_told_once(folder, name, content, said):
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content.encode())
    problems = validate_data_dir(folder)
    assert len(problems) == len(said)
    for problem, start in zip(problems, said, strict=True):
        assert problem.startswith(f"{folder}/{start}")
        assert ";" in problem  # and what to do


def test_three_fields_in_utt2spk(folder):
    (folder / "utt2spk").write_text("a s1\nb s1 x\nc s2\n")
    (folder / "spk2utt").unlink()
    assert validate_data_dir(folder) == [f"{folder}/utt2spk:2: b: has 2 values, must have one; remove the others"]


def test_with_segments_ids_are_those_of_the_segments(folder):
    """Kaldi's habit: wav.scp has recordings, one of which nobody needs; all other files have utterances."""
    (folder / "wav.scp").write_text("dia0 x.wav\ndia1 y.wav\ndia2 z.wav\n")
    (folder / "segments").write_text("a dia0 0 1.5\nb dia0 1.5 -1\nc dia1 0.25 3\n")
    assert validate_data_dir(folder, ["captions", "text"]) == []
    (folder / "segments").write_text("a dia0 0 1.5\nb dia0 1.5 -1\n")
    problems = validate_data_dir(folder)
    assert f"{folder}/captions:3: c: is not in segments; remove it or add its recording" in problems


def test_an_utterance_without_words_is_one_missing_text_is_for_the_user_to_decide(folder):
    (folder / "text").write_text("a 你好\nb\nc x\n", encoding="utf-8")
    assert validate_data_dir(folder) == []
    assert "text:2: b: has no value" in validate_data_dir(folder, leniency=Leniency(missing_text="error"))[0]
    (folder / "text").write_text("a 你好\nb\n", encoding="utf-8")
    (problem,) = validate_data_dir(folder)
    assert "text: c: is missing" in problem and "--missing_text" in problem
    for allowed in ("skip", "empty"):
        assert validate_data_dir(folder, leniency=Leniency(missing_text=allowed)) == []


def test_kaldi_s_no_text_and_no_wav(folder):
    (folder / "text").write_text("a x\n")
    (folder / "wav.scp").unlink()
    assert validate_data_dir(folder, leniency=Leniency(no_text=True, no_wav=True)) == []
    (folder / "utt2emo").write_text("a sad\nc sad\n")
    (problem, _) = validate_data_dir(folder, leniency=Leniency(no_text=True, no_wav=True))
    assert problem.startswith(f"{folder}/utt2emo: b: is missing, captions has it in line 2")


@pytest.mark.parametrize("utt_id", ["字" * 100, "a\u3000b"])
def test_ids_that_are_none(tmp_path, utt_id):
    (tmp_path / "wav.scp").write_text(f"{utt_id} x.wav\n", encoding="utf-8")
    (problem,) = validate_data_dir(tmp_path)
    assert problem.startswith(f"{tmp_path}/wav.scp:1: ")
    assert "rename it" in problem


def test_what_is_required_must_be_there(folder):
    for name in ("captions", "utt2spk"):
        (folder / name).unlink()
    problems = validate_data_dir(folder, ["captions", "utt2emo"])
    assert problems[0].startswith(f"{folder}/captions: does not exist")
    assert problems[1].startswith(f"{folder}/spk2utt: needs a correct utt2spk")
    assert len(problems) == 2


def test_the_first_problem_is_raised_with_the_number_of_all(folder):
    (folder / "text").write_text("a x\n")
    with pytest.raises(SecError, match=r"text: b: is missing.*\(2 bad lines, see utils/validate_data_dir.sh"):
        require_good_data_dir(folder)
    with pytest.raises(SecError, match="no such folder; run stage 1"):
        require_good_data_dir(folder / "nothing")


def test_ids_in_two_unicode_forms_are_one_line(tmp_path):
    """é as one code point in wav.scp, as two in captions, as file names of macOS are written."""
    ids = ["caf\u00e9", "fianc\u00e9", "x"]
    (tmp_path / "wav.scp").write_text("".join(f"{one} x.wav\n" for one in ids), encoding="utf-8")
    other = [one.replace("\u00e9", "e\u0301") for one in ids]
    (tmp_path / "captions").write_text("".join(f'{one} ["x"]\n' for one in other), encoding="utf-8")
    (problem,) = validate_data_dir(tmp_path)
    assert problem.startswith(f"{tmp_path}/captions:1: cafe")
    assert "2 ids stand there in another Unicode form (NFC, NFD) than in wav.scp (line 1); write" in problem
