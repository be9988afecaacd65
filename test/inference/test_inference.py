"""Decoding and probing through the programs, on a model that a test trained in no time."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet2_secap.bin import sec_inference
from espnet2_secap.errors import SecError
from espnet2_secap.inference.outputs import combine, other_audio, write_job
from espnet2_secap.inference.probe import fit_probe


@pytest.fixture(scope="module")
def model_file(tiny_llama, tmp_path_factory):
    """A random second-stage model with the files that training leaves."""
    import yaml

    from espnet2_secap.tasks.sec import SECTask

    folder = tmp_path_factory.mktemp("exp")
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    args = vars(SECTask.get_parser().parse_args(["--output_dir", str(folder), "--num_att_plot", "0"]))
    args |= dict(model="caption", encoder="feats", encoder_conf={"input_size": 6}, bridge="qformer", bridge_conf=bridge)
    args |= dict(decoder="causal_lm", decoder_conf={"path": tiny_llama})
    torch.manual_seed(0)
    model = SECTask.build_model(SimpleNamespace(**args))
    with torch.no_grad():
        for p in model.bridge.parameters():
            p.mul_(3.0)  # so that captions differ between utterances
    (folder / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in args.items() if not callable(v)}))
    torch.save(model.state_dict(), folder / "valid.loss.best.pth")
    return folder / "valid.loss.best.pth"


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


@pytest.mark.parametrize("beam", ["1", "3"])
def test_a_set_decodes_the_same_in_any_batching_and_in_jobs(model_file, feats, tmp_path, beam):
    options = ["--beam_size", beam, "--num_candidates", beam]
    whole = decode(model_file, feats, tmp_path / "a", *options, "--batch_size", "7")
    single = decode(model_file, feats, tmp_path / "b", *options, "--batch_size", "1")
    texts = [[[c["text"] for c in row["candidates"]] for row in rows] for rows in (whole, single)]
    assert texts[0] == texts[1] and [row["id"] for row in whole] == [f"u{i}" for i in range(7)]
    jobs = ["--sec_model_file", str(model_file), "--data_dir", str(feats), "--output_dir", str(tmp_path / "c")]
    jobs += ["--max_length", "8", "--nj", "3", *options]
    for job in "123":
        sec_inference.main([*jobs, "--job", job])
    sec_inference.main([*jobs, "--combine", "true"])
    assert (tmp_path / "c" / "captions").read_bytes() == (tmp_path / "a" / "captions").read_bytes()


def test_shuffled_audio_is_the_caption_of_another(model_file, feats, tmp_path):
    plain = {
        row["id"]: row for row in decode(model_file, feats, tmp_path / "a", "--shuffled_audio_dir", str(tmp_path / "s"))
    }
    shuffled = [json.loads(line) for line in (tmp_path / "s" / "candidates.jsonl").read_text().splitlines()]
    assert sorted(row["audio"] for row in shuffled) == sorted(plain)
    for row in shuffled:
        assert row["audio"] != row["id"]
        assert row["candidates"][0]["text"] == plain[row["audio"]]["candidates"][0]["text"]


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
    assert "1 of 2" in fails("--nj", "2", "--combine", "true") or "jobs 1 2" in fails("--nj", "2", "--combine", "true")
    assert not (tmp_path / "o" / "captions").exists()


def test_an_empty_caption_is_kept(feats, tmp_path):
    rows = [{"id": f"u{i}", "candidates": [{"text": "" if i else "a", "score": 0.0}], "kept": 1} for i in range(7)]
    write_job(tmp_path, 1, 1, rows)
    assert combine(tmp_path, feats, 1) == 7
    assert (tmp_path / "captions").read_text().splitlines()[:2] == ['u0 ["a"]', 'u1 [""]']
    write_job(tmp_path, 1, 1, rows[:5])
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
