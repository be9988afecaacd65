"""Reference log-probabilities: their values, jobs, interruptions, and what they are not made from."""

import json
import math
import shutil

import pytest
import torch
from tiny_pairs import GOOD, PROMPT, make_pairs, prepare, refer, rows_of
from tiny_training import write

from espnet2_secap.errors import SecError
from espnet2_secap.inference import reference
from espnet2_secap.inference.reference import Job, Scorer, combine, draw_held_out, run_job
from espnet2_secap.tasks.sec import SECTask


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("pairs")
    prepare(folder, tiny_llama)
    return folder


def job(place, output, **changes) -> Job:
    files = dict(pairs=(str(place / "pairs.jsonl"),), data_dir=str(place), output_dir=str(output))
    return Job(**{**files, "model_file": str(place / "start" / "valid.loss.best.pth"), "batch_size": 2} | changes)


def content(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_values_are_the_models_own_losses(place, tmp_path):
    """One utterance, one caption at a time, through the loss that captioning trains with."""
    run_job(job(place, tmp_path))
    assert combine(job(place, tmp_path)) == {"train utterances": 6, "train pairs": 12}
    model, args = SECTask.build_model_from_file(None, place / "start" / "valid.loss.best.pth")
    preprocess, collate = SECTask.build_preprocess_fn(args, False), SECTask.build_collate_fn(args, False)
    utterances, encode = job(place, tmp_path).utterances, SECTask.pair_encoder(args)
    rows = rows_of(tmp_path / "pairs.train")
    assert sorted(rows) == [f"u{i}" for i in range(6)] and all(len(some) == 2 for some in rows.values())
    for utt, some in rows.items():
        for row in some:
            assert row["prompt"] == PROMPT and row["chosen"] == GOOD and row["type"] == "factuality"
            for name in ("chosen", "rejected"):
                data = preprocess(utt, {"speech": utterances.read(utt), "caption": json.dumps([row[name]])})
                _, batch = collate([(utt, data | {"instruction": torch.tensor(encode.instruction(PROMPT)).numpy()})])
                loss, _, tokens = model(**batch)
                assert row[f"{name}_tokens"] == int(tokens) == len(model.decoder.tokenizer.encode(row[name])) + 1
                assert row[f"{name}_reference"] == pytest.approx(-loss.item() * int(tokens), abs=2e-4)
    shapes = (tmp_path / "shape.train").read_text().splitlines()
    assert shapes == [f"u{i} {5 + i},6" for i in range(6)]


def test_jobs_and_interruptions_change_nothing(place, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_job(job(place, whole)), combine(job(place, whole))
    plain = Scorer.__call__
    calls = []

    def killed(self, batch, pairs):
        calls.append([utt for utt, _ in batch])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, batch, pairs)

    monkeypatch.setattr(Scorer, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        run_job(job(place, parts))
    with pytest.raises(SecError, match=r"job\(s\) 1 of 1: not finished; run them again \(stage 10\)"):
        combine(job(place, parts))
    for number in (1, 2):  # another number of jobs takes over what is there
        run_job(job(place, parts, nj=2, job=number))
    assert sum(map(len, calls)) == 2 * 4 and combine(job(place, parts, nj=2))
    assert content(parts) == content(whole)
    monkeypatch.setattr(Scorer, "__call__", None)  # nothing is computed again
    run_job(job(place, parts))
    assert combine(job(place, parts)) == {"train utterances": 6, "train pairs": 12}


def test_an_unfinished_job_of_another_model_is_begun_anew(place, tmp_path):
    run_job(job(place, tmp_path, dtype="bfloat16"))
    with pytest.raises(SecError, match="made from other data, another model or other options"):
        combine(job(place, tmp_path))
    run_job(job(place, tmp_path)), combine(job(place, tmp_path))
    reference = rows_of(tmp_path / "pairs.train")["u0"][0]["chosen_reference"]
    run_job(job(place, tmp_path / "other")), combine(job(place, tmp_path / "other"))
    assert rows_of(tmp_path / "other" / "pairs.train")["u0"][0]["chosen_reference"] == reference


@pytest.fixture
def made(place, tmp_path):
    """A copy of the place with references."""
    folder = tmp_path / "made"
    shutil.copytree(place, folder)
    refer(folder)
    return folder


def other_model(folder):
    path = folder / "start/valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    state["projection.bias"] += 1
    torch.save(state, path)


def other_pairs(folder):
    make_pairs(folder / "pairs.jsonl", ["u0", "u1"])


def other_speech(folder):
    import kaldiio

    feats = dict(kaldiio.load_scp(str(folder / "feats.scp")))
    feats["u3"] = feats["u3"] + 1  # u7 has no pairs and does not count
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "feats.scp"))


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (other_model, {}, "made from another model"),
        (other_pairs, {}, "made from other pairs"),
        (other_speech, {}, "made from other speech features"),
        (None, {"dtype": "bfloat16"}, "made from another --dtype"),
        (None, {"held_out": 0.5}, "made from another --held_out"),
        (None, {"seed": 1}, "made from another --seed"),
    ],
)
def test_a_cache_of_something_else_is_refused_and_says_which(made, change, options, said):
    if change:
        change(made)
    before = content(made / "reference")
    for work in (run_job, combine):
        with pytest.raises(SecError, match=f"^{made}/reference: holds reference log-probabilities {said} .*remove"):
            work(job(made, made / "reference", batch_size=16, **options))
    assert content(made / "reference") == before


def test_another_lm_is_noticed_by_its_content(made, tiny_llama):
    """config.yaml names the LM; the same files elsewhere are the same."""
    lm = made / "llama"
    shutil.copytree(tiny_llama, lm)
    config = made / "start" / "config.yaml"
    write(config, {**_yaml(config), "decoder_conf": {"path": str(lm)}})
    assert job(made, made / "reference").is_done()
    import safetensors.torch

    weights = safetensors.torch.load_file(lm / "model.safetensors")
    weights["lm_head.weight"] += 0.01
    safetensors.torch.save_file(weights, lm / "model.safetensors", {"format": "pt"})
    with pytest.raises(SecError, match="another encoder, language model or statistics"):
        job(made, made / "reference").is_done()


def _yaml(path) -> dict:
    import yaml

    return yaml.safe_load(path.read_text())


def test_a_changed_file_of_references_is_refused(made):
    path = made / "reference" / "pairs.train"
    path.write_text(path.read_text().replace("-", "-1", 1))
    with pytest.raises(SecError, match="pairs.train: has been changed since; remove the folder and run again"):
        job(made, made / "reference").is_done()


def test_held_out_utterances(place, tmp_path):
    options = dict(held_out=0.34, seed=3)
    run_job(job(place, tmp_path, **options))
    found = combine(job(place, tmp_path, **options))
    assert found == {"train utterances": 4, "train pairs": 8, "valid utterances": 2, "valid pairs": 4}
    parts = [rows_of(tmp_path / f"pairs.{split}") for split in ("train", "valid")]
    assert not parts[0].keys() & parts[1].keys() and len(parts[0].keys() | parts[1].keys()) == 6
    shapes = {line.split()[0] for line in (tmp_path / "shape.valid").read_text().splitlines()}
    assert shapes == parts[1].keys()


def test_what_is_held_out():
    ids = [f"u{i}" for i in range(100)]
    assert draw_held_out(ids, 0.0, 0) == set() and len(draw_held_out(ids, 0.1, 0)) == 10
    assert draw_held_out(ids, 0.1, 0) == draw_held_out(ids[::-1], 0.1, 0) != draw_held_out(ids, 0.1, 1)
    assert len(draw_held_out(ids, 1e-6, 0)) == 1 and len(draw_held_out(ids[:2], 0.999, 0)) == 1
    with pytest.raises(SecError, match="1 utterance"):
        draw_held_out(ids[:1], 0.5, 0)


def test_half_precision_gives_finite_numbers_near_those_in_float32(place, tmp_path):
    found = []
    for dtype in ("float32", "bfloat16"):
        run_job(job(place, tmp_path / dtype, dtype=dtype)), combine(job(place, tmp_path / dtype, dtype=dtype))
        rows = rows_of(tmp_path / dtype / "pairs.train")
        found.append([row["chosen_reference"] for some in rows.values() for row in some])
    assert all(map(math.isfinite, found[1])) and found[0] != found[1]
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_the_scorer_computes_each_utterance_once(place, tmp_path):
    """Encoder and bridge see an utterance once, however many pairs it has."""
    scorer, seen = Scorer(job(place, tmp_path)), []
    scorer.model.bridge.register_forward_hook(lambda _, args, output: seen.append(len(args[0])))
    some = job(place, tmp_path)
    found = scorer([(utt, {"speech": some.utterances.read(utt)}) for utt in ("u0", "u3")], some.pairs_of)
    assert seen == [2] and {utt: len(rows) for utt, rows in found.items()} == {"u0": 2, "u3": 2}


def test_a_model_of_the_first_stage_is_refused(place, tmp_path, tiny_llama):
    import tiny_training

    from espnet2_secap.bin import sec_train

    conf = write(tmp_path / "align.yaml", tiny_training.align_conf(tiny_llama) | {"max_epoch": 1})
    sec_train.main(tiny_training.command(place, tmp_path / "align", conf, tiny_training.ALL))
    with pytest.raises(SecError, match="--model align writes no captions; give a model of the second stage"):
        Scorer(job(place, tmp_path, model_file=str(tmp_path / "align")))


def test_a_model_that_reads_the_transcription(place, tmp_path, tiny_llama):
    """Its references depend on the words, which come from text_file or the data directory."""
    import tiny_training

    from espnet2_secap.bin import sec_train

    conf = tiny_training.caption_conf(tiny_llama) | {
        "max_epoch": 1,
        "model_conf": {"condition": ["transcript", "queries"]},
    }
    conf = write(tmp_path / "caption.yaml", conf)
    sec_train.main(tiny_training.command(place, tmp_path / "start", conf, tiny_training.ALL))
    (tmp_path / "text").write_text("".join(f"u{i} 请用一句中文\n" for i in range(6)), encoding="utf-8")
    found = []
    for name, text in (("own", None), ("other", str(tmp_path / "text"))):
        one = job(place, tmp_path / name, model_file=str(tmp_path / "start"), text_file=text)
        run_job(one), combine(one)
        found.append(rows_of(tmp_path / name / "pairs.train")["u0"][0]["chosen_reference"])
        assert "text" in json.loads((tmp_path / name / reference.reference.NAME).read_text())["made_from"]
    assert found[0] != found[1]
    with pytest.raises(SecError, match="made from other transcriptions"):
        run_job(job(place, tmp_path / "own", model_file=str(tmp_path / "start"), text_file=str(tmp_path / "text")))


def test_a_model_that_reads_clues(place, tmp_path, tiny_llama):
    """They come from a file, the same in reference and training; clues that captioning drops are all read."""
    import tiny_training

    from espnet2_secap.bin import sec_train

    model = {"condition": ["queries", "clues"], "clues_dropout": 0.9}
    conf = write(
        tmp_path / "caption.yaml", tiny_training.caption_conf(tiny_llama) | {"max_epoch": 1, "model_conf": model}
    )
    sec_train.main(tiny_training.command(place, tmp_path / "start", conf, tiny_training.ALL))
    given = dict(model_file=str(tmp_path / "start"))
    with pytest.raises(SecError, match="reads clues .*; give --clues_file, as sec_clues makes it"):
        run_job(job(place, tmp_path / "none", **given))
    found = []
    for word in ("高兴", "悲伤"):
        (tmp_path / word).write_text("".join(f'u{i} ["{word}"]\n' for i in range(6)), encoding="utf-8")
        one = job(place, tmp_path / f"of_{word}", clues_file=str(tmp_path / word), **given)
        run_job(one), combine(one)
        rows = rows_of(tmp_path / f"of_{word}" / "pairs.train")
        found.append([some[0]["chosen_reference"] for some in rows.values()])
    assert all(one != other for one, other in zip(*found, strict=True))
    with pytest.raises(SecError, match="made from other clues"):
        run_job(job(place, tmp_path / "of_高兴", clues_file=str(tmp_path / "悲伤"), **given))
    (tmp_path / "few").write_text('u0 ["高兴"]\n', encoding="utf-8")
    with pytest.raises(SecError, match="few: has no line for u1, u2, u3, ...; make it for these"):
        run_job(job(place, tmp_path / "none", clues_file=str(tmp_path / "few"), **given))
