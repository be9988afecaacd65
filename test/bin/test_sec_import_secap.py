"""Files that an imported model needs beside its weights, by folder or hub name; the import itself: test/publish."""

from pathlib import Path

import pytest

from espnet2_secap.bin.sec_import_secap import get_parser
from espnet2_secap.errors import SecError
from espnet2_secap.publish.import_secap import companions


def test_tokenizer_and_preprocessor_of_a_folder(secap_tiny):
    names = [path.name for path in companions(str(secap_tiny / "weights" / "llama"))]
    assert "tokenizer.model" in names and "pytorch_model.bin" not in names
    assert "preprocessor_config.json" in [p.name for p in companions(str(secap_tiny / "weights" / "hubert"))]


def test_of_a_hub_model_that_was_fetched_before(tmp_path, monkeypatch):
    """The cache as the hub's own client lays it out, without a network."""
    snapshot = tmp_path / "hub" / "models--some--llm" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("abc")
    for name in ("tokenizer.model", "special_tokens_map.json", "model.safetensors"):
        (snapshot / name).write_text("x")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert [path.name for path in companions("some/llm")] == ["special_tokens_map.json", "tokenizer.model"]
    with pytest.raises(SecError, match="no/such-llm: its tokenizer and preprocessor could not be fetched"):
        companions("no/such-llm")


def test_options():
    args = get_parser().parse_args(
        ["--checkpoint", "c", "--hubert", "h", "--llm", "l", "--text_encoder", "t", "--output", "o"]
    )
    assert args.num_heads is None and Path(args.output).name == "o"
