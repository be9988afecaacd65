import pytest
import torch
from transformers import AutoModelForCausalLM

from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError


@pytest.fixture(scope="module")
def decoder(tiny_llama):
    return CausalLMDecoder(tiny_llama).eval()


def random_batch(decoder, lengths=((3, 4, 5), (1, 2, 2))):
    """Utterances of different numbers of speech vectors, prompt tokens and caption tokens, padded with rubbish."""
    torch.manual_seed(1)
    sizes = [max(column) for column in zip(*lengths, strict=True)]
    speech = torch.randn(len(lengths), sizes[0], decoder.embedding_size())
    ids = [torch.randint(3, 360, (len(lengths), size)) for size in sizes[1:]]
    masks = [torch.arange(size) < torch.tensor([one[i] for one in lengths])[:, None] for i, size in enumerate(sizes)]
    speech[~masks[0]] = 1e3
    ids = [torch.where(mask, one, -1) for one, mask in zip(ids, masks[1:], strict=True)]
    return speech, masks[0], ids[0], masks[1], ids[1], masks[2]


def test_log_probabilities_equal_transformers(decoder, tiny_llama):
    speech, speech_mask, prompt, prompt_mask, caption, caption_mask = random_batch(decoder)
    output = decoder(speech, speech_mask, prompt, prompt_mask, caption, caption_mask)
    lm = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    embed = lm.get_input_embeddings()
    for i in range(len(speech)):
        own_caption = caption[i, caption_mask[i]]
        sequence = torch.cat(
            [
                embed(torch.tensor([decoder.tokenizer.bos_id])),
                speech[i, speech_mask[i]],
                embed(prompt[i, prompt_mask[i]]),
                embed(own_caption),
            ]
        )
        log_probs = lm(inputs_embeds=sequence[None]).logits[0].log_softmax(-1)
        start = len(sequence) - len(own_caption) - 1
        expected = [log_probs[start + k, token].item() for k, token in enumerate(own_caption)]
        assert output[i, caption_mask[i]].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert (output[i, ~caption_mask[i]] == 0).all()


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_batch_decodes_as_its_utterances_one_by_one(decoder, beam_size):
    speech, speech_mask, prompt, prompt_mask, *_ = random_batch(decoder, ((3, 4, 1), (1, 2, 1), (2, 4, 1)))
    options = dict(beam_size=beam_size, num_candidates=beam_size, min_length=3, max_length=9)
    together, scores = decoder.generate(speech, speech_mask, prompt, prompt_mask, **options)
    for i in range(len(speech)):
        alone, alone_scores = decoder.generate(
            speech[i : i + 1, speech_mask[i]],
            speech_mask[i : i + 1, speech_mask[i]],
            prompt[i : i + 1, prompt_mask[i]],
            prompt_mask[i : i + 1, prompt_mask[i]],
            **options,
        )
        assert together[i] == alone[0]
        assert scores[i] == pytest.approx(alone_scores[0], rel=1e-3)


def test_greedy_score_is_the_mean_log_probability(decoder):
    speech, speech_mask, prompt, prompt_mask, *_ = random_batch(decoder)
    (first, *_), (score, *_) = (
        part[0] + [None] for part in decoder.generate(speech, speech_mask, prompt, prompt_mask, max_length=6)
    )
    tokens = torch.tensor([first + ([decoder.tokenizer.eos_id] if len(first) < 6 else [])])
    log_probs = decoder(
        speech[:1], speech_mask[:1], prompt[:1], prompt_mask[:1], tokens, torch.ones_like(tokens, dtype=torch.bool)
    )
    assert score == pytest.approx(log_probs.mean().item(), rel=1e-4)


def test_candidates_of_sampling_and_their_number(decoder):
    batch = random_batch(decoder)[:4]
    torch.manual_seed(0)
    candidates, scores = decoder.generate(*batch, sampling=True, num_candidates=4, max_length=6)
    assert [len(one) for one in candidates] == [4, 4]
    assert all(one == sorted(one, reverse=True) for one in scores)
    assert len({tuple(ids) for ids in candidates[0]}) > 1
    with pytest.raises(SecError, match="4 candidates of beam_size 2"):
        decoder.generate(*batch, num_candidates=4, beam_size=2)


def test_frozen_keeps_its_dtype_and_mode(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, dtype="bfloat16").train().to(torch.float32)
    assert {p.dtype for p in decoder.parameters()} == {torch.bfloat16}
    assert not decoder.lm.module.training
    assert not any(p.requires_grad for p in decoder.parameters())


def test_lora_trains_its_own_tensors_only(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, lora={"r": 2, "target_modules": ["q_proj", "v_proj"]})
    trained = [name for name, p in decoder.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 2 and all("lora_" in name for name in trained)
    output = decoder(*random_batch(decoder))
    output.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())
    with pytest.raises(SecError, match="lora: .*rank"):
        CausalLMDecoder(tiny_llama, lora={"rank": 2})


def test_the_whole_lm_is_trained_where_it_is_not_frozen(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, freeze=False).train()
    assert all(p.requires_grad for p in decoder.parameters()) and decoder.lm.module.training
    decoder(*random_batch(decoder)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"lora": {"r": 2}}])
def test_the_whole_lm_is_trained_in_float32_and_without_lora(options):
    with pytest.raises(ValueError, match="freeze: false trains the whole LM"):
        CausalLMDecoder("x", freeze=False, **options)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="dtype='int8'"):
        CausalLMDecoder("x", dtype="int8")
    with pytest.raises(SecError, match="neither a folder here"):
        CausalLMDecoder("no/such-lm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SecError, match="not a transformers folder"):
        CausalLMDecoder(str(tmp_path))
