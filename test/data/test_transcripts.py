import pytest

from espnet2_secap.data.transcripts import check_transcripts, read_transcripts
from espnet2_secap.errors import SecError


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("u1 今天 下午\nu2\nu3  \nu5 你好\nother one\n", encoding="utf-8")
    return path


def test_the_words_of_each_utterance_asked_for(text):
    assert read_transcripts(text, ["u1", "u5"], "error", "test set") == {"u1": "今天 下午", "u5": "你好"}
    assert read_transcripts(text, ["u4", "u2", "u1"], "empty", "test set") == {"u4": "", "u2": "", "u1": "今天 下午"}


def test_utterances_without_a_transcription_are_counted_and_named(text):
    with pytest.raises(SecError) as error:
        read_transcripts(text, [f"u{i}" for i in range(1, 9)], "error", "test set")
    assert str(error.value).startswith(
        f"{text}: has no line for 4 (u4, u6, u7, ...) and no words for 2 (u2, u3) of 8 utterances of the test set"
    )
    assert "--missing_text empty" in str(error.value) and "skip" not in str(error.value)
    with pytest.raises(SecError, match="no words for 1 .u2. of 1 utterances of the training set.*--missing_text skip"):
        check_transcripts(text, {"u2": ""}, ["u2"], "error", "training set", skip=True)


def test_no_file(tmp_path):
    with pytest.raises(SecError, match="no transcriptions are given, and the model reads .*--text_file FILE"):
        read_transcripts(None, ["u1"], "empty", "test set")
    with pytest.raises(SecError, match="asr.txt: no such file, and the model reads the transcription"):
        read_transcripts(tmp_path / "asr.txt", ["u1"], "error", "test set")
    (tmp_path / "asr.txt").write_bytes(b"u1 \xff\xfe\xfa\n")
    with pytest.raises(SecError, match="asr.txt"):
        read_transcripts(tmp_path / "asr.txt", ["u1"], "empty", "test set")
