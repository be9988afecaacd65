import json

import pytest
from listening import answer, design_of, save, simulate

from espnet2_secap.errors import SecError
from espnet2_secap.listen.answers import Sheet, check_answer, check_sheet, content_of, merge, read_sheet, usable

MEANS = {"human": 4.0, "ours": 3.5, "label": 2.5}


@pytest.fixture
def design():
    return design_of(8, groups=3, per_utterance=1, practice=1, catch=1)


@pytest.fixture
def told():
    return []


def test_a_saved_file_is_read_as_it_was(design, tmp_path, told):
    sheet = simulate(design, 1, MEANS)
    found = read_sheet(save(sheet, design, tmp_path / "a.json"), design, told.append)
    assert (found.listener, found.group, found.answers, told) == (sheet.listener, 2, sheet.answers, [])


@pytest.mark.parametrize(
    ("score", "emotion", "match"), [(1, False, None), (2, True, False), (3, True, True), (5, True, True)]
)
def test_scores_that_follow_from_the_steps(score, emotion, match):
    good = vars(answer("x", 3)) | {"score": score, "emotion": emotion, "match": match}
    assert check_answer("a", good).score == score
    for other in {1, 2, 3, 4, 5} - ({3, 4, 5} if score > 2 else {score}):
        with pytest.raises(SecError, match=f"score {other} does not follow from the steps"):
            check_answer("a", good | {"score": other})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"score": 6}, "between 1 and 5"),
        ({"score": "3"}, "score '3'"),
        ({"score": True}, "score True"),
        ({"seconds": -1}, "seconds -1"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"seconds": float("inf")}, "seconds inf"),
        ({"plays": 10**30}, "plays"),
        ({"item": 5}, "item 5"),
        ({"item": "x" * 65}, "too long"),
        ({"emotion": None}, "emotion None"),
        ({"match": None}, "does not follow"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_answers_that_are_none(change, why):
    with pytest.raises(SecError, match=why) as caught:
        check_answer("answer 1", vars(answer("x", 3)) | change)
    assert "\n" not in str(caught.value)


def test_missing_keys_and_other_types():
    with pytest.raises(SecError, match="plays is missing"):
        check_answer("a", {name: value for name, value in vars(answer("x", 3)).items() if name != "plays"})
    for other in (None, [], "x", 1):
        with pytest.raises(SecError, match="is not an object"):
            check_answer("a", other)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"design": "0" * 16}, "is from another page"),
        ({"group": 4}, "group 4: the design has 3"),
        ({"group": 0}, "at least|between"),
        ({"format": "other"}, "is no file of answers"),
        ({"answers": {}}, "answers"),
        ({"listener": "x" * 70}, "too long"),
        ({"listener": "a\nb"}, "not printable"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_files_that_are_left_out_in_one_line(design, tmp_path, told, change, why):
    content = content_of(simulate(design, 0, MEANS), design) | change
    with pytest.raises(SecError, match=why):
        check_sheet("a.json", content, design)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert read_sheet(path, design, told.append) is None
    assert len(told) == 1 and str(path) in told[0] and "(left out)" in told[0] and "\n" not in told[0]


def test_files_cut_short(design, tmp_path, told):
    whole = save(simulate(design, 0, MEANS), design, tmp_path / "a.json").read_bytes()
    for at in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.json").write_bytes(whole[:at])
        assert read_sheet(tmp_path / "a.json", design, told.append) is None
    assert len(told) == 5 and all("is cut short or not JSON" in line for line in told)
    for bad in (b"\xff\xfe\x00", b"[" * 100000, b"null", b'"x"'):
        (tmp_path / "a.json").write_bytes(bad)
        assert read_sheet(tmp_path / "a.json", design, told.append) is None
    assert read_sheet(tmp_path / "none.json", design, told.append) is None and "does not exist" in told[-1]
    assert len(told) == 10


def test_bad_answers_are_left_out_and_the_others_kept(design, tmp_path, told):
    sheet = simulate(design, 0, MEANS)
    content = content_of(sheet, design)
    first, second, third = (dict(one) for one in content["answers"][:3])
    practice = next(iter(design.items(1)))
    content["answers"][0] = first | {"score": 9}
    content["answers"] += [
        second,
        vars(answer(third["item"], 5, at=2)),
        vars(answer(practice, 3)),
        vars(answer("x", 3)),
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read_sheet(tmp_path / "a.json", design, told.append)
    assert found.answers.keys() == sheet.answers.keys() - {first["item"]}
    assert found.answers[third["item"]].score == 5  # the later one
    assert len(told) == 3
    assert (
        "1 answers cannot be used" in told[0]
        and "2 answers to items" in told[1]
        and "2 answers are there twice" in told[2]
    )


def test_doubled_files_count_once(design, told):
    sheet = simulate(design, 0, MEANS)
    items = list(sheet.answers)
    early = Sheet(sheet.listener, 1, {items[0]: answer(items[0], 5, at=0)}, sheet.session, "early.json")
    sheet.source = "late.json"
    (found,) = merge([early, sheet], told.append)
    assert found.answers == sheet.answers and "same browser session" in told[0]
    again = Sheet(sheet.listener, 1, {items[0]: answer(items[0], 5)}, "other session", "again.json")
    for order in ([again, sheet], [sheet, again]):
        (found,) = merge(order, told.append)
        assert found is sheet and "again.json: listener listener_000 has answered twice" in told[-1]
    renamed = Sheet("somebody else", 1, dict(sheet.answers), sheet.session, "renamed.json")
    assert len(merge([sheet, renamed], told.append)) == 1  # one session cannot vote under two names
    assert len(merge([sheet, simulate(design, 1, MEANS)], told.append)) == 2


def test_who_counts(design, told):
    whole, part, few = (simulate(design, at, MEANS) for at in (0, 1, 2))
    part.answers = dict(list(part.answers.items())[:6])
    few.answers = dict(list(few.answers.items())[:2])
    kept = usable([whole, part, few], design, 0.5, told.append)
    assert kept == [whole, part]
    assert "listener_001 has given 6 of 9 answers; they are used" in told[0]
    assert "listener_002 has given 2 of 9 answers; left out" in told[1]
    assert usable([whole, part], design, 0, told.append, {"listener_000": 2}) == []
    assert "belongs to group 2" in told[-2] and "is not known" in told[-1]
