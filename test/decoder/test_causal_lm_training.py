"""What training makes harder for a causal LM: tokens that are not read, smoothed targets, dropout."""

import pytest
import torch

from espnet2_secap.decoder import lm as lm_module
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment


@pytest.fixture(scope="module")
def decoder(tiny_llama):
    return CausalLMDecoder(tiny_llama).eval()


def some_batch(decoder):
    """Speech of 4 vectors, and captions of 6 and 3 tokens."""
    generator = torch.Generator().manual_seed(2)
    speech = torch.randn(2, 4, decoder.embedding_size(), generator=generator)
    ids = torch.randint(8, 300, (2, 6), generator=generator)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    return [Segment(speech, torch.ones(2, 4, dtype=torch.bool))], Segment(ids, mask)


def test_what_is_read_can_differ_from_what_is_predicted(decoder):
    """The first two tokens follow on what is the same in both."""
    segments, caption = some_batch(decoder)
    read = caption.content.clone()
    read[:, 1] = 7
    whole, other = decoder.log_probs(segments, caption), decoder.log_probs(segments, caption, read=read)
    torch.testing.assert_close(other[:, :2], whole[:, :2])
    as_read = decoder.log_probs(segments, Segment(torch.cat([read[:, :2], caption.content[:, 2:]], 1), caption.mask))
    torch.testing.assert_close(other[:, 2:], as_read[:, 2:])
    assert not torch.allclose(other[:, 2:], whole[:, 2:])


def test_smoothed_log_probabilities_in_blocks(decoder, monkeypatch):
    segments, caption = some_batch(decoder)
    logits = next(decoder.logits(segments, caption)).log_softmax(-1)
    own = decoder.log_probs(segments, caption)
    smoothed = decoder.log_probs(segments, caption, smoothing=0.1)
    torch.testing.assert_close(smoothed, (0.9 * own + 0.1 * logits.mean(-1)) * caption.mask)
    monkeypatch.setattr(lm_module, "BLOCK", 2 * decoder.rows * 2)
    torch.testing.assert_close(decoder.log_probs(segments, caption, smoothing=0.1), smoothed)


def test_dropout_of_embeddings_and_attention_in_training_only(tiny_llama, decoder):
    plain = decoder.log_probs(*some_batch(decoder))
    for options in ({"dropout": 0.5}, {"dropout": 0.5, "freeze": False}, {"attention_dropout": 0.5, "freeze": False}):
        dropping = CausalLMDecoder(tiny_llama, **options)
        torch.testing.assert_close(dropping.eval().log_probs(*some_batch(decoder)), plain)
        dropping.train()
        assert not torch.allclose(dropping.log_probs(*some_batch(decoder)), plain), options
    with pytest.raises(SecError, match="attention_dropout is of an LM that is trained; set freeze: false"):
        CausalLMDecoder(tiny_llama, attention_dropout=0.1)
