"""Pairs from a decoding of the training set, ranked and drawn by hand; jobs that share it and are killed."""

import json
import shutil
from pathlib import Path

import pytest

from espnet2_secap.data.io import read_captions, write_captions, write_kaldi
from espnet2_secap.data.preferences import read_pairs
from espnet2_secap.errors import SecError
from espnet2_secap.inference import pairs as module
from espnet2_secap.inference.pairs import PairFiles, PairMaker, PairOptions, combine_pairs, make_pairs, told
from espnet2_secap.metric.ranking import Known, Ranking

WORDS = {"emotion": {"angry": ["愤怒"], "sad": ["悲伤"]}, "rate": {"fast": ["快"], "slow": ["慢"]}}
LABELS = {"u1": ("angry", "fast"), "u2": ("sad", "slow"), "u3": ("angry", "slow"), "u4": ("sad", "fast")}
CAPTIONS = {"u1": ["愤怒，说得快"], "u2": ["悲伤，说得慢"], "u3": ["愤怒，说得慢"], "u4": ["悲伤，说得快"]}
CANDIDATES = {
    "u1": [
        "悲伤，快",
        "愤怒，快",
        "愤怒",
        "愤怒，慢",
        "愤怒,快。",
    ],  # best 愤怒，快; 愤怒 is poorer; then 愤怒，慢 is more like the reference
    "u2": ["悲伤，慢", "悲伤，慢。", ""],  # one different candidate
    "u3": ["悲伤，慢", "愤怒，快"],  # each has an error
    "u4": ["悲伤，快", "悲伤，说得很快"],  # equal but for the similarity
}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "words.json").write_text(json.dumps(WORDS, ensure_ascii=False), encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    write_kaldi(data / "wav.scp", {utt: f"{utt}.wav" for utt in LABELS})
    write_kaldi(data / "utt2emo", {utt: labels[0] for utt, labels in LABELS.items()})
    write_kaldi(data / "utt2rate", {utt: labels[1] for utt, labels in LABELS.items()})
    write_kaldi(data / "text", {utt: f"今天是{utt}" for utt in LABELS})
    write_captions(data / "captions", CAPTIONS)
    write_candidates(tmp_path, CANDIDATES)
    return tmp_path


def write_candidates(folder: Path, candidates: dict[str, list[str]]) -> None:
    (folder / "decode").mkdir(exist_ok=True)
    with open(folder / "decode/candidates.jsonl", "w", encoding="utf-8") as stream:
        for utt, texts in candidates.items():
            rows = [{"text": text, "score": -0.5} for text in texts]
            print(
                json.dumps({"id": utt, "prompt": "描述。", "candidates": rows, "kept": 1}, ensure_ascii=False),
                file=stream,
            )


def maker_of(folder: Path, captions=None, not_in=(), candidates="decode", **options) -> PairMaker:
    files = PairFiles(candidates and str(folder / candidates), str(folder / "data"), captions, not_in)
    return PairMaker(files, PairOptions(words=str(folder / "words.json"), **options))


def made(folder: Path, nj: int = 1, **options):
    maker = maker_of(folder, **options)
    for job in range(1, nj + 1):
        make_pairs(maker, str(folder / "out"), job, nj)
    _, counts = combine_pairs(str(folder / "out"), nj)
    return read_pairs(folder / "out/pairs.jsonl"), counts


def test_the_best_candidate_against_worse_ones(folder):
    pairs, counts = made(folder, per_utterance=9, min_margin=0)
    found = {(one.id, one.chosen, one.rejected, one.type) for one in pairs}
    assert found == {
        ("u1", "愤怒，快", "愤怒", "quality"),
        ("u1", "愤怒，快", "悲伤，快", "factuality"),
        ("u1", "愤怒，快", "愤怒，慢", "factuality"),
        ("u4", "悲伤，说得很快", "悲伤，快", "quality"),
    }
    assert counts == {"paired": 2, "alike": 1, "wrong": 1}
    assert {(one.prompt, one.source) for one in pairs} == {("描述。", "sampled")}
    best = read_captions(folder / "out/captions")
    assert (
        best["u1"] == ["愤怒，快"]
        and best["u2"] == ["悲伤，慢"]
        and "u3" not in best
        and set(best) == {"u1", "u2", "u4"}
    )


def test_margins_are_differences_of_scores(folder):
    pairs, _ = made(folder, per_utterance=9, min_margin=0)
    words = maker_of(folder).words
    known = Known(CAPTIONS["u1"], {"emotion": ["angry"], "rate": ["fast"]}, "今天是u1", "描述。")
    scores = {one.text: one.score for one in Ranking(words, lang="zh").rank([(CANDIDATES["u1"], known)])[0]}
    for pair in pairs:
        if pair.id == "u1":
            assert pair.margin == pytest.approx(scores[pair.chosen] - scores[pair.rejected], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "rejected"),
    [
        ({"rejected": "closest", "per_utterance": 1}, ["愤怒"]),
        ({"rejected": "worst", "per_utterance": 1}, ["悲伤，快"]),
        ({"types": "factuality", "rejected": "closest", "per_utterance": 1}, ["愤怒，慢"]),
        ({"types": "factuality quality", "same_coverage": True, "rejected": "closest"}, ["愤怒，慢", "悲伤，快"]),
        ({"min_margin": 0.9, "rejected": "closest"}, ["愤怒，慢", "悲伤，快"]),
    ],
)
def test_which_are_rejected(folder, options, rejected):
    pairs, _ = made(folder, **options)
    assert [one.rejected for one in pairs if one.id == "u1"] == rejected


def test_more_errors_may_be_allowed(folder):
    pairs, counts = made(folder, max_wrong=1)
    assert counts == {"paired": 3, "alike": 1}
    assert [(one.chosen, one.rejected) for one in pairs if one.id == "u3"] == [
        ("愤怒，快", "悲伤，慢")
    ]  # by similarity
    assert "u3" in read_captions(folder / "out/captions")


def test_without_captions_the_labels_rank_and_the_candidates_compare(folder):
    write_captions(folder / "few", {"u4": CAPTIONS["u4"], "other": ["x"]})
    pairs, counts = made(folder, captions=str(folder / "few"), per_utterance=9)
    assert {one.id for one in pairs} >= {"u1"} and counts["wrong"] == 1
    assert {one.chosen for one in pairs if one.id == "u1"} == {"愤怒，快"}


def test_the_pairs_are_the_same_for_any_number_of_jobs_and_after_a_kill(folder, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1)
    options = dict(rules="all", rules_per_utterance=3, seed=3)
    made(folder, **options)
    whole = {name: (folder / "out" / name).read_bytes() for name in ("pairs.jsonl", "captions", "pairs_meta.json")}
    shutil.rmtree(folder / "out")
    maker, calls = maker_of(folder, **options), []

    def work(ids, own=maker.work):
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(ids)

    monkeypatch.setattr(maker, "work", work)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(maker, str(folder / "out"), 1, 2)
    with pytest.raises(SecError, match=r"job\(s\) 1, 2 of 2: not finished; run them again \(stage 9\)"):
        combine_pairs(str(folder / "out"), 2)
    made(folder, nj=3, **options)
    assert {name: (folder / "out" / name).read_bytes() for name in whole} == whole
    assert sum(map(len, calls)) == 2


def test_what_is_done_is_not_done_again_and_other_options_are(folder, monkeypatch):
    make_pairs(maker_of(folder), str(folder / "out"), 1, 1)
    again = maker_of(folder)
    monkeypatch.setattr(again, "work", None)
    make_pairs(again, str(folder / "out"), 1, 1)
    with pytest.raises(TypeError):
        other = maker_of(folder, seed=1)
        monkeypatch.setattr(other, "work", None)
        make_pairs(other, str(folder / "out"), 1, 1)
    first = maker_of(folder).made_from()
    assert first == maker_of(folder).made_from() != maker_of(folder, facts="labels").made_from()
    write_candidates(folder, CANDIDATES | {"u2": ["悲伤"]})
    assert first != maker_of(folder).made_from()


def test_rules_alone_need_no_decoding(folder):
    pairs, counts = made(folder, candidates=None, rules="swap double", rules_per_utterance=2)
    assert len(pairs) == 8 and {one.source for one in pairs} == {"rule"} and sum(counts.values()) == 0
    assert not (folder / "out/captions").exists()
    swapped = {one.id: one.rejected for one in pairs if one.type == "factuality"}
    assert swapped["u1"] in ("悲伤，说得快", "愤怒，说得慢")
    assert {one.prompt for one in pairs} == {maker_of(folder, candidates=None).prompt}


def test_a_wrong_caption_is_not_chosen_by_a_rule(folder):
    write_captions(folder / "wrong", CAPTIONS | {"u1": ["悲伤，说得快"]})  # the label says angry
    captions = str(folder / "wrong")
    pairs, _ = made(folder, candidates=None, captions=captions, rules="double", facts="labels")
    assert {one.id for one in pairs} == {"u2", "u3", "u4"}
    pairs, _ = made(folder, captions=captions, rules="double", facts="labels", per_utterance=0)
    assert {one.chosen for one in pairs if one.id == "u1"} == {"愤怒，快"}  # the best candidate


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: write_candidates(d, CANDIDATES | {"x9": ["快"]}), "1 of 5 utterances are not in .*data .x9."),
        (lambda d: (d / "data/utt2emo").write_text("u1 angry\n"), "utt2emo: no label for 3 of 4 utterances"),
        (lambda d: (d / "decode/candidates.jsonl").unlink(), "candidates.jsonl: does not exist"),
        (lambda d: shutil.rmtree(d / "data"), "data: does not exist"),
        (lambda d: (d / "words.json").write_text("{}"), "names no attribute"),
    ],
)
def test_bad_files(folder, change, fault):
    change(folder)
    with pytest.raises(SecError, match=fault) as err:
        maker_of(folder)
    assert "\n" not in str(err.value)


def test_utterances_of_other_sets_are_refused(folder):
    (folder / "test").mkdir()
    write_kaldi(folder / "test/wav.scp", {"u2": "x.wav", "t1": "y.wav"})
    with pytest.raises(SecError, match=r"1 of 4 utterances are in .*/test too \(u2\), which may not be trained on"):
        maker_of(folder, not_in=[str(folder / "test")])
    with pytest.raises(SecError, match="none: does not exist"):
        maker_of(folder, not_in=[str(folder / "none")])


def test_no_captions_and_no_candidates(folder):
    (folder / "data/captions").unlink()
    with pytest.raises(SecError, match="has no captions; give --captions FILE, or --candidates FILE"):
        maker_of(folder, candidates=None, rules="swap")


def test_no_pairs_is_an_error_that_says_why(folder):
    write_candidates(folder, {utt: ["悲伤"] for utt in CANDIDATES})
    make_pairs(maker_of(folder), str(folder / "out"), 1, 1)
    with pytest.raises(SecError, match="no pairs: 4 utterances have fewer than two different candidates; sample more"):
        combine_pairs(str(folder / "out"), 1)


def test_what_the_captions_are_not_in_the_language_of(folder):
    write_candidates(folder, {"u1": ["愤怒，快", "angry and fast, 愤怒"]})
    pairs, _ = made(folder)
    assert [(one.rejected, one.type) for one in pairs] == [("angry and fast, 愤怒", "faithfulness")]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"rules": "swap shuffle"}, "--rules shuffle: must be some of"),
        ({"types": "facts"}, "--types facts: must be some of factuality, faithfulness, quality"),
        ({"facts": "all"}, "--facts 'all': must be one of both, labels, references, none"),
        ({"attributes": " "}, "--attributes: is empty"),
        ({"min_margin": -1.0}, "--min_margin"),
        ({"per_utterance": -1}, "--per_utterance -1: must be at least 0"),
        ({"lang": "chinese"}, "--lang 'chinese': must be a code"),
        ({"judge_cache": "x"}, "--judge_prompt, --judge_cache: are for --judge"),
    ],
)
def test_bad_options(options, fault):
    with pytest.raises(SecError, match=fault):
        PairOptions(**options)


def test_an_attribute_that_the_words_do_not_have(folder):
    with pytest.raises(SecError, match="--attributes tempo: .*words.json has no such attribute; it has: emotion, rate"):
        maker_of(folder, attributes="emotion tempo")


def test_a_judge_ranks_among_equals(folder, tiny_llama, monkeypatch):
    from espnet2_secap.metric import judge

    monkeypatch.setattr(judge, "LEAST", 0.0)
    cache = folder / "judge.jsonl"
    pairs, _ = made(folder, judge=str(tiny_llama), judge_cache=str(cache), min_margin=0, per_utterance=9)
    assert {one.chosen for one in pairs if one.id == "u1"} == {"愤怒，快"}  # errors and coverage come first
    asked = len(cache.read_text().splitlines())
    shutil.rmtree(folder / "out")
    again, _ = made(folder, judge=str(tiny_llama), judge_cache=str(cache), min_margin=0, per_utterance=9)
    assert again == pairs and len(cache.read_text().splitlines()) == asked > 0


def test_told():
    assert told({"paired": 3, "wrong": 1, "misfit": 0}) == (
        "3 utterances gave pairs; 1 utterances have no candidate with so few errors (--max_wrong)"
    )
