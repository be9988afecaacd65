import json
import subprocess
import sys

import pytest
import torch

from espnet2_secap.encoder.upstream import hub_entry, load_upstream, missing_tensors_told, zero_mean_unit_variance
from espnet2_secap.errors import SecError


def fails(match, *args):
    with pytest.raises(SecError, match=match) as caught:
        load_upstream(*args)
    assert "\n" not in str(caught.value)


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_unknown_names_get_a_proposal():
    fails("no such upstream; did you mean .*fbank", "fbnak")
    fails("no such upstream; did you mean hf_hubert_custom or fbank", "qqqqqqqqqqq")
    fails("no such upstream", "_urls_to_filepaths")


@pytest.mark.parametrize("name", ["fbank", "hf_hubert_custom", "wavlm_local", "hubert_local", "apc_local"])
def test_entries_are_those_of_s3prls_hub(name):
    entry = hub_entry(name)
    assert entry.__name__ == name and entry.__module__.startswith("s3prl.upstream.")


@pytest.mark.parametrize("path", ["/no/such/folder", "./hubert", "a/b/c", "nothing", "test/nothing"])
def test_missing_folder_is_said_at_once(path, repo, monkeypatch):
    monkeypatch.chdir(repo)  # it has a folder test/, so test/nothing is no hub name
    fails(f"{path}: does not exist.*--upstream_path", "hf_hubert_custom", path)


def test_a_hub_name_is_handed_to_transformers(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    fails("nobody/nothing: neither a folder here nor a model", "hf_hubert_custom", "nobody/nothing")


def test_what_a_folder_must_have(tmp_path, make_model):
    make_model(tmp_path)
    load_upstream("hf_hubert_custom", str(tmp_path))
    preprocessor, config = tmp_path / "preprocessor_config.json", tmp_path / "config.json"
    weights = tmp_path / "model.safetensors"
    kept = {path: path.read_bytes() for path in (preprocessor, config, weights)}

    def restore():
        for path, data in kept.items():
            path.write_bytes(data)

    said = {
        preprocessor: ("could not be loaded .* config.json, preprocessor_config.json", "could not be loaded"),
        config: ("has no config.json", "is no JSON or cut short"),
        weights: ("has no weights", "is cut short or damaged"),
    }
    for path, (missing, cut) in said.items():
        path.unlink()
        fails(f"{tmp_path}: .*{missing}", "hf_hubert_custom", str(tmp_path))
        path.write_bytes(kept[path][: len(kept[path]) // 2])
        fails(f"{tmp_path}.*{cut}", "hf_hubert_custom", str(tmp_path))
        restore()
    edit(preprocessor, sampling_rate=8000)
    fails(f"{tmp_path}: .*8000 Hz", "hf_hubert_custom", str(tmp_path))
    restore()
    edit(config, model_type="wavlm")
    fails("model_type 'wavlm', hf_hubert_custom wants 'hubert'", "hf_hubert_custom", str(tmp_path))
    restore()
    edit(config, num_hidden_layers=4)  # transformers would draw the fourth layer at random
    fails("missing: encoder.layers.3.* and 12 more", "hf_hubert_custom", str(tmp_path))
    restore()
    edit(config, num_hidden_layers=2)  # and leave the third one out
    fails("left over: encoder.layers.2.* and 12 more", "hf_hubert_custom", str(tmp_path))
    restore()
    edit(config, hidden_size=64)
    fails("of another size: encoder.layer_norm.bias .32, should be 64", "hf_hubert_custom", str(tmp_path))


def test_a_checkpoint_of_another_kind(tmp_path, make_model):
    make_model(tmp_path, kind="wav2vec2")
    fails("model_type 'wav2vec2'", "hf_hubert_custom", str(tmp_path))
    make_model(tmp_path, kind="wav2vec2", add_adapter=True)
    fails("add_adapter", "hf_wav2vec2_custom", str(tmp_path))


def test_the_head_of_another_task_is_left_behind_and_other_names_are_refused(tmp_path, make_model):
    """Kind: frozen parts loaded without looking at what was missing. HubertForCTC's folders are used as encoders."""
    from safetensors.torch import load_file, save_file

    make_model(tmp_path)
    weights = str(tmp_path / "model.safetensors")
    plain = load_file(weights)

    def save(rename, **more):
        save_file({rename(key): value for key, value in plain.items()} | more, weights, metadata={"format": "pt"})

    head = {"lm_head.weight": torch.zeros(5, 32), "lm_head.bias": torch.zeros(5)}
    save(lambda key: f"hubert.{key}", **head)
    loaded = load_upstream("hf_hubert_custom", str(tmp_path)).expert.model.state_dict()
    assert all(torch.equal(loaded[key], plain[key]) for key in plain if key in loaded)
    save(lambda key: f"wav2vec2.{key}", **head)  # and config.json says hubert
    fails("missing: encoder.layer_norm.bias.*left over: wav2vec2", "hf_hubert_custom", str(tmp_path))


def test_what_upstreams_of_s3prl_draw_at_random_is_said(caplog):
    layer = torch.nn.Linear(2, 2)
    with missing_tensors_told():
        layer.load_state_dict({"bias": torch.ones(2)}, strict=False)
        assert "Linear: its checkpoint lacks weight; these are random numbers now" in caplog.text
        with pytest.raises(SecError, match="lacks bias, weight, all that there is"):
            layer.load_state_dict({"old.bias": torch.ones(2)}, strict=False)
        with pytest.raises(RuntimeError, match="Missing key"):
            layer.load_state_dict({"bias": torch.ones(2)})
    layer.load_state_dict({}, strict=False)


def test_arguments(tmp_path):
    fails("takes --upstream_path", "hf_hubert_custom", None)
    fails("no other argument", "hf_hubert_custom", str(tmp_path), {"layer": 1})
    fails("could not load", "baseline_local", None, {"model_config": str(tmp_path / "none.yaml")})
    (tmp_path / "broken.pt").write_bytes(b"not a checkpoint")
    fails("broken.pt: S3PRL could not load", "apc_local", str(tmp_path / "broken.pt"))


@pytest.mark.slow(8)
def test_loading_does_not_import_all_of_s3prl(tmp_path, make_model):
    make_model(tmp_path)
    code = (
        "import sys; from espnet2_secap.encoder.upstream import load_upstream; "
        f"load_upstream('hf_hubert_custom', {str(tmp_path)!r}); "
        "print(sorted({'espnet2', 's3prl.hub', 's3prl.upstream.hf_hubert.expert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['s3prl.upstream.hf_hubert.expert']"


@pytest.mark.slow(8)
def test_all_of_s3prls_hub_can_be_imported_with_our_patch():
    hub_entry("fbank")
    import s3prl.hub
    from torchaudio.sox_effects import apply_effects_tensor

    assert "hf_hubert_custom" in s3prl.hub.options()
    with pytest.raises(NotImplementedError, match="2.9"):
        apply_effects_tensor(torch.zeros(1, 10), 16000, [])


def test_waveforms_are_normalised_as_transformers_does_it():
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    noise = torch.Generator().manual_seed(0)
    wavs = [torch.randn(n, generator=noise) * scale for n, scale in ((16000, 0.3), (9001, 1e-3), (400, 0.9))]
    wavs += [wavs[0][:5000] + 0.5, torch.zeros(800)]
    lengths = torch.tensor([len(wav) for wav in wavs])
    batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True, padding_value=0.7)  # padding must not count
    rows = zero_mean_unit_variance(batch, lengths)
    for row, wav in zip(rows, wavs, strict=True):
        wanted = extractor(wav.numpy(), sampling_rate=16000, return_tensors="pt").input_values[0]
        assert (row[: len(wav)] - wanted).abs().max() <= 1e-6 * max(1.0, wanted.abs().max().item())
        assert not row[len(wav) :].any()
