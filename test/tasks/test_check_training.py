from argparse import Namespace

import pytest
from tiny_clap import make_clap

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.check import Findings
from espnet2_secap.tasks.check_training import _check_rate, _named_parts, check_there
from espnet2_secap.tasks.recipe import Recipe


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


def test_audio_at_a_rate_that_the_encoder_does_not_take(tmp_path):
    make_clap(tmp_path)
    args = Namespace(encoder="clap", encoder_conf={"path": str(tmp_path)})

    def problems(stages, **options):
        found = Findings()
        _check_rate(Recipe({"feats_type": "raw", "fs": "16000"} | options), stages, args, "w: ", found)
        return found.problems

    (problem,) = problems([2, 6])
    assert (
        problem == "w: encoder: clap takes audio at 48000 Hz, and stage 2 would write it at 16000 Hz; give --fs 48000"
    )
    assert problems([2, 6], fs="48000") == problems([6]) == problems([2, 6], feats_type="extracted") == []
    args.encoder, args.encoder_conf = "s3prl", {"upstream": "fbank"}
    assert problems([2, 6]) == [] and "s3prl takes audio at 16000 Hz" in problems([2], fs="8000")[0]


def test_paths_of_encoders_side_by_side_are_found():
    """And a part that is not known, which another check tells, is no fault here."""
    encoders = {"acoustic": {}, "hubert": {"encoder": "s3prl", "upstream": "hf_hubert_custom", "path": "x"}}
    args = Namespace(encoder="joined", encoder_conf={"encoders": encoders}, bridge="0", bridge_conf={}, init_model=[])
    (found,) = _named_parts(args, ("encoder", "bridge"))
    assert found == ("encoder_conf: path", "x", ())
