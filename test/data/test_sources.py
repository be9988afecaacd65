"""What a person names on a command line, as a list of recordings with ids."""

import os

import pytest

from espnet2_secap.data.io import bad_id
from espnet2_secap.data.sources import Recording, find_recordings, make_id
from espnet2_secap.errors import SecError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        open(name, "w").close()


def test_files_keep_their_order_and_are_named_by_their_stems():
    found, notes = find_recordings(["z.wav", "sub/a.b.flac", "missing.mp3", "no_ending"])
    assert found == [
        Recording("z", "z.wav"),
        Recording("a.b", "sub/a.b.flac"),
        Recording("missing", "missing.mp3"),
        Recording("no_ending", "no_ending"),
    ]
    assert notes == []


def test_a_folder_is_searched_for_audio_and_video():
    touch("d/b.WAV", "d/a.mp4", "d/sub/a.flac", "d/.hidden.wav", "d/.git/x.wav", "d/notes.txt", "d/sub/cover.jpg")
    found, notes = find_recordings(["d"])
    assert [(one.id, one.path) for one in found] == [("a", "d/a.mp4"), ("b", "d/b.WAV"), ("sub-a", "d/sub/a.flac")]
    assert notes == ["d: skipped 2 files that do not end like audio or video files"]


def test_a_list_of_kaldi_gives_the_ids():
    touch("a b.wav")
    (open("my.scp", "w")).write("utt1 a b.wav\nutt2 /no/such.wav\n")
    assert find_recordings(["my.scp"])[0] == [Recording("utt1", "a b.wav"), Recording("utt2", "/no/such.wav")]


def test_a_data_directory_is_its_wav_scp():
    touch("data/x.wav")
    open("data/wav.scp", "w").write("utt1 a.wav\n")
    assert find_recordings(["data"])[0] == [Recording("utt1", "a.wav")]
    touch("data/segments")
    with pytest.raises(SecError, match="data/segments: segments are not cut here"):
        find_recordings(["data"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a sox x.wav -t wav - |\n", r"wav.scp:1: a: is a command \(pipe\)"),
        ("a a.wav\na b.wav\n", "the id is there twice"),
        ("a\n", "has no value"),
        ("", "is empty"),
        ("a\u3000b a.wav\n", "may not be empty or hold blanks"),
    ],
)
def test_a_bad_list_is_refused(content, said):
    open("wav.scp", "w", encoding="utf-8").write(content)
    with pytest.raises(SecError, match=said):
        find_recordings(["wav.scp"])


def test_a_missing_list_is_refused():
    with pytest.raises(SecError, match="no.scp: does not exist"):
        find_recordings(["no.scp"])


def test_an_empty_folder_is_refused():
    os.mkdir("d")
    with pytest.raises(SecError, match="^d: the folder has no recordings; give a folder with audio files$"):
        find_recordings(["d"])
    touch("d/a.txt")
    with pytest.raises(SecError, match="no recordings; none of its 1 files ends like one"):
        find_recordings(["d"])


def test_two_files_of_one_id_are_both_named():
    touch("d/a.wav", "d/a.flac", "e/a.wav")
    with pytest.raises(SecError, match="^d/a.flac and d/a.wav would both have the id a; rename one"):
        find_recordings(["d"])
    with pytest.raises(SecError, match="^d/a.wav and e/a.wav would both"):
        find_recordings(["d/a.wav", "e"])


def test_a_file_that_is_named_twice_is_captioned_once():
    touch("d/a.wav")
    found, notes = find_recordings(["d", "./d/a.wav"])
    assert found == [Recording("a", "d/a.wav")] and notes == ["./d/a.wav: is named twice, captioned once"]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("my recording 1", "my_recording_1"),
        ("-x", "_x"),
        ("..", "_."),
        ("", "_"),
        ("会议\u3000二", "会议_二"),
        ("a\udce9b", "a_b"),
        ("a/b\\c", "a-b-c"),
    ],
)
def test_ids_are_made_from_any_name(name, made):
    assert make_id(name) == made and bad_id(made) is None


def test_long_names_are_cut_to_different_ids():
    one, other = make_id("会" * 80 + "一"), make_id("会" * 80 + "二")
    assert one != other and len(one.encode()) <= 150 and one.startswith("会" * 40)
