"""Search: sec_inference's options as a function, of features and of waveforms."""

import json

import numpy as np
import pytest
from tiny_decoding import decode
from tiny_experiment import MAX_SECONDS, make_experiment

from espnet2_secap.data.utterances import Utterances
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.search import Search, SearchCaptioner, Sources
from espnet2_secap.inference.speech2caption import Speech2Caption

TEXTS = {"t0": ["语速较快，声音高亢"], "t1": ["语速较慢，声音低沉"], "t2": ["情绪悲伤"]}


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train_captions"
    path.write_text("".join(f"{utt} {json.dumps(texts, ensure_ascii=False)}\n" for utt, texts in TEXTS.items()))
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"num_candidates": 3, "beam_size": 3, "keep": 2},
        {"beams": 2, "beam_size": 1, "keep": 1},
        {"num_candidates": 2, "beam_size": 2, "keep": 1, "weights": "probability"},
        {"candidates": "file", "keep": 2, "agreement": 0.3, "agreement_attributes": "emotion rate"},
        {"candidates": "file", "keep": 1, "beams": 2, "choose_from": "all"},
    ],
)
def test_it_gives_what_the_program_writes(model_file, feats, train, tmp_path, options):
    options = {"max_length": 8, "batch_size": 7} | options
    if "candidates" in options:
        options["candidates"] = str(train)
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    written = decode(model_file, feats, tmp_path / "out", *given)
    options = SetOptions(**options)
    search = Search(Speech2Caption(model_file, options=options), options, Sources(options, model_file))
    utterances = Utterances(feats)
    ids = sorted(utterances.ids, key=lambda utt: (utterances.lengths[utt], utt))
    found = dict(zip(ids, search([utterances.read(utt) for utt in ids]), strict=True))
    for row in written:
        assert {"candidates": row["candidates"], "kept": row["kept"]} == found[row["id"]]


def test_waveforms_get_the_kept_candidates(tiny_llama, train, tmp_path):
    model = Speech2Caption.from_pretrained(make_experiment(tmp_path / "exp", tiny_llama))
    options = SetOptions(candidates=str(train), keep=2)
    captioner = SearchCaptioner(Search(model, options, Sources(options, tmp_path / "exp" / "config.yaml")))
    assert (captioner.fs, captioner.min_samples, captioner.max_seconds) == (16000, model.min_samples, MAX_SECONDS)
    waves = [np.sin(np.arange(n) / 20).astype(np.float32) for n in (16000, 24000)]
    texts = {texts[0] for texts in TEXTS.values()}
    for wave, candidates in zip(waves, captioner.caption(waves), strict=True):
        assert len({text for text, _ in candidates} & texts) == 2
        [alone] = captioner.caption([wave])
        assert [text for text, _ in alone] == [text for text, _ in candidates]


def test_what_the_options_name_is_missing(model_file, train, tmp_path):
    with pytest.raises(SecError, match="no_such: no such file; check the path"):
        Sources(SetOptions(candidates=str(tmp_path / "no_such"), keep=1), model_file)
    before = Sources(SetOptions(candidates=str(train), keep=1), model_file).made_from()
    assert before == Sources(SetOptions(candidates=str(train), keep=1), model_file).made_from()
    train.write_text(train.read_text().replace("悲伤", "高兴"))
    assert before != Sources(SetOptions(candidates=str(train), keep=1), model_file).made_from()


def test_best_of_n_is_the_consensus_of_n_samples(model_file, feats, tmp_path):
    sampled = ["--sampling", "true", "--num_candidates", "5", "--keep", "1", "--seed", "3", "--temperature", "2"]
    explicit = decode(model_file, feats, tmp_path / "explicit", *sampled)
    short = decode(model_file, feats, tmp_path / "short", "--best_of", "5", "--seed", "3", "--temperature", "2")
    assert [row["candidates"] for row in short] == [row["candidates"] for row in explicit]
    assert all(row["kept"] == 1 and len(row["candidates"]) == 5 for row in short)
    assert (tmp_path / "short/captions").read_text() == (tmp_path / "explicit/captions").read_text()
    header = short[0]["header"]
    assert (header["best_of"], header["num_candidates"], header["keep"], header["sampling"]) == (5, 5, 1, True)


def test_best_of_n_by_a_judge(model_file, feats, tmp_path, tiny_llama, monkeypatch):
    from espnet2_secap.metric import judge
    from espnet2_secap.metric.ranking import judge_matrices

    monkeypatch.setattr(judge, "LEAST", 0.0)  # an untrained LM answers anything
    cache = tmp_path / "judge.jsonl"
    options = ["--best_of", "4", "--temperature", "2", "--judge", tiny_llama, "--judge_cache", str(cache)]
    rows = decode(model_file, feats, tmp_path / "out", *options)
    question = judge.closeness("zh")
    for row in rows:
        texts = [one["text"] for one in row["candidates"]]
        (matrix,) = judge_matrices(judge.Judge(tiny_llama, cache), question, [(texts, texts)])
        means = [sum(one) / len(one) for one in matrix]
        assert [one["similarity"] for one in row["candidates"]] == pytest.approx(means, abs=1e-5)
        assert means == sorted(means, reverse=True) and row["kept"] == 1
    assert cache.read_text().count("\n") > 0


def test_a_judge_that_answers_nothing_is_an_error(model_file, feats, tmp_path, tiny_llama, monkeypatch, capsys):
    from espnet2_secap.metric import judge

    monkeypatch.setattr(judge, "LEAST", 2.0)  # no probability is enough
    with pytest.raises(SystemExit):
        decode(model_file, feats, tmp_path / "out", "--best_of", "4", "--temperature", "2", "--judge", tiny_llama)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1 and f"--judge {tiny_llama}: gives no answer to" in lines[0]
