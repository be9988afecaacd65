"""The decoder of the released HTSAT-BART (WavCaps) at tiny size: what its code computes, by our decoder."""

import json

import numpy as np
import pytest
import torch

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.seq2seq import Seq2SeqDecoder
from espnet2_secap.text.template import Segment

EOS = 2
RELEASED = dict(min_length=1, max_length=28, no_repeat_ngram_size=3, early_stopping=True, forced_end=True)


@pytest.fixture
def released(htsat_bart):
    """The released HTSAT-BART's decoder at tiny size, its settings, and what its code computes."""
    folder = htsat_bart
    decoder = Seq2SeqDecoder(str(folder / "bart")).eval()
    state, prefix = torch.load(folder / "model.pt", weights_only=True)["model"], "decoder."
    decoder.lm.module.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
    assert (decoder.start, decoder.forced) == (2, (0,))
    return decoder, json.loads((folder / "meta.json").read_text()), np.load(folder / "expected.npz")


def near(ours, theirs, tolerance=1e-5):
    theirs = torch.from_numpy(theirs).reshape(ours.shape)
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < tolerance


@torch.no_grad()
def test_it_computes_what_the_released_bart_half_of_htsat_bart_does(released):
    """Encoder, logits, loss with label smoothing, and captions of 1, 2 and 3 beams with their scores."""
    decoder, meta, expected = released
    for name, one in meta["utterances"].items():
        speech = torch.from_numpy(expected[f"{name}/proj"]).reshape(1, 1024, -1)
        segments = [Segment(speech, torch.ones(1, 1024, dtype=torch.bool))]
        near(decoder.encode(segments)[0][0, ::8], expected[f"{name}/bart_enc_every8"])
        labels = torch.tensor([one["labels"]])
        caption = Segment(labels, torch.ones_like(labels, dtype=torch.bool))
        decoder.forced = ()  # the released loss counts <s>
        near(torch.cat(list(decoder.logits(segments, caption)), dim=1)[0], expected[f"{name}/logits"])
        loss = -decoder.log_probs(segments, caption, smoothing=meta["loss"]["label_smoothing"]).mean()
        assert loss.item() == pytest.approx(one["loss"], rel=1e-5)
        decoder.forced = (0,)
        for beams in (1, 2, 3):
            theirs = one["greedy_ids" if beams == 1 else f"beam{beams}_ids"][2:-1]
            [[ids]], [[score]] = decoder.generate(segments, DecodingOptions(beam_size=beams, **RELEASED), [EOS])
            assert ids == theirs
            assert beams == 1 or score == pytest.approx(one[f"beam{beams}_score"], rel=1e-5)


@torch.no_grad()
def test_a_batch_of_the_released_htsat_bart(released):
    """Captions of different lengths: the loss is the mean over all their tokens."""
    decoder, meta, expected = released
    speech = torch.from_numpy(expected["batch/proj_every32"]).repeat_interleave(32, dim=1)
    segments = [Segment(speech, torch.ones(3, 1024, dtype=torch.bool))]
    for beams in (1, 2, 3):
        found, scores = decoder.generate(segments, DecodingOptions(beam_size=beams, **RELEASED), [EOS])
        rows = [row[2:].tolist() for row in expected[f"batch/beam{beams}_ids"]]
        assert [one[0] for one in found] == [row[: row.index(EOS)] for row in rows]
        if beams > 1:
            near(torch.tensor(scores)[:, 0], expected[f"batch/beam{beams}_score"])
    labels = torch.from_numpy(expected["batch/labels"])
    caption = Segment(labels.clamp(min=0), labels >= 0)
    decoder.forced = ()
    logits = torch.cat(list(decoder.logits(segments, caption)), dim=1)
    near(logits[caption.mask], expected["batch/logits"][caption.mask.numpy()])
    loss = -decoder.log_probs(segments, caption, smoothing=meta["loss"]["label_smoothing"]).sum() / caption.mask.sum()
    assert loss.item() == pytest.approx(float(expected["batch/loss"]), rel=1e-5)
