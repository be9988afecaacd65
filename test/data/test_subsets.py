"""Subsets, unions and copies of data directories, against what Kaldi's scripts of these names document."""

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.subsets import choose, combine_dirs, read_data_dir
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError

IDS = [f"s{spk}-u{number}" for spk, count in ((1, 5), (2, 3), (3, 1)) for number in range(count)]


def make(folder, ids=IDS, segments=False):
    """A data directory of three speakers; with segments, two recordings."""
    folder.mkdir(parents=True)
    tables = {
        "captions": {utt: f'["one of {utt}", "two"]' for utt in ids},
        "text": {utt: "" if utt.endswith("u1") else "words" for utt in ids},
        "utt2spk": {utt: utt.split("-")[0] for utt in ids},
        "utt2emo": {utt: "sad" if utt.endswith("u0") else "happy" for utt in ids},
        "utt2dur": {utt: f"{10 - at}.5" for at, utt in enumerate(ids)},
        "spk2gender": {utt.split("-")[0]: "f" for utt in ids},
        "wav.scp": {utt: f"/x/{utt} 1.wav" for utt in ids},
    }
    if segments:
        tables["wav.scp"] = {"r1": "/x/r1.wav", "r2": "/x/r2.wav"}
        tables["segments"] = {utt: f"r{1 + utt.startswith('s1')} {at}.0 {at + 1}.5" for at, utt in enumerate(ids)}
    for name, table in tables.items():
        (folder / name).write_text("".join(f"{key} {table[key]}".rstrip() + "\n" for key in sorted(table)))
    read_data_dir(folder).write(folder)  # which adds spk2utt
    return folder


@pytest.mark.parametrize("segments", [False, True])
def test_a_subset_has_its_lines_of_every_file(tmp_path, segments):
    data = make(tmp_path / "all", segments=segments)
    read_data_dir(data).subset(["s2-u0", "s2-u2"]).write(tmp_path / "some")
    assert validate_data_dir(tmp_path / "some", ["captions", "text", "utt2spk", "spk2utt", "utt2emo"]) == []
    for name in ("captions", "utt2emo", "utt2dur", "segments" if segments else "wav.scp"):
        wanted = {utt: value for utt, value in read_kaldi(data / name).items() if utt in ("s2-u0", "s2-u2")}
        assert read_kaldi(tmp_path / "some" / name) == wanted
    assert read_kaldi(tmp_path / "some" / "spk2utt") == {"s2": "s2-u0 s2-u2"}
    assert read_kaldi(tmp_path / "some" / "spk2gender") == {"s2": "f"}
    if segments:
        assert read_kaldi(tmp_path / "some" / "wav.scp") == {"r1": "/x/r1.wav"}


def test_which_utterances_a_subset_has(tmp_path):
    folder = make(tmp_path / "all")
    data = read_data_dir(folder)
    assert choose(data, "first", 3, folder) == IDS[:3] and choose(data, "last", 3, folder) == IDS[-3:]
    assert choose(data, "shortest", 2, folder) == [IDS[-1], IDS[-2]]  # by utt2dur
    drawn = choose(data, "random", 4, folder)
    assert drawn == choose(data, "random", 4, folder) and len(set(drawn)) == 4 and sorted(drawn) != IDS[:4]
    assert choose(data, "per-spk", 2, folder) == ["s1-u0", "s1-u2", "s2-u0", "s2-u1", "s3-u0"]  # s3 has only one
    speakers = choose(data, "speakers", 4, folder)
    spoken = [utt.split("-")[0] for utt in speakers]
    assert len(speakers) >= 4 and all(spoken.count(spk) == {"s1": 5, "s2": 3, "s3": 1}[spk] for spk in set(spoken))
    for kind, number, said in (
        ("first", 10, "has 9 utterances, 10 were asked for"),
        ("random", 0, "1 utterance or more"),
    ):
        with pytest.raises(SecError, match=said):
            choose(data, kind, number, folder)


def test_the_shortest_by_segments_or_by_the_recordings_themselves(tmp_path):
    folder = tmp_path / "wavs"
    folder.mkdir()
    for utt, samples in (("a", 900), ("b", 500), ("c", 700)):
        sf.write(folder / f"{utt}.wav", np.full(samples, 0.1), 16000)
    (folder / "wav.scp").write_text("".join(f"{utt} {folder}/{utt}.wav\n" for utt in "abc"))
    assert choose(read_data_dir(folder), "shortest", 2, folder) == ["b", "c"]
    (folder / "segments").write_text("x a 0 0.03\ny a 0.03 0.04\n")
    assert choose(read_data_dir(folder), "shortest", 1, folder) == ["y"]


def test_a_union_keeps_what_all_have_and_says_what_is_left_out(tmp_path):
    first, second = make(tmp_path / "a", IDS[:5]), make(tmp_path / "b", IDS[5:])
    (second / "text").unlink()
    data, notes = combine_dirs([first, second])
    data.write(tmp_path / "both")
    assert notes == [f"text is left out: {second} has none"]
    assert validate_data_dir(tmp_path / "both", ["captions", "utt2emo", "spk2utt"]) == []
    assert list(read_kaldi(tmp_path / "both" / "captions")) == IDS and not (tmp_path / "both" / "text").exists()


def test_ids_of_two_sets_that_are_the_same_are_never_joined(tmp_path):
    """MELD: ids 0 to n in each set; Kaldi's way out is a prefix."""
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    with pytest.raises(SecError, match="9 ids are in an earlier directory too .*copy_data_dir.sh --utt-prefix"):
        combine_dirs([first, second])
    for folder in (first, second):
        prefixed = f"{folder.name}_{{}}".format
        renamed = read_data_dir(folder).renamed(prefixed, prefixed)
        renamed.write(tmp_path / f"new_{folder.name}")
    data, _ = combine_dirs([tmp_path / "new_a", tmp_path / "new_b"])
    data.write(tmp_path / "both")
    assert validate_data_dir(tmp_path / "both", ["captions", "utt2spk", "spk2utt"]) == []
    assert len(data.ids()) == 18 and read_kaldi(tmp_path / "both" / "utt2spk")["b_s1-u0"] == "b_s1"


def test_a_union_of_sets_with_and_without_segments(tmp_path):
    first, second = make(tmp_path / "a", IDS[:5], segments=True), make(tmp_path / "b", IDS[5:])
    data, _ = combine_dirs([first, second])
    data.write(tmp_path / "both")
    assert validate_data_dir(tmp_path / "both") == []
    assert read_kaldi(tmp_path / "both" / "segments")["s2-u0"] == "s2-u0 0 -1"


def test_a_copy_renames_utterances_but_not_the_recordings_of_segments(tmp_path):
    data = read_data_dir(make(tmp_path / "a", segments=True)).renamed(lambda utt: f"{utt}-noise", lambda spk: spk)
    data.write(tmp_path / "b")
    assert validate_data_dir(tmp_path / "b", ["captions", "segments"]) == []
    assert read_kaldi(tmp_path / "b" / "segments")["s1-u0-noise"] == "r2 0.0 1.5"
    with pytest.raises(SecError, match="two ids would have the same name"):
        read_data_dir(tmp_path / "a").renamed(lambda utt: "x", lambda spk: spk)


def test_writing_over_an_earlier_directory_leaves_none_of_its_files(tmp_path):
    old, new = make(tmp_path / "old"), make(tmp_path / "new", IDS[:2])
    (new / "text").unlink()
    (old / "notes.md").write_text("mine")
    read_data_dir(new).write(old)
    assert not (old / "text").exists() and (old / "notes.md").exists() and validate_data_dir(old) == []


def test_kind_3_recordings_of_one_name_in_two_directories_are_told_with_a_way_out_that_works(tmp_path):
    """copy_data_dir.sh --utt-prefix leaves recordings as they are."""
    for name in "ab":
        make(tmp_path / name, [f"s1-{name}", f"s2-{name}"], segments=True)
    other = (tmp_path / "b" / "wav.scp").read_text().replace("r1 ", "r1 /other")
    (tmp_path / "b" / "wav.scp").write_text(other)
    with pytest.raises(SecError, match=r"b/wav.scp: 1 ids are in an earlier directory too \(r1\); rename these rec"):
        combine_dirs([tmp_path / "a", tmp_path / "b"])
