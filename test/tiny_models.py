"""Captioning models for tests, as small as can be."""

import torch

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.text.template import build_template
from espnet2_secap.text.text_encoder import TokenEmbedding

SIZES = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)


def build(llama, freeze_bridge=False, model=None, template="plain", **changes) -> CaptionModel:
    """Changes are of the bridge, `model` of the model itself; the text encoder of text_queries is 16 wide."""
    torch.manual_seed(0)
    conf = model or {}
    parts, given = CaptionModel.parts_of(conf), {}
    if "text_encoder" in parts:
        given["text_encoder"] = TokenEmbedding(llama, embedding_size=16)
        changes["text_size"] = 16
    bridge = QFormer(10, **{**SIZES, **changes}) if "bridge" in parts else None
    encoder = StoredEncoder(10) if "encoder" in parts else None
    decoder = CausalLMDecoder(llama)
    template = build_template(template, {}, decoder.tokenizer, CaptionModel.makes_of(conf))
    return CaptionModel(encoder, bridge, decoder, template, freeze_bridge, **conf, **given).eval()
