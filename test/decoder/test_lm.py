import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import transformers
from tiny import BART, make_bart
from tiny_lms import tiny_lm
from tiny_segments import random_batch

from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.decoder.lm import _end_ids, ranked, until_end
from espnet2_secap.decoder.seq2seq import Seq2SeqDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.distill import divergence
from espnet2_secap.text.template import Segment

T5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, relative_attention_num_buckets=8)


@pytest.fixture(scope="module", params=["bart", "t5", "opt, absolute positions"])
def dropping_out(request, tmp_path_factory, tiny_llama):
    """An LM with dropout of its own in layers and attention: its class, its folder."""
    folder = tmp_path_factory.mktemp("lm")
    if request.param.startswith("opt"):
        tiny_lm(request.param).save_pretrained(folder)
        shutil.copy(Path(tiny_llama) / "tokenizer.model", folder)
        return CausalLMDecoder, str(folder)
    sizes = BART if request.param == "bart" else T5
    return Seq2SeqDecoder, str(make_bart(folder, tiny_llama, request.param, **sizes))


@pytest.mark.parametrize("lora", [None, {"r": 2, "lora_dropout": 0.0}])
def test_layers_computed_again_are_those_of_a_frozen_lm(dropping_out, lora):
    """Without the LM's own dropout, though in training: the same values and gradients, and each layer twice."""
    build, folder = dropping_out
    runs, found = [], []
    for again in (False, True):
        decoder = build(folder, gradient_checkpointing=again, lora=lora).train()
        segments, caption = random_batch(decoder)
        decoder.log_probs(segments, caption)  # the first time it tries the LM out
        segments[1].content.requires_grad_(True)
        first = next(one for one in decoder.modules() if "Attention" in type(one).__name__)
        first.register_forward_hook(lambda *_: runs.append(1))
        log_probs = decoder.log_probs(segments, caption)
        log_probs.sum().backward()
        found.append((log_probs.detach(), segments[1].content.grad))
        assert len(runs) == (2 if again else 1)
        runs.clear()
    torch.testing.assert_close(found[1], found[0])


def test_layers_to_compute_again_must_be_there(tiny_llama, monkeypatch):
    monkeypatch.setattr("espnet2_secap.decoder.lm.GradientCheckpointingLayer", torch.nn.Bilinear)
    with pytest.raises(SecError, match="gradient_checkpointing: llama has no layers for it; leave it out"):
        CausalLMDecoder(tiny_llama, gradient_checkpointing=True)


def test_dropout_of_attention_and_nothing_else(dropping_out):
    build, folder = dropping_out
    decoder = build(folder, freeze=False, attention_dropout=0.75)
    found = [one for one in decoder.modules() if "Attention" in type(one).__name__]
    found = [one for one in found if isinstance(getattr(one, "dropout", None), float)]
    assert found and all(one.dropout == 0.75 for one in found)
    others = [getattr(one, "dropout", None) for one in decoder.modules() if one not in found and one is not decoder]
    assert 0.75 not in others


def test_an_lm_is_tried_out_without_its_own_decoding_settings(tmp_path, tiny_llama):
    """Else one that asks for a penalty seems to have a cache that nothing can be done with."""
    lm = tiny_lm("bloom, ALiBi")
    shutil.copy(Path(tiny_llama) / "tokenizer.model", tmp_path)
    found = []
    for own in ({}, {"repetition_penalty": 50.0, "num_beams": 2, "max_length": 3, "do_sample": True}):
        lm.generation_config = transformers.GenerationConfig(eos_token_id=[7, 8], **own)
        lm.save_pretrained(tmp_path)
        decoder = CausalLMDecoder(str(tmp_path))
        found.append((decoder.abilities, decoder.end_ids))
    assert found[0] == found[1] and found[0][0].cache and found[0][1] == [7, 8]


def test_candidates_are_ranked_within_their_utterance():
    candidates, values = ranked([[1], [2], [3], [4], [5], [6]], [0.1, 0.3, 0.2, 9.0, 7.0, 8.0], 3)
    assert candidates == [[[2], [3], [1]], [[4], [6], [5]]] and values == [[0.3, 0.2, 0.1], [9.0, 8.0, 7.0]]


def test_ids_before_the_first_end():
    assert until_end([5, 6, 2, 7, 3], (3, 2)) == [5, 6]
    assert until_end([5, 6], (2,)) == [5, 6] and until_end([2], (2,)) == []


def test_ends_by_the_lms_own_configuration():
    class Conf:
        def __init__(self, ends):
            self.eos_token_id = ends

    class LM:
        def __init__(self, generation, ends):
            self.generation_config, self.config = generation, Conf(ends)

    assert _end_ids(LM(Conf(7), 3)) == [7] and _end_ids(LM(Conf([7, 8]), 3)) == [7, 8]
    assert _end_ids(LM(None, 3)) == [3] and _end_ids(LM(Conf(None), 3)) == []
    for bad in ("</s>", [1, "</s>"], 1.5):
        with pytest.raises(SecError, match="generation_config.json.*eos_token_id .*: must be an id or a list of ids"):
            _end_ids(LM(Conf(bad), 3))


def teaching(decoder, caption):
    """What another teacher reads: three ids of its own."""
    return [Segment.constant([5, 6, 7], len(caption.content), caption.content.device)]


def distilled_apart(decoder, segments, teacher, caption):
    """The same by the decoder's whole logits."""
    student = torch.cat(list(decoder.logits(segments, caption)), dim=1)
    with torch.no_grad(), decoder.as_pretrained():
        wanted = torch.cat(list(decoder.logits(teacher, caption)), dim=1)
    return divergence(student, wanted, temperature=2.0) * caption.mask


@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": "all-linear"}])
def test_distilled_in_blocks_is_the_divergence_of_the_whole_logits(dropping_out, lora, monkeypatch):
    """And its gradients; the log-probabilities beside it are those of `log_probs`."""
    build, folder = dropping_out
    decoder = build(folder, lora=lora)
    segments, caption = random_batch(decoder)
    for name, parameter in decoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    teacher, ways = teaching(decoder, caption), []
    segments[1].content.requires_grad_(True)
    learned = [segments[1].content, *(one for one in decoder.parameters() if one.requires_grad)]
    expected = distilled_apart(decoder, segments, teacher, caption)
    ways.append(torch.autograd.grad(expected.sum(), learned))
    for block in (2**24, 1):
        monkeypatch.setattr("espnet2_secap.decoder.lm.BLOCK", block)
        log_probs, found, taught = decoder.distilled(segments, teacher, caption, partial(divergence, temperature=2.0))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(log_probs, decoder.log_probs(segments, caption))
        with decoder.as_pretrained():
            torch.testing.assert_close(taught, decoder.log_probs(teacher, caption))
        assert all(one.requires_grad for one in learned)
        ways.append(torch.autograd.grad(found.sum(), learned))
    torch.testing.assert_close(ways[1], ways[0])
    torch.testing.assert_close(ways[2], ways[0])


def test_the_teacher_is_the_lm_of_the_folder(dropping_out):
    """Whatever LoRA has learned, and without dropout of what it reads."""
    build, folder = dropping_out
    plain, adapted = build(folder), build(folder, lora={"r": 2, "lora_dropout": 0.5}, dropout=0.5).train()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    segments, caption = random_batch(plain)
    with adapted.as_pretrained():
        torch.testing.assert_close(adapted.log_probs(segments, caption), plain.log_probs(segments, caption))
    assert adapted.training
    assert not torch.allclose(adapted.log_probs(segments, caption), plain.log_probs(segments, caption))
