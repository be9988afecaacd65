"""Captioning models for tests, as small as can be."""

import torch

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.text.template import build_template

SIZES = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)


def build(llama, freeze_bridge=False, model=None, **changes) -> CaptionModel:
    """Changes are of the bridge, `model` of the model itself."""
    torch.manual_seed(0)
    bridge = QFormer(10, **{**SIZES, **changes})
    decoder = CausalLMDecoder(llama)
    template = build_template("plain", {}, decoder.tokenizer, CaptionModel.makes)
    return CaptionModel(StoredEncoder(10), bridge, decoder, template, freeze_bridge, **(model or {})).eval()
