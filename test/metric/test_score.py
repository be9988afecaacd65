import json
import statistics

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context
from espnet2_secap.metric.score import (
    Pairs,
    read_pairs,
    read_train,
    read_truth,
    score_metrics,
    write_scores,
)
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.words import load_words


def write(path, captions):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{utt} {json.dumps(value, ensure_ascii=False)}\n" for utt, value in captions.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def published(shared):
    content = json.loads((shared / "fixtures" / "secap_published_captions.json").read_text(encoding="utf-8"))
    expected = json.loads((shared / "fixtures" / "secap_published_metrics.json").read_text(encoding="utf-8"))
    references = {utt: [one["reference"]] for utt, one in content.items()}
    candidates = [{utt: one["captions"][at] for utt, one in content.items()} for at in range(5)]
    return Pairs(references, candidates), expected


def check(result, expected):
    assert result["n"] == 5
    assert result["values"] == pytest.approx(expected["values"], abs=0.01)
    assert [result["mean"], result["std"]] == pytest.approx([expected["mean"], expected["std"]], abs=0.01)


@pytest.mark.slow(6)
def test_published_scores_come_out(shared):
    pairs, expected = published(shared)
    names = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    results, tables = score_metrics(pairs, names, Context(segment_char))
    for name in names:
        check(results[name], expected[name.replace("bleu_", "bleu")])
        assert all(each.keys() == pairs.references.keys() for each in tables[name])
    assert statistics.fmean(tables["cider"][2].values()) == pytest.approx(results["cider"]["values"][2])


@pytest.mark.needs("java")
@pytest.mark.slow(16)
def test_published_meteor_comes_out(shared):
    pairs, expected = published(shared)
    check(score_metrics(pairs, ["meteor"], Context(segment_char))[0]["meteor"], expected["meteor"])


def test_candidates_are_scored_one_by_one():
    pairs = Pairs({"a": ["高兴"], "b": ["悲伤"]}, [{"a": "高兴", "b": "悲伤"}, {"a": "高兴", "b": ""}])
    results, tables = score_metrics(pairs, ["rouge_l"], Context(segment_char))
    assert results == {"rouge_l": {"mean": 75, "std": 25, "n": 2, "values": [100, 50]}}
    assert tables == {"rouge_l": [{"a": 100, "b": 100}, {"a": 100, "b": 0}]}


def test_a_metric_that_cannot_run_does_not_stop_the_others(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    pairs = Pairs({"a": ["高兴"]}, [{"a": "高兴"}])
    results, tables = score_metrics(pairs, ["meteor", "bleu_1"], Context(segment_char))
    assert results["meteor"]["mean"] is None and "Java" in results["meteor"]["reason"]
    assert results["bleu_1"]["mean"] == pytest.approx(100) and list(tables) == ["bleu_1"]


def test_files(tmp_path):
    pairs = Pairs({"a": ["高兴"], "b": ["悲伤"]}, [{"a": "高兴", "b": "忧"}, {"a": "喜", "b": "悲伤"}])
    tables = {
        "bleu_1": [{"a": 100.0, "b": 0.0}, {"a": 0.0, "b": 100.0}],
        "rate_recall": [{"a": None, "b": 50.0}] * 2,
    }
    write_scores(tmp_path / "new" / "score.json", {"bleu_1": {"mean": 50}}, tables, pairs, {"segment": "char"})
    assert json.loads((tmp_path / "new" / "score.json").read_text()) == {"bleu_1": {"mean": 50}}
    assert json.loads((tmp_path / "new" / "score_meta.json").read_text()) == {"segment": "char"}
    assert (tmp_path / "new" / "scores.tsv").read_text().splitlines() == [
        "id\tcandidate\tbleu_1\trate_recall",
        "a\t1\t100.0000\t",
        "a\t2\t0.0000\t",
        "b\t1\t0.0000\t50.0000",
        "b\t2\t100.0000\t50.0000",
    ]


def test_ids_must_be_the_same(tmp_path):
    reference = write(tmp_path / "ref", {f"u{at}": ["好"] for at in range(6)})
    hypothesis = write(tmp_path / "hyp", {"u0": ["好"], "other": ["好"]})
    with pytest.raises(SecError) as caught:
        read_pairs(reference, hypothesis)
    assert "5 of the 6 utterances in" in str(caught.value)
    assert "(u1, u2, u3, ...)" in str(caught.value) and "1 of its ids are not in" in str(caught.value)
    assert "(other)" in str(caught.value)


def test_as_many_candidates_as_every_utterance_has(tmp_path):
    reference = write(tmp_path / "ref", {"b": ["好"], "a": ["好"]})
    pairs = read_pairs(reference, write(tmp_path / "hyp", {"a": ["一", "二", "三"], "b": ["四", "五"]}))
    assert pairs.candidates == [{"a": "一", "b": "四"}, {"a": "二", "b": "五"}]
    assert "1 of 2 utterances have more than 2 candidates (a)" in pairs.note
    assert list(pairs.references) == ["a", "b"]
    assert read_pairs(reference, write(tmp_path / "same", {"a": ["一"], "b": ["四"]})).note == ""


def test_truth_is_what_the_data_directory_knows(tmp_path):
    words = load_words("zh")
    (tmp_path / "utt2emo").write_text("a happy\nb 悲伤\nc angry\n", encoding="utf-8")
    (tmp_path / "utt2rate").write_text("a fast\nb slow\n")
    truth, notes = read_truth(tmp_path, words, {"a": 0, "b": 0})
    assert notes == {} and truth == {
        "emotion": {"a": ["happy"], "b": ["sad"]},
        "rate": {"a": ["fast"], "b": ["slow"]},
        "emotion_quadrant": {"a": ["positive_active"], "b": ["negative_calm"]},
        "emotion_ser6": {"a": ["happy"], "b": ["sad"]},
    }
    with pytest.raises(SecError, match="utt2rate: no label for 1 of 2 utterances .c."):
        read_truth(tmp_path, words, {"a": 0, "c": 0})
    (tmp_path / "utt2rate").write_text("a fast\nb other\n")
    truth, notes = read_truth(tmp_path, words, {"a": 0, "b": 0})
    assert truth["rate"] == {"a": ["fast"], "b": []}
    assert notes == {
        "rate": "utt2rate: 1 of 2 labels name no category of the words file (other); excluded from the metrics of rate"
    }
    (tmp_path / "utt2emo").write_text("a puzzled\nb other\n")
    truth, notes = read_truth(tmp_path, words, {"a": 0, "b": 0})
    assert truth["emotion_quadrant"] == {"a": ["negative_active"], "b": []} and not any(truth["emotion_ser6"].values())
    assert set(notes) == {"rate", "emotion"}  # puzzled is in none of the six, and that is no mistake
    (tmp_path / "utt2emotion_quadrant").write_text("a positive_calm\nb negative_calm\n")
    truth, _ = read_truth(tmp_path, words, {"a": 0, "b": 0})
    assert truth["emotion_quadrant"] == {"a": ["positive_calm"], "b": ["negative_calm"]}
    with pytest.raises(SecError, match="no such folder"):
        read_truth(tmp_path / "nowhere", words, {})


def test_training_captions_have_the_form_of_the_references(tmp_path):
    (tmp_path / "train").write_text('a ["很高兴，", "caf\u0065\u0301"]\nb ["很高兴,"]\n', encoding="utf-8")
    assert read_train(tmp_path / "train") == ["很高兴，", "caf\u00e9", "很高兴,"]
    assert read_train(tmp_path / "train", "nfkc") == ["很高兴,", "caf\u00e9", "很高兴,"]
