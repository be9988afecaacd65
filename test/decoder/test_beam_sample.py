import pytest
import torch
from tiny import make_llama
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from espnet2_secap.decoder.beam_sample import TreeLayer, _likeliest, _processed, beam_sample
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.text.template import Segment

EOS = 2
PLAIN = dict(min_length=1, max_length=12, sampling=True)
SECAP = dict(min_length=3, max_length=20, top_k=10, top_p=0.95, repetition_penalty=10.0, no_repeat_ngram_size=2)


def sample(lm, embeddings, mask, searches, beam_size, options, ends=(EOS,)):
    given = DecodingOptions(num_candidates=searches, beam_size=beam_size, **options)
    return beam_sample(lm, embeddings, mask, given, ends)


def tiny_lm(kind: str):
    torch.manual_seed(3)
    sizes = dict(
        vocab_size=120, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5,
    )  # fmt: skip
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**sizes)).eval()
    attention = "eager" if kind == "eager" else "sdpa"
    return LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation=attention)).eval()


def prefixes(lm):
    """Two rows, the second with padding in its middle, as speech of fewer vectors has it behind BOS."""
    torch.manual_seed(1)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, [2, 3, 4]] = False
    return torch.randn(2, 7, lm.config.hidden_size), mask


def by_transformers(lm, embeddings, mask, searches, beam_size, options):
    output = lm.generate(
        inputs_embeds=embeddings.repeat_interleave(searches, dim=0),
        attention_mask=mask.long().repeat_interleave(searches, dim=0),
        do_sample=True,
        num_beams=beam_size,
        min_new_tokens=options["min_length"],
        max_new_tokens=options["max_length"],
        eos_token_id=EOS,
        pad_token_id=EOS,
        return_dict_in_generate=True,
        output_scores=True,
        **{"top_k": 0, **{key: value for key, value in options.items() if key not in PLAIN}},
    )
    short = options["max_length"] - output.sequences.size(1)
    return torch.nn.functional.pad(output.sequences, (0, short), value=EOS), output.sequences_scores


@pytest.mark.parametrize("kind", ["llama", "qwen2", "eager"])
@pytest.mark.parametrize("beam_size", [2, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        SECAP,
        dict(top_k=6, temperature=0.5, length_penalty=0.0),
        dict(top_p=0.6, temperature=2.0, length_penalty=2.0, min_length=5),
        dict(top_k=8, no_repeat_ngram_size=1, repetition_penalty=1.5, max_length=6),
        dict(top_k=4, max_length=1),
    ],
)
def test_equals_transformers_when_the_likeliest_are_drawn(kind, beam_size, options, monkeypatch):
    """With a draw that takes the likeliest, both are the same deterministic search: same tokens, same scores."""
    monkeypatch.setattr(torch, "multinomial", lambda p, num_samples: p.topk(num_samples).indices)
    lm, options = tiny_lm(kind), PLAIN | options
    embeddings, mask = prefixes(lm)
    tokens, scores = sample(lm, embeddings, mask, 1, beam_size, options)
    wanted, wanted_scores = by_transformers(lm, embeddings, mask, 1, beam_size, options)
    assert tokens.tolist() == wanted.tolist()
    torch.testing.assert_close(scores, wanted_scores, rtol=1e-4, atol=1e-5)


def test_draws_as_often_as_transformers():
    """Frequencies of 4,000 captions of two tokens: the two ways differ no more than chance lets them."""
    lm = tiny_lm("llama")
    embeddings, mask = prefixes(lm)
    options = PLAIN | dict(top_k=3, max_length=2)
    torch.manual_seed(0)
    ours, _ = sample(lm, embeddings[:1], mask[:1], 4000, 2, options)
    theirs, _ = by_transformers(lm, embeddings[:1], mask[:1], 4000, 2, options)
    kinds, index = torch.cat([ours, theirs]).unique(dim=0, return_inverse=True)
    counts = torch.stack([index[:4000].bincount(minlength=len(kinds)), index[4000:].bincount(minlength=len(kinds))])
    assert len(kinds) > 3
    frequent = counts.sum(0) >= 20
    difference = (counts[0] - counts[1]).abs()[frequent].float()
    assert (difference < 4.5 * counts.sum(0)[frequent].sqrt()).all()  # 4.5 standard deviations


def test_top_k_of_one_is_greedy():
    lm = tiny_lm("llama")
    embeddings, mask = prefixes(lm)
    tokens, _ = sample(lm, embeddings, mask, 1, 3, PLAIN | dict(top_k=1))
    greedy = lm.generate(
        inputs_embeds=embeddings, attention_mask=mask.long(), max_new_tokens=12, eos_token_id=EOS, pad_token_id=EOS
    )
    assert tokens.tolist() == greedy.tolist()


def test_searches_of_a_row_differ_and_rows_are_neighbours():
    lm = tiny_lm("llama")
    embeddings, mask = prefixes(lm)
    torch.manual_seed(0)
    tokens, scores = sample(lm, embeddings, mask, 3, 2, PLAIN | dict(min_length=8))
    assert tokens.shape == (6, 12) and scores.shape == (6,)
    assert len({tuple(row) for row in tokens.tolist()}) > 3
    assert all(EOS not in row[:8] for row in tokens.tolist())


def test_same_seed_same_captions():
    lm = tiny_lm("llama")
    embeddings, mask = prefixes(lm)
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(sample(lm, embeddings, mask, 2, 2, PLAIN)[0].tolist())
    assert runs[0] == runs[1]


def test_penalties_by_hand():
    log_probs = torch.tensor([[[-1.0, -2.0, -3.0, -4.0]]])
    tokens = torch.tensor([[[1, 3, 1]]])
    # 1 and 3 are there: twice as unlikely; 1 was followed by 3: never again; no EOS (0) before the fourth token
    processed = _processed(
        log_probs,
        tokens,
        torch.tensor([0]),
        DecodingOptions(min_length=4, repetition_penalty=2.0, no_repeat_ngram_size=2),
    )
    assert processed.tolist() == [[[-torch.inf, -4.0, -3.0, -torch.inf]]]
    assert log_probs.tolist() == [[[-1.0, -2.0, -3.0, -4.0]]]


def test_top_p_keeps_the_token_that_reaches_it():
    log_probs = torch.tensor([[[0.1, 0.5, 0.3, 0.1]]]).log()
    values, index = _likeliest(log_probs, DecodingOptions(top_k=3, top_p=0.7))  # of the three: 0.5, 0.3, 0.1 over 0.9
    assert index[0, 0, :2].tolist() == [1, 2]
    torch.testing.assert_close(values[0, 0, :2], torch.tensor([0.5, 0.3]).log())
    assert values[0, 0, 2] == -torch.inf


def test_searches_that_are_done_leave_the_batch_and_change_nothing(monkeypatch):
    monkeypatch.setattr(torch, "multinomial", lambda p, num_samples: p.topk(num_samples).indices)
    kept = []
    keep = TreeLayer.keep
    monkeypatch.setattr(TreeLayer, "keep", lambda layer, rows: (kept.append(len(rows)), keep(layer, rows)))
    lm = tiny_lm("llama")
    torch.manual_seed(2)
    embeddings, mask = torch.randn(8, 5, lm.config.hidden_size), torch.ones(8, 5, dtype=torch.bool)
    options = PLAIN | dict(max_length=40, top_k=5)
    tokens, scores = sample(lm, embeddings, mask, 1, 2, options, (58,))
    assert sorted(set(kept)) == [2, 4]  # 58 is a token that ends some searches early, others late
    for i in range(8):
        alone, score = sample(lm, embeddings[[i]], mask[[i]], 1, 2, options, (58,))
        assert alone[0].tolist() == tokens[i].tolist()
        torch.testing.assert_close(score[0], scores[i], rtol=1e-4, atol=1e-5)


def test_sixteen_bits_and_lora(tmp_path):
    from espnet2_secap.decoder.causal_lm import CausalLMDecoder

    folder = str(make_llama(tmp_path / "llm"))
    ones = torch.ones(2, 3, dtype=torch.bool)
    options = DecodingOptions(beam_size=2, sampling=True, num_candidates=2, top_k=4, max_length=6)
    segments = [Segment(torch.randn(2, 3, 32), ones), Segment(torch.full((2, 3), 7), ones)]
    for decoder in (CausalLMDecoder(folder, dtype="bfloat16"), CausalLMDecoder(folder, lora={"r": 2})):
        tokens, scores = decoder.generate(segments, options, (EOS,))
        assert [len(some) for some in tokens] == [2, 2] and all(a >= b for a, b in scores)
