import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from sounds import tone
from tiny_decoding import decode
from tiny_experiment import make_experiment

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.tasks.sec import SECTask


def test_a_decoder_in_sixteen_bits(model_file, feats, tmp_path):
    assert Speech2Caption(model_file).model.decoder.lm.module.dtype == torch.float32
    half = Speech2Caption(model_file, dtype="bfloat16").model
    assert half.decoder.lm.module.dtype == torch.bfloat16 and half.projection.weight.dtype == torch.float32
    options = ["--sampling", "true", "--beam_size", "2", "--num_candidates", "2", "--dtype", "bfloat16"]
    rows = decode(model_file, feats, tmp_path, *options)
    assert len(rows) == 7 and all(len(row["candidates"]) == 2 for row in rows)


def test_what_cannot_be_a_captioning_model(model_file, tmp_path):
    with pytest.raises(SecError, match="none: no such experiment"):
        Speech2Caption.from_pretrained(tmp_path / "none")
    with pytest.raises(SecError, match="has no model file"):
        Speech2Caption.from_pretrained(tmp_path)
    shutil.copy(model_file, tmp_path)
    with pytest.raises(SecError, match="config.yaml: no such file; an experiment has config.yaml beside its model"):
        Speech2Caption.from_pretrained(tmp_path)
    with pytest.raises(SecError, match="unknown option 'beam'; decoding has beam_size"):
        Speech2Caption.from_pretrained(model_file.parent, beam=3)
    with pytest.raises(SecError, match="--beam_size 0: must be between 1 and 1000"):
        Speech2Caption.from_pretrained(model_file.parent, beam_size=0)
    if not torch.cuda.is_available():
        with pytest.raises(SecError, match="--device cuda: no CUDA device here; use cpu"):
            Speech2Caption.from_pretrained(model_file.parent, device="cuda")


def test_a_model_of_the_first_stage_writes_no_captions(tmp_path, tiny_llama):
    from tiny_training import align_conf, write

    write(tmp_path / "config.yaml", align_conf(tiny_llama) | {"encoder_conf": {"input_size": 6}})
    model, _ = SECTask.build_model_from_file(tmp_path / "config.yaml")
    torch.save(model.state_dict(), tmp_path / "latest.pth")
    with pytest.raises(SecError, match="is a model of --model align, which writes no captions"):
        Speech2Caption.from_pretrained(tmp_path)


def test_a_model_of_stored_features_of_unknown_origin_captions_features_only(model_file):
    speech2caption = Speech2Caption.from_pretrained(model_file.parent, max_length=5)
    assert len(speech2caption.caption_inputs([np.zeros((4, 6), np.float32)])) == 1
    with pytest.raises(SecError, match="does not say how its features were made"):
        speech2caption("a.wav")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_llama) -> Path:
    """A recipe's folder with a model that captions audio: its config.yaml names the LM by a relative path."""
    recipe = tmp_path_factory.mktemp("recipe")
    shutil.copytree(tiny_llama, recipe / "pretrained" / "llama")
    here = os.getcwd()
    try:
        os.chdir(recipe)
        make_experiment(recipe / "exp" / "sec_a", "pretrained/llama")
    finally:
        os.chdir(here)
    (recipe / "zh").mkdir()  # a folder, and not the instructions
    return recipe / "exp" / "sec_a"


@pytest.fixture(scope="module")
def speech2caption(folder) -> Speech2Caption:
    return Speech2Caption.from_pretrained(folder, beam_size=2, max_length=6)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Half a second, whose samples 16 bits can hold."""
    time = np.arange(8000) / 16000
    return (np.rint(2**15 * 0.3 * np.sin(1382 * time) * np.sin(9 * time)) / 2**15).astype(np.float32)


def test_python_every_form_of_one_recording_gives_the_same_caption(speech2caption, sound, tmp_path):
    sf.write(tmp_path / "a.wav", sound, 16000)
    pcm = np.rint(sound * 2**15).astype(np.int16)
    path = tmp_path / "a.wav"
    one = speech2caption(sound, 16000)
    assert isinstance(one, list) and len(one) == 1
    assert isinstance(one[0][0], str) and isinstance(one[0][1], float)
    forms = [(pcm, 16000), (sound.astype(np.float64), 16000.0), (torch.tensor(sound, requires_grad=True), 16000)]
    forms += [(sound.tolist(), np.int64(16000)), (np.stack([sound, sound]), 16000), ((sound, 16000), None)]
    forms += [(str(path), None), (path, 16000), (sf.read(path, dtype="int16"), None)]
    for audio, rate in forms:
        found = speech2caption(audio, rate)
        assert found[0][0] == one[0][0] and found[0][1] == pytest.approx(one[0][1], abs=1e-5)
    for found in (speech2caption.caption([pcm])[0], speech2caption.caption(pcm[None])[0]):
        assert found[0][1] == pytest.approx(one[0][1], abs=1e-5)


def test_python_lists_of_recordings_of_different_kinds_lengths_and_rates(speech2caption, sound, tmp_path):
    sf.write(tmp_path / "a.wav", sound, 16000)
    low = tone(1.0, 8000)
    together = speech2caption([tmp_path / "a.wav", low, (sound[:4000], 16000)], [None, 8000, None])
    alone = [speech2caption(tmp_path / "a.wav"), speech2caption(low, 8000), speech2caption(sound[:4000], 16000)]
    assert [one[0][0] for one in together] == [one[0][0] for one in alone]
    np.testing.assert_allclose([one[0][1] for one in together], [one[0][1] for one in alone], atol=1e-4)
    assert speech2caption([sound], 16000) == [speech2caption(sound, 16000)]
    assert len(speech2caption([sound.tolist(), low.tolist()], 16000)) == 2


NAN = np.where(np.arange(8000) == 5, np.nan, 0.1)


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        ([], None, "no recordings are given"),
        ((), 16000, "no recordings are given"),
        (np.zeros(0, np.float32), 16000, "audio has no samples"),
        ([np.zeros(0)], 16000, "recording 1 of 1: audio has no samples"),
        (tone(), None, "sampling rate None: must be a number of Hz"),
        (tone(), 0, "sampling rate 0: must be a positive number"),
        (tone(), -16000, "must be a positive number"),
        (tone(), float("nan"), "must be a positive number"),
        (tone(), "16000", "sampling rate '16000': must be a number"),
        (tone(), True, "sampling rate True: must be a number"),
        (tone(), 16, "sampling rate 16: must be between 1000 and 1000000 Hz"),
        ([tone(), tone()], [16000], "1 sampling rates for 2 recordings"),
        ([tone(), tone()], [16000, 0], "recording 2 of 2: sampling rate 0"),
        ((tone(), 16000), 16000, "is given twice"),
        (NAN, 16000, "NaN or infinite"),
        ([tone(), NAN], 16000, "recording 2 of 2: audio has NaN"),
        (tone() * 32768, 16000, "expected -1 to 1; divide it by 32768"),
        (tone().astype(complex), 16000, "type complex128"),
        (np.array([None] * 8000), 16000, "type object"),
        (tone().astype(np.int64), 16000, "type int64"),
        (np.ones((3, 4, 5)), 16000, "shape"),
        (tone()[:20], 16000, "too short"),
        (None, 16000, "type NoneType is not known; give a path"),
        ({"array": tone(), "sampling_rate": 16000}, None, "type dict .* pair"),  # of Hugging Face's datasets
        ((16000, tone()), None, "recording 1 of 2: .*type int .* pair"),  # as scipy returns it
        (open, None, "give a path"),
        (b"RIFF", 16000, "type bytes"),
        ("gone.wav", None, "gone.wav: .*(no such|not exist|missing)"),
        (["gone.wav"], None, "recording 1 of 1: gone.wav"),
    ],
)
def test_python_audio_that_cannot_be_captioned_is_refused_in_one_line(speech2caption, audio, rate, said):
    with pytest.raises(SecError, match=said) as err:
        speech2caption(audio, rate)
    assert "\n" not in str(err.value)


def test_python_a_file_is_not_captioned_at_another_rate_than_its_own(speech2caption, sound, tmp_path):
    sf.write(tmp_path / "a.wav", sound, 16000)
    with pytest.raises(SecError, match="a.wav: is sampled at 16000 Hz, not at 8000 Hz; leave the rate out"):
        speech2caption(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize(
    ("call", "argument", "said"),
    [
        ("caption", [], "no recordings are given; give a list of waveforms"),
        ("caption", tone(), "must be a list of waveforms .*, is an array of the shape"),
        ("caption", "a.wav", "must be a list of waveforms .*, is str"),
        ("caption", [tone() * 32768], "expected -1 to 1"),
        ("caption", [NAN], "NaN"),
        ("caption_inputs", [], "no recordings are given"),
        ("caption_inputs", [np.ones(8000, np.int16)], "takes waveforms .* of floats, not torch.int16"),
        ("caption_inputs", [np.ones((30, 8), np.float32)], r"of the shape \(30, 8\)"),
        ("caption_inputs", [NAN], "has NaN or infinite values"),
        ("caption_inputs", [np.zeros(0, np.float32)], r"of the shape \(0,\)"),
    ],
)
def test_python_the_inner_functions_check_too(speech2caption, call, argument, said):
    with pytest.raises(SecError, match=said):
        getattr(speech2caption, call)(argument)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam": 3}, "unknown option 'beam'; decoding has beam_size"),
        ({"beam_size": 0}, "--beam_size 0: must be between 1 and 1000"),
        ({"beam_size": 5000}, "--beam_size 5000: must be between 1 and 1000"),
        ({"beam_size": 300}, "--beam_size 300: must be at most 200: half of the 400 tokens of the LM"),
        ({"beam_size": [3]}, r"--beam_size \[3\]: must be an integer"),
        ({"beam_size": True}, "--beam_size True: must be an integer"),
        ({"num_candidates": 4}, "4 candidates of beam_size 1"),
        ({"top_p": float("nan")}, "--top_p nan: must be a number"),
        ({"temperature": "0.5"}, "--temperature '0.5': must be a number"),
        ({"sampling": "yes"}, "--sampling 'yes': must be true or false"),
        ({"options": {"beam_size": 3}}, "options .* must be DecodingOptions"),
        ({"prompt": 5}, "--prompt 5: must be text"),
        ({"prompt": " "}, "prompt '': is empty"),
        ({"dtype": "float8"}, "--dtype 'float8': must be one of float32, bfloat16, float16"),
        ({"device": "gpu"}, "--device gpu: cannot be used here"),
        ({"train_config": 5}, "path 5: must be text or a Path"),
    ],
)
def test_python_options_are_checked_at_construction(folder, options, said):
    with pytest.raises(SecError, match=said) as err:
        Speech2Caption(folder / "valid.loss.best.pth", **options)
    assert "\n" not in str(err.value)
    with pytest.raises(SecError, match="path 5: must be text or a Path"):
        Speech2Caption.from_pretrained(5)


def test_python_options_may_be_given_whole_or_by_name(folder):
    options = DecodingOptions(beam_size=3)
    assert Speech2Caption.from_pretrained(folder, options=options, max_length=9.0).options == DecodingOptions(
        beam_size=3, max_length=9
    )
    assert Speech2Caption.from_pretrained(folder, device=torch.device("cpu")).device == "cpu"


def test_a_model_is_used_from_any_working_directory(folder, sound, tmp_path, monkeypatch):
    """By an absolute, a relative or a home path; from another folder while it is loaded and afterwards; moved."""
    monkeypatch.chdir(tmp_path)
    expected = Speech2Caption.from_pretrained(folder, max_length=6)(sound, 16000)
    monkeypatch.chdir(folder.parent.parent)
    model = Speech2Caption.from_pretrained("exp/sec_a", max_length=6)
    monkeypatch.chdir("/")
    assert model(sound, 16000) == expected  # what is loaded at the first call is found, too
    monkeypatch.setenv("HOME", str(folder.parent.parent))
    for path in ("~/exp/sec_a", Path("~/exp/sec_a/valid.loss.best.pth")):
        assert Speech2Caption.from_pretrained(path, max_length=6)(sound, 16000) == expected
    before = sorted(folder.rglob("*"))
    moved = tmp_path / "elsewhere" / "recipe"
    shutil.copytree(folder.parent.parent, moved)
    assert Speech2Caption.from_pretrained(moved / "exp" / "sec_a", max_length=6)(sound, 16000) == expected
    assert sorted(folder.rglob("*")) == before  # nothing is written into it: it may be read-only
