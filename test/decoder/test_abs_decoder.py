"""Every decoder of the registry keeps to the interface."""

import pytest
import torch

from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.text.template import Segment

FOLDERS = {"causal_lm": "tiny_llama", "seq2seq": "tiny_bart"}  # fixtures


@pytest.mark.parametrize("name", [name for name in CHOICES["decoder"].choices() if name])
def test_the_four_calls(name, request):
    path = request.getfixturevalue(FOLDERS[name])
    decoder = CHOICES["decoder"].build(name, {"path": path}).eval()
    tokenize = CHOICES["decoder"].get_class(name).tokenize(path=path)
    assert tokenize("语速较快") == decoder.tokenizer.encode("语速较快")
    ones = torch.ones(2, 3, dtype=torch.bool)
    segments = [Segment(torch.randn(2, 3, decoder.embedding_size()), ones), Segment(torch.full((2, 3), 7), ones)]
    caption = Segment(torch.tensor([[5, 6, 2], [8, 2, 0]]), torch.tensor([[True] * 3, [True, True, False]]))
    log_probs = decoder.log_probs(segments, caption)
    assert log_probs.shape == (2, 3) and (log_probs <= 0).all() and log_probs[1, 2] == 0
    one = [Segment(segment.content[:1], segment.mask[:1]) for segment in segments]
    expected = AbsDecoder.caption_log_probs(decoder, one, caption)  # as many rows as captions
    assert expected.shape == (2,) and expected[0].item() == pytest.approx(log_probs[0].sum().item(), rel=1e-4)
    torch.testing.assert_close(decoder.caption_log_probs(one, caption), expected, rtol=1e-4, atol=1e-4)
    blocks = list(decoder.logits(segments, caption, block=2))
    assert [part.shape[:2] for part in blocks] == [(2, 2), (2, 1)]
    ids, scores = decoder.generate(segments, DecodingOptions(max_length=4), decoder.end_ids or (2,))
    assert len(ids) == len(scores) == 2 and all(len(some) == 1 for some in ids)
