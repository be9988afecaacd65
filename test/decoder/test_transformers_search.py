import pytest
import torch
from tiny_lms import tiny_lm
from transformers import GenerationConfig

from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.decoder.lm import until_end
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.transformers_search import transformers_search

END = 2


@pytest.fixture(scope="module")
def llama():
    return tiny_lm("llama")


def prefix(lm, rows=2, length=6):
    torch.manual_seed(1)
    return torch.randn(rows, length, lm.config.hidden_size), torch.ones(rows, length, dtype=torch.bool)


def forced(lm, row, ids):
    """Log-probabilities of ids (n,) behind the prefix (P, H)."""
    sequence = torch.cat([row, lm.get_input_embeddings()(ids)])[None]
    logits = lm(inputs_embeds=sequence).logits[0, -len(ids) - 1 : -1]
    return logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].detach()


@pytest.mark.parametrize("sampling", [False, True])
@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("further", [{}, dict(repetition_penalty=2.0, no_repeat_ngram_size=2, min_length=3)])
def test_without_a_cache_the_same_is_found(llama, sampling, beam_size, further):
    found = []
    options = DecodingOptions(sampling=sampling, beam_size=beam_size, **{"min_length": 0, "max_length": 7} | further)
    for cache in (True, False):
        torch.manual_seed(0)
        found.append(transformers_search(llama, *prefix(llama), options, [END], cache))
    assert found[0][0].tolist() == found[1][0].tolist()
    torch.testing.assert_close(found[0][1], found[1][1])
    assert "prepare_inputs_for_generation" not in vars(llama), "the class's own is there again"


@pytest.mark.parametrize("lm", ["bamba, states", "openai-gpt"])
def test_lms_that_do_not_say_that_they_take_embeddings(lm):
    lm = tiny_lm(lm)
    with pytest.raises(ValueError, match="doesn't have its forwarding implemented"):
        lm.generate(inputs_embeds=prefix(lm)[0])
    options = DecodingOptions(min_length=5, max_length=5)
    tokens, scores = transformers_search(lm, *prefix(lm), options, [END], cache=lm.config.model_type == "bamba")
    for row, ids, score in zip(prefix(lm)[0], tokens, scores, strict=True):
        torch.testing.assert_close(score, forced(lm, row, ids).mean(), rtol=1e-5, atol=1e-5)
    assert "prepare_inputs_for_generation" not in vars(lm)


def test_repetition_is_penalised_behind_padding_too(llama):
    """Generate's own penalty passes over as many tokens of a caption as its row has padding on the left."""
    embeddings, mask = prefix(llama)
    padded = torch.cat([torch.zeros(2, 5, 32), embeddings], dim=1)
    options = DecodingOptions(repetition_penalty=1000.0, min_length=0, max_length=9)
    wanted, _ = transformers_search(llama, embeddings, mask, options, [END])
    found, _ = transformers_search(llama, padded, torch.nn.functional.pad(mask, (5, 0)), options, [END])
    assert found.tolist() == wanted.tolist() and all(len(set(row)) == 9 for row in found.tolist())


def test_the_score_is_the_lms_own_whatever_was_drawn_from(llama):
    """Temperature, top-k, top-p, penalties and a least length change what is drawn, not how probable it is."""
    embeddings, mask = prefix(llama, rows=1)
    ends = list(range(300, 400))
    for further in (dict(temperature=0.3), dict(top_k=5), dict(top_p=0.3), dict(repetition_penalty=9.0), {}):
        options = DecodingOptions(sampling=True, num_candidates=6, min_length=2, max_length=8, **further)
        tokens, scores = transformers_search(llama, embeddings, mask, options, ends)
        assert tokens.shape[0] == 6
        for ids, score in zip(tokens, scores, strict=True):
            last = next((at for at, one in enumerate(ids.tolist()) if one in ends), 7)
            assert last >= 2
            wanted = forced(llama, embeddings[0], ids[: last + 1]).mean()
            torch.testing.assert_close(score, wanted, rtol=1e-5, atol=1e-5)


def test_each_candidate_of_sampling_within_beams_has_beams_of_its_own(llama):
    embeddings, mask = prefix(llama)
    options = DecodingOptions(sampling=True, beam_size=3, num_candidates=8, min_length=6, max_length=6, top_k=6)
    for search in (transformers_search, beam_sample):
        torch.manual_seed(0)
        tokens, scores = search(llama, embeddings, mask, options, [END])
        assert tokens.shape == (16, 6) and scores.shape == (16,)
        assert len({tuple(row) for row in tokens[:8].tolist()}) > 3, "of one search they would share their beginning"
        for row, ids, score in zip(embeddings.repeat_interleave(8, dim=0), tokens, scores, strict=True):
            torch.testing.assert_close(score, forced(llama, row, ids).mean(), rtol=1e-5, atol=1e-5)


def test_what_generate_is_told_is_all_that_decides(llama):
    """An option of ours that is not passed on would be taken from the LM's generation_config."""
    assert llama.generation_config.to_dict() == GenerationConfig().to_dict()
    embeddings, mask = prefix(llama)
    options = DecodingOptions(sampling=True, num_candidates=300, min_length=0, max_length=1)
    torch.manual_seed(0)
    drawn = set(transformers_search(llama, embeddings[:1], mask[:1], options, [END])[0][:, 0].tolist())
    likeliest = llama(inputs_embeds=embeddings[:1]).logits[0, -1].topk(50).indices.tolist()
    assert not drawn <= set(likeliest), "transformers' own default would be top-k 50"


@pytest.mark.parametrize(
    "further", [dict(top_k=1), dict(top_k=3, temperature=0.2), dict(top_p=0.4, temperature=0.2), dict(top_p=0.05), {}]
)
def test_both_searches_take_an_option_for_the_same(llama, further, monkeypatch):
    """With a draw that takes the likeliest, sampling within beams is one search, whoever does it."""
    monkeypatch.setattr(torch, "multinomial", lambda p, num_samples: p.topk(num_samples).indices)
    options = DecodingOptions(sampling=True, beam_size=3, min_length=4, max_length=8, **further)
    found = [search(llama, *prefix(llama), options, [END, 5]) for search in (transformers_search, beam_sample)]
    texts = [[until_end(row, (END, 5)) for row in tokens.tolist()] for tokens, _ in found]
    assert texts[0] == texts[1]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)
