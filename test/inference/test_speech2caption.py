import shutil

import numpy as np
import pytest
import torch
from tiny_decoding import decode

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
