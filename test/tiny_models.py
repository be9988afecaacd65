"""Captioning models for tests, as small as can be."""

import torch

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.text.template import build_template
from espnet2_secap.text.text_encoder import TokenEmbedding

SIZES = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)


def build(llama, freeze_bridge=False, model=None, template="plain", kind=CaptionModel, **changes) -> CaptionModel:
    """Changes are of the bridge, `model` of the model itself; the text encoder of text_queries is 16 wide."""
    torch.manual_seed(0)
    conf = model or {}
    parts, given = kind.parts_of(conf), {}
    if "text_encoder" in parts:
        given["text_encoder"] = TokenEmbedding(llama, embedding_size=16)
        changes["text_size"] = 16
    bridge = QFormer(10, **{**SIZES, **changes}) if "bridge" in parts else None
    encoder = StoredEncoder(10) if "encoder" in parts else None
    decoder = CausalLMDecoder(llama)
    template = build_template(template, {}, decoder.tokenizer, kind.makes_of(conf))
    return kind(encoder, bridge, decoder, template, freeze_bridge=freeze_bridge, **conf, **given).eval()


def batch(lengths, pad=-1):
    """(frames, prompt, caption) lengths per utterance -> a padded batch; the same utterances for the same rows."""
    columns = list(zip(*lengths, strict=True))
    generator = torch.Generator().manual_seed(1)
    frames, prompts, captions = (
        [torch.randn(n, 10, generator=generator) for n in columns[0]],
        [torch.randint(3, 300, (n,), generator=generator) for n in columns[1]],
        [torch.randint(3, 300, (n,), generator=generator) for n in columns[2]],
    )
    stack = torch.nn.utils.rnn.pad_sequence
    return dict(
        speech=stack(frames, True, 7.0),
        speech_lengths=torch.tensor(columns[0]),
        instruction=stack(prompts, True, pad),
        instruction_lengths=torch.tensor(columns[1]),
        caption=stack(captions, True, pad),
        caption_lengths=torch.tensor(columns[2]),
    )
