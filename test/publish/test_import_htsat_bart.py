"""A released HTSAT-BART at tiny size, against what the released code computes from it where shared/ is there, and
against transformers' own models for one of other sizes that is made here."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny import BART, make_bart
from tiny_clap import make_clap, sounds
from tiny_decoding import decode
from tiny_htsat_bart import OTHER, OTHER_SETTINGS, make_checkpoint
from tiny_training import command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.bin.sec_import_htsat_bart import main
from espnet2_secap.data.io import read_yaml
from espnet2_secap.encoder.clap import ClapEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.tasks.experiment import read_config
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.template import Segment

PARITY, FINE = 1e-4, 1e-5  # of the largest value; FINE: in the encoder's map, where small mistakes are seen
ALONE = 5e-5  # without padding to 10 s, where rounding in the released code counts for 2e-5
DECIBELS = 5e-3


@pytest.fixture(scope="module")
def released(htsat_bart):
    return htsat_bart


@pytest.fixture(scope="module")
def told(released):
    return json.loads((released / "meta.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def expected(released):
    return np.load(released / "expected.npz")


@pytest.fixture(scope="module")
def waves(released, told):
    files = {name: released / "wav" / f"{name}.wav" for name in told["utterances"]}
    return {name: torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for name, file in files.items()}


def run(checkpoint, bart, output):
    main(["--checkpoint", str(checkpoint), "--bart", str(bart), "--output", str(output)])
    return output


@pytest.fixture(scope="module")
def experiment(released, tmp_path_factory):
    return run(released / "model.pt", released / "bart", tmp_path_factory.mktemp("exp") / "sec_htsat_bart")


@pytest.fixture(scope="module")
def options(repo):
    """The published decoding."""
    conf = read_yaml(repo / "egs2/TEMPLATE/sec1/conf/decode_htsat_bart.yaml")
    return {name: value for name, value in conf.items() if name != "batch_size"}


@pytest.fixture(scope="module")
def speech2caption(experiment, options):
    return Speech2Caption.from_pretrained(experiment, **options)


def close(ours, theirs, tolerance=PARITY):
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def batch_mates(experiment):
    return ClapEncoder(str(experiment / "clap"), repeat=32, fill="batch").eval()


@torch.no_grad()
def test_every_tensor_of_the_encoder(speech2caption, expected, waves):
    encoder = speech2caption.model.encoder
    for name, wave in waves.items():
        mels = encoder.front_end(encoder.front_end.windows(wave, 1))
        assert np.abs(mels[0].numpy() - expected[f"{name}/logmel"]).max() < DECIBELS
        inner = encoder.model.module.audio_encoder
        normal = inner.batch_norm(mels[:, None].transpose(1, 3)).transpose(1, 3)
        every = 8 if f"{name}/logmel_bn_every8" in expected else 1
        close(normal[0, 0, ::every], expected[f"{name}/logmel_bn" + "_every8" * (every == 8)])
        if f"{name}/image" in expected:
            close(inner.reshape_mel2img(normal)[0, 0], expected[f"{name}/image"])
        states = encoder.model.module(mels[:, None], output_hidden_states=True).hidden_states
        for stage in range(4):  # hidden_states[0] is the embedding of the patches
            rows = states[stage + 1][0].flatten(1).T  # (patches, channels)
            close(rows[:: len(rows) // 16], expected[f"{name}/stage{stage}_rows16"])
        close(encoder.map(mels[:, None])[0], expected[f"{name}/map"], FINE)
        feats, lengths = encoder(wave[None], torch.tensor([len(wave)]))
        assert lengths.tolist() == [1024]
        close(feats[0], expected[f"{name}/frames"], FINE)


@torch.no_grad()
def test_every_tensor_behind_the_encoder(speech2caption, expected, waves, told):
    model = speech2caption.model
    for name, wave in waves.items():
        segments = speech2caption.segments([wave])
        assert len(segments) == 1 and segments[0].mask.all(), "speech alone, nothing of it padding"
        close(segments[0].content[0], expected[f"{name}/proj"])
        close(model.decoder.encode(segments)[0][0, ::8], expected[f"{name}/bart_enc_every8"])
        compare_loss(model, segments, expected, name, told["utterances"][name]["labels"])


def compare_loss(model, segments, expected, name, labels):
    """Logits and losses; the released code's loss counts <s> as a token of the caption."""
    labels = torch.tensor([labels])
    caption = Segment(labels, torch.ones_like(labels, dtype=torch.bool))
    forced, model.decoder.forced = model.decoder.forced, ()
    try:
        close(torch.cat(list(model.decoder.logits(segments, caption)), 1)[0], expected[f"{name}/logits"])
        close(model.decoder.log_probs(segments, caption)[0], expected[f"{name}/token_logp"])
        loss = -model.decoder.log_probs(segments, caption, smoothing=0.1).mean()
        assert loss.item() == pytest.approx(float(expected[f"{name}/loss"]), rel=1e-5)
    finally:
        model.decoder.forced = forced


def test_captions(speech2caption, expected, waves, told):
    """Ids and scores of 1, 2 and 3 beams, alone and together."""
    for beams in (1, 2, 3):
        speech2caption.options = speech2caption.options.__class__(**vars(speech2caption.options) | {"beam_size": beams})
        found = speech2caption.caption([wave.numpy() for wave in waves.values()])
        for name, wave, ((together, _),) in zip(waves, waves.values(), found, strict=True):
            segments = speech2caption.segments([wave])
            (((ids,),), ((score,),)) = speech2caption.model.generate_from(segments, speech2caption.options)
            theirs = expected[f"{name}/beam{beams}_ids"].tolist()
            assert theirs[:2] == [2, 0] and [*ids, 2] == theirs[2:], (name, beams)
            assert together == speech2caption.tokenizer.decode(ids).strip()
            if beams > 1:
                assert score == pytest.approx(float(expected[f"{name}/beam{beams}_score"]), abs=1e-4)
    assert told["decoding"]["num_beams"] == 3


@torch.no_grad()
def test_the_released_way_to_fill_batches(experiment, speech2caption, expected, waves, told):
    """A clip alone is not padded at all; one in a batch up to the longest."""
    model, encoder = speech2caption.model, batch_mates(experiment)
    for name, wave in waves.items():
        if f"{name}_alone/map" not in expected:
            continue
        mels = encoder.front_end(encoder.front_end.together([wave]))
        close(encoder.map(mels[:, None])[0], expected[f"{name}_alone/map"], ALONE)
        segments = behind(model, *encoder(wave[None], torch.tensor([len(wave)])))
        compare_loss(model, segments, expected, f"{name}_alone", told["utterances"][name]["labels"])
    order, (start,) = told["batch"]["order"], told["batch"]["crop_starts"]
    clips = [waves[name] if len(waves[name]) <= 320000 else waves[name][start:][:320000] for name in order]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=0.7)
    feats, lengths = encoder(batch, torch.tensor([len(clip) for clip in clips]))
    frames = torch.from_numpy(expected["batch/map"]).mean(2).transpose(1, 2).repeat_interleave(32, 1)
    close(feats, frames, FINE)
    segments = behind(model, feats, lengths)
    labels = torch.from_numpy(expected["batch/labels"])
    caption = Segment(labels.clamp(min=0), labels >= 0)
    forced, model.decoder.forced = model.decoder.forced, ()
    found = model.decoder.log_probs(segments, caption, smoothing=0.1)
    model.decoder.forced = forced
    assert -found.sum().item() / caption.mask.sum().item() == pytest.approx(float(expected["batch/loss"]), rel=1e-5)


def behind(model, feats, lengths):
    """What the decoder reads of features."""
    vectors, mask = model.bridge(feats, lengths)
    return [Segment(model.projection(vectors), mask)]


@pytest.mark.parametrize("mistake", ["eps", "symmetric window", "no align_corners", "htk", "zero padding", "no mask"])
@torch.no_grad()
def test_mistakes_are_seen(experiment, expected, waves, mistake, monkeypatch):
    """What the tolerance of the map is for: the finest of these changes it by 8e-5 of its largest value."""
    encoder = ClapEncoder(str(experiment / "clap")).eval()
    if mistake == "eps":
        for module in encoder.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-12
    elif mistake == "symmetric window":
        encoder.front_end.hann = torch.hann_window(1024, periodic=False, dtype=torch.float64)
    elif mistake == "no align_corners":
        plain = torch.nn.functional.interpolate
        monkeypatch.setattr(
            torch.nn.functional,
            "interpolate",
            lambda *args, **options: plain(*args, **options | {"align_corners": False}),
        )
    elif mistake == "htk":
        from transformers import ClapFeatureExtractor

        filters = ClapFeatureExtractor.from_pretrained(experiment / "clap").mel_filters
        encoder.front_end.filters = torch.tensor(filters, dtype=torch.float64)
    elif mistake == "zero padding":
        plain = torch.stft
        monkeypatch.setattr(torch, "stft", lambda *args, **options: plain(*args, **options | {"pad_mode": "constant"}))
    else:
        layer = type(encoder.model.module.audio_encoder.layers[0].blocks[0])
        monkeypatch.setattr(layer, "get_attn_mask", lambda *_, **__: None)
    far = []
    for name, wave in waves.items():
        mels = encoder.front_end(encoder.front_end.windows(wave, 1))
        theirs = torch.from_numpy(expected[f"{name}/map"])
        far.append(((encoder.map(mels[:, None])[0] - theirs).abs().max() / theirs.abs().max()).item())
    assert max(far) > 3 * FINE, far


def test_the_folder_is_an_ordinary_experiment(experiment, released, speech2caption):
    config = yaml.safe_load((experiment / "config.yaml").read_text(encoding="utf-8"))
    assert config["encoder_conf"] == {"path": "./clap", "repeat": 32} and config["decoder_conf"] == {"path": "./bart"}
    assert config["template_conf"]["order"] == ["queries"]
    assert (config["front_end"]["sampling_rate"], config["front_end"]["max_seconds"]) == (32000, 10)
    assert speech2caption.fs == 32000 and speech2caption.max_seconds == 10
    weights = torch.load(released / "model.pt", weights_only=True)["model"]
    shared = speech2caption.model.decoder.lm.module.get_input_embeddings().weight
    assert torch.equal(shared, weights["decoder.model.shared.weight"]), "the checkpoint's, not the folder's"


# One of other sizes, without shared/.


@pytest.fixture(scope="module")
def bart_folder(tmp_path_factory, tiny_llama):
    return str(
        make_bart(tmp_path_factory.mktemp("bart") / "bart", tiny_llama, **BART | {"max_position_embeddings": 192})
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory, bart_folder):
    """Checkpoint, its two models and the linear layer between them."""
    from transformers import AutoModelForSeq2SeqLM

    top = tmp_path_factory.mktemp("other")
    audio = make_clap(top / "audio", "ClapAudioModel", {}, **OTHER)
    bart = AutoModelForSeq2SeqLM.from_pretrained(bart_folder)
    linear = make_checkpoint(top / "model.pt", audio, bart, OTHER_SETTINGS)
    return top / "model.pt", audio, bart.eval(), linear


@pytest.fixture(scope="module")
def imported(other, bart_folder, tmp_path_factory):
    return run(other[0], bart_folder, tmp_path_factory.mktemp("exp") / "sec_other")


@torch.no_grad()
def test_other_sizes_are_read_from_the_checkpoint(other, imported):
    """Against transformers' front-end and models one after the other; the front-end is that of the settings."""
    from transformers import ClapFeatureExtractor

    _, audio, bart, linear = other
    model = Speech2Caption.from_pretrained(imported).model
    extractor = ClapFeatureExtractor(
        feature_size=24, sampling_rate=16000, hop_length=256, max_length_s=0.75, fft_window_size=512, frequency_min=20,
        frequency_max=7000, truncation="rand_trunc", padding="pad",
    )  # fmt: skip
    (wave,) = sounds(0.6, rate=16000)
    mels = extractor(wave.numpy(), max_length=12000, sampling_rate=16000, return_tensors="pt")["input_features"].float()
    frames = audio(input_features=mels).last_hidden_state.mean(2).transpose(1, 2).repeat_interleave(16, 1)
    assert frames.shape == (1, 192, 24)
    segments = model.segments(
        speech=wave[None], speech_lengths=torch.tensor([len(wave)]), instruction=torch.zeros(1, 1, dtype=torch.long),
        instruction_lengths=torch.tensor([1]),
    )  # fmt: skip
    close(segments[0].content, linear(frames), FINE)
    states = bart.get_encoder()(inputs_embeds=linear(frames)).last_hidden_state
    close(model.decoder.encode(segments)[0], states, FINE)


def test_recordings_of_any_length_and_rate(imported, tmp_path, capsys):
    """sec_caption cuts what is longer than the model reads."""
    from espnet2_secap.bin.sec_caption import main as caption

    (wave,) = sounds(0.7, rate=44100)
    soundfile.write(tmp_path / "short.wav", wave.numpy(), 44100)
    tone = sounds(3.0, rate=16000)[0].numpy()
    tone[10000:14000] = 0
    soundfile.write(tmp_path / "long.wav", tone, 16000)
    model = ["--model", str(imported), "--max_length", "8"]
    caption([*model, str(tmp_path / "short.wav"), str(tmp_path / "long.wav")])
    short, *long = capsys.readouterr().out.splitlines()
    assert short.startswith("short ") and len(long) > 1 and all(line.startswith("long") for line in long)
    with pytest.raises(SecError, match="--prompt: .* reads no instruction .*; leave it out"):
        Speech2Caption.from_pretrained(imported, prompt="a")


def test_further_training_starts_from_it(imported):
    """All of it is trained where the configuration says so, and from the released weights."""
    args = read_config(imported / "config.yaml", SECTask.defaults())
    args.encoder_conf["freeze"] = args.decoder_conf["freeze"] = False
    args.init_model, args.output_dir = [f"{imported}/valid.loss.best.pth:bridge,projection"], None
    model = SECTask.build_model(args).train()
    (wave,) = sounds(0.6, rate=16000)
    caption = torch.tensor([[5, 6, 2]])
    loss, _, _ = model(
        speech=wave[None], speech_lengths=torch.tensor([len(wave)]), caption=caption, caption_lengths=torch.tensor([3]),
        instruction=torch.zeros(1, 1, dtype=torch.long), instruction_lengths=torch.tensor([1]),
    )  # fmt: skip
    loss.backward()
    for part in ("encoder", "projection", "decoder"):
        grads = [p.grad for p in getattr(model, part).parameters() if p.grad is not None]
        assert grads and all(grad.isfinite().all() for grad in grads) and any(grad.any() for grad in grads), part


@pytest.mark.slow(6)
def test_all_of_it_is_trained_resumed_and_decoded(imported, repo, tmp_path):
    """conf/caption_htsat_bart_large.yaml on raw audio, from the imported weights."""
    corpus, output = make_corpus(tmp_path), tmp_path / "exp"
    waves = {f"u{i}": sounds(0.3 + 0.1 * i, rate=16000)[0].numpy() for i in range(8)}
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
    (tmp_path / "wav.scp").write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in waves))
    for file in ("shape", "utt2num_samples"):
        (tmp_path / file).write_text("".join(f"{name} {len(wave)}\n" for name, wave in waves.items()))
    (tmp_path / "feats.scp").unlink()
    conf = read_yaml(repo / "egs2/TEMPLATE/sec1/conf/caption_htsat_bart_large.yaml")
    conf["encoder_conf"] |= {"path": str(imported / "clap"), "repeat": 16}
    conf |= {"bridge_conf": {"hidden_size": 24}, "batch_size": 4, "num_workers": 0, "max_epoch": 2}
    conf["decoder_conf"]["path"] = str(imported / "bart")
    conf["scheduler_conf"] |= {"first_cycle_steps": 6, "warmup_steps": 1}
    start = ["--init_model", f"{imported}/valid.loss.best.pth:bridge,projection"]
    data = [("speech", "wav.scp", "sound"), ("caption", "captions", "text")]
    args = [*command(corpus, output, write(tmp_path / "caption.yaml", conf), data), *start]
    sec_train.main([*args, "--max_epoch", "1"])
    first = torch.load((output / "latest.pth").resolve(), weights_only=True)
    sec_train.main(args)
    second = torch.load((output / "latest.pth").resolve(), weights_only=True)
    changed = {key for key in second if not torch.equal(first[key], second[key])}
    inside = "encoder.model.module.audio_encoder"
    assert {f"{inside}.batch_norm.running_var", f"{inside}.norm.weight", "projection.weight"} < changed
    assert any(key.startswith("decoder.") for key in changed)
    front_end = read_yaml(output / "config.yaml")["front_end"]
    assert (front_end["encoder"], front_end["sampling_rate"], front_end["max_seconds"]) == ("clap", 16000, 0.75)
    rows = decode(output / "latest.pth", corpus, tmp_path / "decoded", "--beam_size", "2", "--max_length", "8")
    heard = Speech2Caption(output / "latest.pth", beam_size=2, max_length=8)
    for row in rows:
        ((text, score),) = heard(str(tmp_path / f"{row['id']}.wav"))
        assert row["candidates"][0]["text"] == text
        assert row["candidates"][0]["score"] == pytest.approx(score, abs=1e-4)


def failure(capsys, *args) -> str:
    with pytest.raises(SystemExit) as end:
        run(*args)
    assert end.value.code == 1
    return capsys.readouterr().err


def test_keys_that_do_not_fit_are_listed_and_nothing_is_written(other, bart_folder, tmp_path, capsys):
    _, audio, bart, _ = other
    qkv = "encoder.audio_enc.layers.0.blocks.0.attn.qkv.weight"
    changes = {
        qkv: None, "encoder.audio_enc.odd": torch.zeros(2), "enc_to_dec_proj.bias": torch.zeros(7), "x": torch.zeros(1),
        "decoder.model.encoder.layers.0.fc1.bias": None, "decoder.lm_head.weight": torch.zeros(400, 32),
        "encoder.audio_enc.audio_feats_extractor.log_trans.melW": torch.zeros(257, 24),
    }  # fmt: skip
    make_checkpoint(tmp_path / "bad.pt", audio, bart, OTHER_SETTINGS, **changes)
    err = failure(capsys, tmp_path / "bad.pt", bart_folder, tmp_path / "exp")
    for said in (
        f"{qkv} is missing", "encoder.audio_enc.odd is left over", "enc_to_dec_proj.bias is (7,), expected (32,)",
        "; x is left over", "decoder.model.encoder.layers.0.fc1.bias is missing", "decoder.lm_head.weight differs from",
        "log_trans.melW is not that of its settings (audio_args)",
    ):  # fmt: skip
        assert err.count(said) == 1, said
    assert not (tmp_path / "exp").exists()


def test_bad_input(other, tiny_bart, tiny_llama, tmp_path, capsys):
    checkpoint, out = other[0], tmp_path / "exp"
    torch.save({"a": torch.zeros(2)}, tmp_path / "plain.pt")
    assert "plain.pt: not a checkpoint of the WavCaps captioning code" in failure(
        capsys, tmp_path / "plain.pt", tiny_bart, out
    )
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:1000])
    assert "cut short" in failure(capsys, tmp_path / "cut.pt", tiny_bart, out)
    torch.save({"model": {"encoder.audio_enc.fc1.weight": torch.zeros(2)}}, tmp_path / "cnn.pt")
    assert "its encoder is no HTSAT" in failure(capsys, tmp_path / "cnn.pt", tiny_bart, out)
    assert "llama is no encoder-decoder; give the BART" in failure(capsys, checkpoint, tiny_llama, out)
    assert "no/where/to: no such folder" in failure(capsys, checkpoint, "no/where/to", out)
    assert not out.exists()
