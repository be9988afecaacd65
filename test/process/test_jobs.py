"""Dealing work to jobs, and going on after a kill."""

import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.process.jobs import (
    Journal,
    deal,
    file_digest,
    fingerprint,
    gather,
    journal_file,
    part_of,
    share,
    stamps,
)


def test_parts_are_contiguous_near_equal_and_complete():
    items = list("abcdefgh")
    parts = [part_of(items, 3, job) for job in (1, 2, 3)]
    assert sum(parts, []) == items
    assert sorted(map(len, parts)) == [2, 3, 3]
    assert part_of(["a"], 3, 1) + part_of(["a"], 3, 2) + part_of(["a"], 3, 3) == ["a"]
    with pytest.raises(SecError, match="--job 4"):
        part_of(items, 3, 4)


@pytest.mark.parametrize(
    ("nj", "job", "said"),
    [(2, 3, "--job 3: must be between 1 and 2"), (2, 0, "--job 0: must be"), (0, 1, "--nj 0: must be 1 or more")],
)
def test_a_job_that_is_none(nj, job, said):
    for deals in (lambda: part_of("ab", nj, job), lambda: share({"a": 1}, nj, job)):
        with pytest.raises(SecError, match=said):
            deals()


def test_the_largest_goes_to_the_job_with_the_least():
    loads = {"a": 1, "b": 5, "c": 4, "d": 3, "e": 3}
    # b | c; b | c d; b e | c d; b e | c d a
    assert deal(loads, 2) == [["b", "e"], ["a", "c", "d"]]
    assert deal(loads, 1) == [list("abcde")]
    assert deal({"a": 2, "b": 2}, 3) == [["a"], ["b"], []]
    assert [share(loads, 2, job) for job in (1, 2)] == deal(loads, 2)


def work(folder, nj, header="x", keys=range(6), resume=True, until=99):
    """What every job did, until it is killed after so many pieces."""
    did = []
    for job in range(1, nj + 1):
        journal = Journal(folder, "work", job, nj, header, part_of(list(keys), nj, job), resume)
        for key in [key for key in part_of(list(keys), nj, job) if key not in journal.done][:until]:
            journal.add(key, {"text": f"é{key}"})
            did.append(key)
    return did


def test_what_all_jobs_did_is_gathered(tmp_path):
    assert work(tmp_path, 2, {"of": 1}) == [0, 1, 2, 3, 4, 5]
    header, jobs = gather(tmp_path, "work", 2, 7, {"of": 1})
    assert header == {"of": 1} and list(jobs) == [1, 2]
    assert jobs[2] == {3: {"text": "é3"}, 4: {"text": "é4"}, 5: {"text": "é5"}}


@pytest.mark.parametrize("nj", [1, 2, 3, 7])
def test_a_job_goes_on_whatever_the_number_of_jobs_was(tmp_path, nj):
    work(tmp_path, 2, until=2)  # 0, 1, 3, 4
    path = journal_file(tmp_path, "work", 2, 2)
    path.write_bytes(path.read_bytes()[:-4])  # killed while it wrote 4
    with pytest.raises(SecError, match=r"job\(s\) 1, 2 of 2: not finished; run them again \(stage 7\)"):
        gather(tmp_path, "work", 2, 7)
    assert sorted(work(tmp_path, nj)) == [2, 4, 5]
    _, jobs = gather(tmp_path, "work", nj, 7)
    assert {key: value for done in jobs.values() for key, value in done.items()} == {
        key: {"text": f"é{key}"} for key in range(6)
    }


def test_nothing_is_taken_over_from_other_work_or_where_it_is_not_wanted(tmp_path):
    work(tmp_path, 1)
    assert work(tmp_path, 1) == []
    assert work(tmp_path, 1, resume=False) == list(range(6))
    assert work(tmp_path, 1, "y") == list(range(6))


def test_jobs_whose_work_is_other_are_named(tmp_path):
    work(tmp_path, 3)
    Journal(tmp_path, "work", 2, 3, "y", [])
    with pytest.raises(SecError, match=r"job\(s\) 2 of 3: made from other data, another model or other options; run"):
        gather(tmp_path, "work", 3, 2, "x")
    with pytest.raises(SecError, match=r"job\(s\) 1, 2, 3 of 3: made from other"):  # which one is right is not known
        gather(tmp_path, "work", 3, 2)
    journal_file(tmp_path, "work", 3, 3).unlink()
    with pytest.raises(SecError, match=r"job\(s\) 2 of 3: made from other .*; job\(s\) 3 of 3: not finished; run"):
        gather(tmp_path, "work", 3, 2, "x")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\n", b"5\n", b"[]\n", b'{"header": "x"}\n', b'{"header": "x", "keys": 3}\n', b"[" * 99999]
)
def test_a_broken_journal_is_no_journal(tmp_path, content):
    path = journal_file(tmp_path, "work", 1, 1)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SecError, match=r"job\(s\) 1 of 1: not finished"):
        gather(tmp_path, "work", 1, 7)
    assert work(tmp_path, 1) == list(range(6))


@pytest.mark.parametrize("line", [b"5\n", b"[1]\n", b"[[1], 2]\n", b"\xff\n", b"{}\n"])
def test_a_journal_counts_up_to_the_first_broken_line(tmp_path, line):
    path = journal_file(tmp_path, "work", 1, 1)
    work(tmp_path, 1, until=2)
    path.write_bytes(path.read_bytes() + line + json.dumps([2, "lost"]).encode() + b"\n")
    assert work(tmp_path, 1) == [2, 3, 4, 5]


def test_stamps_and_fingerprints_follow_the_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    names = [str(tmp_path / "folder"), str(tmp_path / "nothing")]
    before = stamps(names)
    assert [stamp[:2] for stamp in before] == [[str(tmp_path / "folder" / "a"), 1]]
    (tmp_path / "folder" / "a").write_text("22")
    assert fingerprint(stamps(names)) != fingerprint(before) == fingerprint(json.loads(json.dumps(before)))


def test_a_file_s_digest_is_of_its_content_alone(tmp_path):
    for name, content in (("one", b"same"), ("two", b"same"), ("other", b"Same")):
        (tmp_path / name).write_bytes(content)
    one, two, other = (file_digest(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two != other
    assert one == "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
