"""A model trained on stored features captions audio, with the numbers that stored features give."""

import json
import shutil
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_clap import make_clap
from tiny_training import random_model

from espnet2_secap.bin import sec_extract_feats
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.encoder.clap import ClapEncoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.tasks.front_end import (
    FrontEnd,
    check_input,
    check_rates,
    check_start,
    describe,
    differences,
    set_input_size,
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, make_model, tiny_llama):
    """dump/raw/test, its features from the second layer of a HuBERT in 16 bits, and a random model of them."""
    top = tmp_path_factory.mktemp("recipe")
    options = ["--upstream_path", str(top / "hubert"), "--layer", "2", "--dtype", "float16"]
    return make_recipe(top, make_model, tiny_llama, options, 32)


def make_recipe(top, make_model, tiny_llama, given, width):
    """The same, with features of other options of stage 3 and their width."""
    raw = top / "dump" / "raw" / "test"
    raw.mkdir(parents=True)
    noise = np.random.default_rng(0)
    lengths = {"a": 16000, "b": 9000, "c": 24000}
    for utt, n in lengths.items():
        soundfile.write(raw / f"{utt}.wav", 0.1 * noise.standard_normal(n), 16000)
    (raw / "wav.scp").write_text("".join(f"{utt} {raw}/{utt}.wav\n" for utt in lengths))
    (raw / "utt2num_samples").write_text("".join(f"{utt} {n}\n" for utt, n in lengths.items()))
    make_model(top / "hubert", do_stable_layer_norm=True)
    options = ["--dumpdir", str(top / "dump"), "--sets", "test", "--output", str(top / "dump" / "hubert")]
    options += given
    sec_extract_feats.main(options)
    sec_extract_feats.main([*options, "--combine", "true"])
    shutil.copytree(tiny_llama, top / "llama")
    feats = top / "dump" / "hubert" / "test"
    (top / "shape").write_text("".join(f"{utt} {n},{width}\n" for utt, n in (("a", 49), ("b", 27), ("c", 74))))
    data = [(str(feats / "feats.scp"), "speech", "kaldi_ark"), (str(raw / "wav.scp"), "caption", "text")]
    folder = top / "exp" / "sec_caption_hubert"
    folder.mkdir(parents=True)
    conf = {"encoder": "stored", "encoder_conf": {}, "train_shape_file": [str(top / "shape")]}
    conf |= {f"{split}_data_path_and_name_and_type": data for split in ("train", "valid")}
    random_model(folder, conf, str(top / "llama"))
    return top


def test_the_front_end_is_in_the_configuration(recipe):
    config = yaml.safe_load((recipe / "exp" / "sec_caption_hubert" / "config.yaml").read_text())
    assert config["front_end"] == {
        "encoder": "s3prl",
        "encoder_conf": {"upstream": "hf_hubert_custom", "path": "../../hubert", "layer": "2"},
        "sampling_rate": 16000,
        "frame_shift": 320,
        "dtype": "float16",
        "max_seconds": 1.48,
    }
    assert config["encoder_conf"] == {"input_size": 32}


def test_audio_gets_the_captions_of_its_stored_features_wherever_the_recipe_lies(recipe, tmp_path, monkeypatch):
    moved = shutil.copytree(recipe, tmp_path / "moved")
    shutil.rmtree(moved / "dump")
    monkeypatch.chdir("/")
    options = {"min_length": 4, "max_length": 9}
    speech2caption = Speech2Caption.from_pretrained(moved / "exp" / "sec_caption_hubert", **options)
    assert (speech2caption.fs, speech2caption.min_samples, speech2caption.max_seconds) == (16000, 400, 1.48)
    utterances = Utterances(recipe / "dump" / "hubert" / "test")
    audio = Utterances(recipe / "dump" / "raw" / "test")
    stored = speech2caption.caption_inputs([utterances.read(utt) for utt in "abc"])
    heard = speech2caption.caption([audio.read(utt) for utt in "abc"])
    for utt, wave in ((utt, audio.read(utt)) for utt in "abc"):
        (feats,) = speech2caption.front_end([wave])
        assert (feats - torch.from_numpy(utterances.read(utt))).abs().max() <= 4e-3  # one step of 16 bits
    for ((text, score),), ((wanted, wanted_score),) in zip(heard, stored, strict=True):
        assert text == wanted and score == pytest.approx(wanted_score, abs=1e-3)
    assert len({round(some[0][1], 5) for some in heard}) > 1


@pytest.fixture
def clap_recipe(tmp_path, make_model, tiny_llama):
    """Features of a CLAP model at 48 kHz from audio at 16 kHz, 32 frames each, and a model of them."""
    top = tmp_path / "top"
    make_clap(top / "clap")
    options = ["--upstream", "clap", "--upstream_path", str(top / "clap")]
    return make_recipe(top, make_model, tiny_llama, options, 64)


def test_features_of_a_clap_model_are_made_from_audio_at_any_rate(clap_recipe):
    exp, feats = clap_recipe / "exp" / "sec_caption_hubert", clap_recipe / "dump" / "hubert" / "test"
    front_end = yaml.safe_load((exp / "config.yaml").read_text())["front_end"]
    assert (front_end["encoder"], front_end["sampling_rate"], front_end["frame_shift"]) == ("clap", 48000, 15000)
    assert {len(one) for one in kaldiio.load_scp(str(feats / "feats.scp")).values()} == {32}
    speech2caption = Speech2Caption.from_pretrained(exp, min_length=4, max_length=9)
    assert speech2caption.fs == 48000
    utterances, audio = Utterances(feats), Utterances(clap_recipe / "dump" / "raw" / "test")
    stored = speech2caption.caption_inputs([utterances.read(utt) for utt in "abc"])
    heard = speech2caption([(audio.read(utt), 16000) for utt in "abc"])
    for ((text, score),), ((wanted, wanted_score),) in zip(heard, stored, strict=True):
        assert text == wanted and score == pytest.approx(wanted_score, abs=1e-4)


def test_an_encoder_that_reads_the_start_only_says_so(tmp_path, caplog):
    make_clap(tmp_path)
    encoder = ClapEncoder(str(tmp_path))
    (tmp_path / "shape").write_text(f"a 480000\nb {12 * 48000 + 480}\n")
    args = SimpleNamespace(encoder="clap", encoder_conf={"path": "x"}, train_shape_file=[str(tmp_path / "shape")])
    assert describe(args, encoder)["max_seconds"] == 10.0
    assert "utterances have up to 12.0 s, of which encoder: clap reads the first 10 s" in caplog.text
    caplog.clear()
    encoder.max_samples = None
    assert describe(args, encoder)["max_seconds"] == 12.01 and not caplog.text


def test_joined_features_are_made_from_audio_too(tmp_path, make_model, tiny_llama, monkeypatch):
    """acoustic+hf_hubert_custom: the paths within encoder_conf follow the experiment."""
    top = tmp_path / "top"
    options = ["--upstream", "acoustic+hf_hubert_custom", "--upstream_path", str(top / "hubert")]
    make_recipe(top, make_model, tiny_llama, [*options, "--encoder_conf", "acoustic.level=utterance"], 60 + 32)
    moved = top.rename(tmp_path / "moved")
    exp, feats = moved / "exp" / "sec_caption_hubert", moved / "dump" / "hubert" / "test"
    assert yaml.safe_load((exp / "config.yaml").read_text())["front_end"] == {
        "encoder": "joined",
        "encoder_conf": {
            "encoders": {
                "acoustic": {"level": "utterance"},
                "hf_hubert_custom": {"encoder": "s3prl", "upstream": "hf_hubert_custom", "path": "../../hubert"},
            }
        },
        "sampling_rate": 16000,
        "frame_shift": 320,
        "dtype": "float32",
        "max_seconds": 1.48,
    }
    monkeypatch.chdir("/")
    speech2caption = Speech2Caption.from_pretrained(exp, max_length=6)
    for utt, shape in {"a": (49, 92), "c": (74, 92)}.items():
        wave, _ = soundfile.read(moved / "dump" / "raw" / "test" / f"{utt}.wav", dtype="float32")
        (found,) = speech2caption.front_end([wave])
        scp = dict(line.split() for line in (feats / "feats.scp").read_text().splitlines())
        stored = kaldiio.load_mat(scp[utt].replace(str(top), str(moved))).copy()
        assert found.shape == shape
        np.testing.assert_allclose(found, stored, atol=1e-4, rtol=1e-4)
        assert speech2caption(wave, 16000)[0][0] == speech2caption.caption_inputs([stored])[0][0][0]


def test_one_file_and_samples_of_any_kind(recipe):
    speech2caption = Speech2Caption.from_pretrained(recipe / "exp" / "sec_caption_hubert", max_length=6)
    path = recipe / "dump" / "raw" / "test" / "a.wav"
    pcm, rate = soundfile.read(path, dtype="int16")
    wanted = speech2caption(path)
    assert speech2caption(str(path)) == wanted == speech2caption(pcm, rate)
    assert speech2caption(torch.from_numpy(pcm.astype(np.float32) / 32768), rate) == wanted
    assert speech2caption(np.stack([pcm, pcm], axis=1), rate) == wanted
    for together in (speech2caption([path, path]), speech2caption([pcm, pcm], rate)):
        assert [[text for text, _ in some] for some in together] == [[wanted[0][0]]] * 2
    with pytest.raises(SecError, match="rate"):
        speech2caption(pcm)


def test_features_of_another_front_end_are_refused(recipe, tmp_path):
    other = shutil.copytree(recipe / "dump" / "hubert" / "test", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"sampling_rate": 24000}))
    data = {
        f"{split}_data_path_and_name_and_type": [(f"{path}/feats.scp", "speech", "kaldi_ark")]
        for split, path in (("train", recipe / "dump" / "hubert" / "test"), ("valid", other))
    }
    with pytest.raises(SecError, match="other/feats.scp: its features are of another front-end than those of"):
        describe(SimpleNamespace(**data), StoredEncoder(32))
    (other / "config.json").write_text("{")
    with pytest.raises(SecError, match="config.json: broken .*run stage 3 again"):
        describe(SimpleNamespace(**data), StoredEncoder(32))


def test_decoding_refuses_them_too(recipe, tmp_path, capsys):
    from espnet2_secap.bin import sec_inference

    other = shutil.copytree(recipe / "dump" / "hubert" / "test", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"encoder_conf": {"upstream": "fbank"}}))
    model = ["--sec_model_file", str(recipe / "exp" / "sec_caption_hubert" / "valid.loss.best.pth")]
    for data, message in [
        (other, "its features have encoder_conf {'upstream': 'fbank'}, the model was trained with"),
        (recipe / "dump" / "raw" / "test", "holds audio, the model takes stored features"),
    ]:
        with pytest.raises(SystemExit):
            sec_inference.main([*model, "--data_dir", str(data), "--output_dir", str(tmp_path / "out")])
        assert message in capsys.readouterr().err


def test_a_model_of_features_of_unknown_origin_says_so(tmp_path):
    with pytest.raises(SecError, match="does not say how its features were made"):
        FrontEnd({}, StoredEncoder(6), tmp_path, "cpu")


def test_waveforms_given_to_stored_features():
    with pytest.raises(SecError, match="reads stored features, and was given waveforms; give it audio through sec_cap"):
        StoredEncoder(6)(torch.zeros(1, 25120), torch.tensor([25120]))


def test_raw_audio_at_another_rate_is_refused_before_the_first_step(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(800) / 2, 8000)
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    with pytest.raises(SecError, match="a: is sampled at 8000 Hz, the encoder takes 16000 Hz; run stage 2 again"):
        check_rates([tmp_path / "wav.scp"], 16000)


def test_one_recording_of_another_rate_among_many_is_found(tmp_path):
    for utt, rate in (("a", 16000), ("b", 16000), ("c", 8000), ("d", 16000)):
        soundfile.write(tmp_path / f"{utt}.wav", np.ones(800) / 2, rate)
    (tmp_path / "wav.scp").write_text("".join(f"{utt} {tmp_path}/{utt}.wav\n" for utt in "abcd"))
    with pytest.raises(SecError, match="wav.scp: c: is sampled at 8000 Hz, the encoder takes 16000 Hz"):
        check_rates([tmp_path / "wav.scp"], 16000)


HUBERT = {"encoder": "s3prl", "encoder_conf": {"upstream": "fbank", "layer": "last"}, "sampling_rate": 16000}


@pytest.mark.parametrize(
    ("other", "keys"),
    [
        ({}, []),
        ({"max_seconds": 3.0}, []),
        ({"frame_shift": 160}, []),  # one of them does not say it
        ({"encoder_conf": {"upstream": "fbank"}}, []),  # the default
        ({"encoder_conf": {"upstream": "fbank", "layer": 1}}, ["encoder_conf"]),
        ({"encoder_conf": {"upstream": "mfcc"}}, ["encoder_conf"]),
        ({"encoder_conf": {"upstream": "fbank", "path": "x"}}, ["encoder_conf"]),
        ({"sampling_rate": 8000}, ["sampling_rate"]),
        ({"encoder": "stored", "encoder_conf": {}}, ["encoder", "encoder_conf"]),
    ],
)
def test_front_ends_are_compared_by_what_they_mean(other, keys):
    assert differences(HUBERT, HUBERT | other) == keys


def test_paths_are_compared_by_what_they_lead_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hubert").mkdir()
    ways = ["hubert", "./hubert", str(tmp_path / "hubert"), "hubert/../hubert"]
    confs = [HUBERT | {"encoder_conf": {"upstream": "hf_hubert_custom", "path": path, "layer": "2"}} for path in ways]
    assert all(differences(confs[0], conf) == [] for conf in confs)


def test_the_encoders_within_one_are_compared_by_what_they_mean(tmp_path):
    def of(**encoders):
        return {"encoder": "joined", "encoder_conf": {"encoders": encoders}}

    fbank = {"encoder": "s3prl", "upstream": "fbank"}
    (tmp_path / "hubert").mkdir()
    ours = of(acoustic={}, fbank=fbank | {"path": str(tmp_path / "hubert")})
    there = fbank | {"path": f"{tmp_path}/hubert/../hubert", "layer": "last"}
    assert differences(ours, of(fbank=there, acoustic={"encoder": "acoustic", "level": "both"})) == []
    assert differences(ours, of(fbank=there, acoustic={"level": "frame"})) == ["encoder_conf"]
    assert differences(ours, of(fbank=fbank, acoustic={})) == ["encoder_conf"]


def test_a_start_from_a_model_of_other_features_is_refused(recipe):
    """Same shapes, another layer or upstream: the bridge would hear noise."""
    exp = recipe / "exp" / "sec_caption_hubert"
    model = f"{exp}/valid.loss.best.pth"
    ours = {
        "encoder": "s3prl",
        "encoder_conf": {"upstream": "hf_hubert_custom", "path": str(recipe / "hubert"), "layer": 2},
        "sampling_rate": 16000,
        "frame_shift": 320,
        "dtype": "float32",
    }
    check_start(model, ours)
    check_start(model, {})
    for other in (ours | {"sampling_rate": 8000}, ours | {"encoder_conf": ours["encoder_conf"] | {"layer": 1}}):
        with pytest.raises(
            SecError, match=r"--init_model .*: was trained on features with (sampling_rate|encoder_conf)"
        ):
            check_start(model, other)
        with pytest.raises(SecError, match="was trained on features with"):
            check_start(f"{model}:bridge,projection", other)
        check_start(f"{model}:projection", other)


def test_a_trained_encoder_may_start_from_the_frozen_one_and_not_the_reverse(tmp_path):
    frozen = {"encoder": "clap", "encoder_conf": {"path": "/c"}, "sampling_rate": 48000}
    trained = frozen | {"encoder_conf": {"path": "/c", "freeze": False}}
    for name, front_end in (("frozen", frozen), ("trained", trained)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump({"front_end": front_end}))
    check_start(f"{tmp_path}/frozen/x.pth:bridge", trained)
    check_start(f"{tmp_path}/trained/x.pth:bridge", trained)
    with pytest.raises(SecError, match="was trained on features with encoder_conf .*'freeze': False"):
        check_start(f"{tmp_path}/trained/x.pth:bridge", frozen)
    with pytest.raises(SecError, match="was trained on features with encoder_conf"):
        check_start(f"{tmp_path}/frozen/x.pth:bridge", trained | {"encoder_conf": {"path": "/d", "freeze": False}})


def test_probing_refuses_features_of_another_front_end(recipe, tmp_path):
    other = shutil.copytree(recipe / "dump" / "hubert" / "test", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"sampling_rate": 8000}))
    utterances = Utterances(other)
    with pytest.raises(SecError, match="other: its features have sampling_rate 8000, the model was trained with 16000"):
        check_input(other, utterances, StoredEncoder(32), config)
    check_input(recipe / "dump" / "hubert" / "test", utterances, StoredEncoder(32), config)


def test_features_too_large_for_16_bits_are_refused(recipe, monkeypatch):
    speech2caption = Speech2Caption.from_pretrained(recipe / "exp" / "sec_caption_hubert")
    front_end = speech2caption.front_end
    taken = front_end.extractor.forward
    front_end.extractor.forward = lambda *speech: (taken(*speech)[0] * 1e6, taken(*speech)[1])
    with pytest.raises(SecError, match="too large for float16"):
        front_end([np.ones(16000, np.float32)])


def test_the_width_of_stored_features(tmp_path):
    args = SimpleNamespace(encoder="stored", encoder_conf={}, train_shape_file=[])
    with pytest.raises(SecError, match="input_size is missing, and there is no --train_shape_file"):
        set_input_size(args)
    (tmp_path / "shape").write_text("a 16000\n")
    args.train_shape_file = [str(tmp_path / "shape")]
    with pytest.raises(SecError, match="shapes of raw audio; encoder: stored needs features"):
        set_input_size(args)
    (tmp_path / "shape").write_text("a 10,6\n")
    set_input_size(args)
    assert args.encoder_conf == {"input_size": 6}


def test_kaldi_arks_of_another_program_have_no_front_end(tmp_path):
    kaldiio.save_ark(str(tmp_path / "f.ark"), {"a": np.ones((3, 6), np.float32)}, scp=str(tmp_path / "feats.scp"))
    data = {"train_data_path_and_name_and_type": [(str(tmp_path / "feats.scp"), "speech", "kaldi_ark")]}
    assert describe(SimpleNamespace(**data), StoredEncoder(6)) == {}
