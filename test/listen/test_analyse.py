import json

import numpy as np
import pytest
from listening import answer, design_of, save, simulate

from espnet2_secap.errors import SecError
from espnet2_secap.listen.analyse import Limits, analysed, read_all, read_known, read_metrics, score_array
from espnet2_secap.listen.design import CATCH, RATED
from espnet2_secap.listen.store import Store

MEANS = {"human": 4.2, "ours": 3.4, "label": 2.2}


def truth(system, noise=0.7):
    """The expected score of a simulated listener: a normal value, rounded and cut to 1 to 5."""
    values = np.random.default_rng(0).normal(MEANS[system], noise, 10**6)
    return np.clip(np.round(values), 1, 5).mean()


@pytest.mark.parametrize(("per_utterance", "groups"), [(3, 1), (1, 3)])
def test_known_means_of_15_listeners_are_recovered(per_utterance, groups):
    design = design_of(50, groups=groups, per_utterance=per_utterance, catch=4)
    sheets = [simulate(design, at, MEANS) for at in range(15)]
    results = analysed(design, sheets, Limits())
    part = results.parts["all listeners"]
    assert not any(one.flags for one in results.listeners) and list(results.parts) == ["all listeners"]
    for system, one in zip(design.systems, part.mos, strict=True):
        assert one.ratings == 15 * 50 * per_utterance // 3
        assert one.mean == pytest.approx(truth(system), abs=0.12)
        for low, high in (one.over_ratings, one.over_listeners, one.over_utterances):
            assert low < one.mean < high and high - low < 0.4
    assert all(one.p_holm < 1e-4 and one.difference > 0 for one in part.pairs)
    assert 0.3 < part.alpha["ordinal"] < 0.9


def test_intervals_cover_the_truth_as_often_as_they_say():
    design = design_of(20)
    expected = truth("ours")
    hits = 0
    for start in range(0, 600, 6):
        sheets = [simulate(design, start + at, MEANS) for at in range(6)]
        low, high = analysed(design, sheets, Limits()).parts["all listeners"].mos[1].over_ratings
        hits += low <= expected <= high
    assert 88 <= hits <= 99  # of 100; the simulated ratings are independent


def spoil(sheet, design, how):
    items = design.asked(sheet.group)
    for name, one in list(sheet.answers.items()):
        score, seconds = one.score, one.seconds
        if how == "same":
            score = 3
        if how == "opposite" and items[name].kind == RATED:
            score = 6 - score
        if how == "fast":
            seconds = 2.4  # of a recording of 2 s
        if how == "catch" and items[name].kind == CATCH:
            score = 5
        sheet.answers[name] = answer(name, score, seconds)
    return sheet


@pytest.mark.parametrize(
    ("how", "flags"),
    [
        ("same", ["gave 3 every time", "failed 4 of 4 catch trials"]),
        ("opposite", ["correlates -0."]),
        ("fast", ["took 0.4 s for an item"]),
        ("catch", ["failed 4 of 4 catch trials"]),
    ],
)
def test_outliers_are_flagged_and_the_results_given_without_them(how, flags):
    design = design_of(20, catch=4)
    sheets = [simulate(design, at, MEANS) for at in range(8)]
    clean = analysed(design, sheets[1:], Limits()).parts["all listeners"]
    spoil(sheets[0], design, how)
    results = analysed(design, sheets, Limits())
    assert [bool(one.flags) for one in results.listeners] == [True, *[False] * 7]
    found = results.listeners[0].flags
    assert len(found) == len(flags) and all(a.startswith(b) for a, b in zip(found, flags, strict=True))
    assert results.parts["all listeners"].mos[0].ratings == 160
    assert results.parts["without flagged listeners"] == clean
    lenient = analysed(design, sheets, Limits(-1, 0, 1))
    assert how in ("same",) or not lenient.listeners[0].flags


def test_scores_have_their_place():
    design = design_of(6, groups=3, per_utterance=1, practice=1, catch=1)
    sheet = simulate(design, 1, MEANS)
    scores = score_array(design, [sheet])
    assert scores.shape == (1, 6, 3) and np.isfinite(scores).sum() == 6
    for name, item in design.asked(2).items():
        if item.kind == RATED:
            at = design.utterances.index(item.utt), design.systems.index(item.system)
            assert scores[(0, *at)] == sheet.answers[name].score


def test_files_and_databases_are_read_together(tmp_path):
    design = design_of(6, groups=3, per_utterance=1)
    told = []
    store = Store(tmp_path / "a.sqlite", design, make=True)
    for name, group, token in store.add_listeners(3):
        sheet = simulate(design, group - 1, MEANS)
        store.put(token, list(sheet.answers.values()))
        assert name
    store.close()
    other = simulate(design, 3, MEANS)
    other.listener = "by hand"
    files = [str(tmp_path / "a.sqlite"), str(save(other, design, tmp_path / "x.json"))]
    sheets = read_all([*files, files[1]], design, 0.5, None, told.append)
    assert [sheet.listener for sheet in sheets] == ["by hand", "listener_001", "listener_002", "listener_003"]
    assert told == []
    (tmp_path / "tokens.tsv").write_text("listener\tgroup\tlink\nlistener_001\t1\tx\nlistener_002\t2\tx\n")
    known = read_known(tmp_path / "tokens.tsv")
    assert len(read_all(files, design, 0.5, known, told.append)) == 2 and len(told) == 2
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(SecError, match="no answers that count"):
        read_all([files[1]], design, 0.5, None, told.append)
    (tmp_path / "tokens.tsv").write_text("a\tb\n")
    with pytest.raises(SecError, match="is no tokens.tsv"):
        read_known(tmp_path / "tokens.tsv")


def scored(folder, utts, values):
    folder.mkdir()
    (folder / "score.json").write_text(json.dumps({"cider": {"mean": 1.0, "std": 0.0, "n": 1, "values": [1.0]}}))
    lines = [
        f"{utt}\t{candidate}\t{values[at] - candidate + 1}\n" for at, utt in enumerate(utts) for candidate in (1, 2)
    ]
    (folder / "scores.tsv").write_text("id\tcandidate\tcider\n" + "".join(lines))
    return folder / "score.json"


def test_metrics_are_correlated_with_scores(tmp_path):
    design = design_of(20)
    sheets = [simulate(design, at, MEANS) for at in range(6)]
    means = score_array(design, sheets).mean(0)
    given = []
    for at, name in enumerate(design.systems):
        order = list(reversed(design.utterances))
        values = [10 * means[design.utterances.index(utt), at] for utt in order]
        given.append(f"{name}={scored(tmp_path / name, ['more', *order], [0, *values])}")
    metrics = read_metrics(design, given)
    np.testing.assert_allclose(metrics["cider"], 10 * means)  # the first candidate, by id
    found = analysed(design, sheets, Limits(), given).parts["all listeners"].correlations["cider"]
    assert found["utterance"].n == 60 and found["system"].n == 3
    assert found["utterance"].values["pearson"][0] == pytest.approx(1)
    assert found["system"].values["kendall"][0] == pytest.approx(1)
    for bad, why in (
        ("x", "must be SYSTEM=score.json"),
        ("nobody=a.json", "no such system, but human, ours, label"),
        ("human=none.json", "does not exist"),
        (f"human={scored(tmp_path / 'o', ['other'], [1])}", "has none of the rated utterances"),
    ):
        with pytest.raises(SecError, match=why):
            read_metrics(design, [bad])
    with pytest.raises(SecError, match="occurs twice"):
        read_metrics(design, [given[0], given[0]])
