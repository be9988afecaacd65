"""Decoding and probing through the programs, on a model that a test trained in no time."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from tiny_training import random_model

from espnet2_secap.bin import sec_inference
from espnet2_secap.errors import SecError
from espnet2_secap.inference.outputs import NAME, combine, other_audio
from espnet2_secap.inference.probe import fit_probe
from espnet2_secap.process.jobs import Journal, journal_file


@pytest.fixture(scope="module")
def model_file(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    return random_model(folder, {"encoder": "stored", "encoder_conf": {"input_size": 6}}, tiny_llama)


@pytest.fixture(scope="module")
def feats(tmp_path_factory):
    import kaldiio

    folder = tmp_path_factory.mktemp("feats")
    rng = np.random.default_rng(0)
    data = {f"u{i}": 3 * rng.standard_normal((4 + 3 * i, 6)).astype(np.float32) for i in range(7)}
    kaldiio.save_ark(str(folder / "f.ark"), data, scp=str(folder / "feats.scp"))
    (folder / "utt2num_frames").write_text("".join(f"{utt} {len(x)}\n" for utt, x in data.items()))
    return folder


def decode(model_file, feats, output, *options) -> list[dict]:
    files = ["--sec_model_file", str(model_file), "--data_dir", str(feats), "--output_dir", str(output)]
    sec_inference.main([*files, "--max_length", "8", *options])
    return [json.loads(line) for line in (output / "candidates.jsonl").read_text().splitlines()]


def decode_in_jobs(model_file, feats, output, nj: int, *options) -> None:
    """All jobs, not yet combined."""
    files = ["--sec_model_file", str(model_file), "--data_dir", str(feats), "--output_dir", str(output)]
    for job in range(1, nj + 1):
        sec_inference.main([*files, "--max_length", "8", "--nj", str(nj), "--job", str(job), *options])


def join(feats, output, nj: int, *options) -> dict[str, bytes]:
    """Combine them; all files by name."""
    program = ["--data_dir", str(feats), "--output_dir", str(output), "--nj", str(nj), "--combine", "true"]
    sec_inference.main([*program, *options])
    return {path.name: path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize("beam", ["1", "3"])
def test_a_set_decodes_the_same_in_any_batching(model_file, feats, tmp_path, beam):
    options = ["--beam_size", beam, "--num_candidates", beam]
    whole = decode(model_file, feats, tmp_path / "a", *options, "--batch_size", "7")
    single = decode(model_file, feats, tmp_path / "b", *options, "--batch_size", "1")
    texts = [[[c["text"] for c in row["candidates"]] for row in rows] for rows in (whole, single)]
    assert texts[0] == texts[1] and [row["id"] for row in whole] == [f"u{i}" for i in range(7)]


SAMPLED = ["--sampling", "true", "--num_candidates", "4", "--batch_size", "2"]  # seven utterances: four batches


@pytest.mark.parametrize("nj", [3, 5])
def test_samples_are_the_same_in_any_number_of_jobs(model_file, feats, tmp_path, nj):
    decode(model_file, feats, tmp_path / "whole", *SAMPLED)
    decode_in_jobs(model_file, feats, tmp_path / "jobs", nj, *SAMPLED)
    jobs = join(feats, tmp_path / "jobs", nj)
    assert jobs == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert sorted(jobs) == ["candidates.jsonl", "captions"]


def test_a_job_that_was_killed_goes_on_where_it_was(model_file, feats, tmp_path, capsys):
    decode_in_jobs(model_file, feats, tmp_path / "whole", 1, *SAMPLED)
    journal = journal_file(tmp_path / "whole", NAME, 1, 1).read_bytes()
    whole = join(feats, tmp_path / "whole", 1)

    def killed_after(batches: int) -> bytes:
        """A journal whose next line is cut; its first batch says something else, to be known again."""
        lines = journal.splitlines(keepends=True)
        first = json.loads(lines[1])
        first[1][0]["candidates"][0]["text"] = "kept"
        return (
            lines[0] + json.dumps(first).encode() + b"\n" + b"".join(lines[2 : batches + 1]) + lines[batches + 1][:-9]
        )

    for nj, there in ((1, ["4 batches of up to 2 utterances, 2 of them there already"]),
                      (2, ["2 batches of up to 2 utterances, 1 of them"] * 2)):  # fmt: skip
        output = tmp_path / str(nj)
        path = journal_file(output, NAME, 1, 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(killed_after(2))
        capsys.readouterr()
        decode_in_jobs(model_file, feats, output, nj, *SAMPLED)
        said = [line for line in capsys.readouterr().err.splitlines() if "there already" in line]
        assert len(said) == nj and all(part in line for part, line in zip(there, said, strict=True))
        after = join(feats, output, nj)
        changed = after["captions"].decode().splitlines(), whole["captions"].decode().splitlines()
        assert [a for a, b in zip(*changed, strict=True) if a != b] == [a for a in changed[0] if '"kept"' in a]
        assert sum('"kept"' in line for line in changed[0]) == 1 and not (output / ".jobs").exists()


def test_nothing_is_taken_over_from_another_model_or_other_options(model_file, feats, tmp_path, capsys):
    other = shutil.copytree(model_file.parent, model_file.parent.with_name("copy")) / model_file.name
    decode_in_jobs(other, feats, tmp_path / "o", 1, *SAMPLED)
    for options in ([*SAMPLED, "--seed", "1"], [*SAMPLED, "--seed", "1", "--top_k", "5"]):
        capsys.readouterr()
        decode_in_jobs(other, feats, tmp_path / "o", 1, *options)
        assert "4 batches of up to 2 utterances, 0 of them" in capsys.readouterr().err
    os.utime(other, ns=(1, 1))  # trained again
    decode_in_jobs(other, feats, tmp_path / "o", 1, *options)
    assert "4 batches of up to 2 utterances, 0 of them" in capsys.readouterr().err
    decode_in_jobs(other, feats, tmp_path / "o", 1, *options)
    assert "4 batches of up to 2 utterances, 4 of them" in capsys.readouterr().err
    # two jobs of different runs
    decode_in_jobs(other, feats, tmp_path / "o", 2, *SAMPLED)
    first = journal_file(tmp_path / "o", NAME, 1, 2).read_bytes()
    decode_in_jobs(other, feats, tmp_path / "o", 2, *SAMPLED, "--seed", "1")
    journal_file(tmp_path / "o", NAME, 1, 2).write_bytes(first)
    with pytest.raises(SystemExit):
        join(feats, tmp_path / "o", 2)
    assert "job(s) 1, 2 of 2: made from other data, another model or other options" in capsys.readouterr().err
    assert not (tmp_path / "o" / "captions").exists()


def test_shuffled_audio_is_the_caption_of_another(model_file, feats, tmp_path):
    options = [*SAMPLED, "--shuffled_audio_dir", str(tmp_path / "s")]
    plain = {row["id"]: row for row in decode(model_file, feats, tmp_path / "a", *options)}
    shuffled = [json.loads(line) for line in (tmp_path / "s" / "candidates.jsonl").read_text().splitlines()]
    assert sorted(row["audio"] for row in shuffled) == sorted(plain) == [row["id"] for row in shuffled]
    for row in shuffled:
        assert row["audio"] != row["id"] and row["candidates"] == plain[row["audio"]]["candidates"]
    captions = dict(line.split(" ", 1) for line in (tmp_path / "s" / "captions").read_text().splitlines())
    assert json.loads(captions["u3"]) == [c["text"] for c in shuffled[3]["candidates"]]


def test_sampling_is_reproducible_by_seed(model_file, feats, tmp_path):
    options = ["--sampling", "true", "--num_candidates", "4"]
    runs = [decode(model_file, feats, tmp_path / str(i), *options, "--seed", seed) for i, seed in enumerate("001")]
    texts = [[c["text"] for row in run for c in row["candidates"]] for run in runs]
    assert texts[0] == texts[1] != texts[2] and len(texts[0]) == 28


def test_bad_calls(model_file, feats, tmp_path, capsys):
    def fails(*options) -> str:
        with pytest.raises(SystemExit):
            sec_inference.main(["--data_dir", str(feats), "--output_dir", str(tmp_path / "o"), *options])
        return [line for line in capsys.readouterr().err.splitlines() if "error:" in line][-1]

    assert "--sec_model_file is missing" in fails()
    assert "no such" in fails("--sec_model_file", str(tmp_path / "none.pth"))
    (tmp_path / "bad.yaml").write_text("beam_sise: 3\n")
    assert "unknown key beam_sise" in fails("--config", str(tmp_path / "bad.yaml"))
    assert "job(s) 1, 2 of 2: not finished; run them again (stage 7)" in fails("--nj", "2", "--combine", "true")
    assert not (tmp_path / "o" / "captions").exists()


def test_an_empty_caption_is_kept(feats, tmp_path):
    rows = [{"id": f"u{i}", "candidates": [{"text": "" if i else "a", "score": 0.0}], "kept": 1} for i in range(7)]
    Journal(tmp_path, NAME, 1, 1, {"fingerprint": "x", "seed": 0}, [0]).add(0, rows)
    assert combine(tmp_path, feats, 1) == 7
    assert (tmp_path / "captions").read_text().splitlines()[:2] == ['u0 ["a"]', 'u1 [""]']
    Journal(tmp_path, NAME, 1, 1, {"fingerprint": "x", "seed": 0}, [0]).add(0, rows[:5])
    with pytest.raises(SecError, match="2 utterances were not decoded"):
        combine(tmp_path, feats, 1)


def test_other_audio_is_never_ones_own():
    ids = [f"u{i}" for i in range(9)]
    others = other_audio(ids, seed=1)
    assert sorted(others.values()) == ids and all(a != b for a, b in others.items())
    assert others == other_audio(ids[::-1], seed=1) != other_audio(ids, seed=2)
    with pytest.raises(SecError, match="at least two"):
        other_audio(["u0"], seed=0)


def test_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = {f"u{i}": "sad" if i % 2 else "calm" for i in range(120)}
    told = {
        utt: np.array([1.0 if label == "sad" else -1.0, 0.0]) + 0.1 * rng.standard_normal(2)
        for utt, label in labels.items()
    }
    noise = {utt: rng.standard_normal(2) for utt in labels}
    split = [f"u{i}" for i in range(80)], [f"u{i}" for i in range(80, 120)]
    results = [fit_probe({u: x[u] for u in split[0]}, {u: x[u] for u in split[1]}, labels) for x in (told, noise)]
    assert results[0] == {"accuracy": 1.0, "chance": 0.5, "n": 40}
    assert results[1]["accuracy"] < 0.75
    unique = {utt: utt for utt in labels}
    assert fit_probe({u: told[u] for u in split[0]}, {u: told[u] for u in split[1]}, unique)["accuracy"] is None


def test_the_candidates_most_like_all_are_kept(model_file, feats, tmp_path):
    options = ["--sampling", "true", "--num_candidates", "5"]
    rows = decode(model_file, feats, tmp_path, *options, "--keep", "2")
    captions = dict(line.split(" ", 1) for line in (tmp_path / "captions").read_text().splitlines())
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        assert len(texts) == 5 and json.loads(captions[row["id"]]) == texts[:2]
        likeness = [candidate["similarity"] for candidate in row["candidates"]]
        assert likeness == sorted(likeness, reverse=True)


def test_more_cannot_be_kept_than_there_are(model_file, feats, tmp_path):
    with pytest.raises(SystemExit):
        decode(model_file, feats, tmp_path, "--num_candidates", "1", "--keep", "2")


def test_a_decoder_in_sixteen_bits(model_file, feats, tmp_path):
    from espnet2_secap.inference.speech2caption import Speech2Caption

    assert Speech2Caption(model_file).model.decoder.lm.module.dtype == torch.float32
    half = Speech2Caption(model_file, dtype="bfloat16").model
    assert half.decoder.lm.module.dtype == torch.bfloat16 and half.projection.weight.dtype == torch.float32
    options = ["--sampling", "true", "--beam_size", "2", "--num_candidates", "2", "--dtype", "bfloat16"]
    rows = decode(model_file, feats, tmp_path, *options)
    assert len(rows) == 7 and all(len(row["candidates"]) == 2 for row in rows)


def test_published_decoding_settings_are_read(model_file, feats, tmp_path, repo, tiny_bert):
    preset = repo / "egs2" / "emospeech" / "sec1" / "conf" / "decode_secap.yaml"
    rows = decode(model_file, feats, tmp_path, "--config", str(preset), "--similarity_model", str(tiny_bert))
    captions = [json.loads(line.split(" ", 1)[1]) for line in (tmp_path / "captions").read_text().splitlines()]
    assert all(len(row["candidates"]) == 8 and row["kept"] == 5 for row in rows)
    assert all(len(some) == 5 for some in captions)


def test_the_command_line_is_the_programs_own(model_file, feats, tmp_path, monkeypatch):
    """ESPnet reads defaults from sys.argv, where a decoding's --config would be taken for a training's."""
    (tmp_path / "decode.yaml").write_text("sampling: false\n")
    options = ["--config", str(tmp_path / "decode.yaml")]
    monkeypatch.setattr("sys.argv", ["sec_inference", *options])
    assert len(decode(model_file, feats, tmp_path / "out", *options)) == 7
