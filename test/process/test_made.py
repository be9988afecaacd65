"""Kind 12: a stage whose outputs are older than its inputs is seen by content, not by time alone."""

import os
import shutil

from espnet2_secap.process import made


def write(path, text, time=None):
    path.write_text(text)
    if time is not None:
        os.utime(path, (time, time))
    return str(path)


def test_a_changed_input_is_named_and_a_touched_or_copied_one_is_not(tmp_path):
    a, b = (write(tmp_path / name, name) for name in "ab")
    out = tmp_path / "out"
    assert made.changed(out, [a, b]) is None and made.has_ended(out) is None
    made.begin(out, [a, b, str(tmp_path / "none")])
    assert made.has_ended(out) is False
    made.end(out)
    assert made.has_ended(out) is True and made.changed(out, [a, b]) == []
    os.utime(a, (1, 1))
    assert made.changed(out, [a, b]) == []
    write(tmp_path / "a", "x")
    assert made.changed(out, [a, b]) == [a]
    shutil.copytree(out, tmp_path / "copy")
    assert made.changed(tmp_path / "copy", [b]) == []


def test_a_stage_that_was_refused_or_killed_leaves_the_record_of_what_is_there(tmp_path):
    a, out = write(tmp_path / "a", "a"), tmp_path / "out"
    made.begin(out, [a])
    made.end(out)
    write(tmp_path / "a", "x")
    made.begin(out, [a])
    assert made.changed(out, [a]) == [a] and made.has_ended(out) is False
    made.end(out)
    made.end(out)
    assert made.changed(out, [a]) == [] and made.has_ended(out) is True


def test_a_new_input_is_a_change_and_one_that_was_removed_is_not(tmp_path):
    a = write(tmp_path / "a", "a")
    made.begin(tmp_path / "out", [a])
    made.end(tmp_path / "out")
    b = write(tmp_path / "b", "b")
    assert made.changed(tmp_path / "out", [a, b]) == [b]
    os.unlink(a)
    assert made.changed(tmp_path / "out", [a]) == []


def test_a_file_in_another_place_with_the_same_name_and_content_is_no_new_input(tmp_path):
    (tmp_path / "old").mkdir()
    a = write(tmp_path / "old" / "a", "a")
    made.begin(tmp_path / "out", [a])
    os.rename(tmp_path / "old", tmp_path / "new")
    moved = str(tmp_path / "new" / "a")
    assert made.changed(tmp_path / "out", [moved]) == []
    assert made.changed(tmp_path / "out", [write(tmp_path / "b", "a")]) == [str(tmp_path / "b")]
    write(tmp_path / "new" / "a", "x")
    assert made.changed(tmp_path / "out", [moved]) == [moved]


def test_a_record_that_was_cut_short_is_none(tmp_path):
    a = write(tmp_path / "a", "a")
    made.begin(tmp_path, [a])
    made.end(tmp_path)
    path = tmp_path / made.RECORD
    for text in ("", path.read_text()[:-4], "[]", '{"files": {"a": [1]}}'):
        path.write_text(text)
        assert made.changed(tmp_path, [a]) is None and made.has_ended(tmp_path) is None


def test_of_a_large_file_begin_end_and_size_are_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "WHOLE", 4)
    path = tmp_path / "model"
    digests = [made.digest(write(path, text)) for text in ("abcdxefgh", "abcdyefgh", "abcdxefgi", "abcdxxefgh")]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_times_alone(tmp_path):
    old, new, out = write(tmp_path / "old", "", 1), write(tmp_path / "new", "", 3), write(tmp_path / "out", "", 2)
    assert made.newer([out], [old, new, str(tmp_path / "none")]) == [new] and made.newer([], [new]) == []
