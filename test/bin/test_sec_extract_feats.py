"""Stage 3 as it is called: jobs, a kill in the middle, bad input."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from espnet2_secap.bin.sec_extract_feats import get_parser, main

UTTS = 200


@pytest.fixture(scope="module")
def top():
    """A folder that every user may read: dump/raw/{train,test} of noise and a tiny HuBERT."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    noise = np.random.default_rng(0)
    for name, count in (("train", UTTS), ("test", 3)):
        raw = folder / "dump" / "raw" / name
        raw.mkdir(parents=True)
        scp, num = [], []
        for i in range(count):
            n = int(noise.uniform(4000, 8000)) if i < 64 else int(noise.uniform(16000, 24000))
            soundfile.write(raw / f"{name}{i:03d}.wav", 0.1 * noise.standard_normal(n), 16000)
            scp.append(f"{name}{i:03d} dump/raw/{name}/{name}{i:03d}.wav\n")
            num.append(f"{name}{i:03d} {n}\n")
        (raw / "wav.scp").write_text("".join(scp))
        (raw / "utt2num_samples").write_text("".join(num))
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    HubertModel(config).save_pretrained(folder / "hubert")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "hubert")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(top, monkeypatch):
    """The folder above, as the working folder, without features."""
    monkeypatch.chdir(top)
    yield top
    shutil.rmtree(top / "dump" / "hubert", ignore_errors=True)


def options(*more):
    return ["--output", "dump/hubert", "--upstream_path", "hubert", "--batch_seconds", "0.1", *more]


def fails(capsys, *arguments):
    """Run the program, which must fail with one line; return that line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sec_extract_feats: error:")]
    assert len(lines) == 1
    return lines[0]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow(12)
def test_a_killed_job_goes_on_where_it_was(place, capsys):
    program = [sys.executable, "-m", "espnet2_secap.bin.sec_extract_feats"]
    one = options("--sets", "train")
    main(one)
    main([*one, "--combine", "true"])
    undisturbed = content(place / "dump" / "hubert")
    assert {"feats.scp", "utt2num_frames", "config.json", "feats.4.ark"} <= undisturbed.keys()
    shutil.rmtree(place / "dump" / "hubert")

    data = place / "dump" / "hubert" / "train" / "data"
    process = subprocess.Popen([*program, *one], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (data / "feats.1.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = sorted(data.glob("feats.*.json"))
    assert 1 <= len(done) < 8
    kept = {path: path.stat().st_mtime_ns for path in data.glob("feats.1.*")}

    assert "dump/hubert: job(s) 1 of 1: not finished; run" in fails(capsys, *one, "--combine", "true")
    main(one)
    assert f"8 parts, {len(done)} of them finished already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    main([*one, "--combine", "true"])
    assert content(place / "dump" / "hubert") == undisturbed


def test_jobs_and_sets(place, capsys):
    both = options("--sets", "train test test", "--nj", "2")  # a set of two roles is named twice
    main([*both, "--job", "1"])
    error = fails(capsys, *both, "--combine", "true")
    assert "dump/hubert: job(s) 2 of 2: not finished; run them again (stage 3)" in error
    main([*both, "--job", "2"])
    main([*both, "--combine", "true"])
    out = capsys.readouterr().out
    assert "dump/hubert/train: 200 utterances" in out and "dump/hubert/test: 3 utterances" in out
    feats = kaldiio.load_scp("dump/hubert/test/feats.scp")
    frames = dict(line.split() for line in Path("dump/hubert/test/utt2num_frames").read_text().splitlines())
    assert {utt: str(len(value)) for utt, value in feats.items()} == frames


def test_filterbanks_with_arguments(place):
    main(["--sets", "test", "--output", "dump/hubert", "--upstream", "fbank_no_cmvn", "--layer", "0"])
    main(
        [
            "--sets",
            "test",
            "--output",
            "dump/hubert",
            "--upstream",
            "fbank_no_cmvn",
            "--layer",
            "0",
            "--combine",
            "true",
        ]
    )
    config = json.loads(Path("dump/hubert/test/config.json").read_text())
    assert (config["encoder_conf"]["upstream"], config["dim"], config["frame_shift"]) == ("fbank_no_cmvn", 240, 160)


def test_missing_list_of_audio_names_the_stage(place, capsys):
    assert "dump/raw/valid/wav.scp: does not exist; run stage 2 first" in fails(capsys, *options("--sets", "valid"))


def test_bad_input_leaves_earlier_features_whole(place, capsys, tmp_path):
    one = options("--sets", "test")
    main(one)
    main([*one, "--combine", "true"])
    earlier = content(place / "dump" / "hubert")
    raw = place / "dump" / "raw" / "test"
    assert "no-model: does not exist" in fails(capsys, *one, "--upstream_path", "./no-model")
    assert "no such upstream; did you mean" in fails(capsys, *one, "--upstream", "hf_hubret_custom")
    assert "--layer 9: this upstream has the layers 0 to 2" in fails(capsys, *one, "--layer", "9")
    assert "dump --layer all" in fails(capsys, *one, "--layer", "weighted_sum")
    assert "must be KEY=VALUE, or a JSON object" in fails(capsys, *one, "--encoder_conf", "[1]")
    assert "unknown key 'layr'" in fails(capsys, *one, "--encoder_conf", "layr=1")
    stored = ["--sets", "test", "--output", "dump/hubert", "--encoder", "stored", "--encoder_conf", "input_size=6"]
    assert "reads features" in fails(capsys, *stored)
    assert "--job 3: must be between 1 and 2" in fails(capsys, *one, "--nj", "2", "--job", "3")
    assert "one or more sets" in fails(capsys, *one, "--sets", " ")
    if not torch.cuda.is_available():
        assert "--device cuda: not available" in fails(capsys, *one, "--device", "cuda", "--layer", "1")
    wav = raw / "test001.wav"
    kept, stat = wav.read_bytes(), wav.stat()
    wav.unlink()
    assert "dump/raw/test/test001.wav: test001: does not exist" in fails(capsys, *one)
    wav.write_bytes(kept)
    os.utime(wav, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert content(place / "dump" / "hubert") == earlier


def test_unreadable_audio_is_named_and_the_rest_is_kept(place, capsys):
    one = options("--sets", "train")
    wav = place / "dump" / "raw" / "train" / "train150.wav"
    kept = wav.read_bytes()
    try:
        wav.write_bytes(kept[:20])
        assert "dump/raw/train/train150.wav: train150: cannot be read as audio; run stage 2" in fails(capsys, *one)
    finally:
        wav.write_bytes(kept)
    data = place / "dump" / "hubert" / "train" / "data"
    assert sorted(path.name for path in data.glob("*")) == [
        f"feats.{i}.{end}" for i in range(1, 7) for end in ("ark", "json")
    ]
    main(one)
    assert "8 parts, 6 of them finished already" in capsys.readouterr().err


def test_a_short_utterance_and_nan_are_named(place, capsys):
    raw = place / "dump" / "raw" / "odd"
    raw.mkdir()
    try:
        (raw / "wav.scp").write_text("odd1 dump/raw/odd/odd1.wav\n")
        for samples, value, problem in (
            (399, 0.1, "399 samples are too short"),
            (8000, np.nan, "not finite"),
        ):
            soundfile.write(raw / "odd1.wav", np.full(samples, value), 16000, subtype="FLOAT")
            (raw / "utt2num_samples").write_text(f"odd1 {samples}\n")
            assert f"odd1: {problem}" in fails(capsys, *options("--sets", "odd")).replace("its features are ", "")
    finally:
        shutil.rmtree(raw)


def test_output_that_cannot_be_written(place, capsys):
    Path("dump/file").write_text("a file")
    error = fails(capsys, *options("--sets", "test", "--output", "dump/file"))
    assert "dump/file/test" in error and "choose another" in error
    Path("dump/file").unlink()


def give_up_roots_rights():
    """In the process to be: even root keeps to the permissions of files (PR_CAPBSET_DROP of the two rights)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability)


@pytest.mark.slow(10)
def test_no_permission(place):
    locked = place / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_extract_feats"]
    command += options("--sets", "test", "--output", "locked/hubert")
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=give_up_roots_rights)
    if done.returncode == 0 and os.geteuid() == 0:
        pytest.skip("needs a system where root can give up its rights, or another user")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert "locked/hubert/test" in line and "Permission denied" in line and "choose another folder" in line
    assert "Traceback" not in done.stderr and list(locked.iterdir()) == []


def test_help_names_every_option():
    text = get_parser().format_help()
    for name in ("--encoder_conf", "--layer", "--dtype", "--combine", "fbank_no_cmvn"):
        assert name in text
