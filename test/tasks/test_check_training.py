from argparse import Namespace
from types import SimpleNamespace

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.check_training import _named_parts, check_there


def test_a_pretrained_part_is_a_folder_or_may_be_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    check_there("path", str(tmp_path))
    check_there("path", "someone/some-model")
    for wrong in (f"{tmp_path}/none", "a/b/c", "./llama"):
        with pytest.raises(SecError, match=f"path: {wrong}: no such folder"):
            check_there("path", wrong)


def test_without_the_hub_a_model_must_be_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(SecError, match="someone/some-model: no such folder, and the model hub is not asked"):
        check_there("decoder_conf: path", "someone/some-model")
    (tmp_path / "hub" / "models--someone--some-model").mkdir(parents=True)
    check_there("decoder_conf: path", "someone/some-model")


def test_paths_of_encoders_side_by_side_are_found():
    """And a part that is not known, which another check tells, is no fault here."""
    encoders = {"acoustic": {}, "hubert": {"encoder": "s3prl", "upstream": "hf_hubert_custom", "path": "x"}}
    args = Namespace(encoder="joined", encoder_conf={"encoders": encoders}, bridge="0", bridge_conf={}, init_model=[])
    (found,) = _named_parts(args, SimpleNamespace(parts=("encoder", "bridge")))
    assert found == ("encoder_conf: path", "x", ())
