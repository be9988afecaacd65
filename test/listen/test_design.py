import json
from collections import Counter

import pytest
from listening import SYSTEMS, design_of

from espnet2_secap.errors import SecError
from espnet2_secap.listen.design import (
    CATCH,
    NONSENSE,
    PRACTICE,
    RATED,
    Size,
    balance,
    full_groups,
    make_design,
    read_design,
)


def pairs(design, group):
    return [(item.utt, item.system) for item in design.groups[group] if item.kind == RATED]


@pytest.mark.parametrize(
    ("systems", "per_utterance", "groups"), [(3, 1, 3), (6, 1, 6), (6, 2, 3), (4, 3, 4), (9, 6, 3)]
)
def test_full_groups_rate_every_caption_equally_often(systems, per_utterance, groups):
    assert full_groups(systems, per_utterance) == groups
    design = design_of(50, [f"s{at}" for at in range(systems)], groups, per_utterance)
    for group in range(groups):
        found = pairs(design, group)
        assert len(found) == len(set(found)) == 50 * per_utterance
        assert set(Counter(utt for utt, _ in found).values()) == {per_utterance}
        shares = Counter(name for _, name in found).values()  # systems within a group, and within each block
        assert max(shares) - min(shares) <= per_utterance
    counts = Counter(pair for group in range(groups) for pair in pairs(design, group))
    assert len(counts) == 50 * systems and set(counts.values()) == {groups * per_utterance // systems}
    assert len(balance(design)) == 1


def test_systems_are_balanced_over_positions():
    design = design_of(48, groups=3, per_utterance=1)
    for group in range(3):
        names = [name for _, name in pairs(design, group)]
        assert all(set(names[at : at + 3]) == set(SYSTEMS) for at in range(0, 48, 3))
    early = [{utt for utt, _ in pairs(design, group)[:15]} for group in range(3)]
    assert not early[0] & early[1] and not early[1] & early[2]  # each utterance comes early once


def test_captions_of_one_utterance_are_far_apart_when_a_listener_rates_all():
    found = [utt for utt, _ in pairs(design_of(50), 0)]
    assert all(len(set(found[at : at + 50])) == 50 for at in (0, 50, 100))


def test_too_few_groups_are_told():
    lines = balance(design_of(10, groups=2, per_utterance=1))
    assert "rated by 0 to 1 of the groups" in lines[0]
    assert "10 captions are rated by nobody" in lines[1] and "give --groups 3 or a multiple" in lines[1]


def test_catch_trials_and_practice():
    design = design_of(10, groups=3, per_utterance=1, practice=2, catch=4)
    for items in design.groups:
        kinds = [item.kind for item in items]
        assert kinds[:2] == [PRACTICE] * 2 and kinds.count(CATCH) == 4 and kinds.count(RATED) == 10
        caught = [item for item in items if item.kind == CATCH]
        assert sum(item.caption == NONSENSE["en"] for item in caught) == 2
        for item in caught:
            if item.caption != NONSENSE["en"]:  # a caption of an utterance of the other emotion
                assert int(item.caption[-1]) % 2 != int(item.utt[-1]) % 2
    assert len(design.asked(1)) == 14 and len(design.items(1)) == 16
    rated = set(design.utterances)
    assert not rated & {item.utt for item in design.groups[0] if item.kind != RATED}


def test_a_seed_gives_one_design_and_ids_say_nothing():
    one, same = design_of(10, groups=3, per_utterance=1), design_of(10, groups=3, per_utterance=1)
    assert one.id == same.id
    ids = [item.id for items in one.groups for item in items]
    assert len(set(ids)) == len(ids) and all(len(name) == 12 and int(name, 16) >= 0 for name in ids)


def test_a_design_is_read_as_written(tmp_path):
    design = design_of(5, catch=1)
    design.write(tmp_path / "design.json")
    assert read_design(tmp_path) == design
    text = (tmp_path / "design.json").read_text()
    for bad, why in (
        (text.replace('"system": "ours"', '"system": "label"', 1), "has been changed"),
        ("{}", "was not written by"),
        ("[]", "was not written by"),
        (json.dumps(json.loads(text) | {"more": 1}), "was not written by"),
    ):
        (tmp_path / "design.json").write_text(bad)
        with pytest.raises(SecError, match=why):
            read_design(tmp_path)
    with pytest.raises(SecError, match="does not exist"):
        read_design(tmp_path / "elsewhere")


def test_what_cannot_be_drawn_is_refused():
    captions = {"a": {"u1": "x", "u2": "y"}, "b": {"u1": "x"}}
    with pytest.raises(SecError, match=r"1 utterances have .* \(a has 2, b has 1\), 2 are needed"):
        make_design(captions, {"u1": 1.0, "u2": 1.0}, Size(2, 1, 1), "en", 0)
    with pytest.raises(SecError, match="--per_utterance 3: must be between 1 and 2"):
        make_design(captions, {"u1": 1.0}, Size(1, 1, 3), "en", 0)
