"""Decoding through the program, on a model that a test made in no time."""

import dataclasses
import json
import os
import shutil

import pytest
import torch
from tiny_decoding import decode

from espnet2_secap.bin import sec_inference
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.inference.outputs import NAME
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.process.jobs import journal_file


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
    before = os.stat(other)
    state = torch.load(other, weights_only=True)
    state["bridge.queries"] *= 1.01  # trained again; neither size nor time tell
    torch.save(state, other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(other).st_size == before.st_size
    decode_in_jobs(other, feats, tmp_path / "o", 1, *options)
    assert "4 batches of up to 2 utterances, 0 of them" in capsys.readouterr().err
    os.utime(other, ns=(1, 1))  # the same model, copied
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


def test_the_candidates_most_like_all_are_kept(model_file, feats, tmp_path):
    options = ["--sampling", "true", "--num_candidates", "5"]
    rows = decode(model_file, feats, tmp_path, *options, "--keep", "2")
    captions = dict(line.split(" ", 1) for line in (tmp_path / "captions").read_text().splitlines())
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        assert len(texts) == 5 and json.loads(captions[row["id"]]) == texts[:2]
        likeness = [candidate["similarity"] for candidate in row["candidates"]]
        assert likeness == sorted(likeness, reverse=True)


def test_candidates_begin_with_a_header_of_all_options(model_file, feats, tmp_path):
    """Whoever finds the file can decode again: nothing else decides, the LM's generation_config.json least of all."""
    options = [*SAMPLED, "--seed", "3", "--top_k", "5", "--shuffled_audio_dir", str(tmp_path / "s")]
    first, *others = decode(model_file, feats, tmp_path / "a", *options)
    header = first["header"]
    assert {field.name for field in dataclasses.fields(SetOptions)} <= header.keys()
    assert (header["seed"], header["top_k"], header["max_length"], header["dtype"]) == (3, 5, 8, "float32")
    assert header["ends"] == [2] and header["model"] == "/".join(model_file.parts[-2:])
    assert header["versions"].keys() == {"transformers", "torch", "espnet2_secap"}
    assert not any("header" in row for row in others)
    with open(tmp_path / "s" / "candidates.jsonl") as file:
        assert json.loads(file.readline())["header"] == header
    captions = read_caption_file(tmp_path / "a" / "candidates.jsonl", system=True)
    assert captions == read_caption_file(tmp_path / "a" / "captions", system=True)
