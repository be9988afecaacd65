import json

import numpy as np
import pytest
import soundfile as sf
from sounds import tone

from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.perturb import Perturbation, change_speed, perturb, perturbations
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError

FS = 16000


def loudest(samples: np.ndarray) -> float:
    """Hz of the strongest component."""
    return np.abs(np.fft.rfft(samples)).argmax() * FS / len(samples)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor):
    mono = tone(1.0, hz=400).astype(np.float32)
    fast = change_speed(mono, FS, factor)
    assert len(fast) == pytest.approx(FS / factor, abs=2)
    assert loudest(fast) == pytest.approx(400 * factor, abs=2)


def make(folder):
    folder.mkdir()
    for i, utt in enumerate(("a", "b")):
        sf.write(folder / f"{utt}.wav", tone(0.5 + i / 4), FS)
    tables = {
        "wav.scp": [f"{folder}/a.wav", f"{folder}/b.wav"],
        "utt2num_samples": ["8000", "12000"],
        "captions": [json.dumps(["开心"]), json.dumps(["难过"])],
        "utt2spk": ["s1", "s2"],
        "utt2emo": ["happy", "sad"],
        "utt2dur": ["0.5", "0.75"],
    }
    for name, values in tables.items():
        (folder / name).write_text("".join(f"{u} {v}\n" for u, v in zip("ab", values, strict=True)))
    (folder / "spk2utt").write_text("s1 a\ns2 b\n")
    return folder


def test_the_copies_of_a_data_directory(tmp_path):
    source, output = make(tmp_path / "train"), tmp_path / "more"
    text = perturb(source, output, perturbations([0.8], [20]))
    assert text == f"{output}: 2 utterances and 4 copies (sp0.8, noise20)"
    ids = ["a", "b", "noise20-a", "noise20-b", "sp0.8-a", "sp0.8-b"]
    assert list(read_kaldi(output / "wav.scp")) == ids and validate_data_dir(output, ["captions"]) == []
    assert read_kaldi(output / "utt2spk")["sp0.8-b"] == "sp0.8-s2"
    assert read_kaldi(output / "spk2utt")["noise20-s1"] == "noise20-a"
    assert read_kaldi(output / "utt2emo")["sp0.8-b"] == "sad"
    assert read_captions(output / "captions")["noise20-a"] == ["开心"]
    assert read_kaldi(output / "utt2uniq") == dict(zip(ids, "ababab", strict=True))
    lengths = {utt: int(n) for utt, n in read_kaldi(output / "utt2num_samples").items()}
    assert lengths == {"a": 8000, "b": 12000, "noise20-a": 8000, "noise20-b": 12000, "sp0.8-a": 10000, "sp0.8-b": 15000}
    for utt, path in read_kaldi(output / "wav.scp").items():
        assert len(sf.read(path)[0]) == lengths[utt]
    assert not (output / "utt2dur").exists()
    assert read_kaldi(output / "wav.scp")["a"] == f"{source}/a.wav"


def test_done_again_nothing_is_made_anew_but_what_changed(tmp_path):
    source, output = make(tmp_path / "train"), tmp_path / "more"
    kinds = perturbations([], [20])
    perturb(source, output, kinds)
    copies = sorted((output / "data" / "perturb").iterdir())
    before = [path.read_bytes() for path in copies]
    copies[0].unlink()
    (output / "data" / "perturb" / "left.wav.tmp.7").write_text("of a killed run")
    inode = copies[1].stat().st_ino
    perturb(source, output, kinds)
    assert sorted((output / "data" / "perturb").iterdir()) == copies
    assert [path.read_bytes() for path in copies] == before and copies[1].stat().st_ino == inode
    perturb(source, output, kinds, seed=1)
    assert all(path.read_bytes() != old for path, old in zip(copies, before, strict=True))


@pytest.mark.parametrize(
    "speeds, ratios, message",
    [
        ([1.0], [], "--speed_perturb 1: is the recording itself"),
        ([0.9, 0.9], [], "--speed_perturb 0.9: is there twice"),
        ([3.0], [], "--speed_perturb 3.0: must be between 0.5 and 2"),
        ([], [float("nan")], "--noise_snr nan: must be a number"),
        ([], [100], "--noise_snr 100: must be between -20 and 60"),
    ],
)
def test_bad_values_are_named(speeds, ratios, message):
    with pytest.raises(SecError, match=message):
        perturbations(speeds, ratios)


def test_distorted_copies(tmp_path):
    """Each is its own, whatever the others are, and keeps the length."""
    source, output = make(tmp_path / "train"), tmp_path / "more"
    words = ["reverb", "telephone", "reverb+noise=5,15"]
    text = perturb(source, output, perturbations([], [], words))
    assert text == f"{output}: 2 utterances and 6 copies (reverb, telephone, reverb+noise5_15)"
    wavs = read_kaldi(output / "wav.scp")
    sounds = {utt: sf.read(path)[0] for utt, path in wavs.items()}
    assert {utt: len(one) for utt, one in sounds.items() if utt.endswith("-b")} == dict.fromkeys(
        ["reverb+noise5_15-b", "reverb-b", "telephone-b"], 12000
    )
    assert len({one.tobytes() for one in sounds.values()}) == 8
    assert read_kaldi(output / "utt2uniq")["reverb+noise5_15-a"] == "a" and validate_data_dir(output) == []
    before = sounds["telephone-a"]
    perturb(source, output, perturbations([], [], ["telephone"]))
    kept = read_kaldi(output / "wav.scp")
    assert list(kept) == ["a", "b", "telephone-a", "telephone-b"]
    assert (
        np.array_equal(sf.read(kept["telephone-a"])[0], before) and len(list((output / "data/perturb").iterdir())) == 2
    )


def test_a_copy_is_asked_for_once():
    with pytest.raises(SecError, match="--augment noise15: is there twice, in --noise_snr too"):
        perturbations([], [15], ["noise=15"])
    with pytest.raises(SecError, match="--augment hall: 'hall' is not one of"):
        perturbations([], [], ["hall"])


def test_bad_directories_are_named(tmp_path):
    source, kinds = make(tmp_path / "train"), [Perturbation("sp", 0.9)]
    with pytest.raises(SecError, match="is the folder that is read"):
        perturb(source, source, kinds)
    (source / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(SecError, match="b.wav: .*; run stage 2 again"):
        perturb(source, tmp_path / "more", kinds)
    (source / "wav.scp").write_text("a sox x |\nb sox y |\n")
    with pytest.raises(SecError, match="is not formatted audio .*run stage 2 first"):
        perturb(source, tmp_path / "more", kinds)
    long = "u" * 195
    for name in ("wav.scp", "utt2num_samples", "captions", "utt2spk", "utt2emo", "utt2dur"):
        (source / name).write_text(f"{long} {source}/a.wav\n" if name == "wav.scp" else f"{long} 1\n")
    with pytest.raises(SecError, match="its copy's id would be sp0.9-u.*longer than 200 bytes"):
        perturb(source, tmp_path / "more", kinds)
