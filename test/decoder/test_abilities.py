"""Decoding and padding of many architectures of transformers: nothing may hold for LMs like LLaMA alone."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_lms import KINDS, REFUSED, WINDOW, tiny_lm

from espnet2_secap.decoder import abilities
from espnet2_secap.decoder.abilities import KNOWN, Abilities, abilities_of
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment

END = 2
PENALTIES = dict(repetition_penalty=1.5, no_repeat_ngram_size=2, min_length=4)
MODES = {
    "greedy, with penalties": PENALTIES,
    "beams": dict(beam_size=5, num_candidates=2, min_length=3),
    "sampling": dict(sampling=True, num_candidates=2, top_k=20, temperature=2.0),
    "sampling within beams": dict(sampling=True, beam_size=3, num_candidates=2),
}
FURTHER = {  # options that meet the same code in every LM
    "greedy": dict(min_length=3),
    "beams, with penalties": dict(beam_size=5) | PENALTIES,
    "sampling within beams, with penalties": dict(sampling=True, beam_size=5, num_candidates=2, top_k=9) | PENALTIES,
}
FEW = ("llama", "bloom, ALiBi", "mistral, sliding window", "mamba, states", "rwkv, states")  # of test-quick


def build(kind: str, folder: Path, tokenizer: str, **conf) -> CausalLMDecoder:
    tiny_lm(kind).save_pretrained(folder)
    shutil.copy(Path(tokenizer) / "tokenizer.model", folder)
    return CausalLMDecoder(str(folder), **conf).eval()


def a_batch(decoder):
    """Speech and prompts of three utterances, of different lengths, and captions, padded with what must not count."""
    torch.manual_seed(1)
    lengths = ((7, 5, 4), (3, 4, 5), (7, 2, 3))
    sizes = [max(column) for column in zip(*lengths, strict=True)]
    masks = [torch.arange(size) < torch.tensor([row[i] for row in lengths])[:, None] for i, size in enumerate(sizes)]
    speech = torch.randn(3, sizes[0], decoder.embedding_size())
    speech[~masks[0]] = 50.0
    ids = [torch.randint(3, 360, (3, size)) for size in sizes[1:]]
    return [Segment(speech, masks[0]), Segment(ids[0], masks[1])], Segment(ids[1], masks[2])


def alone(segments, i):
    return [Segment(one.content[i : i + 1, one.mask[i]], one.mask[i : i + 1, one.mask[i]]) for one in segments]


@torch.no_grad()
def teacher_forcing(lm, segments, i, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of ids behind utterance i by transformers alone: one row, no padding, no cache, no mask."""
    embed = lm.get_input_embeddings()
    prefix = [embed(one.content[0]) if one.is_ids else one.content[0] for one in alone(segments, i)]
    logits = lm(inputs_embeds=torch.cat([*prefix, embed(torch.tensor(ids))])[None]).logits[0, -len(ids) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def check_padded_batches(decoder, lm):
    segments, caption = a_batch(decoder)
    with torch.no_grad():
        together = decoder.log_probs(segments, caption)
        logits = torch.cat(list(decoder.logits(segments, caption, block=2)), dim=1)
    for i in range(3):
        real = caption.mask[i]
        wanted = teacher_forcing(lm, segments, i, caption.content[i, real].tolist())
        torch.testing.assert_close(together[i, real], wanted, rtol=1e-5, atol=1e-5)
        (own,) = decoder.logits(alone(segments, i), alone([caption], i)[0])
        torch.testing.assert_close(logits[i, real], own[0], rtol=1e-4, atol=1e-4)
        # The captions of all three behind this utterance, with a cache where the LM has one.
        for start in (caption.content.size(1), 1):
            ids = Segment(caption.content[:, :start], caption.mask[:, :start])
            sums = decoder.caption_log_probs(alone(segments, i), ids)
            rows = [ids.content[row, ids.mask[row]].tolist() for row in range(3)]
            wanted = torch.stack([teacher_forcing(lm, segments, i, row).sum() for row in rows])
            torch.testing.assert_close(sums, wanted, rtol=1e-5, atol=1e-4)


def check_decoding(decoder, lm, **options):
    segments, _ = a_batch(decoder)
    options = DecodingOptions(**{"max_length": 6, "min_length": 0} | options)
    torch.manual_seed(0)
    found, scores = decoder.generate(segments, options, (END,))
    if not options.sampling:
        own, own_scores = decoder.generate(alone(segments, 1), options, (END,))
        assert own[0] == found[1], "the utterance with the most padding"
        assert own_scores[0] == pytest.approx(scores[1], abs=1e-5)
    for i in range(3):
        assert len(found[i]) == len(scores[i]) == options.num_candidates
        for ids, score in zip(found[i], scores[i], strict=True):
            assert options.min_length <= len(ids) <= 6
            if options.repetition_penalty == 1 or options.beam_size == 1:
                whole = ids if len(ids) == 6 else [*ids, END]
                assert score == pytest.approx(teacher_forcing(lm, segments, i, whole).mean().item(), abs=1e-5)


@pytest.mark.parametrize("kind", [one if one in FEW else pytest.param(one, marks=pytest.mark.slow(1)) for one in KINDS])
def test_scores_equal_teacher_forcing_and_a_batch_its_utterances_alone(kind, tmp_path, tiny_llama):
    """Every architecture, every way of decoding, and batches of training."""
    decoder = build(kind, tmp_path, tiny_llama)
    check_padded_batches(decoder, decoder.lm.module)
    for mode in MODES.values() if kind not in FEW else (MODES | FURTHER).values():
        check_decoding(decoder, decoder.lm.module, **mode)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][0] in KNOWN])
def test_what_is_known_of_an_lm_holds(kind):
    with torch.no_grad():
        assert all(abilities._try(tiny_lm(kind)).values())


def test_every_kind_that_is_known_is_tried():
    assert set(KNOWN) <= {model_type for model_type, _ in KINDS.values()}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_made_right_is_refused_when_the_model_is_built(kind, tmp_path, tiny_llama):
    with pytest.raises(SecError, match=f"decoder_conf path: .* cannot be the decoder: .*{REFUSED[kind][2]}"):
        build(kind, tmp_path, tiny_llama)


def test_attention_that_draws_at_random_is_refused():
    from transformers import ReformerConfig, ReformerModelWithLMHead

    sizes = dict(is_decoder=True, axial_pos_embds=False, hidden_size=32, attn_layers=["lsh"], num_attention_heads=4)
    with pytest.raises(SecError, match="ReformerModelWithLMHead cannot be the decoder: its attention draws at random"):
        abilities_of(ReformerModelWithLMHead(ReformerConfig(**sizes, attention_head_size=8, vocab_size=50)))


def test_what_differs_from_llama_is_seen():
    """By its own code, not by its name."""
    found = {kind: abilities_of(tiny_lm(kind)) for kind in KINDS if KINDS[kind][0] not in KNOWN}
    assert found["persimmon"] == Abilities()
    assert not found["bloom, ALiBi"].tree and not found["falcon, ALiBi"].tree and found["falcon"].tree
    assert not found["rwkv, states"].padding and not found["recurrent_gemma, states"].cache
    assert all(not one.tree for kind, one in found.items() if "states" in kind)


@pytest.mark.parametrize("mode", [*MODES, *FURTHER])
def test_windows_shorter_than_what_an_lm_is_tried_out_on(mode, tmp_path, tiny_llama, monkeypatch):
    """An LM that nobody knows, with a window that it says nothing of."""
    monkeypatch.setattr(abilities, "KNOWN", frozenset())
    monkeypatch.setattr(abilities, "_window", lambda config: None)
    monkeypatch.setitem(KINDS, "short", ("mistral", KINDS["mistral, sliding window"][1] | {"sliding_window": 5}))
    decoder = build("short", tmp_path, tiny_llama)
    assert not decoder.abilities.tree and decoder.abilities.padding and decoder.abilities.cache
    check_padded_batches(decoder, decoder.lm.module)
    check_decoding(decoder, decoder.lm.module, **(MODES | FURTHER)[mode])


def test_our_own_search_is_used_while_the_window_is_not_reached(tmp_path, tiny_llama):
    decoder = build("mistral, sliding window", tmp_path, tiny_llama)
    assert decoder.abilities.free(WINDOW) and not decoder.abilities.free(WINDOW + 1)
    assert not Abilities(tree=False).free(1) and Abilities().free(10**6)


@pytest.mark.parametrize("name, value, window", [
    ("sliding_window", 7, 7), ("sliding_window", None, None), ("attention_chunk_size", 5, 5), ("window_size", 4, 4),
    ("sliding_window_pattern", 2, None), ("max_window_layers", 3, None), ("local_attention", 6, 6),
    ("use_window", True, None), ("index_topk", 9, 9), ("hidden_size", 3, None),
])  # fmt: skip
def test_windows_by_whatever_name(name, value, window):
    from transformers import PreTrainedConfig

    assert abilities._window(PreTrainedConfig(**{name: value})) == window


def test_positions_that_depend_on_the_length_of_the_text(tmp_path, tiny_llama, monkeypatch):
    """LongRoPE and dynamic NTK turn all positions otherwise beyond a length: no score would be right across it."""
    rope = dict(rope_type="dynamic", factor=2.0, rope_theta=10000.0)
    monkeypatch.setitem(
        KINDS, "dynamic", ("llama", KINDS["llama"][1] | {"rope_parameters": rope, "max_position_embeddings": 18})
    )
    decoder = build("dynamic", tmp_path, tiny_llama)
    assert decoder.hard_limit == 18
    segments, caption = a_batch(decoder)
    check_padded_batches(decoder, decoder.lm.module)
    check_decoding(decoder, decoder.lm.module)
    decoder.check_length([*segments, caption])
    decoder.check_length(segments, 6)
    with pytest.raises(SecError, match="up to 19 positions, the LM has 18; lower --max_length"):
        decoder.check_length(segments, 7)


def test_trying_an_lm_out_draws_from_no_generator_of_the_user():
    lm, state = tiny_lm("persimmon"), torch.get_rng_state()
    abilities_of(lm)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype, tmp_path, tiny_llama):
    for kind in ("bloom, ALiBi", "rwkv, states", "persimmon"):
        decoder = build(kind, tmp_path / kind, tiny_llama, dtype=dtype)
        assert decoder.abilities.padding == (kind != "rwkv, states")
        for options in MODES.values():
            found, _ = decoder.generate(a_batch(decoder)[0], DecodingOptions(**options | {"max_length": 6}), (END,))
            assert len(found) == 3
